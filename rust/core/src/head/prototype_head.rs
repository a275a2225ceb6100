//! The hyperspherical prototype head: a projection onto the sphere, and prototypes on it.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `head.projection.weight` | `[Q, D]` | U(±1/√D), decayed; a tenth of that for losses that only attract; absent for an identity projection |
//! | `head.projection.bias` | `[Q]` | 0 |
//! | `head.prototypes` | `[C, Q]`, `[C, Q-1]` for the joint loss | fixed; learnable: its rows are brought to unit length where they are used; spare ones follow those of the classes |
//! | `head.scale` | `[1]` | where it is learned |
//!
//! ```text
//! z = W·f + b,  ẑ = z/max(‖z‖, 1e-8),  loss(ẑ, P) as in `losses`;  g_f = Wᵀ·g_z,  g_W = g_zᵀ·f,  g_b = Σ g_z
//! ```
//!
//! Scores are the cosines ẑ·p_k, the predicted number for a regression, and the cosines followed by the number for the
//! joint loss. Training with the cosine, regression or joint loss costs nothing that grows with C.

use std::sync::Arc;

use super::config::{Assignment, Placement, Projection, PrototypeConfig, PrototypePlan};
use super::interface::{Head, HeadReport, Targets, WeightedTargets};
use super::loss_config::LossConfig;
use super::losses::{self, ClassAndValue, Range, Shares, Smoothing, Softmax, WeightedClasses};
use super::predictions::Wanted;
use super::prototypes::assignment::by_vectors;
use super::prototypes::{ClassVectors, class_vectors, placed};
use super::rows::{
    ABSOLUTE, Direction, FIELDS, LOSS, PREDICTED, RowRecord, SQUARED, chunk_rows, dots, for_each_block,
    scale, stride, totals,
};
use crate::error::{Error, Result};
use crate::kernels::Accumulate;
use crate::kernels::matmul::{self, MatMut, MatRef, Precision};
use crate::kernels::softmax::ScoreGradient;
use crate::numeric::Scalar;
use crate::params::init::Maker;
use crate::params::{Grads, Init, ParamSpec, Params, ParamsMut};
use crate::pass::Pass;
use crate::simd::{self, Kernel, Vector};

/// Id of the projection's weight `[Q, D]`.
pub(crate) const PROJECTION: &str = "head.projection.weight";

/// First values of the projection, as a share of the usual 1/√D, for a loss that only attracts. Only ẑ matters, so the
/// share sets how far an update turns it: at 1 the first updates hardly do, and features that are nearly equal stay so;
/// from 0.2 down to 0.05 their classes are about as far apart after 300 updates. A softmax
/// of scaled cosines is content with a small angle and starts at 1.
const ATTRACTED_START: f64 = 0.1;

/// Id of the prototypes.
pub(crate) const PROTOTYPES: &str = "head.prototypes";

/// A prototype head; see the module.
#[derive(Debug)]
pub(crate) struct PrototypeHead {
    pub(super) config: PrototypeConfig,
    pub(super) plan: PrototypePlan,
    pub(super) d_model: usize,
    seed: u64,
    /// Of the classes, for prototypes that are made from them.
    vectors: Option<Arc<ClassVectors>>,
}

/// Places of the tensors among those declared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    projection: Option<usize>,
    pub(super) prototypes: Option<usize>,
    scale: Option<usize>,
}

impl PrototypeHead {
    /// A head over features of `d_model`; `seed` places prototypes that are not given by a formula. `vectors` are those of
    /// the classes where prototypes are made from them; without any, the parameters have to come from a file.
    pub(crate) fn new(
        config: PrototypeConfig,
        d_model: usize,
        seed: u64,
        vectors: Option<Arc<ClassVectors>>,
    ) -> Result<Self> {
        let config = config.with_dim_of(vectors.as_deref());
        let plan = config.plan(d_model)?;
        if let Some(vectors) = &vectors {
            check_vectors(&config, &plan, vectors)?;
        }
        Ok(Self { config, plan, d_model, seed, vectors })
    }

    /// Number, sizes and construction of the prototypes.
    pub(super) fn plan(&self) -> PrototypePlan {
        self.plan
    }

