//! One thread's part of a share: its users or slots, connections, statistics and random numbers,
//! shared with no one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use tokio::sync::{mpsc, watch};

use crate::engine::auth::{Living, Wardrobe};
use crate::engine::load::cohort::Cohort;
use crate::engine::net::pool::Pool;
use crate::engine::one_off::Given;
use crate::engine::prepare::Prepared;
use crate::engine::prepare::feeder::Dealer;
use crate::engine::record::cpu::CpuMeter;
use crate::engine::record::recorder::{Dropped, Part, Recorder, ShardDelta};
use crate::engine::record::sampling::Sampler;
use crate::plan::share::Slice;
use crate::plan::{Levels, Load, Share};
use crate::stats::ErrorClass;

/// One buffer for all reads of a thread: connections that wait need none.
const READ_BUFFER: usize = 64 * 1024;

/// What a running load was told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    Run,
    /// Start nothing new.
    Stop,
    /// Stop what runs, too.
    Cut,
}

/// Everything a shard's thread starts with.
pub(crate) struct Outset {
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) dealer: Arc<Dealer>,
    pub(crate) given: Arc<Given>,
    pub(crate) slice: Slice,
    pub(crate) seed: u64,
    /// The run's zero, when the warm-up begins.
    pub(crate) start: Instant,
    /// When the load was asked for; after `start` for a worker that joins late.
    pub(crate) joined_at: Instant,
    pub(crate) first_second: u32,
    /// See [`Assignment::done`](crate::engine::Assignment::done).
    pub(crate) done: u64,
    pub(crate) queue: mpsc::Sender<ShardDelta>,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) levels: watch::Receiver<Levels>,
}

pub(crate) struct Shard {
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) dealer: Arc<Dealer>,
    /// What setup found.
    pub(crate) given: Arc<Given>,
    pub(crate) slice: Slice,
    /// Differs between any two shards of a fleet.
    pub(crate) seed: u64,
    /// The run's zero, when the warm-up begins.
    pub(crate) start: Instant,
    /// The end of the warm-up: what starts before is not in the results.
    pub(crate) zero: Instant,
    /// See [`Outset::joined_at`].
    pub(crate) joined_at: Instant,
    pub(crate) done: u64,
    /// What the master announces; of meaning in the search for the capacity.
    pub(crate) levels: watch::Receiver<Levels>,
    pub(crate) recorder: RefCell<Recorder>,
    pub(crate) buffer: RefCell<Box<[u8]>>,
    /// Requests with credentials that change.
    pub(crate) wardrobe: Wardrobe,
    random: RefCell<Xoshiro256PlusPlus>,
    /// By place among [`Prepared::routes`].
    pub(crate) pools: Vec<Pool>,
    /// How often `seq()` was asked for, and a lead over whoever held this slice before.
    sequence: Cell<u64>,
    /// Users alive or slots busy, of all populations.
    users: Cell<u64>,
    /// Chooses the requests that are written down.
    pub(crate) sampler: Option<Sampler>,
    /// Failed checks are told with the answers.
    pub(crate) tells_answers: bool,
}

impl Shard {
    /// Carries out the slice, from start to drain.
    pub(crate) async fn run(outset: Outset) {
        let (queue, orders) = (outset.queue.clone(), outset.orders.clone());
        let shard = Rc::new(Shard::new(outset));
        let cohorts = shard
            .cohorts()
            .into_iter()
            .map(|cohort| Rc::new(cohort).run(orders.clone()));
        let ended = tokio::select! {
            () = shard.tick() => None,
            ended = join_all(cohorts) => ended.into_iter().max(),
        };
        let mut last = shard.recorder.borrow_mut().finish(Instant::now());
        last.ended = ended;
        // nobody is left to tell
        let _ = queue.send(last).await;
    }

