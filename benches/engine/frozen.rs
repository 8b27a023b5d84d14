//! Whether latency is told as it was: open load on a server that freezes for a second in ten,
//! beside the server's own log.

use std::time::Duration;

use serde_json::{Value, json};

use crate::servers::{self, Server};
use crate::{clients, measure};

pub const NAME: &str = "frozen";

const RATE: u32 = 1000;
/// Greatest differences from the truth: what must be, and what we aim at.
const MUST: f64 = 0.03;
const AIM: f64 = 0.01;

/// Prints the figures; the line of the summary.
pub fn compare(duration: Duration) -> Result<String, String> {
    println!(
        "\n{NAME}: {RATE} a second for {duration:?}, server frozen for one second in ten; truth: the server's own log"
    );
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let server = Server::own(servers::FREEZING)?;
    let load = json!({"open": {"rate": RATE, "duration": format!("{}s", duration.as_secs()), "maxInFlight": 2 * RATE}});
    let test = clients::test(server.address, json!({"http": {"path": "/"}}), load, |_| {});
    let said = measure::ended(measure::start(&mut clients::starling(
        &test,
        folder.path(),
    )?)?)?;
    if !said.is_empty() {
        return Err(said);
    }
    let result = clients::result(folder.path())?;
    let mut truth = server.log();
    truth.sort_unstable();
    let latency = &result["totals"]["latency"];
    let mut worst: f64 = 0.0;
    for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
        let (told, happened) = (number(latency, name)?, percentile(&truth, share));
        let difference = told / happened - 1.0;
        println!(
            "  {name}  told {:8.2} ms, truth {:8.2} ms, difference {:+.2}%",
            told / 1e3,
            happened / 1e3,
            difference * 100.0
        );
        if name != "p50" {
            worst = worst.max(difference.abs());
        }
    }
    let lag = number(&result["generator"], "scheduleLagP99")?;
    println!(
        "  {} requests, {} in the log; sent after their time: p99 {lag} us",
        result["totals"]["requests"],
        truth.len()
    );
    let verdict = if worst <= AIM {
        "holds, aim met"
    } else if worst <= MUST {
        "holds"
    } else {
        "DOES NOT HOLD"
    };
    Ok(format!(
        "| {NAME} | {:.2}% | {:.0}% | {:.0}% | {verdict}: the greatest difference of p95, p99 and max |",
        worst * 100.0,
        MUST * 100.0,
        AIM * 100.0
    ))
}

fn number(of: &Value, name: &str) -> Result<f64, String> {
    of[name]
        .as_f64()
        .ok_or_else(|| format!("the result holds no {name}"))
}

fn percentile(sorted: &[u64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default() as f64
}
