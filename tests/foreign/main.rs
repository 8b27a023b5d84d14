//! Load sent to servers that others wrote: gRPC's own for Python and Go, MLServer, MLflow's scoring
//! server and guidellm's mock of a language model. `tests/foreign/prepare.sh` installs them; where
//! it cannot, these tests fail.

#![allow(
    clippy::disallowed_methods,
    reason = "what waits for another process has no tasks to hold up"
)]

mod chat;
mod grpc_go;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Python is slow to start on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The interpreter that has the servers.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let prepared = Command::new(root().join("tests/foreign/prepare.sh"))
            .stderr(Stdio::inherit())
            .output()
            .expect("bash runs");
        assert!(
            prepared.status.success(),
            "tests/foreign/prepare.sh could not install the servers"
        );
        String::from_utf8(prepared.stdout)
            .expect("UTF-8")
            .trim()
            .into()
    })
}

/// One of our scripts: it says its address, then its counts as often as it is asked.
struct Script {
    child: Child,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Script {
    fn start(name: &str, args: &[&str]) -> Script {
        let mut command = Command::new(python());
        command
            .current_dir(root())
            .arg(root().join("tests/foreign").join(name))
            .args(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let url = read_line(&mut lines);
        Script { child, lines, url }
    }

    fn counts(&mut self) -> Value {
        self.child
            .stdin
            .as_mut()
            .expect("a pipe")
            .write_all(b"\n")
            .expect("it reads");
        serde_json::from_str(&read_line(&mut self.lines)).expect("JSON")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert!(!line.is_empty(), "the server ended");
    line.trim().to_owned()
}

/// MLServer with the model of `tests/foreign/mlserver`.
struct MlServer {
    child: Child,
    _folder: TempDir,
    http: u16,
    grpc: u16,
    metrics: u16,
}

impl MlServer {
    fn start() -> MlServer {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["model.py", "model-settings.json"] {
            fs::copy(
                root().join("tests/foreign/mlserver").join(file),
                folder.path().join(file),
            )
            .expect("copied");
        }
        let [http, grpc, metrics] = free_ports();
        let program = python().with_file_name("mlserver");
        let mut command = Command::new(program);
        command
            .arg("start")
            .arg(folder.path())
            .env("MLSERVER_HOST", "127.0.0.1")
            .env("MLSERVER_PARALLEL_WORKERS", "0");
        for (name, port) in [("HTTP", http), ("GRPC", grpc), ("METRICS", metrics)] {
            command.env(format!("MLSERVER_{name}_PORT"), port.to_string());
        }
        let child = command
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = MlServer {
            child,
            _folder: folder,
            http,
            grpc,
            metrics,
        };
        let begun = Instant::now();
        while !get(http, "/v2/models/categorizer/ready").starts_with("HTTP/1.1 200") {
            assert!(
                begun.elapsed() < PATIENCE,
                "MLServer is not ready after {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    /// The sum of a counter of its own, over the series that have this in their labels.
    fn counted(&self, counter: &str, label: &str) -> u64 {
        let metrics = get(self.metrics, "/metrics");
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with(&format!("{counter}{{")) && line.contains(label));
        lines
            .map(|line| {
                line.rsplit(' ')
                    .next()
                    .expect("a value")
                    .parse::<f64>()
                    .expect("a number") as u64
            })
            .sum()
    }
}

impl Drop for MlServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// MLServer cannot say which port it found, so these were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

/// The whole answer; nothing while nobody listens.
fn get(port: u16, path: &str) -> String {
    ask(&format!("127.0.0.1:{port}"), "GET", path, "")
}

/// The whole answer to a request with this JSON as it is; nothing while nobody listens.
fn ask(address: &str, method: &str, path: &str, json: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        // a server that is starting may break off; then there is no answer yet
        let _ = stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_string(&mut answer));
    }
    answer
}

/// Runs a test against `url` and gives its result; it must pass.
#[track_caller]
fn run(yaml: &str, url: &str) -> Value {
    let (code, result, said) = run_whatever_comes(yaml, url);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(result["totals"]["failures"], 0, "{said}");
    result
}

/// Runs a test against `url`, and gives its exit code, its result and what was said.
#[track_caller]
fn run_whatever_comes(yaml: &str, url: &str) -> (Option<i32>, Value, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, json) = (
        folder.path().join("test.yaml"),
        folder.path().join("result.json"),
    );
    fs::write(&file, yaml).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    let output = command
        .arg("run")
        .arg(&file)
        .args(["--target", url, "--json"])
        .arg(&json)
        .output()
        .expect("starling starts");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let result = fs::read(json).expect(&said);
    let result = serde_json::from_slice(&result).expect("JSON");
    (output.status.code(), result, said)
}

/// The results of a step.
#[track_caller]
fn step<'a>(result: &'a Value, name: &str) -> &'a Value {
    let mut steps = result["steps"].as_array().expect("steps").iter();
    steps.find(|step| step["step"] == name).expect(name)
}

