//! Rows in memory: collected as records, then sorted.

#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::ops::Range;

use super::layout::{Cell, Column, Layout, order_of_word};
use crate::allocate::try_filled;
use crate::data::texts::TextNumbers;
use crate::error::Result;

/// Rows that are taken in together, so that their records stay in the cache.
const BLOCK: usize = 256;

/// Rows as they came; words are numbered in the order in which they were met.
pub(super) struct Held {
    records: Vec<u8>,
    /// Bytes of the records that are filled.
    filled: usize,
    record: usize,
    /// For each key with words.
    numbers: Vec<TextNumbers>,
}

/// Sorted records, and for each key with words these one after the other, each with its length before it (u32): one for
/// all rows that follow each other with the same. In a record, words are counted.
#[derive(Default)]
pub(super) struct Run {
    pub(super) records: Vec<u8>,
    pub(super) words: Vec<Vec<u8>>,
}

impl Held {
    pub(super) fn new(layout: &Layout, bytes: usize) -> Result<Self> {
        let rows = (bytes / layout.record).clamp(1, u32::MAX as usize);
        let numbers = layout.worded.iter().map(|_| TextNumbers::default()).collect();
        let records = try_filled(0, &[rows, layout.record], "the rows to sort")?;
        Ok(Self { records, filled: 0, record: layout.record, numbers })
    }

    /// Bytes of the records that there is room for.
    pub(super) fn bytes(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether no row is to be added.
    pub(super) fn full(&self) -> bool {
        let words: usize = self.numbers.iter().map(TextNumbers::bytes).sum();
        self.filled == self.records.len() || words >= self.records.len()
    }

    /// Takes in the first of the rows `left` of some columns, which are those of the layout; returns how many.
    pub(super) fn add(
        &mut self,
        layout: &Layout,
        columns: &[Column<'_>],
        left: Range<usize>,
    ) -> Result<usize> {
        let room = (self.records.len() - self.filled) / self.record;
        let (start, rows) = (left.start, BLOCK.min(room).min(left.len()));
        let out = &mut self.records[self.filled..self.filled + rows * self.record];
        let (mut columns, mut numbers) = (columns.iter(), self.numbers.iter_mut());
        for (field, &place) in layout.fields.iter().zip(&layout.starts) {
            for (k, column) in columns.by_ref().take(field.width).enumerate() {
                match column {
                    Column::Cells(bytes) => {
                        let cells = &bytes[start * field.size..(start + rows) * field.size];
                        scatter(out, self.record, place + k * field.size, cells, field.size);
                    }
                    Column::Texts(bytes, offsets) => {
                        #[expect(clippy::expect_used, reason = "there are as many tables as keys with words")]
                        let known = numbers.next().expect("a field of words is a key");
                        let found = known.number(bytes, &offsets[start..=start + rows])?;
                        for (record, number) in out.chunks_exact_mut(self.record).zip(found) {
                            record[place..place + 4].copy_from_slice(&number.to_ne_bytes());
                        }
                    }
                }
            }
        }
        self.filled += rows * self.record;
        Ok(rows)
    }

    /// Sorts all rows into `run`; none is left here.
    pub(super) fn sort(&mut self, layout: &Layout, run: &mut Run) {
        let records = &self.records[..self.filled];
        let mut words: Vec<Words> = layout
            .worded
            .iter()
            .zip(&self.numbers)
            .map(|(&key, numbers)| Words::of(layout.fields[key].cell, numbers))
            .collect();
        run.records.resize(records.len(), 0);
        run.words.resize_with(words.len(), Vec::new);
        run.words.iter_mut().for_each(Vec::clear);
        let ranks: Vec<(usize, Vec<u32>)> = layout
            .worded
            .iter()
            .zip(&mut words)
            .map(|(&key, words)| (key, std::mem::take(&mut words.ranks)))
            .collect();
        let keys = Keys { layout, ranks };
        // Records of one first key are a small part of all: what is done with them is done while they are in the cache.
        sort(&keys, &layout.keys, records, &mut run.records, &mut |equal| {
            for ((&key, words), out) in layout.worded.iter().zip(&mut words).zip(&mut run.words) {
                words.write(layout, key, equal, out);
            }
        });
        self.filled = 0;
        self.numbers.iter_mut().for_each(TextNumbers::clear);
    }
}

/// The words of a key, which are written as their records come.
struct Words {
    bytes: Vec<u8>,
    offsets: Vec<i64>,
    /// The place of each number in the order of the words.
    ranks: Vec<u32>,
    /// The number in the last record, and how many words were written.
    last: Option<u32>,
    count: u32,
}

impl Words {
    fn of(cell: Cell, numbers: &TextNumbers) -> Self {
        let (bytes, offsets) = numbers.texts(0);
        let word =
            |number: u32| &bytes[offsets[number as usize] as usize..offsets[number as usize + 1] as usize];
        let mut sorted: Vec<_> =
            (0..numbers.len() as u32).map(|number| (order_of_word(cell, word(number)), number)).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| word(a.1).cmp(word(b.1))));
        let mut ranks = vec![0; sorted.len()];
        for (rank, (_, number)) in sorted.into_iter().enumerate() {
            ranks[number as usize] = rank as u32;
        }
        Self { bytes: bytes.to_vec(), offsets, ranks, last: None, count: 0 }
    }

