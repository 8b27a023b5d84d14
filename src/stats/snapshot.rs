//! What a worker hands over per interval: a commutative monoid of counts and histograms.

use std::collections::BTreeMap;

use super::codec::{Reader, Writer};
use super::{ErrorTable, Histogram, StatsError};

/// Version of the encoding.
pub const FORMAT: u64 = 1;

/// Steps a snapshot may hold; bounds the memory that decoding takes.
pub const MAX_STEPS: usize = 256;

/// Samples of one step, each in the interval in which it ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepStats {
    /// Finished requests, failed ones included.
    pub requests: u64,
    pub failures: u64,
    /// Bytes of heads and bodies, before TLS.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Intended time to last byte, of successes.
    pub latency: Histogram,
    /// First byte written to last byte, of successes.
    pub service_time: Histogram,
    /// Intended time to the failure, of failures.
    pub failed_latency: Histogram,
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
}

/// Everything that is only counted.
///
/// What the target received = requests (of all steps) - `unsent` + `interrupted`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Iterations started.
    pub iterations: u64,
    /// Iterations ended, whether each step succeeded or one failed.
    pub finished: u64,
    /// Arrivals for which no slot was free.
    pub dropped: u64,
    /// Requests that were written, at least in part, and cut at the end of the run; in no step's `requests`.
    pub interrupted: u64,
    /// Finished (failed) requests of which no byte was written.
    pub unsent: u64,
    /// Connections opened.
    pub connects: u64,
    /// CPU time of the process.
    pub cpu_micros: u64,
    /// CPU time there was: usable cores times the interval.
    pub core_micros: u64,
}

/// Sparse: only steps with samples are in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// By place in the plan's list of steps.
    pub steps: BTreeMap<u16, StepStats>,
    pub counters: Counters,
    pub errors: ErrorTable,
    /// Schedule lag: first action of an iteration minus its intended time.
    pub lag: Histogram,
    /// Users alive (closed load) or iterations in flight (open load) at the end of the interval.
    pub users: u64,
}

impl StepStats {
    pub fn merge(&mut self, other: &StepStats) {
        let StepStats { requests, failures, sent_bytes, received_bytes, latency, service_time, failed_latency, statuses } = other;
        self.requests += requests;
        self.failures += failures;
        self.sent_bytes += sent_bytes;
        self.received_bytes += received_bytes;
        self.latency.merge(latency);
        self.service_time.merge(service_time);
        self.failed_latency.merge(failed_latency);
        for (status, count) in statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }

    fn write(&self, out: &mut Writer) {
        let StepStats { requests, failures, sent_bytes, received_bytes, latency, service_time, failed_latency, statuses } = self;
        for number in [requests, failures, sent_bytes, received_bytes] {
            out.number(*number);
        }
        for histogram in [latency, service_time, failed_latency] {
            out.piece(&histogram.encode());
        }
        out.number(statuses.len() as u64);
        for (status, count) in statuses {
            out.number((*status).into());
            out.number(*count);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        let mut step = Self {
            requests: reader.number()?,
            failures: reader.number()?,
            sent_bytes: reader.number()?,
            received_bytes: reader.number()?,
            latency: Histogram::decode(reader.piece()?)?,
            service_time: Histogram::decode(reader.piece()?)?,
            failed_latency: Histogram::decode(reader.piece()?)?,
            statuses: BTreeMap::new(),
        };
        for _ in 0..reader.number()? {
            let status = reader.small()?;
            if step.statuses.insert(status, reader.number()?).is_some() {
                return Err(StatsError::Malformed("a status is there twice"));
            }
        }
        Ok(step)
    }
}

impl Counters {
    pub fn merge(&mut self, other: &Counters) {
        let theirs = other.to_array();
        for (ours, theirs) in self.as_array_mut().into_iter().zip(theirs) {
            *ours += theirs;
        }
    }

    /// In the order of the encoding; new counters go to the end.
    fn as_array_mut(&mut self) -> [&mut u64; 8] {
        let Self { iterations, finished, dropped, interrupted, unsent, connects, cpu_micros, core_micros } = self;
        [iterations, finished, dropped, interrupted, unsent, connects, cpu_micros, core_micros]
    }

