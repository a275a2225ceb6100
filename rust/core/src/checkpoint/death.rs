//! The points at which a process may die while it writes: before each operation on the disk. Tests let it die at every
//! one of them in turn; otherwise nothing is here.

use std::path::Path;

use crate::error::Result;

/// Asked before each operation on the disk.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
#[inline(always)]
pub(super) fn here(_: &Path) -> Result<()> {
    Ok(())
}

/// Whether the process has died: then nothing is cleaned up.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn came() -> bool {
    false
}

#[cfg(test)]
pub(super) use simulated::{after, came, here};

#[cfg(test)]
mod simulated {
    use std::cell::Cell;
    use std::io;

    use super::{Path, Result};
    use crate::error::Error;

    thread_local! {
        /// Operations left to this thread, and whether it wanted one more.
        static LIFE: Cell<(u32, bool)> = const { Cell::new((u32::MAX, false)) };
    }

    pub(in super::super) fn here(path: &Path) -> Result<()> {
        match LIFE.get() {
            (0, _) => {
                LIFE.set((0, true));
                Err(Error::storage(path, "go on", io::Error::other("dead")))
            }
            (left, dead) => {
                LIFE.set((left - 1, dead));
                Ok(())
            }
        }
    }

    pub(in super::super) fn came() -> bool {
        LIFE.get().1
    }

    /// Lets `f` live for `operations` on the disk; `None` if it died.
    pub(in super::super) fn after<R>(operations: u32, f: impl FnOnce() -> Result<R>) -> Option<R> {
        LIFE.set((operations, false));
        let result = f();
        let (_, died) = LIFE.replace((u32::MAX, false));
        assert_eq!(result.is_err(), died, "it can only fail by dying");
        result.ok()
    }
}
