//! Loading weights from a file into a session: nothing but the weights, and all of them or none.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::Path;

use crate::common::{CLASSES, batch, bits, config, disturb, language_model, session};
use serde_json::json;
use ssm_hpn::Error;
use ssm_hpn::checkpoint::Scope;
use ssm_hpn::checkpoint::folder_name;
use ssm_hpn::head::Accuracy;
use ssm_hpn::session::Session;

/// The language model with random numbers added to its parameters, and the folder it was saved to.
fn saved(root: &Path) -> (Session<f32>, std::path::PathBuf) {
    let mut session = session::<f32>(&language_model());
    disturb(&mut session, 0.1);
    let folder = root.join(folder_name(0));
    session.save(&folder, json!(null)).unwrap();
    (session, folder)
}

/// Computes gradients without an update.
fn compute_gradients(session: &mut Session<f32>) {
    let data = batch(&session.model().config().clone(), 2, 9, None, 1);
    session.forward_backward(&data, Accuracy::Skip).unwrap();
}

#[test]
fn weights_of_a_folder_replace_all_parameters_and_keep_the_optimiser_state() {
    let root = tempfile::tempdir().unwrap();
    let (source, folder) = saved(root.path());
    for path in [folder.clone(), folder.join("model.safetensors")] {
        let mut session = session::<f32>(&language_model());
        compute_gradients(&mut session);
        session.apply().unwrap();
        compute_gradients(&mut session);
        let missing = session.load_weights(&path, Scope::Whole).unwrap();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(session.digest().unwrap(), source.digest().unwrap());
        assert_eq!(session.step(), 1);
        // Gradients of the old weights are discarded.
        assert!(session.apply().is_err() && session.flat_gradients().iter().all(|&g| g == 0.0));
    }
}

#[test]
fn loading_the_backbone_keeps_another_head() {
    let root = tempfile::tempdir().unwrap();
    let (source, folder) = saved(root.path());
    let head = json!({"kind": "prototype", "n_classes": CLASSES});
    let mut session = session::<f32>(&config("tokens", json!({"kind": "next_token"}), head));
    let rows = session.parameter_table();
    let before: Vec<Vec<f32>> =
        rows.iter().map(|row| session.parameter(&row.id).unwrap().1.to_vec()).collect();
    let missing = session.load_weights(&folder, Scope::Backbone).unwrap();
    let of_the_head: Vec<_> = rows.iter().filter(|row| row.group == "head").map(|row| &row.id).collect();
    assert!(of_the_head.len() > 1 && missing.iter().eq(of_the_head), "{missing:?}");
    for (row, before) in rows.iter().zip(&before) {
        let expected = if row.group == "head" { before } else { source.parameter(&row.id).unwrap().1 };
        assert_eq!(session.parameter(&row.id).unwrap().1, expected, "{}", row.id);
    }
}

#[test]
fn a_file_that_does_not_fit_changes_nothing_and_lent_buffers_refuse_the_call() {
    let root = tempfile::tempdir().unwrap();
    let (_, folder) = saved(root.path());
    let head = json!({"kind": "prototype", "n_classes": CLASSES});
    let mut session = session::<f32>(&config("tokens", json!({"kind": "next_token"}), head));
    compute_gradients(&mut session);
    let (before, gradients) = (bits(&session), session.flat_gradients().to_vec());
    let refused = session.load_weights(&folder, Scope::Whole).unwrap_err();
    assert!(matches!(&refused, Error::Checkpoint { .. }), "{refused}");
    assert_eq!((bits(&session), session.flat_gradients()), (before, &gradients[..]));
    session.lend_flat().unwrap();
    assert!(matches!(session.load_weights(&folder, Scope::Backbone), Err(Error::Borrowed { .. })));
    session.return_flat();
    assert!(session.apply().unwrap().applied, "the gradients are still there");
}
