//! The portable vector: one algorithm, every instruction set, chosen once at run time.
//!
//! A kernel is a struct that holds its slices and implements [`Kernel`]; its body is generic over [`Vector`], a token
//! that exists only where the processor has the instructions. [`run`] calls the body for the instruction set chosen at
//! start ([`Isa::active`]); for f64 it always calls it with [`Plain`], one lane at a time.
//!
//! | name | lanes of f32 | processor |
//! |---|---|---|
//! | scalar | 1 | any |
//! | avx2 | 8 | x86-64 with AVX2 and FMA |
//! | avx512 | 16 | x86-64 with AVX-512 F, BW, CD, DQ, VL |
//! | neon | 4 | 64-bit Arm |
//!
//! `SSM_HPN_SIMD` forces one of the four. The scalar body rounds a·b + c twice, the others once.

#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod bf16;
#[cfg(target_arch = "x86_64")]
mod bf16_x86;
pub(crate) mod block;
mod dispatch;
mod isa;
mod kernel;
mod plain;
mod prefetch;
mod vector;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) mod math;

pub use bf16::Bf16Unit;
#[doc(hidden)]
pub use dispatch::{Dispatch, run, run_on};
pub use isa::Isa;
#[doc(hidden)]
pub use kernel::Kernel;
#[doc(hidden)]
pub use plain::Plain;
#[doc(hidden)]
pub use prefetch::prefetch;
pub(crate) use prefetch::prefetch_line;
#[doc(hidden)]
pub use vector::Vector;
pub(crate) use vector::{MAX_LANES, sum_folded};
#[doc(hidden)]
pub use wide::Wide;

#[cfg(test)]
mod tests;
