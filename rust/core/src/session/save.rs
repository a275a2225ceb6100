//! Saving and loading a session, so that training continues to the same bits.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::statistics::Statistics;
use super::training::{LargestCosine, Session};
use crate::checkpoint::{self, Precision, Snapshot, StateFile, Tensor, TensorFile, weights};
use crate::error::{Error, Result};
use crate::head::{self, HeadConfig};
use crate::model::names::{id_of, public_name};
use crate::model::{Model, ModelConfig, Registry, States};
use crate::numeric::Scalar;
use crate::optim::{Counters, OptimConfig};
use crate::parallel::Threads;
use crate::params::{Arena, Entry, Table};

/// Prefixes of the moments in the optimiser's file.
const MOMENTS: [&str; 2] = ["first.", "second."];
/// Prefix of the states of layers that the next batch goes on from, `[numbers]` as the block orders them, in the same file.
const CARRIED: &str = "carried.";
/// Most updates that a checkpoint counts: whole numbers up to it are exact in any reader of JSON.
const MOST_UPDATES: u64 = 1 << 53;

/// The configuration of a model whose projection onto prototypes has this many rows. Where the settings leave the dimension
/// open it is what an earlier version chose, which another one may choose differently.
fn with_prototype_dim(mut model: ModelConfig, rows: usize) -> ModelConfig {
    let Ok(HeadConfig::Prototype(prototypes)) = model.head.tagged("model.head") else { return model };
    let differs = prototypes.plan(model.d_model).is_ok_and(|plan| plan.dim != rows);
    if prototypes.dim.is_none() && differs {
        model.head.settings.insert("dim".to_owned(), rows.into());
    }
    model
}

/// The states in a file that the next batch goes on from, checked before memory is asked for; `None` where it has none.
fn carried<T: Scalar>(file: &TensorFile, model: &Model<T>) -> Result<Option<States<T>>> {
    if !file.names().any(|name| name.starts_with(CARRIED)) {
        return Ok(None);
    }
    // Layers without a state, such as a layer of positions alone, have no tensor.
    let with_state = States::widths(model)?.enumerate().filter(|(_, width)| *width > 0);
    let layers: Vec<(String, usize, usize)> =
        with_state.map(|(layer, width)| (format!("{CARRIED}{layer}"), layer, width)).collect();
    let rows = layers.first().map_or(0, |(name, _, width)| {
        file.shape(name).and_then(<[usize]>::first).map_or(0, |len| len / width)
    });
    for (name, _, width) in &layers {
        file.check::<T>(name, &[rows.saturating_mul(*width)], Precision::Same)?;
    }
    file.check_names(|found| !found.starts_with(CARRIED) || layers.iter().any(|(name, ..)| found == name))?;
    let mut states = States::zeros(model, rows)?;
    for (name, layer, width) in layers {
        file.read(&name, &[rows * width], Precision::Same, states.layer_mut(layer))?;
    }
    Ok(Some(states))
}

/// Refuses counts that no training reaches.
fn check_counts(folder: &Path, state: &StateFile) -> Result<()> {
    let of_tensors = state.updates.iter().map(|(name, count)| (name.as_str(), *count));
    for (at, count) in [("step", state.step), ("skipped", state.skipped)].into_iter().chain(of_tensors) {
        if count > MOST_UPDATES {
            let (at, expected) = (format!("state.json, {at}"), format!("a count of at most {MOST_UPDATES}"));
            return Err(Error::checkpoint(folder, at, expected, count, "load another checkpoint of the run"));
        }
    }
    Ok(())
}

fn name(entry: &Entry) -> String {
    public_name(&entry.id)
}

fn contents<'a, T: Scalar>(
    table: &Table,
    params: &'a Arena<T>,
    [first, second]: [&'a Arena<T>; 2],
    carried: Option<&'a States<T>>,
    state: StateFile,
) -> Snapshot<'a, T> {
    let mut optimizer = weights::tensors(table, MOMENTS[0], first, name);
    optimizer.extend(weights::tensors(table, MOMENTS[1], second, name));
    let states = carried.into_iter().flat_map(States::layers).enumerate();
    optimizer.extend(states.filter(|(_, data)| !data.is_empty()).map(|(layer, data)| Tensor {
        name: format!("{CARRIED}{layer}"),
        shape: vec![data.len()],
        data,
    }));
    Snapshot { model: weights::tensors(table, "", params, name), optimizer, state }
}

