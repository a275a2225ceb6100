//! The backward pass: chunks from right to left, each run forward again from its kept state, then back.

use std::ops::Range;

use super::{
    CHUNK, Columns, ColumnsMut, Dims, Inputs, Panel, PerChannel, SKEW, fill_rates, is_start, read,
    stretch_start, write,
};
use crate::kernels::channels::{BLOCK, SharedColumns, Split, Task};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};
use crate::simd::{self, Isa, Kernel, Vector, math};

/// States that one call of the recurrence holds in registers.
const GROUP: usize = 4;

/// Most lanes of any instruction set, times the vectors that go together.
const MAX_WIDTH: usize = 32;

/// What a backward scan writes. Input gradients are overwritten, parameter gradients added to; `None`: not wanted.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// `[B, T, I]`.
    pub du: &'a mut [T],
    /// Before bias and softplus `[B, T, I]`.
    pub ddelta: &'a mut [T],
    /// I columns.
    pub dz: ColumnsMut<'a, T>,
    /// dB and dC side by side, 2N columns.
    pub dbc: ColumnsMut<'a, T>,
    /// `[I, N]`.
    pub da_log: Option<&'a mut [T]>,
    /// `[I]`.
    pub dd: Option<&'a mut [T]>,
    /// `[I]`.
    pub ddelta_bias: Option<&'a mut [T]>,
    /// Of the state before the first token `[B, N, I]`, overwritten.
    pub dfirst: Option<&'a mut [T]>,
}

/// Gradients for the cotangent dy `[B, T, I]` and, with `dlast` `[B, N, I]`, that of the state after the last token.
///
/// `kept` is what [`super::forward()`] left there; `scratch` has at least [`Dims::backward_scratch_len`] elements.
///
/// # Panics
/// If a slice does not fit the sizes.
pub fn backward<T: Scalar>(
    dims: &Dims,
    inputs: &Inputs<T>,
    kept: &[T],
    dy: &[T],
    dlast: Option<&[T]>,
    scratch: &mut [T],
    gradients: Gradients<T>,
) {
    backward_on(Isa::active(), dims, inputs, kept, dy, dlast, scratch, gradients);
}

/// As [`backward`], on a given instruction set, for tests and benches.
///
/// # Panics
/// As [`backward`], and if the processor lacks the instruction set.
#[expect(clippy::too_many_arguments, reason = "every buffer of the pass is named")]
pub fn backward_on<T: Scalar>(
    isa: Isa,
    dims: &Dims,
    inputs: &Inputs<T>,
    kept: &[T],
    dy: &[T],
    dlast: Option<&[T]>,
    scratch: &mut [T],
    gradients: Gradients<T>,
) {
    inputs.check(dims);
    let (tokens, channels) = (dims.layout.tokens(), dims.channels);
    assert_eq!(dy.len(), tokens * channels, "dy [B, T, I]");
    assert_eq!(kept.len(), dims.kept_len(), "kept states");
    assert!(dlast.is_none_or(|s| s.len() == dims.state_len()), "dlast [B, N, I]");
    gradients.check(dims);
    let Gradients { du, ddelta, dz, dbc, da_log, dd, ddelta_bias, dfirst } = gradients;
    let split = dims.split();
    let pool = Partial::carve(dims, &split, scratch);
    fill_rates(isa, dims, inputs.a_log, pool.a);
    pool.carry.fill(T::ZERO);
    pool.sums.fill(T::ZERO);
    let a = &*pool.a;
    let pass = Pass {
        dims,
        inputs,
        kept,
        dy,
        dlast,
        a,
        du: Shared::new(du),
        ddelta: Shared::new(ddelta),
        dz: dz.share(),
        dfirst: dfirst.map(Shared::new),
        carry: Shared::new(&mut *pool.carry),
        sums: Shared::new(&mut *pool.sums),
        dbc: Shared::new(&mut *pool.dbc),
    };
    for_each_task(split.tasks(), |index| {
        simd::run_on(isa, Backward { pass: &pass, task: split.task(index) });
    });
    pool.join_dbc(dims, &split, dbc);
    pool.join_parameters(dims, &split, da_log, dd, ddelta_bias);
}

