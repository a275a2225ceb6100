//! Positions in a stream of batches, and how rows become batches.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::assemble::RowRange;
use super::mixture::{Schedule, Turn};
use super::own::OwnBatches;
use super::plan::Plan;
use super::window::{Window, WindowCount, WindowId};
use crate::error::{Error, Result};

/// A place in the rows of one source: the row that comes next.
///
/// ```
/// use ssm_hpn::data::Place;
///
/// let place = Place { epoch: 2, window: 1, row: 7, rows: 40, missing: 0 };
/// assert!(place.row < place.rows);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Passes over the source that are complete.
    pub epoch: u64,
    /// Window of the epoch.
    pub window: u64,
    /// Row of the window.
    pub row: u64,
    /// Rows that the window has; 0 before its first row. For showing progress only.
    pub rows: u64,
    /// Digest of the record batches that were left out of the window for being damaged; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
}

/// The position after a batch: a few numbers, from which the very next batch is made by reading one window of each source.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Passes over the data that are complete; of several sources, over the first.
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
    /// Digest of the record batches that were left out of the window for being damaged; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Record batches that were left out so far, of all sources; in every epoch anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Of several sources, the rows since their turns began again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turn: u64,
    /// Places in the further sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixed: Vec<Place>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
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

    /// Places in all sources, of which there are `n`.
    pub(super) fn places(&self, n: usize) -> Vec<Place> {
        let &Self { epoch, window, row, rows, missing, .. } = self;
        let further = self.mixed.iter().copied().chain(std::iter::repeat(Place::default()));
        std::iter::once(Place { epoch, window, row, rows, missing }).chain(further).take(n).collect()
    }
}

impl Place {
    /// Window that the next row is in.
    pub(super) fn window_id(&self) -> WindowId {
        WindowId { epoch: self.epoch, window: self.window }
    }

    /// Epochs up to here, with fraction: windows of an epoch count alike, and rows of a window.
    pub(super) fn progress(&self, n_windows: u64) -> f64 {
        let of_window = self.row as f64 / self.rows.max(1) as f64;
        self.epoch as f64 + (self.window as f64 + of_window) / n_windows as f64
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
    /// None where the batch is made by another loader.
    pub(super) parts: Option<Vec<RowRange>>,
    /// Tokens of a batch that is made by another loader.
    pub(super) tokens: u64,
    pub(super) cursor: Cursor,
}

/// A window of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) source: usize,
    pub(super) id: WindowId,
}

/// Cuts the endless sequence of rows (windows of an epoch in turn, then the next epoch) into batches; of several sources
/// a row of the one whose turn it is.
///
/// The last rows of an epoch share a batch with the first of the next; only the last batch of the last epoch is smaller.
#[derive(Debug)]
pub(super) struct Cutter {
    places: Vec<Place>,
    turn: Turn,
    schedule: Schedule,
    /// The position, but for the places and the turn.
    at: Cursor,
    parts: Vec<RowRange>,
    taken: u64,
    /// Tokens of the rows that another loader makes a batch of.
    tokens: u64,
    /// Batches cut so far.
    number: u64,
    own: Option<OwnBatches>,
    batch_size: u64,
    n_windows: Vec<u64>,
    /// Successive windows of a source in which no row was left.
    empty: Vec<u64>,
    epochs: u64,
    max_batches: u64,
}

impl Cutter {
    pub(super) fn new(at: &Cursor, plan: &Plan) -> Self {
        Self {
            places: at.places(plan.sources.len()),
            turn: plan.schedule.after(at.turn),
            schedule: plan.schedule.clone(),
            at: at.clone(),
            parts: Vec::new(),
            taken: 0,
            tokens: 0,
            number: 0,
            own: plan.config.own,
            batch_size: plan.config.global_batch() as u64,
            n_windows: plan.n_windows(),
            empty: vec![0; plan.sources.len()],
            epochs: plan.config.epochs.unwrap_or(u64::MAX),
            max_batches: plan.config.max_batches.unwrap_or(u64::MAX),
        }
    }

