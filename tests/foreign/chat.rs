//! Streams of a language model as guidellm's mock server gives them, which load generators for
//! models are tried on.

use super::{Script, run, step, test};

const STEPS: &str = r#"- name: whole chat
  http:
    method: POST
    path: /v1/chat/completions
    json: {model: mock, max_tokens: 12, messages: [{role: user, content: the team won}]}
  extract:
    chat: {jsonPath: "$.choices[0].message.content"}
- name: whole response
  http:
    method: POST
    path: /v1/responses
    json: {model: mock, max_output_tokens: 12, input: the team won}
  extract:
    response: {jsonPath: "$.output[0].content[0].text"}
- name: chat
  http:
    method: POST
    path: /v1/chat/completions
    json: {model: mock, max_tokens: 12, messages: [{role: user, content: the team won}]}
    stream: {preset: OpenAI}
  checks:
  - {jsonPath: $.text, equals: "{{ chat }}"}
  - {jsonPath: $.finishReason, equals: stop}
  - {jsonPath: $.usage.inputTokens, equals: 5}
  - {jsonPath: $.usage.outputTokens, equals: 12}
  # each token, the reason for the end, and the usage
  - {events: {atLeast: 14, atMost: 14}}
  extract:
    turn: {jsonPath: $.message}
- name: next turn
  http:
    method: POST
    path: /v1/chat/completions
    json:
      model: mock
      max_tokens: 5
      messages: [{role: user, content: the team won}, "{{ turn }}", {role: user, content: And then}]
    stream: {preset: OpenAI}
  checks:
  # what was said before, a space between each two, and the new words
  - {jsonPath: $.usage.inputTokens, equals: 22}
- name: call of a tool
  http:
    method: POST
    path: /v1/chat/completions
    json:
      model: mock
      messages: [{role: user, content: the team won}]
      tools: [{type: function, function: {name: score, parameters: {type: object}}}]
      tool_choice: required
    stream: {preset: OpenAI}
  checks:
  - {jsonPath: $.finishReason, equals: tool_calls}
  - {jsonPath: "$.toolCalls[0].name", equals: score}
  - {jsonPath: "$.toolCalls[0].arguments", equals: "{}"}
- name: response
  http:
    method: POST
    path: /v1/responses
    json: {model: mock, max_output_tokens: 12, input: the team won}
    stream: {preset: OpenAIResponses}
  checks:
  - {jsonPath: $.text, equals: "{{ response }}"}
  - {jsonPath: $.usage.outputTokens, equals: 12}
- name: completion
  http:
    method: POST
    path: /v1/completions
    json: {model: mock, max_tokens: 12, prompt: the team won}
    stream: {preset: OpenAI}
  checks:
  - {jsonPath: $.usage.outputTokens, equals: 12}"#;

#[test]
fn streams_of_guidellms_mock_are_put_together_timed_and_counted() {
    let mut server = Script::start("chat.py", &["100", "2"]);
    let result = run(&test("", STEPS), &server.url);
    for (name, input, output) in [
        ("chat", 5, 12),
        ("next turn", 22, 5),
        ("response", 5, 12),
        ("completion", 5, 12),
    ] {
        let model = &step(&result, name)["stream"]["llm"];
        assert_eq!(model["tokensFrom"], "Usage", "{name}");
        assert_eq!(model["inputTokens"], 40 * input, "{name}");
        assert_eq!(model["outputTokens"], 40 * output, "{name}");
        // the server keeps the first token back for 100 ms
        let first = model["ttft"]["min"].as_u64().expect("a number");
        let whole = step(&result, name)["latency"]["max"].as_u64();
        assert!(first >= 99_000 && Some(first) < whole, "{name}: {first}");
    }
    assert_eq!(step(&result, "chat")["stream"]["messagesReceived"], 40 * 14);
    let expected = serde_json::json!({
        "/v1/chat/completions": 160, "/v1/responses": 80, "/v1/completions": 40,
    });
    assert_eq!(server.counts(), expected);
}
