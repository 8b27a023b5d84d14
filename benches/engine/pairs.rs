//! CPU per request beside a peer's: pairs of runs in turn, of which the median ratio counts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Effort;
use crate::clients::{self, CONNECTIONS};
use crate::measure::{Figure, measure};
use crate::servers::{self, Server};

/// Pairs in which the host took more than this share of the cores do not count.
const MAX_STOLEN: f64 = 0.05;
/// A row holds up to this much above its must: what two runs of one program differ by.
const TOLERANCE: f64 = 1.05;
/// Clients run so much longer than they are measured, for they start and end at their own pace.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Get,
    Post,
    Large,
    Http2,
}

impl Row {
    pub const ALL: [Row; 4] = [Row::Get, Row::Post, Row::Large, Row::Http2];

    pub fn name(self) -> &'static str {
        match self {
            Row::Get => "get",
            Row::Post => "post",
            Row::Large => "large",
            Row::Http2 => "http2",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Row::Get => "GET of 20 bytes, status check; peer: wrk",
            Row::Post => "POST of 1 KB of JSON from a template, one check, one extract; peer: wrk's plain POST",
            Row::Large => "GET of 100 KB, body not looked at; peer: wrk",
            Row::Http2 => "GET over HTTP/2, 4 connections of 16 streams; peer: h2load",
        }
    }

    /// Greatest ratio to the peer's CPU: what must be, and what we aim at.
    fn bounds(self) -> (f64, f64) {
        match self {
            Row::Get => (1.0, 0.9),
            Row::Post => (1.5, 1.2),
            Row::Large => (0.7, 0.5),
            Row::Http2 => (1.7, 1.4),
        }
    }

    fn server(self) -> Result<Server, String> {
        if self == Row::Http2 { Server::own(servers::HTTP2) } else { Server::nginx() }
    }

    fn test(self, server: &Server, duration: Duration) -> Value {
        let load = clients::closed(CONNECTIONS, duration);
        let (step, change): (Value, fn(&mut Value)) = match self {
            Row::Get => (json!({"http": {"path": "/small"}, "checks": [{"status": [200]}]}), |_| {}),
            Row::Post => {
                let body = json!({"id": "{{ iteration }}", "user": "{{ user.id }}", "text": clients::kilobyte()});
                let http = json!({"method": "POST", "path": "/json", "json": body});
                let checks = json!([{"jsonPath": "$.category", "equals": "business"}]);
                (json!({"http": http, "checks": checks, "extract": {"id": {"jsonPath": "$.prediction_id"}}}), |_| {})
            }
            Row::Large => (json!({"http": {"path": "/large"}}), |_| {}),
            Row::Http2 => (json!({"http": {"path": "/"}}), |spec| {
                spec["http"] = json!({"version": "Http2", "connections": "Pooled", "http2": {"connections": 4}});
            }),
        };
        clients::test(server.address, step, load, change)
    }

    fn peer(self, server: &Server, duration: Duration, folder: &Path) -> Result<Command, String> {
        let url = |path: &str| format!("http://{}{path}", server.address);
        Ok(match self {
            Row::Get => clients::wrk(&url("/small"), CONNECTIONS, duration, None),
            Row::Large => clients::wrk(&url("/large"), CONNECTIONS, duration, None),
            Row::Http2 => clients::h2load(&url("/"), duration),
            Row::Post => {
                let script = folder.join("post.lua");
                let body = json!({"id": 123_456, "user": 12, "text": clients::kilobyte()});
                let lua = format!("wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = '{body}'\n");
                std::fs::write(&script, lua).map_err(|error| error.to_string())?;
                clients::wrk(&url("/json"), CONNECTIONS, duration, Some(&script))
            }
        })
    }
}

/// Prints the figures of a row; its line of the summary.
pub fn compare(row: Row, effort: Effort) -> Result<String, String> {
    println!("\n{}: {}", row.name(), row.title());
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let server = row.server()?;
    let duration = effort.warm_up + effort.measured + MARGIN;
    let mut ratios = Vec::new();
    for pair in 1..=effort.pairs {
        let ours = measure(clients::starling(&row.test(&server, duration), folder.path())?, &server, effort)?;
        let result = clients::result(folder.path())?;
        if result["totals"]["failures"] != 0 {
            return Err(format!("requests failed: {}", result["errors"]));
        }
        let peer = measure(row.peer(&server, duration, folder.path())?, &server, effort)?;
        let ratio = ours.per_request() / peer.per_request();
        let counts = ours.stolen.max(peer.stolen) <= MAX_STOLEN;
        println!(
            "  {pair}  starling {}\n     peer     {}\n     ratio {ratio:.2}{}",
            line(&ours),
            line(&peer),
            if counts { "" } else { ", DISCARDED: stolen time" }
        );
        ratios.extend(counts.then_some(ratio));
    }
    Ok(summary(row, ratios, effort.pairs))
}

fn line(figure: &Figure) -> String {
    format!(
        "{:7.2} us CPU a request, {:7.0} requests/s, core {:3.0}% busy, stolen {:.1}%, others {:.1}%",
        figure.per_request(),
        figure.per_second(),
        figure.busy() * 100.0,
        figure.stolen * 100.0,
        figure.others * 100.0
    )
}

fn summary(row: Row, mut ratios: Vec<f64>, pairs: usize) -> String {
    let (must, aim) = row.bounds();
    ratios.sort_by(f64::total_cmp);
    let Some(median) = median(&ratios) else { return format!("| {} | | {must:.1} | {aim:.1} | every pair was discarded |", row.name()) };
    let verdict = if median <= must * TOLERANCE { "holds" } else { "DOES NOT HOLD" };
    let verdict = if median <= aim { "holds, aim met" } else { verdict };
    format!("| {} | {median:.2} | {must:.1} | {aim:.1} | {verdict}; {} of {pairs} pairs: {ratios:.2?} |", row.name(), ratios.len())
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}
