//! The whole model against numbers that PyTorch computed in f64 (`fixtures/README.md`): logits, hidden states, loss,
//! every gradient, and ten updates.
//!
//! The f64 path is bounded by 1e-9: the formulas are the same, sums are taken in another order. The f32 path is bounded by
//! 2e-5 on outputs and 2e-4 on each gradient, norm-relative: some 10² roundings of 6e-8 one after the other, and sums of
//! terms that cancel.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{relative, threads, to_f64};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use ssm_hpn::Scalar;
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::Target;

/// Tensors by name, and the settings of the file.
pub(crate) struct Fixture {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    settings: Value,
}

impl Fixture {
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        // Python writes an infinite setting as a word that is not JSON; none of them is read here.
        let settings = metadata.metadata().as_ref().unwrap()["settings"].replace("Infinity", "null");
        let settings = serde_json::from_str(&settings).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |dtype: Dtype, data: &[u8]| -> Vec<f64> {
            let words = data.as_chunks::<8>().0.iter();
            match dtype {
                Dtype::F64 => words.map(|b| f64::from_le_bytes(*b)).collect(),
                Dtype::I64 => words.map(|b| i64::from_le_bytes(*b) as f64).collect(),
                other => panic!("a tensor of {other:?}"),
            }
        };
        let tensors = file.tensors().into_iter();
        let tensors =
            tensors.map(|(name, t)| (name, (t.shape().to_vec(), numbers(t.dtype(), t.data())))).collect();
        Self { tensors, settings }
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.tensors[name].1
    }

    pub(crate) fn size(&self, key: &str) -> usize {
        self.settings[key].as_u64().unwrap() as usize
    }

    /// The settings of the crate's own block.
    fn mamba1(&self) -> Value {
        json!({"kind": "mamba1", "d_state": self.size("d_state"), "d_conv": self.size("d_conv"),
               "expand": self.size("expand"), "dt_rank": self.size("dt_rank")})
    }

    /// The model of such blocks with the tensors `prefix` + public name.
    fn session<T: Scalar>(&self, block: Value, registry: &Registry<T>, prefix: &str) -> Session<T> {
        let vocab = self.size("vocab");
        let model = json!({
            "input": {"kind": "tokens", "vocab_size": vocab}, "d_model": self.size("d_model"),
            "n_layers": self.size("n_layer"),
            "block": block, "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": vocab},
        });
        let optim = json!({
            "lr": 3e-3, "weight_decay": 0.1, "clip_norm": 1.0,
            "schedule": {"kind": "cosine", "warmup": 3, "total": 10, "min_ratio": 0.1},
        });
        let model = ModelConfig::from_json(&model.to_string()).unwrap();
        let optim = OptimConfig::from_json(&optim.to_string()).unwrap();
        let mut session = Session::with_registry(model, optim, 0, threads(2), registry).unwrap();
        let mut set = 0;
        for (name, (shape, values)) in &self.tensors {
            let Some(name) = name.strip_prefix(prefix) else { continue };
            if name.starts_with("backbone.") || name.starts_with("lm_head.") {
                let values: Vec<T> = values.iter().map(|x| T::from_f64(*x)).collect();
                session.set_parameter(name, shape, &values).unwrap();
                set += 1;
            }
        }
        assert_eq!(set, session.parameter_table().len(), "every tensor of the model is in the file");
        session
    }

    fn batch(&self, ids: &[f64], targets: &[f64]) -> Batch {
        let target = Target::token_class(targets.iter().map(|x| *x as i32).collect());
        let ids = Input::Tokens(ids.iter().map(|x| *x as u32).collect());
        Batch::whole(self.size("batch"), self.size("length"), ids, target)
    }
}

/// Logits, hidden states, loss and every gradient, within bounds on outputs and gradients.
pub(crate) fn model_agrees<T: Scalar>(
    fixture: &Fixture,
    block: Value,
    registry: &Registry<T>,
    outputs: f64,
    gradients: f64,
) {
    let mut session = fixture.session(block, registry, "");
    let batch = fixture.batch(fixture.get("ids"), fixture.get("targets"));
    let check = |what: &str, found: &[f64], expected: &[f64], bound: f64| {
        let drift = relative(found, expected);
        assert!(drift <= bound, "{what}: drift {drift:e} over {bound:e}");
    };
    check("logits", &to_f64(&session.predict(&batch).unwrap()), fixture.get("logits"), outputs);
    check("hidden", &to_f64(&session.hidden(&batch).unwrap()), fixture.get("last_hidden_state"), outputs);
    let report = session.forward_backward(&batch, Accuracy::Skip).unwrap();
    assert_eq!(report.count as usize, fixture.get("targets").len());
    check("loss", &[report.loss], fixture.get("loss"), outputs);
    let mut compared = 0;
    for (name, (_, expected)) in &fixture.tensors {
        if let Some(name) = name.strip_prefix("grad/") {
            check(name, &to_f64(&session.gradient(name).unwrap().1), expected, gradients);
            compared += 1;
        }
    }
    assert_eq!(compared, session.parameter_table().len(), "every gradient is compared");
}

#[test]
fn f64_agrees_to_the_last_digits() {
    let fixture = Fixture::read("mamba1_lm.safetensors");
    model_agrees::<f64>(&fixture, fixture.mamba1(), &Registry::standard(), 1e-9, 1e-9);
}

#[test]
fn f32_agrees_within_its_precision() {
    let fixture = Fixture::read("mamba1_lm.safetensors");
    model_agrees::<f32>(&fixture, fixture.mamba1(), &Registry::standard(), 2e-5, 2e-4);
}

/// Ten updates: loss and gradient norm of each, the learning rates, and the parameters at the end.
fn trajectory_agrees<T: Scalar>(losses: f64, norms: f64, end: f64) {
    let fixture = Fixture::read("mamba1_trajectory.safetensors");
    let mut session = fixture.session::<T>(fixture.mamba1(), &Registry::standard(), "start/");
    let (steps, length) = (fixture.get("loss").len(), fixture.size("length"));
    for (k, ids) in fixture.get("ids").chunks_exact(fixture.get("ids").len() / steps).enumerate() {
        let rolled = |row: &[f64]| row[1..].iter().chain(&row[..1]).copied().collect::<Vec<_>>();
        let targets: Vec<f64> = ids.chunks_exact(length).flat_map(rolled).collect();
        session.forward_backward(&fixture.batch(ids, &targets), Accuracy::Skip).unwrap();
        let report = session.apply().unwrap();
        let near = |what: &str, found: f64, expected: f64, bound: f64| {
            let drift = (found / expected - 1.0).abs();
            assert!(
                drift <= bound,
                "update {k}, {what}: {found} for {expected}, drift {drift:e} over {bound:e}"
            );
        };
        near("loss", report.loss, fixture.get("loss")[k], losses);
        near("gradient norm", report.grad_norm, fixture.get("grad_norm")[k], norms);
        near("learning rate", report.lr, fixture.get("lr")[k], 1e-14);
    }
    for (name, (_, expected)) in &fixture.tensors {
        if let Some(name) = name.strip_prefix("end/") {
            let drift = relative(&to_f64(session.parameter(name).unwrap().1), expected);
            assert!(drift <= end, "{name} after ten updates: drift {drift:e} over {end:e}");
        }
    }
}

#[test]
fn ten_updates_in_f64_agree_to_the_last_digits() {
    trajectory_agrees::<f64>(1e-9, 1e-9, 1e-8);
}

#[test]
fn ten_updates_in_f32_keep_to_the_reference() {
    trajectory_agrees::<f32>(1e-3, 5e-3, 5e-3);
}
