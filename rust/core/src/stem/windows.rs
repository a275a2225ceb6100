//! A linear map of windows of time steps: a strided convolution, or, where windows do not overlap, patches.
//!
//! F features per step, K steps in a window, S steps from a window to the next, D width. Within a document of n steps:
//!
//! ```text
//! x_j = b + Σ_k w[k]·f_{jS + S - K + k}      j = 0 … ⌈n/S⌉ - 1, steps outside the document are 0
//! dw[k] += Σ_j dx_j ⊗ f_{jS + S - K + k}      db += Σ_j dx_j
//! ```
//!
//! A window ends with the S steps that belong to its token and looks back from there, so a token knows nothing of later
//! ones. `stem.weight` `[D, K, F]`, `stem.bias` `[D]`. The windows are kept for the backward pass, `[M, K·F]`.

use super::interface::{Stem, StemBatch, StemSizes, features, shortened};
use super::linear::init;
use crate::bounds::{Bounds, Edge};
use crate::data::InputLimit;
use crate::error::Result;
use crate::kernels::{embedding, matmul::MatRef};
use crate::numeric::Scalar;
use crate::params::{Grads, ParamSpec};
use crate::pass::Pass;

/// Most steps of a window.
const LONGEST: u32 = 1 << 12;
const KERNEL: Bounds = Bounds::whole("model.stem.kernel", 1, LONGEST);
const STRIDE: Bounds = Bounds::whole("model.stem.stride", 1, LONGEST);
const SIZE: Bounds = Bounds::whole("model.stem.size", 1, LONGEST);

/// Bounds of the settings of a stem.
pub(crate) const BOUNDS: &[Bounds] = &[KERNEL, STRIDE, SIZE];

/// A linear map of windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Features per step (F).
    pub(crate) n_features: usize,
    /// Width (D).
    pub(crate) d_model: usize,
    /// Steps of a window (K), at least S.
    pub(crate) kernel: usize,
    /// Steps from a window to the next (S).
    pub(crate) stride: usize,
}

impl Windows {
    /// Numbers of a window.
    fn width(&self) -> usize {
        self.kernel * self.n_features
    }

    /// The windows of all documents; those of padding are zero.
    fn gather<T: Scalar>(&self, batch: &StemBatch, windows: &mut [T]) {
        let (f, features) = (self.n_features, features(batch.input));
        windows.fill(T::ZERO);
        for (before, after) in batch.before.documents.iter().zip(batch.after.documents) {
            let n = (before.end - before.start) as usize;
            let first = (before.row as usize * batch.before.length + before.start as usize) * f;
            let steps = &features[first..first + n * f];
            let token = after.row as usize * batch.after.length + after.start as usize;
            for j in 0..shortened(n, self.stride) {
                // The window's last step is the last one of its token: step (j + 1)·S - 1.
                let end = (j + 1) * self.stride;
                let (from, to) = (end.saturating_sub(self.kernel), end.min(n));
                let window = &mut windows[(token + j) * self.width()..][..self.width()];
                let skipped = (from + self.kernel - end) * f;
                for (to, from) in window[skipped..].iter_mut().zip(&steps[from * f..to * f]) {
                    *to = T::from_f64(f64::from(*from));
                }
            }
        }
    }
}

impl Windows {
    /// A strided convolution of `kernel` steps.
    pub(crate) fn convolution(
        n_features: usize,
        d_model: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<Self> {
        STRIDE.check_whole(stride)?;
        Bounds { low: Edge::At(stride as f64), ..KERNEL }.check_whole(kernel)?;
        Ok(Self { n_features, d_model, kernel, stride })
    }

    /// Patches of `size` steps.
    pub(crate) fn patches(n_features: usize, d_model: usize, size: usize) -> Result<Self> {
        SIZE.check_whole(size)?;
        Ok(Self { n_features, d_model, kernel: size, stride: size })
    }
}

impl<T: Scalar> Stem<T> for Windows {
    fn params(&self) -> Vec<ParamSpec> {
        let shape = [self.d_model, self.kernel, self.n_features];
        vec![
            ParamSpec::new("stem.weight", shape, init(self.width())),
            ParamSpec::new("stem.bias", [self.d_model], init(self.width())).no_decay(),
        ]
    }

    fn reads(&self) -> InputLimit {
        InputLimit::Features { n_features: self.n_features }
    }

    fn stride(&self) -> usize {
        self.stride
    }

    fn sizes(&self, tokens: usize) -> StemSizes {
        let scratch = embedding::features_backward_scratch(tokens, self.d_model, self.width());
        StemSizes { saved: tokens * self.width(), scratch }
    }

    fn forward(&self, pass: Pass<T>, batch: &StemBatch, y: &mut [T]) {
        let (m, width) = (batch.after.tokens(), self.width());
        let windows = &mut pass.saved[..m * width];
        self.gather(batch, windows);
        let weight = MatRef::new(pass.params.get(0), self.d_model, width);
        embedding::features_forward(
            pass.precision,
            MatRef::new(windows, m, width),
            weight,
            pass.params.get(1),
            y,
        );
    }

    fn backward(&self, pass: Pass<T>, batch: &StemBatch, dy: &[T], dparams: &mut Grads<T>) {
        let (m, width) = (batch.after.tokens(), self.width());
        let windows = MatRef::new(&pass.saved[..m * width], m, width);
        let [dw, db] = dparams.get_many([0, 1]);
        embedding::features_backward(
            pass.precision,
            windows,
            MatRef::new(dy, m, self.d_model),
            dw,
            db,
            pass.scratch,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Input, Segment};
    use crate::stem::StemRows;

    #[test]
    fn windows_end_with_their_token_and_stay_within_their_document() {
        let stem = Windows { n_features: 1, d_model: 1, kernel: 3, stride: 2 };
        let input = Input::Features((1..=8).map(|x| x as f32).collect());
        let segment = |start, end| Segment { row: 0, start, end };
        let (before, after) = ([segment(0, 5), segment(5, 7)], [segment(0, 3), segment(3, 4)]);
        let batch = StemBatch {
            input: &input,
            before: StemRows { rows: 1, length: 8, documents: &before },
            after: StemRows { rows: 1, length: 5, documents: &after },
        };
        let mut windows = vec![9.0_f64; 15];
        stem.gather(&batch, &mut windows);
        let expected = [0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 0.0, 0.0, 6.0, 7.0, 0.0, 0.0, 0.0];
        assert_eq!(windows, expected);
    }
}