/// The parameters, moments and state of a session at one moment.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let root = tempfile::tempdir().expect("a folder");
/// # let root = root.path();
/// let copy = session.copied(serde_json::json!({"epoch": 3}))?;
/// session.set_parameter("norm_f.weight", &[8], &[2.0; 8])?; // training goes on
/// copy.save(&root.join("step-00000000"))?;
/// let (saved, extra) = Session::<f32>::load(root, Threads::new(Some(1))?)?;
/// assert_eq!(saved.parameter("norm_f.weight")?.1, [1.0; 8]);
/// assert_eq!(extra["epoch"], 3);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Debug)]
pub struct SessionCopy<T: Scalar> {
    table: Table,
    params: Arena<T>,
    moments: [Arena<T>; 2],
    carried: Option<States<T>>,
    state: StateFile,
}

impl<T: Scalar> SessionCopy<T> {
    /// Saves to a folder, whole or not at all: the bytes that [`Session::save`] would have written.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let [first, second] = &self.moments;
        checkpoint::save(
            folder,
            &contents(&self.table, &self.params, [first, second], self.carried.as_ref(), self.state.clone()),
        )
    }
}

/// A session from the disk.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::model::Registry;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let root = tempfile::tempdir().expect("a folder");
/// # let root = root.path();
/// session.save(&root.join("step-00000000"), serde_json::json!({"epoch": 3}))?;
/// // Going on with a lower learning rate.
/// let optim = OptimConfig { lr: 1e-4, ..OptimConfig::default() };
/// let restored = Session::<f32>::restore(root, Some(optim), Threads::new(Some(1))?, &Registry::standard())?;
/// assert_eq!(restored.session.next_lr(), 1e-4);
/// assert_eq!(restored.extra["epoch"], 3);
/// assert!(restored.passed_over.is_empty()); // no newer checkpoint was damaged
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Debug)]
pub struct Restored<T: Scalar> {
    /// The session, as it was saved.
    pub session: Session<T>,
    /// The `extra` that was given to [`Session::save`].
    pub extra: Value,
    /// Why newer checkpoints were passed over.
    pub passed_over: Vec<Error>,
}

/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::checkpoint::Scope;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::model::Registry;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let root = tempfile::tempdir().expect("a folder");
/// # let root = root.path();
/// session.save(&root.join("step-00000000"), serde_json::json!({}))?;
/// // With stems, blocks and heads of one's own in the registry.
/// let registry = Registry::standard();
/// let (again, _) = Session::<f32>::load_with_registry(root, Threads::new(Some(1))?, &registry)?;
/// assert_eq!(again.digest()?, session.digest()?);
///
/// // Under other settings of the optimiser.
/// let optim = OptimConfig { lr: 1e-4, ..OptimConfig::default() };
/// let restored = Session::<f32>::restore(root, Some(optim), Threads::new(Some(1))?, &registry)?;
/// assert_eq!(restored.session.next_lr(), 1e-4);
///
/// // The weights alone, into another model of this shape.
/// let config = session.model().config().clone();
/// let mut other = Session::<f32>::new(config, OptimConfig::default(), 1, Threads::new(Some(1))?)?;
/// assert_ne!(other.digest()?, session.digest()?);
/// other.load_weights(&root.join("step-00000000"), Scope::Whole)?;
/// assert_eq!(other.digest()?, session.digest()?);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
impl<T: Scalar> Session<T> {
    /// Saves to a folder, whole or not at all; `extra` is what the caller needs to go on. Refused while gradients wait
    /// for an update: they are not part of a checkpoint. Where ranks share the training all call it at once, and rank 0
    /// writes.
    pub fn save(&self, folder: &Path, extra: Value) -> Result<PathBuf> {
        self.check_free("save")?;
        self.check_no_gradients("save")?;
        let (table, state) = (self.model.table(), self.state(extra));
        let Some(exchange) = self.exchange.as_deref() else {
            let (moments, carried) = (self.optimizer.moments(), self.carried.as_ref());
            return checkpoint::save(folder, &contents(table, &self.params, moments, carried, state));
        };
        let moments = self.optimizer.of_ranks(exchange);
        if exchange.rank() > 0 {
            // The others answer rank 0 until it has written all, and fail where it does.
            let failed =
                || Error::storage(folder, "save", std::io::Error::other("rank 0 could not write it"));
            return moments.answer()?.then(|| folder.to_owned()).ok_or_else(failed);
        }
        let mut optimizer = Vec::new();
        for (moment, prefix) in MOMENTS.into_iter().enumerate() {
            let of_ranks = &moments;
            let fetch = move |range: Range<usize>, out: &mut [T]| of_ranks.fetch(moment, range, out);
            optimizer.extend(weights::fetched(table, prefix, name, fetch));
        }
        let model = weights::tensors(table, "", &self.params, name);
        let written = checkpoint::save_fetched(folder, &model, &optimizer, &state);
        let ended = moments.end(written.is_ok());
        written.and_then(|folder| ended.map(|()| folder))
    }

