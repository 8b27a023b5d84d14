//! One answer that is read event by event while it comes: measures it and checks that it came to
//! its proper end.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::engine::answer::capture::{Capture, MAX_REFUSAL, header_texts};
use crate::engine::attempt::Events;
use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::sample::{LlmSample, Part, StreamSample};
use crate::engine::protocol::http::coding::{Codings, Decoding};
use crate::engine::protocol::http::events::assembly::Assembly;
use crate::engine::protocol::http::events::completion::{Completion, Usage};
use crate::engine::protocol::http::events::{self, Event, TooLong, vendor};
use crate::engine::protocol::received::Received;
use crate::plan::{HttpStream, StreamFormat, StreamPreset, Until};

/// Longest time to wait for the end of a body after its last event; then the answer counts as
/// complete and the rest is abandoned. Most targets end the body at once, some never do.
const LINGER: Duration = Duration::from_millis(100);

/// Most characters of a `Content-Type` in a message.
const MAX_TYPE: usize = 64;

/// Reader of one answer that is a stream.
pub(crate) struct Streaming<'a> {
    stream: &'a HttpStream,
    step: u16,
    part: Part,
    state: RefCell<State>,
    /// Signal that the last event has come.
    marked: Notify,
    /// True if the exchange was abandoned after the last event.
    left: Cell<bool>,
    /// True if rules read the answer, which is put together for them.
    is_read: Cell<bool>,
}

struct State {
    events: events::Events,
    /// Decoder of the body, once its first part has come.
    decoding: Option<Decoding>,
    progress: Progress,
}

/// Measurements of the events so far.
#[derive(Default)]
struct Progress {
    /// Number of all events except the mark of the end.
    received: u64,
    /// Number of events that count: those with content if a language model answers, else all.
    count: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    /// Time of the first event that holds more than reasoning.
    first_answer: Option<Instant>,
    usage: Usage,
    /// True if a language model reported an error.
    reported_error: bool,
    /// First event that reported one, or its part that tells of it.
    error: Vec<u8>,
    /// Answer that is put together from the events, if rules read it.
    assembly: Option<Box<Assembly>>,
    /// Time of the event that the step regards as the last one.
    ended: Option<Instant>,
}

impl State {
    fn new(format: StreamFormat) -> Self {
        Self {
            events: events::Events::new(format),
            decoding: None,
            progress: Progress::default(),
        }
    }
}

impl<'a> Streaming<'a> {
    /// Creates the reader of the answers to a request of `step` in `part` of the run.
    pub(crate) fn new(stream: &'a HttpStream, step: u16, part: Part) -> Self {
        let state = RefCell::new(State::new(stream.format));
        Self {
            stream,
            step,
            part,
            state,
            marked: Notify::new(),
            left: Cell::new(false),
            is_read: Cell::new(false),
        }
    }

    /// Has the answer put together for rules to read, if it is that of a language model.
    pub(crate) fn assemble(&self) {
        self.is_read.set(true);
        self.reset();
    }

    /// Forgets the answer so far, because that of a retry or redirect follows.
    pub(crate) fn reset(&self) {
        let mut state = State::new(self.stream.format);
        let preset = self.stream.preset.filter(|_| self.is_read.get());
        state.progress.assembly = preset.map(|preset| Box::new(Assembly::new(preset)));
        self.state.replace(state);
    }

    /// Waits for the exchange, but after the last event only for [`LINGER`].
    pub(crate) async fn watch(
        &self,
        exchange: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let lingered = async {
            self.marked.notified().await;
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            outcome = exchange => outcome,
            () = lingered => {
                self.left.set(true);
                Ok(())
            }
        }
    }

    /// Reads the part of the body that came since the last call. Answers without a 2xx status are
    /// not streams and are skipped. Fails if an event is too long or the coding is wrong.
    pub(crate) fn read(&self, answer: &mut Received, sink: &dyn Events) -> Result<(), Failure> {
        let Received {
            status,
            capture: Capture { head, fresh, .. },
            ..
        } = answer;
        if fresh.is_empty() || !is_streamed(*status) {
            fresh.clear();
            return Ok(());
        }
        let now = Instant::now();
        let State {
            events,
            decoding,
            progress,
        } = &mut *self.state.borrow_mut();
        let decoding = match decoding {
            Some(decoding) => decoding,
            None => decoding.insert(Decoding::new(Codings::of(head)).map_err(Failure::Coding)?),
        };
        let mut overlong = Ok(());
        let decoded = decoding.feed(fresh, &mut |part| {
            overlong = events.feed(part, &mut |event| self.take(progress, event, now, sink));
            overlong.is_ok()
        });
        fresh.clear();
        overlong.map_err(|TooLong| Failure::LongEvent)?;
        decoded.map_err(Failure::Coding)
    }

