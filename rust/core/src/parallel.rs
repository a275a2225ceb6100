//! Threads: one pool per session, work split by problem size alone.
//!
//! Kernels call [`for_each_task`] with a number of tasks that follows from their dimensions, never from the number of
//! threads, and join partial sums in task order; so results have the same bits for any number of threads. The pool that
//! runs them is the one inside whose [`Threads::install`] the call was made.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// A handle to a pool of worker threads, shared by clones.
///
/// In a process that was forked after the pool had started, whose threads do not exist there, it starts them again.
///
/// ```
/// let threads = ssm_hpn::Threads::new(Some(2))?;
/// assert_eq!((threads.count(), threads.install(|| 6 * 7)?), (2, 42));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone)]
pub struct Threads {
    count: usize,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Threads {
    /// A pool of `count` threads. `None`: the environment variable `SSM_HPN_THREADS`, else one per available core.
    pub fn new(count: Option<usize>) -> Result<Self> {
        let count = match count {
            Some(n) => n,
            None => match std::env::var("SSM_HPN_THREADS") {
                Ok(text) => text.trim().parse().map_err(|_| {
                    Error::config(
                        "SSM_HPN_THREADS",
                        "a number of threads",
                        format!("{text:?}"),
                        "set it to a whole number from 1 on",
                    )
                })?,
                Err(_) => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            },
        };
        if count == 0 || count > 4096 {
            return Err(Error::config(
                "threads",
                "1 to 4096 threads",
                count,
                "leave it out to use every core",
            ));
        }
        Ok(Self { count, pool: Arc::new(Pool::start(count)?) })
    }

    /// Number of threads in the pool.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `f` inside the pool: every `for_each_task` under it uses these threads.
    ///
    /// Fails where the process was forked after the pool had started and cannot start one of its own.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> Result<R> {
        let pool = self.pool.of_this_process(self.count)?;
        let inside = pool.current_thread_index().is_some();
        Ok(pool.install(|| if inside { f() } else { awake(f) }))
    }
}

/// The threads of one process, and those of a process that was forked from it.
struct Pool {
    owner: u32,
    /// None once it is dropped.
    threads: Option<rayon::ThreadPool>,
    after_fork: OnceLock<Box<Self>>,
}

impl Pool {
    fn start(count: usize) -> Result<Self> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("ssm-hpn-{i}"))
            .build()
            .map_err(|e| Error::config("threads", "a thread pool that starts", e, "ask for fewer threads"))?;
        Ok(Self { owner: std::process::id(), threads: Some(threads), after_fork: OnceLock::new() })
    }

    /// The threads that exist in this process. The last link of the chain belongs to it, or to the one it was forked from.
    fn of_this_process(&self, count: usize) -> Result<&rayon::ThreadPool> {
        let current = std::process::id();
        let mut pool = self;
        loop {
            match &pool.threads {
                Some(threads) if pool.owner == current => return Ok(threads),
                _ => {}
            }
            if pool.after_fork.get().is_none() {
                // Two threads may start one each: the first is kept.
                let _ = pool.after_fork.set(Box::new(Self::start(count)?));
            }
            pool = pool.after_fork.wait();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            // After a fork these threads do not exist here; telling them to end could wait for ever.
            std::mem::forget(self.threads.take());
        }
    }
}

/// Work for which sharing takes longer than the work itself: some 10 µs of a core that needs 1 ns for an item.
const WORTH_SHARING: usize = 1 << 13;

/// As [`for_each_task`], but on this thread alone if the tasks together have so few items to work on that sharing them
/// would cost more.
pub(crate) fn for_each_task_of(items: usize, count: usize, task: impl Fn(usize) + Sync + Send) {
    if items < WORTH_SHARING {
        (0..count).for_each(task);
    } else {
        for_each_task(count, task);
    }
}

/// Runs `task(0) .. task(count - 1)` on the current pool, each once, in any order. Nothing is allocated.
///
/// Every thread begins with tasks of its own, the same part of the numbers in each call, so that what one call has
/// written for task i is in the cache of the core that reads it in the next; then it takes from the others.
pub(crate) fn for_each_task(count: usize, task: impl Fn(usize) + Sync + Send) {
    let threads = if count > 1 && !ALONE.get() { rayon::current_num_threads().min(count) } else { 1 };
    if threads == 1 {
        (0..count).for_each(task);
        return;
    }
    let shares = Shares::new(count, threads);
    let work = || {
        let _busy = Busy::enter();
        shares.run(&task);
    };
    beside(threads - 1, &work, || {
        work();
        // A task that another thread has begun ends within microseconds: going to sleep would take longer.
        let mut idle = Idle::default();
        while shares.left.load(Ordering::Acquire) > 0 {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                idle.round();
            }
        }
    });
}

