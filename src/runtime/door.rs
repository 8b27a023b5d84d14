//! Listening socket that is not filled by strangers: a connection that shows no token, or asks
//! nothing, has a few seconds, and only so many of them are held at once.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::TlsConnectInfo;

/// Time from the acceptance of a connection until it must have shown a token or asked something.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Pause after a failure to accept, such as one for want of file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// Most connections whose TLS handshake is over and that nobody has taken yet.
const QUEUED: usize = 16;

/// Listening socket that bounds the connections of strangers.
pub struct Door {
    listener: TcpListener,
    keeper: Arc<Keeper>,
}

/// Keeper of the connections that may be dropped for others.
struct Keeper {
    /// Most of them at once.
    most: usize,
    /// Time that a stranger has.
    patience: Duration,
    /// Connections in the order of their acceptance; those that have ended or shown a token are
    /// forgotten when there is no room.
    held: Mutex<VecDeque<Weak<Held>>>,
}

/// Standing of a connection.
struct Held {
    standing: AtomicU8,
    /// Cancelled when the connection has to make room.
    dropped: CancellationToken,
}

/// Connection has asked nothing yet: it is dropped after [`PATIENCE`], or for others.
const STRANGER: u8 = 0;
/// Connection has asked something that needs no token: it is dropped for others only.
const GUEST: u8 = 1;
/// Connection has shown a token.
const ADMITTED: u8 = 2;

/// Other end of a connection, known to the handlers of its requests.
#[derive(Clone)]
pub struct Visitor(Arc<Held>);

/// Connection through a [`Door`].
pub struct Guarded {
    stream: TcpStream,
    visitor: Visitor,
    /// Reasons to drop it; `None` once it has shown a token.
    limits: Option<Pin<Box<Limits>>>,
}

struct Limits {
    patience: Pin<Box<Sleep>>,
    dropped: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Reasons why a certificate cannot be used to serve.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file is no PEM certificate or key, or cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the parser or the system.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not belong together, or are of an unknown kind.
    #[error("cannot serve with certificate {path}: {source}")]
    Unfit {
        /// File of the certificate.
        path: PathBuf,
        /// Error of the TLS library.
        source: rustls::Error,
    },
}

impl Visitor {
    /// Notes that a token was shown: the connection is not dropped any more.
    pub fn admit(&self) {
        self.0.standing.store(ADMITTED, Ordering::Release);
    }

    /// Notes that a request came that needs no token: the connection is dropped for others only.
    pub fn greet(&self) {
        // one that has shown a token keeps its standing
        self.0.standing.fetch_max(GUEST, Ordering::AcqRel);
    }

    fn standing(&self) -> u8 {
        self.0.standing.load(Ordering::Acquire)
    }
}

/// Returns the other end of the connection of a request, by the request's extensions; `None` for a
/// request that came through no [`Door`].
pub fn visitor_of(extensions: &http::Extensions) -> Option<&Visitor> {
    let plain = extensions.get::<ConnectInfo<Visitor>>();
    plain.map(|ConnectInfo(visitor)| visitor).or_else(|| {
        extensions
            .get::<TlsConnectInfo<Visitor>>()
            .map(TlsConnectInfo::get_ref)
    })
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visitor({})", self.standing())
    }
}

impl Door {
    /// Guards a listening socket. At most `most` connections that have shown no token are held; a
    /// further one takes the place of the oldest.
    pub fn new(listener: TcpListener, most: usize) -> Self {
        Self::with_patience(listener, most, PATIENCE)
    }

    fn with_patience(listener: TcpListener, most: usize, patience: Duration) -> Self {
        let keeper = Keeper {
            most,
            patience,
            held: Mutex::default(),
        };
        Self {
            listener,
            keeper: Arc::new(keeper),
        }
    }

