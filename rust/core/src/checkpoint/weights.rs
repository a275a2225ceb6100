//! The tensors of a parameter table in files: our own, which hold exactly the table, and public ones.
//!
//! Public files of the Mamba family differ in small ways, all accepted: other spellings of a name (the caller's function
//! leads each to its id), F16 and BF16, filters of shape `[I, 1, K]` or `[I, K]`, and a tied `lm_head.weight` that is left
//! out or written as a second copy of the embedding.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use super::files::{FetchedTensor, Precision, Tensor, TensorFile};
use super::schema::MODEL_FILE;
use crate::allocate::try_filled;
use crate::error::{Error, Result};
use crate::numeric::Scalar;
use crate::params::{Arena, Entry, Slot, Table};

const EMBEDDING: &str = "embedding.weight";
const OUTPUT: &str = "lm_head.weight";

/// The part of the model that a file must hold.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::checkpoint::Scope;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let root = tempfile::tempdir().expect("a folder");
/// let folder = session.save(&root.path().join("step-00000000"), serde_json::json!({}))?;
/// // The answer is the tensors that were not read: here none, or the head.
/// assert!(session.load_weights(&folder, Scope::Whole)?.is_empty());
/// assert_eq!(session.load_weights(&folder, Scope::Backbone)?, ["lm_head.weight"]);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every tensor, and no other.
    Whole,
    /// Embedding, layers and final norm; the rest stays as it is, what else the file holds is not read.
    Backbone,
}

/// The tensors of a buffer, each under `prefix` and the name that `name` gives it.
pub(crate) fn tensors<'a, T: Scalar>(
    table: &Table,
    prefix: &str,
    arena: &'a Arena<T>,
    name: impl Fn(&Entry) -> String,
) -> Vec<Tensor<'a, T>> {
    let tensor = |(slot, entry): (Slot, &Entry)| Tensor {
        name: format!("{prefix}{}", name(entry)),
        shape: entry.spec.shape.clone(),
        data: arena.tensor(table, slot),
    };
    table.entries().iter().enumerate().map(tensor).collect()
}

/// The tensors of a buffer that is not here, each of which `fetch` gets by its range in the buffer.
pub(crate) fn fetched<'a, T: Scalar>(
    table: &'a Table,
    prefix: &str,
    name: impl Fn(&Entry) -> String,
    fetch: impl Fn(Range<usize>, &mut [T]) -> Result<()> + Copy + 'a,
) -> Vec<FetchedTensor<'a, T>> {
    let tensor = |entry: &'a Entry| {
        let at = entry.range.start;
        let fetch = move |part: Range<usize>, out: &mut [T]| fetch(at + part.start..at + part.end, out);
        let (name, shape) = (format!("{prefix}{}", name(entry)), entry.spec.shape.clone());
        FetchedTensor { name, shape, fetch: Box::new(fetch) }
    };
    table.entries().iter().map(tensor).collect()
}

/// Checks that one of our own files has the [`tensors`] of a buffer under each of the prefixes, and no other but those with
/// the prefix `beside`, which the caller checks. This needs no memory for the buffers.
pub(crate) fn check<T: Scalar>(
    file: &TensorFile,
    table: &Table,
    name: impl Fn(&Entry) -> String,
    prefixes: &[&str],
    beside: Option<&str>,
) -> Result<()> {
    let mut expected = BTreeSet::new();
    for prefix in prefixes {
        for entry in table.entries() {
            let name = format!("{prefix}{}", name(entry));
            file.check::<T>(&name, &entry.spec.shape, Precision::Same)?;
            expected.insert(name);
        }
    }
    file.check_names(|name| expected.contains(name) || beside.is_some_and(|prefix| name.starts_with(prefix)))
}

/// Fills buffers from one of our own files, bit for bit: it must have the [`tensors`] of each buffer, under its prefix,
/// and no other but those with the prefix `beside`. Everything is checked before anything is read.
pub(crate) fn restore<T: Scalar>(
    file: &TensorFile,
    table: &Table,
    name: impl Fn(&Entry) -> String,
    arenas: &mut [(&str, &mut Arena<T>)],
    beside: Option<&str>,
) -> Result<()> {
    let prefixes: Vec<&str> = arenas.iter().map(|(prefix, _)| *prefix).collect();
    check::<T>(file, table, &name, &prefixes, beside)?;
    for (prefix, arena) in arenas {
        for (slot, entry) in table.entries().iter().enumerate() {
            let name = format!("{prefix}{}", name(entry));
            file.read(&name, &entry.spec.shape, Precision::Same, arena.tensor_mut(table, slot))?;
        }
    }
    Ok(())
}

