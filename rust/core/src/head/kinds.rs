//! The kinds of head of this crate: what configurations and people call them.

#![forbid(unsafe_code)]

/// One kind of head.
///
/// ```
/// use ssm_hpn::head::kinds;
///
/// let names: Vec<_> = kinds::ALL.iter().map(|kind| kind.name).collect();
/// assert_eq!(names, ["prototype", "linear", "none"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadKind {
    /// Name in configurations.
    pub name: &'static str,
    /// What reports say of a model that has it.
    pub title: &'static str,
}

/// Unit prototypes, compared by cosine.
pub static PROTOTYPE: HeadKind = HeadKind { name: "prototype", title: "prototypes on the sphere" };
/// A linear map.
pub static LINEAR: HeadKind = HeadKind { name: "linear", title: "a linear head" };
/// No head: the gradient comes from the caller.
pub static NONE: HeadKind = HeadKind { name: "none", title: "no head" };

/// The kinds of this crate, in the order of the documentation.
pub static ALL: [&HeadKind; 3] = [&PROTOTYPE, &LINEAR, &NONE];
