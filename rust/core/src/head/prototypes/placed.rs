//! Prototypes that are placed one by one beside others, which stay where they are.
//!
//! Each is put where its nearest prototype is farthest: at the x of the sphere with the least
//!
//! ```text
//! f(x) = max_k p_k·x,  smoothed by log-sum-exp:  g = Σ_k w_k·p_k,  w = softmax of τ·p_k·x
//! ```
//!
//! f has many local minima. So the descent of `separation` (its τ, its step, its operations of one order everywhere) begins
//! at several points: the best of the antipodes of the prototypes, each a little to the side, as an antipode may be a saddle,
//! and the best of random directions. What is found depends on the prototypes alone.

use rayon::prelude::*;

use super::random::normalise;
use super::separation::{Descent, RATE, RowWeights, SHARPNESS, STEPS, directions, product, striped_sum};
use crate::params::init::stream;
use crate::simd;

/// Most antipodes that are looked at, and as many random directions.
const CANDIDATES: usize = 256;

/// Length of what an antipode is moved by before it is brought to unit length again.
const ASIDE: f64 = 0.1;

/// Most starts of a descent of either sort, and numbers of the prototypes up to which all of them are taken.
const STARTS: usize = 4;
const START_COST: usize = 500_000;

/// `count` unit vectors `[count, dim]` beside unit `prototypes` `[C, dim]`, C of at least 1, placed one after the other.
pub fn placed(prototypes: &[f64], dim: usize, count: usize) -> Vec<f64> {
    let mut there: Vec<f32> = prototypes.iter().map(|&x| x as f32).collect();
    let mut found = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let next = farthest(&there, dim);
        there.extend(next.iter().map(|&x| x as f32));
        found.extend(next);
    }
    found
}

/// The unit vector whose nearest row of `there` is farthest.
fn farthest(there: &[f32], dim: usize) -> Vec<f64> {
    let mut transposed = vec![0.0_f32; there.len()];
    let classes = there.len() / dim;
    for (k, column) in transposed.chunks_exact_mut(classes).enumerate() {
        column.iter_mut().zip(there.chunks_exact(dim)).for_each(|(x, row)| *x = row[k]);
    }
    let starts = starts(there, &transposed, dim);
    let found: Vec<_> = starts.par_iter().map(|start| descend(start, there, &transposed)).collect();
    let best = found.iter().reduce(|best, other| if other.0 < best.0 { other } else { best });
    #[expect(clippy::expect_used, reason = "there is at least one start")]
    let mut best: Vec<f64> = best.expect("at least one start").1.iter().map(|&x| x.into()).collect();
    normalise(&mut best);
    best
}

/// Points to descend from.
fn starts(there: &[f32], transposed: &[f32], dim: usize) -> Vec<Vec<f32>> {
    let classes = there.len() / dim;
    let count = (START_COST / (classes * dim.max(16))).clamp(1, STARTS);
    let mut rng = stream(classes as u64, "head.prototypes.placed");
    let looked_at = classes.min(CANDIDATES);
    let mut antipodes = directions(&mut rng, looked_at, dim);
    for (i, row) in antipodes.chunks_exact_mut(dim).enumerate() {
        let of = &there[i * classes / looked_at * dim..][..dim];
        row.iter_mut().zip(of).for_each(|(x, p)| *x = ASIDE * *x - f64::from(*p));
        normalise(row);
    }
    let random = directions(&mut rng, CANDIDATES, dim);
    [antipodes, random].iter().flat_map(|rows| best(rows, transposed, dim, count)).collect()
}

/// The `count` rows of `rows` `[m, dim]` that are farthest from their nearest prototypes.
fn best(rows: &[f64], transposed: &[f32], dim: usize, count: usize) -> Vec<Vec<f32>> {
    let rows: Vec<f32> = rows.iter().map(|&x| x as f32).collect();
    let classes = transposed.len() / dim;
    let mut cosines = vec![0.0_f32; rows.len() / dim * classes];
    product(&rows, dim, transposed, &mut cosines);
    let mut found: Vec<_> = cosines.chunks_exact(classes).map(largest).zip(rows.chunks_exact(dim)).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().take(count).map(|(_, row)| row.to_vec()).collect()
}

/// The best point of one descent from `start`, and its cosine to the nearest row of `there`.
fn descend(start: &[f32], there: &[f32], transposed: &[f32]) -> (f32, Vec<f32>) {
    let (dim, mut x) = (start.len(), start.to_vec());
    let mut best = (f32::INFINITY, x.clone());
    let mut w = vec![0.0_f32; there.len() / dim];
    let mut descent = Descent::new(dim);
    let (mut sharpness, mut rate) = (SHARPNESS.0, RATE.0);
    for _ in 0..STEPS {
        product(&x, dim, transposed, &mut w);
        let largest = largest(&w);
        if largest < best.0 {
            best = (largest, x.clone());
        }
        simd::run(RowWeights { row: &mut w, sharpness: sharpness as f32, largest });
        let total = striped_sum(&w);
        product(&w, w.len(), there, &mut descent.gradient);
        descent.step(&mut x, dim, 1.0 / total, rate);
        (sharpness, rate) = (sharpness * SHARPNESS.1, rate * RATE.1);
    }
    best
}

fn largest(row: &[f32]) -> f32 {
    row.iter().fold(-1.0, |a, &b| a.max(b))
}

/// Cosine of a unit vector to the nearest of unit `prototypes` `[C, dim]`; -1 where there is none.
pub(crate) fn nearest_cosine(prototypes: &[f64], of: &[f64]) -> f64 {
    let cosine = |row: &[f64]| row.iter().zip(of).map(|(a, b)| a * b).sum::<f64>();
    prototypes.chunks_exact(of.len()).map(cosine).fold(-1.0, f64::max)
}
