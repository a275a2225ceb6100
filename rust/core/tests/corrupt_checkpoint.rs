//! Checkpoints that were cut, altered, exchanged or made by other programs: an error instead of a panic or wrong
//! numbers, and the checkpoint before is loaded. Also the golden folders of every released schema.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use ssm_hpn::Error;
use ssm_hpn::checkpoint::{
    CheckpointManifest, Loaded, Precision, SCHEMA, Snapshot, StateFile, Tensor, TensorFile, folder_name,
    load, save, verify,
};
use ssm_hpn::storage::FileRecord;

const FILES: [&str; 4] = ["MANIFEST.json", "model.safetensors", "optimizer.safetensors", "state.json"];

fn numbers(step: u64) -> Vec<f32> {
    (0..8).map(|i| 0.1 * i as f32 - step as f32).collect()
}

fn snapshot(step: u64, numbers: &[f32]) -> Snapshot<'_, f32> {
    let tensor = |name: &str| Tensor { name: name.into(), shape: vec![2, 4], data: numbers };
    let id = || "norm_f.weight".to_owned();
    Snapshot {
        model: vec![tensor("backbone.norm_f.weight")],
        optimizer: vec![tensor("first.backbone.norm_f.weight"), tensor("second.backbone.norm_f.weight")],
        state: StateFile {
            schema: SCHEMA,
            step,
            skipped: 1,
            skipped_in_a_row: 0,
            dtype: "float32".into(),
            seed: 42,
            updates: [(id(), step)].into(),
            trainable: [(id(), true)].into(),
            model: json!({"d_model": 8, "n_layers": 0}),
            optim: json!({"lr": 3e-3}),
            statistics: String::new(),
            extra: json!({"cursor": {"epoch": 0, "batch": step}, "metrics_offset": 1234}),
        },
    }
}

fn save_step(root: &Path, step: u64) -> PathBuf {
    save(&root.join(folder_name(step)), &snapshot(step, &numbers(step))).unwrap()
}

#[track_caller]
fn assert_is_step(loaded: &Loaded, step: u64) {
    assert_eq!(loaded.state, snapshot(step, &[]).state);
    let mut read = [0.0_f32; 8];
    loaded.model.read("backbone.norm_f.weight", &[2, 4], Precision::Same, &mut read).unwrap();
    assert_eq!(read[..], numbers(step));
}

/// Checkpoints of steps 1 and 2; tests damage the folder of step 2.
struct Run {
    root: tempfile::TempDir,
    newest: PathBuf,
}

impl Run {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        save_step(root.path(), 1);
        let newest = save_step(root.path(), 2);
        Self { root, newest }
    }

    /// Asserts that loading step 2 by its path fails, and that loading the run takes step 1 and reports the same error
    /// for step 2; returns the error's text.
    #[track_caller]
    fn falls_back(&self, what: &str) -> String {
        let error = load(&self.newest).expect_err(what);
        let loaded = load(self.root.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_is_step(&loaded, 1);
        assert_eq!(loaded.passed_over.len(), 1, "{what}: {:?}", loaded.passed_over);
        let reason = loaded.passed_over[0].to_string();
        assert_eq!(reason, error.to_string(), "{what}");
        assert!(reason.contains("step-00000002"), "{what}: {reason}");
        reason
    }

    /// Writes a manifest with the digests of the files as they are now, so that digests do not show the damage.
    fn seal(&self, change: impl Fn(&mut CheckpointManifest)) {
        let mut manifest = CheckpointManifest::new(2);
        for name in &FILES[1..] {
            manifest.add(name, FileRecord::of_file(&self.newest.join(name)).unwrap());
        }
        change(&mut manifest);
        fs::write(self.newest.join(FILES[0]), manifest.to_text()).unwrap();
    }
}

#[test]
fn a_file_cut_at_any_offset_is_refused() {
    let run = Run::new();
    for name in FILES {
        let path = run.newest.join(name);
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            // The last byte of the manifest is a newline that its digest covers.
            let reason = run.falls_back(&format!("{name} cut at {end}"));
            assert!(reason.contains(name), "{reason}");
        }
        fs::write(&path, [&whole[..], b" "].concat()).unwrap();
        run.falls_back(&format!("{name} with a byte behind it"));
        fs::write(&path, whole).unwrap();
    }
    assert_is_step(&load(run.root.path()).unwrap(), 2);
}

