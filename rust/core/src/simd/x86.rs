//! Sums of many vectors at once on x86-64, by transposing in registers.
//!
//! One sum after the other takes some eight instructions each and leaves most lanes idle. Sixteen vectors of sixteen lanes
//! (eight of eight) are folded in halves instead, two vectors into one at every fold, so that one vector with the sums of
//! all of them remains: fifteen folds of two shuffles and an addition, under three instructions for each sum. In the
//! backward scan, which sums over the channels for every token and state, this is 4 % of the time.
//!
//! Within 128 bits: fold(a, b) = \[a0+a2, b0+b2, a1+a3, b1+b3\], and again with the next pair
//! \[a, b, c, d\]; then the 128-bit parts.

use std::arch::x86_64::{
    __m256, __m512, _mm256_add_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_loadu_ps,
    _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps,
    _mm256_unpacklo_pd, _mm256_unpacklo_ps, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_loadu_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

/// `out[j]` = sum of `x[8j .. 8j + 8]`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn sum_each_8(x: &[f32], out: &mut [f32]) {
    let fold = |a: __m256, b: __m256| _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let fold_pairs = |a: __m256, b: __m256| {
        let (a, b) = (_mm256_castps_pd(a), _mm256_castps_pd(b));
        _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)))
    };
    for (x, out) in x.chunks(64).zip(out.chunks_mut(8)) {
        let mut v = [_mm256_setzero_ps(); 8];
        for (v, x) in v.iter_mut().zip(x.chunks_exact(8)) {
            // SAFETY: eight numbers.
            *v = unsafe { _mm256_loadu_ps(x.as_ptr()) };
        }
        let four = |i: usize| fold_pairs(fold(v[i], v[i + 1]), fold(v[i + 2], v[i + 3]));
        let (low, high) = (four(0), four(4));
        let sums = _mm256_add_ps(
            _mm256_permute2f128_ps::<0x20>(low, high),
            _mm256_permute2f128_ps::<0x31>(low, high),
        );
        let mut all = [0.0; 8];
        let to = if out.len() == 8 { &mut *out } else { &mut all[..] };
        // SAFETY: eight numbers.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), sums) };
        if out.len() < 8 {
            out.copy_from_slice(&all[..out.len()]);
        }
    }
}

/// `out[j]` = sum of `x[16j .. 16j + 16]`.
#[target_feature(enable = "avx512f")]
pub(super) fn sum_each_16(x: &[f32], out: &mut [f32]) {
    let fold = |a: __m512, b: __m512| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let fold_pairs = |a: __m512, b: __m512| {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)))
    };
    // \[a0+a1, a2+a3, b0+b1, b2+b3\] of the 128-bit parts.
    let fold_parts = |a: __m512, b: __m512| {
        _mm512_add_ps(
            _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b),
        )
    };
    for (x, out) in x.chunks(256).zip(out.chunks_mut(16)) {
        let mut v = [_mm512_setzero_ps(); 16];
        for (v, x) in v.iter_mut().zip(x.chunks_exact(16)) {
            // SAFETY: sixteen numbers.
            *v = unsafe { _mm512_loadu_ps(x.as_ptr()) };
        }
        let four = |i: usize| fold_pairs(fold(v[i], v[i + 1]), fold(v[i + 2], v[i + 3]));
        let sums = fold_parts(fold_parts(four(0), four(4)), fold_parts(four(8), four(12)));
        let mut all = [0.0; 16];
        let to = if out.len() == 16 { &mut *out } else { &mut all[..] };
        // SAFETY: sixteen numbers.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sums) };
        if out.len() < 16 {
            out.copy_from_slice(&all[..out.len()]);
        }
    }
}
