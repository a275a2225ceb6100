//! The position in a stream: going on from it, also with other settings, and when it is refused.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use crate::shards::Counted;
use crate::streams::{PACKINGS, assert_resumes_everywhere, config, drain, rows, stream};
use proptest::prelude::*;
use ssm_hpn::Error;
use ssm_hpn::data::{Cursor, Loader, LoaderConfig, Packing};
use ssm_hpn::target::kinds;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    #[ignore = "takes some seconds"]
    fn random_streams_resume_at_the_next_batch_from_any_position(
        lengths in prop::collection::vec(1_usize..80, 1..150),
        length in 1_usize..40,
        batch_size in 1_usize..9,
        packing in prop::sample::select(PACKINGS.to_vec()),
        shuffle in any::<bool>(),
        seed in any::<u64>(),
        window in 1_u64..1000,
        threads in [(0_usize..4, 1_usize..6), (0_usize..4, 1_usize..6)],
        positions in prop::collection::vec(any::<prop::sample::Index>(), 4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        Counted::new(&lengths).write(folder.path(), |_| {});
        let with = |(workers, prefetch)| LoaderConfig {
            length, batch_size, shuffle, seed, workers, prefetch, window: Some(window), epochs: Some(2),
            ..config(folder.path(), packing)
        };
        let whole = stream(with(threads[0]));
        // Resumed by another loader with another number of threads.
        let mut loader = Loader::open(with(threads[1])).unwrap();
        for position in positions {
            let i = position.index(whole.len());
            loader.seek(Cursor::from_json(&whole[i].1.to_json()).unwrap()).unwrap();
            prop_assert_eq!(&drain(&mut loader)[..], &whole[i + 1..], "after batch {}", i);
        }
    }
}

#[test]
fn a_stream_resumes_at_the_next_batch_from_every_position() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(60, 14).write(folder.path(), |_| {});
    for packing in PACKINGS {
        for shuffle in [false, true] {
            for workers in [0, 2] {
                let config =
                    LoaderConfig { shuffle, workers, epochs: Some(2), ..config(folder.path(), packing) };
                assert_resumes_everywhere(&config);
                let limited = LoaderConfig { epochs: None, max_batches: Some(9), ..config.clone() };
                assert_resumes_everywhere(&limited);
                if packing != Packing::Contiguous {
                    for target in [Some(&kinds::SEQUENCE_CLASS), Some(&kinds::SEQUENCE_VALUES)] {
                        assert_resumes_everywhere(&LoaderConfig { target, ..config.clone() });
                    }
                }
            }
        }
    }
}

#[test]
fn a_stream_goes_on_with_other_batches_workers_and_ranks_without_a_row_twice_or_missed() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(60, 30).write(folder.path(), |_| {});
    for packing in PACKINGS {
        let base = LoaderConfig { epochs: Some(2), ..config(folder.path(), packing) };
        let whole = stream(base.clone());
        let expected = rows(&whole);
        for i in [0, 1, 5, whole.len() / 2, whole.len() - 1] {
            let (before, cursor) = (rows(&whole[..=i]), whole[i].1.clone());
            for (batch_size, workers) in [(1, 0), (3, 2), (64, 1)] {
                let other = LoaderConfig { batch_size, workers, ..base.clone() };
                let mut loader = Loader::open(other).unwrap();
                loader.seek(cursor.clone()).unwrap();
                let after = rows(&drain(&mut loader));
                assert_eq!([&before[..], &after[..]].concat(), expected, "{packing:?} {i} {batch_size}");
            }
            // Three machines of two rows each, from the same position.
            let rank = |rank| LoaderConfig {
                batch_size: 2,
                ranks: 3,
                rank,
                epochs: None,
                max_batches: Some(whole[i].1.batches + 4),
                ..base.clone()
            };
            let mut streams: Vec<_> = (0..3).map(|r| Loader::open(rank(r)).unwrap()).collect();
            let mut found = Vec::new();
            for batch in 0..4 {
                for loader in &mut streams {
                    if batch == 0 {
                        loader.seek(cursor.clone()).unwrap();
                    }
                    let next = loader.next().unwrap().unwrap();
                    assert_eq!(next.1.batches, cursor.batches + batch + 1);
                    found.extend(rows(&[next]));
                }
            }
            let rest = &expected[before.len()..];
            let n = rest.len().min(24);
            assert_eq!(found[..n], rest[..n], "{packing:?} {i}");
        }
    }
}

#[test]
fn a_position_of_other_data_or_settings_is_refused() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Counted::varied(30, 14).write(a.path(), |_| {});
    Counted::varied(31, 14).write(b.path(), |_| {});
    let base = config(a.path(), Packing::Contiguous);
    let mut loader = Loader::open(base.clone()).unwrap();
    let (_, cursor) = loader.next().unwrap().unwrap();
    let refused = |config: LoaderConfig| Loader::open(config).unwrap().seek(cursor.clone()).is_err();
    assert!(refused(LoaderConfig { path: b.path().into(), ..base.clone() }));
    assert!(refused(LoaderConfig { seed: 1, ..base.clone() }));
    assert!(refused(LoaderConfig { length: 17, ..base.clone() }));
    assert!(refused(LoaderConfig { packing: Packing::Pad, ..base.clone() }));
    assert!(refused(LoaderConfig { shuffle: false, ..base.clone() }));
    assert!(refused(LoaderConfig { window: Some(60), ..base.clone() }));
    assert!(!refused(LoaderConfig { batch_size: 2, workers: 1, prefetch: 9, ..base }));
    assert!(loader.seek(Cursor { window: 1 << 40, ..cursor.clone() }).is_err());
    loader.seek(Cursor { row: 1 << 40, ..cursor }).unwrap();
    assert!(matches!(loader.next(), Err(Error::Config { .. })));
    assert!(Cursor::from_json("{\"epoch\":-1}").is_err());
    // Documents of a target of their own may be cut where that is said, and are not otherwise: other rows.
    let whole = LoaderConfig { target: Some(&kinds::SEQUENCE_CLASS), ..config(a.path(), Packing::Pad) };
    let (_, cursor) = Loader::open(whole.clone()).unwrap().next().unwrap().unwrap();
    let refused = |config: LoaderConfig| Loader::open(config).unwrap().seek(cursor.clone()).is_err();
    assert!(!refused(whole.clone()));
    assert!(refused(LoaderConfig { truncate: true, ..whole.clone() }));
    assert!(refused(LoaderConfig { target: Some(&kinds::NEXT_TOKEN), ..whole }));
}

#[test]
fn the_position_is_that_of_the_last_batch_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(60, 14).write(folder.path(), |_| {});
    let mut loader =
        Loader::open(LoaderConfig { workers: 3, prefetch: 8, ..config(folder.path(), Packing::Contiguous) })
            .unwrap();
    for _ in 0..5 {
        let (_, cursor) = loader.next().unwrap().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2)); // meanwhile the threads read further batches
        assert_eq!(loader.position(), cursor);
    }
    drop(loader); // dropped in the middle of the stream, its threads must end
}
