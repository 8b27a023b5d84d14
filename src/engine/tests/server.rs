//! Targets: a real HTTP server that counts, and sockets that answer with whatever bytes a test
//! wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Lives as long as the test's runtime.
pub(super) struct Server {
    pub(super) url: String,
    seen: Arc<Seen>,
}

struct Seen {
    requests: AtomicU64,
    /// Requests that arrive before it wait until then.
    stall: std::sync::Mutex<Option<(Instant, Instant)>>,
    rows: std::sync::Mutex<Vec<u64>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let seen = Arc::new(Seen {
            requests: AtomicU64::new(0),
            stall: Default::default(),
            rows: Default::default(),
        });
        let counted = |seen: &Seen| seen.requests.fetch_add(1, Ordering::Relaxed);
        let router = Router::new()
            .route(
                "/",
                any(move |State(seen): State<Arc<Seen>>| async move {
                    counted(&seen);
                    let stall = *seen.stall.lock().unwrap();
                    if let Some((_, until)) = stall.filter(|(from, until)| (*from..*until).contains(&Instant::now())) {
                        tokio::time::sleep_until(until.into()).await;
                    }
                    "twenty bytes of body"
                }),
            )
            .route(
                "/slow/{millis}",
                get(move |State(seen): State<Arc<Seen>>, Path(millis): Path<u64>| async move {
                    counted(&seen);
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }),
            )
            .route(
                "/row/{number}",
                get(move |State(seen): State<Arc<Seen>>, Path(number): Path<u64>| async move {
                    counted(&seen);
                    seen.rows.lock().unwrap().push(number);
                }),
            )
            .route(
                "/status/{code}",
                get(move |State(seen): State<Arc<Seen>>, Path(code): Path<u16>| async move {
                    counted(&seen);
                    (StatusCode::from_u16(code).unwrap(), [("retry-after", "7")])
                }),
            )
            .route(
                "/large/{bytes}",
                get(move |State(seen): State<Arc<Seen>>, Path(bytes): Path<usize>| async move {
                    counted(&seen);
                    vec![b'x'; bytes]
                }),
            )
            .route(
                "/echo",
                any(move |State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes| async move {
                    counted(&seen);
                    let fits = headers["content-length"] == body.len().to_string() && headers["content-type"] == "application/json";
                    let json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
                    if fits && json { StatusCode::OK } else { StatusCode::BAD_REQUEST }
                }),
            )
            .with_state(seen.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    /// Requests received so far.
    pub(super) fn received(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// What came to `/row/NUMBER`, sorted.
    pub(super) fn rows(&self) -> Vec<u64> {
        let mut rows = self.seen.rows.lock().unwrap().clone();
        rows.sort_unstable();
        rows
    }

    pub(super) fn stall(&self, from: Instant, until: Instant) {
        *self.seen.stall.lock().unwrap() = Some((from, until));
    }
}

/// Serves each connection by `script`; the URL.
pub(super) async fn scripted<F>(script: impl Fn(Peer) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    scripted_at("127.0.0.1:0", script).await
}

/// Likewise, at this address.
pub(super) async fn scripted_at<F>(
    address: &str,
    script: impl Fn(Peer) -> F + Send + 'static,
) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(script(Peer(stream)));
        }
    });
    url
}

/// The target's end of a connection.
pub(super) struct Peer(pub(super) TcpStream);

impl Peer {
    /// Reads one request without a body; false at the end of the stream.
    pub(super) async fn request(&mut self) -> bool {
        self.head().await.is_some()
    }

    /// Likewise; what it is.
    pub(super) async fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        Some(String::from_utf8(head).unwrap())
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // the engine may have closed by now, which is what some tests are about
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// Answers every request with the same bytes.
    pub(super) async fn always(mut self, bytes: impl AsRef<[u8]>) {
        while self.request().await {
            self.send(&bytes).await;
        }
    }
}

/// An address where nobody listens.
pub(super) fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
