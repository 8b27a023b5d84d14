//! The answer to a call as it comes: head, messages, trailers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::RecvStream;
use h2::client::ResponseFuture;

use crate::engine::net::connection::Failure;
use crate::engine::net::http2::Seat;
use crate::engine::protocol::http::response::Response;
use crate::engine::protocol::transport::Flight;

/// Dropped before its end, the stream is reset.
pub(super) struct Incoming {
    seat: Seat,
    stage: Stage,
}

enum Stage {
    Head(ResponseFuture),
    Body {
        body: RecvStream,
        /// No message follows.
        ended: bool,
    },
}

impl Incoming {
    pub(super) fn new(answer: ResponseFuture, seat: Seat) -> Self {
        Self {
            seat,
            stage: Stage::Head(answer),
        }
    }

    /// Ready when the status has come, and the answer is one. `arrived` is told how many messages
    /// became whole at a time.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
        flight: &Flight<'_>,
        mut arrived: impl FnMut(u32),
    ) -> Poll<Result<(), Failure>> {
        if let Stage::Head(answer) = &mut self.stage {
            let (head, body) = ready!(Pin::new(answer).poll(cx))
                .map_err(|error| self.seat.failure(error, false))?
                .into_parts();
            self.seat.answered();
            response.take_grpc_head(head.status.as_u16(), &head.headers)?;
            if body.is_end_stream() {
                return Poll::Ready(response.check_reply());
            }
            self.stage = Stage::Body { body, ended: false };
        }
        let Stage::Body { body, ended } = &mut self.stage else {
            return Poll::Pending;
        };
        while !*ended {
            match body.poll_data(cx) {
                Poll::Pending => {
                    flight.goes_on();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(data))) => {
                    // fails only when the stream has ended, which the next look at it shows
                    let _ = body.flow_control().release_capacity(data.len());
                    let whole = response.take_grpc_data(&data)?;
                    if whole > 0 {
                        arrived(whole);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(self.seat.failure(error, true)));
                }
                Poll::Ready(None) => *ended = true,
            }
        }
        match body.poll_trailers(cx) {
            Poll::Pending => {
                flight.goes_on();
                Poll::Pending
            }
            Poll::Ready(Ok(trailers)) => {
                if let Some(trailers) = trailers {
                    response.take_grpc_trailers(&trailers)?;
                }
                Poll::Ready(response.check_reply())
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.seat.failure(error, true))),
        }
    }
}
