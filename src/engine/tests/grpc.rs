//! Calls over gRPC against tonic: what the server saw is what is reported, and whatever it answers,
//! the user goes on.

mod broken;
mod channels;
mod chat;
mod discovery;
mod logged;
mod retries;
mod streams;
mod tokens;

use serde_json::{Value, json};

use crate::engine::OneOff;
use crate::engine::OneOffInputs;
use crate::engine::tests::*;
use crate::plan::Preflight;
use crate::plan::grpc::{Code, GrpcStep, Method, ProtoFile, Protos};
use crate::plan::{
    Check, Condition, Extract, ExtractFrom, Header, Iterations, JsonPath, JsonTemplate, Kind,
    Reference, ThinkTime,
};
use chat::{Chat, PROTO};

/// A call of `test.Chat`.
pub(super) fn call(name: &str, message: Value) -> Step {
    let mut step = step(name, "/");
    request(&mut step).call = Protocol::Grpc(GrpcStep {
        method: Method::parse(&format!("test.Chat/{name}")).unwrap(),
        is_health_check: false,
        retry: None,
        message: Some(JsonTemplate::new(message).unwrap()),
        metadata: vec![],
        stream: None,
        gzip: false,
        max_message_size: 1 << 20,
    });
    step
}

pub(super) fn grpc(step: &mut Step) -> &mut GrpcStep {
    match &mut request(step).call {
        Protocol::Grpc(grpc) => grpc,
        other => panic!("{other:?} is not gRPC"),
    }
}

/// Steps so often, by two users; descriptors come from a ConfigMap.
pub(super) fn counted(url: &str, count: u64, steps: Vec<Step>) -> Plan {
    let mut plan = calls(url, 1, 1, steps);
    plan.populations = vec![Population::only(
        1,
        Load::Iterations(Iterations {
            count,
            users: 2,
            per_user: false,
            max_duration: None,
            retry_pause: Duration::from_secs(1),
        }),
    )];
    plan
}

/// Likewise for a time, by closed load with a little thinking.
pub(super) fn calls(url: &str, count: u32, millis: u64, steps: Vec<Step>) -> Plan {
    let mut plan = plan(url, users(count, millis));
    plan.scenarios[0].think_time = Some(ThinkTime::constant(Duration::from_millis(2)));
    plan.scenarios[0].tasks[0].steps = steps;
    plan.protos = Some(Protos {
        files: vec![ProtoFile {
            path: "chat.proto".into(),
            source: proto(),
        }],
        sets: vec![],
        root: None,
    });
    plan
}

fn proto() -> Reference {
    Reference {
        kind: Kind::ConfigMap,
        name: "protos".into(),
        key: "chat.proto".into(),
        field: "spec.protos.configMaps[0]".into(),
    }
}

pub(super) fn inputs() -> Inputs {
    let mut inputs = Inputs::default();
    inputs.insert(
        Kind::ConfigMap,
        "protos",
        "chat.proto",
        PROTO.as_bytes().to_vec(),
    );
    inputs.insert(Kind::Secret, "token", "pat", b"dapi-secret".to_vec());
    inputs
}

pub(super) async fn run_calls(plan: Plan) -> Snapshot {
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs()).await.unwrap());
    sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await)
}

pub(super) fn samples(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .errors
        .iter()
        .map(|(_, entry)| entry.message.as_str())
        .collect()
}

fn note(text: &str) -> Value {
    json!({"text": text, "number": 1})
}

fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.into(),
        value: Template::parse(value).unwrap(),
    }
}

fn json_path(path: &str, equals: Value) -> Check {
    Check::JsonPath {
        path: JsonPath::parse(path).unwrap(),
        must: vec![Condition::Equals(JsonTemplate::new(equals).unwrap())],
    }
}

