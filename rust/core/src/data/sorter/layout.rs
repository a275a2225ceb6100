//! What is where in a record, and how its keys compare.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};

/// Most bytes of a record.
const MOST_BYTES: usize = 1 << 30;

/// What a cell holds, in the byte order of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// A text; a key.
    Text,
    /// Bytes; a key.
    Bytes,
    /// A whole number.
    Signed,
    /// A whole number that is not negative.
    Unsigned,
    /// A floating point number, of 4 or 8 bytes. Where it is a key it is not NaN; 0 and -0 are equal.
    Float,
    /// Anything else; no key.
    Other,
}

/// Cells of one kind that stand side by side in a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// What each cell holds.
    pub cell: Cell,
    /// Bytes of a cell; of words, those of their numbers.
    pub size: usize,
    /// How many cells there are.
    pub width: usize,
}

impl Field {
    /// One text, or bytes.
    pub fn word(cell: Cell) -> Self {
        Self { cell, size: 4, width: 1 }
    }

    /// Whether it has words.
    pub fn has_words(&self) -> bool {
        matches!(self.cell, Cell::Text | Cell::Bytes)
    }

    fn bytes(&self) -> usize {
        self.size * self.width // checked where the layout is made
    }
}

/// A column of some rows.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    /// The bytes of all cells, one after the other.
    Cells(&'a [u8]),
    /// Texts or bytes: `offsets[i]..offsets[i + 1]` of the bytes each.
    Texts(&'a [u8], &'a [i32]),
}

/// The fields of a record.
pub(super) struct Layout {
    pub(super) fields: Vec<Field>,
    /// Where each field begins.
    pub(super) starts: Vec<usize>,
    /// The fields by which records are sorted.
    pub(super) keys: Vec<usize>,
    /// Those of them that have words.
    pub(super) worded: Vec<usize>,
    /// Bytes of a record.
    pub(super) record: usize,
}

impl Layout {
    pub(super) fn new(fields: Vec<Field>, keys: Vec<usize>) -> Result<Self> {
        let bytes = |field: &Field| field.size.checked_mul(field.width);
        let mut all = fields.iter().map(bytes);
        if all.try_fold(0_usize, |sum, bytes| sum.checked_add(bytes?)).is_none_or(|sum| sum > MOST_BYTES) {
            return Err(Error::shape("fields", format!("at most {MOST_BYTES} bytes together"), "more"));
        }
        for (place, field) in fields.iter().enumerate() {
            let sizes: &[usize] = match field.cell {
                Cell::Text | Cell::Bytes => &[4],
                Cell::Signed | Cell::Unsigned => &[1, 2, 4, 8],
                Cell::Float => &[4, 8],
                Cell::Other => &[field.size],
            };
            let key = keys.contains(&place);
            if !sizes.contains(&field.size)
                || field.bytes() == 0
                || (field.has_words() && !key)
                || (key && field.width != 1)
            {
                let expected =
                    "a size of its kind, a cell or more, one if it is a key, a key if it has words";
                return Err(Error::shape(
                    format!("field {place}"),
                    expected,
                    format!("{field:?}, key: {key}"),
                ));
            }
        }
        let ordered = |&key: &usize| fields.get(key).is_some_and(|field| field.cell != Cell::Other);
        if let Some(key) = keys.iter().find(|key| !ordered(key)) {
            return Err(Error::shape("keys", "fields that have an order", key));
        }
        let (mut record, mut starts) = (0, Vec::with_capacity(fields.len()));
        for field in &fields {
            starts.push(record);
            record += field.bytes();
        }
        if record == 0 {
            return Err(Error::shape("fields", "at least one byte", 0));
        }
        let worded = keys.iter().copied().filter(|&key| fields[key].has_words()).collect();
        Ok(Self { fields, starts, keys, worded, record })
    }

    /// How many rows some columns have, which are one for each cell.
    pub(super) fn rows(&self, columns: &[Column<'_>]) -> Result<usize> {
        let cells = || self.fields.iter().flat_map(|field| std::iter::repeat_n(field, field.width));
        let mut rows = None;
        for (field, column) in cells().zip(columns) {
            let found = match column {
                Column::Cells(bytes) if !field.has_words() && bytes.len() % field.size == 0 => {
                    bytes.len() / field.size
                }
                Column::Texts(_, offsets) if field.has_words() && !offsets.is_empty() => offsets.len() - 1,
                _ => return Err(Error::shape("a column", format!("cells for {field:?}"), "others")),
            };
            if *rows.get_or_insert(found) != found {
                return Err(Error::shape("columns", "one length", format!("{rows:?} and {found}")));
            }
        }
        match (cells().count(), rows) {
            (count, Some(rows)) if count == columns.len() => Ok(rows),
            (count, _) => Err(Error::shape("columns", count, columns.len())),
        }
    }

    /// Where a field is in a record.
    pub(super) fn place(&self, field: usize) -> std::ops::Range<usize> {
        self.starts[field]..self.starts[field] + self.fields[field].bytes()
    }

    /// The number in a field of words.
    pub(super) fn number(&self, field: usize, record: &[u8]) -> u32 {
        u32::from_ne_bytes(array(&record[self.place(field)]))
    }

    /// The number in a key, as one that goes by the same order.
    pub(super) fn ordered(&self, key: usize, record: &[u8]) -> u64 {
        let bytes = &record[self.place(key)];
        match (self.fields[key].cell, bytes.len()) {
            (Cell::Signed, 1) => signed(i8::from_ne_bytes(array(bytes)) as i64),
            (Cell::Signed, 2) => signed(i16::from_ne_bytes(array(bytes)) as i64),
            (Cell::Signed, 4) => signed(i32::from_ne_bytes(array(bytes)) as i64),
            (Cell::Signed, _) => signed(i64::from_ne_bytes(array(bytes))),
            (Cell::Float, 4) => float(f32::from_ne_bytes(array(bytes)) as f64),
            (Cell::Float, _) => float(f64::from_ne_bytes(array(bytes))),
            (_, 1) => bytes[0] as u64,
            (_, 2) => u16::from_ne_bytes(array(bytes)) as u64,
            (_, 4) => u32::from_ne_bytes(array(bytes)) as u64,
            _ => u64::from_ne_bytes(array(bytes)),
        }
    }
}

/// Two numbers that go by the order of words, unless they are equal: then that of the bytes decides.
pub(super) fn order_of_word(cell: Cell, word: &[u8]) -> (u64, u64) {
    let mut first = [0; 8];
    let there = word.len().min(8);
    first[..there].copy_from_slice(&word[..there]);
    (if cell == Cell::Text { word.len() as u64 } else { 0 }, u64::from_be_bytes(first))
}

#[expect(clippy::expect_used, reason = "the sizes of fields are checked where the layout is made")]
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the layout has checked the sizes of fields")
}

fn signed(number: i64) -> u64 {
    number as u64 ^ (1 << 63)
}

fn float(number: f64) -> u64 {
    let bits = (number + 0.0).to_bits(); // one zero, not two
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}
