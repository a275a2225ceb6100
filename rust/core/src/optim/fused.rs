//! The body of AdamW's pass over one part of a tensor: p, g, m, v are read once and written once, in strips that stay in
//! the first-level cache while Σ Δp² is taken from them.
//!
//! ```text
//! g = scale · buffer
//! m ← β1·m + (1-β1)·g         v ← β2·v + (1-β2)·g²
//! p ← shrink·p - rate · m/(root·√v + ε)      shrink = 1 - lr·wd   rate = lr/(1-β1^t)   root = 1/√(1-β2^t)
//! ```
//!
//! Moments below 2^-120 become 0. They have no effect on any update, and as subnormal numbers they would slow every
//! later one down: the first moment of an embedding row whose token is rare gets there after some 800 updates, and 0.9
//! times the smallest number rounds to itself.

use super::clip::SquareSum;
use super::config::OptimConfig;
use crate::numeric::Scalar;
use crate::real::Real;
use crate::simd::{Kernel, Vector};

/// The numbers of one update of one tensor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coefficients<T> {
    /// c / weight.
    scale: T,
    beta1: T,
    beta2: T,
    /// 1 - β.
    rest1: T,
    rest2: T,
    /// 1 - lr · wd.
    shrink: T,
    /// lr / (1 - β1^t).
    rate: T,
    /// 1 / √(1 - β2^t).
    root: T,
    eps: T,
}

impl<T: Scalar> Coefficients<T> {
    /// For the `updates`-th update of a tensor at rate `lr`, with gradients to be scaled by `scale`.
    pub(super) fn new(config: &OptimConfig, lr: f64, scale: f64, updates: u64) -> Self {
        let exponent = i32::try_from(updates).unwrap_or(i32::MAX);
        let correction = |beta: f64| 1.0 - beta.powi(exponent);
        Self {
            scale: T::from_f64(scale),
            beta1: T::from_f64(config.beta1),
            beta2: T::from_f64(config.beta2),
            rest1: T::from_f64(1.0 - config.beta1),
            rest2: T::from_f64(1.0 - config.beta2),
            shrink: T::from_f64(1.0 - lr * config.weight_decay),
            rate: T::from_f64(lr / correction(config.beta1)),
            root: T::from_f64(1.0 / correction(config.beta2).sqrt()),
            eps: T::from_f64(config.eps),
        }
    }
}

/// Elements between two additions to the sum of squares; a multiple of every vector's lanes.
const STRIP: usize = 64;

/// The fused update of one part; returns its Σ Δp².
pub(super) struct Fused<'a, T> {
    pub(super) p: &'a mut [T],
    pub(super) g: &'a mut [T],
    pub(super) m: &'a mut [T],
    pub(super) v: &'a mut [T],
    pub(super) coefficients: Coefficients<T>,
    pub(super) decays: bool,
}

impl<T: Scalar> Kernel<T> for Fused<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) -> f64 {
        let Self { p, g, m, v: second, coefficients, decays } = self;
        let rule = Rule::new(v, &coefficients, decays);
        let mut sum = SquareSum::default();
        let mut delta = [T::ZERO; STRIP];
        for start in (0..p.len()).step_by(STRIP) {
            let strip = start..p.len().min(start + STRIP);
            let (p, g) = (&mut p[strip.clone()], &mut g[strip.clone()]);
            let (m, second) = (&mut m[strip.clone()], &mut second[strip]);
            let delta = &mut delta[..p.len()];
            let whole = p.len() - p.len() % V::LANES;
            for i in (0..whole).step_by(V::LANES) {
                let new =
                    rule.apply(v, v.load(&p[i..]), v.load(&g[i..]), v.load(&m[i..]), v.load(&second[i..]));
                v.store(&mut p[i..], new.p);
                v.store(&mut m[i..], new.m);
                v.store(&mut second[i..], new.v);
                v.store(&mut delta[i..], new.delta);
            }
            if whole < p.len() {
                let (p, g, m) = (&mut p[whole..], &g[whole..], &mut m[whole..]);
                let (second, delta) = (&mut second[whole..], &mut delta[whole..]);
                let new = rule.apply(
                    v,
                    v.load_partial(p),
                    v.load_partial(g),
                    v.load_partial(m),
                    v.load_partial(second),
                );
                v.store_partial(p, new.p);
                v.store_partial(m, new.m);
                v.store_partial(second, new.v);
                v.store_partial(delta, new.delta);
            }
            sum.add(delta);
            g.fill(T::ZERO);
        }
        sum.total()
    }
}

/// [`Coefficients`] in registers.
struct Rule<V: Vector> {
    scale: V::V,
    beta1: V::V,
    beta2: V::V,
    rest1: V::V,
    rest2: V::V,
    shrink: V::V,
    rate: V::V,
    root: V::V,
    eps: V::V,
    smallest: V::V,
}

/// Results of the formulas for one register.
struct New<X> {
    p: X,
    m: X,
    v: X,
    delta: X,
}

impl<V: Vector> Rule<V> {
    #[inline(always)]
    fn new(v: V, c: &Coefficients<V::T>, decays: bool) -> Self {
        Self {
            scale: v.splat(c.scale),
            beta1: v.splat(c.beta1),
            beta2: v.splat(c.beta2),
            rest1: v.splat(c.rest1),
            rest2: v.splat(c.rest2),
            shrink: v.splat(if decays { c.shrink } else { V::T::ONE }),
            rate: v.splat(c.rate),
            root: v.splat(c.root),
            eps: v.splat(c.eps),
            smallest: v.splat(V::T::from_f64(SMALLEST_MOMENT)),
        }
    }

    /// The formulas of the header.
    #[inline(always)]
    fn apply(&self, v: V, p: V::V, g: V::V, m: V::V, second: V::V) -> New<V::V> {
        let zero = v.splat(V::T::ZERO);
        let g = v.mul(g, self.scale);
        let m = v.mul_add(m, self.beta1, v.mul(g, self.rest1));
        let m = v.select_less(v.abs(m), self.smallest, zero, m);
        let second = v.mul_add(second, self.beta2, v.mul(v.mul(g, g), self.rest2));
        let second = v.select_less(second, self.smallest, zero, second);
        let root = v.mul_add(v.sqrt(second), self.root, self.eps);
        let moved = v.neg_mul_add(self.rate, v.div(m, root), v.mul(p, self.shrink));
        New { p: moved, m, v: second, delta: v.sub(moved, p) }
    }
}

/// 2^-120.
const SMALLEST_MOMENT: f64 = 7.523_163_845_262_64e-37;
