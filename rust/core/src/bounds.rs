//! The numbers that settings may have.
//!
//! Every part of the crate that reads settings declares theirs as constants, refuses other numbers through them, and
//! lists them, so that a program around it can ask for the same bounds before it comes to an update.
//!
//! ```
//! use ssm_hpn::bounds::Edge;
//! use ssm_hpn::session::bounds;
//! let rate = bounds().find(|of| of.key == "optim.lr").expect("a setting");
//! assert_eq!((rate.low, rate.high, rate.is_whole), (Edge::Beyond(0.0), Edge::None, false));
//! ```

#![forbid(unsafe_code)]

use crate::error::{Error, Result};

/// One end of a range.
///
/// ```
/// use ssm_hpn::bounds::Edge;
/// use ssm_hpn::session::bounds;
///
/// // The share that dropout leaves out is 0 or more, and below 1.
/// let dropout = bounds().find(|of| of.key == "model.dropout").expect("a setting");
/// assert_eq!((dropout.low, dropout.high), (Edge::At(0.0), Edge::Beyond(1.0)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    /// The range has no such end; it still ends before infinity.
    None,
    /// This number is the last one in the range.
    At(f64),
    /// This number is the first one outside of the range.
    Beyond(f64),
}

/// The numbers that one setting may have.
///
/// ```
/// use ssm_hpn::bounds::{Bounds, Edge};
/// use ssm_hpn::session::bounds;
///
/// let found: &Bounds = bounds().find(|of| of.key == "model.d_model").expect("a setting");
/// assert!(found.is_whole);
/// assert_eq!((found.low, found.high), (Edge::At(1.0), Edge::At(65536.0)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Dotted name of the setting.
    pub key: &'static str,
    /// Whether only whole numbers are in it.
    pub is_whole: bool,
    /// Lower end.
    pub low: Edge,
    /// Upper end.
    pub high: Edge,
    /// Advice in the error about another number.
    pub advice: &'static str,
}

impl Bounds {
    /// Whole numbers from `low` to `high`, both included.
    pub(crate) const fn whole(key: &'static str, low: u32, high: u32) -> Self {
        let (low, high) = (Edge::At(low as f64), Edge::At(high as f64));
        Self { key, is_whole: true, low, high, advice: "change it in the configuration" }
    }

    /// Finite numbers between two ends.
    pub(crate) const fn number(key: &'static str, low: Edge, high: Edge) -> Self {
        Self { key, is_whole: false, low, high, advice: "change it in the configuration" }
    }

    /// The same bounds with another advice.
    pub(crate) const fn advise(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    /// Refuses a whole number outside, by its dotted name.
    pub(crate) fn check_whole(&self, value: usize) -> Result<()> {
        self.refuse_unless(self.holds(value as f64), value)
    }

    /// As [`Bounds::check_whole`] for a part whose settings are at another place: `d_state` of `model.layers.1`.
    pub(crate) fn check_whole_at(&self, place: &str, value: usize) -> Result<()> {
        if self.holds(value as f64) {
            return Ok(());
        }
        let name = self.key.rsplit('.').next().unwrap_or(self.key);
        Err(Error::config(format!("{place}.{name}"), self.expected(), value, self.advice))
    }

    /// Refuses a number outside, by its dotted name; NaN and infinities always.
    pub(crate) fn check(&self, value: f64) -> Result<()> {
        self.refuse_unless(value.is_finite() && self.holds(value), value)
    }

    fn holds(&self, value: f64) -> bool {
        let above = match self.low {
            Edge::None => true,
            Edge::At(low) => value >= low,
            Edge::Beyond(low) => value > low,
        };
        let below = match self.high {
            Edge::None => true,
            Edge::At(high) => value <= high,
            Edge::Beyond(high) => value < high,
        };
        above && below
    }

    fn refuse_unless(&self, holds: bool, found: impl ToString) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::config(self.key, self.expected(), found, self.advice)) }
    }

    /// The range in words.
    fn expected(&self) -> String {
        let kind = if self.is_whole { "a whole number" } else { "a number" };
        match (self.low, self.high) {
            (Edge::None, Edge::None) => format!("{kind} that is finite"),
            (Edge::At(low), Edge::None) => format!("{kind}, {low} or more"),
            (Edge::Beyond(low), Edge::None) => format!("{kind} above {low}"),
            (Edge::None, Edge::At(high)) => format!("{kind}, {high} or less"),
            (Edge::None, Edge::Beyond(high)) => format!("{kind} below {high}"),
            (Edge::At(low), Edge::At(high)) => format!("{kind} from {low} to {high}"),
            (Edge::At(low), Edge::Beyond(high)) => format!("{kind} from {low}, below {high}"),
            (Edge::Beyond(low), Edge::At(high)) => format!("{kind} above {low}, at most {high}"),
            (Edge::Beyond(low), Edge::Beyond(high)) => format!("{kind} between {low} and {high}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_edge_keeps_or_leaves_out_its_own_number() {
        let bounds = |low, high| Bounds::number("a.b", low, high);
        for (range, inside, outside) in [
            (bounds(Edge::At(0.0), Edge::Beyond(1.0)), [0.0, 0.5], [1.0, -1e-9]),
            (bounds(Edge::Beyond(0.0), Edge::At(1.0)), [1.0, 1e-9], [0.0, 1.1]),
            (bounds(Edge::None, Edge::None), [-1e300, 1e300], [f64::NAN, f64::INFINITY]),
            (Bounds::whole("a.b", 2, 4), [2.0, 4.0], [1.0, 5.0]),
        ] {
            for value in inside {
                range.check(value).unwrap();
            }
            for value in outside {
                let refused = range.check(value).unwrap_err().to_string();
                assert!(refused.contains("a.b: expected a ") && refused.contains("found"), "{refused}");
            }
        }
    }

    #[test]
    fn the_largest_whole_number_of_the_machine_is_written_out() {
        let refused = Bounds::whole("a.b", 1, 9).check_whole(usize::MAX).unwrap_err().to_string();
        assert!(refused.contains(&usize::MAX.to_string()), "{refused}");
    }
}
