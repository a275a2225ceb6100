//! The session: construction, gradients of micro-batches, updates.

#![forbid(unsafe_code)]

use super::pending::{Branches, Exchanged, Pending};
use super::report::{self, ApplyReport, StepReport};
use super::statistics::Statistics;
use super::workspaces::Workspaces;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::head::Accuracy;
use crate::kernels::matmul::Precision;
use crate::model::memory::StepMemory;
use crate::model::{ActivationMemory, Carried, Model, ModelConfig, Registry, States};
use crate::numeric::Scalar;
use crate::optim::{AdamW, OptimConfig};
use crate::parallel::Threads;
use crate::params::{Arena, TensorMasks};
use crate::pass::Key;
use crate::profile::{Phase, Profile, phase, recorded};
use crate::simd::Bf16Unit;

/// The largest cosine between two prototypes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LargestCosine {
    /// Not computed since the prototypes changed.
    Changed,
    /// `None` for a head without prototypes.
    Known(Option<f64>),
}

/// A model in training or use.
///
/// ```
/// use ssm_hpn::data::{Batch, Input};
/// use ssm_hpn::head::Accuracy;
/// use ssm_hpn::model::ModelConfig;
/// use ssm_hpn::optim::OptimConfig;
/// use ssm_hpn::session::{Sampling, Session};
/// use ssm_hpn::target::Target;
/// use ssm_hpn::{Result, Threads};
///
/// # fn main() -> Result<()> {
/// let model = ModelConfig::from_json(
///     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 1,
///         "block": {"kind": "mamba1"}, "target": {"kind": "next_token"},
///         "head": {"kind": "linear", "n_outputs": 7}}"#,
/// )?;
/// let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// // One row of four tokens; the class of each is the token that follows, -1 for none.
/// let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
///
/// let report = session.forward_backward(&batch, Accuracy::Count)?;
/// assert_eq!(report.count, 3);
/// assert!(session.apply()?.applied);
/// assert!(session.evaluate(&batch)?.sums.loss < report.loss);
///
/// assert_eq!(session.predict(&batch)?.len(), 4 * 7); // [B, T, C]
/// assert_eq!(session.hidden(&batch)?.len(), 4 * 8); // [B, T, D]
/// let greedy = Sampling { temperature: 0.0, top_k: None, top_p: None, seed: 0 };
/// assert_eq!(session.generate(&[1, 2], 5, &greedy)?.len(), 5);
///
/// let folder = tempfile::tempdir().expect("a folder");
/// session.save(&folder.path().join("step-00000001"), serde_json::json!({"note": "mine"}))?;
/// let (again, extra) = Session::<f32>::load(folder.path(), Threads::new(Some(1))?)?;
/// assert_eq!((again.digest()?, again.step()), (session.digest()?, 1));
/// assert_eq!(extra["note"], "mine");
/// # Ok(())
/// # }
/// ```
pub struct Session<T: Scalar> {
    pub(super) model: Model<T>,
    pub(super) params: Arena<T>,
    pub(super) grads: Arena<T>,
    pub(super) masks: TensorMasks,
    pub(super) optimizer: AdamW<T>,
    pub(super) memory: Workspaces<T>,
    pub(super) pending: Pending,
    /// Sums of virtual ranks before the present one.
    pub(super) branches: Branches<T>,
    /// Buffers of gradients beyond the first that an update takes, for the plan of memory.
    pub(super) more_gradients: usize,
    /// The other ranks, where several train the model.
    pub(super) exchange: Option<Box<dyn Exchange>>,
    /// Whether the next micro-batch is the last of this rank's update.
    pub(super) is_last: bool,
    /// What the last micro-batch has exchanged of its update during its pass.
    pub(super) exchanged: Exchanged,
    /// Number of the next micro-batch within its update.
    next_micro_batch: u64,
    /// What the head keeps over the updates besides its parameters.
    pub(super) statistics: Statistics,
    /// Weight of each class in training; empty for 1 each.
    pub(super) class_weights: Vec<f64>,
    /// States that the next batch of [`Session::forward_backward_carried`] goes on from.
    pub(super) carried: Option<States<T>>,
    /// Precision of the factors of products in training.
    pub(super) precision: Precision,
    pub(super) seed: u64,
    pub(super) threads: Threads,
    pub(super) cosine: LargestCosine,
    /// Whether the flat buffers are lent out.
    pub(super) lent: bool,
    /// Times by phase, while a profile is recorded.
    pub(super) profile: Option<Profile>,
}

