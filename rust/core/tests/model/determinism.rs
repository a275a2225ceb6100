//! The same bits on every run and for any number of threads; a row alone has the hidden states of the row in a batch.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{bits, documents, ids, relative, threads, to_f64};
use serde_json::json;
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::ModelConfig;
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::Target;

/// Large enough that every kernel has more than one task.
const ROWS: usize = 5;
const LENGTH: usize = 130;
const VOCABULARY: usize = 150;

fn config() -> ModelConfig {
    let config = json!({
        "input": {"kind": "tokens", "vocab_size": VOCABULARY}, "d_model": 72, "n_layers": 2,
        "block": {"kind": "mamba1"}, "target": {"kind": "next_token"},
        "head": {"kind": "prototype", "n_classes": VOCABULARY},
    });
    ModelConfig::from_json(&config.to_string()).unwrap()
}

fn batch(seed: u64) -> Batch {
    let tokens = ids(ROWS * LENGTH, VOCABULARY, seed);
    let classes = Target::token_class(tokens.iter().map(|id| *id as i32).collect());
    Batch::whole(ROWS, LENGTH, Input::Tokens(tokens), classes)
}

/// Three updates, the second of two micro-batches, one of them packed: bits of the reports, parameters and scores.
fn run(count: usize) -> (Vec<u64>, Vec<u64>, Vec<u32>) {
    let optim = OptimConfig::default();
    let mut session = Session::<f32>::new(config(), optim, 3, threads(count)).unwrap();
    let mut numbers = Vec::new();
    for step in 0..3 {
        let mut packed = batch(step);
        packed.segments = documents(ROWS, LENGTH);
        let batches = if step == 1 { vec![batch(step + 10), packed] } else { vec![packed] };
        for batch in batches {
            let report = session.forward_backward(&batch, Accuracy::Count).unwrap();
            numbers.extend([report.loss_sum.to_bits(), report.correct]);
        }
        let report = session.apply().unwrap();
        numbers.extend([report.grad_norm.to_bits(), report.update_norm.to_bits()]);
    }
    let scores = session.predict(&batch(7)).unwrap();
    (numbers, bits(&session), scores.iter().map(|x| x.to_bits()).collect())
}

#[test]
fn the_same_bits_on_every_run_and_for_any_number_of_threads() {
    let expected = run(1);
    for count in [1, 2, 3, 8] {
        assert!(run(count) == expected, "{count} threads");
    }
}

#[test]
fn a_row_alone_agrees_with_the_row_in_a_batch() {
    let session = Session::<f32>::new(config(), OptimConfig::default(), 3, threads(2)).unwrap();
    let batch = batch(1);
    let Input::Tokens(ids) = &batch.input else { panic!("tokens") };
    let together = to_f64(&session.hidden(&batch).unwrap());
    for row in 0..ROWS {
        let alone = Input::Tokens(ids[row * LENGTH..][..LENGTH].to_vec());
        let alone = to_f64(&session.hidden(&Batch::whole(1, LENGTH, alone, Target::none())).unwrap());
        let drift = relative(&together[row * alone.len()..][..alone.len()], &alone);
        assert!(drift <= 1e-6, "row {row}: {drift:e}");
    }
}

#[test]
fn twenty_threads_at_once_get_the_results_of_one() {
    let session = Session::<f32>::new(config(), OptimConfig::default(), 3, threads(2)).unwrap();
    let batches: Vec<_> = (0..20).map(batch).collect();
    let answers = |batch: &Batch| {
        let report = session.evaluate(batch).unwrap();
        (session.predict(batch).unwrap(), session.hidden(batch).unwrap(), report)
    };
    let alone: Vec<_> = batches.iter().map(answers).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = batches.iter().map(|batch| scope.spawn(|| answers(batch))).collect();
        for (thread, alone) in threads.into_iter().zip(&alone) {
            assert!(thread.join().unwrap() == *alone);
        }
    });
}
