//! Causal depthwise convolution with bias and silu, fused.
//!
//! B rows, T tokens, I channels, K taps; tap K-1 meets the current token. Per channel:
//!
//! ```text
//! s_t  = bias + Σ_k w[k]·x_{t-K+1+k}        terms before the document's start are absent
//! y_t  = silu(s_t)
//! ds_t = dy_t·silu'(s_t)
//! dx_t = Σ_k w[k]·ds_{t+K-1-k}              terms behind the document's end are absent
//! dw[k] = Σ_{b,t} ds_t·x_{t-K+1+k}          dbias = Σ_{b,t} ds_t
//! ```
//!
//! Channels lie across the lanes; a vector of channels walks over a chunk of tokens with its taps, its last K inputs
//! (and, backward, the next K-1 ds and the sums for dw) in registers when K is 4, on the stack for any other K.

use std::ops::Range;

use super::Layout;
use super::channels::{
    BLOCK, Columns, ColumnsMut, PerChannel, SharedColumns, Split, Task, is_start, read, stretch_end,
    stretch_start,
};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};
use crate::simd::{self, Isa, Kernel, Vector, math};

/// Most taps of a filter.
pub const MAX_TAPS: usize = 32;

/// Tokens that a vector of channels walks over before the next one has its turn: their rows stay near the core.
const CHUNK: usize = 32;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Dims<'a> {
    /// Rows, tokens, document starts.
    pub layout: Layout<'a>,
    /// I.
    pub channels: usize,
    /// K, at most [`MAX_TAPS`].
    pub taps: usize,
}

impl Dims<'_> {
    /// Elements of a carried state `[B, K-1, I]`: the last inputs of every row, oldest first.
    pub fn state_len(&self) -> usize {
        self.layout.rows * (self.taps - 1) * self.channels
    }

    /// Elements of scratch for [`backward`].
    pub fn backward_scratch_len(&self) -> usize {
        self.split().row_groups * (self.taps + 1) * self.channels
    }

    fn split(&self) -> Split {
        Split::new(self.layout.rows, self.channels)
    }

    /// # Panics
    /// If the sizes contradict each other.
    fn check(&self) {
        self.layout.check();
        assert!(
            self.channels > 0 && (1..=MAX_TAPS).contains(&self.taps),
            "a convolution of {} channels with {} taps (1 to {MAX_TAPS})",
            self.channels,
            self.taps
        );
    }
}

/// What a convolution reads, forward and backward.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T> {
    /// x, I columns.
    pub x: Columns<'a, T>,
    /// w `[I, K]`.
    pub weight: &'a [T],
    /// `[I]`.
    pub bias: &'a [T],
}

impl<T: Scalar> Inputs<'_, T> {
    /// # Panics
    /// If a slice does not fit the sizes.
    fn check(&self, dims: &Dims) {
        dims.check();
        self.x.check("x", dims.layout.tokens(), dims.channels);
        assert_eq!(self.weight.len(), dims.channels * dims.taps, "weight [I, K]");
        assert_eq!(self.bias.len(), dims.channels, "bias [I]");
    }
}

/// Writes y `[B, T, I]`.
///
/// With `state` `[B, K-1, I]` the inputs before the first token are there, and the last ones are left there; without,
/// they are zero. One token per row with a state is the recurrent form.
///
/// # Panics
/// If a slice does not fit the sizes.
pub fn forward<T: Scalar>(dims: &Dims, inputs: &Inputs<T>, state: Option<&mut [T]>, y: &mut [T]) {
    forward_on(Isa::active(), dims, inputs, state, y);
}

