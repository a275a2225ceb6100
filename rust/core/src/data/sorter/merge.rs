//! The rows of several sorted runs in one order.

#![forbid(unsafe_code)]

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

use super::held::{Held, Run};
use super::layout::{Layout, order_of_word};
use super::runs::{RunFile, Runs, Stream};
use crate::error::Result;

/// Sorted rows, field by field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SortedRows {
    /// Count of rows.
    pub len: usize,
    /// The cells of each field.
    pub fields: Vec<FieldValues>,
}

/// The cells of a field of some rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldValues {
    /// The bytes of all cells, row by row.
    Cells(Vec<u8>),
    /// Texts or bytes.
    Words {
        /// Which of the words each row has. It rises by one wherever the word is not that of the row before.
        numbers: Vec<i32>,
        /// The words, one after the other.
        bytes: Vec<u8>,
        /// Where each word begins and ends.
        offsets: Vec<i64>,
    },
}

/// A merge at some row.
pub(super) struct Merge {
    heads: BinaryHeap<Reverse<Head>>,
    files: Vec<RunFile>,
    /// Memory for the records that are handed out together.
    records: Vec<u8>,
}

/// The next row of a run.
struct Head {
    keys: Vec<Key>,
    /// Runs are numbered as their rows came.
    run: usize,
    /// The records; the row is the last one that was taken.
    records: Stream,
    /// By key with words, those after the ones of the row.
    words: Vec<Stream>,
}

/// A key of a row; it goes by the order, then by the word.
#[derive(Clone, Default)]
struct Key {
    order: (u64, u64),
    /// Empty for numbers.
    word: Vec<u8>,
    /// Which of the words of its run it is, counted from 1.
    number: u32,
}

impl Merge {
    /// Starts with the runs, and with the rows that are in memory, which came last.
    pub(super) fn start(runs: Runs, mut held: Held, layout: &Layout, pieces_bytes: usize) -> Result<Self> {
        let size = (pieces_bytes / (1 + layout.worded.len()) / runs.len().max(1)).max(layout.record);
        let mut all: Vec<Vec<Stream>> = (0..runs.len()).map(|run| runs.streams(run, size)).collect();
        let mut files = runs.into_files();
        if !held.is_empty() {
            let mut run = Run::default();
            held.sort(layout, &mut run);
            all.push(std::iter::once(run.records).chain(run.words).map(Stream::of).collect());
        }
        drop(held);
        let mut heads = BinaryHeap::with_capacity(all.len());
        for (run, mut streams) in all.into_iter().enumerate() {
            let words = streams.split_off(1);
            let Some(records) = streams.pop() else { continue };
            let keys = vec![Key::default(); layout.keys.len()];
            let mut head = Head { keys, run, records, words };
            if head.advance(layout, &mut files)? {
                heads.push(Reverse(head));
            }
        }
        Ok(Self { heads, files, records: Vec::new() })
    }

    /// The next rows, at most `size` of them; `None` at the end.
    pub(super) fn next(&mut self, layout: &Layout, size: usize) -> Result<Option<SortedRows>> {
        let mut out = Rows::new(layout, std::mem::take(&mut self.records));
        while out.len < size
            && let Some(Reverse(mut head)) = self.heads.pop()
        {
            let following = self.heads.peek();
            loop {
                out.push(layout, &head);
                if !head.advance(layout, &mut self.files)? {
                    break;
                }
                if out.len == size || following.is_some_and(|Reverse(other)| *other < head) {
                    self.heads.push(Reverse(head));
                    break;
                }
            }
        }
        let rows = (out.len > 0).then(|| out.fields(layout));
        self.records = out.records;
        Ok(rows)
    }
}

