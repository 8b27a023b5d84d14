//! Fuzzes the decoder of a worker's statistics: any bytes are refused, or mean the same when they
//! are written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_fuzz::stats::{Snapshot, TrendStats};

fuzz_target!(|data: &[u8]| {
    read_again(data);
    // bytes at random seldom get far, so some are good ones with a byte changed
    let Some((&[at, change], numbers)) = data.split_first_chunk() else {
        return;
    };
    let mut bytes = made_of(numbers).encode();
    read_again(&bytes);
    let at = usize::from(at) % bytes.len();
    bytes[at] ^= change;
    read_again(&bytes);
});

fn read_again(bytes: &[u8]) {
    if let Ok(snapshot) = Snapshot::decode(bytes) {
        let again = Snapshot::decode(&snapshot.encode()).expect("what we write can be read");
        assert!(again == snapshot);
        snapshot.clone().merge(&snapshot);
    }
}

fn made_of(numbers: &[u8]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut trend = TrendStats::default();
    for three in numbers.chunks_exact(3) {
        let micros = u64::from(three[0]) << (three[1] % 40);
        trend.values.record(micros);
        snapshot.lag.record(micros / 2);
        let step = snapshot.steps.entry((three[2] % 8).into()).or_default();
        step.requests += 1;
        snapshot.users += u64::from(three[1]);
    }
    snapshot.trends.insert(1, trend);
    snapshot
}