/// As [`forward`], on a given instruction set, for tests and benches.
///
/// # Panics
/// As [`forward`], and if the processor lacks the instruction set.
pub fn forward_on<T: Scalar>(
    isa: Isa,
    dims: &Dims,
    inputs: &Inputs<T>,
    state: Option<&mut [T]>,
    y: &mut [T],
) {
    inputs.check(dims);
    assert_eq!(y.len(), dims.layout.tokens() * dims.channels, "y [B, T, I]");
    assert!(state.as_ref().is_none_or(|s| s.len() == dims.state_len()), "state [B, K-1, I]");
    let split = dims.split();
    let (state, y) = (state.map(Shared::new), Shared::new(y));
    for_each_task(split.tasks(), |index| {
        simd::run_on(isa, Forward { filter: Filter::new(dims, inputs, state, split.task(index)), y });
    });
}

/// What a convolution writes backward. dx is overwritten, parameter gradients are added to; `None`: not wanted.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// I columns.
    pub dx: ColumnsMut<'a, T>,
    /// `[I, K]`.
    pub dweight: Option<&'a mut [T]>,
    /// `[I]`.
    pub dbias: Option<&'a mut [T]>,
}

/// Gradients for the cotangent dy `[B, T, I]` of a pass that started without a state.
///
/// # Panics
/// If a slice does not fit the sizes.
pub fn backward<T: Scalar>(
    dims: &Dims,
    inputs: &Inputs<T>,
    dy: &[T],
    scratch: &mut [T],
    gradients: Gradients<T>,
) {
    backward_on(Isa::active(), dims, inputs, dy, scratch, gradients);
}

