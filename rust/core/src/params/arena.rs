//! One aligned buffer per kind of value (parameters, gradients, moments), and the views that components get of it.

use std::ops::Range;

use aligned_vec::{AVec, ConstAlign};

use super::table::{Slot, Table};
use crate::error::{Error, Result};
use crate::numeric::Scalar;

/// A zeroed buffer, aligned to 64 bytes, in the layout of a [`Table`].
#[derive(Clone, Debug)]
pub struct Arena<T> {
    data: AVec<T, ConstAlign<64>>,
}

/// `len` zeros, aligned to 64 bytes, for `what` (`"the parameters"`); refused where the memory is not there.
pub(crate) fn aligned_zeros<T: Scalar>(len: usize, what: &str) -> Result<AVec<T, ConstAlign<64>>> {
    let mut data = AVec::new(64);
    if data.try_reserve_exact(len).is_err() {
        return Err(Error::too_large(what, len as f64 * size_of::<T>() as f64));
    }
    data.resize(len, T::ZERO);
    Ok(data)
}

impl<T: Scalar> Arena<T> {
    /// `len` zeros.
    ///
    /// # Panics
    /// If the memory is not there: [`Arena::try_zeros`] says so.
    pub fn zeros(len: usize) -> Self {
        Self { data: AVec::from_iter(64, std::iter::repeat_n(T::ZERO, len)) }
    }

    /// `len` zeros for `what`; refused where the memory is not there.
    pub fn try_zeros(len: usize, what: &str) -> Result<Self> {
        aligned_zeros(len, what).map(|data| Self { data })
    }

    /// The whole buffer.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// The whole buffer.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The tensor of a slot.
    pub fn tensor(&self, table: &Table, slot: Slot) -> &[T] {
        &self.data[table.entry(slot).range.clone()]
    }

    /// The tensor of a slot.
    pub fn tensor_mut(&mut self, table: &Table, slot: Slot) -> &mut [T] {
        &mut self.data[table.entry(slot).range.clone()]
    }
}

/// The parameters of one component, in the order of its declaration.
///
/// ```
/// # use ssm_hpn::params::{Arena, Grads, Group, Init, ParamSpec, Params, Table};
/// # let mut table = Table::new();
/// # let specs = vec![ParamSpec::new("weight", [2, 3], Init::Ones), ParamSpec::new("bias", [2], Init::Zeros)];
/// # let slots = table.declare("layers.0.mixer.", Group::Layer(0), specs)?;
/// # let mut arena = Arena::<f32>::zeros(table.buffer_len());
/// # arena.tensor_mut(&table, slots[1]).copy_from_slice(&[0.5, -0.5]);
/// # let params = Params::new(arena.as_slice(), &table, &slots);
/// // Of a block that declared a weight [2, 3] and a bias [2], in this order.
/// assert_eq!((params.len(), params.is_empty()), (2, false));
/// assert_eq!(params.get(0).len(), 6);
/// assert_eq!(params.get(1), [0.5, -0.5]);
/// // A part of it that declared the bias alone.
/// assert_eq!(params.part(1..2).get(0), [0.5, -0.5]);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Params<'a, T> {
    data: &'a [T],
    table: &'a Table,
    slots: &'a [Slot],
}

impl<'a, T: Scalar> Params<'a, T> {
    /// View of the tensors `slots` of a buffer.
    #[doc(hidden)]
    pub fn new(data: &'a [T], table: &'a Table, slots: &'a [Slot]) -> Self {
        Self { data, table, slots }
    }

    /// The tensors of a component that declared none.
    ///
    /// ```
    /// use ssm_hpn::params::Params;
    ///
    /// assert!(Params::<f32>::none().is_empty());
    /// ```
    pub fn none() -> Self {
        static EMPTY: Table = Table::new();
        Self { data: &[], table: &EMPTY, slots: &[] }
    }

    /// The `index`-th declared tensor.
    pub fn get(&self, index: usize) -> &'a [T] {
        &self.data[self.table.entry(self.slots[index]).range.clone()]
    }

    /// The tensors of a part: those declared at `range`.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        Self { slots: &self.slots[range], ..*self }
    }

    /// Number of declared tensors.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the component declared none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// The parameters of one component, to be changed between two updates.
///
/// ```
/// # use ssm_hpn::params::{Arena, Group, Init, ParamSpec, ParamsMut, Table};
/// # let mut table = Table::new();
/// # let slots = table.declare("layers.0.mixer.", Group::Layer(0), vec![ParamSpec::new("bias", [2], Init::Zeros)])?;
/// # let mut arena = Arena::<f32>::zeros(table.buffer_len());
/// # let mut params = ParamsMut::new(arena.as_mut_slice(), &table, &slots);
/// params.get(0)[1] = 0.5;
/// assert_eq!(params.get(0), [0.0, 0.5]);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Debug)]
pub struct ParamsMut<'a, T> {
    data: &'a mut [T],
    table: &'a Table,
    slots: &'a [Slot],
}

impl<'a, T: Scalar> ParamsMut<'a, T> {
    /// View of the tensors `slots` of a buffer.
    #[doc(hidden)]
    pub fn new(data: &'a mut [T], table: &'a Table, slots: &'a [Slot]) -> Self {
        Self { data, table, slots }
    }

