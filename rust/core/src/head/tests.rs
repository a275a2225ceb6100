use super::*;
use crate::kernels::testing::{assert_close, central_differences, numbers};
use crate::kernels::{Layout, RowWeights};
use crate::numeric::Scalar;
use crate::params::{Arena, Group, Init, Slot, Table, TensorMasks};
use crate::params::{Grads, ParamSpec, Params};
use crate::pass::Pass;
use crate::pass::{Key, Mode};

mod settings;

const N: usize = 11;
const D: usize = 6;

/// A head with its parameters.
struct Rig<T: Scalar> {
    head: Box<dyn Head<T>>,
    table: Table,
    slots: Vec<Slot>,
    values: Arena<T>,
    scratch: Vec<T>,
}

struct Outcome<T> {
    report: HeadReport,
    dx: Vec<T>,
    dparams: Arena<T>,
}

/// A head's training pass over n features.
fn features_pass<'a, T: Scalar>(params: Params<'a, T>, n: usize, scratch: &'a mut [T]) -> Pass<'a, T> {
    Pass::new(params, Layout::whole(n, 1), Mode::Training(Key::default()), scratch)
}

impl<T: Scalar> Rig<T> {
    fn new(json: &str) -> Self {
        let config: HeadConfig = serde_json::from_str(json).unwrap();
        let head = build::<T>(&config, D, 3, None).unwrap();
        let mut table = Table::new();
        let embedding = ParamSpec::new("embedding.weight", [9, D], Init::Normal { std: 0.5 });
        table.declare("", Group::Input, vec![embedding]).unwrap();
        let slots = table.declare("", Group::Head, head.params()).unwrap();
        let mut values = Arena::zeros(table.buffer_len());
        for slot in 0..table.entries().len() {
            let entry = table.entry(slot);
            let columns = *entry.spec.shape.last().unwrap();
            entry.spec.init.fill(values.tensor_mut(&table, slot), columns, 5, &entry.id);
            if entry.id == PROJECTION {
                // A z of the size of its step has other derivatives within it.
                values.tensor_mut(&table, slot).iter_mut().for_each(|w| *w = T::from_f64(10.0) * *w);
            }
        }
        let scratch = vec![T::from_f64(f64::NAN); head.scratch(N)];
        Self { head, table, slots, values, scratch }
    }

    fn pass(&mut self, x: &[T], targets: Targets<T>, wanted: Wanted<T>) -> Outcome<T> {
        self.weighted_pass(x, WeightedTargets::equal(targets), wanted)
    }

    fn weighted_pass(&mut self, x: &[T], targets: WeightedTargets<T>, wanted: Wanted<T>) -> Outcome<T> {
        let trainable = TensorMasks::declared(&self.table).trainable;
        let mut dx = vec![T::from_f64(f64::NAN); x.len()];
        let mut dparams = Arena::zeros(self.table.buffer_len());
        let mut grads = Grads::new(dparams.as_mut_slice(), &self.table, &self.slots, &trainable);
        let params = Params::new(self.values.as_slice(), &self.table, &self.slots);
        let pass = features_pass(params, x.len() / D, &mut self.scratch);
        let report = self.head.forward_backward(pass, x, targets, wanted, Some(&mut dx), Some(&mut grads));
        Outcome { report, dx, dparams }
    }

    /// The loss alone, at other parameters.
    fn loss(&self, values: &[T], x: &[T], targets: Targets<T>) -> f64 {
        self.weighted_loss(values, x, WeightedTargets::equal(targets))
    }

    fn weighted_loss(&self, values: &[T], x: &[T], targets: WeightedTargets<T>) -> f64 {
        let params = Params::new(values, &self.table, &self.slots);
        let mut scratch = self.scratch.clone();
        let pass = features_pass(params, x.len() / D, &mut scratch);
        self.head.forward_backward(pass, x, targets, Wanted::Loss, None, None).loss
    }

