//! Dropout: sets each number to zero with probability p and scales the others so that the expected value is unchanged.
//!
//! ```text
//! y_i = m_i·x_i / (1 - p)       m_i = 0 with probability p, else 1
//! dx_i = m_i·dy_i / (1 - p)
//! ```
//!
//! m follows from a key and from the index of the number alone: the backward pass draws it again, and so does a forward
//! pass that is repeated, on any number of threads. The numbers are those of the ChaCha8 stream cipher, one word for each.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::layout::Accumulate;
use crate::numeric::Scalar;
use crate::parallel::{Shared, for_each_task};

/// Numbers of a task: a whole number of the cipher's blocks.
const BLOCK: usize = 4096;

/// A share of zeros and the key of the draws.
///
/// ```
/// use ssm_hpn::kernels::Accumulate;
/// use ssm_hpn::pass::{Key, Mode};
///
/// let dropout = Mode::Training(Key::default()).dropout(0.5, 64).expect("training, and a rate above 0");
/// let mut x = [1.0_f32; 64];
/// dropout.run_in_place(&mut x);
/// assert!(x.iter().all(|x| *x == 0.0 || *x == 2.0));
///
/// // The gradient passes through the same factors.
/// let (dy, mut dx) = ([3.0_f32; 64], [0.0; 64]);
/// dropout.run(&dy, &mut dx, Accumulate::Overwrite);
/// assert!(dx.iter().zip(x).all(|(dx, x)| *dx == 3.0 * x));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Share of the numbers that become zero, from 0 to below 1.
    pub rate: f64,
    /// Key of the cipher.
    pub key: [u8; 32],
    /// Index of the first number among all that are drawn under the key.
    pub first: u64,
}

impl Dropout {
    /// y (or what is added to it) from x; the backward pass is the same with dy and dx.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn run<T: Scalar>(&self, x: &[T], y: &mut [T], accumulate: Accumulate) {
        assert_eq!(x.len(), y.len(), "numbers to drop from");
        for_each_part(y, |first, y| {
            for ((y, x), factor) in y.iter_mut().zip(&x[first..]).zip(self.factors::<T>(first)) {
                let kept = factor * *x;
                *y = if accumulate == Accumulate::Add { *y + kept } else { kept };
            }
        });
    }

    /// As [`Dropout::run`], in place.
    pub fn run_in_place<T: Scalar>(&self, x: &mut [T]) {
        for_each_part(x, |first, x| {
            x.iter_mut().zip(self.factors::<T>(first)).for_each(|(x, factor)| *x = factor * *x);
        });
    }

    /// The factors m/(1 - p) of the numbers from index `first` on.
    fn factors<T: Scalar>(&self, first: usize) -> impl Iterator<Item = T> + use<T> {
        // A word below the threshold drops: p·2³² of the 2³² words do.
        let threshold = (self.rate * 2_f64.powi(32)) as u64;
        let scale = T::from_f64(1.0 / (1.0 - self.rate));
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_word_pos(u128::from(self.first) + first as u128);
        std::iter::repeat_with(move || if u64::from(rng.next_u32()) < threshold { T::ZERO } else { scale })
    }
}

/// Calls `task(index of the first, numbers)` for parts of a slice.
fn for_each_part<T: Scalar>(x: &mut [T], task: impl Fn(usize, &mut [T]) + Sync + Send) {
    let len = x.len();
    let x = Shared::new(x);
    for_each_task(len.div_ceil(BLOCK), |index| {
        let first = index * BLOCK;
        // SAFETY: each task has a part of its own.
        task(first, unsafe { x.slice(first, BLOCK.min(len - first)) });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::same_bits_for_any_threads;

    fn dropout(rate: f64, first: u64) -> Dropout {
        Dropout { rate, key: [7; 32], first }
    }

    #[test]
    fn the_share_is_that_of_the_rate_and_the_mean_stays() {
        let n = 100_000;
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let mut x = vec![1.0_f64; n];
            dropout(rate, 0).run_in_place(&mut x);
            let zeros = x.iter().filter(|x| **x == 0.0).count() as f64;
            // Five standard deviations of a binomial distribution.
            let slack = 5.0 * (n as f64 * rate * (1.0 - rate)).sqrt();
            assert!((zeros - n as f64 * rate).abs() <= slack, "{zeros} of {n} for {rate}");
            assert!(x.iter().all(|x| *x == 0.0 || *x == 1.0 / (1.0 - rate)));
        }
    }

    #[test]
    fn a_part_draws_the_numbers_that_the_whole_draws() {
        let x: Vec<f32> = (0..10_000).map(|i| i as f32 + 1.0).collect();
        let mut whole = vec![0.0; x.len()];
        dropout(0.3, 0).run(&x, &mut whole, Accumulate::Overwrite);
        for (from, to) in [(0, 100), (37, 4500), (5000, 10_000)] {
            let mut part = vec![1.0; to - from];
            dropout(0.3, from as u64).run(&x[from..to], &mut part, Accumulate::Add);
            assert!(part.iter().zip(&whole[from..to]).all(|(part, whole)| *part == whole + 1.0));
            let mut in_place = x[from..to].to_vec();
            dropout(0.3, from as u64).run_in_place(&mut in_place);
            assert_eq!(in_place, whole[from..to]);
        }
        let other = Dropout { key: [8; 32], ..dropout(0.3, 0) };
        let mut y = vec![0.0; x.len()];
        other.run(&x, &mut y, Accumulate::Overwrite);
        assert_ne!(y, whole);
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let x = vec![1.0_f32; 30_000];
        same_bits_for_any_threads(|| {
            let mut y = vec![0.0; x.len()];
            dropout(0.5, 11).run(&x, &mut y, Accumulate::Overwrite);
            y
        });
    }
}
