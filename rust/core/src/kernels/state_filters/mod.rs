//! Fixed diagonal state space filters, pooled over time: one block of [`FILTERS`] filters over one series.
//!
//! ```text
//! filter j     h[p,t] = λ[p,j]·h[p,t-1] + u[t, j mod COLUMNS],  h[p,-1] = 0        p = 0..MODES, λ and c complex
//!              y[t,j] = Re Σ_p c[p,j]·h[p,t]
//!
//! above a bias b (BIASES of them):  p[t] = y[t,j] > b
//!              share     Σ p / T
//!              excess    Σ p·(y - b) / Σ p                      0 without a step above
//!              position  Σ p·t / (T·Σ p)                       -1 without a step above
//!              longest   most consecutive steps above / T
//!
//! competition in a group G of filters:  p[t] = (y[t,j] = max_G y[t]),  and the same with min
//!              share     √(Σ p / T)
//!              value     sign(s)·√|s|, s = Σ p·y / T            -y for min
//!              position  Σ p·t / (T·Σ p)                       ½ without a step won
//! ```
//!
//! A group has one filter of every row of the block `[ROWS, COLUMNS]`; four of these join to a wide group: the filters whose
//! column is the same modulo 4. The input is different for each column (mixtures of channels), so that the filters of a
//! group hear the same. A tile of 32 steps stays in the first cache: it is filtered, then pooled.
//!
//! Within a tile all counts and positions are exact; f32 adds tiles. Features after any step are those of a series that ends
//! there, bit for bit, in whatever pieces it comes.

#![forbid(unsafe_code)]

mod block;
mod compete;
mod evidence;
mod filter;
mod means;
mod pool;
mod pools;
mod sums;

pub use block::{BIASES, COLUMNS, Competition, FILTERS, Filters, MODES, ROWS, WIDE};
pub use evidence::{Block, evidence};
pub use filter::responses;
pub use means::{MeansInto, mean_responses};
pub use pools::Pools;

#[cfg(test)]
mod tests;
