//! A block that mixes every token with the one before it and the one after it: it is not causal, and has no state.
//!
//! ```text
//! m_t = past·x_{t-1} + future·x_{t+1}      x = 0 outside the document
//! y_t += W·m_t
//! dm_t = Wᵀ·dy_t      dx_t = past·dm_{t+1} + future·dm_{t-1}      dW += Σ dy_t ⊗ m_t
//! ```

use serde::Deserialize;
use ssm_hpn::Scalar;
use ssm_hpn::blocks::{Block, Sizes};
use ssm_hpn::kernels::matmul::{MatMut, MatRef, linear, linear_dw, linear_dw_scratch, linear_dx};
use ssm_hpn::kernels::{Accumulate, Layout};
use ssm_hpn::params::{Grads, Init, ParamSpec};
use ssm_hpn::pass::{Capabilities, Pass};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Weight of the token before.
    past: f64,
    /// Weight of the token after.
    future: f64,
}

pub struct Neighbours {
    width: usize,
    settings: Settings,
}

impl Neighbours {
    pub fn new(settings: Settings, width: usize) -> Self {
        Self { width, settings }
    }

    /// to_t = past·from_{t-1} + future·from_{t+1} within every document.
    fn mix<T: Scalar>(&self, layout: &Layout, (past, future): (f64, f64), from: &[T], to: &mut [T]) {
        let (d, past, future) = (self.width, T::from_f64(past), T::from_f64(future));
        to.fill(T::ZERO);
        for row in 0..layout.rows {
            for t in 1..layout.length {
                if layout.row_starts(row).is_some_and(|starts| starts[t] == 1) {
                    continue;
                }
                let (before, here) = ((row * layout.length + t - 1) * d, (row * layout.length + t) * d);
                for channel in 0..d {
                    to[here + channel] += past * from[before + channel];
                    to[before + channel] += future * from[here + channel];
                }
            }
        }
    }
}

impl<T: Scalar> Block<T> for Neighbours {
    fn params(&self) -> Vec<ParamSpec> {
        let bound = 1.0 / (self.width as f64).sqrt();
        vec![ParamSpec::new("out_proj.weight", [self.width, self.width], Init::Uniform { bound })]
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { causal: false, recurrent: false, ..Capabilities::ALL }
    }

    fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let (m, d) = (rows * length, self.width);
        Sizes { saved: m * d, scratch: m * d + linear_dw_scratch(m, d, d), state: 0 }
    }

    fn forward(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let (d, tokens) = (self.width, pass.layout.tokens());
        let mixed = &mut pass.saved[..tokens * d];
        self.mix(&pass.layout, (self.settings.past, self.settings.future), x, mixed);
        let weight = MatRef::new(pass.params.get(0), d, d);
        linear(MatRef::new(mixed, tokens, d), weight, MatMut::new(y, tokens, d), Accumulate::Add);
    }

    fn backward(&self, pass: Pass<T>, _: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>) {
        let (d, tokens) = (self.width, pass.layout.tokens());
        let (dmixed, scratch) = pass.scratch.split_at_mut(tokens * d);
        let (dy, weight) = (MatRef::new(dy, tokens, d), MatRef::new(pass.params.get(0), d, d));
        linear_dx(dy, weight, MatMut::new(dmixed, tokens, d), Accumulate::Overwrite);
        if let Some(dw) = dparams.get(0) {
            linear_dw(dy, MatRef::new(&pass.saved[..tokens * d], tokens, d), MatMut::new(dw, d, d), scratch);
        }
        self.mix(&pass.layout, (self.settings.future, self.settings.past), dmixed, dx);
    }

    fn step(&self, _: Pass<T>, _: &[T], _: &mut [T]) {
        unreachable!("a block without a recurrent form is not read token by token")
    }
}