    /// A copy of what [`Session::save`] writes, to be written while training goes on: three times the parameters, and
    /// the states that are carried on.
    pub fn copied(&self, extra: Value) -> Result<SessionCopy<T>> {
        self.check_alone("save in the background")?;
        self.check_free("save")?;
        self.check_no_gradients("save")?;
        let copy = |arena: &Arena<T>| {
            let mut copy = Arena::try_zeros(arena.as_slice().len(), "a copy of the parameters")?;
            copy.as_mut_slice().copy_from_slice(arena.as_slice());
            Ok(copy)
        };
        let [first, second] = self.optimizer.moments();
        Ok(SessionCopy {
            table: self.model.table().clone(),
            params: copy(&self.params)?,
            moments: [copy(first)?, copy(second)?],
            carried: self.carried.as_ref().map(States::try_clone).transpose()?,
            state: self.state(extra),
        })
    }

    fn state(&self, extra: Value) -> StateFile {
        let counters = self.optimizer.counters();
        let updates = self.by_name(|slot| self.optimizer.updates()[slot]);
        StateFile {
            schema: checkpoint::SCHEMA,
            step: counters.applied,
            skipped: counters.skipped,
            skipped_in_a_row: counters.skipped_in_a_row,
            dtype: T::DTYPE.to_owned(),
            seed: self.seed,
            updates,
            trainable: self.by_name(|slot| self.masks.trainable[slot]),
            model: serde_json::json!(self.model.config()),
            optim: serde_json::json!(self.optimizer.config()),
            statistics: self.statistics.to_text(),
            extra,
        }
    }

    fn by_name<V>(&self, value: impl Fn(usize) -> V) -> BTreeMap<String, V> {
        let entries = self.model.table().entries().iter().enumerate();
        entries.map(|(slot, entry)| (public_name(&entry.id), value(slot))).collect()
    }

    /// Loads what [`Session::save`] wrote; also from a folder of checkpoints, of which the newest that verifies is
    /// taken. Returns the caller's extra.
    pub fn load(path: &Path, threads: Threads) -> Result<(Self, Value)> {
        Self::load_with_registry(path, threads, &Registry::standard())
    }

    /// As [`Session::load`], with the block and head kinds of a registry.
    pub fn load_with_registry(
        path: &Path,
        threads: Threads,
        registry: &Registry<T>,
    ) -> Result<(Self, Value)> {
        Self::restore(path, None, threads, registry).map(|restored| (restored.session, restored.extra))
    }

