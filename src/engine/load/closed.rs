//! Closed load: a number of users, each of which runs one iteration after the other on its own
//! connection.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::coop::consume_budget;

use crate::engine::load::cohort::{Cohort, State};
use crate::engine::load::iterations::Quota;
use crate::engine::load::shard::HandOver;
use crate::engine::prepare::program::PreparedScenario;
use crate::engine::user::client::{Client, End};
use crate::engine::user::deadline::Backoff;
use crate::engine::user::throttle::Throttle;
use crate::plan::share::Slice;
use crate::plan::{Profile, SPAWN_RATE};

/// Interval at which the number of users is adjusted to the profile's level.
pub(crate) const STEP: Duration = Duration::from_millis(10);

/// Time by which the window in which users are made up for is longer than that takes.
const CATCH_UP_SPARE: Duration = Duration::from_secs(1);

/// Interval at which a pausing user checks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Users of a cohort and their wanted number.
pub(crate) struct Users {
    cohort: Rc<Cohort>,
    wanted: Cell<u64>,
    /// Number of users, the first ones, that another worker has taken over.
    handed_over: Cell<u64>,
    /// Iterations that the users may run; `None` for no limit.
    quota: Option<Rc<Quota>>,
}

/// Starts and ends users until the profile is over, and returns when that was. `planned` is the
/// profile of the plan, which may be changed by hand.
pub(crate) async fn drive(
    cohort: &Rc<Cohort>,
    planned: &Profile,
    spawn_rate: Option<f64>,
) -> Instant {
    let shard = &cohort.shard;
    let mut changes = shard.changes.clone();
    let lag = shard
        .before
        .moving
        .map_or(Duration::ZERO, |moving| moving.lag);
    tokio::time::sleep_until((shard.begins() + lag).into()).await;
    let end = cohort.zero + planned.length();
    let mut profile = cohort.profile(planned, &mut changes);
    let users = Rc::new(Users::new(cohort.clone(), None));
    let rate = spawn_rate.unwrap_or(SPAWN_RATE * f64::from(cohort.slice.share.workers));
    let mut turns = SpawnTurns::new(cohort, &profile, rate);
    loop {
        let now = Instant::now();
        if now >= end {
            cohort.count_users_there(end, users.left());
            return end;
        }
        // an error means that the owner is gone, which the orders show too
        if changes.has_changed().unwrap_or_default() {
            profile = cohort.profile(planned, &mut changes);
        }
        let wanted = cohort.slice.of(level(cohort, &profile, now));
        let until = cohort.hand_over().filter(|until| now >= until.at);
        // what another worker takes over by and by is not started here any more
        let may_start = match until {
            Some(_) => 0,
            None => turns.passed(now, wanted),
        };
        users.bring_to(wanted, may_start);
        users.hand_over(until.map_or(0, |until| {
            turns.handed_over(until, level(cohort, &profile, until.at), now)
        }));
        // a user that could only be started late was not missing, so the time before counts too;
        // one that moves is there until it starts elsewhere
        let is_moving = until.is_some_and(|until| until.moving.is_some());
        cohort.count_users_there(now, if is_moving { wanted } else { users.left() });
        if users.left() == 0 && until.is_some() {
            return now;
        }
        tokio::time::sleep_until((now + STEP).min(end).into()).await;
    }
}

/// Returns the wanted number of users over the whole fleet.
fn level(cohort: &Cohort, profile: &Profile, now: Instant) -> u64 {
    if now < cohort.shard.context.zero {
        cohort.population().warmup_target as u64
    } else if now < cohort.zero {
        0
    } else {
        profile.users(cohort.elapsed(now))
    }
}

/// Turns of a shard to start users, and to leave them to another worker.
struct SpawnTurns {
    slice: Slice,
    /// Users that may start per second over the fleet.
    rate: f64,
    start: Instant,
    regular: Turns,
    /// Turns in which users come from those who carried the load as other shares.
    arriving: Option<Arriving>,
    /// Turns in which users of a lost worker are made up for, and the end of the last.
    catching_up: Option<(Turns, Instant)>,
    /// Turns in which users are left to another worker, as quickly as that may start them.
    handing_over: Option<Turns>,
}

