//! A worker's statistics of an interval: counts and histograms that can be merged in any order.

use std::collections::BTreeMap;

use super::codec::{Reader, Writer};
use super::counters::{COUNT, COUNT_OF_3};
use super::{
    Concurrency, Counters, ErrorTable, Histogram, StatsError, StepStats, TaskStats, TrendStats,
};

/// Version of the encoding. Version 3, which lacks the counters of offered load and what was there at
/// once, is read as well; any other is refused.
pub const FORMAT: u64 = 4;

/// Oldest version that is read, and written for a reader that knows no newer one.
pub const OLDEST_FORMAT: u64 = 3;

/// Most steps, tasks or trends of a snapshot; bounds the memory that decoding takes.
pub const MAX_PLACES: usize = 1024;

/// Statistics of an interval, or of several merged. Only steps, tasks and trends with samples are
/// in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Samples by position in the plan's list of steps.
    pub steps: BTreeMap<u16, StepStats>,
    /// Iterations by position in the plan's list of tasks.
    pub tasks: BTreeMap<u16, TaskStats>,
    /// Recorded numbers by position in the plan's list of trends.
    pub trends: BTreeMap<u16, TrendStats>,
    /// Events that are only counted.
    pub counters: Counters,
    /// Failures by class, step and status.
    pub errors: ErrorTable,
    /// Schedule lag: first action of an iteration minus its intended time.
    pub lag: Histogram,
    /// Users alive (closed load) or busy slots (open load) at the end of the interval.
    pub users: u64,
    /// Requests in flight, users and busy slots over the interval, as far as it is measured.
    pub concurrency: Concurrency,
}

impl Snapshot {
    /// Memory of the histograms, in bytes: almost all that there is, and about what
    /// [`encode`](Self::encode) takes at most.
    pub fn heap(&self) -> usize {
        let of_steps = self.steps.values().flat_map(StepStats::histograms);
        let of_tasks = self.tasks.values().map(|task| &task.duration);
        let of_trends = self.trends.values().map(|trend| &trend.values);
        let all = of_steps.chain(of_tasks).chain(of_trends);
        all.chain([&self.lag]).map(Histogram::heap).sum()
    }

    /// Adds the statistics of another shard or worker in the same interval: everything adds up,
    /// `users` too.
    pub fn merge(&mut self, other: &Snapshot) {
        let Snapshot {
            steps,
            tasks,
            trends,
            counters,
            errors,
            lag,
            users,
            concurrency,
        } = other;
        for (place, step) in steps {
            self.steps.entry(*place).or_default().merge(step);
        }
        for (place, task) in tasks {
            self.tasks.entry(*place).or_default().merge(task);
        }
        for (place, trend) in trends {
            self.trends.entry(*place).or_default().merge(trend);
        }
        self.counters.merge(counters);
        self.errors.merge(errors);
        self.lag.merge(lag);
        self.users += users;
        self.concurrency.merge(concurrency);
    }

    /// Adds the statistics of the same fleet in a later interval: like [`merge`](Self::merge), but
    /// `users` becomes the later number, since a gauge does not add up over time, and of what was
    /// there at once the larger number stays.
    pub fn follow(&mut self, later: &Snapshot) {
        let mut concurrency = std::mem::take(&mut self.concurrency);
        concurrency.follow(&later.concurrency);
        self.merge(later);
        self.users = later.users;
        self.concurrency = concurrency;
    }

    /// Number of measured requests over all steps.
    pub fn requests(&self) -> u64 {
        self.steps.values().map(|step| step.requests).sum()
    }

    /// Number of failed measured requests over all steps.
    pub fn failures(&self) -> u64 {
        self.steps.values().map(|step| step.failures).sum()
    }

    /// Number of requests the target must have received: all that were written at least in part,
    /// whatever became of them.
    pub fn received_by_target(&self) -> u64 {
        let Counters {
            interrupted,
            unsent,
            warmup,
            control,
            retries,
            redirect_hops,
            ..
        } = self.counters;
        (self.requests() + interrupted + warmup + control + retries + redirect_hops)
            .saturating_sub(unsent)
    }

    /// Encodes the snapshot in format [`FORMAT`].
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(FORMAT)
    }

    /// Encodes the snapshot for a reader that knows formats up to `format`; one older than
    /// [`OLDEST_FORMAT`] is taken for that.
    pub fn encode_as(&self, format: u64) -> Vec<u8> {
        let format = format.clamp(OLDEST_FORMAT, FORMAT);
        let Snapshot {
            steps,
            tasks,
            trends,
            counters,
            errors,
            lag,
            users,
            concurrency,
        } = self;
        let mut out = Writer::default();
        out.number(format);
        counters.write(&mut out, counters_in(format));
        out.number(*users);
        out.piece(&lag.encode());
        errors.write(&mut out);
        write_places(&mut out, steps, StepStats::write);
        write_places(&mut out, tasks, TaskStats::write);
        write_places(&mut out, trends, TrendStats::write);
        if format > OLDEST_FORMAT {
            concurrency.write(&mut out);
        }
        out.0
    }

    /// Reads what [`encode`](Self::encode) wrote. Any bytes are safe: the memory taken is bounded
    /// by their number.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, StatsError> {
        let mut reader = Reader(bytes);
        let format = reader.number()?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
            return Err(StatsError::Format { found: format });
        }
        let snapshot = Snapshot {
            counters: Counters::read(&mut reader, counters_in(format))?,
            users: reader.number()?,
            lag: Histogram::decode(reader.piece()?)?,
            errors: ErrorTable::read(&mut reader)?,
            steps: read_places(&mut reader, StepStats::read)?,
            tasks: read_places(&mut reader, TaskStats::read)?,
            trends: read_places(&mut reader, TrendStats::read)?,
            concurrency: if format > OLDEST_FORMAT {
                Concurrency::read(&mut reader)?
            } else {
                Concurrency::default()
            },
        };
        reader.end()?;
        Ok(snapshot)
    }
}

