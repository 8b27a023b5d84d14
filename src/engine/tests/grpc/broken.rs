//! Answers that are none, streams that are refused, reset or cut, and servers that speak something
//! else.

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::engine::tests::grpc::*;
use crate::engine::tests::http2::{Asked, Seen, server, server_with};
use crate::engine::tests::server::{Peer, scripted};

pub(super) const GRPC: (&str, &str) = ("content-type", "application/grpc");
pub(super) const OK: &[(&str, &str)] = &[("grpc-status", "0")];
/// `{"text": "hi"}` with its prefix.
pub(super) const HI: &[u8] = b"\0\0\0\0\x04\x0a\x02hi";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&str, &str)| {
        (
            http::HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        )
    };
    pairs.iter().map(header).collect()
}

/// Answers with this; nothing of `body` or `trailers` that is `None`.
pub(super) fn answer(
    mut asked: Asked,
    status: u16,
    head: &[(&str, &str)],
    body: Option<&[u8]>,
    trailers: Option<&[(&str, &str)]>,
) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers(head);
    let ends = body.is_none() && trailers.is_none();
    let Ok(mut stream) = asked.answer.send_response(response, ends) else {
        return;
    };
    if let Some(body) = body {
        // the engine may have gone by now, which is what some of this is about
        let _ = stream.send_data(Bytes::copy_from_slice(body), trailers.is_none());
    }
    if let Some(trailers) = trailers {
        let _ = stream.send_trailers(headers(trailers));
    }
}

/// Resets each stream with this reason after a time.
pub(super) async fn resetting_after(wait: Duration, reason: Reason) -> (String, Arc<Seen>) {
    server(move |mut asked: Asked| async move {
        tokio::time::sleep(wait).await;
        asked.answer.send_reset(reason);
    })
    .await
}

/// Answers each call with this status after a time.
pub(super) async fn refusing_after(wait: Duration, status: &'static str) -> (String, Arc<Seen>) {
    server(move |asked: Asked| async move {
        tokio::time::sleep(wait).await;
        answer(asked, 200, &[GRPC, ("grpc-status", status)], None, None);
    })
    .await
}

type Pairs = &'static [(&'static str, &'static str)];

/// The answer's parts, and what it is taken for.
type Case = (
    u16,
    Pairs,
    Option<&'static [u8]>,
    Option<Pairs>,
    ErrorClass,
    Option<u16>,
    &'static str,
);

async fn outcome(
    status: u16,
    head: Pairs,
    body: Option<&'static [u8]>,
    trailers: Option<Pairs>,
) -> (ErrorClass, Option<u16>, String) {
    let (url, seen) =
        server(move |asked: Asked| async move { answer(asked, status, head, body, trailers) })
            .await;
    let mut step = call("Say", note("hi"));
    grpc(&mut step).max_message_size = 100;
    let snapshot = run_calls(counted(&url, 2, vec![step])).await;
    assert_eq!(snapshot.requests(), 2);
    assert_eq!(
        (snapshot.failures(), snapshot.received_by_target()),
        (snapshot.requests(), seen.requests())
    );
    let (key, entry) = snapshot.errors.iter().next().unwrap();
    (key.class, key.status, entry.message.clone())
}

