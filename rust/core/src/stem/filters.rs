//! Random state space filters that are not trained, and a trained linear map of their responses.
//!
//! F features per step, K filters, S steps that become one token, D width. Within a document of n steps:
//!
//! ```text
//! u = mixtures of f      y = responses of the filters to u, from zero at the document's start
//! r_j = mean of (y_t, f_t) over t = jS … min(jS + S, n) - 1        j = 0 … ⌈n/S⌉ - 1
//! x_j = b + W·r_j        dW += Σ_j dx_j ⊗ r_j        db += Σ_j dx_j
//! ```
//!
//! The filters are those of the law in [`crate::features`], read forwards, time-invariant, their gains such that white noise
//! of variance 1 has responses of variance 1: no data is needed. They have no gain at frequency zero; so the step itself
//! stands beside the responses.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `stem.filters` | `[K/128, 4, 3, 128]` | Re λ, Im λ, Re c, Im c of three modes; fixed |
//! | `stem.mixtures` | `[K/128, F, 16]` | the inputs of a block of 128 filters; fixed |
//! | `stem.weight` | `[D, K + F]` | U(±1/√(K + F)) |
//! | `stem.bias` | `[D]` | U(±1/√(K + F)) |
//!
//! r is kept for the backward pass, `[M, K + F]`. A token knows nothing of later ones, but what a filter holds at a token
//! is not part of a stream's state, so such a model reads whole documents.

use serde::{Deserialize, Serialize};

use super::interface::{Stem, StemBatch, StemSizes, features, shortened};
use super::linear::init;
use crate::bounds::Bounds;
use crate::data::{InputLimit, Segment};
use crate::error::Result;
use crate::features::stationary::{unit_filters, unit_mixtures};
use crate::kernels::state_filters::{COLUMNS, FILTERS, Filters, MODES, MeansInto, mean_responses};
use crate::kernels::{embedding, matmul::MatRef};
use crate::numeric::Scalar;
use crate::parallel::for_each_part;
use crate::params::init::Maker;
use crate::params::{Grads, Init, ParamSpec};
use crate::pass::{Capabilities, Pass};

const NUMBER: Bounds = Bounds::whole("model.stem.filters", 1, 1 << 16);
const LONGEST: Bounds = Bounds::whole("model.stem.longest", 2, 1 << 24);
const SEED: Bounds = Bounds::whole("model.stem.seed", 0, u32::MAX);
const STRIDE: Bounds = Bounds::whole("model.stem.stride", 1, 1 << 12);

/// Bounds of the settings of the stem.
pub(crate) const BOUNDS: &[Bounds] = &[NUMBER, LONGEST, SEED];

/// Settings of the stem.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FixedFiltersConfig {
    /// Filters, rounded up to blocks of 128.
    pub filters: usize,
    /// Largest time scale of a filter, in steps.
    pub longest: usize,
    /// Steps that become one token.
    pub stride: usize,
    /// Seed of the filters.
    pub seed: u64,
}

/// Fixed filters with a trained map; see the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedFilters {
    n_features: usize,
    d_model: usize,
    config: FixedFiltersConfig,
}

/// Places of the tensors.
const FILTER_MODES: usize = 0;
const MIXTURES: usize = 1;
const WEIGHT: usize = 2;
const BIAS: usize = 3;

impl FixedFilters {
    /// Filters of F features per step.
    pub(crate) fn new(n_features: usize, d_model: usize, config: FixedFiltersConfig) -> Result<Self> {
        NUMBER.check_whole(config.filters)?;
        LONGEST.check_whole(config.longest)?;
        STRIDE.check_whole(config.stride)?;
        SEED.check_whole(usize::try_from(config.seed).unwrap_or(usize::MAX))?;
        Ok(Self { n_features, d_model, config })
    }

    fn blocks(&self) -> usize {
        self.config.filters.div_ceil(FILTERS)
    }

    /// Numbers that a token is mapped from.
    fn width(&self) -> usize {
        self.blocks() * FILTERS + self.n_features
    }

