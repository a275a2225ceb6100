//! Pools of the steps whose response is above a bias.

#![forbid(unsafe_code)]

use super::block::{ABOVE, BIASES, FILTERS, add_to};
use crate::numeric::Scalar;
use crate::simd::Vector;

/// Sums of one bias over the steps so far, each `[FILTERS]`.
#[derive(Clone, Debug)]
pub(super) struct Above<T> {
    /// Σ p.
    count: [T; FILTERS],
    /// Σ p·(y - b).
    excess: [T; FILTERS],
    /// Σ p·t.
    position: [T; FILTERS],
    /// Consecutive steps above that end at the last step.
    run: [T; FILTERS],
    /// Most consecutive steps above.
    longest: [T; FILTERS],
}

impl<T: Scalar> Above<T> {
    pub(super) const fn new() -> Self {
        let zeros = [T::ZERO; FILTERS];
        Self { count: zeros, excess: zeros, position: zeros, run: zeros, longest: zeros }
    }

    /// Share, excess, position, longest, each `[FILTERS]`.
    pub(super) fn features(&self, steps: usize, out: &mut [T]) {
        debug_assert_eq!(out.len(), ABOVE * FILTERS, "features of a bias");
        let steps = T::from_f64(steps as f64);
        for j in 0..FILTERS {
            let (count, any) = (self.count[j], self.count[j] > T::ZERO);
            out[j] = count / steps;
            out[FILTERS + j] = if any { self.excess[j] / count } else { T::ZERO };
            out[2 * FILTERS + j] = if any { self.position[j] / count / steps } else { -T::ONE };
            out[3 * FILTERS + j] = self.longest[j] / steps;
        }
    }
}

/// Adds the steps of a tile, which ends before step `end`.
#[inline(always)]
pub(super) fn tile<T: Scalar, V: Vector<T = T>>(
    v: V,
    end: V::V,
    y: &[[T; FILTERS]],
    biases: &[T],
    above: &mut [Above<T>; BIASES],
) {
    let (zero, one) = (v.splat(T::ZERO), v.splat(T::ONE));
    for j in (0..FILTERS).step_by(V::LANES) {
        let bias: [V::V; BIASES] = std::array::from_fn(|k| v.load(&biases[k * FILTERS + j..]));
        let (mut count, mut excess, mut counts) = ([zero; BIASES], [zero; BIASES], [zero; BIASES]);
        let mut run: [V::V; BIASES] = std::array::from_fn(|k| v.load(&above[k].run[j..]));
        let mut longest: [V::V; BIASES] = std::array::from_fn(|k| v.load(&above[k].longest[j..]));
        for y in y {
            let y = v.load(&y[j..]);
            for k in 0..BIASES {
                let over = v.sub(y, bias[k]);
                let p = v.select_less(zero, over, one, zero);
                count[k] = v.add(count[k], p);
                counts[k] = v.add(counts[k], count[k]);
                excess[k] = v.add(excess[k], v.max(over, zero));
                run[k] = v.mul_add(run[k], p, p);
                longest[k] = v.max(longest[k], run[k]);
            }
        }
        for (k, above) in above.iter_mut().enumerate() {
            add_to(v, &mut above.count[j..], count[k]);
            add_to(v, &mut above.excess[j..], excess[k]);
            add_to(v, &mut above.position[j..], v.sub(v.mul(end, count[k]), counts[k]));
            v.store(&mut above.run[j..], run[k]);
            v.store(&mut above.longest[j..], longest[k]);
        }
    }
}
