//! From the hidden states of a document to one feature: the last one, their mean, or the largest of each channel.
//!
//! x `[rows, length, D]` → out `[segments, D]`; positions outside the segments and masked ones are not looked at, and their
//! gradient is 0. Sums over t run over the n positions of a document that are not masked; without any, the feature is 0.
//! Each segment is summed in its own order, so a document gives the same bits alone and in any batch.
//!
//! | | forward | backward | saved for the backward pass |
//! |---|---|---|---|
//! | last | x_last | dx_last = dy | last |
//! | mean | Σ x_t / n | dx_t = dy / n | n |
//! | max | max_t x_t, per channel | dx at the first largest position = dy | that position, per channel |

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::Segment;
use crate::numeric::Scalar;

/// Channels of a task of the forward pass.
const CHANNELS: usize = 64;

/// Positions of a task of the backward pass.
const POSITIONS: usize = 256;

/// Marks a document without a position that takes part; larger than any position of a batch.
const NOWHERE: u32 = u32::MAX;

/// The reduction of a document's positions to one feature.
///
/// ```
/// use ssm_hpn::head::Pooling;
/// use ssm_hpn::model::ModelConfig;
///
/// let config = ModelConfig::from_json(
///     r#"{"input": {"kind": "features", "n_features": 3}, "d_model": 8, "n_layers": 1,
///         "target": {"kind": "sequence_class", "pooling": "mean"}, "head": {"kind": "linear", "n_outputs": 2}}"#,
/// )?;
/// assert_eq!(config.target.pooling, Some(Pooling::Mean));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The last position.
    #[default]
    Last,
    /// The mean over the positions.
    Mean,
    /// The largest value of each channel.
    Max,
}

/// The documents of a batch, and which of their positions take part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PooledDocuments<'a> {
    /// Positions of a row.
    pub length: usize,
    /// Channels (D).
    pub width: usize,
    /// The documents, in order.
    pub segments: &'a [Segment],
    /// `[rows · length]`, 0 for a position that takes no part; without a mask every one does.
    pub mask: Option<&'a [u8]>,
}

impl<'a> PooledDocuments<'a> {
    /// Positions of a document among all of the batch.
    fn range(&self, segment: &Segment) -> Range<usize> {
        let row = segment.row as usize * self.length;
        row + segment.start as usize..row + segment.end as usize
    }

    /// The positions of a range that take part.
    fn unmasked(&self, positions: Range<usize>) -> impl DoubleEndedIterator<Item = usize> + Clone + use<'a> {
        let mask = self.mask;
        positions.filter(move |&position| mask.is_none_or(|mask| mask[position] != 0))
    }
}

impl Pooling {
    /// Elements of `saved` for this many segments.
    pub(crate) fn saved_len(self, segments: usize, width: usize) -> usize {
        if self == Self::Max { segments * width } else { segments }
    }

    /// out `[segments, width]` from x `[rows, length, width]`, and in `saved` what the backward pass needs.
    pub(crate) fn forward<T: Scalar>(
        self,
        x: &[T],
        documents: PooledDocuments,
        saved: &mut [u32],
        out: &mut [T],
    ) {
        let PooledDocuments { width, segments, .. } = documents;
        assert_eq!(out.len(), segments.len() * width, "a feature per segment");
        assert_eq!(saved.len(), self.saved_len(segments.len(), width), "a note per segment or per maximum");
        let positions = |segment| documents.unmasked(documents.range(segment));
        match self {
            Self::Last => {
                for ((out, last), segment) in out.chunks_exact_mut(width).zip(saved).zip(segments) {
                    if let Some(position) = positions(segment).next_back() {
                        out.copy_from_slice(&x[position * width..][..width]);
                        *last = position as u32;
                    } else {
                        out.fill(T::ZERO);
                        *last = NOWHERE;
                    }
                }
            }
            Self::Mean => {
                out.par_chunks_exact_mut(width).zip(saved).zip(segments).for_each(
                    |((out, count), segment)| {
                        let n = positions(segment).count();
                        *count = n as u32;
                        out.par_chunks_mut(CHANNELS).with_max_len(1).enumerate().for_each(|(i, out)| {
                            let rows =
                                positions(segment).map(|position| &x[position * width + i * CHANNELS..]);
                            mean(rows, n, out);
                        });
                    },
                );
            }
            Self::Max => {
                out.par_chunks_exact_mut(width)
                    .zip(saved.par_chunks_exact_mut(width))
                    .zip(segments)
                    .for_each(|((out, saved), segment)| {
                        let blocks = out.par_chunks_mut(CHANNELS).zip(saved.par_chunks_mut(CHANNELS));
                        blocks.with_max_len(1).enumerate().for_each(|(i, (out, chosen))| {
                            let row = |position| (position as u32, &x[position * width + i * CHANNELS..]);
                            max(positions(segment).map(row), out, chosen);
                        });
                    });
            }
        }
    }

