//! From the hidden states of a document to one feature: the last one, their mean, or the largest of each channel.
//!
//! x `[rows, length, D]` → out `[segments, D]`; positions outside the segments are not looked at, and their gradient is 0.
//! Each segment is summed in its own order, so a document gives the same bits alone and in any batch.
//!
//! | | forward | backward |
//! |---|---|---|
//! | last | x_last | dx_last = dy |
//! | mean | Σ x_t / n | dx_t = dy / n |
//! | max | max_t x_t, per channel | dx at the first largest position = dy |

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::Segment;
use crate::numeric::Scalar;

/// Channels of a task of the forward pass.
const CHANNELS: usize = 64;

/// Positions of a task of the backward pass.
const POSITIONS: usize = 256;

/// How the positions of a document become one feature.
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

impl Pooling {
    /// Elements of `chosen` for this many segments: max remembers positions.
    pub fn chosen(self, segments: usize, width: usize) -> usize {
        if self == Self::Max { segments * width } else { 0 }
    }

    /// out `[segments, width]` from x `[rows, length, width]`. An empty segment gives zeros.
    pub fn forward<T: Scalar>(
        self,
        x: &[T],
        length: usize,
        width: usize,
        segments: &[Segment],
        chosen: &mut [u32],
        out: &mut [T],
    ) {
        assert_eq!(out.len(), segments.len() * width, "a feature per segment");
        assert_eq!(chosen.len(), self.chosen(segments.len(), width), "a position per maximum");
        let rows_of = |s: &Segment| {
            let first = s.row as usize * length;
            &x[(first + s.start as usize) * width..(first + s.end as usize) * width]
        };
        match self {
            Self::Last => {
                for (out, segment) in out.chunks_exact_mut(width).zip(segments) {
                    match rows_of(segment).rchunks_exact(width).next() {
                        Some(last) => out.copy_from_slice(last),
                        None => out.fill(T::ZERO),
                    }
                }
            }
            Self::Mean => out.par_chunks_exact_mut(width).zip(segments).for_each(|(out, segment)| {
                let x = rows_of(segment);
                out.par_chunks_mut(CHANNELS).with_max_len(1).enumerate().for_each(|(i, out)| {
                    mean(x, width, i * CHANNELS, out);
                });
            }),
            Self::Max => out
                .par_chunks_exact_mut(width)
                .zip(chosen.par_chunks_exact_mut(width))
                .zip(segments)
                .for_each(|((out, chosen), segment)| {
                    let x = rows_of(segment);
                    let blocks = out.par_chunks_mut(CHANNELS).zip(chosen.par_chunks_mut(CHANNELS));
                    blocks.with_max_len(1).enumerate().for_each(|(i, (out, chosen))| {
                        max(x, width, i * CHANNELS, segment.start, out, chosen);
                    });
                }),
        }
    }

    /// dx `[rows, length, width]`, overwritten, from dy `[segments, width]` and what the forward pass left in `chosen`.
    pub fn backward<T: Scalar>(
        self,
        dy: &[T],
        length: usize,
        width: usize,
        segments: &[Segment],
        chosen: &[u32],
        dx: &mut [T],
    ) {
        assert_eq!(dy.len(), segments.len() * width, "a gradient per segment");
        assert_eq!(chosen.len(), self.chosen(segments.len(), width), "a position per maximum");
        let ends = |s: &Segment| {
            let first = s.row as usize * length;
            (first + s.start as usize, first + s.end as usize)
        };
        dx.par_chunks_mut(POSITIONS * width).with_max_len(1).enumerate().for_each(|(i, dx)| {
            dx.fill(T::ZERO);
            let (from, to) = (i * POSITIONS, i * POSITIONS + dx.len() / width);
            let first = segments.partition_point(|s| ends(s).1 <= from);
            for (index, segment) in segments.iter().enumerate().skip(first) {
                let (start, end) = ends(segment);
                if start >= to {
                    break;
                }
                if start == end {
                    continue;
                }
                let dy = &dy[index * width..(index + 1) * width];
                let inside = |position: usize| (position - from) * width;
                match self {
                    Self::Last => {
                        if end <= to {
                            dx[inside(end - 1)..][..width].copy_from_slice(dy);
                        }
                    }
                    Self::Mean => {
                        let share = T::ONE / T::from_f64((end - start) as f64);
                        let part = &mut dx[inside(start.max(from))..inside(end.min(to))];
                        for (dx, dy) in part.iter_mut().zip(dy.iter().cycle()) {
                            *dx = *dy * share;
                        }
                    }
                    Self::Max => {
                        let row = segment.row as usize * length;
                        let chosen = &chosen[index * width..(index + 1) * width];
                        for (channel, (&position, &dy)) in chosen.iter().zip(dy).enumerate() {
                            let position = row + position as usize;
                            if (from..to).contains(&position) {
                                dx[inside(position) + channel] = dy;
                            }
                        }
                    }
                }
            }
        });
    }
}

