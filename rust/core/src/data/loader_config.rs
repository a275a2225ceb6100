//! The settings of a loader, and the check that they fit the data.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::index::Dataset;
use super::own::OwnBatches;
use crate::bounds::Bounds;
use crate::error::{Error, Result};
use crate::target::kinds::{self, TargetKind};

const BATCH_SIZE: Bounds = Bounds::whole("train.batch_size", 1, 1 << 16);
const LENGTH: Bounds = Bounds::whole("data.length", 1, 1 << 24);
const WORKERS: Bounds = Bounds::whole("data.workers", 0, 64);
const PREFETCH: Bounds = Bounds::whole("data.prefetch", 1, 1024);
const RANKS: Bounds = Bounds::whole("loader.ranks", 1, 1 << 16);
const TOKENS: Bounds = Bounds::whole("train.batch_size x data.length", 1, i32::MAX as u32);

/// The length of padded rows is a multiple of this, so that batches have few different lengths.
const PAD_MULTIPLE: usize = 8;

/// Bounds of the settings of a loader.
pub(crate) const BOUNDS: &[Bounds] = &[BATCH_SIZE, LENGTH, WORKERS, PREFETCH];

/// Packing of documents into rows: see `super::pack`.
///
/// ```
/// use ssm_hpn::data::{Loader, LoaderConfig, Packing};
///
/// # use ssm_hpn::data::{DocumentColumns, Elements, Extra, ShardWriter, WriterConfig};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let config = WriterConfig::from_json(r#"{"kind": "tokens", "vocab_size": 256, "columns": ["tokens"]}"#)?;
/// # let mut writer = ShardWriter::create(folder.path(), config)?;
/// # let (elements, offsets) = (Elements::U8(b"abcdefgh"), &[0, 3, 8][..]);
/// # writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None })?;
/// # writer.close(Extra::default())?;
/// # let folder = folder.path();
/// // Two documents, of three and five tokens, in rows of five.
/// let batches = |packing| {
///     let config = LoaderConfig { packing, shuffle: false, epochs: Some(1), ..LoaderConfig::new(folder, 1, 5) };
///     let mut loader = Loader::open(config)?;
///     let mut documents = Vec::new();
///     while let Some((batch, _)) = loader.next()? {
///         documents.push(batch.segments.len());
///     }
///     documents.sort();
///     Ok::<_, ssm_hpn::Error>(documents)
/// };
/// assert_eq!(batches(Packing::Pad)?, [1, 1]);
/// assert_eq!(batches(Packing::Contiguous)?, [1, 2]); // one is cut to fill the first row
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// One after the other, cut where a row is full.
    #[default]
    Contiguous,
    /// Whole documents, as many as fit.
    BestFit,
    /// One document per row.
    Pad,
    /// As `contiguous` in each row of successive batches, so that a document that is cut goes on, with its state, in the
    /// same row of the next batch.
    Carried,
}

/// What becomes of a record batch whose bytes are not those that were written.
///
/// ```
/// use ssm_hpn::data::{LoaderConfig, OnCorrupt};
///
/// let config = LoaderConfig::from_json(r#"{"path": "a", "batch_size": 8, "length": 16, "on_corrupt": "skip"}"#)?;
/// assert_eq!(config.on_corrupt, OnCorrupt::Skip);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCorrupt {
    /// An error that names file, record batch and offset.
    #[default]
    Stop,
    /// Its documents are left out, and it is counted: see `Cursor::skipped`.
    Skip,
}

/// A further source of a mixture.
///
/// ```
/// use ssm_hpn::data::{LoaderConfig, MixedSource};
///
/// // Of five rows, three are from `a` and two from `b`.
/// let mix = vec![MixedSource { path: "b".into(), weight: 2 }];
/// let config = LoaderConfig { mix, weight: 3, ..LoaderConfig::new("a", 8, 16) };
/// assert_eq!(config.mix[0].weight, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixedSource {
    /// Folder with a `manifest.json`.
    pub path: PathBuf,
    /// Its rows in as many rows as all weights have together.
    pub weight: u64,
}

