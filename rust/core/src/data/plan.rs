//! Everything on which the stream of batches depends: settings, the sources, and the turns that they take.
//!
//! One source is the usual case. Of several, each has its own epochs, windows and orders, as if it were read alone, in a
//! part of the window's tokens by its weight; `super::mixture` says whose row comes next. So every row of a source
//! occurs once before one of its rows occurs again, whatever the others do.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use xxhash_rust::xxh3::Xxh3;

use super::index::Dataset;
use super::loader_config::{LoaderConfig, MixedSource};
use super::mixture::Schedule;
use super::window::{EpochPlan, Share};
use crate::error::{Error, Result};

/// Data and settings, on which alone the stream of batches depends.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: LoaderConfig,
    pub(super) sources: Vec<EpochPlan>,
    pub(super) schedule: Schedule,
}

impl Plan {
    /// Opens the data. Sources whose columns differ are refused.
    pub(super) fn open(config: LoaderConfig) -> Result<Self> {
        config.check()?;
        let own = MixedSource { path: config.path.clone(), weight: config.weight };
        let all: Vec<MixedSource> = std::iter::once(own).chain(config.mix.iter().cloned()).collect();
        let schedule = Schedule::new(all.iter().map(|source| source.weight).collect())?;
        let mut sources: Vec<EpochPlan> = Vec::with_capacity(all.len());
        for (i, MixedSource { path, weight }) in all.into_iter().enumerate() {
            let data = Dataset::open(&path)?;
            if let Some(first) = sources.first() {
                check_alike(&first.data, &data)?;
            }
            let own = LoaderConfig { seed: seed_of(config.seed, i), path, ..config.clone() };
            own.check_columns(&data)?;
            sources.push(EpochPlan::new(own, data, Share { weight, of: schedule.total() }));
        }
        Ok(Self { config, sources, schedule })
    }

    /// Identifies the stream of batches: a position is valid only in the stream it came from. 52 bits, exact in any JSON
    /// reader; never 0.
    pub(super) fn fingerprint(&self) -> u64 {
        let own = self.sources[0].fingerprint();
        if self.sources.len() == 1 {
            return own;
        }
        let mut hash = Xxh3::new();
        for (i, source) in self.sources.iter().enumerate() {
            for word in [source.fingerprint(), self.schedule.weight(i)] {
                hash.update(&word.to_le_bytes());
            }
        }
        (hash.digest() >> 12).max(1)
    }

    /// Windows of an epoch of each source.
    pub(super) fn n_windows(&self) -> Vec<u64> {
        self.sources.iter().map(|source| source.n_windows).collect()
    }

    /// Rows until every source has been read this many times.
    pub(super) fn count_rows(&self, epochs: u64) -> Result<u64> {
        let mut rows = 0;
        for (i, source) in self.sources.iter().enumerate() {
            rows = self.schedule.rows_until(i, source.count_rows(epochs)?).max(rows);
        }
        Ok(rows)
    }

    /// Rows that have this many tokens, by the mean of the first epoch of each source.
    pub(super) fn count_rows_of_tokens(&self, tokens: u64) -> Result<u64> {
        if let [source] = &self.sources[..] {
            let rows = u128::from(tokens) * u128::from(source.count_rows(1)?);
            return Ok(u64::try_from(rows.div_ceil(u128::from(source.data.n_tokens()))).unwrap_or(u64::MAX));
        }
        let mut of_a_row = 0.0;
        for (i, source) in self.sources.iter().enumerate() {
            let share = self.schedule.weight(i) as f64 / self.schedule.total() as f64;
            of_a_row += share * source.data.n_tokens() as f64 / source.count_rows(1)?.max(1) as f64;
        }
        Ok((tokens as f64 / of_a_row).ceil() as u64)
    }

    /// What was found damaged and left out: a line for each record batch.
    pub(super) fn damage(&self) -> Vec<String> {
        self.sources.iter().flat_map(EpochPlan::damage).collect()
    }
}

/// Seed of the orders of a source: two sources of one size are not in one order.
fn seed_of(seed: u64, source: usize) -> u64 {
    if source == 0 {
        return seed;
    }
    let mut hash = Xxh3::with_seed(seed);
    hash.update(&(source as u64).to_le_bytes());
    hash.digest()
}

/// Refuses data of other columns or sizes than the first source has: its rows would not fit the same batches.
fn check_alike(first: &Dataset, other: &Dataset) -> Result<()> {
    let (a, b) = (first.manifest(), other.manifest());
    let named = |columns: &[String]| {
        let mut names: Vec<&str> =
            columns.iter().map(String::as_str).filter(|&name| name != "name").collect();
        names.sort_unstable();
        names.join(", ")
    };
    let or_none = |found: Option<u64>| found.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let path: PathBuf = other.folder().to_path_buf();
    for (at, expected, found) in [
        ("columns", named(&a.columns), named(&b.columns)),
        ("vocab_size", or_none(a.vocab_size.map(u64::from)), or_none(b.vocab_size.map(u64::from))),
        ("n_features", or_none(a.n_features.map(|n| n as u64)), or_none(b.n_features.map(|n| n as u64))),
        ("n_values", or_none(a.n_values.map(|n| n as u64)), or_none(b.n_values.map(|n| n as u64))),
        ("n_classes", or_none(a.n_classes.map(|n| n as u64)), or_none(b.n_classes.map(|n| n as u64))),
    ] {
        if expected != found {
            let expected = format!("{expected}, as in {}", first.folder().display());
            return Err(Error::data(path, at, expected, found, "prepare both in the same way"));
        }
    }
    Ok(())
}