impl<T: Scalar> std::fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model)
            .field("step", &self.step())
            .finish_non_exhaustive()
    }
}

/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::model::{ActivationMemory, Carried, Registry};
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// # let config = session.model().config().clone();
/// let optim = OptimConfig { lr: 0.01, ..OptimConfig::default() };
/// let threads = Threads::new(Some(2))?;
/// let mut session = Session::<f32>::with_registry(config, optim, 5, threads, &Registry::standard())?;
/// assert_eq!((session.seed(), session.threads().count(), session.optim_config().lr), (5, 2, 0.01));
/// let table = session.parameter_table();
/// let numbers: usize = table.iter().map(|row| row.shape.iter().product::<usize>()).sum();
/// assert_eq!(session.n_parameters(), numbers);
/// // Parameters, gradients and two moments, and what a batch keeps.
/// assert!(session.predicted_peak_bytes(1, 4) > 4 * 4 * numbers);
///
/// // An update of two micro-batches, of which another machine computes the first; then without it.
/// session.number_next_micro_batch(1)?;
/// session.forward_backward(&batch, Accuracy::Skip)?;
/// assert_eq!((session.count(), session.weight()), (3, 3.0));
/// session.zero_grad()?;
/// assert_eq!(session.count(), 0);
///
/// // The targets of the first class count three times as much as the others.
/// session.set_class_weights(&[3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])?;
///
/// // Less memory from here on.
/// session.set_activation_memory(ActivationMemory::Recompute, None)?;
///
/// // A batch that goes on from states.
/// let mut states = session.states(1)?;
/// let carried = Carried { states: &mut states, gradient: None };
/// session.forward_backward_from(&batch, Accuracy::Skip, carried)?;
/// session.forward_backward_carried(&batch, Accuracy::Skip)?;
/// assert_eq!(session.carried().expect("states"), &states);
/// assert_eq!(session.next_lr(), 0.01);
/// session.apply()?;
/// assert_eq!((session.step(), session.skipped()), (1, 0));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
impl<T: Scalar> Session<T> {
    /// A new model with the block and head kinds of this crate.
    pub fn new(model: ModelConfig, optim: OptimConfig, seed: u64, threads: Threads) -> Result<Self> {
        Self::with_registry(model, optim, seed, threads, &Registry::standard())
    }

    /// A new model with the block and head kinds of a registry.
    pub fn with_registry(
        model: ModelConfig,
        optim: OptimConfig,
        seed: u64,
        threads: Threads,
        registry: &Registry<T>,
    ) -> Result<Self> {
        let (model, params) = threads.install(|| {
            let model = Model::new(model, registry, seed)?;
            let params = model.initial(seed)?;
            Ok::<_, Error>((model, params))
        })??;
        Self::assembled(model, params, optim, seed, threads)
    }

    /// The session of a model whose parameters are there.
    pub(super) fn assembled(
        model: Model<T>,
        params: Arena<T>,
        optim: OptimConfig,
        seed: u64,
        threads: Threads,
    ) -> Result<Self> {
        let masks = TensorMasks::declared(model.table());
        Ok(Self {
            grads: Arena::try_zeros(params.as_slice().len(), "the gradients")?,
            optimizer: AdamW::new(optim, model.table(), &masks)?,
            memory: Workspaces::default(),
            pending: Pending::default(),
            branches: Branches::default(),
            more_gradients: 0,
            exchange: None,
            is_last: false,
            exchanged: Exchanged::default(),
            next_micro_batch: 0,
            statistics: Statistics::zeros(model.head().statistics(0))?,
            class_weights: Vec::new(),
            carried: None,
            precision: Precision::F32,
            cosine: LargestCosine::Changed,
            lent: false,
            profile: None,
            model,
            params,
            masks,
            seed,
            threads,
        })
    }

    /// Adds the gradients of one micro-batch.
    pub fn forward_backward(&mut self, batch: &Batch, accuracy: Accuracy) -> Result<StepReport> {
        self.run_batch(batch, accuracy, None)
    }

