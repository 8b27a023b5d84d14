//! State that one user or slot keeps of one target: its connection, the latest answer, and parser
//! state for each protocol.

use std::time::Duration;

use serde_json::Value;

use crate::engine::answer::Facts;
use crate::engine::answer::capture::Capture;
use crate::engine::net::connector::Connector;
use crate::engine::protocol::grpc::reply::Reply;
use crate::engine::protocol::http::charset;
use crate::engine::protocol::http::coding::Codings;
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
        let (body, whole) = self.body(decoded);
        let mut facts = Facts {
            status: *status,
            head: &capture.head,
            body,
            structured: &capture.structured,
            truncated: capture.truncated || whole != Ok(true),
            // of a part of the body it is no wonder
            unread: whole.err().filter(|_| !capture.truncated),
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

    /// Returns the body without compression, text in UTF-8, and whether that is the whole body, or
    /// why it cannot be read.
    fn body<'a>(&'a self, decoded: &'a mut Vec<u8>) -> (&'a [u8], Result<bool, String>) {
        let Capture { head, body, .. } = &self.answer.capture;
        let codings = Codings::of(head);
        let (mut text, mut whole) = (None, Ok(true));
        if !codings.is_empty() {
            whole = codings.decode(body, decoded);
            text = Some(std::mem::take(decoded));
        }
        if let Some(recoded) = charset::recode(head, text.as_deref().unwrap_or(body)) {
            text = Some(recoded);
        }
        let plain = match text {
            None => body,
            Some(text) => {
                *decoded = text;
                decoded.as_slice()
            }
        };
        (charset::without_mark(plain), whole)
    }

    /// Frees large buffers once the answer has been judged.
    pub(crate) fn free_large_buffers(&mut self) {
        self.answer.capture.free_large_buffers();
        if let Some(reply) = &mut self.reply {
            reply.free_large_buffers();
        }
    }
}
