//! HTTP server for machines: `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::door::{self, Door};

/// Most connections at once: probes and scrapers are few, and nobody shows a token.
const MAX_CONNECTIONS: usize = 64;

/// Role that reports its own health and metrics.
pub trait Admin: Send + Sync + 'static {
    /// Checks whether the process works; `Err` says why it should be restarted.
    fn live(&self) -> Result<(), String>;
    /// Checks whether the process can serve; `Err` says what it still waits for.
    fn ready(&self) -> Result<(), String>;
    /// Renders the role's metrics in the Prometheus text format.
    fn metrics(&self) -> String;
}

/// Returns a router of the three paths, for servers that have others besides.
pub fn router(admin: Arc<dyn Admin>) -> Router {
    Router::new()
        .route(
            "/livez",
            get(|State(admin): State<Arc<dyn Admin>>| async move { answer(admin.live()) }),
        )
        .route(
            "/readyz",
            get(|State(admin): State<Arc<dyn Admin>>| async move { answer(admin.ready()) }),
        )
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(greet))
        .with_state(admin)
}

/// Serves the three paths until `stop`, over TLS if `tls` is given, then lets requests in progress
/// end. Fails when the listener fails.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    admin: Arc<dyn Admin>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    Door::new(listener, MAX_CONNECTIONS)
        .serve(router(admin), tls, stop)
        .await
}

/// Lets a connection stay that has asked something.
async fn greet(request: Request, next: Next) -> Response {
    if let Some(visitor) = door::visitor_of(request.extensions()) {
        visitor.greet();
    }
    next.run(request).await
}

async fn metrics(State(admin): State<Arc<dyn Admin>>) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        admin.metrics(),
    )
        .into_response()
}

fn answer(outcome: Result<(), String>) -> Response {
    match outcome {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    struct Starting;

    impl Admin for Starting {
        fn live(&self) -> Result<(), String> {
            Ok(())
        }

        fn ready(&self) -> Result<(), String> {
            Err("no watch is up yet".into())
        }

        fn metrics(&self) -> String {
            "runs 1\n".into()
        }
    }

    async fn ask(path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(Arc::new(Starting)).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1024).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_is_not_ready_says_why() {
        assert_eq!(
            ask("/readyz").await,
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "no watch is up yet\n".into()
            )
        );
        assert_eq!(ask("/livez").await, (StatusCode::OK, "ok\n".into()));
        assert_eq!(ask("/metrics").await, (StatusCode::OK, "runs 1\n".into()));
    }
}
