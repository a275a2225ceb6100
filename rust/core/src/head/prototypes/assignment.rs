//! Which class gets which prototype: classes whose features are similar get prototypes that are similar.
//!
//! ```text
//! S_ij   cosine of the means of classes i and j, the mean of all classes taken off;  0 for a class without features.
//!        By class vectors: of the vectors, without their mean
//! R_pq   cosine of prototypes p and q
//! π      of the assignments that are looked at the one where Σ_{i<j} S_ij·R_π(i)π(j) is largest
//! ```
//!
//! Greedily: the two most similar classes get the two most similar prototypes; then, again and again, the class that is
//! most similar to one that has a prototype gets the free prototype p where Σ_j S_ij·R_pπ(j), over the classes j that have
//! one, is largest. Afterwards any two classes change places while the sum gets larger. Of equal ones the first counts.

use super::class_vectors::ClassVectors;

/// Most classes that are assigned by similarity: time grows with their third power.
pub const ASSIGNMENT_LIMIT: usize = 1024;

/// Most rounds in which any two classes may change places.
const ROUNDS: usize = 10;

/// Least share by which a sum has to be larger than that of another assignment.
const GAIN: f64 = 1e-9;

/// Least length of the mean of a class, without that of all, that has a direction.
const LEAST_LENGTH: f64 = 1e-12;

/// For each class the row of `prototypes` `[C, Q]` that it gets, by the sums of its features' directions `[C, Q]` and
/// their numbers `[C]`; `None` where no assignment is better than the given one.
pub(crate) fn similar(sums: &[f64], counts: &[f64], prototypes: &[f64]) -> Option<Vec<usize>> {
    let classes = counts.len();
    let wanted = similarities(&centred(sums, counts), sums.len() / classes);
    let offered = similarities(prototypes, prototypes.len() / classes);
    let seen: Vec<bool> = counts.iter().map(|&count| count > 0.0).collect();
    let pairs = Pairs { classes, wanted: &wanted, offered: &offered };
    let given: Vec<usize> = (0..classes).collect();
    let mut places = pairs.greedy(&seen);
    pairs.exchange(&mut places);
    let (before, after) = (pairs.sum(&given), pairs.sum(&places));
    (after > before + GAIN * before.abs()).then_some(places)
}

/// `prototypes` `[C, Q]` in the order in which classes with similar `vectors` get similar ones.
pub(crate) fn by_vectors(vectors: &ClassVectors, prototypes: Vec<f64>) -> Vec<f64> {
    let (classes, dim) = (vectors.classes(), prototypes.len() / vectors.classes());
    match similar(vectors.rows(), &vec![1.0; classes], &prototypes) {
        Some(places) => places.iter().flat_map(|&place| &prototypes[place * dim..][..dim]).copied().collect(),
        None => prototypes,
    }
}

/// Means of the classes without the mean of all that have features; zeros for the others.
fn centred(sums: &[f64], counts: &[f64]) -> Vec<f64> {
    let dim = sums.len() / counts.len();
    let mut means = vec![0.0; sums.len()];
    let mut all = vec![0.0; dim];
    for ((mean, sum), &count) in means.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)).zip(counts) {
        if count > 0.0 {
            for ((mean, sum), all) in mean.iter_mut().zip(sum).zip(&mut all) {
                *mean = sum / count;
                *all += *mean;
            }
        }
    }
    let seen = counts.iter().filter(|&&count| count > 0.0).count().max(1) as f64;
    for (mean, _) in means.chunks_exact_mut(dim).zip(counts).filter(|(_, count)| **count > 0.0) {
        mean.iter_mut().zip(&all).for_each(|(mean, all)| *mean -= all / seen);
    }
    means
}

/// Cosines of all pairs of rows `[n, dim]`, as `[n, n]` with zeros on the diagonal.
fn similarities(rows: &[f64], dim: usize) -> Vec<f64> {
    let n = rows.len() / dim;
    let mut units = rows.to_vec();
    for unit in units.chunks_exact_mut(dim) {
        let length = unit.iter().map(|x| x * x).sum::<f64>().sqrt();
        // A class whose mean is that of all has no direction.
        for x in unit {
            *x = if length > LEAST_LENGTH { *x / length } else { 0.0 };
        }
    }
    let mut found = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..i {
            let (a, b) = (&units[i * dim..(i + 1) * dim], &units[j * dim..(j + 1) * dim]);
            let cosine = a.iter().zip(b).map(|(a, b)| a * b).sum();
            found[i * n + j] = cosine;
            found[j * n + i] = cosine;
        }
    }
    found
}

