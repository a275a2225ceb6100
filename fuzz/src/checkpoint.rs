//! Checkpoints: `[mode] [state.json] MARK [model.safetensors] MARK [optimizer.safetensors]`, signed as they are.
//!
//! Mode bit 0: what stands for a part that is missing, a checkpoint of arrays or one of a session. Bit 1: the manifest is
//! that of the whole checkpoint instead of one of the parts as they are. Bit 2: it is one of a session whose next batch goes
//! on from states, whatever bit 0 is.

use std::cell::OnceCell;
use std::path::Path;

use serde_json::json;
use ssm_hpn::Threads;
use ssm_hpn::checkpoint::{
    CheckpointManifest, NamedArray, Numbers, Precision, TensorFile, load, load_arrays, save_arrays,
};
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ModelConfig, Registry};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::storage::{FileRecord, sha256};
use ssm_hpn::target::Target;

use crate::guard::within;
use crate::scratch::Scratch;
use crate::told;

pub(crate) const NAMES: [&str; 3] = ["state.json", "model.safetensors", "optimizer.safetensors"];
const MARK: &[u8] = b"\n=\0=\n";
/// Memory whatever the sizes of the files are: a table of the tensors of a large model, and the smallest session.
const BASE: usize = 64 << 20;
const PER_BYTE: usize = 128;
const MODEL: &str = r#"{"input": {"kind": "tokens", "vocab_size": 3}, "d_model": 2, "n_layers": 1,
    "block": {"kind": "mamba1", "d_state": 1, "d_conv": 2, "expand": 1, "dt_rank": 1}, "target": {"kind": "next_token"},
    "head": {"kind": "linear", "n_outputs": 3}}"#;

fn files_of(save: impl FnOnce(&Path)) -> [Vec<u8>; 3] {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("step-00000001");
    save(&folder);
    NAMES.map(|name| std::fs::read(folder.join(name)).expect("a file"))
}

/// The files of a checkpoint of arrays.
pub(crate) fn arrays() -> [Vec<u8>; 3] {
    let array =
        |name: &str, shape: &[usize], numbers| NamedArray { name: name.into(), shape: shape.into(), numbers };
    let arrays = [
        array("empty", &[0, 4], Numbers::F64(vec![])),
        array("narrow", &[3, 1], Numbers::F32(vec![0.1, -0.0, 1.0])),
        array("scalar", &[], Numbers::F64(vec![0.5])),
        array("whole", &[2], Numbers::I64(vec![i64::MIN, 7])),
    ];
    files_of(|folder| {
        drop(save_arrays(folder, 1, "features", &arrays, json!({"a": [1, null]})).expect("saved"))
    })
}

fn new_session() -> Session<f32> {
    let model = ModelConfig::from_json(MODEL).expect("a model");
    let threads = Threads::new(Some(1)).expect("threads");
    Session::new(model, OptimConfig::default(), 0, threads).expect("a session")
}

/// The files of a session of the smallest model there is.
pub(crate) fn session() -> [Vec<u8>; 3] {
    files_of(|folder| drop(new_session().save(folder, json!({"cursor": null})).expect("saved")))
}

/// The same after an update on two rows that the next batch goes on from: tensors `carried.LAYER`.
fn carried() -> [Vec<u8>; 3] {
    let mut session = new_session();
    let batch = Batch::whole(2, 2, Input::Tokens(vec![0, 1, 2, 0]), Target::token_class(vec![1, 2, 0, 1]));
    session.forward_backward_carried(&batch, Accuracy::Skip).expect("gradients");
    session.apply().expect("an update");
    files_of(|folder| {
        let extra = json!({"cursor": {"epoch": 0, "window": 0, "row": 2}, "config": {"data": {"packing": "carried"}}});
        drop(session.save(folder, extra).expect("saved"));
    })
}

fn sets() -> [[Vec<u8>; 3]; 3] {
    [arrays(), session(), carried()]
}

/// The set of a mode.
fn index(mode: u8) -> usize {
    if mode & 4 == 0 { usize::from(mode & 1) } else { 2 }
}

/// Inputs of every mode.
pub fn seeds() -> Vec<Vec<u8>> {
    let sets = sets();
    let modes = [0, 1, 2, 3, 4, 6_u8];
    modes.into_iter().map(|mode| [&[mode], sets[index(mode)].join(MARK).as_slice()].concat()).collect()
}

/// Loads a folder by every way there is. All of them agree.
pub(crate) fn read_all(folder: &Path) {
    let Some(loaded) = told(load(folder)) else {
        assert!(load_arrays(folder, "features").is_err());
        return;
    };
    for file in [&loaded.model, &loaded.optimizer] {
        tensors(file);
    }
    told(load_arrays(folder, "features"));
    thread_local! {
        static THREADS: Threads = Threads::new(Some(1)).expect("threads");
    }
    let registry = Registry::standard();
    if let Some(restored) = told(Session::<f32>::restore(folder, None, THREADS.with(Clone::clone), &registry))
    {
        assert_eq!(restored.session.step(), loaded.state.step);
        told(restored.session.digest());
        if let Some(states) = restored.session.carried() {
            assert!(states.rows() > 0 && states.layers().flatten().count() > 0);
        }
    }
}

fn tensors(file: &TensorFile) {
    for name in file.names() {
        let shape = file.shape(name).expect("a shape");
        if told(file.check::<f64>(name, shape, Precision::Convert)).is_some() {
            let mut numbers = vec![0.0; shape.iter().product()];
            told(file.read(name, shape, Precision::Convert, &mut numbers))
                .expect("a tensor that was checked");
        }
    }
}

struct Files {
    scratch: Scratch,
    sets: [[Vec<u8>; 3]; 3],
}

fn parts(mut bytes: &[u8]) -> [Option<&[u8]>; 3] {
    let mut parts = [None; 3];
    for part in &mut parts[..2] {
        let Some(end) = bytes.windows(MARK.len()).position(|w| w == MARK) else { break };
        *part = Some(&bytes[..end]);
        bytes = &bytes[end + MARK.len()..];
    }
    *parts.iter_mut().find(|part| part.is_none()).expect("the last one") = Some(bytes);
    parts
}

thread_local! {
    static FILES: OnceCell<Files> = const { OnceCell::new() };
}

/// One execution.
pub fn run(input: &[u8]) {
    let Some((mode, bytes)) = input.split_first() else { return };
    FILES.with(|files| {
        let files = files.get_or_init(|| Files { scratch: Scratch::new(), sets: sets() });
        let whole = &files.sets[index(*mode)];
        let mut manifest = CheckpointManifest::new(step(parts(bytes)[0].unwrap_or(&whole[0])));
        for (i, name) in NAMES.iter().enumerate() {
            let part = parts(bytes)[i].unwrap_or(&whole[i]);
            files.scratch.put(name, part);
            let signed = if mode & 2 == 0 { part } else { &whole[i] };
            manifest.add(name, FileRecord { bytes: signed.len() as u64, sha256: sha256(signed) });
        }
        files.scratch.put("MANIFEST.json", &manifest.to_text());
        within(BASE + PER_BYTE * bytes.len(), || read_all(files.scratch.path()));
    });
}

/// The step that a state file names, so that the manifest does not contradict it.
pub(crate) fn step(state: &[u8]) -> u64 {
    let key = b"\"step\":";
    let Some(at) = state.windows(key.len()).position(|w| w == key) else { return 1 };
    let digits =
        state[at + key.len()..].iter().skip_while(|&&b| b == b' ').take_while(|b| b.is_ascii_digit());
    digits.fold(0_u64, |step, &digit| step.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}
