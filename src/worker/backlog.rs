//! Everything that a worker has measured: one sum of what a master has acknowledged, and the seconds
//! after it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::stats::Snapshot;
use crate::wire::fleet;

/// Most seconds kept apart until a master has acknowledged them; of earlier ones only the sum and
/// counts are kept.
const MOST_KEPT: usize = 60;

/// A second that no master has acknowledged.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Seconds since the run's zero.
    pub(super) second: u32,
    /// Samples of the second.
    pub(super) snapshot: Snapshot,
    /// The load was over with it.
    pub(super) last: bool,
    /// Reason why a part of the load is not carried out; empty when all of it is.
    pub(super) failure: String,
    /// Time from the run's zero to the end of the load, with the last.
    pub(super) length: Option<Duration>,
    /// Use of feeders up to then.
    pub(super) feeders: Vec<fleet::FeederUsage>,
    /// State of each part at its end.
    pub(super) parts: Vec<fleet::PartState>,
}

/// Everything up to a second, in one.
#[derive(Debug, Default)]
pub(super) struct Base {
    /// Sum of the samples.
    pub(super) snapshot: Snapshot,
    /// Counts of each second.
    pub(super) seconds: Vec<fleet::SecondCount>,
    /// The load was over with the last of them.
    pub(super) last: bool,
    /// Time from the run's zero to the end of the load, if that was over.
    pub(super) length: Option<Duration>,
    /// State of each part at its end.
    pub(super) parts: Vec<fleet::PartState>,
    /// Seconds in it that no master had acknowledged.
    pub(super) folded: u32,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    base: Base,
    kept: VecDeque<Kept>,
    /// Number of those kept that were handed over on this connection.
    sent: usize,
}

impl Base {
    /// Adds the next second.
    fn add(&mut self, kept: Kept) {
        self.seconds.push(fleet::SecondCount {
            second: kept.second,
            requests: kept.snapshot.requests(),
            failures: kept.snapshot.failures(),
            users: kept.snapshot.users,
        });
        self.snapshot.follow(&kept.snapshot);
        self.last = kept.last;
        self.length = kept.length.or(self.length);
        self.parts = kept.parts;
    }
}

impl Backlog {
    /// Keeps a second until it is acknowledged, or too many others came after it.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.kept.push_back(kept);
        if self.kept.len() > MOST_KEPT {
            self.fold();
            self.base.folded += 1;
        }
    }

    /// Adds the first second that is kept apart to the sum of all before it.
    fn fold(&mut self) {
        if let Some(first) = self.kept.pop_front() {
            self.sent = self.sent.saturating_sub(1);
            self.base.add(first);
        }
    }

    /// Takes in that a master holds everything up to `second`.
    pub(super) fn acknowledge(&mut self, second: u32) {
        while self.sent > 0 && self.kept.front().is_some_and(|kept| kept.second <= second) {
            self.fold();
        }
    }

    /// Tells whether a master holds everything.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Begins another connection, on which the sum comes first. Every second after it is unsent.
    pub(super) fn begin_again(&mut self) {
        self.sent = 0;
    }

    /// Sum of what comes before the seconds that are kept apart.
    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// Writes the seconds that were not handed over on this connection, in a format of snapshots.
    pub(super) fn unsent(&mut self, format: u64) -> Vec<fleet::Delta> {
        let last = self.kept.len().saturating_sub(1);
        let unsent = self.kept.iter().enumerate().skip(self.sent);
        let deltas = unsent
            .map(|(nth, kept)| fleet::Delta {
                second: kept.second,
                snapshot: kept.snapshot.encode_as(format),
                last: kept.last,
                failure: kept.failure.clone(),
                length_micros: kept.length.map(|length| length.as_micros() as u64),
                // how parts stood before is no news
                parts: if nth == last {
                    kept.parts.clone()
                } else {
                    vec![]
                },
                feeders: kept.feeders.clone(),
            })
            .collect();
        self.sent = self.kept.len();
        deltas
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counters;

    /// A second in which as many iterations began as its number and one.
    fn second(second: u32) -> Kept {
        let snapshot = Snapshot {
            counters: Counters {
                iterations: u64::from(second) + 1,
                ..Counters::default()
            },
            ..Snapshot::default()
        };
        Kept {
            second,
            snapshot,
            ..Kept::default()
        }
    }

    fn seconds(deltas: &[fleet::Delta]) -> Vec<u32> {
        deltas.iter().map(|delta| delta.second).collect()
    }

    #[test]
    fn another_connection_gets_the_sum_of_what_was_acknowledged_and_then_the_rest() {
        let mut backlog = Backlog::default();
        (0..4).for_each(|nth| backlog.keep(second(nth)));
        assert_eq!(seconds(&backlog.unsent(4)), [0, 1, 2, 3]);
        assert!(backlog.unsent(4).is_empty());
        backlog.acknowledge(1);
        backlog.begin_again();
        let base = backlog.base();
        assert_eq!(
            (base.snapshot.counters.iterations, base.seconds.len()),
            (3, 2)
        );
        assert_eq!(seconds(&backlog.unsent(4)), [2, 3]);
        backlog.acknowledge(3);
        assert!(backlog.is_empty());
        assert_eq!(backlog.base().folded, 0);
    }

    #[test]
    fn what_was_not_handed_over_is_not_acknowledged() {
        let mut backlog = Backlog::default();
        backlog.keep(second(0));
        backlog.acknowledge(9);
        assert!(!backlog.is_empty());
    }

    #[test]
    fn of_more_than_a_minute_only_the_sum_and_the_counts_are_kept_which_is_told() {
        let mut backlog = Backlog::default();
        (0..75).for_each(|nth| backlog.keep(second(nth)));
        let base = backlog.base();
        assert_eq!((base.folded, base.seconds.len()), (15, 15));
        assert_eq!(base.snapshot.counters.iterations, (1..=15).sum::<u64>());
        let unsent = backlog.unsent(4);
        assert_eq!((unsent.len(), unsent[0].second), (60, 15));
    }
}
