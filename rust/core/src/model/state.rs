//! Recurrent inference: a model that reads one token at a time, in constant memory, equal to the pass over the whole
//! sequence.
//!
//! A [`Stream`] holds the recurrent state of every layer for a number of rows, and what pooling needs of the tokens
//! read so far: with pooling by mean or maximum its scores are those of the document up to here. A stream has no mask:
//! every token that it reads takes part.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::buffers::{Outline, OutlineMemory};
use super::limits::check_rows;
use super::stack::Model;
use crate::allocate::{try_collected, try_filled, try_room};
use crate::data::{Batch, Input, InputLimit};
use crate::error::{Error, Result};
use crate::head::Pooling;
use crate::kernels::matmul::Precision;
use crate::kernels::{Layout, norm};
use crate::numeric::Scalar;
use crate::pass::{Mode, Pass, Workspace, padded};
use crate::target::Target;

/// Tokens of a prompt, of all rows together, that are read at once.
const PREFILL: usize = 1024;

/// Recurrent state of rows that are read token by token.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::Input;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// let mut stream = session.stream(1)?;
/// let scores = session.read(&mut stream, &Input::Tokens(vec![1, 2, 3]), 3)?.to_vec();
/// assert_eq!((stream.rows(), stream.position()), (1, 3));
/// assert_eq!(stream.scores(), scores);
/// assert_eq!(stream.features().len(), 8); // d_model numbers, which the head reads
///
/// stream.reset();
/// assert_eq!(stream.position(), 0);
/// assert_eq!(session.read(&mut stream, &Input::Tokens(vec![1, 2, 3]), 3)?, scores);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stream<T> {
    rows: usize,
    /// States of all layers, concatenated.
    states: Vec<T>,
    /// Elements of one layer's state.
    state_len: usize,
    /// Tokens of every row so far.
    position: u64,
    /// Sum or maximum of the hidden states so far, `[rows, D]`; the last ones without pooling. Sums are kept in f64, as
    /// those over a batch are.
    pooled: Vec<f64>,
    workspace: Workspace<T>,
    outline: OutlineMemory,
    /// What the head reads after the last token `[rows, D]`.
    features: Vec<T>,
    scores: Vec<T>,
}

