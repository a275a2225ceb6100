//! Rows of windows into a batch: ids or features, documents, targets.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::batch::{Batch, Input, Segment, Target};
use super::loader::{LoaderConfig, Packing, TargetKind};
use super::pack::Piece;
use super::shard::{Group, Ids};
use super::window::Window;

/// A padded row is a multiple of this many tokens long, so that few different lengths come up.
const PAD_MULTIPLE: usize = 8;

/// Some successive rows of a window.
#[derive(Debug)]
pub(super) struct RowRange {
    pub(super) window: Arc<Window>,
    pub(super) rows: Range<u64>,
}

/// The batch that consists of these rows.
pub(super) fn assemble(parts: &[RowRange], config: &LoaderConfig) -> Batch {
    let rows: Vec<(&Window, &[Piece])> =
        parts.iter().flat_map(|p| p.rows.clone().map(|i| (&*p.window, p.window.row(i)))).collect();
    let width = |row: &[Piece]| row.iter().map(Piece::tokens).sum::<usize>();
    let length = match config.packing {
        Packing::Pad => {
            let longest = rows.iter().map(|(_, row)| width(row)).max().unwrap_or(1);
            longest.next_multiple_of(PAD_MULTIPLE).min(config.length)
        }
        Packing::Contiguous | Packing::BestFit => config.length,
    };
    let n_features = match rows.first().and_then(|(w, row)| row.first().map(|p| &w.group(p).ids)) {
        Some(Ids::Features(_, f)) => Some(*f),
        _ => None,
    };
    let positions = rows.len() * length;
    let mut batch = Batch {
        rows: rows.len(),
        length,
        input: match n_features {
            Some(f) => Input::Features(vec![0.0; positions * f]),
            None => Input::Tokens(vec![0; positions]),
        },
        segments: Vec::new(),
        mask: None,
        target: match config.target {
            TargetKind::None => Target::None,
            TargetKind::NextToken | TargetKind::TokenClass => Target::TokenClass(vec![-1; positions]),
            TargetKind::SequenceClass => Target::SequenceClass(Vec::new()),
            TargetKind::SequenceValues => Target::SequenceValues(Vec::new()),
        },
    };
    for (i, (window, pieces)) in rows.iter().enumerate() {
        let mut start = 0;
        for piece in *pieces {
            put(&mut batch, i * length + start, window.group(piece), piece, config.target);
            let end = start + piece.tokens();
            batch.segments.push(Segment { row: i as u32, start: start as u32, end: end as u32 });
            start = end;
        }
    }
    batch
}

/// Copies one piece to position `at` of the batch, with its targets.
fn put(batch: &mut Batch, at: usize, group: &Group, piece: &Piece, target: TargetKind) {
    let document = piece.document as usize;
    let range = group.range(document);
    let (start, end) = (range.start + piece.start as usize, range.start + piece.end as usize);
    let n = end - start;
    match (&mut batch.input, &group.ids) {
        (Input::Tokens(out), Ids::Narrow(ids)) => widen(&mut out[at..at + n], &ids[start..end], u32::from),
        (Input::Tokens(out), Ids::Wide(ids)) => out[at..at + n].copy_from_slice(&ids[start..end]),
        (Input::Features(out), Ids::Features(x, f)) => {
            out[at * f..(at + n) * f].copy_from_slice(&x[start * f..end * f]);
        }
        // A data set has one kind of input.
        (Input::Features(_), _) | (Input::Tokens(_), Ids::Features(..)) => {}
    }
    match &mut batch.target {
        Target::TokenClass(out) if target == TargetKind::TokenClass => {
            let labels = &group.labels(document)[piece.start as usize..piece.end as usize];
            out[at..at + n].copy_from_slice(labels);
        }
        Target::TokenClass(out) => {
            // The token that follows in the document; the document's last token keeps its -1.
            let stop = (end + 1).min(range.end);
            let out = &mut out[at..at + stop - start - 1];
            match &group.ids {
                Ids::Narrow(ids) => widen(out, &ids[start + 1..stop], i32::from),
                Ids::Wide(ids) => widen(out, &ids[start + 1..stop], |id| id as i32),
                Ids::Features(..) => {}
            }
        }
        Target::SequenceClass(out) => out.extend(group.label.as_ref().map(|label| label[document])),
        Target::SequenceValues(out) => {
            if let Some(values) = &group.values {
                let k = values.len() / group.documents();
                out.extend_from_slice(&values[document * k..(document + 1) * k]);
            }
        }
        Target::None | Target::Cotangent(_) => {}
    }
}

fn widen<A: Copy, B>(out: &mut [B], x: &[A], f: impl Fn(A) -> B) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}
