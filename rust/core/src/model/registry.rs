//! Kinds of stems, blocks and heads, by name.
//!
//! A crate that brings a [`Stem`], a [`Block`] or a [`Head`] of its own registers it under a kind and keeps everything else: the
//! configuration names the kind, the registry makes the component.
//!
//! ```
//! use serde_json::json;
//! use ssm_hpn::blocks::Block;
//! use ssm_hpn::model::{BlockContext, Component, ModelConfig, Registry};
//!
//! fn mine(settings: &Component, context: &BlockContext<f32>) -> ssm_hpn::Result<Box<dyn Block<f32>>> {
//!     let mlp = Component { kind: "mlp".to_owned(), ..settings.clone() };
//!     Ok(context.part("inner", "inner", &mlp)?.block)
//! }
//!
//! let mut registry = Registry::standard();
//! registry.register_block("mine", mine);
//! let config = ModelConfig::from_json(
//!     r#"{"input": {"kind": "tokens", "vocab_size": 16}, "d_model": 16, "n_layers": 2, "block": {"kind": "mine"},
//!         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 16}}"#,
//! )?;
//! assert_eq!(registry.resolve(config)?.block, Component::new("mine", json!({"expand": 4})));
//! # Ok::<(), ssm_hpn::Error>(())
//! ```

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::config::{Component, InputConfig, ModelConfig, Predicted};
use super::contexts::{HeadContext, StemContext};
use crate::blocks::{self, Bidirectional, Block, Mamba1, Mlp, Named, Residual, Sequential};
use crate::error::{Error, Result};
use crate::head::{self, ClassVectors, Expected, Head, HeadConfig};
use crate::numeric::Scalar;
use crate::pass::Key;
use crate::stem::{Embedding, FixedFilters, Identity, Linear, Stem, Windows};
use crate::target::kinds::{self, Answer, TargetKind};

/// Properties of the model that a block's factory gets.
///
/// ```
/// use ssm_hpn::model::{ModelConfig, Registry};
///
/// // A block that is an MLP in the first layer and a Mamba block in the others.
/// let mut registry = Registry::<f32>::standard();
/// registry.register_block("mixed", |component, context| {
///     let key = if context.index == 0 { "first" } else { "others" };
///     let parts: std::collections::BTreeMap<String, _> = component.settings(&context.at)?;
///     Ok(context.part(key, key, &parts[key])?.block)
/// });
/// let config = ModelConfig::from_json(
///     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 3,
///         "block": {"kind": "mixed", "first": {"kind": "mlp", "expand": 0}, "others": {"kind": "mamba1"}},
///         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// )?;
/// // The place of a part is in the message about it.
/// let refused = registry.resolve(config).unwrap_err().to_string();
/// assert!(refused.starts_with("model.block.first.expand: expected a whole number from 1 to 64, found 0"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BlockContext<'a, T> {
    /// Width of the residual stream (D).
    pub d_model: usize,
    /// Number of layers of the model.
    pub n_layers: usize,
    /// Index of the layer.
    pub index: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f64,
    /// Dotted place of the block in the configuration, for errors.
    pub at: String,
    /// Blocks around this one.
    pub depth: usize,
    registry: &'a Registry<T>,
}

/// Most blocks inside each other.
const DEEPEST: usize = 4;

impl<T: Scalar> BlockContext<'_, T> {
    /// A block inside this one: `name` is the prefix of its tensors' names, `key` the place of its configuration.
    pub fn part(&self, name: &str, key: &str, component: &Component) -> Result<Named<T>> {
        let at = format!("{}.{key}", self.at);
        if self.depth >= DEEPEST {
            let expected = format!("at most {DEEPEST} blocks around a block");
            return Err(Error::config(
                at,
                expected,
                self.depth + 1,
                "put the blocks into layers of their own",
            ));
        }
        let context = BlockContext { at, depth: self.depth + 1, ..self.clone() };
        let block = self.registry.make_block(component, &context)?;
        let settings = resolved(component, &*block);
        Ok(Named { name: name.to_owned(), block, settings: serde_json::json!(settings) })
    }
}

