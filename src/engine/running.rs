//! Load that is running, as its owner sees it: one delta per second, and a way to stop it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::engine::load::shard::{
    Before, HandOver, Moving, Order, Shard, ShardStart, useful_shards,
};
use crate::engine::prepare::Prepared;
use crate::engine::prepare::feeder::{Dealer, Supply};
use crate::engine::prepare::program::SetupSlots;
use crate::engine::record::recorder::ShardDelta;
use crate::engine::user::context::ContextStart;
use crate::plan::{Levels, LoadChanges, SetupValues, Share};
use crate::stats::Snapshot;

/// Most seconds that a shard may be ahead of the reader before they are merged.
const QUEUED_SECONDS: usize = 16;
/// Threads beyond those of the worker's own share for which the queue has room.
const MORE_THREADS: usize = 16;

/// Time from the moment at which a shard must be over until it is given up: nothing runs in it any
/// more that can be interrupted.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// Share of a plan to carry out, and the number of threads for it.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Share of this process.
    pub share: Share,
    /// Threads; at least 1.
    pub shards: u32,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the share's iterations that another process has already carried out, for a load
    /// with a fixed number of them.
    pub done: u64,
    /// Values that setup found.
    pub found: SetupValues,
    /// Changes of load by hand so far.
    pub changes: LoadChanges,
}

/// Part of any worker's share: some of the threads that carry it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Index of the worker whose share it is a part of.
    pub share: u32,
    /// Number of shares of which that is one.
    pub workers: u32,
    /// Number of its first thread.
    pub first: u32,
    /// Number of parts that the share has, hence the distance to its next thread.
    pub step: u32,
    /// Threads of this part.
    pub threads: u32,
    /// Number of the whole share's iterations that were carried out before it was divided.
    pub done: u64,
    /// Number of this part's iterations that were carried out since; only for one thread.
    pub part_done: u64,
    /// Number of shares that are made up for at once; 0 if nothing is.
    pub catch_up: u32,
    /// Most shares that the load was ever divided into; 0 if these are the first.
    pub most_workers: u32,
    /// Pace at which users come from those who carried the load as other shares; `None` if this is
    /// no such move.
    pub moving: Option<Moving>,
}

impl Part {
    /// The whole share of an assignment.
    fn whole(assignment: &Assignment) -> Self {
        Self {
            share: assignment.share.worker,
            workers: assignment.share.workers,
            first: 0,
            step: 1,
            threads: assignment.shards.max(1),
            done: assignment.done,
            part_done: 0,
            catch_up: 0,
            most_workers: 0,
            moving: None,
        }
    }
}

/// State of a part at the end of the delta that was given out last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartProgress {
    /// Number under which the part was begun.
    pub id: u32,
    /// The part.
    pub part: Part,
    /// Iterations that it has begun.
    pub iterations: u64,
    /// True if nothing of it runs any more.
    pub over: bool,
    /// True if it was stopped before its load was over.
    pub cut: bool,
}

/// Statistics of one run second, over all shards.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// Seconds since the run's zero.
    pub second: u32,
    /// Statistics of the second.
    pub snapshot: Snapshot,
    /// True if nothing runs any more; no delta follows unless another part is begun.
    pub last: bool,
    /// Time from the run's zero to the end of the load, without the drain; set only in the last
    /// delta.
    pub length: Option<Duration>,
}

/// Load that is running. Dropping it cuts the load.
pub struct Running {
    prepared: Arc<Prepared>,
    dealer: Arc<Dealer>,
    setup: Arc<SetupSlots>,
    seed: u64,
    start: Instant,
    levels: watch::Sender<Levels>,
    changes: watch::Sender<LoadChanges>,
    sender: mpsc::Sender<ShardDelta>,
    queue: mpsc::Receiver<ShardDelta>,
    parts: BTreeMap<u32, HeldPart>,
    threads: Vec<Thread>,
    /// Seconds that not every shard has handed over yet.
    pending: BTreeMap<u32, Second>,
    next_second: u32,
    /// Latest second of which anything was handed over.
    last_second: u32,
    /// Latest end of the load of the shards that are over, without the drain.
    ended: Option<Instant>,
    failure: Option<String>,
    finished: bool,
    /// Time that running iterations have to finish.
    stop_timeout: Duration,
    /// Time after which shards that are not over are given up; `None` while only they know when the
    /// load ends.
    give_up_at: Option<Instant>,
}

