//! Where in a series the features of a block come from: shares of weighted features, step by step.
//!
//! For weights w `[features, K]` the evidence e `[T, K]` has `Σ_t e[t,k] = Σ_f w[f,k]·f`. A feature of a pool p belongs to the
//! steps with p[t] = 1:
//!
//! ```text
//! share above a bias    w/T                         position    w·t/(T·Σp)
//! excess                w·(y - b)/Σp                longest     w/T on the longest run, of equal ones the first
//! share of a group      w·√(Σp/T)/Σp
//! value                 w·value·|y|/Σp|y|
//! ```
//!
//! What a position is without such a step (-1, ½) belongs to all steps alike. The sums are taken in a first pass over the
//! series, and given to its steps in a second one, so that no response is kept.

#![forbid(unsafe_code)]

use super::block::{ABOVE, BIASES, COLUMNS, Competition, FILTERS, Filters, State, TILE, WON};
use super::{compete, filter};
use crate::numeric::Scalar;
use crate::simd::{self, Kernel, Vector};

/// Overwrites e `[steps, K]`. `input(t, u)` writes the inputs of the steps from the t-th on; weights are
/// `[Competition::features · FILTERS, K]`.
///
/// # Panics
/// If a slice does not have the length that the formulas say.
pub fn evidence<T: Scalar>(
    block: Block<T>,
    steps: usize,
    mut input: impl FnMut(usize, &mut [[T; COLUMNS]]),
    weights: &[f64],
    out: &mut [f64],
) {
    block.filters.check();
    assert_eq!(block.biases.len(), BIASES * FILTERS, "biases [{BIASES}, {FILTERS}]");
    let features = block.competition.features() * FILTERS;
    let width = weights.len() / features;
    assert_eq!(
        (weights.len(), out.len()),
        (features * width, steps * width),
        "weights [{features}, K], e [T, K]"
    );
    out.fill(0.0);
    if steps == 0 || width == 0 {
        return;
    }
    let mut pools = vec![Pool::new(); block.pools()];
    block.for_each_tile(steps, &mut input, |tile| {
        for (number, pool) in pools.iter_mut().enumerate() {
            tile.steps(number, |step, at| pool.take(step, at));
        }
    });
    let lines = Lines::new(&pools, steps, weights, width);
    block.for_each_tile(steps, &mut input, |tile| {
        for (number, pool) in pools.iter().enumerate() {
            tile.steps(number, |step, at| {
                lines.add(number, pool, step, at, &mut out[step * width..][..width]);
            });
        }
    });
    for e in out.chunks_exact_mut(width) {
        e.iter_mut().zip(&lines.even).for_each(|(e, even)| *e += even / steps as f64);
    }
}

/// The numbers of a block that its features follow from.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a, T> {
    /// λ and c.
    pub filters: Filters<'a, T>,
    /// `[BIASES, FILTERS]`.
    pub biases: &'a [T],
    /// Which groups compete.
    pub competition: Competition,
}

impl<T: Scalar> Block<'_, T> {
    /// Pools of a filter: one of each bias, then the highest and the lowest of each kind of group.
    fn pools(self) -> usize {
        BIASES + (self.competition.features() - BIASES * ABOVE) / WON * 2
    }

    /// The series in tiles, from its start.
    fn for_each_tile(
        self,
        steps: usize,
        input: &mut impl FnMut(usize, &mut [[T; COLUMNS]]),
        mut look: impl FnMut(&Tile<T>),
    ) {
        let (mut state, mut u) = (State::new(), [[T::ZERO; COLUMNS]; TILE]);
        let mut tile = Tile::new(self.biases);
        for first in (0..steps).step_by(TILE) {
            (tile.first, tile.len) = (first, TILE.min(steps - first));
            let u = &mut u[..tile.len];
            input(first, u);
            simd::run(Respond { filters: self.filters, state: &mut state, u, tile: &mut tile });
            [tile.high[1], tile.low[1]] = [tile.high[0], tile.low[0]];
            let [high, low] = [&mut tile.high[1], &mut tile.low[1]];
            compete::join(high, low);
            look(&tile);
        }
    }
}

/// Responses of some steps, with what they are compared with.
struct Tile<'a, T> {
    biases: &'a [T],
    first: usize,
    len: usize,
    y: [[T; FILTERS]; TILE],
    /// Of narrow and of wide groups.
    high: [[[T; COLUMNS]; TILE]; 2],
    low: [[[T; COLUMNS]; TILE]; 2],
}

impl<'a, T: Scalar> Tile<'a, T> {
    fn new(biases: &'a [T]) -> Self {
        let extremes = [[[T::ZERO; COLUMNS]; TILE]; 2];
        Self { biases, first: 0, len: 0, y: [[T::ZERO; FILTERS]; TILE], high: extremes, low: extremes }
    }

    /// Each step with what a pool has of it, by filter: y - b where that is above 0, or y where the filter has won; else NaN.
    fn steps(&self, pool: usize, mut each: impl FnMut(usize, &[f64; FILTERS])) {
        let mut taken = [f64::NAN; FILTERS];
        for (k, y) in self.y[..self.len].iter().enumerate() {
            if let Some(won) = pool.checked_sub(BIASES) {
                let extremes = if won % 2 == 0 { &self.high } else { &self.low };
                let extremes = &extremes[won / 2][k];
                for (j, (taken, &y)) in taken.iter_mut().zip(y).enumerate() {
                    *taken = if y == extremes[j % COLUMNS] { y.to_f64() } else { f64::NAN };
                }
            } else {
                let biases = &self.biases[pool * FILTERS..][..FILTERS];
                for ((taken, &y), &bias) in taken.iter_mut().zip(y).zip(biases) {
                    let over = (y - bias).to_f64();
                    *taken = if over > 0.0 { over } else { f64::NAN };
                }
            }
            each(self.first + k, &taken);
        }
    }
}

