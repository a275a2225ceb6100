//! Training with the factors of products in bf16.

use ssm_hpn::Threads;
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::kernels::matmul::Precision;
use ssm_hpn::model::ModelConfig;
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::Target;
use ssm_hpn::{Result, Scalar};

/// A model with every part that multiplies: a stem of features, two kinds of block, a head with a projection.
fn session<T: Scalar>(threads: usize, precision: Precision) -> Result<Session<T>> {
    let model = ModelConfig::from_json(
        r#"{"input": {"kind": "features", "n_features": 5}, "d_model": 40, "n_layers": 2,
            "block": {"kind": "sequential", "blocks": [{"kind": "mamba1"}, {"kind": "mlp"}]},
            "target": {"kind": "token_class"},
            "head": {"kind": "linear", "n_outputs": 7}}"#,
    )?;
    let mut session = Session::new(model, OptimConfig::default(), 3, Threads::new(Some(threads))?)?;
    session.set_precision(precision)?;
    Ok(session)
}

fn batch() -> Batch {
    let (rows, length) = (4, 50);
    let features = (0..rows * length * 5).map(|i| (i as f32 * 0.37).sin()).collect();
    let classes = (0..rows * length).map(|i| (i * i % 7) as i32).collect();
    Batch::whole(rows, length, Input::Features(features), Target::token_class(classes))
}

fn gradient<T: Scalar>(threads: usize, precision: Precision) -> Result<(f64, Vec<f64>)> {
    let mut session = session::<T>(threads, precision)?;
    let loss = session.forward_backward(&batch(), Accuracy::Skip)?.loss;
    Ok((loss, session.flat_gradients().iter().map(|x| x.to_f64()).collect()))
}

#[test]
fn rounding_changes_the_gradient_a_little_and_its_bits_follow_from_no_number_of_threads() -> Result<()> {
    let (exact_loss, exact) = gradient::<f64>(1, Precision::F32)?;
    let (rounded_loss, rounded) = gradient::<f64>(1, Precision::Bf16)?;
    let (loss, found) = gradient::<f32>(1, Precision::Bf16)?;
    assert!(gradient::<f32>(3, Precision::Bf16)? == (loss, found.clone()), "bits with three threads");
    let distance = |a: &[f64], b: &[f64]| {
        let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut b.iter().copied())
    };
    // The rounding is seen, and is of the size of 2⁻⁸; what f32 adds to it is less.
    let (noise, of_f32) = (distance(&rounded, &exact), distance(&found, &rounded));
    assert!(noise > 1e-4 && noise < 2e-2, "noise {noise}");
    assert!(of_f32 < noise, "f32 {of_f32}, noise {noise}");
    assert!((rounded_loss - exact_loss).abs() < 1e-2 * exact_loss && rounded_loss != exact_loss);
    Ok(())
}

#[test]
fn evaluation_and_scores_do_not_depend_on_the_precision_of_training() -> Result<()> {
    let (exact, rounded) = (session::<f32>(2, Precision::F32)?, session::<f32>(2, Precision::Bf16)?);
    assert_eq!(rounded.precision(), Precision::Bf16);
    assert_eq!(exact.predict(&batch())?, rounded.predict(&batch())?);
    assert_eq!(exact.evaluate(&batch())?.sums.loss, rounded.evaluate(&batch())?.sums.loss);
    Ok(())
}
