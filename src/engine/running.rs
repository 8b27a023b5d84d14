//! Load that is running, as its owner sees it: one delta per second, and a way to stop it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::engine::load::shard::{Order, Shard, ShardStart, useful_shards};
use crate::engine::prepare::Prepared;
use crate::engine::prepare::feeder::{Dealer, Supply};
use crate::engine::record::recorder::ShardDelta;
use crate::engine::user::context::ContextStart;
use crate::plan::{Levels, SetupValues, Share};
use crate::stats::Snapshot;

/// Most seconds that a shard may be ahead of the reader before they are merged.
const QUEUED_SECONDS: usize = 16;

/// Time from the moment at which a shard must be over until it is given up: nothing runs in it any
/// more that can be interrupted.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// Part of a plan to carry out, and the number of threads for it.
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
}

/// Statistics of one run second, over all shards.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// Seconds since the run's zero.
    pub second: u32,
    /// Statistics of the second.
    pub snapshot: Snapshot,
    /// True if nothing runs any more and no delta follows.
    pub last: bool,
    /// Time from the run's zero to the end of the load, without the drain; set only in the last
    /// delta.
    pub length: Option<Duration>,
}

/// Load that is running. Dropping it cuts the load.
#[derive(Debug)]
pub struct Running {
    orders: watch::Sender<Order>,
    levels: watch::Sender<Levels>,
    queue: mpsc::Receiver<ShardDelta>,
    supply: Arc<Supply>,
    shards: Vec<Progress>,
    /// Seconds that not every shard has handed over yet.
    pending: BTreeMap<u32, Snapshot>,
    next_second: u32,
    /// Latest second of which anything was handed over.
    last_second: u32,
    /// Latest end of the load of the shards that are over, without the drain.
    ended: Option<Instant>,
    start: Instant,
    failure: Option<String>,
    finished: bool,
    /// Time that running iterations have to finish.
    stop_timeout: Duration,
    /// Time after which shards that are not over are given up; `None` while only they know when the
    /// load ends.
    give_up_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    /// First second that the shard has not handed over yet.
    next: u32,
    ended: bool,
}

impl Prepared {
    /// Starts the load. `start` is the run's zero, when the warm-up begins; it may lie in the
    /// future.
    ///
    /// For a worker that joins late it lies in the past: the users that should run by now start at
    /// once, and arrivals from before (if that is more than a second ago) are not made up for.
    pub fn start(self: Arc<Self>, assignment: Assignment, start: Instant) -> Running {
        let joined_at = Instant::now();
        let first_second =
            u32::try_from(joined_at.saturating_duration_since(start).as_secs()).unwrap_or(u32::MAX);
        let shards = self.useful_shards(&assignment);
        let dealer = Arc::new(self.dealer(&assignment));
        let setup = self.setup_slots(&assignment.found);
        let (orders, order_receiver) = watch::channel(Order::Run);
        let (levels, level_receiver) = watch::channel(Levels::default());
        let (sender, queue) = mpsc::channel(QUEUED_SECONDS * shards as usize);
        let mut running = Running {
            orders,
            levels,
            queue,
            supply: dealer.supply().clone(),
            shards: Progress::of_shards(shards, first_second),
            pending: BTreeMap::new(),
            next_second: first_second,
            last_second: first_second,
            ended: None,
            start,
            failure: None,
            finished: false,
            stop_timeout: self.plan.stop_timeout,
            give_up_at: None,
        };
        if let Some(length) = self.plan.whole_length() {
            running.give_up_after(start, length + self.plan.stop_timeout);
        }
        for shard in 0..shards {
            running.start_shard(ShardStart {
                context: ContextStart {
                    prepared: self.clone(),
                    dealer: dealer.clone(),
                    setup: setup.clone(),
                    slice: assignment.share.slice(shard, shards),
                    seed: assignment.seed,
                    start,
                    joined_at,
                    first_second,
                    queue: sender.clone(),
                },
                done: assignment.done,
                orders: order_receiver.clone(),
                levels: level_receiver.clone(),
            });
        }
        running
    }

