//! The Mamba-1 block (docs/mathematics.md, 1), forward, backward and one token at a time.
//!
//! M = B·T tokens, D = `d_model`, I = `d_inner` = expand·D channels, N = `d_state` states of each, K = `d_conv` taps,
//! R = `dt_rank`, the rank of the step size.
//!
//! ```text
//! [x, z]     = in_proj·n                    [M, 2I]
//! u          = silu(conv(x))                [M, I]
//! [dt, B, C] = x_proj·u                     [M, R+2N]
//! delta      = dt_proj·dt                   [M, I]     its bias and softplus are part of the scan
//! v          = scan(u, delta, B, C)·silu(z) [M, I]     gate and skip too
//! out       += out_proj·v                   [M, D]
//! ```
//!
//! | tensor | shape | starts as | decay |
//! |---|---|---|---|
//! | `in_proj.weight` | `[2I, D]`, rows of x first, then z | U(±1/√D) | yes |
//! | `conv1d.weight`, `conv1d.bias` | `[I, 1, K]`, `[I]` | U(±1/√K) | weight only |
//! | `x_proj.weight` | `[R+2N, I]`, rows of dt, B, C | U(±1/√I) | yes |
//! | `dt_proj.weight` | `[I, R]` | U(±1/√R) | yes |
//! | `dt_proj.bias` | `[I]` | softplus⁻¹ of a step in \[1e-3, 1e-1\] | no |
//! | `A_log` | `[I, N]` | ln(1..N) | no |
//! | `D` | `[I]` | 1 | no |
//! | `out_proj.weight` | `[D, I]` | U(±1/√I)/√layers | yes |

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::block::{Block, Sizes};
use super::timed::Products;
use crate::bounds::Bounds;
use crate::error::Result;
use crate::kernels::matmul::{MatMut, MatRef, linear_dw_scratch};
use crate::kernels::selective_scan::ScanOutputs;
use crate::kernels::{Accumulate, Columns, ColumnsMut, Layout, conv1d, selective_scan};
use crate::numeric::Scalar;
use crate::params::{Grads, Init, ParamSpec, Params};
use crate::pass::{Carver, Cut, Mode, Pass, padded};
use crate::profile::{Phase, phase};

/// Settings of a Mamba-1 block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mamba1Config {
    /// States per channel (N).
    pub d_state: usize,
    /// Taps of the convolution (K).
    pub d_conv: usize,
    /// Channels of the scan per channel of the residual stream (`d_inner`/`d_model`).
    pub expand: usize,
    /// Rank of the step size (R); absent: ⌈D/16⌉.
    pub dt_rank: Option<usize>,
}

impl Default for Mamba1Config {
    fn default() -> Self {
        Self { d_state: 16, d_conv: 4, expand: 2, dt_rank: None }
    }
}

const D_STATE: Bounds = Bounds::whole("model.block.d_state", 1, 1 << 12);
const D_CONV: Bounds = Bounds::whole("model.block.d_conv", 1, conv1d::MAX_TAPS as u32);
const EXPAND: Bounds = Bounds::whole("model.block.expand", 1, 64);
const DT_RANK: Bounds = Bounds::whole("model.block.dt_rank", 1, 1 << 16);

/// The numbers that these settings may have.
pub(crate) const BOUNDS: &[Bounds] = &[D_STATE, D_CONV, EXPAND, DT_RANK];

/// A Mamba-1 block of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mamba1 {
    /// Width of the residual stream (D).
    d_model: usize,
    /// Channels of the convolution and the scan (I), `expand · d_model`.
    d_inner: usize,
    /// States of a channel (N).
    d_state: usize,
    /// Taps of the convolution (K).
    d_conv: usize,
    /// Numbers of a token from which `dt_proj` makes the step sizes of all channels (R).
    dt_rank: usize,
    /// Factor of the first out_proj: 1/√layers.
    out_scale: f64,
    config: Mamba1Config,
}

