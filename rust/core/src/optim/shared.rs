//! An update shared by ranks: every rank has the moments of its own blocks alone, and updates these.
//!
//! ```text
//! all_to_all of gradients, by rounds, the last first → join in the order of a tree
//! guard of the own blocks
//! all_gather of the sums of squares → norm, clip, rate: the same on every rank → AdamW of the own blocks
//! all_gather of parameters, by rounds, and of the sums Σ Δp²
//! ```
//!
//! The first rounds of gradients may be exchanged while the backward pass of the others goes on.

use std::ops::Range;

use super::adamw::{AdamW, Update};
use super::guard::BlockMeasure;
use super::shares::{Round, Shares};
use crate::allocate::try_filled;
use crate::error::Result;
use crate::exchange::{Exchange, bytes, bytes_mut, join};
use crate::numeric::Scalar;
use crate::parallel::Threads;
use crate::params::{Arena, Table};

/// Places of parts in bytes.
fn byte_cuts<T>(cuts: &[usize]) -> Vec<usize> {
    cuts.iter().map(|cut| cut * size_of::<T>()).collect()
}

/// The exchange of an update's gradients, the last round first. A rank gets the sums of all ranks for its part of each.
pub(crate) struct GradientRounds<T> {
    shares: Shares,
    /// In the order of the buffers.
    rounds: Vec<Round>,
    exchanged: usize,
    /// The part of this rank in the round of every rank.
    received: Arena<T>,
}

impl<T: Scalar> GradientRounds<T> {
    /// Elements of a round; that at the end of the buffers may have fewer.
    pub(crate) fn elements(&self) -> usize {
        self.shares.round_elements()
    }

    /// Number of those that are exchanged.
    pub(crate) fn exchanged(&self) -> usize {
        self.exchanged
    }

    /// Elements of the round that is next; `None` after the last one.
    pub(crate) fn next(&self) -> Option<Range<usize>> {
        self.rounds.iter().rev().nth(self.exchanged).map(|round| round.elements.clone())
    }

    /// Exchanges the next round, whose gradients are `grads`: those of this rank's part get the sums, the others zero.
    pub(crate) fn exchange(&mut self, grads: &mut [T], exchange: &dyn Exchange) -> Result<()> {
        let Some(Round { elements, cuts, own }) = self.rounds.iter().rev().nth(self.exchanged) else {
            return Ok(());
        };
        let ranks = self.shares.ranks();
        let received = &mut self.received.as_mut_slice()[..ranks * own.len()];
        exchange.all_to_all(bytes(grads), &byte_cuts::<T>(cuts), bytes_mut(received))?;
        grads.fill(T::ZERO);
        if !own.is_empty() {
            join(received, ranks);
            grads[own.start - elements.start..own.end - elements.start]
                .copy_from_slice(&received[..own.len()]);
        }
        self.exchanged += 1;
        Ok(())
    }
}

impl<T: Scalar> AdamW<T> {
    /// From now on this is the optimiser of one of several ranks: only the moments of its blocks are kept.
    pub(crate) fn share(&mut self, rank: usize, ranks: usize) -> Result<()> {
        let shares = Shares::of(rank, ranks, self.first.as_slice().len());
        for moments in [&mut self.first, &mut self.second] {
            let mut own = Arena::try_zeros(shares.own_elements(), "the moments")?;
            let mut rest = own.as_mut_slice();
            for blocks in shares.own() {
                let from = &moments.as_slice()[shares.elements(&blocks)];
                let (to, later) = rest.split_at_mut(from.len());
                to.copy_from_slice(from);
                rest = later;
            }
            *moments = own;
        }
        self.shares = shares;
        Ok(())
    }

