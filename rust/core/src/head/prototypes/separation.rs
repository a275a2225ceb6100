//! Prototypes by optimisation: the smallest largest cosine that gradient descent on the sphere finds.
//!
//! The largest cosine is smoothed by a log-sum-exp of growing sharpness τ:
//!
//! ```text
//! S = P·Pᵀ without its diagonal,  W = C·softmax over all pairs of τ·S,  g = W·P
//! g ← g - p(p·g) per row (tangent),  m ← 0.9·m + 0.1·g,  v ← 0.99·v + 0.01·mean(g²)  (one number)
//! p ← p - η·m̂/√v̂ along the tangent, then to unit length
//! τ: 5 → 4000 and η: 0.05 → 3e-4, both geometrically; the best P met is kept
//! ```
//!
//! The optimisation runs in f32; what it finds is brought to unit length in f64.

use rayon::prelude::*;

use super::{normalise, random};
use crate::kernels::matmul::{Accumulate, MatMut, MatRef, linear, linear_dx};
use crate::params::init::{normal, stream};
use crate::simd::{self, Kernel, Vector, math};

const STEPS: usize = 2000;
const SHARPNESS: [f64; 2] = [5.0, 4000.0];
const RATE: [f64; 2] = [0.05, 3e-4];

/// Geometric interpolation from `ends[0]` to `ends[1]`.
fn between(ends: [f64; 2], step: usize) -> f32 {
    (ends[0] * (ends[1] / ends[0]).powf(step as f64 / (STEPS - 1) as f64)) as f32
}

/// Most starts of [`separate`], and operations of one step that decide how many of them are taken.
const STARTS: usize = 4;
const START_COST: usize = 1_300_000;

/// How many starts of [`separate`] are taken.
fn starts(classes: usize, dim: usize) -> usize {
    (START_COST / (classes * classes * dim.max(32)).max(1)).clamp(1, STARTS)
}

/// Multiplications of the products of [`separate`]: each step has S = P·Pᵀ and W·P, C²·Q each.
#[cfg(test)]
pub(super) fn multiplications(classes: usize, dim: usize) -> usize {
    starts(classes, dim) * STEPS * 2 * classes * classes * dim
}

/// `classes` well separated unit vectors `[classes, dim]`: the best of several starts where they cost little.
pub fn separate(classes: usize, dim: usize, seed: u64) -> Vec<f64> {
    let random = random(starts(classes, dim) * classes, dim, seed);
    let found: Vec<_> =
        random.par_chunks_exact(classes * dim).map(|start| descend(start, classes, dim)).collect();
    let best = found.iter().reduce(|best, other| if other.0 < best.0 { other } else { best });
    unit_rows(&best.expect("at least one start").1, dim)
}

/// The best prototypes met on the way down from a start, and their largest cosine.
fn descend(start: &[f64], classes: usize, dim: usize) -> (f32, Vec<f32>) {
    let mut p: Vec<f32> = start.iter().map(|&x| x as f32).collect();
    let mut best = (f32::INFINITY, p.clone());
    let mut w = vec![0.0_f32; classes * classes];
    let mut sums = vec![0.0_f32; classes];
    let mut descent = Descent::new(p.len());
    for step in 0..STEPS {
        cosines(&p, &p, dim, &mut w);
        let maxima = w.par_chunks(classes).enumerate().map(|(i, row)| {
            let without_itself = row[..i].iter().chain(&row[i + 1..]);
            without_itself.fold(-1.0, |a: f32, &b| a.max(b))
        });
        let largest = maxima.reduce(|| -1.0, f32::max);
        if largest < best.0 {
            best = (largest, p.clone());
        }
        let sharpness = between(SHARPNESS, step);
        w.par_chunks_mut(classes).zip(&mut sums).enumerate().for_each(|(i, (row, sum))| {
            row[i] = f32::NEG_INFINITY;
            *sum = simd::run(Weights { row, sharpness, largest });
        });
        let total: f64 = sums.iter().map(|&x| f64::from(x)).sum();
        pull(&w, &p, dim, &mut descent.gradient);
        descent.step(&mut p, dim, classes as f64 / total, between(RATE, step));
    }
    best
}

/// `extra` more prototypes behind those of `rows` `[classes, dim]`, which stay as they are: each new one where its
/// smallest angle to all the others is largest, as far as descent from several random starts finds it.
pub fn append(rows: &mut Vec<f64>, dim: usize, extra: usize, seed: u64) {
    for _ in 0..extra {
        let new = place(rows, dim, seed);
        rows.extend(new);
    }
}

/// Multiplications of one step of [`place`] that decide the number of its starts.
const PLACE_COST: usize = 1 << 24;

