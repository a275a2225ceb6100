//! Gradients that ranks exchange during a backward pass: the same bits, and what is refused meanwhile and after a failure.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use serde_json::json;
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::ModelConfig;
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::Target;
use ssm_hpn::{Error, Exchange, Result};

use crate::common::{batch, bits, config, threads};
use crate::virtual_ranks::{InProcess, optim};

/// The threads that called `all_to_all`, in their order.
type Callers = Arc<Mutex<Vec<ThreadId>>>;

/// A rank that notes who calls `all_to_all`.
struct Noted {
    exchange: InProcess,
    callers: Callers,
}

impl Exchange for Noted {
    fn rank(&self) -> usize {
        self.exchange.rank()
    }

    fn ranks(&self) -> usize {
        self.exchange.ranks()
    }

    fn all_to_all(&self, send: &[u8], cuts: &[usize], receive: &mut [u8]) -> Result<()> {
        self.callers.lock().unwrap().push(thread::current().id());
        self.exchange.all_to_all(send, cuts, receive)
    }

    fn all_gather(&self, buffer: &mut [u8], cuts: &[usize]) -> Result<()> {
        self.exchange.all_gather(buffer, cuts)
    }
}

/// A model of two rounds, of which the head alone fills the last.
fn wide_head() -> ModelConfig {
    config("features", json!({"kind": "token_class"}), json!({"kind": "linear", "n_outputs": 110_000}))
}

fn new(config: &ModelConfig) -> Session<f32> {
    Session::new(config.clone(), optim(), 2, threads(1)).unwrap()
}

/// Three updates of four virtual ranks. The last micro-batch of update 1 has no target, nor has any of update 2. Returns
/// reports, parameters and moments.
fn trained(exchange: Option<InProcess>) -> (Vec<String>, Vec<u64>) {
    let (config, callers) = (wide_head(), Callers::default());
    let mut session = new(&config);
    let (rank, ranks) = exchange.as_ref().map_or((0, 1), |e| (e.rank() as u64, e.ranks() as u64));
    if let Some(exchange) = exchange {
        session.share(Box::new(Noted { exchange, callers: callers.clone() })).unwrap();
    }
    let mut reports = Vec::new();
    for step in 0..3 {
        let own = 4 * rank / ranks..4 * (rank + 1) / ranks;
        for n in own.clone() {
            if n > own.start {
                session.next_virtual_rank().unwrap();
            }
            if n + 1 == own.end {
                session.last_micro_batch().unwrap();
            }
            let mut batch = batch(&config, 1, 6, None, 100 * step + n);
            if step == 2 || (step == 1 && n == 3) {
                batch.target = Target::token_class(vec![-1; 6]);
            }
            session.number_next_micro_batch(n).unwrap();
            session.forward_backward(&batch, Accuracy::Count).unwrap();
        }
        let has_gradients = step == 0 || (step == 1 && own.end < 4);
        let during = usize::from(ranks > 1 && has_gradients);
        assert_eq!(callers.lock().unwrap().len(), during, "rounds during the pass of update {step}");
        if during > 0 {
            assert_ne!(callers.lock().unwrap()[0], thread::current().id(), "another thread");
            assert!(!session.waited_for_ranks().is_zero());
            assert!(matches!(session.next_virtual_rank(), Err(Error::Shape { .. })));
            assert!(matches!(session.last_micro_batch(), Err(Error::Shape { .. })));
            let again = session.forward_backward(&batch(&config, 1, 6, None, 0), Accuracy::Skip);
            assert!(matches!(again, Err(Error::Shape { .. })));
            session.join_virtual_ranks().unwrap();
            assert!(matches!(session.lend_flat(), Err(Error::Shape { .. })));
            assert!(matches!(session.gradient("norm_f.weight"), Err(Error::Shape { .. })));
        }
        reports.push(format!("{:?}", session.apply().unwrap()));
        assert_eq!(
            callers.lock().unwrap().drain(..).count(),
            if ranks > 1 { 2 } else { 0 },
            "rounds of an update"
        );
    }
    (reports, bits(&session))
}

