//! The categoriser and reflection over gRPC.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use tonic::Code;

use super::super::wire::{PredictionReply, WatchRequest};
use super::*;

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
    let codec = tonic_prost::ProstCodec::<PredictionRequest, PredictionReply>::default();
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