/// Places of the tensors in the block's declaration.
mod tensor {
    pub(super) const IN_PROJ: usize = 0;
    pub(super) const CONV_WEIGHT: usize = 1;
    pub(super) const CONV_BIAS: usize = 2;
    pub(super) const X_PROJ: usize = 3;
    pub(super) const DT_PROJ: usize = 4;
    pub(super) const DT_BIAS: usize = 5;
    pub(super) const A_LOG: usize = 6;
    pub(super) const SKIP: usize = 7;
    pub(super) const OUT_PROJ: usize = 8;
}

impl Mamba1 {
    /// A block for a stream of `d_model` in a model of `n_layers`; `at` is its dotted place in the configuration.
    pub(crate) fn new(config: &Mamba1Config, at: &str, d_model: usize, n_layers: usize) -> Result<Self> {
        D_STATE.check_whole_at(at, config.d_state)?;
        D_CONV.check_whole_at(at, config.d_conv)?;
        EXPAND.check_whole_at(at, config.expand)?;
        let rank = config.dt_rank.unwrap_or(d_model.div_ceil(16));
        DT_RANK.check_whole_at(at, rank)?;
        Ok(Self {
            d_model,
            d_inner: config.expand * d_model,
            d_state: config.d_state,
            d_conv: config.d_conv,
            dt_rank: rank,
            out_scale: 1.0 / (n_layers as f64).sqrt(),
            config: Mamba1Config { dt_rank: Some(rank), ..*config },
        })
    }

    /// Columns of x_proj: R + 2N.
    fn projected(&self) -> usize {
        self.dt_rank + 2 * self.d_state
    }

    /// From a row of x and z to the next: a cache line more than 2I, a power of two as a rule, because the rows of such a
    /// matrix lie in the same few sets of a cache, and dw reads their gradients column by column.
    fn xz_stride(&self) -> usize {
        2 * self.d_inner + 16
    }

    fn conv<'a>(&self, layout: Layout<'a>) -> conv1d::Dims<'a> {
        conv1d::Dims { layout, channels: self.d_inner, taps: self.d_conv }
    }

    fn scan<'a>(&self, layout: Layout<'a>) -> selective_scan::Dims<'a> {
        selective_scan::Dims { layout, channels: self.d_inner, states: self.d_state }
    }
}

/// Whether a pass is one token per row that goes on from a state and keeps nothing for a backward pass.
fn is_step<T>(pass: &Pass<T>) -> bool {
    pass.layout.length == 1 && pass.state.is_some() && pass.mode == Mode::Inference
}

/// The products of a pass.
fn products<T>(pass: &Pass<T>) -> Products {
    Products { precision: pass.precision, is_step: is_step(pass) }
}

fn conv_weights<'a, T: Scalar>(params: &Params<'a, T>) -> conv1d::Weights<'a, T> {
    conv1d::Weights { weight: params.get(tensor::CONV_WEIGHT), bias: params.get(tensor::CONV_BIAS) }
}

/// Kept from the forward pass for the backward pass: all but delta, which is recomputed by a small product, and v,
/// which the backward pass of the scan leaves in place of its gradient.
struct Saved<P> {
    /// x and z side by side, 2I columns.
    xz: P,
    /// Output of the convolution, input of the scan `[M, I]`.
    u: P,
    /// dt, B and C side by side `[M, R+2N]`.
    projected: P,
    /// States at the starts of chunks.
    states: P,
}

impl Mamba1 {
    fn saved_len(&self, layout: Layout) -> usize {
        let (m, i) = (layout.tokens(), self.d_inner);
        padded(m * self.xz_stride())
            + padded(m * i)
            + padded(m * self.projected())
            + padded(self.scan(layout).chunk_states_len())
    }

