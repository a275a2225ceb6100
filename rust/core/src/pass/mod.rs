//! [`Pass`]: everything that a part of a model needs to run.
//!
//! Stems, blocks and heads read their parameters from it, ask it whether the model is training, draw random numbers under
//! its key, and use its buffers. A part that is made of parts hands each of them a pass of its own.

#![forbid(unsafe_code)]

mod key;
mod running;
mod workspace;

pub use crate::kernels::dropout::Dropout;
pub use key::Key;
pub use running::Running;
pub use workspace::{Carver, Cut, padded};

pub(crate) use workspace::Workspace;

use crate::kernels::Layout;
use crate::kernels::matmul::Precision;
use crate::params::Params;

/// Training or inference.
///
/// ```
/// use ssm_hpn::pass::{Key, Mode};
///
/// // The factors of dropout follow from the key, and inference has none.
/// let mode = Mode::Training(Key::default());
/// let dropout = mode.dropout(0.1, 64).expect("training, and a rate above 0");
/// assert_eq!(dropout.rate, 0.1);
/// assert!(mode.dropout(0.0, 64).is_none());
/// assert!(Mode::Inference.dropout(0.1, 64).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Scores or an evaluation: nothing is random.
    Inference,
    /// A forward pass that a backward pass follows, with the key of its random numbers.
    Training(Key),
}

impl Mode {
    /// The dropout of the share `rate` of numbers, `width` for each token; `None` in inference, and where nothing is dropped.
    pub fn dropout(self, rate: f64, width: usize) -> Option<Dropout> {
        match self {
            Self::Training(key) if rate > 0.0 => {
                Some(Dropout { rate, key: key.bytes(), first: (key.first_token * width) as u64 })
            }
            _ => None,
        }
    }

    /// The mode for a layer, counted from 0.
    #[must_use]
    pub(crate) fn layer(self, index: usize) -> Self {
        self.map(|key| key.layer(index as u32))
    }

    /// The same with another key.
    #[must_use]
    pub(crate) fn map(self, key: impl FnOnce(Key) -> Key) -> Self {
        match self {
            Self::Inference => Self::Inference,
            Self::Training(of) => Self::Training(key(of)),
        }
    }
}

/// Capabilities of a part.
///
/// ```
/// use ssm_hpn::pass::Capabilities;
///
/// let both_ways = Capabilities { causal: false, recurrent: false, ..Capabilities::ALL };
/// let chain = Capabilities::ALL.and(both_ways);
/// assert!(!chain.causal && !chain.recurrent && chain.keeps_length);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// An output depends only on tokens up to its own.
    pub causal: bool,
    /// It can continue from a state, and so read token by token.
    pub recurrent: bool,
    /// It returns as many tokens as it reads.
    pub keeps_length: bool,
}

impl Capabilities {
    /// All capabilities.
    pub const ALL: Self = Self { causal: true, recurrent: true, keeps_length: true };

    /// The capabilities that both parts have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            causal: self.causal && other.causal,
            recurrent: self.recurrent && other.recurrent,
            keeps_length: self.keeps_length && other.keeps_length,
        }
    }
}

/// One pass of one part over the rows of a batch.
///
/// ```
/// use ssm_hpn::kernels::Layout;
/// use ssm_hpn::params::Params;
/// use ssm_hpn::pass::{Mode, Pass};
///
/// let mut scratch = vec![0.0_f32; 64];
/// let pass = Pass::new(Params::none(), Layout::whole(2, 5), Mode::Inference, &mut scratch);
/// assert!(pass.state.is_none() && pass.saved.is_empty());
/// ```
#[derive(Debug)]
pub struct Pass<'a, T> {
    /// The part's tensors, in the order of their declaration.
    pub params: Params<'a, T>,
    /// Rows, tokens, document starts.
    pub layout: Layout<'a>,
    /// Training or inference.
    pub mode: Mode,
    /// Precision of the factors of the part's products: `pass.precision.linear(…)`.
    pub precision: Precision,
    /// Recurrent state of all rows. Forward: that before the first token, replaced by that after the last. Backward: that
    /// before the first token, only read. `None`: every row starts at zero and its end is not wanted.
    pub state: Option<&'a mut [T]>,
    /// Backward, beside a state: the gradient of the state after the last token, replaced by that of the state before the
    /// first.
    pub dstate: Option<&'a mut [T]>,
    /// Values that the forward pass keeps for the backward pass.
    pub saved: &'a mut [T],
    /// Of a head in training that asks for them: what it keeps over the updates.
    pub running: Option<Running<'a>>,
    /// Free to use, contents undefined.
    pub scratch: &'a mut [T],
}

impl<'a, T> Pass<'a, T> {
    /// A pass without a state that keeps nothing, with products in full precision.
    pub fn new(params: Params<'a, T>, layout: Layout<'a>, mode: Mode, scratch: &'a mut [T]) -> Self {
        Self {
            params,
            layout,
            mode,
            precision: Precision::F32,
            state: None,
            dstate: None,
            saved: &mut [],
            running: None,
            scratch,
        }
    }

    /// The pass, reborrowed.
    pub(crate) fn reborrow(&mut self) -> Pass<'_, T>
    where
        T: Copy,
    {
        Pass {
            params: self.params,
            layout: self.layout,
            mode: self.mode,
            precision: self.precision,
            state: self.state.as_deref_mut(),
            dstate: self.dstate.as_deref_mut(),
            saved: self.saved,
            running: self.running.as_mut().map(Running::reborrow),
            scratch: self.scratch,
        }
    }
}
