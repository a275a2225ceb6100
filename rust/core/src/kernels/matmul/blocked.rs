//! Products of bf16 blocks: which factor is packed when, and the tasks.
//!
//! ```text
//! c[i,j] (+)= Σ_t r(a(i,t))·r(b(t,j))      lines: rows i of a, columns j of b
//! ```
//!
//! The unit multiplies some ten times faster than f32, so that reading and packing decide. The factor with fewer lines stays:
//! it is packed once for all tasks, a chunk of the depth at a time, small enough for a core's L2 cache. The other one
//! streams: each task packs its own lines just before it multiplies them, and each element of it is read from memory once.
//!
//! ```text
//! for each chunk of terms:
//!     in tasks: pack the factor that stays
//!     in tasks, by lines of the other: pack them; for rows, for columns, in strips: c += blocks
//! ```
//!
//! Every sum is one chain over the steps of 32 terms, kept in c between chunks: its bits depend on its row, its column and the
//! depth alone. Sums at the edges are computed in a copy of whole strips.

use std::cell::Cell;
use std::ops::Range;

use super::output::Output;
use super::tile::Factor;
use super::view::MatMut;
use crate::kernels::blocks::Blocks;
use crate::kernels::layout::Accumulate;
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};
use crate::real::Real;
use crate::simd::bf16::BlockUnit;
use crate::simd::block::{Block, BlockProduct, LINES, Order, TERMS};

/// Most blocks of the factor that stays in one chunk: 1 MB, half of an L2 cache of 2 MB.
const STAYING: usize = 1024;
/// Fewest and most blocks of a strip in one chunk.
const CHUNK: [usize; 2] = [8, 64];
/// Blocks of a strip between two stores of the sums: 16 KB, so that two strips of rows stay in the L1 cache.
const STEPS: usize = 16;
/// Most blocks that a task packs at once.
const STREAMING: usize = 512;
/// Number of tasks to aim for.
const MANY: usize = 32;
/// Least work of a task in products of two blocks, some 10 µs.
const LEAST_WORK: usize = 1024;
/// Cost of packing a block, in products of two blocks.
const PACK: usize = 8;
/// Blocks for a task that only packs.
const LEAST_PACKED: usize = 64;

thread_local! {
    /// Packed blocks: of the factor that stays, and of the lines of a task. They grow to the largest product and are not freed.
    static STAYS: Cell<Vec<Block>> = const { Cell::new(Vec::new()) };
    static STREAMS: Cell<Vec<Block>> = const { Cell::new(Vec::new()) };
}

/// Lends a thread's buffer with at least `len` blocks. It is taken meanwhile: a thread that waits for tasks may run another
/// product, which then has a buffer of its own.
fn with_blocks<R>(
    buffer: &'static std::thread::LocalKey<Cell<Vec<Block>>>,
    len: usize,
    f: impl FnOnce(&mut [Block]) -> R,
) -> R {
    let mut blocks = buffer.take();
    if blocks.len() < len {
        blocks.resize(len, Block::ZERO);
    }
    let result = f(&mut blocks[..len]);
    buffer.set(blocks);
    result
}

/// The division of a product.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Whether the rows stream and the columns stay.
    rows_stream: bool,
    /// Strips of the factor that stays.
    staying: usize,
    /// Strips of the other, and of a task.
    streaming: usize,
    extent: usize,
    /// Blocks of a strip in a chunk.
    chunk: usize,
}

impl Plan {
    fn new(rows: usize, cols: usize, depth: usize) -> Self {
        let rows_stream = rows >= cols;
        let (streaming, staying) = if rows_stream { (rows, cols) } else { (cols, rows) };
        let (streaming, staying) = (streaming.div_ceil(LINES), staying.div_ceil(LINES));
        let blocks = depth.div_ceil(TERMS);
        let most = (STAYING / staying).clamp(CHUNK[0], CHUNK[1]);
        let chunk = blocks.div_ceil(blocks.div_ceil(most));
        let work = streaming * chunk * (staying + PACK);
        let tasks = (work / LEAST_WORK).clamp(1, MANY);
        let widest = (STREAMING / chunk).max(2);
        // At least four strips, so that lines that lie across memory are read a cache line and more at a time.
        let extent = streaming.div_ceil(tasks).next_multiple_of(2).max(4).min(widest);
        Self { rows_stream, staying, streaming, extent, chunk }
    }
}

