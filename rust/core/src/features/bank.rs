//! A bank of filters: drawn, fitted to training series, applied.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use super::config::{FeaturesConfig, Reading};
use super::law;
use super::series::SeriesSet;
use super::view::{Standard, View};
use crate::allocate::try_filled;
use crate::error::{Error, Result};
use crate::kernels::state_filters::{BIASES, COLUMNS, FILTERS, Filters, MODES, Pools, responses};
use crate::parallel::{Shared, Threads, for_each_task};
use crate::params::init::{stream, uniform};

/// Training series on which a block's gains are scaled.
const SCALED_ON: usize = 8;
/// Training series on which a block's biases are chosen, for [`FILTERS`]` / BIASED_ON` filters each.
const BIASED_ON: usize = 16;
/// Steps of a training series that are looked at, from the first on.
const LOOKED_AT: usize = 1 << 14;
/// Quantiles between which biases lie.
const QUANTILES: (f64, f64) = (0.02, 0.98);
/// Features that are computed together, of one block at least.
const TOGETHER: usize = 1 << 24;

/// The filters of one block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    reading: Reading,
    /// Re λ, Im λ, Re c, Im c, each `[MODES, FILTERS]`.
    modes: Vec<f32>,
    /// `[BIASES, FILTERS]`.
    biases: Vec<f32>,
    /// `[channels, COLUMNS]`.
    mixtures: Vec<f32>,
}

/// Random filters with their biases: numbers of one count for any series.
///
/// ```
/// use ssm_hpn::Threads;
/// use ssm_hpn::features::{Bank, FeaturesConfig, SeriesSet};
///
/// let values: Vec<f64> = (0..300).map(|t| (f64::from(t) / 7.0).sin()).collect();
/// let set = SeriesSet::new(&values, 1, &[0, 100, 180, 300])?;
/// let config = FeaturesConfig { filters: 128, ..FeaturesConfig::default() };
/// let bank = Bank::fit(config, set, &Threads::new(Some(2))?)?;
/// let features = bank.transform(set, 0..bank.blocks(), &Threads::new(Some(1))?)?;
/// assert_eq!((features.len(), bank.channels()), (3 * bank.config().features(), 1));
/// assert_eq!(bank.blocks_together(1, 3), 1..bank.blocks());
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Bank {
    config: FeaturesConfig,
    channels: usize,
    /// Those of the training series, for each of [`View::ALL`].
    standards: [Standard; 3],
    blocks: Vec<Block>,
}

/// The numbers of a bank, for files.
///
/// ```
/// use ssm_hpn::Threads;
/// use ssm_hpn::features::{Bank, BankArrays, FeaturesConfig, SeriesSet};
///
/// let set = SeriesSet::new(&[1.0, 2.0, 4.0, 3.0], 1, &[0, 4])?;
/// let bank = Bank::fit(FeaturesConfig::default(), set, &Threads::new(Some(1))?)?;
/// let arrays: BankArrays = bank.to_arrays();
/// assert_eq!(arrays.biases.len(), 15 * 2 * 128);
/// assert_eq!(Bank::from_arrays(bank.config().clone(), 1, &arrays)?, bank);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BankArrays {
    /// Re λ, Im λ, Re c, Im c: `[blocks, 4, MODES, FILTERS]`.
    pub modes: Vec<f32>,
    /// `[blocks, BIASES, FILTERS]`.
    pub biases: Vec<f32>,
    /// `[blocks, channels, COLUMNS]`.
    pub mixtures: Vec<f32>,
    /// Mean and deviation of the three views: `[3, 2, channels]`.
    pub standards: Vec<f64>,
}

impl Bank {
    /// Draws the filters, and fits their gains and biases to training series.
    pub fn fit(config: FeaturesConfig, training: SeriesSet, threads: &Threads) -> Result<Self> {
        config.validate()?;
        if training.is_empty() {
            return Err(Error::shape("training series", "one or more", 0));
        }
        let channels = training.channels();
        let standards = standards(training);
        let blocks: Vec<_> = config.blocks().collect();
        let mut fitted: Vec<Option<Block>> = vec![None; blocks.len()];
        let shared = Shared::new(&mut fitted);
        threads.install(|| {
            for_each_task(blocks.len(), |index| {
                let mut rng = stream(config.seed, &format!("features.{index}"));
                let block = Block::fit(blocks[index], training, &standards, &mut rng);
                // SAFETY: each task has a place of its own.
                let place = unsafe { shared.slice(index, 1) };
                place[0] = Some(block);
            });
        })?;
        Ok(Self { config, channels, standards, blocks: fitted.into_iter().flatten().collect() })
    }

