//! Answers that come event by event: what is measured of them, and streams that do not end as they
//! should.

use std::sync::Mutex;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::crd::{LoadTestSpec, check};
use crate::engine::tests::server::{Peer, scripted};
use crate::engine::tests::*;
use crate::stats::{Goodput, LlmStats, StepStats, StreamStats};

/// How a server ends its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    Proper,
    /// The connection is closed within the body.
    Cut,
    /// More could come, and never does.
    Open,
}

/// Answers the requests of a connection in chunks, one each few milliseconds.
async fn serve(mut peer: Peer, kind: &str, parts: &[Bytes], end: End) {
    while peer.request().await {
        peer.send(format!(
            "HTTP/1.1 200 OK\r\n{kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ))
        .await;
        for part in parts {
            tokio::time::sleep(Duration::from_millis(5)).await;
            peer.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat())
                .await;
        }
        match end {
            End::Proper => peer.send("0\r\n\r\n").await,
            End::Cut => return,
            End::Open => std::future::pending().await,
        }
    }
}

async fn server_of(kind: &'static str, parts: Vec<Bytes>, end: End) -> String {
    let parts = Arc::new(parts);
    scripted(move |peer| {
        let parts = parts.clone();
        async move { serve(peer, kind, &parts, end).await }
    })
    .await
}

/// Server-sent events, each in a chunk of its own.
pub(super) async fn server(events: &[&str], end: End) -> String {
    let parts = events
        .iter()
        .map(|event| Bytes::from(format!("{event}\n\n")))
        .collect();
    server_of("Content-Type: text/event-stream", parts, end).await
}

pub(super) fn spec(url: &str, step: Value) -> Value {
    json!({
        "target": {"url": url},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [step]}]}],
        "load": {"iterations": {"count": 1, "users": 1}},
    })
}

pub(super) async fn run_spec(spec: Value) -> Snapshot {
    let spec: LoadTestSpec = serde_json::from_value(spec).unwrap();
    run(check(&spec).unwrap().plan, 1).await
}

/// One request whose answer is read as `stream` says.
async fn once(url: &str, stream: Value) -> Snapshot {
    run_spec(spec(url, json!({"http": {"path": "/", "stream": stream}}))).await
}

fn only(snapshot: &Snapshot) -> &StepStats {
    &snapshot.steps[&0]
}

fn streamed(snapshot: &Snapshot) -> &StreamStats {
    only(snapshot).stream.as_deref().unwrap()
}

pub(super) fn why(snapshot: &Snapshot) -> (ErrorClass, &str) {
    let (key, entry) = snapshot.errors.iter().next().unwrap();
    (key.class, &entry.message)
}

pub(super) fn content(text: &str) -> String {
    format!(
        "data: {}",
        json!({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}], "usage": null})
    )
}

const ROLE: &str = r#"data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}"#;

#[tokio::test]
async fn a_stream_that_ends_before_its_last_event_has_failed() {
    let wants_done = json!({"until": {"text": "[DONE]"}});
    let ended = once(&server(&["data: a"], End::Proper).await, wants_done.clone()).await;
    assert_eq!(
        why(&ended),
        (
            ErrorClass::Stream,
            "the stream ended without the event \"[DONE]\""
        )
    );
    let cut = once(&server(&["data: a"], End::Cut).await, wants_done.clone()).await;
    assert_eq!(why(&cut).0, ErrorClass::Reset);
    let without_until = once(&server(&["data: a"], End::Cut).await, json!({})).await;
    assert_eq!(
        why(&without_until).0,
        ErrorClass::Reset,
        "where any end will do it must be a proper one"
    );
    for failed in [ended, cut, without_until] {
        let step = only(&failed);
        assert_eq!(
            (step.requests, step.failures, step.latency.count()),
            (1, 1, 0)
        );
        assert_eq!(
            (
                streamed(&failed).messages_received,
                streamed(&failed).first.count()
            ),
            (1, 0),
            "what came is counted, and no success"
        );
    }
    let json_instead = server_of(
        "Content-Type: application/json",
        vec!["{\"choices\": []}".into()],
        End::Proper,
    )
    .await;
    let sample = once(&json_instead, wants_done).await;
    assert_eq!(
        why(&sample).1,
        "the stream ended without the event \"[DONE]\"; its Content-Type is \"application/json\""
    );
}

