//! The coordinator's part in messages of workers: who joins, what they measured, and who leaves.

use std::time::Instant;

use jiff::Timestamp;
use prost::Message as _;
use tokio::sync::mpsc;

use super::super::roster::{Instance, Reported, Session, SessionId};
use super::{Clock, Coordinator};
use crate::plan::share::MAX_WORKERS;
use crate::stats::Snapshot;
use crate::stats::snapshot::{FORMAT, tells_offered_load};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::control::{MAX_PROBLEMS, MasterState, ProblemKind, plain, short};
use crate::wire::fleet::{self, FromMaster, from_master::Message, from_worker};

/// Most characters of a worker's region or host.
const MAX_PLACE: usize = 63;

impl Coordinator {
    /// Takes in a worker by its first message. Gives its connection a number, or says why it is
    /// turned away.
    pub fn join(
        &mut self,
        hello: &fleet::Hello,
        outbound: mpsc::Sender<FromMaster>,
        now: Instant,
    ) -> Result<SessionId, fleet::Refused> {
        if let Some(reason) = self.mismatch(hello) {
            return Err(fleet::Refused {
                reason,
                permanent: true,
            });
        }
        if let Some(reason) = self.not_granted(hello) {
            // so many may be wanted later
            return Err(fleet::Refused {
                reason,
                permanent: false,
            });
        }
        // nobody replaces a worker from elsewhere, so a second one of its index is one too many
        let grace = self.file.grace;
        let is_taken = || {
            self.roster
                .is_taken(hello.index, &hello.instance, grace, now)
        };
        if hello.external && is_taken() {
            let reason = format!("share {} is taken by another worker", hello.index);
            return Err(fleet::Refused {
                reason,
                permanent: false,
            });
        }
        if self.roster.is_superseded(hello.index, &hello.instance) {
            // it may come back: the share is free once the other process is gone. Until then the
            // load of this one ends with its lease.
            let reason = format!("another process has taken share {}", hello.index);
            return Err(fleet::Refused {
                reason,
                permanent: false,
            });
        }
        let id = self.next_session;
        self.next_session += 1;
        let session = Session::new(id, hello.index, &hello.instance, outbound)
            .taking_parts(hello.takes_parts && !hello.leaving)
            .dividing_anew(hello.divides_anew && !hello.leaving)
            .changing_load(hello.changes_load);
        // a worker that does not get it never becomes ready, and its connection ends
        session.send(Message::Welcome(fleet::Welcome {
            version: crate::VERSION.into(),
            epoch: self.facts.epoch,
            run_file: self.file_json.clone(),
            snapshot_format: FORMAT as u32,
        }));
        if self.acknowledged {
            session.send(Message::Release(fleet::Release {}));
        }
        self.roster.take_seat(session);
        let place = plain(&hello.place, MAX_PLACE);
        self.roster.note_place(hello.index, &hello.instance, place);
        if hello.carrying {
            self.roster.mark_carrying(hello.index, &hello.instance);
        }
        if let Some(instance) = self.roster.instance(id) {
            instance.cores = hello.cores;
            instance.reports_parts |= hello.takes_parts;
            instance.connected_at = Some(now);
            instance.heard_at.get_or_insert(now);
        }
        Ok(id)
    }

    /// Says why a worker can never be one of this run.
    fn mismatch(&self, hello: &fleet::Hello) -> Option<String> {
        if hello.protocol != PROTOCOL_VERSION {
            Some(format!(
                "the worker speaks protocol {}, this master {PROTOCOL_VERSION}",
                hello.protocol
            ))
        } else if hello.run != self.file.run {
            Some(format!(
                "the worker is of run {}, this master of {}",
                hello.run, self.file.run
            ))
        } else if hello.index >= MAX_WORKERS {
            Some(format!("no run has a worker with index {}", hello.index))
        } else if !hello.changes_load && !self.facts.changes.is_empty() {
            Some("the load of this run was changed by hand, which the worker's release does not know".to_owned())
        } else {
            None
        }
    }

