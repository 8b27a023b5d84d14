//! Protocols that a step can speak: what each sends, and the facts that its answers have.

pub mod grpc;
pub(super) mod http;

use serde::{Deserialize, Serialize};

use super::facts::Fact;
use super::stream::{HttpStream, StreamKind};
use grpc::GrpcStep;
use http::HttpStep;

/// A request in terms of its protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/2.
    Http(HttpStep),
    /// gRPC over HTTP/2.
    Grpc(GrpcStep),
}

impl Protocol {
    /// Kind of messages that the answer consists of; `None` where there is only one.
    pub fn stream_kind(&self) -> Option<StreamKind> {
        match self {
            Self::Http(http) => http.stream.as_ref().map(HttpStream::kind),
            // only the method's descriptor tells whether there are several
            Self::Grpc(_) => Some(StreamKind::Messages),
        }
    }
}

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

impl AnswerKind {
    /// Every kind, in the order in which messages name them.
    const ALL: [Self; 3] = [Self::Http, Self::HttpStream, Self::Grpc];

    /// Field of a step that makes its answers of this kind.
    fn field(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpStream => "http.stream",
            Self::Grpc => "grpc",
        }
    }

    /// Facts that answers of this kind have.
    fn facts(self) -> &'static [Fact] {
        use Fact::*;
        match self {
            Self::Http => &[Status, Headers, Cookies, Body, Size, Latency],
            Self::HttpStream => &[Status, Headers, Cookies, Body, Size, Latency, Events],
            Self::Grpc => &[GrpcStatus, Headers, Trailers, Body, Size, Latency, Messages],
        }
    }

    /// Fails, with the reason, if answers of this kind never have `fact`.
    pub fn check(self, fact: Fact) -> Result<(), String> {
        if self.facts().contains(&fact) {
            return Ok(());
        }
        let having = |kind: &Self| kind.facts().contains(&fact);
        let fields: Vec<&str> = Self::ALL
            .into_iter()
            .filter(having)
            // streams are a way to read answers over HTTP
            .filter(|kind| *kind != Self::HttpStream || !having(&Self::Http))
            .map(Self::field)
            .collect();
        let only = format!("goes with {} only", fields.join(" and "));
        Err(match fact.instead() {
            Some(instead) => format!("{only}; {instead}"),
            None => only,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_that_a_kind_of_answer_never_has_is_refused_with_who_has_it() {
        let refused = |fact: Fact, kind: AnswerKind| kind.check(fact).unwrap_err();
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
        for kind in AnswerKind::ALL {
            assert_eq!(kind.check(Fact::Body), Ok(()));
        }
    }
}
