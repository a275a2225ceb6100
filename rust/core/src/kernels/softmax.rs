//! Cross entropy of a softmax over the classes, row by row, with its gradient in place.
//!
//! ```text
//! l = s·a                        a `[n, C]`: cosines, or logits with s = 1; w the weight of the row
//! loss = Σ_rows w·(ln Σ_k e^(l_k) - l_target)
//! d = w·(softmax(l) - onehot)    da = s·d        ds = Σ d⊙a
//! ```
//!
//! Sums over the rows that have a target; target -1 means none, its row of da is zero. Losses are added in f64 in the
//! order of the rows. A logit that is not finite makes the loss NaN.

use super::blocks::Blocks;
use super::row_weights::RowWeights;
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};
use crate::real::Real;
use crate::simd::math::{LOG2_E, exp2_nonpositive};
use crate::simd::{self, Kernel, Vector};

/// Least number of rows for a thread.
const LEAST_ROWS: usize = 8;

/// Shape of the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows (n).
    pub rows: usize,
    /// Classes (C).
    pub classes: usize,
}

impl Dims {
    /// Panics unless the lengths fit and every target is a class or none.
    fn check(&self, scores: usize, targets: &[i32]) {
        assert_eq!(
            (scores, targets.len()),
            (self.rows * self.classes, self.rows),
            "lengths of scores and targets"
        );
        let highest = targets.iter().copied().max().unwrap_or(-1);
        assert!(highest < self.classes as i32, "target {highest} of {} classes", self.classes);
    }
}

/// Contents of the scores afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreGradient {
    /// They are replaced by da.
    Write,
    /// Their contents are undefined afterwards: only the sums are wanted.
    Skip,
}

/// Sums over the rows that have a target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Σ of the losses.
    pub loss: f64,
    /// Number of targets.
    pub count: u64,
    /// Σ d⊙a, the gradient of the scale.
    pub scale_gradient: f64,
}

/// Loss of the scores a `[n, C]` under logits `scale`·a, and da in their place.
///
/// # Panics
/// If a length does not fit or a target is not below the number of classes.
pub fn cross_entropy<T: Scalar>(
    dims: Dims,
    scores: &mut [T],
    targets: &[i32],
    weights: RowWeights<T>,
    scale: T,
    gradient: ScoreGradient,
) -> Sums {
    dims.check(scores.len(), targets);
    weights.check(dims.rows);
    let (blocks, classes) = (Blocks::new(dims.rows, LEAST_ROWS), dims.classes);
    let mut partial = [Sums::default(); Blocks::MOST];
    let (sums, scores) = (Shared::new(&mut partial), Shared::new(scores));
    for_each_task(blocks.count, |block| {
        let rows = blocks.range(block);
        // SAFETY: the rows of a block and its sums belong to its task.
        let (scores, sums) =
            unsafe { (scores.slice(rows.start * classes, rows.len() * classes), sums.slice(block, 1)) };
        let (targets, weights) = (&targets[rows.clone()], weights.rows(rows));
        sums[0] = simd::run(Rows { classes, scores, targets, weights, scale, gradient });
    });
    partial[..blocks.count].iter().fold(Sums::default(), |total, block| Sums {
        loss: total.loss + block.loss,
        count: total.count + block.count,
        scale_gradient: total.scale_gradient + block.scale_gradient,
    })
}

struct Rows<'a, T> {
    classes: usize,
    scores: &'a mut [T],
    targets: &'a [i32],
    weights: RowWeights<'a, T>,
    scale: T,
    gradient: ScoreGradient,
}

impl<T: Scalar> Kernel<T> for Rows<'_, T> {
    type Output = Sums;
    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) -> Sums {
        let mut sums = Sums::default();
        let rows = self.scores.chunks_exact_mut(self.classes.max(1)).zip(self.targets);
        for (i, (row, &target)) in rows.enumerate() {
            let Ok(target) = usize::try_from(target) else {
                if self.gradient == ScoreGradient::Write {
                    row.fill(T::ZERO);
                }
                continue;
            };
            let weight = self.weights.of(i);
            let (loss, along) = one_row(v, row, target, (self.scale, weight), self.gradient);
            sums.loss += loss * weight.to_f64();
            sums.scale_gradient += along * weight.to_f64();
            sums.count += 1;
        }
        sums
    }
}

