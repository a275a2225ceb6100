//! The forward pass; with one token per row it is also the recurrent form.

use super::filter::{CHUNK, Dims, Filter, MAX_TAPS, Stretch, Taps, Weights, put};
use crate::kernels::channels::{Columns, stretch_end};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};
use crate::simd::{self, Isa, Kernel, Vector, math};

/// Writes y `[B, T, I]` for x, I columns.
///
/// With `state` `[B, K-1, I]` the inputs before the first token are there, and the last ones are left there; without,
/// they are zero. One token per row with a state is the recurrent form.
///
/// # Panics
/// If a slice does not fit the sizes.
pub fn forward<T: Scalar>(
    dims: &Dims,
    weights: &Weights<T>,
    x: Columns<T>,
    state: Option<&mut [T]>,
    y: &mut [T],
) {
    forward_on(Isa::active(), dims, weights, x, state, y);
}

/// As [`forward`], on a given instruction set, for tests and benches.
///
/// # Panics
/// As [`forward`], and if the processor lacks the instruction set.
pub fn forward_on<T: Scalar>(
    isa: Isa,
    dims: &Dims,
    weights: &Weights<T>,
    x: Columns<T>,
    state: Option<&mut [T]>,
    y: &mut [T],
) {
    weights.check(dims);
    x.check("x", dims.layout.tokens(), dims.channels);
    assert_eq!(y.len(), dims.layout.tokens() * dims.channels, "y [B, T, I]");
    assert!(state.as_ref().is_none_or(|s| s.len() == dims.state_len()), "state [B, K-1, I]");
    let split = dims.split();
    let (x, state, y) = (x.share(), state.map(Shared::new), Shared::new(y));
    for_each_task_of(y.len(), split.tasks(), |index| {
        simd::run_on(isa, Forward { filter: Filter { dims, weights, x, state, task: split.task(index) }, y });
    });
}

/// One task of the forward pass.
struct Forward<'a, T> {
    filter: Filter<'a, T>,
    y: Shared<'a, T>,
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        match self.filter.dims.taps {
            4 => self.rows::<V, 4>(v, 4),
            taps => self.rows::<V, MAX_TAPS>(v, taps),
        }
    }
}

impl<T: Scalar> Forward<'_, T> {
    #[inline(always)]
    fn rows<V: Vector<T = T>, const MAX: usize>(self, v: V, taps: usize) {
        let filter = &self.filter;
        let (layout, weights) = (filter.dims.layout, filter.taps::<MAX>());
        for row in filter.task.rows.clone() {
            let starts = layout.row_starts(row);
            for chunk in (0..layout.length).step_by(CHUNK) {
                let end = (chunk + CHUNK).min(layout.length);
                filter.prefetch(row, end..end + CHUNK);
                let mut from = chunk;
                while from < end {
                    let to = stretch_end(starts, from, end);
                    let stretch = Stretch { row, tokens: from..to, lookback: filter.lookback(starts, from) };
                    for i in (0..filter.task.channels.len()).step_by(V::LANES) {
                        if i + V::LANES <= filter.task.channels.len() {
                            self.walk::<V, MAX, true>(v, &weights, taps, &stretch, i);
                        } else {
                            self.walk::<V, MAX, false>(v, &weights, taps, &stretch, i);
                        }
                    }
                    from = to;
                }
            }
            filter.keep(row);
        }
    }

    /// Channels `i..` of a stretch, from left to right.
    #[inline(always)]
    fn walk<V: Vector<T = T>, const MAX: usize, const WHOLE: bool>(
        &self,
        v: V,
        weights: &Taps<T, MAX>,
        taps: usize,
        stretch: &Stretch,
        i: usize,
    ) {
        let (filter, row) = (&self.filter, stretch.row);
        let n = filter.task.channels.len() - i;
        let weights = weights.load(v, taps, i);
        let mut window = filter.window::<V, MAX, WHOLE>(v, taps, stretch, i);
        for t in stretch.tokens.clone() {
            for k in 1..taps {
                window[k - 1] = window[k];
            }
            window[taps - 1] = filter.input::<V, WHOLE>(v, row, t, 0, i);
            let s = weights.sum(v, taps, &window);
            let at =
                (row * filter.dims.layout.length + t) * filter.dims.channels + filter.task.channels.start + i;
            // SAFETY: this token's channels of this task's block; no other task has them.
            let y = unsafe { self.y.slice(at, if WHOLE { V::LANES } else { n }) };
            put::<V, WHOLE>(v, y, math::silu(v, s));
        }
    }
}
