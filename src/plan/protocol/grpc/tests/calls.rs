//! Calls: a step held against the descriptor of its method.

use std::time::Duration;

use serde_json::json;

use super::*;

#[test]
fn a_call_is_held_against_its_descriptor() {
    let step = |method: &str, stream: Option<Messages>| GrpcStep {
        is_health_check: false,
        retry: None,
        method: Method::parse(method).unwrap(),
        message: None,
        metadata: vec![],
        stream: stream.map(|messages| GrpcStream {
            messages,
            interval: Duration::ZERO,
            half_close: true,
            send_after: SendAfter::default(),
        }),
        gzip: false,
        max_message_size: 1,
    };
    let compiled = |step: GrpcStep| {
        CompiledCall::compile(&step, descriptors(), &names(), "s.grpc")
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        compiled(step("t.S/Do", Some(Messages::Times(2)))).unwrap_err(),
        ["s.grpc.stream: t.S/Do takes one message, not a stream of them"]
    );
    assert_eq!(
        compiled(step("t.S/Dont", None)).unwrap_err(),
        ["s.grpc.method: t.S has no method \"Dont\"; it has Do, Send"]
    );
    let list = Messages::List(vec![
        JsonTemplate::new(json!({})).unwrap(),
        JsonTemplate::new(json!({"nope": 1})).unwrap(),
    ]);
    assert!(
        compiled(step("t.S/Send", Some(list))).unwrap_err()[0]
            .starts_with("s.grpc.stream.messages[1].nope: ")
    );
    let call = compiled(step("t.S/Send", Some(Messages::Times(3)))).unwrap();
    assert_eq!((call.messages.len(), call.times), (1, 3));
}

#[test]
fn a_first_message_is_limited_only_where_there_may_be_several() {
    let step = |first| {
        let goodput = crate::plan::Goodput {
            first,
            ..Default::default()
        };
        let grpc = GrpcStep {
            method: Method::parse("t.S/Do").unwrap(),
            is_health_check: false,
            message: None,
            metadata: vec![],
            stream: None,
            gzip: false,
            max_message_size: 1,
            retry: None,
        };
        crate::plan::RequestStep {
            name: "s".into(),
            tags: Default::default(),
            timeout: Duration::from_secs(1),
            checks: vec![],
            extract: vec![],
            record: vec![],
            target: 0,
            goodput: Some(goodput),
            call: crate::plan::Protocol::Grpc(grpc),
        }
    };
    let second = Some(Duration::from_secs(1));
    let found = check_limits(&step(second), CallKind::Unary, "s").unwrap();
    assert_eq!(found.path, "s.goodput.firstMessage");
    assert_eq!(check_limits(&step(None), CallKind::Unary, "s"), None);
    for kind in [
        CallKind::ServerStreaming,
        CallKind::ClientStreaming,
        CallKind::Bidirectional,
    ] {
        assert_eq!(check_limits(&step(second), kind, "s"), None, "{kind:?}");
    }
}
