//! Statistics of a shard, written without a lock and handed over once per run second.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::engine::attempt::Events;
use crate::engine::attempt::sample::{LlmSample, Part, Phases, Sample, StreamSample};
use crate::engine::record::cpu::{CpuMeter, Lap};
use crate::engine::record::gauge::{Gauge, Gauges, Window};
use crate::engine::record::offered::{Offered, OpenShare};
use crate::plan::Profile;
use crate::stats::{
    ErrorClass, ErrorKey, Phase, Snapshot, StepStats, StreamStats, TaskStats, TrendStats,
};

/// Statistics of one run second that a shard hands over.
pub(crate) struct ShardDelta {
    /// Number of the shard.
    pub(crate) shard: u32,
    /// Run second, from 0.
    pub(crate) second: u32,
    /// Statistics of the second.
    pub(crate) snapshot: Snapshot,
    /// True if no further delta follows.
    pub(crate) last: bool,
    /// Time when the shard's load was over, without the drain; set only in the last delta, and
    /// `None` for a shard that died.
    pub(crate) ended: Option<Instant>,
    /// Reason why the shard ended before its time.
    pub(crate) failure: Option<String>,
}

/// Iteration that came to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Iteration {
    /// Position of the task in the plan.
    pub(crate) task: u16,
    /// Part of the run.
    pub(crate) part: Part,
    /// Time from the intended start of the iteration to the end of its last step.
    pub(crate) duration: Duration,
    /// True if a step failed.
    pub(crate) failed: bool,
}

/// Reason why an arrival became no iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// No slot of open load was free.
    NoSlot,
    /// No row of a feeder was available.
    NoRow,
}

/// Length of the intervals that are handed over.
const SECOND: Duration = Duration::from_secs(1);

/// Statistics of one shard, a second at a time.
pub(crate) struct Recorder {
    shard: u32,
    /// Steps by position in the plan's list.
    steps: Vec<StepStats>,
    /// Tasks by place in the plan's list, grown on demand.
    tasks: Vec<TaskStats>,
    /// Trends by place in the plan's list, grown on demand.
    trends: Vec<TrendStats>,
    /// Other parts of the second's snapshot; its `users` is kept up to date.
    rest: Snapshot,
    second: u32,
    /// End of the second.
    boundary: Instant,
    /// Meter of the process's CPU time; only one of its shards has it.
    cpu: Option<CpuMeter>,
    /// Load that this shard takes on.
    offered: Offered,
    /// Part of the run in which `gauges` measure; `None` for what is no load.
    window: Option<Window>,
    gauges: Gauges,
    /// Snapshot that found the queue full and is merged into the next.
    pending: Option<Snapshot>,
    queue: mpsc::Sender<ShardDelta>,
}

impl Recorder {
    /// Creates a recorder whose current second is `second` and ends at `boundary`.
    pub(crate) fn new(
        shard: u32,
        steps: usize,
        second: u32,
        boundary: Instant,
        cpu: Option<CpuMeter>,
        queue: mpsc::Sender<ShardDelta>,
    ) -> Self {
        Self {
            shard,
            steps: vec![StepStats::default(); steps],
            tasks: Vec::new(),
            trends: Vec::new(),
            rest: Snapshot::default(),
            second,
            boundary,
            cpu,
            offered: Offered::default(),
            window: None,
            gauges: Gauges::new(boundary - SECOND),
            pending: None,
            queue,
        }
    }

    /// Returns the end of the current second.
    pub(crate) fn boundary(&self) -> Instant {
        self.boundary
    }

    /// Hands over every second that has ended by `now`.
    pub(crate) fn roll(&mut self, now: Instant) {
        while now >= self.boundary {
            let snapshot = self.take(now);
            let delta = ShardDelta {
                shard: self.shard,
                second: self.second,
                snapshot,
                last: false,
                ended: None,
                failure: None,
            };
            // a reader that is far behind gets several seconds in one; load is never held up for it
            if let Err(mpsc::error::TrySendError::Full(delta)) = self.queue.try_send(delta) {
                self.pending = Some(delta.snapshot);
            }
            self.second += 1;
            self.boundary += SECOND;
        }
    }

    /// Returns the statistics that were not handed over yet.
    pub(crate) fn finish(&mut self, now: Instant) -> ShardDelta {
        self.roll(now);
        ShardDelta {
            shard: self.shard,
            second: self.second,
            snapshot: self.take(now),
            last: true,
            ended: None,
            failure: None,
        }
    }

    /// Takes on a share of open load, whose arrivals count as offered from now on. Returns its number.
    pub(crate) fn take_on(&mut self, share: OpenShare) -> usize {
        self.offered.open.push(share);
        self.offered.open.len() - 1
    }

