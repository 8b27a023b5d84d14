//! Chat completions, whole or token by token: as server-sent events in OpenAI's form, or as lines
//! of JSON in Ollama's.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::categories::Category;
use super::faults::Pace;
use super::refusal::json_response;
use super::shared::Shared;

/// Tokens of an answer when the request sets no limit.
const USUAL_TOKENS: u32 = 24;
/// Most tokens of an answer.
const MOST_TOKENS: u32 = 4096;
/// Tokens of reasoning before the answer, if the request asks for it.
const REASONING_TOKENS: u32 = 8;

/// Words that answers are made of.
const WORDS: [&str; 12] = [
    "the", "text", "is", "about", "what", "its", "words", "say", "and", "they", "say", "it",
];

/// Form of chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// OpenAI's: `data: {...}` and an empty line for each part; the last is `[DONE]`.
    Events,
    /// Ollama's: a line of JSON for each part; the last says `"done": true`.
    Lines,
}

/// Body of a chat request, of either form.
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    #[serde(default)]
    model: String,
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    reasoning_effort: Option<String>,
    options: Option<LineOptions>,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Value,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Options of Ollama's form, which has the limit of tokens here.
#[derive(Debug, Deserialize)]
struct LineOptions {
    num_predict: Option<u32>,
}

/// Whole answer, written before its first part is sent.
struct Script {
    id: String,
    created: u64,
    model: String,
    prompt_tokens: usize,
    reasoning: Vec<String>,
    content: Vec<String>,
    finish_reason: &'static str,
}

/// Parts of a streamed answer, in order. The parts in `tokens` come at the pace of tokens, the
/// others without a pause.
struct Parts {
    all: Vec<Bytes>,
    tokens: std::ops::Range<usize>,
}

/// Answers the `number`-th request as it asks: whole, or part by part.
pub(super) async fn answer(
    request: ChatRequest,
    form: Form,
    number: u64,
    mut pace: Pace,
    shared: Arc<Shared>,
) -> Response<Body> {
    let is_streamed = request.stream.unwrap_or(form == Form::Lines);
    let include_usage = request
        .stream_options
        .as_ref()
        .is_some_and(|options| options.include_usage);
    let script = Script::write(request, number);
    if is_streamed {
        return stream_parts(script.parts(form, include_usage), form, pace, shared);
    }
    let tokens = script.reasoning.len() + script.content.len();
    let rest: Duration = (1..tokens).map(|_| pace.gap()).sum();
    sleep_until(Instant::now() + pace.first() + rest).await;
    json_response(http::StatusCode::OK, &script.whole(form))
}

