//! Cookies of one user, bounded in number and bytes. A user that never got one has no store.

use std::collections::VecDeque;

use cookie_store::{Cookie, CookieStore, RawCookie, StoreAction};
use url::Url;

use crate::engine::answer::capture::header_texts;

/// Longest name and value of a cookie together, in bytes; a longer cookie is ignored (RFC 6265bis,
/// 5.7).
const MAX_COOKIE: usize = 4096;
/// Longest domain or path of a cookie, in bytes; a cookie with a longer one is ignored (RFC
/// 6265bis, 5.6).
const MAX_ATTRIBUTE: usize = 1024;
/// Longest header that sets a cookie, in bytes, since all of it is kept; a longer one is ignored.
const MAX_HEADER: usize = 8 * 1024;
/// Most cookies of one domain (RFC 6265bis, 6.1).
const MAX_OF_DOMAIN: usize = 50;
/// Most cookies of one user.
const MAX_COOKIES: usize = 200;
/// Most bytes that the cookies of one user take.
const MAX_BYTES: usize = 64 * 1024;

/// Cookies of one user. Beyond [`MAX_OF_DOMAIN`], [`MAX_COOKIES`] and [`MAX_BYTES`] those that were
/// set longest ago are forgotten, first of the same domain.
#[derive(Default)]
pub(crate) struct Jar(Option<Box<Bounded>>);

/// Store with what it holds, so that it can be kept small.
#[derive(Default)]
struct Bounded {
    store: CookieStore,
    /// Cookies in the store, the last one set at the end.
    held: VecDeque<Held>,
    /// Sum of the sizes of `held`, in bytes.
    bytes: usize,
}

/// Identity and size of a stored cookie.
#[derive(PartialEq, Eq)]
struct Held {
    domain: String,
    path: String,
    name: String,
    bytes: usize,
}

impl Jar {
    /// Stores the cookies that the head of an answer from `url` sets. Those that a browser would
    /// refuse are ignored, such as those of another domain, and those that are too long.
    pub(crate) fn take(&mut self, head: &[u8], url: &Url) {
        for value in header_texts(head, "set-cookie") {
            if let Some(cookie) = acceptable(value, url) {
                self.0
                    .get_or_insert_default()
                    .insert(cookie, value.len(), url);
            }
        }
    }

    /// Returns the value of `Cookie` for a request to `url`; `None` if no cookie applies.
    pub(crate) fn header(&self, url: &Url) -> Option<String> {
        let cookies: Vec<String> = self
            .0
            .as_ref()?
            .store
            .get_request_values(url)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!cookies.is_empty()).then(|| cookies.join("; "))
    }

    /// Lists the values of all cookies, which are secrets.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        let stores = self.0.iter();
        stores
            .flat_map(|jar| jar.store.iter_unexpired())
            .map(|cookie| cookie.value())
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

impl Bounded {
    /// Puts a cookie into the store, or takes it out if it has expired, and forgets those that are
    /// too many then.
    fn insert(&mut self, cookie: Cookie<'static>, header: usize, url: &Url) {
        let held = Held {
            domain: String::from(&cookie.domain),
            path: String::from(&cookie.path),
            name: cookie.name().to_owned(),
            bytes: 0,
        };
        let bytes = header + held.domain.len() + held.path.len() + held.name.len();
        // refused by the rules of RFC 6265: then there is no cookie
        let Ok(action) = self.store.insert(cookie, url) else {
            return;
        };
        let before = self.held.iter().position(|other| other.is_same(&held));
        if let Some(before) = before.and_then(|at| self.held.remove(at)) {
            self.bytes -= before.bytes;
        }
        if action == StoreAction::ExpiredExisting {
            // the store only marks it
            self.store.remove(&held.domain, &held.path, &held.name);
            return;
        }
        self.bytes += bytes;
        self.held.push_back(Held { bytes, ..held });
        self.shrink();
    }

    /// Forgets the oldest cookies until all bounds hold.
    fn shrink(&mut self) {
        let Some(domain) = self.held.back().map(|held| held.domain.clone()) else {
            return;
        };
        let of_domain = |held: &&Held| held.domain == domain;
        if self.held.iter().filter(of_domain).count() > MAX_OF_DOMAIN
            && let Some(oldest) = self.held.iter().position(|held| held.domain == domain)
        {
            self.forget(oldest);
        }
        while self.held.len() > MAX_COOKIES || self.bytes > MAX_BYTES {
            self.forget(0);
        }
    }

