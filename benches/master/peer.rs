//! The same latencies, decoded and added up by the `hdrhistogram` crate.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use starling::stats::Snapshot;

use crate::fleet::Fleet;

/// Time in which the latencies of `seconds` are decoded and added up.
pub fn cost(fleet: &Fleet, seconds: u32) -> Duration {
    let encoded: Vec<Vec<u8>> = fleet.samples(0).flat_map(latencies).collect();
    let mut reader = Deserializer::new();
    let mut sum: Histogram<u64> = Histogram::new(3).unwrap();
    let began = Instant::now();
    for bytes in &encoded {
        let one: Histogram<u64> = reader.deserialize(&mut &bytes[..]).unwrap();
        sum.add(&one).unwrap();
    }
    let spent = began.elapsed() * seconds;
    assert!(!sum.is_empty());
    spent
}

/// Latencies of each step of a snapshot, as the crate encodes them.
fn latencies(encoded: &[u8]) -> Vec<Vec<u8>> {
    let snapshot = Snapshot::decode(encoded).unwrap();
    let mut writer = V2Serializer::new();
    let write = |stats: &starling::stats::StepStats| {
        let v2 = stats.latency.to_hdr_v2().unwrap();
        let one: Histogram<u64> = Deserializer::new().deserialize(&mut &v2[..]).unwrap();
        let mut bytes = Vec::new();
        writer.serialize(&one, &mut bytes).unwrap();
        bytes
    };
    snapshot.steps.values().map(write).collect()
}
