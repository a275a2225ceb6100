//! A decoded group, and the check of every value in it.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int32Type, UInt16Type, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};

use crate::data::advice::PREPARE_AGAIN;
use crate::data::manifest::BatchEntry;
use crate::data::schema::{ColumnValues, InputColumn, ShardColumns, TargetColumn, WantedColumns};
use crate::error::Error;
use crate::target::arrays::{Element, Per, TargetArray};

/// The documents of one record batch. The buffers are those that were read; nothing is copied.
#[derive(Clone, Debug)]
pub struct ShardGroup {
    offsets: OffsetBuffer<i32>,
    /// Ids or features of all documents.
    pub input: GroupInput,
    /// The wanted columns of targets, in the order of the data set's.
    targets: Vec<GroupColumn>,
    /// Name of each document's source, where wanted.
    names: Option<StringArray>,
}

/// Tokens or features of the documents.
#[derive(Clone, Debug)]
pub enum GroupInput {
    /// Ids below 65,536.
    Narrow(ScalarBuffer<u16>),
    /// Ids.
    Wide(ScalarBuffer<u32>),
    /// Features `[tokens, F]`, and F.
    Features(ScalarBuffer<f32>, usize),
}

/// A column of targets of the documents.
#[derive(Clone, Debug)]
pub struct GroupColumn {
    column: TargetColumn,
    /// Where the entries of each document start, of a column per token.
    offsets: Option<OffsetBuffer<i32>>,
    values: ColumnBuffer,
}

#[derive(Clone, Debug)]
enum ColumnBuffer {
    Classes(ScalarBuffer<i32>),
    Numbers(ScalarBuffer<f32>),
}

impl GroupColumn {
    fn new(column: TargetColumn, array: &ArrayRef) -> Result<Self, String> {
        let TargetColumn { name, array: target, .. } = column;
        let other_type = || format!("`{name}` has another type");
        let (offsets, entries) = match target.per {
            Per::Token => {
                let list = array.as_list_opt::<i32>().ok_or_else(|| format!("`{name}` is no list"))?;
                (Some(list.offsets().clone()), list.values())
            }
            Per::Document => (None, array),
        };
        let values = match target.element {
            Element::Class => {
                let classes = entries.as_primitive_opt::<Int32Type>().ok_or_else(other_type)?;
                ColumnBuffer::Classes(classes.values().clone())
            }
            Element::Number | Element::Gradient => {
                let rows = entries.as_fixed_size_list_opt().ok_or_else(other_type)?;
                let numbers = rows.values().as_primitive_opt::<Float32Type>().ok_or_else(other_type)?;
                ColumnBuffer::Numbers(numbers.values().clone())
            }
        };
        Ok(Self { column, offsets, values })
    }

    /// Name in the shards.
    pub fn name(&self) -> &'static str {
        self.column.name
    }

    /// The array of a batch that it fills.
    pub fn array(&self) -> &'static TargetArray {
        self.column.array
    }

    /// Numbers of an entry.
    pub fn width(&self) -> usize {
        self.column.width
    }

    /// Entries of a document: one for each of its tokens, or one.
    pub fn of(&self, document: usize) -> ColumnValues<'_> {
        self.slice(document..document + 1)
    }

    /// Entries of all documents, one after the other.
    pub fn all(&self) -> ColumnValues<'_> {
        let entries = match &self.values {
            ColumnBuffer::Classes(x) => x.len(),
            ColumnBuffer::Numbers(x) => x.len() / self.column.width,
        };
        self.slice(0..self.offsets.as_ref().map_or(entries, |offsets| offsets.len() - 1))
    }

    /// Entries of some successive documents.
    fn slice(&self, documents: Range<usize>) -> ColumnValues<'_> {
        let numbers = self.numbers(documents);
        match &self.values {
            ColumnBuffer::Classes(x) => ColumnValues::Classes(&x[numbers]),
            ColumnBuffer::Numbers(x) => ColumnValues::Numbers(&x[numbers]),
        }
    }

    /// Place of the classes or numbers of some successive documents.
    fn numbers(&self, documents: Range<usize>) -> Range<usize> {
        let entry = |document: usize| match &self.offsets {
            Some(offsets) => offsets[document] as usize,
            None => document,
        };
        entry(documents.start) * self.column.width..entry(documents.end) * self.column.width
    }

    /// Classes and numbers as they may be.
    fn check(&self, n_classes: Option<usize>) -> Result<(), Wrong> {
        let n_classes = n_classes.unwrap_or(0);
        let bad = match self.all() {
            ColumnValues::Classes(x) => first(x, |c| c < -1 || c >= 0 && c as usize >= n_classes),
            ColumnValues::Numbers(x) => first(x, f32::is_infinite),
        };
        let Some((i, found)) = bad else { return Ok(()) };
        let expected = match self.values {
            ColumnBuffer::Classes(_) => format!("a class below {n_classes}, or -1 for none"),
            ColumnBuffer::Numbers(_) => "finite values, or NaN for none".to_owned(),
        };
        let entry = i / self.column.width;
        Err(match &self.offsets {
            Some(offsets) => at_token(offsets, offsets[0] as usize + entry, expected, found),
            None => Wrong { document: Some(entry), token: None, expected, found },
        })
    }
}

