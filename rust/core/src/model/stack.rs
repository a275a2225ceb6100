//! The stack: embedding or input map → layers → norm → head, and the table of its parameters.
//!
//! | id | shape | group |
//! |---|---|---|
//! | `embedding.weight`, or `input.weight` and `input.bias` | `[V, D]`, or `[D, F]` and `[D]` | input |
//! | `layers.{i}.norm.weight` | `[D]` | layer i |
//! | `layers.{i}.mixer.…` | the block's | layer i |
//! | `norm_f.weight` | `[D]` | final norm |
//! | the head's | the head's | head |

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::config::{InputConfig, ModelConfig};
use super::expand;
use super::memory::Depth;
use super::registry::Registry;
use crate::blocks::residual::Residual;
use crate::data::Batch;
use crate::error::Result;
use crate::head::Head;
use crate::head::prototypes::largest_cosine;
use crate::numeric::Scalar;
use crate::params::{Arena, Group, Groups, Init, ParamSpec, Params, Slot, Table};
use crate::simd::Isa;

/// Standard deviation of a new embedding (docs/mathematics.md, 1).
const EMBEDDING_STD: f64 = 0.02;

/// A model: its parts and where their parameters lie. The numbers themselves are in buffers of the caller.
pub struct Model<T> {
    config: ModelConfig,
    registry: Registry<T>,
    table: Table,
    pub(super) input: Vec<Slot>,
    pub(super) layers: Vec<Residual<T>>,
    pub(super) norm_f: Slot,
    pub(super) head: Arc<dyn Head<T>>,
    pub(super) head_slots: Vec<Slot>,
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
        let head = registry.head(&config, seed)?.into();
        Self::assemble(config, registry.clone(), head)
    }

    fn assemble(config: ModelConfig, registry: Registry<T>, head: Arc<dyn Head<T>>) -> Result<Self> {
        let mut table = Table::new();
        let input = table.declare("", Group::Input, input_specs(&config))?;
        let blocks = (0..config.n_layers).map(|i| registry.block(&config, i)).collect::<Result<Vec<_>>>()?;
        let layers = blocks
            .into_iter()
            .enumerate()
            .map(|(i, block)| Residual::new(block, (config.d_model, config.norm_eps), i, &mut table))
            .collect::<Result<_>>()?;
        let norm = ParamSpec::new("norm_f.weight", [config.d_model], Init::Ones).no_decay();
        let norm_f = table.declare("", Group::FinalNorm, vec![norm])?[0];
        let head_slots = table.declare("", Group::Head, head.params())?;
        Ok(Self { config, registry, table, input, layers, norm_f, head, head_slots })
    }

    /// The configuration, with what it had left open in the block's settings.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The parameters.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The head.
    pub fn head(&self) -> &dyn Head<T> {
        &*self.head
    }

    /// The first values of all parameters.
    pub fn initial(&self, seed: u64) -> Arena<T> {
        let mut arena = Arena::zeros(self.table.buffer_len());
        for (slot, entry) in self.table.entries().iter().enumerate() {
            let columns = entry.spec.shape.last().copied().unwrap_or(1);
            entry.spec.init.fill(arena.tensor_mut(&self.table, slot), columns, seed, &entry.id);
        }
        arena
    }

    /// The same model with further layers at these final positions, and where each of its tensors comes from.
    pub fn grown(&self, positions: &[usize]) -> Result<(Self, Vec<Option<Slot>>)> {
        let config = ModelConfig { n_layers: self.config.n_layers + positions.len(), ..self.config.clone() };
        let config = self.registry.resolve(config)?;
        let grown = Self::assemble(config, self.registry.clone(), Arc::clone(&self.head))?;
        let origin = expand::correspondence(&self.table, &grown.table, positions)?;
        Ok((grown, origin))
    }

    /// Id of the tensor of a layer, relative to it, that is zero while the layer adds nothing.
    pub fn closing(&self, layer: usize) -> String {
        self.layers[layer].closing()
    }

    /// How far down gradients go for a trainable mask.
    pub fn depth(&self, groups: &Groups) -> Depth {
        let trained = |slots: &[Slot]| slots.iter().any(|slot| groups.trainable[*slot]);
        let input = trained(&self.input);
        let first = self.layers.iter().position(|layer| trained(layer.slots()));
        let lowest = if input { 0 } else { first.unwrap_or(self.layers.len()) };
        let below_head = lowest < self.layers.len() || trained(&[self.norm_f]);
        Depth { lowest, input, below_head }
    }

    /// The head's parameters.
    pub fn head_params<'a>(&'a self, data: &'a [T]) -> Params<'a, T> {
        self.params(data, &self.head_slots)
    }

    /// Shape of the scores of a batch: `[B, T, C]` where every token has its own, else `[S, C]`.
    pub fn score_shape(&self, batch: &Batch) -> Vec<usize> {
        match self.config.target.pooling() {
            Some(_) => vec![batch.segments.len(), self.head.n_scores()],
            None => vec![batch.rows, batch.length, self.head.n_scores()],
        }
    }

    /// Largest cosine between two prototypes; `None` for a head without any.
    pub fn max_prototype_cosine(&self, data: &[T]) -> Option<f64> {
        let entry = self.table.entry(self.table.slot("head.prototypes")?);
        let width = *entry.spec.shape.last()?;
        Some(largest_cosine(&data[entry.range.clone()], width))
    }

    pub(super) fn params<'a>(&'a self, data: &'a [T], slots: &'a [Slot]) -> Params<'a, T> {
        Params::new(data, &self.table, slots)
    }
}

fn input_specs(config: &ModelConfig) -> Vec<ParamSpec> {
    let d = config.d_model;
    match config.input {
        InputConfig::Tokens { vocab_size } => {
            let init = Init::Normal { std: EMBEDDING_STD };
            vec![ParamSpec::new("embedding.weight", [vocab_size, d], init).no_decay()]
        }
        InputConfig::Features { n_features } => {
            let init = Init::Uniform { bound: 1.0 / (n_features as f64).sqrt() };
            vec![
                ParamSpec::new("input.weight", [d, n_features], init.clone()),
                ParamSpec::new("input.bias", [d], init).no_decay(),
            ]
        }
        InputConfig::Hidden {} => vec![],
    }
}
