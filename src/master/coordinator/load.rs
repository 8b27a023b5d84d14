//! The coordinator's part in the load: shares handed out, thresholds and levels watched, and when
//! it is over.

use std::time::{Duration, Instant};

use super::super::memory::Facts;
use super::super::result::Ending;
use super::super::search::Search;
use super::{Clock, Coordinator, snapshot_interval};
use crate::plan::Load;
use crate::wire::control::MasterState;
use crate::wire::fleet::{self, from_master::Message};

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

    /// Gives every ready worker that carries nothing the share of its seat, from where the profile
    /// is by now.
    fn assign_shares(&mut self, now: Instant) {
        let Some(clock) = self.clock else { return };
        let in_micros = match clock.zero.checked_duration_since(now) {
            Some(ahead) => ahead.as_micros() as i64,
            None => -(now.duration_since(clock.zero).as_micros() as i64),
        };
        let (epoch, workers, seed) = (self.facts.epoch, self.file.workers, self.seed);
        let interval_seconds = snapshot_interval(workers);
        let starts: Vec<(u32, String, u64)> = self
            .roster
            .idle()
            .map(|session| (session, self.iterations_done(session.index)))
            .filter(|(session, done)| {
                let setup_values = self.one_offs.setup_values();
                let start = Message::Start(fleet::Start {
                    epoch,
                    workers,
                    in_micros,
                    seed,
                    iterations_done: *done,
                    setup_values,
                    interval_seconds,
                });
                let levels = self.search.as_ref().map(Search::announcement);
                session.send(start)
                    && levels.is_none_or(|levels| session.send(Message::Levels(levels)))
            })
            .map(|(session, done)| (session.index, session.instance.clone(), done))
            .collect();
        for (index, instance, done) in starts {
            self.roster.mark_carrying(index, &instance);
            if done > 0 {
                self.event(&format!("worker {index} carries out again what was not reported beyond {done} iterations"));
            }
            if in_micros < 0 {
                self.event(&format!(
                    "worker {index} joined {} s into the run",
                    -in_micros / 1_000_000
                ));
            }
        }
    }

    /// Iterations of a share that earlier processes carried out. With other load beside them nobody
    /// knows which they were, so a replacement begins none anew.
    fn iterations_done(&self, index: u32) -> u64 {
        let populations = &self.file.plan.populations;
        let counted = populations
            .iter()
            .any(|population| matches!(population.load, Load::Iterations(_)));
        match (counted, populations.len()) {
            (false, _) => 0,
            (true, 1) => self.roster.iterations(index),
            (true, _) => {
                if self.roster.iterations(index) > 0 {
                    u64::MAX
                } else {
                    0
                }
            }
        }
    }

    /// Goes on with a run that another master process started, once a worker that carries it has
    /// said how far it is; gives it up after [`RECOVERY`].
    pub(super) fn recover(&mut self, now: Instant) {
        if self.roster.carriers() > 0 && self.clock.is_some() {
            self.event("a new master process goes on with the run");
            self.alone_since = None;
            self.state = if self.stopped.is_some() {
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
        if self.roster.all_over()
            && (!due || self.is_open_ended() || self.state == MasterState::Stopping)
        {
            return self.end_run(self.natural_ending(), now);
        }
        if self.state == MasterState::Running && due && can_give_shares {
            self.assign_shares(now);
        }
        let deserted = self.is_deserted(now);
        if self.is_abandoned(now) {
            self.end_run(self.natural_ending(), now);
        } else if deserted && due {
            self.end_run(Ending::Deserted, now);
        } else if self.expects_no_samples(now) || self.gives_up_workers(now) {
            self.end_run(self.natural_ending(), now);
        }
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

    /// Checks whether no worker's last samples are to be expected any more.
    fn expects_no_samples(&self, now: Instant) -> bool {
        let nobody_at_work = self.roster.at_work() == 0;
        let patience = if nobody_at_work {
            LAST_WORD
        } else {
            self.file.plan.stop_timeout + LAST_WORD
        };
        let is_overdue = self
            .file
            .plan
            .whole_length()
            .is_some_and(|length| self.elapsed(now) >= length + patience);
        is_overdue || (self.state == MasterState::Stopping && nobody_at_work)
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
    fn is_open_ended(&self) -> bool {
        self.file.plan.whole_length().is_none()
    }

    /// The ending of a run that lost nobody: stopped, breached, or the end of its profile.
    pub(super) fn natural_ending(&self) -> Ending {
        match (&self.stopped, &self.breached) {
            (Some(stop), _) => Ending::Stopped(stop.clone()),
            (None, Some(why)) => Ending::Breached { why: why.clone() },
            (None, None) => Ending::Natural,
        }
    }
}
