//! Looking: the LoadTest as it is now, its run's children and Pods, and what its master says. Thin;
//! it decides nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt};

use super::api::{ApiError, call, kube_call, refusal_kind};
use super::build;
use super::channel::Channel;
use super::child::{COMPONENT_LABEL, Child, Component, RUN_LABEL, TEST_LABEL, UID_LABEL};
use super::context::{Context, Memory};
use super::pods;
use super::view::{
    Children, MasterView, Observed, OldReport, PodView, Presence, Refusal, RefusalKind,
};
use crate::crd::LoadTest;
use crate::crd::status::RunStatus;
use crate::wire::RunResult;
use crate::wire::control::{Client as MasterClient, MasterState};
use crate::wire::layout::CONTROL_PORT;

/// The channel Secret is asked for so often while nothing suggests that it has gone.
const CHANNEL_EVERY: Duration = Duration::from_secs(30);

/// `None`: there is no such LoadTest any more.
pub async fn observe(
    context: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
) -> Result<Option<Observed>, ApiError> {
    let tests: Api<LoadTest> = Api::namespaced(context.client.clone(), namespace);
    let Some(test) = kube_call("read LoadTest", name, tests.get_opt(name)).await? else {
        return Ok(None);
    };
    let status = test.status.clone().unwrap_or_default();
    let mut seen = Observed {
        installation: context.installation(),
        children: Children::default(),
        old_reports: Vec::new(),
        pods: Vec::new(),
        master_refused: None,
        master: MasterView::Absent,
        unreachable_for: Duration::ZERO,
        result: None,
        refusal: None,
        since_status: memory.status_written.map(|at| at.elapsed()),
        pace: context.pace(),
        test,
    };
    memory.turn_to(status.run.as_ref().map(|run| run.id.as_str()));
    let Some(run) = status
        .run
        .filter(|run| run.installation == seen.installation.id || run.end.is_some())
    else {
        return Ok(Some(seen));
    };
    let uid = seen.test.metadata.uid.clone().unwrap_or_default();
    let found = Look {
        client: &context.client,
        namespace,
        run: &run.id,
        uid: &uid,
    };
    if run.end.is_none() {
        let (children, pods, channel) = tokio::join!(
            found.children(),
            found.pods(),
            found.channel(memory.channel_looked_at())
        );
        (seen.children, seen.master_refused) = children?;
        seen.pods = pods?;
        match channel? {
            Channelled::There { looked } => {
                seen.children.0.insert(
                    Child::Channel,
                    Presence::Ours {
                        uid: String::new(),
                        deleting: false,
                    },
                );
                if looked {
                    memory.channel_seen = Some(Instant::now());
                }
            }
            Channelled::Absent => {}
            // no reason to end a run that may be active
            Channelled::Unknown if run.started_at.is_some() => {
                seen.children.0.insert(
                    Child::Channel,
                    Presence::Ours {
                        uid: String::new(),
                        deleting: false,
                    },
                );
            }
            // the create itself meets the refusal again
            Channelled::Unknown => {}
            Channelled::Terminating(message) => {
                seen.refusal = Some(Refusal {
                    child: Child::Channel,
                    kind: RefusalKind::Terminating,
                    message,
                });
            }
        }
        ask_master(context, &run, &mut seen, memory).await;
        if run.started_at.is_some() && seen.children.uid(Child::Report).is_some() {
            seen.result = found.report().await?.map(Box::new).or(seen.result);
        }
    } else {
        let (children, pods, reports) =
            tokio::join!(found.children(), found.pods(), found.reports(name));
        (seen.children, seen.master_refused) = children?;
        (seen.pods, seen.old_reports) = (pods?, reports?);
        if run.started_at.is_some() && seen.children.uid(Child::Workers).is_some() {
            ask_master(context, &run, &mut seen, memory).await;
        }
    }
    Ok(Some(seen))
}

/// What is known of the channel Secret.
enum Channelled {
    There {
        looked: bool,
    },
    Absent,
    /// The API server would not say: a quota, an admission policy, a moment's trouble.
    Unknown,
    /// The namespace is going away.
    Terminating(String),
}

/// Where a run's objects are looked for.
struct Look<'a> {
    client: &'a Client,
    namespace: &'a str,
    run: &'a str,
    uid: &'a str,
}

