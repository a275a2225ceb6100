//! Columns of a shard, and their Arrow schema.
//!
//! | column             | type                                                        | per      |
//! |--------------------|-------------------------------------------------------------|----------|
//! | `tokens`           | `List<UInt16>` (vocab ≤ 65,536), or `List<UInt32>`          | token    |
//! | `features`         | `List<FixedSizeList<Float32, F>>`                           | token    |
//! | columns of targets | classes `Int32`, -1 for none; numbers `FixedSizeList<Float32, K>`, NaN for none | document |
//! |                    | a `List` of the same                                        | token    |
//! | `name`             | `Utf8`, where it came from                                  | document |
//!
//! A row is a document. Exactly one of `tokens` and `features` is there; the others are optional. There are no nulls.
//! The columns of targets are those of [`arrays::ALL`], in that order: `labels`, a class per token; `label`, a class per
//! document; `values`, numbers per document.

#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::target::arrays::{self, Element, Per, TargetArray};

/// Most token ids: targets are `i32`.
pub(crate) const MAX_VOCAB: u32 = i32::MAX as u32;
/// Most features per token, and most values per document.
pub(crate) const MAX_WIDTH: usize = 1 << 20;

/// Input of the model.
///
/// ```
/// use ssm_hpn::data::{Kind, WriterConfig};
///
/// let config = WriterConfig::from_json(r#"{"kind": "features", "n_features": 2, "columns": ["features"]}"#)?;
/// assert_eq!(config.kind, Kind::Features);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Token ids.
    Tokens,
    /// Float features per token.
    Features,
}

/// The columns of a data set, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardColumns {
    /// The type of a token: an id or features.
    pub input: InputColumn,
    /// The columns of targets, in the order of [`arrays::ALL`].
    pub targets: Vec<TargetColumn>,
    /// Name of the document's source.
    pub name: bool,
}

/// A column of targets of a data set. An entry is a class, or K numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetColumn {
    /// Name in the shards.
    pub name: &'static str,
    /// The array that it fills.
    pub array: &'static TargetArray,
    /// Numbers of an entry: 1, or K.
    pub width: usize,
}

/// The type of a token: an id or features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputColumn {
    /// An id below `vocab_size`.
    Tokens {
        /// Number of ids.
        vocab_size: u32,
    },
    /// `n_features` finite numbers.
    Features {
        /// Numbers per token (F).
        n_features: usize,
    },
}

/// Which columns to decode beside the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedColumns {
    /// Names of columns of targets; a data set need not have them.
    pub targets: Vec<&'static str>,
    /// Name of each document's source.
    pub name: bool,
}

impl WantedColumns {
    /// Every column of the data set.
    pub fn all(columns: &ShardColumns) -> Self {
        Self { targets: columns.targets.iter().map(|column| column.name).collect(), name: columns.name }
    }
}

/// The columns as a manifest and a writer's configuration declare them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared<'a> {
    /// Input of the model.
    pub kind: Kind,
    /// Number of token ids.
    pub vocab_size: Option<u32>,
    /// Features per token.
    pub n_features: Option<usize>,
    /// Names of the columns.
    pub columns: &'a [String],
    /// Numbers of an entry in columns of numbers.
    pub n_values: Option<usize>,
}

/// An invalid declaration: the field, and what was expected and found.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// Name of the field.
    pub field: &'static str,
    /// What is valid, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
}

fn complain<T>(
    field: &'static str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Result<T, Complaint> {
    Err(Complaint { field, expected: expected.into(), found: found.into() })
}

