//! Takes what is secret out of text that will be shown.

use std::sync::RwLock;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::capture::headers;
use super::feeder::Feed;
use super::message;
use crate::plan::{Inputs, Kind, Plan};

/// Shorter ones are in any text, and taking them out would tell where.
const SHORTEST: usize = 4;

/// Pieces of a header are words rather than credentials below this.
const SHORTEST_SENT: usize = 8;

const INSTEAD: &[u8] = b"***";

/// Knows the secrets of a test in each form in which a message may hold them. Several threads may ask and teach it.
#[derive(Default)]
pub(super) struct Redactor {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    secrets: Vec<Vec<u8>>,
    /// Made when first asked, since most runs never show a message of the target's.
    searcher: Option<AhoCorasick>,
}

impl Redactor {
    /// What the plan takes out of Secrets.
    pub(super) fn new(plan: &Plan, inputs: &Inputs, feeds: &[Feed]) -> Self {
        let redactor = Self::default();
        for reference in plan.references().into_iter().filter(|reference| reference.kind == Kind::Secret) {
            if let Some(value) = inputs.get(reference) {
                redactor.learn(value.trim_ascii());
            }
        }
        feeds.iter().for_each(|feed| feed.secret_texts(|text| redactor.learn(text.as_bytes())));
        redactor
    }

    /// From now on this is secret too.
    pub(super) fn learn(&self, secret: &[u8]) {
        if secret.len() < SHORTEST {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.searcher = None;
        known.secrets.push(secret.to_vec());
        known.secrets.push(STANDARD.encode(secret).into_bytes());
        if let Ok(text) = std::str::from_utf8(secret) {
            let json = serde_json::Value::from(text).to_string();
            let others = [utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(), json[1..json.len() - 1].to_owned()];
            known.secrets.extend(others.into_iter().filter(|other| other != text).map(String::into_bytes));
        }
    }

    /// A message of ours without the secrets that it quotes, also one that was cut off.
    pub(super) fn message(&self, text: &str) -> String {
        let text = self.text(text.as_bytes());
        let known = self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        without_beginnings(&known.secrets, &text)
    }

    /// The text without its secrets; what is no UTF-8 is replaced.
    pub(super) fn text(&self, bytes: &[u8]) -> String {
        {
            let known = self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            match &known.searcher {
                _ if known.secrets.is_empty() => return String::from_utf8_lossy(bytes).into_owned(),
                Some(searcher) => return redacted(searcher, bytes),
                None => {}
            }
        }
        let mut known = self.known.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        // secrets are bounded by the size of a Secret, which is far below what a searcher takes
        let Ok(searcher) = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&known.secrets) else {
            return String::from_utf8_lossy(INSTEAD).into_owned();
        };
        let text = redacted(&searcher, bytes);
        known.searcher = Some(searcher);
        text
    }

    /// Likewise, and without what `request` said in headers that may hold credentials: not all of them come from Secrets.
    pub(super) fn text_about(&self, request: &[u8], bytes: &[u8]) -> String {
        let mut text = self.text(bytes);
        let (head, _) = message::split(request);
        for (_, value) in headers(head).filter(|(name, _)| !message::is_harmless(name) && !name.eq_ignore_ascii_case(b"host")) {
            let value = String::from_utf8_lossy(value);
            for piece in value.split([' ', ';', '=', ',']).filter(|piece| piece.len() >= SHORTEST_SENT) {
                text = text.replace(piece, "***");
            }
        }
        text
    }
}

/// The text without beginnings of secrets where it was cut off; both limits of what is shown write `…` there.
fn without_beginnings(secrets: &[Vec<u8>], text: &str) -> String {
    let mut parts = Vec::new();
    for part in text.split('…') {
        let (shown, quote) = part.strip_suffix('"').map_or((part, ""), |shown| (shown, "\""));
        let longest = secrets.iter().filter_map(|secret| beginning(secret, shown)).max();
        parts.push(match longest {
            Some(length) => format!("{}***{quote}", &shown[..shown.len() - length]),
            None => part.to_owned(),
        });
    }
    parts.join("…")
}

/// How much of the end of `text` is the beginning of `secret`, if that says anything.
fn beginning(secret: &[u8], text: &str) -> Option<usize> {
    let most = secret.len().saturating_sub(1).min(text.len());
    let is_one = |length: &usize| text.is_char_boundary(text.len() - length) && text.as_bytes().ends_with(&secret[..*length]);
    (SHORTEST..=most).rev().find(is_one)
}

fn redacted(searcher: &AhoCorasick, bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    searcher.replace_all_with_bytes(bytes, &mut out, |_, _, out| {
        out.extend_from_slice(INSTEAD);
        true
    });
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_no_text_in_whatever_form() {
        let redactor = Redactor::default();
        for secret in ["pa\"ss/w ord", "pa\"ss", "abc"] {
            redactor.learn(secret.as_bytes());
        }
        assert_eq!(redactor.text(b"a pa\"ss/w ord b"), "a *** b");
        assert_eq!(redactor.text(br#"{"p": "pa\"ss/w ord"}"#), r#"{"p": "***"}"#);
        assert_eq!(redactor.text(b"?p=pa%22ss%2Fw%20ord"), "?p=***");
        assert_eq!(redactor.text(STANDARD.encode("pa\"ss/w ord").as_bytes()), "***");
        assert_eq!(redactor.text(b"pa\"ss pa\"s \xff abc"), "*** pa\"s \u{fffd} abc");
    }

    #[test]
    fn what_was_sent_as_a_credential_does_not_come_back() {
        let request =
            b"GET / HTTP/1.1\r\nHost: categorizer.example\r\nAuthorization: Bearer extracted-token\r\nAccept: application/json\r\n\
            Cookie: session=0123456789; a=b\r\n\r\n";
        let redactor = Redactor::default();
        redactor.learn(b"canary");
        let text = |bytes: &str| redactor.text_about(request, bytes.as_bytes());
        assert_eq!(text("canary: extracted-token of session 0123456789 has expired"), "***: *** of session *** has expired");
        assert_eq!(text("application/json at categorizer.example, a=b"), "application/json at categorizer.example, a=b");
    }

    #[test]
    fn a_secret_that_was_cut_off_is_not_shown_up_to_the_cut() {
        let redactor = Redactor::default();
        redactor.learn(b"token-0123456789");
        assert_eq!(redactor.message("found \"Bearer token-01234\"…, token"), "found \"Bearer ***\"…, ***");
        assert_eq!(redactor.message("found token-0123456789… and tok…"), "found ***… and tok…");
        assert_eq!(redactor.message("token-01 is no end"), "token-01 is no end");
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
