//! An HTTP proxy between an operator and the API server that does to calls what networks and
//! overloaded servers do. What it does to the n-th call depends on the seed and on n alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kube::Client;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy does to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Nothing.
    Honest,
    /// One call of eight meets a fault, chosen by this seed.
    Seeded(u64),
    /// No watch shows a change of anything but LoadTests.
    NoEvents,
}

/// Fault that a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Delay(Duration),
    /// An answer that the API server did not give; it has not heard the call.
    Answer(u16),
    /// The API server has heard the call, and its answer is lost: 504, or a cut connection.
    Lost(Option<u16>),
    /// A cut connection; the API server has not heard the call.
    Cut,
    /// The answer of the last such call again.
    Stale,
    /// All calls wait.
    Freeze(Duration),
}

/// Fault that a watch meets, at its so many-th event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upset {
    Dropped,
    Doubled,
    Gone,
    Cut,
}

pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Client,
    script: Script,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: u64,
    /// Call at whose answer the operator is killed, and its process.
    kill: Option<(u64, u32)>,
    is_down: bool,
    frozen_until: Option<Instant>,
    /// Last answers of lists, by their paths.
    lists: BTreeMap<String, Bytes>,
    watches: usize,
    log: Vec<String>,
}

/// Closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
struct CutOff;

