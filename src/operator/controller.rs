//! Source of passes: one kube Controller for each watched namespace, or one for all, and a watch
//! beside it that tells whether watching works.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::child::{MANAGED_SELECTOR, RUN_LABEL, TEST_LABEL};
use super::context::Context;
use super::metrics::Watch;
use super::reconcile::{ReconcileError, reconcile, retry_after};
use crate::crd::LoadTest;

/// LoadTest that may be unreadable: one that cannot be read must not hide the others.
type Guarded = DeserializeGuard<LoadTest>;

/// Time that changes are gathered for before a pass: a run that begins changes a dozen objects.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Time between two looks at an unreadable LoadTest, which an upgrade of the CRD may mend as well
/// as an edit.
const UNREADABLE: Duration = Duration::from_secs(300);

/// Time between the failure of [`observe_watch`]'s watch and the next one.
const WATCH_RETRY: Duration = Duration::from_secs(2);

/// The cached LoadTests of one Controller; used for counting only.
pub type Cache = Store<Guarded>;

fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
    client: &Client,
    namespace: Option<&str>,
) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Builds the Controller of one namespace, or of all, and its cache. It ends only after `stop`;
/// errors of its watches, such as a missing Role, are retried with backoff and touch no other
/// Controller.
pub fn build(
    context: &Context,
    namespace: Option<&str>,
    concurrency: u16,
    stop: CancellationToken,
) -> (Controller<Guarded>, Cache) {
    let client = &context.client;
    let managed = || watcher::Config::default().labels(MANAGED_SELECTOR);
    let of_runs = watcher::Config::default().labels(&format!("{MANAGED_SELECTOR},{RUN_LABEL}"));
    let controller = Controller::new(
        api::<Guarded>(client, namespace),
        watcher::Config::default(),
    )
    .with_config(
        controller::Config::default()
            .concurrency(concurrency)
            .debounce(DEBOUNCE),
    )
    .owns(api::<Deployment>(client, namespace), managed())
    .owns(api::<Job>(client, namespace), managed())
    .owns(api::<Service>(client, namespace), managed())
    // Pods belong to Jobs and ReplicaSets: their label leads to the LoadTest
    .watches(
        api::<PartialObjectMeta<Pod>>(client, namespace),
        of_runs,
        |pod| test_of(&pod),
    )
    .graceful_shutdown_on(async move { stop.cancelled().await });
    let cache = controller.store();
    (controller, cache)
}

fn test_of(object: &impl ResourceExt) -> Option<ObjectRef<Guarded>> {
    let name = object.labels().get(TEST_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

/// Runs a Controller until it has drained.
pub async fn run(controller: Controller<Guarded>, context: Arc<Context>) {
    let passes = controller.run(pass, failed, context.clone());
    let mut passes = std::pin::pin!(passes);
    while let Some(outcome) = passes.next().await {
        match outcome {
            Ok(_) => {}
            // logged and counted where it failed
            Err(controller::Error::ReconcilerFailed(..)) => {}
            // deleted between being queued and being looked at
            Err(controller::Error::ObjectNotFound(_)) => {}
            Err(controller::Error::QueueError(error)) => {
                context.metrics.error("watch");
                tracing::warn!(%error, "a watch failed and is begun anew");
            }
            Err(controller::Error::RunnerError(error)) => {
                context.metrics.error("runner");
                tracing::error!(%error, "the queue of LoadTests failed");
            }
        }
    }
}

async fn pass(test: Arc<Guarded>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let (namespace, name) = (test.namespace().unwrap_or_default(), test.name_any());
    if let Err(error) = &test.0 {
        context.metrics.error("unreadable");
        tracing::warn!(
            namespace,
            loadtest = name,
            %error,
            "a LoadTest cannot be read and is left alone"
        );
        return Ok(Action::requeue(UNREADABLE));
    }
    let requeue = reconcile(&context, &namespace, &name).await?;
    Ok(requeue.map_or_else(Action::await_change, Action::requeue))
}

fn failed(test: Arc<Guarded>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let (namespace, name) = (test.namespace().unwrap_or_default(), test.name_any());
    let delay = retry_after(&context, &namespace, &name);
    context.metrics.error(error.kind());
    tracing::warn!(namespace, loadtest = name, %error, retry_in = ?delay, "a pass failed");
    Action::requeue(delay)
}

/// Watches the metadata of LoadTests only to know whether watching works: the Controller does not
/// show when its own watch is alive.
pub async fn observe_watch<K>(api: Api<K>, watch: Arc<Watch>, stop: CancellationToken)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    loop {
        let mut events = std::pin::pin!(watcher(api.clone(), watcher::Config::default()));
        loop {
            tokio::select! {
                event = events.next() => match event {
                    // a list that has begun is no sign of life yet
                    Some(Ok(watcher::Event::Init)) => {}
                    Some(Ok(_)) => watch.note(true),
                    // begun anew by a list: a watch that merely continues delivers nothing until
                    // something changes
                    Some(Err(_)) | None => break,
                },
                () = stop.cancelled() => return,
            }
        }
        watch.note(false);
        tokio::select! {
            () = tokio::time::sleep(WATCH_RETRY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Returns the API that [`observe_watch`] watches.
pub fn watched(client: &Client, namespace: Option<&str>) -> Api<PartialObjectMeta<LoadTest>> {
    api(client, namespace)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::operator::metrics::Metrics;

    /// Client whose API server answers lists, and refuses the first watch as one does that has just
    /// learnt of the CRD.
    fn client(watches: Arc<AtomicU32>) -> Client {
        let answer = move |request: Request<Body>| {
            let is_watch = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch=true"));
            let nth = watches.fetch_add(u32::from(is_watch), Ordering::Relaxed);
            async move {
                let (status, body) = match (is_watch, nth) {
                    (false, _) => (
                        200,
                        json!({
                            "apiVersion": "meta.k8s.io/v1",
                            "kind": "PartialObjectMetadataList",
                            "metadata": {"resourceVersion": "1"},
                            "items": [],
                        }),
                    ),
                    (true, 0) => (
                        429,
                        json!({
                            "apiVersion": "v1",
                            "kind": "Status",
                            "status": "Failure",
                            "code": 429,
                            "reason": "TooManyRequests",
                            "message": "storage is (re)initializing",
                        }),
                    ),
                    (true, _) => std::future::pending().await,
                };
                Response::builder()
                    .status(status)
                    .body(Body::from(body.to_string().into_bytes()))
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn a_watch_that_was_refused_once_is_known_to_live_again_though_nothing_changes() {
        let watches = Arc::new(AtomicU32::new(0));
        let watch = Metrics::default().watch("");
        let stop = CancellationToken::new();
        let observing = tokio::spawn(observe_watch(
            watched(&client(watches.clone()), None),
            watch.clone(),
            stop.clone(),
        ));
        while watches.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(watch.is_up());
        stop.cancel();
        observing.await.unwrap();
    }
}
