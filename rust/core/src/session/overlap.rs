//! The exchange of gradients during a backward pass.
//!
//! ```text
//! pass     head → rounds of it → layer L-1 → … its rounds → layer L-2 → …       nothing adds to these any more
//! thread         join branches, all_to_all of each round, the last first …      until the pass ends and all are exchanged
//! apply                                                     the rounds that remain, then everything else of the update
//! ```
//!
//! The pass gives whole rounds away as soon as they are complete, and keeps the elements below them; so nothing is copied,
//! and the calls of a rank come one after the other, in the order of an update without overlap. Sums have the same bits.

#![forbid(unsafe_code)]

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::pending::{Branch, Exchanged};
use super::training::Session;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::head::Accuracy;
use crate::model::Carried;
use crate::model::train::{Completed, Trained, TrainingArguments};
use crate::numeric::Scalar;
use crate::optim::shared::GradientRounds;
use crate::profile::recorded;

/// Runs a pass while a thread exchanges the rounds that it completes. Ends when both have ended.
fn overlapped<'g, T: Scalar, R>(
    (rounds, exchange): (GradientRounds<T>, &dyn Exchange),
    waiting: &mut [Branch<T>],
    pass: impl FnOnce(Completed<'g, T>) -> Result<R>,
) -> (Result<R>, Result<Exchanged>) {
    thread::scope(|scope| {
        let (to, complete) = channel();
        let elements = rounds.elements();
        let carrier = scope.spawn(move || carry(&complete, rounds, waiting, exchange));
        let result = pass(Completed::new(elements, to));
        let ended = Instant::now();
        let panicked = |_| Err(Error::Rank { problem: "the exchange of gradients panicked".to_owned() });
        let rounds = carrier.join().unwrap_or_else(panicked);
        (result, rounds.map(|rounds| Exchanged { rounds, waited: ended.elapsed() }))
    })
}

/// Joins the branches of every round that arrives, and exchanges it; returns how many there were.
fn carry<T: Scalar>(
    complete: &Receiver<&mut [T]>,
    mut rounds: GradientRounds<T>,
    waiting: &mut [Branch<T>],
    exchange: &dyn Exchange,
) -> Result<usize> {
    for mut grads in complete {
        while let Some(elements) = rounds.next().filter(|_| !grads.is_empty()) {
            let (rest, round) = grads.split_at_mut(grads.len() - elements.len());
            for branch in waiting.iter_mut().rev() {
                let before = &mut branch.grads.as_mut_slice()[elements.clone()];
                for (sum, before) in round.iter_mut().zip(before) {
                    *sum += std::mem::replace(before, T::ZERO);
                }
            }
            rounds.exchange(round, exchange)?;
            grads = rest;
        }
    }
    Ok(rounds.exchanged())
}

/// In place of an exchange that failed or was given up in the middle of an update.
struct GivenUp {
    rank: usize,
    ranks: usize,
}

impl GivenUp {
    fn refused() -> Error {
        let found = "one that was given up while its gradients were exchanged";
        let advice = "start every rank again from the last checkpoint";
        let problem = format!("ranks: expected updates that all of them complete, found {found}; {advice}");
        Error::Rank { problem }
    }
}

impl Exchange for GivenUp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn all_to_all(&self, _: &[u8], _: &[usize], _: &mut [u8]) -> Result<()> {
        Err(Self::refused())
    }

    fn all_gather(&self, _: &mut [u8], _: &[usize]) -> Result<()> {
        Err(Self::refused())
    }
}