    /// dx `[rows, length, width]`, overwritten, from dy `[segments, width]` and what the forward pass left in `saved`.
    pub(crate) fn backward<T: Scalar>(
        self,
        dy: &[T],
        documents: PooledDocuments,
        saved: &[u32],
        dx: &mut [T],
    ) {
        let PooledDocuments { width, segments, .. } = documents;
        assert_eq!(dy.len(), segments.len() * width, "a gradient per segment");
        assert_eq!(saved.len(), self.saved_len(segments.len(), width), "a note per segment or per maximum");
        dx.par_chunks_mut(POSITIONS * width).with_max_len(1).enumerate().for_each(|(i, dx)| {
            dx.fill(T::ZERO);
            let block = i * POSITIONS..i * POSITIONS + dx.len() / width;
            let inside = |position: usize| (position - block.start) * width;
            let holds = |position: u32| position != NOWHERE && block.contains(&(position as usize));
            let first = segments.partition_point(|s| documents.range(s).end <= block.start);
            for (index, segment) in segments.iter().enumerate().skip(first) {
                let range = documents.range(segment);
                if range.start >= block.end {
                    break;
                }
                let dy = &dy[index * width..(index + 1) * width];
                match self {
                    Self::Last => {
                        let last = saved[index];
                        if holds(last) {
                            dx[inside(last as usize)..][..width].copy_from_slice(dy);
                        }
                    }
                    Self::Mean => {
                        let share = T::ONE / T::from_f64(f64::from(saved[index].max(1)));
                        let part = range.start.max(block.start)..range.end.min(block.end);
                        for position in documents.unmasked(part) {
                            for (dx, dy) in dx[inside(position)..][..width].iter_mut().zip(dy) {
                                *dx = *dy * share;
                            }
                        }
                    }
                    Self::Max => {
                        let chosen = &saved[index * width..(index + 1) * width];
                        for (channel, (&position, &dy)) in chosen.iter().zip(dy).enumerate() {
                            if holds(position) {
                                dx[inside(position as usize) + channel] = dy;
                            }
                        }
                    }
                }
            }
        });
    }
}

/// Mean over n rows; they begin with the channels of `out`.
fn mean<'a, T: Scalar>(rows: impl Iterator<Item = &'a [T]>, n: usize, out: &mut [T]) {
    let mut sums = [0.0_f64; CHANNELS];
    for row in rows {
        for (sum, x) in sums.iter_mut().zip(&row[..out.len()]) {
            *sum += x.to_f64();
        }
    }
    let count = n.max(1) as f64;
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = T::from_f64(sum / count);
    }
}

