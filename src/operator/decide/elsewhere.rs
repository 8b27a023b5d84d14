//! A run in progress that another installation of the operator began: it is left alone until that
//! installation is certainly gone, and then ended. Nobody else has the keys to speak with its
//! master, so there is nothing of it to take over.

use std::time::Duration;

use jiff::Timestamp;

use super::activity::{Activity, active_draft, end, finish};
use super::decision::{Decision, Requeue};
use crate::crd::Phase;
use crate::crd::status::RunStatus;
use crate::operator::lease::Owner;
use crate::operator::reason::Reason;
use crate::operator::view::Observed;

/// Time between two looks at the other installation.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Decides about the run of another installation.
pub fn decide<'a>(seen: &'a Observed, run: &RunStatus, now: Timestamp) -> Decision<'a> {
    let owner = &run.installation;
    let said = match seen.owner {
        // two that write the same status would undo each other's words
        Owner::Alive => None,
        Owner::Silent => Some(format!(
            "installation {owner:?} of the operator began the run and does not renew its Lease; \
             the run is ended when that has expired"
        )),
        Owner::Unknown => Some(format!(
            "installation {owner:?} of the operator began the run, has not written anything for a \
             while, and holds no Lease, so that nobody can tell whether it is gone; if it is, \
             delete the LoadTest and apply it again"
        )),
        Owner::Gone => {
            let message = format!(
                "installation {owner:?} of the operator, which began the run, is gone: its Lease \
                 has expired; nobody else can ask the run's master, so the result is lost"
            );
            let end = end(Phase::Errored, Reason::InstallationGone, message);
            return finish(seen, run, end, None, now);
        }
    };
    let phase = seen.status().phase.filter(|phase| !phase.is_terminal());
    let draft = |said| {
        let activity = Activity::new(Reason::OtherInstallation, said);
        active_draft(seen, run, phase.unwrap_or(Phase::Starting), activity)
    };
    Decision {
        status: said.map(draft),
        requeue: Requeue::After(LOOK_EVERY),
        ..Decision::default()
    }
}