/// Settings of a loader.
///
/// ```
/// use ssm_hpn::data::{LoaderConfig, Packing};
/// use ssm_hpn::target::kinds;
///
/// let text = r#"{"path": "data/train", "batch_size": 8, "length": 128, "packing": "pad", "target": "sequence_class"}"#;
/// let config = LoaderConfig {
///     packing: Packing::Pad,
///     target: Some(&kinds::SEQUENCE_CLASS),
///     ..LoaderConfig::new("data/train", 8, 128)
/// };
/// assert_eq!(LoaderConfig::from_json(text)?, config);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderConfig {
    /// Folder with a `manifest.json`.
    pub path: PathBuf,
    /// Rows of a batch (B).
    pub batch_size: usize,
    /// Tokens of a row (T); with packing `pad`, at most.
    pub length: usize,
    /// Packing of documents into rows.
    #[serde(default)]
    pub packing: Packing,
    /// Whether each epoch has an order of its own.
    #[serde(default = "default_shuffle")]
    pub shuffle: bool,
    /// Seed of the orders.
    #[serde(default)]
    pub seed: u64,
    /// Threads that read and pack; 0: the caller's own, when it asks for a batch.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// Batches made ahead of time.
    #[serde(default = "default_prefetch")]
    pub prefetch: usize,
    /// Passes over the data; without a number: endless.
    #[serde(default)]
    pub epochs: Option<u64>,
    /// Targets of the batches: in JSON a kind of this crate, or `none` for prediction only.
    #[serde(default = "default_target", with = "kinds::by_name")]
    pub target: Option<&'static TargetKind>,
    /// Batches after which the stream ends: with `shuffle` false, a fixed set for evaluation.
    #[serde(default)]
    pub max_batches: Option<u64>,
    /// Use only the start of documents that are longer than a row, where their target belongs to the whole; otherwise
    /// they are an error.
    #[serde(default)]
    pub truncate: bool,
    /// Tokens within which documents and rows are mixed; without a number: 2^20 (16 MB of features
    /// if that is less), or 16 rows if that is more.
    #[serde(default)]
    pub window: Option<u64>,
    /// Machines that share each batch: it has `ranks` times `batch_size` rows, of which every loader makes its own.
    #[serde(default = "default_ranks")]
    pub ranks: usize,
    /// Which of them this one is, from 0.
    #[serde(default)]
    pub rank: usize,
    /// Which batches are made, where several loaders share the stream; without it all.
    #[serde(default)]
    pub own: Option<OwnBatches>,
    /// What becomes of a record batch whose bytes are not those that were written.
    #[serde(default)]
    pub on_corrupt: OnCorrupt,
    /// Weight of `path` beside further sources.
    #[serde(default = "default_weight")]
    pub weight: u64,
    /// Further sources, whose rows come between those of `path`.
    #[serde(default)]
    pub mix: Vec<MixedSource>,
}

fn default_shuffle() -> bool {
    true
}

#[expect(clippy::unnecessary_wraps, reason = "a default has the type of its field")]
fn default_target() -> Option<&'static TargetKind> {
    Some(&kinds::NEXT_TOKEN)
}

fn default_workers() -> usize {
    1
}

fn default_prefetch() -> usize {
    4
}

fn default_ranks() -> usize {
    1
}

fn default_weight() -> u64 {
    1
}

impl LoaderConfig {
    /// The settings with all defaults; the arguments have none.
    pub fn new(path: impl Into<PathBuf>, batch_size: usize, length: usize) -> Self {
        Self {
            path: path.into(),
            batch_size,
            length,
            packing: Packing::default(),
            shuffle: default_shuffle(),
            seed: 0,
            workers: default_workers(),
            prefetch: default_prefetch(),
            epochs: None,
            target: default_target(),
            max_batches: None,
            truncate: false,
            window: None,
            ranks: default_ranks(),
            rank: 0,
            own: None,
            on_corrupt: OnCorrupt::default(),
            weight: default_weight(),
            mix: Vec::new(),
        }
    }

