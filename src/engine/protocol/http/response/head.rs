//! Head of a response: what it says about the body and the connection.

use std::mem::MaybeUninit;
use std::time::Duration;

use crate::engine::protocol::http::response::chunk::Chunk;
use crate::engine::protocol::http::response::{Malformed, State};
use crate::engine::protocol::received::RetryAfter;
use crate::plan::HeadLimits;

/// Fields for which there is room without asking for memory.
const USUAL_FIELDS: usize = 128;

/// Head of a response, parsed.
pub(super) struct Head {
    /// Bytes of the head, with the empty line at its end.
    pub(super) length: usize,
    /// Status.
    pub(super) status: u16,
    /// True if the connection may carry another request.
    pub(super) keep_alive: bool,
    /// Time for which the target keeps the connection idle, if it says so.
    pub(super) idle_timeout: Option<Duration>,
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
    ///
    /// Whatever RFC 9112 lets a recipient read is read: bare line feeds, fields folded over several
    /// lines, spaces before a colon, no reason phrase, a later minor version.
    pub(super) fn parse(
        bytes: &[u8],
        to_head: bool,
        limits: HeadLimits,
    ) -> Result<Option<Self>, Malformed> {
        let mut fields = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
        let parsed = match Self::parse_into(bytes, to_head, limits, &mut fields) {
            Err(Malformed::Head(httparse::Error::TooManyHeaders))
                if limits.fields as usize > USUAL_FIELDS =>
            {
                let mut fields = vec![MaybeUninit::uninit(); limits.fields as usize];
                Self::parse_into(bytes, to_head, limits, &mut fields)
            }
            Err(Malformed::Head(httparse::Error::Version)) => match as_known_version(bytes) {
                Some(known) => return Self::parse(&known, to_head, limits),
                None => Err(Malformed::Head(httparse::Error::Version)),
            },
            parsed => parsed,
        };
        match parsed {
            Err(Malformed::Head(httparse::Error::TooManyHeaders)) => {
                Err(Malformed::TooManyFields(limits.fields))
            }
            parsed => parsed,
        }
    }

    fn parse_into<'b>(
        bytes: &'b [u8],
        to_head: bool,
        limits: HeadLimits,
        fields: &mut [MaybeUninit<httparse::Header<'b>>],
    ) -> Result<Option<Self>, Malformed> {
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true)
            .parse_response_with_uninit_headers(&mut response, bytes, fields);
        let length = match parsed.map_err(Malformed::Head)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) if length > limits.bytes as usize => {
                return Err(Malformed::HeadTooLong(limits.bytes));
            }
            httparse::Status::Complete(length) => length,
        };
        if response.headers.len() > limits.fields as usize {
            return Err(Malformed::TooManyFields(limits.fields));
        }
        let status = response.code.unwrap_or_default();
        if status == 101 {
            return Err(Malformed::Upgrade);
        }
        let mut said = Fields::new(response.version == Some(1));
        for header in response.headers.iter() {
            said.take(header, status);
        }
        let has_body = !to_head && status >= 200 && status != 204 && status != 304;
        let body = if has_body { said.body()? } else { State::Done };
        Ok(Some(Self {
            length,
            status,
            keep_alive: said.keeps_alive(body),
            idle_timeout: said.idle_timeout,
            body,
            retry_after: said.retry_after,
            sets_cookies: said.sets_cookies,
        }))
    }
}

/// Returns `bytes` as an answer of HTTP/1.1 if they begin one of a later minor version, which is
/// read as the highest that is known (RFC 9110, 2.5).
fn as_known_version(bytes: &[u8]) -> Option<Vec<u8>> {
    const PREFIX: &[u8] = b"HTTP/1.";
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
    let minor = start + PREFIX.len();
    let is_later =
        bytes[start..].starts_with(PREFIX) && matches!(bytes.get(minor), Some(b'2'..=b'9'));
    is_later.then(|| {
        let mut known = bytes.to_vec();
        known[minor] = b'1';
        known
    })
}

/// `Content-Length` of a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Unsaid,
    Said(u64),
    /// No number, or several that differ.
    Wrong,
}

