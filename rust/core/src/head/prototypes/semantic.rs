//! Prototypes whose cosines follow the order of the cosines of given class vectors, and that are apart from each other.
//!
//! With S = P·Pᵀ, the cosines R of the class vectors, and t = 1, ½ or 0 where R_ij is above, equal to or below R_ik:
//!
//! ```text
//! L = mean over i and pairs {j, k} of BCE(σ(γ(S_ij - S_ik)), t)  +  λ/τ · ln Σ_{i≠j} exp(τ·S_ij)
//! ∂L/∂S_ij = γ·mean_k(σ(γ(S_ij - S_ik)) - t)/C  +  λ·softmax over all pairs of τ·S,     ∂L/∂P = (A + Aᵀ)·P
//! ```
//!
//! The first part is that of RankNet (Burges et al., Learning to rank using gradient descent, 2005), the second is the
//! smoothed largest cosine. γ lets an order that is kept stop pulling: at 1 the pairs pull with nearly the same force however
//! far they are apart, and of ten classes in eight dimensions 84 % of the pairs come into order instead of 95 %. λ holds
//! classes apart whose vectors are alike.
//!
//! Of more than `OTHERS` + 1 classes each step draws that many others for each class. Everything is in f64, with the same
//! bits for any number of threads; between machines the last bits may differ, so a checkpoint has the prototypes.

use rayon::prelude::*;

use super::class_vectors::ClassVectors;
use super::random::{normalise, random};
use crate::kernels::Accumulate;
use crate::kernels::matmul::{MatMut, MatRef, linear, linear_dx};
use crate::params::init::stream;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// γ, τ and λ.
const ORDER: f64 = 10.0;
const SHARPNESS: f64 = 50.0;
const SEPARATION: f64 = 3.0;

const STEPS: usize = 1000;
/// Length of the first step, and of the last one as its share.
const RATE: (f64, f64) = (0.05, 0.006);

/// Other classes that a class is compared with in a step.
const OTHERS: usize = 32;

/// Prototypes `[classes, dim]` for these class vectors.
pub fn semantic(vectors: &ClassVectors, dim: usize, seed: u64) -> Vec<f64> {
    let classes = vectors.classes();
    let wanted = cosines(vectors.rows(), vectors.dim());
    let mut rng = stream(seed, "head.prototypes.others");
    let mut p = random(classes, dim, seed);
    let (mut momentum, mut variance) = (vec![0.0; p.len()], 0.0);
    let (mut decays, mut rate) = ([1.0, 1.0], RATE.0);
    for _ in 0..STEPS {
        let others = Others::draw(classes, &mut rng);
        let mut gradient = objective(&p, dim, &wanted, &others).1;
        for ((g, m), p) in
            gradient.chunks_exact_mut(dim).zip(momentum.chunks_exact_mut(dim)).zip(p.chunks_exact(dim))
        {
            let along = dot(g, p);
            for ((g, m), p) in g.iter_mut().zip(m).zip(p) {
                *g -= along * p;
                *m = 0.9 * *m + 0.1 * *g;
            }
        }
        decays = [decays[0] * 0.9, decays[1] * 0.99];
        variance = 0.99 * variance + 0.01 * dot(&gradient, &gradient) / p.len() as f64;
        let length = rate / (1.0 - decays[0]) / (variance / (1.0 - decays[1])).sqrt().max(1e-30);
        for (p, m) in p.chunks_exact_mut(dim).zip(momentum.chunks_exact(dim)) {
            let along = dot(m, p);
            p.iter_mut().zip(m).for_each(|(p, m)| *p -= length * (m - along * *p));
            normalise(p);
        }
        rate *= RATE.1.powf(1.0 / STEPS as f64);
    }
    p
}

/// The classes that each class is compared with in a step, `[classes, count]`.
struct Others {
    count: usize,
    classes: Vec<usize>,
}

impl Others {
    /// All others of few classes; of more some, drawn with repetition: a class compared with itself has no gradient.
    fn draw(classes: usize, rng: &mut ChaCha8Rng) -> Self {
        if classes <= OTHERS + 1 {
            let others = |i| (0..classes).filter(move |j| *j != i);
            return Self { count: classes - 1, classes: (0..classes).flat_map(others).collect() };
        }
        let mut draw = |i| {
            let j = (rng.next_u64() % (classes as u64 - 1)) as usize;
            j + usize::from(j >= i)
        };
        let drawn = (0..classes).flat_map(|i| std::iter::repeat_n(i, OTHERS)).map(&mut draw).collect();
        Self { count: OTHERS, classes: drawn }
    }

