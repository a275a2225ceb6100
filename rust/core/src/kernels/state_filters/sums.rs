//! Sums over the steps at which something holds, over a series that comes in pieces.
//!
//! A tile that is not complete is summed apart from those before it, so that the sums after any step have the same bits
//! wherever the pieces ended.

#![forbid(unsafe_code)]

use super::block::FILTERS;
use crate::numeric::Scalar;
use crate::simd::Vector;

/// Sums over the steps so far.
#[derive(Clone, Debug)]
pub(super) struct Sums<T> {
    /// Of the complete tiles: Σ p, Σ p·x, Σ p·t.
    whole: [[T; FILTERS]; 3],
    /// Of the last tile, where it is not complete: Σ p, Σ p·x, and the sum of the running count in place of Σ p·t.
    open: [[T; FILTERS]; 3],
}

/// Which part of a tile the steps are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<V> {
    /// They are the first of the tile.
    pub(super) first: bool,
    /// Where they are the last: the number of steps up to the end of the tile.
    pub(super) end: Option<V>,
}

impl<T: Scalar> Sums<T> {
    pub(super) const fn new() -> Self {
        let zeros = [[T::ZERO; FILTERS]; 3];
        Self { whole: zeros, open: zeros }
    }

    /// Count, sum and sum of counts of the filters from j on, before the steps of this part.
    #[inline(always)]
    pub(super) fn begin<V: Vector<T = T>>(&self, v: V, j: usize, part: Part<V::V>) -> [V::V; 3] {
        if part.first {
            return [v.splat(T::ZERO); 3];
        }
        std::array::from_fn(|k| v.load(&self.open[k][j..]))
    }

    /// Takes these after the steps of this part.
    #[inline(always)]
    pub(super) fn end<V: Vector<T = T>>(&mut self, v: V, j: usize, part: Part<V::V>, sums: [V::V; 3]) {
        if let Some(end) = part.end {
            let sums = closed(v, end, sums);
            for (whole, sum) in self.whole.iter_mut().zip(sums) {
                let whole = &mut whole[j..];
                v.store(whole, v.add(v.load(whole), sum));
            }
        } else {
            self.open.iter_mut().zip(sums).for_each(|(open, sum)| v.store(&mut open[j..], sum));
        }
    }

    /// Σ p, Σ p·x and Σ p·t of the filters from j on. `open`: the number of steps, where the last tile is not complete.
    #[inline(always)]
    pub(super) fn all<V: Vector<T = T>>(&self, v: V, j: usize, open: Option<V::V>) -> [V::V; 3] {
        let of = |sums: &[[T; FILTERS]; 3]| -> [V::V; 3] { std::array::from_fn(|k| v.load(&sums[k][j..])) };
        let whole = of(&self.whole);
        let Some(end) = open else { return whole };
        let open = closed(v, end, of(&self.open));
        std::array::from_fn(|k| v.add(whole[k], open[k]))
    }
}

/// Σ p·t in place of the sum of counts, for steps that end before `end`.
#[inline(always)]
fn closed<V: Vector>(v: V, end: V::V, [count, sum, counts]: [V::V; 3]) -> [V::V; 3] {
    [count, sum, v.sub(v.mul(end, count), counts)]
}
