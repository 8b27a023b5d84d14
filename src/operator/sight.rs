//! Sight: whether the watches that passes depend on still show anything. A watch that is alive
//! proves it every few seconds, also on a cluster where nothing happens: it begins anew every
//! [`WINDOW`] seconds. An operator that does not see is unready; one that saw and no longer does is
//! restarted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Length of one watch call, in seconds; the API server ends it then.
pub const WINDOW: u32 = 12;
/// Time without an event, a bookmark or an end after which a watch call is taken for dead.
pub const SILENCE: Duration = Duration::from_secs(17);
/// Age of the last proof from which on a watch is blind. With the readiness probe of the chart the
/// Pod is unready within 30 s.
const BLIND: Duration = Duration::from_secs(22);
/// Age of the last proof from which on the process asks to be restarted. With the liveness probe of
/// the chart and the time that passes in progress get to end, that happens within 2 min.
const DEAD: Duration = Duration::from_secs(60);

/// Sights of all watches of the process.
#[derive(Clone, Default)]
pub struct Sights(Arc<Mutex<Vec<Arc<Sight>>>>);

/// Sight of one watch.
pub struct Sight {
    /// Watched namespace, empty for all of them. A flag of the operator bounds their number.
    pub place: String,
    /// Plural of the watched resource.
    pub kind: &'static str,
    state: Mutex<State>,
}

struct State {
    /// Begin of the first attempt.
    since: Instant,
    /// Last time that the API server showed something, an empty list or a bookmark included.
    proved: Option<Instant>,
    last: Last,
}

/// Last encounter of a watch.
enum Last {
    /// The API server's word.
    Proof,
    /// A refusal, such as a missing right: it shows nothing, but neither would a new process see.
    Refused(String),
    /// An error, or silence.
    Failed(String),
}

impl Sights {
    /// Adds a watch that has shown nothing yet.
    pub fn add(&self, place: &str, kind: &'static str, now: Instant) -> Arc<Sight> {
        let sight = Arc::new(Sight {
            place: place.to_owned(),
            kind,
            state: Mutex::new(State {
                since: now,
                proved: None,
                last: Last::Failed("it has not begun".to_owned()),
            }),
        });
        self.all().push(sight.clone());
        sight
    }

    /// Returns the age of the last proof of each watch, or the time for which one that has never
    /// shown anything has been tried.
    pub fn ages(&self, now: Instant) -> Vec<(Arc<Sight>, Duration)> {
        let all = self.all();
        all.iter()
            .map(|sight| (sight.clone(), sight.state().age(now)))
            .collect()
    }

    /// Checks that every watch of at least one place shows what there is, and that none is blind. A
    /// place that refuses its watches does not count, and does not take the others out of service.
    pub fn ready(&self, now: Instant) -> Result<(), String> {
        let all = self.all();
        let mut places: BTreeMap<&str, bool> = BTreeMap::new();
        let mut refused = None;
        for sight in all.iter() {
            let state = sight.state();
            if state.is_older(BLIND, now) {
                return Err(sight.describe(&state, now));
            }
            if let Last::Refused(_) = state.last {
                refused.get_or_insert_with(|| sight.describe(&state, now));
            }
            *places.entry(&sight.place).or_insert(true) &= state.sees();
        }
        match places.values().any(|sees| *sees) {
            true => Ok(()),
            false => Err(refused.unwrap_or_else(|| "no watch of LoadTests is up".to_owned())),
        }
    }

