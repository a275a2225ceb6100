//! The target of one batch: its arrays, and the check of every number in them.

use super::arrays::{self, Element, Per, TargetArray};
#[cfg(feature = "shards")]
use crate::allocate::try_filled;
use crate::error::{Error, Result};

/// The numbers of one array.
///
/// ```
/// use ssm_hpn::target::{Target, Values, arrays};
///
/// let target = Target::of([(&arrays::SEQUENCE_CLASS, Values::Classes(vec![0, 2, -1]))]);
/// assert_eq!(target, Target::sequence_class(vec![0, 2, -1]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Classes, -1 for none.
    Classes(Vec<i32>),
    /// Numbers, NaN for none, or a gradient.
    Numbers(Vec<f32>),
}

#[cfg(feature = "shards")]
impl Values {
    /// No numbers yet.
    pub(crate) fn empty(element: Element) -> Self {
        match element {
            Element::Class => Self::Classes(Vec::new()),
            Element::Number | Element::Gradient => Self::Numbers(Vec::new()),
        }
    }

    /// An array of these sizes for `what` in which nothing is known: -1 for classes, NaN for others.
    pub(crate) fn missing(element: Element, sizes: &[usize], what: &str) -> Result<Self> {
        Ok(match element {
            Element::Class => Self::Classes(try_filled(-1, sizes, what)?),
            Element::Number | Element::Gradient => Self::Numbers(try_filled(f32::NAN, sizes, what)?),
        })
    }
}

/// Targets of a batch: the arrays of one kind, or none, for prediction only.
///
/// ```
/// use ssm_hpn::target::Target;
/// use ssm_hpn::target::arrays::{Element, Per};
///
/// // A class and a number of each of three documents; the last has no class, and so no loss.
/// let target = Target::joint(vec![0, 2, -1], vec![0.5, f32::NAN, 1.5]);
/// assert_eq!(target.classes(), Some((Per::Document, &[0, 2, -1][..])));
/// let (per, numbers) = target.numbers(Element::Number).expect("numbers");
/// assert_eq!((per, numbers[2]), (Per::Document, 1.5));
/// assert_eq!(target.arrays().map(|(array, _)| array.name).collect::<Vec<_>>(), ["sequence_class", "sequence_values"]);
///
/// // Of one row of four tokens, three have a class.
/// assert_eq!(Target::token_class(vec![1, 0, 1, -1]).count(1), 3);
/// assert_eq!(Target::sequence_class(vec![4, -1]).count(2), 1);
/// assert_eq!(Target::sequence_values(vec![0.5, f32::NAN]).count(2), 1);
/// // The gradient of hidden states [1, 2, 3], for a model without a head.
/// let cotangent = Target::cotangent(vec![0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
/// assert_eq!(cotangent.numbers(Element::Gradient).expect("a gradient").1.len(), 6);
/// assert!(Target::none().is_none());
/// // Any arrays, those of a kind that a program declares too.
/// # use ssm_hpn::target::{Values, arrays};
/// let classes = Target::of([(&arrays::SEQUENCE_CLASS, Values::Classes(vec![4, -1]))]);
/// assert_eq!(classes, Target::sequence_class(vec![4, -1]));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    arrays: Vec<(&'static TargetArray, Values)>,
}

/// The numbers that a model accepts in its targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Widths {
    /// Classes; `None` where it predicts no class.
    pub n_classes: Option<usize>,
    /// Numbers per entry (K); `None` where it predicts none.
    pub n_values: Option<usize>,
    /// Width of the hidden states (D), for a model without a head; else `None`.
    pub d_model: Option<usize>,
}

impl Target {
    /// No target: prediction only.
    pub fn none() -> Self {
        Self::default()
    }

