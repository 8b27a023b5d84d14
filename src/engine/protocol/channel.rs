//! State that one user or slot keeps of one target: its connection, the latest answer, and parser
//! state for each protocol.

use std::time::Duration;

use serde_json::Value;

use crate::engine::answer::Facts;
use crate::engine::answer::capture::header_texts;
use crate::engine::net::connector::Connector;
use crate::engine::protocol::grpc::reply::Reply;
use crate::engine::protocol::http::coding::decode;
use crate::engine::protocol::http::events::listed;
use crate::engine::protocol::http::response::Response;
use crate::engine::protocol::received::Received;
use crate::plan::StreamFormat;

fn sse(body: &[u8]) -> Value {
    listed(StreamFormat::Sse, body)
}

fn lines(body: &[u8]) -> Value {
    listed(StreamFormat::Lines, body)
}

/// State that one user keeps of one target.
#[derive(Default)]
pub(crate) struct Channel {
    /// Finder of a connection for each request.
    pub(crate) connector: Connector,
    /// Latest answer, as far as it came.
    pub(crate) answer: Received,
    /// Parser of HTTP/1.1 answers.
    pub(crate) response: Response,
    /// Buffer for an HTTP/1.1 request with the changes of its route, if there are any.
    pub(crate) amended: Vec<u8>,
    /// Answer to a call over gRPC, once there was one.
    pub(crate) reply: Option<Box<Reply>>,
}

impl Channel {
    /// Returns the facts of the latest answer, which must be whole. `decoded` takes the body if it
    /// came compressed.
    pub(crate) fn facts<'a>(&'a self, latency: Duration, decoded: &'a mut Vec<u8>) -> Facts<'a> {
        let Received {
            status,
            capture,
            events,
            stream,
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
            structured: &capture.structured,
            truncated,
            size: capture.size,
            latency,
            events: *events,
            split: stream.map(|format| match format {
                StreamFormat::Sse => sse as fn(&[u8]) -> Value,
                StreamFormat::Lines => lines,
            }),
            ..Facts::default()
        };
        if let Some(reply) = &self.reply {
            reply.add_to(&mut facts);
        }
        facts
    }

    /// Frees large buffers once the answer has been judged.
    pub(crate) fn free_large_buffers(&mut self) {
        self.answer.capture.free_large_buffers();
        if let Some(reply) = &mut self.reply {
            reply.free_large_buffers();
        }
    }
}
