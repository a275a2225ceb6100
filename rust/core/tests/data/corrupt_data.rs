//! Damaged data sets and manifests that contradict them: a typed error that names the place, no panic, no wrong data.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::shards::{Counted, edit_manifest, edit_shard, write_features};
use serde_json::{Value, json};
use ssm_hpn::data::WantedColumns;
use ssm_hpn::data::{Dataset, Loader, LoaderConfig, Packing, verify_shards};
use ssm_hpn::target::kinds;
use ssm_hpn::{Error, Result};

/// These columns of targets beside the input.
fn columns(targets: &[&'static str]) -> WantedColumns {
    WantedColumns { targets: targets.to_vec(), name: false }
}

const ALL: &[&str] = &["labels", "label", "values"];

fn data_set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(24, 30).write(folder.path(), |c| c.shard_bytes = 6000);
    folder
}

/// Opens the data set and reads all groups.
fn read(folder: &Path, targets: &[&'static str]) -> Result<()> {
    let data = Dataset::open(folder)?;
    for group in 0..data.n_groups() {
        data.read(group, &columns(targets))?;
    }
    Ok(())
}

#[track_caller]
fn refused<T>(result: Result<T>, needles: &[&str]) {
    match result {
        Ok(_) => panic!("accepted; expected an error with {needles:?}"),
        Err(error @ Error::Data { .. }) => {
            let text = error.to_string();
            for needle in needles {
                assert!(text.contains(needle), "{text:?} lacks {needle:?}");
            }
            assert!(!text.contains('\n'), "more than one line: {text:?}");
        }
        Err(error) => panic!("not a data error: {error}"),
    }
}

/// Replaces the bytes of a file in place. Truncating it to nothing first makes some file systems flush it each time,
/// which would take most of the time of these tests.
fn overwrite(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

fn shard(folder: &Path) -> std::path::PathBuf {
    folder.join("shard-00000.arrow")
}

#[test]
fn a_folder_without_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    refused(Dataset::open(folder.path()), &["manifest.json", "found none", "prepare"]);
    refused(Dataset::open(folder.path().join("absent")), &["no such folder"]);
    refused(verify_shards(folder.path()), &["manifest.json"]);
}

#[test]
fn a_manifest_that_is_none() {
    for (content, needle) in [
        (&b""[..], "EOF"),
        (b"{", "EOF"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[]", "schema"),
        (b"{}", "found none"),
        (b"{\"schema\": 2}", "found version 2"),
        (b"{\"schema\": 1}", "missing field"),
    ] {
        let folder = data_set();
        fs::write(folder.path().join("manifest.json"), content).unwrap();
        refused(Dataset::open(folder.path()), &["manifest.json", needle]);
    }
}

#[test]
fn a_manifest_cut_anywhere() {
    let folder = data_set();
    let path = folder.path().join("manifest.json");
    let whole = fs::read(&path).unwrap();
    let text = whole.len() - 1; // the last newline may be missing
    for cut in (0..text).step_by(97).chain([text - 1]) {
        overwrite(&path, &whole[..cut]);
        refused(Dataset::open(folder.path()), &["manifest.json"]);
    }
}

/// A field of the last record batch of the last shard, after which there is room in the file.
fn in_last_batch<'a>(manifest: &'a mut Value, field: &str) -> &'a mut Value {
    let shard = manifest["shards"].as_array_mut().unwrap().last_mut().unwrap();
    &mut shard["batches"].as_array_mut().unwrap().last_mut().unwrap()[field]
}

