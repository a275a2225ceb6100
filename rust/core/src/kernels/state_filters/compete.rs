//! Competition: which filter of a group has the highest response at a step, and which the lowest.

#![forbid(unsafe_code)]

use super::block::{COLUMNS, FILTERS, JOINED, ROWS, WON, add_to};
use crate::numeric::Scalar;
use crate::simd::Vector;

/// Sums over the steps won so far, each `[FILTERS]`: as the highest of the group, as the lowest.
#[derive(Clone, Debug)]
pub(super) struct Wins<T> {
    /// Σ p.
    count: [[T; FILTERS]; 2],
    /// Σ p·y.
    value: [[T; FILTERS]; 2],
    /// Σ p·t.
    position: [[T; FILTERS]; 2],
}

impl<T: Scalar> Wins<T> {
    pub(super) const fn new() -> Self {
        let zeros = [[T::ZERO; FILTERS]; 2];
        Self { count: zeros, value: zeros, position: zeros }
    }

    /// Share and value of the highest, of the lowest, position of the highest, of the lowest, each `[FILTERS]`.
    pub(super) fn features(&self, steps: usize, out: &mut [T]) {
        debug_assert_eq!(out.len(), WON * FILTERS, "features of a group");
        let steps = T::from_f64(steps as f64);
        for (side, sign) in [T::ONE, -T::ONE].into_iter().enumerate() {
            for j in 0..FILTERS {
                let (count, value) = (self.count[side][j], sign * self.value[side][j] / steps);
                let root = value.abs().sqrt();
                out[2 * side * FILTERS + j] = (count / steps).sqrt();
                out[(2 * side + 1) * FILTERS + j] = if value < T::ZERO { -root } else { root };
                out[(4 + side) * FILTERS + j] =
                    if count > T::ZERO { self.position[side][j] / count / steps } else { T::from_f64(0.5) };
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

/// Adds the steps of a tile, which ends before step `end`.
#[inline(always)]
pub(super) fn tile<T: Scalar, V: Vector<T = T>>(
    v: V,
    end: V::V,
    y: &[[T; FILTERS]],
    high: &[[T; COLUMNS]],
    low: &[[T; COLUMNS]],
    wins: &mut Wins<T>,
) {
    let (zero, one) = (v.splat(T::ZERO), v.splat(T::ONE));
    for j in (0..FILTERS).step_by(V::LANES) {
        let column = j % COLUMNS;
        let (mut count, mut value, mut counts) = ([zero; 2], [zero; 2], [zero; 2]);
        for ((y, high), low) in y.iter().zip(high).zip(low) {
            let y = v.load(&y[j..]);
            let won = [
                v.select_less(y, v.load(&high[column..]), zero, one),
                v.select_less(v.load(&low[column..]), y, zero, one),
            ];
            for (side, p) in won.into_iter().enumerate() {
                count[side] = v.add(count[side], p);
                counts[side] = v.add(counts[side], count[side]);
                value[side] = v.mul_add(p, y, value[side]);
            }
        }
        for side in 0..2 {
            add_to(v, &mut wins.count[side][j..], count[side]);
            add_to(v, &mut wins.value[side][j..], value[side]);
            add_to(v, &mut wins.position[side][j..], v.sub(v.mul(end, count[side]), counts[side]));
        }
    }
}
