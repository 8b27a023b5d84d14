//! Checkpoints, by which a master is the same again after its process was killed: the holders of
//! shares, everything that was measured, and how far it was judged.
//!
//! Samples of workers that live are in it only while they are small, since the workers hold them
//! too; of those that are gone it has all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::blocks::Blocks;
use super::judge::Progress;
use super::memory::Uptime;
use super::roster::{Holder, Instance, Roster, Rows};
use super::shares::Shares;
use super::timeline::Timeline;
use crate::stats::Snapshot;
use crate::stats::result::Event;
use crate::wire::control::Stop;

/// Most bytes of memory of samples of workers that live.
const MAX_LIVE: usize = 24 * 1024 * 1024;

/// State of a run at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Id of the run.
    pub run: String,
    /// The run's zero by the machine's clock.
    pub zero: Option<Uptime>,
    /// Seed of everything random.
    pub seed: u64,
    /// Time from the run's zero at which the load was ended before its time.
    pub cut_at: Option<Duration>,
    /// Order that ended it.
    pub stopped: Option<Stop>,
    /// Threshold that ended it, in words.
    pub breached: Option<String>,
    /// Loss that ended it, in words.
    pub failed: Option<String>,
    /// Parts of the load, each with the process that carries it.
    pub shares: Shares,
    /// Every process that ever was a worker.
    pub processes: Vec<Process>,
    /// Course of the run.
    pub timeline: Timeline,
    /// Progress of the thresholds' windows.
    pub judge: Progress,
    /// Blocks of time.
    pub blocks: Blocks,
    /// Notable moments.
    pub events: Vec<Event>,
    /// Index, id and requests of workers whose samples an earlier master lost.
    pub incomplete: Vec<(u32, String, u64)>,
    /// Iterations that were given out again.
    pub reissued: u64,
}

/// A process of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct Process {
    holder: Holder,
    /// Samples of its load; `None` where the process has to say them again.
    snapshot: Option<Packed>,
    one_offs: Packed,
    through: Option<u32>,
    seen: Option<u32>,
    first_second: u32,
    carrying: bool,
    last: bool,
    length_micros: Option<u64>,
    hides_load: bool,
    failed: bool,
    left_early: bool,
    #[serde(default)]
    let_go: bool,
    superseded: bool,
    reports_parts: bool,
    lost_at: Option<Duration>,
    rows: BTreeMap<u16, Rows>,
    used_up: BTreeSet<u16>,
    started_micros: Option<i64>,
    folded: u32,
    cores: u32,
}

/// Samples as text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Packed(#[serde(with = "samples")] Snapshot);

/// Writes every process of a fleet.
pub fn processes(roster: &Roster) -> Vec<Process> {
    let instances = roster.instances().iter();
    let live = |instance: &Instance| instance.closed_at.is_none();
    let mut size = 0;
    instances
        .map(|(holder, instance)| {
            if live(instance) && size <= MAX_LIVE {
                // not by writing them, for which the master would stand still
                size += instance.snapshot.heap();
            }
            let is_kept = !live(instance) || size <= MAX_LIVE;
            Process::of(holder, instance, is_kept)
        })
        .collect()
}

impl Process {
    fn of(holder: &Holder, instance: &Instance, is_kept: bool) -> Self {
        let kept = is_kept.then(|| Packed(instance.snapshot.clone()));
        Self {
            holder: holder.clone(),
            through: instance.through.filter(|_| is_kept),
            snapshot: kept,
            one_offs: Packed(instance.one_offs.clone()),
            seen: instance.seen,
            first_second: instance.first_second,
            carrying: instance.carrying,
            last: instance.last,
            length_micros: instance.length_micros,
            hides_load: instance.hides_load,
            failed: instance.failed,
            left_early: instance.left_early,
            let_go: instance.let_go,
            superseded: instance.superseded,
            reports_parts: instance.reports_parts,
            lost_at: instance.lost_at,
            rows: instance.rows.clone(),
            used_up: instance.used_up.clone(),
            started_micros: instance.started_micros,
            folded: instance.folded,
            cores: instance.cores,
        }
    }

    /// Brings the process back. Nobody knows when it was heard last, so that its lease begins anew.
    pub fn restored(self, now: Instant) -> (Holder, Instance) {
        let instance = Instance {
            snapshot: self
                .snapshot
                .map_or_else(Snapshot::default, |packed| packed.0),
            one_offs: self.one_offs.0,
            through: self.through,
            carrying: self.carrying,
            last: self.last,
            length_micros: self.length_micros,
            hides_load: self.hides_load,
            failed: self.failed,
            left_early: self.left_early,
            let_go: self.let_go,
            rows: self.rows,
            used_up: self.used_up,
            started_micros: self.started_micros,
            seen: self.seen,
            first_second: self.first_second,
            heard_at: Some(now),
            closed_at: Some(now),
            restored: true,
            lost_at: self.lost_at,
            superseded: self.superseded,
            reports_parts: self.reports_parts,
            folded: self.folded,
            cores: self.cores,
            ..Instance::default()
        };
        (self.holder, instance)
    }
}

/// Samples in JSON: their own encoding, as base64.
pub mod samples {
    use serde::{Deserializer, Serializer, de};

    use super::bytes;
    use crate::stats::Snapshot;

    /// Writes samples.
    pub fn serialize<S: Serializer>(samples: &Snapshot, to: S) -> Result<S::Ok, S::Error> {
        bytes::serialize(&samples.encode(), to)
    }

    /// Reads samples.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Snapshot, D::Error> {
        Snapshot::decode(&bytes::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// A histogram in JSON: its own encoding, as base64.
pub mod histogram {
    use serde::{Deserializer, Serializer, de};

    use super::bytes;
    use crate::stats::Histogram;

    /// Writes a histogram.
    pub fn serialize<S: Serializer>(histogram: &Histogram, to: S) -> Result<S::Ok, S::Error> {
        bytes::serialize(&histogram.encode(), to)
    }

    /// Reads a histogram.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram, D::Error> {
        Histogram::decode(&bytes::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// Bytes in JSON, as base64.
pub mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes bytes.
    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}
