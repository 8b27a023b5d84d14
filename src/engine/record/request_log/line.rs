//! Request log entry as a line of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::engine::answer::capture::headers;
use crate::engine::attempt::sample::Part;
use crate::engine::message::is_credential;
use crate::engine::record::redactor::{INSTEAD, UserRedactor};
use crate::engine::record::request_log::{Copied, Entry, RunLog};

/// Shortest word of a header with credentials, in bytes, that is taken for one; shorter ones are
/// names of schemes and the like.
const SHORTEST_CREDENTIAL: usize = 8;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    /// Time when the request should have been sent, RFC 3339.
    time: String,
    run: &'a str,
    worker: u32,
    user: u64,
    iteration: u64,
    scenario: &'a str,
    task: &'a str,
    step: &'a str,
    /// Part of the run: `measured`, `warmup` or `control`.
    part: &'a str,
    /// Status of the answer; absent without one.
    status: Option<u16>,
    /// Name of the gRPC status, if a call was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<String>,
    latency_micros: u64,
    service_time_micros: u64,
    /// Class of the failure; absent after a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    sent: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    /// Request line or status line.
    line: String,
    headers: Vec<(String, String)>,
    /// Beginning of the body, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Beginning of the body in base64, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// Size of the whole body in bytes.
    body_bytes: u64,
}

impl RunLog {
    /// Returns the entry as JSON with a line break at its end.
    pub(super) fn line(&self, entry: &Entry) -> Vec<u8> {
        let [scenario, task, step] = self
            .names
            .get(usize::from(entry.step))
            .map_or([""; 3], |names| names.each_ref().map(String::as_str));
        // a target may send back what it was sent, and name in its body what its head sets
        let mut own = entry.secrets.clone();
        own.extend(credentials(&entry.sent.head));
        own.extend(
            entry
                .received
                .iter()
                .flat_map(|received| credentials(&received.head)),
        );
        let redactor = self.redactor.with(&own);
        let micros = |time: std::time::Duration| time.as_micros() as u64;
        let why = entry.failure.as_ref().map(|(_, why)| redactor.message(why));
        let line = Line {
            time: jiff::Timestamp::try_from(entry.at)
                .map(|at| at.to_string())
                .unwrap_or_default(),
            run: &self.sink.run,
            worker: entry.worker,
            user: entry.user,
            iteration: entry.iteration,
            scenario,
            task,
            step,
            part: match entry.part {
                Part::Measured => "measured",
                Part::Warmup => "warmup",
                Part::Control => "control",
            },
            status: Some(entry.status).filter(|status| *status != 0),
            grpc_status: entry.grpc_status.map(|code| code.to_string()),
            latency_micros: micros(entry.latency),
            service_time_micros: micros(entry.service_time),
            error: entry.failure.as_ref().map(|(class, _)| class.name()),
            why,
            sent: self.message(&entry.sent, &redactor),
            received: entry
                .received
                .as_ref()
                .map(|received| self.message(received, &redactor)),
        };
        let mut json = serde_json::to_vec(&line).expect("names and texts are JSON");
        json.push(b'\n');
        json
    }

    /// Writes a message down without its secrets.
    fn message(&self, copied: &Copied, redactor: &UserRedactor<'_>) -> Message {
        let line = copied
            .head
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default()
            .trim_ascii_end();
        let line = redactor.text(line);
        let headers = headers(&copied.head).map(|(name, value)| {
            let name = String::from_utf8_lossy(name).into_owned();
            let value = if is_credential(&name) {
                INSTEAD.to_owned()
            } else {
                redactor.text(value)
            };
            (name, value)
        });
        let headers = headers.collect();
        let most = self.settings.max_body_bytes as usize;
        let body = redactor.beginning(&copied.body, most);
        let (body, body_base64) = match text_of(body, copied.body.len() > most) {
            Ok(text) => (Some(text).filter(|text| !text.is_empty()), None),
            Err(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        Message {
            line,
            headers,
            body,
            body_base64,
            body_bytes: copied.body_bytes,
        }
    }
}

/// Returns the words of headers that hold credentials. Of a cookie that is set, it is the value.
fn credentials(head: &[u8]) -> Vec<String> {
    let values = headers(head).filter(|(name, _)| is_credential(&String::from_utf8_lossy(name)));
    let texts = values.map(|(name, value)| {
        let value = String::from_utf8_lossy(value).into_owned();
        match value.split_once(';') {
            Some((first, _)) if name.eq_ignore_ascii_case(b"set-cookie") => first.to_owned(),
            _ => value,
        }
    });
    let words = texts.flat_map(|text| {
        text.split([' ', ';', '=', ','])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    words
        .filter(|word| word.len() >= SHORTEST_CREDENTIAL)
        .collect()
}

/// Returns `bytes` as text, or as they are if they are not UTF-8. Text that was cut may end within
/// a character.
fn text_of(bytes: Vec<u8>, is_cut: bool) -> Result<String, Vec<u8>> {
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let is_end = error.utf8_error().error_len().is_none();
        let mut bytes = error.into_bytes();
        if is_cut && is_end {
            bytes.truncate(valid);
        }
        String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_credentials_are_known_by_name() {
        assert!(
            [
                "Authorization",
                "COOKIE",
                "set-cookie",
                "X-Api-Key",
                "X-Amz-Security-Token"
            ]
            .into_iter()
            .all(is_credential)
        );
        assert!(
            !["Content-Type", "X-Request-Id", "Host"]
                .into_iter()
                .any(is_credential)
        );
    }

    #[test]
    fn a_text_that_was_cut_within_a_character_is_a_text() {
        let cut = "aé".as_bytes()[..2].to_vec();
        assert_eq!(text_of(cut.clone(), true), Ok("a".to_owned()));
        assert_eq!(text_of(cut.clone(), false), Err(cut));
        assert_eq!(
            text_of(b"\xff\xfe text".to_vec(), true),
            Err(b"\xff\xfe text".to_vec())
        );
    }
}
