//! Streams of events, and the limits of a good request.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use super::Context;
use crate::crd::spec::*;
use crate::plan::*;

/// The data of the event that ends a language model's stream.
const DONE: &str = "[DONE]";

impl Context<'_> {
    /// Checks `http.stream` of the request at `path`, which has this method and JSON body.
    pub(super) fn http_stream(
        &mut self,
        path: &str,
        method: &str,
        json: Option<&Value>,
        stream: &HttpStreamSpec,
    ) -> Option<HttpStream> {
        let HttpStreamSpec {
            format,
            preset,
            until,
        } = stream;
        if let (Some(preset), Some(json)) = (preset, json) {
            self.asks_for_stream(&format!("{path}.json"), json, *preset);
        }
        let path = format!("{path}.stream");
        if method == "HEAD" {
            self.problems.add(&path, "an answer to HEAD has no body");
        }
        if preset.is_some() && *format != StreamFormat::Sse {
            self.problems.add(
                format!("{path}.format"),
                "must be SSE: a language model's events are server-sent events",
            );
        }
        let until = match (until, preset) {
            (Some(until), _) => Some(self.until(&format!("{path}.until"), *format, until)?),
            (None, Some(preset)) => Some(end_of(*preset)),
            (None, None) => None,
        };
        Some(HttpStream {
            format: *format,
            preset: *preset,
            until,
        })
    }

    /// Checks that each of a step's `checks`, which are at `path`, can pass.
    pub(super) fn can_match(&mut self, path: &str, step: &StepSpec, checks: &[Check]) {
        // what a target says beside a failure has any form
        let of_status = |check: &Check| matches!(check, Check::Status(_));
        let Some(http) = step.http.as_ref().filter(|_| !checks.iter().any(of_status)) else {
            return;
        };
        for (i, check) in checks.iter().enumerate() {
            let why = match (check, &http.stream) {
                (Check::JsonPath { path, .. }, Some(stream)) => no_such_part(path, stream),
                (Check::JsonPath { .. }, None) if http.method == "HEAD" => {
                    Some("never passes: an answer to HEAD has no body".to_owned())
                }
                (Check::Cel(cel), None) if cel.reads_events() => {
                    Some("never passes: rawEvents goes with http.stream only".to_owned())
                }
                _ => None,
            };
            if let Some(why) = why {
                self.problems.add(format!("{path}[{i}]"), why);
            }
        }
    }

    /// Checks that a body asks for the stream that a preset reads, where it could not be made to:
    /// by its author's own word, or as text that is sent as written.
    fn asks_for_stream(&mut self, path: &str, json: &Value, preset: StreamPreset) {
        if json["stream"] == Value::Bool(false) {
            self.problems.add(
                path,
                "asks for no stream, by stream: false, and http.stream.preset reads one",
            );
        } else if json.is_object() && json.get("stream").is_none() {
            self.problems.add(
                path,
                "asks for no stream, and text is sent as written; add \"stream\": true, which http.stream.preset reads",
            );
        } else if preset == StreamPreset::OpenAI
            && json.is_object()
            && json["stream_options"].get("include_usage").is_none()
        {
            self.problems.warn(
                path,
                "asks for no usage, and text is sent as written: tokens are counted by events; add \"stream_options\": {\"include_usage\": true}",
            );
        }
    }

    fn until(&mut self, path: &str, format: StreamFormat, until: &UntilSpec) -> Option<Until> {
        let UntilSpec {
            text,
            event,
            json_path,
        } = until;
        match (text, event, json_path) {
            (Some(text), None, None) => Some(Until::Text(text.clone())),
            (None, Some(_), None) if format == StreamFormat::Lines => {
                self.problems.add(
                    format!("{path}.event"),
                    "lines have no names; use text or jsonPath",
                );
                None
            }
            (None, Some(event), None) => Some(Until::Event(event.clone())),
            (None, None, Some(source)) => self
                .json_path(&format!("{path}.jsonPath"), source)
                .map(Until::JsonPath),
            _ => {
                self.problems
                    .add(path, "exactly one of text, event and jsonPath");
                None
            }
        }
    }

    /// Checks the limits of a good request of this `call`.
    pub(super) fn goodput(&mut self, path: &str, limits: &GoodputSpec, call: &Protocol) -> Goodput {
        if matches!(
            call,
            Protocol::Grpc(GrpcStep {
                is_health_check: true,
                ..
            })
        ) {
            self.problems.add(
                path,
                "a health check is no request of the results, so none of them is a good one",
            );
        }
        let GoodputSpec {
            latency,
            first_event,
            first_message,
            ttft,
            tpot,
        } = limits;
        self.limits_are_measured(path, limits, call.stream_kind());
        if [latency, first_event, first_message, ttft, tpot]
            .into_iter()
            .all(Option::is_none)
        {
            self.problems.add(path, "at least one limit");
        }
        let mut limit = |field: &str, text: &Option<String>| -> Option<Duration> {
            text.as_ref().map(|text| {
                self.problems
                    .positive_duration(&format!("{path}.{field}"), text)
            })
        };
        Goodput {
            latency: limit("latency", latency),
            first: limit("firstEvent", first_event)
                .or(limit("firstMessage", first_message))
                .or(limit("ttft", ttft)),
            per_token: limit("tpot", tpot),
        }
    }

    /// Adds a mistake for each limit on what a request with answers of `kind` does not measure.
    fn limits_are_measured(&mut self, path: &str, limits: &GoodputSpec, kind: Option<StreamKind>) {
        let model = "streams of a language model: http.stream.preset";
        let events = "the events of a stream that is no language model's";
        let measured = [
            (
                "firstEvent",
                &limits.first_event,
                StreamKind::Events,
                events,
            ),
            (
                "firstMessage",
                &limits.first_message,
                StreamKind::Messages,
                "gRPC streams",
            ),
            ("ttft", &limits.ttft, StreamKind::Completion, model),
            ("tpot", &limits.tpot, StreamKind::Completion, model),
        ];
        for (field, limit, needed, of) in measured {
            if limit.is_some() && kind != Some(needed) {
                self.problems.add(
                    format!("{path}.{field}"),
                    format!("is measured only of {of}"),
                );
            }
        }
    }
}

