//! Positions in a stream of batches, and how rows become batches.

#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::assemble::RowRange;
use super::loader_config::LoaderConfig;
use super::window::{Window, WindowId};
use crate::error::{Error, Result};

/// The position after a batch: a few numbers, from which the very next batch is made by reading one window.
///
/// `epoch`, `window` and `row` name the row that comes next. The size of a batch and the number of workers and of ranks are
/// not part of it: a run may go on with others, and no row is then seen twice or missed. With packing `carried` the rows of
/// a batch are part of the order: see `data`.
///
/// ```
/// use ssm_hpn::data::{Cursor, Loader, LoaderConfig};
///
/// # use ssm_hpn::data::{DocumentColumns, Elements, Extra, ShardWriter, WriterConfig};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let config = WriterConfig::from_json(r#"{"kind": "tokens", "vocab_size": 256, "columns": ["tokens"]}"#)?;
/// # let mut writer = ShardWriter::create(folder.path(), config)?;
/// # let (elements, offsets) = (Elements::U8(b"abcdefgh"), &[0, 3, 8][..]);
/// # writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None })?;
/// # writer.close(Extra::default())?;
/// # let folder = folder.path();
/// let mut loader = Loader::open(LoaderConfig::new(folder, 1, 4))?;
/// let (_, cursor) = loader.next()?.expect("a batch");
/// assert_eq!((cursor.epoch, cursor.batches), (0, 1));
/// assert_eq!(Cursor::from_json(&cursor.to_json())?, cursor);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Passes over the data that are complete.
    pub epoch: u64,
    /// Window of the epoch.
    pub window: u64,
    /// Row of the window.
    pub row: u64,
    /// Rows that the window has; 0 before its first row. For showing progress only.
    pub rows: u64,
    /// Batches handed out.
    pub batches: u64,
    /// Digest of the data and settings that the position belongs to; 0 at the start.
    pub data: u64,
}

impl Cursor {
    /// From JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            Error::config("cursor", "a position of the loader", e, "take one that the loader has handed out")
        })
    }

    /// As JSON.
    #[expect(clippy::expect_used, reason = "plain numbers serialise")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain numbers serialise")
    }

    /// Window that the next row is in.
    pub(super) fn window_id(&self) -> WindowId {
        WindowId { epoch: self.epoch, window: self.window }
    }
}

impl WindowId {
    /// The window after this one: of the same epoch, or the first of the next.
    pub(super) fn next(self, n_windows: u64) -> Self {
        if self.window + 1 < n_windows {
            Self { window: self.window + 1, ..self }
        } else {
            Self { epoch: self.epoch + 1, window: 0 }
        }
    }
}

/// Rows of one batch, and the position after it.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) parts: Vec<RowRange>,
    pub(super) cursor: Cursor,
}

/// Cuts the endless sequence of rows (windows of an epoch in turn, then the next epoch) into batches.
///
/// The last rows of an epoch share a batch with the first of the next; only the last batch of the last epoch is smaller.
#[derive(Debug)]
pub(super) struct Cutter {
    at: Cursor,
    parts: Vec<RowRange>,
    taken: u64,
    batch_size: u64,
    n_windows: u64,
    epochs: u64,
    max_batches: u64,
}

impl Cutter {
    pub(super) fn new(at: Cursor, config: &LoaderConfig, n_windows: u64) -> Self {
        Self {
            at,
            parts: Vec::new(),
            taken: 0,
            batch_size: config.global_batch() as u64,
            n_windows,
            epochs: config.epochs.unwrap_or(u64::MAX),
            max_batches: config.max_batches.unwrap_or(u64::MAX),
        }
    }

    /// The window to be given to [`Cutter::take`] next; `None` at the end of the stream.
    pub(super) fn wanted(&self) -> Option<WindowId> {
        (self.at.batches < self.max_batches && self.at.epoch < self.epochs).then(|| self.at.window_id())
    }

    /// Whether a window is within the number of epochs.
    pub(super) fn may_want(&self, id: WindowId) -> bool {
        id.epoch < self.epochs
    }

    /// Takes rows of the wanted window, at most as many as the batch needs. A ticket, if the batch is full now.
    pub(super) fn take(&mut self, window: &Arc<Window>) -> Result<Option<Ticket>> {
        let n = window.n_rows();
        if self.at.row >= n {
            return Err(Error::config(
                "cursor.row",
                format!("a row below {n}"),
                self.at.row,
                "take a position that the loader has handed out",
            ));
        }
        let end = n.min(self.at.row + (self.batch_size - self.taken));
        self.taken += end - self.at.row;
        self.parts.push(RowRange { window: window.clone(), rows: self.at.row..end });
        (self.at.row, self.at.rows) = (end, n);
        if end == n {
            let next = self.at.window_id().next(self.n_windows);
            self.at = Cursor { epoch: next.epoch, window: next.window, row: 0, rows: 0, ..self.at };
        }
        Ok(if self.taken == self.batch_size { self.cut() } else { None })
    }

    /// The smaller batch at the end of the stream, if there are rows left.
    pub(super) fn cut(&mut self) -> Option<Ticket> {
        if self.taken == 0 {
            return None;
        }
        self.taken = 0;
        self.at.batches += 1;
        Some(Ticket { parts: std::mem::take(&mut self.parts), cursor: self.at })
    }
}
