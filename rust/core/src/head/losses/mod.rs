//! Losses on the hypersphere, each with its gradient beside it (docs/mathematics.md, 2).
//!
//! z `[n, Q]` are the projected features, ẑ = z/max(‖z‖, 1e-8), p_k the unit prototypes. Every loss takes z, overwrites
//! it with g_z, the gradient of the SUM of the losses; a row whose class is negative or whose number is NaN has loss 0 and
//! gradient 0, and every other one is multiplied by the row's weight. The gradient g of ẑ goes through the norm as g_z = (g - ẑ(ẑ·g))/‖z‖, and as g/1e-8 where the floor acts.
//!
//! | loss | per row |
//! |---|---|
//! | [`cosine`] | (1 - ẑ·p_y)² |
//! | [`regression`] | (r - ẑ_0)², r = 2(y - low)/(high - low) - 1 |
//! | [`joint`] | (1-w)·regression(z) + w·cosine(z[1..]) |
//! | [`Softmax`] | cross entropy of s·ẑ·Pᵀ, with or without an angular margin on the target and [`Smoothing`] |

mod attraction;
mod smoothing;
mod softmax;
pub(super) mod surgery;
mod weighted;

pub(crate) use attraction::{ClassAndValue, Range, Shares, cosine, joint, regression};
pub(crate) use smoothing::Smoothing;
pub(crate) use softmax::{Softmax, directions, through_the_norm};
pub(crate) use weighted::WeightedClasses;

#[cfg(test)]
mod tests;
