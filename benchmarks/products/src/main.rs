//! GFLOP/s of the products of one layer at the model's shapes: ours, `matrixmultiply`, `gemm-f32`, ours with bf16 factors.
//!
//!     cargo run --release --manifest-path benchmarks/products/Cargo.toml [S M Lb]
//!
//! A shape is (tokens M, outputs N, inputs K); forward y = x·wᵀ, dx = dy·w, dw += dyᵀ·x. The libraries get the whole
//! product in one call on one thread. Candidates take turns; the figure is that of the fastest of many calls, in processor
//! time for one thread and real time for two. The last line sums the time of the layer's products.

use std::time::Instant;

use ssm_hpn::Threads;
use ssm_hpn::kernels::Accumulate;
use ssm_hpn::kernels::matmul::{MatMut, MatRef, Precision, linear_dw_scratch};

/// Name, tokens, d_model.
const MODELS: [(&str, usize, usize); 3] = [("S", 2048, 128), ("M", 4096, 256), ("Lb", 512, 768)];
const CANDIDATES: [&str; 6] =
    ["ours", "ours, 2 threads", "matrixmultiply", "gemm-f32", "ours, bf16", "ours, bf16, 2 threads"];
const FORMS: [&str; 3] = ["y", "dx", "dw"];

/// in_proj, x_proj, dt_proj, out_proj of a Mamba-1 layer: (outputs, inputs).
fn projections(d: usize) -> [(&'static str, usize, usize); 4] {
    let (inner, rank) = (2 * d, d.div_ceil(16));
    [
        ("in_proj", 2 * inner, d),
        ("x_proj", rank + 32, inner),
        ("dt_proj", inner, rank),
        ("out_proj", d, inner),
    ]
}

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..n).map(next).collect()
}

/// One product as a library sees it: rows, columns, depth; strides (rows, columns) of a and b.
struct Call {
    shape: [usize; 3],
    a: (isize, isize),
    b: (isize, isize),
}

fn matrixmultiply(call: &Call, a: &[f32], b: &[f32], beta: f32, c: &mut [f32]) {
    let [m, n, k] = call.shape;
    // SAFETY: the slices hold matrices of these shapes and strides.
    unsafe {
        let (a_at, b_at, c_at) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        matrixmultiply::sgemm(
            m, k, n, 1.0, a_at, call.a.0, call.a.1, b_at, call.b.0, call.b.1, beta, c_at, n as isize, 1,
        );
    }
}

fn gemm_f32(call: &Call, a: &[f32], b: &[f32], beta: f32, c: &mut [f32]) {
    let [m, n, k] = call.shape;
    let kernel = gemm_f32::gemm::f32::get_gemm_fn();
    // SAFETY: the slices hold matrices of these shapes and strides.
    unsafe {
        let (a_at, b_at, c_at) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        let add = beta != 0.0;
        kernel(
            m,
            n,
            k,
            c_at,
            1,
            n as isize,
            add,
            a_at,
            call.a.1,
            call.a.0,
            b_at,
            call.b.1,
            call.b.0,
            beta,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// Seconds that `f` takes on the clock that suits a candidate: the thread's own for one thread, which other work on the
/// machine does not stretch, real time for two.
fn time(candidate: usize, f: impl FnOnce()) -> f64 {
    let clock =
        if matches!(candidate, 1 | 5) { libc::CLOCK_MONOTONIC } else { libc::CLOCK_THREAD_CPUTIME_ID };
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both clocks exist on Linux and the struct is ours.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
    };
    let before = now();
    f();
    now() - before
}

/// Seconds of the fastest call of each candidate.
fn measure(form: usize, m: usize, n: usize, k: usize, pools: &[Threads; 2]) -> [f64; 6] {
    let (x, w, dy) = (numbers(m * k, 1), numbers(n * k, 2), numbers(m * n, 3));
    let (call, a, b) = match form {
        0 => (Call { shape: [m, n, k], a: (k as isize, 1), b: (1, k as isize) }, &x, &w),
        1 => (Call { shape: [m, k, n], a: (n as isize, 1), b: (k as isize, 1) }, &dy, &w),
        _ => (Call { shape: [n, k, m], a: (1, n as isize), b: (k as isize, 1) }, &dy, &x),
    };
    let mut c = vec![0.0; call.shape[0] * call.shape[1]];
    let mut scratch = vec![0.0; linear_dw_scratch(m, n, k)];
    let (x, w, dy) = (MatRef::new(&x, m, k), MatRef::new(&w, n, k), MatRef::new(&dy, m, n));
    let mut ours = |precision: Precision, c: &mut [f32]| match form {
        0 => precision.linear(x, w, MatMut::new(c, m, n), Accumulate::Overwrite),
        1 => precision.linear_dx(dy, w, MatMut::new(c, m, k), Accumulate::Overwrite),
        _ => precision.linear_dw(dy, x, MatMut::new(c, n, k), &mut scratch),
    };
    let beta = if form == 2 { 1.0 } else { 0.0 };
    let mut best = [f64::INFINITY; 6];
    let (start, budget) =
        (Instant::now(), std::env::var("SECONDS").map_or(1.0, |s| s.parse().expect("a number")));
    let mut rounds = 0;
    while rounds < 5 || start.elapsed().as_secs_f64() < budget {
        rounds += 1;
        for (candidate, best) in best.iter_mut().enumerate() {
            let seconds = match candidate {
                0 | 1 | 4 | 5 => {
                    let precision = if candidate < 4 { Precision::F32 } else { Precision::Bf16 };
                    let timed = || time(candidate, || ours(precision, &mut c));
                    pools[candidate % 4].install(timed).expect("the pool belongs to this process")
                }
                2 => time(candidate, || matrixmultiply(&call, a, b, beta, &mut c)),
                _ => time(candidate, || gemm_f32(&call, a, b, beta, &mut c)),
            };
            *best = best.min(seconds);
        }
        if form == 2 {
            c.fill(0.0);
        }
    }
    best
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let pools = [1, 2].map(|n| Threads::new(Some(n)).expect("a pool"));
    for (model, m, d) in
        MODELS.into_iter().filter(|(name, ..)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        println!("\n| {model}: GFLOP/s | M | N | K | {} |", CANDIDATES.join(" | "));
        println!("|---|---|---|---|{}", "---|".repeat(CANDIDATES.len()));
        let mut total = [0.0; 6];
        let mut flops = 0.0;
        for (name, n, k) in projections(d) {
            for (form, form_name) in FORMS.into_iter().enumerate() {
                let work = 2e-9 * (m * n * k) as f64;
                let seconds = measure(form, m, n, k, &pools);
                let rates: Vec<_> = seconds.iter().map(|s| format!("{:.0}", work / s)).collect();
                println!("| {name} {form_name} | {m} | {n} | {k} | {} |", rates.join(" | "));
                flops += work;
                total.iter_mut().zip(seconds).for_each(|(t, s)| *t += s);
            }
        }
        let rates: Vec<_> = total.iter().map(|t| format!("{:.0} ({:.2} ms)", flops / t, 1e3 * t)).collect();
        println!("| whole layer | | | | {} |", rates.join(" | "));
    }
}
