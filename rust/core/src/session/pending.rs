//! The sums of an update that was not applied yet: those of the present virtual rank, and of the branches before it.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::params::Arena;

/// Sums of the losses whose gradients were not applied yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pending {
    pub(super) micro_batches: u64,
    pub(super) loss: f64,
    pub(super) count: u64,
    pub(super) weight: f64,
    pub(super) scored: u64,
    pub(super) correct: u64,
}

/// What the last micro-batch of an update has exchanged with other ranks during its pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Exchanged {
    /// Rounds, from the last one of the gradients on. The other ranks may have exchanged another number in their passes.
    pub(super) rounds: usize,
    /// How long the exchange went on after the pass.
    pub(super) waited: Duration,
}

/// Sums of complete virtual ranks.
pub(super) struct Branch<T> {
    pub(super) grads: Arena<T>,
    pub(super) gathered: Vec<f64>,
    pub(super) pending: Pending,
}

/// The branches of the present update that wait to be joined, the largest first.
pub(super) struct Branches<T> {
    pub(super) waiting: Vec<Branch<T>>,
    /// Virtual ranks that are complete.
    pub(super) complete: u64,
    /// Zeroed buffers that are not in use.
    pub(super) free: Vec<Arena<T>>,
}

impl<T> Default for Branches<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), complete: 0, free: Vec::new() }
    }
}

impl<T> Branches<T> {
    /// Sums of all branches.
    pub(super) fn pending(&self) -> Pending {
        self.waiting.iter().fold(Pending::default(), |sum, branch| sum.joined(branch.pending))
    }
}

impl Pending {
    /// The sums of two branches.
    pub(super) fn joined(self, other: Self) -> Self {
        Self {
            micro_batches: self.micro_batches + other.micro_batches,
            loss: self.loss + other.loss,
            count: self.count + other.count,
            weight: self.weight + other.weight,
            scored: self.scored + other.scored,
            correct: self.correct + other.correct,
        }
    }

    /// Whole numbers of a record that ranks exchange. Sums of losses and of weights follow.
    pub(super) const WHOLE: usize = 4;

    pub(super) fn whole(&self) -> [u64; Self::WHOLE] {
        [self.micro_batches, self.count, self.scored, self.correct]
    }
}
