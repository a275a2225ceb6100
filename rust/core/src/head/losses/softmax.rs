//! Cross entropy of scaled cosines, with or without an angular margin on the target.
//!
//! ```text
//! c_k = ẑ·p_k                      L = w·(ln Σ_k e^(s·c_k) - s·c_y)      w the weight of the row
//! g_k = w·s·(softmax - onehot)_k   g_ẑ = g·P   g_P = gᵀ·ẑ   g_s = Σ w·(softmax - onehot)⊙c
//! margin (ArcFace): c_y is replaced by φ, and g_y by g_y·φ':
//!     c > -cos m:  φ = cos(θ+m) = c·cos m - √(1-c²)·sin m,   φ' = cos m + c·sin m/√(1-c²),   1-c² ≥ 1e-12
//!     c ≤ -cos m:  φ = c - m·sin m,   φ' = 1         (beyond θ+m = π the cosine would rise again)
//! ```
//!
//! Smoothed targets: `smoothing`. Rows are taken in chunks, so that the cosines of some thousand rows and classes are in memory and no more.

use super::super::predictions::Wanted;
use super::super::rows::{Direction, blend, chunk_rows, dots, for_each_block, scale};
use super::smoothing::{Smoothed, Smoothing};
use super::weighted::WeightedClasses;
use crate::kernels::Accumulate;
use crate::kernels::matmul::{MatMut, MatRef, linear, linear_dw, linear_dw_scratch, linear_dx};
use crate::kernels::softmax::{self, Dims, ScoreGradient};
use crate::numeric::Scalar;
use crate::simd::{self, Kernel, Vector};

/// Softmax over the cosines to unit prototypes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax<'a, T> {
    /// `[C, dim]`, rows of unit length.
    pub prototypes: &'a [T],
    /// Length of a prototype.
    pub dim: usize,
    /// Factor s of the cosines.
    pub scale: T,
    /// Margin m in radians; 0 for none.
    pub margin: T,
    /// Smoothing of the targets.
    pub smoothing: Option<Smoothing<T>>,
}

/// Sums over the rows that have a class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SoftmaxSums {
    /// Σ of the losses.
    pub loss: f64,
    /// Rows with a class.
    pub count: u64,
    /// Gradient of the scale.
    pub scale_gradient: f64,
    /// Rows whose prediction was counted.
    pub scored: u64,
    /// Counted predictions that were right.
    pub correct: u64,
}

impl<T: Scalar> Softmax<'_, T> {
    /// Elements of scratch for n rows.
    pub(crate) fn scratch(n: usize, classes: usize, dim: usize, is_smoothed: bool) -> usize {
        let rows = chunk_rows(n, classes);
        let smoothing = if is_smoothed { Smoothing::<T>::scratch(rows, classes, dim) } else { 0 };
        rows * (classes + dim + 1) + smoothing + linear_dw_scratch(rows, classes, dim)
    }

    /// Sums over z `[n, dim]`. With [`ScoreGradient::Write`], z is overwritten by g_z and g_P added to `dprototypes`; otherwise
    /// both are left alone.
    pub(crate) fn run(
        &self,
        z: &mut [T],
        targets: WeightedClasses<T>,
        wanted: &mut Wanted<T>,
        gradient: ScoreGradient,
        mut dprototypes: Option<&mut [T]>,
        scratch: &mut [T],
    ) -> SoftmaxSums {
        targets.check(z.len(), self.dim);
        let n = targets.classes.len();
        let rows = chunk_rows(n, self.prototypes.len() / self.dim).max(1);
        let mut sums = SoftmaxSums::default();
        for (z, first) in z.chunks_mut(rows * self.dim).zip((0..n).step_by(rows)) {
            let targets = targets.rows(first..n.min(first + rows));
            let chunk = self.chunk(z, targets, wanted, gradient, dprototypes.as_deref_mut(), scratch);
            sums.loss += chunk.loss;
            sums.count += chunk.count;
            sums.scale_gradient += chunk.scale_gradient;
            sums.scored += chunk.scored;
            sums.correct += chunk.correct;
        }
        sums
    }

    fn chunk(
        &self,
        z: &mut [T],
        targets: WeightedClasses<T>,
        wanted: &mut Wanted<T>,
        gradient: ScoreGradient,
        dprototypes: Option<&mut [T]>,
        scratch: &mut [T],
    ) -> SoftmaxSums {
        let weighted = targets;
        let WeightedClasses { classes: targets, weights } = targets;
        let (n, dim, classes) = (targets.len(), self.dim, self.prototypes.len() / self.dim);
        let (cosines, scratch) = scratch.split_at_mut(n * classes);
        let (unit, scratch) = scratch.split_at_mut(n * dim);
        let (slopes, scratch) = scratch.split_at_mut(n);
        let prototypes = MatRef::new(self.prototypes, classes, dim);

        directions(z, unit, dim);
        linear(
            MatRef::new(unit, n, dim),
            prototypes,
            MatMut::new(cosines, n, classes),
            Accumulate::Overwrite,
        );
        let (scored, correct) = wanted.take_scores(classes, cosines, targets);
        let with_margin = self.margin > T::ZERO;
        if with_margin {
            for (c, slope) in of_targets(cosines, targets, slopes) {
                (*c, *slope) = margin(*c, self.margin);
            }
        }
        let smoothed = self.smoothing.map_or(0, |_| n);
        let (shares, scratch) = scratch.split_at_mut(smoothed * classes);
        let (rest, scratch) = scratch.split_at_mut(smoothed);
        let mut more = Smoothed::default();
        if let Some(smoothing) = &self.smoothing {
            smoothing.shares((self.prototypes, dim), targets, shares, &mut scratch[..n * dim]);
            more = smoothing.forward(cosines, shares, weighted, self.scale, rest);
        }
        let dims = Dims { rows: n, classes };
        let sums = softmax::cross_entropy(dims, cosines, targets, weights, self.scale, gradient);
        if gradient == ScoreGradient::Write {
            if let Some(smoothing) = &self.smoothing {
                smoothing.backward(cosines, shares, weighted, self.scale);
            }
            if with_margin {
                of_targets(cosines, targets, slopes).for_each(|(d, slope)| *d *= *slope);
            }
            let d = MatRef::new(cosines, n, classes);
            if let Some(dprototypes) = dprototypes {
                let dp = MatMut::new(dprototypes, classes, dim);
                linear_dw(d, MatRef::new(unit, n, dim), dp, scratch);
            }
            linear_dx(d, prototypes, MatMut::new(unit, n, dim), Accumulate::Overwrite);
            through_the_norm(z, unit, dim);
        }
        SoftmaxSums {
            loss: sums.loss + more.loss,
            count: sums.count,
            scale_gradient: sums.scale_gradient + more.scale_gradient,
            scored,
            correct,
        }
    }
}