/// All failed in one way, and all were seen.
async fn all_fail(text: &str, class: ErrorClass, code: u8, sample: &str) {
    let chat = Chat::start().await;
    let snapshot = run_calls(counted(&chat.url, 6, vec![call("Say", note(text))])).await;
    assert_eq!(snapshot.requests(), 6, "the user goes on");
    assert_eq!(
        classes(&snapshot),
        [(class, snapshot.requests())],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        snapshot.steps[&0].grpc_statuses,
        [(code, snapshot.requests())].into(),
        "{text}"
    );
    assert_eq!(
        (samples(&snapshot), snapshot.received_by_target()),
        (vec![sample], chat.seen.calls())
    );
    assert!(
        snapshot
            .errors
            .iter()
            .all(|(key, _)| key.status == Some(code.into()))
    );
}

#[tokio::test]
async fn a_preflight_tells_the_message_that_a_check_does_not_let_pass() {
    let chat = Chat::start().await;
    let mut step = call("Say", note("hi"));
    request(&mut step).checks = vec![Check::Latency {
        below: Duration::from_nanos(1),
    }];
    let mut plan = counted(&chat.url, 1, vec![step]);
    plan.preflight = Preflight::Once;
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs()).await.unwrap());
    let inputs = OneOffInputs {
        share: Share::WHOLE,
        seed: 7,
        found: Default::default(),
        within: Duration::from_secs(20),
    };
    let failure = prepared
        .start_one_off(OneOff::Preflight, inputs)
        .outcome()
        .await
        .failure
        .unwrap();
    assert!(
        failure.starts_with("step \"Say\": checks[0], latency below "),
        "{failure}"
    );
    assert!(
        failure.contains("; the answer: gRPC status 0 OK: {")
            && failure.contains("\"text\":\"hi\""),
        "{failure}"
    );
}

#[tokio::test]
async fn a_status_that_is_not_ok_is_a_failure_of_its_class() {
    all_fail(
        "fail 5 no h\u{e4}lf\nsuch",
        ErrorClass::Grpc,
        5,
        "gRPC status 5 NOT_FOUND: no hälf such",
    )
    .await;
    all_fail(
        "fail 14 later",
        ErrorClass::Unavailable,
        14,
        "gRPC status 14 UNAVAILABLE: later",
    )
    .await;
    all_fail(
        "fail 8 slower",
        ErrorClass::Throttled,
        8,
        "gRPC status 8 RESOURCE_EXHAUSTED: slower",
    )
    .await;
    all_fail(
        "fail 4 late",
        ErrorClass::Timeout,
        4,
        "gRPC status 4 DEADLINE_EXCEEDED: late",
    )
    .await;
}

#[tokio::test]
async fn a_method_that_the_server_does_not_have_is_unimplemented() {
    let chat = Chat::start().await;
    let steps = vec![call("Missing", json!({})), call("Say", note("hi"))];
    let mut plan = counted(&chat.url, 4, steps);
    plan.scenarios[0].tasks[0].steps[0].on_failure = OnFailure::Continue;
    let snapshot = run_calls(plan).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Grpc, snapshot.steps[&0].requests)],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        snapshot.steps[&0].grpc_statuses.keys().collect::<Vec<_>>(),
        [&12]
    );
    assert_eq!(snapshot.steps[&1].failures, 0);
    assert_eq!(snapshot.received_by_target(), chat.seen.calls());
}

