//! Several sources mixed by weight: exact shares, every row of a source once per epoch of it, from any position.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::path::Path;

use crate::shards::{Counted, write_features};
use crate::streams::{config, drain, ids, rows, stream};
use ssm_hpn::data::{Batch, Cursor, Loader, LoaderConfig, MixedSource, Packing};
use tempfile::TempDir;

const PACKINGS: [Packing; 3] = [Packing::Contiguous, Packing::BestFit, Packing::Pad];
const WEIGHTS: [u64; 3] = [5, 3, 2];

/// Three sets of tokens whose ids tell where they are from: those of set k are `VOCABULARY`·k to those below.
pub(crate) struct Sources {
    folder: TempDir,
    tokens: [usize; 3],
}

const LENGTHS: [(usize, usize); 3] = [(40, 20), (25, 14), (60, 9)];
const VOCABULARY: usize = 1 << 10;

impl Sources {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut tokens = [0; 3];
        for (k, (n, longest)) in LENGTHS.into_iter().enumerate() {
            let data = Counted::varied(n, longest);
            tokens[k] = data.tokens();
            write_ids(&folder.path().join(k.to_string()), &data, (k * VOCABULARY) as u32);
        }
        Self { folder, tokens }
    }

    fn path(&self, k: usize) -> std::path::PathBuf {
        self.folder.path().join(k.to_string())
    }

    pub(crate) fn config(&self, packing: Packing) -> LoaderConfig {
        let further = |k: usize| MixedSource { path: self.path(k), weight: WEIGHTS[k] };
        LoaderConfig {
            weight: WEIGHTS[0],
            mix: vec![further(1), further(2)],
            length: 8,
            max_batches: Some(120),
            ..config(&self.path(0), packing)
        }
    }
}

fn write_ids(folder: &Path, data: &Counted, first: u32) {
    use ssm_hpn::data::{DocumentColumns, Elements, Extra, Kind, ShardWriter, WriterConfig};
    let mut config = WriterConfig::new(Kind::Tokens, &["tokens"]);
    config.vocab_size = Some(3 * VOCABULARY as u32);
    config.batch_tokens = 40;
    let ids: Vec<u32> = (first..first + data.tokens() as u32).collect();
    let (elements, offsets) = (Elements::U32(&ids), &data.offsets()[..]);
    let mut writer = ShardWriter::create(folder, config).unwrap();
    writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None }).unwrap();
    writer.close(Extra::default()).unwrap();
}

fn source(row: &[u32]) -> usize {
    row[0] as usize / VOCABULARY
}

#[test]
fn every_prefix_has_the_shares_and_every_source_each_token_once_per_epoch() {
    let sources = Sources::new();
    for packing in PACKINGS {
        let all = stream(sources.config(packing));
        let rows = rows(&all);
        assert_eq!(rows.len(), 480);
        let mut counts = [0_u64; 3];
        for (i, row) in rows.iter().enumerate() {
            assert!(row.iter().all(|&id| id as usize / VOCABULARY == source(row)), "one source in a row");
            counts[source(row)] += 1;
            for (count, weight) in counts.iter().zip(WEIGHTS) {
                assert!((10 * count).abs_diff((i as u64 + 1) * weight) < 10, "{packing:?}: {counts:?}");
            }
        }
        assert_eq!(counts, [240, 144, 96]);
        for (k, n) in sources.tokens.into_iter().enumerate() {
            let own: Vec<u32> = rows.iter().filter(|row| source(row) == k).flatten().copied().collect();
            assert!(own.len() > n, "{packing:?}: less than an epoch of source {k}");
            for epoch in own.chunks_exact(n) {
                let mut epoch = epoch.to_vec();
                epoch.sort_unstable();
                let first = (k * VOCABULARY) as u32;
                assert!(epoch.into_iter().eq(first..first + n as u32), "{packing:?}: source {k}");
            }
        }
    }
}

