//! Shards: `[mode] [bytes of an Arrow file]`.
//!
//! Mode bit 0: the data set whose manifest is used, tokens with every kind of column or features. Bit 1: the digests of the
//! manifest stay those of the data set's own shard; otherwise they are those of the bytes.

use std::cell::OnceCell;

use serde_json::Value;
use ssm_hpn::data::{
    ColumnValues, Dataset, DocumentColumns, Elements, Extra, Kind, Loader, LoaderConfig, Packing,
    ShardReader, ShardWriter, WantedColumns, WriterConfig,
};
use ssm_hpn::storage::sha256;
use ssm_hpn::target::kinds;
use xxhash_rust::xxh3::xxh3_64;

use crate::guard::within;
use crate::scratch::Scratch;
use crate::told;

/// Memory that reading takes whatever the size of the shard is, and bytes for each byte of it.
const BASE: usize = 1 << 20;
const PER_BYTE: usize = 64;
/// Batches of an epoch that are taken; a small shard has fewer.
const MOST_BATCHES: usize = 1000;

/// The data sets, each as a manifest and the bytes of its shard.
pub(crate) fn data_sets() -> [(Value, Vec<u8>); 2] {
    [tokens(), features()]
}

fn tokens() -> (Value, Vec<u8>) {
    let mut config = WriterConfig::new(Kind::Tokens, &["tokens", "labels", "label", "values", "name"]);
    (config.vocab_size, config.n_values, config.batch_tokens) = (Some(20), Some(2), 10);
    let (ids, offsets) = ((0..20).collect::<Vec<u32>>(), [0, 3, 4, 10, 15, 20]);
    let names: Vec<String> = (0..5).map(|i| format!("file-{i}")).collect();
    let labels: Vec<i32> = (0..20).map(|i| i % 4 - 1).collect();
    let targets: &[(&str, ColumnValues<'_>)] = &[
        ("labels", ColumnValues::Classes(&labels)),
        ("label", ColumnValues::Classes(&[0, 1, 2, -1, 0])),
        ("values", ColumnValues::Numbers(&[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, f32::NAN, 3.5, 4.0, 4.5])),
    ];
    let documents =
        DocumentColumns { elements: Elements::U32(&ids), offsets: &offsets, targets, names: Some(&names) };
    written(config, &documents)
}

fn features() -> (Value, Vec<u8>) {
    let mut config = WriterConfig::new(Kind::Features, &["features", "label"]);
    (config.n_features, config.batch_tokens) = (Some(2), 6);
    let x: Vec<f32> = (0..24).map(|i| i as f32 / 8.0).collect();
    let targets: &[(&str, ColumnValues<'_>)] = &[("label", ColumnValues::Classes(&[0, 1, 2, 1]))];
    let offsets = [0, 2, 5, 6, 12];
    let documents = DocumentColumns { elements: Elements::F32(&x), offsets: &offsets, targets, names: None };
    written(config, &documents)
}

fn written(config: WriterConfig, documents: &DocumentColumns<'_>) -> (Value, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = ShardWriter::create(folder.path(), config).expect("a writer");
    writer.append(documents).expect("documents");
    let manifest = writer.close(Extra::default()).expect("a manifest");
    let shard = std::fs::read(folder.path().join(&manifest.shards[0].file)).expect("a shard");
    assert_eq!(manifest.shards.len(), 1);
    (serde_json::to_value(manifest).expect("JSON"), shard)
}

/// Inputs of every mode.
pub fn seeds() -> Vec<Vec<u8>> {
    let sets = data_sets();
    (0..4).map(|mode: u8| [&[mode], sets[usize::from(mode & 1)].1.as_slice()].concat()).collect()
}

/// Puts size and digests of a shard into its entry of a manifest, as far as the places of the batches are in it.
fn sign(manifest: &mut Value, shard: &[u8]) {
    let entry = &mut manifest["shards"][0];
    (entry["bytes"], entry["sha256"]) = (shard.len().into(), sha256(shard).into());
    for batch in entry["batches"].as_array_mut().expect("batches") {
        let start = batch["offset"].as_u64().expect("a place") as usize;
        let end = start + batch["bytes"].as_u64().expect("a size") as usize;
        if let Some(bytes) = shard.get(start..end) {
            batch["xxh3"] = format!("{:016x}", xxh3_64(bytes)).into();
        }
    }
}

/// Reads what a folder has by every way there is. All of them agree.
pub(crate) fn read_all(folder: &std::path::Path) {
    let Some(data) = told(Dataset::open(folder)) else { return };
    let wanted = WantedColumns::all(data.columns());
    let groups =
        (0..data.n_groups()).filter(|&group| told(data.read(group, &wanted)).is_some()).count() as u64;
    let mut read = 0;
    if let Some(mut reader) = told(ShardReader::open(folder)) {
        while let Some(Some(group)) = told(reader.next_group()) {
            read += group.documents() as u64;
        }
    }
    assert_eq!(
        groups == data.n_groups(),
        read == data.n_documents(),
        "{read} of {} read",
        data.n_documents()
    );
    let ways = [
        (None, Packing::Contiguous),
        (Some(&kinds::NEXT_TOKEN), Packing::Contiguous),
        (Some(&kinds::NEXT_TOKEN), Packing::Carried),
        (Some(&kinds::SEQUENCE_CLASS), Packing::Pad),
        (Some(&kinds::SEQUENCE_VALUES), Packing::BestFit),
    ];
    for (target, packing) in ways {
        let base = LoaderConfig::new(folder, 2, 8);
        let config = LoaderConfig { target, packing, epochs: Some(1), workers: 0, truncate: true, ..base };
        let Some(mut loader) = told(Loader::open(config)) else { continue };
        for _ in 0..MOST_BATCHES {
            let Some(Some((batch, cursor))) = told(loader.next()) else { break };
            assert!(batch.rows <= 2 && batch.length <= 8);
            assert_eq!(loader.position(), cursor);
        }
    }
}

thread_local! {
    static STATE: OnceCell<(Scratch, [(Value, Vec<u8>); 2])> = const { OnceCell::new() };
}

/// One execution.
pub fn run(input: &[u8]) {
    let Some((mode, shard)) = input.split_first() else { return };
    STATE.with(|state| {
        let (scratch, sets) = state.get_or_init(|| (Scratch::new(), data_sets()));
        let mut manifest = sets[usize::from(mode & 1)].0.clone();
        if mode & 2 == 0 {
            sign(&mut manifest, shard);
        }
        scratch.put("shard-00000.arrow", shard);
        scratch.put("manifest.json", manifest.to_string().as_bytes());
        within(BASE + PER_BYTE * shard.len(), || read_all(scratch.path()));
    });
}