impl<T: Scalar> Gradients<'_, T> {
    fn check(&self, dims: &Dims) {
        let (tokens, channels, states) = (dims.layout.tokens(), dims.channels, dims.states);
        assert_eq!(self.du.len(), tokens * channels, "du [B, T, I]");
        assert_eq!(self.ddelta.len(), tokens * channels, "ddelta [B, T, I]");
        self.dz.check("dz", tokens, channels);
        self.dbc.check("dB and dC", tokens, 2 * states);
        let fits = |x: &Option<&mut [T]>, len| x.as_ref().is_none_or(|x| x.len() == len);
        assert!(fits(&self.da_log, channels * states), "dA_log [I, N]");
        assert!(fits(&self.dd, channels), "dD [I]");
        assert!(fits(&self.ddelta_bias, channels), "ddelta_bias [I]");
        assert!(fits(&self.dfirst, dims.state_len()), "dfirst [B, N, I]");
    }
}

/// The scratch of a pass: partial sums of the tasks, joined in the order of their index.
struct Partial<'a, T> {
    /// `[N, padded I]`.
    a: &'a mut [T],
    /// Adjoint state on its way from a chunk to the one before, `[row groups, N, padded I]`.
    carry: &'a mut [T],
    /// Per group of rows: Σ r·δ `[N, padded I]`, dD `[padded I]`, ddelta_bias `[padded I]`.
    sums: &'a mut [T],
    /// dB and dC of each block of channels, `[blocks, B·T, 2N]`.
    dbc: &'a mut [T],
}

impl<'a, T: Scalar> Partial<'a, T> {
    fn carve(dims: &Dims, split: &Split, scratch: &'a mut [T]) -> Self {
        let state = dims.states * dims.padded();
        let (a, rest) = scratch.split_at_mut(state);
        let (carry, rest) = rest.split_at_mut(split.row_groups * state);
        let (sums, rest) = rest.split_at_mut(split.row_groups * (state + 2 * dims.padded()));
        let dbc = &mut rest[..split.blocks * dims.layout.tokens() * 2 * dims.states];
        Self { a, carry, sums, dbc }
    }

    fn join_dbc(&self, dims: &Dims, split: &Split, to: ColumnsMut<T>) {
        let (tokens, width) = (dims.layout.tokens(), 2 * dims.states);
        let to = to.share();
        for_each_task(tokens.div_ceil(256), |index| {
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
        &self,
        dims: &Dims,
        split: &Split,
        da_log: Option<&mut [T]>,
        dd: Option<&mut [T]>,
        ddelta_bias: Option<&mut [T]>,
    ) {
        let (states, padded) = (dims.states, dims.padded());
        let group = (states + 2) * padded;
        let total =
            |at: usize| (0..split.row_groups).map(|g| self.sums[g * group + at]).fold(T::ZERO, |s, x| s + x);
        if let Some(da_log) = da_log {
            let ln_2 = T::from_f64(std::f64::consts::LN_2);
            for (i, row) in da_log.chunks_exact_mut(states).enumerate() {
                for (n, out) in row.iter_mut().enumerate() {
                    *out += self.a[n * padded + i] * ln_2 * total(n * padded + i);
                }
            }
        }
        for (slot, out) in [dd, ddelta_bias].into_iter().enumerate() {
            for (i, out) in out.into_iter().flatten().enumerate() {
                *out += total((states + slot) * padded + i);
            }
        }
    }
}

/// Everything that the tasks of a pass share.
struct Pass<'a, T> {
    dims: &'a Dims<'a>,
    inputs: &'a Inputs<'a, T>,
    kept: &'a [T],
    dy: &'a [T],
    dlast: Option<&'a [T]>,
    a: &'a [T],
    du: Shared<'a, T>,
    ddelta: Shared<'a, T>,
    dz: SharedColumns<'a, T>,
    dfirst: Option<Shared<'a, T>>,
    carry: Shared<'a, T>,
    sums: Shared<'a, T>,
    dbc: Shared<'a, T>,
}

/// One task of the backward pass.
struct Backward<'a, T> {
    pass: &'a Pass<'a, T>,
    task: Task,
}

