//! One connection to the target and the exchange of one request for one response on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::net::stream::Stream;
use crate::engine::protocol::grpc::Fault;
use crate::engine::protocol::http::response::{Ended, Malformed, Response};
use crate::engine::protocol::transport::Flight;
use crate::stats::ErrorClass;

/// Bodies with more than this to come are dropped in the kernel: below, a read costs no more.
#[cfg(target_os = "linux")]
const WORTH_DROPPING: u64 = 16 * 1024;

/// Why there is no whole response. Data, not an error: it is counted and the run goes on.
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
    #[error("{0}")]
    Malformed(Malformed),
    #[error("the target did not choose HTTP/2, which http.version asks for")]
    NotHttp2,
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
    #[error("{0}")]
    Grpc(#[from] Fault),
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
    /// Of HTTP, where the answer came to no more than that; a status whose body never came whole is
    /// not an answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Grpc(Fault::HttpStatus(status)) => *status,
            _ => 0,
        }
    }

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
            Self::Malformed(_) | Self::NotHttp2 | Self::Http2(_) => ErrorClass::Protocol,
            Self::Unfit(_) => ErrorClass::Template,
            Self::NoCredentials(_) => ErrorClass::Auth,
            Self::Redirect(_) | Self::TooManyRedirects => ErrorClass::Redirect,
            Self::Grpc(fault) => fault.class(),
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

pub(crate) struct Connection {
    stream: Stream,
    /// Bytes of the current request that were written.
    written: usize,
    flushed: bool,
    /// Responses before the current one.
    served: u32,
    /// It is too old for a further request from here on.
    until: Option<Instant>,
}

impl Connection {
    pub(crate) fn new(stream: Stream, until: Option<Instant>) -> Self {
        Self {
            stream,
            written: 0,
            flushed: true,
            served: 0,
            until,
        }
    }

    /// Whether one more request may be sent on it, by age and number of requests.
    pub(crate) fn may_serve(&self, now: Instant, most: Option<u32>) -> bool {
        self.until.is_none_or(|until| now < until) && most.is_none_or(|most| self.served < most)
    }

    /// Whether an idle connection is of no more use: ended, broken, or with bytes on it that nobody
    /// asked for.
    pub(crate) fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        self.poll_read(cx, &mut ReadBuf::new(&mut byte)).is_ready()
    }

    /// Makes ready for a request.
    pub(crate) fn begin(&mut self) {
        self.written = 0;
        self.flushed = false;
    }

    /// Writes what is left of `request` and reads until the response is complete. Both at once: a
    /// target may answer before it has read everything. `buffer` is scratch space, its content
    /// has no meaning between two calls.
    pub(crate) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        request: &[u8],
        response: &mut Response,
        flight: &Flight<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(), Failure>> {
        let sent = self.poll_send(cx, request);
        flight.written.set(self.written);
        sent?;
        if self.written == 0 {
            return Poll::Pending;
        }
        loop {
            ready!(self.poll_drop_body(cx, response))?;
            let mut read = ReadBuf::new(buffer);
            match ready!(self.poll_read(cx, &mut read)) {
                Err(error) => return Poll::Ready(Err(self.read_failed(error, response))),
                Ok(()) if read.filled().is_empty() => {
                    return Poll::Ready(match response.end_of_stream() {
                        Ended::Complete => Ok(()),
                        Ended::Unanswered => Err(self.unanswered(None)),
                        Ended::Broken => Err(Failure::Cut),
                    });
                }
                Ok(()) => {
                    let is_whole = response.feed(read.filled()).map_err(Failure::Malformed)?;
                    flight.read_stream(response)?;
                    if is_whole {
                        return Poll::Ready(Ok(()));
                    }
                    flight.goes_on();
                }
            }
        }
    }

    /// A complete response came; whether all of the request had been written by then.
    pub(crate) fn served(&mut self, request: &[u8]) -> bool {
        self.served += 1;
        self.written == request.len()
    }

    /// Writes as much as goes. Fails only if nothing of the request could be written; later the
    /// answer, if there is one, says more.
    fn poll_send(&mut self, cx: &mut Context<'_>, request: &[u8]) -> Result<(), Failure> {
        while self.written < request.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &request[self.written..]) {
                Poll::Ready(Ok(count)) if count > 0 => self.written += count,
                Poll::Ready(Ok(_)) => return Ok(()),
                Poll::Ready(Err(error)) if self.written == 0 => {
                    return Err(self.unanswered(Some(error)));
                }
                Poll::Ready(Err(_)) | Poll::Pending => return Ok(()),
            }
        }
        if self.stream.is_tls() && !self.flushed {
            // an error shows again when the answer is read
            self.flushed = Pin::new(&mut self.stream).poll_flush(cx).is_ready();
        }
        Ok(())
    }

    /// A read that fills less than the buffer leaves tokio knowing that nothing more is there,
    /// which saves a system call per response.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }

    /// Ready when there is nothing to drop.
    #[cfg(target_os = "linux")]
    fn poll_drop_body(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
    ) -> Poll<Result<(), Failure>> {
        use std::os::fd::AsRawFd;

        let Some(stream) = self.stream.as_plain_tcp() else {
            return Poll::Ready(Ok(()));
        };
        while response.droppable() > WORTH_DROPPING {
            // the response ends in a read of its own, so that `served` bytes are known to have come
            if let Err(error) = ready!(stream.poll_read_ready(cx)) {
                return Poll::Ready(Err(Failure::Broken(error)));
            }
            let wanted = response.droppable().min(1 << 30) as usize;
            // SAFETY: with MSG_TRUNC a TCP socket drops the bytes instead of writing them, so no
            // memory is touched
            let dropped = stream.try_io(tokio::io::Interest::READABLE, || {
                match unsafe {
                    libc::recv(
                        stream.as_raw_fd(),
                        std::ptr::null_mut(),
                        wanted,
                        libc::MSG_TRUNC,
                    )
                } {
                    count if count < 0 => Err(io::Error::last_os_error()),
                    count => Ok(count as u64),
                }
            });
            match dropped {
                Ok(0) => return Poll::Ready(Err(Failure::Cut)),
                Ok(count) => response.dropped(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(Failure::Broken(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    #[cfg(not(target_os = "linux"))]
    fn poll_drop_body(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Response,
    ) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn read_failed(&self, error: io::Error, response: &Response) -> Failure {
        match error.kind() {
            io::ErrorKind::InvalidData if self.stream.is_tls() => Failure::Tls(error),
            _ if response.received == 0 => self.unanswered(Some(error)),
            _ => Failure::Broken(error),
        }
    }

    fn unanswered(&self, error: Option<io::Error>) -> Failure {
        match error {
            _ if self.served > 0 => Failure::Stale,
            Some(error) => Failure::Broken(error),
            None => Failure::Unanswered,
        }
    }
}
