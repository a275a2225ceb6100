//! The course of the learning rate: a pure function of the number of updates applied so far.
//!
//! Update k = 0, 1, … of n (`total`) with w (`warmup`) updates of warm-up and the least ratio r (`min_ratio`):
//!
//! ```text
//! k < w           (k+1)/w                                          every kind
//! w ≤ k < n       cosine    r + (1-r)·(1 + cos π(k-w)/(n-w))/2
//!                 linear    r + (1-r)·(1 - (k-w)/(n-w))
//!                 wsd       1 up to n-d (d = `decay`), then r + (1-r)·(n-k)/d
//! k ≥ n           r                                                cosine, linear, wsd
//! k ≥ w           1                                                constant
//! ```
//!
//! Values at the borders, w = 10, n = 100, d = 20, r = 0.1:
//!
//! | k | 0 | 9 | 10 | 55 | 80 | 90 | 99 | 100 and on |
//! |---|---|---|---|---|---|---|---|---|
//! | cosine | 0.1 | 1 | 1 | 0.55 | 0.205 | 0.127 | 0.1003 | 0.1 |
//! | linear | 0.1 | 1 | 1 | 0.55 | 0.3 | 0.2 | 0.11 | 0.1 |
//! | wsd | 0.1 | 1 | 1 | 1 | 1 | 0.55 | 0.145 | 0.1 |
//! | constant | 0.1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 |

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::require::require;
use crate::bounds::{Bounds, Edge};
use crate::error::Result;

pub(super) const MIN_RATIO: Bounds = Bounds::number("optim.schedule.min_ratio", Edge::At(0.0), Edge::At(1.0))
    .advise("it is the share of lr that is left at the end");

/// Form of the decay after the warm-up.
///
/// ```
/// use ssm_hpn::optim::{OptimConfig, ScheduleKind};
///
/// let optim = OptimConfig::from_json(r#"{"schedule": {"kind": "wsd", "warmup": 10, "total": 100, "decay": 20}}"#)?;
/// assert_eq!(optim.schedule.kind, ScheduleKind::Wsd);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Half a cosine down to the least ratio.
    Cosine,
    /// A straight line down to the least ratio.
    Linear,
    /// No decay. `total` and `min_ratio` have no effect.
    #[default]
    Constant,
    /// Warm-up, stable, decay: constant, then a straight line over the last `decay` updates.
    Wsd,
}

/// Course of the learning rate, in updates applied.
///
/// ```
/// use ssm_hpn::optim::{Schedule, ScheduleKind};
///
/// let cosine = Schedule { kind: ScheduleKind::Cosine, warmup: 10, total: Some(100), ..Schedule::default() };
/// cosine.validate()?;
/// let refused = Schedule { total: None, ..cosine }.validate().unwrap_err();
/// assert!(refused.to_string().starts_with("optim.schedule.total: expected 1 or more for a rate that decays, found 0"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Form of the decay.
    pub kind: ScheduleKind,
    /// Updates over which the rate rises in equal steps to its full value.
    #[serde(default)]
    pub warmup: u64,
    /// Updates until the least ratio is reached. Needed by every kind but constant.
    #[serde(default)]
    pub total: Option<u64>,
    /// Least ratio of the rate, 0 to 1.
    #[serde(default = "default_min_ratio")]
    pub min_ratio: f64,
    /// Updates of the decay at the end: wsd, and only there.
    #[serde(default)]
    pub decay: Option<u64>,
}

fn default_min_ratio() -> f64 {
    0.1
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Constant,
            warmup: 0,
            total: None,
            min_ratio: default_min_ratio(),
            decay: None,
        }
    }
}

impl Schedule {
    /// Refuses lengths that contradict each other.
    pub fn validate(&self) -> Result<()> {
        let (total, decay) = (self.total.unwrap_or(0), self.decay.unwrap_or(0));
        MIN_RATIO.check(self.min_ratio)?;
        let wsd = self.kind == ScheduleKind::Wsd;
        require(
            self.decay.is_none() || wsd,
            "optim.schedule.decay",
            "nothing unless the kind is wsd",
            decay,
            "leave it out; the decay of the other kinds lasts from the end of the warm-up to total",
        )?;
        if self.kind == ScheduleKind::Constant {
            return Ok(());
        }
        let advice = "set it to the number of updates of the whole training";
        require(total >= 1, "optim.schedule.total", "1 or more for a rate that decays", total, advice)?;
        require(
            self.warmup <= total,
            "optim.schedule.warmup",
            &format!("at most total = {total}"),
            self.warmup,
            "lower it, or raise optim.schedule.total (where that is left out, train.steps)",
        )?;
        let room = total - self.warmup;
        require(
            !wsd || (1..=room).contains(&decay),
            "optim.schedule.decay",
            &format!("1 to total - warmup = {room}"),
            decay,
            "a tenth to a fifth of total is usual",
        )
    }
}

