//! The trait of every block, and the sizes of its buffers.

#![forbid(unsafe_code)]

use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::{Capabilities, Pass};

/// Elements that a block needs.
///
/// ```
/// use ssm_hpn::blocks::Sizes;
///
/// // A block of width 64 that keeps a copy of its input, and whose state is the last token of each row.
/// fn sizes(rows: usize, length: usize) -> Sizes {
///     Sizes { saved: rows * length * 64, scratch: 0, state: rows * 64 }
/// }
/// assert_eq!(sizes(2, 5), Sizes { saved: 640, scratch: 0, state: 128 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Kept from the forward pass for the backward one.
    pub saved: usize,
    /// Free to use during one call, contents undefined.
    pub scratch: usize,
    /// Recurrent state of all rows, carried between calls.
    pub state: usize,
}

/// A sequence mixer with its backward pass and its recurrent form.
///
/// ```
/// use ssm_hpn::blocks::{Block, Sizes};
/// use ssm_hpn::data::{Batch, Input};
/// use ssm_hpn::model::{ModelConfig, Registry};
/// use ssm_hpn::params::{Grads, Init, ParamSpec};
/// use ssm_hpn::pass::Pass;
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
///
/// /// y_c += g_c·x_c, a gain for each channel.
/// struct Gain {
///     width: usize,
/// }
///
/// impl Block<f32> for Gain {
///     fn params(&self) -> Vec<ParamSpec> {
///         vec![ParamSpec::new("gain", [self.width], Init::Zeros).no_decay()]
///     }
///
///     fn sizes(&self, _rows: usize, _length: usize) -> Sizes {
///         Sizes::default()
///     }
///
///     fn forward(&self, pass: Pass<f32>, x: &[f32], y: &mut [f32]) {
///         for (x, y) in x.chunks_exact(self.width).zip(y.chunks_exact_mut(self.width)) {
///             for (c, gain) in pass.params.get(0).iter().enumerate() {
///                 y[c] += gain * x[c];
///             }
///         }
///     }
///
///     // dx_c = g_c·dy_c      dg_c += Σ dy_c·x_c
///     fn backward(&self, pass: Pass<f32>, x: &[f32], dy: &[f32], dx: &mut [f32], dparams: &mut Grads<f32>) {
///         dx.fill(0.0);
///         self.forward(pass, dy, dx);
///         let Some(dgain) = dparams.get(0) else { return };
///         for (x, dy) in x.chunks_exact(self.width).zip(dy.chunks_exact(self.width)) {
///             for (c, dgain) in dgain.iter_mut().enumerate() {
///                 *dgain += dy[c] * x[c];
///             }
///         }
///     }
///
///     fn step(&self, pass: Pass<f32>, x: &[f32], y: &mut [f32]) {
///         self.forward(pass, x, y);
///     }
///
///     fn output_projections(&self) -> Vec<String> {
///         vec!["gain".to_owned()]
///     }
/// }
///
/// let mut registry = Registry::standard();
/// registry.register_block("gain", |_, context| Ok(Box::new(Gain { width: context.d_model })));
/// let model = ModelConfig::from_json(
///     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "gain"},
///         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// )?;
/// let mut session = Session::with_registry(model, OptimConfig::default(), 0, Threads::new(Some(1))?, &registry)?;
/// let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// let first = session.forward_backward(&batch, Accuracy::Skip)?.loss;
/// session.apply()?;
/// assert!(session.parameter("layers.1.mixer.gain")?.1.iter().all(|gain| *gain != 0.0));
/// assert!(session.evaluate(&batch)?.sums.loss < first);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
pub trait Block<T: Scalar>: Send + Sync {
    /// The tensors, with ids relative to the block (`in_proj.weight`).
    fn params(&self) -> Vec<ParamSpec>;

    /// Sizes of the buffers of a pass over `rows` rows of `length` tokens.
    fn sizes(&self, rows: usize, length: usize) -> Sizes;

    /// Adds the block's output for x `[rows, length, D]` to y (the residual stream).
    ///
    /// A state in the pass is the one before the first token and is replaced by the one after the last; without it, the
    /// sequence starts at zero.
    fn forward(&self, pass: Pass<T>, x: &[T], y: &mut [T]);

    /// Fills `saved` again, for a layer that kept only its input. `y` `[rows, length, D]` is free to use.
    ///
    /// The default is the whole forward pass; a block may leave out what only its output needs.
    fn recompute(&self, pass: Pass<T>, x: &[T], y: &mut [T]) {
        y.fill(T::ZERO);
        self.forward(pass, x, y);
    }

    /// Gradients of a pass: overwrites dx, adds to the trainable parameters' gradients. The pass has the state that the
    /// forward pass started from, if there was one, and its gradient. `saved` is not read afterwards: gradients may take
    /// the places of what they belong to.
    fn backward(&self, pass: Pass<T>, x: &[T], dy: &[T], dx: &mut [T], dparams: &mut Grads<T>);

    /// One token per row, x `[rows, D]`: adds the output to y and updates the pass's state. Equal to `forward` on the
    /// whole sequence. Scratch as for `sizes(rows, 1)`; nothing is saved. Never called for a block that is not
    /// recurrent.
    fn step(&self, pass: Pass<T>, x: &[T], y: &mut [T]);

    /// Capabilities of the block; the default is all of them.
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    /// Relative ids of the tensors that, where all of them are zero, make the block add nothing (its input at most, if it
    /// hands that on): a layer grown into a trained model starts so. Every other tensor then still gets a gradient as soon
    /// as these have moved. Without any the block cannot be grown.
    fn output_projections(&self) -> Vec<String> {
        vec!["out_proj.weight".to_owned()]
    }

    /// Whether the output contains the input itself.
    fn hands_input_on(&self) -> bool {
        false
    }

    /// Settings of the block with every default resolved, where its configuration left some open.
    fn resolved(&self) -> Option<serde_json::Value> {
        None
    }
}
