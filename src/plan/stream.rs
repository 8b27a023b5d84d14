//! Answers that are read event by event, and the limits within which a request counts as good.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JsonPath, duration};

/// Division of an answer's body into events, and the mark of the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpStream {
    /// Format of the events.
    pub format: StreamFormat,
    /// Application protocol of the events, if it is one that is known; `None`: events are only
    /// counted.
    pub preset: Option<StreamPreset>,
    /// Mark of the last event: a stream that ends without it has failed. `None`: any proper end of
    /// the body will do.
    pub until: Option<Until>,
}

/// Format of a stream of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StreamFormat {
    /// Server-sent events.
    #[default]
    #[serde(rename = "SSE")]
    Sse,
    /// Lines, each of which is an event unless it is empty, as in JSON Lines.
    Lines,
}

/// Kind of service behind a stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StreamPreset {
    /// Completions or chat completions of a language model: TTFT, ITL, TPOT and tokens are
    /// measured, over the events that bear content; reasoning is content, and is shown apart.
    /// `stream: true` and `stream_options.include_usage` are added to the `json` body unless it
    /// sets them or is text, and the stream must end with `[DONE]` unless `until` is set.
    OpenAI,
    /// Responses of OpenAI's newer API, measured as with `OpenAI`. `stream: true` is added to the
    /// `json` body; the stream must end with `response.completed` or `response.incomplete`.
    OpenAIResponses,
    /// Messages of Anthropic's API, measured as with `OpenAI`. `stream: true` is added to the `json`
    /// body; the stream must end with `message_stop`.
    AnthropicMessages,
}

/// Mark that the last event is known by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Until {
    /// An event whose data is this text; it counts as a mark and as nothing else.
    Text(String),
    /// An event of this name.
    Event(String),
    /// An event of one of these types, as its data says in `type` or else its name.
    Types(Vec<String>),
    /// An event in whose JSON the first node found is neither false nor null.
    JsonPath(JsonPath),
}

/// Kind of the messages of a stream, which decides what is measured of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Events of an answer over HTTP.
    Events,
    /// Events of a language model's answer over HTTP.
    Completion,
    /// Messages of a call over gRPC.
    Messages,
}

impl StreamKind {
    /// Fields of a step that has a stream of this kind, in words.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Events => "http.stream without a preset",
            Self::Completion => "http.stream.preset",
            Self::Messages => "grpc",
        }
    }
}

impl HttpStream {
    /// Kind of the events.
    pub fn kind(&self) -> StreamKind {
        if self.preset.is_some() {
            StreamKind::Completion
        } else {
            StreamKind::Events
        }
    }
}

/// Limits of a good request: it succeeded, within every limit that is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Goodput {
    /// Longest time from the intended start to the last byte.
    #[serde(with = "duration::optional_micros")]
    pub latency: Option<Duration>,
    /// Longest time from the intended start to the first message or event; with a language model,
    /// to the first that bears content.
    #[serde(with = "duration::optional_micros")]
    pub first: Option<Duration>,
    /// Longest time per output token after the first; an answer of one token meets it.
    #[serde(with = "duration::optional_micros")]
    pub per_token: Option<Duration>,
}

impl Goodput {
    /// Tells whether a request that succeeded with these times met all limits. Without a first
    /// message a limit on it is not met, without further tokens a limit per token is.
    pub fn is_met(
        &self,
        latency: Duration,
        first: Option<Duration>,
        per_token: Option<Duration>,
    ) -> bool {
        let Self {
            latency: most,
            first: most_first,
            per_token: most_per_token,
        } = self;
        most.is_none_or(|most| latency <= most)
            && most_first.is_none_or(|most| first.is_some_and(|first| first <= most))
            && most_per_token.is_none_or(|most| per_token.is_none_or(|time| time <= most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_good_within_all_limits_that_are_set() {
        let ms = Duration::from_millis;
        let limits = Goodput {
            latency: Some(ms(100)),
            first: Some(ms(10)),
            per_token: Some(ms(2)),
        };
        assert!(limits.is_met(ms(100), Some(ms(10)), Some(ms(2))));
        assert!(!limits.is_met(ms(101), Some(ms(10)), Some(ms(2))));
        assert!(!limits.is_met(ms(100), Some(ms(11)), Some(ms(2))));
        assert!(!limits.is_met(ms(100), Some(ms(10)), Some(ms(3))));
        assert!(
            !limits.is_met(ms(100), None, Some(ms(2))),
            "a stream without content never began"
        );
        assert!(
            limits.is_met(ms(100), Some(ms(10)), None),
            "one token has nothing between its tokens"
        );
        assert!(Goodput::default().is_met(ms(9999), None, None));
    }
}
