//! CPU per request beside that of peers: rounds of runs in turn, of which the median ratio to the
//! first peer counts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Effort;
use crate::clients::{self, CONNECTIONS};
use crate::measure::{Figure, measure};
use crate::peers;
use crate::servers::{self, Server};

/// Pairs in which the host took more than this share of the cores do not count.
pub const MAX_STOLEN: f64 = 0.05;
/// A row holds up to this much above its must: what two runs of one program differ by.
const TOLERANCE: f64 = 1.05;
/// Of the service called over gRPC.
const PROTO: &str = include_str!("../../src/demo/categorization.proto");
/// Clients run so much longer than they are measured, for they start and end at their own pace.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Get,
    Post,
    Large,
    Http2,
    Grpc,
}

impl Row {
    pub const ALL: [Row; 5] = [Row::Get, Row::Post, Row::Large, Row::Http2, Row::Grpc];

    pub fn name(self) -> &'static str {
        match self {
            Row::Get => "get",
            Row::Post => "post",
            Row::Large => "large",
            Row::Http2 => "http2",
            Row::Grpc => "grpc",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Row::Get => "GET of 20 bytes, status check; peer: wrk",
            Row::Post => {
                "POST of 1 KB of JSON from a template, one check, one extract; peer: wrk's plain POST"
            }
            Row::Large => "GET of 100 KB, body not looked at; peer: wrk",
            Row::Http2 => {
                "GET over HTTP/2, 4 connections of 16 streams; peers: h2load, the h2 crate alone"
            }
            Row::Grpc => {
                "unary calls over gRPC, 4 channels of 16 streams; peers: the h2 crate alone, h2load, a client made by tonic"
            }
        }
    }

    /// Greatest ratio to the peer's CPU: what must be, and what we aim at.
    fn bounds(self) -> (f64, f64) {
        match self {
            Row::Get => (1.0, 0.9),
            Row::Post => (1.5, 1.2),
            Row::Large => (0.7, 0.5),
            Row::Http2 => (1.7, 1.4),
            Row::Grpc => (1.3, 1.1),
        }
    }

    fn server(self) -> Result<Server, String> {
        match self {
            Row::Http2 => Server::own(servers::HTTP2),
            Row::Grpc => Server::own(servers::GRPC),
            Row::Get | Row::Post | Row::Large => Server::nginx(),
        }
    }

    fn test(self, server: &Server, duration: Duration) -> Value {
        let load = clients::closed(CONNECTIONS, duration);
        let (step, change): (Value, fn(&mut Value)) = match self {
            Row::Get => (
                json!({"http": {"path": "/small"}, "checks": [{"status": [200]}]}),
                |_| {},
            ),
            Row::Post => {
                let body = json!({"id": "{{ iteration }}", "user": "{{ user.id }}", "text": clients::kilobyte()});
                let http = json!({"method": "POST", "path": "/json", "json": body});
                let checks = json!([{"jsonPath": "$.category", "equals": "business"}]);
                (
                    json!({"http": http, "checks": checks, "extract": {"id": {"jsonPath": "$.prediction_id"}}}),
                    |_| {},
                )
            }
            Row::Large => (json!({"http": {"path": "/large"}}), |_| {}),
            Row::Grpc => (
                json!({"grpc": {"method": peers::METHOD, "message": {"text": peers::TEXT}}}),
                |spec| {
                    spec["grpc"] = json!({"maxChannels": peers::CONNECTIONS, "maxStreamsPerChannel": peers::STREAMS});
                    spec["protos"] = json!({"root": "protos"});
                },
            ),
            Row::Http2 => (json!({"http": {"path": "/"}}), |spec| {
                spec["http"] = json!({"version": "Http2", "connections": "Pooled", "http2": {"connections": peers::CONNECTIONS}});
            }),
        };
        clients::test(server.address, step, load, change)
    }

    /// The first is the one that the bounds are about.
    fn peers(
        self,
        server: &Server,
        duration: Duration,
        folder: &Path,
    ) -> Result<Vec<(&'static str, Command)>, String> {
        let url = |path: &str| format!("http://{}{path}", server.address);
        let wrk = |path, script| {
            (
                "wrk",
                clients::wrk(&url(path), CONNECTIONS, duration, script),
            )
        };
        Ok(match self {
            Row::Get => vec![wrk("/small", None)],
            Row::Large => vec![wrk("/large", None)],
            Row::Grpc => {
                let message = folder.join("message");
                std::fs::write(&message, peers::frame()).map_err(|error| error.to_string())?;
                vec![
                    (
                        "bare h2",
                        clients::own(peers::CALL, server.address, duration)?,
                    ),
                    (
                        "h2load",
                        clients::h2load_calls(server.address, &message, duration),
                    ),
                    (
                        "tonic",
                        clients::own(peers::TONIC, server.address, duration)?,
                    ),
                ]
            }
            Row::Http2 => {
                vec![
                    ("h2load", clients::h2load(&url("/"), duration)),
                    (
                        "bare h2",
                        clients::own(peers::GET, server.address, duration)?,
                    ),
                ]
            }
            Row::Post => {
                let script = folder.join("post.lua");
                let body = json!({"id": 123_456, "user": 12, "text": clients::kilobyte()});
                let lua = format!(
                    "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = '{body}'\n"
                );
                std::fs::write(&script, lua).map_err(|error| error.to_string())?;
                vec![wrk("/json", Some(script.as_path()))]
            }
        })
    }
}

