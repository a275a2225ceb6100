//! A batch of the stream as it is handed out: made, or the tokens of one that another loader makes.

#![forbid(unsafe_code)]

use super::assemble::assemble;
use super::batch::Batch;
use super::cursor::{Cursor, Ticket};
use super::loader_config::LoaderConfig;
use crate::error::Result;

/// A batch of the stream, and the position after it.
#[derive(Debug)]
pub(super) struct Made {
    /// None where it is made by another loader.
    pub(super) batch: Option<Batch>,
    /// Tokens in its documents.
    pub(super) tokens: u64,
    pub(super) cursor: Cursor,
}

impl Made {
    /// The batch of a ticket; refused where the memory is not there.
    pub(super) fn of(ticket: Ticket, config: &LoaderConfig) -> Result<Self> {
        let Ticket { parts, tokens, cursor } = ticket;
        let batch = parts.map(|parts| assemble(&parts, config)).transpose()?;
        let of_batch = |batch: &Batch| batch.segments.iter().map(|s| u64::from(s.end - s.start)).sum();
        Ok(Self { tokens: batch.as_ref().map_or(tokens, of_batch), batch, cursor })
    }
}
