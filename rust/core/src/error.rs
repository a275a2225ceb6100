//! Every way in which this crate can fail, as one enum with fields.
//!
//! A message says what is wrong, where, what was expected, what was found and what to do, in one line. The bindings
//! translate each variant to one exception class and the command line to one exit code (`Error::exit_code`).

#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which this crate can fail.
///
/// ```
/// use ssm_hpn::Error;
///
/// let error = Error::config("optim.lr", "a number above 0", -1, "try 3e-3");
/// assert_eq!(error.to_string(), "optim.lr: expected a number above 0, found -1; try 3e-3");
/// assert_eq!(error.exit_code(), 2);
/// assert!(matches!(error, Error::Config { key, .. } if key == "optim.lr"));
///
/// let error = Error::data("a.csv", "row 7", "a number", "x", "correct the row");
/// assert_eq!(error.to_string(), "a.csv: row 7: expected a number, found x; correct the row");
/// let error = Error::shape("features", "3 numbers per token", 2);
/// assert_eq!(error.to_string(), "features: expected 3 numbers per token, found 2");
/// let error = Error::storage("a.csv", "read", std::io::Error::other("no such device"));
/// assert_eq!(error.to_string(), "a.csv: cannot read: no such device");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration that contradicts itself or asks for something that does not exist.
    #[error("{key}: expected {expected}, found {found}; {advice}")]
    Config {
        /// Dotted name of the setting, such as `model.head.loss`.
        key: String,
        /// What is valid, in words.
        expected: String,
        /// What was found, in words.
        found: String,
        /// Advice to the user.
        advice: String,
    },
    /// Input data that cannot be used: a damaged shard, a token out of range, a label beyond the class count.
    #[error("{}: {at}: expected {expected}, found {found}; {advice}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// Place in it: a row, a column, a byte offset.
        at: String,
        /// What is valid, in words.
        expected: String,
        /// What was found, in words.
        found: String,
        /// Advice to the user.
        advice: String,
    },
    /// A checkpoint that cannot be loaded: missing, cut, altered, of a newer schema or of another model.
    #[error("{}: {at}: expected {expected}, found {found}; {advice}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// Place in it: a tensor, a field, a byte offset.
        at: String,
        /// What is valid, in words.
        expected: String,
        /// What was found, in words.
        found: String,
        /// Advice to the user.
        advice: String,
    },
    /// Training met too many non-finite losses or gradients in a row.
    #[error(
        "update {step}: {skipped} updates in a row had a loss or gradient that is not finite, first in {parameter}; \
         lower the learning rate or the clip threshold, or check the data for extreme values"
    )]
    Diverged {
        /// Updates applied so far.
        step: u64,
        /// Consecutive updates skipped.
        skipped: u32,
        /// The first tensor with a value that is not finite (`loss` if it is the loss itself).
        parameter: String,
    },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}", path.display())]
    Storage {
        /// The file or folder.
        path: PathBuf,
        /// The failed action, as a verb phrase: `create the folder`, `read`.
        action: &'static str,
        /// The reason given by the operating system.
        source: io::Error,
    },
    /// Another process writes to a folder that only one may write to.
    #[error("{}: expected a folder that no other process writes to, found it in use by {owner}; wait for it to end, \
             or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who has it, such as `process 4711`.
        owner: String,
    },
    /// A rank that trains together with this one is lost, or failed.
    #[error("{problem}")]
    Rank {
        /// Which rank, and what is known about it, in words.
        problem: String,
    },
    /// An array or a batch handed over by the caller does not fit.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which argument.
        what: String,
        /// What is valid, in words.
        expected: String,
        /// What was found, in words.
        found: String,
    },
    /// The flat buffers are lent, and the call would move, change or read them.
    #[error("cannot {action} while the flat buffers are borrowed; leave the borrow_flat() block first")]
    Borrowed {
        /// The failed action, as a verb phrase.
        action: &'static str,
    },
    /// The process was forked after a loader had started its threads.
    #[error(
        "this process was forked after the loader had started its threads (loader of process {owner}, now in process \
         {current}); use the spawn start method, or make the loader after the fork"
    )]
    Forked {
        /// Process that made the loader.
        owner: u32,
        /// Process that tried to use it.
        current: u32,
    },
    /// A call has panicked in the middle of changing something, which is half changed since.
    #[error(
        "{what}: expected one whose calls have all ended, found one in which a call has panicked; {advice}"
    )]
    Poisoned {
        /// What was being changed.
        what: String,
        /// Advice to the user.
        advice: &'static str,
    },
}

