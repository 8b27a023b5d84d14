//! Answers one request, over REST or gRPC: count it, let it suffer its fate, predict.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tower::Service as _;

use super::Options;
use super::categories::Category;
use super::counts::{Admin, Counts, Endpoint, Route, prediction_id};
use super::faults::{Fate, Faults};
use super::predictions::{Prediction, Predictions};
use super::scoring::score;
use super::wire::text_categorization_server::{TextCategorization, TextCategorizationServer};
use super::wire::{PredictionReply, PredictionRequest};

/// Bytes of a request body; larger ones are refused.
const BODY_LIMIT: usize = 1 << 20;

const INJECTED: &str = "an error on purpose (--error-rate)";

type Refused<T> = Result<T, Box<Refusal>>;

/// What all connections share.
pub(super) struct Service {
    pub(super) counts: Counts,
    predictions: Predictions,
    faults: Faults,
    /// The only bearer token that model serving accepts; `None`: any.
    token: Option<String>,
    started: Instant,
    /// Requests since the start, which number them; a reset of the counts leaves it alone.
    arrivals: AtomicU64,
}

/// A request's fate, on the clock.
#[derive(Debug, Clone, Copy)]
struct Due {
    not_before: Instant,
    fails: bool,
}

/// Why a request is not served.
struct Refusal {
    status: StatusCode,
    message: Cow<'static, str>,
    header: Option<(HeaderName, &'static str)>,
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

#[derive(Serialize)]
struct Scores {
    predictions: Vec<f64>,
}

impl Service {
    pub(super) fn new(options: &Options) -> Service {
        Service {
            counts: Counts::new(),
            predictions: Predictions::new(rand::random()),
            faults: Faults::new(options.latency, options.stall, options.error_rate, options.seed),
            token: options.token.as_ref().map(|token| token.0.clone()),
            started: Instant::now(),
            arrivals: AtomicU64::new(0),
        }
    }

    /// The request is counted before this returns, so that a client that goes away leaves its count behind.
    pub(super) fn answer<B>(self: Arc<Self>, request: Request<B>) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<B>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let now = Instant::now();
        let route = Route::of(request.method(), request.uri().path());
        let counted = self.counts.arrived(route);
        let fate = match counted {
            true => self.faults.fate(now - self.started, self.arrivals.fetch_add(1, Ordering::Relaxed)),
            false => Fate::default(),
        };
        async move {
            let due = Due { not_before: now + fate.wait, fails: fate.fails };
            let request = request.map(Body::new);
            let response = match route {
                Route::Admin(admin) => self.administer(admin),
                Route::Rest(endpoint) => self.serve(endpoint, due, request).await,
                Route::Grpc => Arc::clone(&self).serve_grpc(due, request).await,
            };
            if counted {
                self.counts.answered(response.status());
            }
            Ok(response)
        }
    }

    fn administer(&self, admin: Admin) -> Response<Body> {
        match admin {
            Admin::Health => json(StatusCode::OK, &serde_json::json!({"status": "ok"})),
            Admin::Count => json(StatusCode::OK, &self.counts.view()),
            Admin::Reset => {
                self.counts.reset();
                json(StatusCode::OK, &self.counts.view())
            }
            Admin::WrongMethod { allowed } => Refusal::wrong_method(allowed).into_response(Endpoint::WrongMethod { allowed }),
        }
    }

    async fn serve(&self, endpoint: Endpoint, due: Due, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let served = match settle(due, body).await {
            Err(refusal) => Err(refusal),
            Ok(body) => match endpoint {
                Endpoint::Predict => self.predict(&body),
                Endpoint::Prediction => self.look_up(head.uri.path()),
                Endpoint::Invocations => self.invoke(&head.headers, &body),
                Endpoint::UnknownPath if is_grpc(&head) => return Status::unimplemented("no such method").into_http(),
                Endpoint::UnknownPath => Err(Refusal::of(StatusCode::NOT_FOUND, "no such path")),
                Endpoint::WrongMethod { allowed } => Err(Refusal::wrong_method(allowed)),
            },
        };
        served.unwrap_or_else(|refusal| refusal.into_response(endpoint))
    }

    async fn serve_grpc(self: Arc<Self>, due: Due, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(due);
        let answered = TextCategorizationServer::from_arc(self).call(request).await;
        answered.unwrap_or_else(|never: Infallible| match never {}).map(Body::new)
    }

    fn predict(&self, body: &[u8]) -> Refused<Response<Body>> {
        let PredictBody { text } = serde_json::from_slice(body)
            .map_err(|error| Refusal::of(StatusCode::BAD_REQUEST, format!("the body is not {{\"text\": ...}}: {error}")))?;
        let (id, category) = self.categorize(&text);
        Ok(json(StatusCode::OK, &PredictionView { prediction_id: &id, text: &text, category: category.as_str() }))
    }

    fn categorize(&self, text: &str) -> (String, Category) {
        let category = Category::of(text);
        (self.predictions.add(Prediction { text: text.into(), category }), category)
    }

    fn look_up(&self, path: &str) -> Refused<Response<Body>> {
        let found = prediction_id(path).and_then(|id| Some((id, self.predictions.get(id)?)));
        let (id, Prediction { text, category }) =
            found.ok_or_else(|| Refusal::of(StatusCode::NOT_FOUND, "no such prediction, or it is so old that it is forgotten"))?;
        Ok(json(StatusCode::OK, &PredictionView { prediction_id: id, text: &text, category: category.as_str() }))
    }

    fn invoke(&self, headers: &HeaderMap, body: &[u8]) -> Refused<Response<Body>> {
        self.admit(headers)?;
        let predictions = score(body).map_err(|reason| Refusal::of(StatusCode::BAD_REQUEST, reason))?;
        Ok(json(StatusCode::OK, &Scores { predictions }))
    }

    fn admit(&self, headers: &HeaderMap) -> Refused<()> {
        let credentials = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.trim().split_once(' '));
        match credentials {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => match &self.token {
                Some(accepted) if accepted != token.trim() => Err(Refusal::of(StatusCode::FORBIDDEN, "Invalid access token.")),
                _ => Ok(()),
            },
            _ => Err(Box::new(Refusal {
                status: StatusCode::UNAUTHORIZED,
                message: "The Authorization header holds no bearer token.".into(),
                header: Some((WWW_AUTHENTICATE, "Bearer")),
            })),
        }
    }
}

