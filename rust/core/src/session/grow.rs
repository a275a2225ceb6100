//! Growing and freezing a session.

use super::training::Session;
use crate::error::{Error, Result};
use crate::model::expand::{carry, carry_each, initialise};
use crate::model::freeze::{freeze, frozen_ids};
use crate::model::{ExpandPlan, FreezeSpec};
use crate::numeric::Scalar;
use crate::params::{Arena, TensorMasks};

impl<T: Scalar> Session<T> {
    /// Inserts layers that at first add nothing, and returns their indices. Outputs stay the same to the bit; moments,
    /// update counts and masks of the tensors that were there move with them.
    pub fn expand(&mut self, plan: &ExpandPlan) -> Result<Vec<usize>> {
        self.check_free("expand the model")?;
        self.check_no_gradients("expand")?;
        let old_layers = self.model.config().n_layers;
        let positions = plan.positions(old_layers)?;
        let (model, origin) = self.model.grown(&positions)?;
        let (old, new) = (self.model.table(), model.table());
        let mut params = carry((old, self.params.as_slice()), new, &origin)?;
        initialise(
            &mut params,
            new,
            &origin,
            |layer| model.output_projections(layer),
            plan.seed(),
            old_layers,
        );
        let declared = TensorMasks::declared(new);
        let groups = TensorMasks {
            trainable: carry_each(&self.groups.trainable, &origin, |slot| declared.trainable[slot]),
            decay: carry_each(&self.groups.decay, &origin, |slot| declared.decay[slot]),
        };
        let optimizer = self.optimizer.regrown(old, new, &groups, &origin)?;
        self.grads = Arena::try_zeros(new.buffer_len(), "the gradients")?;
        (self.model, self.params, self.groups, self.optimizer) = (model, params, groups, optimizer);
        Ok(positions)
    }

    /// Freezes what the specification names and trains everything else; returns the frozen ids.
    pub fn freeze(&mut self, spec: &FreezeSpec) -> Result<Vec<String>> {
        self.check_free("freeze parameters")?;
        self.check_no_gradients("freeze")?;
        self.groups = freeze(self.model.table(), self.model.head_slots(), spec)?;
        self.optimizer.set_groups(self.model.table(), &self.groups);
        Ok(frozen_ids(self.model.table(), &self.groups))
    }

    /// Refuses the call while there are gradients that were not applied, as they belong to the present model.
    pub(super) fn check_no_gradients(&self, key: &str) -> Result<()> {
        if self.pending.micro_batches == 0 {
            return Ok(());
        }
        Err(Error::config(
            key,
            "no gradients that wait for an update",
            format!("those of {} micro-batches", self.pending.micro_batches),
            "apply the update, or clear the gradients, first",
        ))
    }
}