    /// From JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            Error::config("data", "the configuration of a loader", e, "correct or remove the setting")
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        BATCH_SIZE.check_whole(self.batch_size)?;
        LENGTH.check_whole(self.length)?;
        TOKENS.check_whole(self.batch_size * self.length)?;
        WORKERS.check_whole(self.workers)?;
        PREFETCH.check_whole(self.prefetch)?;
        for (key, found) in [("loader.epochs", self.epochs), ("loader.window", self.window)] {
            if found == Some(0) {
                return Err(Error::config(key, "a whole number, 1 or more", 0, "raise it, or leave it out"));
            }
        }
        RANKS.check_whole(self.ranks)?;
        TOKENS.check_whole(self.global_batch() * self.length)?;
        self.check_ranks()?;
        self.check_mix()?;
        if matches!(self.packing, Packing::Contiguous | Packing::Carried) && self.has_whole_documents() {
            return Err(Error::config(
                "data.packing",
                "best_fit or pad for a target that belongs to a whole document",
                if self.packing == Packing::Carried { "carried" } else { "contiguous" }.to_owned()
                    + ", which cuts documents",
                "choose best_fit or pad",
            ));
        }
        Ok(())
    }

    fn check_ranks(&self) -> Result<()> {
        if self.rank >= self.ranks {
            let expected = format!("a whole number below loader.ranks, {}", self.ranks);
            return Err(Error::config("loader.rank", expected, self.rank, "count machines from 0"));
        }
        if self.ranks > 1 && self.epochs.is_some() {
            return Err(Error::config(
                "loader.epochs",
                "none with several ranks, as the last batch may not have a row for each",
                self.epochs.unwrap_or_default(),
                "leave it out, and end after a number of batches",
            ));
        }
        let Some(own) = self.own else { return Ok(()) };
        if self.packing == Packing::Carried {
            return Err(Error::config(
                "data.packing",
                "contiguous, best_fit or pad where loaders share the batches",
                "carried, whose rows go on from batch to batch",
                "choose contiguous",
            ));
        }
        own.check()
    }

    fn check_mix(&self) -> Result<()> {
        if self.mix.is_empty() {
            return Ok(());
        }
        if self.packing == Packing::Carried {
            return Err(Error::config(
                "data.packing",
                "contiguous, best_fit or pad beside data.mix",
                "carried, whose rows go on from batch to batch",
                "choose contiguous",
            ));
        }
        if let Some(epochs) = self.epochs {
            return Err(Error::config(
                "loader.epochs",
                "none beside data.mix, as sources end at different rows",
                epochs,
                "leave it out, and end after a number of batches",
            ));
        }
        Ok(())
    }

    /// Positions of the rows of a batch whose longest has this many tokens.
    pub(super) fn batch_length(&self, longest: usize) -> usize {
        match self.packing {
            Packing::Pad => longest.max(1).next_multiple_of(PAD_MULTIPLE).min(self.length),
            Packing::Contiguous | Packing::BestFit | Packing::Carried => self.length,
        }
    }

    /// Rows of a batch of all machines.
    pub(super) fn global_batch(&self) -> usize {
        self.batch_size * self.ranks
    }

    /// Rows of successive batches that go on from one another, where they do.
    pub(super) fn lanes(&self) -> Option<usize> {
        (self.packing == Packing::Carried).then(|| self.global_batch())
    }

    /// Whether the batch with this number, from where the stream begins or was sought, is made.
    pub(super) fn makes(&self, number: u64) -> bool {
        self.own.is_none_or(|own| own.has(number))
    }

    /// Whether the manifest tells the rows of a window and their lengths.
    pub(super) fn rows_by_manifest(&self) -> bool {
        self.packing == Packing::Contiguous && self.on_corrupt == OnCorrupt::Stop
    }

    /// Whether the target belongs to a document as a whole.
    pub(super) fn has_whole_documents(&self) -> bool {
        self.target.is_some_and(TargetKind::is_pooled)
    }

    /// Compares the target with the columns that there are.
    pub(super) fn check_columns(&self, data: &Dataset) -> Result<()> {
        let Some(kind) = self.target else { return Ok(()) };
        let columns = data.columns();
        let is_there =
            |column: &str| if kind.from_tokens { columns.has_tokens() } else { columns.has(column) };
        let needed: Vec<&str> = if kind.from_tokens { vec!["tokens"] } else { kind.columns().collect() };
        let missing = needed.iter().find(|column| !is_there(column));
        let missing = match (missing, needed.is_empty()) {
            (None, false) => return Ok(()),
            (Some(column), _) => format!("a column `{column}` in {}", data.folder().display()),
            (None, true) => "a target that data can hold".to_owned(),
        };
        Err(Error::config(
            "model.target.kind",
            missing,
            format!("columns {}", data.manifest().columns.join(", ")),
            "choose a target that the data has, or prepare the data with that column",
        ))
    }
}
