//! Limit on requests per second: each request waits for its turn.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::plan::share::Slice;

/// Longest time after which a turn may still be taken. The runtime's timer knows only milliseconds,
/// so without it few users would never reach the limit.
const LATEST: Duration = Duration::from_millis(10);

/// Least fraction of the turns that a shard has, so that users which are about to leave can.
const LEAST: f64 = 0.02;

/// Turns of one shard. Those of all shards together are evenly spaced, at most as many as the
/// limit.
pub(crate) struct Throttle {
    first: Instant,
    /// Seconds between two of this shard's turns.
    every: f64,
    next: Cell<u64>,
    /// Fraction of the turns that are this shard's at a time.
    fraction: Box<dyn Fn(Instant) -> f64>,
    /// Fractions that passed without a turn, 0 to 1.
    credit: Cell<f64>,
}

impl Throttle {
    /// Creates the turns of a shard. `per_second` is the limit of the fleet, of which `slice` is
    /// one part; `fraction` says how much of that is this shard's at a time, from 0 to 1: less than
    /// all while users move between two shards.
    pub(crate) fn new(
        per_second: f64,
        slice: Slice,
        start: Instant,
        fraction: impl Fn(Instant) -> f64 + 'static,
    ) -> Self {
        let first = start + Duration::from_secs_f64(slice.number(0) as f64 / per_second);
        Self {
            first,
            every: 1.0 / (per_second * slice.part()),
            next: Cell::new(0),
            fraction: Box::new(fraction),
            credit: Cell::new(0.0),
        }
    }

    /// Waits until a request may start, and returns the time then.
    pub(crate) async fn turn(&self) -> Instant {
        let now = Instant::now();
        let at = self.take(now);
        if at <= now {
            return now;
        }
        tokio::time::sleep_until(at.into()).await;
        Instant::now()
    }

    /// Returns the next turn of this shard that is not over.
    fn take(&self, now: Instant) -> Instant {
        loop {
            let at = self.next_turn(now);
            let credit = self.credit.get() + (self.fraction)(at).clamp(LEAST, 1.0);
            self.credit.set(credit - credit.floor());
            if credit >= 1.0 {
                return at;
            }
        }
    }

    /// Returns the next turn that is not over, whoever's it is.
    fn next_turn(&self, now: Instant) -> Instant {
        let past = now
            .checked_duration_since(self.first + LATEST)
            .map_or(0.0, |past| past.as_secs_f64() / self.every);
        let turn = self.next.get().max(past.ceil() as u64);
        self.next.set(turn + 1);
        self.first + Duration::from_secs_f64(turn as f64 * self.every)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Share;

    proptest! {
        #[test]
        fn the_fleet_never_takes_more_turns_than_the_cap(
            rps in 1u32..2000, users in 1u64..40, workers in 1u32..9, shards in 1u32..5, ask in 1u64..50,
        ) {
            let start = Instant::now();
            let slices = (0..workers).flat_map(|worker| (0..shards).map(move |shard| Share { worker, workers }.slice(shard, shards)));
            let throttles: Vec<_> = slices.filter_map(|slice| slice.among(users)).map(|s| Throttle::new(rps.into(), s, start, |_| 1.0)).collect();
            // each shard takes the turns that come, as soon as it may, and looks every few milliseconds
            let mut taken = Vec::new();
            for throttle in &throttles {
                let mut at = start;
                while at < start + Duration::from_secs(2) {
                    at = throttle.take(at).max(at);
                    taken.push(at);
                    at += Duration::from_millis(ask).mul_f64(throttle.every.min(1.0));
                }
            }
            for seconds in [0.5, 1.0, 2.0] {
                let count = taken.iter().filter(|at| **at <= start + Duration::from_secs_f64(seconds)).count() as f64;
                prop_assert!(count <= seconds * f64::from(rps) + 1.001, "{count} in {seconds} s");
            }
        }
    }

    #[test]
    fn shards_between_which_users_move_share_the_turns() {
        let start = Instant::now();
        let window = Duration::from_secs(10);
        let passed = move |at: Instant| (at - start).as_secs_f64() / window.as_secs_f64();
        let slice = Share::WHOLE.slice(0, 1);
        let leaving = Throttle::new(100.0, slice, start, move |at| 1.0 - passed(at));
        let arriving = Throttle::new(100.0, slice, start, passed);
        let turns = |throttle: &Throttle, end: Instant| {
            let turns = std::iter::from_fn(|| Some(throttle.take(start)));
            turns.take_while(|at| *at < end).count()
        };
        let (left, came) = (
            turns(&leaving, start + window / 2),
            turns(&arriving, start + window / 2),
        );
        assert!(
            (370..=380).contains(&left) && (120..=130).contains(&came),
            "{left}, {came}"
        );
    }

    #[test]
    fn turns_that_nobody_took_are_not_made_up_for() {
        let start = Instant::now();
        let throttle = Throttle::new(100.0, Share::WHOLE.slice(0, 1), start, |_| 1.0);
        let later = start + Duration::from_secs(10);
        let in_the_next_second = std::iter::from_fn(|| Some(throttle.take(later)))
            .take_while(|at| *at < later + Duration::from_secs(1));
        assert!(in_the_next_second.count() <= 102);
    }
}
