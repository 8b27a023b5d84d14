//! Finding and dialling the master: every address of the headless Service is tried, over TLS with
//! the run's own authority.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::{End, Options, Worker};
use crate::engine::look_up_host;
use crate::wire::checksum::{self, Mismatch};
use crate::wire::fleet::fleet_client::FleetClient;
use crate::wire::fleet::{FromMaster, FromWorker};
use crate::wire::layout::{channel, server_name};
use crate::wire::{MAX_MESSAGE, tokens};

/// Longest time to connect, and to be answered.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without an answer after which a master is gone; pings find out.
const SILENCE: Duration = Duration::from_secs(5);
/// Most messages on their way; with one snapshot a second this is many.
const OUTBOUND: usize = 64;
/// Time that running iterations get when a worker is told to go. Spot nodes leave 15 s: the last
/// snapshot needs the rest.
const DRAIN_LOAD: Duration = Duration::from_secs(3);
/// Time in which a worker that is told to go hands over its samples.
const DRAIN: Duration = Duration::from_secs(10);

/// Reasons why a master cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Certificate or token cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The CA is not the one that the operator wrote.
    #[error(transparent)]
    Foreign(#[from] Mismatch),
    /// The token is that of another worker.
    #[error("the worker token is that of index {of}, and this is index {index}")]
    OtherIndex {
        /// Index that the token speaks of.
        of: u32,
        /// Index of this worker.
        index: u32,
    },
    /// The token has characters that no header may have.
    #[error("the worker token is not a header's value")]
    Token,
    /// The address has no port.
    #[error("{master} is not HOST:PORT")]
    Address {
        /// The address, as the arguments have it.
        master: String,
    },
    /// The name cannot be looked up, or has no address, such as while no master is ready.
    #[error("{0}")]
    Resolve(String),
    /// The connection failed.
    #[error("cannot reach the master at {address}: {message}")]
    Dial {
        /// Address that was dialled.
        address: SocketAddr,
        /// The error and its causes.
        message: String,
        /// The other side does not prove that it is the master of the run.
        is_untrusted: bool,
    },
    /// The master turned the stream away, such as for a wrong token.
    #[error("the master at {address} answered {status}")]
    Join {
        /// Address that was dialled.
        address: SocketAddr,
        /// Status of the answer.
        status: Status,
    },
}

impl ConnectError {
    /// Returns whether the master's name led to no address.
    pub(super) fn is_unresolved(&self) -> bool {
        matches!(self, Self::Resolve(_))
    }
}

/// Messages of the master; ends when the connection does.
type Inbound = Pin<Box<dyn Stream<Item = FromMaster> + Send>>;

/// Master to dial, and what shows each side who the other is.
pub struct Target<'a> {
    /// HOST:PORT of the master.
    pub master: &'a str,
    /// Id of the run.
    pub run: &'a str,
    /// Certificate of the run's authority, as PEM.
    pub ca: &'a str,
    /// Token of the worker.
    pub token: &'a str,
}

/// All that is needed to dial the master of a run.
pub struct Connector {
    host: String,
    port: u16,
    tls: ClientTlsConfig,
    authorization: MetadataValue<Ascii>,
    /// Ends the worker when the master does not prove who it is, or does not know the token. In a
    /// cluster another master may come.
    is_strict: bool,
    /// Number of dials so far, so that a master that turned this worker away is not always the
    /// first.
    turn: std::sync::atomic::AtomicUsize,
}

impl Connector {
    /// Reads certificate and token. Fails when they are missing or not those of this worker and its
    /// run, or when the address is none.
    pub fn new(options: &Options) -> Result<Self, ConnectError> {
        let read = |name: &str| {
            let path = options.channel.join(name);
            std::fs::read_to_string(&path).map_err(|source| ConnectError::Read { path, source })
        };
        let ca = read(channel::CA)?;
        checksum::check(&options.sha256, channel::CA, ca.as_bytes())?;
        let token = read(channel::WORKER_TOKEN)?;
        let token = token.trim();
        // a token without an index is the one of all workers, as older releases had it
        if let Some(of) = tokens::index_of(token).filter(|of| *of != options.index) {
            let index = options.index;
            return Err(ConnectError::OtherIndex { of, index });
        }
        let target = Target {
            master: &options.master,
            run: &options.run,
            ca: &ca,
            token,
        };
        let connector = Self::to(&target)?;
        Ok(Self {
            is_strict: false,
            ..connector
        })
    }

