//! The `head` section of a model's configuration: its settings, their checks, and the sizes computed from them.
//!
//! ```json
//! {"kind": "prototype", "n_classes": 256, "dim": null, "prototypes": "auto", "projection": "linear",
//!  "loss": {"kind": "softmax", "scale": 16.0, "learn_scale": true}}
//! {"kind": "linear", "n_outputs": 256, "loss": "softmax", "tied": false, "bias": false}
//! {"kind": "none"}
//! ```

use serde::{Deserialize, Serialize};

use super::loss_config::{LossConfig, Toward};
use super::prototypes::{ASSIGNMENT_LIMIT, ClassVectors, Construction, SEPARATION_LIMIT};
use crate::bounds::{Bounds, Edge};
use crate::error::{Error, Result};

const N_CLASSES: Bounds =
    Bounds::whole("model.head.n_classes", 2, i32::MAX as u32).advise("set it to the number of classes");
/// Without an upper end: what memory allows is checked when the memory is asked for.
const DIM: Bounds = Bounds { high: Edge::None, ..Bounds::whole("model.head.dim", 2, 2) }
    .advise("a direction on a line has no gradient: leave it out");
const SPARE: Bounds = Bounds::whole("model.head.spare", 0, i32::MAX as u32).advise("leave it out for none");
/// The upper end is two less than the number of prototypes.
const PLACED: Bounds = Bounds { high: Edge::None, ..Bounds::whole("model.head.placed", 0, 0) }
    .advise("leave it out: adding classes sets it");
const SMOOTHING: Bounds =
    Bounds::number("model.head.smoothing", Edge::At(0.0), Edge::Beyond(1.0)).advise("try 0.1");
const N_OUTPUTS: Bounds = Bounds::whole("model.head.n_outputs", 1, i32::MAX as u32)
    .advise("set it to the number of classes, or of numbers to predict");
const ASSIGNMENT_AFTER: Bounds =
    Bounds::whole("model.head.assignment_after", 1, u32::MAX).advise("leave it out for the default");
/// The numbers that these settings may have.
pub(crate) const BOUNDS: &[Bounds] = &[N_CLASSES, DIM, SPARE, PLACED, N_OUTPUTS, SMOOTHING, ASSIGNMENT_AFTER];

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
    /// Which class gets which of them.
    #[serde(default)]
    pub assignment: Assignment,
    /// Updates after which they are assigned by similarity.
    #[serde(default = "default_assignment_after")]
    pub assignment_after: u64,
    /// The map from features to the space of the prototypes.
    #[serde(default)]
    pub projection: Projection,
    /// The loss that training minimises.
    #[serde(default)]
    pub loss: LossConfig,
    /// Prototypes beside those of the classes, for classes that come later; no score and no loss has them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub spare: usize,
    /// How many of the last prototypes were placed one by one beside the others (`prototypes::placed`).
    #[serde(default, skip_serializing_if = "is_none")]
    pub placed: usize,
}

/// Whether a number of prototypes is zero, and is not written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type that serde asks for")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

fn default_assignment_after() -> u64 {
    100
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

/// Which class gets which prototype.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// In the order of the classes.
    #[default]
    Given,
    /// Classes with similar features get similar prototypes, once, after some updates.
    Similar,
    /// Classes with similar class vectors get similar prototypes, from the start.
    Semantic,
}

impl Assignment {
    /// Its name in a configuration.
    fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Similar => "similar",
            Self::Semantic => "semantic",
        }
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
    /// Share ε of the target that all classes get alike; of the softmax loss.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub smoothing: f64,
}

