//! Losses that pull ẑ towards one point: squared cosine, regression pole, and both together.
//!
//! They read the target's prototype and nothing else: O(Q) per row for any number of prototypes. Each row leaves a
//! [`RowRecord`] of its loss and errors. The weight of a row is a factor of its loss and gradient, not of its errors.

use super::super::rows::{
    ABSOLUTE, Direction, LOSS, PREDICTED, RowRecord, SQUARED, blend, dots, for_each_recorded_block, scale,
};
use super::weighted::WeightedClasses;
use crate::kernels::RowWeights;
use crate::numeric::Scalar;
use crate::simd::{self, Kernel, Vector};

/// (1 - c)² with c = ẑ·p_y; g_z = -2(1-c)(p_y - c·ẑ)/‖z‖.
///
/// `prototypes` `[C, dim]`, `classes` `[n]`.
pub(crate) fn cosine<T: Scalar>(
    z: &mut [T],
    dim: usize,
    prototypes: &[T],
    targets: WeightedClasses<T>,
    records: &mut [RowRecord<T>],
) {
    targets.check(z.len(), dim);
    for_each_recorded_block(z, dim, records, |first, z, records| {
        let targets = targets.rows(first..first + records.len());
        simd::run(Cosine { z, dim, prototypes, targets, records });
    });
}

struct Cosine<'a, T> {
    z: &'a mut [T],
    dim: usize,
    prototypes: &'a [T],
    targets: WeightedClasses<'a, T>,
    records: &'a mut [RowRecord<T>],
}

impl<T: Scalar> Kernel<T> for Cosine<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let WeightedClasses { classes, weights } = self.targets;
        let rows = self.z.chunks_exact_mut(self.dim).zip(classes).zip(self.records);
        for (i, ((z, &class), record)) in rows.enumerate() {
            *record = RowRecord::default();
            let Some(p) = prototype(self.prototypes, self.dim, class) else {
                z.fill(T::ZERO);
                continue;
            };
            let (zz, zp) = dots(v, z, p);
            let direction = Direction::new(zz);
            let rest = T::ONE - zp * direction.inverse;
            let weight = weights.of(i);
            record[LOSS] = rest * rest * weight;
            let (alpha, beta) = direction.backward(-(rest + rest) * weight, zp);
            blend(v, z, alpha, p, beta);
        }
    }
}

/// The prototype of a class, none for a negative one.
#[inline(always)]
fn prototype<T>(prototypes: &[T], dim: usize, class: i32) -> Option<&[T]> {
    let class = usize::try_from(class).ok()?;
    Some(&prototypes[class * dim..(class + 1) * dim])
}

/// The numbers between which a regression predicts: the far pole and the pole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range<T> {
    /// At cosine -1.
    pub low: T,
    /// At cosine 1.
    pub high: T,
}

impl<T: Scalar> Range<T> {
    /// The cosine of a number: -1 at `low`, 1 at `high`.
    #[inline(always)]
    pub(crate) fn to_cosine(self, y: T) -> T {
        (y - self.low + y - self.low) / (self.high - self.low) - T::ONE
    }

    /// The number of a cosine, the inverse.
    #[inline(always)]
    pub(crate) fn number_at(self, cosine: T) -> T {
        (cosine + T::ONE) * T::from_f64(0.5) * (self.high - self.low) + self.low
    }

    /// The record of one prediction: loss (r - ĉ)² and errors in the numbers' unit; and the gradient -2(r - ĉ) of ĉ.
    #[inline(always)]
    fn compare(self, y: T, cosine: T, record: &mut RowRecord<T>) -> T {
        let rest = self.to_cosine(y) - cosine;
        let predicted = self.number_at(cosine);
        let error = predicted - y;
        record[PREDICTED] = predicted;
        record[LOSS] = rest * rest;
        record[SQUARED] = error * error;
        record[ABSOLUTE] = error.abs();
        -(rest + rest)
    }
}

/// (r - ẑ_0)² with r the target's cosine; g_z = -2(r - ẑ_0)(e_0 - ẑ_0·ẑ)/‖z‖.
pub(crate) fn regression<T: Scalar>(
    z: &mut [T],
    dim: usize,
    range: Range<T>,
    values: &[T],
    weights: RowWeights<T>,
    records: &mut [RowRecord<T>],
) {
    assert_eq!(z.len(), values.len() * dim, "rows of z and values");
    weights.check(values.len());
    for_each_recorded_block(z, dim, records, |first, z, records| {
        let rows = first..first + records.len();
        let (values, weights) = (&values[rows.clone()], weights.rows(rows));
        simd::run(Regression { z, dim, range, values, weights, records });
    });
}

struct Regression<'a, T> {
    z: &'a mut [T],
    dim: usize,
    range: Range<T>,
    values: &'a [T],
    weights: RowWeights<'a, T>,
    records: &'a mut [RowRecord<T>],
}

impl<T: Scalar> Kernel<T> for Regression<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let rows = self.z.chunks_exact_mut(self.dim).zip(self.values).zip(self.records);
        for (i, ((z, &y), record)) in rows.enumerate() {
            *record = RowRecord::default();
            if y.is_nan() {
                z.fill(T::ZERO);
                continue;
            }
            let (zz, _) = dots(v, z, z);
            let direction = Direction::new(zz);
            let weight = self.weights.of(i);
            let d_cosine = self.range.compare(y, z[0] * direction.inverse, record) * weight;
            record[LOSS] *= weight;
            let (alpha, beta) = direction.backward(d_cosine, z[0]);
            scale(v, z, beta);
            z[0] += alpha;
        }
    }
}

