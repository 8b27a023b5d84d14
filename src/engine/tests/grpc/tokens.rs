//! Tokens that are renewed while calls go on, or cannot be had.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use crate::crd::{LoadTestSpec, check};
use crate::engine::tests::auth::{Giver, carried_out, oauth2, ready};
use crate::engine::tests::grpc::*;
use crate::engine::tests::http2::{self, server};
use crate::plan::grpc::{Code, GrpcRetry};
use crate::stats::ErrorClass;

/// The credentials of each call that came, in their order.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<String>>>);

impl Shown {
    /// Answers calls, and notes what they show.
    async fn start(&self) -> (String, Arc<http2::Seen>) {
        let shown = self.clone();
        server(move |asked| {
            let token = asked
                .request
                .headers()
                .get("authorization")
                .map_or("", |value| value.to_str().unwrap());
            shown.0.lock().unwrap().push(token.to_owned());
            async move {
                broken::answer(
                    asked,
                    200,
                    &[broken::GRPC],
                    Some(broken::HI),
                    Some(broken::OK),
                )
            }
        })
        .await
    }

    /// Each once.
    fn tokens(&self) -> Vec<String> {
        let mut all = self.0.lock().unwrap().clone();
        all.dedup();
        all
    }
}

fn plan_with(url: &str, auth: Value, text: &str, millis: u64) -> Plan {
    let spec = json!({
        "target": {"url": url, "auth": auth},
        "protos": {"configMaps": [{"name": "protos", "items": [{"key": "chat.proto", "path": "chat.proto"}]}]},
        "scenarios": [{"name": "s", "thinkTime": {"constant": "20ms"}, "tasks": [{"name": "t", "steps": [
            {"grpc": {"method": "test.Chat/Say", "message": {"text": text}}}
        ]}]}],
        "load": {"closed": {"users": 2, "duration": format!("{millis}ms")}},
    });
    let spec: LoadTestSpec = serde_json::from_value(spec).unwrap();
    check(&spec).unwrap().plan
}

#[tokio::test]
async fn without_a_valid_token_calls_fail_unsent_until_there_is_one_again() {
    let (shown, giver) = (Shown::default(), Giver::default());
    let (url, seen) = shown.start().await;
    let plan = plan_with(&url, oauth2(&giver.start(1).await), "hi", 3_700);
    let prepared = ready(plan, None).await.unwrap();
    giver.refuses.store(true, Ordering::Relaxed);
    let load = tokio::spawn(carried_out(prepared, 1));
    // the first renewal, and the one when the token had ended
    while giver.asked().len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    giver.refuses.store(false, Ordering::Relaxed);
    let snapshot = load.await.unwrap();
    let tokens = shown.tokens();
    assert_eq!(
        tokens[..2],
        ["Bearer token-1", "Bearer token-4"],
        "the users went on: {tokens:?}"
    );
    assert!(
        snapshot.failures() > 2 && snapshot.failures() == snapshot.counters.unsent,
        "{:?}",
        snapshot.counters
    );
    assert!(
        snapshot
            .errors
            .iter()
            .all(|(key, _)| key.class == ErrorClass::Auth),
        "{:?}",
        snapshot.errors
    );
    let told = samples(&snapshot).join(" ");
    assert!(
        told.contains("invalid_client") && !told.contains("hush"),
        "{told}"
    );
    assert_eq!(
        (snapshot.received_by_target(), snapshot.counters.connects),
        (seen.requests(), 1)
    );
}

#[tokio::test]
async fn calls_carry_the_new_token_on_the_channel_that_they_have() {
    for (text, streams) in [("hi", false), ("n {{ iteration }}", false), ("hi", true)] {
        let (shown, giver) = (Shown::default(), Giver::default());
        let (url, seen) = shown.start().await;
        let mut plan = plan_with(&url, oauth2(&giver.start(1).await), text, 1_300);
        if streams {
            grpc(&mut plan.scenarios[0].tasks[0].steps[0]).method =
                Method::parse("test.Chat/Listen").unwrap();
        }
        let snapshot = carried_out(ready(plan, None).await.unwrap(), 1).await;
        assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
        assert_eq!(shown.tokens()[..2], ["Bearer token-1", "Bearer token-2"]);
        assert_eq!(
            (snapshot.received_by_target(), snapshot.counters.connects),
            (seen.requests(), 1)
        );
    }
}

