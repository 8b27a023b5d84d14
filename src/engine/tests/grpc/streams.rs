//! Streams of messages, in one direction or both.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Response;

use crate::engine::PrepareError;
use crate::engine::tests::grpc::*;
use crate::engine::tests::http2::{Asked, server};
use crate::plan::Goodput;
use crate::plan::grpc::{GrpcStream, Messages};
use crate::stats::StreamStats;

fn streaming(name: &str, messages: Messages, interval: u64) -> Step {
    let mut step = call(name, note("hi"));
    grpc(&mut step).stream = Some(GrpcStream {
        messages,
        interval: Duration::from_millis(interval),
        half_close: true,
        send_after: Default::default(),
    });
    step
}

fn stats(snapshot: &Snapshot) -> &StreamStats {
    snapshot.steps[&0].stream.as_ref().unwrap()
}

#[tokio::test]
async fn a_server_stream_has_a_first_message_gaps_and_a_count() {
    let chat = Chat::start().await;
    let mut step = call("Listen", json!({"text": "wait 4", "number": 5}));
    request(&mut step).checks = vec![
        Check::Messages {
            at_least: Some(5),
            at_most: Some(5),
        },
        json_path("$.number", json!(5)),
    ];
    let snapshot = run_calls(counted(&chat.url, 5, vec![step])).await;
    let (requests, stream) = (snapshot.requests(), stats(&snapshot));
    assert_eq!(requests, 5);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(
        (stream.messages_received, stream.messages_sent),
        (5 * requests, 0)
    );
    assert_eq!(
        (stream.first.count(), stream.gap.count()),
        (requests, 4 * requests)
    );
    // messages that a busy machine reads late come together
    assert!(stream.first.min() >= 4_000, "{} us", stream.first.min());
    assert!(
        snapshot.steps[&0].latency.min() >= 20_000,
        "the latency of a stream is that of the whole call"
    );
    assert_eq!(snapshot.received_by_target(), chat.seen.calls());
}

#[tokio::test]
async fn a_call_is_good_whose_first_message_comes_in_time() {
    let chat = Chat::start().await;
    let limited = |name: &str, first: u64| {
        let mut step = call(name, json!({"text": "wait 4", "number": 3}));
        let first = Some(Duration::from_millis(first));
        request(&mut step).goodput = Some(Goodput {
            first,
            ..Goodput::default()
        });
        step
    };
    let snapshot = run_calls(counted(
        &chat.url,
        2,
        vec![limited("Listen", 60_000), limited("Listen", 3)],
    ))
    .await;
    let goodput = |step: u16| {
        (
            snapshot.steps[&step].goodput.good,
            snapshot.steps[&step].goodput.judged,
        )
    };
    assert_eq!(
        (goodput(0), goodput(1)),
        ((2, 2), (0, 2)),
        "the first message comes after 4 ms"
    );
    let refused = prepare(
        Arc::new(counted(&chat.url, 1, vec![limited("Say", 1_000)])),
        &inputs(),
    )
    .await
    .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("goodput.firstMessage: is measured only of streams"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_stream_that_ends_with_a_failure_or_without_its_status_has_failed() {
    let chat = Chat::start().await;
    let snapshot = run_calls(counted(
        &chat.url,
        3,
        vec![call("Listen", json!({"text": "until 3", "number": 9}))],
    ))
    .await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Grpc, snapshot.requests())],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        (
            stats(&snapshot).messages_received,
            stats(&snapshot).first.count()
        ),
        (2 * snapshot.requests(), 0)
    );

    let (url, _) = server(|mut asked: Asked| async move {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut stream = asked.answer.send_response(head, false).unwrap();
        stream
            .send_data(Bytes::from_static(&[0; 10]), true)
            .unwrap();
    })
    .await;
    let snapshot = run_calls(counted(&url, 3, vec![call("Listen", note("hi"))])).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Protocol, snapshot.requests())],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(stats(&snapshot).messages_received, 2 * snapshot.requests());
}

#[tokio::test]
async fn a_client_stream_sends_all_its_messages_at_its_pace() {
    let chat = Chat::start().await;
    let mut step = streaming("Tell", Messages::Times(4), 5);
    grpc(&mut step).message = Some(JsonTemplate::new(note("n {{ iteration }}")).unwrap());
    request(&mut step).checks = vec![json_path("$.number", json!(4))];
    let snapshot = run_calls(counted(&chat.url, 5, vec![step])).await;
    let requests = snapshot.requests();
    assert_eq!(requests, 5);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(
        (
            stats(&snapshot).messages_sent,
            stats(&snapshot).messages_received
        ),
        (4 * requests, requests)
    );
    assert!(
        snapshot.steps[&0].latency.min() >= 15_000,
        "three intervals lie between four messages"
    );
    assert_eq!(
        (snapshot.received_by_target(), chat.seen.messages()),
        (chat.seen.calls(), 4 * requests)
    );
}

