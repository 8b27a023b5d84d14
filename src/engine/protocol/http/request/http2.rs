//! Form of a request for HTTP/2, made from that for HTTP/1.1: once if it never differs, else for
//! each request.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version};

const MAX_HEADERS: usize = 128;

/// Headers that HTTP/2 forbids: those of an HTTP/1.1 connection, and `host`, which `:authority`
/// replaces.
const OF_CONNECTION: [&str; 7] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "te",
];

/// Request as HTTP/2 sends it.
#[derive(Debug)]
pub(crate) struct Form {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Form {
    /// Converts `message`, a whole HTTP/1.1 request. Fails if HTTP/2 cannot carry it.
    pub(crate) fn of(message: &[u8], scheme: &Scheme) -> Result<Self, String> {
        // all values are parts of one copy
        let whole = Bytes::copy_from_slice(message);
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = parsed.parse(&whole) else {
            return Err("the request has no head that could be read".into());
        };
        let host = parsed
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("host"));
        let authority = Authority::try_from(host.map_or(&b""[..], |host| host.value));
        let path = parsed.path.unwrap_or_default();
        let path = PathAndQuery::from_maybe_shared(whole.slice_ref(path.as_bytes()));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme.clone());
        parts.authority =
            Some(authority.map_err(|e| format!("the Host header does not go with HTTP/2: {e}"))?);
        parts.path_and_query =
            Some(path.map_err(|e| format!("the path does not go with HTTP/2: {e}"))?);
        let uri =
            Uri::from_parts(parts).map_err(|e| format!("the URL does not go with HTTP/2: {e}"))?;

        let mut map = HeaderMap::with_capacity(parsed.headers.len());
        for field in parsed.headers.iter() {
            if OF_CONNECTION
                .iter()
                .any(|name| field.name.eq_ignore_ascii_case(name))
            {
                continue;
            }
            let wrong = || format!("the header {} does not go with HTTP/2", field.name);
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| wrong())?;
            let value = HeaderValue::from_maybe_shared(whole.slice_ref(field.value))
                .map_err(|_| wrong())?;
            map.append(name, value);
        }
        let body = whole.slice(head..);
        if body.is_empty()
            && map
                .get(header::CONTENT_LENGTH)
                .is_some_and(|length| length != "0")
        {
            return Err("the request has no body of the length it says".into());
        }
        let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
            .map_err(|e| e.to_string())?;
        Ok(Self {
            method,
            uri,
            headers: map,
            body,
        })
    }

    /// Returns the head to send.
    pub(crate) fn head(&self) -> http::Request<()> {
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        *request.version_mut() = Version::HTTP_2;
        request
    }

    /// Returns the body, which shares its bytes with the request.
    pub(crate) fn body(&self) -> Bytes {
        self.body.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(message: &str) -> Result<Form, String> {
        Form::of(message.as_bytes(), &Scheme::HTTP)
    }

    #[test]
    fn what_http2_cannot_carry_is_refused() {
        assert!(
            form("GET /<b> HTTP/1.1\r\nHost: t\r\n\r\n")
                .unwrap_err()
                .contains("path")
        );
        assert!(
            form("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
                .unwrap_err()
                .contains("Host")
        );
        assert!(form("GET / HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn a_request_is_the_same_in_both_forms() {
        let form =
            form("POST /a?b=c HTTP/1.1\r\nHost: t:8000\r\nX-Twice: 1\r\nX-Twice: 2\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
                .unwrap();
        let head = form.head();
        assert_eq!(
            (head.method().as_str(), head.uri().to_string().as_str()),
            ("POST", "http://t:8000/a?b=c")
        );
        let headers: Vec<_> = head
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            headers,
            [("x-twice", "1"), ("x-twice", "2"), ("content-length", "4")]
        );
        assert_eq!(form.body(), "body");
    }
}