/// The configuration of a block with every default resolved.
fn resolved<T: Scalar>(component: &Component, block: &dyn Block<T>) -> Component {
    match block.resolved() {
        Some(settings) => Component::new(&component.kind, settings),
        None => component.clone(),
    }
}

type BlockFactory<T> = Arc<dyn Fn(&Component, &BlockContext<T>) -> Result<Box<dyn Block<T>>> + Send + Sync>;
type StemFactory<T> = Arc<dyn Fn(&Component, &StemContext) -> Result<Box<dyn Stem<T>>> + Send + Sync>;
type HeadFactory<T> = Arc<dyn Fn(&Component, &HeadContext) -> Result<Box<dyn Head<T>>> + Send + Sync>;

/// Factories of stems, blocks and heads by kind.
///
/// ```
/// use serde_json::json;
/// use ssm_hpn::model::{Component, ModelConfig, Registry};
/// use ssm_hpn::target::arrays;
/// use ssm_hpn::target::kinds::TargetKind;
///
/// /// A class per token, as a kind with a name and metrics of its own.
/// static TAG: TargetKind = TargetKind {
///     name: "tag",
///     about: "the part of speech of every token",
///     arrays: &[&arrays::TOKEN_CLASS],
///     from_tokens: false,
///     metrics: &["loss", "accuracy"],
///     default_head: r#"{"kind": "linear", "loss": "softmax"}"#,
/// };
///
/// let mut registry = Registry::<f32>::standard();
/// registry.register_target(&TAG);
/// let config = ModelConfig::from_json(
///     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mlp"},
///         "target": {"kind": "tag"}, "head": {"kind": "linear", "n_outputs": 5}}"#,
/// )?;
/// let config = registry.resolve(config)?;
/// assert_eq!(config.block, Component::new("mlp", json!({"expand": 4}))); // the default is written out
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone)]
pub struct Registry<T> {
    stems: BTreeMap<String, StemFactory<T>>,
    blocks: BTreeMap<String, BlockFactory<T>>,
    heads: BTreeMap<String, HeadFactory<T>>,
    targets: BTreeMap<&'static str, &'static TargetKind>,
    class_vectors: Option<Arc<ClassVectors>>,
}

impl<T> std::fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("stems", &self.stems.keys())
            .field("blocks", &self.blocks.keys())
            .field("heads", &self.heads.keys())
            .field("targets", &self.targets.keys())
            .field("class_vectors", &self.class_vectors.as_ref().map(|vectors| vectors.classes()))
            .finish()
    }
}

impl<T: Scalar> Registry<T> {
    /// The kinds of this crate.
    pub fn standard() -> Self {
        let targets = kinds::ALL.into_iter().map(|kind| (kind.name, kind)).collect();
        let (stems, blocks, heads) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut registry = Self { stems, blocks, heads, targets, class_vectors: None };
        registry.register_stems();
        registry.register_blocks();
        for kind in head::kinds::ALL {
            registry.register_head(kind.name, |component, context| {
                let config: HeadConfig = component.tagged("model.head")?;
                check_target(config.expects(), &context.target)?;
                head::build(&config, context.d_model, context.seed, context.class_vectors.clone())
            });
        }
        registry
    }

    fn register_stems(&mut self) {
        self.register_stem("embedding", |component, context| {
            let Nothing {} = component.settings("model.stem")?;
            let InputConfig::Tokens { vocab_size } = context.input else {
                return context.misfit("embedding", "tokens");
            };
            Ok(Box::new(Embedding { vocab_size, d_model: context.d_model }))
        });
        self.register_stem("linear", |component, context| {
            let Nothing {} = component.settings("model.stem")?;
            Ok(Box::new(Linear { n_features: context.n_features("linear")?, d_model: context.d_model }))
        });
        self.register_stem("identity", |component, context| {
            let Nothing {} = component.settings("model.stem")?;
            match context.input {
                InputConfig::Hidden {} => Ok(Box::new(Identity { d_model: context.d_model })),
                _ => context.misfit("identity", "vectors of the width d_model"),
            }
        });
        self.register_stem("conv", |component, context| {
            let Convolution { kernel, stride } = component.settings("model.stem")?;
            let n_features = context.n_features("conv")?;
            Ok(Box::new(Windows::convolution(n_features, context.d_model, kernel, stride)?))
        });
        self.register_stem("patch", |component, context| {
            let Patch { size } = component.settings("model.stem")?;
            let n_features = context.n_features("patch")?;
            Ok(Box::new(Windows::patches(n_features, context.d_model, size)?))
        });
        self.register_stem("filters", |component, context| {
            let config = component.settings("model.stem")?;
            let n_features = context.n_features("filters")?;
            Ok(Box::new(FixedFilters::new(n_features, context.d_model, config)?))
        });
    }

