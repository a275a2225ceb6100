//! Features of sequences from state spaces: random fixed filters, pooled over time.
//!
//! A [`Bank`] draws diagonal state space filters by a law, scales them and chooses biases on training series, and
//! turns any series, of any length, into numbers of one count: what each filter's response does above its biases, and when
//! it wins in groups of filters ([`crate::kernels::state_filters`] has the formulas). Nothing in it is trained; a linear
//! classifier on top is. It is ROCKET (Dempster et al., 2020) with recurrences for kernels and with the competition of
//! Hydra (Dempster et al., 2023).
//!
//! ```text
//! views of a series      x̃ = (x - mean)/std per channel,  the same of Δx̃,  the same of |Δx̃|  (half as many filters)
//! mean and std           half of the blocks: of the series itself; the others: of all training series
//! inputs of a block      16 mixtures, each of up to 8 channels (of 1 channel: itself)
//! direction              every second block reads its view backwards
//! ```
//!
//! The law of a filter, h_t = λ_p·h_t-1 + u_t for its modes p and y = Re Σ_p c_p·h, for series of T steps:
//!
//! ```text
//! scale       s log-uniform in [½, T];  τ_p = max(0.3, s·e^U[-1,1])
//! frequency   ω_p = min(π, 2π·q_p/τ_p),  q_p log-uniform in [0.05, 2], 0 with probability 0.15
//! pole        λ_p = exp(-1/τ_p + iω_p)
//! gain        w_p complex normal,  g_p = √(1 - |λ_p|²),  a_p = g_p/(1 - λ_p)
//!             w ← w - ā·Σ Re(w·a)/Σ|a|²          the nearest w without gain at frequency zero
//!             c_p = w_p·g_p, divided by the root mean square of y on eight training series
//! biases      quantiles of y on a training series: one in [.02, .5], one in [.5, .98]
//! ```
//!
//! A bank whose filters all read forwards, and absolute numbers ([`FeaturesConfig::causal`]), gives the features of every
//! prefix of a series while its steps come ([`FeatureStream`]), and a [`Readout`] their scores.
//!
//! A step whose channels are all missing (NaN) is left out: states hold, nothing is pooled. A channel that alone is missing
//! holds its last value, or its mean before the first. A channel without variation is zero.

mod bank;
mod config;
mod evidence;
mod law;
mod readout;
mod series;
pub(crate) mod stationary;
mod stream;
mod view;

pub use bank::{Bank, BankArrays};
pub use config::{FeaturesConfig, Reading};
pub use readout::Readout;
pub use series::SeriesSet;
pub use stream::FeatureStream;
pub use view::View;

pub use crate::kernels::state_filters::Competition;
