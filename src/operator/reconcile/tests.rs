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
use crate::operator::checker::Checker;
use crate::operator::child::Child;
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
            metrics_from: Vec::new(),
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
            Duration::from_secs(600),
            Metrics::default(),
            recorder,
            Arc::new(Checker::here()),
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
        if path.contains("/apis/coordination.k8s.io/") {
            return self.keep_lease(&mut objects, method, path, body);
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
                None if matches!(last.as_str(), "pods" | "configmaps") => {
                    (200, json!({"metadata": {}, "items": []}))
                }
                None => (404, failure(404, "NotFound", "is not there")),
            },
        }
    }

    /// Leases, whose writes are in no order with the others.
    fn keep_lease(
        &self,
        objects: &mut BTreeMap<String, Value>,
        method: &Method,
        path: &str,
        mut body: Value,
    ) -> (u16, Value) {
        let path = match *method {
            Method::GET => path.to_owned(),
            _ if self.refused == Some("leases") => {
                return (403, failure(403, "Forbidden", "leases is forbidden"));
            }
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap();
                format!("{path}/{name}")
            }
            _ => path.to_owned(),
        };
        if *method == Method::GET {
            return match objects.get(&path) {
                Some(lease) => (200, lease.clone()),
                None => (404, failure(404, "NotFound", "is not there")),
            };
        }
        body["metadata"]["uid"] = json!("uid-of-lease");
        objects.insert(path, body.clone());
        (200, body)
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

/// As [`Server::with_test`], after W1 of a run whose plan could not be created yet.
async fn begun() -> Arc<Server> {
    let server = Arc::new(Server {
        refused: Some("configmaps"),
        ..Server::with_test()
    });
    reconcile(&server.context(), "team-a", "categorizer")
        .await
        .unwrap();
    server.writes();
    let objects = server.objects.lock().unwrap().clone();
    Arc::new(Server {
        objects: Mutex::new(objects),
        ..Server::default()
    })
}

/// Metadata that anybody can give to an object once the run's id is known.
fn copied_metadata(test: &Value, name: &str, component: &str) -> Value {
    json!({
        "name": name,
        "uid": "uid-of-theirs",
        "labels": {
            "app.kubernetes.io/component": component,
            "starling.dev/run": test["status"]["run"]["id"],
            "starling.dev/loadtest": "categorizer",
            "starling.dev/uid": test["metadata"]["uid"],
        },
        "ownerReferences": [{
            "apiVersion": "starling.dev/v1alpha1",
            "kind": "LoadTest",
            "name": "categorizer",
            "uid": test["metadata"]["uid"],
            "controller": true,
        }],
    })
}

/// Where the API server keeps a child.
fn path_of(child: Child, name: &str) -> String {
    let resource = child.resource();
    let root = match resource.group.as_str() {
        "" => "/api/v1".to_owned(),
        group => format!("/apis/{group}/{}", resource.version),
    };
    format!("{root}/namespaces/team-a/{}/{name}", resource.plural)
}

fn reason(server: &Server) -> Value {
    server.object(TEST)["status"]["columns"]["reason"].clone()
}

#[tokio::test]
async fn an_object_with_copied_labels_and_owner_is_not_taken_for_a_child_of_any_kind() {
    for child in Child::FLEET.into_iter().filter(|c| *c != Child::Channel) {
        let server = begun().await;
        let test = server.object(TEST);
        let name = child.name(test["status"]["run"]["id"].as_str().unwrap());
        let object = json!({"metadata": copied_metadata(&test, &name, child.component())});
        let path = path_of(child, &name);
        server.objects.lock().unwrap().insert(path, object);
        reconcile(&server.context(), "team-a", "categorizer")
            .await
            .unwrap();
        assert_eq!(server.writes(), ["PUT status"], "{child}: nothing is made");
        assert_eq!(reason(&server), "ForeignChild", "{child}");
        assert_eq!(server.object(TEST)["status"]["phase"], "Errored");
    }
}

#[tokio::test]
async fn a_plan_with_a_copied_seal_and_another_content_is_foreign_and_another_release_is_not() {
    let server = begun().await;
    let context = server.context();
    reconcile(&context, "team-a", "categorizer").await.unwrap();
    assert!(server.writes().contains(&"POST jobs".to_owned()));
    // another release of the operator, with nothing remembered, finds what it did not make
    reconcile(&server.context(), "team-a", "categorizer")
        .await
        .unwrap();
    assert_eq!(server.writes(), [] as [&str; 0]);
    let name = |test: &Value| Child::Plan.name(test["status"]["run"]["id"].as_str().unwrap());
    let path = path_of(Child::Plan, &name(&server.object(TEST)));
    {
        let mut objects = server.objects.lock().unwrap();
        let plan = objects.get_mut(&path).unwrap();
        let text = plan["data"]["run.json"].as_str().unwrap();
        plan["data"]["run.json"] = json!(text.replace("categorizer:8000", "theirs:8000"));
        plan["metadata"]["uid"] = json!("uid-of-theirs");
    }
    // the memory of the first operator is about another object
    reconcile(&context, "team-a", "categorizer").await.unwrap();
    assert_eq!(reason(&server), "ForeignChild");
}

/// Stored objects in the format of the release before: a status without the hash of the plan,
/// children without seals, a report without proof.
fn stored_by_the_release_before(granted: bool) -> Value {
    let (test, mut status) = fixture::ended();
    let run = status.run.as_mut().unwrap();
    (run.end, run.finished_at) = (None, None);
    (run.installation, run.key_id) = (fixture::keys().installation, fixture::keys().current);
    run.created_at = fixture::NOW.into();
    run.start_by = "2999-01-01T00:00:00Z".into();
    run.deadline = "1000000h".into();
    run.started_at = granted.then(|| fixture::NOW.into());
    status.phase = Some(match granted {
        true => crate::crd::Phase::Running,
        false => crate::crd::Phase::Starting,
    });
    let test = crate::crd::LoadTest {
        status: Some(status),
        ..test
    };
    let test = serde_json::to_value(test).unwrap();
    assert!(test["status"]["run"].get("planHash").is_none());
    test
}

