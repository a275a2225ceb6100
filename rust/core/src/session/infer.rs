//! Use of a model: evaluation, scores, hidden states, streams and generation.

use super::report::EvalReport;
use super::training::Session;
use crate::allocate::{try_collected, try_filled, try_room};
use crate::data::{Batch, Input};
use crate::error::{Error, Result};
use crate::head::{Head, Predictions, Wanted};
use crate::kernels::Layout;
use crate::model::infer::Inferred;
use crate::model::{InputConfig, Model, Stream};
use crate::numeric::Scalar;
use crate::parallel::alone;
use crate::params::init;
use crate::pass::{Mode, Pass};

impl<T: Scalar> Session<T> {
    /// Loss and predictions of a batch without weights; changes nothing.
    pub fn evaluate(&self, batch: &Batch) -> Result<EvalReport> {
        self.check_free("evaluate")?;
        self.model.check(batch)?;
        if batch.weights.is_some() {
            let expected = "none in an evaluation, whose metrics count every target once";
            return Err(Error::shape("weights", expected, "some"));
        }
        let Self { model, params, memory, threads, .. } = self;
        let memory = &mut *memory.take();
        let (head, params) = (model.head(), params.as_slice());
        let d = model.config().d_model;
        threads.install(|| {
            model.infer(params, batch, memory, |Inferred { features, targets, scratch, .. }| {
                let n = features.len() / d;
                let pass = head_pass(model, params, n, scratch);
                let Some(targets) = targets else { return Ok(EvalReport::default()) };
                let n_values = model.target().n_values;
                let mut found = Predictions {
                    classes: try_room(&[n], "the predictions of this batch")?,
                    numbers: try_room(&[n, n_values], "the predictions of this batch")?,
                };
                let wanted = Wanted::Predictions(&mut found);
                let sums = head.forward_backward(pass, features, targets, wanted, None, None);
                EvalReport::new(sums, &targets.targets, &found, n_values)
            })
        })?
    }

    /// Scores: `[B, T, C]` where every token has its own target, `[S, C]` or `[S, K]` where a document has.
    pub fn predict(&self, batch: &Batch) -> Result<Vec<T>> {
        self.check_free("predict")?;
        let width = self.model.head().n_scores();
        self.head_output(batch, width, "the scores of this batch", |head, pass, x, out| {
            head.scores(pass, x, out);
        })
    }

    /// Scores as [`Session::predict`] answers them, and what they are made of: the features that the head reads,
    /// `[B, T, D]` or, pooled, `[S, D]` ([`Model::feature_shape`](crate::model::Model::feature_shape)).
    ///
    /// ```
    /// # use ssm_hpn::{Threads, data::{Batch, Input}, model::ModelConfig, optim::OptimConfig, session::Session};
    /// # use ssm_hpn::target::Target;
    /// let model = ModelConfig::from_json(
    ///     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 1,
    ///         "block": {"kind": "mamba1"}, "target": {"kind": "sequence_class", "pooling": "mean"},
    ///         "head": {"kind": "linear", "n_outputs": 3}}"#,
    /// )?;
    /// let session = Session::<f64>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
    /// let batch = Batch::whole(2, 4, Input::Tokens(vec![1, 2, 3, 4, 5, 6, 0, 1]), Target::none());
    /// let (scores, features) = session.predict_with_features(&batch)?;
    /// assert_eq!(scores, session.predict(&batch)?);
    /// assert_eq!(session.model().feature_shape(&batch), [2, 8]);
    /// assert_eq!(features.len(), 2 * 8);
    /// # Ok::<(), ssm_hpn::Error>(())
    /// ```
    pub fn predict_with_features(&self, batch: &Batch) -> Result<(Vec<T>, Vec<T>)> {
        self.check_free("predict")?;
        let (width, d) = (self.model.head().n_scores(), self.model.config().d_model);
        self.with_features(batch, |head, pass, x| {
            let mut scores = try_filled(T::ZERO, &[x.len() / d, width], "the scores of this batch")?;
            let features = try_collected(x.iter().copied(), "the features of this batch")?;
            head.scores(pass, x, &mut scores);
            Ok((scores, features))
        })
    }