#[test]
fn a_mixture_goes_on_with_other_batches_workers_and_ranks_without_a_row_twice_or_missed() {
    let sources = Sources::new();
    for packing in PACKINGS {
        let base = sources.config(packing);
        let whole = stream(base.clone());
        let expected = rows(&whole);
        for (workers, prefetch) in [(1, 1), (2, 4), (5, 2)] {
            assert_eq!(stream(LoaderConfig { workers, prefetch, ..base.clone() }), whole);
        }
        for i in [0, 6, 13, 59, 118] {
            let cursor = Cursor::from_json(&whole[i].1.to_json()).unwrap();
            let before = 4 * (i + 1);
            let mut same = Loader::open(base.clone()).unwrap();
            same.seek(cursor.clone()).unwrap();
            assert_eq!(drain(&mut same), whole[i + 1..]);
            for (batch_size, workers) in [(1, 0), (3, 2), (64, 1)] {
                let more = LoaderConfig { batch_size, workers, max_batches: None, ..base.clone() };
                let mut loader = Loader::open(more).unwrap();
                loader.seek(cursor.clone()).unwrap();
                let rest = expected.len() - before;
                let mut found: Vec<(Batch, Cursor)> = Vec::new();
                while found.iter().map(|(batch, _)| batch.rows).sum::<usize>() < rest {
                    found.push(loader.next().unwrap().unwrap());
                }
                assert_eq!(rows(&found)[..rest], expected[before..], "{packing:?} {i} {batch_size}");
            }
            let mut of_ranks = Vec::new();
            let rank =
                |rank| LoaderConfig { batch_size: 1, ranks: 2, rank, max_batches: None, ..base.clone() };
            let mut loaders = [Loader::open(rank(0)).unwrap(), Loader::open(rank(1)).unwrap()];
            for loader in &mut loaders {
                loader.seek(cursor.clone()).unwrap();
            }
            for _ in 0..2 {
                for loader in &mut loaders {
                    of_ranks.push(loader.next().unwrap().unwrap());
                }
            }
            let rest = &expected[before..];
            assert_eq!(rows(&of_ranks)[..rest.len().min(4)], rest[..rest.len().min(4)]);
        }
    }
}

#[test]
fn an_epoch_of_a_mixture_ends_when_every_source_was_read() {
    let sources = Sources::new();
    for packing in PACKINGS {
        let base = LoaderConfig { batch_size: 1, max_batches: None, workers: 0, ..sources.config(packing) };
        for epochs in [1, 2] {
            let mut loader = Loader::open(base.clone()).unwrap();
            let mut rows = 0;
            while loader.epoch() < epochs {
                loader.next().unwrap();
                rows += 1;
            }
            assert_eq!(loader.count_rows(epochs).unwrap(), rows, "{packing:?}");
            assert!(loader.progress_of_sources().into_iter().all(|of_one| of_one >= epochs as f64));
            assert!((loader.progress() - epochs as f64).abs() < 1e-9);
        }
        let mut loader = Loader::open(base).unwrap();
        let rows = loader.count_rows_of_tokens(3000).unwrap();
        let mut tokens = 0;
        for _ in 0..rows {
            tokens += ids(&[loader.next().unwrap().unwrap()]).len();
        }
        assert!(tokens.abs_diff(3000) < 150, "{packing:?}: {tokens}");
    }
}

#[test]
fn sources_that_do_not_fit_and_positions_of_another_mixture_are_refused() {
    let sources = Sources::new();
    let base = sources.config(Packing::Contiguous);
    let message = |config: LoaderConfig| Loader::open(config).err().unwrap().to_string();
    let features = tempfile::tempdir().unwrap();
    write_features(features.path(), &[4, 7]);
    let mix = vec![MixedSource { path: features.path().into(), weight: 1 }];
    let found = message(LoaderConfig { mix, ..base.clone() });
    assert!(
        found.contains("columns: expected tokens, as in") && found.contains("found features, label"),
        "{found}"
    );
    let found = message(LoaderConfig { packing: Packing::Carried, ..base.clone() });
    assert!(
        found.starts_with("data.packing: expected contiguous, best_fit or pad beside data.mix"),
        "{found}"
    );
    let found = message(LoaderConfig { epochs: Some(1), ..base.clone() });
    assert!(found.starts_with("loader.epochs: expected none beside data.mix"), "{found}");
    let found = message(LoaderConfig { weight: 0, ..base.clone() });
    assert!(found.starts_with("data.weights"), "{found}");
    let (_, cursor) = Loader::open(base.clone()).unwrap().next().unwrap().unwrap();
    let mut other = Loader::open(LoaderConfig { weight: 6, ..base.clone() }).unwrap();
    assert!(other.seek(cursor.clone()).unwrap_err().to_string().starts_with("cursor.data"));
    let far =
        Cursor { mixed: vec![ssm_hpn::data::Place { window: 1 << 40, ..Default::default() }], ..cursor };
    assert!(Loader::open(base).unwrap().seek(far).unwrap_err().to_string().starts_with("cursor.window"));
}
