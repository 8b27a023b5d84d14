//! What a master must not forget when its process is killed: who it is, and whether it ever started
//! its run.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::judge::Breach;

const FILE: &str = "master.json";
const ROWS_FILE: &str = "rows.json";

/// Kept in the Pod's emptyDir: survives a restart of the container, not a new Pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Random, made with the Pod.
    pub incarnation: String,
    pub epoch: u32,
    /// Load may exist: written before the first worker is told to start.
    pub granted: bool,
    /// Thresholds found breached on the way: what was judged stays judged.
    pub breaches: Vec<Breach>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the master's memory {path}: {source}")]
pub struct MemoryError {
    doing: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

/// Where the facts are kept; nowhere in a local run, whose end is the end of everything.
#[derive(Debug)]
pub struct Memory {
    folder: Option<PathBuf>,
}

impl Memory {
    pub fn none() -> Self {
        Self { folder: None }
    }

    pub fn at(folder: &Path) -> Self {
        Self {
            folder: Some(folder.to_owned()),
        }
    }

    /// The facts of this incarnation; new ones are written at once.
    pub fn load(&self) -> Result<Facts, MemoryError> {
        let fresh = Facts {
            incarnation: format!("{:016x}", rand::random::<u64>()),
            ..Facts::default()
        };
        let Some(folder) = &self.folder else {
            return Ok(fresh);
        };
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| self.failed("read", e.into())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                self.store(&fresh).map(|()| fresh)
            }
            Err(e) => Err(self.failed("read", e)),
        }
    }

    /// On return the facts survive a kill.
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
        write().map_err(|e| self.failed("write", e))
    }

    /// For each feeder whose rows all workers share, the first that was never given out; `None`
    /// where this incarnation never said.
    pub fn load_rows(&self) -> Option<BTreeMap<u16, u64>> {
        let bytes = fs::read(self.folder.as_ref()?.join(ROWS_FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// On return the numbers survive a kill of the process. Not a loss of the node, which takes the
    /// folder along: so nothing is synced.
    pub fn store_rows(&self, rows: &BTreeMap<u16, u64>) -> Result<(), MemoryError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let write = || {
            let draft = folder.join(format!("{ROWS_FILE}.new"));
            fs::write(&draft, serde_json::to_vec(rows)?)?;
            fs::rename(&draft, folder.join(ROWS_FILE))
        };
        write().map_err(|e| self.failed("write", e))
    }

    fn failed(&self, doing: &'static str, source: std::io::Error) -> MemoryError {
        MemoryError {
            doing,
            path: self.folder.clone().unwrap_or_default(),
            source,
        }
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
    fn a_damaged_memory_is_an_error_not_a_fresh_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Memory::at(folder.path()).load().is_err());
    }
}
