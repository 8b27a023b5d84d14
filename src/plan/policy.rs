//! Policies of a cluster: what the LoadTests of a namespace may reach, how much load they may make,
//! and what their Pods may be.
//!
//! A policy is judged twice. The operator holds it against everything that a test demands
//! ([`judge`]) before a run starts. The rules for addresses ([`AddressRules`]) then travel with the
//! plan, since only a worker knows what a name resolves to.

mod address;
mod demand;
mod rules;

pub use address::{Cidr, METADATA_NETWORKS, canonical};
pub use demand::{Demand, Limits, Permission, PodRules, Policy, Wanted, judge};
pub use rules::{AddressRule, AddressRules, HostPattern, NotAllowed, PortRange};
