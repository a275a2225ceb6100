//! Properties of every model: causality, equal results by every way to compute them, growing and freezing.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{
    CLASSES, FEATURES, LAYERS, WIDTH, batch, bits, config, disturb, documents, language_model, masked,
    relative, session, to_f64,
};
use serde_json::json;
use ssm_hpn::data::{Batch, Input, Segment};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ActivationMemory, ExpandPlan, FreezeSpec, ModelConfig};
use ssm_hpn::session::Session;
use ssm_hpn::target::arrays::{Element, Per};
use ssm_hpn::target::{Target, Values};
use ssm_hpn::{Error, Scalar};

/// Bound for sums in f64 taken in another order, relative.
const ROUNDING: f64 = 1e-12;

fn tokens(batch: &Batch) -> &[u32] {
    let Input::Tokens(ids) = &batch.input else { panic!("a batch of tokens") };
    ids
}

pub(crate) fn trained<T: Scalar>(config: &ModelConfig) -> Session<T> {
    let mut session = session(config);
    disturb(&mut session, 0.2);
    session
}

pub(crate) fn gradients<T: Scalar>(session: &mut Session<T>, batches: &[Batch]) -> Vec<f64> {
    session.zero_grad().unwrap();
    for batch in batches {
        session.forward_backward(batch, Accuracy::Skip).unwrap();
    }
    to_f64(session.flat_gradients())
}

#[test]
fn a_token_changes_no_score_before_it() {
    let config = language_model();
    let session = trained::<f32>(&config);
    let (length, changed) = (40, 17);
    let mut batch = batch(&config, 2, length, None, 1);
    let before = session.predict(&batch).unwrap();
    let mut ids = tokens(&batch).to_vec();
    ids[length + changed] = (ids[length + changed] + 1) % CLASSES as u32;
    batch.input = Input::Tokens(ids);
    let after = session.predict(&batch).unwrap();
    let first_changed = (length + changed) * CLASSES;
    assert_eq!(before[..first_changed], after[..first_changed]);
    for t in (length + changed)..2 * length {
        assert_ne!(before[t * CLASSES..][..CLASSES], after[t * CLASSES..][..CLASSES], "token {t}");
    }
}

#[test]
fn a_model_read_in_pieces_or_token_by_token_scores_like_the_whole() {
    let pooled = |pooling| {
        let target = json!({"kind": "sequence_class", "pooling": pooling});
        config("features", target, json!({"kind": "prototype", "n_classes": CLASSES}))
    };
    for config in [language_model(), pooled("last"), pooled("mean"), pooled("max")] {
        reads_in_pieces_like_the_whole(&config, &mut trained(&config));
    }
}

/// Reads one token at a time, all at once, and in pieces of several lengths.
pub(crate) fn reads_in_pieces_like_the_whole(config: &ModelConfig, session: &mut Session<f64>) {
    let (rows, length) = (2, 70);
    let whole = batch(config, rows, length, None, 3);
    let input = |from: usize, to: usize| match &whole.input {
        Input::Tokens(ids) => {
            Input::Tokens((0..rows).flat_map(|r| ids[r * length + from..r * length + to].to_vec()).collect())
        }
        Input::Features(x) => {
            let row = |r: usize| x[(r * length + from) * FEATURES..(r * length + to) * FEATURES].to_vec();
            Input::Features((0..rows).flat_map(row).collect())
        }
    };
    for pieces in [vec![1; length], vec![length], vec![33, 1, 2, 16, 1, 17]] {
        let mut stream = session.stream(rows).unwrap();
        let mut at = 0;
        for piece in pieces {
            let scores = session.read(&mut stream, &input(at, at + piece), piece).unwrap().to_vec();
            at += piece;
            let mut so_far = Batch::whole(rows, at, input(0, at), Target::none());
            so_far.segments.iter_mut().for_each(|s| s.end = at as u32);
            let (expected, features) = session.predict_with_features(&so_far).unwrap();
            assert_eq!(expected, session.predict(&so_far).unwrap());
            let last = |numbers: &[f64], width: usize| -> Vec<f64> {
                let per_row = numbers.len() / rows;
                numbers.chunks(per_row).flat_map(|row| row[per_row - width..].to_vec()).collect()
            };
            let width = config.d_model;
            assert!(relative(&scores, &last(&expected, CLASSES)) <= ROUNDING, "{:?} at {at}", config.target);
            assert!(
                relative(stream.features(), &last(&features, width)) <= ROUNDING,
                "{:?} at {at}",
                config.target
            );
        }
        assert_eq!(stream.position(), length as u64);
    }
}

