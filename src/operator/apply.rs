//! Writing: what was decided, in that order, until something is refused. Thin; every call has a
//! timeout.

use std::time::Instant;

use kube::api::{Api, DynamicObject, PostParams};
use serde_json::Value;

use super::api::{ApiError, call, delete, kube_call, refusal_kind};
use super::build::{self, Blueprint};
use super::child::Child;
use super::context::{Context, Memory};
use super::decide::Write;
use super::events;
use super::observe::{channel_of, presence_of};
use super::view::{Observed, Presence, Refusal, RefusalKind};
use crate::crd::status::RunStatus;
use crate::crd::{LoadTest, LoadTestStatus};

/// How a list of writes ended.
#[derive(Debug, PartialEq)]
pub enum Applied {
    All,
    /// The LoadTest was changed since it was observed: look again.
    Conflict,
    Refused(Refusal),
}

/// What the writes of one pass need.
pub struct Pass<'a> {
    pub context: &'a Context,
    pub seen: &'a Observed,
    pub memory: &'a mut Memory,
}

impl Pass<'_> {
    pub async fn apply(mut self, writes: &[Write]) -> Result<Applied, ApiError> {
        let mut plan_uid = self.seen.children.uid(Child::Plan).map(str::to_owned);
        for write in writes {
            let label = self.label(write);
            self.context.kill.before(label);
            let refused = match write {
                Write::Status(status) => {
                    if !self.put_status(status).await? {
                        return Ok(Applied::Conflict);
                    }
                    None
                }
                Write::Create(child) => self.create(*child, &mut plan_uid).await?,
                Write::Delete { child, run, uid } => {
                    self.delete(*child, run, uid).await?;
                    None
                }
                Write::Grant(_) | Write::Stop(_) | Write::Acknowledge => {
                    self.tell_master(write).await?;
                    None
                }
            };
            if let Some(refusal) = refused {
                return Ok(Applied::Refused(refusal));
            }
            self.context.kill.after(label);
        }
        Ok(Applied::All)
    }

    /// Number of a write in LIFECYCLE 2.
    fn label(&self, write: &Write) -> &'static str {
        match write {
            Write::Status(new) => status_label(&self.seen.status(), new),
            Write::Create(Child::Plan) => "W2",
            Write::Create(Child::Channel) => "W3",
            Write::Create(Child::Policy) => "W4",
            Write::Create(Child::Service) => "W5",
            Write::Create(Child::Master) => "W6",
            Write::Create(Child::Workers) => "W7",
            Write::Create(Child::Report) => "W10",
            Write::Acknowledge => "W12",
            Write::Delete { .. } => "W13",
            Write::Create(Child::Budget) => "budget",
            Write::Grant(_) => "grant",
            Write::Stop(_) => "stop",
        }
    }

    fn namespace(&self) -> &str {
        self.seen
            .test
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.seen.test.metadata.name.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.seen.test.metadata.uid.as_deref().unwrap_or_default()
    }

    fn run(&self) -> RunStatus {
        self.seen.status().run.unwrap_or_default()
    }

    fn api(&self, child: Child) -> Api<DynamicObject> {
        Api::namespaced_with(
            self.context.client.clone(),
            self.namespace(),
            &child.resource(),
        )
    }

    /// With the resourceVersion that was observed; `false` when it is no longer the newest.
    async fn put_status(&mut self, status: &LoadTestStatus) -> Result<bool, ApiError> {
        let tests: Api<LoadTest> = Api::namespaced(self.context.client.clone(), self.namespace());
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
            Ok(_) => {
                self.memory.status_written = Some(Instant::now());
                log_change(&self.seen.test, &old, status);
                events::publish(self.context, &self.seen.test, &old, status).await;
                Ok(true)
            }
            Err(ApiError::Kube { source, .. }) if matches!(&*source, kube::Error::Api(said) if said.is_conflict() || said.is_not_found()) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn create(
        &mut self,
        child: Child,
        plan_uid: &mut Option<String>,
    ) -> Result<Option<Refusal>, ApiError> {
        let run = self.run();
        let build_error = |why: String| ApiError::Build {
            run: run.id.clone(),
            why,
        };
        let object = self
            .object(child, &run, plan_uid.as_deref())
            .map_err(build_error)?;
        let object: DynamicObject =
            serde_json::from_value(object).map_err(|error| build_error(error.to_string()))?;
        let name = child.name(&run.id);
        let refuse = |kind, message: String| {
            Ok(Some(Refusal {
                child,
                kind,
                message,
            }))
        };
        match call(
            "create",
            &name,
            self.api(child).create(&PostParams::default(), &object),
        )
        .await?
        {
            Ok(created) => {
                if child == Child::Plan {
                    *plan_uid = created.metadata.uid;
                }
                Ok(None)
            }
            Err(kube::Error::Api(said)) if said.is_already_exists() => {
                // created by a pass that did not live to see the answer, by another operator, or by
                // a stranger
                let presence = match child {
                    Child::Channel => Some(Presence::Ours {
                        uid: String::new(),
                        deleting: false,
                    }),
                    _ => {
                        presence_of(
                            &self.context.client,
                            self.namespace(),
                            child,
                            &run.id,
                            self.uid(),
                        )
                        .await?
                    }
                };
                match presence {
                    Some(Presence::Foreign) => {
                        refuse(RefusalKind::Taken, "is there and is not of this run".into())
                    }
                    Some(Presence::Ours {
                        uid,
                        deleting: false,
                    }) => {
                        if child == Child::Plan {
                            *plan_uid = Some(uid);
                        }
                        Ok(None)
                    }
                    _ => refuse(RefusalKind::Denied, "is just being deleted".into()),
                }
            }
            Err(kube::Error::Api(said)) => match refusal_kind(&said) {
                Some(kind) => refuse(kind, said.message.clone()),
                None => Err(ApiError::Kube {
                    what: "create",
                    name,
                    source: Box::new(kube::Error::Api(said)),
                }),
            },
            Err(source) => Err(ApiError::Kube {
                what: "create",
                name,
                source: Box::new(source),
            }),
        }
    }

    fn object(
        &self,
        child: Child,
        run: &RunStatus,
        plan_uid: Option<&str>,
    ) -> Result<Value, String> {
        let test = &self.seen.test;
        if child == Child::Report {
            let result = self
                .seen
                .result
                .as_deref()
                .ok_or("there is no result to store")?;
            return Ok(build::report(test, &run.id, result));
        }
        let blueprint = Blueprint::new(test, run, &self.context.settings).map_err(|problems| {
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        })?;
        Ok(match child {
            Child::Plan => blueprint.plan(),
            Child::Channel => blueprint.channel(
                &channel_of(self.context, run, self.uid())?,
                plan_uid.ok_or("the plan that owns the channel is not there")?,
            ),
            Child::Policy => blueprint.policy(),
            Child::Service => blueprint.service(),
            Child::Master => blueprint.master(),
            Child::Budget => blueprint.budget(),
            Child::Workers => blueprint.workers(),
            Child::Report => unreachable!("built above"),
        })
    }

    /// Gone already, or gone and made anew by someone else: both are none of ours.
    async fn delete(&self, child: Child, run: &str, uid: &str) -> Result<(), ApiError> {
        delete(&self.api(child), &child.name(run), uid).await
    }

    /// Only a grant must be heard; a stop is told again by the next pass, and an acknowledgement is
    /// a courtesy.
    async fn tell_master(&self, write: &Write) -> Result<(), ApiError> {
        let Some((_, client)) = &self.memory.master else {
            return Ok(());
        };
        let outcome = match write {
            Write::Grant(grant) => {
                client
                    .grant(grant)
                    .await
                    .map_err(|source| ApiError::Grant {
                        run: grant.run.clone(),
                        source,
                    })?;
                return Ok(());
            }
            Write::Stop(stop) => client.stop(stop).await,
            _ => client.acknowledge().await,
        };
        if let Err(error) = outcome {
            tracing::warn!(loadtest = self.name(), namespace = self.namespace(), %error, "the master did not take a call");
        }
        Ok(())
    }
}

fn status_label(old: &LoadTestStatus, new: &LoadTestStatus) -> &'static str {
    let (before, after) = (old.run.as_ref(), new.run.as_ref());
    let id = |run: Option<&RunStatus>| run.map(|run| run.id.clone());
    let is_over = |run: Option<&RunStatus>| run.is_some_and(|run| run.end.is_some());
    match () {
        () if id(before) != id(after) => "W1",
        () if !is_over(before) && is_over(after) => "W11",
        () if before.and_then(|run| run.master.as_ref())
            != after.and_then(|run| run.master.as_ref()) =>
        {
            "W8"
        }
        () => "W9",
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
