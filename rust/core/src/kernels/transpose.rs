//! Transposition of rows of numbers.
//!
//! ```text
//! out[t·width + j] = line(j)[t]        j < count, t < the lines' length
//! ```

#![forbid(unsafe_code)]

use crate::simd::Vector;

/// Lines that are transposed together, in squares, where vectors are at least as wide.
const SQUARE: usize = 4;

/// Writes `count` lines of `terms` numbers as columns of `out`, whose rows are `width` numbers. Columns up to the next
/// multiple of [`SQUARE`] hold the last line again.
///
/// # Panics
/// If a line is shorter, `width` less than `count` so rounded up, or `out` too short.
#[inline(always)]
pub(super) fn transpose<'a, V: Vector>(
    line: impl Fn(usize) -> &'a [V::T],
    (count, terms): (usize, usize),
    out: &mut [V::T],
    width: usize,
) {
    let out = &mut out[..width * terms];
    let line = |j: usize| &line(j.min(count - 1))[..terms];
    let square = if V::LANES < SQUARE { 1 } else { SQUARE };
    for j in (0..count).step_by(square) {
        let lines = [line(j), line(j + 1), line(j + 2), line(j + 3)];
        let mut done = 0;
        if square == SQUARE {
            let squares = lines.map(|line| line.as_chunks::<SQUARE>().0);
            for (t, rows) in out.chunks_exact_mut(SQUARE * width).enumerate() {
                let [a, b, c, d] = squares.map(|squares| squares[t]);
                // A loop of constant length becomes shuffles of registers; one over chunks took four times as long.
                for i in 0..SQUARE {
                    rows[i * width + j..][..SQUARE].copy_from_slice(&[a[i], b[i], c[i], d[i]]);
                }
            }
            done = terms / SQUARE * SQUARE;
        }
        for (t, row) in out.chunks_exact_mut(width).enumerate().skip(done) {
            for (to, line) in row[j..j + square].iter_mut().zip(lines) {
                *to = line[t];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{self, Isa, Kernel};

    struct Run<'a> {
        lines: &'a [f32],
        shape: (usize, usize),
        out: &'a mut [f32],
        width: usize,
    }

    impl Kernel<f32> for Run<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector<T = f32>>(self, _: V) {
            let terms = self.shape.1;
            transpose::<V>(|j| &self.lines[j * terms..][..terms], self.shape, self.out, self.width);
        }
    }

    #[test]
    fn lines_become_columns_for_every_shape_and_instruction_set() {
        for isa in Isa::available() {
            for count in 1..14_usize {
                for terms in 0..14 {
                    let lines: Vec<f32> = (0..count * terms).map(|x| x as f32).collect();
                    let width = count.next_multiple_of(SQUARE) + 4;
                    let mut out = vec![-1.0; width * terms];
                    simd::run_on(isa, Run { lines: &lines, shape: (count, terms), out: &mut out, width });
                    for t in 0..terms {
                        for j in 0..width {
                            let found = out[t * width + j];
                            if j < count {
                                assert_eq!(found, lines[j * terms + t], "{count} lines of {terms}: {t}, {j}");
                            } else if j >= count.next_multiple_of(SQUARE) {
                                assert_eq!(found, -1.0, "{count} lines of {terms}: beyond the columns");
                            }
                        }
                    }
                }
            }
        }
    }
}
