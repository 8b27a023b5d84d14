//! Facts of answers: the one table of what the answers of each protocol have.
//!
//! Checks, extracts and records name the fact that they read ([`Check::fact`] and its like). A test
//! whose step can never have that fact is refused; the engine keeps of an answer only what the
//! facts of its rules need. A new fact is a variant with its row here, and a field of the engine's
//! `Facts`; a new protocol is an [`AnswerKind`] in the rows of the facts that it has.
//!
//! [`Check::fact`]: super::Check::fact

use super::cel::AnswerParts;

/// Kind of a step's answers, which decides the facts that they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// Response of an HTTP request.
    Http,
    /// Response of an HTTP request that is read event by event.
    HttpStream,
    /// Outcome of a gRPC call.
    Grpc,
}

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

/// Row of the table.
struct Row {
    /// Kinds of answers that have the fact.
    of: &'static [AnswerKind],
    /// Part of an answer that must be kept for the fact to be read.
    parts: AnswerParts,
    /// Advice for a test that asks other answers for the fact.
    instead: Option<&'static str>,
}

const HTTP: &[AnswerKind] = &[AnswerKind::Http, AnswerKind::HttpStream];
const STREAM: &[AnswerKind] = &[AnswerKind::HttpStream];
const GRPC: &[AnswerKind] = &[AnswerKind::Grpc];
const ALL: &[AnswerKind] = &[AnswerKind::Http, AnswerKind::HttpStream, AnswerKind::Grpc];

const NOTHING: AnswerParts = AnswerParts {
    headers: false,
    body: false,
};
const HEAD: AnswerParts = AnswerParts {
    headers: true,
    body: false,
};
const BODY: AnswerParts = AnswerParts {
    headers: false,
    body: true,
};

impl Fact {
    /// Row of the table for the fact.
    const fn row(self) -> Row {
        match self {
            Self::Status => row(HTTP, NOTHING).instead("a call by gRPC has grpcStatus"),
            Self::GrpcStatus => row(GRPC, NOTHING),
            Self::Headers => row(ALL, HEAD),
            Self::Cookies => row(HTTP, HEAD),
            Self::Trailers => row(GRPC, HEAD),
            Self::Body => row(ALL, BODY),
            Self::Size => row(ALL, NOTHING),
            Self::Latency => row(ALL, NOTHING),
            Self::Messages => row(GRPC, NOTHING),
            Self::Events => row(STREAM, NOTHING),
        }
    }

    /// Parts of an answer that must be kept for the fact to be read.
    pub fn answer_parts(self) -> AnswerParts {
        self.row().parts
    }

    /// Fails, with the reason, for a kind of answer that never has the fact.
    pub fn check(self, kind: AnswerKind) -> Result<(), String> {
        let Row { of, instead, .. } = self.row();
        if of.contains(&kind) {
            return Ok(());
        }
        let fields: Vec<&str> = match of {
            // streams are a way to read answers over HTTP
            [AnswerKind::Http, AnswerKind::HttpStream, others @ ..] => [AnswerKind::Http]
                .iter()
                .chain(others)
                .map(|kind| kind.field())
                .collect(),
            kinds => kinds.iter().map(|kind| kind.field()).collect(),
        };
        let only = format!("goes with {} only", fields.join(" and "));
        Err(match instead {
            Some(instead) => format!("{only}; {instead}"),
            None => only,
        })
    }
}

const fn row(of: &'static [AnswerKind], parts: AnswerParts) -> Row {
    Row {
        of,
        parts,
        instead: None,
    }
}

impl Row {
    const fn instead(self, advice: &'static str) -> Self {
        Self {
            instead: Some(advice),
            ..self
        }
    }
}

impl AnswerKind {
    /// Field of a step that makes its answers of this kind.
    fn field(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpStream => "http.stream",
            Self::Grpc => "grpc",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_that_a_kind_of_answer_never_has_is_refused_with_who_has_it() {
        let refused = |fact: Fact, kind| fact.check(kind).unwrap_err();
        assert_eq!(
            refused(Fact::Trailers, AnswerKind::Http),
            "goes with grpc only"
        );
        assert_eq!(
            refused(Fact::Events, AnswerKind::Http),
            "goes with http.stream only"
        );
        assert_eq!(
            refused(Fact::Cookies, AnswerKind::Grpc),
            "goes with http only"
        );
        assert_eq!(
            refused(Fact::Status, AnswerKind::Grpc),
            "goes with http only; a call by gRPC has grpcStatus"
        );
        for kind in ALL {
            assert_eq!(Fact::Body.check(*kind), Ok(()));
        }
    }
}