/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// session.forward_backward(&batch, Accuracy::Skip)?;
/// session.last_micro_batch()?;
/// session.forward_backward(&batch, Accuracy::Skip)?;
/// assert!(session.waited_for_ranks().is_zero()); // this one is alone
/// assert_eq!(session.apply()?.count, 6);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
impl<T: Scalar> Session<T> {
    /// The next micro-batch is the last that this rank adds to the update: where ranks share the training, its gradients are
    /// exchanged during its backward pass, by another thread. Between it and [`Session::apply`] the ranks may exchange
    /// nothing else, and the gradients cannot be read or added to. Results are the same without this call.
    ///
    /// An update that is given up after it, by [`Session::zero_grad`], may leave the ranks apart: if gradients were
    /// exchanged, everything that ranks do together is refused from then on.
    pub fn last_micro_batch(&mut self) -> Result<()> {
        self.check_free("name the last micro-batch")?;
        self.check_not_exchanged("name the last micro-batch")?;
        self.is_last = true;
        Ok(())
    }

    /// The pass of a batch, and what was exchanged of the gradients meanwhile.
    pub(super) fn run_pass(
        &mut self,
        batch: &Batch,
        accuracy: Accuracy,
        carried: Option<Carried<T>>,
    ) -> Result<(Result<Trained>, Result<Exchanged>)> {
        let (key, step, is_last) = (self.key(), self.step_memory(), std::mem::take(&mut self.is_last));
        let Self { model, params, grads, masks, memory, threads, profile, class_weights, statistics, .. } =
            self;
        let memory = &mut *memory.take();
        let (params, running) = (params.as_slice(), statistics.running());
        let pass = |completed| {
            let training = TrainingArguments {
                params,
                grads,
                masks,
                key,
                step,
                carried,
                class_weights,
                running,
                completed,
                memory,
            };
            threads.install(|| recorded(profile.as_mut(), || model.train(training, batch, accuracy)))?
        };
        let Some(exchange) = self.exchange.as_deref().filter(|_| is_last) else {
            return Ok((pass(None), Ok(Exchanged::default())));
        };
        let rounds = self.optimizer.gradient_rounds(0)?;
        Ok(overlapped((rounds, exchange), &mut self.branches.waiting, |to| pass(Some(to))))
    }

    /// How long the last micro-batch waited, after its backward pass, for gradients that were exchanged during it.
    pub fn waited_for_ranks(&self) -> Duration {
        self.exchanged.waited
    }

    /// Refuses the call where gradients of the update were exchanged.
    pub(super) fn check_not_exchanged(&self, action: &str) -> Result<()> {
        match self.exchanged.rounds {
            0 => Ok(()),
            _ => Err(Error::shape(
                action,
                "an update after the last micro-batch",
                "gradients that ranks have exchanged",
            )),
        }
    }

    /// Takes in what a pass has exchanged. Where that failed the ranks are apart.
    pub(super) fn take_in_exchanged(&mut self, exchanged: Result<Exchanged>) -> Result<()> {
        match exchanged {
            Ok(exchanged) => self.exchanged = exchanged,
            Err(error) => {
                self.give_up_exchange();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Exchanges the rounds of gradients that no pass has exchanged, where ranks share the training.
    pub(super) fn exchange_gradients(&mut self) -> Result<()> {
        self.is_last = false;
        let Some(exchange) = &self.exchange else { return Ok(()) };
        let done = std::mem::take(&mut self.exchanged).rounds;
        let exchanged = self.optimizer.gradient_rounds(done).and_then(|mut rounds| {
            while let Some(elements) = rounds.next() {
                rounds.exchange(&mut self.grads.as_mut_slice()[elements], exchange.as_ref())?;
            }
            Ok(())
        });
        if exchanged.is_err() {
            self.give_up_exchange();
        }
        exchanged
    }

    /// Forgets what was exchanged of an update that is not applied: other ranks may have come to another round, so nothing
    /// is exchanged with them any more.
    pub(super) fn forget_exchanged(&mut self) {
        self.is_last = false;
        if std::mem::take(&mut self.exchanged).rounds > 0 {
            self.give_up_exchange();
        }
    }

    fn give_up_exchange(&mut self) {
        if let Some(exchange) = &self.exchange {
            self.exchange = Some(Box::new(GivenUp { rank: exchange.rank(), ranks: exchange.ranks() }));
        }
    }
}
