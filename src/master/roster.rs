//! The fleet at work: one seat per share, the process that holds it, and what every process has
//! measured.

mod samples;
mod size;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::sum::Sum;
use crate::stats::Snapshot;
use crate::wire::control::{MAX_PROBLEMS, ProblemKind, WorkerProblem};
use crate::wire::fleet::{FromMaster, OneOffKind, from_master::Message};

/// Number of one connection, unique in a master process.
pub type SessionId = u64;

/// Most messages that may wait for a worker; one that falls so far behind is cut off, and comes
/// back.
pub const OUTBOUND: usize = 64;

/// A connection to a worker process.
#[derive(Debug)]
pub struct Session {
    /// Number of the connection.
    pub id: SessionId,
    /// Share of the worker, from 0.
    pub index: u32,
    /// Random id of the worker's process.
    pub instance: String,
    /// Latest time of sending, by the worker's clock, of what renewed its lease.
    heard: u64,
    /// Knows how to carry parts of other shares.
    takes_parts: bool,
    /// Knows that the load may be divided anew.
    divides_anew: bool,
    /// Knows that the load may be changed by hand.
    pub changes_load: bool,
    outbound: mpsc::Sender<FromMaster>,
}

impl Session {
    /// Wraps the sending half of a connection.
    pub fn new(
        id: SessionId,
        index: u32,
        instance: &str,
        outbound: mpsc::Sender<FromMaster>,
    ) -> Self {
        Self {
            id,
            index,
            instance: instance.to_owned(),
            heard: 0,
            takes_parts: false,
            divides_anew: false,
            changes_load: false,
            outbound,
        }
    }

    /// Notes that the worker knows how to carry parts of other shares.
    pub fn taking_parts(self, takes_parts: bool) -> Self {
        Self {
            takes_parts,
            ..self
        }
    }

    /// Notes that the worker knows that the load may be divided anew.
    pub fn dividing_anew(self, divides_anew: bool) -> Self {
        Self {
            divides_anew,
            ..self
        }
    }

    /// Notes that the worker knows that the load may be changed by hand.
    pub fn changing_load(self, changes_load: bool) -> Self {
        Self {
            changes_load,
            ..self
        }
    }

    /// Tells whether the worker knows how to carry parts of other shares.
    pub fn takes_parts(&self) -> bool {
        self.takes_parts
    }

    /// Process behind the connection.
    pub fn holder(&self) -> Holder {
        (self.index, self.instance.clone())
    }

    /// Queues a message. False when the worker is gone, or so far behind that it must come back.
    pub fn send(&self, message: Message) -> bool {
        self.outbound
            .try_send(FromMaster {
                message: Some(message),
                // 0 is the word of a master that does not say
                heard_micros: self.heard.max(1),
            })
            .is_ok()
    }
}

/// The place of one share.
#[derive(Debug, Default)]
pub struct Seat {
    /// Connection that holds the seat, if any does.
    pub session: Option<Session>,
    /// Ready to start, or at work already.
    pub ready: bool,
    /// One-offs whose outcome the process can tell.
    one_offs: Vec<OneOffKind>,
    /// Problems, and since when each has lasted.
    problems: Vec<(Instant, Reported)>,
}

/// A problem that keeps a worker from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Kind of the problem.
    pub kind: ProblemKind,
    /// Field path in the LoadTest.
    pub field: String,
    /// Object it is about, such as `Secret "databricks" key "pat"`; may be empty.
    pub object: String,
    /// The problem in words.
    pub message: String,
}