#[tokio::test]
async fn what_is_no_answer_of_grpc_is_a_protocol_error_or_the_status_it_has() {
    let cases: [Case; 13] = [
        (
            503,
            &[],
            Some(b"down"),
            None,
            ErrorClass::Unavailable,
            Some(503),
            "HTTP status 503 instead",
        ),
        (
            429,
            &[GRPC],
            None,
            None,
            ErrorClass::Throttled,
            Some(429),
            "HTTP status 429 instead",
        ),
        (
            404,
            &[],
            None,
            None,
            ErrorClass::Status,
            Some(404),
            "HTTP status 404 instead",
        ),
        (
            302,
            &[("location", "/login")],
            None,
            None,
            ErrorClass::Protocol,
            Some(302),
            "HTTP status 302 instead",
        ),
        (
            200,
            &[("content-type", "text/html")],
            Some(b"<html>"),
            None,
            ErrorClass::Protocol,
            None,
            "content-type is \"text/html\"",
        ),
        (
            200,
            &[GRPC],
            Some(HI),
            None,
            ErrorClass::Protocol,
            None,
            "without a grpc-status",
        ),
        (
            200,
            &[GRPC],
            Some(HI),
            Some(&[("x", "y")]),
            ErrorClass::Protocol,
            None,
            "without a grpc-status",
        ),
        (
            200,
            &[GRPC],
            Some(HI),
            Some(&[("grpc-status", "good")]),
            ErrorClass::Protocol,
            None,
            "\"good\", which is no code",
        ),
        (
            200,
            &[GRPC],
            Some(&HI[..7]),
            Some(OK),
            ErrorClass::Protocol,
            None,
            "cut short",
        ),
        (
            200,
            &[GRPC],
            None,
            Some(OK),
            ErrorClass::Protocol,
            None,
            "no message came",
        ),
        (
            200,
            &[GRPC],
            Some(b"\x01\0\0\0\x01x"),
            Some(OK),
            ErrorClass::Protocol,
            None,
            "grpc-encoding does not say how",
        ),
        (
            200,
            &[GRPC, ("grpc-encoding", "snappy")],
            Some(HI),
            Some(OK),
            ErrorClass::Protocol,
            None,
            "compressed by \"snappy\"",
        ),
        (
            200,
            &[GRPC],
            Some(b"\0\0\0\0\x65"),
            Some(OK),
            ErrorClass::Protocol,
            None,
            "101 bytes is larger than maxMessageSize allows (100)",
        ),
    ];
    for (status, head, body, trailers, class, code, sample) in cases {
        let (found, found_code, text) = outcome(status, head, body, trailers).await;
        assert!(
            (found, found_code) == (class, code) && text.contains(sample),
            "{sample}: {found} {found_code:?} {text}"
        );
    }
}

#[tokio::test]
async fn a_trailers_only_failure_is_told_in_its_own_words() {
    let only: Pairs = &[
        GRPC,
        ("grpc-status", "16"),
        ("grpc-message", "token%20expired"),
    ];
    let expected = (
        ErrorClass::Grpc,
        Some(16),
        "gRPC status 16 UNAUTHENTICATED: token expired".to_owned(),
    );
    assert_eq!(outcome(200, only, None, None).await, expected);
    // an intermediary's own status counts less than what the server says
    assert_eq!(outcome(401, only, None, None).await, expected);
}

#[tokio::test]
async fn an_oversize_message_of_tonic_fails_the_call_and_not_the_connection() {
    let chat = Chat::start().await;
    let mut large = call("Say", note("large 70000"));
    grpc(&mut large).max_message_size = 65_536;
    large.on_failure = OnFailure::Continue;
    let snapshot = run_calls(counted(&chat.url, 4, vec![large, call("Say", note("hi"))])).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Protocol, snapshot.steps[&0].requests)],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        (snapshot.steps[&1].failures, snapshot.counters.connects),
        (0, 1)
    );
    assert_eq!(snapshot.received_by_target(), chat.seen.calls());
}

#[tokio::test]
async fn a_server_without_http2_is_named_as_that() {
    let url =
        scripted(|peer: Peer| peer.always("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
            .await;
    let snapshot = run_calls(counted(&url, 3, vec![call("Say", note("hi"))])).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Protocol, snapshot.requests())],
        "{:?}",
        snapshot.errors
    );
    assert!(
        samples(&snapshot)[0].starts_with("the target does not speak HTTP/2, which gRPC needs"),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.counters.unsent, snapshot.requests());
}

