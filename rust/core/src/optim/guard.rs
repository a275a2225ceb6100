//! The guard: one pass over the trained gradients gives their global norm and the first tensor that is not finite.
//!
//! If a gradient or the loss is not finite, the update is skipped: no parameter, moment or count changes. After
//! `max_skipped` skipped updates in a row training stops with [`Error::Diverged`].

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::clip::SumOfSquares;
use super::plan::{BLOCK, BlockPlan};
use crate::error::{Error, Result};
use crate::numeric::Scalar;
use crate::params::{Slot, Table};
use crate::simd;

/// Numbers of applied and skipped updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Updates applied: the step of the training, and what the schedule counts.
    pub applied: u64,
    /// Updates skipped in all.
    pub skipped: u64,
    /// Updates skipped since the last one that was applied.
    pub skipped_in_a_row: u32,
}

impl Counters {
    /// Counts an update that is applied.
    pub(super) fn apply(&mut self) {
        self.applied += 1;
        self.skipped_in_a_row = 0;
    }

    /// Counts an update that is skipped because of `parameter`; an error at the `limit`-th in a row.
    pub(super) fn skip(&mut self, parameter: &str, limit: u32) -> Result<()> {
        self.skipped += 1;
        self.skipped_in_a_row = self.skipped_in_a_row.saturating_add(1);
        if self.skipped_in_a_row < limit {
            return Ok(());
        }
        Err(Error::Diverged {
            step: self.applied,
            skipped: self.skipped_in_a_row,
            parameter: parameter.to_owned(),
        })
    }
}

/// Results of one pass over the gradients of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct BlockMeasure {
    square_sum: f64,
    bad: Option<Slot>,
}

/// Results of the guard's pass over all gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measure {
    /// Global norm of the gradient as it lies in the buffer, in f64.
    pub(super) norm: f64,
    /// First tensor, in the order of the table, with an element that is not finite.
    pub(super) bad: Option<Slot>,
}

impl Measure {
    /// The name of what is not finite: the first such tensor, else `loss` if the loss alone is.
    pub(super) fn fault<'a>(&self, loss: f64, table: &'a Table) -> Option<&'a str> {
        match self.bad {
            Some(slot) => Some(&table.entry(slot).id),
            None if !loss.is_finite() => Some("loss"),
            None => None,
        }
    }
}

impl BlockMeasure {
    /// Bytes of a measure that another rank reads.
    pub(super) const BYTES: usize = 16;

    /// For other ranks.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let bad = self.bad.map_or(0, |slot| slot as u64 + 1);
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.square_sum.to_le_bytes());
        bytes[8..].copy_from_slice(&bad.to_le_bytes());
        bytes
    }

    /// Of another rank.
    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let bad = u64::from_le_bytes(words[1]);
        Self { square_sum: f64::from_le_bytes(words[0]), bad: bad.checked_sub(1).map(|slot| slot as Slot) }
    }
}

/// One pass over the trained gradients of consecutive blocks from `first` on; `found` has one place for each of them.
pub(super) fn measure<T: Scalar>(
    plan: &BlockPlan,
    first: usize,
    gradients: &[T],
    found: &mut [BlockMeasure],
) {
    debug_assert_eq!(found.len(), gradients.len().div_ceil(BLOCK));
    (gradients.par_chunks(BLOCK), &mut *found).into_par_iter().enumerate().for_each(
        |(i, (gradients, found))| {
            *found = BlockMeasure::default();
            for part in plan.parts(first + i) {
                let square_sum = simd::run(SumOfSquares(&gradients[part.range.clone()]));
                found.square_sum += square_sum;
                if !square_sum.is_finite() && found.bad.is_none() {
                    found.bad = Some(part.slot);
                }
            }
        },
    );
}

/// Joins the measures of all blocks in their order.
pub(super) fn joined(found: &[BlockMeasure]) -> Measure {
    Measure {
        norm: found.iter().map(|found| found.square_sum).sum::<f64>().sqrt(),
        bad: found.iter().find_map(|found| found.bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Arena, Group, Init, ParamSpec, TensorMasks};

    #[test]
    fn the_first_tensor_that_is_not_finite_is_named_and_frozen_ones_are_skipped() {
        let mut table = Table::new();
        let specs = [("a", 10), ("b", BLOCK), ("c", 3), ("d", 2 * BLOCK)];
        let specs = specs.map(|(id, n)| ParamSpec::new(id, [n], Init::Zeros));
        table.declare("", Group::Head, specs.to_vec()).unwrap();
        let mut masks = TensorMasks::declared(&table);
        masks.freeze(&table, |entry| entry.id == "c");
        let plan = BlockPlan::new(&table, &masks);
        let mut found = vec![BlockMeasure::default(); plan.block_count()];
        let mut gradients = Arena::<f32>::zeros(table.buffer_len());
        gradients.tensor_mut(&table, 2).fill(f32::NAN);
        gradients.tensor_mut(&table, 0)[3] = 3.0;
        gradients.tensor_mut(&table, 3)[2 * BLOCK - 1] = 4.0;
        let mut measure = |gradients: &Arena<f32>| {
            measure(&plan, 0, gradients.as_slice(), &mut found);
            let carried: Vec<_> =
                found.iter().map(|found| BlockMeasure::from_bytes(found.to_bytes())).collect();
            assert_eq!(format!("{carried:?}"), format!("{found:?}"));
            joined(&found)
        };
        let clean = measure(&gradients);
        assert_eq!(clean, Measure { norm: 5.0, bad: None });
        assert_eq!(clean.fault(1.0, &table), None);
        assert_eq!(clean.fault(f64::NAN, &table), Some("loss"));
        for (slot, at) in [(3, 2 * BLOCK - 2), (1, BLOCK - 1), (1, 0), (0, 9)] {
            gradients.tensor_mut(&table, slot)[at] = f32::INFINITY;
            let bad = measure(&gradients);
            assert_eq!(bad.bad, Some(slot));
            assert_eq!(bad.fault(f64::NAN, &table), Some(table.entry(slot).id.as_str()));
        }
    }

    #[test]
    fn the_limit_counts_skips_in_a_row_only() {
        let mut counters = Counters::default();
        assert!(counters.skip("x", 2).is_ok());
        counters.apply();
        assert!(counters.skip("x", 2).is_ok());
        let message = counters.skip("layers.0.norm.weight", 2).unwrap_err().to_string();
        assert!(
            message.starts_with("update 1: 2 updates in a row") && message.contains("layers.0.norm"),
            "{message}"
        );
        assert_eq!(counters, Counters { applied: 1, skipped: 3, skipped_in_a_row: 2 });
    }
}