#[test]
fn gradients_are_exchanged_during_the_pass_that_completes_them_and_give_the_same_bits() {
    let expected = trained(None);
    for ranks in [2, 4] {
        let found: Vec<_> = thread::scope(|scope| {
            let started = InProcess::of(ranks).into_iter().map(|one| scope.spawn(move || trained(Some(one))));
            let started: Vec<_> = started.collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(found.iter().all(|one| one.0 == expected.0), "{:?} for {:?}", found[0].0, expected.0);
        assert!(found.iter().all(|one| one.1 == expected.1), "{ranks} ranks");
    }
}

/// What `all_to_all` of the first of two ranks does. The other one is not there.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Work,
    Fail,
    Panic,
}

impl Exchange for Does {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        2
    }

    fn all_to_all(&self, _: &[u8], _: &[usize], _: &mut [u8]) -> Result<()> {
        assert!(*self != Self::Panic, "as the test wants it");
        if *self == Self::Fail { Err(Error::Rank { problem: "lost".to_owned() }) } else { Ok(()) }
    }

    fn all_gather(&self, _: &mut [u8], _: &[usize]) -> Result<()> {
        Ok(())
    }
}

/// The problem of an error about ranks.
fn problem<R: std::fmt::Debug>(result: Result<R>) -> String {
    match result {
        Err(Error::Rank { problem }) => problem,
        other => format!("no such error: {other:?}"),
    }
}

#[test]
fn an_exchange_that_fails_during_a_pass_is_one_error_and_ends_what_ranks_do_together() {
    let config = wide_head();
    for (does, text) in [(Does::Fail, "lost"), (Does::Panic, "the exchange of gradients panicked")] {
        let mut session = new(&config);
        session.share(Box::new(does)).unwrap();
        session.last_micro_batch().unwrap();
        let run = session.forward_backward(&batch(&config, 1, 6, None, 0), Accuracy::Skip);
        assert_eq!(problem(run), text);
        session.zero_grad().unwrap();
        session.forward_backward(&batch(&config, 1, 6, None, 0), Accuracy::Skip).unwrap();
        let applied = problem(session.apply());
        assert!(applied.contains("given up while its gradients"), "{applied}");
    }
    // After the pass too.
    let mut session = new(&config);
    session.share(Box::new(Does::Fail)).unwrap();
    for text in ["lost", "given up while its gradients"] {
        session.forward_backward(&batch(&config, 1, 6, None, 0), Accuracy::Skip).unwrap();
        let applied = problem(session.apply());
        assert!(applied.contains(text), "{applied}");
        session.zero_grad().unwrap();
    }
}

#[test]
fn an_update_that_is_given_up_after_gradients_were_exchanged_parts_the_ranks() {
    let config = wide_head();
    let micro = batch(&config, 1, 6, None, 0);
    let mut session = new(&config);
    session.share(Box::new(Does::Work)).unwrap();
    // Nothing was exchanged: the ranks are together still.
    for is_last in [false, true] {
        if is_last {
            session.last_micro_batch().unwrap();
        }
        session.zero_grad().unwrap();
        session.forward_backward(&micro, Accuracy::Skip).unwrap();
    }
    session.zero_grad().unwrap();
    session.last_micro_batch().unwrap();
    session.forward_backward(&micro, Accuracy::Skip).unwrap();
    session.zero_grad().unwrap();
    let saved = session.save(&tempfile::tempdir().unwrap().path().join("step-00000000"), json!(null));
    assert!(problem(saved).contains("given up while its gradients"));
    assert!(problem(session.apply()).contains("given up while its gradients"));
}

#[test]
fn the_plan_of_memory_has_what_ranks_exchange_at_a_time() {
    let of = |config: &ModelConfig| {
        let mut session = Session::<f32>::new(config.clone(), OptimConfig::default(), 0, threads(1)).unwrap();
        let alone = session.predicted_peak_bytes(1, 6);
        session.share(Box::new(Does::Work)).unwrap();
        (session.predicted_peak_bytes(1, 6) - alone, size_of_val(session.flat_gradients()))
    };
    let (exchanged, _) = of(&wide_head());
    assert_eq!(exchanged, 3 * (4 << 20), "three rounds");
    let (exchanged, gradients) = of(&crate::common::language_model());
    assert_eq!(exchanged, 3 * gradients, "of a model that is smaller than a round");
}
