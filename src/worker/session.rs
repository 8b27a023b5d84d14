//! One worker's side of the protocol. A session is one connection; the worker and its work outlive
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::inputs::InputSource;
use super::one_off::OneOffs;
use super::preparation::{PREPARE_EVERY, Preparation, problems};
use super::work::{Interval, Work, read_changes, whole_share};
use crate::engine::{
    Assignment, Demand, FeedData, Lease, Part, PrepareError, Prepared, RequestLogSink,
    uptime_micros,
};
use crate::plan::{Plan, Share};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::checksum::{self, FileHash};
use crate::wire::fleet::{self, FromMaster, FromWorker, from_master, from_worker::Message};
use crate::wire::layout::{RUN_FILE, RunFile};

/// Longest time between two looks at the lease.
const LOOK_AT_LEASE: Duration = Duration::from_millis(250);
/// Time in which a master must take a message when many wait for it already; its connection is
/// given up then.
const SEND_WITHIN: Duration = Duration::from_secs(20);

/// Reasons why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The result is stored; the worker may go.
    Released,
    /// The connection is gone; another may come.
    Lost,
    /// The master turned this worker away, or said what cannot be followed.
    Refused {
        /// Reason in words.
        reason: String,
        /// No retry makes it right, so the process ends.
        permanent: bool,
    },
    /// The worker was told to go, and handed over its data.
    Drained,
}

/// Identity of a worker; an instance is one process.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Id of the run.
    pub run: String,
    /// Number of the share, from 0.
    pub index: u32,
    /// Random id of the process.
    pub instance: String,
    /// Cores that the load may use.
    pub cores: usize,
    /// Region or host, for people; empty if unknown.
    pub place: String,
    /// True for a worker that joined from elsewhere.
    pub external: bool,
}

impl Identity {
    /// Makes the identity of a new process.
    pub fn new(run: &str, index: u32, cores: usize) -> Self {
        Self {
            run: run.to_owned(),
            index,
            instance: format!("{:016x}", rand::random::<u64>()),
            cores,
            place: String::new(),
            external: false,
        }
    }

    /// Sets the region or host.
    pub fn in_place(self, place: &str) -> Self {
        let place = place.to_owned();
        Self { place, ..self }
    }

    /// Makes it the identity of a worker that joins from elsewhere.
    pub fn external(self) -> Self {
        Self {
            external: true,
            ..self
        }
    }
}

/// Progress of a worker; it only ever moves forward.
enum Stage {
    /// Has no plan, or cannot carry it out yet.
    Unprepared,
    /// Ready to start.
    Prepared(Arc<Prepared>),
    /// Started its share, which may be over.
    Carrying(Box<Work>),
}

/// A worker process: outlives its connections.
pub struct Worker {
    identity: Identity,
    inputs: InputSource,
    grace: Duration,
    /// Sink of request log entries, if the plan asks for them.
    request_log: Option<RequestLogSink>,
    /// Highest epoch seen; a master of a lower one has been replaced.
    epoch: u32,
    /// Newest format of snapshots that the master reads.
    snapshot_format: u64,
    /// Hashes of which that of the plan is compared; without any, every plan is taken.
    hashes: Vec<FileHash>,
    /// True if the run that was sent is one of a cluster.
    is_in_cluster: bool,
    plan: Option<Arc<Plan>>,
    stage: Stage,
    /// Preparation of the plan, while there is no share yet.
    preparation: Preparation,
    /// Kept for one-offs that come when the load is over.
    prepared: Option<Arc<Prepared>>,
    one_offs: OneOffs,
    /// Rows of feeders, which must be the same on every worker.
    feeders: Vec<FeedData>,
    /// Digest of the gRPC services and messages known here; empty without calls.
    descriptors: String,
    /// Warnings about what was read, though nothing is wrong with it.
    warnings: Vec<String>,
    /// First row of each feeder that cannot be leased to anybody yet; kept for a master that knows
    /// less.
    reserved: BTreeMap<u16, u64>,
    /// Time until which load may be made; it runs from the sending of what a master says it heard
    /// last.
    lease: Lease,
    /// Time of the last message of a master.
    last_message_at: Instant,
    /// Time at which Hello was sent on this connection, by the same clock as the lease.
    hello_at: u64,
    /// Set when the worker was told to go: it leaves as soon as a master holds all that was
    /// measured.
    pub(super) leaving: bool,
}

/// Events that a session waits for.
enum Event {
    Received(Option<(u64, from_master::Message)>),
    Measured,
    /// Time has passed.
    Idle,
    Demanded(Demand),
    Done(fleet::OneOffDone),
    Prepared(Result<Arc<Prepared>, PrepareError>),
}

