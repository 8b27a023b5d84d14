//! The service as its clients see it.

use std::net::Ipv4Addr;

use clap::Parser;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::wire::PredictionRequest;
use super::wire::text_categorization_client::TextCategorizationClient;
use super::*;

mod grpc;
mod models;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: Options,
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
    Command::try_parse_from(["demo-service"].iter().chain(arguments)).map(|command| command.options)
}

async fn start(arguments: &[&str]) -> DemoService {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    DemoService::start(Options {
        listen,
        ..parse(arguments).unwrap()
    })
    .await
    .unwrap()
}

async fn connect(service: &DemoService, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn read_answer(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head[9..12].parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: serde_json::from_str(body).unwrap(),
    }
}

async fn send(service: &DemoService, line: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!(
        "{line} HTTP/1.1\r\nhost: sample\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    read_answer(connect(service, &text).await).await
}

async fn predict(service: &DemoService) -> Answer {
    send(service, "POST /predict", "", r#"{"text": "the team won"}"#).await
}

#[test]
fn a_bad_option_is_refused_in_words_that_name_the_form() {
    for (option, value, reason) in [
        ("--latency", "5ms", "exponential:MEAN"),
        ("--error-rate", "2", "between 0 and 1"),
        ("--stall", "1s,2s", "shorter than EVERY"),
        ("--token", "", "empty"),
        ("--client", "robot", "ID:SECRET"),
        ("--token-lifetime", "1500ms", "whole seconds"),
        ("--max-waiting", "1", "--concurrency"),
        ("--reflection", "v2", "v1alpha"),
    ] {
        let error = parse(&[option, value]).unwrap_err().to_string();
        assert!(error.contains(reason), "{option} {value}: {error}");
    }
}

#[test]
fn no_option_at_all_is_the_default_and_a_token_is_never_shown() {
    assert_eq!(
        format!("{:?}", parse(&[]).unwrap()),
        format!("{:?}", Options::default())
    );
    assert!(
        !format!(
            "{:?}",
            parse(&["--token", "canary", "--client", "robot:canary"]).unwrap()
        )
        .contains("canary")
    );
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = start(&[]).await;
    let error = DemoService::start(Options {
        listen: first.address(),
        ..Options::default()
    })
    .await
    .err()
    .unwrap();
    assert!(
        error.to_string().contains(&first.address().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_bad_body_is_answered_400_with_the_reason() {
    let service = start(&[]).await;
    for (body, reason) in [
        ("", "EOF"),
        ("{}", "missing field `text`"),
        (r#"{"text": 5}"#, "expected a"),
        ("text", "expected"),
    ] {
        let answer = send(&service, "POST /predict", "", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(
            answer.body["error"].as_str().unwrap().contains(reason),
            "{body}: {}",
            answer.body
        );
    }
    assert_eq!(
        send(&service, "POST /predict", "", &"x".repeat((1 << 20) + 1))
            .await
            .status,
        413
    );
}

#[tokio::test]
async fn unknown_paths_predictions_and_methods_are_answered_404_and_405() {
    let service = start(&[]).await;
    for line in ["GET /nowhere", "GET /predictions/7"] {
        let answer = send(&service, line, "", "").await;
        assert_eq!(
            (answer.status, answer.body["error"].is_string()),
            (404, true),
            "{line}"
        );
    }
    let answer = send(&service, "GET /predict", "", "").await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: post"), "{}", answer.head);
}

#[tokio::test]
async fn a_redirect_leads_where_the_query_says_and_nowhere_without_it() {
    let service = start(&[]).await;
    assert_eq!(
        send(&service, "POST /redirect?from=here", "", "")
            .await
            .status,
        400
    );
    assert_eq!(
        send(
            &service,
            "POST /redirect?to=http://a%0d%0aset-cookie:%20b",
            "",
            ""
        )
        .await
        .status,
        400
    );
    let answer = send(
        &service,
        "POST /redirect?to=http://other:8000/v2?a=b",
        "",
        "",
    )
    .await;
    assert_eq!(answer.status, 307);
    assert!(
        answer
            .head
            .contains("location: http://other:8000/v2?a=b\r\n"),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn a_prediction_can_be_asked_for_again() {
    let service = start(&[]).await;
    let made = predict(&service).await;
    assert_eq!(
        (made.status, &made.body["category"], &made.body["text"]),
        (200, &json!("sports"), &json!("the team won"))
    );
    let again = send(
        &service,
        &format!(
            "GET /predictions/{}",
            made.body["prediction_id"].as_str().unwrap()
        ),
        "",
        "",
    )
    .await;
    assert_eq!((again.status, again.body), (200, made.body));
}

#[tokio::test]
async fn a_client_that_goes_away_is_counted_once() {
    let service = start(&["--latency", "constant:1h"]).await;
    drop(
        connect(
            &service,
            "POST /predict HTTP/1.1\r\nhost: sample\r\ncontent-length: 9\r\n\r\n",
        )
        .await,
    );
    drop(
        connect(
            &service,
            "GET /predictions/7 HTTP/1.1\r\nhost: sample\r\n\r\n",
        )
        .await,
    );
    drop(connect(&service, "POST /predict HTTP/1.1\r\nhost: sam").await);
    timeout(Duration::from_secs(10), async {
        while service.count() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let seen = send(&service, "GET /_count", "", "").await.body;
    assert_eq!(
        seen,
        json!({"total": 2, "byPath": {"POST /predict": 1, "GET /predictions/{id}": 1}, "byStatus": {}})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_on_many_connections_are_counted_exactly_and_reset_to_zero() {
    let service = Arc::new(start(&[]).await);
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let service = Arc::clone(&service);
        clients.spawn(async move {
            for _ in 0..10 {
                assert_eq!(predict(&service).await.status, 200);
            }
        });
    }
    clients.join_all().await;
    assert_eq!(send(&service, "GET /healthz", "", "").await.status, 200);
    let seen = send(&service, "GET /_count", "", "").await.body;
    assert_eq!(
        seen,
        json!({"total": 200, "byPath": {"POST /predict": 200}, "byStatus": {"200": 200}})
    );
    assert_eq!(send(&service, "POST /_reset", "", "").await.status, 200);
    assert_eq!(
        (
            service.count(),
            send(&service, "GET /_count", "", "").await.body["total"].as_u64()
        ),
        (0, Some(0))
    );
}

#[tokio::test]
async fn an_error_on_purpose_is_500_and_over_grpc_internal() {
    let service = start(&["--error-rate", "1"]).await;
    let answer = predict(&service).await;
    assert_eq!(
        (answer.status, answer.body["error"].is_string()),
        (500, true)
    );
    let answer = send(&service, "POST /serving-endpoints/a/invocations", "", "").await;
    assert_eq!(
        (answer.status, answer.body["error_code"].as_str()),
        (500, Some("INTERNAL_ERROR"))
    );
    let mut client = TextCategorizationClient::connect(format!("http://{}", service.address()))
        .await
        .unwrap();
    let error = client
        .get_prediction(PredictionRequest { text: "x".into() })
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(send(&service, "GET /healthz", "", "").await.status, 200);
}

#[tokio::test]
async fn a_request_without_end_is_cut_when_the_drain_is_over() {
    let service = Arc::new(Service::new(&parse(&["--latency", "constant:1h"]).unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(accept(
        listener,
        Arc::clone(&service),
        stop.clone(),
        Duration::from_millis(10),
    ));
    client
        .write_all(b"GET /predictions/7 HTTP/1.1\r\nhost: sample\r\n\r\n")
        .await
        .unwrap();
    while service.shared.counts.total() == 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    serving.await.unwrap();
    assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn shutting_down_finishes_what_runs_and_takes_no_more() {
    let service = start(&["--latency", "constant:100ms"]).await;
    let address = service.address();
    let idle = connect(&service, "").await;
    let running = connect(
        &service,
        "GET /predictions/7 HTTP/1.1\r\nhost: sample\r\n\r\n",
    )
    .await;
    while service.count() == 0 {
        tokio::task::yield_now().await;
    }
    service.shut_down().await;
    assert_eq!(read_answer(running).await.status, 404);
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}

type Grpc<C> = Result<C, tonic::transport::Error>;

async fn categorizer(service: &DemoService) -> TextCategorizationClient<tonic::transport::Channel> {
    let connected: Grpc<_> =
        TextCategorizationClient::connect(format!("http://{}", service.address())).await;
    connected.unwrap()
}
