//! Removes secrets from text that will be shown.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::engine::answer::capture::headers;
use crate::engine::message;
pub(crate) use crate::engine::record::secrets::PART;
use crate::engine::record::secrets::{SHORTEST, Secrets, places};
use crate::plan::{Inputs, Kind, Plan, Reference};

/// Shortest piece of a header, in bytes, that is taken for a credential; shorter ones are words.
const SHORTEST_SENT: usize = 8;

/// Text that replaces a secret.
pub(crate) const INSTEAD: &str = "***";

/// Bytes after the end of what is shown that must be known so that no part of a secret is shown.
pub(crate) const REACH: usize = PART - 1;

/// Most tokens that are remembered; older ones have long expired.
const MAX_TOKENS: usize = 64;

/// Largest size of the secrets that one user extracted, in bytes. Of a user with more, no text is
/// shown.
const MAX_OWN: usize = 128 * 1024;

/// Secrets of a test. Several threads may share it.
#[derive(Default)]
pub(crate) struct Redactor {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// Secrets that stay for the whole run.
    lasting: Secrets,
    /// Last tokens, the newest at the end.
    tokens: VecDeque<Vec<u8>>,
    /// Secrets made of these tokens.
    of_tokens: Secrets,
}

/// Redactor that also knows the secrets of one user.
pub(crate) struct UserRedactor<'a> {
    shared: &'a Redactor,
    own: Secrets,
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

    /// Adds a secret for the rest of the run. One shorter than [`SHORTEST`] is ignored.
    pub(crate) fn learn(&self, secret: &[u8]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.lasting.add(secret);
    }

    /// Adds a token that a later one will replace.
    pub(crate) fn learn_token(&self, token: &[u8]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Known {
            tokens, of_tokens, ..
        } = &mut *known;
        tokens.push_back(token.to_vec());
        of_tokens.add(token);
        if tokens.len() > MAX_TOKENS {
            tokens.pop_front();
            *of_tokens = Secrets::default();
            tokens.iter().for_each(|token| of_tokens.add(token));
        }
    }

    /// Returns a redactor that also knows the secrets `own` of one user.
    pub(crate) fn with(&self, own: &[String]) -> UserRedactor<'_> {
        let mut secrets = Secrets::default();
        if own.iter().map(String::len).sum::<usize>() > MAX_OWN {
            secrets.fill();
        } else {
            own.iter().for_each(|text| secrets.add(text.as_bytes()));
        }
        UserRedactor {
            shared: self,
            own: secrets,
        }
    }

    /// Returns one of our own messages without the secrets that it quotes, even those that were cut
    /// off.
    pub(crate) fn message(&self, text: &str) -> String {
        self.with(&[]).message(text)
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserRedactor<'_> {
    /// Returns one of our own messages without the secrets that it quotes, even those that were cut
    /// off.
    pub(crate) fn message(&self, text: &str) -> String {
        let text = self.text(text.as_bytes());
        self.without_beginnings(&text)
    }

    /// Returns the text without its secrets; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&self.beginning(bytes, bytes.len())).into_owned()
    }

    /// Returns the first `most` bytes without secrets.
    ///
    /// `bytes` must hold at least [`REACH`] more, or all there are, so that a part of a secret that
    /// begins within the first `most` is recognized.
    pub(crate) fn beginning(&self, bytes: &[u8], most: usize) -> Vec<u8> {
        let most = bytes.len().min(most);
        let known = self.shared.known();
        let sets = [&known.lasting, &known.of_tokens, &self.own];
        let bytes = &bytes[..bytes.len().min(most + REACH)];
        let mut out = Vec::with_capacity(most);
        let mut shown = 0;
        for place in places(&sets, bytes)
            .into_iter()
            .take_while(|place| place.start < most)
        {
            out.extend_from_slice(&bytes[shown..place.start]);
            out.extend_from_slice(INSTEAD.as_bytes());
            shown = place.end;
        }
        out.extend_from_slice(&bytes[shown.min(most)..most]);
        out
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
                text = text.replace(piece, INSTEAD);
            }
        }
        text
    }

    /// Returns the text without beginnings of secrets that were cut off; `…` marks where that
    /// happened.
    fn without_beginnings(&self, text: &str) -> String {
        let known = self.shared.known();
        let mut parts = Vec::new();
        for part in text.split('…') {
            let (shown, quote) = part
                .strip_suffix('"')
                .map_or((part, ""), |shown| (shown, "\""));
            let sets = [&known.lasting, &known.of_tokens, &self.own];
            let lengths = sets
                .into_iter()
                .map(|set| set.begun_at_end(shown.as_bytes()));
            let length = lengths.max().unwrap_or(0);
            // a secret that begins within a character of the text is none
            parts.push(match shown.get(..shown.len() - length) {
                Some(before) if length > 0 => format!("{before}{INSTEAD}{quote}"),
                _ => part.to_owned(),
            });
        }
        parts.join("…")
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_is_in_no_text_in_whatever_form() {
        let redactor = Redactor::default();
        for secret in ["pa\"ss/w ord", "pa\"ss", "abc"] {
            redactor.learn(secret.as_bytes());
        }
        assert_eq!(redactor.with(&[]).text(b"a pa\"ss/w ord b"), "a *** b");
        assert_eq!(
            redactor.with(&[]).text(br#"{"p": "pa\"ss/w ord"}"#),
            r#"{"p": "***"}"#
        );
        assert_eq!(redactor.with(&[]).text(b"?p=pa%22ss%2Fw%20ord"), "?p=***");
        assert_eq!(redactor.with(&[]).text(b"q=pa%22ss%2Fw+ord"), "q=***");
        assert_eq!(
            redactor.with(&[]).text(
                general_purpose::STANDARD_NO_PAD
                    .encode("pa\"ss/w ord")
                    .as_bytes()
            ),
            "***"
        );
        assert_eq!(
            redactor.with(&[]).text(b"pa\"ss pa\"s \xff abc"),
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
        let text = |bytes: &str| redactor.with(&[]).text_about(request, bytes.as_bytes());
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
        assert_eq!(redactor.message("token-0 is no end"), "token-0 is no end");
    }

    #[test]
    fn a_secret_that_the_end_of_what_is_shown_would_cut_is_not_shown_in_part() {
        let redactor = Redactor::default();
        redactor.learn(b"canary-1234");
        assert_eq!(
            redactor.with(&[]).beginning(b"ab canary-1234 more", 5),
            b"ab ***"
        );
        assert_eq!(
            redactor.with(&[]).beginning(b"ab canary-1234 more", 17),
            b"ab *** mo"
        );
        assert_eq!(redactor.with(&[]).beginning(b"abc", 2), b"ab");
    }

    proptest! {
        #[test]
        fn no_base64_of_it_shows_it(before in "[a-z]{0,7}", secret in "[A-Za-z0-9]{12,40}", after in "[a-z]{0,7}") {
            let redactor = Redactor::default();
            redactor.learn(secret.as_bytes());
            let whole = format!("{before}{secret}{after}");
            for encoded in [general_purpose::STANDARD.encode(&whole), general_purpose::URL_SAFE_NO_PAD.encode(&whole)] {
                let shown = redactor.with(&[]).text(encoded.as_bytes());
                prop_assert!(shown.contains(INSTEAD), "{}", shown);
                // at most the characters that it shares with its neighbours
                prop_assert!(shown.len() <= (before.len() + after.len()).div_ceil(3) * 4 + 12 + INSTEAD.len(), "{}", shown);
            }
        }
    }

    #[test]
    fn what_is_learned_later_is_secret_from_then_on() {
        let redactor = Redactor::default();
        assert_eq!(
            redactor.with(&[]).text(b"token-1 token-2"),
            "token-1 token-2"
        );
        redactor.learn(b"token-1");
        assert_eq!(redactor.with(&[]).text(b"token-1 token-2"), "*** token-2");
        redactor.learn(b"token-2");
        assert_eq!(redactor.with(&[]).text(b"token-1 token-2"), "*** ***");
    }
}
