//! Cookies of one user, as RFC 6265 and its revision (rfc6265bis) have them, bounded in number and
//! bytes. A user that never got one has no store.
//!
//! No list of public suffixes is kept: a cookie for a domain of a single label, such as `com`, is
//! ignored, one for `co.uk` is not. It reaches no more than the targets that a test names.

mod cookie;
mod date;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::SystemTime;

use crate::engine::answer::capture::headers;
pub(crate) use crate::engine::protocol::http::cookies::cookie::Asked;
use crate::engine::protocol::http::cookies::cookie::Cookie;

/// Longest header that sets a cookie, in bytes; a longer one is ignored.
const MAX_HEADER: usize = 8 * 1024;
/// Most cookies of one domain (RFC 6265bis, 6.1).
const MAX_OF_DOMAIN: usize = 50;
/// Most cookies of one user.
const MAX_COOKIES: usize = 200;
/// Most bytes that the cookies of one user take.
const MAX_BYTES: usize = 64 * 1024;

/// Cookies of one user. Beyond [`MAX_OF_DOMAIN`], [`MAX_COOKIES`] and [`MAX_BYTES`] those that have
/// expired are forgotten, and then those that were set longest ago, first of the same domain.
#[derive(Default)]
pub(crate) struct Jar(Option<Box<Bounded>>);

/// Cookies, and what they take.
#[derive(Default)]
struct Bounded {
    /// Cookies, the last one set at the end.
    held: Vec<Held>,
    /// Sum of the sizes of `held`, in bytes.
    bytes: usize,
    /// Number of cookies created so far.
    created: u64,
}

/// Cookie with its place among those that were created.
struct Held {
    cookie: Cookie,
    /// Number of cookies created before it. It stays when the cookie is set again.
    created: u64,
}

impl Jar {
    /// Stores the cookies that the head of the answer to `asked` sets. Those that a browser would
    /// refuse are ignored, such as those of another domain, and those that are too long.
    pub(crate) fn take(&mut self, head: &[u8], asked: &Asked, now: SystemTime) {
        for (name, value) in headers(head) {
            if name.eq_ignore_ascii_case(b"set-cookie")
                && value.len() <= MAX_HEADER
                && let Some(cookie) = Cookie::parse(value, asked, now)
            {
                self.0
                    .get_or_insert_default()
                    .insert(cookie, asked.is_secure(), now);
            }
        }
    }

    /// Returns the cookies for a request, as the value of `Cookie` lists them; `None` if none
    /// applies. Those that the request sets itself, with the values of `Cookie` in `own`, are left
    /// out.
    pub(crate) fn header<'a>(
        &self,
        asked: &Asked,
        own: impl Iterator<Item = &'a [u8]>,
        now: SystemTime,
    ) -> Option<Vec<u8>> {
        let own: Vec<&[u8]> = own.flat_map(names).collect();
        let mut fit: Vec<&Held> = self
            .0
            .as_ref()?
            .held
            .iter()
            .filter(|held| {
                held.cookie.is_for(asked, now) && !own.contains(&held.cookie.name.as_slice())
            })
            .collect();
        // RFC 6265, 5.4: longer paths first, then older cookies
        fit.sort_by_key(|held| (Reverse(held.cookie.path.len()), held.created));
        let pairs = fit.iter().map(|held| held.cookie.pair());
        let value = pairs.collect::<Vec<_>>().join(&b"; "[..]);
        (!value.is_empty()).then_some(value)
    }

    /// Lists the values of all cookies, which are secrets.
    pub(crate) fn values(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let held = self.0.iter().flat_map(|jar| &jar.held);
        held.map(|held| String::from_utf8_lossy(&held.cookie.value))
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

/// Lists the names of the cookies in a value of `Cookie`.
fn names(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b';').filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some(pair[..equals].trim_ascii())
    })
}

impl Bounded {
    /// Keeps a cookie that came over a secure connection or not, or forgets it if it has expired,
    /// and forgets those that are too many then.
    fn insert(&mut self, cookie: Cookie, came_secure: bool, now: SystemTime) {
        let is_forged = |held: &Held| !came_secure && cookie.hides(&held.cookie);
        if !cookie.is_secure && self.held.iter().any(is_forged) {
            return;
        }
        let before = self
            .held
            .iter()
            .position(|held| held.cookie.is_same(&cookie));
        let created = before.map(|place| self.forget(place).created);
        if cookie.has_expired(now) {
            return;
        }
        let created = created.unwrap_or_else(|| {
            self.created += 1;
            self.created
        });
        self.bytes += cookie.size();
        self.held.push(Held { cookie, created });
        self.shrink(now);
    }

    /// Forgets expired and then the oldest cookies until all bounds hold.
    fn shrink(&mut self, now: SystemTime) {
        while let Some(place) = self.too_much(now) {
            self.forget(place);
        }
    }

    /// Returns the position of the cookie to forget first; `None` if all bounds hold.
    fn too_much(&self, now: SystemTime) -> Option<usize> {
        let domain = &self.held.last()?.cookie.domain;
        let is_of_domain = |held: &&Held| held.cookie.domain == *domain;
        let are_too_many = self.held.iter().filter(is_of_domain).count() > MAX_OF_DOMAIN;
        if !are_too_many && self.held.len() <= MAX_COOKIES && self.bytes <= MAX_BYTES {
            return None;
        }
        let expired = self
            .held
            .iter()
            .position(|held| held.cookie.has_expired(now));
        expired.or_else(|| match are_too_many {
            true => self.held.iter().position(|held| is_of_domain(&held)),
            false => Some(0),
        })
    }

    fn forget(&mut self, place: usize) -> Held {
        let held = self.held.remove(place);
        self.bytes -= held.cookie.size();
        held
    }
}

#[cfg(test)]
mod tests;