impl Declared<'_> {
    /// The columns, if the declaration does not contradict itself.
    pub(crate) fn check(&self) -> Result<ShardColumns, Complaint> {
        let has = |name: &str| self.columns.iter().any(|c| c == name);
        let targets = arrays::columns().map(|(name, _)| name);
        let known: Vec<&str> = ["tokens", "features"].into_iter().chain(targets).collect();
        for (i, column) in self.columns.iter().enumerate() {
            if column != "name" && !known.contains(&column.as_str()) {
                return complain("columns", format!("{} or name", known.join(", ")), format!("{column:?}"));
            }
            if self.columns[..i].contains(column) {
                return complain("columns", "each column once", format!("{column:?} twice"));
            }
        }
        let input = self.check_input(has)?;
        let targets = self.check_targets(has)?;
        Ok(ShardColumns { input, targets, name: has("name") })
    }

    fn check_input(&self, has: impl Fn(&str) -> bool) -> Result<InputColumn, Complaint> {
        match self.kind {
            Kind::Tokens => {
                if !has("tokens") || has("features") || self.n_features.is_some() {
                    return complain("columns", "tokens and no features for kind tokens", self.listed());
                }
                match self.vocab_size {
                    Some(vocab_size) if (1..=MAX_VOCAB).contains(&vocab_size) => {
                        Ok(InputColumn::Tokens { vocab_size })
                    }
                    other => complain("vocab_size", format!("1 to {MAX_VOCAB}"), shown(other)),
                }
            }
            Kind::Features => {
                if !has("features") || has("tokens") || self.vocab_size.is_some() {
                    return complain("columns", "features and no tokens for kind features", self.listed());
                }
                match self.n_features {
                    Some(n_features) if (1..=MAX_WIDTH).contains(&n_features) => {
                        Ok(InputColumn::Features { n_features })
                    }
                    other => complain("n_features", format!("1 to {MAX_WIDTH}"), shown(other)),
                }
            }
        }
    }

    fn check_targets(&self, has: impl Fn(&str) -> bool) -> Result<Vec<TargetColumn>, Complaint> {
        let is_number = |array: &TargetArray| array.element != Element::Class;
        let present = || arrays::columns().filter(|(name, _)| has(name));
        match (present().any(|(_, array)| is_number(array)), self.n_values) {
            (true, Some(k)) if (1..=MAX_WIDTH).contains(&k) => {}
            (false, None) => {}
            (true, other) => return complain("n_values", format!("1 to {MAX_WIDTH}"), shown(other)),
            (false, Some(k)) => {
                let numbers = arrays::columns().filter(|(_, array)| is_number(array));
                let names = numbers.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
                return complain("n_values", format!("none without a column {names}"), k.to_string());
            }
        }
        let width = |array| if is_number(array) { self.n_values.unwrap_or(1) } else { 1 };
        Ok(present().map(|(name, array)| TargetColumn { name, array, width: width(array) }).collect())
    }

    fn listed(&self) -> String {
        format!("columns {}", self.columns.join(", "))
    }
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |v| v.to_string())
}

impl ShardColumns {
    /// The Arrow schema, in the order of the table above.
    pub fn schema(&self) -> Schema {
        let mut fields = vec![match self.input {
            InputColumn::Tokens { vocab_size } if vocab_size <= 1 << 16 => list("tokens", DataType::UInt16),
            InputColumn::Tokens { .. } => list("tokens", DataType::UInt32),
            InputColumn::Features { n_features } => list("features", floats(n_features)),
        }];
        fields.extend(self.targets.iter().map(|column| Field::new(column.name, column.data_type(), false)));
        if self.name {
            fields.push(Field::new("name", DataType::Utf8, false));
        }
        Schema::new(fields)
    }

    /// Names of the columns to decode: the input and what is wanted beside it.
    pub(super) fn projection(&self, wanted: &WantedColumns) -> Vec<&'static str> {
        let input = match self.input {
            InputColumn::Tokens { .. } => "tokens",
            InputColumn::Features { .. } => "features",
        };
        let targets = self.wanted(wanted).map(|column| column.name);
        [input].into_iter().chain(targets).chain(wanted.name.then_some("name")).collect()
    }

    /// The wanted columns of targets.
    pub(super) fn wanted(&self, wanted: &WantedColumns) -> impl Iterator<Item = &TargetColumn> {
        self.targets.iter().filter(|column| wanted.targets.contains(&column.name))
    }

    /// Whether the model reads tokens.
    pub fn has_tokens(&self) -> bool {
        matches!(self.input, InputColumn::Tokens { .. })
    }

    /// Whether there is a column of targets with this name.
    pub fn has(&self, column: &str) -> bool {
        self.targets.iter().any(|target| target.name == column)
    }

    /// Whether each token or document has a class.
    pub fn has_classes(&self) -> bool {
        self.targets.iter().any(|column| column.array.element == Element::Class)
    }

    /// Whether a document has a target of its own, so that it cannot be cut.
    pub fn is_whole(&self) -> bool {
        self.targets.iter().any(|column| column.array.per == Per::Document)
    }
}

