//! What the filters read of a series: its values, their differences, the sizes of these, each standardised.

#![forbid(unsafe_code)]

/// A view of a series.
///
/// ```
/// use ssm_hpn::features::{FeaturesConfig, View};
///
/// // Six blocks of 128 filters read the series, six its difference, three the size of the difference.
/// let config = FeaturesConfig::default();
/// let count = |view| config.blocks().filter(|reading| reading.view == view).count();
/// assert_eq!(View::ALL.map(count), [6, 6, 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// x̃ = (x - mean)/std.
    Series,
    /// Δx̃, standardised.
    Difference,
    /// |Δx̃|, standardised.
    Magnitude,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Series, Self::Difference, Self::Magnitude];

    /// Its name.
    ///
    /// ```
    /// use ssm_hpn::features::View;
    ///
    /// assert_eq!(View::ALL.map(View::name), ["series", "difference", "magnitude"]);
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Difference => "difference",
            Self::Magnitude => "magnitude",
        }
    }

    /// The view `[steps, channels]` of a series `[steps, channels]`, which has a step less for differences. `standards`, one
    /// for each of [`View::ALL`], or those of the series itself.
    pub(super) fn of(self, series: &[f64], channels: usize, standards: Option<&[Standard; 3]>) -> Vec<f64> {
        let mut x = kept(series, channels);
        let own = |before| Standard::of([&x[..]].into_iter(), channels, before);
        let first = standards.map_or_else(|| own(None), |of| of[0].clone());
        first.apply(&mut x);
        hold(&mut x, channels);
        if self == Self::Series {
            return x;
        }
        let mut x: Vec<f64> = x.iter().skip(channels).zip(&x).map(|(next, x)| self.sized(next - x)).collect();
        let own = || Standard::of([&x[..]].into_iter(), channels, Some(&first));
        standards.map_or_else(own, |of| of[self as usize].clone()).apply(&mut x);
        x
    }

    /// What the view has of a difference.
    fn sized(self, difference: f64) -> f64 {
        if self == Self::Magnitude { difference.abs() } else { difference }
    }
}

/// The views of a series that comes in pieces, by given standards.
#[derive(Clone, Debug, Default)]
pub(super) struct Views {
    /// The last step, standardised; empty before the first.
    last: Vec<f64>,
    /// Room for a step, and for a view of it.
    step: Vec<f64>,
    sized: Vec<f64>,
    /// The new steps of each of [`View::ALL`], `[steps, channels]`.
    new: [Vec<f32>; 3],
}

impl Views {
    /// The new steps of a view.
    pub(super) fn of(&self, view: View) -> &[f32] {
        &self.new[view as usize]
    }

    /// Forgets all steps.
    pub(super) fn reset(&mut self) {
        self.last.clear();
    }

    /// Reads further steps `[steps, channels]`, which are the new ones then.
    pub(super) fn read(&mut self, steps: &[f64], standards: &[Standard; 3]) {
        let Self { last, step, sized, new } = self;
        new.iter_mut().for_each(Vec::clear);
        for raw in steps.chunks_exact(standards[0].mean.len()) {
            if raw.iter().all(|x| x.is_nan()) {
                continue;
            }
            step.clear();
            step.extend(raw);
            standards[0].apply(step);
            for (c, x) in step.iter_mut().enumerate().filter(|(_, x)| x.is_nan()) {
                *x = last.get(c).copied().unwrap_or(0.0);
            }
            new[0].extend(step.iter().map(|x| *x as f32));
            if !last.is_empty() {
                for view in [View::Difference, View::Magnitude] {
                    sized.clear();
                    sized.extend(step.iter().zip(&*last).map(|(next, x)| view.sized(next - x)));
                    standards[view as usize].apply(sized);
                    new[view as usize].extend(sized.iter().map(|x| *x as f32));
                }
            }
            std::mem::swap(last, step);
        }
    }
}

/// The steps that have a channel which is not missing.
fn kept(series: &[f64], channels: usize) -> Vec<f64> {
    let steps = series.chunks_exact(channels).filter(|step| !step.iter().all(|x| x.is_nan()));
    steps.flatten().copied().collect()
}

/// Gives a missing number the last value of its channel, or 0 before the first.
fn hold(x: &mut [f64], channels: usize) {
    for i in 0..x.len() {
        if x[i].is_nan() {
            x[i] = if i < channels { 0.0 } else { x[i - channels] };
        }
    }
}

/// Mean and standard deviation of each channel. A deviation of 0 stands for a channel without variation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standard {
    pub(super) mean: Vec<f64>,
    pub(super) deviation: Vec<f64>,
    /// Size of rounding errors in standardised numbers, where it was measured.
    rounding: Vec<f64>,
}

impl Standard {
    /// The numbers of a channel.
    pub(super) fn new(mean: Vec<f64>, deviation: Vec<f64>) -> Self {
        let rounding = vec![0.0; mean.len()];
        Self { mean, deviation, rounding }
    }

