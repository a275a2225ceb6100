//! Sizes, parameters and state of a block of filters.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::numeric::Scalar;

/// Filters of a block.
pub const FILTERS: usize = ROWS * COLUMNS;
/// Inputs of a block, and groups that compete: lanes of the widest vector.
pub const COLUMNS: usize = 16;
/// Filters of a group.
pub const ROWS: usize = 8;
/// Filters of a wide group.
pub const WIDE: usize = ROWS * JOINED;
/// Modes of a filter.
pub const MODES: usize = 3;
/// Biases of a filter.
pub const BIASES: usize = 2;
/// Groups in a wide one.
pub(super) const JOINED: usize = 4;
/// Steps that are filtered before they are pooled.
pub(super) const TILE: usize = 32;
/// Features of a bias.
pub(super) const ABOVE: usize = 4;
/// Features of a filter in a group.
pub(super) const WON: usize = 6;

/// Which groups of filters compete.
///
/// ```
/// use ssm_hpn::features::{Competition, FeaturesConfig};
///
/// let config = FeaturesConfig { competition: Competition::Narrow, ..FeaturesConfig::default() };
/// assert_eq!(config.block_features(), 14 * 128); // 8 numbers of each filter above its biases, 6 in its group
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Competition {
    /// None.
    None,
    /// Groups of [`ROWS`].
    Narrow,
    /// Groups of [`ROWS`] and of [`WIDE`].
    Both,
}

impl Competition {
    /// Features of a filter.
    #[doc(hidden)]
    pub const fn features(self) -> usize {
        BIASES * ABOVE
            + match self {
                Self::None => 0,
                Self::Narrow => WON,
                Self::Both => 2 * WON,
            }
    }
}

/// The filters of a block: λ and c, each `[MODES, FILTERS]`.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'a, T> {
    /// Re λ.
    pub pole_re: &'a [T],
    /// Im λ.
    pub pole_im: &'a [T],
    /// Re c.
    pub gain_re: &'a [T],
    /// Im c.
    pub gain_im: &'a [T],
}

impl<T: Scalar> Filters<'_, T> {
    pub(super) fn check(&self) {
        let parts = [self.pole_re, self.pole_im, self.gain_re, self.gain_im];
        assert!(parts.iter().all(|part| part.len() == MODES * FILTERS), "λ and c are [{MODES}, {FILTERS}]");
    }
}

/// Re h and Im h, each `[MODES, FILTERS]`.
#[derive(Clone, Debug)]
pub(super) struct State<T> {
    pub(super) re: [T; MODES * FILTERS],
    pub(super) im: [T; MODES * FILTERS],
}

impl<T: Scalar> State<T> {
    pub(super) fn new() -> Self {
        Self { re: [T::ZERO; _], im: [T::ZERO; _] }
    }
}