#[test]
fn a_manifest_that_contradicts_itself() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 31] = [
        (|m| m["rows"] = json!(1), "rows"),
        (|m| m["tokens"] = json!(1), "tokens"),
        (|m| m["longest"] = json!(1), "longest"),
        (|m| m["surprise"] = json!(1), "surprise"),
        (|m| m["kind"] = json!("images"), "images"),
        (|m| m["vocab_size"] = json!(null), "vocab_size"),
        (|m| m["n_features"] = json!(3), "columns"),
        (|m| m["columns"] = json!(["tokens", "weights"]), "weights"),
        (|m| m["columns"] = json!([]), "columns"),
        (|m| m["n_classes"] = json!(null), "n_classes"),
        (|m| m["class_names"] = json!(["one"]), "class_names"),
        (|m| m["normalisation"] = json!({"mean": [0.0], "std": [1.0]}), "normalisation"),
        (|m| m["shards"] = json!([]), "sum of its parts"),
        (|m| m["shards"][0]["file"] = json!("../shard-00000.arrow"), "plain file name"),
        (|m| m["shards"][0]["file"] = json!("/etc/passwd"), "plain file name"),
        (|m| m["shards"][0]["file"] = json!("a\0b"), "plain file name"),
        (|m| m["shards"][0]["file"] = json!("a".repeat(256)), "plain file name"),
        (|m| m["shards"][1]["file"] = json!("shard-00000.arrow"), "each file once"),
        (|m| m["shards"][0]["sha256"] = json!("00"), "hexadecimal"),
        (|m| m["shards"][0]["batches"][0]["xxh3"] = json!("x"), "hexadecimal"),
        (|m| m["shards"][0]["batches"][1]["offset"] = json!(0), "no other batch"),
        (|m| m["shards"][0]["batches"][0]["offset"] = json!(u64::MAX), "64 bits"),
        (|m| m["shards"][0]["batches"][0]["bytes"] = json!(u64::MAX / 2), "1 to 4294967296 bytes"),
        (|m| m["shards"][0]["batches"][0]["bytes"] = json!(1_u64 << 32), "no other batch"),
        (|m| m["shards"][0]["batches"][0]["bytes"] = json!(0), "1 to 4294967296 bytes"),
        (|m| *in_last_batch(m, "bytes") = json!(1_u64 << 32), "no other batch"), // beyond the file
        (
            |m| *in_last_batch(m, "offset") = json!(in_last_batch(m, "offset").as_u64().unwrap() + 4),
            "no other batch",
        ),
        (|m| *in_last_batch(m, "rows") = json!(1000), "none of them empty"),
        (|m| m["shards"][0]["batches"][0]["rows"] = json!(0), "at least one document"),
        (|m| m["shards"][0]["batches"][0]["tokens"] = json!(1_u64 << 40), "2147483647"),
        (|m| m["shards"][0]["batches"][0]["rows"] = json!(1), "sum of its parts"),
    ];
    for (i, (change, needle)) in cases.into_iter().enumerate() {
        let folder = data_set();
        edit_manifest(folder.path(), change);
        let result = Dataset::open(folder.path());
        assert!(result.is_err(), "case {i} ({needle}) accepted");
        refused(result, &["manifest.json", needle]);
    }
}

/// Refused by what the manifest says, before a record batch is read: only a window that is wanted as large is so.
#[test]
fn a_window_of_more_tokens_than_32_bits_count() {
    let folder = data_set();
    edit_manifest(folder.path(), |m| {
        let batches = m["shards"][0]["batches"].as_array_mut().unwrap();
        assert!(batches.len() > 3);
        let mut more = 0;
        for batch in &mut batches[..3] {
            more += i64::from(i32::MAX) - batch["tokens"].as_i64().unwrap();
            batch["tokens"] = json!(i32::MAX);
        }
        for at in ["/shards/0/tokens", "/tokens", "/longest"] {
            let of = m.pointer_mut(at).unwrap();
            *of = json!(of.as_i64().unwrap() + more);
        }
    });
    for packing in [Packing::BestFit, Packing::Pad] {
        let window = Some(u64::MAX);
        let config = LoaderConfig { window, packing, workers: 0, ..LoaderConfig::new(folder.path(), 2, 8) };
        let message = Loader::open(config).unwrap().next().unwrap_err().to_string();
        assert!(
            message.starts_with("data.window: expected windows of at most 4294967295 tokens"),
            "{message}"
        );
    }
}

/// Contradictions that are found only by reading the shards.
#[test]
fn a_manifest_that_contradicts_the_shards() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 5] = [
        (
            |m| {
                // One document less in a batch, in its shard and in the data set.
                for at in ["/shards/0/batches/0/rows", "/shards/0/rows", "/rows"] {
                    let v = m.pointer_mut(at).unwrap();
                    *v = json!(v.as_u64().unwrap() - 1);
                }
            },
            "documents of",
        ),
        (
            |m| {
                for at in ["/shards/0/batches/0/tokens", "/shards/0/tokens", "/tokens"] {
                    let v = m.pointer_mut(at).unwrap();
                    *v = json!(v.as_u64().unwrap() + 1);
                }
            },
            "documents of",
        ),
        (|m| m["vocab_size"] = json!(70_000), "column `tokens`"),
        (|m| m["n_values"] = json!(3), "column `values`"),
        (
            |m| {
                m["columns"] = json!(["tokens", "label", "values", "name"]);
            },
            "columns",
        ),
    ];
    for (change, needle) in cases {
        let folder = data_set();
        edit_manifest(folder.path(), change);
        refused(read(folder.path(), &[]), &["shard-00000.arrow", needle]);
    }
}

