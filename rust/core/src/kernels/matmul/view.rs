//! Views of row-major matrices whose rows may be columns of a wider matrix.

#![forbid(unsafe_code)]

/// Panics unless `rows` rows of `cols` elements, `row_stride` apart, lie inside a slice of `len` elements.
fn check(len: usize, rows: usize, cols: usize, row_stride: usize) {
    assert!(cols <= row_stride || rows <= 1, "row stride {row_stride} is less than {cols} columns");
    let need = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
    assert!(
        need <= len,
        "a {rows} x {cols} matrix with row stride {row_stride} needs {need} elements, found {len}"
    );
}

/// A matrix to read: element (i, j) is `data[i·row_stride + j]`. The bounds are checked when it is made.
///
/// ```
/// use ssm_hpn::kernels::matmul::MatRef;
///
/// let numbers = [1, 2, 3, 4, 5, 6];
/// let whole = MatRef::new(&numbers, 2, 3);
/// assert_eq!((whole.rows(), whole.cols(), whole.row(1)), (2, 3, &[4, 5, 6][..]));
///
/// let right = whole.columns(1, 2);
/// assert_eq!((right.row(0), right.row(1), right.row_stride()), (&[2, 3][..], &[5, 6][..], 3));
/// assert_eq!(whole.below(1).data(), [4, 5, 6]);
///
/// // The first two columns of a matrix that is three wide.
/// let left = MatRef::with_stride(&numbers, 2, 2, 3);
/// assert_eq!(left.row(1), [4, 5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, T> MatRef<'a, T> {
    /// A contiguous matrix at the start of `data`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::with_stride(data, rows, cols, cols)
    }

    /// A matrix whose rows start `row_stride` elements apart.
    ///
    /// # Panics
    /// If it does not fit into `data`.
    pub fn with_stride(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride);
        Self { data, rows, cols, row_stride }
    }

    /// The columns `start .. start + count`.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn columns(self, start: usize, count: usize) -> Self {
        assert!(start <= self.cols && count <= self.cols - start, "columns {start}+{count} of {}", self.cols);
        Self::with_stride(self.data.get(start..).unwrap_or(&[]), self.rows, count, self.row_stride)
    }

    /// One row.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.data[row * self.row_stride..][..self.cols]
    }

    /// The rows from `start` on.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn below(self, start: usize) -> Self {
        assert!(start <= self.rows, "row {start} of {}", self.rows);
        let data = self.data.get(start * self.row_stride..).unwrap_or(&[]);
        Self::with_stride(data, self.rows - start, self.cols, self.row_stride)
    }

    /// The elements, from the first on.
    pub fn data(&self) -> &'a [T] {
        self.data
    }
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Elements between the starts of two rows.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }
}

/// A matrix to write: element (i, j) is `data[i·row_stride + j]`. The bounds are checked when it is made.
///
/// ```
/// use ssm_hpn::kernels::matmul::MatMut;
///
/// let mut numbers = [0; 6];
/// // The last two columns of a matrix of two rows that is three wide.
/// let mut right = MatMut::with_stride(&mut numbers[1..], 2, 2, 3);
/// assert_eq!((right.rows(), right.cols()), (2, 2));
/// let second_row = right.row_stride();
/// right.data()[second_row] = 7;
/// assert_eq!(numbers, [0, 0, 0, 0, 7, 0]);
/// assert_eq!(MatMut::new(&mut numbers, 3, 2).row_stride(), 2);
/// ```
#[derive(Debug)]
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, T> MatMut<'a, T> {
    /// A contiguous matrix at the start of `data`.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::with_stride(data, rows, cols, cols)
    }

    /// A matrix whose rows start `row_stride` elements apart.
    ///
    /// # Panics
    /// If it does not fit into `data`.
    pub fn with_stride(data: &'a mut [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride);
        Self { data, rows, cols, row_stride }
    }

    /// The elements, from the first on.
    pub fn data(&mut self) -> &mut [T] {
        self.data
    }
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Elements between the starts of two rows.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }
}