    /// The prototypes, `[prototypes, class_dim]`.
    pub(super) fn prototypes(&self) -> Result<Vec<f64>> {
        if self.config.needs_vectors(self.plan.kind) && self.vectors.is_none() {
            let advice = "pass one for each class";
            return Err(Error::config(class_vectors::KEY, "the vectors of the classes", "none", advice));
        }
        Ok(made(self.plan, self.config.assignment, self.seed, self.vectors.as_deref()))
    }

    pub(super) fn places(&self) -> Places {
        let mut next = 0;
        let mut take = |present: bool, tensors: usize| {
            let place = present.then_some(next);
            next += if present { tensors } else { 0 };
            place
        };
        Places {
            projection: take(self.config.projection == Projection::Linear, 2),
            prototypes: take(self.plan.classes > 0, 1),
            scale: take(matches!(self.config.loss, LossConfig::Softmax { learn_scale: true, .. }), 1),
        }
    }

    fn is_learnable(&self) -> bool {
        self.config.prototypes == Placement::Learnable
    }

    /// The prototypes of the classes, without spare ones.
    pub(super) fn of_classes<'a, T>(&self, prototypes: &'a [T]) -> &'a [T] {
        &prototypes[..self.plan.classes * self.plan.class_dim]
    }

    /// 1 where coordinate 0 is the regression pole of the joint loss, else 0.
    pub(super) fn pole(&self) -> usize {
        self.plan.dim - self.plan.class_dim
    }

    pub(super) fn range<T: Scalar>(&self) -> Option<Range<T>> {
        match self.config.loss {
            LossConfig::Regression { low, high } | LossConfig::Joint { low, high, .. } => {
                Some(Range { low: T::from_f64(low), high: T::from_f64(high) })
            }
            _ => None,
        }
    }

    /// ẑ `[n, Q]` of x `[n, D]`; with a pole and classes, z_0/‖z‖ and z[1..]/‖z[1..]‖.
    fn points<T: Scalar>(&self, precision: Precision, params: &Params<T>, x: &[T], z: &mut [T]) {
        let PrototypePlan { dim, class_dim, .. } = self.plan;
        self.project(precision, params, x, z);
        for_each_block(z, dim, |_, z| simd::run(OntoTheSphere { z, dim, class_dim }));
    }

    /// z `[n, Q]` of x `[n, D]`.
    fn project<T: Scalar>(&self, precision: Precision, params: &Params<T>, x: &[T], z: &mut [T]) {
        let Some(at) = self.places().projection else { return z.copy_from_slice(x) };
        let (dim, d) = (self.plan.dim, self.d_model);
        let n = z.len() / dim;
        matmul::fill_rows(MatMut::new(z, n, dim), params.get(at + 1));
        let (x, weight) = (MatRef::new(x, n, d), MatRef::new(params.get(at), dim, d));
        precision.linear(x, weight, MatMut::new(z, n, dim), Accumulate::Add);
    }

    /// The backward of [`PrototypeHead::project`] for dz `[n, Q]`.
    pub(super) fn project_backward<T: Scalar>(
        &self,
        (precision, params): (Precision, &Params<T>),
        x: &[T],
        dz: &[T],
        dx: Option<&mut [T]>,
        dparams: Option<&mut Grads<T>>,
        scratch: &mut [T],
    ) {
        let Some(at) = self.places().projection else {
            if let Some(dx) = dx {
                dx.copy_from_slice(dz);
            }
            return;
        };
        let (dim, d) = (self.plan.dim, self.d_model);
        let n = dz.len() / dim;
        let dz = MatRef::new(dz, n, dim);
        if let Some(dx) = dx {
            let weight = MatRef::new(params.get(at), dim, d);
            precision.linear_dx(dz, weight, MatMut::new(dx, n, d), Accumulate::Overwrite);
        }
        if let Some(dparams) = dparams {
            if let Some(dweight) = dparams.get(at) {
                precision.linear_dw(dz, MatRef::new(x, n, d), MatMut::new(dweight, dim, d), scratch);
            }
            if let Some(dbias) = dparams.get(at + 1) {
                matmul::sum_rows(dz, dbias, scratch);
            }
        }
    }

    /// Takes the cosines of the rows of z, or of some of them where only right predictions are counted: (looked at, right).
    /// Lengths do not matter to the nearest direction.
    pub(super) fn take_nearest<T: Scalar>(
        &self,
        z: &[T],
        prototypes: &[T],
        classes: &[i32],
        wanted: &mut Wanted<T>,
        scratch: &mut [T],
    ) -> (u64, u64) {
        let PrototypePlan { classes: count, dim, class_dim, .. } = self.plan;
        let stride = match wanted {
            Wanted::Loss => return (0, 0),
            Wanted::Accuracy => stride(classes.len(), count),
            Wanted::Predictions(_) => 1,
        };
        let looked_at = classes.len().div_ceil(stride);
        let prototypes = MatRef::new(prototypes, count, class_dim);
        let rows = chunk_rows(looked_at, count).max(1);
        let mut sums = (0, 0);
        for first in (0..looked_at).step_by(rows) {
            let n = rows.min(looked_at - first);
            let z = MatRef::with_stride(&z[first * stride * dim + self.pole()..], n, class_dim, stride * dim);
            let scores = &mut scratch[..n * count];
            matmul::linear(z, prototypes, MatMut::new(scores, n, count), Accumulate::Overwrite);
            let targets = classes[first * stride..].chunks(stride);
            for (scores, target) in scores.chunks_exact(count).zip(targets) {
                let (scored, correct) = wanted.take_scores(count, scores, &target[..1]);
                sums = (sums.0 + scored, sums.1 + correct);
            }
        }
        sums
    }

    /// The softmax losses: replaces z by g_z and adds the gradients of the scale and of learnable prototypes.
    #[expect(clippy::unreachable, reason = "only the two losses of a softmax come here")]
    fn softmax<T: Scalar>(
        &self,
        pass: Pass<T>,
        z: &mut [T],
        targets: WeightedClasses<T>,
        wanted: &mut Wanted<T>,
        gradient: ScoreGradient,
        dparams: Option<&mut Grads<T>>,
    ) -> HeadReport {
        let Pass { params, scratch, .. } = pass;
        let places = self.places();
        #[expect(clippy::expect_used, reason = "a loss over classes has prototypes")]
        let at = places.prototypes.expect("a loss over classes has prototypes");
        let (given, dim) = (self.of_classes(params.get(at)), self.plan.class_dim);
        let (units, scratch) = scratch.split_at_mut(if self.is_learnable() { given.len() } else { 0 });
        let (dunits, scratch) = scratch.split_at_mut(units.len());
        let learns = self.is_learnable() && dparams.as_ref().is_some_and(|d| d.is_trainable(at));
        let prototypes = if self.is_learnable() {
            losses::directions(given, units, dim);
            dunits.fill(T::ZERO);
            &*units
        } else {
            given
        };
        let (first_scale, margin) = match self.config.loss {
            LossConfig::Margin { scale, margin, .. } => (scale, margin),
            LossConfig::Softmax { scale, .. } => (scale, 0.0),
            other => unreachable!("{other:?} is no softmax"),
        };
        let scale = places.scale.map_or(T::from_f64(first_scale), |at| params.get(at)[0]);
        let smoothing = self.config.loss.smoothing().map(|(share, toward)| Smoothing {
            share: T::from_f64(share),
            toward,
            nearness: T::from_f64(first_scale),
        });
        let loss = Softmax { prototypes, dim, scale, margin: T::from_f64(margin), smoothing };
        let dprototypes = learns.then_some(&mut *dunits);
        let sums = loss.run(z, targets, wanted, gradient, dprototypes, scratch);
        if let Some(dparams) = dparams {
            if learns && let Some(dprototypes) = dparams.get(at) {
                units.copy_from_slice(given);
                losses::through_the_norm(units, dunits, dim);
                dprototypes.iter_mut().zip(&*units).for_each(|(sum, g)| *sum += *g);
            }
            if let Some(dscale) = places.scale.and_then(|at| dparams.get(at)) {
                dscale[0] += T::from_f64(sums.scale_gradient);
            }
        }
        HeadReport {
            loss: sums.loss,
            count: sums.count,
            scored: sums.scored,
            correct: sums.correct,
            ..HeadReport::default()
        }
    }

    /// The losses that only attract: replaces z by g_z.
    #[expect(clippy::panic, reason = "the batch was checked against the loss")]
    fn attraction<T: Scalar>(
        &self,
        params: &Params<T>,
        z: &mut [T],
        targets: WeightedTargets<T>,
        wanted: &mut Wanted<T>,
        records: &mut [RowRecord<T>],
        scratch: &mut [T],
    ) -> HeadReport {
        let (dim, WeightedTargets { targets, weights }) = (self.plan.dim, targets);
        let prototypes = self.kept_prototypes(params);
        let mut report = HeadReport::default();
        let mut count = |z: &[T], classes: &[i32]| {
            (report.scored, report.correct) = self.take_nearest(z, prototypes, classes, wanted, scratch);
            report.count = classes.iter().filter(|&&class| class >= 0).count() as u64;
        };
        match (self.config.loss, self.range(), targets) {
            (LossConfig::Cosine {}, _, Targets::Classes(classes)) => {
                count(z, classes);
                losses::cosine(z, dim, prototypes, WeightedClasses { classes, weights }, records);
            }
            (LossConfig::Joint { weight, .. }, Some(range), Targets::Joint { classes, values }) => {
                count(z, classes);
                let targets = ClassAndValue { classes, values, weights };
                report.count = targets.known();
                let class = T::from_f64(weight);
                let shares = Shares { number: T::ONE - class, class };
                losses::joint(z, dim, prototypes, range, shares, targets, records);
            }
            (_, Some(range), Targets::Values(values)) => {
                report.count = values.iter().filter(|y| !y.is_nan()).count() as u64;
                losses::regression(z, dim, range, values, weights, records);
            }
            (loss, _, targets) => panic!("the loss {loss:?} cannot be compared with {}", targets.name()),
        }
        if self.range::<T>().is_some() {
            wanted.take_numbers(records.iter().map(|record| record[PREDICTED]));
        }
        let sums = totals(records);
        HeadReport {
            loss: sums[LOSS],
            squared_error: sums[SQUARED],
            absolute_error: sums[ABSOLUTE],
            ..report
        }
    }
}

