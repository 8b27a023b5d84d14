//! Starling: load tests as a Kubernetes resource.
//!
//! One library, one thin binary. Who may import whom is a rule (`tests/structure.rs` enforces it):
//! `plan` and `stats` know neither Kubernetes nor the wire, `engine` carries out a share of a plan,
//! `master` and `worker` speak `wire`, `operator` is the only room with Kubernetes rights, and
//! `cli` joins them.

#![deny(missing_docs)]

/// Version of the program, as in its package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub mod checking;
pub mod cli;
pub mod crd;
pub mod demo;
pub mod engine;
pub mod master;
pub mod operator;
pub mod plan;
pub mod report;
pub mod runtime;
pub mod stats;
pub mod wire;
pub mod worker;