    /// The `index`-th declared tensor.
    pub fn get(&mut self, index: usize) -> &mut [T] {
        &mut self.data[self.table.entry(self.slots[index]).range.clone()]
    }
}

/// The gradients of one component; frozen tensors have none.
///
/// ```
/// # use ssm_hpn::params::{Arena, Grads, Group, Init, ParamSpec, Params, Table};
/// # let mut table = Table::new();
/// # let specs = vec![ParamSpec::new("weight", [2, 3], Init::Ones), ParamSpec::new("bias", [2], Init::Zeros)];
/// # let slots = table.declare("layers.0.mixer.", Group::Layer(0), specs)?;
/// # let mut arena = Arena::<f32>::zeros(table.buffer_len());
/// # let mut dparams = Grads::new(arena.as_mut_slice(), &table, &slots, &[true, false]);
/// // Of a block that declared a weight [2, 3] and a bias [2], which is frozen.
/// if let Some(dweight) = dparams.get(0) {
///     dweight[4] += 2.0;
/// }
/// assert!(dparams.is_trainable(0) && !dparams.is_trainable(1));
/// let [dweight, dbias] = dparams.get_many([0, 1]);
/// assert_eq!(dweight.expect("trained"), [0.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
/// assert!(dbias.is_none());
/// // A part of it that declared the bias alone.
/// assert!(dparams.part(1..2).get(0).is_none());
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Debug)]
pub struct Grads<'a, T> {
    data: &'a mut [T],
    table: &'a Table,
    slots: &'a [Slot],
    trainable: &'a [bool],
}

impl<'a, T: Scalar> Grads<'a, T> {
    /// View of the tensors `slots` of a gradient buffer; `trainable` is indexed by slot.
    #[doc(hidden)]
    pub fn new(data: &'a mut [T], table: &'a Table, slots: &'a [Slot], trainable: &'a [bool]) -> Self {
        Self { data, table, slots, trainable }
    }

    /// The gradients of a part: those of the tensors declared at `range`.
    pub fn part(&mut self, range: Range<usize>) -> Grads<'_, T> {
        Grads { data: self.data, table: self.table, slots: &self.slots[range], trainable: self.trainable }
    }

    /// Whether the `index`-th declared tensor is trained.
    pub fn is_trainable(&self, index: usize) -> bool {
        self.trainable[self.slots[index]]
    }

    /// Whether any tensor of the component is trained.
    pub(crate) fn any_trainable(&self) -> bool {
        self.slots.iter().any(|&slot| self.trainable[slot])
    }

    /// The gradient to accumulate into, or `None` if the tensor is frozen.
    pub fn get(&mut self, index: usize) -> Option<&mut [T]> {
        let slot = self.slots[index];
        self.trainable[slot].then(|| &mut self.data[self.table.entry(slot).range.clone()])
    }

    /// Several gradients at once, as [`Grads::get`]; `indices` ascending, none shared with another component.
    ///
    /// # Panics
    /// If the tensors are not in ascending places.
    pub fn get_many<const N: usize>(&mut self, indices: [usize; N]) -> [Option<&mut [T]>; N] {
        let mut rest: &mut [T] = self.data;
        let mut taken = 0;
        indices.map(|index| {
            let slot = self.slots[index];
            let range = self.table.entry(slot).range.clone();
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(range.end - taken);
            let tensor = &mut head[range.start - taken..];
            taken = range.end;
            rest = tail;
            self.trainable[slot].then_some(tensor)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Group, Init, ParamSpec};
    use super::*;

    #[test]
    fn more_memory_than_there_is_is_refused_with_its_size() {
        let message = Arena::<f32>::try_zeros(1 << 60, "the parameters").unwrap_err().to_string();
        assert!(message.contains("found 4611686018428 MB that the parameters would take"), "{message}");
    }

    #[test]
    fn views_see_their_tensors_and_frozen_ones_have_no_gradient() {
        let mut table = Table::new();
        let spec = |id: &str, n: usize| ParamSpec::new(id, [n], Init::Zeros);
        let slots = table.declare("", Group::Head, vec![spec("a", 3), spec("b", 20), spec("c", 2)]).unwrap();
        let mut arena = Arena::<f32>::zeros(table.buffer_len());
        assert_eq!(arena.as_slice().as_ptr() as usize % 64, 0);
        arena.tensor_mut(&table, slots[2]).fill(5.0);
        assert_eq!(Params::new(arena.as_slice(), &table, &slots).get(2), [5.0, 5.0]);
        let trainable = [true, false, true];
        let mut grads = Grads::new(arena.as_mut_slice(), &table, &slots, &trainable);
        assert!(grads.get(1).is_none());
        let [a, b, c] = grads.get_many([0, 1, 2]);
        assert!(b.is_none());
        a.unwrap().fill(1.0);
        assert_eq!(c.unwrap(), [5.0, 5.0]);
        let mut part = grads.part(1..3);
        assert!(part.get(0).is_none());
        assert_eq!(part.part(1..2).get(0).unwrap(), [5.0, 5.0]);
        assert_eq!(Params::new(arena.as_slice(), &table, &slots).part(1..3).part(1..2).get(0), [5.0, 5.0]);
        assert_eq!(arena.tensor(&table, slots[0]), [1.0, 1.0, 1.0]);
    }
}
