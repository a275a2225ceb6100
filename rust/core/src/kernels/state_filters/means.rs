//! Means of responses over consecutive steps.

#![forbid(unsafe_code)]

use super::block::{COLUMNS, FILTERS, Filters, State, TILE};
use super::filter::tile;
use crate::numeric::Scalar;
use crate::simd::{self, Kernel, Vector};

/// Rows of a matrix, of which the columns `first .. first + FILTERS` are written.
#[derive(Debug)]
pub struct MeansInto<'a, T> {
    /// `[⌈T/stride⌉, width]`.
    pub out: &'a mut [T],
    /// Columns of a row.
    pub width: usize,
    /// The first of those that are written.
    pub first: usize,
}

/// Means of the responses to T inputs, over `stride` steps each, the last over the steps that are left.
///
/// ```text
/// out[j] = Σ_{t = jS}^{min(jS + S, T) - 1} y_t / (min(jS + S, T) - jS)      y as in the header of the folder
/// ```
///
/// `input(t)` gives u_t.
///
/// # Panics
/// If a slice does not have the length that the formulas say.
pub fn mean_responses<T: Scalar>(
    filters: Filters<T>,
    steps: usize,
    stride: usize,
    input: impl Fn(usize) -> [T; COLUMNS],
    into: MeansInto<T>,
) {
    filters.check();
    let rows = steps.div_ceil(stride);
    assert_eq!(into.out.len(), rows * into.width, "rows of the means");
    assert!(into.first + FILTERS <= into.width, "columns of the means");
    simd::run(MeanResponses { filters, steps, stride, input, into });
}

struct MeanResponses<'a, T, F> {
    filters: Filters<'a, T>,
    steps: usize,
    stride: usize,
    input: F,
    into: MeansInto<'a, T>,
}

impl<T: Scalar, F: Fn(usize) -> [T; COLUMNS]> Kernel<T> for MeanResponses<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let Self { filters, steps, stride, input, into } = self;
        let MeansInto { out, width, first } = into;
        let mut state = State::new();
        let (mut u, mut y) = ([[T::ZERO; COLUMNS]; TILE], [[T::ZERO; FILTERS]; TILE]);
        out.chunks_exact_mut(width).for_each(|row| row[first..first + FILTERS].fill(T::ZERO));
        for start in (0..steps).step_by(TILE) {
            let n = TILE.min(steps - start);
            u[..n].iter_mut().enumerate().for_each(|(k, u)| *u = input(start + k));
            tile(v, filters, &mut state, &u[..n], &mut y[..n]);
            for (k, y) in y[..n].iter().enumerate() {
                let row = &mut out[(start + k) / stride * width + first..][..FILTERS];
                for j in (0..FILTERS).step_by(V::LANES) {
                    let sum = v.add(v.load(&row[j..]), v.load(&y[j..]));
                    v.store(&mut row[j..], sum);
                }
            }
        }
        for (j, row) in out.chunks_exact_mut(width).enumerate() {
            let count = stride.min(steps - j * stride);
            if count > 1 {
                let share = T::ONE / T::from_f64(count as f64);
                row[first..first + FILTERS].iter_mut().for_each(|x| *x *= share);
            }
        }
    }
}
