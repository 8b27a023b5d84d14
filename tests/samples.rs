//! The samples are what they claim: valid, and run against the sample service they pass.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

/// Runs at once: each wants seconds of its own, not a core.
const AT_ONCE: usize = 3;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn starling(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STARLING_")) {
        command.env_remove(name);
    }
    command.current_dir(root()).args(args).stdin(Stdio::null()).output().expect("starling starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn documents(file: &Path) -> Vec<Value> {
    let yaml = fs::read_to_string(file).expect("it is there");
    serde_saphyr::from_multiple(&yaml).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The files that hold a LoadTest.
fn samples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("manifests/samples")).expect("it is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| documents(file).iter().any(|document| document["kind"] == "LoadTest"));
    files.sort();
    files
}

/// Some seconds of little load instead of the test's own.
fn shorten(load: &mut Value) {
    for (kind, limits) in [
        ("closed", json!({"users": 5, "rampUp": null, "duration": "2s"})),
        ("open", json!({"duration": "2s"})),
        ("capacity", json!({"hold": "1s", "settle": "0s"})),
    ] {
        let Some(fields) = load.get_mut(kind).and_then(Value::as_object_mut) else { continue };
        fields.remove("stages");
        for (name, value) in limits.as_object().expect("an object") {
            if value.is_null() {
                fields.remove(name)
            } else {
                fields.insert(name.clone(), value.clone())
            };
        }
    }
}

/// What goes wrong when the sample is run for some seconds; nothing if it passes.
fn run(sample: &Path) -> Option<String> {
    let mut documents = documents(sample);
    for test in documents.iter_mut().filter(|document| document["kind"] == "LoadTest") {
        shorten(&mut test["spec"]["load"]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(sample.file_name().expect("a name"));
    let text: Vec<_> = documents.iter().map(Value::to_string).collect();
    fs::write(&file, text.join("\n---\n")).expect("written");
    let token = folder.path().join("token");
    fs::write(&token, "any").expect("written");
    let token = format!("databricks/pat={}", token.display());
    let output = starling(&["run", "--sample-service", "--secret", &token, file.to_str().expect("UTF-8")]);
    (output.status.code() != Some(0)).then(|| format!("{}:\n{}", sample.display(), said(&output)))
}

#[test]
fn every_sample_is_valid_and_warns_of_nothing() {
    let files = samples();
    assert!(files.len() > 5, "{files:?}");
    let args: Vec<_> = ["validate"].into_iter().chain(files.iter().map(|file| file.to_str().expect("UTF-8"))).collect();
    let output = starling(&args);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for file in &files {
        let name = file.file_stem().expect("a name").to_string_lossy();
        assert!(said.contains(&format!("({name}): valid")), "{name} is not the name of its LoadTest:\n{said}");
    }
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn every_sample_passes_against_the_sample_service() {
    let left = Mutex::new(VecDeque::from(samples()));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(sample) = left.lock().expect("no one panics with it").pop_front() else { break };
                    failed.lock().expect("no one panics with it").extend(run(&sample));
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no one panicked");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