/// Parts of a language model's answer as it is put together.
const ASSEMBLED: [&str; 7] = [
    "text",
    "reasoning",
    "toolCalls",
    "finishReason",
    "usage",
    "message",
    "refusal",
];

/// Says why a JSONPath finds nothing in the answers that a stream gives; `None` if it may find
/// something.
fn no_such_part(path: &JsonPath, stream: &HttpStreamSpec) -> Option<String> {
    if stream.preset.is_none() {
        let is_of_events = stream.format == StreamFormat::Sse && stream.until.is_some();
        return is_of_events.then(|| {
            "never passes: the body is a stream of events, not JSON; a cel check reads rawEvents"
                .to_owned()
        });
    }
    let name = first_name(path.source())?;
    (!ASSEMBLED.contains(&name)).then(|| {
        format!(
            "never passes: with http.stream.preset the answer is put together, and has {}; a cel check reads rawEvents",
            ASSEMBLED.join(", ")
        )
    })
}

/// Returns the field that a JSONPath begins with, if it begins with one alone.
fn first_name(source: &str) -> Option<&str> {
    let rest = source.trim().strip_prefix('$')?;
    if let Some(rest) = rest.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        return Some(&rest[..end]).filter(|name| !name.is_empty() && *name != "*");
    }
    let rest = rest.strip_prefix('[')?;
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (name, after) = rest[1..].split_once(quote)?;
    after.starts_with(']').then_some(name)
}

/// Returns the mark of the last event of a preset.
fn end_of(preset: StreamPreset) -> Until {
    let types =
        |names: &[&str]| Until::Types(names.iter().map(|name| (*name).to_owned()).collect());
    match preset {
        StreamPreset::OpenAI => Until::Text(DONE.to_owned()),
        StreamPreset::OpenAIResponses => types(&["response.completed", "response.incomplete"]),
        StreamPreset::AnthropicMessages => types(&["message_stop"]),
    }
}

