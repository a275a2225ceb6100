//! Checkpoints whose settings leave a choice open, made when another one was the default.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{CLASSES, WIDTH, batch, config, session, threads};
use serde_json::{Value, json};
use ssm_hpn::checkpoint::{self, Snapshot, StateFile, Tensor, folder_name};
use ssm_hpn::session::Session;

#[test]
fn a_prototype_head_keeps_the_dimension_that_its_weights_have() {
    let target = json!({"kind": "sequence_class", "pooling": "mean"});
    let head = json!({"kind": "prototype", "n_classes": CLASSES, "dim": WIDTH, "loss": {"kind": "cosine"}});
    let config = config("features", target, head);
    let session: Session<f32> = session(&config);
    let root = tempfile::tempdir().unwrap();
    let saved = session.save(&root.path().join(folder_name(0)), json!({"note": 1})).unwrap();

    // The same checkpoint with `dim` left open.
    let text = std::fs::read_to_string(saved.join("state.json")).unwrap();
    let mut state: StateFile = serde_json::from_str(&text).unwrap();
    assert_eq!(state.model["head"]["dim"], WIDTH);
    state.model["head"]["dim"] = Value::Null;
    let table = session.parameter_table();
    let zeros: Vec<Vec<f32>> = table.iter().map(|row| vec![0.0; row.shape.iter().product()]).collect();
    let tensor = |prefix: &str, i: usize, data| Tensor {
        name: format!("{prefix}{}", table[i].name),
        shape: table[i].shape.clone(),
        data,
    };
    let rows = 0..table.len();
    let model = rows.clone().map(|i| tensor("", i, session.parameter(&table[i].id).unwrap().1)).collect();
    let moments = ["first.", "second."];
    let optimizer =
        moments.iter().flat_map(|of| rows.clone().map(|i| tensor(of, i, &zeros[i][..]))).collect();
    let older = root.path().join("older").join(folder_name(0));
    std::fs::create_dir(root.path().join("older")).unwrap();
    checkpoint::save(&older, &Snapshot { model, optimizer, state }).unwrap();

    let (loaded, extra) = Session::<f32>::load(&older, threads(1)).unwrap();
    assert_eq!((loaded.digest().unwrap(), &extra["note"]), (session.digest().unwrap(), &json!(1)));
    assert_eq!(loaded.model().config().head.settings["dim"], WIDTH);
    let data = batch(&config, 3, 7, None, 1);
    assert_eq!(loaded.predict(&data).unwrap(), session.predict(&data).unwrap());
}
