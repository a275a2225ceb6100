//! The check of one setting.

use crate::error::{Error, Result};

/// An [`Error::Config`] unless `valid`.
pub(super) fn require(
    valid: bool,
    key: &str,
    expected: &str,
    found: impl ToString,
    advice: &str,
) -> Result<()> {
    if valid { Ok(()) } else { Err(Error::config(key, expected, found, advice)) }
}
