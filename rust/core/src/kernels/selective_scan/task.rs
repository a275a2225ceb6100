//! The tasks of the backward pass: what they share, and the rows, channels and buffers of each.

use super::system::{CHUNK, Dims, GROUP, Panel, SKEW, System};
use crate::kernels::channels::{SharedColumns, Task};
use crate::numeric::Scalar;
use crate::parallel::Shared;
use crate::simd::MAX_LANES;

/// Arguments and buffers that the tasks of a pass share.
pub(super) struct BackwardArguments<'a, T> {
    pub(super) dims: &'a Dims<'a>,
    pub(super) system: &'a System<'a, T>,
    pub(super) chunk_states: &'a [T],
    pub(super) a: &'a [T],
    pub(super) u: Shared<'a, T>,
    pub(super) delta: Shared<'a, T>,
    pub(super) z: SharedColumns<'a, T>,
    pub(super) dy: Shared<'a, T>,
    pub(super) dstate: Option<Shared<'a, T>>,
    pub(super) carry: Shared<'a, T>,
    pub(super) sums: Shared<'a, T>,
    pub(super) dbc: Shared<'a, T>,
}

/// One task of the backward pass.
pub(super) struct Backward<'a, T> {
    pub(super) pass: &'a BackwardArguments<'a, T>,
    pub(super) task: Task,
}

impl<T> Backward<'_, T> {
    /// Index of the first sum of this task's group of rows.
    #[inline(always)]
    pub(super) fn sums_at(&self) -> usize {
        self.task.row_group * (self.pass.dims.states + 2) * self.pass.dims.padded()
    }

    /// Index of state n of the carried adjoint, at this block's first channel.
    #[inline(always)]
    pub(super) fn carry_at(&self, n: usize) -> usize {
        let dims = self.pass.dims;
        (self.task.row_group * dims.states + n) * dims.padded() + self.task.channels.start
    }

    /// Index of Σ r·δ of state n, at this block's first channel.
    #[inline(always)]
    pub(super) fn sum_at(&self, n: usize) -> usize {
        self.sums_at() + n * self.pass.dims.padded() + self.task.channels.start
    }
}

/// Most vectors of channels that are computed together.
const MAX_WIDTH: usize = 2 * MAX_LANES;

/// Operands of a chunk.
pub(super) struct BackwardPanels<T> {
    /// δ
    pub(super) delta: Panel<T>,
    /// δ·u
    pub(super) x: Panel<T>,
    /// dy·silu(z)
    pub(super) g: Panel<T>,
    /// Σ C·h + D·u
    pub(super) y: Panel<T>,
    /// Σ q·B
    pub(super) s: Panel<T>,
    /// Σ a·r
    pub(super) r: Panel<T>,
    /// sigmoid(delta + bias)
    pub(super) slope: Panel<T>,
    /// silu(z)
    pub(super) gate: Panel<T>,
    /// dy·silu'(z)
    pub(super) dgate: Panel<T>,
    /// ā of a run of tokens, `[t, state, lane]`
    pub(super) decay: Work<T>,
    /// ā·h_{t-1}
    pub(super) decayed: Work<T>,
    /// dB and dC of a run of tokens
    pub(super) db: [Folded<T>; CHUNK],
    pub(super) dc: [Folded<T>; CHUNK],
}

impl<T: Scalar> BackwardPanels<T> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            delta: Panel::new(),
            x: Panel::new(),
            g: Panel::new(),
            y: Panel::new(),
            s: Panel::new(),
            r: Panel::new(),
            slope: Panel::new(),
            gate: Panel::new(),
            dgate: Panel::new(),
            decay: Work::new(),
            decayed: Work::new(),
            db: [Folded::ZERO; CHUNK],
            dc: [Folded::ZERO; CHUNK],
        }
    }
}

/// One number per token of a chunk, state of a group and channel of the widest vectors.
#[repr(align(64))]
pub(super) struct Work<T>(pub(super) [T; CHUNK * GROUP * MAX_WIDTH + SKEW]);

impl<T: Scalar> Work<T> {
    #[inline(always)]
    fn new() -> Self {
        Self([T::ZERO; CHUNK * GROUP * MAX_WIDTH + SKEW])
    }
}

/// Sums over channels for the states of a group, as [`Vector::add_folded`] leaves them.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Folded<T>(pub(super) [T; MAX_LANES]);

impl<T: Scalar> Folded<T> {
    pub(super) const ZERO: Self = Self([T::ZERO; MAX_LANES]);
}