#[test]
fn a_linear_head_times_the_features_are_its_scores() {
    let target = json!({"kind": "sequence_class", "pooling": "mean"});
    let config = config("features", target, json!({"kind": "linear", "n_outputs": CLASSES}));
    let session = trained::<f64>(&config);
    let (scores, features) = session.predict_with_features(&batch(&config, 3, 20, None, 3)).unwrap();
    let (_, weight) = session.parameter("lm_head.weight").unwrap();
    let product = features.chunks(config.d_model).flat_map(|x| {
        weight.chunks(config.d_model).map(|w| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>())
    });
    assert!(relative(&scores, &product.collect::<Vec<_>>()) <= ROUNDING);
}

#[test]
fn a_prompt_longer_than_one_chunk_of_reading_scores_like_the_whole() {
    let tokens = language_model();
    let features =
        config("features", json!({"kind": "token_class"}), json!({"kind": "linear", "n_outputs": CLASSES}));
    for config in [tokens, features] {
        let session = trained::<f64>(&config);
        let (rows, length) = (2, 1100);
        let whole = batch(&config, rows, length, None, 3);
        let expected = session.predict(&whole).unwrap();
        let mut stream = session.stream(rows).unwrap();
        let scores = session.read(&mut stream, &whole.input, length).unwrap().to_vec();
        let last = expected.chunks(length * CLASSES).flat_map(|row| row[(length - 1) * CLASSES..].to_vec());
        assert!(relative(&scores, &last.collect::<Vec<_>>()) <= ROUNDING, "{:?}", config.input);
    }
}

#[test]
fn a_reset_stream_scores_like_a_new_one() {
    let config = language_model();
    let session = trained::<f32>(&config);
    let mut stream = session.stream(1).unwrap();
    let input = Input::Tokens(vec![1, 2, 3]);
    let first = session.read(&mut stream, &input, 3).unwrap().to_vec();
    assert_ne!(session.read(&mut stream, &input, 3).unwrap(), first);
    stream.reset();
    assert_eq!(session.read(&mut stream, &input, 3).unwrap(), first);
}

/// Each document of a packed batch as a batch of its own.
fn separate(packed: &Batch) -> Vec<Batch> {
    let single = |(index, segment): (usize, &Segment)| {
        let (start, end) = (segment.start as usize, segment.end as usize);
        let positions =
            segment.row as usize * packed.length + start..segment.row as usize * packed.length + end;
        let slice = |width: usize| positions.start * width..positions.end * width;
        let input = match &packed.input {
            Input::Tokens(ids) => Input::Tokens(ids[slice(1)].to_vec()),
            Input::Features(x) => Input::Features(x[slice(x.len() / (packed.rows * packed.length))].to_vec()),
        };
        let target = Target::of(packed.target.arrays().map(|(array, values)| {
            let part = |width: usize| match array.per {
                Per::Token => slice(width),
                Per::Document => index * width..(index + 1) * width,
            };
            let documents = packed.segments.len();
            let values = match values {
                Values::Classes(classes) => Values::Classes(classes[part(1)].to_vec()),
                Values::Numbers(x) => Values::Numbers(x[part(x.len() / documents)].to_vec()),
            };
            (array, values)
        }));
        let mask = packed.mask.as_ref().map(|mask| mask[slice(1)].to_vec());
        Batch { mask, ..Batch::whole(1, end - start, input, target) }
    };
    packed.segments.iter().enumerate().map(single).collect()
}

#[test]
fn packed_documents_give_the_outputs_and_gradients_of_separate_ones() {
    let linear = json!({"kind": "linear", "n_outputs": CLASSES});
    let squared = json!({"kind": "linear", "n_outputs": 2, "loss": "squared"});
    let [mean, last] = ["mean", "last"].map(|way| json!({"kind": "sequence_class", "pooling": way}));
    let numbers = json!({"kind": "sequence_values", "pooling": "max", "n_values": 2});
    let models = [
        language_model(),
        config("features", mean, linear.clone()),
        config("features", last, linear),
        config("features", numbers, squared),
    ];
    for config in models {
        let mut session = trained(&config);
        packed_is_like_separate(&config, &mut session);
        like_separate(&config, &mut session, masked(packed_batch(&config)));
    }
}

/// Rows of several documents.
fn packed_batch(config: &ModelConfig) -> Batch {
    let (rows, length) = (3, 45);
    batch(config, rows, length, Some(documents(rows, length)), 4)
}