/// Loss and Σ d⊙a of one row, whose gradient alone is weighted here, and the loss and the sum by the caller.
///
/// With the largest logit t, e_k = 2^((l_k - t)·log2 e) is at most 1, and 0 where it would be below 2^-64.5. First e is
/// stored in place of a, then scaled.
#[inline(always)]
fn one_row<V: Vector>(
    v: V,
    a: &mut [V::T],
    target: usize,
    (scale, weight): (V::T, V::T),
    gradient: ScoreGradient,
) -> (f64, f64) {
    let len = a.len();
    let (whole, s) = (len - len % V::LANES, v.splat(scale));
    let mut top = a[whole..].iter().fold(scale * a[target], |top, &a| top.max(scale * a));
    if whole > 0 {
        let mut tops = v.splat(top);
        for i in (0..whole).step_by(V::LANES) {
            tops = v.max(tops, v.mul(s, v.load(&a[i..])));
        }
        top = v.max_lane(tops);
    }
    let a_target = a[target];
    let (log2_e, zero) = (v.splat(V::T::from_f64(LOG2_E)), v.splat(V::T::ZERO));
    let (mut total, mut along) = (zero, zero);
    let tops = v.splat(top);
    for i in (0..whole).step_by(V::LANES) {
        let a_i = v.load(&a[i..]);
        let below = v.sub(v.mul(s, a_i), tops);
        let e = exp2_nonpositive(v, v.mul(below, log2_e));
        total = v.add(total, e);
        along = v.mul_add(e, a_i, along);
        v.store(&mut a[i..], e);
    }
    let (mut total, mut along) = (v.sum(total), v.sum(along));
    if whole < len {
        let a_i = v.load_partial(&a[whole..]);
        let below = v.min(v.sub(v.mul(s, a_i), tops), zero);
        let e = exp2_nonpositive(v, v.mul(below, log2_e));
        v.store_partial(&mut a[whole..], e);
        // Lanes beyond the end hold e^(0 - top), which must not count; stored and loaded again they are zeros.
        let e = v.load_partial(&a[whole..]);
        total += v.sum(e);
        along += v.sum(v.mul(e, a_i));
    }
    let inverse = V::T::ONE / total;
    if gradient == ScoreGradient::Write {
        let factor = scale * inverse * weight;
        for i in (0..len).step_by(V::LANES) {
            v.store_at(a, i, v.mul(v.splat(factor), v.load_at(a, i)));
        }
        a[target] += -(scale * weight);
    }
    let along = (along * inverse).to_f64() - a_target.to_f64();
    let loss = total.to_f64().ln() + (top.to_f64() - (scale * a_target).to_f64());
    // A vector maximum may skip a NaN; the weighted sum of the scores is NaN then.
    if along.is_finite() { (loss, along) } else { (f64::NAN, f64::NAN) }
}