#[test]
fn a_bit_flipped_anywhere_is_refused() {
    let run = Run::new();
    for name in FILES {
        let path = run.newest.join(name);
        let mut bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let bit = 1 << (at % 8);
            bytes[at] ^= bit;
            fs::write(&path, &bytes).unwrap();
            run.falls_back(&format!("{name} with bit {bit} of byte {at} flipped"));
            bytes[at] ^= bit;
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn missing_and_exchanged_files_are_refused() {
    for name in FILES {
        let run = Run::new();
        fs::remove_file(run.newest.join(name)).unwrap();
        run.falls_back(&format!("no {name}"));

        let run = Run::new();
        let older = run.root.path().join(folder_name(1)).join(name);
        fs::copy(older, run.newest.join(name)).unwrap();
        run.falls_back(&format!("{name} of step 1"));

        let run = Run::new();
        fs::remove_file(run.newest.join(name)).unwrap();
        fs::create_dir(run.newest.join(name)).unwrap();
        run.falls_back(&format!("{name} as a folder"));
    }
}

#[test]
fn a_folder_under_the_name_of_another_step_is_passed_over_but_loads_by_its_path() {
    let run = Run::new();
    let renamed = run.root.path().join(folder_name(9));
    fs::rename(&run.newest, &renamed).unwrap();
    let loaded = load(run.root.path()).unwrap();
    assert_is_step(&loaded, 1);
    let reason = loaded.passed_over[0].to_string();
    assert!(reason.contains("expected step-00000002, found step-00000009"), "{reason}");
    assert_is_step(&load(&renamed).unwrap(), 2);
}

#[test]
fn without_a_checkpoint_that_verifies_the_error_lists_every_reason() {
    let run = Run::new();
    fs::remove_file(run.newest.join("state.json")).unwrap();
    fs::write(run.root.path().join(folder_name(1)).join("model.safetensors"), "x").unwrap();
    let error = load(run.root.path()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("state.json") && message.contains("model.safetensors"), "{message}");
    assert_eq!(error.exit_code(), 4);
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("model.pt"), "x").unwrap();
    for path in [empty.path().to_path_buf(), empty.path().join("absent"), empty.path().join("model.pt")] {
        assert_eq!(load(&path).unwrap_err().exit_code(), 4, "{}", path.display());
    }
    for text in ["", "../elsewhere", "step-1", "\u{0}", "step-00000007"] {
        fs::write(empty.path().join("latest"), text).unwrap();
        assert_eq!(load(&empty.path().join("latest")).unwrap_err().exit_code(), 4, "{text}");
    }
}

#[test]
fn a_newer_schema_is_refused_with_advice_and_not_passed_over() {
    let by_manifest = Run::new();
    by_manifest.seal(|manifest| manifest.schema = SCHEMA + 1);
    let by_state = Run::new();
    let path = by_state.newest.join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state["schema"] = json!(SCHEMA + 1);
    fs::write(&path, state.to_string()).unwrap();
    by_state.seal(|_| ());
    for run in [by_manifest, by_state] {
        for path in [run.newest.as_path(), run.root.path()] {
            let message = load(path).unwrap_err().to_string();
            assert!(message.contains("found 2") && message.contains("upgrade ssm-hpn"), "{message}");
        }
        // An older one, named explicitly, still loads.
        assert_is_step(&load(&run.root.path().join(folder_name(1))).unwrap(), 1);
    }
}

#[test]
fn invalid_state_files_are_refused_even_with_a_correct_digest() {
    let good: Value = serde_json::from_slice(&snapshot(2, &[]).state.to_text()).unwrap();
    let mut cases = vec![
        String::new(),
        "null".into(),
        "[]".into(),
        "[".repeat(100_000),
        "\u{0}".into(),
        good.to_string().replace("\"skipped\":1", "\"skipped\":-1"),
        good.to_string().replace("\"step\":2", "\"step\":1"),
        good.to_string().replace("\"schema\":1", "\"schema\":0"),
    ];
    for key in good.as_object().unwrap().keys() {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(key);
        cases.push(without.to_string());
    }
    let mut unknown = good.clone();
    unknown["surprise"] = json!(1);
    cases.push(unknown.to_string());
    let run = Run::new();
    for text in cases {
        fs::write(run.newest.join("state.json"), &text).unwrap();
        run.seal(|_| ());
        verify(&run.newest).unwrap();
        let reason = run.falls_back(&text.chars().take(60).collect::<String>());
        assert!(reason.contains("state.json"), "{reason}");
    }
}

#[test]
fn invalid_manifests_are_refused_even_with_a_correct_digest() {
    type Change = fn(&mut CheckpointManifest);
    let cases: [(&str, Change); 7] = [
        ("a file less", |m| drop(m.files.remove("model.safetensors"))),
        ("a path out of the folder", |m| {
            let record = m.files["state.json"].clone();
            m.add("../step-00000001/state.json", record);
        }),
        ("a file that is not there", |m| m.add("more", FileRecord { bytes: 0, sha256: String::new() })),
        ("a name longer than systems take", |m| {
            m.add(&"a".repeat(256), FileRecord { bytes: 0, sha256: String::new() });
        }),
        ("a name that no system takes", |m| m.add("a\0b", FileRecord { bytes: 0, sha256: String::new() })),
        ("another step", |m| m.step = 3),
        ("an invalid size", |m| {
            m.add("model.safetensors", FileRecord { bytes: u64::MAX, sha256: String::new() });
        }),
    ];
    let run = Run::new();
    for (what, change) in cases {
        run.seal(change);
        let reason = run.falls_back(what);
        assert_eq!(
            reason.contains("plain file names"),
            what.contains("path") || what.contains("name "),
            "{reason}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_read_as_a_tensor_file_or_refused(
        header in prop_oneof![
            ".{0,80}",
            r#"\{"a":\{"dtype":"(F32|BOOL|F4|C64)","shape":\[[0-9]{0,20}(,[0-9]{1,3})?\],"data_offsets":\[[0-9]{1,3},[0-9]{1,20}\]\}\}"#,
        ],
        length in prop::option::of(any::<u64>()),
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let mut bytes = length.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&data);
        fs::write(&path, bytes).unwrap();
        match TensorFile::open(&path) {
            Ok(file) => for name in file.names() {
                let shape = file.shape(name).unwrap();
                if file.check::<f64>(name, shape, Precision::Convert).is_ok() {
                    let mut out = vec![0.0; shape.iter().product()];
                    file.read(name, shape, Precision::Convert, &mut out).unwrap();
                }
            },
            Err(error) => prop_assert!(matches!(error, Error::Checkpoint { .. }), "{error}"),
        }
    }
}

fn golden(schema: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/checkpoint-v{schema}"))
}

#[test]
fn the_golden_folder_of_every_schema_loads() {
    for schema in 1..=SCHEMA {
        let loaded = load(&golden(schema)).unwrap();
        assert_is_step(&loaded, 3);
        for moment in ["first", "second"] {
            let (name, mut read) = (format!("{moment}.backbone.norm_f.weight"), [0.0_f32; 8]);
            loaded.optimizer.read(&name, &[2, 4], Precision::Same, &mut read).unwrap();
            assert_eq!(read[..], numbers(3));
        }
    }
}

/// After a change of the schema, `SSM_HPN_WRITE_GOLDEN=1 cargo test --test corrupt_checkpoint` writes the golden folder
/// of the new one; existing folders are never overwritten.
#[test]
fn a_saved_checkpoint_equals_the_golden_folder_of_its_schema_byte_for_byte() {
    if std::env::var_os("SSM_HPN_WRITE_GOLDEN").is_some() && !golden(SCHEMA).exists() {
        save_step(&golden(SCHEMA), 3);
    }
    let root = tempfile::tempdir().unwrap();
    let folder = save_step(root.path(), 3);
    for name in FILES {
        let expected = fs::read(golden(SCHEMA).join(folder_name(3)).join(name)).unwrap();
        assert!(fs::read(folder.join(name)).unwrap() == expected, "{name} changed: that needs a new schema");
    }
}
