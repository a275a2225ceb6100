//! Threads: one pool per session, work split by problem size alone.
//!
//! Kernels call [`for_each_task`] with a number of tasks that follows from their dimensions, never from the number of
//! threads, and join partial sums in task order; so results have the same bits for any number of threads. The pool that
//! runs them is the one inside whose [`Threads::install`] the call was made.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

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
        Ok(self.pool.of_this_process(self.count)?.install(f))
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

/// Work for which waking another thread takes longer than the work itself: some 10 µs of a core that needs 1 ns for an
/// item.
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
pub(crate) fn for_each_task(count: usize, task: impl Fn(usize) + Sync + Send) {
    if count == 1 {
        task(0);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(task);
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
    fn zero_threads_are_refused_with_advice() {
        let message = Threads::new(Some(0)).unwrap_err().to_string();
        assert!(message.contains("1 to 4096 threads, found 0"), "{message}");
    }
}
