//! Facts of answers, which checks, extracts and records name ([`Check::fact`] and its like).
//!
//! Each protocol says in [`AnswerKind`] which facts its answers have, and a test whose step can
//! never have the fact that it asks for is refused. The engine keeps of an answer only what the
//! facts of its rules need. A new fact is a variant here, a field of the engine's `Facts`, and an
//! entry at each protocol that has it.
//!
//! [`AnswerKind`]: super::protocol::AnswerKind
//! [`Check::fact`]: super::Check::fact

use super::cel::AnswerParts;

/// Something that an answer may have and a rule may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Status code of HTTP.
    Status,
    /// Status code of gRPC.
    GrpcStatus,
    /// Headers, including trailers.
    Headers,
    /// Cookies that the answer sets.
    Cookies,
    /// Headers after the messages of a call.
    Trailers,
    /// Body, or the last message as JSON.
    Body,
    /// Bytes of the body.
    Size,
    /// Time from the intended start of the request to the last byte of the answer.
    Latency,
    /// Number of messages received.
    Messages,
    /// Number of events received.
    Events,
}

impl Fact {
    /// Parts of an answer that must be kept for the fact to be read.
    pub fn answer_parts(self) -> AnswerParts {
        let (headers, body) = match self {
            Self::Headers | Self::Cookies | Self::Trailers => (true, false),
            Self::Body => (false, true),
            Self::Status
            | Self::GrpcStatus
            | Self::Size
            | Self::Latency
            | Self::Messages
            | Self::Events => (false, false),
        };
        AnswerParts { headers, body }
    }

    /// Advice for a test that asks for the fact where there is none, if there is a similar one.
    pub(super) fn instead(self) -> Option<&'static str> {
        match self {
            Self::Status => Some("a call by gRPC has grpcStatus"),
            _ => None,
        }
    }
}
