//! The loader: returns batches, each with the position after it.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::batch::Batch;
use super::cursor::{Cursor, Cutter, Wanted};
use super::index::Dataset;
use super::loader_config::LoaderConfig;
use super::made::Made;
use super::plan::Plan;
use super::prefetch::Prefetch;
use super::window::Window;
use crate::error::{Error, Result};

/// A stream of batches over a folder of shards.
///
/// The same data, settings and position give the same batches, whatever the number of workers.
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
/// // Two documents, of three and five tokens, in rows of four.
/// let config = LoaderConfig { epochs: Some(1), ..LoaderConfig::new(folder, 1, 4) };
/// let mut loader = Loader::open(config)?;
/// assert_eq!((loader.n_documents(), loader.n_tokens(), loader.config().length), (2, 8, 4));
/// let (first, after) = loader.next()?.expect("a batch");
/// assert_eq!((first.rows, first.length), (1, 4));
/// assert_eq!((loader.position(), loader.progress()), (after.clone(), 0.5));
/// assert_eq!((loader.count_rows(3)?, loader.n_windows(), loader.utilisation()?), (6, 1, 1.0));
/// assert_eq!((loader.count_rows_of_tokens(16)?, loader.progress_of_sources()), (4, vec![0.5]));
/// assert_eq!((loader.skipped(), loader.damage().len()), (0, 0));
///
/// // Another loader goes on where this one is.
/// let (second, _) = loader.next()?.expect("a batch");
/// let mut again = Loader::open(loader.config().clone())?;
/// again.seek(after)?;
/// assert_eq!(again.next()?.expect("a batch").0, second);
/// assert!(again.next()?.is_none());
/// assert_eq!(again.epoch(), 1);
///
/// // What is not looked at can be passed over: the tokens, and the position after them.
/// again.seek(Cursor::default())?;
/// assert_eq!(again.pass_over()?.expect("a batch").0, 4);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub struct Loader {
    plan: Arc<Plan>,
    position: Cursor,
    source: Option<BatchSource>,
    /// Batches handed out or passed over since the source started.
    number: u64,
}

enum BatchSource {
    Inline(Box<Inline>),
    Threads(Prefetch),
}

/// Batches made by the caller's own thread.
struct Inline {
    cutter: Cutter,
    /// The last window of each source.
    windows: Vec<Option<(Wanted, Arc<Window>)>>,
}

impl Inline {
    fn next(&mut self, plan: &Plan) -> Result<Option<Made>> {
        let never = AtomicBool::new(false);
        let ticket = loop {
            let Some(wanted) = self.cutter.wanted() else { break self.cutter.cut() };
            if let Some(count) = self.cutter.passed(plan, wanted) {
                match self.cutter.pass(&count)? {
                    None => continue,
                    ticket => break ticket,
                }
            }
            let window = match self.windows[wanted.source].take() {
                Some((held, window)) if held == wanted => window,
                _ => match plan.sources[wanted.source].load(wanted.id, &never)? {
                    Some(window) => Arc::new(window),
                    None => return Ok(None),
                },
            };
            let ticket = self.cutter.take(&window)?;
            self.windows[wanted.source] = Some((wanted, window));
            if ticket.is_some() {
                break ticket;
            }
        };
        ticket.map(|ticket| Made::of(ticket, &plan.config)).transpose()
    }
}

impl Loader {
    /// Opens a data set at its start. Threads start with the first batch.
    pub fn open(config: LoaderConfig) -> Result<Self> {
        let plan = Plan::open(config)?;
        let position = Cursor { data: plan.fingerprint(), ..Cursor::default() };
        Ok(Self { plan: Arc::new(plan), position, source: None, number: 0 })
    }

    /// The next batch and the position after it; `None` at the end. Refused where another loader makes it.
    ///
    /// After an error the position is still that of the last batch handed out: another call tries again.
    #[expect(clippy::should_implement_trait, reason = "an iterator over results would go on after an error")]
    pub fn next(&mut self) -> Result<Option<(Batch, Cursor)>> {
        let number = if self.source.is_some() { self.number } else { 0 };
        if !self.plan.config.makes(number) {
            return Err(Error::config(
                "loader.own",
                "batches that this loader makes",
                format!("batch {number}"),
                "pass over it",
            ));
        }
        Ok(self.advance()?.and_then(|Made { batch, cursor, .. }| Some((batch?, cursor))))
    }

    /// Passes over the next batch: the tokens in its documents, and the position after it; `None` at the end.
    pub fn pass_over(&mut self) -> Result<Option<(u64, Cursor)>> {
        Ok(self.advance()?.map(|Made { tokens, cursor, .. }| (tokens, cursor)))
    }

