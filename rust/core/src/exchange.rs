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

/// How ranks exchange bytes. Every rank makes the same calls in the same order, one after the other. After
/// [`Session::last_micro_batch`](crate::session::Session::last_micro_batch) another thread of the process makes those of
/// gradients, while the backward pass goes on.
///
/// Ranks that are threads of one process, and a model that two of them train to the bits of one:
///
/// ```
/// use std::sync::{Arc, Barrier, Mutex};
///
/// use ssm_hpn::data::{Batch, Input};
/// use ssm_hpn::head::Accuracy;
/// use ssm_hpn::model::ModelConfig;
/// use ssm_hpn::optim::OptimConfig;
/// use ssm_hpn::session::Session;
/// use ssm_hpn::target::Target;
/// use ssm_hpn::{Exchange, Result, Threads};
///
/// /// A rank, with a place for the bytes of each, and where all wait until every rank is there.
/// struct InProcess {
///     rank: usize,
///     places: Arc<Vec<Mutex<Vec<u8>>>>,
///     barrier: Arc<Barrier>,
/// }
///
/// impl InProcess {
///     fn ranks(ranks: usize) -> Vec<Self> {
///         let places: Arc<Vec<_>> = Arc::new((0..ranks).map(|_| Mutex::default()).collect());
///         let barrier = Arc::new(Barrier::new(ranks));
///         (0..ranks).map(|rank| Self { rank, places: places.clone(), barrier: barrier.clone() }).collect()
///     }
///
///     /// Lays out this rank's bytes, and reads those of every rank before any of them goes on.
///     fn exchange(&self, own: &[u8], mut read: impl FnMut(usize, &[u8])) {
///         *self.places[self.rank].lock().expect("no rank has panicked") = own.to_vec();
///         self.barrier.wait();
///         for (rank, bytes) in self.places.iter().enumerate() {
///             read(rank, &bytes.lock().expect("no rank has panicked"));
///         }
///         self.barrier.wait();
///     }
/// }
///
/// impl Exchange for InProcess {
///     fn rank(&self) -> usize {
///         self.rank
///     }
///
///     fn ranks(&self) -> usize {
///         self.places.len()
///     }
///
///     fn all_to_all(&self, send: &[u8], cuts: &[usize], receive: &mut [u8]) -> Result<()> {
///         let part = cuts[self.rank]..cuts[self.rank + 1];
///         self.exchange(send, |rank, bytes| {
///             receive[rank * part.len()..][..part.len()].copy_from_slice(&bytes[part.clone()]);
///         });
///         Ok(())
///     }
///
///     fn all_gather(&self, buffer: &mut [u8], cuts: &[usize]) -> Result<()> {
///         let own = buffer[cuts[self.rank]..cuts[self.rank + 1]].to_vec();
///         self.exchange(&own, |rank, bytes| buffer[cuts[rank]..cuts[rank + 1]].copy_from_slice(bytes));
///         Ok(())
///     }
/// }
///
/// /// Three updates of four virtual ranks, each a micro-batch of one row. Returns the digest, and the bytes of moments.
/// fn train(exchange: Option<InProcess>) -> Result<(String, usize)> {
///     let model = ModelConfig::from_json(
///         r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 64, "n_layers": 2, "block": {"kind": "mamba1"},
///             "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
///     )?;
///     let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
///     let (rank, ranks) = exchange.as_ref().map_or((0, 1), |ranks| (ranks.rank(), ranks.places.len()));
///     if let Some(exchange) = exchange {
///         session.share(Box::new(exchange))?;
///     }
///     for _ in 0..3 {
///         let own = 4 * rank / ranks..4 * (rank + 1) / ranks;
///         for n in own.clone() {
///             if n > own.start {
///                 session.next_virtual_rank()?;
///             }
///             let tokens = (n as u32..n as u32 + 4).map(|id| id % 7).collect();
///             let target = Target::token_class((n as i32 + 1..n as i32 + 5).map(|id| id % 7).collect());
///             session.number_next_micro_batch(n as u64)?;
///             session.forward_backward(&Batch::whole(1, 4, Input::Tokens(tokens), target), Accuracy::Skip)?;
///         }
///         assert_eq!(session.apply()?.count, 16); // targets of all ranks
///     }
///     Ok((session.digest()?, session.moment_bytes()))
/// }
///
/// let (alone, moments) = train(None)?;
/// let ranks: Vec<_> = InProcess::ranks(2)
///     .into_iter()
///     .map(|rank| std::thread::spawn(move || train(Some(rank))))
///     .collect();
/// let mut of_all = 0;
/// for rank in ranks {
///     let (digest, own) = rank.join().expect("no rank has panicked")?;
///     assert_eq!(digest, alone);
///     of_all += own;
/// }
/// assert_eq!(of_all, moments);
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
