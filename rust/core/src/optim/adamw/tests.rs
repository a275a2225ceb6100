//! AdamW against its formulas computed one number at a time in f64, and the guarantees of its header.

use super::*;
use crate::optim::{Schedule, ScheduleKind};
use crate::parallel::Threads;
use crate::params::{Group, Init, ParamSpec};
use crate::simd::{Isa, run_on};

/// Four tensors: a short one, one over several blocks, one without decay, one that is never trained.
fn table() -> Table {
    let specs = vec![
        ParamSpec::new("short", [37], Init::Zeros),
        ParamSpec::new("long", [2 * BLOCK + 5], Init::Zeros),
        ParamSpec::new("norm", [19], Init::Ones).no_decay(),
        ParamSpec::new("prototypes", [70], Init::Zeros).fixed(),
    ];
    let mut table = Table::new();
    table.declare("", Group::Head, specs).unwrap();
    table
}

fn config() -> OptimConfig {
    let kind = ScheduleKind::Cosine;
    let schedule = Schedule { kind, warmup: 2, total: Some(9), min_ratio: 0.2, decay: None };
    OptimConfig { lr: 0.02, schedule, ..OptimConfig::default() }
}

/// Numbers that look random: gradients of update `seed`, spread over six orders of magnitude.
fn noise<T: Scalar>(len: usize, seed: usize) -> Vec<T> {
    let number = |i: usize| ((i * 7919 + seed * 104_729) as f64 * 0.618).sin();
    (0..len).map(|i| T::from_f64(number(i) * 10_f64.powi((i % 7) as i32 - 4))).collect()
}

fn filled<T: Scalar>(len: usize, seed: usize) -> Arena<T> {
    let mut arena = Arena::zeros(len);
    arena.as_mut_slice().copy_from_slice(&noise(len, seed));
    arena
}

/// The formulas as they are written, one tensor at a time.
struct Reference {
    p: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
    t: i32,
}

impl Reference {
    fn update(&mut self, config: &OptimConfig, lr: f64, g: &[f64], decays: bool) -> f64 {
        let (b1, b2) = (config.beta1, config.beta2);
        self.t += 1;
        let mut square_sum = 0.0;
        for (i, g) in g.iter().enumerate() {
            let before = self.p[i];
            self.m[i] = b1 * self.m[i] + (1.0 - b1) * g;
            self.v[i] = b2 * self.v[i] + (1.0 - b2) * g * g;
            let m_hat = self.m[i] / (1.0 - b1.powi(self.t));
            let v_hat = self.v[i] / (1.0 - b2.powi(self.t));
            if decays {
                self.p[i] *= 1.0 - lr * config.weight_decay;
            }
            self.p[i] -= lr * m_hat / (v_hat.sqrt() + config.eps);
            square_sum += (self.p[i] - before).powi(2);
        }
        square_sum
    }
}

/// Six updates by both; the largest difference of parameters (relative to 1) and of the norm of the change (relative).
fn worst_difference<T: Scalar>(clip_norm: Option<f64>) -> (f64, f64) {
    let (table, config, count) = (table(), OptimConfig { clip_norm, ..config() }, 3_f64);
    let masks = TensorMasks::declared(&table);
    let mut params = filled::<T>(table.buffer_len(), 1);
    let mut adamw = AdamW::<T>::new(config.clone(), &table, &masks).unwrap();
    let as_f64 = |x: &[T]| x.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let mut references: Vec<_> = (0..3)
        .map(|slot| {
            let p = as_f64(params.tensor(&table, slot));
            Reference { m: vec![0.0; p.len()], v: vec![0.0; p.len()], t: 0, p }
        })
        .collect();
    let (mut worst, mut worst_norm) = (0.0_f64, 0.0_f64);
    for step in 0..6 {
        let mut grads = filled::<T>(table.buffer_len(), step + 2);
        let means: Vec<Vec<f64>> = (0..3)
            .map(|slot| as_f64(grads.tensor(&table, slot)).iter().map(|g| g / count).collect())
            .collect();
        let norm = means.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let c = clip_norm.map_or(1.0, |clip| (clip / (norm + 1e-6)).min(1.0));
        let lr = config.lr * schedule::factor(&config.schedule, step as u64);
        let mut square_sum = 0.0;
        for (slot, reference) in references.iter_mut().enumerate() {
            let g: Vec<f64> = means[slot].iter().map(|g| g * c).collect();
            square_sum += reference.update(&config, lr, &g, slot != 2);
        }
        let update = adamw.apply(&table, &mut params, &mut grads, (1.0, count)).unwrap();
        assert_eq!((update.applied, update.lr, update.clipped), (true, lr, c < 1.0));
        assert!((update.grad_norm / norm - 1.0).abs() < 1e-12, "{} of {norm}", update.grad_norm);
        worst_norm = worst_norm.max((update.update_norm / square_sum.sqrt() - 1.0).abs());
        for (slot, reference) in references.iter().enumerate() {
            for (found, expected) in params.tensor(&table, slot).iter().zip(&reference.p) {
                worst = worst.max((found.to_f64() - expected).abs() / expected.abs().max(1.0));
            }
        }
    }
    assert_eq!(adamw.updates(), [6, 6, 6, 0]);
    assert_eq!(adamw.counters(), Counters { applied: 6, skipped: 0, skipped_in_a_row: 0 });
    (worst, worst_norm)
}

