//! HTTP/2: streams of their own or shared, and targets that refuse, reset or do not speak it.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderValue, Request, Response};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::engine::tests::server::{Peer, scripted};
use crate::engine::tests::tls::{
    acceptor, all_failed_in_tls, authority, reference, run_plan, signed,
};
use crate::engine::tests::*;
use crate::plan::{Body, ClientCertificate, Connections, JsonTemplate, ThinkTime, Version};

/// What a server saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) connections: AtomicU64,
    requests: AtomicU64,
    open: AtomicU64,
    pub(super) most_open: AtomicU64,
}

impl Seen {
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// One request, at the server's end.
pub(super) struct Asked {
    /// Over all connections, from 1.
    pub(super) nth: u64,
    pub(super) request: Request<RecvStream>,
    pub(super) answer: SendResponse<Bytes>,
}

impl Asked {
    fn send(mut self, body: impl Into<Bytes>) {
        let body = body.into();
        let sent = self
            .answer
            .send_response(Response::new(()), body.is_empty());
        if let Ok(mut stream) = sent
            && !body.is_empty()
        {
            // the engine may have gone by now, which is what some tests are about
            let _ = stream.send_data(body, true);
        }
    }

    /// The whole body of the request.
    pub(super) async fn body(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Ok(data)) = self.request.body_mut().data().await {
            self.request
                .body_mut()
                .flow_control()
                .release_capacity(data.len())
                .unwrap();
            all.extend_from_slice(&data);
        }
        all
    }
}

/// A server of streams, each answered by `script`; `last` is the last request that a connection
/// takes before it says goodbye.
pub(super) async fn serve<S, F>(
    stream: S,
    builder: Builder,
    last: u64,
    seen: Arc<Seen>,
    script: impl Fn(Asked) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()> + Send + 'static,
{
    seen.connections.fetch_add(1, Ordering::SeqCst);
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    let mut taken = 0;
    while let Some(Ok((request, answer))) = connection.accept().await {
        taken += 1;
        let nth = seen.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_open.fetch_max(open, Ordering::SeqCst);
        let (seen, answered) = (
            seen.clone(),
            script(Asked {
                nth,
                request,
                answer,
            }),
        );
        tokio::spawn(async move {
            answered.await;
            seen.open.fetch_sub(1, Ordering::SeqCst);
        });
        if taken == last {
            connection.graceful_shutdown();
        }
    }
}

pub(super) async fn server_with<F>(
    builder: Builder,
    last: u64,
    script: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
) -> (String, Arc<Seen>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Seen::default());
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(
                stream,
                builder.clone(),
                last,
                all.clone(),
                script.clone(),
            ));
        }
    });
    (url, seen)
}

pub(super) async fn server<F>(
    script: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
) -> (String, Arc<Seen>)
where
    F: Future<Output = ()> + Send + 'static,
{
    server_with(Builder::new(), u64::MAX, script).await
}

/// Closed load with a little thinking, by prior knowledge.
fn plan2(url: &str, count: u32, millis: u64) -> Plan {
    let mut plan = plan(url, users(count, millis));
    let pause = Duration::from_millis(2);
    plan.scenarios[0].think_time = Some(ThinkTime::constant(pause));
    plan.http.version = Version::Http2;
    plan
}

fn pooled(mut plan: Plan, connections: u32) -> Plan {
    plan.http.connections = Connections::Pooled;
    plan.http.http2_connections = connections;
    plan
}

pub(super) fn samples(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .errors
        .iter()
        .map(|(_, entry)| entry.message.as_str())
        .collect()
}

