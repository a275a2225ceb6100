//! Stems, blocks of blocks, patterns of layers and dropout: gradients against differences, the same
//! bits by every way to compute them, and refusals in one line.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{
    CLASSES, FEATURES, batch, bits, config, disturb, documents, language_model, masked, numbers, relative,
    session, threads,
};
use crate::gradcheck::agrees_with_differences;
use crate::invariants::{gradients, packed_is_like_separate, reads_in_pieces_like_the_whole};
use serde_json::{Value, json};
use ssm_hpn::data::{Batch, Input, Segment};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ActivationMemory, ExpandPlan, ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::{Sampling, Session};
use ssm_hpn::target::Target;
use ssm_hpn::target::kinds::{self, TargetKind};
use ssm_hpn::{Error, Scalar};

pub(crate) fn mamba() -> Value {
    json!({"kind": "mamba1", "d_state": 5, "d_conv": 3, "expand": 2, "dt_rank": 2})
}

fn mlp() -> Value {
    json!({"kind": "mlp", "expand": 2})
}

fn both_ways() -> Value {
    json!({"kind": "bidirectional", "block": mamba()})
}

fn chain() -> Value {
    json!({"kind": "sequential", "blocks": [mamba(), {"kind": "residual", "block": mlp()}, mlp()]})
}

/// The configuration with some settings replaced.
pub(crate) fn with(config: &ModelConfig, settings: Value) -> ModelConfig {
    let mut json: Value = serde_json::from_str(&config.to_json()).unwrap();
    json.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    ModelConfig::from_json(&json.to_string()).unwrap()
}

/// A model of a class per document, with features as input.
fn series(settings: Value) -> ModelConfig {
    let target = json!({"kind": "sequence_class", "pooling": "mean"});
    with(&config("features", target, json!({"kind": "linear", "n_outputs": CLASSES})), settings)
}

/// A model of a class per token.
fn per_token(settings: Value) -> ModelConfig {
    let target = json!({"kind": "token_class"});
    with(&config("tokens", target, json!({"kind": "linear", "n_outputs": CLASSES})), settings)
}

pub(crate) fn trained<T: Scalar>(config: &ModelConfig) -> Session<T> {
    let mut session = session(config);
    disturb(&mut session, 0.2);
    session
}

fn refused(config: ModelConfig) -> String {
    match Session::<f32>::new(config, OptimConfig::default(), 0, threads(1)) {
        Err(error @ Error::Config { .. }) => error.to_string(),
        other => panic!("{:?}", other.map(drop)),
    }
}

/// Every kind of block, and blocks inside others. Each is tested for all that follows from its capabilities.
pub(crate) fn blocks() -> Vec<Value> {
    let turned = json!({"kind": "bidirectional", "block": chain(), "backward": mamba()});
    let residual = json!({"kind": "residual", "block": mamba()});
    vec![mamba(), mlp(), both_ways(), chain(), turned, residual]
}

/// Whether a block declares itself causal: only then may it predict the next token.
fn is_causal(block: &Value) -> bool {
    let resolved = Registry::<f32>::standard().resolve(with(&language_model(), json!({"block": block})));
    let refused = resolved.err().map(|error| error.to_string());
    assert!(refused.iter().all(|message| message.contains("expected a causal block")), "{refused:?}");
    refused.is_none()
}

/// Whether a block declares itself recurrent: only then can a model of it be read in pieces.
pub(crate) fn is_recurrent(block: &Value) -> bool {
    let refused = session::<f32>(&per_token(json!({"block": block}))).stream(1).err().map(|e| e.to_string());
    assert!(refused.iter().all(|message| message.contains("which sees whole documents")), "{refused:?}");
    refused.is_none()
}

#[test]
fn every_kind_of_block_is_tested() {
    let tested: Vec<Value> = blocks().iter().map(|block| block["kind"].clone()).collect();
    for kind in ssm_hpn::blocks::kinds::ALL {
        assert!(tested.contains(&json!(kind.name)), "{}", kind.name);
    }
}

