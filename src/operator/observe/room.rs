//! Room for a run that the scheduler finds none for: masters of ended runs in the same namespace
//! whose reports are stored.

use std::collections::BTreeSet;

use kube::api::{Api, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, ResourceExt};

use crate::crd::LoadTest;
use crate::crd::status::RunStatus;
use crate::operator::api::{ApiError, kube_call};
use crate::operator::child::{COMPONENT_LABEL, Child, MANAGED_SELECTOR, RUN_LABEL, UID_LABEL};
use crate::operator::context::Context;
use crate::operator::view::SpareMaster;

/// Lists the masters that may give way to `run`, oldest first. None while one is on its way out.
pub async fn spare_masters(
    context: &Context,
    namespace: &str,
    run: &RunStatus,
) -> Result<Vec<SpareMaster>, ApiError> {
    let client = &context.client;
    let tests: Api<LoadTest> = Api::namespaced(client.clone(), namespace);
    let all = ListParams::default();
    let (tests, masters, reports) = tokio::try_join!(
        kube_call("list the LoadTests of", namespace, tests.list(&all)),
        of_component(client, namespace, Child::Master),
        of_component(client, namespace, Child::Report),
    )?;
    let is_leaving =
        |master: &PartialObjectMeta<DynamicObject>| master.metadata.deletion_timestamp.is_some();
    if masters.iter().any(is_leaving) {
        return Ok(Vec::new());
    }
    let installation = context.installation().id;
    let stored: BTreeSet<_> = reports.iter().filter_map(of_run).collect();
    let mut spare: Vec<SpareMaster> = masters
        .iter()
        .filter(|master| of_run(master).is_some_and(|of| stored.contains(&of)))
        .filter_map(|master| spare(master, &tests.items, &installation))
        .filter(|spare| spare.run != run.id)
        .collect();
    spare.sort_by(|a, b| (&a.finished_at, &a.run).cmp(&(&b.finished_at, &b.run)));
    if let Some(oldest) = spare.first() {
        tracing::info!(
            namespace,
            run = run.id,
            "finds no room: the master of the ended run {} gives way",
            oldest.run
        );
    }
    Ok(spare)
}

/// Lists the objects of all runs that have the role of `child`, by their metadata.
async fn of_component(
    client: &Client,
    namespace: &str,
    child: Child,
) -> Result<Vec<PartialObjectMeta<DynamicObject>>, ApiError> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &child.resource());
    let labels = format!("{MANAGED_SELECTOR},{COMPONENT_LABEL}={}", child.component());
    let list = ListParams::default().labels(&labels);
    let list = kube_call(
        "list the objects of runs in",
        namespace,
        api.list_metadata(&list),
    );
    Ok(list.await?.items)
}

/// Returns the run that an object says it belongs to: its id, and the UID of the LoadTest.
fn of_run(object: &PartialObjectMeta<DynamicObject>) -> Option<(String, String)> {
    let labels = object.labels();
    Some((
        labels.get(RUN_LABEL)?.clone(),
        labels.get(UID_LABEL)?.clone(),
    ))
}

/// Returns the master as one that may give way; `None` unless a LoadTest says that the run is its
/// own, of this installation, and has ended.
fn spare(
    master: &PartialObjectMeta<DynamicObject>,
    tests: &[LoadTest],
    installation: &str,
) -> Option<SpareMaster> {
    let (run, uid) = of_run(master)?;
    let test = tests
        .iter()
        .find(|test| test.uid().as_deref() == Some(uid.as_str()))?;
    let status = test.status.as_ref()?.run.as_ref()?;
    let has_ended = status.id == run && status.end.is_some() && status.installation == installation;
    // an object that only looks like one of ours is left alone
    let is_ours = master.name_any() == Child::Master.name(&run);
    (has_ended && is_ours).then(|| SpareMaster {
        run,
        uid: master.uid().unwrap_or_default(),
        finished_at: status.finished_at.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operator::fixture;

    fn master(run: &str, name: &str, uid: &str) -> PartialObjectMeta<DynamicObject> {
        serde_json::from_value(json!({"metadata": {
            "name": name, "uid": "of-deployment",
            "labels": {RUN_LABEL: run, UID_LABEL: uid},
        }}))
        .unwrap()
    }

    #[test]
    fn only_the_master_of_an_ended_run_of_this_installation_gives_way() {
        let (mut test, status) = fixture::ended();
        let run = status.run.clone().unwrap();
        let uid = test.uid().unwrap();
        test.status = Some(status);
        let name = Child::Master.name(&run.id);
        let found = |master: &PartialObjectMeta<DynamicObject>, test: &LoadTest, of: &str| {
            spare(master, std::slice::from_ref(test), of).map(|spare| spare.uid)
        };
        let ours = master(&run.id, &name, &uid);
        let installation = run.installation.as_str();
        assert_eq!(
            found(&ours, &test, installation).as_deref(),
            Some("of-deployment")
        );
        assert_eq!(found(&ours, &test, "other"), None);
        assert_eq!(
            found(&master(&run.id, &name, "other"), &test, installation),
            None
        );
        assert_eq!(
            found(&master("other", &name, &uid), &test, installation),
            None
        );
        assert_eq!(
            found(&master(&run.id, "web", &uid), &test, installation),
            None
        );
        test.status.as_mut().unwrap().run.as_mut().unwrap().end = None;
        assert_eq!(found(&ours, &test, installation), None);
    }
}
