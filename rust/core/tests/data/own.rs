//! Several loaders share the batches of one stream: each is made by one of them, with the positions of all, and what a
//! loader needs no row of it does not read where the manifest tells the rows.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::collections::BTreeSet;
use std::fs;

use crate::mixed::Sources;
use crate::shards::Counted;
use crate::streams::{config, ids, stream};
use ssm_hpn::Result;
use ssm_hpn::data::{Batch, Cursor, Loader, LoaderConfig, OwnBatches, Packing};

const PACKINGS: [Packing; 3] = [Packing::Contiguous, Packing::BestFit, Packing::Pad];
/// Batches of an update.
const OF: u64 = 8;

fn of_rank(rank: u64, ranks: u64) -> OwnBatches {
    OwnBatches { of: OF, first: rank * OF / ranks, end: (rank + 1) * OF / ranks }
}

/// A batch that the loader makes, or the tokens of one that it passes over; and the position after it.
type Found = (std::result::Result<Batch, u64>, Cursor);

/// What a loader finds from a position to the end of its stream.
fn found(base: &LoaderConfig, own: OwnBatches, from: &Cursor) -> Result<Vec<Found>> {
    let mut loader = Loader::open(LoaderConfig { own: Some(own), ..base.clone() })?;
    loader.seek(from.clone())?;
    let mut all = Vec::new();
    for number in 0_u64.. {
        let next = if (own.first..own.end).contains(&(number % OF)) {
            loader.next()?.map(|(batch, cursor)| (Ok(batch), cursor))
        } else {
            loader.pass_over()?.map(|(tokens, cursor)| (Err(tokens), cursor))
        };
        let Some(next) = next else { break };
        assert_eq!(loader.position(), next.1);
        all.push(next);
    }
    Ok(all)
}

/// Compares loaders of 2 and 4 ranks with one that makes every batch, from its start and from the middle.
fn check(base: &LoaderConfig) {
    let whole = stream(base.clone());
    assert!(whole.len() > 2 * OF as usize, "only {} batches", whole.len());
    for (ranks, skipped) in [(2, 0), (4, 0), (4, 11)] {
        let rest = &whole[skipped..];
        let from = if skipped == 0 { Cursor::default() } else { whole[skipped - 1].1.clone() };
        let mut made = vec![0; rest.len()];
        for rank in 0..ranks {
            let found = found(base, of_rank(rank, ranks), &from).unwrap();
            assert_eq!(found.len(), rest.len(), "{base:?}");
            for (i, ((found, after), (batch, cursor))) in found.into_iter().zip(rest).enumerate() {
                assert_eq!(&after, cursor, "after batch {i}");
                match found {
                    Ok(found) => {
                        assert_eq!(&found, batch, "batch {i}");
                        made[i] += 1;
                    }
                    Err(tokens) => {
                        let of_batch = ids(&[(batch.clone(), Cursor::default())]).len() as u64;
                        assert_eq!(tokens, of_batch, "tokens of batch {i}");
                    }
                }
            }
        }
        assert!(made.iter().all(|&count| count == 1), "each batch is made once: {made:?}");
    }
}

#[test]
fn each_batch_is_made_by_one_loader_and_all_have_the_same_positions() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(60, 30).write(folder.path(), |_| {});
    let sources = Sources::new();
    for packing in PACKINGS {
        for workers in [0, 1, 3] {
            for window in [1, 150] {
                let window = Some(window);
                check(&LoaderConfig { workers, window, epochs: Some(2), ..config(folder.path(), packing) });
            }
            check(&LoaderConfig { workers, ..sources.config(packing) });
        }
    }
}

#[test]
fn record_batches_without_a_row_of_its_own_are_not_read_where_the_manifest_tells_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let data = Counted::varied(60, 30);
    let manifest = data.write(folder.path(), |c| c.shard_bytes = 1 << 20);
    let shard = &manifest.shards[0];
    let path = folder.path().join(&shard.file);
    let bytes = fs::read(&path).unwrap();
    // A window is one record batch. The stream has an epoch of batches, so that nothing is read ahead of the next one.
    let base = |packing| LoaderConfig { window: Some(1), batch_size: 3, ..config(folder.path(), packing) };
    let epoch = |packing| stream(LoaderConfig { epochs: Some(1), ..base(packing) }).len() as u64;
    let batch_of = |id: u32| {
        let mut end = 0;
        let found = shard.batches.iter().position(|batch| {
            end += batch.tokens;
            u64::from(id) < end
        });
        found.unwrap()
    };
    for packing in PACKINGS {
        let mut of_all = 0;
        for (rank, workers) in [(0, 0), (1, 2), (2, 0), (3, 1)] {
            let base = LoaderConfig { workers, max_batches: Some(epoch(packing)), ..base(packing) };
            let own: Vec<_> = found(&base, of_rank(rank, 4), &Cursor::default()).unwrap();
            let own: Vec<_> =
                own.into_iter().filter_map(|(batch, cursor)| Some((batch.ok()?, cursor))).collect();
            let needed: BTreeSet<usize> = ids(&own).into_iter().map(batch_of).collect();
            // A record batch was read if the loader notices that it is damaged.
            let is_read = |batch: &usize| {
                let mut damaged = bytes.clone();
                damaged[(shard.batches[*batch].offset + shard.batches[*batch].bytes / 2) as usize] ^= 1;
                fs::write(&path, damaged).unwrap();
                found(&base, of_rank(rank, 4), &Cursor::default()).is_err()
            };
            let read: BTreeSet<usize> = (0..shard.batches.len()).filter(is_read).collect();
            fs::write(&path, &bytes).unwrap();
            if packing == Packing::Contiguous {
                assert_eq!(read, needed, "rank {rank}");
                of_all += read.len();
            } else {
                assert_eq!(read.len(), shard.batches.len(), "lengths of documents are in the record batches");
            }
        }
        // Each is read by the rank that needs it, and by two where a batch ends inside.
        assert!(of_all < 2 * shard.batches.len(), "{of_all} reads of {}", shard.batches.len());
    }
}

#[test]
fn batches_of_others_and_shares_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(60, 30).write(folder.path(), |_| {});
    for workers in [0, 2] {
        let own = Some(of_rank(1, 2));
        let base = LoaderConfig { workers, own, ..config(folder.path(), Packing::Pad) };
        let mut loader = Loader::open(base.clone()).unwrap();
        for number in 0..4 {
            let message = loader.next().unwrap_err().to_string();
            assert!(message.contains(&format!("found batch {number}")), "{message}");
            loader.pass_over().unwrap();
        }
        assert!(loader.next().unwrap().is_some());
        assert!(loader.pass_over().unwrap().unwrap().0 > 0, "one's own may be passed over too");
    }
    let base = config(folder.path(), Packing::Contiguous);
    for (of, first, end) in [(4, 1, 1), (4, 3, 5), (0, 0, 0)] {
        let own = Some(OwnBatches { of, first, end });
        let message = Loader::open(LoaderConfig { own, ..base.clone() }).err().unwrap().to_string();
        assert!(message.starts_with("loader.own"), "{message}");
    }
    let own = Some(of_rank(0, 2));
    let message =
        Loader::open(LoaderConfig { own, packing: Packing::Carried, ..base }).err().unwrap().to_string();
    assert!(message.starts_with("data.packing"), "{message}");
}