    fn take(&self, progress: &mut Progress, event: Event<'_>, now: Instant, sink: &dyn Events) {
        // what comes after the last event is none of the stream's
        if progress.ended.is_some() {
            return;
        }
        let mark = self
            .stream
            .until
            .as_ref()
            .filter(|until| is_last(until, event));
        if mark.is_some() {
            progress.ended = Some(now);
            self.marked.notify_one();
        }
        if matches!(mark, Some(Until::Text(_))) {
            return;
        }
        progress.received += 1;
        let counts = match self.stream.preset {
            Some(preset) => progress.read_completion(preset, event, now),
            None => true,
        };
        let gap = if counts { progress.count(now) } else { None };
        sink.message_received(self.step, self.part, now, gap);
    }

    /// Returns the outcome of the stream, given that of the exchange. A stream whose last event
    /// came by `until` has succeeded; one without it, or with an error of the language model, has
    /// failed.
    pub(crate) fn conclude(
        &self,
        outcome: Result<(), Failure>,
        answer: &mut Received,
        sink: &dyn Events,
        until: Instant,
    ) -> Result<(), Failure> {
        let State {
            events, progress, ..
        } = &mut *self.state.borrow_mut();
        if outcome.is_ok() && is_streamed(answer.status) {
            let now = Instant::now();
            events.end(&mut |event| self.take(progress, event, now, sink));
        }
        answer.events = progress.received;
        answer.stream = is_streamed(answer.status).then_some(self.stream.format);
        if let Some(assembly) = progress
            .assembly
            .as_ref()
            .filter(|_| answer.stream.is_some())
        {
            let json = assembly.json(progress.usage);
            answer.capture.structured =
                json.map_or_else(Vec::new, |json| json.to_string().into_bytes());
        }
        match (
            progress.reported_error,
            progress.ended,
            outcome,
            &self.stream.until,
        ) {
            (true, ..) => Err(Failure::ToldInStream(std::mem::take(&mut progress.error))),
            (false, Some(ended), outcome, _) if ended <= until => {
                self.left.set(self.left.get() || outcome.is_err());
                Ok(())
            }
            (false, None, Ok(()), Some(until)) if is_streamed(answer.status) => {
                Err(Failure::Unfinished(self.unfinished(until, answer)))
            }
            (false, _, outcome, _) => outcome,
        }
    }

    /// Returns when the answer ended: at its last event if the rest was abandoned, else `now`.
    pub(crate) fn ended(&self, now: Instant) -> Instant {
        self.state
            .borrow()
            .progress
            .ended
            .filter(|_| self.left.get())
            .unwrap_or(now)
    }

    /// Returns the measurements of a stream, from `intended` on; those of a language model only if
    /// it said anything.
    pub(crate) fn sample(&self, intended: Instant) -> StreamSample {
        let progress = &self.state.borrow().progress;
        let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(intended));
        let began = progress.received > 0 || progress.ended.is_some();
        let llm = self
            .stream
            .preset
            .filter(|_| began)
            .map(|_| progress.llm(since(progress.first_answer)));
        StreamSample {
            first: since(progress.first),
            llm,
        }
    }

    fn unfinished(&self, until: &Until, answer: &Received) -> String {
        let wanted = match until {
            Until::Text(text) => format!("the event {text:?}"),
            Until::Event(name) => format!("an event called {name:?}"),
            Until::Types(types) => format!("an event of type {}", types.join(" or ")),
            Until::JsonPath(path) => format!("an event with {}", path.source()),
        };
        let kind = header_texts(&answer.capture.head, "content-type")
            .next()
            .unwrap_or_default();
        match self.stream.format {
            StreamFormat::Sse if !kind.starts_with("text/event-stream") => {
                format!(
                    "{wanted}; its Content-Type is {:?}",
                    kind.chars().take(MAX_TYPE).collect::<String>()
                )
            }
            StreamFormat::Sse | StreamFormat::Lines => wanted,
        }
    }
}

