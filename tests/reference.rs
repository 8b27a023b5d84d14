//! docs/loadtest.md is what the program prints, and its examples are what they claim: valid, run,
//! and enough.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use serde_json::Value;

#[path = "shared/unhurried.rs"]
mod unhurried;
use unhurried::unhurried;

/// Runs at once: each wants a second of its own, not a core.
const AT_ONCE: usize = 4;

/// A line of the comment at the top of an example that cannot be run here, with the reason.
const ONLY_CHECKED: &str = "# Only checked: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn starling(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_starling"))
        .current_dir(root())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("starling starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).expect("UTF-8")
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs/examples")).expect("it is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() > 20, "{files:?}");
    files
}

fn reference() -> Output {
    starling(&["reference", "docs/examples"])
}

/// Example of bodies of which the demo service takes one kind only, so that most of its requests fail.
const REFUSED: &str = "scenarios.tasks.steps.http-bodies.yaml";

/// What goes wrong when the file is run for about a second and asked for sound answers only;
/// nothing if it passes.
fn run(file: &Path) -> Option<String> {
    let yaml = fs::read_to_string(file).expect("it is there");
    if yaml.lines().any(|line| line.starts_with(ONLY_CHECKED)) {
        return None;
    }
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(&yaml).expect("YAML");
    for document in &mut documents {
        if document["kind"] == "LoadTest" {
            unhurried(document);
            if file.ends_with(REFUSED) {
                document["spec"]["run"]["maxFailures"] = "100%".into();
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let patient = folder.path().join(file.file_name().expect("a name"));
    fs::write(
        &patient,
        documents
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join("\n---\n"),
    )
    .expect("written");
    let load = &documents[0]["spec"]["load"];
    let is_held = !load["closed"]["duration"].is_null() || !load["open"]["duration"].is_null();
    let shorter: &[&str] = if is_held { &["--duration", "1s"] } else { &[] };
    let output = starling(
        &[
            &["run", "--demo-service", patient.to_str().expect("UTF-8")],
            shorter,
        ]
        .concat(),
    );
    let said = || {
        format!(
            "{}:\n{}{}",
            file.display(),
            text(&output.stdout),
            text(&output.stderr)
        )
    };
    (output.status.code() != Some(0)).then(said)
}

#[test]
fn the_page_is_what_the_program_prints() {
    let page = fs::read_to_string(root().join("docs/loadtest.md")).expect("it is there");
    let output = reference();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout) == page,
        "docs/loadtest.md is not what the program prints: run `make generate`"
    );
}

#[test]
fn the_generated_files_are_what_the_program_prints() {
    let files: [(&str, &[&str]); 4] = [
        ("docs/starlingpolicy.md", &["reference", "--policy"]),
        ("docs/result.md", &["reference", "--result"]),
        ("docs/loadtest.schema.json", &["schema"]),
        ("docs/result.schema.json", &["schema", "--result"]),
    ];
    for (file, arguments) in files {
        let written = fs::read_to_string(root().join(file)).expect("it is there");
        let output = starling(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            text(&output.stdout) == written,
            "{file} is not what the program prints: run `make generate`"
        );
    }
}

#[test]
fn an_example_named_after_nothing_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let example = root().join("docs/examples/spec.yaml");
    fs::copy(example, folder.path().join("load.opne.yaml")).expect("copied");
    let output = starling(&["reference", folder.path().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("load.opne"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn every_field_has_an_example() {
    let said = text(&reference().stderr);
    let without: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("without an example: "))
        .collect();
    assert!(
        without.is_empty(),
        "docs/examples shows nothing of {without:#?}"
    );
}

#[test]
fn every_example_is_valid_and_warns_of_nothing() {
    let files = examples();
    let args: Vec<_> = ["validate"]
        .into_iter()
        .chain(files.iter().map(|file| file.to_str().expect("UTF-8")))
        .collect();
    let output = starling(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let warnings = text(&output.stderr);
    assert!(!warnings.contains("warning"), "{warnings}");
}

#[test]
fn every_example_that_holds_load_passes_against_the_demo_service() {
    let left = Mutex::new(VecDeque::from(examples()));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(file) = left.lock().expect("no one panics with it").pop_front() else {
                        break;
                    };
                    failed
                        .lock()
                        .expect("no one panics with it")
                        .extend(run(&file));
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no one panicked");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
