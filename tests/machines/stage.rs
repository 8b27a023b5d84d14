//! A run that listens for workers, and workers that join it: each a process of its own, whose words
//! are read while it goes on.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ended, PATIENCE, Service, command, send};

/// A service under test, and a folder for files.
pub struct Stage {
    folder: TempDir,
    pub service: Service,
}

/// A process, and what it has said so far.
struct Process {
    child: Child,
    stdout: Heard,
    stderr: Heard,
}

/// What a process writes to one of its streams, read by a thread.
#[derive(Clone)]
struct Heard(Arc<Mutex<String>>);

impl Heard {
    fn listen(stream: impl Read + Send + 'static) -> Self {
        let heard = Self(Arc::default());
        let text = heard.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut text = text.lock().expect("no reader panics");
                text.push_str(&line);
                text.push('\n');
            }
        });
        heard
    }

    fn text(&self) -> String {
        self.0.lock().expect("no reader panics").clone()
    }
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = Heard::listen(child.stdout.take().expect("a pipe"));
        let stderr = Heard::listen(child.stderr.take().expect("a pipe"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Waits until its standard error holds `words`.
    #[track_caller]
    fn await_words(&mut self, words: &str) {
        let begun = Instant::now();
        loop {
            let has_ended = self.child.try_wait().expect("known").is_some();
            let text = self.stderr.text();
            if text.contains(words) {
                return;
            }
            let is_over = has_ended || begun.elapsed() > PATIENCE;
            assert!(!is_over, "never {words:?}:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn end(&mut self) -> Ended {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("known") {
                break status;
            }
            let text = self.stderr.text();
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        };
        // the readers hear the end a moment later
        std::thread::sleep(Duration::from_millis(100));
        Ended {
            code: status.code().expect("an exit code"),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `starling run --listen`, and where its workers find it.
pub struct Controller {
    process: Process,
    address: String,
    channel: PathBuf,
}

/// `starling worker --join`.
pub struct Worker(Process);

impl Stage {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            service: Service::start(&[]),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    /// Starts a run of `spec` that listens on an address of its own.
    pub fn controller(&self, spec: &str, workers: u32, extra: &[&str]) -> Controller {
        let listen = "127.0.0.9:0";
        let channel = self.path("channel");
        Controller::start(self, listen, spec, workers, &channel, extra)
    }

    /// The result that the run has written.
    pub fn result(&self) -> Value {
        let text = fs::read(self.path("result.json")).expect("it is there");
        serde_json::from_slice(&text).expect("JSON")
    }
}

impl Controller {
    pub fn start(
        stage: &Stage,
        listen: &str,
        spec: &str,
        workers: u32,
        channel: &Path,
        extra: &[&str],
    ) -> Self {
        let file = stage.file("test.yaml", spec);
        let mut command = command(&["run"]);
        command
            .arg(file)
            .args(["--listen", listen, "--workers", &workers.to_string()])
            .args(["--target", &stage.service.url])
            .arg("--channel")
            .arg(channel)
            .arg("--json")
            .arg(stage.path("result.json"))
            .args(extra);
        let mut process = Process::start(&mut command);
        process.await_words("on each machine");
        let said = process.stderr.text();
        let address = said
            .lines()
            .find_map(|line| line.strip_prefix("note: listening on "))
            .and_then(|rest| rest.split(' ').next())
            .expect("an address")
            .to_owned();
        Self {
            process,
            address,
            channel: channel.to_owned(),
        }
    }

    pub fn ca(&self) -> PathBuf {
        self.channel.join("ca.crt")
    }

    pub fn token_file(&self) -> PathBuf {
        self.channel.join("workers.token")
    }

    pub fn tokens(&self) -> String {
        fs::read_to_string(self.token_file()).expect("it is there")
    }

    pub fn worker(&self, extra: &[&str]) -> Worker {
        self.worker_with(&self.ca(), &self.token_file(), extra)
    }

    pub fn worker_with(&self, ca: &Path, tokens: &Path, extra: &[&str]) -> Worker {
        Worker::start(&self.address, ca, tokens, extra)
    }

    /// Waits until so many workers are ready.
    #[track_caller]
    pub fn await_ready(&mut self, count: u32) {
        self.process
            .await_words(&format!("waiting for workers: {count} of"));
    }

    #[track_caller]
    pub fn await_note(&mut self, words: &str) {
        self.process.await_words(words);
    }

    pub fn signal(&self, number: i32) {
        send(&self.process.child, number);
    }

    #[track_caller]
    pub fn end(mut self) -> Ended {
        self.process.end()
    }

    #[track_caller]
    pub fn interrupt(self) -> Ended {
        self.signal(libc::SIGINT);
        self.end()
    }
}

impl Worker {
    pub fn start(join: &str, ca: &Path, tokens: &Path, extra: &[&str]) -> Self {
        let mut command = command(&["worker", "--join", join, "--cores", "1"]);
        command.arg("--ca").arg(ca);
        command.arg("--token-file").arg(tokens);
        Self(Process::start(command.args(extra)))
    }

    #[track_caller]
    pub fn await_log(&mut self, words: &str) {
        self.0.await_words(words);
    }

    pub fn signal(&self, number: i32) {
        send(&self.0.child, number);
    }

    #[track_caller]
    pub fn end(mut self) -> Ended {
        self.0.end()
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("known").port()
}

/// A test of `users` users with short pauses.
pub fn test(users: u32, duration: &str) -> String {
    format!(
        "apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata: {{name: machines}}
spec:
  target: {{url: http://127.0.0.1:9}}
  scenarios:
  - name: s
    thinkTime: {{min: 5ms, max: 15ms}}
    tasks:
    - name: t
      steps:
      - http: {{method: POST, path: /predict, json: {{text: goal}}}}
  load:
    closed: {{users: {users}, duration: {duration}}}
"
    )
}
