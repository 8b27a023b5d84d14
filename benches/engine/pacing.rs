//! How late requests are sent in open load that asks little of an idle core.

use std::time::Duration;

use serde_json::json;

use crate::pairs::{MAX_STOLEN, middle};
use crate::servers::Server;
use crate::{Effort, clients, machine, measure};

pub const NAME: &str = "pacing";

const RATE: u32 = 1000;
/// Microseconds that the 99th percentile of sent against intended times may be.
const MUST: f64 = 200.0;

/// Prints the figures; the line of the summary.
pub fn compare(effort: Effort) -> Result<String, String> {
    println!(
        "\n{NAME}: {RATE} a second for {:?}; how long after their time requests were sent",
        effort.measured
    );
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let server = Server::nginx()?;
    let duration = format!("{}s", effort.measured.as_secs());
    let mut rounds = Vec::new();
    for round in 1..=effort.pairs {
        let load = json!({"open": {"rate": RATE, "duration": duration, "maxInFlight": RATE}});
        let test = clients::test(
            server.address,
            json!({"http": {"path": "/small"}}),
            load,
            |_| {},
        );
        let before = machine::ticks();
        let said = measure::ended(measure::start(&mut clients::starling(
            &test,
            folder.path(),
        )?)?)?;
        if !said.is_empty() {
            return Err(said);
        }
        let stolen = measure::stolen(&before, &machine::ticks());
        let result = clients::result(folder.path())?;
        let lag = Duration::from_micros(
            result["generator"]["scheduleLagP99"]
                .as_u64()
                .ok_or("the result holds no scheduleLagP99")?,
        );
        let discarded = if stolen <= MAX_STOLEN {
            ""
        } else {
            ", DISCARDED: stolen time"
        };
        println!(
            "  {round}  {} requests, p99 {lag:?}, stolen {:.1}%{discarded}",
            result["totals"]["requests"],
            stolen * 100.0
        );
        rounds.extend(discarded.is_empty().then_some(lag.as_micros() as f64));
    }
    rounds.sort_by(f64::total_cmp);
    let Some(median) = middle(&rounds) else {
        return Ok(format!(
            "| {NAME} | | {MUST} us | | every round was discarded |"
        ));
    };
    let verdict = if median < MUST {
        "holds"
    } else {
        "DOES NOT HOLD"
    };
    Ok(format!(
        "| {NAME} | {median} us | {MUST} us | | {verdict}; {} of {} rounds: {rounds:?} |",
        rounds.len(),
        effort.pairs
    ))
}
