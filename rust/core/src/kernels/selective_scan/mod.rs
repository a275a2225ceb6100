//! The selective scan of Mamba-1, fused with what stands around it: softplus before, skip and gate after.
//!
//! B rows, T tokens, I channels, N states. Per token t and channel i, with A = -exp(A_log):
//!
//! ```text
//! δ_t      = softplus(delta_t + delta_bias)
//! h_t[n]   = exp(δ_t·A[n])·h_{t-1}[n] + δ_t·u_t·B_t[n]          h = 0 before a document
//! y_t      = (Σ_n C_t[n]·h_t[n] + D·u_t) · silu(z_t)
//! ```
//!
//! Backward, with g_t = dy_t·silu(z_t), ā_t = exp(δ_t·A) and the adjoint q of the state, right to left:
//!
//! ```text
//! q_t[n]   = g_t·C_t[n] + c_t[n]       c_t = ā_{t+1}·q_{t+1}, 0 at a document's last token
//! dC_t[n]  = Σ_i g_t·h_t[n]            dB_t[n] = Σ_i q_t[n]·δ_t·u_t
//! s_t      = Σ_n q_t[n]·B_t[n]         r_t[n]  = q_t[n]·ā_t[n]·h_{t-1}[n]
//! du_t     = D·g_t + s_t·δ_t           dδ_t    = s_t·u_t + Σ_n A[n]·r_t[n]
//! dA_log[n]= A[n]·Σ_t r_t[n]·δ_t       dD      = Σ_t g_t·u_t
//! ddelta_t = dδ_t·sigmoid(delta_t + delta_bias)                  ddelta_bias = Σ_t ddelta_t
//! dz_t     = dy_t·(Σ_n C_t[n]·h_t[n] + D·u_t)·silu'(z_t)
//! ```
//!
//! The backward pass works in place: each input's gradient takes its place, and y, computed again on the way, that of dy.
//!
//! Channels lie across the lanes and the states of a group of channels in registers. Time goes in chunks of [`CHUNK`]
//! tokens; the forward pass keeps the state at the start of each, the backward pass runs a chunk again from there, so
//! nothing of size B·T·I·N ever exists. A document's start ends the stretch of tokens over which a state is in
//! registers, so rows without one pay nothing for the possibility.

mod adjoint;
mod backward;
mod forward;
mod step;

use std::ops::Range;

use super::Layout;
use super::channels::{
    BLOCK, Columns, ColumnsMut, PerChannel, Split, is_start, read, stretch_end, stretch_start, write,
};
use super::transpose::transpose;
use crate::numeric::Scalar;
use crate::simd::{self, Isa, Kernel, Vector, math};

pub use backward::{Gradients, InPlace, backward, backward_on};
pub use forward::{forward, forward_on};
pub use step::step;

/// Tokens from one kept state to the next.
pub const CHUNK: usize = 32;

/// States that the recurrence holds in registers at a time; what remains goes one by one.
const GROUP: usize = 4;

/// Five cache lines of f32.
const SKEW: usize = 80;

/// Channels are padded to a multiple of this in the kernel's own buffers, so that a vector never straddles their end.
const PAD: usize = 32;

/// Sizes of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Dims<'a> {
    /// Rows, tokens, document starts.
    pub layout: Layout<'a>,
    /// I.
    pub channels: usize,
    /// N.
    pub states: usize,
}

impl Dims<'_> {
    /// Elements of a carried state `[B, N, I]`: for each row the first state of every channel, then the second, …
    pub fn state_len(&self) -> usize {
        self.layout.rows * self.states * self.channels
    }

    /// Elements that the forward pass keeps for the backward one: the state at every chunk's start and at the end.
    pub fn kept_len(&self) -> usize {
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
    fn check(&self) {
        self.layout.check();
        assert!(
            self.channels > 0 && self.states > 0,
            "a scan of {} channels with {} states",
            self.channels,
            self.states
        );
    }

    fn chunks(&self) -> usize {
        self.layout.length.div_ceil(CHUNK)
    }

    fn padded(&self) -> usize {
        self.channels.next_multiple_of(PAD)
    }

    fn split(&self) -> Split {
        Split::new(self.layout.rows, self.channels)
    }

    /// Where the state of a row at the start of a chunk lies in the kept states.
    fn kept_at(&self, row: usize, chunk: usize) -> usize {
        (row * (self.chunks() + 1) + chunk) * self.states * self.padded()
    }
}

/// What a scan reads for each channel of each token.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T> {
    /// u `[B, T, I]`.
    pub u: &'a [T],
    /// Step size before its bias and softplus `[B, T, I]`.
    pub delta: &'a [T],
    /// Gate before silu, I columns.
    pub z: Columns<'a, T>,
}

/// The system that a scan runs: what its channels, or its tokens, share.
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
    fn check(&self, dims: &Dims) {
        let (tokens, channels) = (dims.layout.tokens(), dims.channels);
        assert_eq!(self.u.len(), tokens * channels, "u [B, T, I]");
        assert_eq!(self.delta.len(), tokens * channels, "delta [B, T, I]");
        self.z.check("z", tokens, channels);
    }
}

impl<T: Scalar> System<'_, T> {
    /// # Panics
    /// If a slice does not fit the sizes, or these contradict each other.
    fn check(&self, dims: &Dims) {
        dims.check();
        let (tokens, channels, states) = (dims.layout.tokens(), dims.channels, dims.states);
        self.bc.check("B and C", tokens, 2 * states);
        assert_eq!(self.a_log.len(), channels * states, "A_log [I, N]");
        assert_eq!(self.d.len(), channels, "D [I]");
        assert_eq!(self.delta_bias.len(), channels, "delta_bias [I]");
    }
}

/// A chunk of one operand for a block of channels, close to the core: `[CHUNK, BLOCK]` and a little more, so that the
/// panels that are walked over together do not compete for the same sets of the cache (worth 5 % of the backward pass).
#[repr(align(64))]
struct Panel<T>([T; CHUNK * BLOCK + SKEW]);

impl<T: Scalar> Panel<T> {
    #[inline(always)]
    fn new() -> Self {
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
fn fill_rates<T: Scalar>(isa: Isa, dims: &Dims, a_log: &[T], a: &mut [T]) {
    simd::run_on(isa, Rates { a_log, channels: dims.channels, padded: dims.padded(), a });
}

/// The largest |a| of some channels.
fn steepest<T: Scalar>(dims: &Dims, a: &[T], channels: Range<usize>) -> T {
    let rows = a.chunks_exact(dims.padded()).flat_map(|a| &a[channels.clone()]);
    rows.fold(T::ZERO, |most, a| most.max(a.abs()))
}

/// Whether no product δ·a of a chunk needs care (false if one is not finite): see [`math::exp2_of_product`].
#[inline(always)]
fn is_bounded<V: Vector>(v: V, largest_delta: V::V, steepest: V::T) -> bool {
    (v.max_lane(largest_delta) * steepest).to_f64() < -math::EXP2_BOUND
}

#[cfg(test)]
mod tests;
