//! Reasons why an answer failed, as its text tells: known reasons that users of model endpoints
//! meet, and the target's own words.

use serde_json::Value;

use crate::engine::answer::capture::{MAX_REFUSAL, header_texts};

/// Most characters of the target's own words.
const MAX_WORDS: usize = 160;

/// Known reason: statuses, texts of which the answer holds one in any letter case, and the
/// explanation.
type Known = (&'static [u16], &'static [&'static str], &'static str);

/// Known reasons, of which the first match counts. The texts are those of Databricks, of RFC 6750,
/// of cloud gateways and of V2 inference servers.
const KNOWN: [Known; 9] = [
    (
        &[401, 403],
        &[
            "ip access list",
            "ip acl",
            "ip_access",
            "ip address is not allowed",
            "ip is not allowed",
            "not in allowlist",
        ],
        "an IP access list of the target refuses this address",
    ),
    (&[401, 403], &["expired"], "the token has expired"),
    (
        &[401, 403],
        &[
            "invalid_token",
            "invalid access token",
            "invalid token",
            "token is invalid",
            "invalid api key",
            "invalid_api_key",
            "malformed token",
        ],
        "the token is not valid",
    ),
    (
        &[401, 403],
        &[
            "credential was not sent",
            "missing authorization",
            "no credentials",
        ],
        "no credentials were sent",
    ),
    (
        &[403],
        &[
            "permission_denied",
            "does not have permission",
            "not authorized",
        ],
        "these credentials may not ask this endpoint",
    ),
    (
        &[400, 404, 503],
        &["not ready", "not_ready", "is not loaded", "not yet ready"],
        "the endpoint is not ready",
    ),
    (
        &[400, 404],
        &[
            "resource_does_not_exist",
            "endpoint_not_found",
            "unknown model",
            "model_not_found",
            "does not exist",
        ],
        "there is no such endpoint or model",
    ),
    (
        &[503],
        &["no healthy upstream", "no available server"],
        "nothing behind this address is ready",
    ),
    (
        &[429],
        &[
            "quota",
            "request_limit_exceeded",
            "rate limit",
            "rate_limit",
        ],
        "the quota is used up",
    ),
];

/// Returns the known reason and the target's own message as one line. `redact` removes secrets from
/// the message.
pub(crate) fn reason(
    status: u16,
    head: &[u8],
    body: &[u8],
    redact: impl Fn(&[u8]) -> String,
) -> Option<String> {
    let challenge = header_texts(head, "www-authenticate")
        .collect::<Vec<_>>()
        .join(" ");
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_REFUSAL)]);
    let told = format!("{challenge} {text}").to_lowercase();
    let known = KNOWN.iter().find(|(statuses, texts, _)| {
        statuses.contains(&status) && texts.iter().any(|text| told.contains(text))
    });
    let words = first_line(body, &redact)
        .or_else(|| Some(cut(&redact(challenge.as_bytes()))).filter(|words| !words.is_empty()));
    match (known, words) {
        (None, None) => None,
        (Some((_, _, reason)), None) => Some((*reason).to_owned()),
        (None, Some(words)) => Some(words),
        (Some((_, _, reason)), Some(words)) => Some(format!("{reason}: {words}")),
    }
}

/// Returns the message in a body as one line of at most [`MAX_WORDS`] characters. The body is
/// redacted before it is cut, so that no beginning of a secret is left.
pub(crate) fn first_line(body: &[u8], redact: impl Fn(&[u8]) -> String) -> Option<String> {
    let body = redact(&body[..body.len().min(MAX_REFUSAL)]);
    // what JSON has in another form than is looked for is in its plain form now
    message_in(&body).map(|message| cut(&redact(message.as_bytes())))
}

/// Finds the message of a JSON answer, the title of a page, or else the first line.
fn message_in(body: &str) -> Option<String> {
    let found = match serde_json::from_str::<Value>(body) {
        Ok(json) => message(&json),
        Err(_) => title(body)
            .or_else(|| body.lines().map(str::trim).find(|line| !line.is_empty()))
            .map(str::to_owned),
    };
    found.filter(|words| !words.trim().is_empty())
}

