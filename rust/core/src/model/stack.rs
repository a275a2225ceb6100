//! The stack: stem → layers → norm → head, and the table of its parameters.
//!
//! | id | shape | group |
//! |---|---|---|
//! | the stem's | the stem's | input |
//! | `layers.{i}.norm.weight` | `[D]` | layer i |
//! | `layers.{i}.mixer.…` | the block's | layer i |
//! | `norm_f.weight` | `[D]` | final norm |
//! | the head's | the head's | head |

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::config::{ActivationMemory, Component, ModelConfig, Predicted};
use super::expand;
use super::memory::Depth;
use super::registry::Registry;
use crate::allocate::try_room;
use crate::blocks::layer::{Layer, LayerConfig};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::head::prototypes::largest_cosine;
use crate::head::{Head, HeadConfig, PROTOTYPES};
use crate::numeric::Scalar;
use crate::params::{Arena, Group, Init, ParamSpec, Params, ParamsMut, Slot, Table, TensorMasks};
use crate::simd::Isa;
use crate::stem::Stem;

/// A model: its parts and the table of their parameters. The numbers are in buffers of the caller.
///
/// ```
/// use ssm_hpn::data::{Batch, Input};
/// use ssm_hpn::model::{Model, ModelConfig, Registry};
/// use ssm_hpn::target::Target;
///
/// # let config = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// let model = Model::<f32>::new(config, &Registry::standard(), 0)?;
/// assert_eq!(model.config().block.settings["d_state"], 16); // the default is written out
/// assert_eq!(model.n_scores(), 7);
///
/// let batch = Batch::whole(2, 3, Input::Tokens(vec![0; 6]), Target::none());
/// assert_eq!(model.hidden_shape(&batch), [2, 3, 8]);
/// assert_eq!(model.feature_shape(&batch), [2, 3, 8]);
/// assert_eq!(model.score_shape(&batch), [2, 3, 7]);
/// assert_eq!(model.embedding_shape(&batch), [2, 3, 0]); // a linear head has no sphere
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub struct Model<T> {
    config: ModelConfig,
    registry: Registry<T>,
    table: Table,
    pub(super) stem: Box<dyn Stem<T>>,
    pub(super) stem_slots: Vec<Slot>,
    pub(super) layers: Vec<Layer<T>>,
    pub(super) norm_f: Slot,
    pub(super) head: Arc<dyn Head<T>>,
    pub(super) head_slots: Vec<Slot>,
    pub(super) target: Predicted,
}

impl<T> std::fmt::Debug for Model<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<T: Scalar> Model<T> {
    /// The parts that a configuration names. `seed` is for prototypes that are drawn or optimised.
    pub fn new(config: ModelConfig, registry: &Registry<T>, seed: u64) -> Result<Self> {
        let config = registry.resolve(config)?;
        Isa::check_environment()?;
        let target = registry.target(&config)?;
        let head = registry.head(&config, target, seed)?.into();
        Self::assemble(config, registry.clone(), head, target)
    }

    fn assemble(
        config: ModelConfig,
        registry: Registry<T>,
        head: Arc<dyn Head<T>>,
        target: Predicted,
    ) -> Result<Self> {
        let mut table = Table::new();
        let stem = registry.stem(&config)?;
        let stem_slots = table.declare("", Group::Input, stem.params())?;
        let blocks = (0..config.n_layers).map(|i| registry.block(&config, i)).collect::<Result<Vec<_>>>()?;
        let shared = LayerConfig { d_model: config.d_model, eps: config.norm_eps, dropout: config.dropout };
        let layers = blocks
            .into_iter()
            .enumerate()
            .map(|(i, block)| Layer::new(block, shared, i, &mut table))
            .collect::<Result<_>>()?;
        let norm = ParamSpec::new("norm_f.weight", [config.d_model], Init::Ones).no_decay();
        let norm_f = table.declare("", Group::FinalNorm, vec![norm])?[0];
        let head_slots = table.declare("", Group::Head, head.params())?;
        Ok(Self { config, registry, table, stem, stem_slots, layers, norm_f, head, head_slots, target })
    }

    /// Keeps other activations from now on; parameters and results stay.
    pub(crate) fn set_activation_memory(
        &mut self,
        memory: ActivationMemory,
        limit: Option<u64>,
    ) -> Result<()> {
        let config = ModelConfig { activation_memory: memory, memory_limit_mb: limit, ..self.config.clone() };
        config.check_memory_limit()?;
        self.config = config;
        Ok(())
    }

    /// The configuration, with every default of the block's settings resolved.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The parameters.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The target.
    pub(crate) fn target(&self) -> Predicted {
        self.target
    }

    /// The head.
    pub(crate) fn head(&self) -> &dyn Head<T> {
        &*self.head
    }

