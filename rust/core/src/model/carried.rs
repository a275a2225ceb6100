//! Recurrent states in training, for a long sequence in several batches.

#![forbid(unsafe_code)]

use super::limits::check_rows;
use super::stack::Model;
use crate::allocate::{try_collected, try_filled};
use crate::error::{Error, Result};
use crate::numeric::Scalar;

/// The recurrent states of all layers for some rows, or their gradients.
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
/// # let session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// let mut states = session.states(2)?;
/// assert_eq!((states.rows(), states.layers().count()), (2, 2));
/// assert!(states.layers().flatten().all(|x| *x == 0.0)); // nothing has been read
/// states.layer_mut(1)[0] = 0.5;
/// assert_eq!(states.layers().nth(1).expect("a layer")[0], 0.5);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct States<T> {
    rows: usize,
    layers: Vec<Vec<T>>,
}

impl<T: Scalar> States<T> {
    /// Zero states, those of a sequence's start. An error for a model without recurrent states, and where the memory is not
    /// there.
    pub(crate) fn zeros(model: &Model<T>, rows: usize) -> Result<Self> {
        model.check_recurrent()?;
        check_rows("rows of states", rows)?;
        let sizes = model.layers.iter().map(|layer| layer.block().sizes(rows, 1).state);
        let layers = sizes.map(|size| try_filled(T::ZERO, &[size], "the states of a layer"));
        Ok(Self { rows, layers: layers.collect::<Result<_>>()? })
    }

    /// A copy; refused where the memory is not there.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let layers =
            self.layers.iter().map(|layer| try_collected(layer.iter().copied(), "a copy of the states"));
        Ok(Self { rows: self.rows, layers: layers.collect::<Result<_>>()? })
    }

    /// Numbers of a row, by layer.
    pub(crate) fn widths(model: &Model<T>) -> Result<impl Iterator<Item = usize>> {
        model.check_recurrent()?;
        Ok(model.layers.iter().map(|layer| layer.block().sizes(1, 1).state))
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Every layer's numbers, in the order that its block has them.
    pub fn layers(&self) -> impl Iterator<Item = &[T]> {
        self.layers.iter().map(Vec::as_slice)
    }

    /// The numbers of one layer, to be changed.
    pub fn layer_mut(&mut self, index: usize) -> &mut [T] {
        &mut self.layers[index]
    }

    /// Refuses states of another model or of another number of rows.
    pub(super) fn check(&self, model: &Model<T>, rows: usize) -> Result<()> {
        let sizes = model.layers.iter().map(|layer| layer.block().sizes(self.rows, 1).state);
        if self.rows == rows && sizes.eq(self.layers.iter().map(Vec::len)) {
            return Ok(());
        }
        let found = format!("those of {} rows, or of another model", self.rows);
        Err(Error::shape("states", format!("those of {rows} rows of this model"), found))
    }
}

/// States around a training pass.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::model::Carried;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// // A sequence of eight tokens in two batches; the second goes on from where the first ended.
/// let piece = |ids: [u32; 4], next| Batch::whole(1, 4, Input::Tokens(ids.to_vec()), Target::token_class(next));
/// let mut states = session.states(1)?;
/// for (ids, next) in [([0, 1, 2, 3], vec![1, 2, 3, 4]), ([4, 5, 6, 0], vec![5, 6, 0, -1])] {
///     let carried = Carried { states: &mut states, gradient: None };
///     session.forward_backward_from(&piece(ids, next), Accuracy::Skip, carried)?;
/// }
/// assert_eq!(session.count(), 7);
/// assert!(states.layers().flatten().any(|x| *x != 0.0));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Debug)]
pub struct Carried<'a, T> {
    /// Before the first token of every row; after the pass, after the last.
    pub states: &'a mut States<T>,
    /// The gradient of the loss of everything that follows with respect to the states after the last token; after the
    /// pass, that with respect to the states before the first. `None`: it is zero.
    pub gradient: Option<&'a mut States<T>>,
}

impl<T: Scalar> Carried<'_, T> {
    /// Refuses what does not fit the model or the batch.
    pub(crate) fn check(&self, model: &Model<T>, rows: usize) -> Result<()> {
        self.states.check(model, rows)?;
        self.gradient.as_ref().map_or(Ok(()), |gradient| gradient.check(model, rows))
    }
}
