//! From shards to batches: coverage, targets, order, workers.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::collections::HashSet;
use std::path::Path;

use crate::shards::{Counted, edit_shard, write_features};
use crate::streams::{
    PACKINGS, assert_resumes_everywhere, config, documents, drain, ids, rows, stream, tokens,
};
use proptest::prelude::*;
use ssm_hpn::Error;
use ssm_hpn::data::{Cursor, Input, InputLimit, Limits, Loader, LoaderConfig, Packing, verify_shards};
use ssm_hpn::target::arrays::Element;
use ssm_hpn::target::{Widths, kinds};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_token_occurs_once_per_epoch_with_its_target(
        lengths in prop::collection::vec(1_usize..50, 1..60),
        length in 1_usize..40,
        batch_size in 1_usize..9,
        packing in prop::sample::select(PACKINGS.to_vec()),
        shuffle in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let data = Counted::new(&lengths);
        data.write(folder.path(), |_| {});
        let ends: HashSet<u32> = data.offsets()[1..].iter().map(|&o| o as u32 - 1).collect();
        let limits = Limits {
            input: InputLimit::Tokens { vocab_size: data.tokens() },
            widths: Widths { n_classes: Some(data.tokens()), ..Widths::default() },
        };
        let config = LoaderConfig {
            length, batch_size, shuffle, seed, epochs: Some(2), ..config(folder.path(), packing)
        };
        let mut seen = Vec::new();
        for (batch, _) in stream(config) {
            batch.check(&limits).unwrap();
            prop_assert!(batch.rows <= batch_size && batch.length <= length);
            let (_, target) = batch.target.classes().expect("targets");
            for s in &batch.segments {
                let row = s.row as usize * batch.length;
                let piece = row + s.start as usize..row + s.end as usize;
                let ids = &tokens(&batch)[piece.clone()];
                for (j, (&id, &target)) in ids.iter().zip(&target[piece]).enumerate() {
                    // Ids are consecutive within a document, and the target is the next id.
                    prop_assert_eq!(id, ids[0] + j as u32);
                    prop_assert_eq!(target, if ends.contains(&id) { -1 } else { id as i32 + 1 });
                }
                let inner = &ids[..ids.len() - 1];
                prop_assert!(inner.iter().all(|id| !ends.contains(id)), "a segment goes over a document's end");
                seen.extend_from_slice(ids);
            }
            let inside: usize = batch.segments.iter().map(|s| (s.end - s.start) as usize).sum();
            let padding = tokens(&batch).len() - inside;
            prop_assert!(target.iter().filter(|&&t| t == -1).count() >= padding);
        }
        let n = data.tokens();
        for epoch in seen.chunks(n) {
            let mut epoch = epoch.to_vec();
            epoch.sort_unstable();
            prop_assert!(epoch.into_iter().eq(0..n as u32));
        }
        prop_assert_eq!(seen.len(), 2 * n);
    }
}

#[test]
fn the_stream_does_not_depend_on_workers_and_prefetch() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(80, 40).write(folder.path(), |_| {});
    for packing in PACKINGS {
        let base = LoaderConfig { epochs: Some(3), ..config(folder.path(), packing) };
        let expected = stream(base.clone());
        for (workers, prefetch) in [(1, 1), (1, 4), (2, 1), (3, 8), (8, 2)] {
            let found = stream(LoaderConfig { workers, prefetch, ..base.clone() });
            assert_eq!(found, expected, "{packing:?}, {workers} workers, {prefetch} ahead");
        }
    }
}

#[test]
fn a_batch_larger_than_the_data_spans_epochs_and_windows() {
    let folder = tempfile::tempdir().unwrap();
    Counted::new(&[5, 3]).write(folder.path(), |_| {});
    for workers in [0, 2] {
        let config = LoaderConfig { workers, epochs: Some(7), ..config(folder.path(), Packing::Pad) };
        let batches = stream(config);
        let rows: Vec<usize> = batches.iter().map(|(b, _)| b.rows).collect();
        assert_eq!(rows, [4, 4, 4, 2]); // 7 epochs of 2 documents
        let epochs: Vec<u64> = batches.iter().map(|(_, c)| c.epoch).collect();
        assert_eq!(epochs, [2, 4, 6, 7]);
        assert_eq!(batches[3].1.batches, 4);
    }
}

