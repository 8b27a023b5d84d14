//! Specs that are written to stop whoever checks them, checked as the operator checks them: by the
//! real program in a process of its own, which the kernel holds to 192 MiB and 2 s of CPU.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and what waits for a process has no tasks to hold up"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use starling::checking::{CheckError, Outcome, Process, request};
use starling::crd::LoadTestSpec;

#[path = "shared/hostile.rs"]
mod corpus;

use corpus::{Fate, corpus, plain};

const PROGRAM: &str = env!("CARGO_BIN_EXE_starling");

fn checked(spec: &Value) -> Result<Outcome, CheckError> {
    let spec: LoadTestSpec = serde_json::from_value(spec.clone()).unwrap();
    Process::new(PROGRAM)
        .begin(request(&spec, &BTreeMap::new()))?
        .outcome()
}

/// Words of a check that its own budget did not end.
fn died(message: &str) -> bool {
    message.contains("this is the field that was checked last")
}

#[test]
fn a_plain_spec_is_accepted() {
    let checked = checked(&plain()).unwrap().unwrap();
    assert_eq!(checked.plan.scenarios.len(), 1);
}

#[test]
fn every_hostile_spec_is_refused_or_accepted_within_the_bounds_and_with_its_field() {
    let (mut wrong, mut deaths, mut unread, mut accepted) = (Vec::new(), Vec::new(), 0, 0);
    let corpus = corpus();
    let all = corpus.len();
    for (name, spec, fate) in corpus {
        if serde_json::from_value::<LoadTestSpec>(spec.clone()).is_err() {
            // the API server's schema and the reading of files refuse it
            unread += 1;
            continue;
        }
        let outcome = checked(&spec).unwrap_or_else(|error| panic!("{name}: {error}"));
        match (outcome, fate) {
            (Ok(_), Fate::Either) => accepted += 1,
            (Ok(_), Fate::Refused(_)) => wrong.push(format!("{name} was accepted")),
            (Err(problems), fate) => {
                let shown: usize = problems.iter().map(|problem| problem.message.len()).sum();
                if problems.is_empty() || problems.len() > 100 || shown > 200_000 {
                    wrong.push(format!(
                        "{name}: {} problems, {shown} bytes",
                        problems.len()
                    ));
                }
                for problem in problems.iter().take(1) {
                    let begin = match fate {
                        Fate::Refused(path) => path,
                        Fate::Either => "spec",
                    };
                    if !problem.path.starts_with(begin) {
                        wrong.push(format!("{name}: {problem:.300}"));
                    }
                }
                let died = problems.iter().find(|problem| died(&problem.message));
                deaths.extend(died.map(|problem| format!("{name}: {problem:.200}")));
            }
        }
    }
    eprintln!(
        "{all} specs: {accepted} accepted, {unread} no specs at all, {} ended by a limit: \
         {deaths:#?}",
        deaths.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    // the limits of the process are there for what nobody thought of; a build without optimisation
    // needs them more often
    assert!(deaths.len() * 5 < all, "{deaths:#?}");
    assert!(unread * 5 < all);
}

/// Checks with a shell script in the place of the program.
fn scripted(script: &str) -> Result<Outcome, CheckError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Process::new(path).begin(Vec::new())?.outcome()
}

#[test]
fn a_check_is_held_to_its_limits_and_its_death_names_the_field_that_it_was_at() {
    let problem = |script: &str| scripted(script).unwrap().unwrap_err().remove(0);
    let limits = problem("echo \"@$(ulimit -t) $(ulimit -v) $(ulimit -c)\"; kill -SEGV $$");
    assert_eq!(limits.path, "2 196608 0", "{limits}");
    let burning = problem("echo @spec.a; while :; do :; done");
    assert_eq!(burning.path, "spec.a");
    assert!(burning.message.contains("2 s of CPU"), "{burning}");
    let talking = problem("exec tr '\\0' '=' < /dev/zero");
    assert!(talking.message.contains("larger than 16 MiB"), "{talking}");
    let killed = scripted("echo @spec.a; kill -KILL $$");
    assert!(matches!(killed, Err(CheckError::Killed)));
}

#[test]
fn a_check_ends_with_whoever_waits_for_it() {
    let spec: LoadTestSpec = serde_json::from_value(plain()).unwrap();
    let running = Process::new(PROGRAM)
        .begin(request(&spec, &BTreeMap::new()))
        .unwrap();
    drop(running);
    // one whose input ends before its request is complete ends by itself
    let mut child = Command::new(PROGRAM)
        .arg("check-spec")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    let mut waited = Duration::ZERO;
    while child.try_wait().unwrap().is_none() {
        assert!(waited < Duration::from_secs(60), "it is still there");
        std::thread::sleep(Duration::from_millis(50));
        waited += Duration::from_millis(50);
    }
}

/// Runs `starling validate` on a file in an address space of 512 MiB.
fn validate(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "ulimit -v 524288 && ulimit -t 60 && exec \"$0\" validate \"$1\"",
        PROGRAM,
    ]);
    let output = command.arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn hostile_files_are_refused_with_their_line_or_field() {
    let head = "apiVersion: starling.dev/v1alpha1\nkind: LoadTest\nmetadata: {name: x}\n";
    let bomb: String = (1..30)
        .map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", i - 1))
        .collect();
    let (spec, mut doubling) = (plain(), plain());
    let variables = (1..45).map(|i| {
        (
            format!("v{i}"),
            json!(format!("{{{{ v{0} }}}}{{{{ v{0} }}}}", i - 1)),
        )
    });
    doubling["variables"] = Value::Object(variables.collect());
    doubling["variables"]["v0"] = json!("x".repeat(64));
    for (name, text, word) in [
        (
            "bomb",
            format!("{head}a0: &a0 [x, x, x, x, x]\n{bomb}spec: *a29\n"),
            "too much",
        ),
        (
            "merged",
            format!(
                "{head}a0: &a0 {{x: 1}}\n{}spec: {spec}\n",
                "b: {<<: *a0}\n".repeat(2)
            ),
            "line",
        ),
        (
            "deep",
            format!("{head}spec: {}{}\n", "[".repeat(5_000), "]".repeat(5_000)),
            "line 4",
        ),
        (
            "wide",
            format!("{head}spec: [{}]\n", "1,".repeat(300_000)),
            "too much",
        ),
        (
            "large",
            format!("{head}# {}\n", "x".repeat(1 << 20)),
            "1 MiB",
        ),
        (
            "documents",
            format!("{head}---\n").repeat(9_000),
            "too much",
        ),
        (
            "doubling",
            format!("{head}spec: {doubling}\n"),
            "spec.variables.",
        ),
        ("no-text", format!("{head}spec: \"\\xff\\ud800\"\n"), "line"),
    ] {
        let (code, said) = validate(&text);
        assert_eq!(code, Some(2), "{name}: {said:.500}");
        assert!(said.contains(word), "{name}: {said:.500}");
        assert!(said.len() < 4_000_000, "{name} says {} bytes", said.len());
    }
}