    /// The exchange of gradients after the first `exchanged` rounds.
    pub(crate) fn gradient_rounds(&self, exchanged: usize) -> Result<GradientRounds<T>> {
        let (shares, rounds) = (self.shares, self.shares.rounds());
        let largest = rounds.iter().map(|round| round.own.len()).max().unwrap_or(0);
        let received = Arena::try_zeros(shares.ranks() * largest, "gradients of other ranks")?;
        Ok(GradientRounds { shares, rounds, exchanged, received })
    }

    /// Elements from which on gradients are exchanged after so many rounds.
    pub(crate) fn exchanged_from(&self, exchanged: usize) -> usize {
        let rounds = self.shares.rounds();
        let last = exchanged.checked_sub(1).and_then(|last| rounds.iter().rev().nth(last));
        last.map_or(self.shares.buffer_elements(), |round| round.elements.start)
    }

    /// Elements that an exchange takes beside the buffers: what this rank receives of a round, and copies of what is sent and
    /// received by whoever carries the bytes. None for a rank alone.
    pub(crate) fn exchange_elements(&self) -> usize {
        match self.shares.ranks() {
            1 => 0,
            _ => 3 * self.shares.round_elements().min(self.shares.buffer_elements()),
        }
    }

    /// As [`AdamW::apply`] where `grads` has the gradients of all ranks for this rank's part, and `sums` are of all ranks;
    /// all ranks call it at once. Parameters are whole on every rank after it, and gradients zero.
    pub(crate) fn apply_shared(
        &mut self,
        table: &Table,
        (params, grads): (&mut Arena<T>, &mut Arena<T>),
        sums: (f64, f64),
        (exchange, threads): (&dyn Exchange, &Threads),
    ) -> Result<Update> {
        let rounds = self.shares.rounds();
        threads.install(|| self.measure(grads))?;
        let measures = self.gathered(exchange, |optimizer, block| optimizer.found[block].to_bytes())?;
        for (block, bytes) in measures {
            self.found[block] = BlockMeasure::from_bytes(bytes);
        }
        let mut update = self.decide(table, grads, sums)?;
        if !update.applied {
            return Ok(update);
        }
        threads.install(|| self.pass(params, grads))?;
        for round in &rounds {
            let of_round = &mut params.as_mut_slice()[round.elements.clone()];
            exchange.all_gather(bytes_mut(of_round), &byte_cuts::<T>(&round.cuts))?;
        }
        let sums = self.gathered(exchange, |optimizer, block| optimizer.square_sums[block].to_le_bytes())?;
        for (block, bytes) in sums {
            self.square_sums[block] = f64::from_le_bytes(bytes);
        }
        update.update_norm = self.update_norm();
        Ok(update)
    }

    /// A few bytes for each block, from the rank that owns it.
    fn gathered<const N: usize>(
        &self,
        exchange: &dyn Exchange,
        of_block: impl Fn(&Self, usize) -> [u8; N],
    ) -> Result<Vec<(usize, [u8; N])>> {
        let (mut order, mut cuts) = (Vec::new(), vec![0]);
        for rank in 0..self.shares.ranks() {
            order.extend(self.shares.blocks_of(rank).flatten());
            cuts.push(order.len() * N);
        }
        let mut buffer = vec![0; order.len() * N];
        let own = cuts[self.shares.rank()];
        for (to, block) in buffer[own..].chunks_exact_mut(N).zip(self.shares.own().flatten()) {
            to.copy_from_slice(&of_block(self, block));
        }
        exchange.all_gather(&mut buffer, &cuts)?;
        let (found, _) = buffer.as_chunks::<N>();
        Ok(order.into_iter().zip(found.iter().copied()).collect())
    }

    /// Both moments of all ranks, for one of them to read.
    pub(crate) fn of_ranks<'a>(&'a self, exchange: &'a dyn Exchange) -> MomentsOfRanks<'a, T> {
        let mut at = 0;
        let rounds = self.shares.rounds().into_iter().map(|round| {
            let own = at;
            at += round.own.len();
            (round, own)
        });
        MomentsOfRanks { own: [&self.first, &self.second], rounds: rounds.collect(), exchange }
    }
}

