//! The two number types: f32 for computing, f64 as the reference of tests.
//!
//! Kernels, blocks, heads and models are generic over [`Scalar`]. f32 takes the vector path of the chosen instruction
//! set, f64 runs the same body one lane at a time and is the gradient oracle.

#![forbid(unsafe_code)]

use crate::real::Real;
use crate::simd::Dispatch;

/// A number type of the core: a [`Real`], f32 or f64, that has a vector body for every kernel.
///
/// ```
/// use ssm_hpn::Scalar;
/// use ssm_hpn::kernels::Accumulate;
/// use ssm_hpn::kernels::matmul::{MatMut, MatRef, linear};
///
/// /// W·x of a matrix of two rows.
/// fn apply<T: Scalar>(w: &[T], x: &[T]) -> [T; 2] {
///     let mut y = [T::ZERO; 2];
///     let (x, w) = (MatRef::new(x, 1, x.len()), MatRef::new(w, 2, x.len()));
///     linear(x, w, MatMut::new(&mut y, 1, 2), Accumulate::Overwrite);
///     y
/// }
///
/// assert_eq!(apply(&[3.0_f32, 4.0, 5.0, 6.0], &[1.0, 2.0]), [11.0, 17.0]);
/// assert_eq!(apply(&[3.0_f64, 4.0, 5.0, 6.0], &[1.0, 2.0]), [11.0, 17.0]);
/// ```
pub trait Scalar: Real + Dispatch {}

impl<T: Real + Dispatch> Scalar for T {}