/// Server and files of a row, kept while it is measured.
pub struct Bench {
    row: Row,
    folder: tempfile::TempDir,
    duration: Duration,
    pub server: Server,
}

impl Bench {
    /// Starts the row's server.
    pub fn new(row: Row, effort: Effort) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        // what a test's `protos` names lies beside its file
        let protos = folder.path().join("protos");
        let written = std::fs::create_dir(&protos)
            .and_then(|()| std::fs::write(protos.join("categorization.proto"), PROTO));
        written.map_err(|error| error.to_string())?;
        Ok(Self {
            row,
            folder,
            duration: effort.warm_up + effort.measured + MARGIN,
            server: row.server()?,
        })
    }

    /// Command line of `program`, a build of this one, with the row's test.
    pub fn starling(&self, program: &Path) -> Result<Command, String> {
        let test = self.row.test(&self.server, self.duration);
        clients::starling_of(program, &test, self.folder.path())
    }

    /// An error if requests of the run before failed.
    pub fn check_result(&self) -> Result<(), String> {
        let result = clients::result(self.folder.path())?;
        if result["totals"]["failures"] != 0 {
            return Err(format!("requests failed: {}", result["errors"]));
        }
        Ok(())
    }
}

/// Prints the figures of a row; its line of the summary.
pub fn compare(row: Row, effort: Effort) -> Result<String, String> {
    println!("\n{}: {}", row.name(), row.title());
    let bench = Bench::new(row, effort)?;
    // of each round the ratios to the first peer: our own, then those of further peers
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    let mut names = Vec::new();
    for round in 1..=effort.pairs {
        let ours = measure(
            bench.starling(Path::new(clients::PROGRAM))?,
            &bench.server,
            effort,
        )?;
        bench.check_result()?;
        println!("  {round}  {:<9}{}", "starling", line(&ours));
        let mut figures = vec![ours];
        names.clear();
        for (name, command) in row.peers(&bench.server, bench.duration, bench.folder.path())? {
            let figure = measure(command, &bench.server, effort)?;
            println!("     {name:<9}{}", line(&figure));
            figures.push(figure);
            names.push(name);
        }
        let counts = figures.iter().all(|figure| figure.stolen <= MAX_STOLEN);
        let first = figures.remove(1).per_request();
        let ratios: Vec<f64> = figures
            .iter()
            .map(|figure| figure.per_request() / first)
            .collect();
        println!(
            "     ratio {:.2}{}",
            ratios[0],
            if counts {
                ""
            } else {
                ", DISCARDED: stolen time"
            }
        );
        rounds.extend(counts.then_some(ratios));
    }
    Ok(summary(row, &rounds, &names, effort.pairs))
}

pub fn line(figure: &Figure) -> String {
    format!(
        "{:7.2} us CPU a request, {:7.0} requests/s, core {:3.0}% busy, stolen {:.1}%, others {:.1}%",
        figure.per_request(),
        figure.per_second(),
        figure.busy() * 100.0,
        figure.stolen * 100.0,
        figure.others * 100.0
    )
}

/// `names` are those of the peers.
fn summary(row: Row, rounds: &[Vec<f64>], names: &[&str], wanted: usize) -> String {
    let (must, aim) = row.bounds();
    let sorted = |place: usize| {
        let mut ratios: Vec<f64> = rounds.iter().map(|round| round[place]).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    };
    let ours = sorted(0);
    let Some(median) = middle(&ours) else {
        return format!(
            "| {} | | {must:.1} | {aim:.1} | every round was discarded |",
            row.name()
        );
    };
    let verdict = if median <= must * TOLERANCE {
        "holds"
    } else {
        "DOES NOT HOLD"
    };
    let verdict = if median <= aim {
        "holds, aim met"
    } else {
        verdict
    };
    let further = names[1..]
        .iter()
        .zip(1..)
        .filter_map(|(name, place)| Some(format!("; {name} {:.2}", middle(&sorted(place))?)));
    let further: String = further.collect();
    format!(
        "| {} | {median:.2} | {must:.1} | {aim:.1} | {verdict}; {} of {wanted} rounds: {ours:.2?}{further} |",
        row.name(),
        ours.len()
    )
}

pub fn middle(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}