    /// What it is made of.
    pub fn config(&self) -> &FeaturesConfig {
        &self.config
    }

    /// Channels of a series.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks from `first` on that are worth computing together for this many series: one, or as many as have 64 MB of features.
    pub fn blocks_together(&self, first: usize, series: usize) -> Range<usize> {
        let count = (TOGETHER / self.config.block_features().saturating_mul(series.max(1))).max(1);
        first..self.blocks.len().min(first.saturating_add(count))
    }

    /// Features `[series, blocks.len() × FeaturesConfig::block_features]` of some of the blocks: those of all blocks side by
    /// side are the features of the bank.
    pub fn transform(&self, set: SeriesSet, blocks: Range<usize>, threads: &Threads) -> Result<Vec<f32>> {
        if set.channels() != self.channels {
            return Err(Error::shape("channels of the series", self.channels, set.channels()));
        }
        let Some(chosen) = self.blocks.get(blocks.clone()) else {
            let expected = format!("a range in 0..{}", self.blocks.len());
            return Err(Error::shape("blocks", expected, format!("{blocks:?}")));
        };
        let each = self.config.block_features();
        let width = chosen.len() * each;
        let mut out = try_filled(0.0, &[set.len(), width], "the features of these series")?;
        let shared = Shared::new(&mut out);
        let groups: Vec<(usize, &[Block])> = chosen
            .chunk_by(|a, b| a.reading.reads_as(b.reading))
            .scan(0, |start, group| {
                *start += group.len();
                Some((*start - group.len(), group))
            })
            .collect();
        threads.install(|| {
            for_each_task(set.len() * groups.len(), |task| {
                let (series, (start, group)) = (task / groups.len(), groups[task % groups.len()]);
                let input = group[0].reading.of(set.get(series), self.channels, &self.standards);
                for (block, index) in group.iter().zip(start..) {
                    // SAFETY: a block of a series belongs to one task.
                    let out = unsafe { shared.slice(series * width + index * each, each) };
                    let mut pools = Pools::new(self.config.competition);
                    let steps = input.len() / self.channels;
                    pools.advance(block.filters(), &block.biases, steps, |t, u| block.input(&input, t, u));
                    pools.features(out);
                }
            });
        })?;
        Ok(out)
    }

    /// The filters of each block.
    pub(super) fn fitted(&self) -> &[Block] {
        &self.blocks
    }

    /// Mean and deviation of each view over the training series.
    pub(super) fn standards(&self) -> &[Standard; 3] {
        &self.standards
    }

    /// What a block reads of a series: `[steps, channels]`, from the first step to the last.
    pub(super) fn view(&self, block: &Block, series: &[f64]) -> Vec<f32> {
        block.reading.of(series, self.channels, &self.standards)
    }

    /// Its numbers, for files.
    pub fn to_arrays(&self) -> BankArrays {
        let of = |part: fn(&Block) -> &[f32]| self.blocks.iter().flat_map(part).copied().collect();
        BankArrays {
            modes: of(|block| &block.modes),
            biases: of(|block| &block.biases),
            mixtures: of(|block| &block.mixtures),
            standards: self
                .standards
                .iter()
                .flat_map(|of| of.mean.iter().chain(&of.deviation))
                .copied()
                .collect(),
        }
    }

    /// The bank whose numbers these are.
    pub fn from_arrays(config: FeaturesConfig, channels: usize, arrays: &BankArrays) -> Result<Self> {
        config.validate()?;
        let blocks: Vec<_> = config.blocks().collect();
        let BankArrays { modes, biases, mixtures, standards } = arrays;
        // The channels first: the sizes of all else follow from them.
        if channels == 0 || !standards.len().is_multiple_of(6) || standards.len() / 6 != channels {
            let (expected, found) = (format!("6 for each of {channels} channels"), standards.len());
            return Err(Error::shape("standards of a bank", expected, found));
        }
        let sizes = [4 * MODES * FILTERS, BIASES * FILTERS, COLUMNS * channels];
        let expected = sizes.map(|size| size * blocks.len());
        let found = [modes.len(), biases.len(), mixtures.len()];
        if expected != found {
            return Err(Error::shape(
                "modes, biases and mixtures of a bank",
                format!("{expected:?} numbers"),
                format!("{found:?}"),
            ));
        }
        let numbers = [modes, biases, mixtures].into_iter().flatten();
        if !numbers.into_iter().all(|x| x.is_finite()) || !standards.iter().all(|x| x.is_finite()) {
            return Err(Error::shape("the numbers of a bank", "finite ones", "others"));
        }
        let part = |from: &[f32], size: usize, block: usize| from[block * size..(block + 1) * size].to_vec();
        let block = |(index, reading)| Block {
            reading,
            modes: part(modes, sizes[0], index),
            biases: part(biases, sizes[1], index),
            mixtures: part(mixtures, sizes[2], index),
        };
        let standard = |view: usize| {
            let of = |k: usize| standards[(2 * view + k) * channels..(2 * view + k + 1) * channels].to_vec();
            Standard::new(of(0), of(1))
        };
        let standards = std::array::from_fn(standard);
        Ok(Self { channels, standards, blocks: blocks.into_iter().enumerate().map(block).collect(), config })
    }
}

