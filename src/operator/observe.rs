//! Observing: the LoadTest as it is now, its run's children and Pods, and what its master last said.
//! Thin; nothing is decided here.

mod room;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt};

use super::api::{ApiError, call, kube_call, refusal_kind};
use super::build;
use super::child::{
    COMPONENT_LABEL, Child, Component, RUN_LABEL, SEAL_ANNOTATION, TEST_LABEL, UID_LABEL,
};
use super::context::{Context, Memory};
use super::decide::scaling;
use super::identity;
use super::install_key::InstallKeys;
use super::lease::{Owner, Sighting};
use super::masters::{Credentials, Wanted};
use super::pods;
use super::policies::{self, Enforcement};
use super::proof::Proofs;
use super::view::{
    Children, Governing, MasterView, Observed, OldReport, PodView, Presence, Refusal, RefusalKind,
};
use crate::crd::status::RunStatus;
use crate::crd::{LoadTest, LoadTestStatus};
use crate::wire::RunResult;
use crate::wire::checksum::sha256;
use crate::wire::layout::{CONTROL_PORT, RUN_FILE};

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
    let status = test.status.clone().unwrap_or_default();
    let mut seen = Observed {
        installation: context.installation(),
        governing: governing(context, namespace, &test, &status).await?,
        owner: Owner::Alive,
        lease: None,
        children: Children::default(),
        report: String::new(),
        old_reports: Vec::new(),
        job_pods: None,
        pods: Vec::new(),
        master_refused: None,
        master: MasterView::Absent,
        heard: None,
        unreachable_for: Duration::ZERO,
        acknowledged: None,
        spare_masters: Vec::new(),
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
        Some(run) => {
            context.masters.forget(namespace, name);
            observe_owner(context, namespace, &run, &mut seen, memory).await?;
        }
        None => context.masters.forget(namespace, name),
    }
    Ok(Some(seen))
}

/// Reads the policies of a run that has not been granted, or that the LoadTest asks for.
async fn governing(
    context: &Context,
    namespace: &str,
    test: &LoadTest,
    status: &LoadTestStatus,
) -> Result<Governing, ApiError> {
    let is_about_to_begin = match &status.run {
        // whose number of workers may be limited
        Some(run) if run.end.is_none() => run.started_at.is_none() || scaling::is_wanted(test, run),
        _ => identity::wants_run(test, status),
    };
    match context.policies {
        Enforcement::Enforce if is_about_to_begin => {
            policies::read(&context.client, namespace).await
        }
        Enforcement::Enforce | Enforcement::Off => Ok(Governing::default()),
    }
}

