//! Root mean square norm over the channels of each token, with its backward.
//!
//! ```text
//! r[m]   = (mean_d x[m,d]² + eps)^-½
//! y[m,d] = r[m]·x[m,d]·w[d]
//!
//! dx[m,d]  = r·w[d]·dy[m,d] - x[m,d]·r³·mean_d(x·w·dy)
//! dw[d]   += Σ_m dy[m,d]·x[m,d]·r[m]
//! ```
//!
//! x, y, dy, dx `[tokens, channels]`, w `[channels]`, r `[tokens]` is kept for the backward. Around a residual layer
//! `x + block(norm(x))` the backward adds to dx, which holds the gradient of the sum already.

use super::blocks::Blocks;
use super::layout::Accumulate;
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};
use crate::real::Real;
use crate::simd::{self, Kernel, Vector};

/// Elements that take as long as one of the items of [`for_each_task_of`].
const ELEMENTS: usize = 4;
/// Least number of tokens for a thread.
const LEAST_TOKENS: usize = 16;

/// Shape and constant of a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dims {
    /// Tokens (M).
    pub tokens: usize,
    /// Channels (D).
    pub channels: usize,
    /// Added to the mean square.
    pub eps: f64,
}

impl Dims {
    /// Panics unless the matrices are `[tokens, channels]`, the weight `[channels]` and r `[tokens]`.
    fn check(&self, matrices: &[usize], w: usize, r: usize) {
        let Self { tokens, channels, .. } = *self;
        assert!(
            matrices.iter().all(|&len| len == tokens * channels),
            "{matrices:?} for {tokens} x {channels}"
        );
        assert_eq!((w, r), (channels, tokens), "lengths of w and r");
    }

    fn blocks(&self) -> Blocks {
        Blocks::new(self.tokens, LEAST_TOKENS)
    }
}

/// y and r from x.
///
/// # Panics
/// If a slice does not have the length that `dims` says.
pub fn forward<T: Scalar>(dims: Dims, x: &[T], w: &[T], y: &mut [T], r: &mut [T]) {
    dims.check(&[x.len(), y.len()], w.len(), r.len());
    let (blocks, d) = (dims.blocks(), dims.channels);
    let (y, r) = (Shared::new(y), Shared::new(r));
    for_each_task_of(x.len() / ELEMENTS, blocks.count, |block| {
        let rows = blocks.range(block);
        // SAFETY: the tokens of a block belong to its task.
        let (y, r) = unsafe { (y.slice(rows.start * d, rows.len() * d), r.slice(rows.start, rows.len())) };
        simd::run(Forward { d, eps: dims.eps, x: &x[rows.start * d..rows.end * d], w, y, r });
    });
}

struct Forward<'a, T> {
    d: usize,
    eps: f64,
    x: &'a [T],
    w: &'a [T],
    y: &'a mut [T],
    r: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let Self { d, eps, x, w, y, r } = self;
        for (m, r) in r.iter_mut().enumerate() {
            let (x, y) = (&x[m * d..(m + 1) * d], &mut y[m * d..(m + 1) * d]);
            let square = sum_over::<V>(v, d, |i| {
                let x = v.load_at(x, i);
                v.mul(x, x)
            });
            let mean = square / T::from_f64(d as f64);
            *r = T::ONE / (mean + T::from_f64(eps)).sqrt();
            let scale = v.splat(*r);
            for i in (0..d).step_by(V::LANES) {
                v.store_at(y, i, v.mul(v.mul(scale, v.load_at(x, i)), v.load_at(w, i)));
            }
        }
    }
}

/// Elements of scratch that [`backward`] needs.
pub fn backward_scratch(dims: Dims) -> usize {
    dims.blocks().count * dims.channels
}

/// Values of the forward pass that the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T> {
    /// x `[tokens, channels]`.
    pub x: &'a [T],
    /// w `[channels]`.
    pub w: &'a [T],
    /// r `[tokens]`.
    pub r: &'a [T],
}

