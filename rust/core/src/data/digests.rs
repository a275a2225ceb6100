//! A digest of 64 bits for the content of each document, for documents that come in pieces.

#![forbid(unsafe_code)]

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{Error, Result};

/// XXH3 of each document, the same however it is cut into pieces and however many come at once.
///
/// ```
/// use ssm_hpn::data::ContentDigests;
///
/// # fn main() -> ssm_hpn::Result<()> {
/// let mut digests = ContentDigests::default();
/// // "ab" is whole; "cd" may go on, and does.
/// let mut found = digests.add(b"abcd", &[0, 2, 4], &[true, true])?;
/// found.extend(digests.add(b"ef", &[0, 2], &[false])?);
/// found.extend(digests.finish());
/// assert_eq!(found, ContentDigests::of(b"abcdef", &[0, 2, 6])?);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct ContentDigests {
    /// The last document, which the next bytes may continue.
    open: Option<Box<Xxh3>>,
}

impl ContentDigests {
    /// Takes bytes `offsets[i]..offsets[i + 1]` as piece i, which begins a document where `begins[i]` says so and goes on
    /// with the one before elsewhere. Returns the digests of the documents that are whole by now: all but the last.
    pub fn add(&mut self, bytes: &[u8], offsets: &[u64], begins: &[bool]) -> Result<Vec<u64>> {
        check(bytes, offsets)?;
        if begins.len() + 1 != offsets.len() {
            return Err(Error::shape("begins", offsets.len() - 1, begins.len()));
        }
        let pieces = || offsets.windows(2).map(|edges| &bytes[edges[0] as usize..edges[1] as usize]);
        let mut whole = Vec::with_capacity(begins.len());
        for (i, piece) in pieces().enumerate() {
            if begins[i] {
                whole.extend(self.finish());
            }
            // A document in one piece, with another one after it, is digested at once.
            if self.open.is_none() && begins.get(i + 1) == Some(&true) {
                whole.push(xxh3_64(piece));
            } else {
                self.open.get_or_insert_default().update(piece);
            }
        }
        Ok(whole)
    }

    /// The digest of the last document, if there is one.
    pub fn finish(&mut self) -> Option<u64> {
        self.open.take().map(|open| open.digest())
    }

    /// The digests of slices that are whole: bytes `offsets[i]..offsets[i + 1]` each.
    pub fn of(bytes: &[u8], offsets: &[u64]) -> Result<Vec<u64>> {
        check(bytes, offsets)?;
        Ok(offsets.windows(2).map(|edges| xxh3_64(&bytes[edges[0] as usize..edges[1] as usize])).collect())
    }
}

fn check(bytes: &[u8], offsets: &[u64]) -> Result<()> {
    let last = offsets.last().copied();
    if offsets.is_sorted() && last.is_some_and(|last| last <= bytes.len() as u64) {
        return Ok(());
    }
    Err(Error::shape("offsets", format!("rising places up to {}", bytes.len()), format!("up to {last:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_document_does_not_depend_on_its_pieces() {
        let text: Vec<u8> = (0..2000u32).map(|i| (i * i % 251) as u8).collect();
        let whole = ContentDigests::of(&text, &[0, 5, 5, 2000]).unwrap();
        for cut in 5..2000 {
            let mut digests = ContentDigests::default();
            let mut found = digests.add(&text[..cut], &[0, 5, 5, cut as u64], &[true, true, true]).unwrap();
            let rest = 2000 - cut as u64;
            if cut % 2 == 0 {
                found.extend(digests.add(&text[cut..], &[0, rest], &[false]).unwrap());
                found.extend(digests.finish());
            } else {
                // The piece that goes on ends where the next document begins.
                let more = [&text[cut..], b"abc"].concat();
                found.extend(digests.add(&more, &[0, rest, rest + 3], &[false, true]).unwrap());
                assert_eq!(digests.finish(), Some(xxh3_64(b"abc")));
            }
            assert_eq!(found, whole, "cut at {cut}");
            assert_eq!(digests.finish(), None);
        }
    }

    #[test]
    fn places_outside_the_bytes_are_refused() {
        assert!(ContentDigests::of(b"abc", &[0, 4]).is_err());
        assert!(ContentDigests::of(b"abc", &[2, 1]).is_err());
        assert!(ContentDigests::of(b"abc", &[]).is_err());
        assert!(ContentDigests::default().add(b"abc", &[0, 3], &[]).is_err());
    }
}