/// As [`backward`], on a given instruction set, for tests and benches.
///
/// # Panics
/// As [`backward`], and if the processor lacks the instruction set.
pub fn backward_on<T: Scalar>(
    isa: Isa,
    dims: &Dims,
    inputs: &Inputs<T>,
    dy: &[T],
    scratch: &mut [T],
    gradients: Gradients<T>,
) {
    inputs.check(dims);
    let Gradients { dx, dweight, dbias } = gradients;
    let (channels, taps) = (dims.channels, dims.taps);
    assert_eq!(dy.len(), dims.layout.tokens() * channels, "dy [B, T, I]");
    dx.check("dx", dims.layout.tokens(), channels);
    assert!(dweight.as_ref().is_none_or(|w| w.len() == channels * taps), "dweight [I, K]");
    assert!(dbias.as_ref().is_none_or(|b| b.len() == channels), "dbias [I]");
    let split = dims.split();
    let scratch = &mut scratch[..dims.backward_scratch_len()];
    let (dx, sums) = (dx.share(), Shared::new(&mut *scratch));
    for_each_task(split.tasks(), |index| {
        simd::run_on(
            isa,
            Backward { filter: Filter::new(dims, inputs, None, split.task(index)), dy, dx, sums },
        );
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

/// One task's rows, channels and taps.
struct Filter<'a, T> {
    dims: &'a Dims<'a>,
    inputs: &'a Inputs<'a, T>,
    state: Option<Shared<'a, T>>,
    task: Task,
}

impl<'a, T: Scalar> Filter<'a, T> {
    fn new(dims: &'a Dims<'a>, inputs: &'a Inputs<'a, T>, state: Option<Shared<'a, T>>, task: Task) -> Self {
        Self { dims, inputs, state, task }
    }

    /// The taps of this task's channels, transposed.
    #[inline(always)]
    fn taps<const MAX: usize>(&self) -> Taps<T, MAX> {
        let mut w = [[T::ZERO; BLOCK]; MAX];
        for (i, channel) in self.task.channels.clone().enumerate() {
            for (k, w) in w.iter_mut().enumerate().take(self.dims.taps) {
                w[i] = self.inputs.weight[channel * self.dims.taps + k];
            }
        }
        Taps { w, bias: PerChannel::new(&self.inputs.bias[self.task.channels.clone()]) }
    }

    /// How many of the K-1 tokens before token `t` of a row belong to its document; the carried ones count.
    #[inline(always)]
    fn lookback(&self, starts: Option<&[u8]>, t: usize) -> usize {
        let most = self.dims.taps - 1;
        if let Some(starts) = starts {
            for back in 0..=most.min(t) {
                if is_start(Some(starts), t - back) {
                    return back;
                }
            }
        }
        if self.state.is_some() { most } else { most.min(t) }
    }

    /// Channels `i..` of the input `back` tokens before token `t` of a row, from the carried state where t is too small.
    #[inline(always)]
    fn input<V: Vector<T = T>, const WHOLE: bool>(
        &self,
        v: V,
        row: usize,
        t: usize,
        back: usize,
        i: usize,
    ) -> V::V {
        let n = self.task.channels.len() - i;
        let channel = self.task.channels.start + i;
        if back <= t {
            let token = row * self.dims.layout.length + t - back;
            let x = &self.inputs.x.data[token * self.inputs.x.stride + channel..];
            return get::<V, WHOLE>(v, x, n);
        }
        let Some(state) = self.state else { return v.splat(T::ZERO) };
        let kept = self.dims.taps - 1;
        let at = (row * kept + kept + t - back) * self.dims.channels + channel;
        // SAFETY: this task's channels of this task's row, written only by `keep`, which is not running.
        read(v, unsafe { state.slice(at, n) }, n)
    }

    /// The inputs before token t that its taps meet, the oldest at 1; [`Filter::sum`] moves them down.
    #[inline(always)]
    fn window<V: Vector<T = T>, const MAX: usize, const WHOLE: bool>(
        &self,
        v: V,
        taps: usize,
        row: usize,
        t: usize,
        lookback: usize,
        i: usize,
    ) -> [V::V; MAX] {
        let mut window = [v.splat(T::ZERO); MAX];
        for (k, x) in window.iter_mut().enumerate().take(taps).skip(1) {
            if taps - k <= lookback {
                *x = self.input::<V, WHOLE>(v, row, t, taps - k, i);
            }
        }
        window
    }

    /// s_t, with the window moved on to token t.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the operands of the sum, each by its name")]
    fn sum<V: Vector<T = T>, const MAX: usize, const WHOLE: bool>(
        &self,
        v: V,
        taps: usize,
        w: &[V::V; MAX],
        bias: V::V,
        window: &mut [V::V; MAX],
        row: usize,
        t: usize,
        i: usize,
    ) -> V::V {
        for k in 1..taps {
            window[k - 1] = window[k];
        }
        window[taps - 1] = self.input::<V, WHOLE>(v, row, t, 0, i);
        let mut s = bias;
        for k in 0..taps {
            s = v.mul_add(w[k], window[k], s);
        }
        s
    }

    /// Brings the inputs of tokens of a row close.
    #[inline(always)]
    fn fetch(&self, row: usize, tokens: Range<usize>) {
        for t in tokens.start..tokens.end.min(self.dims.layout.length) {
            let at = (row * self.dims.layout.length + t) * self.inputs.x.stride + self.task.channels.start;
            simd::prefetch(self.inputs.x.data, at, self.task.channels.len());
        }
    }

    /// Moves the carried inputs of a row on by its T tokens.
    #[inline(always)]
    fn keep(&self, row: usize) {
        let Some(state) = self.state else { return };
        let Dims { layout, channels, taps } = *self.dims;
        let (kept, block) = (taps - 1, &self.task.channels);
        // The token behind the last looks back on what must be kept.
        let live = match layout.row_starts(row) {
            Some(starts) => (0..kept.min(layout.length))
                .find(|&back| starts[layout.length - 1 - back] != 0)
                .map_or(kept, |b| b + 1),
            None => kept,
        };
        for slot in 0..kept {
            let back = kept - slot;
            let at = (row * kept + slot) * channels + block.start;
            // SAFETY: this task's channels of this task's row; slots ahead of this one are still the old ones.
            let new = unsafe { state.slice(at, block.len()) };
            if back > live {
                new.fill(T::ZERO);
            } else if back <= layout.length {
                let token = (row + 1) * layout.length - back;
                let x = &self.inputs.x.data[token * self.inputs.x.stride + block.start..];
                new.copy_from_slice(&x[..block.len()]);
            } else {
                // SAFETY: another slot, `length` further on.
                new.copy_from_slice(unsafe { state.slice(at + layout.length * channels, block.len()) });
            }
        }
    }
}

/// Reads all lanes, or n.
#[inline(always)]
fn get<V: Vector, const WHOLE: bool>(v: V, x: &[V::T], n: usize) -> V::V {
    if WHOLE { v.load(x) } else { v.load_partial(&x[..n]) }
}

/// Writes all lanes, or as many as there are numbers.
#[inline(always)]
fn put<V: Vector, const WHOLE: bool>(v: V, to: &mut [V::T], x: V::V) {
    if WHOLE { v.store(to, x) } else { v.store_partial(to, x) }
}

/// Taps `[K, BLOCK]` and bias of a block of channels.
struct Taps<T, const MAX: usize> {
    w: [[T; BLOCK]; MAX],
    bias: PerChannel<T>,
}

impl<T: Scalar, const MAX: usize> Taps<T, MAX> {
    #[inline(always)]
    fn load<V: Vector<T = T>>(&self, v: V, taps: usize, i: usize) -> [V::V; MAX] {
        let mut w = [v.splat(T::ZERO); MAX];
        for (to, w) in w.iter_mut().zip(&self.w).take(taps) {
            *to = v.load(&w[i..]);
        }
        w
    }
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
                filter.fetch(row, end..end + CHUNK);
                let mut from = chunk;
                while from < end {
                    let to = stretch_end(starts, from, end);
                    let lookback = filter.lookback(starts, from);
                    for i in (0..filter.task.channels.len()).step_by(V::LANES) {
                        if i + V::LANES <= filter.task.channels.len() {
                            self.walk::<V, MAX, true>(v, &weights, taps, row, from..to, lookback, i);
                        } else {
                            self.walk::<V, MAX, false>(v, &weights, taps, row, from..to, lookback, i);
                        }
                    }
                    from = to;
                }
            }
            filter.keep(row);
        }
    }

    /// Channels `i..` over tokens without a document start inside.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the operands of the walk, each by its name")]
    fn walk<V: Vector<T = T>, const MAX: usize, const WHOLE: bool>(
        &self,
        v: V,
        weights: &Taps<T, MAX>,
        taps: usize,
        row: usize,
        tokens: Range<usize>,
        lookback: usize,
        i: usize,
    ) {
        let filter = &self.filter;
        let n = filter.task.channels.len() - i;
        let (w, bias) = (weights.load(v, taps, i), v.load(&weights.bias.0[i..]));
        let mut window = filter.window::<V, MAX, WHOLE>(v, taps, row, tokens.start, lookback, i);
        for t in tokens {
            let s = filter.sum::<V, MAX, WHOLE>(v, taps, &w, bias, &mut window, row, t, i);
            let at =
                (row * filter.dims.layout.length + t) * filter.dims.channels + filter.task.channels.start + i;
            // SAFETY: this token's channels of this task's block; no other task has them.
            let y = unsafe { self.y.slice(at, if WHOLE { V::LANES } else { n }) };
            put::<V, WHOLE>(v, y, math::silu(v, s));
        }
    }
}

