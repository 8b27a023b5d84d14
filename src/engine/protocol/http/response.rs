//! Reads HTTP/1.1 responses from bytes as they come: heads by `httparse`, bodies counted and
//! dropped.
//!
//! Pure: no socket here. Bytes are read in place; only a head that has come in part is copied.

use std::mem::MaybeUninit;

use crate::engine::protocol::received::{Received, RetryAfter};

/// Longest head in bytes, trailers included.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

const MAX_HEADERS: usize = 128;

/// Most interim answers (1xx) before the real one; a sound target sends one or two.
const MAX_INTERIM: u8 = 32;

/// Longest line in bytes that gives a chunk's length.
const MAX_CHUNK_LINE: usize = 4096;

/// Fault of an answer that is not valid HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Head that cannot be parsed.
    #[error("the answer is not HTTP: {0}")]
    Head(httparse::Error),
    /// Head longer than 64 KiB.
    #[error("the head of the answer is longer than 64 KiB")]
    HeadTooLong,
    /// `Content-Length` that is not a number, or several that differ.
    #[error("the answer's Content-Length is not a number, or there are several")]
    Length,
    /// Chunk that is malformed.
    #[error("a chunk of the answer is malformed")]
    Chunk,
    /// More than 32 interim answers (1xx) before the real one.
    #[error("there are more than 32 interim answers (1xx) before the real one")]
    Interim,
    /// Switch to another protocol that the request did not ask for.
    #[error("the answer switches to another protocol, which was not asked for")]
    Upgrade,
}

/// State of the response when the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Whole body, since it extends to the end of the stream.
    Complete,
    /// No byte of an answer came.
    Unanswered,
    /// Answer that ended too early.
    Broken,
}

/// Parser of one response after another; results go to a [`Received`].
#[derive(Debug, Default)]
pub(crate) struct Response {
    state: State,
    /// Bytes so far of an unfinished head.
    aside: Vec<u8>,
    /// True if the request was HEAD.
    to_head: bool,
    /// Number of interim answers so far.
    interim: u8,
    /// True if the connection may carry another request.
    pub(crate) keep_alive: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Body with this many bytes left.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// Line with a chunk's length: the value so far, whether a digit came, whether an extension
    /// began, and the line's length.
    Size {
        size: u64,
        digits: bool,
        extension: bool,
        line: usize,
    },
    /// Data of a chunk with this many bytes left.
    Data(u64),
    /// Line break after the data of a chunk.
    DataEnd,
    /// Trailers: the length of the current line, and of all of them.
    Trailer { line: usize, all: usize },
}

const NEXT_CHUNK: Chunk = Chunk::Size {
    size: 0,
    digits: false,
    extension: false,
    line: 0,
};

impl Response {
    /// Prepares for the next answer. `to_head` is true for the answer to a HEAD request.
    pub(crate) fn begin(&mut self, to_head: bool) {
        self.state = State::Head;
        self.aside.clear();
        self.to_head = to_head;
        self.interim = 0;
        self.keep_alive = true;
    }

