//! The kernels besides the products, forward and backward, per instruction set, on one thread:
//! `cargo bench --bench kernels`.
//!
//! An element is a token × channel × state for the scan, a step of a filter for the fixed filters, a score for the softmax, a parameter for AdamW, a token ×
//! channel elsewhere. The scan computes, and its operations are counted: an exponential as [`EXP`] (its polynomial), a
//! multiply-add as two. The others move, and the bytes that they read and write are counted. Shapes of one layer:
//!
//! | name | rows | tokens | channels | states |
//! |---|---|---|---|---|
//! | S | 8 | 256 | 256 | 16 |
//! | M | 8 | 512 | 512 | 16 |
//! | L | 1 | 512 | 1536 | 16 |

mod measure;

use criterion::{BatchSize, BenchmarkId, Criterion};
use measure::{Rate, isa, numbers, on_one_thread, work};
use ssm_hpn::kernels::conv1d::{ConvGrads, ConvInPlace};
use ssm_hpn::kernels::selective_scan::{ScanGrads, ScanInPlace, ScanOutputs};
use ssm_hpn::kernels::{Accumulate, Columns, ColumnsMut, Layout, RowWeights, conv1d, embedding, norm};
use ssm_hpn::kernels::{selective_scan, softmax, state_filters};
use ssm_hpn::optim::{AdamW, OptimConfig};
use ssm_hpn::params::{Arena, Group, Init, ParamSpec, Table, TensorMasks};

/// Operations of an exponential: range reduction, a polynomial of degree five, scaling.
const EXP: f64 = 9.0;
/// exp, ā·h + x·B with its product, C·h.
const SCAN_FORWARD: f64 = EXP + 3.0 + 2.0;
/// The state again, dC; then q, dB, s, r and the sums for A and for the next step.
const SCAN_BACKWARD: f64 = SCAN_FORWARD + 2.0 + 12.0;
/// A mode of a fixed filter: λ·h + u, c·h.
const MODE: f64 = 12.0;
/// Above one bias: difference, comparison, count, its sum, excess with its maximum, run, longest.
const ABOVE: f64 = 9.0;
/// In one group: two extremes; then for both comparison, count, its sum, value.
const COMPETES: f64 = 2.0 + 2.0 * 5.0;
/// A number.
const F32: f64 = 4.0;

/// Rows, tokens, channels of one layer.
const SHAPES: [(&str, usize, usize, usize); 3] =
    [("S", 8, 256, 256), ("M", 8, 512, 512), ("L", 1, 512, 1536)];
const STATES: usize = 16;
/// dt_rank: columns before B and C in their matrix.
const RANK: usize = 8;

fn scan(criterion: &mut Criterion<Rate>) {
    for (name, rows, length, channels) in SHAPES {
        let tokens = rows * length;
        let dims = selective_scan::Dims { layout: Layout::whole(rows, length), channels, states: STATES };
        let (u, delta, dy) =
            (numbers(tokens * channels, 1), numbers(tokens * channels, 2), numbers(tokens * channels, 3));
        let (xz, dbc) = (numbers(tokens * 2 * channels, 4), numbers(tokens * (RANK + 2 * STATES), 5));
        let a_log: Vec<f32> = (0..channels * STATES).map(|k| ((k % STATES + 1) as f32).ln()).collect();
        let (d, bias) = (vec![1.0; channels], vec![-4.6; channels]);
        let bc = Columns::new(&dbc, RANK, RANK + 2 * STATES);
        let system = selective_scan::System { bc, a_log: &a_log, d: &d, delta_bias: &bias };
        let (mut y, mut chunk_states) = (vec![0.0; u.len()], vec![0.0; dims.chunk_states_len()]);
        let mut scratch = vec![0.0; dims.backward_scratch_len().max(dims.forward_scratch_len())];
        let mut ddbc = vec![0.0; dbc.len()];
        let (mut da_log, mut dd, mut dbias) =
            (vec![0.0; a_log.len()], vec![0.0; channels], vec![0.0; channels]);
        let mut group = criterion.benchmark_group(format!("scan {name}"));
        let elements = tokens * channels * STATES;
        let inputs =
            selective_scan::Inputs { u: &u, delta: &delta, z: Columns::new(&xz, channels, 2 * channels) };
        group.throughput(work(elements, SCAN_FORWARD));
        group.bench_function(BenchmarkId::new("forward", isa()), |bencher| {
            on_one_thread(|| {
                bencher.iter(|| {
                    let outputs = ScanOutputs { y: &mut y, chunk_states: &mut chunk_states, state: None };
                    selective_scan::forward(&dims, &system, &inputs, outputs, &mut scratch);
                });
            });
        });
        group.throughput(work(elements, SCAN_BACKWARD));
        group.bench_function(BenchmarkId::new("backward", isa()), |bencher| {
            on_one_thread(|| {
                let outputs = ScanOutputs { y: &mut y, chunk_states: &mut chunk_states, state: None };
                selective_scan::forward(&dims, &system, &inputs, outputs, &mut scratch);
                // The pass works in place: each run has a copy of its own.
                let copies = || (u.clone(), delta.clone(), xz.clone(), dy.clone());
                let run = |(u, delta, xz, dy): &mut (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>)| {
                    let z = ColumnsMut::new(xz, channels, 2 * channels);
                    let in_place = ScanInPlace { u, delta, z, dy };
                    let gradients = ScanGrads {
                        dbc: ColumnsMut::new(&mut ddbc, RANK, RANK + 2 * STATES),
                        da_log: Some(&mut da_log),
                        dd: Some(&mut dd),
                        ddelta_bias: Some(&mut dbias),
                        dstate: None,
                    };
                    selective_scan::backward(
                        &dims,
                        &system,
                        &chunk_states,
                        in_place,
                        &mut scratch,
                        gradients,
                    );
                };
                bencher.iter_batched_ref(copies, run, BatchSize::PerIteration);
            });
        });
    }
}

