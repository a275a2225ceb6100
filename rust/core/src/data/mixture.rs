//! Which of several sources the next row comes from: exact proportions, without chance.
//!
//! Sources have whole weights w_i with the sum W. After r rows, source i has given c_i of them with
//! |c_i - r·w_i/W| < 1 at every r, and exactly r·w_i/W where W divides r: the turns then begin again. That is the chairman
//! assignment of Tijdeman ("The chairman assignment problem", Discrete Mathematics 32, 1980): of the sources whose next
//! row is due, those with (r + 1)·w_i/W - c_i ≥ 1/(2n - 2), the one that has to come first, for which
//!
//! ```text
//!   (c_i + 1 - 1/(2n - 2)) · W / w_i
//! ```
//!
//! is least, and of equal ones the first. All of it is done in whole numbers.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};

/// Largest sum of weights: as many turns are gone through when a position is sought.
const LARGEST_SUM: u64 = 1 << 20;
/// Most sources.
const MOST_SOURCES: usize = 1 << 10;

/// Weights of sources, and so the order of their turns.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    weights: Vec<u64>,
    total: u64,
}

/// A place among the turns.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// Rows since the turns began again.
    rows: u64,
    /// Of each source.
    taken: Vec<u64>,
}

impl Schedule {
    /// Refuses weights of 0, and those with a sum that is too large.
    pub(super) fn new(weights: Vec<u64>) -> Result<Self> {
        let sum = weights.iter().try_fold(0_u64, |sum, &weight| sum.checked_add(weight));
        let total = sum.filter(|&sum| sum <= LARGEST_SUM);
        let (Some(total), true, false) =
            (total, weights.len() <= MOST_SOURCES, weights.is_empty() || weights.contains(&0))
        else {
            return Err(Error::config(
                "data.weights",
                format!("up to {MOST_SOURCES} weights above 0 with up to 6 digits behind the point"),
                format!("{weights:?} as whole numbers, whose sum may be {LARGEST_SUM}"),
                "round them",
            ));
        };
        Ok(Self { weights, total })
    }

    /// Rows after which the turns begin again.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The weight of a source.
    pub(super) fn weight(&self, source: usize) -> u64 {
        self.weights[source]
    }

    /// The place after this many rows; they may be counted since the turns last began.
    pub(super) fn after(&self, rows: u64) -> Turn {
        let mut turn = Turn { rows: 0, taken: vec![0; self.weights.len()] };
        if self.weights.len() == 1 {
            return turn;
        }
        for _ in 0..rows % self.total {
            let source = self.source(&turn);
            self.take(&mut turn, source);
        }
        turn
    }

    /// The source of the next row.
    pub(super) fn source(&self, turn: &Turn) -> usize {
        let n = self.weights.len();
        if n == 1 {
            return 0;
        }
        // All multiplied by W and by 2n - 2, and compared by cross products.
        let parts = 2 * n as u128 - 2;
        let total = u128::from(self.total);
        let mut first: Option<(u128, u128, usize)> = None;
        for (i, (&weight, &taken)) in self.weights.iter().zip(&turn.taken).enumerate() {
            let (weight, taken) = (u128::from(weight), u128::from(taken));
            let is_due = (u128::from(turn.rows) + 1) * weight * parts >= taken * total * parts + total;
            let latest = (taken + 1) * parts - 1;
            if is_due && first.is_none_or(|(least, of, _)| latest * of < least * weight) {
                first = Some((latest, weight, i));
            }
        }
        first.map_or(0, |(_, _, i)| i)
    }

    /// Goes on by a row of this source.
    pub(super) fn take(&self, turn: &mut Turn, source: usize) {
        if self.weights.len() == 1 {
            return;
        }
        turn.rows += 1;
        turn.taken[source] += 1;
        if turn.rows == self.total {
            turn.rows = 0;
            turn.taken.fill(0);
        }
    }

    /// Rows of all sources after which one has given this many.
    pub(super) fn rows_until(&self, source: usize, own: u64) -> u64 {
        if self.weights.len() == 1 || own == 0 {
            return own;
        }
        let weight = self.weights[source];
        let (periods, rest) = ((own - 1) / weight, (own - 1) % weight + 1);
        let mut turn = self.after(0);
        let mut rows = 0;
        while turn.taken[source] < rest {
            let next = self.source(&turn);
            rows += 1;
            if next == source && turn.taken[source] + 1 == rest {
                break;
            }
            self.take(&mut turn, next);
        }
        periods.saturating_mul(self.total).saturating_add(rows)
    }
}

impl Turn {
    /// Rows since the turns began again.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every prefix of three periods.
    fn check(weights: &[u64]) {
        let schedule = Schedule::new(weights.to_vec()).unwrap();
        let total = schedule.total();
        let mut turn = schedule.after(0);
        let mut counts = vec![0_u64; weights.len()];
        let mut order = Vec::new();
        for rows in 1..=3 * total {
            let source = schedule.source(&turn);
            order.push(source);
            schedule.take(&mut turn, source);
            counts[source] += 1;
            assert_eq!(schedule.rows_until(source, counts[source]), rows, "{weights:?}");
            for (&count, &weight) in counts.iter().zip(weights) {
                let off = (count * total).abs_diff(rows * weight);
                assert!(off < total, "{weights:?}: {count} after {rows} rows");
                assert!(rows % total != 0 || off == 0, "{weights:?}: not exact after {rows} rows");
            }
            assert_eq!(schedule.source(&schedule.after(rows)), schedule.source(&turn));
        }
        let period = total as usize;
        assert_eq!(order[..period], order[period..2 * period]);
    }

    #[test]
    fn every_prefix_is_less_than_a_row_from_its_share() {
        for weights in [
            &[1][..],
            &[1, 1],
            &[7, 3],
            &[1, 99],
            &[5, 3, 2],
            &[4, 1, 1],
            &[1, 1, 1, 1, 1],
            &[13, 7, 5, 1, 1, 1, 1],
            &[2, 3, 5, 7, 11, 13, 17],
        ] {
            check(weights);
        }
    }

    /// A run that is resumed with a newer release takes the same turns; worked out by hand from the formula above.
    #[test]
    fn the_order_of_turns_is_fixed() {
        for (weights, expected) in [
            (&[5, 3, 2][..], &[0, 1, 0, 2, 0, 1, 0, 2, 1, 0][..]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[3, 1], &[0, 0, 1, 0]),
        ] {
            let schedule = Schedule::new(weights.to_vec()).unwrap();
            let order: Vec<usize> =
                (0..schedule.total()).map(|rows| schedule.source(&schedule.after(rows))).collect();
            assert_eq!(order, expected, "{weights:?}");
        }
    }

    #[test]
    fn weights_that_cannot_be_turns_are_refused() {
        for weights in [vec![], vec![1, 0], vec![u64::MAX, 1], vec![1 << 20, 1], vec![1; 1025]] {
            let error = Schedule::new(weights).unwrap_err().to_string();
            assert!(error.starts_with("data.weights: expected up to 1024 weights above 0"), "{error}");
        }
    }
}