#[test]
fn gradients_of_every_block_agree_with_differences() {
    for block in blocks() {
        let mut config = per_token(json!({"layers": [mamba(), block, mlp()]}));
        let what = format!("{block}");
        agrees_with_differences(&mut trained(&config), &batch(&config, 2, 6, None, 5), &what);
        config.activation_memory = ActivationMemory::Recompute;
        let packed = batch(&config, 2, 9, Some(documents(2, 9)), 6);
        agrees_with_differences(&mut trained(&config), &packed, &format!("{what}, documents"));
    }
}

#[test]
fn packed_documents_are_like_separate_ones_for_every_block() {
    for block in blocks() {
        let config = per_token(json!({"layers": [block, mamba(), mlp()]}));
        packed_is_like_separate(&config, &mut trained(&config));
    }
}

#[test]
fn padding_changes_nothing_in_a_block_that_reads_backwards() {
    let config = per_token(json!({"block": both_ways()}));
    let session = trained::<f64>(&config);
    let mut padded = batch(&config, 2, 12, None, 3);
    padded.segments[1].end = 7;
    padded.target = Target::none();
    let before = session.predict(&padded).unwrap();
    let Input::Tokens(ids) = &mut padded.input else { panic!("tokens") };
    ids[12 + 7..].iter_mut().for_each(|id| *id = (*id + 1) % CLASSES as u32);
    let after = session.predict(&padded).unwrap();
    let document = 12 * CLASSES..(12 + 7) * CLASSES;
    assert_eq!(before[document.clone()], after[document]);
}

#[test]
fn a_token_changes_scores_before_it_only_with_a_block_that_reads_backwards() {
    for block in blocks() {
        let config = per_token(json!({"layers": [mamba(), mamba(), block]}));
        let session = trained::<f64>(&config);
        let mut data = batch(&config, 1, 10, None, 3);
        let before = session.predict(&data).unwrap();
        let Input::Tokens(ids) = &mut data.input else { panic!("tokens") };
        ids[9] = (ids[9] + 1) % CLASSES as u32;
        let after = session.predict(&data).unwrap();
        assert_eq!(before[..9 * CLASSES] == after[..9 * CLASSES], is_causal(&block), "{block}");
    }
}

#[test]
fn recurrent_blocks_read_in_pieces_like_the_whole() {
    for block in blocks().into_iter().filter(is_recurrent) {
        for layers in [json!([block]), json!([block, mlp(), mamba()])] {
            let config = per_token(json!({"layers": layers}));
            reads_in_pieces_like_the_whole(&config, &mut trained(&config));
        }
    }
}

#[test]
fn recomputed_blocks_have_the_same_bits() {
    for block in blocks() {
        let mut config = per_token(json!({"layers": [block, mlp(), mamba()], "dropout": 0.2}));
        let data = [batch(&config, 3, 20, Some(documents(3, 20)), 8)];
        let kept = gradients(&mut trained::<f32>(&config), &data);
        config.activation_memory = ActivationMemory::Recompute;
        assert_eq!(gradients(&mut trained::<f32>(&config), &data), kept, "{block}");
    }
}