#[tokio::test]
async fn a_list_of_messages_is_sent_in_its_order() {
    let chat = Chat::start().await;
    let list = ["a", "b", "c"].map(|text| JsonTemplate::new(json!({"text": text})).unwrap());
    let mut step = streaming("Tell", Messages::List(list.to_vec()), 0);
    grpc(&mut step).message = None;
    request(&mut step).checks = vec![
        json_path("$.text", json!("c")),
        json_path("$.number", json!(3)),
    ];
    let snapshot = run_calls(counted(&chat.url, 3, vec![step])).await;
    assert_eq!(
        (snapshot.failures(), stats(&snapshot).messages_sent),
        (0, 3 * snapshot.requests()),
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn a_server_that_has_heard_enough_ends_a_stream_before_its_client() {
    let chat = Chat::start().await;
    let mut step = streaming("Tell", Messages::Times(1_000_000), 0);
    grpc(&mut step).message = Some(JsonTemplate::new(note("fail 11 enough")).unwrap());
    let snapshot = run_calls(counted(&chat.url, 5, vec![step])).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Grpc, snapshot.requests())],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.counters.connects, 1);
}

#[tokio::test]
async fn both_sides_stream_at_once() {
    let chat = Chat::start().await;
    let mut step = streaming("Talk", Messages::Times(6), 20);
    request(&mut step).checks = vec![Check::Messages {
        at_least: Some(6),
        at_most: Some(6),
    }];
    let snapshot = run_calls(counted(&chat.url, 4, vec![step])).await;
    let (requests, stream) = (snapshot.requests(), stats(&snapshot));
    assert_eq!(requests, 4);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(
        (stream.messages_sent, stream.messages_received),
        (6 * requests, 6 * requests)
    );
    assert!(
        stream.first.min() + 30_000 < snapshot.steps[&0].latency.min(),
        "answers come while messages are sent"
    );
    assert_eq!(
        (snapshot.received_by_target(), chat.seen.messages()),
        (chat.seen.calls(), 6 * requests)
    );
}

#[tokio::test]
async fn more_than_flow_control_allows_is_sent_as_the_server_reads() {
    let chat = Chat::start().await;
    let mut step = streaming("Tell", Messages::Times(40), 0);
    grpc(&mut step).message = Some(JsonTemplate::new(note(&"x".repeat(30_000))).unwrap());
    request(&mut step).checks = vec![json_path("$.number", json!(40))];
    let snapshot = run_calls(counted(&chat.url, 2, vec![step])).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(chat.seen.messages(), 40 * snapshot.requests());
    assert!(snapshot.steps[&0].sent_bytes > 1_200_000 * snapshot.requests());
}

#[tokio::test]
async fn streams_open_at_the_end_are_half_closed() {
    let chat = Chat::start().await;
    let mut step = streaming("Talk", Messages::Times(100_000), 10);
    request(&mut step).timeout = Duration::from_secs(60);
    let mut waiting = step.clone();
    let stream = grpc(&mut waiting).stream.as_mut().unwrap();
    // all is said, and the server is to end it
    (stream.messages, stream.half_close) = (Messages::Times(1), false);
    for step in [step, waiting] {
        let before = chat.seen.calls();
        let snapshot = run_calls(Plan {
            stop_timeout: Duration::from_secs(20),
            ..calls(&chat.url, 3, 400, vec![step])
        })
        .await;
        assert_eq!(
            (
                snapshot.requests(),
                snapshot.failures(),
                snapshot.counters.interrupted
            ),
            (3, 0, 0),
            "{:?}",
            snapshot.errors
        );
        assert_eq!(chat.seen.calls() - before, 3);
    }
}