/// Factor of the learning rate for update number `update`, counted from 0. See the table in the header.
pub(crate) fn factor(schedule: &Schedule, update: u64) -> f64 {
    let Schedule { kind, warmup, total, min_ratio, decay } = *schedule;
    let total = total.unwrap_or(u64::MAX);
    if update < warmup {
        return (update + 1) as f64 / warmup as f64;
    }
    if kind == ScheduleKind::Constant {
        return 1.0;
    }
    if update >= total {
        return min_ratio;
    }
    let done = (update - warmup) as f64 / (total - warmup) as f64;
    let left = match kind {
        ScheduleKind::Constant => 1.0,
        ScheduleKind::Cosine => 0.5 * (1.0 + (PI * done).cos()),
        ScheduleKind::Linear => 1.0 - done,
        ScheduleKind::Wsd => ((total - update) as f64 / decay.unwrap_or(1) as f64).min(1.0),
    };
    min_ratio + (1.0 - min_ratio) * left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn schedule(kind: ScheduleKind) -> Schedule {
        let decay = (kind == ScheduleKind::Wsd).then_some(20);
        Schedule { kind, warmup: 10, total: Some(100), min_ratio: 0.1, decay }
    }

    #[test]
    fn the_table_in_the_header_is_correct() {
        let updates = [0, 9, 10, 55, 80, 90, 99, 100, 1_000_000];
        let table = [
            (ScheduleKind::Cosine, [0.1, 1.0, 1.0, 0.55, 0.205, 0.127, 0.1003, 0.1, 0.1]),
            (ScheduleKind::Linear, [0.1, 1.0, 1.0, 0.55, 0.3, 0.2, 0.11, 0.1, 0.1]),
            (ScheduleKind::Wsd, [0.1, 1.0, 1.0, 1.0, 1.0, 0.55, 0.145, 0.1, 0.1]),
            (ScheduleKind::Constant, [0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ];
        for (kind, values) in table {
            let schedule = schedule(kind);
            schedule.validate().unwrap();
            for (update, expected) in updates.into_iter().zip(values) {
                let found = factor(&schedule, update);
                // Half a unit of the last digit that the table prints.
                let bound = if kind == ScheduleKind::Cosine { 5e-4 } else { 1e-15 };
                assert!((found - expected).abs() < bound, "{kind:?} at {update}: {found}, table {expected}");
            }
        }
    }

    #[test]
    fn the_rates_of_the_reference_trajectory_are_computed() {
        let bytes = include_bytes!("../../tests/fixtures/mamba1_trajectory.safetensors");
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        let rates = file.tensor("lr").unwrap().data().to_vec();
        let schedule =
            Schedule { kind: ScheduleKind::Cosine, warmup: 3, total: Some(10), min_ratio: 0.1, decay: None };
        for (update, rate) in rates.as_chunks::<8>().0.iter().enumerate() {
            let (expected, found) = (f64::from_le_bytes(*rate), 3e-3 * factor(&schedule, update as u64));
            // A handful of roundings.
            assert!((found / expected - 1.0).abs() < 1e-14, "update {update}: {found}, expected {expected}");
        }
    }

    #[test]
    fn without_warm_up_the_first_update_has_the_full_rate_and_a_decay_never_rises() {
        for kind in [ScheduleKind::Cosine, ScheduleKind::Linear, ScheduleKind::Wsd] {
            let schedule = Schedule { warmup: 0, ..schedule(kind) };
            let factors: Vec<_> = (0..=100).map(|k| factor(&schedule, k)).collect();
            assert_eq!((factors[0], factors[100]), (1.0, 0.1));
            assert!(factors.windows(2).all(|f| f[1] <= f[0]), "{kind:?}: {factors:?}");
        }
    }

    #[test]
    fn contradictions_are_refused_under_their_key() {
        let cosine = schedule(ScheduleKind::Cosine);
        let wsd = schedule(ScheduleKind::Wsd);
        let cases = [
            (Schedule { warmup: 101, ..cosine.clone() }, "optim.schedule.warmup"),
            (Schedule { total: None, ..cosine.clone() }, "optim.schedule.total"),
            (Schedule { total: Some(0), warmup: 0, ..cosine.clone() }, "optim.schedule.total"),
            (Schedule { min_ratio: 1.5, ..cosine.clone() }, "optim.schedule.min_ratio"),
            (Schedule { min_ratio: f64::NAN, ..cosine.clone() }, "optim.schedule.min_ratio"),
            (Schedule { decay: Some(5), ..cosine }, "optim.schedule.decay"),
            (Schedule { decay: None, ..wsd.clone() }, "optim.schedule.decay"),
            (Schedule { decay: Some(91), ..wsd }, "optim.schedule.decay"),
        ];
        for (schedule, expected) in cases {
            match schedule.validate() {
                Err(Error::Config { key, .. }) => assert_eq!(key, expected),
                other => panic!("{schedule:?}: {other:?}"),
            }
        }
    }
}