#[tokio::test]
async fn a_refusal_is_no_stream() {
    let url = scripted(|peer| {
        peer.always("HTTP/1.1 429 Slow down\r\nContent-Length: 10\r\n\r\ndata: a\n\n\n")
    })
    .await;
    let snapshot = once(&url, json!({"preset": "OpenAI"})).await;
    assert_eq!(why(&snapshot).0, ErrorClass::Throttled);
    assert_eq!(only(&snapshot).stream, None, "nothing of it was an event");
}

#[tokio::test]
async fn an_event_without_end_is_given_up() {
    let url = server_of(
        "Content-Type: text/event-stream",
        vec![vec![b'x'; 100_000].into(); 20],
        End::Open,
    )
    .await;
    let snapshot = once(&url, json!({})).await;
    assert_eq!(
        why(&snapshot),
        (
            ErrorClass::Stream,
            "an event of the stream is longer than 1 MiB"
        )
    );
    assert!(only(&snapshot).received_bytes < 1_300_000);
}

#[tokio::test]
async fn an_error_told_in_the_stream_is_one() {
    let error = r#"data: {"error": {"message": "canary", "code": 500}}"#;
    let snapshot = once(
        &server(&[ROLE, &content("a"), error, "data: [DONE]"], End::Proper).await,
        json!({"preset": "OpenAI"}),
    )
    .await;
    assert_eq!(
        why(&snapshot),
        (
            ErrorClass::Stream,
            "the stream holds an event that tells of an error: canary"
        )
    );
}