#[test]
fn progress_grows_evenly_to_the_number_of_epochs() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(200, 14).write(folder.path(), |_| {});
    let mut loader =
        Loader::open(LoaderConfig { epochs: Some(2), ..config(folder.path(), Packing::Contiguous) }).unwrap();
    let mut seen = vec![loader.progress()];
    while loader.next().unwrap().is_some() {
        seen.push(loader.progress());
    }
    assert_eq!((seen[0], *seen.last().unwrap()), (0.0, 2.0));
    let even = 2.0 / (seen.len() - 1) as f64;
    for step in seen.windows(2).map(|w| w[1] - w[0]) {
        assert!(step > 0.0 && step < 2.0 * even, "{step} beside {even}");
    }
}

#[test]
fn orders_differ_between_epochs_and_seeds_and_are_fixed_without_shuffle() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(80, 20);
    let manifest = data.write(folder.path(), |_| {});
    let n = data.tokens();
    let order = |seed, shuffle| {
        ids(&stream(LoaderConfig {
            seed,
            shuffle,
            epochs: Some(2),
            ..config(folder.path(), Packing::Contiguous)
        }))
    };
    let (a, b, plain) = (order(1, true), order(2, true), order(1, false));
    assert_ne!(a[..n], a[n..], "epochs");
    assert_ne!(a, b, "seeds");
    assert_eq!(a, order(1, true));
    assert!(plain.iter().copied().eq((0..n as u32).chain(0..n as u32)), "not in the order of the files");
    // A window of one record batch is in the place of its record batch, and these come in a new order in every epoch.
    let place = |id: u32| {
        let mut end = 0;
        manifest.shards.iter().flat_map(|shard| &shard.batches).position(|batch| {
            end += batch.tokens;
            u64::from(id) < end
        })
    };
    let single =
        LoaderConfig { window: Some(1), epochs: Some(2), ..config(folder.path(), Packing::Contiguous) };
    let mut batches: Vec<usize> = ids(&stream(single)).into_iter().map(|id| place(id).unwrap()).collect();
    batches.dedup();
    let n_batches = batches.len() / 2;
    assert!(n_batches > 9);
    let (first, second) = batches.split_at(n_batches);
    assert!(!first.is_sorted() && first != second, "{batches:?}");
    for epoch in [first, second] {
        let mut epoch = epoch.to_vec();
        epoch.sort_unstable();
        assert!(epoch.into_iter().eq(0..n_batches), "{batches:?}");
    }
    // Successive rows are rarely neighbours in the data.
    let rows = stream(LoaderConfig { epochs: Some(1), ..config(folder.path(), Packing::Contiguous) });
    let starts: Vec<u32> = rows.iter().flat_map(|(b, _)| documents(b).into_iter().map(|d| d[0])).collect();
    let adjacent = starts.windows(2).filter(|w| w[0].abs_diff(w[1]) <= 20).count();
    assert!(
        adjacent * 2 < starts.len(),
        "{adjacent} of {} successive rows are neighbours in the data",
        starts.len()
    );
}

#[test]
fn rows_of_one_long_document_are_spread_over_the_window() {
    let folder = tempfile::tempdir().unwrap();
    Counted::new(&[1600]).write(folder.path(), |_| {});
    let rows = |shuffle| {
        let config = LoaderConfig { shuffle, epochs: Some(1), ..config(folder.path(), Packing::Contiguous) };
        ids(&stream(config)).into_iter().step_by(16).map(|id| id / 16).collect::<Vec<_>>()
    };
    assert!(rows(false).into_iter().eq(0..100));
    let mut mixed = rows(true);
    let adjacent = mixed.windows(2).filter(|w| w[0] + 1 == w[1]).count();
    assert!(adjacent < 10, "{adjacent} of 99 rows still follow one another");
    mixed.sort_unstable();
    assert!(mixed.into_iter().eq(0..100));
}

#[test]
fn rows_of_a_padded_batch_are_as_long_as_the_longest_rounded_up() {
    let folder = tempfile::tempdir().unwrap();
    Counted::new(&[3, 9, 1, 2, 30, 1, 1, 1]).write(folder.path(), |_| {});
    let config = LoaderConfig { shuffle: false, epochs: Some(1), ..config(folder.path(), Packing::Pad) };
    let lengths: Vec<usize> = stream(config).iter().map(|(b, _)| b.length).collect();
    assert_eq!(lengths, [16, 16, 8]); // longest 9; the 30 as 16 and 14, between 1s; the last 1
}

