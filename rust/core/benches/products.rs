//! Matrix products of one layer, forward and backward, per instruction set in use (`SSM_HPN_SIMD`).
//!
//!     cargo bench --bench products            (throughput in multiply-adds: GFLOP/s is twice the Gelem/s)
//!
//! `benchmarks/products` holds the same shapes against two libraries.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ssm_hpn::Threads;
use ssm_hpn::kernels::matmul::{
    Accumulate, MatMut, MatRef, linear, linear_dw, linear_dw_scratch, linear_dx, linear_step,
};
use ssm_hpn::simd::Isa;

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

fn products(criterion: &mut Criterion) {
    for threads in [1, 2] {
        let pool = Threads::new(Some(threads)).expect("a pool");
        for (model, m, d) in MODELS {
            let name = format!("{model}, {}, {threads} threads", Isa::active().name());
            let mut group = criterion.benchmark_group(name);
            group.sample_size(20);
            for (name, n, k) in projections(d) {
                let (x, w, dy) = (vec![0.5_f32; m * k], vec![0.25_f32; n * k], vec![0.125_f32; m * n]);
                let (x, w, dy) = (MatRef::new(&x, m, k), MatRef::new(&w, n, k), MatRef::new(&dy, m, n));
                let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
                let mut scratch = vec![0.0; linear_dw_scratch(m, n, k)];
                group.throughput(Throughput::Elements((m * n * k) as u64));
                group.bench_function(format!("{name} y"), |b| {
                    let mut run = || linear(x, w, MatMut::new(&mut y, m, n), Accumulate::Overwrite);
                    pool.install(|| b.iter(&mut run)).expect("this process");
                });
                group.bench_function(format!("{name} dx"), |b| {
                    let mut run = || linear_dx(dy, w, MatMut::new(&mut dx, m, k), Accumulate::Overwrite);
                    pool.install(|| b.iter(&mut run)).expect("this process");
                });
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
fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("one token, {}", Isa::active().name()));
    let pool = Threads::new(Some(1)).expect("a pool");
    for (name, n, k) in projections(128) {
        let (x, w, mut y) = (vec![0.5_f32; k], vec![0.25_f32; n * k], vec![0.0; n]);
        let (x, w) = (MatRef::new(&x, 1, k), MatRef::new(&w, n, k));
        group.throughput(Throughput::Elements((n * k) as u64));
        group.bench_function(name, |b| {
            let mut run = || linear_step(black_box(x), w, MatMut::new(&mut y, 1, n), Accumulate::Overwrite);
            pool.install(|| b.iter(&mut run)).expect("this process");
        });
    }
    group.finish();
}

criterion_group!(benches, products, steps);
criterion_main!(benches);
