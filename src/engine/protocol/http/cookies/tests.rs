//! Cookies that are kept, refused, sent in their order, and bounded.

use std::time::Duration;

use url::Url;

use super::cookie::{MAX_ATTRIBUTE, MAX_COOKIE};
use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// A GET of `url`, whose own host is sent.
fn asked(url: &str) -> Asked {
    let url = Url::parse(url).unwrap();
    let host = url.host_str().unwrap();
    let path = &url[url::Position::BeforePath..];
    let message = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    Asked::new(message.as_bytes(), &url)
}

fn set(jar: &mut Jar, cookie: &str, from: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nSet-Cookie: {cookie}\r\n\r\n");
    jar.take(head.as_bytes(), &asked(from), now());
}

fn sent(jar: &Jar, to: &str) -> Option<String> {
    sent_at(jar, to, now())
}

fn sent_at(jar: &Jar, to: &str, at: SystemTime) -> Option<String> {
    let value = jar.header(&asked(to), std::iter::empty(), at)?;
    Some(String::from_utf8(value).unwrap())
}

/// What comes back to `to` of a cookie that is set at `from`.
fn back(cookie: &str, from: &str, to: &str) -> Option<String> {
    let mut jar = Jar::default();
    set(&mut jar, cookie, from);
    sent(&jar, to)
}

fn held(jar: &Jar) -> (usize, usize) {
    let bounded = jar.0.as_ref().unwrap();
    let bytes = bounded.held.iter().map(|held| held.cookie.size()).sum();
    assert_eq!(bounded.bytes, bytes);
    (bounded.held.len(), bytes)
}

#[test]
fn only_what_fits_the_request_is_sent_back() {
    let here = "http://a.here.test/in/x";
    for (cookie, to) in [
        ("a=1", "http://a.here.test/else"),
        ("a=1; Path=/in", "http://a.here.test/inside"),
        ("a=1; Path=/", "http://b.a.here.test/"),
        ("a=1; Path=/", "http://here.test/"),
        ("a=1; Path=/; Domain=other.test", "http://other.test/"),
        ("a=1; Path=/; Domain=other.test", here),
        ("a=1; Path=/; Domain=b.a.here.test", here),
        ("a=1; Path=/; Domain=ere.test", here),
        ("a=1; Path=/; Domain=test", here),
        ("a=1; Path=/; Secure", here),
    ] {
        assert_eq!(back(cookie, here, to), None, "{cookie} to {to}");
    }
    for (cookie, to) in [
        ("a=1", "http://a.here.test/in/y/z?q"),
        ("a=1; Path=/in", "http://a.here.test/in"),
        ("a=1; Path=/in/", "http://a.here.test/in/x"),
        ("a=1; path=/; domain=.HERE.test", "http://b.here.test/"),
        ("a=1; Path=/; Domain=here.test", "https://here.test/"),
        ("a=1; Path=/; Domain=", here),
        ("a=1; Path=nothing", here),
        ("a=1; Path=/else; Path=/", here),
        ("a=1; HttpOnly; SameSite=Strict; Unknown; =; ;", here),
    ] {
        assert_eq!(
            back(cookie, here, to).as_deref(),
            Some("a=1"),
            "{cookie} to {to}"
        );
    }
}

#[test]
fn an_address_and_a_single_label_have_cookies_of_their_own_only() {
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let here = format!("http://{host}:8080/");
        let cookie = format!("a=1; Domain={host}");
        assert_eq!(
            back(&cookie, &here, &here).as_deref(),
            Some("a=1"),
            "{host}"
        );
    }
    assert_eq!(
        back(
            "a=1; Domain=0.0.1",
            "http://127.0.0.1/",
            "http://127.0.0.1/"
        ),
        None
    );
    let below = back(
        "a=1; Domain=localhost",
        "http://localhost/",
        "http://a.localhost/",
    );
    assert_eq!(below, None);
}

#[test]
fn the_host_that_was_sent_decides() {
    let url = Url::parse("http://10.0.0.1:8080/").unwrap();
    let to = |host: &str| {
        let message = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        Asked::new(message.as_bytes(), &url)
    };
    let mut jar = Jar::default();
    let head = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Domain=shop.test\r\n\r\n";
    jar.take(head, &to("WWW.shop.test:8080"), now());
    let header = |host| jar.header(&to(host), std::iter::empty(), now());
    assert_eq!(header("api.shop.test").as_deref(), Some(&b"a=1"[..]));
    assert_eq!(header("10.0.0.1:8080"), None);
}

#[test]
fn longer_paths_come_first_and_then_older_cookies() {
    let mut jar = Jar::default();
    let here = "http://here.test/in/it";
    for cookie in [
        "d=1; Path=/",
        "c=1; Path=/in",
        "b=1; Path=/in",
        "a=1; Path=/in/it",
        "c=2; Path=/in",
    ] {
        set(&mut jar, cookie, here);
    }
    assert_eq!(sent(&jar, here).as_deref(), Some("a=1; c=2; b=1; d=1"));
}

#[test]
fn what_the_request_sets_itself_is_not_said_twice() {
    let mut jar = Jar::default();
    let here = "http://here.test/";
    set(&mut jar, "a=jar", here);
    set(&mut jar, "b=jar", here);
    let own = [&b"a=own; c=own"[..]];
    let value = jar.header(&asked(here), own.into_iter(), now());
    assert_eq!(value.as_deref(), Some(&b"b=jar"[..]));
}