    /// Goes on counting the arrivals of share number `share` by another profile.
    pub(crate) fn change_share(&mut self, share: usize, profile: Profile) {
        self.offered.open[share].follow(profile);
    }

    /// Notes that the arrivals of all shares of open load end at `at`, before their time.
    pub(crate) fn cut_arrivals(&mut self, at: Instant) {
        self.offered.cut = Some(self.offered.cut.map_or(at, |cut| cut.min(at)));
    }

    /// Measures from now on what is there at once: requests in flight, users and busy slots.
    pub(crate) fn measure_at_once(&mut self, window: Window) {
        self.window = Some(window);
    }

    /// Notes that the load was over at `at`: what is there later is no load.
    pub(crate) fn load_ended(&mut self, at: Instant) {
        if let Some(window) = &mut self.window {
            window.until = Some(window.until.map_or(at, |until| until.min(at)));
        }
    }

    /// Counts time for which users were there, and for which they were wanted but had retired.
    pub(crate) fn users_there(&mut self, there: Duration, retired: Duration) {
        self.rest.counters.user_micros += micros(there);
        self.rest.counters.retired_micros += micros(retired);
    }

    fn take(&mut self, now: Instant) -> Snapshot {
        let until = now.min(self.boundary);
        self.rest.counters.arrival_micros += self.offered.arrivals_until(until);
        if let Some(window) = self.window {
            self.rest.concurrency = self.gauges.take(until, self.boundary - SECOND, window);
        }
        let users = self.rest.users;
        let mut snapshot = std::mem::replace(
            &mut self.rest,
            Snapshot {
                users,
                ..Snapshot::default()
            },
        );
        snapshot.steps = taken(&mut self.steps, |step| !step.is_empty());
        snapshot.tasks = taken(&mut self.tasks, |task| task.finished > 0);
        snapshot.trends = taken(&mut self.trends, |trend| !trend.is_empty());
        if let Some(cpu) = &mut self.cpu {
            let Lap {
                used,
                available,
                throttled,
            } = cpu.lap(now);
            let counters = &mut snapshot.counters;
            (
                counters.cpu_micros,
                counters.core_micros,
                counters.throttled_micros,
            ) = (used, available, throttled);
        }
        if let Some(mut earlier) = self.pending.take() {
            earlier.follow(&snapshot);
            return earlier;
        }
        snapshot
    }

    /// Records a finished request. `why` is called only for the first failure of its kind in a
    /// second.
    pub(crate) fn record(&mut self, sample: Sample<'_>, why: impl FnOnce() -> String) {
        if sample.ended >= self.boundary {
            self.roll(sample.ended);
        }
        match sample.part {
            Part::Measured => self.record_measured(&sample, why),
            Part::Warmup => {
                self.rest.counters.warmup += u64::from(sample.sent);
                self.rest.counters.warmup_failures += u64::from(sample.failure.is_some());
            }
            Part::Control => {
                self.rest.counters.control += u64::from(sample.sent);
                if let Some(class) = sample.failure {
                    self.rest.counters.control_failures += 1;
                    self.record_error(&sample, class, why);
                }
            }
        }
    }

    fn record_measured(&mut self, sample: &Sample<'_>, why: impl FnOnce() -> String) {
        let step = &mut self.steps[usize::from(sample.step)];
        step.requests += 1;
        step.sent_bytes += sample.sent_bytes;
        step.received_bytes += sample.received_bytes;
        step.checks_passed += u64::from(sample.checks_passed);
        step.checks_failed += u64::from(sample.checks_failed);
        if sample.status != 0 {
            *step.statuses.entry(sample.status).or_default() += 1;
        }
        if let Some(good) = sample.good {
            step.goodput.judged += 1;
            step.goodput.good += u64::from(good);
        }
        if let Some(status) = sample.grpc_status {
            *step.grpc_statuses.entry(status).or_default() += 1;
        }
        match sample.failure {
            None => {
                step.latency.record(micros(sample.latency));
                step.service_time.record(micros(sample.service_time));
                record_phases(step, sample.phases);
                if let Some(stream) = sample.stream {
                    record_stream(step.stream.get_or_insert_default(), stream, sample.latency);
                }
            }
            Some(class) => {
                step.failures += 1;
                step.failed_latency.record(micros(sample.latency));
                if sample.stream.is_some_and(|stream| stream.llm.is_some()) {
                    // a step without a success is that of a language model too
                    let stream = step.stream.get_or_insert_default();
                    stream.llm.get_or_insert_default();
                }
                self.record_error(sample, class, why);
            }
        }
        if !sample.sent {
            self.rest.counters.unsent += 1;
        }
    }