/// dx from dy (replacing or adding), and dw, which is added to. `scratch` of [`backward_scratch`] elements is not needed
/// without `dw`.
///
/// # Panics
/// If a slice does not have the length that `dims` says.
pub fn backward<T: Scalar>(
    dims: Dims,
    saved: Saved<T>,
    dy: &[T],
    dx: &mut [T],
    accumulate: Accumulate,
    dw: Option<&mut [T]>,
    scratch: &mut [T],
) {
    let Saved { x, w, r } = saved;
    dims.check(&[x.len(), dy.len(), dx.len()], w.len(), r.len());
    let (blocks, d) = (dims.blocks(), dims.channels);
    let want_dw = dw.is_some();
    let partial = if want_dw { &mut scratch[..blocks.count * d] } else { &mut [] };
    let (dx, sums) = (Shared::new(dx), Shared::new(partial));
    for_each_task_of(x.len() / ELEMENTS, blocks.count, |block| {
        let rows = blocks.range(block);
        let part = rows.start * d..rows.end * d;
        // SAFETY: the tokens of a block belong to its task, and so does its row of partial sums.
        let (dx, dw) =
            unsafe { (dx.slice(part.start, part.len()), want_dw.then(|| sums.slice(block * d, d))) };
        simd::run(Backward { d, x: &x[part.clone()], w, r: &r[rows], dy: &dy[part], dx, accumulate, dw });
    });
    if let Some(dw) = dw {
        assert_eq!(dw.len(), d, "length of dw");
        for sums in scratch[..blocks.count * d].chunks_exact(d.max(1)) {
            for (dw, sum) in dw.iter_mut().zip(sums) {
                *dw += *sum;
            }
        }
    }
}

struct Backward<'a, T> {
    d: usize,
    x: &'a [T],
    w: &'a [T],
    r: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    accumulate: Accumulate,
    /// Overwritten with the sums over these tokens.
    dw: Option<&'a mut [T]>,
}

impl<T: Scalar> Kernel<T> for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let Self { d, x, w, r, dy, dx, accumulate, mut dw } = self;
        if let Some(dw) = &mut dw {
            dw.fill(T::ZERO);
        }
        for (m, &r) in r.iter().enumerate() {
            let row = m * d..(m + 1) * d;
            let (x, dy, dx) = (&x[row.clone()], &dy[row.clone()], &mut dx[row]);
            let dot =
                sum_over::<V>(v, d, |i| v.mul(v.mul(v.load_at(x, i), v.load_at(w, i)), v.load_at(dy, i)));
            let (scale, back) = (v.splat(r), v.splat(r * r * r * dot / T::from_f64(d as f64)));
            for i in (0..d).step_by(V::LANES) {
                let (x, dy) = (v.load_at(x, i), v.load_at(dy, i));
                let scaled = v.mul(scale, dy);
                let mut g = v.neg_mul_add(x, back, v.mul(scaled, v.load_at(w, i)));
                if accumulate == Accumulate::Add {
                    g = v.add(g, v.load_at(dx, i));
                }
                v.store_at(dx, i, g);
                if let Some(dw) = &mut dw {
                    v.store_at(dw, i, v.mul_add(scaled, x, v.load_at(dw, i)));
                }
            }
        }
    }
}

