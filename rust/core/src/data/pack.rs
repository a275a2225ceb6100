//! Documents into rows of at most T tokens: four ways, each a pure function of the documents' lengths.
//!
//! | packing      | a row is                                   | cut                                    | padding             |
//! |--------------|--------------------------------------------|----------------------------------------|---------------------|
//! | `contiguous` | the next T tokens of all documents in turn | wherever a row ends                    | in the last row     |
//! | `best_fit`   | whole documents that fit together          | only those longer than T               | what fits nowhere   |
//! | `pad`        | one document                               | only those longer than T               | up to the longest   |
//! | `carried`    | the next T tokens of its lane              | wherever a row ends                    | at the end of lanes |
//!
//! Every token occurs exactly once. A document that is cut continues in another row as a segment of its own: the state
//! starts at zero there. The target of a cut piece's last token is still the token that follows in the document; only
//! the last token of a document has none.
//!
//! In `carried` a cut document goes on in the same row of the next batch, where the state of its last token is the one that
//! it goes on from (truncated back-propagation through time; Williams and Peng, 1990). Row b of every batch of B rows is
//! lane b: each document goes to the lane with the fewest tokens so far, whole. Rows are numbered batch by batch, and where
//! a lane has ended its rows are empty; so a window always has whole batches, and no document goes on into another window.
//!
//! They are given the documents of one window (`super::window`) at a time, so `contiguous` pads one row per window and
//! `best_fit` looks at one window: decreasing first by length, each into the fullest row that still has room
//! (best-fit decreasing: at most 11/9 of the fewest rows possible, plus a constant).

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use crate::allocate::try_room;
use crate::error::Result;

/// A document of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// Group of the window.
    pub group: u32,
    /// Document of the group.
    pub index: u32,
    /// Number of tokens, at least 1.
    pub tokens: u32,
}

/// Tokens `start..end` of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Group of the window.
    pub group: u32,
    /// Document of the group.
    pub document: u32,
    /// First token.
    pub start: u32,
    /// One past the last token.
    pub end: u32,
}

/// Rows of pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackedRows {
    pieces: Vec<Piece>,
    /// One past the last piece of each row.
    ends: Vec<u32>,
}

impl PackedRows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Pieces of a row, in order; they follow one another without a gap.
    pub(crate) fn row(&self, i: usize) -> &[Piece] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.pieces[start..self.ends[i] as usize]
    }

    fn end_row(&mut self) {
        self.ends.push(self.pieces.len() as u32);
    }
}

impl Document {
    fn piece(&self, start: u32, end: u32) -> Piece {
        Piece { group: self.group, document: self.index, start, end }
    }
}

impl Piece {
    /// Number of tokens.
    pub(crate) fn tokens(&self) -> usize {
        (self.end - self.start) as usize
    }
}

/// Documents one after the other, cut where a row of `length` tokens is full.
pub(crate) fn contiguous(documents: &[Document], length: u32) -> PackedRows {
    let mut rows = PackedRows::default();
    let mut room = length;
    for document in documents {
        let mut start = 0;
        while start < document.tokens {
            let end = document.tokens.min(start.saturating_add(room));
            rows.pieces.push(document.piece(start, end));
            room -= end - start;
            start = end;
            if room == 0 {
                rows.end_row();
                room = length;
            }
        }
    }
    if room < length {
        rows.end_row();
    }
    rows
}

/// Whole documents into rows of at most `length` tokens, best-fit decreasing. Of a longer document, full rows are cut
/// off first; what is left is packed like a document.
pub(crate) fn best_fit(documents: &[Document], length: u32) -> PackedRows {
    let mut full = PackedRows::default();
    let mut pieces = Vec::with_capacity(documents.len());
    for document in documents {
        let mut start = 0;
        while document.tokens - start > length {
            full.pieces.push(document.piece(start, start + length));
            full.end_row();
            start += length;
        }
        pieces.push(document.piece(start, document.tokens));
    }
    // Stable: equals stay in the order of the documents, which the shuffle decides.
    pieces.sort_by_key(|p| std::cmp::Reverse(p.tokens()));
    let mut bins: Vec<Vec<Piece>> = Vec::new();
    let mut open: BTreeSet<(u32, u32)> = BTreeSet::new(); // (room, bin)
    for piece in pieces {
        let tokens = piece.tokens() as u32;
        let (room, bin) = if let Some(fullest) = open.range((tokens, 0)..).next().copied() {
            open.remove(&fullest);
            fullest
        } else {
            bins.push(Vec::new());
            (length, bins.len() as u32 - 1)
        };
        bins[bin as usize].push(piece);
        if room > tokens {
            open.insert((room - tokens, bin));
        }
    }
    for bin in bins {
        full.pieces.extend(bin);
        full.end_row();
    }
    full
}

