//! Open load: iterations start when the profile says so, whether earlier ones have ended or not.
//!
//! A slot carries out one iteration at a time on a connection of its own. Slots are opened on
//! demand up to the shard's part of `maxInFlight`; an arrival that finds none free is dropped and
//! counted, never delayed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures::future::poll_fn;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::engine::load::cohort::{Cohort, State};
use crate::engine::load::pacer::Pacer;
use crate::engine::record::offered::OpenShare;
use crate::engine::user::client::Client;
use crate::plan::pace::exponential;
use crate::plan::profile::Schedule;
use crate::plan::share::Slice;
use crate::plan::{Arrival, Levels, Profile};

/// Most due arrivals that are started before other tasks get a turn.
const BATCH: u32 = 64;

/// Longest delay after the profile's end at which an arrival due before it may still start.
pub(crate) const LATEST: Duration = Duration::from_millis(200);

/// Iteration that is due to start.
struct Due {
    /// Number of the arrival over the whole fleet.
    number: u64,
    intended: Instant,
}

/// Iterator over the arrivals of one shard.
struct Arrivals {
    schedule: Schedule,
    slice: Slice,
    /// Number of this shard's arrivals before the next one.
    nth: u64,
    process: Process,
}

enum Process {
    /// Every n-th arrival of the fleet.
    Constant,
    /// Random arrivals of the shard's own, at its part of the rate. The next comes when the
    /// integral of the fleet's rate reaches `area`.
    Poisson {
        random: Xoshiro256PlusPlus,
        area: f64,
    },
}

impl Arrivals {
    /// Creates the arrivals of a shard. Those due before `missed` are skipped.
    fn new(profile: &Profile, arrival: Arrival, slice: Slice, seed: u64, missed: Duration) -> Self {
        let missed = profile.arrivals_until(missed);
        let (nth, process) = match arrival {
            Arrival::Constant => (slice.of((missed + 0.5).floor() as u64), Process::Constant),
            Arrival::Poisson => {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
                let area = missed + gap(&mut random, slice);
                (0, Process::Poisson { random, area })
            }
        };
        Self {
            schedule: profile.schedule(),
            slice,
            nth,
            process,
        }
    }

    /// Goes on by another profile, which is the same up to now: the next arrival is that with the
    /// next number.
    fn follow(&mut self, profile: &Profile) {
        self.schedule = profile.schedule();
    }

    /// Returns the next arrival without taking it: its number over the whole fleet and its time
    /// since the profile's zero.
    fn peek(&mut self) -> Option<(u64, Duration)> {
        let number = self.slice.number(self.nth);
        let due = match &self.process {
            Process::Constant => self.schedule.arrival(number),
            Process::Poisson { area, .. } => self.schedule.reaches(*area),
        };
        Some((number, due?))
    }

    fn take(&mut self) {
        self.nth += 1;
        if let Process::Poisson { random, area } = &mut self.process {
            *area += gap(random, self.slice);
        }
    }
}

/// Returns the gap to the shard's next arrival, in arrivals of the fleet; the mean gap is 1 in the
/// shard's own.
fn gap(random: &mut Xoshiro256PlusPlus, slice: Slice) -> f64 {
    exponential(random.next_u64()) / slice.part()
}

/// Inbox in which an idle slot waits for its next arrival.
#[derive(Default)]
struct Inbox {
    arrival: Cell<Option<Due>>,
    waker: Cell<Option<Waker>>,
}

struct Slots {
    cohort: Rc<Cohort>,
    inboxes: RefCell<Vec<Rc<Inbox>>>,
    /// Free slots. The one used last is used next: its connection is the freshest, and connections
    /// that are rarely used may close.
    free: RefCell<Vec<u32>>,
    most: u64,
}

/// Starts iterations until the profile is over, and returns when that was. `planned` is the profile
/// of the plan, which may be changed by hand.
pub(crate) async fn drive(
    cohort: &Rc<Cohort>,
    planned: &Profile,
    arrival: Arrival,
    max_in_flight: u32,
) -> Instant {
    let slots = Slots::new(cohort, max_in_flight);
    let share = slots.take_on(planned);
    slots.warm_up(arrival).await;
    slots.follow_changes(planned, arrival, share).await
}

