//! Copy of what a call sent, to be shown: its metadata, and its messages as JSON.

use std::cell::RefCell;

use bytes::Bytes;

use crate::engine::protocol::grpc::call::GrpcCall;
use crate::engine::protocol::grpc::frames;
use crate::engine::protocol::grpc::head::Rendered;
use crate::plan::grpc::to_sparse_json;

/// Copy that is filled while a call is made.
pub(crate) struct Sent {
    /// Most bytes of messages that are kept.
    most: usize,
    content: RefCell<Content>,
}

#[derive(Default)]
struct Content {
    /// Head in the form of HTTP/1.1.
    head: Vec<u8>,
    /// Whole messages, each with its prefix.
    frames: Vec<Bytes>,
    /// Size of all messages in bytes, kept or not.
    size: u64,
}

impl Sent {
    /// Creates an empty copy that keeps about `most` bytes of messages.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            content: RefCell::default(),
        }
    }

    /// Begins an attempt: drops what an earlier one sent.
    pub(super) fn begin(&self, head: &Rendered<'_>) {
        let mut content = self.content.borrow_mut();
        *content = Content::default();
        head.write(&mut content.head);
    }

    /// Keeps messages that are being sent.
    pub(super) fn keep(&self, frames: &Bytes) {
        let mut content = self.content.borrow_mut();
        if content.size < self.most as u64 {
            content.frames.push(frames.clone());
        }
        content.size += frames.len() as u64;
    }

    /// Returns the call as an HTTP message whose body has a line of JSON for each kept message, and
    /// the size of all messages in bytes.
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
