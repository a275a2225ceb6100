//! Rows of a matrix: the pieces that the losses share.
//!
//! Rows are worked on in blocks of a fixed number, so the same numbers come out for any number of threads, and each
//! row leaves a record that is summed in f64 in the order of the rows.

use rayon::prelude::*;

use crate::numeric::Scalar;
use crate::simd::Vector;

/// Rows of a task.
const BLOCK: usize = 32;

/// What a row leaves: numbers to be summed over the rows, indexed by the constants below.
pub type Record<T> = [T; 5];
/// The loss.
pub const LOSS: usize = 0;
/// 1 if the prediction was counted and right.
pub const CORRECT: usize = 1;
/// Squared error of the predicted number, in its unit.
pub const SQUARED: usize = 2;
/// Absolute error of the predicted number, in its unit.
pub const ABSOLUTE: usize = 3;
/// Derivative of the loss with respect to the scale of a softmax.
pub const DSCALE: usize = 4;

/// Sums of the records, in order.
pub fn totals<T: Scalar>(records: &[Record<T>]) -> [f64; 5] {
    let mut sums = [0.0; 5];
    for record in records {
        for (sum, x) in sums.iter_mut().zip(record) {
            *sum += x.to_f64();
        }
    }
    sums
}

/// Calls `task(first row, rows of a, rows of b)` for blocks of rows of two matrices with `widths` columns.
pub fn for_each_block<A: Send, B: Send>(
    a: &mut [A],
    b: &mut [B],
    widths: [usize; 2],
    task: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    assert_eq!(a.len() / widths[0], b.len() / widths[1], "rows of the two matrices");
    a.par_chunks_mut(BLOCK * widths[0])
        .zip(b.par_chunks_mut(BLOCK * widths[1]))
        .with_max_len(1)
        .enumerate()
        .for_each(|(i, (a, b))| task(i * BLOCK, a, b));
}

/// out += the sum over the rows of x `[n, width]`.
pub fn add_column_sums<T: Scalar>(x: &[T], out: &mut [T]) {
    let width = out.len();
    // Columns are independent, so they may be dealt out; each is summed over the rows in order.
    out.par_chunks_mut(64).with_max_len(1).enumerate().for_each(|(i, out)| {
        let mut sums = [0.0_f64; 64];
        for row in x.chunks_exact(width) {
            for (sum, x) in sums.iter_mut().zip(&row[i * 64..i * 64 + out.len()]) {
                *sum += x.to_f64();
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += T::from_f64(sum);
        }
    });
}

/// Every row of y becomes `row`.
pub fn fill_rows<T: Scalar>(y: &mut [T], row: &[T]) {
    for y in y.chunks_exact_mut(row.len()) {
        y.copy_from_slice(row);
    }
}

/// First index of the largest number.
pub fn argmax<T: Scalar>(x: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in x.iter().enumerate() {
        if *value > x[best] {
            best = i;
        }
    }
    best
}

/// (z·z, z·p).
#[inline(always)]
pub fn dots<V: Vector>(v: V, z: &[V::T], p: &[V::T]) -> (V::T, V::T) {
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
pub fn blend<V: Vector>(v: V, z: &mut [V::T], a: V::T, p: &[V::T], b: V::T) {
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
pub fn scale<V: Vector>(v: V, z: &mut [V::T], a: V::T) {
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
pub struct Direction<T> {
    /// 1/max(‖z‖, 1e-8).
    pub inverse: T,
    /// 1, or 0 where the floor acts: there ẑ is linear in z.
    curved: T,
}

impl<T: Scalar> Direction<T> {
    /// From z·z.
    #[inline(always)]
    pub fn new(zz: T) -> Self {
        let (norm, floor) = (zz.sqrt(), T::from_f64(NORM_MIN));
        Self { inverse: T::ONE / norm.max(floor), curved: if norm > floor { T::ONE } else { T::ZERO } }
    }

    /// The gradient g_z = (g - ẑ(ẑ·g))/‖z‖ of g = a·p with z·p = `zp`, as (α, β) of g_z = α·p + β·z.
    #[inline(always)]
    pub fn backward(&self, a: T, zp: T) -> (T, T) {
        let alpha = a * self.inverse;
        (alpha, -alpha * (zp * self.inverse) * self.inverse * self.curved)
    }
}
