//! The coordinator's part in what the operator says: the grant that starts or resumes the run, its
//! stop, and the acknowledgement of its result.

use std::time::{Duration, Instant};

use super::super::memory::{Facts, MemoryError};
use super::Coordinator;
use crate::plan::duration;
use crate::plan::share::MAX_WORKERS;
use crate::wire::Reason;
use crate::wire::control::{Grant, GrantAction, MasterState, Stop};
use crate::wire::fleet::{self, from_master::Message};

/// Reasons to refuse a grant.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The grant is for another run.
    #[error("this is the master of run {actual}, not of {asked}")]
    OtherRun {
        /// Run of the grant.
        asked: String,
        /// Run of this master.
        actual: String,
    },
    /// The grant is for another master of the run.
    #[error("this is incarnation {actual}, the grant is for {asked}")]
    OtherIncarnation {
        /// Incarnation of the grant.
        asked: String,
        /// Incarnation of this master.
        actual: String,
    },
    /// A later grant has come already.
    #[error("epoch {asked} is over, {actual} is the latest")]
    OldEpoch {
        /// Epoch of the grant.
        asked: u32,
        /// Epoch of the latest grant.
        actual: u32,
    },
    /// No run has so many workers.
    #[error("a run has at least 1 worker and at most {MAX_WORKERS}, not {asked}")]
    Workers {
        /// Number that was asked for.
        asked: u32,
    },
    /// The grant cannot be remembered.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Coordinator {
    /// Takes the operator's grant: starts the run, or goes on with one that another incarnation
    /// started. A grant that came before changes nothing.
    pub fn grant(&mut self, grant: &Grant, now: Instant) -> Result<(), Refusal> {
        self.check_grant(grant)?;
        if let Some(workers) = grant.workers {
            self.resize(workers)?;
        }
        let Grant {
            epoch,
            action,
            deadline_micros,
            ..
        } = *grant;
        let mut facts = Facts {
            epoch,
            deadline_micros,
            ..self.facts.clone()
        };
        match (action, self.state) {
            (GrantAction::Start, MasterState::Waiting | MasterState::Ready) => {
                // a grant that comes again after a restart does not begin the time anew
                if self.granted_at.is_none() {
                    facts.granted_at = self.memory.uptime();
                }
                // whatever a worker told of an earlier master, there was none
                facts.changes.clear();
                self.remember(facts)?;
                self.apply_changes();
                self.granted_at.get_or_insert(now);
                self.start_wanted = true;
            }
            (GrantAction::Resume, MasterState::Waiting | MasterState::Ready) => {
                facts.granted = true;
                self.remember(facts)?;
                self.state = MasterState::Recovering;
                self.alone_since = Some(now);
                self.feeding.forget();
            }
            // the grant came before
            _ => self.remember(facts)?,
        }
        self.tick(now);
        Ok(())
    }

    /// Checks that a grant is for this run and master, and not an old one.
    fn check_grant(&self, grant: &Grant) -> Result<(), Refusal> {
        let Grant {
            run,
            epoch,
            incarnation,
            action: _,
            deadline_micros: _,
            workers: _,
        } = grant;
        if *run != self.file.run {
            return Err(Refusal::OtherRun {
                asked: run.clone(),
                actual: self.file.run.clone(),
            });
        }
        if *incarnation != self.facts.incarnation {
            return Err(Refusal::OtherIncarnation {
                asked: incarnation.clone(),
                actual: self.facts.incarnation.clone(),
            });
        }
        if *epoch < self.facts.epoch {
            return Err(Refusal::OldEpoch {
                asked: *epoch,
                actual: self.facts.epoch,
            });
        }
        Ok(())
    }

    /// Returns the time since the start grant, by clocks that nobody sets: this process's, that of
    /// the machine, or else those of the workers that carry the run, which tell the time since its
    /// zero. `None` while nobody knows.
    pub(super) fn granted_for(&self, now: Instant) -> Option<Duration> {
        match (self.granted_at, self.clock) {
            (Some(granted), _) => Some(now.saturating_duration_since(granted)),
            (None, Some(_)) => Some(self.elapsed(now)),
            (None, None) => None,
        }
    }

    /// Ends a run that has not ended at its deadline.
    pub(super) fn check_deadline(&mut self, now: Instant) {
        let deadline = Duration::from_micros(self.facts.deadline_micros);
        let is_late = self
            .granted_for(now)
            .is_some_and(|passed| passed >= deadline);
        if deadline.is_zero() || !is_late || self.stopped.is_some() {
            return;
        }
        let after = duration::format(deadline);
        self.stop(
            Stop {
                run: self.file.run.clone(),
                reason: Reason::DeadlineExceeded,
                message: format!("the run had not ended {after} after its start"),
            },
            now,
        );
    }

    /// Ends the run as aborted. The first of several stops counts, and none that comes after a
    /// breach.
    pub fn stop(&mut self, stop: Stop, now: Instant) {
        if self.result.is_some()
            || self.stopped.is_some()
            || self.breached.is_some()
            || self.one_offs.is_closing()
        {
            return;
        }
        self.event(&format!("stopped: {}", stop.message));
        self.stopped = Some(stop);
        if self.state == MasterState::Running {
            self.cut_load(now);
        } else if self.state != MasterState::Stopping {
            self.end_run(self.natural_ending(), now);
        }
        self.tick(now);
    }

    /// Lets all workers go, since the result is stored somewhere safe.
    pub fn acknowledge(&mut self) {
        self.acknowledged = true;
        self.broadcast(|| Message::Release(fleet::Release {}));
    }
}

#[cfg(test)]
mod tests;
