//! A whole controller against an API server of a few lines and masters on real sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response};
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::crd::{LoadTest, Phase};
use crate::operator::build::Settings;
use crate::operator::checker::Checker;
use crate::operator::fixture;
use crate::operator::masters::tests::peers::{Script, hold, master_on};
use crate::operator::metrics::Metrics;
use crate::wire::layout::CONTROL_PORT;

const TESTS: &str = "/apis/starling.dev/v1alpha1/namespaces/team-a/loadtests";
/// Nothing here takes longer on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// More events than a test shows to one watcher.
const QUEUE: usize = 4096;

/// An API server that keeps what it is given, lists LoadTests and watches them; each run has one
/// master Pod.
struct Server {
    objects: Mutex<BTreeMap<String, Value>>,
    watchers: Mutex<Vec<mpsc::Sender<Result<Bytes, Infallible>>>>,
    /// Address of the master of a run, where that is not the silent one.
    masters: Mutex<BTreeMap<String, IpAddr>>,
    silent: IpAddr,
}

impl Server {
    async fn answer(
        self: Arc<Self>,
        request: Request<kube::client::Body>,
    ) -> http::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default();
        let (path, is_watch) = (parts.uri.path(), query.contains("watch=true"));
        if is_watch {
            let (sender, receiver) = mpsc::channel(QUEUE);
            if path.ends_with("/loadtests") {
                self.watchers.lock().unwrap().push(sender);
            } else {
                // kept open, and nothing is ever shown
                std::mem::forget(sender);
            }
            let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
            return Response::builder().body(Body::from_stream(stream));
        }
        let (code, answer) = self.carry_out(&parts.method, path, query, body);
        Response::builder()
            .status(code)
            .body(Body::from(answer.to_string()))
    }

    fn carry_out(&self, method: &Method, path: &str, query: &str, body: Value) -> (u16, Value) {
        let mut objects = self.objects.lock().unwrap();
        let is_try = query.contains("dryRun");
        match *method {
            _ if path.contains("/apis/events.k8s.io/") => (201, body),
            Method::PUT => {
                objects.insert(path.trim_end_matches("/status").to_owned(), body.clone());
                (200, body)
            }
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap();
                let path = format!("{path}/{name}");
                if objects.contains_key(&path) {
                    return (409, status(409, "AlreadyExists"));
                }
                let mut object = body;
                object["metadata"]["uid"] = json!(format!("uid of {path}"));
                if !is_try {
                    objects.insert(path, object.clone());
                }
                (201, object)
            }
            _ if path.ends_with("/pods") => (200, self.pods(query)),
            _ if path.ends_with("/loadtests") => {
                let of_tests = format!("{TESTS}/");
                let items = objects
                    .iter()
                    .filter(|(path, _)| path.starts_with(&of_tests));
                (200, list(items.map(|(_, object)| object.clone()).collect()))
            }
            _ => match objects.get(path) {
                Some(object) => (200, object.clone()),
                None if path.rsplit('/').next().is_some_and(is_plural) => (200, list(vec![])),
                None => (404, status(404, "NotFound")),
            },
        }
    }

    /// The one master Pod of the run in the selector; none for the watch of all.
    fn pods(&self, query: &str) -> Value {
        let run = query
            .split_once("run%3D")
            .map(|(_, rest)| rest.split("%2C").next().unwrap_or_default().to_owned());
        let Some(run) = run else {
            return list(vec![]);
        };
        let masters = self.masters.lock().unwrap();
        let address = masters.get(&run).copied().unwrap_or(self.silent);
        list(vec![json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("{run}-master-0"),
                "labels": {"app.kubernetes.io/component": "master"},
            },
            "status": {"phase": "Running", "podIP": address.to_string()},
        })])
    }

    fn add(&self, name: &str) {
        let mut test = serde_json::to_value(fixture::test()).unwrap();
        test["metadata"]["name"] = json!(name);
        test["metadata"]["uid"] = json!(format!("uid-{name}"));
        let mut objects = self.objects.lock().unwrap();
        objects.insert(format!("{TESTS}/{name}"), test.clone());
        let event = format!("{}\n", json!({"type": "ADDED", "object": test}));
        for watcher in self.watchers.lock().unwrap().iter() {
            let _ = watcher.try_send(Ok(Bytes::from(event.clone())));
        }
    }

    fn test(&self, name: &str) -> LoadTest {
        let objects = self.objects.lock().unwrap();
        serde_json::from_value(objects[&format!("{TESTS}/{name}")].clone()).unwrap()
    }

    fn has_run(&self, name: &str) -> bool {
        self.test(name)
            .status
            .is_some_and(|status| status.run.is_some())
    }
}

