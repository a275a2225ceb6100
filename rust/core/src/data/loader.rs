//! The loader: returns batches, each with the position after it.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::assemble::assemble;
use super::batch::Batch;
use super::cursor::{Cursor, Cutter};
use super::index::Dataset;
use super::loader_config::LoaderConfig;
use super::prefetch::Prefetch;
use super::window::{EpochPlan, Window, WindowId};
use crate::error::{Error, Result};

/// A stream of batches over a folder of shards.
///
/// The same data, settings and position give the same batches, whatever the number of workers.
///
/// ```
/// use ssm_hpn::data::{Loader, LoaderConfig};
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
/// assert_eq!((loader.position(), loader.progress()), (after, 0.5));
/// assert_eq!((loader.count_rows(3)?, loader.n_windows(), loader.utilisation()?), (6, 1, 1.0));
///
/// // Another loader goes on where this one is.
/// let (second, _) = loader.next()?.expect("a batch");
/// let mut again = Loader::open(loader.config().clone())?;
/// again.seek(after)?;
/// assert_eq!(again.next()?.expect("a batch").0, second);
/// assert!(again.next()?.is_none());
/// assert_eq!(again.epoch(), 1);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub struct Loader {
    plan: Arc<EpochPlan>,
    position: Cursor,
    source: Option<BatchSource>,
}

enum BatchSource {
    Inline(Box<Inline>),
    Threads(Prefetch),
}

/// Batches made by the caller's own thread.
struct Inline {
    cutter: Cutter,
    window: Option<(WindowId, Arc<Window>)>,
}

impl Inline {
    fn next(&mut self, plan: &EpochPlan) -> Result<Option<(Batch, Cursor)>> {
        let never = AtomicBool::new(false);
        let ticket = loop {
            let Some(id) = self.cutter.wanted() else { break self.cutter.cut() };
            let window = match self.window.take() {
                Some((held, window)) if held == id => window,
                _ => match plan.load(id, &never)? {
                    Some(window) => Arc::new(window),
                    None => return Ok(None),
                },
            };
            let ticket = self.cutter.take(&window)?;
            self.window = Some((id, window));
            if ticket.is_some() {
                break ticket;
            }
        };
        ticket.map(|t| Ok((assemble(&t.parts, &plan.config)?, t.cursor))).transpose()
    }
}

impl Loader {
    /// Opens a data set at its start. Threads start with the first batch.
    pub fn open(config: LoaderConfig) -> Result<Self> {
        config.check()?;
        let data = Dataset::open(&config.path)?;
        config.check_columns(&data)?;
        let plan = EpochPlan::new(config, data);
        let position = Cursor { data: plan.fingerprint(), ..Cursor::default() };
        Ok(Self { plan: Arc::new(plan), position, source: None })
    }

    /// The next batch and the position after it; `None` at the end.
    ///
    /// After an error the position is still that of the last batch handed out: another call tries again.
    #[expect(clippy::should_implement_trait, reason = "an iterator over results would go on after an error")]
    pub fn next(&mut self) -> Result<Option<(Batch, Cursor)>> {
        let source = match &mut self.source {
            Some(source) => source,
            None => self.source.insert(if self.plan.config.workers == 0 {
                let cutter = Cutter::new(self.position, &self.plan.config, self.plan.n_windows);
                BatchSource::Inline(Box::new(Inline { cutter, window: None }))
            } else {
                BatchSource::Threads(Prefetch::start(&self.plan, self.position)?)
            }),
        };
        let result = match source {
            BatchSource::Inline(inline) => inline.next(&self.plan),
            BatchSource::Threads(prefetch) => prefetch.next(),
        };
        match &result {
            Ok(Some((_, cursor))) => self.position = *cursor,
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
        if cursor.window >= self.plan.n_windows {
            return Err(Error::config(
                "cursor.window",
                format!("a window below {}", self.plan.n_windows),
                cursor.window,
                "take a position that the loader has handed out",
            ));
        }
        self.source = None;
        self.position = Cursor { data: own, ..cursor };
        Ok(())
    }

    /// The position after the last batch handed out, or that of the last seek.
    pub fn position(&self) -> Cursor {
        self.position
    }

    /// Complete passes over the data up to that position.
    pub fn epoch(&self) -> u64 {
        self.position.epoch
    }

    /// Epochs up to that position, with fraction: windows of an epoch count alike, and rows of a window.
    pub fn progress(&self) -> f64 {
        let at = &self.position;
        let of_window = at.row as f64 / at.rows.max(1) as f64;
        at.epoch as f64 + (at.window as f64 + of_window) / self.plan.n_windows as f64
    }

    /// Rows of the first `epochs` epochs: of `contiguous` by the manifest, else all documents are read for it.
    pub fn count_rows(&self, epochs: u64) -> Result<u64> {
        self.plan.count_rows(epochs)
    }

    /// Share of the positions of batches that hold tokens, by the first window of the first epoch.
    pub fn utilisation(&self) -> Result<f64> {
        self.plan.utilisation()
    }

    /// Windows of an epoch: documents are mixed within one, record batches over all. One window mixes the whole set.
    pub fn n_windows(&self) -> u64 {
        self.plan.n_windows
    }

    /// Number of documents.
    pub fn n_documents(&self) -> u64 {
        self.plan.data.n_documents()
    }

    /// Number of tokens.
    pub fn n_tokens(&self) -> u64 {
        self.plan.data.n_tokens()
    }

    /// The settings.
    pub fn config(&self) -> &LoaderConfig {
        &self.plan.config
    }

    /// The data set.
    #[doc(hidden)]
    pub fn dataset(&self) -> &Dataset {
        &self.plan.data
    }
}