/// A part that was begun.
struct HeldPart {
    part: Part,
    orders: watch::Sender<Order>,
    until: watch::Sender<Option<HandOver>>,
    iterations: u64,
    /// Last second in which anything of it was handed over.
    last_second: u32,
}

/// Samples of one second, and the iterations that each part began in it.
#[derive(Default)]
struct Second {
    snapshot: Snapshot,
    iterations: BTreeMap<u32, u64>,
}

/// Progress of the thread of a shard.
#[derive(Debug, Clone, Copy)]
struct Thread {
    /// Part that it carries out.
    part: u32,
    /// First second that it has not handed over yet.
    next: u32,
    ended: bool,
    is_chief: bool,
}

impl Prepared {
    /// Starts the load. `start` is the run's zero, when the warm-up begins; it may lie in the
    /// future.
    ///
    /// For a worker that joins late it lies in the past: the users that should run by now start at
    /// once, and arrivals from before (if that is more than a second ago) are not made up for.
    pub fn start(self: Arc<Self>, assignment: Assignment, start: Instant) -> Running {
        let part = Part::whole(&assignment);
        self.start_part(0, part, &assignment, start, start)
    }

    /// Starts the load as [`start`](Self::start) does, with one part, which begins nothing before
    /// `from`.
    pub fn start_part(
        self: Arc<Self>,
        id: u32,
        part: Part,
        assignment: &Assignment,
        start: Instant,
        from: Instant,
    ) -> Running {
        let mut running = Running::new(self, assignment, start);
        running.take_on(id, part, from);
        running
    }

    /// Creates the dealer of feeder rows for the users of a share.
    fn dealer(&self, assignment: &Assignment) -> Dealer {
        let level = self
            .plan
            .populations
            .iter()
            .map(|population| population.load.max_level().ceil() as u64)
            .sum();
        Dealer::new(
            self.plan.feeder_slots(),
            self.feeds.clone(),
            assignment.share,
            assignment.seed,
            assignment.share.of(level),
        )
    }
}

fn run_thread(begin: ShardStart) {
    let (place, second, queue) = (
        begin.context.place,
        begin.context.first_second,
        begin.context.queue.clone(),
    );
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        // the pacer's timer is seen among the runtime's events, so under load these must not be
        // looked at too seldom
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(31)
            .build_local(tokio::runtime::LocalOptions::default());
        runtime.map(|runtime| runtime.block_on(Shard::run(begin)))
    }));
    let why = match ran {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("cannot start a runtime: {error}"),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            format!("shard {place} panicked: {}", text.unwrap_or("no message"))
        }
    };
    // an error means that the receiver is gone
    let _ = queue.blocking_send(died(place, second, why));
}

fn died(shard: u32, second: u32, why: String) -> ShardDelta {
    ShardDelta {
        shard,
        second,
        snapshot: Snapshot::default(),
        last: true,
        ended: None,
        failure: Some(why),
    }
}

impl Running {
    /// Makes a load without a part.
    fn new(prepared: Arc<Prepared>, assignment: &Assignment, start: Instant) -> Self {
        let threads = assignment.shards.max(1) as usize + MORE_THREADS;
        let (sender, queue) = mpsc::channel(QUEUED_SECONDS * threads);
        Self {
            dealer: Arc::new(prepared.dealer(assignment)),
            setup: prepared.setup_slots(&assignment.found),
            seed: assignment.seed,
            start,
            levels: watch::Sender::new(Levels::default()),
            changes: watch::Sender::new(assignment.changes.clone()),
            sender,
            queue,
            parts: BTreeMap::new(),
            threads: Vec::new(),
            pending: BTreeMap::new(),
            next_second: 0,
            last_second: 0,
            ended: None,
            failure: None,
            finished: false,
            stop_timeout: prepared.plan.stop_timeout,
            give_up_at: None,
            prepared,
        }
    }

