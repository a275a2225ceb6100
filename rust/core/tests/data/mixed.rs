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

/// A token of each document in the order of an epoch, counted from its set's first.
fn order_of(config: LoaderConfig, source: usize, n: usize) -> Vec<u32> {
    let all = rows(&stream(config));
    let own = all.iter().map(|row| row[0]).filter(|&id| id as usize / VOCABULARY == source);
    own.take(n).map(|id| id % VOCABULARY as u32).collect()
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
        // The set that is read last is the last one, or the first.
        for (epochs, [first, second, third]) in [(1, WEIGHTS), (2, WEIGHTS), (1, [1, 3, 6])] {
            let mut base = LoaderConfig { weight: first, ..base.clone() };
            (base.mix[0].weight, base.mix[1].weight) = (second, third);
            let mut loader = Loader::open(base.clone()).unwrap();
            let mut rows = 0;
            while loader.epoch() < epochs {
                loader.next().unwrap();
                rows += 1;
            }
            assert_eq!(loader.count_rows(epochs).unwrap(), rows, "{packing:?}");
            let first = loader.progress_of_sources()[0];
            assert_eq!(base.weight == 1, first - (epochs as f64) < 1e-9, "which set is read last");
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
fn sources_of_one_size_are_not_in_one_order() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::new(&[8; 40]);
    let path = |k: usize| folder.path().join(k.to_string());
    for k in [0, 1] {
        write_ids(&path(k), &data, (k * VOCABULARY) as u32);
    }
    let mix = vec![MixedSource { path: path(1), weight: 1 }];
    let base = LoaderConfig {
        mix,
        window: None,
        length: 8,
        max_batches: Some(20),
        ..config(&path(0), Packing::Pad)
    };
    let [first, second] = [0, 1].map(|source| order_of(base.clone(), source, 40));
    assert_ne!(first, second);
    let sorted = |mut order: Vec<u32>| {
        order.sort_unstable();
        order
    };
    assert_eq!(sorted(first), sorted(second));
}

#[test]
fn a_window_of_a_mixture_is_divided_by_the_weights() {
    let sources = Sources::new();
    let base = sources.config(Packing::Contiguous);
    let windows = |path: &Path, window| {
        Loader::open(LoaderConfig { window: Some(window), ..config(path, Packing::Contiguous) })
            .unwrap()
            .n_windows()
    };
    let expected: u64 =
        (0..3).map(|k| windows(&sources.path(k), base.window.unwrap() * WEIGHTS[k] / 10)).sum();
    assert_eq!(Loader::open(base).unwrap().n_windows(), expected);
}

#[test]
fn sets_of_other_sizes_are_refused_by_the_name_of_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(20, 9);
    let written = |name: &str, change: &dyn Fn(&mut ssm_hpn::data::WriterConfig)| {
        let path = folder.path().join(name);
        data.write(&path, |config| change(config));
        path
    };
    let first = written("first", &|_| {});
    let message = |path: &Path| {
        let mix = vec![MixedSource { path: path.into(), weight: 1 }];
        Loader::open(LoaderConfig { mix, ..config(&first, Packing::Pad) }).err().map(|e| e.to_string())
    };
    assert_eq!(message(&written("same", &|_| {})), None);
    let vocabulary = written("vocabulary", &|c| c.vocab_size = Some(200));
    let found = message(&vocabulary).unwrap();
    assert!(found.contains("vocab_size: expected ") && found.contains("found 200; prepare both"), "{found}");
    let classes = written("classes", &|_| {});
    crate::shards::edit_manifest(&classes, |manifest| manifest["n_classes"] = 7.into());
    let found = message(&classes).unwrap();
    assert!(found.contains("n_classes: expected 4, as in ") && found.contains("found 7"), "{found}");
    // Without the columns that are not compared: of features the width, of values their number.
    let numbers = |name: &str, n_features: usize, n_values: usize| {
        use ssm_hpn::data::{
            ColumnValues, DocumentColumns, Elements, Extra, Kind, ShardWriter, WriterConfig,
        };
        let mut config = WriterConfig::new(Kind::Features, &["features", "values"]);
        (config.n_features, config.n_values) = (Some(n_features), Some(n_values));
        let (x, values) = (vec![0.5; 3 * n_features], vec![1.0; n_values]);
        let path = folder.path().join(name);
        let mut writer = ShardWriter::create(&path, config).unwrap();
        let targets = &[("values", ColumnValues::Numbers(&values))];
        let documents =
            DocumentColumns { elements: Elements::F32(&x), offsets: &[0, 3], targets, names: None };
        writer.append(&documents).unwrap();
        writer.close(Extra::default()).unwrap();
        path
    };
    let (first, wide, more) = (numbers("a", 2, 1), numbers("b", 3, 1), numbers("c", 2, 2));
    for (other, expected) in
        [(wide, "n_features: expected 2, as in "), (more, "n_values: expected 1, as in ")]
    {
        let target = Some(&ssm_hpn::target::kinds::SEQUENCE_VALUES);
        let mix = vec![MixedSource { path: other, weight: 1 }];
        let config = LoaderConfig { mix, target, ..config(&first, Packing::Pad) };
        let found = Loader::open(config).err().unwrap().to_string();
        assert!(found.contains(expected), "{found}");
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
    // Other weights are other turns, also where every set is one window.
    let one = LoaderConfig { window: None, ..base.clone() };
    let (_, cursor_of_one) = Loader::open(one.clone()).unwrap().next().unwrap().unwrap();
    let mut other = Loader::open(LoaderConfig { weight: 6, ..one }).unwrap();
    assert!(other.seek(cursor_of_one).unwrap_err().to_string().starts_with("cursor.data"));
    let far =
        Cursor { mixed: vec![ssm_hpn::data::Place { window: 1 << 40, ..Default::default() }], ..cursor };
    assert!(Loader::open(base).unwrap().seek(far).unwrap_err().to_string().starts_with("cursor.window"));
}