    /// Of all numbers of these series that are not missing. A deviation no larger than the distance between neighbouring
    /// doubles at the largest number counts as none, as in files; for differences of standardised numbers, one that the
    /// rounding of `before` would give.
    pub(super) fn of<'a>(
        series: impl Iterator<Item = &'a [f64]> + Clone,
        channels: usize,
        before: Option<&Self>,
    ) -> Self {
        let mut found = Self::new(vec![0.0; channels], vec![0.0; channels]);
        for c in 0..channels {
            let values =
                || series.clone().flat_map(|x| x.iter().skip(c).step_by(channels)).filter(|x| !x.is_nan());
            let Some(first) = values().next() else { continue };
            // Shifted by one of the numbers, so that equal ones have the deviation 0.
            let (mut count, mut sum, mut largest) = (0.0, 0.0, 0.0_f64);
            values()
                .for_each(|x| (count, sum, largest) = (count + 1.0, sum + (x - first), largest.max(x.abs())));
            let mean = first + sum / count;
            let square: f64 = values().map(|x| (x - mean) * (x - mean)).sum();
            let deviation = (square / count).sqrt();
            found.mean[c] = mean;
            let spacing = largest.next_up() - largest;
            if deviation > before.map_or(spacing, |before| before.rounding[c]) {
                found.deviation[c] = deviation;
                // A difference has the errors of two numbers.
                found.rounding[c] = 2.0 * spacing / deviation;
            }
        }
        found
    }

    /// (x - mean)/deviation, 0 where there is no deviation; NaN stays.
    pub(super) fn apply(&self, x: &mut [f64]) {
        for step in x.chunks_exact_mut(self.mean.len()) {
            for ((x, mean), deviation) in step.iter_mut().zip(&self.mean).zip(&self.deviation) {
                if *deviation > 0.0 {
                    *x = (*x - mean) / deviation;
                } else if !x.is_nan() {
                    *x = 0.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_standardised_differences_and_their_sizes() {
        let x = [1.0, 3.0, 2.0, 6.0];
        let series = View::Series.of(&x, 1, None);
        let (mean, deviation) = (3.0, (14.0_f64 / 4.0).sqrt());
        let close = |a: &[f64], b: &[f64]| {
            assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-14), "{a:?} {b:?}");
        };
        close(&series, &x.map(|x| (x - mean) / deviation));
        // Differences 2, -1, 4, and their sizes: means 5/3 and 7/3.
        let spread = |d: [f64; 3]| {
            let mean = d.iter().sum::<f64>() / 3.0;
            let deviation = (d.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
            d.map(|d| (d - mean) / deviation)
        };
        close(&View::Difference.of(&x, 1, None), &spread([2.0, -1.0, 4.0]));
        close(&View::Magnitude.of(&x, 1, None), &spread([2.0, 1.0, 4.0]));
    }

    #[test]
    fn missing_steps_are_left_out_and_missing_channels_hold() {
        let nan = f64::NAN;
        let one = View::Series.of(&[1.0, nan, 3.0, nan, 2.0], 1, None);
        assert_eq!(one, View::Series.of(&[1.0, 3.0, 2.0], 1, None));
        let two = View::Series.of(&[nan, 1.0, 2.0, 3.0, nan, nan, 4.0, nan], 2, None);
        assert_eq!(two, [0.0, -1.0, -1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn constant_channels_are_zero_whatever_their_size() {
        for value in [0.0, 1e-13, 0.1, 1e9, 1e15 / 3.0] {
            for view in View::ALL {
                assert!(
                    view.of(&vec![value; 10_000], 1, None).iter().all(|x| *x == 0.0),
                    "{view:?} of {value}"
                );
            }
        }
        let small = View::Series.of(&[1e-13, 2e-13], 1, None);
        assert!((small[0] + 1.0).abs() < 1e-14 && (small[1] - 1.0).abs() < 1e-14);
    }

    /// Numbers of which a few doubles apart differ are data.
    #[test]
    fn small_changes_of_large_numbers_are_kept() {
        let x: Vec<f64> = (0..200).map(|t| 1e15 + (f64::from(t) / 5.0).sin()).collect();
        let found = View::Series.of(&x, 1, None);
        let square = found.iter().map(|x| x * x).sum::<f64>() / found.len() as f64;
        assert!((square - 1.0).abs() < 1e-9, "{square}");
    }

    /// A straight line has one difference, whatever rounding makes of it.
    #[test]
    fn differences_of_a_line_are_zero() {
        for (start, step, length) in
            [(0.0, 0.1, 10_000), (1.7e9, 1.0, 500), (1e6, 1e-3, 300), (-3.0, 1e-9, 5000), (-1e3, 0.2, 10_000)]
        {
            let line: Vec<f64> = (0..length).map(|t| start + step * f64::from(t)).collect();
            for view in [View::Difference, View::Magnitude] {
                assert!(view.of(&line, 1, None).iter().all(|x| *x == 0.0), "{view:?} of {start} + {step}t");
            }
        }
    }

    #[test]
    fn short_series_have_short_views() {
        for view in View::ALL {
            assert!(view.of(&[], 2, None).is_empty());
            assert_eq!(view.of(&[5.0], 1, None).len(), usize::from(view == View::Series));
        }
    }
}
