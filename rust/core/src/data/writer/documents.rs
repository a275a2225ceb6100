//! The documents that are passed to a writer.

#![forbid(unsafe_code)]

/// Longest name of a document, in bytes.
pub(super) const MAX_NAME: usize = 4096;

/// Tokens or features of many documents, one after the other.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Bytes as ids.
    U8(&'a [u8]),
    /// Ids.
    U16(&'a [u16]),
    /// Ids.
    U32(&'a [u32]),
    /// Ids, as whole numbers come from Python.
    I64(&'a [i64]),
    /// Features `[tokens, F]`.
    F32(&'a [f32]),
}

/// Many documents at once.
#[derive(Clone, Copy, Debug)]
pub struct DocumentColumns<'a> {
    /// Tokens or features of all documents.
    pub elements: Elements<'a>,
    /// Document i is tokens `offsets[i]..offsets[i + 1]`; one more than there are documents, from 0 to the end.
    pub offsets: &'a [u64],
    /// A class per token.
    pub labels: Option<&'a [i32]>,
    /// A class per document.
    pub label: Option<&'a [i32]>,
    /// Numbers per document `[documents, K]`.
    pub values: Option<&'a [f32]>,
    /// Where each document came from.
    pub names: Option<&'a [String]>,
}
