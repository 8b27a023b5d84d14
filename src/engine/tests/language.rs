//! What a test can say, seen from the target: which requests come, in which order, with what in
//! them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::crd::{LoadTestSpec, check};
use crate::engine::tests::*;
use crate::plan::{Kind, Retry, RetryOn};

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) cookie: String,
    pub(super) headers: HeaderMap,
    body: String,
}

/// Keeps every request, and answers by its path: `/status/N`, `/to/PATH` (a redirect),
/// `/cookie/NAME`, `/refuse/N` (with the credentials it was shown), anything else 200.
pub(super) struct Target {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Target {
    pub(super) fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback(answer).with_state(seen.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|seen| seen.line.clone())
            .collect()
    }

    /// The values of a header, of all requests that had it; those of several fields with `|`.
    pub(super) fn shown(&self, name: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.headers.contains_key(name))
            .map(|seen| {
                let fields = seen.headers.get_all(name).iter();
                let fields = fields.map(|value| value.to_str().unwrap());
                fields.collect::<Vec<_>>().join("|")
            })
            .collect()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    /// One user, one iteration of `steps` (and what else `scenario` says) and little more.
    pub(super) async fn once(&self, scenario: Value, inputs: &Inputs) -> Snapshot {
        let snapshot = self.send(scenario, inputs).await;
        assert_eq!(
            snapshot.received_by_target(),
            self.lines().len() as u64,
            "what was sent is what is counted"
        );
        snapshot
    }

    /// Likewise, whoever the target is.
    async fn send(&self, scenario: Value, inputs: &Inputs) -> Snapshot {
        let mut spec = json!({
            "target": {"url": self.url, "headers": {"X-Key": "k"}},
            "scenarios": [{"name": "s", "thinkTime": {"min": "10s", "max": "10s"}}],
            "load": {"closed": {"users": 1, "duration": "700ms"}},
        });
        let fields = spec["scenarios"][0].as_object_mut().unwrap();
        fields.extend(scenario.as_object().unwrap().clone());
        let spec: LoadTestSpec = serde_json::from_value(spec).unwrap();
        let plan = check(&spec).unwrap().plan;
        let prepared = Arc::new(prepare(Arc::new(plan), inputs).await.unwrap());
        let mut running = prepared.start(whole(1), Instant::now());
        sum(&deltas(&mut running).await)
    }

    pub(super) async fn steps(&self, steps: Value) -> Snapshot {
        self.once(
            json!({"tasks": [{"name": "t", "steps": steps}]}),
            &Inputs::default(),
        )
        .await
    }
}

async fn answer(
    State(seen): State<Arc<Mutex<Vec<Seen>>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let cookie = headers
        .get("cookie")
        .map_or(String::new(), |value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8_lossy(&body).into_owned();
    let seen_credentials = headers
        .get("authorization")
        .map_or("none", |value| value.to_str().unwrap())
        .to_owned();
    let earlier = {
        let mut seen = seen.lock().unwrap();
        seen.push(Seen {
            line: format!("{method} {uri}"),
            cookie,
            headers,
            body,
        });
        seen.iter()
            .filter(|seen| seen.line.ends_with(uri.path()))
            .count()
    };
    let parts: Vec<&str> = uri.path().splitn(3, '/').collect();
    match parts.as_slice() {
        ["", "status", code] => StatusCode::from_u16(code.parse().unwrap())
            .unwrap()
            .into_response(),
        ["", "later", seconds] => (
            StatusCode::TOO_MANY_REQUESTS,
            [("retry-after", seconds.to_owned())],
        )
            .into_response(),
        ["", "third-time", _] if earlier < 3 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        ["", "to", path] => (StatusCode::FOUND, [("location", format!("/{path}"))]).into_response(),
        ["", "away", host] => {
            (StatusCode::FOUND, [("location", format!("http://{host}/"))]).into_response()
        }
        ["", "json", count] => {
            axum::Json(json!({"count": count.parse::<u64>().unwrap(), "ok": true, "seen": earlier}))
                .into_response()
        }
        ["", "gzip", text] => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
            ([("content-encoding", "gzip")], encoder.finish().unwrap()).into_response()
        }
        ["", "refuse", code] => (
            StatusCode::from_u16(code.parse().unwrap()).unwrap(),
            seen_credentials,
        )
            .into_response(),
        ["", "cookie", name] => [("set-cookie", format!("{name}=1; Path=/"))].into_response(),
        _ => "ok".into_response(),
    }
}

