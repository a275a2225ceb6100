//! The part of a product that one task computes: packing and the register tile, written once for every instruction set.
//!
//! ```text
//! c[i,j] (+)= Σ_t a(i,t)·b(t,j)      i in rows, j in columns, t in depth
//! ```
//!
//! The depth is cut into chunks of at most [`CHUNK`] terms. A factor is read in place, line by line: where its terms lie
//! together a register tile has a pointer for each row of a, where they lie across all its rows are in one line. Only b is
//! packed, into panels as wide as a register tile, and only where its terms lie together or its last vector is not whole.
//! A register tile of MR rows times NV vectors walks along t with a load for each vector of b and a broadcast for each row
//! of a:
//!
//! ```text
//! for t: for i in MR, j in NV: sum[i][j] = a[i](t)·b[j](t) + sum[i][j]
//! ```
//!
//! The terms of a factor that lie across its rows are a row apart in memory, in a cache line each, and hardware does not
//! prefetch such strides. So each tile prefetches, one line per term, what the tiles after it read ([`Prefetcher`]).
//!
//! Every element is one chain of multiply-adds over the terms of a chunk, and chunks are added in order. Chunks follow
//! from the depth alone: an element has the same bits wherever its row and column lie and whatever else is computed.

use std::cell::RefCell;
use std::ops::Range;

use aligned_vec::{AVec, ConstAlign};

use super::view::MatRef;
use crate::kernels::layout::Accumulate;
use crate::kernels::transpose::transpose;
use crate::numeric::Scalar;
use crate::real::Real;
use crate::simd::block::Source;
use crate::simd::{self, Kernel, Vector};

/// Terms of a sum between two additions to the output.
const CHUNK: usize = 256;
/// Rows of a that are multiplied by all columns before the next rows, for a with rows contiguous: a cache line of f32.
const PANEL: usize = 16;
/// Unused elements between two packed panels: a cache line, so that panels do not share cache sets.
const GAP: usize = 16;
/// Elements of a cache line of f32.
const LINE: usize = 16;
/// Lanes of the widest vector.
const MOST_LANES: usize = 16;
/// Elements of the largest register tile.
const MOST_TILE: usize = 8 * 3 * MOST_LANES;

/// Direction in which a factor lies contiguously in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    /// Consecutive terms of a sum are contiguous.
    Depth,
    /// Consecutive rows of a, or columns of b, are contiguous.
    Output,
}

/// A factor of a product, seen from its output: `o` is a row of a or a column of b, `t` a term of the sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor<'a, T> {
    data: &'a [T],
    stride: usize,
    along: Along,
}

impl<'a, T> Factor<'a, T> {
    /// (o, t) is element (o, t) of the matrix.
    pub(super) fn along_depth(m: MatRef<'a, T>) -> Self {
        Self { data: m.data(), stride: m.row_stride(), along: Along::Depth }
    }
    /// (o, t) is element (t, o) of the matrix.
    pub(super) fn along_output(m: MatRef<'a, T>) -> Self {
        Self { data: m.data(), stride: m.row_stride(), along: Along::Output }
    }
    /// Lines and terms to pack, checked.
    pub(super) fn source(&self, lines: Range<usize>, terms: Range<usize>) -> Source {
        let _last = match self.along {
            Along::Depth => self.line(lines.end - 1, terms.start, terms.len()),
            Along::Output => self.line(lines.start, terms.end - 1, lines.len()),
        };
        let [line_step, term_step] = match self.along {
            Along::Depth => [self.stride, 1],
            Along::Output => [1, self.stride],
        };
        let start = self.data.as_ptr().wrapping_add(lines.start * line_step + terms.start * term_step);
        Source { start: start.cast(), line_step, term_step, lines: lines.len(), terms: terms.len() }
    }
    /// The elements from (o, t) on, contiguous in the factor's direction.
    #[inline(always)]
    fn line(&self, o: usize, t: usize, len: usize) -> &'a [T] {
        let start = match self.along {
            Along::Depth => o * self.stride + t,
            Along::Output => t * self.stride + o,
        };
        &self.data[start..start + len]
    }
    /// The elements from (o, first of `terms`) on, checked for all `terms`, at least one, and where outputs are
    /// contiguous for all of `o .. o + len`.
    #[inline(always)]
    fn walk(&self, (o, len): (usize, usize), terms: &Range<usize>) -> Walk<T> {
        match self.along {
            Along::Depth => Walk { start: self.line(o, terms.start, terms.len()).as_ptr(), step: 1 },
            Along::Output => {
                let _last = self.line(o, terms.end - 1, len);
                Walk { start: self.line(o, terms.start, len).as_ptr(), step: self.stride }
            }
        }
    }
}

