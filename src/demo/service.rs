//! The way of one request, over REST or gRPC: count it, wait as its faults say, answer it.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use url::form_urlencoded;

use super::body::observe;
use super::chat::{self, ChatRequest, Form};
use super::faults::{Faults, Pace};
use super::gate::Gate;
use super::grpc::Grpc;
use super::options::Options;
use super::predictions::Prediction;
use super::refusal::{Dialect, Refusal, Refused, json_response};
use super::routes::{Endpoint, Kind, Route, segment};
use super::scoring::score;
use super::shared::Shared;
use super::tokens::Tokens;
use super::v2;

/// Most bytes of a request body; larger ones are refused.
const BODY_LIMIT: usize = 1 << 20;

/// Header with the milliseconds that finding the category took, as model servers have it.
const INFERENCE_TIME: HeaderName = HeaderName::from_static("x-inference-time");

/// Message of an error that `--error-rate` asked for.
const INJECTED: &str = "an error on purpose (--error-rate)";

/// The service behind all connections.
pub(super) struct Service {
    /// State that protocols share.
    pub(super) shared: Arc<Shared>,
    /// Services over gRPC.
    pub(super) grpc: Grpc,
    faults: Faults,
    gate: Gate,
    tokens: Tokens,
    has_ip_access_list: bool,
    /// Requests since the start, which gives each its number. A reset of the counts does not change
    /// it.
    arrivals: AtomicU64,
}

/// Faults of one request of the load, once it has its place.
struct Turn {
    number: u64,
    /// Earliest time of an answer.
    not_before: Instant,
    fails: bool,
    pace: Pace,
}

#[derive(Deserialize)]
struct PredictBody<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Serialize)]
struct PredictionView<'a> {
    prediction_id: &'a str,
    text: &'a str,
    category: &'static str,
}

impl Service {
    /// Creates a service that starts now.
    pub(super) fn new(options: &Options) -> Service {
        Service::of(options, Shared::new(options))
    }

    fn of(options: &Options, shared: Shared) -> Service {
        let shared = Arc::new(shared);
        Service {
            grpc: Grpc::new(&shared, options.reflection),
            shared,
            faults: Faults::new(options),
            gate: Gate::new(options),
            tokens: Tokens::new(options),
            has_ip_access_list: options.ip_access_list,
            arrivals: AtomicU64::new(0),
        }
    }

    /// Answers a request. It is counted before this returns, not when the future is polled, so that
    /// a client that goes away has been counted.
    pub(super) fn answer<B>(
        self: Arc<Self>,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<B>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let arrived = Instant::now();
        let route = Route::of(request.method(), request.uri().path());
        self.shared.counts.arrived(route);
        let number =
            (route.kind == Kind::Load).then(|| self.arrivals.fetch_add(1, Ordering::Relaxed));
        async move {
            let request = request.map(Body::new);
            Ok(match number {
                Some(number) => self.serve(route.endpoint, arrived, number, request).await,
                None => self.attend(route.endpoint, request).await,
            })
        }
    }

    /// Answers a request that is no load, at once.
    async fn attend(&self, endpoint: Endpoint, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let attended = match endpoint {
            Endpoint::Grpc => return self.grpc.call(request).await,
            Endpoint::Token => self.issue_token(request).await,
            Endpoint::ServerReady if !self.shared.is_ready() => Err(Refusal::not_ready()),
            Endpoint::ModelReady => self
                .shared
                .model(segment(path, 2))
                .map(|()| json!({"name": segment(path, 2), "ready": true})),
            Endpoint::ServerLive => Ok(json!({"live": true})),
            Endpoint::ServerReady => Ok(json!({"ready": true})),
            Endpoint::Health => Ok(json!({"status": "ok"})),
            Endpoint::Count => return json_response(StatusCode::OK, &self.shared.counts.view()),
            Endpoint::Reset => {
                self.shared.counts.reset();
                return json_response(StatusCode::OK, &self.shared.counts.view());
            }
            Endpoint::WrongMethod { allowed } => Err(Refusal::wrong_method(allowed)),
            _ => Err(no_such_path()),
        };
        match attended {
            Ok(value) => json_response(StatusCode::OK, &value),
            Err(refusal) => refusal.into_response(Dialect::of(endpoint, false)),
        }
    }

