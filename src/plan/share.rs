//! Shares of a plan: which users and arrivals belong to which worker and shard, and which scenario
//! a user plays.
//!
//! User k belongs to worker k mod W, there to shard (k div W) mod S. Arrival j belongs to worker j
//! mod W likewise. So any number of workers carries out the same users and the same arrivals.

use serde::{Deserialize, Serialize};

/// Most workers of a fleet.
pub const MAX_WORKERS: u32 = 2_000;

/// One worker's part of a run: number `worker` of `workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Number of the worker, from 0.
    pub worker: u32,
    /// Number of workers, at least 1.
    pub workers: u32,
}

/// One shard's part of a share: number `shard` of `shards`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Share of the worker that the shard belongs to.
    pub share: Share,
    /// Number of the shard, from 0.
    pub shard: u32,
    /// Number of the worker's shards, at least 1.
    pub shards: u32,
}

impl Share {
    /// The share of a worker that is alone.
    pub const WHOLE: Share = Share {
        worker: 0,
        workers: 1,
    };

    /// The part of one shard of this worker.
    pub fn slice(self, shard: u32, shards: u32) -> Slice {
        Slice {
            share: self,
            shard,
            shards,
        }
    }

    /// Position of this worker among those that get any of `count` things; `None` if it gets none.
    pub fn among(self, count: u64) -> Option<Share> {
        let workers = u32::try_from(count).unwrap_or(u32::MAX).min(self.workers);
        (self.worker < workers).then_some(Share {
            worker: self.worker,
            workers,
        })
    }

    /// Number of `count` things, dealt out one by one, that belong to this worker.
    pub fn of(self, count: u64) -> u64 {
        dealt(count, self.worker, self.workers)
    }
}

impl Slice {
    /// Position of this shard among those that get any of `count` things; `None` if it gets none.
    /// Each of these positions has at least one of the things, so whatever is dealt out over them
    /// can be carried out.
    pub fn among(self, count: u64) -> Option<Slice> {
        let share = self.share.among(count)?;
        let shards = u32::try_from(share.of(count))
            .unwrap_or(u32::MAX)
            .min(self.shards);
        (self.shard < shards).then_some(Slice {
            share,
            shard: self.shard,
            shards,
        })
    }

    /// Fraction of this shard in something continuous, such as a rate: every worker has the same,
    /// and so has every shard of a worker.
    pub fn part(self) -> f64 {
        1.0 / (f64::from(self.share.workers) * f64::from(self.shards))
    }

    /// Number of the first `count` users or arrivals of the fleet that belong to this shard.
    pub fn of(self, count: u64) -> u64 {
        dealt(self.share.of(count), self.shard, self.shards)
    }

    /// Number of the first `count` things of this shard's worker that belong to this shard.
    pub fn of_workers(self, count: u64) -> u64 {
        dealt(count, self.shard, self.shards)
    }

    /// Number, over the fleet, of this shard's user or arrival `nth` (from 0).
    pub fn number(self, nth: u64) -> u64 {
        let within_worker = nth * u64::from(self.shards) + u64::from(self.shard);
        within_worker * u64::from(self.share.workers) + u64::from(self.share.worker)
    }
}

fn dealt(count: u64, index: u32, of: u32) -> u64 {
    let (index, of) = (u64::from(index), u64::from(of));
    count / of + u64::from(index < count % of)
}

/// Smooth weighted round-robin: deals out scenarios, or anything weighted, so that any prefix is
/// within one of the weights.
#[derive(Debug, Clone)]
pub struct WeightedRoundRobin {
    /// One whole cycle, as long as the sum of the weights over their greatest common divisor.
    cycle: Vec<u16>,
}

impl WeightedRoundRobin {
    /// Builds the cycle of `weights`, whose sum is positive.
    pub fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
        let weights: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
        let total: i64 = weights.iter().sum();
        let mut credit = vec![0i64; weights.len()];
        let cycle = (0..total).map(|_| {
            credit
                .iter_mut()
                .zip(&weights)
                .for_each(|(credit, weight)| *credit += weight);
            // the first of the highest, so that the order does not depend on the iterator
            let chosen = (0..credit.len())
                .rev()
                .max_by_key(|i| credit[*i])
                .unwrap_or(0);
            credit[chosen] -= total;
            chosen as u16
        });
        Self {
            cycle: cycle.collect(),
        }
    }

    /// Position of the weight that item `k` of the fleet gets.
    pub fn at(&self, k: u64) -> usize {
        usize::from(self.cycle[(k % self.cycle.len() as u64) as usize])
    }
}