/// Tells whether an encoded snapshot says how much load was offered; one of an older worker does
/// not.
pub fn tells_offered_load(bytes: &[u8]) -> bool {
    Reader(bytes).number() == Ok(FORMAT)
}

/// Number of counters in a format.
fn counters_in(format: u64) -> usize {
    if format == OLDEST_FORMAT {
        COUNT_OF_3
    } else {
        COUNT
    }
}

fn write_places<T>(out: &mut Writer, places: &BTreeMap<u16, T>, write: impl Fn(&T, &mut Writer)) {
    out.number(places.len() as u64);
    for (place, item) in places {
        out.number((*place).into());
        write(item, out);
    }
}

fn read_places<'a, T>(
    reader: &mut Reader<'a>,
    read: impl Fn(&mut Reader<'a>) -> Result<T, StatsError>,
) -> Result<BTreeMap<u16, T>, StatsError> {
    let count: usize = reader.small()?;
    if count > MAX_PLACES {
        return Err(StatsError::Malformed(
            "there are too many steps, tasks or trends",
        ));
    }
    let mut places = BTreeMap::new();
    for _ in 0..count {
        let place = reader.small()?;
        if places.insert(place, read(reader)?).is_some() {
            return Err(StatsError::Malformed(
                "a step, task or trend is there twice",
            ));
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ErrorClass, ErrorKey, LlmStats, Phase, StreamStats};
    use super::*;

    /// A sample: step, latency, and the status if it failed.
    type Sample = (u16, u64, Option<u16>);

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        prop::collection::vec(
            (0u16..5, 1u64..10_000_000, prop::option::of(400u16..405)),
            0..100,
        )
    }

    fn record(snapshot: &mut Snapshot, (place, us, failed): Sample) {
        let step = snapshot.steps.entry(place).or_default();
        step.requests += 1;
        *step.statuses.entry(failed.unwrap_or(200)).or_default() += 1;
        match failed {
            None => step.latency.record(us),
            Some(status) => {
                step.failures += 1;
                step.failed_latency.record(us);
                snapshot.errors.record(
                    ErrorKey {
                        class: ErrorClass::of_status(status),
                        step: place,
                        status: Some(status),
                    },
                    || format!("{us}"),
                );
            }
        }
        step_parts(snapshot.steps.entry(place).or_default(), us);
        let task = snapshot.tasks.entry(place % 2).or_default();
        task.finished += 1;
        task.duration.record(us + 1);
        let trend = snapshot.trends.entry(place).or_default();
        trend.values.record(us / 3);
        trend.missing += us % 5;
        snapshot.counters.iterations += 1;
        snapshot.counters.retries += us % 2;
        snapshot.lag.record(us % 100);
        snapshot.users += 1;
        snapshot.concurrency.in_flight.micros += us;
    }

    fn step_parts(step: &mut StepStats, us: u64) {
        step.checks_passed += us % 3;
        step.checks_failed += us % 2;
        step.goodput.judged += 1;
        step.goodput.good += us % 2;
        if !us.is_multiple_of(3) {
            stream_parts(step.stream.get_or_insert_default(), us);
        }
        Phase::ALL
            .into_iter()
            .take(us as usize % 6)
            .for_each(|phase| step.phases.record(phase, us));
    }

    /// Messages of a stream may come in an interval in which no request ends, and of few of them a
    /// model's answer is made.
    fn stream_parts(stream: &mut StreamStats, us: u64) {
        stream.messages_sent += us % 7;
        stream.messages_received += 1;
        stream.gap.record(us / 2);
        if us % 3 == 1 {
            stream.first.record(us);
            let llm = stream.llm.get_or_insert_default();
            llm.first_answer.record(us);
            llm.per_token.record(us / 5);
            llm.token_rate.record(us * 3);
            llm.input_tokens += us % 11;
            llm.output_tokens += us % 13;
            llm.reasoning_tokens += us % 5;
            llm.counted_by_usage += us % 2;
            llm.counted_by_events += 1 - us % 2;
        }
    }

    fn of(samples: &[Sample]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        samples
            .iter()
            .for_each(|sample| record(&mut snapshot, *sample));
        snapshot
    }

    #[test]
    fn a_reader_of_the_release_before_gets_all_but_the_offered_load() {
        let mut snapshot = of(&[(1, 5, None), (2, 7, Some(401))]);
        snapshot.counters.user_micros = 7;
        let older = snapshot.encode_as(0);
        assert_eq!(older[0], OLDEST_FORMAT as u8);
        assert!(!tells_offered_load(&older) && tells_offered_load(&snapshot.encode()));
        let read = Snapshot::decode(&older).unwrap();
        snapshot.counters.user_micros = 0;
        snapshot.concurrency = Concurrency::default();
        assert_eq!(read, snapshot);
    }

    #[test]
    fn another_format_is_named() {
        assert_eq!(Snapshot::decode(&[9]), Err(StatsError::Format { found: 9 }));
        assert_eq!(Snapshot::decode(&[]), Err(StatsError::Truncated));
    }

    #[test]
    fn the_target_received_every_kind_of_request_that_was_sent() {
        let counters = Counters {
            unsent: 1,
            interrupted: 2,
            warmup: 10,
            warmup_failures: 1000,
            control: 20,
            control_failures: 1000,
            retries: 40,
            redirect_hops: 80,
            ..Counters::default()
        };
        let step = StepStats {
            requests: 100,
            failures: 50,
            ..StepStats::default()
        };
        let snapshot = Snapshot {
            steps: [(0, step)].into(),
            counters,
            ..Snapshot::default()
        };
        assert_eq!(
            snapshot.received_by_target(),
            100 - 1 + 2 + 10 + 20 + 40 + 80
        );
    }

    /// Each step a task of its own whose answers are a model's, all numbers recorded that can be,
    /// each histogram densely filled from 1 ms to 1 min.
    #[test]
    fn the_statistics_of_200_steps_fit_64_megabytes() {
        let mut dense = Histogram::new();
        let mut us = 1_000;
        while us < 60_000_000 {
            dense.record(us);
            us += (us / 1024).max(1);
        }
        let of_streams = size_of::<StreamStats>() + size_of::<LlmStats>();
        // of latencies, phases, a stream, a model and a task; and as many as numbers may be
        // recorded
        let histograms = 200 * (3 + Phase::ALL.len() + 2 + 3 + 1) + 32;
        let rest = 200 * (size_of::<StepStats>() + of_streams + size_of::<TaskStats>());
        let whole = histograms * dense.heap() + rest;
        assert!(whole < 64 << 20, "{} MiB", whole >> 20);
        // what one second adds on each thread: a hundred samples a step, as far apart as they can
        // be
        let mut sparse = Histogram::new();
        (0..100).for_each(|i| sparse.record(dense.percentile(f64::from(i))));
        let second = histograms * sparse.heap() + rest;
        assert!(second < 32 << 20, "{} MiB", second >> 20);
    }

    #[test]
    fn users_add_over_places_and_not_over_time() {
        let at = |users| Snapshot {
            users,
            ..Snapshot::default()
        };
        let mut places = at(3);
        places.merge(&at(4));
        assert_eq!(places.users, 7);
        places.follow(&at(2));
        assert_eq!(places.users, 2);
    }

    proptest! {
        // each case makes many histograms; more of them would cost seconds in an unoptimised build
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_split_over_workers_gives_what_one_would(samples in samples(), workers in 1usize..6, salt in any::<u64>(), rotate in 0usize..6) {
            let mut parts = vec![Vec::new(); workers];
            for (i, sample) in samples.iter().enumerate() {
                parts[(salt.wrapping_mul(i as u64 + 1) >> 32) as usize % workers].push(*sample);
            }
            parts.rotate_left(rotate % workers);
            let mut merged = Snapshot::default();
            // over the wire, as workers do
            for part in &parts { merged.merge(&Snapshot::decode(&of(part).encode()).unwrap()); }
            let whole = of(&samples);
            prop_assert_eq!(&merged.steps, &whole.steps);
            prop_assert_eq!((&merged.tasks, &merged.trends), (&whole.tasks, &whole.trends));
            prop_assert_eq!(merged.counters, whole.counters);
            prop_assert_eq!(&merged.concurrency, &whole.concurrency);
            prop_assert_eq!(&merged.lag, &whole.lag);
            prop_assert_eq!(merged.errors.total(), whole.errors.total());
            for (place, step) in &merged.steps {
                for p in [50.0, 95.0, 99.0, 99.9] { prop_assert_eq!(step.latency.percentile(p), whole.steps[place].latency.percentile(p)); }
            }
        }

        #[test]
        fn what_is_encoded_reads_back(samples in samples()) {
            let snapshot = of(&samples);
            prop_assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _unused = Snapshot::decode(&bytes);
            if let Some(first) = bytes.first_mut() { *first = FORMAT as u8; }
            let _unused = Snapshot::decode(&bytes);
        }

        #[test]
        fn damaged_bytes_never_panic(samples in samples(), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = of(&samples).encode();
            let place = at.index(bytes.len());
            bytes[place] = with;
            let _unused = Snapshot::decode(&bytes);
            let _unused = Snapshot::decode(&bytes[..cut.index(bytes.len())]);
        }
    }
}
