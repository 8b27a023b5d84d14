//! Workers that join a run from elsewhere: another machine, another cluster, a container. They
//! bring their own files, and take whichever share of their tokens is free.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::connect::{ConnectError, Connector, Target};
use super::{End, HOLD, Identity, InputSource, RETRY_EVERY, Worker, attempt, usable_cores};
use crate::engine::{RequestLogSink, RequestLogWriter};
use crate::wire::layout::{REGION, exit};
use crate::wire::tokens::JoinToken;

/// Longest wait for the token file, and for a controller that has never answered.
const FIRST_CONTACT: Duration = Duration::from_secs(10 * 60);
/// Longest wait for a controller that has gone, while no share was begun.
const GONE: Duration = Duration::from_secs(2 * 60);
/// Longest wait of a worker whose load is over for a controller outside of a cluster: one that has
/// gone never comes back.
const HOLD_LOCALLY: Duration = Duration::from_secs(60);
/// Pause between two tokens of the same file.
const NEXT_TOKEN: Duration = Duration::from_millis(50);
/// Interval at which a missing file is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Largest token file or certificate in bytes: 2,000 tokens take 200 KB.
const MAX_FILE: u64 = 1 << 20;

/// Arguments of a worker that joins a run from elsewhere.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "A worker from elsewhere")]
#[group(skip)]
pub struct Options {
    /// Join the run whose controller listens on this address
    #[arg(long, value_name = "HOST:PORT", requires_all = ["token_file", "ca"])]
    pub join: Option<String>,
    /// File of tokens, one a line; the worker takes the first of them whose share is free
    #[arg(long, value_name = "FILE", requires = "join")]
    pub token_file: Option<PathBuf>,
    /// Certificate of the run's authority, as PEM
    #[arg(long, value_name = "FILE", requires = "join")]
    pub ca: Option<PathBuf>,
    /// Folder with what the test refers to: secret/NAME/KEY, configmap/NAME/KEY, and its files
    /// below files/; nothing outside of it is read
    #[arg(long, value_name = "DIR", requires = "join")]
    pub files: Option<PathBuf>,
    /// Region or host that results show for this worker; the host's name if unset
    #[arg(long, value_name = "NAME", env = REGION)]
    pub region: Option<String>,
}

impl Options {
    /// Name of the region, or of the host.
    fn place(&self) -> String {
        let region = self.region.clone().filter(|name| !name.is_empty());
        region.unwrap_or_else(host_name)
    }
}

/// Place to join, and what to show there.
struct Joining<'a> {
    master: &'a str,
    token_file: &'a Path,
    ca: &'a Path,
    /// Time given to files that are not there yet, and to a controller that does not answer.
    begun: Instant,
}

/// Joins a run and works until released, drained (`stop` cancelled) or without hope. `cores` are
/// those to use, all if `None`. Gives back the process's exit code, one of [`exit`]. Request log
/// entries that the plan wants go to standard output.
pub async fn run(options: &Options, cores: Option<usize>, stop: CancellationToken) -> u8 {
    let (Some(master), Some(token_file), Some(ca)) =
        (&options.join, &options.token_file, &options.ca)
    else {
        tracing::error!("--join needs --token-file and --ca");
        return exit::BAD_CONFIG;
    };
    let log = match RequestLogWriter::to(std::io::stdout()) {
        Ok(log) => log,
        Err(e) => {
            tracing::error!("cannot start a thread: {e}");
            return exit::FAILED;
        }
    };
    let joining = Joining {
        master,
        token_file,
        ca,
        begun: Instant::now(),
    };
    let connectors = tokio::select! {
        connectors = joining.connectors() => connectors,
        () = stop.cancelled() => return exit::DRAINED,
    };
    let code = match connectors {
        Ok((run, connectors)) => {
            let worker = new_worker(options, &run, cores, log.sink(&run));
            joining.work(connectors, worker, stop).await
        }
        Err(code) => code,
    };
    let written = log.close();
    if written.left_out() > 0 {
        tracing::warn!(
            "{} chosen requests were not written down",
            written.left_out()
        );
    }
    code
}

/// Makes a worker that reads below its own folder only.
fn new_worker(options: &Options, run: &str, cores: Option<usize>, log: RequestLogSink) -> Worker {
    let identity = Identity::new(run, 0, cores.unwrap_or_else(usable_cores))
        .in_place(&options.place())
        .external();
    let inputs = InputSource::Confined(options.files.clone());
    // the run says how long it lasts without a controller; this holds until it does
    let grace = GONE;
    Worker::new(identity, inputs, grace).logged_to(Some(log))
}

