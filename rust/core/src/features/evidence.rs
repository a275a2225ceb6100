//! Where in a series the scores of a linear head come from.

use super::bank::{Bank, Block};
use super::series::SeriesSet;
use super::view::View;
use crate::allocate::try_filled;
use crate::error::{Error, Result};
use crate::kernels::state_filters;
use crate::parallel::{Shared, Threads, for_each_task};

impl Bank {
    /// Evidence e `[steps, K]` of a series `[steps, channels]` for scores with the weights w `[features, K]`: what each step
    /// contributes, so that `Σ_t e[t,k] = Σ_f w[f,k]·f` up to rounding.
    ///
    /// A feature belongs to the steps at which its filter's response counts (`kernels::state_filters::evidence` has the
    /// formulas), not to the earlier ones that the response remembers. A difference belongs to its two steps alike. A step
    /// whose channels are all missing has none. Memory grows with steps × K × threads.
    ///
    /// ```
    /// use ssm_hpn::Threads;
    /// use ssm_hpn::features::{Bank, FeaturesConfig, SeriesSet};
    ///
    /// let values: Vec<f64> = (0..60).map(|t| (f64::from(t) / 7.0).sin()).collect();
    /// let (set, threads) = (SeriesSet::new(&values, 1, &[0, 60])?, Threads::new(Some(1))?);
    /// let bank = Bank::fit(FeaturesConfig { filters: 128, ..FeaturesConfig::default() }, set, &threads)?;
    /// let features = bank.transform(set, 0..bank.blocks(), &threads)?;
    /// // A score that is the sum of all features.
    /// let evidence = bank.evidence(&values, &vec![1.0; features.len()], &threads)?;
    /// let (sum, score) = (evidence.iter().sum::<f64>(), features.iter().map(|x| f64::from(*x)).sum::<f64>());
    /// assert!(evidence.len() == 60 && (sum - score).abs() < 1e-4 * score.abs());
    /// # Ok::<(), ssm_hpn::Error>(())
    /// ```
    pub fn evidence(&self, series: &[f64], weights: &[f64], threads: &Threads) -> Result<Vec<f64>> {
        let channels = self.channels();
        SeriesSet::new(series, channels, &[0, series.len() / channels])?;
        let features = self.config().features();
        let width = weights.len() / features;
        if width == 0 || width * features != weights.len() {
            let expected = format!("[{features}, K] with K of 1 or more");
            return Err(Error::shape("weights", expected, format!("{} numbers", weights.len())));
        }
        let kept = kept(series, channels);
        let each = self.config().block_features() * width;
        let mut out = try_filled(0.0, &[series.len() / channels, width], "the evidence of this series")?;
        let blocks: Vec<_> = self.fitted().iter().zip(weights.chunks_exact(each)).collect();
        for blocks in blocks.chunks(threads.count()) {
            let mut found = vec![Vec::new(); blocks.len()];
            let shared = Shared::new(&mut found);
            threads.install(|| {
                for_each_task(blocks.len(), |index| {
                    let (block, weights) = blocks[index];
                    // SAFETY: each task has a place of its own.
                    let place = unsafe { shared.slice(index, 1) };
                    place[0] = self.of_block(block, series, weights, width);
                });
            })?;
            for ((block, _), found) in blocks.iter().zip(found) {
                place(block, &found, &kept, width, &mut out);
            }
        }
        Ok(out)
    }

    /// Evidence of a block for the steps of its view, in the order in which it reads them.
    fn of_block(&self, block: &Block, series: &[f64], weights: &[f64], width: usize) -> Vec<f64> {
        let view = self.view(block, series);
        let steps = view.len() / self.channels();
        let mut out = vec![0.0; steps * width];
        let of = state_filters::Block {
            filters: block.filters(),
            biases: block.biases(),
            competition: self.config().competition,
        };
        state_filters::evidence(of, steps, |t, u| block.input(&view, t, u), weights, &mut out);
        out
    }
}

/// Adds the evidence of the steps of a block's view to that of the series' own steps.
fn place(block: &Block, found: &[f64], kept: &[usize], width: usize, out: &mut [f64]) {
    let mut add = |step: usize, share: f64, e: &[f64]| {
        out[step * width..][..width].iter_mut().zip(e).for_each(|(out, e)| *out += share * e);
    };
    let steps = found.len() / width;
    for (t, e) in found.chunks_exact(width).enumerate() {
        let t = if block.reading().backwards { steps - 1 - t } else { t };
        if block.reading().view == View::Series {
            add(kept[t], 1.0, e);
        } else {
            add(kept[t], 0.5, e);
            add(kept[t + 1], 0.5, e);
        }
    }
}