fn place(rows: &[f64], dim: usize, seed: u64) -> Vec<f64> {
    let classes = rows.len() / dim;
    let p: Vec<f32> = rows.iter().map(|&x| x as f32).collect();
    let starts = (PLACE_COST / rows.len().max(1)).clamp(4, 64);
    let mut rng = stream(seed, &format!("head.prototypes.{classes}"));
    let start: Vec<f64> = (0..starts * dim).map(|_| normal(&mut rng)).collect();
    let mut x: Vec<f32> = unit_rows(&start.iter().map(|&x| x as f32).collect::<Vec<_>>(), dim)
        .into_iter()
        .map(|x| x as f32)
        .collect();
    let mut best = vec![(f32::INFINITY, vec![0.0_f32; dim]); starts];
    let mut w = vec![0.0_f32; starts * classes];
    let mut descent = Descent::new(x.len());
    for step in 0..STEPS {
        cosines(&x, &p, dim, &mut w);
        let sharpness = between(SHARPNESS, step);
        w.par_chunks_mut(classes).zip(x.par_chunks(dim)).zip(&mut best).for_each(|((row, x), best)| {
            let largest = row.iter().fold(-1.0, |a: f32, &b| a.max(b));
            if largest < best.0 {
                best.0 = largest;
                best.1.copy_from_slice(x);
            }
            let sum = simd::run(Weights { row: &mut *row, sharpness, largest });
            for w in row {
                *w /= sum;
            }
        });
        pull(&w, &p, dim, &mut descent.gradient);
        descent.step(&mut x, dim, 1.0, between(RATE, step));
    }
    let least = best.iter().map(|b| b.0).fold(f32::INFINITY, f32::min);
    let found = best.iter().find(|b| b.0 == least).expect("at least four starts");
    unit_rows(&found.1, dim)
}

/// out = x·pᵀ.
fn cosines(x: &[f32], p: &[f32], dim: usize, out: &mut [f32]) {
    let (n, classes) = (x.len() / dim, p.len() / dim);
    linear(
        MatRef::new(x, n, dim),
        MatRef::new(p, classes, dim),
        MatMut::new(out, n, classes),
        Accumulate::Overwrite,
    );
}

/// gradient = w·p.
fn pull(w: &[f32], p: &[f32], dim: usize, gradient: &mut [f32]) {
    let (n, classes) = (gradient.len() / dim, p.len() / dim);
    linear_dx(
        MatRef::new(w, n, classes),
        MatRef::new(p, classes, dim),
        MatMut::new(gradient, n, dim),
        Accumulate::Overwrite,
    );
}

/// row ← exp(τ(row - largest)), 0 below exp(-60); its sum.
struct Weights<'a> {
    row: &'a mut [f32],
    sharpness: f32,
    largest: f32,
}

impl Kernel<f32> for Weights<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<V: Vector<T = f32>>(self, v: V) -> f32 {
        // Weights of nothing are zero and not tiny: arithmetic on numbers near the smallest one is slow.
        let (zero, least) = (v.splat(0.0), v.splat(-86.0));
        let (factor, largest) = (v.splat(self.sharpness * math::LOG2_E as f32), v.splat(self.largest));
        let mut sum = zero;
        for chunk in self.row.chunks_mut(V::LANES) {
            let exponent = v.mul(factor, v.sub(v.load_partial(chunk), largest));
            let weight =
                v.select_less(exponent, least, zero, math::exp2_nonpositive(v, v.min(exponent, zero)));
            v.store_partial(chunk, weight);
            // The lanes behind the end count for nothing.
            sum = v.add(sum, v.load_partial(chunk));
        }
        v.sum(sum)
    }
}

/// Momentum of the descent, one scale for all coordinates.
struct Descent {
    gradient: Vec<f32>,
    momentum: Vec<f32>,
    squares: Vec<f64>,
    variance: f64,
    steps: i32,
}

impl Descent {
    fn new(len: usize) -> Self {
        Self {
            gradient: vec![0.0; len],
            momentum: vec![0.0; len],
            squares: Vec::new(),
            variance: 0.0,
            steps: 0,
        }
    }

    /// Moves the rows of p against `factor`·gradient and back to unit length.
    fn step(&mut self, p: &mut [f32], dim: usize, factor: f64, rate: f32) {
        self.steps += 1;
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
        let unbiased = self.variance / (1.0 - 0.99_f64.powi(self.steps));
        let length = f64::from(rate) / (1.0 - 0.9_f64.powi(self.steps)) / unbiased.sqrt().max(1e-30);
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
    use crate::kernels::testing::{Shifted, every_isa_equals_scalar, numbers};
    use crate::simd::run_on;

    #[test]
    fn every_instruction_set_weighs_alike() {
        every_isa_equals_scalar("weights and their sum", 0, |isa, classes, shift| {
            let mut row = Shifted::new(&numbers(classes, 1), shift);
            let largest = row.iter().copied().fold(-1.0, f32::max);
            // So sharp that some weights are zero.
            let sum = run_on(isa, Weights { row: &mut row, sharpness: 60.0, largest });
            [&*row, &[sum]].concat()
        });
    }
}
