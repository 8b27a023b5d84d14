//! The answer of a language model, put together from the events of its stream: text, reasoning, tool
//! calls, the reason why it ended, and the token counts, for rules to read as JSON.

use serde_json::{Map, Value, json};

use crate::engine::answer::capture::MAX_BODY;
use crate::engine::protocol::http::events::Event;
use crate::engine::protocol::http::events::completion::Usage;
use crate::engine::protocol::http::events::vendor::kind_of;
use crate::plan::StreamPreset;

/// Answer that is being put together.
pub(crate) struct Assembly {
    preset: StreamPreset,
    text: String,
    reasoning: String,
    refusal: String,
    calls: Vec<Call>,
    finish_reason: Option<String>,
    /// Bytes of text so far.
    size: usize,
}

/// Tool call of an answer.
#[derive(Default)]
struct Call {
    /// Key by which the events of the call name it.
    key: String,
    id: String,
    name: String,
    arguments: String,
}

/// Part of an answer that a piece of text belongs to.
enum Piece<'a> {
    Text,
    Reasoning,
    Refusal,
    /// Arguments of the call with this key.
    Arguments(&'a str),
}

impl Assembly {
    /// Begins an answer of this kind of service.
    pub(crate) fn new(preset: StreamPreset) -> Self {
        Self {
            preset,
            text: String::new(),
            reasoning: String::new(),
            refusal: String::new(),
            calls: Vec::new(),
            finish_reason: None,
            size: 0,
        }
    }

    /// Takes the next event; one that is not JSON adds nothing.
    pub(crate) fn take(&mut self, event: Event<'_>) {
        let Ok(json) = serde_json::from_slice::<Value>(event.data) else {
            return;
        };
        match self.preset {
            StreamPreset::OpenAI => self.take_chunk(&json),
            StreamPreset::OpenAIResponses => self.take_response(kind_of(event, &json), &json),
            StreamPreset::AnthropicMessages => self.take_message(kind_of(event, &json), &json),
        }
    }

    /// Returns the answer as JSON, with the token counts `usage`; `None` if it is longer than what is
    /// kept of a body.
    pub(crate) fn json(&self, usage: Usage) -> Option<Value> {
        if self.size > MAX_BODY {
            return None;
        }
        let calls: Vec<Value> = self
            .calls
            .iter()
            .map(|call| json!({"id": call.id, "name": call.name, "arguments": call.arguments}))
            .collect();
        let mut answer = json!({
            "text": self.text,
            "reasoning": self.reasoning,
            "toolCalls": calls,
            "finishReason": self.finish_reason,
            "usage": {
                "inputTokens": usage.input,
                "outputTokens": usage.output,
                "reasoningTokens": usage.reasoning,
            },
            "message": self.message(),
        });
        if !self.refusal.is_empty() {
            answer["refusal"] = self.refusal.as_str().into();
        }
        Some(answer)
    }

