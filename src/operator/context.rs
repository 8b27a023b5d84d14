//! What all passes share, and what is remembered of one LoadTest between its passes. Nothing here
//! is needed for correctness: an operator that starts anew knows all it must from the API server.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::events::Recorder;

use super::build::Settings;
use super::fault::KillPoint;
use super::install_key::InstallKeys;
use super::metrics::Metrics;
use super::view::Installation;
use crate::wire::control::Client as MasterClient;

/// A status is written no more often than that while only progress is new.
const PACE: Duration = Duration::from_secs(5);
/// All of them together write at most so many a second.
const WRITES_PER_SECOND: u64 = 20;

pub struct Context {
    pub client: Client,
    pub settings: Settings,
    pub keys: InstallKeys,
    pub kill: KillPoint,
    pub metrics: Metrics,
    pub recorder: Recorder,
    pub active_runs: AtomicU64,
    /// By namespace and name.
    memories: Mutex<HashMap<(String, String), SharedMemory>>,
}

type SharedMemory = Arc<tokio::sync::Mutex<Memory>>;

/// Of one LoadTest.
#[derive(Default)]
pub struct Memory {
    /// The run that the rest is about.
    pub run: Option<String>,
    pub status_written: Option<Instant>,
    pub channel_seen: Option<Instant>,
    pub unreachable_since: Option<Instant>,
    pub master: Option<((String, SocketAddr), Arc<MasterClient>)>,
    /// Passes in a row that failed.
    pub failures: u32,
}

impl Memory {
    /// When the channel was last looked for; never, while the master does not answer: its namespace
    /// may be going away.
    pub fn channel_looked_at(&self) -> Option<Instant> {
        self.channel_seen
            .filter(|_| self.unreachable_since.is_none())
    }

    /// Forgets what was about another run.
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
    pub fn new(
        client: Client,
        settings: Settings,
        keys: InstallKeys,
        metrics: Metrics,
        recorder: Recorder,
    ) -> Self {
        let (kill, active_runs, memories) =
            (KillPoint::from_env(), AtomicU64::new(0), Mutex::default());
        Self {
            client,
            settings,
            keys,
            kill,
            metrics,
            recorder,
            active_runs,
            memories,
        }
    }

    pub fn installation(&self) -> Installation {
        Installation {
            id: self.keys.installation.clone(),
            key_id: self.keys.current.clone(),
        }
    }

    pub fn pace(&self) -> Duration {
        PACE.max(Duration::from_secs(
            self.active_runs.load(Ordering::Relaxed) / WRITES_PER_SECOND,
        ))
    }

    pub fn memory(&self, namespace: &str, name: &str) -> SharedMemory {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories
            .entry((namespace.to_owned(), name.to_owned()))
            .or_default()
            .clone()
    }

    pub fn forget(&self, namespace: &str, name: &str) {
        self.memories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(namespace.to_owned(), name.to_owned()));
    }
}
