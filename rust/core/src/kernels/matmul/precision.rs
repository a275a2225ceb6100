//! The precision of the factors of products.
//!
//! ```text
//! F32    y = x·wᵀ
//! Bf16   y = r(x)·r(w)ᵀ        r: to the nearest bf16, ties to even; sums in f32
//! ```
//!
//! A factor is rounded once for each product that it is used in, and kept in f32 everywhere else. |r(x) - x| ≤ 2⁻⁸·|x|.

use super::tile::Factor;
use super::view::{MatMut, MatRef};
use super::{blocked, copies};
use super::{dw, forward};
use crate::error::Result;
use crate::kernels::layout::Accumulate;
use crate::numeric::Scalar;
use crate::real::Real;
use crate::simd::Bf16Unit;
use crate::simd::bf16::BlockUnit;

/// The precision of the factors of the products of a pass. Sums are in f32 (f64 in a model of f64) either way.
///
/// ```
/// use ssm_hpn::kernels::Accumulate;
/// use ssm_hpn::kernels::matmul::{MatMut, MatRef, Precision};
///
/// let (x, w) = ([1.0_f32 + 1.0 / 512.0], [3.0]);
/// let (x, w) = (MatRef::new(&x, 1, 1), MatRef::new(&w, 1, 1));
/// let mut y = [0.0];
/// Precision::F32.linear(x, w, MatMut::new(&mut y, 1, 1), Accumulate::Overwrite);
/// assert_eq!(y, [3.0 + 3.0 / 512.0]);
///
/// // bf16 has 8 bits: 1 + 2⁻⁹ becomes 1.
/// let bf16 = Precision::Bf16;
/// bf16.linear(x, w, MatMut::new(&mut y, 1, 1), Accumulate::Overwrite);
/// assert_eq!(y, [3.0]);
/// bf16.linear_dx(x, w, MatMut::new(&mut y, 1, 1), Accumulate::Add);
/// assert_eq!(y, [6.0]);
/// bf16.linear_dw(x, x, MatMut::new(&mut y, 1, 1), &mut []);
/// assert_eq!(y, [7.0]);
/// assert_eq!(Precision::ALL.len(), 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16.
    Bf16,
}

impl Precision {
    /// Both precisions.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// Name in configurations: `f32`, `bf16`.
    ///
    /// ```
    /// use ssm_hpn::kernels::matmul::Precision;
    ///
    /// assert_eq!(Precision::Bf16.name(), "bf16");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// As [`super::linear`]: y = x·wᵀ or y += x·wᵀ.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn linear<T: Scalar>(self, x: MatRef<T>, w: MatRef<T>, y: MatMut<T>, accumulate: Accumulate) {
        Multiplier::of(self).linear(x, w, y, accumulate);
    }

    /// As [`super::linear_dx`]: dx = dy·w or dx += dy·w.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn linear_dx<T: Scalar>(self, dy: MatRef<T>, w: MatRef<T>, dx: MatMut<T>, accumulate: Accumulate) {
        Multiplier::of(self).linear_dx(dy, w, dx, accumulate);
    }

    /// As [`super::linear_dw`]: dw += dyᵀ·x. `scratch` of [`super::linear_dw_scratch`] elements, contents undefined.
    ///
    /// # Panics
    /// If the shapes do not agree or the scratch is too short.
    pub fn linear_dw<T: Scalar>(self, dy: MatRef<T>, x: MatRef<T>, dw: MatMut<T>, scratch: &mut [T]) {
        Multiplier::of(self).linear_dw(dy, x, dw, scratch);
    }

    /// Elements of the copies of factors in the products of m rows with a weight `[n, k]`, forward and back; 0 where
    /// factors are read as they are.
    pub(crate) fn copied<T: Scalar>(self, m: usize, n: usize, k: usize) -> usize {
        match Multiplier::of(self).for_type::<T>() {
            Multiplier::RoundedCopies => copies::elements(m, n, k),
            Multiplier::Exact | Multiplier::Blocks(_) => 0,
        }
    }

    /// Makes room for copies of so many elements; refused where the memory is not there.
    pub(crate) fn make_room<T: Scalar>(copied: usize) -> Result<()> {
        if copied == 0 { Ok(()) } else { copies::make_room::<T>(copied) }
    }
}

/// What computes the products of a precision.
#[derive(Clone, Copy, Debug)]
pub(super) enum Multiplier {
    /// The products in f32 of the factors as they are.
    Exact,
    /// Those of rounded copies. f64 has no other.
    RoundedCopies,
    /// Blocks of bf16.
    Blocks(BlockUnit),
}

impl Multiplier {
    fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::Exact,
            Precision::Bf16 => Self::of_unit(Bf16Unit::active()),
        }
    }

    /// That of a unit for bf16; one that is not there is emulated.
    pub(super) fn of_unit(unit: Bf16Unit) -> Self {
        unit.blocks().map_or(Self::RoundedCopies, Self::Blocks)
    }

    fn for_type<T: Scalar>(self) -> Self {
        match self {
            Self::Blocks(_) if T::DTYPE != f32::DTYPE => Self::RoundedCopies,
            fitting => fitting,
        }
    }

    pub(super) fn linear<T: Scalar>(self, x: MatRef<T>, w: MatRef<T>, y: MatMut<T>, accumulate: Accumulate) {
        match self.for_type::<T>() {
            Self::Exact => forward::linear(x, w, y, accumulate),
            Self::RoundedCopies => rounded(x, w, |x, w| forward::linear(x, w, y, accumulate)),
            Self::Blocks(unit) => {
                forward::check_linear(&x, &w, &y);
                let factors = (Factor::along_depth(x), Factor::along_depth(w));
                blocked::product(unit, factors, x.cols(), y, accumulate);
            }
        }
    }

    pub(super) fn linear_dx<T: Scalar>(
        self,
        dy: MatRef<T>,
        w: MatRef<T>,
        dx: MatMut<T>,
        accumulate: Accumulate,
    ) {
        match self.for_type::<T>() {
            Self::Exact => forward::linear_dx(dy, w, dx, accumulate),
            Self::RoundedCopies => rounded(dy, w, |dy, w| forward::linear_dx(dy, w, dx, accumulate)),
            Self::Blocks(unit) => {
                forward::check_linear_dx(&dy, &w, &dx);
                let factors = (Factor::along_depth(dy), Factor::along_output(w));
                blocked::product(unit, factors, dy.cols(), dx, accumulate);
            }
        }
    }

    pub(super) fn linear_dw<T: Scalar>(self, dy: MatRef<T>, x: MatRef<T>, dw: MatMut<T>, scratch: &mut [T]) {
        match self.for_type::<T>() {
            Self::Exact => dw::linear_dw(dy, x, dw, scratch),
            Self::RoundedCopies => rounded(dy, x, |dy, x| dw::linear_dw(dy, x, dw, scratch)),
            Self::Blocks(unit) => {
                dw::check_linear_dw(&dy, &x, &dw);
                let factors = (Factor::along_output(dy), Factor::along_output(x));
                blocked::product(unit, factors, dy.rows(), dw, Accumulate::Add);
            }
        }
    }
}

/// Calls `product` with rounded copies of the factors.
fn rounded<T: Scalar>(a: MatRef<T>, b: MatRef<T>, product: impl FnOnce(MatRef<T>, MatRef<T>)) {
    copies::with_copies(a, b, |copy_a, copy_b| {
        product(MatRef::new(copy_a, a.rows(), a.cols()), MatRef::new(copy_b, b.rows(), b.cols()));
    });
}