#[tokio::test]
async fn a_target_without_http2_is_a_protocol_error() {
    let url =
        scripted(|peer: Peer| peer.always("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
            .await;
    let snapshot = run(plan2(&url, 1, 300), 1).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Protocol, snapshot.requests())],
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn a_refused_stream_is_tried_once_more_and_counted() {
    let (url, seen) = server(|mut asked: Asked| async move {
        match asked.nth % 3 {
            1 => asked.answer.send_reset(Reason::REFUSED_STREAM),
            _ => asked.send("yes"),
        }
    })
    .await;
    let snapshot = run(plan2(&url, 1, 400), 1).await;
    assert!(snapshot.requests() > 3 && snapshot.counters.retries > 1);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 1),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.received_by_target(), seen.requests());
    let (url, _) = server(|asked: Asked| async move { asked.send("yes") }).await;
    let taken = run(plan2(&url, 1, 300), 1).await;
    let of_each = taken.steps[&0].sent_bytes / taken.received_by_target();
    assert_eq!(
        snapshot.steps[&0].sent_bytes,
        of_each * seen.requests(),
        "what was refused was sent"
    );
}

#[tokio::test]
async fn a_target_that_refuses_every_stream_is_asked_twice() {
    let (url, seen) =
        server(|mut asked: Asked| async move { asked.answer.send_reset(Reason::REFUSED_STREAM) })
            .await;
    let snapshot = run(plan2(&url, 1, 300), 1).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Reset, snapshot.requests())]
    );
    assert_eq!(snapshot.counters.retries, snapshot.requests());
    assert_eq!(snapshot.received_by_target(), seen.requests());
    assert!(
        samples(&snapshot)[0].starts_with("HTTP/2: the target refused the stream"),
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn a_reset_stream_costs_no_connection() {
    let (url, seen) = server(|mut asked: Asked| async move {
        match asked.nth % 3 {
            0 => asked.answer.send_reset(Reason::INTERNAL_ERROR),
            1 => asked.send("whole"),
            _ => {
                let mut body = asked
                    .answer
                    .send_response(Response::new(()), false)
                    .unwrap();
                body.send_data(Bytes::from_static(b"half"), false).unwrap();
                body.send_reset(Reason::CANCEL);
            }
        }
    })
    .await;
    let snapshot = run(plan2(&url, 1, 150), 1).await;
    assert!(snapshot.requests() > 3 && snapshot.failures() > 1);
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Reset, snapshot.failures())],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        (snapshot.counters.connects, snapshot.counters.retries),
        (1, 0)
    );
    assert_eq!(snapshot.received_by_target(), seen.requests());
}

#[tokio::test]
async fn a_target_that_says_goodbye_is_connected_to_anew() {
    let (url, seen) = server_with(Builder::new(), 3, |asked: Asked| async move {
        asked.send("yes")
    })
    .await;
    for connections in [None, Some(2)] {
        let before = seen.requests();
        let plan = plan2(&url, 4, 200);
        let snapshot = run(
            connections.map_or(plan.clone(), |most| pooled(plan, most)),
            1,
        )
        .await;
        assert!(snapshot.requests() > 12, "{} requests", snapshot.requests());
        assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
        assert!(
            snapshot.counters.connects >= snapshot.requests() / 4,
            "{} connections",
            snapshot.counters.connects
        );
        // a stream above the last one that the goodbye names was not looked at, and not counted
        // there
        let received = seen.requests() - before;
        let reported = snapshot.received_by_target();
        assert!(
            (reported - snapshot.counters.retries..=reported).contains(&received),
            "{received} of {reported}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_reset_at_first_and_stale_later() {
    async fn breaking(after: u64, method: &str) -> Snapshot {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let mut nth = 0;
                    while let Some(Ok((request, answer))) = connection.accept().await {
                        nth += 1;
                        if nth > after {
                            break;
                        }
                        Asked {
                            nth,
                            request,
                            answer,
                        }
                        .send("yes");
                    }
                });
            }
        });
        let mut plan = plan2(&url, 1, 400);
        http(&mut plan.scenarios[0].tasks[0].steps[0])
            .request
            .method = method.into();
        run(plan, 1).await
    }
    let first = breaking(0, "GET").await;
    assert_eq!(
        classes(&first),
        [(ErrorClass::Reset, first.requests())],
        "{:?}",
        first.errors
    );
    let again = breaking(1, "GET").await;
    assert_eq!(again.failures(), 0, "{:?}", again.errors);
    assert!(again.counters.retries > 0, "it is sent once more");
    let later = breaking(1, "POST").await;
    assert!(later.failures() > 0);
    assert_eq!(later.counters.retries, 0, "it might be done twice");
    assert_eq!(
        classes(&later),
        [(ErrorClass::StaleConnection, later.failures())],
        "{:?}",
        later.errors
    );
}

