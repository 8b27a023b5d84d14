//! Load with a fixed number of iterations: users run one after the other until all are done.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::engine::load::closed::{STEP, Users};
use crate::engine::load::cohort::Cohort;
use crate::plan::Iterations;

/// Iterations left to do in this shard.
pub(crate) struct Quota {
    left: Cell<u64>,
    per_user: Option<u64>,
    /// End of the warm-up; iterations that begin before it are not counted.
    zero: Instant,
    /// Number of counted iterations that are running.
    running: Cell<u64>,
    /// Time when the last counted iteration ended.
    ended: Cell<Instant>,
}

impl Quota {
    fn new(iterations: &Iterations, cohort: &Cohort) -> Self {
        Self {
            left: Cell::new(
                iterations
                    .of(cohort.slice, cohort.shard.before.done)
                    .saturating_sub(cohort.shard.before.part_done),
            ),
            per_user: iterations.per_user.then_some(iterations.count),
            zero: cohort.zero,
            running: Cell::new(0),
            ended: Cell::new(cohort.zero),
        }
    }

    /// Returns whether a user may begin another iteration after `done` counted ones: `None` if not,
    /// otherwise whether the iteration counts.
    pub(crate) fn begin(&self, done: u64, now: Instant) -> Option<bool> {
        if now < self.zero {
            return Some(false);
        }
        if self.left.get() == 0 || self.per_user.is_some_and(|most| done >= most) {
            return None;
        }
        self.left.set(self.left.get() - 1);
        self.running.set(self.running.get() + 1);
        Some(true)
    }

    /// Records that a counted iteration ended.
    pub(crate) fn end(&self, now: Instant) {
        self.running.set(self.running.get() - 1);
        self.ended.set(now);
    }

    fn is_done(&self) -> bool {
        self.left.get() == 0 && self.running.get() == 0
    }
}

/// Runs users until all iterations are done or `max_duration` is over, and returns when that was.
pub(crate) async fn drive(cohort: &Rc<Cohort>, iterations: &Iterations) -> Instant {
    let shard = &cohort.shard;
    tokio::time::sleep_until(shard.begins().into()).await;
    let quota = Rc::new(Quota::new(iterations, cohort));
    let users = Rc::new(Users::new(cohort.clone(), Some(quota.clone())));
    let latest = iterations.max_duration.map(|time| cohort.zero + time);
    loop {
        let now = Instant::now();
        let warm = now < shard.context.zero;
        let fleet = if warm {
            cohort.population().warmup_target as u64
        } else {
            u64::from(iterations.users)
        };
        let level = if !warm && now < cohort.zero {
            0
        } else {
            cohort.slice.of(fleet)
        };
        users.bring_to(level, u64::MAX);
        let begun = now >= cohort.zero;
        // all that are wanted were started, and none is left that could do the rest
        let deserted = begun && level > 0 && cohort.users() == 0;
        if begun && (quota.is_done() || deserted) {
            return quota.ended.get();
        }
        if let Some(latest) = latest.filter(|latest| now >= *latest) {
            shard.dropped(cohort.zero, quota.left.replace(0));
            return latest;
        }
        let next = [Some(now + STEP), latest]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + Duration::from_secs(1));
        tokio::time::sleep_until(next.into()).await;
    }
}
