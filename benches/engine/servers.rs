//! What the load goes to, each in a process of its own on the core of servers: nginx, an HTTP/2
//! server of hyper, a gRPC server of tonic, and one that freezes.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use starling::demo::wire::text_categorization_server::{
    TextCategorization, TextCategorizationServer,
};
use starling::demo::wire::{PredictionReply, PredictionRequest, PredictionSummary, WatchRequest};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Streaming;
use tonic::codegen::BoxStream;
use tonic::transport::server::TcpIncoming;

use crate::machine::{self, SERVER};

/// The argument that makes this program a server.
pub const SERVE: &str = "--serve";

pub const HTTP2: &str = "http2";
pub const GRPC: &str = "grpc";
pub const FREEZING: &str = "freezing";

pub const SMALL: &str = "twenty bytes of body";
const LARGE_BYTES: usize = 100 * 1024;
/// 120 bytes of JSON.
const JSON: &str = r#"{"prediction_id":"p-0123456789abcdef","category":"business","score":0.93,"model":"news-7","labels":["business","sport"]}"#;

/// The freezing server holds what arrives in this second of every ten until the second is over.
const PERIOD: Duration = Duration::from_secs(10);
const FREEZE_BEGINS: Duration = Duration::from_secs(5);
const FREEZE_ENDS: Duration = Duration::from_secs(6);

/// A running server; it ends when this is dropped.
pub struct Server {
    child: Child,
    /// Where the load goes.
    pub address: SocketAddr,
    counts: Counts,
    _folder: Option<TempDir>,
}

enum Counts {
    Nginx,
    /// Our own servers tell at an address of its own.
    At(SocketAddr),
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may be gone already
        let _ = self.child.wait();
    }
}

impl Server {
    /// nginx with one worker, on 127.0.0.1 and 127.0.0.2.
    pub fn nginx() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let free = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|error| error.to_string())?;
        let file = folder.path().join("nginx.conf");
        let written = fs::write(&file, nginx_config(folder.path(), free.port()))
            .and_then(|()| fs::write(folder.path().join("large"), vec![b'x'; LARGE_BYTES]));
        written.map_err(|error| error.to_string())?;
        let mut command = Command::new("nginx");
        command
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let child = machine::on_core(&mut command, SERVER)
            .spawn()
            .map_err(|error| format!("nginx does not start: {error}"))?;
        let server = Self {
            child,
            address: free,
            counts: Counts::Nginx,
            _folder: Some(folder),
        };
        let begun = Instant::now();
        while TcpStream::connect(free).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err("nginx does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// A server of this program.
    pub fn own(kind: &str) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command
            .args([SERVE, kind])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = machine::on_core(&mut command, SERVER)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let addresses: Vec<SocketAddr> = line
            .split_whitespace()
            .filter_map(|address| address.parse().ok())
            .collect();
        let [address, counts] = addresses.as_slice() else {
            return Err(format!("the {kind} server says {line:?}"));
        };
        Ok(Self {
            child,
            address: *address,
            counts: Counts::At(*counts),
            _folder: None,
        })
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Requests received so far.
    pub fn requests(&self) -> u64 {
        match self.counts {
            // the third number in the line below "server accepts handled requests"; this question
            // is one of them
            Counts::Nginx => nth_number(&ask(self.address), 3) - 1,
            Counts::At(address) => ask(address)
                .lines()
                .last()
                .and_then(|line| line.parse().ok())
                .expect("a count"),
        }
    }

    /// Connections open at nginx, without the one that asks.
    pub fn connections(&self) -> u64 {
        nth_number(&ask(self.address), 0) - 1
    }

    /// What the freezing server wrote down: microseconds between each request and its answer.
    pub fn log(&self) -> Vec<u64> {
        let Counts::At(address) = self.counts else {
            return vec![];
        };
        ask(address)
            .lines()
            .filter_map(|line| line.strip_prefix("took ")?.parse().ok())
            .collect()
    }
}

fn nth_number(text: &str, nth: usize) -> u64 {
    let body = text.split_once("\r\n\r\n").map_or(text, |(_, body)| body);
    body.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .nth(nth)
        .unwrap_or_else(|| panic!("cannot read {text:?}"))
}

/// The answer to `GET /status`.
fn ask(address: SocketAddr) -> String {
    let mut text = String::new();
    let asked = TcpStream::connect(address).and_then(|mut stream| {
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut text)
    });
    asked.unwrap_or_else(|error| panic!("{address}: {error}"));
    text
}

