//! Measurements of one request, whatever its protocol.

use std::time::{Duration, Instant};

use crate::stats::ErrorClass;

/// Part of the run to which a sample belongs: that of the iteration it is made in, by when this
/// started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Counted in the results.
    Measured,
    /// Counted, and else left out of the results.
    Warmup,
    /// Setup, teardown, onStart, onStop and health checks that pass: as the warm-up, but why one
    /// failed is told.
    Control,
}

/// One finished request, with its retries and redirections.
pub(crate) struct Sample<'a> {
    /// Number of the step.
    pub(crate) step: u16,
    /// Part of the run.
    pub(crate) part: Part,
    /// Time of its end: decides the run second.
    pub(crate) ended: Instant,
    /// Time from its intended start to its end.
    pub(crate) latency: Duration,
    /// Time from its first byte to its end; unused for failures.
    pub(crate) service_time: Duration,
    /// Parts of that time; unused for failures.
    pub(crate) phases: Phases,
    /// The answer's status, 0 without an answer.
    pub(crate) status: u16,
    /// Status of gRPC, if one came with a whole answer.
    pub(crate) grpc_status: Option<u8>,
    /// Class of its failure.
    pub(crate) failure: Option<ErrorClass>,
    /// Wait that an answer of 429 or 503 asked for.
    pub(crate) retry_after: Option<Duration>,
    /// True if a byte of its last try was written; those before it are counted by
    /// [`Events::retried`](super::Events::retried).
    pub(crate) sent: bool,
    /// Bytes written, of all its messages.
    pub(crate) sent_bytes: u64,
    /// Bytes read, of all its answers.
    pub(crate) received_bytes: u64,
    /// Checks of the answer that passed.
    pub(crate) checks_passed: u32,
    /// Checks of the answer that failed.
    pub(crate) checks_failed: u32,
    /// Measurements of its stream; unused for failures. Messages are counted one by one, as they
    /// come.
    pub(crate) stream: Option<&'a StreamSample>,
    /// True if it met all limits of its step; `None` where that has none.
    pub(crate) good: Option<bool>,
}

impl Sample<'_> {
    /// Makes the sample of a request that ended before anything was sent.
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

/// A stream that came to its proper end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StreamSample {
    /// Intended time to the first message; of a language model's to the first event that bears
    /// content.
    pub(crate) first: Option<Duration>,
    /// Measurements of a language model's answer.
    pub(crate) llm: Option<LlmSample>,
}

/// Measurements of what a language model wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LlmSample {
    /// Intended time to the first text that is no reasoning, if reasoning came before it.
    pub(crate) first_answer: Option<Duration>,
    /// Mean time between two tokens, of an answer of several.
    pub(crate) per_token: Option<Duration>,
    /// Tokens that the model read.
    pub(crate) input_tokens: u64,
    /// Tokens that the model wrote.
    pub(crate) output_tokens: u64,
    /// Output tokens that are reasoning.
    pub(crate) reasoning_tokens: u64,
    /// The target counted the tokens; else each event with content is one.
    pub(crate) counted_by_usage: bool,
}

/// Parts of a request's time; `None` for what did not happen for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// Looking up the target's name, or finding it known; only of a request that had to connect,
    /// as are the next two.
    pub(crate) dns: Option<Duration>,
    /// Connecting, a proxy's tunnel included.
    pub(crate) connect: Option<Duration>,
    /// TLS handshake.
    pub(crate) tls: Option<Duration>,
    /// Time from the first byte written to the first byte of the answer.
    pub(crate) wait: Option<Duration>,
    /// Time from there to the last byte.
    pub(crate) download: Option<Duration>,
}