    fn carve_saved<P: Cut>(&self, layout: Layout, saved: P) -> Saved<P> {
        let (m, i) = (layout.tokens(), self.d_inner);
        let mut carver = Carver::new(saved);
        Saved {
            xz: carver.take(m * self.xz_stride()),
            u: carver.take(m * i),
            projected: carver.take(m * self.projected()),
            states: carver.take(self.scan(layout).chunk_states_len()),
        }
    }

    /// Scratch of [`Mamba1::inner`]: delta, v and what the scan needs.
    fn inner_len(&self, layout: Layout) -> usize {
        2 * padded(layout.tokens() * self.d_inner) + self.scan(layout).forward_scratch_len()
    }

    /// Computes everything before out_proj; returns v. A step calls the kernels' step functions.
    fn inner<'a, T: Scalar>(&self, pass: Pass<'a, T>, n: &[T]) -> &'a [T] {
        let products = products(&pass);
        let Pass { params, layout, state, saved, scratch, .. } = pass;
        let (m, i, params) = (layout.tokens(), self.d_inner, &params);
        let saved = self.carve_saved(layout, saved);
        let mut carver = Carver::new(scratch);
        let (delta, v, scratch) = (carver.take(m * i), carver.take(m * i), carver.rest());
        let (conv, scan) = (self.conv(layout), self.scan(layout));
        let mut state = state.map(|state| state.split_at_mut(conv.state_len()));
        products.linear(
            MatRef::new(n, m, self.d_model),
            MatRef::new(params.get(tensor::IN_PROJ), 2 * i, self.d_model),
            MatMut::with_stride(saved.xz, m, 2 * i, self.xz_stride()),
            Accumulate::Overwrite,
        );
        let (weights, x) = (conv_weights(params), Columns::new(saved.xz, 0, self.xz_stride()));
        let conv_state = state.as_mut().map(|(state, _)| &mut **state);
        phase(Phase::Conv, || conv1d::forward(&conv, &weights, x, conv_state, saved.u));
        products.linear(
            MatRef::new(saved.u, m, i),
            MatRef::new(params.get(tensor::X_PROJ), self.projected(), i),
            MatMut::new(saved.projected, m, self.projected()),
            Accumulate::Overwrite,
        );
        self.dt_proj(params, saved.projected, products, delta);
        let system = self.system(params, saved.projected);
        let inputs =
            selective_scan::Inputs { u: saved.u, delta, z: Columns::new(saved.xz, i, self.xz_stride()) };
        phase(Phase::Scan, || match state {
            Some((_, state)) if products.is_step => {
                selective_scan::step(&scan, &system, &inputs, state, scratch, v);
            }
            state => {
                let state = state.map(|(_, state)| state);
                let outputs = ScanOutputs { y: &mut *v, chunk_states: saved.states, state };
                selective_scan::forward(&scan, &system, &inputs, outputs, scratch);
            }
        });
        v
    }

    /// delta = dt_proj·dt
    fn dt_proj<T: Scalar>(&self, params: &Params<T>, projected: &[T], products: Products, delta: &mut [T]) {
        let (m, i, r) = (delta.len() / self.d_inner, self.d_inner, self.dt_rank);
        products.linear(
            MatRef::with_stride(projected, m, r, self.projected()),
            MatRef::new(params.get(tensor::DT_PROJ), i, r),
            MatMut::new(delta, m, i),
            Accumulate::Overwrite,
        );
    }

    fn system<'a, T: Scalar>(
        &self,
        params: &Params<'a, T>,
        projected: &'a [T],
    ) -> selective_scan::System<'a, T> {
        selective_scan::System {
            bc: Columns::new(projected, self.dt_rank, self.projected()),
            a_log: params.get(tensor::A_LOG),
            d: params.get(tensor::SKIP),
            delta_bias: params.get(tensor::DT_BIAS),
        }
    }

    /// y += out_proj·v
    fn out_proj<T: Scalar>(&self, params: &Params<T>, v: &[T], products: Products, y: &mut [T]) {
        let m = v.len() / self.d_inner;
        products.linear(
            MatRef::new(v, m, self.d_inner),
            MatRef::new(params.get(tensor::OUT_PROJ), self.d_model, self.d_inner),
            MatMut::new(y, m, self.d_model),
            Accumulate::Add,
        );
    }

    /// Scratch of the backward pass besides its own buffers: that of the kernel that needs most.
    fn backward_kernels_len(&self, layout: Layout) -> usize {
        let (m, i, d) = (layout.tokens(), self.d_inner, self.d_model);
        let products = [(d, i), (i, self.dt_rank), (self.projected(), i), (2 * i, d)]
            .map(|(n, k)| linear_dw_scratch(m, n, k));
        let products = products.into_iter().max().unwrap_or(0);
        products.max(self.scan(layout).backward_scratch_len()).max(self.conv(layout).backward_scratch_len())
    }
}

