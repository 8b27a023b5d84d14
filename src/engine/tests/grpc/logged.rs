//! Calls that are written down: what was said with them, the messages sent, and what came back,
//! without the secrets.

use crate::crd::{LoadTestSpec, check};
use crate::engine::RequestLogWriter;
use crate::engine::tests::grpc::*;
use crate::engine::tests::request_log::Page;
use crate::plan::grpc::{GrpcStream, Messages};

/// The lines of a run of one user and one iteration.
async fn lines(samples: Value, change: impl FnOnce(&mut Step)) -> (String, Vec<Value>) {
    let chat = Chat::start().await;
    let secret = json!({"secretKeyRef": {"name": "token", "key": "pat"}});
    let spec = json!({
        "target": {"url": chat.url, "auth": {"bearer": {"tokenFrom": secret}}},
        "variablesFrom": {"token": secret},
        "protos": {"configMaps": [{"name": "protos", "items": [{"key": "chat.proto", "path": "chat.proto"}]}]},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [
            {"grpc": {"method": "test.Chat/Say", "message": {"text": "{{ token }} says hi"}, "metadata": {"x-plain": "n {{ iteration }}"}}}
        ]}]}],
        "load": {"iterations": {"count": 1, "users": 1}},
        "samples": samples,
    });
    let spec: LoadTestSpec = serde_json::from_value(spec).unwrap();
    let mut plan = check(&spec).unwrap().plan;
    change(&mut plan.scenarios[0].tasks[0].steps[0]);
    let page = Page::default();
    let log = RequestLogWriter::to(page.clone()).unwrap();
    let prepared = prepare(Arc::new(plan), &inputs())
        .await
        .unwrap()
        .logged_to(log.sink("run-1"));
    let snapshot = sum(&deltas(&mut Arc::new(prepared).start(whole(1), Instant::now())).await);
    assert_eq!(snapshot.requests(), 1, "{:?}", snapshot.errors);
    log.close();
    let text = page.text();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (text, lines)
}

fn all() -> Value {
    json!({"rate": "100%"})
}

fn header(line: &Value, name: &str) -> Value {
    let found = line["headers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|header| header[0] == name);
    found.map_or(Value::Null, |header| header[1].clone())
}

#[tokio::test]
async fn a_line_tells_a_call_with_its_message_and_without_its_secrets() {
    let (text, lines) = lines(all(), |_| {}).await;
    assert!(!text.contains("dapi"), "{text}");
    let [line] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    let sent = &line["sent"];
    assert_eq!(
        (&sent["line"], &sent["body"]),
        (
            &json!("POST /test.Chat/Say HTTP/2"),
            &json!("{\"text\":\"*** says hi\"}")
        )
    );
    // two bytes before the text, five before the message
    assert_eq!(sent["bodyBytes"], "dapi-secret says hi".len() + 2 + 5);
    let shown = ["x-plain", "content-type", "authorization"].map(|name| header(sent, name));
    assert_eq!(
        shown,
        [json!("n 0"), json!("application/grpc"), json!("***")]
    );
    assert_eq!(
        (&line["grpcStatus"], &line["status"]),
        (&json!("OK"), &json!(200))
    );
    let received = &line["received"];
    assert_eq!(
        received["body"], "{\"number\":1,\"text\":\"*** says hi\"}",
        "{received}"
    );
    assert_eq!(
        header(received, "grpc-status"),
        "0",
        "trailers are among the headers: {received}"
    );
}

#[tokio::test]
async fn what_is_compressed_is_shown_as_what_it_was() {
    for text in ["hi", "{{ iteration }} hi"] {
        let (_, lines) = lines(all(), |step| {
            grpc(step).gzip = true;
            grpc(step).message = Some(JsonTemplate::new(note(text)).unwrap());
        })
        .await;
        let shown = text.replace("{{ iteration }}", "0");
        assert_eq!(
            lines[0]["sent"]["body"],
            format!("{{\"number\":1,\"text\":\"{shown}\"}}")
        );
    }
}

#[tokio::test]
async fn messages_of_a_stream_are_a_line_each_up_to_what_is_asked_for() {
    let stream = |step: &mut Step, times: u32| {
        grpc(step).method = Method::parse("test.Chat/Tell").unwrap();
        grpc(step).message =
            Some(JsonTemplate::new(json!({"text": "m", "number": "{{ 7 }}"})).unwrap());
        grpc(step).stream = Some(GrpcStream {
            messages: Messages::Times(times),
            interval: Duration::ZERO,
            half_close: true,
            send_after: Default::default(),
        });
    };
    let (_, of_three) = lines(all(), |step| stream(step, 3)).await;
    let line = "{\"number\":7,\"text\":\"m\"}";
    assert_eq!(
        of_three[0]["sent"]["body"],
        [line; 3].join("\n"),
        "{}",
        of_three[0]
    );
    let (_, of_many) = lines(json!({"rate": "100%", "maxBodyBytes": 30}), |step| {
        stream(step, 5_000)
    })
    .await;
    let sent = &of_many[0]["sent"];
    assert_eq!(
        (&sent["body"], &sent["bodyBytes"]),
        (
            &json!(format!("{line}\n{}", &line[..6])),
            &json!(5_000 * 10)
        )
    );
}

#[tokio::test]
async fn a_call_that_failed_shows_its_status_and_what_was_sent() {
    let (_, lines) = lines(all(), |step| {
        grpc(step).message = Some(JsonTemplate::new(note("fail 5 no such thing")).unwrap());
    })
    .await;
    let line = &lines[0];
    assert_eq!(
        (&line["grpcStatus"], &line["error"]),
        (&json!("NOT_FOUND"), &json!("grpc")),
        "{line}"
    );
    assert_eq!(line["why"], "gRPC status 5 NOT_FOUND: no such thing");
    assert_eq!(
        line["sent"]["body"],
        "{\"number\":1,\"text\":\"fail 5 no such thing\"}"
    );
    let names: Vec<&Value> = line["received"]["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| &header[0])
        .collect();
    assert_eq!(
        names.iter().filter(|name| **name == "grpc-status").count(),
        1,
        "{names:?}"
    );
}
