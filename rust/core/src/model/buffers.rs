//! The layout of a pass over a batch: its shape, document starts and targets for the head; and the memory that passes
//! share.

#![forbid(unsafe_code)]

use crate::allocate::try_grow;
use crate::data::{Batch, Segment};
use crate::error::Result;
use crate::head::pooling::PooledDocuments;
use crate::head::{Targets, WeightedTargets};
use crate::kernels::{Layout, RowWeights};
use crate::numeric::Scalar;
use crate::pass::Workspace;
use crate::stem::{StemRows, shortened};
use crate::target::arrays::{Element, Per};

/// Memory that passes share, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct PassMemory<T> {
    pub(super) workspace: Workspace<T>,
    /// Saved by pooling for its backward pass.
    pub(super) pooling: Vec<u32>,
    pub(super) targets: TargetMemory<T>,
    pub(super) outline: OutlineMemory,
    /// States before the first token, those of all layers concatenated.
    pub(super) first_states: Vec<T>,
}

/// Memory of [`targets`].
#[derive(Clone, Debug, Default)]
pub(super) struct TargetMemory<T> {
    /// Classes, under a mask or weights.
    classes: Vec<i32>,
    /// The weight of every position or document.
    weights: Vec<T>,
}

/// Memory of an [`Outline`].
#[derive(Clone, Debug, Default)]
pub(super) struct OutlineMemory {
    starts: Vec<u8>,
    documents: Vec<Segment>,
    mask: Vec<u8>,
}

impl<T: Scalar> Default for PassMemory<T> {
    fn default() -> Self {
        Self {
            workspace: Workspace::default(),
            pooling: Vec::new(),
            targets: TargetMemory::default(),
            outline: OutlineMemory::default(),
            first_states: Vec::new(),
        }
    }
}

impl<T: Scalar> PassMemory<T> {
    /// Makes room for what the passes over a batch fill besides the workspace: `notes` of pooling, and the states that
    /// the rows go on from.
    pub(super) fn make_room(
        &mut self,
        batch: &Batch,
        boundaries: Boundaries,
        notes: usize,
        states: usize,
        class_weights: &[f64],
    ) -> Result<()> {
        self.outline.make_room(batch, boundaries)?;
        try_grow(&mut self.pooling, notes, PER_TOKEN)?;
        let positions = batch.rows * batch.length;
        let is_weighted = batch.weights.is_some() || !class_weights.is_empty();
        let weights = if is_weighted { positions.max(batch.segments.len()) } else { 0 };
        let masked = batch.mask.as_ref().map_or(0, Vec::len);
        try_grow(&mut self.targets.classes, masked.max(weights), PER_TOKEN)?;
        try_grow(&mut self.targets.weights, weights, PER_TOKEN)?;
        try_grow(&mut self.first_states, states, "the states that the rows go on from")
    }
}

/// What messages call the buffers of a pass besides its workspace.
const PER_TOKEN: &str = "the documents of this batch";

impl OutlineMemory {
    /// Makes room for the outline of a batch.
    pub(super) fn make_room(&mut self, batch: &Batch, boundaries: Boundaries) -> Result<()> {
        let Boundaries { stride, .. } = boundaries;
        let tokens = Shape::of(batch, stride).tokens();
        try_grow(&mut self.starts, tokens, PER_TOKEN)?;
        if stride == 1 {
            return Ok(());
        }
        try_grow(&mut self.documents, batch.segments.len(), PER_TOKEN)?;
        try_grow(&mut self.mask, if batch.mask.is_some() { tokens } else { 0 }, PER_TOKEN)
    }
}

/// Shape of the residual stream: what the memory of a pass depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    /// Tokens of a row behind the stem.
    pub(super) length: usize,
    pub(super) segments: usize,
}

impl Shape {
    /// The shape of a batch after a stem with a stride.
    pub(super) fn of(batch: &Batch, stride: usize) -> Self {
        let length = if stride == 1 { batch.length } else { shortened_length(batch, stride) };
        Self { rows: batch.rows, length, segments: batch.segments.len() }
    }

    pub(super) fn tokens(self) -> usize {
        self.rows * self.length
    }
}

