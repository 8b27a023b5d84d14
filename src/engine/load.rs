//! Timing of the load: one thread's shard, its populations, the load models that drive them, the
//! pacer and the throttle.
//!
//! Nothing here knows how a request is made. Read `shard` first (what a thread owns), then `cohort`
//! (a population on that thread), then the models: `closed`, `open`, `iterations`.

pub(super) mod closed;
pub(super) mod cohort;
pub(super) mod iterations;
pub(super) mod open;
pub(super) mod pacer;
pub(super) mod shard;
