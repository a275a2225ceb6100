//! Growing and freezing a session.

use super::training::Session;
use crate::error::{Error, Result};
use crate::model::expand::{carry, carry_each, initialise};
use crate::model::freeze::{freeze, frozen_ids};
use crate::model::{ExpandPlan, FreezeSpec};
use crate::numeric::Scalar;
use crate::params::{Arena, TensorMasks};

/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::model::{ExpandPlan, FreezeSpec};
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// let before = session.predict(&batch)?;
/// assert_eq!(session.expand(&ExpandPlan::Append { count: 1, seed: 0 })?, [2]);
/// assert_eq!(session.predict(&batch)?, before); // the new layer adds nothing yet
///
/// // Only the new layer and the head are trained.
/// session.freeze(&FreezeSpec { first: 2, embedding: true, ..FreezeSpec::default() })?;
/// assert!(session.frozen().contains(&"layers.1.mixer.A_log".to_owned()));
/// assert!(!session.frozen().contains(&"layers.2.mixer.A_log".to_owned()));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
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
        let masks = TensorMasks {
            trainable: carry_each(&self.masks.trainable, &origin, |slot| declared.trainable[slot]),
            decay: carry_each(&self.masks.decay, &origin, |slot| declared.decay[slot]),
        };
        let optimizer = self.optimizer.regrown(old, new, &masks, &origin)?;
        self.grads = Arena::try_zeros(new.buffer_len(), "the gradients")?;
        (self.model, self.params, self.masks, self.optimizer) = (model, params, masks, optimizer);
        Ok(positions)
    }

    /// Freezes what the specification names and trains everything else; returns the frozen ids.
    pub fn freeze(&mut self, spec: &FreezeSpec) -> Result<Vec<String>> {
        self.check_free("freeze parameters")?;
        self.check_no_gradients("freeze")?;
        self.masks = freeze(self.model.table(), self.model.head_slots(), spec)?;
        self.optimizer.set_masks(self.model.table(), &self.masks);
        Ok(frozen_ids(self.model.table(), &self.masks))
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
