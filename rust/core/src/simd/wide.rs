//! f32 vectors of every instruction set, through `pulp`, and the one place that chooses among them.

use pulp::Simd;

use super::isa::Isa;
use super::kernel::Kernel;
use super::plain::Plain;
use super::vector::Vector;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// f32 lanes of the instruction set `S`. `S` can only be built where the processor has it: the token is the proof.
#[derive(Clone, Copy, Debug)]
pub struct Wide<S>(S);

impl<S: Simd> Wide<S> {
    /// A mask as lanes of ones or zeros; None where masks are registers of their own.
    #[inline(always)]
    fn bits(mask: S::m32s) -> Option<S::u32s> {
        if size_of::<S::m32s>() != size_of::<S::u32s>() {
            return None;
        }
        // SAFETY: of the same size (checked), masks have no padding, and u32s has no invalid values.
        Some(unsafe { (&raw const mask).cast::<S::u32s>().read_unaligned() })
    }
}

impl<S: Simd> Vector for Wide<S> {
    type T = f32;
    type V = S::f32s;
    type Mask = S::m32s;
    const LANES: usize = S::F32_LANES;
    const EXACT: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> S::f32s {
        self.0.splat_f32s(x)
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> S::f32s {
        assert!(x.len() >= Self::LANES);
        // SAFETY: LANES numbers are readable (asserted), f32s is LANES of them without invalid values.
        unsafe { x.as_ptr().cast::<S::f32s>().read_unaligned() }
    }
    #[inline(always)]
    fn store(self, x: &mut [f32], v: S::f32s) {
        assert!(x.len() >= Self::LANES);
        // SAFETY: LANES numbers are writable (asserted) and borrowed by us alone.
        unsafe { x.as_mut_ptr().cast::<S::f32s>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> S::f32s {
        // SAFETY: readable by the caller's promise.
        unsafe { x.cast::<S::f32s>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, x: *mut f32, v: S::f32s) {
        // SAFETY: writable and unaliased by the caller's promise.
        unsafe { x.cast::<S::f32s>().write_unaligned(v) }
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> S::f32s {
        self.0.partial_load_f32s(&x[..x.len().min(Self::LANES)])
    }
    #[inline(always)]
    fn store_partial(self, x: &mut [f32], v: S::f32s) {
        let n = x.len().min(Self::LANES);
        self.0.partial_store_f32s(&mut x[..n], v);
    }
    #[inline(always)]
    fn add(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }
    #[inline(always)]
    fn sub(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.sub_f32s(a, b)
    }
    #[inline(always)]
    fn mul(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.mul_f32s(a, b)
    }
    #[inline(always)]
    fn div(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.div_f32s(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        self.0.mul_add_f32s(a, b, c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        self.0.mul_add_f32s(self.0.neg_f32s(a), b, c)
    }
    #[inline(always)]
    fn max(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.max_f32s(a, b)
    }
    #[inline(always)]
    fn min(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.min_f32s(a, b)
    }
    #[inline(always)]
    fn abs(self, a: S::f32s) -> S::f32s {
        self.0.abs_f32s(a)
    }
    #[inline(always)]
    fn neg(self, a: S::f32s) -> S::f32s {
        self.0.neg_f32s(a)
    }
    #[inline(always)]
    fn sqrt(self, a: S::f32s) -> S::f32s {
        self.0.sqrt_f32s(a)
    }
    #[inline(always)]
    fn select_less(self, a: S::f32s, b: S::f32s, x: S::f32s, y: S::f32s) -> S::f32s {
        self.0.select_f32s(self.0.less_than_f32s(a, b), x, y)
    }
    #[inline(always)]
    fn less(self, a: S::f32s, b: S::f32s) -> S::m32s {
        self.0.less_than_f32s(a, b)
    }
    #[inline(always)]
    fn keep(self, mask: S::m32s, x: S::f32s) -> S::f32s {
        let s = self.0;
        match Self::bits(mask) {
            Some(bits) => s.transmute_f32s_u32s(s.and_u32s(bits, s.transmute_u32s_f32s(x))),
            None => s.select_f32s(mask, x, s.splat_f32s(0.0)),
        }
    }
    #[inline(always)]
    fn discard(self, mask: S::m32s, x: S::f32s) -> S::f32s {
        let s = self.0;
        match Self::bits(mask) {
            Some(bits) => s.transmute_f32s_u32s(s.and_u32s(s.not_u32s(bits), s.transmute_u32s_f32s(x))),
            None => s.select_f32s(mask, s.splat_f32s(0.0), x),
        }
    }
    #[inline(always)]
    fn scale_pow2(self, p: S::f32s, t: S::f32s) -> S::f32s {
        let s = self.0;
        let shift = s.splat_u32s(23);
        let exponent = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(t), shift);
        s.transmute_f32s_u32s(s.add_u32s(s.transmute_u32s_f32s(p), exponent))
    }
    #[inline(always)]
    fn sum(self, a: S::f32s) -> f32 {
        self.0.reduce_sum_f32s(a)
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn fold(self, x: [S::f32s; 4]) -> Option<S::f32s> {
        use std::mem::transmute_copy;
        // SAFETY: only the tokens of AVX2 and AVX-512 have these numbers of lanes; they prove the instructions, and a
        // register of theirs is one of the processor's.
        unsafe {
            match Self::LANES {
                8 => Some(transmute_copy(&x86::fold_8(x.map(|x| transmute_copy(&x))))),
                16 => Some(transmute_copy(&x86::fold_16(x.map(|x| transmute_copy(&x))))),
                _ => None,
            }
        }
    }
    #[inline(always)]
    fn max_lane(self, a: S::f32s) -> f32 {
        self.0.reduce_max_f32s(a)
    }
    #[inline(always)]
    fn map(self, a: S::f32s, f: impl Fn(f32) -> f32) -> S::f32s {
        let mut lanes = [0.0_f32; 64];
        self.store(&mut lanes[..], a);
        for lane in &mut lanes[..Self::LANES] {
            *lane = f(*lane);
        }
        self.load(&lanes[..])
    }
}

/// Passes a kernel to `pulp`, which compiles its body for the instruction set.
struct Carrier<K>(K);

impl<K: Kernel<f32>> pulp::WithSimd for Carrier<K> {
    type Output = K::Output;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> K::Output {
        self.0.run(Wide(simd))
    }
}

/// Runs the body compiled for `isa`; one lane where the processor lacks it, which [`Isa::active`] never chooses.
#[inline]
pub(super) fn dispatch<K: Kernel<f32>>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            if let Some(simd) = pulp::x86::V4::try_new() {
                return Simd::vectorize(simd, Carrier(kernel));
            }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            if let Some(simd) = pulp::x86::V3::try_new() {
                return Simd::vectorize(simd, Carrier(kernel));
            }
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => {
            if let Some(simd) = pulp::aarch64::Neon::try_new() {
                return Simd::vectorize(simd, Carrier(kernel));
            }
        }
        _ => {}
    }
    kernel.run(Plain::new())
}