/// Targets of the joint loss: a class and a number per row, and how much it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassAndValue<'a, T> {
    /// `[n]`; negative: none.
    pub classes: &'a [i32],
    /// `[n]`; NaN: none.
    pub values: &'a [T],
    /// `[n]`.
    pub weights: RowWeights<'a, T>,
}

impl<T: Scalar> ClassAndValue<'_, T> {
    /// Rows that have both.
    pub(crate) fn known(&self) -> u64 {
        let rows = self.classes.iter().zip(self.values);
        rows.filter(|(class, y)| **class >= 0 && !y.is_nan()).count() as u64
    }
}

/// u·(r - ẑ_0)² + w·(1 - c)², c the cosine of z[1..], with its own norm, to p_y; `shares` are u and w.
///
/// `prototypes` `[C, dim - 1]`. Without a class or without a number a row has neither loss.
pub(crate) fn joint<T: Scalar>(
    z: &mut [T],
    dim: usize,
    prototypes: &[T],
    range: Range<T>,
    shares: Shares<T>,
    targets: ClassAndValue<T>,
    records: &mut [RowRecord<T>],
) {
    let ClassAndValue { classes, values, weights } = targets;
    weights.check(values.len());
    assert_eq!((z.len(), classes.len()), (values.len() * dim, values.len()), "rows of z, classes and values");
    for_each_recorded_block(z, dim, records, |first, z, records| {
        let rows = first..first + records.len();
        let (classes, values) = (&classes[rows.clone()], &values[rows.clone()]);
        let targets = ClassAndValue { classes, values, weights: weights.rows(rows) };
        simd::run(Joint { z, dim, prototypes, range, shares, targets, records });
    });
}

/// Factors of the two losses of the joint one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shares<T> {
    /// u, of the number.
    pub number: T,
    /// w, of the class.
    pub class: T,
}

struct Joint<'a, T> {
    z: &'a mut [T],
    dim: usize,
    prototypes: &'a [T],
    range: Range<T>,
    shares: Shares<T>,
    targets: ClassAndValue<'a, T>,
    records: &'a mut [RowRecord<T>],
}

impl<T: Scalar> Kernel<T> for Joint<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let ClassAndValue { classes, values, weights } = self.targets;
        let rows = self.z.chunks_exact_mut(self.dim).zip(classes).zip(values);
        for (i, (((z, &class), &y), record)) in rows.zip(self.records).enumerate() {
            *record = RowRecord::default();
            let Some(p) = prototype(self.prototypes, self.dim - 1, class).filter(|_| !y.is_nan()) else {
                z.fill(T::ZERO);
                continue;
            };
            #[expect(clippy::expect_used, reason = "the dimension of a joint head is two or more")]
            let (first, z) = z.split_first_mut().expect("a pole before the class coordinates");
            let (zz, zp) = dots(v, z, p);
            let (whole, part) = (Direction::new(zz + *first * *first), Direction::new(zz));
            let (shares, of_row) = (self.shares, weights.of(i));
            let d_cosine = shares.number * self.range.compare(y, *first * whole.inverse, record) * of_row;
            let rest = T::ONE - zp * part.inverse;
            record[LOSS] = (shares.number * record[LOSS] + shares.class * rest * rest) * of_row;
            let (pole, shrink) = whole.backward(d_cosine, *first);
            let (alpha, beta) = part.backward(-(rest + rest) * shares.class * of_row, zp);
            blend(v, z, alpha, p, beta + shrink);
            *first = pole + shrink * *first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Shifted, every_isa_equals_scalar, numbers};
    use crate::simd::run_on;

    const CLASSES: [i32; 5] = [2, 0, -1, 1, 2];
    const WEIGHTS: [f32; 5] = [1.0, 0.5, 3.0, 0.25, 2.0];
    const RANGE: Range<f32> = Range { low: -1.0, high: 2.0 };

    /// The gradients and records that `kernel(z, prototypes, values, records)` leaves for rows of `dim` numbers.
    fn rows(
        (dim, class_dim, shift): (usize, usize, usize),
        kernel: impl Fn(&mut [f32], &[f32], &[f32], &mut [RowRecord<f32>]),
    ) -> Vec<f32> {
        let n = CLASSES.len();
        let mut z = Shifted::new(&numbers(n * dim, 1), shift);
        // At another alignment than z.
        let prototypes = Shifted::new(&numbers(3 * class_dim, 2), 2 * shift);
        let mut records = vec![[f32::NAN; 4]; n];
        kernel(&mut z, &prototypes, &numbers(n, 3), &mut records);
        [&*z, records.as_flattened()].concat()
    }

    #[test]
    fn every_instruction_set_has_the_same_gradients_and_records() {
        every_isa_equals_scalar("cosine", 1, |isa, dim, shift| {
            rows((dim, dim, shift), |z, prototypes, _, records| {
                run_on(
                    isa,
                    Cosine {
                        z,
                        dim,
                        prototypes,
                        targets: WeightedClasses { classes: &CLASSES, weights: RowWeights::new(&WEIGHTS) },
                        records,
                    },
                );
            })
        });
        every_isa_equals_scalar("regression", 1, |isa, dim, shift| {
            rows((dim, dim, shift), |z, _, values, records| {
                run_on(
                    isa,
                    Regression { z, dim, range: RANGE, values, weights: RowWeights::new(&WEIGHTS), records },
                );
            })
        });
        every_isa_equals_scalar("joint", 2, |isa, dim, shift| {
            rows((dim, dim - 1, shift), |z, prototypes, values, records| {
                let targets = ClassAndValue { classes: &CLASSES, values, weights: RowWeights::new(&WEIGHTS) };
                let shares = Shares { number: 0.75, class: 0.25 };
                run_on(isa, Joint { z, dim, prototypes, range: RANGE, shares, targets, records });
            })
        });
    }
}