    /// Returns the number of threads that have something to do; at least one.
    fn useful_shards(&self, assignment: &Assignment) -> u32 {
        let populations = self.plan.populations.iter();
        let useful = populations
            .map(|population| useful_shards(&population.load, assignment.share, assignment.shards));
        useful.max().unwrap_or(1)
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
    let (shard, second, queue) = (
        begin.context.slice.shard,
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
            format!("shard {shard} panicked: {}", text.unwrap_or("no message"))
        }
    };
    // an error means that the receiver is gone
    let _ = queue.blocking_send(died(shard, second, why));
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

impl Progress {
    /// Creates the progress of shards that have handed over nothing.
    fn of_shards(shards: u32, first_second: u32) -> Vec<Self> {
        let progress = Self {
            next: first_second,
            ended: false,
        };
        vec![progress; shards as usize]
    }
}

impl Running {
    /// Starts the thread of a shard. If that fails, the shard counts as ended with that failure.
    fn start_shard(&mut self, begin: ShardStart) {
        let (shard, second) = (begin.context.slice.shard, begin.context.first_second);
        let thread = std::thread::Builder::new().name(format!("shard-{shard}"));
        if let Err(error) = thread.spawn(move || run_thread(begin)) {
            self.take(died(
                shard,
                second,
                format!("cannot start a thread: {error}"),
            ));
        }
    }

    /// Waits for the next run second, also if nothing happened in it. After the end it returns one
    /// delta with `last`, then `None`. Cancel safe.
    pub async fn next_delta(&mut self) -> Option<Delta> {
        while !self.finished {
            if let Some(delta) = self.complete() {
                return Some(delta);
            }
            match before(self.give_up_at, self.queue.recv()).await {
                Some(Some(delta)) => self.take(delta),
                Some(None) => self.shards.iter_mut().for_each(|shard| shard.ended = true),
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
        for shard in 0..self.shards.len() as u32 {
            let progress = self.shards[shard as usize];
            if !progress.ended {
                let why = format!(
                    "shard {shard} did not end within {} s of the end of its load",
                    GIVE_UP_AFTER.as_secs()
                );
                self.take(died(shard, progress.next, why));
            }
        }
    }

    /// Returns the feeder rows that the master leases.
    pub fn supply(&self) -> &Arc<Supply> {
        &self.supply
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

    /// Sets the levels of a search; each call gives all of them.
    pub fn follow(&self, levels: Levels) {
        self.levels.send_replace(levels);
    }

    /// Returns why a part of the load is not carried out, if that is so. The rest goes on.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn order(&self, order: Order) {
        self.orders.send_if_modified(|now| {
            let changes = *now < order;
            *now = order.max(*now);
            changes
        });
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
        let progress = &mut self.shards[shard as usize];
        // one that died may have handed over more than it knows
        let second = second.max(progress.next);
        progress.next = second + 1;
        progress.ended |= last;
        self.last_second = self.last_second.max(second);
        self.pending.entry(second).or_default().merge(&snapshot);
        self.failure = self.failure.take().or(failure);
    }

    /// Returns the next second, if every shard that still runs is past it.
    fn complete(&mut self) -> Option<Delta> {
        let second = self.next_second;
        let over = self.shards.iter().all(|shard| shard.ended);
        if !over
            && self
                .shards
                .iter()
                .any(|shard| !shard.ended && shard.next <= second)
        {
            return None;
        }
        self.finished = over && second >= self.last_second;
        self.next_second += 1;
        let length = self
            .ended
            .filter(|_| self.finished)
            .map(|ended| ended.saturating_duration_since(self.start));
        Some(Delta {
            second,
            snapshot: self.pending.remove(&second).unwrap_or_default(),
            last: self.finished,
            length,
        })
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
    fn running() -> (Running, mpsc::Sender<ShardDelta>) {
        let (sender, queue) = mpsc::channel(QUEUED_SECONDS);
        let running = Running {
            orders: watch::channel(Order::Run).0,
            levels: watch::channel(Levels::default()).0,
            queue,
            supply: Arc::new(Supply::new(std::iter::empty(), 0)),
            shards: Progress::of_shards(2, 0),
            pending: BTreeMap::new(),
            next_second: 0,
            last_second: 0,
            ended: None,
            start: Instant::now(),
            failure: None,
            finished: false,
            stop_timeout: Duration::from_secs(30),
            give_up_at: None,
        };
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
        let (mut running, sender) = running();
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

    #[test]
    fn shards_are_given_up_some_time_after_they_must_be_over_and_not_before() {
        let (mut running, _sender) = running();
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
