//! Masters and workers as processes of their own, which can be killed and stopped.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use starling::plan::duration;

use crate::stage::{RUN, Stage};

/// A process that is killed when it is dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn worker(stage: &Stage, index: u32) -> Self {
        Self::worker_at(stage, index, stage.control)
    }

    /// A worker that finds its master at `address`.
    pub fn worker_at(stage: &Stage, index: u32, address: SocketAddr) -> Self {
        let channel = stage.mount(index);
        let inputs = stage.folder.path().join("inputs");
        Self::start(&[
            "worker",
            "--run",
            RUN,
            "--master",
            &address.to_string(),
            "--index",
            &index.to_string(),
            "--channel",
            &channel.to_string_lossy(),
            "--inputs",
            &inputs.to_string_lossy(),
            "--grace",
            &duration::format(stage.grace()),
            "--cores",
            "1",
        ])
    }

    /// A master whose memory is in `state` of the stage's folder: another name is another Pod.
    pub fn master(stage: &Stage, state: &str) -> Self {
        let folder = stage.folder.path();
        let memory = folder.join(state);
        std::fs::create_dir_all(&memory).unwrap();
        Self::start(&[
            "master",
            "--run-file",
            &folder.join("run.json").to_string_lossy(),
            "--channel",
            &folder.to_string_lossy(),
            "--state",
            &memory.to_string_lossy(),
            "--control-port",
            &stage.control.port().to_string(),
            "--ui-port",
            "0",
            "--admin-port",
            "0",
        ])
    }

    fn start(arguments: &[&str]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_starling"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(command.unwrap())
    }
}

/// Waits for the end of a process, and returns its exit code.
pub fn code(mut process: Process) -> Option<i32> {
    process.0.wait().unwrap().code()
}

/// Sends a signal, such as `KILL`, `STOP` or `CONT`.
pub fn signal(process: &Process, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(process.0.id().to_string())
        .status();
    assert!(sent.unwrap().success());
}

/// Counts of the requests that a service received, by time.
#[derive(Clone)]
pub struct Course(Arc<Mutex<Vec<(Instant, u64)>>>);

impl Course {
    /// Notes the count of the stage's service every 50 ms.
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread of its own, without tasks"
    )]
    pub fn of(stage: &Stage) -> Self {
        let course = Self(Arc::default());
        let (notes, service) = (course.0.clone(), stage.service.clone());
        std::thread::spawn(move || {
            while Arc::strong_count(&notes) > 1 {
                notes
                    .lock()
                    .unwrap()
                    .push((Instant::now(), service.count()));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        course
    }

    /// Requests per second between two moments.
    pub fn rate(&self, from: Instant, to: Instant) -> f64 {
        let (begin, end) = (self.at(from), self.at(to));
        (end.1 - begin.1) as f64 / end.0.duration_since(begin.0).as_secs_f64()
    }

    /// Highest rate of any `width` from one moment to another.
    pub fn highest(&self, from: Instant, to: Instant, width: Duration) -> f64 {
        self.rates(from, to, width).fold(0.0, f64::max)
    }

    /// Lowest rate of any `width` from one moment to another.
    pub fn lowest(&self, from: Instant, to: Instant, width: Duration) -> f64 {
        self.rates(from, to, width).fold(f64::MAX, f64::min)
    }

    fn rates(&self, from: Instant, to: Instant, width: Duration) -> impl Iterator<Item = f64> {
        let step = Duration::from_millis(100);
        let begins = std::iter::successors(Some(from), move |at| Some(*at + step));
        begins
            .take_while(move |at| *at + width <= to)
            .map(move |at| self.rate(at, at + width))
    }

    fn at(&self, at: Instant) -> (Instant, u64) {
        let notes = self.0.lock().unwrap();
        let next = notes.partition_point(|(noted, _)| *noted < at);
        notes[next.min(notes.len() - 1)]
    }
}
