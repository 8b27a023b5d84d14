//! `starling run --listen`: a run whose load is made by workers on other machines. The same master
//! as in a cluster, with the grant given by this process once all workers are ready.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::in_process::{RunError, finish, progress, start};
use super::output::note;
use super::overrides::whole;
use super::web::{self, Page};
use crate::master::listening::{Proofs, serve_workers};
use crate::master::{Coordinator, Memory, Shared};
use crate::operator::channel::{Channel, InstallKey};
use crate::plan::duration;
use crate::report::text::clean;
use crate::stats::RunResult;
use crate::wire::control::{MasterState, ProblemKind, Progress};
use crate::wire::layout::{RunFile, channel};
use crate::wire::tokens::JoinToken;

/// Name of the file with the workers' tokens.
pub const TOKENS: &str = "workers.token";
/// Interval at which it is looked whether the workers are ready.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest wait for workers to go when the run is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// Arguments of a run whose workers are elsewhere.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Have workers on other machines make the load, and wait for them on this address; a worker
    /// joins with starling worker --join
    #[arg(
        long,
        value_name = "IP:PORT",
        value_parser = address,
        requires = "workers",
        conflicts_with_all = ["cores", "samples", "secret", "config_map"]
    )]
    listen: Option<SocketAddr>,
    /// Number of workers to wait for
    #[arg(
        long,
        value_name = "N",
        requires = "listen",
        value_parser = whole(2000),
        allow_negative_numbers = true
    )]
    workers: Option<u32>,
    /// Write the certificate and the tokens that workers need into this folder [default: a new
    /// folder that only this user can read]
    #[arg(long, value_name = "DIR", requires = "listen")]
    channel: Option<PathBuf>,
}

/// Fleet of a run: how many workers to wait for, and where.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Number of workers.
    pub workers: u32,
    /// Folder for certificate and tokens; `None` for a new one.
    pub channel: Option<PathBuf>,
    /// Longest wait for all workers to be ready.
    pub start_deadline: Duration,
}

impl Options {
    /// Fleet that the arguments ask for; `None` for a run in this process.
    pub fn fleet(&self, start_deadline: Duration) -> Option<Fleet> {
        Some(Fleet {
            listen: self.listen?,
            workers: self.workers?,
            channel: self.channel.clone(),
            start_deadline,
        })
    }

    /// Tells whether workers elsewhere are to make the load.
    pub fn is_wanted(&self) -> bool {
        self.listen.is_some()
    }
}

/// Reads an address to listen on; `:PORT` is that port of every IPv4 address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    whole
        .parse()
        .map_err(|_| "write IP:PORT, or :PORT for all addresses".to_owned())
}