#[tokio::test]
async fn a_further_try_carries_the_token_of_then() {
    let giver = Giver::default();
    let (url, seen) = server(|asked| async move {
        let is_old = asked.request.headers()["authorization"] == "Bearer token-1";
        let refused: &[(&str, &str)] = &[("grpc-status", "16")];
        broken::answer(
            asked,
            200,
            &[broken::GRPC],
            (!is_old).then_some(broken::HI),
            Some(if is_old { refused } else { broken::OK }),
        )
    })
    .await;
    let mut plan = plan_with(&url, oauth2(&giver.start(1).await), "hi", 200);
    let retry = GrpcRetry {
        max: 1,
        on: vec![Code::UNAUTHENTICATED],
        backoff: Duration::from_millis(1_000),
    };
    grpc(&mut plan.scenarios[0].tasks[0].steps[0]).retry = Some(retry);
    plan.stop_timeout = Duration::from_secs(10);
    let snapshot = carried_out(ready(plan, None).await.unwrap(), 1).await;
    // two users, of which each was refused once
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.retries
        ),
        (2, 0, 2),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.received_by_target(), seen.requests());
}

#[tokio::test]
async fn a_token_of_the_metadata_service_is_renewed_for_calls_too() {
    let (shown, giver) = (Shown::default(), Giver::default());
    let (url, _) = shown.start().await;
    let plan = plan_with(&url, json!({"google": {"accessToken": {}}}), "hi", 1_300);
    let snapshot = carried_out(ready(plan, Some(giver.start(1).await)).await.unwrap(), 1).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(shown.tokens()[..2], ["Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn requests_over_http2_carry_the_new_token_on_the_connection_that_they_have() {
    for path in ["/x", "/{{ iteration }}"] {
        let (shown, giver) = (Shown::default(), Giver::default());
        let (url, seen) = shown.start().await;
        let mut plan = plan_with(&url, oauth2(&giver.start(1).await), "", 1_300);
        plan.scenarios[0].tasks[0].steps = vec![step("get", path)];
        plan.http.version = crate::plan::Version::Http2;
        let snapshot = carried_out(ready(plan, None).await.unwrap(), 1).await;
        assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
        assert_eq!(shown.tokens()[..2], ["Bearer token-1", "Bearer token-2"]);
        // each user has one of its own
        assert_eq!(
            (snapshot.received_by_target(), snapshot.counters.connects),
            (seen.requests(), 2)
        );
    }
}

#[tokio::test]
async fn reflection_is_asked_with_the_token_that_calls_will_carry() {
    let giver = Giver::default();
    let guarded = |asked: tonic::Request<()>| match asked.metadata().get("authorization") {
        Some(token) if token == "Bearer token-1" => Ok(asked),
        _ => Err(tonic::Status::unauthenticated("no token")),
    };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_file_descriptor_set(discovery::described());
    let reflection = tonic::service::interceptor::InterceptedService::new(
        reflection.build_v1().unwrap(),
        guarded,
    );
    let url = discovery::serve(tonic::transport::Server::builder().add_service(reflection)).await;
    let mut plan = plan_with(&url, oauth2(&giver.start(60).await), "hi", 100);
    plan.protos = None;
    let described = ready(plan.clone(), None).await.unwrap();
    assert!(described.descriptor_digest().is_some());
    plan.target.auth = None;
    let refused = ready(plan, None).await.unwrap_err().to_string();
    assert!(
        refused.starts_with(
            "spec.protos: the target does not let these credentials use its server reflection"
        ),
        "{refused}"
    );
}
