//! Memory does not grow with the number of requests: after ten times as many the engine holds what
//! it held before.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and its queue takes one message"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};
use starling::engine::{Assignment, prepare};
use starling::plan::{Inputs, Kind, Share};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes that all threads but servers' hold.
static HELD: AtomicI64 = AtomicI64::new(0);

/// Requests after which memory is looked at for the first time; the second time is after ten times
/// as many.
const REQUESTS: u64 = 1_000;

/// By so much the smallest figures around both times may differ: histograms of a second in which
/// more kinds of latencies were seen. Nine thousand requests that left eight bytes each would pass
/// it.
const SPREAD: i64 = 64 * 1024;

/// Iterations under way at a time.
const USERS: u32 = 8;

thread_local! {
    static IS_SERVER: Cell<bool> = const { Cell::new(false) };
}

struct Weighing;

fn weigh(bytes: i64) {
    if !IS_SERVER.get() {
        HELD.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: all is left to the system's allocator
#[allow(unsafe_code, reason = "an allocator that weighs")]
unsafe impl GlobalAlloc for Weighing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        weigh(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        weigh(-(layout.size() as i64));
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        weigh(size as i64 - layout.size() as i64);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Weighing = Weighing;

/// What the engine held while requests came.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    /// The least, in the second half of the first requests and in as many at the end.
    early: AtomicI64,
    late: AtomicI64,
}

impl Seen {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            early: AtomicI64::new(i64::MAX),
            late: AtomicI64::new(i64::MAX),
            ..Self::default()
        })
    }

    /// The request's number, from 1.
    fn request(&self) -> u64 {
        let held = HELD.load(Ordering::Relaxed);
        let nth = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if (REQUESTS / 2..=REQUESTS).contains(&nth) {
            self.early.fetch_min(held, Ordering::Relaxed);
        }
        if (10 * REQUESTS - REQUESTS / 2..=10 * REQUESTS).contains(&nth) {
            self.late.fetch_min(held, Ordering::Relaxed);
        }
        nth
    }
}

/// Serves on a thread of its own, whose memory is nobody's matter.
fn serve<F: Future<Output = ()> + 'static>(
    seen: &Arc<Seen>,
    each: impl Fn(TcpStream, Arc<Seen>) -> F + Send + 'static,
) -> SocketAddr {
    let seen = seen.clone();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        IS_SERVER.set(true);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::task::spawn_local(each(stream, seen.clone()));
            }
        });
    });
    told.recv().unwrap()
}

/// Answers by the path, over HTTP/1.1.
async fn over_http1(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut request = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        };
        let head = String::from_utf8(request[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        while request.len() < end + length {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        request.drain(..end + length);
        let answer = answer(head.split(' ').nth(1).unwrap(), seen.request());
        if stream.write_all(answer.as_bytes()).await.is_err() || head.contains("Connection: close")
        {
            return;
        }
    }
}

fn answer(path: &str, nth: u64) -> String {
    let whole = |status: u64, body: &str| {
        format!(
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    match path {
        "/json" => whole(
            200,
            &json!({"id": nth, "label": format!("label {nth}")}).to_string(),
        ),
        "/fail" => whole(400 + nth % 200, &format!("failure {nth} is like no other")),
        "/stream" => {
            let event = |text: String| {
                format!(
                    "data: {}\n\n",
                    json!({"choices": [{"delta": {"content": text}}]})
                )
            };
            let events: String = (0..3).map(|i| event(format!("word {nth} {i}"))).collect();
            let body = format!(
                "{events}data: {}\n\ndata: [DONE]\n\n",
                json!({"choices": [], "usage": {"completion_tokens": nth % 50}})
            );
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
        }
        _ => whole(200, "twenty bytes of body"),
    }
}

/// Answers over HTTP/2; calls of gRPC with an empty message.
async fn over_http2(stream: TcpStream, seen: Arc<Seen>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        seen.request();
        let head = http::Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut sending = answer.send_response(head, false).unwrap();
        drop(request);
        sending
            .send_data(Bytes::from_static(&[0; 5]), false)
            .unwrap();
        let trailers = http::HeaderMap::from_iter([(
            "grpc-status".parse::<http::HeaderName>().unwrap(),
            http::HeaderValue::from_static("0"),
        )]);
        sending.send_trailers(trailers).unwrap();
    }
}

/// Bytes by which the engine holds more after ten times as many requests of such a step.
fn growth(address: SocketAddr, seen: &Seen, changes: Value, step: Value) -> i64 {
    let mut spec = json!({
        "target": {"url": format!("http://{address}")},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [step]}]}],
        "load": {"iterations": {"count": 10 * REQUESTS, "users": USERS}},
    });
    spec.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    let plan = starling::crd::check(&serde_json::from_value(spec).unwrap())
        .unwrap()
        .plan;
    let mut inputs = Inputs::default();
    let proto = "syntax = \"proto3\"; package p; service S { rpc Get(M) returns (M); } message M { string text = 1; }";
    inputs.insert(Kind::ConfigMap, "protos", "s.proto", proto.into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
        let assignment = Assignment {
            share: Share::WHOLE,
            shards: 1,
            seed: 7,
            done: 0,
            found: Default::default(),
            changes: vec![],
        };
        let mut running = prepared.start(assignment, Instant::now());
        // what comes of them is for others to keep
        while running.next_delta().await.is_some() {}
        assert_eq!(running.failure(), None);
    });
    assert_eq!(seen.requests.load(Ordering::Relaxed), 10 * REQUESTS);
    let [early, late] = [&seen.early, &seen.late].map(|held| held.load(Ordering::Relaxed));
    assert!(early > 0 && early < i64::MAX && late < i64::MAX);
    late - early
}

