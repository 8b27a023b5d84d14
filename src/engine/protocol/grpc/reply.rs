//! Result of a call: its messages, trailers and status.

use http::HeaderMap;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::engine::answer::Facts;
use crate::engine::protocol::grpc::fault::Fault;
use crate::engine::protocol::grpc::frames::Frames;
use crate::plan::grpc::Code;

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const ENCODING: &str = "grpc-encoding";

/// Characters that `grpc-message` writes as `%XX`.
const ESCAPED: AsciiSet = CONTROLS.add(b'%');

/// Most bytes of `grpc-message` that are kept for the message of a failure.
const MAX_MESSAGE: usize = 1024;

/// Most bytes of a header that a fault shows.
const MAX_SHOWN: usize = 64;

/// Properties that an answer is expected to have, and parts of it to keep.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    /// True if the answer is a stream; otherwise it is exactly one message.
    pub(crate) streams: bool,
    /// Largest message in bytes, uncompressed.
    pub(crate) most: u32,
    /// True if the last message is kept.
    pub(crate) message: bool,
    /// True if the trailers are kept.
    pub(crate) trailers: bool,
}

/// Answer to a call, as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    expected: Expected,
    /// Reader of the answer's messages.
    pub(super) frames: Frames,
    code: Option<Code>,
    /// Text of `grpc-message` of a failed call, still percent-encoded.
    message: Vec<u8>,
    /// Trailers in the form of a kept head, if they are kept.
    trailers: Vec<u8>,
}

impl Reply {
    /// Prepares for the next call.
    pub(crate) fn begin(&mut self, expected: Expected) {
        self.expected = expected;
        self.frames.begin(expected.most, expected.message);
        self.code = None;
        self.message.clear();
        self.trailers.clear();
    }

    /// Sets the status that gRPC clients report when the deadline of a call has passed; `why` says
    /// who found that out.
    pub(crate) fn exceed_deadline(&mut self, why: &str) {
        self.code = Some(Code::DEADLINE_EXCEEDED);
        self.message.clear();
        // as the target would write it
        let escaped = utf8_percent_encode(why, &ESCAPED).to_string();
        self.message.extend_from_slice(escaped.as_bytes());
        self.message.truncate(MAX_MESSAGE);
    }

    /// Returns the status, once it has come.
    pub(crate) fn code(&self) -> Option<Code> {
        self.code
    }

    /// Returns whether the status has come and is OK.
    pub(crate) fn is_ok(&self) -> bool {
        self.code == Some(Code::OK)
    }

    /// Adds the facts that only a call has, once its status has come.
    pub(crate) fn add_to<'a>(&'a self, facts: &mut Facts<'a>) {
        if self.code.is_some() {
            facts.grpc_status = self.code;
            facts.trailers = &self.trailers;
            facts.messages = self.count();
        }
    }

    /// Returns the last message, uncompressed into `out` if it came compressed.
    pub(super) fn last<'a>(&'a self, out: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        self.frames.last(out)
    }

    /// Returns the number of messages that came.
    pub(crate) fn count(&self) -> u64 {
        self.frames.count
    }

    /// Takes the head of an answer, which may hold the status and be the whole answer. Fails if it
    /// is not a head of gRPC.
    pub(super) fn take_head(&mut self, status: u16, headers: &HeaderMap) -> Result<(), Fault> {
        let has_status = headers.contains_key(STATUS);
        if status != 200 && !has_status {
            return Err(Fault::HttpStatus(status));
        }
        let content_type = headers
            .get(http::header::CONTENT_TYPE)
            .map(|value| value.as_bytes())
            .unwrap_or_default();
        if !is_grpc(content_type) {
            return Err(Fault::ContentType(shown(content_type)));
        }
        self.frames.gzip = match headers.get(ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity") => false,
            Some(b"gzip") => true,
            Some(other) => return Err(Fault::Encoding(shown(other))),
        };
        if has_status {
            self.take_trailers(headers)
        } else {
            Ok(())
        }
    }

    /// Takes the status and message at the end of an answer, from its trailers or its head. Fails
    /// if the status is not a code.
    pub(super) fn take_trailers(&mut self, headers: &HeaderMap) -> Result<(), Fault> {
        if let Some(status) = headers.get(STATUS).map(|value| value.as_bytes()) {
            self.code = Some(code(status)?);
        }
        if self.code.is_some_and(|code| code != Code::OK)
            && let Some(message) = headers.get(MESSAGE)
        {
            let message = message.as_bytes();
            self.message
                .extend_from_slice(&message[..message.len().min(MAX_MESSAGE)]);
        }
        if self.expected.trailers {
            // a head begins with the line that says its status
            self.trailers.clear();
            self.trailers.extend_from_slice(b"\n");
            for (name, value) in headers {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    self.trailers.extend_from_slice(part);
                }
            }
        }
        Ok(())
    }

    /// Checks an answer that has come to its end: it needs a status and, if that is OK, the
    /// expected messages.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self.code {
            None => Err(Fault::NoStatus),
            // of a call that failed nothing else is expected
            Some(code) if code != Code::OK => Ok(()),
            Some(_) if !self.frames.are_whole() => Err(Fault::Truncated),
            Some(_) if self.expected.streams => Ok(()),
            Some(_) => match self.count() {
                0 => Err(Fault::NoMessage),
                1 => Ok(()),
                _ => Err(Fault::Several),
            },
        }
    }

    /// Returns the status in words.
    pub(crate) fn status_line(&self) -> String {
        self.code.map_or_else(
            || "no status".to_owned(),
            |code| format!("gRPC status {}", code.numbered()),
        )
    }

    /// Returns the target's own message about a failure, decoded.
    pub(crate) fn message(&self) -> Option<String> {
        (!self.message.is_empty()).then(|| {
            percent_decode(&self.message)
                .decode_utf8_lossy()
                .into_owned()
        })
    }

    /// Frees large buffers once the answer has been checked.
    pub(crate) fn free_large_buffers(&mut self) {
        self.frames.free_large_buffers();
    }
}

