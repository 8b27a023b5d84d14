//! How requests are made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpSpec {
    /// From the intended time of a request to the last byte of its answer; a step may set its own.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub timeout: String,
}

impl Default for HttpSpec {
    fn default() -> Self {
        Self { timeout: "30s".into() }
    }
}
