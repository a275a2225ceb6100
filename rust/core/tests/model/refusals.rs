//! Refusals of a session, which change nothing: bad batches, calls while buffers are lent, heads that do not fit.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{CLASSES, FEATURES, WIDTH, batch, bits, config, language_model, threads, to_f64};
use crate::invariants::{plan, trained};
use serde_json::json;
use ssm_hpn::Error;
use ssm_hpn::checkpoint::Scope;
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::FreezeSpec;
use ssm_hpn::session::{Sampling, Session};
use ssm_hpn::target::Target;

#[test]
fn a_bad_batch_is_refused_and_changes_no_parameter_or_gradient() {
    let config = language_model();
    let mut session = trained::<f32>(&config);
    let good = batch(&config, 2, 8, None, 12);
    session.forward_backward(&good, Accuracy::Skip).unwrap();
    let (before, gradient) = (bits(&session), to_f64(session.flat_gradients()));
    let change = |f: &dyn Fn(&mut Batch)| {
        let mut bad = good.clone();
        f(&mut bad);
        bad
    };
    let features = vec![0.0; 16 * FEATURES];
    for bad in [
        change(&|b| b.input = Input::Tokens(vec![CLASSES as u32; 16])),
        change(&|b| b.input = Input::Features(features.clone())),
        change(&|b| b.length = 7),
        change(&|b| b.target = Target::token_class(vec![CLASSES as i32; 16])),
        change(&|b| b.target = Target::sequence_class(vec![0, 0])),
        change(&|b| b.segments[1].end = 9),
        change(&|b| b.mask = Some(vec![1; 15])),
        change(&|b| b.mask = Some(vec![2; 16])),
    ] {
        assert!(
            matches!(session.forward_backward(&bad, Accuracy::Skip), Err(Error::Shape { .. })),
            "{bad:?}"
        );
    }
    assert_eq!((bits(&session), to_f64(session.flat_gradients())), (before, gradient));
}

#[test]
fn while_the_flat_buffers_are_lent_every_other_call_is_refused() {
    let config = language_model();
    let mut session = trained::<f32>(&config);
    let data = batch(&config, 1, 8, None, 13);
    let (root, mut stream) = (tempfile::tempdir().unwrap(), session.stream(1).unwrap());
    session.lend_flat().unwrap()[0][0] = 0.5;
    let is_lent = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Borrowed { .. })));
    is_lent(session.forward_backward(&data, Accuracy::Skip).map(drop));
    is_lent(session.apply().map(drop));
    is_lent(session.zero_grad());
    is_lent(session.expand(&plan(r#"{"kind":"append","count":1}"#)).map(drop));
    is_lent(session.freeze(&FreezeSpec::default()).map(drop));
    is_lent(session.set_parameter("norm_f.weight", &[WIDTH], &[1.0; WIDTH]).map(drop));
    is_lent(session.lend_flat().map(drop));
    is_lent(session.load_weights(root.path(), Scope::Whole).map(drop));
    // The borrower may write to the buffers at any time, so reads are refused too.
    let greedy = Sampling { temperature: 0.0, top_k: None, top_p: None, seed: 0 };
    let step = Input::Tokens(vec![1]);
    let reads = [
        ("evaluate", session.evaluate(&data).map(drop)),
        ("predict", session.predict(&data).map(drop)),
        ("predict_with_features", session.predict_with_features(&data).map(drop)),
        ("hidden", session.hidden(&data).map(drop)),
        ("read", session.read(&mut stream, &step, 1).map(drop)),
        ("generate", session.generate(&[1], 2, &greedy).map(drop)),
        ("save", session.save(&root.path().join("step-00000000"), json!({})).map(drop)),
        ("digest", session.digest().map(drop)),
        ("grad_norm", session.grad_norm().map(drop)),
        ("max_prototype_cosine", session.max_prototype_cosine().map(drop)),
        ("parameter", session.parameter("norm_f.weight").map(drop)),
        ("gradient", session.gradient("norm_f.weight").map(drop)),
    ];
    let done = reads.iter().filter(|(_, result)| !matches!(result, Err(Error::Borrowed { .. })));
    assert_eq!(done.map(|(name, _)| *name).collect::<Vec<_>>(), [""; 0], "read while lent");
    session.return_flat();
    assert_eq!(session.flat_parameters()[0], 0.5);
    session.forward_backward(&data, Accuracy::Skip).unwrap();
    let refused = session.expand(&plan(r#"{"kind":"append","count":1}"#)).unwrap_err().to_string();
    assert!(refused.contains("those of 1 micro-batches"), "{refused}");
}

#[test]
fn a_head_that_does_not_fit_the_target_is_refused() {
    for (input, target, head) in [
        (
            "tokens",
            json!({"kind": "next_token"}),
            json!({"kind": "linear", "n_outputs": 2, "loss": "squared"}),
        ),
        (
            "features",
            json!({"kind": "sequence_values", "pooling": "mean", "n_values": 3}),
            json!({"kind": "linear", "n_outputs": 2, "loss": "squared"}),
        ),
        ("features", json!({"kind": "token_class"}), json!({"kind": "linear", "n_outputs": 7, "tied": true})),
        ("hidden", json!({"kind": "token_class"}), json!({"kind": "no such head"})),
    ] {
        let config = config(input, target, head);
        let refused = Session::<f32>::new(config, ssm_hpn::optim::OptimConfig::default(), 0, threads(1));
        assert!(matches!(refused.map(drop), Err(Error::Config { .. })));
    }
}
