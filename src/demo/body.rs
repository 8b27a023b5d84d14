//! Bodies of answers that hold their place among the requests served, and tell how a gRPC call
//! ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use http::{HeaderMap, Response};
use hyper::body::{Frame, SizeHint};
use tonic::Status;

use super::gate::Place;
use super::shared::Shared;

/// Body that gives its place back when it ends or its client goes away.
struct Observed {
    body: Body,
    _place: Place,
    /// State to count the gRPC status in, until the status has been seen.
    grpc: Option<Arc<Shared>>,
}

/// Wraps the body of a response so that it keeps `place` until its end. With `shared`, which is
/// given for gRPC, it counts the status, which comes in the head or after the last message.
pub(super) fn observe(
    response: Response<Body>,
    place: Place,
    shared: Option<Arc<Shared>>,
) -> Response<Body> {
    if place.is_none() && shared.is_none() {
        return response;
    }
    let (head, body) = response.into_parts();
    let mut observed = Observed {
        body,
        _place: place,
        grpc: shared,
    };
    observed.look_at(&head.headers);
    Response::from_parts(head, Body::new(observed))
}

impl Observed {
    fn look_at(&mut self, headers: &HeaderMap) {
        if self.grpc.is_some()
            && let Some(status) = Status::from_header_map(headers)
            && let Some(shared) = self.grpc.take()
        {
            shared.counts.answered_grpc(status.code());
        }
    }
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.look_at(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
