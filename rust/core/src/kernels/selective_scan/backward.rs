//! The backward pass: chunks from right to left; the states of each are recomputed from the one at its start, then their
//! adjoint.

use super::system::{BlockParameters, CHUNK, Chunk, Dims, System, fill_rates, is_bounded, largest_rate};
use super::task::{Backward, BackwardArguments, BackwardPanels};
use crate::kernels::channels::{BLOCK, ChannelTasks, ColumnsMut, PerChannel, read, write};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};
use crate::simd::{self, Isa, Kernel, Vector, math};

/// Inputs of the backward pass, overwritten with its results.
#[derive(Debug)]
pub struct ScanInPlace<'a, T> {
    /// u `[B, T, I]`; then du.
    pub u: &'a mut [T],
    /// Step size before its bias and softplus `[B, T, I]`; then its gradient.
    pub delta: &'a mut [T],
    /// Gate before silu, I columns; then dz.
    pub z: ColumnsMut<'a, T>,
    /// dy `[B, T, I]`; then y.
    pub dy: &'a mut [T],
}

/// Other outputs of the backward pass. dB and dC are overwritten, parameter gradients added to; `None`: not wanted.
#[derive(Debug)]
pub struct ScanGrads<'a, T> {
    /// dB and dC side by side, 2N columns.
    pub dbc: ColumnsMut<'a, T>,
    /// Gradient of A_log `[I, N]`.
    pub da_log: Option<&'a mut [T]>,
    /// Gradient of the skip D `[I]`.
    pub dd: Option<&'a mut [T]>,
    /// Gradient of the bias of the step size `[I]`.
    pub ddelta_bias: Option<&'a mut [T]>,
    /// Gradient of the state after the last token `[B, N, I]`, replaced by that of the state before the first.
    pub dstate: Option<&'a mut [T]>,
}

/// Gradients for the cotangent dy and, where it is given, that of the state after the last token.
///
/// `chunk_states` are those of [`super::forward()`]; `scratch` has at least [`Dims::backward_scratch_len`] elements.
///
/// # Panics
/// If a slice does not fit the sizes.
pub fn backward<T: Scalar>(
    dims: &Dims,
    system: &System<T>,
    chunk_states: &[T],
    in_place: ScanInPlace<T>,
    scratch: &mut [T],
    gradients: ScanGrads<T>,
) {
    backward_on(Isa::active(), dims, system, chunk_states, in_place, scratch, gradients);
}

/// As [`backward`], on a given instruction set, for tests and benches.
///
/// # Panics
/// As [`backward`], and if the processor lacks the instruction set.
pub fn backward_on<T: Scalar>(
    isa: Isa,
    dims: &Dims,
    system: &System<T>,
    chunk_states: &[T],
    in_place: ScanInPlace<T>,
    scratch: &mut [T],
    gradients: ScanGrads<T>,
) {
    system.check(dims);
    in_place.check(dims);
    assert_eq!(chunk_states.len(), dims.chunk_states_len(), "states of the chunks");
    gradients.check(dims);
    let ScanInPlace { u, delta, z, dy } = in_place;
    let ScanGrads { dbc, da_log, dd, ddelta_bias, dstate } = gradients;
    let split = dims.split();
    let pool = Partial::carve(dims, &split, scratch);
    fill_rates(isa, dims, system.a_log, pool.a);
    pool.carry.fill(T::ZERO);
    pool.sums.fill(T::ZERO);
    let a = &*pool.a;
    let pass = BackwardArguments {
        dims,
        system,
        chunk_states,
        a,
        u: Shared::new(u),
        delta: Shared::new(delta),
        z: z.share(),
        dy: Shared::new(dy),
        dstate: dstate.map(Shared::new),
        carry: Shared::new(&mut *pool.carry),
        sums: Shared::new(&mut *pool.sums),
        dbc: Shared::new(&mut *pool.dbc),
    };
    for_each_task_of(dims.layout.tokens() * dims.states * dims.channels, split.tasks(), |index| {
        simd::run_on(isa, Backward { pass: &pass, task: split.task(index) });
    });
    pool.join_dbc(dims, &split, dbc);
    pool.join_parameters(dims, &split, da_log, dd, ddelta_bias);
}