/// One document per row; a longer one is cut into several rows.
pub(crate) fn pad(documents: &[Document], length: u32) -> PackedRows {
    let mut rows = PackedRows::default();
    for document in documents {
        let mut start = 0;
        while start < document.tokens {
            let end = document.tokens.min(start.saturating_add(length));
            rows.pieces.push(document.piece(start, end));
            rows.end_row();
            start = end;
        }
    }
    rows
}

/// Every document whole into the shortest of `lanes` lanes; row `k · lanes + b` has tokens `k · length..` of lane b.
/// Refused where there is no memory for the rows: a long document beside short ones leaves most of them empty.
pub(crate) fn carried(documents: &[Document], length: u32, lanes: usize) -> Result<PackedRows> {
    let mut filled: BTreeSet<(u64, usize)> = (0..lanes).map(|lane| (0, lane)).collect();
    let mut of_lanes = vec![Vec::new(); lanes];
    for document in documents {
        let Some((tokens, lane)) = filled.pop_first() else { break };
        of_lanes[lane].push(*document);
        filled.insert((tokens + u64::from(document.tokens), lane));
    }
    let of_lanes: Vec<PackedRows> = of_lanes.iter().map(|lane| contiguous(lane, length)).collect();
    let longest = of_lanes.iter().map(PackedRows::len).max().unwrap_or(0);
    let ends = try_room(&[longest, lanes], "the rows of a window")?;
    let mut rows = PackedRows { pieces: Vec::new(), ends };
    for k in 0..longest {
        for lane in &of_lanes {
            if k < lane.len() {
                rows.pieces.extend_from_slice(lane.row(k));
            }
            rows.end_row();
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn documents(lengths: &[u32]) -> Vec<Document> {
        let document =
            |(i, &tokens): (usize, &u32)| Document { group: i as u32 % 3, index: i as u32 / 3, tokens };
        lengths.iter().enumerate().map(document).collect()
    }

    fn shapes(rows: &PackedRows) -> Vec<Vec<(u32, u32, u32)>> {
        let shape = |p: &Piece| (p.document * 3 + p.group, p.start, p.end);
        (0..rows.len()).map(|i| rows.row(i).iter().map(shape).collect()).collect()
    }

    #[test]
    fn small_examples() {
        let d = documents(&[3, 6, 2]);
        assert_eq!(
            shapes(&contiguous(&d, 4)),
            [vec![(0, 0, 3), (1, 0, 1)], vec![(1, 1, 5)], vec![(1, 5, 6), (2, 0, 2)]]
        );
        assert_eq!(shapes(&best_fit(&d, 4)), [vec![(1, 0, 4)], vec![(0, 0, 3)], vec![(1, 4, 6), (2, 0, 2)]]);
        assert_eq!(shapes(&pad(&d, 4)), [vec![(0, 0, 3)], vec![(1, 0, 4)], vec![(1, 4, 6)], vec![(2, 0, 2)]]);
    }

    #[test]
    fn best_fit_takes_the_fullest_row_with_room() {
        // Longest first: 7 and 5 open two rows of 10; the 3 goes to the 7 (room 3), not to the 5 (room 5), which takes the 2.
        let d = documents(&[2, 5, 7, 3]);
        assert_eq!(shapes(&best_fit(&d, 10)), [vec![(2, 0, 7), (3, 0, 3)], vec![(1, 0, 5), (0, 0, 2)]]);
        // Of equal ones the first comes first, and of equal rows the first is taken.
        let d = documents(&[4, 6, 6, 4]);
        assert_eq!(shapes(&best_fit(&d, 10)), [vec![(1, 0, 6), (0, 0, 4)], vec![(2, 0, 6), (3, 0, 4)]]);
    }

    #[test]
    fn a_document_goes_on_in_the_same_lane_of_the_next_batch() {
        // The 9 goes to lane 0, the 2 to lane 1; the 3 to lane 1, which is shorter, and the 5 as well.
        let d = documents(&[9, 2, 3, 5]);
        let expected = [
            vec![(0, 0, 4)],
            vec![(1, 0, 2), (2, 0, 2)],
            vec![(0, 4, 8)],
            vec![(2, 2, 3), (3, 0, 3)],
            vec![(0, 8, 9)],
            vec![(3, 3, 5)],
        ];
        assert_eq!(shapes(&carried(&d, 4, 2).unwrap()), expected);
        // A lane that has ended has empty rows.
        assert_eq!(shapes(&carried(&d[..2], 4, 2).unwrap())[3], []);
        assert_eq!(carried(&d[..2], 4, 2).unwrap().len(), 6);
    }

    /// In every lane a row begins where the row before it ended, and documents are whole in it.
    fn check_lanes(rows: &PackedRows, documents: &[Document], lanes: usize) {
        assert_eq!(rows.len() % lanes, 0);
        for lane in 0..lanes {
            let mut open: Option<(u32, u32)> = None;
            for i in (lane..rows.len()).step_by(lanes) {
                for p in rows.row(i) {
                    let document = p.document * 3 + p.group;
                    assert_eq!(open.unwrap_or((document, 0)), (document, p.start));
                    let whole = p.end == documents[document as usize].tokens;
                    open = if whole { None } else { Some((document, p.end)) };
                }
            }
            assert_eq!(open, None);
        }
    }

    fn check(rows: &PackedRows, documents: &[Document], length: u32, least: usize) {
        let mut seen: Vec<Vec<u32>> = documents.iter().map(|d| vec![0; d.tokens as usize]).collect();
        for i in 0..rows.len() {
            let total: usize = rows.row(i).iter().map(Piece::tokens).sum();
            assert!((least..=length as usize).contains(&total), "row {i} has {total} tokens");
            for p in rows.row(i) {
                assert!(p.start < p.end);
                let document = (p.document * 3 + p.group) as usize;
                for t in p.start..p.end {
                    seen[document][t as usize] += 1;
                }
            }
        }
        assert!(seen.iter().flatten().all(|&n| n == 1), "a token is missing or repeated");
    }

    /// Checks the properties that all ways of packing share, and those of each.
    fn check_all(lengths: &[u32], length: u32) {
        let documents = documents(lengths);
        for pack in [contiguous, best_fit, pad] {
            check(&pack(&documents, length), &documents, length, 1);
        }
        for lanes in [1, 2, 7] {
            let rows = carried(&documents, length, lanes).unwrap();
            check(&rows, &documents, length, 0);
            check_lanes(&rows, &documents, lanes);
        }
        assert_eq!(carried(&documents, length, 1).unwrap(), contiguous(&documents, length));
        let rows = contiguous(&documents, length);
        assert_eq!(rows.len() as u32, lengths.iter().sum::<u32>().div_ceil(length));
        // Two rows that are both at most half full would have been packed into one.
        let rows = best_fit(&documents, length);
        let half = |i: &usize| rows.row(*i).iter().map(Piece::tokens).sum::<usize>() * 2 <= length as usize;
        assert!((0..rows.len()).filter(half).count() <= 1);
        // Documents are cut only where they do not fit.
        let pieces = |rows: &PackedRows| (0..rows.len()).map(|i| rows.row(i).len()).sum::<usize>() as u32;
        let fewest: u32 = lengths.iter().map(|l| l.div_ceil(length)).sum();
        assert_eq!(pieces(&rows), fewest);
        assert_eq!(pieces(&pad(&documents, length)), fewest);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_token_is_packed_exactly_once(lengths in prop::collection::vec(1_u32..40, 0..60), length in 1_u32..24) {
            check_all(&lengths, length);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        #[ignore = "takes some seconds"]
        fn every_token_of_many_documents_is_packed_exactly_once(
            lengths in prop::collection::vec(1_u32..900, 0..400),
            length in 1_u32..700,
        ) {
            check_all(&lengths, length);
        }
    }
}