impl Block {
    /// A block drawn from the law for these series.
    fn fit(reading: Reading, training: SeriesSet, standards: &[Standard; 3], rng: &mut ChaCha8Rng) -> Self {
        let channels = training.channels();
        let mut block = Self {
            reading,
            modes: law::modes(rng, median_steps(training)).concat().into_iter().map(|x| x as f32).collect(),
            biases: vec![0.0; BIASES * FILTERS],
            mixtures: law::mixtures(rng, channels),
        };
        let some = |rng: &mut ChaCha8Rng| {
            let series = training.get(law::below(rng, training.len()));
            reading.of(series, channels, standards)
        };
        let mut power = vec![0.0; FILTERS];
        for _ in 0..SCALED_ON {
            block.add_power(&some(rng), &mut power);
        }
        for (filter, power) in power.iter().enumerate() {
            let scale = (1.0 / (power / SCALED_ON as f64 + 1e-12).sqrt()) as f32;
            let of_gains = block.modes[2 * MODES * FILTERS..].iter_mut();
            of_gains.skip(filter).step_by(FILTERS).for_each(|gain| *gain *= scale);
        }
        for filters in (0..FILTERS).collect::<Vec<_>>().chunks(FILTERS / BIASED_ON) {
            let y = block.responses(&some(rng));
            for &filter in filters {
                block.choose_biases(&y, filter, rng);
            }
        }
        block
    }

    pub(super) fn reading(&self) -> Reading {
        self.reading
    }

    pub(super) fn biases(&self) -> &[f32] {
        &self.biases
    }

    pub(super) fn filters(&self) -> Filters<'_, f32> {
        let part = |k: usize| &self.modes[k * MODES * FILTERS..(k + 1) * MODES * FILTERS];
        Filters { pole_re: part(0), pole_im: part(1), gain_re: part(2), gain_im: part(3) }
    }

    /// Inputs `u` of the steps from the t-th on, in the order in which the block reads its view.
    pub(super) fn input(&self, view: &[f32], t: usize, u: &mut [[f32; COLUMNS]]) {
        let channels = self.mixtures.len() / COLUMNS;
        let steps = view.len() / channels;
        for (u, t) in u.iter_mut().zip(t..) {
            let step = if self.reading.backwards { steps - 1 - t } else { t };
            let x = &view[step * channels..(step + 1) * channels];
            if let [x] = x {
                *u = [*x; COLUMNS];
                continue;
            }
            *u = [0.0; COLUMNS];
            for (x, weights) in x.iter().zip(self.mixtures.as_chunks::<COLUMNS>().0) {
                u.iter_mut().zip(weights).for_each(|(u, weight)| *u += x * weight);
            }
        }
    }

    /// Responses `[steps, FILTERS]` to the first steps of a view.
    fn responses(&self, view: &[f32]) -> Vec<f32> {
        let steps = (view.len() * COLUMNS / self.mixtures.len()).min(LOOKED_AT);
        let mut u = vec![[0.0; COLUMNS]; steps];
        self.input(view, 0, &mut u);
        let mut y = vec![0.0; steps * FILTERS];
        responses(self.filters(), u.as_flattened(), &mut y);
        y
    }

    /// Adds the mean square of each filter's response.
    fn add_power(&self, view: &[f32], power: &mut [f64]) {
        let y = self.responses(view);
        let steps = (y.len() / FILTERS).max(1) as f64;
        for y in y.chunks_exact(FILTERS) {
            power.iter_mut().zip(y).for_each(|(power, y)| *power += f64::from(*y) * f64::from(*y) / steps);
        }
    }

    /// Biases of a filter at random quantiles of its responses `[steps, FILTERS]`.
    fn choose_biases(&mut self, y: &[f32], filter: usize, rng: &mut ChaCha8Rng) {
        let mut own: Vec<f32> = y.iter().skip(filter).step_by(FILTERS).copied().collect();
        for k in 0..BIASES {
            let (low, high) = QUANTILES;
            let quantile = low + (high - low) * (k as f64 + uniform(rng)) / BIASES as f64;
            let place = ((quantile * own.len() as f64) as usize).min(own.len().saturating_sub(1));
            if !own.is_empty() {
                self.biases[k * FILTERS + filter] = *own.select_nth_unstable_by(place, f32::total_cmp).1;
            }
        }
    }
}

