//! Elementary functions on vectors, written once for every instruction set.
//!
//! f32: a range reduction and a minimax polynomial; f64: the standard library, lane by lane. The errors below are the
//! largest relative ones over the whole range, measured by the tests for every instruction set.
//!
//! | function | range | relative error (f32) |
//! |---|---|---|
//! | [`exp2_nonpositive`] | x ≤ 0, below -64.5 it is 0 | 2e-7 |
//! | [`exp2_of_product`] | d·a ≤ 0, below -64.5 it is 0 | 2e-7, and of the scalar body |d·a|·1e-7 |
//! | [`exp`] | below -87 as -87, above 88.72 as 88.72 | 2e-7 |
//! | [`log1p_unit`] | 0 ≤ x ≤ 1 | 2e-7 |
//! | [`sigmoid`], [`silu`] | as exp: below -87 as -87 | 4e-7 |
//! | [`softplus`] | as exp; no overflow: max(x, 0) + log(1 + e^-|x|) | 4e-7 |
//!
//! A lane that is NaN gives NaN, so that the guard behind a training step sees it.
//!
//! Powers of two below 2^-64 are 0: beside what they are added to they are nothing, and their products with states and
//! gradients would be subnormal numbers, with which some processors compute many times more slowly. What fades over many
//! steps is cut off by [`flush`].

#![forbid(unsafe_code)]

use super::vector::Vector;
use crate::real::Real;

/// log2(e).
pub(crate) const LOG2_E: f64 = std::f64::consts::LOG2_E;

/// 1.5·2^23: adding it rounds to an integer and leaves that integer in the low bits.
const MAGIC: f64 = 12_582_912.0;

/// ln 2 in two parts, the first short enough that its product with an exponent is exact.
const LN2_HIGH: f64 = 0.693_359_375;
const LN2_LOW: f64 = -2.121_944_400_546_905_8e-4;

#[inline(always)]
fn constant<V: Vector>(v: V, c: f64) -> V::V {
    v.splat(V::T::from_f64(c))
}

/// c₀ + c₁x + c₂x² + …, one product after the other: fewest instructions.
#[inline(always)]
fn horner<V: Vector, const N: usize>(v: V, x: V::V, c: [f64; N]) -> V::V {
    let mut p = constant(v, c[N - 1]);
    for k in (0..N - 1).rev() {
        p = v.mul_add(p, x, constant(v, c[k]));
    }
    p
}

/// c₀ + c₁x + c₂x² + …, in pairs: a few more instructions, a third of the latency. For functions that are not called in
/// many independent chains at once.
#[inline(always)]
fn estrin<V: Vector, const N: usize>(v: V, x: V::V, c: [f64; N]) -> V::V {
    let mut terms = [constant(v, 0.0); N];
    for k in 0..N.div_ceil(2) {
        let even = constant(v, c[2 * k]);
        terms[k] = if 2 * k + 1 < N { v.mul_add(constant(v, c[2 * k + 1]), x, even) } else { even };
    }
    let (mut count, mut power) = (N.div_ceil(2), x);
    while count > 1 {
        power = v.mul(power, power);
        for k in 0..count.div_ceil(2) {
            let even = terms[2 * k];
            terms[k] = if 2 * k + 1 < count { v.mul_add(terms[2 * k + 1], power, even) } else { even };
        }
        count = count.div_ceil(2);
    }
    terms[0]
}

/// 2^(r + n) for r in [-½, ½] and t = n + 1.5·2^23: a degree-5 minimax polynomial of 2^r that is exactly 1 at 0 (a state
/// that hardly decays must not grow), and n added to the exponent bits.
///
/// Tried and left out: 32 powers in two AVX-512 registers and a quadratic between them, 6 % of a forward scan and 3 % of a
/// backward one for fifty lines of one processor's own.
#[inline(always)]
fn exp2_split<V: Vector>(v: V, r: V::V, t: V::V) -> V::V {
    let p = horner(
        v,
        r,
        [
            1.0,
            6.931_469_775_999_254e-1,
            2.402_224_208_491_647e-1,
            5.550_733_742_125_014e-2,
            9.671_512_675_143_656e-3,
            1.326_472_764_141_329e-3,
        ],
    );
    v.scale_pow2(p, t)
}

/// 2^x for x ≤ 0; 0 below -64.5.
///
/// Adding 1.5·2^23 rounds x to the nearest integer n.
#[inline(always)]
pub(crate) fn exp2_nonpositive<V: Vector>(v: V, x: V::V) -> V::V {
    if V::EXACT {
        return v.map(x, |x| V::T::from_f64(x.to_f64().exp2()));
    }
    let t = v.add(x, constant(v, MAGIC));
    let r = v.sub(x, v.sub(t, constant(v, MAGIC)));
    v.discard(v.less(t, constant(v, MAGIC + EXP2_BOUND)), exp2_split(v, r, t))
}

