//! Growing: new layers between old ones, without changing what the model computes (docs/mathematics.md, 4).
//!
//! A new layer is an ordinary initialised one whose output projections are zero: it adds nothing, its other tensors are not
//! zero, and so it learns. Everything here is a function of (old table, old buffers, plan): parameters, gradients, moments
//! and update counts of old tensors move with them, those of new ones start at zero.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::numeric::Scalar;
use crate::params::{Arena, Group, Slot, Table};

/// Positions of new layers.
///
/// ```
/// use ssm_hpn::model::ExpandPlan;
///
/// let plan = ExpandPlan::from_json(r#"{"kind": "insert", "at": 1, "count": 2, "seed": 5}"#)?;
/// assert_eq!(plan, ExpandPlan::Insert { at: 1, count: 2, seed: 5 });
/// assert_eq!((plan.positions(4)?, plan.seed()), (vec![1, 2], 5)); // where they are among the six
/// assert_eq!(ExpandPlan::Append { count: 1, seed: 0 }.positions(4)?, [4]);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ExpandPlan {
    /// After the last layer.
    Append {
        /// Number of new layers.
        count: usize,
        /// Seed of the new tensors.
        #[serde(default)]
        seed: u64,
    },
    /// Before the first layer.
    Prepend {
        /// Number of new layers.
        count: usize,
        /// Seed of the new tensors.
        #[serde(default)]
        seed: u64,
    },
    /// Before the layer that now has an index.
    Insert {
        /// The index, up to the number of layers.
        at: usize,
        /// Number of new layers.
        count: usize,
        /// Seed of the new tensors.
        #[serde(default)]
        seed: u64,
    },
    /// So that the new layers end up at these indices.
    Final {
        /// Indices in the grown model.
        positions: Vec<usize>,
        /// Seed of the new tensors.
        #[serde(default)]
        seed: u64,
    },
}

/// Most layers that a model may have.
const MOST_LAYERS: usize = 1 << 12;

impl ExpandPlan {
    /// From JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            let advice = "give a kind (append, prepend, insert or final) and its fields";
            Error::config("expand", "where new layers go", e, advice)
        })
    }

    /// Seed of the new tensors.
    pub fn seed(&self) -> u64 {
        match *self {
            Self::Append { seed, .. }
            | Self::Prepend { seed, .. }
            | Self::Insert { seed, .. }
            | Self::Final { seed, .. } => seed,
        }
    }

    /// Indices of the new layers in a model that had `n_layers`, ascending.
    pub fn positions(&self, n_layers: usize) -> Result<Vec<usize>> {
        let run = |at: usize, count: usize| {
            if count == 0 || count > MOST_LAYERS.saturating_sub(n_layers) {
                let expected = format!("1 to {} layers", MOST_LAYERS.saturating_sub(n_layers));
                return Err(Error::config("expand.count", expected, count, "ask for another number"));
            }
            Ok((at..at + count).collect())
        };
        match self {
            Self::Append { count, .. } => run(n_layers, *count),
            Self::Prepend { count, .. } => run(0, *count),
            Self::Insert { at, .. } if *at > n_layers => Err(Error::config(
                "expand.at",
                format!("an index up to {n_layers}"),
                at,
                "layers count from 0; the number of layers appends",
            )),
            Self::Insert { at, count, .. } => run(*at, *count),
            Self::Final { positions, .. } => final_positions(positions, n_layers),
        }
    }
}

fn final_positions(positions: &[usize], n_layers: usize) -> Result<Vec<usize>> {
    let refuse = |found: String| {
        let expected = format!("distinct indices below {}", n_layers + positions.len());
        Err(Error::config("expand.positions", expected, found, "they count from 0 in the grown model"))
    };
    if positions.is_empty() || positions.len() > MOST_LAYERS.saturating_sub(n_layers) {
        return refuse(format!("{} of them", positions.len()));
    }
    let mut sorted = positions.to_vec();
    sorted.sort_unstable();
    if let Some((twice, _)) = sorted.iter().zip(&sorted[1..]).find(|(a, b)| a == b) {
        return refuse(format!("{twice} twice"));
    }
    match sorted.last() {
        Some(&last) if last >= n_layers + positions.len() => refuse(last.to_string()),
        _ => Ok(sorted),
    }
}

/// For every tensor of the new table, the slot of the same tensor in the old one, or `None` if it is new. `positions` as
/// of [`ExpandPlan::positions`].
pub(crate) fn correspondence(old: &Table, new: &Table, positions: &[usize]) -> Result<Vec<Option<Slot>>> {
    let of_entry = |entry: &crate::params::Entry| match entry.group {
        Group::Layer(index) if positions.binary_search(&index).is_ok() => Ok(None),
        Group::Layer(index) => {
            let before = index - positions.partition_point(|p| *p < index);
            let id = entry.id.replacen(&format!("layers.{index}."), &format!("layers.{before}."), 1);
            old_slot(old, &id, entry).map(Some)
        }
        _ => old_slot(old, &entry.id, entry).map(Some),
    };
    new.entries().iter().map(of_entry).collect()
}

fn old_slot(old: &Table, id: &str, new: &crate::params::Entry) -> Result<Slot> {
    let slot = old.slot(id).ok_or_else(|| Error::shape("grown model", format!("a tensor {id}"), "none"))?;
    let shape = &old.entry(slot).spec.shape;
    if *shape != new.spec.shape {
        return Err(Error::shape(id, format!("{shape:?}"), format!("{:?}", new.spec.shape)));
    }
    Ok(slot)
}