fn stream_parts(
    mut parts: Parts,
    form: Form,
    mut pace: Pace,
    shared: Arc<Shared>,
) -> Response<Body> {
    if pace.is_cut() {
        parts
            .all
            .truncate(parts.tokens.start + parts.tokens.len() / 2);
    }
    let mut due = Instant::now();
    let tokens = parts.tokens;
    let paced = parts.all.into_iter().enumerate().map(move |(place, part)| {
        due += match place {
            _ if place == tokens.start => pace.first(),
            _ if tokens.contains(&place) => pace.gap(),
            _ => Duration::ZERO,
        };
        (due, part)
    });
    let body = stream::unfold((paced, shared), |(mut paced, shared)| async move {
        let (due, part) = paced.next()?;
        if due > Instant::now() {
            sleep_until(due).await;
        }
        shared.counts.sent();
        Some((Ok::<_, Infallible>(part), (paced, shared)))
    });
    let mut response = Response::new(Body::from_stream(body));
    let content_type = if form == Form::Events {
        "text/event-stream"
    } else {
        "application/x-ndjson"
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

impl Script {
    fn write(request: ChatRequest, number: u64) -> Script {
        let ChatRequest {
            model,
            messages,
            max_tokens,
            max_completion_tokens,
            reasoning_effort,
            options,
            ..
        } = request;
        let prompt: Vec<String> = messages
            .iter()
            .map(|message| text_of(&message.content))
            .collect();
        let limit = max_completion_tokens
            .or(max_tokens)
            .or(options.and_then(|options| options.num_predict));
        let reasons = reasoning_effort.is_some_and(|effort| effort != "none");
        let thoughts = if reasons { REASONING_TOKENS } else { 0 };
        let tokens = limit.unwrap_or(USUAL_TOKENS).clamp(1, MOST_TOKENS);
        let word = |place: u32| {
            format!(
                " {}",
                WORDS[(number + u64::from(place)) as usize % WORDS.len()]
            )
        };
        let category = Category::of(prompt.last().map_or("", String::as_str));
        Script {
            id: format!("chatcmpl-{number:012x}"),
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            model: if model.is_empty() {
                "sample".to_owned()
            } else {
                model
            },
            prompt_tokens: prompt
                .iter()
                .flat_map(|text| text.split_whitespace())
                .count(),
            reasoning: (0..thoughts).map(word).collect(),
            content: std::iter::once(category.to_string())
                .chain((1..tokens).map(word))
                .collect(),
            finish_reason: if limit.is_some() { "length" } else { "stop" },
        }
    }

    fn usage(&self) -> Value {
        let completion = self.reasoning.len() + self.content.len();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning.len()},
        })
    }

    fn whole(&self, form: Form) -> Value {
        let content = self.content.concat();
        if form == Form::Lines {
            return self.line(&content, true);
        }
        let mut message = json!({"role": "assistant", "content": content});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.concat().into();
        }
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish_reason});
        let (id, created, model) = (&self.id, self.created, &self.model);
        json!({"id": id, "object": "chat.completion", "created": created, "model": model, "choices": [choice], "usage": self.usage()})
    }

    fn parts(&self, form: Form, include_usage: bool) -> Parts {
        let token_count = self.reasoning.len() + self.content.len();
        if form == Form::Lines {
            let lines = self
                .content
                .iter()
                .map(|word| self.line(word, false))
                .chain([self.line("", true)]);
            return Parts {
                all: lines.map(|line| format!("{line}\n").into()).collect(),
                tokens: 0..self.content.len(),
            };
        }
        let mut chunks = vec![self.chunk(&json!({"role": "assistant", "content": ""}), None)];
        chunks.extend(
            self.reasoning
                .iter()
                .map(|word| self.chunk(&json!({"reasoning_content": word}), None)),
        );
        chunks.extend(
            self.content
                .iter()
                .map(|word| self.chunk(&json!({"content": word}), None)),
        );
        chunks.push(self.chunk(&json!({}), Some(self.finish_reason)));
        if include_usage {
            let mut last = self.chunk(&json!({}), None);
            last["choices"] = json!([]);
            last["usage"] = self.usage();
            chunks.push(last);
        }
        let events = chunks
            .iter()
            .map(Value::to_string)
            .chain(["[DONE]".to_owned()]);
        Parts {
            all: events
                .map(|event| format!("data: {event}\n\n").into())
                .collect(),
            tokens: 1..1 + token_count,
        }
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        })
    }

    fn line(&self, content: &str, done: bool) -> Value {
        let mut line = json!({"model": self.model, "message": {"role": "assistant", "content": content}, "done": done});
        if done {
            line["done_reason"] = self.finish_reason.into();
            line["prompt_eval_count"] = self.prompt_tokens.into();
            line["eval_count"] = self.content.len().into();
        }
        line
    }
}

