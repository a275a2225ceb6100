//! An update shared by ranks: every rank has the moments of its own blocks alone, and updates these.
//!
//! ```text
//! all_to_all of gradients, by rounds → join in the order of a tree → guard of the own blocks
//! all_gather of the sums of squares → norm, clip, rate: the same on every rank → AdamW of the own blocks
//! all_gather of parameters, by rounds, and of the sums Σ Δp²
//! ```

use super::adamw::{AdamW, Update};
use super::guard::BlockMeasure;
use super::shares::Shares;
use crate::error::Result;
use crate::exchange::{Exchange, bytes, bytes_mut, join};
use crate::numeric::Scalar;
use crate::parallel::Threads;
use crate::params::{Arena, Table};

/// Places of parts in bytes.
fn byte_cuts<T>(cuts: &[usize]) -> Vec<usize> {
    cuts.iter().map(|cut| cut * size_of::<T>()).collect()
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

    /// As [`AdamW::apply`] where every rank has the gradients of its part of the batch in `grads`, and `sums` of all parts;
    /// all ranks call it at once. Parameters are whole on every rank after it, and gradients zero.
    pub(crate) fn apply_shared(
        &mut self,
        table: &Table,
        (params, grads): (&mut Arena<T>, &mut Arena<T>),
        sums: (f64, f64),
        (exchange, threads): (&dyn Exchange, &Threads),
    ) -> Result<Update> {
        let rounds = self.shares.rounds();
        let ranks = self.shares.ranks();
        let largest = rounds.iter().map(|round| round.own.len()).max().unwrap_or(0);
        let mut received: Arena<T> = Arena::try_zeros(ranks * largest, "gradients of other ranks")?;
        for round in &rounds {
            let received = &mut received.as_mut_slice()[..ranks * round.own.len()];
            let of_round = &mut grads.as_mut_slice()[round.elements.clone()];
            exchange.all_to_all(bytes(of_round), &byte_cuts::<T>(&round.cuts), bytes_mut(received))?;
            of_round.fill(T::ZERO);
            if !round.own.is_empty() {
                join(received, ranks);
                grads.as_mut_slice()[round.own.clone()].copy_from_slice(&received[..round.own.len()]);
            }
        }
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

    /// Both moments whole, on rank 0; `None` on the others. All ranks call it at once.
    pub(crate) fn whole_moments(&self, exchange: &dyn Exchange) -> Result<Option<[Arena<T>; 2]>> {
        let first = self.whole(&self.first, exchange)?;
        let second = self.whole(&self.second, exchange)?;
        Ok(first.zip(second).map(|(first, second)| [first, second]))
    }

    fn whole(&self, own: &Arena<T>, exchange: &dyn Exchange) -> Result<Option<Arena<T>>> {
        let rounds = self.shares.rounds();
        let elements = rounds.last().map_or(0, |round| round.elements.end);
        let mut whole = match self.shares.rank() {
            0 => Some(Arena::try_zeros(elements, "the moments of all ranks")?),
            _ => None,
        };
        let largest = rounds.iter().map(|round| round.elements.len()).max().unwrap_or(0);
        let mut buffer: Arena<T> = Arena::try_zeros(largest, "moments of other ranks")?;
        let mut rest = own.as_slice();
        for round in &rounds {
            let buffer = &mut buffer.as_mut_slice()[..round.elements.len()];
            let (part, later) = rest.split_at(round.own.len());
            rest = later;
            buffer[round.own.start - round.elements.start..][..part.len()].copy_from_slice(part);
            exchange.all_gather(bytes_mut(buffer), &byte_cuts::<T>(&round.cuts))?;
            if let Some(whole) = &mut whole {
                whole.as_mut_slice()[round.elements.clone()].copy_from_slice(buffer);
            }
        }
        Ok(whole)
    }
}