    fn of(&self, class: usize) -> &[usize] {
        &self.classes[class * self.count..][..self.count]
    }
}

/// L and its gradient for p `[classes, dim]`, taken at unit rows as a function of all of their numbers.
fn objective(p: &[f64], dim: usize, wanted: &[f64], others: &Others) -> (f64, Vec<f64>) {
    let classes = p.len() / dim;
    let s = cosines(p, dim);
    let off_diagonal = |i: usize| {
        let row = &s[i * classes..][..classes];
        row[..i].iter().chain(&row[i + 1..]).copied()
    };
    let largest = (0..classes).flat_map(off_diagonal).fold(-1.0, f64::max);
    let mut a = vec![0.0; classes * classes];
    let rows = a.par_chunks_mut(classes).enumerate().map(|(i, a)| {
        let s = &s[i * classes..][..classes];
        a.iter_mut().zip(s).for_each(|(a, s)| *a = (SHARPNESS * (s - largest)).exp());
        a[i] = 0.0;
        a.iter().sum::<f64>()
    });
    let sums: Vec<f64> = rows.collect();
    let total: f64 = sums.iter().sum();
    let orders = a.par_chunks_mut(classes).enumerate().map(|(i, a)| {
        for a in a.iter_mut() {
            *a *= SEPARATION / total;
        }
        let row = i * classes..(i + 1) * classes;
        order(&s[row.clone()], &wanted[row], others.of(i), 1.0 / classes as f64, a)
    });
    let orders: Vec<f64> = orders.collect();
    let separation = SEPARATION * (largest + total.ln() / SHARPNESS);
    let both: Vec<f64> =
        (0..classes * classes).map(|at| a[at] + a[at % classes * classes + at / classes]).collect();
    let mut gradient = vec![0.0; p.len()];
    linear_dx(
        MatRef::new(&both, classes, classes),
        MatRef::new(p, classes, dim),
        MatMut::new(&mut gradient, classes, dim),
        Accumulate::Overwrite,
    );
    (orders.iter().sum::<f64>() + separation, gradient)
}

/// The mean over pairs of `others` of BCE(σ(γ(s_j - s_k)), t), times `factor`; its gradient is added to `ds`.
fn order(s: &[f64], wanted: &[f64], others: &[usize], factor: f64, ds: &mut [f64]) -> f64 {
    let pairs = others.len() * (others.len() - 1) / 2;
    if pairs == 0 {
        return 0.0; // two classes have no order
    }
    let factor = factor / pairs as f64;
    // |γ·s| ≤ γ, so neither overflows: σ(γ(s_j - s_k)) = e_j/(e_j + e_k).
    let e: Vec<f64> = others.iter().map(|&j| (ORDER * s[j]).exp()).collect();
    let mut loss = 0.0;
    for (place, &j) in others.iter().enumerate() {
        let mut sum = 0.0;
        for (other, &k) in others.iter().enumerate().skip(place + 1) {
            let t = 0.5 * (1.0 + sign(wanted[j] - wanted[k]));
            let slope = e[place] / (e[place] + e[other]) - t;
            loss += (e[place] + e[other]).ln() - ORDER * (t * s[j] + (1.0 - t) * s[k]);
            sum += slope;
            ds[k] -= factor * ORDER * slope;
        }
        ds[j] += factor * ORDER * sum;
    }
    factor * loss
}

/// The share of triples whose order of cosines the prototypes keep: cos(p_i, p_j) above cos(p_i, p_k) where the vectors'
/// is, of those with different cosines of the vectors; 1 where there are none. `prototypes` are of unit length.
pub fn order_kept(prototypes: &[f64], dim: usize, vectors: &ClassVectors) -> f64 {
    let classes = vectors.classes();
    let (s, wanted) = (cosines(prototypes, dim), cosines(vectors.rows(), vectors.dim()));
    let counts = (0..classes).into_par_iter().map(|i| {
        let row = |m: &[f64], j: usize| m[i * classes + j];
        let mut counts = (0_u64, 0_u64);
        for j in (0..classes).filter(|j| *j != i) {
            for k in (0..j).filter(|k| *k != i) {
                let (given, found) = (row(&wanted, j) - row(&wanted, k), row(&s, j) - row(&s, k));
                counts.0 += u64::from(sign(given) * found > 0.0);
                counts.1 += u64::from(sign(given) != 0.0);
            }
        }
        counts
    });
    let (kept, all) = counts.reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    if all == 0 { 1.0 } else { kept as f64 / all as f64 }
}

