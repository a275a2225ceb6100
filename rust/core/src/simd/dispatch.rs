//! Calls the body of a kernel that is compiled for an instruction set.

#![forbid(unsafe_code)]

use super::isa::Isa;
use super::kernel::Kernel;
use super::plain::Plain;
use super::wide;
use crate::real::Real;

/// The vectors of a number type. Sealed through [`Real`].
pub trait Dispatch: Real {
    /// Runs the body for `isa`, or the plain one where the type has no vectors.
    fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output;
}

impl Dispatch for f64 {
    fn dispatch<K: Kernel<Self>>(_: Isa, kernel: K) -> K::Output {
        kernel.run(Plain::new())
    }
}

impl Dispatch for f32 {
    fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output {
        wide::dispatch(isa, kernel)
    }
}

/// Runs a kernel on the instruction set chosen at start.
#[inline]
pub fn run<T: Dispatch, K: Kernel<T>>(kernel: K) -> K::Output {
    T::dispatch(Isa::active(), kernel)
}

/// Runs a kernel on a given instruction set, for tests and benches.
///
/// # Panics
/// If the processor lacks it.
pub fn run_on<T: Dispatch, K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output {
    assert!(isa.is_available(), "{} is not available on this processor", isa.name());
    T::dispatch(isa, kernel)
}