#[tokio::test]
async fn the_timeout_covers_the_whole_stream() {
    let url = server(&["data: a", "data: b"], End::Open).await;
    let snapshot = run_spec(spec(
        &url,
        json!({"timeout": "300ms", "http": {"path": "/", "stream": {}}}),
    ))
    .await;
    assert_eq!(why(&snapshot).0, ErrorClass::Timeout);
    assert_eq!(
        (
            streamed(&snapshot).messages_received,
            streamed(&snapshot).gap.count()
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn events_are_counted_and_timed_however_they_are_cut() {
    let body = "\u{feff}: hello\r\ndata: 1\r\ndata: 2\r\n\r\nevent: x\rid: 7\rdata: 3\r\rdata: 4\n\n: bye\n\n";
    let bytes = body.bytes().map(|byte| Bytes::from(vec![byte])).collect();
    let snapshot = once(
        &server_of("Content-Type: text/event-stream", bytes, End::Proper).await,
        json!({"format": "SSE"}),
    )
    .await;
    let StreamStats {
        messages_sent,
        messages_received,
        first,
        gap,
        llm,
    } = streamed(&snapshot);
    assert_eq!(
        (
            *messages_sent,
            *messages_received,
            first.count(),
            gap.count(),
            llm
        ),
        (0, 3, 1, 2, &None)
    );
    // the last event comes after 66 bytes; how the reads of a busy machine cut that is not known
    let (latency, last) = (
        only(&snapshot).latency.max(),
        first.max() + gap.sum() as u64,
    );
    assert!(
        first.min() >= 100_000 && last >= 300_000 && last <= latency,
        "{first:?} {gap:?} {latency}"
    );
}

#[tokio::test]
async fn each_line_is_an_event_and_the_last_one_may_say_so() {
    let lines = || {
        vec![
            Bytes::from("{\"done\": false}\n{\"do"),
            Bytes::from("ne\": false}\r\n\n"),
            Bytes::from("{\"done\": true}\n"),
        ]
    };
    let format = |until: Value| json!({"format": "Lines", "until": until});
    let kind = "Content-Type: application/x-ndjson";
    let snapshot = once(
        &server_of(kind, lines(), End::Proper).await,
        format(json!({"jsonPath": "$.done"})),
    )
    .await;
    assert_eq!(
        (
            only(&snapshot).failures,
            streamed(&snapshot).messages_received
        ),
        (0, 3)
    );
    let unfinished = once(
        &server_of(kind, lines()[..2].to_vec(), End::Proper).await,
        format(json!({"jsonPath": "$.done"})),
    )
    .await;
    assert_eq!(
        why(&unfinished),
        (
            ErrorClass::Stream,
            "the stream ended without an event with $.done"
        )
    );
    let whole = once(
        &server_of(kind, vec!["a\nb".into()], End::Proper).await,
        json!({"format": "Lines"}),
    )
    .await;
    assert_eq!(
        (only(&whole).failures, streamed(&whole).messages_received),
        (0, 2),
        "the last line needs no end of its own"
    );
}

#[tokio::test]
async fn what_comes_after_the_last_event_is_not_waited_for() {
    let url = server(
        &["data: a", "event: stop\ndata: {}", "data: more"],
        End::Open,
    )
    .await;
    let snapshot = once(&url, json!({"until": {"event": "stop"}})).await;
    let (step, stream) = (only(&snapshot), streamed(&snapshot));
    assert_eq!(
        (step.requests, step.failures, stream.messages_received),
        (1, 0, 2)
    );
    let last = stream.first.sum() + stream.gap.sum();
    assert!(
        step.latency.sum().abs_diff(last) <= 2,
        "{:?}: the latency ends with the last event, at {last}",
        step.latency
    );
    // where the body ends at once, its connection serves the next request
    let mut twice = spec(
        &server(&["data: a", "data: [DONE]"], End::Proper).await,
        json!({"http": {"path": "/", "stream": {"until": {"text": "[DONE]"}}}}),
    );
    twice["load"]["iterations"]["count"] = json!(2);
    let snapshot = run_spec(twice).await;
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.connects
        ),
        (2, 0, 1)
    );
    assert_eq!(
        streamed(&snapshot).messages_received,
        2,
        "a mark is no event"
    );
}

#[tokio::test]
async fn a_stream_that_never_ends_is_cut_with_the_run() {
    let url = server(&["data: a", "data: b", "data: c"], End::Open).await;
    let mut endless = spec(
        &url,
        json!({"timeout": "1h", "goodput": {"latency": "1s"}, "http": {"path": "/", "stream": {}}}),
    );
    endless["load"] = json!({"closed": {"users": 1, "duration": "200ms"}});
    endless["run"] = json!({"stopTimeout": "100ms"});
    let snapshot = run_spec(endless).await;
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.counters.interrupted,
            snapshot.received_by_target()
        ),
        (0, 1, 1)
    );
    let StreamStats {
        messages_received,
        first,
        gap,
        ..
    } = streamed(&snapshot);
    assert_eq!((*messages_received, first.count(), gap.count()), (3, 0, 2));
    assert_eq!(
        only(&snapshot).goodput,
        Goodput { good: 0, judged: 1 },
        "it was intended"
    );
}

