//! Prototypes that were optimised in this process, by all that they depend on, so that a search over models of the same
//! classes finds them once.
//!
//! Nothing is kept on disk: the longest search that is chosen by itself takes ten seconds, and a checkpoint has its
//! prototypes.

use std::collections::VecDeque;
use std::sync::Mutex;

/// Most numbers that are kept: 64 MB.
const MOST: usize = 8 << 20;

static KEPT: Mutex<Kept> = Mutex::new(Kept { most: MOST, all: VecDeque::new() });

/// The numbers of this name, made once. `name` contains everything that they depend on.
///
/// Nothing waits: while another thread looks, or where a fork left the lock behind, they are made again.
pub(super) fn kept(name: &str, make: impl FnOnce() -> Vec<f64>) -> Vec<f64> {
    if let Some(numbers) = KEPT.try_lock().ok().and_then(|mut kept| kept.find(name)) {
        return numbers;
    }
    let made = make();
    if let Ok(mut kept) = KEPT.try_lock() {
        kept.add(name, &made);
    }
    made
}

/// Numbers by name, the least recently used ones first.
#[derive(Debug)]
struct Kept {
    most: usize,
    all: VecDeque<(String, Vec<f64>)>,
}

impl Kept {
    fn find(&mut self, name: &str) -> Option<Vec<f64>> {
        let place = self.all.iter().position(|(known, _)| known == name)?;
        let found = self.all.remove(place)?;
        self.all.push_back(found.clone());
        Some(found.1)
    }

    fn add(&mut self, name: &str, numbers: &[f64]) {
        if numbers.len() > self.most {
            return;
        }
        self.all.retain(|(known, _)| known != name);
        self.all.push_back((name.to_owned(), numbers.to_vec()));
        while self.all.iter().map(|(_, numbers)| numbers.len()).sum::<usize>() > self.most {
            self.all.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_numbers_are_forgotten() {
        let mut kept = Kept { most: 5, all: VecDeque::new() };
        assert_eq!(kept.find("a"), None);
        kept.add("a", &[1.0, 2.0]);
        kept.add("b", &[3.0, 4.0]);
        kept.add("b", &[3.0, 4.0]);
        assert_eq!(kept.find("a"), Some(vec![1.0, 2.0]));
        kept.add("c", &[5.0, 6.0]);
        assert_eq!((kept.find("b"), kept.find("c")), (None, Some(vec![5.0, 6.0])));
        kept.add("too many", &[0.0; 6]);
        assert_eq!((kept.find("too many"), kept.all.len()), (None, 2));
    }

    #[test]
    fn numbers_are_made_once() {
        let mut made = 0;
        // Another test may hold the lock for a moment.
        for _ in 0..1000 {
            let found = kept("a test's", || {
                made += 1;
                vec![7.0]
            });
            assert_eq!(found, [7.0]);
        }
        assert!((1..500).contains(&made), "{made} times");
    }
}