impl SpawnTurns {
    /// Creates the turns of a cohort. Users of a lost worker are made up for at the rate of the
    /// whole fleet while nobody else starts any, which is while the profile does not rise.
    fn new(cohort: &Cohort, profile: &Profile, rate: f64) -> Self {
        let (shard, slice) = (&cohort.shard, cohort.slice);
        if let Some(moving) = shard.before.moving {
            let from = shard.begins();
            let all = level(cohort, profile, from);
            let begin = from + moving.lag;
            let arriving = Arriving {
                turns: Turns::new(slice, moving.rate(all), shard.start, begin),
                end: begin + moving.window + MOVING_SPARE,
                moved: slice.of(all),
                risen: 0,
            };
            return Self {
                slice,
                rate,
                start: shard.start,
                regular: Turns::new(slice, rate, shard.start, begin),
                arriving: Some(arriving),
                catching_up: None,
                handing_over: None,
            };
        }
        let (from, lanes) = (shard.begins(), shard.before.catch_up);
        let at = cohort.elapsed(from);
        let window = Duration::from_secs_f64(profile.users(at) as f64 / rate) + CATCH_UP_SPARE;
        let is_settled =
            from >= cohort.zero && !profile.rises_within(at.saturating_sub(window), at + window);
        let catching_up = (lanes > 0 && is_settled).then(|| {
            let rate = rate * f64::from(slice.share.workers) / f64::from(lanes);
            (Turns::new(slice, rate, shard.start, from), from + window)
        });
        let regular_from = catching_up.as_ref().map_or(from, |(_, end)| *end);
        Self {
            slice,
            rate,
            start: shard.start,
            regular: Turns::new(slice, rate, shard.start, regular_from),
            arriving: None,
            catching_up,
            handing_over: None,
        }
    }

    /// Returns how many users may start since the last call, of whom there are to be `wanted`.
    fn passed(&mut self, now: Instant, wanted: u64) -> u64 {
        if let Some(arriving) = &mut self.arriving
            && now < arriving.end
        {
            return arriving.passed(now, wanted, self.regular.passed(now));
        }
        let made_up_for = self.catching_up.as_mut();
        let made_up_for = made_up_for.map_or(0, |(turns, end)| turns.passed(now.min(*end)));
        made_up_for + self.regular.passed(now)
    }

    /// Returns how many users are left to others since the last call; these may start them from
    /// then on. `all` is the number of users over the fleet when the first leaves.
    fn handed_over(&mut self, until: HandOver, all: u64, now: Instant) -> u64 {
        let rate = until.moving.map_or(self.rate, |moving| moving.rate(all));
        let turns = || Turns::new(self.slice, rate, self.start, until.at);
        self.handing_over.get_or_insert_with(turns).passed(now)
    }
}

/// Time after the last turn of a move in which those who leave still may.
const MOVING_SPARE: Duration = Duration::from_millis(200);

/// Turns in which users come from those who carried the load as other shares. Users that the
/// profile adds meanwhile start as well, which nobody else does.
struct Arriving {
    turns: Turns,
    end: Instant,
    /// Users of this shard that come.
    moved: u64,
    /// Users that started since the profile rose.
    risen: u64,
}

impl Arriving {
    /// Returns how many users may start since the last call; `regular` are the turns of the spawn
    /// rate in that time.
    fn passed(&mut self, now: Instant, wanted: u64, regular: u64) -> u64 {
        let to_rise = wanted.saturating_sub(self.moved + self.risen);
        let rising = regular.min(to_rise);
        self.risen += rising;
        self.turns.passed(now) + rising
    }
}

/// Times at which this shard may start a user. Those of all shards together are evenly spaced, so
/// that the fleet keeps to the rate.
struct Turns {
    first: Instant,
    every: f64,
    taken: u64,
}

impl Turns {
    /// Creates the turns of a shard. `rate` is that of the fleet, per second; turns before `from`
    /// are skipped.
    fn new(slice: Slice, rate: f64, start: Instant, from: Instant) -> Self {
        let first = start + Duration::from_secs_f64(slice.number(0) as f64 / rate);
        let mut turns = Self {
            first,
            every: 1.0 / (rate * slice.part()),
            taken: 0,
        };
        if let Some(before) = from.checked_sub(Duration::from_nanos(1)) {
            turns.passed(before);
        }
        turns
    }

