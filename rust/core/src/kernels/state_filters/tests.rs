use super::block::{JOINED, TILE};
use super::filter::Responses;
use super::pools::Advance;
use super::*;
use crate::kernels::testing::{assert_close, numbers};
use crate::numeric::Scalar;
use crate::simd::{Isa, run_on};

/// A block of filters with poles inside of the unit circle, its biases, and the input of `steps` steps.
struct Case<T> {
    parts: [Vec<T>; 4],
    biases: Vec<T>,
    u: Vec<[T; COLUMNS]>,
}

impl<T: Scalar> Case<T> {
    fn new(steps: usize) -> Self {
        let n = MODES * FILTERS;
        let parts = [(1, 0.7), (2, 0.7), (3, 1.0), (4, 1.0)]
            .map(|(seed, size)| numbers::<f64>(n, seed).into_iter().map(|x| T::from_f64(size * x)).collect());
        let u: Vec<T> = numbers(steps * COLUMNS, 5);
        Self { parts, biases: numbers(BIASES * FILTERS, 6), u: u.as_chunks().0.to_vec() }
    }

    fn filters(&self) -> Filters<'_, T> {
        let [pole_re, pole_im, gain_re, gain_im] = &self.parts;
        Filters { pole_re, pole_im, gain_re, gain_im }
    }

    fn input(&self) -> impl FnMut(usize, &mut [[T; COLUMNS]]) {
        |t, u| u.copy_from_slice(&self.u[t..t + u.len()])
    }

    fn pooled(&self, competition: Competition) -> Vec<T> {
        let mut out = vec![T::from_f64(f64::NAN); competition.features() * FILTERS];
        let mut pools = Pools::new(competition);
        pools.advance(self.filters(), &self.biases, self.u.len(), self.input());
        pools.features(&mut out);
        out
    }

    fn responses(&self) -> Vec<[T; FILTERS]> {
        let mut y = vec![T::ZERO; self.u.len() * FILTERS];
        responses(self.filters(), self.u.as_flattened(), &mut y);
        y.as_chunks().0.to_vec()
    }
}

/// y of one filter by the formula, in complex arithmetic.
fn response(case: &Case<f64>, j: usize) -> Vec<f64> {
    let [lr, li, cr, ci] = &case.parts;
    let mut h = [(0.0, 0.0); MODES];
    let mut y = Vec::new();
    for u in &case.u {
        let mut sum = 0.0;
        for (p, h) in h.iter_mut().enumerate() {
            let i = p * FILTERS + j;
            *h = (lr[i] * h.0 - li[i] * h.1 + u[j % COLUMNS], lr[i] * h.1 + li[i] * h.0);
            sum += cr[i] * h.0 - ci[i] * h.1;
        }
        y.push(sum);
    }
    y
}

fn mean_position(won: &[bool], otherwise: f64) -> f64 {
    let at: Vec<f64> = won.iter().enumerate().filter(|(_, p)| **p).map(|(t, _)| t as f64).collect();
    if at.is_empty() { otherwise } else { at.iter().sum::<f64>() / (at.len() * won.len()) as f64 }
}

fn share(won: &[bool]) -> f64 {
    won.iter().filter(|p| **p).count() as f64 / won.len() as f64
}

/// The features of filter `j` by the formulas, from the responses of all.
fn features(case: &Case<f64>, y: &[Vec<f64>], j: usize) -> Vec<f64> {
    let steps = case.u.len();
    let mut found = Vec::new();
    for k in 0..BIASES {
        let over: Vec<f64> = y[j].iter().map(|y| y - case.biases[k * FILTERS + j]).collect();
        let above: Vec<bool> = over.iter().map(|over| *over > 0.0).collect();
        let sum: f64 = over.iter().filter(|over| **over > 0.0).sum();
        let count = share(&above) * steps as f64;
        let longest = above.split(|p| !p).map(<[bool]>::len).max().unwrap_or(0);
        found.extend([share(&above), if count > 0.0 { sum / count } else { 0.0 }]);
        found.extend([mean_position(&above, -1.0), longest as f64 / steps as f64]);
    }
    for groups in [COLUMNS, COLUMNS / JOINED] {
        let group: Vec<usize> = (0..FILTERS).filter(|i| i % groups == j % groups).collect();
        assert_eq!(group.len(), FILTERS / groups);
        let sides = [1.0, -1.0].map(|sign| {
            let won: Vec<bool> =
                (0..steps).map(|t| group.iter().all(|&i| sign * y[j][t] >= sign * y[i][t])).collect();
            let value = (0..steps).filter(|&t| won[t]).map(|t| sign * y[j][t]).sum::<f64>() / steps as f64;
            ([share(&won).sqrt(), value.signum() * value.abs().sqrt()], mean_position(&won, 0.5))
        });
        found.extend(sides.iter().flat_map(|side| side.0));
        found.extend(sides.iter().map(|side| side.1));
    }
    found
}

