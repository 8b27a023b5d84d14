//! The `LoadTest` resource: its types, its schema, and the way from a spec to a plan.

pub mod convert;
pub mod digest;
pub mod reference;
pub mod schema;
pub mod spec;
pub mod status;

pub use convert::{Checked, check, check_with};
pub use digest::digest;
pub use schema::definition;
pub use spec::{LoadTest, LoadTestSpec};
pub use status::{Condition, ConditionStatus, LoadTestStatus, Phase};

/// Changing its value starts a new run.
pub const RERUN_ANNOTATION: &str = "starling.dev/rerun";

/// Name of the custom resource definition.
pub const CRD_NAME: &str = "loadtests.starling.dev";
