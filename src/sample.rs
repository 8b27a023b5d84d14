//! The sample service: what the users of Starling test.
//!
//! A text categoriser over REST and gRPC and a model-serving endpoint, on one port, with faults on request and an exact count of
//! what arrived, so that a test can compare requests sent with requests received.

mod categories;
mod counts;
mod faults;
mod predictions;
mod scoring;
mod service;

/// Generated from `categorization.proto`: messages, server and client.
pub mod wire {
    tonic::include_proto!("categorization");
}

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use faults::{FaultError, Latency, Stall};
use service::Service;

/// Requests under way get this long when the service shuts down.
const DRAIN: Duration = Duration::from_secs(5);

/// When a connection cannot be accepted (no file left, say), trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the service listens, and what it does badly on purpose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where to listen, for HTTP/1.1 and HTTP/2 alike; in a cluster 0.0.0.0:8000
    #[arg(long, value_name = "ADDRESS", default_value_t = Options::default().listen)]
    pub listen: SocketAddr,

    /// How long answers take: constant:5ms, uniform:5ms,20ms, normal:20ms,5ms (mean, deviation) or exponential:10ms (mean)
    #[arg(long, value_name = "DISTRIBUTION")]
    pub latency: Option<Latency>,

    /// This fraction of requests is answered 500 (gRPC: INTERNAL), spread evenly
    #[arg(long, value_name = "FRACTION", default_value_t = Options::default().error_rate, value_parser = faults::parse_fraction)]
    pub error_rate: f64,

    /// Freeze every so often for so long: 10s,1s holds each request that arrives in the frozen second until it ends
    #[arg(long, value_name = "EVERY,FOR")]
    pub stall: Option<Stall>,

    /// The bearer token that model serving accepts; without it, any
    #[arg(long, env = "STARLING_SAMPLE_TOKEN", hide_env_values = true)]
    pub token: Option<Token>,

    /// The same seed gives the n-th request the same latency and the same error
    #[arg(long, default_value_t = Options::default().seed)]
    pub seed: u64,
}

/// A bearer token, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("the sample service cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("the bearer token of the sample service is empty")]
    EmptyToken,
}

/// A running sample service. Dropping it stops it as `shut_down` does, without waiting.
pub struct SampleService {
    address: SocketAddr,
    service: Arc<Service>,
    stop: DropGuard,
    serving: JoinHandle<()>,
}

impl Default for Options {
    fn default() -> Options {
        Options { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)), latency: None, error_rate: 0.0, stall: None, token: None, seed: 0 }
    }
}

impl FromStr for Token {
    type Err = SampleError;

