//! Series of any length, one after the other.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};

/// N series of C channels, each of a length of its own. NaN is a missing number.
///
/// ```
/// use ssm_hpn::features::SeriesSet;
///
/// // A series of two steps and one of a single step, of two channels.
/// let set = SeriesSet::new(&[1.0, 10.0, 2.0, f64::NAN, 5.0, 50.0], 2, &[0, 2, 3])?;
/// assert_eq!((set.len(), set.channels(), set.get(1)), (2, 2, &[5.0, 50.0][..]));
/// assert!(!set.is_empty());
/// assert!(SeriesSet::new(&[1.0, f64::INFINITY], 1, &[0, 2]).is_err());
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SeriesSet<'a> {
    values: &'a [f64],
    channels: usize,
    starts: &'a [usize],
}

impl<'a> SeriesSet<'a> {
    /// `values` `[steps of all series, channels]`; series i is `starts[i]..starts[i + 1]` of the steps.
    pub fn new(values: &'a [f64], channels: usize, starts: &'a [usize]) -> Result<Self> {
        let steps = values.len().checked_div(channels).unwrap_or(0);
        let ends = (starts.first().copied(), starts.last().copied());
        if channels == 0 || steps * channels != values.len() {
            return Err(Error::shape(
                "values",
                "[steps, channels]",
                format!("{} numbers of {channels} channels", values.len()),
            ));
        }
        if ends != (Some(0), Some(steps)) || starts.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(Error::shape(
                "starts",
                format!("0, then larger ones, up to {steps}"),
                format!("{ends:?}"),
            ));
        }
        if let Some(at) = values.iter().position(|value| value.is_infinite()) {
            let series = starts.partition_point(|start| start * channels <= at) - 1;
            let place = format!(
                "series {series}, step {}, channel {}",
                at / channels - starts[series],
                at % channels
            );
            return Err(Error::shape(place, "a finite number, or NaN for a missing one", values[at]));
        }
        Ok(Self { values, channels, starts })
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of a step.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// One series `[steps, channels]`.
    ///
    /// # Panics
    /// If there is none of this number.
    pub fn get(&self, series: usize) -> &'a [f64] {
        &self.values[self.starts[series] * self.channels..self.starts[series + 1] * self.channels]
    }
}
