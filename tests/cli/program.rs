//! The program under test, the demo service beside it, and files for both.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::unhurried::unhurried;

/// Whatever waits for a program gives up then.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STARLING_"))
    {
        command.env_remove(name);
    }
    command
}

pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().expect("an exit code"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

pub fn starling(args: &[&str]) -> Ended {
    Ended::of(command(args).output().expect("starling starts"))
}

/// A file in a folder of its own, which goes away with it.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).expect("written");
        self.path(name)
    }

    /// The quickstart, asked for sound answers only.
    pub fn quickstart(&self) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/samples/quickstart.yaml");
        let mut test =
            serde_saphyr::from_str(&fs::read_to_string(path).expect("it is there")).expect("YAML");
        unhurried(&mut test);
        self.file("quickstart.yaml", &test.to_string())
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).expect("it is there")).expect("JSON")
    }
}

/// `starling demo-service` on a free port.
pub struct Service {
    pub child: Child,
    pub url: String,
}

impl Service {
    pub fn start(args: &[&str]) -> Self {
        Self::spawn(&mut command(
            &[&["demo-service", "--listen", "127.0.0.1:0"], args].concat(),
        ))
    }

    /// The service under this name of its command, with these environment variables.
    pub fn start_as(name: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = command(&[name, "--listen", "127.0.0.1:0"]);
        Self::spawn(command.envs(variables.iter().copied()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("its first line");
        let url = line
            .trim()
            .strip_prefix("sample service on ")
            .expect("where it listens")
            .to_owned();
        Self { child, url }
    }

    pub fn count(&self) -> u64 {
        let address = self.url.strip_prefix("http://").expect("HTTP");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream
            .write_all(b"GET /_count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let body: Value =
            serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
        body["total"].as_u64().expect("a count")
    }

    pub fn await_requests(&self) {
        let begun = Instant::now();
        while self.count() == 0 {
            assert!(begun.elapsed() < PATIENCE, "no request arrived");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(unsafe_code, reason = "kill")]
pub fn send(child: &Child, signal: i32) {
    // SAFETY: the process is our child and has not been waited for, so its id is its own
    assert_eq!(
        unsafe { libc::kill(child.id().try_into().expect("a process id"), signal) },
        0
    );
}

/// The bound that [`test`] sets to latency: none that a busy machine can miss.
pub const PATIENT: &str = "p(95) < 30s";

/// One user, one request after the other, for a second.
pub fn test(name: &str) -> String {
    format!(
        "apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata: {{name: {name}}}
spec:
  target: {{url: http://127.0.0.1:9}}
  variables: {{word: goal}}
  scenarios:
  - name: s
    tasks:
    - name: t
      steps:
      - http: {{method: POST, path: /predict, json: {{text: \"{{{{ word }}}}\"}}}}
  load:
    closed: {{users: 1, duration: 1s}}
  thresholds:
  - {{metric: latency, expr: {PATIENT}}}
  - {{metric: failures, expr: rate < 1%}}
"
    )
}

pub fn with_token(name: &str) -> String {
    let auth = "  target:\n    url: http://127.0.0.1:9\n    auth: {bearer: {tokenFrom: {secretKeyRef: {name: data-bricks, key: pat}}}}\n";
    test(name).replace("  target: {url: http://127.0.0.1:9}\n", auth).replace(
        "path: /predict, json: {text: \"{{ word }}\"}",
        "path: /serving-endpoints/m/invocations, json: {dataframe_split: {columns: [a], data: [[1]]}}",
    )
}

/// What the target received: all requests but those that failed before a byte was sent, and those
/// cut at the end.
pub fn received(result: &Value) -> u64 {
    let number = |name: &str| result["totals"][name].as_u64().expect("a count");
    number("requests") + number("interrupted") - number("unsent")
}