#[tokio::test]
async fn an_answer_cut_short_is_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let (_, mut answer) = connection.accept().await.unwrap().unwrap();
                let mut body = answer.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"half"), false).unwrap();
                // long enough to write it
                let _ = tokio::time::timeout(Duration::from_millis(10), connection.accept()).await;
            });
        }
    });
    let snapshot = run(plan2(&url, 1, 400), 1).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Reset, snapshot.requests())],
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn a_head_too_large_is_a_protocol_error() {
    let (url, _) = server(|mut asked: Asked| async move {
        let mut head = Response::new(());
        for i in 0..70 {
            let name = http::HeaderName::try_from(format!("x-{i}")).unwrap();
            head.headers_mut()
                .insert(name, HeaderValue::try_from("x".repeat(1024)).unwrap());
        }
        let _ = asked.answer.send_response(head, true);
    })
    .await;
    // by default, and with a limit of which h2 itself hears; the latter is a guess of its cause
    for (bytes, fields, told) in [
        (
            None,
            4096,
            "longer than 65536 bytes, the limit of http.maxHeaderBytes",
        ),
        (
            None,
            69,
            "more than 69 header fields, the limit of http.maxHeaderFields",
        ),
        (
            Some(1024),
            100,
            "much longer than http.maxHeaderBytes allows",
        ),
    ] {
        let mut plan = plan2(&url, 1, 400);
        plan.http.answer_head.fields = fields;
        plan.http.answer_head.bytes = bytes.unwrap_or(65536);
        let snapshot = run(plan, 1).await;
        assert_eq!(
            classes(&snapshot),
            [(ErrorClass::Protocol, snapshot.requests())],
            "{:?}",
            snapshot.errors
        );
        let shown = format!("{:?}", snapshot.errors);
        assert!(shown.contains(told), "{shown}");
    }
    let mut large = plan2(&url, 1, 400);
    large.http.answer_head.bytes = 100_000;
    assert_eq!(run(large, 1).await.failures(), 0);
}

#[tokio::test]
async fn a_timeout_resets_the_stream_and_keeps_the_connection() {
    let (url, seen) = server(|asked: Asked| async move {
        if asked.nth % 2 == 1 {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        asked.send("at last");
    })
    .await;
    let mut plan = plan2(&url, 1, 300);
    request(&mut plan.scenarios[0].tasks[0].steps[0]).timeout = Duration::from_millis(50);
    let snapshot = run(plan, 1).await;
    assert!(snapshot.failures() > 1 && snapshot.failures() < snapshot.requests());
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Timeout, snapshot.failures())]
    );
    assert_eq!(
        (snapshot.counters.connects, snapshot.received_by_target()),
        (1, seen.requests())
    );
}

#[tokio::test]
async fn each_user_has_a_connection_and_every_request_is_counted() {
    let (url, seen) =
        server(|asked: Asked| async move { asked.send("twenty bytes of body") }).await;
    let snapshot = run(plan2(&url, 4, 150), 2).await;
    assert!(snapshot.requests() > 8);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 4),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        (seen.connections.load(Ordering::SeqCst), seen.requests()),
        (4, snapshot.received_by_target())
    );
    let step = &snapshot.steps[&0];
    assert_eq!(step.received_bytes, step.requests * (20 + 19));
}

#[tokio::test]
async fn users_of_a_pool_share_connections_by_streams() {
    let (url, seen) = server(|asked: Asked| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        asked.send("yes");
    })
    .await;
    let snapshot = run(pooled(plan2(&url, 16, 200), 3), 2).await;
    assert!(snapshot.requests() > 32);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 3),
        "{:?}",
        snapshot.errors
    );
    assert!(seen.most_open.load(Ordering::SeqCst) > 8);
    assert_eq!(snapshot.received_by_target(), seen.requests());
}

