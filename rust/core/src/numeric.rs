//! The two number types: f32 for computing, f64 as the reference of tests.
//!
//! Kernels, blocks, heads and models are generic over [`Scalar`]. f32 takes the vector path of the chosen instruction
//! set, f64 runs the same body one lane at a time and is the gradient oracle.

#![forbid(unsafe_code)]

use crate::real::Real;
use crate::simd::Dispatch;

/// A number type of the core: a [`Real`], f32 or f64, that has a vector body for every kernel.
pub trait Scalar: Real + Dispatch {}

impl<T: Real + Dispatch> Scalar for T {}