/// Starts iterations at the levels that the master announces, and returns when it ended the search.
pub(crate) async fn search(cohort: &Rc<Cohort>, max_in_flight: u32) -> Instant {
    let slots = Slots::new(cohort, max_in_flight);
    slots.warm_up(Arrival::Constant).await;
    slots.follow_levels(cohort.shard.levels.clone()).await
}

impl Slots {
    fn new(cohort: &Rc<Cohort>, max_in_flight: u32) -> Rc<Self> {
        let most = cohort.slice.of(max_in_flight.into());
        Rc::new(Self {
            cohort: cohort.clone(),
            inboxes: RefCell::default(),
            free: RefCell::default(),
            most,
        })
    }

    /// Has the arrivals of the profile counted as offered, from when this worker joined. Returns the
    /// number of that share.
    fn take_on(&self, planned: &Profile) -> usize {
        let cohort = &self.cohort;
        let profile = cohort.profile(planned, &mut cohort.shard.changes.clone());
        let missed = cohort.shard.missed(cohort.zero);
        let share = OpenShare::new(profile, cohort.zero, cohort.slice.part(), missed);
        cohort.shard.context.recorder.borrow_mut().take_on(share)
    }

    async fn warm_up(self: &Rc<Self>, arrival: Arrival) {
        let (cohort, shard) = (&self.cohort, &self.cohort.shard);
        let length = shard.context.zero - shard.start;
        if !length.is_zero() {
            let flat =
                Profile::ramp_and_hold(cohort.population().warmup_target, Duration::ZERO, length);
            let missed = shard.missed(shard.start);
            let mut arrivals = Arrivals::new(&flat, arrival, cohort.slice, !cohort.seed(), missed);
            let end = Some(shard.start + length);
            self.carry_out(&mut arrivals, &mut Pacer::new(), shard.start, end)
                .await;
        }
    }

    /// Starts iterations by the profile, as changes by hand make it, and returns when it was over.
    /// `share` is the number of the share that was taken on.
    async fn follow_changes(
        self: &Rc<Self>,
        planned: &Profile,
        arrival: Arrival,
        share: usize,
    ) -> Instant {
        let cohort = &self.cohort;
        let (zero, end) = (cohort.zero, cohort.zero + planned.length());
        let mut changes = cohort.shard.changes.clone();
        let first = cohort.profile(planned, &mut changes);
        let missed = cohort.shard.missed(zero);
        let mut arrivals = Arrivals::new(&first, arrival, cohort.slice, cohort.seed(), missed);
        let mut pacer = Pacer::new();
        loop {
            tokio::select! {
                biased;
                // an error means that the owner is gone, which the orders show too
                Ok(()) = changes.changed() => {}
                () = self.carry_out(&mut arrivals, &mut pacer, zero, Some(end)) => return end,
            }
            let profile = cohort.profile(planned, &mut changes);
            arrivals.follow(&profile);
            let recorder = &cohort.shard.context.recorder;
            recorder.borrow_mut().change_share(share, profile);
        }
    }

    /// Starts iterations at announced levels. Each announcement holds all levels, so that every
    /// shard follows the same integral and the arrivals of all interleave.
    async fn follow_levels(self: &Rc<Self>, mut announced: watch::Receiver<Levels>) -> Instant {
        let start = self.cohort.shard.start;
        let missed = self.cohort.shard.missed(start);
        let mut taken = None;
        let mut pacer = Pacer::new();
        loop {
            let levels = announced.borrow_and_update().clone();
            let mut rest = Arrivals::new(
                &levels.profile(),
                Arrival::Constant,
                self.cohort.slice,
                0,
                missed,
            );
            // those of an earlier announcement are the same arrivals
            rest.nth = taken.unwrap_or(rest.nth);
            let end = levels.end.map(|end| start + end);
            tokio::select! {
                biased;
                // an error means that the announcer is gone, which the orders show too
                Ok(()) = announced.changed() => {}
                () = self.carry_out(&mut rest, &mut pacer, start, end) => return end.unwrap_or(start),
            }
            if !levels.levels.is_empty() {
                taken = Some(rest.nth);
            }
        }
    }