/// Observes what a run in progress is made of and what its master says.
async fn observe_active(
    context: &Context,
    run: &RunStatus,
    seen: &mut Observed,
    memory: &mut Memory,
) -> Result<(), ApiError> {
    let found = Lookup::new(context, &seen.test, run);
    let (children, pods, channel, report) = tokio::join!(
        found.children(),
        found.pods(),
        found.channel(memory.channel_looked_at()),
        found.report()
    );
    (seen.children, seen.master_refused, seen.job_pods) = children?;
    (seen.pods, seen.report) = (pods?, found.report.clone());
    if let Some(presence) = found.foreign_plan(&seen.children, memory).await? {
        seen.children.0.insert(Child::Plan, presence);
    }
    if let Some((presence, result)) = report? {
        seen.children.0.insert(Child::Report, presence);
        seen.result = result.filter(|_| run.started_at.is_some());
    }
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
    let stored = seen.result.take();
    look_at_master(context, run, seen, memory);
    seen.result = stored.or(seen.result.take());
    if run.started_at.is_none()
        && seen.pods.iter().any(PodView::finds_no_room)
        && memory.may_look_for_room()
    {
        seen.spare_masters = room::spare_masters(context, &found.namespace, run).await?;
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
    let found = Lookup::new(context, &seen.test, run);
    let reports = found.reports(&context.keys);
    let (children, pods, reports) = tokio::join!(found.children(), found.pods(), reports);
    (seen.children, seen.master_refused, seen.job_pods) = children?;
    (seen.pods, seen.old_reports) = (pods?, reports?);
    seen.report = found.report;
    if run.started_at.is_some() && seen.children.uid(Child::Workers).is_some() {
        look_at_master(context, run, seen, memory);
    } else {
        let metadata = &seen.test.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        context.masters.forget(namespace, name);
    }
    Ok(())
}

/// Time for which nothing may have been written to a LoadTest, before its other installation, which
/// holds no Lease, is spoken of.
const QUIET: Duration = Duration::from_secs(300);

/// Observes the other installation that began a run.
async fn observe_owner(
    context: &Context,
    namespace: &str,
    run: &RunStatus,
    seen: &mut Observed,
    memory: &mut Memory,
) -> Result<(), ApiError> {
    let now = Instant::now();
    seen.owner = match &run.lease {
        Some(lease) => {
            let last = memory.owner.clone();
            let sighting = Sighting::look(&context.client, namespace, lease, last).await?;
            memory.owner.insert(sighting).owner(now)
        }
        None => {
            let version = seen.test.resource_version();
            match &memory.quiet {
                Some((known, since)) if *known == version => {
                    match now.saturating_duration_since(*since) > QUIET {
                        true => Owner::Unknown,
                        false => Owner::Alive,
                    }
                }
                _ => {
                    memory.quiet = Some((version, now));
                    Owner::Alive
                }
            }
        }
    };
    if seen.owner == Owner::Gone {
        // its Job is found by its labels and its owner, and can be deleted
        let found = Lookup::new(context, &seen.test, run);
        (seen.children, seen.master_refused, seen.job_pods) = found.children().await?;
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
    /// Workers from elsewhere join the run.
    has_external: bool,
    /// Name of the run's report.
    report: String,
    trust: Trust,
}

/// Signs by which the run's own objects are known.
enum Trust {
    /// Labels alone: an older release or another installation began the run.
    Labels,
    /// Seals of the run's install key over the hash of its plan, and the owner.
    Seals { proofs: Proofs, plan_hash: String },
    /// Labels and the owner: the install key is gone. Reports are not believed.
    NoKey,
}

impl Trust {
    fn of(context: &Context, run: &RunStatus) -> Self {
        match &run.plan_hash {
            Some(_) if run.installation != context.keys.installation => Trust::NoKey,
            Some(plan_hash) => match context.keys.proofs(&run.key_id) {
                Some(proofs) => Trust::Seals {
                    proofs,
                    plan_hash: plan_hash.clone(),
                },
                None => Trust::NoKey,
            },
            None => Trust::Labels,
        }
    }
}

impl Lookup {
    fn new(context: &Context, test: &LoadTest, run: &RunStatus) -> Self {
        let metadata = test.metadata.clone();
        let uid = metadata.uid.unwrap_or_default();
        let trust = Trust::of(context, run);
        let proofs = match &trust {
            Trust::Seals { proofs, .. } => Some(proofs),
            Trust::Labels | Trust::NoKey => None,
        };
        Self {
            client: context.client.clone(),
            namespace: metadata.namespace.unwrap_or_default(),
            test: metadata.name.unwrap_or_default(),
            report: build::report_name(proofs, &uid, &run.id),
            uid,
            run: run.id.clone(),
            has_external: run.external > 0,
            trust,
        }
    }

    fn api(&self, child: Child) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &child.resource())
    }

    /// Returns all children but the channel, which the operator may not read, why the master's Pod
    /// cannot be made, and how many Pods the Job is to have.
    async fn children(&self) -> Result<(Children, Option<String>, Option<u32>), ApiError> {
        let is_apart = |child: &Child| {
            matches!(
                child,
                Child::Channel | Child::Master | Child::Workers | Child::Report
            )
        };
        let of_metadata = Child::ALL
            .into_iter()
            .filter(|child| !is_apart(child))
            .filter(|child| *child != Child::External || self.has_external)
            .map(|child| async move { Ok::<_, ApiError>((child, self.metadata(child).await?)) });
        let (found, master, workers) = tokio::try_join!(
            try_join_all(of_metadata),
            self.whole(Child::Master),
            self.whole(Child::Workers)
        )?;
        let pods = workers.as_ref().and_then(pods::wanted_by_job);
        let workers = workers.map(|object| self.presence(Child::Workers, &object));
        let refused = master
            .as_ref()
            .and_then(|object| pods::creation_failure(&object.data));
        let master = master.map(|object| self.presence(Child::Master, &object));
        let present = found
            .into_iter()
            .chain([(Child::Master, master), (Child::Workers, workers)])
            .filter_map(|(child, presence)| Some((child, presence?)));
        Ok((Children(present.collect()), refused, pods))
    }

    /// Reads a child of which more than the metadata is of interest: the master's Deployment, or
    /// the workers' Job.
    async fn whole(&self, child: Child) -> Result<Option<DynamicObject>, ApiError> {
        let name = child.name(&self.run);
        let found = self.api(child);
        kube_call("read", &name, found.get_opt(&name)).await
    }

    /// Returns whose the object is that has the name of a child.
    async fn metadata(&self, child: Child) -> Result<Option<Presence>, ApiError> {
        let name = child.name(&self.run);
        let api = self.api(child);
        let found = kube_call("read the metadata of", &name, api.get_metadata_opt(&name)).await?;
        Ok(found.map(|object| self.presence(child, &object)))
    }

    fn presence(&self, child: Child, object: &impl ResourceExt) -> Presence {
        let is_sealed = match &self.trust {
            Trust::Labels => true,
            Trust::NoKey => self.owns(object),
            Trust::Seals { proofs, plan_hash } => {
                let seal = proofs.child(&self.uid, &self.run, plan_hash, child);
                self.owns(object) && object.annotations().get(SEAL_ANNOTATION) == Some(&seal)
            }
        };
        match is_sealed && is_labelled(object, &self.uid, &self.run) {
            true => ours(object),
            false => Presence::Foreign,
        }
    }

    /// Returns whether the LoadTest owns the object.
    fn owns(&self, object: &impl ResourceExt) -> bool {
        let owners = object.owner_references();
        owners
            .iter()
            .any(|owner| owner.uid == self.uid && owner.controller == Some(true))
    }

    /// Compares the content of the plan with the hash in the status, once for each object: a plan
    /// is immutable. Returns what a plan with another content is.
    async fn foreign_plan(
        &self,
        children: &Children,
        memory: &mut Memory,
    ) -> Result<Option<Presence>, ApiError> {
        let Some(uid) = children.uid(Child::Plan) else {
            return Ok(None);
        };
        if memory.plan_checked.as_deref() == Some(uid) {
            return Ok(None);
        }
        let presence = self.plan().await?;
        if presence == children.0.get(&Child::Plan).cloned() {
            memory.plan_checked = Some(uid.to_owned());
            return Ok(None);
        }
        // one that has gone meanwhile is for the next pass to see
        Ok(presence)
    }

    /// Returns whose the plan is, by its content too.
    async fn plan(&self) -> Result<Option<Presence>, ApiError> {
        let name = Child::Plan.name(&self.run);
        let api = self.api(Child::Plan);
        let found = kube_call("read ConfigMap", &name, api.get_opt(&name)).await?;
        Ok(found.map(|object| match &self.trust {
            Trust::Seals { plan_hash, .. } if !is_plan(&object, plan_hash) => Presence::Foreign,
            _ => self.presence(Child::Plan, &object),
        }))
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

    /// Reads the stored report: whose it is, and the result if it is the run's own and can be read;
    /// `None` when there is no report. Nothing of a foreign one is unpacked.
    async fn report(&self) -> Result<Option<StoredReport>, ApiError> {
        let api = self.api(Child::Report);
        let found = kube_call("read ConfigMap", &self.report, api.get_opt(&self.report)).await?;
        let Some(object) = found else {
            return Ok(None);
        };
        let packed = build::packed_report(&object.data);
        let is_sealed = match (&self.trust, &packed) {
            (Trust::Labels, _) => true,
            (Trust::NoKey, _) | (_, None) => false,
            (Trust::Seals { proofs, .. }, Some(packed)) => {
                let seal = object.annotations().get(SEAL_ANNOTATION);
                let seal = seal.map(String::as_str).unwrap_or_default();
                proofs.admits_report(&self.uid, &self.run, packed, seal)
            }
        };
        if !is_sealed || !is_labelled(&object, &self.uid, &self.run) {
            return Ok(Some((Presence::Foreign, None)));
        }
        let result = packed.ok_or_else(|| "has no content".to_owned());
        let result = result.and_then(|packed| build::read_report(&packed));
        if let Err(error) = &result {
            tracing::warn!(run = %self.run, %error, "the report cannot be read");
        }
        Ok(Some((ours(&object), result.ok().map(Arc::new))))
    }

    /// Lists the reports of all runs of the LoadTest, by the names that they have under any of the
    /// install keys or had in older releases.
    async fn reports(&self, keys: &InstallKeys) -> Result<Vec<OldReport>, ApiError> {
        let proofs: Vec<Proofs> = keys.all_proofs().collect();
        let is_report = |name: &str, run: &str| {
            let proofs = proofs.iter().map(Some).chain([None]);
            proofs
                .into_iter()
                .any(|proofs| name == build::report_name(proofs, &self.uid, run))
        };
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
            let name = report.name_any();
            is_report(&name, &run).then(|| OldReport {
                run,
                name,
                uid: report.uid().unwrap_or_default(),
            })
        });
        Ok(reports.collect())
    }
}