    /// r of the documents of one row, `[length after, width]`; zeros where there is no document.
    fn read_row<T: Scalar>(&self, pass: &Pass<T>, batch: &StemBatch, row: usize, out: &mut [T]) {
        out.fill(T::ZERO);
        let (f, width) = (self.n_features, self.width());
        let of_row = |documents: &'_ [Segment]| {
            let first = documents.partition_point(|s| (s.row as usize) < row);
            first..documents.partition_point(|s| (s.row as usize) <= row)
        };
        let (before, after) = (batch.before.documents, batch.after.documents);
        for (from, to) in before[of_row(before)].iter().zip(&after[of_row(after)]) {
            let first = (row * batch.before.length + from.start as usize) * f;
            let n = (from.end - from.start) as usize;
            let steps = &features(batch.input)[first..first + n * f];
            let out = &mut out[to.start as usize * width..to.end as usize * width];
            for block in 0..self.blocks() {
                self.respond(pass, block, steps, out);
            }
            self.mean_steps(steps, out);
        }
    }

    /// The mean responses of one block to the steps of a document.
    fn respond<T: Scalar>(&self, pass: &Pass<T>, block: usize, steps: &[f32], out: &mut [T]) {
        let f = self.n_features;
        let size = MODES * FILTERS;
        let modes = &pass.params.get(FILTER_MODES)[block * 4 * size..][..4 * size];
        let mixtures = &pass.params.get(MIXTURES)[block * f * COLUMNS..][..f * COLUMNS];
        let [pole_re, pole_im, gain_re, gain_im] = [0, 1, 2, 3].map(|part| &modes[part * size..][..size]);
        let filters = Filters { pole_re, pole_im, gain_re, gain_im };
        let input = |t: usize| {
            let mut u = [T::ZERO; COLUMNS];
            for (x, weights) in steps[t * f..(t + 1) * f].iter().zip(mixtures.as_chunks().0) {
                let (x, weights): (T, &[T; COLUMNS]) = (T::from_f64(f64::from(*x)), weights);
                u.iter_mut().zip(weights).for_each(|(u, w)| *u += x * *w);
            }
            u
        };
        let into = MeansInto { out, width: self.width(), first: block * FILTERS };
        mean_responses(filters, steps.len() / f, self.config.stride, input, into);
    }

    /// The means of the steps themselves, in the last columns.
    fn mean_steps<T: Scalar>(&self, steps: &[f32], out: &mut [T]) {
        let (f, width) = (self.n_features, self.width());
        let tokens = steps.chunks(self.config.stride * f).zip(out.chunks_exact_mut(width));
        for (steps, out) in tokens {
            let share = 1.0 / (steps.len() / f) as f64;
            for (c, out) in out[width - f..].iter_mut().enumerate() {
                let sum: f64 = steps.iter().skip(c).step_by(f).map(|x| f64::from(*x)).sum();
                *out = T::from_f64(sum * share);
            }
        }
    }
}

impl<T: Scalar> Stem<T> for FixedFilters {
    fn params(&self) -> Vec<ParamSpec> {
        let Self { n_features, d_model, config } = *self;
        let FixedFiltersConfig { longest, seed, .. } = config;
        let (blocks, width) = (self.blocks(), self.width());
        let filters = Maker::new(format!("filters {blocks} {longest} {seed}"), move || {
            unit_filters(seed, blocks, longest)
        });
        let mixtures = Maker::new(format!("mixtures {blocks} {n_features} {seed}"), move || {
            unit_mixtures(seed, blocks, n_features)
        });
        let shape = [blocks, 4, MODES, FILTERS];
        vec![
            ParamSpec::new("stem.filters", shape, Init::Made(filters)).fixed(),
            ParamSpec::new("stem.mixtures", [blocks, n_features, COLUMNS], Init::Made(mixtures)).fixed(),
            ParamSpec::new("stem.weight", [d_model, width], init(width)),
            ParamSpec::new("stem.bias", [d_model], init(width)).no_decay(),
        ]
    }

    fn reads(&self) -> InputLimit {
        InputLimit::Features { n_features: self.n_features }
    }

    fn stride(&self) -> usize {
        self.config.stride
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { keeps_length: self.config.stride == 1, recurrent: false, ..Capabilities::ALL }
    }

    fn sizes(&self, tokens: usize) -> StemSizes {
        let width = self.width();
        StemSizes {
            saved: tokens * width,
            scratch: embedding::features_backward_scratch(tokens, self.d_model, width),
        }
    }

    fn forward(&self, mut pass: Pass<T>, batch: &StemBatch, y: &mut [T]) {
        let (m, width) = (batch.after.tokens(), self.width());
        debug_assert!(
            batch.before.documents.iter().zip(batch.after.documents).all(|(from, to)| {
                (to.end - to.start) as usize
                    == shortened((from.end - from.start) as usize, self.config.stride)
            }),
            "a token for every stride"
        );
        let saved = &mut std::mem::take(&mut pass.saved)[..m * width];
        for_each_part(&mut *saved, batch.after.length * width, |row, out| {
            self.read_row(&pass, batch, row, out);
        });
        let weight = MatRef::new(pass.params.get(WEIGHT), self.d_model, width);
        embedding::features_forward(
            pass.precision,
            MatRef::new(saved, m, width),
            weight,
            pass.params.get(BIAS),
            y,
        );
    }

    fn backward(&self, pass: Pass<T>, batch: &StemBatch, dy: &[T], dparams: &mut Grads<T>) {
        let (m, width) = (batch.after.tokens(), self.width());
        let responses = MatRef::new(&pass.saved[..m * width], m, width);
        let [dw, db] = dparams.get_many([WEIGHT, BIAS]);
        embedding::features_backward(
            pass.precision,
            responses,
            MatRef::new(dy, m, self.d_model),
            dw,
            db,
            pass.scratch,
        );
    }
}
