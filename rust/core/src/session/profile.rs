//! The profile of a session's steps, and the rate of the crate's own product on its threads.

use std::time::{Duration, Instant};

use super::training::Session;
use crate::error::Result;
use crate::kernels::Accumulate;
use crate::kernels::matmul::{MatMut, MatRef, linear};
use crate::numeric::Scalar;
use crate::profile::Profile;

/// Side of the product that [`Session::product_peak`] measures.
pub const PEAK_SIDE: usize = 768;
/// The product is repeated for at least this time, and this often.
const PEAK_TIME: Duration = Duration::from_millis(300);
const PEAK_REPEATS: usize = 5;

impl<T: Scalar> Session<T> {
    /// Starts timing gradients and updates by phase, which changes no bit of them. Earlier measurements are
    /// discarded.
    pub fn profile_start(&mut self) {
        self.profile = Some(Profile::default());
    }

    /// Ends the profile and returns the measurements since [`Session::profile_start`]; empty if that was not called.
    pub fn profile_take(&mut self) -> Profile {
        self.profile.take().unwrap_or_default()
    }

    /// Floating point operations per second of this crate's own product y = x·wᵀ of square matrices of [`PEAK_SIDE`] on
    /// the session's threads, the best of some.
    pub fn product_peak(&self) -> Result<f64> {
        let n = PEAK_SIDE;
        let ones = vec![T::ONE; n * n];
        let mut y = vec![T::ZERO; n * n];
        let mut best = Duration::MAX;
        self.threads.install(|| {
            let began = Instant::now();
            let mut repeats = 0;
            while repeats < PEAK_REPEATS || began.elapsed() < PEAK_TIME {
                let (x, w) = (MatRef::new(&ones, n, n), MatRef::new(&ones, n, n));
                let entered = Instant::now();
                linear(x, w, MatMut::new(&mut y, n, n), Accumulate::Overwrite);
                best = best.min(entered.elapsed());
                repeats += 1;
            }
        })?;
        Ok(2.0 * (n * n * n) as f64 / best.as_secs_f64().max(f64::MIN_POSITIVE))
    }
}
