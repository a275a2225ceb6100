//! The law that filters are drawn from; its formulas are in the module above.

#![forbid(unsafe_code)]

use std::f64::consts::PI;

use rand_chacha::ChaCha8Rng;

use crate::kernels::state_filters::{COLUMNS, FILTERS, MODES};
use crate::params::init::{normal, uniform};

/// Shortest scale of a filter, in steps.
const SHORTEST: f64 = 0.5;
/// Least time constant of a mode.
const LEAST_TAU: f64 = 0.3;
/// Periods in a time constant.
const PERIODS: (f64, f64) = (0.05, 2.0);
/// Most channels of an input.
const MIXED: usize = 8;
/// Share of modes without oscillation.
const REAL: f64 = 0.15;

/// Poles and gains of a block, each `[MODES, FILTERS]`: Re λ, Im λ, Re c, Im c.
pub(super) fn modes(rng: &mut ChaCha8Rng, steps: usize) -> [Vec<f64>; 4] {
    let mut parts = [(); 4].map(|()| vec![0.0; MODES * FILTERS]);
    for filter in 0..FILTERS {
        for (p, mode) in one(rng, steps).into_iter().enumerate() {
            for (part, x) in parts.iter_mut().zip(mode) {
                part[p * FILTERS + filter] = x;
            }
        }
    }
    parts
}

/// The modes of a filter: Re λ, Im λ, Re c, Im c.
fn one(rng: &mut ChaCha8Rng, steps: usize) -> [[f64; 4]; MODES] {
    let scale = between(rng, SHORTEST, steps.max(2) as f64);
    // λ, a, w, g
    let drawn: [_; MODES] = std::array::from_fn(|_| {
        let tau = (scale * (2.0 * uniform(rng) - 1.0).exp()).max(LEAST_TAU);
        let periods = between(rng, PERIODS.0, PERIODS.1);
        let omega = if uniform(rng) < REAL { 0.0 } else { (2.0 * PI * periods / tau).min(PI) };
        let radius = (-1.0 / tau).exp();
        let (re, im) = (radius * omega.cos(), radius * omega.sin());
        let g = (-(-2.0 / tau).exp_m1()).sqrt();
        // g/(1 - λ) = g·(1 - λ̄)/|1 - λ|²
        let size = (1.0 - re) * (1.0 - re) + im * im;
        let a = (g * (1.0 - re) / size, g * im / size);
        ([re, im], a, (normal(rng), normal(rng)), g)
    });
    let gain: f64 = drawn.iter().map(|(_, a, w, _)| w.0 * a.0 - w.1 * a.1).sum();
    let size: f64 = drawn.iter().map(|(_, a, ..)| a.0 * a.0 + a.1 * a.1).sum();
    let share = gain / size;
    drawn.map(|([re, im], a, w, g)| [re, im, (w.0 - a.0 * share) * g, (w.1 + a.1 * share) * g])
}

/// Weights `[channels, COLUMNS]` of the inputs of a block: normal on some channels drawn for each, the number of which is
/// log-uniform up to [`MIXED`]; 1 where there is one channel.
pub(super) fn mixtures(rng: &mut ChaCha8Rng, channels: usize) -> Vec<f32> {
    if channels == 1 {
        return vec![1.0; COLUMNS];
    }
    let mut weights = vec![0.0; channels * COLUMNS];
    let most = channels.min(MIXED);
    let mut order: Vec<usize> = (0..channels).collect();
    for column in 0..COLUMNS {
        let count = (between(rng, 1.0, most as f64 + 1.0) as usize).min(most);
        for k in 0..count {
            order.swap(k, k + below(rng, channels - k));
            weights[order[k] * COLUMNS + column] = (normal(rng) / (count as f64).sqrt()) as f32;
        }
    }
    weights
}

/// Log-uniform on [low, high).
fn between(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low * (uniform(rng) * (high / low).ln()).exp()
}

/// A whole number below `count`.
pub(super) fn below(rng: &mut ChaCha8Rng, count: usize) -> usize {
    ((uniform(rng) * count as f64) as usize).min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::init::stream;

    #[test]
    fn filters_are_stable_and_have_no_gain_at_frequency_zero() {
        let mut rng = stream(1, "law");
        for steps in [1, 2, 50, 10_000] {
            for _ in 0..200 {
                let modes = one(&mut rng, steps);
                let mut sum = 0.0;
                for [re, im, c_re, c_im] in modes {
                    assert!(re.hypot(im) < 1.0, "a pole inside of the unit circle");
                    // Re c/(1 - λ)
                    let size = (1.0 - re).powi(2) + im * im;
                    sum += (c_re * (1.0 - re) - c_im * im) / size;
                }
                let largest =
                    modes.iter().map(|m| m[2].hypot(m[3]) / (1.0 - m[0]).hypot(m[1])).fold(0.0, f64::max);
                assert!(sum.abs() <= 1e-9 * largest.max(1e-300), "{sum} of {largest}");
            }
        }
    }

    #[test]
    fn time_constants_cover_the_series() {
        let mut rng = stream(2, "law");
        let taus: Vec<f64> =
            (0..500).map(|_| one(&mut rng, 1000)[0]).map(|m| -1.0 / m[0].hypot(m[1]).ln()).collect();
        for (low, high) in [(0.3, 3.0), (3.0, 30.0), (30.0, 300.0), (300.0, 3000.0)] {
            let share = taus.iter().filter(|tau| (low..high).contains(*tau)).count();
            assert!(share > 50, "{share} of 500 from {low} to {high}");
        }
    }

    #[test]
    fn mixtures_take_some_channels() {
        let mut rng = stream(3, "law");
        assert_eq!(mixtures(&mut rng, 1), [1.0; COLUMNS]);
        let weights = mixtures(&mut rng, 40);
        let of = |column: usize| weights.iter().skip(column).step_by(COLUMNS).filter(|w| **w != 0.0).count();
        let counts: Vec<_> = (0..COLUMNS).map(of).collect();
        assert!(counts.iter().all(|count| (1..=MIXED).contains(count)), "{counts:?}");
        assert!(counts.iter().any(|count| *count < 3) && counts.iter().any(|count| *count > 4), "{counts:?}");
    }
}
