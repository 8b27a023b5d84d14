//! The coordinator's part in feeders of scope Test: it compares the data that workers hold and
//! leases out the rows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::leases::RowLeases;
use super::super::roster::{Reported, SessionId};
use super::Coordinator;
use crate::plan::Plan;
use crate::plan::feeder::FeederScope;
use crate::stats::result::FeederResult;
use crate::wire::control::{MasterState, ProblemKind};
use crate::wire::fleet::{self, from_master::Message};

/// Time for which a new Pod of the master, which remembers nothing, waits for all workers to say
/// what they know before it leases rows.
const HEAR_ALL: Duration = Duration::from_secs(10);

/// Rows that all workers share, and what must be the same on all of them.
pub(super) struct Feeding {
    /// Leases of each feeder of scope Test, by its place in the plan.
    leases: BTreeMap<u16, RowLeases>,
    /// Rows of each feeder as the first worker reported them.
    data: BTreeMap<u16, Data>,
    /// The worker that reported its gRPC descriptors first, and their digest.
    descriptors: Option<(u32, String)>,
    /// Requests for rows that are not answered yet.
    waiting: Vec<(SessionId, fleet::RowsWanted)>,
    /// `Some` while it is not known which rows were leased before; inside, when workers were first
    /// asked.
    unsure: Option<Option<Instant>>,
}

/// A feeder's rows as one worker has them.
struct Data {
    worker: u32,
    rows: u32,
    digest: String,
}

impl Feeding {
    /// Begins with what is remembered. `remembered` has the first row never leased of each feeder,
    /// as this incarnation wrote it; `granted` says that rows may have been leased already.
    pub(super) fn new(plan: &Plan, remembered: Option<BTreeMap<u16, u64>>, granted: bool) -> Self {
        let shared = plan
            .feeders
            .iter()
            .enumerate()
            .filter(|(_, feeder)| feeder.scope == FeederScope::Test);
        let mut leases: BTreeMap<u16, RowLeases> = shared
            .map(|(i, feeder)| (i as u16, RowLeases::new(feeder.is_finite())))
            .collect();
        let unsure = (granted && remembered.is_none()).then_some(None);
        for (feeder, next) in remembered.into_iter().flatten() {
            if let Some(leases) = leases.get_mut(&feeder) {
                leases.skip_to(next);
            }
        }
        Self {
            leases,
            data: BTreeMap::new(),
            descriptors: None,
            waiting: Vec::new(),
            unsure,
        }
    }

    /// Forgets which rows were leased, since the run is under way and another master leased them.
    pub(super) fn forget(&mut self) {
        if self.leases.values().all(|leases| leases.next() == 0) {
            self.unsure = Some(None);
        }
    }

    /// Compares a worker's rows with those of the first; `Some` says how they differ.
    fn compare(&mut self, worker: u32, theirs: &fleet::FeederData) -> Option<Reported> {
        let feeder = theirs.feeder as u16;
        let leases = self.leases.get_mut(&feeder)?;
        let first = self.data.entry(feeder).or_insert_with(|| Data {
            worker,
            rows: theirs.rows,
            digest: theirs.digest.clone(),
        });
        if first.digest == theirs.digest && first.rows == theirs.rows {
            leases.set_rows(theirs.rows.into());
            return None;
        }
        let how = if first.rows == theirs.rows {
            format!("{} rows, but not the same", first.rows)
        } else {
            format!("{} rows instead of {}", theirs.rows, first.rows)
        };
        let message = format!(
            "worker {worker} holds other data than worker {}: {how}",
            first.worker
        );
        Some(Reported {
            kind: ProblemKind::InvalidSpec,
            field: format!("spec.feeders[{feeder}]"),
            object: String::new(),
            message,
        })
    }

    /// Compares a worker's gRPC descriptors with those of the first; `Some` says how they differ.
    fn compare_descriptors(&mut self, worker: u32, theirs: &str) -> Option<Reported> {
        let (first, digest) = self
            .descriptors
            .get_or_insert_with(|| (worker, theirs.to_owned()));
        let message = format!(
            "worker {worker} knows other gRPC services or messages than worker {first}; they asked servers of two versions"
        );
        let field = "spec.protos".to_owned();
        (digest != theirs).then_some(Reported {
            kind: ProblemKind::InvalidSpec,
            field,
            object: String::new(),
            message,
        })
    }

    /// First row never leased, by feeder.
    fn next(&self) -> BTreeMap<u16, u64> {
        self.leases
            .iter()
            .map(|(feeder, leases)| (*feeder, leases.next()))
            .collect()
    }
}

impl Coordinator {
    /// Marks a worker ready, unless its data are not those of the others.
    pub(super) fn on_ready(&mut self, id: SessionId, ready: &fleet::Ready, now: Instant) {
        let Some(worker) = self.roster.index(id) else {
            return;
        };
        let mut problems: Vec<Reported> = ready
            .feeders
            .iter()
            .filter_map(|data| self.feeding.compare(worker, data))
            .collect();
        problems.extend(self.feeding.compare_descriptors(worker, &ready.descriptors));
        self.one_offs.add_warnings(&ready.warnings);
        let reserved: Vec<(u16, u64)> = self
            .feeding
            .leases
            .iter()
            .map(|(feeder, leases)| (*feeder, leases.reserved()))
            .collect();
        let Some(seat) = self.roster.seat(id) else {
            return;
        };
        if !problems.is_empty() {
            return seat.set_problems(problems, now);
        }
        seat.set_ready(ready.one_offs().collect());
        for (feeder, end) in reserved.into_iter().filter(|(_, end)| *end > 0) {
            self.send_to(
                id,
                Message::RowsReserved(fleet::RowsReserved {
                    feeder: feeder.into(),
                    end,
                }),
            );
        }
    }

