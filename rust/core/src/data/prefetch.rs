//! Batches made ahead of time by a few threads, in the order in which one thread would make them.
//!
//! There are two kinds of job: load a window, and assemble a batch. One lock guards the state from which a free thread
//! takes the next job. Batches are cut (`super::cursor::Cutter`) under the lock, window by window in order, so which
//! rows a batch has and which position follows it never depends on the threads; only copying and reading are done
//! outside. At most `prefetch` batches are under way or waiting, and at most `workers` windows are held beside them, and one
//! of each source.
//!
//! An error takes the place of the batch that it prevents; it ends the stream.

#![forbid(unsafe_code)]

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::assemble::assemble;
use super::batch::Batch;
use super::cursor::{Cursor, Cutter, Place, Ticket, Wanted};
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
    /// The window of each to load after those.
    next_windows: Vec<WindowId>,
    /// Batches cut so far, and batches handed out.
    cut: u64,
    handed: u64,
    /// Batches that wait, by number.
    waiting: BTreeMap<u64, Result<(Batch, Cursor)>>,
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

enum WindowSlot {
    Loading(WindowId),
    Loaded(Result<Arc<Window>>),
}

enum Job {
    Load(Wanted),
    Assemble(u64, Ticket),
}

enum Done {
    Window(Wanted, Result<Option<Window>>),
    Batch(u64, Result<(Batch, Cursor)>),
}

impl Prefetch {
    pub(super) fn start(plan: &Arc<Plan>, from: &Cursor) -> Result<Self> {
        let places = from.places(plan.sources.len());
        let state = State {
            cutter: Cutter::new(from, plan),
            windows: places.iter().map(|_| VecDeque::new()).collect(),
            next_windows: places.iter().map(Place::window_id).collect(),
            cut: 0,
            handed: 0,
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
    pub(super) fn next(&self) -> Result<Option<(Batch, Cursor)>> {
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
        let (limits, n_windows) = (self.limits(), self.plan.n_windows());
        let mut state = self.lock();
        while !self.stop.load(Ordering::Relaxed) {
            let ended = state.end.is_some();
            let Some(job) = state.take_job(limits, &n_windows) else {
                if state.end.is_some() && !ended {
                    // The stream has ended, or has an error: the consumer waits for that.
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
            Job::Assemble(number, ticket) => {
                let batch = assemble(&ticket.parts, &self.plan.config);
                Done::Batch(number, batch.map(|batch| (batch, ticket.cursor)))
            }
        }
    }
}

impl State {
    /// The next job, if there is one within the limits (batches under way, windows held).
    fn take_job(&mut self, (batches, windows): (u64, usize), n_windows: &[u64]) -> Option<Job> {
        while self.end.is_none() && self.cut - self.handed < batches {
            let Some(wanted) = self.cutter.wanted() else {
                let rest = self.cutter.cut();
                let job = rest.map(|ticket| self.number(ticket));
                self.end = Some(self.cut);
                return job;
            };
            let windows = &mut self.windows[wanted.source];
            match windows.front() {
                Some(WindowSlot::Loaded(Ok(window))) => match self.cutter.take(window) {
                    Ok(ticket) => {
                        if self.cutter.place(wanted.source) != wanted.id {
                            windows.pop_front();
                        }
                        if let Some(ticket) = ticket {
                            return Some(self.number(ticket));
                        }
                    }
                    Err(error) => self.fail(error),
                },
                Some(WindowSlot::Loaded(Err(_))) => {
                    if let Some(WindowSlot::Loaded(Err(error))) = windows.pop_front() {
                        self.fail(error);
                    }
                }
                Some(WindowSlot::Loading(_)) | None => break,
            }
        }
        self.next_to_load(windows).map(|source| {
            let id = self.next_windows[source];
            self.next_windows[source] = id.next(n_windows[source]);
            self.windows[source].push_back(WindowSlot::Loading(id));
            Job::Load(Wanted { source, id })
        })
    }

    /// The source of which to load a window, if there is room: the one whose turn it is where it has none, else the one
    /// with the fewest.
    fn next_to_load(&self, limit: usize) -> Option<usize> {
        let held: usize = self.windows.iter().map(VecDeque::len).sum();
        if self.end.is_some() || held >= limit {
            return None;
        }
        let turn = self.cutter.wanted().map(|wanted| wanted.source);
        let urgent = turn.filter(|&source| self.windows[source].is_empty());
        let source = urgent.or_else(|| (0..self.windows.len()).min_by_key(|&i| self.windows[i].len()))?;
        self.cutter.may_want(self.next_windows[source]).then_some(source)
    }

    fn number(&mut self, ticket: Ticket) -> Job {
        self.cut += 1;
        Job::Assemble(self.cut - 1, ticket)
    }

    /// An error where the next batch would have been.
    fn fail(&mut self, error: Error) {
        self.waiting.insert(self.cut, Err(error));
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
                let mut slots = self.windows[source].iter_mut();
                let slot = slots.find(|s| matches!(s, WindowSlot::Loading(other) if *other == id));
                if let Some(slot) = slot {
                    *slot = WindowSlot::Loaded(result.map(Arc::new));
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
            let job = state.take_job(shared.limits(), &shared.plan.n_windows());
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
