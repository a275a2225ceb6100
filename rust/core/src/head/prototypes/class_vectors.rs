//! Vectors of the classes, from the user: prototypes as they are, or what the order of the prototypes' cosines follows.

use super::random::normalise;
use crate::error::{Error, Result};
use crate::storage::sha256;

/// The setting that names them.
pub(crate) const KEY: &str = "model.head.vectors";

/// Two directions closer than this are one: single precision could not tell them apart.
const SAME: f64 = 1e-6;

/// One vector for each class, brought to unit length.
///
/// ```
/// use ssm_hpn::head::ClassVectors;
///
/// let vectors = ClassVectors::new(&[3.0, 4.0, 0.0, 2.0], 2, &[])?;
/// assert_eq!((vectors.classes(), vectors.dim()), (2, 2));
/// assert_eq!(vectors.rows(), [0.6, 0.8, 0.0, 1.0]);
///
/// let names = ["cat".to_owned(), "dog".to_owned()];
/// let refused = ClassVectors::new(&[1.0, 1.0, 2.0, 2.0], 2, &names).unwrap_err();
/// assert!(refused.to_string().contains("found one direction for 'cat' and 'dog'"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClassVectors {
    rows: Vec<f64>,
    dim: usize,
}

impl ClassVectors {
    /// Vectors `[C, dim]` of any length. Messages call the classes by `names`, or without any by their numbers.
    ///
    /// Errors: [`Error::Config`] for a number that is not finite, a vector of zeros, or two vectors of one direction.
    pub fn new(rows: &[f64], dim: usize, names: &[String]) -> Result<Self> {
        let name = |class: usize| {
            names.get(class).map_or_else(|| format!("class {class}"), |name| format!("'{name}'"))
        };
        let refused =
            |expected: &str, found: String, advice: &str| Err(Error::config(KEY, expected, found, advice));
        if dim == 0 || rows.is_empty() || !rows.len().is_multiple_of(dim) {
            let found = format!("{} numbers for rows of {dim}", rows.len());
            return refused("a row of numbers for each class", found, "pass an array [classes, numbers]");
        }
        let mut rows = rows.to_vec();
        for (class, row) in rows.chunks_exact_mut(dim).enumerate() {
            if let Some(x) = row.iter().find(|x| !x.is_finite()) {
                let found = format!("{x} for {}", name(class));
                return refused("finite numbers", found, "leave no number of a vector out");
            }
            // Squares of very large or small numbers are not in the range of doubles.
            let largest = row.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
            if largest == 0.0 {
                let found = format!("zeros for {}", name(class));
                return refused("vectors with a direction", found, "give it a vector that is not zero");
            }
            for x in row.iter_mut() {
                *x /= largest;
            }
            normalise(row);
        }
        if let Some((a, b)) = same_direction(&rows, dim) {
            let found = format!("one direction for {} and {}", name(a), name(b));
            return refused(
                "different directions",
                found,
                "give each class a vector of its own, or join the classes",
            );
        }
        Ok(Self { rows, dim })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.rows.len() / self.dim
    }

    /// Numbers of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The unit vectors `[classes, dim]`.
    pub fn rows(&self) -> &[f64] {
        &self.rows
    }

    /// Equal where all numbers are.
    pub(crate) fn digest(&self) -> String {
        let bytes: Vec<u8> = self.rows.iter().flat_map(|x| x.to_le_bytes()).collect();
        format!("{} {}", self.dim, sha256(&bytes))
    }
}

/// Two rows of one direction, the first pair by the number of its later row.
///
/// Equal rows have equal projections, so only rows whose projections onto one line are neighbours are compared: this costs
/// as much as sorting, not as all pairs.
fn same_direction(rows: &[f64], dim: usize) -> Option<(usize, usize)> {
    let row = |i: usize| &rows[i * dim..][..dim];
    // Weights of an irrational rotation: no two coordinates have the same, and none has 0.
    let weight = |k: usize| 0.5 + (k as f64 * 0.618_033_988_749_894_9).fract();
    let projected = |i: usize| row(i).iter().enumerate().map(|(k, x)| weight(k) * x).sum::<f64>();
    let mut order: Vec<(f64, usize)> = (0..rows.len() / dim).map(|i| (projected(i), i)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    // |weights·(a - b)| ≤ 1.5·√dim·‖a - b‖.
    let window = 1.5 * (dim as f64).sqrt() * SAME;
    let mut found: Option<(usize, usize)> = None;
    for (place, &(at, i)) in order.iter().enumerate() {
        for &(_, j) in order[place + 1..].iter().take_while(|(other, _)| other - at <= window) {
            let distance: f64 = row(i).iter().zip(row(j)).map(|(a, b)| (a - b) * (a - b)).sum();
            let pair = (i.min(j), i.max(j));
            if distance < SAME * SAME && found.is_none_or(|best| (pair.1, pair.0) < (best.1, best.0)) {
                found = Some(pair);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(rows: &[f64], dim: usize) -> String {
        ClassVectors::new(rows, dim, &[]).unwrap_err().to_string()
    }

    #[test]
    fn vectors_without_a_direction_of_their_own_are_refused() {
        for (rows, part) in [
            (&[1.0, 0.0, f64::NAN, 1.0][..], "found NaN for class 1"),
            (&[1.0, 0.0, 0.0, f64::INFINITY], "found inf for class 1"),
            (&[0.0, 0.0, 1.0, 0.0], "found zeros for class 0"),
            (&[0.0, 1.0, 1.0, 0.0, 3.0, 0.0], "found one direction for class 1 and class 2"),
            (&[1.0, 0.0, 1.0], "found 3 numbers for rows of 2"),
        ] {
            let message = refusal(rows, 2);
            assert!(
                message.starts_with("model.head.vectors: expected ") && message.contains(part),
                "{message}"
            );
        }
        assert!(refusal(&[], 2).contains("found 0 numbers"));
        // Opposite directions and nearly equal ones are different, at any length.
        for rows in [
            [1.0, 0.0, -1.0, 0.0],
            [1.0, 0.0, 1.0, 1e-5],
            [1e300, 0.0, 1e300, 1e300],
            [1e-300, 0.0, 0.0, 1.0],
        ] {
            let vectors = ClassVectors::new(&rows, 2, &[]).unwrap();
            assert!(vectors.rows().chunks(2).all(|row| (row[0].hypot(row[1]) - 1.0).abs() < 1e-15));
        }
    }

    #[test]
    fn equal_directions_are_found_among_many() {
        let dim = 7;
        let mut rows = super::super::random(3000, dim, 1);
        assert_eq!(same_direction(&rows, dim), None);
        rows.copy_within(17 * dim..18 * dim, 2500 * dim);
        rows.copy_within(17 * dim..18 * dim, 1000 * dim);
        assert_eq!(same_direction(&rows, dim), Some((17, 1000)));
    }
}
