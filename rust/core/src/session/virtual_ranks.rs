//! Virtual ranks: the parts of an update whose sums are joined in the order of a binary tree, and the ranks that share them.
//!
//! ```text
//! update        V virtual ranks, each a group of micro-batches whose gradients add up one after the other
//! sum           ((g_0 + g_1) + (g_2 + g_3)) + …          gradients, losses, weights, what the head gathers
//! R ranks       rank r computes virtual ranks r·V/R … (r+1)·V/R - 1, a whole branch of the tree
//! ```
//!
//! So the sum has the same bits on any number of ranks, and for any number of threads. On one rank a virtual rank is joined
//! with those before it as soon as it is complete, as a binary counter carries: log2(V) further buffers of gradients are
//! enough, and none with one virtual rank.

#![forbid(unsafe_code)]

use rayon::prelude::*;

use super::pending::{Branch, Pending};
use super::training::Session;
use crate::error::{Error, Result};
use crate::exchange::{Exchange, join};
use crate::numeric::Scalar;
use crate::params::Arena;

/// Elements that are added in one task.
const PART: usize = 1 << 14;

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
/// // An update of four virtual ranks with a micro-batch each: two further buffers of gradients.
/// let bytes = session.predicted_peak_bytes(1, 4);
/// session.plan_virtual_ranks(4);
/// assert!(session.predicted_peak_bytes(1, 4) >= bytes + 2 * 4 * session.n_parameters());
/// for n in 0..4 {
///     if n > 0 {
///         session.next_virtual_rank()?;
///     }
///     session.forward_backward(&batch, Accuracy::Skip)?;
/// }
/// session.join_virtual_ranks()?; // to look at the gradients; `apply` does it by itself
/// assert!(session.grad_norm()? > 0.0);
/// assert_eq!(session.apply()?.count, 12);
/// assert!(session.moment_bytes() >= 2 * 4 * session.n_parameters()); // alone it keeps both moments of all of them
/// # struct Alone;
/// # impl ssm_hpn::Exchange for Alone {
/// #     fn rank(&self) -> usize {
/// #         0
/// #     }
/// #     fn ranks(&self) -> usize {
/// #         1
/// #     }
/// #     fn all_to_all(&self, send: &[u8], _: &[usize], receive: &mut [u8]) -> ssm_hpn::Result<()> {
/// #         receive.copy_from_slice(send);
/// #         Ok(())
/// #     }
/// #     fn all_gather(&self, _: &mut [u8], _: &[usize]) -> ssm_hpn::Result<()> {
/// #         Ok(())
/// #     }
/// # }
///
/// // `Alone` is one rank, which stays as it is; see `Exchange` for several.
/// session.share(Box::new(Alone))?;
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
impl<T: Scalar> Session<T> {
    /// Counts on updates of so many virtual ranks of this process in the plan of memory. Nothing is taken before they run.
    pub fn plan_virtual_ranks(&mut self, count: u32) {
        self.more_gradients = (u32::BITS - count.saturating_sub(1).leading_zeros()) as usize;
    }

    /// The micro-batches so far are those of complete virtual ranks; the next one begins another.
    pub fn next_virtual_rank(&mut self) -> Result<()> {
        self.check_free("begin a virtual rank")?;
        self.check_not_exchanged("begin a virtual rank")?;
        let grads = match self.branches.free.pop() {
            Some(grads) => grads,
            None => Arena::try_zeros(self.grads.as_slice().len(), "the gradients of a virtual rank")?,
        };
        self.branches.complete += 1;
        for _ in 0..self.branches.complete.trailing_zeros() {
            self.join_last()?;
        }
        self.branches.waiting.push(Branch {
            grads: std::mem::replace(&mut self.grads, grads),
            gathered: self.statistics.take_gathered(),
            pending: std::mem::take(&mut self.pending),
        });
        Ok(())
    }

    /// Joins all virtual ranks of the present update: then the gradients can be read.
    pub fn join_virtual_ranks(&mut self) -> Result<()> {
        self.check_free("join the virtual ranks")?;
        while !self.branches.waiting.is_empty() {
            self.join_last()?;
        }
        self.branches.complete = 0;
        Ok(())
    }

    /// Joins the present branch with the one before it.
    fn join_last(&mut self) -> Result<()> {
        let Some(mut before) = self.branches.waiting.pop() else { return Ok(()) };
        let from = self.optimizer.exchanged_from(self.exchanged.rounds);
        let (left, exchanged) = before.grads.as_mut_slice().split_at_mut(from);
        let (right, joined) = self.grads.as_mut_slice().split_at_mut(from);
        // These were joined before they were exchanged.
        exchanged.copy_from_slice(joined);
        joined.fill(T::ZERO);
        self.threads.install(|| {
            left.par_chunks_mut(PART).zip(right.par_chunks_mut(PART)).for_each(|(left, right)| {
                for (left, right) in left.iter_mut().zip(right) {
                    *left += *right;
                    *right = T::ZERO;
                }
            });
        })?;
        self.branches.free.push(std::mem::replace(&mut self.grads, before.grads));
        self.statistics.join_behind(&before.gathered);
        self.pending = before.pending.joined(self.pending);
        Ok(())
    }

