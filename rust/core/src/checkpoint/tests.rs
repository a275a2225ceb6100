//! Saving and loading, crashes between the steps of a save, retention, locks.

use std::fs;

use serde_json::json;

use super::retention::best;
use super::staging::FolderLock;
use super::*;
use crate::error::Error;
use crate::storage::crash;

/// Numbers of a small model: different for each step.
pub(crate) fn numbers(step: u64) -> Vec<f32> {
    (0..30).map(|i| (i as f32 + 1.0) * 0.1 + step as f32).chain([-0.0, f32::MIN_POSITIVE / 4.0]).collect()
}

pub(crate) fn snapshot(step: u64, numbers: &[f32]) -> Snapshot<'_, f32> {
    fn tensor<'a>(name: &str, data: &'a [f32]) -> Tensor<'a, f32> {
        Tensor { name: name.into(), shape: vec![data.len(), 1], data }
    }
    Snapshot {
        model: vec![tensor("b", &numbers[..12]), tensor("a", &numbers[12..])],
        optimizer: vec![tensor("first.a", &numbers[1..]), tensor("second.a", numbers)],
        state: StateFile {
            schema: SCHEMA,
            step,
            skipped: 2,
            skipped_in_a_row: 1,
            dtype: "float32".into(),
            seed: u64::MAX,
            updates: [("a".to_owned(), step), ("b".to_owned(), 0)].into(),
            trainable: [("a".to_owned(), true), ("b".to_owned(), false)].into(),
            model: json!({"d_model": 8}),
            optim: json!({"lr": 0.1 + 0.2}),
            statistics: String::new(),
            extra: json!({"cursor": {"epoch": 1, "batch": 9_007_199_254_740_993_u64}, "note": "é\n"}),
        },
    }
}

pub(crate) fn save_step(root: &Path, step: u64) -> PathBuf {
    save(&root.join(folder_name(step)), &snapshot(step, &numbers(step))).unwrap()
}

/// Asserts that everything saved at `step` was loaded, bit for bit.
pub(crate) fn assert_is_step(loaded: &Loaded, step: u64) {
    let numbers = numbers(step);
    let saved = snapshot(step, &numbers);
    assert_eq!(loaded.state, saved.state);
    for (file, tensors) in [(&loaded.model, &saved.model), (&loaded.optimizer, &saved.optimizer)] {
        for tensor in tensors {
            let mut read = vec![0.0_f32; tensor.data.len()];
            file.read(&tensor.name, &tensor.shape, Precision::Same, &mut read).unwrap();
            assert!(read.iter().zip(tensor.data).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", tensor.name);
        }
        assert_eq!(file.names().count(), tensors.len());
    }
}

/// Names in a folder, hidden ones included.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_saved_checkpoint_is_loaded_bit_for_bit_by_every_path_to_it() {
    let run = tempfile::tempdir().unwrap();
    let root = run.path().join("checkpoints");
    let folder = save_step(&root, 1000);
    assert_eq!(folder, root.join("step-00001000"));
    assert_eq!(names(&folder), ["MANIFEST.json", "model.safetensors", "optimizer.safetensors", "state.json"]);
    assert_eq!(names(&root), ["latest", "step-00001000"]);
    mark_best(&root, 1000).unwrap();
    for path in [run.path(), &root, &folder, &root.join("latest"), &root.join("best")] {
        assert_is_step(&load(path).unwrap(), 1000);
    }
    let copy = run.path().join("my model");
    save(&copy, &snapshot(7, &numbers(7))).unwrap();
    assert_is_step(&load(&copy).unwrap(), 7);
    assert_eq!(names(run.path()), ["checkpoints", "my model"]);
}

#[test]
fn the_same_snapshot_gives_the_same_bytes_and_replaces_an_older_one() {
    let root = tempfile::tempdir().unwrap();
    let bytes =
        |folder: &Path| names(folder).iter().map(|n| fs::read(folder.join(n)).unwrap()).collect::<Vec<_>>();
    let folder = save_step(root.path(), 5);
    let first = bytes(&folder);
    fs::write(folder.join("state.json"), "damaged").unwrap();
    save_step(root.path(), 5);
    assert_eq!(bytes(&folder), first);
    assert_eq!(names(root.path()), ["latest", "step-00000005"]);
}

#[test]
#[cfg(unix)]
fn mode_bits_follow_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::write(root.path().join("plain"), "").unwrap();
    fs::create_dir(root.path().join("folder")).unwrap();
    let folder = save_step(root.path(), 1);
    assert_eq!(mode(&folder), mode(&root.path().join("folder")));
    for name in names(&folder) {
        assert_eq!(mode(&folder.join(name)), mode(&root.path().join("plain")));
    }
}

/// Runs `change` on a folder made by `before` as often as it has operations on the disk, dying before one more of them
/// each time; `after` looks at what is left. Returns how many there are.
fn die_everywhere<R>(
    before: impl Fn(&Path),
    change: impl Fn(&Path) -> Result<R>,
    after: impl Fn(&Path),
) -> u32 {
    for operations in 0.. {
        let root = tempfile::tempdir().unwrap();
        before(root.path());
        let completed = crash::after(operations, || change(root.path())).is_some();
        after(root.path());
        if completed {
            return operations;
        }
    }
    panic!("the change has an end")
}

/// Asserts that the next save removes everything a crash left.
fn assert_next_save_is_clean(root: &Path, steps: &[u64]) {
    save_step(root, 9);
    assert_is_step(&load(root).unwrap(), 9);
    let found: Vec<_> = list(root).unwrap().into_iter().map(|(step, _)| step).collect();
    assert!(steps.iter().all(|step| found.contains(step)), "{found:?}");
    for (step, folder) in list(root).unwrap() {
        assert_is_step(&load(&folder).unwrap(), step);
    }
    assert!(names(root).iter().all(|name| !name.starts_with('.')), "{:?}", names(root));
}