/// The steps that views have: those with a channel that is not missing.
fn kept(series: &[f64], channels: usize) -> Vec<usize> {
    let steps = series.chunks_exact(channels).enumerate();
    steps.filter(|(_, step)| !step.iter().all(|x| x.is_nan())).map(|(t, _)| t).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeaturesConfig;
    use crate::kernels::testing::numbers;

    /// Waves of two channels.
    fn waves(steps: usize) -> Vec<f64> {
        let of = |t: usize| {
            let phase = t as f64 / 5.0;
            [phase.sin(), (1.7 * phase).cos() + 0.02 * phase]
        };
        (0..steps).flat_map(of).collect()
    }

    fn bank(training: &[f64], channels: usize, causal: bool) -> Bank {
        let config = FeaturesConfig { filters: 256, causal, seed: 5, ..FeaturesConfig::default() };
        let starts = [0, training.len() / channels];
        let set = SeriesSet::new(training, channels, &starts).unwrap();
        Bank::fit(config, set, &Threads::new(Some(1)).unwrap()).unwrap()
    }

    /// Panics unless the evidence of each score is, in all, the score.
    fn check_sums(bank: &Bank, series: &[f64], channels: usize) -> Vec<f64> {
        let threads = Threads::new(Some(2)).unwrap();
        let starts = [0, series.len() / channels];
        let set = SeriesSet::new(series, channels, &starts).unwrap();
        let features = bank.transform(set, 0..bank.blocks(), &threads).unwrap();
        let weights: Vec<f64> = numbers(3 * features.len(), 11);
        let evidence = bank.evidence(series, &weights, &threads).unwrap();
        assert_eq!(evidence.len(), 3 * starts[1]);
        for k in 0..3 {
            let terms =
                || features.iter().zip(weights[k..].iter().step_by(3)).map(|(f, w)| f64::from(*f) * w);
            let (score, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let sum: f64 = evidence.iter().skip(k).step_by(3).sum();
            assert!(
                (sum - score).abs() <= 1e-6 * size,
                "score {k}: {sum}, expected {score} within 1e-6 of {size}"
            );
        }
        evidence
    }

    #[test]
    fn evidence_of_all_steps_is_the_score() {
        for causal in [false, true] {
            let bank = bank(&waves(90), 2, causal);
            for steps in [1, 2, 3, 40, 90, 200] {
                check_sums(&bank, &waves(steps), 2);
            }
            assert!(check_sums(&bank, &[], 2).is_empty());
        }
    }

    #[test]
    fn a_missing_step_has_no_evidence() {
        let mut series = waves(80);
        series[20..30].fill(f64::NAN);
        series[40] = f64::NAN; // of two channels one
        series[158..].fill(f64::NAN);
        let evidence = check_sums(&bank(&waves(80), 2, false), &series, 2);
        let empty: Vec<_> = evidence.chunks(3).map(|e| e.iter().all(|e| *e == 0.0)).collect();
        let expected: Vec<_> = (0..80).map(|t| (10..15).contains(&t) || t == 79).collect();
        assert_eq!(empty, expected);
        let none = vec![f64::NAN; 20];
        assert!(check_sums(&bank(&waves(80), 2, false), &none, 2).iter().all(|e| *e == 0.0));
    }

    /// Two series that differ in a bump: the scores whose weights are the difference of their features differ there.
    #[test]
    fn a_bump_has_its_evidence_where_it_is() {
        let (steps, bump) = (400, 250..270);
        let plain = waves(steps);
        let bank = bank(&plain, 2, false);
        let threads = Threads::new(Some(1)).unwrap();
        let mut bumped = plain.clone();
        for t in bump.clone() {
            bumped[2 * t] += if t % 2 == 0 { 4.0 } else { -4.0 };
        }
        let of = |series: &[f64]| {
            let set = SeriesSet::new(series, 2, &[0, 400]).unwrap();
            bank.transform(set, 0..bank.blocks(), &threads).unwrap()
        };
        let weights: Vec<f64> =
            of(&bumped).iter().zip(of(&plain)).map(|(a, b)| f64::from(*a) - f64::from(b)).collect();
        let [first, second] =
            [&bumped, &plain].map(|series| bank.evidence(series, &weights, &threads).unwrap());
        let change: Vec<f64> = first.iter().zip(&second).map(|(a, b)| (a - b).abs()).collect();
        let near: f64 = change[bump.start - 2..bump.end + 12].iter().sum();
        let all: f64 = change.iter().sum();
        assert!(near > 0.6 * all, "{near} of {all}");
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let series = waves(70);
        let bank = bank(&series, 2, false);
        let weights: Vec<f64> = numbers(2 * bank.config().features(), 3);
        let on = |count| bank.evidence(&series, &weights, &Threads::new(Some(count)).unwrap()).unwrap();
        let expected = on(1);
        assert!([2, 3, 8].into_iter().all(|count| on(count) == expected));
    }

    #[test]
    fn other_channels_and_other_weights_are_refused() {
        let bank = bank(&waves(30), 2, false);
        let threads = Threads::new(Some(1)).unwrap();
        let features = bank.config().features();
        for count in [0, 1, features - 1, features + 1] {
            let message = bank.evidence(&waves(4), &vec![1.0; count], &threads).unwrap_err().to_string();
            assert!(message.contains(&format!("[{features}, K]")), "{message}");
        }
        assert!(bank.evidence(&[1.0, 2.0, 3.0], &vec![1.0; features], &threads).is_err());
        assert!(bank.evidence(&[1.0, f64::INFINITY], &vec![1.0; features], &threads).is_err());
    }
}
