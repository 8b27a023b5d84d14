//! One thread's part of a share: its users or slots, connections, statistics and random numbers, shared with no one.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::prepare::Prepared;
use super::recorder::{CpuMeter, Recorder, ShardDelta};
use super::transport::Pool;
use super::{closed, open};
use crate::plan::Load;
use crate::plan::share::Slice;

/// One buffer for all reads of a thread: connections that wait need none.
const READ_BUFFER: usize = 64 * 1024;

/// What a running load was told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Run,
    /// Start nothing new.
    Stop,
    /// Stop what runs, too.
    Cut,
}

/// Everything a shard's thread starts with.
pub(super) struct Outset {
    pub(super) prepared: Arc<Prepared>,
    pub(super) slice: Slice,
    pub(super) seed: u64,
    /// The profile's zero.
    pub(super) start: Instant,
    /// When the load was asked for; after `start` for a worker that joins late.
    pub(super) joined_at: Instant,
    pub(super) first_second: u32,
    pub(super) queue: mpsc::Sender<ShardDelta>,
    pub(super) orders: watch::Receiver<Order>,
}

pub(super) struct Shard {
    pub(super) prepared: Arc<Prepared>,
    pub(super) slice: Slice,
    pub(super) start: Instant,
    /// See [`Outset::joined_at`].
    pub(super) joined_at: Instant,
    /// No iteration starts from here on.
    pub(super) end: Instant,
    pub(super) recorder: RefCell<Recorder>,
    pub(super) buffer: RefCell<Box<[u8]>>,
    random: RefCell<Xoshiro256PlusPlus>,
    /// By place among [`Prepared::routes`].
    pub(super) pools: Vec<Pool>,
    /// How often `seq()` was asked for, and a lead over whoever held this slice before.
    sequence: Cell<u64>,
    stopping: Cell<bool>,
    /// Users alive or slots busy.
    users: Cell<u64>,
    crew: RefCell<JoinSet<()>>,
}

/// What a user or slot is doing, as those see it who may end it.
pub(super) struct Member {
    pub(super) state: Rc<Cell<State>>,
    abort: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Between two iterations: may be ended at any time.
    Idle,
    /// In an iteration, which it finishes first.
    Busy,
    Gone,
}

impl Member {
    /// Ends it unless it is in an iteration; whether it did.
    pub(super) fn release(&self) -> bool {
        let idle = self.state.get() == State::Idle;
        if idle {
            self.abort.abort();
            self.state.set(State::Gone);
        }
        idle
    }
}

impl Shard {
    /// Carries out the slice, from start to drain.
    pub(super) async fn run(outset: Outset) {
        let Outset { prepared, slice, seed, start, joined_at, first_second, queue, mut orders } = outset;
        let stop_timeout = prepared.plan.stop_timeout;
        let cpu = (slice.shard == 0).then(|| CpuMeter::new(Instant::now()));
        let boundary = start + Duration::from_secs(u64::from(first_second) + 1);
        let recorder = Recorder::new(slice.shard, prepared.steps.len(), first_second, boundary, cpu, queue.clone());
        let shard = Rc::new(Shard {
            end: start + prepared.plan.load.profile().length(),
            pools: prepared.routes.iter().map(|_| Pool::new(slice)).collect(),
            prepared,
            slice,
            start,
            joined_at,
            recorder: RefCell::new(recorder),
            buffer: RefCell::new(vec![0; READ_BUFFER].into()),
            random: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(shard_seed(seed, slice))),
            // in one shard, nobody asks more often than once a microsecond
            sequence: Cell::new(joined_at.saturating_duration_since(start).as_micros() as u64),
            stopping: Cell::new(false),
            users: Cell::new(0),
            crew: RefCell::new(JoinSet::new()),
        });

