//! Rows of windows into a batch: ids or features, documents, targets.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::batch::{Batch, Input, Segment};
use super::loader_config::{LoaderConfig, Packing};
use super::pack::Piece;
use super::shard::{Ids, ShardGroup};
use super::window::Window;
use crate::target::arrays::{Element, Per};
use crate::target::kinds::TargetKind;
use crate::target::{Target, Values};

/// The length of padded rows is a multiple of this, so that batches have few different lengths.
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
    let from_tokens = config.target.is_some_and(|kind| kind.from_tokens);
    let mut batch = Batch {
        rows: rows.len(),
        length,
        input: match n_features {
            Some(f) => Input::Features(vec![0.0; positions * f]),
            None => Input::Tokens(vec![0; positions]),
        },
        segments: Vec::new(),
        mask: None,
        target: empty_target(config.target, positions),
    };
    for (i, (window, pieces)) in rows.iter().enumerate() {
        let mut start = 0;
        for piece in *pieces {
            put(&mut batch, i * length + start, window.group(piece), piece, from_tokens);
            let end = start + piece.tokens();
            batch.segments.push(Segment { row: i as u32, start: start as u32, end: end as u32 });
            start = end;
        }
    }
    batch
}

/// The arrays of a kind before any document: -1 at every position, and nothing yet for documents.
fn empty_target(kind: Option<&'static TargetKind>, positions: usize) -> Target {
    let arrays = kind.map_or(&[][..], |kind| kind.arrays);
    Target::of(arrays.iter().map(|array| {
        let classes = if array.per == Per::Token { positions } else { 0 };
        let is_class = array.element == Element::Class;
        (*array, if is_class { Values::Classes(vec![-1; classes]) } else { Values::Numbers(Vec::new()) })
    }))
}

/// Copies one piece to position `at` of the batch, with its targets.
fn put(batch: &mut Batch, at: usize, group: &ShardGroup, piece: &Piece, from_tokens: bool) {
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
    for (array, values) in batch.target.arrays_mut() {
        match values {
            Values::Classes(out) if from_tokens => {
                // The target is the next token of the document; the document's last token keeps -1.
                let stop = (end + 1).min(range.end);
                let out = &mut out[at..at + stop - start - 1];
                match &group.ids {
                    Ids::Narrow(ids) => widen(out, &ids[start + 1..stop], i32::from),
                    Ids::Wide(ids) => widen(out, &ids[start + 1..stop], |id| id as i32),
                    Ids::Features(..) => {}
                }
            }
            Values::Classes(out) if array.per == Per::Token => {
                let labels = &group.labels(document)[piece.start as usize..piece.end as usize];
                out[at..at + n].copy_from_slice(labels);
            }
            Values::Classes(out) => out.extend(group.label.as_ref().map(|label| label[document])),
            Values::Numbers(out) => {
                if let Some(values) = &group.values {
                    let k = values.len() / group.documents();
                    out.extend_from_slice(&values[document * k..(document + 1) * k]);
                }
            }
        }
    }
}

fn widen<A: Copy, B>(out: &mut [B], x: &[A], f: impl Fn(A) -> B) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}
