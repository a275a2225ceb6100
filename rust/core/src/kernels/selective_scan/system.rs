//! Sizes, inputs and parameters of the scan, and operands that both passes compute from them.

use std::ops::Range;

use crate::kernels::channels::{BLOCK, ChannelTasks, Columns, PerChannel};
use crate::kernels::layout::Layout;
use crate::kernels::transpose::transpose;
use crate::numeric::Scalar;
use crate::real::Real;
use crate::simd::{self, Isa, Kernel, Vector, math};

/// Tokens of a chunk: the forward pass keeps the state at the start of each.
pub const CHUNK: usize = 32;

/// States that the recurrence holds in registers at a time; the remaining ones are computed one by one.
pub(super) const GROUP: usize = 4;

/// Unused elements after each panel: five cache lines of f32.
pub(super) const SKEW: usize = 80;

/// Channels are padded to a multiple of this in the kernel's own buffers, so that a vector never straddles their end.
pub(super) const PAD: usize = 32;

/// Sizes of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Dims<'a> {
    /// Rows, tokens, document starts.
    pub layout: Layout<'a>,
    /// Channels of the scan (I), `d_inner`.
    pub channels: usize,
    /// States of each channel (N), `d_state`.
    pub states: usize,
}

impl Dims<'_> {
    /// Elements of a carried state `[B, N, I]`: for each row the first state of every channel, then the second, …
    pub fn state_len(&self) -> usize {
        self.layout.rows * self.states * self.channels
    }

    /// Elements that the forward pass keeps for the backward one: the state at every chunk's start and at the end.
    pub fn chunk_states_len(&self) -> usize {
        self.layout.rows * (self.chunks() + 1) * self.states * self.padded()
    }

    /// Elements of scratch for [`forward()`].
    pub fn forward_scratch_len(&self) -> usize {
        self.states * self.padded()
    }

    /// Elements of scratch for [`backward()`].
    pub fn backward_scratch_len(&self) -> usize {
        let split = self.split();
        let per_group = 2 * self.states * self.padded() + 2 * self.padded();
        self.states * self.padded()
            + split.row_groups * per_group
            + split.blocks * self.layout.tokens() * 2 * self.states
    }

    /// # Panics
    /// If the sizes contradict each other.
    pub(super) fn check(&self) {
        self.layout.check();
        assert!(
            self.channels > 0 && self.states > 0,
            "a scan of {} channels with {} states",
            self.channels,
            self.states
        );
    }

    pub(super) fn chunks(&self) -> usize {
        self.layout.length.div_ceil(CHUNK)
    }

    pub(super) fn padded(&self) -> usize {
        self.channels.next_multiple_of(PAD)
    }

    pub(super) fn split(&self) -> ChannelTasks {
        ChannelTasks::new(self.layout.rows, self.channels)
    }

    /// Index of a row's state at the start of a chunk in the states that the forward pass keeps.
    pub(super) fn chunk_state_at(&self, row: usize, chunk: usize) -> usize {
        (row * (self.chunks() + 1) + chunk) * self.states * self.padded()
    }
}

/// Inputs per channel of each token.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T> {
    /// The input sequence `[B, T, I]`.
    pub u: &'a [T],
    /// Step size before its bias and softplus `[B, T, I]`.
    pub delta: &'a [T],
    /// Gate before silu, I columns.
    pub z: Columns<'a, T>,
}

/// Inputs that all channels share (B, C), and parameters that all tokens share (A, D, bias).
#[derive(Clone, Copy, Debug)]
pub struct System<'a, T> {
    /// B and C side by side, 2N columns: B_t\[0..N\], C_t\[0..N\].
    pub bc: Columns<'a, T>,
    /// A_log `[I, N]`.
    pub a_log: &'a [T],
    /// Skip D `[I]`.
    pub d: &'a [T],
    /// Bias of the step size `[I]`.
    pub delta_bias: &'a [T],
}

impl<T: Scalar> Inputs<'_, T> {
    /// # Panics
    /// If a slice does not fit the sizes.
    pub(super) fn check(&self, dims: &Dims) {
        let (tokens, channels) = (dims.layout.tokens(), dims.channels);
        assert_eq!(self.u.len(), tokens * channels, "u [B, T, I]");
        assert_eq!(self.delta.len(), tokens * channels, "delta [B, T, I]");
        self.z.check("z", tokens, channels);
    }
}