    /// The window to be given to [`Cutter::take`] next; `None` at the end of the stream.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let source = self.schedule.source(&self.turn);
        let place = &self.places[source];
        let goes_on = self.at.batches < self.max_batches && place.epoch < self.epochs;
        goes_on.then(|| Wanted { source, id: place.window_id() })
    }

    /// The window of a source that the next of its rows is in.
    pub(super) fn place(&self, source: usize) -> WindowId {
        self.places[source].window_id()
    }

    /// Whether a window is within the number of epochs.
    pub(super) fn may_want(&self, id: WindowId) -> bool {
        id.epoch < self.epochs
    }

    /// Whether the batch that rows are taken for is made by this loader.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_none_or(|own| own.has(self.number))
    }

    /// The rows of the window that is wanted, where another loader makes a batch of them and the manifest tells them.
    pub(super) fn passed(&self, plan: &Plan, wanted: Wanted) -> Option<WindowCount> {
        if self.is_own() { None } else { plan.sources[wanted.source].count(wanted.id) }
    }

    /// Takes rows of the wanted window, at most as many as the batch needs. A ticket, if the batch is full now.
    pub(super) fn take(&mut self, window: &Arc<Window>) -> Result<Option<Ticket>> {
        let place = &self.places[self.schedule.source(&self.turn)];
        if place.row == 0 || place.missing != window.missing {
            self.at.skipped = self.at.skipped.saturating_add(window.skipped);
        }
        let Some(rows) = self.advance(window.n_rows(), window.missing)? else { return Ok(None) };
        if self.is_own() {
            self.parts.push(RowRange { window: window.clone(), rows });
        } else {
            self.tokens += window.tokens(rows);
        }
        Ok(self.full())
    }

    /// The same for rows of which another loader makes a batch, in a window that is not read.
    pub(super) fn pass(&mut self, window: &WindowCount) -> Result<Option<Ticket>> {
        if let Some(rows) = self.advance(window.rows, 0)? {
            self.tokens += window.tokens(rows);
        }
        Ok(self.full())
    }

    /// Goes on by rows of the wanted window, which has `n`; nothing where the window is passed over.
    fn advance(&mut self, n: u64, missing: u64) -> Result<Option<Range<u64>>> {
        let source = self.schedule.source(&self.turn);
        let place = &self.places[source];
        if n == 0 || (place.row > 0 && place.missing != missing) {
            // Nothing was left, or other record batches are damaged than when these rows were numbered.
            return self.pass_over(source);
        }
        if place.row >= n {
            return Err(Error::config(
                "cursor.row",
                format!("a row below {n}"),
                place.row,
                "take a position that the loader has handed out",
            ));
        }
        self.empty[source] = 0;
        let most = if self.places.len() == 1 { self.batch_size - self.taken } else { 1 };
        let place = &mut self.places[source];
        let rows = place.row..n.min(place.row + most);
        self.taken += rows.end - rows.start;
        (place.row, place.rows, place.missing) = (rows.end, n, missing);
        self.schedule.take(&mut self.turn, source);
        if rows.end == n {
            self.next_window(source);
        }
        Ok(Some(rows))
    }

    /// The batch, once it has all its rows.
    fn full(&mut self) -> Option<Ticket> {
        if self.taken == self.batch_size { self.cut() } else { None }
    }

    /// Goes on behind a window without taking rows. An error where a source has none any more.
    fn pass_over(&mut self, source: usize) -> Result<Option<Range<u64>>> {
        self.empty[source] += 1;
        if self.empty[source] > self.n_windows[source] {
            return Err(Error::config(
                "data.on_corrupt",
                "a record batch that is not damaged",
                "none in a whole epoch",
                "prepare the data again",
            ));
        }
        self.next_window(source);
        Ok(None)
    }

    fn next_window(&mut self, source: usize) {
        let place = &mut self.places[source];
        let next = place.window_id().next(self.n_windows[source]);
        *place = Place { epoch: next.epoch, window: next.window, ..Place::default() };
    }

    /// The smaller batch at the end of the stream, if there are rows left.
    pub(super) fn cut(&mut self) -> Option<Ticket> {
        if self.taken == 0 {
            return None;
        }
        let parts = self.is_own().then(|| std::mem::take(&mut self.parts));
        let tokens = std::mem::take(&mut self.tokens);
        self.taken = 0;
        self.number += 1;
        self.at.batches += 1;
        Some(Ticket { parts, tokens, cursor: self.cursor() })
    }

    fn cursor(&self) -> Cursor {
        let Place { epoch, window, row, rows, missing } = self.places[0];
        let mixed = self.places[1..].to_vec();
        Cursor { epoch, window, row, rows, missing, turn: self.turn.rows(), mixed, ..self.at.clone() }
    }
}
