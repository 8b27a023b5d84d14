//! Requests that are written down: which, how much of them, and without the secrets.

use std::io::{self, Write};
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use crate::crd::check;
use crate::engine::RequestLogWriter;
use crate::engine::tests::*;
use crate::plan::Kind;

/// A file that can be read afterwards.
#[derive(Clone, Default)]
pub(super) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends back what it got; `/fail` fails.
async fn echo(
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, String); 1], String) {
    let status = if uri.path() == "/fail" {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    (
        status,
        [("x-seen", uri.to_string())],
        format!("{headers:?} {}", String::from_utf8_lossy(&body)),
    )
}

/// What was written of a run of one user; how many lines were, and how many were left out.
struct Logged {
    text: String,
    lines: Vec<Value>,
    written: (u64, u64),
    snapshot: Snapshot,
}

async fn logged(samples: Value, steps: Value) -> Logged {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    let secret = |key: &str| json!({"secretKeyRef": {"name": "s", "key": key}});
    let spec = json!({
        "target": {"url": url, "auth": {"bearer": {"tokenFrom": secret("token")}}},
        "variablesFrom": {"password": secret("password")},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": steps}], "thinkTime": {"min": "10ms", "max": "10ms"}}],
        "load": {"closed": {"users": 1, "duration": "300ms"}},
        "samples": samples,
    });
    let plan = check(&serde_json::from_value(spec).unwrap()).unwrap().plan;
    let mut inputs = Inputs::default();
    inputs.insert(Kind::Secret, "s", "token", b"canary-token\n".to_vec());
    inputs.insert(Kind::Secret, "s", "password", b"canary pass\"word".to_vec());
    let page = Page::default();
    let log = RequestLogWriter::to(page.clone()).unwrap();
    let prepared = prepare(Arc::new(plan), &inputs)
        .await
        .unwrap()
        .logged_to(log.sink("run-1"));
    let mut running = Arc::new(prepared).start(whole(1), Instant::now());
    let snapshot = sum(&deltas(&mut running).await);
    let written = log.close();
    let text = page.text();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    Logged {
        text,
        lines,
        written: (written.lines(), written.left_out()),
        snapshot,
    }
}

fn post(path: &str) -> Value {
    json!({"name": "send", "http": {"method": "POST", "path": path, "json": {"p": "{{ password }}", "b": "{{ base64(password) }}"},
        "headers": {"X-Plain": "plain", "X-Word": "<{{ password }}>", "Cookie": "sid=1"}}})
}

#[tokio::test]
async fn a_line_tells_a_request_without_its_secrets() {
    let Logged {
        text,
        lines,
        written,
        snapshot,
    } = logged(
        json!({"rate": "100%"}),
        json!([post("/a?q={{ password }}")]),
    )
    .await;
    assert_eq!(
        (lines.len() as u64, written),
        (snapshot.requests(), (snapshot.requests(), 0))
    );
    assert!(!text.contains("canary"), "{text}");
    assert!(!text.contains("Y2FuYXJ5"), "as base64: {text}");
    let line = &lines[0];
    for (field, value) in [
        ("run", json!("run-1")),
        ("step", json!("send")),
        ("part", json!("measured")),
        ("status", json!(200)),
    ] {
        assert_eq!(line[field], value);
    }
    assert!(
        line["latencyMicros"].as_u64().unwrap() > 0
            && line["time"].as_str().unwrap().ends_with('Z'),
        "{line}"
    );
    assert_eq!(line["sent"]["line"], "POST /a?q=*** HTTP/1.1");
    assert_eq!(line["sent"]["body"], "{\"b\":\"***==\",\"p\":\"***\"}");
    let header = |name: &str| {
        let headers = line["sent"]["headers"].as_array().unwrap();
        headers
            .iter()
            .find(|header| header[0] == name)
            .map(|header| header[1].clone())
    };
    assert_eq!(
        [header("X-Plain"), header("X-Word")],
        [Some(json!("plain")), Some(json!("<***>"))]
    );
    assert_eq!(
        [header("Authorization"), header("Cookie")],
        [Some(json!("***")), Some(json!("***"))]
    );
    assert_eq!(line["received"]["line"], "HTTP/1.1 200 OK");
    assert!(
        line["received"]["body"]
            .as_str()
            .unwrap()
            .contains("x-plain"),
        "{line}"
    );
}

#[tokio::test]
async fn a_failure_says_its_class_and_why() {
    let steps = json!([{"http": {"path": "/fail"}, "onFailure": "Continue"}, {"http": {"path": "/ok"}, "checks": [{"body": {"contains": "nowhere"}}]}]);
    let Logged { lines, .. } = logged(json!({"rate": "100%"}), steps).await;
    assert_eq!(
        (&lines[0]["error"], &lines[0]["status"]),
        (&json!("status"), &json!(500))
    );
    assert!(
        lines[0]["why"]
            .as_str()
            .unwrap()
            .starts_with("500 Internal Server Error"),
        "{}",
        lines[0]
    );
    assert_eq!(
        (&lines[1]["error"], &lines[1]["status"]),
        (&json!("check"), &json!(200))
    );
    assert!(
        lines[1]["why"].as_str().unwrap().starts_with("checks[0]"),
        "{}",
        lines[1]
    );
}

#[tokio::test]
async fn no_more_is_written_than_asked_for() {
    let samples = json!({"rate": "100%", "maxBytes": 2048, "maxBodyBytes": 5});
    let Logged {
        text,
        lines,
        written: (written, left_out),
        snapshot,
    } = logged(samples, json!([post("/a")])).await;
    assert!(
        !lines.is_empty() && text.len() <= 2048,
        "{} bytes",
        text.len()
    );
    assert_eq!(lines[0]["sent"]["body"], "{\"b\":");
    assert!(lines[0]["sent"]["bodyBytes"].as_u64().unwrap() > 5);
    assert!(left_out > 0);
    assert_eq!(
        written + left_out,
        snapshot.requests(),
        "what is left out is counted"
    );
}

#[tokio::test]
async fn only_the_share_asked_for_is_written_and_the_same_with_the_same_seed() {
    let chosen = |lines: &[Value]| {
        lines
            .iter()
            .map(|line| line["iteration"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let first = logged(json!({"rate": "40%"}), json!([{"http": {"path": "/a"}}])).await;
    let second = logged(json!({"rate": "40%"}), json!([{"http": {"path": "/a"}}])).await;
    assert!(
        first.written.0 > 0 && first.written.0 < first.snapshot.requests(),
        "{:?}",
        first.written
    );
    let both = first.snapshot.requests().min(second.snapshot.requests());
    let begin = |lines: &[Value]| {
        chosen(lines)
            .into_iter()
            .filter(|iteration| *iteration < both)
            .collect::<Vec<_>>()
    };
    assert_eq!(begin(&first.lines), begin(&second.lines));
}