    /// Points on the unit sphere of the prototypes, `[B, T, Q]` or `[S, Q]`: their products with the prototypes are the
    /// scores of the classes. Refused without a prototype head.
    ///
    /// ```
    /// # use ssm_hpn::{Threads, data::{Batch, Input}, model::ModelConfig, optim::OptimConfig, session::Session};
    /// # use ssm_hpn::target::Target;
    /// let model = ModelConfig::from_json(
    ///     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 1,
    ///         "block": {"kind": "mamba1"}, "target": {"kind": "next_token"},
    ///         "head": {"kind": "prototype", "n_classes": 7, "dim": 6}}"#,
    /// )?;
    /// let session = Session::<f64>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
    /// let batch = Batch::whole(1, 2, Input::Tokens(vec![1, 2]), Target::none());
    /// let (points, scores) = (session.embed(&batch)?, session.predict(&batch)?);
    /// assert_eq!(session.model().embedding_shape(&batch), [1, 2, 6]);
    ///
    /// let (_, prototypes) = session.parameter("head.prototypes")?;
    /// let product: f64 = points[..6].iter().zip(prototypes).map(|(z, p)| z * p).sum();
    /// assert!((product - scores[0]).abs() < 1e-12);
    /// # Ok::<(), ssm_hpn::Error>(())
    /// ```
    pub fn embed(&self, batch: &Batch) -> Result<Vec<T>> {
        self.check_free("embed")?;
        let width = self.model.head().embedding_width();
        if width == 0 {
            let found = format!("{:?}", self.model.config().head.kind);
            let advice = "set it to \"prototype\", or take the hidden states";
            return Err(Error::config(
                "model.head.kind",
                "\"prototype\", whose sphere points lie on",
                found,
                advice,
            ));
        }
        self.head_output(batch, width, "the points of this batch", |head, pass, x, out| {
            head.embed(pass, x, out);
        })
    }

    /// `width` numbers of the head for every feature of a batch.
    fn head_output(
        &self,
        batch: &Batch,
        width: usize,
        what: &str,
        fill: impl FnOnce(&dyn Head<T>, Pass<T>, &[T], &mut [T]) + Send,
    ) -> Result<Vec<T>> {
        let d = self.model.config().d_model;
        self.with_features(batch, |head, pass, x| {
            let mut out = try_filled(T::ZERO, &[x.len() / d, width], what)?;
            fill(head, pass, x, &mut out);
            Ok(out)
        })
    }

    /// Passes the head, its pass and the features of a batch to `use_found`.
    fn with_features<R: Send>(
        &self,
        batch: &Batch,
        use_found: impl FnOnce(&dyn Head<T>, Pass<T>, &[T]) -> Result<R> + Send,
    ) -> Result<R> {
        self.model.check(batch)?;
        let Self { model, params, memory, threads, .. } = self;
        let memory = &mut *memory.take();
        let (head, params) = (model.head(), params.as_slice());
        let d = model.config().d_model;
        threads.install(|| {
            model.infer(params, batch, memory, |Inferred { features, scratch, .. }| {
                use_found(head, head_pass(model, params, features.len() / d, scratch), features)
            })
        })?
    }

    /// Hidden states after the final norm, `[B, T, D]`.
    pub fn hidden(&self, batch: &Batch) -> Result<Vec<T>> {
        self.check_free("read hidden states")?;
        self.model.check(batch)?;
        let Self { model, params, memory, threads, .. } = self;
        let memory = &mut *memory.take();
        threads.install(|| {
            model.infer(params.as_slice(), batch, memory, |found| {
                try_collected(found.hidden.iter().copied(), "the hidden states of this batch")
            })
        })?
    }

    /// A recurrent state for `rows` rows, which [`Session::read`] updates.
    ///
    /// ```
    /// # use ssm_hpn::{Result, Threads, data::Input, model::ModelConfig, optim::OptimConfig, session::Session};
    /// # fn main() -> Result<()> {
    /// # let model = r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 1,
    /// #     "block": {"kind": "mamba1"}, "target": {"kind": "next_token"},
    /// #     "head": {"kind": "linear", "n_outputs": 7}}"#;
    /// # let model = ModelConfig::from_json(model)?;
    /// # let session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
    /// let mut stream = session.stream(2)?;
    /// // Three tokens of each of the two rows at once, then one more.
    /// session.read(&mut stream, &Input::Tokens(vec![1, 2, 3, 4, 5, 6]), 3)?;
    /// let scores = session.read(&mut stream, &Input::Tokens(vec![0, 1]), 1)?;
    /// assert_eq!(scores.len(), 2 * 7); // [rows, n_scores]
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(&self, rows: usize) -> Result<Stream<T>> {
        Stream::new(&self.model, rows)
    }

