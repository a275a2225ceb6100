//! First values of parameters. Every tensor has its own stream of random numbers, named by its id: adding a layer or
//! a tensor never changes those of another.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::numeric::Scalar;

/// Numbers that are computed when a tensor is filled and not stored; two are equal if their names are.
///
/// ```
/// use ssm_hpn::params::{Init, Maker, ParamSpec};
///
/// let squares = Maker::new("squares of 4", || (0..4).map(|i| f64::from(i * i)).collect());
/// let spec = ParamSpec::new("squares", [4], Init::Made(squares.clone())).fixed();
/// // Numbers are equal if their names are.
/// assert_eq!(spec.init, Init::Made(squares));
/// ```
#[derive(Clone)]
pub struct Maker {
    name: String,
    make: Arc<dyn Fn() -> Vec<f64> + Send + Sync>,
}

impl Maker {
    /// `name` contains everything that the numbers depend on.
    pub fn new(name: impl Into<String>, make: impl Fn() -> Vec<f64> + Send + Sync + 'static) -> Self {
        Self { name: name.into(), make: Arc::new(make) }
    }
}

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Maker").field(&self.name).finish()
    }
}

impl PartialEq for Maker {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Distribution of a tensor's first values (docs/mathematics.md, 1).
///
/// ```
/// use ssm_hpn::params::{Init, ParamSpec};
///
/// // A weight of 64 inputs as most linear maps have it, and the gain of a norm.
/// let weight = ParamSpec::new("in_proj.weight", [128, 64], Init::Uniform { bound: 1.0 / 8.0 });
/// let gain = ParamSpec::new("norm.weight", [64], Init::Ones).no_decay();
/// assert_eq!((weight.init, gain.init), (Init::Uniform { bound: 0.125 }, Init::Ones));
/// # let mut numbers = [0.0_f32; 3];
/// # Init::LogArange.fill(&mut numbers, 3, 0, "A_log");
/// # assert_eq!(numbers, [0.0, 2.0_f32.ln(), 3.0_f32.ln()]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// 0.
    Zeros,
    /// 1.
    Ones,
    /// One value.
    Constant(f64),
    /// Uniform on [-bound, bound].
    Uniform {
        /// Half the width.
        bound: f64,
    },
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// ln(1..N) in every row of N.
    LogArange,
    /// softplus⁻¹(δ), δ = exp(U(ln low, ln high)), at least `floor`.
    DeltaBias {
        /// Smallest step.
        low: f64,
        /// Largest step.
        high: f64,
        /// Least value of a step.
        floor: f64,
    },
    /// Given numbers, as many as the tensor has.
    Values(Vec<f64>),
    /// Numbers made on demand, as many as the tensor has.
    Made(Maker),
    /// None: they come from a checkpoint, or are made from what the caller passes under this name.
    Supplied(&'static str),
}

/// Random numbers of one named purpose: seed and name give a stream that no other name shares.
pub fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    // FNV-1a over the name picks the stream; the seed is expanded by the generator itself.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(hash);
    rng
}

/// Uniform on [0, 1), 53 bits.
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

/// Standard normal (Box and Muller, one of the pair).
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(rng)).cos()
}

impl Init {
    /// Fills a tensor whose rows have `columns` elements. The same seed and name give the same numbers.
    #[doc(hidden)]
    #[expect(clippy::unreachable, reason = "made before the numbers are drawn")]
    #[expect(clippy::panic, reason = "a head that needs numbers of the caller is refused without them")]
    pub fn fill<T: Scalar>(&self, out: &mut [T], columns: usize, seed: u64, name: &str) {
        if let Self::Made(maker) = self {
            return Self::Values((maker.make)()).fill(out, columns, seed, name);
        }
        let mut rng = stream(seed, name);
        for (i, x) in out.iter_mut().enumerate() {
            *x = T::from_f64(match self {
                Self::Zeros => 0.0,
                Self::Ones => 1.0,
                Self::Constant(c) => *c,
                Self::Uniform { bound } => bound * (2.0 * uniform(&mut rng) - 1.0),
                Self::Normal { std } => std * normal(&mut rng),
                Self::LogArange => ((i % columns + 1) as f64).ln(),
                Self::DeltaBias { low, high, floor } => {
                    let delta = (low.ln() + uniform(&mut rng) * (high / low).ln()).exp().max(*floor);
                    delta + (-(-delta).exp_m1()).ln()
                }
                Self::Values(values) => values[i],
                Self::Made(_) => unreachable!("made above"),
                Self::Supplied(key) => panic!("{name} has no first values without {key}"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(init: &Init, n: usize, seed: u64, name: &str) -> Vec<f64> {
        let mut x = vec![0.0; n];
        init.fill(&mut x, 4, seed, name);
        x
    }

    #[test]
    fn a_tensor_depends_on_its_seed_and_name_only() {
        let init = Init::Uniform { bound: 0.5 };
        assert_eq!(filled(&init, 9, 1, "a"), filled(&init, 9, 1, "a"));
        assert_ne!(filled(&init, 9, 1, "a"), filled(&init, 9, 2, "a"));
        assert_ne!(filled(&init, 9, 1, "a"), filled(&init, 9, 1, "b"));
    }

    #[test]
    fn moments_and_ranges_are_those_of_the_distribution() {
        let n = 20_000;
        let x = filled(&Init::Normal { std: 0.02 }, n, 3, "n");
        let mean = x.iter().sum::<f64>() / n as f64;
        let std = (x.iter().map(|x| x * x).sum::<f64>() / n as f64).sqrt();
        // Five standard errors of the mean and of the standard deviation.
        assert!(mean.abs() < 5.0 * 0.02 / (n as f64).sqrt(), "{mean}");
        assert!((std / 0.02 - 1.0).abs() < 5.0 / (2.0 * n as f64).sqrt(), "{std}");
        let u = filled(&Init::Uniform { bound: 0.25 }, n, 3, "u");
        assert!(
            u.iter().all(|x| x.abs() <= 0.25) && u.iter().any(|x| *x > 0.24) && u.iter().any(|x| *x < -0.24)
        );
        let delta = Init::DeltaBias { low: 1e-3, high: 1e-1, floor: 1e-4 };
        for bias in filled(&delta, 1000, 3, "d") {
            let step = bias.exp().ln_1p();
            assert!((1e-3..=1e-1).contains(&step), "softplus({bias}) = {step}");
        }
        assert_eq!(filled(&Init::LogArange, 8, 0, "l")[4..], [0.0, 2_f64.ln(), 3_f64.ln(), 4_f64.ln()]);
    }
}
