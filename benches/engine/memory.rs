//! Memory of a user who rests between two requests, beside that of a connection of wrk's.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::servers::Server;
use crate::{clients, machine, measure};

pub const NAME: &str = "memory";

const FEW: u32 = 64;
const MANY: u32 = 10_000;
/// Kilobytes a user.
const MUST: f64 = 12.0;
const AIM: f64 = 4.0;
/// Until all connections are open.
const PATIENCE: Duration = Duration::from_secs(60);

/// Prints the figures; the line of the summary.
pub fn compare() -> Result<String, String> {
    println!(
        "\n{NAME}: resident memory of an idle user, {MANY} against {FEW}; peer: a connection of wrk's"
    );
    machine::allow_files(u64::from(MANY) + 1000)?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let server = Server::nginx()?;
    let long = Duration::from_secs(300);
    let ours = |users| {
        let test = clients::test(
            server.address,
            json!({"http": {"path": "/small"}}),
            clients::closed(users, long),
            |spec| {
                spec["scenarios"][0]["thinkTime"] = json!({"min": "10m", "max": "10m"});
                spec["load"]["closed"]["rampUp"] = json!("2s");
                spec["load"]["closed"]["spawnRate"] = json!(users);
            },
        );
        resident(clients::starling(&test, folder.path())?, &server, users)
    };
    // from another address, so that both have ports enough
    let second = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), server.address.port()));
    let wrk = |connections| {
        resident(
            clients::wrk(&format!("http://{second}/small"), connections, long, None),
            &server,
            connections,
        )
    };
    let starling = per_user("starling", ours(FEW)?, ours(MANY)?);
    let peer = per_user("wrk", wrk(FEW)?, wrk(MANY)?);
    let verdict = if starling <= AIM {
        "holds, aim met"
    } else if starling <= MUST {
        "holds"
    } else {
        "DOES NOT HOLD"
    };
    Ok(format!(
        "| {NAME} | {starling:.1} KB | {MUST} KB | {AIM} KB | {verdict}; wrk {peer:.1} KB |"
    ))
}

/// Kilobytes.
fn per_user(name: &str, few: u64, many: u64) -> f64 {
    let each = many.saturating_sub(few) as f64 / 1024.0 / f64::from(MANY - FEW);
    println!(
        "  {name:<8} {:6.1} MB with {FEW}, {:6.1} MB with {MANY}: {each:.2} KB each",
        megabytes(few),
        megabytes(many)
    );
    each
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// What the client holds when all its connections have been open for a while.
fn resident(mut command: Command, server: &Server, connections: u32) -> Result<u64, String> {
    let mut child = measure::start(&mut command)?;
    let bytes = await_connections(&mut child, server, connections).map(|()| {
        std::thread::sleep(Duration::from_secs(3));
        machine::resident(child.id())
    });
    let _ = child.kill(); // it may have ended by itself
    let _ = child.wait();
    await_none(server);
    bytes
}

fn await_connections(child: &mut Child, server: &Server, connections: u32) -> Result<(), String> {
    let begun = Instant::now();
    while server.connections() < connections.into() {
        if begun.elapsed() > PATIENCE || child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Err(format!(
                "only {} of {connections} connections were opened",
                server.connections()
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn await_none(server: &Server) {
    let begun = Instant::now();
    while server.connections() > 0 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
    }
}
