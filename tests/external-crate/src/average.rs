//! A block that mixes tokens by a running average of every channel.
//!
//! ```text
//! h_t = a ⊙ h_{t-1} + (1 - a) ⊙ x_t      h = 0 before a document; a fixed, from 0 to `slowest` over the channels
//! y_t += W·h_t
//! dh_t = Wᵀ·dy_t + a ⊙ dh_{t+1}          dx_t = (1 - a) ⊙ dh_t          dW += Σ dy_t ⊗ h_t
//! ```

use serde::Deserialize;
use ssm_hpn::Scalar;
use ssm_hpn::blocks::{Block, Sizes};
use ssm_hpn::kernels::matmul::{MatMut, MatRef, linear, linear_dw, linear_dw_scratch, linear_dx};
use ssm_hpn::kernels::{Accumulate, Layout};
use ssm_hpn::params::{Grads, Init, ParamSpec, Params};
use ssm_hpn::pass::Pass;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Weight of the past in the slowest channel.
    slowest: f64,
}

pub struct Average {
    width: usize,
    slowest: f64,
}

impl Average {
    pub fn new(settings: Settings, width: usize) -> Self {
        Self { width, slowest: settings.slowest }
    }

    fn past<T: Scalar>(&self, channel: usize) -> T {
        T::from_f64(self.slowest * channel as f64 / self.width as f64)
    }

    fn weight<'a, T: Scalar>(&self, params: &Params<'a, T>) -> MatRef<'a, T> {
        MatRef::new(params.get(0), self.width, self.width)
    }
}

fn is_start(layout: &Layout, row: usize, t: usize) -> bool {
    layout.row_starts(row).is_some_and(|starts| starts[t] == 1)
}

impl<T: Scalar> Block<T> for Average {
    fn params(&self) -> Vec<ParamSpec> {
        let bound = 1.0 / (self.width as f64).sqrt();
        vec![ParamSpec::new("out_proj.weight", [self.width, self.width], Init::Uniform { bound })]
    }

    fn sizes(&self, rows: usize, length: usize) -> Sizes {
        let (m, d) = (rows * length, self.width);
        Sizes { saved: m * d, scratch: m * d + linear_dw_scratch(m, d, d), state: rows * d }
    }

    fn forward(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        let Pass { params, layout, mut state, saved, .. } = pass;
        let (d, tokens) = (self.width, layout.tokens());
        let h = &mut saved[..tokens * d];
        for row in 0..layout.rows {
            for channel in 0..d {
                let a: T = self.past(channel);
                let mut last = state.as_ref().map_or(T::ZERO, |state| state[row * d + channel]);
                for t in 0..layout.length {
                    let at = (row * layout.length + t) * d + channel;
                    last = if is_start(&layout, row, t) { T::ZERO } else { last };
                    last = a * last + (T::ONE - a) * x[at];
                    h[at] = last;
                }
                if let Some(state) = &mut state {
                    state[row * d + channel] = last;
                }
            }
        }
        let y = MatMut::new(y, tokens, d);
        linear(MatRef::new(h, tokens, d), self.weight(&params), y, Accumulate::Add);
    }

    fn backward(&self, pass: Pass<T>, _: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>) {
        let Pass { params, layout, saved, scratch, .. } = pass;
        let (d, tokens) = (self.width, layout.tokens());
        let (dh, scratch) = scratch.split_at_mut(tokens * d);
        let dy = MatRef::new(dy, tokens, d);
        linear_dx(dy, self.weight(&params), MatMut::new(dh, tokens, d), Accumulate::Overwrite);
        if let Some(dw) = dparams.get(0) {
            linear_dw(dy, MatRef::new(&saved[..tokens * d], tokens, d), MatMut::new(dw, d, d), scratch);
        }
        for row in 0..layout.rows {
            for channel in 0..d {
                let a: T = self.past(channel);
                let mut carried = T::ZERO;
                for t in (0..layout.length).rev() {
                    let at = (row * layout.length + t) * d + channel;
                    let g = dh[at] + carried;
                    dx[at] = (T::ONE - a) * g;
                    carried = if is_start(&layout, row, t) { T::ZERO } else { a * g };
                }
            }
        }
    }

    fn step(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        self.forward(Pass { saved: pass.scratch, scratch: &mut [], ..pass }, x, y);
    }
}
