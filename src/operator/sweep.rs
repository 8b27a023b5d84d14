//! Garbage collection by the operator: what a deletion with `--cascade=orphan` leaves behind would
//! go on making load, and what an operator creates late, for a run that has meanwhile ended and made
//! room for the next, would take up room for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{CustomResourceExt, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::api::{ApiError, delete, kube_call};
use super::child::{COMPONENT_LABEL, Child, MANAGED_SELECTOR, RUN_LABEL, TEST_LABEL, UID_LABEL};
use super::context::Context;
use crate::crd::LoadTest;

/// Time between two sweeps; the first comes at the operator's start.
const EVERY: Duration = Duration::from_secs(600);

/// Owner of a child, and its run, by its labels: the owner references of an orphaned child are gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    namespace: String,
    test: String,
    uid: String,
    run: String,
}

impl Owner {
    fn of(object: &impl ResourceExt) -> Option<Self> {
        let label = |name: &str| object.labels().get(name).cloned();
        Some(Self {
            namespace: object.namespace()?,
            test: label(TEST_LABEL)?,
            uid: label(UID_LABEL)?,
            run: label(RUN_LABEL)?,
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
                "deleted what LoadTests that are gone, and runs before the last, have left behind"
            ),
            Err(error) => {
                context.metrics.error("sweep");
                tracing::warn!(%error, "the sweep for children that nobody wants failed");
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

/// Deletes every child without its LoadTest, or of a run that is not its LoadTest's last one, and
/// returns how many there were.
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
            if owners.want(context, &owner).await? {
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

/// Owners that one sweep has looked up, and whether they want their children. Each was looked up
/// after a child of its run was seen, so that a run unknown to its LoadTest is an older one.
#[derive(Default)]
struct Owners(BTreeMap<Owner, bool>);

impl Owners {
    async fn want(&mut self, context: &Context, owner: &Owner) -> Result<bool, ApiError> {
        if let Some(wanted) = self.0.get(owner) {
            return Ok(*wanted);
        }
        // untyped: one that cannot be read must not keep the others from being swept
        let tests = api_in(context, &owner.namespace, &LoadTest::api_resource());
        let found = kube_call("read LoadTest", &owner.test, tests.get_opt(&owner.test)).await?;
        let wanted = found.is_some_and(|test| wants(&test, owner));
        self.0.insert(owner.clone(), wanted);
        Ok(wanted)
    }
}

/// Returns whether a LoadTest is the owner, and the run its last one. Ids of runs are in the status
/// before anything of them is created; where there is none, somebody has taken it away, and nothing
/// is known.
fn wants(test: &DynamicObject, owner: &Owner) -> bool {
    let last = test.data["status"]["run"]["id"].as_str();
    test.uid().as_deref() == Some(&owner.uid) && last.is_none_or(|last| last == owner.run)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    fn owner(uid: &str, run: &str) -> Owner {
        Owner {
            namespace: "team-a".into(),
            test: "categorizer".into(),
            uid: uid.into(),
            run: run.into(),
        }
    }

    #[test]
    fn children_are_wanted_by_their_own_loadtest_for_its_last_run_alone() {
        let untyped = |test: &LoadTest| -> DynamicObject {
            serde_json::from_value(serde_json::to_value(test).unwrap()).unwrap()
        };
        let (mut test, status) = fixture::ended();
        assert!(wants(&untyped(&test), &owner("0b0c", "categorizer-bbbbbb")));
        test.status = Some(status);
        let test = untyped(&test);
        assert!(wants(&test, &owner("0b0c", "categorizer-aaaaaa")));
        assert!(!wants(&test, &owner("0b0c", "categorizer-bbbbbb")));
        assert!(!wants(&test, &owner("another", "categorizer-aaaaaa")));
    }
}
