//! A Mamba-2 block (SSD) in its reference form: the recurrence token by token, in plain scalars, forward and backward
//! ([`super::recurrence`]).
//!
//! It is not part of the crate and uses only its public items, which shows that the trait [`Block`] suffices for
//! another family of models. It is written for clarity, not for speed.
//!
//! M = B·T tokens, D width, I = expand·D channels in H heads of P, N states, K taps, C = I + 2N channels of the
//! convolution. All heads share B and C (one group); A = -exp(A_log) per head.
//!
//! ```text
//! [z, xBC, dt] = in_proj·n                              [M, I + C + H]
//! [x, B, C]    = silu(conv(xBC))                        [M, I + N + N]
//! δ_t = softplus(dt_t + dt_bias)    a_t = exp(δ_t·A), 0 at a document's start          per head
//! h_t = a_t·h_{t-1} + δ_t·x_t ⊗ B_t                     [P, N] per head
//! y_t = h_t·C_t + D·x_t                                 [M, I]
//! u   = y ⊙ silu(z)    r = (mean(u²) + 1e-5)^-½    v = r·u ⊙ w     [M, I]
//! out += out_proj·v                                     [M, D]
//!
//! dout → dv (out_proj) →   du = r·w⊙dv - u·r³·mean(u⊙w⊙dv)    dw += Σ dv⊙u·r
//!                          dy = du⊙silu(z)    dz = du⊙y⊙silu'(z)
//! per head, from the last token back, with g the gradient of h_t:
//! g   = dy_t ⊗ C_t + a_{t+1}·g_{t+1}
//! dC_t += h_tᵀ·dy_t     dB_t += δ_t·gᵀ·x_t     dx_t = δ_t·g·B_t + D·dy_t     dD += x_t·dy_t
//! q_t = a_t·⟨g, h_{t-1}⟩    dδ_t = A·q_t + x_t·g·B_t    dA_log += A·Σ δ_t·q_t    ddt_t = dδ_t·sigmoid(dt_t + dt_bias)
//! ```
//!
//! | tensor | shape | starts as | decay |
//! |---|---|---|---|
//! | `in_proj.weight` | `[I + C + H, D]`, rows of z, x, B, C, dt | U(±1/√D) | yes |
//! | `conv1d.weight`, `conv1d.bias` | `[C, 1, K]`, `[C]` | U(±1/√K) | weight only |
//! | `dt_bias` | `[H]` | softplus⁻¹ of a step in \[1e-3, 1e-1\] | no |
//! | `A_log` | `[H]` | ln A, A spread evenly over 1 to 16 | no |
//! | `D` | `[H]` | 1 | no |
//! | `norm.weight` | `[I]` | 1 | no |
//! | `out_proj.weight` | `[D, I]` | U(±1/√I)/√layers | yes |
//!
//! All intermediate values but the states h are kept for the backward pass; h is recomputed there, for one row and head
//! at a time. The state between calls is the last K-1 inputs of the convolution, and h.

use serde::Deserialize;
use ssm_hpn::blocks::{Block, Sizes};
use ssm_hpn::kernels::matmul::{MatMut, MatRef, linear, linear_dw, linear_dw_scratch, linear_dx};
use ssm_hpn::kernels::{Accumulate, Columns, ColumnsMut, Layout, conv1d, norm};
use ssm_hpn::model::BlockContext;
use ssm_hpn::params::{Grads, Init, ParamSpec, Params};
use ssm_hpn::pass::{Carver, Cut, Pass, padded};
use ssm_hpn::{Error, Result, Scalar};

use super::recurrence::Scan;

/// Added to the mean square of the gated norm.
const EPS: f64 = 1e-5;

/// Settings of a Mamba-2 block.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    d_state: usize,
    d_conv: usize,
    expand: usize,
    /// Channels of a head (P).
    headdim: usize,
}

/// A Mamba-2 block of one size; the letters are those of the header.
pub(super) struct Mamba2 {
    d: usize,
    pub(super) i: usize,
    pub(super) n: usize,
    k: usize,
    pub(super) h: usize,
    pub(super) p: usize,
    n_layers: usize,
}

