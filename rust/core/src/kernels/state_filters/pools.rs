//! All pools of a block, over a series that may come in pieces.

#![forbid(unsafe_code)]

use super::block::{ABOVE, BIASES, COLUMNS, Competition, FILTERS, Filters, State, TILE, WON};
use super::sums::Part;
use super::{compete, filter, pool};
use crate::numeric::Scalar;
use crate::simd::{self, Kernel, Vector};

/// What the pools of a block hold of the steps so far, so that a series may come in pieces of any length.
#[derive(Clone, Debug)]
pub struct Pools<T> {
    competition: Competition,
    steps: usize,
    state: State<T>,
    above: [pool::Above<T>; BIASES],
    narrow: compete::Wins<T>,
    wide: compete::Wins<T>,
}

impl<T: Scalar> Pools<T> {
    /// Before the first step.
    pub fn new(competition: Competition) -> Self {
        Self {
            competition,
            steps: 0,
            state: State::new(),
            above: [const { pool::Above::new() }; BIASES],
            narrow: compete::Wins::new(),
            wide: compete::Wins::new(),
        }
    }

    /// Goes `steps` steps on. `input(t, u)` writes the inputs `u` `[_, COLUMNS]` of the steps from the t-th of these on.
    ///
    /// # Panics
    /// If λ and c are not `[MODES, FILTERS]`, or the biases not `[BIASES, FILTERS]`.
    pub fn advance(
        &mut self,
        filters: Filters<T>,
        biases: &[T],
        steps: usize,
        input: impl FnMut(usize, &mut [[T; COLUMNS]]),
    ) {
        filters.check();
        assert_eq!(biases.len(), BIASES * FILTERS, "biases [{BIASES}, {FILTERS}]");
        simd::run(Advance { pools: self, filters, biases, steps, input });
    }

    /// Features `[Competition::features, FILTERS]` of the steps so far: [`BIASES`] × (share, excess, position, longest), then
    /// for each kind of group share, value (of the highest), share, value (of the lowest), position, position. All are zero
    /// without a step.
    ///
    /// # Panics
    /// If `out` is not of this length.
    pub fn features(&self, out: &mut [T]) {
        let count = self.competition.features();
        assert_eq!(out.len(), count * FILTERS, "features [{count}, {FILTERS}]");
        if self.steps == 0 {
            return out.fill(T::ZERO);
        }
        simd::run(Features { pools: self, out });
    }
}

pub(super) struct Features<'a, T> {
    pub(super) pools: &'a Pools<T>,
    pub(super) out: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Features<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let Self { pools, out } = self;
        let steps = v.splat(T::from_f64(pools.steps as f64));
        let before = pools.steps % TILE;
        let open = (before > 0).then(|| v.splat(T::from_f64((pools.steps - before) as f64)));
        let (of_biases, of_groups) = out.split_at_mut(BIASES * ABOVE * FILTERS);
        for (above, out) in pools.above.iter().zip(of_biases.chunks_exact_mut(ABOVE * FILTERS)) {
            above.features(v, steps, open, out);
        }
        for (wins, out) in
            [&pools.narrow, &pools.wide].into_iter().zip(of_groups.chunks_exact_mut(WON * FILTERS))
        {
            wins.features(v, steps, open, out);
        }
    }
}

pub(super) struct Advance<'a, T, F> {
    pub(super) pools: &'a mut Pools<T>,
    pub(super) filters: Filters<'a, T>,
    pub(super) biases: &'a [T],
    pub(super) steps: usize,
    pub(super) input: F,
}

impl<T: Scalar, F: FnMut(usize, &mut [[T; COLUMNS]])> Kernel<T> for Advance<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        let Self { pools, filters, biases, steps, mut input } = self;
        let mut u = [[T::ZERO; COLUMNS]; TILE];
        let mut y = [[T::ZERO; FILTERS]; TILE];
        let (mut high, mut low) = (u, u);
        let mut t = 0;
        while t < steps {
            let before = pools.steps % TILE;
            let len = (TILE - before).min(steps - t);
            let (u, y) = (&mut u[..len], &mut y[..len]);
            input(t, u);
            filter::tile(v, filters, &mut pools.state, u, y);
            let part = &Part::new(before, len, v.splat(T::from_f64((pools.steps - before) as f64)));
            t += len;
            pools.steps += len;
            pool::tile(v, part, y, biases, &mut pools.above);
            if pools.competition != Competition::None {
                compete::extremes(v, y, &mut high[..len], &mut low[..len]);
                compete::tile(v, part, y, &high[..len], &low[..len], &mut pools.narrow);
            }
            if pools.competition == Competition::Both {
                compete::join(&mut high[..len], &mut low[..len]);
                compete::tile(v, part, y, &high[..len], &low[..len], &mut pools.wide);
            }
        }
    }
}
