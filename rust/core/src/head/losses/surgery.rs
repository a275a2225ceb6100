//! Gradient surgery: one gradient of the shared representation from those of the two tasks of the joint loss.
//!
//! ```text
//! g_1, g_2   gradients of the loss of the number and of that of the class, with their weights, with respect to the
//!            features that the head gets: those of a micro-batch as one vector
//! g = a_1·g_1 + a_2·g_2        a = (1, 1) without surgery, and where one of the two is zero
//!
//! pcgrad     g_1·g_2 < 0: each gives up its part along the other,   a_i = 1 - g_1·g_2/‖g_i‖²
//! cagrad     m = (g_1 + g_2)/2, g_λ = λ·g_1 + (1-λ)·g_2,  λ in [0, 1] where F(λ) = g_λ·m + c·‖m‖·‖g_λ‖ is least
//!            g = 2·(m + c·‖m‖·g_λ/‖g_λ‖):   a_1 = 1 + 2λ·c·‖m‖/‖g_λ‖,  a_2 = 1 + 2(1-λ)·c·‖m‖/‖g_λ‖
//! ```
//!
//! Sources: T. Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020 (pcgrad). B. Liu et al., Conflict-Averse
//! Gradient Descent for Multi-task Learning, NeurIPS 2021 (cagrad): of all gradients within c·‖m‖ of the mean, the one
//! under which the task that gains least gains most; twice that, as the loss is a sum of two. O. Sener and V. Koltun,
//! Multi-Task Learning as Multi-Objective Optimization, NeurIPS 2018: gradients of the representation instead of those of
//! all parameters that it depends on. The parameters of the head itself get the sum of both gradients.
//!
//! Only products of the two gradients decide, which are summed in f64 in the order of the numbers.

use crate::numeric::Scalar;

/// Products of two gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gram {
    /// g_1·g_1.
    pub first: f64,
    /// g_1·g_2.
    pub both: f64,
    /// g_2·g_2.
    pub second: f64,
}

impl Gram {
    /// Of two vectors of equal length.
    pub(crate) fn new<T: Scalar>(first: &[T], second: &[T]) -> Self {
        assert_eq!(first.len(), second.len(), "gradients of the same features");
        let mut sums = Self { first: 0.0, both: 0.0, second: 0.0 };
        for (a, b) in first.iter().zip(second) {
            let (a, b) = (a.to_f64(), b.to_f64());
            sums.first += a * a;
            sums.both += a * b;
            sums.second += b * b;
        }
        sums
    }

    /// Whether one of the two is zero.
    fn has_zero(self) -> bool {
        self.first == 0.0 || self.second == 0.0
    }
}

/// The factors (a_1, a_2) of projecting conflicting gradients.
pub(crate) fn pcgrad(gram: Gram) -> [f64; 2] {
    if gram.both < 0.0 && !gram.has_zero() {
        [1.0 - gram.both / gram.first, 1.0 - gram.both / gram.second]
    } else {
        [1.0, 1.0]
    }
}

/// The factors (a_1, a_2) of the conflict-averse gradient within the share c of the mean's length.
///
/// F is convex. ‖g_λ‖² = A(λ-λ₀)² + B with A = ‖g_1 - g_2‖² and B the squared distance of the line through g_1 and g_2
/// from 0, so that with k = (g_1 - g_2)·m and r = -k/(c·‖m‖)
///
/// ```text
/// F'(λ) = k + c·‖m‖·A(λ-λ₀)/√(A(λ-λ₀)² + B) = 0   at   λ - λ₀ = r·√(B/(A(A - r²)))   where r² < A
/// ```
///
/// and F is monotone elsewhere. λ is then brought into [0, 1].
pub(crate) fn cagrad(gram: Gram, c: f64) -> [f64; 2] {
    let Gram { first, both, second } = gram;
    let mean = ((first + 2.0 * both + second) / 4.0).max(0.0).sqrt();
    let apart = (first - 2.0 * both + second).max(0.0);
    // Where the gradients oppose each other exactly nothing is gained; equal ones have no other gradient between them.
    if gram.has_zero() || mean == 0.0 || c == 0.0 {
        return [1.0, 1.0];
    }
    let lambda = if apart == 0.0 {
        0.5
    } else {
        let slope = (first - second) / 2.0; // k
        let r = -slope / (c * mean);
        let nearest = (second - both) / apart; // λ₀
        let distance = (first * second - both * both).max(0.0) / apart; // B
        let free = if r * r < apart {
            nearest + r * (distance / (apart * (apart - r * r))).sqrt()
        } else if slope > 0.0 {
            0.0
        } else {
            1.0
        };
        free.clamp(0.0, 1.0)
    };
    let other = 1.0 - lambda;
    let square = lambda * lambda * first + 2.0 * lambda * other * both + other * other * second;
    let length = square.max(0.0).sqrt();
    if length == 0.0 {
        return [1.0, 1.0];
    }
    let pull = 2.0 * c * mean / length;
    [1.0 + pull * lambda, 1.0 + pull * other]
}

