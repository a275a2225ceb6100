//! Damaged record batches that are left out by choice: counted, with every other document once, from any position.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::shards::{Counted, edit_manifest};
use crate::streams::{config, drain, ids, stream};
use ssm_hpn::data::{Cursor, Loader, LoaderConfig, Manifest, OnCorrupt, Packing};

/// Flips a bit of these record batches of the first shard; returns the tokens that were in them.
fn damage(folder: &Path, manifest: &Manifest, batches: &[usize]) -> BTreeSet<u32> {
    let shard = &manifest.shards[0];
    let path = folder.join(&shard.file);
    let mut bytes = fs::read(&path).unwrap();
    let mut gone = BTreeSet::new();
    for &batch in batches {
        let entry = &shard.batches[batch];
        bytes[(entry.offset + entry.bytes / 2) as usize] ^= 1;
        let before: u64 = shard.batches[..batch].iter().map(|b| b.tokens).sum();
        gone.extend(before as u32..(before + entry.tokens) as u32);
    }
    fs::write(path, bytes).unwrap();
    gone
}

fn skipping(folder: &Path, packing: Packing) -> LoaderConfig {
    LoaderConfig { on_corrupt: OnCorrupt::Skip, ..config(folder, packing) }
}

const PACKINGS: [Packing; 4] = [Packing::Contiguous, Packing::BestFit, Packing::Pad, Packing::Carried];

#[test]
fn a_damaged_record_batch_stops_the_stream_or_is_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(60, 30);
    let manifest = data.write(folder.path(), |c| c.shard_bytes = 1 << 20);
    let gone = damage(folder.path(), &manifest, &[1, 4]);
    let place = format!("record batch 1 at byte {}", manifest.shards[0].batches[1].offset);
    let base = LoaderConfig { epochs: Some(2), ..skipping(folder.path(), Packing::Contiguous) };
    let mut stopping =
        Loader::open(LoaderConfig { on_corrupt: OnCorrupt::Stop, shuffle: false, ..base }).unwrap();
    let message = std::iter::repeat_with(|| stopping.next()).find_map(Result::err).unwrap().to_string();
    assert!(message.contains("shard-00000.arrow") && message.contains(&place), "{message}");
    for packing in PACKINGS {
        let base = LoaderConfig { epochs: Some(2), ..skipping(folder.path(), packing) };
        let mut loader = Loader::open(base.clone()).unwrap();
        let whole = drain(&mut loader);
        let mut seen = ids(&whole);
        seen.sort_unstable();
        let kept = (0..data.tokens() as u32).filter(|id| !gone.contains(id));
        assert!(seen.into_iter().eq(kept.flat_map(|id| [id, id])), "{packing:?}");
        assert_eq!(loader.skipped(), 4, "two in each epoch");
        let found = loader.damage();
        assert_eq!(found.len(), 2);
        assert!(found[0].contains(&place), "{found:?}");
        // Rows are counted as they come, and so the length of a run in epochs.
        let rows: usize = whole.iter().map(|(batch, _)| batch.rows).sum();
        assert_eq!(loader.count_rows(2).unwrap(), rows as u64, "{packing:?}");
        // From every position, by other numbers of threads and rows, the rest is the same, and so is the count.
        for workers in [0, 2] {
            let mut again = Loader::open(LoaderConfig { workers, ..base.clone() }).unwrap();
            for i in 0..whole.len() {
                again.seek(Cursor::from_json(&whole[i].1.to_json()).unwrap()).unwrap();
                assert_eq!(drain(&mut again), whole[i + 1..], "{packing:?} after {i}");
            }
        }
    }
}

#[test]
fn a_window_that_is_damaged_while_it_is_read_ends_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(60, 30);
    let manifest = data.write(folder.path(), |c| c.shard_bytes = 1 << 20);
    let base = LoaderConfig {
        epochs: Some(1),
        shuffle: false,
        batch_size: 1,
        ..skipping(folder.path(), Packing::Contiguous)
    };
    let whole = stream(base.clone());
    let inside = whole.iter().position(|(_, cursor)| cursor.window == 1 && cursor.row == 3).unwrap();
    let next = whole.iter().position(|(_, cursor)| cursor.window == 2 && cursor.row == 1).unwrap();
    // A record batch of the window that is being read, and nothing else.
    let mut tokens = 0;
    let first = whole[inside].1.clone();
    let second = ids(&whole[inside..=inside])[0] as u64;
    let damaged = manifest.shards[0].batches.iter().position(|batch| {
        tokens += batch.tokens;
        tokens > second
    });
    damage(folder.path(), &manifest, &[damaged.unwrap()]);
    for workers in [0, 2] {
        let mut again = Loader::open(LoaderConfig { workers, ..base.clone() }).unwrap();
        again.seek(first.clone()).unwrap();
        let (batch, cursor) = again.next().unwrap().unwrap();
        assert_eq!(batch, whole[next].0);
        assert_eq!((cursor.window, cursor.row, cursor.skipped), (2, 1, 1));
    }
}

