//! The coordinator's part in a stop that a worker does not follow: whatever it does, the run ends.

use std::time::{Duration, Instant};

use super::Coordinator;
use crate::wire::Reason;

/// Time for everything that comes after the load, teardown included, beyond that of running
/// iterations: a process that was told to end is given 15 s. Workers that do not say that their
/// load is over are given up 10 s after that.
const ALL: Duration = Duration::from_secs(11);

/// Time for which a run whose own process was told to end waits for workers, likewise beyond that of
/// running iterations: not for the lease of one that is cut off, since the report would be lost
/// with the process.
const LAST_SAMPLES: Duration = Duration::from_secs(9);

impl Coordinator {
    /// Checks whether the process of this run was told to end, and workers had their time.
    pub(super) fn gives_up_workers(&self, now: Instant) -> bool {
        let is_told_to_end = self
            .stopped
            .as_ref()
            .is_some_and(|stop| stop.reason == Reason::Interrupted);
        is_told_to_end
            && self
                .time_since_cut(now)
                .is_some_and(|passed| passed >= self.file.plan.stop_timeout + LAST_SAMPLES)
    }

    /// Notes that the load was cut; the first time counts.
    pub(super) fn begin_stopping(&mut self, now: Instant) {
        self.stopping_since.get_or_insert(now);
    }

    /// Time that is left for what comes after the load; `wanted` unless the load was cut.
    pub(super) fn time_to_close(&self, wanted: Duration, now: Instant) -> Duration {
        match self.time_since_cut(now) {
            Some(passed) => {
                let whole = self.file.plan.stop_timeout + ALL;
                wanted.min(whole.saturating_sub(passed))
            }
            None => wanted,
        }
    }

    fn time_since_cut(&self, now: Instant) -> Option<Duration> {
        let since = self.stopping_since?;
        Some(now.saturating_duration_since(since))
    }
}
