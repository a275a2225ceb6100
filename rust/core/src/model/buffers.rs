//! What a pass over a batch is laid out by: its shape, where documents start, its targets as a head takes them, and the
//! memory that passes share.

#![forbid(unsafe_code)]

use crate::data::{Batch, Target};
use crate::head::Targets;
use crate::kernels::Layout;
use crate::numeric::Scalar;
use crate::pass::Workspace;

/// Memory that passes share, one after the other.
#[derive(Clone, Debug)]
pub struct PassMemory<T> {
    pub(super) workspace: Workspace<T>,
    pub(super) starts: Vec<u8>,
    /// What pooling keeps for its backward.
    pub(super) kept: Vec<u32>,
    /// Classes per token under a mask.
    pub(super) classes: Vec<i32>,
}

impl<T: Scalar> Default for PassMemory<T> {
    fn default() -> Self {
        Self { workspace: Workspace::default(), starts: Vec::new(), kept: Vec::new(), classes: Vec::new() }
    }
}

impl<T: Scalar> PassMemory<T> {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let words = self.kept.capacity() + self.classes.capacity();
        self.workspace.bytes() + self.starts.capacity() + words * size_of::<u32>()
    }
}

/// Shape of a pass: what its memory depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) length: usize,
    pub(super) segments: usize,
}

impl Shape {
    pub(super) fn of(batch: &Batch) -> Self {
        Self { rows: batch.rows, length: batch.length, segments: batch.segments.len() }
    }

    pub(super) fn tokens(self) -> usize {
        self.rows * self.length
    }
}

/// Marks the first token of every document; `None`, at no cost, if all of them start a row.
pub(super) fn layout<'a>(batch: &Batch, starts: &'a mut Vec<u8>) -> Layout<'a> {
    let (rows, length) = (batch.rows, batch.length);
    if batch.segments.iter().all(|segment| segment.start == 0) {
        return Layout::whole(rows, length);
    }
    starts.clear();
    starts.resize(rows * length, 0);
    for segment in &batch.segments {
        starts[segment.row as usize * length + segment.start as usize] = 1;
    }
    Layout { rows, length, starts: Some(starts) }
}

/// Numbers of a batch in the type of the model.
pub(super) fn convert<T: Scalar>(from: &[f32], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = T::from_f64(f64::from(*from));
    }
}

/// The targets as a head takes them; `None` if the batch has none. A masked position has no class.
pub(super) fn targets<'a, T: Scalar>(
    batch: &'a Batch,
    numbers: &'a mut [T],
    unmasked: &'a mut Vec<i32>,
) -> Option<Targets<'a, T>> {
    match &batch.target {
        Target::None => None,
        Target::TokenClass(classes) => Some(Targets::Classes(match &batch.mask {
            None => classes,
            Some(mask) => {
                let class = |(&class, &mask): (&i32, &u8)| if mask == 0 { -1 } else { class };
                unmasked.clear();
                unmasked.extend(classes.iter().zip(mask).map(class));
                unmasked
            }
        })),
        Target::SequenceClass(classes) => Some(Targets::Classes(classes)),
        Target::SequenceValues(values) => {
            convert(values, numbers);
            Some(Targets::Values(numbers))
        }
        Target::Cotangent(cotangent) => {
            convert(cotangent, numbers);
            Some(Targets::Cotangent(numbers))
        }
    }
}
