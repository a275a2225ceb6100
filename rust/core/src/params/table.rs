//! The table of parameters: id, shape, group, decay, initialiser and place of every tensor.
//!
//! One list generates everything else: places in the buffers, names in checkpoints, decay and trainable masks. Ids are
//! stable (`layers.3.mixer.A_log`); the order in the buffer is private.

use std::collections::BTreeMap;
use std::ops::Range;

use super::init::Init;
use crate::error::{Error, Result};

/// Elements between the starts of two tensors are a multiple of this: 64 bytes of f32.
pub(crate) const ALIGNMENT: usize = 16;

/// Most elements of a buffer: some multiples of it in bytes are still addresses.
const MOST_ELEMENTS: usize = isize::MAX as usize >> 8;

/// Which part of the model a tensor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Embedding or input map.
    Input,
    /// Layer of that index: norm and mixer.
    Layer(usize),
    /// The norm after the last layer.
    FinalNorm,
    /// The head.
    Head,
}

/// One tensor as a block or head declares it.
///
/// ```
/// use ssm_hpn::params::{Init, ParamSpec};
///
/// let weight = ParamSpec::new("weight", [4, 8], Init::Zeros);
/// assert!(weight.decay && weight.trained && !weight.is_empty());
/// assert_eq!((weight.len(), weight.clone().under("forward").id), (32, "forward.weight".to_owned()));
///
/// let bias = ParamSpec::new("bias", [4], Init::Zeros).no_decay();
/// let prototypes = ParamSpec::new("head.prototypes", [3, 8], Init::Normal { std: 1.0 }).fixed();
/// assert!(!bias.decay && bias.trained && !prototypes.trained);
///
/// // An output map that is the embedding.
/// let tied = ParamSpec::shared("embedding.weight", [256, 8]);
/// assert_eq!(tied.under("part").id, "embedding.weight");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Id, relative to the component that declares it: `in_proj.weight`.
    pub id: String,
    /// Shape, slowest axis first.
    pub shape: Vec<usize>,
    /// Whether weight decay applies (never to A_log, D, biases, norms, embeddings, prototypes).
    pub decay: bool,
    /// Whether it is ever trained: prototypes that are fixed are not.
    pub trained: bool,
    /// Distribution of its first values.
    pub init: Init,
    /// True if the id is absolute and the tensor is declared by another component (a tied weight).
    pub shared: bool,
}

impl ParamSpec {
    /// A trained tensor with decay.
    pub fn new(id: impl Into<String>, shape: impl Into<Vec<usize>>, init: Init) -> Self {
        Self { id: id.into(), shape: shape.into(), decay: true, trained: true, init, shared: false }
    }

    /// The same without weight decay.
    #[must_use]
    pub fn no_decay(self) -> Self {
        Self { decay: false, ..self }
    }

    /// The same, never trained.
    #[must_use]
    pub fn fixed(self) -> Self {
        Self { decay: false, trained: false, ..self }
    }

    /// A tensor of another component, by its absolute id: both gradients add.
    pub fn shared(id: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { shared: true, ..Self::new(id, shape, Init::Zeros) }
    }

    /// The tensor of a part, under the part's name; a tensor of another component keeps its absolute id.
    #[must_use]
    pub fn under(self, part: &str) -> Self {
        if self.shared { self } else { Self { id: format!("{part}.{}", self.id), ..self } }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor placed in the buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Absolute id.
    pub id: String,
    /// Declaration, with `id` as above.
    pub spec: ParamSpec,
    /// Part of the model.
    pub group: Group,
    /// Elements of the buffer.
    pub range: Range<usize>,
}

/// Index of an entry in its table.
pub type Slot = usize;

/// All tensors of a model, in the order of their declaration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    entries: Vec<Entry>,
    by_id: BTreeMap<String, Slot>,
    len: usize,
}