impl Worker {
    /// Makes a worker without a plan. `grace` is the time without a word from a master after which
    /// it stops the load.
    pub fn new(identity: Identity, inputs: InputSource, grace: Duration) -> Self {
        Self {
            identity,
            inputs,
            grace,
            request_log: None,
            epoch: 0,
            snapshot_format: 0,
            hashes: vec![],
            is_in_cluster: false,
            plan: None,
            stage: Stage::Unprepared,
            preparation: Preparation::default(),
            prepared: None,
            one_offs: OneOffs::default(),
            feeders: vec![],
            descriptors: String::new(),
            warnings: vec![],
            reserved: BTreeMap::new(),
            lease: Lease::default(),
            last_message_at: Instant::now(),
            hello_at: 0,
            leaving: false,
        }
    }

    /// Sets the hashes in the worker's arguments, one of which is the plan's.
    pub fn checking(self, hashes: Vec<FileHash>) -> Self {
        Self { hashes, ..self }
    }

    /// Sets the sink of request log entries.
    pub fn logged_to(self, sink: Option<RequestLogSink>) -> Self {
        Self {
            request_log: sink,
            ..self
        }
    }

    /// Speaks with one master until either side ends.
    pub async fn serve(
        &mut self,
        mut inbound: impl Stream<Item = FromMaster> + Unpin,
        outbound: mpsc::Sender<FromWorker>,
    ) -> End {
        self.hello_at = uptime_micros();
        if send(&outbound, Message::Hello(self.hello())).await.is_err() {
            return End::Lost;
        }
        loop {
            let event = self.next_event(&mut inbound).await;
            // first of all: nothing is said to a master that would renew a lease that is over
            self.enforce_lease();
            let outcome = match event {
                Event::Received(None) => Err(End::Lost),
                Event::Received(Some((heard, message))) => {
                    self.renew_lease(heard, &message);
                    self.on_message(message, &outbound).await
                }
                Event::Demanded(demand) => send(&outbound, demanded(demand)).await,
                Event::Done(done) => send(&outbound, Message::OneOffDone(done)).await,
                Event::Measured => self.send_unsent(&outbound).await,
                Event::Idle => Ok(()),
                Event::Prepared(outcome) => self.report_preparation(outcome, &outbound).await,
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    /// Hands over what was measured and not handed over on this connection.
    async fn send_unsent(&mut self, outbound: &mpsc::Sender<FromWorker>) -> Result<(), End> {
        let unsent = self.work().map_or_else(Vec::new, Work::unsent);
        send_all(outbound, unsent.into_iter().map(Message::Delta)).await
    }

    /// Goes on with the work without a master for `time`, within the lease.
    pub async fn work_without_master(&mut self, time: Duration) {
        let until = tokio::time::sleep(time);
        let mut until = std::pin::pin!(until);
        loop {
            self.enforce_lease();
            match &mut self.stage {
                Stage::Carrying(work) => tokio::select! {
                    () = &mut until => return,
                    // the samples are kept for the next master
                    () = work.next() => {}
                },
                _ => return until.await,
            }
        }
    }

    /// Time for which the load has been over with nobody to fetch the results.
    pub fn has_held_for(&self, now: Instant) -> Duration {
        match &self.stage {
            Stage::Carrying(work) => work.over_for(now),
            Stage::Unprepared | Stage::Prepared(_) => Duration::ZERO,
        }
    }

    /// Tells whether a share was started.
    pub(super) fn is_carrying(&self) -> bool {
        matches!(self.stage, Stage::Carrying(_))
    }

    /// Sets the index under which the next connection is made. One that carries a share keeps it.
    pub(super) fn take_index(&mut self, index: u32) {
        if !self.is_carrying() {
            self.identity.index = index;
        }
    }

    /// Tells whether the run is one of a cluster, whose master may come back after a loss.
    pub(super) fn is_in_cluster(&self) -> bool {
        self.is_in_cluster
    }

    /// Time since a master was last heard; `None` before the first.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.plan.as_ref().map(|_| self.last_message_at.elapsed())
    }

    /// The share under way or over, if it was started.
    pub(super) fn work(&mut self) -> Option<&mut Work> {
        match &mut self.stage {
            Stage::Carrying(work) => Some(work),
            Stage::Unprepared | Stage::Prepared(_) => None,
        }
    }

    /// First message of a connection.
    pub(super) fn hello(&self) -> fleet::Hello {
        let Identity {
            run,
            index,
            instance,
            cores,
            place,
            external,
        } = &self.identity;
        fleet::Hello {
            protocol: PROTOCOL_VERSION,
            version: crate::VERSION.into(),
            run: run.clone(),
            index: *index,
            instance: instance.clone(),
            cores: *cores as u32,
            epoch: self.epoch,
            carrying: self.is_carrying(),
            place: place.clone(),
            external: *external,
            takes_parts: true,
            divides_anew: true,
            changes_load: true,
            leaving: self.leaving,
        }
    }

    /// Waits for the next event. Cancel safe.
    async fn next_event(
        &mut self,
        inbound: &mut (impl Stream<Item = FromMaster> + Unpin),
    ) -> Event {
        let one_offs = &mut self.one_offs;
        match &mut self.stage {
            Stage::Carrying(work) => {
                let supply = work.supply().clone();
                tokio::select! {
                    message = inbound.next() => received(message),
                    () = work.next() => Event::Measured,
                    demand = supply.demand() => Event::Demanded(demand),
                    done = one_offs.next() => Event::Done(done),
                    () = tokio::time::sleep(LOOK_AT_LEASE) => Event::Idle,
                }
            }
            Stage::Unprepared | Stage::Prepared(_) => tokio::select! {
                message = inbound.next() => received(message),
                outcome = self.preparation.outcome() => Event::Prepared(outcome),
                done = one_offs.next() => Event::Done(done),
            },
        }
    }

    /// Handles a message of the master.
    async fn on_message(
        &mut self,
        message: from_master::Message,
        outbound: &mpsc::Sender<FromWorker>,
    ) -> Result<(), End> {
        match message {
            from_master::Message::Welcome(welcome) => self.on_welcome(welcome, outbound).await,
            from_master::Message::Refused(refused) => {
                tracing::error!("the master refuses this worker: {}", refused.reason);
                Err(End::Refused {
                    reason: refused.reason,
                    permanent: refused.permanent,
                })
            }
            from_master::Message::Start(start) => self.start(start),
            from_master::Message::Levels(levels) => {
                if let Some(work) = self.work() {
                    work.follow(levels);
                }
                Ok(())
            }
            from_master::Message::LoadChanges(changes) => {
                if let Some(work) = self.work() {
                    work.change_load(changes);
                }
                Ok(())
            }
            from_master::Message::OneOff(one_off) => {
                let worker = self.identity.index;
                match self.one_offs.ask(&one_off, self.prepared.as_ref(), worker) {
                    Some(known) => send(outbound, Message::OneOffDone(known)).await,
                    None => Ok(()),
                }
            }
            from_master::Message::Stop(stop) => {
                self.one_offs.stop();
                if let Some(work) = self.work() {
                    work.stop(stop.at_once);
                }
                Ok(())
            }
            from_master::Message::Ping(ping) => {
                let pong = self.pong(ping);
                send(outbound, Message::Pong(pong)).await
            }
            from_master::Message::Parts(fleet::Parts { parts }) => {
                if let Some(work) = self.work() {
                    work.carry(&parts);
                }
                Ok(())
            }
            from_master::Message::Losses(losses) => {
                if let Some(work) = self.work() {
                    work.remember_losses(losses);
                }
                Ok(())
            }
            from_master::Message::Ack(fleet::Ack { second }) => {
                let is_leaving = self.leaving;
                let Some(work) = self.work() else {
                    return Ok(());
                };
                if let Some(second) = second {
                    work.acknowledge(second);
                }
                if is_leaving && work.is_acknowledged() {
                    send(outbound, Message::Leaving(fleet::Leaving {})).await?;
                    return Err(End::Drained);
                }
                Ok(())
            }
            from_master::Message::Release(_) => Err(End::Released),
            from_master::Message::RowsLeased(fleet::RowsLeased {
                feeder,
                first,
                end,
                exhausted,
            }) => {
                if let Some(work) = self.work() {
                    work.supply().grant(feeder as u16, first..end, exhausted);
                }
                Ok(())
            }
            from_master::Message::RowsReserved(fleet::RowsReserved { feeder, end }) => {
                let known = self.reserved.entry(feeder as u16).or_default();
                *known = end.max(*known);
                self.forward_reserved();
                Ok(())
            }
        }
    }

    /// Answers a ping with this worker's time.
    fn pong(&mut self, ping: fleet::Ping) -> fleet::Pong {
        fleet::Pong {
            master_unix_micros: ping.master_unix_micros,
            worker_unix_micros: jiff::Timestamp::now().as_microsecond(),
            // 0 is the protocol's word for not started
            started_unix_micros: self.work().map_or(0, |work| work.started_unix_micros()),
        }
    }

    /// Tells the master all that was measured, or has the plan prepared that it sent.
    async fn on_welcome(
        &mut self,
        welcome: fleet::Welcome,
        outbound: &mpsc::Sender<FromWorker>,
    ) -> Result<(), End> {
        if welcome.epoch < self.epoch {
            tracing::warn!(
                epoch = welcome.epoch,
                highest = self.epoch,
                "this master has been replaced; looking for the other"
            );
            return Err(End::Lost);
        }
        self.epoch = welcome.epoch;
        self.snapshot_format = welcome.snapshot_format.into();
        self.one_offs.write_for(self.snapshot_format);
        if let Stage::Carrying(work) = &mut self.stage {
            let one_offs = &self.one_offs;
            work.write_for(self.snapshot_format);
            let cumulative = fleet::Cumulative {
                one_offs: one_offs.measured(),
                ..work.cumulative()
            };
            send(outbound, Message::Cumulative(cumulative)).await?;
            self.send_unsent(outbound).await?;
            // rows that were wanted on another connection will never come, so they are wanted anew
            if let Some(work) = self.work() {
                work.supply().renew();
            }
            return self.send_ready(outbound).await;
        }
        if self.plan.is_none() {
            checksum::check(&self.hashes, RUN_FILE, welcome.run_file.as_bytes())
                .map_err(|e| refused(format!("the master's plan: {e}")))?;
            let file: RunFile = serde_json::from_str(&welcome.run_file)
                .map_err(|e| refused(format!("the master's plan cannot be read: {e}")))?;
            if self.identity.external {
                self.grace = file.grace;
            }
            self.is_in_cluster = file.namespace.is_some();
            self.plan = Some(Arc::new(file.plan));
        }
        // not before the run's grace is known
        self.lease.begin(self.hello_at, self.grace);
        match &self.stage {
            Stage::Prepared(_) => return self.send_ready(outbound).await,
            // one that was begun for another connection goes on
            _ if self.preparation.is_under_way() => {}
            _ => self.prepare_after(Duration::ZERO),
        }
        Ok(())
    }

    /// Begins to prepare the plan after a pause; its outcome comes as an event.
    fn prepare_after(&mut self, pause: Duration) {
        if let Some(plan) = self.plan.clone() {
            let inputs = self.inputs.clone();
            let outside = (self.request_log.clone(), self.lease.clone());
            self.preparation.begin(plan, inputs, outside, pause);
        }
    }

    /// Tells the master whether the share can be carried out.
    async fn report_preparation(
        &mut self,
        outcome: Result<Arc<Prepared>, PrepareError>,
        outbound: &mpsc::Sender<FromWorker>,
    ) -> Result<(), End> {
        match outcome {
            Ok(prepared) => {
                self.feeders = prepared.feed_data();
                self.prepared = Some(prepared.clone());
                // an empty text on the wire means that the test has no gRPC calls
                self.descriptors = prepared.descriptor_digest().unwrap_or_default().to_owned();
                self.warnings = prepared.warnings().to_vec();
                self.stage = Stage::Prepared(prepared);
                self.send_ready(outbound).await
            }
            Err(e) => {
                tracing::warn!("not ready: {e}");
                self.prepare_after(PREPARE_EVERY);
                send(
                    outbound,
                    Message::NotReady(fleet::NotReady {
                        problems: problems(&e),
                    }),
                )
                .await
            }
        }
    }

    /// Tells the feeders which rows may be leased to somebody.
    fn forward_reserved(&mut self) {
        let reserved = self.reserved.clone();
        if let Some(work) = self.work() {
            reserved
                .into_iter()
                .for_each(|(feeder, end)| work.supply().raise_reserved(feeder, end));
        }
    }

    async fn send_ready(&self, outbound: &mpsc::Sender<FromWorker>) -> Result<(), End> {
        let data = |FeedData {
                        feeder,
                        rows,
                        digest,
                    }: &FeedData| fleet::FeederData {
            feeder: u32::from(*feeder),
            rows: *rows,
            digest: digest.clone(),
        };
        let (feeders, descriptors) = (
            self.feeders.iter().map(data).collect(),
            self.descriptors.clone(),
        );
        let (one_offs, warnings) = (self.one_offs.known(), self.warnings.clone());
        send(
            outbound,
            Message::Ready(fleet::Ready {
                one_offs,
                feeders,
                descriptors,
                warnings,
            }),
        )
        .await
    }

    /// Starts the share, at most once in a process's life: whatever comes later finds the stage
    /// moved on.
    fn start(&mut self, start: fleet::Start) -> Result<(), End> {
        if start.epoch < self.epoch {
            return Err(End::Lost);
        }
        let Stage::Prepared(prepared) = &self.stage else {
            return Ok(());
        };
        self.epoch = start.epoch;
        let ahead = Duration::from_micros(start.in_micros.unsigned_abs());
        let now = Instant::now();
        let zero = if start.in_micros >= 0 {
            now.checked_add(ahead)
        } else {
            now.checked_sub(ahead)
        };
        let Some(zero) = zero else {
            let why = format!("no clock can show a start in {} us", start.in_micros);
            return Err(refused(why));
        };
        let share = Share {
            worker: self.identity.index,
            workers: start.workers,
        };
        self.one_offs
            .learn(start.setup_values.as_ref())
            .map_err(|why| refused(why.to_owned()))?;
        let assignment = Assignment {
            share,
            shards: self.identity.cores.max(1) as u32,
            seed: start.seed,
            done: start.iterations_done,
            found: self.one_offs.setup_values(),
            changes: start
                .load_changes
                .as_ref()
                .map(read_changes)
                .unwrap_or_default(),
        };
        tracing::info!(
            worker = share.worker,
            workers = share.workers,
            in_micros = start.in_micros,
            "starting"
        );
        let from = zero.checked_add(Duration::from_micros(start.from_micros));
        let shards = assignment.shards;
        let part = Part {
            share: share.worker,
            done: assignment.done,
            ..whole_share(share.workers, shards, start.division.as_ref())
        };
        let running =
            prepared
                .clone()
                .start_part(start.part, part, &assignment, zero, from.unwrap_or(zero));
        let interval = Interval::new(start.interval_seconds, share.worker);
        let mut work = Work::new(running, zero, start.seed, (start.workers, shards), interval);
        work.note_division(start.part, start.division);
        work.note_changes(start.load_changes);
        work.write_for(self.snapshot_format);
        self.stage = Stage::Carrying(Box::new(work));
        self.forward_reserved();
        Ok(())
    }

    /// Takes in up to when a master has heard this worker; `heard` is 0 where it does not say.
    fn renew_lease(&mut self, heard: u64, message: &from_master::Message) {
        if !matches!(message, from_master::Message::Refused(_)) {
            self.last_message_at = Instant::now();
        }
        // a master of an older release counts from its own word
        let heard = if heard == 0 { uptime_micros() } else { heard };
        match message {
            // one that turns this worker away renews nothing
            from_master::Message::Refused(_) => {}
            // begins the lease once its plan is read
            from_master::Message::Welcome(_) if !self.is_carrying() => {}
            // the share is a lease from its beginning
            from_master::Message::Start(start) => {
                let ahead = u64::try_from(start.in_micros).unwrap_or_default();
                self.lease.extend(heard.saturating_add(ahead), self.grace);
            }
            _ => self.lease.extend(heard, self.grace),
        }
    }

    /// Stops the load when the lease has run out: the master may have given it to others.
    fn enforce_lease(&mut self) {
        if !self.lease.is_over() {
            return;
        }
        self.one_offs.stop();
        if let Some(work) = self.work().filter(|work| !work.is_over()) {
            tracing::error!("no master has acknowledged anything for too long; stopping the load");
            work.stop(true);
        }
    }
}

/// Ends a session whose master says what no retry makes right; the process goes with it.
fn refused(reason: String) -> End {
    tracing::error!("{reason}");
    End::Refused {
        reason,
        permanent: true,
    }
}

fn demanded(demand: Demand) -> Message {
    match demand {
        Demand::Rows { feeder, count } => Message::RowsWanted(fleet::RowsWanted {
            feeder: feeder.into(),
            count,
        }),
        Demand::UsedUp { feeder } => Message::UsedUp(fleet::UsedUp {
            feeder: feeder.into(),
        }),
    }
}

fn received(message: Option<FromMaster>) -> Event {
    // a message of a kind that this version does not know is taken for the end
    Event::Received(message.and_then(|message| Some((message.heard_micros, message.message?))))
}

async fn send(outbound: &mpsc::Sender<FromWorker>, message: Message) -> Result<(), End> {
    let message = FromWorker {
        message: Some(message),
        sent_micros: uptime_micros(),
    };
    match tokio::time::timeout(SEND_WITHIN, outbound.send(message)).await {
        Ok(sent) => sent.map_err(|_| End::Lost),
        Err(_) => {
            tracing::warn!("the master takes no messages; looking for another");
            Err(End::Lost)
        }
    }
}

async fn send_all(
    outbound: &mpsc::Sender<FromWorker>,
    messages: impl Iterator<Item = Message>,
) -> Result<(), End> {
    for message in messages {
        send(outbound, message).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
