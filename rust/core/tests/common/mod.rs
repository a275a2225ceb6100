//! Helpers of the tests of whole models: small configurations of every kind, batches for them, comparisons.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use serde_json::json;
use ssm_hpn::data::{Batch, Input, Segment};
use ssm_hpn::model::ModelConfig;
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::params::init;
use ssm_hpn::session::Session;
use ssm_hpn::target::arrays::{Element, Per};
use ssm_hpn::target::{Target, Values, kinds};
use ssm_hpn::{Scalar, Threads};

/// Width, layers, classes and features of the small models.
pub(crate) const WIDTH: usize = 10;
pub(crate) const LAYERS: usize = 3;
pub(crate) const CLASSES: usize = 7;
pub(crate) const FEATURES: usize = 3;

/// A small model: `input` is tokens, features or hidden, `target` and `head` are JSON.
pub(crate) fn config(input: &str, target: serde_json::Value, head: serde_json::Value) -> ModelConfig {
    let input = match input {
        "tokens" => json!({"kind": "tokens", "vocab_size": CLASSES}),
        "features" => json!({"kind": "features", "n_features": FEATURES}),
        _ => json!({"kind": "hidden"}),
    };
    let config = json!({
        "input": input, "d_model": WIDTH, "n_layers": LAYERS,
        "block": {"kind": "mamba1", "d_state": 5, "d_conv": 3, "expand": 2, "dt_rank": 2},
        "target": target, "head": head,
    });
    ModelConfig::from_json(&config.to_string()).unwrap()
}

/// A language model with a linear head.
pub(crate) fn language_model() -> ModelConfig {
    config("tokens", json!({"kind": "next_token"}), json!({"kind": "linear", "n_outputs": CLASSES}))
}

pub(crate) fn threads(count: usize) -> Threads {
    Threads::new(Some(count)).unwrap()
}

pub(crate) fn session<T: Scalar>(config: &ModelConfig) -> Session<T> {
    Session::new(config.clone(), OptimConfig::default(), 1, threads(2)).unwrap()
}

/// Reproducible numbers of a normal distribution.
pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = init::stream(seed, "numbers of a test");
    (0..n).map(|_| init::normal(&mut rng)).collect()
}

/// Reproducible whole numbers below `bound`.
pub(crate) fn ids(n: usize, bound: usize, seed: u64) -> Vec<u32> {
    let mut rng = init::stream(seed, "ids of a test");
    (0..n).map(|_| (init::uniform(&mut rng) * bound as f64) as u32).collect()
}

/// Documents that cut every row into pieces, the last row ending with padding.
pub(crate) fn documents(rows: usize, length: usize) -> Vec<Segment> {
    let mut segments = Vec::new();
    for row in 0..rows {
        let end = if row + 1 == rows { length - 2 } else { length };
        let mut start = 0;
        for piece in [row % 3 + 1, 1, length / 2, length] {
            let to = (start + piece).min(end);
            if start < to {
                segments.push(Segment { row: row as u32, start: start as u32, end: to as u32 });
            }
            start = to;
        }
    }
    segments
}

