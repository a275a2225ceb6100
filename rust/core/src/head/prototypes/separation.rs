//! Prototypes by optimisation: the smallest largest cosine that gradient descent on the sphere finds.
//!
//! The largest cosine is smoothed by a log-sum-exp of growing sharpness τ:
//!
//! ```text
//! S = P·Pᵀ without its diagonal,  W = C·softmax over all pairs of τ·S,  g = W·P
//! g ← g - p(p·g) per row (tangent),  m ← 0.9·m + 0.1·g,  v ← 0.99·v + 0.01·mean(g²)  (one number)
//! p ← p - η·m̂/√v̂ along the tangent, then to unit length
//! τ: 5 → 4000 and η: 0.05 → 3e-4, both geometrically; the best P of all steps is taken
//! ```
//!
//! The descent amplifies roundings, and a model has to find its prototypes again on any machine. So every operation has
//! one order everywhere: a vector's lanes are numbers that do not depend on each other, no product is fused with a sum,
//! and nothing is taken from the system's mathematical library but the square root, which is exact.
//!
//! The optimisation runs in f32; what it finds is brought to unit length in f64.

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::random::normalise;
use crate::params::init::{stream, uniform};
use crate::simd::{self, Kernel, Vector};

pub(super) const STEPS: usize = 2000;
/// τ of the first step, and its factor from step to step: 800^(1/1999).
pub(super) const SHARPNESS: (f64, f64) = (5.0, 1.003_349_575_184_078_6);
/// η of the first step, and its factor from step to step: 0.006^(1/1999).
pub(super) const RATE: (f64, f64) = (0.05, 0.997_443_994_615_074_5);

/// Most starts of [`separate`], and operations of one step that decide how many of them are taken.
const STARTS: usize = 8;
const START_COST: usize = 1_300_000;

/// Number of starts of [`separate`].
fn starts(classes: usize, dim: usize) -> usize {
    (START_COST / (classes * classes * dim.max(16)).max(1)).clamp(1, STARTS)
}

/// Multiplications of the products of [`separate`]: each step has S = P·Pᵀ and W·P, C²·Q each.
#[cfg(test)]
pub(super) fn multiplications(classes: usize, dim: usize) -> usize {
    starts(classes, dim) * STEPS * 2 * classes * classes * dim
}

/// `classes` well separated unit vectors `[classes, dim]`: the best of several starts where they cost little.
#[expect(clippy::expect_used, reason = "there is at least one start")]
pub fn separate(classes: usize, dim: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, "head.prototypes");
    let all: Vec<Vec<f64>> = (0..starts(classes, dim)).map(|_| directions(&mut rng, classes, dim)).collect();
    let found: Vec<_> = all.par_iter().map(|start| descend(start, classes, dim)).collect();
    let best = found.iter().reduce(|best, other| if other.0 < best.0 { other } else { best });
    unit_rows(&best.expect("at least one start").1, dim)
}

/// Directions to start from: sums of twelve uniform numbers, which are nearly normal, brought to unit length.
pub(super) fn directions(rng: &mut ChaCha8Rng, classes: usize, dim: usize) -> Vec<f64> {
    let mut rows: Vec<f64> =
        (0..classes * dim).map(|_| (0..12).map(|_| uniform(rng)).sum::<f64>() - 6.0).collect();
    rows.chunks_exact_mut(dim).for_each(normalise);
    rows
}

/// The best prototypes of one descent from `start`, and their largest cosine.
fn descend(start: &[f64], classes: usize, dim: usize) -> (f32, Vec<f32>) {
    let mut p: Vec<f32> = start.iter().map(|&x| x as f32).collect();
    let mut best = (f32::INFINITY, p.clone());
    let mut transposed = vec![0.0_f32; p.len()];
    let mut w = vec![0.0_f32; classes * classes];
    let mut sums = vec![0.0_f64; classes];
    let mut descent = Descent::new(p.len());
    let (mut sharpness, mut rate) = (SHARPNESS.0, RATE.0);
    for _ in 0..STEPS {
        for (k, column) in transposed.chunks_exact_mut(classes).enumerate() {
            column.iter_mut().zip(p.chunks_exact(dim)).for_each(|(x, p)| *x = p[k]);
        }
        product(&p, dim, &transposed, &mut w);
        let maxima = w.par_chunks(classes).enumerate().map(|(i, row)| {
            let without_itself = row[..i].iter().chain(&row[i + 1..]);
            without_itself.fold(-1.0, |a: f32, &b| a.max(b))
        });
        let largest = maxima.reduce(|| -1.0, f32::max);
        if largest < best.0 {
            best = (largest, p.clone());
        }
        w.par_chunks_mut(classes).zip(&mut sums).enumerate().for_each(|(i, (row, sum))| {
            row[i] = -1e30; // its weight is 0
            simd::run(RowWeights { row: &mut *row, sharpness: sharpness as f32, largest });
            *sum = striped_sum(row);
        });
        let total: f64 = sums.iter().sum();
        product(&w, classes, &p, &mut descent.gradient);
        descent.step(&mut p, dim, classes as f64 / total, rate);
        (sharpness, rate) = (sharpness * SHARPNESS.1, rate * RATE.1);
    }
    best
}