    /// Takes bytes that were read and returns whether the response is complete. Bytes after a
    /// complete response answer nothing, so the connection is not kept.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        answer: &mut Received,
    ) -> Result<bool, Malformed> {
        answer.bytes += bytes.len() as u64;
        while !bytes.is_empty() && self.state != State::Done {
            match self.state {
                State::Head => bytes = self.feed_head(bytes, answer)?,
                State::Length(left) => {
                    let (body, rest) = bytes.split_at(self.take(left, bytes.len(), State::Length));
                    answer.capture.take_body(body);
                    bytes = rest;
                }
                State::Chunked(chunk) => bytes = self.feed_chunk(chunk, bytes, answer)?,
                State::UntilClose => {
                    answer.capture.take_body(bytes);
                    bytes = &[];
                }
                State::Done => {}
            }
        }
        if !bytes.is_empty() {
            self.keep_alive = false;
        }
        Ok(self.state == State::Done)
    }

    /// Takes the end of the connection and returns its meaning for the answer.
    pub(crate) fn end_of_stream(&mut self, answer: &Received) -> Ended {
        self.keep_alive = false;
        match self.state {
            State::UntilClose => {
                self.state = State::Done;
                Ended::Complete
            }
            _ if answer.bytes == 0 => Ended::Unanswered,
            _ => Ended::Broken,
        }
    }

    /// Returns how many bytes of the body are sure to come and not needed, so that they may be
    /// dropped unread.
    pub(crate) fn droppable(&self, answer: &Received) -> u64 {
        match self.state {
            _ if !answer.capture.is_full() => 0,
            // a chunk must stay in sight to its end, so that the next state follows from bytes that
            // were read
            State::Length(left) | State::Chunked(Chunk::Data(left)) => left.saturating_sub(1),
            _ => 0,
        }
    }

    /// Counts `count` bytes that were dropped, of those that [`droppable`](Self::droppable)
    /// returned.
    pub(crate) fn dropped(&mut self, count: u64, answer: &mut Received) {
        answer.bytes += count;
        answer.capture.size += count;
        match &mut self.state {
            State::Length(left) | State::Chunked(Chunk::Data(left)) => *left -= count,
            _ => {}
        }
    }

    /// Takes at most `left` of `available` bytes off a body and returns how many.
    fn take(&mut self, left: u64, available: usize, state: fn(u64) -> State) -> usize {
        let taken = left.min(available as u64);
        self.state = if taken == left {
            State::Done
        } else {
            state(left - taken)
        };
        taken as usize
    }

    /// Takes bytes of a head and returns those after it; none while the head is incomplete.
    fn feed_head<'a>(
        &mut self,
        bytes: &'a [u8],
        answer: &mut Received,
    ) -> Result<&'a [u8], Malformed> {
        if self.aside.is_empty() {
            let parsed = parse_head(bytes, self.to_head)?;
            let Some(head) = parsed else {
                self.aside.extend_from_slice(bytes);
                return self.head_goes_on();
            };
            return Ok(&bytes[self.take_head(head, bytes, answer)?..]);
        }
        let before = self.aside.len();
        self.aside.extend_from_slice(bytes);
        // a head ends with a line break, so nothing can have changed without one
        if !bytes.contains(&b'\n') {
            return self.head_goes_on();
        }
        let Some(head) = parse_head(&self.aside, self.to_head)? else {
            return self.head_goes_on();
        };
        let aside = std::mem::take(&mut self.aside);
        Ok(&bytes[self.take_head(head, &aside, answer)? - before..])
    }

    fn head_goes_on(&self) -> Result<&'static [u8], Malformed> {
        if self.aside.len() > MAX_HEAD {
            Err(Malformed::HeadTooLong)
        } else {
            Ok(&[])
        }
    }

    /// Takes the head with which `bytes` begin and returns its length.
    fn take_head(
        &mut self,
        head: Head,
        bytes: &[u8],
        answer: &mut Received,
    ) -> Result<usize, Malformed> {
        let Head {
            length,
            status,
            keep_alive,
            body,
            retry_after,
            sets_cookies,
        } = head;
        if (100..200).contains(&status) {
            // the real one follows
            self.interim += 1;
            return if self.interim > MAX_INTERIM {
                Err(Malformed::Interim)
            } else {
                Ok(length)
            };
        }
        answer.status = status;
        answer.retry_after = retry_after;
        self.keep_alive = keep_alive;
        self.state = body;
        answer
            .capture
            .take_head(&bytes[..length], status, sets_cookies);
        Ok(length)
    }

    fn feed_chunk<'a>(
        &mut self,
        chunk: Chunk,
        bytes: &'a [u8],
        answer: &mut Received,
    ) -> Result<&'a [u8], Malformed> {
        if let Chunk::Data(left) = chunk {
            let taken = left.min(bytes.len() as u64);
            self.state = State::Chunked(if taken == left {
                Chunk::DataEnd
            } else {
                Chunk::Data(left - taken)
            });
            let (data, rest) = bytes.split_at(taken as usize);
            answer.capture.take_body(data);
            return Ok(rest);
        }
        let (byte, rest) = (bytes[0], &bytes[1..]);
        self.state = match chunk {
            Chunk::Size { .. } | Chunk::DataEnd => State::Chunked(next_chunk(chunk, byte)?),
            Chunk::Trailer { line, all } => match byte {
                b'\n' if line == 0 => State::Done,
                b'\n' => State::Chunked(Chunk::Trailer { line: 0, all }),
                b'\r' if line == 0 => State::Chunked(chunk),
                _ if all >= MAX_HEAD => return Err(Malformed::HeadTooLong),
                _ => State::Chunked(Chunk::Trailer {
                    line: line + 1,
                    all: all + 1,
                }),
            },
            Chunk::Data(_) => State::Chunked(chunk),
        };
        Ok(rest)
    }
}

