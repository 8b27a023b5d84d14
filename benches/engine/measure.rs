//! One measurement of one client: CPU of its process over so many seconds, and the requests that
//! the server received meanwhile.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Effort;
use crate::machine::{self, CLIENT, Ticks};
use crate::servers::Server;

/// How long a client may take to end after its time.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub requests: u64,
    pub cpu_micros: u64,
    pub seconds: f64,
    /// Shares of the time of both cores: taken by the host, and used by processes that are neither
    /// client nor server.
    pub stolen: f64,
    pub others: f64,
}

impl Figure {
    pub fn per_request(&self) -> f64 {
        self.cpu_micros as f64 / self.requests as f64
    }

    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Share of its core.
    pub fn busy(&self) -> f64 {
        self.cpu_micros as f64 / 1e6 / self.seconds
    }
}

struct Reading {
    at: Instant,
    requests: u64,
    client_micros: u64,
    server_micros: u64,
    ticks: Ticks,
}

impl Reading {
    fn take(client: u32, server: &Server) -> Self {
        Self {
            at: Instant::now(),
            requests: server.requests(),
            client_micros: machine::cpu_micros(client),
            server_micros: machine::cpu_micros(server.process()),
            ticks: machine::ticks(),
        }
    }
}

/// Starts `command` on the core of clients.
pub fn start(command: &mut Command) -> Result<Child, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let started = machine::on_core(command, CLIENT)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    started.map_err(|error| format!("{program} does not start: {error}"))
}

/// Measures `command`, which must make load for at least the time of `effort`.
pub fn measure(mut command: Command, server: &Server, effort: Effort) -> Result<Figure, String> {
    let mut child = start(&mut command)?;
    std::thread::sleep(effort.warm_up);
    let before = Reading::take(child.id(), server);
    std::thread::sleep(effort.measured);
    let is_over = child.try_wait().is_ok_and(|ended| ended.is_some());
    if is_over {
        return Err(format!("{command:?} ended too early: {}", ended(child)?));
    }
    let after = Reading::take(child.id(), server);
    let said = ended(child)?;
    if !said.is_empty() {
        return Err(format!("{command:?}: {said}"));
    }
    Ok(figure(&before, &after))
}

fn figure(before: &Reading, after: &Reading) -> Figure {
    let all = (after.ticks.all - before.ticks.all) as f64;
    let busy = 1.0 - (after.ticks.idle - before.ticks.idle) as f64 / all;
    let stolen = stolen(&before.ticks, &after.ticks);
    let cpu_micros = after.client_micros - before.client_micros;
    let own = (cpu_micros + after.server_micros - before.server_micros) as f64 / 1e6
        * machine::ticks_per_second() as f64;
    Figure {
        requests: after.requests - before.requests,
        cpu_micros,
        seconds: (after.at - before.at).as_secs_f64(),
        stolen,
        others: (busy - stolen - own / all).max(0.0),
    }
}

/// Share of the time of both cores that the host took.
pub fn stolen(before: &Ticks, after: &Ticks) -> f64 {
    (after.stolen - before.stolen) as f64 / (after.all - before.all) as f64
}

/// Waits for the end of a client; what it complained of.
pub fn ended(mut child: Child) -> Result<String, String> {
    let begun = Instant::now();
    while child
        .try_wait()
        .map_err(|error| error.to_string())?
        .is_none()
    {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill(); // it may have ended just now
            let _ = child.wait();
            return Err(format!("a client did not end within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(if output.status.success() {
        String::new()
    } else {
        format!("{}: {said}", output.status)
    })
}
