use safetensors::SafeTensors;

use super::super::Wanted;
use super::super::loss_config::Toward;
use super::super::prototypes::simplex;
use super::super::rows::{FIELDS, LOSS, RowRecord, totals};
use super::*;
use crate::kernels::RowWeights;
use crate::kernels::softmax::ScoreGradient;
use crate::kernels::testing::{assert_close, central_differences, numbers, same_bits_for_any_threads};
use crate::numeric::Scalar;

const N: usize = 33;
const DIM: usize = 12;

/// One of the losses with its targets; values lie in [-3, 7].
#[derive(Clone, Copy, Debug)]
enum Loss {
    Cosine,
    Regression,
    Joint { weight: f64 },
    Softmax { scale: f64, margin: f64 },
    Smoothed { scale: f64, margin: f64, share: f64, toward: Toward },
}

impl Loss {
    fn smoothing<T: Scalar>(self) -> Option<Smoothing<T>> {
        let Self::Smoothed { share, toward, .. } = self else { return None };
        Some(Smoothing { share: T::from_f64(share), toward, nearness: T::from_f64(NEARNESS) })
    }
}

/// Factor of the cosines between prototypes, where targets are smoothed.
const NEARNESS: f64 = 5.0;

struct Problem<T> {
    prototypes: Vec<T>,
    classes: Vec<i32>,
    values: Vec<T>,
    weights: Option<Vec<T>>,
}

/// Sum of the losses, its gradient with respect to z, and that with respect to the scale.
fn evaluate<T: Scalar>(loss: Loss, problem: &Problem<T>, z: &[T]) -> (f64, Vec<T>, f64) {
    let Problem { prototypes, classes, values, weights } = problem;
    let weights = weights.as_deref().map_or(RowWeights::EQUAL, RowWeights::new);
    let of_classes = WeightedClasses { classes, weights };
    let n = classes.len();
    let dim = z.len() / n;
    let range = Range { low: T::from_f64(-3.0), high: T::from_f64(7.0) };
    let mut dz = z.to_vec();
    let mut records: Vec<RowRecord<T>> = vec![[T::ZERO; FIELDS]; n];
    match loss {
        Loss::Cosine => cosine(&mut dz, dim, prototypes, of_classes, &mut records),
        Loss::Regression => regression(&mut dz, dim, range, values, weights, &mut records),
        Loss::Joint { weight } => {
            let targets = ClassAndValue { classes, values, weights };
            let shares = Shares { number: T::from_f64(1.0 - weight), class: T::from_f64(weight) };
            joint(&mut dz, dim, prototypes, range, shares, targets, &mut records);
        }
        Loss::Softmax { scale, margin } | Loss::Smoothed { scale, margin, .. } => {
            let smoothing = loss.smoothing();
            let (scale, margin) = (T::from_f64(scale), T::from_f64(margin));
            let mut scratch =
                vec![T::ZERO; Softmax::<T>::scratch(n, prototypes.len() / dim, dim, smoothing.is_some())];
            let softmax = Softmax { prototypes, dim, scale, margin, smoothing };
            let sums =
                softmax.run(&mut dz, of_classes, &mut Wanted::Loss, ScoreGradient::Write, None, &mut scratch);
            return (sums.loss, dz, sums.scale_gradient);
        }
    }
    (totals(&records)[LOSS], dz, 0.0)
}

/// Classes that count alike.
fn equal(classes: &[i32]) -> WeightedClasses<'_, f64> {
    WeightedClasses { classes, weights: RowWeights::EQUAL }
}

fn units(classes: usize, dim: usize, seed: u64) -> Vec<f64> {
    let rows = numbers::<f64>(classes * dim, seed);
    let mut units = vec![0.0; rows.len()];
    directions(&rows, &mut units, dim);
    units
}

