//! Work that a session does once: scores of an evaluation, and the making of parameters that no file holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use ssm_hpn::head::{Head, HeadReport, Targets, Wanted, WeightedTargets};
use ssm_hpn::model::Registry;
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::params::{Grads, Init, Maker, ParamSpec, Params};
use ssm_hpn::pass::Pass;
use ssm_hpn::session::Session;

use crate::common::{batch, config, threads};

/// How often a head was asked for its loss, for its scores, and for its first numbers.
#[derive(Default)]
struct Calls {
    losses: AtomicUsize,
    scores: AtomicUsize,
    made: AtomicUsize,
}

impl Calls {
    fn counts(&self) -> [usize; 3] {
        [&self.losses, &self.scores, &self.made].map(|count| count.load(Ordering::Relaxed))
    }
}

/// A head that predicts 0 and counts its calls.
struct Counting(Arc<Calls>);

impl Head<f32> for Counting {
    fn params(&self) -> Vec<ParamSpec> {
        let calls = self.0.clone();
        let make = move || {
            calls.made.fetch_add(1, Ordering::Relaxed);
            vec![0.5]
        };
        vec![ParamSpec::new("counting.weight", [1], Init::Made(Maker::new("counting", make)))]
    }

    fn scratch(&self, _n: usize) -> usize {
        0
    }

    fn n_scores(&self) -> usize {
        1
    }

    fn forward_backward(
        &self,
        _pass: Pass<f32>,
        _x: &[f32],
        targets: WeightedTargets<f32>,
        mut wanted: Wanted<f32>,
        _dx: Option<&mut [f32]>,
        _dparams: Option<&mut Grads<f32>>,
    ) -> HeadReport {
        self.0.losses.fetch_add(1, Ordering::Relaxed);
        let Targets::Values(values) = targets.targets else { panic!("expected numbers") };
        wanted.take_numbers(values.iter().map(|_| 0.0));
        HeadReport { count: values.len() as u64, ..HeadReport::default() }
    }

    fn scores(&self, _pass: Pass<f32>, _x: &[f32], out: &mut [f32]) {
        self.0.scores.fetch_add(1, Ordering::Relaxed);
        out.fill(0.0);
    }

    fn logit_scale(&self, _params: &Params<f32>) -> f64 {
        1.0
    }
}

#[test]
fn an_evaluation_computes_scores_once_and_loading_makes_no_parameter_that_it_reads() {
    let calls = Arc::new(Calls::default());
    let mut registry = Registry::<f32>::standard();
    let of = calls.clone();
    registry.register_head("counting", move |_, _| Ok(Box::new(Counting(of.clone()))));
    let target = json!({"kind": "sequence_values", "pooling": "mean", "n_values": 1});
    let config = config("features", target, json!({"kind": "counting"}));
    let optim = OptimConfig::default();
    let session = Session::with_registry(config.clone(), optim, 1, threads(1), &registry).unwrap();
    assert_eq!(calls.counts(), [0, 0, 1]);

    let report = session.evaluate(&batch(&config, 2, 8, None, 1)).unwrap();
    assert_eq!(report.predicted_values, [0.0; 2]);
    assert_eq!(calls.counts(), [1, 0, 1]);

    let folder = tempfile::tempdir().unwrap();
    let path = session.save(&folder.path().join("saved"), json!(null)).unwrap();
    let (loaded, _) = Session::load_with_registry(&path, threads(1), &registry).unwrap();
    assert_eq!(loaded.parameter("counting.weight").unwrap().1, [0.5]);
    assert_eq!(calls.counts(), [1, 0, 1]);
}