impl Look<'_> {
    fn api(&self, child: Child) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &child.resource())
    }

    /// All but the channel, which the operator may not read; and why the master's Pod cannot be
    /// made.
    async fn children(&self) -> Result<(Children, Option<String>), ApiError> {
        let read = Child::ALL
            .into_iter()
            .filter(|child| *child != Child::Channel)
            .map(|child| async move {
                let name = child.name(self.run);
                if child == Child::Master {
                    // the only one of which more than the metadata is of interest
                    let found =
                        kube_call("read Deployment", &name, self.api(child).get_opt(&name)).await?;
                    let refused = found
                        .as_ref()
                        .and_then(|object| pods::creation_failure(&object.data));
                    return Ok((child, found.map(|object| self.presence(&object)), refused));
                }
                let found = kube_call(
                    "read the metadata of",
                    &name,
                    self.api(child).get_metadata_opt(&name),
                )
                .await?;
                Ok::<_, ApiError>((child, found.map(|object| self.presence(&object)), None))
            });
        let all = try_join_all(read).await?;
        let refused = all.iter().find_map(|(_, _, refused)| refused.clone());
        let present = all
            .into_iter()
            .filter_map(|(child, presence, _)| Some((child, presence?)));
        Ok((Children(present.collect()), refused))
    }

    fn presence(&self, object: &impl ResourceExt) -> Presence {
        if !is_ours(object, self.uid, self.run) {
            return Presence::Foreign;
        }
        Presence::Ours {
            uid: object.uid().unwrap_or_default(),
            deleting: object.meta().deletion_timestamp.is_some(),
        }
    }

    async fn pods(&self) -> Result<Vec<PodView>, ApiError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let list = ListParams::default().labels(&format!(
            "{RUN_LABEL}={},{UID_LABEL}={}",
            self.run, self.uid
        ));
        let list = kube_call("list the Pods of run", self.run, pods.list(&list)).await?;
        Ok(list.items.iter().filter_map(pods::view).collect())
    }

    /// Whether the channel Secret is there, without the right to read Secrets: a create that is
    /// only tried says that the name is taken.
    async fn channel(&self, seen: Option<Instant>) -> Result<Channelled, ApiError> {
        if seen.is_some_and(|at| at.elapsed() < CHANNEL_EVERY) {
            return Ok(Channelled::There { looked: false });
        }
        let name = Child::Channel.name(self.run);
        let probe = DynamicObject::new(&name, &Child::Channel.resource()).within(self.namespace);
        let (api, params) = (
            self.api(Child::Channel),
            PostParams {
                dry_run: true,
                field_manager: None,
            },
        );
        Ok(
            match call("look for Secret", &name, api.create(&params, &probe)).await? {
                Ok(_) => Channelled::Absent,
                Err(kube::Error::Api(said)) if said.is_already_exists() => {
                    Channelled::There { looked: true }
                }
                Err(kube::Error::Api(said))
                    if refusal_kind(&said) == Some(RefusalKind::Terminating) =>
                {
                    Channelled::Terminating(said.message.clone())
                }
                Err(_) => Channelled::Unknown,
            },
        )
    }

    async fn report(&self) -> Result<Option<RunResult>, ApiError> {
        let name = Child::Report.name(self.run);
        let object = kube_call(
            "read ConfigMap",
            &name,
            self.api(Child::Report).get_opt(&name),
        )
        .await?;
        let Some(packed) = object.as_ref().and_then(|object| {
            object.data["binaryData"]
                .as_object()?
                .values()
                .next()?
                .as_str()
        }) else {
            return Ok(None);
        };
        let result = data_encoding::BASE64
            .decode(packed.as_bytes())
            .map_err(|error| error.to_string())
            .and_then(|packed| build::read_report(&packed));
        if let Err(error) = &result {
            tracing::warn!(run = self.run, %error, "the report cannot be read");
        }
        Ok(result.ok())
    }

    async fn reports(&self, test: &str) -> Result<Vec<OldReport>, ApiError> {
        let list = ListParams::default().labels(&format!(
            "{TEST_LABEL}={test},{UID_LABEL}={},{COMPONENT_LABEL}=report",
            self.uid
        ));
        let list = kube_call(
            "list the reports of",
            test,
            self.api(Child::Report).list_metadata(&list),
        )
        .await?;
        let reports = list.items.iter().filter_map(|report| {
            let run = report.labels().get(RUN_LABEL)?.clone();
            (report.name_any() == Child::Report.name(&run)).then(|| OldReport {
                run,
                uid: report.uid().unwrap_or_default(),
            })
        });
        Ok(reports.collect())
    }
}

