//! The `head` section of a model's configuration: its settings, their checks, and the sizes computed from them.
//!
//! ```json
//! {"kind": "prototype", "n_classes": 256, "dim": null, "prototypes": "auto", "projection": "linear",
//!  "loss": {"kind": "softmax", "scale": 16.0, "learn_scale": true}}
//! {"kind": "linear", "n_outputs": 256, "loss": "softmax", "tied": false, "bias": false}
//! {"kind": "none"}
//! ```

use serde::{Deserialize, Serialize};

use super::prototypes::{ClassVectors, Construction, SEPARATION_LIMIT};
use crate::bounds::{Bounds, Edge};
use crate::error::{Error, Result};

const N_CLASSES: Bounds =
    Bounds::whole("model.head.n_classes", 2, i32::MAX as u32).advise("set it to the number of classes");
/// Without an upper end: what memory allows is checked when the memory is asked for.
const DIM: Bounds = Bounds { high: Edge::None, ..Bounds::whole("model.head.dim", 2, 2) }
    .advise("a direction on a line has no gradient: leave it out");
const N_OUTPUTS: Bounds = Bounds::whole("model.head.n_outputs", 1, i32::MAX as u32)
    .advise("set it to the number of classes, or of numbers to predict");
const SCALE: Bounds = Bounds::number("model.head.loss.scale", Edge::Beyond(0.0), Edge::None)
    .advise("leave it out for the default");
const MARGIN: Bounds =
    Bounds::number("model.head.loss.margin", Edge::At(0.0), Edge::At(std::f64::consts::FRAC_PI_2))
        .advise("it is an angle up to π/2: leave it out for the default");
const WEIGHT: Bounds = Bounds::number("model.head.loss.weight", Edge::At(0.0), Edge::At(1.0))
    .advise("leave it out for the default");

/// The numbers that these settings may have.
pub(crate) const BOUNDS: &[Bounds] = &[N_CLASSES, DIM, N_OUTPUTS, SCALE, MARGIN, WEIGHT];

/// Which head, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadConfig {
    /// Directions of prototypes on the hypersphere.
    Prototype(PrototypeConfig),
    /// One linear map.
    Linear(LinearConfig),
    /// The gradient of the hidden states comes from the caller.
    None {},
}

/// Settings of a prototype head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrototypeConfig {
    /// Number of classes; without meaning for the regression loss, which has none.
    #[serde(default)]
    pub n_classes: Option<usize>,
    /// Length Q of a prototype (with the regression coordinate of the joint loss); absent: chosen by
    /// [`PrototypeConfig::plan`].
    #[serde(default)]
    pub dim: Option<usize>,
    /// Placement of the prototypes.
    #[serde(default)]
    pub prototypes: Placement,
    /// The map from features to the space of the prototypes.
    #[serde(default)]
    pub projection: Projection,
    /// The loss that training minimises.
    #[serde(default)]
    pub loss: LossConfig,
}

/// Placement of prototypes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Chosen by the sizes, see [`Construction::choose`].
    #[default]
    Auto,
    /// A regular simplex; needs Q ≥ C-1.
    Simplex,
    /// Smallest largest cosine: exact for 2Q ≥ C, optimised below.
    Separated,
    /// Independent random directions.
    Random,
    /// As auto at the start, then trained; repulsive losses only.
    Learnable,
    /// In the order of the cosines of class vectors, see [`Construction::Semantic`].
    Semantic,
    /// The directions of class vectors.
    Given,
}

/// The map from features to the space of the prototypes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// z = W·f + b.
    #[default]
    Linear,
    /// z = f; needs Q = D.
    Identity,
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
        Self::Softmax { scale: default_scale(), learn_scale: default_learn_scale() }
    }
}

/// Settings of a linear head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearConfig {
    /// Classes or numbers.
    pub n_outputs: usize,
    /// The loss that training minimises.
    #[serde(default)]
    pub loss: LinearLoss,
    /// Whether the weight is the embedding.
    #[serde(default)]
    pub tied: bool,
    /// Whether a bias is added.
    #[serde(default)]
    pub bias: bool,
}

/// Loss of a linear head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearLoss {
    /// Cross entropy over classes.
    #[default]
    Softmax,
    /// Mean over the outputs of the squared error.
    Squared,
}

/// The target that a head needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A class below this number.
    Classes(usize),
    /// This many numbers.
    Values(usize),
    /// A class below this number, and one number.
    Joint(usize),
    /// A gradient.
    Cotangent,
}