    /// Scores of the head for one feature.
    pub fn n_scores(&self) -> usize {
        self.head.n_scores()
    }

    /// The first values of all parameters; refused where the memory is not there.
    pub(crate) fn initial(&self, seed: u64) -> Result<Arena<T>> {
        let mut arena = Arena::try_zeros(self.table.buffer_len(), "the parameters")?;
        for (slot, entry) in self.table.entries().iter().enumerate() {
            let columns = entry.spec.shape.last().copied().unwrap_or(1);
            match entry.spec.init {
                // They are made in f64 beside the arena.
                Init::Made(_) => {
                    drop(try_room::<f64>(&entry.spec.shape, &format!("the first values of {}", entry.id))?);
                }
                Init::Supplied(key) => {
                    let expected = format!("what {} is made from", entry.id);
                    return Err(Error::config(key, expected, "nothing", "pass it, or load a checkpoint"));
                }
                _ => {}
            }
            entry.spec.init.fill(arena.tensor_mut(&self.table, slot), columns, seed, &entry.id);
        }
        Ok(arena)
    }

    /// The same model with further layers at these final positions, and where each of its tensors comes from.
    pub(crate) fn grown(&self, positions: &[usize]) -> Result<(Self, Vec<Option<Slot>>)> {
        let config = self.registry.resolve(ModelConfig {
            n_layers: self.config.n_layers + positions.len(),
            layers: self.grown_layers(positions),
            ..self.config.clone()
        })?;
        let grown = Self::assemble(config, self.registry.clone(), Arc::clone(&self.head), self.target)?;
        if let Some(index) = positions.iter().find(|index| grown.output_projections(**index).is_empty()) {
            let kind = &grown.config.layer(*index).1.kind;
            return Err(Error::config(
                "expand",
                "blocks that can start by adding nothing",
                format!("layer {index} of the kind {kind}, which has no output projection of its own"),
                "place new layers beside those of another kind",
            ));
        }
        let origin = expand::correspondence(&self.table, &grown.table, positions)?;
        Ok((grown, origin))
    }

    /// The same model with further classes of its prototype head. `seed` is that of [`Model::new`].
    pub(crate) fn with_more_classes(&self, count: usize, seed: u64) -> Result<Self> {
        let refuse = |expected: &str, found: String, advice: &str| {
            Err(Error::config("add_classes", expected, found, advice))
        };
        if count == 0 {
            return refuse("at least one new class", count.to_string(), "name the new classes");
        }
        let Ok(HeadConfig::Prototype(head)) = self.config.head.tagged("model.head") else {
            let found = format!("one of the kind {}", self.config.head.kind);
            let advice = "its outputs are as many as it was trained with: train a model with model.head.kind = \"prototype\"";
            return refuse("a prototype head", found, advice);
        };
        if self.target.kind.from_tokens {
            let found = format!("the target {}", self.target.kind.name);
            return refuse("classes that labels name", found, "its classes are the vocabulary, which stays");
        }
        if head.plan(self.config.d_model)?.classes == 0 {
            let advice = "train a model with model.head.loss.kind = \"softmax\"";
            return refuse("a loss over classes", "the regression loss".to_owned(), advice);
        }
        let head = HeadConfig::Prototype(head.with_more_classes(count, self.config.d_model)?);
        let head = Component::new(&self.config.head.kind, head);
        Self::new(ModelConfig { head, ..self.config.clone() }, &self.registry, seed)
    }

    /// The blocks of a grown model: a new layer is like the one before it, new first layers like the one after them.
    fn grown_layers(&self, positions: &[usize]) -> Vec<Component> {
        if self.config.layers.is_empty() {
            return Vec::new();
        }
        let like = |index: usize| {
            let before = index - positions.partition_point(|p| *p < index);
            let is_new = positions.binary_search(&index).is_ok();
            let of = if is_new { before.saturating_sub(1) } else { before };
            self.config.layer(of).1.clone()
        };
        (0..self.config.n_layers + positions.len()).map(like).collect()
    }

    /// Ids of the tensors of a layer, relative to it, that are zero while the layer adds nothing.
    pub(crate) fn output_projections(&self, layer: usize) -> Vec<String> {
        self.layers[layer].output_projections()
    }

    /// The layers and parts that gradients reach for a trainable mask.
    pub(crate) fn depth(&self, masks: &TensorMasks) -> Depth {
        let trained = |slots: &[Slot]| slots.iter().any(|slot| masks.trainable[*slot]);
        let input = trained(&self.stem_slots);
        let first = self.layers.iter().position(|layer| trained(layer.slots()));
        let lowest = if input { 0 } else { first.unwrap_or(self.layers.len()) };
        let below_head = lowest < self.layers.len() || trained(&[self.norm_f]);
        Depth { lowest, input, below_head }
    }