    /// Takes in any later message of a worker.
    pub fn on_message(
        &mut self,
        id: SessionId,
        message: from_worker::Message,
        sent: u64,
        now: Instant,
    ) {
        self.renew_lease(id, &message, sent, now);
        match message {
            from_worker::Message::Hello(_) => {}
            from_worker::Message::Ready(ready) => self.on_ready(id, &ready, now),
            from_worker::Message::NotReady(fleet::NotReady { problems }) => {
                let problems = problems
                    .into_iter()
                    .take(MAX_PROBLEMS)
                    .map(|problem| self.reported(problem))
                    .collect();
                if let Some(seat) = self.roster.seat(id) {
                    seat.set_problems(problems, now);
                }
            }
            from_worker::Message::Delta(delta) => self.on_delta(id, &delta, now),
            from_worker::Message::Cumulative(cumulative) => {
                self.on_cumulative(id, &cumulative, now)
            }
            from_worker::Message::Pong(pong) => self.on_pong(id, &pong),
            from_worker::Message::Leaving(_) => self.on_leaving(id, now),
            from_worker::Message::OneOffDone(done) => self.on_one_off_done(id, done, now),
            from_worker::Message::RowsWanted(wanted) => self.on_rows_wanted(id, wanted),
            from_worker::Message::UsedUp(fleet::UsedUp { feeder }) => {
                self.on_used_up(id, feeder as u16, now)
            }
        }
        self.tick_after_message(now);
    }

    /// Frees the seat of a connection that has ended.
    pub fn leave(&mut self, id: SessionId, now: Instant) {
        let at_work = self.roster.instance(id).is_some_and(|instance| {
            instance.left_at = Some(now);
            instance.carrying && !instance.last
        });
        if let Some(index) = self.roster.leave(id, now).filter(|_| at_work) {
            self.event(&format!("worker {index} lost its connection"));
        }
        self.broadcast_losses();
        self.tick(now);
    }

    /// Renews the lease of a worker: by its samples, or before it has any by whatever it says.
    fn renew_lease(
        &mut self,
        id: SessionId,
        message: &from_worker::Message,
        sent: u64,
        now: Instant,
    ) {
        let are_samples = matches!(
            message,
            from_worker::Message::Delta(_) | from_worker::Message::Cumulative(_)
        );
        let received = now.saturating_duration_since(self.began).as_micros() as u64;
        self.roster.heard(id, sent, received, now);
        // one that makes no load yet, or none any more, has nothing else to say
        let makes_load = |instance: &mut Instance| instance.is_at_work() && instance.seen.is_some();
        if are_samples || !self.roster.instance(id).is_some_and(makes_load) {
            self.roster.renew(id, sent, now);
        }
    }

    /// Adds the samples of one run second.
    fn on_delta(&mut self, id: SessionId, delta: &fleet::Delta, now: Instant) {
        self.add_usage(id, &delta.feeders);
        self.reported_bytes += delta.encoded_len() as u64;
        let snapshot = match Snapshot::decode(&delta.snapshot) {
            Ok(snapshot) => snapshot,
            Err(e) => {
                return self.event(&format!(
                    "a worker's samples of second {} are lost: {e}",
                    delta.second
                ));
            }
        };
        self.roster.add_second(id, delta.second, &snapshot);
        let index = self.roster.index(id);
        let (Some(index), Some(instance)) = (index, self.roster.instance(id)) else {
            return;
        };
        instance.hides_load |= !tells_offered_load(&delta.snapshot);
        if instance.seen.is_none_or(|seen| delta.second > seen) {
            instance.seen = Some(delta.second);
            if let Some(search) = &mut self.search {
                search.add(index, delta.second, &snapshot);
            }
            self.timeline.add(delta.second, &snapshot);
            instance.last = delta.last;
        }
        instance.length_micros = instance.length_micros.max(delta.length_micros);
        let newly_failed =
            !delta.failure.is_empty() && !std::mem::replace(&mut instance.failed, true);
        if newly_failed {
            self.event(&format!(
                "a part of a worker's share is not carried out: {}",
                delta.failure
            ));
        }
        self.hear_parts(id, &delta.parts, delta.last, now);
        self.acknowledge_second(id, delta.second);
    }

