//! Rows sorted by some of their columns, on disk where they do not fit into memory.
//!
//! ```text
//! columns → records of one size (`layout`, `held`) → sorted runs, kept or written (`runs`) → merged (`merge`) → columns
//! ```
//!
//! Rows are collected as records up to a size, sorted as a *run*, and written by a thread while more are collected. A
//! table that fits into one run is never written. Then the heads of all runs are compared, and the rows of a run follow
//! each other until the head of another one comes first. Memory holds three runs while they are made, and a piece of
//! each while they are merged.
//!
//! Texts go by their length in bytes and then byte by byte, bytes byte by byte, numbers by size. Rows that are equal in
//! all keys stay in the order in which they came. The texts or bytes of a key are here called *words*.

#![forbid(unsafe_code)]

mod held;
mod layout;
mod merge;
mod runs;
#[cfg(test)]
mod tests;

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

pub use self::layout::{Cell, Column, Field};
pub use self::merge::{FieldValues, SortedRows};

use self::held::Held;
use self::layout::Layout;
use self::merge::Merge;
use self::runs::Runs;
use crate::error::{Error, Result};

/// Sorts rows that come some at a time.
///
/// ```
/// use ssm_hpn::data::{Cell, Column, Field, FieldValues, RowSorter};
///
/// # fn main() -> ssm_hpn::Result<()> {
/// let fields = vec![Field::word(Cell::Text), Field { cell: Cell::Other, size: 1, width: 2 }];
/// let mut sorter = RowSorter::new(&std::env::temp_dir(), fields, vec![0], 1 << 20, 1 << 20)?;
/// let texts = Column::Texts(b"ba10b", &[0, 1, 4, 5]);
/// sorter.add(&[texts, Column::Cells(b"xyz"), Column::Cells(b"XYZ")])?;
/// let rows = sorter.next(10)?.unwrap();
/// let words = FieldValues::Words { numbers: vec![0, 0, 1], bytes: b"ba10".to_vec(), offsets: vec![0, 1, 4] };
/// assert_eq!(rows.fields, [words, FieldValues::Cells(b"xXzZyY".to_vec())]);
/// assert!(sorter.next(10)?.is_none());
/// # Ok(())
/// # }
/// ```
pub struct RowSorter {
    layout: Arc<Layout>,
    pieces_bytes: usize,
    state: State,
}

enum State {
    Collecting(Held, Writing),
    Merging(Merge),
    /// A step is being made, or has failed.
    Broken,
}

/// The runs so far: here, or with the thread that adds one and returns the memory of its rows.
enum Writing {
    Idle(Runs),
    Busy(JoinHandle<Result<(Runs, Held)>>),
}

impl RowSorter {
    /// Sorts by the `keys`, places of fields of one cell, the first of them first. A run has about `run_bytes`, and the
    /// pieces of all runs have about `pieces_bytes` together. Files are made in `folder`, and are left there.
    ///
    /// # Errors
    ///
    /// `ShapeError` for a key that is not a field of one cell, or of no order, and for words that are no key.
    pub fn new(
        folder: &Path,
        fields: Vec<Field>,
        keys: Vec<usize>,
        run_bytes: usize,
        pieces_bytes: usize,
    ) -> Result<Self> {
        let layout = Arc::new(Layout::new(fields, keys)?);
        let state =
            State::Collecting(Held::new(&layout, run_bytes)?, Writing::Idle(Runs::new(folder, &layout)));
        Ok(Self { layout, pieces_bytes, state })
    }

    /// Takes in rows: a column for each cell of each field, in their order.
    ///
    /// # Errors
    ///
    /// `ShapeError` if the columns are not those of the fields, or after the first call of [`Self::next`];
    /// `StorageError` if rows cannot be written.
    pub fn add(&mut self, columns: &[Column<'_>]) -> Result<()> {
        let rows = self.layout.rows(columns)?;
        let State::Collecting(mut held, mut writing) = std::mem::replace(&mut self.state, State::Broken)
        else {
            return Err(Error::shape("rows to sort", "none after the first sorted ones", rows));
        };
        let mut start = 0;
        while start < rows {
            start += held.add(&self.layout, columns, start..rows)?;
            if held.full() {
                let (runs, spare) = writing.finished()?;
                let next = match spare {
                    Some(spare) => spare,
                    None => Held::new(&self.layout, held.bytes())?,
                };
                writing = Writing::start(runs, &self.layout, std::mem::replace(&mut held, next))?;
            }
        }
        self.state = State::Collecting(held, writing);
        Ok(())
    }

    /// The next rows in their order, at most `size` of them; `None` at the end. No row can be added any more.
    ///
    /// # Errors
    ///
    /// `StorageError` if rows cannot be written, or not be read again.
    pub fn next(&mut self, size: usize) -> Result<Option<SortedRows>> {
        let mut merge = match std::mem::replace(&mut self.state, State::Broken) {
            State::Collecting(held, writing) => {
                let (runs, _) = writing.finished()?;
                Merge::start(runs, held, &self.layout, self.pieces_bytes)?
            }
            State::Merging(merge) => merge,
            State::Broken => return Err(Error::shape("sorted rows", "no failure before", "one")),
        };
        let rows = merge.next(&self.layout, size)?;
        self.state = State::Merging(merge);
        Ok(rows)
    }
}

impl Writing {
    /// Sorts and writes the rows in a thread.
    fn start(mut runs: Runs, layout: &Arc<Layout>, mut held: Held) -> Result<Self> {
        let layout = layout.clone();
        let body = move || {
            runs.write(&layout, &mut held)?;
            Ok((runs, held))
        };
        let thread = Builder::new().name("ssm-hpn-sort".into()).spawn(body);
        thread.map(Self::Busy).map_err(|e| Error::shape("a thread that sorts", "one that starts", e))
    }

    /// Waits for the thread; also returns the memory of the rows that it wrote.
    fn finished(self) -> Result<(Runs, Option<Held>)> {
        match self {
            Self::Idle(runs) => Ok((runs, None)),
            Self::Busy(thread) => {
                let (runs, held) = thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                Ok((runs, Some(held)))
            }
        }
    }
}
