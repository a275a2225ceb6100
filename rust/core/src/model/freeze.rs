//! Freezing: which tensors are no longer trained (docs/mathematics.md, 4).
//!
//! No gradient of a frozen tensor is computed, it has no decay and no update, and keeps its bits. A specification
//! replaces the one before: what it does not name is trained again.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::names::{matches, public_name};
use crate::error::{Error, Result};
use crate::params::{Entry, Group, Slot, Table, TensorMasks};

/// The tensors to freeze.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::model::FreezeSpec;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// let spec = FreezeSpec::from_json(r#"{"first": 1, "patterns": ["*norm_f*"]}"#)?;
/// let frozen = session.freeze(&spec)?;
/// assert!(frozen.iter().all(|id| id.starts_with("layers.0.") || id == "norm_f.weight"));
/// assert!(session.freeze(&FreezeSpec::default())?.is_empty()); // trains everything again
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreezeSpec {
    /// Freeze nothing, explicitly: no other field may be set beside it.
    pub none: bool,
    /// The first layers, as many.
    pub first: usize,
    /// Layers by index.
    pub layers: Vec<usize>,
    /// The embedding, or the map of the input features.
    pub embedding: bool,
    /// The head.
    pub head: bool,
    /// Tensors whose id or public name matches; `*` stands for any text.
    pub patterns: Vec<String>,
}

impl FreezeSpec {
    /// From JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            let advice = "use first, layers, embedding, head, patterns or none";
            Error::config("freeze", "what to freeze", e, advice)
        })
    }

    fn names(&self, entry: &Entry) -> bool {
        let by_part = match entry.group {
            Group::Input => self.embedding,
            Group::Layer(index) => index < self.first || self.layers.contains(&index),
            Group::FinalNorm => false,
            Group::Head => self.head,
        };
        by_part || self.patterns.iter().any(|pattern| pattern_names(pattern, entry))
    }

    fn check(&self, table: &Table) -> Result<()> {
        if self.none && *self != (Self { none: true, ..Self::default() }) {
            return Err(Error::config(
                "freeze.none",
                "false beside other fields",
                "true",
                "drop one of them",
            ));
        }
        let n_layers = layer_count(table);
        if self.first > n_layers {
            return Err(Error::config(
                "freeze.first",
                format!("at most {n_layers} layers"),
                self.first,
                "the model has no more",
            ));
        }
        if let Some(index) = self.layers.iter().find(|index| **index >= n_layers) {
            return Err(Error::config(
                "freeze.layers",
                format!("indices below {n_layers}"),
                index,
                "layers count from 0",
            ));
        }
        let idle = |pattern: &&String| !table.entries().iter().any(|e| pattern_names(pattern, e));
        if let Some(pattern) = self.patterns.iter().find(idle) {
            return Err(Error::config(
                "freeze.patterns",
                "patterns that match a tensor",
                format!("{pattern:?}, which matches none"),
                "a * stands for any text; names are those of the parameter table",
            ));
        }
        Ok(())
    }
}

fn pattern_names(pattern: &str, entry: &Entry) -> bool {
    matches(pattern, &entry.id) || matches(pattern, &public_name(&entry.id))
}

fn layer_count(table: &Table) -> usize {
    let index = |e: &Entry| if let Group::Layer(index) = e.group { index + 1 } else { 0 };
    table.entries().iter().map(index).max().unwrap_or(0)
}

/// The masks with what the specification names frozen; `head` are the tensors that the head uses. Fails if it names what
/// does not exist, and if a frozen head would go on to change with a tensor that it shares.
pub(crate) fn freeze(table: &Table, head: &[Slot], spec: &FreezeSpec) -> Result<TensorMasks> {
    spec.check(table)?;
    let mut frozen = TensorMasks::declared(table);
    frozen.freeze(table, |entry| spec.names(entry));
    if spec.head {
        let refuse = |found: String, advice: &str| {
            Err(Error::config("freeze.head", "a head with tensors of its own", found, advice))
        };
        if head.is_empty() {
            return refuse("one without any".to_owned(), "leave it out");
        }
        if let Some(slot) = head.iter().find(|slot| frozen.trainable[**slot]) {
            let found = format!("one tied to {}, which is still trained", table.entry(*slot).id);
            return refuse(
                found,
                "freeze the embedding too, or give the head a weight of its own (tied = false)",
            );
        }
    }
    Ok(frozen)
}

