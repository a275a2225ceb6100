//! A stem of one's own that uses dropout: it draws under a key of its own in training, and nothing in inference.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{batch, bits, disturb, documents, language_model, threads};
use crate::invariants::gradients;
use crate::parts::{agrees_with_differences_of_the_training_loss, training_loss, with};
use serde_json::json;
use ssm_hpn::Scalar;
use ssm_hpn::data::{Input, InputLimit};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ActivationMemory, InputConfig, ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::params::{Grads, Init, ParamSpec};
use ssm_hpn::pass::Pass;
use ssm_hpn::session::Session;
use ssm_hpn::stem::{Stem, StemBatch, StemSizes};

/// x_t = m·E[id_t], with the factors m of dropout.
struct Dropping {
    vocab_size: usize,
    width: usize,
    rate: f64,
}

fn ids<'a>(batch: &StemBatch<'a>) -> &'a [u32] {
    let Input::Tokens(ids) = batch.input else { panic!("tokens") };
    ids
}

impl<T: Scalar> Stem<T> for Dropping {
    fn params(&self) -> Vec<ParamSpec> {
        vec![ParamSpec::new("embedding.weight", [self.vocab_size, self.width], Init::Normal { std: 1.0 })]
    }

    fn reads(&self) -> InputLimit {
        InputLimit::Tokens { vocab_size: self.vocab_size }
    }

    fn sizes(&self, tokens: usize) -> StemSizes {
        StemSizes { scratch: tokens * self.width, ..StemSizes::default() }
    }

    fn forward(&self, pass: Pass<T>, batch: &StemBatch, y: &mut [T]) {
        for (y, id) in y.chunks_exact_mut(self.width).zip(ids(batch)) {
            y.copy_from_slice(&pass.params.get(0)[*id as usize * self.width..][..self.width]);
        }
        if let Some(dropout) = pass.mode.dropout(self.rate, self.width) {
            dropout.run_in_place(y);
        }
    }

    fn backward(&self, pass: Pass<T>, batch: &StemBatch, dy: &[T], dparams: &mut Grads<T>) {
        let Some(dweight) = dparams.get(0) else { return };
        let kept = &mut pass.scratch[..dy.len()];
        kept.copy_from_slice(dy);
        if let Some(dropout) = pass.mode.dropout(self.rate, self.width) {
            dropout.run_in_place(kept);
        }
        for (dy, id) in kept.chunks_exact(self.width).zip(ids(batch)) {
            let row = &mut dweight[*id as usize * self.width..][..self.width];
            row.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += *dy);
        }
    }
}

/// A language model whose stem drops the share `rate`; its layers drop nothing.
fn model<T: Scalar>(rate: f64, memory: ActivationMemory, count: usize) -> Session<T> {
    let mut registry = Registry::<T>::standard();
    registry.register_stem("dropping", move |_, context| {
        let InputConfig::Tokens { vocab_size } = context.input else { panic!("a model of tokens") };
        Ok(Box::new(Dropping { vocab_size, width: context.d_model, rate }))
    });
    let config = ModelConfig { activation_memory: memory, ..settings() };
    let mut session =
        Session::with_registry(config, OptimConfig::default(), 1, threads(count), &registry).unwrap();
    disturb(&mut session, 0.2);
    session
}

fn settings() -> ModelConfig {
    with(&language_model(), json!({"stem": {"kind": "dropping"}, "dropout": 0.0, "head_dropout": 0.0}))
}

#[test]
fn its_gradients_agree_with_differences_of_the_training_loss() {
    let data = batch(&settings(), 2, 9, Some(documents(2, 9)), 6);
    for memory in [ActivationMemory::Keep, ActivationMemory::Recompute] {
        agrees_with_differences_of_the_training_loss(&mut model(0.3, memory, 2), &data);
    }
}

#[test]
fn it_drops_in_training_only_and_draws_anew_for_each_micro_batch() {
    let data = batch(&settings(), 2, 20, None, 4);
    let [mut plain, mut session] = [0.0, 0.3].map(|rate| model::<f64>(rate, ActivationMemory::Keep, 2));
    assert_eq!(plain.predict(&data).unwrap(), session.predict(&data).unwrap());
    assert_eq!(plain.evaluate(&data).unwrap(), session.evaluate(&data).unwrap());
    let without = training_loss(&mut plain, &data);
    let first = training_loss(&mut session, &data);
    let second = session.forward_backward(&data, Accuracy::Skip).unwrap().loss;
    assert!(without != first && first != second && without != second, "{without} {first} {second}");
    assert_eq!(training_loss(&mut session, &data), first);
}

#[test]
fn its_bits_are_the_same_by_recomputation_and_for_any_number_of_threads() {
    let data = [batch(&settings(), 9, 300, Some(documents(9, 300)), 8)];
    let run = |memory, count| {
        let mut session = model::<f32>(0.3, memory, count);
        let gradients = gradients(&mut session, &data);
        session.apply().unwrap();
        (gradients, bits(&session))
    };
    let expected = run(ActivationMemory::Keep, 1);
    assert!(run(ActivationMemory::Keep, 3) == expected, "3 threads");
    assert!(run(ActivationMemory::Recompute, 2) == expected, "recomputed");
}
