//! Two products with an activation between them, for each token separately.
//!
//! M = B·T tokens, D = `d_model`, I = `d_inner` = expand·D.
//!
//! ```text
//! a    = in_proj·n          [M, I]
//! out += out_proj·silu(a)   [M, D]
//! ```
//!
//! | tensor | shape | starts as | decay |
//! |---|---|---|---|
//! | `in_proj.weight` | `[I, D]` | U(±1/√D) | yes |
//! | `out_proj.weight` | `[D, I]` | U(±1/√I)/√layers | yes |

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::block::{Block, Sizes};
use super::timed::Products;
use crate::bounds::Bounds;
use crate::error::Result;
use crate::kernels::Accumulate;
use crate::kernels::matmul::{MatMut, MatRef, linear_dw_scratch};
use crate::kernels::silu;
use crate::numeric::Scalar;
use crate::params::{Grads, Init, ParamSpec};
use crate::pass::{Carver, Pass, padded};

/// Settings of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MlpConfig {
    /// Inner channels per channel of the residual stream (`d_inner`/`d_model`).
    pub expand: usize,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { expand: 4 }
    }
}

const EXPAND: Bounds = Bounds::whole("model.block.expand", 1, 64);

/// An MLP of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mlp {
    /// Width of the residual stream (D).
    d_model: usize,
    /// Channels between the two maps (I), `expand · d_model`.
    d_inner: usize,
    /// Factor of the first out_proj: 1/√layers.
    out_scale: f64,
    config: MlpConfig,
}

const IN_PROJ: usize = 0;
const OUT_PROJ: usize = 1;

impl Mlp {
    /// A block for a stream of `d_model` in a model of `n_layers`; `at` is its dotted place in the configuration.
    pub(crate) fn new(config: MlpConfig, at: &str, d_model: usize, n_layers: usize) -> Result<Self> {
        EXPAND.check_whole_at(at, config.expand)?;
        let out_scale = 1.0 / (n_layers as f64).sqrt();
        Ok(Self { d_model, d_inner: config.expand * d_model, out_scale, config })
    }

    /// a in `saved`, silu(a) in `v`.
    fn inner<T: Scalar>(&self, pass: &mut Pass<T>, x: &[T], v: &mut [T]) {
        let (m, d, i) = (pass.layout.tokens(), self.d_model, self.d_inner);
        let (a, weight) = (&mut pass.saved[..m * i], MatRef::new(pass.params.get(IN_PROJ), i, d));
        Products::new(pass.precision).linear(
            MatRef::new(x, m, d),
            weight,
            MatMut::new(a, m, i),
            Accumulate::Overwrite,
        );
        silu::forward(a, v);
    }
}

impl<T: Scalar> Block<T> for Mlp {
    fn params(&self) -> Vec<ParamSpec> {
        let (d, i) = (self.d_model, self.d_inner);
        let uniform = |fan_in: usize, scale: f64| Init::Uniform { bound: scale / (fan_in as f64).sqrt() };
        vec![
            ParamSpec::new("in_proj.weight", [i, d], uniform(d, 1.0)),
            ParamSpec::new("out_proj.weight", [d, i], uniform(i, self.out_scale)),
        ]
    }

    fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let (m, d, i) = (rows * length, self.d_model, self.d_inner);
        let products = linear_dw_scratch(m, d, i).max(linear_dw_scratch(m, i, d));
        Sizes { saved: padded(m * i), scratch: 2 * padded(m * i) + products, state: 0 }
    }

    fn forward(&self, mut pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (m, d, i) = (pass.layout.tokens(), self.d_model, self.d_inner);
        let v = &mut std::mem::take(&mut pass.scratch)[..m * i];
        self.inner(&mut pass, x, v);
        let weight = MatRef::new(pass.params.get(OUT_PROJ), d, i);
        Products::new(pass.precision).linear(
            MatRef::new(v, m, i),
            weight,
            MatMut::new(y, m, d),
            Accumulate::Add,
        );
    }

    fn recompute(&self, mut pass: Pass<T>, x: &[T], _: &mut [T]) {
        let v = &mut std::mem::take(&mut pass.scratch)[..pass.layout.tokens() * self.d_inner];
        self.inner(&mut pass, x, v);
    }

    fn backward(&self, pass: Pass<T>, x: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>) {
        let (m, d, i) = (pass.layout.tokens(), self.d_model, self.d_inner);
        let products = Products::new(pass.precision);
        let a = &pass.saved[..m * i];
        let mut carver = Carver::new(pass.scratch);
        let (v, dv, scratch) = (carver.take(m * i), carver.take(m * i), carver.rest());

        // out += out_proj·v
        let dy = MatRef::new(dy, m, d);
        if let Some(dw) = dparams.get(OUT_PROJ) {
            silu::forward(a, v);
            products.linear_dw(dy, MatRef::new(v, m, i), MatMut::new(dw, d, i), scratch);
        }
        let weight = MatRef::new(pass.params.get(OUT_PROJ), d, i);
        products.linear_dx(dy, weight, MatMut::new(dv, m, i), Accumulate::Overwrite);

        // v = silu(a)
        let da = v;
        silu::backward(a, dv, da);

        // a = in_proj·n
        let da = MatRef::new(da, m, i);
        if let Some(dw) = dparams.get(IN_PROJ) {
            products.linear_dw(da, MatRef::new(x, m, d), MatMut::new(dw, i, d), scratch);
        }
        let weight = MatRef::new(pass.params.get(IN_PROJ), i, d);
        products.linear_dx(da, weight, MatMut::new(dx, m, d), Accumulate::Overwrite);
    }

    fn step(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (saved, scratch) = pass.scratch.split_at_mut(padded(pass.layout.tokens() * self.d_inner));
        self.forward(Pass { saved, scratch, ..pass }, x, y);
    }

    fn resolved(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self.config).ok()
    }
}