fn convolution(criterion: &mut Criterion<Rate>) {
    for (name, rows, length, channels) in SHAPES {
        let tokens = rows * length;
        let dims = conv1d::Dims { layout: Layout::whole(rows, length), channels, taps: 4 };
        let (xz, dy) = (numbers(tokens * 2 * channels, 1), numbers(tokens * channels, 2));
        let (weight, bias) = (numbers(4 * channels, 3), numbers(channels, 4));
        let weights = conv1d::Weights { weight: &weight, bias: &bias };
        let mut y = vec![0.0; dy.len()];
        let (mut dweight, mut dbias) = (vec![0.0; weight.len()], vec![0.0; channels]);
        let mut scratch = vec![0.0; dims.backward_scratch_len()];
        let mut group = criterion.benchmark_group(format!("conv1d {name}"));
        group.throughput(work(tokens * channels, 2.0 * F32));
        group.bench_function(BenchmarkId::new("forward", isa()), |bencher| {
            let x = Columns::new(&xz, 0, 2 * channels);
            on_one_thread(|| bencher.iter(|| conv1d::forward(&dims, &weights, x, None, &mut y)));
        });
        group.throughput(work(tokens * channels, 4.0 * F32));
        group.bench_function(BenchmarkId::new("backward", isa()), |bencher| {
            on_one_thread(|| {
                let copies = || (xz.clone(), dy.clone());
                let run = |(xz, dy): &mut (Vec<f32>, Vec<f32>)| {
                    let in_place = ConvInPlace { x: ColumnsMut::new(xz, 0, 2 * channels), dy, state: None };
                    let gradients =
                        ConvGrads { dweight: Some(&mut dweight), dbias: Some(&mut dbias), dstate: None };
                    conv1d::backward(&dims, &weights, in_place, &mut scratch, gradients);
                };
                bencher.iter_batched_ref(copies, run, BatchSize::PerIteration);
            });
        });
    }
}

fn normalisation(criterion: &mut Criterion<Rate>) {
    for (name, rows, length, inner) in SHAPES {
        let (tokens, channels) = (rows * length, inner / 2);
        let dims = norm::Dims { tokens, channels, eps: 1e-5 };
        let (x, dy, w) = (numbers(tokens * channels, 1), numbers(tokens * channels, 2), numbers(channels, 3));
        let (mut y, mut r) = (vec![0.0; x.len()], vec![0.0; tokens]);
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; channels]);
        let mut scratch = vec![0.0; norm::backward_scratch(dims)];
        let mut group = criterion.benchmark_group(format!("norm {name}"));
        group.throughput(work(x.len(), 2.0 * F32));
        group.bench_function(BenchmarkId::new("forward", isa()), |bencher| {
            on_one_thread(|| bencher.iter(|| norm::forward(dims, &x, &w, &mut y, &mut r)));
        });
        group.throughput(work(x.len(), 4.0 * F32));
        group.bench_function(BenchmarkId::new("backward", isa()), |bencher| {
            on_one_thread(|| {
                bencher.iter(|| {
                    let (dw, scratch) = (Some(&mut dw[..]), &mut scratch);
                    let saved = norm::Saved { x: &x, w: &w, r: &r };
                    norm::backward(dims, saved, &dy, &mut dx, Accumulate::Add, dw, scratch);
                });
            });
        });
    }
}

