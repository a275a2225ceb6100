//! The activation silu over slices, and its derivative.
//!
//! ```text
//! y = x·s(x)      dx = dy·s(x)·(1 + x·(1 - s(x)))      s(x) = 1 / (1 + e^-x)
//! ```
//!
//! x, y, dy, dx have any one shape. The error of the function is given in [`crate::simd::math`].

use super::blocks::Blocks;
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};
use crate::simd::{self, Kernel, Vector, math};

/// Least number of elements for a thread.
const LEAST: usize = 4096;

/// y from x.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn forward<T: Scalar>(x: &[T], y: &mut [T]) {
    in_blocks(x, None, y);
}

/// dx from x and dy.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn backward<T: Scalar>(x: &[T], dy: &[T], dx: &mut [T]) {
    in_blocks(x, Some(dy), dx);
}

fn in_blocks<T: Scalar>(x: &[T], dy: Option<&[T]>, out: &mut [T]) {
    assert!(
        x.len() == out.len() && dy.is_none_or(|dy| dy.len() == x.len()),
        "lengths of x ({}), dy and the output ({})",
        x.len(),
        out.len()
    );
    let blocks = Blocks::new(x.len(), LEAST);
    let out = Shared::new(out);
    for_each_task_of(x.len() / 2, blocks.count, |block| {
        let range = blocks.range(block);
        // SAFETY: the numbers of a block belong to its task.
        let out = unsafe { out.slice(range.start, range.len()) };
        let dy = dy.map(|dy| &dy[range.clone()]);
        simd::run(Silu { x: &x[range], dy, out });
    });
}

struct Silu<'a, T> {
    x: &'a [T],
    dy: Option<&'a [T]>,
    out: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Silu<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        for (i, out) in self.out.chunks_mut(V::LANES).enumerate() {
            let x = v.load_partial(&self.x[i * V::LANES..]);
            let y = match self.dy {
                None => math::silu(v, x),
                Some(dy) => {
                    let dy = v.load_partial(&dy[i * V::LANES..]);
                    v.mul(dy, math::silu_with_derivative(v, x).1)
                }
            };
            v.store_partial(out, y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{
        central_differences, every_isa_equals_scalar, numbers, same_bits_for_any_threads,
    };
    use crate::simd::run_on;

    #[test]
    fn the_value_is_its_formula_and_the_derivative_equals_differences() {
        let (x, dy) = (numbers::<f64>(40, 1), numbers::<f64>(40, 2));
        let (mut y, mut dx) = (vec![0.0; 40], vec![0.0; 40]);
        forward(&x, &mut y);
        assert!(x.iter().zip(&y).all(|(x, y)| (x / (1.0 + (-x).exp()) - y).abs() < 1e-15));
        backward(&x, &dy, &mut dx);
        central_differences("silu", &dx, &x, |x| {
            let mut y = vec![0.0; 40];
            forward(x, &mut y);
            y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        });
    }

    #[test]
    fn every_instruction_set_equals_the_single_lane() {
        every_isa_equals_scalar("silu", 1, |isa, n, shift| {
            let (x, dy) = (numbers(n + shift, 3), numbers(n + shift, 4));
            let mut out = vec![0.0; 2 * n];
            let (y, dx) = out.split_at_mut(n);
            run_on(isa, Silu { x: &x[shift..], dy: None, out: y });
            run_on(isa, Silu { x: &x[shift..], dy: Some(&dy[shift..]), out: dx });
            out
        });
    }

    #[test]
    fn same_bits_with_any_number_of_threads() {
        let x = numbers(20_000, 5);
        same_bits_for_any_threads(|| {
            let mut y = vec![0.0; x.len()];
            forward(&x, &mut y);
            y
        });
    }
}