    /// Returns how many turns have come since the last call.
    fn passed(&mut self, now: Instant) -> u64 {
        let Some(since) = now.checked_duration_since(self.first) else {
            return 0;
        };
        let taken = ((since.as_secs_f64() / self.every) as u64 + 1).max(self.taken);
        taken - std::mem::replace(&mut self.taken, taken)
    }
}

impl Users {
    /// Creates the users of a cohort, none of them started.
    pub(crate) fn new(cohort: Rc<Cohort>, quota: Option<Rc<Quota>>) -> Self {
        Self {
            cohort,
            wanted: Cell::new(0),
            handed_over: Cell::new(0),
            quota,
        }
    }

    /// Sets the wanted number of users and starts at most `may_start` of those that are missing.
    /// User `nth` is `members[nth]`.
    pub(crate) fn bring_to(self: &Rc<Self>, level: u64, may_start: u64) {
        let before = self.wanted.replace(level);
        if level < before {
            self.release(level as usize);
        }
        if self.cohort.users() < self.left() {
            self.start_missing(may_start);
        }
    }

    /// Leaves `count` more users to another worker. Those within an iteration end after it.
    fn hand_over(&self, count: u64) {
        let before = self.handed_over.get();
        let after = (before + count).min(self.wanted.get()).max(before);
        self.handed_over.set(after);
        let members = self.cohort.members.borrow();
        let handed_over = members.iter().take(after as usize).skip(before as usize);
        for member in handed_over {
            self.cohort.left(u64::from(member.release()));
        }
    }

    /// Returns the number of wanted users that are not another worker's.
    fn left(&self) -> u64 {
        self.wanted.get().saturating_sub(self.handed_over.get())
    }

    /// Ends the users above `level`. Those within an iteration end after it.
    fn release(&self, level: usize) {
        for member in self.cohort.members.borrow().iter().skip(level) {
            self.cohort.left(u64::from(member.release()));
        }
    }

    /// Starts at most `most` of the missing users, those with the lowest numbers first.
    fn start_missing(self: &Rc<Self>, mut most: u64) {
        let members = &mut *self.cohort.members.borrow_mut();
        for nth in self.handed_over.get() as usize..self.wanted.get() as usize {
            // one that still finishes an iteration goes on when it is wanted again
            if members
                .get(nth)
                .is_some_and(|member| member.state.get() != State::Gone)
            {
                continue;
            }
            if most == 0 {
                return;
            }
            most -= 1;
            let member = self
                .cohort
                .spawn(|state| user(self.clone(), state, nth as u64));
            self.cohort.joined();
            match members.get_mut(nth) {
                Some(gone) => *gone = member,
                None => members.push(member),
            }
        }
    }

    fn wants(&self, nth: u64) -> bool {
        !self.cohort.is_over()
            && (self.handed_over.get()..self.wanted.get()).contains(&nth)
            && !self.cohort.has_no_lease()
    }
}

/// Carries out the iterations of user `nth`, from its start until it is no longer wanted.
async fn user(users: Rc<Users>, state: Rc<Cell<State>>, nth: u64) {
    let cohort = &users.cohort;
    let mut client = Client::user(
        cohort.shard.context.clone(),
        cohort.closing.clone(),
        cohort.user_number(nth),
    )
    .throttled(cohort.throttle.clone());
    let Some(scenario) = cohort.scenario(cohort.slice.number(nth)) else {
        state.set(State::Retired);
        cohort.retire();
        return cohort.left(1);
    };
    let mut schedule = Schedule::new(&users, scenario, nth);
    let last = loop {
        if !schedule.is_wanted() {
            break State::Gone;
        }
        // iterations that wait for nothing must not keep the end of the load waiting
        consume_budget().await;
        if let Some(throttle) = schedule.throttle() {
            throttle.turn().await;
            schedule.waited();
            if !schedule.is_wanted() {
                break State::Gone;
            }
        }
        let Some(begun) = schedule.begin() else {
            break State::Retired;
        };
        state.set(State::Busy);
        let (end, ended) = client.iterate(schedule.scenario, begun.at, None).await;
        schedule.end(begun, ended);
        if end == End::UserOver {
            break State::Retired;
        }
        // one that is over ends itself, as the others do when they look
        if !schedule.is_wanted() {
            break State::Gone;
        }
        // one that has something to do at its end is not ended from outside
        if schedule.scenario.on_stop.is_empty() {
            state.set(State::Idle);
        }
        if let Some(pause) = schedule.pause(begun, end, ended) {
            let _counted = schedule.count_retry_pause(&pause);
            sleep_while(pause.length, || schedule.is_wanted()).await;
            schedule.waited();
        }
    };
    client.finish(schedule.scenario).await;
    if last == State::Retired {
        users.cohort.retire();
    }
    state.set(last);
    users.cohort.left(1);
}

