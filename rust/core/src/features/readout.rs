//! Scores that are linear in standardised features, such as those of a ridge classifier.

#![forbid(unsafe_code)]

use super::config::FeaturesConfig;
use crate::allocate::try_filled;
use crate::error::{Error, Result};
use crate::simd::{self, Kernel, Vector};

/// Scores `z = b + Wᵀx'` of features x, `x' = min(clip, max(-clip, (x - mean)·factor))`. Products of a block are summed in f32,
/// blocks in f64.
///
/// ```
/// use ssm_hpn::features::{FeaturesConfig, Readout};
///
/// let config = FeaturesConfig { filters: 128, ..FeaturesConfig::default() };
/// let d = config.features();
/// let readout = Readout::new(&config, &vec![0.5; d], &vec![2.0; d], 3.0, &vec![0.25; 2 * d], &[1.0, 0.0])?;
/// assert_eq!(readout.outputs(), 2);
/// assert!(Readout::new(&config, &[0.5], &[2.0], 3.0, &[0.25; 2], &[1.0, 0.0]).is_err());
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Readout {
    /// Features of a block.
    each: usize,
    /// `[d]`.
    mean: Vec<f32>,
    /// `[d]`.
    factor: Vec<f32>,
    clip: f32,
    /// `[blocks, K, each]`.
    weights: Vec<f32>,
    /// `[K]`.
    intercept: Vec<f64>,
}

impl Readout {
    /// For the d features of a bank of these settings: mean and factor `[d]`, weights `[d, K]`, intercept `[K]`.
    pub fn new(
        config: &FeaturesConfig,
        mean: &[f32],
        factor: &[f32],
        clip: f32,
        weights: &[f32],
        intercept: &[f64],
    ) -> Result<Self> {
        let (d, k, each) = (config.features(), intercept.len(), config.block_features());
        if k == 0 || (mean.len(), factor.len()) != (d, d) || Some(weights.len()) != d.checked_mul(k) {
            return Err(Error::shape(
                "mean, factor and weights of a readout",
                format!("[{d}], [{d}] and [{d}, {k}], K of 1 or more"),
                format!("{}, {} and {} numbers", mean.len(), factor.len(), weights.len()),
            ));
        }
        let numbers = mean.iter().chain(factor).chain(weights);
        if !numbers.into_iter().all(|x| x.is_finite())
            || !intercept.iter().all(|x| x.is_finite())
            || clip.is_nan()
            || clip <= 0.0
        {
            return Err(Error::shape("the numbers of a readout", "finite ones and a clip above 0", "others"));
        }
        let mut packed = try_filled(0.0, &[d, k], "the weights of this readout")?;
        for (row, weights) in weights.chunks_exact(k).enumerate() {
            let (block, place) = (row / each, row % each);
            for (output, weight) in weights.iter().enumerate() {
                packed[(block * k + output) * each + place] = *weight;
            }
        }
        let (mean, factor, intercept) = (mean.to_vec(), factor.to_vec(), intercept.to_vec());
        Ok(Self { each, mean, factor, clip, weights: packed, intercept })
    }

    /// Number of scores K.
    pub fn outputs(&self) -> usize {
        self.intercept.len()
    }

    /// Number of features d.
    pub(super) fn features(&self) -> usize {
        self.mean.len()
    }

    /// b `[K]`.
    pub(super) fn intercept(&self) -> &[f64] {
        &self.intercept
    }

    /// Adds the part of the scores `[K]` that one block's features have; these are standardised in their place.
    pub(super) fn add(&self, block: usize, features: &mut [f32], scores: &mut [f64]) {
        let (each, count) = (self.each, self.outputs());
        simd::run(AddScores {
            features,
            mean: &self.mean[block * each..(block + 1) * each],
            factor: &self.factor[block * each..(block + 1) * each],
            clip: self.clip,
            weights: &self.weights[block * count * each..(block + 1) * count * each],
            scores,
        });
    }
}

struct AddScores<'a> {
    features: &'a mut [f32],
    mean: &'a [f32],
    factor: &'a [f32],
    clip: f32,
    weights: &'a [f32],
    scores: &'a mut [f64],
}

/// Sums that are taken side by side.
const SUMS: usize = 4;

impl Kernel<f32> for AddScores<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<T = f32>>(self, v: V) {
        let Self { features, mean, factor, clip, weights, scores } = self;
        let (most, least) = (v.splat(clip), v.splat(-clip));
        for j in (0..features.len()).step_by(V::LANES) {
            let x = v.mul(v.sub(v.load_at(features, j), v.load_at(mean, j)), v.load_at(factor, j));
            v.store_at(features, j, v.min(v.max(x, least), most));
        }
        let step = SUMS * V::LANES;
        for (weights, score) in weights.chunks_exact(features.len()).zip(scores) {
            let mut sums = [v.splat(0.0); SUMS];
            for (w, x) in weights.chunks(step).zip(features.chunks(step)) {
                for (k, sum) in sums.iter_mut().enumerate().take(x.len().div_ceil(V::LANES)) {
                    *sum = v.mul_add(v.load_at(w, k * V::LANES), v.load_at(x, k * V::LANES), *sum);
                }
            }
            let [a, b, c, d] = sums;
            *score += f64::from(v.sum(v.add(v.add(a, b), v.add(c, d))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::numbers;

    #[test]
    fn scores_are_those_of_the_formula() {
        let config = FeaturesConfig { filters: 128, ..FeaturesConfig::default() };
        let (d, each) = (config.features(), config.block_features());
        let (mean, factor): (Vec<f32>, Vec<f32>) = (numbers(d, 1), numbers(d, 2));
        let (weights, x): (Vec<f32>, Vec<f32>) = (numbers(3 * d, 3), numbers(d, 4));
        let intercept = [0.5, -2.0, 1.0];
        let readout = Readout::new(&config, &mean, &factor, 0.4, &weights, &intercept).unwrap();
        let mut found = readout.intercept().to_vec();
        for (block, x) in x.chunks_exact(each).enumerate() {
            readout.add(block, &mut x.to_vec(), &mut found);
        }
        for (k, found) in found.into_iter().enumerate() {
            let term = |j: usize| {
                let x =
                    f64::from((x[j] - mean[j]) * factor[j]).clamp(-f64::from(0.4_f32), f64::from(0.4_f32));
                x * f64::from(weights[3 * j + k])
            };
            let (sum, size): (f64, f64) = ((0..d).map(term).sum(), (0..d).map(term).map(f64::abs).sum());
            assert!((intercept[k] + sum - found).abs() <= 1e-6 * size, "{k}: {found}");
        }
    }
}
