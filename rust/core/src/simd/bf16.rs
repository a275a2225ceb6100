//! Products whose factors are rounded to bf16: the unit that computes them, from blocks (`block`).
//!
//! | unit | sums of 16 x 16 lines and 32 terms |
//! |---|---|
//! | amx | one instruction, on x86-64 with AMX-TILE, AMX-BF16 and AVX512-BF16, on Linux |
//! | avx512_bf16 | 256, on x86-64 with AVX512-BF16 |
//! | emulated | none: rounded copies of the factors are multiplied in f32, with any [`Isa`] |
//!
//! Each unit adds the terms in an order of its own, always the same.

use std::sync::OnceLock;

use super::block::{Block, BlockProduct, Order, Source};
use super::isa::Isa;
use crate::error::{Error, Result};

/// The unit that computes products of factors rounded to bf16.
///
/// ```
/// use ssm_hpn::simd::Bf16Unit;
///
/// // Every processor can emulate them, more slowly than products in f32.
/// assert_eq!(Bf16Unit::available()[0].name(), "emulated");
/// assert!(Bf16Unit::available().contains(&Bf16Unit::active()));
/// # if std::env::var("SSM_HPN_BF16").is_err() {
/// // With SSM_HPN_BF16 unset it is the fastest one.
/// assert_eq!(Bf16Unit::available().last(), Some(&Bf16Unit::check_environment()?));
/// # }
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16Unit {
    /// Rounded copies, multiplied in f32.
    Emulated,
    /// The vector instructions AVX512-BF16.
    Avx512Bf16,
    /// The matrix unit AMX.
    Amx,
}

impl Bf16Unit {
    /// All units, the fastest last.
    pub const ALL: [Self; 3] = [Self::Emulated, Self::Avx512Bf16, Self::Amx];