impl<T: Scalar> Block<T> for Mamba1 {
    fn params(&self) -> Vec<ParamSpec> {
        let Self { d_model: d, d_inner: i, d_state: n, d_conv: k, dt_rank: r, .. } = *self;
        let uniform = |fan_in: usize, scale: f64| Init::Uniform { bound: scale / (fan_in as f64).sqrt() };
        let step = Init::DeltaBias { low: 1e-3, high: 1e-1, floor: 1e-4 };
        vec![
            ParamSpec::new("in_proj.weight", [2 * i, d], uniform(d, 1.0)),
            ParamSpec::new("conv1d.weight", [i, 1, k], uniform(k, 1.0)),
            ParamSpec::new("conv1d.bias", [i], uniform(k, 1.0)).no_decay(),
            ParamSpec::new("x_proj.weight", [self.projected(), i], uniform(i, 1.0)),
            ParamSpec::new("dt_proj.weight", [i, r], uniform(r, 1.0)),
            ParamSpec::new("dt_proj.bias", [i], step).no_decay(),
            ParamSpec::new("A_log", [i, n], Init::LogArange).no_decay(),
            ParamSpec::new("D", [i], Init::Ones).no_decay(),
            ParamSpec::new("out_proj.weight", [d, i], uniform(i, self.out_scale)),
        ]
    }

    fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let layout = Layout::whole(rows, length);
        let (m, i) = (layout.tokens(), self.d_inner);
        let backward =
            2 * padded(m * i) + padded(m * self.projected()) + padded(self.backward_kernels_len(layout));
        Sizes {
            saved: self.saved_len(layout),
            scratch: backward.max(self.saved_len(layout) + self.inner_len(layout)),
            state: self.conv(layout).state_len() + self.scan(layout).state_len(),
        }
    }

    fn forward(&self, mut pass: Pass<T>, x: &[T], y: &mut [T]) {
        let products = products(&pass);
        let params = pass.params;
        let v = self.inner(pass.reborrow(), x);
        self.out_proj(&params, v, products, y);
    }

    fn recompute(&self, pass: Pass<T>, x: &[T], _: &mut [T]) {
        self.inner(pass, x);
    }

    fn backward(&self, pass: Pass<T>, x: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>) {
        let products = Products::new(pass.precision);
        let Pass { params, layout, state, dstate, saved, scratch, .. } = pass;
        let params = &params;
        let conv_state_len = self.conv(layout).state_len();
        let conv_state = state.as_deref().map(|state| &state[..conv_state_len]);
        let (conv_dstate, scan_dstate) = dstate.map(|dstate| dstate.split_at_mut(conv_state_len)).unzip();
        let (m, i, r, p) = (layout.tokens(), self.d_inner, self.dt_rank, self.projected());
        let xz_stride = self.xz_stride();
        let Saved { xz, u, projected, states } = self.carve_saved(layout, saved);
        let mut carver = Carver::new(scratch);
        let (v, delta, dprojected) = (carver.take(m * i), carver.take(m * i), carver.take(m * p));
        let scratch = carver.rest();

        // out += out_proj·v
        let dy = MatRef::new(dy, m, self.d_model);
        let weight = MatRef::new(params.get(tensor::OUT_PROJ), self.d_model, i);
        products.linear_dx(dy, weight, MatMut::new(v, m, i), Accumulate::Overwrite);

        // v = scan(u, delta, B, C)·silu(z): du, ddelta and dz replace u, delta and z; v replaces dv
        self.dt_proj(params, projected, products, delta);
        let system = self.system(params, projected);
        let in_place = selective_scan::ScanInPlace { u, delta, z: ColumnsMut::new(xz, i, xz_stride), dy: v };
        let [ddelta_bias, da_log, dd] = dparams.get_many([tensor::DT_BIAS, tensor::A_LOG, tensor::SKIP]);
        let dbc = ColumnsMut::new(dprojected, r, p);
        let gradients = selective_scan::ScanGrads { dbc, da_log, dd, ddelta_bias, dstate: scan_dstate };
        let scan = self.scan(layout);
        phase(Phase::Scan, || {
            selective_scan::backward(&scan, &system, states, in_place, scratch, gradients);
        });
        weight_gradient(products, dparams, tensor::OUT_PROJ, dy, MatRef::new(v, m, i), scratch);

        // delta = dt_proj·dt
        let ddelta = MatRef::new(delta, m, i);
        let dt = MatRef::with_stride(projected, m, r, p);
        weight_gradient(products, dparams, tensor::DT_PROJ, ddelta, dt, scratch);
        let weight = MatRef::new(params.get(tensor::DT_PROJ), i, r);
        products.linear_dx(ddelta, weight, MatMut::with_stride(dprojected, m, r, p), Accumulate::Overwrite);

        // [dt, B, C] = x_proj·u
        let dprojected = MatRef::new(dprojected, m, p);
        let weight = MatRef::new(params.get(tensor::X_PROJ), p, i);
        products.linear_dx(dprojected, weight, MatMut::new(u, m, i), Accumulate::Add);

        // u = silu(conv(x)): dx replaces x; u replaces du, for the weight of x_proj
        let (conv, weights) = (self.conv(layout), conv_weights(params));
        let in_place = conv1d::ConvInPlace { x: ColumnsMut::new(xz, 0, xz_stride), dy: u, state: conv_state };
        let [dweight, dbias] = dparams.get_many([tensor::CONV_WEIGHT, tensor::CONV_BIAS]);
        let gradients = conv1d::ConvGrads { dweight, dbias, dstate: conv_dstate };
        phase(Phase::Conv, || conv1d::backward(&conv, &weights, in_place, scratch, gradients));
        weight_gradient(products, dparams, tensor::X_PROJ, dprojected, MatRef::new(u, m, i), scratch);

        // [x, z] = in_proj·n
        let dxz = MatRef::with_stride(xz, m, 2 * i, xz_stride);
        weight_gradient(products, dparams, tensor::IN_PROJ, dxz, MatRef::new(x, m, self.d_model), scratch);
        let weight = MatRef::new(params.get(tensor::IN_PROJ), 2 * i, self.d_model);
        products.linear_dx(dxz, weight, MatMut::new(dx, m, self.d_model), Accumulate::Overwrite);
    }

    fn step(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (saved, scratch) = pass.scratch.split_at_mut(self.saved_len(pass.layout));
        self.forward(Pass { saved, scratch, ..pass }, x, y);
    }

    fn resolved(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self.config).ok()
    }
}

/// dw += dyᵀ·x for the `index`-th tensor, if it is trained.
fn weight_gradient<T: Scalar>(
    products: Products,
    dparams: &mut Grads<T>,
    index: usize,
    dy: MatRef<T>,
    x: MatRef<T>,
    scratch: &mut [T],
) {
    if let Some(dw) = dparams.get(index) {
        products.linear_dw(dy, x, MatMut::new(dw, dy.cols(), x.cols()), scratch);
    }
}

#[cfg(test)]
mod tests;
