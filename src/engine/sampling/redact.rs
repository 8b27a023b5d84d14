//! Takes secrets out of what is written down: every value that came from a Secret, in each form in which a request writes it, and headers that
//! hold credentials whatever they say.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::Value;

use crate::plan::{Inputs, Kind, Plan};

/// What stands in the place of a secret.
const REDACTED: &[u8] = b"[redacted]";

/// Of a longer secret the beginning is looked for: more of a body than this is never shown.
const LONGEST: usize = 64 * 1024;

/// Headers whose values are never shown, and words that make a header one of them.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
const SUSPECT: [&str; 5] = ["token", "secret", "password", "api-key", "apikey"];

/// All but the unreserved characters of RFC 3986.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Secrets to look for, by their first byte, the longest first.
#[derive(Clone)]
pub(super) struct Secrets {
    by_first: Vec<Vec<Vec<u8>>>,
    longest: usize,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { by_first: vec![Vec::new(); 256], longest: 0 }
    }
}

impl Secrets {
    /// Those that the whole plan refers to; rows of feeders come with each request.
    pub(super) fn of(plan: &Plan, inputs: &Inputs) -> Self {
        let mut secrets = Self::default();
        let feeders: Vec<_> = plan.feeders.iter().filter_map(|feeder| feeder.reference()).collect();
        let references = plan.references().into_iter().filter(|reference| reference.kind == Kind::Secret && !feeders.contains(reference));
        for reference in references {
            secrets.add(inputs.get(reference).unwrap_or_default().trim_ascii_end());
        }
        secrets
    }

    /// Every text and number in a row.
    pub(super) fn add_value(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.add(number.to_string().as_bytes()),
            Value::String(text) => self.add(text.as_bytes()),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.add_value(field)),
        }
    }

    fn add(&mut self, secret: &[u8]) {
        let secret = &secret[..secret.len().min(LONGEST)];
        self.add_form(secret);
        for alphabet in [STANDARD, URL_SAFE] {
            let engine = GeneralPurpose::new(&alphabet, NO_PAD);
            (0..3).for_each(|shift| self.add_form(&within_base64(&engine, secret, shift)));
        }
        let Ok(text) = std::str::from_utf8(secret) else { return };
        let json = Value::from(text).to_string();
        self.add_form(&json.as_bytes()[1..json.len() - 1]);
        let escaped = percent_encoding::utf8_percent_encode(text, NOT_UNRESERVED).to_string();
        self.add_form(escaped.replace("%20", "+").as_bytes());
        self.add_form(escaped.as_bytes());
    }

    fn add_form(&mut self, form: &[u8]) {
        let Some(first) = form.first() else { return };
        let forms = &mut self.by_first[usize::from(*first)];
        if !forms.iter().any(|known| known == form) {
            forms.push(form.to_vec());
            forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
            self.longest = self.longest.max(form.len());
        }
    }

    /// So many bytes must be at hand for the first `most` to be shown without a part of a secret.
    pub(super) fn reach(&self, most: usize) -> usize {
        most + self.longest
    }

    /// What `text` begins with, at most `most` bytes of it, without secrets.
    pub(super) fn redact(&self, text: &[u8], most: usize, further: &Self) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len().min(most));
        let mut at = 0;
        while at < text.len().min(most) {
            match self.at(&text[at..]).max(further.at(&text[at..])) {
                Some(length) => {
                    out.extend_from_slice(REDACTED);
                    at += length;
                }
                None => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// The length of the secret that `text` begins with.
    fn at(&self, text: &[u8]) -> Option<usize> {
        self.by_first[usize::from(*text.first()?)].iter().find(|form| text.starts_with(form)).map(Vec::len)
    }
}

/// What shows of `secret` in the base64 of a text in which it stands behind so many bytes more than a multiple of three: the characters
/// that it alone decides.
fn within_base64(engine: &GeneralPurpose, secret: &[u8], shift: usize) -> Vec<u8> {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(secret);
    let encoded = engine.encode(&padded).into_bytes();
    let from = (shift * 8).div_ceil(6);
    let to = padded.len() * 8 / 6;
    // a few characters would be found everywhere
    if to < from + 4 { Vec::new() } else { encoded[from..to].to_vec() }
}

/// No form of any text in `value` is longer: JSON writes a character with six at most, a path a byte with three.
pub(super) fn longest_form(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(_) => 64,
        Value::String(text) => text.len().min(LONGEST) * 6,
        Value::Array(items) => items.iter().map(longest_form).max().unwrap_or(0),
        Value::Object(fields) => fields.values().map(longest_form).max().unwrap_or(0),
    }
}

