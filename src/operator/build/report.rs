//! Stored form of a whole result: gzip of its JSON, cut until it fits a ConfigMap.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::wire::result::HistogramResult;
use crate::wire::{RunResult, bounds};

/// Key of the result in the report ConfigMap.
pub const KEY: &str = "result.json.gz";

/// Most bytes of a packed result. A ConfigMap holds at most 1 MiB; base64 is not counted, names and
/// labels are.
const MAX_STORED: usize = 900 * 1024;

/// Number of histograms kept longer than the others: those of the steps with the most requests.
const MAX_HISTOGRAMS: usize = 100;

/// Packs the result. What does not fit is left out and named in its `warnings`: first the series,
/// then the time blocks, then the histograms of all but the busiest steps, then those.
pub fn write(result: &RunResult) -> Vec<u8> {
    write_within(result, MAX_STORED)
}

fn write_within(result: &RunResult, limit: usize) -> Vec<u8> {
    let mut cut = result.clone();
    let mut packed = pack(&cut);
    for leave_out in [
        leave_out_series,
        leave_out_blocks,
        leave_out_rare_histograms,
        leave_out_histograms,
    ] {
        if packed.stored.len() <= limit && packed.unpacked <= bounds::RESULT.bytes {
            break;
        }
        if let Some(what) = leave_out(&mut cut) {
            cut.warnings.push(format!(
                "the report leaves out {what}: it is too large to be stored"
            ));
            packed = pack(&cut);
        }
    }
    packed.stored
}

fn leave_out_series(result: &mut RunResult) -> Option<String> {
    let points = std::mem::take(&mut result.series).len();
    (points > 0).then(|| format!("the series of {points} points"))
}

fn leave_out_blocks(result: &mut RunResult) -> Option<String> {
    let blocks = result.blocks.take()?;
    Some(format!("the {} time blocks", blocks.total.requests.len()))
}

fn leave_out_rare_histograms(result: &mut RunResult) -> Option<String> {
    let requests: BTreeMap<_, _> = result
        .steps
        .iter()
        .map(|step| {
            (
                (step.scenario.clone(), step.task.clone(), step.step.clone()),
                step.requests,
            )
        })
        .collect();
    let before = result.histograms.len();
    let of = |h: &HistogramResult| {
        requests
            .get(&(h.scenario.clone(), h.task.clone(), h.step.clone()))
            .copied()
            .unwrap_or(0)
    };
    let mut counts: Vec<u64> = result.histograms.iter().map(of).collect();
    counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
    let least = *counts.get(MAX_HISTOGRAMS)?;
    // those of one step stay or go together
    result.histograms.retain(|histogram| of(histogram) > least);
    Some(format!(
        "{} histograms of the steps with the fewest requests",
        before - result.histograms.len()
    ))
}

fn leave_out_histograms(result: &mut RunResult) -> Option<String> {
    let histograms = std::mem::take(&mut result.histograms).len();
    (histograms > 0).then(|| format!("{histograms} histograms"))
}

/// Packed result, and the number of bytes that it unpacks to.
struct Packed {
    stored: Vec<u8>,
    unpacked: usize,
}

fn pack(result: &RunResult) -> Packed {
    let json = serde_json::to_vec(result).expect("a result is JSON");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let stored = gzip
        .write_all(&json)
        .and_then(|()| gzip.finish())
        .expect("writing to memory does not fail");
    Packed {
        stored,
        unpacked: json.len(),
    }
}

/// Returns the packed result in the JSON of a report ConfigMap; `None` where there is none.
pub fn packed(object: &serde_json::Value) -> Option<Vec<u8>> {
    let text = object["binaryData"][KEY].as_str()?;
    data_encoding::BASE64.decode(text.as_bytes()).ok()
}

