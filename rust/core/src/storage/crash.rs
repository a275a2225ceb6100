//! Simulated crashes: a point before each operation on the disk, at which a test can end the writing. Outside tests the
//! functions of this file do nothing.

#[cfg(not(test))]
use std::io;

/// Called before each operation on the disk; fails in a test whose simulated crash is due.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
#[inline(always)]
pub(crate) fn point() -> io::Result<()> {
    Ok(())
}

/// Whether the simulated crash has happened: then nothing is removed by destructors, as after a real one.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn occurred() -> bool {
    false
}

#[cfg(test)]
pub(crate) use simulated::{after, occurred, point};

#[cfg(test)]
mod simulated {
    use std::cell::Cell;
    use std::io;

    use crate::error::Result;

    thread_local! {
        /// Operations of this thread until the crash, and whether it has happened.
        static REMAINING: Cell<(u32, bool)> = const { Cell::new((u32::MAX, false)) };
    }

    pub(crate) fn point() -> io::Result<()> {
        match REMAINING.get() {
            (0, _) => {
                REMAINING.set((0, true));
                Err(io::Error::other("simulated crash"))
            }
            (remaining, crashed) => {
                REMAINING.set((remaining - 1, crashed));
                Ok(())
            }
        }
    }

    pub(crate) fn occurred() -> bool {
        REMAINING.get().1
    }

    /// Runs `f` with a crash after this many operations on the disk; `None` if it happened.
    pub(crate) fn after<R>(operations: u32, f: impl FnOnce() -> Result<R>) -> Option<R> {
        REMAINING.set((operations, false));
        let result = f();
        let (_, crashed) = REMAINING.replace((u32::MAX, false));
        assert_eq!(result.is_err(), crashed, "the simulated crash is the only failure");
        result.ok()
    }
}
