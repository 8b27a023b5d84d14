//! Requests that are written down as they are made, for people to look at.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLog {
    /// Share of the requests, above 0 and at most 1.
    pub rate: f64,
    /// A worker writes at most so many bytes.
    pub max_bytes: u64,
    /// So many bytes of each body are shown.
    pub max_body_bytes: u32,
}
