//! A profile accounts for the time of a step, is off by default, and changes no bit of the results.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::time::{Duration, Instant};

use crate::common::{batch, bits, config, language_model, session};
use serde_json::json;
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::ModelConfig;
use ssm_hpn::profile::{Phase, Profile};
use ssm_hpn::session::Session;

fn steps(session: &mut Session<f32>, model: &ModelConfig, count: u64) -> f64 {
    let mut loss = 0.0;
    for seed in 0..count {
        let data = batch(model, 4, 60, None, seed);
        loss = session.forward_backward(&data, Accuracy::Count).unwrap().loss;
        session.apply().unwrap();
    }
    loss
}

#[test]
fn results_have_the_same_bits_with_a_profile_and_without() {
    let model = language_model();
    let (mut plain, mut profiled) = (session::<f32>(&model), session::<f32>(&model));
    profiled.profile_start();
    let losses = [steps(&mut plain, &model, 3), steps(&mut profiled, &model, 3)];
    assert_eq!(losses[0].to_bits(), losses[1].to_bits());
    assert_eq!(bits(&plain), bits(&profiled));
    assert_eq!(plain.profile_take(), Profile::default(), "profiling is off");
    assert_ne!(profiled.profile_take(), Profile::default());
    steps(&mut profiled, &model, 1);
    assert_eq!(profiled.profile_take(), Profile::default(), "profile_take ended the profile");
}

#[test]
fn phases_account_for_the_time_of_a_step_and_for_every_product() {
    let head = json!({"kind": "prototype", "n_classes": crate::common::CLASSES});
    let small = config("tokens", json!({"kind": "next_token"}), head);
    let model = ModelConfig { d_model: 48, ..small };
    let mut session = session::<f32>(&model);
    let (rows, length, layers) = (4, 128, crate::common::LAYERS);
    let data = batch(&model, rows, length, None, 1);
    let step = |session: &mut Session<f32>| {
        session.forward_backward(&data, Accuracy::Skip).unwrap();
        session.apply().unwrap();
    };
    step(&mut session);
    // The largest share over several steps: another process may delay any one of them.
    let mut named = 0.0_f64;
    let mut told = 0.0_f64;
    for _ in 0..5 {
        session.profile_start();
        let began = Instant::now();
        step(&mut session);
        let wall = began.elapsed();
        let profile = session.profile_take();
        assert!(profile.total() <= wall, "{:?} of {wall:?}", profile.total());
        let share = |part: Duration| part.as_secs_f64() / wall.as_secs_f64();
        told = told.max(share(profile.total()));
        named = named.max(share(profile.total()) - share(profile.get(Phase::Other).time));
        for (phase, row) in profile.rows() {
            assert!(row.calls > 0 && row.time > Duration::ZERO, "{phase:?}: {row:?}");
        }
        // 2·M·(2I·D + (R+2N)·I + I·R + D·I) operations forward, twice as many backward, and delta once more.
        let (m, d, i, r, n) = (rows * length, 48, 96, 2, 5);
        let weights = 2 * i * d + (r + 2 * n) * i + i * r + d * i;
        assert_eq!(profile.get(Phase::Products).flops, (layers * 2 * m * (3 * weights + i * r)) as u64);
        assert_eq!(profile.get(Phase::Scan).calls % (2 * layers as u64), 0, "forward and back");
    }
    assert!(told > 0.85 && named > 0.85, "{told} of the time is in phases, {named} in named ones");
}
