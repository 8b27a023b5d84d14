//! The operator's own garbage collection: what a deletion with `--cascade=orphan` leaves behind
//! would go on making load.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use tokio_util::sync::CancellationToken;

use super::api::{ApiError, delete, kube_call};
use super::child::{Child, MANAGED_SELECTOR, RUN_LABEL, TEST_LABEL, UID_LABEL};
use super::context::Context;
use crate::crd::LoadTest;

/// At the start, and then so often.
const EVERY: Duration = Duration::from_secs(600);

/// Who owns a child, by its labels: its owner references are gone when it was orphaned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    namespace: String,
    test: String,
    uid: String,
}

impl Owner {
    fn of(object: &impl ResourceExt) -> Option<Self> {
        let label = |name: &str| object.labels().get(name).cloned();
        label(RUN_LABEL)?;
        Some(Self {
            namespace: object.namespace()?,
            test: label(TEST_LABEL)?,
            uid: label(UID_LABEL)?,
        })
    }
}

/// Sweeps one namespace, or all, until `stop`.
pub async fn run(context: &Context, namespace: Option<&str>, stop: CancellationToken) {
    loop {
        match sweep(context, namespace).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(
                deleted,
                "deleted what LoadTests that are gone have left behind"
            ),
            Err(error) => {
                context.metrics.error("sweep");
                tracing::warn!(%error, "the sweep for children without a LoadTest failed");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn sweep(context: &Context, namespace: Option<&str>) -> Result<usize, ApiError> {
    let mut known: BTreeMap<Owner, bool> = BTreeMap::new();
    let mut deleted = 0;
    // the Job first, since it makes the load. Reports stay: who orphans a LoadTest's children wants
    // to keep something, and channels go with their plans
    for child in [
        Child::Workers,
        Child::Master,
        Child::Service,
        Child::Policy,
        Child::Budget,
        Child::Plan,
    ] {
        let api = api(context, namespace, &child.resource());
        let selector = format!(
            "{MANAGED_SELECTOR},app.kubernetes.io/component={}",
            child.component()
        );
        let found = kube_call(
            "list the children",
            child.component(),
            api.list_metadata(&ListParams::default().labels(&selector)),
        )
        .await?;
        for object in found.items {
            let Some(owner) = Owner::of(&object) else {
                continue;
            };
            let exists = match known.get(&owner) {
                Some(exists) => *exists,
                None => {
                    let exists = exists(context, &owner).await?;
                    known.insert(owner.clone(), exists);
                    exists
                }
            };
            if !exists {
                let place: Api<DynamicObject> = Api::namespaced_with(
                    context.client.clone(),
                    &owner.namespace,
                    &child.resource(),
                );
                delete(
                    &place,
                    &object.name_any(),
                    &object.uid().unwrap_or_default(),
                )
                .await?;
                deleted += 1;
            }
        }
    }
    Ok(deleted)
}

fn api(context: &Context, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, resource),
        None => Api::all_with(context.client.clone(), resource),
    }
}

async fn exists(context: &Context, owner: &Owner) -> Result<bool, ApiError> {
    let tests: Api<LoadTest> = Api::namespaced(context.client.clone(), &owner.namespace);
    let found = kube_call(
        "read the metadata of LoadTest",
        &owner.test,
        tests.get_metadata_opt(&owner.test),
    )
    .await?;
    Ok(found.is_some_and(|test| test.uid().as_deref() == Some(&owner.uid)))
}
