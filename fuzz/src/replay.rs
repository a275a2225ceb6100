//! Runs files of a corpus once, without mutations: for coverage, and to look at what was found.
//!
//! `replay TARGET FILE|FOLDER …` runs them, with `--errors` before it and prints every error; `replay --seeds TARGET FOLDER` writes the seeds of a target.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::{env, fs};

use ssm_hpn_fuzz::{SHOW_ERRORS, TARGETS};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let seeds = arguments.first().is_some_and(|first| first == "--seeds");
    let errors = arguments.first().is_some_and(|first| first == "--errors");
    SHOW_ERRORS.store(errors, Ordering::Relaxed);
    let [name, places @ ..] = &arguments[usize::from(seeds || errors)..] else {
        panic!("no target is named")
    };
    let (_, run, seeds_of) =
        TARGETS.iter().find(|(target, ..)| target == name).expect("a target of that name");
    if seeds {
        let folder = Path::new(&places[0]);
        fs::create_dir_all(folder).expect("the folder");
        for (i, seed) in seeds_of().iter().enumerate() {
            fs::write(folder.join(format!("seed-{i:02}")), seed).expect("written");
        }
        return;
    }
    for place in places.iter().map(Path::new) {
        let mut files = vec![place.to_path_buf()];
        if place.is_dir() {
            files =
                fs::read_dir(place).expect("the folder").map(|entry| entry.expect("a file").path()).collect();
            files.sort();
        }
        for file in files {
            run(&fs::read(&file).expect("the file"));
        }
    }
}
