//! The stored form of a whole result: gzip of its JSON, cut until it fits a ConfigMap.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::wire::RunResult;

/// Key in the report ConfigMap.
pub const KEY: &str = "result.json.gz";

/// A ConfigMap holds at most 1 MiB; base64 is not counted, names and labels are.
const MAX_STORED: usize = 900 * 1024;

/// No honest report unpacks to more: it keeps a forged one from filling the memory.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;

/// Packs the result. What does not fit is left out, series first, then histograms, and named in its `warnings`.
pub fn write(result: &RunResult) -> Vec<u8> {
    write_within(result, MAX_STORED)
}

fn write_within(result: &RunResult, limit: usize) -> Vec<u8> {
    let whole = pack(result);
    if whole.len() <= limit {
        return whole;
    }
    let mut cut = result.clone();
    cut.warnings.push(format!("the report leaves out the series of {} points: it is too large to be stored", cut.series.len()));
    cut.series.clear();
    let without_series = pack(&cut);
    if without_series.len() <= limit {
        return without_series;
    }
    cut.warnings.push(format!("the report leaves out {} histograms: it is too large to be stored", cut.histograms.len()));
    cut.histograms.clear();
    pack(&cut)
}

fn pack(result: &RunResult) -> Vec<u8> {
    let json = serde_json::to_vec(result).expect("a result is JSON");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&json).and_then(|()| gzip.finish()).expect("writing to memory does not fail")
}

/// Reads what [`write`] has written.
pub fn read(packed: &[u8]) -> Result<RunResult, String> {
    let mut json = Vec::new();
    GzDecoder::new(packed).take(MAX_UNPACKED).read_to_end(&mut json).map_err(|error| format!("is not gzip: {error}"))?;
    serde_json::from_slice(&json).map_err(|error| format!("is not a result: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    #[test]
    fn what_is_too_large_loses_its_series_then_its_histograms_and_says_so() {
        let mut result = fixture::result();
        let random = |i: u64| data_encoding::HEXLOWER.encode(&i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        result.histograms = (0..200)
            .map(|i| crate::wire::result::HistogramResult {
                scenario: "s".into(),
                task: "t".into(),
                step: random(i),
                outcome: "Success".into(),
                metric: "latency".into(),
                hdr_v2: random(i + 1000).repeat(3),
            })
            .collect();
        result.series = (0..1200)
            .map(|second| crate::wire::result::SeriesPoint { second, requests: u64::from(second) * 7919, ..Default::default() })
            .collect();
        let whole = pack(&result).len();
        let cut = read(&write_within(&result, whole - 1)).unwrap();
        assert_eq!((cut.series.len(), cut.histograms.len(), cut.warnings.len()), (0, 200, 1));
        let cut = read(&write_within(&result, 100)).unwrap();
        assert_eq!((cut.series.len(), cut.histograms.len(), cut.warnings.len()), (0, 0, 2));
    }

    #[test]
    fn what_fits_reads_back_whole() {
        let result = fixture::result();
        assert_eq!(read(&write(&result)).unwrap(), result);
        assert!(read(b"nonsense").is_err());
    }
}
