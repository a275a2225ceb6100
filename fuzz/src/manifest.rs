//! Manifests: `[mode] [text]`.
//!
//! Mode 0 and 1: the manifest of a data set whose shard is there. Mode 2: that of a checkpoint, with its own digest put
//! right where the text has a place for it, beside the files of a checkpoint. Mode 3: the same with the digest as it is.

use std::cell::OnceCell;

use serde_json::Value;
use ssm_hpn::checkpoint::{CheckpointManifest, verify};
use ssm_hpn::data::{Manifest, verify_shards};
use ssm_hpn::storage::{FileRecord, sha256};

use crate::guard::within;
use crate::scratch::Scratch;
use crate::{checkpoint, shard, told};

const BASE: usize = 1 << 20;
/// Bytes for each byte of the text: a JSON value takes 32, the list of them grows by doubling.
const PER_BYTE: usize = 128;
const DIGITS: usize = 64;

struct Files {
    sets: [(Scratch, Value); 2],
    checkpoint: Scratch,
}

impl Files {
    fn new() -> Self {
        let sets = shard::data_sets().map(|(manifest, bytes)| {
            let scratch = Scratch::new();
            scratch.put("shard-00000.arrow", &bytes);
            (scratch, manifest)
        });
        let checkpoint = Scratch::new();
        for (name, bytes) in checkpoint::NAMES.iter().zip(checkpoint::arrays()) {
            checkpoint.put(name, &bytes);
        }
        Self { sets, checkpoint }
    }

    /// The manifest of the checkpoint.
    fn of_checkpoint(&self) -> Vec<u8> {
        let mut manifest = CheckpointManifest::new(1);
        for name in checkpoint::NAMES {
            manifest.add(name, FileRecord::of_file(&self.checkpoint.path().join(name)).expect("a record"));
        }
        manifest.to_text()
    }
}

/// Inputs of every mode.
pub fn seeds() -> Vec<Vec<u8>> {
    let files = Files::new();
    let texts = [files.sets[0].1.to_string().into_bytes(), files.sets[1].1.to_string().into_bytes()];
    let [tokens, features] = &texts;
    let of_checkpoint = files.of_checkpoint();
    [tokens, features, &of_checkpoint, &of_checkpoint]
        .into_iter()
        .zip(0_u8..)
        .map(|(text, mode)| [&[mode], text.as_slice()].concat())
        .collect()
}

/// The text with the digest that it should have in the place of the first text of 64 digits that stands for one.
fn sign(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    let key = b"\"digest\"";
    let after = text.windows(key.len()).position(|w| w == key).map(|at| at + key.len());
    let Some(start) = after.and_then(|at| Some(at + 1 + text[at..].iter().position(|&b| b == b'"')?)) else {
        return text;
    };
    if text.len() >= start + DIGITS && !text[start..start + DIGITS].contains(&b'"') {
        text[start..start + DIGITS].fill(b'0');
        let digest = sha256(&text);
        text[start..start + DIGITS].copy_from_slice(digest.as_bytes());
    }
    text
}

thread_local! {
    static FILES: OnceCell<Files> = const { OnceCell::new() };
}

/// One execution.
pub fn run(input: &[u8]) {
    let Some((mode, text)) = input.split_first() else { return };
    FILES.with(|files| {
        let files = files.get_or_init(Files::new);
        let bound = BASE + PER_BYTE * text.len();
        if mode & 2 == 0 {
            let (folder, own) = &files.sets[usize::from(mode & 1)];
            folder.put("manifest.json", text);
            let shard = own["shards"][0]["sha256"].as_str().expect("a digest");
            folder.put(
                "SHA256SUMS",
                format!("{shard}  shard-00000.arrow\n{}  manifest.json\n", sha256(text)).as_bytes(),
            );
            within(bound, || {
                if let Some(manifest) = told(Manifest::load(folder.path())) {
                    let again: Manifest =
                        serde_json::from_slice(&manifest.to_json()).expect("what was written");
                    assert_eq!(again, manifest);
                    told(manifest.columns(folder.path())).expect("columns of a manifest that loads");
                }
                shard::read_all(folder.path());
                told(verify_shards(folder.path()));
            });
        } else {
            let folder = files.checkpoint.path();
            files.checkpoint.put("MANIFEST.json", &if mode & 1 == 0 { sign(text) } else { text.to_vec() });
            within(bound, || {
                if let Some(manifest) = told(CheckpointManifest::read(folder)) {
                    let _ = manifest.bytes();
                    assert_eq!(told(manifest.verify(folder)).is_some(), told(verify(folder)).is_some());
                }
                checkpoint::read_all(folder);
            });
        }
    });
}
