//! The selective scan of Mamba-1, fused with the softplus before it and the skip and gate after it.
//!
//! B rows, T tokens, I channels, N states. Per token t and channel i, with A = -exp(A_log):
//!
//! ```text
//! δ_t      = softplus(delta_t + delta_bias)
//! h_t[n]   = exp(δ_t·A[n])·h_{t-1}[n] + δ_t·u_t·B_t[n]          h = 0 before a document
//! y_t      = (Σ_n C_t[n]·h_t[n] + D·u_t) · silu(z_t)
//! ```
//!
//! Backward, with g_t = dy_t·silu(z_t), ā_t = exp(δ_t·A) and the adjoint q of the state, right to left:
//!
//! ```text
//! q_t[n]   = g_t·C_t[n] + c_t[n]       c_t = ā_{t+1}·q_{t+1}, 0 at a document's last token
//! dC_t[n]  = Σ_i g_t·h_t[n]            dB_t[n] = Σ_i q_t[n]·δ_t·u_t
//! s_t      = Σ_n q_t[n]·B_t[n]         r_t[n]  = q_t[n]·ā_t[n]·h_{t-1}[n]
//! du_t     = D·g_t + s_t·δ_t           dδ_t    = s_t·u_t + Σ_n A[n]·r_t[n]
//! dA_log[n]= A[n]·Σ_t r_t[n]·δ_t       dD      = Σ_t g_t·u_t
//! ddelta_t = dδ_t·sigmoid(delta_t + delta_bias)                  ddelta_bias = Σ_t ddelta_t
//! dz_t     = dy_t·(Σ_n C_t[n]·h_t[n] + D·u_t)·silu'(z_t)
//! ```
//!
//! The backward pass works in place: each input's gradient takes its place, and y, which is computed again, that of dy.
//!
//! Channels lie across the lanes and the states of a group of channels in registers. Time goes in chunks of [`CHUNK`]
//! tokens; the forward pass keeps the state at the start of each, the backward pass runs a chunk again from there, so
//! nothing of size B·T·I·N ever exists. A document's start ends the stretch of tokens over which a state is in
//! registers, so rows without one pay nothing for the possibility.

mod adjoint;
mod backward;
mod forward;
mod step;
mod system;
mod task;

pub use super::channels::{Columns, ColumnsMut};
pub use super::layout::Layout;
pub use backward::{ScanGrads, ScanInPlace, backward, backward_on};
pub use forward::{ScanOutputs, forward, forward_on};
pub use step::step;
pub use system::{CHUNK, Dims, Inputs, System};

#[cfg(test)]
mod tests;