#[tokio::test]
async fn an_unknown_method_or_field_is_found_before_the_first_call() {
    for (step, path) in [
        (call("Nothing", json!({})), "method"),
        (call("Say", json!({"txt": "a"})), "message.txt"),
        (call("Say", json!({"number": "many"})), "message.number"),
    ] {
        let error = prepare(
            Arc::new(calls("http://127.0.0.1:1", 1, 50, vec![step])),
            &inputs(),
        )
        .await
        .unwrap_err();
        let crate::engine::PrepareError::Invalid(problems) = &error else {
            panic!("{error}")
        };
        assert_eq!(
            problems[0].path,
            format!("spec.scenarios[0].tasks[0].steps[0].grpc.{path}"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_deadline_that_passes_costs_no_connection_and_the_server_is_told_of_it() {
    let chat = Chat::start().await;
    let mut step = call("Say", note("wait 60000"));
    request(&mut step).timeout = Duration::from_millis(200);
    let snapshot = run_calls(counted(&chat.url, 4, vec![step])).await;
    assert_eq!(snapshot.requests(), 4);
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Timeout, snapshot.requests())]
    );
    assert_eq!(
        (snapshot.counters.connects, snapshot.received_by_target()),
        (1, chat.seen.calls())
    );
    assert_eq!(
        chat.seen.metadata("grpc-timeout").as_deref(),
        Some("200000u")
    );
}

/// A call whose deadline passes on this client's clock, by the server's word, or by a reset of the
/// stream at the deadline.
async fn by_deadline(url: &str, text: &str, checks: Vec<Check>) -> Snapshot {
    let mut step = call("Say", note(text));
    request(&mut step).timeout = Duration::from_millis(300);
    request(&mut step).checks = checks;
    run_calls(counted(url, 2, vec![step])).await
}

#[tokio::test]
async fn a_deadline_is_one_class_and_one_status_whoever_finds_it_first() {
    let chat = Chat::start().await;
    let (reset, _) = broken::resetting_after(Duration::from_millis(292), h2::Reason::CANCEL).await;
    let (late, _) = broken::refusing_after(Duration::from_millis(292), "1").await;
    for (url, text) in [
        (&chat.url, "wait 60000"),
        (&chat.url, "fail 4 late"),
        (&reset, "hi"),
        (&late, "hi"),
    ] {
        let snapshot = by_deadline(url, text, vec![]).await;
        assert_eq!(
            classes(&snapshot),
            [(ErrorClass::Timeout, 2)],
            "{url} {text}"
        );
        let statuses = &snapshot.steps[&0].grpc_statuses;
        assert_eq!(
            statuses.iter().collect::<Vec<_>>(),
            [(&4, &2)],
            "{url} {text}"
        );
        let said = samples(&snapshot);
        assert!(
            said[0].starts_with("gRPC status 4 DEADLINE_EXCEEDED: "),
            "{said:?}"
        );
        let expected = Check::GrpcStatus(vec![Code::DEADLINE_EXCEEDED]);
        let passed = by_deadline(url, text, vec![expected]).await;
        assert_eq!(
            (passed.requests(), passed.failures()),
            (2, 0),
            "{url} {text}"
        );
    }
    // long before the deadline a reset is a reset
    let (early, _) = broken::resetting_after(Duration::from_millis(1), h2::Reason::CANCEL).await;
    let snapshot = by_deadline(&early, "hi", vec![]).await;
    assert_eq!(classes(&snapshot), [(ErrorClass::Reset, 2)]);
}

#[tokio::test]
async fn answers_are_looked_into_only_as_checks_and_extracts_ask() {
    let chat = Chat::start().await;
    let (mut first, mut second) = (
        call("Say", note("{{ uuid() }}")),
        call("Say", note("{{ said }} again")),
    );
    request(&mut first).extract = vec![Extract {
        name: "said".into(),
        from: ExtractFrom::JsonPath {
            path: JsonPath::parse("$.text").unwrap(),
            all: false,
        },
        default: None,
    }];
    request(&mut second).checks = vec![
        Check::GrpcStatus(vec![crate::plan::grpc::Code::OK]),
        json_path("$.number", json!(2)),
        json_path("$.text", json!("{{ said }} again")),
        Check::Messages {
            at_least: Some(1),
            at_most: Some(1),
        },
        Check::Header {
            name: "x-served-by".into(),
            must: vec![],
        },
        Check::Trailer {
            name: "grpc-status".into(),
            must: vec![Condition::Equals(JsonTemplate::new(json!("0")).unwrap())],
        },
        Check::Cel(crate::plan::Cel::parse("status == 0 && json.number == 2").unwrap()),
    ];
    let snapshot = run_calls(counted(&chat.url, 6, vec![first, second])).await;
    assert_eq!(snapshot.requests(), 12);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    let step = &snapshot.steps[&1];
    assert_eq!(
        (step.checks_passed, &step.grpc_statuses),
        (step.requests * 7, &[(0, step.requests)].into())
    );
    assert!(step.statuses.is_empty() && step.stream.is_none());
    assert_eq!(snapshot.received_by_target(), chat.seen.calls());
}

#[tokio::test]
async fn a_failed_check_is_a_failure_and_a_status_check_replaces_the_rule() {
    let chat = Chat::start().await;
    let mut odd = call("Say", note("hi"));
    request(&mut odd).checks = vec![json_path("$.number", json!(7))];
    odd.on_failure = OnFailure::Continue;
    let mut expected = call("Say", note("fail 5 none"));
    request(&mut expected).checks = vec![Check::GrpcStatus(vec![crate::plan::grpc::Code(5)])];
    let snapshot = run_calls(counted(&chat.url, 4, vec![odd, expected])).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Check, snapshot.steps[&0].requests)],
        "{:?}",
        snapshot.errors
    );
    assert!(snapshot.steps[&1].requests > 1 && snapshot.steps[&1].failures == 0);
}

