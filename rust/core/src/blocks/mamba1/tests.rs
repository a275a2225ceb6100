//! Shapes, which tensors decay, and first values; gradients and recurrence are tested on whole models in `rust/core/tests`.

use super::*;
use crate::error::Error;

const WIDTH: usize = 40;
const LAYERS: usize = 9;

fn block() -> Mamba1 {
    Mamba1::new(&Mamba1Config::default(), "model.block", WIDTH, LAYERS).unwrap()
}

/// Id, shape, decay, and the least and largest possible first value.
fn table() -> Vec<(&'static str, Vec<usize>, bool, f64, f64)> {
    let (i, rank) = (2 * WIDTH, 3);
    let bound = |fan_in: usize| 1.0 / (fan_in as f64).sqrt();
    let step = |delta: f64| delta.exp_m1().ln();
    let uniform = |id, shape, decay, bound: f64| (id, shape, decay, -bound, bound);
    vec![
        uniform("in_proj.weight", vec![2 * i, WIDTH], true, bound(WIDTH)),
        uniform("conv1d.weight", vec![i, 1, 4], true, bound(4)),
        uniform("conv1d.bias", vec![i], false, bound(4)),
        uniform("x_proj.weight", vec![rank + 32, i], true, bound(i)),
        uniform("dt_proj.weight", vec![i, rank], true, bound(rank)),
        ("dt_proj.bias", vec![i], false, step(1e-3), step(1e-1)),
        ("A_log", vec![i, 16], false, 0.0, 16_f64.ln()),
        ("D", vec![i], false, 1.0, 1.0),
        uniform("out_proj.weight", vec![WIDTH, i], true, bound(i) / 3.0),
    ]
}

#[test]
fn tensors_have_their_shape_decay_group_and_first_values() {
    let specs = Block::<f64>::params(&block());
    assert_eq!(specs.len(), table().len());
    for (spec, (id, shape, decay, low, high)) in specs.iter().zip(table()) {
        assert_eq!((spec.id.as_str(), &spec.shape, spec.decay), (id, &shape, decay));
        let mut values = vec![0.0_f64; spec.len()];
        spec.init.fill(&mut values, *shape.last().unwrap(), 1, id);
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), x| (l.min(*x), m.max(*x)));
        // Of 80 and more draws the extremes come within a tenth of the range of its ends.
        let slack = 0.1 * (high - low);
        assert!(least >= low - 1e-9 && least <= low + slack, "{id}: {least}, at least {low}");
        assert!(most <= high + 1e-9 && most >= high - slack, "{id}: {most}, at most {high}");
    }
    let mut rates = vec![0.0_f64; 32];
    specs[tensor::A_LOG].init.fill(&mut rates, 16, 1, "A_log");
    assert!((0..32).all(|k| rates[k] == ((k % 16 + 1) as f64).ln()), "{rates:?}");
}

#[test]
fn sizes_out_of_range_are_refused_under_their_key() {
    let config = Mamba1Config::default();
    for (bad, key) in [
        (Mamba1Config { d_state: 0, ..config }, "model.block.d_state"),
        (Mamba1Config { d_conv: 0, ..config }, "model.block.d_conv"),
        (Mamba1Config { expand: 0, ..config }, "model.block.expand"),
        (Mamba1Config { dt_rank: Some(0), ..config }, "model.block.dt_rank"),
    ] {
        match Mamba1::new(&bad, "model.block", WIDTH, LAYERS) {
            Err(Error::Config { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_absent_rank_is_resolved() {
    let resolved = Block::<f32>::resolved(&block()).unwrap();
    assert_eq!(resolved, serde_json::json!({"d_state": 16, "d_conv": 4, "expand": 2, "dt_rank": 3}));
}
