//! The service as its clients see it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use clap::Parser;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::inference_wire::grpc_inference_service_client::GrpcInferenceServiceClient;
use super::inference_wire::model_infer_request::InferInputTensor;
use super::inference_wire::{
    InferTensorContents, ModelInferRequest, ModelReadyRequest, ServerReadyRequest,
};
use super::wire::text_categorization_client::TextCategorizationClient;
use super::wire::{PredictionRequest, WatchRequest};
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
async fn model_serving_asks_for_the_token_then_for_a_sound_body() {
    let service = start(&["--token", "secret"]).await;
    let line = "POST /serving-endpoints/wine-quality/invocations";
    let rows = r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 3], [5, 7]]}}"#;
    let short = r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}"#;
    for (headers, body, status, code) in [
        ("", rows, 401, json!(401)),
        ("authorization: Basic c2VjcmV0\r\n", rows, 401, json!(401)),
        ("authorization: Bearer wrong\r\n", rows, 403, json!(403)),
        (
            "authorization: Bearer secret\r\n",
            short,
            400,
            json!("BAD_REQUEST"),
        ),
    ] {
        let answer = send(&service, line, headers, body).await;
        assert_eq!(
            (answer.status, &answer.body["error_code"]),
            (status, &code),
            "{headers}"
        );
        assert_eq!(
            answer.head.contains("www-authenticate: bearer"),
            status == 401
        );
    }
    let answer = send(&service, line, "authorization: Bearer secret\r\n", rows).await;
    assert_eq!(
        (answer.status, answer.body),
        (200, json!({"predictions": [2.0, 6.0]}))
    );
    let answer = send(
        &start(&[]).await,
        line,
        "authorization: bearer any\r\n",
        rows,
    )
    .await;
    assert_eq!(answer.status, 200);
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
async fn grpc_answers_on_the_same_port_as_rest() {
    let service = start(&[]).await;
    let mut client = TextCategorizationClient::connect(format!("http://{}", service.address()))
        .await
        .unwrap();
    let reply = client
        .get_prediction(PredictionRequest {
            text: "shares and profit".into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (reply.text.as_str(), reply.category.as_str()),
        ("shares and profit", "business")
    );
    let over_rest = send(
        &service,
        &format!("GET /predictions/{}", reply.prediction_id),
        "",
        "",
    )
    .await;
    assert_eq!(
        (over_rest.status, &over_rest.body["category"]),
        (200, &json!("business"))
    );
    let seen = send(&service, "GET /_count", "", "").await.body;
    assert_eq!(
        seen["byPath"]["POST /categorization.TextCategorization/GetPrediction"],
        1
    );
    timeout(DRAIN - Duration::from_secs(1), service.shut_down())
        .await
        .expect("an idle client does not hold the service up");
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

async fn inference(service: &DemoService) -> GrpcInferenceServiceClient<tonic::transport::Channel> {
    let connected: Grpc<_> =
        GrpcInferenceServiceClient::connect(format!("http://{}", service.address())).await;
    connected.unwrap()
}

fn texts(count: usize) -> Vec<PredictionRequest> {
    (0..count)
        .map(|_| PredictionRequest {
            text: "the team won".into(),
        })
        .collect()
}

#[tokio::test]
async fn a_grpc_stream_that_is_cut_or_refused_says_so() {
    let service = start(&["--cut-rate", "1"]).await;
    let mut client = categorizer(&service).await;
    let replies: Vec<_> = client
        .watch_prediction(WatchRequest {
            text: "x".into(),
            count: 4,
        })
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    let codes: Vec<_> = replies
        .iter()
        .map(|reply| {
            reply
                .as_ref()
                .map_or_else(tonic::Status::code, |_| Code::Ok)
        })
        .collect();
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::Aborted]);
    let too_many = client
        .watch_prediction(WatchRequest {
            text: "x".into(),
            count: u32::MAX,
        })
        .await
        .unwrap_err();
    assert_eq!(too_many.code(), Code::InvalidArgument);
    let seen = send(&service, "GET /_count", "", "").await.body;
    assert_eq!(
        (&seen["byGrpcStatus"], &seen["messages"]),
        (
            &json!({"3": 1, "10": 1}),
            &json!({"received": 2, "sent": 2})
        )
    );
}

