//! Writing: objects that were built, the status, and orders to the master. Thin; nothing is decided
//! or built here, and every call has a timeout.

pub mod applied;

use std::time::Instant;

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;

use self::applied::{Applied, Written};
use super::api::{ApiError, call, delete, kube_call, refusal_kind};
use super::build::{Built, BuiltObject};
use super::child::Child;
use super::context::{Context, Memory};
use super::decide::{CallAfter, CallBefore, Deletion};
use super::events;
use super::masters::Order;
use super::observe::presence_of;
use super::view::{Observed, Presence, Refusal, RefusalKind};
use crate::crd::status::RunStatus;
use crate::crd::{LoadTest, LoadTestStatus};

/// Outcome of the creates of a pass.
#[derive(Debug)]
pub enum Created {
    /// Every object is there.
    All(Applied),
    /// The API server refused one; those before it are there.
    Refused(Refusal),
}

/// Writes of one pass over one LoadTest.
pub struct Writer<'a> {
    /// State that all passes share.
    pub context: &'a Context,
    /// The LoadTest as this pass observed it.
    pub seen: &'a Observed,
    /// Memory of the LoadTest between passes.
    pub memory: &'a mut Memory,
}

impl Writer<'_> {
    /// Creates the built objects in their order, until one is refused.
    pub async fn create(&self, built: Built) -> Result<Created, ApiError> {
        let mut children = self.seen.children.clone();
        for object in built {
            let (child, label) = (object.child(), create_label(object.child()));
            self.context.kill.before(label);
            let plan_uid = children.uid(Child::Plan).unwrap_or_default().to_owned();
            match self.post(object, &plan_uid).await? {
                Posted::There { uid } => {
                    let deleting = false;
                    children.0.insert(child, Presence::Ours { uid, deleting });
                }
                Posted::Refused(kind, message) => {
                    return Ok(Created::Refused(Refusal {
                        child,
                        kind,
                        message,
                    }));
                }
            }
            self.context.kill.after(label);
        }
        let report = self.seen.report.clone();
        Ok(Created::All(Applied::new(children, report)))
    }

    /// Gives the Job and the budget of disruptions another number of worker Pods: the only change
    /// of what was created. Where the API server refuses, the run goes on as it is.
    pub async fn resize(&self, pods: u32) -> Result<(), ApiError> {
        let run = self.seen.status().run.unwrap_or_default();
        self.context.kill.before("scale");
        // the Job, by which a pass sees that this was done, comes last
        let budget = json!({"spec": {"minAvailable": 1 + pods}});
        let workers = json!({"spec": {"completions": pods, "parallelism": pods}});
        for (child, change) in [(Child::Budget, budget), (Child::Workers, workers)] {
            let name = child.name(&run.id);
            let (api, params) = (self.api(child), PatchParams::default());
            let patched = call(
                "patch",
                &name,
                api.patch(&name, &params, &Patch::Merge(change)),
            )
            .await?;
            match patched {
                Ok(_) => {}
                // a later pass finds what is missing
                Err(kube::Error::Api(status)) if !status.is_conflict() => {
                    let message = &status.message;
                    tracing::warn!(%child, name, message, "the number of workers cannot be changed");
                }
                Err(source) => {
                    return Err(ApiError::Kube {
                        what: "patch",
                        name,
                        source: Box::new(source),
                    });
                }
            }
        }
        self.context.kill.after("scale");
        Ok(())
    }

    /// Deletes children in their order. One that is gone, or was made anew by someone else, is left
    /// alone.
    pub async fn delete(&self, deletions: &[Deletion]) -> Result<(), ApiError> {
        for Deletion {
            child,
            run: _,
            name,
            uid,
        } in deletions
        {
            self.context.kill.before("W13");
            delete(&self.api(*child), name, uid).await?;
            self.context.kill.after("W13");
        }
        Ok(())
    }

    /// Writes the status with the resourceVersion that was observed; `None` when that is no longer
    /// the newest one.
    pub async fn put_status(
        &mut self,
        status: LoadTestStatus,
    ) -> Result<Option<Written>, ApiError> {
        let label = status_label(&self.seen.status(), &status);
        self.context.kill.before(label);
        let tests: Api<LoadTest> = Api::namespaced(self.client(), self.namespace());
        let mut test = self.seen.test.clone();
        let old = test.status.replace(status.clone()).unwrap_or_default();
        test.metadata.managed_fields = None;
        let written = kube_call(
            "write the status of",
            self.name(),
            tests.replace_status(self.name(), &PostParams::default(), &test),
        )
        .await;
        match written {
            Ok(_) => {}
            Err(ApiError::Kube { source, .. }) if is_outdated(&source) => return Ok(None),
            Err(error) => return Err(error),
        }
        self.memory.status_written = Some(Instant::now());
        log_change(&self.seen.test, &old, &status);
        events::publish(self.context, &self.seen.test, &old, &status).await;
        self.context.kill.after(label);
        Ok(Some(Written::put(status)))
    }

    /// Orders a call that nothing depends on: the next pass repeats it, or it is a courtesy.
    pub fn order_before(&self, call: &CallBefore) {
        self.order(match call {
            CallBefore::Stop(stop) => Order::Stop(stop.clone()),
            CallBefore::Acknowledge => Order::Acknowledge,
        });
    }

    /// Orders a call that the status has announced. A later pass sees what became of it, and
    /// orders it anew where the master has not taken it.
    pub fn order_after(&self, call: &CallAfter, written: &Written) {
        match (call, written.grant()) {
            (CallAfter::Stop(stop), _) => self.order(Order::Stop(stop.clone())),
            (CallAfter::Scale, _) => {
                if let Some(scale) = written.scale() {
                    self.order(Order::Scale(scale));
                }
            }
            (CallAfter::Grant, None) => {}
            (CallAfter::Grant, Some(grant)) => self.order(Order::Grant(grant)),
        }
    }

    fn order(&self, order: Order) {
        let (masters, status) = (&self.context.masters, self.seen.status());
        let run = status.run.unwrap_or_default();
        masters.order(self.namespace(), self.name(), &run.id, order);
    }

    async fn post(&self, object: BuiltObject, plan_uid: &str) -> Result<Posted, ApiError> {
        let child = object.child();
        let name = object.name();
        let object = object.owned(plan_uid);
        let (api, params) = (self.api(child), PostParams::default());
        match call("create", &name, api.create(&params, &object)).await? {
            Ok(created) => Ok(Posted::There {
                uid: created.metadata.uid.unwrap_or_default(),
            }),
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.adopt(child).await,
            Err(source) => match refusal(&source) {
                Some((kind, message)) => Ok(Posted::Refused(kind, message)),
                None => Err(ApiError::Kube {
                    what: "create",
                    name,
                    source: Box::new(source),
                }),
            },
        }
    }

    /// Looks at an object that was there already: created by a pass that ended before the
    /// answer came, by another operator, or by a stranger.
    async fn adopt(&self, child: Child) -> Result<Posted, ApiError> {
        if child == Child::Channel {
            // the operator may not read it: the Pods compare what they mount of it with the
            // hashes in their arguments
            let uid = String::new();
            return Ok(Posted::There { uid });
        }
        let run = self.seen.status().run.unwrap_or_default();
        let presence = presence_of(self.context, &self.seen.test, &run, child).await?;
        Ok(match presence {
            Some(Presence::Foreign) => {
                let message = "is there and is not what this operator made for the run";
                Posted::Refused(RefusalKind::Taken, message.into())
            }
            Some(Presence::Ours {
                uid,
                deleting: false,
            }) => Posted::There { uid },
            Some(Presence::Ours { deleting: true, .. }) | None => {
                Posted::Refused(RefusalKind::Denied, "is just being deleted".into())
            }
        })
    }

    fn api(&self, child: Child) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), self.namespace(), &child.resource())
    }

    fn client(&self) -> Client {
        self.context.client.clone()
    }

    fn namespace(&self) -> &str {
        let metadata = &self.seen.test.metadata;
        metadata.namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.seen.test.metadata.name.as_deref().unwrap_or_default()
    }
}