/// 1, -1, or 0 for a difference of two cosines that is rounding.
fn sign(difference: f64) -> f64 {
    if difference.abs() < 1e-12 { 0.0 } else { difference.signum() }
}

/// rows·rowsᵀ.
fn cosines(rows: &[f64], dim: usize) -> Vec<f64> {
    let classes = rows.len() / dim;
    let mut products = vec![0.0; classes * classes];
    let rows = MatRef::new(rows, classes, dim);
    linear(rows, rows, MatMut::new(&mut products, classes, classes), Accumulate::Overwrite);
    products
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::super::cosines::largest_cosine;
    use super::*;
    use crate::parallel::Threads;

    /// Groups of five classes: alike within, unlike between.
    fn groups(count: usize, dim: usize) -> ClassVectors {
        let (middles, noise) = (random(count, dim, 1), random(5 * count, dim, 2));
        let number = |at: usize| 1.3 * middles[at / dim / 5 * dim + at % dim] + noise[at];
        ClassVectors::new(&(0..5 * count * dim).map(number).collect::<Vec<_>>(), dim, &[]).unwrap()
    }

    #[test]
    fn the_gradient_equals_central_differences() {
        // All others of 6 classes, drawn ones of 40, and vectors with ties.
        for (classes, dim) in [(2, 3), (6, 4), (40, 3)] {
            let mut rows = random(classes, 5, 3);
            for x in &mut rows {
                *x = (3.0 * *x).round();
            }
            let wanted = cosines(&rows, 5);
            let others = Others::draw(classes, &mut stream(1, "test"));
            let mut p = random(classes, dim, 4);
            let gradient = objective(&p, dim, &wanted, &others).1;
            let step = 1e-5;
            for at in 0..p.len() {
                let here = p[at];
                let mut loss_at = |x: f64| {
                    p[at] = x;
                    objective(&p, dim, &wanted, &others).0
                };
                let slope = (loss_at(here + step) - loss_at(here - step)) / (2.0 * step);
                p[at] = here;
                // Third derivatives of τ³ = 1e5 times the squared step.
                assert!(
                    (gradient[at] - slope).abs() < 1e-4 * slope.abs().max(0.01),
                    "{classes} {at}: {slope}"
                );
            }
        }
    }

    #[test]
    fn prototypes_keep_the_order_of_the_class_vectors_and_are_apart() {
        for (count, dim, order, apart) in [(4, 20, 0.93, 0.1), (4, 8, 0.75, 0.35), (20, 30, 0.75, 0.5)] {
            let vectors = groups(count, 50);
            let p = semantic(&vectors, dim, 0);
            let (kept, largest) = (order_kept(&p, dim, &vectors), largest_cosine(&p, dim));
            assert!(kept > order && largest < apart, "{count} groups, {dim} dimensions: {kept} {largest}");
            let drawn = order_kept(&random(5 * count, dim, 0), dim, &vectors);
            assert!((drawn - 0.5).abs() < 0.06, "random prototypes keep {drawn}");
            assert_eq!(order_kept(vectors.rows(), 50, &vectors), 1.0);
        }
        // Two classes have no order: they go to opposite ends.
        let two = ClassVectors::new(&[1.0, 0.0, 1.0, 1.0], 2, &[]).unwrap();
        assert!(largest_cosine(&semantic(&two, 3, 0), 3) < -0.999);
    }

    #[test]
    fn the_same_vectors_and_seed_give_the_same_bits_for_any_number_of_threads() {
        let vectors = groups(8, 10);
        let on = |threads| Threads::new(Some(threads)).unwrap().install(|| semantic(&vectors, 6, 7)).unwrap();
        let one = on(1);
        assert!(one == on(3), "3 threads");
        assert_ne!(one, semantic(&vectors, 6, 8));
    }
}