/// Takes one byte of the line with a chunk's length, or of the line break after its data.
fn next_chunk(chunk: Chunk, byte: u8) -> Result<Chunk, Malformed> {
    match (chunk, byte) {
        (Chunk::DataEnd, b'\r') => Ok(Chunk::DataEnd),
        (Chunk::DataEnd, b'\n') => Ok(NEXT_CHUNK),
        (
            Chunk::Size {
                size, digits: true, ..
            },
            b'\n',
        ) => Ok(if size == 0 {
            Chunk::Trailer { line: 0, all: 0 }
        } else {
            Chunk::Data(size)
        }),
        (Chunk::Size { line, .. }, _) if line >= MAX_CHUNK_LINE => Err(Malformed::Chunk),
        (
            Chunk::Size {
                size,
                digits: true,
                line,
                ..
            },
            b'\r' | b';' | b' ' | b'\t',
        ) => Ok(Chunk::Size {
            size,
            digits: true,
            extension: true,
            line: line + 1,
        }),
        (
            Chunk::Size {
                size,
                digits,
                extension: true,
                line,
            },
            _,
        ) => Ok(Chunk::Size {
            size,
            digits,
            extension: true,
            line: line + 1,
        }),
        (
            Chunk::Size {
                size,
                extension: false,
                line,
                ..
            },
            digit,
        ) => {
            let digit = (digit as char).to_digit(16).ok_or(Malformed::Chunk)?;
            let size = size
                .checked_mul(16)
                .and_then(|size| size.checked_add(digit.into()))
                .filter(|size| *size <= i64::MAX as u64)
                .ok_or(Malformed::Chunk)?;
            Ok(Chunk::Size {
                size,
                digits: true,
                extension: false,
                line: line + 1,
            })
        }
        _ => Err(Malformed::Chunk),
    }
}

struct Head {
    length: usize,
    status: u16,
    keep_alive: bool,
    body: State,
    retry_after: Option<RetryAfter>,
    sets_cookies: bool,
}

