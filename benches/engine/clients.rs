//! The command lines of the clients: ours with a test of its own, and the peers'.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::peers::{self, STREAMS};

/// Of HTTP/1.1, or streams of HTTP/2.
pub const CONNECTIONS: u32 = 64;

/// Some kilobyte of text for the body of a POST, without what JSON would escape.
pub fn kilobyte() -> String {
    "the central bank raised its rates while the markets fell, "
        .chars()
        .cycle()
        .take(940)
        .collect()
}

/// A LoadTest with one step; `change` may add to its spec.
pub fn test(
    address: SocketAddr,
    step: Value,
    load: Value,
    change: impl FnOnce(&mut Value),
) -> Value {
    let scenario = json!({"name": "s", "tasks": [{"name": "t", "steps": [step]}]});
    let mut spec = json!({"target": {"url": format!("http://{address}")}, "scenarios": [scenario], "load": load});
    change(&mut spec);
    json!({"apiVersion": "starling.dev/v1alpha1", "kind": "LoadTest", "metadata": {"name": "bench"}, "spec": spec})
}

pub fn closed(users: u32, duration: Duration) -> Value {
    json!({"closed": {"users": users, "duration": format!("{}ms", duration.as_millis())}})
}

/// This program, as it was built for the benchmark.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_starling");

/// `starling run` of `test` on one core; its result goes to `folder`.
pub fn starling(test: &Value, folder: &Path) -> Result<Command, String> {
    starling_of(Path::new(PROGRAM), test, folder)
}

/// The same by `program`, another build of this one.
pub fn starling_of(program: &Path, test: &Value, folder: &Path) -> Result<Command, String> {
    let file = folder.join("test.yaml");
    // JSON is YAML
    fs::write(&file, test.to_string()).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(["run", "--cores", "1", "--json"])
        .arg(result_file(folder))
        .arg(file);
    Ok(command)
}

fn result_file(folder: &Path) -> std::path::PathBuf {
    folder.join("result.json")
}

/// What our client found out.
pub fn result(folder: &Path) -> Result<Value, String> {
    let bytes = fs::read(result_file(folder)).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// `wrk` with one thread; `script` is Lua.
pub fn wrk(url: &str, connections: u32, duration: Duration, script: Option<&Path>) -> Command {
    let mut command = Command::new("wrk");
    command.args([
        "-t1",
        &format!("-c{connections}"),
        &format!("-d{}s", duration.as_secs().max(1)),
    ]);
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    command.arg(url);
    command
}

/// `h2load` with one thread, without TLS.
pub fn h2load(url: &str, duration: Duration) -> Command {
    let mut command = Command::new("h2load");
    let [connections, streams] = [format!("-c{}", peers::CONNECTIONS), format!("-m{STREAMS}")];
    command.args([
        "-t1",
        &connections,
        &streams,
        &format!("-D{}", duration.as_secs().max(1)),
        url,
    ]);
    command
}

/// The same as calls over gRPC, whose message is in the file.
pub fn h2load_calls(address: SocketAddr, message: &Path, duration: Duration) -> Command {
    let mut command = h2load(&format!("http://{address}/{}", peers::METHOD), duration);
    command
        .args([
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "-d",
        ])
        .arg(message);
    command
}

/// This program as a client of the kind.
pub fn own(kind: &str, address: SocketAddr, duration: Duration) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command
        .args([peers::LOAD, kind])
        .arg(address.to_string())
        .arg(duration.as_millis().to_string());
    Ok(command)
}