#[tokio::test]
async fn a_refused_stream_is_tried_once_more_and_counted() {
    let (url, seen) = server(|mut asked: Asked| async move {
        match asked.nth % 3 {
            1 => asked.answer.send_reset(Reason::REFUSED_STREAM),
            _ => answer(asked, 200, &[GRPC], Some(HI), Some(OK)),
        }
    })
    .await;
    let snapshot = run_calls(counted(&url, 8, vec![call("Say", note("hi"))])).await;
    assert!(snapshot.counters.retries > 1);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 1),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.received_by_target(), seen.requests());
}

#[tokio::test]
async fn a_goodbye_in_flight_fails_no_call() {
    let (url, seen) = server_with(Builder::new(), 3, |asked: Asked| async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        answer(asked, 200, &[GRPC], Some(HI), Some(OK));
    })
    .await;
    let snapshot = run_calls(counted(&url, 20, vec![call("Say", note("hi"))])).await;
    assert_eq!(snapshot.requests(), 20);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert!(snapshot.counters.connects > 3);
    // a stream above the last one that the goodbye names was not looked at, and not counted there
    let reported = snapshot.received_by_target();
    assert!(
        (reported - snapshot.counters.retries..=reported).contains(&seen.requests()),
        "{} of {reported}",
        seen.requests()
    );
}

#[tokio::test]
async fn a_reset_stream_is_a_failure_that_costs_no_connection() {
    let (url, seen) = server(|mut asked: Asked| async move {
        match asked.nth % 3 {
            0 => asked.answer.send_reset(Reason::INTERNAL_ERROR),
            1 => answer(asked, 200, &[GRPC], Some(HI), Some(OK)),
            _ => {
                let head = Response::builder().header(GRPC.0, GRPC.1).body(()).unwrap();
                let mut stream = asked.answer.send_response(head, false).unwrap();
                stream.send_data(Bytes::from_static(HI), false).unwrap();
                stream.send_reset(Reason::CANCEL);
            }
        }
    })
    .await;
    let snapshot = run_calls(counted(&url, 9, vec![call("Say", note("hi"))])).await;
    assert_eq!(snapshot.failures(), 6);
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
async fn messages_are_compressed_both_ways() {
    let (url, _) = server(|mut asked: Asked| async move {
        let head = asked.request.headers().clone();
        let body = asked.body().await;
        // what came is as it says, and goes back as it is
        let is_gzip = head["grpc-encoding"] == "gzip"
            && head["grpc-accept-encoding"] == "gzip"
            && body[0] == 1
            && body[5..7] == [0x1f, 0x8b];
        let ok: Pairs = if is_gzip {
            OK
        } else {
            &[("grpc-status", "13")]
        };
        answer(
            asked,
            200,
            &[GRPC, ("grpc-encoding", "gzip")],
            Some(&body),
            Some(ok),
        );
    })
    .await;
    for text in ["static", "n {{ iteration }}"] {
        let mut step = call("Say", note(text));
        grpc(&mut step).gzip = true;
        request(&mut step).checks = vec![
            json_path("$.number", json!(1)),
            json_path("$.text", json!(text)),
        ];
        let snapshot = run_calls(counted(&url, 3, vec![step])).await;
        assert_eq!(snapshot.requests(), 3);
        assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_a_protocol_error_only_where_somebody_looks() {
    let (url, _) = server(|asked: Asked| async move {
        answer(asked, 200, &[GRPC], Some(b"\0\0\0\0\x02\x0a\x09"), Some(OK))
    })
    .await;
    let mut read = call("Say", note("hi"));
    request(&mut read).checks = vec![json_path("$.text", json!("hi"))];
    read.on_failure = OnFailure::Continue;
    let snapshot = run_calls(counted(&url, 3, vec![read, call("Say", note("hi"))])).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Protocol, snapshot.steps[&0].requests)]
    );
    assert!(
        samples(&snapshot)[0].contains("test.Note"),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.steps[&1].failures, 0);
}