/// One worker process and what it has measured so far.
#[derive(Debug, Default)]
pub struct Instance {
    /// Samples of its load; what changes them is the roster's, which keeps their sum.
    pub snapshot: Snapshot,
    /// Samples of its one-offs; not in `snapshot`.
    pub one_offs: Snapshot,
    /// Last run second that is in `snapshot`.
    pub through: Option<u32>,
    /// Started its share.
    pub carrying: bool,
    /// Ended its load.
    pub last: bool,
    /// Microseconds from the run's zero to the end of its load, once that is over.
    pub length_micros: Option<u64>,
    /// Speaks the release before, which does not say how much load it offered.
    pub hides_load: bool,
    /// Lost a part of its share with a thread.
    pub failed: bool,
    /// Left before the profile was over, when it was told to; it handed over what it had.
    pub left_early: bool,
    /// Left since the run has fewer workers now; it handed over what it had.
    pub let_go: bool,
    /// Rows of each feeder that all workers share.
    pub rows: BTreeMap<u16, Rows>,
    /// Feeders that have no row left for it.
    pub used_up: BTreeSet<u16>,
    /// Start of its load by the master's clock, microseconds since the epoch.
    pub started_micros: Option<i64>,
    /// Last run second of it that went into the course of the run.
    pub seen: Option<u32>,
    /// First run second of its load.
    pub first_second: u32,
    /// Latest time of sending, by its clock, of what renewed its lease; 0 without any.
    pub heard: u64,
    /// Time at which that came; for what was restored, the time at which this master began.
    pub heard_at: Option<Instant>,
    /// Time at which its last connection began.
    pub connected_at: Option<Instant>,
    /// Time at which its connection ended; `None` while it has one.
    pub closed_at: Option<Instant>,
    /// An earlier master process knew it, and it was not here yet.
    pub restored: bool,
    /// Time since the run's zero at which it was given up.
    pub lost_at: Option<Duration>,
    /// Another process has taken its seat, so it is gone.
    pub superseded: bool,
    /// Parts of its load are reported one by one.
    pub reports_parts: bool,
    /// Delay of its last message, compared with the fastest.
    pub delay: Duration,
    /// Difference of the clocks of master and worker in microseconds, as the fastest message shows
    /// it.
    pub offset: Option<i64>,
    /// Time of its last message.
    pub spoke_at: Option<Instant>,
    /// Cores that it may use.
    pub cores: u32,
    /// Last run second of it that a kill of the master cannot undo.
    pub stored: Option<u32>,
    /// Seconds of which only counts came.
    pub folded: u32,
    /// Region or host, as the process says.
    pub place: String,
    /// Time at which its connection ended, if it has not come back.
    pub left_at: Option<Instant>,
}

/// Share and id of a process.
pub type Holder = (u32, String);

/// Time by which a master counts a lease longer than its worker does.
const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// Time in which a worker whose connection has ended may come back before it counts as dead.
pub const RETURN: Duration = Duration::from_secs(2);
/// Longest silence before the end of a connection for which the end, not the silence, is taken for
/// the worker's death: half-open connections end later.
const FRESH: Duration = Duration::from_secs(3);

impl Instance {
    /// Tells whether its share is being carried out, as far as anybody knows.
    pub fn is_at_work(&self) -> bool {
        self.carrying && !self.last
    }

    /// First run second that it has not delivered.
    pub fn next_second(&self) -> u32 {
        self.seen
            .map_or(self.first_second, |seen| seen.saturating_add(1))
    }

    /// Tells whether it may be making load of which nothing is heard yet.
    fn holds_lease(&self, now: Instant, grace: Duration) -> bool {
        self.is_at_work()
            && !self.superseded
            && self
                .heard_at
                .is_some_and(|heard| now < heard + grace + LEASE_MARGIN)
    }

    /// Tells whether its share is to be given to others: it died, as an ended connection says that
    /// was heard until then, or it has been silent for so long that it has stopped by itself.
    fn is_given_up(&self, now: Instant, grace: Duration, interval: Duration) -> bool {
        let died = self.closed_at.is_some_and(|closed| {
            let silence = self
                .heard_at
                .map(|heard| closed.saturating_duration_since(heard));
            now >= closed + RETURN && silence.is_some_and(|silence| silence < interval + FRESH)
        });
        let died = died && !self.restored;
        self.is_at_work() && self.lost_at.is_none() && (died || !self.holds_lease(now, grace))
    }
}

/// Rows of one feeder that were leased to a process, or to all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Rows leased.
    pub leased: u64,
    /// Rows known to be used.
    pub used: u64,
    /// Rows leased to processes that are gone, and not known to be used.
    pub lost: u64,
}

/// The fleet: its seats, and every process that ever held one.
#[derive(Debug, Default)]
pub struct Roster {
    /// A seat for each worker that the run ever was to have.
    seats: Vec<Seat>,
    /// Share that each connection works for.
    places: BTreeMap<SessionId, u32>,
    /// Workers that it is to have now, those with the lowest indexes.
    workers: u32,
    /// Workers with which it began.
    begun_with: u32,
    /// Fewest workers that it ever was to have.
    fewest: u32,
    /// Processes by share and id.
    instances: BTreeMap<Holder, Instance>,
    /// Samples of all of them.
    sum: Sum,
}