impl Proxy {
    /// Serves on a port of the loopback interface, until the test's runtime ends.
    pub async fn start(upstream: Client, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            upstream,
            script,
            state: Mutex::default(),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if !serving.state().is_down {
                    tokio::spawn(serve(serving.clone(), stream));
                }
            }
        });
        Self {
            url: format!("http://{address}"),
            shared,
        }
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.shared.state().calls
    }

    /// Watches that are open.
    pub fn watches(&self) -> usize {
        self.shared.state().watches
    }

    /// Kills this process when the API server has answered the so many-th call from now on, before
    /// the process hears the answer.
    pub fn kill_at(&self, call: u64, process: u32) {
        let mut state = self.shared.state();
        state.kill = Some((state.calls + call, process));
    }

    /// Whether the kill is still to come.
    pub fn is_kill_due(&self) -> bool {
        self.shared.state().kill.is_some()
    }

    /// The API server is away, or back.
    pub fn set_down(&self, is_down: bool) {
        self.shared.state().is_down = is_down;
    }

    /// What was done to which call.
    pub fn log(&self) -> Vec<String> {
        self.shared.state().log.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, call: u64, what: &str, path: &str) {
        self.state()
            .log
            .push(format!("call {call}: {what}: {path}"));
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let answer = service_fn(move |request| answer(shared.clone(), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    // an operator that is killed breaks off
    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
}

fn rng(seed: u64, call: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed ^ call.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Returns the fault that the so many-th call meets.
fn fault_of(seed: u64, call: u64, method: &Method, is_list: bool) -> Option<Fault> {
    let mut rng = rng(seed, call);
    if rng.random_range(0..8) != 0 {
        return None;
    }
    let is_write = *method != Method::GET;
    Some(match rng.random_range(0..10) {
        0 => Fault::Delay(Duration::from_millis(rng.random_range(50..3_000))),
        1 => Fault::Answer(429),
        2 => Fault::Answer(500),
        3 => Fault::Answer(503),
        4 if *method == Method::PUT => Fault::Answer(409),
        5 if is_write => Fault::Lost(Some(504)),
        6 if is_write => Fault::Lost(None),
        7 if is_list => Fault::Stale,
        8 if call > 40 && rng.random_range(0..4) == 0 => {
            Fault::Freeze(Duration::from_secs(rng.random_range(2..13)))
        }
        _ => Fault::Cut,
    })
}

/// Returns what happens to the so many-th event of the watch that is the so many-th call.
fn upset_of(script: Script, call: u64, event: u64, is_of_tests: bool) -> Option<Upset> {
    let seed = match script {
        Script::Honest => return None,
        Script::NoEvents => return (!is_of_tests).then_some(Upset::Dropped),
        Script::Seeded(seed) => seed,
    };
    let mut rng = rng(seed.rotate_left(17), call.wrapping_mul(1_000) + event);
    match rng.random_range(0..40) {
        // a LoadTest that nobody shows is found by the next list, which takes minutes: no real
        // server leaves an event out and goes on
        0 | 1 if !is_of_tests => Some(Upset::Dropped),
        2 | 3 => Some(Upset::Doubled),
        4 => Some(Upset::Gone),
        5 => Some(Upset::Cut),
        _ => None,
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, CutOff> {
    let call = {
        let mut state = shared.state();
        state.calls += 1;
        state.calls
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let path = uri
        .path_and_query()
        .map_or("", |path| path.as_str())
        .to_owned();
    let is_watch = path.contains("watch=true");
    let is_list = method == Method::GET && !is_watch && is_of_many(uri.path());
    thaw(&shared).await?;
    let fault = match shared.script {
        Script::Seeded(seed) => fault_of(seed, call, &method, is_list),
        Script::Honest | Script::NoEvents => None,
    };
    if let Some(fault) = fault {
        shared.note(call, &format!("{fault:?}"), &format!("{method} {path}"));
    }
    match fault {
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Answer(code)) => return Ok(failure(code, &method)),
        Some(Fault::Cut) => return Err(CutOff),
        Some(Fault::Freeze(time)) => {
            shared.state().frozen_until = Some(Instant::now() + time);
            thaw(&shared).await?;
        }
        Some(Fault::Stale) => {
            let known = shared.state().lists.get(&path).cloned();
            if let Some(known) = known {
                return Ok(whole(StatusCode::OK, known));
            }
        }
        Some(Fault::Lost(_)) | None => {}
    }
    let response = forward(&shared, request).await?;
    kill_if_due(&shared, call)?;
    match fault {
        Some(Fault::Lost(Some(code))) => return Ok(failure(code, &method)),
        Some(Fault::Lost(None)) => return Err(CutOff),
        _ => {}
    }
    if is_watch && response.status().is_success() {
        return Ok(watched(shared, call, &path, response));
    }
    let (status, body) = (response.status(), response.into_body());
    let body = body.collect_bytes().await.map_err(|_| CutOff)?;
    if is_list && status.is_success() {
        shared.state().lists.insert(path, body.clone());
    }
    Ok(whole(status, body))
}

/// Whether a path is that of all objects of a kind.
fn is_of_many(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    [
        "loadtests",
        "pods",
        "jobs",
        "deployments",
        "services",
        "configmaps",
    ]
    .contains(&last)
}

/// Waits while calls are frozen; cuts them off while the API server is away.
async fn thaw(shared: &Shared) -> Result<(), CutOff> {
    loop {
        let until = {
            let state = shared.state();
            if state.is_down {
                return Err(CutOff);
            }
            state.frozen_until.filter(|until| *until > Instant::now())
        };
        match until {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => return Ok(()),
        }
    }
}

fn kill_if_due(shared: &Shared, call: u64) -> Result<(), CutOff> {
    let mut state = shared.state();
    match state.kill {
        Some((at, process)) if call >= at => {
            state.kill = None;
            let said = std::process::Command::new("kill")
                .args(["-KILL", &process.to_string()])
                .status();
            assert!(said.is_ok_and(|status| status.success()), "it was alive");
            Err(CutOff)
        }
        _ => Ok(()),
    }
}

async fn forward(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<kube::client::Body>, CutOff> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), 16 << 20)
        .await
        .map_err(|_| CutOff)?;
    let mut upstream = Request::builder()
        .method(parts.method)
        .uri(parts.uri.path_and_query().map_or("/", |path| path.as_str()));
    for name in [http::header::CONTENT_TYPE, http::header::ACCEPT] {
        if let Some(value) = parts.headers.get(&name) {
            upstream = upstream.header(name, value);
        }
    }
    let request = upstream.body(body.into()).expect("a request");
    shared.upstream.send(request).await.map_err(|_| CutOff)
}

fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .expect("a response")
}

/// An answer of the API server's own kind.
fn failure(code: u16, method: &Method) -> Response<Body> {
    let reason = match code {
        409 if *method == Method::POST => "AlreadyExists",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "made by the test", "reason": reason, "code": code,
    });
    let mut response = Response::builder()
        .status(code)
        .header(http::header::CONTENT_TYPE, "application/json");
    if code == 429 {
        status["details"] = json!({"retryAfterSeconds": 1});
        response = response.header(http::header::RETRY_AFTER, "1");
    }
    let body = Body::from(status.to_string());
    response.body(body).expect("a response")
}

/// Counts an open watch as long as it lives.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        shared.state().watches += 1;
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state().watches -= 1;
    }
}

