//! The memory of a pass: one buffer of the size of the largest pass so far, divided into parts for each pass.
//!
//! Nothing is allocated by a pass whose shape fits into what an earlier one needed, so batches of many lengths cost the
//! memory of the longest.

#![forbid(unsafe_code)]

use aligned_vec::{AVec, ConstAlign};

use crate::error::Result;
use crate::numeric::Scalar;
use crate::params::aligned_zeros;

/// Parts of a buffer start at multiples of this many elements: 64 bytes of f32.
const ALIGNMENT: usize = 16;

/// A buffer that only grows.
#[derive(Clone, Debug)]
pub(crate) struct Workspace<T> {
    buffer: AVec<T, ConstAlign<64>>,
}

impl<T: Scalar> Default for Workspace<T> {
    fn default() -> Self {
        Self { buffer: AVec::new(64) }
    }
}

impl<T: Scalar> Workspace<T> {
    /// At least `len` elements, contents undefined, to carve parts from; refused where the memory is not there.
    pub(crate) fn carve(&mut self, len: usize) -> Result<Carver<&mut [T]>> {
        if self.buffer.len() < len {
            // The old buffer is freed first: the two are never allocated at once.
            self.buffer = AVec::new(64);
            self.buffer = aligned_zeros(len, "the activations of this batch")?;
        }
        Ok(Carver::new(&mut self.buffer))
    }
}

/// Elements that a part of `len` takes.
///
/// ```
/// use ssm_hpn::pass::padded;
///
/// assert_eq!((padded(0), padded(1), padded(16), padded(17)), (0, 16, 16, 32));
/// ```
pub fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}

/// A slice that can be cut in two: `&[T]` or `&mut [T]`.
///
/// ```
/// use ssm_hpn::pass::Cut;
///
/// let (head, tail) = [1, 2, 3][..].cut(2);
/// assert_eq!((head, tail), (&[1, 2][..], &[3][..]));
/// let (all, nothing) = [1, 2, 3][..].cut(9);
/// assert_eq!((all.len(), nothing.len()), (3, 0));
/// ```
pub trait Cut: Default {
    /// The first `at` elements and the others; everything and nothing if there are fewer.
    fn cut(self, at: usize) -> (Self, Self);
}

impl<T> Cut for &[T] {
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at(at.min(self.len()))
    }
}

impl<T> Cut for &mut [T] {
    fn cut(self, at: usize) -> (Self, Self) {
        let at = at.min(self.len());
        self.split_at_mut(at)
    }
}

/// Divides a buffer into aligned parts, from its start on.
///
/// ```
/// use ssm_hpn::pass::{Carver, padded};
///
/// let mut scratch = vec![0.0_f32; padded(5) + padded(20) + 7];
/// let mut carver = Carver::new(&mut scratch[..]);
/// let (r, x) = (carver.take(5), carver.take(20));
/// assert_eq!((r.len(), x.len()), (5, 20));
/// assert_eq!(carver.rest().len(), 7);
/// ```
#[derive(Debug)]
pub struct Carver<P> {
    rest: P,
}

impl<P: Cut> Carver<P> {
    /// Divides a part into parts.
    pub fn new(part: P) -> Self {
        Self { rest: part }
    }

    /// The rest of the buffer.
    pub fn rest(self) -> P {
        self.rest
    }

    /// The next `len` elements, or all that are left if those are fewer: users check what they get.
    pub fn take(&mut self, len: usize) -> P {
        // The last part may end with the buffer.
        let (part, rest) = std::mem::take(&mut self.rest).cut(padded(len));
        self.rest = rest;
        part.cut(len).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_and_disjoint_and_the_buffer_only_grows() {
        let mut workspace = Workspace::<f32>::default();
        let mut carver = workspace.carve(padded(5) + padded(20)).unwrap();
        let (a, b) = (carver.take(5), carver.take(20));
        a.fill(1.0);
        b.fill(2.0);
        assert!(a.iter().all(|x| *x == 1.0));
        assert_eq!((a.as_ptr() as usize % 64, b.as_ptr() as usize % 64), (0, 0));
        let first = a.as_ptr();
        assert_eq!(workspace.carve(20).unwrap().take(3).as_ptr(), first);
        assert_eq!(workspace.buffer.len(), 48);
        assert!(workspace.carve(1 << 60).unwrap_err().to_string().contains("MB"));
        assert!(workspace.carve(20).is_ok());
    }

    #[test]
    fn a_part_is_never_longer_than_the_rest_of_the_buffer() {
        let mut carver = Carver::new(&[1, 2, 3][..]);
        assert_eq!((carver.take(2), carver.take(2)), (&[1, 2][..], &[][..]));
    }
}
