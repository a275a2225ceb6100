use proptest::prelude::*;

use super::{Cell, Column, Field, FieldValues, RowSorter, SortedRows};
use crate::error::Error;

const FIELDS: [Field; 4] = [
    Field { cell: Cell::Other, size: 3, width: 2 },
    Field { cell: Cell::Text, size: 4, width: 1 },
    Field { cell: Cell::Float, size: 8, width: 1 },
    Field { cell: Cell::Unsigned, size: 4, width: 1 },
];

type Row = (String, f64, u32);

/// The rows, and what stands beside them, in the order in which they are handed out.
fn sorted(rows: &[Row], keys: &[usize], at_once: usize, run_bytes: usize) -> Vec<(Row, [u8; 6])> {
    let folder = tempfile::tempdir().unwrap();
    let mut sorter =
        RowSorter::new(folder.path(), FIELDS.to_vec(), keys.to_vec(), run_bytes, run_bytes / 3).unwrap();
    for rows in rows.chunks(at_once) {
        let texts: String = rows.iter().map(|row| row.0.as_str()).collect();
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.0.len() as i32;
            Some(*end)
        });
        let offsets: Vec<i32> = std::iter::once(0).chain(ends).collect();
        let numbers: Vec<u8> = rows.iter().flat_map(|row| row.1.to_ne_bytes()).collect();
        let whole: Vec<u8> = rows.iter().flat_map(|row| row.2.to_ne_bytes()).collect();
        let (one, two) = rows.iter().map(beside).map(|six| (six[..3].to_vec(), six[3..].to_vec())).unzip();
        let (one, two): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (one, two);
        let columns = [
            Column::Cells(&one.concat()),
            Column::Cells(&two.concat()),
            Column::Texts(texts.as_bytes(), &offsets),
            Column::Cells(&numbers),
            Column::Cells(&whole),
        ];
        sorter.add(&columns).unwrap();
    }
    let mut found = Vec::new();
    while let Some(SortedRows { len, fields }) = sorter.next(5).unwrap() {
        assert!((1..=5).contains(&len));
        let [
            FieldValues::Cells(beside),
            FieldValues::Words { numbers: words, bytes, offsets },
            FieldValues::Cells(numbers),
            FieldValues::Cells(whole),
        ] = &fields[..]
        else {
            panic!("{fields:?}")
        };
        for k in 0..len {
            let word = &bytes[offsets[words[k] as usize] as usize..offsets[words[k] as usize + 1] as usize];
            let row = (
                String::from_utf8(word.to_vec()).unwrap(),
                f64::from_ne_bytes(*numbers.as_chunks().0.get(k).unwrap()),
                u32::from_ne_bytes(*whole.as_chunks().0.get(k).unwrap()),
            );
            found.push((row, *beside.as_chunks().0.get(k).unwrap()));
        }
    }
    found
}

/// Two cells that tell a row from the others.
fn beside(row: &Row) -> [u8; 6] {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{row:?}").as_bytes()).to_ne_bytes();
    *hash.first_chunk().unwrap()
}

proptest! {
    #[test]
    fn rows_have_the_order_of_the_standard_sort(
        rows in prop::collection::vec(("[ab]{0,2}|[ab]{0,20}", -2..2i32, any::<u32>()), 0..80),
        at_once in 1..30usize,
        run_bytes in prop::sample::select(vec![1, 100, 400, 1 << 20]),
    ) {
        let rows: Vec<Row> = rows.into_iter().map(|(text, number, whole)| (text, number as f64 / 2.0, whole)).collect();
        let found = sorted(&rows, &[1, 2], at_once, run_bytes);
        let mut wanted = rows.clone();
        wanted.sort_by(|a, b| {
            (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)).then(a.1.total_cmp(&b.1))
        });
        prop_assert_eq!(found.iter().map(|(row, _)| row).collect::<Vec<_>>(), wanted.iter().collect::<Vec<_>>());
        prop_assert!(found.iter().all(|(row, six)| beside(row) == *six));
    }
}

#[test]
fn what_is_no_layout_or_does_not_fit_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let new = |fields: &[Field], keys: &[usize]| {
        RowSorter::new(folder.path(), fields.to_vec(), keys.to_vec(), 100, 100)
    };
    let wide = Field { cell: Cell::Float, size: 8, width: 2 };
    let whole = Field { cell: Cell::Signed, size: 8, width: 1 };
    for (fields, keys) in [
        (&[wide][..], &[0][..]),
        (&[Field { size: 2, ..wide }], &[]),
        (&[Field { width: 0, ..wide }], &[]),
        (&[Field { cell: Cell::Other, ..whole }], &[0]),
        (&[Field::word(Cell::Text)], &[]),
        (&[whole], &[1]),
        (&[], &[]),
        (&[Field { width: usize::MAX / 4, ..wide }], &[]),
        (&[Field { cell: Cell::Other, size: 1 << 20, width: 1 << 11 }], &[]),
    ] {
        assert!(matches!(new(fields, keys), Err(Error::Shape { .. })), "{fields:?} {keys:?}");
    }
    let large = vec![Field { cell: Cell::Other, size: 1 << 20, width: 1 << 9 }];
    let message =
        RowSorter::new(folder.path(), large, vec![], usize::MAX, 100).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("MB that the rows to sort would take"), "{message}");
    let mut sorter = new(&[Field::word(Cell::Text), whole], &[0]).unwrap();
    let text = Column::Texts(b"ab", &[0, 1, 2]);
    for columns in [
        &[text][..],
        &[text, Column::Cells(&[0; 8])],
        &[text, Column::Cells(&[0; 15])],
        &[text, text],
        &[Column::Texts(b"a", &[0, 1, 2]), Column::Cells(&[0; 16])],
    ] {
        let mut sorter = new(&[Field::word(Cell::Text), whole], &[0]).unwrap();
        assert!(matches!(sorter.add(columns), Err(Error::Shape { .. })), "{columns:?}");
    }
    sorter.add(&[text, Column::Cells(&[0; 16])]).unwrap();
    assert_eq!(sorter.next(9).unwrap().unwrap().len, 2);
    assert!(sorter.next(9).unwrap().is_none());
    assert!(matches!(sorter.add(&[text, Column::Cells(&[0; 16])]), Err(Error::Shape { .. })));
}
