//! The backward pass: chunks from right to left; s, the value before silu, is recomputed.

use super::filter::{CHUNK, Dims, Filter, MAX_TAPS, Stretch, Taps, Weights, get, put};
use crate::kernels::channels::{BLOCK, ColumnsMut, PerChannel, is_start, stretch_start};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};
use crate::simd::{self, Isa, Kernel, Vector, math};

/// Inputs of the backward pass, overwritten with its results.
#[derive(Debug)]
pub struct ConvInPlace<'a, T> {
    /// x, I columns; then dx.
    pub x: ColumnsMut<'a, T>,
    /// dy `[B, T, I]`; then y.
    pub dy: &'a mut [T],
    /// State that the forward pass started from `[B, K-1, I]`, if there was one; only read.
    pub state: Option<&'a [T]>,
}

/// Gradients that a convolution adds to; `None`: not wanted.
#[derive(Debug)]
pub struct ConvGrads<'a, T> {
    /// Gradient of the filters `[I, K]`.
    pub dweight: Option<&'a mut [T]>,
    /// Gradient of the biases `[I]`.
    pub dbias: Option<&'a mut [T]>,
    /// Gradient of the state after the last token `[B, K-1, I]`, replaced by that of the state before the first.
    pub dstate: Option<&'a mut [T]>,
}

/// Gradients for the cotangent dy and, where it is given, that of the last state.
///
/// # Panics
/// If a slice does not fit the sizes.
pub fn backward<T: Scalar>(
    dims: &Dims,
    weights: &Weights<T>,
    in_place: ConvInPlace<T>,
    scratch: &mut [T],
    gradients: ConvGrads<T>,
) {
    backward_on(Isa::active(), dims, weights, in_place, scratch, gradients);
}

/// As [`backward`], on a given instruction set, for tests and benches.
///
/// # Panics
/// As [`backward`], and if the processor lacks the instruction set.
pub fn backward_on<T: Scalar>(
    isa: Isa,
    dims: &Dims,
    weights: &Weights<T>,
    in_place: ConvInPlace<T>,
    scratch: &mut [T],
    gradients: ConvGrads<T>,
) {
    weights.check(dims);
    let (ConvInPlace { x, dy, state }, ConvGrads { dweight, dbias, dstate }) = (in_place, gradients);
    let (channels, taps) = (dims.channels, dims.taps);
    assert_eq!(dy.len(), dims.layout.tokens() * channels, "dy [B, T, I]");
    x.check("x", dims.layout.tokens(), channels);
    assert!(dweight.as_ref().is_none_or(|w| w.len() == channels * taps), "dweight [I, K]");
    assert!(dbias.as_ref().is_none_or(|b| b.len() == channels), "dbias [I]");
    assert!(state.is_none_or(|s| s.len() == dims.state_len()), "state [B, K-1, I]");
    assert!(dstate.as_ref().is_none_or(|s| s.len() == dims.state_len()), "dstate [B, K-1, I]");
    let split = dims.split();
    let (state, dstate) = (state.map(Shared::to_read), dstate.map(Shared::new));
    let scratch = &mut scratch[..dims.backward_scratch_len()];
    let (x, dy, sums) = (x.share(), Shared::new(dy), Shared::new(&mut *scratch));
    for_each_task_of(dy.len(), split.tasks(), |index| {
        let filter = Filter { dims, weights, x, state, task: split.task(index) };
        simd::run_on(isa, Backward { filter, dy, dstate, sums });
    });
    // Partial sums of the groups of rows [K + 1, I], the last one the bias, in the order of their index.
    let total = |k: usize, i: usize| {
        scratch.chunks_exact((taps + 1) * channels).fold(T::ZERO, |sum, part| sum + part[k * channels + i])
    };
    for (at, dw) in dweight.into_iter().flatten().enumerate() {
        *dw += total(at % taps, at / taps);
    }
    for (i, db) in dbias.into_iter().flatten().enumerate() {
        *db += total(taps, i);
    }
}

/// One task of the backward pass.
struct Backward<'a, T> {
    filter: Filter<'a, T>,
    dy: Shared<'a, T>,
    dstate: Option<Shared<'a, T>>,
    sums: Shared<'a, T>,
}

/// Values of a block of channels that are passed from a chunk to the chunk before it.
struct ChunkCarry<T, const MAX: usize> {
    /// ds of the next tokens, the nearest first.
    next: [[T; BLOCK]; MAX],
    dw: [[T; BLOCK]; MAX],
    dbias: PerChannel<T>,
}

impl<T: Scalar> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        match self.filter.dims.taps {
            4 => self.rows::<V, 4>(v, 4),
            taps => self.rows::<V, MAX_TAPS>(v, taps),
        }
    }
}

