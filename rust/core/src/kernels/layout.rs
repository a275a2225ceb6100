//! Arguments that kernels share: rows, length and document starts of a batch, and whether results overwrite or add.

#![forbid(unsafe_code)]

/// Whether a result overwrites its output or is added to it.
///
/// ```
/// use ssm_hpn::kernels::Accumulate;
/// use ssm_hpn::kernels::matmul::{MatMut, MatRef, linear};
///
/// let (x, w, mut y) = ([2.0_f32], [3.0], [1.0]);
/// linear(MatRef::new(&x, 1, 1), MatRef::new(&w, 1, 1), MatMut::new(&mut y, 1, 1), Accumulate::Add);
/// assert_eq!(y, [7.0]);
/// linear(MatRef::new(&x, 1, 1), MatRef::new(&w, 1, 1), MatMut::new(&mut y, 1, 1), Accumulate::Overwrite);
/// assert_eq!(y, [6.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// output = result
    Overwrite,
    /// output += result
    Add,
}

/// Rows, length and document starts of a batch.
///
/// ```
/// use ssm_hpn::kernels::Layout;
///
/// let layout = Layout::whole(2, 3);
/// assert_eq!(layout.tokens(), 6);
/// assert!(layout.row_starts(0).is_none());
///
/// // Two documents in the second row.
/// let layout = Layout { starts: Some(&[1, 0, 0, 1, 1, 0]), ..layout };
/// assert_eq!(layout.row_starts(1), Some(&[1, 1, 0][..]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Rows of the batch (B).
    pub rows: usize,
    /// Tokens of a row (T).
    pub length: usize,
    /// `[rows · length]`, 1 at the first token of each document: the places where the index of the document, `seq_idx` in
    /// other implementations, changes. `None`: one document per row.
    pub starts: Option<&'a [u8]>,
}

impl<'a> Layout<'a> {
    /// One document per row.
    pub fn whole(rows: usize, length: usize) -> Self {
        Self { rows, length, starts: None }
    }

    /// Tokens of the batch.
    pub fn tokens(&self) -> usize {
        self.rows * self.length
    }

    /// # Panics
    /// If there is not one start flag per token.
    pub(crate) fn check(&self) {
        assert!(
            self.starts.is_none_or(|s| s.len() == self.tokens()),
            "one start flag per token of {} rows of {}",
            self.rows,
            self.length
        );
    }

    /// Document starts of one row, if any are marked.
    pub fn row_starts(&self, row: usize) -> Option<&'a [u8]> {
        self.starts.map(|s| &s[row * self.length..(row + 1) * self.length])
    }
}