/// Hidden states and gradients of rows of several documents against those of each document alone.
pub(crate) fn packed_is_like_separate(config: &ModelConfig, session: &mut Session<f64>) {
    like_separate(config, session, packed_batch(config));
}

fn like_separate(config: &ModelConfig, session: &mut Session<f64>, packed: Batch) {
    let alone = separate(&packed);
    let hidden = session.hidden(&packed).unwrap();
    for (segment, batch) in packed.segments.iter().zip(&alone) {
        let from = (segment.row as usize * packed.length + segment.start as usize) * WIDTH;
        let found = &hidden[from..from + batch.length * WIDTH];
        assert!(relative(found, &session.hidden(batch).unwrap()) <= ROUNDING, "{segment:?}");
    }
    let together = gradients(session, &[packed]);
    let apart = gradients(session, &alone);
    assert!(relative(&together, &apart) <= ROUNDING, "{:?}", config.target);
}

/// The targets without those of tokens at or after `ends` in each row.
fn cut(target: &Target, length: usize, ends: &[usize]) -> Target {
    let mut target = target.clone();
    let tokens = length * ends.len();
    if let Some(classes) = target.classes_mut().filter(|classes| classes.len() == tokens) {
        for (classes, &end) in classes.chunks_mut(length).zip(ends) {
            classes[end..].fill(-1);
        }
    }
    target
}

#[test]
fn a_mask_that_cuts_off_the_ends_gives_the_bits_of_shorter_documents() {
    let linear = json!({"kind": "linear", "n_outputs": CLASSES});
    let squared = json!({"kind": "linear", "n_outputs": 2, "loss": "squared"});
    let mut models =
        vec![language_model(), config("features", json!({"kind": "token_class"}), linear.clone())];
    for pooling in ["last", "mean", "max"] {
        let target = json!({"kind": "sequence_class", "pooling": pooling});
        models.push(config("tokens", target, linear.clone()));
        let target = json!({"kind": "sequence_values", "pooling": pooling, "n_values": 2});
        models.push(config("features", target, squared.clone()));
    }
    let (rows, length, ends) = (3, 40, [40, 7, 33]);
    for config in models {
        let whole = batch(&config, rows, length, None, 21);
        let mut short = Batch { target: cut(&whole.target, length, &ends), ..whole.clone() };
        short.segments.iter_mut().zip(ends).for_each(|(s, end)| s.end = end as u32);
        let mask = ends.iter().flat_map(|&end| (0..length).map(move |t| u8::from(t < end)));
        let masked = Batch { mask: Some(mask.collect()), ..whole };
        let run = |batch: &Batch| {
            let mut session = trained::<f32>(&config);
            let evaluated = session.evaluate(batch).unwrap();
            let scores = session.predict(batch).unwrap();
            let report = session.forward_backward(batch, Accuracy::Count).unwrap();
            (evaluated, scores, report, session.flat_gradients().to_vec())
        };
        let (found, expected) = (run(&masked), run(&short));
        assert!(found == expected, "{:?}: {:?} {:?}", config.target, found.2, expected.2);
        assert!(expected.2.count > 0);
    }
}

#[test]
fn a_masked_token_has_the_loss_and_gradients_of_one_without_a_class() {
    let config = language_model();
    let plain = batch(&config, 2, 30, Some(documents(2, 30)), 22);
    let with_mask = masked(plain.clone());
    let mut by_class = plain;
    let classes = by_class.target.classes_mut().expect("classes");
    for (class, mask) in classes.iter_mut().zip(with_mask.mask.as_ref().unwrap()) {
        *class = if *mask == 0 { -1 } else { *class };
    }
    let mut session = trained::<f32>(&config);
    let (found, expected) = (session.evaluate(&with_mask).unwrap(), session.evaluate(&by_class).unwrap());
    assert!(found == expected && found.sums.count > 0, "{found:?} {expected:?}");
    assert_eq!(gradients(&mut session, &[with_mask]), gradients(&mut session, &[by_class]));
}