    /// Counts messages of a stream that were sent at `at`.
    fn messages_sent(&mut self, step: u16, part: Part, at: Instant, count: u32) {
        if let Some(stream) = self.stream(step, part, at) {
            stream.messages_sent += u64::from(count);
        }
    }

    /// Counts a message or event of a stream that came at `at`. `gap` is the time since the one
    /// before, of those that count.
    fn message_received(&mut self, step: u16, part: Part, at: Instant, gap: Option<Duration>) {
        if let Some(stream) = self.stream(step, part, at) {
            stream.messages_received += 1;
            if let Some(gap) = gap {
                stream.gap.record(micros(gap));
            }
        }
    }

    /// Returns the stream statistics of a step for the second of `at`; `None` outside the measured
    /// part.
    fn stream(&mut self, step: u16, part: Part, at: Instant) -> Option<&mut StreamStats> {
        if at >= self.boundary {
            self.roll(at);
        }
        (part == Part::Measured)
            .then(|| &mut **self.steps[usize::from(step)].stream.get_or_insert_default())
    }

    /// Counts a request of a step with limits that was cut at the end of the run.
    fn missed(&mut self, step: u16, part: Part) {
        if part == Part::Measured {
            self.steps[usize::from(step)].goodput.judged += 1;
        }
    }

    fn record_error(
        &mut self,
        sample: &Sample<'_>,
        class: ErrorClass,
        why: impl FnOnce() -> String,
    ) {
        let status = Some(sample.status)
            .filter(|status| *status != 0)
            .or(sample.grpc_status.map(u16::from));
        let key = ErrorKey {
            class,
            step: sample.step,
            status,
        };
        self.rest.errors.record(key, why);
        if let Some(wait) = sample.retry_after {
            self.rest.errors.asked_to_wait(key, wait);
        }
    }

    /// Records that a step's `if`, `until` or `forEach` failed, and with it the iteration. `place`
    /// is the step's position among those with conditions or repetitions.
    pub(crate) fn condition_failed(
        &mut self,
        class: ErrorClass,
        place: u16,
        part: Part,
        why: impl FnOnce() -> String,
    ) {
        if part != Part::Warmup {
            let step = self.steps.len() as u16 + place;
            self.rest.errors.record(
                ErrorKey {
                    class,
                    step,
                    status: None,
                },
                why,
            );
        }
    }

    /// Records failures that no request waited for.
    pub(crate) fn background_failed(
        &mut self,
        class: ErrorClass,
        step: u16,
        count: u64,
        why: &str,
    ) {
        for _ in 0..count {
            self.rest.errors.record(
                ErrorKey {
                    class,
                    step,
                    status: None,
                },
                || why.to_owned(),
            );
        }
    }

    /// Counts an iteration that starts at `now`. `lag` is its delay after the intended start, if
    /// there was one.
    pub(crate) fn iteration_started(&mut self, now: Instant, lag: Option<Duration>, part: Part) {
        if now >= self.boundary {
            self.roll(now);
        }
        if part != Part::Measured {
            return;
        }
        self.rest.counters.iterations += 1;
        if let Some(lag) = lag {
            self.rest.lag.record(micros(lag));
        }
    }

    /// Records an iteration that came to its end.
    pub(crate) fn iteration_finished(&mut self, iteration: Iteration) {
        let Iteration {
            task,
            part,
            duration,
            failed,
        } = iteration;
        if part != Part::Measured {
            return;
        }
        self.rest.counters.finished += 1;
        let task = entry_at(&mut self.tasks, task);
        task.finished += 1;
        if failed {
            task.failed += 1;
        } else {
            task.duration.record(micros(duration));
        }
    }

    /// Counts dropped arrivals, except those of the warm-up.
    pub(crate) fn dropped(&mut self, count: u64, why: Dropped, part: Part) {
        if part == Part::Measured {
            self.rest.counters.dropped += count;
            self.rest.counters.feeder_drops += if why == Dropped::NoRow { count } else { 0 };
        }
    }

    /// Counts time for which a user paused because its requests failed at once.
    pub(crate) fn retry_paused(&mut self, time: Duration, part: Part) {
        if part == Part::Measured {
            self.rest.counters.retry_pause_micros += micros(time);
        }
    }

    fn retried(&mut self) {
        self.rest.counters.retries += 1;
    }

    fn redirected(&mut self) {
        self.rest.counters.redirect_hops += 1;
    }

    /// Records a number for the trend at `place` of the plan's list, in its base unit, or that an
    /// answer had none. It belongs to the second of the latest sample.
    pub(crate) fn trend(&mut self, place: u16, value: Option<u64>, part: Part) {
        if part != Part::Measured {
            return;
        }
        let trend = entry_at(&mut self.trends, place);
        match value {
            Some(value) => trend.values.record(value),
            None => trend.missing += 1,
        }
    }

