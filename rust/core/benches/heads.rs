//! Heads: loss and all gradients, for the classes and widths of the reference models and for many classes, per
//! instruction set: `cargo bench --bench heads`. An element is a token; the operations of the products are counted.
//!
//! The two cosine rows must cost the same: nothing grows with the number of prototypes.

mod measure;

use std::hint::black_box;

use criterion::Criterion;
use measure::{Rate, isa, numbers, on_one_thread, work};
use ssm_hpn::head::{HeadConfig, Targets, Wanted, WeightedTargets, build, prototypes};
use ssm_hpn::kernels::Layout;
use ssm_hpn::params::{Arena, Grads, Group, Params, Table, TensorMasks};
use ssm_hpn::pass::{Key, Mode, Pass};

/// A head: its name, and the multiply-adds of its products for a token, forward.
struct Case<'a> {
    name: &'a str,
    products: usize,
    json: &'a str,
}

fn head(c: &mut Criterion<Rate>, tokens: usize, d_model: usize, n_classes: usize, case: &Case) {
    let config: HeadConfig = serde_json::from_str(case.json).expect("a head");
    let head = build::<f32>(&config, d_model, 0, None).expect("a head");
    let mut table = Table::new();
    let slots = table.declare("", Group::Head, head.params()).expect("distinct tensors");
    let mut values = Arena::zeros(table.buffer_len());
    for slot in 0..table.entries().len() {
        let entry = table.entry(slot);
        let columns = entry.spec.shape[entry.spec.shape.len() - 1];
        entry.spec.init.fill(values.tensor_mut(&table, slot), columns, 0, &entry.id);
    }
    let mut gradients = Arena::zeros(table.buffer_len());
    let trainable = TensorMasks::declared(&table).trainable;
    let (x, mut dx) = (numbers(tokens * d_model, 1), vec![0.0; tokens * d_model]);
    let classes: Vec<i32> = (0..tokens).map(|i| (i * 7919 % n_classes) as i32).collect();
    let mut scratch = vec![0.0; head.scratch(tokens)];
    let mut group = c.benchmark_group("head");
    // Forward, the gradient of the input and that of the weights.
    group.throughput(work(tokens, 6.0 * case.products as f64));
    group.bench_function(format!("{}, {}", case.name, isa()), |b| {
        on_one_thread(|| {
            b.iter(|| {
                let params = Params::new(values.as_slice(), &table, &slots);
                let mut grads = Grads::new(gradients.as_mut_slice(), &table, &slots, &trainable);
                let (targets, dx) = (WeightedTargets::equal(Targets::Classes(&classes)), Some(&mut dx[..]));
                let layout = Layout::whole(tokens, 1);
                let pass = Pass::new(params, layout, Mode::Training(Key::default()), &mut scratch);
                head.forward_backward(pass, black_box(&x), targets, Wanted::Loss, dx, Some(&mut grads))
            });
        });
    });
    group.finish();
}

fn heads(c: &mut Criterion<Rate>) {
    for (size, tokens, d_model) in [("S", 2048, 128), ("M", 4096, 256)] {
        let (classes, dim) = (256, 255.max(d_model));
        let onto_prototypes = d_model * dim + dim * classes;
        for (what, products, json) in [
            ("softmax over 256 prototypes", onto_prototypes, r#"{"kind":"prototype","n_classes":256}"#),
            (
                "margin over 256 prototypes",
                onto_prototypes,
                r#"{"kind":"prototype","n_classes":256,"loss":{"kind":"margin"}}"#,
            ),
            ("linear over 256 classes", d_model * classes, r#"{"kind":"linear","n_outputs":256}"#),
        ] {
            let name = format!("{size} {what}");
            head(c, tokens, d_model, classes, &Case { name: &name, products, json });
        }
    }
    for n_classes in [512, 50_000] {
        let json = format!(
            r#"{{"kind":"prototype","n_classes":{n_classes},"dim":256,"prototypes":"random","loss":{{"kind":"cosine"}}}}"#
        );
        let name = format!("S cosine over {n_classes} prototypes of 256");
        // The projection alone: nothing is multiplied by all prototypes.
        head(c, 2048, 128, n_classes, &Case { name: &name, products: 128 * 256, json: &json });
    }
}

fn placement(c: &mut Criterion) {
    let mut group = c.benchmark_group("prototypes");
    group.sample_size(10);
    group.bench_function("separate 100 in 10 dimensions", |b| b.iter(|| prototypes::separate(100, 10, 0)));
    group.bench_function("near-orthogonal 50,000 in 256 dimensions", |b| {
        b.iter(|| prototypes::near_orthogonal(50_000, 256, 2));
    });
    let simplex: Vec<f32> = prototypes::simplex(1025, 1024).into_iter().map(|x| x as f32).collect();
    group.bench_function("largest cosine of 1,025 in 1,024 dimensions", |b| {
        b.iter(|| prototypes::largest_cosine(black_box(&simplex), 1024));
    });
    group.finish();
}

fn main() {
    measure::on_every_instruction_set(|| {
        heads(&mut measure::computing());
        placement(&mut Criterion::default().configure_from_args());
    });
}
