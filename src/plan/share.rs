//! How a plan splits: which users and arrivals belong to which worker and shard, and which scenario a user plays.
//!
//! User k belongs to worker k mod W, there to shard (k div W) mod S. Arrival j belongs to worker j mod W likewise. So any
//! number of workers carries out the same users and the same arrivals.

use serde::{Deserialize, Serialize};

/// One worker's part of a run: number `worker` of `workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub worker: u32,
    pub workers: u32,
}

/// One shard's part of a share: number `shard` of `shards`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub share: Share,
    pub shard: u32,
    pub shards: u32,
}

impl Share {
    pub const WHOLE: Share = Share { worker: 0, workers: 1 };

    pub fn slice(self, shard: u32, shards: u32) -> Slice {
        Slice { share: self, shard, shards }
    }

    /// How many of `count` things that are dealt out one by one belong to this worker.
    pub fn of(self, count: u64) -> u64 {
        dealt(count, self.worker, self.workers)
    }
}

impl Slice {
    /// How many of the first `count` users or arrivals of the fleet belong to this shard.
    pub fn of(self, count: u64) -> u64 {
        dealt(self.share.of(count), self.shard, self.shards)
    }

    /// The fleet-wide number of this shard's user or arrival `nth` (from 0).
    pub fn number(self, nth: u64) -> u64 {
        let within_worker = nth * u64::from(self.shards) + u64::from(self.shard);
        within_worker * u64::from(self.share.workers) + u64::from(self.share.worker)
    }
}

fn dealt(count: u64, index: u32, of: u32) -> u64 {
    let (index, of) = (u64::from(index), u64::from(of));
    count / of + u64::from(index < count % of)
}

/// Deals out scenarios (or anything weighted) so that any prefix is within one of the weights: smooth weighted round-robin.
#[derive(Debug, Clone)]
pub struct Mix {
    /// One whole cycle, as long as the sum of the weights over their greatest common divisor.
    cycle: Vec<u16>,
}

impl Mix {
    /// `weights` has a positive sum.
    pub fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
        let weights: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
        let total: i64 = weights.iter().sum();
        let mut credit = vec![0i64; weights.len()];
        let cycle = (0..total).map(|_| {
            credit.iter_mut().zip(&weights).for_each(|(credit, weight)| *credit += weight);
            // the first of the highest, so that the order does not depend on the iterator
            let chosen = (0..credit.len()).rev().max_by_key(|i| credit[*i]).unwrap_or(0);
            credit[chosen] -= total;
            chosen as u16
        });
        Self { cycle: cycle.collect() }
    }

    /// What number `k` of the fleet gets.
    pub fn at(&self, k: u64) -> usize {
        usize::from(self.cycle[(k % self.cycle.len() as u64) as usize])
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_user_belongs_to_exactly_one_shard(count in 0u64..500, workers in 1u32..9, shards in 1u32..5) {
            let mut seen = vec![0u32; count as usize];
            for worker in 0..workers {
                for shard in 0..shards {
                    let slice = Share { worker, workers }.slice(shard, shards);
                    for nth in 0..slice.of(count) { seen[slice.number(nth) as usize] += 1; }
                }
            }
            prop_assert!(seen.iter().all(|n| *n == 1));
        }

        #[test]
        fn any_prefix_is_within_one_of_the_weights(weights in prop::collection::vec(0u32..20, 1..6), length in 0u64..400) {
            prop_assume!(weights.iter().sum::<u32>() > 0);
            let total = f64::from(weights.iter().sum::<u32>());
            let mix = Mix::new(&weights);
            let mut given = vec![0u64; weights.len()];
            for k in 0..length { given[mix.at(k)] += 1; }
            for (weight, given) in weights.iter().zip(given) {
                let due = length as f64 * f64::from(*weight) / total;
                prop_assert!((given as f64 - due).abs() < weights.len() as f64, "{given} of {due}");
            }
        }
    }

    #[test]
    fn what_weighs_nothing_is_never_chosen() {
        let mix = Mix::new(&[0, 3, 0]);
        assert!((0..10).all(|k| mix.at(k) == 1));
    }

    #[test]
    fn nine_to_one_is_spread_out() {
        let mix = Mix::new(&[1, 9]);
        assert_eq!((0..20).filter(|k| mix.at(*k) == 0).count(), 2);
    }
}
