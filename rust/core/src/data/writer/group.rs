//! The group that is being filled, and the check of documents that are added to it.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray, UInt16Array,
    UInt32Array,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Schema};

use super::documents::{DocumentColumns, Elements, MAX_NAME};
use crate::data::schema::{ColumnValues, InputColumn, ShardColumns, TargetColumn, item};
use crate::error::{Error, Result};
use crate::target::Values;
use crate::target::arrays::{Element, Per};

/// Documents of a group that is not yet written.
pub(super) struct OpenGroup {
    columns: ShardColumns,
    offsets: Vec<i32>,
    narrow: Vec<u16>,
    wide: Vec<u32>,
    features: Vec<f32>,
    /// One for each column of targets.
    targets: Vec<Values>,
    names: Vec<String>,
}

impl OpenGroup {
    pub(super) fn new(columns: ShardColumns) -> Self {
        let targets = columns.targets.iter().map(|c| Values::empty(c.array.element)).collect();
        Self {
            columns,
            offsets: vec![0],
            narrow: Vec::new(),
            wide: Vec::new(),
            features: Vec::new(),
            targets,
            names: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn tokens(&self) -> usize {
        self.offsets.last().map_or(0, |&end| end as usize)
    }

    /// Takes tokens `range` of document `i`; `targets` are the columns that [`check`] has returned.
    pub(super) fn push(
        &mut self,
        documents: &DocumentColumns<'_>,
        targets: &[ColumnValues<'_>],
        i: usize,
        range: Range<usize>,
    ) {
        self.offsets.push((self.tokens() + range.len()) as i32);
        match self.columns.input {
            InputColumn::Tokens { vocab_size } if vocab_size <= 1 << 16 => match documents.elements {
                Elements::U8(x) => self.narrow.extend(x[range.clone()].iter().map(|&v| u16::from(v))),
                Elements::U16(x) => self.narrow.extend_from_slice(&x[range.clone()]),
                Elements::U32(x) => self.narrow.extend(x[range.clone()].iter().map(|&v| v as u16)),
                Elements::I64(x) => self.narrow.extend(x[range.clone()].iter().map(|&v| v as u16)),
                Elements::F32(_) => {}
            },
            InputColumn::Tokens { .. } => match documents.elements {
                Elements::U8(x) => self.wide.extend(x[range.clone()].iter().map(|&v| u32::from(v))),
                Elements::U16(x) => self.wide.extend(x[range.clone()].iter().map(|&v| u32::from(v))),
                Elements::U32(x) => self.wide.extend_from_slice(&x[range.clone()]),
                Elements::I64(x) => self.wide.extend(x[range.clone()].iter().map(|&v| v as u32)),
                Elements::F32(_) => {}
            },
            InputColumn::Features { n_features: f } => {
                if let Elements::F32(x) = documents.elements {
                    self.features.extend_from_slice(&x[range.start * f..range.end * f]);
                }
            }
        }
        for ((column, out), values) in self.columns.targets.iter().zip(&mut self.targets).zip(targets) {
            let entries = if column.array.per == Per::Token { range.clone() } else { i..i + 1 };
            let numbers = entries.start * column.width..entries.end * column.width;
            match (out, values) {
                (Values::Classes(out), ColumnValues::Classes(x)) => out.extend_from_slice(&x[numbers]),
                (Values::Numbers(out), ColumnValues::Numbers(x)) => out.extend_from_slice(&x[numbers]),
                (Values::Classes(_) | Values::Numbers(_), _) => {}
            }
        }
        if self.columns.name {
            self.names.push(documents.names.map_or_else(String::new, |n| n[i].clone()));
        }
    }

    /// The group as a record batch; the pending documents are empty afterwards.
    pub(super) fn take(&mut self, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
        let empty = Self::new(self.columns.clone());
        let taken = std::mem::replace(self, empty);
        let columns = &self.columns;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(taken.offsets));
        let list = |values: ArrayRef| -> Result<ArrayRef, ArrowError> {
            let field = item(values.data_type().clone());
            Ok(Arc::new(ListArray::try_new(field, offsets.clone(), values, None)?))
        };
        let floats = |values: Vec<f32>, width: usize| -> Result<ArrayRef, ArrowError> {
            let values = Arc::new(Float32Array::from(values));
            Ok(Arc::new(FixedSizeListArray::try_new(item(DataType::Float32), width as i32, values, None)?))
        };
        let mut arrays = vec![match columns.input {
            InputColumn::Tokens { vocab_size } if vocab_size <= 1 << 16 => {
                list(Arc::new(UInt16Array::from(taken.narrow)))?
            }
            InputColumn::Tokens { .. } => list(Arc::new(UInt32Array::from(taken.wide)))?,
            InputColumn::Features { n_features } => list(floats(taken.features, n_features)?)?,
        }];
        for (column, values) in columns.targets.iter().zip(taken.targets) {
            let entries = match values {
                Values::Classes(classes) => Arc::new(Int32Array::from(classes)),
                Values::Numbers(numbers) => floats(numbers, column.width)?,
            };
            arrays.push(if column.array.per == Per::Token { list(entries)? } else { entries });
        }
        if columns.name {
            arrays.push(Arc::new(StringArray::from(taken.names)));
        }
        RecordBatch::try_new(schema.clone(), arrays)
    }
}

/// Checks counts and every value. Returns the columns of targets in the order of the declared ones, and the largest class.
/// `wrong(document, at, expected, found)` makes the error for a value; a count that does not fit is the caller's mistake.
pub(super) fn check<'a>(
    documents: &DocumentColumns<'a>,
    columns: &ShardColumns,
    wrong: impl Fn(usize, &str, String, String) -> Error,
) -> Result<(Vec<ColumnValues<'a>>, i32)> {
    let n = check_offsets(documents, columns, &wrong)?;
    let targets = targets_of(documents, columns, n)?;
    match documents.names {
        Some(_) if !columns.name => {
            return Err(Error::shape("name", "none: the column was not declared", "values"));
        }
        Some(names) => same_count("name", n, names.len())?,
        None => {}
    }

    let at_token = |token: usize, expected: String, found: String| {
        let document = documents.offsets.partition_point(|&o| o <= token as u64).saturating_sub(1);
        wrong(document, &format!(", token {}", token as u64 - documents.offsets[document]), expected, found)
    };
    match (columns.input, documents.elements) {
        (InputColumn::Tokens { vocab_size }, elements) => {
            if let Some((token, found)) = first_bad_id(elements, vocab_size) {
                return Err(at_token(token, format!("an id from 0 to {}", vocab_size - 1), found));
            }
        }
        (InputColumn::Features { n_features }, Elements::F32(x)) => {
            if let Some(i) = x.iter().position(|v| !v.is_finite()) {
                let expected = format!("a finite number in feature {}", i % n_features);
                return Err(at_token(i / n_features, expected, x[i].to_string()));
            }
        }
        _ => return Err(Error::shape("features", "32-bit floats", "whole numbers")),
    }
    if let Some(i) = documents.names.and_then(|x| x.iter().position(|v| v.len() > MAX_NAME)) {
        return Err(wrong(i, "", format!("a name of at most {MAX_NAME} bytes"), "a longer one".into()));
    }
    let largest =
        check_entries(columns, &targets, |column, entry, expected, found| match column.array.per {
            Per::Token => at_token(entry, expected, found),
            Per::Document => wrong(entry, "", expected, found),
        })?;
    Ok((targets, largest))
}

/// Checks every class and number of the columns of targets. Returns the largest class, -1 without one.
fn check_entries(
    columns: &ShardColumns,
    targets: &[ColumnValues<'_>],
    wrong: impl Fn(&TargetColumn, usize, String, String) -> Error,
) -> Result<i32> {
    let mut largest = -1;
    for (column, values) in columns.targets.iter().zip(targets) {
        match values {
            ColumnValues::Classes(x) => {
                if let Some(i) = x.iter().position(|&class| class < -1) {
                    let expected = "a class from 0 on, or -1 for none".to_owned();
                    return Err(wrong(column, i, expected, x[i].to_string()));
                }
                largest = x.iter().copied().fold(largest, i32::max);
            }
            ColumnValues::Numbers(x) => {
                if let Some(i) = x.iter().position(|v| v.is_infinite()) {
                    let expected = "finite values, or NaN for none".to_owned();
                    return Err(wrong(column, i / column.width, expected, "an infinite one".to_owned()));
                }
            }
        }
    }
    Ok(largest)
}

/// The columns of targets in the order of the declared ones, none missing and none beyond them.
fn targets_of<'a>(
    documents: &DocumentColumns<'a>,
    columns: &ShardColumns,
    n: usize,
) -> Result<Vec<ColumnValues<'a>>> {
    if let Some((name, _)) = documents.targets.iter().find(|(name, _)| !columns.has(name)) {
        return Err(Error::shape(*name, "none: the column was not declared", "values"));
    }
    let tokens = documents.offsets[n] as usize;
    let values_of = |column: &TargetColumn| {
        let mut given = documents.targets.iter().filter(|(name, _)| *name == column.name);
        let values = match (given.next(), given.next()) {
            (Some((_, values)), None) => *values,
            (found, _) => {
                let found = if found.is_some() { "two of them" } else { "none" };
                return Err(Error::shape(column.name, "the column that was declared", found));
            }
        };
        same_count(column.name, column.count(n, tokens), values.len())?;
        match (column.array.element == Element::Class, values) {
            (true, ColumnValues::Classes(_)) | (false, ColumnValues::Numbers(_)) => Ok(values),
            (true, ColumnValues::Numbers(_)) => Err(Error::shape(column.name, "classes", "numbers")),
            (false, ColumnValues::Classes(_)) => Err(Error::shape(column.name, "numbers", "classes")),
        }
    };
    columns.targets.iter().map(values_of).collect()
}

