//! What a server says of itself: its services by reflection, its health by a step.

use protox::file::File;
use protox::prost_reflect::prost_types::FileDescriptorSet;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_reflection::server::Builder;

use super::super::super::PrepareError;
use super::super::server::{Peer, closed_port, scripted};
use super::chat::Script;
use super::*;

/// Files as reflection registers them; the second imports the first, which imports what is well known.
fn described() -> FileDescriptorSet {
    let types = r#"syntax = "proto3"; package test; import "google/protobuf/timestamp.proto";
        message Note { string text = 1; uint32 number = 2; google.protobuf.Timestamp at = 3; }"#;
    let service = r#"syntax = "proto3"; package test; import "types.proto";
        service Chat { rpc Say(Note) returns (Note); }"#;
    let file = |name, text| File::from_source(name, text).unwrap().file_descriptor_proto().clone();
    FileDescriptorSet { file: vec![file("types.proto", types), file("chat.proto", service)] }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    url
}

/// Descriptors are asked for.
fn undescribed(url: &str, step: Step) -> Plan {
    Plan { protos: None, ..counted(url, 4, vec![step]) }
}

async fn refusal(url: &str) -> PrepareError {
    prepare(Arc::new(undescribed(url, call("Say", note("hi")))), &Inputs::default()).await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_refuses_reflection_is_named_before_the_first_call() {
    let chat = Chat::start().await;
    let error = refusal(&chat.url).await;
    let PrepareError::Invalid(problems) = &error else { panic!("{error}") };
    assert_eq!(problems[0].path, "spec.protos");
    assert!(problems[0].message.contains("offers no server reflection (gRPC status 12 UNIMPLEMENTED)"), "{error}");
    assert_eq!(chat.seen.calls(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_or_speaks_something_else_cannot_be_asked() {
    let error = refusal(&format!("http://{}", closed_port())).await;
    assert!(matches!(&error, PrepareError::Target(why) if why[0].message.contains("by reflection")), "{error}");
    let url = scripted(|peer: Peer| peer.always("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")).await;
    let error = refusal(&url).await;
    assert!(matches!(&error, PrepareError::Target(_)), "{error}");
}

#[tokio::test]
async fn a_service_that_reflection_does_not_know_is_a_problem_of_the_test() {
    let reflection = Builder::configure().register_file_descriptor_set(described()).build_v1().unwrap();
    let url = serve(tonic::transport::Server::builder().add_service(reflection)).await;
    let mut step = call("Say", note("hi"));
    grpc(&mut step).method = Method::parse("test.Other/Say").unwrap();
    let error = prepare(Arc::new(undescribed(&url, step)), &Inputs::default()).await.unwrap_err();
    assert!(matches!(&error, PrepareError::Invalid(problems) if problems[0].message.contains("NOT_FOUND")), "{error}");
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
        let mut step = call("Say", json!({"text": "hi", "number": 1, "at": "2026-01-02T03:04:05Z"}));
        request(&mut step).checks = vec![json_path("$.number", json!(2))];
        let prepared = Arc::new(prepare(Arc::new(undescribed(&url, step)), &Inputs::default()).await.unwrap());
        digests.push(prepared.descriptor_digest().map(str::to_owned));
        let snapshot = sum(&deltas(&mut prepared.start(whole(2), Instant::now())).await);
        assert_eq!((snapshot.requests(), snapshot.failures()), (4, 0), "{:?}", snapshot.errors);
        assert_eq!(snapshot.received_by_target(), seen.calls());
    }
    assert!(digests[0].is_some() && digests[0] == digests[1], "{digests:?}");
}

#[tokio::test]
async fn health_is_a_step_that_only_serving_passes() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("good", ServingStatus::Serving).await;
    reporter.set_service_status("bad", ServingStatus::NotServing).await;
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
    plan.scenarios[0].tasks[0].steps.extend([check("bad"), check("unheard of"), expected]);
    let prepared = Arc::new(prepare(Arc::new(plan), &Inputs::default()).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    let failures: Vec<u64> = snapshot.steps.values().map(|step| step.failures).collect();
    let requests = snapshot.steps[&0].requests;
    assert_eq!(failures, [0, requests, requests, 0], "{:?}", snapshot.errors);
    assert_eq!(classes(&snapshot), [(ErrorClass::Unavailable, requests), (ErrorClass::Grpc, requests)]);
    assert_eq!(samples(&snapshot)[0], "the target's health is NOT_SERVING");
}