/// Report that is stored: whose it is, and the result if it is the run's own.
type StoredReport = (Presence, Option<Arc<RunResult>>);

fn ours(object: &impl ResourceExt) -> Presence {
    Presence::Ours {
        uid: object.uid().unwrap_or_default(),
        deleting: object.meta().deletion_timestamp.is_some(),
    }
}

/// Returns whether a ConfigMap holds the run file with this hash, and can hold no other.
fn is_plan(object: &DynamicObject, plan_hash: &str) -> bool {
    let text = object.data["data"][RUN_FILE].as_str();
    object.data["immutable"] == true
        && text.is_some_and(|text| sha256(text.as_bytes()) == plan_hash)
}

/// Returns whether the object's labels are of this run and this LoadTest, not of one of the same
/// name before it.
fn is_labelled(object: &impl ResourceExt, uid: &str, run: &str) -> bool {
    let labels = object.labels();
    labels.get(RUN_LABEL).is_some_and(|label| label == run)
        && labels.get(UID_LABEL).is_some_and(|label| label == uid)
}

/// Looks at what the run's master last said; it is asked beside the passes. That it does not answer
/// is something observed, not an error.
fn look_at_master(context: &Context, run: &RunStatus, seen: &mut Observed, memory: &mut Memory) {
    let metadata = &seen.test.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let wanted = wanted(run, &seen.pods);
    let has_address = !wanted.addresses.is_empty();
    let known = context.masters.look(namespace, name, wanted, || {
        let channel = context.keys.channel(uid, run);
        let channel = channel.map_err(|error| error.to_string())?;
        Ok(Credentials {
            ca: channel.ca,
            token: channel.operator_token,
        })
    });
    seen.master = match has_address {
        true => known.view,
        false => MasterView::Absent,
    };
    (seen.heard, seen.acknowledged) = (known.heard, known.acknowledged);
    if run.started_at.is_some() && run.end.is_none() {
        seen.result = known.result;
    }
    match seen.master {
        MasterView::Up(_) => memory.unreachable_since = None,
        MasterView::Unasked => {}
        MasterView::Absent | MasterView::Unreachable(_) => {
            seen.unreachable_for = memory
                .unreachable_since
                .get_or_insert_with(Instant::now)
                .elapsed();
        }
    }
}