/// The only test here, for all memory is weighed together.
#[test]
fn ten_times_as_many_requests_need_no_more_memory() {
    assert!(
        growth_by_eight_bytes_each() > SPREAD,
        "memory that is kept is not seen"
    );
    let get = |path: &str| json!({"http": {"path": path}});
    let post = json!({
        "http": {"method": "POST", "path": "/json", "json": {"id": "{{ uuid() }}", "n": "{{ iteration }}"}},
        "checks": [{"status": [200]}, {"jsonPath": "$.id", "exists": true}],
        "extract": {"label": {"jsonPath": "$.label"}},
    });
    let mut failing_check = get("/json");
    failing_check["checks"] = json!([{"jsonPath": "$.label", "equals": "none of them"}]);
    let streamed = json!({"http": {"method": "POST", "path": "/stream", "json": {}, "stream": {"preset": "OpenAI"}}});
    let protos = json!({"protos": {"configMaps": [{"name": "protos", "items": [{"key": "s.proto", "path": "s.proto"}]}]}});
    let call = json!({"grpc": {"method": "p.S/Get", "message": {"text": "{{ uuid() }}"}}});
    let mut growths = Vec::new();
    for (kind, changes, step) in [
        ("GET", json!({}), get("/")),
        ("templated POST", json!({}), post),
        ("failures that differ", json!({}), get("/fail")),
        ("failed checks", json!({}), failing_check),
        ("streams", json!({}), streamed),
        (
            "connections",
            json!({"http": {"connections": "PerRequest"}}),
            get("/"),
        ),
    ] {
        let seen = Seen::new();
        let address = serve(&seen, over_http1);
        growths.push((kind, growth(address, &seen, changes, step)));
    }
    for (kind, changes, step) in [
        ("HTTP/2", json!({"http": {"version": "Http2"}}), get("/")),
        ("gRPC", protos, call),
    ] {
        let seen = Seen::new();
        let address = serve(&seen, over_http2);
        growths.push((kind, growth(address, &seen, changes, step)));
    }
    println!("bytes by which memory grew: {growths:?}");
    assert!(
        growths.iter().all(|(_, bytes)| *bytes < SPREAD),
        "bytes by which memory grew: {growths:?}"
    );
}

/// What the scales show when each request leaves eight bytes behind.
fn growth_by_eight_bytes_each() -> i64 {
    let seen = Seen::new();
    let mut kept: Vec<Box<[u8; 8]>> = Vec::new();
    (0..10 * REQUESTS).for_each(|_| {
        kept.push(Box::new([0; 8]));
        seen.request();
    });
    std::hint::black_box(kept);
    seen.late.load(Ordering::Relaxed) - seen.early.load(Ordering::Relaxed)
}
