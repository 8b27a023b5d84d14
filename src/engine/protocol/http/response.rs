//! Reads HTTP/1.1 responses from bytes as they come: heads by `httparse`, bodies counted and
//! dropped.
//!
//! Pure: no socket here. Bytes are read in place; only a head that has come in part is copied.

mod chunk;
mod head;

use std::time::Duration;

use crate::engine::protocol::http::response::chunk::Chunk;
use crate::engine::protocol::http::response::head::Head;
use crate::engine::protocol::received::Received;
use crate::plan::HeadLimits;

/// Fault of an answer that is not valid HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Head that cannot be parsed.
    #[error("the answer is not HTTP: {0}")]
    Head(httparse::Error),
    /// Head with more fields than this number.
    #[error("the answer has more than {0} header fields, the limit of http.maxHeaderFields")]
    TooManyFields(u32),
    /// Bytes of TLS in the place of an answer.
    #[error("the target speaks TLS there; the URL may have to begin with https://")]
    Tls,
    /// Settings of HTTP/2 in the place of an answer.
    #[error("the target speaks only HTTP/2 there: set http.version to Http2")]
    Http2,
    /// Head, or trailers, longer than this number of bytes.
    #[error("the head of the answer is longer than {0} bytes, the limit of http.maxHeaderBytes")]
    HeadTooLong(u32),
    /// `Content-Length` that is not a number, or several that differ.
    #[error("the answer's Content-Length is not a number, or there are several")]
    Length,
    /// Chunk that is malformed.
    #[error("a chunk of the answer is malformed")]
    Chunk,
    /// Switch to another protocol that the request did not ask for.
    #[error("the answer switches to another protocol, which was not asked for")]
    Upgrade,
}

/// State of the response when the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Whole body, since it extends to the end of the stream.
    Complete,
    /// No byte of an answer came.
    Unanswered,
    /// Answer that ended too early.
    Broken,
}

/// Parser of one response after another; results go to a [`Received`].
#[derive(Debug, Default)]
pub(crate) struct Response {
    state: State,
    /// Bytes so far of an unfinished head.
    partial_head: Vec<u8>,
    /// True if the request was HEAD.
    to_head: bool,
    /// Largest head that is read.
    limits: HeadLimits,
    /// True if the connection may carry another request.
    pub(crate) keep_alive: bool,
    /// Time for which the target keeps the connection idle, if it says so.
    pub(crate) idle_timeout: Option<Duration>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Body with this many bytes left.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    Done,
}

impl Response {
    /// Prepares for the next answer, with a head of at most `limits`. `to_head` is true for the
    /// answer to a HEAD request.
    pub(crate) fn begin(&mut self, to_head: bool, limits: HeadLimits) {
        self.state = State::Head;
        self.partial_head.clear();
        self.to_head = to_head;
        self.limits = limits;
        self.keep_alive = true;
        self.idle_timeout = None;
    }

