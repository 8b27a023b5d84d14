//! The process that checks one spec.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Arc;

use super::{FIELD, MAX_MESSAGE, OUTCOME, Outcome, Request};
use crate::crd::{LoadTestSpec, check_with};
use crate::plan::{Columns, Problem, budget, with_large_stack};

/// Stack of the check, in bytes: steps, variables and values lie within each other. The request has
/// a depth of 128 at most.
const STACK: usize = 32 << 20;

/// Longest path that is written before a field is checked, in characters.
const MAX_PATH: usize = 300;

/// Checks the spec that standard input holds and writes the outcome to standard output. Ends the
/// process when standard input ends before that, since then nobody waits for the outcome.
pub fn serve() -> ExitCode {
    let request = match read_request() {
        Ok(request) => request,
        Err(error) => return failure("cannot read what to check", &error),
    };
    // the only other thread: each takes address space, of which there is little
    let checks = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || check(&request));
    match checks {
        Ok(_) => wait_for_the_end_of_input(),
        Err(error) => failure("there is no thread to check on", &error),
    }
}

/// Checks, writes the outcome, and ends the process, whose main thread waits for input.
#[allow(clippy::disallowed_methods, reason = "main cannot return meanwhile")]
fn check(request: &[u8]) {
    // a panic writes itself to standard error
    let outcome = catch_unwind(|| with_large_stack(|| outcome(request)));
    let written = outcome.map(|outcome| write_outcome(&outcome));
    if let Ok(Err(error)) = &written {
        failure("cannot write the outcome", error);
    }
    std::process::exit(i32::from(!matches!(written, Ok(Ok(())))))
}

/// Says on standard error why there is no outcome.
fn failure(what: &str, error: &io::Error) -> ExitCode {
    eprintln!("{what}: {error}");
    ExitCode::FAILURE
}

/// Waits for the end of input, which stays open for as long as somebody waits for the outcome.
fn wait_for_the_end_of_input() -> ExitCode {
    // an error is an end, too
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    ExitCode::FAILURE
}

/// Reads the request: its length in eight bytes, then its bytes.
fn read_request() -> io::Result<Vec<u8>> {
    let mut stdin = io::stdin().lock();
    let mut length = [0; 8];
    stdin.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_MESSAGE {
        return Err(io::Error::other("it is too long"));
    }
    let mut request = vec![0; length as usize];
    stdin.read_exact(&mut request)?;
    Ok(request)
}

fn outcome(request: &[u8]) -> Outcome {
    let wrong = |error: serde_json::Error| vec![Problem::new("spec", error.to_string())];
    let Request { spec, columns } =
        serde_json::from_slice::<Request<LoadTestSpec, BTreeMap<String, Columns>>>(request)
            .map_err(wrong)?;
    let columns = columns
        .into_iter()
        .map(|(name, columns)| (name, Arc::new(columns)))
        .collect();
    budget::observed(write_field, || check_with(&spec, &columns))
}

/// Writes the path of the field that is checked next.
fn write_field(path: &str) {
    let mut line = vec![FIELD];
    let shown = path.chars().take(MAX_PATH);
    let shown: String = shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.extend_from_slice(shown.as_bytes());
    line.push(b'\n');
    // whoever does not read it any more ends this process
    let _ = io::stdout().lock().write_all(&line);
}

fn write_outcome(outcome: &Outcome) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    out.write_all(&[OUTCOME])?;
    serde_json::to_writer(&mut out, outcome)?;
    out.write_all(b"\n")?;
    out.flush()
}
