//! Configurations in JSON: `[mode] [text]`, where the mode is the type that is read.

use serde_json::Value;
use ssm_hpn::data::{Cursor, Extra, LoaderConfig, WriterConfig};
use ssm_hpn::model::{Model, ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;

use crate::guard::within;
use crate::told;

/// Memory of the table of a large model: its tensors are listed, none is made.
const BASE: usize = 256 << 20;
const PER_BYTE: usize = 128;
const MODELS: [&str; 3] = [
    r#"{"input": {"kind": "tokens", "vocab_size": 256}, "d_model": 64, "n_layers": 2, "block": {"kind": "mamba1", "d_state": 8},
        "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 256}, "dropout": 0.1}"#,
    r#"{"input": {"kind": "features", "n_features": 3}, "d_model": 16, "n_layers": 1, "block": {"kind": "bidirectional", "block": {"kind": "mamba1"}},
        "target": {"kind": "sequence_class", "pooling": "mean"}, "activation_memory": "recompute",
        "head": {"kind": "prototype", "n_classes": 5, "dim": 4, "loss": {"kind": "margin", "smoothing": 0.1}}}"#,
    r#"{"input": {"kind": "hidden"}, "d_model": 8, "layers": [{"kind": "mamba1"}, {"kind": "mlp"}], "target": {"kind": "cotangent"},
        "head": {"kind": "none"}}"#,
];
const OTHERS: [(u8, &str); 7] = [
    (1, r#"{"lr": 0.003, "weight_decay": 0.1, "schedule": {"kind": "cosine", "warmup": 10, "total": 100}}"#),
    (
        2,
        r#"{"path": "data/train", "batch_size": 8, "length": 128, "packing": "pad", "target": "sequence_class"}"#,
    ),
    (
        2,
        r#"{"path": "data/train", "batch_size": 8, "length": 128, "packing": "carried", "shuffle": false, "window": 64}"#,
    ),
    (3, r#"{"kind": "tokens", "vocab_size": 256, "columns": ["tokens", "label"]}"#),
    (4, r#"{"n_classes": 2, "class_names": ["a", "b"], "encoder": {"kind": "bytes"}, "source": null}"#),
    (5, r#"{"epoch": 1, "window": 2, "row": 3, "rows": 4, "batches": 5, "data": 6}"#),
    (1, "{}"),
];

/// Inputs of every mode.
pub fn seeds() -> Vec<Vec<u8>> {
    let models = MODELS.iter().map(|text| (0, *text));
    models.chain(OTHERS).map(|(mode, text)| [&[mode], text.as_bytes()].concat()).collect()
}

/// One execution.
pub fn run(input: &[u8]) {
    let Some((mode, text)) = input.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    within(BASE + PER_BYTE * text.len(), || match mode % 6 {
        0 => {
            let Some(config) = told(ModelConfig::from_json(text)) else { return };
            let written: Value = serde_json::to_value(&config).expect("JSON");
            told(ModelConfig::from_json(&written.to_string())).expect("what was written");
            told(Model::<f32>::new(config, &Registry::standard(), 0));
        }
        1 => drop(told(OptimConfig::from_json(text))),
        2 => drop(told(LoaderConfig::from_json(text))),
        3 => drop(told(WriterConfig::from_json(text))),
        4 => drop(told(Extra::from_json(text))),
        _ => {
            if let Some(cursor) = told(Cursor::from_json(text)) {
                assert_eq!(told(Cursor::from_json(&cursor.to_json())), Some(cursor));
            }
        }
    });
}
