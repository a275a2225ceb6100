//! Buffers for record batches, which are read into again once nothing refers to them.
//!
//! A window holds some tens of record batches and another one follows it, for as long as a run lasts. Asked from the
//! allocator each time, these buffers of many sizes leave gaps that nothing else fits into, and the process grows for
//! hours. Here a buffer that is no longer used waits for the next record batch: there are never more of them than were in
//! use at once, and a read does not clear what it overwrites.

#![forbid(unsafe_code)]

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_buffer::Buffer;

use crate::allocate::try_room;
use crate::error::Result;

/// A buffer that is more than this many times too large is left for a larger record batch.
const MOST_TIMES: usize = 4;
/// Below this size a buffer is never too large.
const SMALL: usize = 1 << 16;

/// The buffers that wait.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
}

/// A buffer in use, which goes back when it is dropped.
pub(super) struct Pooled {
    bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl BufferPool {
    /// A buffer of `length` bytes with any contents; refused where the memory is not there.
    pub(super) fn take(self: &Arc<Self>, length: usize) -> Result<Pooled> {
        let mut bytes = self.fitting(length);
        if bytes.capacity() < length {
            // Sizes that are a little different get one capacity: an eighth of a power of two.
            let step = (length.next_power_of_two() / 8).max(64);
            bytes = try_room(&[length.next_multiple_of(step)], "a record batch of the data")?;
        }
        bytes.resize(length, 0);
        Ok(Pooled { bytes, pool: self.clone() })
    }

    /// The smallest buffer that is large enough and not much too large. If there is none the largest one goes, so that
    /// the new one takes its place, and an empty one is returned.
    fn fitting(&self, length: usize) -> Vec<u8> {
        let mut free = self.lock();
        let most = length.saturating_mul(MOST_TIMES).max(SMALL);
        let fits = |bytes: &Vec<u8>| (length..=most).contains(&bytes.capacity());
        let best = (0..free.len()).filter(|&i| fits(&free[i])).min_by_key(|&i| free[i].capacity());
        if let Some(best) = best {
            return free.swap_remove(best);
        }
        if let Some(largest) = (0..free.len()).max_by_key(|&i| free[i].capacity()) {
            free.swap_remove(largest);
        }
        Vec::new()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A list of buffers is valid after any panic.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pooled {
    /// The bytes, to be read into.
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// As a buffer of Arrow. With the last reference to it, or to a part of it, it goes back to the pool.
    pub(super) fn into_buffer(self) -> Buffer {
        bytes::Bytes::from_owner(self).into()
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.lock().push(mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacities(pool: &BufferPool) -> Vec<usize> {
        let mut found: Vec<usize> = pool.lock().iter().map(Vec::capacity).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_buffer_is_used_again_once_its_last_part_is_dropped() {
        let pool = Arc::new(BufferPool::default());
        let mut taken = pool.take(1000).unwrap();
        taken.as_mut_slice()[999] = 7;
        let buffer = taken.into_buffer();
        assert_eq!((buffer.len(), buffer[999]), (1000, 7));
        let part = buffer.slice(990);
        drop(buffer);
        assert!(capacities(&pool).is_empty());
        assert_eq!(part[9], 7);
        drop(part);
        let [capacity] = capacities(&pool)[..] else { panic!("one buffer") };
        let again = pool.take(980).unwrap().into_buffer();
        assert_eq!((again.len(), capacities(&pool).len()), (980, 0));
        drop(again);
        assert_eq!(capacities(&pool), [capacity]);
    }

    #[test]
    fn there_are_never_more_buffers_than_were_in_use_at_once() {
        let pool = Arc::new(BufferPool::default());
        for round in 0..50_usize {
            let sizes = [70_000, 90_000 + round * 1000, 2_000_000 - round * 10_000];
            let held: Vec<Buffer> = sizes.iter().map(|&n| pool.take(n).unwrap().into_buffer()).collect();
            assert!(held.iter().map(Buffer::len).eq(sizes));
            drop(held);
            let found = capacities(&pool);
            assert_eq!(found.len(), 3, "{found:?}");
            assert!(found.iter().sum::<usize>() < 2_800_000, "{found:?}");
        }
    }

    #[test]
    fn a_small_record_batch_does_not_keep_the_buffer_of_a_large_one() {
        let pool = Arc::new(BufferPool::default());
        drop(pool.take(8_000_000).unwrap());
        let small = pool.take(100_000).unwrap();
        assert!(capacities(&pool).is_empty());
        drop(small);
        assert!(capacities(&pool)[0] < 200_000);
    }
}
