//! Sizes, filters, and the reads of forward and backward tasks: taps, inputs before a token, the carried state.

use std::ops::Range;

use crate::kernels::channels::{BLOCK, ChannelTasks, PerChannel, SharedColumns, Task, is_start};
use crate::kernels::layout::Layout;
use crate::numeric::Scalar;
use crate::parallel::Shared;
use crate::simd::{self, Vector};

/// Most taps of a filter.
pub const MAX_TAPS: usize = 32;

/// Tokens that are computed for one vector of channels before the next one, so that their rows stay in the L1 cache.
pub(super) const CHUNK: usize = 32;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Dims<'a> {
    /// Rows, tokens, document starts.
    pub layout: Layout<'a>,
    /// Channels (I), each with a filter of its own.
    pub channels: usize,
    /// Taps of a filter (K), `d_conv`: the current token and the K-1 before it; at most [`MAX_TAPS`].
    pub taps: usize,
}

impl Dims<'_> {
    /// Elements of a carried state `[B, K-1, I]`: the last inputs of every row, oldest first.
    pub fn state_len(&self) -> usize {
        self.layout.rows * (self.taps - 1) * self.channels
    }

    /// Elements of scratch for [`backward()`].
    pub fn backward_scratch_len(&self) -> usize {
        self.split().row_groups * (self.taps + 1) * self.channels
    }

    pub(super) fn split(&self) -> ChannelTasks {
        ChannelTasks::new(self.layout.rows, self.channels)
    }

    /// # Panics
    /// If the sizes contradict each other.
    pub(super) fn check(&self) {
        self.layout.check();
        assert!(
            self.channels > 0 && (1..=MAX_TAPS).contains(&self.taps),
            "a convolution of {} channels with {} taps (1 to {MAX_TAPS})",
            self.channels,
            self.taps
        );
    }
}

/// The filters of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, T> {
    /// w of each channel, the last tap for the current token `[I, K]`.
    pub weight: &'a [T],
    /// Bias of each channel `[I]`.
    pub bias: &'a [T],
}

impl<T: Scalar> Weights<'_, T> {
    /// # Panics
    /// If a slice does not fit the sizes.
    pub(super) fn check(&self, dims: &Dims) {
        dims.check();
        assert_eq!(self.weight.len(), dims.channels * dims.taps, "weight [I, K]");
        assert_eq!(self.bias.len(), dims.channels, "bias [I]");
    }
}

/// Tokens of a row without a document start inside.
pub(super) struct Stretch {
    pub(super) row: usize,
    /// Counted from the start of the row.
    pub(super) tokens: Range<usize>,
    /// How many of the K-1 tokens before the first one belong to its document: see [`Filter::lookback`].
    pub(super) lookback: usize,
}

/// One task's rows, channels and taps.
pub(super) struct Filter<'a, T> {
    pub(super) dims: &'a Dims<'a>,
    pub(super) weights: &'a Weights<'a, T>,
    pub(super) x: SharedColumns<'a, T>,
    pub(super) state: Option<Shared<'a, T>>,
    pub(super) task: Task,
}

