//! The coordinator's part in the loss of workers: when one counts as lost, who carries its share
//! then, and what it leaves unknown.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::result::Unreported;
use super::super::roster::{Holder, Instance, Session, SessionId};
use super::super::shares::{Moved, Pace, Receiver, Terms};
use super::{Coordinator, lease_of, snapshot_interval};
use crate::plan::{Load, OnLoss, Share};
use crate::stats::result::Incomplete;
use crate::wire::control::MasterState;
use crate::wire::fleet::{self, from_master::Message};

/// Time ahead at which the parts of a lost share begin, so that all begin at once.
const SOON: Duration = Duration::from_millis(200);
/// Time ahead at which a share goes back to its worker, in which that hears of it.
pub(super) const AHEAD: Duration = Duration::from_secs(1);
/// Longest silence of a worker that is given more to carry.
pub(super) const SILENCE: Duration = Duration::from_secs(4);
/// Most workers that are gone of which others are told.
const MAX_LOSSES: usize = 256;

impl Coordinator {
    /// Gives up workers that died or have been silent for the whole of their lease.
    pub(super) fn watch_losses(&mut self, now: Instant) {
        let interval = snapshot_interval(self.roster.most_workers());
        let interval = Duration::from_secs(interval.into());
        for holder in self.roster.given_up(now, self.file.grace, interval) {
            self.lose(&holder, now);
        }
        // the word with which a worker leaves may be lost with its connection
        for holder in self.roster.left_as_wanted(now) {
            self.let_go(&holder);
        }
    }

    fn lose(&mut self, holder: &Holder, now: Instant) {
        let (elapsed, due) = (self.elapsed(now), self.is_due(now));
        let Some(instance) = self.roster.find(holder) else {
            return;
        };
        instance.lost_at = Some(elapsed);
        let silent = instance.heard_at.map(|heard| now.duration_since(heard));
        let silent = silent.unwrap_or_default().as_secs();
        let carried = self.shares.release(holder, !due);
        self.event(&format!(
            "worker {} is lost: nothing was heard of it for {silent} s",
            holder.0
        ));
        self.broadcast_losses();
        self.checkpoints.is_wanted = true;
        if carried && due {
            self.fail_for(&format!("worker {} was lost", holder.0), now);
        }
    }

    /// Ends the load for the loss of a worker, where the test asks for that.
    pub(super) fn fail_for(&mut self, what: &str, now: Instant) {
        if self.file.on_loss == OnLoss::Fail && self.state == MasterState::Running {
            let why = format!("{what}, and spec.workers.onLoss is Fail");
            self.event(&why);
            self.failed = Some(why);
            self.cut_load(now);
        }
    }

    /// Takes in what a worker carries. `last` says that its load is over.
    pub(super) fn hear_parts(
        &mut self,
        id: SessionId,
        states: &[fleet::PartState],
        last: bool,
        now: Instant,
    ) {
        let (due, elapsed) = (self.is_due(now), self.elapsed(now));
        let is_open_ended = self.is_open_ended();
        let Some(holder) = self.roster.holder(id) else {
            return;
        };
        let Some(instance) = self.roster.find(&holder) else {
            return;
        };
        if states.is_empty() && instance.reports_parts {
            return;
        }
        if states.is_empty() {
            // a worker of an older release carries one share, and says no more of it
            let iterations = instance.snapshot.counters.iterations;
            if !self.shares.knows(&holder) {
                self.shares.begin(&holder, Duration::ZERO, None);
            }
            self.shares.count(&holder, iterations);
            if last {
                self.shares.release(&holder, !due || is_open_ended);
            }
            return;
        }
        instance.reports_parts = true;
        // what was said long ago is no sign that it lives
        let is_late = instance.delay > self.file.grace / 2;
        let lost_at = instance.lost_at.take_if(|_| !is_late);
        let mut is_stray = false;
        for state in states {
            if self.shares.report(&holder, state) || is_late {
                continue;
            }
            let own = state
                .part
                .and_then(|part| self.shares.adopt(part.id, &holder));
            is_stray |= own.is_none();
            let others = own.unwrap_or_default();
            if !others.is_empty() {
                let both = elapsed.saturating_sub(lost_at.unwrap_or(elapsed)).as_secs();
                self.event(&format!(
                    "worker {} lived when its share was given to others: both carried it for up to {both} s",
                    holder.0
                ));
                self.send_parts(&others);
            }
        }
        if is_stray {
            self.send_parts(&BTreeSet::from([holder]));
        }
    }

    /// Tells processes what they are to carry.
    pub(super) fn send_parts(&self, holders: &BTreeSet<Holder>) {
        for session in self.roster.sessions() {
            if session.takes_parts() && holders.contains(&session.holder()) {
                // one that takes no message is gone or far behind: it says what it carries when it
                // comes back
                let _ = session.send(Message::Parts(self.shares.list(&session.holder())));
            }
        }
    }

