//! Blocks of numbers in bf16, and what is to be done with them.
//!
//! bf16 is the upper half of an f32: its range, 8 bits of precision. A product of two is exact in f32, in which sums are kept.
//! A line is a row of the left factor or a column of the right one. 16 lines are a strip; 32 terms of a strip are a
//! [`Block`] of 1 KB, in the order in which a unit reads it:
//!
//! ```text
//! Order::Lines   block[line][term]             left factor
//! Order::Pairs   block[term / 2][line][term % 2]   right factor
//! ```
//!
//! Lines and terms beyond the end are zeros. Packing rounds to nearest even; numbers below the smallest normal one become 0.

#![forbid(unsafe_code)]

/// Lines of a strip.
pub(crate) const LINES: usize = 16;
/// Terms of a block.
pub(crate) const TERMS: usize = 32;

/// 16 lines of 32 terms in bf16.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Block(pub(crate) [u16; LINES * TERMS]);

impl Block {
    /// Zeros.
    pub(crate) const ZERO: Self = Self([0; LINES * TERMS]);
}

/// The order of the numbers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// `[line][term]`, of the left factor.
    Lines,
    /// `[term / 2][line][term % 2]`, of the right factor.
    Pairs,
}

/// Numbers to pack: element (line, term) is at `start + line·line_step + term·term_step`. One of the steps is 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) start: *const f32,
    pub(crate) line_step: usize,
    pub(crate) term_step: usize,
    pub(crate) lines: usize,
    pub(crate) terms: usize,
}

/// The product of one or two strips of each factor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockProduct {
    /// The blocks of the strips of the left factor, each `steps` in a row; the second is the first where there is one strip.
    pub(crate) a: [*const Block; 2],
    /// The same of the right factor.
    pub(crate) b: [*const Block; 2],
    /// Blocks of a strip, at least one.
    pub(crate) steps: usize,
    /// Strips of the left and the right factor, 1 or 2.
    pub(crate) strips: [usize; 2],
    /// The first of the sums, of whole strips.
    pub(crate) c: *mut f32,
    /// Sums from a row to the next.
    pub(crate) c_stride: usize,
    /// Whether products are added to what c holds.
    pub(crate) add: bool,
}
