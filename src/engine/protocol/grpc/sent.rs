//! What a call sent, for those who are shown it: its metadata, and its messages as JSON.

use std::cell::RefCell;

use bytes::Bytes;

use crate::engine::protocol::grpc::call::GrpcCall;
use crate::engine::protocol::grpc::frames;
use crate::engine::protocol::grpc::head::Rendered;
use crate::plan::grpc::to_sparse_json;

/// Filled while a call that is to be shown goes on.
pub(crate) struct Sent {
    /// Bytes of messages that are kept.
    most: usize,
    content: RefCell<Content>,
}

#[derive(Default)]
struct Content {
    /// As HTTP/1.1 writes it.
    head: Vec<u8>,
    /// Whole messages, each with its prefix.
    frames: Vec<Bytes>,
    /// Bytes of all messages, kept or not.
    size: u64,
}

impl Sent {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            content: RefCell::default(),
        }
    }

    /// A try begins: of an earlier one nothing is shown.
    pub(super) fn begin(&self, head: &Rendered<'_>) {
        let mut content = self.content.borrow_mut();
        *content = Content::default();
        head.write(&mut content.head);
    }

    /// Messages are sent.
    pub(super) fn keep(&self, frames: &Bytes) {
        let mut content = self.content.borrow_mut();
        if content.size < self.most as u64 {
            content.frames.push(frames.clone());
        }
        content.size += frames.len() as u64;
    }

    /// As a message of HTTP, in whose body each message of `call` is a line of JSON; and how many
    /// bytes they all were.
    pub(crate) fn shown(&self, call: &GrpcCall) -> (Vec<u8>, u64) {
        let content = self.content.borrow();
        let mut shown = content.head.clone();
        let begin = shown.len();
        for frames in &content.frames {
            frames::each(frames, |message| {
                if shown.len() > begin {
                    shown.push(b'\n');
                }
                // it was made after this very description
                if let Ok(json) = to_sparse_json(&call.input, message) {
                    shown.extend_from_slice(json.to_string().as_bytes());
                }
            });
        }
        (shown, content.size)
    }
}