impl Roster {
    /// Begins with an empty seat for each share.
    pub fn new(workers: u32) -> Self {
        Self {
            seats: (0..workers).map(|_| Seat::default()).collect(),
            workers,
            begun_with: workers,
            fewest: workers,
            ..Self::default()
        }
    }

    /// Seats of the workers that the run is to have.
    fn wanted(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().take(self.workers as usize)
    }

    /// Tells whether a process comes back to find another on its seat, as after a partition in
    /// which it was replaced.
    pub fn is_superseded(&self, index: u32, instance: &str) -> bool {
        let taken = self
            .sessions()
            .any(|session| session.index == index && session.instance != instance);
        taken && self.instances.contains_key(&(index, instance.to_owned()))
    }

    /// Tells whether another process is connected for a share, or may still carry it out since it
    /// lost its connection within `grace` before `now`.
    pub fn is_taken(&self, index: u32, instance: &str, grace: Duration, now: Instant) -> bool {
        let is_held = self
            .sessions()
            .any(|session| session.index == index && session.instance != instance);
        let may_be_at_work = |other: &Instance| {
            let left_at = other.left_at.filter(|_| other.is_at_work());
            left_at.is_some_and(|left_at| now.saturating_duration_since(left_at) < grace)
        };
        is_held
            || self
                .instances
                .range(of_share(index))
                .any(|((_, id), other)| id != instance && may_be_at_work(other))
    }

    /// Notes that a process is there, and its region or host.
    pub fn note_place(&mut self, index: u32, instance: &str, place: String) {
        if let Some(instance) = self.instances.get_mut(&(index, instance.to_owned())) {
            instance.place = place;
            instance.left_at = None;
        }
    }

    /// Sets the time at which a process was lost, for tests: their clocks only go forward.
    #[cfg(test)]
    pub fn set_left_at(&mut self, index: u32, instance: &str, at: Option<Instant>) {
        if let Some(instance) = self.instances.get_mut(&(index, instance.to_owned())) {
            instance.left_at = at;
        }
    }

    /// Every process that measured something, by share, with its region or host.
    pub fn places(&self) -> impl Iterator<Item = (u32, &str, &Snapshot)> {
        self.instances
            .iter()
            .filter(|(_, instance)| instance.carrying)
            .map(|((index, _), instance)| (*index, instance.place.as_str(), &instance.snapshot))
    }

    /// Seats a connection; a newer one of the same share replaces the older.
    pub fn take_seat(&mut self, session: Session) {
        let key = (session.index, session.instance.clone());
        if let Some(seat) = self.seats.get_mut(session.index as usize) {
            let instance = self.instances.entry(key.clone()).or_default();
            instance.closed_at = None;
            instance.restored = false;
            instance.let_go = false;
            self.places.insert(session.id, session.index);
            let before = std::mem::take(seat).session;
            if let Some(before) = before {
                self.places.remove(&before.id);
            }
            *seat = Seat {
                session: Some(Session {
                    heard: instance.heard,
                    ..session
                }),
                ..Seat::default()
            };
            // a share has one process at a time: Kubernetes makes another when the first is gone
            let before = self.instances.range_mut(of_share(key.0));
            for (of, instance) in before {
                instance.superseded = *of != key;
            }
        }
    }

    /// Renews the lease of the process behind a connection by what it sent at `sent`, by its clock,
    /// and which came `now`.
    pub fn renew(&mut self, id: SessionId, sent: u64, now: Instant) {
        let Some(instance) = self.instance(id) else {
            return;
        };
        instance.heard = instance.heard.max(sent);
        // before its beginning a share is no lease
        instance.heard_at = instance.heard_at.max(Some(now));
        let heard = instance.heard;
        if let Some(Some(session)) = self.seat(id).map(|seat| &mut seat.session) {
            session.heard = heard;
        }
    }

    /// Frees the seat of a connection, unless a newer one has taken it. Gives back its share.
    pub fn leave(&mut self, id: SessionId, now: Instant) -> Option<u32> {
        if let Some(instance) = self.instance(id) {
            instance.closed_at = Some(now);
        }
        let index = self.places.remove(&id)?;
        *self.seats.get_mut(index as usize)? = Seat::default();
        Some(index)
    }

    /// Finds the seat that a connection holds; none when a newer one has taken it.
    pub fn seat(&mut self, id: SessionId) -> Option<&mut Seat> {
        self.seats.get_mut(*self.places.get(&id)? as usize)
    }

