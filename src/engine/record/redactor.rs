//! Removes secrets from text that will be shown.

use std::sync::RwLock;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::engine::answer::capture::headers;
use crate::engine::message;
use crate::plan::{Inputs, Kind, Plan, Reference};

/// Shortest secret that is removed, in bytes. Shorter ones occur in any text, and removing them
/// would show where.
const SHORTEST: usize = 4;

/// Shortest piece of a header, in bytes, that is taken for a credential; shorter ones are words.
const SHORTEST_SENT: usize = 8;

/// Text that replaces a secret.
pub(crate) const INSTEAD: &str = "***";

/// Longest part of a secret, in bytes, that is searched for: no message is longer.
const LONGEST: usize = 64 * 1024;

/// All but the unreserved characters of RFC 3986, as templates write a path.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Secrets of a test, in each form in which a message may hold them. Several threads may share it.
#[derive(Default)]
pub(crate) struct Redactor {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    secrets: Vec<Vec<u8>>,
    /// Searcher for the secrets, built on first use, since most runs never show a message of a
    /// target.
    searcher: Option<AhoCorasick>,
}

impl Redactor {
    /// Creates a redactor of the values that the plan takes from Secrets.
    pub(crate) fn new(plan: &Plan, inputs: &Inputs) -> Self {
        let redactor = Self::default();
        for reference in plan
            .references()
            .into_iter()
            .filter(|reference| reference.kind == Kind::Secret)
        {
            if let Some(value) = inputs.get(reference) {
                redactor.learn(value.trim_ascii());
            }
        }
        redactor
    }

    /// Adds a secret. One shorter than [`SHORTEST`] is ignored.
    pub(crate) fn learn(&self, secret: &[u8]) {
        if secret.len() < SHORTEST {
            return;
        }
        let mut known = self
            .known
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        known.searcher = None;
        known
            .secrets
            .extend(forms(&secret[..secret.len().min(LONGEST)]));
    }

    /// Returns the length in bytes of the longest form of a secret; 0 if there is none.
    pub(crate) fn longest(&self) -> usize {
        let known = self
            .known
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        known.secrets.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Returns one of our own messages without the secrets that it quotes, even those that were cut
    /// off.
    pub(crate) fn message(&self, text: &str) -> String {
        let text = self.text(text.as_bytes());
        let known = self
            .known
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        without_beginnings(&known.secrets, &text)
    }

    /// Returns the text without its secrets; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&self.beginning(bytes, bytes.len())).into_owned()
    }

    /// Returns the first `most` bytes without secrets.
    ///
    /// `bytes` must hold at least [`longest`](Self::longest) more, or all there are, so that a
    /// secret that begins within the first `most` is recognized.
    pub(crate) fn beginning(&self, bytes: &[u8], most: usize) -> Vec<u8> {
        {
            let known = self
                .known
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            match &known.searcher {
                _ if known.secrets.is_empty() => return bytes[..bytes.len().min(most)].to_vec(),
                Some(searcher) => return redacted(searcher, bytes, most),
                None => {}
            }
        }
        let mut known = self
            .known
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // secrets are bounded by the size of a Secret, which is far below what a searcher takes
        let Ok(searcher) = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&known.secrets)
        else {
            return INSTEAD.as_bytes().to_vec();
        };
        let text = redacted(&searcher, bytes, most);
        known.searcher = Some(searcher);
        text
    }

    /// Returns the text as [`text`](Self::text) does, and without the values of headers of
    /// `request` that may hold credentials, since not all of them come from Secrets.
    pub(crate) fn text_about(&self, request: &[u8], bytes: &[u8]) -> String {
        let mut text = self.text(bytes);
        let (head, _) = message::split(request);
        for (_, value) in headers(head)
            .filter(|(name, _)| !message::is_harmless(name) && !name.eq_ignore_ascii_case(b"host"))
        {
            let value = String::from_utf8_lossy(value);
            for piece in value
                .split([' ', ';', '=', ','])
                .filter(|piece| piece.len() >= SHORTEST_SENT)
            {
                text = text.replace(piece, "***");
            }
        }
        text
    }
}

