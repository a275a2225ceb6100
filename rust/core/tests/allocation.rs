//! A training step allocates nothing once a step of the largest shape has run, and peak memory is as predicted.
//!
//! While [`watch`] runs, the allocator counts the small allocations of all threads, and the bytes of buffers aligned to
//! 16 bytes or more, and of large ones. Two allocations do not belong to a step and are left out: each thread's packing buffer of the
//! matrix products, which is given its largest size beforehand; and the block that the queue of the thread pool
//! allocates once every few calls, whose size is measured with calls that do nothing.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

use common::{batch, config, documents, language_model, masked};
use serde_json::json;
use ssm_hpn::data::Batch;
use ssm_hpn::head::Accuracy;
use ssm_hpn::kernels::Accumulate;
use ssm_hpn::kernels::matmul::{MatMut, MatRef, Precision, linear};
use ssm_hpn::model::{ActivationMemory, ModelConfig};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::{Scalar, Threads};

static WATCHED: AtomicBool = AtomicBool::new(false);
static OURS: AtomicUsize = AtomicUsize::new(0);
/// Size of a block of the thread pool's queue.
static QUEUE_BLOCK: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Size of the last small allocation.
static LAST: AtomicUsize = AtomicUsize::new(0);
/// Bytes of aligned and of large buffers, allocated less freed.
static ALIGNED_BYTES: AtomicIsize = AtomicIsize::new(0);

/// Least alignment of most buffers of numbers; everything else has at most 8.
const ALIGNED: usize = 16;
/// Bytes from which on everything is a buffer.
const LARGE: usize = 1 << 16;

struct Counting;

impl Counting {
    fn count(layout: Layout, sign: isize) {
        if !WATCHED.load(Ordering::Relaxed) {
            return;
        }
        if layout.align() >= ALIGNED || layout.size() >= LARGE {
            ALIGNED_BYTES.fetch_add(sign * layout.size() as isize, Ordering::Relaxed);
        } else if sign > 0 && layout.size() != QUEUE_BLOCK.load(Ordering::Relaxed) {
            OURS.fetch_add(1, Ordering::Relaxed);
            LAST.store(layout.size(), Ordering::Relaxed);
        }
    }
}

// SAFETY: every call goes to the system's allocator; counting touches only atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout, 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::count(layout, -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `f`; returns the number of small allocations, and the bytes of buffers allocated less freed.
fn watch(f: impl FnOnce()) -> (usize, isize) {
    OURS.store(0, Ordering::Relaxed);
    ALIGNED_BYTES.store(0, Ordering::Relaxed);
    WATCHED.store(true, Ordering::Relaxed);
    f();
    WATCHED.store(false, Ordering::Relaxed);
    (OURS.load(Ordering::Relaxed), ALIGNED_BYTES.load(Ordering::Relaxed))
}

/// A product with the most columns that a task has, small enough to be one task, so that it runs on the calling thread.
fn widest_product() {
    let (x, w, mut y) = (vec![1.0_f32; 64 * 16], vec![1.0; 384 * 16], vec![0.0; 64 * 384]);
    let y = MatMut::new(&mut y, 64, 384);
    linear(MatRef::new(&x, 64, 16), MatRef::new(&w, 384, 16), y, Accumulate::Overwrite);
}

fn check(threads: &Threads, config: &ModelConfig, batches: &[Batch]) {
    for profiled in [false, true] {
        check_steps(threads, config, batches, profiled);
    }
}

fn check_steps(threads: &Threads, config: &ModelConfig, batches: &[Batch], profiled: bool) {
    let optim = OptimConfig::default();
    let mut session = Session::<f32>::new(config.clone(), optim, 1, threads.clone()).unwrap();
    if profiled {
        session.profile_start();
    }
    let mut step = |batch: &Batch| {
        session.forward_backward(batch, Accuracy::Count).unwrap();
        session.apply().unwrap();
    };
    batches.iter().for_each(&mut step);
    for batch in batches.iter().cycle().take(4 * batches.len()) {
        let (small, bytes) = watch(|| step(batch));
        let last = LAST.load(Ordering::Relaxed);
        let what = format!("{:?}, profiled: {profiled}, last of {last} bytes", config.target);
        assert_eq!((small, bytes), (0, 0), "{what}");
    }
}