impl<T: Scalar> System<'_, T> {
    /// # Panics
    /// If a slice does not fit the sizes, or these contradict each other.
    pub(super) fn check(&self, dims: &Dims) {
        dims.check();
        let (tokens, channels, states) = (dims.layout.tokens(), dims.channels, dims.states);
        self.bc.check("B and C", tokens, 2 * states);
        assert_eq!(self.a_log.len(), channels * states, "A_log [I, N]");
        assert_eq!(self.d.len(), channels, "D [I]");
        assert_eq!(self.delta_bias.len(), channels, "delta_bias [I]");
    }
}

/// A chunk of a row.
#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) row: usize,
    /// Index in its row.
    pub(super) index: usize,
    /// Tokens, counted from the start of the row.
    pub(super) tokens: Range<usize>,
}

impl Chunk {
    #[inline(always)]
    pub(super) fn new(dims: &Dims, row: usize, index: usize) -> Self {
        Self { row, index, tokens: index * CHUNK..((index + 1) * CHUNK).min(dims.layout.length) }
    }
}

/// The parameters of a block of channels that the operands of a chunk need, or their gradients.
pub(super) struct BlockParameters<T> {
    pub(super) delta_bias: PerChannel<T>,
    pub(super) d: PerChannel<T>,
}

impl<T: Scalar> BlockParameters<T> {
    #[inline(always)]
    pub(super) fn new(system: &System<T>, block: &Range<usize>) -> Self {
        Self {
            delta_bias: PerChannel::new(&system.delta_bias[block.clone()]),
            d: PerChannel::new(&system.d[block.clone()]),
        }
    }

    #[inline(always)]
    pub(super) fn zeros() -> Self {
        Self { delta_bias: PerChannel::new(&[]), d: PerChannel::new(&[]) }
    }
}

/// A chunk of one operand for a block of channels, in the cache: `[CHUNK, BLOCK]`, and [`SKEW`] elements more, so that
/// panels that are read together do not lie in the same sets of the cache (worth 5 % of the backward pass).
#[repr(align(64))]
pub(super) struct Panel<T>(pub(super) [T; CHUNK * BLOCK + SKEW]);

impl<T: Scalar> Panel<T> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self([T::ZERO; CHUNK * BLOCK + SKEW])
    }
}

/// log2(e)·A, transposed to `[N, padded I]`, zeros in the padding: exp(δ·A) = 2^(δ·a).
struct Rates<'a, T> {
    a_log: &'a [T],
    channels: usize,
    padded: usize,
    a: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Rates<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let states = self.a_log.len() / self.channels;
        let line = |i: usize| &self.a_log[i * states..][..states];
        transpose::<V>(line, (self.channels, states), self.a, self.padded);
        let minus_log2_e = v.splat(T::from_f64(-math::LOG2_E));
        for row in self.a.chunks_exact_mut(self.padded) {
            // The padding is a multiple of every vector's width.
            for i in (0..self.channels).step_by(V::LANES) {
                let a = v.mul(minus_log2_e, math::exp(v, v.load(&row[i..])));
                v.store(&mut row[i..], a);
            }
            row[self.channels..].fill(T::ZERO);
        }
    }
}

/// Fills `a` `[N, padded I]`.
pub(super) fn fill_rates<T: Scalar>(isa: Isa, dims: &Dims, a_log: &[T], a: &mut [T]) {
    simd::run_on(isa, Rates { a_log, channels: dims.channels, padded: dims.padded(), a });
}

/// The largest |a| of some channels.
pub(super) fn largest_rate<T: Scalar>(dims: &Dims, a: &[T], channels: Range<usize>) -> T {
    let rows = a.chunks_exact(dims.padded()).flat_map(|a| &a[channels.clone()]);
    rows.fold(T::ZERO, |most, a| most.max(a.abs()))
}

/// Whether no product δ·a of a chunk is below the bound (false if one is not finite): see [`math::exp2_of_product`].
#[inline(always)]
pub(super) fn is_bounded<V: Vector>(v: V, largest_delta: V::V, largest_rate: V::T) -> bool {
    (v.max_lane(largest_delta) * largest_rate).to_f64() < -math::EXP2_BOUND
}
