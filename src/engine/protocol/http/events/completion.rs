//! Reads an event of a language model with OpenAI's API: whether it has content, and the token
//! counts.
//!
//! Nothing is copied, unknown fields are skipped, and a field of an unexpected type is ignored.
//! Targets differ in what else they send, and in names: Databricks sends content in parts, vLLM
//! calls `reasoning` what others call `reasoning_content`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Facts of one event of a language model's answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completion {
    /// True if the event holds text of the answer or a tool call.
    pub(crate) has_answer: bool,
    /// True if the event holds reasoning.
    pub(crate) has_reasoning: bool,
    /// Token counts that the event reports.
    pub(crate) usage: Usage,
    /// True if the event reports an error.
    pub(crate) is_error: bool,
}

/// Token counts of the whole answer so far, as the target counts them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Tokens of the prompt.
    pub(crate) input: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub(crate) output: Option<u64>,
    /// Tokens of the output that are reasoning.
    pub(crate) reasoning: Option<u64>,
}

impl Completion {
    /// Reads an event. One that is not JSON has no content and no counts.
    pub(crate) fn read(data: &[u8]) -> Self {
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_slice(data);
        match (ValueVisitor {
            place: Place::Event,
            found: &mut found,
        })
        .deserialize(&mut json)
        {
            Ok(()) => found.completion,
            Err(_) => Self::default(),
        }
    }

    /// Returns whether the event holds text, a tool call or reasoning.
    pub(crate) fn has_content(&self) -> bool {
        self.has_answer || self.has_reasoning
    }
}

impl Usage {
    /// Replaces counts by those of a later event that reports them.
    pub(crate) fn update(&mut self, later: Self) {
        let Self {
            input,
            output,
            reasoning,
        } = later;
        self.input = input.or(self.input);
        self.output = output.or(self.output);
        self.reasoning = reasoning.or(self.reasoning);
    }
}

/// Position of a value in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Event,
    Choices,
    Choice,
    Delta,
    /// Text, or a list of parts.
    Answer,
    Reasoning,
    /// One part of a content, or a tool call.
    Part,
    /// Type of a part, which tells whether it is reasoning.
    Kind,
    /// Any value within a part.
    Within,
    Error,
    Usage,
    Details,
    InputTokens,
    OutputTokens,
    ReasoningTokens,
    Elsewhere,
}

impl Place {
    fn field(self, name: &str) -> Self {
        match (self, name) {
            (Self::Event, "choices") => Self::Choices,
            (Self::Event, "usage") => Self::Usage,
            (Self::Event, "error" | "error_code") => Self::Error,
            (Self::Choice, "delta") => Self::Delta,
            // of completions that are no chat
            (Self::Choice, "text") => Self::Answer,
            (Self::Delta, "content" | "refusal" | "tool_calls") => Self::Answer,
            (Self::Delta, "reasoning_content" | "reasoning") => Self::Reasoning,
            (Self::Part, "type") => Self::Kind,
            (
                Self::Part | Self::Within,
                "text" | "summary" | "function" | "name" | "arguments" | "thinking" | "reasoning",
            ) => Self::Within,
            (Self::Usage, "prompt_tokens") => Self::InputTokens,
            (Self::Usage, "completion_tokens") => Self::OutputTokens,
            (Self::Usage, "completion_tokens_details") => Self::Details,
            (Self::Details, "reasoning_tokens") => Self::ReasoningTokens,
            _ => Self::Elsewhere,
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Choices => Self::Choice,
            Self::Answer => Self::Part,
            Self::Reasoning => Self::Reasoning,
            Self::Within => Self::Within,
            _ => Self::Elsewhere,
        }
    }
}

#[derive(Default)]
struct Found {
    completion: Completion,
    /// Facts of the part that is being read.
    part: Part,
}

#[derive(Default)]
struct Part {
    has_text: bool,
    is_reasoning: bool,
}