impl<T: Scalar> Stream<T> {
    /// The state of `rows` rows before the first token.
    pub(crate) fn new(model: &Model<T>, rows: usize) -> Result<Self> {
        model.check_recurrent()?;
        check_rows("rows of a stream", rows)?;
        let sizes = model.layers.iter().map(|layer| layer.whole_sizes(rows, 1).state);
        let state_len = sizes.max().unwrap_or(0);
        Ok(Self {
            rows,
            states: try_filled(T::ZERO, &[model.layers.len(), state_len], "the states of a stream")?,
            state_len,
            position: 0,
            pooled: try_filled(0.0, &[rows, model.config().d_model], "the features of a stream")?,
            workspace: Workspace::default(),
            outline: OutlineMemory::default(),
            features: try_filled(T::ZERO, &[rows, model.config().d_model], "the features of a stream")?,
            scores: try_filled(T::ZERO, &[rows, model.head.n_scores()], "the scores of a stream")?,
        })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Tokens of every row read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Resets the state to that before the first token.
    pub fn reset(&mut self) {
        self.states.fill(T::ZERO);
        self.pooled.fill(0.0);
        self.position = 0;
    }

    /// Scores after the last token read, `[rows, n_scores]`.
    pub fn scores(&self) -> &[T] {
        &self.scores
    }

    /// What the head makes the scores of after the last token read, `[rows, D]`: pooled over the tokens so far where the
    /// target is that of a document.
    pub fn features(&self) -> &[T] {
        &self.features
    }

    /// Reads `length` tokens of every row, `[rows, length]` ids or `[rows, length, F]` numbers, and returns the scores
    /// after the last. One token is a step of constant cost; more are read together.
    pub(crate) fn read(
        &mut self,
        model: &Model<T>,
        params: &[T],
        input: &Input,
        length: usize,
    ) -> Result<&[T]> {
        self.check(model)?;
        if length == 0 {
            return Err(Error::shape("stream", "at least one token", 0));
        }
        let width = input_width(model);
        let mut batch = Batch::whole(self.rows, length, copied(input)?, Target::none());
        model.check(&batch)?;
        let piece = (PREFILL / self.rows).max(1);
        if length <= piece {
            self.read_part(model, params, &batch)?;
        } else {
            for start in (0..length).step_by(piece) {
                batch.length = piece.min(length - start);
                batch.input = columns(input, self.rows, width, start..start + batch.length, length)?;
                self.read_part(model, params, &batch)?;
            }
        }
        self.score(model, params)?;
        Ok(&self.scores)
    }

    /// The stream must be of this model, as it is now.
    fn check(&self, model: &Model<T>) -> Result<()> {
        let expected = (model.layers.len() * self.state_len, self.rows * model.config().d_model);
        if (self.states.len(), self.pooled.len()) == expected {
            return Ok(());
        }
        Err(Error::shape("stream", "one made for this model", "one made for another, or before it grew"))
    }

    /// Reads some tokens of every row into the states and the pooled features.
    fn read_part(&mut self, model: &Model<T>, params: &[T], batch: &Batch) -> Result<()> {
        let (m, d) = (batch.rows * batch.length, model.config().d_model);
        let sizes = model.layers.iter().map(|layer| layer.whole_sizes(batch.rows, batch.length));
        let (saved, scratch) =
            sizes.fold((0, 0), |(saved, scratch), s| (s.saved.max(saved), s.scratch.max(scratch)));
        let stem = model.stem.sizes(m).saved;
        let elements = padded(stem) + 2 * padded(m * d) + padded(m) + padded(saved) + padded(scratch);
        let mut carver = self.workspace.carve(elements)?;
        let (stem, x, hidden) = (carver.take(stem), carver.take(m * d), carver.take(m * d));
        let (r, saved, scratch) = (carver.take(m), carver.take(saved), carver.rest());
        let boundaries = model.boundaries(false);
        self.outline.make_room(batch, boundaries)?;
        let outline = Outline::new(batch, boundaries, &mut self.outline);
        model.stem_forward(params, &batch.input, &outline, (Mode::Inference, Precision::F32), stem, x);
        for (index, layer) in model.layers.iter().enumerate() {
            let state = &mut self.states[index * self.state_len..];
            let state = &mut state[..layer.whole_sizes(batch.rows, 1).state];
            let params = model.params(params, layer.slots());
            let pass = Pass::new(params, outline.layout, Mode::Inference, scratch);
            let pass = Pass { state: Some(state), saved, ..pass };
            if batch.length == 1 {
                layer.step(pass, x);
            } else {
                layer.forward_in_place(pass, x);
            }
        }
        let dims = norm::Dims { tokens: m, channels: d, eps: model.config().norm_eps };
        norm::forward(dims, x, model.params(params, &[model.norm_f]).get(0), hidden, r);
        let pooling = model.config().target.pooling().unwrap_or(Pooling::Last);
        for (pooled, hidden) in self.pooled.chunks_exact_mut(d).zip(hidden.chunks_exact(batch.length * d)) {
            pool(pooling, self.position == 0, hidden, pooled);
        }
        self.position += batch.length as u64;
        Ok(())
    }

    /// Scores of the pooled features.
    fn score(&mut self, model: &Model<T>, params: &[T]) -> Result<()> {
        let scratch = self.workspace.carve(padded(model.head.scratch(self.rows)))?.rest();
        let is_mean = model.config().target.pooling() == Some(Pooling::Mean);
        let count = if is_mean { self.position as f64 } else { 1.0 };
        for (x, pooled) in self.features.iter_mut().zip(&self.pooled) {
            *x = T::from_f64(*pooled / count);
        }
        let layout = Layout::whole(self.rows, 1);
        let pass = Pass::new(model.head_params(params), layout, Mode::Inference, scratch);
        let pass = Pass { state: Some(&mut []), ..pass };
        model.head.scores(pass, &self.features, &mut self.scores);
        Ok(())
    }
}

/// Takes the hidden states of further tokens into the feature of a row. A maximum that is not finite stays, so that the
/// scores show it.
fn pool<T: Scalar>(pooling: Pooling, is_first: bool, hidden: &[T], pooled: &mut [f64]) {
    for (t, hidden) in hidden.chunks_exact(pooled.len()).enumerate() {
        for (pooled, x) in pooled.iter_mut().zip(hidden) {
            let x = x.to_f64();
            *pooled = match pooling {
                Pooling::Mean => *pooled + x,
                Pooling::Max if !(is_first && t == 0) => {
                    if pooled.is_finite() && (x > *pooled || !x.is_finite()) { x } else { *pooled }
                }
                Pooling::Last | Pooling::Max => x,
            };
        }
    }
}

/// Numbers per token of the input: 1 for ids.
fn input_width<T: Scalar>(model: &Model<T>) -> usize {
    match model.stem.reads() {
        InputLimit::Tokens { .. } => 1,
        InputLimit::Features { n_features } => n_features,
    }
}

/// What the messages call the input of a stream.
const READ: &str = "the input of a stream";

fn copied(input: &Input) -> Result<Input> {
    Ok(match input {
        Input::Tokens(ids) => Input::Tokens(try_collected(ids.iter().copied(), READ)?),
        Input::Features(x) => Input::Features(try_collected(x.iter().copied(), READ)?),
    })
}

/// Tokens `range` of every row.
fn columns(input: &Input, rows: usize, width: usize, range: Range<usize>, length: usize) -> Result<Input> {
    fn pick<V: Copy>(x: &[V], rows: usize, row_len: usize, range: Range<usize>) -> Result<Vec<V>> {
        let mut picked = try_room(&[rows, range.len()], READ)?;
        (0..rows).for_each(|row| picked.extend_from_slice(&x[row * row_len..][range.clone()]));
        Ok(picked)
    }
    Ok(match input {
        Input::Tokens(ids) => Input::Tokens(pick(ids, rows, length, range)?),
        Input::Features(x) => {
            Input::Features(pick(x, rows, length * width, range.start * width..range.end * width)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_mean_keeps_small_numbers_beside_a_large_one() {
        let mut sum = [0.0];
        let hidden: Vec<f32> = std::iter::once(1e8).chain([1.0; 100]).chain([-1e8]).collect();
        pool(Pooling::Mean, true, &hidden, &mut sum);
        assert_eq!(sum, [100.0]);
    }

    #[test]
    fn a_running_maximum_of_nan_is_nan() {
        let mut most = [0.0];
        pool(Pooling::Max, true, &[-3.0_f32, -5.0], &mut most);
        assert_eq!(most, [-3.0]);
        pool(Pooling::Max, false, &[f32::NAN, 7.0], &mut most);
        assert!(most[0].is_nan());
    }
}
