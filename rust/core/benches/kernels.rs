//! Time of the kernels along the channels, per instruction set, on one thread: `cargo bench --bench kernels`.
//!
//! Printed as nanoseconds per element next to criterion's time per pass. An element is a token × channel × state for the
//! scan, a token × channel for the convolution, a number for the elementwise functions. The shapes are one layer of
//!
//! | name | rows | tokens | channels | states |
//! |---|---|---|---|---|
//! | S | 8 | 256 | 256 | 16 |
//! | M | 8 | 512 | 512 | 16 |
//! | L | 1 | 512 | 1536 | 16 |

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ssm_hpn::Threads;
use ssm_hpn::kernels::{Columns, ColumnsMut, Layout, activation, conv1d, selective_scan};
use ssm_hpn::simd::Isa;

/// Wall time, with throughput as its inverse: nanoseconds per element.
struct PerElement(WallTime);

impl ValueFormatter for PerElement {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        self.0.formatter().scale_values(typical, values)
    }
    fn scale_throughputs(&self, _: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        if let Throughput::Elements(n) = throughput {
            for value in values {
                *value /= *n as f64;
            }
        }
        "ns/element"
    }
    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.0.formatter().scale_for_machines(values)
    }
}

impl Measurement for PerElement {
    type Intermediate = <WallTime as Measurement>::Intermediate;
    type Value = <WallTime as Measurement>::Value;