impl<T: Scalar> ScanInPlace<'_, T> {
    fn check(&self, dims: &Dims) {
        let (tokens, channels) = (dims.layout.tokens(), dims.channels);
        assert_eq!(self.u.len(), tokens * channels, "u [B, T, I]");
        assert_eq!(self.delta.len(), tokens * channels, "delta [B, T, I]");
        assert_eq!(self.dy.len(), tokens * channels, "dy [B, T, I]");
        self.z.check("z", tokens, channels);
    }
}

impl<T: Scalar> ScanGrads<'_, T> {
    fn check(&self, dims: &Dims) {
        let (tokens, channels, states) = (dims.layout.tokens(), dims.channels, dims.states);
        self.dbc.check("dB and dC", tokens, 2 * states);
        let fits = |x: &Option<&mut [T]>, len| x.as_ref().is_none_or(|x| x.len() == len);
        assert!(fits(&self.da_log, channels * states), "dA_log [I, N]");
        assert!(fits(&self.dd, channels), "dD [I]");
        assert!(fits(&self.ddelta_bias, channels), "ddelta_bias [I]");
        assert!(fits(&self.dstate, dims.state_len()), "dstate [B, N, I]");
    }
}

/// The scratch of a pass: partial sums of the tasks, joined in the order of their index.
struct Partial<'a, T> {
    /// log2(e)·A, see `fill_rates` `[N, padded I]`.
    a: &'a mut [T],
    /// Adjoint state at the start of a chunk, carried to the chunk before it, `[row groups, N, padded I]`.
    carry: &'a mut [T],
    /// Per group of rows: Σ r·δ `[N, padded I]`, dD `[padded I]`, ddelta_bias `[padded I]`.
    sums: &'a mut [T],
    /// dB and dC of each block of channels, `[blocks, B·T, 2N]`.
    dbc: &'a mut [T],
}

impl<'a, T: Scalar> Partial<'a, T> {
    fn carve(dims: &Dims, split: &ChannelTasks, scratch: &'a mut [T]) -> Self {
        let state = dims.states * dims.padded();
        let (a, rest) = scratch.split_at_mut(state);
        let (carry, rest) = rest.split_at_mut(split.row_groups * state);
        let (sums, rest) = rest.split_at_mut(split.row_groups * (state + 2 * dims.padded()));
        let dbc = &mut rest[..split.blocks * dims.layout.tokens() * 2 * dims.states];
        Self { a, carry, sums, dbc }
    }

    fn join_dbc(&self, dims: &Dims, split: &ChannelTasks, to: ColumnsMut<T>) {
        let (tokens, width) = (dims.layout.tokens(), 2 * dims.states);
        let to = to.share();
        for_each_task_of(tokens * width * split.blocks / 4, tokens.div_ceil(256), |index| {
            for token in index * 256..((index + 1) * 256).min(tokens) {
                // SAFETY: each task has tokens of its own.
                let out = unsafe { to.part(token, 0, width) };
                out.copy_from_slice(&self.dbc[token * width..][..width]);
                for block in 1..split.blocks {
                    let part = &self.dbc[(block * tokens + token) * width..][..width];
                    out.iter_mut().zip(part).for_each(|(sum, &x)| *sum += x);
                }
            }
        });
    }

    fn join_parameters(
        self,
        dims: &Dims,
        split: &ChannelTasks,
        da_log: Option<&mut [T]>,
        dd: Option<&mut [T]>,
        ddelta_bias: Option<&mut [T]>,
    ) {
        let (states, padded) = (dims.states, dims.padded());
        let (a, ln_2) = (&*self.a, T::from_f64(std::f64::consts::LN_2));
        let (total, groups) = self.sums.split_at_mut((states + 2) * padded);
        let (total, groups) = (Shared::new(total), groups.chunks_exact((states + 2) * padded));
        let (da_log, others) = (da_log.map(Shared::new), [dd, ddelta_bias].map(|out| out.map(Shared::new)));
        for_each_task_of(self.a.len(), split.blocks, |block| {
            let channels = split.channels_of(block);
            for n in 0..states + 2 {
                let at = n * padded + channels.start;
                // SAFETY: each task has channels of its own, here and below.
                let total = unsafe { total.slice(at, channels.len()) };
                for group in groups.clone() {
                    total.iter_mut().zip(&group[at..]).for_each(|(total, &x)| *total += x);
                }
                if let Some(out) = n.checked_sub(states).map(|slot| others[slot]) {
                    // SAFETY: as above.
                    let out = out.map(|out| unsafe { out.slice(channels.start, channels.len()) });
                    out.into_iter().flatten().zip(total).for_each(|(out, total)| *out += *total);
                } else if let Some(da_log) = da_log {
                    // SAFETY: as above.
                    let out = unsafe { da_log.slice(channels.start * states, channels.len() * states) };
                    for ((out, &a), total) in out.iter_mut().skip(n).step_by(states).zip(&a[at..]).zip(total)
                    {
                        *out += a * ln_2 * *total;
                    }
                }
            }
        });
    }
}

