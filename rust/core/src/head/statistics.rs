//! What a prototype head keeps over the updates besides its parameters.
//!
//! ```text
//! gradnorm               6 numbers, for ever (`losses::surgery`)
//! assignment by
//! similarity after N     C·Q sums Σ ẑ of the features of each class, and their C numbers; from update N on nothing
//! ```
//!
//! After update N each class gets the prototype that `prototypes::assignment` finds for it: rows of `head.prototypes`
//! change places, and every checkpoint has them in their new ones.

use super::config::Assignment;
use super::loss_config::Surgery;
use super::losses::surgery::GradNorm;
use super::prototype_head::PrototypeHead;
use super::prototypes::assignment::similar;
use super::rows::Direction;
use crate::numeric::Scalar;
use crate::params::{Params, ParamsMut};
use crate::pass::Running;

impl PrototypeHead {
    /// Numbers kept by a head that has had so many updates.
    pub(super) fn kept(&self, updates: u64) -> usize {
        let assigns = self.config.assignment == Assignment::Similar && updates < self.config.assignment_after;
        let means = if assigns { self.plan.classes * (self.plan.class_dim + 1) } else { 0 };
        self.of_balance() + means
    }

    fn of_balance(&self) -> usize {
        if self.balance().is_some() { GradNorm::STATISTICS } else { 0 }
    }

    /// The weights of tasks that are learned, if they are.
    pub(super) fn balance(&self) -> Option<GradNorm> {
        match self.config.loss.surgery() {
            Surgery::Gradnorm { alpha, rate } => Some(GradNorm { alpha, rate }),
            _ => None,
        }
    }

    /// The learned weights of the two tasks.
    pub(super) fn task_weights(&self, kept: Option<&[f64]>) -> [f64; 2] {
        match (self.balance(), kept) {
            (Some(_), Some(kept)) => GradNorm::weights(kept),
            _ => [1.0, 1.0],
        }
    }

    /// The prototypes as they are kept.
    pub(super) fn kept_prototypes<'a, T: Scalar>(&self, params: &Params<'a, T>) -> &'a [T] {
        self.places().prototypes.map_or(&[][..], |at| self.of_classes(params.get(at)))
    }

    /// Adds the directions of z `[n, Q]` to the sums of their classes, one after the other; negative: none.
    pub(super) fn gather_means<T: Scalar>(&self, z: &[T], classes: &[i32], running: &mut Running) {
        let (dim, class_dim, skipped) = (self.plan.dim, self.plan.class_dim, self.of_balance());
        let Some((sums, counts)) =
            running.gathered[skipped..].split_at_mut_checked(self.plan.classes * class_dim)
        else {
            return;
        };
        for (z, &class) in z.chunks_exact(dim).zip(classes) {
            let Ok(class) = usize::try_from(class) else { continue };
            let z = &z[self.pole()..];
            let inverse = Direction::new(z.iter().map(|z| z.to_f64() * z.to_f64()).sum::<f64>()).inverse;
            for (sum, z) in sums[class * class_dim..].iter_mut().zip(z) {
                *sum += z.to_f64() * inverse;
            }
            counts[class] += 1.0;
        }
    }

    /// Takes in what the passes of an update gathered; after the last update of the warm-up assigns the prototypes.
    pub(super) fn take_in<T: Scalar>(
        &self,
        updates: u64,
        kept: &mut [f64],
        gathered: &[f64],
        mut params: ParamsMut<T>,
    ) {
        let (balance, means) = kept.split_at_mut(self.of_balance());
        let (of_balance, of_means) = gathered.split_at(balance.len());
        if let Some(rule) = self.balance() {
            rule.step(balance, of_balance);
        }
        if means.is_empty() {
            return;
        }
        means.iter_mut().zip(of_means).for_each(|(kept, more)| *kept += more);
        if updates < self.config.assignment_after {
            return;
        }
        let (sums, counts) = means.split_at(self.plan.classes * self.plan.class_dim);
        #[expect(clippy::expect_used, reason = "classes have prototypes")]
        let prototypes = params.get(self.places().prototypes.expect("classes have prototypes"));
        let given: Vec<f64> = self.of_classes(prototypes).iter().map(|x| x.to_f64()).collect();
        let Some(places) = similar(sums, counts, &given) else { return };
        for (row, place) in prototypes.chunks_exact_mut(self.plan.class_dim).zip(places) {
            let from = &given[place * self.plan.class_dim..];
            row.iter_mut().zip(from).for_each(|(to, from)| *to = T::from_f64(*from));
        }
    }
}