#[test]
fn a_crash_at_any_operation_of_a_save_loses_nothing_that_was_saved() {
    let save_two = |root: &Path| save(&root.join(folder_name(2)), &snapshot(2, &numbers(2)));
    let operations = die_everywhere(
        |root| drop(save_step(root, 1)),
        save_two,
        |root| {
            let loaded = load(root).unwrap();
            assert!(loaded.passed_over.is_empty(), "{:?}", loaded.passed_over);
            assert_is_step(&loaded, if root.join(folder_name(2)).exists() { 2 } else { 1 });
            load(&root.join("latest")).unwrap();
            assert_next_save_is_clean(root, &[1]);
        },
    );
    assert!(operations >= 15, "only {operations}");
    // The only checkpoint is replaced.
    let again = die_everywhere(
        |root| drop(save_step(root, 2)),
        save_two,
        |root| {
            let loaded = load(root).unwrap();
            assert!(loaded.passed_over.is_empty(), "{:?}", loaded.passed_over);
            assert_is_step(&loaded, 2);
            assert_next_save_is_clean(root, &[2]);
        },
    );
    // One more rename, and the removal of the old folder.
    assert_eq!(again, operations + 2);
}

#[test]
fn a_crash_at_any_operation_of_a_pruning_leaves_whole_checkpoints_only() {
    die_everywhere(
        |root| (1..=4).for_each(|step| drop(save_step(root, step))),
        |root| prune(root, 1, &[]),
        |root| {
            assert!(load(root).unwrap().passed_over.is_empty());
            assert_next_save_is_clean(root, &[3, 4]);
        },
    );
}

#[test]
fn a_save_that_fails_leaves_no_files() {
    let root = tempfile::tempdir().unwrap();
    save_step(root.path(), 1);
    let wrong = [0.0_f32; 3];
    let mut snapshot = snapshot(2, &[0.0; 32]);
    snapshot.optimizer[1].data = &wrong;
    assert!(matches!(save(&root.path().join(folder_name(2)), &snapshot), Err(Error::Shape { .. })));
    assert_eq!(names(root.path()), ["latest", "step-00000001"]);
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = save(&file.join("step-00000001"), &snapshot).unwrap_err();
    assert!(matches!(error, Error::Storage { .. }), "{error}");
}

#[test]
fn hidden_files_of_other_programs_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let foreign = [".notes.partial-7", ".step-00000001.partial-x", ".gitignore", ".step-1.partial-7"];
    for name in foreign {
        fs::write(root.path().join(name), "").unwrap();
    }
    save_step(root.path(), 1);
    let names = names(root.path());
    assert!(foreign.iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");
}

#[test]
fn pruning_keeps_the_newest_the_best_and_the_two_newest_that_verify() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let steps = || list(root).unwrap().into_iter().map(|(step, _)| step).collect::<Vec<_>>();
    (1..=8).for_each(|step| drop(save_step(root, step)));
    mark_best(root, 3).unwrap();
    assert_eq!(prune(root, 3, &[]).unwrap().len(), 4);
    assert_eq!(steps(), [3, 6, 7, 8]);
    assert!(prune(root, 3, &[]).unwrap().is_empty());
    // What the caller spares stays, too.
    save_step(root, 9);
    assert!(prune(root, 1, &[6, 7]).unwrap().is_empty());
    fs::remove_dir_all(root.join(folder_name(9))).unwrap();
    // With the two newest damaged, two older ones are kept although they exceed `keep`.
    for step in [7, 8] {
        fs::write(root.join(folder_name(step)).join("state.json"), "x").unwrap();
    }
    prune(root, 1, &[]).unwrap();
    assert_eq!(steps(), [3, 6, 8]);
    assert_is_step(&load(root).unwrap(), 6);
    save_step(root, 9);
    save_step(root, 10);
    prune(root, 0, &[]).unwrap();
    assert_eq!(steps(), [3, 9, 10]);
    assert_eq!(best(root), Some(3));
    assert!(mark_best(root, 4).is_err());
    // A checkpoint that is not there any more is not the best.
    fs::remove_dir_all(root.join(folder_name(3))).unwrap();
    assert_eq!(best(root), None);
    assert!(names(root).iter().all(|name| !name.starts_with('.')));
}

#[test]
fn savers_of_one_folder_wait_for_each_other() {
    let root = tempfile::tempdir().unwrap();
    let lock = FolderLock::wait(root.path()).unwrap();
    std::thread::scope(|scope| {
        let root = root.path();
        let saves: Vec<_> = (1..=3).map(|step| scope.spawn(move || save_step(root, step))).collect();
        std::thread::sleep(std::time::Duration::from_millis(50));
        if cfg!(unix) {
            assert!(names(root).is_empty());
        }
        drop(lock);
        for save in saves {
            verify(&save.join().unwrap()).unwrap();
        }
    });
    assert_eq!(list(root.path()).unwrap().len(), 3);
}

#[test]
fn a_run_folder_has_one_writer() {
    let run = tempfile::tempdir().unwrap();
    let folder = run.path().join("new").join("run");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(RunLock::FILE), "12345678901234567\n").unwrap(); // of a process that was killed
    let lock = RunLock::acquire(&folder).unwrap();
    let message = RunLock::acquire(&folder).unwrap_err().to_string();
    let owner = format!("in use by process {};", std::process::id());
    assert!(message.contains(&owner) && message.starts_with(&folder.display().to_string()), "{message}");
    drop(lock);
    drop(RunLock::acquire(&folder).unwrap());
}
