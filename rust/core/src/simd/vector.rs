//! The register of an instruction set and its operations.

use crate::real::Real;

/// A token of one instruction set, with the operations of its vector register. All lanes behave alike.
///
/// Comparisons and `min`/`max` assume that no lane is NaN, except where a method says otherwise.
pub trait Vector: Copy + Send + Sync {
    /// Number in a lane.
    type T: Real;
    /// The register.
    type V: Copy + Send + Sync;
    /// True or false for each lane.
    type Mask: Copy + Send + Sync;
    /// Lanes of a register.
    const LANES: usize;
    /// True where elementary functions come from the standard library (f64), false where they are polynomials (f32).
    const EXACT: bool;
    /// Numbers that [`Vector::add_folded`] adds to.
    const FOLD: usize = if Self::LANES < 4 { 4 } else { Self::LANES };

    /// Every lane `x`.
    fn splat(self, x: Self::T) -> Self::V;
    /// The first `LANES` numbers of `x`; panics if there are fewer.
    fn load(self, x: &[Self::T]) -> Self::V;
    /// Writes the first `LANES` numbers of `x`; panics if there are fewer.
    fn store(self, x: &mut [Self::T], v: Self::V);
    /// The first `min(LANES, len)` numbers, zeros behind them.
    fn load_partial(self, x: &[Self::T]) -> Self::V;
    /// Writes the first `min(LANES, len)` lanes.
    fn store_partial(self, x: &mut [Self::T], v: Self::V);

    /// The numbers from `x[i]` on: a whole register, or what is left with zeros behind.
    #[inline(always)]
    fn load_at(self, x: &[Self::T], i: usize) -> Self::V {
        let rest = &x[i..];
        if rest.len() >= Self::LANES { self.load(rest) } else { self.load_partial(rest) }
    }
    /// Writes to `x[i]` and on: a whole register, or what is left of `x`.
    #[inline(always)]
    fn store_at(self, x: &mut [Self::T], i: usize, v: Self::V) {
        let rest = &mut x[i..];
        if rest.len() >= Self::LANES { self.store(rest, v) } else { self.store_partial(rest, v) }
    }

    /// Reads `LANES` numbers from `x` on, no alignment needed.
    ///
    /// # Safety
    /// `x .. x + LANES` is readable.
    #[inline(always)]
    unsafe fn load_ptr(self, x: *const Self::T) -> Self::V {
        // SAFETY: readable by the caller's promise.
        self.load(unsafe { std::slice::from_raw_parts(x, Self::LANES) })
    }
    /// Writes `LANES` numbers from `x` on, no alignment needed.
    ///
    /// # Safety
    /// `x .. x + LANES` is writable and nothing else refers to it.
    #[inline(always)]
    unsafe fn store_ptr(self, x: *mut Self::T, v: Self::V) {
        // SAFETY: writable and unaliased by the caller's promise.
        self.store(unsafe { std::slice::from_raw_parts_mut(x, Self::LANES) }, v);
    }

    /// a + b.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, rounded once (twice in the scalar body).
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c - a · b, rounded once (twice in the scalar body).
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; b where b is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; b where b is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// |a|.
    fn abs(self, a: Self::V) -> Self::V;
    /// -a.
    fn neg(self, a: Self::V) -> Self::V;
    /// √a.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// a < b ? x : y, lane by lane; false where a or b is NaN.
    fn select_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// a < b, lane by lane; false where a or b is NaN.
    fn less(self, a: Self::V, b: Self::V) -> Self::Mask;
    /// x where the mask is true, else 0: quicker than [`Vector::select_less`].
    fn keep(self, mask: Self::Mask, x: Self::V) -> Self::V;
    /// 0 where the mask is true, else x.
    fn discard(self, mask: Self::Mask, x: Self::V) -> Self::V;
    /// p · 2^n for the integer n that was rounded by adding 1.5·2^23: `t = n + 1.5·2^23`. p in [0.5, 2), the result a
    /// normal number. f32 only: exact lanes never call it.
    fn scale_pow2(self, p: Self::V, t: Self::V) -> Self::V;
    /// Sum over the lanes in a fixed tree.
    fn sum(self, a: Self::V) -> Self::T;
    /// Four vectors in one: lane 4j + k is the sum of the lanes 4j .. 4j + 4 of `x[k]`. None where there are no instructions
    /// for it.
    #[inline(always)]
    fn fold(self, _: [Self::V; 4]) -> Option<Self::V> {
        None
    }
    /// Adds the lanes of four vectors to `to .. to + FOLD`: the sum of all `to[4j + k]` grows by the sum of `x[k]`.
    ///
    /// # Safety
    /// `to .. to + FOLD` is writable and nothing else refers to it.
    #[inline(always)]
    unsafe fn add_folded(self, x: [Self::V; 4], to: *mut Self::T) {
        if let Some(folded) = self.fold(x) {
            // SAFETY: LANES numbers, which are FOLD where vectors can be folded.
            unsafe { self.store_ptr(to, self.add(folded, self.load_ptr(to))) };
            return;
        }
        for (k, x) in x.into_iter().enumerate() {
            // SAFETY: FOLD is at least four.
            unsafe { *to.add(k) = *to.add(k) + self.sum(x) };
        }
    }
    /// `out[j]` = sum of the LANES numbers of `x` from j·LANES on, each in the same order.
    #[inline(always)]
    fn sum_each(self, x: &[Self::T], out: &mut [Self::T]) {
        let zero = self.splat(Self::T::ZERO);
        for (x, out) in x.chunks(4 * Self::LANES).zip(out.chunks_mut(4)) {
            let mut four = [zero; 4];
            four.iter_mut().zip(x.chunks_exact(Self::LANES)).for_each(|(four, x)| *four = self.load(x));
            let mut folded = [Self::T::ZERO; MAX_LANES];
            // SAFETY: FOLD numbers of our own.
            unsafe { self.add_folded(four, folded.as_mut_ptr()) };
            sum_folded(&folded[..Self::FOLD], out);
        }
    }
    /// Largest lane.
    fn max_lane(self, a: Self::V) -> Self::T;
    /// `f` on every lane.
    fn map(self, a: Self::V, f: impl Fn(Self::T) -> Self::T) -> Self::V;
}

/// Most lanes of any instruction set.
pub(crate) const MAX_LANES: usize = 16;

/// `out[k]` = sum of all `folded[4j + k]`, at most four: the end of [`Vector::add_folded`].
#[inline(always)]
pub(crate) fn sum_folded<T: Real>(folded: &[T], out: &mut [T]) {
    let (parts, _) = folded.as_chunks::<4>();
    let sums = parts.iter().skip(1).fold(parts[0], |sums, part| std::array::from_fn(|k| sums[k] + part[k]));
    out.copy_from_slice(&sums[..out.len()]);
}