#[test]
fn responses_and_features_are_those_of_the_formulas() {
    for steps in [1, 2, TILE - 1, TILE, 3 * TILE + 5] {
        let case = Case::<f64>::new(steps);
        let y: Vec<_> = (0..FILTERS).map(|j| response(&case, j)).collect();
        let found = case.responses();
        let all = case.pooled(Competition::Both);
        for (j, y_of) in y.iter().enumerate() {
            let of: Vec<_> = found.iter().map(|y| y[j]).collect();
            assert_close(&format!("y of {j}"), &of, y_of, 1e-13);
            let of: Vec<_> = all.iter().skip(j).step_by(FILTERS).copied().collect();
            assert_close(&format!("features of {j}, {steps} steps"), &of, &features(&case, &y, j), 1e-12);
        }
    }
}

#[test]
fn responses_end_at_zero_some_time_after_the_last_input() {
    // Poles of at most 0.99 have lost 2^-149 after 10,300 steps.
    let mut case = Case::<f32>::new(12_000);
    case.u[TILE..].fill([0.0; COLUMNS]);
    for isa in Isa::available() {
        let mut y = vec![0.0; case.u.len() * FILTERS];
        run_on(isa, Responses { filters: case.filters(), u: case.u.as_flattened(), y: &mut y });
        assert!(y[(case.u.len() - TILE) * FILTERS..].iter().all(|&y| y == 0.0), "{}", isa.name());
        assert!(y[1000 * FILTERS..1001 * FILTERS].iter().any(|&y| y != 0.0), "{}", isa.name());
    }
}

#[test]
fn fewer_groups_are_the_first_features_of_more() {
    let case = Case::<f32>::new(100);
    let all = case.pooled(Competition::Both);
    for competition in [Competition::None, Competition::Narrow] {
        let found = case.pooled(competition);
        assert_eq!(found[..], all[..found.len()]);
    }
}

#[test]
fn a_series_without_steps_has_zeros() {
    let case = Case::<f32>::new(0);
    assert!(case.pooled(Competition::Both).iter().all(|x| *x == 0.0));
}

/// Filters are lanes, which round alike: the vectors agree bit by bit. The scalar body rounds a·b + c twice, which may move a
/// response across a bias; its responses are close.
#[test]
fn instruction_sets_agree() {
    let case = Case::<f32>::new(77);
    let on = |isa| {
        let mut y = vec![0.0; case.u.len() * FILTERS];
        run_on(isa, Responses { filters: case.filters(), u: case.u.as_flattened(), y: &mut y });
        let mut out = vec![f32::NAN; Competition::Both.features() * FILTERS];
        let mut pools = Pools::new(Competition::Both);
        let (filters, biases, steps) = (case.filters(), &case.biases[..], case.u.len());
        run_on(isa, Advance { pools: &mut pools, filters, biases, steps, input: case.input() });
        pools.features(&mut out);
        (y, out)
    };
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let vectors: Vec<_> = Isa::available().into_iter().filter(|isa| *isa != Isa::Scalar).collect();
    let scalar = on(Isa::Scalar);
    for isa in &vectors {
        assert!(on(*isa) == on(vectors[0]), "{} and {}", isa.name(), vectors[0].name());
        assert_close(isa.name(), &wide(&on(*isa).0), &wide(&scalar.0), 1e-5);
    }
}

/// After every piece the features are those of a series that ends there, bit for bit.
#[test]
fn a_series_may_come_in_pieces() {
    let steps = 3 * TILE + 5;
    let case = Case::<f32>::new(steps);
    let prefix = |steps: usize| {
        let u = case.u[..steps].to_vec();
        Case { u, parts: case.parts.clone(), biases: case.biases.clone() }.pooled(Competition::Both)
    };
    for piece in [1, 7, TILE, 2 * TILE] {
        let mut pools = Pools::new(Competition::Both);
        for start in (0..steps).step_by(piece) {
            let u = &case.u[start..steps.min(start + piece)];
            pools.advance(case.filters(), &case.biases, u.len(), |t, to| {
                to.copy_from_slice(&u[t..t + to.len()]);
            });
            let whole = prefix(start + u.len());
            let mut found = vec![f32::NAN; whole.len()];
            pools.features(&mut found);
            assert!(found == whole, "pieces of {piece}, {} steps", start + u.len());
        }
    }
}

