//! One batch: inputs, the documents in it, and targets.
//!
//! A batch may come from a caller, so [`Batch::check`] checks every number before a kernel uses it as an index.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::target::arrays::Element;
use crate::target::{Target, Widths};

/// Input of the model.
///
/// ```
/// use ssm_hpn::data::{Batch, Input};
/// use ssm_hpn::target::Target;
///
/// // Two rows of three tokens: an id for each, or two features.
/// let ids = Batch::whole(2, 3, Input::Tokens(vec![1, 2, 3, 4, 5, 6]), Target::none());
/// let Input::Tokens(tokens) = &ids.input else { panic!("tokens") };
/// assert_eq!(tokens.len(), ids.rows * ids.length);
/// let series = Batch::whole(2, 3, Input::Features(vec![0.5; 2 * 3 * 2]), Target::none());
/// let Input::Features(features) = &series.input else { panic!("features") };
/// assert_eq!(features.len(), series.rows * series.length * 2);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Token ids `[rows, length]`.
    Tokens(Vec<u32>),
    /// Features `[rows, length, F]`.
    Features(Vec<f32>),
}

/// One document: tokens `start..end` of a row. Positions in no document are padding, always at a row's end.
///
/// ```
/// use ssm_hpn::data::Segment;
///
/// // Documents of two and three tokens in the first row, and one of four in the second.
/// let segments = [(0, 0, 2), (0, 2, 5), (1, 0, 4)].map(|(row, start, end)| Segment { row, start, end });
/// assert_eq!(segments.iter().map(|s| s.end - s.start).collect::<Vec<_>>(), [2, 3, 4]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Row of the batch.
    pub row: u32,
    /// First token.
    pub start: u32,
    /// One past the last token.
    pub end: u32,
}

/// Inputs and targets of one pass.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input, Segment};
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// // One document per row.
/// let target = Target::token_class(vec![2, 3, -1, 5, 6, -1]);
/// let batch = Batch::whole(2, 3, Input::Tokens(vec![1, 2, 3, 4, 5, 6]), target);
/// assert_eq!(session.evaluate(&batch)?.sums.count, 4);
///
/// // The same with two documents in the first row, and a last position without a class.
/// let segments = [(0, 0, 2), (0, 2, 3), (1, 0, 3)].map(|(row, start, end)| Segment { row, start, end });
/// let mask = Some(vec![1, 1, 1, 1, 0, 1]);
/// let batch = Batch { segments: segments.to_vec(), mask, ..batch };
/// assert_eq!(session.evaluate(&batch)?.sums.count, 3);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Rows (B).
    pub rows: usize,
    /// Tokens of a row (T).
    pub length: usize,
    /// Input of the model.
    pub input: Input,
    /// Documents, in order of row and start; they do not overlap, and those of a row leave no gap between them.
    pub segments: Vec<Segment>,
    /// 1 or 0 per position `[rows · length]`; without a mask all are 1. The model reads a position of 0 like any other,
    /// but it takes no part in pooling, and its class per token counts as -1. A document without a single 1 has no
    /// target, and zeros as its feature.
    pub mask: Option<Vec<u8>>,
    /// Targets of the head.
    pub target: Target,
    /// How much the loss of each document counts in training `[segments]`; without weights each counts as 1. The mean
    /// loss is divided by the sum of the weights of all targets. A document of weight 0 has no target, as if it were -1
    /// or NaN.
    pub weights: Option<Vec<f32>>,
    /// Whether the first document of each row goes on from where the row of the batch before ended `[rows]`. Only a pass
    /// with states reads it; there `None` is true for every row.
    pub continued: Option<Vec<bool>>,
}

impl Batch {
    /// One document per row, all of full length, no mask, no weights. Rows without tokens have no documents.
    pub fn whole(rows: usize, length: usize, input: Input, target: Target) -> Self {
        let positions = match &input {
            Input::Tokens(ids) => ids.len(),
            Input::Features(x) => x.len(),
        };
        // Rows without numbers are no documents: they take no memory, so there may be any number of them.
        let documents = if length == 0 || positions < rows { 0 } else { rows as u32 };
        let segments = (0..documents).map(|row| Segment { row, start: 0, end: length as u32 }).collect();
        Self { rows, length, input, segments, mask: None, target, weights: None, continued: None }
    }
    /// Refuses everything that does not fit the model: counts, ids, classes, numbers that are not finite, documents out
    /// of order, targets of documents that are masked altogether. Reads each value once.
    #[doc(hidden)]
    pub fn check(&self, limits: &Limits) -> Result<()> {
        let positions = self.rows.checked_mul(self.length).filter(|&n| n > 0 && n <= MAX_POSITIONS);
        let Some(positions) = positions else {
            return Err(Error::shape(
                "batch",
                format!("1 to {MAX_POSITIONS} positions"),
                format!("{} rows of {} tokens", self.rows, self.length),
            ));
        };
        self.check_input(positions, limits.input)?;
        self.check_segments()?;
        self.target.check(positions, self.segments.len(), &limits.widths)?;
        self.mask.as_ref().map_or(Ok(()), |mask| self.check_mask(positions, mask))?;
        self.weights.as_ref().map_or(Ok(()), |weights| self.check_weights(weights))?;
        self.continued.as_ref().map_or(Ok(()), |rows| same_count("continued", self.rows, rows.len()))
    }

