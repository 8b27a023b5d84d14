//! The master: roster, merge, verdict, and what it serves to the operator, to people and to
//! Prometheus.

mod access;
pub mod api;
mod blocks;
mod checkpoint;
pub mod coordinator;
mod cost;
mod courses;
pub mod fleet;
mod heat;
mod judge;
mod leases;
pub mod listening;
mod memory;
mod metrics;
mod places;
mod reading;
mod result;
mod roster;
mod saturation;
mod search;
mod shares;
mod sum;
mod timeline;
pub mod ui;
mod verdict;

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Status};

use crate::runtime::admin::{self, Admin};
use crate::runtime::door::{self, CertificateError, Door};
use crate::wire::MAX_MESSAGE;
use crate::wire::checksum::{self, FileHash, Mismatch};
use crate::wire::fleet::fleet_server::FleetServer;
use crate::wire::layout::{self, RunFile, channel};
use crate::wire::tokens::WorkerKey;

pub use api::Token;
pub use coordinator::Coordinator;
use fleet::WorkerTokens;
pub use memory::Memory;
use ui::{Feed, Hosts, Keys, Site};

/// Interval at which time itself may change the state of a run.
const TICK: Duration = Duration::from_millis(250);
/// Interval of pings, which measure the offsets of workers' clocks, and renew the leases of those
/// that have no samples yet.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Silence after which a connection is tried, and time in which it must answer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Time that connections get to close after the end has been asked for.
const DRAIN: Duration = Duration::from_secs(3);

/// Most connections to a port that have shown no token; each worker may have two more on the port
/// for workers.
const STRANGERS: usize = 256;

/// Arguments of `starling master`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The run, as the operator wrote it
    #[arg(long, default_value = "/etc/starling/run/run.json")]
    pub run_file: PathBuf,
    /// Folder of certificate, key and tokens
    #[arg(long, default_value = layout::CHANNEL_DIR)]
    pub channel: PathBuf,
    /// SHA-256 that a mounted file must have; once any is given, files without one are refused
    #[arg(long, value_name = "NAME=HEX")]
    pub sha256: Vec<FileHash>,
    /// Folder that survives a restart of the process
    #[arg(long, default_value = layout::STATE_DIR)]
    pub state: PathBuf,
    /// Port for workers and operator (TLS)
    #[arg(long, default_value_t = layout::CONTROL_PORT)]
    pub control_port: u16,
    /// Port of the page and the read API (token; HTTP, or HTTPS with --ui-cert)
    #[arg(long, default_value_t = layout::UI_PORT)]
    pub ui_port: u16,
    /// Port of /metrics, /livez and /readyz (HTTP, or HTTPS with --ui-cert)
    #[arg(long, default_value_t = layout::ADMIN_PORT)]
    pub admin_port: u16,
    /// PEM certificate chain of the page, the read API and the metrics, which are then served over TLS
    #[arg(long, value_name = "FILE", requires = "ui_key")]
    pub ui_cert: Option<PathBuf>,
    /// PEM key of that certificate
    #[arg(long, value_name = "FILE", requires = "ui_cert")]
    pub ui_key: Option<PathBuf>,
}

