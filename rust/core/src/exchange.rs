//! The ranks of a training: processes, or threads of a test, that train one model together, as the core sees them.
//!
//! The core asks for two functions on bytes, and whoever runs the ranks brings them: MPI, another library, channels between
//! threads.
//!
//! ```text
//! all_to_all   rank i gets the i-th part of every rank's bytes
//! all_gather   every rank gets the i-th part from rank i
//! ```
//!
//! Sums over ranks are taken here, in the order of a binary tree over the ranks, so that they have the same bits whoever
//! carries the bytes.

use crate::error::Result;
use crate::numeric::Scalar;

/// How ranks exchange bytes. Every rank makes the same calls in the same order.
///
/// ```
/// use ssm_hpn::{Exchange, Result};
///
/// /// One rank alone, which has nothing to exchange.
/// struct Alone;
///
/// impl Exchange for Alone {
///     fn rank(&self) -> usize {
///         0
///     }
///
///     fn ranks(&self) -> usize {
///         1
///     }
///
///     fn all_to_all(&self, send: &[u8], _cuts: &[usize], receive: &mut [u8]) -> Result<()> {
///         receive.copy_from_slice(send);
///         Ok(())
///     }
///
///     fn all_gather(&self, _buffer: &mut [u8], _cuts: &[usize]) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let mut received = [0; 3];
/// Alone.all_to_all(b"abc", &[0, 3], &mut received)?;
/// Alone.all_gather(&mut received, &[0, 3])?;
/// assert_eq!((&received, Alone.rank(), Alone.ranks()), (b"abc", 0, 1));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub trait Exchange: Send + Sync {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn ranks(&self) -> usize;

    /// Sends the bytes `cuts[i]..cuts[i + 1]` of `send` to rank i, for every i, its own among them. `receive` gets the parts
    /// for this rank, one after the other in the order of the ranks; all have the same length.
    fn all_to_all(&self, send: &[u8], cuts: &[usize], receive: &mut [u8]) -> Result<()>;

    /// The bytes `cuts[rank]..cuts[rank + 1]` of `buffer` are this rank's; gets those of every other rank in their places.
    fn all_gather(&self, buffer: &mut [u8], cuts: &[usize]) -> Result<()>;
}

/// The bytes of numbers.
pub(crate) fn bytes<T: Scalar>(x: &[T]) -> &[u8] {
    // SAFETY: `Scalar` is sealed: T is f32 or f64, all of whose bytes are initialised; u8 has no alignment.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), size_of_val(x)) }
}

/// The bytes of numbers.
pub(crate) fn bytes_mut<T: Scalar>(x: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `bytes`; every pattern of bits is a number of f32 and f64.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), size_of_val(x)) }
}

/// Joins parts of one length, which lie one after the other, in the order of a binary tree; the sum is in the first. Their
/// number is a power of two.
pub(crate) fn join<T: Scalar>(parts: &mut [T], count: usize) {
    let len = parts.len() / count;
    let mut stride = len;
    while stride < parts.len() {
        for pair in parts.chunks_mut(2 * stride) {
            let (left, right) = pair.split_at_mut(stride);
            left.iter_mut().zip(&right[..len]).for_each(|(l, r)| *l += *r);
        }
        stride *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_in_the_order_of_a_binary_tree() {
        let x = [1e8_f32, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]; // alone, each 3 is lost beside 1e8
        let tree = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
        assert_ne!(tree, x.iter().sum::<f32>(), "numbers whose order does not show");
        let mut parts: Vec<f32> = x.iter().flat_map(|x| [*x, 1.0, -2.0 * x]).collect();
        join(&mut parts, 8);
        assert_eq!(parts[..3], [tree, 8.0, -2.0 * tree]);
        let mut alone = [1.5, 2.5];
        join(&mut alone, 1);
        assert_eq!(alone, [1.5, 2.5]);
        assert_eq!(bytes(&[1.0_f32]), 1.0_f32.to_ne_bytes());
        let mut copy = [0.0_f64];
        bytes_mut(&mut copy).copy_from_slice(bytes(&[0.1_f64]));
        assert_eq!(copy, [0.1]);
    }
}