impl Error {
    /// Shorthand for [`Error::Config`].
    pub fn config(
        key: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
        advice: impl Into<String>,
    ) -> Self {
        Self::Config {
            key: one_line(key.into()),
            expected: one_line(expected.into()),
            found: one_line(found.to_string()),
            advice: one_line(advice.into()),
        }
    }

    /// For `what`, which takes more memory than there is.
    pub(crate) fn too_large(what: &str, bytes: f64) -> Self {
        let found = format!("{:.0} MB that {what} would take", (bytes / 1e6).ceil());
        Self::config(
            "memory",
            "no more than this process can have",
            found,
            "choose a smaller model, or smaller batches",
        )
    }

    /// Shorthand for [`Error::Data`].
    pub fn data(
        path: impl AsRef<Path>,
        at: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
        advice: impl Into<String>,
    ) -> Self {
        Self::Data {
            path: path.as_ref().to_path_buf(),
            at: one_line(at.into()),
            expected: one_line(expected.into()),
            found: one_line(found.to_string()),
            advice: one_line(advice.into()),
        }
    }

    /// Shorthand for [`Error::Checkpoint`].
    pub(crate) fn checkpoint(
        path: impl AsRef<Path>,
        at: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
        advice: impl Into<String>,
    ) -> Self {
        Self::Checkpoint {
            path: path.as_ref().to_path_buf(),
            at: one_line(at.into()),
            expected: one_line(expected.into()),
            found: one_line(found.to_string()),
            advice: one_line(advice.into()),
        }
    }

    /// Shorthand for [`Error::Storage`].
    pub fn storage(path: impl AsRef<Path>, action: &'static str, source: io::Error) -> Self {
        Self::Storage { path: path.as_ref().to_path_buf(), action, source }
    }

    /// Shorthand for [`Error::Poisoned`].
    #[doc(hidden)]
    pub fn poisoned(what: impl Into<String>, advice: &'static str) -> Self {
        Self::Poisoned { what: what.into(), advice }
    }

    /// Shorthand for [`Error::Shape`].
    pub fn shape(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Shape {
            what: one_line(what.into()),
            expected: one_line(expected.to_string()),
            found: one_line(found.to_string()),
        }
    }

    /// Exit code of the command line for this error: 2 configuration, 3 data, 4 no loadable checkpoint, 5 diverged,
    /// 6 storage or a lost rank, 7 a folder in use by another process; 1 for a misuse of the programming interface.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Config { .. } => 2,
            Self::Data { .. } => 3,
            Self::Checkpoint { .. } => 4,
            Self::Diverged { .. } => 5,
            Self::Storage { .. } | Self::Rank { .. } => 6,
            Self::InUse { .. } => 7,
            Self::Shape { .. } | Self::Borrowed { .. } | Self::Forked { .. } | Self::Poisoned { .. } => 1,
        }
    }
}

/// A part of a message on one line: some libraries tell their errors on several, and texts from files have line ends.
fn one_line(text: String) -> String {
    if text.contains(char::is_control) {
        return text
            .split(char::is_control)
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_library_found_is_told_on_one_line() {
        let found = "Range [0, 4) is out of bounds.\n\twhile verifying table `Footer`\n";
        let on_one = "Range [0, 4) is out of bounds. while verifying table `Footer`";
        for error in [
            Error::data("a", "b", "c", found, "d"),
            Error::checkpoint("a", "b", "c", found, "d"),
            Error::config("b", "c", found, "d"),
            Error::shape("b", "c", found),
            Error::config("model", "a configuration", "this JSON", found),
            Error::data("a", found, "c", "e", "d"),
        ] {
            let text = error.to_string();
            assert!(text.contains(on_one) && !text.contains('\n'), "{text:?}");
        }
        assert_eq!(Error::shape("b", "c", "d  e").to_string(), "b: expected c, found d  e");
    }
}