/// Scenario that each user of a population plays: the fixed ones first, then by weight.
#[derive(Debug, Clone)]
pub struct ScenarioAssignment {
    /// Number of users that are dealt out by `fixed`.
    fixed_users: u64,
    fixed: WeightedRoundRobin,
    by_weight: WeightedRoundRobin,
}

impl ScenarioAssignment {
    /// Builds the assignment from each scenario's fixed number of users, if it has one, and its
    /// weight. A scenario with a fixed number gets no others.
    pub fn new(scenarios: impl Iterator<Item = (Option<u32>, u32)>) -> Self {
        let parts = scenarios
            .map(|(fixed, weight)| (fixed.unwrap_or(0), if fixed.is_some() { 0 } else { weight }));
        let (fixed, weights): (Vec<u32>, Vec<u32>) = parts.unzip();
        Self {
            fixed_users: fixed.iter().map(|users| u64::from(*users)).sum(),
            fixed: WeightedRoundRobin::new(&fixed),
            by_weight: WeightedRoundRobin::new(&weights),
        }
    }

    /// Position of the scenario that user or arrival `k` of the fleet plays; `None` if every
    /// scenario has a fixed number of users, and all have theirs.
    pub fn at(&self, k: u64) -> Option<usize> {
        match k.checked_sub(self.fixed_users) {
            None => Some(self.fixed.at(k)),
            Some(k) => (!self.by_weight.cycle.is_empty()).then(|| self.by_weight.at(k)),
        }
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
        fn what_is_dealt_out_among_users_goes_to_shards_that_have_one(users in 1u64..40, count in 0u64..500, workers in 1u32..9, shards in 1u32..5) {
            let (mut dealt, mut part) = (0, 0.0);
            for worker in 0..workers {
                for shard in 0..shards {
                    let slice = Share { worker, workers }.slice(shard, shards);
                    let among = slice.among(users);
                    // the users themselves are dealt out the same way, whether over these places or over all
                    prop_assert_eq!(among.map_or(0, |among| among.of(users)), slice.of(users));
                    prop_assert!(among.is_none_or(|among| among.of(users) > 0));
                    dealt += among.map_or(0, |among| among.of(count));
                    part += among.map_or(0.0, Slice::part);
                }
            }
            prop_assert_eq!(dealt, count);
            prop_assert!((part - 1.0).abs() < 1e-9, "{}", part);
        }

        #[test]
        fn any_prefix_is_within_one_of_the_weights(weights in prop::collection::vec(0u32..20, 1..6), length in 0u64..400) {
            prop_assume!(weights.iter().sum::<u32>() > 0);
            let total = f64::from(weights.iter().sum::<u32>());
            let mix = WeightedRoundRobin::new(&weights);
            let mut dealt = vec![0u64; weights.len()];
            for k in 0..length { dealt[mix.at(k)] += 1; }
            for (weight, dealt) in weights.iter().zip(dealt) {
                let due = length as f64 * f64::from(*weight) / total;
                prop_assert!((dealt as f64 - due).abs() < weights.len() as f64, "{dealt} of {due}");
            }
        }
    }

    #[test]
    fn what_weighs_nothing_is_never_chosen() {
        let mix = WeightedRoundRobin::new(&[0, 3, 0]);
        assert!((0..10).all(|k| mix.at(k) == 1));
    }

    #[test]
    fn fixed_users_come_first_and_get_no_others() {
        let cast =
            ScenarioAssignment::new([(None, 3), (Some(2), 9), (None, 1), (Some(1), 1)].into_iter());
        let played: Vec<_> = (0..11).filter_map(|k| cast.at(k)).collect();
        let count = |scenario| played.iter().filter(|played| **played == scenario).count();
        assert_eq!([0, 1, 2, 3].map(count), [6, 2, 2, 1]);
        assert!(played[..3].iter().all(|scenario| [1, 3].contains(scenario)));
    }

    #[test]
    fn users_beyond_the_fixed_ones_play_nothing_if_nothing_has_a_weight() {
        let cast = ScenarioAssignment::new([(Some(2), 1)].into_iter());
        assert_eq!([0, 1, 2].map(|k| cast.at(k)), [Some(0), Some(0), None]);
    }

    #[test]
    fn nine_to_one_is_spread_out() {
        let mix = WeightedRoundRobin::new(&[1, 9]);
        assert_eq!((0..20).filter(|k| mix.at(*k) == 0).count(), 2);
    }
}
