//! Credentials that change: tokens that are got and renewed beside the load, and signatures.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::crd::{LoadTestSpec, check};
use crate::engine::PrepareError;
use crate::engine::net::resolve::NameServers;
use crate::engine::prepare::prepare_in;
use crate::engine::tests::language::Target;
use crate::engine::tests::*;
use crate::engine::world::World;
use crate::plan::Kind;

/// Gives out `token-1`, `token-2` and so on.
#[derive(Clone, Default)]
pub(super) struct Giver {
    /// Each request for one: its credentials, and its form or query.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    pub(super) refuses: Arc<AtomicBool>,
}

impl Giver {
    /// Tokens that live so many seconds; host and port.
    pub(super) async fn start(&self, life: u64) -> String {
        let next = move |giver: &Giver, credentials: &HeaderMap, asked: String| -> Response {
            let shown = credentials
                .get("authorization")
                .map_or(String::new(), |value| value.to_str().unwrap().to_owned());
            let mut all = giver.asked.lock().unwrap();
            all.push((shown, asked));
            if giver.refuses.load(Ordering::Relaxed) {
                return (
                    StatusCode::UNAUTHORIZED,
                    axum::Json(
                        json!({"error": "invalid_client", "error_description": "not hush-hush"}),
                    ),
                )
                    .into_response();
            }
            axum::Json(json!({"access_token": format!("token-{}", all.len()), "expires_in": life, "token_type": "Bearer"})).into_response()
        };
        let google = "/computeMetadata/v1/instance/service-accounts/default";
        let router = Router::new()
            .route(
                "/token",
                post(
                    async move |State(giver): State<Giver>, headers: HeaderMap, form: String| {
                        next(&giver, &headers, form)
                    },
                ),
            )
            .route(
                &format!("{google}/token"),
                get(
                    async move |State(giver): State<Giver>,
                                Query(query): Query<BTreeMap<String, String>>,
                                headers: HeaderMap| {
                        assert_eq!(headers["metadata-flavor"], "Google");
                        (
                            [("metadata-flavor", "Google")],
                            next(&giver, &headers, format!("{query:?}")),
                        )
                    },
                ),
            )
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    pub(super) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

fn from(key: &str) -> Value {
    json!({"secretKeyRef": {"name": "keys", "key": key}})
}

fn plan_with(target: &Target, auth: Value, path: &str, millis: u64) -> Plan {
    let spec = json!({
        "target": {"url": target.url, "auth": auth},
        "scenarios": [{"name": "s", "thinkTime": {"constant": "50ms"}, "tasks": [{"name": "t", "steps": [{"http": {"path": path}}]}]}],
        "load": {"closed": {"users": 1, "duration": format!("{millis}ms")}},
    });
    let spec: LoadTestSpec = serde_json::from_value(spec).unwrap();
    check(&spec).unwrap().plan
}

pub(super) fn oauth2(address: &str) -> Value {
    json!({"oauth2": {
        "tokenUrl": format!("http://{address}/token"), "clientId": "me@home", "clientSecretFrom": from("secret"), "scopes": ["a", "b"],
    }})
}

pub(super) async fn ready(
    plan: Plan,
    metadata_host: Option<String>,
) -> Result<Arc<Prepared>, PrepareError> {
    let mut inputs = crate::engine::tests::grpc::inputs();
    inputs.insert(Kind::Secret, "keys", "secret", b"hush-hush\n".to_vec());
    inputs.insert(Kind::Secret, "keys", "pin", b" 123\n".to_vec());
    inputs.insert(Kind::Secret, "keys", "id", b"AKIDEXAMPLE".to_vec());
    let world = World {
        names: NameServers::of_system(),
        metadata_host,
    };
    prepare_in(Arc::new(plan), &inputs, &world)
        .await
        .map(Arc::new)
}

pub(super) async fn carried_out(prepared: Arc<Prepared>, shards: u32) -> Snapshot {
    sum(&deltas(&mut prepared.start(whole(shards), Instant::now())).await)
}

/// What was shown to the target, each value once.
fn shown(target: &Target) -> Vec<String> {
    let mut all = target.shown("authorization");
    all.dedup();
    all
}

#[tokio::test]
async fn without_a_first_token_nothing_begins_and_the_secret_stays_one() {
    let (target, giver) = (Target::start(), Giver::default());
    giver.refuses.store(true, Ordering::Relaxed);
    let plan = plan_with(&target, oauth2(&giver.start(60).await), "/x", 100);
    let error = ready(plan, None).await.unwrap_err().to_string();
    assert!(
        error.starts_with("spec.target.auth: ")
            && error.contains("401 Unauthorized: invalid_client: not ***"),
        "{error}"
    );
    assert!(target.lines().is_empty());
}

#[tokio::test]
async fn a_service_that_is_not_the_metadata_service_gives_no_token() {
    let target = Target::start();
    let plan = plan_with(&target, json!({"google": {"accessToken": {}}}), "/x", 100);
    let other = target.url.trim_start_matches("http://").to_owned();
    let error = ready(plan, Some(other)).await.unwrap_err().to_string();
    assert!(error.contains("not the metadata service"), "{error}");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_beside_the_load() {
    let (target, giver) = (Target::start(), Giver::default());
    let plan = plan_with(&target, oauth2(&giver.start(1).await), "/x", 1_500);
    let snapshot = carried_out(ready(plan, None).await.unwrap(), 1).await;
    assert_eq!(
        (snapshot.failures(), snapshot.received_by_target()),
        (0, target.lines().len() as u64),
        "{:?}",
        snapshot.errors
    );
    let shown = shown(&target);
    assert!(
        shown.len() >= 2 && shown[..2] == ["Bearer token-1", "Bearer token-2"],
        "{shown:?}"
    );
    let basic = format!(
        "Basic {}",
        data_encoding::BASE64.encode(b"me%40home:hush%2Dhush")
    );
    assert_eq!(
        giver.asked()[0],
        (basic, "grant_type=client_credentials&scope=a+b".into())
    );
    let asked = giver.asked().len();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(
        giver.asked().len(),
        asked,
        "nobody renews for a load that is over"
    );
}

#[tokio::test]
async fn requests_that_differ_and_those_over_http2_take_the_token_of_now() {
    let (target, giver) = (Target::start(), Giver::default());
    let plan = plan_with(
        &target,
        oauth2(&giver.start(1).await),
        "/{{ iteration }}",
        1_200,
    );
    let snapshot = carried_out(ready(plan, None).await.unwrap(), 1).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert!(shown(&target).len() >= 2, "{:?}", shown(&target));
    assert!(target.lines().iter().all(|line| line.starts_with("GET /")));
}

#[tokio::test]
async fn without_a_valid_token_requests_fail_and_are_not_sent() {
    let (target, giver) = (Target::start(), Giver::default());
    let plan = plan_with(&target, oauth2(&giver.start(1).await), "/x", 1_700);
    let prepared = ready(plan, None).await.unwrap();
    giver.refuses.store(true, Ordering::Relaxed);
    let snapshot = carried_out(prepared, 2).await;
    assert_eq!(shown(&target), ["Bearer token-1"]);
    assert_eq!(snapshot.received_by_target(), target.lines().len() as u64);
    assert!(
        snapshot.counters.unsent > 0 && snapshot.failures() == snapshot.counters.unsent,
        "{:?}",
        snapshot.counters
    );
    let (key, entry) = snapshot.errors.iter().next().unwrap();
    assert_eq!(
        (key.class, snapshot.errors.iter().count()),
        (ErrorClass::Auth, 1)
    );
    assert!(
        entry.count > snapshot.failures(),
        "renewals that failed are told, too"
    );
    assert!(
        entry.message.contains("invalid_client") && !entry.message.contains("hush"),
        "{}",
        entry.message
    );
}

#[tokio::test]
async fn a_token_of_the_metadata_service_needs_no_secret() {
    let (target, giver) = (Target::start(), Giver::default());
    let auth = json!({"google": {"accessToken": {"scopes": ["https://www.googleapis.com/auth/cloud-platform"]}}});
    let plan = plan_with(&target, auth, "/x", 200);
    carried_out(ready(plan, Some(giver.start(3600).await)).await.unwrap(), 1).await;
    assert_eq!(shown(&target), ["Bearer token-1"]);
    assert_eq!(
        giver.asked(),
        [(
            String::new(),
            r#"{"scopes": "https://www.googleapis.com/auth/cloud-platform"}"#.to_owned()
        )]
    );
}

#[tokio::test]
async fn signed_requests_carry_a_time_and_no_secret() {
    let target = Target::start();
    let keys = json!({"awsSigV4": {"region": "eu-west-1", "service": "sagemaker", "accessKeyIdFrom": from("id"), "secretAccessKeyFrom": from("secret")}});
    let snapshot = carried_out(
        ready(plan_with(&target, keys, "/to/there?b=2&a=1", 1_300), None)
            .await
            .unwrap(),
        1,
    )
    .await;
    assert_eq!(
        (snapshot.failures(), snapshot.received_by_target()),
        (0, target.lines().len() as u64)
    );
    let last = target.last();
    let signed = last.headers["authorization"].to_str().unwrap();
    let day = &last.headers["x-amz-date"].to_str().unwrap()[..8];
    let expected = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{day}/eu-west-1/sagemaker/aws4_request, SignedHeaders=host;x-amz-date, Signature="
    );
    assert!(signed.starts_with(&expected), "{signed}");
    assert!(
        shown(&target).len() >= 2,
        "each second has signatures of its own"
    );
}

#[tokio::test]
async fn a_step_that_says_who_it_is_is_believed() {
    let (target, giver) = (Target::start(), Giver::default());
    let mut plan = plan_with(&target, oauth2(&giver.start(60).await), "/x", 200);
    let header = crate::plan::Header {
        name: "authorization".into(),
        value: Template::parse("Bearer mine").unwrap(),
    };
    http(&mut plan.scenarios[0].tasks[0].steps[0])
        .request
        .headers
        .push(header);
    carried_out(ready(plan, None).await.unwrap(), 1).await;
    assert_eq!(shown(&target), ["Bearer mine"]);
}

#[tokio::test]
async fn a_secret_too_short_to_be_taken_out_of_messages_is_told() {
    let target = Target::start();
    let prepared = async |key: &str| {
        ready(
            plan_with(
                &target,
                json!({"bearer": {"tokenFrom": from(key)}}),
                "/x",
                100,
            ),
            None,
        )
        .await
        .unwrap()
    };
    let told = "spec.target.auth.bearer.tokenFrom: Secret \"keys\" key \"pin\" is shorter than 4 characters, \
                so it is not taken out of messages and samples";
    assert_eq!(prepared("pin").await.warnings(), [told]);
    assert_eq!(prepared("secret").await.warnings(), [""; 0]);
}

#[tokio::test]
async fn what_a_target_says_of_a_refusal_is_shown_without_the_credentials() {
    let (target, giver) = (Target::start(), Giver::default());
    let plan = plan_with(&target, oauth2(&giver.start(60).await), "/refuse/401", 200);
    let snapshot = carried_out(ready(plan, None).await.unwrap(), 1).await;
    let (_, entry) = snapshot.errors.iter().next().unwrap();
    assert_eq!(entry.message, "401 Unauthorized: Bearer ***");
    let plan = plan_with(
        &target,
        json!({"bearer": {"tokenFrom": from("secret")}}),
        "/refuse/403",
        200,
    );
    let snapshot = carried_out(ready(plan, None).await.unwrap(), 1).await;
    let (_, entry) = snapshot.errors.iter().next().unwrap();
    assert_eq!(entry.message, "403 Forbidden: Bearer ***");
}
