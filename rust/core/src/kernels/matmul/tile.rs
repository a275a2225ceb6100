//! One task of a product: packing and the register tile, written once for every instruction set.
//!
//! ```text
//! c[i,j] (+)= Σ_t a(i,t)·b(t,j)      i in rows, j in columns, t in depth
//! ```
//!
//! The depth is cut into chunks of at most [`CHUNK`] terms. Of each chunk, b is packed into panels as wide as a register
//! tile, which the L2 cache holds; a is read in place where its terms are contiguous, and packed into panels of
//! [`PANEL`] rows where they lie across. A register tile of MR rows times NV vectors walks along t with a load for each
//! vector of b and a broadcast for each row of a:
//!
//! ```text
//! for t: for i in MR, j in NV: sum[i][j] = a[i](t)·b[j](t) + sum[i][j]
//! ```
//!
//! Every element is one chain of multiply-adds over the terms of a chunk, and chunks are added in order. Chunks follow
//! from the depth alone: an element has the same bits wherever its row and column lie and whatever else is computed.

use std::cell::RefCell;
use std::ops::Range;

use aligned_vec::{AVec, ConstAlign};

use super::super::Accumulate;
use super::super::transpose::transpose;
use super::MatRef;
use crate::numeric::Scalar;
use crate::simd::{Kernel, Vector};

/// Terms of a sum between two additions to the output.
const CHUNK: usize = 256;
/// Rows of a packed panel of a.
const PANEL: usize = 16;
/// Rows of a whose panels are packed together where they lie across.
const BLOCK: usize = 256;
/// Elements between two panels beyond their contents: a cache line, so that panels do not share cache sets.
const GAP: usize = 16;
/// Elements of a packed panel of a.
const A_PANEL: usize = PANEL * CHUNK + GAP;
/// Lanes of the widest vector.
const MOST_LANES: usize = 16;

/// Direction in which a factor lies contiguously in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    /// The terms of a sum.
    Depth,
    /// The rows of a, or the columns of b.
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
    /// The elements from (o, t) on, contiguous in the factor's direction.
    #[inline(always)]
    fn line(&self, o: usize, t: usize, len: usize) -> &'a [T] {
        let start = match self.along {
            Along::Depth => o * self.stride + t,
            Along::Output => t * self.stride + o,
        };
        &self.data[start..start + len]
    }
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

/// Whether the processor has 16 vector registers, not 32. A tile of 8 rows times 3 vectors fills 28 of 32 with its sums,
/// a row of b and an element of a; one of 4 times 2 fills 11 of 16, and three vectors would have spilled.
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
    /// Packed panels of a, then those of b. Grows to the largest tile of its thread, then stays.
    static PACKED: RefCell<AVec<f64, ConstAlign<64>>> = RefCell::new(AVec::new(64));
}

/// Lends the thread's buffer for the packed parts of a tile with `cols` columns, with any finite contents.
pub(super) fn with_packed<T: Scalar>(cols: usize, f: impl FnOnce(&mut [T])) {
    let len = BLOCK / PANEL * A_PANEL + cols.next_multiple_of(MOST_LANES) * CHUNK + cols.div_ceil(2) * GAP;
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
        let packed = std::mem::take(&mut self.packed);
        let (a_packed, b_packed) = packed.split_at_mut(BLOCK / PANEL * A_PANEL);
        let chunk = chunk(self.depth.len());
        let mut accumulate = self.accumulate;
        for start in self.depth.clone().step_by(chunk) {
            let terms = start..(start + chunk).min(self.depth.end);
            pack_b(v, &self.b, self.cols.clone(), terms.clone(), b_packed);
            for row in self.rows.clone().step_by(BLOCK) {
                let rows = row..(row + BLOCK).min(self.rows.end);
                if self.a.along == Along::Output {
                    pack_a(v, &self.a, rows.clone(), terms.clone(), a_packed);
                }
                for (row, a) in rows.clone().step_by(PANEL).zip(a_packed.chunks_exact(A_PANEL)) {
                    let panel =
                        Panel { rows: row..(row + PANEL).min(rows.end), terms: terms.clone(), a, accumulate };
                    self.panel(v, &panel, b_packed);
                }
            }
            accumulate = Accumulate::Add;
        }
    }
}

impl<T: Scalar> Tile<'_, T> {
    /// A sum without terms.
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

    /// A panel of rows against all columns.
    #[inline(always)]
    fn panel<V: Vector<T = T>>(&self, v: V, panel: &Panel<T>, b_packed: &[T]) {
        let width = vectors::<V>() * V::LANES;
        let b_panels = b_packed.chunks(width * panel.terms.len() + GAP);
        for (col, b) in (0..self.cols.len()).step_by(width).zip(b_panels) {
            let cols = col..(col + width).min(self.cols.len());
            if few_registers::<V>() {
                self.strips::<V, 4>(v, panel, cols, b);
            } else {
                self.strips::<V, 8>(v, panel, cols, b);
            }
        }
    }

    /// A panel of rows against one panel of columns, MR rows at a time.
    #[inline(always)]
    fn strips<V: Vector<T = T>, const MR: usize>(&self, v: V, panel: &Panel<T>, cols: Range<usize>, b: &[T]) {
        let terms = panel.terms.len();
        for row in panel.rows.clone().step_by(MR) {
            let rows = (panel.rows.end - row).min(MR);
            // SAFETY: the tile's rows and columns lie in the output by the promise made to `new`.
            let c = unsafe { self.c.add((row - self.rows.start) * self.c_stride + cols.start) };
            let out = Out { c, stride: self.c_stride, rows, cols: cols.len(), accumulate: panel.accumulate };
            match self.a.along {
                Along::Depth => {
                    // Rows beyond the last repeat it; their sums are not stored.
                    let line =
                        |i: usize| self.a.line(row + i.min(rows - 1), panel.terms.start, terms).as_ptr();
                    // SAFETY: each line is readable for all terms.
                    unsafe { wide::<V, MR, 1>(v, terms, std::array::from_fn(line), b, out) };
                }
                Along::Output => {
                    let a = &panel.a[row - panel.rows.start..][..(terms - 1) * PANEL + MR];
                    // SAFETY: inside the slice above.
                    let a = std::array::from_fn(|i| unsafe { a.as_ptr().add(i) });
                    // SAFETY: the last term of the last row is the last element of the slice above.
                    unsafe { wide::<V, MR, PANEL>(v, terms, a, b, out) };
                }
            }
        }
    }
}