/// Answer to one create.
enum Posted {
    /// The object is there and is ours.
    There {
        uid: String,
    },
    Refused(RefusalKind, String),
}

/// Returns what the API server has against an object; `None` for what may pass with time.
fn refusal(error: &kube::Error) -> Option<(RefusalKind, String)> {
    match error {
        kube::Error::Api(status) => Some((refusal_kind(status)?, status.message.clone())),
        _ => None,
    }
}

/// Returns whether a write was refused because its object was changed or deleted since it was read.
fn is_outdated(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_not_found())
}

/// Returns the number of a create in the order of writes in LIFECYCLE 2.
fn create_label(child: Child) -> &'static str {
    match child {
        Child::Plan => "W2",
        Child::Channel => "W3",
        Child::Policy => "W4",
        Child::Service | Child::External => "W5",
        Child::Master => "W6",
        Child::Workers => "W7",
        Child::Report => "W10",
        Child::Budget => "budget",
    }
}

/// Returns the number of a status write in the order of writes in LIFECYCLE 2.
fn status_label(old: &LoadTestStatus, new: &LoadTestStatus) -> &'static str {
    let (before, after) = (old.run.as_ref(), new.run.as_ref());
    let id = |run: Option<&RunStatus>| run.map(|run| run.id.clone());
    let is_over = |run: Option<&RunStatus>| run.is_some_and(|run| run.end.is_some());
    let master = |run: Option<&RunStatus>| run.and_then(|run| run.master.clone());
    if id(before) != id(after) {
        "W1"
    } else if !is_over(before) && is_over(after) {
        "W11"
    } else if master(before) != master(after) {
        "W8"
    } else {
        "W9"
    }
}

fn log_change(test: &LoadTest, old: &LoadTestStatus, new: &LoadTestStatus) {
    if old.phase == new.phase
        && old.run.as_ref().map(|run| &run.id) == new.run.as_ref().map(|run| &run.id)
    {
        return;
    }
    let metadata = &test.metadata;
    tracing::info!(
        namespace = metadata.namespace,
        loadtest = metadata.name,
        run = new.run.as_ref().map(|run| run.id.as_str()),
        phase = new.phase.map(|phase| phase.to_string()),
        reason = new.columns.as_ref().map(|columns| columns.reason.as_str()),
        "the phase changed"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    #[test]
    fn the_writes_of_the_status_have_their_numbers() {
        let (_, over) = fixture::ended();
        let mut active = over.clone();
        active.run.as_mut().unwrap().end = None;
        let mut granted = active.clone();
        granted.run.as_mut().unwrap().master = Some(Default::default());
        assert_eq!(status_label(&LoadTestStatus::default(), &active), "W1");
        assert_eq!(status_label(&active, &granted), "W8");
        assert_eq!(status_label(&granted, &granted), "W9");
        assert_eq!(status_label(&active, &over), "W11");
    }
}