/// The body of the first request, and its answer's events.
async fn asked(json: Value) -> (Value, Snapshot) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let router = axum::Router::new().fallback(move |body: Bytes| {
        into.lock().unwrap().push(serde_json::from_slice::<Value>(&body).unwrap());
        let usage = r#"data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 2}}}"#;
        let thought = r#"data: {"choices": [{"delta": {"content": null, "reasoning_content": "so"}}]}"#;
        let events = [ROLE, ": ping", thought, &content("a"), &content(""), &content("b"), usage, "data: [DONE]", ""].join("\n\n");
        async move { ([("content-type", "text/event-stream")], events) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let http = json!({"method": "POST", "path": "/v1/chat/completions", "json": json, "stream": {"preset": "OpenAI"}});
    let snapshot = run_spec(spec(&url, json!({"http": http}))).await;
    let first = seen.lock().unwrap().remove(0);
    (first, snapshot)
}

#[tokio::test]
async fn a_language_model_is_asked_for_its_usage_and_believed() {
    let (body, snapshot) = asked(json!({"model": "m", "stream_options": {"x": 1}})).await;
    assert_eq!(
        body,
        json!({"model": "m", "stream": true, "stream_options": {"include_usage": true, "x": 1}})
    );
    let (body, _) = asked(json!({"stream_options": {"include_usage": false}})).await;
    assert_eq!(
        body["stream_options"],
        json!({"include_usage": false}),
        "its author knows better"
    );
    assert_eq!(only(&snapshot).failures, 0, "{:?}", snapshot.errors);
    let StreamStats {
        messages_received,
        first,
        gap,
        llm,
        ..
    } = streamed(&snapshot);
    assert_eq!(
        (*messages_received, first.count(), gap.count()),
        (6, 1, 2),
        "three of six events bear content"
    );
    let LlmStats {
        first_answer,
        per_token,
        input_tokens,
        output_tokens,
        reasoning_tokens,
        counted_by_usage,
        counted_by_events,
        ..
    } = &**llm.as_ref().unwrap();
    assert_eq!(
        (*input_tokens, *output_tokens, *reasoning_tokens),
        (9, 5, 2)
    );
    assert_eq!(
        (*counted_by_usage, *counted_by_events, per_token.count()),
        (1, 0, 1)
    );
    // all came at once, so that the answer began when the reasoning did
    assert!(first_answer.count() <= 1);
}

#[tokio::test]
async fn the_times_of_tokens_are_those_of_content() {
    let thought = r#"data: {"choices": [{"delta": {"reasoning_content": "so"}}]}"#;
    let events = [
        ROLE,
        thought,
        &content("a"),
        ": still here",
        &content("b"),
        "data: [DONE]",
    ];
    let snapshot = once(
        &server(&events, End::Proper).await,
        json!({"preset": "OpenAI"}),
    )
    .await;
    let StreamStats {
        first, gap, llm, ..
    } = streamed(&snapshot);
    let LlmStats {
        first_answer,
        per_token,
        output_tokens,
        counted_by_usage,
        counted_by_events,
        token_rate,
        ..
    } = &**llm.as_ref().unwrap();
    assert_eq!(
        (*output_tokens, *counted_by_usage, *counted_by_events),
        (3, 0, 1),
        "nobody counted, so events are tokens"
    );
    assert_eq!(
        (
            first.count(),
            first_answer.count(),
            gap.count(),
            per_token.count(),
            token_rate.count()
        ),
        (1, 1, 2, 1, 1)
    );
    assert!(
        first.min() >= 10_000 && first_answer.min() >= 15_000,
        "{first:?} {first_answer:?}"
    );
    assert!(
        first.sum() + gap.sum() >= 25_000,
        "{gap:?}: the comment lies between"
    );
    assert!(
        per_token.sum().abs_diff(gap.sum() / 2) <= 2,
        "{per_token:?} is not {gap:?} over 2 tokens"
    );
}

#[tokio::test]
async fn a_compressed_stream_is_read_as_it_comes() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut parts = Vec::new();
    for event in ["data: a\n\n", "data: b\n\n", "data: [DONE]\n\n"] {
        std::io::Write::write_all(&mut encoder, event.as_bytes()).unwrap();
        std::io::Write::flush(&mut encoder).unwrap();
        parts.push(Bytes::from(std::mem::take(encoder.get_mut())));
    }
    let kind = "Content-Type: text/event-stream\r\nContent-Encoding: gzip";
    let url = server_of(kind, parts, End::Open).await;
    let step = json!({"http": {"path": "/", "stream": {"until": {"text": "[DONE]"}}}, "checks": [{"body": {"contains": "b"}}]});
    let snapshot = run_spec(spec(&url, step)).await;
    assert_eq!(only(&snapshot).failures, 0, "{:?}", snapshot.errors);
    assert_eq!(
        (
            streamed(&snapshot).messages_received,
            streamed(&snapshot).gap.count()
        ),
        (2, 1)
    );
    let broken = server_of(
        kind,
        vec![Bytes::from_static(b"this is not gzip")],
        End::Proper,
    )
    .await;
    assert_eq!(why(&once(&broken, json!({})).await).0, ErrorClass::Stream);
}

#[tokio::test]
async fn checks_and_extracts_see_the_whole_body() {
    let url = server(&["data: a", "data: b"], End::Proper).await;
    let step = json!({
        "http": {"path": "/", "stream": {}},
        "checks": [{"body": {"matches": "(?s)data: a.*data: b"}}, {"body": {"contains": "never"}}],
    });
    let snapshot = run_spec(spec(&url, step)).await;
    assert_eq!(
        (only(&snapshot).checks_passed, only(&snapshot).checks_failed),
        (1, 1)
    );
    assert_eq!(
        streamed(&snapshot).first.count(),
        0,
        "a failed check makes the stream a failure"
    );
}

#[tokio::test]
async fn the_number_of_events_can_be_asked_for() {
    let url = server(
        &[
            "data: a",
            "event: stop\ndata: b",
            ": nothing",
            "data: [DONE]",
        ],
        End::Proper,
    )
    .await;
    let counted = async |checks: Value| {
        let stream = json!({"until": {"text": "[DONE]"}});
        run_spec(spec(
            &url,
            json!({"http": {"path": "/", "stream": stream}, "checks": checks}),
        ))
        .await
    };
    let few = counted(json!([{"events": {"atLeast": 3}}])).await;
    assert_eq!(
        why(&few),
        (ErrorClass::Check, "checks[0], events at least 3: found 2")
    );
    let many = counted(json!([{"events": {"atMost": 1}}])).await;
    assert_eq!(
        why(&many),
        (ErrorClass::Check, "checks[0], events at most 1: found 2")
    );
    let right = counted(json!([{"events": {"atLeast": 2, "atMost": 2}}])).await;
    assert_eq!(
        (
            right.failures(),
            only(&right).checks_passed,
            streamed(&right).messages_received
        ),
        (0, 1, 2)
    );
}

#[tokio::test]
async fn good_requests_are_those_within_all_limits() {
    let url = server(
        &[ROLE, &content("a"), &content("b"), "data: [DONE]"],
        End::Proper,
    )
    .await;
    let goodput = |limits: Value| {
        let step =
            json!({"goodput": limits, "http": {"path": "/", "stream": {"preset": "OpenAI"}}});
        let spec = spec(&url, step);
        async move { only(&run_spec(spec).await).goodput }
    };
    let (good, bad) = (
        Goodput { good: 1, judged: 1 },
        Goodput { good: 0, judged: 1 },
    );
    assert_eq!(
        goodput(json!({"latency": "10s", "ttft": "10s", "tpot": "10s"})).await,
        good
    );
    for (field, limit) in [("latency", "15ms"), ("ttft", "8ms")] {
        assert_eq!(goodput(json!({field: limit})).await, bad, "{field}");
    }
    let refusing =
        scripted(|peer| peer.always("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")).await;
    let plain = |url: &str| {
        spec(
            url,
            json!({"goodput": {"latency": "10s"}, "http": {"path": "/"}}),
        )
    };
    assert_eq!(
        only(&run_spec(plain(&refusing)).await).goodput,
        bad,
        "failed requests were intended"
    );
    assert_eq!(
        only(&run_spec(plain(&url)).await).goodput,
        good,
        "a step without a stream has limits as well"
    );
}

#[tokio::test]
async fn streams_over_http2_are_streams() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut answer))) = connection.accept().await {
                    tokio::spawn(async move {
                        let mut body = answer
                            .send_response(http::Response::new(()), false)
                            .unwrap();
                        for part in ["data: a\n", "\nda", "ta: b\n\n", "data: [DONE]\n\n"] {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            body.send_data(Bytes::from(part), false).unwrap();
                        }
                        // the last event is the end, though the stream goes on
                        std::future::pending::<()>().await;
                    });
                }
            });
        }
    });
    let mut over_http2 = spec(
        &url,
        json!({"http": {"path": "/", "stream": {"until": {"text": "[DONE]"}}}}),
    );
    over_http2["http"] = json!({"version": "Http2"});
    over_http2["load"]["iterations"]["count"] = json!(2);
    let snapshot = run_spec(over_http2).await;
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.connects
        ),
        (2, 0, 1),
        "{:?}",
        snapshot.errors
    );
    let StreamStats {
        messages_received,
        first,
        gap,
        ..
    } = streamed(&snapshot);
    assert_eq!((*messages_received, first.count(), gap.count()), (4, 2, 2));
    assert!(first.sum() + gap.sum() >= 25_000, "{first:?} {gap:?}");
}
