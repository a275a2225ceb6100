//! One lane, for f64 and for processors without the instruction sets.

#![forbid(unsafe_code)]

use std::marker::PhantomData;

use super::vector::Vector;
use crate::real::Real;

/// One lane of `T`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain<T>(PhantomData<T>);

impl<T> Plain<T> {
    /// Exists on every processor.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Real> Vector for Plain<T> {
    type T = T;
    type V = T;
    type Mask = bool;
    const LANES: usize = 1;
    const EXACT: bool = size_of::<T>() == 8;

    #[inline(always)]
    fn splat(self, x: T) -> T {
        x
    }
    #[inline(always)]
    fn load(self, x: &[T]) -> T {
        x[0]
    }
    #[inline(always)]
    fn store(self, x: &mut [T], v: T) {
        x[0] = v;
    }
    #[inline(always)]
    fn load_partial(self, x: &[T]) -> T {
        x.first().copied().unwrap_or(T::ZERO)
    }
    #[inline(always)]
    fn store_partial(self, x: &mut [T], v: T) {
        if let Some(first) = x.first_mut() {
            *first = v;
        }
    }
    #[inline(always)]
    fn add(self, a: T, b: T) -> T {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: T, b: T) -> T {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: T, b: T) -> T {
        a * b
    }
    #[inline(always)]
    fn div(self, a: T, b: T) -> T {
        a / b
    }
    // Not fused: where there is no instruction for it, a fused product is a library call of some 50 ns.
    #[inline(always)]
    fn mul_add(self, a: T, b: T, c: T) -> T {
        a * b + c
    }
    #[inline(always)]
    fn neg_mul_add(self, a: T, b: T, c: T) -> T {
        c - a * b
    }
    #[inline(always)]
    fn max(self, a: T, b: T) -> T {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn min(self, a: T, b: T) -> T {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn abs(self, a: T) -> T {
        a.abs()
    }
    #[inline(always)]
    fn neg(self, a: T) -> T {
        -a
    }
    #[inline(always)]
    fn sqrt(self, a: T) -> T {
        a.sqrt()
    }
    #[inline(always)]
    fn select_less(self, a: T, b: T, x: T, y: T) -> T {
        if a < b { x } else { y }
    }
    #[inline(always)]
    fn less(self, a: T, b: T) -> bool {
        a < b
    }
    #[inline(always)]
    fn keep(self, mask: bool, x: T) -> T {
        if mask { x } else { T::ZERO }
    }
    #[inline(always)]
    fn discard(self, mask: bool, x: T) -> T {
        if mask { T::ZERO } else { x }
    }
    #[inline(always)]
    fn scale_pow2(self, p: T, t: T) -> T {
        let bits = |x: T| (x.to_f64() as f32).to_bits();
        T::from_f64(f32::from_bits(bits(p).wrapping_add(bits(t) << 23)).into())
    }
    #[inline(always)]
    fn sum(self, a: T) -> T {
        a
    }
    #[inline(always)]
    fn max_lane(self, a: T) -> T {
        a
    }
    #[inline(always)]
    fn map(self, a: T, f: impl Fn(T) -> T) -> T {
        f(a)
    }
}