/// Returns the body with what a preset asks of the target added, unless the body says it itself.
pub(super) fn asking<'a>(
    json: &'a Option<Value>,
    stream: Option<&HttpStreamSpec>,
) -> Cow<'a, Option<Value>> {
    let (Some(Value::Object(body)), Some(preset)) = (json, stream.and_then(|stream| stream.preset))
    else {
        return Cow::Borrowed(json);
    };
    let mut body = body.clone();
    body.entry("stream").or_insert(json!(true));
    if preset == StreamPreset::OpenAI
        && let Value::Object(options) = body.entry("stream_options").or_insert(json!({}))
    {
        options.entry("include_usage").or_insert(json!(true));
    }
    Cow::Owned(Some(Value::Object(body)))
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    fn step(step: Value, thresholds: Value) -> Result<Plan, Vec<(String, String)>> {
        let spec = json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [step]}]}],
            "load": {"closed": {"users": 1, "duration": "1m"}},
            "thresholds": thresholds,
        });
        let checked = check(&serde_json::from_value(spec).unwrap());
        checked
            .map(|checked| checked.plan)
            .map_err(|problems| problems.into_iter().map(|p| (p.path, p.message)).collect())
    }

    fn refused_at(http: Value, goodput: Value) -> Vec<String> {
        let found =
            step(json!({"http": http, "goodput": goodput}), json!([])).expect_err("was accepted");
        found
            .into_iter()
            .map(|(path, _)| path.replace("spec.scenarios[0].tasks[0].steps[0].", ""))
            .collect()
    }

    #[test]
    fn a_stream_that_cannot_be_is_refused() {
        let good = || json!({"latency": "1s"});
        let stream = |stream: Value| refused_at(json!({"path": "/", "stream": stream}), good());
        assert_eq!(stream(json!({"until": {}})), ["http.stream.until"]);
        assert_eq!(
            stream(json!({"until": {"text": "a", "event": "b"}})),
            ["http.stream.until"]
        );
        assert_eq!(
            stream(json!({"until": {"jsonPath": "no path"}})),
            ["http.stream.until.jsonPath"]
        );
        assert_eq!(
            stream(json!({"format": "Lines", "until": {"event": "b"}})),
            ["http.stream.until.event"]
        );
        assert_eq!(
            stream(json!({"format": "Lines", "preset": "OpenAI"})),
            ["http.stream.format"]
        );
        assert_eq!(
            refused_at(json!({"method": "HEAD", "path": "/", "stream": {}}), good()),
            ["http.stream"]
        );
        let unasked =
            json!({"path": "/", "json": {"stream": false}, "stream": {"preset": "OpenAI"}});
        assert_eq!(refused_at(unasked, good()), ["http.json"]);
    }

    #[test]
    fn limits_on_what_is_not_measured_are_refused() {
        let plain = || json!({"path": "/"});
        let events = || json!({"path": "/", "stream": {}});
        let chat = || json!({"path": "/", "stream": {"preset": "OpenAI"}});
        assert_eq!(refused_at(plain(), json!({})), ["goodput"]);
        assert_eq!(
            refused_at(plain(), json!({"latency": "0s"})),
            ["goodput.latency"]
        );
        assert_eq!(
            refused_at(plain(), json!({"ttft": "1s", "tpot": "1s"})),
            ["goodput.ttft", "goodput.tpot"]
        );
        assert_eq!(
            refused_at(events(), json!({"ttft": "1s"})),
            ["goodput.ttft"]
        );
        assert_eq!(
            refused_at(chat(), json!({"firstEvent": "1s", "firstMessage": "1s"})),
            ["goodput.firstEvent", "goodput.firstMessage"]
        );
        let found = step(
            json!({"pause": {"constant": "1s"}, "goodput": {"latency": "1s"}}),
            json!([]),
        )
        .unwrap_err();
        assert_eq!(found[0].0, "spec.scenarios[0].tasks[0].steps[0].goodput");
    }

    #[test]
    fn events_are_counted_only_of_streams_and_within_bounds() {
        let check =
            |http: Value, checks: Value| step(json!({"http": http, "checks": checks}), json!([]));
        let plain = || json!({"path": "/"});
        let streamed = || json!({"path": "/", "stream": {}});
        let found = check(plain(), json!([{"events": {"atLeast": 1}}])).unwrap_err();
        assert!(
            found[0].0.ends_with("checks[0].events") && found[0].1 == "goes with http.stream only",
            "{found:?}"
        );
        for wrong in [json!({}), json!({"atLeast": 3, "atMost": 2})] {
            let found = check(streamed(), json!([{"events": wrong}])).unwrap_err();
            assert!(
                found[0].0.ends_with("checks[0].events")
                    && found[0].1.contains("room between them"),
                "{found:?}"
            );
        }
        let found = check(
            streamed(),
            json!([{"events": {"atLeast": 1}, "status": [200]}]),
        )
        .unwrap_err();
        assert!(found[0].0.ends_with("checks[0]"), "{found:?}");
        let plan = check(streamed(), json!([{"events": {"atLeast": 2, "atMost": 4}}])).unwrap();
        let checks = &plan.steps().next().unwrap().step.checks;
        assert_eq!(
            checks,
            &[Check::Events {
                at_least: Some(2),
                at_most: Some(4)
            }]
        );
        assert_eq!(checks[0].to_string(), "events at least 2 at most 4");
    }

    #[test]
    fn checks_that_can_never_pass_are_refused() {
        let refused = |http: Value, check: Value| {
            step(json!({"http": http, "checks": [check]}), json!([]))
                .err()
                .map(|found| found[0].1.clone())
        };
        let chat = || json!({"path": "/", "stream": {"preset": "OpenAI"}});
        let events = || json!({"path": "/", "stream": {"until": {"text": "x"}}});
        for (http, check) in [
            (chat(), json!({"jsonPath": "$.choices[0].delta.content"})),
            (chat(), json!({"jsonPath": "$['choices']"})),
            (events(), json!({"jsonPath": "$.a"})),
            (
                json!({"path": "/", "method": "HEAD"}),
                json!({"jsonPath": "$.a"}),
            ),
            (json!({"path": "/"}), json!({"cel": "rawEvents.size() > 0"})),
            (
                json!({"path": "/"}),
                json!({"jsonPath": "$.a", "above": 5, "below": 5}),
            ),
            (
                json!({"path": "/"}),
                json!({"jsonPath": "$.a", "minLength": 5, "maxLength": 4}),
            ),
        ] {
            let why = refused(http.clone(), check.clone()).unwrap_or_default();
            assert!(why.starts_with("never passes: "), "{http} {check}: {why}");
        }
        for (http, check) in [
            (chat(), json!({"jsonPath": "$.text"})),
            (chat(), json!({"jsonPath": "$..name"})),
            (chat(), json!({"cel": "rawEvents.size() > 0"})),
            (
                json!({"path": "/", "stream": {}}),
                json!({"jsonPath": "$.a"}),
            ),
            (
                json!({"path": "/"}),
                json!({"jsonPath": "$.a", "atLeast": 5, "atMost": 5}),
            ),
        ] {
            assert_eq!(refused(http, check.clone()), None, "{check}");
        }
        // beside a failure a target says what it likes
        let failing =
            json!({"http": chat(), "checks": [{"status": [400]}, {"jsonPath": "$.error"}]});
        assert!(step(failing, json!([])).is_ok());
    }

    #[test]
    fn thresholds_on_what_no_step_measures_are_refused() {
        let rule = |metric: &str, expr: &str, http: Value| {
            step(
                json!({"http": http}),
                json!([{"metric": metric, "expr": expr}]),
            )
            .err()
            .map(|found| found[0].1.clone())
        };
        let (plain, events, chat) = (
            json!({"path": "/"}),
            json!({"path": "/", "stream": {}}),
            json!({"path": "/", "stream": {"preset": "OpenAI"}}),
        );
        for (metric, expr, fits) in [
            ("firstEvent", "p(99) < 1s", &events),
            ("gap", "max < 1s", &events),
            ("ttft", "p(99) < 1s", &chat),
            ("itl", "avg < 1s", &chat),
        ] {
            let refused: Vec<_> = [&plain, &events, &chat]
                .into_iter()
                .filter(|http| rule(metric, expr, (*http).clone()).is_some())
                .collect();
            assert_eq!(refused.len(), 2, "{metric}");
            assert!(!refused.contains(&fits), "{metric}");
        }
        assert!(
            rule("goodputRatio", "rate > 90%", chat.clone())
                .unwrap()
                .contains("steps with goodput")
        );
        assert_eq!(rule("outputTokens", "perSecond > 10/s", chat), None);
    }

    #[test]
    fn a_plan_with_a_stream_travels_as_json() {
        let http =
            json!({"path": "/", "stream": {"format": "Lines", "until": {"jsonPath": "$.done"}}});
        let plan = step(
            json!({"http": http, "goodput": {"latency": "1s", "firstEvent": "20ms"}}),
            json!([]),
        )
        .unwrap();
        assert_eq!(
            serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(),
            plan
        );
        let Protocol::Http(http) = &plan.steps().next().unwrap().step.call else {
            panic!("it is HTTP")
        };
        assert_eq!(http.stream.as_ref().unwrap().kind(), StreamKind::Events);
    }
}
