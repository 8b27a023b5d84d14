//! Leases of a feeder's rows to the workers of a fleet. A row is a position here; a position is
//! leased at most once, whatever becomes of the worker that got it.
//!
//! One number must survive the master: the first position never leased. A killed process finds it
//! in its own memory. A new Pod learns from the workers what had been *reserved*: positions are
//! announced to all of them well before the first is leased.

use std::ops::Range;

/// Leases of the present size that are announced together; as many rows are skipped by a new Pod of
/// the master.
const RESERVED_LEASES: u64 = 4;

/// The rows of one feeder, as positions in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLeases {
    /// Number of positions; `u64::MAX` where rows recycle, `None` until a worker has said how many
    /// rows there are.
    limit: Option<u64>,
    /// Each row is used once.
    is_finite: bool,
    /// First position never leased.
    next: u64,
    /// End of the positions that workers were told may be leased.
    reserved: u64,
}

/// An answer to a worker that asked for rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Positions that are this worker's alone; empty when none is left.
    pub positions: Range<u64>,
    /// True when no position is left after these.
    pub exhausted: bool,
    /// The new end of what may be leased, to be announced to all workers before the lease is sent.
    pub reserved: Option<u64>,
}

impl RowLeases {
    /// Begins with nothing leased. `is_finite`: each row is used once; else rows recycle.
    pub fn new(is_finite: bool) -> Self {
        Self {
            limit: None,
            is_finite,
            next: 0,
            reserved: 0,
        }
    }

    /// Sets the number of rows, of which all workers hold the same.
    pub fn set_rows(&mut self, rows: u64) {
        self.limit = Some(if self.is_finite { rows } else { u64::MAX });
    }

    /// Leases nothing before `position` from now on.
    pub fn skip_to(&mut self, position: u64) {
        self.next = self.next.max(position);
        self.reserved = self.reserved.max(position);
    }

    /// First position never leased.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// End of the positions that workers were told may be leased.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Leases at most `count` positions. Towards the end each of `workers` gets a part of what is
    /// left, so that one does not sit on all of it. `None` while the number of rows is unknown.
    pub fn lease(&mut self, count: u64, workers: u32) -> Option<Lease> {
        let limit = self.limit?;
        let left = limit.saturating_sub(self.next);
        let fair = (left / (2 * u64::from(workers.max(1)))).max(1);
        let count = count.min(fair).min(left);
        let positions = self.next..self.next + count;
        self.next += count;
        let ahead = count.saturating_mul(RESERVED_LEASES);
        let announce = self.reserved < limit && self.next.saturating_add(ahead / 2) > self.reserved;
        if announce {
            self.reserved = self.next.saturating_add(ahead).min(limit);
        }
        Some(Lease {
            positions,
            exhausted: self.next >= limit,
            reserved: announce.then_some(self.reserved),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn leases(rows: u64) -> RowLeases {
        let mut leases = RowLeases::new(true);
        leases.set_rows(rows);
        leases
    }

    #[test]
    fn nothing_is_leased_before_the_data_are_known() {
        assert_eq!(RowLeases::new(true).lease(5, 1), None);
    }

    #[test]
    fn the_last_rows_are_shared_and_the_end_is_said() {
        let mut leases = leases(10);
        let mut sizes = vec![];
        loop {
            let lease = leases.lease(100, 2).unwrap();
            sizes.push(lease.positions.end - lease.positions.start);
            if lease.exhausted {
                break;
            }
        }
        assert_eq!((sizes[0], sizes.iter().sum::<u64>()), (2, 10), "{sizes:?}");
        let after = leases.lease(1, 2).unwrap();
        assert_eq!((after.positions.is_empty(), after.exhausted), (true, true));
    }

    #[test]
    fn rows_that_recycle_have_no_end() {
        let mut leases = RowLeases::new(false);
        leases.set_rows(3);
        let lease = leases.lease(1000, 5).unwrap();
        assert_eq!((lease.positions, lease.exhausted), (0..1000, false));
    }

    /// What may happen to a fleet and its master.
    #[derive(Debug, Clone)]
    enum Step {
        /// A worker asks; whether the answer reaches it.
        Ask { count: u64, arrives: bool },
        /// A worker dies with all it has; another comes in its place.
        Replace { worker: usize },
        /// The master's process is killed and finds its memory.
        Restart,
        /// The master's Pod is lost; the new one hears what the workers know.
        NewPod,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (1u64..30, prop::bool::weighted(0.9)).prop_map(|(count, arrives)| Step::Ask { count, arrives }),
            1 => (0usize..4).prop_map(|worker| Step::Replace { worker }),
            1 => Just(Step::Restart),
            1 => Just(Step::NewPod),
        ];
        prop::collection::vec(step, 1..80)
    }

    proptest! {
        #[test]
        fn no_row_is_leased_twice_whoever_dies(rows in 1u64..400, steps in steps()) {
            let mut leases = leases(rows);
            // what each worker has heard to be reserved; a new one is told when it comes
            let mut heard = [0u64; 4];
            let mut leased = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Ask { count, arrives } => {
                        let lease = leases.lease(count, 4).unwrap();
                        // announced before the answer is sent
                        if let Some(reserved) = lease.reserved {
                            heard = [reserved; 4];
                        }
                        prop_assert!(lease.positions.end <= rows);
                        prop_assert!(lease.positions.is_empty() || lease.positions.end <= heard[0], "leased before it was announced");
                        for position in lease.positions.filter(|_| arrives) {
                            prop_assert!(leased.insert(position), "{position} was leased twice");
                        }
                    }
                    Step::Replace { worker } => heard[worker] = leases.reserved(),
                    Step::Restart => {
                        let next = leases.next();
                        leases = super::tests::leases(rows);
                        leases.skip_to(next);
                    }
                    Step::NewPod => {
                        leases = super::tests::leases(rows);
                        // any one worker that lives is enough
                        leases.skip_to(heard[3]);
                    }
                }
            }
        }

        #[test]
        fn a_fleet_that_lives_gets_each_row_once(rows in 1u64..2000, counts in prop::collection::vec(1u64..50, 1..20), workers in 1u32..8) {
            let mut leases = leases(rows);
            let mut next = 0;
            for count in counts.into_iter().cycle() {
                let lease = leases.lease(count, workers).unwrap();
                prop_assert_eq!(lease.positions.start, next);
                prop_assert!(!lease.positions.is_empty());
                next = lease.positions.end;
                if lease.exhausted { break; }
            }
            prop_assert_eq!(next, rows);
        }
    }
}
