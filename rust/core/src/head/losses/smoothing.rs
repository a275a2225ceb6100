//! Label smoothing (of cosines c_k here, of the outputs of a linear head with s = 1): a share ε of the target goes from the class y to all classes, or to those near it.
//!
//! ```text
//! t_k = (1-ε)·[k = y] + ε·q_k      L = w·(ln Σ_k e^(s·c_k) - s·Σ_k t_k·c_k),   g_k = w·s·(softmax - t)_k
//! all   q_k = 1/C
//! near  q_k = e^(r·p_y·p_k) / Σ_{j≠y} e^(r·p_y·p_j),  q_y = 0
//! ```
//!
//! What a loss without smoothing lacks, with ρ = c_y - Σ_k q_k·c_k (C. Szegedy et al., Rethinking the Inception
//! Architecture for Computer Vision, CVPR 2016, section 7, for q_k = 1/C):
//!
//! ```text
//! L += w·ε·s·ρ      g_k += w·ε·s·([k = y] - q_k)      g_s += w·ε·ρ
//! ```
//!
//! r is the scale at the start of training: `near` are the classes that a direction on the prototype of y itself would
//! be taken for. In a simplex all other classes are equally near. The prototypes are fixed; c_y is that after a margin.

use rayon::prelude::*;

use super::super::loss_config::Toward;
use super::super::rows::{BLOCK, blend, dots};
use super::weighted::WeightedClasses;
use crate::kernels::matmul::{MatMut, MatRef, linear};
use crate::kernels::softmax::{self, Dims, ScoreGradient};
use crate::kernels::{Accumulate, RowWeights};
use crate::numeric::Scalar;
use crate::simd::{self, Kernel, Vector};

/// How targets are smoothed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Smoothing<T> {
    /// Share ε that leaves the target's class.
    pub share: T,
    /// The classes that it goes to.
    pub toward: Toward,
    /// Factor r of the cosines between prototypes.
    pub nearness: T,
}

/// What smoothing adds to the sums over the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Smoothed {
    /// Σ w·ε·s·ρ.
    pub loss: f64,
    /// Σ w·ε·ρ.
    pub scale_gradient: f64,
}

impl<T: Scalar> Smoothing<T> {
    /// Elements of scratch for n rows: q `[n, C]`, ρ `[n]`, and the prototypes of the targets `[n, dim]`.
    pub(crate) fn scratch(n: usize, classes: usize, dim: usize) -> usize {
        n * (classes + 1 + dim)
    }

    /// q `[n, C]` of all classes alike.
    pub(crate) fn even(classes: usize, q: &mut [T]) {
        q.fill(T::ONE / T::from_f64(classes as f64));
    }

    /// q `[n, C]` of the rows that have a class; of the others undefined. `of_targets` `[n, dim]` is free to use.
    pub(super) fn shares(
        &self,
        (prototypes, dim): (&[T], usize),
        targets: &[i32],
        q: &mut [T],
        of_targets: &mut [T],
    ) {
        let classes = prototypes.len() / dim;
        if self.toward == Toward::All {
            return Self::even(classes, q);
        }
        for (to, &target) in of_targets.chunks_exact_mut(dim).zip(targets) {
            let class = usize::try_from(target).unwrap_or(0);
            to.copy_from_slice(&prototypes[class * dim..(class + 1) * dim]);
        }
        let n = targets.len();
        linear(
            MatRef::new(of_targets, n, dim),
            MatRef::new(prototypes, classes, dim),
            MatMut::new(q, n, classes),
            Accumulate::Overwrite,
        );
        // The class itself at the far end, so that 1 - σ_y below is no difference of nearly equal numbers.
        for (row, class) in with_a_class(q, targets, classes) {
            row[class] = -T::ONE;
        }
        let dims = Dims { rows: n, classes };
        softmax::cross_entropy(dims, q, targets, RowWeights::EQUAL, self.nearness, ScoreGradient::Write);
        // Of the softmax σ there are r·σ_k and -r·(1 - σ_y): their quotients are q_k.
        q.par_chunks_mut(BLOCK * classes).zip(targets.par_chunks(BLOCK)).for_each(|(q, targets)| {
            for (row, class) in with_a_class(q, targets, classes) {
                let rest = -row[class];
                row[class] = T::ZERO;
                for q in row {
                    *q /= rest;
                }
            }
        });
    }