fn get(path: &str) -> Value {
    json!({"http": {"path": path}})
}

#[tokio::test]
async fn a_failed_step_ends_the_iteration_unless_it_says_otherwise() {
    let target = Target::start();
    target
        .steps(json!([get("/status/500"), get("/never")]))
        .await;
    assert_eq!(target.lines(), ["GET /status/500"]);
    let target = Target::start();
    let mut failing = get("/status/500");
    failing["onFailure"] = json!("Continue");
    let snapshot = target.steps(json!([failing, get("/next")])).await;
    assert_eq!(target.lines(), ["GET /status/500", "GET /next"]);
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.failures(),
            snapshot.tasks[&0].failed
        ),
        (2, 1, 0)
    );
}

#[tokio::test]
async fn a_user_that_is_told_to_stop_does_not_come_back() {
    let target = Target::start();
    let mut failing = get("/status/500");
    failing["onFailure"] = json!("StopUser");
    let scenario = json!({"thinkTime": {"min": "0s", "max": "0s"}, "tasks": [{"name": "t", "steps": [failing]}]});
    target.once(scenario, &Inputs::default()).await;
    assert_eq!(target.lines(), ["GET /status/500"]);
}

#[tokio::test]
async fn users_begin_and_end_with_what_the_scenario_says_and_it_is_not_measured() {
    let target = Target::start();
    let scenario = json!({
        "onStart": [{"call": "login"}], "onStop": [get("/logout")],
        "blocks": [{"name": "login", "steps": [get("/cookie/session")]}],
        "tasks": [{"name": "t", "steps": [get("/work")]}],
    });
    let snapshot = target.once(scenario, &Inputs::default()).await;
    assert_eq!(
        target.lines(),
        ["GET /cookie/session", "GET /work", "GET /logout"]
    );
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.counters.control,
            snapshot.counters.iterations
        ),
        (1, 2, 1)
    );
    assert_eq!(
        target.last().cookie,
        "session=1",
        "cookies live with the user"
    );
}

#[tokio::test]
async fn users_end_with_what_the_scenario_says_however_they_begin() {
    let target = Target::start();
    let scenario =
        json!({"onStop": [get("/logout")], "tasks": [{"name": "t", "steps": [get("/work")]}]});
    let snapshot = target.once(scenario, &Inputs::default()).await;
    assert_eq!(target.lines(), ["GET /work", "GET /logout"]);
    assert_eq!((snapshot.requests(), snapshot.counters.control), (1, 1));
}

#[tokio::test]
async fn a_user_whose_start_fails_does_no_work() {
    let target = Target::start();
    let scenario = json!({
        "onStart": [{"name": "login", "http": {"path": "/status/401"}}], "onStop": [get("/logout")],
        "tasks": [{"name": "t", "steps": [get("/work")]}],
    });
    let snapshot = target.once(scenario, &Inputs::default()).await;
    assert_eq!(target.lines(), ["GET /status/401"]);
    assert_eq!(
        (snapshot.requests(), snapshot.counters.control_failures),
        (0, 1)
    );
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Status, 1)],
        "why it failed is told"
    );
}

#[tokio::test]
async fn steps_repeat_and_go_through_lists() {
    let target = Target::start();
    let steps = json!([
        {"http": {"path": "/again"}, "repeat": {"count": 2, "every": "1ms"}},
        {"http": {"path": "/{{ item.id }}"}, "forEach": {"in": [{"id": 7}, {"id": "a b"}], "as": "item"}},
        {"pause": {"min": "5ms", "max": "5ms"}},
        {"call": "both"},
    ]);
    let scenario = json!({
        "tasks": [{"name": "t", "steps": steps}],
        "blocks": [{"name": "both", "steps": [get("/one"), {"call": "two"}]}, {"name": "two", "steps": [get("/two")]}],
    });
    target.once(scenario, &Inputs::default()).await;
    assert_eq!(
        target.lines(),
        [
            "GET /again",
            "GET /again",
            "GET /7",
            "GET /a%20b",
            "GET /one",
            "GET /two"
        ]
    );
}

