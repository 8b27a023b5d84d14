//! What a fleet costs its master: `cargo bench --bench master`.
//!
//! A coordinator is fed with what workers would send it, as bytes, second by second of a run whose
//! clock is the benchmark's own. Each second it also answers for its progress as the operator asks,
//! and every fifth it takes a checkpoint, as it does in a Pod. The peer decodes and adds up the same
//! latencies with the `hdrhistogram` crate, and does nothing else.
//!
//! CPU time is that of the one thread, as the kernel counts it, so neighbours disturb it little.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on fails"
)]

mod fleet;
mod peer;

use std::process::ExitCode;
use std::time::Duration;

use fleet::Fleet;

/// A fleet, and what it may cost.
struct Row {
    name: &'static str,
    workers: u32,
    /// Steps of the plan of which each worker has samples in each second.
    active: u16,
    /// Most of one core.
    bound: f64,
}

const ROWS: [Row; 2] = [
    Row {
        name: "100",
        workers: 100,
        active: 200,
        bound: 0.2,
    },
    Row {
        name: "2000",
        workers: 2_000,
        active: 20,
        bound: 1.0,
    },
];

/// Longest time for an answer to the operator.
const ANSWER: Duration = Duration::from_millis(100);
/// Seconds of the run after which nothing is new to the master any more.
const SETTLED: u32 = 20;
/// Seconds that are measured.
const MEASURED: u32 = 30;
/// Most that the memory may grow while they pass.
const GROWTH: f64 = 0.05;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing measured: run it by `cargo bench --bench master`");
        return ExitCode::SUCCESS;
    }
    let wanted = |row: &&Row| {
        let mut names = arguments.iter().filter(|name| !name.starts_with("--"));
        names.clone().next().is_none() || names.any(|name| name == row.name)
    };
    let held: Vec<bool> = ROWS.iter().filter(wanted).map(measure).collect();
    if held.iter().all(|held| *held) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Measures one fleet, and tells whether it costs no more than it may.
fn measure(row: &Row) -> bool {
    let mut fleet = Fleet::started(row.workers, row.active);
    (0..SETTLED).for_each(|_| fleet.pass_second());
    let before = resident();
    fleet.cost = fleet::Cost::default();
    (0..MEASURED).for_each(|_| fleet.pass_second());
    let grown = resident() / before - 1.0;
    let cost = &fleet.cost;
    let per_second = |time: Duration| time.as_secs_f64() / f64::from(MEASURED);
    let peer = peer::cost(&fleet, MEASURED);
    let merged = per_second(cost.merging);
    println!(
        "{} workers x {} active steps of {}: {:.1}% of a core to take in what they send (must {:.0}%), {:.1}% more for checkpoints; hdrhistogram decodes and adds the same latencies in {:.1}%",
        row.workers,
        row.active,
        fleet::STEPS,
        merged * 100.0,
        row.bound * 100.0,
        per_second(cost.checkpoints) * 100.0,
        per_second(peer) * 100.0,
    );
    println!(
        "  progress in {:.2} ms at most, metrics in {:.1} ms, checkpoint holds the lock for {:.1} ms (must {} ms each)",
        millis(cost.longest_progress),
        millis(cost.longest_metrics),
        millis(cost.longest_hold),
        ANSWER.as_millis(),
    );
    println!(
        "  {:.0} bytes of samples per worker and second; {:.0} MB resident, {:+.1}% in {MEASURED} s (must {:.0}%)",
        cost.bytes as f64 / f64::from(row.workers) / f64::from(MEASURED),
        resident() / 1e6,
        grown * 100.0,
        GROWTH * 100.0,
    );
    let longest = [
        cost.longest_progress,
        cost.longest_metrics,
        cost.longest_hold,
    ];
    merged <= row.bound && longest.iter().all(|time| *time <= ANSWER) && grown <= GROWTH
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Resident memory of this process in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = status.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096.0
}
