//! The recurrent form: one token per row.

use super::system::{Dims, Inputs, System, fill_rates};
use crate::kernels::channels::{Columns, read, write};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};
use crate::simd::{self, Isa, Kernel, Vector, math};

/// One token per row: updates `state` `[B, N, I]` and writes y `[B, I]`. Equal to [`super::forward()`] on the whole
/// sequence. The layout has one token per row; `scratch` has at least [`Dims::forward_scratch_len`] elements.
///
/// # Panics
/// If a slice does not fit the sizes.
pub fn step<T: Scalar>(
    dims: &Dims,
    system: &System<T>,
    inputs: &Inputs<T>,
    state: &mut [T],
    scratch: &mut [T],
    y: &mut [T],
) {
    step_on(Isa::active(), dims, system, inputs, state, scratch, y);
}

/// [`step`] on a given instruction set.
pub(super) fn step_on<T: Scalar>(
    isa: Isa,
    dims: &Dims,
    system: &System<T>,
    inputs: &Inputs<T>,
    state: &mut [T],
    scratch: &mut [T],
    y: &mut [T],
) {
    system.check(dims);
    inputs.check(dims);
    assert_eq!(dims.layout.length, 1, "a step takes one token per row");
    assert_eq!(y.len(), inputs.u.len(), "y [B, I]");
    assert_eq!(state.len(), dims.state_len(), "state [B, N, I]");
    let a = &mut scratch[..dims.forward_scratch_len()];
    fill_rates(isa, dims, system.a_log, a);
    let a = &*a;
    let (state, y) = (Shared::new(state), Shared::new(y));
    let len = dims.states * dims.channels;
    for_each_task_of(dims.layout.rows * len, dims.layout.rows, |row| {
        // SAFETY: each task has a row of its own.
        let (h, y) = unsafe { (state.slice(row * len, len), y.slice(row * dims.channels, dims.channels)) };
        simd::run_on(isa, Step { dims, system, inputs, a, row, h, y });
    });
}

/// One row of a step.
struct Step<'a, T> {
    dims: &'a Dims<'a>,
    system: &'a System<'a, T>,
    inputs: &'a Inputs<'a, T>,
    a: &'a [T],
    row: usize,
    h: &'a mut [T],
    y: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Step<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let Dims { channels, states, .. } = *self.dims;
        let (system, inputs, padded) = (self.system, self.inputs, self.dims.padded());
        let Columns { data: bc, stride } = system.bc;
        let bc = &bc[self.row * stride..][..2 * states];
        let z = &inputs.z.data[self.row * inputs.z.stride..][..channels];
        for i in (0..channels).step_by(V::LANES) {
            let (n, at) = (channels - i, self.row * channels + i);
            let u = read(v, &inputs.u[at..], n);
            let raw = v.add(read(v, &inputs.delta[at..], n), read(v, &system.delta_bias[i..], n));
            let delta = math::softplus(v, raw);
            let x = v.mul(delta, u);
            let mut sum = v.mul(u, read(v, &system.d[i..], n));
            for k in 0..states {
                let h = &mut self.h[k * channels + i..];
                let decay = math::exp2_of_product::<V, false>(v, delta, v.load(&self.a[k * padded + i..]));
                let new = v.mul_add(decay, read(v, h, n), v.mul(x, v.splat(bc[k])));
                write(v, h, n, math::flush(v, new));
                sum = v.mul_add(new, v.splat(bc[states + k]), sum);
            }
            let gate = math::silu(v, read(v, &z[i..], n));
            write(v, &mut self.y[i..], n, v.mul(sum, gate));
        }
    }
}