/// Number, sizes and construction of the prototypes of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrototypePlan {
    /// Number of prototypes; 0 for pure regression.
    pub classes: usize,
    /// Length of z, with the coordinate of a regression pole.
    pub dim: usize,
    /// Length of a prototype: `dim`, or one less where coordinate 0 is the regression pole.
    pub class_dim: usize,
    /// Construction of the prototypes.
    pub kind: Construction,
}

impl HeadConfig {
    /// Refuses settings that contradict each other, with the dotted key to change.
    pub fn check(&self, d_model: usize) -> Result<()> {
        match self {
            Self::Prototype(config) => config.plan(d_model).map(|_| ()),
            Self::Linear(config) => config.check(),
            Self::None {} => Ok(()),
        }
    }

    /// The target that the head needs.
    pub fn expects(&self) -> Expected {
        match self {
            Self::Prototype(config) => match (config.loss, config.n_classes.unwrap_or(0)) {
                (LossConfig::Regression { .. }, _) => Expected::Values(1),
                (LossConfig::Joint { .. }, classes) => Expected::Joint(classes),
                (_, classes) => Expected::Classes(classes),
            },
            Self::Linear(LinearConfig { n_outputs, loss, .. }) => match loss {
                LinearLoss::Softmax => Expected::Classes(*n_outputs),
                LinearLoss::Squared => Expected::Values(*n_outputs),
            },
            Self::None {} => Expected::Cotangent,
        }
    }
}

/// Largest dimension taken for a simplex when none is asked for.
const SIMPLEX_DIM_MAX: usize = 4096;

impl Placement {
    /// The placement of this name. Errors: [`Error::Config`] for any other name.
    pub fn named(name: &str) -> Result<Self> {
        let known = "auto, simplex, separated, random, learnable, semantic or given";
        let quoted = serde_json::Value::from(name);
        let advice = "choose one of these";
        serde_json::from_value(quoted).map_err(|_| Error::config("kind", known, format!("{name:?}"), advice))
    }
}

impl PrototypeConfig {
    /// `classes` prototypes in `dim` dimensions, and defaults.
    pub fn of_size(classes: usize, dim: usize, prototypes: Placement) -> Self {
        let settings = serde_json::json!({"n_classes": classes, "dim": dim, "prototypes": prototypes});
        serde_json::from_value(settings).expect("every other setting has a default")
    }

    /// The prototypes of this configuration over features of `d_model`.
    ///
    /// Without `dim`, Q is C up to D classes: the C-1 coordinates of a simplex, and a free one. Without the free one a
    /// direction has no gradient for two classes (it is on a line), a class that starts behind two others cannot get past
    /// them for three (on a circle), and every direction is near some prototype, so that no score could say "none of
    /// these". Each further one is noise that the features have to lose before their cosines grow: slow where features
    /// are nearly equal. Beyond D classes Q is C-1, as long as that is at
    /// most 4·D and 4,096, else D. The pole of a regression has one free coordinate beside it.
    pub fn plan(&self, d_model: usize) -> Result<PrototypePlan> {
        self.check_loss()?;
        let pole = usize::from(matches!(self.loss, LossConfig::Joint { .. }));
        let classes = self.classes()?;
        let dim = match (self.dim, self.projection) {
            (Some(dim), Projection::Identity) if dim != d_model => {
                return Err(Error::config(
                    "model.head.dim",
                    format!("{d_model}, the width of the model, for an identity projection"),
                    dim,
                    "leave it out, or set model.head.projection to \"linear\"",
                ));
            }
            (Some(dim), _) => dim,
            (None, Projection::Identity) => d_model,
            (None, Projection::Linear) if classes == 0 => 2,
            (None, Projection::Linear) if classes <= d_model => pole + classes,
            (None, Projection::Linear) => {
                let simplex = classes - 1;
                let fits = simplex <= SIMPLEX_DIM_MAX.min(4 * d_model);
                pole + if fits { simplex.max(2) } else { d_model.max(2) }
            }
        };
        Bounds { low: Edge::At((2 + pole) as f64), ..DIM }.check_whole(dim)?;
        let class_dim = dim - pole;
        Ok(PrototypePlan { classes, dim, class_dim, kind: self.kind(classes, class_dim)? })
    }