/// Sum in f64 over eight stripes, then over those.
pub(super) fn striped_sum(row: &[f32]) -> f64 {
    let mut stripes = [0.0_f64; 8];
    for chunk in row.chunks(8) {
        stripes.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    stripes.iter().sum()
}

/// Rows of `a` that a task takes.
const ROWS: usize = 32;

/// out = a·b for a `[m, inner]`, b `[inner, n]`: each number a sum over the inner index in rising order.
pub(super) fn product(a: &[f32], inner: usize, b: &[f32], out: &mut [f32]) {
    let width = b.len() / inner;
    let tasks = a.par_chunks(ROWS * inner).zip(out.par_chunks_mut(ROWS * width));
    tasks.for_each(|(a, out)| simd::run(Product { a, inner, b, width, out }));
}

struct Product<'a> {
    a: &'a [f32],
    inner: usize,
    b: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Kernel<f32> for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = f32>>(self, v: V) {
        let Self { a, inner, b, width, out } = self;
        for (a, out) in a.chunks(4 * inner).zip(out.chunks_mut(4 * width)) {
            if a.len() == 4 * inner {
                rows::<V, 4>(v, a, inner, b, width, out);
            } else {
                for (a, out) in a.chunks_exact(inner).zip(out.chunks_exact_mut(width)) {
                    rows::<V, 1>(v, a, inner, b, width, out);
                }
            }
        }
    }
}

/// N rows of the product, two vectors of columns at a time.
#[inline(always)]
fn rows<V: Vector<T = f32>, const N: usize>(
    v: V,
    a: &[f32],
    inner: usize,
    b: &[f32],
    width: usize,
    out: &mut [f32],
) {
    let zero = v.splat(0.0);
    for column in (0..width).step_by(2 * V::LANES) {
        let second = column + V::LANES;
        let mut sums = [[zero; 2]; N];
        for k in 0..inner {
            let b = &b[k * width..(k + 1) * width];
            let there = [v.load_at(b, column), if second < width { v.load_at(b, second) } else { zero }];
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = v.splat(a[i * inner + k]);
                sums[0] = v.add(sums[0], v.mul(a, there[0]));
                sums[1] = v.add(sums[1], v.mul(a, there[1]));
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(width)) {
            v.store_at(out, column, sums[0]);
            if second < width {
                v.store_at(out, second, sums[1]);
            }
        }
    }
}

/// row ← exp(τ(row - largest)), 0 below exp(-60).
pub(super) struct RowWeights<'a> {
    pub(super) row: &'a mut [f32],
    pub(super) sharpness: f32,
    pub(super) largest: f32,
}

/// 1.5·2^23: adding it rounds to an integer and leaves that integer in the low bits.
const MAGIC: f32 = 12_582_912.0;

impl Kernel<f32> for RowWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = f32>>(self, v: V) {
        // Below exp(-60) weights are set to zero: arithmetic on subnormal numbers is slow.
        let (zero, least, magic) = (v.splat(0.0), v.splat(-86.0), v.splat(MAGIC));
        let factor = v.splat(self.sharpness * std::f32::consts::LOG2_E);
        let largest = v.splat(self.largest);
        for chunk in self.row.chunks_mut(V::LANES) {
            let exponent = v.mul(factor, v.sub(v.load_partial(chunk), largest));
            // 2^x = 2^n·2^r with the nearest integer n to x, and a polynomial for 2^r on [-½, ½].
            let x = v.max(v.splat(-100.0), v.min(exponent, zero));
            let t = v.add(x, magic);
            let r = v.sub(x, v.sub(t, magic));
            let power = POWERS.iter().rev().fold(zero, |p, &c| v.add(v.mul(p, r), v.splat(c)));
            let weight = v.select_less(exponent, least, zero, v.scale_pow2(power, t));
            v.store_partial(chunk, weight);
        }
    }
}

/// Coefficients of 2^r on [-½, ½] to 2e-7.
#[expect(
    clippy::approx_constant,
    reason = "the first coefficient of a minimax polynomial is near ln 2, not equal to it"
)]
const POWERS: [f32; 6] = [1.0, 6.931_47e-1, 2.402_224_2e-1, 5.550_733_7e-2, 9.671_513e-3, 1.326_472_8e-3];

