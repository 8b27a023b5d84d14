//! Measurements of one request, whatever its protocol.

use std::time::{Duration, Instant};

use crate::stats::ErrorClass;

/// Part of the run to which a sample belongs: the part in which its iteration started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Counted in the results.
    Measured,
    /// Counted, but left out of the results.
    Warmup,
    /// Setup, teardown, `onStart`, `onStop` and passing health checks: left out of the results like
    /// the warm-up, except that failures are reported.
    Control,
}

/// One finished request, with its retries and redirections.
pub(crate) struct Sample<'a> {
    /// Number of the step.
    pub(crate) step: u16,
    /// Part of the run.
    pub(crate) part: Part,
    /// Time when the request ended, which decides its run second.
    pub(crate) ended: Instant,
    /// Time from the intended start of the request to its end.
    pub(crate) latency: Duration,
    /// Time from the first byte sent to the end; unused for failures.
    pub(crate) service_time: Duration,
    /// Phases of the service time; unused for failures.
    pub(crate) phases: Phases,
    /// Status of the answer; 0 without an answer.
    pub(crate) status: u16,
    /// gRPC status, if one came with a whole answer.
    pub(crate) grpc_status: Option<u8>,
    /// Class of the failure; `None` if the request succeeded.
    pub(crate) failure: Option<ErrorClass>,
    /// Wait that an answer of 429 or 503 asked for.
    pub(crate) retry_after: Option<Duration>,
    /// True if a byte of the last attempt was written; earlier attempts are counted by
    /// [`Events::retried`](super::Events::retried).
    pub(crate) sent: bool,
    /// Bytes written, over all messages of the request.
    pub(crate) sent_bytes: u64,
    /// Bytes read, over all answers.
    pub(crate) received_bytes: u64,
    /// Checks of the answer that passed.
    pub(crate) checks_passed: u32,
    /// Checks of the answer that failed.
    pub(crate) checks_failed: u32,
    /// Measurements of a stream; unused for failures. Messages are counted one by one as they come.
    pub(crate) stream: Option<&'a StreamSample>,
    /// True if the request met all limits of its step; `None` if the step has none.
    pub(crate) good: Option<bool>,
}

impl Sample<'_> {
    /// Creates the sample of a request that failed before anything was sent.
    pub(crate) fn unsent(
        step: u16,
        part: Part,
        (intended, ended): (Instant, Instant),
        class: ErrorClass,
    ) -> Self {
        Self {
            step,
            part,
            ended,
            latency: ended.saturating_duration_since(intended),
            service_time: Duration::ZERO,
            phases: Phases::default(),
            status: 0,
            grpc_status: None,
            failure: Some(class),
            retry_after: None,
            sent: false,
            sent_bytes: 0,
            received_bytes: 0,
            checks_passed: 0,
            checks_failed: 0,
            stream: None,
            good: None,
        }
    }
}

/// Measurements of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StreamSample {
    /// Time from the intended start to the first message, or to the first event with content if a
    /// language model answers.
    pub(crate) first: Option<Duration>,
    /// Measurements of a language model's answer.
    pub(crate) llm: Option<LlmSample>,
}

/// Measurements of a language model's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LlmSample {
    /// Time from the intended start to the first text that is not reasoning, if reasoning came
    /// before it.
    pub(crate) first_answer: Option<Duration>,
    /// Mean time between two tokens; `None` with fewer than two events or tokens.
    pub(crate) per_token: Option<Duration>,
    /// Number of tokens in the prompt.
    pub(crate) input_tokens: u64,
    /// Number of tokens in the answer.
    pub(crate) output_tokens: u64,
    /// Number of output tokens that are reasoning.
    pub(crate) reasoning_tokens: u64,
    /// True if the target counted the tokens; otherwise each event with content counts as one.
    pub(crate) counted_by_usage: bool,
}

/// Phases of a request; `None` for a phase that did not occur.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// Time to resolve the target's name or find it in the cache. Like the next two, it is set only
    /// if the request opened a connection.
    pub(crate) dns: Option<Duration>,
    /// Time to connect, including a proxy's tunnel.
    pub(crate) connect: Option<Duration>,
    /// Time of the TLS handshake.
    pub(crate) tls: Option<Duration>,
    /// Time from the first byte written to the first byte of the answer.
    pub(crate) wait: Option<Duration>,
    /// Time from the first to the last byte of the answer.
    pub(crate) download: Option<Duration>,
}
