//! The shard writer: stored data, refusals, and files that remain after a failure.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shards::Counted;
use proptest::prelude::*;
use ssm_hpn::Error;
use ssm_hpn::data::GroupInput;
use ssm_hpn::data::Kind;
use ssm_hpn::data::WantedColumns;
use ssm_hpn::data::{
    ColumnValues, Dataset, DocumentColumns, Elements, Extra, ShardWriter, WriterConfig, verify_shards,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn written_documents_are_read_back(
        lengths in prop::collection::vec(1_usize..70, 1..40),
        wide in any::<bool>(),
        batch_tokens in 1_usize..100,
        shard_bytes in 1_u64..8000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let data = Counted::new(&lengths);
        let manifest = data.write(folder.path(), |c| {
            c.vocab_size = Some(if wide { 70_000 } else { data.tokens() as u32 });
            (c.batch_tokens, c.shard_bytes) = (batch_tokens, shard_bytes);
        });
        prop_assert_eq!((manifest.rows as usize, manifest.tokens as usize), (lengths.len(), data.tokens()));
        let report = verify_shards(folder.path()).unwrap();
        prop_assert_eq!((report.rows, report.tokens), (manifest.rows, manifest.tokens));
        prop_assert_eq!(report.shards as usize, manifest.shards.len());

        let set = Dataset::open(folder.path()).unwrap();
        let (mut token, mut document) = (0, 0);
        for g in 0..set.n_groups() {
            let wanted = WantedColumns { targets: vec!["labels", "label", "values"], name: false };
            let group = set.read(g, &wanted).unwrap();
            let of = |name: &str, d: usize| group.target(name).unwrap().of(d);
            for d in 0..group.documents() {
                prop_assert_eq!(group.length(d), lengths[document]);
                prop_assert_eq!(of("label", d), ColumnValues::Classes(&[document as i32 % 4 - 1]));
                let values = [document as f32, document as f32 + 0.5];
                prop_assert_eq!(of("values", d), ColumnValues::Numbers(&values));
                let ColumnValues::Classes(labels) = of("labels", d) else { panic!("numbers") };
                for (i, &label) in group.range(d).zip(labels) {
                    let id = match &group.input {
                        GroupInput::Narrow(ids) => ids[i] as usize,
                        GroupInput::Wide(ids) => ids[i] as usize,
                        GroupInput::Features(..) => panic!("features"),
                    };
                    prop_assert_eq!((id, label), (token, token as i32 % 5 - 1));
                    token += 1;
                }
                document += 1;
            }
        }
        prop_assert_eq!(token, data.tokens());
    }
}

#[test]
fn sha256sum_accepts_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(50, 30).write(folder.path(), |_| {});
    let Ok(output) = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(folder.path()).output()
    else {
        return; // not on this machine
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("manifest.json: OK"));
}

#[test]
fn the_writer_refuses_invalid_documents_and_stays_usable() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = WriterConfig::new(Kind::Tokens, &["tokens", "label", "name"]);
    config.vocab_size = Some(10);
    config.max_document = 4;
    let mut writer = ShardWriter::create(folder.path(), config.clone()).unwrap();
    let names = ["a.txt".to_owned(), "b.txt".to_owned()];
    let good = DocumentColumns {
        elements: Elements::I64(&[1, 2, 9]),
        offsets: &[0, 1, 3],
        targets: &[("label", ColumnValues::Classes(&[0, 2]))],
        names: Some(&names),
    };
    writer.append(&good).unwrap();
    let bad = DocumentColumns { elements: Elements::I64(&[1, 2, 10]), ..good };
    let text = writer.append(&bad).unwrap_err().to_string();
    assert!(text.starts_with("b.txt: document 3, token 1: expected an id from 0 to 9, found 10"), "{text}");
    for (bad, needle) in [
        (DocumentColumns { elements: Elements::I64(&[-1, 2, 3]), ..good }, "found -1"),
        (DocumentColumns { elements: Elements::F32(&[0.5, 0.5, 0.5]), ..good }, "found 0.5"),
        (DocumentColumns { offsets: &[0, 0, 3], ..good }, "an empty document"),
        (DocumentColumns { offsets: &[0, 5, 3], ..good }, "offset 2"),
        (DocumentColumns { offsets: &[0, 1, 2], ..good }, "offsets: expected 0 to 3"),
        (DocumentColumns { offsets: &[], ..good }, "offsets"),
        (
            DocumentColumns { targets: &[], ..good },
            "label: expected the column that was declared, found none",
        ),
        (
            DocumentColumns { targets: &[("label", ColumnValues::Classes(&[0]))], ..good },
            "label count: expected 2, found 1",
        ),
        (DocumentColumns { targets: &[("label", ColumnValues::Classes(&[0, -2]))], ..good }, "found -2"),
        (
            DocumentColumns { targets: &[("label", ColumnValues::Numbers(&[0.0, 1.0]))], ..good },
            "label: expected classes, found numbers",
        ),
        (DocumentColumns { targets: &[good.targets[0]; 2], ..good }, "found two of them"),
        (
            DocumentColumns {
                targets: &[good.targets[0], ("values", ColumnValues::Numbers(&[0.0]))],
                ..good
            },
            "values: expected none: the column was not declared",
        ),
        (DocumentColumns { names: Some(&names[..1]), ..good }, "name count"),
        (
            DocumentColumns { elements: Elements::U8(&[0; 9]), offsets: &[0, 1, 9], ..good },
            "at most 4 tokens",
        ),
    ] {
        let text = writer.append(&bad).unwrap_err().to_string();
        assert!(text.contains(needle), "{text} lacks {needle}");
    }
    let manifest =
        writer.close(Extra { encoder: serde_json::json!({"kind": "ids"}), ..Extra::default() }).unwrap();
    assert_eq!((manifest.rows, manifest.tokens, manifest.n_classes), (2, 3, Some(3)));
    verify_shards(folder.path()).unwrap();
    assert!(
        matches!(ShardWriter::create(folder.path(), config), Err(Error::Data { .. })),
        "overwrote a data set"
    );
}

