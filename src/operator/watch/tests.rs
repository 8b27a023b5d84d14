//! Watches against an API server that follows a script.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::body::Body;
use http::{Request, Response};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;

/// One answer of the API server.
enum Answer {
    /// A list of these Pods at this version.
    List(&'static str, &'static [&'static str]),
    /// Status code of a refusal or an error.
    Status(u16),
    /// A stream of these events, which then ends.
    Events(Vec<Value>),
    /// A stream that stays open and shows nothing.
    Silence,
}

/// Runs a watch against these answers; after the last one nothing is answered. Gives what it
/// showed and asked for, in order.
fn play(answers: Vec<Answer>) -> Played {
    let script = Arc::new(Mutex::new(VecDeque::from(answers)));
    let (tell, said) = mpsc::channel(100);
    let asked = tell.clone();
    let answer = move |request: Request<kube::client::Body>| {
        let query = request.uri().query().unwrap_or_default();
        let part = |name: &str| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(name));
            found.unwrap_or_default().to_owned()
        };
        let what = match part("watch=").as_str() {
            "true" => format!("watch {}", part("resourceVersion=")),
            _ => "list".to_owned(),
        };
        let next = script.lock().unwrap().pop_front();
        let asked = asked.clone();
        async move {
            let Some(next) = next else {
                return std::future::pending().await;
            };
            let _ = asked.send(what).await;
            respond(next)
        }
    };
    let metrics = Metrics::default();
    let sight = metrics.sights.add("", "pods", Instant::now());
    let watch = Watch {
        api: Api::<PartialObjectMeta<Pod>>::all(Client::new(tower::service_fn(answer), "default")),
        selector: String::new(),
        sight: sight.clone(),
        metrics: metrics.clone(),
        connection: None,
        silence: Duration::from_millis(50),
    };
    let stop = CancellationToken::new();
    tokio::spawn(watch.run(Shown(tell), stop.clone()));
    Played {
        said,
        metrics,
        _stop: stop.drop_guard(),
    }
}

struct Played {
    said: mpsc::Receiver<String>,
    metrics: Metrics,
    _stop: tokio_util::sync::DropGuard,
}

impl Played {
    async fn says(&mut self, expected: &[&str]) {
        for expected in expected {
            let said = tokio::time::timeout(Duration::from_secs(10), self.said.recv()).await;
            assert_eq!(said.unwrap().as_deref(), Some(*expected));
        }
    }

    fn is_ready(&self) -> Result<(), String> {
        self.metrics.sights.ready(Instant::now())
    }
}

struct Shown(mpsc::Sender<String>);

impl Sink<PartialObjectMeta<Pod>> for Shown {
    async fn take(&mut self, event: Event<PartialObjectMeta<Pod>>) {
        let text = match event {
            Event::Init => return,
            Event::InitDone => "all".to_owned(),
            Event::InitApply(pod) => format!("is {}", pod.name_any()),
            Event::Apply(pod) => format!("new {}", pod.name_any()),
            Event::Delete(pod) => format!("gone {}", pod.name_any()),
        };
        let _ = self.0.send(text).await;
    }
}

fn respond(answer: Answer) -> http::Result<Response<Body>> {
    let (code, body) = match answer {
        Answer::List(version, names) => {
            let items: Vec<Value> = names.iter().map(|name| pod(name, "1")).collect();
            let list = json!({
                "apiVersion": "meta.k8s.io/v1",
                "kind": "PartialObjectMetadataList",
                "metadata": {"resourceVersion": version},
                "items": items,
            });
            (200, Body::from(list.to_string()))
        }
        Answer::Status(code) => (code, Body::from(status(code).to_string())),
        Answer::Events(events) => {
            let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
            (200, Body::from(lines))
        }
        Answer::Silence => {
            let never = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
            (200, Body::from_stream(never))
        }
    };
    Response::builder().status(code).body(body)
}

fn status(code: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": "", "message": format!("code {code}"),
    })
}

fn pod(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "namespace": "team-a", "resourceVersion": version},
    })
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

fn bookmark(version: &str) -> Value {
    let metadata = json!({"resourceVersion": version});
    event(
        "BOOKMARK",
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}),
    )
}

#[tokio::test]
async fn a_watch_goes_on_from_the_last_version_that_it_was_shown_a_bookmark_included() {
    let mut played = play(vec![
        Answer::List("5", &["one"]),
        Answer::Events(vec![event("ADDED", pod("two", "6")), bookmark("9")]),
        Answer::Events(vec![event("DELETED", pod("one", "10"))]),
        Answer::Silence,
    ]);
    played
        .says(&[
            "list", "is one", "all", "watch 5", "new two", "watch 9", "gone one", "watch 10",
        ])
        .await;
    assert_eq!(played.is_ready(), Ok(()));
}

#[tokio::test]
async fn a_silent_watch_is_given_up_and_begins_anew_with_a_list() {
    let mut played = play(vec![
        Answer::List("5", &[]),
        Answer::Silence,
        Answer::List("7", &["missed"]),
        Answer::Silence,
    ]);
    played
        .says(&[
            "list",
            "all",
            "watch 5",
            "list",
            "is missed",
            "all",
            "watch 7",
        ])
        .await;
    let text = played.metrics.text();
    let line = "starling_operator_watch_failures_total{resource=\"pods\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_watch_whose_server_is_in_trouble_comes_back_by_itself() {
    let mut played = play(vec![
        Answer::Status(503),
        Answer::List("5", &[]),
        Answer::Status(429),
        Answer::List("6", &[]),
        Answer::Silence,
    ]);
    played
        .says(&["list", "list", "all", "watch 5", "list", "all", "watch 6"])
        .await;
    assert_eq!(played.is_ready(), Ok(()));
}

#[tokio::test]
async fn changes_that_the_server_no_longer_has_are_made_up_for_by_a_list() {
    for expired in [
        Answer::Status(410),
        Answer::Events(vec![event("ERROR", status(410))]),
    ] {
        let mut played = play(vec![
            Answer::List("5", &[]),
            expired,
            Answer::List("900", &["late"]),
            Answer::Silence,
        ]);
        played
            .says(&["list", "all", "watch 5", "list", "is late", "all"])
            .await;
        let text = played.metrics.text();
        assert!(!text.contains("watch_failures_total{"), "{text}");
    }
}

#[tokio::test]
async fn a_refused_watch_is_told_with_the_servers_words() {
    let mut played = play(vec![Answer::Status(403), Answer::List("5", &[])]);
    played.says(&["list"]).await;
    // the note comes right after the answer
    while !played.is_ready().unwrap_err().contains("code 403") {
        tokio::task::yield_now().await;
    }
    played.says(&["list", "all"]).await;
}