    /// Reads `length` tokens of every row into a stream and returns the scores after the last, `[rows, n_scores]`.
    ///
    /// A read of little work, such as a token by a small model, is done by the calling thread. For others, call it in a
    /// loop inside one `session.threads().install(…)`: each call then does without being handed to the pool.
    pub fn read<'a>(&self, stream: &'a mut Stream<T>, input: &Input, length: usize) -> Result<&'a [T]> {
        self.check_free("read a stream")?;
        let (model, params) = (&self.model, self.params.as_slice());
        if params.len() * stream.rows() * length <= SMALL || self.threads.count() == 1 {
            return alone(|| stream.read(model, params, input, length));
        }
        self.threads.install(|| stream.read(model, params, input, length))?
    }

    /// Continues a prompt by `n` tokens, each drawn as [`Sampling`] says.
    pub fn generate(&self, prompt: &[u32], n: usize, sampling: &Sampling) -> Result<Vec<u32>> {
        let InputConfig::Tokens { vocab_size } = self.model.config().input else {
            return Err(Error::shape("generate", "a model of tokens", "a model of numbers"));
        };
        if !self.model.target().kind.from_tokens {
            let found = "a model that was trained to predict something else";
            return Err(Error::shape("generate", "a model that predicts the next token", found));
        }
        if self.model.head().n_scores() > vocab_size || prompt.is_empty() {
            let found =
                if prompt.is_empty() { "an empty prompt" } else { "a head that predicts something else" };
            return Err(Error::shape("generate", "a prompt, and a head that predicts tokens", found));
        }
        sampling.check()?;
        self.check_free("generate")?;
        let scale = self.model.head().logit_scale(&self.model.head_params(self.params.as_slice()));
        let mut rng = init::stream(sampling.seed, "generate");
        let mut stream = self.stream(1)?;
        let mut input = prompt.to_vec();
        let mut continuation = Vec::new();
        for _ in 0..n {
            let length = input.len();
            let scores = self.read(&mut stream, &Input::Tokens(input), length)?;
            let token = sampling.pick(scores, scale, init::uniform(&mut rng));
            continuation.push(token);
            input = vec![token];
        }
        Ok(continuation)
    }
}

/// Multiply-adds of a read that the calling thread does itself: some 60 µs.
const SMALL: usize = 1 << 20;

/// The head's pass over n features, nothing of which is trained.
fn head_pass<'a, T: Scalar>(
    model: &'a Model<T>,
    params: &'a [T],
    n: usize,
    scratch: &'a mut [T],
) -> Pass<'a, T> {
    Pass::new(model.head_params(params), Layout::whole(n, 1), Mode::Inference, scratch)
}

/// Settings for drawing the next token.
///
/// ```text
/// P(i) ∝ exp(z_i / temperature)        of the top_k best tokens, or of all; z the logits
/// drawn from the smallest set of best tokens with Σ P ≥ top_p, or from all
/// ```
///
/// The second line is the nucleus of Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020, section 3.1.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Sampling;
/// # use ssm_hpn::session::Session;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// let sampling = Sampling { temperature: 0.8, top_k: Some(3), top_p: Some(0.9), seed: 1 };
/// let tokens = session.generate(&[1, 2], 8, &sampling)?;
/// assert_eq!(tokens.len(), 8);
/// assert_eq!(tokens, session.generate(&[1, 2], 8, &sampling)?); // the seed decides
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the best one.
    pub temperature: f64,
    /// Number of best tokens to draw from.
    pub top_k: Option<usize>,
    /// Probability that the tokens to draw from have together, above 0 and up to 1.
    pub top_p: Option<f64>,
    /// Seed of the draws.
    pub seed: u64,
}

