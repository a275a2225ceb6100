//! Sums over the lanes of four vectors at once on x86-64, by transposing in registers.
//!
//! One sum after the other takes some eight instructions each and leaves most lanes idle. Four vectors are folded into one
//! instead, which holds partial sums of all of them: three folds of two shuffles and an addition. In the backward scan,
//! which sums over the channels for every token and state, the folded vector is also all that has to be kept.
//!
//! Within 128 bits: fold(a, b) = \[a0+a2, b0+b2, a1+a3, b1+b3\], and again with the next pair \[a, b, c, d\].

use std::arch::x86_64::{
    __m256, __m512, _mm256_add_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_unpackhi_pd,
    _mm256_unpackhi_ps, _mm256_unpacklo_pd, _mm256_unpacklo_ps, _mm512_add_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

/// Lane 4j + k is the sum of the lanes 4j .. 4j + 4 of `x[k]`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn fold_8([a, b, c, d]: [__m256; 4]) -> __m256 {
    let fold = |a: __m256, b: __m256| _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (ab, cd) = (_mm256_castps_pd(fold(a, b)), _mm256_castps_pd(fold(c, d)));
    _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)), _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)))
}

/// Lane 4j + k is the sum of the lanes 4j .. 4j + 4 of `x[k]`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn fold_16([a, b, c, d]: [__m512; 4]) -> __m512 {
    let fold = |a: __m512, b: __m512| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (ab, cd) = (_mm512_castps_pd(fold(a, b)), _mm512_castps_pd(fold(c, d)));
    _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)))
}
