//! The joint loss with gradient surgery: both tasks back to the features, each by itself, then their gradients as one.
//!
//! ```text
//! g_z,i   of the loss of task i alone          g_f,i = g_z,i·W
//! g_f = a_1·g_f,1 + a_2·g_f,2                  g_W = (g_z,1 + g_z,2)ᵀ·f,  g_b = Σ (g_z,1 + g_z,2)
//! ```
//!
//! a follows from the products of g_f,1 and g_f,2 over all features of the micro-batch (`losses::surgery`); the weights of
//! gradnorm are factors of the losses, of g_z,i too. The loss that is reported is that without any of it. Where nothing
//! below the head is trained there is no shared representation: g_f is not computed.

use super::interface::{HeadReport, Targets, WeightedTargets};
use super::loss_config::{LossConfig, Surgery};
use super::losses::surgery::{Gram, cagrad, combine, pcgrad};
use super::losses::{self, ClassAndValue, Shares};
use super::predictions::Wanted;
use super::prototype_head::PrototypeHead;
use super::rows::{ABSOLUTE, FIELDS, LOSS, PREDICTED, SQUARED, totals};
use crate::numeric::Scalar;
use crate::params::Grads;
use crate::pass::Pass;

impl PrototypeHead {
    /// Elements of scratch for n features: g_z, the records and g_f of the second task.
    pub(super) fn joint_scratch(&self, n: usize) -> usize {
        if self.operates() { n * (self.plan.dim + FIELDS + self.d_model) } else { 0 }
    }

    /// Whether the gradients of two tasks are operated on.
    pub(super) fn operates(&self) -> bool {
        self.config.loss.surgery() != Surgery::None {}
    }

    /// As `Head::forward_backward` for z `[n, Q]` of x and the records of its rows.
    #[expect(clippy::unreachable, reason = "the configuration is checked where the head is made")]
    pub(super) fn operated_joint<T: Scalar>(
        &self,
        pass: Pass<T>,
        x: &[T],
        (z, records): (&mut [T], &mut [T]),
        targets: WeightedTargets<T>,
        wanted: &mut Wanted<T>,
        (dx, dparams): (Option<&mut [T]>, Option<&mut Grads<T>>),
    ) -> HeadReport {
        let Pass { params, precision, scratch, mut running, .. } = pass;
        let n = x.len() / self.d_model;
        let (LossConfig::Joint { weight, surgery, .. }, Targets::Joint { classes, values }) =
            (self.config.loss, targets.targets)
        else {
            unreachable!("surgery is of the joint loss, with its targets")
        };
        #[expect(clippy::expect_used, reason = "the joint loss has a range")]
        let range = self.range().expect("the joint loss has a range");
        let (dim, prototypes) = (self.plan.dim, self.kept_prototypes(&params));
        let (z_class, scratch) = scratch.split_at_mut(n * dim);
        let (records_class, scratch) = scratch.split_at_mut(n * FIELDS);
        let (dx_class, scratch) = scratch.split_at_mut(n * self.d_model);
        let (scored, correct) = self.take_nearest(z, prototypes, classes, wanted, scratch);

        let kept = running.as_ref().map(|running| running.kept);
        let v = self.task_weights(kept);
        let (number, class) = (T::ONE - T::from_f64(weight), T::from_f64(weight));
        let (number, class) = (number * T::from_f64(v[0]), class * T::from_f64(v[1]));
        let of = ClassAndValue { classes, values, weights: targets.weights };
        z_class.copy_from_slice(z);
        let only_number = Shares { number, class: T::ZERO };
        losses::joint(z, dim, prototypes, range, only_number, of, records.as_chunks_mut().0);
        let only_class = Shares { number: T::ZERO, class };
        losses::joint(z_class, dim, prototypes, range, only_class, of, records_class.as_chunks_mut().0);
        let (records, records_class) = (records.as_chunks().0, records_class.as_chunks().0);
        wanted.take_numbers(records.iter().map(|record| record[PREDICTED]));
        let (sums, of_class) = (totals(records), totals(records_class));
        let task_losses = [sums[LOSS] / v[0], of_class[LOSS] / v[1]];
        let count = of.known();

        if let Some(dx) = dx {
            self.project_backward((precision, &params), x, z, Some(dx), None, scratch);
            self.project_backward((precision, &params), x, z_class, Some(dx_class), None, scratch);
            let gram = Gram::new(dx, dx_class);
            let factors = match surgery {
                Surgery::Pcgrad {} => pcgrad(gram),
                Surgery::Cagrad { distance } => cagrad(gram, distance),
                Surgery::None {} | Surgery::Gradnorm { .. } => [1.0, 1.0],
            };
            if let (Some(balance), Some(running)) = (self.balance(), &mut running) {
                balance.gather(running.kept, running.gathered, gram, task_losses, targets.weight(count));
            }
            combine(dx, dx_class, factors);
        }
        combine(z, z_class, [1.0, 1.0]);
        self.project_backward((precision, &params), x, z, None, dparams, scratch);
        HeadReport {
            loss: task_losses[0] + task_losses[1],
            count,
            scored,
            correct,
            squared_error: sums[SQUARED],
            absolute_error: sums[ABSOLUTE],
        }
    }
}

#[cfg(test)]
mod tests;