/// first ← a_1·first + a_2·second.
pub(crate) fn combine<T: Scalar>(first: &mut [T], second: &[T], [a_1, a_2]: [f64; 2]) {
    let (a_1, a_2) = (T::from_f64(a_1), T::from_f64(a_2));
    for (x, y) in first.iter_mut().zip(second) {
        *x = a_1 * *x + a_2 * *y;
    }
}

/// The weights of two tasks that learn at the same rate.
///
/// ```text
/// v_1 = 1 + t, v_2 = 1 - t      factors of the two losses; t = 0 at the start
/// G_i = ‖g_i‖ with the factor v_i,  Ḡ = (G_1 + G_2)/2,  r_i = ρ_i/mean(ρ),  ρ_i = L_i/L_i of the first update
/// each update   ln v_i ← ln v_i - η·Σ sign(G_i - Ḡ·r_i^α)·G_i / ΣḠ,  then both divided by their mean, at least 0.01
/// ```
///
/// Z. Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks, ICML 2018:
/// gradient descent on Σ_i |G_i - Ḡ·r_i^α|, Ḡ·r_i^α held fixed; here in ln v_i, so that the weights stay positive and a
/// small one takes small steps, and divided by Ḡ, so that η has no unit. The sums run over the micro-batches of the update,
/// of which those count where neither task is without a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GradNorm {
    /// Exponent α: how strongly a task that has learned less is preferred.
    pub alpha: f64,
    /// Step η of the weights.
    pub rate: f64,
}

/// Least weight of a task.
const LEAST: f64 = 0.01;

impl GradNorm {
    /// Numbers kept over the updates: t and the first losses; gathered: slopes, losses, mean norms and targets.
    pub(crate) const STATISTICS: usize = 6;

    /// (v_1, v_2).
    pub(crate) fn weights(kept: &[f64]) -> [f64; 2] {
        [1.0 + kept[0], 1.0 - kept[0]]
    }

    /// Gathers a micro-batch: products of the weighted gradients, sums of the losses without v, and their targets' weight.
    pub(crate) fn gather(self, kept: &[f64], gathered: &mut [f64], gram: Gram, losses: [f64; 2], count: f64) {
        gathered[2] += losses[0];
        gathered[3] += losses[1];
        gathered[5] += count;
        if gram.has_zero() {
            return;
        }
        let norms = [gram.first.sqrt(), gram.second.sqrt()];
        let mean = f64::midpoint(norms[0], norms[1]);
        let known = kept[1] > 0.0 && kept[2] > 0.0 && losses[0] + losses[1] > 0.0;
        let left = [0, 1].map(|i| if known { losses[i] / count / kept[1 + i] } else { 1.0 });
        for i in 0..2 {
            let aim = mean * (left[i] / f64::midpoint(left[0], left[1])).powf(self.alpha);
            let side = if norms[i] > aim {
                1.0
            } else if norms[i] < aim {
                -1.0
            } else {
                0.0
            };
            gathered[i] += side * norms[i];
        }
        gathered[4] += mean;
    }

    /// One step of the weights, after an update.
    pub(crate) fn step(self, kept: &mut [f64], gathered: &[f64]) {
        if kept[1] == 0.0 && kept[2] == 0.0 && gathered[5] > 0.0 {
            kept[1] = gathered[2] / gathered[5];
            kept[2] = gathered[3] / gathered[5];
        }
        if gathered[4] > 0.0 {
            let weights = Self::weights(kept);
            let [first, second] = [0, 1].map(|i| weights[i] * (-self.rate * gathered[i] / gathered[4]).exp());
            kept[0] = ((first - second) / (first + second)).clamp(LEAST - 1.0, 1.0 - LEAST);
        }
    }
}

#[cfg(test)]
mod tests;
