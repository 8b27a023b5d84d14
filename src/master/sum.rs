//! The sum of what all processes of a fleet measured, kept up to date with each delivery, so that
//! nobody who asks for it waits for a thousand workers to be added up.

use std::borrow::Cow;

use crate::stats::Snapshot;

/// Samples of all processes, added up.
#[derive(Debug, Default)]
pub struct Sum {
    samples: Snapshot,
    /// Something was taken out, which no histogram can undo: everything has to be added up anew.
    is_stale: bool,
}

impl Sum {
    /// Adds the samples of a later second of a process that showed `users` users in the one before.
    pub fn follow(&mut self, users: u64, second: &Snapshot) {
        self.samples.merge(second);
        self.samples.users = self.samples.users.saturating_sub(users);
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
    use crate::stats::StepStats;

    fn samples(requests: u64, users: u64) -> Snapshot {
        let mut stats = StepStats {
            requests,
            ..StepStats::default()
        };
        stats.latency.record(requests);
        Snapshot {
            steps: [(0, stats)].into(),
            users,
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_sum_that_is_kept_is_the_one_that_is_added_up_anew() {
        let mut processes = [Snapshot::default(), Snapshot::default()];
        let mut sum = Sum::default();
        for (nth, requests, users) in [(0, 3, 5), (1, 4, 7), (0, 5, 2), (1, 1, 9)] {
            let second = samples(requests, users);
            sum.follow(processes[nth].users, &second);
            processes[nth].follow(&second);
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