/// Times at which the iterations of one user begin, and how many of them count.
struct Schedule<'a> {
    users: &'a Users,
    nth: u64,
    scenario: &'a PreparedScenario,
    /// Iterations so far that count towards the quota.
    done: u64,
    /// End of the iteration before, if nothing was waited for since.
    ready: Option<Instant>,
    backoff: Backoff,
}

/// Iteration that began.
#[derive(Clone, Copy)]
struct Begun {
    at: Instant,
    /// True if it counts towards the quota.
    counts: bool,
}

impl<'a> Schedule<'a> {
    /// Creates the schedule of user `nth` before its first iteration.
    fn new(users: &'a Users, scenario: &'a PreparedScenario, nth: u64) -> Self {
        Self {
            users,
            nth,
            scenario,
            done: 0,
            ready: None,
            backoff: Backoff::new(users.cohort.population().load.retry_pause()),
        }
    }

    fn is_wanted(&self) -> bool {
        self.users.wants(self.nth)
    }

    fn throttle(&self) -> Option<&'a Throttle> {
        self.users.cohort.throttle.as_deref()
    }

    /// Lets the next iteration begin when [`begin`](Self::begin) is called, not at the end of the
    /// one before.
    fn waited(&mut self) {
        self.ready = None;
    }

    /// Begins an iteration; `None` if none is left for this user, nor for one in its place.
    fn begin(&mut self) -> Option<Begun> {
        let at = self.ready.take().unwrap_or_else(Instant::now);
        let counts = match &self.users.quota {
            Some(quota) => quota.begin(self.done, at)?,
            None => false,
        };
        Some(Begun { at, counts })
    }

    /// Records the end of an iteration.
    fn end(&mut self, begun: Begun, ended: Instant) {
        self.ready = Some(ended);
        if let Some(quota) = self.users.quota.as_ref().filter(|_| begun.counts) {
            quota.end(ended);
            self.done += 1;
        }
    }

    /// Returns the pause after an iteration that ended at `ended`: the scenario's, or longer if the
    /// target seems down.
    fn pause(&mut self, begun: Begun, end: End, ended: Instant) -> Option<Pause> {
        let context = &self.users.cohort.shard.context;
        let own = self.scenario.pause_after(begun.at, || context.random());
        let took = ended.saturating_duration_since(begun.at);
        let length = own.max(self.backoff.after(end, took))?;
        Some(Pause {
            own: own.unwrap_or_default(),
            length,
        })
    }

    /// Has the time counted by which a pause is longer than the scenario's own, until the result is
    /// dropped; `None` if it is not longer.
    fn count_retry_pause(&self, pause: &Pause) -> Option<RetryPause<'a>> {
        let from = Instant::now() + pause.own;
        (pause.length > pause.own).then_some(RetryPause {
            cohort: &self.users.cohort,
            from,
        })
    }
}

/// Pause of a user between two iterations.
struct Pause {
    /// Pause that the scenario asks for.
    own: Duration,
    /// Whole length.
    length: Duration,
}

/// Counter of the time for which a user pauses because its target seems down.
struct RetryPause<'a> {
    cohort: &'a Cohort,
    from: Instant,
}

impl Drop for RetryPause<'_> {
    fn drop(&mut self) {
        let context = &self.cohort.shard.context;
        let paused = Instant::now().saturating_duration_since(self.from);
        context
            .recorder
            .borrow_mut()
            .retry_paused(paused, context.part(self.from));
    }
}

