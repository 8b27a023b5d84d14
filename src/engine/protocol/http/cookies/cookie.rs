//! One cookie: read from a header, and matched with a request, as RFC 6265 and its revision
//! (rfc6265bis) say.

use std::time::{Duration, SystemTime};

use url::{Host, Url};

use crate::engine::message;
use crate::engine::protocol::http::cookies::date;

/// Longest name and value of a cookie together, in bytes; a longer cookie is ignored (RFC 6265bis,
/// 5.7).
pub(super) const MAX_COOKIE: usize = 4096;
/// Longest value of an attribute, in bytes; a longer attribute is ignored (RFC 6265bis, 5.6).
pub(super) const MAX_ATTRIBUTE: usize = 1024;
/// Longest time for which a cookie is kept (RFC 6265bis, 5.5).
const MAX_LIFE: Duration = Duration::from_secs(400 * 24 * 3600);

/// Parts of a request that decide about cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Host that the request named, in lower case and without its port.
    host: String,
    /// True if the host is an IP address, which has no domains above it.
    is_address: bool,
    /// True if cookies marked as secure may be sent: over TLS, and to this machine itself, which
    /// browsers and curl trust as well.
    is_secure: bool,
    /// Path without the query.
    path: String,
}

impl Asked {
    /// Reads a message to the target at `url`. The `Host` that is sent decides, as the target sees
    /// nothing else.
    pub(crate) fn new(message: &[u8], url: &Url) -> Self {
        let sent = message::header(message, "host");
        let sent = sent.and_then(|host| std::str::from_utf8(host).ok());
        let (host, is_address) = match sent.filter(|host| !host.is_empty()) {
            Some(host) => canonical(without_port(host)),
            None => canonical(url.host_str().unwrap_or_default()),
        };
        let path = message::path(message);
        let end = path.find(['?', '#']).unwrap_or(path.len());
        Self {
            host,
            is_address,
            is_secure: url.scheme() == "https" || is_this_machine(url),
            path: path[..end].to_owned(),
        }
    }

    /// Returns whether cookies marked as secure may be sent and set.
    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Returns whether the host is `domain` or below it.
    fn is_of(&self, domain: &str) -> bool {
        let below = || {
            self.host
                .strip_suffix(domain)
                .is_some_and(|before| before.ends_with('.'))
        };
        self.host == domain || !self.is_address && below()
    }

    /// Returns the path of a cookie that names none: the folder of the request.
    fn folder(&self) -> &str {
        match self.path.rfind('/') {
            Some(last) if last > 0 && self.path.starts_with('/') => &self.path[..last],
            _ => "/",
        }
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn without_port(host: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

/// Returns a host as names are compared, and whether it is an IP address.
fn canonical(host: &str) -> (String, bool) {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => (name, false),
        Ok(address) => (address.to_string(), true),
        Err(_) => (host.to_ascii_lowercase(), false),
    }
}

/// Cookie as a user keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cookie {
    /// Name; may be empty.
    pub(super) name: Vec<u8>,
    /// Value, with its quotes if it has any.
    pub(super) value: Vec<u8>,
    /// Host or domain in lower case.
    pub(super) domain: String,
    /// Path, beginning with `/`.
    pub(super) path: String,
    /// True if hosts below the domain get it, too.
    pub(super) is_for_domain: bool,
    /// True if it is sent over TLS only, or to this machine.
    pub(super) is_secure: bool,
    /// Time after which it is no longer sent; `None`: never.
    pub(super) expires: Option<SystemTime>,
}

impl Cookie {
    /// Reads the value of `Set-Cookie` in the answer to `asked`; `None` if the cookie is to be
    /// ignored.
    pub(super) fn parse(header: &[u8], asked: &Asked, now: SystemTime) -> Option<Self> {
        let is_control = |byte: &u8| matches!(*byte, 0x00..=0x08 | 0x0a..=0x1f | 0x7f);
        if header.iter().any(is_control) {
            return None;
        }
        let mut parts = header.split(|byte| *byte == b';');
        let (name, value) = pair(parts.next()?).unwrap_or_else(|value| (b"", value));
        if name.len() + value.len() > MAX_COOKIE || name.is_empty() && value.is_empty() {
            return None;
        }
        let attributes = Attributes::parse(parts, now);
        let (domain, is_for_domain) = match attributes.domain {
            None => (asked.host.clone(), false),
            Some(domain) if !asked.is_of(&domain) => return None,
            // no list of public suffixes is at hand: a name without a dot is taken for one, and
            // has cookies of its own only
            Some(domain) if domain.contains('.') => (domain, true),
            Some(domain) if domain == asked.host => (domain, false),
            Some(_) => return None,
        };
        let cookie = Self {
            name: name.to_vec(),
            value: value.to_vec(),
            domain,
            path: attributes
                .path
                .clone()
                .unwrap_or_else(|| asked.folder().to_owned()),
            is_for_domain,
            is_secure: attributes.is_secure,
            expires: attributes.max_age.or(attributes.expires),
        };
        let may_be = (!cookie.is_secure || asked.is_secure)
            && cookie.keeps_its_prefix(attributes.path.is_some());
        may_be.then_some(cookie)
    }

