//! Counters: events that are only counted, without a time.

use super::StatsError;
use super::codec::{Reader, Writer};

/// Everything that is only counted. "Measured" means that the iteration started after the warm-up.
///
/// The target received measured requests (of all steps) - `unsent` + `interrupted` + `warmup` +
/// `control` + `retries` + `redirect_hops`: see
/// [`Snapshot::received_by_target`](super::Snapshot::received_by_target).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Measured iterations that started.
    pub iterations: u64,
    /// Measured iterations that ended, whether each step succeeded or one failed.
    pub finished: u64,
    /// Measured arrivals that became no iteration: no slot was free, or no feeder row could be had.
    pub dropped: u64,
    /// Requests that were written, at least in part, and cut at the end of the run, whatever part
    /// of the run they belong to; in no other count.
    pub interrupted: u64,
    /// Finished (failed) measured requests of which no byte was written, not counting retries.
    pub unsent: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// CPU time that the process used, in microseconds.
    pub cpu_micros: u64,
    /// CPU time that was available, in microseconds: usable cores (or the quota, if that is less)
    /// times the interval.
    pub core_micros: u64,
    /// Requests of the warm-up of which a byte was written; their samples are kept nowhere.
    pub warmup: u64,
    /// Requests of the warm-up that failed, sent or not.
    pub warmup_failures: u64,
    /// Requests of `setup`, `teardown`, `onStart` and `onStop`, and health checks that passed, of
    /// which a byte was written.
    pub control: u64,
    /// Requests of `setup`, `teardown`, `onStart` and `onStop` that failed, sent or not; the table
    /// of errors has the reasons.
    pub control_failures: u64,
    /// Attempts of which a byte was written and that were given up for another attempt.
    pub retries: u64,
    /// Requests that were answered with a redirection which was followed.
    pub redirect_hops: u64,
    /// Arrivals among `dropped` for which no feeder row could be had.
    pub feeder_drops: u64,
    /// Time, in microseconds over all threads, for which the container's CPU quota held back the
    /// process.
    pub throttled_micros: u64,
    /// Time, in microseconds over all users, for which users of closed load were there in the
    /// measured part, as far as the profile wanted them.
    pub user_micros: u64,
    /// Time, in microseconds over all users, for which users of closed load were wanted but had
    /// retired, as where a feeder had no row left for them.
    pub retired_micros: u64,
    /// Measured arrivals of open load that a worker took on, started or dropped, in millionths: its
    /// part of the profile's integral.
    pub arrival_micros: u64,
    /// Time, in microseconds over all users, for which users paused in the measured part because
    /// their requests failed at once.
    pub retry_pause_micros: u64,
}

/// Number of counters.
pub(super) const COUNT: usize = 20;

/// Number of counters in snapshots of format 3.
pub(super) const COUNT_OF_3: usize = 16;

impl Counters {
    /// Adds the counters of another shard, worker or interval.
    pub fn merge(&mut self, other: &Counters) {
        let theirs = other.to_array();
        for (ours, theirs) in self.as_array_mut().into_iter().zip(theirs) {
            *ours += theirs;
        }
    }

    /// Appends the first `count` counters.
    pub(super) fn write(&self, out: &mut Writer, count: usize) {
        self.to_array()
            .into_iter()
            .take(count)
            .for_each(|number| out.number(number));
    }

    /// Reads what [`write`](Self::write) wrote with the same `count`; the others are 0.
    pub(super) fn read(reader: &mut Reader<'_>, count: usize) -> Result<Self, StatsError> {
        let mut counters = Self::default();
        for number in counters.as_array_mut().into_iter().take(count) {
            *number = reader.number()?;
        }
        Ok(counters)
    }

    /// All counters in the order of the encoding; new ones go to the end.
    fn as_array_mut(&mut self) -> [&mut u64; COUNT] {
        let Self {
            iterations,
            finished,
            dropped,
            interrupted,
            unsent,
            connects,
            cpu_micros,
            core_micros,
            warmup,
            warmup_failures,
            control,
            control_failures,
            retries,
            redirect_hops,
            feeder_drops,
            throttled_micros,
            user_micros,
            retired_micros,
            arrival_micros,
            retry_pause_micros,
        } = self;
        [
            iterations,
            finished,
            dropped,
            interrupted,
            unsent,
            connects,
            cpu_micros,
            core_micros,
            warmup,
            warmup_failures,
            control,
            control_failures,
            retries,
            redirect_hops,
            feeder_drops,
            throttled_micros,
            user_micros,
            retired_micros,
            arrival_micros,
            retry_pause_micros,
        ]
    }

    fn to_array(mut self) -> [u64; COUNT] {
        self.as_array_mut().map(|number| *number)
    }
}
