//! Statistics of one step, of one task, and of one recorded number of the test.

use std::collections::BTreeMap;

use super::codec::{Reader, Writer};
use super::{Goodput, Histogram, StatsError, StreamStats};

/// Part of a request's time, in chronological order. A phase is recorded only for successes and
/// only where it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Lookup of the target's name.
    Dns,
    /// Opening of the connection, through a proxy if there is one.
    Connect,
    /// TLS handshake.
    Tls,
    /// First byte written to first byte of the answer.
    Wait,
    /// First to last byte of the answer.
    Download,
}

impl Phase {
    /// Every phase, in chronological order.
    pub const ALL: [Self; 5] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Wait,
        Self::Download,
    ];

    /// Name in results and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Wait => "wait",
            Self::Download => "download",
        }
    }
}

/// A histogram of each phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhaseStats([Histogram; Phase::ALL.len()]);

impl PhaseStats {
    /// Times of a phase.
    pub fn of(&self, phase: Phase) -> &Histogram {
        &self.0[phase as usize]
    }

    /// Adds the time of a phase, in microseconds.
    pub fn record(&mut self, phase: Phase, us: u64) {
        self.0[phase as usize].record(us);
    }

    fn merge(&mut self, other: &PhaseStats) {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(ours, theirs)| ours.merge(theirs));
    }
}

/// Measured samples of one step, each in the interval in which it ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepStats {
    /// Finished requests, failed ones included.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Bytes of heads and bodies sent, before TLS.
    pub sent_bytes: u64,
    /// Bytes of heads and bodies received, after TLS.
    pub received_bytes: u64,
    /// Checks of answers that passed.
    pub checks_passed: u64,
    /// Checks of answers that failed.
    pub checks_failed: u64,
    /// Intended time to last byte, of successes.
    pub latency: Histogram,
    /// First byte written to last byte, of successes.
    pub service_time: Histogram,
    /// Intended time to the failure, of failures.
    pub failed_latency: Histogram,
    /// Times of the phases, of successes.
    pub phases: PhaseStats,
    /// Answers by HTTP status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Messages, where the step's requests or answers are streams.
    pub stream: Option<Box<StreamStats>>,
    /// Requests held against the step's limits, where it has any.
    pub goodput: Goodput,
    /// Answers over gRPC by their status.
    pub grpc_statuses: BTreeMap<u8, u64>,
}

impl StepStats {
    /// Tells whether there is nothing to keep. A stream in progress has messages before it is a
    /// request.
    pub fn is_empty(&self) -> bool {
        self.requests == 0
            && self.goodput.judged == 0
            && self.stream.as_ref().is_none_or(|stream| stream.is_empty())
    }

    /// Every histogram.
    pub(super) fn histograms(&self) -> impl Iterator<Item = &Histogram> {
        let own = [&self.latency, &self.service_time, &self.failed_latency];
        let of_stream = self.stream.iter().flat_map(|stream| stream.histograms());
        own.into_iter().chain(&self.phases.0).chain(of_stream)
    }

    /// Adds the samples of another shard, worker or interval.
    pub fn merge(&mut self, other: &StepStats) {
        let StepStats {
            requests,
            failures,
            sent_bytes,
            received_bytes,
            checks_passed,
            checks_failed,
            latency,
            service_time,
            failed_latency,
            phases,
            statuses,
            stream,
            goodput,
            grpc_statuses,
        } = other;
        self.requests += requests;
        self.failures += failures;
        self.sent_bytes += sent_bytes;
        self.received_bytes += received_bytes;
        self.checks_passed += checks_passed;
        self.checks_failed += checks_failed;
        self.latency.merge(latency);
        self.service_time.merge(service_time);
        self.failed_latency.merge(failed_latency);
        self.phases.merge(phases);
        for (status, count) in statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        if let Some(stream) = stream {
            self.stream.get_or_insert_default().merge(stream);
        }
        self.goodput.merge(goodput);
        for (status, count) in grpc_statuses {
            *self.grpc_statuses.entry(*status).or_default() += count;
        }
    }