#[test]
fn a_shard_that_is_missing_or_no_file() {
    let folder = data_set();
    fs::remove_file(shard(folder.path())).unwrap();
    refused(Dataset::open(folder.path()), &["shard-00000.arrow", "no such file"]);
    fs::create_dir(shard(folder.path())).unwrap();
    assert!(Dataset::open(folder.path()).is_err());
}

#[test]
fn a_shard_cut_anywhere() {
    let folder = data_set();
    let path = shard(folder.path());
    let whole = fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(61).chain([whole.len() - 1]) {
        overwrite(&path, &whole[..cut]);
        refused(Dataset::open(folder.path()), &["shard-00000.arrow", "size", &format!("found {cut} bytes")]);
        // The same with a manifest that was changed to agree on the size.
        edit_manifest(folder.path(), |m| m["shards"][0]["bytes"] = json!(cut));
        refused(read(folder.path(), ALL), &[]);
        edit_manifest(folder.path(), |m| m["shards"][0]["bytes"] = json!(whole.len()));
    }
    fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    refused(Dataset::open(folder.path()), &["size"]);
}

#[test]
fn a_shard_that_shrinks_after_it_was_opened() {
    let folder = data_set();
    let data = Dataset::open(folder.path()).unwrap();
    data.read(0, &columns(ALL)).unwrap();
    let file = fs::File::options().write(true).open(shard(folder.path())).unwrap();
    file.set_len(500).unwrap();
    let last = data.shards()[0].entry().batches.len() as u64 - 1;
    refused(data.read(last, &columns(ALL)), &["shard-00000.arrow", "the end of the file"]);
}

/// A flipped bit in a record batch is found when the batch is read, one elsewhere by `verify_shards`.
#[test]
fn flipped_bits() {
    let folder = data_set();
    let path = shard(folder.path());
    let whole = fs::read(&path).unwrap();
    let data = Dataset::open(folder.path()).unwrap();
    let batches = data.shards()[0].entry().batches.clone();
    for at in (0..whole.len()).step_by(23) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        overwrite(&path, &bytes);
        let inside = batches.iter().any(|b| (b.offset..b.offset + b.bytes).contains(&(at as u64)));
        let result = read(folder.path(), ALL);
        if inside {
            refused(result, &["xxh3"]);
        } else if let Err(error) = result {
            assert!(matches!(error, Error::Data { .. }), "{error}");
        }
        if at % 5 == 0 {
            refused(verify_shards(folder.path()), &["shard-00000.arrow"]);
        }
    }
}

/// Altered record batches with correct digests: reading is an error or gives the documents that the manifest counts.
#[test]
fn malformed_messages_with_good_digests() {
    let folder = data_set();
    let path = shard(folder.path());
    let whole = fs::read(&path).unwrap();
    let data = Dataset::open(folder.path()).unwrap();
    let first = data.shards()[0].entry().batches[0].clone();
    let (start, end) = (first.offset as usize, (first.offset + first.bytes) as usize);
    let (mut errors, text) = (0, fs::read_to_string(folder.path().join("manifest.json")).unwrap());
    for at in start..end {
        // Every byte of the metadata, and every eleventh of the body.
        let values: &[u8] = if at < start + 700 { &[0x00, 0x7f, 0x80, 0xff] } else { &[0xff] };
        for &value in values.iter().filter(|&&v| v != whole[at] && (at < start + 700 || at % 11 == 0)) {
            let mut bytes = whole.clone();
            bytes[at] = value;
            overwrite(&path, &bytes);
            let digest = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes[start..end]));
            overwrite(&folder.path().join("manifest.json"), text.replace(&first.xxh3, &digest).as_bytes());
            match Dataset::open(folder.path()).unwrap().read(0, &columns(ALL)) {
                Ok(group) => {
                    assert_eq!(group.documents() as u64, first.rows);
                    assert!(at >= start + 4, "the mark of a message may be anything");
                }
                Err(Error::Data { .. }) => errors += 1,
                Err(error) => panic!("byte {at} = {value}: {error}"),
            }
        }
    }
    assert!(errors > 500, "only {errors} errors");
}

