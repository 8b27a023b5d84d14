//! Carries out a share of a plan: shards, pacer, executor and the HTTP client.
//!
//! [`prepare`] does everything that can be done before load and finds everything that can be found
//! wrong. [`Prepared::start`] starts one thread a shard; a shard owns its users or slots, their
//! connections, its statistics and its random numbers, and shares nothing while it sends.
//! [`Running`] gives out what happened, second by second.

mod answer;
mod auth;
mod capture;
mod client;
mod closed;
mod closing;
mod coding;
mod cohort;
mod compile;
mod completion;
mod connection;
mod content;
mod cookies;
mod cpu;
mod deadline;
mod events;
mod exchange;
mod feeder;
mod files;
mod frame;
mod grpc;
mod http2;
mod iterations;
mod message;
mod one_off;
mod open;
mod pacer;
mod pool;
mod preflight;
mod prepare;
mod program;
mod proxy;
mod recorder;
mod redactor;
mod refusal;
mod request;
mod resolve;
mod response;
mod route;
mod running;
mod sampling;
mod shard;
mod stream;
mod streaming;
mod throttle;
mod tls;
mod transport;
mod world;

#[cfg(test)]
mod tests;

pub use content::content as load_content;
pub use feeder::{Demand, FeedData, Supply, Usage, load_feeder};
pub use grpc::load_descriptors;
pub use one_off::{Alone, OneOff, Outcome, Terms};
pub use prepare::{PrepareError, Prepared, prepare};
pub use redactor::unredacted;
pub use running::{Assignment, Delta, Running};
pub use sampling::{SampleLog, SampleSink, Written};
