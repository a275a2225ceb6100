//! Which rank updates which blocks.
//!
//! ```text
//! blocks   0 … n     cut into rounds of at most ROUND blocks, and each round into one part for every rank, in their order
//! rank r   owns the r-th part of every round: it joins the gradients of these blocks, has their moments, updates them
//! ```
//!
//! So one round of gradients or parameters is exchanged at a time, and lies in one piece in the buffers. A rank alone owns
//! every block, in one round.

use std::ops::Range;

use super::plan::BLOCK;

/// Blocks of a round: 4 MB of f32 are on their way at once.
const ROUND: usize = 64;

/// The parts of one round.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Round {
    /// Elements of the buffers.
    pub(crate) elements: Range<usize>,
    /// Where the parts of the ranks begin and end, counted from the start of the round.
    pub(crate) cuts: Vec<usize>,
    /// Elements of this rank's part, counted from the start of the buffers.
    pub(crate) own: Range<usize>,
}

/// How the blocks are shared out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shares {
    rank: usize,
    ranks: usize,
    elements: usize,
    round: usize,
}

impl Shares {
    /// All blocks of buffers of so many elements for a rank alone.
    pub(crate) fn whole(elements: usize) -> Self {
        Self { rank: 0, ranks: 1, elements, round: elements.div_ceil(BLOCK).max(1) }
    }

    /// Those of one of several ranks.
    pub(crate) fn of(rank: usize, ranks: usize, elements: usize) -> Self {
        Self { rank, ranks, elements, round: ROUND.max(ranks) }
    }

    /// Blocks of a rank, a range for each round.
    pub(crate) fn blocks_of(&self, rank: usize) -> impl Iterator<Item = Range<usize>> {
        let Self { ranks, elements, round, .. } = *self;
        let blocks = elements.div_ceil(BLOCK);
        (0..blocks).step_by(round).map(move |first| {
            let count = round.min(blocks - first);
            first + count * rank / ranks..first + count * (rank + 1) / ranks
        })
    }

    /// Blocks of this rank, a range for each round.
    pub(crate) fn own(&self) -> impl Iterator<Item = Range<usize>> {
        self.blocks_of(self.rank)
    }

    /// Elements of a range of blocks.
    pub(crate) fn elements(&self, blocks: &Range<usize>) -> Range<usize> {
        (blocks.start * BLOCK).min(self.elements)..(blocks.end * BLOCK).min(self.elements)
    }

    /// Number of elements that this rank owns.
    pub(crate) fn own_elements(&self) -> usize {
        self.own().map(|blocks| self.elements(&blocks).len()).sum()
    }

    /// Number of ranks.
    pub(crate) fn ranks(&self) -> usize {
        self.ranks
    }

    /// Number of this rank.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Number of elements of all ranks.
    pub(crate) fn buffer_elements(&self) -> usize {
        self.elements
    }

    /// Elements of a round; the last one may have fewer.
    pub(crate) fn round_elements(&self) -> usize {
        self.round * BLOCK
    }

    /// The rounds of an exchange.
    pub(crate) fn rounds(&self) -> Vec<Round> {
        let parts: Vec<Vec<_>> = (0..self.ranks).map(|rank| self.blocks_of(rank).collect()).collect();
        let round = |n: usize| {
            let of: Vec<Range<usize>> = parts.iter().map(|parts| self.elements(&parts[n])).collect();
            let start = of[0].start;
            let cuts = std::iter::once(0).chain(of.iter().map(|part| part.end - start)).collect();
            let elements = start..of[self.ranks - 1].end;
            Round { elements, cuts, own: of[self.rank].clone() }
        };
        (0..parts[0].len()).map(round).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_one_owner_and_the_rounds_cover_the_buffers_in_order() {
        for elements in [0, 5, BLOCK, 3 * BLOCK + 16, 131 * BLOCK - 1] {
            for ranks in [1, 2, 4, 8, 128] {
                let mut owners = vec![0; elements.div_ceil(BLOCK)];
                let mut owned = 0;
                for rank in 0..ranks {
                    let shares = Shares::of(rank, ranks, elements);
                    shares.own().flatten().for_each(|block| owners[block] += 1);
                    owned += shares.own_elements();
                    let mut at = 0;
                    for (round, own) in shares.rounds().iter().zip(shares.own()) {
                        assert_eq!(round.elements.start, at);
                        at = round.elements.end;
                        assert_eq!(round.own, shares.elements(&own));
                        let cut = |i: usize| round.elements.start + round.cuts[i];
                        assert_eq!(cut(rank)..cut(rank + 1), round.own);
                        assert_eq!((round.cuts.len(), cut(ranks)), (ranks + 1, at));
                    }
                    assert_eq!(at, elements);
                }
                assert!(owners.iter().all(|&n| n == 1), "{elements} over {ranks}: {owners:?}");
                assert_eq!(owned, elements);
            }
            let whole = Shares::whole(elements);
            assert_eq!(whole.own_elements(), elements);
            assert!(whole.rounds().len() <= 1);
        }
    }
}
