//! Rows of windows into a batch: ids or features, documents, targets.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::batch::{Batch, Input, Segment};
use super::loader_config::LoaderConfig;
use super::pack::Piece;
use super::schema::ColumnValues;
use super::shard::{GroupColumn, GroupInput, ShardGroup};
use super::window::Window;
use crate::allocate::try_filled;
use crate::error::Result;
use crate::target::arrays::{Per, TargetArray};
use crate::target::kinds::TargetKind;
use crate::target::{Target, Values};

/// What messages call the arrays of a batch.
const BATCH: &str = "a batch of the data";

/// Some successive rows of a window.
#[derive(Debug)]
pub(super) struct RowRange {
    pub(super) window: Arc<Window>,
    pub(super) rows: Range<u64>,
}

/// The batch that consists of these rows; refused where the memory is not there.
pub(super) fn assemble(parts: &[RowRange], config: &LoaderConfig) -> Result<Batch> {
    let all = || parts.iter().flat_map(|p| p.rows.clone().map(|i| (&*p.window, p.window.row(i))));
    // With several ranks each has an equal part of the rows; alone it also has those of a smaller last batch.
    let first = if config.ranks == 1 { 0 } else { config.rank * config.batch_size };
    let rows: Vec<(&Window, &[Piece])> = all().skip(first).take(config.batch_size).collect();
    let width = |row: &[Piece]| row.iter().map(Piece::tokens).sum::<usize>();
    let length = config.batch_length(rows.iter().map(|(_, row)| width(row)).max().unwrap_or(0));
    let group = all().find_map(|(window, row)| row.first().map(|piece| window.group(piece)));
    let n_features = match group.map(|group| &group.input) {
        Some(GroupInput::Features(_, f)) => Some(*f),
        _ => None,
    };
    let positions = rows.len() * length;
    let from_tokens = config.target.is_some_and(|kind| kind.from_tokens);
    let mut batch = Batch {
        rows: rows.len(),
        length,
        input: match n_features {
            Some(f) => Input::Features(try_filled(0.0, &[positions, f], BATCH)?),
            None => Input::Tokens(try_filled(0, &[positions], BATCH)?),
        },
        segments: Vec::new(),
        mask: None,
        target: empty_target(config.target, positions, group)?,
        weights: None,
        continued: config.lanes().map(|_| rows.iter().map(|(_, row)| goes_on(row)).collect()),
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
    Ok(batch)
}

/// Whether a row begins inside a document.
fn goes_on(row: &[Piece]) -> bool {
    row.first().is_some_and(|piece| piece.start > 0)
}

/// The arrays of a kind before any document: nothing known at every position, and nothing yet for documents.
fn empty_target(
    kind: Option<&'static TargetKind>,
    positions: usize,
    group: Option<&ShardGroup>,
) -> Result<Target> {
    let arrays = kind.map_or(&[][..], |kind| kind.arrays);
    let of_array = |array: &&'static TargetArray| {
        let entries = if array.per == Per::Token { positions } else { 0 };
        let width = group.and_then(|group| column_of(group, array)).map_or(1, GroupColumn::width);
        Ok((*array, Values::missing(array.element, &[entries, width], BATCH)?))
    };
    Ok(Target::of(arrays.iter().map(of_array).collect::<Result<Vec<_>>>()?))
}

/// The column that an array is read from.
fn column_of<'a>(group: &'a ShardGroup, array: &TargetArray) -> Option<&'a GroupColumn> {
    group.target(array.column?).filter(|column| column.array().per == array.per)
}

/// Copies one piece to position `at` of the batch, with its targets.
fn put(batch: &mut Batch, at: usize, group: &ShardGroup, piece: &Piece, from_tokens: bool) {
    let document = piece.document as usize;
    let range = group.range(document);
    let (start, end) = (range.start + piece.start as usize, range.start + piece.end as usize);
    let n = end - start;
    match (&mut batch.input, &group.input) {
        (Input::Tokens(out), GroupInput::Narrow(ids)) => {
            widen(&mut out[at..at + n], &ids[start..end], u32::from);
        }
        (Input::Tokens(out), GroupInput::Wide(ids)) => out[at..at + n].copy_from_slice(&ids[start..end]),
        (Input::Features(out), GroupInput::Features(x, f)) => {
            out[at * f..(at + n) * f].copy_from_slice(&x[start * f..end * f]);
        }
        // A data set has one kind of input.
        (Input::Features(_), _) | (Input::Tokens(_), GroupInput::Features(..)) => {}
    }
    for (array, values) in batch.target.arrays_mut() {
        if from_tokens {
            // The target is the next token of the document; the document's last token keeps -1.
            let stop = (end + 1).min(range.end);
            let Values::Classes(out) = values else { continue };
            let out = &mut out[at..at + stop - start - 1];
            match &group.input {
                GroupInput::Narrow(ids) => widen(out, &ids[start + 1..stop], i32::from),
                GroupInput::Wide(ids) => widen(out, &ids[start + 1..stop], |id| id as i32),
                GroupInput::Features(..) => {}
            }
            continue;
        }
        let Some(column) = column_of(group, array) else { continue };
        match (values, column.of(document)) {
            (Values::Classes(out), ColumnValues::Classes(x)) => put_entries(out, at, x, column, piece),
            (Values::Numbers(out), ColumnValues::Numbers(x)) => put_entries(out, at, x, column, piece),
            // A column fills an array of its own type.
            (Values::Classes(_) | Values::Numbers(_), _) => {}
        }
    }
}