/// The peak memory of a session and two updates, as it is predicted to within 10 %, and as it was taken.
fn check_prediction<T: Scalar>(
    threads: &Threads,
    config: &ModelConfig,
    precision: Precision,
    virtual_ranks: u32,
) -> [usize; 2] {
    let (rows, length) = (4, 200);
    let data = batch(config, rows, length, None, 6);
    let mut predicted = 0;
    let mut session = None;
    // Nothing is freed during the steps, so that the bytes held after them are the peak.
    let (_, found) = watch(|| {
        let optim = OptimConfig::default();
        let session = session.insert(Session::<T>::new(config.clone(), optim, 1, threads.clone()).unwrap());
        session.set_precision(precision).unwrap();
        session.plan_virtual_ranks(virtual_ranks);
        predicted = session.predicted_peak_bytes(rows, length);
        for _ in 0..2 {
            for virtual_rank in 0..virtual_ranks {
                if virtual_rank > 0 {
                    session.next_virtual_rank().unwrap();
                }
                session.forward_backward(&data, Accuracy::Skip).unwrap();
            }
            session.apply().unwrap();
        }
    });
    let ratio = predicted as f64 / found as f64;
    assert!((0.9..1.1).contains(&ratio), "{predicted} bytes predicted, {found} taken");
    [predicted, usize::try_from(found).unwrap()]
}

/// What one way takes more than another is predicted to the bytes of padding.
fn check_difference([predicted, found]: [usize; 2], less: [usize; 2], least: usize) {
    let (predicted, found) = (predicted - less[0], found - less[1]);
    assert!(predicted >= least, "{predicted} bytes more are predicted");
    assert!(predicted.abs_diff(found) < predicted / 50, "{predicted} bytes more predicted, {found} taken");
}

#[test]
fn a_step_after_the_first_allocates_nothing_and_takes_the_memory_predicted() {
    // One pool for all: a thread that ends frees its buffers, which would be counted for another session.
    let threads = common::threads(2);
    threads.install(|| rayon::broadcast(|_| widest_product())).unwrap();
    let (blocks, _) = watch(|| (0..1000).for_each(|_| threads.install(|| ()).unwrap()));
    assert!((1..=1000 / 31 + 1).contains(&blocks), "{blocks} allocations in 1000 calls that do nothing");
    QUEUE_BLOCK.store(LAST.load(Ordering::Relaxed), Ordering::Relaxed);
    let model = language_model();
    check(&threads, &model, &[batch(&model, 3, 40, None, 1)]);
    // Shorter batches and packed ones use the memory of the longest.
    let mixed = [40, 7, 33].map(|length| batch(&model, 3, length, Some(documents(3, length)), 2));
    check(&threads, &model, &mixed);
    check(&threads, &model, &mixed.map(masked));
    let recompute = ModelConfig { activation_memory: ActivationMemory::Recompute, ..model };
    check(&threads, &recompute, &[batch(&recompute, 3, 40, None, 3)]);
    let pooled = config(
        "features",
        json!({"kind": "sequence_class", "pooling": "max"}),
        json!({"kind": "prototype", "n_classes": common::CLASSES}),
    );
    let packed = batch(&pooled, 3, 40, Some(documents(3, 40)), 4);
    check(&threads, &pooled, &[packed.clone(), masked(packed)]);
    let smoothed = json!({"kind": "margin", "smoothing": 0.1, "smoothing_toward": "near"});
    let joint = json!({"kind": "joint", "surgery": {"kind": "gradnorm"}});
    for (target, loss) in [("sequence_class", smoothed), ("joint", joint)] {
        let head = json!({"kind": "prototype", "n_classes": common::CLASSES, "dim": 4, "loss": loss});
        let model = config("features", json!({"kind": target, "pooling": "max"}), head);
        check(&threads, &model, &[batch(&model, 3, 40, None, 4)]);
    }
    let outside = config("hidden", json!({"kind": "cotangent"}), json!({"kind": "none"}));
    check(&threads, &outside, &[batch(&outside, 3, 40, None, 5)]);

    let taken = [ActivationMemory::Keep, ActivationMemory::Recompute].map(|way| {
        let config = ModelConfig { activation_memory: way, ..language_model() };
        check_prediction::<f32>(&threads, &config, Precision::F32, 1)
    });
    // Of eight virtual ranks three further buffers of gradients, each as large as the parameters.
    let config = language_model();
    let numbers = Session::<f32>::new(config.clone(), OptimConfig::default(), 1, threads.clone()).unwrap();
    let eight = check_prediction::<f32>(&threads, &config, Precision::F32, 8);
    check_difference(eight, taken[0], 3 * 4 * numbers.n_parameters());
    // Products of f64 in bf16 read copies on every processor, of at least the activations of a layer's first map.
    let exact = check_prediction::<f64>(&threads, &config, Precision::F32, 1);
    let rounded = check_prediction::<f64>(&threads, &config, Precision::Bf16, 1);
    check_difference(rounded, exact, 8 * 4 * 200 * config.d_model);
}
