//! The engine against real sockets: what the target sees is what is reported.

mod amounts;
mod assembled;
mod at_once;
mod auth;
mod certificates;
mod counting;
mod feeding;
mod grpc;
mod http2;
mod language;
mod malformed;
mod names;
mod once;
mod pace;
mod pages;
mod policy;
mod preflight;
mod refusals;
mod reported;
mod request_log;
mod server;
mod streaming;
mod targets;
mod timing;
mod tls;
mod transport;
mod variables;

use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use crate::engine::Assignment;
use crate::engine::Delta;
use crate::engine::Prepared;
use crate::engine::Running;
use crate::engine::prepare;
use crate::plan::{
    Action, Arrival, HttpRequest, HttpStep, Inputs, Load, OnFailure, Once, Order, Plan, Population,
    Profile, Protocol, RequestStep, Scenario, Share, Step, Target, Task, Template, Tls,
};
use crate::stats::{Counters, ErrorClass, Snapshot};

/// GET / by closed or open load.
fn plan(url: &str, load: Load) -> Plan {
    let step = step("get", "/");
    Plan {
        target: Target {
            name: None,
            url: Url::parse(url).unwrap(),
            headers: vec![],
            auth: None,
            tls: Tls::default(),
            proxy: None,
            unix_socket: None,
            ready_when: None,
            resolve: Default::default(),
        },
        targets: vec![],
        http: Default::default(),
        grpc: Default::default(),
        protos: None,
        feeders: vec![],
        variables: Default::default(),
        once: Once::default(),
        cost: None,
        scenarios: vec![Scenario {
            name: "s".into(),
            weight: 1,
            fixed_users: None,
            think_time: None,
            pacing: None,
            tasks: vec![Task {
                name: "t".into(),
                weight: 1,
                steps: vec![step],
            }],
            order: Order::Weighted,
            on_start: vec![],
            on_stop: vec![],
            blocks: vec![],
            written: Default::default(),
        }],
        populations: vec![Population::only(1, load)],
        warmup: Duration::ZERO,
        thresholds: vec![],
        stop_timeout: Duration::from_millis(500),
        preflight: Default::default(),
        on_saturation: Default::default(),
        max_failures: 1.0,
        request_log: None,
        address_rules: Default::default(),
        control: Default::default(),
        seed: None,
    }
}

fn step(name: &str, path: &str) -> Step {
    let request = HttpRequest {
        method: "GET".into(),
        path: Template::parse(path).unwrap(),
        query: vec![],
        headers: vec![],
        body: None,
    };
    step_of(RequestStep {
        name: name.into(),
        tags: Default::default(),
        timeout: Duration::from_secs(2),
        checks: vec![],
        extract: vec![],
        record: vec![],
        target: 0,
        goodput: None,
        call: Protocol::Http(HttpStep {
            request,
            follow_redirects: 0,
            retry: None,
            stream: None,
        }),
    })
}

fn step_of(request: RequestStep) -> Step {
    Step {
        condition: None,
        repeat: None,
        for_each: None,
        on_failure: OnFailure::AbortTask,
        action: Action::Request(Box::new(request)),
        repetition: None,
    }
}

/// The request of a step, to change it.
fn request(step: &mut Step) -> &mut RequestStep {
    match &mut step.action {
        Action::Request(request) => request,
        other => panic!("{other:?} is no request"),
    }
}

/// What it says of HTTP.
fn http(step: &mut Step) -> &mut HttpStep {
    match &mut request(step).call {
        Protocol::Http(http) => http,
        other => panic!("{other:?} is not HTTP"),
    }
}

fn users(count: u32, millis: u64) -> Load {
    closed(Profile::ramp_and_hold(
        count.into(),
        Duration::ZERO,
        Duration::from_millis(millis),
    ))
}

fn closed(profile: Profile) -> Load {
    Load::Closed {
        profile,
        spawn_rate: None,
        max_missing: 0.01,
        retry_pause: Duration::from_secs(1),
    }
}

fn rate(per_second: u32, millis: u64, max_in_flight: u32) -> Load {
    let profile = Profile::ramp_and_hold(
        per_second.into(),
        Duration::ZERO,
        Duration::from_millis(millis),
    );
    Load::Open {
        profile,
        arrival: Arrival::Constant,
        max_in_flight,
        max_dropped: 0.01,
    }
}

fn whole(shards: u32) -> Assignment {
    Assignment {
        share: Share::WHOLE,
        shards,
        seed: 7,
        done: 0,
        found: Default::default(),
        changes: vec![],
    }
}

async fn prepared(plan: Plan) -> Arc<Prepared> {
    Arc::new(prepare(Arc::new(plan), &Inputs::default()).await.unwrap())
}

/// All deltas to the end.
async fn deltas(running: &mut Running) -> Vec<Delta> {
    let mut all = Vec::new();
    while let Some(delta) = running.next_delta().await {
        all.push(delta);
    }
    assert_eq!(running.failure(), None);
    assert!(all.last().unwrap().last && all.iter().filter(|delta| delta.last).count() == 1);
    all
}

fn sum(deltas: &[Delta]) -> Snapshot {
    let mut sum = Snapshot::default();
    deltas.iter().for_each(|delta| sum.follow(&delta.snapshot));
    sum
}

/// Carries out the whole plan on so many shards.
async fn run(plan: Plan, shards: u32) -> Snapshot {
    let mut running = prepared(plan).await.start(whole(shards), Instant::now());
    sum(&deltas(&mut running).await)
}

/// Failures by class.
fn classes(snapshot: &Snapshot) -> Vec<(ErrorClass, u64)> {
    let mut classes: Vec<(ErrorClass, u64)> = Vec::new();
    for (key, entry) in snapshot.errors.iter() {
        match classes.iter_mut().find(|(class, _)| *class == key.class) {
            Some((_, count)) => *count += entry.count,
            None => classes.push((key.class, entry.count)),
        }
    }
    classes
}
