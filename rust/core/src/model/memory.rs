//! The activations that a training pass keeps of every layer, and their size.
//!
//! ```text
//! layer        0 .. lowest      lowest .. L-n_keep    L-n_keep .. L
//! activations  Discard          Recompute             Keep
//! ```
//!
//! No gradient goes below `lowest`, the first layer that has a trained tensor (0 if the input has one). From there on
//! the input of every layer is kept; of the last `n_keep` layers also what their backward pass needs. The others repeat
//! their forward pass slice by slice into the buffer of the first kept layer, which is not yet needed when they run
//! forward, and no longer when the backward pass comes to them; if none is kept, into one that holds a slice.

#![forbid(unsafe_code)]

use super::config::ActivationMemory;
pub(crate) use crate::blocks::layer::LayerActivations;
use crate::kernels::matmul::Precision;
use crate::pass::padded;

/// What the memory of a step depends on besides the model and the batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepMemory {
    /// Precision of products, which may read copies of their factors.
    pub(crate) precision: Precision,
    /// Buffers of gradients beyond the first: those of virtual ranks.
    pub(crate) more_gradients: usize,
    /// Elements that the exchange with other ranks takes.
    pub(crate) exchange: usize,
}

/// The layers and parts that gradients reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    /// The first layer with a backward pass; the number of layers if there is none.
    pub lowest: usize,
    /// Whether the input map is trained.
    pub input: bool,
    /// Whether anything below the head is trained.
    pub below_head: bool,
}

/// Elements that the parts of a pass take, for one shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents {
    /// Float inputs and targets, converted.
    pub fixed: usize,
    /// The residual stream of all tokens.
    pub stream: usize,
    /// Saved by the largest block for all rows.
    pub saved: usize,
    /// Saved by the largest block for one slice.
    pub saved_slice: usize,
    /// The largest scratch of any part.
    pub scratch: usize,
}

/// The plan of a training pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryPlan {
    /// Number of layers.
    pub n_layers: usize,
    /// The layers and parts that gradients reach.
    pub depth: Depth,
    /// Number of layers at the end that keep all activations.
    pub n_keep: usize,
}

impl MemoryPlan {
    /// The plan for a way to store activations; `fits` says whether so many elements are within the memory limit.
    pub(crate) fn new(
        way: ActivationMemory,
        n_layers: usize,
        depth: Depth,
        extents: &Extents,
        fits: impl Fn(usize) -> bool,
    ) -> Self {
        let with = |n_keep| Self { n_layers, depth, n_keep };
        let most = n_layers - depth.lowest;
        match way {
            ActivationMemory::Keep => with(most),
            ActivationMemory::Recompute => with(0),
            ActivationMemory::Auto => {
                let fitting = (0..=most).rev().map(with).find(|plan| fits(plan.elements(extents)));
                fitting.unwrap_or_else(|| with(0))
            }
        }
    }

    /// Activations that are kept of a layer.
    pub(crate) fn activations(&self, layer: usize) -> LayerActivations {
        if layer < self.depth.lowest {
            LayerActivations::Discard
        } else if layer < self.n_layers - self.n_keep {
            LayerActivations::Recompute
        } else {
            LayerActivations::Keep
        }
    }

    /// Copies of the residual stream that are kept: the input of every layer from the lowest on, and the output.
    pub(crate) fn streams(&self) -> usize {
        self.n_layers - self.depth.lowest + 1
    }

    /// Elements of all saved activations.
    pub(crate) fn saved(&self, extents: &Extents) -> usize {
        if self.n_keep == 0 { padded(extents.saved_slice) } else { self.n_keep * padded(extents.saved) }
    }

    /// The range of a layer's saved activations.
    pub(crate) fn saved_at(&self, extents: &Extents, layer: usize) -> usize {
        (layer + self.n_keep).saturating_sub(self.n_layers) * padded(extents.saved)
    }

    /// Elements of the whole pass.
    pub(crate) fn elements(&self, extents: &Extents) -> usize {
        let streams = (self.streams() + usize::from(self.depth.below_head)) * padded(extents.stream);
        padded(extents.fixed) + streams + self.saved(extents) + padded(extents.scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENTS: Extents = Extents { fixed: 16, stream: 160, saved: 1600, saved_slice: 400, scratch: 320 };

    fn depth(lowest: usize) -> Depth {
        Depth { lowest, input: false, below_head: true }
    }

    #[test]
    fn layers_pass_through_recompute_or_keep() {
        let plan = MemoryPlan { n_layers: 5, depth: depth(1), n_keep: 2 };
        let found: Vec<_> = (0..5).map(|layer| plan.activations(layer)).collect();
        let (recompute, keep) = (LayerActivations::Recompute, LayerActivations::Keep);
        assert_eq!(found, [LayerActivations::Discard, recompute, recompute, keep, keep]);
        assert_eq!((plan.streams(), plan.saved(&EXTENTS)), (5, 3200));
        assert_eq!([0, 1, 2, 3, 4].map(|layer| plan.saved_at(&EXTENTS, layer)), [0, 0, 0, 0, 1600]);
        assert_eq!(plan.elements(&EXTENTS), 16 + 6 * 160 + 2 * 1600 + 320);
        let least = MemoryPlan { n_keep: 0, ..plan };
        assert_eq!((least.saved(&EXTENTS), least.saved_at(&EXTENTS, 4)), (400, 0));
    }

    #[test]
    fn auto_keeps_as_many_layers_as_fit() {
        for limit in [0, 3000, 4500, 6000, 100_000] {
            let plan = |way| MemoryPlan::new(way, 4, depth(0), &EXTENTS, |elements| elements <= limit);
            let auto = plan(ActivationMemory::Auto);
            let more = MemoryPlan { n_keep: auto.n_keep + 1, ..auto };
            assert!(auto.n_keep == 4 || more.elements(&EXTENTS) > limit, "{auto:?}");
            assert!(auto.n_keep == 0 || auto.elements(&EXTENTS) <= limit, "{auto:?}");
            assert_eq!(plan(ActivationMemory::Keep).n_keep, 4);
            assert_eq!(plan(ActivationMemory::Recompute).n_keep, 0);
        }
    }
}
