//! Which batches of a stream a loader makes, where several loaders share it.
//!
//! All of them step through the same batches with the same positions. What a loader does not make it passes over: no row of
//! such a batch is copied, only its tokens are counted. A window of which every row is in such batches is not read where
//! the manifest alone tells its rows (packing `contiguous`, and damage is an error); otherwise the lengths of its documents
//! have to be known, which are in the record batches themselves. A record batch has one digest, and so is read whole.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Of every `of` successive batches, counted from where the stream begins or was sought, a loader makes those from `first`
/// to below `end`.
///
/// ```
/// use ssm_hpn::data::{Loader, LoaderConfig, OwnBatches};
///
/// # use ssm_hpn::data::{DocumentColumns, Elements, Extra, ShardWriter, WriterConfig};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let config = WriterConfig::from_json(r#"{"kind": "tokens", "vocab_size": 256, "columns": ["tokens"]}"#)?;
/// # let mut writer = ShardWriter::create(folder.path(), config)?;
/// # let (elements, offsets) = (Elements::U8(b"abcdefgh"), &[0, 3, 8][..]);
/// # writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None })?;
/// # writer.close(Extra::default())?;
/// # let folder = folder.path();
/// // Two loaders, of which each makes every second batch of one row of four tokens.
/// let of_rank = |rank| {
///     let own = Some(OwnBatches { of: 2, first: rank, end: rank + 1 });
///     Loader::open(LoaderConfig { own, ..LoaderConfig::new(folder, 1, 4) })
/// };
/// let (mut first, mut second) = (of_rank(0)?, of_rank(1)?);
/// let (batch, after) = first.next()?.expect("a batch");
/// assert_eq!(second.pass_over()?.expect("a batch"), (4, after));
/// assert_ne!(second.next()?.expect("a batch").0, batch);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnBatches {
    /// Batches after which it begins again.
    pub of: u64,
    /// The first of them that is made.
    pub first: u64,
    /// The one after the last that is made.
    pub end: u64,
}

impl OwnBatches {
    /// Whether the batch with this number is made.
    pub(super) fn has(&self, number: u64) -> bool {
        (self.first..self.end).contains(&(number % self.of))
    }

    pub(super) fn check(&self) -> Result<()> {
        let Self { of, first, end } = *self;
        if first < end && end <= of {
            return Ok(());
        }
        let found = format!("{first} to {end} of {of}");
        Err(Error::config(
            "loader.own",
            "some of the batches, counted from 0",
            found,
            "give each loader some",
        ))
    }
}