/// Parts of the features of filter `j` at each step `[T][features]`, by the formulas.
fn parts(case: &Case<f64>, y: &[Vec<f64>], j: usize) -> Vec<Vec<f64>> {
    let steps = case.u.len();
    let total = features(case, y, j);
    let mut parts = vec![vec![0.0; total.len()]; steps];
    // A feature in proportion to a number at each step, or evenly where that is 0 at all of them.
    let mut give = |feature: usize, number: &dyn Fn(usize) -> f64| {
        let sum: f64 = (0..steps).map(number).sum();
        let share = |t| if sum > 0.0 { number(t) / sum } else { 1.0 / steps as f64 };
        (0..steps).for_each(|t| parts[t][feature] = total[feature] * share(t));
    };
    let at = |won: &dyn Fn(usize) -> bool, t: usize, x: f64| if won(t) { x } else { 0.0 };
    let place = |won: &dyn Fn(usize) -> bool, t: usize| {
        // A mean position of 0 is won at the first step alone, which then has nothing to give.
        at(won, t, t as f64)
    };
    for k in 0..BIASES {
        let bias = case.biases[k * FILTERS + j];
        let above = |t: usize| y[j][t] > bias;
        let runs = (0..steps).flat_map(|start| (start + 1..=steps).map(move |end| start..end));
        let longest = runs
            .filter(|run| run.clone().all(above))
            .fold(0..0, |best, run| if run.len() > best.len() { run } else { best });
        give(4 * k, &|t| at(&above, t, 1.0));
        give(4 * k + 1, &|t| at(&above, t, y[j][t] - bias));
        give(4 * k + 2, &|t| place(&above, t));
        give(4 * k + 3, &|t| f64::from(longest.contains(&t)));
    }
    for (kind, groups) in [COLUMNS, COLUMNS / JOINED].into_iter().enumerate() {
        for (side, sign) in [1.0, -1.0].into_iter().enumerate() {
            let won = |t: usize| {
                (0..FILTERS).filter(|i| i % groups == j % groups).all(|i| sign * y[j][t] >= sign * y[i][t])
            };
            let first = 8 + 6 * kind;
            give(first + 2 * side, &|t| at(&won, t, 1.0));
            give(first + 2 * side + 1, &|t| at(&won, t, y[j][t].abs()));
            give(first + 4 + side, &|t| place(&won, t));
        }
    }
    parts
}

#[test]
fn evidence_is_that_of_the_formulas() {
    let chosen = [0, 37, FILTERS - 1];
    for steps in [1, 2, TILE, 2 * TILE + 7] {
        let case = Case::<f64>::new(steps);
        let y: Vec<_> = (0..FILTERS).map(|j| response(&case, j)).collect();
        for competition in [Competition::None, Competition::Narrow, Competition::Both] {
            // A score for each feature of the chosen filters.
            let features = competition.features();
            let width = features * chosen.len();
            let mut weights = vec![0.0; features * FILTERS * width];
            for (n, j) in chosen.into_iter().enumerate() {
                (0..features).for_each(|f| weights[(f * FILTERS + j) * width + n * features + f] = 1.0);
            }
            let mut out = vec![f64::NAN; steps * width];
            let block = Block { filters: case.filters(), biases: &case.biases, competition };
            evidence(block, steps, case.input(), &weights, &mut out);
            for (n, j) in chosen.into_iter().enumerate() {
                for (t, expected) in parts(&case, &y, j).iter().enumerate() {
                    let found = &out[t * width + n * features..][..features];
                    assert_close(
                        &format!("filter {j}, step {t} of {steps}"),
                        found,
                        &expected[..features],
                        1e-12,
                    );
                }
            }
        }
    }
}

#[test]
fn mean_responses_are_means_of_responses_in_their_columns() {
    for (steps, stride) in [(1, 1), (70, 1), (70, 4), (33, 32), (31, 40)] {
        let case = Case::<f64>::new(steps);
        let (width, first, rows) = (FILTERS + 5, 3, steps.div_ceil(stride));
        let mut out = vec![7.0; rows * width];
        let into = MeansInto { out: &mut out, width, first };
        mean_responses(case.filters(), steps, stride, |t| case.u[t], into);
        let y = case.responses();
        for (row, y) in out.chunks_exact(width).zip(y.chunks(stride)) {
            let mean = |j: usize| y.iter().map(|y| y[j]).sum::<f64>() / y.len() as f64;
            let expected: Vec<f64> = (0..FILTERS).map(mean).collect();
            assert_close(&format!("{steps} by {stride}"), &row[first..first + FILTERS], &expected, 1e-13);
            assert!(row[..first].iter().chain(&row[first + FILTERS..]).all(|x| *x == 7.0), "other columns");
        }
    }
}