/// Rows whose target has the largest score, among every `stride`-th row that has a target: (rows looked at, right ones).
/// Of equal scores the lowest class is the prediction.
///
/// # Panics
/// As [`cross_entropy`], or if `stride` is 0.
pub fn count_correct<T: Scalar>(dims: Dims, scores: &[T], targets: &[i32], stride: usize) -> (u64, u64) {
    dims.check(scores.len(), targets);
    let rows = scores.chunks_exact(dims.classes.max(1)).zip(targets).step_by(stride);
    rows.fold((0, 0), |(looked, right), (row, &target)| {
        let Ok(target) = usize::try_from(target) else { return (looked, right) };
        let score = row[target];
        let best = row[..target].iter().all(|&x| x < score) && row[target + 1..].iter().all(|&x| x <= score);
        (looked + 1, right + u64::from(best))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, central_differences, numbers, same_bits_for_any_threads};
    use crate::simd::{Isa, run_on};

    /// Targets that name every class and, every fourth row, none.
    fn targets(rows: usize, classes: usize) -> Vec<i32> {
        (0..rows).map(|i| if i % 4 == 3 { -1 } else { (i * 7 % classes) as i32 }).collect()
    }

    fn loss(dims: Dims, scores: &[f64], targets: &[i32], scale: f64) -> Sums {
        cross_entropy(dims, &mut scores.to_vec(), targets, RowWeights::EQUAL, scale, ScoreGradient::Skip)
    }

    #[test]
    fn gradients_equal_central_differences() {
        for (rows, classes, scale) in [(1, 1, 1.0), (5, 2, 1.0), (30, 11, 16.0)] {
            let dims = Dims { rows, classes };
            let (scores, targets) = (numbers::<f64>(rows * classes, 1), targets(rows, classes));
            let mut gradient = scores.clone();
            let sums =
                cross_entropy(dims, &mut gradient, &targets, RowWeights::EQUAL, scale, ScoreGradient::Write);
            assert_eq!(sums.count, (rows - rows / 4) as u64);
            assert_eq!(sums, loss(dims, &scores, &targets, scale));
            if classes > 1 {
                central_differences("da", &gradient, &scores, |a| loss(dims, a, &targets, scale).loss);
                let along = [sums.scale_gradient];
                central_differences("ds", &along, &[scale], |s| loss(dims, &scores, &targets, s[0]).loss);
            } else {
                assert_eq!((gradient[0], sums.loss, sums.scale_gradient), (0.0, 0.0, 0.0));
            }
        }
    }

    #[test]
    fn the_loss_is_minus_the_log_likelihood_even_of_large_logits() {
        let dims = Dims { rows: 2, classes: 3 };
        let sums = cross_entropy(
            dims,
            &mut [900.0, 0.0, -900.0, 1.0, 2.0, 4.0],
            &[2, 1],
            RowWeights::EQUAL,
            1.0_f64,
            ScoreGradient::Write,
        );
        let second = (1_f64.exp() + 2_f64.exp() + 4_f64.exp()).ln() - 2.0;
        assert!((sums.loss - (1800.0 + second)).abs() < 1e-12, "{sums:?}");
    }

    #[test]
    fn classes_of_no_probability_have_a_gradient_of_zero() {
        for isa in Isa::available() {
            let mut scores: Vec<f32> = (0..40).map(|k| -4.5 * k as f32).collect();
            let rows = Rows {
                classes: 40,
                scores: &mut scores,
                targets: &[39],
                weights: RowWeights::EQUAL,
                scale: 1.0,
                gradient: ScoreGradient::Write,
            };
            assert!((run_on(isa, rows).loss / (4.5 * 39.0) - 1.0).abs() < 1e-3);
            // e^-44.36 is 2^-64.
            assert!(scores[1..10].iter().all(|x| x.is_normal()), "{}", isa.name());
            assert!(scores[10..39].iter().all(|&x| x == 0.0), "{}", isa.name());
            assert_eq!(scores[39], -1.0);
        }
    }

    /// Each instruction set against f64, for all lengths and an unaligned start. The exponential errs by 2e-7 and by
    /// ε of its argument (up to 2·scale), the sum by ε per class.
    #[test]
    fn every_instruction_set_agrees_with_f64() {
        let scale = 6.0;
        for isa in Isa::available() {
            for classes in 1..4 * 16 + 4 {
                let targets = targets(5, classes);
                let mut scores = numbers::<f32>(1 + 5 * classes, classes as u64);
                let mut exact: Vec<f64> = scores[1..].iter().map(|&a| a.into()).collect();
                let expected = cross_entropy(
                    Dims { rows: 5, classes },
                    &mut exact,
                    &targets,
                    RowWeights::EQUAL,
                    scale.into(),
                    ScoreGradient::Write,
                );
                let rows = Rows {
                    classes,
                    scores: &mut scores[1..],
                    targets: &targets,
                    weights: RowWeights::EQUAL,
                    scale,
                    gradient: ScoreGradient::Write,
                };
                let found = run_on(isa, rows);
                let name = format!("{} with {classes} classes", isa.name());
                let bound = (classes as f64 + 4.0 * f64::from(scale) + 8.0) * f64::from(f32::EPSILON);
                let gradient: Vec<f64> = scores[1..].iter().map(|&a| a.into()).collect();
                // The target's element is a difference: the bound is relative to the scale, not to the result.
                exact.push(scale.into());
                assert_close(&name, &[&gradient[..], &[scale.into()]].concat(), &exact, bound);
                let (found, expected) =
                    ([found.loss, found.scale_gradient], [expected.loss, expected.scale_gradient]);
                for (f, e) in found.iter().zip(expected) {
                    assert!((f - e).abs() <= 4.0 * bound, "{name}: {found:?}, expected {e}");
                }
            }
        }
    }

    #[test]
    fn a_score_that_is_not_finite_makes_the_loss_not_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 5, 20] {
                let mut scores = numbers::<f32>(21, 1);
                scores[at] = bad;
                let sums = cross_entropy(
                    Dims { rows: 1, classes: 21 },
                    &mut scores,
                    &[3],
                    RowWeights::EQUAL,
                    2.0,
                    ScoreGradient::Write,
                );
                assert!(!sums.loss.is_finite(), "{bad} at {at}: {sums:?}");
            }
        }
    }

    #[test]
    fn the_lowest_of_equal_classes_is_the_prediction() {
        let dims = Dims { rows: 4, classes: 3 };
        let scores = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 2.0_f32];
        assert_eq!(count_correct(dims, &scores, &[0, 1, 2, -1], 1), (3, 2));
        assert_eq!(count_correct(dims, &scores, &[0, 1, 2, -1], 2), (2, 2));
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let (dims, targets) = (Dims { rows: 700, classes: 37 }, targets(700, 37));
        same_bits_for_any_threads(|| {
            let mut scores = numbers::<f32>(700 * 37, 1);
            let sums =
                cross_entropy(dims, &mut scores, &targets, RowWeights::EQUAL, 16.0, ScoreGradient::Write);
            let high = [sums.loss, sums.scale_gradient].map(|x| x as f32);
            let low = [0, 1].map(|i| ([sums.loss, sums.scale_gradient][i] - f64::from(high[i])) as f32);
            [&scores[..], &high, &low].concat()
        });
    }
}
