//! Filters of the law for a model that knows no data: scaled so that white noise of variance 1 has responses of variance 1.
//!
//! With the response k_s = Re Σ_p c_p·λ_p^s to a single 1 before s steps, that variance is
//!
//! ```text
//! Σ_s k_s² = ½·Re Σ_{p,q} ( c_p·c_q/(1 - λ_p·λ_q) + c_p·c̄_q/(1 - λ_p·λ̄_q) )
//! ```

#![forbid(unsafe_code)]

use super::law;
use crate::kernels::state_filters::{COLUMNS, FILTERS, MODES};
use crate::params::init::stream;

/// Re λ, Im λ, Re c, Im c of blocks of filters, `[blocks, 4, MODES, FILTERS]`, with scales up to `longest` steps.
pub(crate) fn unit_filters(seed: u64, blocks: usize, longest: usize) -> Vec<f64> {
    let mut rng = stream(seed, "stem.filters");
    (0..blocks)
        .flat_map(|_| {
            let mut parts = law::modes(&mut rng, longest);
            for filter in 0..FILTERS {
                let of = |part: usize, mode: usize| parts[part][mode * FILTERS + filter];
                let modes: [_; MODES] = std::array::from_fn(|p| [0, 1, 2, 3].map(|part| of(part, p)));
                let scale = variance(&modes).sqrt().recip();
                for gain in &mut parts[2..] {
                    (0..MODES).for_each(|p| gain[p * FILTERS + filter] *= scale);
                }
            }
            parts.concat()
        })
        .collect()
}

/// Weights of the inputs of blocks, `[blocks, channels, COLUMNS]`, with Σ w² = 1 for each input.
pub(crate) fn unit_mixtures(seed: u64, blocks: usize, channels: usize) -> Vec<f64> {
    let mut rng = stream(seed, "stem.mixtures");
    (0..blocks)
        .flat_map(|_| {
            let mut weights: Vec<f64> =
                law::mixtures(&mut rng, channels).into_iter().map(f64::from).collect();
            for column in 0..COLUMNS {
                let size: f64 = weights.iter().skip(column).step_by(COLUMNS).map(|w| w * w).sum();
                weights.iter_mut().skip(column).step_by(COLUMNS).for_each(|w| *w /= size.sqrt());
            }
            weights
        })
        .collect()
}

type Complex = (f64, f64);

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// Re(a/(1 - b)).
fn over_one_minus(a: Complex, b: Complex) -> f64 {
    let (re, im) = (1.0 - b.0, -b.1);
    (a.0 * re + a.1 * im) / (re * re + im * im)
}

/// Variance of the response to white noise of a filter with these modes: Re λ, Im λ, Re c, Im c.
fn variance(modes: &[[f64; 4]; MODES]) -> f64 {
    let pairs = modes.iter().flat_map(|p| modes.iter().map(move |q| (p, q)));
    let of_pair = |([a, b, c, d], [e, f, g, h]): (&[f64; 4], &[f64; 4])| {
        let (lambda, gain) = ((*a, *b), (*c, *d));
        over_one_minus(times(gain, (*g, *h)), times(lambda, (*e, *f)))
            + over_one_minus(times(gain, (*g, -h)), times(lambda, (*e, -f)))
    };
    0.5 * pairs.map(of_pair).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_energy_of_a_response_to_a_single_one_is_1() {
        let (blocks, longest) = (2, 30);
        let filters = unit_filters(5, blocks, longest);
        assert_eq!(filters.len(), blocks * 4 * MODES * FILTERS);
        for block in filters.chunks_exact(4 * MODES * FILTERS) {
            for filter in 0..FILTERS {
                let of = |part: usize, p: usize| block[(part * MODES + p) * FILTERS + filter];
                let mut h: [Complex; MODES] = [(1.0, 0.0); MODES];
                let mut energy = 0.0;
                // After 60 of the longest time constants, 30·e, what is left is e^-120.
                for _ in 0..5000 {
                    let y: f64 = (0..MODES).map(|p| of(2, p) * h[p].0 - of(3, p) * h[p].1).sum();
                    energy += y * y;
                    (0..MODES).for_each(|p| h[p] = times(h[p], (of(0, p), of(1, p))));
                }
                assert!((energy - 1.0).abs() < 1e-9, "filter {filter}: {energy}");
            }
        }
    }

    #[test]
    fn mixtures_have_length_1_and_the_seed_decides() {
        let weights = unit_mixtures(1, 2, 5);
        assert_eq!(weights.len(), 2 * 5 * COLUMNS);
        for block in weights.chunks_exact(5 * COLUMNS) {
            for column in 0..COLUMNS {
                let size: f64 = block.iter().skip(column).step_by(COLUMNS).map(|w| w * w).sum();
                assert!((size - 1.0).abs() < 1e-12);
            }
        }
        assert_ne!(weights, unit_mixtures(2, 2, 5));
        assert_ne!(unit_filters(1, 1, 9), unit_filters(2, 1, 9));
    }
}
