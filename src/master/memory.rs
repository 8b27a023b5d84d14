//! Facts that a master must not forget when its process is killed: who it is, and whether it ever
//! started its run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::judge::Breach;
use crate::plan::LoadChange;
use crate::stats::result::ManualChange;
use crate::wire::control::FleetSize;

const FILE: &str = "master.json";
const ROWS_FILE: &str = "rows.json";
const CHECKPOINT_FILE: &str = "checkpoint.json";

/// Kept in the Pod's emptyDir: survives a restart of the container, not a new Pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Random, made with the Pod.
    pub incarnation: String,
    /// Number of the last grant.
    pub epoch: u32,
    /// Load may exist: written before the first worker is told to start.
    pub granted: bool,
    /// Thresholds found breached on the way: what was judged stays judged.
    pub breaches: Vec<Breach>,
    /// Longest time from the start grant to the end of the run, in microseconds; 0 without one.
    pub deadline_micros: u64,
    /// Number of workers; `None` for that of the plan.
    pub workers: Option<FleetSize>,
    /// Time of the start grant; `None` without one, and where the system has no such clock.
    pub granted_at: Option<Uptime>,
    /// Changes of load by hand, in the order in which they were made.
    pub changes: Vec<Made>,
}

/// Change of load that was made by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Position of the population in the plan.
    pub population: u16,
    /// The change, as the result tells it.
    pub told: ManualChange,
}

impl Made {
    /// The change as it is applied to the profile.
    pub fn change(&self) -> LoadChange {
        LoadChange {
            at: Duration::from_micros(self.told.after_micros),
            population: self.population,
            level: self.told.level,
        }
    }
}

/// Time by the clock that a machine has since it was started, which nobody sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    /// Random id of this start of the machine.
    boot: String,
    /// Microseconds since then.
    micros: u64,
}

impl Uptime {
    /// Reads the clock; `None` where the system has none.
    fn now() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            micros: (seconds * 1e6) as u64,
        })
    }

    /// Moves the time by `back` towards the past and by `ahead` towards the future; `None` before the
    /// start of the machine.
    pub fn moved(self, back: Duration, ahead: Duration) -> Option<Self> {
        let micros =
            (self.micros + ahead.as_micros() as u64).checked_sub(back.as_micros() as u64)?;
        Some(Self { micros, ..self })
    }

    /// Returns the time from this one to `later`; `None` if the machine was started between them.
    fn until(&self, later: &Self) -> Option<Duration> {
        let is_same = self.boot == later.boot;
        is_same.then(|| Duration::from_micros(later.micros.saturating_sub(self.micros)))
    }
}

/// Failure to read or write the memory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the master's memory {path}: {source}")]
pub struct MemoryError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(doing: &'static str, folder: &Path, source: io::Error) -> MemoryError {
    MemoryError {
        doing,
        path: folder.to_owned(),
        source,
    }
}

/// The folder in which facts are kept; none in a local run, whose end is the end of everything.
#[derive(Debug, Clone)]
pub struct Memory {
    folder: Option<PathBuf>,
}