impl<T: Scalar> Head<T> for PrototypeHead {
    fn params(&self) -> Vec<ParamSpec> {
        let PrototypePlan { prototypes, dim, class_dim, kind, .. } = self.plan;
        let (d, places, seed) = (self.d_model, self.places(), self.seed);
        let mut specs = Vec::new();
        if places.projection.is_some() {
            let repulsive =
                matches!(self.config.loss, LossConfig::Softmax { .. } | LossConfig::Margin { .. });
            let share = if repulsive { 1.0 } else { ATTRACTED_START };
            let bound = share / (d as f64).sqrt();
            specs.push(ParamSpec::new(PROJECTION, [dim, d], Init::Uniform { bound }));
            specs.push(ParamSpec::new("head.projection.bias", [dim], Init::Zeros).no_decay());
        }
        if places.prototypes.is_some() {
            let init = match &self.vectors {
                None if self.config.needs_vectors(kind) => Init::Supplied(class_vectors::KEY),
                vectors => {
                    let (plan, assignment, vectors) = (self.plan, self.config.assignment, vectors.clone());
                    let digest = vectors.as_ref().map_or_else(String::new, |vectors| vectors.digest());
                    let name = format!("{plan:?} {assignment:?} {seed} {digest}");
                    Init::Made(Maker::new(name, move || made(plan, assignment, seed, vectors.as_deref())))
                }
            };
            let spec = ParamSpec::new(PROTOTYPES, [prototypes, class_dim], init);
            specs.push(if self.is_learnable() { spec.no_decay() } else { spec.fixed() });
        }
        if let (Some(_), LossConfig::Softmax { scale, .. }) = (places.scale, self.config.loss) {
            specs.push(ParamSpec::new("head.scale", [1], Init::Constant(scale)).no_decay());
        }
        specs
    }