    pub(crate) fn new(outset: Outset) -> Self {
        let Outset {
            prepared,
            dealer,
            given,
            slice,
            seed,
            start,
            joined_at,
            first_second,
            done,
            queue,
            orders: _,
            levels,
        } = outset;
        let cpu = (slice.shard == 0).then(|| CpuMeter::new(Instant::now()));
        let boundary = start + Duration::from_secs(u64::from(first_second) + 1);
        let recorder = Recorder::new(
            slice.shard,
            prepared.steps.len(),
            first_second,
            boundary,
            cpu,
            queue,
        );
        let seed = shard_seed(seed, slice);
        let sampler = prepared
            .sampling
            .clone()
            .map(|sampling| Sampler::new(sampling, slice.share.worker, seed));
        Self {
            zero: start + prepared.plan.warmup,
            pools: prepared
                .routes
                .iter()
                .map(|route| Pool::new(slice, route))
                .collect(),
            prepared,
            dealer,
            given,
            slice,
            seed,
            start,
            joined_at,
            done,
            levels,
            recorder: RefCell::new(recorder),
            buffer: RefCell::new(vec![0; READ_BUFFER].into()),
            wardrobe: Wardrobe::default(),
            // in one shard, nobody asks more often than once a microsecond
            sequence: Cell::new(joined_at.saturating_duration_since(start).as_micros() as u64),
            random: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
            users: Cell::new(0),
            sampler,
            tells_answers: false,
        }
    }

    fn cohorts(self: &Rc<Self>) -> Vec<Cohort> {
        let Slice {
            share,
            shard,
            shards,
        } = self.slice;
        let populations = self.prepared.plan.populations.iter().enumerate();
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

    /// Hands over a second when it is over, whether anything happens in it or not. Never ends.
    async fn tick(&self) {
        loop {
            let boundary = self.recorder.borrow().boundary();
            tokio::time::sleep_until(boundary.into()).await;
            self.report_renewals();
            self.recorder.borrow_mut().roll(Instant::now());
        }
    }

    /// Tokens that could not be renewed are told by one shard, at the first step that would show
    /// them.
    fn report_renewals(&self) {
        if self.slice.shard > 0 {
            return;
        }
        for (place, route) in self.prepared.routes.iter().enumerate() {
            let Some((count, why)) = route
                .living()
                .and_then(Living::token)
                .and_then(|token| token.take_failures())
            else {
                continue;
            };
            let step = self
                .prepared
                .steps
                .iter()
                .position(|step| step.route == place)
                .unwrap_or_default();
            self.recorder
                .borrow_mut()
                .failed_beside(ErrorClass::Auth, step as u16, count, &why);
        }
    }

    /// `change` makes of the number of users so far the new one.
    pub(crate) fn count_users(&self, change: impl FnOnce(u64) -> u64) {
        self.users.set(change(self.users.get()));
        self.recorder.borrow_mut().users(self.users.get());
    }

    /// So many iterations that should have started at `intended` will not.
    pub(crate) fn dropped(&self, intended: Instant, count: u64) {
        self.recorder
            .borrow_mut()
            .dropped(count, Dropped::NoSlot, self.part(intended));
    }

    /// To which part of the run an iteration belongs that starts then.
    pub(crate) fn part(&self, start: Instant) -> Part {
        if start < self.zero {
            Part::Warmup
        } else {
            Part::Measured
        }
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// A number that no other shard, worker or earlier process of this worker gives out in the run.
    pub(crate) fn sequence(&self) -> u64 {
        let nth = self.sequence.get();
        self.sequence.set(nth + 1);
        self.slice.number(nth)
    }

    /// Leaves so many numbers to others.
    pub(crate) fn skip_sequence(&self, count: u64) {
        self.sequence.set(self.sequence.get() + count);
    }
}

/// Fewer slots than this are not worth another shard.
const SLOTS_PER_SHARD: u64 = 16;

/// On how many of the worker's shards a load is carried out. Open load needs enough slots in each,
/// for an arrival that finds none in its own is dropped though another has one.
pub(crate) fn useful_shards(load: &Load, share: Share, shards: u32) -> u32 {
    let most = match load {
        Load::Closed { .. } | Load::Iterations(_) => u64::from(shards),
        Load::Open { .. } | Load::Capacity(_) => share.of(load.most()) / SLOTS_PER_SHARD,
    };
    most.clamp(1, shards.max(1).into()) as u32
}

/// Differs between any two shards of a fleet; the multipliers are those of splitmix64.
fn shard_seed(seed: u64, slice: Slice) -> u64 {
    let place = u64::from(slice.share.worker) << 32 | u64::from(slice.shard);
    let mixed = (place.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed ^ (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
}
