//! One thread's part of a share: its users or slots, connections, statistics and random numbers,
//! shared with no one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::watch;

use crate::engine::load::cohort::Cohort;
use crate::engine::record::gauge::Window;
use crate::engine::record::recorder::Dropped;
use crate::engine::user::context::{Context, ContextStart};
use crate::plan::share::Slice;
use crate::plan::{Levels, Load, LoadChanges, Share};
use crate::stats::ErrorClass;

/// Order to a running load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Run the load.
    Run,
    /// Start nothing new.
    Stop,
    /// Stop what runs, too.
    Cut,
}

/// Everything that a shard starts with.
pub(crate) struct ShardStart {
    /// State that the users of the shard share.
    pub(crate) context: ContextStart,
    /// Work that was done before, and that is to be made up for.
    pub(crate) before: Before,
    /// Receiver of the time from which others carry the load.
    pub(crate) until: watch::Receiver<Option<HandOver>>,
    /// Receiver of orders to the load.
    pub(crate) orders: watch::Receiver<Order>,
    /// Receiver of the levels that the master announces.
    pub(crate) levels: watch::Receiver<Levels>,
    /// Receiver of the changes of load by hand.
    pub(crate) changes: watch::Receiver<LoadChanges>,
}

/// Work of others before a thread began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    /// Number of the share's iterations that other processes have already carried out.
    pub(crate) done: u64,
    /// Number of this thread's own iterations among the rest that another process has carried out.
    pub(crate) part_done: u64,
    /// Number of shares whose users are to be made up for at once; 0 for users that start as the
    /// profile has them.
    pub(crate) catch_up: u32,
    /// Pace at which users come from those who carried the load as other shares; `None` if this is
    /// no such move.
    pub(crate) moving: Option<Moving>,
}

/// Pace at which the users of a whole fleet move when the load is divided anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moving {
    /// Time in which all users move, evenly.
    pub window: Duration,
    /// Time after its turn to leave at which a user starts elsewhere, so that it has left by then.
    pub lag: Duration,
}

impl Moving {
    /// Users that move per second, if `users` move in all.
    pub(crate) fn rate(self, users: u64) -> f64 {
        // at least one, since nobody waits for none
        users.max(1) as f64 / self.window.as_secs_f64().max(0.001)
    }
}

/// Time from which a part of the load is left to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// The time.
    pub(crate) at: Instant,
    /// Pace at which users leave; `None` for the rate at which users start.
    pub(crate) moving: Option<Moving>,
}

/// One thread's part of a load.
pub(crate) struct Shard {
    /// State that the users of the shard share.
    pub(crate) context: Rc<Context>,
    /// Seed of the run, the same in each shard.
    pub(crate) seed: u64,
    /// Zero of the run, when the warm-up begins.
    pub(crate) start: Instant,
    /// Time when the load was asked for; after `start` for a worker that joins late.
    pub(crate) joined_at: Instant,
    /// Work that was done before, and that is to be made up for.
    pub(crate) before: Before,
    /// Time from which others carry the load, once it is known.
    pub(crate) until: watch::Receiver<Option<HandOver>>,
    /// Receiver of the levels that the master announces; used only by a search for capacity.
    pub(crate) levels: watch::Receiver<Levels>,
    /// Receiver of the changes of load by hand.
    pub(crate) changes: watch::Receiver<LoadChanges>,
    /// Users alive, of all populations.
    users: Cell<u64>,
    /// Slots of open load with an iteration, of all populations.
    slots: Cell<u64>,
    /// Populations whose load is not over.
    driving: Cell<usize>,
    /// Latest end of the load of a population.
    ended: Cell<Option<Instant>>,
}

impl Shard {
    /// Runs the shard's part of the load, from start to drain.
    pub(crate) async fn run(begin: ShardStart) {
        let (queue, orders) = (begin.context.queue.clone(), begin.orders.clone());
        let shard = Rc::new(Shard::new(begin));
        let cohorts = shard.cohorts();
        shard.driving.set(cohorts.len());
        shard.measure_at_once();
        let cohorts = cohorts
            .into_iter()
            .map(|cohort| Rc::new(cohort).run(orders.clone()));
        let ended = tokio::select! {
            () = shard.tick() => None,
            ended = join_all(cohorts) => ended.into_iter().max(),
        };
        let mut last = shard.context.recorder.borrow_mut().finish(Instant::now());
        last.ended = ended;
        // an error means that the receiver is gone
        let _ = queue.send(last).await;
    }

    fn new(begin: ShardStart) -> Self {
        let ShardStart {
            context,
            before,
            until,
            orders: _,
            levels,
            changes,
        } = begin;
        Self {
            seed: context.seed,
            start: context.start,
            joined_at: context.joined_at,
            context: Rc::new(Context::new(context)),
            before,
            until,
            levels,
            changes,
            users: Cell::new(0),
            slots: Cell::new(0),
            driving: Cell::new(0),
            ended: Cell::new(None),
        }
    }