    fn to_array(mut self) -> [u64; 8] {
        self.as_array_mut().map(|number| *number)
    }
}

impl Snapshot {
    /// Adds what another shard or worker did in the same interval: everything adds up, `users` too.
    pub fn merge(&mut self, other: &Snapshot) {
        let Snapshot { steps, counters, errors, lag, users } = other;
        for (place, step) in steps {
            self.steps.entry(*place).or_default().merge(step);
        }
        self.counters.merge(counters);
        self.errors.merge(errors);
        self.lag.merge(lag);
        self.users += users;
    }

    /// Adds what the same fleet did in a later interval: as [`merge`](Self::merge), but `users` becomes the later number, since a
    /// gauge does not add up over time.
    pub fn follow(&mut self, later: &Snapshot) {
        self.merge(later);
        self.users = later.users;
    }

    pub fn requests(&self) -> u64 {
        self.steps.values().map(|step| step.requests).sum()
    }

    pub fn failures(&self) -> u64 {
        self.steps.values().map(|step| step.failures).sum()
    }

    /// Requests the target must have received.
    pub fn received_by_target(&self) -> u64 {
        (self.requests() + self.counters.interrupted).saturating_sub(self.counters.unsent)
    }

    pub fn encode(&self) -> Vec<u8> {
        let Snapshot { steps, counters, errors, lag, users } = self;
        let mut out = Writer::default();
        out.number(FORMAT);
        counters.to_array().into_iter().for_each(|number| out.number(number));
        out.number(*users);
        out.piece(&lag.encode());
        errors.write(&mut out);
        out.number(steps.len() as u64);
        for (place, step) in steps {
            out.number((*place).into());
            step.write(&mut out);
        }
        out.0
    }

    /// Reads what [`encode`](Self::encode) wrote. Any bytes are safe: the memory taken is bounded by their number.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, StatsError> {
        let mut reader = Reader(bytes);
        let format = reader.number()?;
        if format != FORMAT {
            return Err(StatsError::Format { found: format });
        }
        let mut snapshot = Snapshot::default();
        for number in snapshot.counters.as_array_mut() {
            *number = reader.number()?;
        }
        snapshot.users = reader.number()?;
        snapshot.lag = Histogram::decode(reader.piece()?)?;
        snapshot.errors = ErrorTable::read(&mut reader)?;
        let steps: usize = reader.small()?;
        if steps > MAX_STEPS {
            return Err(StatsError::Malformed("there are too many steps"));
        }
        for _ in 0..steps {
            let place = reader.small()?;
            if snapshot.steps.insert(place, StepStats::read(&mut reader)?).is_some() {
                return Err(StatsError::Malformed("a step is there twice"));
            }
        }
        reader.end()?;
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ErrorClass, ErrorKey};
    use super::*;

    /// A sample: step, latency, and the status if it failed.
    type Sample = (u16, u64, Option<u16>);

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        prop::collection::vec((0u16..5, 1u64..10_000_000, prop::option::of(400u16..405)), 0..100)
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
                snapshot
                    .errors
                    .record(ErrorKey { class: ErrorClass::of_status(status), step: place, status: Some(status) }, || format!("{us}"));
            }
        }
        snapshot.counters.iterations += 1;
        snapshot.lag.record(us % 100);
        snapshot.users += 1;
    }

    fn of(samples: &[Sample]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        samples.iter().for_each(|sample| record(&mut snapshot, *sample));
        snapshot
    }

    #[test]
    fn another_format_is_named() {
        assert_eq!(Snapshot::decode(&[9]), Err(StatsError::Format { found: 9 }));
        assert_eq!(Snapshot::decode(&[]), Err(StatsError::Truncated));
    }

    #[test]
    fn users_add_over_places_and_not_over_time() {
        let at = |users| Snapshot { users, ..Snapshot::default() };
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
            prop_assert_eq!(merged.counters, whole.counters);
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