/// Momentum of the descent, one scale for all coordinates.
pub(super) struct Descent {
    pub(super) gradient: Vec<f32>,
    momentum: Vec<f32>,
    squares: Vec<f64>,
    variance: f64,
    /// 0.9^steps and 0.99^steps.
    decays: [f64; 2],
}

impl Descent {
    pub(super) fn new(len: usize) -> Self {
        let zeros = vec![0.0; len];
        Self {
            gradient: zeros.clone(),
            momentum: zeros,
            squares: Vec::new(),
            variance: 0.0,
            decays: [1.0; 2],
        }
    }

    /// p ← p - `factor`·gradient, each row then divided by its norm.
    pub(super) fn step(&mut self, p: &mut [f32], dim: usize, factor: f64, rate: f64) {
        self.decays = [self.decays[0] * 0.9, self.decays[1] * 0.99];
        self.squares.resize(p.len() / dim, 0.0);
        let rows = self.gradient.par_chunks_mut(dim).zip(self.momentum.par_chunks_mut(dim));
        rows.zip(p.par_chunks(dim)).zip(&mut self.squares).with_min_len(16).for_each(
            |(((g, m), p), square)| {
                let along = dot(g, p);
                *square = 0.0;
                for ((g, m), p) in g.iter().zip(m).zip(p) {
                    let g = (g - along * p) * factor as f32;
                    *m = 0.9 * *m + 0.1 * g;
                    *square += f64::from(g) * f64::from(g);
                }
            },
        );
        let mean = self.squares.iter().sum::<f64>() / p.len() as f64;
        self.variance = 0.99 * self.variance + 0.01 * mean;
        let unbiased = self.variance / (1.0 - self.decays[1]);
        let length = rate / (1.0 - self.decays[0]) / unbiased.sqrt().max(1e-30);
        let rows = p.par_chunks_mut(dim).zip(self.momentum.par_chunks(dim)).with_min_len(16);
        rows.for_each(|(p, m)| {
            let along = dot(m, p);
            for (p, m) in p.iter_mut().zip(m) {
                *p -= length as f32 * (m - along * *p);
            }
            let norm = dot(p, p).sqrt();
            for p in p {
                *p /= norm;
            }
        });
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The rows in f64, of unit length.
fn unit_rows(rows: &[f32], dim: usize) -> Vec<f64> {
    let mut rows: Vec<f64> = rows.iter().map(|&x| x.into()).collect();
    rows.chunks_exact_mut(dim).for_each(normalise);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::numbers;
    use crate::simd::{Isa, run_on};

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for (rows, inner, width) in [(4, 3, 100), (9, 100, 3), (37, 41, 37), (33, 10, 65)] {
            let (a, b) = (numbers::<f32>(rows * inner, 1), numbers::<f32>(inner * width, 2));
            let run = |isa| {
                let mut out = vec![0.0; rows * width];
                run_on(isa, Product { a: &a, inner, b: &b, width, out: &mut out });
                let largest = out.iter().copied().fold(-1.0, f32::max);
                // τ so large that some weights are zero.
                run_on(isa, RowWeights { row: &mut out, sharpness: 60.0, largest });
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            let scalar = run(Isa::Scalar);
            for isa in Isa::available() {
                assert!(run(isa) == scalar, "{}, {rows} x {inner} x {width}", isa.name());
            }
        }
    }

    #[test]
    fn product_exponential_and_norm_agree_with_f64() {
        let (rows, inner, width) = (9, 40, 35);
        let (a, b) = (numbers::<f32>(rows * inner, 1), numbers::<f32>(inner * width, 2));
        let mut out = vec![0.0; rows * width];
        product(&a, inner, &b, &mut out);
        for (i, row) in out.chunks(width).enumerate() {
            for (j, found) in row.iter().enumerate() {
                let terms = (0..inner).map(|k| f64::from(a[i * inner + k]) * f64::from(b[k * width + j]));
                let expected: f64 = terms.sum();
                // One rounding per product and sum of numbers below 1.
                assert!((f64::from(*found) - expected).abs() < 2.0 * 40.0 * 40.0 * 6e-8, "{i} {j}");
            }
        }
        let mut row = [0.5, 0.25, 0.5, -1e30, -0.9];
        simd::run(RowWeights { row: &mut row, sharpness: 8.0, largest: 0.5 });
        let expected = [1.0, (-2.0_f64).exp(), 1.0, 0.0, (-11.2_f64).exp()];
        for (found, expected) in row.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() <= 2e-6 * expected, "{found} for {expected}");
        }
        assert!((SHARPNESS.0 * SHARPNESS.1.powi(STEPS as i32 - 1) - 4000.0).abs() < 1e-6);
        assert!((RATE.0 * RATE.1.powi(STEPS as i32 - 1) - 3e-4).abs() < 1e-12);
    }
}
