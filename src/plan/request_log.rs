//! The request log: requests and answers written down in full, for people to look at.

use serde::{Deserialize, Serialize};

/// Selection of the requests that are written down, and how much of each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLog {
    /// Share of the requests, above 0 and at most 1.
    pub rate: f64,
    /// Most bytes that a worker writes in a run.
    pub max_bytes: u64,
    /// Bytes shown of each body; the rest is cut.
    pub max_body_bytes: u32,
}