/// Places of the tensors in the block's declaration.
mod tensor {
    pub(super) const IN_PROJ: usize = 0;
    pub(super) const CONV_WEIGHT: usize = 1;
    pub(super) const CONV_BIAS: usize = 2;
    pub(super) const DT_BIAS: usize = 3;
    pub(super) const A_LOG: usize = 4;
    pub(super) const SKIP: usize = 5;
    pub(super) const NORM: usize = 6;
    pub(super) const OUT_PROJ: usize = 7;
}

/// Values that the forward pass keeps.
struct Saved<S> {
    /// z, xBC and dt side by side `[M, I + C + H]`.
    projected: S,
    /// x, B and C side by side `[M, C]`.
    mixed: S,
    /// Output of the recurrence, skip included `[M, I]`.
    y: S,
    /// y ⊙ silu(z) `[M, I]`.
    u: S,
    /// u after the norm `[M, I]`.
    v: S,
    /// Reciprocal root mean squares of u `[M]`.
    r: S,
}

pub(super) fn sigmoid<T: Scalar>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

fn silu<T: Scalar>(x: T) -> T {
    x * sigmoid(x)
}

fn silu_derivative<T: Scalar>(x: T) -> T {
    let s = sigmoid(x);
    s * (T::ONE + x * (T::ONE - s))
}

impl Mamba2 {
    pub(super) fn new<T>(settings: Settings, context: &BlockContext<T>) -> Result<Self> {
        let Settings { d_state: n, d_conv: k, expand, headdim: p } = settings;
        let i = expand * context.d_model;
        if i * n * p == 0 || !i.is_multiple_of(p) || !(1..=conv1d::MAX_TAPS).contains(&k) {
            let expected = format!("sizes from 1 on, and heads that divide {i} channels");
            return Err(Error::config("model.block", expected, format!("{settings:?}"), "change the sizes"));
        }
        Ok(Self { d: context.d_model, i, n, k, h: i / p, p, n_layers: context.n_layers })
    }

    /// C.
    pub(super) fn mixed(&self) -> usize {
        self.i + 2 * self.n
    }

    /// Columns of in_proj.
    pub(super) fn projected(&self) -> usize {
        self.i + self.mixed() + self.h
    }

    fn norm(&self, tokens: usize) -> norm::Dims {
        norm::Dims { tokens, channels: self.i, eps: EPS }
    }

