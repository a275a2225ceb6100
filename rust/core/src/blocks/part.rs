//! Blocks inside a block: the slots of their tensors among those of the whole, and their passes.

#![forbid(unsafe_code)]

use std::ops::Range;

use serde_json::Value;

use super::block::Block;
use crate::numeric::Scalar;
use crate::params::ParamSpec;
use crate::pass::{Capabilities, Pass};

/// A block as a part of another, before its tensors have slots there.
///
/// ```
/// use serde_json::json;
/// use ssm_hpn::blocks::Named;
/// use ssm_hpn::model::{Component, ModelConfig, Registry};
///
/// let mut registry = Registry::<f32>::standard();
/// registry.register_block("mine", |_, context| {
///     let Named { block, settings, .. } = context.part("inner", "inner", &Component::new("mlp", json!({})))?;
///     assert_eq!(settings, json!({"kind": "mlp", "expand": 4})); // the default is written out
///     assert_eq!(block.params()[0].shape, [4 * context.d_model, context.d_model]);
///     Ok(block)
/// });
/// let config = ModelConfig::from_json(
///     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 1, "block": {"kind": "mine"},
///         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// )?;
/// registry.resolve(config)?;
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub struct Named<T> {
    /// Prefix of its tensors' names: `forward` for `forward.in_proj.weight`.
    pub name: String,
    /// The block.
    pub block: Box<dyn Block<T>>,
    /// Its configuration with every default resolved, the kind included.
    pub settings: Value,
}

/// A part of a block with the slots of its tensors.
pub(super) struct PlacedBlock<T> {
    pub(super) block: Box<dyn Block<T>>,
    pub(super) settings: Value,
    name: String,
    index: u32,
    tensors: Range<usize>,
}

impl<T: Scalar> PlacedBlock<T> {
    /// The `index`-th part, its tensors from `first` on.
    pub(super) fn place(part: Named<T>, index: usize, first: usize) -> Self {
        let Named { name, block, settings } = part;
        let tensors = first..first + block.params().len();
        Self { block, settings, name, index: index as u32, tensors }
    }

    /// The part's tensors under its name.
    pub(super) fn params(&self) -> impl Iterator<Item = ParamSpec> + use<'_, T> {
        self.block.params().into_iter().map(|spec| spec.under(&self.name))
    }

    /// Ids of its output projections under its name.
    pub(super) fn output_projections(&self) -> impl Iterator<Item = String> + use<'_, T> {
        self.block.output_projections().into_iter().map(|id| format!("{}.{id}", self.name))
    }

    /// Slots of its tensors among those of the whole.
    pub(super) fn tensors(&self) -> Range<usize> {
        self.tensors.clone()
    }

    /// The part's pass with buffers of its own. Its state is that of the whole, of which the caller takes the part's
    /// share.
    pub(super) fn pass<'a>(&self, whole: Pass<'a, T>) -> Pass<'a, T> {
        let params = whole.params.part(self.tensors());
        Pass { params, mode: whole.mode.map(|key| key.part(self.index)), ..whole }
    }
}

/// Capabilities that all of the blocks have.
pub(super) fn together<T: Scalar>(parts: &[PlacedBlock<T>]) -> Capabilities {
    parts.iter().map(|part| part.block.capabilities()).fold(Capabilities::ALL, Capabilities::and)
}
