//! Reading a prepared folder from its first document to its last.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::fs;

use crate::shards::{Counted, write_features};
use ssm_hpn::Error;
use ssm_hpn::data::ColumnValues;
use ssm_hpn::data::ShardReader;

#[test]
fn every_column_of_every_document_is_read_in_order() {
    for vocabulary in [66_000, 600] {
        let folder = tempfile::tempdir().unwrap();
        let data = Counted::varied(30, 17);
        data.write(folder.path(), |c| c.vocab_size = Some(vocabulary));
        let mut reader = ShardReader::open(folder.path()).unwrap();
        assert!(reader.data().n_groups() > 3);
        let (mut tokens, mut labels) = (Vec::<u32>::new(), Vec::<i32>::new());
        let (mut label, mut values, mut names) = (Vec::<i32>::new(), Vec::<f32>::new(), vec![]);
        let mut lengths = vec![];
        while let Some(group) = reader.next_group().unwrap() {
            lengths.extend(group.boundaries().windows(2).map(|w| (w[1] - w[0]) as usize));
            tokens.extend(group.all_tokens().unwrap());
            for (column, name) in group.targets().iter().zip(["labels", "label", "values"]) {
                assert_eq!(column.name(), name);
                match (column.all(), name) {
                    (ColumnValues::Classes(classes), "labels") => labels.extend(classes),
                    (ColumnValues::Classes(classes), _) => label.extend(classes),
                    (ColumnValues::Numbers(numbers), _) => values.extend(numbers),
                }
            }
            names.extend(group.names().unwrap().map(str::to_owned));
            assert!(group.all_features().is_none());
        }
        assert_eq!(lengths, data.lengths);
        assert_eq!(tokens, (0..data.tokens() as u32).collect::<Vec<_>>());
        assert_eq!(labels, (0..data.tokens() as i32).map(|i| i % 5 - 1).collect::<Vec<_>>());
        assert_eq!(label, (0..30).map(|i| i % 4 - 1).collect::<Vec<_>>());
        assert_eq!(values, (0..60).map(|i| i as f32 * 0.5).collect::<Vec<_>>());
        assert_eq!(names, (0..30).map(|i| format!("file-{i}")).collect::<Vec<_>>());
        assert!(reader.next_group().unwrap().is_none());
    }
}

#[test]
fn features_are_read_in_order_and_absent_columns_are_none() {
    let folder = tempfile::tempdir().unwrap();
    write_features(folder.path(), &[3, 5, 4, 7]);
    let mut reader = ShardReader::open(folder.path()).unwrap();
    let mut numbers = vec![];
    while let Some(group) = reader.next_group().unwrap() {
        let (x, width) = group.all_features().unwrap();
        assert_eq!(width, 3);
        numbers.extend_from_slice(x);
        assert!(group.all_tokens().is_none() && group.names().is_none());
        assert!(group.target("label").is_some() && group.target("labels").is_none());
    }
    assert_eq!(numbers, (0..3 * 19).map(|i| i as f32).collect::<Vec<_>>());
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    Counted::varied(60, 30).write(folder.path(), |c| c.shard_bytes = 1 << 20);
    let mut reader = ShardReader::open(folder.path()).unwrap();
    reader.next_group().unwrap().unwrap();
    let shard = folder.path().join("shard-00000.arrow");
    fs::File::options().write(true).open(&shard).unwrap().set_len(2000).unwrap();
    let error = loop {
        match reader.next_group() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cut file was read to its end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Data { .. } | Error::Storage { .. }), "{error}");
    assert!(error.to_string().contains("shard-00000.arrow"), "{error}");
}
