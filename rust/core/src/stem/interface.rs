//! The trait of every stem.

#![forbid(unsafe_code)]

use crate::data::{Input, InputLimit, Segment};
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::{Capabilities, Pass};

/// Elements that a stem needs.
///
/// ```
/// use ssm_hpn::stem::StemSizes;
///
/// // A stem of width 64 that keeps nothing, and makes the gradient of its weights from a copy of what it reads.
/// fn sizes(tokens: usize) -> StemSizes {
///     StemSizes { scratch: tokens * 64, ..StemSizes::default() }
/// }
/// assert_eq!(sizes(10), StemSizes { saved: 0, scratch: 640 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StemSizes {
    /// Kept from the forward pass for the backward one.
    pub saved: usize,
    /// Free to use during the backward pass.
    pub scratch: usize,
}

/// Rows of tokens and the documents in them, in order.
///
/// ```
/// use ssm_hpn::data::Segment;
/// use ssm_hpn::stem::StemRows;
///
/// let documents = [Segment { row: 0, start: 0, end: 3 }, Segment { row: 1, start: 0, end: 4 }];
/// let rows = StemRows { rows: 2, length: 4, documents: &documents };
/// assert_eq!(rows.tokens(), 8); // the last one of the first row is padding
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StemRows<'a> {
    /// Rows.
    pub rows: usize,
    /// Tokens of a row.
    pub length: usize,
    /// Documents; positions in none of them are padding at a row's end.
    pub documents: &'a [Segment],
}

impl StemRows<'_> {
    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.rows * self.length
    }
}

/// Input of a stem, and the rows and documents of its tokens before and after it.
///
/// ```
/// use ssm_hpn::data::{Input, Segment};
/// use ssm_hpn::stem::{StemBatch, StemRows};
///
/// // A document of 5 tokens that becomes one of 2.
/// let input = Input::Features(vec![0.0; 5]);
/// let (long, short) = ([Segment { row: 0, start: 0, end: 5 }], [Segment { row: 0, start: 0, end: 2 }]);
/// let batch = StemBatch {
///     input: &input,
///     before: StemRows { rows: 1, length: 5, documents: &long },
///     after: StemRows { rows: 1, length: 2, documents: &short },
/// };
/// assert_eq!((batch.before.tokens(), batch.after.tokens()), (5, 2));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StemBatch<'a> {
    /// Ids or features of the tokens before.
    pub input: &'a Input,
    /// The tokens of the batch.
    pub before: StemRows<'a>,
    /// The tokens of the residual stream: as many documents, in the same order.
    pub after: StemRows<'a>,
}

/// A map from the input of a batch to the residual stream, with its backward pass.
///
/// ```
/// use ssm_hpn::data::{Batch, Input, InputLimit};
/// use ssm_hpn::model::{ModelConfig, Registry};
/// use ssm_hpn::params::{Grads, Init, ParamSpec};
/// use ssm_hpn::pass::Pass;
/// use ssm_hpn::stem::{StemBatch, Stem, StemSizes};
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
///
/// /// x_c = a_c·id, for ids that are quantities.
/// struct Quantity {
///     width: usize,
/// }
///
/// fn ids<'a>(batch: &StemBatch<'a>) -> &'a [u32] {
///     let Input::Tokens(ids) = batch.input else { unreachable!("batches are checked against `reads`") };
///     ids
/// }
///
/// impl Stem<f32> for Quantity {
///     fn params(&self) -> Vec<ParamSpec> {
///         vec![ParamSpec::new("quantity.weight", [self.width], Init::Normal { std: 1.0 }).no_decay()]
///     }
///
///     fn reads(&self) -> InputLimit {
///         InputLimit::Tokens { vocab_size: 100 }
///     }
///
///     fn sizes(&self, _tokens: usize) -> StemSizes {
///         StemSizes::default()
///     }
///
///     fn forward(&self, pass: Pass<f32>, batch: &StemBatch, y: &mut [f32]) {
///         for (y, id) in y.chunks_exact_mut(self.width).zip(ids(batch)) {
///             for (y, a) in y.iter_mut().zip(pass.params.get(0)) {
///                 *y = a * *id as f32;
///             }
///         }
///     }
///
///     fn backward(&self, _: Pass<f32>, batch: &StemBatch, dy: &[f32], dparams: &mut Grads<f32>) {
///         let Some(da) = dparams.get(0) else { return };
///         for (dy, id) in dy.chunks_exact(self.width).zip(ids(batch)) {
///             for (da, dy) in da.iter_mut().zip(dy) {
///                 *da += dy * *id as f32;
///             }
///         }
///     }
/// }
///
/// let mut registry = Registry::standard();
/// registry.register_stem("quantity", |_, context| Ok(Box::new(Quantity { width: context.d_model })));
/// let model = ModelConfig::from_json(
///     r#"{"input": {"kind": "tokens", "vocab_size": 100}, "d_model": 8, "n_layers": 1, "stem": {"kind": "quantity"},
///         "target": {"kind": "token_class"}, "head": {"kind": "linear", "n_outputs": 2}}"#,
/// )?;
/// # let optim = OptimConfig { lr: 0.01, ..OptimConfig::default() };
/// let mut session = Session::with_registry(model, optim, 0, Threads::new(Some(1))?, &registry)?;
/// let batch = Batch::whole(1, 4, Input::Tokens(vec![3, 80, 5, 90]), Target::token_class(vec![0, 1, 0, 1]));
/// let first = session.forward_backward(&batch, Accuracy::Skip)?.loss;
/// assert!(session.gradient("quantity.weight")?.1.iter().all(|g| *g != 0.0));
/// session.apply()?;
/// assert!(session.evaluate(&batch)?.sums.loss < first);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub trait Stem<T: Scalar>: Send + Sync {
    /// The tensors, with absolute ids (`embedding.weight`).
    fn params(&self) -> Vec<ParamSpec>;

    /// The input that it reads.
    fn reads(&self) -> InputLimit;

    /// Tokens of a document that become one of the residual stream; the last ones may be fewer. 1 keeps the length.
    fn stride(&self) -> usize {
        1
    }

    /// Capabilities of the stem: all, unless it has a stride, since then single tokens cannot be read.
    fn capabilities(&self) -> Capabilities {
        let keeps_length = self.stride() == 1;
        Capabilities { keeps_length, recurrent: keeps_length, ..Capabilities::ALL }
    }

    /// Sizes of the buffers of a pass that makes `tokens` tokens of the residual stream.
    fn sizes(&self, tokens: usize) -> StemSizes;

    /// Overwrites y `[rows, length after, D]`. In training `pass.mode` has the key of the stem, the same one in both passes.
    fn forward(&self, pass: Pass<T>, batch: &StemBatch, y: &mut [T]);

    /// Adds the gradients of the trained tensors, from dy `[rows, length after, D]`. `saved` as the forward pass left it.
    fn backward(&self, pass: Pass<T>, batch: &StemBatch, dy: &[T], dparams: &mut Grads<T>);
}

/// Tokens that a document of `length` tokens becomes.
pub(crate) fn shortened(length: usize, stride: usize) -> usize {
    length.div_ceil(stride)
}

/// Numbers of a batch in the type of the model.
pub(super) fn convert<T: Scalar>(from: &[f32], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = T::from_f64(f64::from(*from));
    }
}

/// The features of an input that was checked to be features.
#[expect(clippy::unreachable, reason = "the batch was checked against the stem")]
pub(super) fn features(input: &Input) -> &[f32] {
    match input {
        Input::Features(features) => features,
        Input::Tokens(_) => unreachable!("the batch was checked against the stem"),
    }
}
