//! Competition: which filter of a group has the highest response at a step, and which the lowest.

#![forbid(unsafe_code)]

use super::block::{COLUMNS, FILTERS, JOINED, ROWS, WON};
use super::sums::{Part, Sums};
use crate::numeric::Scalar;
use crate::simd::Vector;

/// Sums over the steps won so far, of p and p·y: as the highest of the group, as the lowest.
#[derive(Clone, Debug)]
pub(super) struct Wins<T>([Sums<T>; 2]);

impl<T: Scalar> Wins<T> {
    pub(super) const fn new() -> Self {
        Self([const { Sums::new() }; 2])
    }

    /// Share and value of the highest, of the lowest, position of the highest, of the lowest, each `[FILTERS]`. `open` as in
    /// [`Sums::all`].
    #[inline(always)]
    pub(super) fn features<V: Vector<T = T>>(&self, v: V, steps: V::V, open: Option<V::V>, out: &mut [T]) {
        debug_assert_eq!(out.len(), WON * FILTERS, "features of a group");
        let (zero, middle) = (v.splat(T::ZERO), v.splat(T::from_f64(0.5)));
        for (side, (sums, sign)) in self.0.iter().zip([T::ONE, -T::ONE]).enumerate() {
            for j in (0..FILTERS).step_by(V::LANES) {
                let [count, value, position] = sums.all(v, j, open);
                let value = v.div(v.mul(v.splat(sign), value), steps);
                let root = v.sqrt(v.abs(value));
                let features = [
                    (2 * side, v.sqrt(v.div(count, steps))),
                    (2 * side + 1, v.select_less(value, zero, v.neg(root), root)),
                    (4 + side, v.select_less(zero, count, v.div(v.div(position, count), steps), middle)),
                ];
                for (k, feature) in features {
                    v.store(&mut out[k * FILTERS + j..], feature);
                }
            }
        }
    }
}

/// Highest and lowest response of each group, `[TILE, COLUMNS]`.
#[inline(always)]
pub(super) fn extremes<T: Scalar, V: Vector<T = T>>(
    v: V,
    y: &[[T; FILTERS]],
    high: &mut [[T; COLUMNS]],
    low: &mut [[T; COLUMNS]],
) {
    for ((y, high), low) in y.iter().zip(high).zip(low) {
        for column in (0..COLUMNS).step_by(V::LANES) {
            let first = v.load(&y[column..]);
            let (mut most, mut least) = (first, first);
            for row in 1..ROWS {
                let y = v.load(&y[row * COLUMNS + column..]);
                (most, least) = (v.max(most, y), v.min(least, y));
            }
            v.store(&mut high[column..], most);
            v.store(&mut low[column..], least);
        }
    }
}

/// Makes the extremes those of wide groups: of the columns that are the same modulo `COLUMNS / JOINED`.
#[inline(always)]
pub(super) fn join<T: Scalar>(high: &mut [[T; COLUMNS]], low: &mut [[T; COLUMNS]]) {
    const GROUPS: usize = COLUMNS / JOINED;
    let joined = |x: &[T; COLUMNS], better: fn(T, T) -> bool| -> [T; COLUMNS] {
        let of: [T; GROUPS] = std::array::from_fn(|group| {
            (1..JOINED).fold(x[group], |best, k| {
                let other = x[k * GROUPS + group];
                if better(other, best) { other } else { best }
            })
        });
        std::array::from_fn(|column| of[column % GROUPS])
    };
    for (high, low) in high.iter_mut().zip(low) {
        *high = joined(high, |a, b| a > b);
        *low = joined(low, |a, b| a < b);
    }
}

/// Adds steps of a tile.
#[inline(always)]
pub(super) fn tile<T: Scalar, V: Vector<T = T>>(
    v: V,
    part: &Part<T, V::V>,
    y: &[[T; FILTERS]],
    high: &[[T; COLUMNS]],
    low: &[[T; COLUMNS]],
    wins: &mut Wins<T>,
) {
    for j in (0..FILTERS).step_by(V::LANES) {
        let column = j % COLUMNS;
        let mut sums = [wins.0[0].begin(v, j, part), wins.0[1].begin(v, j, part)];
        for (((y, high), low), place) in y.iter().zip(high).zip(low).zip(&part.places) {
            let (y, place) = (v.load(&y[j..]), v.splat(*place));
            let lost = [v.less(y, v.load(&high[column..])), v.less(v.load(&low[column..]), y)];
            for (lost, [places, value]) in lost.into_iter().zip(&mut sums) {
                *places = v.add(*places, v.discard(lost, place));
                *value = v.add(*value, v.discard(lost, y));
            }
        }
        for (to, sums) in wins.0.iter_mut().zip(sums) {
            to.end(v, j, part, sums);
        }
    }
}
