//! What the real code makes of what an operator sees, computed once for each sight; and statuses by
//! their content.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::*;
use super::fleet::{At, Fleet, Master, name, number};
use super::rest::Settled;
use super::world::{RUNS, Verdict, place};
use crate::crd::LoadTest;
use crate::operator::identity;
use crate::operator::view::{PodView, RefusalKind};
use crate::wire::RunResult;
use crate::wire::checksum::sha256;

/// A status, known by its content: the same in every search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusId(u64);

/// Everything of the world that a decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sight {
    pub target: u8,
    pub suspend: bool,
    pub generation: u8,
    pub status: StatusId,
    /// UIDs of the children of the run in the status.
    pub children: [Option<u8>; Child::FLEET.len()],
    pub report: Option<Verdict>,
    pub fleet: Fleet,
    pub master: Heard,
    /// Jumps of the clock since the master was last heard.
    pub silent_for: u8,
    pub acknowledged: Option<bool>,
    /// Create that was refused: a child of the fleet, or the report after them.
    pub refused: Option<u8>,
    pub now: u8,
}

/// What the poller knows of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Heard {
    Unasked,
    Absent,
    Unreachable,
    Up(Master),
}

/// Write of a pass, with statuses by their ids.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Planned {
    Create(usize),
    Report(Verdict),
    Delete(usize, u8),
    Status(StatusId),
    Order(Order),
}

/// Order that waits with the poller of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Order {
    /// Epoch and incarnation.
    Start(u8, u8),
    Resume(u8, u8),
    Stop,
    Acknowledge,
}

/// Decision on a sight.
pub struct Plan {
    /// Run in the status when this was decided, to which children and orders belong.
    pub run: Option<usize>,
    pub writes: Vec<Planned>,
}

/// Memory of what has been computed.
#[derive(Default)]
pub struct Knowledge {
    statuses: Mutex<HashMap<StatusId, Arc<LoadTestStatus>>>,
    plans: Mutex<HashMap<Sight, Arc<Plan>>>,
    checks: [Mutex<SpecCheck>; RUNS],
    /// States from which the world is known to come to rest.
    pub settled: Settled,
}