    /// Appends the statistics.
    pub(super) fn write(&self, out: &mut Writer) {
        let StepStats {
            requests,
            failures,
            sent_bytes,
            received_bytes,
            checks_passed,
            checks_failed,
            latency,
            service_time,
            failed_latency,
            phases,
            statuses,
            stream,
            goodput,
            grpc_statuses,
        } = self;
        for number in [
            requests,
            failures,
            sent_bytes,
            received_bytes,
            checks_passed,
            checks_failed,
        ] {
            out.number(*number);
        }
        for histogram in [latency, service_time, failed_latency]
            .into_iter()
            .chain(&phases.0)
        {
            out.piece(&histogram.encode());
        }
        write_counts(statuses, out);
        out.number(stream.is_some().into());
        if let Some(stream) = stream {
            stream.write(out);
        }
        out.number(goodput.good);
        out.number(goodput.judged);
        write_counts(grpc_statuses, out);
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        let mut step = Self {
            requests: reader.number()?,
            failures: reader.number()?,
            sent_bytes: reader.number()?,
            received_bytes: reader.number()?,
            checks_passed: reader.number()?,
            checks_failed: reader.number()?,
            latency: Histogram::decode(reader.piece()?)?,
            service_time: Histogram::decode(reader.piece()?)?,
            failed_latency: Histogram::decode(reader.piece()?)?,
            phases: PhaseStats::default(),
            statuses: BTreeMap::new(),
            stream: None,
            goodput: Goodput::default(),
            grpc_statuses: BTreeMap::new(),
        };
        for histogram in &mut step.phases.0 {
            *histogram = Histogram::decode(reader.piece()?)?;
        }
        step.statuses = read_counts(reader)?;
        if reader.is_present()? {
            step.stream = Some(Box::new(StreamStats::read(reader)?));
        }
        step.goodput = Goodput {
            good: reader.number()?,
            judged: reader.number()?,
        };
        step.grpc_statuses = read_counts(reader)?;
        Ok(step)
    }
}

fn write_counts<K: Copy + Into<u64>>(counts: &BTreeMap<K, u64>, out: &mut Writer) {
    out.number(counts.len() as u64);
    for (status, count) in counts {
        out.number((*status).into());
        out.number(*count);
    }
}

fn read_counts<K: TryFrom<u64> + Ord>(
    reader: &mut Reader<'_>,
) -> Result<BTreeMap<K, u64>, StatsError> {
    let mut counts = BTreeMap::new();
    for _ in 0..reader.number()? {
        let status = reader.small()?;
        if counts.insert(status, reader.number()?).is_some() {
            return Err(StatsError::Malformed("a status is there twice"));
        }
    }
    Ok(counts)
}

/// Measured iterations of one task, each in the interval in which it ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskStats {
    /// Iterations that came to their end, failed ones included.
    pub finished: u64,
    /// Iterations in which a step failed.
    pub failed: u64,
    /// Intended start to the end of the last step, of iterations in which no step failed.
    pub duration: Histogram,
}

impl TaskStats {
    /// Adds the iterations of another shard, worker or interval.
    pub fn merge(&mut self, other: &TaskStats) {
        let TaskStats {
            finished,
            failed,
            duration,
        } = other;
        self.finished += finished;
        self.failed += failed;
        self.duration.merge(duration);
    }

    /// Appends the statistics.
    pub(super) fn write(&self, out: &mut Writer) {
        let TaskStats {
            finished,
            failed,
            duration,
        } = self;
        out.number(*finished);
        out.number(*failed);
        out.piece(&duration.encode());
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        Ok(Self {
            finished: reader.number()?,
            failed: reader.number()?,
            duration: Histogram::decode(reader.piece()?)?,
        })
    }
}

/// Numbers that answers gave for one record of the test, each in the interval in which it came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrendStats {
    /// Numbers in the base unit of the trend: microseconds, bytes, or thousandths of anything else.
    pub values: Histogram,
    /// Successful answers without such a number.
    pub missing: u64,
}

impl TrendStats {
    /// Tells whether there is neither a number nor an answer without one.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.missing == 0
    }

    /// Adds the numbers of another shard, worker or interval.
    pub fn merge(&mut self, other: &TrendStats) {
        let TrendStats { values, missing } = other;
        self.values.merge(values);
        self.missing += missing;
    }

    /// Appends the statistics.
    pub(super) fn write(&self, out: &mut Writer) {
        let TrendStats { values, missing } = self;
        out.number(*missing);
        out.piece(&values.encode());
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        Ok(Self {
            missing: reader.number()?,
            values: Histogram::decode(reader.piece()?)?,
        })
    }
}
