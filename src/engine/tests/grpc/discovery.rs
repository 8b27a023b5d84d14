//! What a server says of itself: its services by reflection, its health by a step.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use protox::file::File;
use protox::prost_reflect::prost_types::FileDescriptorSet;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_reflection::pb::v1 as pb;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest as Question;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse as Answer;
use tonic_reflection::server::Builder;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::engine::PrepareError;
use crate::engine::tests::grpc::chat::Script;
use crate::engine::tests::grpc::*;
use crate::engine::tests::http2::server;
use crate::engine::tests::server::{Peer, closed_port, scripted};

/// Files as reflection registers them; the second imports the first, which imports what is well
/// known.
pub(super) fn described() -> FileDescriptorSet {
    let types = r#"syntax = "proto3"; package test; import "google/protobuf/timestamp.proto";
        message Note { string text = 1; uint32 number = 2; google.protobuf.Timestamp at = 3; }"#;
    let service = r#"syntax = "proto3"; package test; import "types.proto";
        service Chat { rpc Say(Note) returns (Note); }"#;
    let file = |name, text| {
        File::from_source(name, text)
            .unwrap()
            .file_descriptor_proto()
            .clone()
    };
    FileDescriptorSet {
        file: vec![file("types.proto", types), file("chat.proto", service)],
    }
}

pub(super) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    url
}

/// Descriptors are asked for.
fn undescribed(url: &str, step: Step) -> Plan {
    Plan {
        protos: None,
        ..counted(url, 4, vec![step])
    }
}

async fn refusal(url: &str) -> PrepareError {
    prepare(
        Arc::new(undescribed(url, call("Say", note("hi")))),
        &Inputs::default(),
    )
    .await
    .unwrap_err()
}