/// Whether a share is zero, and is not written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type that serde asks for")]
fn is_zero(share: &f64) -> bool {
    *share == 0.0
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
    /// Number of classes; 0 for pure regression.
    pub classes: usize,
    /// Number of prototypes: those of the classes, then spare ones.
    pub prototypes: usize,
    /// How many of the last prototypes are placed one by one beside the others.
    pub placed: usize,
    /// Length of z, with the coordinate of a regression pole.
    pub dim: usize,
    /// Length of a prototype: `dim`, or one less where coordinate 0 is the regression pole.
    pub class_dim: usize,
    /// Construction of the prototypes that are not placed one by one.
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
    #[expect(clippy::expect_used, reason = "every other setting has a default")]
    pub fn of_size(classes: usize, dim: usize, prototypes: Placement) -> Self {
        let settings = serde_json::json!({"n_classes": classes, "dim": dim, "prototypes": prototypes});
        serde_json::from_value(settings).expect("every other setting has a default")
    }

    /// The prototypes of this configuration over features of `d_model`.
    ///
    /// Without `dim`, Q is C (spare prototypes among them) up to D classes: the C-1 coordinates of a simplex, and a free one. Without the free one a
    /// direction has no gradient for two classes (it is on a line), a class that starts behind two others cannot get past
    /// them for three (on a circle), and every direction is near some prototype, so that no score could say "none of
    /// these". Each further one is noise that the features have to lose before their cosines grow: slow where features
    /// are nearly equal. Beyond D classes Q is C-1, as long as that is at
    /// most 4·D and 4,096, else D. The pole of a regression has one free coordinate beside it.
    pub fn plan(&self, d_model: usize) -> Result<PrototypePlan> {
        self.loss.check()?;
        self.check_near()?;
        let pole = usize::from(matches!(self.loss, LossConfig::Joint { .. }));
        let classes = self.classes()?;
        let prototypes = self.prototypes(classes)?;
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
            (None, Projection::Linear) if prototypes == 0 => 2,
            (None, Projection::Linear) if prototypes <= d_model => pole + prototypes,
            (None, Projection::Linear) => {
                let simplex = prototypes - 1;
                let fits = simplex <= SIMPLEX_DIM_MAX.min(4 * d_model);
                pole + if fits { simplex.max(2) } else { d_model.max(2) }
            }
        };
        Bounds { low: Edge::At((2 + pole) as f64), ..DIM }.check_whole(dim)?;
        let class_dim = dim - pole;
        let placed = self.placed;
        let kind = self.kind(prototypes - placed, class_dim)?;
        if self.needs_vectors(kind) && self.spare > 0 {
            let expected = "0 for prototypes that are made from class vectors";
            let advice = "leave it out: classes that come later are placed beside them";
            return Err(Error::config("model.head.spare", expected, self.spare, advice));
        }
        self.check_assignment(classes, kind)?;
        Ok(PrototypePlan { classes, prototypes, placed, dim, class_dim, kind })
    }

    /// The configuration with `count` further classes: they take the spare prototypes first, and others are placed beside
    /// those that are there. The dimension stays, and with it every tensor but the prototypes.
    pub(crate) fn with_more_classes(&self, count: usize, d_model: usize) -> Result<Self> {
        let plan = self.plan(d_model)?;
        let grown = Self {
            n_classes: Some(plan.classes.saturating_add(count)),
            dim: Some(plan.dim),
            spare: self.spare.saturating_sub(count),
            placed: self.placed.saturating_add(count.saturating_sub(self.spare)),
            ..self.clone()
        };
        grown.plan(d_model).map(|_| grown)
    }

    /// Number of prototypes for this number of classes.
    fn prototypes(&self, classes: usize) -> Result<usize> {
        if classes == 0 {
            for (key, found) in [("model.head.spare", self.spare), ("model.head.placed", self.placed)] {
                if found > 0 {
                    let expected = "0 for the regression loss, which has one pole and no prototypes";
                    return Err(Error::config(key, expected, found, "leave it out"));
                }
            }
            return Ok(0);
        }
        SPARE.check_whole(self.spare)?;
        let prototypes = classes.saturating_add(self.spare);
        Bounds { high: Edge::At((prototypes - 2) as f64), ..PLACED }.check_whole(self.placed)?;
        Ok(prototypes)
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

    /// Whether the prototypes of this construction are made, or assigned, from class vectors.
    pub(super) fn needs_vectors(&self, kind: Construction) -> bool {
        kind.needs_vectors() || self.assignment == Assignment::Semantic
    }

    fn check_assignment(&self, classes: usize, kind: Construction) -> Result<()> {
        ASSIGNMENT_AFTER.check_whole(usize::try_from(self.assignment_after).unwrap_or(usize::MAX))?;
        if self.assignment == Assignment::Given {
            return Ok(());
        }
        let name = self.assignment.name();
        let refuse = |expected: String, advice: &str| {
            Err(Error::config("model.head.assignment", expected, format!("{name:?}"), advice))
        };
        if classes == 0 {
            let expected = "\"given\" for the regression loss, which has no classes".to_owned();
            refuse(expected, "leave it out")
        } else if self.prototypes == Placement::Learnable {
            let expected = "\"given\" for learnable prototypes, which move by themselves".to_owned();
            refuse(expected, "leave it out, or keep the prototypes fixed")
        } else if kind == Construction::Simplex {
            let expected =
                "\"given\" for a simplex, in which all pairs of prototypes are equally far apart".to_owned();
            refuse(expected, "leave it out, or set model.head.dim below the number of classes less one")
        } else if self.assignment == Assignment::Semantic && kind.needs_vectors() {
            let expected = "\"given\" for prototypes that are made from class vectors".to_owned();
            refuse(expected, "leave it out: each class has its own prototype already")
        } else if classes > ASSIGNMENT_LIMIT {
            let expected =
                format!("\"given\" for {classes} classes, as at most {ASSIGNMENT_LIMIT} are assigned");
            refuse(expected, "leave it out")
        } else {
            Ok(())
        }
    }

    fn check_near(&self) -> Result<()> {
        let is_near = self.loss.smoothing().is_some_and(|(_, toward)| toward == Toward::Near);
        if is_near && self.prototypes == Placement::Learnable {
            return Err(Error::config(
                "model.head.loss.smoothing_toward",
                "\"all\" for learnable prototypes, whose neighbours change",
                "\"near\"",
                "leave it out, or keep the prototypes fixed",
            ));
        }
        Ok(())
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
        SMOOTHING.check(self.smoothing)?;
        if self.smoothing > 0.0 && self.loss == LinearLoss::Squared {
            let expected = "0 for the squared loss, whose targets are no classes";
            return Err(Error::config("model.head.smoothing", expected, self.smoothing, "leave it out"));
        }
        Ok(())
    }
}
