//! What the fuzz targets do with an input, and the seeds that they start from.
//!
//! An input is one byte, the mode, and what files are made of. Most modes sign the files as this package would: their sizes
//! and digests are those of the mutated bytes, so that what lies behind the digests is reached. A finding is a panic that
//! leaves the core, a sum that overflows, memory beyond a bound that follows from the size of the input, a run of more than
//! ten seconds, an error of more than one line, or a file that is read in two ways.

pub mod checkpoint;
pub mod config;
mod guard;
pub mod manifest;
mod scratch;
pub mod shard;
pub mod upgrade;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fs, process};

use ssm_hpn::{Error, Result};

/// Whether errors are printed, to see how far an input comes.
pub static SHOW_ERRORS: AtomicBool = AtomicBool::new(false);

/// A target by its name: what it does with an input, and its seeds.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets.
pub const TARGETS: [Target; 5] = [
    ("manifest", manifest::run, manifest::seeds),
    ("shard", shard::run, shard::seeds),
    ("checkpoint", checkpoint::run, checkpoint::seeds),
    ("config", config::run, config::seeds),
    ("upgrade", upgrade::run, upgrade::seeds),
];

/// Writes the seeds of a target to the folder that the variable `SEEDS` names, and ends the process; without it nothing.
pub fn write_seeds(target: &str) {
    let Some(folder) = env::var_os("SEEDS") else { return };
    let (.., seeds) = TARGETS.iter().find(|(name, ..)| *name == target).expect("a target of that name");
    fs::create_dir_all(&folder).expect("the folder");
    for (i, seed) in seeds().iter().enumerate() {
        fs::write(Path::new(&folder).join(format!("seed-{i:02}")), seed).expect("written");
    }
    process::exit(0);
}

/// The value of a result. An error is one line that names a place and says what to do.
fn told<R>(result: Result<R>) -> Option<R> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let text = error.to_string();
            if SHOW_ERRORS.load(Ordering::Relaxed) {
                println!("{text}");
            }
            assert!(!text.contains('\n'), "more than one line: {text:?}");
            assert!(!matches!(error, Error::Storage { .. }), "{text}");
            None
        }
    }
}
