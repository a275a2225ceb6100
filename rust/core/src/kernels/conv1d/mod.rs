//! Causal depthwise convolution with bias and silu, fused.
//!
//! B rows, T tokens, I channels, K taps; tap K-1 is multiplied by the current token. Per channel:
//!
//! ```text
//! s_t  = bias + Σ_k w[k]·x_{t-K+1+k}        terms before the document's start are absent
//! y_t  = silu(s_t)
//! ds_t = dy_t·silu'(s_t)
//! dx_t = Σ_k w[k]·ds_{t+K-1-k}              terms behind the document's end are absent
//! dw[k] = Σ_{b,t} ds_t·x_{t-K+1+k}          dbias = Σ_{b,t} ds_t
//! ```
//!
//! A carried state is x of the K-1 tokens before the first one; its gradient is dx there, and that of the state after the
//! last token adds to dx of the last ones.
//!
//! The backward pass works in place: dx takes the place of x, and y, computed again on the way, that of dy.
//!
//! Channels lie across the lanes; a vector of channels walks over a chunk of tokens with its taps, its last K inputs
//! (and, backward, the next K-1 ds and the sums for dw) in registers when K is 4, on the stack for any other K.

mod backward;
mod filter;
mod forward;

pub use backward::{ConvGrads, ConvInPlace, backward, backward_on};
pub use filter::{Dims, MAX_TAPS, Weights};
pub use forward::{forward, forward_on};

#[cfg(test)]
mod tests;