#[tokio::test]
async fn metadata_and_credentials_go_with_each_call() {
    let chat = Chat::start().await;
    let mut step = call("Say", note("hi"));
    grpc(&mut step).metadata = vec![
        header("x-user", "user {{ user.id }}"),
        header("trace-bin", "AAECAw=="),
        header("x-fixed", "f"),
    ];
    let mut plan = counted(&chat.url, 2, vec![step]);
    plan.target.headers = vec![
        header("x-fixed", "target"),
        header("x-target", "t"),
        header("content-type", "application/json"),
    ];
    let token = Reference {
        kind: Kind::Secret,
        name: "token".into(),
        key: "pat".into(),
        field: "spec.target.auth".into(),
    };
    let Load::Iterations(iterations) = &mut plan.populations[0].load else {
        unreachable!()
    };
    iterations.users = 1;
    plan.target.auth = Some(crate::plan::Auth::Bearer { token });
    let snapshot = run_calls(plan).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    for (name, value) in [
        ("x-user", "user 0"),
        ("trace-bin", "AAECAw=="),
        ("x-fixed", "f"),
        ("x-target", "t"),
        ("authorization", "Bearer dapi-secret"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ] {
        assert_eq!(chat.seen.metadata(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn bytes_of_metadata_that_turn_out_to_be_no_base64_fail_the_call_unsent() {
    let chat = Chat::start().await;
    let mut step = call("Say", note("hi"));
    grpc(&mut step).metadata = vec![header("trace-bin", "{{ iteration }}!")];
    let snapshot = run_calls(counted(&chat.url, 2, vec![step])).await;
    assert_eq!(classes(&snapshot), [(ErrorClass::Template, 2)]);
    assert_eq!(
        samples(&snapshot),
        [
            "metadata trace-bin: what ends in -bin holds bytes, to be written as base64; {{ base64(x) }} makes it of text"
        ]
    );
    assert_eq!((chat.seen.calls(), snapshot.counters.unsent), (0, 2));
}

#[tokio::test]
async fn open_load_on_several_shards_reports_what_the_server_saw() {
    let chat = Chat::start().await;
    let mut plan = calls(
        &chat.url,
        1,
        1,
        vec![call("Say", note("n {{ iteration }}"))],
    );
    plan.populations = vec![Population::only(1, rate(400, 500, 600))];
    plan.scenarios[0].think_time = None;
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs()).await.unwrap());
    assert!(prepared.descriptor_digest().is_some());
    let snapshot = sum(&deltas(&mut prepared.start(whole(3), Instant::now())).await);
    assert_eq!(
        (snapshot.requests(), snapshot.failures()),
        (200, 0),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(chat.seen.calls(), 200);
    let step = &snapshot.steps[&0];
    assert!(
        step.sent_bytes > 200 * 100 && step.received_bytes > 200 * 20,
        "{} and {} bytes",
        step.sent_bytes,
        step.received_bytes
    );
}

#[tokio::test]
async fn whole_numbers_of_64_bits_are_found_as_numbers_and_as_text() {
    let chat = Chat::start().await;
    let mut step = call("Say", note("hi"));
    request(&mut step).checks = vec![
        json_path("$.number", json!(2)),
        json_path("$.number", json!("2")),
    ];
    let snapshot = run_calls(counted(&chat.url, 1, vec![step])).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", samples(&snapshot));
}