/// Length of one jump of the clock in seconds: beyond the start deadline of the runs here, their
/// deadline, and the time for which results are shown. Two are beyond all that follows these.
const JUMP: i64 = 700;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Knowledge {
    /// Returns the status with this id, which was remembered before.
    pub fn status(&self, id: StatusId) -> Arc<LoadTestStatus> {
        locked(&self.statuses)[&id].clone()
    }

    pub fn remember(&self, status: &LoadTestStatus) -> StatusId {
        let json = serde_json::to_string(status).expect("a status is JSON");
        let hash = sha256(json.as_bytes());
        let id = StatusId(u64::from_str_radix(&hash[..16], 16).expect("hexadecimal"));
        let mut statuses = locked(&self.statuses);
        statuses
            .entry(id)
            .or_insert_with(|| Arc::new(status.clone()));
        id
    }

    /// Id of the run with this place among all runs.
    pub fn run_id(&self, run: usize) -> String {
        let runs = i64::try_from(run + 1).expect("few runs");
        let proofs = fixture::keys().current_proofs();
        identity::run_id(&proofs, "categorizer", "0b0c", runs)
    }

    /// Returns the place among all runs of the run in a status.
    pub fn run_of(&self, status: &LoadTestStatus) -> Option<usize> {
        status.run.as_ref()?;
        usize::try_from(status.runs - 1).ok()
    }

    /// Returns what an operator decides that sees this.
    pub fn plan(&self, sight: &Sight) -> Arc<Plan> {
        if let Some(plan) = locked(&self.plans).get(sight) {
            return plan.clone();
        }
        let plan = Arc::new(self.compute(sight));
        locked(&self.plans).insert(sight.clone(), plan.clone());
        plan
    }

    fn compute(&self, sight: &Sight) -> Plan {
        let status = self.status(sight.status);
        let run = self.run_of(&status);
        let seen = self.observed(sight, LoadTestStatus::clone(&status));
        let mut checks = locked(&self.checks[usize::from(sight.target)]);
        let decided = decide_with(&seen, &mut checks, at(sight.now));
        let writes = decided.writes.iter().filter_map(|write| {
            Some(match write {
                Write::Create(Child::Report) => Planned::Report(verdict_of(seen.result.as_ref()?)),
                Write::Create(child) => Planned::Create(place(*child)),
                Write::Delete { child, uid, .. } => {
                    Planned::Delete(place(*child), uid.parse().expect("a UID is a number"))
                }
                Write::Status(status) => Planned::Status(self.remember(status)),
                Write::Grant(grant) => Planned::Order(match grant.action {
                    GrantAction::Start => Order::Start(small(grant.epoch), number(grant)),
                    GrantAction::Resume => Order::Resume(small(grant.epoch), number(grant)),
                }),
                Write::Stop(_) => Planned::Order(Order::Stop),
                // nobody changes the number of workers here
                Write::Scale(_) | Write::Resize(_) => unreachable!("{write:?}"),
                Write::Acknowledge => Planned::Order(Order::Acknowledge),
            })
        });
        Plan {
            run,
            writes: writes.collect(),
        }
    }

    fn observed(&self, sight: &Sight, status: LoadTestStatus) -> Observed {
        let mut seen = applied();
        let run = status.run.clone();
        seen.test = spec(sight);
        seen.test.status = Some(status);
        let Some(run) = run else { return seen };
        let present = (0..Child::FLEET.len())
            .filter_map(|child| Some((Child::FLEET[child], sight.children[child]?)))
            .chain(sight.report.map(|_| (Child::Report, 1)));
        seen.children = Children(
            present
                .map(|(child, uid)| {
                    let (uid, deleting) = (uid.to_string(), false);
                    (child, Presence::Ours { uid, deleting })
                })
                .collect(),
        );
        seen.pods = pods(sight);
        seen.acknowledged = sight.acknowledged;
        seen.unreachable_for = Duration::from_secs(JUMP.unsigned_abs()) * sight.silent_for.into();
        seen.refusal = sight.refused.map(|child| Refusal {
            child: Child::FLEET
                .get(usize::from(child))
                .copied()
                .unwrap_or(Child::Report),
            kind: RefusalKind::Denied,
            message: "exceeded quota".into(),
        });
        seen.master = match sight.master {
            Heard::Unasked => MasterView::Unasked,
            Heard::Absent => MasterView::Absent,
            Heard::Unreachable => MasterView::Unreachable("no answer".into()),
            Heard::Up(master) => MasterView::Up(told(master, &run.id, sight.now)),
        };
        seen.heard = matches!(sight.master, Heard::Up(_)).then_some(at(sight.now));
        if run.started_at.is_some() && run.end.is_none() {
            let from_master = match sight.master {
                Heard::Up(Master {
                    at: At::Finished(verdict),
                    ..
                }) => Some(verdict),
                _ => None,
            };
            seen.result = sight
                .report
                .or(from_master)
                .map(|verdict| Arc::new(result(verdict)));
        }
        seen
    }
}

fn small(number: u32) -> u8 {
    u8::try_from(number).expect("few")
}

fn at(jumps: u8) -> Timestamp {
    later(JUMP * i64::from(jumps))
}

fn spec(sight: &Sight) -> LoadTest {
    let mut test = fixture::test();
    test.metadata.generation = Some(sight.generation.into());
    test.spec.target.url = format!("http://target-{}", sight.target);
    test.spec.run.suspend = sight.suspend;
    test
}

fn told(master: Master, run: &str, now: u8) -> crate::wire::control::Progress {
    let mut progress = progress(run, master.state());
    let is_waiting = matches!(master.at, At::Waiting { .. });
    progress.ready = if is_waiting { 0 } else { progress.workers };
    progress.incarnation = name(master.incarnation);
    progress.epoch = master.epoch.into();
    progress.deadline_micros = 640_000_000;
    let micros = |since: u8| JUMP.unsigned_abs() * 1_000_000 * u64::from(now - since);
    progress.granted_micros = master.granted_at.map(micros);
    progress
}

fn pods(sight: &Sight) -> Vec<PodView> {
    use crate::operator::child::Component;
    let pod = |component: Component, is_there: bool| {
        is_there.then(|| PodView {
            name: component.label().into(),
            component,
            created: None,
            address: None,
            ready: true,
            deleting: false,
            over: false,
            trouble: None,
            loss: None,
        })
    };
    let master = matches!(
        sight.master,
        Heard::Unasked | Heard::Unreachable | Heard::Up(_)
    );
    [
        pod(Component::Master, master),
        pod(Component::Worker, sight.fleet.has_pods()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn result(verdict: Verdict) -> RunResult {
    let mut result = fixture::result();
    if verdict == Verdict::Aborted {
        result.verdict = crate::wire::Verdict::Aborted;
        result.reason = VerdictReason::Suspended;
        result.totals.requests = 500;
    }
    result
}

fn verdict_of(result: &Arc<RunResult>) -> Verdict {
    match result.verdict {
        crate::wire::Verdict::Passed => Verdict::Passed,
        _ => Verdict::Aborted,
    }
}
