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

/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::profile::Phase;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// session.profile_start();
/// session.forward_backward(&batch, Accuracy::Skip)?;
/// session.apply()?;
/// let profile = session.profile_take();
/// assert_eq!(profile.get(Phase::Optimiser).calls, 1);
/// assert!(session.profile_take().total().is_zero()); // nothing is measured any more
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
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
    ///
    /// ```no_run
    /// # use ssm_hpn::Threads;
    /// # use ssm_hpn::model::ModelConfig;
    /// # use ssm_hpn::optim::OptimConfig;
    /// # use ssm_hpn::session::Session;
    /// # let config = ModelConfig::from_json("")?;
    /// # let session = Session::<f32>::new(config, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
    /// println!("{:.0} GFLOP/s", session.product_peak()? / 1e9);
    /// # Ok::<(), ssm_hpn::Error>(())
    /// ```
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
