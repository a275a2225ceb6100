//! What tests of the loader share: its streams of batches, and what is in them.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::path::Path;

use ssm_hpn::data::{Batch, Cursor, Input, Loader, LoaderConfig, Packing};

pub(crate) const PACKINGS: [Packing; 3] = [Packing::Contiguous, Packing::BestFit, Packing::Pad];

pub(crate) fn config(folder: &Path, packing: Packing) -> LoaderConfig {
    // Windows of 150 tokens: several in an epoch, each of several groups of documents.
    LoaderConfig { packing, workers: 0, window: Some(150), ..LoaderConfig::new(folder, 4, 16) }
}

pub(crate) fn drain(loader: &mut Loader) -> Vec<(Batch, Cursor)> {
    std::iter::from_fn(|| loader.next().unwrap()).collect()
}

pub(crate) fn stream(config: LoaderConfig) -> Vec<(Batch, Cursor)> {
    drain(&mut Loader::open(config).unwrap())
}

pub(crate) fn tokens(batch: &Batch) -> &[u32] {
    match &batch.input {
        Input::Tokens(tokens) => tokens,
        Input::Features(_) => panic!("features"),
    }
}

/// Tokens of the documents of a batch, in order.
pub(crate) fn documents(batch: &Batch) -> Vec<&[u32]> {
    let piece = |s: &ssm_hpn::data::Segment| {
        let row = s.row as usize * batch.length;
        &tokens(batch)[row + s.start as usize..row + s.end as usize]
    };
    batch.segments.iter().map(piece).collect()
}

pub(crate) fn ids(stream: &[(Batch, Cursor)]) -> Vec<u32> {
    stream.iter().flat_map(|(batch, _)| documents(batch).concat()).collect()
}

/// Tokens of every row in turn.
pub(crate) fn rows(stream: &[(Batch, Cursor)]) -> Vec<Vec<u32>> {
    let of_row = |(batch, row): (&Batch, usize)| {
        let own = batch.segments.iter().filter(|s| s.row as usize == row);
        let piece = |s: &ssm_hpn::data::Segment| {
            let at = row * batch.length;
            tokens(batch)[at + s.start as usize..at + s.end as usize].to_vec()
        };
        own.flat_map(piece).collect()
    };
    stream.iter().flat_map(|(batch, _)| (0..batch.rows).map(move |row| (batch, row))).map(of_row).collect()
}

/// Restores at every position and compares the rest of the stream.
pub(crate) fn assert_resumes_everywhere(config: &LoaderConfig) {
    let whole = stream(config.clone());
    assert!(whole.len() > 6, "only {} batches", whole.len());
    let mut loader = Loader::open(config.clone()).unwrap();
    for i in 0..=whole.len() {
        let cursor = if i == 0 { Cursor::default() } else { whole[i - 1].1.clone() };
        // Through JSON, as a checkpoint stores it.
        loader.seek(Cursor::from_json(&cursor.to_json()).unwrap()).unwrap();
        assert_eq!(drain(&mut loader), whole[i..], "after batch {i}");
    }
}
