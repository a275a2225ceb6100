//! Prototypes that are assigned by similarity: classes whose features are similar get prototypes that are similar.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{bits, numbers, threads};
use serde_json::{Value, json};
use ssm_hpn::checkpoint::folder_name;
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{FreezeSpec, ModelConfig};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::Target;

const WIDTH: usize = 8;
const CLASSES: usize = 12;
const AFTER: u64 = 10;

/// A head alone, in two dimensions: the layer below it is frozen.
fn session(assignment: &str, loss: &Value) -> Session<f64> {
    let config = json!({
        "input": {"kind": "hidden"}, "d_model": WIDTH, "n_layers": 1, "block": {"kind": "mlp"},
        "target": {"kind": "sequence_class", "pooling": "mean"},
        "head": {
            "kind": "prototype", "n_classes": CLASSES, "dim": 2, "loss": loss,
            "assignment": assignment, "assignment_after": AFTER,
        },
    });
    let config = ModelConfig::from_json(&config.to_string()).unwrap();
    let optim = OptimConfig::from_json(r#"{"lr": 0.02, "weight_decay": 0.0}"#).unwrap();
    let mut session = Session::new(config, optim, 4, threads(2)).unwrap();
    session.freeze(&FreezeSpec::from_json(r#"{"first": 1, "patterns": ["norm_f*"]}"#).unwrap()).unwrap();
    session
}

/// Series of one step, whose features lie on a circle in the order of a permutation of the classes, with noise.
fn batch(seed: u64) -> Batch {
    let (n, noise) = (3 * CLASSES, numbers(3 * CLASSES * WIDTH, seed));
    let classes: Vec<i32> = (0..n as i32).map(|i| i % CLASSES as i32).collect();
    let at = |i: usize| {
        let angle = std::f64::consts::TAU * (classes[i / WIDTH] * 5 % 12) as f64 / CLASSES as f64;
        let signal = [angle.cos(), angle.sin()].get(i % WIDTH).copied().unwrap_or(0.0);
        (signal + 0.05 * noise[i]) as f32
    };
    Batch::whole(n, 1, Input::Features((0..n * WIDTH).map(at).collect()), Target::sequence_class(classes))
}

fn update(session: &mut Session<f64>, steps: std::ops::Range<u64>) {
    for step in steps {
        for micro in 0..2 {
            session.forward_backward(&batch(2 * step + micro), Accuracy::Skip).unwrap();
        }
        session.apply().unwrap();
    }
}

fn prototypes(session: &Session<f64>) -> Vec<[u64; 2]> {
    let (_, numbers) = session.parameter("head.prototypes").unwrap();
    numbers.chunks_exact(2).map(|row| [row[0].to_bits(), row[1].to_bits()]).collect()
}

#[test]
fn classes_on_a_circle_have_a_lower_loss_with_prototypes_in_their_order() {
    for loss in [json!({"kind": "cosine"}), json!({"kind": "softmax"}), json!({"kind": "margin"})] {
        let [given, similar] = ["given", "similar"].map(|assignment| {
            let mut session = session(assignment, &loss);
            update(&mut session, 0..200);
            let report = session.evaluate(&batch(1000)).unwrap();
            (report.sums.loss, report.sums.correct as f64 / report.sums.scored as f64)
        });
        assert!(similar.0 < 0.8 * given.0 && similar.1 > given.1, "{loss}: {similar:?}, given {given:?}");
    }
}

#[test]
fn rows_change_places_once_after_the_warm_up() {
    let mut session = session("similar", &json!({"kind": "cosine"}));
    let before = prototypes(&session);
    update(&mut session, 0..AFTER - 1);
    assert_eq!(prototypes(&session), before, "during the warm-up");
    update(&mut session, AFTER - 1..AFTER);
    let after = prototypes(&session);
    assert_ne!(after, before);
    let sorted = |rows: &[[u64; 2]]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    assert_eq!(sorted(&after), sorted(&before), "the same prototypes");
    update(&mut session, AFTER..2 * AFTER + 1);
    assert_eq!(prototypes(&session), after, "once");
}

#[test]
fn gradients_that_were_dropped_have_no_part_in_the_means() {
    let [mut with, mut without] = [(); 2].map(|()| session("similar", &json!({"kind": "cosine"})));
    let labels = |shift: i32| Batch {
        target: Target::sequence_class((0..3 * CLASSES as i32).map(|i| (i * i + shift) % 12).collect()),
        ..batch(77)
    };
    for shift in 0..50 {
        with.forward_backward(&labels(shift), Accuracy::Skip).unwrap();
        with.zero_grad().unwrap();
    }
    update(&mut with, 0..AFTER);
    update(&mut without, 0..AFTER);
    assert_eq!(bits(&with), bits(&without));
}

#[test]
fn resuming_within_and_after_the_warm_up_gives_the_same_bits() {
    let loss = json!({"kind": "cosine"});
    let mut uninterrupted = session("similar", &loss);
    update(&mut uninterrupted, 0..2 * AFTER);
    for stop in [0, 1, AFTER - 1, AFTER, AFTER + 3] {
        let folder = tempfile::tempdir().unwrap();
        let mut first = session("similar", &loss);
        update(&mut first, 0..stop);
        first.save(&folder.path().join(folder_name(stop)), json!(null)).unwrap();
        let (mut second, _) = Session::<f64>::load(folder.path(), threads(1)).unwrap();
        update(&mut second, stop..2 * AFTER);
        assert_eq!(bits(&second), bits(&uninterrupted), "after {stop} updates");
        let state =
            std::fs::read_to_string(folder.path().join(folder_name(stop)).join("state.json")).unwrap();
        assert_eq!(state.contains("\"statistics\""), stop < AFTER, "nothing is kept that is not used");
    }
}
