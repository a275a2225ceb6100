//! A kernel: code that is generic over the vectors of an instruction set.

#![forbid(unsafe_code)]

use super::vector::Vector;
use crate::real::Real;

/// A kernel body, written once for every instruction set.
pub trait Kernel<T: Real> {
    /// Result of the kernel.
    type Output;
    /// The body; mark it and everything it calls `#[inline(always)]`, so that it is compiled for the instruction set.
    fn run<V: Vector<T = T>>(self, v: V) -> Self::Output;
}
