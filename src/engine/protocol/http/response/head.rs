//! Head of a response: what it says about the body and the connection.

use std::mem::MaybeUninit;

use crate::engine::protocol::http::response::chunk::Chunk;
use crate::engine::protocol::http::response::{MAX_HEAD, Malformed, State};
use crate::engine::protocol::received::RetryAfter;

/// Fields for which there is room without asking for memory.
const USUAL_HEADERS: usize = 128;

/// Most fields of a head.
pub(super) const MAX_HEADERS: usize = 4096;

/// Head of a response, parsed.
pub(super) struct Head {
    /// Bytes of the head, with the empty line at its end.
    pub(super) length: usize,
    /// Status.
    pub(super) status: u16,
    /// True if the connection may carry another request.
    pub(super) keep_alive: bool,
    /// State that follows the head.
    pub(super) body: State,
    /// Wait that the target asked for; only with 429 and 503.
    pub(super) retry_after: Option<RetryAfter>,
    /// True if the head sets cookies.
    pub(super) sets_cookies: bool,
}

impl Head {
    /// Parses the head with which `bytes` begin; `None` while it is not complete. `to_head` is true
    /// for the answer to a HEAD request.
    pub(super) fn parse(bytes: &[u8], to_head: bool) -> Result<Option<Self>, Malformed> {
        let mut headers = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
        match Self::parse_into(bytes, to_head, &mut headers) {
            Err(Malformed::Head(httparse::Error::TooManyHeaders)) => {
                let mut headers = vec![MaybeUninit::uninit(); MAX_HEADERS];
                match Self::parse_into(bytes, to_head, &mut headers) {
                    Err(Malformed::Head(httparse::Error::TooManyHeaders)) => {
                        Err(Malformed::TooManyHeaders)
                    }
                    parsed => parsed,
                }
            }
            parsed => parsed,
        }
    }

    fn parse_into<'b>(
        bytes: &'b [u8],
        to_head: bool,
        headers: &mut [MaybeUninit<httparse::Header<'b>>],
    ) -> Result<Option<Self>, Malformed> {
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            headers,
        );
        let length = match parsed.map_err(Malformed::Head)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) if length > MAX_HEAD => {
                return Err(Malformed::HeadTooLong);
            }
            httparse::Status::Complete(length) => length,
        };
        let status = response.code.unwrap_or_default();
        if status == 101 {
            return Err(Malformed::Upgrade);
        }
        let mut said = Headers::new(response.version == Some(1));
        for header in response.headers.iter() {
            said.take(header, status)?;
        }
        let has_body = !to_head && status >= 200 && status != 204 && status != 304;
        let body = if has_body { said.body() } else { State::Done };
        Ok(Some(Self {
            length,
            status,
            keep_alive: said.keeps_alive(body),
            body,
            retry_after: said.retry_after,
            sets_cookies: said.sets_cookies,
        }))
    }
}

/// Facts in the headers of a response that matter for reading it or for the next request.
struct Headers {
    keep_alive: bool,
    content_length: Option<u64>,
    /// True if there is a `Transfer-Encoding`.
    encoded: bool,
    /// True if the last encoding is `chunked`.
    chunked: bool,
    retry_after: Option<RetryAfter>,
    sets_cookies: bool,
}

impl Headers {
    /// Creates the facts before the first header; `keep_alive` is what the version implies.
    fn new(keep_alive: bool) -> Self {
        Self {
            keep_alive,
            content_length: None,
            encoded: false,
            chunked: false,
            retry_after: None,
            sets_cookies: false,
        }
    }

    #[inline]
    fn take(&mut self, header: &httparse::Header<'_>, status: u16) -> Result<(), Malformed> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            14 if is("content-length") => {
                let value = number(header.value).ok_or(Malformed::Length)?;
                if self.content_length.is_some_and(|other| other != value) {
                    return Err(Malformed::Length);
                }
                self.content_length = Some(value);
            }
            17 if is("transfer-encoding") => {
                self.encoded = true;
                self.chunked = tokens(header.value)
                    .last()
                    .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
            }
            10 if is("connection") => {
                for token in tokens(header.value) {
                    self.keep_alive = (self.keep_alive
                        || token.eq_ignore_ascii_case(b"keep-alive"))
                        && !token.eq_ignore_ascii_case(b"close");
                }
            }
            10 if is("set-cookie") => self.sets_cookies = true,
            11 if matches!(status, 429 | 503) && is("retry-after") => {
                self.retry_after = RetryAfter::of(header.value);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the state in which the body of a response that may have one begins.
    fn body(&self) -> State {
        match self.content_length {
            _ if self.chunked => State::Chunked(Chunk::BEGIN),
            Some(0) if !self.encoded => State::Done,
            Some(left) if !self.encoded => State::Length(left),
            _ => State::UntilClose,
        }
    }

    /// Returns whether the connection may carry another request after this body.
    fn keeps_alive(&self, body: State) -> bool {
        // both kinds of length at once is how requests are smuggled: read by the one that counts,
        // then close
        let is_ambiguous = self.encoded && self.content_length.is_some();
        self.keep_alive && body != State::UntilClose && !is_ambiguous
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim();
    // parse would take a sign
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok().filter(|n| *n <= i64::MAX as u64)
    } else {
        None
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}