    /// Starts arrivals until `end`; without one, until this future is dropped.
    async fn carry_out(
        self: &Rc<Self>,
        arrivals: &mut Arrivals,
        pacer: &mut Pacer,
        zero: Instant,
        end: Option<Instant>,
    ) {
        let (mut now, mut in_batch) = (Instant::now(), 0);
        while let Some((number, due)) = arrivals.peek() {
            let intended = zero + due;
            if intended > now {
                now = pacer.until(intended).await;
                in_batch = 0;
            } else if in_batch == BATCH {
                tokio::task::yield_now().await;
                now = Instant::now();
                in_batch = 0;
            }
            if self.cohort.leaves(intended) {
                // the order to stop comes, or the time to end
                return std::future::pending().await;
            }
            in_batch += 1;
            arrivals.take();
            // what was due while the process stood still for longer than its lease is not made up for
            let is_too_late = end.is_some_and(|end| now > end + LATEST);
            if is_too_late || self.cohort.has_no_lease() {
                self.drop_arrival(intended);
            } else {
                self.dispatch(Due { number, intended });
            }
        }
        match end {
            Some(end) => tokio::time::sleep_until(end.into()).await,
            None => std::future::pending().await,
        }
    }

    fn drop_arrival(&self, intended: Instant) {
        self.cohort.shard.dropped(intended, 1);
    }

    fn dispatch(self: &Rc<Self>, due: Due) {
        let free = self.free.borrow_mut().pop();
        let place = match free {
            Some(place) => place,
            None if (self.inboxes.borrow().len() as u64) < self.most => self.open_slot(),
            None => return self.drop_arrival(due.intended),
        };
        let inbox = &self.inboxes.borrow()[place as usize];
        inbox.arrival.set(Some(due));
        // from now on it is not idle, though it has not looked yet
        self.cohort.members.borrow()[place as usize]
            .state
            .set(State::Busy);
        self.cohort.joined();
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }

    fn open_slot(self: &Rc<Self>) -> u32 {
        let inbox = Rc::new(Inbox::default());
        let place = self.inboxes.borrow().len() as u32;
        self.inboxes.borrow_mut().push(inbox.clone());
        let member = self
            .cohort
            .spawn(|state| slot(self.clone(), inbox, state, place));
        self.cohort.members.borrow_mut().push(member);
        place
    }
}

async fn slot(slots: Rc<Slots>, inbox: Rc<Inbox>, state: Rc<Cell<State>>, place: u32) {
    let cohort = &slots.cohort;
    let mut client = Client::slot(
        cohort.shard.context.clone(),
        cohort.closing.clone(),
        cohort.user_number(place.into()),
    );
    loop {
        let Due { number, intended } = next_arrival(&inbox).await;
        // in open load every scenario is dealt out by weight
        if let Some(scenario) = cohort.scenario(number) {
            client
                .iterate(scenario, Instant::now(), Some(intended))
                .await;
        }
        cohort.left(1);
        // not sooner: an arrival that was taken is carried out
        if cohort.is_over() {
            break;
        }
        state.set(State::Idle);
        slots.free.borrow_mut().push(place);
    }
    state.set(State::Gone);
}

