//! The service over gRPC: the categoriser, the V2 inference protocol, health and reflection.

mod categorizer;
mod inference;

use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service as _;

use super::options::Reflection;
use super::shared::Shared;

/// Descriptors of every message and service, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!("../generated/demo.bin");

/// Names of services that health answers for; the empty one is the whole server.
const SERVICES: [&str; 3] = [
    "",
    "categorization.TextCategorization",
    "inference.GRPCInferenceService",
];

/// All gRPC services of the demo service.
pub(super) struct Grpc {
    routes: Routes,
    health: HealthReporter,
}

impl Grpc {
    /// Creates the services, with reflection as asked. Health says nothing before [`Grpc::open`].
    pub(super) fn new(shared: &Arc<Shared>, reflection: Reflection) -> Grpc {
        let (health, health_service) = tonic_health::server::health_reporter();
        let mut routes = Routes::new(categorizer::server(Arc::clone(shared)))
            .add_service(inference::server(Arc::clone(shared)))
            .add_service(health_service);
        let descriptors = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        if matches!(reflection, Reflection::Both | Reflection::V1) {
            routes = routes.add_service(
                descriptors()
                    .build_v1()
                    .expect("our own descriptors are sound"),
            );
        }
        if matches!(reflection, Reflection::Both | Reflection::V1alpha) {
            routes = routes.add_service(
                descriptors()
                    .build_v1alpha()
                    .expect("our own descriptors are sound"),
            );
        }
        Grpc {
            routes: routes.prepare(),
            health,
        }
    }

    /// Lets health say that the services are not ready, and after `ready_after` that they are. A
    /// task waits for that time, and ends early at `stop`.
    pub(super) async fn open(&self, ready_after: Duration, stop: CancellationToken) {
        set(&self.health, ServingStatus::NotServing).await;
        if ready_after.is_zero() {
            return set(&self.health, ServingStatus::Serving).await;
        }
        let health = self.health.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sleep(ready_after) => set(&health, ServingStatus::Serving).await,
                () = stop.cancelled() => {}
            }
        });
    }

    /// Carries out one call; failures are gRPC statuses in the response.
    pub(super) async fn call(&self, request: Request<Body>) -> Response<Body> {
        let answered = self.routes.clone().call(request).await;
        answered
            .unwrap_or_else(|never: Infallible| match never {})
            .map(Body::new)
    }
}

async fn set(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}