#[test]
fn a_pattern_is_repeated_and_its_settings_are_resolved() {
    let open = json!({"kind": "mamba1", "d_state": 3, "d_conv": 2, "expand": 1});
    let config = with(&language_model(), json!({"n_layers": 4, "layers": [open, mlp()]}));
    let session = session::<f32>(&config);
    let rows = session.parameter_table();
    let has = |id: &str| rows.iter().any(|row| row.id == id);
    for (layer, tensor) in [(0, "A_log"), (1, "in_proj.weight"), (2, "A_log"), (3, "out_proj.weight")] {
        assert!(has(&format!("layers.{layer}.mixer.{tensor}")), "{layer} {tensor}");
    }
    assert!(!has("layers.1.mixer.A_log"));
    let resolved = session.model().config();
    assert_eq!(resolved.layers[0].settings["dt_rank"], 1);
    assert_eq!(ModelConfig::from_json(&resolved.to_json()).unwrap(), *resolved);
    let old = json!({"input": {"kind": "tokens", "vocab_size": 3}, "d_model": 4, "n_layers": 1,
        "block": {"kind": "mamba1"}, "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 3}});
    let text = ModelConfig::from_json(&old.to_string()).unwrap().to_json();
    assert!(["\"layers\"", "dropout", "stem"].iter().all(|new| !text.contains(new)), "{text}");
}

#[test]
fn a_model_of_every_kind_of_block_grows_without_changing_its_scores() {
    for block in blocks() {
        let config = per_token(json!({"n_layers": 4, "layers": [block, mlp()]}));
        let mut session = trained::<f32>(&config);
        let data = batch(&config, 2, 9, None, 4);
        let before = session.predict(&data).unwrap();
        let plan: ExpandPlan =
            serde_json::from_value(json!({"kind": "final", "positions": [0, 2, 6]})).unwrap();
        if block["kind"] == "residual" {
            // Its output contains its input, whatever its tensors are.
            assert!(session.expand(&plan).unwrap_err().to_string().contains("no output projection"));
            continue;
        }
        session.expand(&plan).unwrap();
        assert_eq!(session.predict(&data).unwrap(), before, "{block}");
        let kinds: Vec<String> =
            session.model().config().layers.iter().map(|block| block.kind.clone()).collect();
        let kind = block["kind"].as_str().unwrap();
        assert_eq!(kinds, [kind, kind, kind, "mlp", kind, "mlp", "mlp"]);
        // The output projections of new layers start at 0; once they have changed, every tensor has a gradient.
        for step in 0..2 {
            session.forward_backward(&batch(&config, 2, 9, None, 5 + step), Accuracy::Skip).unwrap();
            session.apply().unwrap();
        }
        session.forward_backward(&data, Accuracy::Skip).unwrap();
        for row in session.parameter_table() {
            assert!(session.gradient(&row.id).unwrap().1.iter().any(|g| *g != 0.0), "{block}: {}", row.id);
        }
    }
}

#[test]
fn a_registered_target_made_from_the_tokens_needs_causal_blocks_too() {
    static FOLLOWING: TargetKind = TargetKind { name: "following", ..kinds::NEXT_TOKEN };
    let mut registry = Registry::<f32>::standard();
    registry.register_target(&FOLLOWING);
    let resolve = |block| {
        let settings = json!({"target": {"kind": "following"}, "block": block});
        registry.resolve(with(&language_model(), settings))
    };
    assert!(resolve(mamba()).is_ok());
    let message = resolve(both_ways()).unwrap_err().to_string();
    assert!(message.contains("expected a causal block for the target following"), "{message}");
}

#[test]
fn missing_capabilities_of_blocks_are_refused_in_one_line() {
    let message = refused(with(&language_model(), json!({"layers": [mamba(), both_ways(), mamba()]})));
    assert!(message.starts_with("model.layers.1.kind: expected a causal block"), "{message}");
    let session = trained::<f32>(&per_token(json!({"block": both_ways()})));
    let message = session.stream(1).unwrap_err().to_string();
    assert!(message.contains("layer 0 of the kind bidirectional"), "{message}");
    assert!(session.states(1).is_err());
    let residual = json!({"kind": "residual", "block": mlp()});
    let mut session = trained::<f32>(&per_token(json!({"block": residual})));
    let plan: ExpandPlan = serde_json::from_value(json!({"kind": "append", "count": 1})).unwrap();
    let message = session.expand(&plan).unwrap_err().to_string();
    assert!(message.contains("no output projection"), "{message}");
    let deep = (0..6).fold(mlp(), |block, _| json!({"kind": "residual", "block": block}));
    assert!(refused(per_token(json!({"block": deep}))).contains("at most 4 blocks"));
    let empty = json!({"kind": "sequential", "blocks": []});
    assert!(
        refused(per_token(json!({"block": empty}))).starts_with("model.block.blocks: expected at least one")
    );
    let long = |count| json!({"kind": "sequential", "blocks": vec![mlp(); count]});
    let message = refused(per_token(json!({"block": long(16)})));
    assert!(message.starts_with("model.block.blocks: expected at most 15 blocks, found 16"), "{message}");
    assert!(Registry::<f32>::standard().resolve(per_token(json!({"block": long(15)}))).is_ok());
    let unknown = json!({"kind": "bidirectional", "block": {"kind": "mamba9"}});
    assert!(refused(per_token(json!({"block": unknown}))).starts_with("model.block.block.kind"));
    let bad = json!({"kind": "sequential", "blocks": [{"kind": "mlp", "expand": 0}]});
    assert!(refused(per_token(json!({"block": bad}))).starts_with("model.block.blocks.0.expand"));
}

#[test]
fn generating_with_a_model_of_classes_per_token_is_refused() {
    let session = trained::<f32>(&per_token(json!({})));
    let sampling = Sampling { temperature: 0.0, top_k: None, top_p: None, seed: 0 };
    let message = session.generate(&[1, 2], 3, &sampling).unwrap_err().to_string();
    assert!(message.contains("expected a model that predicts the next token"), "{message}");
    assert_eq!(trained::<f32>(&language_model()).generate(&[1, 2], 3, &sampling).unwrap().len(), 3);
}

// ---- stems

fn fixed_filters(stride: usize, seed: u64) -> Value {
    json!({"kind": "filters", "filters": 128, "longest": 20, "stride": stride, "seed": seed})
}

fn stems() -> [Value; 5] {
    [
        json!({"kind": "conv", "kernel": 5, "stride": 2}),
        json!({"kind": "patch", "size": 3}),
        json!({"kind": "conv", "kernel": 2, "stride": 1}),
        fixed_filters(1, 0),
        fixed_filters(2, 3),
    ]
}

#[test]
fn gradients_of_every_stem_agree_with_differences() {
    for stem in stems() {
        let config = series(json!({"stem": stem}));
        let what = format!("{stem}");
        agrees_with_differences(&mut trained(&config), &batch(&config, 2, 7, None, 5), &what);
        let packed = batch(&config, 2, 11, Some(documents(2, 11)), 6);
        agrees_with_differences(&mut trained(&config), &packed, &format!("{what}, documents"));
        agrees_with_differences(&mut trained(&config), &masked(packed), &format!("{what}, masked"));
    }
}

#[test]
fn a_stem_shortens_each_document_separately() {
    for stem in stems() {
        let config = series(json!({"stem": stem}));
        let session = trained::<f64>(&config);
        let packed = batch(&config, 3, 25, Some(documents(3, 25)), 7);
        let together = session.predict(&packed).unwrap();
        let Input::Features(x) = &packed.input else { panic!("features") };
        for (segment, scores) in packed.segments.iter().zip(together.chunks(CLASSES)) {
            let Segment { row, start, end } = *segment;
            let first = (row as usize * 25 + start as usize) * FEATURES;
            let length = (end - start) as usize;
            let alone = Input::Features(x[first..first + length * FEATURES].to_vec());
            let alone = session.predict(&Batch::whole(1, length, alone, Target::none())).unwrap();
            assert!(relative(scores, &alone) < 1e-12, "{stem}: {segment:?}");
        }
    }
}

#[test]
fn fixed_filters_stay_as_they_are_and_are_drawn_by_their_seed_alone() {
    let of = |seed: u64, train_seed: u64| {
        let config = series(json!({"stem": fixed_filters(2, seed)}));
        let mut session =
            Session::<f32>::new(config.clone(), OptimConfig::default(), train_seed, threads(1)).unwrap();
        let before = session.parameter("stem.filters").unwrap().1.to_vec();
        session.forward_backward(&batch(&config, 2, 9, None, 1), Accuracy::Skip).unwrap();
        session.apply().unwrap();
        let fixed = ["stem.filters", "stem.mixtures"];
        let trainable = session.parameter_table();
        let trainable = trainable.iter().filter(|row| fixed.contains(&&*row.id) && row.trainable);
        assert_eq!(trainable.count(), 0);
        assert_eq!(session.parameter("stem.filters").unwrap().1, before);
        before
    };
    assert_eq!(of(3, 1), of(3, 2));
    assert_ne!(of(3, 1), of(4, 1));
}

#[test]
fn fixed_filters_with_a_stride_are_means_of_those_without() {
    // With weights that copy 8 of the responses and the steps themselves.
    let picked = |stride: usize| {
        let config = series(json!({"stem": fixed_filters(stride, 5), "block": mlp()}));
        let mut session = session::<f64>(&config);
        let (d, width) = (crate::common::WIDTH, 128 + FEATURES);
        let mut weight = vec![0.0; d * width];
        (0..d).for_each(|i| weight[i * width + if i < FEATURES { 128 + i } else { 17 * i % 128 }] = 1.0);
        session.set_parameter("stem.weight", &[d, width], &weight).unwrap();
        session.set_parameter("stem.bias", &[d], &vec![0.0; d]).unwrap();
        // The blocks add nothing.
        for row in session.parameter_table().iter().filter(|row| row.id.starts_with("layers.")) {
            let size: usize = row.shape.iter().product();
            session.set_parameter(&row.id, &row.shape, &vec![0.0; size]).unwrap();
        }
        session
    };
    let x: Vec<f32> = numbers(7 * FEATURES, 2).iter().map(|x| *x as f32).collect();
    let data = Batch::whole(1, 7, Input::Features(x.clone()), Target::none());
    let (whole, by_two) = (picked(1).hidden(&data).unwrap(), picked(2).hidden(&data).unwrap());
    let d = crate::common::WIDTH;
    assert_eq!(by_two.len(), 4 * d);
    // Behind the norm directions are left: compare them with the norms of the means.
    let normed = |row: &[f64]| {
        let r = (row.iter().map(|x| x * x).sum::<f64>() / d as f64 + 1e-5).sqrt();
        row.iter().map(|x| x / r).collect::<Vec<f64>>()
    };
    // The steps are known, and so is the length that the norm took away.
    let steps: Vec<Vec<f64>> = whole
        .chunks(d)
        .zip(x.chunks(FEATURES))
        .map(|(row, x)| row.iter().map(|y| y * f64::from(x[0]) / row[0]).collect())
        .collect();
    for (pair, found) in steps.chunks(2).zip(by_two.chunks(d)) {
        let mean: Vec<f64> =
            (0..d).map(|i| pair.iter().map(|row| row[i]).sum::<f64>() / pair.len() as f64).collect();
        assert!(relative(found, &normed(&mean)) < 1e-9, "{found:?} for {mean:?}");
    }
}

#[test]
fn a_patch_is_a_linear_map_of_its_tokens() {
    let target = json!({"kind": "sequence_class", "pooling": "mean"});
    let linear = json!({"kind": "linear", "n_outputs": CLASSES});
    let patched = with(&config("features", target, linear), json!({"stem": {"kind": "patch", "size": 2}}));
    let mut wide = patched.clone();
    wide.stem = None;
    wide.input = serde_json::from_value(json!({"kind": "features", "n_features": 2 * FEATURES})).unwrap();
    let (patched, mut wide) = (trained::<f64>(&patched), session::<f64>(&wide));
    for row in patched.parameter_table() {
        let values = patched.parameter(&row.id).unwrap().1.to_vec();
        let id = row.id.replace("stem.", "input.");
        let shape = wide.parameter(&id).unwrap().0.to_vec();
        wide.set_parameter(&id, &shape, &values).unwrap();
    }
    let x: Vec<f32> = numbers(2 * 8 * FEATURES, 1).iter().map(|x| *x as f32).collect();
    let long = Batch::whole(2, 8, Input::Features(x.clone()), Target::none());
    let short = Batch::whole(2, 4, Input::Features(x), Target::none());
    assert_eq!(patched.hidden(&long).unwrap(), wide.hidden(&short).unwrap());
    assert_eq!(patched.model().hidden_shape(&long), [2, 4, crate::common::WIDTH]);
}

#[test]
fn stems_that_do_not_fit_are_refused_in_one_line() {
    let patch = json!({"stem": {"kind": "patch", "size": 2}});
    let target = json!({"kind": "token_class"});
    let linear = json!({"kind": "linear", "n_outputs": CLASSES});
    let message = refused(with(&config("features", target, linear), patch.clone()));
    assert!(message.starts_with("model.stem: expected one that keeps the length"), "{message}");
    let message = refused(per_token(patch.clone()));
    assert!(message.starts_with("model.stem.kind: expected a stem for the input tokens"), "{message}");
    assert!(refused(series(json!({"stem": {"kind": "embedding"}}))).contains("reads tokens"));
    let narrow = json!({"stem": {"kind": "conv", "kernel": 2, "stride": 3}});
    assert!(refused(series(narrow)).starts_with("model.stem.kernel: expected a whole number from 3"));
    assert!(refused(series(json!({"stem": {"kind": "patch", "size": 0}}))).starts_with("model.stem.size"));
    assert!(refused(series(json!({"stem": fixed_filters(0, 1)}))).starts_with("model.stem.stride"));
    let whole =
        trained::<f32>(&series(json!({"stem": fixed_filters(1, 1)}))).stream(1).unwrap_err().to_string();
    assert!(whole.contains("a stem that reads whole documents"), "{whole}");
    let message = trained::<f32>(&series(patch)).stream(1).unwrap_err().to_string();
    assert!(message.contains("a stem that makes one token of 2"), "{message}");
}

// ---- dropout

fn dropping(config: &ModelConfig) -> ModelConfig {
    with(config, json!({"dropout": 0.3, "head_dropout": 0.2}))
}

/// The loss of a training pass. No update is applied, so that the random key is the same each time.
pub(crate) fn training_loss(session: &mut Session<f64>, batch: &Batch) -> f64 {
    session.zero_grad().unwrap();
    session.forward_backward(batch, Accuracy::Skip).unwrap().loss
}

/// Every tensor along one direction, all under the same random key.
pub(crate) fn agrees_with_differences_of_the_training_loss(session: &mut Session<f64>, data: &Batch) {
    training_loss(session, data);
    for (seed, row) in session.parameter_table().into_iter().enumerate() {
        let gradient = session.gradient(&row.id).unwrap().1;
        let start = session.parameter(&row.id).unwrap().1.to_vec();
        let direction = numbers(start.len(), seed as u64);
        let mut at = |step: f64| {
            let moved: Vec<f64> = start.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            session.set_parameter(&row.id, &row.shape, &moved).unwrap();
            training_loss(session, data)
        };
        let h = 1e-4;
        let near = at(h) - at(-h);
        let difference = (8.0 * near - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        at(0.0);
        let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let size = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!((difference - expected).abs() <= 1e-6 * size, "{}: {difference} {expected}", row.id);
    }
}

#[test]
fn gradients_under_dropout_agree_with_differences_of_the_training_loss() {
    let models = [
        dropping(&per_token(json!({"layers": [mamba(), chain(), mlp()]}))),
        dropping(&series(json!({"stem": {"kind": "patch", "size": 2}}))),
    ];
    for mut config in models {
        for way in [ActivationMemory::Keep, ActivationMemory::Recompute] {
            config.activation_memory = way;
            let data = batch(&config, 2, 9, Some(documents(2, 9)), 6);
            agrees_with_differences_of_the_training_loss(&mut trained(&config), &data);
        }
    }
}

#[test]
fn dropout_is_off_in_inference_and_differs_between_micro_batches_and_updates() {
    let (plain, config) = (language_model(), dropping(&language_model()));
    let data = batch(&config, 2, 20, None, 4);
    let (mut without, mut session) = (trained::<f64>(&plain), trained::<f64>(&config));
    assert_eq!(without.predict(&data).unwrap(), session.predict(&data).unwrap());
    assert_eq!(without.evaluate(&data).unwrap(), session.evaluate(&data).unwrap());
    let mut losses = vec![training_loss(&mut without, &data)];
    session.zero_grad().unwrap();
    losses.push(session.forward_backward(&data, Accuracy::Skip).unwrap().loss);
    losses.push(session.forward_backward(&data, Accuracy::Skip).unwrap().loss);
    let again = training_loss(&mut session, &data);
    assert_eq!(again, losses[1]);
    // A gradient that is not finite: the update is skipped, and only the random key changes.
    session.lend_flat().unwrap()[1][0] = f64::NAN;
    session.return_flat();
    assert!(!session.apply().unwrap().applied);
    losses.push(training_loss(&mut session, &data));
    for (i, loss) in losses.iter().enumerate() {
        assert!(losses[..i].iter().all(|other| other != loss), "{losses:?}");
    }
}

#[test]
fn dropout_has_the_same_bits_for_any_number_of_threads_and_after_resuming() {
    // Large enough for several slices of dropout and several tasks.
    let config = with(&dropping(&language_model()), json!({"d_model": 24}));
    let data = |step: u64| batch(&config, 9, 300, Some(documents(9, 300)), 20 + step);
    let run = |count: usize, stop: bool| {
        let new = Session::<f32>::new(config.clone(), OptimConfig::default(), 7, threads(count));
        let mut session = new.unwrap();
        for step in 0..4 {
            session.forward_backward(&data(step), Accuracy::Skip).unwrap();
            session.forward_backward(&data(step + 10), Accuracy::Skip).unwrap();
            session.apply().unwrap();
            if stop && step == 1 {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join(ssm_hpn::checkpoint::folder_name(2));
                session.save(&path, json!(null)).unwrap();
                session = Session::load(&path, threads(count)).unwrap().0;
            }
        }
        bits(&session)
    };
    let expected = run(1, false);
    assert!(run(3, false) == expected, "3 threads");
    assert!(run(2, true) == expected, "resumed");
}

#[test]
fn micro_batches_of_the_same_number_have_the_same_dropout_on_any_rank() {
    let config = dropping(&language_model());
    let data = [batch(&config, 2, 9, None, 1), batch(&config, 2, 9, None, 2)];
    let whole = gradients(&mut trained::<f64>(&config), &data);
    let mut apart = vec![0.0; whole.len()];
    for (number, batch) in data.iter().enumerate() {
        let mut rank = trained::<f64>(&config);
        rank.number_next_micro_batch(number as u64).unwrap();
        rank.forward_backward(batch, Accuracy::Skip).unwrap();
        apart.iter_mut().zip(rank.flat_gradients()).for_each(|(sum, g)| *sum += *g);
    }
    assert!(relative(&apart, &whole) < 1e-13);
}

#[test]
fn rates_out_of_range_are_refused() {
    for (key, rate) in [("dropout", 1.0), ("dropout", -0.1), ("head_dropout", 1.5)] {
        let mut json: Value = serde_json::from_str(&language_model().to_json()).unwrap();
        json[key] = json!(rate);
        let message = ModelConfig::from_json(&json.to_string()).unwrap_err().to_string();
        assert!(message.starts_with(&format!("model.{key}: expected a number from 0, below 1")), "{message}");
    }
}

#[test]
fn the_largest_memory_limits_keep_all_activations() {
    let kept = session::<f32>(&language_model()).predicted_peak_bytes(64, 300);
    // The second is the first of which the bytes are more than 64 bits hold.
    for limit in [u64::MAX, u64::MAX / 1_000_000 + 1] {
        let limited = json!({"activation_memory": "auto", "memory_limit_mb": limit});
        let limited = session::<f32>(&with(&language_model(), limited));
        assert_eq!(limited.predicted_peak_bytes(64, 300), kept, "{limit} MB");
    }
}