impl<T: Scalar> Filter<'_, T> {
    /// The taps of this task's channels, transposed.
    #[inline(always)]
    pub(super) fn taps<const MAX: usize>(&self) -> Taps<T, MAX> {
        let mut w = [[T::ZERO; BLOCK]; MAX];
        for (i, channel) in self.task.channels.clone().enumerate() {
            for (k, w) in w.iter_mut().enumerate().take(self.dims.taps) {
                w[i] = self.weights.weight[channel * self.dims.taps + k];
            }
        }
        Taps { w, bias: PerChannel::new(&self.weights.bias[self.task.channels.clone()]) }
    }

    /// How many of the K-1 tokens before token `t` of a row belong to its document; the carried ones count.
    #[inline(always)]
    pub(super) fn lookback(&self, starts: Option<&[u8]>, t: usize) -> usize {
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
    pub(super) fn input<V: Vector<T = T>, const WHOLE: bool>(
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
            let width = if WHOLE { V::LANES } else { n };
            // SAFETY: this task's channels, which it writes only where it has read them.
            return get::<V, WHOLE>(v, unsafe { self.x.read(token, channel, width) }, n);
        }
        let Some(state) = self.state else { return v.splat(T::ZERO) };
        let n_carried = self.dims.taps - 1;
        let at = (row * n_carried + n_carried + t - back) * self.dims.channels + channel;
        // SAFETY: this task's channels of this task's row, written only by `keep`, which is not running.
        get::<V, WHOLE>(v, unsafe { state.read(at, n) }, n)
    }

    /// The K-1 inputs before the first token of a stretch, the oldest at 1.
    #[inline(always)]
    pub(super) fn window<V: Vector<T = T>, const MAX: usize, const WHOLE: bool>(
        &self,
        v: V,
        taps: usize,
        stretch: &Stretch,
        i: usize,
    ) -> [V::V; MAX] {
        let mut window = [v.splat(T::ZERO); MAX];
        for (k, x) in window.iter_mut().enumerate().take(taps).skip(1) {
            if taps - k <= stretch.lookback {
                *x = self.input::<V, WHOLE>(v, stretch.row, stretch.tokens.start, taps - k, i);
            }
        }
        window
    }

    /// Prefetches the inputs of tokens of a row.
    #[inline(always)]
    pub(super) fn prefetch(&self, row: usize, tokens: Range<usize>) {
        for t in tokens.start..tokens.end.min(self.dims.layout.length) {
            let block = &self.task.channels;
            // SAFETY: this task's channels.
            let x = unsafe { self.x.read(row * self.dims.layout.length + t, block.start, block.len()) };
            simd::prefetch(x, 0, x.len());
        }
    }

    /// How many of the carried inputs after the last token of a row belong to its last document.
    #[inline(always)]
    pub(super) fn live(&self, row: usize) -> usize {
        let Dims { layout, taps, .. } = *self.dims;
        let n_carried = taps - 1;
        match layout.row_starts(row) {
            Some(starts) => (0..n_carried.min(layout.length))
                .find(|&back| starts[layout.length - 1 - back] != 0)
                .map_or(n_carried, |b| b + 1),
            None => n_carried,
        }
    }

    /// Replaces the carried inputs of a row by those after its T tokens.
    #[inline(always)]
    pub(super) fn keep(&self, row: usize) {
        let Some(state) = self.state else { return };
        let Dims { layout, channels, taps } = *self.dims;
        let (n_carried, block) = (taps - 1, &self.task.channels);
        let live = self.live(row);
        for slot in 0..n_carried {
            let back = n_carried - slot;
            let at = (row * n_carried + slot) * channels + block.start;
            // SAFETY: this task's channels of this task's row; slots ahead of this one are still the old ones.
            let new = unsafe { state.slice(at, block.len()) };
            if back > live {
                new.fill(T::ZERO);
            } else if back <= layout.length {
                let token = (row + 1) * layout.length - back;
                // SAFETY: x is not written in a forward pass.
                new.copy_from_slice(unsafe { self.x.read(token, block.start, block.len()) });
            } else {
                // SAFETY: another slot, `length` further on.
                new.copy_from_slice(unsafe { state.read(at + layout.length * channels, block.len()) });
            }
        }
    }
}

/// Reads all lanes, or n.
#[inline(always)]
pub(super) fn get<V: Vector, const WHOLE: bool>(v: V, x: &[V::T], n: usize) -> V::V {
    if WHOLE { v.load(x) } else { v.load_partial(&x[..n]) }
}

/// Writes all lanes, or as many as there are numbers.
#[inline(always)]
pub(super) fn put<V: Vector, const WHOLE: bool>(v: V, to: &mut [V::T], x: V::V) {
    if WHOLE { v.store(to, x) } else { v.store_partial(to, x) }
}

/// Taps `[K, BLOCK]` and bias of a block of channels.
pub(super) struct Taps<T, const MAX: usize> {
    pub(super) w: [[T; BLOCK]; MAX],
    pub(super) bias: PerChannel<T>,
}

impl<T: Scalar, const MAX: usize> Taps<T, MAX> {
    /// Taps and bias of channels `i..`.
    #[inline(always)]
    pub(super) fn load<V: Vector<T = T>>(&self, v: V, taps: usize, i: usize) -> TapVectors<V, MAX> {
        let mut w = [v.splat(T::ZERO); MAX];
        for (to, w) in w.iter_mut().zip(&self.w).take(taps) {
            *to = v.load(&w[i..]);
        }
        TapVectors { w, bias: v.load(&self.bias.0[i..]) }
    }
}

/// Taps and bias of a vector of channels.
pub(super) struct TapVectors<V: Vector, const MAX: usize> {
    pub(super) w: [V::V; MAX],
    bias: V::V,
}

impl<V: Vector, const MAX: usize> TapVectors<V, MAX> {
    /// s_t of the token whose input is the last of the window's K.
    #[inline(always)]
    pub(super) fn sum(&self, v: V, taps: usize, window: &[V::V; MAX]) -> V::V {
        let mut s = self.bias;
        for (&w, &x) in self.w.iter().zip(window).take(taps) {
            s = v.mul_add(w, x, s);
        }
        s
    }
}