#[test]
fn labels_and_values_belong_to_their_documents() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(60, 16);
    data.write(folder.path(), |_| {});
    for packing in [Packing::BestFit, Packing::Pad] {
        let base = LoaderConfig { epochs: Some(1), ..config(folder.path(), packing) };
        for (batch, _) in stream(LoaderConfig { target: Some(&kinds::SEQUENCE_CLASS), ..base.clone() }) {
            let (_, classes) = batch.target.classes().unwrap();
            let expected =
                documents(&batch).into_iter().map(|d| data.document_of(d[0] as usize) as i32 % 4 - 1);
            assert!(classes.iter().copied().eq(expected));
        }
        for (batch, _) in stream(LoaderConfig { target: Some(&kinds::SEQUENCE_VALUES), ..base }) {
            let (_, values) = batch.target.numbers(Element::Number).unwrap();
            let first = documents(&batch).into_iter().map(|d| data.document_of(d[0] as usize) as f32);
            assert!(values.chunks(2).map(|v| v[0]).eq(first));
        }
    }
    for packing in PACKINGS {
        let target = Some(&kinds::TOKEN_CLASS);
        for (batch, _) in stream(LoaderConfig { epochs: Some(1), target, ..config(folder.path(), packing) }) {
            let (_, classes) = batch.target.classes().unwrap();
            let mut inside = vec![false; classes.len()];
            for s in &batch.segments {
                let row = s.row as usize * batch.length;
                for i in row + s.start as usize..row + s.end as usize {
                    assert_eq!(classes[i], tokens(&batch)[i] as i32 % 5 - 1);
                    inside[i] = true;
                }
            }
            assert!(classes.iter().zip(&inside).all(|(&c, &inside)| inside || c == -1));
        }
    }
}

#[test]
fn cutting_a_document_with_a_target_of_its_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Counted::new(&[5, 17, 5]).write(folder.path(), |_| {});
    let base = LoaderConfig {
        epochs: Some(1),
        target: Some(&kinds::SEQUENCE_CLASS),
        ..config(folder.path(), Packing::Pad)
    };
    let error = Loader::open(base.clone()).unwrap().next().unwrap_err();
    assert!(matches!(error, Error::Data { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("row 1") && text.contains("found 17") && text.contains("cut the documents"),
        "{text}"
    );
    let batches = stream(LoaderConfig { truncate: true, ..base.clone() });
    assert_eq!(batches.iter().flat_map(|(b, _)| documents(b)).map(<[u32]>::len).max(), Some(16));
    let packing = Packing::Contiguous;
    assert!(matches!(Loader::open(LoaderConfig { packing, ..base }), Err(Error::Config { .. })));
}

#[test]
fn features_are_unchanged_by_packing() {
    let folder = tempfile::tempdir().unwrap();
    write_features(folder.path(), &[4, 7, 2, 9]);
    let target = Some(&kinds::SEQUENCE_CLASS);
    let config =
        LoaderConfig { epochs: Some(1), target, shuffle: false, ..config(folder.path(), Packing::BestFit) };
    let mut seen = Vec::new();
    for (batch, _) in stream(config) {
        let limits = Limits {
            input: InputLimit::Features { n_features: 3 },
            widths: Widths { n_classes: Some(4), ..Widths::default() },
        };
        batch.check(&limits).unwrap();
        let (Input::Features(x), Some((_, classes))) = (&batch.input, batch.target.classes()) else {
            panic!()
        };
        for (s, &class) in batch.segments.iter().zip(classes) {
            let row = s.row as usize * batch.length;
            let piece = &x[3 * (row + s.start as usize)..3 * (row + s.end as usize)];
            assert!(piece.windows(2).all(|w| w[1] == w[0] + 1.0));
            seen.push((class, piece.len() / 3, piece[0]));
        }
    }
    seen.sort_by_key(|s| s.0);
    assert_eq!(seen, [(0, 4, 0.0), (1, 7, 12.0), (2, 2, 33.0), (3, 9, 39.0)]);
}

#[test]
fn an_error_comes_after_the_batches_before_it_and_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(60, 14);
    let manifest = data.write(folder.path(), |_| {});
    let last = manifest.shards.len() - 1;
    let base = LoaderConfig { shuffle: false, epochs: Some(1), ..config(folder.path(), Packing::Pad) };
    let good = stream(base.clone());
    let place = manifest.shards[last].batches.last().unwrap().offset as usize;
    edit_shard(folder.path(), last, |bytes| bytes[place] ^= 1);
    for workers in [0, 1, 3] {
        let mut loader = Loader::open(LoaderConfig { workers, ..base.clone() }).unwrap();
        let mut handed = 0;
        let error = loop {
            match loader.next() {
                Ok(next) => assert_eq!(next.unwrap().0, good[handed].0),
                Err(error) => break error,
            }
            handed += 1;
        };
        assert!(matches!(error, Error::Data { .. }), "{error}");
        assert!(handed > 0 && handed < good.len());
        assert_eq!(loader.position().batches, handed as u64);
        assert_eq!(loader.next().unwrap_err().to_string(), error.to_string());
    }
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(9, 9).write(folder.path(), |c| {
        c.columns = vec!["tokens".into()];
        c.n_values = None;
    });
    let base = config(folder.path(), Packing::Pad);
    for (key, bad) in [
        ("train.batch_size", LoaderConfig { batch_size: 0, ..base.clone() }),
        ("data.length", LoaderConfig { length: 0, ..base.clone() }),
        ("train.batch_size x", LoaderConfig { batch_size: 1 << 16, length: 1 << 24, ..base.clone() }),
        ("data.workers", LoaderConfig { workers: 65, ..base.clone() }),
        ("data.prefetch", LoaderConfig { prefetch: 0, ..base.clone() }),
        ("loader.epochs", LoaderConfig { epochs: Some(0), ..base.clone() }),
        ("loader.window", LoaderConfig { window: Some(0), ..base.clone() }),
        ("loader.ranks", LoaderConfig { ranks: 0, ..base.clone() }),
        ("loader.rank", LoaderConfig { ranks: 2, rank: 2, ..base.clone() }),
        ("loader.epochs", LoaderConfig { ranks: 2, epochs: Some(1), ..base.clone() }),
        ("model.target.kind", LoaderConfig { target: Some(&kinds::TOKEN_CLASS), ..base.clone() }),
        ("model.target.kind", LoaderConfig { target: Some(&kinds::SEQUENCE_VALUES), ..base.clone() }),
    ] {
        let error = Loader::open(bad).err().unwrap_or_else(|| panic!("{key} accepted"));
        assert!(matches!(error, Error::Config { .. }), "{error}");
        assert!(error.to_string().starts_with(key), "{error}");
    }
    let text = r#"{"path":"x","batch_size":8,"length":256,"packing":"best_fit","shufle":true}"#;
    let error = LoaderConfig::from_json(text).unwrap_err().to_string();
    assert!(error.contains("shufle"), "{error}");
}