    /// As [`Session::forward_backward`] for rows that go on from states, which move on to the end of the batch: a sequence
    /// longer than a batch is trained piece by piece. The first document of every row is the one that goes on.
    ///
    /// Without a gradient of the states nothing flows back from one piece to the one before. With it, pieces run from the
    /// last to the first give the gradients of the whole sequence.
    pub fn forward_backward_from(
        &mut self,
        batch: &Batch,
        accuracy: Accuracy,
        carried: Carried<T>,
    ) -> Result<StepReport> {
        carried.check(&self.model, batch.rows)?;
        self.run_batch(batch, accuracy, Some(carried))
    }

    /// As [`Session::forward_backward`] for the next batch of a stream, of which each row goes on from the same row of the
    /// batch before where [`Batch::continued`] says so: sequences longer than a row. The session keeps the states between
    /// batches, a checkpoint has them, and nothing flows back from one batch to the one before.
    ///
    /// States that are not finite are not kept: the next batch starts at zero.
    pub fn forward_backward_carried(&mut self, batch: &Batch, accuracy: Accuracy) -> Result<StepReport> {
        self.check_alone("carried states")?;
        if let Some(states) = self.carried.as_ref().filter(|states| states.rows() != batch.rows) {
            return Err(Error::config(
                "train.batch_size",
                format!("{}, as of the states that are carried on", states.rows()),
                batch.rows,
                "go on with that number, or start another run",
            ));
        }
        let mut states = match self.carried.take() {
            Some(states) => states,
            None => self.states(batch.rows)?,
        };
        let carried = Carried { states: &mut states, gradient: None };
        let report = self.forward_backward_from(batch, accuracy, carried);
        let is_finite = states.layers().flatten().all(|x| x.is_finite());
        self.carried = is_finite.then_some(states);
        report
    }

    /// The states that the next batch of [`Session::forward_backward_carried`] goes on from.
    pub fn carried(&self) -> Option<&States<T>> {
        self.carried.as_ref()
    }

    /// Zero states of `rows` rows, for [`Session::forward_backward_from`].
    pub fn states(&self, rows: usize) -> Result<States<T>> {
        States::zeros(&self.model, rows)
    }

    fn run_batch(
        &mut self,
        batch: &Batch,
        accuracy: Accuracy,
        carried: Option<Carried<T>>,
    ) -> Result<StepReport> {
        self.check_free("run a batch")?;
        self.check_not_exchanged("run a batch")?;
        self.model.check(batch)?;
        self.model.check_memory(&self.masks, batch, self.step_memory())?;
        let (trained, exchanged) = self.run_pass(batch, accuracy, carried)?;
        self.take_in_exchanged(exchanged)?;
        let trained = trained?;
        self.pending.micro_batches += 1;
        self.next_micro_batch += 1;
        self.pending.loss += trained.sums.loss;
        self.pending.count += trained.sums.count;
        self.pending.weight += trained.weight;
        self.pending.scored += trained.sums.scored;
        self.pending.correct += trained.sums.correct;
        Ok(StepReport::weighted(trained.sums, trained.weight))
    }

    /// Key of the random numbers of the next micro-batch.
    pub(super) fn key(&self) -> Key {
        Key::new(self.seed, self.step() + self.skipped(), self.next_micro_batch)
    }

