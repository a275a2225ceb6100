//! Parameters and gradients by name, and lending of the flat buffers.

use super::training::{LargestCosine, Session};
use crate::allocate::try_collected;
use crate::error::{Error, Result};
use crate::model::freeze::frozen_ids;
use crate::model::names;
use crate::numeric::Scalar;
use crate::params::{Group, Slot};

/// One row of the parameter table.
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
/// let table = session.parameter_table();
/// let row = table.iter().find(|row| row.id == "layers.1.mixer.A_log").expect("a tensor");
/// assert_eq!(row.name, "backbone.layers.1.mixer.A_log");
/// assert_eq!((row.shape.clone(), row.group.as_str()), (vec![16, 16], "layer.1"));
/// assert!(row.trainable && !row.decay);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterRow {
    /// Id in the parameter table.
    pub id: String,
    /// Name in public checkpoints.
    pub name: String,
    /// Shape, slowest axis first.
    pub shape: Vec<usize>,
    /// Whether weight decay applies to it.
    pub decay: bool,
    /// Whether it is trained.
    pub trainable: bool,
    /// Part of the model: `input`, `layer.{i}`, `norm_f` or `head`.
    pub group: String,
}

/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input};
/// # use ssm_hpn::head::Accuracy;
/// # use ssm_hpn::model::FreezeSpec;
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let mut session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// # let batch = Batch::whole(1, 4, Input::Tokens(vec![1, 2, 3, 4]), Target::token_class(vec![2, 3, 4, -1]));
/// let (shape, numbers) = session.parameter("norm_f.weight")?;
/// assert_eq!((shape, numbers), (&[8][..], &[1.0; 8][..]));
/// session.set_parameter("norm_f.weight", &[8], &[0.5; 8])?;
/// assert_eq!(session.parameter_table().last().expect("a tensor").id, "lm_head.weight");
/// assert!(session.frozen().is_empty());
///
/// session.forward_backward(&batch, Accuracy::Skip)?;
/// let (_, mean) = session.gradient("norm_f.weight")?;
/// let norm = session.grad_norm()?;
/// assert!(mean.iter().any(|g| *g != 0.0) && norm > 0.0);
///
/// // All of them at once: gradients of the sum of losses, twice as large after this.
/// let [parameters, gradients] = session.lend_flat()?;
/// gradients.iter_mut().for_each(|g| *g *= 2.0);
/// assert_eq!(parameters.len(), gradients.len());
/// assert!(session.parameter("norm_f.weight").is_err()); // they are lent
/// session.return_flat();
/// assert!((session.grad_norm()? / norm - 2.0).abs() < 1e-6);
/// assert_eq!(session.flat_parameters().len(), session.flat_gradients().len());
/// assert_eq!(session.max_prototype_cosine()?, None); // a linear head has no prototypes
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
impl<T: Scalar> Session<T> {
    /// Every tensor, in the order of the table.
    pub fn parameter_table(&self) -> Vec<ParameterRow> {
        let group = |group| match group {
            Group::Input => "input".to_owned(),
            Group::Layer(index) => format!("layer.{index}"),
            Group::FinalNorm => "norm_f".to_owned(),
            Group::Head => "head".to_owned(),
        };
        let entries = self.model.table().entries().iter().enumerate();
        let row = |(slot, entry): (Slot, &crate::params::Entry)| ParameterRow {
            id: entry.id.clone(),
            name: names::public_name(&entry.id),
            shape: entry.spec.shape.clone(),
            decay: self.masks.decay[slot],
            trainable: self.masks.trainable[slot],
            group: group(entry.group),
        };
        entries.map(row).collect()
    }

    /// Ids of the tensors that are frozen.
    pub fn frozen(&self) -> Vec<String> {
        frozen_ids(self.model.table(), &self.masks)
    }

    /// A tensor, by id or public name, and its shape.
    pub fn parameter(&self, name: &str) -> Result<(&[usize], &[T])> {
        self.check_free("read a parameter")?;
        let slot = names::find(self.model.table(), name)?;
        Ok((self.shape(slot), self.params.tensor(self.model.table(), slot)))
    }

    /// The gradient of the mean loss for a tensor, by id or public name, and its shape. Zeros for a frozen one, and
    /// before the first target.
    pub fn gradient(&self, name: &str) -> Result<(&[usize], Vec<T>)> {
        self.check_free("read a gradient")?;
        self.check_joined()?;
        let slot = names::find(self.model.table(), name)?;
        let weight = if self.pending.count == 0 { T::ONE } else { T::from_f64(self.pending.weight) };
        let gradient = self.grads.tensor(self.model.table(), slot);
        let values = try_collected(
            gradient.iter().map(|g| *g / weight),
            &format!("a copy of the gradient of {name}"),
        )?;
        Ok((self.shape(slot), values))
    }