#[tonic::async_trait]
impl TextCategorization for Service {
    async fn get_prediction(&self, request: tonic::Request<PredictionRequest>) -> Result<tonic::Response<PredictionReply>, Status> {
        if let Some(due) = request.extensions().get::<Due>().copied() {
            due.wait().await;
            if due.fails {
                return Err(Status::internal(INJECTED));
            }
        }
        let PredictionRequest { text } = request.into_inner();
        let (prediction_id, category) = self.categorize(&text);
        Ok(tonic::Response::new(PredictionReply { text, prediction_id, category: category.to_string() }))
    }
}

impl Due {
    async fn wait(self) {
        // Asking the clock is cheaper than a timer that has run out already.
        if self.not_before.saturating_duration_since(Instant::now()) > Duration::ZERO {
            sleep_until(self.not_before).await;
        }
    }
}

impl Refusal {
    fn of(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Box<Refusal> {
        Box::new(Refusal { status, message: message.into(), header: None })
    }

    fn wrong_method(allowed: &'static str) -> Box<Refusal> {
        let message = format!("this path takes {allowed} only").into();
        Box::new(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, message, header: Some((ALLOW, allowed)) })
    }

    /// In the words of the endpoint: model serving has a form of its own for errors.
    fn into_response(self, endpoint: Endpoint) -> Response<Body> {
        let Refusal { status, message, header } = self;
        let mut response = match endpoint {
            Endpoint::Invocations => json(status, &serde_json::json!({"error_code": error_code(status), "message": message})),
            _ => json(status, &serde_json::json!({"error": message})),
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

fn error_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::FORBIDDEN => "PERMISSION_DENIED",
        StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL_ERROR",
        _ => "BAD_REQUEST",
    }
}

/// Reads the body, waits until the answer is due, and fails if it is to fail.
async fn settle(due: Due, body: Body) -> Refused<Bytes> {
    // A body that breaks off ends here too, but then nobody reads the answer.
    let body = to_bytes(body, BODY_LIMIT).await;
    due.wait().await;
    if due.fails {
        return Err(Refusal::of(StatusCode::INTERNAL_SERVER_ERROR, INJECTED));
    }
    body.map_err(|_| Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB"))
}

fn is_grpc(head: &Parts) -> bool {
    head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).expect("values with string keys and finite numbers become JSON");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn predict(service: &Arc<Service>) -> StatusCode {
        let request = Request::post("/predict").body(Body::from(r#"{"text": "x"}"#)).unwrap();
        let Ok(response) = Arc::clone(service).answer(request).await;
        response.status()
    }

    #[tokio::test]
    async fn the_asked_fraction_of_answers_are_errors() {
        let service = Arc::new(Service::new(&Options { error_rate: 0.1, ..Options::default() }));
        let mut errors = 0;
        for _ in 0..1000 {
            errors += u32::from(predict(&service).await == StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!((97..=103).contains(&errors), "{errors}");
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_end_of_the_stall_and_then_the_latency() {
        let options = Options { latency: "constant:5ms".parse().ok(), stall: "10s,1s".parse().ok(), ..Options::default() };
        let started = Instant::now() - Duration::from_millis(10_970);
        let service = Arc::new(Service { started, ..Service::new(&options) });
        assert_eq!(predict(&service).await, StatusCode::OK);
        assert!(started.elapsed() >= Duration::from_millis(11_005), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_request_under_way_is_counted_before_it_is_answered() {
        let service = Arc::new(Service::new(&Options { latency: "constant:1h".parse().ok(), ..Options::default() }));
        drop(Arc::clone(&service).answer(Request::get("/predictions/7").body(Body::empty()).unwrap()));
        assert_eq!(service.counts.total(), 1);
    }
}
