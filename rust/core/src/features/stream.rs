//! Features of the prefix of a series, step by step.

use std::sync::Arc;

use super::bank::Bank;
use super::readout::Readout;
use super::view::Views;
use crate::allocate::try_filled;
use crate::error::{Error, Result};
use crate::kernels::state_filters::Pools;
use crate::parallel::{Shared, Threads, for_each_task};

/// Rows that one task advances, with the filters of a block in the cache.
const ROWS: usize = 4;

/// Series that are read step by step, side by side, in constant memory.
///
/// Features after any step are those of [`Bank::transform`] of the steps so far, bit for bit. Counts are f32: beyond some
/// 10⁷ consecutive steps above a bias, and 10⁹ steps in all, they no longer grow.
///
/// ```
/// use std::sync::Arc;
/// use ssm_hpn::Threads;
/// use ssm_hpn::features::{Bank, FeatureStream, FeaturesConfig, Readout, SeriesSet};
///
/// let values: Vec<f64> = (0..60).map(|t| (f64::from(t) / 7.0).sin()).collect();
/// let (set, threads) = (SeriesSet::new(&values, 1, &[0, 60])?, Threads::new(Some(1))?);
/// let config = FeaturesConfig { filters: 128, causal: true, ..FeaturesConfig::default() };
/// let bank = Arc::new(Bank::fit(config, set, &threads)?);
/// let mut stream = FeatureStream::new(bank.clone(), 1, Some(1))?;
/// for x in &values {
///     stream.read(&[*x])?;
/// }
/// assert_eq!(stream.features()?, bank.transform(set, 0..bank.blocks(), &threads)?);
/// // A score that is the sum of all features.
/// let d = bank.config().features();
/// let readout = Readout::new(bank.config(), &vec![0.0; d], &vec![1.0; d], 1e6, &vec![1.0; d], &[0.0])?;
/// let sum: f32 = stream.features()?.iter().sum();
/// assert!((stream.scores(&readout)?[0] as f32 - sum).abs() < 1e-3 * sum.abs());
/// stream.reset();
/// assert_eq!((stream.rows(), stream.scores(&readout)?), (1, vec![0.0]));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Debug)]
pub struct FeatureStream {
    bank: Arc<Bank>,
    /// Of each row.
    views: Vec<Views>,
    /// `[rows, blocks]`.
    pools: Vec<Pools<f32>>,
    /// Where there are rows to share.
    threads: Option<Threads>,
}

impl FeatureStream {
    /// Before the first step of `rows` series. Refuses a bank whose filters read what comes later.
    pub fn new(bank: Arc<Bank>, rows: usize, threads: Option<usize>) -> Result<Self> {
        let config = bank.config();
        if !config.causal {
            let expected =
                "true, as a stream has filters that read forwards and statistics of the training series";
            return Err(Error::config("features.causal", expected, "false", "fit with causal=True"));
        }
        if rows == 0 {
            return Err(Error::shape("rows", "1 or more", 0));
        }
        let what = "the state of this stream";
        let pools = try_filled(Pools::new(config.competition), &[rows, bank.blocks()], what)?;
        let views = try_filled(Views::default(), &[rows], what)?;
        let threads = (rows > ROWS).then(|| Threads::new(threads)).transpose()?;
        Ok(Self { bank, views, pools, threads })
    }

    /// Number of series.
    pub fn rows(&self) -> usize {
        self.views.len()
    }

    /// Goes back to before the first step.
    pub fn reset(&mut self) {
        self.views.iter_mut().for_each(Views::reset);
        self.pools.fill(Pools::new(self.bank.config().competition));
    }

