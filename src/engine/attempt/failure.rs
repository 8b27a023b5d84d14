//! Reasons why a request got no whole answer: data that is counted, not an error that ends
//! anything.

use std::io;

use crate::stats::ErrorClass;

/// Reason why there is no whole answer. Data, not an error: it is counted and the run goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Dns(String),
    #[error("connecting to {to}: {source}")]
    Connect { to: String, source: io::Error },
    #[error("proxy: {0}")]
    Proxy(String),
    #[error("TLS handshake with {to}: {source}")]
    Handshake { to: String, source: io::Error },
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("no whole answer within the step's timeout")]
    Timeout,
    #[error("no connection within the step's timeout")]
    TimeoutBeforeSent,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("the target closed the connection without an answer")]
    Unanswered,
    #[error("the target closed the connection within its answer")]
    Cut,
    #[error("the target closed a kept-alive connection while the request was on its way")]
    Stale,
    /// The target sent something that is no answer of its protocol.
    #[error("{why}")]
    Malformed {
        why: String,
        class: ErrorClass,
        /// Status of HTTP, where the answer came to no more than that; else 0.
        status: u16,
    },
    #[error("the target did not choose HTTP/2, which http.version asks for")]
    NotHttp2,
    #[error("the target does not speak HTTP/2, which gRPC needs: {0}")]
    NoCallsOverHttp2(String),
    #[error("HTTP/2: {0}")]
    Http2(String),
    #[error("HTTP/2: the target reset the stream: {0}")]
    StreamReset(h2::Reason),
    #[error("HTTP/2: the target refused the stream: {0}")]
    Refused(h2::Reason),
    #[error("HTTP/2: the target ended each new connection at once")]
    Gone,
    #[error("{0}")]
    Unfit(String),
    #[error("{0}")]
    NoCredentials(String),
    #[error("redirected to {0}, which is not the origin of any target of this test")]
    Redirect(String),
    #[error("redirected more often than followRedirects allows")]
    TooManyRedirects,
    #[error("the stream ended without {0}")]
    Unfinished(String),
    #[error("an event of the stream is longer than 1 MiB")]
    LongEvent,
    #[error("the stream is not of the Content-Encoding that it names")]
    Coding,
    #[error("the stream holds an event that tells of an error")]
    ToldInStream,
}

impl Failure {
    /// Status of HTTP, where the answer came to no more than that; else 0. A status whose body
    /// never came whole is not an answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Malformed { status, .. } => *status,
            _ => 0,
        }
    }

    /// Class under which the failure is counted.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Dns(_) => ErrorClass::Dns,
            Self::Connect { source, .. } if is_exhaustion(source) => ErrorClass::Exhausted,
            Self::Connect { .. } | Self::Proxy(_) => ErrorClass::Connect,
            Self::Handshake { .. } | Self::Tls(_) => ErrorClass::Tls,
            Self::Timeout | Self::TimeoutBeforeSent => ErrorClass::Timeout,
            Self::Broken(_)
            | Self::Unanswered
            | Self::Cut
            | Self::StreamReset(_)
            | Self::Refused(_)
            | Self::Gone => ErrorClass::Reset,
            Self::Stale => ErrorClass::StaleConnection,
            Self::Malformed { class, .. } => *class,
            Self::NotHttp2 | Self::NoCallsOverHttp2(_) | Self::Http2(_) => ErrorClass::Protocol,
            Self::Unfit(_) => ErrorClass::Template,
            Self::NoCredentials(_) => ErrorClass::Auth,
            Self::Redirect(_) | Self::TooManyRedirects => ErrorClass::Redirect,
            Self::Unfinished(_) | Self::LongEvent | Self::Coding | Self::ToldInStream => {
                ErrorClass::Stream
            }
        }
    }
}

/// Ours to mend, not the target's: no port, file or memory left.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