/// Returns a warning for each Secret whose value is too short to be removed from texts.
pub fn unredacted(plan: &Plan, inputs: &Inputs) -> Vec<String> {
    let secrets = plan
        .references()
        .into_iter()
        .filter(|reference| reference.kind == Kind::Secret);
    let short = secrets.filter(|reference| {
        inputs
            .get(reference)
            .is_some_and(|value| (1..SHORTEST).contains(&value.trim_ascii().len()))
    });
    let told = short.map(|Reference { kind, name, key, field }| {
        format!(
            "{field}: {kind} {name:?} key {key:?} is shorter than {SHORTEST} characters, so it is not taken out of messages and samples"
        )
    });
    let mut told: Vec<String> = told.collect();
    told.dedup();
    told
}

/// Returns the text without beginnings of secrets that were cut off; `…` marks where that happened.
fn without_beginnings(secrets: &[Vec<u8>], text: &str) -> String {
    let mut parts = Vec::new();
    for part in text.split('…') {
        let (shown, quote) = part
            .strip_suffix('"')
            .map_or((part, ""), |shown| (shown, "\""));
        let longest = secrets
            .iter()
            .filter_map(|secret| beginning(secret, shown))
            .max();
        parts.push(match longest {
            Some(length) => format!("{}***{quote}", &shown[..shown.len() - length]),
            None => part.to_owned(),
        });
    }
    parts.join("…")
}

/// Returns how many bytes at the end of `text` are the beginning of `secret`, if at least
/// [`SHORTEST`].
fn beginning(secret: &[u8], text: &str) -> Option<usize> {
    let most = secret.len().saturating_sub(1).min(text.len());
    let is_one = |length: &usize| {
        text.is_char_boundary(text.len() - length) && text.as_bytes().ends_with(&secret[..*length])
    };
    (SHORTEST..=most).rev().find(is_one)
}

fn redacted(searcher: &AhoCorasick, bytes: &[u8], most: usize) -> Vec<u8> {
    let most = bytes.len().min(most);
    let mut out = Vec::with_capacity(most);
    let mut shown = 0;
    for found in searcher
        .find_iter(bytes)
        .take_while(|found| found.start() < most)
    {
        out.extend_from_slice(&bytes[shown..found.start()]);
        out.extend_from_slice(INSTEAD.as_bytes());
        shown = found.end();
    }
    out.extend_from_slice(&bytes[shown.min(most)..most]);
    out
}

/// Returns a secret as it is, and as JSON, URLs, forms and base64 write it.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    for alphabet in [STANDARD, URL_SAFE] {
        let engine = GeneralPurpose::new(&alphabet, NO_PAD);
        forms.push(engine.encode(secret).into_bytes());
        forms.extend((0..3).map(|before| within_base64(&engine, secret, before)));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = serde_json::Value::from(text).to_string();
        let in_path = utf8_percent_encode(text, NOT_UNRESERVED).to_string();
        let others = [
            in_path.replace("%20", "+"),
            in_path,
            utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        ];
        forms.extend(
            others
                .into_iter()
                .chain([json[1..json.len() - 1].to_owned()])
                .map(String::into_bytes),
        );
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms.sort();
    forms.dedup();
    forms
}