/// The number of each row's class among its `[n, C]`, and the slope beside it, where there is a class.
fn of_targets<'a, T>(
    rows: &'a mut [T],
    targets: &'a [i32],
    slopes: &'a mut [T],
) -> impl Iterator<Item = (&'a mut T, &'a mut T)> {
    let classes = rows.len() / targets.len().max(1);
    let rows = rows.chunks_exact_mut(classes.max(1)).zip(targets).zip(slopes);
    rows.filter_map(|((row, &target), slope)| {
        usize::try_from(target).ok().map(|class| (&mut row[class], slope))
    })
}

/// (φ, φ') of the target's cosine.
fn margin<T: Scalar>(c: T, m: T) -> (T, T) {
    let (sin, cos) = m.to_f64().sin_cos();
    let (sin, cos) = (T::from_f64(sin), T::from_f64(cos));
    if c <= -cos {
        (c - m * sin, T::ONE)
    } else {
        let height = (T::ONE - c * c).max(T::from_f64(1e-12)).sqrt();
        (c * cos - height * sin, cos + c * sin / height)
    }
}

/// unit = z/max(‖z‖, 1e-8), row by row.
pub(crate) fn directions<T: Scalar>(z: &[T], unit: &mut [T], dim: usize) {
    assert_eq!(z.len(), unit.len(), "rows of z and of directions");
    unit.copy_from_slice(z);
    for_each_block(unit, dim, |_, unit| simd::run(Directions { unit, dim }));
}

struct Directions<'a, T> {
    unit: &'a mut [T],
    dim: usize,
}

impl<T: Scalar> Kernel<T> for Directions<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        for row in self.unit.chunks_exact_mut(self.dim) {
            let (square, _) = dots(v, row, row);
            scale(v, row, Direction::new(square).inverse);
        }
    }
}

/// The backward of [`directions`]: z ← g_z = (g - ẑ(ẑ·g))/‖z‖ for the gradient g of ẑ, row by row.
pub(crate) fn through_the_norm<T: Scalar>(z: &mut [T], gradient: &[T], dim: usize) {
    assert_eq!(z.len(), gradient.len(), "rows of z and of its gradient");
    for_each_block(z, dim, |first, z| {
        simd::run(ThroughTheNorm { z, gradient: &gradient[first * dim..], dim });
    });
}

struct ThroughTheNorm<'a, T> {
    z: &'a mut [T],
    gradient: &'a [T],
    dim: usize,
}

impl<T: Scalar> Kernel<T> for ThroughTheNorm<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        for (z, g) in self.z.chunks_exact_mut(self.dim).zip(self.gradient.chunks_exact(self.dim)) {
            let (zz, zg) = dots(v, z, g);
            let (alpha, beta) = Direction::new(zz).backward(T::ONE, zg);
            blend(v, z, alpha, g, beta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Shifted, every_isa_equals_scalar, numbers};
    use crate::simd::run_on;

    #[test]
    fn every_instruction_set_has_the_same_gradient_of_the_norm() {
        every_isa_equals_scalar("directions", 1, |isa, dim, shift| {
            let mut unit = Shifted::new(&numbers(4 * dim, 1), shift);
            run_on(isa, Directions { unit: &mut unit, dim });
            unit.to_vec()
        });
        every_isa_equals_scalar("gradient through the norm", 1, |isa, dim, shift| {
            let mut z = Shifted::new(&numbers(4 * dim, 1), shift);
            let gradient = Shifted::new(&numbers(4 * dim, 2), 2 * shift);
            run_on(isa, ThroughTheNorm { z: &mut z, gradient: &gradient, dim });
            // In one dimension z is left with roundings of this.
            [&*z, &gradient].concat()
        });
    }
}