#[test]
fn a_fully_masked_document_scores_like_a_feature_of_zeros_and_adds_no_gradient() {
    let bias = json!({"kind": "linear", "n_outputs": CLASSES, "bias": true});
    for pooling in ["last", "mean", "max"] {
        let config = config("features", json!({"kind": "sequence_class", "pooling": pooling}), bias.clone());
        let mut session = trained::<f64>(&config);
        let mut data = batch(&config, 2, 5, None, 23);
        data.mask = Some([[1; 5], [0; 5]].concat());
        data.target = Target::sequence_class(vec![2, -1]);
        let scores = session.predict(&data).unwrap();
        assert_eq!(scores[CLASSES..], *session.parameter("lm_head.bias").unwrap().1, "{pooling}");
        let mut first = separate(&data);
        first.truncate(1);
        let (together, alone) = (gradients(&mut session, &[data]), gradients(&mut session, &first));
        assert!(relative(&together, &alone) <= ROUNDING, "{pooling}");
    }
}

#[test]
fn a_missing_number_has_no_part_in_loss_and_gradients() {
    let squared = json!({"kind": "linear", "n_outputs": 2, "loss": "squared"});
    let target = json!({"kind": "sequence_values", "pooling": "mean", "n_values": 2});
    let config = config("features", target, squared);
    let mut session = trained::<f64>(&config);
    let mut data = batch(&config, 3, 12, None, 24);
    let values = data.target.numbers_mut().expect("numbers");
    values[1] = f32::NAN;
    values[4..].fill(f32::NAN);
    let report = session.evaluate(&data).unwrap().sums;
    let scores = session.predict(&data).unwrap();
    let (_, values) = data.target.numbers(Element::Number).expect("numbers");
    let errors = [0, 2, 3].map(|i: usize| scores[i] - f64::from(values[i]));
    let (squares, sizes) = (errors.map(|e| e * e), errors.map(f64::abs));
    assert!(relative(&[report.loss], &[squares.iter().sum::<f64>() / 3.0]) <= ROUNDING);
    assert!(relative(&[report.squared_error], &[squares.iter().sum()]) <= ROUNDING);
    assert!(relative(&[report.absolute_error], &[sizes.iter().sum()]) <= ROUNDING);
    assert_eq!(report.count, 3);
    let mut known = separate(&data);
    known.truncate(2);
    let (together, alone) = (gradients(&mut session, &[data]), gradients(&mut session, &known));
    assert!(relative(&together, &alone) <= ROUNDING);
    assert_eq!(session.count(), 3);
}

#[test]
fn micro_batches_of_any_size_give_the_gradient_of_the_mean() {
    let config = language_model();
    let mut session = trained::<f64>(&config);
    let whole = batch(&config, 4, 12, Some(documents(4, 12)), 5);
    let expected = gradients(&mut session, std::slice::from_ref(&whole));
    let count = session.count();
    let alone = separate(&whole);
    assert!(relative(&gradients(&mut session, &alone), &expected) <= ROUNDING);
    assert_eq!(session.count(), count);
    let gradient = session.gradient("layers.0.mixer.D").unwrap().1;
    let mut again = trained::<f64>(&config);
    again.forward_backward(&whole, Accuracy::Skip).unwrap();
    assert!(relative(&gradient, &again.gradient("backbone.layers.0.mixer.D").unwrap().1) <= ROUNDING);
}

#[test]
fn padding_and_documents_without_targets_add_no_gradient() {
    let config = language_model();
    let mut session = trained::<f64>(&config);
    let mut batch = batch(&config, 2, 10, None, 6);
    batch.segments[1].end = 4;
    let classes = batch.target.classes_mut().expect("classes");
    classes[13..].fill(-1);
    let expected = gradients(&mut session, std::slice::from_ref(&batch));
    let mut ids = tokens(&batch).to_vec();
    ids[14..].fill(0);
    batch.input = Input::Tokens(ids);
    assert_eq!(gradients(&mut session, std::slice::from_ref(&batch)), expected);
    batch.target = Target::token_class(vec![-1; 20]);
    let report = session.forward_backward(&batch, Accuracy::Count).unwrap();
    assert_eq!((report.loss, report.loss_sum, report.count), (0.0, 0.0, 0));
    assert_eq!(to_f64(session.flat_gradients()), expected);
}

#[test]
fn without_any_target_an_update_changes_nothing() {
    let config = language_model();
    let mut session = trained::<f32>(&config);
    let before = bits(&session);
    let mut batch = batch(&config, 1, 5, None, 7);
    batch.target = Target::token_class(vec![-1; 5]);
    session.forward_backward(&batch, Accuracy::Skip).unwrap();
    let report = session.apply().unwrap();
    assert_eq!((report.applied, report.step, report.skipped, report.count), (false, 0, 0, 0));
    assert_eq!(bits(&session), before);
    assert!(matches!(session.apply(), Err(Error::Shape { .. })), "an update without a micro-batch");
}