/// Copies the entries of a piece's tokens to position `at`, or appends the one of its document.
fn put_entries<T: Copy>(out: &mut Vec<T>, at: usize, x: &[T], column: &GroupColumn, piece: &Piece) {
    match column.array().per {
        Per::Token => {
            let x = &x[piece.start as usize * column.width()..piece.end as usize * column.width()];
            out[at * column.width()..][..x.len()].copy_from_slice(x);
        }
        Per::Document => out.extend_from_slice(x),
    }
}

fn widen<A: Copy, B>(out: &mut [B], x: &[A], f: impl Fn(A) -> B) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::schema::{InputColumn, Kind, ShardColumns, TargetColumn, WantedColumns};
    use crate::data::shard::Shard;
    use crate::data::writer::{DocumentColumns, Elements, Extra, ShardWriter, WriterConfig};
    use crate::target::arrays::{Element, SEQUENCE_CLASS, SEQUENCE_VALUES, TOKEN_CLASS};

    /// An array that no kind of target has.
    static TOKEN_VALUES: TargetArray = TargetArray {
        name: "token_values",
        about: "numbers per token",
        per: Per::Token,
        element: Element::Number,
        column: Some("levels"),
    };

    static EVERY_ARRAY: TargetKind = TargetKind {
        name: "all",
        about: "every array",
        arrays: &[&TOKEN_CLASS, &SEQUENCE_CLASS, &SEQUENCE_VALUES, &TOKEN_VALUES],
        from_tokens: false,
        metrics: &["loss"],
        default_head: "{}",
    };

    /// Two documents, of two and three tokens, with every kind of column, read back from a shard.
    fn group(columns: &ShardColumns) -> ShardGroup {
        let folder = tempfile::tempdir().unwrap();
        let config = WriterConfig { vocab_size: Some(9), ..WriterConfig::new(Kind::Tokens, &["tokens"]) };
        let path = folder.path().to_path_buf();
        let mut writer = ShardWriter::with_columns(path, config, columns.clone()).unwrap();
        let targets: &[(&str, ColumnValues<'_>)] = &[
            ("levels", ColumnValues::Numbers(&[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5])),
            ("values", ColumnValues::Numbers(&[10.0, 11.0, 12.0, f32::NAN])),
            ("labels", ColumnValues::Classes(&[0, 1, -1, 1, 2])),
            ("label", ColumnValues::Classes(&[2, 1])),
        ];
        let (elements, offsets) = (Elements::U8(&[1, 2, 3, 4, 5]), &[0, 2, 5][..]);
        writer.append(&DocumentColumns { elements, offsets, targets, names: None }).unwrap();
        let entry = writer.close(Extra { n_classes: Some(3), ..Extra::default() }).unwrap().shards.remove(0);
        let shard = Shard::open(folder.path(), entry, columns.clone(), Some(3)).unwrap();
        shard.read(0, &WantedColumns::all(columns), &Arc::default()).unwrap()
    }

    #[test]
    fn a_column_of_every_element_is_written_read_and_put_where_it_belongs() {
        let column =
            |array: &'static TargetArray, width| TargetColumn { name: array.column.unwrap(), array, width };
        let targets = vec![
            column(&TOKEN_CLASS, 1),
            column(&SEQUENCE_CLASS, 1),
            column(&SEQUENCE_VALUES, 2),
            column(&TOKEN_VALUES, 2),
        ];
        let group =
            group(&ShardColumns { input: InputColumn::Tokens { vocab_size: 9 }, targets, name: false });
        let target = empty_target(Some(&EVERY_ARRAY), 4, Some(&group)).unwrap();
        let input = Input::Tokens(vec![0; 4]);
        let mut batch = Batch { target, ..Batch::whole(1, 4, input, Target::none()) };
        batch.segments.clear();
        // The last two tokens of the second document, then the first of the first; the last position stays empty.
        put(&mut batch, 0, &group, &Piece { group: 0, document: 1, start: 1, end: 3 }, false);
        put(&mut batch, 2, &group, &Piece { group: 0, document: 0, start: 0, end: 1 }, false);
        let shown: Vec<_> = batch.target.arrays().map(|(_, values)| format!("{values:?}")).collect();
        let expected = [
            "Classes([1, 2, 0, -1])",
            "Classes([1, 2])",
            "Numbers([12.0, NaN, 10.0, 11.0])",
            "Numbers([3.0, 3.5, 4.0, 4.5, 0.0, 0.5, NaN, NaN])",
        ];
        assert_eq!(shown, expected);
        assert_eq!(batch.input, Input::Tokens(vec![4, 5, 1, 0]));
    }
}
