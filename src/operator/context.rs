//! State that all passes share, and the memory of one LoadTest between its passes. Correctness does
//! not depend on it: an operator that starts anew learns all it needs from the API server.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::events::Recorder;

use super::build::Settings;
use super::checker::Checker;
use super::connection::Connection;
use super::fault::KillPoint;
use super::install_key::InstallKeys;
use super::lease::{Leases, Sighting};
use super::masters::Masters;
use super::metrics::Metrics;
use super::policies::Enforcement;
use super::queue::Queues;
use super::times::TimeError;
use super::view::Installation;
use crate::crd::LoadTest;

/// Shortest time between two writes of a status while only progress is new: a little less than that
/// between two polls of a master, so that each poll is shown.
const PACE: Duration = Duration::from_millis(4500);
/// Most status writes a second of all runs together.
const WRITES_PER_SECOND: u64 = 20;

/// State that all passes share.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// Connection that the client calls through; none in tests, whose API server is a function.
    pub connection: Option<Arc<Connection>>,
    /// Settings of the objects that are built.
    pub settings: Settings,
    /// Use that is made of policies.
    pub policies: Enforcement,
    /// Install keys as they were at the operator's start.
    pub keys: InstallKeys,
    /// Kill point, at which a test kills the process.
    pub kill: KillPoint,
    /// Leases that tell other installations that this one is there.
    pub leases: Leases,
    /// The operator's own metrics.
    pub metrics: Metrics,
    /// Checks of specs.
    pub checker: Arc<Checker>,
    /// Publisher of Events.
    pub recorder: Recorder,
    /// Queues of the LoadTests to pass over.
    pub queues: Arc<Queues>,
    /// Pollers of the masters of runs in progress.
    pub masters: Masters,
    /// Runs in progress when they were last counted.
    pub active_runs: AtomicU64,
    /// Memories by namespace and name of their LoadTest.
    memories: Mutex<HashMap<(String, String), SharedMemory>>,
}

type SharedMemory = Arc<tokio::sync::Mutex<Memory>>;

/// Time between two looks for masters that may give way to a run that finds no room.
const ROOM_EVERY: Duration = Duration::from_secs(10);

/// Memory of one LoadTest between its passes.
#[derive(Default)]
pub struct Memory {
    /// Id of the run that the rest is about.
    pub run: Option<String>,
    /// Last write of the status by this process.
    pub status_written: Option<Instant>,
    /// Lease of the other installation that began the run.
    pub owner: Option<Sighting>,
    /// resourceVersion of the LoadTest with the run of another installation, and since when.
    pub quiet: Option<(Option<String>, Instant)>,
    /// UID of the plan whose content was compared with the hash in the status.
    pub plan_checked: Option<String>,
    /// Last time that this process found the channel Secret.
    pub channel_seen: Option<Instant>,
    /// Begin of the time for which this process has found no master that answers.
    pub unreachable_since: Option<Instant>,
    /// Last look for masters of ended runs that may give way.
    pub room_looked_for: Option<Instant>,
    /// Number of passes in a row that failed.
    pub failures: u32,
    /// Last unreadable time that went to the log.
    unreadable: Option<TimeError>,
}

impl Memory {
    /// Returns when the channel was last found. While the master does not answer that does not
    /// count: its namespace may be going away.
    pub fn channel_looked_at(&self) -> Option<Instant> {
        self.channel_seen
            .filter(|_| self.unreachable_since.is_none())
    }

    /// Returns whether it is time to look for room, which is then noted: what gave way last time
    /// needs a while to be gone, and the scheduler to notice.
    pub fn may_look_for_room(&mut self) -> bool {
        let is_time = self
            .room_looked_for
            .is_none_or(|at| at.elapsed() >= ROOM_EVERY);
        if is_time {
            self.room_looked_for = Some(Instant::now());
        }
        is_time
    }

    /// Logs a time of `test` that cannot be read, once for as long as it is the same.
    pub fn warn_of_unreadable(&mut self, test: &LoadTest, error: &TimeError) {
        if self.unreadable.as_ref() != Some(error) {
            let metadata = &test.metadata;
            tracing::warn!(
                namespace = metadata.namespace,
                loadtest = metadata.name,
                %error,
                "a time cannot be read and nothing is done for it"
            );
            self.unreadable = Some(error.clone());
        }
    }

    /// Forgets everything about another run than `run`.
    pub fn turn_to(&mut self, run: Option<&str>) {
        if self.run.as_deref() != run {
            *self = Memory {
                run: run.map(str::to_owned),
                failures: self.failures,
                ..Memory::default()
            };
        }
    }
}

impl Context {
    /// Creates the state at the operator's start.
    pub fn new(
        client: Client,
        settings: Settings,
        keys: InstallKeys,
        lease_duration: Duration,
        metrics: Metrics,
        recorder: Recorder,
        checker: Arc<Checker>,
    ) -> Self {
        let queues = Arc::new(Queues::default());
        let leases = Leases::new(
            client.clone(),
            &keys.installation,
            &settings.namespace,
            lease_duration,
        );
        Self {
            client,
            leases,
            connection: None,
            settings,
            policies: Enforcement::default(),
            keys,
            kill: KillPoint::from_env(),
            masters: Masters::new(metrics.clone(), queues.clone()),
            queues,
            metrics,
            checker,
            recorder,
            active_runs: AtomicU64::new(0),
            memories: Mutex::default(),
        }
    }

    /// Returns the installation that new runs belong to.
    pub fn installation(&self) -> Installation {
        Installation {
            id: self.keys.installation.clone(),
            key_id: self.keys.current.clone(),
            proofs: self.keys.current_proofs(),
        }
    }

    /// Returns the shortest time between two writes of one status while only progress is new:
    /// longer, the more runs are in progress.
    pub fn pace(&self) -> Duration {
        PACE.max(Duration::from_secs(
            self.active_runs.load(Ordering::Relaxed) / WRITES_PER_SECOND,
        ))
    }

    /// Returns the memory of one LoadTest, empty at its first pass.
    pub fn memory(&self, namespace: &str, name: &str) -> SharedMemory {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories
            .entry((namespace.to_owned(), name.to_owned()))
            .or_default()
            .clone()
    }

    /// Drops the memory of a LoadTest that is gone, and ends the poller of its master.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.masters.forget(namespace, name);
        self.checker.forget(namespace, name);
        self.memories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Forgets every LoadTest of a namespace, or of all, that is not among those that are `there`.
    pub fn forget_others(&self, place: Option<&str>, there: &HashSet<(String, String)>) {
        let gone: Vec<(String, String)> = {
            let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
            let is_gone = |key: &&(String, String)| {
                place.is_none_or(|place| place == key.0) && !there.contains(*key)
            };
            memories.keys().filter(is_gone).cloned().collect()
        };
        for (namespace, name) in gone {
            self.forget(&namespace, &name);
        }
    }
}
