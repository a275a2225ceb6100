//! One batch: inputs, the documents in it, and what the head is compared with.

/// What the model reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Token ids `[rows, length]`.
    Tokens(Vec<u32>),
    /// Features `[rows, length, F]`.
    Features(Vec<f32>),
}

/// One document: tokens `start..end` of a row. Positions in no document are padding, always at a row's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Row of the batch.
    pub row: u32,
    /// First token.
    pub start: u32,
    /// One past the last token.
    pub end: u32,
}

/// What the head is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Nothing: prediction only.
    None,
    /// Class per token `[rows · length]`, -1 for none; the next token is one of these.
    TokenClass(Vec<i32>),
    /// Class per document `[segments]`, -1 for none.
    SequenceClass(Vec<i32>),
    /// Numbers per document `[segments, K]`.
    SequenceValues(Vec<f32>),
    /// Gradient of the loss with respect to the hidden states `[rows, length, D]`, for a model without a head.
    Cotangent(Vec<f32>),
}

/// Inputs and targets of one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Rows (B).
    pub rows: usize,
    /// Tokens of a row (T).
    pub length: usize,
    /// What the model reads.
    pub input: Input,
    /// Documents, in order of row and start; they do not overlap, and those of a row leave no gap between them.
    pub segments: Vec<Segment>,
    /// What the head is compared with.
    pub target: Target,
}

impl Batch {
    /// One document per row, all of full length.
    pub fn whole(rows: usize, length: usize, input: Input, target: Target) -> Self {
        let segments = (0..rows as u32).map(|row| Segment { row, start: 0, end: length as u32 }).collect();
        Self { rows, length, input, segments, target }
    }
}
