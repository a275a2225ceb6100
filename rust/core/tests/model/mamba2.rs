//! Mamba-2 in its reference form ([`block`], [`recurrence`]), registered through the public trait `Block` as a user
//! would do it, and tested like the crate's own block: reference numbers, differences, packed documents, recurrent
//! reading.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod block;
mod recurrence;

use crate::common::{batch, bits, disturb, documents, language_model, threads};
use crate::gradcheck::agrees_with_differences;
use crate::invariants::{gradients, packed_is_like_separate, reads_in_pieces_like_the_whole};
use crate::reference_parity::{Fixture, model_agrees};
use serde_json::{Value, json};
use ssm_hpn::model::{ActivationMemory, ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::{Error, Result, Scalar};

/// The kinds of the crate and `mamba2`.
fn registry<T: Scalar>() -> Registry<T> {
    let mut registry = Registry::standard();
    registry.register_block("mamba2", |component, context| {
        Ok(Box::new(block::Mamba2::new(component.settings("model.block")?, context)?))
    });
    registry
}

fn start<T: Scalar>(model: ModelConfig) -> Result<Session<T>> {
    Session::with_registry(model, OptimConfig::default(), 1, threads(2), &registry())
}

/// A small language model of these blocks.
fn config(headdim: usize, d_conv: usize) -> ModelConfig {
    let block = json!({"kind": "mamba2", "d_state": 3, "d_conv": d_conv, "expand": 2, "headdim": headdim});
    ModelConfig { block: serde_json::from_value(block).unwrap(), ..language_model() }
}

/// The model with random numbers added to its parameters. `A_log` is lowered by 2, so that states last for several
/// tokens. The convolution's biases are raised by 1, which keeps y away from zero: there the second derivative of the
/// norm is too large for the differences.
fn trained<T: Scalar>(config: &ModelConfig) -> Session<T> {
    let mut session = start(config.clone()).unwrap();
    disturb(&mut session, 0.2);
    for row in session.parameter_table() {
        let shift = if row.id.ends_with("conv1d.bias") {
            1.0
        } else if row.id.ends_with("A_log") {
            -2.0
        } else {
            continue;
        };
        let values = session.parameter(&row.id).unwrap().1;
        let values: Vec<T> = values.iter().map(|x| *x + T::from_f64(shift)).collect();
        session.set_parameter(&row.id, &row.shape, &values).unwrap();
    }
    session
}

/// Five heads, two, and one per channel.
fn configs() -> [ModelConfig; 3] {
    [config(4, 4), config(10, 3), config(1, 2)]
}

fn fixture_block(fixture: &Fixture) -> Value {
    let size = |key: &str| fixture.size(key);
    json!({"kind": "mamba2", "d_state": size("d_state"), "d_conv": size("d_conv"), "expand": size("expand"),
           "headdim": size("expand") * size("d_model") / size("heads")})
}

#[test]
fn f64_agrees_with_the_reference_to_the_last_digits() {
    let fixture = Fixture::read("mamba2_lm.safetensors");
    model_agrees::<f64>(&fixture, fixture_block(&fixture), &registry(), 1e-9, 1e-9);
}

#[test]
fn f32_agrees_with_the_reference_within_its_precision() {
    let fixture = Fixture::read("mamba2_lm.safetensors");
    model_agrees::<f32>(&fixture, fixture_block(&fixture), &registry(), 2e-5, 2e-4);
}

#[test]
fn gradients_agree_with_differences() {
    for config in configs() {
        let what = format!("{:?}", config.block);
        let whole = batch(&config, 2, 6, None, 5);
        agrees_with_differences(&mut trained(&config), &whole, &what);
        let packed = batch(&config, 2, 9, Some(documents(2, 9)), 6);
        agrees_with_differences(&mut trained(&config), &packed, &format!("{what}, documents"));
    }
}

#[test]
fn packed_documents_give_the_outputs_and_gradients_of_separate_ones() {
    for config in configs() {
        packed_is_like_separate(&config, &mut trained(&config));
    }
}

#[test]
fn a_model_read_in_pieces_or_token_by_token_scores_like_the_whole() {
    for config in configs() {
        reads_in_pieces_like_the_whole(&config, &mut trained(&config));
    }
}

#[test]
fn activations_that_are_recomputed_give_the_same_bits() {
    let mut config = config(5, 4);
    let data = [batch(&config, 3, 20, Some(documents(3, 20)), 8)];
    let mut kept = trained::<f32>(&config);
    config.activation_memory = ActivationMemory::Recompute;
    let mut recomputed = trained::<f32>(&config);
    assert_eq!(bits(&kept), bits(&recomputed));
    assert_eq!(gradients(&mut kept, &data), gradients(&mut recomputed, &data));
}

#[test]
fn heads_that_do_not_divide_the_channels_are_refused() {
    for (headdim, d_conv) in [(3, 4), (0, 4), (5, 0), (5, 33)] {
        let refused = start::<f32>(config(headdim, d_conv));
        assert!(matches!(refused.map(drop), Err(Error::Config { .. })));
    }
}