#[tokio::test]
async fn a_run_of_the_release_before_is_begun_and_ended_under_the_rules_of_that_release() {
    let server = Arc::new(Server::default());
    let put = |path: &str, object: Value| {
        server.objects.lock().unwrap().insert(path.into(), object);
    };
    put(TEST, stored_by_the_release_before(false));
    reconcile(&server.context(), "team-a", "categorizer")
        .await
        .unwrap();
    let secret = server.object("/secrets/");
    assert!(secret["stringData"]["worker.token"].is_string());
    let plan = server.object("/configmaps/");
    assert_eq!(plan["metadata"]["annotations"], Value::Null);
    server.writes();

    // upgraded after the grant, and the result was stored by the operator before
    put(TEST, stored_by_the_release_before(true));
    let result = fixture::result();
    let packed = crate::operator::build::write_report(&result);
    let test = server.object(TEST);
    let mut report = json!({
        "metadata": copied_metadata(&test, "categorizer-aaaaaa-report", "report"),
        "binaryData": {"result.json.gz": data_encoding::BASE64.encode(&packed)},
    });
    report["metadata"]["ownerReferences"] = json!([]);
    put(&path_of(Child::Report, "categorizer-aaaaaa-report"), report);
    reconcile(&server.context(), "team-a", "categorizer")
        .await
        .unwrap();
    let status = server.object(TEST)["status"].clone();
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(status["results"]["requests"], 1000);
    assert_eq!(
        status["reportRef"]["configMap"],
        "categorizer-aaaaaa-report"
    );
}

/// A forged report made a run `Succeeded` with 123,456,789 requests of 241.
#[tokio::test]
async fn a_report_without_the_proof_of_the_run_ends_nothing() {
    let server = begun().await;
    let context = server.context();
    reconcile(&context, "team-a", "categorizer").await.unwrap();
    let mut test = server.object(TEST);
    let id = test["status"]["run"]["id"].as_str().unwrap().to_owned();
    test["status"]["run"]["startedAt"] = json!(fixture::NOW);
    test["status"]["run"]["deadline"] = json!("1000000h");
    test["status"]["phase"] = json!("Running");
    let proofs = fixture::keys().current_proofs();
    let uid = test["metadata"]["uid"].as_str().unwrap().to_owned();
    server
        .objects
        .lock()
        .unwrap()
        .insert(TEST.into(), test.clone());
    let mut result = fixture::result();
    (result.run, result.totals.requests) = (id.clone(), 123_456_789);
    let packed = crate::operator::build::write_report(&result);
    let real_name = crate::operator::build::report_name(Some(&proofs), &uid, &id);
    let seal = proofs.report(&uid, &id, b"another content");
    for name in [format!("{id}-report"), real_name.clone()] {
        let mut report = json!({
            "metadata": copied_metadata(&test, &name, "report"),
            "binaryData": {"result.json.gz": data_encoding::BASE64.encode(&packed)},
        });
        report["metadata"]["annotations"] = json!({"starling.dev/seal": seal});
        let path = path_of(Child::Report, &name);
        server.objects.lock().unwrap().insert(path, report);
        reconcile(&context, "team-a", "categorizer").await.unwrap();
        assert_eq!(server.object(TEST)["status"]["phase"], "Running", "{name}");
    }
    // the same content with its proof ends the run
    let path = path_of(Child::Report, &real_name);
    let seal = proofs.report(&uid, &id, &packed);
    server.objects.lock().unwrap().get_mut(&path).unwrap()["metadata"]["annotations"] =
        json!({"starling.dev/seal": seal});
    reconcile(&context, "team-a", "categorizer").await.unwrap();
    let status = server.object(TEST)["status"].clone();
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(status["reportRef"]["configMap"], json!(real_name));
}

#[tokio::test]
async fn a_lease_is_held_from_before_the_run_and_a_run_without_one_says_so() {
    let server = Arc::new(Server::with_test());
    reconcile(&server.context(), "team-a", "categorizer")
        .await
        .unwrap();
    let lease = server.object("/leases/");
    let run = server.object(TEST)["status"]["run"].clone();
    assert_eq!(run["lease"], lease["metadata"]["name"]);
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 600);
    assert!(lease["spec"]["renewTime"].is_string());

    let server = Arc::new(Server {
        refused: Some("leases"),
        ..Server::with_test()
    });
    reconcile(&server.context(), "team-a", "categorizer")
        .await
        .unwrap();
    let run = server.object(TEST)["status"]["run"].clone();
    assert!(run["id"].is_string() && run.get("lease").is_none());
}

#[tokio::test]
async fn the_run_of_an_installation_whose_lease_is_renewed_is_not_touched() {
    let server = begun().await;
    {
        let mut objects = server.objects.lock().unwrap();
        let test = objects.get_mut(TEST).unwrap();
        test["status"]["run"]["installation"] = json!("another");
    }
    let context = server.context();
    for version in ["1", "2"] {
        {
            let mut objects = server.objects.lock().unwrap();
            let lease = objects
                .iter_mut()
                .find(|(path, _)| path.contains("/leases/"));
            lease.unwrap().1["metadata"]["resourceVersion"] = json!(version);
        }
        let delay = reconcile(&context, "team-a", "categorizer").await.unwrap();
        assert!(delay.is_some(), "it is looked at again");
        assert_eq!(server.writes(), [] as [&str; 0]);
    }
}
