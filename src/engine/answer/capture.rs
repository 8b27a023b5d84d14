//! Parts of an answer that are kept for rules, the request log or the protocol: its head, and its
//! body up to a limit. Answers of which nothing is needed are only counted.

/// Largest part of a body that is kept, in bytes; the rest is counted and dropped.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

/// Part of a body, in bytes, that is kept of every failing answer, since it tells why the request
/// failed.
pub(crate) const MAX_REFUSAL: usize = 4 * 1024;

/// Largest capacity in bytes that a buffer keeps between answers, so that idle users stay small.
const WORTH_KEEPING: usize = 4 * 1024;

/// Parts of the next answer that must be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Keeps every head.
    pub(crate) head: bool,
    /// Keeps the body up to [`MAX_BODY`], and the head, which says how the body is encoded.
    pub(crate) body: bool,
    /// Keeps a head that sets cookies.
    pub(crate) cookies: bool,
    /// Keeps the head of a redirect.
    pub(crate) redirects: bool,
    /// Keeps the body as it arrives, for a reader of streams.
    pub(crate) stream: bool,
}

/// Kept parts of one answer after the other, in buffers that are used again.
#[derive(Default)]
pub(crate) struct Capture {
    /// Parts of the current answer that must be kept.
    pub(crate) wanted: Wanted,
    /// Head as HTTP/1.1 writes it, status line included; empty when it was not kept.
    pub(crate) head: Vec<u8>,
    /// Set if the head sets cookies, kept or not.
    pub(crate) sets_cookies: bool,
    /// Kept part of the body, without framing and still compressed if it came so.
    pub(crate) body: Vec<u8>,
    /// JSON that rules read in place of the body, where a protocol makes one of the answer; else
    /// empty.
    pub(crate) structured: Vec<u8>,
    /// Number of bytes of the body that are kept.
    limit: usize,
    /// Set if more of the body came than was kept.
    pub(crate) truncated: bool,
    /// Bytes of the body that came, kept or not.
    pub(crate) size: u64,
    /// Bytes of a stream that have not been read yet, without framing and still compressed if they
    /// came so.
    pub(crate) fresh: Vec<u8>,
}

impl Capture {
    /// Empties the buffers for the next answer.
    pub(crate) fn begin(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        self.head.clear();
        self.sets_cookies = false;
        self.body.clear();
        self.structured.clear();
        self.limit = if wanted.body { MAX_BODY } else { 0 };
        self.truncated = false;
        self.size = 0;
        self.fresh.clear();
    }

    /// Takes the head of the final answer; `bytes` hold the whole head.
    pub(crate) fn take_head(&mut self, bytes: &[u8], status: u16, sets_cookies: bool) {
        self.sets_cookies = sets_cookies;
        self.keep_refusal(status);
        if self.wants_head(status) {
            self.head.extend_from_slice(bytes);
            unfold(&mut self.head);
        }
    }

    fn keep_refusal(&mut self, status: u16) {
        if status >= 400 {
            self.limit = self.limit.max(MAX_REFUSAL);
        }
    }

    fn wants_head(&self, status: u16) -> bool {
        let Wanted {
            head,
            body,
            cookies,
            redirects,
            stream: _,
        } = self.wanted;
        // the head says how the body is encoded
        head || body
            || status >= 400
            || cookies && self.sets_cookies
            || redirects && (300..400).contains(&status)
    }

    /// Takes the head of an answer over HTTP/2, and keeps it in the form of HTTP/1.1.
    pub(crate) fn take_http2_head(
        &mut self,
        status: u16,
        sets_cookies: bool,
        headers: &http::HeaderMap,
    ) {
        self.sets_cookies = sets_cookies;
        self.keep_refusal(status);
        if !self.wants_head(status) {
            return;
        }
        self.head
            .extend_from_slice(format!("HTTP/2 {status}\r\n").as_bytes());
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.head.extend_from_slice(part);
            }
        }
        self.head.extend_from_slice(b"\r\n");
    }

    /// Takes the next bytes of the body.
    pub(crate) fn take_body(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if self.wanted.stream {
            self.fresh.extend_from_slice(bytes);
        }
        if self.limit == 0 {
            return;
        }
        let room = self.limit - self.body.len();
        self.truncated |= bytes.len() > room;
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Returns whether the rest of the body may be dropped unread.
    pub(crate) fn is_full(&self) -> bool {
        (self.limit == 0 || self.truncated) && !self.wanted.stream
    }

    /// Frees large buffers once the answer has been judged.
    pub(crate) fn free_large_buffers(&mut self) {
        // users do not grow by the bodies of a target that fails
        let is_refusal = !self.wanted.body && self.limit > 0;
        for buffer in [
            &mut self.head,
            &mut self.body,
            &mut self.structured,
            &mut self.fresh,
        ] {
            if is_refusal || buffer.capacity() > WORTH_KEEPING {
                *buffer = Vec::new();
            }
        }
    }
}

/// Replaces the line breaks within fields by spaces (RFC 9112, 5.2).
fn unfold(head: &mut [u8]) {
    for at in 1..head.len().saturating_sub(1) {
        if head[at] == b'\n' && matches!(head[at + 1], b' ' | b'\t') {
            head[at] = b' ';
            if head[at - 1] == b'\r' {
                head[at - 1] = b' ';
            }
        }
    }
}

/// Lists names and values of the headers in a kept head, which is known to be well-formed.
pub(crate) fn headers(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((
                line[..colon].trim_ascii_end(),
                line[colon + 1..].trim_ascii(),
            ))
        })
}

/// Lists the values of the headers called `name`, in any case, that are text, in their order.
pub(crate) fn header_texts<'a>(head: &'a [u8], name: &str) -> impl Iterator<Item = &'a str> {
    headers(head)
        .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
        .filter_map(|(_, value)| std::str::from_utf8(value).ok())
}