/// Sleeps for `pause`, or until shortly after `wanted` no longer holds.
async fn sleep_while(pause: Duration, wanted: impl Fn() -> bool) {
    let end = Instant::now() + pause;
    while wanted() {
        let now = Instant::now();
        if now >= end {
            return;
        }
        tokio::time::sleep_until((now + LOOK).min(end).into()).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::load::shard::Moving;
    use crate::plan::Share;

    proptest! {
        #[test]
        fn the_fleet_starts_no_more_users_than_the_rate(workers in 1u32..9, shards in 1u32..5, rate in 1u32..500, step in 1u64..300) {
            let start = Instant::now();
            let slices = (0..workers).flat_map(|worker| (0..shards).map(move |shard| Share { worker, workers }.slice(shard, shards)));
            let mut turns: Vec<_> = slices.map(|slice| Turns::new(slice, rate.into(), start, start)).collect();
            let mut passed = 0;
            for millis in (0..3_000).step_by(step as usize) {
                passed += turns.iter_mut().map(|turns| turns.passed(start + Duration::from_millis(millis))).sum::<u64>();
                let due = millis as f64 / 1e3 * f64::from(rate) + 1.0;
                prop_assert!((passed as f64 - due).abs() <= 1.001, "{passed} of {due} after {millis} ms");
            }
        }
    }

    #[test]
    fn users_of_lost_workers_are_made_up_for_at_the_rate_of_the_fleet_and_no_faster() {
        let start = Instant::now();
        let death = start + Duration::from_secs(60);
        let (rate, workers, lanes) = (100.0, 5, 2);
        // each of two shares is divided among three others, with two threads each
        let share = |worker| Share { worker, workers };
        let slices =
            (0..lanes).flat_map(|lane| (0..6).map(move |shard| share(lane).slice(shard, 6)));
        let fast = rate * f64::from(workers) / f64::from(lanes);
        let mut turns: Vec<_> = slices
            .map(|slice| Turns::new(slice, fast, start, death))
            .collect();
        let mut passed = 0;
        for millis in (0..5_000).step_by(10) {
            let now = death + Duration::from_millis(millis);
            passed += turns.iter_mut().map(|turns| turns.passed(now)).sum::<u64>();
            let due = millis as f64 / 1e3 * rate;
            assert!(
                (passed as f64 - due).abs() <= 12.0,
                "{passed} of {due} after {millis} ms"
            );
        }
    }

    #[test]
    fn users_that_move_to_another_number_of_workers_are_all_there_once() {
        let start = Instant::now();
        let from = start + Duration::from_secs(60);
        let moving = Moving {
            window: Duration::from_secs(10),
            lag: Duration::ZERO,
        };
        let all = 500;
        let slices = |workers: u32| {
            (0..workers).flat_map(move |worker| {
                (0..2).map(move |shard| Share { worker, workers }.slice(shard, 2))
            })
        };
        let rate = moving.rate(all);
        let turns = |slice: Slice| Turns::new(slice, rate, start, from);
        let mut leaving: Vec<_> = slices(3)
            .map(|slice| (turns(slice), slice.of(all)))
            .collect();
        let mut arriving: Vec<_> = slices(4)
            .map(|slice| {
                let arriving = Arriving {
                    turns: turns(slice),
                    end: from + moving.window + MOVING_SPARE,
                    moved: slice.of(all),
                    risen: 0,
                };
                (arriving, slice, 0)
            })
            .collect();
        for millis in (0..10_400).step_by(10) {
            let now = from + Duration::from_millis(millis);
            // twenty more after five seconds, as the profile has them
            let level = if millis < 5_000 { all } else { all + 20 };
            let mut there = 0;
            for (turns, left) in &mut leaving {
                *left -= turns.passed(now).min(*left);
                there += *left;
            }
            for (arriving, slice, come) in &mut arriving {
                let wanted = slice.of(level);
                *come = (*come + arriving.passed(now, wanted, 9)).min(wanted);
                there += *come;
            }
            let apart = there.abs_diff(level);
            assert!(apart <= 14, "{there} of {level} after {millis} ms");
        }
        assert!(leaving.iter().all(|(_, left)| *left == 0));
        assert_eq!(
            arriving.iter().map(|(_, _, come)| come).sum::<u64>(),
            all + 20
        );
    }

    #[test]
    fn a_worker_that_joins_late_has_no_turns_to_make_up_for() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut turns = Turns::new(Share::WHOLE.slice(0, 1), 100.0, start, start + minute);
        assert!(turns.passed(start + minute) <= 1);
        assert_eq!(turns.passed(start + minute + Duration::from_secs(1)), 100);
    }
}