    fn scratch(&self, n: usize) -> usize {
        let PrototypePlan { classes, dim, class_dim, .. } = self.plan;
        let projection =
            matmul::linear_dw_scratch(n, dim, self.d_model).max(matmul::sum_rows_scratch(n, dim));
        let learned = if self.is_learnable() { 2 * classes * class_dim } else { 0 };
        let loss =
            learned + Softmax::<T>::scratch(n, classes, class_dim, self.config.loss.smoothing().is_some());
        n * (dim + FIELDS) + self.joint_scratch(n) + projection.max(loss)
    }

    fn statistics(&self, updates: u64) -> usize {
        self.kept(updates)
    }

    fn updated(&self, updates: u64, kept: &mut [f64], gathered: &[f64], params: ParamsMut<T>) {
        self.take_in(updates, kept, gathered, params);
    }

    fn n_scores(&self) -> usize {
        self.plan.classes + usize::from(self.range::<T>().is_some())
    }

    fn logit_scale(&self, params: &Params<T>) -> f64 {
        match self.config.loss {
            LossConfig::Softmax { scale, .. } => {
                self.places().scale.map_or(scale, |at| params.get(at)[0].to_f64())
            }
            LossConfig::Margin { scale, .. } => scale,
            _ => 1.0,
        }
    }