        let members = RefCell::new(Vec::new());
        tokio::select! {
            () = shard.tick() => {}
            () = shard.drive(&members) => {}
            () = told(&mut orders, Order::Stop) => {}
        }
        shard.stopping.set(true);
        members.borrow().iter().for_each(|member: &Member| shard.left(u64::from(member.release() && !shard.is_open())));
        tokio::select! {
            () = shard.tick() => {}
            () = shard.drained() => {}
            () = tokio::time::sleep(stop_timeout) => {}
            () = told(&mut orders, Order::Cut) => {}
        }
        // dropping a request under way counts it
        let mut crew = shard.crew.take();
        crew.shutdown().await;
        shard.set_users(0);
        let last = shard.recorder.borrow_mut().finish(Instant::now());
        // nobody is left to tell
        let _ = queue.send(last).await;
    }

    async fn drive(self: &Rc<Self>, members: &RefCell<Vec<Member>>) {
        match &self.prepared.plan.load {
            Load::Closed { profile } => closed::drive(self, profile, members).await,
            Load::Open { profile, max_in_flight, max_dropped: _ } => open::drive(self, profile, *max_in_flight, members).await,
        }
    }

    /// Hands over a second when it is over, whether anything happens in it or not. Never ends.
    async fn tick(&self) {
        loop {
            let boundary = self.recorder.borrow().boundary();
            tokio::time::sleep_until(boundary.into()).await;
            self.recorder.borrow_mut().roll(Instant::now());
        }
    }

    /// Waits until every user and slot is gone.
    async fn drained(&self) {
        std::future::poll_fn(|cx| {
            loop {
                match self.crew.borrow_mut().poll_join_next(cx) {
                    std::task::Poll::Ready(None) => return std::task::Poll::Ready(()),
                    std::task::Poll::Ready(Some(Err(error))) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    std::task::Poll::Ready(Some(_)) => {}
                    std::task::Poll::Pending => return std::task::Poll::Pending,
                }
            }
        })
        .await
    }

    /// Starts a user or slot; it begins idle.
    pub(super) fn spawn<F: Future<Output = ()> + 'static>(&self, member: impl FnOnce(Rc<Cell<State>>) -> F) -> Member {
        let state = Rc::new(Cell::new(State::Idle));
        let abort = self.crew.borrow_mut().spawn_local(member(state.clone()));
        Member { state, abort }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.prepared.plan.load, Load::Open { .. })
    }

    /// Time since the profile's zero.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    pub(super) fn joined(&self) {
        self.set_users(self.users() + 1);
    }

    pub(super) fn left(&self, count: u64) {
        self.set_users(self.users() - count);
    }

    pub(super) fn users(&self) -> u64 {
        self.users.get()
    }

    fn set_users(&self, users: u64) {
        self.users.set(users);
        self.recorder.borrow_mut().users(users);
    }

    pub(super) fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// A number that no other shard, worker or earlier process of this worker gives out in the run.
    pub(super) fn sequence(&self) -> u64 {
        let nth = self.sequence.get();
        self.sequence.set(nth + 1);
        self.slice.number(nth)
    }

    /// Uniform between the two.
    pub(super) fn random_between(&self, min: Duration, max: Duration) -> Duration {
        let spread = max.saturating_sub(min).as_nanos();
        let part = (u128::from(self.random()) * (spread + 1)) >> 64;
        min + Duration::from_nanos(part as u64)
    }
}

/// Waits until the order is at least `wanted`, or nobody is left who could give one.
async fn told(orders: &mut watch::Receiver<Order>, wanted: Order) {
    if orders.wait_for(|order| *order >= wanted).await.is_err() {
        // the run's owner is gone, and with it everyone who could want the load
    }
}

/// Differs between any two shards of a fleet; the multipliers are those of splitmix64.
fn shard_seed(seed: u64, slice: Slice) -> u64 {
    let place = u64::from(slice.share.worker) << 32 | u64::from(slice.shard);
    let mixed = (place.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed ^ (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
}