thread_local! {
    /// Whether this thread shares nothing out.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` on the calling thread, which shares none of its tasks: no pool is woken, and none is needed.
pub(crate) fn alone<R>(f: impl FnOnce() -> R) -> R {
    let before = ALONE.replace(true);
    let _restore = OnDrop(|| ALONE.set(before));
    f()
}

/// Calls `task(index, part)` for parts of `size` elements, of which the last may be shorter, as [`for_each_task`] does.
pub(crate) fn for_each_part<T: Send>(
    all: &mut [T],
    size: usize,
    task: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let (len, all) = (all.len(), Shared::new(all));
    for_each_task(len.div_ceil(size.max(1)), |index| {
        let start = index * size;
        // SAFETY: each task has a part of its own.
        task(index, unsafe { all.slice(start, size.min(len - start)) });
    });
}

/// As [`for_each_part`] for parts of two slices with as many parts.
pub(crate) fn for_each_pair<A: Send, B: Send>(
    (a, size_a): (&mut [A], usize),
    (b, size_b): (&mut [B], usize),
    task: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    let (len_b, b) = (b.len(), Shared::new(b));
    for_each_part(a, size_a, |index, a| {
        let start = (index * size_b).min(len_b);
        // SAFETY: each task has a part of its own.
        task(index, a, unsafe { b.slice(start, size_b.min(len_b - start)) });
    });
}

/// Runs `first` on this thread and `job` on up to `others` threads of the pool beside it.
fn beside<R: Send>(others: usize, job: &(impl Fn() + Sync), first: impl FnOnce() -> R + Send) -> R {
    match others {
        0 => first(),
        1 => rayon::join(first, job).0,
        n => rayon::join(|| beside(n / 2, job, first), || beside(n - n / 2 - 1, job, job)).0,
    }
}

/// The tasks of one call, in one part for each thread, up to [`Shares::MOST`].
struct Shares {
    count: usize,
    parts: usize,
    /// By part: its tasks that were taken.
    taken: [AtomicUsize; Self::MOST],
    /// Tasks that are not finished.
    left: AtomicUsize,
}

impl Shares {
    const MOST: usize = 16;

    fn new(count: usize, threads: usize) -> Self {
        let taken = [const { AtomicUsize::new(0) }; Self::MOST];
        Self { count, parts: threads.min(Self::MOST), taken, left: AtomicUsize::new(count) }
    }

    /// Runs tasks until none is left to take, beginning with the part of this thread.
    fn run(&self, task: &impl Fn(usize)) {
        let own = rayon::current_thread_index().unwrap_or(0);
        for part in (own..own + self.parts).map(|part| part % self.parts) {
            let tasks = part * self.count / self.parts..(part + 1) * self.count / self.parts;
            loop {
                let index = tasks.start + self.taken[part].fetch_add(1, Ordering::Relaxed);
                if index >= tasks.end {
                    break;
                }
                // By a panic too, or the caller would wait for ever.
                let _finished = OnDrop(|| {
                    self.left.fetch_sub(1, Ordering::Release);
                });
                task(index);
            }
        }
    }
}

/// Most threads that are kept awake: tasks are as many at most.
const MOST_AWAKE: usize = 63;
/// Time without a task after which a thread that is kept awake lets others run, and after which it sleeps.
const PATIENCE: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_micros(300);

/// Runs `f`, of many short parallel parts, with the other threads of the pool awake meanwhile.
///
/// A sleeping thread takes up a task some 20 µs after it is called, as long as a whole part of a small model takes, and
/// rayon's threads sleep after that long without a task.
fn awake<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let others = (rayon::current_num_threads() - 1).min(MOST_AWAKE);
    let done = AtomicBool::new(false);
    beside(others, &|| stay_awake(&done), || {
        let _busy = Busy::enter();
        let _done = OnDrop(|| done.store(true, Ordering::Relaxed));
        f()
    })
}

/// Runs tasks of others until `done`, or until there were none for [`LONGEST`].
fn stay_awake(done: &AtomicBool) {
    if Busy::is_entered() {
        // This thread waits for tasks of its own, or is awake already.
        return;
    }
    let _busy = Busy::enter();
    let mut idle = Idle::default();
    while !done.load(Ordering::Relaxed) && idle.time() < LONGEST {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => idle = Idle::default(),
            _ => idle.round(),
        }
    }
}

