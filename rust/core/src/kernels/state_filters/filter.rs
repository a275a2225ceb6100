//! The recurrence of a block, over a tile and over a whole series.

#![forbid(unsafe_code)]

use super::block::{COLUMNS, FILTERS, Filters, MODES, ROWS, State, TILE};
use crate::numeric::Scalar;
use crate::simd::{self, Kernel, Vector, math};

/// y of the steps of a tile from u; h goes on from the tile before.
#[inline(always)]
pub(super) fn tile<T: Scalar, V: Vector<T = T>>(
    v: V,
    filters: Filters<T>,
    state: &mut State<T>,
    u: &[[T; COLUMNS]],
    y: &mut [[T; FILTERS]],
) {
    let Filters { pole_re, pole_im, gain_re, gain_im } = filters;
    for j in (0..FILTERS).step_by(V::LANES) {
        let of = |x: &[T]| -> [V::V; MODES] { std::array::from_fn(|p| v.load(&x[p * FILTERS + j..])) };
        let (lr, li, cr, ci) = (of(pole_re), of(pole_im), of(gain_re), of(gain_im));
        let (mut hr, mut hi) = (of(&state.re), of(&state.im));
        for (u, y) in u.iter().zip(y.iter_mut()) {
            let u = v.load(&u[j % COLUMNS..]);
            let mut sum = v.splat(T::ZERO);
            for p in 0..MODES {
                // h ← λ·h + u
                let re = v.mul_add(lr[p], hr[p], v.neg_mul_add(li[p], hi[p], u));
                hi[p] = v.mul_add(lr[p], hi[p], v.mul(li[p], hr[p]));
                hr[p] = re;
                // y = Re Σ c·h
                sum = v.neg_mul_add(ci[p], hi[p], v.mul_add(cr[p], hr[p], sum));
            }
            v.store(&mut y[j..], sum);
        }
        for p in 0..MODES {
            v.store(&mut state.re[p * FILTERS + j..], math::flush(v, hr[p]));
            v.store(&mut state.im[p * FILTERS + j..], math::flush(v, hi[p]));
        }
    }
}

/// Responses y `[steps, FILTERS]` to the inputs u `[steps, COLUMNS]`.
///
/// # Panics
/// If a slice does not have the length that the formulas say.
pub fn responses<T: Scalar>(filters: Filters<T>, u: &[T], y: &mut [T]) {
    filters.check();
    assert!(
        u.len().is_multiple_of(COLUMNS) && y.len() == u.len() * ROWS,
        "u [T, {COLUMNS}], y [T, {FILTERS}]"
    );
    simd::run(Responses { filters, u, y });
}

pub(super) struct Responses<'a, T> {
    pub(super) filters: Filters<'a, T>,
    pub(super) u: &'a [T],
    pub(super) y: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Responses<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let mut state = State::new();
        let tiles = self.u.chunks(TILE * COLUMNS).zip(self.y.chunks_mut(TILE * FILTERS));
        for (u, y) in tiles {
            tile(v, self.filters, &mut state, u.as_chunks().0, y.as_chunks_mut().0);
        }
    }
}
