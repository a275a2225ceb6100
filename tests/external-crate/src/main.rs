//! A user's own stem, block, head and target in a model of `ssm-hpn`: registered, configured, checked against differences,
//! trained, saved and resumed to the same bits. Everything else comes from the crate.

mod centers;
mod neighbours;
mod waves;

use std::path::Path;

use serde_json::json;
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{InputConfig, ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::arrays::{Element, Per, TargetArray};
use ssm_hpn::target::kinds::TargetKind;
use ssm_hpn::target::{Target, Values};
use ssm_hpn::{Error, Result, Scalar, Threads};

const CLASSES: usize = 5;

/// The kinds of the crate and three more.
fn registry<T: Scalar>() -> Registry<T> {
    let mut registry = Registry::standard();
    registry.register_stem("waves", |_, context| match context.input {
        InputConfig::Tokens { vocab_size } => Ok(Box::new(waves::Waves { vocab_size, width: context.d_model })),
        other => Err(Error::config("model.stem.kind", "a stem for this input", other.kind(), "it reads tokens")),
    });
    registry.register_block("neighbours", |component, context| {
        Ok(Box::new(neighbours::Neighbours::new(component.settings(&context.at)?, context.d_model)))
    });
    registry.register_head("centers", |component, context| {
        Ok(Box::new(centers::Centers::new(component.settings("model.head")?, context.d_model)))
    });
    registry.register_target(&LEVELS);
    registry
}

fn new<T: Scalar>() -> Result<Session<T>> {
    let model = json!({
        "input": {"kind": "tokens", "vocab_size": CLASSES}, "stem": {"kind": "waves"}, "d_model": 12, "n_layers": 4,
        "layers": [{"kind": "neighbours", "past": 0.3, "future": 0.8}, {"kind": "mlp", "expand": 2}], "dropout": 0.02,
        "target": {"kind": "token_class"},
        "head": {"kind": "centers", "n_classes": CLASSES},
    });
    let model = ModelConfig::from_json(&model.to_string())?;
    let optim = OptimConfig { lr: 1e-2, ..OptimConfig::default() };
    Session::with_registry(model, optim, 0, Threads::new(Some(2))?, &registry())
}

/// Tokens in a fixed irregular order; the class of each is the next token.
fn batch(seed: u32) -> Batch {
    let (rows, length) = (4, 24);
    let tokens: Vec<u32> =
        (0..rows * length).map(|i| ((i as u32 + 7 * seed).wrapping_mul(2_654_435_761) >> 9) % 5).collect();
    let class = |i: usize| if i % length == length - 1 { -1 } else { tokens[i + 1] as i32 };
    let classes = (0..tokens.len()).map(class).collect();
    Batch::whole(rows, length, Input::Tokens(tokens), Target::token_class(classes))
}

/// Compares the gradient of every tensor along one direction with differences, in f64.
fn gradients_agree_with_differences() -> Result<()> {
    let mut session = new::<f64>()?;
    let batch = batch(1);
    for row in session.parameter_table() {
        session.zero_grad()?;
        session.forward_backward(&batch, Accuracy::Skip)?;
        let gradient = session.gradient(&row.id)?.1;
        let start = session.parameter(&row.id)?.1.to_vec();
        let direction: Vec<f64> = (0..start.len()).map(|i| (i as f64 * 1.7 + 0.3).sin()).collect();
        let mut loss_at = |step: f64| -> Result<f64> {
            let moved: Vec<f64> = start.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            session.set_parameter(&row.id, &row.shape, &moved)?;
            // The random key is the same each time, as no update is applied.
            session.zero_grad()?;
            Ok(session.forward_backward(&batch, Accuracy::Skip)?.loss)
        };
        let h = 1e-5;
        let difference = (loss_at(h)? - loss_at(-h)?) / (2.0 * h);
        loss_at(0.0)?;
        let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let error = (difference - expected).abs() / expected.abs();
        assert!(error < 1e-6, "{}: {expected} for {difference}, error {error:e}", row.id);
    }
    Ok(())
}

/// Runs updates; returns the loss of the first and of the last.
fn train(session: &mut Session<f32>, range: std::ops::Range<u32>) -> Result<(f64, f64)> {
    let mut losses = Vec::new();
    for step in range {
        session.forward_backward(&batch(step), Accuracy::Skip)?;
        losses.push(session.apply()?.loss);
    }
    Ok((losses[0], losses[losses.len() - 1]))
}

fn resumes_to_the_same_bits(folder: &Path) -> Result<()> {
    let mut whole = new::<f32>()?;
    let (first, _) = train(&mut whole, 0..40)?;
    let (_, last) = train(&mut whole, 40..80)?;
    assert!(last < 0.5 * first, "the loss goes from {first} to {last} only");

    let mut start = new::<f32>()?;
    train(&mut start, 0..40)?;
    let saved = start.save(&folder.join("step-00000040"), json!({}))?;
    let (mut resumed, _) = Session::load_with_registry(&saved, Threads::new(Some(1))?, &registry())?;
    train(&mut resumed, 40..80)?;
    assert_eq!(resumed.digest()?, whole.digest()?);

    // The block reads the next token, so that a stream is refused.
    let refused = resumed.stream(1).expect_err("a model that is not causal").to_string();
    assert!(refused.contains("layer 0 of the kind neighbours"), "{refused}");

    // New layers are made by the registered factory.
    let before = resumed.predict(&batch(0))?;
    resumed.expand(&serde_json::from_value(json!({"kind": "append", "count": 1})).expect("a plan"))?;
    assert_eq!(resumed.predict(&batch(0))?, before);
    println!("a stem, a block and a head from outside: loss {first:.3} to {last:.3}, resumed to the same bits");
    Ok(())
}

/// Numbers per token, an array that no kind of the crate has.
static TOKEN_VALUES: TargetArray = TargetArray {
    name: "token_values",
    about: "numbers per token",
    per: Per::Token,
    element: Element::Number,
    column: None,
};

/// A target of these numbers, which the crate's own linear head answers.
static LEVELS: TargetKind = TargetKind {
    name: "levels",
    about: "numbers at every position",
    arrays: &[&TOKEN_VALUES],
    from_tokens: false,
    metrics: &["loss", "mse"],
    default_head: r#"{"kind": "linear", "loss": "squared"}"#,
};

/// Learns the running mean of its input at every position, some of which are missing; saved and resumed.
fn a_target_of_its_own_is_learned(folder: &Path) -> Result<()> {
    let model = json!({
        "input": {"kind": "features", "n_features": 1}, "d_model": 12, "n_layers": 1,
        "block": {"kind": "mamba1", "d_state": 4}, "target": {"kind": "levels", "n_values": 1},
        "head": {"kind": "linear", "n_outputs": 1, "loss": "squared", "bias": true},
    });
    let model = ModelConfig::from_json(&model.to_string())?;
    let optim = OptimConfig { lr: 1e-2, ..OptimConfig::default() };
    let new = || Session::with_registry(model.clone(), optim.clone(), 0, Threads::new(Some(1))?, &registry());
    let batch = levels();
    let train = |session: &mut Session<f32>, updates: usize| -> Result<Vec<f64>> {
        let update = |_| {
            session.forward_backward(&batch, Accuracy::Skip)?;
            Ok(session.apply()?.loss)
        };
        (0..updates).map(update).collect()
    };
    let mut whole = new()?;
    let losses = train(&mut whole, 60)?;
    assert!(losses[59] < 0.2 * losses[0], "the loss goes from {} to {} only", losses[0], losses[59]);

    let mut start = new()?;
    train(&mut start, 30)?;
    let saved = start.save(&folder.join("step-00000030"), json!({}))?;
    let (mut resumed, _) = Session::load_with_registry(&saved, Threads::new(Some(2))?, &registry::<f32>())?;
    assert_eq!(resumed.evaluate(&batch)?, start.evaluate(&batch)?);
    assert_eq!(train(&mut resumed, 30)?, losses[30..]);
    assert_eq!(resumed.digest()?, whole.digest()?);
    println!("a target from outside: loss {:.3} to {:.3}, resumed to the same bits", losses[0], losses[59]);
    Ok(())
}

/// Rows of a slow wave, and its running mean; every fifth number is missing.
fn levels() -> Batch {
    let (rows, length) = (4, 24);
    let x: Vec<f32> = (0..rows * length).map(|i| (i as f32 * 0.37).sin()).collect();
    let mean = |i: usize| {
        let row = &x[i / length * length..=i];
        row.iter().sum::<f32>() / row.len() as f32
    };
    let numbers = (0..x.len()).map(|i| if i % 5 == 4 { f32::NAN } else { mean(i) }).collect();
    let target = Target::of([(&TOKEN_VALUES, Values::Numbers(numbers))]);
    Batch::whole(rows, length, Input::Features(x.clone()), target)
}

fn main() -> Result<()> {
    gradients_agree_with_differences()?;
    let folder = std::env::temp_dir().join(format!("ssm-hpn-external-{}", std::process::id()));
    let result = resumes_to_the_same_bits(&folder)
        .and_then(|()| a_target_of_its_own_is_learned(&folder.join("levels")));
    std::fs::remove_dir_all(&folder).ok();
    result
}
