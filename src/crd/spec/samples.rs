//! Requests that are written down as they are made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests chosen at random and written down, each as a line of JSON with its names, status,
/// latency and failure, and the heads and the beginnings of the bodies of what was sent and what
/// came back; of a gRPC call the messages sent, a line of JSON each, and the last message received.
/// Values of Secrets (of four characters and more) are left out wherever they stand (as they are,
/// or as JSON, URLs or base64 write them), and so are headers that hold credentials. Workers write
/// to their standard output, where `kubectl logs` finds them; `starling run` writes to the file
/// that `--samples` names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SamplesSpec {
    /// Share of all requests, those of the warm-up and of `onStart` and `onStop` included.
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub rate: String,
    /// Each worker writes at most so many bytes; requests that are chosen after that are counted
    /// and left out.
    #[serde(default = "ten_mebibytes")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_bytes: u32,
    /// So many bytes of each body are shown.
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
