//! Copies of the factors of a product, rounded to bf16, for processors without a unit.
//!
//! A product of m rows with a weight `[n, k]` copies both factors without gaps between rows, one product at a time:
//!
//! ```text
//! linear m·k + n·k        linear_dx m·n + n·k        linear_dw m·n + m·k
//! ```
//!
//! The buffers belong to the process and not to its threads, of which any one may begin a product: each pass has one, as
//! large as its largest product, which a plan of memory can count.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::view::MatRef;
use crate::allocate::try_grow;
use crate::error::Result;
use crate::kernels::blocks::Blocks;
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};

/// Least elements of a task.
const LEAST_COPIED: usize = 1 << 15;
/// Most buffers that are kept while no product uses them.
const MOST_FREE: usize = 2;

/// Buffers that no product uses.
static FREE: Mutex<Vec<Vec<f64>>> = Mutex::new(Vec::new());

fn free() -> MutexGuard<'static, Vec<Vec<f64>>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn give_back(buffer: Vec<f64>) {
    let mut free = free();
    if free.len() < MOST_FREE {
        free.push(buffer);
    }
}

/// The largest free buffer.
fn taken() -> Vec<f64> {
    let mut free = free();
    let largest = (0..free.len()).max_by_key(|&i| free[i].capacity());
    largest.map_or_else(Vec::new, |i| free.swap_remove(i))
}

fn doubles<T: Scalar>(len: usize) -> usize {
    (len * size_of::<T>()).div_ceil(size_of::<f64>())
}

/// Elements of the copies of the products of m rows with a weight `[n, k]`, forward and back.
pub(super) fn elements(m: usize, n: usize, k: usize) -> usize {
    (m * k + n * k).max(m * n + n * k).max(m * n + m * k)
}

/// Makes room for copies of so many elements; refused where the memory is not there.
pub(super) fn make_room<T: Scalar>(len: usize) -> Result<()> {
    let mut buffer = taken();
    let need = doubles::<T>(len);
    let made = if buffer.capacity() < need {
        buffer = Vec::new(); // freed first: the two are never allocated at once
        try_grow(&mut buffer, need, "the copies of factors in bf16")
    } else {
        Ok(())
    };
    give_back(buffer);
    made
}

/// Calls `f` with copies of both matrices, rounded to bf16 and without gaps between rows.
pub(super) fn with_copies<T: Scalar>(a: MatRef<T>, b: MatRef<T>, f: impl FnOnce(&[T], &[T])) {
    let (len_a, len_b) = (a.rows() * a.cols(), b.rows() * b.cols());
    let need = doubles::<T>(len_a + len_b);
    let mut buffer = taken();
    if buffer.len() < need {
        buffer.resize(need, 0.0);
    }
    // SAFETY: T is f32 or f64: not larger and not more aligned than f64, and every bit pattern is a number.
    let copies = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<T>(), len_a + len_b) };
    let (copy_a, copy_b) = copies.split_at_mut(len_a);
    copy(a, copy_a);
    copy(b, copy_b);
    f(copy_a, copy_b);
    give_back(buffer);
}

fn copy<T: Scalar>(from: MatRef<T>, to: &mut [T]) {
    let (cols, to) = (from.cols(), Shared::new(to));
    let blocks = Blocks::new(from.rows(), LEAST_COPIED.div_ceil(cols.max(1)));
    for_each_task(blocks.count, |block| {
        for row in blocks.range(block) {
            // SAFETY: each row belongs to one task.
            let to = unsafe { to.slice(row * cols, cols) };
            for (to, x) in to.iter_mut().zip(from.row(row)) {
                *to = x.to_bf16();
            }
        }
    });
}