impl Sampling {
    fn check(&self) -> Result<()> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let advice = "0 takes the best token each time, 0.7 is usual";
            return Err(Error::config("temperature", "a number from 0 on", self.temperature, advice));
        }
        if self.top_k == Some(0) {
            return Err(Error::config("top_k", "a number of tokens from 1 on", 0, "leave it out for all"));
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => {
                Err(Error::config("top_p", "a probability above 0 and up to 1", p, "0.9 is usual"))
            }
            _ => Ok(()),
        }
    }

    /// The token for a uniform number in [0, 1); `scale` turns scores into logits.
    fn pick<T: Scalar>(&self, scores: &[T], scale: f64, u: f64) -> u32 {
        let mut ranked = Ranked::new(scores);
        let first = ranked.at(0);
        if self.temperature == 0.0 {
            return first as u32;
        }
        let best = scores[first].to_f64();
        let weight = |i: usize| (scale * (scores[i].to_f64() - best) / self.temperature).exp();
        let mut count = self.top_k.unwrap_or(scores.len()).min(scores.len());
        let mut total: f64 = if count == scores.len() {
            (0..count).map(weight).sum()
        } else {
            (0..count).map(|rank| weight(ranked.at(rank))).sum()
        };
        if let Some(top_p) = self.top_p.filter(|p| *p < 1.0) {
            let (mut missing, mut sum) = (top_p * total, 0.0);
            let nucleus = (0..count).position(|rank| {
                let weight = weight(ranked.at(rank));
                sum += weight;
                missing -= weight;
                missing <= 0.0
            });
            (count, total) = nucleus.map_or((count, total), |last| (last + 1, sum));
        }
        let mut left = u * total;
        for rank in 0..count - 1 {
            left -= weight(ranked.at(rank));
            if left < 0.0 {
                return ranked.at(rank) as u32;
            }
        }
        ranked.at(count - 1) as u32
    }
}

/// The places of scores from the best on, of equal ones the first first; sorted as far as they are asked for.
struct Ranked<'a, T> {
    scores: &'a [T],
    order: Vec<u32>,
    /// Places that are sorted.
    sorted: usize,
}

impl<'a, T: Scalar> Ranked<'a, T> {
    /// Places that are sorted at first, and by what factor more if they are not enough.
    const FIRST: usize = 32;
    const MORE: usize = 8;

    fn new(scores: &'a [T]) -> Self {
        Self { scores, order: (0..scores.len() as u32).collect(), sorted: 0 }
    }

    /// The place of the score with this rank.
    fn at(&mut self, rank: usize) -> usize {
        let scores = self.scores;
        let better = |a: &u32, b: &u32| {
            let [of_a, of_b] = [a, b].map(|i| scores[*i as usize].to_f64());
            of_b.total_cmp(&of_a).then(a.cmp(b))
        };
        while self.sorted <= rank {
            let wanted = (self.sorted * Self::MORE).max(Self::FIRST) - self.sorted;
            let rest = &mut self.order[self.sorted..];
            let wanted = wanted.min(rest.len());
            if wanted < rest.len() {
                rest.select_nth_unstable_by(wanted, better);
            }
            rest[..wanted].sort_unstable_by(better);
            self.sorted += wanted;
        }
        self.order[rank] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_has_the_softmax_frequencies_of_the_best_tokens() {
        let scores = [0.0_f64, 3.0, 2.0, -5.0];
        let draw = |temperature, top_k, u| {
            Sampling { temperature, top_k, top_p: None, seed: 0 }.pick(&scores.map(|s| s / 2.0), 2.0, u)
        };
        assert_eq!(draw(0.0, None, 0.9), 1);
        assert_eq!(draw(1.0, Some(1), 0.999), 1);
        let total: f64 = scores.iter().map(|s| s.exp()).sum();
        let first = 3_f64.exp() / total;
        assert_eq!((draw(1.0, None, first - 1e-9), draw(1.0, None, first + 1e-9)), (1, 2));
        assert_eq!(draw(1.0, None, 1.0 - 1e-16), 3);
        assert_eq!(draw(1.0, Some(2), 1.0 - 1e-16), 2);
        // The best token alone has the probability `first`, the best two `second`.
        let second = first + 2_f64.exp() / total;
        let last = |top_p, top_k| {
            let sampling = Sampling { temperature: 1.0, top_k, top_p: Some(top_p), seed: 0 };
            sampling.pick(&scores.map(|s| s / 2.0), 2.0, 1.0 - 1e-16)
        };
        assert_eq!((last(first - 1e-9, None), last(first + 1e-9, None)), (1, 2));
        assert_eq!((last(second - 1e-9, None), last(second + 1e-9, None), last(1.0, None)), (2, 0, 3));
        assert_eq!(last(1.0, Some(2)), 2);
        let of_two = first / second;
        assert_eq!((last(of_two - 1e-9, Some(2)), last(of_two + 1e-9, Some(2))), (1, 2));
        let two = Sampling { temperature: 1.0, top_k: None, top_p: Some(second - 1e-9), seed: 0 };
        let pick = |u| two.pick(&scores.map(|s| s / 2.0), 2.0, u);
        assert_eq!((pick(of_two - 1e-9), pick(of_two + 1e-9)), (1, 2));
    }
}
