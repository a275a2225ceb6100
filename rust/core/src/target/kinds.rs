//! The kinds of target, each as a choice of arrays.

use super::arrays::{self, Element, Per, TargetArray};

/// Scores that a head must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A score for each class.
    Classes,
    /// Numbers.
    Numbers,
    /// A score for each class, and numbers.
    ClassesAndNumbers,
    /// None: the gradient comes from the caller.
    Nothing,
}

impl Answer {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classes => "classes",
            Self::Numbers => "numbers",
            Self::ClassesAndNumbers => "classes and numbers",
            Self::Nothing => "nothing",
        }
    }
}

/// One kind of target.
///
/// ```
/// use ssm_hpn::target::arrays::Per;
/// use ssm_hpn::target::kinds;
///
/// let kind = &kinds::SEQUENCE_VALUES;
/// assert_eq!((kind.per(), kind.is_pooled()), (Per::Document, true));
/// assert_eq!(kind.columns().collect::<Vec<_>>(), ["values"]);
/// // The classes of the next token are made from the tokens.
/// assert_eq!(kinds::NEXT_TOKEN.columns().count(), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetKind {
    /// Name in configurations.
    pub name: &'static str,
    /// What is predicted, in words.
    pub about: &'static str,
    /// The arrays that a batch has to carry, all of one [`Per`].
    pub arrays: &'static [&'static TargetArray],
    /// Whether the array is the token that follows, made from the tokens: then no column is read, and the input is tokens.
    pub from_tokens: bool,
    /// Names of the metrics, in the order of reports.
    pub metrics: &'static [&'static str],
    /// The head that is taken where none is chosen, as the JSON of its settings without sizes.
    pub default_head: &'static str,
}

/// The token that follows.
pub static NEXT_TOKEN: TargetKind = TargetKind {
    name: "next_token",
    about: "the next token, at every position",
    arrays: &[&arrays::TOKEN_CLASS],
    from_tokens: true,
    metrics: &["loss", "accuracy", "bits_per_token"],
    default_head: PROTOTYPES,
};
/// A class per token.
pub static TOKEN_CLASS: TargetKind = TargetKind {
    name: "token_class",
    about: "one class per token",
    arrays: &[&arrays::TOKEN_CLASS],
    from_tokens: false,
    metrics: CLASS_METRICS,
    default_head: PROTOTYPES,
};
/// A class per document.
pub static SEQUENCE_CLASS: TargetKind = TargetKind {
    name: "sequence_class",
    about: "one class per sequence",
    arrays: &[&arrays::SEQUENCE_CLASS],
    from_tokens: false,
    metrics: CLASS_METRICS,
    default_head: PROTOTYPES,
};
/// Numbers per document.
pub static SEQUENCE_VALUES: TargetKind = TargetKind {
    name: "sequence_values",
    about: "numbers per sequence",
    arrays: &[&arrays::SEQUENCE_VALUES],
    from_tokens: false,
    metrics: &["loss", "mse", "rmse", "mae", "r2"],
    default_head: r#"{"kind": "linear", "loss": "squared", "bias": true}"#,
};
/// A class and a number per document.
pub static JOINT: TargetKind = TargetKind {
    name: "joint",
    about: "one class and one number per sequence",
    arrays: &[&arrays::SEQUENCE_CLASS, &arrays::SEQUENCE_VALUES],
    from_tokens: false,
    metrics: &["loss", "accuracy", "error", "f1", "mse", "rmse", "mae", "r2"],
    default_head: r#"{"kind": "prototype", "loss": {"kind": "joint"}}"#,
};
/// The gradient of the hidden states, from the caller.
pub static COTANGENT: TargetKind = TargetKind {
    name: "cotangent",
    about: "the caller brings the gradient of the hidden states",
    arrays: &[&arrays::COTANGENT],
    from_tokens: false,
    metrics: &["loss"],
    default_head: r#"{"kind": "none"}"#,
};

