//! Secrets of every kind, sent to a target that repeats all it hears: no output holds one, nor a
//! part of one.

use std::fs;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::any;
use axum::{Json, Router};
use serde_json::json;

use crate::program::{Ended, Scratch, command, starling};

/// Values that only a secret may hold: of a Secret, and as the target gives them out to setup, to
/// `onStart`, to a login in a task, in a header and as a cookie.
const CANARIES: [&str; 6] = [
    "Zeisig-7f3a91c2-pass-of-a-Secret",
    "Amsel-0b5d8e44-of-setup",
    "Drossel-c19f27a6-of-onstart",
    "Fink-5512ee08-of-a-login",
    "Star-9d04bb31-of-a-header",
    "Meise-3e6a7f15-of-a-cookie",
];

/// Shortest part of a secret that must not be seen, in bytes.
const PART: usize = 8;

/// Gives out the canaries where asked, and repeats what it hears everywhere; users that have all of
/// them are told parts of them, too.
async fn tell(uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let [_, setup, start, login, header, cookie] = CANARIES;
    let heard = format!("{uri} {headers:?} {}", String::from_utf8_lossy(&body));
    let found = match uri.path() {
        "/setup" => json!({"ticket": setup, "heard": heard}),
        "/start" => json!({"handed": {"over": [start]}, "heard": heard}),
        "/login" => json!({"t": login, "heard": heard}),
        "/fail" => json!({"message": heard}),
        _ => {
            let cut = |text: &str| text[3..text.len() - 3].to_owned();
            json!({"heard": heard, "parts": CANARIES.map(cut)})
        }
    };
    let status = match uri.path() {
        "/fail" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    };
    let issued = match uri.path() {
        "/start" => header,
        _ => "nothing",
    };
    let cookies = format!("sid={cookie}; Path=/; HttpOnly");
    let given = [("x-issued", issued.to_owned()), ("set-cookie", cookies)];
    (status, given, Json(found))
}

/// Serves on a free port of loopback until the test process ends.
fn serve() -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let app = Router::new().fallback(any(tell));
    std::thread::spawn(move || runtime.block_on(async { axum::serve(listener, app).await }));
    address
}

/// A test that extracts everywhere, sends what it extracted in every place, and fails in every way.
fn spec(address: SocketAddr) -> String {
    format!(
        r#"
apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata: {{name: canaries}}
spec:
  target: {{url: "http://{address}"}}
  samples: {{rate: 100%}}
  run: {{maxFailures: 100%}}
  variablesFrom: {{password: {{secretKeyRef: {{name: robot, key: password}}}}}}
  setup:
  - {{name: make, http: {{path: /setup}}, extract: {{ticket: {{jsonPath: $.ticket}}}}}}
  - {{name: see, http: {{path: "/fail?t={{{{ ticket }}}}"}}, onFailure: Continue}}
  teardown:
  - {{name: clear, http: {{path: "/fail?t={{{{ ticket }}}}"}}, onFailure: Continue}}
  scenarios:
  - name: robot
    pacing: 50ms
    onStart:
    - {{name: begin, http: {{path: /start}}, extract: {{key: {{jsonPath: "$.handed.over[0]"}}, issued: {{header: x-issued}}}}}}
    tasks:
    - name: work
      steps:
      - {{name: let me in, http: {{method: POST, path: /login, form: {{p: "{{{{ password }}}}"}}}}, extract: {{t: {{jsonPath: $.t}}}}}}
      - {{name: ask, http: {{method: POST, path: "/ask?k={{{{ key }}}}", json: {{a: "{{{{ t }}}}", b: "{{{{ issued }}}}", c: "{{{{ ticket }}}}", d: "{{{{ base64(key) }}}}"}}}}}}
      - {{name: fail, onFailure: Continue, http: {{method: POST, path: /fail, headers: {{X-Session: "{{{{ t }}}}"}}, body: "{{{{ password }}}} {{{{ key }}}}"}}}}
      - {{name: quote, onFailure: Continue, http: {{method: POST, path: /quote, body: "{{{{ t }}}}"}}, checks: [{{jsonPath: $.heard, equals: nothing}}]}}
      - {{name: part, onFailure: Continue, http: {{path: /parts}}, checks: [{{jsonPath: "$.parts[2]", equals: nothing}}]}}
      - {{name: compare, onFailure: Continue, http: {{path: /parts}}, checks: [{{jsonPath: "$.parts[2]", equals: "{{{{ password }}}} of {{{{ key }}}}"}}]}}
      - {{name: encode, onFailure: Continue, http: {{path: /parts}}, checks: [{{jsonPath: "$.parts[2]", in: ["{{{{ base64(key) }}}}", "{{{{ t }}}}"]}}]}}
      - {{name: lost, onFailure: Continue, http: {{path: /parts}}, extract: {{lost: {{jsonPath: $.none}}}}}}
  load:
    closed: {{users: 2, duration: 1s}}
"#
    )
}

/// Returns the parts of canaries that a text holds.
fn seen(text: &str) -> Vec<&'static str> {
    let parts = CANARIES
        .iter()
        .flat_map(|canary| (0..=canary.len() - PART).map(|at| &canary[at..at + PART]));
    parts.filter(|part| text.contains(part)).collect()
}

#[test]
fn no_output_holds_a_part_of_a_secret() {
    let scratch = Scratch::new();
    let file = scratch.file("t.yaml", &spec(serve()));
    let password = scratch.file("password", CANARIES[0]);
    let secret = format!("robot/password={password}");
    let (json, samples) = (scratch.path("result.json"), scratch.path("samples.jsonl"));
    let mut run = command(&[
        "run",
        &file,
        "--secret",
        &secret,
        "--json",
        &json,
        "--samples",
        &samples,
    ]);
    let output = run.env("RUST_LOG", "trace").output().expect("it runs");
    let ended = Ended::of(output).with_code(0);

    let written = fs::read_to_string(&samples).expect("samples");
    for step in [
        "make",
        "begin",
        "let me in",
        "ask",
        "fail",
        "quote",
        "clear",
    ] {
        let named = format!("\"step\":\"{step}\"");
        assert!(
            written.contains(&named),
            "{step} is in no sample:\n{written}"
        );
    }
    assert!(written.contains("***"), "{written}");
    let result = fs::read_to_string(&json).expect("the result");
    assert!(
        result.contains("***"),
        "no message quotes the target:\n{result}"
    );
    for (what, text) in [
        ("the report", &ended.stdout),
        ("the log", &ended.stderr),
        ("the result", &result),
        ("the samples", &written),
    ] {
        let seen = seen(text);
        assert!(seen.is_empty(), "{what} holds {seen:?}:\n{text}");
    }
    let checked = starling(&["validate", &file]).with_code(0);
    assert!(seen(&checked.stdout).is_empty() && seen(&checked.stderr).is_empty());
}