impl<T: Scalar> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        match V::LANES {
            4 | 16 => self.rows::<V, 2>(v),
            _ => self.rows::<V, 1>(v),
        }
    }
}

impl<'a, T: Scalar> Backward<'a, T> {
    #[inline(always)]
    fn rows<V: Vector<T = T>, const W: usize>(self, v: V) {
        let BackwardArguments { dims, system, .. } = *self.pass;
        let block = &self.task.channels;
        let parameters = BlockParameters::new(system, block);
        let mut sums = BlockParameters::zeros();
        let largest_rate = largest_rate(dims, self.pass.a, block.clone());
        let mut panels = BackwardPanels::new();
        for row in self.task.rows.clone() {
            self.open_row(row);
            for index in (0..dims.chunks()).rev() {
                let chunk = Chunk::new(dims, row, index);
                let largest = self.open(v, &chunk, &parameters, &mut panels);
                if is_bounded(v, largest, largest_rate) {
                    self.chunk::<V, W, true>(v, &chunk, &mut panels);
                } else {
                    self.chunk::<V, W, false>(v, &chunk, &mut panels);
                }
                self.close(v, &chunk, &parameters.d, &panels, &mut sums);
            }
            self.close_row(row);
        }
        for (slot, sum) in [&sums.d, &sums.delta_bias].into_iter().enumerate() {
            let at = self.sums_at() + (dims.states + slot) * dims.padded() + block.start;
            // SAFETY: this task's channels in its group's sums.
            unsafe { self.pass.sums.slice(at, block.len()) }.copy_from_slice(&sum.0[..block.len()]);
        }
    }

    /// The adjoint after the last token: `dstate`, else zero.
    #[inline(always)]
    fn open_row(&self, row: usize) {
        let (dims, block) = (self.pass.dims, &self.task.channels);
        for n in 0..dims.states {
            // SAFETY: this task's channels in its group's carry.
            let carry = unsafe { self.pass.carry.slice(self.carry_at(n), block.len()) };
            match self.pass.dstate {
                Some(last) => {
                    let at = (row * dims.states + n) * dims.channels + block.start;
                    // SAFETY: this task's channels of this task's row.
                    carry.copy_from_slice(unsafe { last.read(at, block.len()) });
                }
                None => carry.fill(T::ZERO),
            }
        }
    }

    /// The adjoint before the first token goes to `dstate`.
    #[inline(always)]
    fn close_row(&self, row: usize) {
        let (dims, block) = (self.pass.dims, &self.task.channels);
        let Some(first) = self.pass.dstate else { return };
        for n in 0..dims.states {
            let at = (row * dims.states + n) * dims.channels + block.start;
            // SAFETY: this task's channels of this task's row, and of its group's carry.
            unsafe {
                first
                    .slice(at, block.len())
                    .copy_from_slice(self.pass.carry.slice(self.carry_at(n), block.len()));
            };
        }
    }