/// Both moments of all ranks. Rank 0 asks for parts of them, and the others answer until it ends: no rank ever has more of
/// them than its own and the part that is on its way.
///
/// ```text
/// all_gather of a request (what, start, end) of rank 0 → all_gather of the elements, from their owners → … → a request to end
/// ```
pub(crate) struct MomentsOfRanks<'a, T> {
    own: [&'a Arena<T>; 2],
    /// The rounds, each with the place of its first element in the moments of this rank.
    rounds: Vec<(Round, usize)>,
    exchange: &'a dyn Exchange,
}

/// What rank 0 asks for: elements of a moment, or the end, with or without success.
#[derive(Clone, Debug, PartialEq)]
enum Request {
    Part(usize, Range<usize>),
    End { succeeded: bool },
}

impl Request {
    const BYTES: usize = 24;

    fn to_bytes(&self) -> [u8; Self::BYTES] {
        let words = match self {
            Self::Part(moment, range) => [*moment, range.start, range.end],
            Self::End { succeeded } => [2, usize::from(*succeeded), 0],
        };
        let mut bytes = [0; Self::BYTES];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *to = (word as u64).to_le_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |i: usize| bytes.as_chunks().0.get(i).map_or(0, |word| u64::from_le_bytes(*word) as usize);
        match word(0) {
            moment @ 0..2 => Self::Part(moment, word(1)..word(2)),
            _ => Self::End { succeeded: word(1) == 1 },
        }
    }
}

impl<T: Scalar> MomentsOfRanks<'_, T> {
    /// On rank 0: elements of a moment.
    pub(crate) fn fetch(&self, moment: usize, range: Range<usize>, out: &mut [T]) -> Result<()> {
        self.agreed(&Request::Part(moment, range.clone()))?;
        self.gather(moment, &range, out)
    }

    /// On rank 0: no further part is wanted.
    pub(crate) fn end(&self, succeeded: bool) -> Result<()> {
        self.agreed(&Request::End { succeeded }).map(drop)
    }

    /// On the other ranks: answers until rank 0 ends; whether that was with success.
    pub(crate) fn answer(&self) -> Result<bool> {
        loop {
            match self.agreed(&Request::End { succeeded: false })? {
                Request::Part(moment, range) => {
                    let mut out = try_filled(T::ZERO, &[range.len()], "moments of other ranks")?;
                    self.gather(moment, &range, &mut out)?;
                }
                Request::End { succeeded } => return Ok(succeeded),
            }
        }
    }

    /// The request of rank 0, on all ranks; `own` is that of this one.
    fn agreed(&self, own: &Request) -> Result<Request> {
        let mut bytes = own.to_bytes();
        let cuts: Vec<usize> = (0..=self.exchange.ranks()).map(|n| n.min(1) * Request::BYTES).collect();
        self.exchange.all_gather(&mut bytes, &cuts)?;
        Ok(Request::from_bytes(&bytes))
    }

    fn gather(&self, moment: usize, range: &Range<usize>, out: &mut [T]) -> Result<()> {
        for (round, own) in &self.rounds {
            let start = round.elements.start;
            let part = range.start.max(start)..range.end.min(round.elements.end);
            if part.is_empty() {
                continue;
            }
            let out = &mut out[part.start - range.start..part.end - range.start];
            let cuts: Vec<usize> =
                round.cuts.iter().map(|cut| (start + cut).clamp(part.start, part.end) - part.start).collect();
            let of_rank = part.start.max(round.own.start)..part.end.min(round.own.end);
            if !of_rank.is_empty() {
                let from = own + of_rank.start - round.own.start;
                out[of_rank.start - part.start..of_rank.end - part.start]
                    .copy_from_slice(&self.own[moment].as_slice()[from..from + of_rank.len()]);
            }
            self.exchange.all_gather(bytes_mut(out), &byte_cuts::<T>(&cuts))?;
        }
        Ok(())
    }
}
