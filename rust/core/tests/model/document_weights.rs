//! Weights of documents: each is a factor of its document's losses, and the mean is divided by their sum.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{CLASSES, batch, bits, config, disturb, documents, masked, relative, session};
use serde_json::{Value, json};
use ssm_hpn::data::{Batch, Input, Segment};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::ModelConfig;
use ssm_hpn::session::{Session, StepReport};
use ssm_hpn::target::{Target, Values, arrays::Per};

const ROWS: usize = 5;
const LENGTH: usize = 6;

/// Every kind of target with a head for it, on features.
fn models() -> Vec<ModelConfig> {
    let prototype =
        |loss: Value| json!({"kind": "prototype", "n_classes": CLASSES, "loss": loss, "prototypes": "auto"});
    let softmax = prototype(json!({"kind": "softmax", "scale": 4.0}));
    let pole = json!({"kind": "prototype", "loss": {"kind": "regression", "low": -1.5, "high": 1.5}});
    let squared = json!({"kind": "linear", "n_outputs": 2, "loss": "squared", "bias": true});
    let sequence = json!({"kind": "sequence_class", "pooling": "mean"});
    let values = |n: usize| json!({"kind": "sequence_values", "pooling": "mean", "n_values": n});
    [
        (json!({"kind": "token_class"}), softmax.clone()),
        (json!({"kind": "token_class"}), json!({"kind": "linear", "n_outputs": CLASSES, "bias": true})),
        (sequence.clone(), softmax),
        (sequence, prototype(json!({"kind": "cosine"}))),
        (values(2), squared),
        (values(1), pole),
        (json!({"kind": "joint", "pooling": "max"}), prototype(json!({"kind": "joint", "weight": 0.3}))),
    ]
    .map(|(target, head)| config("features", target, head))
    .to_vec()
}

/// The report and the gradients of the sum of losses.
fn gradients(config: &ModelConfig, batch: &Batch) -> (StepReport, Vec<f64>) {
    let mut session = session::<f64>(config);
    disturb(&mut session, 0.2);
    let report = session.forward_backward(batch, Accuracy::Count).unwrap();
    (report, session.flat_gradients().to_vec())
}

/// The rows of a batch in this order, some of them several times, each a document.
fn rows(batch: &Batch, order: &[usize]) -> Batch {
    fn pick<X: Copy>(from: &[X], order: &[usize]) -> Vec<X> {
        let width = from.len() / ROWS;
        order.iter().flat_map(|row| from[row * width..(row + 1) * width].to_vec()).collect()
    }
    let Input::Features(features) = &batch.input else { panic!("features") };
    let target = Target::of(batch.target.arrays().map(|(array, values)| {
        let values = match values {
            Values::Classes(classes) => Values::Classes(pick(classes, order)),
            Values::Numbers(numbers) => Values::Numbers(pick(numbers, order)),
        };
        (array, values)
    }));
    Batch::whole(order.len(), LENGTH, Input::Features(pick(features, order)), target)
}

#[test]
fn a_whole_weight_is_that_many_repetitions() {
    for config in models() {
        let what = format!("{:?}, {:?}", config.target, config.head);
        let whole = batch(&config, ROWS, LENGTH, None, 3);
        let weighted = Batch { weights: Some(vec![2.0, 1.0, 0.0, 3.0, 1.0]), ..whole.clone() };
        let repeated = rows(&whole, &[0, 0, 1, 3, 3, 3, 4]);
        let ((found, by_weight), (expected, by_rows)) =
            (gradients(&config, &weighted), gradients(&config, &repeated));
        assert_eq!(found.weight, expected.count as f64, "{what}");
        assert!(found.count < expected.count, "{what}: {found:?}");
        assert!(
            (found.loss - expected.loss).abs() < 1e-12 * expected.loss,
            "{what}: {found:?}, {expected:?}"
        );
        // Sums of a few hundred products in another order.
        assert!(relative(&by_weight, &by_rows) < 1e-12, "{what}: {}", relative(&by_weight, &by_rows));
    }
}

/// The batch without the targets of a document.
fn without(mut batch: Batch, document: usize) -> Batch {
    let Segment { row, start, end } = batch.segments[document];
    let positions = row as usize * batch.length + start as usize..row as usize * batch.length + end as usize;
    let (count, tokens) = (batch.segments.len(), batch.rows * batch.length);
    for (array, values) in batch.target.arrays_mut() {
        let (entries, gone) = if array.per == Per::Token {
            (tokens, positions.clone())
        } else {
            (count, document..document + 1)
        };
        match values {
            Values::Classes(classes) => classes[gone].fill(-1),
            Values::Numbers(numbers) => {
                let width = numbers.len() / entries;
                numbers[gone.start * width..gone.end * width].fill(f32::NAN);
            }
        }
    }
    batch
}