/// Steps of one scenario, as YAML, carried out 40 times by four users.
fn test(top: &str, steps: &str) -> String {
    let indented: String = steps
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect();
    let top: String = top.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata: {{name: foreign}}
spec:
  target: {{url: http://127.0.0.1:9}}
{top}  scenarios:
  - name: client
    tasks:
    - name: ask
      steps:
{indented}  load: {{iterations: {{count: 40, users: 4}}}}
  thresholds:
  - {{metric: failures, expr: rate <= 0%}}
  - {{metric: checks, expr: rate >= 100%}}
"
    )
}

const ROWS: &str = "feeders:
- name: rows
  inline:
  - {text: the team won, category: sports, a: 1, b: 3}
  - {text: the market fell, category: other, a: 5.5, b: 6.5}";

#[test]
fn mlserver_understands_typed_tensors_made_of_a_feeders_rows() {
    let server = MlServer::start();
    let steps = r#"- name: infer
  http:
    method: POST
    path: /v2/models/categorizer/infer
    json:
      id: "{{ uuid() }}"
      inputs:
      - {name: text, shape: [1], datatype: BYTES, data: ["{{ rows.text }}"]}
  checks:
  - {status: [200]}
  - {jsonPath: "$.outputs[0].data[0]", equals: "{{ rows.category }}"}"#;
    let result = run(
        &test(ROWS, steps),
        &format!("http://127.0.0.1:{}", server.http),
    );
    assert_eq!(result["totals"]["requests"], 40);
    assert_eq!(
        server.counted("rest_server_requests_total", "/infer\",status_code=\"200\""),
        40
    );
}

#[test]
fn mlflow_understands_every_form_of_rows() {
    let mut server = Script::start("scoring.py", &["mean"]);
    let steps = r#"- name: split
  http:
    method: POST
    path: /invocations
    json: {dataframe_split: {columns: [a, b], data: [["{{ rows.a }}", "{{ rows.b }}"], [1, 2.5]]}}
  checks:
  - {jsonPath: "$.predictions[1]", equals: 1.75}
- name: records
  http:
    method: POST
    path: /invocations
    json: {dataframe_records: "{{ rows.take(2) }}"}
  checks:
  - {cel: "json.predictions == [2.0, 6.0] || json.predictions == [6.0, 2.0]"}
- name: inputs
  http:
    method: POST
    path: /invocations
    json: {inputs: {a: ["{{ rows.a }}", 2], b: ["{{ rows.b }}", 4]}}
  checks:
  - {jsonPath: "$.predictions[1]", equals: 3}"#;
    let result = run(&test(ROWS, steps), &server.url);
    assert_eq!(result["totals"]["requests"], 120);
    assert_eq!(server.counts()["/invocations"], 120);
}

/// The first prediction of MLflow's server for a request with this text.
fn prediction(url: &str, json: &str) -> f64 {
    let address = url.trim_start_matches("http://");
    let answer = ask(address, "POST", "/invocations", json);
    let (_, body) = answer.split_once("\r\n\r\n").expect(&answer);
    let body: Value = serde_json::from_str(body.trim()).expect(&answer);
    body["predictions"][0].as_f64().expect(&answer)
}

#[test]
fn a_model_without_a_signature_scores_json_text_as_it_is_written() {
    let mut server = Script::start("scoring.py", &["places"]);
    let texts = [
        r#"{"dataframe_records": [{"c": 1, "a": 2.50, "b": 3}]}"#,
        r#"{"dataframe_records": [{"b": 3e0, "c": 1, "a": 2.50}]}"#,
        r#"{"inputs": {"c": [1], "a": [2.5], "b": [3]}}"#,
        r#"{"instances": [{"c": 1, "b": 3, "a": 2.5}]}"#,
    ];
    let steps: String = (texts.iter().enumerate())
        .map(|(number, text)| {
            let predicted = prediction(&server.url, text);
            format!(
                "- name: text {number}\n  http:\n    method: POST\n    path: /invocations\n    \
                 json: |\n      {text}\n  checks:\n  - {{jsonPath: '$.predictions[0]', \
                 equals: {predicted}}}\n"
            )
        })
        .collect();
    assert_eq!(prediction(&server.url, texts[0]), 326.0);
    assert_eq!(prediction(&server.url, texts[1]), 263.0);
    let steps = steps
        + r#"- name: expressions
  http:
    method: POST
    path: /invocations
    json: |
      {"dataframe_records": [{"c": {{ rows.c }}, "a": {{ rows.a }}, "b": 3}]}
  checks:
  - {cel: "json.predictions[0] in [326.0, 317.0]"}
- name: rows of a feeder
  http:
    method: POST
    path: /invocations
    json: |
      {"dataframe_records": {{ rows.take(1) }}}
  checks:
  - {cel: "json.predictions[0] in [326.0, 417.0]"}
- name: mapping
  http:
    method: POST
    path: /invocations
    json: {dataframe_records: [{c: 1, a: 2.5, b: 3}]}
  checks:
  - {jsonPath: "$.predictions[0]", equals: 132.5}"#;
    let feeders =
        "feeders:\n- name: rows\n  jsonLines: {configMapKeyRef: {name: rows, key: lines}}";
    let lines = r#"{"c": 1, "a": 2.5, "b": 3}
{"c": 2, "a": 1.5, "b": 4}"#;
    let config_map = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"},
        "data": {"lines": lines},
    });
    let yaml = format!("{}---\n{config_map}\n", test(feeders, &steps));
    let result = run(&yaml, &server.url);
    assert_eq!(result["totals"]["requests"], 7 * 40);
    let warnings = result["warnings"].to_string();
    assert!(warnings.contains("columns by position"), "{warnings}");
    assert_eq!(server.counts()["/invocations"], 7 * 40 + 6);
}