    fn start(&self) -> Self::Intermediate {
        self.0.start()
    }
    fn end(&self, start: Self::Intermediate) -> Self::Value {
        self.0.end(start)
    }
    fn add(&self, a: &Self::Value, b: &Self::Value) -> Self::Value {
        self.0.add(a, b)
    }
    fn zero(&self) -> Self::Value {
        self.0.zero()
    }
    fn to_f64(&self, value: &Self::Value) -> f64 {
        self.0.to_f64(value)
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

/// Rows, tokens, channels of one layer.
const SHAPES: [(&str, usize, usize, usize); 3] =
    [("S", 8, 256, 256), ("M", 8, 512, 512), ("L", 1, 512, 1536)];
const STATES: usize = 16;
/// dt_rank: columns before B and C in their matrix.
const RANK: usize = 8;

/// Numbers in [-1, 1).
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

fn on_one_thread(routine: impl FnOnce() + Send) {
    Threads::new(Some(1)).and_then(|one| one.install(routine)).expect("a pool of one thread");
}

fn scan(criterion: &mut Criterion<PerElement>) {
    for (name, rows, length, channels) in SHAPES {
        let tokens = rows * length;
        let dims = selective_scan::Dims { layout: Layout::whole(rows, length), channels, states: STATES };
        let (u, delta, dy) =
            (numbers(tokens * channels, 1), numbers(tokens * channels, 2), numbers(tokens * channels, 3));
        let (xz, dbc) = (numbers(tokens * 2 * channels, 4), numbers(tokens * (RANK + 2 * STATES), 5));
        let a_log: Vec<f32> = (0..channels * STATES).map(|k| ((k % STATES + 1) as f32).ln()).collect();
        let (d, bias) = (vec![1.0; channels], vec![-4.6; channels]);
        let inputs = selective_scan::Inputs {
            u: &u,
            delta: &delta,
            z: Columns::new(&xz, channels, 2 * channels),
            bc: Columns::new(&dbc, RANK, RANK + 2 * STATES),
            a_log: &a_log,
            d: &d,
            delta_bias: &bias,
        };
        let (mut y, mut kept) = (vec![0.0; u.len()], vec![0.0; dims.kept_len()]);
        let mut scratch = vec![0.0; dims.backward_scratch_len().max(dims.forward_scratch_len())];
        let (mut du, mut ddelta) = (vec![0.0; u.len()], vec![0.0; u.len()]);
        let (mut dxz, mut ddbc) = (vec![0.0; xz.len()], vec![0.0; dbc.len()]);
        let (mut da_log, mut dd, mut dbias) =
            (vec![0.0; a_log.len()], vec![0.0; channels], vec![0.0; channels]);
        let mut group = criterion.benchmark_group(format!("scan {name}"));
        group.throughput(Throughput::Elements((tokens * channels * STATES) as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new("forward", isa.name()), |bencher| {
                on_one_thread(|| {
                    bencher.iter(|| {
                        selective_scan::forward_on(
                            isa,
                            &dims,
                            &inputs,
                            None,
                            &mut kept,
                            &mut scratch,
                            &mut y,
                        );
                    });
                });
            });
            group.bench_function(BenchmarkId::new("backward", isa.name()), |bencher| {
                on_one_thread(|| {
                    selective_scan::forward_on(isa, &dims, &inputs, None, &mut kept, &mut scratch, &mut y);
                    bencher.iter(|| {
                        let gradients = selective_scan::Gradients {
                            du: &mut du,
                            ddelta: &mut ddelta,
                            dz: ColumnsMut::new(&mut dxz, channels, 2 * channels),
                            dbc: ColumnsMut::new(&mut ddbc, RANK, RANK + 2 * STATES),
                            da_log: Some(&mut da_log),
                            dd: Some(&mut dd),
                            ddelta_bias: Some(&mut dbias),
                            dfirst: None,
                        };
                        selective_scan::backward_on(
                            isa,
                            &dims,
                            &inputs,
                            &kept,
                            &dy,
                            None,
                            &mut scratch,
                            gradients,
                        );
                    });
                });
            });
        }
    }
}

fn convolution(criterion: &mut Criterion<PerElement>) {
    for (name, rows, length, channels) in SHAPES {
        let tokens = rows * length;
        let dims = conv1d::Dims { layout: Layout::whole(rows, length), channels, taps: 4 };
        let (xz, dy) = (numbers(tokens * 2 * channels, 1), numbers(tokens * channels, 2));
        let (weight, bias) = (numbers(4 * channels, 3), numbers(channels, 4));
        let inputs = conv1d::Inputs { x: Columns::new(&xz, 0, 2 * channels), weight: &weight, bias: &bias };
        let (mut y, mut dxz) = (vec![0.0; dy.len()], vec![0.0; xz.len()]);
        let (mut dweight, mut dbias) = (vec![0.0; weight.len()], vec![0.0; channels]);
        let mut scratch = vec![0.0; dims.backward_scratch_len()];
        let mut group = criterion.benchmark_group(format!("conv1d {name}"));
        group.throughput(Throughput::Elements((tokens * channels) as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new("forward", isa.name()), |bencher| {
                on_one_thread(|| bencher.iter(|| conv1d::forward_on(isa, &dims, &inputs, None, &mut y)));
            });
            group.bench_function(BenchmarkId::new("backward", isa.name()), |bencher| {
                on_one_thread(|| {
                    bencher.iter(|| {
                        let gradients = conv1d::Gradients {
                            dx: ColumnsMut::new(&mut dxz, 0, 2 * channels),
                            dweight: Some(&mut dweight),
                            dbias: Some(&mut dbias),
                        };
                        conv1d::backward_on(isa, &dims, &inputs, &dy, &mut scratch, gradients);
                    });
                });
            });
        }
    }
}

fn elementwise(criterion: &mut Criterion<PerElement>) {
    use activation::Function;
    let x: Vec<f32> = numbers(4096, 1).iter().map(|x| x + 1.001).collect();
    let mut y = vec![0.0; x.len()];
    for function in [Function::Exp, Function::Log, Function::Sigmoid, Function::Silu, Function::Softplus] {
        let mut group = criterion.benchmark_group(format!("{function:?}").to_lowercase());
        group.throughput(Throughput::Elements(x.len() as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new("forward", isa.name()), |bencher| {
                bencher.iter(|| activation::forward_on(isa, function, &x, &mut y));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(PerElement(WallTime)).sample_size(20);
    targets = scan, convolution, elementwise
}
criterion_main!(benches);
