//! The number of workers of a run in progress: what the spec asks for, and the next step towards
//! it.
//!
//! The status announces a number first. The master is told before the Job is changed: it lets
//! nobody in whose index it was not told of, and when there are to be fewer workers, the load is
//! moved away from those that go before their Pods do.

use crate::crd::LoadTest;
use crate::crd::status::RunStatus;
use crate::operator::view::{Governing, Observed};
use crate::plan::policy::{Demand, Wanted, judge};
use crate::plan::share::MAX_WORKERS;
use crate::wire::control::Progress;

/// Field that asks for a number.
const FIELD: &str = "spec.workers.replicas";

/// Worker Pods that the spec asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Number of worker Pods; that which the run has where the spec's does not count.
    pub pods: u32,
    /// Reason why the spec's number does not count, in words.
    pub remark: Option<String>,
}

/// Step towards the number of workers that the status announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Tells the master.
    Tell,
    /// Gives the Job and the budget of disruptions this number of worker Pods.
    Resize(u32),
}

/// Returns how many worker Pods `run` is to have by the spec as it is now.
pub fn wish(test: &LoadTest, run: &RunStatus, governing: &Governing) -> Wish {
    let workers = &test.spec.workers;
    let (now, wanted) = (run.wanted_pods(), workers.replicas);
    // what begins with perWorker has the number that the load needs
    if workers.per_worker.is_some() || wanted == now {
        return Wish {
            pods: now,
            remark: None,
        };
    }
    match refusal(run, wanted, governing) {
        None => Wish {
            pods: wanted,
            remark: None,
        },
        Some(why) => Wish {
            pods: now,
            remark: Some(format!("{FIELD}: {wanted} does not act on this run: {why}")),
        },
    }
}

fn refusal(run: &RunStatus, wanted: u32, governing: &Governing) -> Option<String> {
    if !(1..=MAX_WORKERS).contains(&wanted) {
        return Some(format!("must be at least 1 and at most {MAX_WORKERS}"));
    }
    if run.external > 0 {
        return Some("workers from elsewhere have the indexes after those of its Pods".to_owned());
    }
    if run.most_workers.is_none() {
        return Some("an older release of the operator began it".to_owned());
    }
    if let Some(why) = governing.unreadable.first() {
        return Some(why.clone());
    }
    let demand = Demand {
        field: FIELD.to_owned(),
        wanted: Wanted::Workers(wanted),
    };
    let problems = judge(&governing.policies, &[demand]);
    problems.first().map(|problem| problem.message.clone())
}

/// Returns whether the spec asks for a number that a policy may refuse.
pub fn is_wanted(test: &LoadTest, run: &RunStatus) -> bool {
    wish(test, run, &Governing::default()).pods != run.wanted_pods()
}

/// Returns the run with the number of worker Pods that the spec asks for now; `None` if it has
/// that.
pub fn announced(seen: &Observed, run: &RunStatus) -> Option<RunStatus> {
    let Wish { pods, remark: _ } = wish(&seen.test, run, &seen.governing);
    let scaled = RunStatus {
        scaled_to: Some(pods),
        most_workers: run.most_workers.map(|most| most.max(pods)),
        ..run.clone()
    };
    (pods != run.wanted_pods()).then_some(scaled)
}

/// Returns the next step of a run whose master says `progress`; `None` if nothing is left to do.
pub fn step(seen: &Observed, run: &RunStatus, progress: &Progress) -> Option<Step> {
    // a master of an older release, whose number of workers stays
    let leaving = progress.leaving?;
    if progress.workers != run.wanted_workers() {
        return Some(Step::Tell);
    }
    let (there, wanted) = (seen.job_pods?, run.wanted_pods());
    let is_free = there < wanted || leaving == 0;
    (there != wanted && is_free).then_some(Step::Resize(wanted))
}
