//! Predictions made so far, within a bound on memory: the oldest are forgotten.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::categories::Category;

/// Number of locks, so that requests on different cores rarely meet at one.
const SHARDS: u64 = 8;

/// Most bytes that all shards hold: some 400,000 predictions of a short sentence, which is 20 s
/// at 20,000 a second.
const CAPACITY: usize = 64 << 20;

/// Bytes of a prediction beside its text: its place in the queue, and what the allocator adds.
const OVERHEAD: usize = 64;

/// A text and the category that was found for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prediction {
    /// Text of the request.
    pub(super) text: Arc<str>,
    /// Category of the text.
    pub(super) category: Category,
}

/// Store of predictions, looked up by id.
pub(super) struct Predictions {
    /// Beginning of all ids of this process; the number of the prediction follows, in twelve
    /// hexadecimal digits.
    prefix: String,
    turn: AtomicU64,
    shards: Vec<Mutex<Shard>>,
    shard_capacity: usize,
}

/// Part of the store: the predictions whose number is `place * SHARDS + shard`, for all places from
/// `first` on.
#[derive(Default)]
struct Shard {
    first: u64,
    bytes: usize,
    kept: VecDeque<Prediction>,
}

impl Predictions {
    /// Creates an empty store. Stores with different seeds give different ids.
    pub(super) fn new(seed: u64) -> Predictions {
        Predictions::with_capacity(seed, CAPACITY)
    }

    fn with_capacity(seed: u64, capacity: usize) -> Predictions {
        let (a, b, c, d) = (
            seed >> 32,
            (seed >> 16) & 0xffff,
            (seed >> 4) & 0xfff,
            seed & 0xf,
        );
        Predictions {
            prefix: format!("{a:08x}-{b:04x}-4{c:03x}-8{d:03x}-"),
            turn: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_capacity: capacity / SHARDS as usize,
        }
    }

    /// Keeps the prediction and returns its id, which has the form of a UUID.
    pub(super) fn add(&self, prediction: Prediction) -> String {
        let shard = self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let place = self.lock(shard).push(prediction, self.shard_capacity);
        format!("{}{:012x}", self.prefix, place * SHARDS + shard)
    }

    /// Returns the prediction with this id, unless it was never given or has been forgotten.
    pub(super) fn get(&self, id: &str) -> Option<Prediction> {
        let digits = id
            .strip_prefix(&self.prefix)
            .filter(|digits| digits.len() == 12)?;
        let number = u64::from_str_radix(digits, 16).ok()?;
        self.lock(number % SHARDS).get(number / SHARDS)
    }

    fn lock(&self, shard: u64) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[shard as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn push(&mut self, prediction: Prediction, capacity: usize) -> u64 {
        self.bytes += size(&prediction);
        self.kept.push_back(prediction);
        let place = self.first + self.kept.len() as u64 - 1;
        while self.bytes > capacity
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= size(&oldest);
            self.first += 1;
        }
        place
    }

    fn get(&self, place: u64) -> Option<Prediction> {
        let index = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.kept.get(index).cloned()
    }
}

fn size(prediction: &Prediction) -> usize {
    prediction.text.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn prediction(text: &str) -> Prediction {
        Prediction {
            text: text.into(),
            category: Category::Other,
        }
    }

    #[test]
    fn an_id_that_was_never_given_is_not_found() {
        let predictions = Predictions::new(7);
        let id = predictions.add(prediction("a"));
        let mut next = id.clone();
        next.replace_range(35.., "8");
        for unknown in [
            "",
            "x",
            "00000000-0000-4000-8007-",
            &next,
            &id[..35],
            &format!("{id}0"),
            &Predictions::new(8).add(prediction("a")),
        ] {
            assert_eq!(predictions.get(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn the_oldest_are_forgotten_when_the_bytes_run_out() {
        let predictions = Predictions::with_capacity(0, 3 * SHARDS as usize * (OVERHEAD + 10));
        let ids: Vec<String> = (0..100)
            .map(|n| predictions.add(prediction(&format!("{n:010}"))))
            .collect();
        let kept: Vec<usize> = (0..100)
            .filter(|n| predictions.get(&ids[*n]).is_some())
            .collect();
        assert_eq!(kept, (76..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_kept_prediction_is_found_by_an_id_like_a_uuid() {
        let predictions = Predictions::new(u64::MAX);
        let ids: Vec<String> = (0..50)
            .map(|n| predictions.add(prediction(&n.to_string())))
            .collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 50);
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(
                id.split('-').map(str::len).collect::<Vec<_>>(),
                [8, 4, 4, 4, 12],
                "{id}"
            );
            assert_eq!(predictions.get(id), Some(prediction(&n.to_string())));
        }
    }
}