/// A buffer in the layout of the new table: old tensors moved, new ones zero; refused where the memory is not there.
pub(crate) fn carry<T: Scalar>(
    old: (&Table, &[T]),
    new: &Table,
    origin: &[Option<Slot>],
) -> Result<Arena<T>> {
    let mut arena = Arena::try_zeros(new.buffer_len(), "the grown model")?;
    for (slot, from) in origin.iter().enumerate() {
        if let Some(from) = from {
            arena.tensor_mut(new, slot).copy_from_slice(&old.1[old.0.entry(*from).range.clone()]);
        }
    }
    Ok(arena)
}

/// One value per tensor, moved likewise; new tensors get `fresh`.
pub(crate) fn carry_each<V: Clone>(old: &[V], origin: &[Option<Slot>], fresh: impl Fn(Slot) -> V) -> Vec<V> {
    origin
        .iter()
        .enumerate()
        .map(|(slot, from)| from.map_or_else(|| fresh(slot), |f| old[f].clone()))
        .collect()
}

/// Fills the new tensors of a grown buffer. `zero(index)` are the ids, relative to the layer, of the tensors that must be
/// zero for layer `index` to add nothing. The old number of layers names the streams of random numbers, so that growing
/// twice with one seed does not repeat a layer.
pub(crate) fn initialise<T: Scalar>(
    params: &mut Arena<T>,
    table: &Table,
    origin: &[Option<Slot>],
    zero: impl Fn(usize) -> Vec<String>,
    seed: u64,
    old_layers: usize,
) {
    for (slot, entry) in table.entries().iter().enumerate().filter(|(slot, _)| origin[*slot].is_none()) {
        let Group::Layer(index) = entry.group else { continue };
        if !zero(index).iter().any(|id| entry.id == format!("layers.{index}.{id}")) {
            let columns = entry.spec.shape.last().copied().unwrap_or(1);
            let name = format!("grown.{old_layers}.{}", entry.id);
            entry.spec.init.fill(params.tensor_mut(table, slot), columns, seed, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Init, ParamSpec};

    fn table(n_layers: usize) -> Table {
        let mut table = Table::new();
        table.declare("", Group::Input, vec![ParamSpec::new("embedding.weight", [5], Init::Ones)]).unwrap();
        for i in 0..n_layers {
            let spec = |id: &str, n: usize| ParamSpec::new(id, [n], Init::Normal { std: 1.0 });
            let specs = vec![spec("a", 3), spec("out", 7)];
            table.declare(&format!("layers.{i}."), Group::Layer(i), specs).unwrap();
        }
        table
    }

    fn parse(text: &str) -> ExpandPlan {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn plans_say_where_the_new_layers_end_up() {
        for (plan, expected) in [
            (r#"{"kind":"append","count":2}"#, vec![3, 4]),
            (r#"{"kind":"prepend","count":2}"#, vec![0, 1]),
            (r#"{"kind":"insert","at":1,"count":1}"#, vec![1]),
            (r#"{"kind":"insert","at":3,"count":1}"#, vec![3]),
            (r#"{"kind":"final","positions":[4,0]}"#, vec![0, 4]),
        ] {
            assert_eq!(parse(plan).positions(3).unwrap(), expected, "{plan}");
        }
        for plan in [
            r#"{"kind":"append","count":0}"#,
            r#"{"kind":"append","count":18446744073709551615}"#,
            r#"{"kind":"insert","at":4,"count":1}"#,
            r#"{"kind":"final","positions":[]}"#,
            r#"{"kind":"final","positions":[1,1]}"#,
            r#"{"kind":"final","positions":[0,5]}"#,
        ] {
            assert!(matches!(parse(plan).positions(3), Err(Error::Config { .. })), "{plan}");
        }
    }

    #[test]
    fn old_tensors_move_with_their_layer_and_new_ones_are_initialised() {
        let (old, new) = (table(2), table(4));
        let mut values = Arena::<f64>::zeros(old.buffer_len());
        for (i, x) in values.as_mut_slice().iter_mut().enumerate() {
            *x = i as f64 + 1.0;
        }
        let origin = correspondence(&old, &new, &[0, 2]).unwrap();
        let mut grown = carry((&old, values.as_slice()), &new, &origin).unwrap();
        let tensor = |arena: &Arena<f64>, table: &Table, id: &str| {
            arena.tensor(table, table.slot(id).unwrap()).to_vec()
        };
        for (now, before) in [("layers.1.a", "layers.0.a"), ("layers.3.out", "layers.1.out")] {
            assert_eq!(tensor(&grown, &new, now), tensor(&values, &old, before), "{now}");
        }
        initialise(&mut grown, &new, &origin, |_| vec!["out".to_owned()], 7, 2);
        assert!(tensor(&grown, &new, "layers.0.a").iter().all(|x| *x != 0.0));
        assert_ne!(tensor(&grown, &new, "layers.0.a"), tensor(&grown, &new, "layers.2.a"));
        assert_eq!(tensor(&grown, &new, "layers.2.out"), [0.0; 7]);
        assert_eq!(tensor(&grown, &new, "layers.1.a"), tensor(&values, &old, "layers.0.a"));
        let counts = carry_each(&[9, 1, 2, 3, 4], &origin, |_| 0);
        assert_eq!(counts, [9, 0, 0, 1, 2, 0, 0, 3, 4]);
    }
}