/// Mean over the rows of x of the channels from `first` on.
fn mean<T: Scalar>(x: &[T], width: usize, first: usize, out: &mut [T]) {
    let mut sums = [0.0_f64; CHANNELS];
    for row in x.chunks_exact(width) {
        for (sum, x) in sums.iter_mut().zip(&row[first..first + out.len()]) {
            *sum += x.to_f64();
        }
    }
    let count = (x.len() / width).max(1) as f64;
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = T::from_f64(sum / count);
    }
}

/// Largest value over the rows of x of the channels from `first` on, and the first position that has it, counted from
/// `start`. A number that is not finite wins and stays, so that the loss shows it.
fn max<T: Scalar>(x: &[T], width: usize, first: usize, start: u32, out: &mut [T], chosen: &mut [u32]) {
    let Some(top) = x.chunks_exact(width).next() else {
        out.fill(T::ZERO);
        chosen.fill(start);
        return;
    };
    out.copy_from_slice(&top[first..first + out.len()]);
    chosen.fill(start);
    for (row, position) in x.chunks_exact(width).zip(start..).skip(1) {
        for ((out, chosen), &x) in out.iter_mut().zip(&mut *chosen).zip(&row[first..]) {
            if out.is_finite() && (x > *out || !x.is_finite()) {
                (*out, *chosen) = (x, position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 600;
    const WIDTH: usize = 70;

    /// Two rows with documents of many lengths, one of them over several blocks, and padding at both ends of rows.
    fn segments() -> Vec<Segment> {
        [(0, 0, 1), (0, 1, 520), (0, 520, 541), (1, 0, 256), (1, 256, 300)]
            .map(|(row, start, end)| Segment { row, start, end })
            .to_vec()
    }

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        let mut x = vec![0.0; n];
        crate::params::Init::Normal { std: 1.0 }.fill(&mut x, 1, seed, "pooling");
        x
    }

    fn forward(pooling: Pooling, x: &[f64]) -> (Vec<f64>, Vec<u32>) {
        let segments = segments();
        let mut out = vec![f64::NAN; segments.len() * WIDTH];
        let mut chosen = vec![0; pooling.chosen(segments.len(), WIDTH)];
        pooling.forward(x, LENGTH, WIDTH, &segments, &mut chosen, &mut out);
        (out, chosen)
    }

    #[test]
    fn each_pooling_is_its_formula_over_the_segment_alone() {
        let x = numbers(2 * LENGTH * WIDTH, 0);
        for pooling in [Pooling::Last, Pooling::Mean, Pooling::Max] {
            let (out, _) = forward(pooling, &x);
            for (s, segment) in segments().iter().enumerate() {
                for channel in 0..WIDTH {
                    let values: Vec<f64> = (segment.start..segment.end)
                        .map(|t| x[(segment.row as usize * LENGTH + t as usize) * WIDTH + channel])
                        .collect();
                    let expected = match pooling {
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
    fn gradients_agree_with_central_differences_and_vanish_outside_the_segments() {
        let x = numbers(2 * LENGTH * WIDTH, 1);
        let segments = segments();
        let dy = numbers(segments.len() * WIDTH, 2);
        for pooling in [Pooling::Last, Pooling::Mean, Pooling::Max] {
            let (_, chosen) = forward(pooling, &x);
            let mut dx = vec![f64::NAN; x.len()];
            pooling.backward(&dy, LENGTH, WIDTH, &segments, &chosen, &mut dx);
            // Pooling is linear along a direction as long as no maximum changes place: one direction tests every entry
            // that is not zero, and the sum of squares those that should be.
            let loss = |x: &[f64]| forward(pooling, x).0.iter().zip(&dy).map(|(y, d)| y * d).sum::<f64>();
            let h = 1e-7;
            let direction = numbers(x.len(), 3);
            let shifted = |h: f64| -> Vec<f64> { x.iter().zip(&direction).map(|(x, d)| x + h * d).collect() };
            let difference = (loss(&shifted(h)) - loss(&shifted(-h))) / (2.0 * h);
            let expected: f64 = dx.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale = dx.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!((difference - expected).abs() <= 1e-6 * scale, "{pooling:?}: {difference} {expected}");
            for (t, dx) in dx.chunks_exact(WIDTH).enumerate() {
                let (row, t) = ((t / LENGTH) as u32, (t % LENGTH) as u32);
                let inside = segments.iter().any(|s| s.row == row && (s.start..s.end).contains(&t));
                assert!(inside || dx.iter().all(|&g| g == 0.0), "{pooling:?}: gradient at padding {row} {t}");
            }
        }
    }

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient_and_nan_is_not_hidden() {
        let segments = [Segment { row: 0, start: 1, end: 4 }];
        let (mut out, mut chosen, mut dx) = ([0.0_f32], [0], [9.0_f32; 4]);
        Pooling::Max.forward(&[9.0, 2.0, 3.0, 3.0], 4, 1, &segments, &mut chosen, &mut out);
        Pooling::Max.backward(&[5.0], 4, 1, &segments, &chosen, &mut dx);
        assert_eq!((out, chosen, dx), ([3.0], [2], [0.0, 0.0, 5.0, 0.0]));
        Pooling::Max.forward(&[9.0, 2.0, f32::NAN, 3.0], 4, 1, &segments, &mut chosen, &mut out);
        assert!(out[0].is_nan());
    }
}