    fn register_blocks(&mut self) {
        self.register_block(blocks::kinds::MAMBA1.name, |component, context| {
            let config = component.settings(&context.at)?;
            Ok(Box::new(Mamba1::new(&config, &context.at, context.d_model, context.n_layers)?))
        });
        self.register_block(blocks::kinds::MLP.name, |component, context| {
            let config = component.settings(&context.at)?;
            Ok(Box::new(Mlp::new(config, &context.at, context.d_model, context.n_layers)?))
        });
        self.register_block(blocks::kinds::BIDIRECTIONAL.name, |component, context| {
            let parts: BothWays = component.settings(&context.at)?;
            let backward = parts.backward.as_ref().unwrap_or(&parts.block);
            let (forward, backward) = (
                context.part("forward", "block", &parts.block)?,
                context.part("backward", "backward", backward)?,
            );
            Ok(Box::new(Bidirectional::new(forward, backward, context.d_model)))
        });
        self.register_block(blocks::kinds::SEQUENTIAL.name, |component, context| {
            let Chain { blocks } = component.settings(&context.at)?;
            if blocks.is_empty() {
                let key = format!("{}.blocks", context.at);
                return Err(Error::config(key, "at least one block", "none", "name the blocks of the chain"));
            }
            if blocks.len() > Key::MOST_PARTS as usize {
                let key = format!("{}.blocks", context.at);
                let (expected, advice) = (
                    format!("at most {} blocks", Key::MOST_PARTS),
                    "put some of them into a chain inside of this one, or into layers of their own",
                );
                return Err(Error::config(key, expected, blocks.len(), advice));
            }
            let part = |(i, block)| context.part(&format!("{i}"), &format!("blocks.{i}"), block);
            let parts = blocks.iter().enumerate().map(part).collect::<Result<_>>()?;
            Ok(Box::new(Sequential::new(parts, context.d_model)))
        });
        self.register_block(blocks::kinds::RESIDUAL.name, |component, context| {
            let Around { block } = component.settings(&context.at)?;
            let part = context.part("block", "block", &block)?;
            Ok(Box::new(Residual::new(part, context.d_model, context.norm_eps)))
        });
    }

    /// Adds a kind of stem, or replaces one.
    pub fn register_stem(
        &mut self,
        kind: &str,
        factory: impl Fn(&Component, &StemContext) -> Result<Box<dyn Stem<T>>> + Send + Sync + 'static,
    ) {
        self.stems.insert(kind.to_owned(), Arc::new(factory));
    }

    /// Adds a kind of block, or replaces one.
    pub fn register_block(
        &mut self,
        kind: &str,
        factory: impl Fn(&Component, &BlockContext<T>) -> Result<Box<dyn Block<T>>> + Send + Sync + 'static,
    ) {
        self.blocks.insert(kind.to_owned(), Arc::new(factory));
    }

    /// Adds a kind of head, or replaces one.
    pub fn register_head(
        &mut self,
        kind: &str,
        factory: impl Fn(&Component, &HeadContext) -> Result<Box<dyn Head<T>>> + Send + Sync + 'static,
    ) {
        self.heads.insert(kind.to_owned(), Arc::new(factory));
    }

    /// Adds a kind of target, or replaces one.
    pub fn register_target(&mut self, kind: &'static TargetKind) {
        self.targets.insert(kind.name, kind);
    }

