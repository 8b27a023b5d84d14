//! A shard's own statistics: written without a lock, handed over once a run second.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::transport::Phases;
use crate::stats::{ErrorClass, ErrorKey, Snapshot, StepStats};

/// What a shard hands over: what happened in a run second, or the last of it.
pub(super) struct ShardDelta {
    pub(super) shard: u32,
    pub(super) second: u32,
    pub(super) snapshot: Snapshot,
    pub(super) last: bool,
    /// Why the shard ended before its time.
    pub(super) failure: Option<String>,
}

/// One finished request.
pub(super) struct Sample {
    pub(super) step: u16,
    /// When it ended: decides the run second.
    pub(super) ended: Instant,
    /// From its intended time.
    pub(super) latency: Duration,
    /// From its first byte; unused for failures.
    pub(super) service_time: Duration,
    /// Where the service time and the time before it went.
    #[expect(dead_code, reason = "step statistics have no histograms for phases yet")]
    pub(super) phases: Phases,
    /// The answer's status, 0 without an answer.
    pub(super) status: u16,
    pub(super) failure: Option<ErrorClass>,
    /// Whether a byte of it was written.
    pub(super) sent: bool,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

pub(super) struct Recorder {
    shard: u32,
    /// Dense, by place in the plan's list of steps.
    steps: Vec<StepStats>,
    /// The rest of the second's snapshot; its `users` is kept up to date.
    rest: Snapshot,
    second: u32,
    /// When the second is over.
    boundary: Instant,
    /// Only one shard of the process has it.
    cpu: Option<CpuMeter>,
    /// A snapshot that found the queue full; goes with the next.
    kept_back: Option<Snapshot>,
    queue: mpsc::Sender<ShardDelta>,
}

impl Recorder {
    /// `boundary` is the end of `second`.
    pub(super) fn new(
        shard: u32,
        steps: usize,
        second: u32,
        boundary: Instant,
        cpu: Option<CpuMeter>,
        queue: mpsc::Sender<ShardDelta>,
    ) -> Self {
        Self { shard, steps: vec![StepStats::default(); steps], rest: Snapshot::default(), second, boundary, cpu, kept_back: None, queue }
    }

    pub(super) fn boundary(&self) -> Instant {
        self.boundary
    }

    /// Hands over every second that is over at `now`.
    pub(super) fn roll(&mut self, now: Instant) {
        while now >= self.boundary {
            let snapshot = self.take(now);
            let delta = ShardDelta { shard: self.shard, second: self.second, snapshot, last: false, failure: None };
            // a reader that is far behind gets several seconds in one; load is never held up for it
            if let Err(mpsc::error::TrySendError::Full(delta)) = self.queue.try_send(delta) {
                self.kept_back = Some(delta.snapshot);
            }
            self.second += 1;
            self.boundary += Duration::from_secs(1);
        }
    }

    /// What has not been handed over yet.
    pub(super) fn finish(&mut self, now: Instant) -> ShardDelta {
        self.roll(now);
        ShardDelta { shard: self.shard, second: self.second, snapshot: self.take(now), last: true, failure: None }
    }

    fn take(&mut self, now: Instant) -> Snapshot {
        let users = self.rest.users;
        let mut snapshot = std::mem::replace(&mut self.rest, Snapshot { users, ..Snapshot::default() });
        let steps = self.steps.iter_mut().enumerate().filter(|(_, step)| step.requests > 0);
        snapshot.steps = steps.map(|(place, step)| (place as u16, std::mem::take(step))).collect::<BTreeMap<_, _>>();
        if let Some(cpu) = &mut self.cpu {
            (snapshot.counters.cpu_micros, snapshot.counters.core_micros) = cpu.lap(now);
        }
        if let Some(mut earlier) = self.kept_back.take() {
            earlier.follow(&snapshot);
            return earlier;
        }
        snapshot
    }

