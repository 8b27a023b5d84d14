//! Why a request is not served, in the words of the protocol it came by.

use std::borrow::Cow;

use axum::body::Body;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tonic::Status;

use super::routes::Endpoint;
use super::tokens::{Denied, Unfit};

pub(super) type Refused<T> = Result<T, Box<Refusal>>;

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: Cow<'static, str>,
    header: Option<(HeaderName, &'static str)>,
    /// What stands for the status in a protocol that has words of its own; else the status
    /// decides.
    code: Option<Value>,
}

/// The form an error has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Plain,
    Databricks,
    OpenAi,
    OAuth,
    Grpc,
}

impl Dialect {
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
    pub(super) fn of(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Box<Refusal> {
        Box::new(Refusal {
            status,
            message: message.into(),
            header: None,
            code: None,
        })
    }

    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Box<Refusal> {
        Refusal::of(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn wrong_method(allowed: &'static str) -> Box<Refusal> {
        let message = format!("this path takes {allowed} only");
        Box::new(Refusal {
            header: Some((ALLOW, allowed)),
            ..*Refusal::of(StatusCode::METHOD_NOT_ALLOWED, message)
        })
    }

    /// As many requests wait as may.
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

    /// What a workspace answers whose IP access list does not hold the caller.
    pub(super) fn ip_access_list() -> Box<Refusal> {
        let message = "Source IP address: 203.0.113.7 is blocked by Databricks IP ACL for workspace: 1234567890123456";
        Box::new(Refusal {
            code: Some(403.into()),
            ..*Refusal::of(StatusCode::FORBIDDEN, message)
        })
    }

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