#[test]
fn a_window_in_which_another_record_batch_is_damaged_ends_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Counted::varied(60, 30).write(folder.path(), |c| c.shard_bytes = 1 << 20);
    let path = folder.path().join(&manifest.shards[0].file);
    let whole = fs::read(&path).unwrap();
    // The record batches of a window in the order of the files: a quarter of them, by the tokens of all.
    let base = LoaderConfig {
        epochs: Some(1),
        shuffle: false,
        batch_size: 1,
        window: Some(manifest.tokens / 4),
        ..skipping(folder.path(), Packing::Contiguous)
    };
    let n = manifest.shards[0].batches.len();
    assert!(n >= 12, "{n} record batches");
    damage(folder.path(), &manifest, &[1]);
    let with_one = stream(base.clone());
    let inside = with_one.iter().position(|(_, cursor)| cursor.window == 0 && cursor.row == 1).unwrap();
    fs::write(&path, &whole).unwrap();
    damage(folder.path(), &manifest, &[0]);
    for workers in [0, 2] {
        let mut again = Loader::open(LoaderConfig { workers, ..base.clone() }).unwrap();
        again.seek(with_one[inside].1.clone()).unwrap();
        let (_, cursor) = again.next().unwrap().unwrap();
        assert_eq!((cursor.window, cursor.row), (1, 1));
    }
}

#[test]
fn epochs_in_which_a_window_is_lost_go_on_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(40, 30);
    let manifest = data.write(folder.path(), |c| c.shard_bytes = 1 << 20);
    let gone = damage(folder.path(), &manifest, &[1]);
    let windows = manifest.shards[0].batches.len() as u64;
    let epochs = 2 * windows;
    for workers in [0, 2] {
        let base = LoaderConfig {
            workers,
            window: Some(1), // a record batch each
            epochs: Some(epochs),
            ..skipping(folder.path(), Packing::Pad)
        };
        let mut loader = Loader::open(base).unwrap();
        assert_eq!(loader.n_windows(), windows);
        let seen = ids(&drain(&mut loader)).len() as u64;
        assert_eq!(seen, epochs * (data.tokens() - gone.len()) as u64);
        assert_eq!(loader.skipped(), epochs);
    }
}

#[test]
fn what_contradicts_the_manifest_under_its_digest_and_a_damaged_footer_are_never_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(40, 30);
    let message = |change: &dyn Fn()| {
        fs::remove_dir_all(folder.path()).unwrap();
        let manifest = data.write(folder.path(), |c| c.shard_bytes = 1 << 20);
        assert_eq!(manifest.shards.len(), 1);
        change();
        let mut loader = Loader::open(skipping(folder.path(), Packing::Pad)).unwrap();
        std::iter::repeat_with(|| loader.next()).find_map(Result::err).unwrap().to_string()
    };
    let found = message(&|| {
        edit_manifest(folder.path(), |manifest| {
            manifest["vocab_size"] = (data.tokens() - 1).into();
        });
    });
    assert!(found.contains(&format!("expected an id below {}", data.tokens() - 1)), "{found}");
    let found = message(&|| {
        let path = folder.path().join("shard-00000.arrow");
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 1] ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    assert!(found.contains("end of the file: expected ARROW1"), "{found}");
}

#[test]
fn a_set_of_which_nothing_is_whole_ends_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Counted::varied(20, 30).write(folder.path(), |c| c.shard_bytes = 1 << 20);
    let all: Vec<usize> = (0..manifest.shards[0].batches.len()).collect();
    damage(folder.path(), &manifest, &all);
    for workers in [0, 2] {
        let mut loader =
            Loader::open(LoaderConfig { workers, ..skipping(folder.path(), Packing::Pad) }).unwrap();
        let message = loader.next().unwrap_err().to_string();
        assert!(
            message.starts_with("data.on_corrupt: expected a record batch that is not damaged"),
            "{message}"
        );
    }
}

#[test]
fn a_shard_that_shrinks_or_changes_while_it_is_read_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Counted::varied(60, 30).write(folder.path(), |c| c.shard_bytes = 1 << 20);
    for workers in [0, 1] {
        for cut in [true, false] {
            let base =
                LoaderConfig { workers, shuffle: false, prefetch: 1, ..config(folder.path(), Packing::Pad) };
            let path = folder.path().join(&manifest.shards[0].file);
            let whole = fs::read(&path).unwrap();
            let mut loader = Loader::open(base).unwrap();
            loader.next().unwrap();
            let last = manifest.shards[0].batches.last().unwrap();
            // In place: a worker that reads ahead never sees a file that is empty for a moment.
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            if cut {
                file.set_len(last.offset + 8).unwrap();
            } else {
                file.seek(SeekFrom::Start(last.offset + 100)).unwrap();
                file.write_all(&[whole[last.offset as usize + 100] ^ 4]).unwrap();
            }
            let message = std::iter::repeat_with(|| loader.next()).find_map(Result::err).unwrap().to_string();
            let at = format!("byte {}", last.offset);
            assert!(message.contains("shard-00000.arrow") && message.contains(&at), "{message}");
            fs::write(&path, whole).unwrap();
        }
    }
}