    /// Carries out a part from `from` on, or from now on if that is past. `id` is new.
    pub fn take_on(&mut self, id: u32, part: Part, from: Instant) {
        let joined_at = from.max(Instant::now());
        let first_second = self.first_second(joined_at);
        if self.threads.iter().all(|thread| thread.ended) {
            self.next_second = self.next_second.max(first_second);
        }
        self.finished = false;
        self.give_up_at = None;
        let plan = &self.prepared.plan;
        if let Some(length) = plan.whole_length() {
            self.give_up_after(self.start, length + plan.stop_timeout);
        }
        self.last_second = self.last_second.max(first_second);
        let orders = watch::Sender::new(Order::Run);
        let until = watch::Sender::new(None);
        let held = HeldPart {
            part,
            orders: orders.clone(),
            until: until.clone(),
            iterations: 0,
            last_second: first_second,
        };
        self.parts.insert(id, held);
        let share = Share {
            worker: part.share,
            workers: part.workers,
        };
        let shards = part.step * part.threads;
        let useful = self.useful_shards(share, shards);
        let numbers = (0..part.threads).map(|nth| part.first + part.step * nth);
        for number in numbers.filter(|number| *number < useful) {
            let (place, is_chief) = self.add_thread(id, first_second);
            self.start_thread(ShardStart {
                context: ContextStart {
                    prepared: self.prepared.clone(),
                    dealer: self.dealer.clone(),
                    setup: self.setup.clone(),
                    slice: share.slice(number, shards),
                    place,
                    is_chief,
                    seed: self.seed,
                    start: self.start,
                    joined_at,
                    first_second,
                    most_workers: part.most_workers,
                    queue: self.sender.clone(),
                },
                before: Before {
                    done: part.done,
                    part_done: part.part_done,
                    catch_up: part.catch_up,
                    moving: part.moving,
                },
                until: until.subscribe(),
                orders: orders.subscribe(),
                levels: self.levels.subscribe(),
                changes: self.changes.subscribe(),
            });
        }
    }

    /// Returns the second in which a part that begins at `joined_at` is first measured. One that was
    /// given out takes nothing more: what is left of it counts in the next.
    fn first_second(&self, joined_at: Instant) -> u32 {
        let since_start = joined_at.saturating_duration_since(self.start);
        let second = u32::try_from(since_start.as_secs()).unwrap_or(u32::MAX);
        second.max(self.next_second)
    }

    /// Makes room for the thread of a part. Returns its number, and whether it is the one that
    /// measures the process.
    fn add_thread(&mut self, part: u32, first_second: u32) -> (u32, bool) {
        let has_chief = |thread: &Thread| thread.is_chief && !thread.ended;
        let is_chief = !self.threads.iter().any(has_chief);
        self.threads.push(Thread {
            part,
            next: first_second,
            ended: false,
            is_chief,
        });
        (self.threads.len() as u32 - 1, is_chief)
    }

    /// Leaves a part to others from `at` on; its users leave at the pace of `moving`, or without
    /// one at the rate at which users start. The first time counts.
    pub fn hand_over(&self, id: u32, at: Instant, moving: Option<Moving>) {
        if let Some(held) = self.parts.get(&id) {
            held.until.send_if_modified(|until| {
                let is_new = until.is_none();
                until.get_or_insert(HandOver { at, moving });
                is_new
            });
        }
    }

    /// Starts no new iteration of a part, as [`stop`](Self::stop) does for all.
    pub fn stop_part(&self, id: u32) {
        if let Some(held) = self.parts.get(&id) {
            held.give(Order::Stop);
        }
    }

    /// Returns the state of each part that was begun, at the end of the delta that was given out
    /// last.
    pub fn parts(&self) -> impl Iterator<Item = PartProgress> {
        self.parts.iter().map(|(id, held)| PartProgress {
            id: *id,
            part: held.part,
            iterations: held.iterations,
            over: self.is_over(*id, held),
            cut: held.until.borrow().is_some() || *held.orders.borrow() != Order::Run,
        })
    }

    fn is_over(&self, id: u32, held: &HeldPart) -> bool {
        let ended = |thread: &Thread| thread.part != id || thread.ended;
        self.next_second > held.last_second && self.threads.iter().all(ended)
    }

    /// Returns the number of a share's threads, out of `shards`, that have something to do; at least
    /// one.
    fn useful_shards(&self, share: Share, shards: u32) -> u32 {
        let populations = self.prepared.plan.populations.iter();
        let useful = populations.map(|population| useful_shards(&population.load, share, shards));
        useful.max().unwrap_or(1)
    }

