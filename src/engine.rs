//! Carries out a share of a plan: shards, pacer, executor and the protocols.
//!
//! [`prepare()`] does everything that can be done before load and finds everything that can be
//! found wrong. [`Prepared::start`] starts one thread a shard; a shard owns its users or slots,
//! their connections, its statistics and its random numbers, and shares nothing while it sends.
//! [`Running`] gives out what happened, second by second.

mod answer;
mod attempt;
mod auth;
mod inputs;
mod load;
mod message;
mod net;
mod one_off;
mod prepare;
mod protocol;
mod record;
mod running;
mod user;
mod world;

#[cfg(test)]
mod tests;

pub use inputs::{below, content as load_content};
pub use load::shard::Moving;
pub use net::resolve::look_up_host;
pub use one_off::{OneOff, OneOffInputs, Outcome, RunningOneOff};
pub use prepare::feeder::{Demand, FeedData, Supply, Usage, load_feeder};
pub use prepare::lease::{Lease, uptime_micros};
pub use prepare::{PrepareError, Prepared, prepare};
pub use protocol::grpc::load_descriptors;
pub use record::redactor::unredacted;
pub use record::request_log::{RequestLogCounts, RequestLogSink, RequestLogWriter};
pub use running::{Assignment, Delta, Part, PartProgress, Running};
