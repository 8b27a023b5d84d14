//! Observing: the LoadTest as it is now, its run's children and Pods, and what its master says.
//! Thin; nothing is decided here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt};

use super::api::{ApiError, call, kube_call, refusal_kind};
use super::build;
use super::child::{COMPONENT_LABEL, Child, Component, RUN_LABEL, TEST_LABEL, UID_LABEL};
use super::context::{Context, Memory};
use super::pods;
use super::view::{
    Children, MasterView, Observed, OldReport, PodView, Presence, Refusal, RefusalKind,
};
use crate::crd::LoadTest;
use crate::crd::status::RunStatus;
use crate::wire::RunResult;
use crate::wire::control::{Client as MasterClient, MasterState, Progress};
use crate::wire::layout::CONTROL_PORT;

/// Time between two looks for the channel Secret while nothing suggests that it has gone.
const CHANNEL_EVERY: Duration = Duration::from_secs(30);

/// Observes one LoadTest; `None` when there is no such LoadTest any more.
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
    let run = test.status.as_ref().and_then(|status| status.run.clone());
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
    memory.turn_to(run.as_ref().map(|run| run.id.as_str()));
    match run {
        Some(run) if run.end.is_some() => {
            observe_ended(context, &run, &mut seen, memory).await?;
        }
        Some(run) if run.installation == seen.installation.id => {
            observe_active(context, &run, &mut seen, memory).await?;
        }
        _ => {}
    }
    Ok(Some(seen))
}

/// Observes what a run in progress is made of and what its master says.
async fn observe_active(
    context: &Context,
    run: &RunStatus,
    seen: &mut Observed,
    memory: &mut Memory,
) -> Result<(), ApiError> {
    let found = Lookup::new(&context.client, &seen.test, &run.id);
    let (children, pods, channel) = tokio::join!(
        found.children(),
        found.pods(),
        found.channel(memory.channel_looked_at())
    );
    (seen.children, seen.master_refused) = children?;
    seen.pods = pods?;
    let channel = channel?;
    if channel == (ChannelView::There { looked: true }) {
        memory.channel_seen = Some(Instant::now());
    }
    match channel {
        ChannelView::There { .. } => seen.children.insert_channel(),
        // no reason to end a run that may be active
        ChannelView::Unknown if run.started_at.is_some() => seen.children.insert_channel(),
        // where it is needed, its create meets the same trouble
        ChannelView::Unknown | ChannelView::Absent => {}
        ChannelView::Terminating(message) => {
            seen.refusal = Some(Refusal {
                child: Child::Channel,
                kind: RefusalKind::Terminating,
                message,
            });
        }
    }
    ask_master(context, run, seen, memory).await;
    if run.started_at.is_some()
        && seen.children.uid(Child::Report).is_some()
        && let Some(report) = found.report().await?
    {
        seen.result = Some(Box::new(report));
    }
    Ok(())
}

/// Observes what an ended run has left.
async fn observe_ended(
    context: &Context,
    run: &RunStatus,
    seen: &mut Observed,
    memory: &mut Memory,
) -> Result<(), ApiError> {
    let found = Lookup::new(&context.client, &seen.test, &run.id);
    let (children, pods, reports) = tokio::join!(found.children(), found.pods(), found.reports());
    (seen.children, seen.master_refused) = children?;
    (seen.pods, seen.old_reports) = (pods?, reports?);
    if run.started_at.is_some() && seen.children.uid(Child::Workers).is_some() {
        ask_master(context, run, seen, memory).await;
    }
    Ok(())
}

/// State of the channel Secret, as far as the operator can know it.
#[derive(PartialEq)]
enum ChannelView {
    /// The Secret is there.
    There {
        /// The API server was asked by this pass.
        looked: bool,
    },
    /// No such Secret exists.
    Absent,
    /// The API server would not say: a quota, an admission policy, a moment's trouble.
    Unknown,
    /// The namespace is going away; the message is the API server's.
    Terminating(String),
}