    fn conv<'a>(&self, layout: Layout<'a>) -> conv1d::Dims<'a> {
        conv1d::Dims { layout, channels: self.mixed(), taps: self.k }
    }

    fn saved_len(&self, m: usize) -> usize {
        padded(m * self.projected()) + padded(m * self.mixed()) + 3 * padded(m * self.i) + padded(m)
    }

    fn carve_saved<S: Cut>(&self, m: usize, saved: S) -> Saved<S> {
        let mut carver = Carver::new(saved);
        Saved {
            projected: carver.take(m * self.projected()),
            mixed: carver.take(m * self.mixed()),
            y: carver.take(m * self.i),
            u: carver.take(m * self.i),
            v: carver.take(m * self.i),
            r: carver.take(m),
        }
    }

    fn scan<'a, T: Scalar>(
        &'a self,
        params: &Params<'a, T>,
        layout: &'a Layout,
        projected: &'a [T],
        mixed: &'a [T],
    ) -> Scan<'a, T> {
        let [dt_bias, a_log, skip] = [tensor::DT_BIAS, tensor::A_LOG, tensor::SKIP].map(|t| params.get(t));
        Scan { sizes: self, layout, projected, mixed, dt_bias, a_log, skip }
    }

    /// Computes everything before out_proj.
    fn inner<'a, T: Scalar>(&self, pass: Pass<'a, T>, x: &[T]) -> Saved<&'a mut [T]> {
        let Pass { params, layout, state, saved, scratch, .. } = pass;
        let (m, w, params) = (layout.tokens(), self.projected(), &params);
        let saved = self.carve_saved(m, saved);
        let weight = MatRef::new(params.get(tensor::IN_PROJ), w, self.d);
        linear(MatRef::new(x, m, self.d), weight, MatMut::new(saved.projected, m, w), Accumulate::Overwrite);
        let conv = self.conv(layout);
        let (conv_state, states) = if let Some(state) = state {
            let (conv_state, states) = state.split_at_mut(conv.state_len());
            (Some(conv_state), states)
        } else {
            let states = &mut scratch[..layout.rows * self.i * self.n];
            states.fill(T::ZERO);
            (None, states)
        };
        let x = Columns::new(saved.projected, self.i, w);
        conv1d::forward(&conv, &conv_weights(params), x, conv_state, saved.mixed);
        self.scan(params, &layout, saved.projected, saved.mixed).forward(states, saved.y);
        for (index, u) in saved.u.iter_mut().enumerate() {
            *u = saved.y[index] * silu(saved.projected[self.z(index)]);
        }
        norm::forward(self.norm(m), saved.u, params.get(tensor::NORM), saved.v, saved.r);
        saved
    }

    /// Place of z for the `index`-th element of y.
    fn z(&self, index: usize) -> usize {
        index / self.i * self.projected() + index % self.i
    }

    /// Scratch of the recurrence's backward pass: one row's states of one head, and their gradient.
    fn states_len(&self, length: usize) -> usize {
        (length + 2) * self.p * self.n
    }

    /// Scratch of the backward passes of the products, the norm and the convolution.
    fn kernels_len(&self, layout: Layout) -> usize {
        let m = layout.tokens();
        let products =
            linear_dw_scratch(m, self.d, self.i).max(linear_dw_scratch(m, self.projected(), self.d));
        products.max(norm::backward_scratch(self.norm(m))).max(self.conv(layout).backward_scratch_len())
    }
}

fn conv_weights<'a, T: Scalar>(params: &Params<'a, T>) -> conv1d::Weights<'a, T> {
    conv1d::Weights { weight: params.get(tensor::CONV_WEIGHT), bias: params.get(tensor::CONV_BIAS) }
}

