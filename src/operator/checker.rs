//! The checks of specs, off the passes: a bounded number of processes at once, each spec once for
//! each generation, its outcome kept.
//!
//! Namespaces take turns, those that have used less time first, and a check that takes long makes
//! room for one of a namespace that has used less: somebody's hostile specs do not keep others
//! waiting. What waits is bounded in bytes; the LoadTest whose spec is dropped asks again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::checking::{CheckError, Process, Running, request};
use crate::crd::{Checked, LoadTest};
use crate::plan::Problem;

/// Time that a check may take while a namespace that has used less waits.
const SLICE: Duration = Duration::from_millis(300);

/// Number of times that a check makes room; after that it is brought to its end.
const MOST_GIVEN_UP: u32 = 3;

/// Number of times in a row that a check may be killed from outside before its spec is held to be
/// the reason: too much memory, most likely.
const MOST_KILLED: u32 = 3;

/// Time in which half of what a namespace has used is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// Most bytes of specs that wait.
const MAX_WAITING: usize = 8 << 20;

/// Most bytes of plans that are kept, by their size as JSON. A plan that was dropped and is needed
/// again is made again.
const MAX_KEPT: usize = 4 << 20;

/// Time that most checks take, with the start of their process.
const PER_CHECK: Duration = Duration::from_millis(100);

/// Longest time between two looks of a pass for an outcome.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Time between two looks at whether somebody else's turn has come or the operator stops.
const LOOK: Duration = Duration::from_millis(50);

/// Outcome of a check, as passes see it.
pub type Outcome = Result<Arc<Checked>, Vec<Problem>>;

/// Namespace and name of a LoadTest.
pub type Key = (String, String);

/// The checks of an operator.
pub struct Checker {
    process: Process,
    state: Mutex<State>,
    /// Signalled when something waits to be checked.
    waiting: Condvar,
    #[cfg(test)]
    is_here: bool,
}

#[derive(Default)]
struct State {
    known: HashMap<Key, Known>,
    /// Plans in the order in which they were made, with their size, oldest first.
    plans: VecDeque<(Key, usize)>,
    jobs: VecDeque<Job>,
    running: Vec<(Key, Version)>,
    used: HashMap<String, Used>,
}

/// Knowledge of one LoadTest's spec.
struct Known {
    version: Version,
    found: Found,
    /// Number of times in a row that its check was killed.
    killed: u32,
}

enum Found {
    /// The spec waits or is being checked.
    Nothing,
    Outcome(Outcome),
    /// The check failed for a reason that is not the spec's. The next look takes it.
    Failed(CheckError),
}

/// One generation of a LoadTest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    uid: String,
    generation: i64,
}

/// Spec that waits to be checked.
struct Job {
    key: Key,
    version: Version,
    request: Vec<u8>,
    /// Number of times that its check made room for others.
    given_up: u32,
}

/// Time that a namespace's checks have used, of which half is forgotten in [`HALF_LIFE`].
#[derive(Clone, Copy)]
struct Used {
    time: Duration,
    at: Instant,
}

impl Used {
    fn now(&self, now: Instant) -> Duration {
        let halvings =
            now.saturating_duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.time.mul_f64(0.5_f64.powf(halvings))
    }
}

impl Version {
    fn of(test: &LoadTest) -> Self {
        Self {
            uid: test.metadata.uid.clone().unwrap_or_default(),
            generation: test.metadata.generation.unwrap_or_default(),
        }
    }
}

