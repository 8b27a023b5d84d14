//! One population in one shard: its users or slots, from the start of the warm-up to the drain.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::poll_fn;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::engine::load::closed;
use crate::engine::load::iterations;
use crate::engine::load::open;
use crate::engine::load::shard::{HandOver, Order, Shard};
use crate::engine::prepare::program::PreparedScenario;
use crate::engine::protocol::closing::Closing;
use crate::engine::user::throttle::Throttle;
use crate::plan::share::Slice;
use crate::plan::{Load, LoadChanges, Population, Profile};

/// Longest time between two looks at the users for which they are taken to have been there.
const LATEST: Duration = Duration::from_secs(5);

/// Users or slots of one population on one thread.
pub(crate) struct Cohort {
    /// Part of the load that this thread carries out.
    pub(crate) shard: Rc<Shard>,
    /// Position of the population in the plan.
    place: usize,
    /// Part of the population on this thread.
    pub(crate) slice: Slice,
    /// Zero of the population's profile.
    pub(crate) zero: Instant,
    /// Throttle on which each request waits; `None` without a limit.
    pub(crate) throttle: Option<Rc<Throttle>>,
    /// Number of the cohort's first user or slot over all populations.
    first_user: u64,
    /// Number of the first user, over all populations, beyond those that the plan asks for.
    first_beyond: u64,
    /// State that says whether the load is over and nothing new starts.
    pub(crate) closing: Rc<Closing>,
    /// Users alive or slots busy.
    users: Cell<u64>,
    /// Users that retired: none takes their places.
    retired: Cell<u64>,
    /// Time up to which the presence of users is counted.
    counted_until: Cell<Instant>,
    /// Users and slots by their number in this cohort.
    pub(crate) members: RefCell<Vec<Member>>,
    tasks: RefCell<JoinSet<()>>,
}

/// Handle by which a cohort watches a user or slot and ends it.
pub(crate) struct Member {
    /// State that the user or slot sets.
    pub(crate) state: Rc<Cell<State>>,
    abort: AbortHandle,
}

/// State of a user or slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Pausing between two iterations: may be ended at any time.
    Idle,
    /// Carrying out an iteration, which it finishes first.
    Busy,
    /// Ended; another user or slot may take its place.
    Gone,
    /// Ended, and none takes its place.
    Retired,
}

impl Member {
    /// Ends the user or slot unless it is in an iteration. Returns whether it did.
    pub(crate) fn release(&self) -> bool {
        let idle = self.state.get() == State::Idle;
        if idle {
            self.abort.abort();
            self.state.set(State::Gone);
        }
        idle
    }
}

impl Cohort {
    /// Makes a cohort with no users yet.
    pub(crate) fn new(shard: Rc<Shard>, place: usize, slice: Slice) -> Self {
        let populations = &shard.context.prepared.plan.populations;
        let users = |populations: &[Population]| {
            let most = populations.iter().map(|population| population.load.most());
            most.sum()
        };
        let (first_user, first_beyond) = (users(&populations[..place]), users(populations));
        let zero = shard.context.zero + populations[place].start_after;
        Self {
            zero,
            retired: Cell::new(0),
            counted_until: Cell::new(zero + shard.missed(zero)),
            throttle: populations[place]
                .throttle
                .zip(slice.among(populations[place].load.most()))
                .map(|(rps, slice)| {
                    let moving = shard.clone();
                    let fraction = move |at| moving.fraction(at);
                    Rc::new(Throttle::new(rps, slice, shard.start, fraction))
                }),
            place,
            slice,
            first_user,
            first_beyond,
            closing: Rc::default(),
            users: Cell::new(0),
            members: RefCell::default(),
            tasks: RefCell::default(),
            shard,
        }
    }

    /// Carries out the load and drains. Returns when the load was over, without the drain.
    pub(crate) async fn run(self: Rc<Self>, mut orders: watch::Receiver<Order>) -> Instant {
        let ended = tokio::select! {
            ended = self.drive() => ended,
            () = order_given(&mut orders, Order::Stop) => {
                let lease = &self.shard.context.prepared.lease;
                self.cut_arrivals(lease.ended().unwrap_or_else(Instant::now))
            }
            at = self.handed_over() => self.cut_arrivals(at),
        };
        self.shard.load_ended(ended);
        self.closing.begin();
        // users that wait for rows will not get any
        self.shard.context.dealer.supply().wake();
        let open = self.population().load.is_open();
        self.members
            .borrow()
            .iter()
            .for_each(|member| self.left(u64::from(member.release() && !open)));
        tokio::select! {
            () = self.drained() => {}
            () = tokio::time::sleep(self.shard.context.prepared.plan.stop_timeout) => {}
            () = order_given(&mut orders, Order::Cut) => {}
        }
        // dropping a request under way counts it
        let mut tasks = self.tasks.take();
        tasks.shutdown().await;
        self.left(self.users());
        ended
    }

    fn cut_arrivals(&self, at: Instant) -> Instant {
        self.shard.context.recorder.borrow_mut().cut_arrivals(at);
        at
    }

    /// Waits until another worker has taken over all that begins from now on, and returns since
    /// when; closed load is handed over user by user, by its own driver.
    async fn handed_over(&self) -> Instant {
        if matches!(self.population().load, Load::Closed { .. }) {
            return std::future::pending().await;
        }
        let mut until = self.shard.until.clone();
        let at = match until.wait_for(Option::is_some).await.map(|until| *until) {
            Ok(Some(HandOver { at, .. })) => at,
            // the owner is gone, which the orders show too
            Ok(None) | Err(_) => return std::future::pending().await,
        };
        // arrivals that were due before still start
        tokio::time::sleep_until((at + open::LATEST).into()).await;
        at
    }