/// Five losses of the reference, computed in float64 by automatic differentiation, over the mean of 33 rows.
fn check_fixture<T: Scalar>(loss_bound: f64, gradient_bound: f64) {
    let bytes = include_bytes!("../../../tests/fixtures/prototype_losses.safetensors");
    let file = SafeTensors::deserialize(bytes).unwrap();
    let f64s = |name: &str| -> Vec<f64> {
        let (numbers, _) = file.tensor(name).unwrap().data().as_chunks::<8>();
        numbers.iter().map(|b| f64::from_le_bytes(*b)).collect()
    };
    let scalars = |name: &str| f64s(name).into_iter().map(T::from_f64).collect::<Vec<_>>();
    let (labels, _) = file.tensor("labels").unwrap().data().as_chunks::<8>();
    let classes: Vec<i32> = labels.iter().map(|b| i64::from_le_bytes(*b) as i32).collect();
    let z = scalars("z");
    for (name, loss) in [
        ("cosine", Loss::Cosine),
        ("regression", Loss::Regression),
        ("joint", Loss::Joint { weight: 0.75 }),
        ("softmax_s16", Loss::Softmax { scale: 16.0, margin: 0.0 }),
        ("arcface_s16_m0.3", Loss::Softmax { scale: 16.0, margin: 0.3 }),
    ] {
        let prototypes = scalars(if name == "joint" { "prototypes_joint" } else { "prototypes" });
        let problem =
            Problem { prototypes, classes: classes.clone(), values: scalars("values"), weights: None };
        let (sum, dz, _) = evaluate(loss, &problem, &z);
        assert_close(&format!("loss {name}"), &[sum / N as f64], &f64s(&format!("loss/{name}")), loss_bound);
        let mean: Vec<f64> = dz.iter().map(|g| g.to_f64() / N as f64).collect();
        assert_close(&format!("gradient {name}"), &mean, &f64s(&format!("grad/{name}")), gradient_bound);
    }
}

#[test]
fn losses_agree_with_the_reference_in_f64() {
    check_fixture::<f64>(1e-12, 1e-12);
}

#[test]
fn losses_agree_with_the_reference_in_f32() {
    check_fixture::<f32>(2e-5, 2e-4);
}

#[test]
fn gradients_equal_central_differences() {
    let z: Vec<f64> = numbers(N * DIM, 1);
    let values: Vec<f64> = numbers::<f64>(N, 2).iter().map(|v| 2.0 + 5.0 * v).collect();
    // Every class occurs, and every fifth row has none.
    let classes: Vec<i32> = (0..N).map(|i| if i % 5 == 4 { -1 } else { (i % 7) as i32 }).collect();
    let half_to_two: Vec<f64> = (0..N).map(|i| 0.5 + 1.5 * (i % 4) as f64 / 3.0).collect();
    for (loss, weights) in [
        Loss::Cosine,
        Loss::Regression,
        Loss::Joint { weight: 0.3 },
        Loss::Joint { weight: 0.0 },
        Loss::Joint { weight: 1.0 },
        Loss::Softmax { scale: 4.0, margin: 0.0 },
        Loss::Softmax { scale: 4.0, margin: 0.4 },
        // θ + m is above π for every other row, which takes the linear branch.
        Loss::Softmax { scale: 2.0, margin: 1.5 },
        Loss::Smoothed { scale: 4.0, margin: 0.0, share: 0.2, toward: Toward::All },
        Loss::Smoothed { scale: 4.0, margin: 0.0, share: 0.3, toward: Toward::Near },
        Loss::Smoothed { scale: 3.0, margin: 0.4, share: 0.1, toward: Toward::All },
        Loss::Smoothed { scale: 3.0, margin: 0.4, share: 0.1, toward: Toward::Near },
    ]
    .into_iter()
    .flat_map(|loss| [(loss, None), (loss, Some(half_to_two.clone()))])
    {
        let dim = if let Loss::Joint { .. } = loss { DIM - 1 } else { DIM };
        let problem = Problem {
            prototypes: units(7, dim, 3),
            classes: classes.clone(),
            values: values.clone(),
            weights,
        };
        let (_, dz, dscale) = evaluate(loss, &problem, &z);
        central_differences(&format!("{loss:?}"), &dz, &z, |z| evaluate(loss, &problem, z).0);
        if !matches!(loss, Loss::Regression) {
            assert!(dz[4 * DIM..5 * DIM].iter().all(|&g| g == 0.0), "{loss:?}: gradient without a class");
        }
        let with_scale = |scale| match loss {
            Loss::Softmax { margin, .. } => Some(Loss::Softmax { scale, margin }),
            Loss::Smoothed { margin, share, toward, .. } => {
                Some(Loss::Smoothed { scale, margin, share, toward })
            }
            _ => None,
        };
        if let Loss::Softmax { scale, .. } | Loss::Smoothed { scale, .. } = loss {
            central_differences("scale", &[dscale], &[scale], |s| {
                evaluate(with_scale(s[0]).unwrap(), &problem, &z).0
            });
        }
    }
}