    /// Makes the connector of a worker that gives up where it is not wanted. Fails for an address
    /// that is none, and for a token that no header may have.
    pub(super) fn to(target: &Target<'_>) -> Result<Self, ConnectError> {
        let Target {
            master,
            run,
            ca,
            token,
        } = target;
        let parts = master.rsplit_once(':');
        let Some((host, port)) = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)))
        else {
            return Err(ConnectError::Address {
                master: (*master).to_owned(),
            });
        };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name(server_name(run));
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| ConnectError::Token)?;
        authorization.set_sensitive(true);
        Ok(Self {
            // as an IPv6 address stands in a URL
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            tls,
            authorization,
            is_strict: true,
            turn: Default::default(),
        })
    }

    /// Returns whether no further try makes an error right.
    pub(super) fn is_final(&self, error: &ConnectError) -> bool {
        self.is_strict
            && match error {
                ConnectError::Join { status, .. } => status.code() == Code::Unauthenticated,
                ConnectError::Dial { is_untrusted, .. } => *is_untrusted,
                _ => false,
            }
    }

    /// Opens a stream with the first master that answers. The worker goes on working meanwhile.
    pub(super) async fn open(
        &self,
        worker: &mut Worker,
    ) -> Result<(Inbound, mpsc::Sender<FromWorker>), ConnectError> {
        let dialling = self.dial();
        let mut dialling = std::pin::pin!(dialling);
        loop {
            tokio::select! {
                outcome = &mut dialling => return outcome,
                () = worker.work_without_master(Duration::from_millis(500)) => {}
            }
        }
    }

    /// Tries every address of the master in turn.
    async fn dial(&self) -> Result<(Inbound, mpsc::Sender<FromWorker>), ConnectError> {
        let resolved = look_up_host(&self.host, self.port).await;
        let mut addresses = resolved.map_err(ConnectError::Resolve)?;
        let turn = self.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % addresses.len();
        addresses.rotate_left(turn);
        let mut failure = None;
        for address in addresses {
            match self.join(address).await {
                Ok(streams) => return Ok(streams),
                Err(e) => failure = Some(e),
            }
        }
        Err(failure.unwrap_or_else(|| ConnectError::Resolve("the name has no address".into())))
    }

    /// Opens a stream with the master at one address.
    async fn join(
        &self,
        address: SocketAddr,
    ) -> Result<(Inbound, mpsc::Sender<FromWorker>), ConnectError> {
        let failed = |e: tonic::transport::Error| ConnectError::Dial {
            address,
            message: with_causes(&e),
            is_untrusted: is_untrusted(&e),
        };
        let channel: Channel = Endpoint::from_shared(format!("https://{address}"))
            .map_err(failed)?
            .tls_config(self.tls.clone())
            .map_err(failed)?
            .connect_timeout(DIAL_TIMEOUT)
            .http2_keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(failed)?;
        let mut client = FleetClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let mut request = Request::new(ReceiverStream::new(messages));
        request
            .metadata_mut()
            .insert("authorization", self.authorization.clone());
        let answer = tokio::time::timeout(DIAL_TIMEOUT, client.join(request))
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
        let inbound = answer
            .map_err(|status| ConnectError::Join { address, status })?
            .into_inner();
        // an error ends the stream like a closed connection does
        let inbound = inbound
            .map(move |message| {
                message
                    .inspect_err(|status| tracing::warn!("the master's stream broke: {status}"))
                    .ok()
            })
            .take_while(|message| std::future::ready(message.is_some()))
            .filter_map(std::future::ready);
        Ok((inbound.boxed(), outbound))
    }
}

impl Worker {
    /// Ends the load when the worker is told to go, then hands over what was measured, all within
    /// [`DRAIN`].
    pub(super) async fn drain(&mut self, connector: &Connector) {
        let Some(work) = self.work() else { return };
        let begun = Instant::now();
        work.stop(false);
        while self.work().is_some_and(|work| !work.is_over()) && begun.elapsed() < DRAIN {
            if begun.elapsed() > DRAIN_LOAD
                && let Some(work) = self.work()
            {
                work.stop(true);
            }
            self.work_without_master(Duration::from_millis(100)).await;
        }
        if tokio::time::timeout(
            DRAIN.saturating_sub(begun.elapsed()),
            self.hand_over(connector),
        )
        .await
        .is_err()
        {
            tracing::warn!("no master took the last samples in time");
        }
    }

    /// Hands everything over on a new connection, since the session's was given up: the cumulative
    /// state, which comes first, says it all.
    async fn hand_over(&mut self, connector: &Connector) {
        self.leaving = true;
        loop {
            match connector.open(self).await {
                Ok((inbound, outbound)) => match self.serve(inbound, outbound).await {
                    End::Drained
                    | End::Released
                    | End::Refused {
                        permanent: true, ..
                    } => return,
                    End::Lost | End::Refused { .. } => {}
                },
                Err(e) => tracing::info!("no master yet for the last samples: {e}"),
            }
            self.work_without_master(Duration::from_millis(200)).await;
        }
    }
}

/// Returns whether an error is that of a certificate that does not prove what it should.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        let wrapped = inner
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref())
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let tls = inner.downcast_ref::<rustls::Error>().or(wrapped);
        if let Some(rustls::Error::InvalidCertificate(_)) = tls {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Joins an error and its causes; tonic alone says "transport error".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
