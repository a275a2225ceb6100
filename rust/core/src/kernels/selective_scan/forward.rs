//! The forward pass: tasks over rows and blocks of channels, chunks of tokens, groups of states.

use super::system::{
    BlockParameters, CHUNK, Chunk, Dims, GROUP, Inputs, PAD, Panel, System, fill_rates, is_bounded,
    largest_rate,
};
use crate::kernels::channels::{
    BLOCK, Columns, ColumnsMut, Rectangle, Task, is_start, read, stretch_end, write,
};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task_of};
use crate::simd::{self, Isa, Kernel, Vector, math};

/// Outputs of the forward pass.
#[derive(Debug)]
pub struct ScanOutputs<'a, T> {
    /// y `[B, T, I]`.
    pub y: &'a mut [T],
    /// The states that [`super::backward()`] starts its chunks from, [`Dims::chunk_states_len`] elements.
    pub chunk_states: &'a mut [T],
    /// `[B, N, I]`: the state before the first token, replaced by that after the last one; `None`: starts at zero.
    pub state: Option<&'a mut [T]>,
}

/// The scan of all rows; `scratch` has at least [`Dims::forward_scratch_len`] elements.
///
/// # Panics
/// If a slice does not fit the sizes.
pub fn forward<T: Scalar>(
    dims: &Dims,
    system: &System<T>,
    inputs: &Inputs<T>,
    outputs: ScanOutputs<T>,
    scratch: &mut [T],
) {
    forward_on(Isa::active(), dims, system, inputs, outputs, scratch);
}

/// As [`forward`], on a given instruction set, for tests and benches.
///
/// # Panics
/// As [`forward`], and if the processor lacks the instruction set.
pub fn forward_on<T: Scalar>(
    isa: Isa,
    dims: &Dims,
    system: &System<T>,
    inputs: &Inputs<T>,
    outputs: ScanOutputs<T>,
    scratch: &mut [T],
) {
    system.check(dims);
    inputs.check(dims);
    outputs.check(dims);
    let ScanOutputs { y, chunk_states, mut state } = outputs;
    let a = &mut scratch[..dims.forward_scratch_len()];
    fill_rates(isa, dims, system.a_log, a);
    let a = &*a;
    for row in 0..dims.layout.rows {
        let first = &mut chunk_states[dims.chunk_state_at(row, 0)..][..dims.states * dims.padded()];
        let from = state.as_deref().map(|s| &s[row * dims.states * dims.channels..]);
        for (n, h) in first.chunks_exact_mut(dims.padded()).enumerate() {
            h.fill(T::ZERO);
            if let Some(from) = from {
                h[..dims.channels].copy_from_slice(&from[n * dims.channels..][..dims.channels]);
            }
        }
    }
    let split = dims.split();
    let padded = dims.padded();
    let (states, y) = (ColumnsMut::new(&mut *chunk_states, 0, padded).share(), Shared::new(y));
    for_each_task_of(dims.layout.tokens() * dims.states * dims.channels, split.tasks(), |index| {
        let task = split.task(index);
        let rows =
            dims.chunk_state_at(task.rows.start, 0) / padded..dims.chunk_state_at(task.rows.end, 0) / padded;
        let columns = task.channels.start..(task.channels.end).next_multiple_of(PAD);
        // SAFETY: the states of this task's rows and channels. Only the last block of channels is padded, to the end of
        // the row: no other task has them.
        let chunk_states = unsafe { Rectangle::new(states, rows, columns) };
        simd::run_on(isa, Forward { dims, system, inputs, a, chunk_states, y, task });
    });
    if let Some(state) = &mut state {
        for (index, h) in state.chunks_exact_mut(dims.channels).enumerate() {
            let (row, n) = (index / dims.states, index % dims.states);
            let last = dims.chunk_state_at(row, dims.chunks()) + n * dims.padded();
            h.copy_from_slice(&chunk_states[last..][..dims.channels]);
        }
    }
}

impl<T: Scalar> ScanOutputs<'_, T> {
    fn check(&self, dims: &Dims) {
        assert_eq!(self.y.len(), dims.layout.tokens() * dims.channels, "y [B, T, I]");
        assert_eq!(self.chunk_states.len(), dims.chunk_states_len(), "states of the chunks");
        assert!(self.state.as_ref().is_none_or(|s| s.len() == dims.state_len()), "state [B, N, I]");
    }
}

/// Operands of a chunk.
struct ForwardPanels<T> {
    /// δ
    delta: Panel<T>,
    /// δ·u
    x: Panel<T>,
    /// D·u, then Σ C·h + D·u
    y: Panel<T>,
}