/// Elements of a factor, with the distance from a term to the next.
#[derive(Clone, Copy, Debug)]
struct Walk<T> {
    start: *const T,
    step: usize,
}

/// The part of a product that one task computes.
pub(super) struct Tile<'a, T> {
    a: Factor<'a, T>,
    b: Factor<'a, T>,
    rows: Range<usize>,
    cols: Range<usize>,
    depth: Range<usize>,
    /// The first element of the tile in the output.
    c: *mut T,
    c_stride: usize,
    accumulate: Accumulate,
    packed: &'a mut [T],
}

/// Whether the processor has 16 vector registers, not 32. A tile of 8 rows times 3 vectors uses 28 of 32 registers: its
/// sums, a row of b and an element of a. One of 4 rows times 2 vectors uses 11 of 16; with 3 vectors registers spill.
const fn few_registers<V: Vector>() -> bool {
    matches!(V::LANES, 1 | 8)
}

/// Vectors side by side in a register tile.
const fn vectors<V: Vector>() -> usize {
    if few_registers::<V>() { 2 } else { 3 }
}

/// Length of the chunks of a sum: even, at most [`CHUNK`].
#[inline(always)]
fn chunk(depth: usize) -> usize {
    depth.div_ceil(depth.div_ceil(CHUNK))
}

thread_local! {
    /// Packed panels of b, one buffer per thread, which grows to the size of the largest tile and is not freed.
    static PACKED: RefCell<AVec<f64, ConstAlign<64>>> = RefCell::new(AVec::new(64));
}

/// Lends the thread's buffer for the packed parts of a tile with `cols` columns, with any finite contents.
pub(super) fn with_packed<T: Scalar>(cols: usize, f: impl FnOnce(&mut [T])) {
    let len = cols.next_multiple_of(MOST_LANES) * CHUNK + cols.div_ceil(2) * GAP;
    PACKED.with_borrow_mut(|buffer| {
        let need = (len * size_of::<T>()).div_ceil(size_of::<f64>());
        if buffer.len() < need {
            buffer.resize(need, 0.0);
        }
        // SAFETY: T is f32 or f64: not larger and not more aligned than f64, and every bit pattern is a number.
        f(unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<T>(), len) });
    });
}

impl<'a, T: Scalar> Tile<'a, T> {
    /// A tile with its output from `c` on and the buffer of [`with_packed`].
    ///
    /// # Safety
    /// `rows.len()` rows of `cols.len()` elements, `c_stride` apart, are writable from `c` on while the tile is
    /// computed, and nothing else reads or writes them meanwhile.
    pub(super) unsafe fn new(
        (a, b): (Factor<'a, T>, Factor<'a, T>),
        [rows, cols, depth]: [Range<usize>; 3],
        c: *mut T,
        c_stride: usize,
        accumulate: Accumulate,
        packed: &'a mut [T],
    ) -> Self {
        Self { a, b, rows, cols, depth, c, c_stride, accumulate, packed }
    }
}

