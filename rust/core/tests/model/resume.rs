//! Save, load and ten more updates give the bits of fifteen updates without interruption, also for a model that has
//! grown, has frozen parts and has skipped an update.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::{Path, PathBuf};

use crate::common::{batch, bits, config, language_model, threads};
use serde_json::json;
use ssm_hpn::Error;
use ssm_hpn::checkpoint::{CheckpointManifest, folder_name};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ExpandPlan, FreezeSpec, ModelConfig};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::storage::FileRecord;

fn optim() -> OptimConfig {
    let schedule = json!({"kind": "cosine", "warmup": 4, "total": 15, "min_ratio": 0.1});
    OptimConfig::from_json(&json!({"lr": 5e-3, "schedule": schedule}).to_string()).unwrap()
}

fn new(config: &ModelConfig) -> Session<f32> {
    Session::new(config.clone(), optim(), 2, threads(2)).unwrap()
}

/// Runs the updates `range`; returns their reports.
fn update(session: &mut Session<f32>, range: std::ops::Range<u64>) -> Vec<String> {
    let mut reports = Vec::new();
    for step in range {
        let config = session.model().config().clone();
        for micro in 0..2 {
            let batch = batch(&config, 2, 10 + micro, None, 20 + 2 * step + micro as u64);
            reports.push(format!("{:?}", session.forward_backward(&batch, Accuracy::Count).unwrap()));
        }
        reports.push(format!("{:?}", session.apply().unwrap()));
    }
    reports
}

fn check(config: &ModelConfig, prepare: impl Fn(&mut Session<f32>)) {
    let folder = tempfile::tempdir().unwrap();
    let mut uninterrupted = new(config);
    prepare(&mut uninterrupted);
    let expected = update(&mut uninterrupted, 0..15);

    let mut first = new(config);
    prepare(&mut first);
    let mut found = update(&mut first, 0..5);
    let path = folder.path().join(folder_name(first.step()));
    let extra = json!({"cursor": [1, 2, 3], "note": "ä"});
    assert_eq!(
        first.save(&path, extra.clone()).unwrap().canonicalize().unwrap(),
        path.canonicalize().unwrap()
    );
    let (mut second, read) = Session::<f32>::load(folder.path(), threads(3)).unwrap();
    assert_eq!(read, extra);
    assert_eq!(second.digest().unwrap(), first.digest().unwrap());
    assert_eq!((second.step(), second.frozen()), (first.step(), first.frozen()));
    drop(first);
    found.extend(update(&mut second, 5..15));
    assert_eq!(found, expected);
    assert_eq!(bits(&second), bits(&uninterrupted));
}

#[test]
fn ten_more_updates_after_loading_are_fifteen_without_interruption() {
    check(&language_model(), |_| ());
    let prototypes =
        json!({"kind": "prototype", "n_classes": crate::common::CLASSES, "prototypes": "learnable"});
    check(&config("features", json!({"kind": "token_class"}), prototypes), |_| ());
}

#[test]
fn learned_weights_of_tasks_are_saved() {
    let surgery = json!({"kind": "gradnorm", "alpha": 1.5, "rate": 0.2});
    let head = |surgery: &serde_json::Value| {
        let loss = json!({"kind": "joint", "weight": 0.9, "surgery": surgery});
        let head = json!({"kind": "prototype", "n_classes": crate::common::CLASSES, "loss": loss});
        config("features", json!({"kind": "joint", "pooling": "mean"}), head)
    };
    check(&head(&surgery), |_| ());
    check(&head(&surgery), |session| {
        update(session, 0..3);
        session.expand(&ExpandPlan::Append { count: 1, seed: 0 }).unwrap();
    });
    let [weighed, plain] = [surgery, json!({"kind": "none"})].map(|surgery| {
        let mut session = new(&head(&surgery));
        update(&mut session, 0..5);
        bits(&session)
    });
    assert_ne!(weighed, plain);
}

#[test]
fn a_grown_and_partly_frozen_model_resumes_to_the_same_bits() {
    check(&language_model(), |session| {
        update(session, 0..2);
        let plan: ExpandPlan =
            serde_json::from_value(json!({"kind": "insert", "at": 1, "count": 1})).unwrap();
        session.expand(&plan).unwrap();
        session.freeze(&FreezeSpec { first: 1, embedding: true, ..FreezeSpec::default() }).unwrap();
    });
}

