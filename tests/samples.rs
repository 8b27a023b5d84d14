//! The samples and the guides are what they claim: their files are valid and pass against the
//! demo service, their commands run.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

#[path = "shared/unhurried.rs"]
mod unhurried;
use unhurried::unhurried;

/// Runs at once: each wants seconds of its own, not a core.
const AT_ONCE: usize = 3;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn starling(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STARLING_"))
    {
        command.env_remove(name);
    }
    command
        .current_dir(root())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("starling starts")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn documents(file: &Path) -> Vec<Value> {
    let yaml = fs::read_to_string(file).expect("it is there");
    serde_saphyr::from_multiple(&yaml).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The files that hold a LoadTest.
fn samples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("manifests/samples")).expect("it is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.retain(|file| {
        documents(file)
            .iter()
            .any(|document| document["kind"] == "LoadTest")
    });
    files.sort();
    files
}

/// Some seconds of little load instead of the test's own.
fn shorten(load: &mut Value) {
    for (kind, limits) in [
        (
            "closed",
            json!({"users": 5, "rampUp": null, "duration": "2s"}),
        ),
        ("open", json!({"rampUp": null, "duration": "2s"})),
        (
            "capacity",
            json!({"start": 20, "max": 25, "hold": "2s", "settle": "0s"}),
        ),
    ] {
        let Some(fields) = load.get_mut(kind).and_then(Value::as_object_mut) else {
            continue;
        };
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

/// The text of its documents, each LoadTest shortened and asked for sound answers only.
fn shortened(documents: &mut [Value]) -> String {
    for test in documents
        .iter_mut()
        .filter(|document| document["kind"] == "LoadTest")
    {
        shorten(&mut test["spec"]["load"]);
        test["spec"]
            .as_object_mut()
            .expect("an object")
            .remove("warmup");
        assert!(
            test["spec"]["thresholds"].is_array(),
            "every sample has thresholds"
        );
        unhurried(test);
    }
    let texts: Vec<_> = documents.iter().map(Value::to_string).collect();
    texts.join("\n---\n")
}

/// What goes wrong when the sample is run for some seconds; nothing if it passes.
fn run(sample: &Path) -> Option<String> {
    let mut documents = documents(sample);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(sample.file_name().expect("a name"));
    fs::write(&file, shortened(&mut documents)).expect("written");
    let token = folder.path().join("token");
    fs::write(&token, "any").expect("written");
    let token = format!("databricks/pat={}", token.display());
    let output = starling(&[
        "run",
        "--demo-service",
        "--secret",
        &token,
        file.to_str().expect("UTF-8"),
    ]);
    (output.status.code() != Some(0)).then(|| format!("{}:\n{}", sample.display(), said(&output)))
}

#[test]
fn every_sample_is_valid_and_warns_of_nothing() {
    let files = samples();
    assert!(files.len() > 10, "{files:?}");
    let args: Vec<_> = ["validate"]
        .into_iter()
        .chain(files.iter().map(|file| file.to_str().expect("UTF-8")))
        .collect();
    let output = starling(&args);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for file in &files {
        let name = file.file_stem().expect("a name").to_string_lossy();
        assert!(
            said.contains(&format!("({name}): valid")),
            "{name} is not the name of its LoadTest:\n{said}"
        );
    }
    assert!(!said.contains("warning"), "{said}");
}

/// Where an editor finds what fields there are, from the folder of the samples.
const SCHEMA: &str = "# yaml-language-server: $schema=../../docs/loadtest.schema.json";

#[test]
fn every_sample_says_where_its_schema_is() {
    for sample in samples() {
        let yaml = fs::read_to_string(&sample).expect("it is there");
        assert_eq!(yaml.lines().next(), Some(SCHEMA), "{}", sample.display());
    }
}

#[test]
fn every_sample_passes_against_the_demo_service() {
    let left = Mutex::new(VecDeque::from(samples()));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(sample) = left.lock().expect("no one panics with it").pop_front()
                    else {
                        break;
                    };
                    failed
                        .lock()
                        .expect("no one panics with it")
                        .extend(run(&sample));
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no one panicked");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A guide tells how to test these; the demo service plays them all.
const ENDPOINTS: [&str; 5] = [
    "https://adb-1234567890123456.7.azuredatabricks.net",
    "http://models.example.com:8080",
    "http://models.example.com:8081",
    "https://llm.example.com",
    "https://categorizer.example.com",
];

/// A fenced part of a page.
struct Part {
    language: String,
    text: String,
}

fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for (index, between) in page.split("```").enumerate() {
        let (language, text) = between.split_once('\n').unwrap_or_default();
        if index % 2 == 1 {
            parts.push(Part {
                language: language.to_owned(),
                text: text.to_owned(),
            });
        }
    }
    parts
}

/// `starling demo-service` on a free port.
struct Service(Child, String);

impl Service {
    fn start() -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
        let mut child = command
            .args(["demo-service", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("its first line");
        let url = line
            .trim()
            .strip_prefix("sample service on ")
            .expect("where it listens")
            .to_owned();
        Service(child, url)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_guide_to_model_serving_can_be_followed_to_its_end() {
    let page = fs::read_to_string(root().join("docs/model-serving.md")).expect("it is there");
    let service = Service::start();
    let folder = tempfile::tempdir().expect("a folder");
    let program = Path::new(env!("CARGO_BIN_EXE_starling"))
        .parent()
        .expect("a folder");
    let path = format!(
        "{}:{}",
        program.display(),
        std::env::var("PATH").expect("a PATH")
    );
    let mut commands = 0;
    for Part { language, text } in parts(&page) {
        let told = ENDPOINTS.iter().fold(text.clone(), |text, endpoint| {
            text.replace(endpoint, &service.1)
        });
        match language.as_str() {
            "yaml" => {
                let name = text
                    .lines()
                    .next()
                    .and_then(|line| line.strip_prefix("# "))
                    .expect("a file's first line is its name");
                let file = folder.path().join(name);
                fs::write(&file, &text).expect("written");
                let output = starling(&["validate", file.to_str().expect("UTF-8")]);
                assert!(
                    output.status.success() && !said(&output).contains("warning"),
                    "{}",
                    said(&output)
                );
                let mut documents: Vec<Value> = serde_saphyr::from_multiple(&told)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                fs::write(&file, shortened(&mut documents)).expect("written");
            }
            // those are typed where there is a cluster: tests/e2e
            "sh" if text.starts_with("kubectl ") => {}
            "sh" => {
                commands += text.matches("starling ").count();
                let mut bash = Command::new("bash");
                bash.args(["-euc", &text])
                    .current_dir(folder.path())
                    .env("PATH", &path)
                    .stdin(Stdio::null());
                bash.envs([
                    ("DATABRICKS_TOKEN", "any"),
                    ("CLIENT_SECRET", "any"),
                    ("LLM_KEY", "any"),
                ]);
                let output = bash.output().expect("bash starts");
                assert!(output.status.success(), "{text}\n{}", said(&output));
            }
            other => assert_eq!(other, "text", "{text}"),
        }
    }
    assert!(commands >= 8, "{commands}");
}