/// A data set written by the first release with this version of the manifest is read with the same contents.
/// After a change of the format: keep it, write one of the new version beside it, and add a section to `MIGRATION.md`.
#[test]
fn the_golden_data_set_of_version_1_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/shards-v1");
    let report = verify_shards(&folder).unwrap();
    assert_eq!((report.shards, report.batches, report.rows, report.tokens), (1, 2, 12, 80));
    let base = LoaderConfig { seed: 7, epochs: Some(1), ..config(&folder, Packing::Contiguous) };
    let stream = stream(base);
    // The order is fixed too: a run that is resumed with a newer release continues with the same batches.
    let order = [
        42, 43, 44, 45, 46, 47, 48, 49, 50, 14, 15, 16, 17, 18, 19, 0, 30, 31, 32, 33, 34, 35, 36, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 1, 2, 3, 4, 5, 66, 67, 68, 69, 70, 71, 72, 73, 60, 61, 62, 63, 64, 65,
        51, 52, 53, 54, 55, 56, 57, 58, 59, 37, 38, 39, 29, 74, 75, 76, 77, 78, 79, 6, 7, 8, 9, 10, 11, 12,
        13, 40, 41,
    ];
    assert_eq!(ids(&stream), order);
    let first = r#"{"epoch":0,"window":0,"row":4,"rows":5,"batches":1,"data":381940572764039}"#;
    assert_eq!(stream[0].1.to_json(), first);
}

