//! What is measured of one request, whatever its protocol.

use std::time::{Duration, Instant};

use crate::stats::ErrorClass;

/// To which part of the run a sample belongs: that of the iteration it is made in, by when this
/// started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Measured,
    /// Counted, and else left out of the results.
    Warmup,
    /// Setup, teardown, onStart, onStop and health checks that pass: as the warm-up, but why one
    /// failed is told.
    Control,
}

/// One finished request, with its retries and redirections.
pub(crate) struct Sample<'a> {
    pub(crate) step: u16,
    pub(crate) part: Part,
    /// When it ended: decides the run second.
    pub(crate) ended: Instant,
    /// From its intended time.
    pub(crate) latency: Duration,
    /// From its first byte; unused for failures.
    pub(crate) service_time: Duration,
    /// Unused for failures.
    pub(crate) phases: Phases,
    /// The answer's status, 0 without an answer.
    pub(crate) status: u16,
    /// Of gRPC, if one came with a whole answer.
    pub(crate) grpc_status: Option<u8>,
    pub(crate) failure: Option<ErrorClass>,
    /// What the answer of 429 or 503 asked for.
    pub(crate) retry_after: Option<Duration>,
    /// Whether a byte of its last attempt was written; those before it are told by
    /// [`Recorder::retried`].
    pub(crate) sent: bool,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// Checks made on the answer, by how they came out.
    pub(crate) checks_passed: u32,
    pub(crate) checks_failed: u32,
    /// What its stream came to; unused for failures. Messages are told one by one, as they come.
    pub(crate) stream: Option<&'a StreamSample>,
    /// Whether it met all limits of its step; `None` where that has none.
    pub(crate) good: Option<bool>,
}

impl Sample<'_> {
    /// Of a request that never was one: it ended before anything was sent.
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
    pub(crate) llm: Option<LlmSample>,
}

/// What a language model wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LlmSample {
    /// Intended time to the first text that is no reasoning, if reasoning came before it.
    pub(crate) first_answer: Option<Duration>,
    /// Of an answer of several tokens.
    pub(crate) per_token: Option<Duration>,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    /// Of those.
    pub(crate) reasoning_tokens: u64,
    /// The target counted the tokens; else each event with content is one.
    pub(crate) counted_by_usage: bool,
}

/// Where a request's time went. What did not happen for it is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// Looking up the target's name, or finding it known; only of a request that had to connect,
    /// as are the next two.
    pub(crate) dns: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) tls: Option<Duration>,
    /// From the first byte written to the first byte of the answer.
    pub(crate) wait: Option<Duration>,
    /// From there to the last byte.
    pub(crate) download: Option<Duration>,
}