#[test]
fn a_writer_that_is_dropped_before_close_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = WriterConfig::new(Kind::Tokens, &["tokens"]);
    config.vocab_size = Some(256);
    (config.batch_tokens, config.shard_bytes) = (4, 1);
    let count = || fs::read_dir(folder.path()).unwrap().count();
    let documents = DocumentColumns {
        elements: Elements::U8(b"abcdefgh"),
        offsets: &[0, 4, 8],
        targets: &[],
        names: None,
    };
    let mut writer = ShardWriter::create(folder.path(), config.clone()).unwrap();
    writer.append(&documents).unwrap();
    assert!(count() > 0);
    drop(writer);
    assert_eq!(count(), 0);
    // Shards left by a killed writer are removed by the next one; other files are kept.
    fs::write(folder.path().join("shard-00007.arrow"), b"x").unwrap();
    fs::write(folder.path().join(".shard-00008.arrow.partial-17"), b"x").unwrap();
    fs::write(folder.path().join("notes.txt"), b"x").unwrap();
    let empty = ShardWriter::create(folder.path(), config.clone()).unwrap();
    assert_eq!(count(), 1);
    assert!(matches!(empty.close(Extra::default()), Err(Error::Data { .. })), "a data set without documents");
    // Labels beyond the number of classes are refused at close, and the shards are removed.
    config.columns.push("label".into());
    let mut writer = ShardWriter::create(folder.path(), config).unwrap();
    writer
        .append(&DocumentColumns { targets: &[("label", ColumnValues::Classes(&[0, 3]))], ..documents })
        .unwrap();
    let error = writer.close(Extra { n_classes: Some(3), ..Extra::default() }).unwrap_err();
    assert!(error.to_string().contains("expected a class below 3, found 3"), "{error}");
    assert_eq!(count(), 1);
}

#[test]
fn long_documents_are_cut_to_max_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = WriterConfig::new(Kind::Tokens, &["tokens"]);
    (config.vocab_size, config.max_document) = (Some(256), 10);
    let mut writer = ShardWriter::create(folder.path(), config).unwrap();
    let documents =
        DocumentColumns { elements: Elements::U8(&[7; 25]), offsets: &[0, 25], targets: &[], names: None };
    writer.append(&documents).unwrap();
    let manifest = writer.close(Extra::default()).unwrap();
    assert_eq!((manifest.rows, manifest.tokens), (3, 25));
}

// Fault: a disk that refuses a shard, then works again
#[test]
fn a_writer_that_lost_documents_takes_no_more_and_makes_no_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    let mut config = WriterConfig::new(Kind::Tokens, &["tokens"]);
    (config.vocab_size, config.batch_tokens, config.shard_bytes) = (Some(256), 4, 1);
    let mut writer = ShardWriter::create(&path, config).unwrap();
    let documents =
        DocumentColumns { elements: Elements::U8(b"abcd"), offsets: &[0, 4], targets: &[], names: None };
    writer.append(&documents).unwrap();
    writer.append(&documents).unwrap();
    fs::remove_dir_all(&path).unwrap();
    let refused = writer.append(&documents).unwrap_err();
    assert!(matches!(refused, Error::Storage { .. }), "{refused}");
    fs::create_dir(&path).unwrap();
    let again = writer.append(&documents).unwrap_err().to_string();
    assert!(again.contains("an earlier error left documents out; begin again"), "{again}");
    let closed = writer.close(Extra::default()).unwrap_err();
    assert!(matches!(closed, Error::Storage { .. }), "{closed}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

/// The bytes of every file of a folder.
fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named =
        |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap());
    entries.map(named).collect()
}