fn is_plural(part: &str) -> bool {
    ["deployments", "jobs", "services"].contains(&part)
}

fn list(items: Vec<Value>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "List",
        "metadata": {"resourceVersion": "5"}, "items": items,
    })
}

fn status(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": reason,
    })
}

fn context(server: &Arc<Server>) -> Arc<Context> {
    let server = server.clone();
    let answer = move |request| server.clone().answer(request);
    let client = Client::new(tower::service_fn(answer), "default");
    let reporter = Reporter {
        controller: "starling".into(),
        instance: None,
    };
    let settings = Settings {
        image: "starling:1".into(),
        pull_policy: "IfNotPresent".into(),
        namespace: "starling-system".into(),
        metrics_from: Vec::new(),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let metrics = Metrics::default();
    Arc::new(Context::new(
        client,
        settings,
        fixture::keys(),
        Duration::from_secs(600),
        metrics,
        recorder,
        Arc::new(Checker::here()),
    ))
}

async fn until(what: &str, is: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

/// A loopback address of this test alone, on which the port of masters is free.
async fn listener() -> (IpAddr, TcpListener) {
    loop {
        let [a, b, c] = rand::random::<[u8; 3]>();
        let address = Ipv4Addr::new(127, a, b, c.clamp(2, 254));
        if let Ok(listener) = TcpListener::bind((address, CONTROL_PORT)).await {
            return (address.into(), listener);
        }
    }
}

/// With 48 silent masters a new LoadTest had no run id for 300 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_two_hundred_silent_masters_a_new_loadtest_gets_its_run_and_starts() {
    let (silent, listener_of_silent) = listener().await;
    hold(listener_of_silent);
    let server = Arc::new(Server {
        objects: Mutex::default(),
        watchers: Mutex::default(),
        masters: Mutex::default(),
        silent,
    });
    let names: Vec<String> = (0..200).map(|number| format!("silent-{number}")).collect();
    names.iter().for_each(|name| server.add(name));
    let (context, stop) = (context(&server), CancellationToken::new());
    let mut parts = JoinSet::new();
    spawn(&mut parts, &context, None, 8, &stop);
    until("every silent one is polled", || {
        context.masters.count() == names.len()
    })
    .await;
    until("the watch is up", || {
        !server.watchers.lock().unwrap().is_empty()
    })
    .await;

    server.add("new");
    let run_id = until("a run id", || server.has_run("new")).await;
    let run = server.test("new").status.unwrap().run.unwrap();
    let channel = context.keys.channel("uid-new", &run).unwrap();
    let (address, own) = listener().await;
    let peer = master_on(own, Script::good_of(channel, &run.id, "one"));
    server.masters.lock().unwrap().insert(run.id, address);
    context.queues.wake("team-a", "new"); // as the change of its Pod would
    let start = until("the load starts", || peer.count("POST /api/v1/grant") > 0).await;
    // what takes 1 s on a cluster may take more beside all the other tests
    let bound = Duration::from_secs(10);
    assert!(run_id < bound && start < bound, "{run_id:?}, {start:?}");
    println!("with 200 silent masters: run id after {run_id:?}, load after {start:?} more");
    assert_eq!(
        server.test("new").status.unwrap().phase,
        Some(Phase::Running)
    );

    server
        .objects
        .lock()
        .unwrap()
        .remove(&format!("{TESTS}/silent-7"));
    context.queues.wake("team-a", "silent-7");
    until("its poller ends with it", || {
        context.masters.count() == names.len()
    })
    .await;
    stop.cancel();
    while parts.join_next().await.is_some() {}
}