/// Finds the message in JSON, in the fields where servers put it.
fn message(json: &Value) -> Option<String> {
    match json {
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => {
            let found = [
                "message",
                "error_description",
                "detail",
                "error",
                "error_code",
            ]
            .iter()
            .find_map(|name| message(fields.get(*name)?));
            found.or_else(|| Some(json.to_string()))
        }
        Value::Array(items) => items.first().and_then(message),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(json.to_string()),
    }
}

fn title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(page[start..end].trim())
}

fn cut(words: &str) -> String {
    words
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .take(MAX_WORDS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, head: &str, body: &str) -> String {
        let shown = |text: &[u8]| String::from_utf8_lossy(text).replace("-----KEY\nab", "***");
        reason(
            status,
            format!("HTTP/1.1 {status} x\r\n{head}\r\n").as_bytes(),
            body.as_bytes(),
            shown,
        )
        .unwrap_or_default()
    }

    #[test]
    fn refusals_that_users_meet_are_named() {
        for (status, head, body, expected) in [
            (
                403,
                "",
                r#"{"error_code": 403, "message": "Source IP address: 10.1.2.3 is blocked by Databricks IP ACL for workspace: 1"}"#,
                "an IP access list of the target refuses this address: Source IP address: 10.1.2.3 is blocked by Databricks IP ACL for workspace: 1",
            ),
            (
                403,
                "",
                "Invalid access token.",
                "the token is not valid: Invalid access token.",
            ),
            (
                403,
                "",
                r#"{"error_code":"403","message":"Token expired"}"#,
                "the token has expired: Token expired",
            ),
            (
                401,
                "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
                "",
                "the token is not valid: Bearer error=\"invalid_token\"",
            ),
            (
                401,
                "",
                r#"{"error_code":401,"message":"Credential was not sent or was of an unsupported type for this API."}"#,
                "no credentials were sent: Credential was not sent or was of an unsupported type for this API.",
            ),
            (
                404,
                "",
                r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"Endpoint with name 'x' does not exist."}"#,
                "there is no such endpoint or model: Endpoint with name 'x' does not exist.",
            ),
            (
                404,
                "",
                r#"{"error_code":"ENDPOINT_NOT_FOUND","message":"no x"}"#,
                "there is no such endpoint or model: no x",
            ),
            (
                404,
                "",
                r#"{"message":"The endpoint is not ready yet."}"#,
                "the endpoint is not ready: The endpoint is not ready yet.",
            ),
            (
                400,
                "",
                r#"{"error":"Request for unknown model: 'x' is not found"}"#,
                "there is no such endpoint or model: Request for unknown model: 'x' is not found",
            ),
            (
                429,
                "",
                r#"{"error":{"message":"Rate limit reached","type":"requests"}}"#,
                "the quota is used up: Rate limit reached",
            ),
            (
                503,
                "",
                "no healthy upstream",
                "nothing behind this address is ready: no healthy upstream",
            ),
        ] {
            assert_eq!(told(status, head, body), expected);
        }
    }

    #[test]
    fn a_secret_of_several_lines_does_not_show_its_first() {
        assert_eq!(told(500, "", "got -----KEY\nab"), "got ***");
        assert_eq!(
            told(500, "", r#"{"message": "got -----\u004bEY\nab"}"#),
            "got ***"
        );
    }

    #[test]
    fn others_say_it_in_the_targets_own_words() {
        assert_eq!(told(500, "", "\n\n  boom\nat line 1\n"), "boom");
        assert_eq!(
            told(
                502,
                "",
                "<html><head><Title> 502 Bad Gateway </title></head>"
            ),
            "502 Bad Gateway"
        );
        assert_eq!(
            told(422, "", r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#),
            r#"{"loc":["body"],"msg":"x"}"#
        );
        assert_eq!(told(500, "", ""), "");
        assert_eq!(told(400, "", "expired"), "expired");
        assert_eq!(told(500, "", &"é".repeat(4000)).chars().count(), MAX_WORDS);
    }
}