    /// The element from which on gradients are complete once the backward passes of the head and of the layers from `i` on are
    /// done: everything behind the tensors of the stem and of the layers below, which parts above may share.
    pub(crate) fn first_complete(&self, i: usize) -> usize {
        let below = self.layers[..i].iter().flat_map(Layer::slots);
        self.stem_slots.iter().chain(below).map(|&slot| self.table.entry(slot).range.end).max().unwrap_or(0)
    }

    /// The tensors that the head uses, those it shares among them.
    pub(crate) fn head_slots(&self) -> &[Slot] {
        &self.head_slots
    }

    /// The head's parameters.
    pub(crate) fn head_params<'a>(&'a self, data: &'a [T]) -> Params<'a, T> {
        self.params(data, &self.head_slots)
    }

    /// Tells the head that an update was applied, with what its passes gathered; it may change its parameters.
    pub(crate) fn head_updated(&self, updates: u64, kept: &mut [f64], gathered: &[f64], data: &mut [T]) {
        let params = ParamsMut::new(data, &self.table, &self.head_slots);
        self.head.updated(updates, kept, gathered, params);
    }

    /// Shape of the hidden states of a batch: `[B, T, D]`, T behind the stem.
    pub fn hidden_shape(&self, batch: &Batch) -> [usize; 3] {
        let shape = self.shape(batch);
        [shape.rows, shape.length, self.config.d_model]
    }

    /// Shape of the scores of a batch: `[B, T, C]` where every token has its own, else `[S, C]`.
    pub fn score_shape(&self, batch: &Batch) -> Vec<usize> {
        self.shape_of_width(batch, self.head.n_scores())
    }

    /// Shape of the points of a batch on the sphere of the prototypes.
    pub fn embedding_shape(&self, batch: &Batch) -> Vec<usize> {
        self.shape_of_width(batch, self.head.embedding_width())
    }

    /// Shape of the features that the head reads of a batch: `[B, T, D]`, or `[S, D]` where they are pooled.
    pub fn feature_shape(&self, batch: &Batch) -> Vec<usize> {
        self.shape_of_width(batch, self.config.d_model)
    }

    /// Shape of so many numbers for each target of a batch.
    fn shape_of_width(&self, batch: &Batch, width: usize) -> Vec<usize> {
        match self.config.target.pooling() {
            Some(_) => vec![batch.segments.len(), width],
            None => vec![batch.rows, batch.length, width],
        }
    }

    /// Largest cosine between two prototypes; `None` for a head without any.
    pub(crate) fn max_prototype_cosine(&self, data: &[T]) -> Option<f64> {
        let entry = self.table.entry(self.table.slot(PROTOTYPES)?);
        let width = *entry.spec.shape.last()?;
        Some(largest_cosine(&data[entry.range.clone()], width))
    }

    pub(super) fn params<'a>(&'a self, data: &'a [T], slots: &'a [Slot]) -> Params<'a, T> {
        Params::new(data, &self.table, slots)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

    use super::*;

    #[test]
    fn gradients_are_complete_behind_everything_that_the_rest_of_a_backward_pass_adds_to() {
        let tied = r#""head": {"kind": "linear", "n_outputs": 7, "tied": true}"#;
        let own = r#""head": {"kind": "linear", "n_outputs": 7}"#;
        for head in [tied, own] {
            let config = format!(
                r#"{{"input": {{"kind": "tokens", "vocab_size": 7}}, "d_model": 8, "n_layers": 3, "block": {{"kind": "mamba1"}},
                    "target": {{"kind": "next_token"}}, {head}}}"#
            );
            let config = ModelConfig::from_json(&config).unwrap();
            let model = Model::<f32>::new(config, &Registry::standard(), 0).unwrap();
            let ranges = |slots: &[Slot]| -> Vec<_> {
                slots.iter().map(|&slot| model.table.entry(slot).range.clone()).collect()
            };
            for i in 0..=3 {
                let first = model.first_complete(i);
                let mut below = ranges(&model.stem_slots);
                below.extend(model.layers[..i].iter().flat_map(|layer| ranges(layer.slots())));
                assert!(below.iter().all(|range| range.end <= first), "{head}, layer {i}: {first}");
                let mut above = ranges(&[model.norm_f]);
                above.extend(model.layers[i..].iter().flat_map(|layer| ranges(layer.slots())));
                assert!(above.iter().all(|range| range.start >= first), "{head}, layer {i}: {first}");
            }
            let is_complete =
                ranges(&model.head_slots).iter().all(|range| range.start >= model.first_complete(3));
            assert_eq!(is_complete, head == own);
        }
    }
}
