//! Decisions: from what was observed to exactly the next writes, without I/O, clock or randomness.
//! The order of writes in LIFECYCLE 2 is decided here.
//!
//! A run passes through three files: `inactive` begins it and clears up after it, `starting` brings
//! it to its grant, `running` brings it to its end.

mod activity;
pub mod clocks;
mod decision;
mod elsewhere;
mod inactive;
mod policy;
mod running;
pub mod scaling;
mod starting;

use jiff::Timestamp;

use super::child::Child;
use super::spec_check::SpecCheck;
use super::view::{Observed, RefusalKind};

pub use decision::{CallAfter, CallBefore, Create, Decision, Deletion, Requeue};

/// Decides what one pass over a LoadTest does. The spec is checked through `checks`, and only where
/// the decision depends on it.
pub fn decide<'a>(seen: &'a Observed, checks: &mut SpecCheck, now: Timestamp) -> Decision<'a> {
    if seen.test.metadata.deletion_timestamp.is_some() {
        // the garbage collector deletes the children
        return Decision::default();
    }
    if seen
        .refusal
        .as_ref()
        .is_some_and(|refusal| refusal.kind == RefusalKind::Terminating)
    {
        return leave(seen);
    }
    match seen.status().run {
        Some(run) if run.end.is_none() && run.installation != seen.installation.id => {
            elsewhere::decide(seen, &run, now)
        }
        Some(run) if run.end.is_none() => match &run.started_at {
            None => starting::decide(seen, &run, checks, now),
            Some(started_at) => running::decide(seen, &run, started_at, now),
        },
        ended => inactive::decide(seen, ended.as_ref(), checks, now),
    }
}

/// Deletes the Job of a namespace that is being deleted. Such a namespace loses its Pods first and
/// all else when they are gone; but with a backoff limit per index the Job's controller holds a
/// failed Pod by its finalizer until it has made another, which is forbidden here. Without its Job
/// the Pod may go.
fn leave(seen: &Observed) -> Decision<'_> {
    let run = seen.status().run.map(|run| run.id).unwrap_or_default();
    let job = seen.children.uid(Child::Workers).map(|uid| Deletion {
        child: Child::Workers,
        name: Child::Workers.name(&run),
        run: run.clone(),
        uid: uid.to_owned(),
    });
    Decision {
        delete: job.into_iter().collect(),
        requeue: Requeue::After(clocks::REFUSED),
        ..Decision::default()
    }
}

#[cfg(test)]
mod tests;