/// Appends the documents of a set, in pieces, up to one of them.
fn append_up_to(writer: &mut ShardWriter, data: &Counted, last: usize) {
    let offsets = data.offsets();
    for document in 0..last {
        let (start, end) = (offsets[document] as u32, offsets[document + 1] as u32);
        let ids: Vec<u32> = (start..end).collect();
        let (elements, offsets) = (Elements::U32(&ids), &[0, u64::from(end - start)][..]);
        writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None }).unwrap();
    }
}

#[test]
fn a_writer_goes_on_after_the_finished_shards_of_an_interrupted_one() {
    let data = Counted::varied(70, 30);
    let config = WriterConfig {
        vocab_size: Some(data.tokens() as u32),
        batch_tokens: 40,
        shard_bytes: 1500,
        max_document: 20, // longer ones are cut
        resume: true,
        ..WriterConfig::new(Kind::Tokens, &["tokens"])
    };
    let whole = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(whole.path(), config.clone()).unwrap();
    append_up_to(&mut writer, &data, 70);
    let manifest = writer.close(Extra::default()).unwrap();
    assert!(manifest.shards.len() > 3);
    let expected = files(whole.path());
    assert!(!expected.contains_key("progress.json"));
    let written = |folder: &Path| fs::metadata(folder.join("shard-00000.arrow")).unwrap().modified().unwrap();
    for stop in 0..=70 {
        let folder = tempfile::tempdir().unwrap();
        let mut first = ShardWriter::create(folder.path(), config.clone()).unwrap();
        append_up_to(&mut first, &data, stop);
        drop(first);
        let kept = files(folder.path()).len();
        let time = (kept > 0).then(|| written(folder.path()));
        let mut second = ShardWriter::create(folder.path(), config.clone()).unwrap();
        append_up_to(&mut second, &data, 70);
        second.close(Extra::default()).unwrap();
        assert_eq!(files(folder.path()), expected, "stopped after {stop} documents");
        if let Some(time) = time {
            assert_eq!(written(folder.path()), time, "a finished shard was written again");
        }
    }
    // A part that was closed has all of its shards, and is closed again to the same bytes.
    let mut again = ShardWriter::create(whole.path(), config.clone()).unwrap();
    append_up_to(&mut again, &data, 70);
    again.close(Extra::default()).unwrap();
    assert_eq!(files(whole.path()), expected);
    // A finished shard that is not as it was noted is made again, and so are those after it.
    let mut half = ShardWriter::create(whole.path(), config.clone()).unwrap();
    append_up_to(&mut half, &data, 50);
    drop(half);
    let damaged = whole.path().join("shard-00001.arrow");
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[1000] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let mut again = ShardWriter::create(whole.path(), config.clone()).unwrap();
    append_up_to(&mut again, &data, 70);
    again.close(Extra::default()).unwrap();
    assert_eq!(files(whole.path()), expected);
    // A note that contradicts itself is no note: all shards are made again.
    let mut half = ShardWriter::create(whole.path(), config.clone()).unwrap();
    append_up_to(&mut half, &data, 50);
    drop(half);
    let note = whole.path().join("progress.json");
    let text = fs::read_to_string(&note).unwrap();
    let rows = manifest.shards[0].rows;
    let other = text.replacen(&format!("\"rows\":{rows}"), &format!("\"rows\":{}", u64::MAX), 1);
    assert_ne!(other, text);
    fs::write(&note, other).unwrap();
    let mut again = ShardWriter::create(whole.path(), config.clone()).unwrap();
    append_up_to(&mut again, &data, 70);
    again.close(Extra::default()).unwrap();
    assert_eq!(files(whole.path()), expected);
    // Other settings make other shards: those of the former are not taken.
    let smaller = WriterConfig { batch_tokens: 25, ..config.clone() };
    let fresh = tempfile::tempdir().unwrap();
    for (folder, half) in [(&fresh, false), (&whole, true)] {
        if half {
            let mut half = ShardWriter::create(folder.path(), config.clone()).unwrap();
            append_up_to(&mut half, &data, 50);
            drop(half);
            assert!(folder.path().join("progress.json").exists());
        }
        let mut other = ShardWriter::create(folder.path(), smaller.clone()).unwrap();
        append_up_to(&mut other, &data, 70);
        other.close(Extra::default()).unwrap();
    }
    assert_eq!(files(whole.path()), files(fresh.path()));
    assert_ne!(files(whole.path()), expected);
    // Fewer documents than the finished shards hold are others.
    let mut fewer = ShardWriter::create(whole.path(), config).unwrap();
    append_up_to(&mut fewer, &data, 10);
    let message = fewer.close(Extra::default()).unwrap_err().to_string();
    assert!(message.contains("documents of the shards that are there"), "{message}");
}