#[test]
fn six_updates_equal_the_formulas() {
    for clip in [None, Some(1.0), Some(1e9)] {
        let (worst, worst_norm) = worst_difference::<f64>(clip);
        assert!(worst < 1e-12 && worst_norm < 1e-12, "{clip:?}: {worst:e}, norms {worst_norm:e}");
        // f32: six updates of half a unit in the last place of numbers below 100 · 1, a few roundings in each.
        let (worst, worst_norm) = worst_difference::<f32>(clip);
        assert!(worst < 12.0 * f64::from(f32::EPSILON), "{clip:?}: {worst:e}");
        // Half a unit in the last place of parameters up to 100 beside changes of 0.01.
        assert!(worst_norm < 4e-4, "{clip:?}: norms {worst_norm:e}");
    }
}

/// Parameters, gradients and moments after three updates of 3 targets each.
fn three_updates(threads: usize) -> [Vec<u32>; 4] {
    let table = table();
    let mut params = filled::<f32>(table.buffer_len(), 1);
    let mut grads = Arena::zeros(table.buffer_len());
    let mut adamw = AdamW::<f32>::new(config(), &table, &TensorMasks::declared(&table)).unwrap();
    let threads = Threads::new(Some(threads)).unwrap();
    for step in 2..5 {
        grads = filled::<f32>(table.buffer_len(), step);
        let update =
            threads.install(|| adamw.apply(&table, &mut params, &mut grads, (1.0, 3.0)).unwrap()).unwrap();
        assert!(update.applied);
        assert!((0..3).all(|slot| grads.tensor(&table, slot).iter().all(|&g| g == 0.0)));
    }
    let bits = |arena: &Arena<f32>| arena.as_slice().iter().map(|x| x.to_bits()).collect();
    [bits(&params), bits(&grads), bits(&adamw.first), bits(&adamw.second)]
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let one = three_updates(1);
    for threads in [2, 3, 8] {
        assert!(three_updates(threads) == one, "{threads} threads");
    }
}

#[test]
fn every_instruction_set_agrees_with_one_lane_over_all_lengths() {
    let coefficients = Coefficients::<f32>::new(&config(), 0.01, 0.3, 4);
    let update = |isa: Isa, n: usize, offset: usize| {
        let mut x: [Vec<f32>; 4] = std::array::from_fn(|k| noise(offset + n + 3, k));
        x[3].iter_mut().for_each(|v| *v = v.abs());
        let [p, g, m, v] = x.each_mut().map(|x| &mut x[offset..offset + n]);
        let square_sum = run_on(isa, Fused { p, g, m, v, coefficients, decays: true });
        (x, square_sum)
    };
    for isa in Isa::available() {
        for (n, offset) in (0..=67).chain([127, 128, 129]).zip([0, 1, 2, 3, 5].into_iter().cycle()) {
            let ((found, sum), (expected, expected_sum)) =
                (update(isa, n, offset), update(Isa::Scalar, n, offset));
            for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
                for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                    // Two roundings apart at most, of p and of the step, which is below 100 · lr.
                    let bound = 4.0 * f32::EPSILON * b.abs().max(0.1);
                    assert!((a - b).abs() <= bound, "{} array {k}, {n} at {i}: {a} {b}", isa.name());
                }
            }
            assert!((sum - expected_sum).abs() <= 1e-5 * expected_sum, "{n}: {sum} {expected_sum}");
        }
    }
}

#[test]
fn an_update_that_is_not_finite_is_skipped_and_counted() {
    let table = table();
    for (bad, loss, fault) in
        [(f32::NAN, 1.0, "long"), (f32::INFINITY, f64::NAN, "long"), (1.0, f64::INFINITY, "loss")]
    {
        let mut params = filled::<f32>(table.buffer_len(), 1);
        let mut grads = filled::<f32>(table.buffer_len(), 2);
        let mut adamw = AdamW::<f32>::new(config(), &table, &TensorMasks::declared(&table)).unwrap();
        adamw.apply(&table, &mut params, &mut grads, (1.0, 3.0)).unwrap();
        let before = (params.clone(), adamw.clone());
        grads = filled(table.buffer_len(), 2);
        grads.tensor_mut(&table, 1)[BLOCK + 3] = bad;
        let update = adamw.apply(&table, &mut params, &mut grads, (loss, 3.0)).unwrap();
        assert_eq!((update.applied, update.fault.as_deref(), update.update_norm), (false, Some(fault), 0.0));
        assert_eq!(params.as_slice(), before.0.as_slice());
        assert_eq!(adamw.first.as_slice(), before.1.first.as_slice());
        assert_eq!(adamw.second.as_slice(), before.1.second.as_slice());
        assert_eq!(adamw.updates, before.1.updates);
        assert_eq!(adamw.counters, Counters { applied: 1, skipped: 1, skipped_in_a_row: 1 });
        assert!((0..3).all(|slot| grads.tensor(&table, slot).iter().all(|&g| g == 0.0)));
        assert_eq!(
            grads.tensor(&table, 3),
            &noise::<f32>(table.buffer_len(), 2)[table.entry(3).range.clone()]
        );
    }
}

