//! Cookies of one user. A user that never got one has no store.

use cookie_store::{CookieStore, RawCookie};
use url::Url;

use crate::engine::answer::capture::header_texts;

/// Cookies of one user.
#[derive(Debug, Default)]
pub(crate) struct Jar(Option<Box<CookieStore>>);

impl Jar {
    /// Stores the cookies that the head of an answer from `url` sets. Those that a browser would
    /// refuse are ignored, such as those of another domain.
    pub(crate) fn take(&mut self, head: &[u8], url: &Url) {
        for value in header_texts(head, "set-cookie") {
            if let Ok(cookie) = RawCookie::parse(value.to_owned()) {
                // refused by the rules of RFC 6265: then there is no cookie
                let _ = self.0.get_or_insert_default().insert_raw(&cookie, url);
            }
        }
    }

    /// Returns the value of `Cookie` for a request to `url`; `None` if no cookie applies.
    pub(crate) fn header(&self, url: &Url) -> Option<String> {
        let cookies: Vec<String> = self
            .0
            .as_ref()?
            .get_request_values(url)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!cookies.is_empty()).then(|| cookies.join("; "))
    }

    /// Returns whether the user never got a cookie.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Forgets all cookies.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/in\r\nset-cookie: b=2\r\nSet-Cookie: c=3; Domain=other.test\r\n\r\n";

    fn url(path: &str) -> Url {
        Url::parse("http://here.test").unwrap().join(path).unwrap()
    }

    #[test]
    fn only_what_fits_the_request_is_sent_back() {
        let mut jar = Jar::default();
        assert!(jar.is_empty() && jar.header(&url("/")).is_none());
        jar.take(HEAD, &url("/in/x"));
        assert_eq!(
            jar.header(&url("/else")),
            None,
            "a cookie without a path belongs to the folder it came from"
        );
        let sent = jar.header(&url("/in/y")).unwrap();
        assert!(
            sent.contains("a=1") && sent.contains("b=2") && !sent.contains("c=3"),
            "{sent}"
        );
        jar.clear();
        assert!(jar.is_empty());
    }

    #[test]
    fn a_cookie_that_is_taken_back_is_gone() {
        let mut jar = Jar::default();
        jar.take(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\n\r\n",
            &url("/"),
        );
        jar.take(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=; Path=/; Max-Age=0\r\n\r\n",
            &url("/"),
        );
        assert_eq!(jar.header(&url("/")), None);
    }
}