    /// Checks that no watch that once showed something has been blind for so long that a new
    /// process might do better. One that never saw is left to its retries: a restart would only
    /// add the delays of a crash loop to an outage.
    pub fn live(&self, now: Instant) -> Result<(), String> {
        for sight in self.all().iter() {
            let state = sight.state();
            if state.proved.is_some() && state.is_older(DEAD, now) {
                return Err(sight.describe(&state, now));
            }
        }
        Ok(())
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Sight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sight {
    /// Notes that the API server has shown something.
    pub fn prove(&self, now: Instant) {
        let mut state = self.state();
        state.proved = Some(now);
        state.last = Last::Proof;
    }

    /// Notes that the API server refuses the watch, in its words.
    pub fn refuse(&self, why: String) {
        self.state().last = Last::Refused(why);
    }

    /// Notes that the watch has failed.
    pub fn fail(&self, why: String) {
        self.state().last = Last::Failed(why);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, state: &State, now: Instant) -> String {
        let place = match self.place.as_str() {
            "" => "all namespaces".to_owned(),
            name => format!("namespace {name}"),
        };
        let why = match &state.last {
            Last::Proof => String::new(),
            Last::Refused(why) | Last::Failed(why) => format!(": {why}"),
        };
        let age = state.age(now).as_secs();
        format!(
            "the watch of {} in {place} has shown nothing for {age} s{why}",
            self.kind
        )
    }
}

impl State {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.proved.unwrap_or(self.since))
    }

    fn sees(&self) -> bool {
        self.proved.is_some() && !matches!(self.last, Last::Refused(_))
    }

    fn is_older(&self, bound: Duration, now: Instant) -> bool {
        !matches!(self.last, Last::Refused(_)) && self.age(now) > bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_watch_that_has_shown_nothing_yet_is_not_ready_and_never_a_reason_to_restart() {
        let (sights, start) = (Sights::default(), Instant::now());
        assert!(sights.ready(start).is_err(), "there is no watch at all");
        sights.add("", "pods", start);
        assert!(sights.ready(start).is_err());
        assert_eq!(sights.live(start + seconds(3600)), Ok(()));
    }

    #[test]
    fn a_blind_operator_is_unready_within_thirty_seconds_and_restarted_within_two_minutes() {
        let (sights, start) = (Sights::default(), Instant::now());
        let tests = sights.add("", "loadtests", start);
        let pods = sights.add("", "pods", start);
        tests.prove(start);
        pods.prove(start);
        assert_eq!(sights.ready(start + BLIND), Ok(()));
        let later = start + seconds(24);
        tests.prove(later);
        let why = sights.ready(later).unwrap_err();
        assert!(why.contains("pods") && why.contains("24 s"), "{why}");
        assert_eq!(sights.live(later), Ok(()));
        let why = sights.live(start + seconds(61)).unwrap_err();
        assert!(why.contains("pods"), "{why}");
        pods.prove(start + seconds(61));
        tests.prove(start + seconds(61));
        assert_eq!(sights.live(start + seconds(62)), Ok(()));
        assert_eq!(sights.ready(start + seconds(62)), Ok(()));
    }

    #[test]
    fn a_place_that_refuses_its_watch_takes_neither_the_others_nor_the_process_out_of_service() {
        let (sights, start) = (Sights::default(), Instant::now());
        let good = sights.add("team-a", "loadtests", start);
        let bad = sights.add("team-b", "loadtests", start);
        good.prove(start);
        bad.prove(start);
        let later = start + seconds(300);
        bad.refuse("forbidden".into());
        good.prove(later);
        assert_eq!(sights.ready(later), Ok(()));
        assert_eq!(sights.live(later), Ok(()));
        good.refuse("forbidden, too".into());
        let why = sights.ready(later).unwrap_err();
        assert!(why.contains("forbidden"), "{why}");
    }

    #[test]
    fn a_place_counts_only_when_all_its_watches_see() {
        let (sights, start) = (Sights::default(), Instant::now());
        sights.add("", "loadtests", start).prove(start);
        let pods = sights.add("", "pods", start);
        assert!(sights.ready(start).is_err());
        pods.prove(start);
        assert_eq!(sights.ready(start), Ok(()));
    }

    #[test]
    fn an_idle_cluster_proves_every_watch_well_before_it_counts_as_blind() {
        assert!(Duration::from_secs(WINDOW.into()) + seconds(5) <= SILENCE);
        assert!(SILENCE < BLIND && BLIND + seconds(8) <= seconds(30));
    }
}
