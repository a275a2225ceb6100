//! AdamW: decoupled weight decay, one fused pass over parameters, gradients and both moments.
//!
//! The gradient buffer holds the gradient of the weighted SUM of the losses, over targets whose weights sum up to `weight`
//! (their number, where each counts as 1); the mean, clipped, is
//!
//! ```text
//! g = (c / weight) · buffer                                    c = min(1, clip/(norm of the mean + 1e-6))
//! m ← β1·m + (1-β1)·g         v ← β2·v + (1-β2)·g²
//! p ← p·(1 - lr·wd)           where the tensor decays
//! p ← p - lr·m̂/(√v̂ + ε)       m̂ = m/(1-β1^t)   v̂ = v/(1-β2^t)
//! ```
//!
//! t is the number of updates applied to that tensor since its moments were zero, not the step of the training: under a
//! global count the first updates of a layer grown later would be 2.5 to 5 times too large.

use rayon::prelude::*;

use super::clip::coefficient;
use super::config::OptimConfig;
use super::fused::{Coefficients, Fused};
use super::guard::{BlockMeasure, Counters, joined, measure};
use super::plan::{BLOCK, BlockPlan};
use super::schedule;
use super::shares::Shares;
use crate::error::{Error, Result};
use crate::numeric::Scalar;
use crate::params::{Arena, Slot, Table, TensorMasks};
use crate::simd;

/// Report of [`AdamW::apply`].
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// False if the update was skipped because something was not finite.
    pub applied: bool,
    /// Learning rate of this update.
    pub lr: f64,
    /// Global norm of the mean gradient before clipping; not finite if a gradient is not.
    pub grad_norm: f64,
    /// Global norm of the change of the parameters; 0 if skipped.
    pub update_norm: f64,
    /// Whether the gradient was scaled down.
    pub clipped: bool,
    /// Name of what was not finite: the first such tensor, else `loss`.
    pub fault: Option<String>,
}

/// The optimiser's state: both moments, counts, and the plan of its passes.
#[derive(Clone, Debug)]
pub struct AdamW<T> {
    config: OptimConfig,
    pub(super) first: Arena<T>,
    pub(super) second: Arena<T>,
    updates: Vec<u64>,
    counters: Counters,
    plan: BlockPlan,
    /// The blocks whose moments are here.
    pub(super) shares: Shares,
    pub(super) found: Vec<BlockMeasure>,
    pub(super) square_sums: Vec<f64>,
    coefficients: Vec<Coefficients<T>>,
}

impl<T: Scalar> AdamW<T> {
    /// Zero moments for the tensors of `table`.
    pub fn new(config: OptimConfig, table: &Table, masks: &TensorMasks) -> Result<Self> {
        config.validate()?;
        let plan = BlockPlan::new(table, masks);
        Ok(Self {
            config,
            first: Arena::try_zeros(table.buffer_len(), "the moments")?,
            second: Arena::try_zeros(table.buffer_len(), "the moments")?,
            updates: vec![0; table.entries().len()],
            counters: Counters::default(),
            found: vec![BlockMeasure::default(); plan.block_count()],
            square_sums: vec![0.0; plan.block_count()],
            coefficients: vec![Coefficients::default(); table.entries().len()],
            shares: Shares::whole(table.buffer_len()),
            plan,
        })
    }

    /// Replaces the masks, after freezing. Moments and counts are kept, so that a tensor that is trained again
    /// continues with them.
    pub fn set_masks(&mut self, table: &Table, masks: &TensorMasks) {
        self.plan = BlockPlan::new(table, masks);
    }

    /// The state for a grown model: tensors that were there keep moments and counts, new ones start at zero.
    /// `origin` gives for each slot of `table` its slot in `old`.
    ///
    /// # Panics
    /// If an origin has another number of elements.
    pub fn regrown(
        &self,
        old: &Table,
        table: &Table,
        masks: &TensorMasks,
        origin: &[Option<Slot>],
    ) -> Result<Self> {
        let mut grown = Self::new(self.config.clone(), table, masks)?;
        grown.counters = self.counters;
        for (slot, from) in origin.iter().enumerate().filter_map(|(slot, from)| Some((slot, (*from)?))) {
            grown.first.tensor_mut(table, slot).copy_from_slice(self.first.tensor(old, from));
            grown.second.tensor_mut(table, slot).copy_from_slice(self.second.tensor(old, from));
            grown.updates[slot] = self.updates[from];
        }
        Ok(grown)
    }

    /// The settings.
    pub fn config(&self) -> &OptimConfig {
        &self.config
    }

    /// Applied and skipped updates.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// By slot: updates applied to that tensor since its moments were zero.
    pub fn updates(&self) -> &[u64] {
        &self.updates
    }

    /// Both moments, first and second; where ranks share the update those of this rank's blocks.
    pub fn moments(&self) -> [&Arena<T>; 2] {
        [&self.first, &self.second]
    }

    /// Both moments, to be filled from a checkpoint.
    pub fn moments_mut(&mut self) -> [&mut Arena<T>; 2] {
        [&mut self.first, &mut self.second]
    }

