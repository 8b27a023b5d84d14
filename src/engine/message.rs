//! Changes to a rendered request: a cookie is added, or the request for a redirect is built.
//! Requests that need no change are not copied.

use url::Url;

/// Default value of `User-Agent`.
pub(crate) const USER_AGENT: &str = concat!("starling/", env!("CARGO_PKG_VERSION"));

/// Headers that may be sent to any origin; all others may hold credentials.
const HARMLESS: [&str; 8] = [
    "user-agent",
    "accept",
    "accept-encoding",
    "accept-language",
    "content-type",
    "content-encoding",
    "content-length",
    "connection",
];

/// Returns whether a header of this name is sure to hold no credential.
pub(crate) fn is_harmless(name: &[u8]) -> bool {
    HARMLESS
        .iter()
        .any(|harmless| name.eq_ignore_ascii_case(harmless.as_bytes()))
}

/// Headers whose values are never shown.
const CREDENTIALS: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
];

/// Words that mark a header as one whose value is never shown.
const SUSPECT: [&str; 5] = ["token", "secret", "password", "api-key", "apikey"];

/// Returns whether the value of a header of this name is never shown.
pub(crate) fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIALS.contains(&name.as_str()) || SUSPECT.iter().any(|word| name.contains(word))
}

/// Returns whether `name` can be the name of a header (RFC 9110, 5.6.2).
pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Splits a message into its head, with the line break after the last header, and its body.
pub(crate) fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or((message, &[]), |at| {
        (&message[..at + 2], &message[at + 4..])
    })
}

/// Returns the value of `Host` for a URL.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Returns the request target of a message: its path and query.
pub(crate) fn path(message: &[u8]) -> &str {
    let path = message
        .split(|byte| *byte == b' ')
        .nth(1)
        .unwrap_or_default();
    std::str::from_utf8(path).unwrap_or_default()
}

/// Writes `message` with one more header to `out`.
pub(crate) fn with_header(message: &[u8], name: &str, value: &[u8], out: &mut Vec<u8>) {
    let line = [name.as_bytes(), b": ", value, b"\r\n"].concat();
    with_lines(message, &line, out);
}

/// Lists the values of the headers of a message called `name`, in any case.
pub(crate) fn values<'a>(message: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let (head, _) = split(message);
    head.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(move |line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line[..colon]
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| line[colon + 1..].trim_ascii())
        })
}

/// Returns the value of the first header of a message called `name`, in any case.
pub(crate) fn header<'a>(message: &'a [u8], name: &'a str) -> Option<&'a [u8]> {
    values(message, name).next()
}

