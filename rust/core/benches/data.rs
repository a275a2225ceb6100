//! Tokens per second of the loader, for each packing, with and without threads; of the writer; and the time to resume.
//!
//! Rows of 512 tokens, 8 per batch, from 8 million bytes in documents of 50 to 4,000 tokens. The files are in the page
//! cache: checking, packing and copying are measured.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ssm_hpn::data::Kind;
use ssm_hpn::data::{
    DocumentColumns, Elements, Extra, Loader, LoaderConfig, Packing, ShardWriter, WriterConfig,
};

const TOKENS: usize = 8_000_000;
const LENGTH: usize = 512;
const ROWS: usize = 8;

fn documents() -> (Vec<u8>, Vec<u64>) {
    let tokens = (0..TOKENS).map(|i| ((i * i) >> 7) as u8).collect();
    let mut offsets = vec![0];
    let mut end = 0;
    while end < TOKENS {
        end = TOKENS.min(end + 50 + (end * 31 + 17) % 3950);
        offsets.push(end as u64);
    }
    (tokens, offsets)
}

fn write(folder: &Path, tokens: &[u8], offsets: &[u64]) {
    let mut config = WriterConfig::new(Kind::Tokens, &["tokens"]);
    config.vocab_size = Some(256);
    let mut writer = ShardWriter::create(folder, config).unwrap();
    let elements = Elements::U8(tokens);
    writer.append(&DocumentColumns { elements, offsets, targets: &[], names: None }).unwrap();
    writer.close(Extra::default()).unwrap();
}

fn data(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, offsets) = documents();
    write(folder.path(), &tokens, &offsets);

    let mut group = c.benchmark_group("next");
    group.throughput(Throughput::Elements((ROWS * LENGTH) as u64));
    for packing in [Packing::Contiguous, Packing::BestFit, Packing::Pad] {
        for workers in [0, 2] {
            let config = LoaderConfig { packing, workers, ..LoaderConfig::new(folder.path(), ROWS, LENGTH) };
            let mut loader = Loader::open(config).unwrap();
            group.bench_function(
                BenchmarkId::new(format!("{packing:?}"), format!("{workers} workers")),
                |b| {
                    b.iter(|| loader.next().unwrap());
                },
            );
        }
    }
    group.finish();

    let config = LoaderConfig { workers: 0, ..LoaderConfig::new(folder.path(), ROWS, LENGTH) };
    let mut loader = Loader::open(config).unwrap();
    let middle = (0..100).map(|_| loader.next().unwrap().unwrap().1).last().unwrap();
    c.bench_function("seek and next", |b| {
        b.iter(|| {
            loader.seek(middle.clone()).unwrap();
            loader.next().unwrap()
        });
    });

    let mut group = c.benchmark_group("write");
    group.throughput(Throughput::Elements(TOKENS as u64)).sample_size(10);
    group.bench_function("documents", |b| {
        b.iter_with_setup(
            || tempfile::tempdir().unwrap(),
            |folder| {
                write(folder.path(), &tokens, &offsets);
                folder
            },
        );
    });
    group.finish();
}

criterion_group!(benches, data);
criterion_main!(benches);
