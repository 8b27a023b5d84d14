//! The request log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Request log: requests chosen at random and written down, each as a line of JSON with its names,
/// status, latency and failure, and the heads and the beginnings of the bodies of request and
/// answer; of a gRPC call the messages sent, a line of JSON each, and the last message received.
/// Values of Secrets (of four characters and more) are left out wherever they stand (plain, or as
/// JSON, URLs or base64 write them), and so are headers that hold credentials. Workers write to
/// their standard output, where `kubectl logs` finds them; `starling run` writes to the file that
/// `--samples` names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SamplesSpec {
    /// Share of all requests that are written down, above 0%, including those of the warm-up and of
    /// `onStart` and `onStop`.
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub rate: String,
    /// Largest number of bytes that each worker writes; requests chosen after that are counted and
    /// left out.
    #[serde(default = "ten_mebibytes")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_bytes: u32,
    /// Number of bytes shown of each body.
    #[serde(default = "four_kibibytes")]
    #[schemars(range(min = 0, max = 65_536))]
    pub max_body_bytes: u32,
}

fn ten_mebibytes() -> u32 {
    10 << 20
}

fn four_kibibytes() -> u32 {
    4 << 10
}