/// Tokens of the longest row, the sum over its documents; at least 1.
fn shortened_length(batch: &Batch, stride: usize) -> usize {
    let (mut longest, mut row, mut length) = (1, None, 0);
    for s in &batch.segments {
        length = if row == Some(s.row) { length } else { 0 };
        row = Some(s.row);
        length += shortened((s.end - s.start) as usize, stride);
        longest = longest.max(length);
    }
    longest
}

/// Rows, lengths and documents of a batch before the stem and after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline<'a> {
    pub(super) before: StemRows<'a>,
    pub(super) after: StemRows<'a>,
    /// Document starts after the stem.
    pub(super) layout: Layout<'a>,
    /// Tokens after the stem that take part in pooling.
    pub(super) mask: Option<&'a [u8]>,
}

/// Properties of the model that an outline depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boundaries {
    /// Stride of the stem.
    pub(super) stride: usize,
    /// Whether a document's end matters: where a block is not causal, padding must not be read as part of it.
    pub(super) ends: bool,
    /// Whether the rows go on from a state: then their first token starts no document, but where the batch says so.
    pub(super) continued: bool,
}

impl<'a> Outline<'a> {
    pub(super) fn new(batch: &'a Batch, boundaries: Boundaries, memory: &'a mut OutlineMemory) -> Self {
        let stride = boundaries.stride;
        let OutlineMemory { starts, documents, mask } = memory;
        let before = StemRows { rows: batch.rows, length: batch.length, documents: &batch.segments };
        let (after, mask) = if stride == 1 {
            (before, batch.mask.as_deref())
        } else {
            let length = shortened_length(batch, stride);
            shorten(&batch.segments, stride, documents);
            let after = StemRows { length, documents, ..before };
            (after, batch.mask.as_deref().map(|of| shorten_mask(of, before, after, stride, mask)))
        };
        let layout = layout(after, boundaries, batch.continued.as_deref(), starts);
        Self { before, after, layout, mask }
    }

    /// The documents for pooling hidden states of `width` channels.
    pub(super) fn documents(&self, width: usize) -> PooledDocuments<'a> {
        PooledDocuments { length: self.after.length, width, segments: self.after.documents, mask: self.mask }
    }
}

fn shorten(before: &[Segment], stride: usize, after: &mut Vec<Segment>) {
    after.clear();
    let (mut row, mut start) = (u32::MAX, 0);
    for s in before {
        start = if row == s.row { start } else { 0 };
        row = s.row;
        let end = start + shortened((s.end - s.start) as usize, stride) as u32;
        after.push(Segment { row, start, end });
        start = end;
    }
}

/// A token takes part if any of its time steps does.
fn shorten_mask<'a>(
    mask: &[u8],
    before: StemRows,
    after: StemRows,
    stride: usize,
    shortened: &'a mut Vec<u8>,
) -> &'a [u8] {
    shortened.clear();
    shortened.resize(after.tokens(), 0);
    for (from, to) in before.documents.iter().zip(after.documents) {
        let first = from.row as usize * before.length;
        let steps = &mask[first + from.start as usize..first + from.end as usize];
        let token = to.row as usize * after.length + to.start as usize;
        for (to, steps) in shortened[token..].iter_mut().zip(steps.chunks(stride)) {
            *to = u8::from(steps.iter().any(|step| *step != 0));
        }
    }
    shortened
}

/// Marks the first token of every document; `None`, at no cost, if all of them start a row. Of rows that go on from a state
/// the first document starts before them, unless `rows_continue` is false for the row.
fn layout<'a>(
    rows: StemRows,
    boundaries: Boundaries,
    rows_continue: Option<&[bool]>,
    starts: &'a mut Vec<u8>,
) -> Layout<'a> {
    let StemRows { rows, length, documents } = rows;
    let goes_on = |row: u32| rows_continue.is_none_or(|rows| rows[row as usize]);
    let is_whole = |s: &Segment| {
        let at_its_start = s.start == 0 && (!boundaries.continued || goes_on(s.row));
        at_its_start && (!boundaries.ends || s.end as usize == length)
    };
    if documents.iter().all(is_whole) {
        return Layout::whole(rows, length);
    }
    starts.clear();
    starts.resize(rows * length, 0);
    for s in documents {
        let row = s.row as usize * length;
        if boundaries.ends && (s.end as usize) < length {
            starts[row + s.end as usize] = 1;
        }
        if !(boundaries.continued && s.start == 0 && goes_on(s.row)) {
            starts[row + s.start as usize] = 1;
        }
    }
    Layout { rows, length, starts: Some(starts) }
}