    /// One update from the gradients added so far, which then are zero.
    ///
    /// If the loss or a gradient is not finite nothing changes but the count of skipped updates; too many in a row are
    /// [`Error::Diverged`]. Without a single target there is nothing to do: nothing changes, not even that count.
    pub fn apply(&mut self) -> Result<ApplyReport> {
        self.check_free("apply an update")?;
        self.join_virtual_ranks()?;
        self.exchange_gradients()?;
        let pending = std::mem::take(&mut self.pending);
        self.next_micro_batch = 0;
        let pending = self.joined_over_ranks(pending)?;
        if pending.micro_batches == 0 {
            return Err(Error::shape("update", "at least one micro-batch since the last one", "none"));
        }
        if pending.count == 0 {
            self.statistics.discard();
            return Ok(self.idle_report());
        }
        let Self { model, params, grads, optimizer, threads, profile, exchange, .. } = self;
        let (table, sums) = (model.table(), (pending.loss, pending.weight));
        let update = if let Some(exchange) = exchange.as_deref() {
            optimizer.apply_shared(table, (params, grads), sums, (exchange, threads))
        } else {
            let update = || optimizer.apply(table, params, grads, sums);
            let update = threads.install(|| recorded(profile.as_mut(), || phase(Phase::Optimiser, update)));
            update.and_then(|update| update)
        };
        let update = match update {
            Ok(update) if update.applied => update,
            skipped => {
                self.statistics.discard();
                skipped?
            }
        };
        if update.applied {
            self.take_in_statistics();
        }
        if self.prototypes_are_trained() {
            self.cosine = LargestCosine::Changed;
        }
        Ok(ApplyReport {
            step: self.step(),
            applied: update.applied,
            lr: update.lr,
            grad_norm: update.grad_norm,
            update_norm: update.update_norm,
            clipped: update.clipped,
            skipped: self.skipped(),
            loss: report::mean(pending.loss, pending.weight),
            count: pending.count,
            scored: pending.scored,
            correct: pending.correct,
            fault: update.fault,
        })
    }

    /// Lets the head use what the passes of an applied update have gathered.
    fn take_in_statistics(&mut self) {
        let updates = self.step();
        let Self { model, params, statistics, .. } = self;
        let len = model.head().statistics(updates);
        statistics.take_in(len, |kept, gathered| {
            model.head_updated(updates, kept, gathered, params.as_mut_slice());
        });
    }

    /// The report of an update without targets.
    fn idle_report(&self) -> ApplyReport {
        ApplyReport {
            step: self.step(),
            applied: false,
            lr: self.optimizer.lr(),
            grad_norm: 0.0,
            update_norm: 0.0,
            clipped: false,
            skipped: self.skipped(),
            loss: 0.0,
            count: 0,
            scored: 0,
            correct: 0,
            fault: None,
        }
    }

    /// Sets the gradients added so far to zero.
    pub fn zero_grad(&mut self) -> Result<()> {
        self.check_free("clear the gradients")?;
        self.grads.as_mut_slice().fill(T::ZERO);
        self.forget_exchanged();
        self.statistics.discard();
        self.drop_branches();
        self.pending = Pending::default();
        self.next_micro_batch = 0;
        Ok(())
    }

    /// The next micro-batch is this one of its update; without a number they count from 0. Machines that share the
    /// micro-batches of an update so draw the random numbers that one machine would.
    pub fn number_next_micro_batch(&mut self, number: u64) -> Result<()> {
        self.check_free("number a micro-batch")?;
        self.next_micro_batch = number;
        Ok(())
    }

    /// From now on the targets of each class count by its weight in training, which multiplies that of their documents;
    /// without weights 1 each. They are a setting of the caller, and in no checkpoint.
    pub fn set_class_weights(&mut self, weights: &[f64]) -> Result<()> {
        self.check_free("weigh classes")?;
        self.check_no_gradients("class_weights")?;
        let classes = self.model.limits().widths.n_classes.unwrap_or(0);
        if !weights.is_empty() && weights.len() != classes {
            return Err(Error::shape(
                "class weights",
                format!("{classes}, one for each class"),
                weights.len(),
            ));
        }
        if let Some(class) = weights.iter().position(|weight| !(weight.is_finite() && *weight > 0.0)) {
            let place = format!("class weights, class {class}");
            return Err(Error::shape(place, "a finite number above 0", weights[class]));
        }
        self.class_weights = weights.to_vec();
        Ok(())
    }

    /// Keeps other activations for the backward pass from now on, as [`ActivationMemory`] says, within `limit` megabytes
    /// where it is `Auto`. Results stay what they are.
    pub fn set_activation_memory(&mut self, memory: ActivationMemory, limit: Option<u64>) -> Result<()> {
        self.check_free("change the memory of activations")?;
        self.model.set_activation_memory(memory, limit)
    }

