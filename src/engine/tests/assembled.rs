//! Answers of language models as rules see them: put together from the events of a stream.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::engine::tests::streaming::{End, content, run_spec, server, spec, why};
use crate::engine::tests::*;

/// One POST whose answer is read by `preset`, with these checks.
async fn checked(url: &str, preset: &str, checks: Value) -> Snapshot {
    let http = json!({"method": "POST", "path": "/", "json": {"model": "m"}, "stream": {"preset": preset}});
    run_spec(spec(url, json!({"http": http, "checks": checks}))).await
}

#[tokio::test]
async fn checks_see_the_answer_of_a_chat_and_its_events() {
    let (first, second) = (content("Hel"), content("lo"));
    let last = r#"data: {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}"#;
    let url = server(&[&first, &second, last, "data: [DONE]"], End::Proper).await;
    let checks = json!([
        {"jsonPath": "$.text", "equals": "Hello"},
        {"jsonPath": "$.finishReason", "equals": "stop"},
        {"jsonPath": "$.usage.outputTokens", "equals": 2},
        {"jsonPath": "$.message.role", "equals": "assistant"},
        {"cel": "json.text.size() == 5 && rawEvents.size() == 4"},
        {"cel": "rawEvents[0].json.choices[0].delta.content == 'Hel' && rawEvents[3].data == '[DONE]'"},
        {"cel": "body.contains('data: [DONE]')"},
        {"events": {"atLeast": 3, "atMost": 3}},
    ]);
    let snapshot = checked(&url, "OpenAI", checks).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
}

#[tokio::test]
async fn a_response_and_a_message_are_measured_and_put_together() {
    let responses = [
        "event: response.created\ndata: {\"type\": \"response.created\", \"response\": {\"usage\": null}}",
        "event: response.output_text.delta\ndata: {\"type\": \"response.output_text.delta\", \"delta\": \"Hel\"}",
        "event: response.output_text.delta\ndata: {\"type\": \"response.output_text.delta\", \"delta\": \"lo\"}",
        "event: response.completed\ndata: {\"type\": \"response.completed\", \"response\": {\"status\": \"completed\", \"usage\": {\"input_tokens\": 3, \"output_tokens\": 2}}}",
    ];
    let messages = [
        "event: message_start\ndata: {\"type\": \"message_start\", \"message\": {\"usage\": {\"input_tokens\": 3, \"output_tokens\": 1}}}",
        "event: ping\ndata: {\"type\": \"ping\"}",
        "event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 0, \"delta\": {\"type\": \"text_delta\", \"text\": \"Hel\"}}",
        "event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 0, \"delta\": {\"type\": \"text_delta\", \"text\": \"lo\"}}",
        "event: message_delta\ndata: {\"type\": \"message_delta\", \"delta\": {\"stop_reason\": \"end_turn\"}, \"usage\": {\"output_tokens\": 2}}",
        "event: message_stop\ndata: {\"type\": \"message_stop\"}",
    ];
    for (preset, events, reason) in [
        ("OpenAIResponses", responses.as_slice(), "completed"),
        ("AnthropicMessages", messages.as_slice(), "end_turn"),
    ] {
        // what comes after the last event is not awaited
        let url = server(events, End::Open).await;
        let checks = json!([
            {"jsonPath": "$.text", "equals": "Hello"},
            {"jsonPath": "$.finishReason", "equals": reason},
        ]);
        let snapshot = checked(&url, preset, checks).await;
        assert_eq!(snapshot.failures(), 0, "{preset}: {:?}", snapshot.errors);
        let stream = snapshot.steps[&0].stream.as_deref().unwrap();
        let llm = stream.llm.as_ref().unwrap();
        assert_eq!((llm.input_tokens, llm.output_tokens), (3, 2), "{preset}");
        assert_eq!(
            (stream.first.count(), stream.gap.count()),
            (1, 1),
            "{preset}"
        );
        let cut = server(&events[..events.len() - 1], End::Proper).await;
        let cut = checked(&cut, preset, json!([])).await;
        assert_eq!(why(&cut).0, ErrorClass::Stream, "{preset}");
    }
}

#[tokio::test]
async fn an_event_that_tells_of_an_error_is_quoted() {
    let error = r#"data: {"error": {"message": "the engine is overloaded", "code": 500}}"#;
    let failed = r#"data: {"type": "response.failed", "response": {"error": {"code": "x", "message": "the engine is overloaded"}}}"#;
    let refused = r#"data: {"type": "error", "error": {"type": "overloaded_error", "message": "the engine is overloaded"}}"#;
    for (preset, event) in [
        ("OpenAI", error),
        ("OpenAIResponses", failed),
        ("AnthropicMessages", refused),
    ] {
        let url = server(&[event, "data: [DONE]"], End::Proper).await;
        let snapshot = checked(&url, preset, json!([])).await;
        assert_eq!(
            why(&snapshot),
            (
                ErrorClass::Stream,
                "the stream holds an event that tells of an error: the engine is overloaded"
            ),
            "{preset}"
        );
    }
}

