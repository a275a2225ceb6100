//! The default of a setting that JSON leaves out is the one in `docs/config.md`.
//!
//! Not compared are the schedule, which needs the number of updates of a run, and sizes that are taken from the data
//! (null in the page).

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use ssm_hpn::blocks::Mamba1Config;
use ssm_hpn::data::LoaderConfig;
use ssm_hpn::head::{LinearConfig, LossConfig, PrototypeConfig};
use ssm_hpn::model::ModelConfig;
use ssm_hpn::optim::OptimConfig;

/// Default of every setting by its name, such as `optim.lr` or `model.head.loss[margin].scale`.
fn documented() -> BTreeMap<String, String> {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md")).unwrap();
    let (mut found, mut place) = (BTreeMap::new(), String::new());
    for line in page.lines() {
        if line.starts_with("##") {
            line.split('`').nth(1).unwrap_or_default().clone_into(&mut place);
        } else if let Some(rest) = line.strip_prefix("**`") {
            let (key, kind) = rest.split_once(".kind = \"").unwrap();
            place = format!("{key}[{}]", kind.split('"').next().unwrap());
        } else if let Some(row) = line.strip_prefix("| `") {
            let mut cells = row.split(" | ");
            let setting = cells.next().unwrap().trim_end_matches('`');
            found.insert(format!("{place}.{setting}"), cells.next().unwrap().trim_matches('`').to_owned());
        }
    }
    found
}

fn is_same(documented: &str, value: &Value) -> bool {
    match value {
        Value::Null => documented == "null",
        Value::Number(n) => documented.parse::<f64>().ok() == n.as_f64(),
        Value::String(text) => documented == text,
        other => *documented == *other.to_string(),
    }
}

/// Compares the values of settings that JSON left out with those of the page.
#[track_caller]
fn compare(place: &str, value: &Value, settings: &[&str]) {
    let documents = documented();
    for setting in settings {
        let name = format!("{place}.{setting}");
        let expected = documents.get(&name).unwrap_or_else(|| panic!("docs/config.md has no {name}"));
        assert!(is_same(expected, &value[*setting]), "{name}: documented {expected}, is {}", value[*setting]);
    }
}

#[test]
fn the_optimiser_is_as_documented() {
    let text = r#"{"schedule": {"kind": "cosine", "total": 9}}"#;
    let optim = serde_json::to_value(OptimConfig::from_json(text).unwrap()).unwrap();
    compare("optim", &optim, &["lr", "beta1", "beta2", "eps", "weight_decay", "clip_norm", "max_skipped"]);
    compare("optim.schedule[cosine]", &optim["schedule"], &["min_ratio"]);
}

#[test]
fn the_block_and_the_model_are_as_documented() {
    let block: Mamba1Config = serde_json::from_value(json!({})).unwrap();
    compare(
        "model.block",
        &serde_json::to_value(block).unwrap(),
        &["d_state", "d_conv", "expand", "dt_rank"],
    );
    let text = json!({
        "input": {"kind": "hidden"}, "d_model": 8, "n_layers": 1, "block": {"kind": "mamba1"},
        "target": {"kind": "cotangent"}, "head": {"kind": "none"},
    });
    let model = serde_json::to_value(ModelConfig::from_json(&text.to_string()).unwrap()).unwrap();
    compare("model", &model, &["norm_eps", "activation_memory", "memory_limit_mb"]);
}

#[test]
fn heads_and_losses_are_as_documented() {
    let head: PrototypeConfig = serde_json::from_value(json!({})).unwrap();
    let head = serde_json::to_value(head).unwrap();
    compare(
        "model.head[prototype]",
        &head,
        &["n_classes", "dim", "prototypes", "projection", "assignment", "assignment_after"],
    );
    compare("model.head.loss[softmax]", &head["loss"], &["scale", "learn_scale", "smoothing"]);
    // The ends `low` and `high` of a pole are documented as taken from the data, which the core does not know.
    let loss: LossConfig = serde_json::from_value(json!({"kind": "margin"})).unwrap();
    let settings = ["scale", "margin", "smoothing", "smoothing_toward"];
    compare("model.head.loss[margin]", &serde_json::to_value(loss).unwrap(), &settings);
    for (kind, settings) in [("cagrad", &["distance"][..]), ("gradnorm", &["alpha", "rate"])] {
        let loss = json!({"kind": "joint", "surgery": {"kind": kind}});
        let loss: LossConfig = serde_json::from_value(loss).unwrap();
        let surgery = &serde_json::to_value(loss).unwrap()["surgery"];
        compare(&format!("model.head.loss.surgery[{kind}]"), surgery, settings);
    }
    let linear: LinearConfig = serde_json::from_value(json!({"n_outputs": 2})).unwrap();
    compare("model.head[linear]", &serde_json::to_value(linear).unwrap(), &["loss", "tied", "bias"]);
}

#[test]
fn the_loader_is_as_documented() {
    let text = json!({"path": "data", "batch_size": 1, "length": 2}).to_string();
    let loader = serde_json::to_value(LoaderConfig::from_json(&text).unwrap()).unwrap();
    compare("data", &loader, &["shuffle", "workers", "prefetch"]);
}

#[test]
fn a_different_default_compares_as_different() {
    assert!(
        !is_same("0.003", &json!(0.004)) && is_same("1e-08", &json!(1e-8)) && is_same("null", &Value::Null)
    );
    assert!(documented().len() > 80);
}