    /// Starts the thread of a shard. If that fails, the shard counts as ended with that failure.
    fn start_thread(&mut self, begin: ShardStart) {
        let (place, second) = (begin.context.place, begin.context.first_second);
        let thread = std::thread::Builder::new().name(format!("shard-{place}"));
        if let Err(error) = thread.spawn(move || run_thread(begin)) {
            self.take(died(
                place,
                second,
                format!("cannot start a thread: {error}"),
            ));
        }
    }

    /// Waits for the next run second, also if nothing happened in it. After the end it returns one
    /// delta with `last`, then `None` until another part is begun. Cancel safe.
    pub async fn next_delta(&mut self) -> Option<Delta> {
        while !self.finished {
            if let Some(delta) = self.complete() {
                return Some(delta);
            }
            match before(self.give_up_at, self.queue.recv()).await {
                Some(Some(delta)) => self.take(delta),
                // this holds a sender, so there is always one
                Some(None) => return None,
                None => self.give_up(),
            }
        }
        None
    }

    /// Gives up shards that are not over `after` a moment and [`GIVE_UP_AFTER`], unless they are
    /// given up before.
    fn give_up_after(&mut self, moment: Instant, after: Duration) {
        let at = moment.checked_add(after.saturating_add(GIVE_UP_AFTER));
        self.give_up_at = match (self.give_up_at, at) {
            (Some(before), Some(at)) => Some(before.min(at)),
            (before, at) => before.or(at),
        };
    }

    /// Takes the shards that are not over for dead; what they have not handed over is lost.
    fn give_up(&mut self) {
        for shard in 0..self.threads.len() as u32 {
            let thread = self.threads[shard as usize];
            if !thread.ended {
                let why = format!(
                    "shard {shard} did not end within {} s of the end of its load",
                    GIVE_UP_AFTER.as_secs()
                );
                self.take(died(shard, thread.next, why));
            }
        }
    }

    /// Returns the feeder rows that the master leases.
    pub fn supply(&self) -> &Arc<Supply> {
        self.dealer.supply()
    }

    /// Starts no new iteration. Those that run have the plan's `stop_timeout` to finish and are
    /// then cut.
    pub fn stop(&mut self) {
        self.give_up_after(Instant::now(), self.stop_timeout);
        self.order(Order::Stop);
    }

    /// Ends everything now; requests under way count as interrupted.
    pub fn cut(&mut self) {
        self.give_up_after(Instant::now(), Duration::ZERO);
        self.order(Order::Cut);
    }

    /// Sets the changes of load by hand; each call gives all of them, in the order in which they were
    /// made.
    pub fn change_load(&self, changes: LoadChanges) {
        self.changes.send_replace(changes);
    }

    /// Sets the levels of a search; each call gives all of them.
    pub fn follow(&self, levels: Levels) {
        self.levels.send_replace(levels);
    }

    /// Returns why a part of the load is not carried out, if that is so. The rest goes on.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn order(&self, order: Order) {
        for (id, held) in &self.parts {
            // what is over was not cut
            if self.threads.iter().any(|t| t.part == *id && !t.ended) {
                held.give(order);
            }
        }
    }

    fn take(&mut self, delta: ShardDelta) {
        let ShardDelta {
            shard,
            second,
            snapshot,
            last,
            ended,
            failure,
        } = delta;
        self.ended = self.ended.max(ended);
        let thread = &mut self.threads[shard as usize];
        // one that died may have handed over more than it knows
        let second = second.max(thread.next);
        thread.next = second + 1;
        thread.ended |= last;
        self.last_second = self.last_second.max(second);
        let pending = self.pending.entry(second).or_default();
        pending.snapshot.merge(&snapshot);
        *pending.iterations.entry(thread.part).or_default() += snapshot.counters.iterations;
        if let Some(held) = self.parts.get_mut(&thread.part) {
            held.last_second = held.last_second.max(second);
        }
        self.failure = self.failure.take().or(failure);
    }

    /// Returns the next second, if every shard that still runs is past it.
    fn complete(&mut self) -> Option<Delta> {
        let second = self.next_second;
        let over = self.threads.iter().all(|thread| thread.ended);
        let is_awaited = |thread: &Thread| !thread.ended && thread.next <= second;
        if !over && self.threads.iter().any(is_awaited) {
            return None;
        }
        self.finished = over && second >= self.last_second;
        self.next_second += 1;
        let length = self
            .ended
            .filter(|_| self.finished)
            .map(|ended| ended.saturating_duration_since(self.start));
        let pending = self.pending.remove(&second).unwrap_or_default();
        for (id, iterations) in pending.iterations {
            if let Some(held) = self.parts.get_mut(&id) {
                held.iterations += iterations;
            }
        }
        Some(Delta {
            second,
            snapshot: pending.snapshot,
            last: self.finished,
            length,
        })
    }
}

