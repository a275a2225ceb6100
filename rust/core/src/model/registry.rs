//! Kinds of blocks and heads, by name.
//!
//! A crate that brings a [`Block`] or a [`Head`] of its own registers it under a kind and keeps everything else: the
//! configuration names the kind, the registry makes the component.
//!
//! ```
//! use ssm_hpn::model::{BlockContext, Component, Registry};
//! # use ssm_hpn::blocks::Block;
//! # fn mine(_: &Component, _: &BlockContext) -> ssm_hpn::Result<Box<dyn Block<f32>>> { unreachable!() }
//! let mut registry = Registry::<f32>::standard();
//! registry.register_block("mine", mine);
//! assert!(registry.block_kinds().any(|kind| kind == "mine"));
//! ```

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{Component, ModelConfig, TargetConfig};
use crate::blocks::Block;
use crate::blocks::mamba1::Mamba1;
use crate::error::{Error, Result};
use crate::head::{self, Expected, Head, HeadConfig};
use crate::numeric::Scalar;

/// What a block's factory knows of the model around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// Width of the residual stream (D).
    pub d_model: usize,
    /// Number of layers of the model.
    pub n_layers: usize,
    /// Index of the layer.
    pub index: usize,
}

/// What a head's factory knows of the model around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadContext {
    /// Width of the features (D).
    pub d_model: usize,
    /// What the head is compared with.
    pub target: TargetConfig,
    /// Seed of prototypes that are drawn or optimised.
    pub seed: u64,
}

type BlockFactory<T> = Arc<dyn Fn(&Component, &BlockContext) -> Result<Box<dyn Block<T>>> + Send + Sync>;
type HeadFactory<T> = Arc<dyn Fn(&Component, &HeadContext) -> Result<Box<dyn Head<T>>> + Send + Sync>;

/// Factories of blocks and heads by kind.
#[derive(Clone)]
pub struct Registry<T> {
    blocks: BTreeMap<String, BlockFactory<T>>,
    heads: BTreeMap<String, HeadFactory<T>>,
}

impl<T> std::fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("blocks", &self.blocks.keys())
            .field("heads", &self.heads.keys())
            .finish()
    }
}

impl<T: Scalar> Registry<T> {
    /// The kinds of this crate.
    pub fn standard() -> Self {
        let mut registry = Self { blocks: BTreeMap::new(), heads: BTreeMap::new() };
        registry.register_block("mamba1", |component, context| {
            let config = component.settings("model.block")?;
            Ok(Box::new(Mamba1::new(&config, context.d_model, context.n_layers)?))
        });
        for kind in ["prototype", "linear", "none"] {
            registry.register_head(kind, |component, context| {
                let config: HeadConfig = component.tagged("model.head")?;
                check_target(config.expects(), &context.target)?;
                head::build(&config, context.d_model, context.seed)
            });
        }
        registry
    }

    /// Adds a kind of block, or replaces one.
    pub fn register_block(
        &mut self,
        kind: &str,
        factory: impl Fn(&Component, &BlockContext) -> Result<Box<dyn Block<T>>> + Send + Sync + 'static,
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

    /// The kinds of block that are known.
    pub fn block_kinds(&self) -> impl Iterator<Item = &str> {
        self.blocks.keys().map(String::as_str)
    }

    /// The kinds of head that are known.
    pub fn head_kinds(&self) -> impl Iterator<Item = &str> {
        self.heads.keys().map(String::as_str)
    }

    /// The block of one layer.
    pub fn block(&self, config: &ModelConfig, index: usize) -> Result<Box<dyn Block<T>>> {
        let context = BlockContext { d_model: config.d_model, n_layers: config.n_layers, index };
        let factory = self.blocks.get(&config.block.kind);
        factory.ok_or_else(|| unknown("model.block.kind", &config.block.kind, self.block_kinds()))?(
            &config.block,
            &context,
        )
    }

    /// The configuration with every setting of its blocks written out. Nothing of the size of the model is made.
    ///
    /// Errors: [`Error::Config`] for settings that are out of bounds or contradict each other.
    pub fn resolve(&self, mut config: ModelConfig) -> Result<ModelConfig> {
        config.validate()?;
        if let Some(settings) = self.block(&config, 0)?.resolved() {
            config.block = Component::new(&config.block.kind, settings);
        }
        Ok(config)
    }

    /// The head.
    pub fn head(&self, config: &ModelConfig, seed: u64) -> Result<Box<dyn Head<T>>> {
        let context = HeadContext { d_model: config.d_model, target: config.target, seed };
        let factory = self.heads.get(&config.head.kind);
        factory.ok_or_else(|| unknown("model.head.kind", &config.head.kind, self.head_kinds()))?(
            &config.head,
            &context,
        )
    }
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
fn check_target(expected: Expected, target: &TargetConfig) -> Result<()> {
    let refuse = |expected: String, found: &str| {
        Err(Error::config("model.head.loss", expected, found, "change the target or the head"))
    };
    let wants_class = matches!(
        target,
        TargetConfig::NextToken {} | TargetConfig::TokenClass {} | TargetConfig::SequenceClass { .. }
    );
    match (expected, target) {
        (Expected::Classes(_), _) if wants_class => Ok(()),
        (Expected::Values(n), TargetConfig::SequenceValues { n_values, .. }) if n == *n_values => Ok(()),
        (Expected::Cotangent, TargetConfig::Cotangent {}) => Ok(()),
        (Expected::Classes(_), _) => refuse("one for numbers".to_owned(), "a loss for classes"),
        (Expected::Values(n), TargetConfig::SequenceValues { n_values, .. }) => {
            refuse(format!("one for model.target.n_values = {n_values} numbers"), &format!("one for {n}"))
        }
        (Expected::Values(_), _) => refuse("one for classes".to_owned(), "a loss for numbers"),
        (Expected::Joint(_), _) => refuse("one for this target".to_owned(), "one for a class and a number"),
        (Expected::Cotangent, _) => refuse("a head for this target".to_owned(), "none"),
    }
}
