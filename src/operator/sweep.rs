//! Garbage collection by the operator: what a deletion with `--cascade=orphan` leaves behind would
//! go on making load.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use tokio_util::sync::CancellationToken;

use super::api::{ApiError, delete, kube_call};
use super::child::{COMPONENT_LABEL, Child, MANAGED_SELECTOR, RUN_LABEL, TEST_LABEL, UID_LABEL};
use super::context::Context;
use crate::crd::LoadTest;

/// Time between two sweeps; the first comes at the operator's start.
const EVERY: Duration = Duration::from_secs(600);

/// Owner of a child by its labels: the owner references of an orphaned child are gone.
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

/// Children that are swept, the Job first since it makes the load. Reports stay: whoever orphans a
/// LoadTest's children wants to keep something. Channels go with their plans.
const SWEPT: [Child; 7] = [
    Child::Workers,
    Child::Master,
    Child::Service,
    Child::External,
    Child::Policy,
    Child::Budget,
    Child::Plan,
];

/// Deletes every child without its LoadTest, and returns how many there were.
async fn sweep(context: &Context, namespace: Option<&str>) -> Result<usize, ApiError> {
    let mut owners = Owners::default();
    let mut deleted = 0;
    for child in SWEPT {
        let api = api(context, namespace, &child.resource());
        let component = child.component();
        let selector = format!("{MANAGED_SELECTOR},{COMPONENT_LABEL}={component}");
        let params = ListParams::default().labels(&selector);
        let found = kube_call("list the children", component, api.list_metadata(&params)).await?;
        for object in found.items {
            let Some(owner) = Owner::of(&object) else {
                continue;
            };
            if owners.exists(context, &owner).await? {
                continue;
            }
            let api = api_in(context, &owner.namespace, &child.resource());
            let uid = object.uid().unwrap_or_default();
            delete(&api, &object.name_any(), &uid).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Owners that one sweep has looked up, and whether they exist.
#[derive(Default)]
struct Owners(BTreeMap<Owner, bool>);

impl Owners {
    async fn exists(&mut self, context: &Context, owner: &Owner) -> Result<bool, ApiError> {
        if let Some(exists) = self.0.get(owner) {
            return Ok(*exists);
        }
        let exists = exists(context, owner).await?;
        self.0.insert(owner.clone(), exists);
        Ok(exists)
    }
}

fn api_in(context: &Context, namespace: &str, resource: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(context.client.clone(), namespace, resource)
}

fn api(context: &Context, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => api_in(context, namespace, resource),
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