/// Whether the values of a header are never shown.
pub(super) fn is_credential(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    CREDENTIALS.contains(&name.as_str()) || SUSPECT.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn secrets(all: &[&[u8]]) -> Secrets {
        let mut secrets = Secrets::default();
        all.iter().for_each(|secret| secrets.add(secret));
        secrets
    }

    fn redacted(secrets: &Secrets, text: &[u8], most: usize) -> String {
        String::from_utf8(secrets.redact(text, most, &Secrets::default())).unwrap()
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let secret = "pä\"ss w/ord=1";
        let all = secrets(&[secret.as_bytes()]);
        let json = json!({ "a": secret }).to_string();
        for (text, shown) in [
            (format!("x {secret} y {secret}"), "x [redacted] y [redacted]".to_owned()),
            (json, "{\"a\":\"[redacted]\"}".to_owned()),
            ("/a?q=p%C3%A4%22ss%20w%2Ford%3D1&b=1".to_owned(), "/a?q=[redacted]&b=1".to_owned()),
            ("q=p%C3%A4%22ss+w%2Ford%3D1".to_owned(), "q=[redacted]".to_owned()),
        ] {
            assert_eq!(redacted(&all, text.as_bytes(), 1000), shown);
        }
    }

    #[test]
    fn a_secret_that_the_end_of_what_is_shown_would_cut_is_not_shown_in_part() {
        let all = secrets(&[b"canary-1234"]);
        assert_eq!(all.reach(5), 5 + b"canary-1234".len().max(16));
        assert_eq!(redacted(&all, b"ab canary-1234 more", 5), "ab [redacted]");
        assert_eq!(redacted(&all, b"abc", 2), "ab");
    }

    #[test]
    fn of_two_secrets_the_longer_is_taken_out() {
        assert_eq!(redacted(&secrets(&[b"pass", b"password"]), b"password pass", 100), "[redacted] [redacted]");
        let mut row = Secrets::default();
        row.add_value(&json!({"n": 4711, "deep": [{"t": "word"}], "flag": true, "none": null}));
        let text = Secrets::default().redact(b"4711 words true null", 100, &row);
        assert_eq!(text, b"[redacted] [redacted]s true null");
    }

    #[test]
    fn an_empty_secret_is_nothing_to_look_for() {
        assert_eq!(redacted(&secrets(&[b""]), b"text", 100), "text");
    }

    #[test]
    fn headers_of_credentials_are_known_by_name() {
        assert!(["Authorization", "COOKIE", "set-cookie", "X-Api-Key", "X-Amz-Security-Token"].into_iter().all(is_credential));
        assert!(!["Content-Type", "X-Request-Id", "Host"].into_iter().any(is_credential));
    }

    proptest! {
        #[test]
        fn no_base64_of_it_shows_it(before in "[a-z]{0,7}", secret in "[A-Za-z0-9]{12,40}", after in "[a-z]{0,7}") {
            let all = secrets(&[secret.as_bytes()]);
            let whole = format!("{before}{secret}{after}");
            for encoded in [general_purpose::STANDARD.encode(&whole), general_purpose::URL_SAFE_NO_PAD.encode(&whole)] {
                let shown = redacted(&all, encoded.as_bytes(), 1000);
                prop_assert!(shown.contains("[redacted]"), "{shown}");
                // at most the characters that it shares with its neighbours
                prop_assert!(shown.replace("[redacted]", "").len() <= (before.len() + after.len()).div_ceil(3) * 4 + 12, "{shown}");
            }
        }
    }
}