/// 2^(d·a) for d·a ≤ 0, the product rounded only with the sum that it goes into; 0 for products below -64.5.
///
/// With BOUNDED the caller knows that no product is below [`EXP2_BOUND`]: two operations fewer, the same bits.
#[inline(always)]
pub(crate) fn exp2_of_product<V: Vector, const BOUNDED: bool>(v: V, d: V::V, a: V::V) -> V::V {
    if V::EXACT {
        return v.map(v.mul(d, a), |x| V::T::from_f64(x.to_f64().exp2()));
    }
    let t = v.mul_add(d, a, constant(v, MAGIC));
    let r = v.mul_add(d, a, v.sub(constant(v, MAGIC), t));
    let power = exp2_split(v, r, t);
    if BOUNDED { power } else { v.discard(v.less(t, constant(v, MAGIC + EXP2_BOUND)), power) }
}

/// Powers with exponents down to here are not 0.
pub(crate) const EXP2_BOUND: f64 = -64.0;

/// x, and 0 where it is subnormal: a state that decays to the smallest number would stay there, as 0.6 times it rounds to itself.
/// f64 as it is: models in it are compared, not timed.
#[inline(always)]
pub(crate) fn flush<V: Vector>(v: V, x: V::V) -> V::V {
    if V::EXACT {
        return x;
    }
    v.discard(v.less(v.abs(x), constant(v, f64::from(f32::MIN_POSITIVE))), x)
}

/// e^x; values below -87 count as -87, values above 88.72 as 88.72.
///
/// n = round(x·log2 e), r = x - n·ln 2 (in two parts, exact to the last bit), e^r = 1 + r + r²·P(r).
#[inline(always)]
pub(crate) fn exp<V: Vector>(v: V, x: V::V) -> V::V {
    if V::EXACT {
        return v.map(x, Real::exp);
    }
    let x = v.min(constant(v, 88.72), v.max(constant(v, -87.0), x));
    let t = v.mul_add(x, constant(v, LOG2_E), constant(v, MAGIC));
    let n = v.sub(t, constant(v, MAGIC));
    let r = v.neg_mul_add(n, constant(v, LN2_HIGH), x);
    let r = v.neg_mul_add(n, constant(v, LN2_LOW), r);
    let p = estrin(
        v,
        r,
        [
            4.999_999_344_774_57e-1,
            1.666_652_063_098_5e-1,
            4.166_838_805_276_07e-2,
            8.368_716_966_489_6e-3,
            1.381_459_859_510_6e-3,
        ],
    );
    let p = v.mul_add(v.mul(r, r), p, v.add(r, constant(v, 1.0)));
    v.scale_pow2(p, t)
}

/// log(1 + x) for 0 ≤ x ≤ 1, as x·P(x).
#[inline(always)]
pub(crate) fn log1p_unit<V: Vector>(v: V, x: V::V) -> V::V {
    if V::EXACT {
        return v.map(x, Real::ln_1p);
    }
    let p = estrin(
        v,
        x,
        [
            9.999_999_698_813_23e-1,
            -4.999_949_314_772_02e-1,
            3.331_909_689_337_69e-1,
            -2.484_298_266_162_05e-1,
            1.910_600_796_358_59e-1,
            -1.366_324_754_174_33e-1,
            7.822_596_518_970_23e-2,
            -2.950_524_332_185_63e-2,
            5.232_694_628_623_19e-3,
        ],
    );
    v.mul(x, p)
}

/// s(x) = 1 / (1 + e^-x) from e = e^-|x|, which never overflows: 1/(1+e) for x ≥ 0, e/(1+e) for x < 0.
#[inline(always)]
fn sigmoid_from<V: Vector>(v: V, x: V::V, e: V::V) -> V::V {
    let one = constant(v, 1.0);
    let numerator = v.select_less(x, constant(v, 0.0), e, one);
    v.div(numerator, v.add(one, e))
}

/// s(x) = 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<V: Vector>(v: V, x: V::V) -> V::V {
    sigmoid_from(v, x, exp(v, v.neg(v.abs(x))))
}

/// x·s(x).
#[inline(always)]
pub(crate) fn silu<V: Vector>(v: V, x: V::V) -> V::V {
    v.mul(x, sigmoid(v, x))
}

/// silu(x) and its derivative s·(1 + x·(1 - s)).
#[inline(always)]
pub(crate) fn silu_with_derivative<V: Vector>(v: V, x: V::V) -> (V::V, V::V) {
    let s = sigmoid(v, x);
    let y = v.mul(x, s);
    (y, v.mul_add(y, v.sub(constant(v, 1.0), s), s))
}

/// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|).
#[inline(always)]
pub(crate) fn softplus<V: Vector>(v: V, x: V::V) -> V::V {
    let e = exp(v, v.neg(v.abs(x)));
    v.add(v.max(constant(v, 0.0), x), log1p_unit(v, e))
}

/// softplus(x) and its derivative s(x).
#[inline(always)]
pub(crate) fn softplus_with_derivative<V: Vector>(v: V, x: V::V) -> (V::V, V::V) {
    let e = exp(v, v.neg(v.abs(x)));
    let y = v.add(v.max(constant(v, 0.0), x), log1p_unit(v, e));
    (y, sigmoid_from(v, x, e))
}

#[cfg(test)]
mod tests;