impl<T: Scalar> Kernel<T> for Tile<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = T>>(mut self, v: V) {
        if self.depth.is_empty() {
            self.without_terms();
            return;
        }
        if few_registers::<V>() {
            self.chunks::<V, 4>(v);
        } else {
            self.chunks::<V, 8>(v);
        }
    }
}

impl<T: Scalar> Tile<'_, T> {
    /// The result of a sum without terms: zeros.
    #[inline(always)]
    fn without_terms(&self) {
        if self.accumulate == Accumulate::Overwrite {
            for i in 0..self.rows.len() {
                // SAFETY: a row of the tile, by the promise made to `new`.
                let row =
                    unsafe { std::slice::from_raw_parts_mut(self.c.add(i * self.c_stride), self.cols.len()) };
                row.fill(T::ZERO);
            }
        }
    }

    /// Computes the tile chunk by chunk of the depth, MR rows and a panel of columns at a time.
    #[inline(always)]
    fn chunks<V: Vector<T = T>, const MR: usize>(&mut self, v: V) {
        let packed = std::mem::take(&mut self.packed);
        let in_place = self.b.along == Along::Output && self.cols.len().is_multiple_of(V::LANES);
        let chunk = chunk(self.depth.len());
        for start in self.depth.clone().step_by(chunk) {
            let terms = start..(start + chunk).min(self.depth.end);
            if !in_place {
                pack_b(v, &self.b, self.cols.clone(), terms.clone(), packed);
            }
            let mut prefetch =
                Prefetcher::new(self, in_place, terms.end..(terms.end + chunk).min(self.depth.end));
            for row in self.rows.clone().step_by(PANEL) {
                let rows = row..(row + PANEL).min(self.rows.end);
                prefetch.panel(self, rows.end, &terms);
                let mut at = 0;
                for cols in panels::<V>(self.cols.len()) {
                    let b = if in_place {
                        self.b.walk((self.cols.start + cols.start, cols.len()), &terms)
                    } else {
                        let step = cols.len().next_multiple_of(V::LANES);
                        let panel = &packed[at..][..step * terms.len()];
                        at += panel.len() + GAP;
                        Walk { start: panel.as_ptr(), step }
                    };
                    for row in rows.clone().step_by(MR) {
                        let rows = row..(row + MR).min(rows.end);
                        // SAFETY: b was checked, or packed, for all terms of whole vectors.
                        unsafe {
                            self.strip::<V, MR>(v, rows, cols.clone(), &terms, b, prefetch.next());
                        };
                    }
                }
            }
            self.accumulate = Accumulate::Add;
        }
    }

    /// The products of up to MR rows and a panel of columns, over a chunk of terms.
    ///
    /// # Safety
    /// b is readable for all terms, in whole vectors.
    #[inline(always)]
    unsafe fn strip<V: Vector<T = T>, const MR: usize>(
        &self,
        v: V,
        rows: Range<usize>,
        cols: Range<usize>,
        terms: &Range<usize>,
        b: Walk<T>,
        prefetch: Walk<T>,
    ) {
        // Rows beyond the last read the last row; their sums are not stored.
        let row = |i: usize| self.a.walk((rows.start + i.min(rows.len() - 1), 1), terms);
        let (a, step) = (std::array::from_fn(|i| row(i).start), row(0).step);
        // SAFETY: the tile's rows and columns lie in the output by the promise made to `new`.
        let c = unsafe { self.c.add((rows.start - self.rows.start) * self.c_stride + cols.start) };
        let out =
            Out { c, stride: self.c_stride, rows: rows.len(), cols: cols.len(), accumulate: self.accumulate };
        // SAFETY: each row of a was checked for all terms, b by the caller.
        unsafe {
            match out.cols.div_ceil(V::LANES) {
                1 => register_tile::<V, MR, 1>(v, terms.len(), a, step, b, prefetch, out),
                3 if !few_registers::<V>() => {
                    register_tile::<V, MR, 3>(v, terms.len(), a, step, b, prefetch, out);
                }
                _ => register_tile::<V, MR, 2>(v, terms.len(), a, step, b, prefetch, out),
            }
        }
    }
}

