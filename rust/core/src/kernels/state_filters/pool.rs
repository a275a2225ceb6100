//! Pools of the steps whose response is above a bias.

#![forbid(unsafe_code)]

use super::block::{ABOVE, BIASES, FILTERS};
use super::sums::{Part, Sums};
use crate::numeric::Scalar;
use crate::simd::Vector;

/// What one bias holds of the steps so far.
#[derive(Clone, Debug)]
pub(super) struct Above<T> {
    /// Of p and p·(y - b).
    sums: Sums<T>,
    /// Consecutive steps above that end at the last step `[FILTERS]`.
    run: [T; FILTERS],
    /// Most consecutive steps above `[FILTERS]`.
    longest: [T; FILTERS],
}

impl<T: Scalar> Above<T> {
    pub(super) const fn new() -> Self {
        let zeros = [T::ZERO; FILTERS];
        Self { sums: Sums::new(), run: zeros, longest: zeros }
    }

    /// Share, excess, position, longest, each `[FILTERS]`. `open` as in [`Sums::all`].
    #[inline(always)]
    pub(super) fn features<V: Vector<T = T>>(&self, v: V, steps: V::V, open: Option<V::V>, out: &mut [T]) {
        debug_assert_eq!(out.len(), ABOVE * FILTERS, "features of a bias");
        let (zero, none) = (v.splat(T::ZERO), v.splat(-T::ONE));
        for j in (0..FILTERS).step_by(V::LANES) {
            let [count, excess, position] = self.sums.all(v, j, open);
            let features = [
                v.div(count, steps),
                v.select_less(zero, count, v.div(excess, count), zero),
                v.select_less(zero, count, v.div(v.div(position, count), steps), none),
                v.div(v.load(&self.longest[j..]), steps),
            ];
            for (k, feature) in features.into_iter().enumerate() {
                v.store(&mut out[k * FILTERS + j..], feature);
            }
        }
    }
}

/// Adds steps of a tile.
#[inline(always)]
pub(super) fn tile<T: Scalar, V: Vector<T = T>>(
    v: V,
    part: &Part<T, V::V>,
    y: &[[T; FILTERS]],
    biases: &[T],
    above: &mut [Above<T>; BIASES],
) {
    let (zero, one) = (v.splat(T::ZERO), v.splat(T::ONE));
    for j in (0..FILTERS).step_by(V::LANES) {
        let bias: [V::V; BIASES] = std::array::from_fn(|k| v.load(&biases[k * FILTERS + j..]));
        let mut sums: [[V::V; 2]; BIASES] = std::array::from_fn(|k| above[k].sums.begin(v, j, part));
        let mut run: [V::V; BIASES] = std::array::from_fn(|k| v.load(&above[k].run[j..]));
        let mut longest: [V::V; BIASES] = std::array::from_fn(|k| v.load(&above[k].longest[j..]));
        for (y, place) in y.iter().zip(&part.places) {
            let (y, place) = (v.load(&y[j..]), v.splat(*place));
            for k in 0..BIASES {
                let over = v.sub(y, bias[k]);
                let p = v.less(zero, over);
                let [places, excess] = &mut sums[k];
                *places = v.add(*places, v.keep(p, place));
                *excess = v.add(*excess, v.keep(p, over));
                run[k] = v.keep(p, v.add(run[k], one));
                longest[k] = v.max(longest[k], run[k]);
            }
        }
        for (k, above) in above.iter_mut().enumerate() {
            above.sums.end(v, j, part, sums[k]);
            v.store(&mut above.run[j..], run[k]);
            v.store(&mut above.longest[j..], longest[k]);
        }
    }
}
