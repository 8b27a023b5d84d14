//! Calls to the API server: each is bounded in time, and its error says what was tried on which
//! object.

use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};

use super::view::RefusalKind;

/// Longest time of one call to the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Error of a call to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server did not answer in time.
    #[error("cannot {what} {name}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// Verb and kind of object, as in `read LoadTest`.
        what: &'static str,
        /// Name of the object.
        name: String,
    },
    /// The API server refused the call, or could not be reached.
    #[error("cannot {what} {name}: {source}")]
    Kube {
        /// Verb and kind of object, as in `read LoadTest`.
        what: &'static str,
        /// Name of the object.
        name: String,
        /// Error of the client.
        source: Box<kube::Error>,
    },
}

impl ApiError {
    /// Value of the label `kind` of the errors metric.
    pub fn kind(&self) -> &'static str {
        match self {
            ApiError::Timeout { .. } => "timeout",
            ApiError::Kube { source, .. } if matches!(**source, kube::Error::Api(_)) => "api",
            ApiError::Kube { .. } => "transport",
        }
    }
}

/// Longest wait that the API server is believed to need.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

impl ApiError {
    /// Returns the time that the API server asks its callers to wait, at most a minute; zero where
    /// it asks for none.
    pub fn retry_after(&self) -> Duration {
        let ApiError::Kube { source, .. } = self else {
            return Duration::ZERO;
        };
        let kube::Error::Api(status) = &**source else {
            return Duration::ZERO;
        };
        let seconds = status
            .details
            .as_ref()
            .map_or(0, |details| details.retry_after_seconds);
        Duration::from_secs(seconds.into()).min(MAX_RETRY_AFTER)
    }
}

/// Bounds a call in time. `what` and `name` complete "cannot ..." in the error.
pub async fn call<T>(
    what: &'static str,
    name: &str,
    work: impl Future<Output = T>,
) -> Result<T, ApiError> {
    tokio::time::timeout(CALL_TIMEOUT, work)
        .await
        .map_err(|_| ApiError::Timeout {
            what,
            name: name.to_owned(),
        })
}

/// Bounds a call in time, as [`call`] does, and turns the API server's error into an [`ApiError`].
pub async fn kube_call<T>(
    what: &'static str,
    name: &str,
    work: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    call(what, name, work)
        .await?
        .map_err(|source| ApiError::Kube {
            what,
            name: name.to_owned(),
            source: Box::new(source),
        })
}

/// Deletes one object, if it still has the UID `uid`; one that is gone is no error. Its dependents
/// go in the background: without a policy a Job would orphan its Pods, and the load would go on.
pub async fn delete(api: &Api<DynamicObject>, name: &str, uid: &str) -> Result<(), ApiError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    let is_gone = |error: &kube::Error| match error {
        kube::Error::Api(status) => status.is_not_found() || status.is_conflict(),
        _ => false,
    };
    match kube_call("delete", name, api.delete(name, &params)).await {
        Err(ApiError::Kube { source, .. }) if is_gone(&source) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Returns what a refused create means; `None` for an outage, after which a retry may succeed.
pub fn refusal_kind(status: &kube::core::Status) -> Option<RefusalKind> {
    let terminating = status.details.as_ref().is_some_and(|details| {
        details
            .causes
            .iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
    });
    match status.code {
        403 if terminating => Some(RefusalKind::Terminating),
        // the namespace is gone
        404 => Some(RefusalKind::Terminating),
        403 => Some(RefusalKind::Denied),
        400 | 413 | 422 => Some(RefusalKind::Invalid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, cause: Option<&str>) -> kube::core::Status {
        let causes =
            cause.map(|reason| serde_json::json!([{"reason": reason, "message": "", "field": ""}]));
        serde_json::from_value(
            serde_json::json!({"code": code, "details": {"causes": causes.unwrap_or_default()}}),
        )
        .unwrap_or_default()
    }

    #[test]
    fn the_api_server_is_left_alone_for_as_long_as_it_asks_up_to_a_minute() {
        let asks = |seconds: u32| {
            let status = serde_json::json!({
                "code": 429, "details": {"retryAfterSeconds": seconds},
            });
            let status: kube::core::Status = serde_json::from_value(status).unwrap();
            ApiError::Kube {
                what: "read",
                name: "x".into(),
                source: Box::new(kube::Error::Api(Box::new(status))),
            }
        };
        assert_eq!(asks(7).retry_after(), Duration::from_secs(7));
        assert_eq!(asks(100_000).retry_after(), MAX_RETRY_AFTER);
        let timeout = ApiError::Timeout {
            what: "read",
            name: "x".into(),
        };
        assert_eq!(timeout.retry_after(), Duration::ZERO);
    }

    #[test]
    fn a_refusal_is_told_from_an_outage() {
        assert_eq!(
            refusal_kind(&status(403, Some("NamespaceTerminating"))),
            Some(RefusalKind::Terminating)
        );
        assert_eq!(
            refusal_kind(&kube::core::Status {
                code: 403,
                ..Default::default()
            }),
            Some(RefusalKind::Denied)
        );
        assert_eq!(
            refusal_kind(&kube::core::Status {
                code: 422,
                ..Default::default()
            }),
            Some(RefusalKind::Invalid)
        );
        for outage in [429, 500, 503, 504] {
            assert_eq!(
                refusal_kind(&kube::core::Status {
                    code: outage,
                    ..Default::default()
                }),
                None
            );
        }
    }
}
