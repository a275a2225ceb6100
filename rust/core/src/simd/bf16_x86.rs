//! Packing to bf16 blocks, and their products with AVX512-BF16.
//!
//! `vdpbf16ps c, a, b` adds two products to each sum, the odd term first, each addition rounded once (nearest even; numbers below
//! the smallest normal one count as zero): a vector of b holds a pair of terms of 16 columns, a one pair in all lanes.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_castpd_ps, _mm512_castps_pd, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps,
    _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::block::{Block, BlockProduct, LINES, Order, Source, TERMS};
use super::prefetch::prefetch_line;

/// Words 0, 16, 1, 17, …: the words of two halves in turns.
const INTERLEAVED: [u16; TERMS] = {
    let mut words = [0; TERMS];
    let mut i = 0;
    while i < LINES {
        (words[2 * i], words[2 * i + 1]) = (i as u16, (LINES + i) as u16);
        i += 1;
    }
    words
};

/// Sixteen vectors, the content of a block.
type Rows = [__m512; LINES];

/// # Safety
/// AVX-512 F, BW and BF16; otherwise as [`super::bf16::BlockUnit::pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn pack(source: Source, order: Order, out: *mut Block, strip_blocks: usize) {
    let (strips, blocks) = (source.lines.div_ceil(LINES), source.terms.div_ceil(TERMS));
    // Through memory in the direction in which it lies.
    let along_terms = source.term_step == 1;
    let (outer, inner) = if along_terms { (strips, blocks) } else { (blocks, strips) };
    for i in 0..outer {
        for j in 0..inner {
            let (strip, block) = if along_terms { (i, j) } else { (j, i) };
            let (line, term) = (strip * LINES, block * TERMS);
            let part = Source {
                start: source.start.wrapping_add(line * source.line_step + term * source.term_step),
                lines: (source.lines - line).min(LINES),
                terms: (source.terms - term).min(TERMS),
                ..source
            };
            // SAFETY: elements of the source and a block of the output, by the caller's promise.
            unsafe {
                let more = block + 1 < blocks;
                pack_block(part, order, out.add(strip * strip_blocks + block), more);
            }
        }
    }
}

/// # Safety
/// As [`pack`], for one block; `more` where the source has the next 32 terms too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_block(source: Source, order: Order, out: *mut Block, more: bool) {
    let along_terms = source.term_step == 1;
    // SAFETY: the elements are readable by the caller's promise.
    let rows = unsafe { if along_terms { lines(source) } else { pairs(source, more) } };
    let rows = if along_terms == (order == Order::Lines) { rows } else { transposed(&rows) };
    for (i, row) in rows.into_iter().enumerate() {
        // SAFETY: 16 vectors are a block.
        unsafe { _mm512_storeu_ps(out.cast::<f32>().add(i * LINES), row) };
    }
}

/// The lines of a block, 32 terms each.
///
/// # Safety
/// The elements of the source are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn lines(source: Source) -> Rows {
    let mut rows = [_mm512_setzero_ps(); LINES];
    let (low, high) = (mask(source.terms), mask(source.terms.saturating_sub(LINES)));
    for (line, row) in rows.iter_mut().enumerate().take(source.lines) {
        let start = source.start.wrapping_add(line * source.line_step);
        // SAFETY: the mask leaves out what is beyond the terms.
        *row = unsafe {
            words(_mm512_cvtne2ps_pbh(
                _mm512_maskz_loadu_ps(high, start.wrapping_add(LINES)),
                _mm512_maskz_loadu_ps(low, start),
            ))
        };
    }
    rows
}

/// The pairs of terms of a block, of 16 lines each. Each term is in a cache line of its own, a row of the source apart, which
/// hardware does not prefetch: those of the next block are requested here.
///
/// # Safety
/// The elements of the source are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pairs(source: Source, more: bool) -> Rows {
    let mut rows = [_mm512_setzero_ps(); LINES];
    let of_lines = mask(source.lines);
    // SAFETY: 32 words are a vector.
    let order: __m512i = unsafe { std::mem::transmute(INTERLEAVED) };
    for (pair, row) in rows.iter_mut().enumerate().take(source.terms.div_ceil(2)) {
        let first = source.start.wrapping_add(2 * pair * source.term_step);
        if more {
            for term in [TERMS, TERMS + 1] {
                prefetch_line(first.wrapping_add(term * source.term_step));
            }
        }
        let second_mask = if 2 * pair + 1 < source.terms { of_lines } else { 0 };
        // SAFETY: the masks leave out what is beyond the lines and terms.
        let both = unsafe {
            words(_mm512_cvtne2ps_pbh(
                _mm512_maskz_loadu_ps(second_mask, first.wrapping_add(source.term_step)),
                _mm512_maskz_loadu_ps(of_lines, first),
            ))
        };
        // SAFETY: vectors of the same size.
        *row = unsafe {
            std::mem::transmute::<__m512i, __m512>(_mm512_permutexvar_epi16(
                order,
                std::mem::transmute::<__m512, __m512i>(both),
            ))
        };
    }
    rows
}