const CLASS_METRICS: &[&str] = &["loss", "accuracy", "error", "f1"];
const PROTOTYPES: &str = r#"{"kind": "prototype"}"#;

/// The kinds of this crate, in the order of the documentation.
pub static ALL: [&TargetKind; 6] =
    [&NEXT_TOKEN, &TOKEN_CLASS, &SEQUENCE_CLASS, &SEQUENCE_VALUES, &JOINT, &COTANGENT];

/// The kind of this name.
///
/// ```
/// use ssm_hpn::target::kinds;
///
/// assert_eq!(kinds::find("token_class"), Some(&kinds::TOKEN_CLASS));
/// assert_eq!(kinds::find("classes"), None);
/// ```
pub fn find(name: &str) -> Option<&'static TargetKind> {
    ALL.into_iter().find(|kind| kind.name == name)
}

impl TargetKind {
    /// Whether an entry of the arrays belongs to a token or to a document.
    pub fn per(&self) -> Per {
        self.arrays[0].per
    }

    /// Whether documents are pooled into one feature each, so that they cannot be cut.
    pub fn is_pooled(&self) -> bool {
        self.per() == Per::Document
    }

    /// Whether one of the arrays has elements of this meaning.
    pub(crate) fn has(&self, element: Element) -> bool {
        self.arrays.iter().any(|array| array.element == element)
    }

    /// Scores that a head must have.
    pub(crate) fn answer(&self) -> Answer {
        match (self.has(Element::Class), self.has(Element::Number)) {
            (true, false) => Answer::Classes,
            (false, true) => Answer::Numbers,
            (true, true) => Answer::ClassesAndNumbers,
            (false, false) => Answer::Nothing,
        }
    }

    /// The columns of the shards that it is read from; none where it is made from the tokens.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.arrays.iter().filter(|_| !self.from_tokens).filter_map(|array| array.column)
    }

    /// Contents of its arrays in words, for messages.
    pub(crate) fn holds(&self) -> String {
        self.arrays.iter().map(|array| array.about).collect::<Vec<_>>().join(" and ")
    }
}

/// A kind of this crate by its name, `none` for no target: how configurations write it.
#[cfg(feature = "shards")]
pub(crate) mod by_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{TargetKind, find};

    /// The name of the kind.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(crate) fn serialize<S: Serializer>(
        kind: &Option<&'static TargetKind>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.map_or("none", |kind| kind.name))
    }

    /// The kind of a name.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<&'static TargetKind>, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == "none" {
            return Ok(None);
        }
        find(&name).map(Some).ok_or_else(|| D::Error::custom(format!("no such kind of target: {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arrays_of_a_kind_are_all_per_token_or_all_per_document() {
        for kind in ALL {
            assert!(kind.arrays.iter().all(|array| array.per == kind.per()), "{}", kind.name);
            for (i, array) in kind.arrays.iter().enumerate() {
                let others = &kind.arrays[i + 1..];
                assert!(others.iter().all(|other| other.element != array.element), "{}", kind.name);
                assert_eq!(arrays::find(array.name), Some(*array));
            }
            assert_eq!(find(kind.name), Some(kind));
            assert!(serde_json::from_str::<serde_json::Value>(kind.default_head).unwrap().is_object());
        }
    }

    #[test]
    fn every_column_has_one_array_of_classes_or_numbers() {
        let columns: Vec<_> = arrays::columns().collect();
        for (i, (name, array)) in columns.iter().enumerate() {
            assert!(!columns[..i].iter().any(|(other, _)| other == name), "{name}");
            assert_ne!(array.element, Element::Gradient, "{name}");
        }
    }

    #[test]
    fn columns_are_read_only_where_the_target_is_not_made_from_the_tokens() {
        let columns = |kind: &TargetKind| kind.columns().collect::<Vec<_>>().join(" ");
        assert_eq!(columns(&NEXT_TOKEN), "");
        assert_eq!(columns(&TOKEN_CLASS), "labels");
        assert_eq!(columns(&JOINT), "label values");
        assert_eq!(columns(&COTANGENT), "");
    }
}
