//! Classes that are added to a prototype head: what stays, to the bit, what is learned, what is refused.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{CLASSES, WIDTH, batch, config, language_model, session, threads};
use crate::invariants::trained;
use serde_json::{Value, json};
use ssm_hpn::data::Batch;
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{FreezeSpec, ModelConfig};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::{Target, Values};

const PROTOTYPES: &str = "head.prototypes";

fn prototype_head(more: &Value) -> Value {
    let mut head = json!({"kind": "prototype", "n_classes": CLASSES});
    head.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    head
}

fn model(target: &str, more: &Value) -> ModelConfig {
    config("features", json!({"kind": target, "pooling": "mean"}), prototype_head(more))
}

/// Each loss over classes, the kinds of placement, and dimensions around the number of classes.
fn models() -> Vec<ModelConfig> {
    let mut found = vec![
        model("joint", &json!({"loss": {"kind": "joint"}})),
        config("tokens", json!({"kind": "token_class"}), prototype_head(&json!({}))),
    ];
    let more = [
        json!({}),
        json!({"loss": {"kind": "cosine"}, "spare": 1}),
        json!({"loss": {"kind": "margin"}, "spare": 5, "prototypes": "learnable"}),
        json!({"prototypes": "learnable", "dim": 4}),
        json!({"prototypes": "separated", "dim": 3}),
        json!({"dim": 33, "loss": {"kind": "softmax", "learn_scale": false}}),
        json!({"projection": "identity", "prototypes": "random"}),
    ];
    found.extend(more.iter().map(|more| model("sequence_class", more)));
    found
}

fn update(session: &mut Session<f32>, data: &Batch) {
    session.forward_backward(data, Accuracy::Skip).unwrap();
    assert!(session.apply().unwrap().applied);
}

fn prototypes(session: &Session<f32>) -> Vec<f32> {
    session.parameter(PROTOTYPES).unwrap().1.to_vec()
}

/// The columns of the first `classes` classes, and of the number behind all of them where there is one.
fn old_scores(scores: &[f32], width: usize, classes: usize, with_number: bool) -> Vec<u32> {
    let row = |row: &[f32]| {
        let number = with_number.then(|| row[width - 1]);
        row[..classes].iter().copied().chain(number).map(f32::to_bits).collect::<Vec<_>>()
    };
    scores.chunks_exact(width).flat_map(row).collect()
}

#[test]
fn scores_among_old_classes_keep_their_bits_and_new_classes_are_learned() {
    for config in models() {
        let data = batch(&config, 3, 12, None, 1);
        let mut session = trained::<f32>(&config);
        (0..3).for_each(|_| update(&mut session, &data));
        let (before, rows) = (session.predict(&data).unwrap(), prototypes(&session));
        let (norm, step) = (session.parameter("norm_f.weight").unwrap().1.to_vec(), session.step());
        let with_number = config.target.kind == "joint";
        let width = CLASSES + usize::from(with_number);
        let text = config.to_json();
        assert_eq!(session.add_classes(3).unwrap(), [CLASSES, CLASSES + 1, CLASSES + 2], "{text}");
        let after = session.predict(&data).unwrap();
        assert_eq!(after.len() / (width + 3), before.len() / width, "{text}");
        assert_eq!(
            old_scores(&after, width + 3, CLASSES, with_number),
            old_scores(&before, width, CLASSES, with_number),
            "{text}"
        );
        assert_eq!(prototypes(&session)[..rows.len()], rows, "{text}");
        assert_eq!(session.parameter("norm_f.weight").unwrap().1, norm);
        assert_eq!(session.step(), step);

        // Every document is of the last new class, and is near its prototype after some updates.
        let mut new = data.clone();
        for (_, values) in new.target.arrays_mut() {
            if let Values::Classes(classes) = values {
                classes.fill(CLASSES as i32 + 2);
            }
        }
        let loss = |session: &mut Session<f32>| session.evaluate(&new).unwrap().sums.loss;
        let first = loss(&mut session);
        (0..30).for_each(|_| update(&mut session, &new));
        assert!(loss(&mut session) < 0.9 * first, "{text}: {first} to {}", loss(&mut session));
        let learnable = config.head.settings.get("prototypes") == Some(&json!("learnable"));
        assert_eq!(prototypes(&session)[..rows.len()] == rows, !learnable, "{text}");
    }
}

#[test]
fn a_checkpoint_with_added_classes_goes_on_in_the_same_bits() {
    for config in models() {
        let data = batch(&config, 2, 9, None, 2);
        let mut session = trained::<f32>(&config);
        update(&mut session, &data);
        session.add_classes(1).unwrap();
        session.add_classes(2).unwrap();
        update(&mut session, &data);
        let root = tempfile::tempdir().unwrap();
        session.save(&root.path().join("step-00000002"), json!({})).unwrap();
        let (mut again, _) = Session::<f32>::load(root.path(), threads(1)).unwrap();
        assert_eq!(again.digest().unwrap(), session.digest().unwrap());
        assert_eq!(again.model().config(), session.model().config());
        update(&mut session, &data);
        update(&mut again, &data);
        assert_eq!(again.digest().unwrap(), session.digest().unwrap(), "{}", config.to_json());
    }
}

#[test]
fn the_grown_configuration_makes_the_same_prototypes() {
    for config in models() {
        let mut added = session::<f32>(&config);
        added.add_classes(2).unwrap();
        added.add_classes(1).unwrap();
        let made = session::<f32>(added.model().config());
        assert_eq!(prototypes(&made), prototypes(&added), "{}", config.to_json());
    }
}