#[tokio::test]
async fn one_user_of_a_pool_goes_from_one_connection_to_the_next() {
    let (url, seen) = server(|asked: Asked| async move { asked.send("yes") }).await;
    let snapshot = run(pooled(plan2(&url, 1, 200), 3), 1).await;
    assert!(snapshot.requests() > 3);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 3),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(seen.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn waiting_for_a_stream_counts_in_latency_and_not_in_service_time() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let (url, seen) = server_with(builder, u64::MAX, |asked: Asked| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        asked.send("yes");
    })
    .await;
    let snapshot = run(pooled(plan2(&url, 8, 400), 1), 1).await;
    let step = &snapshot.steps[&0];
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 1),
        "{:?}",
        snapshot.errors
    );
    assert!(snapshot.requests() > 16 && seen.most_open.load(Ordering::SeqCst) <= 2);
    // the first eight were sent before the target said how many it takes
    let (latency, service) = (
        step.latency.percentile(50.0),
        step.service_time.percentile(50.0),
    );
    assert!(
        latency > 70_000 && service < 60_000,
        "{latency} and {service} us"
    );
}

#[tokio::test]
async fn long_bodies_go_both_ways() {
    let (url, _) = server(|mut asked: Asked| async move {
        let length: usize = asked.request.headers()["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let body = asked.body().await;
        let whole =
            body.len() == length && serde_json::from_slice::<serde_json::Value>(&body).is_ok();
        asked.send(vec![b'x'; if whole { 3_000_000 } else { 0 }]);
    })
    .await;
    let mut plan = pooled(plan2(&url, 3, 300), 1);
    let body =
        JsonTemplate::new(json!({"id": "{{ uuid() }}", "text": "x".repeat(500_000)})).unwrap();
    let request = &mut http(&mut plan.scenarios[0].tasks[0].steps[0]).request;
    (request.method, request.path, request.body) = (
        "POST".into(),
        Template::parse("/in").unwrap(),
        Some(Body::Json(body)),
    );
    let snapshot = run(plan, 1).await;
    let step = &snapshot.steps[&0];
    assert!(step.requests > 3);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 1),
        "{:?}",
        snapshot.errors
    );
    assert!(
        step.received_bytes > step.requests * 3_000_000
            && step.sent_bytes > step.requests * 500_000
    );
}

#[tokio::test]
async fn an_answer_before_the_request_is_read_is_an_answer() {
    let (url, _) = server(|mut asked: Asked| async move {
        let head = Response::builder().status(413).body(()).unwrap();
        let mut body = asked.answer.send_response(head, false).unwrap();
        // dropping the request then resets the stream, without an error
        body.send_data(Bytes::from_static(b"too much"), true)
            .unwrap();
    })
    .await;
    let mut plan = plan2(&url, 1, 400);
    let body = Body::Text(Template::parse(&"x".repeat(5_000_000)).unwrap());
    let request = &mut http(&mut plan.scenarios[0].tasks[0].steps[0]).request;
    (request.method, request.path, request.body) =
        ("POST".into(), Template::parse("/").unwrap(), Some(body));
    let snapshot = run(plan, 1).await;
    assert_eq!(
        snapshot.steps[&0].statuses.get(&413),
        Some(&snapshot.requests()),
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn a_run_cut_in_the_middle_counts_what_was_under_way() {
    let (url, seen) = server(|asked: Asked| async move {
        let _held = asked;
        std::future::pending().await
    })
    .await;
    let mut running = prepared(pooled(plan2(&url, 5, 5_000), 2))
        .await
        .start(whole(1), Instant::now());
    tokio::time::sleep(Duration::from_millis(150)).await;
    running.cut();
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.counters.interrupted,
            seen.requests()
        ),
        (0, 5, 5)
    );
}