/// The events of a watch, each of which is a line.
fn watched(
    shared: Arc<Shared>,
    call: u64,
    path: &str,
    response: Response<kube::client::Body>,
) -> Response<Body> {
    let is_of_tests = path.contains("/loadtests");
    let path = path.to_owned();
    let chunks = Body::new(response.into_body()).into_data_stream();
    let begin = (chunks, Vec::new(), 0_u64, Open::new(shared));
    let events = futures::stream::unfold(Some(begin), move |state| {
        let path = path.clone();
        async move {
            let (mut chunks, mut rest, event, open) = state?;
            let line = next_line(&mut chunks, &mut rest).await?;
            let shared = open.0.clone();
            let upset = upset_of(shared.script, call, event, is_of_tests);
            let is_bookmark = line.windows(10).any(|part| part == b"\"BOOKMARK\"");
            let upset = upset.filter(|_| !is_bookmark);
            if let Some(upset) = upset {
                shared.note(call, &format!("{upset:?} event {event}"), &path);
            }
            let on = |chunks, rest| Some((chunks, rest, event + 1, open));
            Some(match upset {
                None => (Ok(Bytes::from(line)), on(chunks, rest)),
                Some(Upset::Dropped) => (Ok(Bytes::new()), on(chunks, rest)),
                Some(Upset::Doubled) => (Ok(Bytes::from(line.repeat(2))), on(chunks, rest)),
                Some(Upset::Gone) => (Ok(gone()), None),
                Some(Upset::Cut) => (Err(CutOff), None),
            })
        }
    });
    Response::new(Body::from_stream(events))
}

/// Reads up to the end of the next line; `None` at the end of the watch.
async fn next_line(chunks: &mut axum::body::BodyDataStream, rest: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            return Some(rest.drain(..=end).collect());
        }
        let chunk: Result<Bytes, axum::Error> = chunks.next().await?;
        rest.extend_from_slice(&chunk.ok()?);
    }
}

fn gone() -> Bytes {
    let status: Value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    });
    let event = json!({"type": "ERROR", "object": status});
    Bytes::from(format!("{event}\n"))
}

#[test]
fn what_happens_to_a_call_depends_on_the_seed_and_its_number_alone() {
    let faults = |seed| -> Vec<Option<Fault>> {
        (0..4_000)
            .map(|call| {
                fault_of(
                    seed,
                    call,
                    [&Method::GET, &Method::PUT][call as usize % 2],
                    call % 3 == 0,
                )
            })
            .collect()
    };
    assert_eq!(faults(7), faults(7));
    assert_ne!(faults(7), faults(8));
    let kinds: std::collections::BTreeSet<String> = faults(7)
        .into_iter()
        .flatten()
        .map(|fault| {
            format!("{fault:?}")
                .split('(')
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let all = ["Answer", "Cut", "Delay", "Freeze", "Lost", "Stale"].map(str::to_owned);
    assert_eq!(kinds, all.into());
}
