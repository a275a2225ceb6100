//! Operations on rows of a matrix that the losses share.
//!
//! Rows are worked on in blocks of a fixed number, so the same numbers come out for any number of threads, and each
//! row leaves a record that is summed in f64 in the order of the rows.

use crate::numeric::Scalar;
use crate::parallel::{for_each_pair, for_each_part};
use crate::real::Real;
use crate::simd::Vector;

/// Rows of a task.
pub(crate) const BLOCK: usize = 32;

/// The numbers of one row that are summed over the rows, indexed by the constants below.
pub(crate) type RowRecord<T> = [T; FIELDS];
/// Numbers of a record.
pub(crate) const FIELDS: usize = 4;
/// The loss.
pub(crate) const LOSS: usize = 0;
/// Squared error of the predicted number, in its unit.
pub(crate) const SQUARED: usize = 1;
/// Absolute error of the predicted number, in its unit.
pub(crate) const ABSOLUTE: usize = 2;
/// The predicted number, in its unit; 0 for a row without a loss.
pub(crate) const PREDICTED: usize = 3;

/// Sums of the records, in order.
pub(crate) fn totals<T: Scalar>(records: &[RowRecord<T>]) -> [f64; FIELDS] {
    let mut sums = [0.0; FIELDS];
    for record in records {
        for (sum, x) in sums.iter_mut().zip(record) {
            *sum += x.to_f64();
        }
    }
    sums
}

/// Rows of scores for this many classes that are in memory at a time: 4 MiB of f32, but at least 32 rows.
pub(crate) fn chunk_rows(n: usize, classes: usize) -> usize {
    ((1 << 20) / classes.max(1)).max(32).min(n)
}

/// Above so many classes only about [`SAMPLE`] predictions of a call are looked at.
const CLASSES_ALL: usize = 4096;

/// Predictions looked at above [`CLASSES_ALL`] classes: every n/256-th row, rounded up.
const SAMPLE: usize = 256;

/// Every how many rows of n a prediction is looked at where only that costs scores.
pub(crate) fn stride(n: usize, classes: usize) -> usize {
    if classes <= CLASSES_ALL { 1 } else { n.div_ceil(SAMPLE).max(1) }
}

/// Calls `task(first row, rows of a)` for blocks of rows of `width` columns.
pub(crate) fn for_each_block<T: Send>(
    a: &mut [T],
    width: usize,
    task: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    for_each_part(a, BLOCK * width, |block, a| task(block * BLOCK, a));
}

/// Calls `task(first row, rows of z, their records)` for blocks of rows of `width` columns.
pub(crate) fn for_each_recorded_block<T: Scalar>(
    z: &mut [T],
    width: usize,
    records: &mut [RowRecord<T>],
    task: impl Fn(usize, &mut [T], &mut [RowRecord<T>]) + Sync + Send,
) {
    assert_eq!(z.len(), records.len() * width, "a record per row");
    for_each_pair((z, BLOCK * width), (records, BLOCK), |block, z, records| task(block * BLOCK, z, records));
}

/// (z·z, z·p).
#[inline(always)]
pub(crate) fn dots<V: Vector>(v: V, z: &[V::T], p: &[V::T]) -> (V::T, V::T) {
    assert_eq!(z.len(), p.len());
    let zero = v.splat(V::T::ZERO);
    let (zs, ps) = (z.chunks_exact(V::LANES), p.chunks_exact(V::LANES));
    let (z, p) = (v.load_partial(zs.remainder()), v.load_partial(ps.remainder()));
    let (mut zz, mut zp) = (v.mul_add(z, z, zero), v.mul_add(z, p, zero));
    for (z, p) in zs.zip(ps) {
        let (z, p) = (v.load(z), v.load(p));
        zz = v.mul_add(z, z, zz);
        zp = v.mul_add(z, p, zp);
    }
    (v.sum(zz), v.sum(zp))
}

