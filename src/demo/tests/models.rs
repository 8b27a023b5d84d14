//! Models behind each protocol that model servers speak, and the tokens that open them.

use tonic::Code;

use super::super::inference_wire::grpc_inference_service_client::GrpcInferenceServiceClient;
use super::super::inference_wire::model_infer_request::InferInputTensor;
use super::super::inference_wire::{
    InferTensorContents, ModelInferRequest, ModelReadyRequest, ServerReadyRequest,
};
use super::*;

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

async fn inference(service: &DemoService) -> GrpcInferenceServiceClient<tonic::transport::Channel> {
    let connected: Grpc<_> =
        GrpcInferenceServiceClient::connect(format!("http://{}", service.address())).await;
    connected.unwrap()
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