    async fn issue_token(&self, request: Request<Body>) -> Refused<Value> {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, BODY_LIMIT).await.map_err(|_| too_large())?;
        self.tokens
            .issue(&head.headers, &body, self.shared.started.elapsed())
            .map_err(Refusal::denied)
    }

    /// Answers a request of the load, in its turn.
    async fn serve(
        &self,
        endpoint: Endpoint,
        arrived: Instant,
        number: u64,
        request: Request<Body>,
    ) -> Response<Body> {
        let is_grpc = is_grpc(request.headers());
        let dialect = Dialect::of(endpoint, is_grpc);
        let fate = self.faults.fate(arrived - self.shared.started, number);
        let (place, served) = match self.gate.enter().await {
            Err(_full) => (None, Err(Refusal::busy())),
            Ok(place) => {
                let begun = if place.is_some() {
                    Instant::now()
                } else {
                    arrived
                };
                let turn = Turn {
                    number,
                    not_before: begun + fate.wait,
                    fails: fate.fails,
                    pace: self.faults.pace(number),
                };
                let served = match endpoint {
                    Endpoint::Grpc | Endpoint::GrpcModel => {
                        self.serve_grpc(endpoint, turn, request).await
                    }
                    _ => self.serve_rest(endpoint, turn, request, is_grpc).await,
                };
                (place, served)
            }
        };
        let response = served.unwrap_or_else(|refusal| refusal.into_response(dialect));
        self.shared.counts.answered(response.status());
        observe(response, place, is_grpc.then(|| Arc::clone(&self.shared)))
    }

    async fn serve_grpc(
        &self,
        endpoint: Endpoint,
        turn: Turn,
        mut request: Request<Body>,
    ) -> Refused<Response<Body>> {
        turn.wait().await?;
        if endpoint == Endpoint::GrpcModel {
            self.admit_if_asked(request.headers())?;
        }
        request.extensions_mut().insert(turn.pace);
        Ok(self.grpc.call(request).await)
    }

    async fn serve_rest(
        &self,
        endpoint: Endpoint,
        turn: Turn,
        request: Request<Body>,
        is_grpc: bool,
    ) -> Refused<Response<Body>> {
        let (head, body) = request.into_parts();
        // A body that breaks off ends here too, but then nobody reads the answer.
        let body = to_bytes(body, BODY_LIMIT).await;
        turn.wait().await?;
        let body = body.map_err(|_| too_large())?;
        let path = head.uri.path();
        match endpoint {
            Endpoint::Predict => self.predict(&body),
            Endpoint::Prediction => self.look_up(segment(path, 1)),
            Endpoint::Invocations => self.invoke(&head, turn, &body).await,
            Endpoint::Chat => self.chat(&head.headers, turn, Form::Events, &body).await,
            Endpoint::ChatLines => self.chat(&head.headers, turn, Form::Lines, &body).await,
            Endpoint::Redirect => redirect(&head.uri),
            Endpoint::Infer => self.infer(&head, &body),
            Endpoint::ModelMetadata => {
                let model = segment(path, 2);
                self.shared.model(model)?;
                Ok(json_response(StatusCode::OK, &v2::model_metadata(model)))
            }
            Endpoint::ServerMetadata => Ok(json_response(StatusCode::OK, &v2::server_metadata())),
            Endpoint::WrongMethod { allowed } => Err(Refusal::wrong_method(allowed)),
            _ if is_grpc => Err(Refusal::of(StatusCode::NOT_IMPLEMENTED, "no such method")),
            _ => Err(no_such_path()),
        }
    }

    fn predict(&self, body: &[u8]) -> Refused<Response<Body>> {
        let PredictBody { text } = serde_json::from_slice(body).map_err(|error| {
            Refusal::bad_request(format!("the body is not {{\"text\": ...}}: {error}"))
        })?;
        let begun = Instant::now();
        let (id, category) = self.shared.categorize(&text);
        let took = begun.elapsed().as_secs_f64() * 1e3;
        let mut response = json_response(
            StatusCode::OK,
            &PredictionView {
                prediction_id: &id,
                text: &text,
                category: category.as_str(),
            },
        );
        let took =
            HeaderValue::from_str(&format!("{took:.3}")).expect("a number is a header's value");
        response.headers_mut().insert(INFERENCE_TIME, took);
        Ok(response)
    }

    fn look_up(&self, id: &str) -> Refused<Response<Body>> {
        let forgotten = || {
            Refusal::of(
                StatusCode::NOT_FOUND,
                "no such prediction, or it is so old that it is forgotten",
            )
        };
        let Prediction { text, category } = self.shared.prediction(id).ok_or_else(forgotten)?;
        Ok(json_response(
            StatusCode::OK,
            &PredictionView {
                prediction_id: id,
                text: &text,
                category: category.as_str(),
            },
        ))
    }

    /// Answers as Databricks serves models, chat models included.
    async fn invoke(&self, head: &Parts, turn: Turn, body: &[u8]) -> Refused<Response<Body>> {
        if self.has_ip_access_list {
            return Err(Refusal::ip_access_list());
        }
        self.admit(&head.headers)?;
        self.endpoint(segment(head.uri.path(), 1))?;
        let body: Value = serde_json::from_slice(body).map_err(|error| {
            Refusal::bad_request(format!("Invalid input. The body is not JSON: {error}"))
        })?;
        if body.get("messages").is_some() {
            return self.complete(body, turn, Form::Events).await;
        }
        let predictions = score(&body).map_err(Refusal::bad_request)?;
        Ok(json_response(
            StatusCode::OK,
            &json!({"predictions": predictions}),
        ))
    }

    /// Checks that an endpoint is there and ready. Databricks answers 404 for both.
    fn endpoint(&self, name: &str) -> Refused<()> {
        let absent = |message: String| Err(Refusal::of(StatusCode::NOT_FOUND, message));
        if !self.shared.has_model(name) {
            return absent(format!("Endpoint '{name}' does not exist."));
        }
        if self.shared.is_ready() {
            Ok(())
        } else {
            absent(format!("Endpoint '{name}' is not ready yet."))
        }
    }

    async fn chat(
        &self,
        headers: &HeaderMap,
        turn: Turn,
        form: Form,
        body: &[u8],
    ) -> Refused<Response<Body>> {
        self.admit_if_asked(headers)?;
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("the body is not JSON: {error}")))?;
        self.shared
            .model(body["model"].as_str().unwrap_or_default())?;
        self.complete(body, turn, form).await
    }

    async fn complete(&self, body: Value, turn: Turn, form: Form) -> Refused<Response<Body>> {
        let request: ChatRequest = serde_json::from_value(body)
            .map_err(|error| Refusal::bad_request(format!("no chat request: {error}")))?;
        Ok(chat::answer(
            request,
            form,
            turn.number,
            turn.pace,
            Arc::clone(&self.shared),
        )
        .await)
    }

    fn infer(&self, head: &Parts, body: &[u8]) -> Refused<Response<Body>> {
        self.admit_if_asked(&head.headers)?;
        let model = segment(head.uri.path(), 2);
        self.shared.model(model)?;
        let answer = v2::answer(model, body).map_err(Refusal::bad_request)?;
        Ok(json_response(StatusCode::OK, &answer))
    }

    fn admit(&self, headers: &HeaderMap) -> Refused<()> {
        self.tokens
            .check(headers, self.shared.started.elapsed())
            .map_err(Refusal::unfit)
    }

    fn admit_if_asked(&self, headers: &HeaderMap) -> Refused<()> {
        if self.tokens.is_asked_for() {
            self.admit(headers)
        } else {
            Ok(())
        }
    }
}

