//! Takes what is secret out of text that will be shown.

use std::sync::RwLock;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::feeder::Feed;
use crate::plan::{Inputs, Kind, Plan};

/// Shorter ones are in any text, and taking them out would tell where.
const SHORTEST: usize = 4;

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
    fn what_is_learned_later_is_secret_from_then_on() {
        let redactor = Redactor::default();
        assert_eq!(redactor.text(b"token-1 token-2"), "token-1 token-2");
        redactor.learn(b"token-1");
        assert_eq!(redactor.text(b"token-1 token-2"), "*** token-2");
        redactor.learn(b"token-2");
        assert_eq!(redactor.text(b"token-1 token-2"), "*** ***");
    }
}
