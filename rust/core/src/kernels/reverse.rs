//! The tokens of every document in the opposite order.
//!
//! ```text
//! y[first + k,:] = x[last - k,:]        or y += …, for k = 0 … of a document first … last
//! ```
//!
//! x, y `[rows, length, D]`. It is its own inverse, and its own backward.

use super::channels::stretch_end;
use super::layout::{Accumulate, Layout};
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};

/// y, or what is added to it, from x.
///
/// # Panics
/// If x and y do not have `width` numbers per token.
pub(crate) fn reverse<T: Scalar>(
    layout: &Layout,
    width: usize,
    x: &[T],
    y: &mut [T],
    accumulate: Accumulate,
) {
    layout.check();
    assert_eq!((x.len(), y.len()), (layout.tokens() * width, layout.tokens() * width), "x and y [B, T, D]");
    let row_len = layout.length * width;
    let y = Shared::new(y);
    for_each_task(layout.rows, |row| {
        // SAFETY: each task has a row of its own.
        let (x, y) = (&x[row * row_len..][..row_len], unsafe { y.slice(row * row_len, row_len) });
        let starts = layout.row_starts(row);
        let mut first = 0;
        while first < layout.length {
            let end = stretch_end(starts, first, layout.length);
            let part = first * width..end * width;
            let reversed = x[part.clone()].rchunks_exact(width.max(1));
            for (y, x) in y[part].chunks_exact_mut(width.max(1)).zip(reversed) {
                match accumulate {
                    Accumulate::Overwrite => y.copy_from_slice(x),
                    Accumulate::Add => y.iter_mut().zip(x).for_each(|(y, x)| *y += *x),
                }
            }
            first = end;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_reversed_separately() {
        let starts = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let layout = Layout { rows: 2, length: 5, starts: Some(&starts) };
        let x: Vec<f64> = (0..20).map(f64::from).collect();
        let mut y = vec![1.0; 20];
        reverse(&layout, 2, &x, &mut y, Accumulate::Overwrite);
        let first: Vec<f64> = y.iter().step_by(2).copied().collect();
        assert_eq!(first, [4.0, 2.0, 0.0, 8.0, 6.0, 18.0, 16.0, 14.0, 12.0, 10.0]);
        reverse(&layout, 2, &y.clone(), &mut y, Accumulate::Overwrite);
        assert_eq!(y, x);
        reverse(&layout, 2, &x, &mut y, Accumulate::Add);
        assert_eq!(y[..2], [4.0, 6.0]);
    }
}