    /// `why` is asked only for the first failure of its kind in a second.
    pub(super) fn record(&mut self, sample: Sample, why: impl FnOnce() -> String) {
        if sample.ended >= self.boundary {
            self.roll(sample.ended);
        }
        let step = &mut self.steps[usize::from(sample.step)];
        step.requests += 1;
        step.sent_bytes += sample.sent_bytes;
        step.received_bytes += sample.received_bytes;
        if sample.status != 0 {
            *step.statuses.entry(sample.status).or_default() += 1;
        }
        match sample.failure {
            None => {
                step.latency.record(micros(sample.latency));
                step.service_time.record(micros(sample.service_time));
            }
            Some(class) => {
                step.failures += 1;
                step.failed_latency.record(micros(sample.latency));
                let status = Some(sample.status).filter(|status| *status != 0);
                self.rest.errors.record(ErrorKey { class, step: sample.step, status }, why);
            }
        }
        if !sample.sent {
            self.rest.counters.unsent += 1;
        }
    }

    /// An iteration starts at `now`; `lag` after it should have, where there was such a time.
    pub(super) fn iteration_started(&mut self, now: Instant, lag: Option<Duration>) {
        if now >= self.boundary {
            self.roll(now);
        }
        self.rest.counters.iterations += 1;
        if let Some(lag) = lag {
            self.rest.lag.record(micros(lag));
        }
    }

    pub(super) fn iteration_finished(&mut self) {
        self.rest.counters.finished += 1;
    }

    pub(super) fn dropped(&mut self) {
        self.rest.counters.dropped += 1;
    }

    pub(super) fn interrupted(&mut self) {
        self.rest.counters.interrupted += 1;
    }

    pub(super) fn connected(&mut self) {
        self.rest.counters.connects += 1;
    }

    pub(super) fn users(&mut self, users: u64) {
        self.rest.users = users;
    }
}

fn micros(time: Duration) -> u64 {
    // u128 arithmetic costs more than the histogram
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

/// CPU time of the whole process, and how much there could have been.
pub(super) struct CpuMeter {
    cores: u64,
    used: u64,
    since: Instant,
}

impl CpuMeter {
    pub(super) fn new(now: Instant) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Self { cores, used: process_cpu_micros(), since: now }
    }

    /// CPU time used and available since the last lap, microseconds.
    fn lap(&mut self, now: Instant) -> (u64, u64) {
        let used = process_cpu_micros();
        let lap = (used.saturating_sub(self.used), self.cores * micros(now.saturating_duration_since(self.since)));
        (self.used, self.since) = (used, now);
        lap
    }
}

pub(super) fn process_cpu_micros() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: getrusage fills the struct it is given, and RUSAGE_SELF with a valid pointer cannot fail
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    micros(usage.ru_utime) + micros(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ended: Instant) -> Sample {
        let latency = Duration::from_micros(5);
        Sample {
            step: 0,
            ended,
            latency,
            service_time: latency,
            phases: Phases::default(),
            status: 200,
            failure: None,
            sent: true,
            sent_bytes: 1,
            received_bytes: 2,
        }
    }

    #[test]
    fn a_sample_belongs_to_the_second_in_which_it_ended() {
        let (queue, mut deltas) = mpsc::channel(8);
        let zero = Instant::now();
        let at = |seconds: f64| zero + Duration::from_secs_f64(seconds);
        let mut recorder = Recorder::new(0, 1, 0, at(1.0), None, queue);
        for ended in [0.1, 0.999, 1.0, 3.5] {
            recorder.record(sample(at(ended)), String::new);
        }
        let last = recorder.finish(at(3.6));
        let mut seen = Vec::new();
        while let Ok(delta) = deltas.try_recv() {
            seen.push((delta.second, delta.snapshot.requests()));
        }
        assert_eq!(seen, [(0, 2), (1, 1), (2, 0)]);
        assert_eq!((last.second, last.snapshot.requests()), (3, 1));
    }

    #[test]
    fn a_reader_far_behind_loses_nothing() {
        let (queue, mut deltas) = mpsc::channel(1);
        let zero = Instant::now();
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        let mut recorder = Recorder::new(0, 1, 0, at(1), None, queue);
        for second in 0..5 {
            recorder.record(sample(at(second)), String::new);
        }
        let last = recorder.finish(at(5));
        let first = deltas.try_recv().unwrap();
        assert_eq!(first.snapshot.requests() + last.snapshot.requests(), 5);
    }
}
