//! A window: some successive groups of an epoch's order, in memory, with the rows into which their documents are
//! packed.
//!
//! Epoch e takes the groups in the order π_e (or as they lie); windows are equal runs of that order, of about
//! `window` tokens. Within a window the documents are permuted, packed, and the rows permuted in turn, so that the rows
//! of a batch are distant pieces even where one document fills many of them. A window depends on the data, the settings
//! and its own (epoch, number) alone: any thread can make it at any time, and resuming reads one window.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::Xxh3;

use super::index::Dataset;
use super::loader_config::{LoaderConfig, OnCorrupt, Packing};
use super::pack::{self, Document, PackedRows, Piece};
use super::schema::InputColumn;
use super::schema::WantedColumns;
use super::shard::ShardGroup;
use super::shuffle::{Permutation, Purpose};
use crate::error::{Error, Result};
use crate::target::kinds::TargetKind;

/// Tokens of a window: 2 MB of narrow ids, 32 groups of the default size.
const WINDOW_TOKENS: u64 = 1 << 20;
/// Bytes of a window of wide features.
const WINDOW_BYTES: u64 = 16 << 20;
/// Rows that a window has at least, so that `contiguous` pads little and a shuffle has something to mix.
const WINDOW_ROWS: u64 = 16;
/// Most tokens of a window: the pieces of its rows, of which each has a token, are counted in 32 bits.
const MOST_TOKENS: u64 = u32::MAX as u64;

/// Identifies a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowId {
    pub(super) epoch: u64,
    pub(super) window: u64,
}

/// The part that a source has of what all have together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) weight: u64,
    pub(super) of: u64,
}

/// Data of one source and settings, on which alone its rows depend.
#[derive(Debug)]
pub(super) struct EpochPlan {
    pub(super) config: LoaderConfig,
    pub(super) data: Dataset,
    wanted: WantedColumns,
    pub(super) n_windows: u64,
    /// A window that was read to describe the stream, until the stream wants it.
    ahead: Mutex<Option<(WindowId, Window)>>,
    /// What was wrong with each group that was left out.
    damage: Mutex<BTreeMap<u64, String>>,
}

/// Documents in memory, packed.
#[derive(Debug)]
pub(super) struct Window {
    groups: Vec<ShardGroup>,
    rows: PackedRows,
    order: Option<Permutation>,
    /// Groups that were left out for being damaged, and a digest of their numbers; 0 of none.
    pub(super) skipped: u64,
    pub(super) missing: u64,
}

impl Window {
    /// Number of rows.
    pub(super) fn n_rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Pieces of the row that comes `i`-th.
    pub(super) fn row(&self, i: u64) -> &[Piece] {
        self.rows.row(self.order.as_ref().map_or(i, |order| order.at(i)) as usize)
    }

    /// Tokens of the rows that come at these places.
    pub(super) fn tokens(&self, rows: Range<u64>) -> u64 {
        rows.flat_map(|i| self.row(i)).map(|piece| piece.tokens() as u64).sum()
    }

    /// The group of a piece.
    pub(super) fn group(&self, piece: &Piece) -> &ShardGroup {
        &self.groups[piece.group as usize]
    }
}

/// The rows of a window that was not read, as the manifest tells them: all are full but the last that is packed.
#[derive(Debug)]
pub(super) struct WindowCount {
    pub(super) rows: u64,
    length: u64,
    /// Tokens of the last row.
    rest: u64,
    order: Option<Permutation>,
}

impl WindowCount {
    /// Tokens of the rows that come at these places.
    pub(super) fn tokens(&self, rows: Range<u64>) -> u64 {
        let of_row = |i| {
            let packed = self.order.as_ref().map_or(i, |order| order.at(i));
            if packed + 1 == self.rows { self.rest } else { self.length }
        };
        rows.map(of_row).sum()
    }
}

/// Tokens of a window of a source: its share of those that are asked for. Where none are, of so many that a window has a
/// usual size, and enough rows.
fn window_tokens(config: &LoaderConfig, input: &InputColumn, share: Share) -> u64 {
    let part = |tokens: u64| (u128::from(tokens) * u128::from(share.weight) / u128::from(share.of)) as u64;
    if let Some(tokens) = config.window {
        return part(tokens);
    }
    let tokens = match *input {
        InputColumn::Tokens { .. } => WINDOW_TOKENS,
        InputColumn::Features { n_features } => WINDOW_TOKENS.min(WINDOW_BYTES / 4 / n_features as u64),
    };
    part(tokens).max(WINDOW_ROWS * config.length as u64 * config.lanes().unwrap_or(1) as u64)
}

/// Windows of about `target` tokens in an epoch, each of one group at least; less than two are one.
fn count_windows(n_tokens: u64, n_groups: u64, target: u64) -> u64 {
    (n_tokens / target.max(1)).clamp(1, n_groups)
}

