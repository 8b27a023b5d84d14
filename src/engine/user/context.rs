//! State that the users and slots of one thread share, and no other thread has.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc;

use crate::engine::attempt::sample::Part;
use crate::engine::prepare::Prepared;
use crate::engine::prepare::feeder::Dealer;
use crate::engine::prepare::program::SetupSlots;
use crate::engine::protocol::transport::Transport;
use crate::engine::record::cpu::CpuMeter;
use crate::engine::record::recorder::{Recorder, ShardDelta};
use crate::engine::record::request_log::Sampler;
use crate::plan::share::Slice;

/// Most threads of a share for which numbers of `seq()` are never given out twice.
const MAX_THREADS: u32 = 4096;

/// Plan, connections, statistics and random numbers of one thread.
pub(crate) struct Context {
    /// Plan, ready to be carried out.
    pub(crate) prepared: Arc<Prepared>,
    /// Dealer of feeder rows.
    pub(crate) dealer: Arc<Dealer>,
    /// Values that setup found.
    pub(crate) setup: Arc<SetupSlots>,
    /// Part of the load that this thread carries out.
    pub(crate) slice: Slice,
    /// End of the warm-up; what starts before it is not in the results.
    pub(crate) zero: Instant,
    /// Recorder of the thread's statistics.
    pub(crate) recorder: RefCell<Recorder>,
    /// Connections of the thread.
    pub(crate) transport: Transport,
    /// Sampler that chooses requests for the request log, if there is one.
    pub(crate) sampler: Option<Sampler>,
    /// True in the one thread of a process that measures its CPU and reports what no request waited
    /// for.
    pub(crate) is_chief: bool,
    /// True if messages of failed checks quote the answer.
    pub(crate) quotes_answers: bool,
    random: RefCell<Xoshiro256PlusPlus>,
    /// Counter of calls of `seq()`. It starts ahead of any earlier process that had this slice.
    sequence: Cell<u64>,
}

/// Inputs of a context.
pub(crate) struct ContextStart {
    /// Plan, ready to be carried out.
    pub(crate) prepared: Arc<Prepared>,
    /// Dealer of feeder rows.
    pub(crate) dealer: Arc<Dealer>,
    /// Values that setup found.
    pub(crate) setup: Arc<SetupSlots>,
    /// Part of the load that this thread carries out.
    pub(crate) slice: Slice,
    /// Number of the thread among those that hand over to `queue`.
    pub(crate) place: u32,
    /// True in the one thread of a process that measures its CPU and reports what no request waited
    /// for.
    pub(crate) is_chief: bool,
    /// Seed of the run.
    pub(crate) seed: u64,
    /// Zero of the run, when the warm-up begins.
    pub(crate) start: Instant,
    /// Time when the load was asked for; after `start` for a worker that joins late.
    pub(crate) joined_at: Instant,
    /// First run second of which anything is recorded.
    pub(crate) first_second: u32,
    /// Most shares that the load was ever divided into; 0 if these are the first.
    pub(crate) most_workers: u32,
    /// Queue for the statistics of each second.
    pub(crate) queue: mpsc::Sender<ShardDelta>,
}

impl Context {
    /// Creates the context of a thread, with no connection open yet.
    pub(crate) fn new(begin: ContextStart) -> Self {
        let ContextStart {
            prepared,
            dealer,
            setup,
            slice,
            place,
            is_chief,
            seed,
            start,
            joined_at,
            first_second,
            most_workers,
            queue,
        } = begin;
        let cpu = is_chief.then(|| CpuMeter::new(Instant::now()));
        let boundary = start + Duration::from_secs(u64::from(first_second) + 1);
        let recorder = Recorder::new(
            place,
            prepared.steps.len(),
            first_second,
            boundary,
            cpu,
            queue,
        );
        let joined = joined_at.saturating_duration_since(start);
        // one that takes over from another thread does not repeat what that drew
        let seed = thread_seed(seed ^ joined.as_secs(), slice);
        let sampler = prepared
            .request_log
            .clone()
            .map(|log| Sampler::new(log, slice.share.worker, seed));
        Self {
            zero: start + prepared.plan.warmup,
            transport: Transport::new(prepared.targets.clone(), slice),
            prepared,
            dealer,
            setup,
            slice,
            recorder: RefCell::new(recorder),
            sampler,
            is_chief,
            quotes_answers: false,
            random: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
            // one thread never calls `seq()` more than once a microsecond, and those before may have
            // been more than now
            sequence: Cell::new(first_number(joined, slice, most_workers)),
        }
    }

    /// Returns the part of the run to which an iteration that starts at `start` belongs.
    pub(crate) fn part(&self, start: Instant) -> Part {
        if start < self.zero {
            Part::Warmup
        } else {
            Part::Measured
        }
    }

    /// Draws 64 random bits.
    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// Returns a number that no other thread, worker or earlier process of this worker returns in
    /// the run.
    pub(crate) fn sequence(&self) -> u64 {
        let nth = self.sequence.get();
        self.sequence.set(nth + 1);
        self.slice.number(nth)
    }

    /// Skips `count` numbers, which others may use.
    pub(crate) fn skip_sequence(&self, count: u64) {
        self.sequence.set(self.sequence.get() + count);
    }
}

/// Returns the first number of a thread that begins `joined` after the run's zero, beyond those
/// that others may have used by then: the numbers of a fleet grow with its workers, so that the
/// most that there ever were count.
fn first_number(joined: Duration, slice: Slice, most_workers: u32) -> u64 {
    let each = |most: u32, now: u32| u64::from(most.div_ceil(now.max(1))).max(1);
    let threads = u64::from(MAX_THREADS / slice.shards.max(1)).max(1);
    joined.as_micros() as u64 * threads * each(most_workers, slice.share.workers)
}

/// Returns a seed that differs between any two threads of a fleet; the multipliers are those of
/// splitmix64.
fn thread_seed(seed: u64, slice: Slice) -> u64 {
    let place = u64::from(slice.share.worker) << 32 | u64::from(slice.shard);
    let mixed = (place.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed ^ (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Share;

    #[test]
    fn numbers_after_a_change_of_workers_are_beyond_all_before_it() {
        let number = |worker, workers, joined: u64, most, nth| {
            let slice = Share { worker, workers }.slice(0, 1);
            slice.number(first_number(Duration::from_secs(joined), slice, most) + nth)
        };
        // a thread that gives out a number every microsecond, and one of fewer workers after it
        let before = number(7, 8, 0, 0, 10_000_000);
        let after = number(0, 2, 10, 8, 0);
        assert!(after > before, "{after} {before}");
        let again = number(0, 2, 20, 8, 0);
        assert!(again > number(1, 2, 10, 8, 10_000_000));
    }
}