    fn check_input(&self, positions: usize, limit: InputLimit) -> Result<()> {
        match (&self.input, limit) {
            (Input::Tokens(ids), InputLimit::Tokens { vocab_size }) => {
                same_count("tokens", positions, ids.len())?;
                match ids.iter().position(|&id| id as usize >= vocab_size) {
                    None => Ok(()),
                    Some(i) => Err(Error::shape(
                        self.place("tokens", i),
                        format!("an id below {vocab_size}"),
                        ids[i],
                    )),
                }
            }
            (Input::Features(x), InputLimit::Features { n_features }) => {
                same_count("features", positions.saturating_mul(n_features), x.len())?;
                match x.iter().position(|v| !v.is_finite()) {
                    None => Ok(()),
                    Some(i) => Err(Error::shape(
                        format!("{}, feature {}", self.place("features", i / n_features), i % n_features),
                        "a finite number",
                        x[i],
                    )),
                }
            }
            (Input::Tokens(_), InputLimit::Features { .. }) => {
                Err(Error::shape("input", "features", "tokens"))
            }
            (Input::Features(_), InputLimit::Tokens { .. }) => {
                Err(Error::shape("input", "tokens", "features"))
            }
        }
    }

    /// Documents in order of row and start; the first of a row starts at 0, each next one where the last ended.
    fn check_segments(&self) -> Result<()> {
        let (mut row, mut end) = (0, 0);
        for (i, s) in self.segments.iter().enumerate() {
            if s.row != row {
                end = 0;
            }
            let ordered = s.row >= row && (s.row as usize) < self.rows;
            if !ordered || s.start != end || s.start >= s.end || s.end as usize > self.length {
                return Err(Error::shape(
                    format!("segment {i}"),
                    format!(
                        "a document in rows {row} to {} that follows the one before it without a gap and ends by {}",
                        self.rows - 1,
                        self.length
                    ),
                    format!("row {}, tokens {} to {}", s.row, s.start, s.end),
                ));
            }
            (row, end) = (s.row, s.end);
        }
        Ok(())
    }

    /// Zeros and ones, for targets that a mask means something to. The targets were checked before.
    fn check_weights(&self, weights: &[f32]) -> Result<()> {
        if self.target.numbers(Element::Gradient).is_some() {
            let expected = "none beside a cotangent, which is scaled where it should be";
            return Err(Error::shape("weights", expected, "some"));
        }
        same_count("weights", self.segments.len(), weights.len())?;
        let (low, high) = (LEAST_WEIGHT, 1.0 / LEAST_WEIGHT);
        let bad = weights.iter().position(|&weight| weight != 0.0 && !(low..=high).contains(&weight));
        bad.map_or(Ok(()), |i| {
            let expected = format!("0, or a number from {low:e} to {high:e}");
            Err(Error::shape(format!("weights {i}"), expected, weights[i]))
        })
    }

    fn check_mask(&self, positions: usize, mask: &[u8]) -> Result<()> {
        if self.target.numbers(Element::Gradient).is_some() {
            return Err(Error::shape(
                "mask",
                "none beside a cotangent, which is 0 where it should be",
                "one",
            ));
        }
        same_count("mask", positions, mask.len())?;
        if let Some(i) = mask.iter().position(|&m| m > 1) {
            return Err(Error::shape(self.place("mask", i), "0 or 1", mask[i]));
        }
        for (i, s) in self.segments.iter().enumerate() {
            let row = s.row as usize * self.length;
            let part = &mask[row + s.start as usize..row + s.end as usize];
            if part.iter().all(|&m| m == 0) && self.target.has_document(i, self.segments.len()) {
                return Err(Error::shape(
                    format!("mask of segment {i} (row {}, tokens {} to {})", s.row, s.start, s.end),
                    "a position that is not masked, or no target (-1 or NaN)",
                    "a target, and every position masked",
                ));
            }
        }
        Ok(())
    }