    /// The vectors from which semantic and given prototypes are made, which a configuration does not hold.
    ///
    /// ```
    /// use ssm_hpn::head::ClassVectors;
    /// use ssm_hpn::model::{ModelConfig, Registry};
    /// # use ssm_hpn::{Threads, optim::OptimConfig, session::Session};
    ///
    /// let model = ModelConfig::from_json(
    ///     r#"{"input": {"kind": "tokens", "vocab_size": 3}, "d_model": 8, "n_layers": 1,
    ///         "block": {"kind": "mamba1"}, "target": {"kind": "next_token"},
    ///         "head": {"kind": "prototype", "n_classes": 3, "prototypes": "given"}}"#,
    /// )?;
    /// let mut registry = Registry::<f32>::standard();
    /// registry.set_class_vectors(ClassVectors::new(&[2.0, 0.0, 0.0, 1.0, -3.0, -4.0], 2, &[])?);
    /// let threads = Threads::new(Some(1))?;
    /// let session = Session::with_registry(model, OptimConfig::default(), 0, threads, &registry)?;
    /// assert_eq!(session.parameter("head.prototypes")?.1, [1.0, 0.0, 0.0, 1.0, -0.6, -0.8]);
    /// # Ok::<(), ssm_hpn::Error>(())
    /// ```
    pub fn set_class_vectors(&mut self, vectors: ClassVectors) {
        self.class_vectors = Some(Arc::new(vectors));
    }

    /// The kinds of stem that are known.
    pub(crate) fn stem_kinds(&self) -> impl Iterator<Item = &str> {
        self.stems.keys().map(String::as_str)
    }

    /// The kinds of block that are known.
    pub(crate) fn block_kinds(&self) -> impl Iterator<Item = &str> {
        self.blocks.keys().map(String::as_str)
    }

    /// The kinds of head that are known.
    pub(crate) fn head_kinds(&self) -> impl Iterator<Item = &str> {
        self.heads.keys().map(String::as_str)
    }

    /// The stem; without one in the configuration the usual one of the input's kind.
    pub(crate) fn stem(&self, config: &ModelConfig) -> Result<Box<dyn Stem<T>>> {
        let context = StemContext { d_model: config.d_model, input: config.input };
        let usual = match config.input {
            InputConfig::Tokens { .. } => "embedding",
            InputConfig::Features { .. } => "linear",
            InputConfig::Hidden {} => "identity",
        };
        let component = config.stem.clone().unwrap_or_else(|| Component::new(usual, serde_json::json!({})));
        let factory = self.stems.get(&component.kind);
        factory.ok_or_else(|| unknown("model.stem.kind", &component.kind, self.stem_kinds()))?(
            &component, &context,
        )
    }

    /// The block of one layer.
    pub(crate) fn block(&self, config: &ModelConfig, index: usize) -> Result<Box<dyn Block<T>>> {
        let (at, component) = config.layer(index);
        let context = BlockContext {
            d_model: config.d_model,
            n_layers: config.n_layers,
            index,
            norm_eps: config.norm_eps,
            at,
            depth: 0,
            registry: self,
        };
        self.make_block(component, &context)
    }

    fn make_block(&self, component: &Component, context: &BlockContext<T>) -> Result<Box<dyn Block<T>>> {
        let key = || format!("{}.kind", context.at);
        let factory = self.blocks.get(&component.kind);
        factory.ok_or_else(|| unknown(&key(), &component.kind, self.block_kinds()))?(component, context)
    }

    /// The configuration with every setting of its blocks written out. Nothing of the size of the model is made.
    ///
    /// Errors: [`Error::Config`] for settings that are out of bounds or contradict each other.
    pub fn resolve(&self, mut config: ModelConfig) -> Result<ModelConfig> {
        config.validate()?;
        let stem = self.stem(&config)?;
        let entries = config.layers.len().max(1);
        let blocks = (0..entries).map(|index| self.block(&config, index)).collect::<Result<Vec<_>>>()?;
        check_stem(&config, &*stem)?;
        check_blocks(&config, &blocks, self.targets.get(&config.target.kind[..]).copied())?;
        if config.layers.is_empty() {
            config.block = resolved(&config.block, &*blocks[0]);
        }
        for (entry, block) in config.layers.iter_mut().zip(&blocks) {
            *entry = resolved(entry, &**block);
        }
        Ok(config)
    }

