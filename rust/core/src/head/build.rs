//! Makes the head of a configuration.

#![forbid(unsafe_code)]

use super::config::HeadConfig;
use super::cotangent::CotangentHead;
use super::interface::Head;
use super::linear_head::LinearHead;
use super::prototype_head::PrototypeHead;
use crate::error::Result;
use crate::numeric::Scalar;

/// The head of a configuration over features of width `d_model`. `seed` is for prototypes that are drawn or optimised.
pub fn build<T: Scalar>(config: &HeadConfig, d_model: usize, seed: u64) -> Result<Box<dyn Head<T>>> {
    Ok(match config {
        HeadConfig::Prototype(config) => Box::new(PrototypeHead::new(config.clone(), d_model, seed)?),
        HeadConfig::Linear(config) => Box::new(LinearHead::new(config.clone(), d_model)?),
        HeadConfig::None {} => Box::new(CotangentHead::new(d_model)),
    })
}