/// Rows of a and a chunk of the depth; `a` holds them packed where they lie across.
struct Panel<'a, T> {
    rows: Range<usize>,
    terms: Range<usize>,
    a: &'a [T],
    accumulate: Accumulate,
}

/// Packs rows of a that lie across into panels, term by term.
#[inline(always)]
fn pack_a<V: Vector>(v: V, a: &Factor<V::T>, rows: Range<usize>, terms: Range<usize>, packed: &mut [V::T]) {
    for (t, term) in terms.enumerate() {
        let line = a.line(rows.start, term, rows.len());
        for (line, panel) in line.chunks(PANEL).zip(packed.chunks_exact_mut(A_PANEL)) {
            copy(v, line, &mut panel[t * PANEL..][..PANEL]);
        }
    }
}

/// Packs columns of b into panels of up to [`vectors`] vectors, term by term, what fills up the last vector is not stored.
#[inline(always)]
fn pack_b<V: Vector>(v: V, b: &Factor<V::T>, cols: Range<usize>, terms: Range<usize>, packed: &mut [V::T]) {
    let full = vectors::<V>() * V::LANES;
    let stride = full * terms.len() + GAP;
    match b.along {
        Along::Depth => {
            for (col, panel) in cols.clone().step_by(full).zip(packed.chunks_mut(stride)) {
                let count = full.min(cols.end - col);
                let line = |j| b.line(col + j, terms.start, terms.len());
                transpose::<V>(line, (count, terms.len()), panel, count.next_multiple_of(V::LANES));
            }
        }
        Along::Output => {
            for (t, term) in terms.enumerate() {
                let line = b.line(cols.start, term, cols.len());
                for (line, panel) in line.chunks(full).zip(packed.chunks_mut(stride)) {
                    let width = line.len().next_multiple_of(V::LANES);
                    copy(v, line, &mut panel[t * width..][..width]);
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

/// Where a register tile goes.
struct Out<T> {
    c: *mut T,
    stride: usize,
    rows: usize,
    cols: usize,
    accumulate: Accumulate,
}

/// A register tile as wide as its columns need.
///
/// # Safety
/// As [`register_tile`].
#[inline(always)]
unsafe fn wide<V: Vector, const MR: usize, const S: usize>(
    v: V,
    terms: usize,
    a: [*const V::T; MR],
    b: &[V::T],
    out: Out<V::T>,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        match out.cols.div_ceil(V::LANES) {
            1 => register_tile::<V, MR, 1, S>(v, terms, a, b, out),
            3 if !few_registers::<V>() => register_tile::<V, MR, 3, S>(v, terms, a, b, out),
            _ => register_tile::<V, MR, 2, S>(v, terms, a, b, out),
        }
    }
}

/// MR rows times NV vectors; a(i, t) lies t·S behind `a[i]`.
///
/// # Safety
/// All terms of all rows of a are readable.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "over indices the compiler unrolls early, and keeps sums in registers"
)]
unsafe fn register_tile<V: Vector, const MR: usize, const NV: usize, const S: usize>(
    v: V,
    terms: usize,
    a: [*const V::T; MR],
    b: &[V::T],
    out: Out<V::T>,
) {
    assert!(b.len() >= terms * NV * V::LANES);
    let mut sums = [[v.splat(V::T::ZERO); NV]; MR];
    for t in 0..terms {
        // SAFETY: inside the packed panel of b (asserted), readable in a by the caller's promise.
        unsafe {
            let b = b.as_ptr().add(t * NV * V::LANES);
            let b: [V::V; NV] = std::array::from_fn(|j| v.load_ptr(b.add(j * V::LANES)));
            for i in 0..MR {
                let a = v.splat(*a[i].add(t * S));
                for j in 0..NV {
                    sums[i][j] = v.mul_add(a, b[j], sums[i][j]);
                }
            }
        }
    }
    let (whole, add) = (out.cols == NV * V::LANES, out.accumulate == Accumulate::Add);
    for i in 0..MR {
        if i < out.rows {
            // SAFETY: a row of the tile, of as many columns, by the promise made to `Tile::new`.
            let row = unsafe { std::slice::from_raw_parts_mut(out.c.add(i * out.stride), out.cols) };
            for j in 0..NV {
                let (row, sum) = (&mut row[j * V::LANES..], sums[i][j]);
                if whole || j + 1 < NV {
                    let sum = if add { v.add(v.load(row), sum) } else { sum };
                    v.store(row, sum);
                } else {
                    let sum = if add { v.add(v.load_partial(row), sum) } else { sum };
                    v.store_partial(row, sum);
                }
            }
        }
    }
}
