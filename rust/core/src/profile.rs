//! The time of each phase of a training step, without that of phases inside it.
//!
//! `recorded` opens a profile on the calling thread; `phase` and `product` under it add what they took, less what
//! phases inside them took, and everything outside of them is [`Phase::Other`]:
//!
//! ```text
//! time(phase) = Σ_calls (leave − enter − time of the phases inside)        Σ_phases time(phase) = time of `recorded`
//! ```
//!
//! Only the thread that opened the profile is timed. It waits for the tasks that it shares out, so its time is
//! that of the wall clock. Without an open profile a phase costs one look at a thread-local variable; nothing is
//! allocated either way.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A part of the work of a step.
///
/// ```
/// use ssm_hpn::profile::Phase;
///
/// assert_eq!(Phase::ALL.len(), 8);
/// assert_eq!(Phase::Optimiser.name(), "optimiser");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Input map or lookup, and its gradient.
    Embedding,
    /// Matrix products of the layers.
    Products,
    /// Convolutions with their activation.
    Conv,
    /// Selective scans with skip and gate.
    Scan,
    /// Norms of the layers and the final one.
    Norm,
    /// Pooling, head and loss, with their own products.
    Head,
    /// Guard, clipping and update.
    Optimiser,
    /// Everything else.
    Other,
}

impl Phase {
    /// All phases, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Embedding,
        Self::Products,
        Self::Conv,
        Self::Scan,
        Self::Norm,
        Self::Head,
        Self::Optimiser,
        Self::Other,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Products => "products",
            Self::Conv => "conv",
            Self::Scan => "scan",
            Self::Norm => "norm",
            Self::Head => "head",
            Self::Optimiser => "optimiser",
            Self::Other => "other",
        }
    }
}

/// Measurements of one phase.
///
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
/// let products = session.profile_take().get(Phase::Products);
/// // A product of an M x K and a K x N matrix is 2·M·N·K operations.
/// assert!(products.calls > 0 && products.flops >= 2 * products.calls);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Number of times it was entered.
    pub calls: u64,
    /// Time in it, without the phases inside it.
    pub time: Duration,
    /// Floating point operations of its products.
    pub flops: u64,
}

/// Measurements of all phases.
///
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
/// for (phase, measured) in profile.rows() {
///     println!("{:10} {:?}", phase.name(), measured.time);
/// }
/// let sum: std::time::Duration = profile.rows().map(|(_, measured)| measured.time).sum();
/// assert_eq!(sum, profile.total());
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    rows: [Measured; Phase::ALL.len()],
}

impl Profile {
    /// One phase.
    pub fn get(&self, phase: Phase) -> Measured {
        self.rows[phase as usize]
    }

    /// Every phase, in the order of the table.
    pub fn rows(&self) -> impl Iterator<Item = (Phase, Measured)> {
        Phase::ALL.into_iter().map(|phase| (phase, self.get(phase)))
    }

    /// Time of all phases.
    pub fn total(&self) -> Duration {
        self.rows.iter().map(|row| row.time).sum()
    }
}

/// A profile that is being written.
#[derive(Clone, Copy)]
struct Recorder {
    profile: Profile,
    /// Time of the finished phases inside the one that is open.
    inside: Duration,
}

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// Runs `work` and adds the times of its phases to the profile, if there is one.
pub(crate) fn recorded<R>(profile: Option<&mut Profile>, work: impl FnOnce() -> R) -> R {
    // A thread that waits for its tasks may run another pass meanwhile, which writes to its own profile.
    let recorder = profile.as_deref().map(|&profile| Recorder { profile, inside: Duration::ZERO });
    let outer = RECORDER.replace(recorder);
    let result = phase(Phase::Other, work);
    if let (Some(profile), Some(recorder)) = (profile, RECORDER.replace(outer)) {
        *profile = recorder.profile;
    }
    result
}

/// Runs `work` as a part of `phase`.
#[inline]
pub(crate) fn phase<R>(phase: Phase, work: impl FnOnce() -> R) -> R {
    measured(phase, 0, work)
}

/// Runs `work`, a product of an M x K and a K x N matrix: 2·M·N·K operations.
#[inline]
pub(crate) fn product<R>([m, n, k]: [usize; 3], work: impl FnOnce() -> R) -> R {
    measured(Phase::Products, 2 * (m * n * k) as u64, work)
}

#[inline]
fn measured<R>(phase: Phase, flops: u64, work: impl FnOnce() -> R) -> R {
    if RECORDER.with_borrow(Option::is_none) {
        return work();
    }
    let before = with_recorder(|recorder| std::mem::take(&mut recorder.inside));
    let entered = Instant::now();
    let result = work();
    let time = entered.elapsed();
    with_recorder(|recorder| {
        let row = &mut recorder.profile.rows[phase as usize];
        row.calls += 1;
        row.time += time.saturating_sub(recorder.inside);
        row.flops += flops;
        recorder.inside = before.unwrap_or_default() + time;
    });
    result
}

fn with_recorder<R>(use_it: impl FnOnce(&mut Recorder) -> R) -> Option<R> {
    RECORDER.with_borrow_mut(|recorder| recorder.as_mut().map(use_it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    const NAP: Duration = Duration::from_millis(4);

    #[test]
    fn the_time_of_a_phase_excludes_the_phases_inside_it() {
        let mut profile = Profile::default();
        let began = Instant::now();
        let answer = recorded(Some(&mut profile), || {
            phase(Phase::Head, || {
                sleep(NAP);
                product([2, 3, 5], || sleep(4 * NAP));
                product([7, 1, 1], || 42)
            })
        });
        let wall = began.elapsed();
        assert_eq!(answer, 42);
        let (head, products) = (profile.get(Phase::Head), profile.get(Phase::Products));
        assert_eq!((head.calls, products.calls, profile.get(Phase::Other).calls), (1, 2, 1));
        assert_eq!((head.flops, products.flops), (0, 60 + 14));
        assert!(products.time >= 4 * NAP && head.time >= NAP, "{profile:?}");
        assert!(head.time + products.time <= profile.total() && profile.total() <= wall, "{profile:?}");
    }

    #[test]
    fn phases_without_a_profile_are_not_measured_and_another_pass_has_its_own_profile() {
        assert_eq!(phase(Phase::Scan, || 1), 1);
        let (mut outer, mut inner) = (Profile::default(), Profile::default());
        recorded(Some(&mut outer), || {
            recorded(Some(&mut inner), || phase(Phase::Norm, || ()));
            recorded(None, || phase(Phase::Conv, || ()));
            phase(Phase::Scan, || ());
        });
        phase(Phase::Scan, || ());
        let calls = |profile: &Profile| profile.rows().map(|(_, row)| row.calls).collect::<Vec<_>>();
        assert_eq!(calls(&outer), [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(calls(&inner), [0, 0, 0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn a_profile_accumulates_over_passes() {
        let mut profile = Profile::default();
        for _ in 0..3 {
            recorded(Some(&mut profile), || product([1, 1, 1], || ()));
        }
        assert_eq!((profile.get(Phase::Products).calls, profile.get(Phase::Products).flops), (3, 6));
        assert!(Phase::ALL.iter().enumerate().all(|(i, phase)| *phase as usize == i));
    }
}