#[test]
fn mlserver_takes_the_same_over_grpc_by_a_proto_file() {
    let server = MlServer::start();
    let proto = fs::read_to_string(root().join("src/demo/inference.proto")).expect("it is there");
    let top = format!(
        "{ROWS}\nprotos:\n  configMaps:\n  - {{name: protos, items: [{{key: v2.proto, path: v2.proto}}]}}"
    );
    let steps = r#"- name: ModelInfer
  grpc:
    method: inference.GRPCInferenceService/ModelInfer
    message:
      model_name: categorizer
      inputs:
      - {name: text, datatype: BYTES, shape: [1], contents: {bytes_contents: ["{{ base64(rows.text) }}"]}}
  checks:
  - {jsonPath: "$.outputs[0].name", equals: category}"#;
    let config_map = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "protos"}, "data": {"v2.proto": proto},
    });
    let yaml = format!("{}---\n{config_map}\n", test(&top, steps));
    let result = run(&yaml, &format!("http://127.0.0.1:{}", server.grpc));
    assert_eq!(result["totals"]["requests"], 40);
    assert_eq!(
        server.counted("grpc_server_handled_total", "ModelInfer"),
        40
    );
}

#[test]
fn a_server_of_grpcio_tells_its_methods_and_answers_calls_of_every_kind() {
    let mut server = Script::start("categorizer.py", &["src/demo", "categorization.proto"]);
    let steps = r#"- name: unary
  grpc:
    method: categorization.TextCategorization/GetPrediction
    message: {text: "{{ rows.text }}"}
    gzip: true
  timeout: 30s
  checks:
  - {jsonPath: $.category, equals: "{{ rows.category }}"}
  - {trailer: served-by, equals: grpcio}
- name: refused
  grpc: {method: categorization.TextCategorization/GetPrediction, message: {text: ""}}
  checks:
  - {grpcStatus: [INVALID_ARGUMENT]}
- name: watch
  grpc: {method: categorization.TextCategorization/WatchPrediction, message: {text: a team, count: 4}}
  checks:
  - {messages: {atLeast: 4, atMost: 4}}
- name: summarise
  grpc:
    method: categorization.TextCategorization/SummarizePredictions
    stream: {messages: [{text: a team}, {text: "{{ rows.text }}"}, {text: another team}]}
  checks:
  - {jsonPath: $.texts, equals: 3}
- name: talk
  grpc:
    method: categorization.TextCategorization/GetPredictions
    message: {text: a team}
    stream: {messages: 5, interval: 2ms}
  checks:
  - {messages: {atLeast: 5, atMost: 5}}"#;
    let result = run(&test(ROWS, steps), &server.url);
    assert_eq!(result["totals"]["requests"], 200);
    let expected = serde_json::json!({"GetPrediction": 80, "WatchPrediction": 40, "SummarizePredictions": 40, "GetPredictions": 40});
    assert_eq!(server.counts(), expected);
}

