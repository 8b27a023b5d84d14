//! A fleet of workers that send samples, and the master that takes them in.

use std::time::{Duration, Instant};

use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use starling::master::{Coordinator, Memory};
use starling::stats::{Snapshot, StepStats};
use starling::wire::PROTOCOL_VERSION;
use starling::wire::control::{Grant, GrantAction};
use starling::wire::fleet::{self, FromMaster, FromWorker, from_worker};
use starling::wire::layout::RunFile;
use tokio::sync::mpsc;

/// Steps of the plan.
pub const STEPS: u16 = 200;
/// Different latencies of a step in one second.
const DISTINCT: usize = 50;
/// Different seconds of a worker, which come again and again.
const VARIANTS: u32 = 4;
/// Seconds between two checkpoints.
const CHECKPOINT: u32 = 5;

/// What the master spent.
#[derive(Debug, Default)]
pub struct Cost {
    /// CPU time for what workers sent.
    pub merging: Duration,
    /// CPU time for checkpoints, under the lock and beside it.
    pub checkpoints: Duration,
    pub longest_progress: Duration,
    pub longest_metrics: Duration,
    pub longest_hold: Duration,
    /// Bytes that workers sent.
    pub bytes: u64,
}

struct Worker {
    id: u64,
    heard: mpsc::Receiver<FromMaster>,
    /// Encoded samples of a second.
    samples: Vec<Vec<u8>>,
}

/// A run in the making.
pub struct Fleet {
    coordinator: Coordinator,
    workers: Vec<Worker>,
    zero: Instant,
    second: u32,
    pub cost: Cost,
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// Has all workers join and start.
    pub fn started(workers: u32, active: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let zero = Instant::now();
        let memory = Memory::at(folder.path());
        let mut coordinator = Coordinator::new(run_file(workers), memory, zero).unwrap();
        let workers: Vec<Worker> = (0..workers)
            .map(|index| {
                let (sender, heard) = mpsc::channel(64);
                let hello = fleet::Hello {
                    protocol: PROTOCOL_VERSION,
                    run: "r-1".into(),
                    index,
                    instance: format!("w{index}"),
                    takes_parts: true,
                    cores: 1,
                    ..Default::default()
                };
                let id = coordinator.join(&hello, sender, zero).unwrap();
                let samples = (0..VARIANTS).map(|nth| samples(index, nth, active).encode());
                Worker {
                    id,
                    heard,
                    samples: samples.collect(),
                }
            })
            .collect();
        for worker in &workers {
            let ready = from_worker::Message::Ready(fleet::Ready::default());
            coordinator.on_message(worker.id, ready, 1, zero);
        }
        let grant = Grant {
            run: "r-1".into(),
            epoch: 1,
            incarnation: coordinator.incarnation().to_owned(),
            action: GrantAction::Start,
            deadline_micros: 0,
            workers: None,
        };
        coordinator.grant(&grant, zero).unwrap();
        Self {
            coordinator,
            workers,
            zero,
            second: 0,
            cost: Cost::default(),
            _folder: folder,
        }
    }

    /// Has every worker deliver the next second of the run, and the operator ask.
    pub fn pass_second(&mut self) {
        let second = self.second;
        self.second += 1;
        // the load begins some seconds after the grant
        let now = self.zero + Duration::from_secs(u64::from(second) + 10);
        for worker in &mut self.workers {
            let bytes = worker.message(second);
            self.cost.bytes += bytes.len() as u64;
            let before = cpu();
            let message = FromWorker::decode(&bytes[..]).unwrap();
            let sent = message.sent_micros;
            self.coordinator
                .on_message(worker.id, message.message.unwrap(), sent, now);
            self.cost.merging += cpu() - before;
            while worker.heard.try_recv().is_ok() {}
        }
        let before = cpu();
        self.coordinator.tick(now);
        self.cost.merging += cpu() - before;
        self.ask(now);
        if second.is_multiple_of(CHECKPOINT) {
            self.check_point(now);
        }
    }

    /// Asks as the operator and a Prometheus do.
    fn ask(&mut self, now: Instant) {
        let before = cpu();
        let progress = self.coordinator.progress(now);
        self.cost.longest_progress = self.cost.longest_progress.max(cpu() - before);
        assert!(progress.requests > 0, "{progress:?}");
        let before = cpu();
        assert!(self.coordinator.merged().requests() > 0);
        self.cost.longest_metrics = self.cost.longest_metrics.max(cpu() - before);
    }

    fn check_point(&mut self, now: Instant) {
        let before = cpu();
        let begun = self.coordinator.checkpoint(now);
        let held = cpu() - before;
        if let Some((memory, checkpoint)) = begun {
            memory.store_checkpoint(&checkpoint).unwrap();
        }
        let stored = cpu();
        self.coordinator.checkpointed(None);
        let held = held.max(cpu() - stored);
        self.cost.longest_hold = self.cost.longest_hold.max(held);
        self.cost.checkpoints += cpu() - before;
    }

    /// Encoded samples of all workers in a second.
    pub fn samples(&self, second: u32) -> impl Iterator<Item = &[u8]> {
        let nth = (second % VARIANTS) as usize;
        self.workers
            .iter()
            .map(move |worker| &worker.samples[nth][..])
    }
}

impl Worker {
    fn message(&self, second: u32) -> Vec<u8> {
        let delta = fleet::Delta {
            second,
            snapshot: self.samples[(second % VARIANTS) as usize].clone(),
            ..fleet::Delta::default()
        };
        FromWorker {
            message: Some(from_worker::Message::Delta(delta)),
            sent_micros: u64::from(second) * 1_000_000 + 1,
        }
        .encode_to_vec()
    }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = times.split_whitespace().next().unwrap();
    Duration::from_nanos(nanos.parse().unwrap())
}

fn samples(worker: u32, nth: u32, active: u16) -> Snapshot {
    let mut dice = StdRng::seed_from_u64(u64::from(worker) * u64::from(VARIANTS) + u64::from(nth));
    let mut snapshot = Snapshot::default();
    // another part of the plan on each worker
    let first = (worker * u32::from(active)) % u32::from(STEPS);
    for step in 0..active {
        let mut stats = StepStats::default();
        for _ in 0..DISTINCT {
            let micros = dice.random_range(1_000..200_000);
            stats.requests += 1;
            stats.latency.record(micros);
            stats.service_time.record(micros);
        }
        let place = (first as u16 + step) % STEPS;
        snapshot.steps.insert(place, stats);
    }
    snapshot.counters.iterations = 50;
    snapshot.counters.arrival_micros = 50_000_000;
    snapshot.users = 10;
    snapshot
}

fn run_file(workers: u32) -> RunFile {
    let steps: Vec<_> = (0..STEPS)
        .map(|step| json!({"name": format!("s{step}"), "http": {"path": format!("/{step}")}}))
        .collect();
    let spec = json!({
        "target": {"url": "http://t"},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": steps}]}],
        "load": {"open": {"rate": 100_000, "duration": "10m", "maxInFlight": 100_000}},
        "thresholds": [{"metric": "latency", "expr": "p(95) < 1s", "abortOnFail": true}],
        "run": {"preflight": "Off"},
    });
    let checked = starling::crd::check(&serde_json::from_value(spec).unwrap()).unwrap();
    RunFile {
        run: "r-1".into(),
        name: "r".into(),
        namespace: None,
        digest: String::new(),
        workers,
        grace: Duration::from_secs(90),
        on_loss: Default::default(),
        overrides: vec![],
        warnings: vec![],
        plan: checked.plan,
    }
}
