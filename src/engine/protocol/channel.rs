//! State that one user or slot keeps of one target: its connection, the latest answer, and parser
//! state for each protocol.

use std::time::Duration;

use crate::engine::answer::Facts;
use crate::engine::answer::capture::header_texts;
use crate::engine::net::connector::Connector;
use crate::engine::protocol::grpc::reply::Reply;
use crate::engine::protocol::http::coding::decode;
use crate::engine::protocol::http::response::Response;
use crate::engine::protocol::received::Received;

/// One user's side of one target.
#[derive(Default)]
pub(crate) struct Channel {
    /// Finds a connection for each request.
    pub(crate) connector: Connector,
    /// The latest answer, as much of it as came.
    pub(crate) answer: Received,
    /// Parser of HTTP/1.1.
    pub(crate) response: Response,
    /// Buffer for a request of HTTP/1.1 as the way to the target wants it, where that differs.
    pub(crate) amended: Vec<u8>,
    /// Answer to a call over gRPC, once there was one.
    pub(crate) reply: Option<Box<Reply>>,
}

impl Channel {
    /// Returns the facts of the latest answer, which is whole. `decoded` takes the body where it
    /// came compressed.
    pub(crate) fn facts<'a>(&'a self, latency: Duration, decoded: &'a mut Vec<u8>) -> Facts<'a> {
        let Received {
            status,
            capture,
            events,
            ..
        } = &self.answer;
        let coding = header_texts(&capture.head, "content-encoding").next();
        let (body, truncated) = match coding.map(|coding| decode(coding, &capture.body, decoded)) {
            Some(whole) => (decoded.as_slice(), capture.truncated || !whole),
            None => (capture.body.as_slice(), capture.truncated),
        };
        let mut facts = Facts {
            status: *status,
            head: &capture.head,
            body,
            truncated,
            size: capture.size,
            latency,
            events: *events,
            ..Facts::default()
        };
        if let Some(reply) = &self.reply {
            reply.add_to(&mut facts);
        }
        facts
    }

    /// Gives back large buffers; the answer has been looked at.
    pub(crate) fn release(&mut self) {
        self.answer.capture.let_go();
        if let Some(reply) = &mut self.reply {
            reply.let_go();
        }
    }
}