    /// Gives every ready worker without anything to carry the share of its seat, from where the
    /// profile is by now, and what is left of lost ones to the others.
    pub(super) fn assign_shares(&mut self, now: Instant) {
        if self.shares.is_pausing() {
            return;
        }
        let shares = self.shares.division().workers;
        let idle: Vec<(Holder, SessionId)> = self
            .roster
            .idle()
            .filter(|session| session.index < shares)
            .map(|session| (session.holder(), session.id))
            .collect();
        for (holder, id) in idle {
            if let Some(from) = self.free_share(&holder, now) {
                self.start_share(&holder, id, from, None, now);
            }
        }
        let returned: Vec<Holder> = self
            .roster
            .returned()
            .filter(|session| session.index < shares)
            .map(Session::holder)
            .collect();
        for holder in returned {
            let is_left = !self.shares.carries(&holder) && !self.shares.is_over(holder.0);
            if is_left && let Some(from) = self.free_share(&holder, now) {
                self.begin_share(&holder, from, None, now);
                self.send_parts(&BTreeSet::from([holder]));
            }
        }
        if self.file.on_loss == OnLoss::Rebalance && self.shares.has_orphans() {
            self.rebalance(now);
        }
    }

    /// Takes a share back from those who carry it for another. Returns the time from which its own
    /// worker carries it; `None` while iterations of it are still carried out elsewhere.
    fn free_share(&mut self, holder: &Holder, now: Instant) -> Option<Duration> {
        // a division that is still to come counts for nobody yet
        let elapsed = self.elapsed(now).max(self.shares.division().from);
        if !self.shares.is_carried_by_others(holder.0, holder) {
            return Some(elapsed);
        }
        let counted = self.counts_iterations();
        let at = if counted { elapsed } else { elapsed + AHEAD };
        let others = self.shares.take_back(holder.0, at);
        self.send_parts(&others);
        (!counted).then_some(at)
    }

    /// Notes that a process carries the whole share of its seat.
    pub(super) fn begin_share(
        &mut self,
        holder: &Holder,
        from: Duration,
        arriving: Option<Pace>,
        now: Instant,
    ) -> u32 {
        let part = self.shares.begin(holder, from, arriving);
        let zero = self.clock.map(|clock| clock.zero);
        // a master that comes back must know of it
        self.checkpoints.is_wanted = true;
        let second = from.as_secs() as u32;
        if let Some(instance) = self.roster.find(holder) {
            instance.carrying = true;
            instance.last = false;
            instance.lost_at = None;
            // the share is a lease from its beginning
            instance.heard_at = Some(zero.map_or(now, |zero| now.max(zero)));
            instance.first_second = second;
            if instance.seen.is_some() {
                instance.seen = instance.seen.max(second.checked_sub(1));
            }
        }
        let again = self.shares.iterations(holder.0);
        if again > 0 && self.counts_iterations() {
            self.event(&format!(
                "worker {} carries out again what was not reported beyond {again} iterations",
                holder.0
            ));
            self.reissued += self.left_of(&Moved::whole(holder.0, again));
        }
        if !from.is_zero() {
            let second = from.as_secs();
            self.event(&format!(
                "worker {} joined {second} s into the run",
                holder.0
            ));
        }
        part
    }

    /// Sends a fresh process its share.
    pub(super) fn start_share(
        &mut self,
        holder: &Holder,
        id: SessionId,
        from: Duration,
        arriving: Option<Pace>,
        now: Instant,
    ) {
        let Some(clock) = self.clock else { return };
        let in_micros = match clock.zero.checked_duration_since(now) {
            Some(ahead) => ahead.as_micros() as i64,
            None => -(now.duration_since(clock.zero).as_micros() as i64),
        };
        let iterations_done = self.shares.done(holder.0);
        let part = self.begin_share(holder, from, arriving, now);
        let start = fleet::Start {
            epoch: self.facts.epoch,
            workers: self.shares.division().workers,
            in_micros,
            seed: self.seed,
            iterations_done,
            setup_values: self.one_offs.setup_values(),
            interval_seconds: snapshot_interval(self.roster.workers()),
            part,
            from_micros: from.as_micros() as u64,
            division: self.shares.announced(arriving),
            load_changes: self.announced_changes(),
        };
        self.send_to(id, Message::Start(start));
        if let Some(levels) = self.search.as_ref().map(|search| search.announcement()) {
            self.send_to(id, Message::Levels(levels));
        }
        self.send_losses(id);
    }

    /// Gives what nobody carries to workers that carry something already.
    fn rebalance(&mut self, now: Instant) {
        let shares = self.shares.division().workers;
        let receivers: Vec<Receiver> = self
            .roster
            .receivers(now, SILENCE)
            .filter(|(session, _)| session.index < shares)
            .map(|(session, cores)| Receiver {
                holder: session.holder(),
                cores,
            })
            .collect();
        let populations = self.file.plan.populations.iter();
        let most = populations.map(|population| population.load.most()).max();
        let terms = Terms {
            from: (self.elapsed(now) + SOON).max(self.shares.division().from),
            most: most.unwrap_or(1) / u64::from(shares.max(1)),
            one_thread: self.counts_iterations(),
        };
        let (changed, moved) = self.shares.give_out(&receivers, terms);
        if moved.is_empty() {
            return;
        }
        self.send_parts(&changed);
        let shares: BTreeSet<u32> = moved.iter().map(|moved| moved.share).collect();
        for share in shares {
            self.event(&format!(
                "the load of worker {share} is carried by {} of the others",
                changed.len()
            ));
        }
        if self.counts_iterations() {
            self.reissued += moved.iter().map(|moved| self.left_of(moved)).sum::<u64>();
        }
    }