    /// Returns whether what is due at `at` is left to another worker, or to nobody since the lease
    /// of this one had run out by then.
    pub(crate) fn leaves(&self, at: Instant) -> bool {
        let lease = self.shard.context.prepared.lease.ended();
        self.until().is_some_and(|until| at >= until) || lease.is_some_and(|end| at >= end)
    }

    /// Returns the time from which another worker carries the load, once it is known.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.hand_over().map(|hand_over| hand_over.at)
    }

    /// Returns when and how the load is left to others, once it is known.
    pub(crate) fn hand_over(&self) -> Option<HandOver> {
        *self.shard.until.borrow()
    }

    /// Returns whether the worker must not begin anything, since its master may have given its
    /// share away.
    pub(crate) fn has_no_lease(&self) -> bool {
        self.shard.context.prepared.lease.is_over()
    }

    async fn drive(self: &Rc<Self>) -> Instant {
        match &self.population().load {
            Load::Closed {
                profile,
                spawn_rate,
                max_missing: _,
                retry_pause: _,
            } => closed::drive(self, profile, *spawn_rate).await,
            Load::Capacity(capacity) => open::search(self, capacity.max_in_flight).await,
            Load::Iterations(iterations) => iterations::drive(self, iterations).await,
            Load::Open {
                profile,
                arrival,
                max_in_flight,
                max_dropped: _,
            } => open::drive(self, profile, *arrival, *max_in_flight).await,
        }
    }

    /// Returns the profile of the population as changes by hand make it; `planned` is the plan's.
    pub(crate) fn profile(
        &self,
        planned: &Profile,
        changes: &mut watch::Receiver<LoadChanges>,
    ) -> Profile {
        let plan = &self.shard.context.prepared.plan;
        plan.changed_profile(self.place, planned, &changes.borrow_and_update())
    }

    /// Returns the population.
    pub(crate) fn population(&self) -> &Population {
        &self.shard.context.prepared.plan.populations[self.place]
    }

    /// Returns the scenario of user or arrival `k` of the population.
    pub(crate) fn scenario(&self, k: u64) -> Option<&PreparedScenario> {
        let prepared = &self.shard.context.prepared;
        let place = prepared.assignments[self.place].at(k)?;
        Some(&prepared.scenarios[usize::from(self.population().scenarios[place])])
    }

    /// Returns the number of this shard's user or slot `nth`, unique over the whole fleet and all
    /// populations.
    pub(crate) fn user_number(&self, nth: u64) -> u64 {
        let number = self.slice.number(nth);
        let populations = &self.shard.context.prepared.plan.populations;
        match number.checked_sub(populations[self.place].load.most()) {
            None => self.first_user + number,
            // those whom a change by hand adds take turns with those of the other populations
            Some(beyond) => {
                self.first_beyond + beyond * populations.len() as u64 + self.place as u64
            }
        }
    }

    /// Returns a seed that differs between any two cohorts of a fleet.
    pub(crate) fn seed(&self) -> u64 {
        let place = (self.place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let thread = u64::from(self.slice.share.worker) << 32 | u64::from(self.slice.shard);
        self.shard.seed ^ place ^ thread.wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    /// Starts a user or slot; it begins idle.
    pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        member: impl FnOnce(Rc<Cell<State>>) -> F,
    ) -> Member {
        let state = Rc::new(Cell::new(State::Idle));
        let abort = self.tasks.borrow_mut().spawn_local(member(state.clone()));
        Member { state, abort }
    }

    /// Returns whether the load is over, so that nothing new starts.
    pub(crate) fn is_over(&self) -> bool {
        self.closing.is_over()
    }

    /// Returns the time since the zero of the profile.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.zero)
    }

    /// Returns how many users are alive or slots are busy.
    pub(crate) fn users(&self) -> u64 {
        self.users.get()
    }

    /// Counts a user or slot that began.
    pub(crate) fn joined(&self) {
        self.users.set(self.users() + 1);
        let is_open = self.population().load.is_open();
        self.shard.count_users(is_open, |users| users + 1);
    }

    /// Counts users or slots that ended.
    pub(crate) fn left(&self, count: u64) {
        if count > 0 {
            self.users.set(self.users() - count);
            let is_open = self.population().load.is_open();
            self.shard.count_users(is_open, |users| users - count);
        }
    }

    /// Counts a user that retired.
    pub(crate) fn retire(&self) {
        self.retired.set(self.retired.get() + 1);
    }

    /// Counts the time since the last call, for as many users as are there of `level`. A call that
    /// comes very late counts no more than [`LATEST`], since nobody saw the users meanwhile.
    pub(crate) fn count_users_there(&self, now: Instant, level: u64) {
        let since = self.counted_until.get();
        let Some(time) = now.checked_duration_since(since) else {
            return;
        };
        self.counted_until.set(now);
        let there = self.users().min(level);
        let retired = self.retired.get().min(level - there);
        let users = |users: u64| time.min(LATEST) * u32::try_from(users).unwrap_or(u32::MAX);
        self.shard
            .context
            .recorder
            .borrow_mut()
            .users_there(users(there), users(retired));
    }

    /// Waits until every user and slot is gone.
    async fn drained(&self) {
        poll_fn(|cx| {
            loop {
                match self.tasks.borrow_mut().poll_join_next(cx) {
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Ready(Some(Err(error))) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Poll::Ready(Some(_)) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

/// Waits until the order is at least `wanted`, or its sender is gone.
async fn order_given(orders: &mut watch::Receiver<Order>, wanted: Order) {
    if orders.wait_for(|order| *order >= wanted).await.is_err() {
        // the owner of the run is gone, so nothing needs the load any more
    }
}