#[test]
fn names_and_values_are_kept_as_they_are_written() {
    let here = "http://here.test/";
    for (cookie, wanted) in [
        ("  a = \"x y\" ; Path=/", Some("a=\"x y\"")),
        ("a=b=c", Some("a=b=c")),
        ("a=", Some("a=")),
        ("=value", Some("value")),
        ("value", Some("value")),
        ("a=ü", Some("a=ü")),
        ("a=\"1;2\"", Some("a=\"1")),
        ("=", None),
        ("", None),
        ("; Path=/", None),
        ("a=\u{1}b", None),
        ("a=b\u{7f}", None),
    ] {
        assert_eq!(back(cookie, here, here).as_deref(), wanted, "{cookie:?}");
    }
}

#[test]
fn a_prefix_of_a_name_is_a_promise() {
    let here = "https://here.test/";
    for broken in [
        "__Secure-a=1",
        "__Host-a=1; Secure",
        "__Host-a=1; Path=/",
        "__Host-a=1; Secure; Path=/; Domain=here.test",
        "__Host-a=1; Secure; Path=/in",
        "__host-a=1; Path=/",
        "=__Secure-a=1; Secure",
        "__Host-a; Secure; Path=/",
    ] {
        assert_eq!(back(broken, here, here), None, "{broken}");
    }
    for kept in ["__Secure-a=1; Secure", "__Host-a=1; secure; Path=/"] {
        assert!(back(kept, here, here).is_some(), "{kept}");
        assert_eq!(back(kept, "http://here.test/", here), None, "{kept}");
    }
}

#[test]
fn a_cookie_of_a_secure_connection_is_not_hidden_by_another() {
    let mut jar = Jar::default();
    let [plain, secure] = ["http://here.test/in/x", "https://here.test/in/x"];
    set(&mut jar, "a=secure; Secure; Path=/in", secure);
    for forged in [
        "a=forged; Path=/in",
        "a=forged; Path=/in/x",
        "a=forged; Path=/in; Domain=here.test",
    ] {
        set(&mut jar, forged, plain);
        assert_eq!(sent(&jar, secure).as_deref(), Some("a=secure"), "{forged}");
    }
    assert_eq!(sent(&jar, plain), None);
    set(&mut jar, "a=other; Path=/", plain);
    assert_eq!(sent(&jar, plain).as_deref(), Some("a=other"));
    assert!(back("a=1; Secure", "http://127.0.0.1/", "http://127.0.0.1/").is_some());
}

#[test]
fn a_cookie_ends_at_its_age_or_else_at_its_date() {
    let here = "http://here.test/";
    let after = |cookie: &str, seconds: u64| {
        let mut jar = Jar::default();
        set(&mut jar, cookie, here);
        sent_at(&jar, here, now() + Duration::from_secs(seconds)).is_some()
    };
    // now is Tue, 14 Nov 2023 22:13:20 GMT
    for (cookie, first_gone) in [
        ("a=1; Max-Age=10", 10),
        ("a=1; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT", 10),
        ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=10", 10),
        ("a=1; Max-Age=5; Max-Age=10", 10),
        ("a=1; Max-Age=10; Max-Age=soon; Max-Age=; Max-Age=+5", 10),
        ("a=1; expires=Tue, 14-Nov-23 22:13:30 GMT", 10),
        ("a=1; Expires=Tue Nov 14 22:13:30 2023", 10),
        ("a=1; Max-Age=99999999999999999999999", 400 * 24 * 3600),
    ] {
        assert!(
            after(cookie, first_gone - 1) && !after(cookie, first_gone),
            "{cookie}"
        );
    }
    for gone in [
        "a=1; Max-Age=0",
        "a=1; Max-Age=-1",
        "a=1; Expires=Thu, 01-Jan-1970 00:00:00 GMT",
    ] {
        assert!(!after(gone, 0), "{gone}");
    }
    for kept in ["a=1; Expires=never", "a=1; Max-Age=soon"] {
        assert!(after(kept, 1 << 40), "{kept}");
    }
}

#[test]
fn a_cookie_that_is_taken_back_is_gone() {
    let mut jar = Jar::default();
    let here = "http://here.test/";
    set(&mut jar, "a=1; Path=/", here);
    set(&mut jar, "a=; Path=/; Max-Age=0", here);
    assert_eq!(sent(&jar, here), None);
    jar.clear();
    assert!(jar.is_empty());
}

#[test]
fn a_domain_keeps_its_last_fifty_cookies() {
    let mut jar = Jar::default();
    for nth in 0..1_000 {
        set(&mut jar, &format!("c{nth}={nth}"), "http://here.test/");
    }
    assert_eq!(held(&jar).0, MAX_OF_DOMAIN);
    let sent = sent(&jar, "http://here.test/").unwrap();
    assert!(
        sent.starts_with("c950=950; ") && sent.ends_with("; c999=999"),
        "{sent}"
    );
}

#[test]
fn a_cookie_that_is_set_again_is_no_longer_the_oldest() {
    let mut jar = Jar::default();
    for nth in 0..MAX_OF_DOMAIN {
        set(&mut jar, &format!("c{nth}=1"), "http://here.test/");
    }
    set(&mut jar, "c0=2", "http://here.test/");
    set(&mut jar, "new=1", "http://here.test/");
    let sent = sent(&jar, "http://here.test/").unwrap();
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
fn what_is_too_long_is_ignored() {
    let here = "http://here.test/";
    let long = "v".repeat(MAX_COOKIE);
    assert_eq!(back(&format!("a={long}"), here, here), None);
    assert_eq!(back(&format!("a=1; X={long}{long}"), here, here), None);
    assert!(back(&format!("a={}", &long[1..]), here, here).is_some());
    let path = "p".repeat(MAX_ATTRIBUTE);
    let cookie = format!("a=1; Path=/{path}");
    assert_eq!(
        back(&cookie, here, here).as_deref(),
        Some("a=1"),
        "the path alone is ignored"
    );
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