    /// Returns whether the cookie is what a name that begins with `__Secure-` or `__Host-` promises.
    fn keeps_its_prefix(&self, names_path: bool) -> bool {
        // a cookie without a name is sent as its value alone, so that it could pass for another
        let shown = match self.name.is_empty() {
            true => &self.value,
            false => &self.name,
        };
        let begins = |prefix: &[u8]| {
            shown
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if begins(b"__Host-") {
            let is_whole = names_path && self.path == "/";
            !self.name.is_empty() && self.is_secure && !self.is_for_domain && is_whole
        } else if begins(b"__Secure-") {
            !self.name.is_empty() && self.is_secure
        } else {
            true
        }
    }

    /// Returns whether the cookie takes the place of `other`.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.domain, &self.path, &self.name, self.is_for_domain)
            == (&other.domain, &other.path, &other.name, other.is_for_domain)
    }

    /// Returns whether the cookie would hide `secure`, which came over TLS, from it though it came
    /// without TLS itself.
    pub(super) fn hides(&self, secure: &Self) -> bool {
        let is_below = |domain: &str, of: &str| {
            domain == of
                || domain
                    .strip_suffix(of)
                    .is_some_and(|before| before.ends_with('.'))
        };
        secure.is_secure
            && secure.name == self.name
            && (is_below(&secure.domain, &self.domain) || is_below(&self.domain, &secure.domain))
            && is_within(&self.path, &secure.path)
    }

    /// Returns whether a request gets the cookie.
    pub(super) fn is_for(&self, asked: &Asked, now: SystemTime) -> bool {
        let is_for_host = match self.is_for_domain {
            true => asked.is_of(&self.domain),
            false => asked.host == self.domain,
        };
        is_for_host
            && is_within(&asked.path, &self.path)
            && (!self.is_secure || asked.is_secure)
            && !self.has_expired(now)
    }

    /// Returns whether the cookie's time is over.
    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Returns the cookie as a request names it.
    pub(super) fn pair(&self) -> Vec<u8> {
        match self.name.is_empty() {
            true => self.value.clone(),
            false => [&self.name, &b"="[..], &self.value].concat(),
        }
    }

    /// Returns about how many bytes the cookie takes.
    pub(super) fn size(&self) -> usize {
        self.name.len() + self.value.len() + self.domain.len() + self.path.len()
    }
}

/// Returns whether `path` is `folder` or lies in it.
fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || folder.ends_with('/') || rest.starts_with('/'))
}

/// Attributes of a cookie that are heeded; of several with one name the last.
#[derive(Default)]
struct Attributes {
    max_age: Option<SystemTime>,
    expires: Option<SystemTime>,
    domain: Option<String>,
    path: Option<String>,
    is_secure: bool,
}

impl Attributes {
    fn parse<'a>(parts: impl Iterator<Item = &'a [u8]>, now: SystemTime) -> Self {
        let mut all = Self::default();
        for part in parts {
            let (name, value) = pair(part).unwrap_or_else(|name| (name, b""));
            if value.len() > MAX_ATTRIBUTE {
                continue;
            }
            let text = || String::from_utf8_lossy(value);
            match name.to_ascii_lowercase().as_slice() {
                b"max-age" => all.max_age = max_age(value, now).or(all.max_age),
                b"expires" => {
                    let at = date::parse(value).map(|at| at.min(now + MAX_LIFE));
                    all.expires = at.or(all.expires);
                }
                b"domain" => {
                    let domain = text();
                    let bare = domain.strip_prefix('.').unwrap_or(&domain);
                    all.domain = (!bare.is_empty()).then(|| canonical(bare).0);
                }
                b"path" => all.path = value.starts_with(b"/").then(|| text().into_owned()),
                b"secure" => all.is_secure = true,
                _ => {}
            }
        }
        all
    }
}

/// Reads the value of `Max-Age`; `None` if it is not a number of seconds.
fn max_age(value: &[u8], now: SystemTime) -> Option<SystemTime> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if digits.len() < value.len() {
        return Some(SystemTime::UNIX_EPOCH);
    }
    // more digits than fit are more than the longest time
    let seconds = std::str::from_utf8(digits)
        .ok()?
        .parse()
        .unwrap_or(u64::MAX);
    match Duration::from_secs(seconds).min(MAX_LIFE) {
        Duration::ZERO => Some(SystemTime::UNIX_EPOCH),
        life => Some(now + life),
    }
}

/// Splits `name=value` and leaves out the spaces around both; without `=`, the whole.
fn pair(part: &[u8]) -> Result<(&[u8], &[u8]), &[u8]> {
    match part.iter().position(|byte| *byte == b'=') {
        Some(at) => Ok((part[..at].trim_ascii(), part[at + 1..].trim_ascii())),
        None => Err(part.trim_ascii()),
    }
}
