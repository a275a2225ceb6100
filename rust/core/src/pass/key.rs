//! Keys of random numbers: which numbers a pass draws follows from where it is in the training, and from nothing else.
//!
//! A key holds a counter for everything that tells one draw from another. So the backward pass draws again what the
//! forward pass drew, also where a layer is computed a second time, and any division of a batch among threads, or of
//! micro-batches among machines that number them alike, gives the same numbers.

/// Seed, update, micro-batch, layer, use and first token.
///
/// ```
/// use ssm_hpn::pass::Key;
///
/// // Two parts of a block draw different numbers, and the same ones whenever they are computed again.
/// let block = Key::default();
/// assert_ne!(block.part(0).bytes(), block.part(1).bytes());
/// assert_eq!(block.part(0).bytes(), block.part(0).bytes());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Seed of the session.
    pub(crate) seed: u64,
    /// Updates before this one, skipped ones included.
    pub(crate) update: u64,
    /// Number of the micro-batch within its update.
    pub(crate) micro_batch: u64,
    /// Layer, counted from 0; [`Key::HEAD`] for the head, [`Key::STEM`] for the stem.
    pub(crate) layer: u32,
    /// Index of the draw, where a layer draws more than once.
    pub(crate) usage: u32,
    /// First token of the pass in the batch: a pass over a slice of the rows draws what belongs to it.
    pub(crate) first_token: usize,
}

impl Key {
    /// The layer of the head.
    pub const HEAD: u32 = u32::MAX;
    /// The layer of the stem.
    pub const STEM: u32 = u32::MAX - 1;
    /// Most parts of one part.
    pub const MOST_PARTS: u32 = 15;

    /// The key of a batch.
    #[doc(hidden)]
    pub fn new(seed: u64, update: u64, micro_batch: u64) -> Self {
        Self { seed, update, micro_batch, ..Self::default() }
    }

    /// The key of a layer.
    #[must_use]
    pub(crate) fn layer(self, layer: u32) -> Self {
        Self { layer, ..self }
    }

    /// The key of the `index`-th part, counted from 0, of a part: distinct along any path of parts.
    ///
    /// # Panics
    /// From [`Key::MOST_PARTS`] on, and more than 8 parts deep, where keys could not be told apart.
    #[must_use]
    pub fn part(self, index: u32) -> Self {
        assert!(index < Self::MOST_PARTS, "a part of a block is one of {}", Self::MOST_PARTS);
        assert!(self.usage < 1 << 28, "parts are at most 8 deep");
        Self { usage: self.usage * 16 + index + 1, ..self }
    }

    /// The key of a slice that begins `tokens` later.
    #[must_use]
    pub(crate) fn later(self, tokens: usize) -> Self {
        Self { first_token: self.first_token + tokens, ..self }
    }

    /// All fields but the first token, as the key of a stream cipher.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let place = u64::from(self.layer) << 32 | u64::from(self.usage);
        for (to, from) in bytes.chunks_exact_mut(8).zip([self.seed, self.update, self.micro_batch, place]) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_in_anything_but_the_token_differ_in_their_bytes() {
        let key = Key::new(1, 2, 3).layer(4);
        let others = [
            Key::new(0, 2, 3).layer(4),
            Key::new(1, 0, 3).layer(4),
            Key::new(1, 2, 0).layer(4),
            key.layer(Key::HEAD),
            key.part(0),
            key.part(1),
            key.part(14),
            key.part(0).part(0),
            key.part(0).part(1),
            key.part(0).part(14),
            key.part(14).part(0),
            (0..8).fold(key, |key, _| key.part(14)),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(key.bytes(), other.bytes());
            assert!(others[..i].iter().all(|before| before.bytes() != other.bytes()));
        }
        assert_eq!(key.part(2).part(1).usage, 3 * 16 + 2);
        assert_eq!((key.bytes(), key.later(7).first_token), (key.later(7).bytes(), 7));
    }

    #[test]
    #[should_panic(expected = "one of 15")]
    fn a_part_that_would_draw_what_another_draws_is_refused() {
        let _ = Key::default().part(15);
    }

    #[test]
    #[should_panic(expected = "at most 8 deep")]
    fn a_part_too_deep_to_be_told_apart_is_refused() {
        let _ = (0..9).fold(Key::default(), |key, _| key.part(0));
    }
}