    fn place(&self, name: &str, position: usize) -> String {
        format!("{name}: row {}, token {}", position / self.length, position % self.length)
    }
}

/// Least weight of a document that has a target, and the reciprocal of the largest: the mean of losses that are this
/// small or large is still exact to the last few bits of an f32.
const LEAST_WEIGHT: f32 = 1e-12;

/// Most positions of one batch: what an `i32` counts.
const MAX_POSITIONS: usize = i32::MAX as usize;

/// Inputs and targets that a model accepts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Input that the model accepts.
    pub input: InputLimit,
    /// Numbers that the model accepts in targets.
    pub widths: Widths,
}

/// Input that a model accepts.
///
/// ```
/// # use ssm_hpn::Threads;
/// # use ssm_hpn::data::{Batch, Input, InputLimit};
/// # use ssm_hpn::model::ModelConfig;
/// # use ssm_hpn::optim::OptimConfig;
/// # use ssm_hpn::session::Session;
/// # use ssm_hpn::target::Target;
/// # let model = ModelConfig::from_json(
/// #     r#"{"input": {"kind": "tokens", "vocab_size": 7}, "d_model": 8, "n_layers": 2, "block": {"kind": "mamba1"},
/// #         "target": {"kind": "next_token"}, "head": {"kind": "linear", "n_outputs": 7}}"#,
/// # )?;
/// # let session = Session::<f32>::new(model, OptimConfig::default(), 0, Threads::new(Some(1))?)?;
/// // A model of 7 tokens refuses an id beyond them.
/// let limit = InputLimit::Tokens { vocab_size: 7 };
/// let batch = Batch::whole(1, 2, Input::Tokens(vec![6, 7]), Target::none());
/// let refused = session.predict(&batch).unwrap_err().to_string();
/// let InputLimit::Tokens { vocab_size } = limit else { panic!("tokens") };
/// assert_eq!(refused, format!("tokens: row 0, token 1: expected an id below {vocab_size}, found 7"));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLimit {
    /// Token ids below `vocab_size`.
    Tokens {
        /// Number of ids.
        vocab_size: usize,
    },
    /// Finite features, `n_features` per position.
    Features {
        /// Features per position (F).
        n_features: usize,
    },
}

