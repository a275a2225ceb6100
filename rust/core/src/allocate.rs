//! Vectors of a size that a caller chooses: refused with their megabytes where the memory is not there.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};

/// An empty vector with room for an array of these sizes, for `what` (`"the scores of this batch"`).
pub fn try_room<T>(sizes: &[usize], what: &str) -> Result<Vec<T>> {
    let mut room = Vec::new();
    let len = sizes.iter().try_fold(1_usize, |len, size| len.checked_mul(*size));
    if len.is_some_and(|len| room.try_reserve_exact(len).is_ok()) {
        return Ok(room);
    }
    let elements: f64 = sizes.iter().map(|size| *size as f64).product();
    Err(Error::too_large(what, elements * size_of::<T>() as f64))
}

/// An array of these sizes in which every element is `value`.
pub fn try_filled<T: Clone>(value: T, sizes: &[usize], what: &str) -> Result<Vec<T>> {
    let mut filled = try_room(sizes, what)?;
    filled.resize(sizes.iter().product(), value);
    Ok(filled)
}

/// The elements that an iterator gives.
pub fn try_collected<T>(values: impl ExactSizeIterator<Item = T>, what: &str) -> Result<Vec<T>> {
    let mut collected = try_room(&[values.len()], what)?;
    collected.extend(values);
    Ok(collected)
}

/// Room for `len` elements in a vector that is cleared and filled again; nothing happens where it has room.
pub(crate) fn try_grow<T>(buffer: &mut Vec<T>, len: usize, what: &str) -> Result<()> {
    buffer.clear();
    let grown = buffer.try_reserve_exact(len);
    grown.map_err(|_| Error::too_large(what, len as f64 * size_of::<T>() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_memory_or_addresses_do_not_hold_are_refused_with_their_megabytes() {
        for sizes in [&[1 << 60][..], &[1 << 40, 1 << 20], &[1 << 60, 1 << 60]] {
            let refused = try_filled(0.0_f32, sizes, "the scores").unwrap_err();
            assert!(matches!(refused, Error::Config { .. }), "{refused}");
            assert!(refused.to_string().contains(" MB that the scores would take"), "{refused}");
        }
        let message = try_room::<f64>(&[1 << 30, 1 << 30], "the scores").unwrap_err().to_string();
        assert!(message.contains("found 9223372036855 MB"), "{message}");
        let endless = try_collected((0..usize::MAX).map(|_| 0_u64), "numbers").unwrap_err().to_string();
        assert!(endless.contains("MB that numbers would take"), "{endless}");
        assert!(try_grow(&mut Vec::<u32>::new(), usize::MAX, "notes").is_err());
    }

    #[test]
    fn sizes_that_fit_give_the_array() {
        assert_eq!(try_filled(7, &[2, 3], "numbers").unwrap(), [7; 6]);
        assert_eq!(try_filled(7, &[2, 0, 1 << 60], "numbers").unwrap(), [0; 0]);
        assert_eq!(try_collected([1, 2].iter().copied(), "numbers").unwrap(), [1, 2]);
        let mut buffer = vec![1, 2];
        try_grow(&mut buffer, 100, "numbers").unwrap();
        assert!(buffer.is_empty() && buffer.capacity() >= 100);
    }
}