#[tokio::test]
async fn every_kind_of_call_is_one_request_and_its_messages_are_counted() {
    let service = start(&[]).await;
    let mut client = categorizer(&service).await;
    let watched: Vec<_> = client
        .watch_prediction(WatchRequest {
            text: "x".into(),
            count: 0,
        })
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    assert_eq!(watched.len(), 3);
    let summary = client
        .summarize_predictions(stream::iter(texts(5)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((summary.texts, summary.categories["sports"]), (5, 5));
    let each: Vec<_> = client
        .get_predictions(stream::iter(texts(4)))
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    assert!(
        each.len() == 4
            && each
                .iter()
                .all(|reply| reply.as_ref().unwrap().category == "sports")
    );
    client
        .get_prediction(PredictionRequest { text: "x".into() })
        .await
        .unwrap();
    let seen = send(&service, "GET /_count", "", "").await.body;
    assert_eq!(
        (&seen["total"], &seen["byGrpcStatus"]),
        (&json!(4), &json!({"0": 4}))
    );
    assert_eq!(
        seen["messages"],
        json!({"received": 1 + 5 + 4 + 1, "sent": 3 + 1 + 4 + 1})
    );
}

#[tokio::test]
async fn compressed_messages_are_read_and_answered_compressed_to_who_takes_that() {
    use tonic::codec::CompressionEncoding::Gzip;
    let service = start(&[]).await;
    let mut client = categorizer(&service)
        .await
        .send_compressed(Gzip)
        .accept_compressed(Gzip);
    let reply = client.get_prediction(texts(1).remove(0)).await.unwrap();
    assert_eq!(reply.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(reply.into_inner().category, "sports");
}

#[tokio::test]
async fn a_method_that_is_not_there_is_unimplemented_and_counted() {
    let service = start(&[]).await;
    let mut client = tonic::client::Grpc::new(
        tonic::transport::Endpoint::from_shared(format!("http://{}", service.address()))
            .unwrap()
            .connect()
            .await
            .unwrap(),
    );
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/categorization.TextCategorization/Nothing");
    let codec =
        tonic_prost::ProstCodec::<PredictionRequest, super::wire::PredictionReply>::default();
    let status = client
        .unary(
            tonic::Request::new(PredictionRequest::default()),
            path,
            codec,
        )
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let seen = send(&service, "GET /_count", "", "").await.body;
    assert_eq!(
        (&seen["byPath"], &seen["byGrpcStatus"]),
        (&json!({"unknown path": 1}), &json!({"12": 1}))
    );
}

/// Services that reflection of this version names; `None` if there is none.
async fn reflected(service: &DemoService, version: &str) -> Option<BTreeSet<String>> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", service.address()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    macro_rules! ask {
        ($module:ident) => {{
            use tonic_reflection::pb::$module::ServerReflectionRequest;
            use tonic_reflection::pb::$module::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$module::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$module::server_reflection_response::MessageResponse;
            let list = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let answers = ServerReflectionClient::new(channel)
                .server_reflection_info(stream::iter([list]))
                .await;
            let answer = answers
                .ok()?
                .into_inner()
                .next()
                .await?
                .unwrap()
                .message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = answer else {
                panic!("{answer:?}")
            };
            Some(
                list.service
                    .into_iter()
                    .map(|service| service.name)
                    .collect(),
            )
        }};
    }
    if version == "v1" {
        ask!(v1)
    } else {
        ask!(v1alpha)
    }
}

#[tokio::test]
async fn reflection_names_every_service_in_the_versions_that_were_asked_for_and_is_no_load() {
    for (option, v1, v1alpha) in [
        ("both", true, true),
        ("v1", true, false),
        ("v1alpha", false, true),
        ("off", false, false),
    ] {
        let service = start(&["--reflection", option]).await;
        let found = [
            reflected(&service, "v1").await,
            reflected(&service, "v1alpha").await,
        ];
        assert_eq!(
            found.each_ref().map(Option::is_some),
            [v1, v1alpha],
            "{option}"
        );
        for services in found.into_iter().flatten() {
            for name in [
                "categorization.TextCategorization",
                "inference.GRPCInferenceService",
                "grpc.health.v1.Health",
            ] {
                assert!(services.contains(name), "{option}: {services:?}");
            }
        }
        assert_eq!(service.count(), 0);
        assert!(send(&service, "GET /_count", "", "").await.body["aside"].is_object());
    }
}

#[tokio::test]
async fn before_it_is_ready_every_protocol_says_so() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    for (ready_after, is_ready) in [("1h", false), ("0s", true)] {
        let service = start(&["--ready-after", ready_after]).await;
        let channel =
            tonic::transport::Endpoint::from_shared(format!("http://{}", service.address()))
                .unwrap()
                .connect()
                .await
                .unwrap();
        let asked = HealthCheckRequest {
            service: "categorization.TextCategorization".into(),
        };
        let status = HealthClient::new(channel)
            .check(asked)
            .await
            .unwrap()
            .into_inner()
            .status();
        assert_eq!(status == ServingStatus::Serving, is_ready);
        let mut client = inference(&service).await;
        assert_eq!(
            client
                .server_ready(ServerReadyRequest {})
                .await
                .unwrap()
                .into_inner()
                .ready,
            is_ready
        );
        let model = ModelReadyRequest {
            name: "m".into(),
            version: String::new(),
        };
        assert_eq!(
            client.model_ready(model).await.unwrap().into_inner().ready,
            is_ready
        );
        assert_eq!(
            client
                .model_infer(ModelInferRequest::default())
                .await
                .unwrap_err()
                .code()
                == Code::Unavailable,
            !is_ready
        );
        let status = if is_ready { 200 } else { 503 };
        for line in [
            "GET /v2/health/ready",
            "GET /v2/models/m/ready",
            "GET /v2/models/m",
        ] {
            assert_eq!(send(&service, line, "", "").await.status, status, "{line}");
        }
        assert_eq!(
            send(&service, "GET /v2/health/live", "", "").await.status,
            200
        );
        let chat = send(
            &service,
            "POST /v1/chat/completions",
            "",
            r#"{"messages": []}"#,
        )
        .await;
        assert_eq!(chat.status, status);
        let invoked = send(
            &service,
            "POST /serving-endpoints/m/invocations",
            "authorization: bearer x\r\n",
            r#"{"inputs": [1]}"#,
        )
        .await;
        assert_eq!(invoked.status, if is_ready { 200 } else { 404 });
    }
}

