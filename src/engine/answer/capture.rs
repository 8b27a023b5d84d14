//! What is kept of an answer for those who look at it: its head, and its body up to a limit.
//! Without anyone who looks, nothing is.

/// Bodies are kept up to this; what comes after is counted and dropped.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

/// Of the body of a failing answer at least so much is kept: it tells why it fails.
pub(crate) const MAX_REFUSAL: usize = 4 * 1024;

/// A buffer that grew beyond this is given back when the answer has been looked at, so that idle
/// users stay small.
const WORTH_KEEPING: usize = 4 * 1024;

/// What of the next answer is to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The head whatever it says.
    pub(crate) head: bool,
    pub(crate) body: bool,
    /// The head when it sets cookies.
    pub(crate) cookies: bool,
    /// The head when it redirects.
    pub(crate) redirects: bool,
    /// The body as it comes, for who reads it meanwhile.
    pub(crate) stream: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Capture {
    pub(crate) wanted: Wanted,
    /// As HTTP/1.1 writes it, status line included; empty when it was not kept.
    pub(crate) head: Vec<u8>,
    /// The head says so, kept or not.
    pub(crate) sets_cookies: bool,
    /// Without framing, as encoded as it came.
    pub(crate) body: Vec<u8>,
    /// Bytes of the body that are kept.
    limit: usize,
    /// More of the body came than was kept.
    pub(crate) truncated: bool,
    /// Bytes of the body that came, kept or not.
    pub(crate) size: u64,
    /// What came of a stream and has not been read yet, without framing, as encoded as it came.
    pub(crate) fresh: Vec<u8>,
}

impl Capture {
    pub(crate) fn begin(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        self.head.clear();
        self.sets_cookies = false;
        self.body.clear();
        self.limit = if wanted.body { MAX_BODY } else { 0 };
        self.truncated = false;
        self.size = 0;
        self.fresh.clear();
    }

    /// `bytes` are the whole head of the final answer.
    pub(crate) fn take_head(&mut self, bytes: &[u8], status: u16, sets_cookies: bool) {
        self.sets_cookies = sets_cookies;
        self.keep_refusal(status);
        if self.wants_head(status) {
            self.head.extend_from_slice(bytes);
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
        // who looks at a body needs to know how it is encoded
        head || body
            || status >= 400
            || cookies && self.sets_cookies
            || redirects && (300..400).contains(&status)
    }

    /// Likewise, of an answer over HTTP/2, in the form of HTTP/1.1.
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

    /// Whether what is still to come of the body may be dropped unseen.
    pub(crate) fn is_full(&self) -> bool {
        (self.limit == 0 || self.truncated) && !self.wanted.stream
    }

    /// The answer has been looked at.
    pub(crate) fn let_go(&mut self) {
        // nor do users grow by a target that fails
        let is_refusal = !self.wanted.body && self.limit > 0;
        for buffer in [&mut self.head, &mut self.body, &mut self.fresh] {
            if is_refusal || buffer.capacity() > WORTH_KEEPING {
                *buffer = Vec::new();
            }
        }
    }
}

/// Names and values in a kept head, which has been found well-formed.
pub(crate) fn headers(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
}

/// The values of the headers of one name that are text, in order.
pub(crate) fn header_texts<'a>(head: &'a [u8], name: &str) -> impl Iterator<Item = &'a str> {
    headers(head)
        .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
        .filter_map(|(_, value)| std::str::from_utf8(value).ok())
}