#[tokio::test]
async fn a_sequence_does_all_tasks_in_order() {
    let target = Target::start();
    let task = |name: &str| json!({"name": name, "steps": [get(&format!("/{name}"))]});
    let scenario = json!({"order": "Sequential", "tasks": [task("b"), task("a"), task("c")]});
    let snapshot = target.once(scenario, &Inputs::default()).await;
    assert_eq!(target.lines(), ["GET /b", "GET /a", "GET /c"]);
    assert_eq!((snapshot.counters.iterations, snapshot.tasks.len()), (1, 3));
}

#[tokio::test]
async fn a_redirect_is_followed_only_when_asked_and_is_one_sample() {
    let target = Target::start();
    target.steps(json!([get("/to/there")])).await;
    assert_eq!(target.lines(), ["GET /to/there"]);
    let target = Target::start();
    let post = json!({"http": {"method": "POST", "path": "/to/to/there", "body": "x", "followRedirects": 2}});
    let snapshot = target.steps(json!([post])).await;
    assert_eq!(
        target.lines(),
        ["POST /to/to/there", "GET /to/there", "GET /there"]
    );
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.redirect_hops
        ),
        (1, 0, 2)
    );
    assert_eq!(
        target.last().headers["x-key"],
        "k",
        "the same origin may know what the first request said"
    );
}

#[tokio::test]
async fn a_redirect_without_end_or_to_a_stranger_is_a_failure() {
    let target = Target::start();
    let mut step = get("/to/to/to/there");
    step["http"]["followRedirects"] = json!(2);
    let snapshot = target.steps(json!([step])).await;
    assert_eq!(
        (classes(&snapshot), target.lines().len()),
        (vec![(ErrorClass::Redirect, 1)], 3)
    );
    let (target, stranger) = (Target::start(), Target::start());
    let mut step = get(&format!(
        "/away/{}",
        stranger.url.trim_start_matches("http://")
    ));
    step["http"]["followRedirects"] = json!(2);
    let snapshot = target.steps(json!([step])).await;
    assert_eq!(
        (classes(&snapshot), stranger.lines().len()),
        (vec![(ErrorClass::Redirect, 1)], 0)
    );
}

#[tokio::test]
async fn retries_are_counted_and_one_sample() {
    let target = Target::start();
    let step = json!({"http": {"path": "/third-time/x", "retry": {"max": 3, "backoff": "1ms"}}});
    let snapshot = target.steps(json!([step])).await;
    assert_eq!(
        (
            target.lines().len(),
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.retries
        ),
        (3, 1, 0, 2)
    );
    let target = Target::start();
    let step = json!({"http": {"path": "/status/500", "retry": {"max": 3, "backoff": "1ms"}}});
    target.steps(json!([step])).await;
    assert_eq!(
        target.lines().len(),
        1,
        "a 500 is not among what is tried again by default"
    );
}