/// Similarities of classes and of prototypes, `[C, C]` each.
struct Pairs<'a> {
    classes: usize,
    wanted: &'a [f64],
    offered: &'a [f64],
}

impl Pairs<'_> {
    fn wanted(&self, i: usize, j: usize) -> f64 {
        self.wanted[i * self.classes + j]
    }

    fn offered(&self, p: usize, q: usize) -> f64 {
        self.offered[p * self.classes + q]
    }

    /// Σ_{i<j} S_ij·R_π(i)π(j).
    fn sum(&self, places: &[usize]) -> f64 {
        let row = |i: usize| (0..i).map(move |j| (i, j));
        let pairs = (0..self.classes).flat_map(row);
        pairs.map(|(i, j)| self.wanted(i, j) * self.offered(places[i], places[j])).sum()
    }

    /// The greedy assignment of the classes that were seen; the others get the prototypes that are left, in order.
    #[expect(clippy::expect_used, reason = "there are as many prototypes as classes")]
    fn greedy(&self, seen: &[bool]) -> Vec<usize> {
        let mut places: Vec<Option<usize>> = vec![None; self.classes];
        let mut free = vec![true; self.classes];
        // The largest similarity of each class to one that has a prototype.
        let mut nearest = vec![f64::NEG_INFINITY; self.classes];
        let mut assigned: Vec<usize> = Vec::with_capacity(self.classes);
        let both =
            |i: usize, j: usize| if seen[i] && seen[j] { self.wanted(i, j) } else { f64::NEG_INFINITY };
        let mut first = largest_pair(self.classes, both);
        let (p, q) = largest_pair(self.classes, |p, q| self.offered(p, q));
        if !seen[first.0] || !seen[first.1] {
            let one = seen.iter().position(|seen| *seen).unwrap_or(0);
            first = (one, one);
        }
        for (class, place) in [(first.0, p), (first.1, q)] {
            if places[class].is_none() {
                (places[class], free[place]) = (Some(place), false);
                assigned.push(class);
                (0..self.classes).for_each(|i| nearest[i] = nearest[i].max(self.wanted(i, class)));
            }
        }
        while let Some(class) =
            best((0..self.classes).filter(|&i| seen[i] && places[i].is_none()), |i| nearest[i])
        {
            let fit = |p: usize| {
                let terms = assigned.iter().map(|&j| (self.wanted(class, j), places[j].unwrap_or(p)));
                terms.map(|(similar, q)| similar * self.offered(p, q)).sum::<f64>()
            };
            let place =
                best((0..self.classes).filter(|&p| free[p]), fit).expect("as many prototypes as classes");
            (places[class], free[place]) = (Some(place), false);
            assigned.push(class);
            (0..self.classes).for_each(|i| nearest[i] = nearest[i].max(self.wanted(i, class)));
        }
        let mut left = (0..self.classes).filter(|&p| free[p]);
        places
            .into_iter()
            .map(|place| place.unwrap_or_else(|| left.next().expect("one for each class")))
            .collect()
    }

    /// Lets two classes change places where the sum gets larger, in rounds over all pairs.
    fn exchange(&self, places: &mut [usize]) {
        for _ in 0..ROUNDS {
            let mut changed = false;
            for i in 0..self.classes {
                for j in 0..i {
                    let (p, q) = (places[i], places[j]);
                    let others = (0..self.classes).filter(|&k| k != i && k != j);
                    let gain: f64 = others
                        .map(|k| {
                            let wanted = self.wanted(i, k) - self.wanted(j, k);
                            wanted * (self.offered(q, places[k]) - self.offered(p, places[k]))
                        })
                        .sum();
                    if gain > GAIN {
                        places.swap(i, j);
                        changed = true;
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }
}

/// The pair of numbers below n, the larger one first, with the largest value; of equal ones the first.
fn largest_pair(n: usize, value: impl Fn(usize, usize) -> f64) -> (usize, usize) {
    let mut found = ((1, 0), f64::NEG_INFINITY);
    for i in 0..n {
        for j in 0..i {
            if value(i, j) > found.1 {
                found = ((i, j), value(i, j));
            }
        }
    }
    found.0
}

/// The first of the largest values.
fn best(among: impl Iterator<Item = usize>, value: impl Fn(usize) -> f64) -> Option<usize> {
    let mut found: Option<(usize, f64)> = None;
    for i in among {
        let here = value(i);
        if found.is_none_or(|(_, largest)| here > largest) {
            found = Some((i, here));
        }
    }
    found.map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::numbers;

    /// Directions on a circle, at n even angles that begin at `turn`, in this order.
    fn circle(order: &[usize], turn: f64) -> Vec<f64> {
        let step = std::f64::consts::TAU / order.len() as f64;
        order
            .iter()
            .flat_map(|&i| {
                let angle = turn + i as f64 * step;
                [angle.cos(), angle.sin()]
            })
            .collect()
    }

    const ORDER: [usize; 9] = [3, 7, 0, 5, 8, 1, 6, 2, 4];

    #[test]
    fn classes_on_a_circle_get_prototypes_in_their_order_around_it() {
        let means = circle(&ORDER, 0.4);
        // Sums of different numbers of features, around a common centre.
        let counts: Vec<f64> = (1..=9).map(f64::from).collect();
        let sums: Vec<f64> = (0..18).map(|i| (means[i] * 0.1 + 3.0) * counts[i / 2]).collect();
        let prototypes = circle(&[0, 1, 2, 3, 4, 5, 6, 7, 8], 1.1);
        let places = similar(&sums, &counts, &prototypes).expect("a better one");
        // The classes in their order on the circle are one step apart on the circle of prototypes too, one way or the other.
        let around: Vec<usize> =
            (0..9).map(|at| places[ORDER.iter().position(|&i| i == at).unwrap()]).collect();
        let steps: Vec<usize> = (0..9).map(|at| (around[(at + 1) % 9] + 9 - around[at]) % 9).collect();
        assert!(steps.iter().all(|&step| step == steps[0]) && [1, 8].contains(&steps[0]), "{around:?}");
    }

    #[test]
    fn what_is_similar_already_stays_and_a_simplex_has_nothing_to_offer() {
        let means = circle(&[0, 1, 2, 3, 4, 5, 6], 0.4);
        let counts = [1.0; 7];
        assert_eq!(similar(&means, &counts, &circle(&[0, 1, 2, 3, 4, 5, 6], 1.1)), None);
        let simplex = super::super::simplex(7, 6);
        let sums: Vec<f64> = numbers(42, 3);
        assert_eq!(similar(&sums, &counts, &simplex), None);
    }

    #[test]
    fn class_vectors_of_another_length_order_the_prototypes() {
        // The third number is the same for all, and says nothing of which are alike.
        let flat = circle(&ORDER, 0.4);
        let rows: Vec<f64> = flat.chunks_exact(2).flat_map(|v| [v[0], v[1], 4.0]).collect();
        let vectors = ClassVectors::new(&rows, 3, &[]).unwrap();
        let prototypes = circle(&[0, 1, 2, 3, 4, 5, 6, 7, 8], 1.1);
        let found = by_vectors(&vectors, prototypes.clone());
        // Neighbours among the vectors are neighbours among the prototypes: both have the cosine of one step.
        let one_step = (std::f64::consts::TAU / 9.0).cos();
        for (i, &a) in ORDER.iter().enumerate() {
            for (j, &b) in ORDER.iter().enumerate().filter(|(_, b)| (a + 9 - **b) % 9 == 1) {
                let cosine = found[2 * i] * found[2 * j] + found[2 * i + 1] * found[2 * j + 1];
                assert!(
                    (cosine - one_step).abs() < 1e-12,
                    "classes {i} and {j}, {a} and {b} around the circle"
                );
            }
        }
        // What is in order stays as it is, to the bit.
        assert_eq!(
            by_vectors(&ClassVectors::new(&prototypes, 2, &[]).unwrap(), prototypes.clone()),
            prototypes
        );
    }

    #[test]
    fn every_prototype_is_given_once_also_to_classes_without_features() {
        for unseen in [0, 1, 5, 8, 9] {
            let (sums, prototypes) = (numbers::<f64>(27, 1), numbers::<f64>(27, 2));
            let counts: Vec<f64> = (0..9).map(|i| if i < unseen { 0.0 } else { 2.0 }).collect();
            let places = similar(&sums, &counts, &prototypes).unwrap_or((0..9).collect());
            let mut sorted = places.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..9).collect::<Vec<_>>(), "{unseen} classes without features: {places:?}");
        }
    }

    #[test]
    fn no_exchange_of_two_classes_is_left_that_would_be_better() {
        let (sums, prototypes) = (numbers::<f64>(60, 1), numbers::<f64>(60, 2));
        let places = similar(&sums, &[1.0; 12], &prototypes).expect("a better one");
        let wanted = similarities(&centred(&sums, &[1.0; 12]), 5);
        let offered = similarities(&prototypes, 5);
        let pairs = Pairs { classes: 12, wanted: &wanted, offered: &offered };
        for i in 0..12 {
            for j in 0..i {
                let mut other = places.clone();
                other.swap(i, j);
                assert!(pairs.sum(&other) <= pairs.sum(&places) + 1e-8, "{i} and {j}");
            }
        }
    }
}