/// A mask of the first `n` of 16 lanes.
fn mask(n: usize) -> u16 {
    if n >= LINES { u16::MAX } else { (1 << n) - 1 }
}

/// bf16 numbers as a vector to move.
#[inline]
#[target_feature(enable = "avx512f")]
fn words(x: __m512bh) -> __m512 {
    // SAFETY: of the same size, and every bit pattern is a number.
    unsafe { std::mem::transmute(x) }
}

/// The transposed square of 32-bit elements: those of lines become those of pairs, and back.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: &Rows) -> Rows {
    let zero = _mm512_setzero_ps();
    let (mut x, mut y) = (*rows, [zero; LINES]);
    // Within 128 bits: squares of 2, then of 4.
    for i in (0..LINES).step_by(2) {
        y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    for i in (0..LINES).step_by(4) {
        for half in 0..2 {
            let (a, b) = (_mm512_castps_pd(y[i + half]), _mm512_castps_pd(y[i + half + 2]));
            x[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            x[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    // x[4q + c] has column c of rows 4q .. 4q + 4 in its first 128 bits, column 4 + c in the second, and so on.
    for c in 0..4 {
        let low = _mm512_shuffle_f32x4::<0x88>(x[c], x[4 + c]);
        let high = _mm512_shuffle_f32x4::<0xdd>(x[c], x[4 + c]);
        let low_too = _mm512_shuffle_f32x4::<0x88>(x[8 + c], x[12 + c]);
        let high_too = _mm512_shuffle_f32x4::<0xdd>(x[8 + c], x[12 + c]);
        y[c] = _mm512_shuffle_f32x4::<0x88>(low, low_too);
        y[8 + c] = _mm512_shuffle_f32x4::<0xdd>(low, low_too);
        y[4 + c] = _mm512_shuffle_f32x4::<0x88>(high, high_too);
        y[12 + c] = _mm512_shuffle_f32x4::<0xdd>(high, high_too);
    }
    y
}

/// Rows of the left factor whose sums are in registers together.
const TOGETHER: usize = 8;

/// # Safety
/// AVX-512 F, BW and BF16; the pointers as the fields of [`BlockProduct`] say.
pub(super) unsafe fn multiply(p: &BlockProduct) {
    for strip in 0..p.strips[0] {
        for first in (0..LINES).step_by(TOGETHER) {
            // SAFETY: rows of a strip; the rest by the caller's promise.
            unsafe {
                let c = p.c.add((strip * LINES + first) * p.c_stride);
                let a = p.a[strip].cast::<i32>().add(first * TERMS / 2);
                if p.strips[1] == 2 { some_rows::<2>(p, a, c) } else { some_rows::<1>(p, a, c) }
            }
        }
    }
}

/// Eight rows times one or two strips of columns.
///
/// # Safety
/// As [`multiply`]; `a` is the first pair of the rows in the first block.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[expect(
    clippy::needless_range_loop,
    reason = "over indices the compiler unrolls early, and keeps sums in registers"
)]
unsafe fn some_rows<const STRIPS: usize>(p: &BlockProduct, a: *const i32, c: *mut f32) {
    const PAIRS: usize = TERMS / 2;
    let mut sums = [[_mm512_setzero_ps(); STRIPS]; TOGETHER];
    // SAFETY: sums and blocks by the caller's promise.
    unsafe {
        if p.add {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(c.add(i * p.c_stride + j * LINES));
                }
            }
        }
        for step in 0..p.steps {
            for pair in 0..PAIRS {
                let b: [__m512bh; STRIPS] = std::array::from_fn(|j| {
                    std::mem::transmute::<__m512, __m512bh>(_mm512_loadu_ps(
                        p.b[j].add(step).cast::<f32>().add(pair * LINES),
                    ))
                });
                for i in 0..TOGETHER {
                    let a = _mm512_set1_epi32(*a.add(step * LINES * PAIRS + i * PAIRS + pair));
                    let a = std::mem::transmute::<__m512i, __m512bh>(a);
                    for j in 0..STRIPS {
                        sums[i][j] = _mm512_dpbf16_ps(sums[i][j], a, b[j]);
                    }
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(c.add(i * p.c_stride + j * LINES), sum);
            }
        }
    }
}