    fn scores(&mut self, x: &[T]) -> Vec<T> {
        let params = Params::new(self.values.as_slice(), &self.table, &self.slots);
        let mut out = vec![T::from_f64(f64::NAN); x.len() / D * self.head.n_scores()];
        self.head.scores(features_pass(params, x.len() / D, &mut self.scratch), x, &mut out);
        out
    }
}

fn classes() -> Vec<i32> {
    (0..N).map(|i| if i == 4 { -1 } else { (i * 2 % 9) as i32 }).collect()
}

/// Every head, with the targets it takes.
fn heads() -> Vec<(&'static str, Expected)> {
    let cases = [
        r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"softmax","scale":4.0,"learn_scale":true}}"#,
        r#"{"kind":"prototype","n_classes":9,"dim":3,"loss":{"kind":"softmax","scale":4.0,"learn_scale":false}}"#,
        r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"softmax","scale":4.0,"smoothing":0.2}}"#,
        r#"{"kind":"prototype","n_classes":9,"dim":3,"loss":{"kind":"softmax","scale":4.0,"smoothing":0.2,"smoothing_toward":"near"}}"#,
        r#"{"kind":"prototype","n_classes":9,"dim":3,"loss":{"kind":"margin","scale":4.0,"smoothing":0.2,"smoothing_toward":"near"}}"#,
        r#"{"kind":"prototype","n_classes":9,"prototypes":"learnable","dim":4,"loss":{"kind":"softmax","scale":4.0,"smoothing":0.2}}"#,
        r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"cosine"}}"#,
        r#"{"kind":"prototype","n_classes":9,"projection":"identity","loss":{"kind":"cosine"}}"#,
        r#"{"kind":"prototype","n_classes":9,"prototypes":"random","dim":4,"loss":{"kind":"margin","scale":4.0,"margin":0.3}}"#,
        r#"{"kind":"prototype","n_classes":9,"prototypes":"learnable","dim":4,"loss":{"kind":"softmax","scale":4.0}}"#,
        r#"{"kind":"prototype","n_classes":9,"prototypes":"learnable","dim":4,"loss":{"kind":"margin","scale":4.0}}"#,
        r#"{"kind":"prototype","loss":{"kind":"regression","low":-1.0,"high":3.0}}"#,
        r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"joint","low":-1.0,"high":3.0,"weight":0.25}}"#,
        r#"{"kind":"linear","n_outputs":9}"#,
        r#"{"kind":"linear","n_outputs":9,"bias":true,"smoothing":0.2}"#,
        r#"{"kind":"linear","n_outputs":9,"tied":true,"bias":true}"#,
        r#"{"kind":"linear","n_outputs":2,"loss":"squared","bias":true}"#,
        r#"{"kind":"none"}"#,
    ];
    cases.map(|json| (json, serde_json::from_str::<HeadConfig>(json).unwrap().expects())).to_vec()
}

