//! The recurrence of the backward pass: the states of a run of tokens are recomputed from the one at the start of their
//! chunk, then their adjoint.

use super::system::{Chunk, GROUP};
use super::task::{Backward, BackwardArguments, BackwardPanels, Folded};
use crate::kernels::channels::{BLOCK, Columns, is_start, stretch_start};
use crate::numeric::Scalar;
use crate::simd::{self, Vector, math};

impl<T: Scalar> Backward<'_, T> {
    /// The recurrence over a chunk, for each run of tokens from the right, and for each group of states.
    #[inline(always)]
    pub(super) fn chunk<V: Vector<T = T>, const W: usize, const BOUNDED: bool>(
        &self,
        v: V,
        chunk: &Chunk,
        panels: &mut BackwardPanels<T>,
    ) {
        let dims = self.pass.dims;
        let Chunk { row, index, ref tokens } = *chunk;
        let starts = dims.layout.row_starts(row);
        let mut to = tokens.end;
        while to > tokens.start {
            let from = stretch_start(starts, tokens.start, to);
            let fresh = is_start(starts, from);
            let mut stretch = Stretch {
                len: to - from,
                token: row * dims.layout.length + from,
                panel: (from - tokens.start) * BLOCK,
                before: (!fresh).then(|| dims.chunk_state_at(row, index)),
                n: 0,
            };
            while stretch.n < dims.states {
                if stretch.n + GROUP <= dims.states {
                    self.group::<V, W, GROUP, BOUNDED>(v, &stretch, panels);
                    stretch.n += GROUP;
                } else {
                    self.group::<V, W, 1, BOUNDED>(v, &stretch, panels);
                    stretch.n += 1;
                }
            }
            to = from;
        }
    }

    /// G states of all channels of the block over a run of tokens; then dB and dC of these states.
    #[inline(always)]
    fn group<V: Vector<T = T>, const W: usize, const G: usize, const BOUNDED: bool>(
        &self,
        v: V,
        stretch: &Stretch,
        panels: &mut BackwardPanels<T>,
    ) {
        let dims = self.pass.dims;
        panels.db[..stretch.len].fill(Folded::ZERO);
        panels.dc[..stretch.len].fill(Folded::ZERO);
        for i in (0..self.task.channels.len()).step_by(W * V::LANES) {
            self.recompute::<V, W, G, BOUNDED>(v, stretch, i, panels);
            self.adjoint::<V, W, G>(v, stretch, i, panels);
        }
        let width = 2 * dims.states;
        for (t, (db, dc)) in panels.db.iter().zip(&panels.dc).take(stretch.len).enumerate() {
            let at = (self.task.block * dims.layout.tokens() + stretch.token + t) * width;
            // SAFETY: this token's row in this block's dB and dC.
            let out = unsafe { self.pass.dbc.slice(at, width) };
            simd::sum_folded(&db.0[..V::FOLD], &mut out[stretch.n..][..G]);
            simd::sum_folded(&dc.0[..V::FOLD], &mut out[dims.states + stretch.n..][..G]);
        }
    }

    /// The forward recurrence again: keeps ā and ā·h_{t-1}, adds g·h to dC and Σ C·h to y.
    #[inline(always)]
    fn recompute<V: Vector<T = T>, const W: usize, const G: usize, const BOUNDED: bool>(
        &self,
        v: V,
        stretch: &Stretch,
        i: usize,
        panels: &mut BackwardPanels<T>,
    ) {
        let BackwardArguments { dims, chunk_states, a: rates, .. } = *self.pass;
        let bc = self.bc(stretch, G);
        let panel = stretch.panel + i;
        let rows = (stretch.len - 1) * BLOCK + W * V::LANES;
        let (delta, x) = (&panels.delta.0[panel..][..rows], &panels.x.0[panel..][..rows]);
        let (g, y) = (&panels.g.0[panel..][..rows], &mut panels.y.0[panel..][..rows]);
        let decays = &mut panels.decay.0[..stretch.len * G * W * V::LANES];
        let decayed = &mut panels.decayed.0[..stretch.len * G * W * V::LANES];
        let dc = &mut panels.dc[..stretch.len];
        let zero = v.splat(T::ZERO);
        let (mut a, mut h) = ([[zero; G]; W], [[zero; G]; W]);
        for w in 0..W {
            for k in 0..G {
                let at = (stretch.n + k) * dims.padded() + self.task.channels.start + i + w * V::LANES;
                a[w][k] = v.load(&rates[at..]);
                if let Some(from) = stretch.before {
                    h[w][k] = v.load(&chunk_states[from + at..]);
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
            let mut outer = [zero; GROUP];
            for k in 0..G {
                // SAFETY: row t has N + G columns from here on (`bc` checked it).
                let (b, c) = unsafe { bc.at(t, k, dims.states) };
                let (b, c) = (v.splat(b), v.splat(c));
                for w in 0..W {
                    let at = ((t * G + k) * W + w) * V::LANES;
                    let decay = math::exp2_of_product::<V, BOUNDED>(v, d[w], a[w][k]);
                    let old = v.mul(decay, h[w][k]);
                    h[w][k] = v.mul_add(xs[w], b, old);
                    sum[w] = v.mul_add(h[w][k], c, sum[w]);
                    outer[k] = v.mul_add(gs[w], h[w][k], outer[k]);
                    // SAFETY: t < len, k < G, w < W: inside the parts cut out above.
                    unsafe {
                        v.store_ptr(decays.as_mut_ptr().add(at), decay);
                        v.store_ptr(decayed.as_mut_ptr().add(at), old);
                    }
                }
            }
            // SAFETY: t < len.
            unsafe { v.add_folded(outer, dc.get_unchecked_mut(t).0.as_mut_ptr()) };
            for (w, &sum) in sum.iter().enumerate() {
                // SAFETY: as for the load.
                unsafe { v.store_ptr(y.as_mut_ptr().add(t * BLOCK + w * V::LANES), sum) };
            }
        }
    }

    /// The adjoint: q, then dB, s, r and the sum for A.
    #[inline(always)]
    fn adjoint<V: Vector<T = T>, const W: usize, const G: usize>(
        &self,
        v: V,
        stretch: &Stretch,
        i: usize,
        panels: &mut BackwardPanels<T>,
    ) {
        let BackwardArguments { dims, a: rates, .. } = *self.pass;
        let bc = self.bc(stretch, G);
        let panel = stretch.panel + i;
        let rows = (stretch.len - 1) * BLOCK + W * V::LANES;
        let (delta, x, g) =
            (&panels.delta.0[panel..][..rows], &panels.x.0[panel..][..rows], &panels.g.0[panel..][..rows]);
        let (s, r) = (&mut panels.s.0[panel..][..rows], &mut panels.r.0[panel..][..rows]);
        let decays = &panels.decay.0[..stretch.len * G * W * V::LANES];
        let decayed = &panels.decayed.0[..stretch.len * G * W * V::LANES];
        let db = &mut panels.db[..stretch.len];
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
            let mut outer = [zero; GROUP];
            for k in 0..G {
                // SAFETY: row t has N + G columns from here on (`bc` checked it).
                let (bt, ct) = unsafe { bc.at(t, k, dims.states) };
                let (bt, ct) = (v.splat(bt), v.splat(ct));
                for w in 0..W {
                    let at = ((t * G + k) * W + w) * V::LANES;
                    // SAFETY: t < len, k < G, w < W: inside the parts cut out above.
                    let (decay, old) = unsafe {
                        (v.load_ptr(decays.as_ptr().add(at)), v.load_ptr(decayed.as_ptr().add(at)))
                    };
                    let q = v.mul_add(gs[w], ct, c[w][k]);
                    let flow = v.mul(q, old);
                    c[w][k] = v.mul(q, decay);
                    ss[w] = v.mul_add(q, bt, ss[w]);
                    rs[w] = v.mul_add(flow, a[w][k], rs[w]);
                    da[w][k] = v.mul_add(flow, d[w], da[w][k]);
                    outer[k] = v.mul_add(q, xs[w], outer[k]);
                }
            }
            // SAFETY: t < len.
            unsafe { v.add_folded(outer, db.get_unchecked_mut(t).0.as_mut_ptr()) };
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
                // The token before a document's start gets no gradient from it.
                let c = if stretch.before.is_some() { c[w][k] } else { zero };
                v.store(&mut carry[w * V::LANES..], math::flush(v, c));
                v.store(&mut sums[w * V::LANES..], da[w][k]);
            }
        }
    }

    /// B and C of a run from its first token and state on, checked for G states.
    #[inline(always)]
    fn bc(&self, stretch: &Stretch, group: usize) -> RunBC<'_, T> {
        let Columns { data, stride } = self.pass.system.bc;
        let bc = Columns::new(data, stretch.token * stride + stretch.n, stride);
        assert!(bc.data.len() >= (stretch.len - 1) * stride + self.pass.dims.states + group);
        RunBC(bc)
    }
}

/// A run of tokens without a document start inside.
struct Stretch {
    len: usize,
    /// First token in the batch.
    token: usize,
    /// First row in the panels.
    panel: usize,
    /// Index of the first token's state before it in the states of the chunks; `None`: a document starts here.
    before: Option<usize>,
    /// First state of the group.
    n: usize,
}

/// B and C of a run.
struct RunBC<'a, T>(Columns<'a, T>);

impl<T: Scalar> RunBC<'_, T> {
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