/// One task of the forward pass.
struct Forward<'a, T> {
    dims: &'a Dims<'a>,
    system: &'a System<'a, T>,
    inputs: &'a Inputs<'a, T>,
    a: &'a [T],
    /// The states at the start of each chunk and at the end, `[B · (chunks + 1) · N, padded I]`.
    chunk_states: Rectangle<'a, T>,
    y: Shared<'a, T>,
    task: Task,
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        // 32 registers hold 8 states and their rates beside the operands, 16 hold 4.
        match V::LANES {
            4 | 16 => self.rows::<V, 2>(v),
            _ => self.rows::<V, 1>(v),
        }
    }
}

impl<T: Scalar> Forward<'_, T> {
    #[inline(always)]
    fn rows<V: Vector<T = T>, const W: usize>(mut self, v: V) {
        let block = self.task.channels.clone();
        let parameters = BlockParameters::new(self.system, &block);
        let largest_rate = largest_rate(self.dims, self.a, block);
        let mut panels = ForwardPanels { delta: Panel::new(), x: Panel::new(), y: Panel::new() };
        for row in self.task.rows.clone() {
            for index in 0..self.dims.chunks() {
                let chunk = Chunk::new(self.dims, row, index);
                let largest = self.open(v, &chunk, &parameters, &mut panels);
                if is_bounded(v, largest, largest_rate) {
                    self.chunk::<V, W, true>(v, &chunk, &mut panels);
                } else {
                    self.chunk::<V, W, false>(v, &chunk, &mut panels);
                }
                self.close(v, &chunk, &panels.y);
            }
        }
    }

    /// δ = softplus(delta + bias), x = δ·u, y = D·u for a chunk; returns the largest δ of each lane.
    #[inline(always)]
    fn open<V: Vector<T = T>>(
        &self,
        v: V,
        chunk: &Chunk,
        parameters: &BlockParameters<T>,
        panels: &mut ForwardPanels<T>,
    ) -> V::V {
        let (block, channels) = (&self.task.channels, self.dims.channels);
        let mut largest = v.splat(T::ZERO);
        for (index, t) in chunk.tokens.clone().enumerate() {
            let at = (chunk.row * self.dims.layout.length + t) * channels + block.start;
            self.prefetch_token(chunk.row, t + CHUNK);
            for i in (0..block.len()).step_by(V::LANES) {
                let n = block.len() - i;
                let u = read(v, &self.inputs.u[at + i..], n);
                let raw =
                    v.add(read(v, &self.inputs.delta[at + i..], n), v.load(&parameters.delta_bias.0[i..]));
                let step = math::softplus(v, raw);
                let to = index * BLOCK + i;
                v.store(&mut panels.delta.0[to..], step);
                v.store(&mut panels.x.0[to..], v.mul(step, u));
                v.store(&mut panels.y.0[to..], v.mul(u, v.load(&parameters.d.0[i..])));
                largest = v.max(largest, step);
            }
        }
        largest
    }

    /// Prefetches u, delta and z of token t, if the row has one.
    #[inline(always)]
    fn prefetch_token(&self, row: usize, t: usize) {
        let (block, channels) = (&self.task.channels, self.dims.channels);
        if t < self.dims.layout.length {
            let token = row * self.dims.layout.length + t;
            simd::prefetch(self.inputs.u, token * channels + block.start, block.len());
            simd::prefetch(self.inputs.delta, token * channels + block.start, block.len());
            simd::prefetch(self.inputs.z.data, token * self.inputs.z.stride + block.start, block.len());
        }
    }

    /// y ← y·silu(z) for a chunk.
    #[inline(always)]
    fn close<V: Vector<T = T>>(&self, v: V, chunk: &Chunk, y: &Panel<T>) {
        let (block, channels) = (&self.task.channels, self.dims.channels);
        for (index, t) in chunk.tokens.clone().enumerate() {
            let token = chunk.row * self.dims.layout.length + t;
            // SAFETY: this token's channels of this task's block; no other task has them.
            let out = unsafe { self.y.slice(token * channels + block.start, block.len()) };
            let z = &self.inputs.z.data[token * self.inputs.z.stride + block.start..][..block.len()];
            for i in (0..block.len()).step_by(V::LANES) {
                let n = block.len() - i;
                let gate = math::silu(v, read(v, &z[i..], n));
                write(v, &mut out[i..], n, v.mul(v.load(&y.0[index * BLOCK + i..]), gate));
            }
        }
    }

    /// The recurrence over a chunk: y += Σ_n C·h, and the state at the chunk's end.
    #[inline(always)]
    fn chunk<V: Vector<T = T>, const W: usize, const BOUNDED: bool>(
        &mut self,
        v: V,
        chunk: &Chunk,
        panels: &mut ForwardPanels<T>,
    ) {
        let (block, dims, system) = (self.task.channels.clone(), self.dims, self.system);
        let Chunk { row, index, ref tokens } = *chunk;
        let starts = dims.layout.row_starts(row);
        let mut from = tokens.start;
        while from < tokens.end {
            let to = stretch_end(starts, from, tokens.end);
            let fresh = is_start(starts, from);
            let mut n = 0;
            while n < dims.states {
                let group = if n + GROUP <= dims.states { GROUP } else { 1 };
                for i in (0..block.len()).step_by(W * V::LANES) {
                    let state = n * dims.padded() + block.start + i;
                    let panel = (from - tokens.start) * BLOCK + i;
                    let stretch = Stretch {
                        len: to - from,
                        bc: Columns::new(
                            system.bc.data,
                            (row * dims.layout.length + from) * system.bc.stride + n,
                            system.bc.stride,
                        ),
                        states: dims.states,
                        a: &self.a[state..],
                        stride: dims.padded(),
                        delta: &panels.delta.0[panel..],
                        x: &panels.x.0[panel..],
                        before: (!fresh).then(|| dims.chunk_state_at(row, index) / dims.padded() + n),
                        after: (to == tokens.end)
                            .then(|| dims.chunk_state_at(row, index + 1) / dims.padded() + n),
                        first: i,
                    };
                    let y = &mut panels.y.0[panel..];
                    match group {
                        GROUP => stretch.run::<V, W, GROUP, BOUNDED>(v, &mut self.chunk_states, y),
                        _ => stretch.run::<V, W, 1, BOUNDED>(v, &mut self.chunk_states, y),
                    }
                }
                n += group;
            }
            from = to;
        }
    }
}