    /// From now on the factors of products of gradients (forward and back) are rounded to this precision. Parameters,
    /// gradients, moments, states and sums keep theirs, and evaluation and inference are not affected. It is a setting of the
    /// caller, and in no checkpoint.
    ///
    /// Refused where the environment names a unit for bf16 that is not there; [`crate::simd::Bf16Unit::active`] tells which
    /// one is used.
    ///
    /// ```
    /// # use ssm_hpn::Threads;
    /// # use ssm_hpn::data::{Batch, Input};
    /// # use ssm_hpn::head::Accuracy;
    /// # use ssm_hpn::model::ModelConfig;
    /// # use ssm_hpn::optim::OptimConfig;
    /// # use ssm_hpn::session::Session;
    /// # use ssm_hpn::target::Target;
    /// use ssm_hpn::kernels::matmul::Precision;
    ///
    /// # let model = ModelConfig::from_json(
    /// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
    /// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
    /// # )?;
    /// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
    /// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
    /// let exact = session.forward_backward(&batch, Accuracy::Skip)?.loss;
    /// session.set_precision(Precision::Bf16)?;
    /// assert_eq!(session.precision(), Precision::Bf16);
    /// let rounded = session.forward_backward(&batch, Accuracy::Skip)?.loss;
    /// assert!(rounded != exact && (rounded - exact).abs() < 0.01 * exact);
    /// # Ok::<(), ssm_hpn::Error>(())
    /// ```
    pub fn set_precision(&mut self, precision: Precision) -> Result<()> {
        self.check_free("change the precision")?;
        if precision == Precision::Bf16 {
            Bf16Unit::check_environment()?;
        }
        self.precision = precision;
        Ok(())
    }

    /// Precision of the factors of products in training.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Updates applied so far.
    pub fn step(&self) -> u64 {
        self.optimizer.counters().applied
    }

    /// Updates skipped so far for a value that was not finite.
    pub fn skipped(&self) -> u64 {
        self.optimizer.counters().skipped
    }

    /// Learning rate of the next update.
    pub fn next_lr(&self) -> f64 {
        self.optimizer.lr()
    }

    /// Global norm of the mean gradient that waits for an update, before clipping; 0 without a target.
    pub fn grad_norm(&mut self) -> Result<f64> {
        self.check_free("read the gradients")?;
        self.check_joined()?;
        let Self { grads, optimizer, threads, pending, .. } = self;
        let norm = threads.install(|| optimizer.norm(grads))?;
        Ok(if pending.count == 0 { 0.0 } else { norm / pending.weight })
    }

    /// Targets behind the gradients that wait for an update.
    pub fn count(&self) -> u64 {
        self.all_pending().count
    }

    /// Sums of all virtual ranks of the present update.
    pub(super) fn all_pending(&self) -> Pending {
        self.branches.pending().joined(self.pending)
    }

    /// Sum of the weights of these targets: divide the gradients by it for the mean. It is their number where batches have
    /// no weights.
    pub fn weight(&self) -> f64 {
        self.all_pending().weight
    }

    /// The model.
    pub fn model(&self) -> &Model<T> {
        &self.model
    }

    /// The optimiser's settings.
    pub fn optim_config(&self) -> &OptimConfig {
        self.optimizer.config()
    }

    /// The threads that the session runs on.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The seed that the model started from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Numbers that are trained unless frozen, shared ones once.
    pub fn n_parameters(&self) -> usize {
        self.model.table().parameter_count()
    }

    /// Bytes that a training step on batches of this size needs, with one document per row: parameters, gradients, both
    /// moments, activations, the gradients of [`Session::plan_virtual_ranks`], what ranks exchange at a time, and copies
    /// of factors where products in bf16 are emulated. `usize::MAX` where there are more positions than a batch may have.
    pub fn predicted_peak_bytes(&self, rows: usize, length: usize) -> usize {
        self.model.step_bytes(&self.masks, (rows, length), self.step_memory())
    }

    pub(super) fn step_memory(&self) -> StepMemory {
        let exchange = self.optimizer.exchange_elements();
        StepMemory { precision: self.precision, more_gradients: self.more_gradients, exchange }
    }

    /// Bytes of both moments that this session keeps: where ranks share the training, those of its share of the parameters.
    pub fn moment_bytes(&self) -> usize {
        self.optimizer.moments().iter().map(|moments| size_of_val(moments.as_slice())).sum()
    }

    pub(super) fn check_free(&self, action: &'static str) -> Result<()> {
        if self.lent { Err(Error::Borrowed { action }) } else { Ok(()) }
    }
}
