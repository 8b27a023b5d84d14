//! State that the users and slots of one thread share with each other, and with no other thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use tokio::sync::mpsc;

use crate::engine::attempt::sample::Part;
use crate::engine::prepare::Prepared;
use crate::engine::prepare::feeder::Dealer;
use crate::engine::prepare::program::SetupSlots;
use crate::engine::protocol::transport::Transport;
use crate::engine::record::cpu::CpuMeter;
use crate::engine::record::recorder::{Recorder, ShardDelta};
use crate::engine::record::sampling::Sampler;
use crate::plan::share::Slice;

/// Plan, connections, statistics and random numbers of one thread.
pub(crate) struct Context {
    /// The plan, ready to be carried out.
    pub(crate) prepared: Arc<Prepared>,
    /// Rows of feeders.
    pub(crate) dealer: Arc<Dealer>,
    /// Values that setup found.
    pub(crate) setup: Arc<SetupSlots>,
    /// The thread's part of the load.
    pub(crate) slice: Slice,
    /// The end of the warm-up: what starts before is not in the results.
    pub(crate) zero: Instant,
    /// Statistics.
    pub(crate) recorder: RefCell<Recorder>,
    /// Connections.
    pub(crate) transport: Transport,
    /// Chooses the requests that are written down.
    pub(crate) sampler: Option<Sampler>,
    /// True if failed checks are told with the answers.
    pub(crate) tells_answers: bool,
    random: RefCell<Xoshiro256PlusPlus>,
    /// Count of how often `seq()` was asked for, and a lead over whoever held this slice before.
    sequence: Cell<u64>,
}

/// Everything that a context is made of.
pub(crate) struct ContextStart {
    /// The plan, ready to be carried out.
    pub(crate) prepared: Arc<Prepared>,
    /// Rows of feeders.
    pub(crate) dealer: Arc<Dealer>,
    /// Values that setup found.
    pub(crate) setup: Arc<SetupSlots>,
    /// The thread's part of the load.
    pub(crate) slice: Slice,
    /// Seed of the run.
    pub(crate) seed: u64,
    /// The run's zero, when the warm-up begins.
    pub(crate) start: Instant,
    /// Time when the load was asked for; after `start` for a worker that joins late.
    pub(crate) joined_at: Instant,
    /// First run second of which anything is recorded.
    pub(crate) first_second: u32,
    /// Takes what is recorded, a second at a time.
    pub(crate) queue: mpsc::Sender<ShardDelta>,
}

impl Context {
    /// Makes the context of a thread, with no connection open yet.
    pub(crate) fn new(begin: ContextStart) -> Self {
        let ContextStart {
            prepared,
            dealer,
            setup,
            slice,
            seed,
            start,
            joined_at,
            first_second,
            queue,
        } = begin;
        let cpu = (slice.shard == 0).then(|| CpuMeter::new(Instant::now()));
        let boundary = start + Duration::from_secs(u64::from(first_second) + 1);
        let recorder = Recorder::new(
            slice.shard,
            prepared.steps.len(),
            first_second,
            boundary,
            cpu,
            queue,
        );
        let seed = thread_seed(seed, slice);
        let sampler = prepared
            .sampling
            .clone()
            .map(|sampling| Sampler::new(sampling, slice.share.worker, seed));
        Self {
            zero: start + prepared.plan.warmup,
            transport: Transport::new(prepared.targets.clone(), slice),
            prepared,
            dealer,
            setup,
            slice,
            recorder: RefCell::new(recorder),
            sampler,
            tells_answers: false,
            random: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
            // in one thread, nobody asks more often than once a microsecond
            sequence: Cell::new(joined_at.saturating_duration_since(start).as_micros() as u64),
        }
    }

    /// Returns the part of the run to which an iteration belongs that starts then.
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

    /// Returns a number that no other thread, worker or earlier process of this worker gives out in
    /// the run.
    pub(crate) fn sequence(&self) -> u64 {
        let nth = self.sequence.get();
        self.sequence.set(nth + 1);
        self.slice.number(nth)
    }

    /// Leaves so many numbers to others.
    pub(crate) fn skip_sequence(&self, count: u64) {
        self.sequence.set(self.sequence.get() + count);
    }
}

/// Returns a seed that differs between any two threads of a fleet; the multipliers are those of
/// splitmix64.
fn thread_seed(seed: u64, slice: Slice) -> u64 {
    let place = u64::from(slice.share.worker) << 32 | u64::from(slice.shard);
    let mixed = (place.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed ^ (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
}