    /// Takes in how many rows a worker was leased and has used.
    pub(super) fn add_usage(&mut self, id: SessionId, feeders: &[fleet::FeederUsage]) {
        for usage in feeders {
            let feeder = usage.feeder as u16;
            if self.feeding.unsure.is_some()
                && let Some(leases) = self.feeding.leases.get_mut(&feeder)
            {
                leases.skip_to(usage.reserved);
            }
            if let Some(instance) = self.roster.instance(id) {
                let known = instance.rows.entry(feeder).or_default();
                known.leased = known.leased.max(usage.leased);
                known.used = usage.used;
            }
        }
    }

    /// Queues a request for rows, which [`Self::lease_rows`] answers.
    pub(super) fn on_rows_wanted(&mut self, id: SessionId, wanted: fleet::RowsWanted) {
        self.feeding.waiting.push((id, wanted));
    }

    /// Ends the load when a feeder is used up: one whose rows are leased when no worker has any
    /// left, any other when one worker is through.
    pub(super) fn on_used_up(&mut self, id: SessionId, feeder: u16, now: Instant) {
        let Some(name) = self.file.plan.feeders.get(usize::from(feeder)) else {
            return self.event(&format!(
                "a worker has used every row of feeder {feeder}, which this test does not have"
            ));
        };
        let name = name.name.clone();
        if let Some(instance) = self.roster.instance(id) {
            instance.used_up.insert(feeder);
        }
        let is_over = !self.feeding.leases.contains_key(&feeder) || self.roster.all_used_up(feeder);
        if is_over && self.state == MasterState::Running {
            self.event(&format!(
                "every row of feeder {name:?} has been used, which ends the load"
            ));
            self.cut_load(now);
        }
    }

    /// Answers requests for rows, once it is known which have been leased.
    pub(super) fn lease_rows(&mut self, now: Instant) {
        if !matches!(self.state, MasterState::Running | MasterState::Stopping) {
            return;
        }
        if let Some(since) = &mut self.feeding.unsure {
            let since = *since.get_or_insert(now);
            if self.roster.carriers() < self.roster.workers()
                && now.duration_since(since) < HEAR_ALL
            {
                return;
            }
            self.feeding.unsure = None;
            for (feeder, next) in self.feeding.next() {
                self.event(&format!("feeder {feeder} goes on at row {next} of those leased; some before it may have gone to nobody"));
            }
        }
        for (id, wanted) in std::mem::take(&mut self.feeding.waiting) {
            self.lease(id, wanted);
        }
    }

    /// Leases rows to a worker: the number is stored first, then announced to all, then sent.
    fn lease(&mut self, id: SessionId, wanted: fleet::RowsWanted) {
        let feeder = wanted.feeder as u16;
        if self.roster.index(id).is_none() {
            return;
        }
        let workers = self.roster.workers();
        let Some(leases) = self.feeding.leases.get_mut(&feeder) else {
            return;
        };
        let Some(lease) = leases.lease(wanted.count.into(), workers) else {
            return;
        };
        if let Err(e) = self.memory.store_rows(&self.feeding.next()) {
            // these positions are skipped; the worker asks again when it comes back
            return self.event(&format!("cannot lease rows: {e}"));
        }
        if let Some(end) = lease.reserved {
            self.broadcast(|| {
                Message::RowsReserved(fleet::RowsReserved {
                    feeder: feeder.into(),
                    end,
                })
            });
        }
        if let Some(instance) = self.roster.instance(id) {
            instance.rows.entry(feeder).or_default().leased +=
                lease.positions.end - lease.positions.start;
        }
        let (first, end) = (lease.positions.start, lease.positions.end);
        self.send_to(
            id,
            Message::RowsLeased(fleet::RowsLeased {
                feeder: feeder.into(),
                first,
                end,
                exhausted: lease.exhausted,
            }),
        );
    }

    /// Sums up what became of the rows of each shared feeder.
    pub(super) fn feeder_results(&self) -> Vec<FeederResult> {
        let result = |feeder: &u16| {
            let name = self.file.plan.feeders[usize::from(*feeder)].name.clone();
            let rows = self.roster.rows(*feeder);
            FeederResult {
                name,
                leased: rows.leased,
                used: rows.used,
                lost: rows.lost,
            }
        };
        self.feeding.leases.keys().map(result).collect()
    }

    /// Sends a message to one worker, if it is still connected.
    pub(super) fn send_to(&mut self, id: SessionId, message: Message) {
        if let Some(Some(session)) = self.roster.seat(id).map(|seat| &seat.session) {
            // a worker that takes no message is gone or far behind: its connection ends and it asks
            // again
            let _ = session.send(message);
        }
    }
}

#[cfg(test)]
mod tests;