/// Waiting without sleep.
#[derive(Default)]
struct Idle {
    rounds: u32,
    since: Option<Instant>,
    time: Duration,
}

impl Idle {
    /// Waits some 50 ns, or lets other threads of this core run once [`PATIENCE`] is over.
    fn round(&mut self) {
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds.is_multiple_of(16) {
            self.time = self.since.get_or_insert_with(Instant::now).elapsed();
        }
        if self.time > PATIENCE {
            std::thread::yield_now();
        } else {
            (0..4).for_each(|_| std::hint::spin_loop());
        }
    }

    /// Time of the rounds so far.
    fn time(&self) -> Duration {
        self.time
    }
}

thread_local! {
    /// Calls on this thread's stack that must not wait for another thread to end.
    static BUSY: Cell<u32> = const { Cell::new(0) };
}

/// While it is alive, [`stay_awake`] returns at once on this thread.
struct Busy;

impl Busy {
    fn enter() -> Self {
        BUSY.set(BUSY.get() + 1);
        Self
    }

    fn is_entered() -> bool {
        BUSY.get() > 0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(BUSY.get() - 1);
    }
}

/// Calls a function when it is dropped, by a panic too.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// A slice whose disjoint parts are written by different tasks, or read.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are only reached through `slice`, whose contract forbids overlap between tasks.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Takes the slice for the time of the parallel region.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// Takes a slice that tasks only read.
    pub(crate) fn to_read(slice: &'a [T]) -> Self {
        Self { start: slice.as_ptr().cast_mut(), len: slice.len(), lifetime: PhantomData }
    }

    /// Length of the whole slice.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The part `start..start + len`, for the caller alone.
    ///
    /// # Panics
    /// If the part is not inside the slice.
    ///
    /// # Safety
    /// The slice was taken by [`Shared::new`], and no other part alive at the same time overlaps this one.
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &'a mut [T] {
        self.check(start, len);
        // SAFETY: inside the slice (checked), which is borrowed for 'a; disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// The part `start..start + len`, to read.
    ///
    /// # Panics
    /// If the part is not inside the slice.
    ///
    /// # Safety
    /// Nothing writes to the part while it is alive.
    pub(crate) unsafe fn read(&self, start: usize, len: usize) -> &'a [T] {
        self.check(start, len);
        // SAFETY: inside the slice (checked), which is borrowed for 'a; unwritten by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.add(start), len) }
    }

    fn check(&self, start: usize, len: usize) {
        assert!(
            start <= self.len && len <= self.len - start,
            "part {start}+{len} of a slice of {}",
            self.len
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let mut hits = vec![0_u32; 100];
            let shared = Shared::new(&mut hits);
            let pool = Threads::new(Some(threads)).unwrap();
            assert_eq!(pool.count(), threads);
            // SAFETY: each task takes its own element.
            pool.install(|| for_each_task(100, |i| unsafe { shared.slice(i, 1) }[0] += 1)).unwrap();
            assert!(hits.iter().all(|&h| h == 1), "{threads} threads: {hits:?}");
        }
    }

    #[test]
    fn calls_inside_of_tasks_and_from_several_threads_end() {
        let pool = Threads::new(Some(3)).unwrap();
        let hits = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let inner = || for_each_task(5, |_| _ = hits.fetch_add(1, Ordering::Relaxed));
                    let outer = || pool.install(|| for_each_task(7, |_| inner())).unwrap();
                    (0..50).for_each(|_| pool.install(outer).unwrap());
                });
            }
        });
        assert_eq!(hits.into_inner(), 4 * 50 * 7 * 5);
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_leaves_the_pool_usable() {
        let pool = Threads::new(Some(2)).unwrap();
        for bad in [0, 5, 9] {
            let run = || pool.install(|| for_each_task(10, |i| assert!(i != bad, "task {bad}")));
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(caught.downcast_ref::<String>().unwrap(), &format!("task {bad}"));
        }
        let done = AtomicUsize::new(0);
        pool.install(|| for_each_task(10, |_| _ = done.fetch_add(1, Ordering::Relaxed))).unwrap();
        assert_eq!(done.into_inner(), 10);
    }

    #[test]
    fn zero_threads_are_refused_with_advice() {
        let message = Threads::new(Some(0)).unwrap_err().to_string();
        assert!(message.contains("1 to 4096 threads, found 0"), "{message}");
    }
}