#[tokio::test]
async fn a_server_that_refuses_reflection_is_named_before_the_first_call() {
    let chat = Chat::start().await;
    let error = refusal(&chat.url).await;
    let PrepareError::Invalid(problems) = &error else {
        panic!("{error}")
    };
    assert_eq!(problems[0].path, "spec.protos");
    assert!(
        problems[0]
            .message
            .contains("offers no server reflection (v1: gRPC status 12 UNIMPLEMENTED"),
        "{error}"
    );
    assert!(
        problems[0]
            .message
            .contains("give the services' .proto files in spec.protos"),
        "{error}"
    );
    assert_eq!(chat.seen.calls(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_or_speaks_something_else_cannot_be_asked() {
    let error = refusal(&format!("http://{}", closed_port())).await;
    assert!(
        matches!(&error, PrepareError::Target(why) if why[0].message.contains("by reflection")),
        "{error}"
    );
    let url =
        scripted(|peer: Peer| peer.always("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
            .await;
    let error = refusal(&url).await;
    assert!(matches!(&error, PrepareError::Target(_)), "{error}");
}

/// Each in the words of `field: message`.
fn told(error: &PrepareError) -> Vec<String> {
    let PrepareError::Invalid(problems) = error else {
        panic!("{error}")
    };
    problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_reflection_does_not_know_is_told_at_the_step_that_names_it() {
    let builder = || Builder::configure().register_file_descriptor_set(described());
    let mut server = tonic::transport::Server::builder();
    let new = serve(server.add_service(builder().build_v1().unwrap())).await;
    let old = serve(server.add_service(builder().build_v1alpha().unwrap())).await;
    for url in [new, old] {
        let calls = [
            "test.Chat/Say",
            "test.Other/Say",
            "test.Chat/Sing",
            "Chat/Say",
        ]
        .map(|method| {
            let mut step = call("Say", note("hi"));
            grpc(&mut step).method = Method::parse(method).unwrap();
            step
        });
        let mut plan = undescribed(&url, call("Say", json!({"txt": "hi"})));
        plan.scenarios[0].tasks[0].steps = calls.into();
        let task = plan.scenarios[0].tasks[0].clone();
        plan.scenarios[0].tasks.insert(
            0,
            crate::plan::Task {
                name: "other".into(),
                steps: vec![call("Say", json!({"txt": "x"}))],
                ..task
            },
        );
        let error = prepare(Arc::new(plan), &Inputs::default())
            .await
            .unwrap_err();
        let other = "spec.scenarios[0].tasks[1].steps";
        assert_eq!(
            told(&error),
            [
                "spec.scenarios[0].tasks[0].steps[0].grpc.message.txt: test.Note has no such field; it has text, number, at".to_owned(),
                format!("{other}[1].grpc.method: the target has no service \"test.Other\"; it offers test.Chat"),
                format!("{other}[2].grpc.method: test.Chat has no method \"Sing\"; it has Say"),
                format!("{other}[3].grpc.method: the target has no service \"Chat\"; did you mean test.Chat? It offers test.Chat"),
            ]
        );
    }
}

const CHAT_WITH_ANY: &str = r#"syntax = "proto3"; package test; import "google/protobuf/any.proto";
    message Note { string text = 1; google.protobuf.Any any = 4; }
    service Chat { rpc Say(Note) returns (Note); }"#;

/// Files of a service whose messages hold an `Any`, and of a type that it does not name.
fn with_extra() -> FileDescriptorSet {
    let file = |name: &str, text: &str| {
        let file = File::from_source(name, text).unwrap();
        file.file_descriptor_proto().clone()
    };
    let extra = r#"syntax = "proto3"; package extra; message Extra { int64 n = 1; }"#;
    FileDescriptorSet {
        file: vec![
            file("chat.proto", CHAT_WITH_ANY),
            file("extra.proto", extra),
        ],
    }
}

#[tokio::test]
async fn a_type_that_only_an_any_names_is_asked_for_by_its_name() {
    let builder = Builder::configure().register_file_descriptor_set(with_extra());
    let mut server = tonic::transport::Server::builder();
    let url = serve(server.add_service(builder.build_v1().unwrap())).await;
    let holding = |name: &str, field: &str| {
        let any = json!({"@type": format!("type.googleapis.com/{name}"), field: 1});
        undescribed(&url, call("Say", json!({"any": any})))
    };
    for (name, field) in [("extra.Extra", "n"), ("google.rpc.Status", "code")] {
        let prepared = prepare(Arc::new(holding(name, field)), &Inputs::default()).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
    let error = prepare(Arc::new(holding("extra.Gone", "n")), &Inputs::default())
        .await
        .unwrap_err();
    assert!(told(&error)[0].contains("@type"), "{error}");
}

/// Message that holds another, as the server below answers with it.
#[derive(Clone, PartialEq, prost::Message)]
struct Holder {
    #[prost(message, optional, tag = "4")]
    any: Option<protox::prost_reflect::prost_types::Any>,
}

/// Serves `test.Chat/Say`, which answers with an `Any` of `extra.Extra`.
#[derive(Clone)]
struct Holding;

impl tonic::server::NamedService for Holding {
    const NAME: &'static str = "test.Chat";
}

impl tonic::codegen::Service<http::Request<tonic::body::Body>> for Holding {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let answer = |_: tonic::Request<Holder>| async {
            let any = protox::prost_reflect::prost_types::Any {
                type_url: "type.googleapis.com/extra.Extra".into(),
                // field 1 is 7
                value: vec![8, 7],
            };
            Ok::<_, Status>(tonic::Response::new(Holder { any: Some(any) }))
        };
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::<Holder, Holder>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(grpc.unary(tower::service_fn(answer), request).await)
        })
    }
}

#[tokio::test]
async fn an_any_of_an_unknown_type_does_not_fail_the_call() {
    let mut server = tonic::transport::Server::builder();
    let url = serve(server.add_service(Holding)).await;
    let mut step = call("Say", json!({}));
    request(&mut step).checks = vec![
        json_path("$.text", json!("")),
        // as protobuf shows bytes
        json_path(
            "$.any",
            json!({"@type": "type.googleapis.com/extra.Extra", "value": "CAc="}),
        ),
    ];
    let mut inputs = inputs();
    let text = CHAT_WITH_ANY.as_bytes().to_vec();
    inputs.insert(Kind::ConfigMap, "protos", "chat.proto", text);
    let plan = Arc::new(counted(&url, 2, vec![step]));
    let prepared = Arc::new(prepare(plan, &inputs).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert_eq!(
        (snapshot.requests(), snapshot.failures()),
        (2, 0),
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn a_type_that_first_comes_in_an_answer_is_asked_for_during_the_load() {
    let builder = Builder::configure().register_file_descriptor_set(with_extra());
    let mut server = tonic::transport::Server::builder();
    let server = server.add_service(builder.build_v1().unwrap());
    let url = serve(server.add_service(Holding)).await;
    let mut step = call("Say", json!({}));
    request(&mut step).checks = vec![json_path(
        "$.any['@type']",
        json!("type.googleapis.com/extra.Extra"),
    )];
    // the first answers show it as bytes, which the check lets pass
    step.repeat = Some(crate::plan::Repeat {
        count: 1_000,
        until: Some(crate::plan::Cel::parse("has(json.any.n) && json.any.n == 7").unwrap()),
        every: Duration::from_millis(5),
    });
    let mut plan = undescribed(&url, step);
    plan.populations = counted(&url, 1, vec![]).populations;
    let prepared = prepare(Arc::new(plan), &Inputs::default()).await.unwrap();
    let snapshot = sum(&deltas(&mut Arc::new(prepared).start(whole(1), Instant::now())).await);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(snapshot.errors.iter().count(), 0, "{:?}", snapshot.errors);
    assert!(
        snapshot.requests() > 1,
        "the first answer comes before the type"
    );
}

/// Answers questions as servers in other languages do: with an error in a message, and the
/// conversation goes on.
struct Foreign {
    /// The code of the answer to each question but that for all services.
    refusal: i32,
    lists: bool,
}

#[tonic::async_trait]
impl ServerReflection for Foreign {
    type ServerReflectionInfoStream =
        Pin<Box<dyn Stream<Item = Result<pb::ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        asked: tonic::Request<tonic::Streaming<pb::ServerReflectionRequest>>,
    ) -> Result<tonic::Response<Self::ServerReflectionInfoStream>, Status> {
        let Self { refusal, lists } = *self;
        let answers = asked.into_inner().map(move |question| {
            let answer = match question?.message_request {
                Some(Question::ListServices(_)) if lists => {
                    let named = |name: &str| pb::ServiceResponse { name: name.into() };
                    let service = ["test.Real", "grpc.reflection.v1.ServerReflection"]
                        .map(named)
                        .into();
                    Answer::ListServicesResponse(pb::ListServiceResponse { service })
                }
                _ => Answer::ErrorResponse(pb::ErrorResponse {
                    error_code: refusal,
                    error_message: "not for dapi-secret".into(),
                }),
            };
            Ok(pb::ServerReflectionResponse {
                message_response: Some(answer),
                ..pb::ServerReflectionResponse::default()
            })
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }
}

/// What such a server makes of a test whose credentials are a Secret's.
async fn refused_by(refusal: tonic::Code, lists: bool) -> PrepareError {
    let foreign = ServerReflectionServer::new(Foreign {
        refusal: refusal as i32,
        lists,
    });
    let url = serve(tonic::transport::Server::builder().add_service(foreign)).await;
    let mut plan = undescribed(&url, call("Say", note("hi")));
    let token = Reference {
        kind: Kind::Secret,
        name: "token".into(),
        key: "pat".into(),
        field: "spec.target.auth".into(),
    };
    plan.target.auth = Some(crate::plan::Auth::Bearer { token });
    prepare(Arc::new(plan), &inputs()).await.unwrap_err()
}

#[tokio::test]
async fn a_refusal_is_told_as_what_it_is_whoever_is_asked() {
    let method = "spec.scenarios[0].tasks[0].steps[0].grpc.method";
    let unknown = told(&refused_by(tonic::Code::NotFound, true).await);
    assert_eq!(
        unknown,
        [format!(
            "{method}: the target has no service \"test.Chat\"; it offers test.Real"
        )]
    );
    let unlisted = told(&refused_by(tonic::Code::NotFound, false).await);
    assert_eq!(
        unlisted,
        [format!(
            "{method}: the target's reflection knows no service \"test.Chat\""
        )]
    );
    for code in [tonic::Code::Unauthenticated, tonic::Code::PermissionDenied] {
        let denied = told(&refused_by(code, true).await);
        assert!(
            denied[0].starts_with(
                "spec.protos: the target does not let these credentials use its server reflection"
            ),
            "{denied:?}"
        );
        assert!(
            denied[0].contains("not for ***")
                && denied[0].contains("or give the services' .proto files"),
            "{denied:?}"
        );
    }
    let other = told(&refused_by(tonic::Code::Internal, true).await);
    assert!(
        other[0]
            .starts_with("spec.protos: server reflection: the target says INTERNAL: not for ***"),
        "{other:?}"
    );
    let later = refused_by(tonic::Code::Unavailable, true).await;
    assert!(
        matches!(&later, PrepareError::Target(why) if why[0].path == "spec.target.url"),
        "{later}"
    );
}

#[tokio::test]
async fn a_gateway_that_is_not_ready_is_waited_for_and_one_that_refuses_is_named() {
    for (status, path) in [
        (401, "spec.protos"),
        (404, "spec.protos"),
        (503, "spec.target.url"),
    ] {
        let (url, _) =
            server(move |asked| async move { broken::answer(asked, status, &[], None, None) })
                .await;
        let error = refusal(&url).await;
        let (PrepareError::Invalid(problems) | PrepareError::Target(problems)) = &error else {
            panic!("{error}")
        };
        assert_eq!(problems[0].path, path, "{error}");
        assert!(
            problems[0]
                .message
                .contains(&format!("HTTP status {status}")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn services_are_asked_for_in_both_versions_and_the_asking_is_not_counted() {
    let mut digests = Vec::new();
    for is_old in [false, true] {
        let seen = Arc::default();
        let builder = || Builder::configure().register_file_descriptor_set(described());
        let mut server = tonic::transport::Server::builder();
        let router = match is_old {
            false => server.add_service(builder().build_v1().unwrap()),
            true => server.add_service(builder().build_v1alpha().unwrap()),
        };
        let url = serve(router.add_service(Script::new(&seen))).await;
        let mut step = call(
            "Say",
            json!({"text": "hi", "number": 1, "at": "2026-01-02T03:04:05Z"}),
        );
        request(&mut step).checks = vec![json_path("$.number", json!(2))];
        let prepared = Arc::new(
            prepare(Arc::new(undescribed(&url, step)), &Inputs::default())
                .await
                .unwrap(),
        );
        digests.push(prepared.descriptor_digest().map(str::to_owned));
        let snapshot = sum(&deltas(&mut prepared.start(whole(2), Instant::now())).await);
        assert_eq!(
            (snapshot.requests(), snapshot.failures()),
            (4, 0),
            "{:?}",
            snapshot.errors
        );
        assert_eq!(snapshot.received_by_target(), seen.calls());
    }
    assert!(
        digests[0].is_some() && digests[0] == digests[1],
        "{digests:?}"
    );
}

#[tokio::test]
async fn health_is_a_step_that_only_serving_passes() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("good", ServingStatus::Serving)
        .await;
    reporter
        .set_service_status("bad", ServingStatus::NotServing)
        .await;
    let url = serve(tonic::transport::Server::builder().add_service(health)).await;
    let check = |service: &str| {
        let mut step = call("Say", json!({"service": service}));
        grpc(&mut step).method = Method::parse("grpc.health.v1.Health/Check").unwrap();
        step.on_failure = OnFailure::Continue;
        step
    };
    let mut expected = check("bad");
    request(&mut expected).checks = vec![json_path("$.status", json!("NOT_SERVING"))];
    // asked without descriptors or reflection: the service is known
    let mut plan = undescribed(&url, check("good"));
    plan.scenarios[0].tasks[0]
        .steps
        .extend([check("bad"), check("unheard of"), expected]);
    let prepared = Arc::new(prepare(Arc::new(plan), &Inputs::default()).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    let failures: Vec<u64> = snapshot.steps.values().map(|step| step.failures).collect();
    let requests = snapshot.steps[&0].requests;
    assert_eq!(
        failures,
        [0, requests, requests, 0],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        classes(&snapshot),
        [
            (ErrorClass::Unavailable, requests),
            (ErrorClass::Grpc, requests)
        ]
    );
    assert_eq!(samples(&snapshot)[0], "the target's health is NOT_SERVING");
}

/// A target that says of `good` that it serves and of `bad` that it does not, and does what
/// messages say.
async fn with_health(seen: &Arc<chat::Seen>) -> String {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("good", ServingStatus::Serving)
        .await;
    reporter
        .set_service_status("bad", ServingStatus::NotServing)
        .await;
    serve(
        tonic::transport::Server::builder()
            .add_service(health)
            .add_service(Script::new(seen)),
    )
    .await
}

fn health_check(service: &str) -> Step {
    let mut step = call("Say", json!({"service": service}));
    grpc(&mut step).method = Method::parse("grpc.health.v1.Health/Check").unwrap();
    grpc(&mut step).is_health_check = true;
    step
}

#[tokio::test]
async fn a_health_check_that_fails_is_a_failed_request_and_nothing_follows_it() {
    let seen = Arc::default();
    let url = with_health(&seen).await;
    let mut bad = health_check("bad");
    bad.on_failure = OnFailure::AbortTask;
    let snapshot = run_calls(counted(
        &url,
        4,
        vec![health_check("good"), bad, call("Say", note("hi"))],
    ))
    .await;
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.iterations
        ),
        (4, 4, 4)
    );
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Unavailable, 4)],
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        (
            snapshot.counters.control,
            snapshot.counters.control_failures,
            seen.calls()
        ),
        (4, 0, 0)
    );
    assert_eq!(snapshot.received_by_target(), 8, "four of either check");
}

#[tokio::test]
async fn a_health_check_that_passes_is_no_request_of_the_results() {
    let seen = Arc::default();
    let url = with_health(&seen).await;
    let mut plan = counted(&url, 4, vec![health_check("good"), call("Say", note("hi"))]);
    plan.scenarios[0].on_stop = vec![health_check("bad")];
    let snapshot = run_calls(plan).await;
    assert_eq!(
        (snapshot.requests(), snapshot.failures(), seen.calls()),
        (4, 0, 4),
        "{:?}",
        snapshot.errors
    );
    assert!(
        snapshot
            .steps
            .iter()
            .all(|(place, step)| *place == 2 || step.latency.is_empty()),
        "only the call has a latency"
    );
    // what is at the end of a user is none of the load, passed or not
    assert_eq!(
        (
            snapshot.counters.control,
            snapshot.counters.control_failures
        ),
        (4 + 2, 2)
    );
    assert_eq!(snapshot.received_by_target(), 4 + 4 + 2);
}