fn lookup(criterion: &mut Criterion<Rate>) {
    for (name, rows, length, inner) in SHAPES {
        let (tokens, channels, vocabulary) = (rows * length, inner / 2, 256);
        let dims = embedding::Dims { vocabulary, channels };
        let ids: Vec<u32> = (0..tokens as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 24).collect();
        let (w, dy) = (numbers(vocabulary * channels, 1), numbers(tokens * channels, 2));
        let (mut y, mut dw) = (vec![0.0; dy.len()], vec![0.0; w.len()]);
        let mut group = criterion.benchmark_group(format!("embedding {name}"));
        group.throughput(work(y.len(), 2.0 * F32));
        group.bench_function(BenchmarkId::new("forward", isa()), |bencher| {
            on_one_thread(|| bencher.iter(|| embedding::forward(dims, &ids, &w, &mut y)));
        });
        group.throughput(work(y.len(), 3.0 * F32));
        group.bench_function(BenchmarkId::new("backward", isa()), |bencher| {
            on_one_thread(|| bencher.iter(|| embedding::backward(dims, &ids, &dy, &mut dw)));
        });
    }
}

fn cross_entropy(criterion: &mut Criterion<Rate>) {
    let dims = softmax::Dims { rows: 2048, classes: 256 };
    let scores = numbers(dims.rows * dims.classes, 1);
    let targets: Vec<i32> = (0..dims.rows).map(|row| (row * 7919 % dims.classes) as i32).collect();
    let mut work_on = scores.clone();
    let mut group = criterion.benchmark_group("softmax 2,048 x 256");
    for (name, gradient) in
        [("loss", softmax::ScoreGradient::Skip), ("loss and gradient", softmax::ScoreGradient::Write)]
    {
        group.throughput(work(scores.len(), 2.0 * F32));
        group.bench_function(BenchmarkId::new(name, isa()), |bencher| {
            on_one_thread(|| {
                bencher.iter(|| {
                    softmax::cross_entropy(dims, &mut work_on, &targets, RowWeights::EQUAL, 1.0, gradient)
                });
            });
        });
        work_on.copy_from_slice(&scores);
    }
}

/// An element is a step of a filter.
fn fixed_filters(criterion: &mut Criterion<Rate>) {
    use state_filters::{BIASES, COLUMNS, Competition, FILTERS, Filters, MODES, Pools};
    let steps = 1000;
    let parts = [1, 2, 3, 4]
        .map(|seed| numbers(MODES * FILTERS, seed).into_iter().map(|x| 0.5 * x).collect::<Vec<_>>());
    let [pole_re, pole_im, gain_re, gain_im] = &parts;
    let filters = Filters { pole_re, pole_im, gain_re, gain_im };
    let (biases, x) = (numbers(BIASES * FILTERS, 5), numbers(steps, 6));
    let groups = [(Competition::None, 0.0), (Competition::Narrow, 1.0), (Competition::Both, 2.0)];
    let mut group = criterion.benchmark_group("fixed filters and pools");
    for (competition, count) in groups {
        let mut out = vec![0.0; competition.features() * FILTERS];
        let operations = MODES as f64 * MODE + BIASES as f64 * ABOVE + count * COMPETES;
        group.throughput(work(steps * FILTERS, operations));
        group.bench_function(BenchmarkId::new(format!("{competition:?}"), isa()), |bencher| {
            on_one_thread(|| {
                bencher.iter(|| {
                    let mut pools = Pools::new(competition);
                    pools.advance(filters, &biases, steps, |t, u| {
                        u.iter_mut().zip(&x[t..]).for_each(|(u, x)| *u = [*x; COLUMNS]);
                    });
                    pools.features(&mut out);
                });
            });
        });
    }
}

fn optimiser(criterion: &mut Criterion<Rate>) {
    let mut table = Table::new();
    let specs = vec![ParamSpec::new("weight", [1024, 1024], Init::Ones)];
    table.declare("", Group::Head, specs).expect("distinct tensors");
    let masks = TensorMasks::declared(&table);
    let mut adamw = AdamW::<f32>::new(OptimConfig::default(), &table, &masks).expect("a valid setting");
    let (mut params, mut grads) = (Arena::zeros(table.buffer_len()), Arena::zeros(table.buffer_len()));
    let mut group = criterion.benchmark_group("adamw 1,048,576 parameters, norm and update");
    // The norm reads the gradients; the update reads and writes parameters, gradients and both moments.
    group.throughput(work(1 << 20, 9.0 * F32));
    group.bench_function(BenchmarkId::new("apply", isa()), |bencher| {
        on_one_thread(|| {
            bencher.iter(|| {
                grads.as_mut_slice().fill(1e-3);
                adamw.apply(&table, &mut params, &mut grads, (1.0, 1.0)).expect("finite numbers")
            });
        });
    });
}

fn main() {
    measure::on_every_instruction_set(|| {
        let mut computing = measure::computing();
        scan(&mut computing);
        fixed_filters(&mut computing);
        let mut moving = measure::moving();
        for bench in [convolution, normalisation, lookup, cross_entropy, optimiser] {
            bench(&mut moving);
        }
        moving.final_summary();
    });
}