#[test]
fn weights_of_one_change_no_bit_and_a_weight_of_zero_is_no_target() {
    for config in models() {
        let packed = batch(&config, 3, 9, Some(documents(3, 9)), 6);
        for data in [packed.clone(), masked(packed)] {
            let n = data.segments.len();
            let weighted = |weights| Batch { weights: Some(weights), ..data.clone() };
            assert_eq!(gradients(&config, &data), gradients(&config, &weighted(vec![1.0; n])), "{config:?}");
            for document in 0..n {
                let mut weights = vec![1.0; n];
                weights[document] = 0.0;
                let expected = gradients(&config, &without(data.clone(), document));
                assert_eq!(gradients(&config, &weighted(weights)), expected, "{document} of {config:?}");
            }
        }
    }
}

/// Parameters after an update on two micro-batches with weights.
fn updated(config: &ModelConfig, weights: [[f32; ROWS]; 2]) -> Vec<u64> {
    let mut session: Session<f64> = session(config);
    for (weights, seed) in weights.into_iter().zip(1..) {
        let data = batch(config, ROWS, LENGTH, None, seed);
        session.forward_backward(&Batch { weights: Some(weights.to_vec()), ..data }, Accuracy::Skip).unwrap();
    }
    session.apply().unwrap();
    bits(&session)
}

#[test]
fn an_update_is_the_mean_by_weight_over_its_micro_batches() {
    let config = &models()[2];
    let weights = [[1.0, 0.5, 3.0, 0.25, 1.0], [2.0, 2.0, 0.0, 1.0, 4.0]];
    // A common factor, here a power of two, changes nothing.
    assert_eq!(updated(config, weights), updated(config, weights.map(|of| of.map(|w| 8.0 * w))));
    // A factor of one of two micro-batches does.
    assert_ne!(updated(config, weights), updated(config, [weights[0], weights[1].map(|w| 8.0 * w)]));
}

#[test]
fn without_a_weight_above_zero_there_is_no_update_and_an_evaluation_has_no_weights() {
    let config = &models()[2];
    let mut session: Session<f32> = session(config);
    let data = Batch { weights: Some(vec![0.0; ROWS]), ..batch(config, ROWS, LENGTH, None, 1) };
    let report = session.forward_backward(&data, Accuracy::Count).unwrap();
    assert_eq!((report.loss, report.count, report.weight), (0.0, 0, 0.0));
    let update = session.apply().unwrap();
    assert_eq!((update.applied, update.count), (false, 0));
    let refused = session.evaluate(&data).unwrap_err().to_string();
    assert!(refused.starts_with("weights: expected none in an evaluation"), "{refused}");
    assert_eq!(session.predict(&data).unwrap().len(), ROWS * CLASSES);
}

#[test]
fn weights_of_classes_are_weights_of_their_documents() {
    let of_class = [1.0, 4.0, 0.5, 2.0, 8.0, 1.0, 0.25];
    assert_eq!(of_class.len(), CLASSES);
    for config in models().into_iter().filter(|config| config.target.kind != "sequence_values") {
        let data = batch(&config, ROWS, LENGTH, None, 3);
        let given = vec![1.0, 2.0, 1.0, 0.5, 1.0];
        for weights in [None, Some(given.clone())] {
            let data = Batch { weights, ..data.clone() };
            let mut session = session::<f64>(&config);
            disturb(&mut session, 0.2);
            session.set_class_weights(&of_class).unwrap();
            let found = session.forward_backward(&data, Accuracy::Count).unwrap();
            let found = (found, session.flat_gradients().to_vec());
            let per_document = data.target.classes().unwrap().0 == Per::Document;
            if per_document {
                let classes = data.target.classes().unwrap().1;
                let products = classes.iter().enumerate().map(|(i, &class)| {
                    let weight = data.weights.as_ref().map_or(1.0, |weights| weights[i]);
                    weight * usize::try_from(class).map_or(1.0, |class| of_class[class] as f32)
                });
                let expected = Batch { weights: Some(products.collect()), ..data.clone() };
                assert_eq!(found, gradients(&config, &expected), "{config:?}");
            } else {
                let plain = gradients(&config, &data);
                assert_eq!((found.0.count, found.0.scored), (plain.0.count, plain.0.scored));
                assert_ne!(found.0.weight, plain.0.weight, "{config:?}");
            }
            // Without them the bits are those of before.
            session.zero_grad().unwrap();
            session.set_class_weights(&[]).unwrap();
            session.forward_backward(&data, Accuracy::Count).unwrap();
            assert_eq!(session.flat_gradients(), gradients(&config, &data).1);
        }
    }
}

#[test]
fn weights_that_are_no_weights_of_the_classes_are_refused() {
    let mut session: Session<f32> = session(&models()[2]);
    for (bad, words) in [
        (vec![1.0; CLASSES - 1], "class weights: expected 7, one for each class, found 6"),
        (vec![0.0; CLASSES], "class weights, class 0: expected a finite number above 0, found 0"),
        (
            vec![1.0, f64::NAN, 1.0, 1.0, 1.0, 1.0, 1.0],
            "class weights, class 1: expected a finite number above 0",
        ),
        (
            vec![1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0],
            "class weights, class 2: expected a finite number above 0, found -1",
        ),
    ] {
        let refused = session.set_class_weights(&bad).unwrap_err().to_string();
        assert!(refused.starts_with(words), "{refused}");
    }
}