    /// Reads further steps `x` `[rows, steps, channels]`. NaN is a missing number.
    pub fn read(&mut self, x: &[f64]) -> Result<()> {
        let (rows, channels, blocks) = (self.rows(), self.bank.channels(), self.bank.blocks());
        let of_row = x.len() / rows;
        if of_row * rows != x.len() || !of_row.is_multiple_of(channels) {
            let expected = format!("[{rows}, steps, {channels}]");
            return Err(Error::shape("x", expected, format!("{} numbers", x.len())));
        }
        if let Some(at) = x.iter().position(|x| x.is_infinite()) {
            let (row, channel) = (at / of_row, at % channels);
            let place = format!("row {row}, step {}, channel {channel}", at % of_row / channels);
            return Err(Error::shape(place, "a finite number, or NaN for a missing one", x[at]));
        }
        let Self { bank, views, pools, threads } = self;
        let (views, pools) = (Shared::new(views), Shared::new(pools));
        in_tasks(threads.as_ref(), rows, |first, count| {
            // SAFETY: a row belongs to one task.
            let (views, pools) =
                unsafe { (views.slice(first, count), pools.slice(first * blocks, count * blocks)) };
            for (row, views) in views.iter_mut().enumerate() {
                views.read(&x[(first + row) * of_row..(first + row + 1) * of_row], bank.standards());
            }
            for (index, block) in bank.fitted().iter().enumerate() {
                for (row, views) in views.iter().enumerate() {
                    let view = views.of(block.reading().view);
                    let steps = view.len() / channels;
                    let input = |t: usize, u: &mut [_]| block.input(view, t, u);
                    pools[row * blocks + index].advance(block.filters(), block.biases(), steps, input);
                }
            }
        })
    }

    /// Features `[rows, d]` of the steps so far.
    pub fn features(&self) -> Result<Vec<f32>> {
        let each = self.bank.config().block_features();
        let mut out = try_filled(0.0, &[self.pools.len(), each], "the features of these series")?;
        out.chunks_exact_mut(each).zip(&self.pools).for_each(|(out, pools)| pools.features(out));
        Ok(out)
    }

    /// Scores `[rows, K]` of the steps so far.
    pub fn scores(&self, readout: &Readout) -> Result<Vec<f64>> {
        let Self { bank, pools, threads, .. } = self;
        let (blocks, count) = (bank.blocks(), readout.outputs());
        if readout.features() != bank.config().features() {
            return Err(Error::shape(
                "features of the readout",
                bank.config().features(),
                readout.features(),
            ));
        }
        let mut out = try_filled(0.0, &[self.rows(), count], "the scores of these series")?;
        let shared = Shared::new(&mut out);
        in_tasks(threads.as_ref(), self.rows(), |first, rows| {
            // SAFETY: a row belongs to one task.
            let out = unsafe { shared.slice(first * count, rows * count) };
            out.chunks_exact_mut(count).for_each(|scores| scores.copy_from_slice(readout.intercept()));
            let mut features = vec![0.0; bank.config().block_features()];
            for block in 0..blocks {
                for (row, scores) in out.chunks_exact_mut(count).enumerate() {
                    pools[(first + row) * blocks + block].features(&mut features);
                    readout.add(block, &mut features, scores);
                }
            }
        })?;
        Ok(out)
    }
}

