//! Whole passes against an API server of a few lines: what is written, in which order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};

use super::*;
use crate::operator::build::Settings;
use crate::operator::fixture;
use crate::operator::metrics::Metrics;

const TEST: &str = "/apis/starling.dev/v1alpha1/namespaces/team-a/loadtests/categorizer";

/// An API server that keeps one LoadTest and whatever is created beside it.
#[derive(Default)]
struct Server {
    objects: Mutex<BTreeMap<String, Value>>,
    /// Writes in their order: method and last part of the path. Tries and Events are left out.
    writes: Mutex<Vec<String>>,
    /// Plural of the resource that cannot be created.
    refused: Option<&'static str>,
}

impl Server {
    fn with_test() -> Self {
        let test = serde_json::to_value(fixture::test()).unwrap();
        Self {
            objects: Mutex::new([(TEST.to_owned(), test)].into()),
            ..Self::default()
        }
    }

    fn context(self: &Arc<Self>) -> Context {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let settings = Settings {
            image: "starling:1".into(),
            pull_policy: "IfNotPresent".into(),
            namespace: "starling-system".into(),
        };
        let reporter = Reporter {
            controller: "starling".into(),
            instance: None,
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Context::new(
            client,
            settings,
            fixture::keys(),
            Metrics::default(),
            recorder,
        )
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, http::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let is_try = parts.uri.query().is_some_and(|q| q.contains("dryRun"));
        let (code, answer) = self.carry_out(&parts.method, parts.uri.path(), is_try, body);
        Response::builder()
            .status(code)
            .body(Body::from(serde_json::to_vec(&answer).unwrap()))
    }

    fn carry_out(&self, method: &Method, path: &str, is_try: bool, body: Value) -> (u16, Value) {
        let mut objects = self.objects.lock().unwrap();
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        if path.contains("/apis/events.k8s.io/") {
            return (201, body);
        }
        if !is_try && *method != Method::GET {
            self.writes.lock().unwrap().push(format!("{method} {last}"));
        }
        match *method {
            Method::PUT => {
                objects.insert(path.trim_end_matches("/status").to_owned(), body.clone());
                (200, body)
            }
            Method::POST if self.refused == Some(&last) => {
                (403, failure(403, "Forbidden", "exceeded quota: pods"))
            }
            Method::POST => {
                let mut object = body;
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                let path = format!("{path}/{name}");
                if objects.contains_key(&path) {
                    return (409, failure(409, "AlreadyExists", "is there"));
                }
                object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
                if !is_try {
                    objects.insert(path, object.clone());
                }
                (201, object)
            }
            _ => match objects.get(path) {
                Some(object) => (200, object.clone()),
                None if last == "pods" => (200, json!({"metadata": {}, "items": []})),
                None => (404, failure(404, "NotFound", "is not there")),
            },
        }
    }

    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.writes.lock().unwrap())
    }

    fn object(&self, part: &str) -> Value {
        let objects = self.objects.lock().unwrap();
        let found = objects.iter().find(|(path, _)| path.contains(part));
        found.unwrap_or_else(|| panic!("no {part}")).1.clone()
    }
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    })
}

#[tokio::test]
async fn a_run_begins_in_the_order_of_writes_with_one_check_of_its_plan() {
    let server = Arc::new(Server::with_test());
    let context = server.context();
    let (mut memory, mut checks) = (Memory::default(), SpecCheck::default());
    let delay = rounds(&context, "team-a", "categorizer", &mut memory, &mut checks)
        .await
        .unwrap();
    assert_eq!(delay, Some(clocks::SOON));
    assert_eq!(
        server.writes(),
        [
            "PUT status",
            "POST configmaps",
            "POST secrets",
            "POST networkpolicies",
            "POST services",
            "POST deployments",
            "POST poddisruptionbudgets",
            "POST jobs",
            "PUT status"
        ]
    );
    assert_eq!(checks.count(), 1);
    assert_eq!(
        server.object("/secrets/")["metadata"]["ownerReferences"][0]["uid"],
        server.object("/configmaps/")["metadata"]["uid"]
    );
    let status = server.object(TEST)["status"].clone();
    assert_eq!(status["phase"], "Starting");
    assert_eq!(status["columns"]["reason"], "WaitingForMaster");

    reconcile(&context, "team-a", "categorizer").await.unwrap();
    assert_eq!(server.writes(), [] as [&str; 0], "nothing has changed");
}

#[tokio::test]
async fn a_refused_create_ends_the_writes_and_is_in_the_status_at_once() {
    let server = Arc::new(Server {
        refused: Some("deployments"),
        ..Server::with_test()
    });
    let context = server.context();
    let delay = reconcile(&context, "team-a", "categorizer").await.unwrap();
    assert_eq!(delay, Some(clocks::REFUSED));
    assert_eq!(
        server.writes(),
        [
            "PUT status",
            "POST configmaps",
            "POST secrets",
            "POST networkpolicies",
            "POST services",
            "POST deployments",
            "PUT status"
        ]
    );
    let status = server.object(TEST)["status"].clone();
    assert_eq!(status["columns"]["reason"], "QuotaExceeded");
}

#[tokio::test]
async fn a_run_whose_key_is_gone_is_an_error_and_nothing_is_made_for_it() {
    let server = Arc::new(Server::with_test());
    let (test, mut status) = fixture::ended();
    let run = status.run.as_mut().unwrap();
    (run.end, run.finished_at) = (None, None);
    (run.installation, run.key_id) = (fixture::keys().installation, "key-of-old".into());
    run.start_by = "2999-01-01T00:00:00Z".into();
    status.phase = Some(crate::crd::Phase::Starting);
    let test = crate::crd::LoadTest {
        status: Some(status),
        ..test
    };
    let test = serde_json::to_value(test).unwrap();
    server.objects.lock().unwrap().insert(TEST.to_owned(), test);
    let error = reconcile(&server.context(), "team-a", "categorizer")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "build");
    assert!(error.to_string().contains("key-of-old"), "{error}");
    assert_eq!(server.writes(), [] as [&str; 0]);
}
