//! The largest cosine between two different prototypes.

use rayon::prelude::*;

use super::super::losses::directions;
use crate::kernels::Accumulate;
use crate::kernels::matmul::{MatMut, MatRef, linear};
use crate::numeric::Scalar;

/// Up to this many prototypes all pairs are compared; of more, this many at even distances.
pub(crate) const ROWS_MAX: usize = 8192;

/// Rows of a tile: tile × rows products are in memory at a time.
const TILE: usize = 128;

/// Largest cosine of two different rows of `prototypes` `[C, dim]` of any length; -1 for fewer than two.
///
/// Above `ROWS_MAX` rows it is the largest among a fixed subsample: row i·C/ROWS_MAX for every i.
pub fn largest_cosine<T: Scalar>(prototypes: &[T], dim: usize) -> f64 {
    let classes = prototypes.len() / dim;
    let count = classes.min(ROWS_MAX);
    let rows: Vec<T> =
        (0..count).flat_map(|i| prototypes[i * classes / count * dim..][..dim].iter().copied()).collect();
    let mut units = vec![T::ZERO; rows.len()];
    directions(&rows, &mut units, dim);
    among(&units, dim)
}

fn among<T: Scalar>(rows: &[T], dim: usize) -> f64 {
    let count = rows.len() / dim;
    let mut products = vec![T::ZERO; TILE.min(count) * count];
    let mut largest = -1.0_f64;
    for first in (0..count).step_by(TILE) {
        // Only the rows from here on, so that each pair is computed once.
        let (height, width) = (TILE.min(count - first), count - first);
        let later = &rows[first * dim..];
        linear(
            MatRef::new(later, height, dim),
            MatRef::new(later, width, dim),
            MatMut::new(&mut products, height, width),
            Accumulate::Overwrite,
        );
        let tile = products[..height * width].par_chunks(width).enumerate();
        let tile_largest = tile.map(|(i, row)| row[i + 1..].iter().map(|x| x.to_f64()).fold(-1.0, f64::max));
        largest = largest.max(tile_largest.reduce(|| -1.0, f64::max));
    }
    largest
}