    fn forward_backward(
        &self,
        pass: Pass<T>,
        x: &[T],
        targets: WeightedTargets<T>,
        mut wanted: Wanted<T>,
        dx: Option<&mut [T]>,
        mut dparams: Option<&mut Grads<T>>,
    ) -> HeadReport {
        let n = x.len() / self.d_model;
        targets.check(n, 1);
        let Pass { params, layout, mode, precision, mut running, scratch, .. } = pass;
        let (z, scratch) = scratch.split_at_mut(n * self.plan.dim);
        let (records, scratch) = scratch.split_at_mut(n * FIELDS);
        self.project(precision, &params, x, z);
        let differentiates = dx.is_some() || dparams.is_some();
        let WeightedTargets { targets: of, weights } = targets;
        if let (Some(running), Targets::Classes(classes) | Targets::Joint { classes, .. }) =
            (&mut running, of)
        {
            self.gather_means(z, classes, running);
        }
        if self.operates() && differentiates {
            let pass = Pass { precision, running, ..Pass::new(params, layout, mode, scratch) };
            return self.operated_joint(pass, x, (z, records), targets, &mut wanted, (dx, dparams));
        }
        let report = match (self.config.loss, of) {
            (LossConfig::Softmax { .. } | LossConfig::Margin { .. }, Targets::Classes(classes)) => {
                let gradient = if differentiates { ScoreGradient::Write } else { ScoreGradient::Skip };
                let pass = Pass::new(params, layout, mode, &mut *scratch);
                let targets = WeightedClasses { classes, weights };
                self.softmax(pass, z, targets, &mut wanted, gradient, dparams.as_deref_mut())
            }
            _ => self.attraction(&params, z, targets, &mut wanted, records.as_chunks_mut().0, scratch),
        };
        if differentiates {
            self.project_backward((precision, &params), x, z, dx, dparams, scratch);
        }
        report
    }

    fn scores(&self, pass: Pass<T>, x: &[T], out: &mut [T]) {
        let Pass { params, precision, scratch, .. } = pass;
        let params = &params;
        let PrototypePlan { classes, dim, class_dim, .. } = self.plan;
        let (n, width) = (x.len() / self.d_model, Head::<T>::n_scores(self));
        assert_eq!(out.len(), n * width, "length of the scores");
        let (z, scratch) = scratch.split_at_mut(n * dim);
        self.points(precision, params, x, z);
        if let Some(at) = self.places().prototypes {
            let (given, units) = (
                self.of_classes(params.get(at)),
                &mut scratch[..classes * class_dim * usize::from(self.is_learnable())],
            );
            let prototypes = if self.is_learnable() {
                losses::directions(given, units, class_dim);
                &*units
            } else {
                given
            };
            matmul::linear(
                MatRef::with_stride(&z[self.pole()..], n, class_dim, dim),
                MatRef::new(prototypes, classes, class_dim),
                MatMut::with_stride(out, n, classes, width),
                Accumulate::Overwrite,
            );
        }
        if let Some(range) = self.range() {
            for (out, z) in out.chunks_exact_mut(width).zip(z.chunks_exact(dim)) {
                out[classes] = range.number_at(z[0]);
            }
        }
    }