    /// Finds the process behind a connection.
    pub fn instance(&mut self, id: SessionId) -> Option<&mut Instance> {
        let seat = self.seats.get(*self.places.get(&id)? as usize)?;
        let session = seat.session.as_ref()?;
        self.instances
            .range_mut(of_share(session.index))
            .find(|((_, instance), _)| *instance == session.instance)
            .map(|(_, instance)| instance)
    }

    /// Finds the share that a connection works for.
    pub fn index(&mut self, id: SessionId) -> Option<u32> {
        self.seat(id)?.session.as_ref().map(|session| session.index)
    }

    /// Tells whether no process at work that was leased rows of `feeder` has any left.
    pub fn all_used_up(&self, feeder: u16) -> bool {
        let at_work = self
            .sessions()
            .filter_map(|session| self.of(session))
            .filter(|instance| instance.is_at_work());
        at_work
            .filter(|instance| {
                instance
                    .rows
                    .get(&feeder)
                    .is_some_and(|rows| rows.leased > 0)
            })
            .all(|instance| instance.used_up.contains(&feeder))
    }

    /// Sums up the rows of `feeder` over all processes.
    pub fn rows(&self, feeder: u16) -> Rows {
        let mut sum = Rows::default();
        for instance in self.instances.values() {
            // a process that never asked for rows has none
            let rows = instance.rows.get(&feeder).copied().unwrap_or_default();
            let is_gone = instance.is_at_work() || instance.left_early || instance.let_go;
            sum.leased += rows.leased;
            sum.used += rows.used;
            sum.lost += if is_gone {
                rows.leased.saturating_sub(rows.used)
            } else {
                0
            };
        }
        sum
    }

    /// Finds a connection to a process that can tell the outcome of a one-off.
    pub fn session_with_outcome(&self, kind: OneOffKind) -> Option<SessionId> {
        let known = self
            .seats
            .iter()
            .find(|seat| seat.one_offs.contains(&kind))?;
        known.session.as_ref().map(|session| session.id)
    }

    /// Finds the connection to the ready worker of the lowest index.
    pub fn first_ready(&self) -> Option<SessionId> {
        let first = self.seats.iter().find(|seat| seat.ready)?;
        first.session.as_ref().map(|session| session.id)
    }

