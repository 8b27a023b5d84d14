//! Source of passes: for each watched namespace, or for all, five watches and a queue of LoadTests.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, applier};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::child::{MANAGED_SELECTOR, RUN_LABEL, TEST_LABEL};
use super::context::Context;
use super::queue::Guarded;
use super::reconcile::{ReconcileError, reconcile, retry_after};
use super::sight::SILENCE;
use super::watch::{Sink, Watch};

/// Time that changes are gathered for before a pass: a run that begins changes a dozen objects.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Time between two looks at an unreadable LoadTest, which an upgrade of the CRD may mend as well
/// as an edit.
const UNREADABLE: Duration = Duration::from_secs(300);

/// The cached LoadTests of one place; used for counting, and to know which are gone.
pub type Cache = Store<Guarded>;

type Sender = mpsc::Sender<ObjectRef<Guarded>>;

/// Starts the watches and the passes of one namespace, or of all, and returns the cache of its
/// LoadTests. Each part ends only after `stop`, and its name is what its task returns; errors of a
/// watch, such as a missing right, are retried and touch no other.
pub fn spawn(
    parts: &mut JoinSet<&'static str>,
    context: &Arc<Context>,
    namespace: Option<&str>,
    concurrency: u16,
    stop: &CancellationToken,
) -> Cache {
    let (sender, receiver) = context.queues.open(namespace);
    let (cache, writer) = reflector::store::<Guarded>();
    let watches = Watches {
        context,
        namespace,
        stop,
    };
    let tests = Tests {
        place: namespace.map(str::to_owned),
        context: context.clone(),
        writer,
        queue: sender.clone(),
    };
    watches.spawn::<Guarded>(parts, "loadtests", "", tests);
    let of_runs = &format!("{MANAGED_SELECTOR},{RUN_LABEL}");
    let parts_of_tests = || Children(sender.clone());
    watches.spawn::<PartialObjectMeta<Deployment>>(parts, "deployments", of_runs, parts_of_tests());
    watches.spawn::<PartialObjectMeta<Job>>(parts, "jobs", of_runs, parts_of_tests());
    watches.spawn::<PartialObjectMeta<Service>>(parts, "services", of_runs, parts_of_tests());
    watches.spawn::<PartialObjectMeta<Pod>>(parts, "pods", of_runs, parts_of_tests());
    let passes = run(
        cache.clone(),
        receiver,
        context.clone(),
        concurrency,
        stop.clone(),
    );
    parts.spawn(async move {
        passes.await;
        "a Controller"
    });
    cache
}

/// Parts that the watches of one place have in common.
struct Watches<'a> {
    context: &'a Arc<Context>,
    namespace: Option<&'a str>,
    stop: &'a CancellationToken,
}

impl Watches<'_> {
    fn spawn<K>(
        &self,
        parts: &mut JoinSet<&'static str>,
        kind: &'static str,
        selector: &str,
        sink: impl Sink<K> + 'static,
    ) where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let context = self.context;
        let place = self.namespace.unwrap_or_default();
        let watch = Watch {
            api: api::<K>(&context.client, self.namespace),
            selector: selector.to_owned(),
            sight: context.metrics.sights.add(place, kind, Instant::now()),
            metrics: context.metrics.clone(),
            connection: context.connection.clone(),
            silence: SILENCE,
        };
        let stop = self.stop.clone();
        parts.spawn(async move {
            watch.run(sink, stop).await;
            "a watch"
        });
    }
}

fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
    client: &Client,
    namespace: Option<&str>,
) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Sink of LoadTests: each goes into the cache and the queue.
struct Tests {
    place: Option<String>,
    context: Arc<Context>,
    writer: Writer<Guarded>,
    queue: Sender,
}

impl Sink<Guarded> for Tests {
    async fn take(&mut self, event: Event<Guarded>) {
        self.writer.apply_watcher_event(&event);
        match event {
            Event::Apply(test) | Event::InitApply(test) => {
                send(&self.queue, ObjectRef::from_obj(&test)).await;
            }
            Event::Delete(test) => {
                let namespace = test.namespace().unwrap_or_default();
                self.context.forget(&namespace, &test.name_any());
            }
            // deleted while nobody was looking
            Event::InitDone => {
                let there = self.writer.as_reader().state();
                let there: HashSet<(String, String)> = there
                    .iter()
                    .map(|test| (test.namespace().unwrap_or_default(), test.name_any()))
                    .collect();
                let place = self.place.as_deref();
                self.context.forget_others(place, &there);
            }
            Event::Init => {}
        }
    }
}

/// Sink of the objects and Pods of runs, whose label leads to the LoadTest.
struct Children(Sender);

impl<K: Resource + Send + Sync> Sink<K> for Children {
    async fn take(&mut self, event: Event<K>) {
        if let Event::Apply(child) | Event::InitApply(child) | Event::Delete(child) = event
            && let Some(test) = test_of(&child)
        {
            send(&self.0, test).await;
        }
    }
}

async fn send(queue: &Sender, test: ObjectRef<Guarded>) {
    // its reader has ended with the Controller
    let _ = queue.send(test).await;
}

fn test_of(object: &impl ResourceExt) -> Option<ObjectRef<Guarded>> {
    let name = object.labels().get(TEST_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

/// Makes the passes of one place until `stop`, then lets those in progress end.
async fn run(
    cache: Cache,
    queue: mpsc::Receiver<ObjectRef<Guarded>>,
    context: Arc<Context>,
    concurrency: u16,
    stop: CancellationToken,
) {
    let queue = ReceiverStream::new(queue)
        .map(Ok::<_, Infallible>)
        .take_until(stop.cancelled_owned());
    let config = controller::Config::default()
        .concurrency(concurrency)
        .debounce(DEBOUNCE);
    let passes = applier(
        |test, context| Box::pin(pass(test, context)),
        failed,
        context.clone(),
        cache,
        queue,
        config,
    );
    let mut passes = std::pin::pin!(passes);
    while let Some(outcome) = passes.next().await {
        match outcome {
            Ok(_) => {}
            // logged and counted where it failed
            Err(controller::Error::ReconcilerFailed(..)) => {}
            // deleted between being queued and being looked at
            Err(controller::Error::ObjectNotFound(_)) => {}
            Err(controller::Error::QueueError(never)) => match never {},
            Err(controller::Error::RunnerError(error)) => {
                context.metrics.error("runner");
                tracing::error!(%error, "the queue of LoadTests failed");
            }
        }
    }
}

/// Makes one pass, on a task of its own: a panic ends only that pass.
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
    let panicked = ReconcileError::Panicked {
        namespace: namespace.clone(),
        name: name.clone(),
    };
    let task = tokio::spawn(async move { reconcile(&context, &namespace, &name).await });
    let requeue = task.await.unwrap_or(Err(panicked))?;
    Ok(requeue.map_or_else(Action::await_change, Action::requeue))
}

fn failed(test: Arc<Guarded>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let (namespace, name) = (test.namespace().unwrap_or_default(), test.name_any());
    let delay = retry_after(&context, &namespace, &name, error);
    context.metrics.error(error.kind());
    tracing::warn!(namespace, loadtest = name, %error, retry_in = ?delay, "a pass failed");
    Action::requeue(delay)
}

#[cfg(test)]
mod tests;
