//! The arrays that a batch can carry as its target, or as a part of it.

/// Whether an entry belongs to a token or to a document.
///
/// ```
/// use ssm_hpn::target::arrays::{self, Per};
///
/// assert_eq!(arrays::TOKEN_CLASS.per, Per::Token);
/// assert_eq!(arrays::SEQUENCE_VALUES.per, Per::Document);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A position of a row.
    Token,
    /// A document.
    Document,
}

/// Meaning of the array's numbers.
///
/// ```
/// use ssm_hpn::target::arrays::{self, Element};
///
/// assert_eq!(arrays::SEQUENCE_CLASS.element, Element::Class);
/// assert_eq!(arrays::SEQUENCE_VALUES.element, Element::Number);
/// assert_eq!(arrays::COTANGENT.element, Element::Gradient);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Index of a class; -1 for none.
    Class,
    /// One of K numbers to predict; NaN for none.
    Number,
    /// Gradient of the loss with respect to one of the D channels of a hidden state; there is none missing.
    Gradient,
}

/// One array.
///
/// ```
/// use ssm_hpn::target::arrays::{Element, Per, TargetArray};
///
/// /// Numbers per token, for a head of one's own.
/// static TOKEN_VALUES: TargetArray = TargetArray {
///     name: "token_values",
///     about: "numbers per token",
///     per: Per::Token,
///     element: Element::Number,
///     column: None,
/// };
/// # use ssm_hpn::target::{Target, Values};
/// let target = Target::of([(&TOKEN_VALUES, Values::Numbers(vec![0.5, f32::NAN, 1.5]))]);
/// assert_eq!(target.count(1), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetArray {
    /// Name in a batch.
    pub name: &'static str,
    /// Contents in words.
    pub about: &'static str,
    /// Whether an entry belongs to a token or to a document.
    pub per: Per,
    /// Meaning of its numbers.
    pub element: Element,
    /// Column of the shards that it is read from; `None` for an array that only a caller can give.
    pub column: Option<&'static str>,
}

/// A class per token, `[rows, length]`.
pub static TOKEN_CLASS: TargetArray = TargetArray {
    name: "token_class",
    about: "a class per token",
    per: Per::Token,
    element: Element::Class,
    column: Some("labels"),
};
/// A class per document, `[documents]`.
pub static SEQUENCE_CLASS: TargetArray = TargetArray {
    name: "sequence_class",
    about: "a class per document",
    per: Per::Document,
    element: Element::Class,
    column: Some("label"),
};
/// Numbers per document, `[documents, K]`.
pub static SEQUENCE_VALUES: TargetArray = TargetArray {
    name: "sequence_values",
    about: "numbers per document",
    per: Per::Document,
    element: Element::Number,
    column: Some("values"),
};
/// The gradient of a loss with respect to the hidden states, `[rows, length, D]`.
pub static COTANGENT: TargetArray = TargetArray {
    name: "cotangent",
    about: "a cotangent",
    per: Per::Token,
    element: Element::Gradient,
    column: None,
};

/// The arrays of this crate. Those with a column are the columns of targets that shards can have, in this order: readers,
/// writers, the check of manifests and the bindings to Python go through this list.
pub static ALL: [&TargetArray; 4] = [&TOKEN_CLASS, &SEQUENCE_CLASS, &SEQUENCE_VALUES, &COTANGENT];

/// The columns of targets that shards can have, each with the array that it fills.
///
/// ```
/// use ssm_hpn::target::arrays;
///
/// let names: Vec<_> = arrays::columns().map(|(name, _)| name).collect();
/// assert!(names.starts_with(&["labels", "label", "values"]));
/// ```
pub fn columns() -> impl Iterator<Item = (&'static str, &'static TargetArray)> {
    ALL.into_iter().filter_map(|array| array.column.map(|name| (name, array)))
}

/// The array of this name.
///
/// ```
/// use ssm_hpn::target::arrays;
///
/// assert_eq!(arrays::find("sequence_class").expect("an array").column, Some("label"));
/// assert!(arrays::find("label").is_none()); // that is the name of the column
/// ```
pub fn find(name: &str) -> Option<&'static TargetArray> {
    ALL.into_iter().find(|array| array.name == name)
}
