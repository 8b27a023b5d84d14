//! The coordinator's part in a stop that a worker does not follow: whatever it does, the run ends.

use std::time::{Duration, Instant};

use super::Coordinator;
use crate::wire::control::MasterState;

/// Time for which the last samples of a worker that was told to stop are waited for, beyond the
/// time that its running iterations have. The worker itself gives up a stuck thread before that.
const LAST_SAMPLES: Duration = Duration::from_secs(9);
/// Time for everything that comes after the load, teardown included, likewise beyond that of
/// running iterations: a process that was told to end is given 15 s.
const ALL: Duration = Duration::from_secs(11);

impl Coordinator {
    /// Notes that the load was cut; the first time counts.
    pub(super) fn begin_stopping(&mut self, now: Instant) {
        self.stopping_since.get_or_insert(now);
    }

    /// Checks whether the load was cut and workers had their time to say what came of it: one that
    /// has not said so by now never will.
    pub(super) fn gives_up_workers(&self, now: Instant) -> bool {
        self.state == MasterState::Stopping
            && self
                .time_since_cut(now)
                .is_some_and(|passed| passed >= self.file.plan.stop_timeout + LAST_SAMPLES)
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