/// Reasons why a master ended, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// A mounted file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The run file does not have the form of a run.
    #[error("{path} is not a run: {source}")]
    RunFile {
        /// The file.
        path: PathBuf,
        /// Place and kind of the mistake.
        source: serde_json::Error,
    },
    /// A mounted file is not the one that the operator wrote.
    #[error(transparent)]
    Foreign(#[from] Mismatch),
    /// The file of the workers' key holds none.
    #[error("{path} holds no key")]
    WorkersKey {
        /// The file.
        path: PathBuf,
    },
    /// The coordinator cannot be made.
    #[error(transparent)]
    Begin(#[from] coordinator::BeginError),
    /// A port cannot be listened on, such as one that is in use.
    #[error("cannot listen on port {port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The server of workers and the operator failed.
    #[error("cannot serve workers: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// One of the plain HTTP servers failed.
    #[error("cannot serve HTTP: {0}")]
    Http(std::io::Error),
    /// The certificate of the read API cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The coordinator behind a lock, and a signal for those who wait for it to change. Clones share
/// both.
#[derive(Clone)]
pub struct Shared {
    coordinator: Arc<Mutex<Coordinator>>,
    changed: Arc<watch::Sender<()>>,
}

impl Shared {
    /// Shares a coordinator.
    pub fn new(coordinator: Coordinator) -> Self {
        Self {
            coordinator: Arc::new(Mutex::new(coordinator)),
            changed: Arc::new(watch::Sender::new(())),
        }
    }

    /// Acts on the coordinator and wakes those who wait for a change. The lock is held only for
    /// `act`, which must not block.
    pub fn with<T>(&self, act: impl FnOnce(&mut Coordinator) -> T) -> T {
        // a panic under the lock leaves the coordinator fit to say how far the run got
        let outcome = act(&mut self
            .coordinator
            .lock()
            .unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        outcome
    }

    /// Lets time pass for the coordinator, and pings its workers; never returns.
    pub async fn keep_time(self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut pinged: Option<Instant> = None;
        loop {
            tick.tick().await;
            let now = Instant::now();
            let ping = pinged.is_none_or(|at| now.duration_since(at) >= PING_EVERY);
            let checkpoint = self.with(|coordinator| {
                coordinator.tick(now);
                if ping {
                    coordinator.ping();
                }
                coordinator.checkpoint(now)
            });
            if let Some((memory, checkpoint)) = checkpoint {
                let master = self.clone();
                tokio::task::spawn_blocking(move || {
                    let stored = memory.store_checkpoint(&checkpoint);
                    let error = stored.err().map(|error| error.to_string());
                    master.with(|coordinator| coordinator.checkpointed(error));
                });
            }
            if ping {
                pinged = Some(now);
            }
        }
    }

    /// Resolves when `wanted` is true, which is asked whenever something may have changed.
    pub async fn until(&self, wanted: impl Fn(&Coordinator) -> bool) {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if wanted(
                &self
                    .coordinator
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            ) {
                return;
            }
            // an error would mean that the sender is gone, and self holds it
            let _ = changes.changed().await;
        }
    }
}

/// The sockets of a master.
pub struct Listeners {
    /// Workers (gRPC) and operator (REST), over TLS.
    pub control: TcpListener,
    /// People with the read token or the control token, over HTTP: the page and what it asks for.
    pub ui: TcpListener,
    /// `/metrics`, `/livez` and `/readyz`, over HTTP.
    pub admin: TcpListener,
    /// Certificate with which the last two are served over TLS instead.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Serves a run until `stop` is cancelled: a master keeps its result for as long as it is left
/// alone.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), MasterError> {
    let Options {
        run_file,
        channel,
        sha256,
        state,
        control_port,
        ui_port,
        admin_port,
        ui_cert,
        ui_key,
    } = options;
    let tls = match ui_cert.zip(ui_key) {
        Some((certificate, key)) => Some(door::read_certificate(&certificate, &key)?),
        None => None,
    };
    let listeners = Listeners {
        tls,
        control: listen(control_port).await?,
        ui: listen(ui_port).await?,
        admin: listen(admin_port).await?,
    };
    let mounted = Mounted {
        run_file,
        channel,
        sha256,
    };
    serve(&mounted, Memory::at(&state), listeners, stop).await
}

/// Files that a master finds mounted.
#[derive(Debug, Clone)]
pub struct Mounted {
    /// The run, as the operator wrote it.
    pub run_file: PathBuf,
    /// Folder of certificate, key and tokens.
    pub channel: PathBuf,
    /// Hashes that the files must have; without any, every file is taken.
    pub sha256: Vec<FileHash>,
}

impl Mounted {
    /// Reads a file and compares it with its hash.
    fn read(&self, path: &Path) -> Result<String, MasterError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match read(path) {
            Ok(text) => {
                checksum::check(&self.sha256, &name, text.as_bytes())?;
                Ok(text)
            }
            Err(MasterError::Read { source, .. })
                if source.kind() == ErrorKind::NotFound && !self.sha256.is_empty() =>
            {
                let name = name.into_owned();
                Err(Mismatch::Missing { name }.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the tokens that let somebody in.
    fn tokens(&self) -> Result<Tokens, MasterError> {
        let secret = |name: &str| self.read(&self.channel.join(name));
        // runs of older releases have one token for all workers
        let key = self.channel.join(channel::WORKERS_KEY);
        let worker = if self.sha256.is_empty() && !key.exists() {
            WorkerTokens::Shared(Token::new(&secret(channel::WORKER_TOKEN)?))
        } else {
            let text = self.read(&key)?;
            let parsed = WorkerKey::parse(&text);
            WorkerTokens::PerIndex(parsed.ok_or(MasterError::WorkersKey { path: key })?)
        };
        Ok(Tokens {
            worker,
            operator: Token::new(&secret(channel::OPERATOR_TOKEN)?),
            read: Token::new(&secret(channel::READ_TOKEN)?),
            control: self.control_token()?,
        })
    }

    /// Reads the token of people who may control the run; `None` in a run that an older release
    /// began.
    fn control_token(&self) -> Result<Option<Token>, MasterError> {
        let path = self.channel.join(channel::CONTROL_TOKEN);
        match path.exists() {
            true => Ok(Some(Token::new(&self.read(&path)?))),
            false => Ok(None),
        }
    }
}

/// Does what [`run`] does on sockets that are there already.
pub async fn serve(
    mounted: &Mounted,
    memory: Memory,
    listeners: Listeners,
    stop: CancellationToken,
) -> Result<(), MasterError> {
    let json = mounted.read(&mounted.run_file)?;
    let file: RunFile = serde_json::from_str(&json).map_err(|source| MasterError::RunFile {
        path: mounted.run_file.clone(),
        source,
    })?;
    tracing::info!(run = file.run, workers = file.workers, "serving");
    let secret = |name: &str| mounted.read(&mounted.channel.join(name));
    let identity = Identity::from_pem(secret(channel::MASTER_CERT)?, secret(channel::MASTER_KEY)?);
    let tokens = mounted.tokens()?;
    let workers = file.workers;
    let coordinator = Coordinator::new(file, memory, Instant::now())?.sending(json);
    let master = Shared::new(coordinator);
    let Listeners {
        control,
        ui,
        admin,
        tls,
    } = listeners;
    let strangers = STRANGERS + 2 * workers as usize;
    let control = Door::new(control, strangers);
    let api = api::control(master.clone(), tokens.operator.clone());
    let worker = tokens.worker.clone();
    let control = serve_control(master.clone(), identity, worker, api, control, stop.clone());
    let feed = Feed::new(master.clone(), stop.clone());
    let keys = Keys {
        read: tokens.read.clone(),
        control: tokens.control.clone(),
    };
    let site = Site {
        hosts: Hosts::Any,
        is_secure: tls.is_some(),
        ends_with_run: false,
    };
    let pages = ui::router(master.clone(), feed.clone(), keys, site);
    let ui = Door::new(ui, STRANGERS).serve(pages, tls.clone(), stop.clone());
    let admin = admin::serve(admin, tls, Arc::new(master.clone()), stop.clone());
    let serving = async {
        tokio::try_join!(
            control,
            async { ui.await.map_err(MasterError::Http) },
            async { admin.await.map_err(MasterError::Http) }
        )
    };
    tokio::select! {
        served = serving => served.map(|_| ()),
        () = master.clone().keep_time() => Ok(()),
        () = feed.run() => Ok(()),
        () = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        } => Ok(()),
    }
}

/// The tokens of the channel Secret.
struct Tokens {
    worker: WorkerTokens,
    operator: Token,
    read: Token,
    /// Token of people who may control the run; nobody may without it.
    control: Option<Token>,
}

/// Serves workers and what is in `api` on the port behind `door`, over TLS.
async fn serve_control(
    master: Shared,
    identity: Identity,
    token: WorkerTokens,
    api: axum::Router,
    door: Door,
    stop: CancellationToken,
) -> Result<(), MasterError> {
    let check = move |mut request: Request<()>| {
        let authorization = request.metadata().get("authorization");
        let admitted = token.admits(authorization.map(|value| value.as_bytes()));
        let admission =
            admitted.ok_or_else(|| Status::unauthenticated("the worker token is needed"))?;
        if let Some(visitor) = door::visitor_of(request.extensions()) {
            visitor.admit();
        }
        request.extensions_mut().insert(admission);
        Ok(request)
    };
    let fleet = FleetServer::new(fleet::FleetService::new(master))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let router = Routes::new(InterceptedService::new(fleet, check))
        .into_axum_router()
        .merge(api);
    let incoming = futures::stream::unfold(door, async |mut door| {
        let guarded = door.next().await;
        Some((Ok::<_, std::io::Error>(guarded), door))
    });
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        .accept_http1(true)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_routes(router.into())
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await?;
    Ok(())
}

/// Alive as long as it answers; ready as soon as it listens, since workers come before there is
/// anything to be ready for.
impl Admin for Shared {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self) -> String {
        metrics::text(self)
    }
}

/// Listens on all addresses of both families, or of IPv4 alone.
async fn listen(port: u16) -> Result<TcpListener, MasterError> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match TcpListener::bind(any).await {
        Ok(listener) => Ok(listener),
        // the kernel has no IPv6, or the port cannot be had: the second try tells which
        Err(_) => TcpListener::bind(("0.0.0.0", port))
            .await
            .map_err(|source| MasterError::Listen { port, source }),
    }
}

fn read(path: &Path) -> Result<String, MasterError> {
    std::fs::read_to_string(path).map_err(|source| MasterError::Read {
        path: path.to_owned(),
        source,
    })
}