/// Sums of a whole pair of strips, at the edges of c.
#[repr(align(64))]
struct Edge([f32; 2 * LINES * 2 * LINES]);

/// c = r(a)·r(b) or c += r(a)·r(b) over `depth` terms, for f32 alone.
///
/// # Panics
/// If a factor is shorter than the output, or is not of f32.
pub(super) fn product<T: Scalar>(
    unit: BlockUnit,
    (a, b): (Factor<T>, Factor<T>),
    depth: usize,
    mut c: MatMut<T>,
    accumulate: Accumulate,
) {
    assert_eq!(T::DTYPE, f32::DTYPE, "blocks are packed from f32");
    let (rows, cols, stride) = (c.rows(), c.cols(), c.row_stride());
    if rows == 0 || cols == 0 {
        return;
    }
    if depth == 0 {
        if accumulate == Accumulate::Overwrite {
            (0..rows).for_each(|row| c.data()[row * stride..][..cols].fill(T::ZERO));
        }
        return;
    }
    let plan = Plan::new(rows, cols, depth);
    let output = Output::new(c.data().as_mut_ptr().cast::<f32>());
    let sides = [(a, rows, Order::Lines), (b, cols, Order::Pairs)];
    let [streaming, staying] = if plan.rows_stream { sides } else { [sides[1], sides[0]] };
    with_blocks(&STAYS, plan.staying * plan.chunk, |stays| {
        for first in (0..depth).step_by(plan.chunk * TERMS) {
            let terms = first..(first + plan.chunk * TERMS).min(depth);
            let blocks = terms.len().div_ceil(TERMS);
            pack_staying(unit, staying, &terms, &mut stays[..plan.staying * blocks]);
            let part = Part {
                unit,
                plan,
                stays,
                blocks,
                output: &output,
                shape: (rows, cols, stride),
                add: first > 0 || accumulate == Accumulate::Add,
            };
            for_each_task(plan.streaming.div_ceil(plan.extent), |task| {
                let strips = task * plan.extent..((task + 1) * plan.extent).min(plan.streaming);
                with_blocks(&STREAMS, strips.len() * blocks, |streams| {
                    let (factor, lines, order) = streaming;
                    let lines = strips.start * LINES..(strips.end * LINES).min(lines);
                    pack(unit, factor, lines, terms.clone(), order, streams);
                    part.multiply(strips.start, streams);
                });
            });
        }
    });
}

/// Packs all lines of a factor, in tasks.
fn pack_staying<T: Scalar>(
    unit: BlockUnit,
    (factor, lines, order): (Factor<T>, usize, Order),
    terms: &Range<usize>,
    out: &mut [Block],
) {
    let blocks = terms.len().div_ceil(TERMS);
    let tasks = Blocks::new(out.len() / blocks, LEAST_PACKED.div_ceil(blocks));
    let out = Shared::new(out);
    for_each_task(tasks.count, |task| {
        let strips = tasks.range(task);
        // SAFETY: each strip belongs to one task.
        let out = unsafe { out.slice(strips.start * blocks, strips.len() * blocks) };
        let lines = strips.start * LINES..(strips.end * LINES).min(lines);
        pack(unit, factor, lines, terms.clone(), order, out);
    });
}

/// Packs some lines and terms of a factor into strips one after another.
fn pack<T: Scalar>(
    unit: BlockUnit,
    factor: Factor<T>,
    lines: Range<usize>,
    terms: Range<usize>,
    order: Order,
    out: &mut [Block],
) {
    let blocks = terms.len().div_ceil(TERMS);
    assert!(out.len() >= lines.len().div_ceil(LINES) * blocks, "blocks for {} lines", lines.len());
    // SAFETY: the source was checked by `source`, the blocks just now.
    unsafe { unit.pack(factor.source(lines, terms), order, out.as_mut_ptr(), blocks) };
}