/// Folder with what workers need to join; one that was made for it goes with it.
pub struct Folder {
    /// Path of the folder.
    path: PathBuf,
    /// True if the folder was made for one run.
    is_made: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_made {
            // what stays lets nobody into anything: the run is over
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Folder {
    /// Opens or makes the folder, and removes what an earlier run left in it.
    pub fn open(wanted: Option<&Path>) -> io::Result<Self> {
        let Some(path) = wanted else {
            let name = format!("starling-{:016x}", rand::random::<u64>());
            let path = std::env::temp_dir().join(name);
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            return Ok(Self {
                path,
                is_made: true,
            });
        };
        fs::create_dir_all(path)?;
        for name in [TOKENS, channel::CA] {
            match fs::remove_file(path.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(Self {
            path: path.to_owned(),
            is_made: false,
        })
    }

    /// Writes a file that only this user can read. It is there whole or not at all: a worker may
    /// be waiting for it.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let draft = self.path.join(format!(".{name}.part"));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        io::Write::write_all(&mut options.open(&draft)?, text.as_bytes())?;
        fs::rename(&draft, self.path.join(name))
    }
}

/// Waits for the workers of `file`, has them carry it out, and returns its result. When `stop` is
/// cancelled, the load ends and the run is aborted; workers go in any case.
///
/// # Errors
///
/// An address that cannot be listened on, a folder that cannot be written, workers that do not come
/// or cannot run the test, and a master that ends early.
pub async fn carry_out(
    file: RunFile,
    fleet: &Fleet,
    page: Option<Page>,
    mut on_progress: impl FnMut(&Progress),
    stop: CancellationToken,
) -> Result<RunResult, RunError> {
    let run = file.run.clone();
    let failed =
        |what: &str, error: &dyn std::fmt::Display| RunError::Master(format!("{what}: {error}"));
    let key = InstallKey(rand::random());
    let channel = Channel::derive(&key, "", &run, &jiff::Timestamp::now().to_string())
        .map_err(|e| failed("certificate", &e))?;
    let listener = TcpListener::bind(fleet.listen)
        .await
        .map_err(|e| failed(&format!("listening on {}", fleet.listen), &e))?;
    let address = listener.local_addr().unwrap_or(fleet.listen);
    let folder = invite(&channel, &run, fleet, address).map_err(|e| failed("channel", &e))?;
    let coordinator = Coordinator::new(file, Memory::none(), Instant::now())
        .map_err(|e| RunError::Master(e.to_string()))?;
    let master = Shared::new(coordinator);
    let proofs = Proofs {
        certificate: channel.master_cert.clone(),
        key: channel.master_key.clone(),
        workers: channel.worker_key.clone(),
    };
    let serving = serve_workers(master.clone(), proofs, listener, CancellationToken::new());
    let working = async {
        let followed = follow(&master, &run, fleet, &mut on_progress, &stop);
        let outcome = web::beside(page, &master, followed).await;
        dismiss(&master).await;
        outcome
    };
    let outcome = tokio::select! {
        outcome = working => outcome,
        served = serving => Err(RunError::Master(match served {
            Ok(()) => "the port for workers was closed".to_owned(),
            Err(e) => e.to_string(),
        })),
        () = master.clone().keep_time() => Err(RunError::Master("time stood still".into())),
    };
    drop(folder);
    outcome
}

/// Writes what workers need to join, and says where it is. The tokens come last: who waits for them
/// finds everything else.
fn invite(channel: &Channel, run: &str, fleet: &Fleet, address: SocketAddr) -> io::Result<Folder> {
    let folder = Folder::open(fleet.channel.as_deref())?;
    let lines = (0..fleet.workers).map(|index| {
        let token = JoinToken {
            run: run.to_owned(),
            index,
            token: channel.worker_key.token(index),
        };
        format!("{token}\n")
    });
    folder.write(channel::CA, &channel.ca)?;
    folder.write(TOKENS, &lines.collect::<String>())?;
    let (ca, tokens) = (folder.path.join(channel::CA), folder.path.join(TOKENS));
    note(&format!(
        "note: listening on {address} for {} workers",
        fleet.workers
    ));
    note(&format!(
        "note: authority {}, {}",
        ca.display(),
        fingerprint(&channel.ca)
    ));
    note(&format!(
        "note: tokens {}, which let workers in: keep them secret",
        tokens.display()
    ));
    note(&format!(
        "note: on each machine: starling worker --join HOST:{} --ca ca.crt --token-file {TOKENS} [--files DIR] [--region NAME]",
        address.port()
    ));
    Ok(folder)
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
fn fingerprint(pem: &str) -> String {
    let Ok(certificate) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
        return "SHA-256 unknown".to_owned();
    };
    let bytes = Sha256::digest(&certificate);
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("SHA-256 {}", pairs.join(":"))
}

/// Waits until all workers are ready, starts the load and waits for its result.
async fn follow(
    master: &Shared,
    run: &str,
    fleet: &Fleet,
    on_progress: &mut impl FnMut(&Progress),
    stop: &CancellationToken,
) -> Result<RunResult, RunError> {
    tokio::select! {
        gathered = gather(master, fleet, on_progress) => {
            gathered?;
            start(master, run)?;
        }
        () = stop.cancelled() => {}
    }
    finish(master, run, on_progress, stop).await
}

/// Waits until all workers are ready. What keeps one from it is said when it is first seen: files
/// may still come, but a mistake in the test stays.
async fn gather(
    master: &Shared,
    fleet: &Fleet,
    on_progress: &mut impl FnMut(&Progress),
) -> Result<(), RunError> {
    let until = Instant::now() + fleet.start_deadline;
    let mut said = Vec::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        let ready = master
            .until(|coordinator| coordinator.progress(Instant::now()).state == MasterState::Ready);
        tokio::select! {
            () = ready => return Ok(()),
            _ = tick.tick() => {}
        }
        let now = progress(master);
        on_progress(&now);
        let is_lasting = |kind| {
            matches!(
                kind,
                ProblemKind::InvalidSpec | ProblemKind::PolicyViolation
            )
        };
        if now.problems.iter().any(|problem| is_lasting(problem.kind)) {
            return Err(RunError::NotReady(now.problems));
        }
        for problem in &now.problems {
            let text = format!(
                "worker {}: {}",
                problem.worker,
                super::in_process::describe(problem)
            );
            if !said.contains(&text) {
                note(&format!("note: {}", clean(&text)));
                said.push(text);
            }
        }
        if Instant::now() >= until {
            let waited = duration::format(fleet.start_deadline);
            let (ready, workers) = (now.ready, now.workers);
            return Err(RunError::TooFew(format!(
                "{ready} of {workers} workers were ready within {waited}"
            )));
        }
    }
}

/// Lets all workers go, and waits until they have gone.
async fn dismiss(master: &Shared) {
    master.with(Coordinator::acknowledge);
    let gone = master.until(|coordinator| coordinator.progress(Instant::now()).connected == 0);
    // one that does not go by itself loses its connection with the end of this process
    let _ = tokio::time::timeout(FAREWELL, gone).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_port_and_may_lack_the_rest() {
        assert_eq!(address(":8443"), Ok(([0, 0, 0, 0], 8443).into()));
        assert!(address("[::1]:8443").is_ok_and(|address| address.is_ipv6()));
        for bad in ["8443", "host:8443", ":", "127.0.0.1"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_lets_workers_in_is_for_this_user_and_gone_afterwards() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::open(None).unwrap();
        folder.write(TOKENS, "x\n").unwrap();
        let path = folder.path.join(TOKENS);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder.path)), (0o600, 0o700));
        // a run that is given a folder leaves no tokens of the run before
        Folder::open(Some(&folder.path)).unwrap();
        assert!(!path.exists());
        let gone = folder.path.clone();
        drop(folder);
        assert!(!gone.exists());
    }
}