/// What the implementation of JSON Schema for Python finds wrong with files; its last line is a count.
fn refused_by(schema: &str, files: &[PathBuf]) -> (Vec<String>, String) {
    let checked = Command::new(python())
        .current_dir(root())
        .args(["tests/foreign/editor_schema.py", schema])
        .args(files)
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{errors}");
    let said = String::from_utf8(checked.stdout).expect("UTF-8");
    let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
    let count = lines.pop().expect("a count");
    (lines, count)
}

#[test]
fn an_editor_that_follows_the_schema_finds_nothing_wrong_and_sees_mistakes() {
    let mut files = Vec::new();
    for folder in ["manifests/samples", "docs/examples"] {
        let entries = fs::read_dir(root().join(folder)).expect("it is there");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    let (refused, count) = refused_by("docs/loadtest.schema.json", &files);
    assert_eq!(refused, [""; 0]);
    let tests: usize = count
        .split(' ')
        .next()
        .expect("a count")
        .parse()
        .expect(&count);
    assert!(tests + 5 > files.len(), "{count}");
}

#[test]
fn results_are_what_their_schema_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    for test in ["quickstart", "chat", "grpc-stream"] {
        let result = folder.path().join(format!("{test}.json"));
        let ran = Command::new(env!("CARGO_BIN_EXE_starling"))
            .current_dir(root())
            .args(["run", "--demo-service", "--duration", "3s", "--json"])
            .arg(&result)
            .arg(format!("manifests/samples/{test}.yaml"))
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(result.exists(), "{test}: {said}");
        files.push(result);
    }
    let (refused, _) = refused_by("docs/result.schema.json", &files);
    assert_eq!(refused, [""; 0]);
    // a schema that lets everything pass would say nothing
    let mut wrong: Value =
        serde_json::from_slice(&fs::read(&files[0]).expect("written")).expect("JSON");
    wrong["totals"]["requests"] = "many".into();
    fs::write(&files[0], wrong.to_string()).expect("written");
    let (refused, _) = refused_by("docs/result.schema.json", &files[..1]);
    assert!(
        refused
            .iter()
            .any(|line| line.contains("$.totals.requests")),
        "{refused:?}"
    );
}