#[tokio::test]
async fn a_retry_that_never_connects_sends_nothing() {
    let address = crate::engine::tests::server::closed_port();
    let mut plan = plan(&format!("http://{address}"), users(1, 50));
    plan.scenarios[0].think_time = Some(crate::plan::ThinkTime::constant(Duration::from_secs(1)));
    let retry = Retry {
        max: 2,
        on: vec![RetryOn::Connect],
        backoff: Duration::from_millis(1),
    };
    http(&mut plan.scenarios[0].tasks[0].steps[0]).retry = Some(retry);
    let snapshot = run(plan, 1).await;
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.counters.unsent,
            snapshot.counters.retries
        ),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn bodies_are_what_their_type_says() {
    let mut inputs = Inputs::default();
    inputs.insert(Kind::ConfigMap, "c", "k", b"\x00bytes".to_vec());
    let reference = json!({"configMapKeyRef": {"name": "c", "key": "k"}});
    let target = Target::start();
    let post = |field: &str, body: Value| {
        let mut step = json!({"name": field, "http": {"method": "POST", "path": "/"}});
        step["http"][field] = body;
        json!({"tasks": [{"name": "t", "steps": [step]}]})
    };
    target
        .once(
            post("form", json!({"a b": "{{ 'x&y' }}", "c": "1"})),
            &inputs,
        )
        .await;
    assert_eq!(target.last().body, "a%20b=x%26y&c=1");
    assert_eq!(
        target.last().headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    let target = Target::start();
    target
        .once(post("bodyFrom", reference.clone()), &inputs)
        .await;
    assert_eq!(target.last().body, "\u{0}bytes");
    let target = Target::start();
    let parts = json!([{"name": "n", "value": "{{ user.id }}"}, {"name": "f", "fileName": "a.bin", "valueFrom": reference}]);
    target.once(post("multipart", parts), &inputs).await;
    let seen = target.last();
    let boundary = seen.headers["content-type"]
        .to_str()
        .unwrap()
        .split_once("boundary=")
        .unwrap()
        .1
        .to_owned();
    assert_eq!(
        seen.body,
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n0\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\
             \u{0}bytes\r\n--{boundary}--\r\n"
        )
    );
}