/// A run of tokens without a document start inside, for G states of W vectors of channels.
struct Stretch<'a, T> {
    len: usize,
    /// B from the first state and token on; C is N columns further.
    bc: Columns<'a, T>,
    states: usize,
    /// Rates log2(e)·A of the first state; those of the next are `stride` elements further.
    a: &'a [T],
    stride: usize,
    /// Panel rows, BLOCK apart.
    delta: &'a [T],
    x: &'a [T],
    /// Row of `chunk_states` with the first state at the start of the run; `None`: zero.
    before: Option<usize>,
    /// Row of `chunk_states` with the first state at the end of the run; `None`: not wanted.
    after: Option<usize>,
    /// First channel, counted from the start of the block.
    first: usize,
}

impl<T: Scalar> Stretch<'_, T> {
    /// Runs the recurrence and adds Σ C·h to y.
    #[inline(always)]
    fn run<V: Vector<T = T>, const W: usize, const G: usize, const BOUNDED: bool>(
        &self,
        v: V,
        chunk_states: &mut Rectangle<T>,
        y: &mut [T],
    ) {
        let panel = (self.len - 1) * BLOCK + W * V::LANES;
        assert!(self.delta.len() >= panel && self.x.len() >= panel && y.len() >= panel);
        assert!(self.bc.data.len() >= (self.len - 1) * self.bc.stride + self.states + G);
        let zero = v.splat(T::ZERO);
        let mut a = [[zero; G]; W];
        let mut h = [[zero; G]; W];
        for w in 0..W {
            for k in 0..G {
                let at = k * self.stride + w * V::LANES;
                a[w][k] = v.load(&self.a[at..]);
                if let Some(before) = self.before {
                    h[w][k] = v.load(&chunk_states.row(before + k)[self.first + w * V::LANES..]);
                }
            }
        }
        for t in 0..self.len {
            let (mut d, mut x, mut sum) = ([zero; W], [zero; W], [zero; W]);
            for w in 0..W {
                let at = t * BLOCK + w * V::LANES;
                // SAFETY: inside the panels, whose lengths were checked above for every t and w.
                unsafe {
                    d[w] = v.load_ptr(self.delta.as_ptr().add(at));
                    x[w] = v.load_ptr(self.x.as_ptr().add(at));
                    sum[w] = v.load_ptr(y.as_ptr().add(at));
                }
            }
            for k in 0..G {
                let at = t * self.bc.stride + k;
                // SAFETY: row t has `states + G` columns from here on, checked above.
                let (b, c) = unsafe {
                    (*self.bc.data.get_unchecked(at), *self.bc.data.get_unchecked(at + self.states))
                };
                let (b, c) = (v.splat(b), v.splat(c));
                for w in 0..W {
                    let decay = math::exp2_of_product::<V, BOUNDED>(v, d[w], a[w][k]);
                    h[w][k] = v.mul_add(decay, h[w][k], v.mul(x[w], b));
                    sum[w] = v.mul_add(h[w][k], c, sum[w]);
                }
            }
            for (w, &sum) in sum.iter().enumerate() {
                // SAFETY: inside y, whose length was checked above.
                unsafe { v.store_ptr(y.as_mut_ptr().add(t * BLOCK + w * V::LANES), sum) };
            }
        }
        if let Some(after) = self.after {
            for (w, h) in h.iter().enumerate() {
                for (k, &h) in h.iter().enumerate() {
                    let h = math::flush(v, h);
                    v.store(&mut chunk_states.row_mut(after + k)[self.first + w * V::LANES..], h);
                }
            }
        }
    }
}
