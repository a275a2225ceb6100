//! The portable vector: one algorithm, every instruction set, chosen once at run time.
//!
//! A kernel is a struct that holds its slices and implements [`Kernel`]; its body is generic over [`Vector`], a token
//! that exists only where the processor has the instructions. [`run`] calls the body for the instruction set chosen at
//! start ([`Isa::active`]); for f64 it always calls it with [`Plain`], one lane at a time.
//!
//! | name | lanes of f32 | processor |
//! |---|---|---|
//! | scalar | 1 | any |
//! | avx2 | 8 | x86-64 with AVX2 and FMA |
//! | avx512 | 16 | x86-64 with AVX-512 F, BW, CD, DQ, VL |
//! | neon | 4 | 64-bit Arm |
//!
//! `SSM_HPN_SIMD` forces one of the four. The scalar body rounds a·b + c twice, the others once.

mod plain;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

pub mod math;

use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::numeric::Scalar;

pub use plain::Plain;
pub use wide::Wide;

/// A token of one instruction set, with the operations of its vector register. All lanes behave alike.
///
/// Comparisons and `min`/`max` assume that no lane is NaN, except where a method says otherwise.
pub trait Vector: Copy + Send + Sync {
    /// Number in a lane.
    type T: Scalar;
    /// The register.
    type V: Copy + Send + Sync;
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

    /// `LANES` numbers from `x` on, no alignment needed.
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
    /// p · 2^n for the integer n that was rounded by adding 1.5·2^23: `t = n + 1.5·2^23`. p in [0.5, 2), the result a
    /// normal number. f32 only: exact lanes never call it.
    fn scale_pow2(self, p: Self::V, t: Self::V) -> Self::V;
    /// Splits normal positive x into (m, e) with x = m·2^e, m in [√½, √2). f32 only: exact lanes never call it.
    fn split_pow2(self, x: Self::V) -> (Self::V, Self::V);
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
pub(crate) fn sum_folded<T: Scalar>(folded: &[T], out: &mut [T]) {
    let (parts, _) = folded.as_chunks::<4>();
    let sums = parts.iter().skip(1).fold(parts[0], |sums, part| std::array::from_fn(|k| sums[k] + part[k]));
    out.copy_from_slice(&sums[..out.len()]);
}

/// A kernel body, written once for every instruction set.
pub trait Kernel<T: Scalar> {
    /// What the kernel returns.
    type Output;
    /// The body; mark it and everything it calls `#[inline(always)]`, so that it is compiled for the instruction set.
    fn run<V: Vector<T = T>>(self, v: V) -> Self::Output;
}

/// How a number type reaches its vector body. Sealed through [`Scalar`].
pub trait Dispatch: Sized {
    /// Runs the body for `isa`, or the plain one where the type has no vectors.
    fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output
    where
        Self: Scalar;
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

/// Asks the processor to bring `x[from .. from + len]` close, for a use some thousand cycles later. No effect on results;
/// nothing at all where there is no stable instruction for it, or outside the slice.
#[inline(always)]
pub fn prefetch<T>(x: &[T], from: usize, len: usize) {
    const LINE_BYTES: usize = 64;
    for part in x.get(from..from + len).unwrap_or(&[]).chunks(LINE_BYTES / size_of::<T>()) {
        prefetch_line(part.as_ptr());
    }
}

/// As [`prefetch`], the cache line that holds `x`, which need not point to anything.
#[inline(always)]
pub(crate) fn prefetch_line<T>(x: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction, and it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(x.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = x;
}

/// Runs a kernel on the instruction set chosen at start.
#[inline]
pub fn run<T: Scalar, K: Kernel<T>>(kernel: K) -> K::Output {
    T::dispatch(Isa::active(), kernel)
}

/// Runs a kernel on a given instruction set, for tests and benches.
///
/// # Panics
/// If the processor lacks it.
pub fn run_on<T: Scalar, K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output {
    assert!(isa.is_available(), "{} is not available on this processor", isa.name());
    T::dispatch(isa, kernel)
}

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// One lane; any processor.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, CD, DQ, VL.
    Avx512,
    /// NEON.
    Neon,
}

impl Isa {
    /// All names, best last for each processor family.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// Name as in `SSM_HPN_SIMD`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        self == Self::Scalar || wide::is_available(self)
    }

    /// Those that this processor has, best last.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The one in use: `SSM_HPN_SIMD`, else the best. Chosen once. A wrong setting counts as none here; a model is not made
    /// with one ([`Isa::check_environment`]).
    pub fn active() -> Self {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| Self::check_environment().unwrap_or_else(|_| Self::best()))
    }

    /// The instruction set that the environment asks for, or the best one if it asks for none.
    pub fn check_environment() -> Result<Self> {
        let Ok(name) = std::env::var("SSM_HPN_SIMD") else { return Ok(Self::best()) };
        let have = Self::available();
        have.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = have.iter().map(|isa| isa.name()).collect();
            let expected = format!("one of {} on this processor", names.join(", "));
            Error::config("SSM_HPN_SIMD", expected, format!("{name:?}"), "unset it to take the best")
        })
    }

    fn best() -> Self {
        *Self::available().last().unwrap_or(&Self::Scalar)
    }
}

#[cfg(test)]
mod tests;