impl<T: Scalar> Backward<'_, T> {
    #[inline(always)]
    fn rows<V: Vector<T = T>, const MAX: usize>(self, v: V, taps: usize) {
        let filter = &self.filter;
        let (layout, weights) = (filter.dims.layout, filter.taps::<MAX>());
        let none = [[T::ZERO; BLOCK]; MAX];
        let mut carry = ChunkCarry { next: none, dw: none, dbias: PerChannel::new(&[]) };
        for row in filter.task.rows.clone() {
            let starts = layout.row_starts(row);
            carry.next = none;
            for chunk in (0..layout.length.div_ceil(CHUNK)).rev() {
                let begin = chunk * CHUNK;
                filter.prefetch(row, begin.saturating_sub(CHUNK)..begin);
                for t in begin.saturating_sub(CHUNK)..begin {
                    let token = row * layout.length + t;
                    let at = token * filter.dims.channels + filter.task.channels.start;
                    // SAFETY: this task's channels.
                    let dy = unsafe { self.dy.read(at, filter.task.channels.len()) };
                    simd::prefetch(dy, 0, dy.len());
                }
                let mut to = (begin + CHUNK).min(layout.length);
                while to > begin {
                    let from = stretch_start(starts, begin, to);
                    let stretch = Stretch { row, tokens: from..to, lookback: filter.lookback(starts, from) };
                    for i in (0..filter.task.channels.len()).step_by(V::LANES) {
                        if i + V::LANES <= filter.task.channels.len() {
                            self.walk::<V, MAX, true>(v, &weights, taps, &stretch, i, &mut carry);
                        } else {
                            self.walk::<V, MAX, false>(v, &weights, taps, &stretch, i, &mut carry);
                        }
                    }
                    if is_start(starts, from) {
                        carry.next = none;
                    }
                    to = from;
                }
            }
            self.state_row(row, &weights, &carry);
        }
        let (channels, block) = (filter.dims.channels, &filter.task.channels);
        let rows = carry.dw[..taps].iter().chain([&carry.dbias.0]);
        for (k, sum) in rows.enumerate() {
            let at = (filter.task.row_group * (taps + 1) + k) * channels + block.start;
            // SAFETY: this task's channels in its group's sums.
            unsafe { self.sums.slice(at, block.len()) }.copy_from_slice(&sum[..block.len()]);
        }
    }

    /// The gradient of a row's state: that after the last token goes to dx of the last tokens, and, where the row is shorter
    /// than the state, to the state before the first token, whose other part comes from the first tokens' ds.
    #[inline(always)]
    fn state_row<const MAX: usize>(&self, row: usize, weights: &Taps<T, MAX>, carry: &ChunkCarry<T, MAX>) {
        let Some(dstate) = self.dstate else { return };
        let filter = &self.filter;
        let Dims { layout, channels, taps } = *filter.dims;
        let (n_carried, live, block) = (taps - 1, filter.live(row), &filter.task.channels);
        for (i, channel) in block.clone().enumerate() {
            let mut first = [T::ZERO; MAX];
            for (slot, first) in first.iter_mut().enumerate().take(n_carried) {
                let back = n_carried - slot;
                for k in back..taps {
                    *first += weights.w[taps - 1 - k][i] * carry.next[k - back][i];
                }
            }
            for slot in 0..n_carried {
                let back = n_carried - slot;
                // SAFETY: this task's channel of this task's row.
                let last = unsafe { dstate.read((row * n_carried + slot) * channels + channel, 1) }[0];
                if back > live {
                    continue;
                }
                if back <= layout.length {
                    // SAFETY: this task's channel, which is not read after this.
                    let dx = unsafe { filter.x.part((row + 1) * layout.length - back, channel, 1) };
                    dx[0] += last;
                } else {
                    first[slot + layout.length] += last;
                }
            }
            for (slot, first) in first.iter().enumerate().take(n_carried) {
                // SAFETY: as above; the reads are over.
                let dstate = unsafe { dstate.slice((row * n_carried + slot) * channels + channel, 1) };
                dstate[0] = *first;
            }
        }
    }

    /// Channels `i..` of a stretch, from right to left.
    #[inline(always)]
    fn walk<V: Vector<T = T>, const MAX: usize, const WHOLE: bool>(
        &self,
        v: V,
        weights: &Taps<T, MAX>,
        taps: usize,
        stretch: &Stretch,
        i: usize,
        carry: &mut ChunkCarry<T, MAX>,
    ) {
        let filter = &self.filter;
        let Stretch { row, ref tokens, lookback } = *stretch;
        let n = filter.task.channels.len() - i;
        let zero = v.splat(T::ZERO);
        let weights = weights.load(v, taps, i);
        let (mut window, mut next, mut dw) = ([zero; MAX], [zero; MAX], [zero; MAX]);
        let mut dbias = v.load(&carry.dbias.0[i..]);
        let oldest = |t: usize, back: usize| {
            if back <= lookback + (t - tokens.start) {
                filter.input::<V, WHOLE>(v, row, t, back, i)
            } else {
                zero
            }
        };
        for k in 0..taps {
            dw[k] = v.load(&carry.dw[k][i..]);
            next[k] = v.load(&carry.next[k][i..]);
            if k + 1 < taps {
                window[k] = oldest(tokens.end - 1, taps - 2 - k);
            }
        }
        for t in tokens.clone().rev() {
            for k in (1..taps).rev() {
                window[k] = window[k - 1];
            }
            window[0] = oldest(t, taps - 1);
            let s = weights.sum(v, taps, &window);
            let token = row * filter.dims.layout.length + t;
            let first = filter.task.channels.start + i;
            let width = if WHOLE { V::LANES } else { n };
            // SAFETY: this token's channels of this task's block; no other task has them.
            let (dy, x) = unsafe {
                (
                    self.dy.slice(token * filter.dims.channels + first, width),
                    filter.x.part(token, first, width),
                )
            };
            let (y, slope) = math::silu_with_derivative(v, s);
            let ds = v.mul(get::<V, WHOLE>(v, dy, n), slope);
            put::<V, WHOLE>(v, dy, y);
            dbias = v.add(dbias, ds);
            for k in (1..taps).rev() {
                next[k] = next[k - 1];
            }
            next[0] = ds;
            let mut dx = zero;
            for k in 0..taps {
                dw[k] = v.mul_add(ds, window[k], dw[k]);
                dx = v.mul_add(weights.w[taps - 1 - k], next[k], dx);
            }
            // No token further left reads this one's x.
            put::<V, WHOLE>(v, x, dx);
        }
        for k in 0..taps {
            v.store(&mut carry.dw[k][i..], dw[k]);
            v.store(&mut carry.next[k][i..], next[k]);
        }
        v.store(&mut carry.dbias.0[i..], dbias);
    }
}
