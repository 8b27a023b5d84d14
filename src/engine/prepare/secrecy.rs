//! Secrecy of extracted values: which of them no message and no request log entry may show.
//!
//! All that setup and `onStart` extract is secret. Of what later steps extract, it is what a login
//! gives out, known by words in names and places, and whatever is sent in a header that may hold
//! credentials. A value that looks like a token is secret wherever it came from.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::message::{is_credential, is_harmless};
use crate::plan::{Extract, ExtractFrom, Plan, Protocol, RequestStep, Slot, secret_texts};

/// Words that mark a step, a path, a name or a place of a value as one of a login, in lower case.
const WORDS: [&str; 15] = [
    "login",
    "logon",
    "signin",
    "sign-in",
    "auth",
    "token",
    "secret",
    "passw",
    "session",
    "jwt",
    "csrf",
    "apikey",
    "api-key",
    "api_key",
    "credential",
];

/// Shortest value that is taken for a token by its looks, in bytes.
const SHORTEST_TOKEN: usize = 20;

/// Finder of values that are secret by where they come from or go to.
pub(crate) struct Secrecy<'a> {
    /// Sources of the templates of all headers that may hold credentials.
    headers: Vec<&'a str>,
}

/// Slots of one scenario that hold secrets.
pub(crate) type SecretSlots = Arc<[Slot]>;

impl<'a> Secrecy<'a> {
    /// Reads what the steps of a plan send.
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let of_targets = plan.all_targets().flat_map(|target| &target.headers);
        let of_steps = plan.steps().flat_map(|place| match &place.step.call {
            Protocol::Http(http) => &http.request.headers,
            Protocol::Grpc(grpc) => &grpc.metadata,
        });
        let headers = of_targets
            .chain(of_steps)
            .filter(|header| !is_harmless(header.name.as_bytes()))
            .map(|header| header.value.source())
            .collect();
        Self { headers }
    }

    /// Returns whether what a step of a task extracts is a secret.
    pub(crate) fn is_secret(&self, step: &RequestStep, extract: &Extract) -> bool {
        let asked = match &step.call {
            Protocol::Http(http) => http.request.path.source().to_owned(),
            Protocol::Grpc(grpc) => grpc.method.to_string(),
        };
        let from = match &extract.from {
            ExtractFrom::Cookie(_) => return true,
            ExtractFrom::Header(name) if is_credential(name) => return true,
            from => from.to_string(),
        };
        let texts = [&step.name, &asked, &extract.name, &from];
        texts.into_iter().any(|text| is_of_login(text))
            || self
                .headers
                .iter()
                .any(|source| names(source, &extract.name))
    }
}

/// Collects the secrets among the values of a user: those in `slots`, and all that look like
/// tokens.
pub(crate) fn secrets_of<'v>(
    values: impl Iterator<Item = (Slot, &'v Value)>,
    slots: &[Slot],
) -> Vec<String> {
    let mut found = Vec::new();
    for (slot, value) in values {
        let is_secret = slots.contains(&slot);
        let mut texts = Vec::new();
        secret_texts(value, &mut texts);
        found.extend(
            texts
                .into_iter()
                .filter(|text| is_secret || is_like_a_token(text)),
        );
    }
    found
}

fn is_of_login(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}

/// Returns whether the source of a template holds `name` as a whole word.
fn names(source: &str, name: &str) -> bool {
    let is_of_name = |character: char| character.is_alphanumeric() || character == '_';
    source
        .split(|character| !is_of_name(character))
        .any(|word| word == name)
}

/// Returns whether a value consists of many letters and digits, mixed and without a space, as
/// tokens and the numbers of sessions do.
fn is_like_a_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    text.len() >= SHORTEST_TOKEN
        && !text.starts_with('/')
        && text.bytes().all(fits)
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_their_looks() {
        for token in [
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
            "0b9fe4f2-41a5-4a0e-a3c1-5f7d1c7f6a10",
            "dapi0123456789abcdef",
        ] {
            assert!(is_like_a_token(token), "{token}");
        }
        for other in [
            "electronics",
            "/items/0123456789/abcdef",
            "00000000000000000000",
            "an order of 2026, in words",
        ] {
            assert!(!is_like_a_token(other), "{other}");
        }
    }

    #[test]
    fn a_template_names_a_value_by_the_whole_word() {
        assert!(names("Bearer ${sid}", "sid") && names("${ sid.id }", "sid"));
        assert!(!names("Bearer ${sidebar}", "sid"));
    }

    #[test]
    fn words_of_a_login_are_known_in_any_case() {
        assert!(is_of_login("POST /oauth2/v1") && is_of_login("accessToken"));
        assert!(!is_of_login("/products/1"));
    }
}
