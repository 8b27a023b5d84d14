//! What load costs the machine that makes it, and whether its figures are true: `cargo bench
//! --bench engine`.
//!
//! Client and server are processes of their own, each on a core of its own, over loopback. The
//! client is `starling run`, as it is shipped, with all its recording; a peer does the same work in
//! turn, so that both see the same machine. docs/performance.md tells the method and what came out.
//!
//! - `cargo bench --bench engine`: every row, seven pairs of ten seconds after two of warm-up; some
//!   fifteen minutes.
//! - `cargo bench --bench engine -- --quick post`: one row, three pairs of three seconds after one.
//! - `cargo bench --bench engine -- --against=PROGRAM get`: this program and another build of it in
//!   turn, such as the one before a change, on the rows that have peers.

#![allow(
    clippy::disallowed_methods,
    reason = "what waits for another process has no tasks to hold up"
)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod against;
mod clients;
mod encode;
mod frozen;
mod machine;
mod measure;
mod memory;
mod pacing;
mod pairs;
mod peers;
mod servers;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use pairs::Row;

/// How long a row is measured, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub warm_up: Duration,
    pub measured: Duration,
    pub pairs: usize,
    /// Of the open load with a server that freezes.
    pub frozen: Duration,
}

const FULL: Effort = Effort {
    warm_up: Duration::from_secs(2),
    measured: Duration::from_secs(10),
    pairs: 7,
    frozen: Duration::from_secs(30),
};
const QUICK: Effort = Effort {
    warm_up: Duration::from_secs(1),
    measured: Duration::from_secs(3),
    pairs: 3,
    frozen: Duration::from_secs(10),
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, kind] = arguments.as_slice()
        && serve == servers::SERVE
    {
        servers::serve(kind);
        return ExitCode::SUCCESS;
    }
    if let [load, kind, address, millis] = arguments.as_slice()
        && load == peers::LOAD
    {
        return ended(be_peer(kind, address, millis));
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!(
            "nothing measured: this takes a quiet machine; run it by `cargo bench --bench engine`"
        );
        return ExitCode::SUCCESS;
    }
    let effort = if arguments.iter().any(|argument| argument == "--quick") {
        QUICK
    } else {
        FULL
    };
    let names: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let other = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix(against::OPTION));
    ended(match other {
        Some(other) => hold_against(Path::new(other), &names, effort),
        None => carry_out(&names, effort),
    })
}

fn ended(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn be_peer(kind: &str, address: &str, millis: &str) -> Result<(), String> {
    let address = address
        .parse()
        .map_err(|_| format!("{address} is no address"))?;
    let millis = millis
        .parse()
        .map_err(|_| format!("{millis} is no number of milliseconds"))?;
    // as our own client does, so that nothing looks for a logger
    starling::runtime::logging::init_silent();
    peers::load(kind, address, Duration::from_millis(millis)).map_err(|error| error.to_string())
}

fn hold_against(other: &Path, names: &[&str], effort: Effort) -> Result<(), String> {
    println!("{}", machine::description());
    let rows: Vec<Row> = Row::ALL
        .into_iter()
        .filter(|row| names.is_empty() || names.contains(&row.name()))
        .collect();
    if rows.is_empty() {
        return Err(format!("none of {} is a row with peers", names.join(", ")));
    }
    let mut summary = vec![
        "| row | this / other | |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    for row in rows {
        summary.push(against::compare(row, other, effort)?);
    }
    println!("\n{}", summary.join("\n"));
    Ok(())
}

fn carry_out(names: &[&str], effort: Effort) -> Result<(), String> {
    let known = [
        Row::ALL.map(|row| row.name()).as_slice(),
        &[memory::NAME, encode::NAME, pacing::NAME, frozen::NAME],
    ]
    .concat();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "there is no row {unknown}; there are {}",
            known.join(", ")
        ));
    }
    let is_wanted = |name: &str| names.is_empty() || names.contains(&name);
    println!("{}", machine::description());
    let mut summary = vec![
        "| row | median | must | aim | |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for row in Row::ALL.into_iter().filter(|row| is_wanted(row.name())) {
        summary.push(pairs::compare(row, effort)?);
    }
    if is_wanted(memory::NAME) {
        summary.push(memory::compare()?);
    }
    if is_wanted(encode::NAME) {
        summary.push(encode::compare(effort)?);
    }
    if is_wanted(pacing::NAME) {
        summary.push(pacing::compare(effort)?);
    }
    if is_wanted(frozen::NAME) {
        summary.push(frozen::compare(effort.frozen)?);
    }
    println!("\n{}", summary.join("\n"));
    Ok(())
}
