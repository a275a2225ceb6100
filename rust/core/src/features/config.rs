//! What a bank of filters is made of.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::view::View;
use crate::bounds::Bounds;
use crate::error::{Error, Result};
use crate::kernels::state_filters::{Competition, FILTERS};

const NUMBER: Bounds =
    Bounds::whole("features.filters", 1, 1 << 16).advise("768 is the default, 256 is fast");

/// What a block of filters reads of a series.
///
/// ```
/// use ssm_hpn::features::{FeaturesConfig, Reading, View};
///
/// let causal = FeaturesConfig { causal: true, ..FeaturesConfig::default() };
/// let first = Reading { view: View::Series, backwards: false, absolute: true };
/// assert_eq!(causal.blocks().next(), Some(first));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The view.
    pub view: View,
    /// From the last step to the first.
    pub backwards: bool,
    /// Standardised by the training series together, so that levels and sizes differ among series; else by each series
    /// itself, so that its shape alone is left.
    pub absolute: bool,
}

/// Size, law and seed of a [`super::Bank`].
///
/// ```
/// use ssm_hpn::features::FeaturesConfig;
///
/// let config = FeaturesConfig::default();
/// // Fifteen blocks of 128 filters, 14 features each.
/// assert_eq!((config.blocks().count(), config.features()), (15, 26_880));
/// assert_eq!(config.block_features(), 1792);
/// assert_eq!(FeaturesConfig::from_json(r#"{"filters": 768}"#)?, config);
/// assert_eq!(FeaturesConfig::from_json(&config.to_json())?, config);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesConfig {
    /// Filters on the series, and as many on its difference; half on the size of the difference. Rounded up to blocks
    /// of 128.
    pub filters: usize,
    /// Which groups of filters compete.
    pub competition: Competition,
    /// Whether a response depends on earlier steps alone: all filters read forwards, and absolute numbers.
    pub causal: bool,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Default for FeaturesConfig {
    fn default() -> Self {
        Self { filters: 768, competition: Competition::Narrow, causal: false, seed: 0 }
    }
}

impl FeaturesConfig {
    /// From JSON; what is absent has its default.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text).map_err(|error| {
            Error::config(
                "features",
                "settings of features",
                error,
                "see FeaturesConfig in the documentation",
            )
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Refuses a size that no bank has.
    pub(crate) fn validate(&self) -> Result<()> {
        NUMBER.check_whole(self.filters)
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What each block reads.
    pub fn blocks(&self) -> impl Iterator<Item = Reading> + '_ {
        let of = |view, filters: usize| {
            let count = filters.div_ceil(FILTERS);
            (0..count).map(move |k| Reading {
                view,
                backwards: !self.causal && k % 2 == 1,
                absolute: self.causal || k >= count.div_ceil(2),
            })
        };
        of(View::Series, self.filters)
            .chain(of(View::Difference, self.filters))
            .chain(of(View::Magnitude, self.filters / 2))
    }

    /// Numbers that a series becomes.
    pub fn features(&self) -> usize {
        self.blocks().count() * self.block_features()
    }

    /// Numbers of one block.
    pub fn block_features(&self) -> usize {
        self.competition.features() * FILTERS
    }
}