fn nginx_config(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "  {kind}_temp_path {folder}/{kind};"); // into a String
    }
    format!(
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 12000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; sendfile on; open_file_cache max=16; etag off;
{temporary}
  server {{
    listen 127.0.0.1:{port} backlog=8192; listen 127.0.0.2:{port} backlog=8192;
    root {folder};
    location = /small {{ default_type text/plain; return 200 '{SMALL}'; }}
    location = /json {{ default_type application/json; return 200 '{JSON}'; }}
    location = /large {{ default_type application/octet-stream; }}
    location = /status {{ stub_status; }}
  }}
}}
"
    )
}

/// What the servers of this program count and write down.
#[derive(Default)]
struct Received {
    count: AtomicU64,
    log: Mutex<Vec<u64>>,
}

/// Serves until this process is killed. The first line of standard output tells where, and where
/// the count is.
pub fn serve(kind: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let bind = || tokio::net::TcpListener::bind("127.0.0.1:0");
        let (load, counts) = (
            bind().await.expect("a free port"),
            bind().await.expect("a free port"),
        );
        println!(
            "{} {}",
            load.local_addr().expect("it is bound"),
            counts.local_addr().expect("it is bound")
        );
        let received = Arc::new(Received::default());
        tokio::spawn(tell(counts, Arc::clone(&received)));
        if kind == GRPC {
            return serve_grpc(load, received).await;
        }
        let begun = Instant::now();
        while let Ok((stream, _)) = load.accept().await {
            let _ = stream.set_nodelay(true); // only a hint
            let received = Arc::clone(&received);
            if kind == HTTP2 {
                tokio::spawn(serve_http2(stream, received));
            } else {
                tokio::spawn(serve_freezing(stream, received, begun));
            }
        }
    });
}

async fn tell(listener: tokio::net::TcpListener, received: Arc<Received>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut text = String::new();
        for took in received.log.lock().expect("nobody panics with it").iter() {
            let _ = writeln!(text, "took {took}"); // into a String
        }
        let _ = write!(text, "{}", received.count.load(Ordering::Relaxed));
        let _ = stream.read(&mut [0; 1024]).await; // whatever is asked
        let _ = stream.write_all(text.as_bytes()).await; // who asked may have gone
    }
}

async fn serve_http2(stream: tokio::net::TcpStream, received: Arc<Received>) {
    let service = service_fn(move |_: Request<hyper::body::Incoming>| {
        received.count.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(Body::from(SMALL))) }
    });
    // a client that goes away is no news
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// The demo service's categoriser, without any categorising.
struct Categorization(Arc<Received>);

/// Of the methods that nobody here calls.
type Unserved<T> = Result<tonic::Response<T>, tonic::Status>;

#[tonic::async_trait]
impl TextCategorization for Categorization {
    type WatchPredictionStream = BoxStream<PredictionReply>;
    type GetPredictionsStream = BoxStream<PredictionReply>;

    async fn get_prediction(
        &self,
        request: tonic::Request<PredictionRequest>,
    ) -> Result<tonic::Response<PredictionReply>, tonic::Status> {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        let text = request.into_inner().text;
        Ok(tonic::Response::new(PredictionReply {
            text,
            prediction_id: "p-0123456789".into(),
            category: "business".into(),
        }))
    }

    async fn watch_prediction(
        &self,
        _: tonic::Request<WatchRequest>,
    ) -> Unserved<Self::WatchPredictionStream> {
        Err(tonic::Status::unimplemented(""))
    }

    async fn summarize_predictions(
        &self,
        _: tonic::Request<Streaming<PredictionRequest>>,
    ) -> Unserved<PredictionSummary> {
        Err(tonic::Status::unimplemented(""))
    }

    async fn get_predictions(
        &self,
        _: tonic::Request<Streaming<PredictionRequest>>,
    ) -> Unserved<Self::GetPredictionsStream> {
        Err(tonic::Status::unimplemented(""))
    }
}

async fn serve_grpc(listener: tokio::net::TcpListener, received: Arc<Received>) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = TextCategorizationServer::new(Categorization(received));
    let served = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming)
        .await;
    served.expect("it serves until it is killed");
}

/// Requests are never split, as the client writes each in one piece.
async fn serve_freezing(
    mut stream: tokio::net::TcpStream,
    received: Arc<Received>,
    begun: Instant,
) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{SMALL}",
        SMALL.len()
    );
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
        let arrived = Instant::now();
        received.count.fetch_add(1, Ordering::Relaxed);
        let in_period =
            Duration::from_nanos(((arrived - begun).as_nanos() % PERIOD.as_nanos()) as u64);
        if (FREEZE_BEGINS..FREEZE_ENDS).contains(&in_period) {
            tokio::time::sleep_until((arrived + (FREEZE_ENDS - in_period)).into()).await;
        }
        if stream.write_all(answer.as_bytes()).await.is_err() {
            break;
        }
        received
            .log
            .lock()
            .expect("nobody panics with it")
            .push(arrived.elapsed().as_micros() as u64);
    }
}