/// Operands of a chunk.
struct Panels<T> {
    /// δ
    delta: Panel<T>,
    /// δ·u
    x: Panel<T>,
    /// dy·silu(z)
    g: Panel<T>,
    /// Σ C·h + D·u
    y: Panel<T>,
    /// Σ q·B
    s: Panel<T>,
    /// Σ a·r
    r: Panel<T>,
    /// sigmoid(delta + bias)
    slope: Panel<T>,
    /// dy·silu'(z)
    gate: Panel<T>,
    /// ā of a stretch, `[t, state, lane]`
    decay: Work<T>,
    /// ā·h_{t-1}
    faded: Work<T>,
    /// Lanes of dB and dC of a stretch, `[t, state, lane]`
    db: Work<T>,
    dc: Work<T>,
}

/// One number per token of a chunk, state of a group and channel of the widest vectors.
#[repr(align(64))]
struct Work<T>([T; CHUNK * GROUP * MAX_WIDTH + SKEW]);

impl<T: Scalar> Work<T> {
    #[inline(always)]
    fn new() -> Self {
        Self([T::ZERO; CHUNK * GROUP * MAX_WIDTH + SKEW])
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

impl<T: Scalar> Backward<'_, T> {
    #[inline(always)]
    fn rows<V: Vector<T = T>, const W: usize>(self, v: V) {
        let Pass { dims, inputs, .. } = *self.pass;
        let block = &self.task.channels;
        let bias = PerChannel::new(&inputs.delta_bias[block.clone()]);
        let skip = PerChannel::new(&inputs.d[block.clone()]);
        let (mut dskip, mut dbias) = (PerChannel::new(&[]), PerChannel::new(&[]));
        let mut panels = Panels {
            delta: Panel::new(),
            x: Panel::new(),
            g: Panel::new(),
            y: Panel::new(),
            s: Panel::new(),
            r: Panel::new(),
            slope: Panel::new(),
            gate: Panel::new(),
            decay: Work::new(),
            faded: Work::new(),
            db: Work::new(),
            dc: Work::new(),
        };
        for row in self.task.rows.clone() {
            self.open_row(row);
            for chunk in (0..dims.chunks()).rev() {
                let tokens = chunk * CHUNK..((chunk + 1) * CHUNK).min(dims.layout.length);
                self.open(v, row, tokens.clone(), &bias, &skip, &mut panels);
                self.chunk::<V, W>(v, row, chunk, tokens.clone(), &mut panels);
                self.close(v, row, tokens, &skip, &panels, &mut dskip, &mut dbias);
            }
            self.close_row(row);
        }
        for (slot, sum) in [&dskip, &dbias].into_iter().enumerate() {
            let at = self.sums_at() + (dims.states + slot) * dims.padded() + block.start;
            // SAFETY: this task's channels in its group's sums.
            unsafe { self.pass.sums.slice(at, block.len()) }.copy_from_slice(&sum.0[..block.len()]);
        }
    }

    /// Where the sums of this task's group of rows begin.
    #[inline(always)]
    fn sums_at(&self) -> usize {
        self.task.row_group * (self.pass.dims.states + 2) * self.pass.dims.padded()
    }

    /// Where state n of the carried adjoint begins, from this block's first channel on.
    #[inline(always)]
    fn carry_at(&self, n: usize) -> usize {
        let dims = self.pass.dims;
        (self.task.row_group * dims.states + n) * dims.padded() + self.task.channels.start
    }

    /// The adjoint after the last token: `dlast`, else zero.
    #[inline(always)]
    fn open_row(&self, row: usize) {
        let (dims, block) = (self.pass.dims, &self.task.channels);
        for n in 0..dims.states {
            // SAFETY: this task's channels in its group's carry.
            let carry = unsafe { self.pass.carry.slice(self.carry_at(n), block.len()) };
            match self.pass.dlast {
                Some(last) => {
                    carry.copy_from_slice(&last[(row * dims.states + n) * dims.channels..][block.clone()]);
                }
                None => carry.fill(T::ZERO),
            }
        }
    }

    /// The adjoint before the first token goes to `dfirst`.
    #[inline(always)]
    fn close_row(&self, row: usize) {
        let (dims, block) = (self.pass.dims, &self.task.channels);
        let Some(first) = self.pass.dfirst else { return };
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

    /// Everything of a chunk that is per channel and not per state.
    #[inline(always)]
    fn open<V: Vector<T = T>>(
        &self,
        v: V,
        row: usize,
        tokens: Range<usize>,
        bias: &PerChannel<T>,
        skip: &PerChannel<T>,
        panels: &mut Panels<T>,
    ) {
        let Pass { dims, inputs, dy, .. } = *self.pass;
        let block = &self.task.channels;
        if tokens.start >= CHUNK {
            for n in 0..dims.states {
                let before = dims.kept_at(row, tokens.start / CHUNK - 1) + n * dims.padded();
                simd::prefetch(self.pass.kept, before + block.start, block.len());
            }
        }
        for (index, t) in tokens.enumerate() {
            let token = row * dims.layout.length + t;
            let at = token * dims.channels + block.start;
            let z = &inputs.z.data[token * inputs.z.stride + block.start..][..block.len()];
            self.fetch_ahead(row, t);
            // SAFETY: this token's channels of this task's block; no other task has them.
            unsafe {
                simd::prefetch(self.pass.du.slice(at, block.len()), 0, block.len());
                simd::prefetch(self.pass.ddelta.slice(at, block.len()), 0, block.len());
                simd::prefetch(self.pass.dz.part(token, block.start, block.len()), 0, block.len());
            }
            for i in (0..block.len()).step_by(V::LANES) {
                let (n, to) = (block.len() - i, index * BLOCK + i);
                let u = read(v, &inputs.u[at + i..], n);
                let raw = v.add(read(v, &inputs.delta[at + i..], n), v.load(&bias.0[i..]));
                let (delta, slope) = math::softplus_with_derivative(v, raw);
                let (gate, gate_slope) = math::silu_with_derivative(v, read(v, &z[i..], n));
                let dy = read(v, &dy[at + i..], n);
                v.store(&mut panels.delta.0[to..], delta);
                v.store(&mut panels.x.0[to..], v.mul(delta, u));
                v.store(&mut panels.g.0[to..], v.mul(dy, gate));
                v.store(&mut panels.y.0[to..], v.mul(u, v.load(&skip.0[i..])));
                v.store(&mut panels.slope.0[to..], slope);
                v.store(&mut panels.gate.0[to..], v.mul(dy, gate_slope));
                v.store(&mut panels.s.0[to..], v.splat(T::ZERO));
                v.store(&mut panels.r.0[to..], v.splat(T::ZERO));
            }
        }
    }

    /// Fetches the token that lies a chunk before t.
    #[inline(always)]
    fn fetch_ahead(&self, row: usize, t: usize) {
        let Pass { dims, inputs, dy, .. } = *self.pass;
        let block = &self.task.channels;
        if t >= CHUNK {
            let token = row * dims.layout.length + t - CHUNK;
            simd::prefetch(inputs.u, token * dims.channels + block.start, block.len());
            simd::prefetch(inputs.delta, token * dims.channels + block.start, block.len());
            simd::prefetch(dy, token * dims.channels + block.start, block.len());
            simd::prefetch(inputs.z.data, token * inputs.z.stride + block.start, block.len());
        }
    }

    /// The gradients of a chunk that are per channel, from the sums over the states.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the operands of the chunk, each by its name")]
    fn close<V: Vector<T = T>>(
        &self,
        v: V,
        row: usize,
        tokens: Range<usize>,
        skip: &PerChannel<T>,
        panels: &Panels<T>,
        dskip: &mut PerChannel<T>,
        dbias: &mut PerChannel<T>,
    ) {
        let Pass { dims, inputs, du, ddelta, dz, .. } = *self.pass;
        let block = &self.task.channels;
        let ln_2 = v.splat(T::from_f64(std::f64::consts::LN_2));
        for (index, t) in tokens.enumerate() {
            let token = row * dims.layout.length + t;
            let at = token * dims.channels + block.start;
            // SAFETY: this token's channels of this task's block; no other task has them.
            let (du, ddelta, dz) = unsafe {
                (
                    du.slice(at, block.len()),
                    ddelta.slice(at, block.len()),
                    dz.part(token, block.start, block.len()),
                )
            };
            for i in (0..block.len()).step_by(V::LANES) {
                let (n, from) = (block.len() - i, index * BLOCK + i);
                let u = read(v, &inputs.u[at + i..], n);
                let g = v.load(&panels.g.0[from..]);
                let s = v.load(&panels.s.0[from..]);
                let r = v.mul(v.load(&panels.r.0[from..]), ln_2);
                let dstep = v.mul(v.mul_add(s, u, r), v.load(&panels.slope.0[from..]));
                write(
                    v,
                    &mut du[i..],
                    n,
                    v.mul_add(s, v.load(&panels.delta.0[from..]), v.mul(v.load(&skip.0[i..]), g)),
                );
                write(v, &mut ddelta[i..], n, dstep);
                write(v, &mut dz[i..], n, v.mul(v.load(&panels.gate.0[from..]), v.load(&panels.y.0[from..])));
                let sum = v.mul_add(g, u, v.load(&dskip.0[i..]));
                v.store(&mut dskip.0[i..], sum);
                let sum = v.add(dstep, v.load(&dbias.0[i..]));
                v.store(&mut dbias.0[i..], sum);
            }
        }
    }

    /// The recurrence over a chunk, stretch by stretch from the right, group of states by group of states.
    #[inline(always)]
    fn chunk<V: Vector<T = T>, const W: usize>(
        &self,
        v: V,
        row: usize,
        chunk: usize,
        tokens: Range<usize>,
        panels: &mut Panels<T>,
    ) {
        let dims = self.pass.dims;
        let starts = dims.layout.row_starts(row);
        let mut to = tokens.end;
        while to > tokens.start {
            let from = stretch_start(starts, tokens.start, to);
            let fresh = is_start(starts, from);
            let mut stretch = Stretch {
                len: to - from,
                token: row * dims.layout.length + from,
                panel: (from - tokens.start) * BLOCK,
                kept: (!fresh).then(|| dims.kept_at(row, chunk)),
                n: 0,
            };
            while stretch.n < dims.states {
                if stretch.n + GROUP <= dims.states {
                    self.group::<V, W, GROUP>(v, &stretch, panels);
                    stretch.n += GROUP;
                } else {
                    self.group::<V, W, 1>(v, &stretch, panels);
                    stretch.n += 1;
                }
            }
            to = from;
        }
    }

    /// G states of all channels of the block over a stretch; then dB and dC of these states.
    #[inline(always)]
    fn group<V: Vector<T = T>, const W: usize, const G: usize>(
        &self,
        v: V,
        stretch: &Stretch,
        panels: &mut Panels<T>,
    ) {
        let (dims, lanes) = (self.pass.dims, stretch.len * G * V::LANES);
        panels.db.0[..lanes].fill(T::ZERO);
        panels.dc.0[..lanes].fill(T::ZERO);
        for i in (0..self.task.channels.len()).step_by(W * V::LANES) {
            self.again::<V, W, G>(v, stretch, i, panels);
            self.back::<V, W, G>(v, stretch, i, panels);
        }
        let width = 2 * dims.states;
        let (mut db, mut dc) = ([T::ZERO; CHUNK * GROUP], [T::ZERO; CHUNK * GROUP]);
        v.sum_each(&panels.db.0[..lanes], &mut db[..stretch.len * G]);
        v.sum_each(&panels.dc.0[..lanes], &mut dc[..stretch.len * G]);
        for t in 0..stretch.len {
            let at = (self.task.block * dims.layout.tokens() + stretch.token + t) * width;
            // SAFETY: this token's row in this block's dB and dC.
            let out = unsafe { self.pass.dbc.slice(at, width) };
            out[stretch.n..][..G].copy_from_slice(&db[t * G..][..G]);
            out[dims.states + stretch.n..][..G].copy_from_slice(&dc[t * G..][..G]);
        }
    }

    /// Forward again: keeps ā and ā·h_{t-1}, adds g·h to dC and Σ C·h to y.
    #[inline(always)]
    fn again<V: Vector<T = T>, const W: usize, const G: usize>(
        &self,
        v: V,
        stretch: &Stretch,
        i: usize,
        panels: &mut Panels<T>,
    ) {
        let Pass { dims, kept, a: rates, .. } = *self.pass;
        let bc = self.bc(stretch, G);
        let panel = stretch.panel + i;
        let rows = (stretch.len - 1) * BLOCK + W * V::LANES;
        let (delta, x) = (&panels.delta.0[panel..][..rows], &panels.x.0[panel..][..rows]);
        let (g, y) = (&panels.g.0[panel..][..rows], &mut panels.y.0[panel..][..rows]);
        let decays = &mut panels.decay.0[..stretch.len * G * W * V::LANES];
        let faded = &mut panels.faded.0[..stretch.len * G * W * V::LANES];
        let dc = &mut panels.dc.0[..stretch.len * G * V::LANES];
        let zero = v.splat(T::ZERO);
        let (mut a, mut h) = ([[zero; G]; W], [[zero; G]; W]);
        for w in 0..W {
            for k in 0..G {
                let at = (stretch.n + k) * dims.padded() + self.task.channels.start + i + w * V::LANES;
                a[w][k] = v.load(&rates[at..]);
                if let Some(from) = stretch.kept {
                    h[w][k] = v.load(&kept[from + at..]);
                }
            }
        }
        for t in 0..stretch.len {
            let (mut d, mut xs, mut gs, mut sum) = ([zero; W], [zero; W], [zero; W], [zero; W]);
            for w in 0..W {
                let at = t * BLOCK + w * V::LANES;
                // SAFETY: t < len and w < W: inside the rows cut out above.
                unsafe {
                    d[w] = v.load_ptr(delta.as_ptr().add(at));
                    xs[w] = v.load_ptr(x.as_ptr().add(at));
                    gs[w] = v.load_ptr(g.as_ptr().add(at));
                    sum[w] = v.load_ptr(y.as_ptr().add(at));
                }
            }
            for k in 0..G {
                // SAFETY: row t has N + G columns from here on (`bc` checked it).
                let (b, c) = unsafe { bc.at(t, k, dims.states) };
                let (b, c) = (v.splat(b), v.splat(c));
                // SAFETY: t < len, k < G: inside the part cut out above.
                let lanes = unsafe { dc.as_mut_ptr().add((t * G + k) * V::LANES) };
                // SAFETY: as above.
                let mut outer = unsafe { v.load_ptr(lanes) };
                for w in 0..W {
                    let at = ((t * G + k) * W + w) * V::LANES;
                    let decay = math::exp2_nonpositive(v, v.mul(d[w], a[w][k]));
                    let old = v.mul(decay, h[w][k]);
                    h[w][k] = v.mul_add(xs[w], b, old);
                    sum[w] = v.mul_add(h[w][k], c, sum[w]);
                    outer = v.mul_add(gs[w], h[w][k], outer);
                    // SAFETY: t < len, k < G, w < W: inside the parts cut out above.
                    unsafe {
                        v.store_ptr(decays.as_mut_ptr().add(at), decay);
                        v.store_ptr(faded.as_mut_ptr().add(at), old);
                    }
                }
                // SAFETY: as for the load.
                unsafe { v.store_ptr(lanes, outer) };
            }
            for (w, &sum) in sum.iter().enumerate() {
                // SAFETY: as for the load.
                unsafe { v.store_ptr(y.as_mut_ptr().add(t * BLOCK + w * V::LANES), sum) };
            }
        }
    }

    /// Back: q, then dB, s, r and the sum for A.
    #[inline(always)]
    fn back<V: Vector<T = T>, const W: usize, const G: usize>(
        &self,
        v: V,
        stretch: &Stretch,
        i: usize,
        panels: &mut Panels<T>,
    ) {
        let Pass { dims, a: rates, .. } = *self.pass;
        let bc = self.bc(stretch, G);
        let panel = stretch.panel + i;
        let rows = (stretch.len - 1) * BLOCK + W * V::LANES;
        let (delta, x, g) =
            (&panels.delta.0[panel..][..rows], &panels.x.0[panel..][..rows], &panels.g.0[panel..][..rows]);
        let (s, r) = (&mut panels.s.0[panel..][..rows], &mut panels.r.0[panel..][..rows]);
        let decays = &panels.decay.0[..stretch.len * G * W * V::LANES];
        let faded = &panels.faded.0[..stretch.len * G * W * V::LANES];
        let db = &mut panels.db.0[..stretch.len * G * V::LANES];
        let zero = v.splat(T::ZERO);
        let (mut a, mut c, mut da) = ([[zero; G]; W], [[zero; G]; W], [[zero; G]; W]);
        for k in 0..G {
            let channel = i;
            // SAFETY: this task's channels (padding included) in its group's carry and sums.
            let (carry, sums) = unsafe {
                (
                    self.pass.carry.slice(self.carry_at(stretch.n + k) + channel, W * V::LANES),
                    self.pass.sums.slice(self.sum_at(stretch.n + k) + channel, W * V::LANES),
                )
            };
            for w in 0..W {
                let at = (stretch.n + k) * dims.padded() + self.task.channels.start + i + w * V::LANES;
                a[w][k] = v.load(&rates[at..]);
                c[w][k] = v.load(&carry[w * V::LANES..]);
                da[w][k] = v.load(&sums[w * V::LANES..]);
            }
        }
        for t in (0..stretch.len).rev() {
            let (mut d, mut xs, mut gs) = ([zero; W], [zero; W], [zero; W]);
            let (mut ss, mut rs) = ([zero; W], [zero; W]);
            for w in 0..W {
                let at = t * BLOCK + w * V::LANES;
                // SAFETY: t < len and w < W: inside the rows cut out above.
                unsafe {
                    d[w] = v.load_ptr(delta.as_ptr().add(at));
                    xs[w] = v.load_ptr(x.as_ptr().add(at));
                    gs[w] = v.load_ptr(g.as_ptr().add(at));
                    ss[w] = v.load_ptr(s.as_ptr().add(at));
                    rs[w] = v.load_ptr(r.as_ptr().add(at));
                }
            }
            for k in 0..G {
                // SAFETY: row t has N + G columns from here on (`bc` checked it).
                let (bt, ct) = unsafe { bc.at(t, k, dims.states) };
                let (bt, ct) = (v.splat(bt), v.splat(ct));
                // SAFETY: t < len, k < G: inside the part cut out above.
                let lanes = unsafe { db.as_mut_ptr().add((t * G + k) * V::LANES) };
                // SAFETY: as above.
                let mut outer = unsafe { v.load_ptr(lanes) };
                for w in 0..W {
                    let at = ((t * G + k) * W + w) * V::LANES;
                    // SAFETY: t < len, k < G, w < W: inside the parts cut out above.
                    let (decay, old) =
                        unsafe { (v.load_ptr(decays.as_ptr().add(at)), v.load_ptr(faded.as_ptr().add(at))) };
                    let q = v.mul_add(gs[w], ct, c[w][k]);
                    let flow = v.mul(q, old);
                    c[w][k] = v.mul(q, decay);
                    ss[w] = v.mul_add(q, bt, ss[w]);
                    rs[w] = v.mul_add(flow, a[w][k], rs[w]);
                    da[w][k] = v.mul_add(flow, d[w], da[w][k]);
                    outer = v.mul_add(q, xs[w], outer);
                }
                // SAFETY: as for the load.
                unsafe { v.store_ptr(lanes, outer) };
            }
            for w in 0..W {
                let at = t * BLOCK + w * V::LANES;
                // SAFETY: as for the loads.
                unsafe {
                    v.store_ptr(s.as_mut_ptr().add(at), ss[w]);
                    v.store_ptr(r.as_mut_ptr().add(at), rs[w]);
                }
            }
        }
        for k in 0..G {
            // SAFETY: as for the loads before the loop.
            let (carry, sums) = unsafe {
                (
                    self.pass.carry.slice(self.carry_at(stretch.n + k) + i, W * V::LANES),
                    self.pass.sums.slice(self.sum_at(stretch.n + k) + i, W * V::LANES),
                )
            };
            for w in 0..W {
                // Nothing flows to the token before a document's start.
                let c = if stretch.kept.is_some() { c[w][k] } else { zero };
                v.store(&mut carry[w * V::LANES..], c);
                v.store(&mut sums[w * V::LANES..], da[w][k]);
            }
        }
    }

    /// Where Σ r·δ of state n begins, from this block's first channel on.
    #[inline(always)]
    fn sum_at(&self, n: usize) -> usize {
        self.sums_at() + n * self.pass.dims.padded() + self.task.channels.start
    }

    /// B and C of a stretch from its first token and state on, checked for G states.
    #[inline(always)]
    fn bc(&self, stretch: &Stretch, group: usize) -> Coefficients<'_, T> {
        let Columns { data, stride } = self.pass.inputs.bc;
        let bc = Columns::new(data, stretch.token * stride + stretch.n, stride);
        assert!(bc.data.len() >= (stretch.len - 1) * stride + self.pass.dims.states + group);
        Coefficients(bc)
    }
}

/// A stretch of tokens without a document start inside.
struct Stretch {
    len: usize,
    /// First token in the batch.
    token: usize,
    /// First row in the panels.
    panel: usize,
    /// Where the kept state before the first token lies; `None`: a document starts here.
    kept: Option<usize>,
    /// First state of the group.
    n: usize,
}

/// B and C of a stretch.
struct Coefficients<'a, T>(Columns<'a, T>);

impl<T: Scalar> Coefficients<'_, T> {
    /// B and C of state k of the group at token t.
    ///
    /// # Safety
    /// t and k lie in the stretch and group that were checked when this was made.
    #[inline(always)]
    unsafe fn at(&self, t: usize, k: usize, states: usize) -> (T, T) {
        let at = t * self.0.stride + k;
        // SAFETY: inside by the caller's promise.
        unsafe { (*self.0.data.get_unchecked(at), *self.0.data.get_unchecked(at + states)) }
    }
}