    /// Waits for the next connection. A failure is logged, and the wait goes on.
    pub async fn next(&mut self) -> Guarded {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return self.keeper.guard(stream),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!("cannot accept connections: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Serves `router` until `stop`, over TLS if `tls` is given. Fails when the socket fails.
    pub async fn serve(
        self,
        router: Router,
        tls: Option<Arc<ServerConfig>>,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let service = router.into_make_service_with_connect_info::<Visitor>();
        let stopped = stop.cancelled_owned();
        match tls {
            None => {
                axum::serve(self, service)
                    .with_graceful_shutdown(stopped)
                    .await
            }
            Some(tls) => {
                axum::serve(TlsDoor::new(self, tls)?, service)
                    .with_graceful_shutdown(stopped)
                    .await
            }
        }
    }
}

/// Returns whether a failure to accept concerns a connection that has ended meanwhile.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

impl Keeper {
    fn guard(&self, stream: TcpStream) -> Guarded {
        let held = Arc::new(Held {
            standing: AtomicU8::new(STRANGER),
            dropped: CancellationToken::new(),
        });
        self.make_room(Arc::downgrade(&held));
        let limits = Limits {
            patience: Box::pin(tokio::time::sleep(self.patience)),
            dropped: Box::pin(held.dropped.clone().cancelled_owned()),
        };
        Guarded {
            stream,
            visitor: Visitor(held),
            limits: Some(Box::pin(limits)),
        }
    }

    /// Adds a connection, and drops the oldest if there are too many.
    fn make_room(&self, newest: Weak<Held>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push_back(newest);
        if held.len() <= self.most {
            return;
        }
        held.retain(|held| {
            held.upgrade()
                .is_some_and(|held| held.standing.load(Ordering::Acquire) != ADMITTED)
        });
        while held.len() > self.most {
            if let Some(oldest) = held.pop_front().and_then(|oldest| oldest.upgrade()) {
                oldest.dropped.cancel();
            }
        }
    }
}

impl Guarded {
    /// Returns the other end of the connection.
    pub fn visitor(&self) -> Visitor {
        self.visitor.clone()
    }

    /// Returns an error if the connection is to be dropped, and else has the task woken when that
    /// changes.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let standing = self.visitor.standing();
        if standing == ADMITTED {
            self.limits = None;
        }
        let Some(limits) = &mut self.limits else {
            return Ok(());
        };
        if limits.dropped.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "dropped for other connections",
            ));
        }
        if standing == STRANGER && limits.patience.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "neither a token nor a request came in time",
            ));
        }
        Ok(())
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Err(error) = self.poll_limits(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.poll_limits(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl tonic::transport::server::Connected for Guarded {
    type ConnectInfo = Visitor;

    fn connect_info(&self) -> Visitor {
        self.visitor()
    }
}

impl Listener for Door {
    type Io = Guarded;
    type Addr = Visitor;

    async fn accept(&mut self) -> (Guarded, Visitor) {
        let guarded = self.next().await;
        let visitor = guarded.visitor();
        (guarded, visitor)
    }

    fn local_addr(&self) -> io::Result<Visitor> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl axum::extract::connect_info::Connected<IncomingStream<'_, Door>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

/// [`Door`] behind which TLS is spoken. Handshakes go on beside each other, within the time of
/// strangers.
struct TlsDoor {
    ready: mpsc::Receiver<TlsStream<Guarded>>,
    _accepting: JoinSet<()>,
}

impl TlsDoor {
    fn new(mut door: Door, tls: Arc<ServerConfig>) -> io::Result<Self> {
        let (sender, ready) = mpsc::channel(QUEUED);
        let acceptor = TlsAcceptor::from(tls);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut handshakes = JoinSet::new();
            loop {
                tokio::select! {
                    guarded = door.next() => {
                        let (sender, acceptor) = (sender.clone(), acceptor.clone());
                        handshakes.spawn(async move {
                            // one that fails its handshake is gone; an error of the channel means
                            // that the server has ended
                            if let Ok(stream) = acceptor.accept(guarded).await {
                                let _ = sender.send(stream).await;
                            }
                        });
                    }
                    Some(_) = handshakes.join_next() => {}
                }
            }
        });
        Ok(Self {
            ready,
            _accepting: accepting,
        })
    }
}

impl Listener for TlsDoor {
    type Io = TlsStream<Guarded>;
    type Addr = Visitor;

    async fn accept(&mut self) -> (TlsStream<Guarded>, Visitor) {
        match self.ready.recv().await {
            Some(stream) => {
                let visitor = stream.get_ref().0.visitor();
                (stream, visitor)
            }
            // the task that accepts never ends before this
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Visitor> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl axum::extract::connect_info::Connected<IncomingStream<'_, TlsDoor>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, TlsDoor>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Reads a PEM certificate chain and its key for serving HTTP/1.1 over TLS.
pub fn read_certificate(
    certificate: &Path,
    key: &Path,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Read { path, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(unreadable(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|source| CertificateError::Unfit {
        path: certificate.to_owned(),
        source,
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::Extensions;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn door(most: usize) -> (Door, SocketAddr) {
        impatient(most, PATIENCE).await
    }

    async fn impatient(most: usize, patience: Duration) -> (Door, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Door::with_patience(listener, most, patience), address)
    }

    async fn read(guarded: &mut Guarded) -> io::Result<usize> {
        guarded.read(&mut [0; 8]).await
    }

    #[tokio::test]
    async fn a_stranger_that_says_nothing_is_dropped_in_time() {
        let (mut door, address) = impatient(8, Duration::ZERO).await;
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut guarded = door.next().await;
        let error = read(&mut guarded).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_oldest_stranger_makes_room() {
        let (mut door, address) = door(2).await;
        let mut all = Vec::new();
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(TcpStream::connect(address).await.unwrap());
            all.push(door.next().await);
        }
        let error = read(&mut all[0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        others[1].write_all(b"x").await.unwrap();
        assert_eq!(read(&mut all[1]).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn one_that_has_shown_a_token_stays_and_takes_no_room() {
        let (mut door, address) = impatient(1, Duration::ZERO).await;
        let mut admitted = TcpStream::connect(address).await.unwrap();
        let mut guarded = door.next().await;
        guarded.visitor().admit();
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push((
                TcpStream::connect(address).await.unwrap(),
                door.next().await,
            ));
        }
        admitted.write_all(b"x").await.unwrap();
        assert_eq!(read(&mut guarded).await.unwrap(), 1);
        guarded.visitor().greet();
        assert_eq!(guarded.visitor().standing(), ADMITTED);
    }

    async fn served(most: usize, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
        let (door, address) = door(most).await;
        let router = Router::new().route(
            "/",
            get(|extensions: Extensions| async move {
                visitor_of(&extensions).expect("a door").greet();
                "here"
            }),
        );
        tokio::spawn(door.serve(router, tls, CancellationToken::new()));
        address
    }

    async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn idle_connections_keep_nobody_out() {
        let address = served(16, None).await;
        let mut idle = Vec::new();
        for _ in 0..300 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = ask(TcpStream::connect(address).await.unwrap()).await;
        assert!(answer.ends_with("here"), "{answer}");
        // all but the last ones are closed, without a byte
        for stream in &mut idle[..300 - 16] {
            assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
        }
    }

    #[tokio::test]
    async fn tls_is_spoken_with_the_certificate_that_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let made = rcgen::generate_simple_self_signed(["ui.test".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let config = read_certificate(&certificate, &key).unwrap();
        let address = served(64, Some(config)).await;

        // one that never begins its handshake holds nobody up
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "ui.test".try_into().unwrap();
        let answer = ask(connector.connect(name, stream).await.unwrap()).await;
        assert!(answer.ends_with("here"), "{answer}");

        let error = read_certificate(&key, &key).err().unwrap();
        assert!(error.to_string().contains("tls.key"), "{error}");
    }
}
