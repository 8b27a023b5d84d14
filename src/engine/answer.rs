//! Facts of one answer, and the rules that judge them: checks, extracts, records and expressions.
//!
//! [`Facts`] is all that a rule sees. A protocol fills it in, and nothing here knows which one did.

pub(super) mod capture;
mod check;
mod condition;
mod extract;
mod rules;
mod unfit;

use std::cell::OnceCell;
use std::time::Duration;

use serde_json::Value;

use crate::engine::answer::capture::headers;
use crate::plan::Slot;
use crate::plan::cel::Subject;
use crate::plan::grpc::Code;
use crate::plan::template::Scope;

pub(crate) use rules::{Judged, Needs, PreparedRules};

/// Facts of a whole answer, borrowed from the user's buffers.
///
/// A protocol sets the facts that its answers have and leaves the others at their defaults; a rule
/// that asks for one of those is refused when the test is validated.
#[derive(Default)]
pub(crate) struct Facts<'a> {
    /// Status code of the HTTP response.
    pub(crate) status: u16,
    /// Status code of the gRPC call.
    pub(crate) grpc_status: Option<Code>,
    /// Headers as HTTP/1.1 writes them, status line included; empty when no rule reads them.
    pub(crate) head: &'a [u8],
    /// Headers that came after the body, in the form of a head; empty when no rule reads them.
    pub(crate) trailers: &'a [u8],
    /// Body without framing and compression, or the last message as JSON; empty when no rule reads
    /// it.
    pub(crate) body: &'a [u8],
    /// JSON that rules read in place of the body; empty if that is the body itself.
    pub(crate) structured: &'a [u8],
    /// True if `body` holds only the first part of the body, or is not what was meant by it.
    pub(crate) truncated: bool,
    /// Reason why the body cannot be read, other than its length.
    pub(crate) unread: Option<String>,
    /// Bytes of the body as the target sent it.
    pub(crate) size: u64,
    /// Time from the intended start of the request to the last byte of the answer.
    pub(crate) latency: Duration,
    /// Messages received.
    pub(crate) messages: u64,
    /// Events received.
    pub(crate) events: u64,
    /// JSON of the body, parsed at most once and only when a rule asks for it.
    pub(crate) json: Json,
    /// Divider of the body into its events; `None` if it is no stream of any.
    pub(crate) split: Option<fn(&[u8]) -> Value>,
    /// Events of the body, divided at most once and only when a rule asks for them.
    pub(crate) raw_events: Json,
}

/// JSON of a body, or why there is none, from when a rule first asked for it; empty by default.
#[derive(Default)]
pub(crate) struct Json(OnceCell<Result<Value, String>>);

/// Variables of a user, from which rules read values and in which they keep what they extract.
pub(crate) trait Store: Scope {
    /// Sets the variable in `slot`. `None` removes the value of an earlier answer, since this
    /// answer has none.
    fn set(&mut self, slot: Slot, value: Option<Value>);
}

impl<'a> Facts<'a> {
    /// Calls `visit` with the value of each header called `name`, in any case, until it returns
    /// something; trailers count as headers.
    pub(crate) fn header<T>(
        &self,
        name: &str,
        mut visit: impl FnMut(&'a [u8]) -> Option<T>,
    ) -> Option<T> {
        first(headers(self.head), name, &mut visit).or_else(|| self.trailer(name, visit))
    }

    /// Calls `visit` like [`header`](Self::header), with trailers only.
    fn trailer<T>(&self, name: &str, mut visit: impl FnMut(&'a [u8]) -> Option<T>) -> Option<T> {
        first(headers(self.trailers), name, &mut visit)
    }

    /// Returns the value that the answer sets the cookie called `name` to: the last one if it sets
    /// several, as users keep that one.
    fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        let mut last = None;
        self.header("set-cookie", |value| {
            let pair = value.split(|byte| *byte == b';').next().unwrap_or_default();
            let at = pair.iter().position(|byte| *byte == b'=')?;
            if pair[..at].trim_ascii() == name.as_bytes() {
                last = Some(pair[at + 1..].trim_ascii());
            }
            None::<()>
        });
        last
    }

    fn cut(&self) -> String {
        self.unread.clone().unwrap_or_else(|| {
            format!(
                "the body is longer than the {} bytes that are kept",
                self.body.len()
            )
        })
    }
}

fn first<'a, T>(
    mut headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    name: &str,
    visit: &mut impl FnMut(&'a [u8]) -> Option<T>,
) -> Option<T> {
    headers.find_map(|(found, value)| {
        if found.eq_ignore_ascii_case(name.as_bytes()) {
            visit(value)
        } else {
            None
        }
    })
}

impl Subject for Facts<'_> {
    fn status(&self) -> u16 {
        self.grpc_status.map_or(self.status, |code| code.0.into())
    }

    fn headers(&self, each: &mut dyn FnMut(&str, &[u8])) {
        headers(self.head)
            .chain(headers(self.trailers))
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
            .for_each(|(name, value)| each(name, value));
    }

    fn body(&self) -> Result<&[u8], &str> {
        if self.truncated {
            let too_long = "the body is longer than what is kept of it";
            Err(self.unread.as_deref().unwrap_or(too_long))
        } else {
            Ok(self.body)
        }
    }

    fn json(&self) -> Result<&Value, &str> {
        let parsed = self.json.0.get_or_init(|| match self.truncated {
            _ if !self.structured.is_empty() => {
                serde_json::from_slice(self.structured).map_err(|error| error.to_string())
            }
            true => Err(format!("{}, so it is not read as JSON", self.cut())),
            false if self.body.is_empty() => Err("the body is empty, not JSON".into()),
            false => serde_json::from_slice(self.body).map_err(|error| {
                format!(
                    "the body is not JSON, line {} column {}",
                    error.line(),
                    error.column()
                )
            }),
        });
        parsed.as_ref().map_err(String::as_str)
    }

    fn raw_events(&self) -> Result<&Value, &str> {
        let split = self.raw_events.0.get_or_init(|| match self.split {
            _ if self.truncated => Err(format!("{}, so not all events are known", self.cut())),
            Some(split) => Ok(split(self.body)),
            None => Err("the answer is no stream of events".into()),
        });
        split.as_ref().map_err(String::as_str)
    }

    fn latency(&self) -> Duration {
        self.latency
    }
}

#[cfg(test)]
mod tests;