/// Objects of one run, looked up by their names and labels.
struct Lookup {
    client: Client,
    namespace: String,
    test: String,
    uid: String,
    run: String,
}

impl Lookup {
    fn new(client: &Client, test: &LoadTest, run: &str) -> Self {
        let metadata = test.metadata.clone();
        Self {
            client: client.clone(),
            namespace: metadata.namespace.unwrap_or_default(),
            test: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            run: run.to_owned(),
        }
    }

    fn api(&self, child: Child) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &child.resource())
    }

    /// Returns all children but the channel, which the operator may not read, and why the master's
    /// Pod cannot be made.
    async fn children(&self) -> Result<(Children, Option<String>), ApiError> {
        let of_metadata = Child::ALL
            .into_iter()
            .filter(|child| !matches!(child, Child::Channel | Child::Master))
            .map(|child| async move { Ok::<_, ApiError>((child, self.metadata(child).await?)) });
        let (found, master) = tokio::try_join!(try_join_all(of_metadata), self.master())?;
        let refused = master
            .as_ref()
            .and_then(|object| pods::creation_failure(&object.data));
        let master = master.map(|object| self.presence(&object));
        let present = found
            .into_iter()
            .chain([(Child::Master, master)])
            .filter_map(|(child, presence)| Some((child, presence?)));
        Ok((Children(present.collect()), refused))
    }

    /// Reads the master's Deployment, the only child of which more than the metadata is of
    /// interest.
    async fn master(&self) -> Result<Option<DynamicObject>, ApiError> {
        let name = Child::Master.name(&self.run);
        let found = self.api(Child::Master);
        kube_call("read Deployment", &name, found.get_opt(&name)).await
    }

    /// Returns whose the object is that has the name of a child.
    async fn metadata(&self, child: Child) -> Result<Option<Presence>, ApiError> {
        let name = child.name(&self.run);
        let api = self.api(child);
        let found = kube_call("read the metadata of", &name, api.get_metadata_opt(&name)).await?;
        Ok(found.map(|object| self.presence(&object)))
    }

    fn presence(&self, object: &impl ResourceExt) -> Presence {
        if !is_ours(object, &self.uid, &self.run) {
            return Presence::Foreign;
        }
        Presence::Ours {
            uid: object.uid().unwrap_or_default(),
            deleting: object.meta().deletion_timestamp.is_some(),
        }
    }

    async fn pods(&self) -> Result<Vec<PodView>, ApiError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let list = ListParams::default().labels(&format!(
            "{RUN_LABEL}={},{UID_LABEL}={}",
            self.run, self.uid
        ));
        let list = kube_call("list the Pods of run", &self.run, pods.list(&list)).await?;
        Ok(list.items.iter().filter_map(pods::view).collect())
    }

    /// Looks for the channel Secret without the right to read Secrets: a create that is only tried
    /// says that the name is taken. `seen` is when it was last found.
    async fn channel(&self, seen: Option<Instant>) -> Result<ChannelView, ApiError> {
        if seen.is_some_and(|at| at.elapsed() < CHANNEL_EVERY) {
            return Ok(ChannelView::There { looked: false });
        }
        let name = Child::Channel.name(&self.run);
        let probe = DynamicObject::new(&name, &Child::Channel.resource()).within(&self.namespace);
        let api = self.api(Child::Channel);
        let params = PostParams {
            dry_run: true,
            field_manager: None,
        };
        let answer = call("look for Secret", &name, api.create(&params, &probe)).await?;
        Ok(match answer {
            Ok(_) => ChannelView::Absent,
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                ChannelView::There { looked: true }
            }
            Err(kube::Error::Api(status))
                if refusal_kind(&status) == Some(RefusalKind::Terminating) =>
            {
                ChannelView::Terminating(status.message.clone())
            }
            Err(_) => ChannelView::Unknown,
        })
    }

    /// Reads the stored result; `None` when there is no report or it cannot be read.
    async fn report(&self) -> Result<Option<RunResult>, ApiError> {
        let name = Child::Report.name(&self.run);
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
            tracing::warn!(run = %self.run, %error, "the report cannot be read");
        }
        Ok(result.ok())
    }

    /// Lists the reports of all runs of the LoadTest.
    async fn reports(&self) -> Result<Vec<OldReport>, ApiError> {
        let list = ListParams::default().labels(&format!(
            "{TEST_LABEL}={},{UID_LABEL}={},{COMPONENT_LABEL}=report",
            self.test, self.uid
        ));
        let list = kube_call(
            "list the reports of",
            &self.test,
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

/// Returns whether the object was made for this run and this LoadTest, not for one of the same name
/// before it.
fn is_ours(object: &impl ResourceExt, uid: &str, run: &str) -> bool {
    let labels = object.labels();
    labels.get(RUN_LABEL).is_some_and(|label| label == run)
        && labels.get(UID_LABEL).is_some_and(|label| label == uid)
}

/// Asks the master for its progress, and for the result when it is final. That it does not answer
/// is something observed, not an error.
async fn ask_master(context: &Context, run: &RunStatus, seen: &mut Observed, memory: &mut Memory) {
    let uid = seen.test.metadata.uid.clone().unwrap_or_default();
    seen.master = match newest_master(&seen.pods) {
        None => MasterView::Absent,
        Some(address) => match master_client(context, run, &uid, address, memory) {
            Err(why) => MasterView::Unreachable(why),
            Ok(client) => match client.progress().await {
                Err(error) => MasterView::Unreachable(error.to_string()),
                Ok(progress) => {
                    if is_final(run, &progress) {
                        seen.result = final_result(run, &client).await;
                    }
                    MasterView::Up(progress)
                }
            },
        },
    };
    match seen.master {
        MasterView::Up(_) => memory.unreachable_since = None,
        MasterView::Absent | MasterView::Unreachable(_) => {
            seen.unreachable_for = memory
                .unreachable_since
                .get_or_insert_with(Instant::now)
                .elapsed();
        }
    }
}

/// Returns whether the master has a result that is still to be stored.
fn is_final(run: &RunStatus, progress: &Progress) -> bool {
    progress.state == MasterState::Finished
        && progress.run == run.id
        && run.started_at.is_some()
        && run.end.is_none()
}

async fn final_result(run: &RunStatus, client: &MasterClient) -> Option<Box<RunResult>> {
    let result = client.result().await.unwrap_or_else(|error| {
        tracing::warn!(
            run = run.id,
            %error,
            "the master is finished but its result cannot be read"
        );
        None
    });
    result.filter(|result| result.run == run.id).map(Box::new)
}

/// Returns the address of the newest master Pod: a ReplicaSet makes a second master while a cut-off
/// node keeps the first.
fn newest_master(pods: &[PodView]) -> Option<SocketAddr> {
    let masters = pods
        .iter()
        .filter(|pod| pod.component == Component::Master && !pod.deleting && !pod.over);
    let newest = masters.max_by_key(|pod| pod.created)?;
    newest.address.map(|address| (address, CONTROL_PORT).into())
}

/// Returns a client of the master at `address`, the remembered one if it is of the same run.
fn master_client(
    context: &Context,
    run: &RunStatus,
    uid: &str,
    address: SocketAddr,
    memory: &mut Memory,
) -> Result<Arc<MasterClient>, String> {
    if let Some((known, client)) = &memory.master
        && *known == (run.id.clone(), address)
    {
        return Ok(client.clone());
    }
    let channel = context
        .keys
        .channel(uid, run)
        .map_err(|error| error.to_string())?;
    let client = MasterClient::new(&run.id, address, &channel.ca, &channel.operator_token)
        .map_err(|error| error.to_string())?;
    let client = Arc::new(client);
    memory.master = Some(((run.id.clone(), address), client.clone()));
    Ok(client)
}

/// Returns whose the object is that has the name of a child of `run`; `None` when there is none.
pub async fn presence_of(
    client: &Client,
    test: &LoadTest,
    run: &str,
    child: Child,
) -> Result<Option<Presence>, ApiError> {
    Lookup::new(client, test, run).metadata(child).await
}
