//! What this machine reaches: multiply-adds of registers, and bytes of memory by size, on one line of JSON.
//!
//!     cargo run --release --manifest-path benchmarks/products/Cargo.toml --bin machine [threads]
//!
//! ```text
//! gflops      chains of multiply-adds in registers, with the vectors of the active instruction set
//! gbytes      (MB of all threads together, read, written, both) GB/s of a sum of numbers, of writing them, and of
//!             x += 0.5·y, which reads two arrays and writes one
//! ```
//!
//! All threads work at once, each on memory of its own; the figure is the median of some repetitions.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use ssm_hpn::simd::{Isa, Kernel, Vector, run};

/// Chains that hide the latency of a multiply-add with 16 and with 32 registers.
const CHAINS: usize = 12;
const ROUNDS: usize = 20_000;
const REPEATS: usize = 7;

struct Chains;

impl Kernel<f32> for Chains {
    type Output = (f32, usize);
    #[inline(always)]
    fn run<V: Vector<T = f32>>(self, v: V) -> (f32, usize) {
        let (a, b) = (v.splat(black_box(0.999)), v.splat(black_box(0.001)));
        let mut sums = [v.splat(1.0); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = v.mul_add(*sum, a, b);
            }
        }
        (sums.into_iter().map(|sum| v.sum(sum)).sum(), 2 * CHAINS * ROUNDS * V::LANES)
    }
}

struct Sum<'a>(&'a [f32]);

impl Kernel<f32> for Sum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<V: Vector<T = f32>>(self, v: V) -> f32 {
        let mut sums = [v.splat(0.0); 8];
        for part in self.0.chunks_exact(8 * V::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = v.add(*sum, v.load(&part[i * V::LANES..]));
            }
        }
        sums.into_iter().map(|sum| v.sum(sum)).sum()
    }
}

struct Scale<'a>(&'a mut [f32], &'a [f32]);

impl Kernel<f32> for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = f32>>(self, v: V) {
        let half = v.splat(0.5);
        for (x, y) in self.0.chunks_exact_mut(V::LANES).zip(self.1.chunks_exact(V::LANES)) {
            v.store(x, v.mul_add(half, v.load(y), v.load(x)));
        }
    }
}

/// Units (operations or bytes) per second of all threads, in 1e9: the median.
fn rate(threads: usize, work: impl Fn(usize) -> Box<dyn FnMut() -> f64 + Send> + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let per_thread: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, mut each) = (&barrier, work(thread));
                scope.spawn(move || {
                    each();
                    let mut rates = Vec::new();
                    for _ in 0..REPEATS {
                        barrier.wait();
                        let began = Instant::now();
                        let units = each();
                        rates.push(units / began.elapsed().as_secs_f64() * 1e-9);
                    }
                    rates
                })
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("a thread that ends")).collect()
    });
    let mut sums: Vec<f64> = (0..REPEATS).map(|i| per_thread.iter().map(|rates| rates[i]).sum()).collect();
    sums.sort_by(f64::total_cmp);
    sums[REPEATS / 2]
}

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |text| text.parse().expect("a number of threads"));
    let gflops = rate(threads, |_| {
        Box::new(|| {
            let (sum, operations) = run(Chains);
            black_box(sum);
            operations as f64
        })
    });
    let rows: Vec<String> = [1, 2, 8, 32, 128, 512]
        .into_iter()
        .map(|megabytes: usize| {
            let len = (megabytes << 18) / threads;
            let repeats = (64 / megabytes).max(1);
            let read = rate(threads, |_| {
                let x = vec![1.0_f32; len];
                Box::new(move || {
                    (0..repeats).for_each(|_| drop(black_box(run(Sum(black_box(&x))))));
                    (4 * len * repeats) as f64
                })
            });
            let write = rate(threads, |_| {
                let mut x = vec![1.0_f32; len];
                Box::new(move || {
                    (0..repeats).for_each(|i| black_box(&mut x).fill(i as f32));
                    (4 * len * repeats) as f64
                })
            });
            let both = rate(threads, |_| {
                let (mut x, y) = (vec![1.0_f32; len / 2], vec![1.0_f32; len / 2]);
                Box::new(move || {
                    (0..repeats).for_each(|_| run(Scale(black_box(&mut x), black_box(&y))));
                    (12 * (len / 2) * repeats) as f64
                })
            });
            format!("[{megabytes}, {read:.2}, {write:.2}, {both:.2}]")
        })
        .collect();
    let simd = Isa::active().name();
    println!(
        "{{\"threads\": {threads}, \"simd\": \"{simd}\", \"gflops\": {gflops:.2}, \"gbytes\": [{}]}}",
        rows.join(", ")
    );
}