/// Unpacks a result packed by [`write()`]; the error says why the bytes are none. What is larger
/// than any honest result is refused before it is parsed, at the cost of at most its bound in
/// bytes.
pub fn read(packed: &[u8]) -> Result<RunResult, String> {
    let mut json = Vec::new();
    GzDecoder::new(packed)
        .take(bounds::RESULT.bytes as u64 + 1)
        .read_to_end(&mut json)
        .map_err(|error| format!("is not gzip: {error}"))?;
    bounds::check(&json, &bounds::RESULT).map_err(|error| format!("is no result: {error}"))?;
    serde_json::from_slice(&json).map_err(|error| format!("is not a result: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;
    use crate::wire::result::{BlockSeries, StepResult, TimeBlocks};

    #[test]
    fn what_is_too_large_loses_one_part_after_the_other_and_says_so() {
        let mut result = fixture::result();
        let random = |i: u64| {
            data_encoding::HEXLOWER.encode(&i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        };
        result.histograms = (0..200)
            .map(|i| HistogramResult {
                scenario: "s".into(),
                task: "t".into(),
                step: random(i),
                outcome: "Success".into(),
                metric: "latency".into(),
                hdr_v2: random(i + 1000).repeat(3),
            })
            .collect();
        result.series = (0..1200)
            .map(|second| crate::wire::result::SeriesPoint {
                second,
                requests: u64::from(second) * 7919,
                ..Default::default()
            })
            .collect();
        let names = result
            .histograms
            .iter()
            .enumerate()
            .map(|(i, histogram)| StepResult {
                scenario: "s".into(),
                task: "t".into(),
                step: histogram.step.clone(),
                requests: i as u64,
                ..StepResult::default()
            });
        result.steps = names.collect();
        let total = BlockSeries {
            requests: vec![1; 20],
            failures: vec![0; 20],
            latency: (0..20).map(|i| random(i + 7)).collect(),
        };
        result.blocks = Some(TimeBlocks {
            total,
            ..TimeBlocks::default()
        });
        let left = |limit: usize| {
            let cut = read(&write_within(&result, limit)).unwrap();
            (
                cut.series.len(),
                cut.blocks.is_some(),
                cut.histograms.len(),
                cut.warnings.len(),
            )
        };
        let whole = pack(&result).stored.len();
        assert_eq!(left(whole), (1200, true, 200, 0));
        assert_eq!(left(whole - 1), (0, true, 200, 1));
        let without_series = pack(&RunResult {
            series: vec![],
            ..result.clone()
        })
        .stored
        .len();
        assert_eq!(left(without_series - 1), (0, false, 200, 2));
        let without_blocks = pack(&RunResult {
            series: vec![],
            blocks: None,
            ..result.clone()
        })
        .stored
        .len();
        assert_eq!(left(without_blocks - 1), (0, false, 100, 3));
        assert_eq!(left(100), (0, false, 0, 4));
    }

    fn gzip(json: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(json).unwrap();
        gzip.finish().unwrap()
    }

    /// Before there were bounds, a report of 171 KB took 4 GiB: each `{}` became a whole step.
    #[test]
    fn a_small_report_that_unpacks_to_much_is_refused_before_it_is_parsed() {
        let steps = ["{}"; 60_000].join(",");
        let bomb = gzip(format!("{{\"steps\": [{steps}]}}").as_bytes());
        assert!(bomb.len() < 2_000);
        let refused = read(&bomb).unwrap_err();
        assert!(refused.contains("more than 50000 objects"), "{refused}");

        let bomb = gzip(&vec![b' '; bounds::RESULT.bytes + 1]);
        assert!(read(&bomb).unwrap_err().contains("bytes"));
        let deep = gzip("[".repeat(100_000).as_bytes());
        assert!(read(&deep).unwrap_err().contains("inside each other"));
    }

    #[test]
    fn what_fits_reads_back_whole() {
        let result = fixture::result();
        assert_eq!(read(&write(&result)).unwrap(), result);
        assert!(read(b"nonsense").is_err());
    }
}