/// The cache lines that the register tiles of a chunk prefetch, one per term: those of the next panel of a, then those
/// of the columns of b in the next chunk.
struct Prefetcher<T> {
    panel: Lines<T>,
    columns: Lines<T>,
    /// The address that is prefetched when no lines are left. It is mapped, since an unmapped one costs a page walk
    /// each time.
    near: Walk<T>,
}

/// The lines that a number of register tiles prefetch.
struct Lines<T> {
    walk: Walk<T>,
    /// Elements from the lines of one tile to those of the next.
    advance: usize,
    /// Number of tiles that are left.
    tiles: usize,
}

impl<T: Scalar> Prefetcher<T> {
    /// For the chunk before the terms `next`.
    #[inline(always)]
    fn new(tile: &Tile<T>, in_place: bool, next: Range<usize>) -> Self {
        let near = Walk { start: tile.a.data.as_ptr(), step: 0 };
        let mut columns = Lines { walk: near, advance: LINE, tiles: 0 };
        if in_place && !next.is_empty() {
            columns.walk = tile.b.walk((tile.cols.start, tile.cols.len()), &next);
            columns.tiles = tile.cols.len().div_ceil(LINE);
        }
        Self { panel: Lines { walk: near, advance: 0, tiles: 0 }, columns, near }
    }

    /// Sets the panel of a that begins with `row`, if there is one, as the next to prefetch.
    #[inline(always)]
    fn panel(&mut self, tile: &Tile<T>, row: usize, terms: &Range<usize>) {
        if row >= tile.rows.end {
            return;
        }
        let walk = tile.a.walk((row, 1), terms);
        self.panel = match tile.a.along {
            Along::Output => Lines { walk, advance: 0, tiles: 1 },
            Along::Depth => {
                let advance = terms.len() * LINE;
                let tiles = (PANEL * tile.a.stride).div_ceil(advance);
                Lines { walk: Walk { step: LINE, ..walk }, advance, tiles }
            }
        };
    }

    /// The lines that the next tile prefetches.
    #[inline(always)]
    fn next(&mut self) -> Walk<T> {
        for lines in [&mut self.panel, &mut self.columns] {
            if lines.tiles > 0 {
                let walk = lines.walk;
                lines.tiles -= 1;
                lines.walk.start = walk.start.wrapping_add(lines.advance);
                return walk;
            }
        }
        self.near
    }
}

/// The widths of the panels of columns: as many whole register tiles as fit, but 2 and 2 vectors in place of 3 and 1,
/// as a tile of one vector is limited by the latency of its additions.
#[inline(always)]
fn panels<V: Vector>(cols: usize) -> impl Iterator<Item = Range<usize>> {
    let most = vectors::<V>();
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = (cols - start).div_ceil(V::LANES);
        let width = if left == most + 1 { left.div_ceil(2) } else { most };
        let panel = start..(start + width * V::LANES).min(cols);
        start = panel.end;
        (!panel.is_empty()).then_some(panel)
    })
}

/// Packs columns of b into [`panels`], term by term; results of the columns that fill up the last vector are not
/// stored.
#[inline(always)]
fn pack_b<V: Vector>(v: V, b: &Factor<V::T>, cols: Range<usize>, terms: Range<usize>, packed: &mut [V::T]) {
    let mut at = 0;
    for panel in panels::<V>(cols.len()) {
        let width = panel.len().next_multiple_of(V::LANES);
        let to = &mut packed[at..][..width * terms.len()];
        at += to.len() + GAP;
        match b.along {
            Along::Depth => {
                let line = |j| b.line(cols.start + panel.start + j, terms.start, terms.len());
                transpose::<V>(line, (panel.len(), terms.len()), to, width);
            }
            Along::Output => {
                for (term, to) in terms.clone().zip(to.chunks_exact_mut(width)) {
                    copy(v, b.line(cols.start + panel.start, term, panel.len()), to);
                }
            }
        }
    }
}

