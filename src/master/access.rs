//! Access for browsers: the cookie that stands for a token, and the hosts and origins that requests
//! come from. Pure.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Cookie that stands for a token: computed from it, so that it outlives a restart of the master,
/// and the token is in no browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Name, different for each token: cookies of one host are those of all its ports.
    name: String,
    value: String,
}

impl Session {
    /// Derives the cookie of a token.
    pub fn of(token: &str) -> Self {
        let derived = |what: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes())
                .expect("a key of any length will do");
            mac.update(what.as_bytes());
            BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())
        };
        let mut name = derived("starling ui cookie name");
        name.truncate(10);
        Self {
            name: format!("starling-{name}"),
            value: derived("starling ui cookie value"),
        }
    }

    /// Writes the header that sets the cookie, which no script can read and no other site send. Over
    /// TLS it is never sent in the clear.
    pub fn set_cookie(&self, is_secure: bool) -> String {
        let Self { name, value } = self;
        let secure = if is_secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")
    }

    /// Tells whether a request has the cookie. Takes as long whichever byte differs.
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        let cookies = headers
            .get_all(header::COOKIE)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        cookies
            .filter(|(name, _)| *name == self.name)
            .any(|(_, value)| bool::from(value.as_bytes().ct_eq(self.value.as_bytes())))
    }
}

/// Tells whether a request comes from a page of this server, or from no page at all. Browsers say
/// where a request comes from; other programs have no cookies that a page could misuse.
pub fn is_of_this_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    match (text("sec-fetch-site"), text("origin")) {
        // the browser has compared the origins itself, whatever proxies do to the host
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            let host = text("host");
            authority
                .zip(host)
                .is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
        }
        (None, None) => true,
    }
}

/// Hosts by which a server may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// Every host: who knows the token may come by any name.
    Any,
    /// Names of this machine alone. Another name that leads here is one that somebody else made, to
    /// have a browser ask in his stead.
    Loopback,
}

impl Hosts {
    /// Tells whether a request may ask for its host.
    pub fn admits(self, headers: &HeaderMap) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => headers
                .get(header::HOST)
                .and_then(|value| value.to_str().ok())
                .is_some_and(is_loopback),
        }
    }
}

/// Tells whether `host`, with or without a port, is a name or an address of this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_cookie_of_one_token_is_not_that_of_another() {
        let (session, other) = (Session::of("s3cret"), Session::of("s3cre"));
        let set = session.set_cookie(false);
        let pair = set.split(';').next().unwrap();
        assert!(session.is_in(&headers(&[("cookie", pair)])));
        assert!(session.is_in(&headers(&[("cookie", &format!("a=b; {pair}; c"))])));
        assert!(!other.is_in(&headers(&[("cookie", pair)])));
        assert!(!session.is_in(&headers(&[])));
        let (name, value) = pair.split_once('=').unwrap();
        for wrong in [format!("{name}="), format!("{name}={}", &value[1..])] {
            assert!(!session.is_in(&headers(&[("cookie", &wrong)])), "{wrong}");
        }
        assert!(!set.contains("s3cret"));
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(set.contains(attribute), "{set}");
        }
        assert!(!set.contains("Secure") && session.set_cookie(true).contains("; Secure"));
    }

    #[test]
    fn what_another_site_has_a_browser_send_is_known_by_its_origin() {
        for (pairs, may) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "none")][..], true),
            (&[("sec-fetch-site", "same-site")][..], false),
            (&[("sec-fetch-site", "cross-site")][..], false),
            (&[("origin", "http://h:1"), ("host", "H:1")][..], true),
            (&[("origin", "http://evil"), ("host", "h:1")][..], false),
            (&[("origin", "null"), ("host", "h:1")][..], false),
            (&[("origin", "http://h:1")][..], false),
        ] {
            assert_eq!(is_of_this_origin(&headers(pairs)), may, "{pairs:?}");
        }
    }

    #[test]
    fn a_local_server_is_asked_by_names_of_this_machine() {
        for host in [
            "localhost:80",
            "LOCALHOST",
            "127.0.0.1:8",
            "127.9.9.9",
            "[::1]:8",
        ] {
            assert!(
                Hosts::Loopback.admits(&headers(&[("host", host)])),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "localhost.evil:80",
            "10.0.0.1:80",
            "",
            ":80",
            "127.0.0.1.evil",
        ] {
            assert!(
                !Hosts::Loopback.admits(&headers(&[("host", host)])),
                "{host}"
            );
            assert!(Hosts::Any.admits(&headers(&[("host", host)])), "{host}");
        }
    }
}
