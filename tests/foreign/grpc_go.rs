//! Calls of the server that grpc-go and the other implementations of gRPC test each other with. It
//! has no reflection, and does as it is told: statuses, sizes, pauses and metadata.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{PATIENCE, free_ports, python, root, run, run_whatever_comes, step, test};

/// The server.
struct Interop {
    child: Child,
    url: String,
}

impl Interop {
    fn start() -> Interop {
        let [port] = free_ports();
        let child = Command::new(python().with_file_name("interop"))
            .args(["--port", &port.to_string(), "--use_tls=false"])
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = Interop {
            child,
            url: format!("grpc://127.0.0.1:{port}"),
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "nobody listens on {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Interop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A test with these steps, whose calls are described by one of our files.
fn calls(proto: &str, steps: &str) -> String {
    let folder = root().join("tests/foreign/interop");
    let protos = json!({"root": folder, "files": [proto]});
    test(&format!("protos: {protos}"), steps)
}

#[test]
fn calls_of_every_kind_bring_what_they_ask_for() {
    let server = Interop::start();
    let steps = r#"- name: empty
  grpc: {method: grpc.testing.TestService/EmptyCall}
- name: unary
  grpc:
    method: grpc.testing.TestService/UnaryCall
    message: {response_size: 31415, payload: {body: "{{ base64(randString(27182)) }}"}}
  checks:
  - {cel: "json.payload.body.size() == 41888"}
- name: server's stream
  grpc:
    method: grpc.testing.TestService/StreamingOutputCall
    message:
      response_parameters: [{size: 31415}, {size: 9}, {size: 2653, interval_us: 2000}, {size: 3}]
  checks:
  - {messages: {atLeast: 4, atMost: 4}}
  - {jsonPath: $.payload.body, equals: AAAA}
- name: client's stream
  grpc:
    method: grpc.testing.TestService/StreamingInputCall
    stream:
      messages:
      - {payload: {body: "{{ base64(randString(27182)) }}"}}
      - {payload: {body: ""}}
      - {payload: {body: "{{ base64(randString(1828)) }}"}}
  checks:
  - {jsonPath: $.aggregated_payload_size, equals: 29010}
- name: client's stream without a message
  grpc: {method: grpc.testing.TestService/StreamingInputCall, stream: {messages: 0}}
  checks:
  - {jsonPath: $.aggregated_payload_size, equals: 0}
- name: ping-pong
  grpc:
    method: grpc.testing.TestService/FullDuplexCall
    message: {response_parameters: [{size: 3}], payload: {body: "{{ base64(uuid()) }}"}}
    stream: {messages: 20, sendAfter: Reply}
  checks:
  - {messages: {atLeast: 20, atMost: 20}}
- name: answers after all messages
  grpc:
    method: grpc.testing.TestService/HalfDuplexCall
    stream:
      messages:
      - {response_parameters: [{size: 3}]}
      - {response_parameters: [{size: 1}, {size: 2}]}
  checks:
  - {messages: {atLeast: 3, atMost: 3}}"#;
    let result = run(&calls("testing.proto", steps), &server.url);
    assert_eq!(result["totals"]["requests"], 7 * 40);
    for (name, sent, received) in [
        ("server's stream", 0, 4),
        ("client's stream", 3, 1),
        ("client's stream without a message", 0, 1),
        ("ping-pong", 20, 20),
        ("answers after all messages", 2, 3),
    ] {
        let stream = &step(&result, name)["stream"];
        assert_eq!(stream["messagesSent"], 40 * sent, "{name}");
        assert_eq!(stream["messagesReceived"], 40 * received, "{name}");
    }
}

#[test]
fn metadata_comes_back_as_it_was_sent() {
    let server = Interop::start();
    let steps = r#"- name: text and bytes
  grpc:
    method: grpc.testing.TestService/UnaryCall
    metadata:
      x-grpc-test-echo-initial: "user {{ user.id }}"
      x-grpc-test-echo-trailing-bin: "{{ base64('binary') }}"
  checks:
  - {header: x-grpc-test-echo-initial, equals: "user {{ user.id }}"}
  - {trailer: x-grpc-test-echo-trailing-bin, equals: "{{ base64('binary') }}"}
- name: nothing
  grpc: {method: grpc.testing.TestService/UnaryCall, metadata: {x-grpc-test-echo-initial: ""}}
  checks:
  - {header: x-grpc-test-echo-initial, equals: ""}
- name: much
  grpc:
    method: grpc.testing.TestService/UnaryCall
    metadata: {x-grpc-test-echo-initial: "{{ randString(15000) }}"}
  checks:
  - {header: x-grpc-test-echo-initial, length: 15000}
- name: of a stream
  grpc:
    method: grpc.testing.TestService/FullDuplexCall
    metadata: {x-grpc-test-echo-initial: first, x-grpc-test-echo-trailing-bin: bGFzdCBv}
    message: {response_parameters: [{size: 1}]}
  checks:
  - {header: x-grpc-test-echo-initial, equals: first}
  - {trailer: x-grpc-test-echo-trailing-bin, equals: bGFzdCBv}"#;
    let result = run(&calls("testing.proto", steps), &server.url);
    assert_eq!(result["totals"]["checksPassed"], 6 * 40);
}

#[test]
fn each_status_is_found_as_it_was_asked_for() {
    let server = Interop::start();
    let mut steps = String::new();
    for code in 1..=16 {
        let _ = write!(
            steps,
            "- name: status {code}
  grpc:
    method: grpc.testing.TestService/UnaryCall
    message: {{response_status: {{code: {code}, message: told so}}}}
  checks:
  - {{grpcStatus: [{code}]}}
  - {{trailer: grpc-message, equals: told so}}
"
        );
    }
    steps += r#"- name: status within a stream
  grpc:
    method: grpc.testing.TestService/FullDuplexCall
    stream:
      sendAfter: Reply
      messages: [{response_parameters: [{size: 3}]}, {response_status: {code: 2, message: enough}}]
  checks:
  - {grpcStatus: [UNKNOWN]}
  - {messages: {atLeast: 1, atMost: 1}}
- name: unknown method
  grpc: {method: grpc.testing.TestService/UnimplementedCall}
  checks: [{grpcStatus: [UNIMPLEMENTED]}]
- name: unknown service
  grpc: {method: grpc.testing.UnimplementedService/UnimplementedCall}
  checks: [{grpcStatus: [UNIMPLEMENTED]}]
- name: compression that it does not know
  grpc: {method: grpc.testing.TestService/EmptyCall, gzip: true}
  checks: [{grpcStatus: [UNIMPLEMENTED]}]"#;
    let result = run(&calls("testing.proto", &steps), &server.url);
    assert_eq!(result["totals"]["requests"], 20 * 40);
}

#[test]
fn a_status_that_nobody_asked_for_is_told_in_the_servers_words() {
    let server = Interop::start();
    let steps = r#"- name: refused
  grpc:
    method: grpc.testing.TestService/UnaryCall
    message: {response_status: {code: 2, message: "100% of ☺ and 😈"}}"#;
    let (code, result, said) = run_whatever_comes(&calls("testing.proto", steps), &server.url);
    assert_eq!(code, Some(99), "{said}");
    assert_eq!(step(&result, "refused")["failures"], 40);
    let expected = "gRPC status 2 UNKNOWN: 100% of ☺ and 😈";
    assert_eq!(result["errors"][0]["sample"], expected, "{said}");
    assert_eq!(result["errors"][0]["class"], "grpc");
}

const DEADLINES: &str = r#"- name: server that pauses
  onFailure: Continue
  timeout: 50ms
  grpc:
    method: grpc.testing.TestService/StreamingOutputCall
    message: {response_parameters: [{size: 1}, {size: 1, interval_us: 60000000}]}
  CHECKS
- name: server that waits for us
  onFailure: Continue
  timeout: 50ms
  grpc:
    method: grpc.testing.TestService/FullDuplexCall
    message: {response_parameters: [{size: 1}]}
    stream: {messages: 1, halfClose: false}
  CHECKS
- name: server that says so
  onFailure: Continue
  grpc:
    method: grpc.testing.TestService/UnaryCall
    message: {response_status: {code: 4, message: told so}}
  CHECKS"#;

#[test]
fn a_deadline_is_of_one_class_whoever_saw_it_first() {
    let server = Interop::start();
    let steps = DEADLINES.replace("CHECKS", "checks: [{grpcStatus: [DEADLINE_EXCEEDED]}]");
    let result = run(&calls("testing.proto", &steps), &server.url);
    assert_eq!(result["totals"]["checksPassed"], 3 * 40);
    let steps = DEADLINES.replace("  CHECKS", "");
    let (code, result, said) = run_whatever_comes(&calls("testing.proto", &steps), &server.url);
    assert_eq!(code, Some(99), "{said}");
    assert_eq!(result["totals"]["failures"], 3 * 40, "{said}");
    for error in result["errors"].as_array().expect("errors") {
        assert_eq!(error["class"], "timeout", "{said}");
    }
    for step in result["steps"].as_array().expect("steps") {
        assert_eq!(
            step["grpcStatuses"],
            json!([{"status": 4, "count": 40}]),
            "{said}"
        );
    }
}

#[test]
fn a_part_whose_type_nobody_knows_fails_no_call() {
    let server = Interop::start();
    let steps = "- name: any
  grpc: {method: grpc.testing.TestService/UnaryCall, message: {response_size: 3}}
  checks:
  - {jsonPath: $.payload.value, equals: AAAA}";
    let result = run(&calls("untyped.proto", steps), &server.url);
    assert_eq!(result["totals"]["requests"], 40);
}

#[test]
fn a_server_without_reflection_is_told_as_such() {
    let server = Interop::start();
    let steps = "- grpc: {method: grpc.testing.TestService/EmptyCall}";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, test("", steps)).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_starling"))
        .arg("run")
        .arg(&file)
        .args(["--target", &server.url])
        .output()
        .expect("starling starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no server reflection"), "{said}");
    assert!(
        said.contains("v1alpha: gRPC status 12 UNIMPLEMENTED"),
        "{said}"
    );
    assert!(said.contains("give the services' .proto files"), "{said}");
}