    /// Overwrites a tensor, by id or public name, and returns its public name. Every number must be finite.
    pub fn set_parameter(&mut self, name: &str, shape: &[usize], values: &[T]) -> Result<String> {
        self.check_free("set a parameter")?;
        let slot = names::find(self.model.table(), name)?;
        let expected = self.shape(slot);
        let elements: usize = expected.iter().product();
        if shape != expected || values.len() != elements {
            let found =
                if shape == expected { format!("{} numbers", values.len()) } else { format!("{shape:?}") };
            return Err(Error::shape(name, format!("{expected:?}"), found));
        }
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::shape(format!("{name}, element {at}"), "a finite number", values[at]));
        }
        self.params.tensor_mut(self.model.table(), slot).copy_from_slice(values);
        self.cosine = LargestCosine::Changed;
        Ok(names::public_name(&self.model.table().entry(slot).id))
    }

    /// All parameters in the private order of the buffer.
    pub fn flat_parameters(&self) -> &[T] {
        self.params.as_slice()
    }

    /// Gradients of the sum of losses, in the same order; those of the present virtual rank until they are joined.
    pub fn flat_gradients(&self) -> &[T] {
        self.grads.as_slice()
    }

    /// Lends the flat buffers, parameters and gradients, until [`Session::return_flat`]: meanwhile everything that
    /// would move, change or read them is refused, and they stay where they are.
    pub fn lend_flat(&mut self) -> Result<[&mut [T]; 2]> {
        self.check_free("borrow the flat buffers again")?;
        self.check_joined()?;
        self.lent = true;
        Ok([self.params.as_mut_slice(), self.grads.as_mut_slice()])
    }

    /// Takes the flat buffers back.
    pub fn return_flat(&mut self) {
        self.lent = false;
        self.cosine = LargestCosine::Changed;
    }

    /// Largest cosine between two prototypes; `None` for a head without any. Computed when prototypes have changed.
    pub fn max_prototype_cosine(&mut self) -> Result<Option<f64>> {
        self.check_free("read the prototypes")?;
        let Self { model, params, cosine, threads, .. } = self;
        if let LargestCosine::Known(cosine) = *cosine {
            return Ok(cosine);
        }
        let found = threads.install(|| model.max_prototype_cosine(params.as_slice()))?;
        *cosine = LargestCosine::Known(found);
        Ok(found)
    }

    pub(super) fn prototypes_are_trained(&self) -> bool {
        let slot = self.model.table().slot("head.prototypes");
        slot.is_some_and(|slot| self.masks.trainable[slot])
    }

    fn shape(&self, slot: Slot) -> &[usize] {
        &self.model.table().entry(slot).spec.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Batch, Input};
    use crate::head::Accuracy;
    use crate::model::{FreezeSpec, ModelConfig};
    use crate::optim::OptimConfig;
    use crate::parallel::Threads;
    use crate::target::Target;

    fn session(head: &str) -> Session<f64> {
        let config = format!(
            r#"{{"input": {{"kind": "tokens", "vocab_size": 7}}, "d_model": 6, "n_layers": 1,
                "block": {{"kind": "mamba1", "d_state": 2, "d_conv": 2, "expand": 1, "dt_rank": 1}},
                "target": {{"kind": "next_token"}}, "head": {head}}}"#
        );
        let config = ModelConfig::from_json(&config).unwrap();
        Session::new(config, OptimConfig::default(), 1, Threads::new(Some(1)).unwrap()).unwrap()
    }

    fn update(session: &mut Session<f64>) {
        let target = Target::token_class(vec![1, 2, 3, 4, 5, 6, 0, -1]);
        let batch = Batch::whole(2, 4, Input::Tokens(vec![0, 1, 2, 3, 4, 5, 6, 0]), target);
        session.forward_backward(&batch, Accuracy::Skip).unwrap();
        assert!(session.apply().unwrap().applied);
    }

    /// The largest cosine of two rows, by its definition.
    fn by_definition(session: &Session<f64>) -> f64 {
        let (shape, rows) = session.parameter("head.prototypes").unwrap();
        let rows: Vec<&[f64]> = rows.chunks_exact(shape[1]).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = |i: usize, j: usize| {
            dot(rows[i], rows[j]) / (dot(rows[i], rows[i]) * dot(rows[j], rows[j])).sqrt()
        };
        (0..rows.len())
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| cosine(i, j))
            .fold(-1.0, f64::max)
    }

    const FIXED: &str = r#"{"kind": "prototype", "n_classes": 7, "prototypes": "random", "dim": 4}"#;
    const LEARNABLE: &str = r#"{"kind": "prototype", "n_classes": 7, "prototypes": "learnable", "dim": 4}"#;

    fn assert_is_that_of_the_prototypes(session: &mut Session<f64>) {
        let (found, expected) = (session.max_prototype_cosine().unwrap().unwrap(), by_definition(session));
        assert!((found - expected).abs() < 1e-14, "{found}, by definition {expected}");
    }

    #[test]
    fn the_largest_cosine_is_that_of_the_prototypes_as_they_are_now() {
        for head in [FIXED, LEARNABLE] {
            let mut session = session(head);
            assert_is_that_of_the_prototypes(&mut session);
            let before = by_definition(&session);
            update(&mut session);
            assert_eq!(by_definition(&session) == before, head == FIXED);
            assert_is_that_of_the_prototypes(&mut session);
            let equal = [1.0; 28];
            session.set_parameter("head.prototypes", &[7, 4], &equal).unwrap();
            assert_is_that_of_the_prototypes(&mut session);
            session.lend_flat().unwrap()[0].iter_mut().enumerate().for_each(|(i, x)| *x += i as f64);
            session.return_flat();
            assert_is_that_of_the_prototypes(&mut session);
        }
        let mut session = session(r#"{"kind": "linear", "n_outputs": 7}"#);
        assert_eq!(session.max_prototype_cosine().unwrap(), None);
    }

    #[test]
    fn the_largest_cosine_is_recomputed_only_where_prototypes_are_trained() {
        for (head, frozen) in [(FIXED, false), (LEARNABLE, false), (LEARNABLE, true)] {
            let mut session = session(head);
            if frozen {
                let patterns = vec!["head.prototypes".to_owned()];
                session.freeze(&FreezeSpec { patterns, ..FreezeSpec::default() }).unwrap();
            }
            // No cosine is 2: another number after the update shows that it was computed.
            session.cosine = LargestCosine::Known(Some(2.0));
            update(&mut session);
            let computed = session.max_prototype_cosine().unwrap() != Some(2.0);
            assert_eq!(computed, head == LEARNABLE && !frozen, "{head}, frozen: {frozen}");
        }
    }
}
