//! The recurrence of the Mamba-2 block, token by token; formulas and letters are those of [`super::block`].

use ssm_hpn::Scalar;
use ssm_hpn::kernels::Layout;

use super::block::{Mamba2, sigmoid};

/// Inputs of the recurrence.
pub(super) struct Scan<'a, T> {
    pub(super) sizes: &'a Mamba2,
    pub(super) layout: &'a Layout<'a>,
    /// z, xBC and dt side by side `[M, I + C + H]`; dt is read.
    pub(super) projected: &'a [T],
    /// x, B and C side by side `[M, C]`.
    pub(super) mixed: &'a [T],
    /// Bias of the step size of each head `[H]`
    pub(super) dt_bias: &'a [T],
    /// ln(-A) of each head `[H]`
    pub(super) a_log: &'a [T],
    /// D `[H]`
    pub(super) skip: &'a [T],
}

/// The values of one token for one head.
struct Step<'a, T> {
    /// `[P]`
    x: &'a [T],
    /// `[N]`
    b: &'a [T],
    /// `[N]`
    c: &'a [T],
    /// dt + dt_bias.
    raw: T,
    /// δ.
    delta: T,
    /// a, the factor of the state before.
    decay: T,
}

impl<T: Scalar> Step<'_, T> {
    /// Updates the state `[P, N]`: h = a·h + δ·x ⊗ B.
    fn advance(&self, state: &mut [T]) {
        for (state, x) in state.chunks_exact_mut(self.b.len()).zip(self.x) {
            for (h, b) in state.iter_mut().zip(self.b) {
                *h = self.decay * *h + self.delta * *x * *b;
            }
        }
    }
}

fn softplus<T: Scalar>(x: T) -> T {
    x.max(T::ZERO) + (-x.abs()).exp().ln_1p()
}

