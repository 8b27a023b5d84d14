//! The client against masters that lie. What each cost before the client was bounded stands at the
//! test.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::peers::{Answer, Peer, RUN, Script, channel, master, progress, silent};
use crate::operator::fixture;
use crate::wire::control::{
    Client, ControlError, MAX_PROBLEMS, MAX_TEXT, Part, ProblemKind, Progress, WorkerProblem,
};

const MIB: usize = 1024 * 1024;

fn client(address: SocketAddr) -> Client {
    let channel = channel();
    Client::new(RUN, address, &channel.ca, &channel.operator_token).unwrap()
}

/// A client that waits for a fiftieth of the time.
fn hasty(address: SocketAddr) -> Client {
    let channel = channel();
    Client::hasty(RUN, address, &channel.ca, &channel.operator_token).unwrap()
}

async fn answering(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Peer {
    master(Script::new(move |_| answer())).await
}

fn head(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes()
}

/// It followed the redirect to another host and put the answer into a status.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = master(Script::good("elsewhere")).await;
    let to = elsewhere.address;
    let peer = answering(move || {
        let port = to.port();
        let text = format!(
            "HTTP/1.1 302 Found\r\nlocation: https://{RUN}.starling:{port}/api/v1/progress\r\n\
             content-length: 0\r\n\r\n"
        );
        Answer::Raw(text.into_bytes())
    })
    .await;
    let error = client(peer.address).progress().await.unwrap_err();
    assert!(error.to_string().contains("302"), "{error}");
    assert_eq!(elsewhere.count(""), 0);
}

/// It took 3.4 GB in 30 s.
#[tokio::test]
async fn an_endless_answer_is_cut_at_eight_mib() {
    let peer = answering(|| Answer::Endless(head(""), vec![b' '; MIB / 4], 0)).await;
    let error = client(peer.address).progress().await.unwrap_err();
    assert!(
        matches!(error, ControlError::TooLarge { bytes, .. } if bytes == 8 * MIB),
        "{error}"
    );
    // what lies in the buffers of both sides comes on top
    assert!(peer.sent() < 24 * MIB, "{} bytes", peer.sent());
}

#[tokio::test]
async fn an_answer_that_announces_too_much_is_not_read_at_all() {
    for (length, is_progress) in [(8 * MIB + 1, true), (64 * MIB + 1, false)] {
        let peer =
            answering(move || Answer::Raw(head(&format!("content-length: {length}\r\n")))).await;
        let client = client(peer.address);
        let error = match is_progress {
            true => client.progress().await.unwrap_err(),
            false => client.result().await.unwrap_err(),
        };
        assert!(matches!(error, ControlError::TooLarge { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_cut_by_the_time_of_the_whole_call() {
    let peer = answering(|| Answer::Endless(head(""), vec![b' '], 10)).await;
    let error = hasty(peer.address).progress().await.unwrap_err();
    assert!(
        matches!(error, ControlError::Late { part, .. } if part == Part::Whole),
        "{error}"
    );
}

#[tokio::test]
async fn each_part_of_a_call_has_its_time() {
    let no_head = answering(|| Answer::Raw(Vec::new())).await.address;
    let no_body = answering(|| Answer::Raw(head("content-length: 5\r\n"))).await;
    for (address, expected) in [
        (silent().await, Part::Connect),
        (no_head, Part::Head),
        (no_body.address, Part::Body),
    ] {
        let error = hasty(address).progress().await.unwrap_err();
        assert!(
            matches!(error, ControlError::Late { part, .. } if part == expected),
            "{expected:?}: {error}"
        );
    }
}

#[tokio::test]
async fn headers_without_end_are_cut() {
    let field = b"x-filler: 0123456789012345678901234567890123456789\r\n".repeat(100);
    let peer =
        answering(move || Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), field.clone(), 0)).await;
    let error = client(peer.address).progress().await.unwrap_err();
    assert!(matches!(error, ControlError::Unreachable { .. }), "{error}");
    assert!(peer.sent() < 8 * MIB, "{} bytes", peer.sent());
}

#[tokio::test]
async fn a_master_of_another_authority_hears_no_token() {
    let peer = master(Script::stranger()).await;
    let error = client(peer.address).progress().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(peer.count(""), 0);
}

#[tokio::test]
async fn a_master_without_tls_hears_no_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        bytes.truncate(count);
        bytes
    });
    let call = hasty(address);
    assert!(call.progress().await.is_err());
    let heard = heard.await.unwrap();
    assert_eq!(
        heard.first(),
        Some(&0x16),
        "a handshake of TLS and nothing else"
    );
}

