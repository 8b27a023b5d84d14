//! Answer to a call as it comes: head, messages, trailers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::RecvStream;
use h2::client::ResponseFuture;
use http::HeaderMap;

use crate::engine::answer::capture::Wanted;
use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::net::http2::StreamGuard;
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::grpc::reply::{Expected, Reply};
use crate::engine::protocol::received::Received;

/// Answer that is being received; dropping it before its end resets the stream.
pub(super) struct Incoming {
    guard: StreamGuard,
    stage: Stage,
}

enum Stage {
    Head(ResponseFuture),
    Body {
        body: RecvStream,
        /// True if no message follows.
        ended: bool,
    },
}

impl Incoming {
    /// Begins to receive the answer to a call whose request was sent.
    pub(super) fn new(answer: ResponseFuture, guard: StreamGuard) -> Self {
        Self {
            guard,
            stage: Stage::Head(answer),
        }
    }

    /// Receives until the status has come and the answer is valid. `arrived` is called with the
    /// number of messages that became whole at a time.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reading: &mut Reading<'_>,
        attempt: &Attempt<'_>,
        mut arrived: impl FnMut(u32),
    ) -> Poll<Result<(), Failure>> {
        if let Stage::Head(answer) = &mut self.stage {
            let (head, body) = ready!(Pin::new(answer).poll(cx))
                .map_err(|error| self.guard.failure(error, false))?
                .into_parts();
            self.guard.answered();
            reading.take_head(head.status.as_u16(), &head.headers)?;
            if body.is_end_stream() {
                return Poll::Ready(reading.check());
            }
            self.stage = Stage::Body { body, ended: false };
        }
        let Stage::Body { body, ended } = &mut self.stage else {
            return Poll::Pending;
        };
        while !*ended {
            match body.poll_data(cx) {
                Poll::Pending => {
                    attempt.answer_continues();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(data))) => {
                    // fails only when the stream has ended, which the next look at it shows
                    let _ = body.flow_control().release_capacity(data.len());
                    let whole = reading.take_data(&data)?;
                    if whole > 0 {
                        arrived(whole);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(self.guard.failure(error, true)));
                }
                Poll::Ready(None) => *ended = true,
            }
        }
        match body.poll_trailers(cx) {
            Poll::Pending => {
                attempt.answer_continues();
                Poll::Pending
            }
            Poll::Ready(Ok(trailers)) => {
                if let Some(trailers) = trailers {
                    reading.take_trailers(&trailers)?;
                }
                Poll::Ready(reading.check())
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.guard.failure(error, true))),
        }
    }
}

/// Parsing state of an answer: its HTTP part and its gRPC part.
pub(super) struct Reading<'a> {
    answer: &'a mut Received,
    reply: &'a mut Reply,
}

impl<'a> Reading<'a> {
    /// Prepares `channel` for the answer to a call.
    pub(super) fn begin(channel: &mut Channel, wanted: Wanted, expected: Expected) {
        channel.answer.begin(wanted);
        channel.reply.get_or_insert_default().begin(expected);
    }

    /// Continues to read the answer that was begun in `channel`.
    pub(super) fn of(channel: &'a mut Channel) -> Self {
        Self {
            answer: &mut channel.answer,
            reply: channel.reply.get_or_insert_default(),
        }
    }

    fn take_head(&mut self, status: u16, headers: &HeaderMap) -> Result<(), Failure> {
        self.answer.take_http2_head(status, headers);
        Ok(self.reply.take_head(status, headers)?)
    }

    /// Takes bytes of the body and returns how many messages they complete.
    fn take_data(&mut self, data: &[u8]) -> Result<u32, Failure> {
        self.answer.bytes += data.len() as u64;
        self.answer.capture.size += data.len() as u64;
        Ok(self.reply.frames.feed(data)?)
    }

    fn take_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Failure> {
        self.answer.bytes += trailers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum::<usize>() as u64;
        Ok(self.reply.take_trailers(trailers)?)
    }

    /// Checks an answer that has come to its end.
    fn check(&self) -> Result<(), Failure> {
        Ok(self.reply.check()?)
    }
}
