//! Rows in memory: collected as records, then sorted.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::layout::{Cell, Column, Layout, order_of_word};
use crate::data::texts::TextNumbers;
use crate::error::Result;

/// Rows that are taken in together, so that their records stay in the cache.
const BLOCK: usize = 512;

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
    pub(super) fn new(layout: &Layout, bytes: usize) -> Self {
        let rows = (bytes / layout.record).clamp(1, u32::MAX as usize);
        let numbers = layout.worded.iter().map(|_| TextNumbers::default()).collect();
        Self { records: vec![0; rows * layout.record], filled: 0, record: layout.record, numbers }
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
        let records = &mut self.records[..self.filled];
        let words: Vec<Ranked> = layout
            .worded
            .iter()
            .zip(&self.numbers)
            .map(|(&key, numbers)| Ranked::of(layout.fields[key].cell, numbers))
            .collect();
        for (&key, words) in layout.worded.iter().zip(&words) {
            for record in records.chunks_exact_mut(layout.record) {
                let rank = words.ranks[layout.number(key, record) as usize];
                record[layout.place(key)].copy_from_slice(&rank.to_ne_bytes());
            }
        }
        run.records.resize(records.len(), 0);
        sort(layout, &layout.keys, records, &mut run.records);
        run.words.resize_with(words.len(), Vec::new);
        for ((&key, words), out) in layout.worded.iter().zip(&words).zip(&mut run.words) {
            out.clear();
            let (mut before, mut count) = (None, 0u32);
            for record in run.records.chunks_exact_mut(self.record) {
                let rank = layout.number(key, record);
                if before.replace(rank) != Some(rank) {
                    let word = words.word(rank);
                    out.extend_from_slice(&(word.len() as u32).to_ne_bytes());
                    out.extend_from_slice(word);
                    count += 1;
                }
                record[layout.place(key)].copy_from_slice(&count.to_ne_bytes());
            }
        }
        drop(words);
        self.filled = 0;
        self.numbers.iter_mut().for_each(TextNumbers::clear);
    }
}

/// Different words in their order.
struct Ranked {
    bytes: Vec<u8>,
    offsets: Vec<i64>,
    /// The numbers of the words, the first word first.
    order: Vec<u32>,
    /// The place of each number in it.
    ranks: Vec<u32>,
}

impl Ranked {
    fn of(cell: Cell, numbers: &TextNumbers) -> Self {
        let (bytes, offsets) = numbers.texts(0);
        let word =
            |number: u32| &bytes[offsets[number as usize] as usize..offsets[number as usize + 1] as usize];
        let mut sorted: Vec<_> =
            (0..numbers.len() as u32).map(|number| (order_of_word(cell, word(number)), number)).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| word(a.1).cmp(word(b.1))));
        let order: Vec<u32> = sorted.iter().map(|&(_, number)| number).collect();
        let mut ranks = vec![0; order.len()];
        for (rank, &number) in order.iter().enumerate() {
            ranks[number as usize] = rank as u32;
        }
        Self { bytes: bytes.to_vec(), offsets, order, ranks }
    }

    fn word(&self, rank: u32) -> &[u8] {
        let number = self.order[rank as usize] as usize;
        &self.bytes[self.offsets[number] as usize..self.offsets[number + 1] as usize]
    }
}

/// Writes records in the order of some keys to `out`, equal ones in the order in which they are. Words are their ranks.
fn sort(layout: &Layout, keys: &[usize], records: &[u8], out: &mut [u8]) {
    let Some((&first, rest)) = keys.split_first() else {
        out.copy_from_slice(records);
        return;
    };
    sort_by_one(layout, first, records, out);
    if rest.is_empty() {
        return;
    }
    let compared = |keys: &[usize], a: &[u8], b: &[u8]| {
        keys.iter().map(|&key| layout.ordered(key, a)).cmp(keys.iter().map(|&key| layout.ordered(key, b)))
    };
    let size = layout.record;
    let (mut start, mut sorted) = (0, true);
    for end in (size..=out.len()).step_by(size) {
        let record = &out[end - size..end];
        if end < out.len() && layout.ordered(first, record) == layout.ordered(first, &out[end..end + size]) {
            sorted = sorted && compared(rest, record, &out[end..end + size]).is_le();
            continue;
        }
        if !sorted {
            let equal = out[start..end].to_vec();
            sort(layout, rest, &equal, &mut out[start..end]);
        }
        (start, sorted) = (end, true);
    }
}

/// Writes records in the order of one key to `out`, equal ones in the order in which they are; by counting where the
/// numbers are dense.
fn sort_by_one(layout: &Layout, key: usize, records: &[u8], out: &mut [u8]) {
    let size = layout.record;
    let numbers = || records.chunks_exact(size).map(|record| layout.ordered(key, record));
    if numbers().is_sorted() {
        out.copy_from_slice(records);
        return;
    }
    let count = records.len() / size;
    let (least, most) = numbers().fold((u64::MAX, 0), |(least, most), x| (least.min(x), most.max(x)));
    if most - least < count as u64 {
        let mut places = vec![0; (most - least) as usize + 2];
        numbers().for_each(|number| places[(number - least) as usize + 1] += size);
        for k in 1..places.len() {
            places[k] += places[k - 1];
        }
        for (record, number) in records.chunks_exact(size).zip(numbers()) {
            let place = &mut places[(number - least) as usize];
            out[*place..*place + size].copy_from_slice(record);
            *place += size;
        }
        return;
    }
    let mut order: Vec<(u64, u32)> = numbers().zip(0..).collect();
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