    /// Tells whether the load is a number of iterations.
    pub(super) fn counts_iterations(&self) -> bool {
        let populations = self.file.plan.populations.iter();
        populations
            .map(|population| &population.load)
            .any(|load| matches!(load, Load::Iterations(_)))
    }

    /// Iterations that are left of what is moved; those of several populations cannot be told apart.
    fn left_of(&self, moved: &Moved) -> u64 {
        let share = Share {
            worker: moved.share,
            workers: self.shares.division().workers,
        };
        let [population] = &self.file.plan.populations[..] else {
            return 0;
        };
        let Load::Iterations(iterations) = &population.load else {
            return 0;
        };
        share
            .slice(moved.first, moved.step)
            .among(iterations.users.into())
            .map_or(0, |slice| iterations.of(slice, moved.done))
            .saturating_sub(moved.part_done)
    }

    /// Lists the workers whose samples only this master holds, and those that nobody holds any more.
    fn losses(&self) -> Option<fleet::Losses> {
        let gone = self
            .roster
            .gone()
            .map(|((index, instance), held)| fleet::Loss {
                index: *index,
                instance: instance.clone(),
                requests: held.snapshot.requests(),
            });
        let losses: Vec<fleet::Loss> = gone
            .chain(self.incomplete.iter().cloned())
            .take(MAX_LOSSES)
            .collect();
        (!losses.is_empty()).then_some(fleet::Losses { losses })
    }

    /// Tells a worker who is gone, if it can keep that.
    pub(super) fn send_losses(&mut self, id: SessionId) {
        let seat = self.roster.seat(id).and_then(|seat| seat.session.as_ref());
        if seat.is_some_and(Session::takes_parts)
            && let Some(losses) = self.losses()
        {
            self.send_to(id, Message::Losses(losses));
        }
    }

    /// Tells the workers who is gone, for a master that may lose its memory.
    pub(super) fn broadcast_losses(&self) {
        let Some(losses) = self.losses() else { return };
        for session in self.roster.sessions().filter(|s| s.takes_parts()) {
            // as with every broadcast: one that takes no message comes back
            let _ = session.send(Message::Losses(losses.clone()));
        }
    }

    /// Learns from a worker who was gone before this master began.
    pub(super) fn hear_losses(&mut self, losses: Option<&fleet::Losses>) {
        for loss in losses.into_iter().flat_map(|losses| &losses.losses) {
            let holder = (loss.index, loss.instance.clone());
            let known = self
                .incomplete
                .iter()
                .any(|known| (known.index, &known.instance) == (loss.index, &loss.instance));
            if !known
                && self.incomplete.len() < MAX_LOSSES
                && !self.roster.instances().contains_key(&holder)
            {
                self.incomplete.push(loss.clone());
            }
        }
    }

    /// Sums up what an earlier master had and nobody holds any more.
    pub(super) fn incomplete(&self) -> Option<Incomplete> {
        let lost: Vec<&fleet::Loss> = self
            .incomplete
            .iter()
            .filter(|loss| {
                let holder = (loss.index, loss.instance.clone());
                !self.roster.instances().contains_key(&holder)
            })
            .collect();
        (!lost.is_empty()).then(|| Incomplete {
            workers: lost.len() as u32,
            requests: lost.iter().map(|loss| loss.requests).sum(),
        })
    }

    /// Lists the spans of which workers that are gone have not reported what they did.
    pub(super) fn told_losses(&self) -> Vec<Unreported> {
        let Some(clock) = self.clock else {
            return vec![];
        };
        let end = self.end_of_load().unwrap_or(Duration::MAX);
        let since_zero = |at: Instant| at.saturating_duration_since(clock.zero);
        let unreported = |(holder, instance): (&Holder, &Instance)| {
            let lease = lease_of(&self.file);
            let silent = instance.heard_at.map(|heard| since_zero(heard + lease));
            let until = match instance.closed_at {
                Some(closed) if instance.superseded => since_zero(closed),
                _ => silent.unwrap_or(end),
            };
            let from = Duration::from_secs(instance.next_second().into());
            let until = until.min(end.saturating_add(self.file.plan.stop_timeout));
            (until > from).then_some(Unreported {
                worker: holder.0,
                from,
                until,
            })
        };
        let instances = self.roster.instances().iter();
        instances
            .filter(|(_, instance)| instance.is_at_work())
            .filter_map(unreported)
            .collect()
    }
}