    /// The configuration with the dimension of given prototypes, where it names none.
    pub(super) fn with_dim_of(self, vectors: Option<&ClassVectors>) -> Self {
        let pole = usize::from(matches!(self.loss, LossConfig::Joint { .. }));
        let is_open = self.prototypes == Placement::Given
            && self.dim.is_none()
            && self.projection == Projection::Linear;
        match vectors {
            Some(vectors) if is_open => Self { dim: Some(vectors.dim() + pole), ..self },
            _ => self,
        }
    }

    fn classes(&self) -> Result<usize> {
        let key = "model.head.n_classes";
        match (self.loss, self.n_classes) {
            (LossConfig::Regression { .. }, _) => Ok(0),
            (_, Some(n)) => N_CLASSES.check_whole(n).map(|()| n),
            (_, None) => Err(Error::config(key, "a number of classes", "nothing", N_CLASSES.advice)),
        }
    }

    fn kind(&self, classes: usize, dim: usize) -> Result<Construction> {
        let key = "model.head.prototypes";
        let repulsive = matches!(self.loss, LossConfig::Softmax { .. } | LossConfig::Margin { .. });
        match self.prototypes {
            Placement::Auto => Ok(Construction::choose(classes, dim)),
            found if classes == 0 => Err(Error::config(
                key,
                "\"auto\" for the regression loss, which has one pole and no prototypes",
                format!("{found:?}").to_lowercase(),
                "leave it out",
            )),
            Placement::Learnable if repulsive => Ok(Construction::choose(classes, dim)),
            Placement::Learnable => Err(Error::config(
                key,
                "fixed prototypes for a loss that only attracts",
                "learnable ones",
                "they would collapse to one point, with a small loss and useless predictions: keep them fixed, or \
                 set model.head.loss.kind to \"softmax\" or \"margin\"",
            )),
            Placement::Simplex if dim + 1 < classes => Err(Error::config(
                "model.head.dim",
                format!("at least {}, one less than the classes, for a simplex", classes - 1),
                dim,
                "raise it, or set model.head.prototypes to \"auto\"",
            )),
            Placement::Simplex => Ok(Construction::Simplex),
            Placement::Separated if 2 * dim >= classes => Ok(Construction::choose(classes, dim)),
            Placement::Separated if classes <= SEPARATION_LIMIT => Ok(Construction::Separated),
            Placement::Separated => Err(Error::config(
                key,
                format!("at most {SEPARATION_LIMIT} classes for optimised prototypes"),
                classes,
                "set it to \"auto\"",
            )),
            Placement::Random => Ok(Construction::Random),
            Placement::Semantic if classes <= SEPARATION_LIMIT => Ok(Construction::Semantic),
            Placement::Semantic => Err(Error::config(
                key,
                format!("at most {SEPARATION_LIMIT} classes for semantic prototypes"),
                classes,
                "set it to \"given\" for the class vectors themselves, or to \"auto\"",
            )),
            Placement::Given => Ok(Construction::Given),
        }
    }

    fn check_loss(&self) -> Result<()> {
        let check = |holds: bool, key: &str, expected: &str, found: String| {
            let advice = "change it, or leave model.head.loss out for the default";
            if holds {
                Ok(())
            } else {
                Err(Error::config(format!("model.head.loss.{key}"), expected, found, advice))
            }
        };
        let range = |low: f64, high: f64| {
            let holds = low < high && low.is_finite() && high.is_finite();
            check(holds, "low", "two numbers, low below high", format!("low {low}, high {high}"))
        };
        match self.loss {
            LossConfig::Softmax { scale, .. } => SCALE.check(scale),
            LossConfig::Cosine {} => Ok(()),
            LossConfig::Margin { scale, margin } => {
                SCALE.check(scale)?;
                MARGIN.check(margin)
            }
            LossConfig::Regression { low, high } => range(low, high),
            LossConfig::Joint { low, high, weight } => {
                range(low, high)?;
                WEIGHT.check(weight)
            }
        }
    }
}

impl LinearConfig {
    pub(super) fn check(&self) -> Result<()> {
        let least = if self.loss == LinearLoss::Softmax { 2.0 } else { 1.0 };
        Bounds { low: Edge::At(least), ..N_OUTPUTS }.check_whole(self.n_outputs)?;
        if self.tied && self.loss == LinearLoss::Squared {
            return Err(Error::config(
                "model.head.tied",
                "false for the squared loss",
                true,
                "only a softmax over the vocabulary can share the embedding",
            ));
        }
        Ok(())
    }
}