    fn embedding_width(&self) -> usize {
        self.plan.class_dim
    }

    fn embed(&self, pass: Pass<T>, x: &[T], out: &mut [T]) {
        let PrototypePlan { dim, class_dim, .. } = self.plan;
        let n = x.len() / self.d_model;
        assert_eq!(out.len(), n * class_dim, "length of the points");
        let z = &mut pass.scratch[..n * dim];
        self.points(pass.precision, &pass.params, x, z);
        for (out, z) in out.chunks_exact_mut(class_dim).zip(z.chunks_exact(dim)) {
            out.copy_from_slice(&z[dim - class_dim..]);
        }
    }
}

/// The prototypes of a plan `[prototypes, class_dim]`: those of its construction, and beside them those that are placed.
fn made(plan: PrototypePlan, assignment: Assignment, seed: u64, vectors: Option<&ClassVectors>) -> Vec<f64> {
    let mut rows = plan.kind.build(plan.prototypes - plan.placed, plan.class_dim, seed, vectors);
    if let (Assignment::Semantic, Some(vectors)) = (assignment, vectors) {
        rows = by_vectors(vectors, rows);
    }
    let more = placed(&rows, plan.class_dim, plan.placed);
    rows.extend(more);
    rows
}

/// Refuses class vectors that do not fit a configuration.
fn check_vectors(config: &PrototypeConfig, plan: &PrototypePlan, vectors: &ClassVectors) -> Result<()> {
    let PrototypePlan { class_dim, kind, .. } = *plan;
    let classes = plan.prototypes - plan.placed;
    let (found, advice) = (vectors.classes(), "pass one for each class, in the order of the classes");
    if !config.needs_vectors(kind) {
        let expected = "none, as model.head.prototypes is not \"semantic\" or \"given\"";
        let advice = "set model.head.prototypes to one of these, model.head.assignment to \"semantic\", or leave \
                      the vectors out";
        return Err(Error::config(class_vectors::KEY, expected, format!("{found} vectors"), advice));
    }
    if found != classes {
        return Err(Error::config(
            class_vectors::KEY,
            format!("{classes} vectors, one for each class"),
            found,
            advice,
        ));
    }
    if config.prototypes == Placement::Given && vectors.dim() != class_dim {
        let pole = plan.dim - class_dim;
        let also =
            if pole == 0 { "" } else { ", one more than a vector has for the number beside the class" };
        return Err(Error::config(
            "model.head.dim",
            format!("{}, as the given vectors have it{also}", vectors.dim() + pole),
            plan.dim,
            "change it, or leave it out; an identity projection needs vectors of the width of the model",
        ));
    }
    Ok(())
}

/// z ← ẑ per row; with a pole and classes, z_0/‖z‖ and z[1..]/‖z[1..]‖.
struct OntoTheSphere<'a, T> {
    z: &'a mut [T],
    dim: usize,
    class_dim: usize,
}

impl<T: Scalar> Kernel<T> for OntoTheSphere<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        for row in self.z.chunks_exact_mut(self.dim) {
            let (pole, rest) = row.split_at_mut(self.dim - self.class_dim);
            let (square, _) = dots(v, rest, rest);
            if let Some(first) = pole.first_mut() {
                *first *= Direction::new(square + *first * *first).inverse;
            }
            scale(v, rest, Direction::new(square).inverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Shifted, every_isa_equals_scalar, numbers};
    use crate::simd::run_on;

    #[test]
    fn every_instruction_set_normalises_alike() {
        for pole in [0, 1] {
            every_isa_equals_scalar("directions", 1, |isa, class_dim, shift| {
                let dim = class_dim + pole;
                let mut z = Shifted::new(&numbers(4 * dim, 1), shift);
                run_on(isa, OntoTheSphere { z: &mut z, dim, class_dim });
                z.to_vec()
            });
        }
    }
}