impl<T: Scalar> Scan<'_, T> {
    /// Columns of `head`'s x, of B and of C in `mixed`.
    fn columns(&self, head: usize) -> [usize; 3] {
        let Mamba2 { i, n, p, .. } = *self.sizes;
        [head * p, i, i + n]
    }

    /// Column of `head`'s dt in `projected`.
    fn dt_column(&self, head: usize) -> usize {
        self.sizes.i + self.sizes.mixed() + head
    }

    fn step(&self, token: usize, head: usize) -> Step<'_, T> {
        let mixed = &self.mixed[token * self.sizes.mixed()..];
        let [x, b, c] = self.columns(head);
        let dt = self.projected[token * self.sizes.projected() + self.dt_column(head)];
        let raw = dt + self.dt_bias[head];
        let delta = softplus(raw);
        let is_start = self.layout.starts.is_some_and(|starts| starts[token] == 1);
        Step {
            x: &mixed[x..][..self.sizes.p],
            b: &mixed[b..][..self.sizes.n],
            c: &mixed[c..][..self.sizes.n],
            raw,
            delta,
            decay: if is_start { T::ZERO } else { (-delta * self.a_log[head].exp()).exp() },
        }
    }

    /// Writes y `[M, I]`, starting from `states` `[rows, H, P, N]`, which hold the last states afterwards.
    pub(super) fn forward(&self, states: &mut [T], y: &mut [T]) {
        let Mamba2 { i, n, h, p, .. } = *self.sizes;
        for (index, state) in states.chunks_exact_mut(p * n).enumerate() {
            let (row, head) = (index / h, index % h);
            for token in row * self.layout.length..(row + 1) * self.layout.length {
                let step = self.step(token, head);
                step.advance(state);
                let y = &mut y[token * i + head * p..][..p];
                for ((y, state), x) in y.iter_mut().zip(state.chunks_exact(n)).zip(step.x) {
                    let read: T = state.iter().zip(step.c).map(|(h, c)| *h * *c).sum();
                    *y = read + self.skip[head] * *x;
                }
            }
        }
    }

    /// From dy `[M, I]`: writes dx, dB, dC and ddt into the gradients of `mixed` and `projected`, and adds to those of
    /// dt_bias, A_log and D that are wanted. `first_states` are the states `[rows, H, P, N]` from which the forward
    /// pass started; `dstates` is the gradient of the last states, replaced by that of the first. `scratch` holds g,
    /// and the states of one row and head.
    pub(super) fn backward(
        &self,
        dy: &[T],
        (dmixed, dprojected): (&mut [T], &mut [T]),
        (first_states, mut dstates): (Option<&[T]>, Option<&mut [T]>),
        scratch: &mut [T],
        wanted: [Option<&mut [T]>; 3],
    ) {
        let Mamba2 { n, h, p, .. } = *self.sizes;
        let (g, states) = scratch.split_at_mut(p * n);
        let [mut ddt_bias, mut da_log, mut dskip] = wanted;
        dmixed.fill(T::ZERO);
        for index in 0..self.layout.rows * h {
            let (row, head, own) = (index / h, index % h, index * p * n..(index + 1) * p * n);
            let first = row * self.layout.length;
            let tokens = first..first + self.layout.length;
            // h before the first token and after each one.
            match first_states {
                Some(first) => states[..p * n].copy_from_slice(&first[own.clone()]),
                None => states[..p * n].fill(T::ZERO),
            }
            for (k, token) in tokens.clone().enumerate() {
                let (before, after) = states[k * p * n..][..2 * p * n].split_at_mut(p * n);
                after.copy_from_slice(before);
                self.step(token, head).advance(after);
            }
            match &dstates {
                Some(last) => g.copy_from_slice(&last[own.clone()]),
                None => g.fill(T::ZERO),
            }
            for token in tokens.rev() {
                let states = &states[(token - first) * p * n..][..2 * p * n];
                let dmixed = &mut dmixed[token * self.sizes.mixed()..][..self.sizes.mixed()];
                let [draw, da, dd] = self.step_backward(token, head, states, dy, g, dmixed);
                dprojected[token * self.sizes.projected() + self.dt_column(head)] = draw;
                for (to, term) in [(&mut ddt_bias, draw), (&mut da_log, da), (&mut dskip, dd)] {
                    if let Some(to) = to {
                        to[head] += term;
                    }
                }
            }
            if let Some(dstates) = &mut dstates {
                dstates[own].copy_from_slice(g);
            }
        }
    }

    /// The backward pass of one token, with `states` h before and after it: replaces g, the gradient from the next
    /// token, by that for the token before, adds to the token's row of dmixed, and returns its ddt, dA_log and dD.
    fn step_backward(
        &self,
        token: usize,
        head: usize,
        states: &[T],
        dy: &[T],
        g: &mut [T],
        dmixed: &mut [T],
    ) -> [T; 3] {
        let Mamba2 { i, n, p, .. } = *self.sizes;
        let (before, after) = states.split_at(p * n);
        let (step, a) = (self.step(token, head), -self.a_log[head].exp());
        let [first_x, first_b, first_c] = self.columns(head);
        let (mut past, mut ddelta, mut dd) = (T::ZERO, T::ZERO, T::ZERO);
        for (row, dy) in dy[token * i + head * p..][..p].iter().enumerate() {
            let mut gb = T::ZERO;
            for col in 0..n {
                let at = row * n + col;
                let grad = g[at] + *dy * step.c[col];
                dmixed[first_b + col] += step.delta * grad * step.x[row];
                dmixed[first_c + col] += *dy * after[at];
                gb += grad * step.b[col];
                past += grad * before[at];
                g[at] = step.decay * grad;
            }
            dmixed[first_x + row] = step.delta * gb + self.skip[head] * *dy;
            ddelta += step.x[row] * gb;
            dd += step.x[row] * *dy;
        }
        let q = step.decay * past;
        [(ddelta + a * q) * sigmoid(step.raw), a * step.delta * q, dd]
    }
}