#[tokio::test]
async fn streams_that_a_server_does_not_end_are_cancelled_after_the_stop_timeout() {
    let closed = Arc::new(AtomicBool::new(false));
    let told = closed.clone();
    let (url, seen) = server(move |mut asked: Asked| {
        let told = told.clone();
        async move {
            asked.body().await;
            told.store(true, Ordering::SeqCst);
            std::future::pending().await
        }
    })
    .await;
    let mut step = streaming("Talk", Messages::Times(100_000), 10);
    request(&mut step).timeout = Duration::from_secs(60);
    let mut plan = calls(&url, 2, 500, vec![step]);
    plan.stop_timeout = Duration::from_millis(200);
    let snapshot = run_calls(plan).await;
    assert!(closed.load(Ordering::SeqCst), "half-closed first");
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.counters.interrupted,
            seen.requests()
        ),
        (0, 2, 2)
    );
    assert!(
        stats(&snapshot).messages_sent > 4,
        "what was sent counts whatever becomes of the stream"
    );
}

#[tokio::test]
async fn a_client_may_send_no_message_at_all() {
    let chat = Chat::start().await;
    for name in ["Tell", "Talk"] {
        let mut step = streaming(name, Messages::Times(0), 0);
        if name == "Tell" {
            request(&mut step).checks = vec![json_path("$.number", json!(0))];
        }
        let snapshot = run_calls(counted(&chat.url, 3, vec![step])).await;
        assert_eq!((snapshot.requests(), snapshot.failures()), (3, 0), "{name}");
        assert_eq!(stats(&snapshot).messages_sent, 0);
    }
    assert_eq!(chat.seen.messages(), 0);
}

#[tokio::test]
async fn ping_pong_sends_each_message_after_the_reply_to_the_one_before() {
    let chat = Chat::start().await;
    let mut step = streaming("Talk", Messages::Times(5), 0);
    grpc(&mut step).message = Some(JsonTemplate::new(note("wait 4")).unwrap());
    if let Some(stream) = &mut grpc(&mut step).stream {
        stream.send_after = crate::plan::grpc::SendAfter::Reply;
    }
    let snapshot = run_calls(counted(&chat.url, 2, vec![step])).await;
    assert_eq!((snapshot.requests(), snapshot.failures()), (2, 0));
    let stream = stats(&snapshot);
    assert_eq!((stream.messages_sent, stream.messages_received), (10, 10));
    // had they been sent together, replies would come with no more than the wait between them all
    // the same; but each is sent only when the one before is back, so none is joined with another
    assert!(stream.gap.min() >= 4_000, "{} us", stream.gap.min());
}

#[tokio::test]
async fn a_reply_to_wait_for_needs_a_server_that_streams() {
    let mut step = streaming("Tell", Messages::Times(2), 0);
    if let Some(stream) = &mut grpc(&mut step).stream {
        stream.send_after = crate::plan::grpc::SendAfter::Reply;
    }
    let plan = counted("http://127.0.0.1:1", 1, vec![step]);
    let error = prepare(Arc::new(plan), &inputs()).await.unwrap_err();
    let PrepareError::Invalid(problems) = &error else {
        panic!("{error}")
    };
    assert!(
        problems[0].path.ends_with(".grpc.stream.sendAfter"),
        "{error}"
    );
}

#[tokio::test]
async fn rules_see_the_last_message_of_a_call_that_ends_with_another_status_than_ok() {
    let chat = Chat::start().await;
    let mut cut = call("Listen", json!({"text": "until 3", "number": 9}));
    request(&mut cut).checks = vec![
        Check::GrpcStatus(vec![Code(10)]),
        json_path("$.number", json!(2)),
        Check::Cel(crate::plan::Cel::parse("status == 10 && json.number == 2").unwrap()),
    ];
    request(&mut cut).extract = vec![Extract {
        name: "last".into(),
        from: ExtractFrom::JsonPath {
            path: JsonPath::parse("$.number").unwrap(),
            all: false,
        },
        default: None,
    }];
    let mut after = call("Say", json!({"text": "{{ last }}", "number": "{{ last }}"}));
    request(&mut after).checks = vec![json_path("$.number", json!(3))];
    let snapshot = run_calls(counted(&chat.url, 3, vec![cut, after])).await;
    assert_eq!(
        (snapshot.requests(), snapshot.failures()),
        (6, 0),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.steps[&0].grpc_statuses, [(10, 3)].into());

    // a check that the message does not pass is told beside the status that was asked for
    let mut other = call("Listen", json!({"text": "until 3", "number": 9}));
    request(&mut other).checks = vec![
        Check::GrpcStatus(vec![Code(10)]),
        json_path("$.number", json!(1)),
    ];
    let snapshot = run_calls(counted(&chat.url, 2, vec![other])).await;
    assert_eq!(classes(&snapshot), [(ErrorClass::Check, 2)]);
    // and in the server's own words
    assert_eq!(
        samples(&snapshot),
        ["checks[1], jsonPath $.number equals 1: found 2: enough"]
    );
}
