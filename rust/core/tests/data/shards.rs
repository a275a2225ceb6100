//! Small data sets for tests of the loader.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::fs;
use std::io::Write;
use std::path::Path;

use ssm_hpn::data::Kind;
use ssm_hpn::data::{ColumnValues, DocumentColumns, Elements, Extra, Manifest, ShardWriter, WriterConfig};

/// Documents in which token i of the data set has id i, so that an id gives the position of its token.
pub(crate) struct Counted {
    pub(crate) lengths: Vec<usize>,
}

impl Counted {
    pub(crate) fn new(lengths: &[usize]) -> Self {
        Self { lengths: lengths.to_vec() }
    }

    /// `n` documents of 1 to `longest` tokens, of irregular lengths.
    pub(crate) fn varied(n: usize, longest: usize) -> Self {
        Self { lengths: (0..n).map(|i| 1 + (i * i * 7 + i * 13 + 5) % longest).collect() }
    }

    pub(crate) fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(crate) fn offsets(&self) -> Vec<u64> {
        let mut end = 0;
        let ends = self.lengths.iter().map(|&l| {
            end += l as u64;
            end
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Document that a token is in.
    pub(crate) fn document_of(&self, token: usize) -> usize {
        self.offsets().partition_point(|&o| o <= token as u64) - 1
    }

    /// Writes them with a label and two values per document and a label per token, each computed from its position.
    pub(crate) fn write(&self, folder: &Path, change: impl FnOnce(&mut WriterConfig)) -> Manifest {
        let mut config = WriterConfig::new(Kind::Tokens, &["tokens", "labels", "label", "values", "name"]);
        config.vocab_size = Some(self.tokens() as u32);
        config.n_values = Some(2);
        config.batch_tokens = 40;
        config.shard_bytes = 3000;
        change(&mut config);
        let n = self.lengths.len();
        let has = |name: &str| config.columns.iter().any(|c| c == name);
        let ids: Vec<u32> = (0..self.tokens() as u32).collect();
        let labels: Vec<i32> = ids.iter().map(|&id| id as i32 % 5 - 1).collect();
        let label: Vec<i32> = (0..n).map(|i| i as i32 % 4 - 1).collect();
        let values: Vec<f32> = (0..2 * n).map(|i| i as f32 * 0.5).collect();
        let targets: Vec<_> = [
            ("values", ColumnValues::Numbers(&values)),
            ("labels", ColumnValues::Classes(&labels)),
            ("label", ColumnValues::Classes(&label)),
        ]
        .into_iter()
        .filter(|(name, _)| has(name))
        .collect();
        let names: Vec<String> = (0..n).map(|i| format!("file-{i}")).collect();
        let documents = DocumentColumns {
            elements: Elements::U32(&ids),
            offsets: &self.offsets(),
            targets: &targets,
            names: has("name").then_some(&names),
        };
        let mut writer = ShardWriter::create(folder, config).unwrap();
        writer.append(&documents).unwrap();
        writer.close(Extra::default()).unwrap()
    }
}

/// Features `[tokens, 3]` in documents of the given lengths; number i of the data set is i.
pub(crate) fn write_features(folder: &Path, lengths: &[usize]) -> Manifest {
    let mut config = WriterConfig::new(Kind::Features, &["features", "label"]);
    config.n_features = Some(3);
    config.batch_tokens = 8;
    let counted = Counted::new(lengths);
    let x: Vec<f32> = (0..3 * counted.tokens()).map(|i| i as f32).collect();
    let label: Vec<i32> = (0..lengths.len() as i32).collect();
    let documents = DocumentColumns {
        elements: Elements::F32(&x),
        offsets: &counted.offsets(),
        targets: &[("label", ColumnValues::Classes(&label))],
        names: None,
    };
    let mut writer = ShardWriter::create(folder, config).unwrap();
    writer.append(&documents).unwrap();
    writer.close(Extra::default()).unwrap()
}

/// Changes the manifest of a data set.
pub(crate) fn edit_manifest(folder: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join("manifest.json");
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    let bytes = serde_json::to_vec(&value).unwrap();
    // In place: some file systems flush a file that is truncated to nothing first.
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.write_all(&bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

/// Changes the bytes of a shard and puts the new digest of every record batch into the manifest.
pub(crate) fn edit_shard(folder: &Path, shard: usize, change: impl FnOnce(&mut Vec<u8>)) {
    edit_manifest(folder, |manifest| {
        let entry = &mut manifest["shards"][shard];
        let path = folder.join(entry["file"].as_str().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        for batch in entry["batches"].as_array_mut().unwrap() {
            let start = batch["offset"].as_u64().unwrap() as usize;
            let end = start + batch["bytes"].as_u64().unwrap() as usize;
            let digest = xxhash_rust::xxh3::xxh3_64(&bytes[start..end]);
            batch["xxh3"] = format!("{digest:016x}").into();
        }
        fs::write(path, bytes).unwrap();
    });
}
