//! Batches made ahead of time by a few threads, in the order in which one thread would make them.
//!
//! There are two kinds of job: load a window, and assemble a batch. One lock guards the state from which a free thread
//! takes the next job. Batches are cut (`super::cursor::Cutter`) under the lock, window by window in order, so which
//! rows a batch has and which position follows it never depends on the threads; only copying and reading are done
//! outside. At most `prefetch` batches are under way or waiting, and at most `workers` windows are held beside them, and one
//! of each source.
//!
//! Where other loaders make some of the batches (`super::own`), these wait as a number of tokens and a position. If the
//! manifest tells the rows of windows, a second cutter walks ahead of the first and finds the windows to load: those of
//! which this loader needs a row.
//!
//! An error takes the place of the batch that it prevents; it ends the stream.

#![forbid(unsafe_code)]

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::cursor::{Cursor, Cutter, Place, Ticket, Wanted};
use super::made::Made;
use super::plan::Plan;
use super::window::{Window, WindowId};
use crate::error::{Error, Result};

/// A running set of threads. Dropped, it stops them and waits for them.
pub(super) struct Prefetch {
    shared: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    owner: u32,
}

struct Queue {
    plan: Arc<Plan>,
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

struct State {
    cutter: Cutter,
    /// Windows of each source in order, the first being the one that the cutter wants of it.
    windows: Vec<VecDeque<WindowSlot>>,
    /// The windows to load after those.
    further: Further,
    /// Batches cut so far, and batches handed out.
    cut: u64,
    handed: u64,
    /// Batches of this loader that are being made or wait.
    under_way: u64,
    /// Batches that wait, by number.
    waiting: BTreeMap<u64, Result<Made>>,
    /// Number of batches that there are, once it is known.
    end: Option<u64>,
    panic: Panic,
}

/// Whether a worker has panicked.
enum Panic {
    None,
    /// A worker has; the next call for a batch resumes the panic.
    Carried(Box<dyn Any + Send>),
    /// The panic was resumed; every further call is an error.
    Raised,
}

struct WindowSlot {
    id: WindowId,
    /// None while it is being loaded.
    loaded: Option<Result<Arc<Window>>>,
}

/// Which windows are loaded next.
enum Further {
    /// All of each source in turn: the next of each.
    All(Vec<WindowId>),
    /// Those of which this loader needs a row.
    Needed(Box<Needed>),
}

/// Finds the windows of which this loader needs a row, in the order in which it does.
struct Needed {
    cutter: Cutter,
    /// The one that was found last, of each source.
    last: Vec<Option<WindowId>>,
}

impl Further {
    fn new(plan: &Plan, from: &Cursor) -> Self {
        let places = from.places(plan.sources.len());
        if plan.config.own.is_some() && plan.config.rows_by_manifest() {
            let needed = Needed { cutter: Cutter::new(from, plan), last: vec![None; places.len()] };
            return Self::Needed(Box::new(needed));
        }
        Self::All(places.iter().map(Place::window_id).collect())
    }
}

impl Needed {
    fn next(&mut self, plan: &Plan) -> Option<Wanted> {
        loop {
            let wanted = self.cutter.wanted()?;
            let is_own = self.cutter.is_own();
            let passed = self.cutter.pass(&plan.sources[wanted.source].count(wanted.id)?);
            let last = &mut self.last[wanted.source];
            if is_own && *last != Some(wanted.id) {
                *last = Some(wanted.id);
                return Some(wanted);
            }
            if passed.is_err() {
                return None; // the first cutter has the same error, and tells it
            }
        }
    }
}

enum Job {
    Load(Wanted),
    Assemble(u64, Ticket),
}

enum Done {
    Window(Wanted, Result<Option<Window>>),
    Batch(u64, Result<Made>),
}

impl Prefetch {
    pub(super) fn start(plan: &Arc<Plan>, from: &Cursor) -> Result<Self> {
        let state = State {
            cutter: Cutter::new(from, plan),
            windows: plan.sources.iter().map(|_| VecDeque::new()).collect(),
            further: Further::new(plan, from),
            cut: 0,
            handed: 0,
            under_way: 0,
            waiting: BTreeMap::new(),
            end: None,
            panic: Panic::None,
        };
        let shared = Arc::new(Queue {
            plan: plan.clone(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let mut prefetch = Self { shared, threads: Vec::new(), owner: std::process::id() };
        for i in 0..plan.config.workers {
            let shared = prefetch.shared.clone();
            let thread =
                std::thread::Builder::new().name(format!("ssm-hpn-data-{i}")).spawn(move || shared.work());
            let thread = thread.map_err(|e| {
                Error::config("data.workers", "threads that start", e, "ask for fewer workers, or 0 for none")
            })?;
            prefetch.threads.push(thread);
        }
        Ok(prefetch)
    }

    /// The next batch, waiting for it if need be; `None` at the end.
    pub(super) fn next(&self) -> Result<Option<Made>> {
        let current = std::process::id();
        if current != self.owner {
            return Err(Error::Forked { owner: self.owner, current });
        }
        let mut state = self.shared.lock();
        loop {
            match std::mem::replace(&mut state.panic, Panic::Raised) {
                Panic::None => state.panic = Panic::None,
                Panic::Carried(panic) => {
                    drop(state);
                    resume_unwind(panic);
                }
                Panic::Raised => {
                    return Err(Error::poisoned("loader", "make a new one"));
                }
            }
            let number = state.handed;
            if let Some(result) = state.waiting.remove(&number) {
                state.handed += 1;
                if !matches!(&result, Ok(Made { batch: None, .. })) {
                    state.under_way -= 1;
                }
                self.shared.changed.notify_all();
                return result.map(Some);
            }
            if state.end == Some(number) {
                return Ok(None);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        let threads = std::mem::take(&mut self.threads);
        if std::process::id() != self.owner {
            // After a fork these threads do not exist here; waiting for them would never end.
            std::mem::forget(threads);
            return;
        }
        {
            let _state = self.shared.lock();
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        self.shared.changed.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of a worker is caught and passed to the consumer; the state is consistent wherever one can occur.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most batches under way or waiting, and most windows beside them.
    fn limits(&self) -> (u64, usize) {
        (self.plan.config.prefetch as u64, self.plan.config.workers + self.plan.sources.len())
    }

    /// The loop of each thread until it is stopped: takes a job, runs it, stores its result.
    fn work(&self) {
        let limits = self.limits();
        let mut state = self.lock();
        while !self.stop.load(Ordering::Relaxed) {
            let (ended, waiting) = (state.end.is_some(), state.waiting.len());
            let Some(job) = state.take_job(limits, &self.plan) else {
                if (state.end.is_some() && !ended) || state.waiting.len() > waiting {
                    // The stream has ended or has an error, or batches were passed over: the consumer waits for that.
                    self.changed.notify_all();
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            // Taking a job may have ended the stream, or reduced the number of batches in progress to below the limit.
            self.changed.notify_all();
            let done = catch_unwind(AssertUnwindSafe(|| self.run(job)));
            state = self.lock();
            match done {
                Ok(done) => state.put(done),
                Err(panic) => {
                    state.panic = Panic::Carried(panic);
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
            self.changed.notify_all();
        }
    }

    fn run(&self, job: Job) -> Done {
        match job {
            Job::Load(wanted) => {
                let window = self.plan.sources[wanted.source].load(wanted.id, &self.stop);
                Done::Window(wanted, window)
            }
            Job::Assemble(number, ticket) => Done::Batch(number, Made::of(ticket, &self.plan.config)),
        }
    }
}

impl State {
    /// The next job, if there is one within the limits (batches under way, windows held).
    fn take_job(&mut self, (batches, windows): (u64, usize), plan: &Plan) -> Option<Job> {
        while self.end.is_none() && self.under_way < batches {
            let Some(wanted) = self.cutter.wanted() else {
                let job = self.cutter.cut().and_then(|ticket| self.number(ticket, plan));
                self.end = Some(self.cut);
                return job;
            };
            let windows = &mut self.windows[wanted.source];
            let taken = if let Some(count) = self.cutter.passed(plan, wanted) {
                self.cutter.pass(&count)
            } else {
                match windows.front().map(|slot| &slot.loaded) {
                    Some(Some(Ok(window))) => self.cutter.take(window),
                    Some(Some(Err(_))) => {
                        if let Some(WindowSlot { loaded: Some(Err(error)), .. }) = windows.pop_front() {
                            self.fail(error);
                        }
                        break;
                    }
                    Some(None) | None => break,
                }
            };
            let is_behind = self.cutter.place(wanted.source) != wanted.id;
            if is_behind && windows.front().is_some_and(|slot| slot.id == wanted.id) {
                windows.pop_front();
            }
            match taken {
                Ok(None) => {}
                Ok(Some(ticket)) => {
                    if let Some(job) = self.number(ticket, plan) {
                        return Some(job);
                    }
                }
                Err(error) => self.fail(error),
            }
        }
        let wanted = self.next_to_load(windows, plan)?;
        self.windows[wanted.source].push_back(WindowSlot { id: wanted.id, loaded: None });
        Some(Job::Load(wanted))
    }

    /// The window to load next, if there is room: the one whose turn it is where its source has none, else one of the
    /// source with the fewest.
    fn next_to_load(&mut self, limit: usize, plan: &Plan) -> Option<Wanted> {
        let held: usize = self.windows.iter().map(VecDeque::len).sum();
        if self.end.is_some() || held >= limit {
            return None;
        }
        let next = match &mut self.further {
            Further::Needed(needed) => return needed.next(plan),
            Further::All(next) => next,
        };
        let turn = self.cutter.wanted().map(|wanted| wanted.source);
        let urgent = turn.filter(|&source| self.windows[source].is_empty());
        let source = urgent.or_else(|| (0..self.windows.len()).min_by_key(|&i| self.windows[i].len()))?;
        let id = next[source];
        if !self.cutter.may_want(id) {
            return None;
        }
        next[source] = id.next(plan.sources[source].n_windows);
        Some(Wanted { source, id })
    }

    /// Gives a batch its number; the job to make it, unless another loader does.
    fn number(&mut self, ticket: Ticket, plan: &Plan) -> Option<Job> {
        let number = self.cut;
        self.cut += 1;
        if ticket.parts.is_some() {
            self.under_way += 1;
            return Some(Job::Assemble(number, ticket));
        }
        self.waiting.insert(number, Made::of(ticket, &plan.config));
        None
    }

    /// An error where the next batch would have been.
    fn fail(&mut self, error: Error) {
        self.waiting.insert(self.cut, Err(error));
        self.under_way += 1;
        self.cut += 1;
        self.end = Some(self.cut);
    }

    fn put(&mut self, done: Done) {
        match done {
            Done::Batch(number, result) => {
                self.waiting.insert(number, result);
            }
            Done::Window(Wanted { source, id }, result) => {
                // `None`: the threads are being stopped, and the window is not needed.
                let Some(result) = result.transpose() else { return };
                if let Some(slot) = self.windows[source].iter_mut().find(|slot| slot.id == id) {
                    slot.loaded = Some(result.map(Arc::new));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::loader_config::LoaderConfig;
    use super::*;

    /// Runs all jobs; returns the largest number of windows held, and the number of batches that wait at the end.
    fn work(shared: &Queue) -> (usize, usize) {
        let mut windows = 0;
        loop {
            let mut state = shared.lock();
            let job = state.take_job(shared.limits(), &shared.plan);
            windows = windows.max(state.windows[0].len());
            let Some(job) = job else { return (windows, state.waiting.len()) };
            drop(state);
            let done = shared.run(job);
            shared.lock().put(done);
        }
    }

    #[test]
    fn after_the_panic_of_a_thread_every_further_call_is_an_error() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/shards-v1");
        let config = LoaderConfig { workers: 1, prefetch: 1, ..LoaderConfig::new(&path, 2, 8) };
        let plan = Arc::new(Plan::open(config).unwrap());
        let prefetch = Prefetch::start(&plan, &Cursor::default()).unwrap();
        {
            let mut state = prefetch.shared.lock();
            state.panic = Panic::Carried(Box::new("a thread"));
            prefetch.shared.stop.store(true, Ordering::Relaxed);
        }
        let first = catch_unwind(AssertUnwindSafe(|| prefetch.next()));
        assert_eq!(*first.unwrap_err().downcast::<&str>().unwrap(), "a thread");
        for _ in 0..2 {
            let error = prefetch.next().unwrap_err().to_string();
            assert!(error.contains("a call has panicked; make a new one"), "{error}");
        }
    }

    #[test]
    fn no_more_batches_are_made_ahead_than_asked_for() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/shards-v1");
        for ahead in [1, 2, 5] {
            // Without threads: the test runs all jobs itself.
            let config = LoaderConfig {
                workers: 0,
                prefetch: ahead,
                epochs: Some(3),
                window: Some(1),
                ..LoaderConfig::new(&path, 2, 8)
            };
            let plan = Arc::new(Plan::open(config).unwrap());
            let prefetch = Prefetch::start(&plan, &Cursor::default()).unwrap();
            let mut waited = Vec::new();
            loop {
                let (windows, waiting) = work(&prefetch.shared);
                assert!(windows <= 1, "{windows} windows are held");
                waited.push(waiting);
                if prefetch.next().unwrap().is_none() {
                    break;
                }
            }
            let batches = waited.len() - 1;
            assert!(batches > 2 * ahead, "{batches} batches");
            assert!((0..=batches).map(|handed| ahead.min(batches - handed)).eq(waited));
        }
    }
}