    /// The sums, from the cosines a `[n, C]` before they become a gradient; leaves ρ `[n]`.
    pub(crate) fn forward(
        &self,
        a: &[T],
        q: &[T],
        targets: WeightedClasses<T>,
        scale: T,
        rest: &mut [T],
    ) -> Smoothed {
        let (classes, WeightedClasses { classes: of, weights }) = (a.len() / rest.len().max(1), targets);
        (rest.par_chunks_mut(BLOCK), of.par_chunks(BLOCK)).into_par_iter().enumerate().for_each(
            |(block, (rest, targets))| {
                let rows = block * BLOCK * classes..(block * BLOCK + targets.len()) * classes;
                simd::run(Rests { classes, a: &a[rows.clone()], q: &q[rows], targets, rest });
            },
        );
        let mut sums = Smoothed::default();
        for (i, rest) in rest.iter().enumerate() {
            let part = (self.share * *rest).to_f64() * weights.of(i).to_f64();
            sums.scale_gradient += part;
            sums.loss += part * scale.to_f64();
        }
        sums
    }

    /// Adds to da `[n, C]`, the gradient of the cosines without smoothing.
    pub(crate) fn backward(&self, da: &mut [T], q: &[T], targets: WeightedClasses<T>, scale: T) {
        let WeightedClasses { classes: of, weights } = targets;
        let (classes, strength) = (da.len() / of.len().max(1), self.share * scale);
        (da.par_chunks_mut(BLOCK * classes), q.par_chunks(BLOCK * classes), of.par_chunks(BLOCK))
            .into_par_iter()
            .enumerate()
            .for_each(|(block, (da, q, targets))| {
                let first = block * BLOCK;
                let weights = weights.rows(first..first + targets.len());
                simd::run(Towards { classes, da, q, targets, weights, strength });
            });
    }
}

/// The rows that have a class, with it.
fn with_a_class<'a, T>(
    rows: &'a mut [T],
    targets: &'a [i32],
    classes: usize,
) -> impl Iterator<Item = (&'a mut [T], usize)> {
    let rows = rows.chunks_exact_mut(classes).zip(targets);
    rows.filter_map(|(row, &target)| usize::try_from(target).ok().map(|class| (row, class)))
}

/// ρ = a_y - q·a of each row; 0 without a class.
struct Rests<'a, T> {
    classes: usize,
    a: &'a [T],
    q: &'a [T],
    targets: &'a [i32],
    rest: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Rests<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let rows = self.a.chunks_exact(self.classes).zip(self.q.chunks_exact(self.classes));
        for ((rest, &target), (a, q)) in self.rest.iter_mut().zip(self.targets).zip(rows) {
            *rest = match usize::try_from(target) {
                Ok(class) => a[class] - dots(v, q, a).1,
                Err(_) => T::ZERO,
            };
        }
    }
}

/// da_k += w·ε·s·([k = y] - q_k).
struct Towards<'a, T> {
    classes: usize,
    da: &'a mut [T],
    q: &'a [T],
    targets: &'a [i32],
    weights: RowWeights<'a, T>,
    strength: T,
}

impl<T: Scalar> Kernel<T> for Towards<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let rows = self.da.chunks_exact_mut(self.classes).zip(self.q.chunks_exact(self.classes));
        for (i, ((da, q), &target)) in rows.zip(self.targets).enumerate() {
            let Ok(class) = usize::try_from(target) else { continue };
            let strength = self.strength * self.weights.of(i);
            blend(v, da, -strength, q, T::ONE);
            da[class] += strength;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Shifted, every_isa_equals_scalar, numbers};
    use crate::simd::run_on;

    #[test]
    fn every_instruction_set_smooths_alike() {
        let (targets, weights) = ([2, -1, 0, 1], [1.0, 2.0, 0.5, 3.0]);
        every_isa_equals_scalar("smoothing", 3, |isa, classes, shift| {
            let a = Shifted::new(&numbers(4 * classes, 1), shift);
            let q = Shifted::new(&numbers(4 * classes, 2), 2 * shift);
            let mut rest = [f32::NAN; 4];
            run_on(isa, Rests { classes, a: &a, q: &q, targets: &targets, rest: &mut rest });
            let mut da = Shifted::new(&numbers(4 * classes, 3), shift);
            let weights = RowWeights::new(&weights);
            run_on(isa, Towards { classes, da: &mut da, q: &q, targets: &targets, weights, strength: 0.3 });
            [&*da, &rest].concat()
        });
    }
}
