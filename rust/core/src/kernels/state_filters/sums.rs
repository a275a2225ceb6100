//! Sums over the steps at which something holds, over a series that comes in pieces.
//!
//! A tile that is not complete is summed apart from those before it, so that the sums after any step have the same bits
//! wherever the pieces ended. Within a tile one number is both count and position: `Σ p·(UNIT + i)` for the i-th step of
//! the tile, which is exact, and whose sum of i is below half a UNIT.

#![forbid(unsafe_code)]

use super::block::{FILTERS, TILE};
use crate::numeric::Scalar;
use crate::simd::Vector;

/// More than twice the sum of the places in a tile.
const UNIT: f64 = 1024.0;
const _: () = assert!(TILE * (TILE - 1) < UNIT as usize);

/// Sums over the steps so far.
#[derive(Clone, Debug)]
pub(super) struct Sums<T> {
    /// Of the complete tiles: Σ p, Σ p·x, Σ p·t.
    whole: [[T; FILTERS]; 3],
    /// Of the last tile, where it is not complete: Σ p·(UNIT + i), Σ p·x.
    open: [[T; FILTERS]; 2],
}

/// Which part of a tile the steps are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<T, V> {
    /// UNIT + i of each of the steps.
    pub(super) places: [T; TILE],
    /// Steps before the tile.
    pub(super) start: V,
    /// They are the first of the tile.
    pub(super) first: bool,
    /// They are the last of the tile.
    pub(super) last: bool,
}

impl<T: Scalar, V> Part<T, V> {
    /// `len` steps from the `before`-th of a tile on, which begins at step `start`.
    pub(super) fn new(before: usize, len: usize, start: V) -> Self {
        let places = std::array::from_fn(|i| T::from_f64(UNIT + (before + i) as f64));
        Self { places, start, first: before == 0, last: before + len == TILE }
    }
}

impl<T: Scalar> Sums<T> {
    pub(super) const fn new() -> Self {
        let zeros = [T::ZERO; FILTERS];
        Self { whole: [zeros; 3], open: [zeros; 2] }
    }

    /// Σ p·(UNIT + i) and Σ p·x of the filters from j on, before the steps of this part.
    #[inline(always)]
    pub(super) fn begin<V: Vector<T = T>>(&self, v: V, j: usize, part: &Part<T, V::V>) -> [V::V; 2] {
        if part.first {
            return [v.splat(T::ZERO); 2];
        }
        std::array::from_fn(|k| v.load(&self.open[k][j..]))
    }

    /// Takes these after the steps of this part.
    #[inline(always)]
    pub(super) fn end<V: Vector<T = T>>(&mut self, v: V, j: usize, part: &Part<T, V::V>, sums: [V::V; 2]) {
        if part.last {
            for (whole, sum) in self.whole.iter_mut().zip(closed(v, part.start, sums)) {
                let whole = &mut whole[j..];
                v.store(whole, v.add(v.load(whole), sum));
            }
        } else {
            self.open.iter_mut().zip(sums).for_each(|(open, sum)| v.store(&mut open[j..], sum));
        }
    }

    /// Σ p, Σ p·x and Σ p·t of the filters from j on. `open`: the steps before the last tile, where it is not complete.
    #[inline(always)]
    pub(super) fn all<V: Vector<T = T>>(&self, v: V, j: usize, open: Option<V::V>) -> [V::V; 3] {
        let whole: [V::V; 3] = std::array::from_fn(|k| v.load(&self.whole[k][j..]));
        let Some(start) = open else { return whole };
        let open = closed(v, start, [v.load(&self.open[0][j..]), v.load(&self.open[1][j..])]);
        std::array::from_fn(|k| v.add(whole[k], open[k]))
    }
}

/// Σ p, Σ p·x and Σ p·t of a tile that begins at step `start`.
#[inline(always)]
fn closed<T: Scalar, V: Vector<T = T>>(v: V, start: V::V, [packed, sum]: [V::V; 2]) -> [V::V; 3] {
    // Adding 1.5·2^(bits of the fraction) and taking it away again rounds to a whole number.
    let rounding = v.splat(T::from_f64(1.5) / T::EPSILON);
    let count = v.sub(v.mul_add(packed, v.splat(T::from_f64(1.0 / UNIT)), rounding), rounding);
    let places = v.neg_mul_add(count, v.splat(T::from_f64(UNIT)), packed);
    [count, sum, v.mul_add(start, count, places)]
}
