//! The points at which a process may die while it writes: before each operation on the disk. Tests let it die at every
//! one of them in turn; outside tests the functions of this file do nothing.

#[cfg(not(test))]
use std::io;

/// Asked before each operation on the disk.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
#[inline(always)]
pub(crate) fn here() -> io::Result<()> {
    Ok(())
}

/// Whether the process has died: then nothing is cleaned up.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn came() -> bool {
    false
}

#[cfg(test)]
pub(crate) use simulated::{after, came, here};

#[cfg(test)]
mod simulated {
    use std::cell::Cell;
    use std::io;

    use crate::error::Result;

    thread_local! {
        /// Operations left to this thread, and whether it wanted one more.
        static LIFE: Cell<(u32, bool)> = const { Cell::new((u32::MAX, false)) };
    }

    pub(crate) fn here() -> io::Result<()> {
        match LIFE.get() {
            (0, _) => {
                LIFE.set((0, true));
                Err(io::Error::other("dead"))
            }
            (left, dead) => {
                LIFE.set((left - 1, dead));
                Ok(())
            }
        }
    }

    pub(crate) fn came() -> bool {
        LIFE.get().1
    }

    /// Lets `f` live for `operations` on the disk; `None` if it died.
    pub(crate) fn after<R>(operations: u32, f: impl FnOnce() -> Result<R>) -> Option<R> {
        LIFE.set((operations, false));
        let result = f();
        let (_, died) = LIFE.replace((u32::MAX, false));
        assert_eq!(result.is_err(), died, "it can only fail by dying");
        result.ok()
    }
}