/// Ids of the tensors that would be trained but for freezing.
pub(crate) fn frozen_ids(table: &Table, masks: &TensorMasks) -> Vec<String> {
    let frozen = |(entry, trainable): &(&Entry, &bool)| entry.spec.trained && !**trainable;
    table.entries().iter().zip(&masks.trainable).filter(frozen).map(|(e, _)| e.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Init, ParamSpec};

    fn table() -> Table {
        let mut table = Table::new();
        let spec = |id: &str| ParamSpec::new(id, [2], Init::Zeros);
        table.declare("", Group::Input, vec![spec("embedding.weight")]).unwrap();
        for i in 0..3 {
            let specs = vec![spec("norm.weight"), spec("mixer.A_log")];
            table.declare(&format!("layers.{i}."), Group::Layer(i), specs).unwrap();
        }
        table.declare("", Group::FinalNorm, vec![spec("norm_f.weight")]).unwrap();
        table
            .declare("", Group::Head, vec![spec("lm_head.weight"), spec("head.prototypes").fixed()])
            .unwrap();
        table
    }

    fn frozen(spec: &str) -> Result<Vec<String>> {
        let table = table();
        let spec: FreezeSpec = serde_json::from_str(spec).unwrap();
        Ok(frozen_ids(&table, &freeze(&table, &head_slots(&table), &spec)?))
    }

    fn head_slots(table: &Table) -> Vec<Slot> {
        (0..table.entries().len()).filter(|slot| table.entry(*slot).group == Group::Head).collect()
    }

    #[test]
    fn freezing_a_head_tied_to_a_trained_tensor_is_refused() {
        let table = table();
        let head = FreezeSpec { head: true, ..FreezeSpec::default() };
        let tied = [table.slot("embedding.weight").unwrap()];
        let message = freeze(&table, &tied, &head).unwrap_err().to_string();
        assert!(
            message.starts_with("freeze.head: ") && message.contains("tied to embedding.weight"),
            "{message}"
        );
        let both = FreezeSpec { embedding: true, ..head.clone() };
        assert!(
            frozen_ids(&table, &freeze(&table, &tied, &both).unwrap())
                .contains(&"embedding.weight".to_owned())
        );
        assert!(freeze(&table, &[], &head).unwrap_err().to_string().contains("one without any"));
    }

    #[test]
    fn each_field_of_a_specification_freezes_its_tensors() {
        assert_eq!(frozen("{}").unwrap(), [""; 0]);
        assert_eq!(
            frozen(r#"{"first":1,"layers":[2]}"#).unwrap(),
            ["layers.0.norm.weight", "layers.0.mixer.A_log", "layers.2.norm.weight", "layers.2.mixer.A_log"]
        );
        assert_eq!(
            frozen(r#"{"embedding":true,"head":true}"#).unwrap(),
            ["embedding.weight", "lm_head.weight"]
        );
        assert_eq!(
            frozen(r#"{"patterns":["backbone.layers.1.*","norm_f*"]}"#).unwrap(),
            ["layers.1.norm.weight", "layers.1.mixer.A_log", "norm_f.weight"]
        );
    }

    #[test]
    fn tensors_declared_fixed_are_never_trained() {
        let table = table();
        let masks = freeze(&table, &[], &FreezeSpec { none: true, ..FreezeSpec::default() }).unwrap();
        assert_eq!(masks, TensorMasks::declared(&table));
        assert!(!masks.trainable[table.slot("head.prototypes").unwrap()]);
    }

    #[test]
    fn layers_and_patterns_that_match_nothing_are_refused() {
        for spec in [
            r#"{"first":4}"#,
            r#"{"layers":[3]}"#,
            r#"{"patterns":["layers.9.*"]}"#,
            r#"{"none":true,"head":true}"#,
        ] {
            assert!(matches!(frozen(spec), Err(Error::Config { .. })), "{spec}");
        }
        assert!(serde_json::from_str::<FreezeSpec>(r#"{"layer":[1]}"#).is_err());
    }
}