    /// Replaces what is held of the process; the seconds that this master had not seen go into the
    /// series as counts.
    fn on_cumulative(&mut self, id: SessionId, cumulative: &fleet::Cumulative, now: Instant) {
        self.add_usage(id, &cumulative.feeders);
        self.reported_bytes += cumulative.encoded_len() as u64;
        let snapshot = match Snapshot::decode(&cumulative.snapshot) {
            Ok(snapshot) => snapshot,
            Err(e) => return self.event(&format!("a worker's samples are lost: {e}")),
        };
        self.store_one_off_samples(id, &cumulative.one_offs);
        // what is held already may be more: it is acknowledged only when a kill cannot undo it
        self.roster
            .replace_samples(id, cumulative.through_second, snapshot);
        let Some(instance) = self.roster.instance(id) else {
            return;
        };
        let seen = instance.seen;
        instance.hides_load |= !tells_offered_load(&cumulative.snapshot);
        instance.carrying = true;
        if seen.is_none() || cumulative.through_second > seen {
            instance.seen = cumulative.through_second;
            instance.last = cumulative.last;
            instance.length_micros = cumulative.length_micros;
        }
        instance.folded = instance.folded.max(cumulative.folded);
        for point in cumulative
            .seconds
            .iter()
            .filter(|point| seen.is_none_or(|seen| point.second > seen))
        {
            self.timeline
                .restore(point.second, point.requests, point.failures, point.users);
        }
        if self.clock.is_none() {
            match Clock::at(now, cumulative.elapsed_micros) {
                Some(clock) => {
                    self.clock = Some(clock);
                    self.seed = cumulative.seed;
                }
                // the run resumes only with a clock; when no other worker knows the time, it is
                // lost
                None => self.event(&format!(
                    "a worker says that its load began {} us ago, which cannot be",
                    cumulative.elapsed_micros
                )),
            }
        }
        if let (Some(search), Some(levels)) = (&mut self.search, &cumulative.levels)
            && let Err(e) = search.restore(levels)
        {
            self.event(&format!(
                "the search for the capacity begins anew, since what came of its levels cannot be read: {e}"
            ));
        }
        self.hear_changes(cumulative.load_changes.as_ref());
        self.send_changes(id);
        self.hear_losses(cumulative.losses.as_ref());
        self.send_losses(id);
        self.hear_parts(id, &cumulative.parts, cumulative.last, now);
        // the order to stop may have been lost with a connection
        if self.cut_at.is_some() {
            self.send_to(id, Message::Stop(fleet::Stop { at_once: false }));
        }
        // a worker that leaves waits for an acknowledgement, even of nothing
        self.acknowledge_second(id, cumulative.through_second.unwrap_or(0));
    }

    /// Replaces the samples of the one-offs of a worker's process, if it sends any.
    pub(super) fn store_one_off_samples(&mut self, id: SessionId, encoded: &[u8]) {
        if encoded.is_empty() {
            return;
        }
        match Snapshot::decode(encoded) {
            Ok(measured) => self.roster.replace_one_offs(id, measured),
            Err(e) => self.event(&format!("a worker's samples of one-offs are lost: {e}")),
        }
    }

    /// Reads a worker's problem, its texts cut to their bound. One of a kind that only another version knows still keeps it from
    /// being ready, and is taken for a mistake in the test.
    fn reported(&mut self, problem: fleet::Problem) -> Reported {
        let fleet::Problem {
            kind,
            field,
            object,
            message,
        } = problem;
        let [field, object, message] = [field, object, message].map(|text| short(&text));
        let kind = kind.parse().unwrap_or_else(|e| {
            self.event(&format!("{field}: {e}"));
            ProblemKind::InvalidSpec
        });
        Reported {
            kind,
            field,
            object,
            message,
        }
    }

    /// Works out from a worker's clock when its load started.
    fn on_pong(&mut self, id: SessionId, pong: &fleet::Pong) {
        let Some(instance) = self.roster.instance(id) else {
            return;
        };
        if pong.started_unix_micros != 0 && instance.started_micros.is_none() {
            // the ping is taken to have travelled for half of the round trip
            let middle = (pong.master_unix_micros + Timestamp::now().as_microsecond()) / 2;
            instance.started_micros =
                Some(pong.started_unix_micros - (pong.worker_unix_micros - middle));
        }
    }

    /// Notes that a worker leaves before the end.
    fn on_leaving(&mut self, id: SessionId, now: Instant) {
        if self.lets_go(id) {
            return;
        }
        let early = self.state == MasterState::Running && self.is_due(now);
        if let Some(instance) = self.roster.instance(id).filter(|_| early) {
            instance.left_early = true;
            self.event("a worker was told to go before the end");
            self.fail_for("a worker was told to go", now);
            self.checkpoints.is_wanted = true;
        }
    }

    /// Acknowledges everything up to a run second; where a kill could undo that, the checkpoint does
    /// so later, and soon for a worker that may be about to leave.
    fn acknowledge_second(&mut self, id: SessionId, second: u32) {
        let instance = self.roster.instance(id);
        let (is_over, stored) =
            instance.map_or((false, None), |instance| (instance.last, instance.stored));
        let second = if self.memory.keeps() {
            self.checkpoints.is_wanted |= is_over;
            // the lease is renewed all the same
            stored
        } else {
            Some(second)
        };
        self.send_to(id, Message::Ack(fleet::Ack { second }));
    }
}
