//! Reads an event of a language model whose events say of what type they are: those of OpenAI's
//! Responses and of Anthropic's Messages. [`completion`](super::completion) reads chunks of
//! completions, which are far more frequent and have one form.

use serde_json::Value;

use crate::engine::protocol::http::events::Event;
use crate::engine::protocol::http::events::completion::{Completion, Usage};

/// Returns the type of an event: that in its data, else its name.
pub(super) fn kind_of<'a>(event: Event<'a>, json: &'a Value) -> &'a str {
    let named = std::str::from_utf8(event.name).unwrap_or_default();
    json["type"].as_str().unwrap_or(named)
}

/// Reads an event of OpenAI's Responses.
pub(super) fn read_response(event: Event<'_>) -> Completion {
    let Ok(json) = serde_json::from_slice::<Value>(event.data) else {
        return Completion::default();
    };
    let says = json["delta"]
        .as_str()
        .is_some_and(|delta| !delta.is_empty());
    let usage = &json["response"]["usage"];
    let kind = kind_of(event, &json);
    Completion {
        has_answer: match kind {
            "response.output_text.delta"
            | "response.refusal.delta"
            | "response.function_call_arguments.delta" => says,
            "response.output_item.added" => json["item"]["type"] == "function_call",
            _ => false,
        },
        has_reasoning: says
            && matches!(
                kind,
                "response.reasoning_text.delta" | "response.reasoning_summary_text.delta"
            ),
        usage: Usage {
            input: usage["input_tokens"].as_u64(),
            output: usage["output_tokens"].as_u64(),
            reasoning: usage["output_tokens_details"]["reasoning_tokens"].as_u64(),
        },
        is_error: matches!(kind, "error" | "response.failed") || !json["error"].is_null(),
    }
}

/// Reads an event of Anthropic's Messages. Tokens of the prompt that were cached count, too.
pub(super) fn read_message(event: Event<'_>) -> Completion {
    let Ok(json) = serde_json::from_slice::<Value>(event.data) else {
        return Completion::default();
    };
    let kind = kind_of(event, &json);
    let (delta, block) = (&json["delta"], &json["content_block"]);
    let says = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    let usage = match kind {
        "message_start" => &json["message"]["usage"],
        _ => &json["usage"],
    };
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"]
        .map(|field| usage[field].as_u64().unwrap_or(0));
    let input = usage["input_tokens"].as_u64();
    Completion {
        has_answer: match kind {
            "content_block_start" => says(&block["name"]) || says(&block["text"]),
            "content_block_delta" => says(&delta["text"]) || says(&delta["partial_json"]),
            _ => false,
        },
        has_reasoning: kind == "content_block_delta" && says(&delta["thinking"]),
        usage: Usage {
            input: input.map(|input| input + cached.iter().sum::<u64>()),
            output: usage["output_tokens"].as_u64(),
            reasoning: None,
        },
        is_error: kind == "error" || !json["error"].is_null(),
    }
}

/// Returns the part of an event that tells of an error, for its words to be found in.
pub(super) fn error_in(data: &[u8]) -> Vec<u8> {
    let json: Value = serde_json::from_slice(data).unwrap_or_default();
    let within = &json["response"]["error"];
    if within.is_null() {
        data.to_vec()
    } else {
        within.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(of: fn(Event<'_>) -> Completion, name: &str, json: Value) -> Completion {
        of(Event {
            name: name.as_bytes(),
            data: json.to_string().as_bytes(),
        })
    }

    #[test]
    fn events_of_responses_have_content_counts_and_errors() {
        let of = |json| read(read_response, "", json);
        let text = of(json!({"type": "response.output_text.delta", "delta": "Hi"}));
        assert!(text.has_answer && !text.has_reasoning);
        let nothing = of(json!({"type": "response.output_text.delta", "delta": ""}));
        assert_eq!(nothing, Completion::default());
        assert!(of(json!({"type": "response.reasoning_text.delta", "delta": "so"})).has_reasoning);
        let named = json!({"delta": "Hi"});
        assert!(read(read_response, "response.output_text.delta", named).has_answer);
        let usage = json!({"input_tokens": 3, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}});
        let done =
            of(json!({"type": "response.completed", "response": {"usage": usage, "error": null}}));
        assert_eq!(
            done.usage,
            Usage {
                input: Some(3),
                output: Some(5),
                reasoning: Some(2)
            }
        );
        assert!(!done.is_error);
        let failed = json!({"type": "response.failed", "response": {"error": {"code": "x", "message": "busy"}}});
        assert!(of(failed.clone()).is_error);
        assert_eq!(
            serde_json::from_slice::<Value>(&error_in(failed.to_string().as_bytes())).unwrap(),
            json!({"code": "x", "message": "busy"})
        );
    }

    #[test]
    fn events_of_messages_have_content_counts_and_errors() {
        let of = |json| read(read_message, "", json);
        let delta =
            |delta: Value| of(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
        assert!(delta(json!({"type": "text_delta", "text": "Hi"})).has_answer);
        assert!(delta(json!({"type": "thinking_delta", "thinking": "so"})).has_reasoning);
        assert!(!delta(json!({"type": "signature_delta", "signature": "x"})).has_content());
        let usage = json!({"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1});
        let start = of(json!({"type": "message_start", "message": {"usage": usage}}));
        assert_eq!((start.usage.input, start.usage.output), (Some(7), Some(1)));
        let end = of(
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
        );
        assert_eq!((end.usage.input, end.usage.output), (None, Some(9)));
        assert!(
            of(json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}))
                .is_error
        );
        assert!(!of(json!({"type": "ping"})).is_error);
    }
}