#[tokio::test]
async fn a_workspace_refuses_in_its_own_words() {
    let invoke = async |service: &DemoService, name: &str, body: &str| {
        let answer = send(
            service,
            &format!("POST /serving-endpoints/{name}/invocations"),
            "authorization: bearer x\r\n",
            body,
        )
        .await;
        (
            answer.status,
            answer.body["error_code"].clone(),
            answer.body["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let service = start(&["--models", "wine,beer"]).await;
    let (status, code, message) = invoke(&service, "milk", "{}").await;
    assert_eq!((status, code), (404, json!("RESOURCE_DOES_NOT_EXIST")));
    assert!(message.contains("'milk' does not exist"), "{message}");
    assert_eq!(invoke(&service, "beer", r#"{"inputs": [1]}"#).await.0, 200);
    let (status, code, message) = invoke(&start(&["--ip-access-list"]).await, "wine", "{}").await;
    assert_eq!((status, code), (403, json!(403)));
    assert!(
        message.contains("is blocked by Databricks IP ACL"),
        "{message}"
    );
    let full = start(&[
        "--concurrency",
        "1",
        "--max-waiting",
        "0",
        "--latency",
        "constant:1h",
    ])
    .await;
    let _first = connect(&full, "GET /predictions/7 HTTP/1.1\r\nhost: sample\r\n\r\n").await;
    while full.count() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        invoke(&full, "wine", "{}").await.1,
        json!("REQUEST_LIMIT_EXCEEDED")
    );
    let answer = send(&full, "POST /predict", "", "{}").await;
    assert!(
        answer.status == 429 && answer.head.contains("retry-after: 1"),
        "{}",
        answer.head
    );
    let refused = categorizer(&full)
        .await
        .get_prediction(PredictionRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_chat_is_served_where_databricks_serves_it_and_where_openai_does() {
    let service = start(&["--token", "secret"]).await;
    let body = r#"{"messages": [{"role": "user", "content": "the market fell"}], "max_tokens": 1}"#;
    for line in [
        "POST /v1/chat/completions",
        "POST /serving-endpoints/llm/invocations",
    ] {
        assert_eq!(send(&service, line, "", body).await.status, 401, "{line}");
        let answer = send(&service, line, "authorization: bearer secret\r\n", body).await;
        assert_eq!(
            (
                answer.status,
                &answer.body["choices"][0]["message"]["content"]
            ),
            (200, &json!("business")),
            "{line}"
        );
    }
    let refused = send(
        &service,
        "POST /v1/chat/completions",
        "authorization: bearer secret\r\n",
        "{}",
    )
    .await;
    assert!(
        refused.status == 400
            && refused.body["error"]["message"]
                .as_str()
                .unwrap()
                .contains("messages"),
        "{}",
        refused.body
    );
}

#[tokio::test]
async fn a_token_of_the_token_endpoint_opens_a_model_until_it_expires() {
    let service = start(&[
        "--token",
        "secret",
        "--client",
        "robot:pass",
        "--token-lifetime",
        "1s",
    ])
    .await;
    let ask = async |secret: &str| {
        let form = format!("grant_type=client_credentials&client_id=robot&client_secret={secret}");
        send(
            &service,
            "POST /oauth/token",
            "content-type: application/x-www-form-urlencoded\r\n",
            &form,
        )
        .await
    };
    let denied = ask("wrong").await;
    assert_eq!(
        (denied.status, &denied.body["error"]),
        (401, &json!("invalid_client"))
    );
    let given = ask("pass").await.body;
    let header = format!(
        "authorization: Bearer {}\r\n",
        given["access_token"].as_str().unwrap()
    );
    let invoke = async || {
        send(
            &service,
            "POST /serving-endpoints/m/invocations",
            &header,
            r#"{"inputs": [1]}"#,
        )
        .await
    };
    assert_eq!(
        (given["expires_in"].as_u64(), invoke().await.status),
        (Some(1), 200)
    );
    sleep(Duration::from_millis(1010)).await;
    let expired = invoke().await;
    assert!(
        expired.status == 401 && expired.head.contains("the access token expired"),
        "{}",
        expired.head
    );
    assert_eq!(service.count(), 2);
}

#[tokio::test]
async fn the_v2_protocol_answers_alike_over_rest_and_grpc() {
    let service = start(&["--models", "texts"]).await;
    let body = r#"{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["the team won"]}]}"#;
    let answer = send(&service, "POST /v2/models/texts/infer", "", body).await;
    assert_eq!(
        (answer.status, &answer.body["outputs"][0]["data"]),
        (200, &json!(["sports"]))
    );
    assert_eq!(
        send(&service, "POST /v2/models/texts/versions/1/infer", "", body)
            .await
            .status,
        200
    );
    let missing = send(&service, "POST /v2/models/other/infer", "", body).await;
    assert!(
        missing.status == 404 && missing.body["error"].is_string(),
        "{}",
        missing.body
    );
    assert_eq!(
        send(&service, "GET /v2/models/texts", "", "").await.body["inputs"][0]["datatype"],
        "BYTES"
    );
    let mut client = inference(&service).await;
    let ask = |model: &str| {
        let contents = Some(InferTensorContents {
            bytes_contents: vec![b"the team won".to_vec()],
            ..Default::default()
        });
        let input = InferInputTensor {
            name: "text".into(),
            datatype: "BYTES".into(),
            shape: vec![1],
            contents,
            ..Default::default()
        };
        ModelInferRequest {
            model_name: model.into(),
            inputs: vec![input],
            ..Default::default()
        }
    };
    let answer = client.model_infer(ask("texts")).await.unwrap().into_inner();
    assert_eq!(
        answer.outputs[0].contents.as_ref().unwrap().bytes_contents,
        [b"sports".to_vec()]
    );
    assert_eq!(
        client.model_infer(ask("other")).await.unwrap_err().code(),
        Code::NotFound
    );
    let seen = send(&service, "GET /_count", "", "").await.body;
    assert_eq!(
        (&seen["total"], &seen["byGrpcStatus"]),
        (&json!(6), &json!({"0": 1, "5": 1}))
    );
}
