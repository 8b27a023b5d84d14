//! Refusals: errors in the words of the protocol that a request came by.

use std::borrow::Cow;

use axum::body::Body;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tonic::Status;

use super::routes::Endpoint;
use super::tokens::{Denied, Unfit};

/// Result of serving a request; the error is boxed because it is large and rare.
pub(super) type Refused<T> = Result<T, Box<Refusal>>;

/// Error that a request is answered with.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: Cow<'static, str>,
    header: Option<(HeaderName, &'static str)>,
    /// Code in place of the status, in a protocol that has codes of its own; without it, the status
    /// decides.
    code: Option<Value>,
}

/// Form of an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `{"error": message}`.
    Plain,
    /// `{"error_code": code, "message": message}`.
    Databricks,
    /// `{"error": {"message": ..., "type": ...}}`.
    OpenAi,
    /// The error of RFC 6749, 5.2.
    OAuth,
    /// A status in the head, and no body.
    Grpc,
}

impl Dialect {
    /// Returns the form of errors of an endpoint.
    pub(super) fn of(endpoint: Endpoint, is_grpc: bool) -> Dialect {
        match endpoint {
            Endpoint::Invocations => Dialect::Databricks,
            Endpoint::Chat => Dialect::OpenAi,
            Endpoint::Token => Dialect::OAuth,
            _ if is_grpc => Dialect::Grpc,
            _ => Dialect::Plain,
        }
    }
}

impl Refusal {
    /// Creates a refusal with a status and a message for people.
    pub(super) fn of(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Box<Refusal> {
        Box::new(Refusal {
            status,
            message: message.into(),
            header: None,
            code: None,
        })
    }

    /// Creates a refusal of a body or query that cannot be used (400).
    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Box<Refusal> {
        Refusal::of(StatusCode::BAD_REQUEST, message)
    }

    /// Creates a refusal of a known path with a wrong method (405), which names the right one.
    pub(super) fn wrong_method(allowed: &'static str) -> Box<Refusal> {
        let message = format!("this path takes {allowed} only");
        Box::new(Refusal {
            header: Some((ALLOW, allowed)),
            ..*Refusal::of(StatusCode::METHOD_NOT_ALLOWED, message)
        })
    }

    /// Creates the refusal of a request when as many wait as may (429).
    pub(super) fn busy() -> Box<Refusal> {
        let refusal = Refusal::of(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests wait (--max-waiting)",
        );
        Box::new(Refusal {
            header: Some((RETRY_AFTER, "1")),
            ..*refusal
        })
    }

    /// Creates the refusal of a model that is not ready yet (503).
    pub(super) fn not_ready() -> Box<Refusal> {
        let refusal = Refusal::of(
            StatusCode::SERVICE_UNAVAILABLE,
            "the model is not ready yet (--ready-after)",
        );
        Box::new(Refusal {
            header: Some((RETRY_AFTER, "1")),
            ..*refusal
        })
    }

    /// Creates the refusal of a workspace whose IP access list does not hold the caller (403).
    pub(super) fn ip_access_list() -> Box<Refusal> {
        let message = "Source IP address: 203.0.113.7 is blocked by Databricks IP ACL for workspace: 1234567890123456";
        Box::new(Refusal {
            code: Some(403.into()),
            ..*Refusal::of(StatusCode::FORBIDDEN, message)
        })
    }

    /// Creates the refusal of a request whose bearer token is missing, unknown or expired.
    pub(super) fn unfit(unfit: Unfit) -> Box<Refusal> {
        let (status, challenge, message) = match unfit {
            Unfit::Missing => (
                StatusCode::UNAUTHORIZED,
                Some("Bearer"),
                "Credential was not sent or was of an unsupported type for this API.",
            ),
            Unfit::Expired => (
                StatusCode::UNAUTHORIZED,
                Some(
                    "Bearer error=\"invalid_token\", error_description=\"The access token expired\"",
                ),
                "Access token expired.",
            ),
            Unfit::Unknown => (StatusCode::FORBIDDEN, None, "Invalid access token."),
        };
        let header = challenge.map(|challenge| (WWW_AUTHENTICATE, challenge));
        Box::new(Refusal {
            header,
            code: Some(status.as_u16().into()),
            ..*Refusal::of(status, message)
        })
    }

    /// Creates the refusal of a request for a token.
    pub(super) fn denied(denied: Denied) -> Box<Refusal> {
        let status = if denied.error == "invalid_client" {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::BAD_REQUEST
        };
        Box::new(Refusal {
            code: Some(denied.error.into()),
            ..*Refusal::of(status, denied.description)
        })
    }

    /// Turns the refusal into a response in the form of a protocol.
    pub(super) fn into_response(self, dialect: Dialect) -> Response<Body> {
        if dialect == Dialect::Grpc {
            return self.into_status().into_http();
        }
        let Refusal {
            status,
            message,
            header,
            code,
        } = self;
        let body = match dialect {
            Dialect::Databricks => {
                json!({"error_code": code.unwrap_or_else(|| error_code(status).into()), "message": message})
            }
            Dialect::OpenAi => {
                json!({"error": {"message": message, "type": error_type(status), "code": code}})
            }
            Dialect::OAuth => json!({"error": code, "error_description": message}),
            Dialect::Plain | Dialect::Grpc => json!({"error": message}),
        };
        let mut response = json_response(status, &body);
        if let Some((name, value)) = header {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Turns the refusal into a gRPC status.
    pub(super) fn into_status(self) -> Status {
        let message = self.message.into_owned();
        match self.status {
            StatusCode::BAD_REQUEST => Status::invalid_argument(message),
            StatusCode::UNAUTHORIZED => Status::unauthenticated(message),
            StatusCode::FORBIDDEN => Status::permission_denied(message),
            StatusCode::NOT_FOUND => Status::not_found(message),
            StatusCode::TOO_MANY_REQUESTS => Status::resource_exhausted(message),
            StatusCode::SERVICE_UNAVAILABLE => Status::unavailable(message),
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Status::unimplemented(message)
            }
            _ => Status::internal(message),
        }
    }
}

fn error_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "RESOURCE_DOES_NOT_EXIST",
        StatusCode::TOO_MANY_REQUESTS => "REQUEST_LIMIT_EXCEEDED",
        StatusCode::SERVICE_UNAVAILABLE => "TEMPORARILY_UNAVAILABLE",
        StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL_ERROR",
        _ => "BAD_REQUEST",
    }
}

fn error_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "authentication_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

/// Creates a response with a JSON body.
pub(super) fn json_response(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let bytes =
        serde_json::to_vec(value).expect("values with string keys and finite numbers become JSON");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