/// On TLS, with these protocols to choose from; HTTP/2 and HTTP/1.1 are both served.
async fn tls_server(acceptor: tokio_rustls::TlsAcceptor) -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://127.0.0.1:{}",
        listener.local_addr().unwrap().port()
    );
    let seen = Arc::new(Seen::default());
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), all.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    return serve(stream, Builder::new(), u64::MAX, seen, |asked| async {
                        asked.send("yes")
                    })
                    .await;
                }
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                    if stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
    (url, seen)
}

fn on_tls(url: &str, version: Version) -> Plan {
    let mut plan = plan2(url, 2, 500);
    plan.http.version = version;
    plan
}

#[tokio::test]
async fn tls_finds_out_what_the_target_speaks() {
    let ours = authority();
    let trusting = Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    };
    let inputs = [("ca", ours.pem())];
    let (both, seen) = tls_server(acceptor(&ours, "127.0.0.1", None, &["h2", "http/1.1"])).await;
    for version in [Version::Auto, Version::Http2, Version::Http1] {
        let before = seen.requests();
        let snapshot = run_plan(on_tls(&both, version), trusting.clone(), &inputs)
            .await
            .unwrap();
        assert!(snapshot.requests() > 4);
        assert_eq!(
            (snapshot.failures(), snapshot.counters.connects),
            (0, 2),
            "{version:?}: {:?}",
            snapshot.errors
        );
        let expected = if version == Version::Http1 {
            0
        } else {
            snapshot.received_by_target()
        };
        assert_eq!(seen.requests() - before, expected, "{version:?}");
    }
    let (old, _) = tls_server(acceptor(&ours, "127.0.0.1", None, &["http/1.1"])).await;
    for plan in [
        on_tls(&old, Version::Auto),
        pooled(on_tls(&old, Version::Auto), 1),
    ] {
        let snapshot = run_plan(plan, trusting.clone(), &inputs).await.unwrap();
        assert!(
            snapshot.requests() > 4 && snapshot.failures() == 0,
            "{:?}",
            snapshot.errors
        );
        assert!(snapshot.counters.connects <= 2);
    }
    // refused in the handshake by those who know the extension, found right after it with those who
    // do not
    let snapshot = run_plan(on_tls(&old, Version::Http2), trusting.clone(), &inputs)
        .await
        .unwrap();
    all_failed_in_tls(&snapshot);
    let (older, _) = tls_server(acceptor(&ours, "127.0.0.1", None, &[])).await;
    let snapshot = run_plan(on_tls(&older, Version::Http2), trusting, &inputs)
        .await
        .unwrap();
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Protocol, snapshot.requests())]
    );
}

#[tokio::test]
async fn client_certificates_and_other_names_work_with_http2() {
    let (ours, clients) = (authority(), authority());
    let (url, seen) = tls_server(acceptor(&ours, "models.example", Some(&clients), &["h2"])).await;
    let without = Tls {
        ca: Some(reference("ca")),
        server_name: Some("models.example".into()),
        ..Tls::default()
    };
    let snapshot = run_plan(
        on_tls(&url, Version::Auto),
        without.clone(),
        &[("ca", ours.pem())],
    )
    .await
    .unwrap();
    all_failed_in_tls(&snapshot);
    assert!(
        samples(&snapshot)[0].contains("CertificateRequired"),
        "{:?}",
        snapshot.errors
    );

    let (certificate, key) = signed(&clients, "client", ExtendedKeyUsagePurpose::ClientAuth);
    let with = Tls {
        client: Some(ClientCertificate {
            certificate: reference("cert"),
            key: Some(reference("key")),
            passphrase: None,
        }),
        ..without
    };
    let inputs = [("ca", ours.pem()), ("cert", certificate), ("key", key)];
    let snapshot = run_plan(on_tls(&url, Version::Auto), with, &inputs)
        .await
        .unwrap();
    assert!(
        snapshot.requests() > 4 && snapshot.failures() == 0,
        "{:?}",
        snapshot.errors
    );
    assert_eq!(seen.requests(), snapshot.received_by_target());
}