impl<T: Scalar> Block<T> for Mamba2 {
    fn params(&self) -> Vec<ParamSpec> {
        let uniform = |fan_in: usize| Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() };
        let step = Init::DeltaBias { low: 1e-3, high: 1e-1, floor: 1e-4 };
        let a = (0..self.h).map(|head| (1.0 + 15.0 * (head as f64 + 0.5) / self.h as f64).ln()).collect();
        vec![
            ParamSpec::new("in_proj.weight", [self.projected(), self.d], uniform(self.d)),
            ParamSpec::new("conv1d.weight", [self.mixed(), 1, self.k], uniform(self.k)),
            ParamSpec::new("conv1d.bias", [self.mixed()], uniform(self.k)).no_decay(),
            ParamSpec::new("dt_bias", [self.h], step).no_decay(),
            ParamSpec::new("A_log", [self.h], Init::Values(a)).no_decay(),
            ParamSpec::new("D", [self.h], Init::Ones).no_decay(),
            ParamSpec::new("norm.weight", [self.i], Init::Ones).no_decay(),
            ParamSpec::new("out_proj.weight", [self.d, self.i], uniform(self.i * self.n_layers)),
        ]
    }

    fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let layout = Layout::whole(rows, length);
        let m = layout.tokens();
        let state = self.i * self.n;
        let gradients = padded(m * self.projected()) + padded(m * self.mixed()) + 2 * padded(m * self.i);
        Sizes {
            saved: self.saved_len(m),
            scratch: (gradients + self.states_len(length).max(self.kernels_len(layout)))
                .max(self.saved_len(m))
                .max(rows * state),
            state: self.conv(layout).state_len() + rows * state,
        }
    }

    fn forward(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (m, params) = (pass.layout.tokens(), pass.params);
        let saved = self.inner(pass, x);
        let weight = MatRef::new(params.get(tensor::OUT_PROJ), self.d, self.i);
        linear(MatRef::new(saved.v, m, self.i), weight, MatMut::new(y, m, self.d), Accumulate::Add);
    }

    fn recompute(&self, pass: Pass<T>, x: &[T], _: &mut [T]) {
        self.inner(pass, x);
    }

    fn backward(&self, pass: Pass<T>, x: &[T], dout: &[T], dx: &mut [T], dparams: &mut Grads<T>) {
        let Pass { params, layout, state, dstate, saved, scratch, .. } = pass;
        let (params, conv_len) = (&params, self.conv(layout).state_len());
        let (conv_state, first) = state.as_deref().map(|state| state.split_at(conv_len)).unzip();
        let (conv_dstate, dstates) = dstate.map(|dstate| dstate.split_at_mut(conv_len)).unzip();
        let (m, d, i, w) = (layout.tokens(), self.d, self.i, self.projected());
        let saved = self.carve_saved(m, saved);
        let mut carver = Carver::new(scratch);
        let (dprojected, dmixed) = (carver.take(m * w), carver.take(m * self.mixed()));
        let (dv, du, scratch) = (carver.take(m * i), carver.take(m * i), carver.rest());

        // out += out_proj·v
        let dout = MatRef::new(dout, m, d);
        if let Some(dweight) = dparams.get(tensor::OUT_PROJ) {
            linear_dw(dout, MatRef::new(saved.v, m, i), MatMut::new(dweight, d, i), scratch);
        }
        let weight = MatRef::new(params.get(tensor::OUT_PROJ), d, i);
        linear_dx(dout, weight, MatMut::new(dv, m, i), Accumulate::Overwrite);

        // v = norm(u), u = y ⊙ silu(z)
        let (weight, dweight) = (params.get(tensor::NORM), dparams.get(tensor::NORM));
        let kept = norm::Saved { x: saved.u, w: weight, r: saved.r };
        norm::backward(self.norm(m), kept, dv, du, Accumulate::Overwrite, dweight, scratch);
        let dy = dv;
        for (index, (dy, du)) in dy.iter_mut().zip(du).enumerate() {
            let z = saved.projected[self.z(index)];
            *dy = *du * silu(z);
            dprojected[self.z(index)] = *du * saved.y[index] * silu_derivative(z);
        }

        // y of the recurrence, [x, B, C] = silu(conv(xBC))
        let sums = dparams.get_many([tensor::DT_BIAS, tensor::A_LOG, tensor::SKIP]);
        let scan = self.scan(params, &layout, saved.projected, saved.mixed);
        scan.backward(dy, (dmixed, dprojected), (first, dstates), scratch, sums);
        let [dweight, dbias] = dparams.get_many([tensor::CONV_WEIGHT, tensor::CONV_BIAS]);
        let in_place =
            conv1d::ConvInPlace { x: ColumnsMut::new(saved.projected, i, w), dy: dmixed, state: conv_state };
        let gradients = conv1d::ConvGrads { dweight, dbias, dstate: conv_dstate };
        conv1d::backward(&self.conv(layout), &conv_weights(params), in_place, scratch, gradients);
        for (to, from) in dprojected.chunks_exact_mut(w).zip(saved.projected.chunks_exact(w)) {
            to[i..i + self.mixed()].copy_from_slice(&from[i..i + self.mixed()]);
        }

        // [z, xBC, dt] = in_proj·n
        let dprojected = MatRef::new(dprojected, m, w);
        if let Some(dweight) = dparams.get(tensor::IN_PROJ) {
            linear_dw(dprojected, MatRef::new(x, m, d), MatMut::new(dweight, w, d), scratch);
        }
        let weight = MatRef::new(params.get(tensor::IN_PROJ), w, d);
        linear_dx(dprojected, weight, MatMut::new(dx, m, d), Accumulate::Overwrite);
    }

    fn step(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (saved, scratch) = pass.scratch.split_at_mut(self.saved_len(pass.layout.tokens()));
        self.forward(Pass { saved, scratch, ..pass }, x, y);
    }
}