impl Joining<'_> {
    /// Reads certificate and tokens, and makes a connector for each token. Waits for files that are
    /// not there yet: a container may start before the one that writes them.
    async fn connectors(&self) -> Result<(String, Vec<(u32, Connector)>), u8> {
        let tokens = self.read(self.token_file).await?;
        let ca = self.read(self.ca).await?;
        let Some(tokens) = JoinToken::parse_file(&tokens) else {
            tracing::error!(
                "{} is no token file: a line is RUN/INDEX.TOKEN, and all are of one run",
                self.token_file.display()
            );
            return Err(exit::BAD_CONFIG);
        };
        let run = tokens[0].run.clone();
        let connector = |token: &JoinToken| {
            let target = Target {
                master: self.master,
                run: &token.run,
                ca: &ca,
                token: &token.token,
            };
            Connector::to(&target).map(|connector| (token.index, connector))
        };
        let connectors: Result<Vec<_>, ConnectError> = tokens.iter().map(connector).collect();
        match connectors {
            Ok(connectors) => Ok((run, connectors)),
            Err(e) => {
                tracing::error!("{e}");
                Err(exit::BAD_CONFIG)
            }
        }
    }

    /// Reads a file as text, once it is there.
    async fn read(&self, path: &Path) -> Result<String, u8> {
        let mut is_said = false;
        loop {
            match read_text(path) {
                Ok(text) => return Ok(text),
                Err(e)
                    if e.kind() == std::io::ErrorKind::NotFound
                        && self.begun.elapsed() < FIRST_CONTACT =>
                {
                    if !std::mem::replace(&mut is_said, true) {
                        tracing::info!("waiting for {}", path.display());
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(e) => {
                    tracing::error!("cannot read {}: {e}", path.display());
                    return Err(exit::BAD_CONFIG);
                }
            }
        }
    }

    /// Takes a share and carries it out.
    async fn work(
        &self,
        connectors: Vec<(u32, Connector)>,
        mut worker: Worker,
        stop: CancellationToken,
    ) -> u8 {
        // workers that start together begin with different tokens
        let mut turn = rand::random::<u32>() as usize % connectors.len();
        let mut refusals = 0;
        let mut refused_at = None;
        loop {
            let (index, connector) = &connectors[turn];
            worker.take_index(*index);
            let mut unresolved = 0;
            let end = tokio::select! {
                end = attempt(connector, &mut worker, &mut unresolved) => end,
                () = stop.cancelled() => End::Drained,
            };
            match end {
                End::Released => return exit::RELEASED,
                End::Refused {
                    permanent: true,
                    reason,
                } => {
                    tracing::error!("{reason}");
                    return exit::BAD_CONFIG;
                }
                End::Drained => {
                    worker.drain(connector).await;
                    return exit::DRAINED;
                }
                End::Refused { .. } if !worker.is_carrying() => {
                    turn = (turn + 1) % connectors.len();
                    refusals += 1;
                    refused_at = Some(Instant::now());
                    let is_round = refusals % connectors.len() == 0;
                    let pause = if is_round { RETRY_EVERY } else { NEXT_TOKEN };
                    tokio::time::sleep(pause).await;
                }
                End::Refused { .. } | End::Lost => worker.work_without_master(RETRY_EVERY).await,
            }
            if let Some(why) = self.is_hopeless(&worker, refused_at) {
                tracing::error!("{why}");
                return exit::FAILED;
            }
        }
    }

    /// Returns why there is nothing left to wait for. `refused_at` is the time at which a controller
    /// last said that a share is taken.
    fn is_hopeless(&self, worker: &Worker, refused_at: Option<Instant>) -> Option<&'static str> {
        let hold = match worker.is_in_cluster() {
            true => HOLD,
            false => HOLD_LOCALLY,
        };
        if worker.is_carrying() {
            let held = worker.has_held_for(Instant::now());
            return (held > hold).then_some("no controller has fetched the results; giving up");
        }
        let refused = refused_at.map(|at| at.elapsed());
        match worker.silence().into_iter().chain(refused).min() {
            Some(silence) => (silence > GONE).then_some("the controller is gone"),
            None => (self.begun.elapsed() > FIRST_CONTACT).then_some("no controller has answered"),
        }
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_FILE)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Region or host of a worker that the operator started.
pub(super) fn place_of_pod() -> String {
    std::env::var(REGION)
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(host_name)
}

/// Name of this host; empty where the system has none.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME").map_err(std::io::Error::other));
    name.unwrap_or_default().trim().to_owned()
}