#[test]
fn rows_of_an_epoch_are_counted_as_they_come() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(60, 30).write(folder.path(), |_| {});
    for packing in PACKINGS.into_iter().chain([Packing::Carried]) {
        let base = config(folder.path(), packing);
        for epochs in 1..4 {
            let whole = stream(LoaderConfig { epochs: Some(epochs), ..base.clone() });
            let rows: usize = whole.iter().map(|(batch, _)| batch.rows).sum();
            assert_eq!(Loader::open(base.clone()).unwrap().count_rows(epochs).unwrap(), rows as u64);
        }
        // Of a set that is one window, the first window is an epoch; padded rows of these are as long as their longest.
        let one = LoaderConfig { window: None, length: 40, batch_size: 3, ..base.clone() };
        let loader = Loader::open(one.clone()).unwrap();
        assert_eq!(loader.n_windows(), 1);
        let whole = stream(LoaderConfig { epochs: Some(1), ..one });
        let positions: usize = whole.iter().map(|(batch, _)| tokens(batch).len()).sum();
        let expected = loader.n_tokens() as f64 / positions as f64;
        assert!((loader.utilisation().unwrap() - expected).abs() < 1e-12, "{packing:?}");
    }
}

#[test]
fn rows_of_a_number_of_tokens_are_rounded_up() {
    let folder = tempfile::tempdir().unwrap();
    Counted::new(&[3, 5]).write(folder.path(), |_| {});
    let loader =
        Loader::open(LoaderConfig { length: 4, ..config(folder.path(), Packing::Contiguous) }).unwrap();
    for (tokens, rows) in [(1, 1), (4, 1), (5, 2), (8, 2), (16, 4), (17, 5)] {
        assert_eq!(loader.count_rows_of_tokens(tokens).unwrap(), rows, "{tokens} tokens");
    }
}

#[test]
fn a_carried_document_goes_on_in_its_row_of_the_next_batch() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(60, 100);
    data.write(folder.path(), |_| {});
    let ends: HashSet<u32> = data.offsets()[1..].iter().map(|&o| o as u32 - 1).collect();
    let base = LoaderConfig { epochs: Some(2), ..config(folder.path(), Packing::Carried) };
    let whole = stream(base.clone());
    let mut last: Vec<Option<u32>> = vec![None; 4];
    for (batch, _) in &whole {
        assert_eq!(batch.rows, 4);
        let continued = batch.continued.as_ref().unwrap();
        for (row, ids) in rows(&[(batch.clone(), Cursor::default())]).into_iter().enumerate() {
            let open = last[row].filter(|id| !ends.contains(id));
            // A row goes on exactly where its document did not end.
            assert_eq!(continued[row], open.is_some());
            assert_eq!(open.map(|id| id + 1), ids.first().copied().filter(|_| continued[row]));
            last[row] = ids.last().copied();
        }
    }
    let mut seen = ids(&whole);
    seen.sort_unstable();
    assert!(
        seen.chunks(2).map(|pair| pair[0]).eq(0..data.tokens() as u32) && seen.len() == 2 * data.tokens()
    );
    assert_resumes_everywhere(&base);
    assert_eq!(stream(LoaderConfig { workers: 3, ..base.clone() }), whole);
    // States belong to the rows of a batch: another number of them is another order.
    let mut other = Loader::open(LoaderConfig { batch_size: 2, ..base.clone() }).unwrap();
    let message = other.seek(whole[2].1.clone()).unwrap_err().to_string();
    assert!(message.contains("batch size"), "{message}");
    let pooled = LoaderConfig { target: Some(&kinds::SEQUENCE_CLASS), ..base };
    let message = Loader::open(pooled).err().unwrap().to_string();
    assert!(message.contains("found carried, which cuts documents"), "{message}");
}

#[test]
fn a_window_that_was_read_to_describe_the_stream_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Counted::varied(60, 14).write(folder.path(), |_| {});
    for workers in [0, 2] {
        let base = LoaderConfig { workers, epochs: Some(1), ..config(folder.path(), Packing::Contiguous) };
        let expected = stream(base.clone());
        let mut loader = Loader::open(base).unwrap();
        let share = loader.utilisation().unwrap();
        assert!(share > 0.5 && share <= 1.0);
        // The first window is in memory: its batches come though every record batch is damaged now.
        let path = folder.path().join(&manifest.shards[0].file);
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        for batch in &manifest.shards[0].batches {
            bytes[batch.offset as usize + 50] ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(loader.next().unwrap().unwrap(), expected[0]);
        std::fs::write(&path, whole).unwrap();
        // It is that window alone: from elsewhere the stream goes on with what is there.
        loader.seek(Cursor::default()).unwrap();
        loader.utilisation().unwrap();
        let later = expected.iter().position(|(_, cursor)| cursor.window == 1).unwrap();
        loader.seek(expected[later].1.clone()).unwrap();
        assert_eq!(drain(&mut loader), expected[later + 1..]);
    }
}