#[test]
fn kept_and_recomputed_activations_give_the_same_bits() {
    let mut config = language_model();
    let data = batch(&config, 3, 20, Some(documents(3, 20)), 8);
    let expected = gradients(&mut trained::<f32>(&config), std::slice::from_ref(&data));
    config.activation_memory = ActivationMemory::Recompute;
    let least = session::<f32>(&config).predicted_peak_bytes(3, 20);
    assert_eq!(gradients(&mut trained::<f32>(&config), std::slice::from_ref(&data)), expected);
    config.activation_memory = ActivationMemory::Keep;
    let most = session::<f32>(&config).predicted_peak_bytes(3, 20);
    assert!(least < most, "{least} {most}");
    config.activation_memory = ActivationMemory::Auto;
    config.memory_limit_mb = Some(0);
    assert_eq!(session::<f32>(&config).predicted_peak_bytes(3, 20), least);
    config.memory_limit_mb = Some(100);
    assert_eq!(session::<f32>(&config).predicted_peak_bytes(3, 20), most);
    assert_eq!(gradients(&mut trained::<f32>(&config), std::slice::from_ref(&data)), expected);
    // The limit is in whole megabytes: a longer batch, so that 2 MB keep the activations of some layers and not of all.
    let long = batch(&config, 3, 400, None, 8);
    let expected = gradients(&mut trained::<f32>(&language_model()), std::slice::from_ref(&long));
    config.memory_limit_mb = Some(2);
    let some = session::<f32>(&config).predicted_peak_bytes(3, 400);
    let [keep, recompute] = [ActivationMemory::Keep, ActivationMemory::Recompute].map(|way| {
        let config = ModelConfig { activation_memory: way, ..config.clone() };
        session::<f32>(&config).predicted_peak_bytes(3, 400)
    });
    assert!(recompute < some && some < keep && some <= 2_000_000, "{recompute} {some} {keep}");
    assert_eq!(gradients(&mut trained::<f32>(&config), std::slice::from_ref(&long)), expected);
}