    /// Writes the words of the next records, and counts them in these.
    fn write(&mut self, layout: &Layout, key: usize, records: &mut [u8], out: &mut Vec<u8>) {
        for record in records.chunks_exact_mut(layout.record) {
            let number = layout.number(key, record);
            if self.last.replace(number) != Some(number) {
                let (start, end) = (self.offsets[number as usize], self.offsets[number as usize + 1]);
                out.extend_from_slice(&((end - start) as u32).to_ne_bytes());
                out.extend_from_slice(&self.bytes[start as usize..end as usize]);
                self.count += 1;
            }
            record[layout.place(key)].copy_from_slice(&self.count.to_ne_bytes());
        }
    }
}

/// The keys of records in memory, as numbers that go by the same order.
struct Keys<'a> {
    layout: &'a Layout,
    /// By key with words, the place of each number in their order.
    ranks: Vec<(usize, Vec<u32>)>,
}

impl Keys<'_> {
    fn number(&self, key: usize, record: &[u8]) -> u64 {
        match self.ranks.iter().find(|(worded, _)| *worded == key) {
            Some((_, ranks)) => ranks[self.layout.number(key, record) as usize] as u64,
            None => self.layout.ordered(key, record),
        }
    }

    fn compared(&self, keys: &[usize], a: &[u8], b: &[u8]) -> Ordering {
        keys.iter().map(|&key| self.number(key, a)).cmp(keys.iter().map(|&key| self.number(key, b)))
    }
}

/// Writes records in the order of some keys to `out`, equal ones in the order in which they are. `then` gets all of
/// them, those of one first key at once.
fn sort(keys: &Keys<'_>, by: &[usize], records: &[u8], out: &mut [u8], then: &mut dyn FnMut(&mut [u8])) {
    let Some((&first, rest)) = by.split_first() else {
        out.copy_from_slice(records);
        return then(out);
    };
    sort_by_one(keys, first, records, out);
    let size = keys.layout.record;
    let (mut start, mut sorted) = (0, true);
    for end in (size..=out.len()).step_by(size) {
        let record = &out[end - size..end];
        let next = out.get(end..end + size);
        if let Some(next) = next.filter(|next| keys.compared(&[first], record, next).is_eq()) {
            sorted = sorted && keys.compared(rest, record, next).is_le();
            continue;
        }
        let equal = &mut out[start..end];
        if !sorted {
            let unsorted = equal.to_vec();
            sort(keys, rest, &unsorted, equal, &mut |_| ());
        }
        then(equal);
        (start, sorted) = (end, true);
    }
}

/// Writes records in the order of one key to `out`, equal ones in the order in which they are; by counting where the
/// numbers are dense.
fn sort_by_one(keys: &Keys<'_>, key: usize, records: &[u8], out: &mut [u8]) {
    let size = keys.layout.record;
    let numbers: Vec<u64> = records.chunks_exact(size).map(|record| keys.number(key, record)).collect();
    if numbers.is_sorted() {
        out.copy_from_slice(records);
        return;
    }
    let (least, most) = numbers.iter().fold((u64::MAX, 0), |(least, most), &x| (least.min(x), most.max(x)));
    if most - least < numbers.len() as u64 {
        let mut places = vec![0; (most - least) as usize + 2];
        for number in &numbers {
            places[(number - least) as usize + 1] += size;
        }
        for k in 1..places.len() {
            places[k] += places[k - 1];
        }
        for (record, number) in records.chunks_exact(size).zip(numbers) {
            let place = &mut places[(number - least) as usize];
            out[*place..*place + size].copy_from_slice(record);
            *place += size;
        }
        return;
    }
    let mut order: Vec<(u64, u32)> = numbers.into_iter().zip(0..).collect();
    order.sort_by_key(|&(number, _)| number);
    for (out, (_, row)) in out.chunks_exact_mut(size).zip(order) {
        out.copy_from_slice(&records[row as usize * size..][..size]);
    }
}

/// Writes the cells of a column to the same place of each record.
fn scatter(records: &mut [u8], record: usize, place: usize, cells: &[u8], size: usize) {
    fn of_size<const N: usize>(records: &mut [u8], record: usize, place: usize, cells: &[u8]) {
        for (record, cell) in records.chunks_exact_mut(record).zip(cells.as_chunks::<N>().0) {
            record[place..place + N].copy_from_slice(cell);
        }
    }
    match size {
        4 => of_size::<4>(records, record, place, cells),
        8 => of_size::<8>(records, record, place, cells),
        _ => {
            for (record, cell) in records.chunks_exact_mut(record).zip(cells.chunks_exact(size)) {
                record[place..place + size].copy_from_slice(cell);
            }
        }
    }
}