    fn cohorts(self: &Rc<Self>) -> Vec<Cohort> {
        let Slice {
            share,
            shard,
            shards,
        } = self.context.slice;
        let populations = self.context.prepared.plan.populations.iter().enumerate();
        let cohorts = populations.filter_map(|(place, population)| {
            let shards = useful_shards(&population.load, share, shards);
            let slice = share.slice(shard, shards);
            let slice = match &population.load {
                // what is to be done is dealt out among those who can do it
                Load::Iterations(iterations) => slice.among(iterations.users.into())?,
                Load::Closed { .. } | Load::Open { .. } | Load::Capacity(_) => slice,
            };
            (shard < shards).then(|| Cohort::new(self.clone(), place, slice))
        });
        cohorts.collect()
    }

    /// Hands over each second of statistics when it is over, also if nothing happened in it. Never
    /// returns.
    async fn tick(&self) {
        loop {
            let boundary = self.context.recorder.borrow().boundary();
            tokio::time::sleep_until(boundary.into()).await;
            self.report_failures_beside();
            if let Some(end) = self.context.prepared.lease.ended() {
                self.context.recorder.borrow_mut().cut_arrivals(end);
            }
            self.context.recorder.borrow_mut().roll(Instant::now());
        }
    }

    /// Records failed token renewals and look-ups, at the first step that uses the target. Only one
    /// shard does so.
    fn report_failures_beside(&self) {
        if !self.context.is_chief {
            return;
        }
        let targets = &self.context.prepared.targets;
        let renewals = targets
            .take_renewal_failures()
            .map(|(place, count, why)| (ErrorClass::Auth, place, count, why));
        let lookups = targets
            .take_lookup_failures()
            .map(|(place, count, why)| (ErrorClass::Dns, place, count, why));
        for (class, place, count, why) in renewals.chain(lookups) {
            let step = self
                .context
                .prepared
                .steps
                .iter()
                .position(|step| step.route == place)
                .unwrap_or_default();
            self.context
                .recorder
                .borrow_mut()
                .background_failed(class, step as u16, count, &why);
        }
    }

    /// Returns the time since `zero` before which nothing is this shard's: none for one that was
    /// slow to start, which makes up for it. One that takes over from others begins where they
    /// ended.
    pub(crate) fn missed(&self, zero: Instant) -> Duration {
        let joined_at = self.joined_at.saturating_duration_since(zero);
        if self.before.moving.is_none() && joined_at < SLOW_START {
            Duration::ZERO
        } else {
            joined_at
        }
    }

    /// Returns the fraction of its users that are here while they move to or from other shards.
    pub(crate) fn fraction(&self, at: Instant) -> f64 {
        let passed = |begin: Instant, moving: Moving| {
            let since = at.saturating_duration_since(begin).as_secs_f64();
            (since / moving.window.as_secs_f64().max(0.001)).min(1.0)
        };
        let come = self
            .before
            .moving
            .map_or(1.0, |moving| passed(self.begins() + moving.lag, moving));
        let left = match *self.until.borrow() {
            Some(HandOver {
                at,
                moving: Some(moving),
            }) => passed(at, moving),
            _ => 0.0,
        };
        come - left
    }

    /// Returns the time at which the shard may begin: its zero, or later for one that joins late.
    pub(crate) fn begins(&self) -> Instant {
        self.start.max(self.joined_at)
    }

    /// Has requests in flight, users and slots measured over the part of the run that the results
    /// are of.
    fn measure_at_once(&self) {
        let prepared = &self.context.prepared;
        let window = Window {
            from: self.context.zero.max(self.joined_at),
            until: prepared
                .plan
                .whole_length()
                .map(|length| self.start + length),
        };
        self.context.recorder.borrow_mut().measure_at_once(window);
    }

    /// Notes that the load of a population was over at `at`.
    pub(crate) fn load_ended(&self, at: Instant) {
        self.driving.set(self.driving.get() - 1);
        self.ended.set(self.ended.get().max(Some(at)));
        if let Some(ended) = self.ended.get().filter(|_| self.driving.get() == 0) {
            self.context.recorder.borrow_mut().load_ended(ended);
        }
    }

    /// Changes the number of users, or in open load that of busy slots, by `change`, which gets the
    /// current number and returns the new one.
    pub(crate) fn count_users(&self, is_open: bool, change: impl FnOnce(u64) -> u64) {
        let number = if is_open { &self.slots } else { &self.users };
        number.set(change(number.get()));
        self.context
            .recorder
            .borrow_mut()
            .users(self.users.get(), self.slots.get());
    }

    /// Counts iterations that were due at `intended` and will not start.
    pub(crate) fn dropped(&self, intended: Instant, count: u64) {
        self.context.recorder.borrow_mut().dropped(
            count,
            Dropped::NoSlot,
            self.context.part(intended),
        );
    }
}

/// Longest time after the profile's zero at which a worker may join and still be treated as there
/// from the start.
const SLOW_START: Duration = Duration::from_secs(1);

/// Smallest number of slots that is worth a further shard.
const SLOTS_PER_SHARD: u64 = 16;

/// Returns on how many of the worker's shards a load is carried out. Open load needs enough slots
/// in each, since an arrival that finds no free slot in its shard is dropped even if another shard
/// has one.
pub(crate) fn useful_shards(load: &Load, share: Share, shards: u32) -> u32 {
    let most = match load {
        Load::Closed { .. } | Load::Iterations(_) => u64::from(shards),
        Load::Open { .. } | Load::Capacity(_) => share.of(load.most()) / SLOTS_PER_SHARD,
    };
    most.clamp(1, shards.max(1).into()) as u32
}