    /// Returns the answer in the form in which the service takes it back as a part of a
    /// conversation.
    fn message(&self) -> Value {
        let content = match self.preset {
            StreamPreset::AnthropicMessages => self.blocks(),
            StreamPreset::OpenAI | StreamPreset::OpenAIResponses => self.text.as_str().into(),
        };
        let mut message = json!({"role": "assistant", "content": content});
        if self.preset == StreamPreset::OpenAI && !self.calls.is_empty() {
            message["tool_calls"] = self
                .calls
                .iter()
                .map(|call| {
                    json!({
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments},
                    })
                })
                .collect();
        }
        message
    }

    fn blocks(&self) -> Value {
        let text = (!self.text.is_empty()).then(|| json!({"type": "text", "text": self.text}));
        let calls = self.calls.iter().map(|call| {
            let input = serde_json::from_str(&call.arguments);
            let input: Value = input.unwrap_or_else(|_| Map::new().into());
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
        });
        text.into_iter().chain(calls).collect()
    }

    fn add(&mut self, piece: Piece<'_>, text: &str) {
        self.size += text.len();
        if self.size > MAX_BODY {
            return;
        }
        match piece {
            Piece::Text => self.text.push_str(text),
            Piece::Reasoning => self.reasoning.push_str(text),
            Piece::Refusal => self.refusal.push_str(text),
            Piece::Arguments(key) => self.call(key).arguments.push_str(text),
        }
    }

    fn call(&mut self, key: &str) -> &mut Call {
        // an answer has few
        let found = self.calls.iter().position(|call| call.key == key);
        let place = found.unwrap_or_else(|| {
            self.calls.push(Call {
                key: key.to_owned(),
                ..Call::default()
            });
            self.calls.len() - 1
        });
        &mut self.calls[place]
    }

    /// Names a call, as far as an event does so.
    fn name_call(&mut self, key: &str, id: &Value, name: &Value) {
        let texts = [id, name].map(|text| text.as_str().unwrap_or_default());
        self.size += texts[0].len() + texts[1].len() + key.len();
        if self.size > MAX_BODY {
            return;
        }
        let call = self.call(key);
        call.id.push_str(texts[0]);
        call.name.push_str(texts[1]);
    }

    fn finish(&mut self, reason: &Value) {
        if let Some(reason) = reason.as_str() {
            self.finish_reason = Some(reason.chars().take(64).collect());
        }
    }

    /// Takes a chunk of a completion. Of several choices the first is the answer.
    fn take_chunk(&mut self, json: &Value) {
        let choices = json["choices"].as_array().map(Vec::as_slice);
        let first = |choice: &&Value| choice["index"].as_u64().unwrap_or(0) == 0;
        for choice in choices.unwrap_or_default().iter().filter(first) {
            let delta = &choice["delta"];
            self.add_content(&delta["content"]);
            // of completions that are no chat
            self.add_content(&choice["text"]);
            for field in ["reasoning_content", "reasoning"] {
                if let Some(text) = delta[field].as_str() {
                    self.add(Piece::Reasoning, text);
                    break;
                }
            }
            if let Some(text) = delta["refusal"].as_str() {
                self.add(Piece::Refusal, text);
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let key = call["index"].to_string();
                self.name_call(&key, &call["id"], &call["function"]["name"]);
                if let Some(text) = call["function"]["arguments"].as_str() {
                    self.add(Piece::Arguments(&key), text);
                }
            }
            self.finish(&choice["finish_reason"]);
        }
    }

    /// Adds a content: text, or a list of parts of which some are reasoning.
    fn add_content(&mut self, content: &Value) {
        if let Some(text) = content.as_str() {
            self.add(Piece::Text, text);
        }
        for part in content.as_array().into_iter().flatten() {
            match part["type"].as_str() {
                Some("reasoning" | "thinking") => {
                    let summary = part["summary"].as_array().into_iter().flatten();
                    let texts = summary.map(|piece| &piece["text"]);
                    for text in texts.chain([&part["text"], &part["thinking"]]) {
                        self.add(Piece::Reasoning, text.as_str().unwrap_or_default());
                    }
                }
                _ => self.add(Piece::Text, part["text"].as_str().unwrap_or_default()),
            }
        }
    }

    fn take_response(&mut self, kind: &str, json: &Value) {
        let delta = json["delta"].as_str().unwrap_or_default();
        let key = json["output_index"].to_string();
        match kind {
            "response.output_text.delta" => self.add(Piece::Text, delta),
            "response.refusal.delta" => self.add(Piece::Refusal, delta),
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                self.add(Piece::Reasoning, delta);
            }
            "response.function_call_arguments.delta" => self.add(Piece::Arguments(&key), delta),
            "response.output_item.added" if json["item"]["type"] == "function_call" => {
                self.name_call(&key, &json["item"]["call_id"], &json["item"]["name"]);
            }
            "response.completed" | "response.incomplete" => {
                let response = &json["response"];
                self.finish(&response["status"]);
                self.finish(&response["incomplete_details"]["reason"]);
            }
            _ => {}
        }
    }

    fn take_message(&mut self, kind: &str, json: &Value) {
        let key = json["index"].to_string();
        match kind {
            "content_block_start" => {
                let block = &json["content_block"];
                match block["type"].as_str() {
                    Some("tool_use" | "server_tool_use") => {
                        self.name_call(&key, &block["id"], &block["name"]);
                    }
                    _ => self.add(Piece::Text, block["text"].as_str().unwrap_or_default()),
                }
            }
            "content_block_delta" => {
                let delta = &json["delta"];
                let text = |field: &str| delta[field].as_str().unwrap_or_default();
                match delta["type"].as_str() {
                    Some("text_delta") => self.add(Piece::Text, text("text")),
                    Some("thinking_delta") => self.add(Piece::Reasoning, text("thinking")),
                    Some("input_json_delta") => {
                        self.add(Piece::Arguments(&key), text("partial_json"));
                    }
                    _ => {}
                }
            }
            "message_delta" => self.finish(&json["delta"]["stop_reason"]),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembled(preset: StreamPreset, events: &[Value]) -> Value {
        let mut assembly = Assembly::new(preset);
        for event in events {
            assembly.take(Event {
                name: &[],
                data: event.to_string().as_bytes(),
            });
        }
        let usage = Usage {
            output: Some(7),
            ..Usage::default()
        };
        assembly.json(usage).unwrap()
    }

    fn chunk(delta: Value) -> Value {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    }

    #[test]
    fn chunks_of_a_chat_become_one_answer() {
        let answer = assembled(
            StreamPreset::OpenAI,
            &[
                chunk(json!({"role": "assistant", "reasoning_content": "so"})),
                chunk(json!({"content": "Hel"})),
                chunk(json!({"content": [{"type": "text", "text": "lo"}]})),
                chunk(
                    json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{\"a\""}}]}),
                ),
                chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})),
                json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}, {"index": 1, "delta": {"content": "other"}}]}),
                json!({"choices": [], "usage": {"completion_tokens": 7}}),
            ],
        );
        let call = json!({"id": "c1", "name": "f", "arguments": "{\"a\":1}"});
        assert_eq!(
            (&answer["text"], &answer["reasoning"]),
            (&json!("Hello"), &json!("so"))
        );
        assert_eq!(
            (&answer["toolCalls"], &answer["finishReason"]),
            (&json!([call]), &json!("tool_calls"))
        );
        assert_eq!(answer["usage"]["outputTokens"], json!(7));
        assert_eq!(answer["message"]["content"], json!("Hello"));
        assert_eq!(
            answer["message"]["tool_calls"][0]["function"]["arguments"],
            json!("{\"a\":1}")
        );
        let plain = assembled(
            StreamPreset::OpenAI,
            &[json!({"choices": [{"text": "Hi"}]})],
        );
        assert_eq!(plain["text"], json!("Hi"), "a completion that is no chat");
    }

    #[test]
    fn events_of_a_response_become_one_answer() {
        let answer = assembled(
            StreamPreset::OpenAIResponses,
            &[
                json!({"type": "response.reasoning_summary_text.delta", "delta": "so"}),
                json!({"type": "response.output_text.delta", "delta": "Hel"}),
                json!({"type": "response.output_text.delta", "delta": "lo"}),
                json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "function_call", "call_id": "c1", "name": "f"}}),
                json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"}),
                json!({"type": "response.completed", "response": {"status": "completed"}}),
            ],
        );
        assert_eq!(
            (&answer["text"], &answer["reasoning"]),
            (&json!("Hello"), &json!("so"))
        );
        assert_eq!(
            answer["toolCalls"][0],
            json!({"id": "c1", "name": "f", "arguments": "{}"})
        );
        assert_eq!(answer["finishReason"], json!("completed"));
        assert_eq!(
            answer["message"],
            json!({"role": "assistant", "content": "Hello"})
        );
    }

    #[test]
    fn blocks_of_a_message_become_one_answer() {
        let delta = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        let answer = assembled(
            StreamPreset::AnthropicMessages,
            &[
                json!({"type": "message_start", "message": {"usage": {"input_tokens": 3}}}),
                delta(0, json!({"type": "thinking_delta", "thinking": "so"})),
                json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
                delta(1, json!({"type": "text_delta", "text": "Hello"})),
                json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}}}),
                delta(
                    2,
                    json!({"type": "input_json_delta", "partial_json": "{\"a\": 1}"}),
                ),
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
                json!({"type": "message_stop"}),
            ],
        );
        assert_eq!(
            (&answer["text"], &answer["reasoning"]),
            (&json!("Hello"), &json!("so"))
        );
        assert_eq!(answer["finishReason"], json!("tool_use"));
        assert_eq!(
            answer["message"]["content"],
            json!([{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}])
        );
    }

    #[test]
    fn an_answer_longer_than_what_is_kept_is_none() {
        let mut assembly = Assembly::new(StreamPreset::OpenAI);
        let long = chunk(json!({"content": "x".repeat(MAX_BODY / 2)})).to_string();
        for _ in 0..3 {
            assembly.take(Event {
                name: &[],
                data: long.as_bytes(),
            });
        }
        assert!(assembly.text.len() <= MAX_BODY);
        assert_eq!(assembly.json(Usage::default()), None);
    }
}