/// Fills a buffer from a public file, or from the `model.safetensors` of a folder. `id_of` leads the names in the file to
/// ids of the table. Returns the ids that were not in the file ([`Scope::Backbone`]). Nothing is changed on an error
/// found in the header.
pub(crate) fn read_weights<T: Scalar>(
    path: &Path,
    table: &Table,
    arena: &mut Arena<T>,
    id_of: impl for<'n> Fn(&'n str) -> Cow<'n, str>,
    scope: Scope,
) -> Result<Vec<String>> {
    let path = if path.is_dir() { path.join(MODEL_FILE) } else { path.to_path_buf() };
    let file = TensorFile::open(&path)?;
    let mut names = BTreeMap::new();
    for name in file.names() {
        if let Some(other) = names.insert(id_of(name).into_owned(), name) {
            let at = format!("tensor {name}");
            let found = format!("{other} as well");
            return Err(Error::checkpoint(
                &path,
                at,
                "one name for each tensor",
                found,
                "remove one of them",
            ));
        }
    }
    // A tied output map that was left out is the embedding.
    if let (false, Some(&embedding)) = (names.contains_key(OUTPUT), names.get(EMBEDDING)) {
        names.insert(OUTPUT.into(), embedding);
    }
    let wanted = |entry: &Entry| match scope {
        Scope::Whole => true,
        Scope::Backbone => ["embedding.", "layers.", "norm_f."].iter().any(|part| entry.id.starts_with(part)),
    };
    let entries = table.entries().iter().enumerate();
    let (wanted, missing): (Vec<_>, Vec<_>) = entries.partition(|(_, entry)| wanted(entry));
    let name_of = |id: &str| names.get(id).map_or_else(|| id.to_owned(), |name| (*name).to_owned());
    for (_, entry) in &wanted {
        file.check::<T>(&name_of(&entry.id), &entry.spec.shape, Precision::Convert)?;
    }
    if scope == Scope::Whole {
        file.check_names(|name| {
            let id = id_of(name);
            table.slot(&id).is_some() || id == OUTPUT && is_copy(&file, name, &names)
        })?;
    }
    for (slot, entry) in wanted {
        file.read(&name_of(&entry.id), &entry.spec.shape, Precision::Convert, arena.tensor_mut(table, slot))?;
    }
    Ok(missing.into_iter().map(|(_, entry)| entry.id.clone()).collect())
}

/// Whether a tensor of the file equals the file's embedding.
fn is_copy(file: &TensorFile, name: &str, names: &BTreeMap<String, &str>) -> bool {
    let numbers = |name: &str| {
        let shape = file.shape(name)?.to_vec();
        let mut numbers = try_filled(0.0_f64, &shape, "a copy of the embedding").ok()?;
        file.read(name, &shape, Precision::Convert, &mut numbers).ok()?;
        Some((shape, numbers))
    };
    names.get(EMBEDDING).is_some_and(|embedding| numbers(name).is_some_and(|x| numbers(embedding) == Some(x)))
}

#[cfg(test)]
mod tests {
    use super::super::files::write_tensors;
    use super::*;
    use crate::params::{Group, Init, ParamSpec};

    const SHAPES: [(&str, &[usize]); 4] = [
        (EMBEDDING, &[5, 2]),
        ("layers.0.mixer.conv1d.weight", &[3, 1, 4]),
        ("norm_f.weight", &[2]),
        (OUTPUT, &[5, 2]),
    ];

    fn table(ids: &[&str]) -> Table {
        let mut table = Table::new();
        for (id, shape) in SHAPES.into_iter().filter(|(id, _)| ids.contains(id)) {
            let spec = ParamSpec::new(id, shape, Init::Zeros);
            table.declare("", Group::Input, vec![spec]).unwrap();
        }
        table
    }

    fn whole() -> Table {
        table(&SHAPES.map(|(id, _)| id))
    }