    /// These arrays.
    pub fn of(arrays: impl IntoIterator<Item = (&'static TargetArray, Values)>) -> Self {
        Self { arrays: arrays.into_iter().collect() }
    }

    /// Class per token `[rows · length]`, -1 for none; the next token is one of these.
    pub fn token_class(classes: Vec<i32>) -> Self {
        Self::of([(&arrays::TOKEN_CLASS, Values::Classes(classes))])
    }

    /// Class per document `[documents]`, -1 for none.
    pub fn sequence_class(classes: Vec<i32>) -> Self {
        Self::of([(&arrays::SEQUENCE_CLASS, Values::Classes(classes))])
    }

    /// Numbers per document `[documents, K]`, NaN for one that was not measured.
    pub fn sequence_values(values: Vec<f32>) -> Self {
        Self::of([(&arrays::SEQUENCE_VALUES, Values::Numbers(values))])
    }

    /// A class and a number per document `[documents]`.
    pub fn joint(classes: Vec<i32>, values: Vec<f32>) -> Self {
        Self::of([
            (&arrays::SEQUENCE_CLASS, Values::Classes(classes)),
            (&arrays::SEQUENCE_VALUES, Values::Numbers(values)),
        ])
    }

    /// Gradient of the loss with respect to the hidden states `[rows, length, D]`, for a model without a head.
    pub fn cotangent(gradient: Vec<f32>) -> Self {
        Self::of([(&arrays::COTANGENT, Values::Numbers(gradient))])
    }

    /// Whether there is no array.
    pub fn is_none(&self) -> bool {
        self.arrays.is_empty()
    }

    /// The arrays, in the order of their kind.
    pub fn arrays(&self) -> impl ExactSizeIterator<Item = (&'static TargetArray, &Values)> {
        self.arrays.iter().map(|(array, values)| (*array, values))
    }

    /// The arrays, to be written to.
    #[doc(hidden)]
    pub fn arrays_mut(&mut self) -> impl ExactSizeIterator<Item = (&'static TargetArray, &mut Values)> {
        self.arrays.iter_mut().map(|(array, values)| (*array, values))
    }

    /// The classes, with what they belong to.
    pub fn classes(&self) -> Option<(Per, &[i32])> {
        self.arrays().find_map(|(array, values)| match values {
            Values::Classes(classes) => Some((array.per, &classes[..])),
            Values::Numbers(_) => None,
        })
    }

    /// The numbers of an array with elements of this meaning, and what they belong to.
    pub fn numbers(&self, element: Element) -> Option<(Per, &[f32])> {
        self.arrays().find_map(|(array, values)| match values {
            Values::Numbers(numbers) if array.element == element => Some((array.per, &numbers[..])),
            _ => None,
        })
    }

    /// The classes, to be written to.
    #[doc(hidden)]
    pub fn classes_mut(&mut self) -> Option<&mut Vec<i32>> {
        self.arrays_mut().find_map(|(_, values)| match values {
            Values::Classes(classes) => Some(classes),
            Values::Numbers(_) => None,
        })
    }

    /// The numbers or the gradient, to be written to.
    #[doc(hidden)]
    pub fn numbers_mut(&mut self) -> Option<&mut Vec<f32>> {
        self.arrays_mut().find_map(|(_, values)| match values {
            Values::Numbers(numbers) => Some(numbers),
            Values::Classes(_) => None,
        })
    }

    /// Contents of the arrays in words, for messages.
    pub(crate) fn holds(&self) -> String {
        self.arrays().map(|(array, _)| array.about).collect::<Vec<_>>().join(" and ")
    }

    /// Whether a document has a class or a number of its own.
    pub(crate) fn has_document(&self, document: usize, documents: usize) -> bool {
        self.arrays().filter(|(array, _)| array.per == Per::Document).any(|(_, values)| match values {
            Values::Classes(classes) => classes[document] >= 0,
            Values::Numbers(x) => {
                let width = x.len() / documents;
                x[document * width..(document + 1) * width].iter().any(|v| !v.is_nan())
            }
        })
    }

    /// Entries that have something to be compared with: positions, documents, or 1 for a gradient.
    pub fn count(&self, documents: usize) -> usize {
        match self.arrays.first() {
            None => 0,
            Some((array, _)) if array.element == Element::Gradient => 1,
            Some((array, Values::Classes(classes))) if array.per == Per::Token => {
                classes.iter().filter(|class| **class >= 0).count()
            }
            Some((array, Values::Numbers(x))) if array.per == Per::Token => {
                x.iter().filter(|x| !x.is_nan()).count()
            }
            Some(_) => (0..documents).filter(|i| self.has_document(*i, documents)).count(),
        }
    }

    /// Refuses arrays of another length, classes that there are not, and numbers that are not finite and do not stand for
    /// none.
    pub(crate) fn check(&self, positions: usize, documents: usize, widths: &Widths) -> Result<()> {
        self.arrays().try_for_each(|(array, values)| {
            let count = if array.per == Per::Token { positions } else { documents };
            check_array(array, values, count, widths)
        })
    }
}

fn check_array(array: &TargetArray, values: &Values, count: usize, widths: &Widths) -> Result<()> {
    // Words are made only for a refusal: a batch that passes allocates nothing.
    let name = || array.name.replace('_', " ");
    let unwanted = || Error::shape("target", "one that the model's head takes", name());
    let same = |expected: usize, found: usize| {
        if expected == found {
            return Ok(());
        }
        Err(Error::shape(format!("{} count", name()), expected, found))
    };
    let refuse = |i: usize, expected: String, found: String| {
        Err(Error::shape(format!("{} {i}", name()), expected, found))
    };
    match (array.element, values) {
        (Element::Class, Values::Classes(classes)) => {
            let n_classes = widths.n_classes.ok_or_else(unwanted)?;
            same(count, classes.len())?;
            let bad = classes.iter().position(|&c| c < -1 || c >= 0 && c as usize >= n_classes);
            bad.map_or(Ok(()), |i| {
                refuse(i, format!("a class below {n_classes}, or -1 for none"), classes[i].to_string())
            })
        }
        (Element::Number, Values::Numbers(x)) => {
            same(count.saturating_mul(widths.n_values.ok_or_else(unwanted)?), x.len())?;
            let bad = x.iter().position(|v| v.is_infinite());
            bad.map_or(Ok(()), |i| refuse(i, "a finite number, or NaN for none".to_owned(), x[i].to_string()))
        }
        (Element::Gradient, Values::Numbers(x)) => {
            same(count.saturating_mul(widths.d_model.ok_or_else(unwanted)?), x.len())?;
            let bad = x.iter().position(|v| !v.is_finite());
            bad.map_or(Ok(()), |i| refuse(i, "a finite number".to_owned(), x[i].to_string()))
        }
        (Element::Class, Values::Numbers(_)) => Err(Error::shape(name(), "classes", "numbers")),
        (_, Values::Classes(_)) => Err(Error::shape(name(), "numbers", "classes")),
    }
}