/// Returns the text of a message: a string, or the texts of its parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::super::faults::Faults;
    use super::super::options::Options;
    use super::*;

    async fn ask(body: Value, form: Form, options: &Options) -> String {
        let request = serde_json::from_value(body).unwrap();
        let response = answer(
            request,
            form,
            0,
            Faults::new(options).pace(0),
            Arc::new(Shared::new(options)),
        )
        .await;
        String::from_utf8(
            to_bytes(response.into_body(), 1 << 20)
                .await
                .unwrap()
                .to_vec(),
        )
        .unwrap()
    }

    fn said(extra: Value) -> Value {
        let mut body =
            json!({"model": "m", "messages": [{"role": "user", "content": "the team won"}]});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body
    }

    fn events(text: &str) -> Vec<Value> {
        let data = text
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap());
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into()))
            .collect()
    }

    #[tokio::test]
    async fn a_cut_stream_ends_without_its_marker() {
        let options = Options {
            cut_rate: 1.0,
            ..Options::default()
        };
        let text = ask(
            said(json!({"stream": true, "max_tokens": 4})),
            Form::Events,
            &options,
        )
        .await;
        assert_eq!(events(&text).len(), 3);
        assert!(
            !text.contains("[DONE]") && !text.contains("finish_reason\":\"length"),
            "{text}"
        );
        assert!(
            !ask(said(json!({})), Form::Lines, &options)
                .await
                .contains("\"done\":true")
        );
    }

    #[tokio::test]
    async fn a_stream_is_a_role_then_tokens_then_usage_then_done() {
        let body = said(
            json!({"stream": true, "stream_options": {"include_usage": true}, "max_tokens": 3, "reasoning_effort": "low"}),
        );
        let events = events(&ask(body, Form::Events, &Options::default()).await);
        assert_eq!(events.len(), 1 + 8 + 3 + 1 + 1 + 1);
        assert_eq!(
            events[0]["choices"][0]["delta"],
            json!({"role": "assistant", "content": ""})
        );
        assert!(events[1]["choices"][0]["delta"]["reasoning_content"].is_string());
        assert_eq!(events[9]["choices"][0]["delta"]["content"], "sports");
        assert_eq!(events[12]["choices"][0]["finish_reason"], "length");
        assert_eq!(
            (
                &events[13]["choices"],
                &events[13]["usage"]["completion_tokens"]
            ),
            (&json!([]), &json!(11))
        );
        assert_eq!(
            (&events[13]["usage"]["prompt_tokens"], &events[14]),
            (&json!(3), &json!("[DONE]"))
        );
    }

    #[tokio::test]
    async fn usage_that_was_not_asked_for_is_not_sent() {
        let text = ask(
            said(json!({"stream": true})),
            Form::Events,
            &Options::default(),
        )
        .await;
        assert!(
            !text.contains("usage")
                && text.contains("\"finish_reason\":\"stop\"")
                && text.ends_with("data: [DONE]\n\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_not_streamed_is_whole_and_has_its_usage() {
        let whole: Value = serde_json::from_str(
            &ask(
                said(json!({"max_tokens": 2})),
                Form::Events,
                &Options::default(),
            )
            .await,
        )
        .unwrap();
        assert_eq!(
            (&whole["object"], &whole["usage"]["completion_tokens"]),
            (&json!("chat.completion"), &json!(2))
        );
        assert_eq!(whole["choices"][0]["message"]["content"], "sports text");
    }

    #[tokio::test]
    async fn lines_are_streamed_unless_told_otherwise_and_the_last_has_the_count() {
        let text = ask(
            said(json!({"options": {"num_predict": 2}})),
            Form::Lines,
            &Options::default(),
        )
        .await;
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines
                .iter()
                .map(|line| line["done"].as_bool())
                .collect::<Vec<_>>(),
            [Some(false), Some(false), Some(true)]
        );
        assert_eq!(lines[2]["eval_count"], 2);
    }

    #[tokio::test]
    async fn the_first_token_and_those_after_it_come_when_they_are_due() {
        let (first, gap) = ("constant:30ms".parse().ok(), "constant:5ms".parse().ok());
        let options = Options {
            first_token_delay: first,
            token_gap: gap,
            ..Options::default()
        };
        for extra in [
            json!({"stream": true, "max_tokens": 5}),
            json!({"max_tokens": 5}),
        ] {
            let begun = Instant::now();
            ask(said(extra), Form::Events, &options).await;
            assert!(
                begun.elapsed() >= Duration::from_millis(50),
                "{:?}",
                begun.elapsed()
            );
        }
    }
}