/// Writes `message` to `out` with `cookies` beside those that it has, in one `Cookie` field (RFC
/// 6265, 5.4).
pub(crate) fn with_cookies(message: &[u8], cookies: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let (head, _) = split(message);
    let own = values(message, "cookie").filter(|value| !value.is_empty());
    let all = own.chain([cookies]).collect::<Vec<_>>().join(&b"; "[..]);
    for (nth, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if nth == 0 || !name.eq_ignore_ascii_case(b"cookie") {
            out.extend_from_slice(line);
        }
        if nth == 0 {
            for part in [&b"Cookie: "[..], &all, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
    out.extend_from_slice(&message[head.len()..]);
}

/// Writes `message` with more headers to `out`; each of the `lines` has its line break.
pub(crate) fn with_lines(message: &[u8], lines: &[u8], out: &mut Vec<u8>) {
    let line_end = message
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .map_or(0, |at| at + 2);
    out.clear();
    out.extend_from_slice(&message[..line_end]);
    out.extend_from_slice(lines);
    out.extend_from_slice(&message[line_end..]);
}

/// Redirect to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Redirect<'a> {
    /// Status of the answer.
    pub(crate) status: u16,
    /// Path and query to go to.
    pub(crate) path: &'a str,
    /// Value of `Host` there.
    pub(crate) host: &'a str,
    /// True if the redirect leads to the origin of the request before.
    pub(crate) same_origin: bool,
}

/// Writes to `out` the request that follows a redirect of `message`, and returns whether its method
/// is HEAD.
///
/// After 303, and after 301 and 302 of a POST, it is a GET without a body (RFC 9110, 15.4).
/// Credentials and cookies are left out if the origin differs.
pub(crate) fn redirected(message: &[u8], redirect: Redirect<'_>, out: &mut Vec<u8>) -> bool {
    let Redirect {
        status,
        path,
        host,
        same_origin,
    } = redirect;
    let head_end = message
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(message.len(), |at| at + 2);
    let (head, body) = message.split_at(head_end);
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let method = lines
        .next()
        .and_then(|line| line.split(|byte| *byte == b' ').next())
        .unwrap_or(b"GET");
    let to_get =
        status == 303 && method != b"HEAD" || matches!(status, 301 | 302) && method == b"POST";
    let method: &[u8] = if to_get { b"GET" } else { method };
    out.clear();
    for part in [
        method,
        b" ",
        path.as_bytes(),
        b" HTTP/1.1\r\nHost: ",
        host.as_bytes(),
        b"\r\n",
    ] {
        out.extend_from_slice(part);
    }
    for line in lines.filter(|line| !line.is_empty()) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let of_body = name.len() > 8 && name[..8].eq_ignore_ascii_case(b"content-");
        let goes = same_origin || is_harmless(name);
        let is_host = name.eq_ignore_ascii_case(b"host");
        if !is_host && goes && !(to_get && of_body) {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
    if to_get {
        out.extend_from_slice(b"\r\n")
    } else {
        out.extend_from_slice(body)
    }
    method == b"HEAD"
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = b"POST /a?b HTTP/1.1\r\nHost: one\r\nAuthorization: Bearer t\r\nX-Key: k\r\nCookie: a=b\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";

    fn after(status: u16, same_origin: bool) -> String {
        let mut out = Vec::new();
        redirected(
            POST,
            Redirect {
                status,
                path: "/new",
                host: "two",
                same_origin,
            },
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn credentials_and_cookies_do_not_follow_to_another_origin() {
        let other = after(307, false);
        assert_eq!(
            other,
            "POST /new HTTP/1.1\r\nHost: two\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
        );
        assert!(after(307, true).contains("Authorization: Bearer t\r\nX-Key: k\r\n"));
        assert!(after(307, true).contains("Cookie: a=b\r\n"));
    }

    #[test]
    fn a_post_becomes_a_get_without_its_body_unless_told_to_stay_one() {
        for status in [301, 302, 303] {
            assert_eq!(
                after(status, true),
                "GET /new HTTP/1.1\r\nHost: two\r\nAuthorization: Bearer t\r\nX-Key: k\r\nCookie: a=b\r\n\r\n"
            );
        }
        for status in [307, 308] {
            assert!(
                after(status, true).starts_with("POST /new ")
                    && after(status, true).ends_with("\r\n\r\nhi")
            );
        }
    }

    #[test]
    fn a_head_stays_a_head() {
        let mut out = Vec::new();
        let head = b"HEAD / HTTP/1.1\r\nHost: one\r\n\r\n";
        assert!(redirected(
            head,
            Redirect {
                status: 303,
                path: "/x",
                host: "one",
                same_origin: true
            },
            &mut out
        ));
        assert!(out.starts_with(b"HEAD /x "));
    }

    #[test]
    fn cookies_are_one_field_whatever_the_message_has() {
        let mut out = Vec::new();
        with_cookies(POST, b"c=d", &mut out);
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.starts_with("POST /a?b HTTP/1.1\r\nCookie: a=b; c=d\r\nHost: one\r\n"));
        assert_eq!(values(&out, "COOKIE").count(), 1, "{text}");
        assert!(text.ends_with("\r\nContent-Length: 2\r\n\r\nhi"), "{text}");
        with_cookies(b"GET / HTTP/1.1\r\ncookie:\r\n\r\n", b"c=d", &mut out);
        assert_eq!(out, b"GET / HTTP/1.1\r\nCookie: c=d\r\n\r\n");
        assert_eq!(path(POST), "/a?b");
        assert_eq!(header(POST, "host"), Some(&b"one"[..]));
    }
}
