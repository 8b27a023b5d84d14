//! What can be wrong with an answer before its status is known.

use crate::engine::attempt::failure::Failure;
use crate::plan::grpc::Code;
use crate::stats::ErrorClass;

/// Fault of an answer that breaks the rules of gRPC, or never was one of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("HTTP status {0} instead of an answer of gRPC")]
    HttpStatus(u16),
    #[error("the answer is not gRPC: its content-type is {0:?}")]
    ContentType(String),
    #[error("the answer ended without a grpc-status")]
    NoStatus,
    #[error("the answer's grpc-status is {0:?}, which is no code")]
    BadStatus(String),
    #[error("a message of {length} bytes is larger than maxMessageSize allows ({most})")]
    TooLarge { length: u64, most: u32 },
    #[error("the answer's last message is cut short")]
    Truncated,
    #[error("a message begins with {0}, where only 0 and 1 have a meaning")]
    Flag(u8),
    #[error("a message is compressed, and grpc-encoding does not say how")]
    NoEncoding,
    #[error("messages are compressed by {0:?}, which was not offered")]
    Encoding(String),
    #[error("a message is not what gzip makes: {0}")]
    NotGzip(String),
    #[error("the status is OK, but no message came")]
    NoMessage,
    #[error("several messages answer a call that has one answer")]
    Several,
    #[error("the message is not of its type: {0}")]
    Undecodable(String),
    #[error("the target's health is {0}")]
    NotServing(&'static str),
}

impl Fault {
    /// Class under which it is counted.
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

/// Returns the status that clients of gRPC make of one of HTTP;
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