/// Sum of `term(i)` over registers from i = 0, LANES, … below `len`; the order follows from `len` alone. Lanes beyond
/// the end are zeros in what [`Vector::load_at`] returns and add nothing.
#[inline(always)]
fn sum_over<V: Vector>(v: V, len: usize, term: impl Fn(usize) -> V::V) -> V::T {
    let mut sums = [v.splat(V::T::ZERO); 2];
    let mut i = 0;
    while i + V::LANES < len {
        sums[0] = v.add(sums[0], term(i));
        sums[1] = v.add(sums[1], term(i + V::LANES));
        i += 2 * V::LANES;
    }
    if i < len {
        sums[0] = v.add(sums[0], term(i));
    }
    v.sum(v.add(sums[0], sums[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, central_differences, numbers, same_bits_for_any_threads};
    use crate::simd::{Isa, run_on};

    const EPS: f64 = 1e-5;

    struct Case<T> {
        dims: Dims,
        x: Vec<T>,
        w: Vec<T>,
        dy: Vec<T>,
    }

    impl<T: Scalar> Case<T> {
        fn new(tokens: usize, channels: usize) -> Self {
            let n = tokens * channels;
            Self {
                dims: Dims { tokens, channels, eps: EPS },
                x: numbers(n, 1),
                w: numbers(channels, 2),
                dy: numbers(n, 3),
            }
        }

        /// y, r, dx (added to zeros), dw.
        fn run(&self) -> [Vec<T>; 4] {
            let [mut y, mut dx] = [(); 2].map(|()| vec![T::ZERO; self.x.len()]);
            let (mut r, mut dw) = (vec![T::ZERO; self.dims.tokens], vec![T::ZERO; self.dims.channels]);
            forward(self.dims, &self.x, &self.w, &mut y, &mut r);
            let mut scratch = vec![T::from_f64(f64::NAN); backward_scratch(self.dims)];
            let (dims, add) = (self.dims, Accumulate::Add);
            let saved = Saved { x: &self.x, w: &self.w, r: &r };
            backward(dims, saved, &self.dy, &mut dx, add, Some(&mut dw), &mut scratch);
            [y, r, dx, dw]
        }
    }

    #[test]
    fn gradients_equal_central_differences() {
        for (tokens, channels) in [(1, 1), (3, 7), (40, 20)] {
            let case = Case::<f64>::new(tokens, channels);
            let loss = |x: &[f64], w: &[f64]| {
                let (mut y, mut r) = (vec![0.0; x.len()], vec![0.0; tokens]);
                forward(case.dims, x, w, &mut y, &mut r);
                y.iter().zip(&case.dy).map(|(y, dy)| y * dy).sum()
            };
            let [_, _, dx, dw] = case.run();
            central_differences("dx", &dx, &case.x, |x| loss(x, &case.w));
            central_differences("dw", &dw, &case.w, |w| loss(&case.x, w));
        }
    }

    #[test]
    fn backward_overwrites_or_adds_and_dw_is_optional() {
        let case = Case::<f64>::new(5, 6);
        let [_, r, expected, _] = case.run();
        for (accumulate, start) in [(Accumulate::Overwrite, f64::NAN), (Accumulate::Add, 0.25)] {
            let mut dx = vec![start; 30];
            let saved = Saved { x: &case.x, w: &case.w, r: &r };
            backward(case.dims, saved, &case.dy, &mut dx, accumulate, None, &mut []);
            let held = if accumulate == Accumulate::Add { start } else { 0.0 };
            let found: Vec<_> = dx.iter().map(|dx| dx - held).collect();
            assert_close("dx", &found, &expected, 1e-15);
        }
    }

    /// Each instruction set against f64, for all lengths and unaligned starts. Sums of d rounded terms: (d + 8)·ε.
    #[test]
    fn every_instruction_set_agrees_with_f64() {
        for isa in Isa::available() {
            for d in 1..4 * 16 + 4 {
                let narrow = Case::<f32>::new(3, d);
                let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                let exact =
                    Case { dims: narrow.dims, x: wide(&narrow.x), w: wide(&narrow.w), dy: wide(&narrow.dy) };
                let expected = exact.run();
                let offset = |x: &[f32]| [&[f32::NAN], x].concat();
                let (x, w, dy) = (offset(&narrow.x), offset(&narrow.w), offset(&narrow.dy));
                let (x, w, dy) = (&x[1..], &w[1..], &dy[1..]);
                let (mut y, mut r, mut dx, mut dw) =
                    (vec![0.0; 3 * d], vec![0.0; 3], vec![0.0; 3 * d], vec![0.0; d]);
                run_on(isa, Forward { d, eps: EPS, x, w, y: &mut y, r: &mut r });
                let accumulate = Accumulate::Overwrite;
                run_on(isa, Backward { d, x, w, r: &r, dy, dx: &mut dx, accumulate, dw: Some(&mut dw) });
                let bound = (d + 8) as f64 * f64::from(f32::EPSILON);
                // dx is a difference of terms of about the size of r.
                let size = expected[1].iter().fold(0.0_f64, |a, &b| a.max(b));
                for (name, found, expected) in [
                    ("y", &y, &expected[0]),
                    ("r", &r, &expected[1]),
                    ("dx", &dx, &expected[2]),
                    ("dw", &dw, &expected[3]),
                ] {
                    let with_size = |x: &[f64]| [x, &[size]].concat();
                    let name = format!("{} {name} of {d}", isa.name());
                    assert_close(&name, &with_size(&wide(found)), &with_size(expected), bound);
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let case = Case::<f32>::new(1500, 33);
        same_bits_for_any_threads(|| case.run().concat());
    }
}
