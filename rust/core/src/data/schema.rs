//! Columns of a shard, and their Arrow schema.
//!
//! | column     | type                                                | per      |
//! |------------|-----------------------------------------------------|----------|
//! | `tokens`   | `List<UInt16>` (vocab ≤ 65,536), or `List<UInt32>`  | token    |
//! | `features` | `List<FixedSizeList<Float32, F>>`                   | token    |
//! | `labels`   | `List<Int32>`, -1 for none                          | token    |
//! | `label`    | `Int32`, -1 for none                                | document |
//! | `values`   | `FixedSizeList<Float32, K>`                         | document |
//! | `name`     | `Utf8`, where it came from                          | document |
//!
//! A row is a document. Exactly one of `tokens` and `features` is there; the others are optional. There are no nulls.

#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardColumns {
    /// The type of a token: an id or features.
    pub input: InputColumn,
    /// A class per token.
    pub labels: bool,
    /// A class per document.
    pub label: bool,
    /// Numbers per document (K).
    pub n_values: Option<usize>,
    /// Name of the document's source.
    pub name: bool,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each column that may be there")]
pub struct Wanted {
    /// A class per token.
    pub labels: bool,
    /// A class per document.
    pub label: bool,
    /// Numbers per document.
    pub values: bool,
    /// Name of each document's source.
    pub name: bool,
}

impl Wanted {
    /// Every column of the data set.
    pub fn all(columns: &ShardColumns) -> Self {
        Self {
            labels: columns.labels,
            label: columns.label,
            values: columns.n_values.is_some(),
            name: columns.name,
        }
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
    /// Numbers per document.
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
        for (i, column) in self.columns.iter().enumerate() {
            if !["tokens", "features", "labels", "label", "values", "name"].contains(&column.as_str()) {
                return complain(
                    "columns",
                    "tokens, features, labels, label, values or name",
                    format!("{column:?}"),
                );
            }
            if self.columns[..i].contains(column) {
                return complain("columns", "each column once", format!("{column:?} twice"));
            }
        }
        let input = match self.kind {
            Kind::Tokens => {
                if !has("tokens") || has("features") || self.n_features.is_some() {
                    return complain("columns", "tokens and no features for kind tokens", self.listed());
                }
                match self.vocab_size {
                    Some(vocab_size) if (1..=MAX_VOCAB).contains(&vocab_size) => {
                        InputColumn::Tokens { vocab_size }
                    }
                    other => return complain("vocab_size", format!("1 to {MAX_VOCAB}"), shown(other)),
                }
            }
            Kind::Features => {
                if !has("features") || has("tokens") || self.vocab_size.is_some() {
                    return complain("columns", "features and no tokens for kind features", self.listed());
                }
                match self.n_features {
                    Some(n_features) if (1..=MAX_WIDTH).contains(&n_features) => {
                        InputColumn::Features { n_features }
                    }
                    other => return complain("n_features", format!("1 to {MAX_WIDTH}"), shown(other)),
                }
            }
        };
        match (has("values"), self.n_values) {
            (true, Some(k)) if (1..=MAX_WIDTH).contains(&k) => {}
            (false, None) => {}
            (true, other) => return complain("n_values", format!("1 to {MAX_WIDTH}"), shown(other)),
            (false, Some(k)) => return complain("n_values", "none without a column `values`", k.to_string()),
        }
        Ok(ShardColumns {
            input,
            labels: has("labels"),
            label: has("label"),
            n_values: self.n_values,
            name: has("name"),
        })
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
        if self.labels {
            fields.push(list("labels", DataType::Int32));
        }
        if self.label {
            fields.push(Field::new("label", DataType::Int32, false));
        }
        if let Some(k) = self.n_values {
            fields.push(Field::new("values", floats(k), false));
        }
        if self.name {
            fields.push(Field::new("name", DataType::Utf8, false));
        }
        Schema::new(fields)
    }

    /// Names of the columns to decode: the input and what is wanted beside it.
    pub(super) fn projection(&self, wanted: Wanted) -> Vec<&'static str> {
        let input = match self.input {
            InputColumn::Tokens { .. } => "tokens",
            InputColumn::Features { .. } => "features",
        };
        let optional = [
            ("labels", wanted.labels),
            ("label", wanted.label),
            ("values", wanted.values),
            ("name", wanted.name),
        ];
        [input]
            .into_iter()
            .chain(optional.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name))
            .collect()
    }

    /// Whether the model reads tokens.
    pub fn has_tokens(&self) -> bool {
        matches!(self.input, InputColumn::Tokens { .. })
    }

    /// Whether there is a column of targets with this name.
    pub fn has(&self, column: &str) -> bool {
        match column {
            "labels" => self.labels,
            "label" => self.label,
            "values" => self.n_values.is_some(),
            _ => false,
        }
    }

    /// Whether each token or document has a class.
    pub fn has_classes(&self) -> bool {
        self.labels || self.label
    }

    /// Whether a document has a target of its own, so that it cannot be cut.
    pub fn is_whole(&self) -> bool {
        self.label || self.n_values.is_some()
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
            let columns = ShardColumns { input, labels: false, label: false, n_values: None, name: false };
            assert_eq!(columns.schema().field(0).data_type(), &DataType::List(item(expected)));
        }
    }
}