/// A batch with targets of the model's kind; some targets are masked. Without `segments` one document per row.
pub(crate) fn batch(
    config: &ModelConfig,
    rows: usize,
    length: usize,
    segments: Option<Vec<Segment>>,
    seed: u64,
) -> Batch {
    use ssm_hpn::model::InputConfig;
    let m = rows * length;
    let floats = |n: usize, seed: u64| numbers(n, seed).iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let input = match config.input {
        InputConfig::Tokens { vocab_size } => Input::Tokens(ids(m, vocab_size, seed)),
        InputConfig::Features { n_features } => Input::Features(floats(m * n_features, seed)),
        InputConfig::Hidden {} => Input::Features(floats(m * config.d_model, seed)),
    };
    let mut batch = Batch::whole(rows, length, input, Target::none());
    if let Some(segments) = segments {
        batch.segments = segments;
    }
    let n = batch.segments.len();
    let classes = |n: usize| {
        let class = |(i, c): (usize, &u32)| if i % 5 == 3 { -1 } else { *c as i32 };
        ids(n, CLASSES, seed + 100).iter().enumerate().map(class).collect::<Vec<i32>>()
    };
    let kind = kinds::find(&config.target.kind).expect("a kind of this crate");
    let k = config.target.n_values.unwrap_or(1);
    batch.target = Target::of(kind.arrays.iter().map(|array| {
        let values = match (array.per, array.element) {
            (Per::Token, Element::Class) => {
                let mut target = vec![-1; m];
                let classes = classes(m);
                for s in &batch.segments {
                    let row = s.row as usize * length;
                    // The last token of a document has no target.
                    let tokens = row + s.start as usize..row + s.end as usize - 1;
                    target[tokens.clone()].copy_from_slice(&classes[tokens]);
                }
                Values::Classes(target)
            }
            (Per::Document, Element::Class) => Values::Classes(classes(n)),
            (per, Element::Number) => {
                let entries = if per == Per::Token { m } else { n };
                Values::Numbers(floats(entries * k, seed + 200).iter().map(|x| x.tanh()).collect())
            }
            (_, Element::Gradient) => Values::Numbers(floats(m * config.d_model, seed + 300)),
        };
        (*array, values)
    }));
    batch
}

/// The batch with every third position masked and every fourth number to predict missing. Documents with all positions
/// masked lose their target.
pub(crate) fn masked(mut batch: Batch) -> Batch {
    let mask: Vec<u8> = (0..batch.rows * batch.length).map(|i| u8::from(i % 3 != 2)).collect();
    let is_masked = |s: &Segment| {
        let row = s.row as usize * batch.length;
        mask[row + s.start as usize..row + s.end as usize].iter().all(|&m| m == 0)
    };
    let gone: Vec<bool> = batch.segments.iter().map(is_masked).collect();
    for (_, values) in batch.target.arrays_mut().filter(|(array, _)| array.per == Per::Document) {
        match values {
            Values::Classes(classes) => {
                let without = classes.iter_mut().zip(&gone).filter(|(_, gone)| **gone);
                without.for_each(|(class, _)| *class = -1);
            }
            Values::Numbers(values) => {
                let width = values.len() / gone.len();
                for (i, value) in values.iter_mut().enumerate() {
                    if gone[i / width] || i % 4 == 1 {
                        *value = f32::NAN;
                    }
                }
            }
        }
    }
    Batch { mask: Some(mask), ..batch }
}

/// Adds random numbers to every parameter, so that no gradient is zero by symmetry, and raises the step sizes dt, so
/// that the decay of the scan has an effect within a few tokens.
pub(crate) fn disturb<T: Scalar>(session: &mut Session<T>, scale: f64) {
    for (i, row) in session.parameter_table().into_iter().enumerate() {
        if row.id == "head.prototypes" || !row.trainable {
            continue;
        }
        let values: Vec<T> = {
            let (_, values) = session.parameter(&row.id).unwrap();
            let noise = numbers(values.len(), 1000 + i as u64);
            let is_step = row.id.ends_with("dt_proj.bias") || row.id.ends_with("dt_bias");
            let shift = if is_step { 3.0 } else { 0.0 };
            values.iter().zip(noise).map(|(x, e)| T::from_f64(x.to_f64() + shift + scale * e)).collect()
        };
        session.set_parameter(&row.id, &row.shape, &values).unwrap();
    }
}

/// Every bit of the parameters.
pub(crate) fn bits<T: Scalar>(session: &Session<T>) -> Vec<u64> {
    session.flat_parameters().iter().map(|x| x.to_f64().to_bits()).collect()
}

/// ‖found - expected‖ / ‖expected‖.
pub(crate) fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(f, e)| f - e));
    difference / norm(&mut expected.iter().copied()).max(f64::MIN_POSITIVE)
}

pub(crate) fn to_f64<T: Scalar>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}
