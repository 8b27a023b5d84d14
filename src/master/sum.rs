//! The sum of what all processes of a fleet measured, kept up to date with each delivery, so that
//! nobody who asks for it waits for a thousand workers to be added up.

use std::borrow::Cow;

use crate::stats::{Concurrency, Snapshot};

/// Numbers of a process that do not add up over time.
#[derive(Debug)]
pub struct Gauges {
    users: u64,
    concurrency: Concurrency,
}

impl Gauges {
    /// Takes them from the samples of a process.
    pub fn of(samples: &Snapshot) -> Self {
        Self {
            users: samples.users,
            concurrency: samples.concurrency.clone(),
        }
    }
}

/// Samples of all processes, added up.
#[derive(Debug, Default)]
pub struct Sum {
    samples: Snapshot,
    /// Something was taken out, which no histogram can undo: everything has to be added up anew.
    is_stale: bool,
}

impl Sum {
    /// Adds the samples of a later second of a process, and what `before` was the second and is `now`.
    pub fn follow(&mut self, before: &Gauges, now: &Gauges, second: &Snapshot) {
        let mut concurrency = std::mem::take(&mut self.samples.concurrency);
        concurrency.replace(&before.concurrency, &now.concurrency);
        self.samples.merge(second);
        self.samples.concurrency = concurrency;
        self.samples.users = self.samples.users.saturating_sub(before.users);
    }

    /// Puts the samples of a process in place of those that were added of it before.
    pub fn replace(&mut self, before: &Snapshot, samples: &Snapshot) {
        if *before == Snapshot::default() {
            self.samples.merge(samples);
        } else {
            self.is_stale = true;
        }
    }

    /// Adds up everything anew, if the sum has to be.
    pub fn refresh<'a>(&mut self, all: impl Iterator<Item = &'a Snapshot>) {
        if std::mem::take(&mut self.is_stale) {
            self.samples = added(all);
        }
    }

    /// Returns the sum; `all` are the samples that it is of.
    pub fn get<'a>(&self, all: impl Iterator<Item = &'a Snapshot>) -> Cow<'_, Snapshot> {
        if self.is_stale {
            Cow::Owned(added(all))
        } else {
            Cow::Borrowed(&self.samples)
        }
    }
}

fn added<'a>(all: impl Iterator<Item = &'a Snapshot>) -> Snapshot {
    let mut sum = Snapshot::default();
    all.for_each(|samples| sum.merge(samples));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{LEVEL_PARTS, LevelStats, StepStats};

    fn samples(requests: u64, users: u64) -> Snapshot {
        let mut stats = StepStats {
            requests,
            ..StepStats::default()
        };
        stats.latency.record(requests);
        let mut peaks = [0; LEVEL_PARTS];
        peaks[users as usize % LEVEL_PARTS] = users;
        Snapshot {
            steps: [(0, stats)].into(),
            users,
            concurrency: Concurrency {
                users: LevelStats::new(users * 1_000, peaks),
                ..Concurrency::default()
            },
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_sum_that_is_kept_is_the_one_that_is_added_up_anew() {
        let mut processes = [Snapshot::default(), Snapshot::default()];
        let mut sum = Sum::default();
        for (nth, requests, users) in [(0, 3, 5), (1, 4, 7), (0, 5, 2), (1, 1, 9)] {
            let second = samples(requests, users);
            let before = Gauges::of(&processes[nth]);
            processes[nth].follow(&second);
            sum.follow(&before, &Gauges::of(&processes[nth]), &second);
        }
        assert_eq!(*sum.get(processes.iter()), added(processes.iter()));
        assert!(matches!(sum.get(processes.iter()), Cow::Borrowed(_)));
    }

    #[test]
    fn samples_that_are_replaced_count_once() {
        let mut processes = [Snapshot::default(), samples(9, 1)];
        let mut sum = Sum::default();
        sum.replace(&Snapshot::default(), &processes[1]);
        let come = samples(2, 3);
        sum.replace(&processes[0], &come);
        processes[0] = come;
        assert!(matches!(sum.get(processes.iter()), Cow::Borrowed(_)));
        assert_eq!(*sum.get(processes.iter()), added(processes.iter()));

        let more = samples(6, 4);
        sum.replace(&processes[0], &more);
        processes[0] = more;
        assert_eq!(sum.get(processes.iter()).requests(), 15);
        sum.refresh(processes.iter());
        assert!(matches!(sum.get(processes.iter()), Cow::Borrowed(_)));
        assert_eq!(*sum.get(processes.iter()), added(processes.iter()));
    }
}
