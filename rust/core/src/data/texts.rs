//! Numbers for texts, many at once.

#![forbid(unsafe_code)]

use std::ops::Range;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};

/// Different texts, numbered from 0 on in the order in which they were met.
///
/// ```
/// use ssm_hpn::data::TextNumbers;
///
/// # fn main() -> ssm_hpn::Result<()> {
/// let mut numbers = TextNumbers::default();
/// assert_eq!(numbers.number(b"backab", &[0, 1, 2, 4, 5, 6])?, [0, 1, 2, 1, 0]);
/// assert_eq!(numbers.number(b"ck", &[0, 2])?, [2]);
/// assert_eq!(numbers.texts(1), (&b"ack"[..], vec![0, 1, 3]));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct TextNumbers {
    /// Numbers of the texts of up to 16 bytes.
    short: HashTable<(Short, u32)>,
    /// Numbers of the longer ones, by their XXH3.
    long: HashTable<u32>,
    /// All texts, one after the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl TextNumbers {
    /// The number of each text, bytes `offsets[i]..offsets[i + 1]`. A text that is new gets the next number.
    ///
    /// # Errors
    ///
    /// `ShapeError` if the offsets are not rising places in the bytes, or if there are 2^31 different texts.
    pub fn number(&mut self, bytes: &[u8], offsets: &[i32]) -> Result<Vec<i32>> {
        let last = offsets.last().copied();
        if !offsets.is_sorted()
            || offsets.first() < Some(&0)
            || last.is_none_or(|last| last as usize > bytes.len())
        {
            let expected = format!("rising places up to {}", bytes.len());
            return Err(Error::shape("offsets", expected, format!("up to {last:?}")));
        }
        let mut numbers = Vec::with_capacity(offsets.len() - 1);
        for edges in offsets.windows(2) {
            numbers.push(self.number_of(&bytes[edges[0] as usize..edges[1] as usize])? as i32);
        }
        Ok(numbers)
    }

    fn number_of(&mut self, text: &[u8]) -> Result<u32> {
        let Self { short, long, bytes, ends } = self;
        let next = ends.len() as u32;
        if let Some(key) = Short::of(text) {
            let entry = short.entry(key.hash(), |(other, _)| *other == key, |(other, _)| other.hash());
            match entry {
                Entry::Occupied(entry) => return Ok(entry.get().1),
                Entry::Vacant(entry) => drop(entry.insert((key, next))),
            }
        } else {
            let of = |number: u32| &bytes[place(ends, number)];
            match long.entry(xxh3_64(text), |&other| of(other) == text, |&other| xxh3_64(of(other))) {
                Entry::Occupied(entry) => return Ok(*entry.get()),
                Entry::Vacant(entry) => drop(entry.insert(next)),
            }
        }
        if next > i32::MAX as u32 {
            return Err(Error::shape("texts", "fewer than 2147483648 different ones", "more"));
        }
        bytes.extend_from_slice(text);
        ends.push(bytes.len());
        Ok(next)
    }

    /// How many different texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text yet.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all texts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all texts.
    pub(super) fn clear(&mut self) {
        self.short.clear();
        self.long.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// The texts from number `first` on: their bytes, and where each of them begins and ends in these.
    pub fn texts(&self, first: usize) -> (&[u8], Vec<i64>) {
        let first = first.min(self.len());
        let start = if first == 0 { 0 } else { self.ends[first - 1] };
        let mut offsets = vec![0];
        offsets.extend(self.ends[first..].iter().map(|end| (end - start) as i64));
        (&self.bytes[start..], offsets)
    }
}

/// A text of up to 16 bytes: its first and its last ones, which overlap or have zeros above them, and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Short {
    first: u64,
    last: u64,
    length: u32,
}

impl Short {
    fn of(text: &[u8]) -> Option<Self> {
        let (first, last) = match text.len() {
            8..=16 => (u64::from_le_bytes(*text.first_chunk()?), u64::from_le_bytes(*text.last_chunk()?)),
            4..=7 => (
                u32::from_le_bytes(*text.first_chunk()?) as u64,
                u32::from_le_bytes(*text.last_chunk()?) as u64,
            ),
            0..=3 => (text.iter().fold(0, |number, &byte| number << 8 | byte as u64), 0),
            _ => return None,
        };
        Some(Self { first, last, length: text.len() as u32 })
    }

    /// Both halves of a product of 128 bits, in which every bit of the text has a part.
    fn hash(self) -> u64 {
        let product = (self.first ^ 0x9e37_79b9_7f4a_7c15) as u128
            * (self.last ^ 0xd6e8_feb8_6659_fd93 ^ self.length as u64) as u128;
        product as u64 ^ (product >> 64) as u64
    }
}

/// Where a text is among all of them.
fn place(ends: &[usize], number: u32) -> Range<usize> {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    start..ends[number]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn texts_have_the_numbers_of_a_map_whatever_their_length() {
        let mut numbers = TextNumbers::default();
        let mut map = HashMap::new();
        for round in 0..50u32 {
            let texts: Vec<Vec<u8>> = (0..200u32)
                .map(|i| {
                    let number = (i * i + round * 37) % 1777;
                    vec![number as u8; (number % 300) as usize]
                })
                .collect();
            let mut offsets = vec![0];
            offsets.extend(texts.iter().scan(0, |end, text| {
                *end += text.len() as i32;
                Some(*end)
            }));
            let found = numbers.number(&texts.concat(), &offsets).unwrap();
            let wanted = texts.iter().map(|text| {
                let next = map.len() as i32;
                *map.entry(text.clone()).or_insert(next)
            });
            assert_eq!(found, wanted.collect::<Vec<_>>(), "round {round}");
        }
        assert_eq!(numbers.len(), map.len());
        let (bytes, offsets) = numbers.texts(0);
        for (text, number) in map {
            let place = offsets[number as usize] as usize..offsets[number as usize + 1] as usize;
            assert_eq!(bytes[place], text, "number {number}");
        }
    }

    #[test]
    fn short_texts_are_told_apart_by_every_byte_and_by_their_length() {
        let mut numbers = TextNumbers::default();
        let mut texts: Vec<Vec<u8>> = (0..=18).map(|length| vec![0; length]).collect();
        for length in 1..=18 {
            texts.extend((0..length).map(|at| {
                let mut text = vec![0; length];
                text[at] = 1;
                text
            }));
        }
        for round in 0..2 {
            for (number, text) in texts.iter().enumerate() {
                let found = numbers.number(text, &[0, text.len() as i32]).unwrap();
                assert_eq!(found, [number as i32], "round {round}, {text:?}");
            }
        }
        numbers.clear();
        assert_eq!(numbers.number(&texts[3], &[0, 3]).unwrap(), [0]);
    }

    #[test]
    fn texts_from_a_number_on_are_those_that_are_new() {
        let mut numbers = TextNumbers::default();
        assert!(numbers.is_empty());
        assert_eq!(numbers.texts(0), (&b""[..], vec![0]));
        assert_eq!(numbers.number(b"xab", &[1, 1, 2, 3]).unwrap(), [0, 1, 2]);
        assert_eq!(numbers.texts(2), (&b"b"[..], vec![0, 1]));
        assert_eq!(numbers.texts(9), (&b""[..], vec![0]));
    }

    #[test]
    fn places_outside_the_bytes_are_refused() {
        for offsets in [&[0, 4][..], &[2, 1], &[-1, 1], &[]] {
            assert!(TextNumbers::default().number(b"abc", offsets).is_err(), "{offsets:?}");
        }
    }
}