/// Offsets rise from 0 to the number of tokens. Returns the number of documents.
fn check_offsets(
    documents: &DocumentColumns<'_>,
    columns: &ShardColumns,
    wrong: &impl Fn(usize, &str, String, String) -> Error,
) -> Result<usize> {
    let elements = match documents.elements {
        Elements::U8(x) => x.len(),
        Elements::U16(x) => x.len(),
        Elements::U32(x) => x.len(),
        Elements::I64(x) => x.len(),
        Elements::F32(x) => x.len(),
    };
    let width = match columns.input {
        InputColumn::Features { n_features } => n_features,
        InputColumn::Tokens { .. } => 1,
    };
    if elements % width != 0 {
        return Err(Error::shape("features", format!("a multiple of {width} numbers"), elements));
    }
    let total = (elements / width) as u64;
    let offsets = documents.offsets;
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
        return Err(Error::shape("offsets", "one more than there are documents", "none"));
    };
    if first != 0 || last != total {
        return Err(Error::shape("offsets", format!("0 to {total}"), format!("{first} to {last}")));
    }
    match offsets.windows(2).position(|w| w[0] >= w[1]) {
        Some(i) if offsets[i] == offsets[i + 1] => {
            Err(wrong(i, "", "at least one token".into(), "an empty document".into()))
        }
        Some(i) => Err(Error::shape(
            format!("offset {}", i + 1),
            format!("more than {}", offsets[i]),
            offsets[i + 1],
        )),
        None => Ok(offsets.len() - 1),
    }
}

fn same_count(column: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::shape(format!("{column} count"), expected, found)) }
}

/// Place and value of the first id that is not in 0..vocab_size.
fn first_bad_id(elements: Elements<'_>, vocab_size: u32) -> Option<(usize, String)> {
    fn find<T: Copy + ToString>(x: &[T], bad: impl Fn(T) -> bool) -> Option<(usize, String)> {
        x.iter().position(|&v| bad(v)).map(|i| (i, x[i].to_string()))
    }
    match elements {
        Elements::U8(x) => find(x, |v| u32::from(v) >= vocab_size),
        Elements::U16(x) => find(x, |v| u32::from(v) >= vocab_size),
        Elements::U32(x) => find(x, |v| v >= vocab_size),
        Elements::I64(x) => find(x, |v| v < 0 || v >= i64::from(vocab_size)),
        Elements::F32(x) => find(x, |_| true),
    }
}
