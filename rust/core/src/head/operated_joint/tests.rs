use crate::head::losses::surgery::{GradNorm, Gram, cagrad};
use crate::head::{Head, HeadConfig, HeadReport, Targets, Wanted, WeightedTargets, build};
use crate::kernels::testing::{assert_close, numbers, same_bits_for_any_threads};
use crate::kernels::{Layout, RowWeights};
use crate::numeric::Scalar;
use crate::params::{Arena, Grads, Group, Params, Table, TensorMasks};
use crate::pass::{Key, Mode, Pass, Running};

const N: usize = 40;
const D: usize = 6;
const WEIGHT: f64 = 0.3;

/// Results of one training pass of a head.
struct Found<T> {
    report: HeadReport,
    dx: Vec<T>,
    dparams: Vec<T>,
}

fn config(weight: f64, surgery: &str) -> String {
    let loss = format!(r#"{{"kind":"joint","low":-1.0,"high":3.0,"weight":{weight},"surgery":{surgery}}}"#);
    format!(r#"{{"kind":"prototype","n_classes":5,"dim":5,"loss":{loss}}}"#)
}

const NONE: &str = r#"{"kind":"none"}"#;

/// A pass over 40 features; classes follow one half of the coordinates and numbers the other, so that the tasks conflict.
fn run<T: Scalar>(json: &str, running: Option<Running>, wants_dx: bool) -> Found<T> {
    let config: HeadConfig = serde_json::from_str(json).unwrap();
    let head: Box<dyn Head<T>> = build(&config, D, 3, None).unwrap();
    let mut table = Table::new();
    let slots = table.declare("", Group::Head, head.params()).unwrap();
    let mut values = Arena::<T>::zeros(table.buffer_len());
    for slot in 0..table.entries().len() {
        let entry = table.entry(slot);
        let columns = *entry.spec.shape.last().unwrap();
        entry.spec.init.fill(values.tensor_mut(&table, slot), columns, 5, &entry.id);
    }
    let x = numbers::<T>(N * D, 1);
    let classes: Vec<i32> = (0..N as i32).map(|i| if i % 9 == 8 { -1 } else { i * 3 % 5 }).collect();
    let mut labels = numbers::<T>(N, 2);
    labels[3] = T::from_f64(f64::NAN);
    let weights: Vec<T> = (0..N).map(|i| T::from_f64(0.5 + (i % 3) as f64)).collect();
    let targets = Targets::Joint { classes: &classes, values: &labels };
    let targets = WeightedTargets { targets, weights: RowWeights::new(&weights) };
    let mut scratch = vec![T::from_f64(f64::NAN); head.scratch(N)];
    let mut dx = vec![T::from_f64(f64::NAN); N * D];
    let mut dparams = Arena::<T>::zeros(table.buffer_len());
    let trainable = TensorMasks::declared(&table).trainable;
    let mut grads = Grads::new(dparams.as_mut_slice(), &table, &slots, &trainable);
    let params = Params::new(values.as_slice(), &table, &slots);
    let mode = Mode::Training(Key::default());
    let pass = Pass { running, ..Pass::new(params, Layout::whole(N, 1), mode, &mut scratch) };
    let of_features = wants_dx.then_some(&mut dx[..]);
    let report = head.forward_backward(pass, &x, targets, Wanted::Accuracy, of_features, Some(&mut grads));
    Found { report, dx, dparams: dparams.as_slice().to_vec() }
}

/// The gradients of the two tasks with their weights: of the features, and of the parameters.
fn of_tasks() -> [Found<f64>; 2] {
    [(0.0, 1.0 - WEIGHT), (1.0, WEIGHT)].map(|(task, factor)| {
        let mut found = run::<f64>(&config(task, NONE), None, true);
        found.dx.iter_mut().chain(&mut found.dparams).for_each(|g| *g *= factor);
        found.report.loss *= factor;
        found
    })
}

fn sum(a: &[f64], [x, y]: [f64; 2], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| x * a + y * b).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn the_features_get_the_operated_gradient_and_the_head_the_sum() {
    let [number, class] = of_tasks();
    let both = dot(&number.dx, &class.dx);
    assert!(both < 0.0, "the two tasks conflict");
    let projected = sum(&number.dx, [1.0, -both / dot(&class.dx, &class.dx)], &class.dx);
    let other = sum(&class.dx, [1.0, -both / dot(&number.dx, &number.dx)], &number.dx);
    let averse = cagrad(Gram::new(&number.dx, &class.dx), 0.4);
    let plain = run::<f64>(&config(WEIGHT, NONE), None, true);
    for (surgery, expected) in [
        (r#"{"kind":"pcgrad"}"#, sum(&projected, [1.0, 1.0], &other)),
        (r#"{"kind":"cagrad","distance":0.4}"#, sum(&number.dx, averse, &class.dx)),
        (r#"{"kind":"cagrad","distance":0.0}"#, plain.dx.clone()),
        (r#"{"kind":"gradnorm"}"#, plain.dx.clone()),
    ] {
        let found = run::<f64>(&config(WEIGHT, surgery), None, true);
        assert_close(surgery, &found.dx, &expected, 1e-13);
        assert_close(surgery, &found.dparams, &plain.dparams, 1e-13);
        assert_close(surgery, &[found.report.loss], &[plain.report.loss], 1e-14);
        assert_eq!(HeadReport { loss: plain.report.loss, ..found.report }, plain.report, "{surgery}");
    }
}

#[test]
fn one_task_alone_keeps_its_gradient() {
    for weight in [0.0, 1.0] {
        let plain = run::<f64>(&config(weight, NONE), None, true);
        for surgery in [r#"{"kind":"pcgrad"}"#, r#"{"kind":"cagrad"}"#, r#"{"kind":"gradnorm"}"#] {
            let found = run::<f64>(&config(weight, surgery), None, true);
            assert_close(surgery, &found.dx, &plain.dx, 1e-14);
            assert_close(surgery, &found.dparams, &plain.dparams, 1e-14);
        }
    }
}

#[test]
fn without_anything_trained_below_it_the_head_gets_the_sum() {
    let plain = run::<f64>(&config(WEIGHT, NONE), None, false);
    for surgery in [r#"{"kind":"pcgrad"}"#, r#"{"kind":"cagrad"}"#, r#"{"kind":"gradnorm"}"#] {
        let mut gathered = [0.0; GradNorm::STATISTICS];
        let running = Running { kept: &[0.0; GradNorm::STATISTICS], gathered: &mut gathered };
        let found = run::<f64>(&config(WEIGHT, surgery), Some(running), false);
        assert_close(surgery, &found.dparams, &plain.dparams, 1e-13);
        assert_eq!(gathered, [0.0; GradNorm::STATISTICS], "{surgery}");
    }
}

#[test]
fn weights_of_tasks_multiply_their_gradients_and_what_moves_them_is_gathered() {
    let [number, class] = of_tasks();
    let (tilt, alpha) = (0.25, 1.5);
    let v = [1.0 + tilt, 1.0 - tilt];
    let kept = [tilt, 0.4, 0.2, 0.0, 0.0, 0.0];
    let mut gathered = [0.0; GradNorm::STATISTICS];
    let running = Running { kept: &kept, gathered: &mut gathered };
    let json = config(WEIGHT, r#"{"kind":"gradnorm","alpha":1.5}"#);
    let found = run::<f64>(&json, Some(running), true);
    assert_close("features", &found.dx, &sum(&number.dx, v, &class.dx), 1e-13);
    assert_close("parameters", &found.dparams, &sum(&number.dparams, v, &class.dparams), 1e-13);
    // The loss is that without the weights, so that it can be compared.
    assert_close("loss", &[found.report.loss], &[number.report.loss + class.report.loss], 1e-13);

    // The rule, from the gradients of the two tasks.
    let losses = [number.report.loss, class.report.loss];
    let without_v = [dot(&number.dx, &number.dx).sqrt(), dot(&class.dx, &class.dx).sqrt()];
    let norms = [v[0] * without_v[0], v[1] * without_v[1]];
    let mean = f64::midpoint(norms[0], norms[1]);
    let count: f64 = (0..N).filter(|&i| i % 9 != 8 && i != 3).map(|i| 0.5 + (i % 3) as f64).sum();
    let left = [losses[0] / count / kept[1], losses[1] / count / kept[2]];
    let aims = left.map(|l| mean * (l / f64::midpoint(left[0], left[1])).powf(alpha));
    let slope = |i: usize| (norms[i] - aims[i]).signum() * norms[i];
    assert_close("gathered", &gathered, &[slope(0), slope(1), losses[0], losses[1], mean, count], 1e-12);
}

#[test]
fn bits_of_surgery_do_not_depend_on_the_number_of_threads() {
    for surgery in [r#"{"kind":"pcgrad"}"#, r#"{"kind":"cagrad"}"#, r#"{"kind":"gradnorm"}"#] {
        same_bits_for_any_threads(|| {
            let mut gathered = [0.0; GradNorm::STATISTICS];
            let running = Running { kept: &[0.1; GradNorm::STATISTICS], gathered: &mut gathered };
            let found = run::<f32>(&config(WEIGHT, surgery), Some(running), true);
            let mut all = [found.dx, found.dparams].concat();
            all.extend(gathered.iter().map(|x| *x as f32));
            all
        });
    }
}
