//! Random directions.

use crate::params::init::{normal, stream};

/// Independent uniform directions.
pub fn random(classes: usize, dim: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, "head.prototypes");
    let mut rows: Vec<f64> = (0..classes * dim).map(|_| normal(&mut rng)).collect();
    rows.chunks_exact_mut(dim).for_each(normalise);
    rows
}

/// Divides a row by its norm.
pub(crate) fn normalise(row: &mut [f64]) {
    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    for x in row {
        *x /= norm;
    }
}