    /// The target of a configuration.
    pub(crate) fn target(&self, config: &ModelConfig) -> Result<Predicted> {
        let (name, known) = (&config.target.kind, self.targets.keys().copied());
        let kind = self.targets.get(&name[..]).ok_or_else(|| unknown("model.target.kind", name, known))?;
        config.check_target(kind)
    }

    /// The head.
    pub(crate) fn head(
        &self,
        config: &ModelConfig,
        target: Predicted,
        seed: u64,
    ) -> Result<Box<dyn Head<T>>> {
        let class_vectors = self.class_vectors.clone();
        let context = HeadContext { d_model: config.d_model, target, seed, class_vectors };
        let factory = self.heads.get(&config.head.kind);
        factory.ok_or_else(|| unknown("model.head.kind", &config.head.kind, self.head_kinds()))?(
            &config.head,
            &context,
        )
    }
}

/// Refuses a stem that shortens beside a target per token.
fn check_stem<T: Scalar>(config: &ModelConfig, stem: &dyn Stem<T>) -> Result<()> {
    if stem.capabilities().keeps_length || config.target.pooling().is_some() {
        return Ok(());
    }
    Err(Error::config(
        "model.stem",
        "one that keeps the length, for a target per token",
        format!("one that makes one token of {}", stem.stride()),
        "set model.target.kind to one per sequence, or model.stem.kind to another",
    ))
}

/// Refuses blocks that are not causal beside a target that is made from the tokens.
fn check_blocks<T: Scalar>(
    config: &ModelConfig,
    blocks: &[Box<dyn Block<T>>],
    target: Option<&TargetKind>,
) -> Result<()> {
    let first = blocks.iter().position(|block| !block.capabilities().causal);
    match (first, target.filter(|target| target.from_tokens)) {
        (None, _) | (_, None) => Ok(()),
        (Some(index), Some(target)) => {
            let (at, component) = config.layer(index);
            let found = format!("{}, which sees the token that it is to predict", component.kind);
            let advice = "choose a causal block there, or set model.target.kind to another";
            Err(Error::config(
                format!("{at}.kind"),
                format!("a causal block for the target {}", target.name),
                found,
                advice,
            ))
        }
    }
}

/// Settings of a kind that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Settings of the stem `conv`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Convolution {
    /// Steps of a window.
    kernel: usize,
    /// Steps from a window to the next.
    stride: usize,
}

/// Settings of the stem `patch`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    /// Steps of a patch.
    size: usize,
}

/// Settings of the kind `bidirectional`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BothWays {
    /// Reads from the start.
    block: Component,
    /// Reads from the end; absent: another of the same settings.
    backward: Option<Component>,
}

/// Settings of the kind `sequential`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain {
    blocks: Vec<Component>,
}

/// Settings of the kind `residual`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Around {
    block: Component,
}

fn unknown<'a>(key: &str, kind: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<_> = known.collect();
    Error::config(
        key,
        format!("one of {}", known.join(", ")),
        format!("{kind:?}"),
        "register a kind of your own, or choose one of these",
    )
}

/// Refuses a head whose loss does not fit the target.
fn check_target(expected: Expected, target: &Predicted) -> Result<()> {
    let (answer, k) = (target.kind.answer(), target.n_values);
    let (found, n) = match expected {
        Expected::Classes(_) => (Answer::Classes, k),
        Expected::Values(n) => (Answer::Numbers, n),
        Expected::Joint(_) => (Answer::ClassesAndNumbers, 1),
        Expected::Cotangent => (Answer::Nothing, k),
    };
    if (found, n) == (answer, k) {
        return Ok(());
    }
    let (expected, found, advice) = if found == answer {
        let advice =
            format!("set model.target.n_values to {n}, or choose a head for {k} with model.head.kind");
        (format!("one for model.target.n_values = {k} numbers"), format!("one for {n}"), advice)
    } else {
        let advice =
            "set model.target.kind, or choose a head for it with model.head.kind and model.head.loss";
        (format!("one for {}", answer.name()), format!("a loss for {}", found.name()), advice.to_owned())
    };
    Err(Error::config("model.head.loss", expected, found, advice))
}