fn key_of(test: &LoadTest) -> Key {
    let metadata = &test.metadata;
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

impl Checker {
    /// Creates the checks of an operator; `process` is the program that checks.
    pub fn new(process: Process) -> Self {
        Self {
            process,
            state: Mutex::default(),
            waiting: Condvar::new(),
            #[cfg(test)]
            is_here: false,
        }
    }

    /// Creates checks that are made at once and in this process, for tests of passes.
    #[cfg(test)]
    pub fn here() -> Self {
        Self {
            is_here: true,
            ..Self::new(Process::new(""))
        }
    }

    /// Returns the outcome for the generation of `test`, if it is known.
    pub fn outcome(&self, test: &LoadTest) -> Option<Outcome> {
        #[cfg(test)]
        if self.is_here {
            return Some(crate::crd::check(&test.spec).map(Arc::new));
        }
        let state = self.state();
        let known = state.known.get(&key_of(test))?;
        match &known.found {
            Found::Outcome(outcome) if known.version == Version::of(test) => Some(outcome.clone()),
            _ => None,
        }
    }

    /// Has the spec of `test` checked, unless its outcome is known or it waits already.
    ///
    /// # Errors
    ///
    /// The check before failed for a reason that is not the spec's; the next call has the spec
    /// checked again.
    pub fn ask(&self, test: &LoadTest) -> Result<(), CheckError> {
        let (key, version) = (key_of(test), Version::of(test));
        let mut state = self.state();
        let known = state.known.entry(key.clone()).or_insert_with(|| Known {
            version: version.clone(),
            found: Found::Nothing,
            killed: 0,
        });
        if known.version != version {
            *known = Known {
                version: version.clone(),
                found: Found::Nothing,
                killed: 0,
            };
        }
        match std::mem::replace(&mut known.found, Found::Nothing) {
            Found::Failed(error) => return Err(error),
            Found::Outcome(outcome) => {
                known.found = Found::Outcome(outcome);
                return Ok(());
            }
            Found::Nothing if state.is_under_way(&key, &version) => return Ok(()),
            Found::Nothing => {}
        }
        // an older generation that waits is of no use any more
        state.jobs.retain(|job| job.key != key);
        state.jobs.push_back(Job {
            key,
            version,
            request: request(&test.spec, &BTreeMap::new()),
            given_up: 0,
        });
        state.shed();
        drop(state);
        self.waiting.notify_one();
        Ok(())
    }

    /// Returns the time after which to look for the outcome of a check that was asked for: the
    /// longer, the more specs are checked before.
    pub fn delay(&self, test: &LoadTest) -> Duration {
        let state = self.state();
        let now = Instant::now();
        let key = key_of(test);
        let used = state.used(&key.0, now);
        let before = state.jobs.iter().take_while(|job| job.key != key);
        let before = before
            .filter(|job| state.used(&job.key.0, now) <= used)
            .count();
        let before = match state.jobs.iter().any(|job| job.key == key) {
            true => u32::try_from(before).unwrap_or(u32::MAX),
            false => 0,
        };
        (PER_CHECK.saturating_mul(before.saturating_add(1))).min(LONGEST_DELAY)
    }

    /// Forgets a LoadTest that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut state = self.state();
        state.known.remove(&key);
        state.plans.retain(|(kept, _)| *kept != key);
        state.jobs.retain(|job| job.key != key);
    }

    /// Checks one spec after the other until `stop`. As many calls as there may be processes run
    /// this, each on a thread of its own.
    pub fn work(&self, stop: &CancellationToken) {
        while let Some(job) = self.next(stop) {
            let began = Instant::now();
            let ended = match self.process.begin(job.request.clone()) {
                Ok(running) => self.watch(running, &job, stop),
                Err(error) => Some(Err(error)),
            };
            self.end(job, began.elapsed(), ended);
        }
    }

    /// Takes the next job: one of the namespace that has used the least time.
    fn next(&self, stop: &CancellationToken) -> Option<Job> {
        let mut state = self.state();
        loop {
            if stop.is_cancelled() {
                return None;
            }
            if let Some(place) = state.first_in_turn(Instant::now()) {
                let job = state.jobs.remove(place)?;
                state.running.push((job.key.clone(), job.version.clone()));
                return Some(job);
            }
            state = self
                .waiting
                .wait_timeout(state, LOOK * 4)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for the end of a check; `None` if it was given up, for others or for the stop.
    fn watch(
        &self,
        mut running: Running,
        job: &Job,
        stop: &CancellationToken,
    ) -> Option<Result<crate::checking::Outcome, CheckError>> {
        loop {
            if let Some(ended) = running.poll(LOOK) {
                return Some(ended);
            }
            let age = running.age();
            if stop.is_cancelled() || self.state().makes_room(job, age) {
                return None;
            }
        }
    }

    /// Keeps the outcome of a check that ended; one that was given up waits again.
    fn end(
        &self,
        job: Job,
        took: Duration,
        ended: Option<Result<crate::checking::Outcome, CheckError>>,
    ) {
        let now = Instant::now();
        let mut state = self.state();
        state.running.retain(|(key, _)| *key != job.key);
        let used = state
            .used
            .get(&job.key.0)
            .map_or(Duration::ZERO, |used| used.now(now));
        let time = used + took;
        state.used.insert(job.key.0.clone(), Used { time, at: now });
        state
            .used
            .retain(|_, used| used.now(now) > Duration::from_millis(1));
        let Some(ended) = ended else {
            let given_up = job.given_up + 1;
            // a newer generation of it may wait already
            if state.known.contains_key(&job.key)
                && !state.jobs.iter().any(|new| new.key == job.key)
            {
                state.jobs.push_back(Job { given_up, ..job });
            }
            return;
        };
        state.keep(&job, ended);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_under_way(&self, key: &Key, version: &Version) -> bool {
        let is_it = |(other, its): (&Key, &Version)| other == key && its == version;
        self.running
            .iter()
            .any(|(key, version)| is_it((key, version)))
            || self.jobs.iter().any(|job| is_it((&job.key, &job.version)))
    }

    /// Returns the place of the job whose namespace has used the least time, the oldest of these.
    fn first_in_turn(&self, now: Instant) -> Option<usize> {
        let jobs = self.jobs.iter().enumerate();
        jobs.min_by_key(|(_, job)| self.used(&job.key.0, now))
            .map(|(place, _)| place)
    }

    fn used(&self, namespace: &str, now: Instant) -> Duration {
        self.used
            .get(namespace)
            .map_or(Duration::ZERO, |used| used.now(now))
    }

    /// Tells whether a check of this age makes room for one of another namespace.
    fn makes_room(&self, job: &Job, age: Duration) -> bool {
        let now = Instant::now();
        let used = self.used(&job.key.0, now) + age;
        age >= SLICE
            && job.given_up < MOST_GIVEN_UP
            && self
                .jobs
                .iter()
                .any(|other| other.key.0 != job.key.0 && self.used(&other.key.0, now) < used)
    }

    /// Drops specs that wait, the latest of the namespace that has most bytes waiting, until the
    /// rest is within its bound.
    fn shed(&mut self) {
        let mut waiting: HashMap<String, usize> = HashMap::new();
        for job in &self.jobs {
            *waiting.entry(job.key.0.clone()).or_default() += job.request.len();
        }
        while waiting.values().sum::<usize>() > MAX_WAITING {
            let Some((namespace, bytes)) = waiting.iter_mut().max_by_key(|(_, bytes)| **bytes)
            else {
                return;
            };
            let Some(place) = self.jobs.iter().rposition(|job| job.key.0 == *namespace) else {
                return;
            };
            *bytes -= self.jobs.remove(place).map_or(0, |job| job.request.len());
        }
    }

    /// Keeps how a check ended, if the spec is still of that generation.
    fn keep(&mut self, job: &Job, ended: Result<crate::checking::Outcome, CheckError>) {
        let Some(known) = self.known.get_mut(&job.key) else {
            return;
        };
        if known.version != job.version {
            return;
        }
        known.found = match ended {
            Ok(outcome) => match outcome.and_then(Checked::for_cluster) {
                Ok(checked) => {
                    self.plans.retain(|(key, _)| *key != job.key);
                    self.plans.push_back((job.key.clone(), job.request.len()));
                    Found::Outcome(Ok(Arc::new(checked)))
                }
                Err(problems) => Found::Outcome(Err(problems)),
            },
            Err(CheckError::Killed) if known.killed + 1 >= MOST_KILLED => {
                let why = "its check was killed each time; it needs too much memory, most likely";
                Found::Outcome(Err(vec![Problem::new("spec", why)]))
            }
            Err(error) => {
                known.killed += u32::from(matches!(error, CheckError::Killed));
                Found::Failed(error)
            }
        };
        self.drop_old_plans();
    }

    fn drop_old_plans(&mut self) {
        let mut bytes: usize = self.plans.iter().map(|(_, size)| size).sum();
        while bytes > MAX_KEPT && self.plans.len() > 1 {
            let Some((key, size)) = self.plans.pop_front() else {
                return;
            };
            bytes -= size;
            if let Some(known) = self.known.get_mut(&key)
                && matches!(known.found, Found::Outcome(Ok(_)))
            {
                known.found = Found::Nothing;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    fn test(namespace: &str, name: &str, generation: i64) -> LoadTest {
        let mut test = fixture::test();
        test.metadata.namespace = Some(namespace.into());
        test.metadata.name = Some(name.into());
        test.metadata.generation = Some(generation);
        test
    }

    fn checker() -> Checker {
        Checker::new(Process::new("/nowhere/starling"))
    }

    /// Takes the next job without a thread that waits for one.
    fn take(checker: &Checker) -> Option<Job> {
        let mut state = checker.state();
        let place = state.first_in_turn(Instant::now())?;
        let job = state.jobs.remove(place)?;
        state.running.push((job.key.clone(), job.version.clone()));
        Some(job)
    }

    fn good(checker: &Checker, job: Job) {
        let checked = crate::crd::check(&fixture::test().spec).unwrap();
        checker.end(job, Duration::from_millis(100), Some(Ok(Ok(checked))));
    }

    #[test]
    fn a_generation_is_checked_once_and_the_next_one_anew() {
        let checker = checker();
        let first = test("a", "x", 1);
        assert!(checker.outcome(&first).is_none());
        for _ in 0..3 {
            checker.ask(&first).unwrap();
        }
        let job = take(&checker).unwrap();
        checker.ask(&first).unwrap();
        assert!(take(&checker).is_none(), "it is under way");
        good(&checker, job);
        assert!(checker.outcome(&first).unwrap().is_ok());
        checker.ask(&first).unwrap();
        assert!(take(&checker).is_none(), "it is known");
        let second = test("a", "x", 2);
        assert!(checker.outcome(&second).is_none());
        checker.ask(&second).unwrap();
        assert!(take(&checker).is_some());
    }

    #[test]
    fn the_outcome_of_an_older_generation_is_of_no_use() {
        let checker = checker();
        checker.ask(&test("a", "x", 1)).unwrap();
        let old = take(&checker).unwrap();
        checker.ask(&test("a", "x", 2)).unwrap();
        good(&checker, old);
        assert!(checker.outcome(&test("a", "x", 1)).is_none());
        assert!(checker.outcome(&test("a", "x", 2)).is_none());
        assert_eq!(take(&checker).unwrap().version.generation, 2);
    }

    #[test]
    fn a_process_that_cannot_be_started_is_an_error_once_and_then_tried_again() {
        let checker = checker();
        let test = test("a", "x", 1);
        checker.ask(&test).unwrap();
        let job = take(&checker).unwrap();
        let failed = checker
            .process
            .begin(job.request.clone())
            .map(|_| ())
            .unwrap_err();
        checker.end(job, Duration::ZERO, Some(Err(failed)));
        assert!(checker.outcome(&test).is_none(), "never InvalidSpec");
        assert!(matches!(checker.ask(&test), Err(CheckError::Start(_))));
        checker.ask(&test).unwrap();
        assert!(take(&checker).is_some());
    }

    #[test]
    fn a_spec_whose_check_is_killed_each_time_is_wrong_in_the_end() {
        let checker = checker();
        let test = test("a", "x", 1);
        for _ in 0..MOST_KILLED {
            checker.ask(&test).unwrap();
            let job = take(&checker).unwrap();
            checker.end(job, Duration::ZERO, Some(Err(CheckError::Killed)));
            if checker.outcome(&test).is_none() {
                assert!(checker.ask(&test).is_err());
            }
        }
        let problems = checker.outcome(&test).unwrap().unwrap_err();
        assert!(problems[0].message.contains("killed"), "{problems:?}");
    }

    #[test]
    fn namespaces_take_turns_whoever_asked_first() {
        let checker = checker();
        for i in 0..20 {
            checker.ask(&test("hostile", &format!("x{i}"), 1)).unwrap();
        }
        let job = take(&checker).unwrap();
        checker.ask(&test("good", "y", 1)).unwrap();
        checker.end(job, Duration::from_secs(1), Some(Ok(Err(vec![]))));
        assert_eq!(take(&checker).unwrap().key.0, "good");
    }

    #[test]
    fn a_long_check_makes_room_for_another_namespace_but_not_for_ever() {
        let checker = checker();
        checker.ask(&test("hostile", "x", 1)).unwrap();
        let mut job = take(&checker).unwrap();
        assert!(!checker.state().makes_room(&job, SLICE), "nobody waits");
        checker.ask(&test("hostile", "z", 1)).unwrap();
        assert!(
            !checker.state().makes_room(&job, SLICE),
            "its own namespace"
        );
        checker.ask(&test("good", "y", 1)).unwrap();
        assert!(!checker.state().makes_room(&job, Duration::ZERO));
        assert!(checker.state().makes_room(&job, SLICE));
        checker.end(job, SLICE, None);
        assert_eq!(take(&checker).unwrap().key.0, "good");
        let again = |job: &Job| job.key.1 == "x" && job.given_up == 1;
        assert!(checker.state().jobs.iter().any(again));
        checker.ask(&test("other", "y", 1)).unwrap();
        job = take(&checker).unwrap();
        job.given_up = MOST_GIVEN_UP;
        assert!(!checker.state().makes_room(&job, Duration::from_secs(9)));
    }

    #[test]
    fn what_waits_is_bounded_and_the_one_with_most_of_it_loses_first() {
        let checker = checker();
        let mut large = test("hostile", "", 1);
        large
            .spec
            .variables
            .insert("v".into(), "x".repeat(200_000).into());
        checker.ask(&test("good", "y", 1)).unwrap();
        for i in 0..100 {
            large.metadata.name = Some(format!("x{i}"));
            checker.ask(&large).unwrap();
        }
        let state = checker.state();
        let bytes: usize = state.jobs.iter().map(|job| job.request.len()).sum();
        assert!(bytes <= MAX_WAITING && state.jobs.len() < 50, "{bytes}");
        assert!(state.jobs.iter().any(|job| job.key.0 == "good"));
    }

    #[test]
    fn plans_that_are_kept_are_bounded_and_problems_stay() {
        let checker = checker();
        for i in 0..60 {
            let mut test = test("a", &format!("x{i}"), 1);
            test.spec
                .variables
                .insert("v".into(), "x".repeat(200_000).into());
            checker.ask(&test).unwrap();
            let job = take(&checker).unwrap();
            good(&checker, job);
        }
        let state = checker.state();
        assert!(state.plans.len() < 30, "{}", state.plans.len());
        let plans = state.known.values();
        let plans = plans.filter(|known| matches!(known.found, Found::Outcome(Ok(_))));
        assert_eq!(plans.count(), state.plans.len());
    }

    #[test]
    fn a_pass_looks_for_its_outcome_the_later_the_more_is_checked_before() {
        let checker = checker();
        for i in 0..100 {
            checker.ask(&test("hostile", &format!("x{i}"), 1)).unwrap();
        }
        let job = take(&checker).unwrap();
        checker.end(job, Duration::from_secs(1), Some(Ok(Err(vec![]))));
        checker.ask(&test("good", "y", 1)).unwrap();
        assert_eq!(checker.delay(&test("good", "y", 1)), PER_CHECK);
        assert_eq!(checker.delay(&test("hostile", "x3", 1)), PER_CHECK * 3);
        assert_eq!(checker.delay(&test("hostile", "x99", 1)), LONGEST_DELAY);
    }

    #[test]
    fn a_loadtest_that_is_gone_leaves_nothing() {
        let checker = checker();
        checker.ask(&test("a", "x", 1)).unwrap();
        let job = take(&checker).unwrap();
        checker.forget("a", "x");
        good(&checker, job);
        let state = checker.state();
        assert!(state.known.is_empty() && state.plans.is_empty() && state.jobs.is_empty());
    }
}