impl Progress {
    /// Counts an event and returns the time since the one before.
    fn count(&mut self, now: Instant) -> Option<Duration> {
        self.count += 1;
        self.first.get_or_insert(now);
        self.last
            .replace(now)
            .map(|last| now.saturating_duration_since(last))
    }

    /// Reads an event of a language model and returns whether it has content.
    fn read_completion(&mut self, preset: StreamPreset, event: Event<'_>, now: Instant) -> bool {
        let completion = match preset {
            StreamPreset::OpenAI => Completion::read(event.data),
            StreamPreset::OpenAIResponses => vendor::read_response(event),
            StreamPreset::AnthropicMessages => vendor::read_message(event),
        };
        if let Some(assembly) = &mut self.assembly {
            assembly.take(event);
        }
        self.usage.update(completion.usage);
        if completion.is_error && !self.reported_error {
            self.error = vendor::error_in(&event.data[..event.data.len().min(MAX_REFUSAL)]);
        }
        self.reported_error |= completion.is_error;
        if completion.has_answer {
            self.first_answer.get_or_insert(now);
        }
        completion.has_content()
    }

    fn llm(&self, first_answer: Option<Duration>) -> LlmSample {
        let Self {
            count,
            first,
            last,
            usage,
            ..
        } = self;
        let output_tokens = usage.output.unwrap_or(*count);
        let span = first
            .zip(*last)
            .map(|(first, last)| last.saturating_duration_since(first));
        // with one event there is nothing between its tokens
        let between = output_tokens
            .checked_sub(1)
            .filter(|between| *between > 0 && *count > 1);
        LlmSample {
            // else it is the first of all
            first_answer: first_answer.filter(|_| self.first_answer != *first),
            per_token: span
                .zip(between)
                .map(|(span, between)| span.div_f64(between as f64)),
            input_tokens: usage.input.unwrap_or(0),
            output_tokens,
            reasoning_tokens: usage.reasoning.unwrap_or(0),
            counted_by_usage: usage.output.is_some(),
        }
    }
}

fn is_streamed(status: u16) -> bool {
    (200..300).contains(&status)
}

fn is_last(until: &Until, event: Event<'_>) -> bool {
    match until {
        Until::Text(text) => event.data.trim_ascii() == text.as_bytes(),
        Until::Event(name) => event.name == name.as_bytes(),
        Until::Types(types) => serde_json::from_slice::<serde_json::Value>(event.data)
            .is_ok_and(|json| types.iter().any(|name| name == vendor::kind_of(event, &json))),
        Until::JsonPath(path) => serde_json::from_slice(event.data).is_ok_and(|json| {
            // an event that cannot be searched is not known to be the last
            matches!(path.first(&json), Ok(Some(node)) if !node.is_null() && *node != serde_json::Value::Bool(false))
        }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::engine::record::recorder::Recorder;

    /// Outcome of a stream that read its last event, when the exchange ran out of time and the
    /// time limit is that event's time and so much more, or less.
    fn concluded(limit: impl FnOnce(Instant) -> Instant) -> Result<(), Failure> {
        let stream = HttpStream {
            format: StreamFormat::Sse,
            preset: None,
            until: Some(Until::Text("[DONE]".into())),
        };
        let (queue, _deltas) = mpsc::channel(1);
        let boundary = Instant::now() + Duration::from_secs(3600);
        let recorder = RefCell::new(Recorder::new(0, 1, 0, boundary, None, queue));
        let mut answer = Received {
            status: 200,
            ..Received::default()
        };
        answer.capture.fresh = b"data: [DONE]\n\n".to_vec();
        let streaming = Streaming::new(&stream, 0, Part::Measured);
        streaming.read(&mut answer, &recorder).unwrap();
        let ended = streaming.state.borrow().progress.ended.unwrap();
        let late = Err(Failure::Timeout);
        streaming.conclude(late, &mut answer, &recorder, limit(ended))
    }

    #[test]
    fn a_stream_is_in_time_if_its_last_event_is() {
        assert!(concluded(|ended| ended).is_ok());
        let outcome = concluded(|ended| ended.checked_sub(Duration::from_nanos(1)).unwrap());
        assert!(matches!(outcome, Err(Failure::Timeout)), "{outcome:?}");
    }
}