    /// Computes the operands of a chunk that are per channel and not per state; returns the largest δ of each lane.
    #[inline(always)]
    fn open<V: Vector<T = T>>(
        &self,
        v: V,
        chunk: &Chunk,
        parameters: &BlockParameters<T>,
        panels: &mut BackwardPanels<T>,
    ) -> V::V {
        let (dims, block) = (self.pass.dims, &self.task.channels);
        let Chunk { row, index, ref tokens } = *chunk;
        let mut largest = v.splat(T::ZERO);
        if index > 0 {
            for n in 0..dims.states {
                let before = dims.chunk_state_at(row, index - 1) + n * dims.padded();
                simd::prefetch(self.pass.chunk_states, before + block.start, block.len());
            }
        }
        for (index, t) in tokens.clone().enumerate() {
            let token = row * dims.layout.length + t;
            // SAFETY: one token at a time, and below the one a chunk to the left.
            let [u, delta, z, dy] = unsafe { self.operands(token) };
            if t >= CHUNK {
                // Prefetched for the next chunk. SAFETY: another token.
                for operand in unsafe { self.operands(token - CHUNK) } {
                    simd::prefetch(operand, 0, block.len());
                }
            }
            for i in (0..block.len()).step_by(V::LANES) {
                let (n, to) = (block.len() - i, index * BLOCK + i);
                let u = read(v, &u[i..], n);
                let raw = v.add(read(v, &delta[i..], n), v.load(&parameters.delta_bias.0[i..]));
                let (delta, slope) = math::softplus_with_derivative(v, raw);
                let (gate, gate_slope) = math::silu_with_derivative(v, read(v, &z[i..], n));
                let dy = read(v, &dy[i..], n);
                v.store(&mut panels.delta.0[to..], delta);
                v.store(&mut panels.x.0[to..], v.mul(delta, u));
                v.store(&mut panels.g.0[to..], v.mul(dy, gate));
                v.store(&mut panels.y.0[to..], v.mul(u, v.load(&parameters.d.0[i..])));
                v.store(&mut panels.slope.0[to..], slope);
                v.store(&mut panels.gate.0[to..], gate);
                v.store(&mut panels.dgate.0[to..], v.mul(dy, gate_slope));
                v.store(&mut panels.s.0[to..], v.splat(T::ZERO));
                v.store(&mut panels.r.0[to..], v.splat(T::ZERO));
                largest = v.max(largest, delta);
            }
        }
        largest
    }

    /// u, delta, z and dy of a token in this task's block of channels, overwritten with their gradients and y.
    ///
    /// # Safety
    /// No others of this token are alive.
    #[inline(always)]
    unsafe fn operands(&self, token: usize) -> [&'a mut [T]; 4] {
        let BackwardArguments { dims, u, delta, z, dy, .. } = *self.pass;
        let block = &self.task.channels;
        let at = token * dims.channels + block.start;
        // SAFETY: no other task has these channels, and this one has the token once by the caller's promise.
        unsafe {
            [
                u.slice(at, block.len()),
                delta.slice(at, block.len()),
                z.part(token, block.start, block.len()),
                dy.slice(at, block.len()),
            ]
        }
    }

    /// Computes the gradients of a chunk that are per channel, from the sums over the states.
    #[inline(always)]
    fn close<V: Vector<T = T>>(
        &self,
        v: V,
        chunk: &Chunk,
        d: &PerChannel<T>,
        panels: &BackwardPanels<T>,
        sums: &mut BlockParameters<T>,
    ) {
        let (dims, block) = (self.pass.dims, &self.task.channels);
        let ln_2 = v.splat(T::from_f64(std::f64::consts::LN_2));
        for (index, t) in chunk.tokens.clone().enumerate() {
            // SAFETY: one token at a time.
            let [u, delta, z, y] = unsafe { self.operands(chunk.row * dims.layout.length + t) };
            for i in (0..block.len()).step_by(V::LANES) {
                let (n, from) = (block.len() - i, index * BLOCK + i);
                let u_in = read(v, &u[i..], n);
                let g = v.load(&panels.g.0[from..]);
                let s = v.load(&panels.s.0[from..]);
                let r = v.mul(v.load(&panels.r.0[from..]), ln_2);
                let dstep = v.mul(v.mul_add(s, u_in, r), v.load(&panels.slope.0[from..]));
                write(
                    v,
                    &mut u[i..],
                    n,
                    v.mul_add(s, v.load(&panels.delta.0[from..]), v.mul(v.load(&d.0[i..]), g)),
                );
                write(v, &mut delta[i..], n, dstep);
                let sum = v.load(&panels.y.0[from..]);
                write(v, &mut y[i..], n, v.mul(sum, v.load(&panels.gate.0[from..])));
                write(v, &mut z[i..], n, v.mul(sum, v.load(&panels.dgate.0[from..])));
                let sum = v.mul_add(g, u_in, v.load(&sums.d.0[i..]));
                v.store(&mut sums.d.0[i..], sum);
                let sum = v.add(dstep, v.load(&sums.delta_bias.0[i..]));
                v.store(&mut sums.delta_bias.0[i..], sum);
            }
        }
    }
}
