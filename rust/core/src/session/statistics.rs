//! What the head keeps over the updates besides its parameters, in the session and in checkpoints.

#![forbid(unsafe_code)]

use crate::allocate::try_filled;
use crate::error::Result;
use crate::pass::Running;

/// Numbers that the head keeps, and those that the passes since the last update have gathered for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statistics {
    kept: Vec<f64>,
    gathered: Vec<f64>,
}

impl Statistics {
    /// `len` zeros of both; refused where the memory is not there.
    pub(super) fn zeros(len: usize) -> Result<Self> {
        let zeros = || try_filled(0.0, &[len], "the statistics of the head");
        Ok(Self { kept: zeros()?, gathered: zeros()? })
    }

    /// Those of a checkpoint; `None` unless there are `len` of them, none other than finite.
    pub(super) fn from_text(text: &str, len: usize) -> Option<Self> {
        let bytes = hex::decode(text).ok()?;
        let (numbers, rest) = bytes.as_chunks();
        let kept: Vec<f64> = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let fits = kept.len() == len && rest.is_empty() && kept.iter().all(|x| x.is_finite());
        fits.then(|| Self { gathered: vec![0.0; len], kept })
    }

    /// What is kept, for a checkpoint: the bytes of the numbers, little-endian, in hexadecimal.
    pub(super) fn to_text(&self) -> String {
        hex::encode(self.kept.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
    }

    /// For a pass in training; `None` where the head keeps nothing.
    pub(super) fn running(&mut self) -> Option<Running<'_>> {
        let Self { kept, gathered } = self;
        (!kept.is_empty()).then_some(Running { kept, gathered })
    }

    /// What was gathered; nothing is, after it.
    pub(super) fn take_gathered(&mut self) -> Vec<f64> {
        let zeros = vec![0.0; self.gathered.len()];
        std::mem::replace(&mut self.gathered, zeros)
    }

    /// Adds what was gathered before, as a branch of a tree.
    pub(super) fn join_behind(&mut self, before: &[f64]) {
        self.gathered.iter_mut().zip(before).for_each(|(x, before)| *x += before);
    }

    /// What was gathered, to be joined with that of other ranks.
    pub(super) fn gathered_mut(&mut self) -> &mut [f64] {
        &mut self.gathered
    }

    /// Drops what was gathered.
    pub(super) fn discard(&mut self) {
        self.gathered.fill(0.0);
    }

    /// Lets `take_in(kept, gathered)` use what was gathered, then drops it, and what is beyond `len` for ever.
    pub(super) fn take_in(&mut self, len: usize, take_in: impl FnOnce(&mut [f64], &[f64])) {
        if self.kept.is_empty() {
            return;
        }
        take_in(&mut self.kept, &self.gathered);
        self.kept.truncate(len);
        self.gathered.truncate(len);
        self.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_checkpoint_keeps_every_bit_and_a_damaged_one_is_refused() {
        let kept = vec![0.1, -0.0, f64::MIN_POSITIVE, 1.0 / 3.0];
        let statistics = Statistics { gathered: vec![0.0; 4], kept };
        let text = statistics.to_text();
        let again = Statistics::from_text(&text, 4).expect("its own text");
        assert_eq!(
            again.kept.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            statistics.kept.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
        assert_eq!(again, statistics);
        assert_eq!(Statistics::from_text("", 0), Some(Statistics::default()));
        let infinite = Statistics { kept: vec![f64::INFINITY], gathered: vec![0.0] }.to_text();
        for (damaged, len) in
            [(&text[..], 3), (&text[..60], 4), (&text[..62], 4), ("no", 0), (&infinite[..], 1)]
        {
            assert_eq!(Statistics::from_text(damaged, len), None, "{damaged}");
        }
    }
}