#[test]
fn the_number_of_skipped_updates_is_saved() {
    let spoil = |session: &mut Session<f32>| {
        let batch = batch(&language_model(), 1, 6, None, 1);
        session.forward_backward(&batch, Accuracy::Skip).unwrap();
        session.lend_flat().unwrap()[1][0] = f32::NAN;
        session.return_flat();
        let before = bits(session);
        let report = session.apply().unwrap();
        assert_eq!(
            (report.applied, report.skipped, report.fault.as_deref()),
            (false, 1, Some("embedding.weight"))
        );
        assert_eq!(bits(session), before);
    };
    check(&language_model(), spoil);
}

#[test]
fn saving_with_gradients_that_were_not_applied_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = new(&language_model());
    let batch = batch(&language_model(), 1, 6, None, 1);
    session.forward_backward(&batch, Accuracy::Skip).unwrap();
    let refused = session.save(&folder.path().join(folder_name(0)), json!(null));
    assert!(matches!(refused, Err(Error::Config { .. })));
}

#[test]
fn a_checkpoint_of_another_number_type_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(folder_name(0));
    new(&language_model()).save(&path, json!(null)).unwrap();
    assert!(matches!(Session::<f64>::load(&path, threads(1)), Err(Error::Checkpoint { .. })));
}

/// A state of the largest sizes that a model may have, and a manifest with correct digests: the files do not have them, and
/// that is said before memory is asked for (400 TB, which no process gets).
#[test]
fn sizes_that_the_files_do_not_have_are_refused_before_memory_is_allocated() {
    let error = refused_with(|state| {
        state["model"]["d_model"] = json!(1 << 16);
        state["model"]["n_layers"] = json!(1 << 12);
    });
    assert!(error.contains("65536"), "{error}");
}

/// A checkpoint whose state was changed, and whose digests are right.
fn changed(folder: &Path, change: impl Fn(&mut serde_json::Value)) -> PathBuf {
    let session = new(&language_model());
    let path = session.save(&folder.join("saved"), json!(null)).unwrap();
    let state = path.join("state.json");
    let mut changed: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    change(&mut changed);
    std::fs::write(&state, changed.to_string()).unwrap();
    let mut manifest = CheckpointManifest::new(0);
    for name in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        manifest.add(name, FileRecord::of_file(&path.join(name)).unwrap());
    }
    std::fs::write(path.join("MANIFEST.json"), manifest.to_text()).unwrap();
    path
}

/// What loading says of such a checkpoint.
fn refused_with(change: impl Fn(&mut serde_json::Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    match Session::<f32>::load(&changed(folder.path(), change), threads(1)) {
        Err(error @ Error::Checkpoint { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn counts_of_skipped_updates_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |state| {
        state["skipped"] = json!(5);
        state["skipped_in_a_row"] = json!(2);
    });
    let (session, _) = Session::<f32>::load(&path, threads(1)).unwrap();
    let again = session.save(&folder.path().join("again"), json!(null)).unwrap();
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(again.join("state.json")).unwrap()).unwrap();
    assert_eq!((&state["skipped"], &state["skipped_in_a_row"]), (&json!(5), &json!(2)));
}

#[test]
fn counts_that_no_training_reaches_are_refused() {
    let first = |state: &mut serde_json::Value| {
        let updates = state["updates"].as_object_mut().unwrap();
        *updates.values_mut().next().unwrap() = json!(u64::MAX);
    };
    for error in [refused_with(|state| state["skipped"] = json!(u64::MAX)), refused_with(first)] {
        assert!(error.contains("expected a count of at most 9007199254740992"), "{error}");
    }
}

#[test]
fn a_copy_that_is_saved_later_has_the_bytes_of_a_save_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = new(&language_model());
    update(&mut session, 0..3);
    let extra = json!({"cursor": [1, 2]});
    let at_once = session.save(&folder.path().join("now"), extra.clone()).unwrap();
    let copy = session.copied(extra).unwrap();
    update(&mut session, 3..5);
    let later = copy.save(&folder.path().join("later")).unwrap();
    for file in ["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"] {
        assert!(
            std::fs::read(at_once.join(file)).unwrap() == std::fs::read(later.join(file)).unwrap(),
            "{file}"
        );
    }
}