/// A value that contradicts the manifest.
pub(super) struct Wrong {
    /// Document of the group.
    pub(super) document: Option<usize>,
    token: Option<usize>,
    expected: String,
    found: String,
}

impl Wrong {
    pub(super) fn into_error(self, path: &Path, index: usize, first_row: u64, name: Option<String>) -> Error {
        let mut at = match self.document {
            Some(document) => format!("row {}", first_row + document as u64),
            None => format!("record batch {index}"),
        };
        if let Some(name) = name.filter(|n| !n.is_empty()) {
            at = format!("{at} ({name})");
        }
        if let Some(token) = self.token {
            at = format!("{at}, token {token}");
        }
        Error::data(path, at, self.expected, self.found, PREPARE_AGAIN)
    }
}

impl ShardGroup {
    /// The wanted columns of a record batch. The types were compared with the schema before.
    pub(super) fn new(
        batch: &RecordBatch,
        columns: &ShardColumns,
        wanted: &WantedColumns,
    ) -> Result<Self, String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column `{name}`"));
        let list =
            |name: &str| column(name)?.as_list_opt::<i32>().ok_or_else(|| format!("`{name}` is no list"));
        let type_of = |name: &str| format!("`{name}` has another type");
        let (offsets, input) = match columns.input {
            InputColumn::Tokens { vocab_size } => {
                let tokens = list("tokens")?;
                let values = tokens.values();
                let ids = if vocab_size <= 1 << 16 {
                    values.as_primitive_opt::<UInt16Type>().map(|v| GroupInput::Narrow(v.values().clone()))
                } else {
                    values.as_primitive_opt::<UInt32Type>().map(|v| GroupInput::Wide(v.values().clone()))
                };
                (tokens.offsets().clone(), ids.ok_or_else(|| type_of("tokens"))?)
            }
            InputColumn::Features { n_features } => {
                let features = list("features")?;
                let rows = features.values().as_fixed_size_list_opt().ok_or_else(|| type_of("features"))?;
                let numbers =
                    rows.values().as_primitive_opt::<Float32Type>().ok_or_else(|| type_of("features"))?;
                (features.offsets().clone(), GroupInput::Features(numbers.values().clone(), n_features))
            }
        };
        let targets = columns
            .wanted(wanted)
            .map(|target| GroupColumn::new(*target, column(target.name)?))
            .collect::<Result<_, _>>()?;
        let names = if wanted.name {
            Some(column("name")?.as_string_opt::<i32>().ok_or_else(|| type_of("name"))?.clone())
        } else {
            None
        };
        Ok(Self { offsets, input, targets, names })
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Tokens of a document.
    pub fn length(&self, document: usize) -> usize {
        let range = self.range(document);
        range.end - range.start
    }

    /// Range of a document's tokens in `input`.
    pub fn range(&self, document: usize) -> Range<usize> {
        self.offsets[document] as usize..self.offsets[document + 1] as usize
    }

    /// The wanted columns of targets.
    pub fn targets(&self) -> &[GroupColumn] {
        &self.targets
    }

    /// The column of targets with this name, where it was wanted.
    pub fn target(&self, name: &str) -> Option<&GroupColumn> {
        self.targets.iter().find(|column| column.name() == name)
    }

    /// Start of each document among the tokens of the group, and the end of the last one.
    pub fn boundaries(&self) -> Vec<u64> {
        self.offsets.iter().map(|&o| (o - self.offsets[0]) as u64).collect()
    }