async fn next_arrival(inbox: &Inbox) -> Due {
    poll_fn(|cx| match inbox.arrival.take() {
        Some(arrival) => Poll::Ready(arrival),
        None => {
            inbox.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Share, Stage};

    fn next(arrivals: &mut Arrivals) -> Option<Duration> {
        let (_, due) = arrivals.peek()?;
        arrivals.take();
        Some(due)
    }

    /// Every arrival of the fleet, in order.
    fn fleet(profile: &Profile, arrival: Arrival, workers: u32, shards: u32) -> Vec<Duration> {
        let mut all = Vec::new();
        for worker in 0..workers {
            for shard in 0..shards {
                let slice = Share { worker, workers }.slice(shard, shards);
                let seed = u64::from(worker) << 8 | u64::from(shard);
                let mut arrivals = Arrivals::new(profile, arrival, slice, seed, Duration::ZERO);
                all.extend(std::iter::from_fn(|| next(&mut arrivals)));
            }
        }
        all.sort();
        all
    }

    fn ramp() -> Profile {
        let stage = |seconds, target| Stage {
            duration: Duration::from_secs(seconds),
            target,
        };
        Profile {
            start_at: 0.0,
            stages: vec![
                stage(10, 200.0),
                stage(10, 200.0),
                stage(0, 50.0),
                stage(20, 50.0),
            ],
        }
    }

    proptest! {
        #[test]
        fn constant_arrivals_are_the_same_however_many_share_them(workers in 1u32..9, shards in 1u32..5) {
            let whole = fleet(&ramp(), Arrival::Constant, 1, 1);
            prop_assert_eq!(whole.len() as u64, ramp().total_arrivals());
            prop_assert_eq!(fleet(&ramp(), Arrival::Constant, workers, shards), whole);
        }

        #[test]
        fn poisson_arrivals_are_as_many_as_the_profile_integrates_to(workers in 1u32..9, shards in 1u32..5) {
            let arrivals = fleet(&ramp(), Arrival::Poisson, workers, shards);
            // 4000 on average, with a standard deviation of its root, 63; the seeds are fixed
            prop_assert!((arrivals.len() as f64 - 4000.0).abs() < 4.0 * 63.3, "{}", arrivals.len());
            let in_the_ramp = arrivals.iter().filter(|at| **at < Duration::from_secs(10)).count() as f64;
            prop_assert!((in_the_ramp - 1000.0).abs() < 4.0 * 31.7, "{in_the_ramp}");
        }
    }

    proptest! {
        #[test]
        fn no_arrival_is_lost_or_made_twice_when_the_load_is_divided_anew(before in 1u32..9, after in 1u32..9, shards in 1u32..5, at in 0u64..40_000_000) {
            let at = Duration::from_micros(at);
            let of = |workers: u32, missed: Duration| {
                (0..workers).flat_map(move |worker| (0..shards).flat_map(move |shard| {
                    let slice = Share { worker, workers }.slice(shard, shards);
                    let mut arrivals = Arrivals::new(&ramp(), Arrival::Constant, slice, 0, missed);
                    std::iter::from_fn(move || { let next = arrivals.peek(); arrivals.take(); next }).collect::<Vec<_>>()
                }))
            };
            let mut numbers: Vec<u64> = of(before, Duration::ZERO).filter(|(_, due)| *due < at).chain(of(after, at)).map(|(number, _)| number).collect();
            numbers.sort_unstable();
            let all: Vec<u64> = (0..ramp().total_arrivals()).collect();
            prop_assert_eq!(numbers, all);
        }
    }

    #[test]
    fn gaps_between_poisson_arrivals_are_exponential() {
        let steady = Profile::ramp_and_hold(100.0, Duration::ZERO, Duration::from_secs(200));
        let arrivals = fleet(&steady, Arrival::Poisson, 3, 2);
        let gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect();
        // mean 10 ms; shares below a half, one and two means
        let below = |mean: f64| {
            gaps.iter().filter(|gap| **gap < 0.01 * mean).count() as f64 / gaps.len() as f64
        };
        for mean in [0.5, 1.0, 2.0, 4.0] {
            assert!(
                (below(mean) - (1.0 - (-mean).exp())).abs() < 0.015,
                "{} below {mean}",
                below(mean)
            );
        }
    }

    #[test]
    fn another_seed_gives_other_arrivals_and_the_same_seed_the_same() {
        let steady = Profile::ramp_and_hold(10.0, Duration::ZERO, Duration::from_secs(5));
        let of = |seed| {
            let mut arrivals = Arrivals::new(
                &steady,
                Arrival::Poisson,
                Share::WHOLE.slice(0, 1),
                seed,
                Duration::ZERO,
            );
            std::iter::from_fn(move || next(&mut arrivals)).collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
