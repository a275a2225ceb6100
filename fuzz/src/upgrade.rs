//! Checkpoints that are upgraded in place: `[mode] [state.json]` beside the tensors of a small session.
//!
//! Mode bit 0: the chain of migrations is one longer than that of this release, so that a state of the present schema is
//! rewritten; otherwise it is that of this release.

use std::cell::OnceCell;
use std::fs;

use serde_json::Value;
use ssm_hpn::checkpoint::{CheckpointManifest, Migration, SCHEMA, upgrade, upgrade_along, verify};
use ssm_hpn::storage::{FileRecord, sha256};

use crate::checkpoint::{NAMES, read_all, session, step};
use crate::guard::within;
use crate::scratch::Scratch;
use crate::told;

const BASE: usize = 64 << 20;
/// Bytes for each byte of the state: its value, that of its migration, and their text.
const PER_BYTE: usize = 256;

/// The state of a checkpoint of the next schema.
fn to_next(mut state: Value) -> Result<Value, String> {
    state["added"] = state["step"].as_u64().ok_or("no step")?.into();
    Ok(state)
}

/// As many migrations as lead to the next schema: those of this release are not known here, and take a state as it is.
fn longer() -> Vec<Migration> {
    let mut chain: Vec<Migration> = vec![|state| Ok(state); SCHEMA as usize - 1];
    chain.push(to_next);
    chain
}

/// Inputs of every mode.
pub fn seeds() -> Vec<Vec<u8>> {
    let [state, ..] = session();
    let text = String::from_utf8(state.clone()).expect("a text");
    let newer = text.replacen("\"schema\": 1", "\"schema\": 2", 1).into_bytes();
    [(0, &state), (1, &state), (0, &newer), (1, &newer)]
        .map(|(mode, state): (u8, &Vec<u8>)| [&[mode], state.as_slice()].concat())
        .into()
}

thread_local! {
    static FILES: OnceCell<(Scratch, [Vec<u8>; 3])> = const { OnceCell::new() };
}

/// One execution.
pub fn run(input: &[u8]) {
    let Some((mode, state)) = input.split_first() else { return };
    FILES.with(|files| {
        let (scratch, parts) = files.get_or_init(|| (Scratch::new(), session()));
        let folder = scratch.path().join("step-00000001");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder");
        let mut manifest = CheckpointManifest::new(step(state));
        for (name, part) in NAMES.iter().zip([state, &parts[1], &parts[2]]) {
            scratch.put(&format!("step-00000001/{name}"), part);
            manifest.add(name, FileRecord { bytes: part.len() as u64, sha256: sha256(part) });
        }
        scratch.put("step-00000001/MANIFEST.json", &manifest.to_text());
        within(BASE + PER_BYTE * state.len(), || {
            if mode & 1 == 0 {
                // This release's own: one of the present schema is left as it is, and read as before.
                if let Some(before) = told(upgrade(&folder)) {
                    assert!((1..=SCHEMA).contains(&before));
                    told(verify(&folder)).expect("what was upgraded");
                }
                read_all(&folder);
                return;
            }
            let before: Option<Value> = serde_json::from_slice(state).ok();
            match told(upgrade_along(&longer(), &folder)) {
                Some(schema) if schema <= SCHEMA => {
                    let after: Value =
                        serde_json::from_slice(&fs::read(folder.join(NAMES[0])).expect("a state"))
                            .expect("JSON");
                    assert_eq!(after["schema"], SCHEMA + 1);
                    assert_eq!(after["added"], before.expect("JSON")["step"]);
                    for (name, part) in NAMES.iter().zip(parts).skip(1) {
                        assert_eq!(fs::read(folder.join(name)).expect("a tensor file"), *part);
                    }
                }
                // Refused, or of the longer chain's newest schema already: not a byte changes.
                _ => assert_eq!(fs::read(folder.join(NAMES[0])).expect("a state"), state),
            }
        });
    });
}