    /// Takes the counts of a checkpoint; `updates` by slot.
    pub fn restore_counts(&mut self, counters: Counters, updates: Vec<u64>) -> Result<()> {
        if updates.len() != self.updates.len() {
            return Err(Error::shape("update counts", self.updates.len(), updates.len()));
        }
        (self.counters, self.updates) = (counters, updates);
        Ok(())
    }

    /// Learning rate of the next update.
    pub fn lr(&self) -> f64 {
        self.config.lr * schedule::factor(&self.config.schedule, self.counters.applied)
    }

    /// Global norm of the trained gradients as they lie in the buffer, all of them.
    pub fn norm(&mut self, grads: &Arena<T>) -> f64 {
        measure(&self.plan, 0, grads.as_slice(), &mut self.found);
        joined(&self.found).norm
    }

    /// Applies one update from the gradients of a sum of losses, which is `loss`, over targets whose weights have the sum
    /// `weight`, and sets the gradients to zero in the same pass, ready for the next accumulation.
    ///
    /// If the loss or a gradient is not finite nothing changes but the gradients and the count of skipped updates; the
    /// `max_skipped`-th time in a row this is [`Error::Diverged`]. Frozen tensors and their gradients are not touched.
    pub fn apply(
        &mut self,
        table: &Table,
        params: &mut Arena<T>,
        grads: &mut Arena<T>,
        sums: (f64, f64),
    ) -> Result<Update> {
        self.measure(grads);
        let mut update = self.decide(table, grads, sums)?;
        if update.applied {
            self.pass(params, grads);
            update.update_norm = self.update_norm();
        }
        Ok(update)
    }

    /// The guard's pass over the gradients of this rank's blocks.
    pub(crate) fn measure(&mut self, grads: &Arena<T>) {
        for blocks in self.shares.own() {
            let elements = self.shares.elements(&blocks);
            measure(&self.plan, blocks.start, &grads.as_slice()[elements], &mut self.found[blocks]);
        }
    }

    /// From the measures of all blocks: whether the update is applied, and by which coefficients. If it is not, the trained
    /// gradients are zero and it is counted as skipped.
    pub(crate) fn decide(
        &mut self,
        table: &Table,
        grads: &mut Arena<T>,
        (loss, weight): (f64, f64),
    ) -> Result<Update> {
        if weight == 0.0 {
            return Err(Error::shape("update", "at least one target since the last one", "none"));
        }
        let measured = joined(&self.found);
        let grad_norm = measured.norm / weight;
        let mut update = Update {
            applied: false,
            lr: self.lr(),
            grad_norm,
            update_norm: 0.0,
            clipped: false,
            fault: measured.fault(loss, table).map(str::to_owned),
        };
        if let Some(fault) = &update.fault {
            self.plan.trained().iter().for_each(|&slot| grads.tensor_mut(table, slot).fill(T::ZERO));
            self.counters.skip(fault, self.config.max_skipped)?;
            return Ok(update);
        }
        let c = coefficient(grad_norm, self.config.clip_norm);
        update.clipped = c < 1.0;
        for &slot in self.plan.trained() {
            self.updates[slot] += 1;
            let (scale, t) = (c / weight, self.updates[slot]);
            self.coefficients[slot] = Coefficients::new(&self.config, update.lr, scale, t);
        }
        update.applied = true;
        self.counters.apply();
        Ok(update)
    }

    /// The fused pass over this rank's blocks.
    pub(crate) fn pass(&mut self, params: &mut Arena<T>, grads: &mut Arena<T>) {
        let (plan, coefficients) = (&self.plan, &self.coefficients);
        let mut first = self.first.as_mut_slice();
        let mut second = self.second.as_mut_slice();
        for blocks in self.shares.own() {
            let elements = self.shares.elements(&blocks);
            let (m, later) = first.split_at_mut(elements.len());
            first = later;
            let (v, later) = second.split_at_mut(elements.len());
            second = later;
            (
                params.as_mut_slice()[elements.clone()].par_chunks_mut(BLOCK),
                grads.as_mut_slice()[elements].par_chunks_mut(BLOCK),
                m.par_chunks_mut(BLOCK),
                v.par_chunks_mut(BLOCK),
                &mut self.square_sums[blocks.clone()],
            )
                .into_par_iter()
                .enumerate()
                .for_each(|(i, (p, g, m, v, square_sum))| {
                    *square_sum = 0.0;
                    for part in plan.parts(blocks.start + i) {
                        *square_sum += simd::run(Fused {
                            p: &mut p[part.range.clone()],
                            g: &mut g[part.range.clone()],
                            m: &mut m[part.range.clone()],
                            v: &mut v[part.range.clone()],
                            coefficients: coefficients[part.slot],
                            decays: part.decay,
                        });
                    }
                });
        }
    }

    /// Norm of the change of the parameters, from the sums of all blocks.
    pub(crate) fn update_norm(&self) -> f64 {
        self.square_sums.iter().sum::<f64>().sqrt()
    }
}

#[cfg(test)]
mod tests;