    /// Drops the branches that wait.
    pub(super) fn drop_branches(&mut self) {
        for mut branch in self.branches.waiting.drain(..) {
            branch.grads.as_mut_slice().fill(T::ZERO);
            self.branches.free.push(branch.grads);
        }
        self.branches.complete = 0;
    }

    /// Refuses the call while virtual ranks wait to be joined.
    pub(super) fn check_joined(&self) -> Result<()> {
        self.check_not_exchanged("gradients")?;
        match self.branches.waiting.len() {
            0 => Ok(()),
            waiting => {
                let expected = "those of joined virtual ranks, see join_virtual_ranks";
                Err(Error::shape("gradients", expected, format!("{} branches of them", waiting + 1)))
            }
        }
    }

    /// From now on several ranks train this model together: all have the same parameters, and make the same calls of
    /// [`Session::apply`] and [`Session::save`] at the same time. Each adds the gradients of its own virtual ranks. Moments
    /// are kept for this rank's share of the parameters. A rank alone stays as it is.
    ///
    /// The number of ranks is a power of two, as a rank computes a whole branch of the tree of virtual ranks.
    pub fn share(&mut self, exchange: Box<dyn Exchange>) -> Result<()> {
        self.check_free("share the training")?;
        self.check_no_gradients("share")?;
        let (rank, ranks) = (exchange.rank(), exchange.ranks());
        if ranks > 1 && self.carried.is_some() {
            return Err(Error::config(
                "share",
                "a session without states that the next batch goes on from",
                "those of the last batch",
                "train in one process, or with rows that begin anew",
            ));
        }
        if !ranks.is_power_of_two() || rank >= ranks || self.exchange.is_some() {
            return Err(Error::config(
                "ranks",
                "1, 2, 4, 8 or a higher power of two, shared once",
                format!("rank {rank} of {ranks}"),
                "start another number of ranks",
            ));
        }
        if ranks > 1 {
            self.optimizer.share(rank, ranks)?;
            self.exchange = Some(exchange);
        }
        Ok(())
    }

    /// Refuses the call where ranks share the training.
    pub(super) fn check_alone(&self, key: &str) -> Result<()> {
        match &self.exchange {
            None => Ok(()),
            Some(exchange) => Err(Error::config(
                key,
                "a session of one rank",
                format!("one of {}", exchange.ranks()),
                "load its checkpoint in a process of its own",
            )),
        }
    }

    /// The sums of all ranks, joined in the order of the tree, for what was gathered too.
    pub(super) fn joined_over_ranks(&mut self, pending: Pending) -> Result<Pending> {
        let Some(exchange) = &self.exchange else { return Ok(pending) };
        let (rank, ranks) = (exchange.rank(), exchange.ranks());
        let gathered = self.statistics.gathered_mut();
        let numbers = Pending::WHOLE + 2 + gathered.len();
        let mut own: Vec<u8> = pending.whole().iter().flat_map(|n| n.to_le_bytes()).collect();
        let reals = [pending.loss, pending.weight];
        own.extend(reals.iter().chain(gathered.iter()).flat_map(|x| x.to_le_bytes()));
        let cuts: Vec<usize> = (0..=ranks).map(|rank| rank * 8 * numbers).collect();
        let mut buffer = vec![0; cuts[ranks]];
        buffer[cuts[rank]..cuts[rank + 1]].copy_from_slice(&own);
        exchange.all_gather(&mut buffer, &cuts)?;
        let (words, _) = buffer.as_chunks::<8>();
        let mut whole = [0; Pending::WHOLE];
        let mut parts = Vec::with_capacity(ranks * (numbers - Pending::WHOLE));
        for words in words.chunks_exact(numbers) {
            for (sum, word) in whole.iter_mut().zip(words) {
                *sum += u64::from_le_bytes(*word);
            }
            parts.extend(words[Pending::WHOLE..].iter().map(|word| f64::from_le_bytes(*word)));
        }
        join(&mut parts, ranks);
        gathered.copy_from_slice(&parts[2..numbers - Pending::WHOLE]);
        let [micro_batches, count, scored, correct] = whole;
        Ok(Pending { micro_batches, count, scored, correct, loss: parts[0], weight: parts[1] })
    }
}
