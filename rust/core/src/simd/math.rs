//! Elementary functions on vectors.

#![forbid(unsafe_code)]

use super::Vector;
use crate::numeric::Scalar;

/// log2(e).
pub const LOG2_E: f64 = std::f64::consts::LOG2_E;

/// 2^x for x ≤ 0; values below -126 count as -126. Relative error below 2e-7 (f32).
///
/// Rounding to the nearest integer n by adding 1.5·2^23, a degree-5 minimax polynomial of 2^r on [-½, ½], and n added to
/// the exponent bits.
#[inline(always)]
pub fn exp2_nonpositive<V: Vector>(v: V, x: V::V) -> V::V {
    if V::EXACT {
        return v.map(x, |x| V::T::from_f64(x.to_f64().exp2()));
    }
    let constant = |c: f64| v.splat(V::T::from_f64(c));
    let x = v.max(x, constant(-126.0));
    let magic = constant(12_582_912.0);
    let t = v.add(x, magic);
    let r = v.sub(x, v.sub(t, magic));
    let mut p = constant(1.327_646_68e-3);
    for c in [9.675_541_29e-3, 5.550_713_27e-2, 2.402_211_97e-1, 6.931_469_67e-1, 1.000_000_07] {
        p = v.mul_add(p, r, constant(c));
    }
    v.scale_pow2(p, t)
}
