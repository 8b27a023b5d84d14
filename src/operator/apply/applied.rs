//! Proofs of what the API server holds: only a write or an observation makes one. A status is
//! computed from the objects that are there, and a grant is derived from a status that is written.

use crate::crd::LoadTestStatus;
use crate::crd::status::RunStatus;
use crate::operator::child::Child;
use crate::operator::view::{Children, Observed};
use crate::plan::duration;
use crate::wire::control::{FleetSize, Grant, GrantAction, Scale};

/// Children that the API server holds once the objects of a pass are created.
#[derive(Debug)]
pub struct Applied {
    children: Children,
    report: String,
}

impl Applied {
    /// Children as observed, and those created since. `report` is the name that the run's report
    /// has.
    pub(super) fn new(children: Children, report: String) -> Self {
        Self { children, report }
    }

    /// Returns whether the child is there and is the run's own.
    pub fn has(&self, child: Child) -> bool {
        self.children.has(child) && !self.children.is_foreign(child)
    }

    /// Returns the name of the run's report, if that is stored.
    pub fn report(&self) -> Option<&str> {
        self.has(Child::Report).then_some(&self.report)
    }

    /// Trusts a test about what was created.
    #[cfg(test)]
    pub fn assumed(children: Children) -> Self {
        let report = "name-of-the-report".to_owned();
        Self { children, report }
    }
}

/// A status that the API server holds.
#[derive(Debug)]
pub struct Written(LoadTestStatus);

impl Written {
    /// Status as it was read.
    pub fn observed(seen: &Observed) -> Self {
        Self(seen.status())
    }

    /// Status as the API server has just taken it.
    pub(super) fn put(status: LoadTestStatus) -> Self {
        Self(status)
    }

    /// Trusts a test about what was written.
    #[cfg(test)]
    pub fn assumed(status: LoadTestStatus) -> Self {
        Self(status)
    }

    /// Returns the grant that the status announces. Grants are derived from nothing else, so a
    /// master never holds one that the status does not show.
    pub fn grant(&self) -> Option<Grant> {
        let run = self.0.run.as_ref()?;
        let master = run.master.as_ref()?;
        run.started_at.as_ref()?;
        // the first epoch's master is the only one that ever starts load
        let action = if master.epoch == 1 {
            GrantAction::Start
        } else {
            GrantAction::Resume
        };
        Some(Grant {
            run: run.id.clone(),
            epoch: master.epoch,
            incarnation: master.incarnation.clone(),
            action,
            // without one that can be read the run has no deadline
            deadline_micros: duration::parse(&run.deadline)
                .map_or(0, |deadline| deadline.as_micros() as u64),
            workers: fleet_size(run),
        })
    }

    /// Returns the number of workers that the status announces; `None` for a run whose number does
    /// not change.
    pub fn scale(&self) -> Option<Scale> {
        let run = self.0.run.as_ref()?;
        Some(Scale {
            run: run.id.clone(),
            workers: fleet_size(run)?,
        })
    }
}

fn fleet_size(run: &RunStatus) -> Option<FleetSize> {
    let now = run.wanted_workers();
    run.most_workers.map(|most| FleetSize {
        now,
        most: most.max(now),
    })
}