/// z = a·p + b·z.
#[inline(always)]
pub(crate) fn blend<V: Vector>(v: V, z: &mut [V::T], a: V::T, p: &[V::T], b: V::T) {
    assert_eq!(z.len(), p.len());
    let (a, b) = (v.splat(a), v.splat(b));
    let (mut zs, ps) = (z.chunks_exact_mut(V::LANES), p.chunks_exact(V::LANES));
    let tail = ps.remainder();
    for (z, p) in zs.by_ref().zip(ps) {
        let sum = v.mul_add(a, v.load(p), v.mul(b, v.load(z)));
        v.store(z, sum);
    }
    let z = zs.into_remainder();
    let sum = v.mul_add(a, v.load_partial(tail), v.mul(b, v.load_partial(z)));
    v.store_partial(z, sum);
}

/// z = a·z.
#[inline(always)]
pub(crate) fn scale<V: Vector>(v: V, z: &mut [V::T], a: V::T) {
    let a = v.splat(a);
    let mut chunks = z.chunks_exact_mut(V::LANES);
    for z in chunks.by_ref() {
        let product = v.mul(a, v.load(z));
        v.store(z, product);
    }
    let tail = chunks.into_remainder();
    let product = v.mul(a, v.load_partial(tail));
    v.store_partial(tail, product);
}

/// Least norm that a direction is divided by.
const NORM_MIN: f64 = 1e-8;

/// ẑ = z·inverse with inverse = 1/max(‖z‖, 1e-8).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direction<T> {
    /// 1/max(‖z‖, 1e-8).
    pub inverse: T,
    /// 1, or 0 where the floor acts: there ẑ is linear in z.
    curved: T,
}

impl<T: Scalar> Direction<T> {
    /// From z·z.
    #[inline(always)]
    pub(crate) fn new(zz: T) -> Self {
        let (norm, floor) = (zz.sqrt(), T::from_f64(NORM_MIN));
        Self { inverse: T::ONE / norm.max(floor), curved: if norm > floor { T::ONE } else { T::ZERO } }
    }

    /// The gradient g_z = (g - ẑ(ẑ·g))/‖z‖ of g = a·p with z·p = `zp`, as (α, β) of g_z = α·p + β·z.
    #[inline(always)]
    pub(crate) fn backward(&self, a: T, zp: T) -> (T, T) {
        let alpha = a * self.inverse;
        (alpha, -alpha * (zp * self.inverse) * self.inverse * self.curved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, numbers};
    use crate::simd::{Isa, Kernel, run_on};

    /// Results of all vector operations of the losses, on slices of any alignment.
    struct Pieces<'a> {
        z: &'a mut [f32],
        p: &'a [f32],
        a: f32,
        b: f32,
    }

    impl Kernel<f32> for Pieces<'_> {
        type Output = [f32; 2];

        #[inline(always)]
        fn run<V: Vector<T = f32>>(self, v: V) -> [f32; 2] {
            let (zz, zp) = dots(v, self.z, self.p);
            blend(v, self.z, self.a, self.p, self.b);
            scale(v, self.z, self.a);
            [zz, zp]
        }
    }

    #[test]
    fn every_instruction_set_agrees_with_f64_for_all_lengths() {
        let (a, b) = (0.75, -1.25);
        for isa in Isa::available() {
            for len in 0..4 * 16 + 4 {
                let (mut z, p) = (numbers::<f32>(len + 1, 1), numbers::<f32>(len + 3, 2));
                let (z, p) = (&mut z[1..], &p[3..]);
                let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                let (z64, p64) = (wide(z), wide(p));
                let pairs = || z64.iter().zip(&p64);
                let dots64 = [z64.iter().map(|z| z * z).sum(), pairs().map(|(z, p)| z * p).sum()];
                let blended: Vec<f64> = pairs().map(|(z, p)| a * (a * p + b * z)).collect();
                let found = run_on(isa, Pieces { z, p, a: a as f32, b: b as f32 });
                let what = format!("{} at length {len}", isa.name());
                // One rounding per operation, as many additions as a lane has.
                let bound = (len as f64 + 4.0) * f64::from(f32::EPSILON);
                assert_close(&what, &wide(z), &blended, bound);
                assert_close(&what, &wide(&found), &dots64, bound);
            }
        }
    }
}
