//! A connection of HTTP/1.1, and the exchange of one request for one answer on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::net::reader::ByteReader;
use crate::engine::net::stream::Stream;

/// Remaining size of a body, in bytes, above which it is dropped in the kernel; below, reading
/// costs no more.
#[cfg(target_os = "linux")]
const WORTH_DROPPING: u64 = 16 * 1024;

/// Returns the part of `timeout` for which an idle connection may get a request.
fn usable(timeout: Duration) -> Duration {
    timeout - IDLE_MARGIN.min(timeout / 2)
}

/// Connection that carries one request at a time.
pub(crate) struct Session {
    stream: Stream,
    /// Bytes of the current request that were written.
    written: usize,
    flushed: bool,
    /// Number of responses before the current one.
    served: u32,
    /// Time after which the connection is too old for a further request.
    until: Option<Instant>,
    /// Time after which the target may close the idle connection; `None` if it does not say.
    idle_until: Option<Instant>,
}

/// Longest time before the announced end of an idle connection in which it gets no request, since
/// that could meet the end on its way.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

impl Session {
    /// Takes over a connection that was just opened. After `until` it is too old for a further
    /// request.
    pub(crate) fn new(stream: Stream, until: Option<Instant>) -> Self {
        Self {
            stream,
            written: 0,
            flushed: true,
            served: 0,
            until,
            idle_until: None,
        }
    }

    /// Returns whether the connection may carry one more request, by its age, by the number of
    /// requests, and by what the target said of idle connections.
    pub(crate) fn may_serve(&self, now: Instant, most: Option<u32>) -> bool {
        let is_before = |until: Option<Instant>| until.is_none_or(|until| now < until);
        is_before(self.until)
            && is_before(self.idle_until)
            && most.is_none_or(|most| self.served < most)
    }

    /// Notes that the connection is idle from now on, and for how long the target keeps it so, if
    /// it says.
    pub(crate) fn rest(&mut self, timeout: Option<Duration>) {
        self.idle_until = timeout.map(|timeout| Instant::now() + usable(timeout));
    }

    /// Returns whether an idle connection is unusable: ended, broken, or with unexpected bytes on
    /// it.
    pub(crate) fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        self.poll_read(cx, &mut ReadBuf::new(&mut byte)).is_ready()
    }

    /// Prepares for a request.
    pub(crate) fn begin(&mut self) {
        self.written = 0;
        self.flushed = false;
    }

    /// Writes the rest of `request` and reads until the answer is complete.
    ///
    /// Both happen at once, since a target may answer before it has read everything. `buffer` is
    /// scratch space without meaning between calls.
    pub(crate) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        request: &[u8],
        reader: &mut impl ByteReader,
        attempt: &Attempt<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(), Failure>> {
        let sent = self.poll_send(cx, request);
        attempt.wrote(self.written);
        if let Err(failure) = sent {
            return Poll::Ready(Err(self.alert(cx).unwrap_or(failure)));
        }
        if self.written == 0 {
            return Poll::Pending;
        }
        loop {
            ready!(self.poll_drop_body(cx, reader))?;
            let mut read = ReadBuf::new(buffer);
            match ready!(self.poll_read(cx, &mut read)) {
                Err(error) => return Poll::Ready(Err(self.read_failed(error, reader.received()))),
                Ok(()) if read.filled().is_empty() => {
                    return Poll::Ready(match reader.end_of_stream() {
                        true => Ok(()),
                        false if reader.received() == 0 => Err(self.unanswered(None)),
                        false => Err(Failure::Cut),
                    });
                }
                Ok(()) => {
                    if reader.feed(read.filled())? {
                        return Poll::Ready(Ok(()));
                    }
                    attempt.answer_continues();
                }
            }
        }
    }

    /// Records a complete answer and returns whether all of the request had been written by then.
    pub(crate) fn served(&mut self, request: &[u8]) -> bool {
        self.served += 1;
        self.written == request.len()
    }

    /// Writes as much as possible. Fails only if nothing of the request could be written; later the
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

    /// Returns the TLS alert that the target sent before it closed the connection, if it sent one:
    /// that says more than the write that failed.
    fn alert(&mut self, cx: &mut Context<'_>) -> Option<Failure> {
        if !self.stream.is_tls() {
            return None;
        }
        match self.poll_read(cx, &mut ReadBuf::new(&mut [0])) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Some(Failure::Tls(error))
            }
            _ => None,
        }
    }

    /// Reads once. After a read that does not fill the buffer, tokio knows that nothing more is
    /// there, which saves a system call per response.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }

    /// Drops bytes of the body in the kernel; ready if there is nothing to drop.
    #[allow(unsafe_code, reason = "recv with MSG_TRUNC")]
    #[cfg(target_os = "linux")]
    fn poll_drop_body(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut impl ByteReader,
    ) -> Poll<Result<(), Failure>> {
        use std::os::fd::AsRawFd;

        let Some(stream) = self.stream.as_plain_tcp() else {
            return Poll::Ready(Ok(()));
        };
        while reader.droppable() > WORTH_DROPPING {
            // the answer ends in a read of its own, so that `served` bytes are known to have come
            if let Err(error) = ready!(stream.poll_read_ready(cx)) {
                return Poll::Ready(Err(Failure::Broken(error)));
            }
            let wanted = reader.droppable().min(1 << 30) as usize;
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
                Ok(count) => reader.dropped(count),
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
        _: &mut impl ByteReader,
    ) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn read_failed(&self, error: io::Error, received: u64) -> Failure {
        match error.kind() {
            io::ErrorKind::InvalidData if self.stream.is_tls() => Failure::Tls(error),
            _ if received == 0 => self.unanswered(Some(error)),
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