#[tokio::test]
async fn a_step_of_a_model_that_only_fails_is_still_one_of_a_model() {
    let error = r#"data: {"error": {"message": "the engine is overloaded", "code": 500}}"#;
    let url = server(&[&content("Hel"), &content("lo"), error], End::Proper).await;
    let snapshot = checked(&url, "OpenAI", json!([])).await;
    let step = &snapshot.steps[&0];
    assert_eq!((step.requests, step.failures), (1, 1));
    let stream = step.stream.as_deref().unwrap();
    assert_eq!((stream.messages_received, stream.gap.count()), (3, 1));
    let llm = stream.llm.as_ref().expect("the preset's numbers");
    assert_eq!((llm.output_tokens, llm.counted_by_events), (0, 0));
}

#[tokio::test]
async fn a_conversation_goes_on_with_what_was_answered_and_has_times_of_each_turn() {
    let (first, second) = (content("Hel"), content("lo"));
    let url = server(&[&first, &second, "data: [DONE]"], End::Proper).await;
    let turn = |name: &str, messages: Value| {
        let http = json!({"method": "POST", "path": "/", "json": {"messages": messages}, "stream": {"preset": "OpenAI"}});
        json!({"name": name, "http": http, "extract": {name: {"jsonPath": "$.message"}}})
    };
    let asks = json!({"role": "user", "content": "and?"});
    let mut spec = spec(&url, json!({}));
    spec["scenarios"][0]["tasks"][0]["steps"] = json!([
        turn("one", json!([asks])),
        turn("two", json!([asks, "{{ one }}", asks])),
        {"http": {"method": "POST", "path": "/", "json": {"messages": [asks, "{{ one }}", "{{ two }}"]}, "stream": {"preset": "OpenAI"}},
         "checks": [{"jsonPath": "$.text", "equals": "Hello"}]},
    ]);
    let snapshot = run_spec(spec).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    for step in 0..3 {
        let stream = snapshot.steps[&step].stream.as_deref().unwrap();
        assert_eq!(stream.first.count(), 1);
    }
}

/// A model that answers "Hello" to whatever it is asked, and the messages of each request.
async fn model() -> (String, Arc<Mutex<Vec<Value>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let router = axum::Router::new().fallback(move |body: axum::body::Bytes| {
        let mut asked: Value = serde_json::from_slice(&body).unwrap();
        into.lock().unwrap().push(asked["messages"].take());
        let events = [&content("Hel"), &content("lo"), "data: [DONE]", ""].join("\n\n");
        async move { ([("content-type", "text/event-stream")], events) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

/// Two conversations whose messages grow, with the turns that `repetition` makes.
async fn conversations(url: &str, repetition: Value) -> Snapshot {
    let mut turn = json!({
        "name": "turn",
        "http": {"method": "POST", "path": "/", "json": {"messages": "{{ append(history, ask) }}"},
            "stream": {"preset": "OpenAI"}},
        "extract": {
            "answer": {"jsonPath": "$.message"},
            "history": {"value": "{{ append(history, ask, answer) }}"},
        },
    });
    for (field, value) in repetition.as_object().unwrap() {
        turn[field] = value.clone();
    }
    let mut spec = spec(url, turn);
    spec["load"]["iterations"]["count"] = json!(2);
    if repetition["forEach"].is_null() {
        spec["variables"] = json!({"ask": {"role": "user", "content": "And then?"}});
    }
    run_spec(spec).await
}

#[tokio::test]
async fn the_messages_of_a_conversation_grow_turn_by_turn() {
    let asks: Vec<Value> = ["a", "b", "c", "d", "e"]
        .map(|text| json!({"role": "user", "content": text}))
        .into();
    let (url, seen) = model().await;
    let each = json!({"forEach": {"in": asks, "as": "ask"}});
    let snapshot = conversations(&url, each).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    let seen = seen.lock().unwrap();
    let lengths: Vec<usize> = seen
        .iter()
        .map(|list| list.as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [1, 3, 5, 7, 9, 1, 3, 5, 7, 9], "each begins anew");
    let last = seen[4].as_array().unwrap();
    let answer = json!({"role": "assistant", "content": "Hello"});
    for (nth, ask) in asks.iter().enumerate() {
        assert_eq!(last[2 * nth], *ask);
        assert!(nth == 4 || last[2 * nth + 1] == answer, "{last:?}");
    }
}

#[tokio::test]
async fn each_turn_of_a_repeated_step_may_have_times_of_its_own() {
    let (url, seen) = model().await;
    let apart = json!({"repeat": {"count": 4, "every": "1ms", "separate": true}});
    let snapshot = conversations(&url, apart).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(seen.lock().unwrap().len(), 8);
    assert_eq!(snapshot.steps.len(), 4);
    for step in snapshot.steps.values() {
        let stream = step.stream.as_deref().unwrap();
        assert_eq!((step.requests, stream.first.count()), (2, 2));
        assert_eq!(stream.llm.as_ref().unwrap().output_tokens, 4);
    }
    let (url, _) = model().await;
    let together = conversations(&url, json!({"repeat": {"count": 4}})).await;
    assert_eq!(together.steps[&0].requests, 8);
}