/// Cross entropy of the smoothed targets, term by term as the formula has it.
fn smoothed_by_formula(problem: &Problem<f64>, z: &[f64], scale: f64, share: f64, toward: Toward) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let prototype = |k: usize| &problem.prototypes[k * DIM..(k + 1) * DIM];
    let count = problem.prototypes.len() / DIM;
    let rows = problem.classes.iter().zip(z.chunks_exact(DIM)).enumerate();
    let losses = rows.filter(|(_, (class, _))| **class >= 0).map(|(i, (&class, z))| {
        let class = class as usize;
        let logits: Vec<f64> = (0..count).map(|k| scale * dot(prototype(k), z) / dot(z, z).sqrt()).collect();
        let log_sum = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
        let near =
            |k: usize| if k == class { 0.0 } else { (NEARNESS * dot(prototype(class), prototype(k))).exp() };
        let all_near: f64 = (0..count).map(near).sum();
        let shared = |k: usize| match toward {
            Toward::All => 1.0 / count as f64,
            Toward::Near => near(k) / all_near,
        };
        let target = |k: usize| (1.0 - share) * f64::from(u8::from(k == class)) + share * shared(k);
        let weight = problem.weights.as_ref().map_or(1.0, |weights| weights[i]);
        weight * (0..count).map(|k| target(k) * (log_sum - logits[k])).sum::<f64>()
    });
    losses.sum()
}

#[test]
fn smoothed_losses_are_cross_entropies_with_the_targets_of_the_formula() {
    let z: Vec<f64> = numbers(N * DIM, 1);
    let classes: Vec<i32> = (0..N).map(|i| if i % 5 == 4 { -1 } else { (i % 7) as i32 }).collect();
    let weights = (0..N).map(|i| 0.5 + (i % 3) as f64).collect();
    let problem = Problem { prototypes: units(7, DIM, 3), classes, values: vec![], weights: Some(weights) };
    for toward in [Toward::All, Toward::Near] {
        for share in [0.0, 0.1, 0.9] {
            let loss = Loss::Smoothed { scale: 4.0, margin: 0.0, share, toward };
            let expected = smoothed_by_formula(&problem, &z, 4.0, share, toward);
            assert_close(&format!("{loss:?}"), &[evaluate(loss, &problem, &z).0], &[expected], 1e-13);
        }
    }
}

#[test]
fn in_a_simplex_all_other_classes_are_equally_near_even_in_single_precision() {
    let dim = 9;
    let prototypes: Vec<f32> = simplex(10, dim).into_iter().map(|x| x as f32).collect();
    let z = prototypes[3 * dim..4 * dim].to_vec();
    let problem = Problem { prototypes, classes: vec![3], values: vec![], weights: None };
    let loss = Loss::Smoothed { scale: 16.0, margin: 0.0, share: 0.1, toward: Toward::Near };
    // The cosine to the class is 1 and to each other one -1/9; 16·(1 + 1/9) is the difference of the logits.
    let apart = 16.0 * 10.0 / 9.0;
    let expected = (1.0 + 9.0 * f64::exp(-apart)).ln() + 0.1 * apart;
    assert_close("loss", &[evaluate(loss, &problem, &z).0], &[expected], 1e-6);
}

#[test]
fn both_branches_of_the_margin_occur_and_the_loss_falls_monotonically() {
    let m = 1.5;
    let z: Vec<f64> = numbers(N * DIM, 1);
    let prototypes = units(7, DIM, 3);
    let mut unit = vec![0.0; z.len()];
    directions(&z, &mut unit, DIM);
    let beyond = (0..N).filter(|i| {
        let p = &prototypes[i % 7 * DIM..][..DIM];
        let c: f64 = unit[i * DIM..][..DIM].iter().zip(p).map(|(a, b)| a * b).sum();
        c <= -f64::cos(m)
    });
    let beyond = beyond.count();
    assert!((5..N - 5).contains(&beyond), "{beyond} of {N} rows are beyond θ + m = π");
    // At the border cos(θ+m) is -1 and the straight line is below that: φ rises with c everywhere.
    let value = |c: f64| {
        let problem = Problem {
            prototypes: vec![1.0, 0.0, -1.0, 0.0],
            classes: vec![0],
            values: vec![],
            weights: None,
        };
        evaluate(Loss::Softmax { scale: 1.0, margin: 0.5 }, &problem, &[c, (1.0 - c * c).sqrt()]).0
    };
    let losses: Vec<f64> = (0..200).map(|i| value(i as f64 / 100.0 - 1.0)).collect();
    assert!(losses.windows(2).all(|w| w[1] < w[0]), "the loss falls with the target's cosine everywhere");
}

#[test]
fn prototypes_get_the_gradient_of_the_softmax() {
    let (z, prototypes) = (numbers::<f64>(N * DIM, 1), units(7, DIM, 3));
    let classes: Vec<i32> = (0..N as i32).map(|i| i % 7).collect();
    let run = |prototypes: &[f64], dprototypes: Option<&mut [f64]>| {
        let mut scratch = vec![f64::NAN; Softmax::<f64>::scratch(N, 7, DIM, false)];
        let softmax = Softmax { prototypes, dim: DIM, scale: 4.0, margin: 0.2, smoothing: None };
        let mut z = z.clone();
        softmax
            .run(&mut z, equal(&classes), &mut Wanted::Loss, ScoreGradient::Write, dprototypes, &mut scratch)
            .loss
    };
    let mut gradient = vec![0.0; prototypes.len()];
    run(&prototypes, Some(&mut gradient));
    central_differences("prototypes", &gradient, &prototypes, |p| run(p, None));
}