/// Returns the characters that `secret` alone decides in the base64 of a text, where `before` is
/// the number of bytes ahead of it, modulo three.
fn within_base64(engine: &GeneralPurpose, secret: &[u8], before: usize) -> Vec<u8> {
    let mut padded = vec![0; before];
    padded.extend_from_slice(secret);
    let encoded = engine.encode(&padded).into_bytes();
    encoded[(before * 8).div_ceil(6)..padded.len() * 8 / 6].to_vec()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_is_in_no_text_in_whatever_form() {
        let redactor = Redactor::default();
        for secret in ["pa\"ss/w ord", "pa\"ss", "abc"] {
            redactor.learn(secret.as_bytes());
        }
        assert_eq!(redactor.text(b"a pa\"ss/w ord b"), "a *** b");
        assert_eq!(
            redactor.text(br#"{"p": "pa\"ss/w ord"}"#),
            r#"{"p": "***"}"#
        );
        assert_eq!(redactor.text(b"?p=pa%22ss%2Fw%20ord"), "?p=***");
        assert_eq!(redactor.text(b"q=pa%22ss%2Fw+ord"), "q=***");
        assert_eq!(
            redactor.text(
                general_purpose::STANDARD_NO_PAD
                    .encode("pa\"ss/w ord")
                    .as_bytes()
            ),
            "***"
        );
        assert_eq!(
            redactor.text(b"pa\"ss pa\"s \xff abc"),
            "*** pa\"s \u{fffd} abc"
        );
    }

    #[test]
    fn what_was_sent_as_a_credential_does_not_come_back() {
        let request =
            b"GET / HTTP/1.1\r\nHost: categorizer.example\r\nAuthorization: Bearer extracted-token\r\nAccept: application/json\r\n\
            Cookie: session=0123456789; a=b\r\n\r\n";
        let redactor = Redactor::default();
        redactor.learn(b"canary");
        let text = |bytes: &str| redactor.text_about(request, bytes.as_bytes());
        assert_eq!(
            text("canary: extracted-token of session 0123456789 has expired"),
            "***: *** of session *** has expired"
        );
        assert_eq!(
            text("application/json at categorizer.example, a=b"),
            "application/json at categorizer.example, a=b"
        );
    }

    #[test]
    fn a_secret_that_was_cut_off_is_not_shown_up_to_the_cut() {
        let redactor = Redactor::default();
        redactor.learn(b"token-0123456789");
        assert_eq!(
            redactor.message("found \"Bearer token-01234\"…, token"),
            "found \"Bearer ***\"…, ***"
        );
        assert_eq!(
            redactor.message("found token-0123456789… and tok…"),
            "found ***… and tok…"
        );
        assert_eq!(redactor.message("token-01 is no end"), "token-01 is no end");
    }

    #[test]
    fn a_secret_that_the_end_of_what_is_shown_would_cut_is_not_shown_in_part() {
        let redactor = Redactor::default();
        redactor.learn(b"canary-1234");
        assert_eq!(redactor.beginning(b"ab canary-1234 more", 5), b"ab ***");
        assert_eq!(redactor.beginning(b"ab canary-1234 more", 17), b"ab *** mo");
        assert_eq!(redactor.beginning(b"abc", 2), b"ab");
        assert!(redactor.longest() >= b"canary-1234".len());
    }

    proptest! {
        #[test]
        fn no_base64_of_it_shows_it(before in "[a-z]{0,7}", secret in "[A-Za-z0-9]{12,40}", after in "[a-z]{0,7}") {
            let redactor = Redactor::default();
            redactor.learn(secret.as_bytes());
            let whole = format!("{before}{secret}{after}");
            for encoded in [general_purpose::STANDARD.encode(&whole), general_purpose::URL_SAFE_NO_PAD.encode(&whole)] {
                let shown = redactor.text(encoded.as_bytes());
                prop_assert!(shown.contains(INSTEAD), "{}", shown);
                // at most the characters that it shares with its neighbours
                prop_assert!(shown.len() <= (before.len() + after.len()).div_ceil(3) * 4 + 12 + INSTEAD.len(), "{}", shown);
            }
        }
    }

    #[test]
    fn what_is_learned_later_is_secret_from_then_on() {
        let redactor = Redactor::default();
        assert_eq!(redactor.text(b"token-1 token-2"), "token-1 token-2");
        redactor.learn(b"token-1");
        assert_eq!(redactor.text(b"token-1 token-2"), "*** token-2");
        redactor.learn(b"token-2");
        assert_eq!(redactor.text(b"token-1 token-2"), "*** ***");
    }
}
