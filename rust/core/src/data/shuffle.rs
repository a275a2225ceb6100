//! Order of an epoch: a permutation of 0..n computed on demand, without storing it.
//!
//! A Feistel network over pairs of w-bit halves, L, R ← R, L ⊕ F(R, key_i), is a bijection of [0, 4^w) whatever F is;
//! with 4^w ≥ n, walking along the cycle until the value falls below n makes it a bijection of [0, n) (Black and
//! Rogaway, "Ciphers with arbitrary finite domains", 2002). The walk takes 4^w / n < 4 steps on average (above n = 256).
//!
//! Keys are hashed from (seed, purpose, epoch, ...); no two of them share an order as `seed + epoch` would make them.
//!
//! What is permuted, and what that costs: reading single documents at random all over a set would cost a read each.
//! So the *groups* (record batches, tens of thousands of tokens) are permuted over the whole set, and documents and
//! rows are permuted within a *window* of some successive groups of that order (`super::window`). Each group is read once
//! per epoch, in one piece. The bias: two documents of one group always come within one window of each other. It shows
//! only where neighbours in the source are alike beyond the document and a window is a small part of the set.

#![forbid(unsafe_code)]

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const ROUNDS: usize = 6;
/// Below 4^4 values the halves would be too small to mix; the walk is longer there, the whole permutation still short.
const LEAST_BITS: u32 = 4;

/// A bijection of 0..n: a Feistel network whose values from n on are permuted again until one is below.
#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    /// Number of indices.
    n: u64,
    /// Bits of each half of an index.
    bits: u32,
    /// Key of each round.
    keys: [u64; ROUNDS],
}

/// What is permuted; each has its own order under the same seed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Groups of the whole set.
    Groups = 1,
    /// Documents of a window.
    Documents = 2,
    /// Rows of a window.
    Rows = 3,
}

impl Permutation {
    /// The order of `n` things in `epoch`; `part` tells windows apart.
    pub(crate) fn new(n: u64, seed: u64, purpose: Purpose, epoch: u64, part: u64) -> Self {
        // 4^bits ≥ n; a half has at most 32 bits.
        let bits = (64 - n.saturating_sub(1).leading_zeros()).div_ceil(2).max(LEAST_BITS);
        let keys = std::array::from_fn(|round| {
            let mut hash = Xxh3::with_seed(seed);
            for word in [purpose as u64, epoch, part, round as u64] {
                hash.update(&word.to_le_bytes());
            }
            hash.digest()
        });
        Self { n, bits, keys }
    }

    /// Number of indices, n.
    pub(crate) fn len(&self) -> u64 {
        self.n
    }

    /// The index at `position`, which must be below n.
    pub(crate) fn at(&self, position: u64) -> u64 {
        assert!(position < self.n, "position {position} of {}", self.n);
        let mut x = position;
        loop {
            x = self.encrypt(x);
            if x < self.n {
                return x;
            }
        }
    }

    fn encrypt(&self, x: u64) -> u64 {
        let mask = (1_u64 << self.bits) - 1;
        let (mut left, mut right) = (x >> self.bits, x & mask);
        for key in self.keys {
            let mixed = xxh3_64(&(right ^ key).to_le_bytes()) & mask;
            (left, right) = (right, left ^ mixed);
        }
        (left << self.bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: u64, seed: u64, epoch: u64) -> Vec<u64> {
        let permutation = Permutation::new(n, seed, Purpose::Groups, epoch, 0);
        (0..n).map(|i| permutation.at(i)).collect()
    }

    #[test]
    fn every_order_is_a_permutation() {
        for n in [1, 2, 3, 7, 255, 256, 257, 1000, 4095, 4096, 4097] {
            for seed in 0..4 {
                for epoch in 0..4 {
                    let mut ids = order(n, seed, epoch);
                    ids.sort_unstable();
                    assert!(ids.into_iter().eq(0..n), "n {n}, seed {seed}, epoch {epoch}");
                }
            }
        }
    }

    #[test]
    fn seeds_epochs_purposes_and_windows_differ() {
        let base = order(100, 1, 1);
        assert_ne!(base, order(100, 2, 1));
        assert_ne!(base, order(100, 1, 2));
        // Pairs with equal sums of seed and epoch.
        assert_ne!(order(100, 1, 0), order(100, 0, 1));
        let with = |purpose, part| {
            let p = Permutation::new(100, 1, purpose, 1, part);
            (0..100).map(|i| p.at(i)).collect::<Vec<_>>()
        };
        assert_eq!(base, with(Purpose::Groups, 0));
        assert_ne!(base, with(Purpose::Rows, 0));
        assert_ne!(with(Purpose::Rows, 0), with(Purpose::Rows, 1));
    }

    /// χ² of (element at each position) over many seeds: with n cells of equal expectation, its mean is n - 1 and its
    /// deviation √(2(n-1)); 6 deviations leave about one false alarm in 10^8.
    #[test]
    fn each_element_is_equally_frequent_at_each_position() {
        for n in [2_u64, 3, 10, 24] {
            let trials = 200 * n;
            let mut counts = vec![vec![0_u64; n as usize]; n as usize];
            for seed in 0..trials {
                for (position, id) in order(n, seed, 3).into_iter().enumerate() {
                    counts[position][id as usize] += 1;
                }
            }
            let expected = trials as f64 / n as f64;
            for (position, row) in counts.iter().enumerate() {
                let chi2: f64 = row.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
                let freedom = (n - 1) as f64;
                let bound = freedom + 6.0 * (2.0 * freedom).sqrt() + 6.0;
                assert!(chi2 < bound, "n {n}, position {position}: χ² {chi2} ≥ {bound}");
            }
        }
    }

    #[test]
    fn large_domains_do_not_overflow() {
        for n in [u64::MAX, 1 << 63, (1 << 32) + 1] {
            let p = Permutation::new(n, 7, Purpose::Groups, 0, 0);
            for i in [0, 1, n / 2, n - 1] {
                assert!(p.at(i) < n);
            }
        }
    }
}
