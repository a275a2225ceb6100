//! Settings of a writer, and what is added to the manifest when it closes.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds::Bounds;
use crate::data::manifest::Normalisation;
use crate::data::schema::{Declared, Kind, ShardColumns};
use crate::error::{Error, Result};

const MAX_DOCUMENT: Bounds = Bounds::whole("data.max_document", 16, 1 << 27);
const SHARD_TOKENS: Bounds = Bounds::whole("data.shard_tokens", 1 << 10, 1 << 31);

/// Bounds of the settings that a program cuts documents and shards by, before they come to a writer.
pub(crate) const BOUNDS: &[Bounds] = &[MAX_DOCUMENT, SHARD_TOKENS];

/// Most tokens of a document, and of a record batch: twice [`MAX_DOCUMENT`], as a piece of a text may have more tokens
/// than it has bytes.
const MOST_TOKENS: usize = 1 << 28;

/// Settings of a writer.
///
/// ```
/// use ssm_hpn::data::{Kind, WriterConfig};
///
/// let config = WriterConfig { n_features: Some(2), ..WriterConfig::new(Kind::Features, &["features", "label"]) };
/// let text = r#"{"kind": "features", "n_features": 2, "columns": ["features", "label"]}"#;
/// assert_eq!(WriterConfig::from_json(text)?, config);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriterConfig {
    /// The type of a token: an id or features.
    pub kind: Kind,
    /// Number of token ids, for kind `tokens`.
    #[serde(default)]
    pub vocab_size: Option<u32>,
    /// Numbers per token (F), for kind `features`.
    #[serde(default)]
    pub n_features: Option<usize>,
    /// Columns, as in `crate::data::schema`.
    pub columns: Vec<String>,
    /// Numbers per document (K), with a column `values`.
    #[serde(default)]
    pub n_values: Option<usize>,
    /// Tokens of a record batch.
    #[serde(default = "default_batch_tokens")]
    pub batch_tokens: usize,
    /// Bytes of a shard.
    #[serde(default = "default_shard_bytes")]
    pub shard_bytes: u64,
    /// Tokens of a document.
    #[serde(default = "default_max_document")]
    pub max_document: usize,
    /// Whether to go on after the finished shards of a writer with the same settings that was given the same documents: these
    /// come again, all of them, and are passed over where they are in such a shard.
    #[serde(default)]
    pub resume: bool,
}

fn default_batch_tokens() -> usize {
    1 << 15
}

fn default_shard_bytes() -> u64 {
    128 << 20
}

fn default_max_document() -> usize {
    1 << 20
}

impl WriterConfig {
    /// Columns and default sizes.
    pub fn new(kind: Kind, columns: &[&str]) -> Self {
        Self {
            kind,
            vocab_size: None,
            n_features: None,
            columns: columns.iter().map(ToString::to_string).collect(),
            n_values: None,
            batch_tokens: default_batch_tokens(),
            shard_bytes: default_shard_bytes(),
            max_document: default_max_document(),
            resume: false,
        }
    }

    /// From JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            Error::config("writer", "columns of a data set", e, "see the documentation of the shards")
        })
    }

    pub(super) fn check(&self) -> Result<ShardColumns> {
        let advice = "correct the declaration of the columns";
        let declared = Declared {
            kind: self.kind,
            vocab_size: self.vocab_size,
            n_features: self.n_features,
            columns: &self.columns,
            n_values: self.n_values,
        };
        let columns = declared.check().map_err(|c| Error::config(c.field, c.expected, c.found, advice))?;
        for (key, value) in [("batch_tokens", self.batch_tokens), ("max_document", self.max_document)] {
            if !(1..=MOST_TOKENS).contains(&value) {
                return Err(Error::config(
                    key,
                    format!("1 to {MOST_TOKENS} tokens"),
                    value,
                    "leave it out for the default",
                ));
            }
        }
        Ok(columns)
    }
}

/// Entries of the manifest that are known when the writer closes.
///
/// ```
/// use ssm_hpn::data::Extra;
///
/// let extra = Extra::from_json(r#"{"class_names": ["calm", "rising"], "source": {"file": "a.csv"}}"#)?;
/// assert_eq!(extra.class_names, Some(vec!["calm".to_owned(), "rising".to_owned()]));
/// assert_eq!(extra.n_classes, None); // that of the names
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Extra {
    /// Number of classes; left out: that of the names, else one more than the largest class seen.
    pub n_classes: Option<usize>,
    /// Name of each class.
    pub class_names: Option<Vec<String>>,
    /// Name of each feature.
    pub feature_names: Option<Vec<String>>,
    /// Normalisation of the features.
    pub normalisation: Option<Normalisation>,
    /// How the source was encoded as tokens or features.
    pub encoder: Value,
    /// The source of the documents.
    pub source: Value,
    /// The meaning of columns, classes and numbers.
    pub contract: Value,
}

impl Extra {
    /// From JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|e| Error::config("manifest", "a description of a data set", e, "see the documentation"))
    }
}