    /// The token ids of all documents, one after the other; `None` for features.
    pub fn all_tokens(&self) -> Option<Vec<u32>> {
        match &self.input {
            GroupInput::Narrow(ids) => Some(ids[self.all()].iter().copied().map(u32::from).collect()),
            GroupInput::Wide(ids) => Some(ids[self.all()].to_vec()),
            GroupInput::Features(..) => None,
        }
    }

    /// The features `[tokens, F]` of all documents, one after the other, and F; `None` for token ids.
    pub fn all_features(&self) -> Option<(&[f32], usize)> {
        let GroupInput::Features(x, f) = &self.input else { return None };
        let all = self.all();
        Some((&x[all.start * f..all.end * f], *f))
    }

    /// Name of each document's source, where that was wanted.
    pub fn names(&self) -> Option<impl Iterator<Item = &str>> {
        Some(self.names.as_ref()?.iter().map(Option::unwrap_or_default))
    }

    /// Counts and values as the manifest promises them.
    pub(super) fn check(
        &self,
        columns: &ShardColumns,
        n_classes: Option<usize>,
        entry: &BatchEntry,
    ) -> Result<(), Wrong> {
        let rows = self.documents();
        let of_batch =
            |expected: String, found: String| Wrong { document: None, token: None, expected, found };
        let tokens = (self.offsets[rows] - self.offsets[0]) as u64;
        if (rows as u64, tokens) != (entry.rows, entry.tokens) {
            let stated = format!("{} documents of {} tokens", entry.rows, entry.tokens);
            return Err(of_batch(stated, format!("{rows} of {tokens}")));
        }
        for document in 0..rows {
            let length = self.length(document);
            let at = |expected: String, found: String| Wrong {
                document: Some(document),
                token: None,
                expected,
                found,
            };
            if length == 0 {
                return Err(at("at least one token".into(), "an empty document".into()));
            }
            for column in &self.targets {
                let Some(offsets) = &column.offsets else { continue };
                let found = (offsets[document + 1] - offsets[document]) as usize;
                if found != length {
                    return Err(at(format!("{length} {}, one per token", column.name()), found.to_string()));
                }
            }
        }
        self.check_input(columns)?;
        self.targets.iter().try_for_each(|column| column.check(n_classes))
    }

    /// The tokens of all documents: a group may be a part of longer buffers.
    fn all(&self) -> Range<usize> {
        self.offsets[0] as usize..self.offsets[self.documents()] as usize
    }

    fn check_input(&self, columns: &ShardColumns) -> Result<(), Wrong> {
        let all = self.all();
        let bad = match (&self.input, columns.input) {
            (GroupInput::Narrow(ids), InputColumn::Tokens { vocab_size }) => {
                first(&ids[all.clone()], |id| u32::from(id) >= vocab_size)
            }
            (GroupInput::Wide(ids), InputColumn::Tokens { vocab_size }) => {
                first(&ids[all.clone()], |id| id >= vocab_size)
            }
            (GroupInput::Features(x, f), _) => first(&x[all.start * f..all.end * f], |v| !v.is_finite()),
            _ => None,
        };
        let Some((i, found)) = bad else { return Ok(()) };
        let (token, expected) = match columns.input {
            InputColumn::Tokens { vocab_size } => (i, format!("an id below {vocab_size}")),
            InputColumn::Features { n_features: f } => {
                (i / f, format!("a finite number in feature {}", i % f))
            }
        };
        Err(at_token(&self.offsets, all.start + token, expected, found))
    }
}

/// The complaint about a token of all; `offsets` says where the documents start.
fn at_token(offsets: &OffsetBuffer<i32>, token: usize, expected: String, found: String) -> Wrong {
    let document = offsets.partition_point(|&o| o as usize <= token).saturating_sub(1);
    Wrong { document: Some(document), token: Some(token - offsets[document] as usize), expected, found }
}

/// Place and value of the first bad element. The scan for "any" is one that the compiler turns into vector code; the
/// place is looked for only after it.
fn first<T: Copy + ToString>(x: &[T], bad: impl Fn(T) -> bool) -> Option<(usize, String)> {
    if !x.iter().fold(false, |any, &v| any | bad(v)) {
        return None;
    }
    x.iter().position(|&v| bad(v)).map(|i| (i, x[i].to_string()))
}

/// Name of a document.
pub(super) fn name(batch: &RecordBatch, document: usize) -> Option<String> {
    let names = batch.column_by_name("name")?.as_string_opt::<i32>()?;
    (document < names.len()).then(|| names.value(document).to_owned())
}
