//! The coordinator's part in the load: shares handed out, thresholds and levels watched, and when
//! it is over.

use std::time::{Duration, Instant};

use super::super::memory::Facts;
use super::super::result::Ending;
use super::{Clock, Coordinator};
use crate::wire::control::MasterState;
use crate::wire::fleet::from_master::Message;

/// A new level of a search is announced ahead of it by this part of the time to the start.
const LEAD_PART: u32 = 3;
/// Time for which a master waits for a worker that carries the run, when it has none.
pub(super) const RECOVERY: Duration = Duration::from_secs(30);
/// Time by which the end is put off for a worker whose last samples should have come.
const LAST_WORD: Duration = Duration::from_secs(10);

impl Coordinator {
    /// Waits for workers and the grant, and has done what comes before the start.
    pub(super) fn await_start(&mut self, now: Instant) {
        self.watch_one_off(now);
        let all_ready = self.roster.all_ready();
        if self.start_wanted && all_ready {
            self.prepare_start(now);
        }
        if matches!(
            self.state,
            MasterState::Waiting | MasterState::Ready | MasterState::Preparing
        ) {
            self.state = match (self.one_offs.is_under_way(), all_ready) {
                (true, _) => MasterState::Preparing,
                (false, true) => MasterState::Ready,
                (false, false) => MasterState::Waiting,
            };
        }
    }

    /// Starts the load on all workers.
    pub(super) fn start(&mut self, now: Instant) {
        let ahead = self.start_in.as_micros() as i64;
        let Some(clock) = Clock::at(now, -ahead) else {
            return self.event("cannot start: this machine's clock is at its end");
        };
        // written first: a master that dies after this never starts the run again
        if let Err(e) = self.remember(Facts {
            granted: true,
            ..self.facts.clone()
        }) {
            return self.event(&format!("cannot start: {e}"));
        }
        self.start_wanted = false;
        self.state = MasterState::Running;
        self.clock = Some(clock);
        self.event("all workers are ready; the load starts");
        self.advance_search(now);
        self.assign_shares(now);
    }

    /// Goes on with a run that another master process started, once a worker that carries it has
    /// said how far it is; gives it up after [`RECOVERY`].
    pub(super) fn recover(&mut self, now: Instant) {
        let has_all = self.is_restored && !self.awaits_samples(now) && !self.is_due(now);
        if (self.roster.carriers() > 0 || has_all) && self.clock.is_some() {
            self.event("a new master process goes on with the run");
            self.alone_since = None;
            self.state = if self.stopped.is_some() || self.cut_at.is_some() {
                MasterState::Stopping
            } else {
                MasterState::Running
            };
        } else if self
            .alone_since
            .is_some_and(|since| now.duration_since(since) >= RECOVERY)
        {
            self.state = MasterState::Lost;
        }
    }

    /// Ends the load when a threshold says so.
    fn check_thresholds(&mut self, now: Instant) {
        let breaches = self.judge.breaches();
        if breaches.len() > self.facts.breaches.len()
            && let Err(e) = self.remember(Facts {
                breaches,
                ..self.facts.clone()
            })
        {
            self.event(&format!(
                "a breached threshold would not survive a restart of the master: {e}"
            ));
        }
        if let Some(why) = self
            .judge
            .abort()
            .filter(|_| self.state == MasterState::Running)
        {
            self.event(&format!("stopped by a threshold: {why}"));
            self.breached = Some(why);
            self.cut_load(now);
        }
    }

    /// Announces the next level of a search for the capacity, when there is one.
    fn advance_search(&mut self, now: Instant) {
        let (elapsed, delivered, lead) = (
            self.elapsed(now),
            self.roster.delivered(),
            self.start_in / LEAD_PART,
        );
        let Some(levels) = self
            .search
            .as_mut()
            .and_then(|search| search.advance(&self.file.plan, elapsed, delivered, lead))
        else {
            return;
        };
        self.broadcast(|| Message::Levels(levels.clone()));
    }

    /// Watches the load: levels, thresholds, workers without a share, and whether it is over.
    pub(super) fn watch(&mut self, now: Instant) {
        if self.state == MasterState::Running {
            self.advance_search(now);
        }
        self.check_thresholds(now);
        self.watch_one_off(now);
        let can_give_shares = self.request_setup_values(now);
        let due = self.is_due(now);
        let awaits = self.awaits_samples(now) && !self.gives_up_workers(now);
        let is_over = !due || self.state == MasterState::Stopping || self.has_nothing_left();
        if is_over && !awaits {
            return self.end_run(self.natural_ending(), now);
        }
        if self.state == MasterState::Running && due && can_give_shares {
            self.divide_anew(now);
            self.assign_shares(now);
        }
        let deserted = self.is_deserted(now);
        if awaits {
            return;
        }
        if self.is_abandoned(now) {
            self.end_run(self.natural_ending(), now);
        } else if deserted && due {
            self.end_run(Ending::Deserted, now);
        }
    }

    /// Checks whether everything was carried out of load whose end only workers know.
    fn has_nothing_left(&self) -> bool {
        let shares = self.shares.division().workers;
        self.is_open_ended() && !self.shares.is_pausing() && self.shares.are_over(shares)
    }

    /// Checks whether no worker has been connected for [`RECOVERY`].
    fn is_deserted(&mut self, now: Instant) -> bool {
        self.alone_since = if self.roster.connected() > 0 {
            None
        } else {
            self.alone_since.or(Some(now))
        };
        self.alone_since
            .is_some_and(|since| now.duration_since(since) >= RECOVERY)
    }

    /// Checks whether nobody has been at work for the grace of workers on load whose end only they
    /// know: nobody says when one that is lost would have ended.
    fn is_abandoned(&mut self, now: Instant) -> bool {
        self.idle_since = if self.roster.at_work() == 0 && self.is_open_ended() {
            self.idle_since.or(Some(now))
        } else {
            None
        };
        self.idle_since
            .is_some_and(|since| now.duration_since(since) >= self.file.grace)
    }

    /// Checks whether a worker may be making load of which nothing was heard yet. One that has been
    /// connected for a while is given up when its time to stop is over.
    fn awaits_samples(&self, now: Instant) -> bool {
        let is_overdue = self
            .end_of_load()
            .is_some_and(|end| self.elapsed(now) >= end + self.file.plan.stop_timeout + LAST_WORD);
        let is_unknown = self.recovering_until.is_some_and(|until| now < until);
        (is_unknown && self.has_unknown())
            || self
                .roster
                .awaits(now, self.file.grace, is_overdue.then_some(LAST_WORD))
    }

    /// Time from the run's zero to the end of the load, without the drain; `None` while only the
    /// workers know it.
    pub(super) fn end_of_load(&self) -> Option<Duration> {
        self.cut_at.or(self.file.plan.whole_length())
    }

    /// Checks whether load should exist: the profile is not over, or only the workers know when it
    /// is.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.file
            .plan
            .whole_length()
            .is_none_or(|length| self.elapsed(now) < length)
    }

    /// Checks whether only the workers know when the load is over.
    pub(super) fn is_open_ended(&self) -> bool {
        self.file.plan.whole_length().is_none()
    }

    /// The ending of a run that lost nobody: stopped, breached, or the end of its profile.
    pub(super) fn natural_ending(&self) -> Ending {
        match (&self.stopped, &self.breached, &self.failed) {
            (Some(stop), _, _) => Ending::Stopped(stop.clone()),
            (None, Some(why), _) => Ending::Breached { why: why.clone() },
            (None, None, Some(why)) => Ending::WorkerLost { why: why.clone() },
            (None, None, None) => Ending::Natural,
        }
    }
}
