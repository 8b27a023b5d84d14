//! Request that was sent: judged by its step's rules, logged, and recorded.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::answer::{Facts, Judged};
use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::sample::{Sample, StreamSample};
use crate::engine::prepare::program::PreparedStep;
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::exchange::{Due, Exchange, Place, Statuses};
use crate::engine::protocol::http::cookies::Jar;
use crate::engine::record::redactor::{PART, UserRedactor};
use crate::engine::record::refusal;
use crate::engine::record::request_log::{FinishedRequest, Sampler};
use crate::engine::user::context::Context;
use crate::engine::user::frame::Frame;
use crate::plan::Goodput;
use crate::stats::ErrorClass;

/// Most characters of a check's message when the answer is quoted with it.
const MAX_WHY: usize = 120;

/// Reference to the latest answer of a user.
#[derive(Clone, Copy)]
pub(crate) struct Answered {
    route: usize,
    latency: Duration,
    /// True if the answer came to its end.
    whole: bool,
}

impl Answered {
    /// Returns the facts that conditions read; `None` without a whole answer.
    pub(crate) fn facts<'a>(
        &self,
        channels: &'a [Channel],
        body: &'a mut Vec<u8>,
    ) -> Option<Facts<'a>> {
        self.whole
            .then(|| channels[self.route].facts(self.latency, body))
    }
}

/// Times of a request.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// Intended start of the request.
    pub(super) intended: Instant,
    /// Time when the request began.
    pub(super) now: Instant,
    /// Time by which the request has to be over.
    pub(super) until: Instant,
}

impl Times {
    /// Returns the time before `until` from which on a request is taken to have run out of time: a
    /// server counts its deadline by its own clock.
    fn slack(&self) -> Duration {
        (self.until.saturating_duration_since(self.intended) / 20).min(Duration::from_millis(10))
    }
}

/// Request that was sent, whether or not its answer came in time.
pub(super) struct Sent<'a, E> {
    /// State that users of the thread share.
    pub(super) context: &'a Context,
    /// Step of the request.
    pub(super) step: &'a PreparedStep,
    /// Position of the request in the plan and the run.
    pub(super) place: Place,
    /// Exchange as its protocol carried it out.
    pub(super) exchange: &'a mut E,
    /// Clock marks and bytes of the request.
    pub(super) attempt: &'a Attempt<'a>,
    /// Sampler to log the request with, if it was chosen.
    pub(super) sampler: Option<&'a Sampler>,
    /// Cookies of the user.
    pub(super) jar: &'a Jar,
    /// Intended start and time limit of the request.
    pub(super) times: Times,
}

/// Judgement of a request.
struct Verdict {
    outcome: Result<(), Failure>,
    judged: Judged,
    /// Class of the failure; `None` if the request succeeded.
    class: Option<ErrorClass>,
    /// Time when the request ended: at the last event of a stream if the rest was abandoned.
    ended: Instant,
    latency: Duration,
    stream: Option<StreamSample>,
}

