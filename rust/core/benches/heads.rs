//! Heads: loss and all gradients per token, for the classes and widths of the reference models and for many classes.
//!
//! The two cosine rows must cost the same: nothing grows with the number of prototypes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ssm_hpn::head::{Accuracy, HeadConfig, Targets, build, prototypes};
use ssm_hpn::params::{Arena, Grads, Group, Groups, Params, Table};

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i as f32) * 0.7).sin()).collect()
}

fn head(c: &mut Criterion, name: &str, tokens: usize, d_model: usize, n_classes: usize, json: &str) {
    let config: HeadConfig = serde_json::from_str(json).expect("a head");
    let head = build::<f32>(&config, d_model, 0).expect("a head");
    let mut table = Table::new();
    let slots = table.declare("", Group::Head, head.params()).expect("distinct tensors");
    let mut values = Arena::zeros(table.buffer_len());
    for slot in 0..table.entries().len() {
        let entry = table.entry(slot);
        let columns = entry.spec.shape[entry.spec.shape.len() - 1];
        entry.spec.init.fill(values.tensor_mut(&table, slot), columns, 0, &entry.id);
    }
    let mut gradients = Arena::zeros(table.buffer_len());
    let trainable = Groups::declared(&table).trainable;
    let (x, mut dx) = (numbers(tokens * d_model), vec![0.0; tokens * d_model]);
    let classes: Vec<i32> = (0..tokens).map(|i| (i * 7919 % n_classes) as i32).collect();
    let mut scratch = vec![0.0; head.scratch(tokens)];
    let mut group = c.benchmark_group("head");
    group.throughput(Throughput::Elements(tokens as u64)).sample_size(20);
    group.bench_function(name, |b| {
        b.iter(|| {
            let params = Params::new(values.as_slice(), &table, &slots);
            let mut grads = Grads::new(gradients.as_mut_slice(), &table, &slots, &trainable);
            let (targets, dx) = (Targets::Classes(&classes), Some(&mut dx[..]));
            let (x, scratch) = (black_box(&x), &mut scratch);
            head.forward_backward(&params, x, targets, Accuracy::Skip, scratch, dx, Some(&mut grads))
        });
    });
    group.finish();
}

fn heads(c: &mut Criterion) {
    for (size, tokens, d_model) in [("S", 2048, 128), ("M", 4096, 256)] {
        let softmax = r#"{"kind":"prototype","n_classes":256}"#;
        head(c, &format!("{size} softmax over 256 prototypes"), tokens, d_model, 256, softmax);
        let margin = r#"{"kind":"prototype","n_classes":256,"loss":{"kind":"margin"}}"#;
        head(c, &format!("{size} margin over 256 prototypes"), tokens, d_model, 256, margin);
        let linear = r#"{"kind":"linear","n_outputs":256}"#;
        head(c, &format!("{size} linear over 256 classes"), tokens, d_model, 256, linear);
    }
    for n_classes in [512, 50_000] {
        let json = format!(
            r#"{{"kind":"prototype","n_classes":{n_classes},"dim":256,"prototypes":"random","loss":{{"kind":"cosine"}}}}"#
        );
        head(c, &format!("S cosine over {n_classes} prototypes of 256"), 2048, 128, n_classes, &json);
    }
}

fn placement(c: &mut Criterion) {
    let mut group = c.benchmark_group("prototypes");
    group.sample_size(10);
    group.bench_function("separate 100 in 10 dimensions", |b| b.iter(|| prototypes::separate(100, 10, 0)));
    group.bench_function("near-orthogonal 50,000 in 256 dimensions", |b| {
        b.iter(|| prototypes::exact::near_orthogonal(50_000, 256, 2));
    });
    let simplex: Vec<f32> = prototypes::exact::simplex(1025, 1024).into_iter().map(|x| x as f32).collect();
    group.bench_function("largest cosine of 1,025 in 1,024 dimensions", |b| {
        b.iter(|| prototypes::largest_cosine(black_box(&simplex), 1024));
    });
    group.finish();
}

criterion_group!(benches, heads, placement);
criterion_main!(benches);
