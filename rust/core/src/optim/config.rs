//! Settings of the optimiser, as they stand in JSON and in `config.toml` under `optim`.
//!
//! | key | default | valid |
//! |---|---|---|
//! | `lr` | 3e-3 | > 0 |
//! | `beta1`, `beta2` | 0.9, 0.95 | 0 ≤ β < 1 |
//! | `eps` | 1e-8 | > 0 |
//! | `weight_decay` | 0.1 | ≥ 0, lr · weight_decay < 1 |
//! | `clip_norm` | 1 | > 0, or null for no clipping |
//! | `max_skipped` | 10 | ≥ 1 |
//! | `schedule` | constant | see [`Schedule`] |

use serde::{Deserialize, Serialize};

use super::require::require;
use super::schedule::{MIN_RATIO, Schedule};
use crate::bounds::{Bounds, Edge};
use crate::error::{Error, Result};

const LR: Bounds = Bounds::number("optim.lr", Edge::Beyond(0.0), Edge::None).advise("try 3e-3");
const BETA1: Bounds = Bounds::number("optim.beta1", Edge::At(0.0), Edge::Beyond(1.0)).advise("try 0.9");
const BETA2: Bounds = Bounds::number("optim.beta2", Edge::At(0.0), Edge::Beyond(1.0)).advise("try 0.95");
const EPS: Bounds = Bounds::number("optim.eps", Edge::Beyond(0.0), Edge::None).advise("try 1e-8");
const WEIGHT_DECAY: Bounds =
    Bounds::number("optim.weight_decay", Edge::At(0.0), Edge::None).advise("set it to 0 for no decay");
const CLIP_NORM: Bounds = Bounds::number("optim.clip_norm", Edge::Beyond(0.0), Edge::None)
    .advise("leave it out (null) for no clipping");
const MAX_SKIPPED: Bounds =
    Bounds::whole("optim.max_skipped", 1, u32::MAX).advise("1 stops at the first update that is not finite");

/// The numbers that these settings may have.
pub(crate) const BOUNDS: &[Bounds] =
    &[LR, BETA1, BETA2, EPS, WEIGHT_DECAY, CLIP_NORM, MAX_SKIPPED, MIN_RATIO];

/// Settings of AdamW, clipping, guard and schedule.
///
/// ```
/// use ssm_hpn::optim::OptimConfig;
///
/// let optim = OptimConfig::from_json(r#"{"lr": 0.01, "clip_norm": null}"#)?;
/// assert_eq!((optim.lr, optim.clip_norm, optim.weight_decay), (0.01, None, 0.1));
/// assert_eq!(OptimConfig::from_json(&optim.to_json())?, optim);
///
/// let refused = OptimConfig { beta1: 1.0, ..OptimConfig::default() }.validate().unwrap_err();
/// assert!(refused.to_string().starts_with("optim.beta1: expected a number from 0, below 1, found 1"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimConfig {
    /// Learning rate that the schedule's factor multiplies.
    pub lr: f64,
    /// Memory of the first moment, β1.
    pub beta1: f64,
    /// Memory of the second moment, β2.
    pub beta2: f64,
    /// Added to the root of the second moment, ε.
    pub eps: f64,
    /// Decoupled weight decay: a decaying tensor shrinks by 1 - lr · `weight_decay` at each update.
    pub weight_decay: f64,
    /// Global norm that the mean gradient is clipped to.
    pub clip_norm: Option<f64>,
    /// Consecutive updates that may be skipped before training stops: the one with this number is the error.
    pub max_skipped: u32,
    /// Course of the learning rate.
    pub schedule: Schedule,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 3e-3,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            clip_norm: Some(1.0),
            max_skipped: 10,
            schedule: Schedule::default(),
        }
    }
}

impl OptimConfig {
    /// Reads and validates JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text).map_err(|e| {
            Error::config(
                "optim",
                "settings of the optimiser as JSON",
                e,
                "correct that field or leave it out",
            )
        })?;
        config.validate()?;
        Ok(config)
    }

    /// The settings as JSON, every field filled.
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Refuses values that are out of range or contradict each other.
    pub fn validate(&self) -> Result<()> {
        LR.check(self.lr)?;
        BETA1.check(self.beta1)?;
        BETA2.check(self.beta2)?;
        EPS.check(self.eps)?;
        WEIGHT_DECAY.check(self.weight_decay)?;
        let decay = self.weight_decay;
        require(
            self.lr * decay < 1.0,
            "optim.weight_decay",
            "lr · weight_decay below 1",
            self.lr * decay,
            "one update would wipe the weights out; lower either",
        )?;
        self.clip_norm.map_or(Ok(()), |clip| CLIP_NORM.check(clip))?;
        MAX_SKIPPED.check_whole(self.max_skipped as usize)?;
        self.schedule.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ScheduleKind;
    use super::*;

    #[test]
    fn json_is_read_back_and_absent_settings_have_defaults() {
        let text = r#"{"lr":1e-3,"clip_norm":null,"schedule":{"kind":"wsd","warmup":10,"total":100,"decay":20,"min_ratio":0.05}}"#;
        let config = OptimConfig::from_json(text).unwrap();
        assert_eq!((config.lr, config.beta2, config.clip_norm), (1e-3, 0.95, None));
        assert_eq!(config.schedule.kind, ScheduleKind::Wsd);
        assert_eq!(OptimConfig::from_json(&config.to_json()).unwrap(), config);
        assert_eq!(OptimConfig::from_json("{}").unwrap(), OptimConfig::default());
    }

    #[test]
    fn each_value_out_of_range_is_refused_under_its_dotted_key() {
        let cases = [
            (r#"{"lr":0}"#, "optim.lr"),
            (r#"{"lr":-1e-3}"#, "optim.lr"),
            (r#"{"beta1":1}"#, "optim.beta1"),
            (r#"{"beta2":-0.1}"#, "optim.beta2"),
            (r#"{"eps":0}"#, "optim.eps"),
            (r#"{"weight_decay":-1}"#, "optim.weight_decay"),
            (r#"{"lr":0.5,"weight_decay":2}"#, "optim.weight_decay"),
            (r#"{"clip_norm":0}"#, "optim.clip_norm"),
            (r#"{"max_skipped":0}"#, "optim.max_skipped"),
            (r#"{"momentum":0.9}"#, "optim"),
            (r#"{"schedule":{"kind":"step"}}"#, "optim"),
            (r#"{"schedule":{"kind":"constant","gamma":1}}"#, "optim"),
            (r#"{"lr":1e999}"#, "optim"),
            ("[", "optim"),
        ];
        for (text, expected) in cases {
            match OptimConfig::from_json(text) {
                Err(Error::Config { key, .. }) => assert_eq!(key, expected, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        let nan = OptimConfig { lr: f64::NAN, ..OptimConfig::default() };
        assert!(nan.validate().is_err());
    }
}
