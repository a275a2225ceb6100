//! Gradients of whole models in f64 against central differences: every input × target × head, one document per row and
//! several, all activations kept and all recomputed, masked positions and missing numbers.
//!
//! Each trained tensor is moved along a random direction and at single elements spread over the magnitudes of its
//! gradient. The fourth-order difference with h = 5e-4 errs by about h⁴ = 6e-14 and by rounding, 1e-16/h = 2e-13; the
//! bound of 1e-6 is relative to the derivative, or to the typical derivative of the tensor where that one is smaller.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{CLASSES, batch, config, disturb, documents, masked, numbers, session};
use serde_json::{Value, json};
use ssm_hpn::data::Batch;
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ActivationMemory, ModelConfig};
use ssm_hpn::session::Session;

const STEP: f64 = 5e-4;
const BOUND: f64 = 1e-6;

/// Derivative of the mean loss along a direction of one tensor.
fn difference(session: &mut Session<f64>, id: &str, direction: &[f64], batch: &Batch) -> f64 {
    let (shape, start) = session.parameter(id).unwrap();
    let (shape, start) = (shape.to_vec(), start.to_vec());
    let mut shifted = |by: f64| {
        let moved: Vec<f64> = start.iter().zip(direction).map(|(x, d)| x + by * d).collect();
        session.set_parameter(id, &shape, &moved).unwrap();
        session.evaluate(batch).unwrap().sums.loss
    };
    let near = shifted(STEP) - shifted(-STEP);
    let far = shifted(2.0 * STEP) - shifted(-2.0 * STEP);
    shifted(0.0);
    (8.0 * near - far) / (12.0 * STEP)
}

/// A random direction, then single elements: the smallest gradient, the largest, and two between.
fn directions(gradient: &[f64], seed: u64) -> Vec<Vec<f64>> {
    let n = gradient.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs()));
    let mut places: Vec<usize> = (0..4).map(|k| order[k * (n - 1) / 3]).collect();
    places.dedup();
    let single = |place: &usize| (0..n).map(|i| f64::from(u8::from(i == *place))).collect();
    std::iter::once(numbers(n, seed)).chain(places.iter().map(single)).collect()
}

fn check(config: &ModelConfig, batch: &Batch, what: &str) {
    let mut session = session::<f64>(config);
    disturb(&mut session, 0.2);
    agrees_with_differences(&mut session, batch, what);
}

/// Every trained tensor of a model, at its present values.
pub(crate) fn agrees_with_differences(session: &mut Session<f64>, batch: &Batch, what: &str) {
    session.forward_backward(batch, Accuracy::Skip).unwrap();
    for (index, row) in session.parameter_table().iter().enumerate().filter(|(_, row)| row.trainable) {
        let gradient = session.gradient(&row.id).unwrap().1;
        let size = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!(size > 0.0, "{what}: {} has a gradient of zero", row.id);
        for direction in directions(&gradient, index as u64) {
            let expected = difference(session, &row.id, &direction, batch);
            let found: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            let typical = size * length / (gradient.len() as f64).sqrt();
            let error = (found - expected).abs() / expected.abs().max(typical);
            assert!(error <= BOUND, "{what}: {}: {found} for {expected}, error {error:e}", row.id);
        }
    }
}

/// Heads for a class: each loss, each way of placing prototypes that is trained differently.
fn class_heads() -> Vec<Value> {
    let prototype = |loss: Value, prototypes: &str| json!({"kind": "prototype", "n_classes": CLASSES, "loss": loss, "prototypes": prototypes});
    let softmax = json!({"kind": "softmax", "scale": 4.0, "learn_scale": true});
    vec![
        json!({"kind": "linear", "n_outputs": CLASSES}),
        json!({"kind": "linear", "n_outputs": CLASSES, "bias": true}),
        prototype(softmax.clone(), "auto"),
        prototype(softmax, "learnable"),
        prototype(json!({"kind": "cosine"}), "auto"),
        prototype(json!({"kind": "margin", "scale": 4.0, "margin": 0.3}), "simplex"),
    ]
}

/// Runs a model on one document per row and on several, with activations kept and recomputed in turn.
fn check_both(input: &str, target: &Value, head: &Value) {
    let mut config = config(input, target.clone(), head.clone());
    let what = format!("{input}, {target}, {head}");
    check(&config, &batch(&config, 2, 6, None, 5), &what);
    config.activation_memory = ActivationMemory::Recompute;
    let packed = batch(&config, 2, 9, Some(documents(2, 9)), 6);
    check(&config, &packed, &format!("{what}, documents"));
    if config.head.kind != "none" {
        check(&config, &masked(packed), &format!("{what}, documents, masked"));
    }
}

#[test]
fn a_class_per_token() {
    for head in class_heads() {
        check_both("tokens", &json!({"kind": "next_token"}), &head);
    }
    let tied = json!({"kind": "linear", "n_outputs": CLASSES, "tied": true});
    check_both("tokens", &json!({"kind": "next_token"}), &tied);
    for input in ["features", "hidden"] {
        for head in &class_heads()[1..3] {
            check_both(input, &json!({"kind": "token_class"}), head);
        }
    }
}

#[test]
fn a_class_per_document() {
    for (input, pooling) in [("tokens", "last"), ("features", "mean"), ("hidden", "max")] {
        for head in class_heads() {
            check_both(input, &json!({"kind": "sequence_class", "pooling": pooling}), &head);
        }
    }
}

#[test]
fn numbers_per_document() {
    let linear = json!({"kind": "linear", "n_outputs": 2, "loss": "squared", "bias": true});
    let pole = json!({"kind": "prototype", "loss": {"kind": "regression", "low": -1.5, "high": 1.5}});
    for (input, pooling) in [("tokens", "mean"), ("features", "max"), ("hidden", "last")] {
        let target = |n_values| json!({"kind": "sequence_values", "pooling": pooling, "n_values": n_values});
        check_both(input, &target(2), &linear);
        check_both(input, &target(1), &pole);
    }
}

#[test]
fn a_class_and_a_number_per_document() {
    let loss = json!({"kind": "joint", "low": -1.5, "high": 1.5, "weight": 0.3});
    let head = json!({"kind": "prototype", "n_classes": CLASSES, "loss": loss});
    for (input, pooling) in [("tokens", "mean"), ("features", "max"), ("hidden", "last")] {
        check_both(input, &json!({"kind": "joint", "pooling": pooling}), &head);
    }
}

#[test]
fn a_gradient_given_by_the_caller() {
    for input in ["tokens", "features", "hidden"] {
        check_both(input, &json!({"kind": "cotangent"}), &json!({"kind": "none"}));
    }
}