#[test]
fn an_attracting_loss_reads_only_the_prototype_of_the_target() {
    let (count, dim) = (50_000, 8);
    let mut prototypes = vec![f32::NAN; count * dim];
    let classes = [7, 49_999, -1, 12_345];
    for &class in classes.iter().filter(|&&class| class >= 0) {
        prototypes[class as usize * dim] = 1.0;
        prototypes[class as usize * dim + 1..][..dim - 1].fill(0.0);
    }
    let values = vec![1.0, 2.0, 3.0, 4.0];
    let problem = Problem { prototypes, classes: classes.to_vec(), values, weights: None };
    for (loss, width) in [(Loss::Cosine, dim), (Loss::Joint { weight: 0.5 }, dim + 1)] {
        let (sum, dz, _) = evaluate(loss, &problem, &numbers::<f32>(4 * width, 1));
        assert!(sum.is_finite() && dz.iter().all(|g| g.is_finite()), "{loss:?}: {sum} {dz:?}");
    }
}

#[test]
fn a_row_of_zeros_has_the_gradient_of_the_floored_norm() {
    let problem = Problem { prototypes: vec![0.6, 0.8], classes: vec![0], values: vec![], weights: None };
    let (loss, dz, _) = evaluate(Loss::Cosine, &problem, &[0.0, 0.0]);
    assert_eq!(loss, 1.0);
    assert_close("gradient", &dz, &[-1.2e8, -1.6e8], 1e-12);
    // Below the floor ẑ = 1e8·z is linear: with c = 0.3 the gradient is -2·(1 - c)·1e8·p, along p alone.
    let (_, dz, _) = evaluate(Loss::Cosine, &problem, &[5e-9, 0.0]);
    assert_close("gradient", &dz, &[-0.84e8, -1.12e8], 1e-12);
}

#[test]
fn the_sums_of_several_chunks_of_rows_are_those_of_all_rows() {
    // So many classes that a chunk has 32 rows.
    let (count, dim, n) = (40_000, 3, 70);
    let prototypes = units(count, dim, 5);
    let classes: Vec<i32> = (0..n).map(|i| i * 571).collect();
    // Every even row is a multiple of its prototype.
    let mut z: Vec<f64> = numbers(n as usize * dim, 6);
    for i in (0..n as usize).step_by(2) {
        z[i * dim..(i + 1) * dim].copy_from_slice(&prototypes[classes[i] as usize * dim..][..dim]);
    }
    let softmax = Softmax { prototypes: &prototypes, dim, scale: 8.0, margin: 0.0, smoothing: None };
    let mut scratch = vec![f64::NAN; Softmax::<f64>::scratch(n as usize, count, dim, false)];
    let mut whole = z.clone();
    let sums = softmax.run(
        &mut whole,
        equal(&classes),
        &mut Wanted::Accuracy,
        ScoreGradient::Write,
        None,
        &mut scratch,
    );
    assert_eq!((sums.scored, sums.correct, sums.count), (70, 35, 70));
    let mut loss = 0.0;
    for (i, class) in classes.iter().enumerate() {
        let z = &mut z[i * dim..(i + 1) * dim];
        loss += softmax
            .run(z, equal(&[*class]), &mut Wanted::Loss, ScoreGradient::Write, None, &mut scratch)
            .loss;
        assert_close(&format!("row {i}"), &whole[i * dim..(i + 1) * dim], z, 1e-9);
    }
    assert!((loss - sums.loss).abs() < 1e-9 * loss);
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let problem = Problem {
        prototypes: units(19, 37, 1).into_iter().map(|x| x as f32).collect(),
        classes: (0..500).map(|i| i % 20 - 1).collect(),
        values: numbers(500, 2),
        weights: None,
    };
    for (loss, dim) in [
        (Loss::Cosine, 37),
        (Loss::Regression, 37),
        (Loss::Joint { weight: 0.5 }, 38),
        (Loss::Softmax { scale: 16.0, margin: 0.3 }, 37),
        (Loss::Smoothed { scale: 16.0, margin: 0.3, share: 0.1, toward: Toward::Near }, 37),
    ] {
        same_bits_for_any_threads(|| {
            let (sum, mut dz, _) = evaluate(loss, &problem, &numbers::<f32>(500 * dim, 3));
            dz.push(sum as f32);
            dz.push((sum - f64::from(sum as f32)) as f32);
            dz
        });
    }
}
