//! Classes of nearly equal features: the head by its defaults has to pull them onto their prototypes within the updates
//! that an estimator takes by default.
//!
//! Spectra, outlines and the like have features whose differences are a hundredth of what they have in common. For each the
//! direction of z is at first that of the common part, which the projection has to lose.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{numbers, threads};
use serde_json::{Value, json};
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{FreezeSpec, ModelConfig};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::Target;

const WIDTH: usize = 64;
const SERIES: usize = 30;
const UPDATES: u64 = 300;
/// Size of the differences where that of the common part is 1.
const DIFFERENCE: f64 = 0.01;

/// A common vector, a smaller one by class and as much noise, `[SERIES, WIDTH]`.
fn features(classes: usize, seed: u64) -> Vec<f32> {
    let common = numbers(WIDTH, seed);
    let of_class: Vec<_> = (0..classes).map(|class| numbers(WIDTH, seed + 1 + class as u64)).collect();
    let noise = numbers(SERIES * WIDTH, seed + 50);
    let at = |i: usize| {
        let (series, channel) = (i / WIDTH, i % WIDTH);
        let difference = of_class[series % classes][channel] + noise[i];
        (common[channel] + DIFFERENCE * difference) as f32
    };
    (0..SERIES * WIDTH).map(at).collect()
}

/// Mean score of each series for its class, and the share whose largest score that is, after training the head alone.
fn trained(classes: usize, loss: &str, dim: Option<usize>, seed: u64) -> (f64, f64) {
    let config = json!({
        "input": {"kind": "hidden"}, "d_model": WIDTH, "n_layers": 1, "block": {"kind": "mlp"},
        "target": {"kind": "sequence_class", "pooling": "mean"},
        "head": {"kind": "prototype", "n_classes": classes, "dim": dim, "loss": {"kind": loss}},
    });
    let optim: Value = json!({"lr": 3e-3, "weight_decay": 0.01, "schedule": {"kind": "cosine", "warmup": 20, "total": UPDATES}});
    let config = ModelConfig::from_json(&config.to_string()).unwrap();
    let optim = OptimConfig::from_json(&optim.to_string()).unwrap();
    let mut session = Session::<f64>::new(config, optim, seed, threads(1)).unwrap();
    session.freeze(&FreezeSpec::from_json(r#"{"first": 1, "patterns": ["norm_f*"]}"#).unwrap()).unwrap();
    let features = features(classes, 100 * seed + 1);
    let batch = |rows: &[usize]| {
        let x = rows.iter().flat_map(|row| features[row * WIDTH..(row + 1) * WIDTH].to_vec()).collect();
        let target = Target::sequence_class(rows.iter().map(|row| (row % classes) as i32).collect());
        Batch::whole(rows.len(), 1, Input::Features(x), target)
    };
    for update in 0..UPDATES as usize {
        // Half of the series, another half each time: 7 has no factor in common with 30.
        let rows: Vec<usize> = (0..SERIES / 2).map(|k| (7 * (k + 15 * update) + update) % SERIES).collect();
        session.forward_backward(&batch(&rows), Accuracy::Skip).unwrap();
        session.apply().unwrap();
    }
    let scores = session.predict(&batch(&(0..SERIES).collect::<Vec<_>>())).unwrap();
    let rows = || scores.chunks(classes).enumerate().map(|(i, row)| (i % classes, row));
    let score: f64 = rows().map(|(class, row)| row[class]).sum::<f64>() / SERIES as f64;
    let right = rows().filter(|(class, row)| row.iter().all(|x| *x <= row[*class])).count();
    (score, right as f64 / SERIES as f64)
}

#[test]
fn the_cosine_loss_turns_nearly_equal_features_onto_their_prototypes() {
    for classes in [2, 3] {
        for seed in 0..4 {
            let (score, right) = trained(classes, "cosine", None, seed);
            assert!(right > 0.99 && score > 0.85, "{classes} classes, seed {seed}: {score:.3}, {right:.3}");
        }
    }
}

#[test]
fn the_softmax_turns_them_further_than_in_as_many_dimensions_as_there_are_channels() {
    for classes in [2, 3] {
        for seed in 0..4 {
            let (score, right) = trained(classes, "softmax", None, seed);
            let (of_many, _) = trained(classes, "softmax", Some(WIDTH), seed);
            let what = format!("{classes} classes, seed {seed}: {score:.3}, {right:.3}, {of_many:.3}");
            assert!(right > 0.9 && score > of_many + 0.1, "{what}");
        }
    }
}