    fn id_of(name: &str) -> Cow<'_, str> {
        match name.strip_prefix("backbone.") {
            Some("embeddings.weight") => EMBEDDING.into(),
            Some(id) => id.into(),
            None => name.into(),
        }
    }

    /// Name, shape and first number of a tensor whose numbers count up.
    type Counting<'a> = (&'a str, &'a [usize], f32);

    fn file(folder: &Path, tensors: &[Counting]) -> std::path::PathBuf {
        let data: Vec<Vec<f32>> = tensors
            .iter()
            .map(|(_, shape, first)| (0..shape.iter().product()).map(|i: usize| first + i as f32).collect())
            .collect();
        let tensors: Vec<_> = tensors
            .iter()
            .zip(&data)
            .map(|((name, shape, _), data)| Tensor { name: (*name).into(), shape: shape.to_vec(), data })
            .collect();
        let path = folder.join(MODEL_FILE);
        write_tensors(&path, &tensors).unwrap();
        path
    }

    #[test]
    fn both_spellings_of_the_embedding_are_read_and_a_tied_output_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["backbone.embedding.weight", "backbone.embeddings.weight"] {
            file(
                folder.path(),
                &[
                    (name, &[5, 2], 10.0),
                    ("backbone.layers.0.mixer.conv1d.weight", &[3, 4], 30.0),
                    ("backbone.norm_f.weight", &[2], 50.0),
                ],
            );
            let table = whole();
            let mut arena = Arena::<f64>::zeros(table.buffer_len());
            let missing = read_weights(folder.path(), &table, &mut arena, id_of, Scope::Whole).unwrap();
            assert!(missing.is_empty());
            assert_eq!(arena.tensor(&table, 0)[..3], [10.0, 11.0, 12.0]);
            assert_eq!(arena.tensor(&table, 1)[11], 41.0);
            assert_eq!(arena.tensor(&table, 2), [50.0, 51.0]);
            assert_eq!(arena.tensor(&table, 3), arena.tensor(&table, 0));
        }
    }

    #[test]
    fn a_tied_output_map_may_be_stored_as_a_copy_of_the_embedding() {
        let folder = tempfile::tempdir().unwrap();
        let table = table(&[EMBEDDING]);
        for (first, fits) in [(10.0, true), (11.0, false)] {
            let path = file(
                folder.path(),
                &[("backbone.embedding.weight", &[5, 2], 10.0), (OUTPUT, &[5, 2], first)],
            );
            let mut arena = Arena::<f32>::zeros(table.buffer_len());
            let read = read_weights(&path, &table, &mut arena, id_of, Scope::Whole);
            assert_eq!(read.is_ok(), fits, "{read:?}");
        }
    }

    #[test]
    fn loading_the_backbone_keeps_the_head_and_returns_its_ids() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), &[("backbone.embedding.weight", &[5, 2], 10.0), ("lm_head.bias", &[7], 0.0)]);
        let table = table(&[EMBEDDING, OUTPUT]);
        let mut arena = Arena::<f32>::zeros(table.buffer_len());
        let missing = read_weights(folder.path(), &table, &mut arena, id_of, Scope::Backbone).unwrap();
        assert_eq!(missing, [OUTPUT]);
        assert_eq!((arena.tensor(&table, 0)[0], arena.tensor(&table, 1)[0]), (10.0, 0.0));
    }

    #[test]
    fn a_tensor_that_does_not_fit_is_named_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let norm: Counting = ("backbone.norm_f.weight", &[2], 1.0);
        let conv: Counting = ("backbone.layers.0.mixer.conv1d.weight", &[3, 4], 1.0);
        let embedding: Counting = ("backbone.embedding.weight", &[5, 2], 1.0);
        let cases: [(&[Counting], &str); 4] = [
            (&[norm, embedding], "tensor layers.0.mixer.conv1d.weight: expected a tensor of that name"),
            (
                &[norm, conv, ("embedding.weight", &[2, 5], 1.0)],
                "tensor embedding.weight: expected shape [5, 2], found [2, 5]",
            ),
            (&[norm, conv, embedding, ("backbone.layers.1.x", &[1], 1.0)], "tensor backbone.layers.1.x"),
            (
                &[norm, conv, embedding, ("backbone.embeddings.weight", &[5, 2], 1.0)],
                "found backbone.embedding.weight as well",
            ),
        ];
        for (tensors, part) in cases {
            let path = file(folder.path(), tensors);
            let table = whole();
            let mut arena = Arena::<f32>::zeros(table.buffer_len());
            let message =
                read_weights(&path, &table, &mut arena, id_of, Scope::Whole).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
            assert!(arena.as_slice().iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn own_files_must_hold_every_tensor_of_the_buffers_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (path, table) = (folder.path().join(MODEL_FILE), whole());
        let mut arenas = [Arena::<f32>::zeros(table.buffer_len()), Arena::zeros(table.buffer_len())];
        for (k, arena) in arenas.iter_mut().enumerate() {
            for slot in 0..SHAPES.len() {
                arena.tensor_mut(&table, slot).fill(0.1 + (10 * k + slot) as f32);
            }
        }
        let name = |entry: &Entry| format!("backbone.{}", entry.id);
        let [first, second] = &arenas;
        let mut both = tensors(&table, "first.", first, name);
        both.extend(tensors(&table, "second.", second, name));
        write_tensors(&path, &both).unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert!(file.contains("second.backbone.norm_f.weight"));
        let [mut a, mut b] = [Arena::<f32>::zeros(table.buffer_len()), Arena::zeros(table.buffer_len())];
        restore(&file, &table, name, &mut [("first.", &mut a), ("second.", &mut b)], None).unwrap();
        assert_eq!((a.as_slice(), b.as_slice()), (first.as_slice(), second.as_slice()));
        // A file of two buffers is refused for one, and a file of f32 for a buffer of f64.
        let message = restore(&file, &table, name, &mut [("first.", &mut a)], None).unwrap_err().to_string();
        assert!(message.contains("tensor second.backbone."), "{message}");
        let mut wide = Arena::<f64>::zeros(table.buffer_len());
        assert!(restore(&file, &table, name, &mut [("first.", &mut wide)], None).is_err());
    }
}