/// Parses a head; `None` while it is not complete.
fn parse_head(bytes: &[u8], to_head: bool) -> Result<Option<Head>, Malformed> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut headers,
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
    let mut keep_alive = response.version == Some(1);
    let mut content_length: Option<u64> = None;
    let (mut encoded, mut chunked) = (false, false);
    let (mut retry_after, mut sets_cookies) = (None, false);
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            14 if is("content-length") => {
                let value = number(header.value).ok_or(Malformed::Length)?;
                if content_length.is_some_and(|other| other != value) {
                    return Err(Malformed::Length);
                }
                content_length = Some(value);
            }
            17 if is("transfer-encoding") => {
                encoded = true;
                chunked = tokens(header.value)
                    .last()
                    .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
            }
            10 if is("connection") => {
                for token in tokens(header.value) {
                    keep_alive = (keep_alive || token.eq_ignore_ascii_case(b"keep-alive"))
                        && !token.eq_ignore_ascii_case(b"close");
                }
            }
            10 if is("set-cookie") => sets_cookies = true,
            11 if matches!(status, 429 | 503) && is("retry-after") => {
                retry_after = RetryAfter::of(header.value)
            }
            _ => {}
        }
    }
    let body = match content_length {
        _ if to_head || status < 200 || status == 204 || status == 304 => State::Done,
        _ if chunked => State::Chunked(NEXT_CHUNK),
        Some(0) if !encoded => State::Done,
        Some(left) if !encoded => State::Length(left),
        _ => State::UntilClose,
    };
    // both kinds of length at once is how requests are smuggled: read by the one that counts, then
    // close
    let keep_alive =
        keep_alive && body != State::UntilClose && !(encoded && content_length.is_some());
    Ok(Some(Head {
        length,
        status,
        keep_alive,
        body,
        retry_after,
        sets_cookies,
    }))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::answer::capture::Wanted;

    /// A parser with the answer that it fills.
    #[derive(Default)]
    struct Reader {
        response: Response,
        answer: Received,
    }

    impl Reader {
        fn begin(&mut self, to_head: bool, wanted: Wanted) {
            self.response.begin(to_head);
            self.answer.begin(wanted);
        }

        fn feed(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
            self.response.feed(bytes, &mut self.answer)
        }

        fn end_of_stream(&mut self) -> Ended {
            self.response.end_of_stream(&self.answer)
        }

        fn droppable(&self) -> u64 {
            self.response.droppable(&self.answer)
        }

        fn dropped(&mut self, count: u64) {
            self.response.dropped(count, &mut self.answer);
        }
    }

    impl std::ops::Deref for Reader {
        type Target = Received;

        fn deref(&self) -> &Received {
            &self.answer
        }
    }

    /// Feeds `bytes` in pieces cut at `cuts`; whether the response is complete, and the reader.
    fn read(bytes: &[u8], cuts: &[usize]) -> Result<(bool, Reader), Malformed> {
        let mut response = Reader::default();
        response.begin(false, Wanted::default());
        let mut done = false;
        let mut from = 0;
        for to in cuts.iter().copied().chain([bytes.len()]) {
            done |= response.feed(&bytes[from..to])?;
            from = to;
        }
        Ok((done, response))
    }

    fn whole(bytes: &str) -> Result<(bool, Reader), Malformed> {
        read(bytes.as_bytes(), &[])
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: v\r\n\r\n";

    #[test]
    fn what_is_not_http_is_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD));
        for (text, wrong) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", None),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
                Some(Malformed::Length),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
                Some(Malformed::Length),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
                Some(Malformed::Length),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                Some(Malformed::Length),
            ),
            ("HTTP/1.1 101 Switching\r\n\r\n", Some(Malformed::Upgrade)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
                Some(Malformed::Chunk),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
                Some(Malformed::Chunk),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
                Some(Malformed::Chunk),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
                Some(Malformed::Chunk),
            ),
            (&endless, Some(Malformed::HeadTooLong)),
            (
                &"HTTP/1.1 100 Continue\r\n\r\n".repeat(40),
                Some(Malformed::Interim),
            ),
            (
                &format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200)),
                None,
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
                None,
            ),
            ("HTTP/1.1 2000 OK\r\n\r\n", None),
            ("HTTP/2.0 200 OK\r\n\r\n", None),
        ] {
            let error = whole(text).err();
            assert!(
                error.is_some() && (wrong.is_none() || error == wrong),
                "{text:.40?} gave {error:?}"
            );
        }
    }

    #[test]
    fn a_response_may_be_cut_at_every_byte() {
        for at in 0..=CHUNKED.len() {
            let (done, response) = read(CHUNKED.as_bytes(), &[at]).unwrap();
            assert!(
                done && response.response.keep_alive && response.bytes == CHUNKED.len() as u64,
                "cut at {at}"
            );
        }
        let every: Vec<usize> = (1..CHUNKED.len()).collect();
        assert!(read(CHUNKED.as_bytes(), &every).unwrap().0);
        assert!(
            !read(&CHUNKED.as_bytes()[..CHUNKED.len() - 1], &[])
                .unwrap()
                .0
        );
    }

    #[test]
    fn the_end_of_the_stream_is_the_end_of_a_body_only_without_a_length() {
        let (_, mut until_close) = whole("HTTP/1.0 200 OK\r\n\r\nhel").unwrap();
        assert_eq!(
            (until_close.end_of_stream(), until_close.response.keep_alive),
            (Ended::Complete, false)
        );
        let (_, mut short) = whole("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").unwrap();
        assert_eq!(short.end_of_stream(), Ended::Broken);
        let (_, mut nothing) = whole("").unwrap();
        assert_eq!(nothing.end_of_stream(), Ended::Unanswered);
        let (_, mut head) = whole("HTTP/1.1 2").unwrap();
        assert_eq!(head.end_of_stream(), Ended::Broken);
    }

    #[test]
    fn only_seconds_or_a_date_are_kept_of_retry_after() {
        for (value, kept) in [
            ("7", true),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Bearer canary", false),
            ("", false),
            ("99999999999", false),
        ] {
            let (_, response) = whole(&format!(
                "HTTP/1.1 503 No\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
            ))
            .unwrap();
            assert_eq!(
                response.retry_after.map(|after| after.to_string()),
                kept.then(|| value.to_owned())
            );
        }
    }

    #[test]
    fn interim_answers_are_skipped() {
        let (done, response) = whole(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
        )
        .unwrap();
        assert_eq!(
            (done, response.status, response.response.keep_alive),
            (true, 201, true)
        );
    }

    #[test]
    fn some_answers_have_no_body() {
        assert!(whole("HTTP/1.1 204 No Content\r\n\r\n").unwrap().0);
        assert!(
            whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
                .unwrap()
                .0
        );
        let mut head = Reader::default();
        head.begin(true, Wanted::default());
        assert_eq!(
            head.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            Ok(true)
        );
        assert!(head.response.keep_alive);
    }

    #[test]
    fn a_connection_is_kept_only_when_both_sides_can_go_on() {
        for (text, kept) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo, Close\r\n\r\n",
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                false,
            ),
        ] {
            let (done, response) = whole(text).unwrap();
            assert_eq!(
                (done, response.response.keep_alive),
                (true, kept),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_wanted_of_an_answer_is_kept_however_it_comes() {
        for at in 0..=CHUNKED.len() {
            let mut response = Reader::default();
            response.begin(
                false,
                Wanted {
                    body: true,
                    ..Wanted::default()
                },
            );
            response.feed(&CHUNKED.as_bytes()[..at]).unwrap();
            assert!(
                at == CHUNKED.len() || response.droppable() == 0,
                "a body that is wanted is not dropped"
            );
            response.feed(&CHUNKED.as_bytes()[at..]).unwrap();
            assert_eq!(
                response.capture.body, b"helloabcdefghijklmnopqrstuvwxyz",
                "cut at {at}"
            );
            assert!(
                response.capture.head.ends_with(b"chunked\r\n\r\n"),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_body_beyond_the_limit_is_dropped() {
        let mut response = Reader::default();
        response.begin(
            false,
            Wanted {
                body: true,
                ..Wanted::default()
            },
        );
        response
            .feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")
            .unwrap();
        response.feed(&vec![b'x'; 2_000_000]).unwrap();
        assert_eq!(
            (response.capture.body.len(), response.capture.truncated),
            (1024 * 1024, true)
        );
        assert_eq!(response.droppable(), 999_999);
    }

    #[test]
    fn a_head_is_kept_for_its_cookies_or_its_redirect_only_when_it_has_them() {
        let kept = |text: &str| {
            let mut response = Reader::default();
            response.begin(
                false,
                Wanted {
                    cookies: true,
                    redirects: true,
                    ..Wanted::default()
                },
            );
            response.feed(text.as_bytes()).unwrap();
            !response.capture.head.is_empty()
        };
        assert!(!kept("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(kept(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        ));
        assert!(kept(
            "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
        ));
    }

    #[test]
    fn all_but_the_last_byte_of_a_body_may_be_dropped() {
        let (_, mut response) = whole("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab").unwrap();
        assert_eq!(response.droppable(), 97);
        response.dropped(97);
        assert_eq!(response.feed(b"x"), Ok(true));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
            let _unused = read(&bytes, &[cut.index(bytes.len() + 1)]);
            let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            chunked.extend_from_slice(&bytes);
            let _unused = read(&chunked, &[cut.index(chunked.len() + 1)]);
        }

        #[test]
        fn what_is_kept_of_a_head_is_bounded(line in "[ -~]{0,20}", size in 1usize..5000) {
            let mut response = Reader::default();
            response.begin(false, Wanted::default());
            let piece = format!("{line}\r\n").repeat(size);
            let mut fed = response.feed(b"HTTP/1.1 200 OK\r\nA: b\r\nB: ");
            for _ in 0..100 {
                fed = fed.and_then(|done| if done { Ok(true) } else { response.feed(piece.as_bytes()) });
                prop_assert!(response.response.aside.len() <= MAX_HEAD + piece.len());
            }
        }

        #[test]
        fn chunks_may_have_any_size_and_be_cut_anywhere(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let (done, response) = read(&bytes, &cuts).unwrap();
            prop_assert!(done && response.response.keep_alive);
            prop_assert_eq!(response.bytes, bytes.len() as u64);
            prop_assert!(!read(&bytes[..bytes.len() - 1], &[]).unwrap().0);
        }
    }
}
