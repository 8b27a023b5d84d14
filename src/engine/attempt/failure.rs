//! Reasons why a request got no whole answer: data that is counted, not an error that ends
//! anything.

use std::io;

use super::handshake::explain;
use crate::stats::ErrorClass;

/// Reason why a request got no whole answer. A failure is data, not an error: it is counted and the
/// run goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Name that could not be resolved, with the resolver's message.
    #[error("{0}")]
    Dns(String),
    /// Address that no step may reach, with the reason.
    #[error("{0}")]
    NotAllowed(String),
    /// Connection to `to` that could not be opened, because of `source`.
    #[error("connecting to {to}: {source}")]
    Connect { to: String, source: io::Error },
    /// Proxy that refused or broke the connection.
    #[error("proxy: {0}")]
    Proxy(String),
    /// TLS handshake with `to` that failed, because of `source`.
    #[error("TLS handshake with {to}: {}", explain(source))]
    Handshake { to: String, source: io::Error },
    /// TLS connection that broke because of invalid data.
    #[error("TLS: {}", explain(.0))]
    Tls(io::Error),
    /// TLS connection that the target ended before any answer, after a handshake in which it asked
    /// for a client certificate: a target that does not like it may say so by an alert, or not at
    /// all.
    #[error(
        "TLS: the target ended the connection after it asked for a client certificate, which it misses or does not accept; tls.certFrom gives one"
    )]
    Uncertified,
    /// Timeout after the first byte of the request was sent.
    #[error("no whole answer within the step's timeout")]
    Timeout,
    /// Timeout before the first byte of the request was sent.
    #[error("no connection within the step's timeout")]
    TimeoutBeforeSent,
    /// Connection that failed with an error.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// Connection that the target closed before the first byte of an answer.
    #[error("the target closed the connection without an answer")]
    Unanswered,
    /// Connection that the target closed within its answer.
    #[error("the target closed the connection within its answer")]
    Cut,
    /// Idle connection that the target closed while the request was being sent.
    #[error("the target closed a kept-alive connection while the request was on its way")]
    Stale,
    /// Answer that is not valid in its protocol.
    #[error("{why}")]
    Malformed {
        /// Message that says what is wrong.
        why: String,
        /// Class under which the failure is counted.
        class: ErrorClass,
        /// HTTP status, if nothing else of the answer was valid; else 0.
        status: u16,
    },
    /// Target that did not choose HTTP/2 although the plan asks for it.
    #[error("the target did not choose HTTP/2, which http.version asks for")]
    NotHttp2,
    /// Target that does not speak HTTP/2, which a call over gRPC needs.
    #[error("the target does not speak HTTP/2, which gRPC needs: {0}")]
    NoCallsOverHttp2(String),
    /// Other error of the HTTP/2 connection.
    #[error("HTTP/2: {0}")]
    Http2(String),
    /// Stream that the target reset, with its reason.
    #[error("HTTP/2: the target reset the stream: {0}")]
    StreamReset(h2::Reason),
    /// Stream that the target refused before it looked at the request.
    #[error("HTTP/2: the target refused the stream: {0}")]
    Refused(h2::Reason),
    /// Target that ended each new HTTP/2 connection before the request was accepted.
    #[error("HTTP/2: the target ended each new connection at once")]
    Gone,
    /// Request that could not be built, with the reason.
    #[error("{0}")]
    Unfit(String),
    /// Request without credentials, with the reason why there are none.
    #[error("{0}")]
    NoCredentials(String),
    /// Redirect to an origin, given here, that is not that of any target of the test.
    #[error("redirected to {0}, which is not the origin of any target of this test")]
    Redirect(String),
    /// More redirects than `followRedirects` allows.
    #[error("redirected more often than followRedirects allows")]
    TooManyRedirects,
    /// Stream that ended without the event that marks its end.
    #[error("the stream ended without {0}")]
    Unfinished(String),
    /// Event longer than 1 MiB.
    #[error("an event of the stream is longer than 1 MiB")]
    LongEvent,
    /// Stream that cannot be decoded, with a message that names its coding.
    #[error("{0}")]
    Coding(String),
    /// Stream with an event that reports an error; the bytes are those of the event, and may hold
    /// anything.
    #[error("the stream holds an event that tells of an error")]
    ToldInStream(Vec<u8>),
}

impl Failure {
    /// Returns the HTTP status if nothing else of the answer was valid; else 0. A status whose body
    /// did not come whole is not an answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Malformed { status, .. } => *status,
            _ => 0,
        }
    }

    /// Returns the class under which the failure is counted.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Dns(_) => ErrorClass::Dns,
            Self::NotAllowed(_) => ErrorClass::Policy,
            Self::Connect { source, .. } if is_exhaustion(source) => ErrorClass::Exhausted,
            // the machine's own timeouts are the same to the user as the step's
            Self::Connect { source, .. }
            | Self::Handshake { source, .. }
            | Self::Broken(source)
                if source.kind() == io::ErrorKind::TimedOut =>
            {
                ErrorClass::Timeout
            }
            // a connection that is reset as soon as it is there may show it at once, or with the
            // first byte
            Self::Connect { source, .. } if is_reset(source) => ErrorClass::Reset,
            Self::Connect { .. } | Self::Proxy(_) => ErrorClass::Connect,
            Self::Handshake { .. } | Self::Tls(_) | Self::Uncertified => ErrorClass::Tls,
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
            Self::Unfinished(_) | Self::LongEvent | Self::Coding(_) | Self::ToldInStream(_) => {
                ErrorClass::Stream
            }
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// Returns whether this machine ran out of ports, files or memory, which is not the target's fault.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(kind: io::ErrorKind) -> ErrorClass {
        let failure = Failure::Connect {
            to: "t:1".into(),
            source: kind.into(),
        };
        failure.class()
    }

    #[test]
    fn one_cause_has_one_class_however_it_shows() {
        assert_eq!(
            connect(io::ErrorKind::ConnectionRefused),
            ErrorClass::Connect
        );
        // the same as of a connection that is reset a moment later
        let later = Failure::Broken(io::ErrorKind::ConnectionReset.into());
        assert_eq!(connect(io::ErrorKind::ConnectionReset), later.class());
        // the same as when the step's time is over first
        for failure in [
            Failure::TimeoutBeforeSent,
            Failure::Broken(io::ErrorKind::TimedOut.into()),
        ] {
            assert_eq!(connect(io::ErrorKind::TimedOut), failure.class());
        }
        let alert = Failure::Tls(io::ErrorKind::InvalidData.into());
        assert_eq!(Failure::Uncertified.class(), alert.class());
    }
}