/// Numbers of a batch in the type of the model.
fn convert<T: Scalar>(from: &[f32], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = T::from_f64(f64::from(*from));
    }
}

/// The targets as a head takes them; `None` if the batch has none. A masked position, and one of weight 0, has no class
/// and no number. `class_weights`, where there are any, are factors of the weights of their classes' targets.
pub(super) fn targets<'a, T: Scalar>(
    batch: &'a Batch,
    class_weights: &[f64],
    numbers: &'a mut [T],
    memory: &'a mut TargetMemory<T>,
) -> Option<WeightedTargets<'a, T>> {
    let target = &batch.target;
    if let Some((_, gradient)) = target.numbers(Element::Gradient) {
        convert(gradient, numbers);
        return Some(WeightedTargets::equal(Targets::Cotangent(numbers)));
    }
    let per = target.arrays().next().map(|(array, _)| array.per)?;
    let TargetMemory { classes: kept, weights } = memory;
    let weights = row_weights(batch, per, class_weights, weights);
    let mask = batch.mask.as_deref().filter(|_| per == Per::Token);
    let leaves_out = |row: usize| mask.is_some_and(|mask| mask[row] == 0) || weights.of(row) == T::ZERO;
    let some_left_out = mask.is_some() || weights.given().is_some();
    let classes = target.classes().map(|(_, classes)| {
        if !some_left_out {
            return classes;
        }
        let class = |(row, &class): (usize, &i32)| if leaves_out(row) { -1 } else { class };
        kept.clear();
        kept.extend(classes.iter().enumerate().map(class));
        kept
    });
    let values = target.numbers(Element::Number).map(|(_, values)| {
        convert(values, numbers);
        if some_left_out {
            let rows = if per == Per::Token { batch.rows * batch.length } else { batch.segments.len() };
            let width = (values.len() / rows.max(1)).max(1);
            let left_out = numbers.chunks_exact_mut(width).enumerate().filter(|(row, _)| leaves_out(*row));
            left_out.for_each(|(_, numbers)| numbers.fill(T::from_f64(f64::NAN)));
        }
        &*numbers
    });
    let targets = match (classes, values) {
        (None, None) => return None,
        (Some(classes), None) => Targets::Classes(classes),
        (None, Some(values)) => Targets::Values(values),
        (Some(classes), Some(values)) => Targets::Joint { classes, values },
    };
    Some(WeightedTargets { targets, weights })
}

/// The weight of every document, or of every position that of its document; of padding, which has no target, 1; times
/// that of its class.
fn row_weights<'a, T: Scalar>(
    batch: &Batch,
    per: Per,
    class_weights: &[f64],
    weights: &'a mut Vec<T>,
) -> RowWeights<'a, T> {
    if batch.weights.is_none() && class_weights.is_empty() {
        return RowWeights::EQUAL;
    }
    weights.clear();
    let rows = if per == Per::Document { batch.segments.len() } else { batch.rows * batch.length };
    weights.resize(rows, T::ONE);
    match (&batch.weights, per) {
        (None, _) => {}
        (Some(given), Per::Document) => convert(given, weights),
        (Some(given), Per::Token) => {
            for (s, weight) in batch.segments.iter().zip(given) {
                let row = s.row as usize * batch.length;
                weights[row + s.start as usize..row + s.end as usize].fill(T::from_f64(f64::from(*weight)));
            }
        }
    }
    if let (Some((_, classes)), false) = (batch.target.classes(), class_weights.is_empty()) {
        for (weight, &class) in weights.iter_mut().zip(classes) {
            let of_class = usize::try_from(class).map_or(1.0, |class| class_weights[class]);
            *weight *= T::from_f64(of_class);
        }
    }
    RowWeights::new(weights)
}