impl Head {
    /// Goes to the next row; whether there is one.
    fn advance(&mut self, layout: &Layout, files: &mut [RunFile]) -> Result<bool> {
        if self.records.ended() {
            return Ok(false);
        }
        let record = self.records.take(files, layout.record)?;
        let mut words = self.words.iter_mut();
        for (key, &field) in self.keys.iter_mut().zip(&layout.keys) {
            if !layout.fields[field].has_words() {
                key.order.1 = layout.ordered(field, record);
                continue;
            }
            let number = layout.number(field, record);
            if let Some(words) = words.next().filter(|_| number != key.number) {
                #[expect(clippy::expect_used, reason = "four bytes were asked for")]
                let length = u32::from_ne_bytes(words.take(files, 4)?.try_into().expect("four bytes"));
                key.word.clear();
                key.word.extend_from_slice(words.take(files, length as usize)?);
                key.order = order_of_word(layout.fields[field].cell, &key.word);
                key.number = number;
            }
        }
        Ok(true)
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self.keys.iter().zip(&other.keys);
        let unequal =
            keys.map(|(a, b)| a.order.cmp(&b.order).then_with(|| a.word.cmp(&b.word))).find(|x| x.is_ne());
        unequal.unwrap_or_else(|| self.run.cmp(&other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// Rows that are put together.
struct Rows {
    len: usize,
    records: Vec<u8>,
    /// By key; empty for numbers.
    words: Vec<KeyWords>,
}

/// The words of a key: which each row has, all of them, and where each begins and ends.
struct KeyWords {
    numbers: Vec<i32>,
    bytes: Vec<u8>,
    offsets: Vec<i64>,
    /// The run of the last row, and the number of its word there.
    last: (usize, u32),
}

impl Rows {
    fn new(layout: &Layout, mut records: Vec<u8>) -> Self {
        records.clear();
        let none = || KeyWords { numbers: vec![], bytes: vec![], offsets: vec![0], last: (0, 0) };
        Self { len: 0, records, words: layout.keys.iter().map(|_| none()).collect() }
    }

    fn push(&mut self, layout: &Layout, head: &Head) {
        self.len += 1;
        self.records.extend_from_slice(head.records.last(layout.record));
        for ((&field, key), words) in layout.keys.iter().zip(&head.keys).zip(&mut self.words) {
            if layout.fields[field].has_words() {
                words.push(key, head.run);
            }
        }
    }

    fn fields(&mut self, layout: &Layout) -> SortedRows {
        let values = |field: usize| match layout.keys.iter().position(|&key| key == field) {
            Some(key) if layout.fields[field].has_words() => {
                let KeyWords { numbers, bytes, offsets, .. } = &mut self.words[key];
                let (numbers, bytes) = (std::mem::take(numbers), std::mem::take(bytes));
                FieldValues::Words { numbers, bytes, offsets: std::mem::take(offsets) }
            }
            _ => FieldValues::Cells(gathered(&self.records, layout.record, layout.place(field))),
        };
        SortedRows { len: self.len, fields: (0..layout.fields.len()).map(values).collect() }
    }
}

impl KeyWords {
    fn push(&mut self, key: &Key, run: usize) {
        if self.last != (run, key.number) {
            self.last = (run, key.number);
            let before = self.offsets.len().checked_sub(2).map(|k| &self.bytes[self.offsets[k] as usize..]);
            if before != Some(&key.word[..]) {
                self.bytes.extend_from_slice(&key.word);
                self.offsets.push(self.bytes.len() as i64);
            }
        }
        self.numbers.push(self.offsets.len() as i32 - 2);
    }
}

/// The same place of all records.
fn gathered(records: &[u8], record: usize, place: Range<usize>) -> Vec<u8> {
    fn of_size<const N: usize>(out: &mut [u8], records: &[u8], record: usize, start: usize) {
        for (out, record) in out.as_chunks_mut::<N>().0.iter_mut().zip(records.chunks_exact(record)) {
            out.copy_from_slice(&record[start..start + N]);
        }
    }
    let mut out = vec![0; records.len() / record * place.len()];
    match place.len() {
        4 => of_size::<4>(&mut out, records, record, place.start),
        8 => of_size::<8>(&mut out, records, record, place.start),
        size => {
            for (out, record) in out.chunks_exact_mut(size).zip(records.chunks_exact(record)) {
                out.copy_from_slice(&record[place.clone()]);
            }
        }
    }
    out
}