#[tokio::test]
async fn files_arrive_byte_by_byte_as_bodies_and_as_parts() {
    let folder = tempfile::tempdir().unwrap();
    // what ends lines, begins templates or is no text, and more than fits into one write
    let bytes: Vec<u8> = (0..=255u8)
        .cycle()
        .take(300_000)
        .chain(*b"{{ user.id }}\r\n--\r\n\x00")
        .collect();
    std::fs::create_dir(folder.path().join("images")).unwrap();
    std::fs::write(folder.path().join("images/cat.png"), &bytes).unwrap();
    let (tell, mut told) = tokio::sync::mpsc::channel(16);
    let url = crate::engine::tests::server::scripted(move |mut peer| {
        let tell = tell.clone();
        async move {
            while let Some(head) = peer.head().await {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "))
                    .unwrap()
                    .parse()
                    .unwrap();
                let mut body = vec![0; length];
                tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut body)
                    .await
                    .unwrap();
                tell.send((head, body)).await.unwrap();
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    });
    let target = Target {
        url: url.await,
        seen: Arc::default(),
    };
    let file = json!({"file": "images/cat.png"});
    let steps = json!([
        {"http": {"method": "POST", "path": "/whole", "bodyFrom": file}},
        {"http": {"method": "POST", "path": "/part", "multipart": [{"name": "f", "valueFrom": file}]}},
    ]);
    let mut inputs = Inputs::default();
    inputs.set_folder(folder.path());
    target
        .send(json!({"tasks": [{"name": "t", "steps": steps}]}), &inputs)
        .await;
    let (_, whole) = told.recv().await.unwrap();
    assert!(whole == bytes, "{} of {} bytes", whole.len(), bytes.len());
    let (head, body) = told.recv().await.unwrap();
    let boundary = head
        .lines()
        .find_map(|line| line.split_once("boundary="))
        .unwrap()
        .1;
    let before = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n");
    assert!(
        body == [
            before.as_bytes(),
            &bytes,
            format!("\r\n--{boundary}--\r\n").as_bytes()
        ]
        .concat(),
        "{} bytes",
        body.len()
    );
}

#[tokio::test]
async fn a_query_is_added_to_the_path() {
    let target = Target::start();
    let step =
        json!({"http": {"path": "/x?a=1", "query": {"q": "{{ 'ü &' }}", "u": "{{ user.id }}"}}});
    target.steps(json!([step])).await;
    assert_eq!(target.lines(), ["GET /x?a=1&q=%C3%BC+%26&u=0"]);
}

#[tokio::test]
async fn a_check_that_fails_is_a_failure_that_says_why() {
    let target = Target::start();
    let mut step = get("/json/3");
    step["checks"] = json!([{"status": [200]}, {"jsonPath": "$.count", "equals": 4}, {"jsonPath": "$.ok", "exists": true}]);
    let snapshot = target.steps(json!([step, get("/never")])).await;
    assert_eq!(target.lines(), ["GET /json/3"]);
    assert_eq!(classes(&snapshot), [(ErrorClass::Check, 1)]);
    let why = snapshot.errors.iter().next().unwrap().1.message.clone();
    assert!(
        why.contains("$.count") && why.contains('3') && why.contains('4'),
        "{why}"
    );
    assert_eq!(
        (
            snapshot.steps[&0].checks_passed,
            snapshot.steps[&0].checks_failed
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn a_status_check_of_its_own_replaces_the_rule() {
    let target = Target::start();
    let mut step = get("/status/404");
    step["checks"] = json!([{"status": [404]}]);
    assert_eq!(target.steps(json!([step])).await.failures(), 0);
    let target = Target::start();
    let mut step = get("/status/204");
    step["checks"] = json!([{"status": [200]}]);
    assert_eq!(
        classes(&target.steps(json!([step])).await),
        [(ErrorClass::Check, 1)]
    );
}

#[tokio::test]
async fn what_a_step_takes_out_later_steps_put_in() {
    let target = Target::start();
    let mut first = get("/json/42");
    first["extract"] =
        json!({"count": {"jsonPath": "$.count"}, "type": {"header": "content-type"}});
    let second = json!({"http": {"method": "POST", "path": "/{{ count }}", "json": {"n": "{{ count }}", "t": "{{ type }}"}}});
    target.steps(json!([first, second])).await;
    assert_eq!(target.last().line, "POST /42");
    assert_eq!(
        target.last().body,
        r#"{"n":42,"t":"application/json"}"#,
        "a number stays one"
    );
}

#[tokio::test]
async fn a_value_of_the_start_lives_with_the_user_and_others_with_the_iteration() {
    let target = Target::start();
    let start = json!({"http": {"path": "/json/7"}, "extract": {"token": {"jsonPath": "$.count"}}});
    let work = json!({"http": {"path": "/work", "headers": {"X-Token": "{{ token }}"}}, "extract": {"b": {"body": true}}});
    let scenario = json!({"thinkTime": {"min": "40ms", "max": "40ms"}, "onStart": [start], "tasks": [{"name": "t", "steps": [work]}]});
    let snapshot = target.once(scenario, &Inputs::default()).await;
    assert!(snapshot.requests() > 1 && snapshot.failures() == 0);
    assert_eq!(
        (
            target.last().headers["x-token"].to_str().unwrap(),
            snapshot.counters.control
        ),
        ("7", 1)
    );
}

#[tokio::test]
async fn a_value_that_is_not_there_fails_the_step() {
    let target = Target::start();
    let mut step = get("/json/1");
    step["extract"] = json!({"x": {"jsonPath": "$.nothing"}});
    assert_eq!(
        classes(&target.steps(json!([step])).await),
        [(ErrorClass::Extract, 1)]
    );
}

#[tokio::test]
async fn a_compressed_body_is_read() {
    let target = Target::start();
    let mut step = get("/gzip/hello");
    step["checks"] = json!([{"body": {"equals": "hello"}}]);
    assert_eq!(target.steps(json!([step])).await.failures(), 0);
}

#[tokio::test]
async fn steps_are_left_out_and_repeated_by_what_was_answered() {
    let target = Target::start();
    let poll = json!({"http": {"path": "/json/1"}, "repeat": {"until": "json.seen == 3", "max": 9, "every": "1ms"}});
    let mut yes = get("/yes");
    yes["if"] = json!("status == 200 && json.seen > 2");
    let mut no = get("/no");
    no["if"] = json!("status >= 400");
    target.steps(json!([poll, yes, no, get("/end")])).await;
    assert_eq!(
        target.lines(),
        [
            "GET /json/1",
            "GET /json/1",
            "GET /json/1",
            "GET /yes",
            "GET /end"
        ]
    );
}

#[tokio::test]
async fn a_condition_that_never_comes_true_fails_the_step() {
    let target = Target::start();
    let poll =
        json!({"http": {"path": "/json/1"}, "repeat": {"until": "json.seen == 30", "max": 2}});
    let snapshot = target.steps(json!([poll, get("/never")])).await;
    assert_eq!((target.lines().len(), snapshot.tasks[&0].failed), (2, 1));
    assert_eq!(
        whys(&snapshot),
        [(2, "repeat.until: did not become true in 2 times".to_owned())]
    );
    assert_eq!(snapshot.failures(), 0, "no request has failed");
}

/// Of each condition that came to nothing the number that stands for its step, and why.
fn whys(snapshot: &Snapshot) -> Vec<(u16, String)> {
    let conditions = snapshot
        .errors
        .iter()
        .filter(|(key, _)| key.class == ErrorClass::Condition);
    conditions
        .map(|(key, entry)| (key.step, entry.message.clone()))
        .collect()
}

#[tokio::test]
async fn a_condition_that_cannot_be_told_fails_the_iteration_and_says_why() {
    let target = Target::start();
    let mut unknown = get("/never");
    unknown["if"] = json!("json.nothing > 1");
    let listless = json!({"pause": {"min": "1ms", "max": "1ms"}, "forEach": {"in": "{{ id }}", "as": "item"}, "onFailure": "Continue"});
    let mut first = get("/json/1");
    first["extract"] = json!({"id": {"jsonPath": "$.count"}});
    let snapshot = target
        .steps(json!([first, listless, unknown, get("/after")]))
        .await;
    assert_eq!(target.lines(), ["GET /json/1"]);
    assert_eq!(
        (
            snapshot.tasks[&0].finished,
            snapshot.tasks[&0].failed,
            snapshot.requests(),
            snapshot.failures()
        ),
        (1, 1, 1, 0)
    );
    // behind the three requests
    assert_eq!(
        whys(&snapshot),
        [
            (3, "forEach.in: gives no list".to_owned()),
            (4, "if: there is no \"nothing\"".to_owned())
        ]
    );
}

#[tokio::test]
async fn the_first_step_of_an_iteration_does_not_see_the_answers_of_the_one_before() {
    let target = Target::start();
    let mut first = get("/first");
    first["if"] = json!("status == 200");
    first["onFailure"] = json!("Continue");
    let tasks = json!([{"name": "t", "steps": [first, get("/second")]}]);
    target
        .once(
            json!({"tasks": tasks, "thinkTime": {"min": "50ms", "max": "50ms"}}),
            &Inputs::default(),
        )
        .await;
    assert!(target.lines().len() > 2);
    assert!(
        target.lines().iter().all(|line| line == "GET /second"),
        "{:?}",
        target.lines()
    );
}

#[tokio::test]
async fn what_throttled_answers_ask_for_is_told_with_the_failure() {
    let target = Target::start();
    let mut steps: Vec<Value> = ["/later/1", "/later/30"].map(get).into();
    steps
        .iter_mut()
        .for_each(|step| step["onFailure"] = json!("Continue"));
    steps.push(get("/status/503"));
    let snapshot = target.steps(steps.into()).await;
    let asked: Vec<_> = snapshot
        .errors
        .iter()
        .map(|(key, entry)| (key.status, entry.retry_after.max()))
        .collect();
    assert_eq!(
        asked,
        [(Some(429), 1_000), (Some(429), 30_000), (Some(503), 0)]
    );
}

#[tokio::test]
async fn numbers_of_good_answers_are_kept_as_metrics() {
    let target = Target::start();
    let record = |path: &str| {
        let mut step = get(path);
        step["record"] = json!([
            {"name": "count", "from": {"jsonPath": "$.count"}},
            {"name": "size", "unit": "bytes", "from": {"header": "content-length"}},
        ]);
        step["onFailure"] = json!("Continue");
        step
    };
    let snapshot = target
        .steps(json!([
            record("/json/7"),
            record("/json/9"),
            record("/plain"),
            record("/status/500")
        ]))
        .await;
    let (count, size) = (&snapshot.trends[&0], &snapshot.trends[&1]);
    assert_eq!(
        (count.values.min(), count.values.max(), count.missing),
        (7_000, 9_000, 1),
        "a failed answer is no answer without a number"
    );
    assert_eq!((size.values.count(), size.missing), (3, 0));
}