impl HeldPart {
    fn give(&self, order: Order) {
        self.orders.send_if_modified(|now| {
            let changes = *now < order;
            *now = order.max(*now);
            changes
        });
    }
}

/// Waits for `work` until a moment, if there is one; `None` when that has come first.
async fn before<T>(moment: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match moment {
        Some(at) => tokio::time::timeout_at(at.into(), work).await.ok(),
        None => Some(work.await),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Load of two shards of which the tests say what they hand over.
    async fn running() -> (Running, mpsc::Sender<ShardDelta>) {
        let spec = serde_json::json!({
            "target": {"url": "http://127.0.0.1:1"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "1s"}},
        });
        let checked = crate::crd::check(&serde_json::from_value(spec).unwrap()).unwrap();
        let inputs = crate::plan::Inputs::default();
        let prepared = crate::engine::prepare(Arc::new(checked.plan), &inputs).await;
        let assignment = Assignment {
            share: Share::WHOLE,
            shards: 2,
            seed: 1,
            done: 0,
            found: SetupValues::default(),
            changes: vec![],
        };
        let prepared = Arc::new(prepared.unwrap());
        let mut running = Running::new(prepared, &assignment, Instant::now());
        running.add_thread(0, 0);
        running.add_thread(0, 0);
        let sender = running.sender.clone();
        (running, sender)
    }

    fn second(shard: u32, second: u32, last: bool) -> ShardDelta {
        let mut snapshot = Snapshot::default();
        snapshot.counters.iterations = 1;
        ShardDelta {
            shard,
            second,
            snapshot,
            last,
            ended: None,
            failure: None,
        }
    }

    #[tokio::test]
    async fn a_shard_that_does_not_end_when_it_is_cut_is_given_up_and_the_others_count() {
        let (mut running, sender) = running().await;
        sender.send(second(0, 0, false)).await.unwrap();
        sender.send(second(0, 1, true)).await.unwrap();
        sender.send(second(1, 0, false)).await.unwrap();
        // as if it had been cut a while ago
        running.give_up_at = Some(Instant::now());
        let deltas = [running.next_delta().await, running.next_delta().await];
        let counts = deltas.map(|delta| {
            let delta = delta.expect("a second");
            (delta.snapshot.counters.iterations, delta.last)
        });
        assert_eq!(counts, [(2, false), (1, true)]);
        assert_eq!(running.next_delta().await, None);
        assert!(
            running
                .failure()
                .unwrap()
                .starts_with("shard 1 did not end")
        );
    }

    /// Before, what was measured in the rest of the second was never handed over.
    #[tokio::test]
    async fn a_part_that_begins_in_a_second_that_was_given_out_counts_in_the_next() {
        let (mut running, sender) = running().await;
        for shard in [0, 1] {
            sender.send(second(shard, 0, true)).await.unwrap();
        }
        assert!(running.next_delta().await.is_some_and(|delta| delta.last));
        let part = Part {
            share: 0,
            workers: 1,
            first: 0,
            step: 1,
            threads: 1,
            done: 0,
            part_done: 0,
            catch_up: 0,
            most_workers: 1,
            moving: None,
        };
        running.take_on(7, part, Instant::now());
        assert_eq!((running.next_second, running.threads[2].next), (1, 1));
        let delta = running.next_delta().await.expect("the second after it");
        assert_eq!(delta.second, 1);
    }

    #[tokio::test]
    async fn shards_are_given_up_some_time_after_they_must_be_over_and_not_before() {
        let (mut running, _sender) = running().await;
        assert_eq!(running.give_up_at, None, "nobody knows when the load ends");
        let left = |running: &Running| {
            let at = running.give_up_at.expect("it is known");
            at.saturating_duration_since(Instant::now())
        };
        running.stop();
        assert!(left(&running) > running.stop_timeout);
        running.cut();
        assert!(left(&running) <= GIVE_UP_AFTER);
        // a stop that comes later gives no more time
        running.stop();
        assert!(left(&running) <= GIVE_UP_AFTER);
    }
}