/// Fills a tile.
struct Respond<'a, 'b, T> {
    filters: Filters<'a, T>,
    state: &'a mut State<T>,
    u: &'a [[T; COLUMNS]],
    tile: &'a mut Tile<'b, T>,
}

impl<T: Scalar> Kernel<T> for Respond<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let y = &mut self.tile.y[..self.u.len()];
        filter::tile(v, self.filters, self.state, self.u, y);
        compete::extremes(v, y, &mut self.tile.high[0], &mut self.tile.low[0]);
    }
}

/// Sums over the steps of a pool, of each filter.
#[derive(Clone)]
struct Pool {
    count: [f64; FILTERS],
    /// Σ y.
    sum: [f64; FILTERS],
    /// Σ |y|.
    size: [f64; FILTERS],
    /// Consecutive steps that end with the last one.
    run: [f64; FILTERS],
    /// The longest run: its length, and the first step behind it.
    longest: [f64; FILTERS],
    end: [f64; FILTERS],
}

impl Pool {
    const fn new() -> Self {
        let zeros = [0.0; FILTERS];
        Self { count: zeros, sum: zeros, size: zeros, run: zeros, longest: zeros, end: zeros }
    }

    fn take(&mut self, step: usize, taken: &[f64; FILTERS]) {
        let end = step as f64 + 1.0;
        for (j, &x) in taken.iter().enumerate() {
            let (p, x) = if x.is_nan() { (0.0, 0.0) } else { (1.0, x) };
            self.count[j] += p;
            self.sum[j] += x;
            self.size[j] += x.abs();
            let run = (self.run[j] + 1.0) * p;
            let longer = run > self.longest[j];
            self.run[j] = run;
            self.longest[j] = if longer { run } else { self.longest[j] };
            self.end[j] = if longer { end } else { self.end[j] };
        }
    }

    /// The features of a filter's pool, in the order share, size, position, longest run (of a group none: 0 of its share);
    /// the factor of each; and the position without a step.
    fn factors(&self, number: usize, j: usize, steps: f64) -> ([usize; 4], [f64; 4], f64) {
        let count = self.count[j];
        let Some(won) = number.checked_sub(BIASES) else {
            let first = number * ABOVE;
            let factors = [1.0 / steps, 1.0 / count, 1.0 / (count * steps), 1.0 / steps];
            return ([first, first + 1, first + 2, first + 3], factors, -1.0);
        };
        let (group, side) = (BIASES * ABOVE + won / 2 * WON, won % 2);
        let sign = if side == 0 { 1.0 } else { -1.0 };
        let value = (self.sum[j].abs() / steps).sqrt() * (sign * self.sum[j]).signum();
        let size = if self.size[j] > 0.0 { value / self.size[j] } else { 0.0 };
        let share = (count / steps).sqrt() / count;
        let features = [group + 2 * side, group + 2 * side + 1, group + 4 + side, group];
        (features, [share, size, 1.0 / (count * steps), 0.0], 0.5)
    }

    /// Whether a step is in the longest run.
    fn is_longest(&self, filter: usize, step: usize) -> bool {
        let (step, end) = (step as f64, self.end[filter]);
        step < end && step + self.longest[filter] >= end
    }
}

/// What a step of a pool adds: a + b·|x| + c·t, and d on the longest run.
struct Lines {
    /// (a, b, c, d) `[pools, FILTERS, K]`.
    parts: Vec<[f64; 4]>,
    /// For all steps together `[K]`.
    even: Vec<f64>,
}

impl Lines {
    fn new(pools: &[Pool], steps: usize, weights: &[f64], width: usize) -> Self {
        let mut lines = Self { parts: vec![[0.0; 4]; pools.len() * FILTERS * width], even: vec![0.0; width] };
        for (number, pool) in pools.iter().enumerate() {
            for j in 0..FILTERS {
                let (features, factors, otherwise) = pool.factors(number, j, steps as f64);
                let row = |feature: usize| &weights[(feature * FILTERS + j) * width..][..width];
                if pool.count[j] == 0.0 {
                    lines.even.iter_mut().zip(row(features[2])).for_each(|(even, w)| *even += otherwise * w);
                    continue;
                }
                let parts = &mut lines.parts[(number * FILTERS + j) * width..][..width];
                for (part, (feature, factor)) in features.into_iter().zip(factors).enumerate() {
                    parts.iter_mut().zip(row(feature)).for_each(|(parts, w)| parts[part] = factor * w);
                }
            }
        }
        lines
    }

    /// Adds what the filters took of a step to its e `[K]`.
    fn add(&self, number: usize, pool: &Pool, step: usize, taken: &[f64; FILTERS], e: &mut [f64]) {
        let parts = self.parts[number * FILTERS * e.len()..].chunks_exact(e.len());
        for (j, (x, parts)) in taken.iter().zip(parts).enumerate() {
            if x.is_nan() {
                continue;
            }
            let (size, t) = (x.abs(), step as f64);
            let run = f64::from(u8::from(pool.is_longest(j, step)));
            for (e, [a, b, c, d]) in e.iter_mut().zip(parts) {
                *e += a + b * size + c * t + d * run;
            }
        }
    }
}