/// Visitor of one value of a chunk, at its place.
struct ValueVisitor<'a> {
    place: Place,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for ValueVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.place {
            Place::Elsewhere => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { place, found } = self;
        if place == Place::Part {
            found.part = Part::default();
        }
        let mut is_empty = true;
        while let Some(place) = map.next_key_seed(FieldSeed(place))? {
            map.next_value_seed(ValueVisitor { place, found })?;
            is_empty = false;
        }
        let completion = &mut found.completion;
        match place {
            Place::Error => completion.is_error |= !is_empty,
            // what a target says of its reasoning in a form of its own is reasoning all the same
            Place::Reasoning => completion.has_reasoning |= !is_empty,
            Place::Part if found.part.is_reasoning => {
                completion.has_reasoning |= found.part.has_text
            }
            Place::Part => completion.has_answer |= found.part.has_text,
            _ => {}
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { place, found } = self;
        while items
            .next_element_seed(ValueVisitor {
                place: place.item(),
                found,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let Found { completion, part } = self.found;
        let says = !text.is_empty();
        match self.place {
            Place::Answer | Place::Part => completion.has_answer |= says,
            Place::Reasoning => completion.has_reasoning |= says,
            Place::Kind => part.is_reasoning = matches!(text, "reasoning" | "thinking"),
            Place::Within => part.has_text |= says,
            Place::Error => completion.is_error |= says,
            _ => {}
        }
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        let Completion {
            usage, is_error, ..
        } = &mut self.found.completion;
        match self.place {
            Place::InputTokens => usage.input = Some(number),
            Place::OutputTokens => usage.output = Some(number),
            Place::ReasoningTokens => usage.reasoning = Some(number),
            Place::Error => *is_error = true,
            _ => {}
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Position of the object whose next field name is read.
struct FieldSeed(Place);

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Place, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Place, E> {
        Ok(self.0.field(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(event: Value) -> Completion {
        Completion::read(event.to_string().as_bytes())
    }

    fn delta(delta: Value) -> (bool, bool) {
        let found = read(
            json!({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null}),
        );
        assert_eq!((found.usage, found.is_error), (Usage::default(), false));
        (found.has_answer, found.has_reasoning)
    }

    #[test]
    fn events_without_content_bear_none() {
        for bears_none in [
            json!({"role": "assistant"}),
            json!({"role": "assistant", "content": ""}),
            json!({"content": null, "tool_calls": []}),
            json!({"content": [], "reasoning_content": ""}),
            json!({"content": [{"type": "text", "text": ""}]}),
            json!({"content": 5, "reasoning": false}),
            json!([]),
            json!(null),
        ] {
            assert_eq!(delta(bears_none.clone()), (false, false), "{bears_none}");
        }
        for nothing in [
            "[DONE]",
            "",
            "ping",
            "{\"choices\": [{\"delta\": {\"content\": \"cut",
            "7",
            "null",
            "\"choices\"",
        ] {
            assert_eq!(
                Completion::read(nothing.as_bytes()),
                Completion::default(),
                "{nothing}"
            );
        }
        for odd in [
            json!({"choices": 7}),
            json!({"choices": [[], 1, {"delta": "x"}]}),
            json!({"usage": [{"prompt_tokens": 1}]}),
        ] {
            assert_eq!(read(odd.clone()), Completion::default(), "{odd}");
        }
    }

    #[test]
    fn content_is_text_reasoning_or_a_call() {
        assert_eq!(delta(json!({"content": "Hi"})), (true, false));
        assert_eq!(
            delta(json!({"content": "\u{e9}\n\"\\u0041"})),
            (true, false)
        );
        assert_eq!(
            delta(json!({"content": null, "reasoning_content": "so"})),
            (false, true)
        );
        assert_eq!(
            delta(json!({"reasoning": "so", "content": "Hi"})),
            (true, true)
        );
        assert_eq!(
            delta(
                json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]})
            ),
            (true, false)
        );
        assert_eq!(
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": ""}}]})),
            (false, false)
        );
        assert_eq!(
            delta(json!({"content": [{"type": "text", "text": "Hi"}]})),
            (true, false)
        );
        let reasoned = json!({"content": [{"summary": [{"type": "summary_text", "text": "so"}], "type": "reasoning"}]});
        assert_eq!(
            delta(reasoned),
            (false, true),
            "also when its kind is said last"
        );
        assert!(
            read(json!({"choices": [{"text": "Hi", "index": 0}]})).has_answer,
            "a completion that is no chat"
        );
        let two = json!({"choices": [{"delta": {"content": ""}}, {"delta": {"content": "b"}}]});
        assert!(read(two).has_answer);
    }

    #[test]
    fn usage_is_what_the_target_counted() {
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 20, "total_tokens": 29,
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0}, "prompt_tokens_details": {"cached_tokens": 4}});
        let found = read(json!({"choices": [], "usage": usage}));
        assert_eq!(
            found.usage,
            Usage {
                input: Some(9),
                output: Some(20),
                reasoning: Some(5)
            }
        );
        assert!(!found.has_content());
        let mut sum = Usage {
            input: Some(9),
            output: Some(3),
            reasoning: None,
        };
        sum.update(Usage {
            input: None,
            output: Some(4),
            reasoning: Some(1),
        });
        assert_eq!(
            sum,
            Usage {
                input: Some(9),
                output: Some(4),
                reasoning: Some(1)
            }
        );
        assert_eq!(
            read(json!({"usage": {"completion_tokens": -1, "prompt_tokens": "9"}})).usage,
            Usage::default()
        );
    }

    #[test]
    fn an_error_in_the_stream_is_one() {
        assert!(read(json!({"error": {"message": "overloaded", "code": 500}})).is_error);
        assert!(read(json!({"error": "overloaded"})).is_error);
        assert!(read(json!({"error_code": "INTERNAL_ERROR", "message": "x"})).is_error);
        assert!(!read(json!({"error": null, "choices": []})).is_error);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            Completion::read(&data);
        }
    }
}
