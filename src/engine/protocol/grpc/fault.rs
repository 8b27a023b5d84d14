//! Faults of an answer that show before its gRPC status is known.

use crate::engine::attempt::failure::Failure;
use crate::plan::grpc::Code;
use crate::stats::ErrorClass;

/// Fault of an answer that breaks the rules of gRPC or is not gRPC at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Answer with this HTTP status instead of an answer of gRPC.
    #[error("HTTP status {0} instead of an answer of gRPC")]
    HttpStatus(u16),
    /// Answer whose `content-type`, given here, is not that of gRPC.
    #[error("the answer is not gRPC: its content-type is {0:?}")]
    ContentType(String),
    /// Answer that ended without a `grpc-status`.
    #[error("the answer ended without a grpc-status")]
    NoStatus,
    /// Answer whose `grpc-status`, given here, is not a status code.
    #[error("the answer's grpc-status is {0:?}, which is no code")]
    BadStatus(String),
    /// Message of `length` bytes, more than the `most` that `maxMessageSize` allows.
    #[error("a message of {length} bytes is larger than maxMessageSize allows ({most})")]
    TooLarge { length: u64, most: u32 },
    /// Answer that ended within a message.
    #[error("the answer's last message is cut short")]
    Truncated,
    /// Message whose first byte, given here, is neither 0 nor 1.
    #[error("a message begins with {0}, where only 0 and 1 have a meaning")]
    Flag(u8),
    /// Compressed message in an answer whose `grpc-encoding` names no compression.
    #[error("a message is compressed, and grpc-encoding does not say how")]
    NoEncoding,
    /// Compression, named here, that the request did not offer.
    #[error("messages are compressed by {0:?}, which was not offered")]
    Encoding(String),
    /// Compressed message that is not valid gzip, with the decoder's error.
    #[error("a message is not what gzip makes: {0}")]
    NotGzip(String),
    /// Answer with status OK but no message, to a call that has one.
    #[error("the status is OK, but no message came")]
    NoMessage,
    /// Answer with several messages to a call that has one.
    #[error("several messages answer a call that has one answer")]
    Several,
    /// Message that cannot be decoded as its type, with the decoder's error.
    #[error("the message is not of its type: {0}")]
    Undecodable(String),
    /// Answer of a health check with a status other than `SERVING`.
    #[error("the target's health is {0}")]
    NotServing(&'static str),
}

impl Fault {
    /// Returns the class under which the fault is counted.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::HttpStatus(status) if *status >= 400 => ErrorClass::of_status(*status),
            Self::NotServing(_) => ErrorClass::Unavailable,
            _ => ErrorClass::Protocol,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Malformed {
            why: fault.to_string(),
            class: fault.class(),
            status: match fault {
                Fault::HttpStatus(status) => status,
                _ => 0,
            },
        }
    }
}

/// Maps an HTTP status to the gRPC status that clients make of it; see
/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>.
pub(super) fn code_of_http(status: u16) -> Code {
    match status {
        400 => Code::INTERNAL,
        401 => Code::UNAUTHENTICATED,
        403 => Code::PERMISSION_DENIED,
        404 => Code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => Code::UNAVAILABLE,
        _ => Code::UNKNOWN,
    }
}