impl Turn {
    /// Waits until an answer may be given.
    ///
    /// # Errors
    /// Fails if the request is to fail on purpose.
    async fn wait(&self) -> Refused<()> {
        // A look at the clock is cheaper than a timer that has run out already.
        if self.not_before.saturating_duration_since(Instant::now()) > Duration::ZERO {
            sleep_until(self.not_before).await;
        }
        if self.fails {
            Err(Refusal::of(StatusCode::INTERNAL_SERVER_ERROR, INJECTED))
        } else {
            Ok(())
        }
    }
}

/// Redirects to the address that the query names; method and body stay as they are.
fn redirect(uri: &Uri) -> Refused<Response<Body>> {
    let mut query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let to = query
        .find(|(name, _)| name == "to")
        .and_then(|(_, to)| HeaderValue::from_str(&to).ok());
    let to =
        to.ok_or_else(|| Refusal::bad_request("the query does not say where to: ?to=http://..."))?;
    let mut response = json_response(StatusCode::TEMPORARY_REDIRECT, &json!({}));
    response.headers_mut().insert(LOCATION, to);
    Ok(response)
}

fn no_such_path() -> Box<Refusal> {
    Refusal::of(StatusCode::NOT_FOUND, "no such path")
}

fn too_large() -> Box<Refusal> {
    Refusal::of(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is larger than 1 MiB",
    )
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn predict(service: &Arc<Service>) -> StatusCode {
        let request = Request::post("/predict")
            .body(Body::from(r#"{"text": "x"}"#))
            .unwrap();
        let Ok(response) = Arc::clone(service).answer(request).await;
        response.status()
    }

    #[tokio::test]
    async fn the_asked_fraction_of_answers_are_errors() {
        let service = Arc::new(Service::new(&Options {
            error_rate: 0.1,
            ..Options::default()
        }));
        let mut errors = 0;
        for _ in 0..1000 {
            errors += u32::from(predict(&service).await == StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!((97..=103).contains(&errors), "{errors}");
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_end_of_the_stall_and_then_the_latency() {
        let options = Options {
            latency: "constant:5ms".parse().ok(),
            stall: "10s,1s".parse().ok(),
            ..Options::default()
        };
        let started = Instant::now() - Duration::from_millis(10_970);
        let mut shared = Shared::new(&options);
        shared.started = started;
        let service = Arc::new(Service::of(&options, shared));
        assert_eq!(predict(&service).await, StatusCode::OK);
        assert!(
            started.elapsed() >= Duration::from_millis(11_005),
            "{:?}",
            started.elapsed()
        );
    }

    #[tokio::test]
    async fn a_request_under_way_is_counted_before_it_is_answered() {
        let service = Arc::new(Service::new(&Options {
            latency: "constant:1h".parse().ok(),
            ..Options::default()
        }));
        drop(
            Arc::clone(&service)
                .answer(Request::get("/predictions/7").body(Body::empty()).unwrap()),
        );
        assert_eq!(service.shared.counts.total(), 1);
    }

    #[tokio::test]
    async fn who_waits_for_a_place_has_the_latency_still_before_it() {
        let latency = "constant:20ms".parse().ok();
        let service = Arc::new(Service::new(&Options {
            latency,
            concurrency: 1.try_into().ok(),
            ..Options::default()
        }));
        let begun = Instant::now();
        let answered = futures::future::join_all((0..3).map(|_| predict(&service))).await;
        assert_eq!(answered, [StatusCode::OK; 3]);
        assert!(
            begun.elapsed() >= Duration::from_millis(60),
            "{:?}",
            begun.elapsed()
        );
    }
}