fn with_targets<R>(expected: Expected, f: impl FnOnce(Targets<f64>) -> R) -> R {
    let classes = classes();
    let values = numbers::<f64>(N * D, 9);
    match expected {
        Expected::Classes(9) => f(Targets::Classes(&classes)),
        Expected::Values(k) => f(Targets::Values(&values[..N * k])),
        Expected::Joint(9) => f(Targets::Joint { classes: &classes, values: &values[..N] }),
        Expected::Cotangent => f(Targets::Cotangent(&values)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_gradient_of_every_head_equals_central_differences() {
    let x = numbers::<f64>(N * D, 1);
    for (json, expected) in heads() {
        let mut rig = Rig::<f64>::new(json);
        with_targets(expected, |targets| {
            let pass = rig.pass(&x, targets, Wanted::Loss);
            assert_eq!(pass.report.loss, rig.loss(rig.values.as_slice(), &x, targets), "{json}: loss alone");
            central_differences(json, &pass.dx, &x, |x| rig.loss(rig.values.as_slice(), x, targets));
            for (slot, entry) in rig.table.entries().iter().enumerate() {
                let gradient = pass.dparams.tensor(&rig.table, slot);
                if !entry.spec.trained || !rig.slots.contains(&slot) {
                    assert!(gradient.iter().all(|&g| g == 0.0), "{json}: {} is fixed", entry.id);
                    continue;
                }
                assert!(gradient.iter().any(|&g| g != 0.0), "{json}: {} has a gradient", entry.id);
                let at = rig.values.tensor(&rig.table, slot).to_vec();
                central_differences(&format!("{json}: {}", entry.id), gradient, &at, |tensor| {
                    let mut values = rig.values.clone();
                    values.tensor_mut(&rig.table, slot).copy_from_slice(tensor);
                    rig.loss(values.as_slice(), &x, targets)
                });
            }
        });
    }
}

#[test]
fn every_weighted_gradient_of_every_head_equals_central_differences() {
    let x = numbers::<f64>(N * D, 1);
    let given: Vec<f64> = (0..N).map(|i| 0.25 + (i % 5) as f64).collect();
    let weights = RowWeights::new(&given);
    for (json, expected) in heads().into_iter().filter(|(_, expected)| *expected != Expected::Cotangent) {
        let mut rig = Rig::<f64>::new(json);
        with_targets(expected, |targets| {
            let targets = WeightedTargets { targets, weights };
            let pass = rig.weighted_pass(&x, targets, Wanted::Loss);
            let loss = |values: &[f64], x: &[f64]| rig.weighted_loss(values, x, targets);
            central_differences(json, &pass.dx, &x, |x| loss(rig.values.as_slice(), x));
            for &slot in rig.slots.iter().filter(|&&slot| rig.table.entry(slot).spec.trained) {
                let at = rig.values.tensor(&rig.table, slot).to_vec();
                central_differences(json, pass.dparams.tensor(&rig.table, slot), &at, |tensor| {
                    let mut values = rig.values.clone();
                    values.tensor_mut(&rig.table, slot).copy_from_slice(tensor);
                    loss(values.as_slice(), &x)
                });
            }
        });
    }
}

#[test]
fn a_weight_multiplies_the_loss_of_its_feature_and_neither_counts_nor_errors() {
    let x = numbers::<f64>(N * D, 1);
    for (json, expected) in heads().into_iter().filter(|(_, expected)| *expected != Expected::Cotangent) {
        let mut rig = Rig::<f64>::new(json);
        with_targets(expected, |targets| {
            let equal = rig.pass(&x, targets, Wanted::Accuracy);
            let mut weighted = |given: &[f64]| {
                let targets = WeightedTargets { targets, weights: RowWeights::new(given) };
                let pass = rig.weighted_pass(&x, targets, Wanted::Accuracy);
                (pass, targets.weight(equal.report.count))
            };
            let (ones, weight) = weighted(&[1.0; N]);
            assert_eq!((ones.report, &ones.dx, weight), (equal.report, &equal.dx, equal.report.count as f64));
            let (threes, weight) = weighted(&[3.0; N]);
            assert_eq!(weight, 3.0 * equal.report.count as f64, "{json}");
            assert_close(json, &[threes.report.loss], &[3.0 * equal.report.loss], 1e-14);
            assert_eq!(HeadReport { loss: equal.report.loss, ..threes.report }, equal.report, "{json}");
            let rows: Vec<f64> = (0..N).map(|i| i as f64).collect();
            let (mixed, _) = weighted(&rows);
            let scaled: Vec<f64> = equal.dx.iter().enumerate().map(|(i, g)| (i / D) as f64 * g).collect();
            assert_close(json, &mixed.dx, &scaled, 1e-13);
        });
    }
}

#[test]
fn parameter_gradients_add_up_and_a_frozen_tensor_gets_none() {
    let mut rig = Rig::<f64>::new(r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"softmax"}}"#);
    let (x, classes) = (numbers::<f64>(N * D, 1), classes());
    let once = rig.pass(&x, Targets::Classes(&classes), Wanted::Loss);
    let mut trainable = TensorMasks::declared(&rig.table).trainable;
    trainable[rig.slots[1]] = false;
    let mut twice = Arena::zeros(rig.table.buffer_len());
    let mut grads = Grads::new(twice.as_mut_slice(), &rig.table, &rig.slots, &trainable);
    let params = Params::new(rig.values.as_slice(), &rig.table, &rig.slots);
    for _ in 0..2 {
        let targets = WeightedTargets::equal(Targets::Classes(&classes));
        let pass = features_pass(params, N, &mut rig.scratch);
        rig.head.forward_backward(pass, &x, targets, Wanted::Loss, None, Some(&mut grads));
    }
    for (slot, entry) in rig.table.entries().iter().enumerate() {
        let factor = if entry.id == "head.projection.bias" { 0.0 } else { 2.0 };
        let expected: Vec<f64> = once.dparams.tensor(&rig.table, slot).iter().map(|g| factor * g).collect();
        assert_close(&entry.id, twice.tensor(&rig.table, slot), &expected, 1e-14);
    }
}

#[test]
fn the_tensors_have_the_documented_names_shapes_and_decay() {
    let table = |json: &str| -> Vec<(String, Vec<usize>, bool, bool)> {
        let rig = Rig::<f32>::new(json);
        let specs = rig.slots.iter().map(|&slot| &rig.table.entry(slot).spec);
        specs.map(|s| (s.id.clone(), s.shape.clone(), s.decay, s.trained)).collect()
    };
    let row = |id: &str, shape: &[usize], decay, trained| (id.to_owned(), shape.to_vec(), decay, trained);
    assert_eq!(
        table(r#"{"kind":"prototype","n_classes":9}"#),
        [
            row("head.projection.weight", &[8, D], true, true),
            row("head.projection.bias", &[8], false, true),
            row("head.prototypes", &[9, 8], false, false),
            row("head.scale", &[1], false, true),
        ]
    );
    assert_eq!(
        table(
            r#"{"kind":"prototype","n_classes":9,"dim":6,"projection":"identity","loss":{"kind":"cosine"}}"#
        ),
        [row("head.prototypes", &[9, 6], false, false)]
    );
    assert_eq!(
        table(
            r#"{"kind":"prototype","n_classes":9,"dim":4,"prototypes":"learnable","loss":{"kind":"margin"}}"#
        )[2],
        row("head.prototypes", &[9, 4], false, true)
    );
    assert_eq!(
        table(r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"joint","low":0,"high":1}}"#)[2],
        row("head.prototypes", &[9, 8], false, false)
    );
    assert_eq!(
        table(r#"{"kind":"linear","n_outputs":9,"bias":true}"#),
        [row("lm_head.weight", &[9, D], true, true), row("lm_head.bias", &[9], false, true)]
    );
    assert_eq!(table(r#"{"kind":"linear","n_outputs":9,"tied":true}"#)[0].0, "embedding.weight");
}

#[test]
fn scores_are_cosines_numbers_or_logits_and_agree_with_the_counted_predictions() {
    let x = numbers::<f64>(N * D, 1);
    for (json, expected) in heads() {
        let mut rig = Rig::<f64>::new(json);
        let scores = rig.scores(&x);
        let (Expected::Classes(count) | Expected::Joint(count)) = expected else { continue };
        let width = rig.head.n_scores();
        let rows = || scores.chunks_exact(width).zip(classes());
        if json.contains("prototype") {
            assert!(
                rows().all(|(row, _)| row[..count].iter().all(|c| c.abs() <= 1.0 + 1e-12)),
                "{json}: {scores:?}"
            );
        }
        let right = rows().filter(|(row, class)| {
            let best = (0..count).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            best as i32 == *class
        });
        let right = right.count() as u64;
        let report = with_targets(expected, |targets| rig.pass(&x, targets, Wanted::Accuracy).report);
        assert_eq!(
            (report.count, report.scored, report.correct),
            (N as u64 - 1, N as u64 - 1, right),
            "{json}"
        );
    }
}

#[test]
fn a_regression_predicts_in_the_units_of_the_values_and_reports_its_errors() {
    for (json, width, at) in [
        (r#"{"kind":"prototype","loss":{"kind":"regression","low":10.0,"high":30.0}}"#, 1, 0),
        (r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"joint","low":10.0,"high":30.0}}"#, 10, 9),
        (r#"{"kind":"linear","n_outputs":1,"loss":"squared"}"#, 1, 0),
    ] {
        let mut rig = Rig::<f64>::new(json);
        let x = numbers::<f64>(N * D, 1);
        let (values, classes) = (vec![17.0; N], vec![3; N]);
        let predicted: Vec<f64> = rig.scores(&x).chunks_exact(width).map(|row| row[at]).collect();
        let targets = match width {
            1 => Targets::Values(&values),
            _ => Targets::Joint { classes: &classes, values: &values },
        };
        let report = rig.pass(&x, targets, Wanted::Loss).report;
        let squared: f64 = predicted.iter().map(|p| (p - 17.0).powi(2)).sum();
        let absolute: f64 = predicted.iter().map(|p| (p - 17.0).abs()).sum();
        assert_close(json, &[report.squared_error, report.absolute_error], &[squared, absolute], 1e-12);
        assert_eq!(report.count, N as u64);
    }
}

#[test]
fn a_number_that_is_missing_has_no_loss_no_gradient_and_no_count() {
    let x = numbers::<f64>(N * D, 1);
    let classes = classes();
    for (json, k, at) in [
        (r#"{"kind":"prototype","loss":{"kind":"regression","low":-1.0,"high":3.0}}"#, 1, 0),
        (r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"joint","low":-1.0,"high":3.0}}"#, 1, 9),
        (r#"{"kind":"linear","n_outputs":3,"loss":"squared","bias":true}"#, 3, 0),
    ] {
        let mut rig = Rig::<f64>::new(json);
        let mut values = numbers::<f64>(N * k, 9);
        // Row 2 has no number at all; of several, others lack one.
        values[2 * k..3 * k].fill(f64::NAN);
        values[5 * k + k / 2] = f64::NAN;
        let is_joint = json.contains("joint");
        let has_class = |row: usize| !is_joint || classes[row] >= 0;
        let targets = if is_joint {
            Targets::Joint { classes: &classes, values: &values }
        } else {
            Targets::Values(&values)
        };
        let pass = rig.pass(&x, targets, Wanted::Loss);
        let scores = rig.scores(&x);
        let width = rig.head.n_scores();
        let errors = (0..N * k)
            .filter(|&i| !values[i].is_nan() && has_class(i / k))
            .map(|i| scores[i / k * width + at + i % k] - values[i]);
        let squared: f64 = errors.clone().map(|e| e * e).sum();
        let absolute: f64 = errors.clone().map(f64::abs).sum();
        assert_eq!(pass.report.count as usize, errors.count(), "{json}");
        assert_close(
            json,
            &[pass.report.squared_error, pass.report.absolute_error],
            &[squared, absolute],
            1e-12,
        );
        assert!(pass.dx[2 * D..3 * D].iter().all(|&g| g == 0.0), "{json}: gradient without a number");
        central_differences(json, &pass.dx, &x, |x| rig.loss(rig.values.as_slice(), x, targets));
        for &slot in rig.slots.iter().filter(|&&slot| rig.table.entry(slot).spec.trained) {
            let at = rig.values.tensor(&rig.table, slot).to_vec();
            central_differences(json, pass.dparams.tensor(&rig.table, slot), &at, |tensor| {
                let mut values = rig.values.clone();
                values.tensor_mut(&rig.table, slot).copy_from_slice(tensor);
                rig.loss(values.as_slice(), &x, targets)
            });
        }
    }
}

#[test]
fn training_with_the_cosine_loss_reads_only_the_targets_prototypes() {
    let mut rig = Rig::<f64>::new(r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"cosine"}}"#);
    let (x, classes) = (numbers::<f64>(N * D, 1), vec![2; N]);
    let before = rig.pass(&x, Targets::Classes(&classes), Wanted::Loss);
    let prototypes = rig.values.tensor_mut(&rig.table, rig.slots[2]);
    prototypes[..2 * 8].fill(f64::NAN);
    prototypes[3 * 8..].fill(f64::NAN);
    let after = rig.pass(&x, Targets::Classes(&classes), Wanted::Loss);
    assert_eq!((before.report, before.dx), (after.report, after.dx));
    assert_eq!(before.dparams.as_slice(), after.dparams.as_slice());
}

#[test]
fn above_4096_classes_accuracy_is_sampled_only_where_the_loss_computes_no_scores() {
    let json = r#"{"kind":"prototype","n_classes":5000,"projection":"identity","prototypes":"random","loss":{"kind":"cosine"}}"#;
    let mut rig = Rig::<f32>::new(json);
    let n = 600;
    rig.scratch = vec![0.0; rig.head.scratch(n)];
    // Every feature is its class's prototype, so every prediction is right.
    let classes: Vec<i32> = (0..n as i32).map(|i| i * 8).collect();
    let prototypes = rig.values.tensor(&rig.table, rig.slots[0]);
    let x: Vec<f32> = classes.iter().flat_map(|&c| prototypes[c as usize * D..][..D].to_vec()).collect();
    let report = rig.pass(&x, Targets::Classes(&classes), Wanted::Accuracy).report;
    // Every third row.
    assert_eq!((report.count, report.scored, report.correct), (600, 200, 200));
    let mut found = Predictions::default();
    let report = rig.pass(&x, Targets::Classes(&classes), Wanted::Predictions(&mut found)).report;
    assert_eq!((report.scored, report.correct), (600, 600));
    assert!(found.classes.iter().zip(&classes).all(|(best, class)| i64::from(*best) == i64::from(*class)));
    for loss in ["{\"kind\":\"softmax\"}", "{\"kind\":\"margin\"}"] {
        let mut rig = Rig::<f32>::new(&json.replace("{\"kind\":\"cosine\"}", loss));
        rig.scratch = vec![0.0; rig.head.scratch(n)];
        let report = rig.pass(&x, Targets::Classes(&classes), Wanted::Accuracy).report;
        assert_eq!((report.count, report.scored, report.correct), (600, 600, 600), "{loss}");
    }
}

#[test]
fn a_training_pass_returns_predicted_numbers_too() {
    let linear = r#"{"kind":"linear","n_outputs":2,"loss":"squared","bias":true}"#;
    let pole = r#"{"kind":"prototype","loss":{"kind":"regression","low":-2.0,"high":3.0}}"#;
    let joint = r#"{"kind":"prototype","n_classes":3,"loss":{"kind":"joint","low":-2.0,"high":3.0}}"#;
    let x = numbers::<f64>(N * D, 1);
    let classes: Vec<i32> = (0..N as i32).map(|i| i % 3).collect();
    for (json, width, first) in [(linear, 2, 0), (pole, 1, 0), (joint, 1, 3)] {
        let mut rig = Rig::<f64>::new(json);
        let values = numbers::<f64>(N * width, 2);
        let targets = if json == joint {
            Targets::Joint { classes: &classes, values: &values }
        } else {
            Targets::Values(&values)
        };
        let mut found = Predictions::default();
        let report = rig.pass(&x, targets, Wanted::Predictions(&mut found)).report;
        let mut scores = vec![0.0; N * rig.head.n_scores()];
        let params = Params::new(rig.values.as_slice(), &rig.table, &rig.slots);
        rig.head.scores(features_pass(params, N, &mut rig.scratch), &x, &mut scores);
        let expected: Vec<f64> =
            scores.chunks(rig.head.n_scores()).flat_map(|row| row[first..].to_vec()).collect();
        assert_close("numbers", &found.numbers, &expected, 1e-12);
        let errors = found.numbers.iter().zip(&values).map(|(a, b)| (a - b) * (a - b));
        assert_close("errors", &[report.squared_error], &[errors.sum()], 1e-12);
        assert_eq!(found.classes.len(), if json == joint { N } else { 0 });
    }
}

#[test]
fn points_are_on_the_sphere_and_their_products_with_the_prototypes_are_the_scores() {
    let x = numbers::<f64>(N * D, 1);
    for (json, _) in heads() {
        let mut rig = Rig::<f64>::new(json);
        let (scores, width) = (rig.scores(&x), rig.head.embedding_width());
        let mut points = vec![f64::NAN; N * width];
        let params = Params::new(rig.values.as_slice(), &rig.table, &rig.slots);
        rig.head.embed(features_pass(params, N, &mut rig.scratch), &x, &mut points);
        assert_eq!(width > 0, json.contains("prototype"), "{json}");
        for point in points.chunks(width.max(1)) {
            let square: f64 = point.iter().map(|x| x * x).sum();
            assert!((square - 1.0).abs() < 1e-12, "{json}: {square}");
        }
        let Some(at) = rig.slots.iter().find(|slot| rig.table.entry(**slot).id == "head.prototypes") else {
            continue;
        };
        let mut prototypes = vec![0.0; rig.values.tensor(&rig.table, *at).len()];
        losses::directions(rig.values.tensor(&rig.table, *at), &mut prototypes, width);
        for (row, point) in scores.chunks(rig.head.n_scores()).zip(points.chunks(width)) {
            for (score, p) in row.iter().zip(prototypes.chunks(width)) {
                let product: f64 = p.iter().zip(point).map(|(p, z)| p * z).sum();
                assert!((score - product).abs() < 1e-12, "{json}: {score}, {product}");
            }
        }
    }
}

#[test]
fn a_smoothed_linear_loss_is_the_cross_entropy_with_the_targets_of_the_formula() {
    let share = 0.2;
    let mut rig = Rig::<f64>::new(r#"{"kind":"linear","n_outputs":9,"bias":true,"smoothing":0.2}"#);
    let (x, classes) = (numbers(N * D, 5), classes());
    let weights: Vec<f64> = (0..N).map(|i| 0.5 + i as f64).collect();
    let targets = WeightedTargets { targets: Targets::Classes(&classes), weights: RowWeights::new(&weights) };
    let found = rig.weighted_pass(&x, targets, Wanted::Loss).report;
    let scores = rig.scores(&x);
    let rows = scores.chunks_exact(9).zip(&classes).zip(&weights).filter(|((_, class), _)| **class >= 0);
    let losses = rows.map(|((row, &class), weight)| {
        let log_sum = row.iter().map(|score| score.exp()).sum::<f64>().ln();
        let target = |k: usize| share / 9.0 + if k == class as usize { 1.0 - share } else { 0.0 };
        weight * row.iter().enumerate().map(|(k, score)| target(k) * (log_sum - score)).sum::<f64>()
    });
    assert_close("loss", &[found.loss], &[losses.sum()], 1e-13);
    assert_eq!(found.count, (N - 1) as u64);
}

#[test]
fn the_scale_turns_cosines_into_logits() {
    for (json, expected) in [
        (r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"softmax","scale":5.0}}"#, 5.0),
        (r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"margin","scale":6.0}}"#, 6.0),
        (r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"cosine"}}"#, 1.0),
        (r#"{"kind":"linear","n_outputs":9}"#, 1.0),
    ] {
        let rig = Rig::<f64>::new(json);
        let params = Params::new(rig.values.as_slice(), &rig.table, &rig.slots);
        assert_eq!(rig.head.logit_scale(&params), expected, "{json}");
    }
}
