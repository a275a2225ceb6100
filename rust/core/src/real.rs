//! Arithmetic of one number, f32 or f64: what a lane of a vector can do alone.

#![forbid(unsafe_code)]

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A real number type: f32 or f64, nothing else.
///
/// ```
/// use ssm_hpn::Real;
///
/// fn mean<T: Real>(x: &[T]) -> T {
///     x.iter().copied().sum::<T>() / T::from_f64(x.len() as f64)
/// }
///
/// assert_eq!(mean(&[1.0_f32, 2.0]), 1.5);
/// assert_eq!(mean(&[1.0_f64, 2.0]), 1.5);
/// assert_eq!(f64::DTYPE, "float64");
/// ```
pub trait Real:
    sealed::Sealed
    + Copy
    + Default
    + Debug
    + Display
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Distance from 1 to the next number.
    const EPSILON: Self;
    /// Name as numpy and safetensors know it.
    const DTYPE: &'static str;

    /// Rounded to the nearest representable number.
    fn from_f64(x: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// e^x.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x) without loss for small x.
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// |x|.
    fn abs(self) -> Self;
    /// The larger of two numbers that are not NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller of two numbers that are not NaN.
    fn min(self, other: Self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// Not a number.
    fn is_nan(self) -> bool;
    /// To the nearest bf16, ties to even: the upper half of an f32. A number below the smallest normal f32 becomes 0. f64 is
    /// rounded to f32 before.
    ///
    /// ```
    /// use ssm_hpn::Real;
    ///
    /// assert_eq!((1.0_f32 + 0.004).to_bf16(), 1.0 + 1.0 / 128.0);
    /// assert_eq!((1.0_f32 + 1.0 / 256.0).to_bf16(), 1.0); // half way, to the even one
    /// assert_eq!((1e-40_f32).to_bf16(), 0.0);
    /// ```
    fn to_bf16(self) -> Self;
}

/// As [`Real::to_bf16`].
#[inline(always)]
fn rounded_to_bf16(x: f32) -> f32 {
    const UPPER: u32 = 0xffff_0000;
    let bits = x.to_bits();
    let even = (bits >> 16) & 1;
    let nearest = bits.wrapping_add(0x7fff + even) & UPPER;
    let kept = if x.is_nan() { (bits | 0x0040_0000) & UPPER } else { nearest };
    let is_tiny = bits & 0x7f80_0000 == 0;
    f32::from_bits(if is_tiny { bits & 0x8000_0000 } else { kept })
}

macro_rules! real {
    ($t:ident, $name:literal) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPSILON: Self = $t::EPSILON;
            const DTYPE: &'static str = $name;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $t::exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $t::ln(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                $t::ln_1p(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                $t::max(self, other)
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                $t::min(self, other)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
            #[inline(always)]
            fn to_bf16(self) -> Self {
                rounded_to_bf16(self as f32) as $t
            }
        }
    };
}

real!(f32, "float32");
real!(f64, "float64");