#[test]
fn spare_prototypes_are_used_before_others_are_placed() {
    let spare = model("sequence_class", &json!({"spare": 2}));
    let mut session = session::<f32>(&spare);
    let (before, shape) = (prototypes(&session), vec![CLASSES + 2, CLASSES + 2]);
    assert_eq!(session.parameter(PROTOTYPES).unwrap().0, shape);
    assert_eq!(session.model().n_scores(), CLASSES);
    session.add_classes(2).unwrap();
    assert_eq!(prototypes(&session), before);
    assert!((session.max_prototype_cosine().unwrap().unwrap() + 1.0 / (CLASSES + 1) as f64).abs() < 1e-6);
    let head = &session.model().config().head.settings;
    assert_eq!(
        (head["n_classes"].clone(), head.get("spare"), head.get("placed")),
        (json!(CLASSES + 2), None, None)
    );
    session.add_classes(1).unwrap();
    assert_eq!(session.model().config().head.settings["placed"], json!(1));
    // Of nine directions in nine dimensions eight are used by the simplex: the ninth is free.
    assert!(session.max_prototype_cosine().unwrap().unwrap() < 1e-3);
}

#[test]
fn frozen_tensors_stay_frozen_and_learnable_prototypes_begin_with_zero_moments() {
    let config = model("sequence_class", &json!({"prototypes": "learnable"}));
    let data = batch(&config, 3, 12, None, 3);
    let mut session = trained::<f32>(&config);
    session
        .freeze(&FreezeSpec { first: 2, patterns: vec![PROTOTYPES.to_owned()], ..FreezeSpec::default() })
        .unwrap();
    (0..2).for_each(|_| update(&mut session, &data));
    let (frozen, rows) = (session.frozen(), prototypes(&session));
    session.add_classes(1).unwrap();
    assert_eq!(session.frozen(), frozen);
    update(&mut session, &data);
    assert_eq!(prototypes(&session)[..rows.len()], rows);

    // The first update of a tensor with zero moments moves its numbers by the learning rate, whatever came before.
    let optim = json!({"lr": 1e-3, "beta2": 0.999, "schedule": {"kind": "constant", "warmup": 0}});
    let optim = OptimConfig::from_json(&optim.to_string()).unwrap();
    let mut session = Session::<f32>::new(config, optim, 1, threads(1)).unwrap();
    (0..20).for_each(|_| update(&mut session, &data));
    session.add_classes(1).unwrap();
    let before = prototypes(&session);
    update(&mut session, &data);
    let moved = prototypes(&session).iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!((moved - 1e-3).abs() < 1e-5, "{moved}");
}

#[test]
fn heads_without_room_for_a_class_are_refused_and_stay_as_they_are() {
    let linear = config(
        "features",
        json!({"kind": "sequence_class", "pooling": "mean"}),
        json!({"kind": "linear", "n_outputs": CLASSES}),
    );
    let regression = config(
        "features",
        json!({"kind": "sequence_values", "pooling": "mean"}),
        json!({"kind": "prototype", "loss": {"kind": "regression"}}),
    );
    let words = config("tokens", json!({"kind": "next_token"}), prototype_head(&json!({})));
    let plane = model("sequence_class", &json!({"dim": 2}));
    let cosine = model("sequence_class", &json!({}));
    for (config, count, expected) in [
        (&linear, 1, "add_classes: expected a prototype head, found one of the kind linear"),
        (&language_model(), 1, "add_classes: expected a prototype head, found one of the kind linear"),
        (&regression, 1, "add_classes: expected a loss over classes, found the regression loss"),
        (&words, 1, "add_classes: expected classes that labels name, found the target next_token"),
        (&cosine, 0, "add_classes: expected at least one new class, found 0"),
        (
            &plane,
            1,
            "expected prototypes with room for the new classes, a cosine of at most 0.9 to the nearest",
        ),
        (&cosine, usize::MAX, "model.head.n_classes: expected a whole number from 2 to 2147483647"),
    ] {
        let mut session = session::<f32>(config);
        let digest = session.digest().unwrap();
        let refused = session.add_classes(count).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!((session.digest().unwrap(), session.model().config()), (digest, config), "{expected}");
    }
}

#[test]
fn gradients_that_wait_and_lent_buffers_refuse_new_classes() {
    let config = model("sequence_class", &json!({}));
    let mut session = session::<f32>(&config);
    session.forward_backward(&batch(&config, 2, 9, None, 2), Accuracy::Skip).unwrap();
    let refused = session.add_classes(1).unwrap_err().to_string();
    assert!(refused.starts_with("add_classes: expected no gradients that wait for an update"), "{refused}");
    session.zero_grad().unwrap();
    session.lend_flat().unwrap();
    assert!(session.add_classes(1).is_err());
    session.return_flat();
    assert_eq!(session.add_classes(1).unwrap(), [CLASSES]);
}

#[test]
fn a_class_beyond_those_of_the_head_is_refused_until_it_is_added() {
    let config = model("sequence_class", &json!({"spare": 3}));
    let mut session = session::<f32>(&config);
    let mut data = batch(&config, 1, WIDTH, None, 4);
    data.target = Target::sequence_class(vec![CLASSES as i32]);
    assert!(session.forward_backward(&data, Accuracy::Skip).is_err());
    session.add_classes(1).unwrap();
    session.forward_backward(&data, Accuracy::Count).unwrap();
}
