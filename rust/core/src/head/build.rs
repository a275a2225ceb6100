//! Makes the head of a configuration, or its prototypes alone.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::config::{HeadConfig, PrototypeConfig};
use super::cotangent::CotangentHead;
use super::interface::Head;
use super::linear_head::LinearHead;
use super::prototype_head::PrototypeHead;
use super::prototypes::{ClassVectors, Construction};
use crate::allocate::try_room;
use crate::error::{Error, Result};
use crate::numeric::Scalar;

/// The head of a configuration over features of width `d_model`. `seed` is for prototypes that are drawn or optimised,
/// `vectors` are those of the classes, for prototypes that are made from them.
pub fn build<T: Scalar>(
    config: &HeadConfig,
    d_model: usize,
    seed: u64,
    vectors: Option<Arc<ClassVectors>>,
) -> Result<Box<dyn Head<T>>> {
    Ok(match config {
        HeadConfig::Prototype(config) => {
            Box::new(PrototypeHead::new(config.clone(), d_model, seed, vectors)?)
        }
        HeadConfig::Linear(config) => Box::new(LinearHead::new(config.clone(), d_model)?),
        HeadConfig::None {} => Box::new(CotangentHead::new(d_model)),
    })
}

/// Most numbers that `place` makes, before it asks for memory: a system may promise what it does not have.
const PLACE_LIMIT: usize = 1 << 28;

/// The prototypes of a configuration with a dimension, `[n_classes, dim]`, and their construction. Errors name settings
/// without their section.
pub fn place(
    config: &PrototypeConfig,
    seed: u64,
    vectors: Option<Arc<ClassVectors>>,
) -> Result<(Construction, Vec<f64>)> {
    let plain = |error| match error {
        Error::Config { key, expected, found, advice } => {
            let plain = |text: &str| text.replace("model.head.", "");
            Error::Config { key: plain(&key), expected: plain(&expected), found, advice: plain(&advice) }
        }
        other => other,
    };
    let width = config.dim.unwrap_or(1);
    let head = PrototypeHead::new(config.clone(), width, seed, vectors).map_err(plain)?;
    let plan = head.plan();
    if plan.classes.saturating_mul(plan.class_dim) > PLACE_LIMIT {
        let expected = format!("at most {PLACE_LIMIT} numbers in all, which take 2 GB");
        let found = format!("{} x {}", plan.classes, plan.class_dim);
        return Err(Error::config("classes, dim", expected, found, "ask for fewer of either"));
    }
    drop(try_room::<f64>(&[plan.classes, plan.class_dim], "the prototypes")?);
    Ok((plan.kind, head.prototypes().map_err(plain)?))
}