fn same_count(what: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::shape(format!("{what} count"), expected, found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            input: InputLimit::Tokens { vocab_size: 10 },
            widths: Widths { n_classes: Some(10), ..Widths::default() },
        }
    }

    fn batch() -> Batch {
        Batch::whole(2, 3, Input::Tokens(vec![9; 6]), Target::token_class(vec![-1; 6]))
    }

    fn complaint(change: impl FnOnce(&mut Batch)) -> String {
        let mut batch = batch();
        change(&mut batch);
        batch.check(&limits()).expect_err("accepted").to_string()
    }

    #[test]
    fn rows_without_numbers_take_no_memory_before_they_are_refused() {
        let batch = Batch::whole(u32::MAX as usize, 1, Input::Features(Vec::new()), Target::none());
        assert!(batch.segments.is_empty() && batch.check(&limits()).is_err());
    }

    #[test]
    fn a_good_batch_passes() {
        batch().check(&limits()).unwrap();
        let mut padded = batch();
        padded.segments = vec![
            Segment { row: 1, start: 0, end: 1 },
            Segment { row: 1, start: 1, end: 2 }, // row 0 is all padding, row 1 ends with one padding position
        ];
        padded.check(&limits()).unwrap();
    }

    #[test]
    fn every_error_names_the_place_and_the_value() {
        let set_token = |b: &mut Batch| b.input = Input::Tokens(vec![0, 0, 0, 0, 10, 0]);
        assert_eq!(complaint(set_token), "tokens: row 1, token 1: expected an id below 10, found 10");
        assert_eq!(complaint(|b| b.input = Input::Tokens(vec![0])), "tokens count: expected 6, found 1");
        assert!(complaint(|b| b.input = Input::Features(vec![0.0; 6])).contains("expected tokens"));
        assert!(complaint(|b| b.target = Target::token_class(vec![10; 6])).contains("token class 0"));
        assert!(complaint(|b| b.target = Target::token_class(vec![-2; 6])).contains("found -2"));
        assert!(complaint(|b| b.target = Target::sequence_class(vec![0; 3])).contains("expected 2, found 3"));
        assert!(complaint(|b| b.target = Target::sequence_values(vec![0.0; 2])).contains("head takes"));
        assert!(complaint(|b| b.rows = usize::MAX).contains("positions"));
        assert!(complaint(|b| b.length = 0).contains("positions"));
    }

    #[test]
    fn features_must_be_finite() {
        let widths = Widths { n_values: Some(1), ..Widths::default() };
        let limits = Limits { input: InputLimit::Features { n_features: 2 }, widths };
        let mut batch = Batch::whole(
            1,
            2,
            Input::Features(vec![0.0; 4]),
            Target::sequence_values(vec![f32::INFINITY; 1]),
        );
        let text = batch.check(&limits).unwrap_err().to_string();
        assert_eq!(text, "sequence values 0: expected a finite number, or NaN for none, found inf");
        batch.target = Target::sequence_values(vec![f32::NAN; 1]);
        batch.check(&limits).unwrap();
        batch.target = Target::none();
        batch.check(&limits).unwrap();
        batch.input = Input::Features(vec![0.0, 1.0, 2.0, f32::INFINITY]);
        let text = batch.check(&limits).unwrap_err().to_string();
        assert_eq!(text, "features: row 0, token 1, feature 1: expected a finite number, found inf");
    }

    #[test]
    fn a_mask_fits_its_batch_and_leaves_a_position_to_every_document_with_a_target() {
        assert_eq!(complaint(|b| b.mask = Some(vec![1; 5])), "mask count: expected 6, found 5");
        let complained = complaint(|b| b.mask = Some(vec![1, 1, 1, 0, 7, 0]));
        assert_eq!(complained, "mask: row 1, token 1: expected 0 or 1, found 7");
        let mut masked = Batch { mask: Some(vec![1, 1, 1, 0, 0, 0]), ..batch() };
        masked.check(&limits()).unwrap();
        masked.target = Target::sequence_class(vec![3, -1]);
        masked.check(&limits()).unwrap();
        masked.target = Target::sequence_class(vec![3, 0]);
        let text = masked.check(&limits()).unwrap_err().to_string();
        assert!(text.starts_with("mask of segment 1 (row 1, tokens 0 to 3): expected a position"), "{text}");
        let widths = Widths { n_values: Some(2), d_model: Some(1), ..limits().widths };
        let limits = Limits { widths, ..limits() };
        masked.target = Target::sequence_values(vec![0.0, 0.0, f32::NAN, f32::NAN]);
        masked.check(&limits).unwrap();
        masked.target = Target::sequence_values(vec![0.0, 0.0, f32::NAN, 0.0]);
        assert!(masked.check(&limits).unwrap_err().to_string().contains("mask of segment 1"));
        masked.target = Target::cotangent(vec![0.0; 6]);
        assert!(masked.check(&limits).unwrap_err().to_string().contains("none beside a cotangent"));
    }

    #[test]
    fn weights_are_one_per_document_and_neither_negative_nor_extreme() {
        let weighted = |weights: &[f32]| complaint(|b| b.weights = Some(weights.to_vec()));
        let good = Batch { weights: Some(vec![0.0, 3.5]), ..batch() };
        good.check(&limits()).unwrap();
        assert_eq!(weighted(&[1.0; 3]), "weights count: expected 2, found 3");
        let range = "expected 0, or a number from 1e-12 to 1e12";
        for (bad, found) in
            [(-1.0, "-1"), (f32::NAN, "NaN"), (f32::INFINITY, "inf"), (1e-20, "0.00000000000000000001")]
        {
            assert_eq!(weighted(&[1.0, bad]), format!("weights 1: {range}, found {found}"));
        }
        let widths = Widths { d_model: Some(1), ..limits().widths };
        let cotangent = Batch { target: Target::cotangent(vec![0.0; 6]), ..good };
        let text = cotangent.check(&Limits { widths, ..limits() }).unwrap_err().to_string();
        assert!(text.starts_with("weights: expected none beside a cotangent"), "{text}");
    }

    #[test]
    fn documents_out_of_order_are_refused() {
        let segment = |row, start, end| Segment { row, start, end };
        for bad in [
            vec![segment(1, 0, 3), segment(0, 0, 3)],
            vec![segment(0, 1, 3)],
            vec![segment(0, 0, 1), segment(0, 2, 3)],
            vec![segment(0, 0, 2), segment(0, 1, 3)],
            vec![segment(0, 0, 0)],
            vec![segment(0, 0, 4)],
            vec![segment(2, 0, 3)],
        ] {
            assert!(complaint(|b| b.segments = bad).contains("segment"));
        }
    }
}