#[tokio::test]
async fn json_that_is_small_on_the_wire_and_large_in_memory_is_not_read() {
    for json in [
        "[".repeat(100_000),
        format!("[{}0]", "{},".repeat(100_000)),
        format!("[{}0]", "0,".repeat(100_000)),
    ] {
        let peer = answering(move || Answer::Whole(200, json.clone())).await;
        let error = client(peer.address).progress().await.unwrap_err();
        let ControlError::Malformed { why, .. } = error else {
            panic!("{error}");
        };
        assert!(why.contains("has more than"), "{why}");
    }
}

/// The worker token sufficed for a progress of 91 MB.
#[tokio::test]
async fn texts_and_lists_are_cut_to_their_bounds() {
    let problem = WorkerProblem {
        worker: 0,
        kind: ProblemKind::MissingReference,
        field: "f".repeat(1000),
        object: "ö".repeat(1000),
        message: "\u{1b}[2J\n".repeat(1000),
        for_seconds: 1,
    };
    let large = Progress {
        problems: vec![problem; 200],
        one_off: Some("x".repeat(1000)),
        ..progress("one")
    };
    let peer = answering(move || Answer::json(&large)).await;
    let progress = client(peer.address).progress().await.unwrap();
    assert_eq!(progress.problems.len(), MAX_PROBLEMS);
    for problem in &progress.problems {
        for text in [&problem.field, &problem.object, &problem.message] {
            assert!(text.len() <= MAX_TEXT && !text.contains('\u{1b}'), "{text}");
        }
    }
    assert!(progress.one_off.unwrap().len() <= MAX_TEXT);
}

#[tokio::test]
async fn an_identity_that_is_too_long_is_no_identity() {
    let long = Progress {
        incarnation: "i".repeat(1000),
        ..progress("")
    };
    let peer = answering(move || Answer::json(&long)).await;
    let error = client(peer.address).progress().await.unwrap_err();
    assert!(error.to_string().contains("incarnation"), "{error}");
}

#[tokio::test]
async fn a_refusal_is_told_in_few_words_without_control_characters() {
    let words = format!("\u{1b}[2J{}", "no ".repeat(100_000));
    let peer = answering(move || Answer::Whole(503, words.clone())).await;
    let error = client(peer.address)
        .progress()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("503") && error.len() < 512, "{error}");
    assert!(!error.contains('\u{1b}'));
}

#[tokio::test]
async fn a_result_of_many_mib_is_read_and_gives_its_room_back() {
    let large = crate::wire::RunResult {
        warnings: vec!["w".repeat(MIB); 8],
        ..fixture::result()
    };
    let peer = answering(move || Answer::json(&large)).await;
    let client = client(peer.address);
    let first = client.large_result().await.unwrap();
    assert!(first.room.is_some(), "8 MiB take up room");
    drop(first);
    assert!(client.large_result().await.unwrap().value.is_some());
}

/// Whoever may set the operator's environment is not the tenant, but a proxy that is there for
/// other reasons must not see runs.
#[test]
fn a_proxy_of_the_environment_is_ignored() {
    const CHILD: &str = "STARLING_TEST_BEHIND_PROXY";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async {
            let peer = master(Script::good("one")).await;
            client(peer.address).progress().await.unwrap();
        });
    }
    let name = "operator::masters::tests::hostile::a_proxy_of_the_environment_is_ignored";
    let proxy = "http://127.0.0.1:1";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(CHILD, "1")
        .envs(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"].map(|key| (key, proxy)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