    fn advance(&mut self) -> Result<Option<Made>> {
        if self.source.is_none() {
            self.number = 0;
        }
        let source = match &mut self.source {
            Some(source) => source,
            None => self.source.insert(if self.plan.config.workers == 0 {
                let windows = self.plan.sources.iter().map(|_| None).collect();
                BatchSource::Inline(Box::new(Inline {
                    cutter: Cutter::new(&self.position, &self.plan),
                    windows,
                }))
            } else {
                BatchSource::Threads(Prefetch::start(&self.plan, &self.position)?)
            }),
        };
        let result = match source {
            BatchSource::Inline(inline) => inline.next(&self.plan),
            BatchSource::Threads(prefetch) => prefetch.next(),
        };
        match &result {
            Ok(Some(made)) => {
                self.position.clone_from(&made.cursor);
                self.number += 1;
            }
            Ok(None) => {}
            Err(_) => self.source = None,
        }
        result
    }

    /// Seeks to a position that this loader, or another with the same data and settings, has returned.
    /// [`Cursor::default`] is the start.
    pub fn seek(&mut self, cursor: Cursor) -> Result<()> {
        let own = self.position.data;
        if cursor != Cursor::default() && cursor.data != own {
            return Err(Error::config(
                "cursor.data",
                format!("{own}, a position in these data with these settings"),
                cursor.data,
                match self.plan.config.lanes() {
                    None => "resume with the data, seed, length and packing of the saved run, or start anew",
                    Some(_) => {
                        "resume with the data, seed, length, packing and batch size of the saved run, or start anew"
                    }
                },
            ));
        }
        let places = cursor.places(self.plan.sources.len());
        for (place, n_windows) in places.iter().zip(self.plan.n_windows()) {
            if place.window >= n_windows {
                return Err(Error::config(
                    "cursor.window",
                    format!("a window below {n_windows}"),
                    place.window,
                    "take a position that the loader has handed out",
                ));
            }
        }
        self.source = None;
        self.position = Cursor { data: own, ..cursor };
        Ok(())
    }

    /// The position after the last batch handed out, or that of the last seek.
    pub fn position(&self) -> Cursor {
        self.position.clone()
    }

    /// Complete passes over the data up to that position: of several sources, over each of them.
    pub fn epoch(&self) -> u64 {
        self.position.places(self.plan.sources.len()).iter().map(|place| place.epoch).min().unwrap_or(0)
    }

    /// Epochs up to that position, with fraction: windows of an epoch count alike, and rows of a window. Of several
    /// sources, those of the one that has had the fewest.
    pub fn progress(&self) -> f64 {
        self.progress_of_sources().into_iter().fold(f64::INFINITY, f64::min)
    }

    /// The same of each source.
    pub fn progress_of_sources(&self) -> Vec<f64> {
        let places = self.position.places(self.plan.sources.len());
        places.iter().zip(self.plan.n_windows()).map(|(place, n)| place.progress(n)).collect()
    }

    /// Rows until the data, or each of several sources, has been read `epochs` times: of `contiguous` by the manifest, else
    /// all documents are read for it.
    pub fn count_rows(&self, epochs: u64) -> Result<u64> {
        self.plan.count_rows(epochs)
    }

    /// Rows that have this many tokens by the mean of the first epoch, of several sources by their shares of the rows.
    pub fn count_rows_of_tokens(&self, tokens: u64) -> Result<u64> {
        self.plan.count_rows_of_tokens(tokens)
    }

    /// Share of the positions of batches that hold tokens, by the window that comes next; of several sources the mean by
    /// their weights. The windows are kept for the stream, which does not read them again.
    pub fn utilisation(&self) -> Result<f64> {
        let places = self.position.places(self.plan.sources.len());
        let mut share = 0.0;
        for (i, (source, place)) in self.plan.sources.iter().zip(&places).enumerate() {
            let weight = self.plan.schedule.weight(i) as f64 / self.plan.schedule.total() as f64;
            share += weight * source.utilisation(place.window_id())?;
        }
        Ok(share)
    }

    /// Record batches that were left out so far for being damaged, in every epoch anew.
    pub fn skipped(&self) -> u64 {
        self.position.skipped
    }

    /// A line for each of these that this loader has met, also ahead of its position: file, record batch and offset.
    pub fn damage(&self) -> Vec<String> {
        self.plan.damage()
    }

    /// Windows of an epoch: documents are mixed within one, record batches over all. One window mixes the whole set. Of
    /// several sources, those of all together.
    pub fn n_windows(&self) -> u64 {
        self.plan.n_windows().iter().sum()
    }

    /// Number of documents, of all sources.
    pub fn n_documents(&self) -> u64 {
        self.plan.sources.iter().map(|source| source.data.n_documents()).sum()
    }

    /// Number of tokens, of all sources.
    pub fn n_tokens(&self) -> u64 {
        self.plan.sources.iter().map(|source| source.data.n_tokens()).sum()
    }

    /// The settings.
    pub fn config(&self) -> &LoaderConfig {
        &self.plan.config
    }

    /// The data set; of several, the first.
    #[doc(hidden)]
    pub fn dataset(&self) -> &Dataset {
        &self.plan.sources[0].data
    }
}
