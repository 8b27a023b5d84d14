//! Latest answer of one target to one user, as far as it came, for any protocol.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::engine::answer::capture::{Capture, Wanted};
use crate::plan::StreamFormat;

/// Answer as it is received: status, sizes, and kept parts.
#[derive(Default)]
pub(crate) struct Received {
    /// HTTP status; 0 before it came.
    pub(crate) status: u16,
    /// Size in bytes of heads, framing and body.
    pub(crate) bytes: u64,
    /// Wait that the target asked for; only with 429 and 503.
    pub(crate) retry_after: Option<RetryAfter>,
    /// Head and body, as far as they are kept.
    pub(crate) capture: Capture,
    /// Number of events of the latest answer that was read as a stream.
    pub(crate) events: u64,
    /// Format of the answer, if it was read as a stream.
    pub(crate) stream: Option<StreamFormat>,
}

impl Received {
    /// Prepares for the next answer, of which the parts in `wanted` are kept.
    pub(crate) fn begin(&mut self, wanted: Wanted) {
        self.capture.begin(wanted);
        self.status = 0;
        self.bytes = 0;
        self.retry_after = None;
        self.stream = None;
    }

    /// Takes a head that came over HTTP/2. Its size counts as HTTP/1.1 would write it.
    pub(crate) fn take_http2_head(&mut self, status: u16, headers: &HeaderMap) {
        self.status = status;
        let mut sets_cookies = false;
        for (name, value) in headers {
            self.bytes += (name.as_str().len() + value.len() + 4) as u64;
            sets_cookies |= name == http::header::SET_COOKIE;
        }
        if matches!(status, 429 | 503) {
            self.retry_after = headers
                .get(http::header::RETRY_AFTER)
                .and_then(|value| RetryAfter::of(value.as_bytes()));
        }
        // the line with the status, and the empty one
        self.bytes += 19;
        self.capture.take_http2_head(status, sets_cookies, headers);
    }

    /// Takes a part of a body that came over HTTP/2.
    pub(crate) fn take_http2_data(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        self.capture.take_body(data);
    }
}

/// Value of `Retry-After`: seconds or a date, as the target wrote it. Other values are not kept,
/// since they could be anything and would be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryAfter {
    text: [u8; Self::DATE],
    length: u8,
}

impl RetryAfter {
    /// Length of `Sun, 06 Nov 1994 08:49:37 GMT`.
    const DATE: usize = 29;

    /// Reads the value of the header; `None` if it is neither seconds nor a date.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        let is_seconds =
            !value.is_empty() && value.len() <= 10 && value.iter().all(u8::is_ascii_digit);
        let is_date = value.len() == Self::DATE
            && value.get(3..5) == Some(b", ")
            && value.ends_with(b" GMT")
            && value.is_ascii();
        if !is_seconds && !is_date {
            return None;
        }
        let mut text = [0; Self::DATE];
        text[..value.len()].copy_from_slice(value);
        Some(Self {
            text,
            length: value.len() as u8,
        })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }

    /// Returns the time to wait from `now` on; zero for a date in the past, `None` for an invalid
    /// date.
    pub(crate) fn wait(&self, now: SystemTime) -> Option<Duration> {
        let text = self.as_str();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = SystemTime::from(jiff::fmt::rfc2822::parse(text).ok()?.timestamp());
        Some(date.duration_since(now).unwrap_or_default())
    }
}

impl std::fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_from_now_whichever_way_it_is_told() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |text: &str| {
            RetryAfter::of(text.as_bytes())
                .unwrap()
                .wait(now)
                .map(|wait| wait.as_secs())
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(wait("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0), "it is over");
        assert_eq!(wait("Xyz, 99 Foo 1994 08:49:37 GMT"), None);
    }
}