impl TargetColumn {
    /// Numbers in documents of this many tokens.
    pub(super) fn count(&self, documents: usize, tokens: usize) -> usize {
        self.width * if self.array.per == Per::Token { tokens } else { documents }
    }

    fn data_type(&self) -> DataType {
        let entry = match self.array.element {
            Element::Class => DataType::Int32,
            Element::Number | Element::Gradient => floats(self.width),
        };
        match self.array.per {
            Per::Token => DataType::List(item(entry)),
            Per::Document => entry,
        }
    }
}

/// Entries of a column of targets.
///
/// ```
/// use ssm_hpn::data::ColumnValues;
///
/// // The classes of three documents, the second of which has none, and two numbers of each.
/// let label = ColumnValues::Classes(&[0, -1, 2]);
/// let values = ColumnValues::Numbers(&[0.5, 1.0, f32::NAN, 1.5, 0.0, 2.0]);
/// assert_eq!((label.len(), values.len()), (3, 6));
/// assert!(!label.is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnValues<'a> {
    /// Classes, -1 for none.
    Classes(&'a [i32]),
    /// Numbers, K of each entry, NaN for none.
    Numbers(&'a [f32]),
}

impl ColumnValues<'_> {
    /// Classes or numbers.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(x) => x.len(),
            Self::Numbers(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Field of a list's elements.
pub(super) fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, false))
}

fn list(name: &str, element: DataType) -> Field {
    Field::new(name, DataType::List(item(element)), false)
}

fn floats(width: usize) -> DataType {
    DataType::FixedSizeList(item(DataType::Float32), width as i32)
}

/// Whether two types agree in all but the names and nullability of list elements, which writers choose differently.
pub(super) fn same_type(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => same_type(a.data_type(), b.data_type()),
        (DataType::FixedSizeList(a, n), DataType::FixedSizeList(b, m)) => {
            n == m && same_type(a.data_type(), b.data_type())
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        kind: Kind,
        vocab: Option<u32>,
        features: Option<usize>,
        columns: &[&str],
        values: Option<usize>,
    ) -> String {
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let declared =
            Declared { kind, vocab_size: vocab, n_features: features, columns: &columns, n_values: values };
        match declared.check() {
            Ok(columns) => format!("{}", columns.schema().fields().len()),
            Err(c) => c.field.to_owned(),
        }
    }

    #[test]
    fn a_declaration_must_not_contradict_itself() {
        use Kind::{Features, Tokens};
        assert_eq!(
            check(Tokens, Some(256), None, &["tokens", "labels", "label", "values", "name"], Some(2)),
            "5"
        );
        assert_eq!(check(Features, None, Some(6), &["features"], None), "1");
        assert_eq!(check(Tokens, Some(256), None, &["features"], None), "columns");
        assert_eq!(check(Tokens, Some(256), None, &["tokens", "tokens"], None), "columns");
        assert_eq!(check(Tokens, Some(256), None, &["tokens", "weight"], None), "columns");
        assert_eq!(check(Tokens, Some(256), Some(6), &["tokens"], None), "columns");
        assert_eq!(check(Features, Some(256), Some(6), &["features"], None), "columns");
        assert_eq!(check(Tokens, None, None, &["tokens"], None), "vocab_size");
        assert_eq!(check(Tokens, Some(0), None, &["tokens"], None), "vocab_size");
        assert_eq!(check(Tokens, Some(u32::MAX), None, &["tokens"], None), "vocab_size");
        assert_eq!(check(Features, None, Some(0), &["features"], None), "n_features");
        assert_eq!(check(Tokens, Some(9), None, &["tokens", "values"], None), "n_values");
        assert_eq!(check(Tokens, Some(9), None, &["tokens"], Some(1)), "n_values");
    }

    #[test]
    fn the_width_of_a_token_follows_the_vocabulary() {
        for (vocab_size, expected) in [(65_536, DataType::UInt16), (65_537, DataType::UInt32)] {
            let input = InputColumn::Tokens { vocab_size };
            let columns = ShardColumns { input, targets: Vec::new(), name: false };
            assert_eq!(columns.schema().field(0).data_type(), &DataType::List(item(expected)));
        }
    }
}
