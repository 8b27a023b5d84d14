//! The resources `LoadTest` and `StarlingPolicy`: types, schema, digest, reference, and the conversion of a spec into a
//! plan.
//!
//! Read [`spec`] and [`status`] first, then [`schema`], which makes the definition of them, then
//! [`convert`]. Nothing here knows of clusters, engines or terminals.

pub mod convert;
pub mod digest;
pub mod policy;
pub mod reference;
pub mod schema;
pub mod spec;
pub mod status;

pub use convert::{Checked, check, check_with};
pub use digest::digest;
pub use policy::{StarlingPolicy, StarlingPolicySpec};
pub use schema::definition;
pub use spec::{LoadTest, LoadTestSpec};
pub use status::{Condition, ConditionStatus, LoadTestStatus, Phase};

/// Name of the annotation whose change starts a new run.
pub const RERUN_ANNOTATION: &str = "starling.dev/rerun";

/// Name of the custom resource definition.
pub const CRD_NAME: &str = "loadtests.starling.dev";