    /// All connections, by share.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.seats.iter().filter_map(|seat| seat.session.as_ref())
    }

    /// Finds the connection of a process.
    pub fn session_of(&self, (index, instance): &Holder) -> Option<&Session> {
        let session = self.seats.get(*index as usize)?.session.as_ref();
        session.filter(|session| session.instance == *instance)
    }

    /// Number of connections of workers that the run is to have.
    pub fn connected(&self) -> u32 {
        self.wanted().filter(|seat| seat.session.is_some()).count() as u32
    }

    /// Number of workers that are ready or at work.
    pub fn ready(&self) -> u32 {
        self.wanted().filter(|seat| seat.ready).count() as u32
    }

    /// Tells whether every share has a worker that is ready.
    pub fn all_ready(&self) -> bool {
        self.wanted().all(|seat| seat.ready)
    }

    /// Number of connected processes whose load goes on.
    pub fn at_work(&self) -> u32 {
        self.sessions()
            .filter(|session| self.of(session).is_some_and(Instance::is_at_work))
            .count() as u32
    }

    /// Number of connected processes that carry a share, those included whose load is over.
    pub fn carriers(&self) -> u32 {
        self.sessions()
            .filter(|session| self.of(session).is_some_and(|instance| instance.carrying))
            .count() as u32
    }

    /// Connections that are ready but have nothing to do: a running run can give them a share.
    pub fn idle(&self) -> impl Iterator<Item = &Session> {
        self.seats
            .iter()
            .filter(|seat| seat.ready)
            .filter_map(|seat| seat.session.as_ref())
            .filter(|session| self.of(session).is_some_and(|i| !i.carrying))
    }

    /// Notes that a process has started its share.
    pub fn mark_carrying(&mut self, index: u32, instance: &str) {
        self.instances
            .entry((index, instance.to_owned()))
            .or_default()
            .carrying = true;
    }

    /// Tells whether any process may be making load of which nothing is heard yet. Those that have
    /// been connected for `patience` do not count; without one all do.
    pub fn awaits(&self, now: Instant, grace: Duration, patience: Option<Duration>) -> bool {
        let is_given_up = |instance: &Instance| {
            let connected = instance
                .connected_at
                .filter(|_| instance.closed_at.is_none());
            let for_long = |at: Instant| patience.is_some_and(|time| now >= at + time);
            connected.is_some_and(for_long)
        };
        self.instances
            .values()
            .any(|instance| instance.holds_lease(now, grace) && !is_given_up(instance))
    }

    /// Tells whether a process that carried each of the first `shares` is known.
    pub fn knows_all(&self, shares: u32) -> bool {
        (0..shares).all(|index| self.instances_of(index).any(|i| i.carrying))
    }

    /// First run second that is not complete: some process that may be making load has not delivered
    /// it. `u32::MAX` without such a process.
    pub fn heard_until(&self, now: Instant, grace: Duration) -> u32 {
        self.instances
            .values()
            .filter(|instance| instance.holds_lease(now, grace))
            .map(Instance::next_second)
            .min()
            .unwrap_or(u32::MAX)
    }

    /// Processes whose shares are to be given to others now.
    pub fn given_up(&self, now: Instant, grace: Duration, interval: Duration) -> Vec<Holder> {
        let given_up = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.is_given_up(now, grace, interval));
        given_up.map(|(holder, _)| holder.clone()).collect()
    }

    /// Finds a process by its share and id.
    pub fn find(&mut self, holder: &Holder) -> Option<&mut Instance> {
        self.instances.get_mut(holder)
    }

    /// Connections that carry something and can carry more, with the cores of each; none that was
    /// silent for `silence`.
    pub fn receivers(
        &self,
        now: Instant,
        silence: Duration,
    ) -> impl Iterator<Item = (&Session, u32)> {
        self.sessions().filter_map(move |session| {
            let instance = self.of(session)?;
            let spoke = |at: Instant| now.saturating_duration_since(at) < silence;
            // after an outage of all the others get time to come back as well
            let is_settled = |at: Instant| now >= at + RETURN;
            let is_there = instance.carrying
                && instance.lost_at.is_none()
                && instance.connected_at.is_some_and(is_settled)
                && instance.spoke_at.is_some_and(spoke);
            (session.takes_parts && is_there).then_some((session, instance.cores.max(1)))
        })
    }

    /// Connections that carried something and carry nothing now.
    pub fn returned(&self) -> impl Iterator<Item = &Session> {
        self.sessions().filter(|session| {
            let instance = self.of(session);
            session.takes_parts
                && instance.is_some_and(|instance| {
                    instance.carrying && instance.last && instance.reports_parts
                })
        })
    }

    /// Processes that are gone, with all that is held of them.
    pub fn gone(&self) -> impl Iterator<Item = (&Holder, &Instance)> {
        self.instances.iter().filter(|(_, instance)| {
            instance.carrying
                && instance.closed_at.is_some()
                && (instance.superseded
                    || instance.lost_at.is_some()
                    || instance.left_early
                    || instance.let_go)
        })
    }

    /// Finds the process behind a connection.
    pub fn holder(&mut self, id: SessionId) -> Option<Holder> {
        self.seat(id)?.session.as_ref().map(Session::holder)
    }

    /// Notes that the process behind a connection spoke. `sent` is the time by its clock, `received`
    /// that by the master's, in microseconds.
    pub fn heard(&mut self, id: SessionId, sent: u64, received: u64, now: Instant) {
        let Some(instance) = self.instance(id) else {
            return;
        };
        instance.spoke_at = Some(now);
        // a worker of an older release does not say
        if sent > 0 {
            let offset = received.wrapping_sub(sent) as i64;
            let fastest = instance.offset.map_or(offset, |known| known.min(offset));
            instance.offset = Some(fastest);
            instance.delay = Duration::from_micros(offset.abs_diff(fastest));
        }
    }

    /// All processes, by share and id.
    pub fn instances(&self) -> &BTreeMap<Holder, Instance> {
        &self.instances
    }

    /// Number of processes that carried a share and are not known to have ended it.
    pub fn lost(&self) -> u32 {
        self.instances
            .values()
            .filter(|instance| instance.is_at_work())
            .count() as u32
    }

    /// Number of processes that did not carry out all of their share.
    pub fn failed(&self) -> u32 {
        self.instances
            .values()
            .filter(|instance| instance.failed)
            .count() as u32
    }

    /// Tells whether all processes say how much load they offered.
    pub fn tells_offered_load(&self) -> bool {
        !self.instances.values().any(|instance| instance.hides_load)
    }

    /// Number of processes that left before the profile was over.
    pub fn left_early(&self) -> u32 {
        self.instances
            .values()
            .filter(|instance| instance.left_early)
            .count() as u32
    }

    /// Number of processes that took over a share.
    pub fn rejoined(&self) -> u32 {
        (0..self.most_workers())
            .map(|index| {
                self.instances_of(index)
                    .filter(|instance| instance.carrying && !instance.let_go)
                    .count()
                    .saturating_sub(1) as u32
            })
            .sum()
    }

    /// First second that not every connected process at work has delivered; `u32::MAX` when none is
    /// at work.
    pub fn delivered(&self) -> u32 {
        let working = self
            .sessions()
            .filter_map(|session| self.of(session))
            .filter(|instance| instance.is_at_work());
        working
            .map(Instance::next_second)
            .min()
            // nobody is at work, so there is nobody to wait for
            .unwrap_or(u32::MAX)
    }

    /// Time from the run's zero to the end of the load that ended last; `None` if none has ended.
    pub fn length(&self) -> Option<Duration> {
        self.instances
            .values()
            .filter_map(|instance| instance.length_micros)
            .max()
            .map(Duration::from_micros)
    }

    /// Samples of each process, with the share it carried.
    pub fn measured(&self) -> impl Iterator<Item = (u32, &Snapshot)> {
        self.instances
            .iter()
            .map(|((index, _), instance)| (*index, &instance.snapshot))
    }

    /// Microseconds between the first and the last start of a share, over the processes that
    /// started with the run; 0 when fewer than two are known.
    pub fn start_skew_micros(&self) -> u64 {
        let first = |index| {
            self.instances_of(index)
                .filter_map(|instance| instance.started_micros)
                .min()
        };
        let starts: Vec<i64> = (0..self.begun_with).filter_map(first).collect();
        match (starts.iter().min(), starts.iter().max()) {
            (Some(first), Some(last)) => last.abs_diff(*first),
            _ => 0,
        }
    }

    /// Problems of workers: the first of each kind and field, with how long it has lasted. At most
    /// [`MAX_PROBLEMS`].
    pub fn problems(&self, now: Instant) -> Vec<WorkerProblem> {
        let mut first: BTreeMap<(ProblemKind, &str), WorkerProblem> = BTreeMap::new();
        for (worker, seat) in self.wanted().enumerate() {
            for (
                since,
                Reported {
                    kind,
                    field,
                    object,
                    message,
                },
            ) in &seat.problems
            {
                first
                    .entry((*kind, field))
                    .or_insert_with(|| WorkerProblem {
                        worker: worker as u32,
                        kind: *kind,
                        field: field.clone(),
                        object: object.clone(),
                        message: message.clone(),
                        for_seconds: now.duration_since(*since).as_secs(),
                    });
            }
        }
        first.into_values().take(MAX_PROBLEMS).collect()
    }

    fn of(&self, session: &Session) -> Option<&Instance> {
        self.instances
            .range(of_share(session.index))
            .find(|((_, instance), _)| *instance == session.instance)
            .map(|(_, instance)| instance)
    }

    fn instances_of(&self, index: u32) -> impl Iterator<Item = &Instance> {
        self.instances
            .range(of_share(index))
            .map(|(_, instance)| instance)
    }
}

/// All processes that ever carried a share.
fn of_share(index: u32) -> Range<Holder> {
    (index, String::new())..(index + 1, String::new())
}

impl Seat {
    /// Marks the worker ready; `one_offs` are those whose outcome it can tell.
    pub fn set_ready(&mut self, one_offs: Vec<OneOffKind>) {
        self.ready = true;
        self.one_offs = one_offs;
        self.problems.clear();
    }

    /// Replaces the problems; one that stays keeps its beginning.
    pub fn set_problems(&mut self, reported: Vec<Reported>, now: Instant) {
        self.ready = false;
        let before = std::mem::take(&mut self.problems);
        let since = |new: &Reported| {
            before
                .iter()
                .find(|(_, old)| old.kind == new.kind && old.field == new.field)
                .map_or(now, |(since, _)| *since)
        };
        self.problems = reported.into_iter().map(|new| (since(&new), new)).collect();
    }
}
