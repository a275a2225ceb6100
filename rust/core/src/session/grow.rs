//! Growing and freezing a session.

use super::pending::Branches;
use super::training::{LargestCosine, Session};
use crate::error::{Error, Result};
use crate::head::PROTOTYPES;
use crate::head::prototypes::{nearest_cosine, normalise, placed};
use crate::model::expand::{carry, carry_each, initialise};
use crate::model::freeze::{freeze, frozen_ids};
use crate::model::{ExpandPlan, FreezeSpec};
use crate::numeric::Scalar;
use crate::params::{Arena, Slot, Table, TensorMasks};

/// Largest cosine of the prototype of a new class to another one: an angle of 26 degrees.
const NEAREST: f64 = 0.9;

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
        self.check_alone("expand")?;
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
        self.branches = Branches::default();
        (self.model, self.params, self.masks, self.optimizer) = (model, params, masks, optimizer);
        self.carried = None; // they are states of fewer layers
        Ok(positions)
    }

    /// Adds classes behind those of a prototype head, and returns their indices. Spare prototypes come first; beside them
    /// each is placed where its nearest prototype is farthest. Prototypes that are there stay, and so do all scores among
    /// old classes, to the bit; the dimension stays, and moments, update counts and masks of every tensor. Learnable
    /// prototypes alone begin with zero moments again, as the count of updates is one for all rows of a tensor.
    ///
    /// ```
    /// # use ssm_hpn::Threads;
    /// # use ssm_hpn::data::{Batch, Input};
    /// # use ssm_hpn::model::ModelConfig;
    /// # use ssm_hpn::optim::OptimConfig;
    /// # use ssm_hpn::session::Session;
    /// # use ssm_hpn::target::Target;
    /// # let model = ModelConfig::from_json(
    /// #     r#"{"input": {"kind": "features", "n_features": 1}, "d_model": 8, "n_layers": 1, "block": {"kind": "mamba1"},
    /// #         "target": {"kind": "sequence_class", "pooling": "mean"}, "head": {"kind": "prototype", "n_classes": 3}}"#,
    /// # )?;
    /// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
    /// # let batch = Batch::whole(1, 4, Input::Features(vec![0.5, -1.0, 0.2, 0.3]), Target::none());
    /// let before = session.predict(&batch)?;
    /// assert_eq!(session.add_classes(2)?, [3, 4]);
    /// let after = session.predict(&batch)?;
    /// assert_eq!((&after[..3], after.len()), (&before[..], 5));
    /// # Ok::<(), ssm_hpn::Error>(())
    /// ```
    pub fn add_classes(&mut self, count: usize) -> Result<Vec<usize>> {
        self.check_free("add classes")?;
        self.check_no_gradients("add_classes")?;
        self.check_alone("add_classes")?;
        let first = self.model.n_scores() - self.model.target().n_values;
        let model = self.model.with_more_classes(count, self.seed)?;
        let kept = self.model.head().statistics(self.step());
        if model.head().statistics(self.step()) != kept {
            return Err(Error::config(
                "add_classes",
                "prototypes that are assigned to their classes",
                format!("an assignment that is not made after update {}", self.step()),
                "train on until model.head.assignment_after, then add classes",
            ));
        }
        let (old, new) = (self.model.table(), model.table());
        let origin: Vec<Option<Slot>> = new.entries().iter().map(|entry| old.slot(&entry.id)).collect();
        let mut params = Arena::try_zeros(new.buffer_len(), "the model with more classes")?;
        for (slot, from) in origin.iter().enumerate() {
            if let Some(from) = from {
                let from = self.params.tensor(old, *from);
                params.tensor_mut(new, slot)[..from.len()].copy_from_slice(from);
            }
        }
        self.threads.install(|| place_prototypes(&mut params, new, old))??;
        let declared = TensorMasks::declared(new);
        let masks = TensorMasks {
            trainable: carry_each(&self.masks.trainable, &origin, |slot| declared.trainable[slot]),
            decay: carry_each(&self.masks.decay, &origin, |slot| declared.decay[slot]),
        };
        let moments: Vec<_> =
            (0..origin.len()).map(|slot| origin[slot].filter(|_| new.entry(slot).id != PROTOTYPES)).collect();
        let optimizer = self.optimizer.regrown(old, new, &masks, &moments)?;
        self.grads = Arena::try_zeros(new.buffer_len(), "the gradients")?;
        self.branches = Branches::default();
        (self.model, self.params, self.masks, self.optimizer) = (model, params, masks, optimizer);
        self.cosine = LargestCosine::Changed;
        if !self.class_weights.is_empty() {
            self.class_weights.resize(first + count, 1.0);
        }
        Ok((first..first + count).collect())
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
        let micro_batches = self.all_pending().micro_batches;
        if micro_batches == 0 {
            return Ok(());
        }
        Err(Error::config(
            key,
            "no gradients that wait for an update",
            format!("those of {micro_batches} micro-batches"),
            "apply the update, or clear the gradients, first",
        ))
    }
}

/// Fills the rows of prototypes that the old table has not.
fn place_prototypes<T: Scalar>(params: &mut Arena<T>, new: &Table, old: &Table) -> Result<()> {
    let (Some(slot), Some(from)) = (new.slot(PROTOTYPES), old.slot(PROTOTYPES)) else { return Ok(()) };
    let (there, dim) = (old.entry(from).spec.len(), new.entry(slot).spec.shape[1]);
    let rows = params.tensor_mut(new, slot);
    let mut units: Vec<f64> = rows[..there].iter().map(|x| x.to_f64()).collect();
    if new.entry(slot).spec.trained {
        units.chunks_exact_mut(dim).for_each(normalise);
    }
    let more = placed(&units, dim, (rows.len() - there) / dim);
    for row in more.chunks_exact(dim) {
        let cosine = nearest_cosine(&units, row);
        if cosine > NEAREST {
            return Err(Error::config(
                "add_classes",
                format!(
                    "prototypes with room for the new classes, a cosine of at most {NEAREST} to the nearest"
                ),
                format!("{cosine:.3} for the one after {}", units.len() / dim),
                "train a model of all classes, or one with a larger model.head.dim",
            ));
        }
        units.extend_from_slice(row);
    }
    rows[there..].iter_mut().zip(more).for_each(|(x, placed)| *x = T::from_f64(placed));
    Ok(())
}