    /// Sets the number of users alive and that of slots busy.
    pub(crate) fn users(&mut self, users: u64, slots: u64) {
        self.rest.users = users + slots;
        if self.window.is_none() {
            return;
        }
        let now = Instant::now();
        self.gauge(now, users, |gauges| &mut gauges.users);
        self.gauge(now, slots, |gauges| &mut gauges.slots);
    }

    /// Changes the number of requests in flight.
    fn in_flight(&mut self, at: Instant, change: impl FnOnce(u64) -> u64) {
        let count = change(self.gauges.in_flight.count());
        self.gauge(at, count, |gauges| &mut gauges.in_flight);
    }

    fn gauge(&mut self, at: Instant, count: u64, which: impl FnOnce(&mut Gauges) -> &mut Gauge) {
        let Some(window) = self.window else { return };
        if at >= self.boundary {
            self.roll(at);
        }
        which(&mut self.gauges).set(count, at, self.boundary - SECOND, window);
    }
}

impl Events for RefCell<Recorder> {
    fn connected(&self) {
        self.borrow_mut().rest.counters.connects += 1;
    }

    fn departed(&self, at: Instant) {
        self.borrow_mut().in_flight(at, |count| count + 1);
    }

    fn arrived(&self, at: Instant) {
        self.borrow_mut()
            .in_flight(at, |count| count.saturating_sub(1));
    }

    fn retried(&self) {
        self.borrow_mut().retried();
    }

    fn redirected(&self) {
        self.borrow_mut().redirected();
    }

    fn interrupted(&self) {
        self.borrow_mut().rest.counters.interrupted += 1;
    }

    fn missed(&self, step: u16, part: Part) {
        self.borrow_mut().missed(step, part);
    }

    fn messages_sent(&self, step: u16, part: Part, at: Instant, count: u32) {
        self.borrow_mut().messages_sent(step, part, at, count);
    }

    fn message_received(&self, step: u16, part: Part, at: Instant, gap: Option<Duration>) {
        self.borrow_mut().message_received(step, part, at, gap);
    }
}

fn record_phases(step: &mut StepStats, phases: Phases) {
    let Phases {
        dns,
        connect,
        tls,
        wait,
        download,
    } = phases;
    let named = [
        (Phase::Dns, dns),
        (Phase::Connect, connect),
        (Phase::Tls, tls),
        (Phase::Wait, wait),
        (Phase::Download, download),
    ];
    for (phase, time) in named {
        if let Some(time) = time {
            step.phases.record(phase, micros(time));
        }
    }
}

fn record_stream(stats: &mut StreamStats, stream: &StreamSample, latency: Duration) {
    let StreamSample { first, llm } = stream;
    first
        .iter()
        .for_each(|first| stats.first.record(micros(*first)));
    let Some(llm) = llm else { return };
    let LlmSample {
        first_answer,
        per_token,
        input_tokens,
        output_tokens,
        reasoning_tokens,
        counted_by_usage,
    } = llm;
    let stats = stats.llm.get_or_insert_default();
    first_answer
        .iter()
        .for_each(|time| stats.first_answer.record(micros(*time)));
    per_token
        .iter()
        .for_each(|time| stats.per_token.record(micros(*time)));
    if let Some(rate) = output_tokens
        .saturating_mul(1_000_000_000)
        .checked_div(micros(latency))
    {
        stats.token_rate.record(rate);
    }
    stats.input_tokens += input_tokens;
    stats.output_tokens += output_tokens;
    stats.reasoning_tokens += reasoning_tokens;
    stats.counted_by_usage += u64::from(*counted_by_usage);
    stats.counted_by_events += u64::from(!counted_by_usage);
}

/// Takes the items that have samples, with their positions, and resets them.
fn taken<T: Default>(places: &mut [T], has_samples: impl Fn(&T) -> bool) -> BTreeMap<u16, T> {
    let places = places
        .iter_mut()
        .enumerate()
        .filter(|(_, item)| has_samples(item));
    places
        .map(|(place, item)| (place as u16, std::mem::take(item)))
        .collect()
}

/// Returns the item at `place`, growing the list if needed.
fn entry_at<T: Default>(places: &mut Vec<T>, place: u16) -> &mut T {
    let place = usize::from(place);
    if place >= places.len() {
        places.resize_with(place + 1, T::default);
    }
    &mut places[place]
}

fn micros(time: Duration) -> u64 {
    // u128 arithmetic costs more than the histogram
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

#[cfg(test)]
mod tests;