    fn forget(&mut self, place: usize) {
        if let Some(held) = self.held.remove(place) {
            self.bytes -= held.bytes;
            self.store.remove(&held.domain, &held.path, &held.name);
        }
    }
}

impl Held {
    fn is_same(&self, other: &Self) -> bool {
        (&self.domain, &self.path, &self.name) == (&other.domain, &other.path, &other.name)
    }
}

/// Reads a cookie that an answer from `url` sets; `None` if it is none or is too long.
fn acceptable(header: &str, url: &Url) -> Option<Cookie<'static>> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let raw = RawCookie::parse(header.to_owned()).ok()?;
    let cookie = Cookie::try_from_raw_cookie(&raw, url).ok()?.into_owned();
    let (domain, path) = (String::from(&cookie.domain), String::from(&cookie.path));
    let fits = cookie.name().len() + cookie.value().len() <= MAX_COOKIE
        && domain.len() <= MAX_ATTRIBUTE
        && path.len() <= MAX_ATTRIBUTE;
    fits.then_some(cookie)
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

    fn set(jar: &mut Jar, cookie: &str, from: &str) {
        let head = format!("HTTP/1.1 200 OK\r\nSet-Cookie: {cookie}\r\n\r\n");
        jar.take(head.as_bytes(), &Url::parse(from).unwrap());
    }

    fn held(jar: &Jar) -> (usize, usize) {
        let bounded = jar.0.as_ref().unwrap();
        assert_eq!(bounded.store.iter_any().count(), bounded.held.len());
        let bytes = bounded.held.iter().map(|held| held.bytes).sum::<usize>();
        assert_eq!(bytes, bounded.bytes);
        (bounded.held.len(), bytes)
    }

    #[test]
    fn a_domain_keeps_its_last_fifty_cookies() {
        let mut jar = Jar::default();
        for nth in 0..1_000 {
            set(&mut jar, &format!("c{nth}={nth}"), "http://here.test/");
        }
        assert_eq!(held(&jar).0, MAX_OF_DOMAIN);
        let sent = jar.header(&url("/")).unwrap();
        assert!(
            sent.contains("c999=999") && sent.contains("c950=950"),
            "{sent}"
        );
        assert!(!sent.contains("c949="), "{sent}");
    }

    #[test]
    fn a_cookie_that_is_set_again_is_no_longer_the_oldest() {
        let mut jar = Jar::default();
        for nth in 0..MAX_OF_DOMAIN {
            set(&mut jar, &format!("c{nth}=1"), "http://here.test/");
        }
        set(&mut jar, "c0=2", "http://here.test/");
        set(&mut jar, "new=1", "http://here.test/");
        let sent = jar.header(&url("/")).unwrap();
        assert!(sent.contains("c0=2") && !sent.contains("c1=1"), "{sent}");
    }

    #[test]
    fn no_target_makes_a_users_cookies_grow_without_end() {
        let mut jar = Jar::default();
        let value = "v".repeat(MAX_COOKIE - 10);
        for nth in 0..5_000 {
            let from = format!("http://h{}.test/{nth}/x", nth % 7);
            set(&mut jar, &format!("c{nth}={value}"), &from);
            // small ones of other hosts
            set(
                &mut jar,
                &format!("s{nth}=1"),
                &format!("http://s{nth}.test/"),
            );
            let (cookies, bytes) = held(&jar);
            assert!(
                cookies <= MAX_COOKIES && bytes <= MAX_BYTES,
                "{cookies}, {bytes}"
            );
        }
    }

    #[test]
    fn a_cookie_that_is_too_long_is_ignored() {
        let mut jar = Jar::default();
        let long = "v".repeat(MAX_COOKIE);
        set(&mut jar, &format!("a={long}"), "http://here.test/");
        set(&mut jar, &format!("a=1; Path=/{long}"), "http://here.test/");
        set(
            &mut jar,
            &format!("a=1; X={long}{long}"),
            "http://here.test/",
        );
        set(&mut jar, "a=1", &format!("http://here.test/{long}/x"));
        assert!(jar.is_empty());
        set(&mut jar, &format!("a={}", &long[1..]), "http://here.test/");
        assert!(jar.header(&url("/")).is_some());
    }

    #[test]
    fn expired_cookies_leave_nothing_behind() {
        let mut jar = Jar::default();
        for nth in 0..100 {
            set(&mut jar, &format!("c{nth}=1"), "http://here.test/");
            set(
                &mut jar,
                &format!("c{nth}=; Max-Age=0"),
                "http://here.test/",
            );
        }
        assert_eq!(held(&jar), (0, 0));
    }
}