#[test]
fn malformed_footers() {
    let folder = data_set();
    let path = shard(folder.path());
    let whole = fs::read(&path).unwrap();
    let n = whole.len();
    let length = i32::from_le_bytes(whole[n - 10..n - 6].try_into().unwrap()) as usize;
    let mut errors = 0;
    for at in n - 10 - length..n {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            overwrite(&path, &bytes);
            match Dataset::open(folder.path()).unwrap().read(0, &columns(ALL)) {
                Ok(_) => {}
                Err(Error::Data { .. }) => errors += 1,
                Err(error) => panic!("byte {at} = {value}: {error}"),
            }
        }
    }
    assert!(errors > 500, "only {errors} errors");
    let mut bytes = whole.clone();
    bytes[n - 6..].copy_from_slice(b"PARROT");
    overwrite(&path, &bytes);
    refused(read(folder.path(), ALL), &["ARROW1", "PARROT"]);
}

#[test]
fn ids_and_classes_out_of_range_are_named() {
    let folder = data_set();
    // Token i has id i: with a vocabulary smaller by one, the last token of the last document is out of range.
    let (tokens, rows) = (Dataset::open(folder.path()).unwrap().n_tokens(), 24);
    edit_manifest(folder.path(), |m| m["vocab_size"] = json!(tokens - 1));
    let last = Counted::varied(rows, 30).lengths[rows - 1] - 1;
    let name = format!("(file-{})", rows - 1);
    let needles = ["shard-0", "row ", &name, &format!("token {last}"), &format!("found {}", tokens - 1)];
    refused(read(folder.path(), &[]), &needles);

    let folder = data_set();
    edit_manifest(folder.path(), |m| m["n_classes"] = json!(3));
    refused(read(folder.path(), &["labels"]), &["row 0", "(file-0)", "a class below 3", "found 3"]);
    read(folder.path(), &["label"]).unwrap();
    edit_manifest(folder.path(), |m| m["n_classes"] = json!(2));
    refused(read(folder.path(), &["label"]), &["row 3", "found 2"]);

    let target = Some(&kinds::TOKEN_CLASS);
    let config = LoaderConfig { target, packing: Packing::Pad, ..LoaderConfig::new(folder.path(), 4, 16) };
    refused(Loader::open(config).unwrap().next(), &["shard-0", "a class below 2"]);
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write_features(folder.path(), &[2, 3]);
    // Number 7 is document 1, token 0, feature 1.
    edit_shard(folder.path(), 0, |bytes| {
        let pattern = [6.0_f32, 7.0, 8.0].map(f32::to_le_bytes).concat();
        let at = bytes.windows(12).position(|w| w == pattern).unwrap() + 4;
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let needles = ["shard-00000.arrow", "row 1, token 0", "a finite number in feature 1", "found NaN"];
    refused(read(folder.path(), &[]), &needles);
}

/// Puts bytes in the place of the first such pattern at or behind an offset.
#[track_caller]
fn replace(bytes: &mut [u8], from: usize, pattern: &[u8], new: &[u8]) -> usize {
    let place = bytes[from..].windows(pattern.len()).position(|found| found == pattern).unwrap();
    bytes[from + place..][..new.len()].copy_from_slice(new);
    from + place
}

fn words(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// With right digests: what would be read as other documents without a word.
#[test]
fn documents_that_the_writer_never_makes_are_refused() {
    let lengths = Counted::varied(24, 30).lengths;
    let [first, second] = [lengths[0] as i32, (lengths[0] + lengths[1]) as i32];
    let (offsets, moved) = (words(&[0, first, second]), words(&[0, 0, second]));
    let folder = data_set();
    edit_shard(folder.path(), 0, |bytes| {
        replace(bytes, 0, &offsets, &moved);
    });
    refused(read(folder.path(), &[]), &["row 0", "at least one token", "an empty document"]);

    // The offsets of a column per token, which come behind those of the tokens.
    let folder = data_set();
    edit_shard(folder.path(), 0, |bytes| {
        let of_tokens = replace(bytes, 0, &offsets, &offsets);
        replace(bytes, of_tokens + 4, &offsets, &words(&[0, first + 1, second]));
    });
    read(folder.path(), &[]).unwrap();
    let needles = ["row 0", &format!("{first} labels, one per token"), &format!("found {}", first + 1)];
    refused(read(folder.path(), &["labels"]), &needles);

    // A node of the message is a length and a number of nulls.
    let folder = data_set();
    let rows = Dataset::open(folder.path()).unwrap().shards()[0].entry().batches[0].rows;
    edit_shard(folder.path(), 0, |bytes| {
        let node = [rows.to_le_bytes(), 0_u64.to_le_bytes()].concat();
        replace(bytes, 320, &node, &[rows.to_le_bytes(), 1_u64.to_le_bytes()].concat());
    });
    refused(read(folder.path(), &[]), &["record batch 0 at byte ", "found null values"]);

    let folder = data_set();
    edit_shard(folder.path(), 0, |bytes| {
        let pattern = [0.5_f32, 1.0, 1.5].map(f32::to_le_bytes).concat();
        replace(bytes, 0, &pattern, &f32::NEG_INFINITY.to_le_bytes());
    });
    refused(read(folder.path(), &["values"]), &["row 0", "finite values, or NaN for none", "found -inf"]);

    let folder = tempfile::tempdir().unwrap();
    Counted::varied(9, 30).write(folder.path(), |c| c.vocab_size = Some(70_000));
    edit_shard(folder.path(), 0, |bytes| {
        replace(bytes, 0, &words(&[0, 1, 2, 3]), &words(&[70_000]));
    });
    refused(read(folder.path(), &[]), &["row 0", "token 0", "an id below 70000", "found 70000"]);
}

/// The footer of a shard has the place of every record batch too.
#[test]
fn record_batches_in_other_places_than_the_footer_says_are_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 3] = [
        (
            |m| {
                let batch = m["shards"][0]["batches"].as_array_mut().unwrap().pop().unwrap();
                for at in ["/shards/0", ""] {
                    for key in ["rows", "tokens"] {
                        let of = m.pointer_mut(&format!("{at}/{key}")).unwrap();
                        *of = json!(of.as_u64().unwrap() - batch[key].as_u64().unwrap());
                    }
                }
            },
            "where the manifest lists",
        ),
        (
            |m| {
                let batch = m["shards"][0]["batches"].as_array_mut().unwrap().last_mut().unwrap();
                batch["offset"] = json!(batch["offset"].as_u64().unwrap() + 8);
            },
            "another place for record batch",
        ),
        (
            |m| {
                let batch = m["shards"][0]["batches"].as_array_mut().unwrap().last_mut().unwrap();
                batch["bytes"] = json!(batch["bytes"].as_u64().unwrap() - 8);
            },
            "another place for record batch",
        ),
    ];
    for (change, needle) in cases {
        let folder = data_set();
        edit_manifest(folder.path(), change);
        refused(read(folder.path(), &[]), &["shard-00000.arrow", "footer at byte ", needle]);
    }
}

#[test]
fn a_normalisation_that_divides_by_nothing_is_refused() {
    for (mean, std, needle) in [
        (json!([0, 0, 0]), json!([1, 0, 1]), "finite means and deviations above 0"),
        (json!([0, 0, 0]), json!([1, -1, 1]), "finite means and deviations above 0"),
        (json!([0, 0]), json!([1, 1, 1]), "3 means and deviations"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_features(folder.path(), &[2, 3]);
        edit_manifest(folder.path(), |m| m["normalisation"] = json!({"mean": mean, "std": std}));
        refused(Dataset::open(folder.path()), &["manifest.json: normalisation", needle]);
    }
}

#[test]
fn digests_beside_the_shards_are_compared() {
    let folder = data_set();
    verify_shards(folder.path()).unwrap();
    let path = folder.path().join("SHA256SUMS");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen('a', "b", 1)).unwrap();
    refused(verify_shards(folder.path()), &["SHA256SUMS", "line 1"]);
    fs::write(&path, format!("{text}{text}")).unwrap();
    refused(verify_shards(folder.path()), &["SHA256SUMS", "no more files"]);
    fs::write(&path, text.trim_end()).unwrap();
    refused(verify_shards(folder.path()), &["SHA256SUMS", "line 4", "manifest.json\\n"]);
    fs::write(&path, text.replace('\n', "\r\n")).unwrap();
    refused(verify_shards(folder.path()), &["SHA256SUMS", "line 1", "\\r"]);
    // Digests that are right do not make a manifest right.
    fs::write(&path, &text).unwrap();
    let manifest = folder.path().join("manifest.json");
    let digest = |path: &Path| ssm_hpn::storage::sha256(&fs::read(path).unwrap());
    let before = digest(&manifest);
    edit_manifest(folder.path(), |m| m["longest"] = json!(m["tokens"]));
    fs::write(&path, text.replace(&before, &digest(&manifest))).unwrap();
    refused(verify_shards(folder.path()), &["manifest.json: longest: expected 30, found "]);
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    refused(verify_shards(folder.path()), &["SHA256SUMS", "bytes of digests", "found more"]);
    fs::remove_file(&path).unwrap();
    refused(verify_shards(folder.path()), &["SHA256SUMS"]);
}