    fn from_str(text: &str) -> Result<Token, SampleError> {
        match text.trim() {
            "" => Err(SampleError::EmptyToken),
            token => Ok(Token(token.to_owned())),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl SampleService {
    /// Listens (on a free port if the port is 0) and serves on the current tokio runtime.
    pub async fn start(options: Options) -> Result<SampleService, SampleError> {
        let cannot_listen = |source| SampleError::Bind { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let service = Arc::new(Service::new(&options));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(accept(listener, Arc::clone(&service), stop.clone(), DRAIN));
        Ok(SampleService { address, service, stop: stop.drop_guard(), serving })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose head has arrived since the start or the last `POST /_reset`; the `total` of `GET /_count`.
    pub fn count(&self) -> u64 {
        self.service.counts.total()
    }

    /// Stops accepting, lets running requests finish, and cuts what is left after five seconds.
    pub async fn shut_down(self) {
        drop(self.stop);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the sample service broke down");
        }
    }
}

/// Ends at most `drain` after the stop.
async fn accept(listener: TcpListener, service: Arc<Service>, stop: CancellationToken, drain: Duration) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&service), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the sample service cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => report_panic(ended),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    let drained = timeout(drain, async {
        while let Some(ended) = connections.join_next().await {
            report_panic(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(left = connections.len(), "the sample service cuts connections that are still busy");
    }
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection of the sample service broke down");
    }
}

/// Speaks HTTP/1.1 or HTTP/2, whichever the client's first bytes are. An idle client may stay: it decides when to leave.
async fn serve_connection(stream: TcpStream, service: Arc<Service>, stop: CancellationToken) {
    // Without it, an answer may wait for the acknowledgement of the one before; the connection works all the same.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| Arc::clone(&service).answer(request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    // An error is a client that broke off or did not speak HTTP; its requests, if any, are counted.
    let _ = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tonic::Code;

    use super::wire::PredictionRequest;
    use super::wire::text_categorization_client::TextCategorizationClient;
    use super::*;

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
        Command::try_parse_from(["sample-service"].iter().chain(arguments)).map(|command| command.options)
    }

    async fn start(arguments: &[&str]) -> SampleService {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        SampleService::start(Options { listen, ..parse(arguments).unwrap() }).await.unwrap()
    }

    async fn connect(service: &SampleService, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn read_answer(mut stream: TcpStream) -> Answer {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { status: head[9..12].parse().unwrap(), head: head.to_ascii_lowercase(), body: serde_json::from_str(body).unwrap() }
    }

    async fn send(service: &SampleService, line: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let text = format!("{line} HTTP/1.1\r\nhost: sample\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        read_answer(connect(service, &text).await).await
    }

    async fn predict(service: &SampleService) -> Answer {
        send(service, "POST /predict", "", r#"{"text": "the team won"}"#).await
    }

    #[test]
    fn a_bad_option_is_refused_in_words_that_name_the_form() {
        for (option, value, reason) in [
            ("--latency", "5ms", "exponential:MEAN"),
            ("--error-rate", "2", "between 0 and 1"),
            ("--stall", "1s,2s", "shorter than EVERY"),
            ("--token", "", "empty"),
        ] {
            let error = parse(&[option, value]).unwrap_err().to_string();
            assert!(error.contains(reason), "{option} {value}: {error}");
        }
    }

    #[test]
    fn no_option_at_all_is_the_default_and_a_token_is_never_shown() {
        assert_eq!(format!("{:?}", parse(&[]).unwrap()), format!("{:?}", Options::default()));
        assert!(!format!("{:?}", parse(&["--token", "canary"]).unwrap()).contains("canary"));
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = start(&[]).await;
        let error = SampleService::start(Options { listen: first.address(), ..Options::default() }).await.err().unwrap();
        assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_bad_body_is_answered_400_with_the_reason() {
        let service = start(&[]).await;
        for (body, reason) in [("", "EOF"), ("{}", "missing field `text`"), (r#"{"text": 5}"#, "expected a"), ("text", "expected")] {
            let answer = send(&service, "POST /predict", "", body).await;
            assert_eq!(answer.status, 400, "{body}");
            assert!(answer.body["error"].as_str().unwrap().contains(reason), "{body}: {}", answer.body);
        }
        assert_eq!(send(&service, "POST /predict", "", &"x".repeat((1 << 20) + 1)).await.status, 413);
    }

    #[tokio::test]
    async fn unknown_paths_predictions_and_methods_are_answered_404_and_405() {
        let service = start(&[]).await;
        for line in ["GET /nowhere", "GET /predictions/7"] {
            let answer = send(&service, line, "", "").await;
            assert_eq!((answer.status, answer.body["error"].is_string()), (404, true), "{line}");
        }
        let answer = send(&service, "GET /predict", "", "").await;
        assert_eq!(answer.status, 405);
        assert!(answer.head.contains("allow: post"), "{}", answer.head);
    }

    #[tokio::test]
    async fn model_serving_asks_for_the_token_then_for_a_sound_body() {
        let service = start(&["--token", "secret"]).await;
        let line = "POST /serving-endpoints/wine-quality/invocations";
        let rows = r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 3], [5, 7]]}}"#;
        let short = r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}"#;
        for (headers, body, status, code) in [
            ("", rows, 401, "UNAUTHENTICATED"),
            ("authorization: Basic c2VjcmV0\r\n", rows, 401, "UNAUTHENTICATED"),
            ("authorization: Bearer wrong\r\n", rows, 403, "PERMISSION_DENIED"),
            ("authorization: Bearer secret\r\n", short, 400, "BAD_REQUEST"),
        ] {
            let answer = send(&service, line, headers, body).await;
            assert_eq!((answer.status, answer.body["error_code"].as_str()), (status, Some(code)), "{headers}");
            assert_eq!(answer.head.contains("www-authenticate: bearer"), status == 401);
        }
        let answer = send(&service, line, "authorization: Bearer secret\r\n", rows).await;
        assert_eq!((answer.status, answer.body), (200, json!({"predictions": [2.0, 6.0]})));
        let answer = send(&start(&[]).await, line, "authorization: bearer any\r\n", rows).await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn a_prediction_can_be_asked_for_again() {
        let service = start(&[]).await;
        let made = predict(&service).await;
        assert_eq!((made.status, &made.body["category"], &made.body["text"]), (200, &json!("sports"), &json!("the team won")));
        let again = send(&service, &format!("GET /predictions/{}", made.body["prediction_id"].as_str().unwrap()), "", "").await;
        assert_eq!((again.status, again.body), (200, made.body));
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_counted_once() {
        let service = start(&["--latency", "constant:1h"]).await;
        drop(connect(&service, "POST /predict HTTP/1.1\r\nhost: sample\r\ncontent-length: 9\r\n\r\n").await);
        drop(connect(&service, "GET /predictions/7 HTTP/1.1\r\nhost: sample\r\n\r\n").await);
        drop(connect(&service, "POST /predict HTTP/1.1\r\nhost: sam").await);
        timeout(Duration::from_secs(10), async {
            while service.count() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        let seen = send(&service, "GET /_count", "", "").await.body;
        assert_eq!(seen, json!({"total": 2, "byPath": {"POST /predict": 1, "GET /predictions/{id}": 1}, "byStatus": {}}));
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
        assert_eq!(seen, json!({"total": 200, "byPath": {"POST /predict": 200}, "byStatus": {"200": 200}}));
        assert_eq!(send(&service, "POST /_reset", "", "").await.status, 200);
        assert_eq!((service.count(), send(&service, "GET /_count", "", "").await.body["total"].as_u64()), (0, Some(0)));
    }

    #[tokio::test]
    async fn grpc_answers_on_the_same_port_as_rest() {
        let service = start(&[]).await;
        let mut client = TextCategorizationClient::connect(format!("http://{}", service.address())).await.unwrap();
        let reply = client.get_prediction(PredictionRequest { text: "shares and profit".into() }).await.unwrap().into_inner();
        assert_eq!((reply.text.as_str(), reply.category.as_str()), ("shares and profit", "business"));
        let over_rest = send(&service, &format!("GET /predictions/{}", reply.prediction_id), "", "").await;
        assert_eq!((over_rest.status, &over_rest.body["category"]), (200, &json!("business")));
        let seen = send(&service, "GET /_count", "", "").await.body;
        assert_eq!(seen["byPath"]["POST /categorization.TextCategorization/GetPrediction"], 1);
        timeout(DRAIN - Duration::from_secs(1), service.shut_down()).await.expect("an idle client does not hold the service up");
    }

    #[tokio::test]
    async fn an_error_on_purpose_is_500_and_over_grpc_internal() {
        let service = start(&["--error-rate", "1"]).await;
        let answer = predict(&service).await;
        assert_eq!((answer.status, answer.body["error"].is_string()), (500, true));
        let answer = send(&service, "POST /serving-endpoints/a/invocations", "", "").await;
        assert_eq!((answer.status, answer.body["error_code"].as_str()), (500, Some("INTERNAL_ERROR")));
        let mut client = TextCategorizationClient::connect(format!("http://{}", service.address())).await.unwrap();
        let error = client.get_prediction(PredictionRequest { text: "x".into() }).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert_eq!(send(&service, "GET /healthz", "", "").await.status, 200);
    }

    #[tokio::test]
    async fn a_request_without_end_is_cut_when_the_drain_is_over() {
        let service = Arc::new(Service::new(&parse(&["--latency", "constant:1h"]).unwrap()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(accept(listener, Arc::clone(&service), stop.clone(), Duration::from_millis(10)));
        client.write_all(b"GET /predictions/7 HTTP/1.1\r\nhost: sample\r\n\r\n").await.unwrap();
        while service.counts.total() == 0 {
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
        let running = connect(&service, "GET /predictions/7 HTTP/1.1\r\nhost: sample\r\n\r\n").await;
        while service.count() == 0 {
            tokio::task::yield_now().await;
        }
        service.shut_down().await;
        assert_eq!(read_answer(running).await.status, 404);
        assert!(TcpStream::connect(address).await.is_err());
        drop(idle);
    }
}