pub(crate) fn plan(text: &str) -> ExpandPlan {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_grown_model_computes_the_same_bits_and_every_new_tensor_learns_within_five_updates() {
    let config = language_model();
    let data = batch(&config, 2, 16, None, 9);
    for (text, expected) in [
        (r#"{"kind":"append","count":2}"#, vec![3, 4]),
        (r#"{"kind":"prepend","count":1,"seed":3}"#, vec![0]),
        (r#"{"kind":"insert","at":1,"count":2}"#, vec![1, 2]),
        (r#"{"kind":"final","positions":[5,0,2]}"#, vec![0, 2, 5]),
    ] {
        let mut session = session::<f32>(&config);
        for _ in 0..2 {
            session.forward_backward(&data, Accuracy::Skip).unwrap();
            session.apply().unwrap();
        }
        let before = session.predict(&data).unwrap();
        assert_eq!(session.expand(&plan(text)).unwrap(), expected);
        assert_eq!(session.model().config().n_layers, LAYERS + expected.len());
        assert_eq!(session.predict(&data).unwrap(), before, "{text}");
        assert_eq!(session.step(), 2);
        let is_new = |id: &str| expected.iter().any(|i| id.starts_with(&format!("layers.{i}.")));
        let rows = session.parameter_table();
        let value = |session: &Session<f32>, id: &str| session.parameter(id).unwrap().1.to_vec();
        let start: Vec<_> = rows.iter().map(|row| value(&session, &row.id)).collect();
        for _ in 0..5 {
            session.forward_backward(&data, Accuracy::Skip).unwrap();
            assert!(session.apply().unwrap().applied);
        }
        for (row, start) in rows.iter().zip(&start).filter(|(row, _)| is_new(&row.id)) {
            assert_ne!(&value(&session, &row.id), start, "{text}: {} has not moved", row.id);
        }
    }
}

#[test]
fn moments_and_update_counts_stay_with_their_layers_when_a_model_grows() {
    // A frozen new layer adds nothing to the residual stream, so that the old layers train as without it.
    let config = language_model();
    let data = batch(&config, 2, 16, None, 10);
    let update = |session: &mut Session<f32>| {
        session.forward_backward(&data, Accuracy::Skip).unwrap();
        session.apply().unwrap();
    };
    let (mut plain, mut grown) = (session::<f32>(&config), session::<f32>(&config));
    (0..3).for_each(|_| update(&mut plain));
    (0..3).for_each(|_| update(&mut grown));
    grown.expand(&plan(r#"{"kind":"insert","at":1,"count":1}"#)).unwrap();
    grown.freeze(&FreezeSpec { layers: vec![1], ..FreezeSpec::default() }).unwrap();
    (0..3).for_each(|_| update(&mut plain));
    (0..3).for_each(|_| update(&mut grown));
    for (old, new) in [(0, 0), (1, 2), (2, 3)] {
        for tensor in ["norm.weight", "mixer.A_log", "mixer.in_proj.weight", "mixer.out_proj.weight"] {
            let value = |session: &Session<f32>, layer: usize| {
                session.parameter(&format!("layers.{layer}.{tensor}")).unwrap().1.to_vec()
            };
            assert_eq!(value(&plain, old), value(&grown, new), "{tensor} of layer {old}");
        }
    }
}

#[test]
fn growing_twice_with_one_seed_does_not_repeat_a_layer() {
    let mut session = session::<f32>(&language_model());
    session.expand(&plan(r#"{"kind":"append","count":1}"#)).unwrap();
    session.expand(&plan(r#"{"kind":"append","count":1}"#)).unwrap();
    let layer = |i: usize| session.parameter(&format!("layers.{i}.mixer.in_proj.weight")).unwrap().1.to_vec();
    assert_ne!(layer(LAYERS), layer(LAYERS + 1));
}

#[test]
fn frozen_tensors_keep_their_bits_and_all_others_learn() {
    let config = language_model();
    let data = batch(&config, 2, 16, None, 11);
    for (text, frozen) in [
        (r#"{"first":2}"#, vec!["layers.0.", "layers.1."]),
        (r#"{"layers":[1],"head":true}"#, vec!["layers.1.", "lm_head."]),
        (r#"{"embedding":true,"first":3}"#, vec!["embedding.", "layers."]),
        (r#"{"patterns":["*.A_log","norm_f.weight"]}"#, vec!["A_log", "norm_f"]),
    ] {
        let mut session = session::<f32>(&config);
        let mut free = crate::common::session::<f32>(&config);
        let ids = session.freeze(&serde_json::from_str::<FreezeSpec>(text).unwrap()).unwrap();
        assert_eq!(ids, session.frozen());
        let rows = session.parameter_table();
        let value = |session: &Session<f32>, id: &str| session.parameter(id).unwrap().1.to_vec();
        let start: Vec<_> = rows.iter().map(|row| value(&session, &row.id)).collect();
        session.forward_backward(&data, Accuracy::Skip).unwrap();
        free.forward_backward(&data, Accuracy::Skip).unwrap();
        for row in rows.iter().filter(|row| row.trainable) {
            let gradient = |session: &Session<f32>| session.gradient(&row.id).unwrap().1;
            assert_eq!(gradient(&session), gradient(&free), "{text}: {}", row.id);
        }
        session.apply().unwrap();
        for _ in 0..2 {
            session.forward_backward(&data, Accuracy::Skip).unwrap();
            session.apply().unwrap();
        }
        for (row, start) in rows.iter().zip(&start) {
            let is_frozen = frozen.iter().any(|part| row.id.contains(part));
            assert_eq!(ids.contains(&row.id), is_frozen, "{text}: {}", row.id);
            assert_eq!(&value(&session, &row.id) == start, is_frozen, "{text}: {}", row.id);
        }
    }
}

#[test]
fn evaluation_scores_agree_with_prediction_and_change_nothing() {
    let config = language_model();
    let session = trained::<f32>(&config);
    let data = batch(&config, 2, 30, Some(documents(2, 30)), 14);
    let before = bits(&session);
    let report = session.evaluate(&data).unwrap();
    let (_, classes) = data.target.classes().expect("classes");
    let scores = session.predict(&data).unwrap();
    let best = |scores: &[f32]| (0..CLASSES).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap() as i64;
    let with_target = || classes.iter().zip(scores.chunks(CLASSES)).filter(|(class, _)| **class >= 0);
    assert_eq!(report.predicted, with_target().map(|(_, s)| best(s)).collect::<Vec<_>>());
    assert_eq!(report.expected, with_target().map(|(c, _)| i64::from(*c)).collect::<Vec<_>>());
    let correct = report.predicted.iter().zip(&report.expected).filter(|(p, e)| p == e).count();
    assert_eq!((report.sums.correct, report.sums.scored), (correct as u64, report.expected.len() as u64));
    assert_eq!(bits(&session), before);
}
