//! Runs files of a corpus once, without mutations: for coverage, and to look at what was found.
//!
//! `replay TARGET FILE|FOLDER …` runs them; with `--errors` before TARGET every error is printed.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::{env, fs};

use ssm_hpn_fuzz::{SHOW_ERRORS, TARGETS};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let errors = arguments.first().is_some_and(|first| first == "--errors");
    SHOW_ERRORS.store(errors, Ordering::Relaxed);
    let [name, places @ ..] = &arguments[usize::from(errors)..] else { panic!("no target is named") };
    let (_, run, _) = TARGETS.iter().find(|(target, ..)| target == name).expect("a target of that name");
    for place in places.iter().map(Path::new) {
        let mut files = vec![place.to_path_buf()];
        if place.is_dir() {
            let entries = fs::read_dir(place).expect("the folder");
            files = entries.map(|entry| entry.expect("a file").path()).collect();
            files.sort();
        }
        for file in files {
            run(&fs::read(&file).expect("the file"));
        }
    }
}