#[test]
fn too_many_skipped_updates_in_a_row_stop_the_training() {
    let table = table();
    let (mut params, mut grads) = (Arena::<f32>::zeros(table.buffer_len()), Arena::zeros(table.buffer_len()));
    let config = OptimConfig { max_skipped: 3, ..config() };
    let mut adamw = AdamW::new(config, &table, &TensorMasks::declared(&table)).unwrap();
    let mut apply = |loss: f64| adamw.apply(&table, &mut params, &mut grads, (loss, 1.0));
    for loss in [f64::NAN, f64::NAN, 1.0, f64::NAN, f64::NAN] {
        assert_eq!(apply(loss).unwrap().applied, loss == 1.0);
    }
    match apply(f64::NAN) {
        Err(Error::Diverged { step: 1, skipped: 3, parameter }) => assert_eq!(parameter, "loss"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(adamw.apply(&table, &mut params, &mut grads, (0.0, 0.0)), Err(Error::Shape { .. })));
}

#[test]
fn frozen_tensors_keep_every_bit_and_gaps_stay_zero() {
    let table = table();
    let mut masks = TensorMasks::declared(&table);
    masks.freeze(&table, |entry| entry.id == "short");
    let mut params = Arena::<f32>::zeros(table.buffer_len());
    for slot in 0..4 {
        params.tensor_mut(&table, slot).fill(-0.0);
    }
    let mut grads = filled::<f32>(table.buffer_len(), 2);
    let mut adamw = AdamW::<f32>::new(config(), &table, &masks).unwrap();
    adamw.apply(&table, &mut params, &mut grads, (1.0, 1.0)).unwrap();
    for slot in [0, 3] {
        assert!(params.tensor(&table, slot).iter().all(|p| p.to_bits() == (-0.0_f32).to_bits()));
        assert!(grads.tensor(&table, slot).iter().any(|&g| g != 0.0));
    }
    for slot in [1, 2] {
        assert!(params.tensor(&table, slot).iter().all(|&p| p != 0.0));
    }
    let gap = table.entry(0).range.end..table.entry(1).range.start;
    assert!(!gap.is_empty() && params.as_slice()[gap].iter().all(|p| p.to_bits() == 0));
    assert_eq!(adamw.updates(), [0, 1, 1, 0]);
}

#[test]
fn a_new_tensor_starts_its_own_count_and_the_others_keep_theirs() {
    let old = table();
    let mut params = filled::<f64>(old.buffer_len(), 1);
    let config = OptimConfig { clip_norm: None, schedule: Schedule::default(), ..config() };
    let mut adamw = AdamW::<f64>::new(config, &old, &TensorMasks::declared(&old)).unwrap();
    for _ in 0..50 {
        let mut grads = filled(old.buffer_len(), 2);
        adamw.apply(&old, &mut params, &mut grads, (1.0, 1.0)).unwrap();
    }
    let mut table = Table::new();
    let specs = ["norm", "new"].map(|id| ParamSpec::new(id, [19], Init::Zeros).no_decay());
    table.declare("", Group::Head, specs.to_vec()).unwrap();
    let masks = TensorMasks::declared(&table);
    let mut grown = adamw.regrown(&old, &table, &masks, &[Some(2), None]).unwrap();
    assert_eq!(grown.moments()[0].tensor(&table, 0), adamw.moments()[0].tensor(&old, 2));
    assert_eq!((grown.updates(), grown.counters()), (&[50, 0][..], adamw.counters()));
    let mut params = Arena::<f64>::zeros(table.buffer_len());
    let mut grads = Arena::<f64>::zeros(table.buffer_len());
    grads.as_mut_slice().fill(0.5);
    grown.apply(&table, &mut params, &mut grads, (1.0, 1.0)).unwrap();
    // With its own count the first step of a new tensor is lr · g/(|g| + ε).
    for &p in params.tensor(&table, 1) {
        assert!((p + 0.02 * 0.5 / (0.5 + 1e-8)).abs() < 1e-15, "{p}");
    }
    assert_eq!(grown.updates(), [51, 1]);
}

#[test]
fn moments_decay_to_zero_and_not_to_subnormal_numbers() {
    let table = table();
    let mut params = Arena::<f32>::zeros(table.buffer_len());
    let mut grads = filled::<f32>(table.buffer_len(), 2);
    let mut adamw = AdamW::<f32>::new(config(), &table, &TensorMasks::declared(&table)).unwrap();
    for _ in 0..1000 {
        adamw.apply(&table, &mut params, &mut grads, (1.0, 1.0)).unwrap();
        assert!(adamw.moments().iter().all(|m| m.as_slice().iter().all(|x| !x.is_subnormal())));
    }
    assert!(adamw.moments()[0].as_slice().iter().all(|&m| m == 0.0));
}