    /// As [`Session::load_with_registry`], and says which checkpoints were passed over. With `optim` training goes on
    /// under other settings of the optimiser: moments and counts stay.
    pub fn restore(
        path: &Path,
        optim: Option<OptimConfig>,
        threads: Threads,
        registry: &Registry<T>,
    ) -> Result<Restored<T>> {
        let loaded = checkpoint::load(path)?;
        let state = loaded.state;
        if let Some(kind) = checkpoint::arrays::kind_of(&state) {
            let (expected, found) = ("a trained backbone", format!("a model of kind {kind}"));
            let advice = "load it by the class that trained it";
            return Err(Error::checkpoint(&loaded.folder, "model", expected, found, advice));
        }
        check_counts(&loaded.folder, &state)?;
        let damaged = |at: &str, e: String| {
            let advice = "was it written by a newer version, or edited?";
            Error::checkpoint(&loaded.folder, format!("state.json, {at}"), "valid settings", e, advice)
        };
        let model: ModelConfig =
            serde_json::from_value(state.model).map_err(|e| damaged("model", e.to_string()))?;
        let model = match loaded.model.shape(head::PROJECTION) {
            Some([rows, _]) => with_prototype_dim(model, *rows),
            _ => model,
        };
        let optim = match optim {
            Some(optim) => optim,
            None => serde_json::from_value(state.optim).map_err(|e| damaged("optim", e.to_string()))?,
        };
        // The files are compared with the table of the model before memory is asked for, and no parameter is initialised
        // that is read from a file after.
        let model = Model::new(model, registry, state.seed)?;
        weights::check::<T>(&loaded.model, model.table(), name, &[""], None)?;
        weights::check::<T>(&loaded.optimizer, model.table(), name, &MOMENTS, Some(CARRIED))?;
        let carried = carried(&loaded.optimizer, &model)?;
        let params = Arena::try_zeros(model.table().buffer_len(), "the parameters")?;
        let mut session = Self::assembled(model, params, optim, state.seed, threads)?;
        let table = session.model.table();
        weights::restore(&loaded.model, table, name, &mut [("", &mut session.params)], None)?;
        let [first, second] = session.optimizer.moments_mut();
        let moments = &mut [(MOMENTS[0], first), (MOMENTS[1], second)];
        weights::restore(&loaded.optimizer, table, name, moments, Some(CARRIED))?;
        let missing = |name: &String| damaged(name, "nothing about this tensor".to_owned());
        let names: Vec<String> = table.entries().iter().map(name).collect();
        let updates = names.iter().map(|name| state.updates.get(name).copied().ok_or_else(|| missing(name)));
        let updates = updates.collect::<Result<_>>()?;
        for (slot, name) in names.iter().enumerate() {
            let trainable = state.trainable.get(name).ok_or_else(|| missing(name))?;
            session.masks.trainable[slot] &= *trainable;
        }
        let counters = Counters {
            applied: state.step,
            skipped: state.skipped,
            skipped_in_a_row: state.skipped_in_a_row,
        };
        let len = session.model.head().statistics(state.step);
        let text = "statistics of the head";
        session.statistics = Statistics::from_text(&state.statistics, len)
            .ok_or_else(|| damaged(text, format!("other than {len} numbers")))?;
        session.carried = carried;
        session.optimizer.restore_counts(counters, updates)?;
        session.optimizer.set_masks(session.model.table(), &session.masks);
        Ok(Restored { session, extra: state.extra, passed_over: loaded.passed_over })
    }

    /// Takes weights from a public safetensors file, or from a folder with one; moments and counts stay. Returns the ids
    /// that the file did not have. On an error found in the file's header nothing has changed.
    pub fn load_weights(&mut self, path: &Path, scope: weights::Scope) -> Result<Vec<String>> {
        self.check_free("load weights")?;
        self.cosine = LargestCosine::Changed;
        let missing = weights::read_weights(path, self.model.table(), &mut self.params, id_of, scope)?;
        // Gradients of the former weights do not apply to these, and neither does what the head has gathered.
        self.zero_grad()?;
        self.carried = None;
        self.statistics = Statistics::zeros(self.model.head().statistics(self.step()))?;
        Ok(missing)
    }

    /// SHA-256 of all parameters with their names, in hexadecimal: equal if and only if every bit is.
    pub fn digest(&self) -> Result<String> {
        self.check_free("read the parameters")?;
        let mut hash = Sha256::new();
        for tensor in weights::tensors(self.model.table(), "", &self.params, name) {
            hash.update(tensor.name.as_bytes());
            hash.update([0]);
            for x in tensor.data {
                hash.update(x.to_f64().to_le_bytes());
            }
        }
        Ok(hex::encode(hash.finalize()))
    }
}