    /// Name as in `SSM_HPN_BF16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::Avx512Bf16 => "avx512_bf16",
            Self::Amx => "amx",
        }
    }

    /// Whether this processor has it.
    fn is_there(self) -> bool {
        match self {
            Self::Emulated => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Isa::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512Bf16.is_there() && super::amx::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The units that may be used, the fastest last: beside `emulated` those of the processor where [`Isa::active`] is AVX-512.
    pub fn available() -> Vec<Self> {
        let wide = Isa::active() == Isa::Avx512;
        Self::ALL.into_iter().filter(|&unit| unit == Self::Emulated || wide && unit.is_there()).collect()
    }

    /// The one in use: `SSM_HPN_BF16`, else the fastest. Chosen once. A wrong setting counts as none here; training with bf16
    /// does not begin with one ([`Bf16Unit::check_environment`]).
    pub fn active() -> Self {
        static ACTIVE: OnceLock<Bf16Unit> = OnceLock::new();
        *ACTIVE.get_or_init(|| Self::check_environment().unwrap_or_else(|_| Self::fastest()))
    }

    /// The unit that the environment asks for, or the fastest if it asks for none.
    pub fn check_environment() -> Result<Self> {
        let Ok(name) = std::env::var("SSM_HPN_BF16") else { return Ok(Self::fastest()) };
        let have = Self::available();
        have.iter().copied().find(|unit| unit.name() == name).ok_or_else(|| {
            let names: Vec<_> = have.iter().map(|unit| unit.name()).collect();
            let expected = format!("one of {} on this processor", names.join(", "));
            Error::config("SSM_HPN_BF16", expected, format!("{name:?}"), "unset it to take the fastest")
        })
    }

    fn fastest() -> Self {
        *Self::available().last().unwrap_or(&Self::Emulated)
    }

    /// The unit as one that multiplies blocks; None if it is emulated or not there.
    pub(crate) fn blocks(self) -> Option<BlockUnit> {
        (self != Self::Emulated && self.is_there()).then_some(BlockUnit(self))
    }
}

/// A unit of the processor that multiplies blocks. That it exists is the proof that its instructions are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockUnit(Bf16Unit);

impl BlockUnit {
    /// Rounds and packs into strips that are `strip_blocks` apart, ⌈terms / 32⌉ blocks each.
    ///
    /// # Safety
    /// All elements of the source are readable, and the blocks of ⌈lines / 16⌉ strips from `out` on are writable by this call alone.
    #[expect(clippy::unused_self, reason = "the unit is the proof that the instructions are there")]
    pub(crate) unsafe fn pack(self, source: Source, order: Order, out: *mut Block, strip_blocks: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: both units have AVX512-BF16; the rest by the caller's promise.
        unsafe {
            super::bf16_x86::pack(source, order, out, strip_blocks);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (source, order, out, strip_blocks);
    }

    /// Runs `f`, in which this thread may call [`BlockUnit::multiply`].
    pub(crate) fn with<R>(self, f: impl FnOnce() -> R) -> R {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the unit is there.
            Bf16Unit::Amx => unsafe { super::amx::with_tiles(f) },
            _ => f(),
        }
    }

    /// c = a·b or c += a·b, step by step.
    ///
    /// # Safety
    /// Inside [`BlockUnit::with`]. The blocks are readable; the sums are writable, nothing else uses them meanwhile, and with
    /// `add` they are initialised.
    pub(crate) unsafe fn multiply(self, product: &BlockProduct) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the unit is there; the rest by the caller's promise.
        unsafe {
            match self.0 {
                Bf16Unit::Amx => super::amx::multiply(product),
                _ => super::bf16_x86::multiply(product),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = product;
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::{LINES, TERMS};
    use super::*;
    use crate::real::Real;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next() * 2.0_f32.powi((next() * 10.0) as i32)).collect()
    }

    fn units() -> Vec<BlockUnit> {
        Bf16Unit::ALL.into_iter().filter_map(Bf16Unit::blocks).collect()
    }

    fn value(word: u16) -> f32 {
        f32::from_bits(u32::from(word) << 16)
    }

    #[test]
    fn every_number_is_packed_in_its_place_rounded_to_nearest_even() {
        let special = [f32::NAN, f32::INFINITY, -f32::INFINITY, 1e-40, -1e-40, -0.0, f32::MAX, 1.003_906_3];
        for unit in units() {
            for (lines, terms, stride) in [(1, 1, 70), (16, 32, 70), (37, 65, 70), (5, 33, 70)] {
                let mut data = numbers(70 * 70, 7);
                data[..special.len()].copy_from_slice(&special);
                for (order, along_terms) in
                    [(Order::Lines, true), (Order::Lines, false), (Order::Pairs, true), (Order::Pairs, false)]
                {
                    let (line_step, term_step) = if along_terms { (stride, 1) } else { (1, stride) };
                    let source = Source { start: data.as_ptr(), line_step, term_step, lines, terms };
                    let (strips, blocks) = (lines.div_ceil(LINES), terms.div_ceil(TERMS));
                    let mut out = vec![Block([0x7777; LINES * TERMS]); strips * blocks];
                    // SAFETY: the elements are there, and as many blocks.
                    unsafe { unit.pack(source, order, out.as_mut_ptr(), blocks) };
                    for line in 0..strips * LINES {
                        for term in 0..blocks * TERMS {
                            let block = &out[line / LINES * blocks + term / TERMS].0;
                            let (i, t) = (line % LINES, term % TERMS);
                            let found = value(match order {
                                Order::Lines => block[i * TERMS + t],
                                Order::Pairs => block[t / 2 * 2 * LINES + 2 * i + t % 2],
                            });
                            let inside = line < lines && term < terms;
                            let x = if inside { data[line * line_step + term * term_step] } else { 0.0 };
                            let same =
                                found.to_bits() == x.to_bf16().to_bits() || found.is_nan() && x.is_nan();
                            assert!(same, "{unit:?} {order:?} ({line}, {term}): {found}, of {x}");
                        }
                    }
                }
            }
        }
    }

    /// The sum of a pair of lines as the unit forms it: its instructions, one number at a time.
    fn emulated(unit: BlockUnit, start: f32, a: &[f32], b: &[f32]) -> f32 {
        let mut sum = start;
        for (a, b) in a.chunks(TERMS).zip(b.chunks(TERMS)) {
            let mut halves = [0.0_f32; 2];
            for (a, b) in a.chunks(2).zip(b.chunks(2)) {
                if unit.0 == Bf16Unit::Amx {
                    halves = [a[0] * b[0] + halves[0], a[1] * b[1] + halves[1]];
                } else {
                    sum = a[0] * b[0] + (a[1] * b[1] + sum);
                }
            }
            if unit.0 == Bf16Unit::Amx {
                sum += halves[0] + halves[1];
            }
        }
        sum
    }

    #[test]
    fn sums_have_the_bits_of_their_emulation() {
        let steps = 3;
        let terms = steps * TERMS;
        let numbers = |seed| numbers(2 * LINES * terms, seed).iter().map(|x| x.to_bf16()).collect::<Vec<_>>();
        let (a, b) = (numbers(1), numbers(2));
        for unit in units() {
            let mut packed = vec![[Block::ZERO; 6]; 2];
            for (data, order, out) in [(&a, Order::Lines, 0), (&b, Order::Pairs, 1)] {
                let source =
                    Source { start: data.as_ptr(), line_step: terms, term_step: 1, lines: 2 * LINES, terms };
                // SAFETY: two strips of lines, and six blocks.
                unsafe { unit.pack(source, order, packed[out].as_mut_ptr(), steps) };
            }
            for (strips, add) in [([2, 2], true), ([2, 1], false), ([1, 2], true), ([1, 1], false)] {
                let mut c: Vec<f32> = (0..32 * 40).map(|i| i as f32 / 64.0).collect();
                let before = c.clone();
                let [a_blocks, b_blocks] =
                    [0, 1].map(|side| [0, steps].map(|at| &raw const packed[side][at]));
                let c_start = c.as_mut_ptr();
                let product =
                    BlockProduct { a: a_blocks, b: b_blocks, steps, strips, c: c_start, c_stride: 40, add };
                // SAFETY: six blocks of each factor, 32 rows of 40 sums.
                unit.with(|| unsafe { unit.multiply(&product) });
                for (i, &found) in c.iter().enumerate() {
                    let (row, col) = (i / 40, i % 40);
                    let expected = if row < strips[0] * LINES && col < strips[1] * LINES {
                        let start = if add { before[i] } else { 0.0 };
                        emulated(unit, start, &a[row * terms..][..terms], &b[col * terms..][..terms])
                    } else {
                        before[i]
                    };
                    assert_eq!(found.to_bits(), expected.to_bits(), "{unit:?} {strips:?} ({row}, {col})");
                }
            }
        }
    }
}
