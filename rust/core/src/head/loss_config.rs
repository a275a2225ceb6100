//! The `loss` of a prototype head: its settings and their checks (formulas in `losses`).
//!
//! ```json
//! {"kind": "softmax", "scale": 16.0, "learn_scale": true, "smoothing": 0.1, "smoothing_toward": "near"}
//! {"kind": "joint", "low": 0.0, "high": 9.5, "weight": 0.5, "surgery": {"kind": "cagrad", "distance": 0.5}}
//! ```

use serde::{Deserialize, Serialize};

use crate::bounds::{Bounds, Edge};
use crate::error::{Error, Result};

const SCALE: Bounds = Bounds::number("model.head.loss.scale", Edge::Beyond(0.0), Edge::None)
    .advise("leave it out for the default");
const MARGIN: Bounds =
    Bounds::number("model.head.loss.margin", Edge::At(0.0), Edge::At(std::f64::consts::FRAC_PI_2))
        .advise("it is an angle up to π/2: leave it out for the default");
const WEIGHT: Bounds = Bounds::number("model.head.loss.weight", Edge::At(0.0), Edge::At(1.0))
    .advise("leave it out for the default");
const DISTANCE: Bounds =
    Bounds::number("model.head.loss.surgery.distance", Edge::At(0.0), Edge::Beyond(1.0)).advise("try 0.5");
const ALPHA: Bounds =
    Bounds::number("model.head.loss.surgery.alpha", Edge::At(0.0), Edge::None).advise("try 1.5");
const RATE: Bounds =
    Bounds::number("model.head.loss.surgery.rate", Edge::At(0.0), Edge::Beyond(1.0)).advise("try 0.025");
const SMOOTHING: Bounds =
    Bounds::number("model.head.loss.smoothing", Edge::At(0.0), Edge::Beyond(1.0)).advise("try 0.1");

/// The numbers that these settings may have.
pub(crate) const BOUNDS: &[Bounds] = &[SCALE, MARGIN, WEIGHT, SMOOTHING, DISTANCE, ALPHA, RATE];

/// The classes that a smoothed target goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toward {
    /// All of them alike.
    #[default]
    All,
    /// The others, by the cosines of their prototypes to that of the class.
    Near,
}

/// Loss of a prototype head (formulas in `losses`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossConfig {
    /// Cross entropy of scaled cosines.
    Softmax {
        /// Factor s of the cosines, at the start if it is learned.
        #[serde(default = "default_scale")]
        scale: f64,
        /// Whether s is a parameter.
        #[serde(default = "default_learn_scale")]
        learn_scale: bool,
        /// Share ε of the target that other classes get.
        #[serde(default)]
        smoothing: f64,
        /// The classes that get it.
        #[serde(default)]
        smoothing_toward: Toward,
    },
    /// Squared cosine distance to the target's prototype.
    Cosine {},
    /// Scaled softmax with an angular margin on the target.
    Margin {
        /// Factor s of the cosines.
        #[serde(default = "default_scale")]
        scale: f64,
        /// Margin m in radians.
        #[serde(default = "default_margin")]
        margin: f64,
        /// Share ε of the target that other classes get.
        #[serde(default)]
        smoothing: f64,
        /// The classes that get it.
        #[serde(default)]
        smoothing_toward: Toward,
    },
    /// One number as the cosine to a pole.
    Regression {
        /// The number at the far pole.
        #[serde(default = "default_low")]
        low: f64,
        /// The number at the pole.
        #[serde(default = "default_high")]
        high: f64,
    },
    /// One number and one class together.
    Joint {
        /// The number at the far pole.
        #[serde(default = "default_low")]
        low: f64,
        /// The number at the pole.
        #[serde(default = "default_high")]
        high: f64,
        /// Weight w of the class, 1-w of the number.
        #[serde(default = "default_weight")]
        weight: f64,
        /// How the gradients of the two become one.
        #[serde(default)]
        surgery: Surgery,
    },
}

fn default_scale() -> f64 {
    16.0
}
fn default_learn_scale() -> bool {
    true
}
fn default_margin() -> f64 {
    0.3
}
fn default_distance() -> f64 {
    0.5
}
fn default_alpha() -> f64 {
    1.5
}
fn default_rate() -> f64 {
    0.025
}
fn default_low() -> f64 {
    -1.0
}
fn default_high() -> f64 {
    1.0
}
fn default_weight() -> f64 {
    0.5
}

impl Default for LossConfig {
    fn default() -> Self {
        Self::Softmax {
            scale: default_scale(),
            learn_scale: default_learn_scale(),
            smoothing: 0.0,
            smoothing_toward: Toward::All,
        }
    }
}

/// How the gradients of class and number become one (formulas in `losses::surgery`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Surgery {
    /// Their sum.
    None {},
    /// Each without its part against the other.
    Pcgrad {},
    /// The one near their mean under which the task that gains least gains most.
    Cagrad {
        /// Distance c from the mean, as a share of its length.
        #[serde(default = "default_distance")]
        distance: f64,
    },
    /// Weights of the tasks by which they learn at the same rate.
    Gradnorm {
        /// How strongly a task that has learned less is preferred, α.
        #[serde(default = "default_alpha")]
        alpha: f64,
        /// Step of the weights at an update, η.
        #[serde(default = "default_rate")]
        rate: f64,
    },
}

impl Default for Surgery {
    fn default() -> Self {
        Self::None {}
    }
}

impl Surgery {
    fn check(self) -> Result<()> {
        match self {
            Self::None {} | Self::Pcgrad {} => Ok(()),
            Self::Cagrad { distance } => DISTANCE.check(distance),
            Self::Gradnorm { alpha, rate } => {
                ALPHA.check(alpha)?;
                RATE.check(rate)
            }
        }
    }
}

impl LossConfig {
    /// Refuses numbers outside of what they may be.
    pub(super) fn check(&self) -> Result<()> {
        match *self {
            Self::Softmax { scale, smoothing, .. } => {
                SCALE.check(scale)?;
                SMOOTHING.check(smoothing)
            }
            Self::Cosine {} => Ok(()),
            Self::Margin { scale, margin, smoothing, .. } => {
                SCALE.check(scale)?;
                MARGIN.check(margin)?;
                SMOOTHING.check(smoothing)
            }
            Self::Regression { low, high } => check_range(low, high),
            Self::Joint { low, high, weight, surgery } => {
                check_range(low, high)?;
                WEIGHT.check(weight)?;
                surgery.check()
            }
        }
    }

    /// The share of a target that other classes get, and which; `None` where it is 0 or the loss has none.
    pub(super) fn smoothing(&self) -> Option<(f64, Toward)> {
        match *self {
            Self::Softmax { smoothing, smoothing_toward, .. }
            | Self::Margin { smoothing, smoothing_toward, .. } => {
                (smoothing > 0.0).then_some((smoothing, smoothing_toward))
            }
            _ => None,
        }
    }

    /// How the gradients of two tasks become one.
    pub(super) fn surgery(&self) -> Surgery {
        if let Self::Joint { surgery, .. } = *self { surgery } else { Surgery::None {} }
    }
}

fn check_range(low: f64, high: f64) -> Result<()> {
    if low < high && low.is_finite() && high.is_finite() {
        return Ok(());
    }
    Err(Error::config(
        "model.head.loss.low",
        "two numbers, low below high",
        format!("low {low}, high {high}"),
        "change it, or leave model.head.loss out for the default",
    ))
}