impl Reading {
    /// Whether both read the same numbers, perhaps in another direction.
    fn reads_as(self, other: Self) -> bool {
        (self.view, self.absolute) == (other.view, other.absolute)
    }

    /// The view `[steps, channels]` of a series, from the first step to the last.
    fn of(self, series: &[f64], channels: usize, standards: &[Standard; 3]) -> Vec<f32> {
        let view = self.view.of(series, channels, self.absolute.then_some(standards));
        view.into_iter().map(|x| x as f32).collect()
    }
}

/// Median of the numbers of steps.
fn median_steps(set: SeriesSet) -> usize {
    let mut steps: Vec<_> = (0..set.len()).map(|i| set.get(i).len() / set.channels()).collect();
    let middle = steps.len() / 2;
    *steps.select_nth_unstable(middle).1
}

/// Mean and deviation of each view over all training series.
fn standards(training: SeriesSet) -> [Standard; 3] {
    let channels = training.channels();
    let series = (0..training.len()).map(|i| training.get(i));
    let first = Standard::of(series, channels, None);
    let none = Standard::new(vec![0.0; channels], vec![1.0; channels]);
    let before = [first.clone(), none.clone(), none];
    let of = |view: View| {
        let views: Vec<_> =
            (0..training.len()).map(|i| view.of(training.get(i), channels, Some(&before))).collect();
        Standard::of(views.iter().map(Vec::as_slice), channels, Some(&first))
    };
    let (difference, magnitude) = (of(View::Difference), of(View::Magnitude));
    [first, difference, magnitude].map(|of| Standard::new(of.mean, of.deviation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::state_filters::Competition;

    /// Waves of two channels and of different lengths.
    fn waves() -> (Vec<f64>, Vec<usize>) {
        let lengths = [50, 120, 33, 80, 64, 1];
        let mut starts = vec![0];
        let mut values = Vec::new();
        for (i, length) in lengths.into_iter().enumerate() {
            for t in 0..length {
                let phase = f64::from(t) / (3.0 + i as f64);
                values.extend([phase.sin(), (1.7 * phase).cos() + 0.1 * phase]);
            }
            starts.push(values.len() / 2);
        }
        (values, starts)
    }

    fn config(causal: bool) -> FeaturesConfig {
        FeaturesConfig { filters: 128, causal, seed: 3, ..FeaturesConfig::default() }
    }

    fn one_thread() -> Threads {
        Threads::new(Some(1)).unwrap()
    }

    #[test]
    fn features_are_finite_and_those_of_blocks_side_by_side() {
        let (values, starts) = waves();
        let set = SeriesSet::new(&values, 2, &starts).unwrap();
        for causal in [false, true] {
            let bank = Bank::fit(config(causal), set, &one_thread()).unwrap();
            let all = bank.transform(set, 0..3, &one_thread()).unwrap();
            assert!(all.iter().all(|x| x.is_finite()));
            let each = bank.config().block_features();
            for block in 0..3 {
                let part = bank.transform(set, block..block + 1, &one_thread()).unwrap();
                for (part, all) in part.chunks_exact(each).zip(all.chunks_exact(3 * each)) {
                    assert_eq!(part, &all[block * each..(block + 1) * each]);
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let (values, starts) = waves();
        let set = SeriesSet::new(&values, 2, &starts).unwrap();
        let on = |count| {
            let threads = Threads::new(Some(count)).unwrap();
            Bank::fit(config(false), set, &threads).unwrap().transform(set, 0..3, &threads).unwrap()
        };
        let expected = on(1);
        assert!([2, 5].into_iter().all(|count| on(count) == expected));
        assert!(expected.iter().any(|x| *x != expected[0]));
    }

    #[test]
    fn the_bank_is_its_arrays() {
        let (values, starts) = waves();
        let set = SeriesSet::new(&values, 2, &starts).unwrap();
        for causal in [false, true] {
            let bank = Bank::fit(config(causal), set, &one_thread()).unwrap();
            let mut arrays = bank.to_arrays();
            assert_eq!(Bank::from_arrays(config(causal), 2, &arrays).unwrap(), bank);
            // Six times the last is 12 in 64 bits.
            for channels in [0, 1, 3, 2 + (1 << 63)] {
                assert!(Bank::from_arrays(config(causal), channels, &arrays).is_err());
            }
            arrays.biases[7] = f32::NAN;
            assert!(Bank::from_arrays(config(causal), 2, &arrays).is_err());
        }
    }

    #[test]
    fn causal_features_of_a_prefix_are_those_of_a_series_that_ends_there() {
        let (values, starts) = waves();
        let set = SeriesSet::new(&values, 2, &starts).unwrap();
        let bank = Bank::fit(config(true), set, &one_thread()).unwrap();
        let changed: Vec<f64> =
            values[..200].iter().enumerate().map(|(i, x)| if i < 100 { *x } else { 9.0 }).collect();
        let of = |values: &[f64], steps: usize| {
            let starts = [0, steps];
            let set = SeriesSet::new(&values[..2 * steps], 2, &starts).unwrap();
            bank.transform(set, 0..3, &one_thread()).unwrap()
        };
        assert_eq!(of(&values, 50), of(&changed, 50));
        assert_ne!(of(&values, 100), of(&changed, 100));
    }

    /// Blocks that read absolute numbers tell two series apart that differ in size and level alone; the others do not.
    #[test]
    fn sizes_and_levels_are_in_the_absolute_blocks() {
        let (values, starts) = waves();
        let set = SeriesSet::new(&values, 2, &starts).unwrap();
        let bank = Bank::fit(FeaturesConfig { filters: 256, ..config(false) }, set, &one_thread()).unwrap();
        let absolute: Vec<_> = bank.config().blocks().map(|reading| reading.absolute).collect();
        assert_eq!(absolute, [false, true, false, true, false]);
        let moved: Vec<f64> = values.iter().map(|x| 4.0 * x + 8.0).collect();
        let other = SeriesSet::new(&moved, 2, &starts).unwrap();
        for (block, absolute) in absolute.into_iter().enumerate() {
            let of = |set| bank.transform(set, block..block + 1, &one_thread()).unwrap();
            let differ = of(set).iter().zip(of(other)).filter(|(a, b)| (**a - b).abs() > 0.01).count();
            assert_eq!(differ > 5000, absolute, "block {block}: {differ} features differ");
        }
    }

    #[test]
    fn gains_are_scaled_and_biases_are_inside_the_responses() {
        let (values, starts) = waves();
        let set = SeriesSet::new(&values, 2, &starts).unwrap();
        let bank =
            Bank::fit(FeaturesConfig { competition: Competition::None, ..config(false) }, set, &one_thread());
        let bank = bank.unwrap();
        let features = bank.transform(set, 0..1, &one_thread()).unwrap();
        // The share above the low bias is at least that above the high one, for every filter of every series.
        for of_series in features.chunks_exact(bank.config().block_features()) {
            let (low, high) = (&of_series[..FILTERS], &of_series[4 * FILTERS..5 * FILTERS]);
            assert!(low.iter().zip(high).all(|(low, high)| low >= high));
        }
        let mean = |k: usize| {
            let of = |of_series: &[f32]| of_series[k * FILTERS..(k + 1) * FILTERS].iter().sum::<f32>();
            f64::from(features.chunks_exact(8 * FILTERS).map(of).sum::<f32>()) / (6 * FILTERS) as f64
        };
        assert!((0.6..0.9).contains(&mean(0)) && (0.1..0.4).contains(&mean(4)), "{} {}", mean(0), mean(4));
    }

    #[test]
    fn other_channels_other_blocks_and_no_series_are_refused() {
        let (values, starts) = waves();
        let set = SeriesSet::new(&values, 2, &starts).unwrap();
        let bank = Bank::fit(config(false), set, &one_thread()).unwrap();
        let other = SeriesSet::new(&values[..6], 3, &[0, 2]).unwrap();
        let message = bank.transform(other, 0..3, &one_thread()).unwrap_err().to_string();
        assert!(message.contains("channels of the series") && message.contains('3'), "{message}");
        assert!(bank.transform(set, 2..4, &one_thread()).is_err());
        assert!(Bank::fit(config(false), SeriesSet::new(&[], 1, &[0]).unwrap(), &one_thread()).is_err());
        let none = FeaturesConfig { filters: 0, ..config(false) };
        let message = Bank::fit(none, set, &one_thread()).unwrap_err().to_string();
        assert!(
            message.starts_with("features.filters: expected a whole number from 1 to 65536, found 0"),
            "{message}"
        );
    }
}