/// One task of the backward pass.
struct Backward<'a, T> {
    filter: Filter<'a, T>,
    dy: &'a [T],
    dx: SharedColumns<'a, T>,
    sums: Shared<'a, T>,
}

/// What a block of channels carries from chunk to chunk.
struct Carried<T, const MAX: usize> {
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
        let mut carried = Carried { next: none, dw: none, dbias: PerChannel::new(&[]) };
        for row in filter.task.rows.clone() {
            let starts = layout.row_starts(row);
            carried.next = none;
            for chunk in (0..layout.length.div_ceil(CHUNK)).rev() {
                let begin = chunk * CHUNK;
                filter.fetch(row, begin.saturating_sub(CHUNK)..begin);
                for t in begin.saturating_sub(CHUNK)..begin {
                    let token = row * layout.length + t;
                    let at = token * filter.dims.channels + filter.task.channels.start;
                    simd::prefetch(self.dy, at, filter.task.channels.len());
                }
                let mut to = (begin + CHUNK).min(layout.length);
                while to > begin {
                    let from = stretch_start(starts, begin, to);
                    let lookback = filter.lookback(starts, from);
                    for i in (0..filter.task.channels.len()).step_by(V::LANES) {
                        if i + V::LANES <= filter.task.channels.len() {
                            self.walk::<V, MAX, true>(
                                v,
                                &weights,
                                taps,
                                row,
                                from..to,
                                lookback,
                                i,
                                &mut carried,
                            );
                        } else {
                            self.walk::<V, MAX, false>(
                                v,
                                &weights,
                                taps,
                                row,
                                from..to,
                                lookback,
                                i,
                                &mut carried,
                            );
                        }
                    }
                    if is_start(starts, from) {
                        carried.next = none;
                    }
                    to = from;
                }
            }
        }
        let (channels, block) = (filter.dims.channels, &filter.task.channels);
        let rows = carried.dw[..taps].iter().chain([&carried.dbias.0]);
        for (k, sum) in rows.enumerate() {
            let at = (filter.task.row_group * (taps + 1) + k) * channels + block.start;
            // SAFETY: this task's channels in its group's sums.
            unsafe { self.sums.slice(at, block.len()) }.copy_from_slice(&sum[..block.len()]);
        }
    }

    /// Channels `i..` from right to left over tokens without a document start inside.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the operands of the walk, each by its name")]
    fn walk<V: Vector<T = T>, const MAX: usize, const WHOLE: bool>(
        &self,
        v: V,
        weights: &Taps<T, MAX>,
        taps: usize,
        row: usize,
        tokens: Range<usize>,
        lookback: usize,
        i: usize,
        carried: &mut Carried<T, MAX>,
    ) {
        let filter = &self.filter;
        let n = filter.task.channels.len() - i;
        let zero = v.splat(T::ZERO);
        let (w, bias) = (weights.load(v, taps, i), v.load(&weights.bias.0[i..]));
        let (mut window, mut next, mut dw) = ([zero; MAX], [zero; MAX], [zero; MAX]);
        let mut dbias = v.load(&carried.dbias.0[i..]);
        let oldest = |t: usize, back: usize| {
            if back <= lookback + (t - tokens.start) {
                filter.input::<V, WHOLE>(v, row, t, back, i)
            } else {
                zero
            }
        };
        for k in 0..taps {
            dw[k] = v.load(&carried.dw[k][i..]);
            next[k] = v.load(&carried.next[k][i..]);
            if k + 1 < taps {
                window[k] = oldest(tokens.end - 1, taps - 2 - k);
            }
        }
        for t in tokens.clone().rev() {
            for k in (1..taps).rev() {
                window[k] = window[k - 1];
            }
            window[0] = oldest(t, taps - 1);
            let mut s = bias;
            for k in 0..taps {
                s = v.mul_add(w[k], window[k], s);
            }
            let token = row * filter.dims.layout.length + t;
            let first = filter.task.channels.start + i;
            let dy = get::<V, WHOLE>(v, &self.dy[token * filter.dims.channels + first..], n);
            let ds = v.mul(dy, math::silu_with_derivative(v, s).1);
            dbias = v.add(dbias, ds);
            for k in (1..taps).rev() {
                next[k] = next[k - 1];
            }
            next[0] = ds;
            let mut dx = zero;
            for k in 0..taps {
                dw[k] = v.mul_add(ds, window[k], dw[k]);
                dx = v.mul_add(w[taps - 1 - k], next[k], dx);
            }
            let width = if WHOLE { V::LANES } else { n };
            // SAFETY: this token's channels of this task's block; no other task has them.
            put::<V, WHOLE>(v, unsafe { self.dx.part(token, first, width) }, dx);
        }
        for k in 0..taps {
            v.store(&mut carried.dw[k][i..], dw[k]);
            v.store(&mut carried.next[k][i..], next[k]);
        }
        v.store(&mut carried.dbias.0[i..], dbias);
    }
}

#[cfg(test)]
mod tests;