/// Returns what the poller of the run's masters has to know. Every master Pod may be the one: a
/// ReplicaSet makes a second one while a cut-off node keeps the first, and whoever may create Pods
/// can make one that only looks like it.
fn wanted(run: &RunStatus, pods: &[PodView]) -> Wanted {
    let mut masters: Vec<&PodView> = pods
        .iter()
        .filter(|pod| pod.component == Component::Master && !pod.deleting && !pod.over)
        .collect();
    masters.sort_by_key(|pod| std::cmp::Reverse(pod.created));
    let addresses = masters.iter().filter_map(|pod| pod.address);
    let is_up = |pod: &&PodView| {
        pod.component == Component::Worker && pod.ready && !pod.deleting && !pod.over
    };
    Wanted {
        run: run.id.clone(),
        addresses: addresses
            .map(|address| (address, CONTROL_PORT).into())
            .collect(),
        is_ready: masters.iter().any(|pod| pod.ready),
        trusted: run.master.as_ref().map(|master| master.incarnation.clone()),
        wants_result: run.started_at.is_some() && run.end.is_none(),
        workers: pods.iter().filter(is_up).count(),
    }
}

/// Returns whose the object is that has the name of a child of `run`; `None` when there is none.
pub async fn presence_of(
    context: &Context,
    test: &LoadTest,
    run: &RunStatus,
    child: Child,
) -> Result<Option<Presence>, ApiError> {
    let found = Lookup::new(context, test, run);
    match child {
        Child::Plan => found.plan().await,
        Child::Report => Ok(found.report().await?.map(|(presence, _)| presence)),
        _ => found.metadata(child).await,
    }
}