/// Runs `task(first, count)` for all rows, on these threads if there are any.
fn in_tasks(threads: Option<&Threads>, rows: usize, task: impl Fn(usize, usize) + Sync + Send) -> Result<()> {
    let of = |index: usize| task(index * ROWS, ROWS.min(rows - index * ROWS));
    let Some(threads) = threads else {
        (0..rows.div_ceil(ROWS)).for_each(of);
        return Ok(());
    };
    threads.install(|| for_each_task(rows.div_ceil(ROWS), of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{FeaturesConfig, SeriesSet};
    use crate::kernels::testing::numbers;

    const CHANNELS: usize = 2;

    /// Series `[rows, steps, CHANNELS]` with missing numbers, and a bank fitted to them.
    fn case(rows: usize, steps: usize, causal: bool) -> (Vec<f64>, Arc<Bank>) {
        let mut x: Vec<f64> = numbers(rows * steps * CHANNELS, 7);
        for t in [0, 5, 6, 20] {
            x[t * CHANNELS] = f64::NAN;
        }
        x[5 * CHANNELS + 1] = f64::NAN;
        x[1] = f64::NAN;
        let starts: Vec<usize> = (0..=rows).map(|row| row * steps).collect();
        let set = SeriesSet::new(&x, CHANNELS, &starts).unwrap();
        let config = FeaturesConfig { filters: 256, causal, ..FeaturesConfig::default() };
        let bank = Bank::fit(config, set, &Threads::new(Some(1)).unwrap()).unwrap();
        (x, Arc::new(bank))
    }

    fn prefix(bank: &Bank, series: &[f64]) -> Vec<f32> {
        let starts = [0, series.len() / CHANNELS];
        let set = SeriesSet::new(series, CHANNELS, &starts).unwrap();
        bank.transform(set, 0..bank.blocks(), &Threads::new(Some(1)).unwrap()).unwrap()
    }

    #[test]
    fn features_of_every_prefix_are_those_of_a_series_that_ends_there() {
        let (rows, steps) = (2, 70);
        let (x, bank) = case(rows, steps, true);
        let of_row = steps * CHANNELS;
        for piece in [1, 3, 40] {
            let mut stream = FeatureStream::new(bank.clone(), rows, None).unwrap();
            for start in (0..steps).step_by(piece) {
                let end = steps.min(start + piece);
                let part = |row: usize| &x[row * of_row + start * CHANNELS..row * of_row + end * CHANNELS];
                stream.read(&[part(0), part(1)].concat()).unwrap();
                let found = stream.features().unwrap();
                for (row, found) in found.chunks_exact(found.len() / rows).enumerate() {
                    let expected = prefix(&bank, &x[row * of_row..row * of_row + end * CHANNELS]);
                    assert!(found == expected, "row {row}, {end} steps in pieces of {piece}");
                }
            }
            stream.reset();
            assert!(stream.features().unwrap().iter().all(|x| *x == 0.0));
            stream.read(&x).unwrap();
            assert!(
                stream.features().unwrap()[..prefix(&bank, &x[..of_row]).len()]
                    == prefix(&bank, &x[..of_row])
            );
        }
    }

    #[test]
    fn scores_are_those_of_the_features_for_any_number_of_rows_and_threads() {
        let (rows, steps) = (11, 40);
        let (x, bank) = case(rows, steps, true);
        let d = bank.config().features();
        let (weights, ones): (Vec<f32>, _) = (numbers(3 * d, 1), vec![1.0; d]);
        let readout =
            Readout::new(bank.config(), &vec![0.0; d], &ones, 1e3, &weights, &[0.0, 1.0, 2.0]).unwrap();
        let on = |threads| {
            let mut stream = FeatureStream::new(bank.clone(), rows, Some(threads)).unwrap();
            stream.read(&x).unwrap();
            (stream.features().unwrap(), stream.scores(&readout).unwrap())
        };
        let (features, scores) = on(1);
        assert!((features.clone(), scores.clone()) == on(3));
        for (row, features) in features.chunks_exact(d).enumerate() {
            for k in 0..3 {
                let term = |j: usize| f64::from(features[j]) * f64::from(weights[3 * j + k]);
                let size: f64 = (0..d).map(|j| term(j).abs()).sum();
                let expected = k as f64 + (0..d).map(term).sum::<f64>();
                let found = scores[3 * row + k];
                assert!((found - expected).abs() <= 1e-6 * size, "row {row}, score {k}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn filters_that_read_backwards_no_rows_and_infinite_numbers_are_refused() {
        let (x, bank) = case(1, 30, false);
        let message = FeatureStream::new(bank, 1, None).unwrap_err().to_string();
        assert!(
            message.starts_with("features.causal: expected true") && message.contains("causal=True"),
            "{message}"
        );
        let (_, bank) = case(1, 30, true);
        assert!(FeatureStream::new(bank.clone(), 0, None).is_err());
        let mut stream = FeatureStream::new(bank, 1, None).unwrap();
        assert!(stream.read(&x[..3]).is_err());
        let message = stream.read(&[1.0, 2.0, 3.0, f64::INFINITY]).unwrap_err().to_string();
        assert!(message.contains("row 0, step 1, channel 1"), "{message}");
        assert!(stream.features().unwrap().iter().all(|x| *x == 0.0), "nothing was read");
    }
}
