//! Matrix products of one layer, forward and backward, per instruction set: `cargo bench --bench products`.
//!
//! An element is a number of the result.
//!
//! `benchmarks/products` holds the same shapes against two libraries.

mod measure;

use std::hint::black_box;

use criterion::Criterion;
use measure::{Rate, isa, on_one_thread, work};
use ssm_hpn::Threads;
use ssm_hpn::kernels::Accumulate;
use ssm_hpn::kernels::matmul::{
    MatMut, MatRef, linear, linear_dw, linear_dw_scratch, linear_dx, linear_step,
};

/// Model, tokens, d_model.
const MODELS: [(&str, usize, usize); 3] = [("S", 2048, 128), ("M", 4096, 256), ("Lb", 512, 768)];

/// (name, outputs, inputs) of the projections of a Mamba-1 layer of width d.
fn projections(d: usize) -> [(&'static str, usize, usize); 4] {
    let (inner, rank) = (2 * d, d.div_ceil(16));
    [
        ("in_proj", 2 * inner, d),
        ("x_proj", rank + 32, inner),
        ("dt_proj", inner, rank),
        ("out_proj", d, inner),
    ]
}

fn products(criterion: &mut Criterion<Rate>) {
    for threads in [1, 2] {
        let pool = Threads::new(Some(threads)).expect("a pool");
        for (model, m, d) in MODELS {
            let name = format!("{model}, {}, {threads} threads", isa());
            let mut group = criterion.benchmark_group(name);
            group.sample_size(20);
            for (name, n, k) in projections(d) {
                let (x, w, dy) = (vec![0.5_f32; m * k], vec![0.25_f32; n * k], vec![0.125_f32; m * n]);
                let (x, w, dy) = (MatRef::new(&x, m, k), MatRef::new(&w, n, k), MatRef::new(&dy, m, n));
                let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
                let mut scratch = vec![0.0; linear_dw_scratch(m, n, k)];
                group.throughput(work(m * n, 2.0 * k as f64));
                group.bench_function(format!("{name} y"), |b| {
                    let mut run = || linear(x, w, MatMut::new(&mut y, m, n), Accumulate::Overwrite);
                    pool.install(|| b.iter(&mut run)).expect("this process");
                });
                group.throughput(work(m * k, 2.0 * n as f64));
                group.bench_function(format!("{name} dx"), |b| {
                    let mut run = || linear_dx(dy, w, MatMut::new(&mut dx, m, k), Accumulate::Overwrite);
                    pool.install(|| b.iter(&mut run)).expect("this process");
                });
                group.throughput(work(n * k, 2.0 * m as f64));
                group.bench_function(format!("{name} dw"), |b| {
                    let mut run = || linear_dw(dy, x, MatMut::new(&mut dw, n, k), &mut scratch);
                    pool.install(|| b.iter(&mut run)).expect("this process");
                });
            }
            group.finish();
        }
    }
}

/// Products of one token, as recurrent inference needs them.
fn steps(criterion: &mut Criterion<Rate>) {
    let mut group = criterion.benchmark_group(format!("one token, {}", isa()));
    for (name, n, k) in projections(128) {
        let (x, w, mut y) = (vec![0.5_f32; k], vec![0.25_f32; n * k], vec![0.0; n]);
        let (x, w) = (MatRef::new(&x, 1, k), MatRef::new(&w, n, k));
        group.throughput(work(n, 2.0 * k as f64));
        group.bench_function(name, |b| {
            on_one_thread(|| {
                b.iter(|| linear_step(black_box(x), w, MatMut::new(&mut y, 1, n), Accumulate::Overwrite));
            });
        });
    }
    group.finish();
}

fn main() {
    measure::on_every_instruction_set(|| {
        let mut computing = measure::computing();
        products(&mut computing);
        steps(&mut computing);
        computing.final_summary();
    });
}