/// Checks for `application/grpc`, also with a message format or parameters.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

fn code(text: &[u8]) -> Result<Code, Fault> {
    let number = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok());
    number
        .map(Code)
        .ok_or_else(|| Fault::BadStatus(shown(text)))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_SHOWN)]).into_owned()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn reply() -> Reply {
        let mut reply = Reply::default();
        reply.begin(Expected {
            most: 99,
            message: true,
            trailers: true,
            ..Expected::default()
        });
        reply
    }

    fn head(status: u16, pairs: &[(&'static str, &str)]) -> Result<(), Fault> {
        reply().take_head(status, &headers(pairs))
    }

    #[test]
    fn what_is_no_answer_of_grpc_is_an_error() {
        assert_eq!(
            head(503, &[("content-type", "application/grpc")]),
            Err(Fault::HttpStatus(503))
        );
        assert_eq!(
            head(200, &[("content-type", "text/html")]),
            Err(Fault::ContentType("text/html".into()))
        );
        assert_eq!(
            head(200, &[("content-type", "application/grpc-web")]),
            Err(Fault::ContentType("application/grpc-web".into()))
        );
        assert_eq!(head(200, &[]), Err(Fault::ContentType(String::new())));
        let grpc = ("content-type", "application/grpc+proto");
        assert_eq!(
            head(200, &[grpc, ("grpc-encoding", "snappy")]),
            Err(Fault::Encoding("snappy".into()))
        );
        for status in ["", "-1", "x", "256", "+3"] {
            assert_eq!(
                head(200, &[grpc, ("grpc-status", status)]),
                Err(Fault::BadStatus(status.into()))
            );
        }
        assert_eq!(head(200, &[grpc]), Ok(()));
    }

    #[test]
    fn an_answer_without_status_message_or_end_is_an_error() {
        assert_eq!(reply().check(), Err(Fault::NoStatus));
        let ok = headers(&[("grpc-status", "0")]);
        let with = |bytes: &[u8]| {
            let mut reply = reply();
            reply.frames.feed(bytes).unwrap();
            reply.take_trailers(&ok).unwrap();
            reply.check()
        };
        assert_eq!(with(&[]), Err(Fault::NoMessage));
        assert_eq!(with(&[0, 0, 0, 0, 2, 1]), Err(Fault::Truncated));
        assert_eq!(with(&[0; 10]), Err(Fault::Several));
        assert_eq!(with(&[0; 5]), Ok(()));
    }

    #[test]
    fn a_failure_is_told_in_the_words_of_its_target() {
        let mut reply = reply();
        let only = headers(&[
            ("content-type", "application/grpc"),
            ("grpc-status", "14"),
            ("grpc-message", "h%C3%A4lf%0Agone%"),
            ("x", "y"),
        ]);
        reply.take_head(200, &only).unwrap();
        assert_eq!(reply.check(), Ok(()));
        assert_eq!(
            (reply.status_line().as_str(), reply.message().as_deref()),
            ("gRPC status 14 UNAVAILABLE", Some("hälf\ngone%"))
        );
        let trailers: Vec<_> = crate::engine::answer::capture::headers(&reply.trailers).collect();
        assert_eq!(trailers.last(), Some(&(&b"x"[..], &b"y"[..])));
    }
}