/// A chunk of the depth of a product, with the factor that stays.
struct Part<'a> {
    unit: BlockUnit,
    plan: Plan,
    stays: &'a [Block],
    /// Blocks of a strip.
    blocks: usize,
    output: &'a Output<f32>,
    /// Rows, columns, row stride of the output.
    shape: (usize, usize, usize),
    add: bool,
}

impl Part<'_> {
    /// Multiplies packed lines, from strip `first` on, by all of the other factor.
    fn multiply(&self, first: usize, streams: &[Block]) {
        let count = streams.len() / self.blocks;
        let stays = &self.stays[..self.plan.staying * self.blocks];
        let ((a, first_row, rows), (b, first_col, cols)) = if self.plan.rows_stream {
            ((streams, first, count), (stays, 0, self.plan.staying))
        } else {
            ((stays, 0, self.plan.staying), (streams, first, count))
        };
        self.unit.with(|| {
            for step in (0..self.blocks).step_by(STEPS) {
                let steps = STEPS.min(self.blocks - step);
                for row in (0..rows).step_by(2) {
                    let a = self.pair(a, row, rows, step);
                    for col in (0..cols).step_by(2) {
                        let b = self.pair(b, col, cols, step);
                        let at = [(first_row + row) * LINES, (first_col + col) * LINES];
                        self.strips(a, b, steps, at, self.add || step > 0);
                    }
                }
            }
        });
    }

    /// One or two strips, from a block of the depth on.
    fn pair<'b>(&self, packed: &'b [Block], strip: usize, strips: usize, step: usize) -> [&'b [Block]; 2] {
        let blocks = |strip: usize| &packed[strip * self.blocks + step..(strip + 1) * self.blocks];
        [blocks(strip), if strip + 1 < strips { blocks(strip + 1) } else { &[] }]
    }

    /// The sums of some strips, whose first row and column are `at`.
    fn strips(&self, a: [&[Block]; 2], b: [&[Block]; 2], steps: usize, at: [usize; 2], add: bool) {
        let (rows, cols, stride) = self.shape;
        let strips = [a, b].map(|side| if side[1].is_empty() { 1 } else { 2 });
        let [height, width] = [(rows - at[0]).min(strips[0] * LINES), (cols - at[1]).min(strips[1] * LINES)];
        let pointers = |side: [&[Block]; 2]| {
            [side[0].as_ptr(), if side[1].is_empty() { side[0].as_ptr() } else { side[1].as_ptr() }]
        };
        let product = |c: *mut f32, c_stride: usize| BlockProduct {
            a: pointers(a),
            b: pointers(b),
            steps,
            strips,
            c,
            c_stride,
            add,
        };
        let start = at[0] * stride + at[1];
        if height == strips[0] * LINES && width == strips[1] * LINES {
            // SAFETY: whole strips inside the output, which belong to this task; each slice has `steps` blocks and more.
            unsafe { self.unit.multiply(&product(self.output.at(start), stride)) };
            return;
        }
        let mut edge = Edge([0.0; 4 * LINES * LINES]);
        let row = |i: usize| {
            // SAFETY: `width` elements of a row of the output that belong to this task.
            unsafe { std::slice::from_raw_parts_mut(self.output.at(start + i * stride), width) }
        };
        if add {
            for (i, copy) in edge.0.chunks_exact_mut(2 * LINES).enumerate().take(height) {
                copy[..width].copy_from_slice(row(i));
            }
        }
        // SAFETY: two strips of sums of our own.
        unsafe { self.unit.multiply(&product(edge.0.as_mut_ptr(), 2 * LINES)) };
        for (i, copy) in edge.0.chunks_exact(2 * LINES).enumerate().take(height) {
            row(i).copy_from_slice(&copy[..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_and_chunks_cover_the_product() {
        for (rows, cols, depth) in [
            (1, 1, 1),
            (4096, 1024, 256),
            (1024, 256, 4096),
            (512, 3072, 768),
            (48, 512, 4096),
            (70_000, 3, 9),
        ] {
            let plan = Plan::new(rows, cols, depth);
            assert!(plan.extent >= 2 && plan.chunk >= 1 && plan.chunk <= CHUNK[1], "{plan:?}");
            assert!(
                plan.staying <= plan.streaming
                    && plan.staying * plan.chunk <= STAYING.max(plan.staying * CHUNK[0])
            );
        }
    }
}