/// Made for this LoadTest (not for one of the same name before it) and this run.
pub fn is_ours(object: &impl ResourceExt, uid: &str, run: &str) -> bool {
    let labels = object.labels();
    labels.get(RUN_LABEL).is_some_and(|label| label == run)
        && labels.get(UID_LABEL).is_some_and(|label| label == uid)
}

/// Progress, and the result when it is final. That nobody answers is something seen, not an error.
async fn ask_master(context: &Context, run: &RunStatus, seen: &mut Observed, memory: &mut Memory) {
    let uid = seen.test.metadata.uid.clone().unwrap_or_default();
    seen.master = match newest_master(&seen.pods) {
        None => MasterView::Absent,
        Some(address) => match master_client(context, run, &uid, address, memory) {
            Err(why) => MasterView::Unreachable(why),
            Ok(client) => match client.progress().await {
                Err(error) => MasterView::Unreachable(error.to_string()),
                Ok(progress) => {
                    if progress.state == MasterState::Finished
                        && run.started_at.is_some()
                        && run.end.is_none()
                        && progress.run == run.id
                    {
                        seen.result = client
                            .result()
                            .await
                            .unwrap_or_else(|error| {
                                tracing::warn!(run = run.id, %error, "the master is finished but its result cannot be read");
                                None
                            })
                            .filter(|result| result.run == run.id)
                            .map(Box::new);
                    }
                    MasterView::Up(progress)
                }
            },
        },
    };
    match seen.master {
        MasterView::Up(_) => memory.unreachable_since = None,
        _ => {
            seen.unreachable_for = memory
                .unreachable_since
                .get_or_insert_with(Instant::now)
                .elapsed()
        }
    }
}

/// A ReplicaSet makes a second master while a cut-off node keeps the first: the newest counts.
fn newest_master(pods: &[PodView]) -> Option<std::net::SocketAddr> {
    let masters = pods
        .iter()
        .filter(|pod| pod.component == Component::Master && !pod.deleting && !pod.over);
    let newest = masters.max_by_key(|pod| pod.created)?;
    newest.address.map(|address| (address, CONTROL_PORT).into())
}

fn master_client(
    context: &Context,
    run: &RunStatus,
    uid: &str,
    address: std::net::SocketAddr,
    memory: &mut Memory,
) -> Result<Arc<MasterClient>, String> {
    if let Some((known, client)) = &memory.master
        && *known == (run.id.clone(), address)
    {
        return Ok(client.clone());
    }
    let channel = channel_of(context, run, uid)?;
    let client = MasterClient::new(&run.id, address, &channel.ca, &channel.operator_token)
        .map_err(|error| error.to_string())?;
    let client = Arc::new(client);
    memory.master = Some(((run.id.clone(), address), client.clone()));
    Ok(client)
}

/// The secrets of a run, computed.
pub fn channel_of(context: &Context, run: &RunStatus, uid: &str) -> Result<Channel, String> {
    let key = context.keys.get(&run.key_id).ok_or_else(|| {
        format!(
            "the install key {:?} that the run began with is not there any more",
            run.key_id
        )
    })?;
    Channel::derive(key, uid, &run.id, &run.created_at).map_err(|error| error.to_string())
}

/// Whose the object is that has a child's name.
pub async fn presence_of(
    client: &Client,
    namespace: &str,
    child: Child,
    run: &str,
    uid: &str,
) -> Result<Option<Presence>, ApiError> {
    let look = Look {
        client,
        namespace,
        run,
        uid,
    };
    let name = child.name(run);
    let found = kube_call(
        "read the metadata of",
        &name,
        look.api(child).get_metadata_opt(&name),
    )
    .await?;
    Ok(found.map(|object| look.presence(&object)))
}