impl Table {
    /// An empty table.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), by_id: BTreeMap::new(), len: 0 }
    }

    /// Adds the tensors of one component under a prefix (`layers.3.mixer.`) and returns their slots in declared order.
    pub fn declare(&mut self, prefix: &str, group: Group, specs: Vec<ParamSpec>) -> Result<Vec<Slot>> {
        specs.into_iter().map(|spec| self.declare_one(prefix, group, spec)).collect()
    }

    fn declare_one(&mut self, prefix: &str, group: Group, spec: ParamSpec) -> Result<Slot> {
        if spec.shared {
            return match self.by_id.get(&spec.id) {
                Some(&slot) if self.entries[slot].spec.shape == spec.shape => Ok(slot),
                Some(&slot) => Err(Error::shape(
                    format!("tied parameter {}", spec.id),
                    format!("{:?}", self.entries[slot].spec.shape),
                    format!("{:?}", spec.shape),
                )),
                None => Err(Error::config(
                    "model.head.tied",
                    format!("a parameter {}", spec.id),
                    "no such parameter",
                    "set it to false, or give the model a token input",
                )),
            };
        }
        let id = format!("{prefix}{}", spec.id);
        let elements = spec.shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        let Some(end) = elements.and_then(|n| self.len.checked_add(n)).filter(|end| *end <= MOST_ELEMENTS)
        else {
            let bytes = spec.shape.iter().map(|n| *n as f64).product::<f64>() * size_of::<f32>() as f64;
            return Err(Error::too_large(&format!("the tensor {id} of {:?}", spec.shape), bytes));
        };
        let range = self.len..end;
        let slot = self.entries.len();
        if self.by_id.insert(id.clone(), slot).is_some() {
            return Err(Error::shape("parameter table", "distinct ids", format!("{id} twice")));
        }
        self.len = range.end.next_multiple_of(ALIGNMENT);
        self.entries.push(Entry { spec: ParamSpec { id: id.clone(), ..spec }, id, group, range });
        Ok(slot)
    }

    /// Elements of a buffer with this layout, gaps included.
    pub fn buffer_len(&self) -> usize {
        self.len
    }

    /// Number of parameters, without the gaps and without those never trained.
    pub fn parameter_count(&self) -> usize {
        self.entries.iter().filter(|e| e.spec.trained).map(|e| e.spec.len()).sum()
    }

    /// All entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a slot.
    pub fn entry(&self, slot: Slot) -> &Entry {
        &self.entries[slot]
    }

    /// The slot of an id.
    pub fn slot(&self, id: &str) -> Option<Slot> {
        self.by_id.get(id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_aligned_disjoint_and_found_by_id() {
        let mut table = Table::new();
        let slots = table
            .declare(
                "layers.0.",
                Group::Layer(0),
                vec![
                    ParamSpec::new("a", [3, 5], Init::Zeros),
                    ParamSpec::new("b", [7], Init::Ones).no_decay(),
                ],
            )
            .unwrap();
        assert_eq!(table.slot("layers.0.b"), Some(slots[1]));
        assert_eq!(table.entry(slots[0]).range, 0..15);
        assert_eq!(table.entry(slots[1]).range, 16..23);
        assert_eq!((table.buffer_len(), table.parameter_count()), (32, 22));
    }

    #[test]
    fn a_tensor_larger_than_any_memory_is_refused_with_its_size() {
        // The elements of the second are 0 in 64 bits.
        for (shape, megabytes) in [
            ([usize::MAX, 3], "221360928884515"),
            ([1 << 32, 1 << 32], "73786976294839"),
            ([1 << 30, 1 << 30], "4611686018428"),
        ] {
            let spec = ParamSpec::new("wide", shape, Init::Zeros);
            let message = Table::new().declare("head.", Group::Head, vec![spec]).unwrap_err().to_string();
            assert!(message.contains("the tensor head.wide") && message.contains(megabytes), "{message}");
        }
    }

    #[test]
    fn a_shared_tensor_takes_the_slot_of_its_owner_and_must_have_its_shape() {
        let mut table = Table::new();
        let own = table
            .declare("", Group::Input, vec![ParamSpec::new("embedding.weight", [4, 2], Init::Zeros)])
            .unwrap();
        let tied = table
            .declare("lm_head.", Group::Head, vec![ParamSpec::shared("embedding.weight", [4, 2])])
            .unwrap();
        assert_eq!(own, tied);
        assert!(table.declare("", Group::Head, vec![ParamSpec::shared("embedding.weight", [5, 2])]).is_err());
        assert!(table.declare("", Group::Head, vec![ParamSpec::shared("absent", [5, 2])]).is_err());
        assert!(
            table
                .declare("", Group::Input, vec![ParamSpec::new("embedding.weight", [4, 2], Init::Zeros)])
                .is_err()
        );
    }
}