/// Largest value over the rows, and the first position that has it; they begin with the channels of `out`. A number that is
/// not finite wins and stays, so that the loss shows it.
fn max<'a, T: Scalar>(mut rows: impl Iterator<Item = (u32, &'a [T])>, out: &mut [T], chosen: &mut [u32]) {
    let Some((first, top)) = rows.next() else {
        out.fill(T::ZERO);
        chosen.fill(NOWHERE);
        return;
    };
    out.copy_from_slice(&top[..out.len()]);
    chosen.fill(first);
    for (position, row) in rows {
        for ((out, chosen), &x) in out.iter_mut().zip(&mut *chosen).zip(row) {
            if out.is_finite() && (x > *out || !x.is_finite()) {
                (*out, *chosen) = (x, position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::same_bits_for_any_threads;

    const LENGTH: usize = 600;
    const WIDTH: usize = 70;
    const ALL: [Pooling; 3] = [Pooling::Last, Pooling::Mean, Pooling::Max];

    /// Two rows with documents of many lengths, one of them over several blocks, and padding at both ends of rows.
    fn segments() -> Vec<Segment> {
        [(0, 0, 1), (0, 1, 520), (0, 520, 541), (1, 0, 256), (1, 256, 300)]
            .map(|(row, start, end)| Segment { row, start, end })
            .to_vec()
    }

    /// A mask without some positions, among them all of the third document and both ends of the second.
    fn mask() -> Vec<u8> {
        let masked =
            |t: usize| t % 3 == 1 || (510..541).contains(&t) || (LENGTH + 100..LENGTH + 256).contains(&t);
        (0..2 * LENGTH).map(|t| u8::from(!masked(t))).collect()
    }

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        let mut x = vec![0.0; n];
        crate::params::Init::Normal { std: 1.0 }.fill(&mut x, 1, seed, "pooling");
        x
    }

    fn forward<T: Scalar>(pooling: Pooling, x: &[T], mask: Option<&[u8]>) -> (Vec<T>, Vec<u32>) {
        let segments = segments();
        let mut out = vec![T::from_f64(f64::NAN); segments.len() * WIDTH];
        let mut saved = vec![7; pooling.saved_len(segments.len(), WIDTH)];
        pooling.forward(x, documents(&segments, mask), &mut saved, &mut out);
        (out, saved)
    }

    fn documents<'a>(segments: &'a [Segment], mask: Option<&'a [u8]>) -> PooledDocuments<'a> {
        PooledDocuments { length: LENGTH, width: WIDTH, segments, mask }
    }

    #[test]
    fn each_pooling_is_its_formula_over_the_positions_that_take_part() {
        let (x, mask) = (numbers(2 * LENGTH * WIDTH, 0), mask());
        for (pooling, mask) in ALL.iter().flat_map(|&p| [(p, None), (p, Some(&*mask))]) {
            let (out, _) = forward(pooling, &x, mask);
            for (s, segment) in segments().iter().enumerate() {
                for channel in 0..WIDTH {
                    let positions = (segment.start..segment.end)
                        .map(|t| segment.row as usize * LENGTH + t as usize)
                        .filter(|&t| mask.is_none_or(|mask| mask[t] == 1));
                    let values: Vec<f64> = positions.map(|t| x[t * WIDTH + channel]).collect();
                    let expected = match pooling {
                        _ if values.is_empty() => 0.0,
                        Pooling::Last => *values.last().unwrap(),
                        Pooling::Mean => values.iter().sum::<f64>() / values.len() as f64,
                        Pooling::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    };
                    let found = out[s * WIDTH + channel];
                    assert!(
                        (found - expected).abs() <= 1e-14,
                        "{pooling:?} {s} {channel}: {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn gradients_agree_with_central_differences_and_vanish_where_no_position_takes_part() {
        let (x, mask) = (numbers(2 * LENGTH * WIDTH, 1), mask());
        let segments = segments();
        let dy = numbers(segments.len() * WIDTH, 2);
        for (pooling, mask) in ALL.iter().flat_map(|&p| [(p, None), (p, Some(&*mask))]) {
            let (_, saved) = forward(pooling, &x, mask);
            let mut dx = vec![f64::NAN; x.len()];
            pooling.backward(&dy, documents(&segments, mask), &saved, &mut dx);
            // Pooling is linear along a direction while no maximum changes its position: one direction tests every
            // entry that is not zero, and the sum of squares those that should be zero.
            let loss =
                |x: &[f64]| forward(pooling, x, mask).0.iter().zip(&dy).map(|(y, d)| y * d).sum::<f64>();
            let h = 1e-7;
            let direction = numbers(x.len(), 3);
            let shifted = |h: f64| -> Vec<f64> { x.iter().zip(&direction).map(|(x, d)| x + h * d).collect() };
            let difference = (loss(&shifted(h)) - loss(&shifted(-h))) / (2.0 * h);
            let expected: f64 = dx.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale = dx.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!((difference - expected).abs() <= 1e-6 * scale, "{pooling:?}: {difference} {expected}");
            for (position, dx) in dx.chunks_exact(WIDTH).enumerate() {
                let (row, t) = ((position / LENGTH) as u32, (position % LENGTH) as u32);
                let inside = segments.iter().any(|s| s.row == row && (s.start..s.end).contains(&t));
                let takes_part = inside && mask.is_none_or(|mask| mask[position] == 1);
                assert!(takes_part || dx.iter().all(|&g| g == 0.0), "{pooling:?}: gradient at {row} {t}");
            }
        }
    }

    #[test]
    fn a_mask_that_cuts_off_the_ends_gives_the_bits_of_shorter_documents() {
        let x = numbers(2 * LENGTH * WIDTH, 4);
        let (whole, dy) = (segments(), numbers(segments().len() * WIDTH, 5));
        let short: Vec<Segment> =
            whole.iter().map(|s| Segment { end: s.start + (s.end - s.start).div_ceil(2), ..*s }).collect();
        let mut mask = vec![0; 2 * LENGTH];
        for s in &short {
            let row = s.row as usize * LENGTH;
            mask[row + s.start as usize..row + s.end as usize].fill(1);
        }
        for pooling in ALL {
            let run = |documents: PooledDocuments| {
                let mut saved = vec![0; pooling.saved_len(whole.len(), WIDTH)];
                let (mut out, mut dx) = (vec![0.0; whole.len() * WIDTH], vec![f64::NAN; x.len()]);
                pooling.forward(&x, documents, &mut saved, &mut out);
                pooling.backward(&dy, documents, &saved, &mut dx);
                (out, dx)
            };
            assert!(run(documents(&whole, Some(&mask))) == run(documents(&short, None)), "{pooling:?}");
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let x: Vec<f32> = numbers(2 * LENGTH * WIDTH, 6).into_iter().map(|x| x as f32).collect();
        let (segments, mask) = (segments(), mask());
        for pooling in ALL {
            same_bits_for_any_threads(|| {
                let (out, saved) = forward(pooling, &x, Some(&mask));
                let mut dx = vec![f32::NAN; x.len()];
                pooling.backward(&out, documents(&segments, Some(&mask)), &saved, &mut dx);
                [out, dx].concat()
            });
        }
    }

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient_and_nan_is_not_hidden() {
        let segments = [Segment { row: 0, start: 1, end: 4 }];
        let documents = PooledDocuments { length: 4, width: 1, segments: &segments, mask: None };
        let (mut out, mut saved, mut dx) = ([0.0_f32], [0], [9.0_f32; 4]);
        Pooling::Max.forward(&[9.0, 2.0, 3.0, 3.0], documents, &mut saved, &mut out);
        Pooling::Max.backward(&[5.0], documents, &saved, &mut dx);
        assert_eq!((out, saved, dx), ([3.0], [2], [0.0, 0.0, 5.0, 0.0]));
        Pooling::Max.forward(&[9.0, 2.0, f32::NAN, 3.0], documents, &mut saved, &mut out);
        assert!(out[0].is_nan());
    }
}