/// Copies to the start of `to`, up to whole vectors, with zeros behind the end.
#[inline(always)]
fn copy<V: Vector>(v: V, from: &[V::T], to: &mut [V::T]) {
    for i in (0..from.len()).step_by(V::LANES) {
        v.store(&mut to[i..], v.load_at(from, i));
    }
}

/// The output of a register tile.
struct Out<T> {
    c: *mut T,
    stride: usize,
    rows: usize,
    cols: usize,
    accumulate: Accumulate,
}

/// A register tile of MR rows times NV vectors; a(i, t) is at `a[i]` + t·step.
///
/// # Safety
/// All terms of all rows of a are readable, and of b in NV whole vectors.
#[inline(always)]
unsafe fn register_tile<V: Vector, const MR: usize, const NV: usize>(
    v: V,
    terms: usize,
    a: [*const V::T; MR],
    step: usize,
    b: Walk<V::T>,
    prefetch: Walk<V::T>,
    out: Out<V::T>,
) {
    let mut sums = [[v.splat(V::T::ZERO); NV]; MR];
    for t in 0..terms {
        simd::prefetch_line(prefetch.start.wrapping_add(t * prefetch.step));
        // SAFETY: readable by the caller's promise.
        unsafe {
            let b = b.start.add(t * b.step);
            let b: [V::V; NV] = std::array::from_fn(|j| v.load_ptr(b.add(j * V::LANES)));
            let at = t * step;
            for i in 0..MR {
                let a = v.splat(*a[i].add(at));
                for j in 0..NV {
                    sums[i][j] = v.mul_add(a, b[j], sums[i][j]);
                }
            }
        }
    }
    let add = out.accumulate == Accumulate::Add;
    if out.cols == NV * V::LANES {
        // SAFETY: rows of the tile, in whole vectors, by the promise made to `Tile::new`.
        unsafe { store::<V, MR, NV>(v, &sums, out.c, out.stride, out.rows, add) };
        return;
    }
    // An incomplete tile is computed in a copy.
    let mut copy = [V::T::ZERO; MOST_TILE];
    let width = NV * V::LANES;
    // SAFETY: MR rows of NV vectors fit.
    unsafe { store::<V, MR, NV>(v, &sums, copy.as_mut_ptr(), width, out.rows, false) };
    for (i, sums) in copy.chunks_exact(width).take(out.rows).enumerate() {
        // SAFETY: a row of the tile, of as many columns, by the promise made to `Tile::new`.
        let row = unsafe { std::slice::from_raw_parts_mut(out.c.add(i * out.stride), out.cols) };
        if add {
            add_to(row, sums);
        } else {
            row.copy_from_slice(&sums[..out.cols]);
        }
    }
}

/// Writes the first `rows` rows of a tile to c, or adds them.
///
/// # Safety
/// As many rows of NV vectors, `stride` apart, are writable from c on.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "over indices the compiler unrolls early, and keeps sums in registers"
)]
unsafe fn store<V: Vector, const MR: usize, const NV: usize>(
    v: V,
    sums: &[[V::V; NV]; MR],
    c: *mut V::T,
    stride: usize,
    rows: usize,
    add: bool,
) {
    for i in 0..MR {
        if i < rows {
            for j in 0..NV {
                // SAFETY: inside by the caller's promise.
                unsafe {
                    let to = c.add(i * stride + j * V::LANES);
                    let sum = if add { v.add(v.load_ptr(to), sums[i][j]) } else { sums[i][j] };
                    v.store_ptr(to, sum);
                }
            }
        }
    }
}

/// sums += terms, element by element.
pub(super) fn add_to<T: Real>(sums: &mut [T], terms: &[T]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += *term;
    }
}