/// What a lock holds. Nothing that holds one of these panics halfway.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EpochPlan {
    pub(super) fn new(config: LoaderConfig, data: Dataset, share: Share) -> Self {
        let target = window_tokens(&config, &data.columns().input, share);
        let n_windows = count_windows(data.n_tokens(), data.n_groups(), target);
        let targets = config.target.into_iter().flat_map(TargetKind::columns).collect();
        let wanted = WantedColumns { targets, name: false };
        Self { config, data, wanted, n_windows, ahead: Mutex::default(), damage: Mutex::default() }
    }

    /// Identifies the stream of batches: a position is valid only in the stream it came from. 52 bits, exact in any JSON reader; never 0.
    pub(super) fn fingerprint(&self) -> u64 {
        let c = &self.config;
        let mut hash = Xxh3::new();
        let words = [
            self.data.digest(),
            c.packing as u64,
            c.length as u64,
            u64::from(c.shuffle),
            if c.shuffle { c.seed } else { 0 },
            u64::from(c.has_whole_documents()),
            u64::from(c.truncate),
            self.n_windows,
        ];
        // States go on from row to row of successive batches, whose number of rows is then part of the stream.
        for word in words.into_iter().chain(c.lanes().map(|lanes| lanes as u64)) {
            hash.update(&word.to_le_bytes());
        }
        (hash.digest() >> 12).max(1)
    }

    /// Rows of the first `epochs` epochs. Of `contiguous` the manifest tells them; else documents are read, once where all
    /// epochs have as many rows.
    pub(super) fn count_rows(&self, epochs: u64) -> Result<u64> {
        let never = AtomicBool::new(false);
        let are_alike = match self.config.packing {
            _ if !self.config.shuffle => true,
            Packing::Pad => true, // a row for each document
            Packing::Contiguous | Packing::BestFit => self.n_windows == 1, // by what is in a window, in any order
            Packing::Carried => false,
        };
        let (read, times) = if are_alike { (epochs.min(1), epochs) } else { (epochs, 1) };
        let mut rows = 0_u64;
        for epoch in 0..read {
            for window in 0..self.n_windows {
                let id = WindowId { epoch, window };
                rows += match self.count(id) {
                    Some(count) => count.rows,
                    None => self.load(id, &never)?.map_or(0, |window| window.n_rows()),
                };
            }
        }
        Ok(rows.saturating_mul(times))
    }

    /// The rows of a window, where the manifest tells them.
    pub(super) fn count(&self, id: WindowId) -> Option<WindowCount> {
        if !self.config.rows_by_manifest() {
            return None;
        }
        let tokens: u64 = self.groups(id).map(|number| self.data.tokens_of(number)).sum();
        let length = self.config.length as u64;
        let rows = tokens.div_ceil(length);
        let rest = tokens - rows.saturating_sub(1) * length;
        let order = self.permutation(rows, Purpose::Rows, id.epoch, id.window);
        Some(WindowCount { rows, length, rest, order })
    }

    /// Share of the positions of batches that hold tokens, in a window, which is kept until the stream wants it.
    pub(super) fn utilisation(&self, id: WindowId) -> Result<f64> {
        let Some(window) = self.load(id, &AtomicBool::new(false))? else { return Ok(0.0) };
        let share = self.filled(&window);
        *held(&self.ahead) = Some((id, window));
        Ok(share)
    }

    /// Share of the positions of the batches of a window that hold tokens.
    fn filled(&self, window: &Window) -> f64 {
        let widths: Vec<usize> =
            (0..window.n_rows()).map(|i| window.row(i).iter().map(Piece::tokens).sum()).collect();
        let positions = widths.chunks(self.config.global_batch()).map(|batch| {
            let longest = batch.iter().copied().max().unwrap_or(0);
            batch.len() * self.config.batch_length(longest)
        });
        widths.iter().sum::<usize>() as f64 / positions.sum::<usize>().max(1) as f64
    }

    /// What was wrong with the groups that were left out.
    pub(super) fn damage(&self) -> Vec<String> {
        held(&self.damage).values().cloned().collect()
    }

    /// The groups of a window, in order.
    fn groups(&self, id: WindowId) -> impl Iterator<Item = u64> {
        let (n, w) = (self.data.n_groups(), self.n_windows);
        let order = self.permutation(n, Purpose::Groups, id.epoch, 0);
        // Windows of equal size: ⌊i·n/w⌋ to ⌊(i+1)·n/w⌋, in 128 bits because the product may not fit 64.
        let bound = |i: u64| (u128::from(i) * u128::from(n) / u128::from(w)) as u64;
        let positions = bound(id.window)..bound(id.window + 1);
        positions.map(move |position| order.as_ref().map_or(position, |order| order.at(position)))
    }

    /// An order of `n` things, where there is one.
    fn permutation(&self, n: u64, purpose: Purpose, epoch: u64, part: u64) -> Option<Permutation> {
        self.config.shuffle.then(|| Permutation::new(n, self.config.seed, purpose, epoch, part))
    }

    /// Reads and packs a window; nothing if `stop` was raised meanwhile.
    pub(super) fn load(&self, id: WindowId, stop: &AtomicBool) -> Result<Option<Window>> {
        if let Some((_, window)) = held(&self.ahead).take_if(|(ahead, _)| *ahead == id) {
            return Ok(Some(window));
        }
        let shuffled = |n, purpose| self.permutation(n, purpose, id.epoch, id.window);
        let mut groups = Vec::new();
        let mut documents = Vec::new();
        let (mut skipped, mut missing) = (0, Xxh3::new());
        self.check_tokens(id)?;
        for number in self.groups(id) {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let group = match self.data.read_if_whole(number, &self.wanted)? {
                Ok(group) => group,
                Err(damage) if self.config.on_corrupt == OnCorrupt::Skip => {
                    held(&self.damage).insert(number, damage.to_string());
                    missing.update(&number.to_le_bytes());
                    skipped += 1;
                    continue;
                }
                Err(damage) => return Err(damage),
            };
            self.list(number, &group, groups.len() as u32, &mut documents)?;
            groups.push(group);
        }
        if let Some(order) = shuffled(documents.len() as u64, Purpose::Documents) {
            documents = (0..order.len()).map(|i| documents[order.at(i) as usize]).collect();
        }
        let length = self.config.length as u32;
        let rows = match self.config.packing {
            Packing::Contiguous => pack::contiguous(&documents, length),
            Packing::BestFit => pack::best_fit(&documents, length),
            Packing::Pad => pack::pad(&documents, length),
            Packing::Carried => pack::carried(&documents, length, self.config.global_batch())?,
        };
        let order = match self.config.packing {
            Packing::Carried => None,
            _ => shuffled(rows.len() as u64, Purpose::Rows),
        };
        // 52 bits, exact in any JSON reader.
        let missing = if skipped == 0 { 0 } else { (missing.digest() >> 12).max(1) };
        Ok(Some(Window { groups, rows, order, skipped, missing }))
    }

    /// Refuses a window of more tokens than pieces are counted.
    fn check_tokens(&self, id: WindowId) -> Result<()> {
        let tokens: u64 = self.groups(id).map(|number| self.data.tokens_of(number)).sum();
        if tokens <= MOST_TOKENS {
            return Ok(());
        }
        let expected = format!("windows of at most {MOST_TOKENS} tokens");
        Err(Error::config("data.window", expected, tokens, "lower it, or leave it out"))
    }

    /// Lists the documents of a group. One that has a target as a whole must fit a row.
    fn list(&self, number: u64, group: &ShardGroup, index: u32, documents: &mut Vec<Document>) -> Result<()> {
        let whole = self.config.has_whole_documents();
        for document in 0..group.documents() {
            let mut tokens = group.length(document);
            if whole && tokens > self.config.length {
                if !self.config.truncate {
                    let (path, row) = self.data.locate(number, document);
                    return Err(Error::data(
                        path,
                        format!("row {row}"),
                        format!(
                            "at most {} tokens (data.length), for its target belongs to the whole",
                            self.config.length
                        ),
                        tokens,
                        "raise data.length, or cut the documents before they are prepared",
                    ));
                }
                tokens = self.config.length;
            }
            documents.push(Document { group: index, index: document as u32, tokens: tokens as u32 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_its_share_of_the_tokens_a_bounded_size_and_enough_rows() {
        let tokens = InputColumn::Tokens { vocab_size: 9 };
        let features = |n_features| InputColumn::Features { n_features };
        let usual = LoaderConfig::new("unused", 8, 256);
        let given = LoaderConfig { window: Some(1000), ..usual.clone() };
        let long = LoaderConfig { length: 1 << 17, ..usual.clone() };
        let lanes = LoaderConfig { packing: Packing::Carried, length: 1 << 14, ..usual.clone() };
        let whole = Share { weight: 1, of: 1 };
        let third = Share { weight: 1, of: 3 };
        for (config, input, share, expected) in [
            (&usual, tokens, whole, 1 << 20),
            (&usual, tokens, third, (1 << 20) / 3),
            (&given, tokens, third, 333),
            (&given, features(4096), whole, 1000),
            (&usual, features(2), whole, 1 << 20),
            (&usual, features(64), whole, 1 << 16),       // 16 MB
            (&usual, features(1 << 16), whole, 16 * 256), // 16 rows
            (&long, tokens, whole, 16 << 17),
            (&lanes, tokens, whole, (16 * 8) << 14), // 16 rows of each lane
        ] {
            assert_eq!(window_tokens(config, &input, share), expected, "{config:?}, {input:?}, {share:?}");
        }
    }

    #[test]
    fn a_set_of_less_than_two_windows_is_one() {
        for (n_tokens, n_groups, target, expected) in
            [(1999, 50, 1000, 1), (2000, 50, 1000, 2), (10, 50, 1000, 1), (2000, 50, 1, 50), (7, 3, 0, 3)]
        {
            assert_eq!(count_windows(n_tokens, n_groups, target), expected);
        }
    }
}