/// Facts in the fields of a response that matter for reading it or for the next request.
struct Fields {
    is_version_1_1: bool,
    closes: bool,
    keeps: bool,
    idle_timeout: Option<Duration>,
    length: Length,
    /// True if there is a `Transfer-Encoding` other than `identity`.
    encoded: bool,
    /// True if the last encoding is `chunked`.
    chunked: bool,
    retry_after: Option<RetryAfter>,
    sets_cookies: bool,
}

impl Fields {
    /// Creates the facts before the first field.
    fn new(is_version_1_1: bool) -> Self {
        Self {
            is_version_1_1,
            closes: false,
            keeps: false,
            idle_timeout: None,
            length: Length::Unsaid,
            encoded: false,
            chunked: false,
            retry_after: None,
            sets_cookies: false,
        }
    }

    #[inline]
    fn take(&mut self, header: &httparse::Header<'_>, status: u16) {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            14 if is("content-length") => self.take_length(header.value),
            17 if is("transfer-encoding") => self.take_encodings(header.value),
            10 if is("connection") => {
                for token in tokens(header.value) {
                    self.closes |= token.eq_ignore_ascii_case(b"close");
                    self.keeps |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            10 if is("keep-alive") => self.take_keep_alive(header.value),
            10 if is("set-cookie") => self.sets_cookies = true,
            11 if matches!(status, 429 | 503) && is("retry-after") => {
                self.retry_after = RetryAfter::of(header.value.trim_ascii());
            }
            _ => {}
        }
    }

    /// Takes a length; the same one several times, in one field or more, is one (RFC 9112, 6.3).
    fn take_length(&mut self, value: &[u8]) {
        let mut said = tokens(value).map(number).peekable();
        if said.peek().is_none() {
            self.length = Length::Wrong;
        }
        for length in said {
            self.length = match (length, self.length) {
                (Some(length), Length::Unsaid) => Length::Said(length),
                (Some(length), Length::Said(before)) if length == before => continue,
                _ => Length::Wrong,
            };
        }
    }

    fn take_encodings(&mut self, value: &[u8]) {
        // `identity` was once a way to say that there is none
        for encoding in tokens(value).filter(|token| !token.eq_ignore_ascii_case(b"identity")) {
            self.encoded = true;
            self.chunked = encoding.eq_ignore_ascii_case(b"chunked");
        }
    }

    /// Takes what the target says of a connection that stays idle.
    fn take_keep_alive(&mut self, value: &[u8]) {
        for parameter in tokens(value) {
            let mut parts = parameter.splitn(2, |byte| *byte == b'=');
            let name = parts.next().unwrap_or_default().trim_ascii();
            let Some(value) = parts.next().and_then(|value| number(value.trim_ascii())) else {
                continue;
            };
            if name.eq_ignore_ascii_case(b"timeout") {
                self.idle_timeout = Some(Duration::from_secs(value.min(u32::MAX.into())));
            } else if name.eq_ignore_ascii_case(b"max") {
                self.closes |= value == 0;
            }
        }
    }

    /// Returns the state in which the body of a response that may have one begins.
    fn body(&self) -> Result<State, Malformed> {
        match self.length {
            _ if self.chunked => Ok(State::Chunked(Chunk::BEGIN)),
            _ if self.encoded => Ok(State::UntilClose),
            Length::Wrong => Err(Malformed::Length),
            Length::Unsaid => Ok(State::UntilClose),
            Length::Said(0) => Ok(State::Done),
            Length::Said(left) => Ok(State::Length(left)),
        }
    }

    /// Returns whether the connection may carry another request after this body.
    fn keeps_alive(&self, body: State) -> bool {
        // both kinds of length at once is how requests are smuggled, and HTTP/1.0 knows no
        // encodings: read by the one that counts, then close
        let is_faulty = self.encoded && (self.length != Length::Unsaid || !self.is_version_1_1);
        (self.is_version_1_1 || self.keeps)
            && !self.closes
            && body != State::UntilClose
            && !is_faulty
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    // parse would take a sign
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok().filter(|n| *n <= i64::MAX as u64)
    } else {
        None
    }
}

/// Lists the elements of a field, without the empty ones.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}