impl Memory {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: None }
    }

    /// Keeps facts in a folder, which must exist.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: Some(folder.to_owned()),
        }
    }

    /// Tells whether anything is kept.
    pub fn keeps(&self) -> bool {
        self.folder.is_some()
    }

    /// Loads the last checkpoint. `None` where there is none, or where a loss of power tore it: then
    /// the workers tell what they know.
    pub fn load_checkpoint(&self, run: &str) -> Result<Option<Checkpoint>, MemoryError> {
        let checkpoint: Option<Checkpoint> = self.load_or_forget(CHECKPOINT_FILE)?;
        Ok(checkpoint.filter(|checkpoint| checkpoint.run == run))
    }

    /// Stores a checkpoint. On return it survives a kill of the process, but not a loss of power,
    /// since nothing is synced.
    pub fn store_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), MemoryError> {
        self.store_unsynced(CHECKPOINT_FILE, checkpoint)
    }

    /// Reads the machine's own clock, for facts that are kept; `None` where none is kept.
    pub fn uptime(&self) -> Option<Uptime> {
        self.folder.as_ref().and_then(|_| Uptime::now())
    }

    /// Returns the time since `past` by that clock; `None` where nobody can tell.
    pub fn since(&self, past: &Uptime) -> Option<Duration> {
        past.until(&self.uptime()?)
    }

    /// Loads the facts of this incarnation; new ones are stored at once. Fails when they cannot be
    /// read or are damaged.
    pub fn load(&self) -> Result<Facts, MemoryError> {
        let fresh = Facts {
            incarnation: format!("{:016x}", rand::random::<u64>()),
            ..Facts::default()
        };
        let Some(folder) = &self.folder else {
            return Ok(fresh);
        };
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| failed("read", folder, e.into()))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => self.store(&fresh).map(|()| fresh),
            Err(e) => Err(failed("read", folder, e)),
        }
    }

    /// Stores the facts; on return they survive a kill and a loss of power.
    pub fn store(&self, facts: &Facts) -> Result<(), MemoryError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let write = || {
            let draft = folder.join(format!("{FILE}.new"));
            let mut file = fs::File::create(&draft)?;
            file.write_all(&serde_json::to_vec(facts)?)?;
            file.sync_all()?;
            fs::rename(&draft, folder.join(FILE))
        };
        write().map_err(|e| failed("write", folder, e))
    }

    /// Loads, for each feeder whose rows all workers share, the first row that was never leased.
    /// `None` where this incarnation stored none, or where a loss of power tore what it stored:
    /// either way the workers must be asked.
    pub fn load_rows(&self) -> Result<Option<BTreeMap<u16, u64>>, MemoryError> {
        self.load_or_forget(ROWS_FILE)
    }

    /// Stores the numbers that [`load_rows`](Self::load_rows) loads. On return they survive a kill
    /// of the process, but not a loss of power, since nothing is synced: rows are leased too often
    /// for that.
    pub fn store_rows(&self, rows: &BTreeMap<u16, u64>) -> Result<(), MemoryError> {
        self.store_unsynced(ROWS_FILE, rows)
    }

    /// Loads a file that is not synced; `None` where there is none, or where it is torn.
    fn load_or_forget<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, MemoryError> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        let path = folder.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("read", folder, e)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(found) => Ok(Some(found)),
            Err(e) => {
                tracing::warn!(
                    "{} is damaged, so the workers are asked: {e}",
                    path.display()
                );
                Ok(None)
            }
        }
    }

    fn store_unsynced(&self, name: &str, what: &impl Serialize) -> Result<(), MemoryError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let write = || {
            let draft = folder.join(format!("{name}.new"));
            fs::write(&draft, serde_json::to_vec(what)?)?;
            fs::rename(&draft, folder.join(name))
        };
        write().map_err(|e| failed("write", folder, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_process_is_the_same_incarnation() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::at(folder.path());
        let mut facts = memory.load().unwrap();
        facts.granted = true;
        facts.epoch = 1;
        facts.breaches.push(Breach {
            threshold: 1,
            second: 7,
            observed: 0.3,
        });
        memory.store(&facts).unwrap();
        assert_eq!(Memory::at(folder.path()).load().unwrap(), facts);
    }

    #[test]
    fn another_pod_is_another_incarnation() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(
            Memory::at(one.path()).load().unwrap().incarnation,
            Memory::at(other.path()).load().unwrap().incarnation
        );
    }

    #[test]
    fn the_time_since_a_grant_is_known_until_the_machine_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::at(folder.path());
        let Some(now) = memory.uptime() else { return };
        assert!(memory.since(&now).unwrap() < Duration::from_secs(60));
        let hour_ago = Uptime {
            micros: now.micros.saturating_sub(3_600_000_000),
            ..now.clone()
        };
        assert_eq!(
            hour_ago.until(&now),
            Some(Duration::from_micros(now.micros - hour_ago.micros))
        );
        let other = Uptime {
            boot: "other".into(),
            ..now
        };
        assert_eq!(memory.since(&other), None);
        assert_eq!(Memory::none().since(&other), None);
    }

    #[test]
    fn a_damaged_memory_is_an_error_not_a_fresh_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Memory::at(folder.path()).load().is_err());
    }

    #[test]
    fn rows_that_cannot_be_read_are_an_error_and_torn_ones_are_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::at(folder.path());
        assert_eq!(memory.load_rows().unwrap(), None);
        memory.store_rows(&[(1, 7)].into()).unwrap();
        assert_eq!(memory.load_rows().unwrap(), Some([(1, 7)].into()));

        fs::write(folder.path().join(ROWS_FILE), "{\"1\":").unwrap();
        assert_eq!(memory.load_rows().unwrap(), None);

        fs::remove_file(folder.path().join(ROWS_FILE)).unwrap();
        fs::create_dir(folder.path().join(ROWS_FILE)).unwrap();
        let error = memory.load_rows().unwrap_err().to_string();
        assert!(error.contains("cannot read the master's memory"), "{error}");
    }
}