impl<E: Exchange> Sent<'_, E> {
    /// Judges the request and records it. `in_time` is the result of sending; `None` if it had not
    /// returned by `now`. Returns the position of its answer, and the class of its failure.
    pub(super) fn record(
        mut self,
        in_time: Option<Result<(), Failure>>,
        now: Instant,
        channels: &mut [Channel],
        frame: &mut Frame,
    ) -> (Answered, Option<ErrorClass>) {
        let route = self.exchange.route();
        let channel = &mut channels[route];
        let verdict = self.conclude(in_time, now, channel, frame);
        let sample = self.sample(&verdict, channel);
        if let Some(sampler) = self.sampler {
            self.log(sampler, &sample, &verdict, channel, frame);
        }
        let mut recorder = self.context.recorder.borrow_mut();
        recorder.record(sample, || self.describe(&verdict, channel, frame));
        for (trend, value) in &verdict.judged.recorded {
            recorder.trend(*trend, *value, self.place.part);
        }
        drop(recorder);
        if !self.context.prepared.conditions_read_answers {
            channel.free_large_buffers();
        }
        let answered = Answered {
            route,
            latency: verdict.latency,
            whole: verdict.outcome.is_ok(),
        };
        (answered, verdict.class)
    }

    /// Concludes the exchange, judges the answer by the step's rules, and extracts values.
    fn conclude(
        &mut self,
        in_time: Option<Result<(), Failure>>,
        now: Instant,
        channel: &mut Channel,
        frame: &mut Frame,
    ) -> Verdict {
        let Self {
            step,
            exchange,
            attempt,
            times,
            ..
        } = self;
        let outcome = in_time.unwrap_or_else(|| Err(attempt.timed_out()));
        let due = Due {
            until: times.until,
            is_over: now + times.slack() >= times.until,
        };
        let outcome = exchange.conclude(outcome, channel, attempt, due);
        let ended = exchange.ended(now);
        let latency = ended.saturating_duration_since(times.intended);
        let refusal = E::refusal(channel);
        let judged = match outcome {
            Ok(()) => judge(step, channel, latency, frame, refusal),
            Err(_) => Judged::default(),
        };
        let judged = if exchange.is_cut_short() {
            Judged::default()
        } else {
            judged
        };
        let class = match (&outcome, &judged.failure) {
            (Err(failure), _) => Some(failure.class()),
            (Ok(()), Some((class, _))) => Some(*class),
            (Ok(()), None) => refusal.filter(|_| !step.rules.has_status_check()),
        };
        Verdict {
            outcome,
            judged,
            class,
            ended,
            latency,
            stream: exchange.stream(times.intended),
        }
    }

    fn sample<'b>(&self, verdict: &'b Verdict, channel: &Channel) -> Sample<'b> {
        let Verdict {
            outcome,
            judged,
            class,
            ended,
            latency,
            stream,
        } = verdict;
        let totals = self.attempt.finish(*ended, channel.answer.bytes);
        let statuses = match outcome {
            Ok(()) => E::statuses(channel),
            Err(failure) => Statuses {
                http: failure.status(),
                grpc: None,
            },
        };
        Sample {
            step: self.place.step,
            part: self.exchange.part(self.place.part, class.is_some()),
            ended: *ended,
            latency: *latency,
            service_time: ended.saturating_duration_since(totals.began),
            phases: totals.phases,
            status: statuses.http,
            grpc_status: statuses.grpc,
            failure: *class,
            retry_after: channel
                .answer
                .retry_after
                .filter(|_| class.is_some())
                .and_then(|after| after.wait(SystemTime::now())),
            sent: self.attempt.written() > 0,
            sent_bytes: totals.sent_bytes,
            received_bytes: totals.received_bytes,
            checks_passed: judged.checks_passed,
            checks_failed: judged.checks_failed,
            stream: stream.as_ref(),
            good: self
                .step
                .goodput
                .map(|limits| class.is_none() && is_good(&limits, *latency, stream.as_ref())),
        }
    }

    /// Hands the request over to the request log.
    fn log(
        &self,
        sampler: &Sampler,
        sample: &Sample<'_>,
        verdict: &Verdict,
        channel: &Channel,
        frame: &Frame,
    ) {
        let mut decoded = Vec::new();
        let (sent, sent_size) = self.exchange.logged();
        sampler.take(FinishedRequest {
            step: sample.step,
            user: frame.user,
            iteration: frame.iteration,
            part: sample.part,
            ended: sample.ended,
            latency: sample.latency,
            service_time: sample.service_time,
            failure: verdict
                .class
                .map(|class| (class, self.describe(verdict, channel, frame))),
            sent: &sent,
            sent_size,
            answer: match verdict.outcome {
                Ok(()) => Some(channel.facts(verdict.latency, &mut decoded)),
                Err(_) => None,
            },
            secrets: self.secrets(frame),
        });
    }

    /// Returns the secrets of the user: what it extracted, and its cookies.
    fn secrets(&self, frame: &Frame) -> Vec<String> {
        let mut secrets = frame.secrets(&self.step.secrets);
        let cookies = self.jar.values().filter(|value| value.len() >= PART);
        secrets.extend(cookies.map(Cow::into_owned));
        secrets
    }

    /// Returns a message that says why the request failed.
    fn describe(&self, verdict: &Verdict, channel: &Channel, frame: &Frame) -> String {
        let why = verdict.judged.failure.as_ref();
        let own = self.secrets(frame);
        describe::<E>(
            &verdict.outcome,
            why.map(|(_, why)| why.as_str()),
            channel,
            (
                &self.context.prepared.redactor.with(&own),
                self.exchange.message(),
                self.context.quotes_answers,
            ),
        )
    }
}

/// Judges an answer by the step's rules, and extracts values.
fn judge(
    step: &PreparedStep,
    channel: &Channel,
    latency: Duration,
    frame: &mut Frame,
    refusal: Option<ErrorClass>,
) -> Judged {
    if step.rules.is_empty() || refusal.is_some() && !step.rules.has_status_check() {
        return Judged::default();
    }
    let mut decoded = Vec::new();
    step.rules
        .judge(&channel.facts(latency, &mut decoded), frame)
}

/// Returns whether a request that succeeded met the limits of its step.
fn is_good(limits: &Goodput, latency: Duration, stream: Option<&StreamSample>) -> bool {
    let per_token = stream
        .and_then(|stream| stream.llm)
        .and_then(|llm| llm.per_token);
    limits.is_met(latency, stream.and_then(|stream| stream.first), per_token)
}

/// Returns a message that says why `request` failed. `judged` is the message of a check or an
/// extract. If that alone made the answer a failure, the answer is quoted only if `quotes_answers`.
pub(crate) fn describe<E: Exchange>(
    outcome: &Result<(), Failure>,
    judged: Option<&str>,
    channel: &Channel,
    (redactor, request, quotes_answers): (&UserRedactor<'_>, &[u8], bool),
) -> String {
    let redact = |text: &[u8]| redactor.text_about(request, text);
    if let Err(failure) = outcome {
        let words = match failure {
            Failure::ToldInStream(event) => refusal::first_line(event, redact),
            _ => None,
        };
        return match words {
            Some(words) => format!("{failure}: {words}"),
            None => failure.to_string(),
        };
    }
    let is_refusal = E::refusal(channel).is_some();
    let line = match judged.map(|why| redactor.message(why)) {
        Some(why) if is_refusal => why,
        Some(why) if quotes_answers => {
            let line = E::status_line(channel);
            format!("{}; the answer: {line}", shortened(why))
        }
        Some(why) => return why,
        None => E::status_line(channel),
    };
    let words = if is_refusal {
        E::reason(channel, redact)
    } else {
        let mut decoded = Vec::new();
        let Facts { body, .. } = channel.facts(Duration::ZERO, &mut decoded);
        refusal::first_line(body, redact)
    };
    match words {
        Some(words) => format!("{line}: {words}"),
        None => line,
    }
}

/// Shortens a message to leave room for the answer beside it.
fn shortened(why: String) -> String {
    match why.char_indices().nth(MAX_WHY) {
        Some((end, _)) => format!("{}…", &why[..end]),
        None => why,
    }
}