    /// Takes bytes that were read and returns whether the response is complete. Bytes after a
    /// complete response answer nothing, so the connection is not kept.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        answer: &mut Received,
    ) -> Result<bool, Malformed> {
        answer.bytes += bytes.len() as u64;
        while !bytes.is_empty() && self.state != State::Done {
            match self.state {
                State::Head => bytes = self.feed_head(bytes, answer)?,
                State::Length(left) => {
                    let (body, rest) = bytes.split_at(self.take(left, bytes.len(), State::Length));
                    answer.capture.take_body(body);
                    bytes = rest;
                }
                State::Chunked(chunk) => bytes = self.feed_chunk(chunk, bytes, answer)?,
                State::UntilClose => {
                    answer.capture.take_body(bytes);
                    bytes = &[];
                }
                State::Done => {}
            }
        }
        if !bytes.is_empty() {
            self.keep_alive = false;
        }
        Ok(self.state == State::Done)
    }

    /// Takes the end of the connection and returns its meaning for the answer.
    pub(crate) fn end_of_stream(&mut self, answer: &Received) -> Ended {
        self.keep_alive = false;
        match self.state {
            State::UntilClose => {
                self.state = State::Done;
                Ended::Complete
            }
            _ if answer.bytes == 0 => Ended::Unanswered,
            _ => Ended::Broken,
        }
    }

    /// Returns how many bytes of the body are sure to come and not needed, so that they may be
    /// dropped unread.
    pub(crate) fn droppable(&self, answer: &Received) -> u64 {
        match self.state {
            _ if !answer.capture.is_full() => 0,
            // a chunk must stay in sight to its end, so that the next state follows from bytes that
            // were read
            State::Length(left) | State::Chunked(Chunk::Data(left)) => left.saturating_sub(1),
            _ => 0,
        }
    }

    /// Counts `count` bytes that were dropped, of those that [`droppable`](Self::droppable)
    /// returned.
    pub(crate) fn dropped(&mut self, count: u64, answer: &mut Received) {
        answer.bytes += count;
        answer.capture.size += count;
        match &mut self.state {
            State::Length(left) | State::Chunked(Chunk::Data(left)) => *left -= count,
            _ => {}
        }
    }

    /// Takes at most `left` of `available` bytes off a body and returns how many.
    fn take(&mut self, left: u64, available: usize, state: fn(u64) -> State) -> usize {
        let taken = left.min(available as u64);
        self.state = if taken == left {
            State::Done
        } else {
            state(left - taken)
        };
        taken as usize
    }

    /// Takes bytes of a head and returns those after it; none while the head is incomplete.
    fn feed_head<'a>(
        &mut self,
        bytes: &'a [u8],
        answer: &mut Received,
    ) -> Result<&'a [u8], Malformed> {
        if self.partial_head.is_empty() {
            // a record of TLS: an alert, since what came was no handshake
            if bytes.starts_with(&[0x15, 0x03]) {
                return Err(Malformed::Tls);
            }
            // a frame of settings of stream 0, with which a connection of HTTP/2 begins
            if matches!(bytes, [_, _, _, 4, 0, 0, 0, 0, 0, ..]) {
                return Err(Malformed::Http2);
            }
            let parsed = Head::parse(bytes, self.to_head, self.limits)?;
            let Some(head) = parsed else {
                self.partial_head.extend_from_slice(bytes);
                return self.head_goes_on();
            };
            return Ok(&bytes[self.take_head(head, bytes, answer)..]);
        }
        let before = self.partial_head.len();
        self.partial_head.extend_from_slice(bytes);
        // a head ends with a line break, so nothing can have changed without one
        if !bytes.contains(&b'\n') {
            return self.head_goes_on();
        }
        let Some(head) = Head::parse(&self.partial_head, self.to_head, self.limits)? else {
            return self.head_goes_on();
        };
        let partial_head = std::mem::take(&mut self.partial_head);
        Ok(&bytes[self.take_head(head, &partial_head, answer) - before..])
    }

    fn head_goes_on(&self) -> Result<&'static [u8], Malformed> {
        if self.partial_head.len() > self.limits.bytes as usize {
            Err(Malformed::HeadTooLong(self.limits.bytes))
        } else {
            Ok(&[])
        }
    }

    /// Takes the head with which `bytes` begin and returns its length.
    fn take_head(&mut self, head: Head, bytes: &[u8], answer: &mut Received) -> usize {
        let Head {
            length,
            status,
            keep_alive,
            idle_timeout,
            body,
            retry_after,
            sets_cookies,
        } = head;
        if (100..200).contains(&status) {
            // the real one follows, after any number of these (RFC 9110, 15.2)
            return length;
        }
        answer.status = status;
        answer.retry_after = retry_after;
        self.keep_alive = keep_alive;
        self.idle_timeout = idle_timeout;
        self.state = body;
        answer
            .capture
            .take_head(&bytes[..length], status, sets_cookies);
        length
    }

    /// Takes bytes of a chunked body and returns those after the ones it took.
    fn feed_chunk<'a>(
        &mut self,
        chunk: Chunk,
        bytes: &'a [u8],
        answer: &mut Received,
    ) -> Result<&'a [u8], Malformed> {
        let (next, rest) = match chunk {
            Chunk::Length(line) => line.take(bytes)?,
            Chunk::Data(left) => {
                let taken = left.min(bytes.len() as u64);
                let (data, rest) = bytes.split_at(taken as usize);
                answer.capture.take_body(data);
                match left - taken {
                    0 => (Chunk::DataEnd, rest),
                    left => (Chunk::Data(left), rest),
                }
            }
            Chunk::DataEnd => (Chunk::data_end(bytes[0])?, &bytes[1..]),
            Chunk::Trailers(trailers) => trailers.take(bytes, self.limits)?,
            Chunk::End => (Chunk::End, bytes),
        };
        self.state = match next {
            Chunk::End => State::Done,
            next => State::Chunked(next),
        };
        Ok(rest)
    }
}

#[cfg(test)]
mod tests;
