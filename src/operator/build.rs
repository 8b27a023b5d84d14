//! The objects of a run, as they are posted: pure functions of the LoadTest, its run and the
//! operator's settings. Building is a step of its own between decision and writes, so that a child
//! that cannot be built leaves nothing half made.
//!
//! Objects are written as JSON, as the API takes it; a test holds each to the typed form, so that
//! no misspelt field is dropped in silence.

mod pods;
mod quantity;
mod report;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::channel::{Channel, ChannelError};
use super::child::{COMPONENT_LABEL, Child, Component, RUN_LABEL, SEAL_ANNOTATION, labels};
use super::decide::Create;
use super::install_key::InstallKeys;
use super::plan_file;
use super::proof::Proofs;
use crate::crd::spec::ServiceKind;
use crate::crd::status::RunStatus;
use crate::crd::{Checked, LoadTest};
use crate::plan::Auth;
use crate::plan::policy::METADATA_NETWORKS;
use crate::plan::reserved::ReservedSecret;
use crate::plan::share::MAX_WORKERS;
use crate::wire::RunResult;
use crate::wire::checksum::FileHash;
use crate::wire::layout::{ADMIN_PORT, CONTROL_PORT, RUN_FILE, UI_PORT, channel as keys};

#[cfg(test)]
pub use report::write as write_report;
pub use report::{KEY as REPORT_KEY, packed as packed_report, read as read_report};

/// Label of a namespace with its name, which the API server sets.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// Addresses and ports where Pods on Google's platform get tokens, open only to tests that ask for
/// them: the metadata service, and what nodes of GKE put in its place. The workers' own rule keeps
/// steps from both.
const GOOGLE_TOKENS: [(&str, u16); 2] = [("169.254.169.254/32", 80), ("169.254.169.252/32", 988)];

/// Flags of the operator that shape the objects of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of master and worker Pods.
    pub image: String,
    /// Pull policy of that image.
    pub pull_policy: String,
    /// Namespace of the operator itself, whose Pods may reach every master.
    pub namespace: String,
    /// Namespaces whose Pods may reach UI and metrics of every master.
    pub metrics_from: Vec<String>,
}

/// Error of a child that cannot be built. The API server has no part in it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The channel cannot be derived.
    #[error("cannot build the objects of run {run}: {source}")]
    Channel {
        /// Id of the run.
        run: String,
        /// Error of the derivation.
        source: ChannelError,
    },
    /// The JSON of a child is no Kubernetes object.
    #[error("cannot build {child} of run {run}: {source}")]
    Object {
        /// Child that was built.
        child: Child,
        /// Id of the run.
        run: String,
        /// Error of the conversion.
        source: serde_json::Error,
    },
    /// A Pod would mount a Secret of Starling's own that is not the channel of its run.
    #[error(
        "cannot build {child} of run {run}: a Pod of it would mount Secret {secret:?}, which no test may read"
    )]
    ReservedSecret {
        /// Child that was built.
        child: Child,
        /// Id of the run.
        run: String,
        /// Name of the Secret.
        secret: String,
    },
    /// A report was asked for among the children before the grant.
    #[error("cannot build the report of run {run} without its result")]
    NoResult {
        /// Id of the run.
        run: String,
    },
}

/// Objects to create in one pass, in their order. Only [`build`] makes one, and only apply uses
/// one up.
#[derive(Debug, Default)]
pub struct Built(Vec<BuiltObject>);

impl IntoIterator for Built {
    type Item = BuiltObject;
    type IntoIter = std::vec::IntoIter<BuiltObject>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One object to create, complete but for the UID of an owner that the same pass may create.
#[derive(Debug)]
pub struct BuiltObject {
    child: Child,
    run: String,
    object: DynamicObject,
}

impl BuiltObject {
    fn new(child: Child, run: &str, object: Value) -> Result<Self, BuildError> {
        let object = serde_json::from_value(object).map_err(|source| BuildError::Object {
            child,
            run: run.to_owned(),
            source,
        })?;
        Ok(Self {
            child,
            run: run.to_owned(),
            object,
        })
    }

    /// Returns the name of the object.
    pub fn name(&self) -> String {
        self.object.metadata.name.clone().unwrap_or_default()
    }

    /// Returns the child of its run that the object is.
    pub fn child(&self) -> Child {
        self.child
    }

    /// Returns the object to post. The channel becomes the plan's, whose UID `plan_uid` is:
    /// deleting the plan then deletes it, so that the operator needs no right to delete Secrets.
    pub fn owned(self, plan_uid: &str) -> DynamicObject {
        let mut object = self.object;
        if self.child == Child::Channel {
            object.metadata.owner_references = Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "ConfigMap".to_owned(),
                name: Child::Plan.name(&self.run),
                uid: plan_uid.to_owned(),
                ..OwnerReference::default()
            }]);
        }
        object
    }
}

/// Builds what a decision creates: every object, or an error and none.
pub fn build(
    test: &LoadTest,
    create: &Create<'_>,
    settings: &Settings,
    keys: &InstallKeys,
) -> Result<Built, BuildError> {
    match create {
        Create::Nothing => Ok(Built::default()),
        Create::Report { run, result } => {
            let object = report(test, run, keys, result)?;
            BuiltObject::new(Child::Report, &run.id, object).map(|report| Built(vec![report]))
        }
        Create::Fleet {
            run,
            children,
            checked,
        } => {
            let blueprint = Blueprint {
                test,
                run,
                settings,
                checked,
                channel: channel_of(test, run, keys)?,
                seals: seals_of(run, keys)?,
            };
            let objects = children.iter().map(|child| blueprint.build(*child));
            objects.collect::<Result<_, _>>().map(Built)
        }
    }
}

fn channel_of(test: &LoadTest, run: &RunStatus, keys: &InstallKeys) -> Result<Channel, BuildError> {
    let uid = test.metadata.uid.as_deref().unwrap_or_default();
    keys.channel(uid, run)
        .map_err(|source| BuildError::Channel {
            run: run.id.clone(),
            source,
        })
}

/// Returns what the objects of a run are sealed with, and the hash of its plan; `None` for a run
/// that an older release began, whose objects have no seals.
fn seals_of<'a>(
    run: &'a RunStatus,
    keys: &InstallKeys,
) -> Result<Option<(Proofs, &'a str)>, BuildError> {
    let Some(plan_hash) = &run.plan_hash else {
        return Ok(None);
    };
    let proofs = keys
        .proofs(&run.key_id)
        .ok_or_else(|| BuildError::Channel {
            run: run.id.clone(),
            source: ChannelError::NoKey {
                key: run.key_id.clone(),
            },
        })?;
    Ok(Some((proofs, plan_hash)))
}

/// All that the objects of one run before its grant are made of.
struct Blueprint<'a> {
    test: &'a LoadTest,
    run: &'a RunStatus,
    settings: &'a Settings,
    checked: &'a Checked,
    channel: Channel,
    /// Proofs of the run's install key, and the hash of its plan; `None` under the rules of older
    /// releases.
    seals: Option<(Proofs, &'a str)>,
}

impl Blueprint<'_> {
    fn build(&self, child: Child) -> Result<BuiltObject, BuildError> {
        let object = match child {
            Child::Plan => self.plan(),
            Child::Channel => self.channel(),
            Child::Policy => self.policy(),
            Child::Service => self.service(),
            Child::External => self.external(),
            Child::Master => self.master(),
            Child::Budget => self.budget(),
            Child::Workers => self.workers(),
            Child::Report => {
                let run = self.run.id.clone();
                return Err(BuildError::NoResult { run });
            }
        };
        self.refuse_reserved_secrets(child, &object)?;
        BuiltObject::new(child, &self.run.id, object)
    }

    /// Refuses an object that names a Secret of Starling's own other than the run's channel in its
    /// place. Specs that name one do not pass their check; this holds for whatever a Pod will ever
    /// be made of.
    fn refuse_reserved_secrets(&self, child: Child, object: &Value) -> Result<(), BuildError> {
        let own = Child::Channel.name(&self.run.id);
        let template = &object["spec"]["template"]["spec"];
        let mut names = Vec::new();
        secret_names(template, &mut names);
        let mounts = names.iter().filter(|name| **name == own).count();
        let foreign = names
            .into_iter()
            .find(|name| ReservedSecret::named(name).is_some() && (*name != own || mounts > 1));
        foreign.map_or(Ok(()), |secret| {
            Err(BuildError::ReservedSecret {
                child,
                run: self.run.id.clone(),
                secret: secret.to_owned(),
            })
        })
    }

    fn plan(&self) -> Value {
        let text = plan_file::text(self.test, self.run, self.checked);
        self.object(
            Child::Plan,
            json!({"immutable": true, "data": {RUN_FILE: text}}),
        )
    }

    /// Secret of the run's channel. It has no owner yet: see [`BuiltObject::owned`].
    fn channel(&self) -> Value {
        let mut data: BTreeMap<String, String> = self.channel_files().into();
        if self.seals.is_some() {
            let token = |index| {
                let token = self.channel.worker_key.token(index);
                (keys::worker_key(index), token)
            };
            data.extend((0..self.tokens()).map(token));
        }
        let mut secret = self.object(
            Child::Channel,
            json!({"immutable": true, "type": "Opaque", "stringData": data}),
        );
        if let Some(metadata) = secret["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
        }
        secret
    }

    /// Number of workers that get a token: all that a run can ever have, since the Secret is not
    /// changed when their number is. A run with workers from elsewhere keeps its number.
    fn tokens(&self) -> u32 {
        match (self.run.most_workers, self.run.external) {
            (Some(_), 0) => MAX_WORKERS,
            _ => self.run.workers,
        }
    }

    /// Files of the channel Secret, but for the tokens of single workers.
    fn channel_files(&self) -> [(String, String); 7] {
        let Channel {
            ca,
            master_cert,
            master_key,
            worker_key,
            shared_worker_token,
            operator_token,
            read_token,
            control_token,
        } = &self.channel;
        let workers = match self.seals {
            Some(_) => (keys::WORKERS_KEY, worker_key.text()),
            None => (keys::WORKER_TOKEN, shared_worker_token.clone()),
        };
        let files = [
            (keys::CA, ca.clone()),
            (keys::MASTER_CERT, master_cert.clone()),
            (keys::MASTER_KEY, master_key.clone()),
            workers,
            (keys::OPERATOR_TOKEN, operator_token.clone()),
            (keys::READ_TOKEN, read_token.clone()),
            (keys::CONTROL_TOKEN, control_token.clone()),
        ];
        files.map(|(name, content)| (name.to_owned(), content))
    }

    /// Arguments with the hashes of the plan and of the channel files with these names, by which a
    /// role checks what it has mounted; none in a run that an older release began.
    fn hash_args(&self, files: &[&str]) -> Vec<String> {
        let Some((_, plan_hash)) = self.seals else {
            return Vec::new();
        };
        let plan = FileHash {
            name: RUN_FILE.to_owned(),
            sha256: plan_hash.to_owned(),
        };
        let channel = self.channel_files();
        let channel = channel
            .iter()
            .filter(|(name, _)| files.contains(&name.as_str()))
            .map(|(name, content)| FileHash::of(name, content.as_bytes()));
        std::iter::once(plan)
            .chain(channel)
            .flat_map(|hash| ["--sha256".to_owned(), hash.to_string()])
            .collect()
    }

    fn policy(&self) -> Value {
        let ports = |ports: &[u16]| {
            ports
                .iter()
                .map(|port| json!({"protocol": "TCP", "port": port}))
                .collect::<Vec<_>>()
        };
        let operator = json!({
            "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: self.settings.namespace}},
            "podSelector": {"matchLabels": {
                "app.kubernetes.io/name": "starling",
                COMPONENT_LABEL: "operator",
            }},
        });
        let workers =
            json!({"podSelector": {"matchLabels": self.selector(Some(Component::Worker))}});
        let mut ingress = vec![
            json!({"from": [workers, operator], "ports": ports(&[CONTROL_PORT])}),
            json!({"from": self.onlookers(), "ports": ports(&[UI_PORT, ADMIN_PORT])}),
        ];
        if self.run.external > 0 {
            // from anywhere: who has no token is turned away
            ingress.push(json!({"ports": ports(&[CONTROL_PORT])}));
        }
        self.object(
            Child::Policy,
            json!({"spec": {
                "podSelector": {"matchLabels": self.selector(None)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": ingress,
                "egress": self.egress(),
            }}),
        )
    }

    /// Pods that may reach UI and metrics: those of the run's namespace, and of the namespaces that
    /// the operator was given.
    fn onlookers(&self) -> Vec<Value> {
        let mut all = vec![json!({"podSelector": {}})];
        if !self.settings.metrics_from.is_empty() {
            let named = json!({
                "key": NAMESPACE_LABEL,
                "operator": "In",
                "values": self.settings.metrics_from,
            });
            all.push(json!({"namespaceSelector": {"matchExpressions": [named]}}));
        }
        all
    }

    /// Rules for what the Pods of a run may connect to: DNS, and everything but the addresses that
    /// cloud platforms serve credentials from.
    fn egress(&self) -> Vec<Value> {
        let (v6, v4): (Vec<&str>, Vec<&str>) = METADATA_NETWORKS
            .iter()
            .partition(|network| network.contains(':'));
        let outside = [("0.0.0.0/0", v4), ("::/0", v6)]
            .map(|(all, except)| json!({"ipBlock": {"cidr": all, "except": except}}));
        let mut egress = vec![
            // to anywhere: some platforms serve DNS from a link-local address
            json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}),
            // Pods apart, since an address block does not match them on every network
            json!({"to": [{"namespaceSelector": {}}, outside[0], outside[1]]}),
        ];
        let needs_google = self
            .checked
            .plan
            .all_targets()
            .any(|target| matches!(target.auth, Some(Auth::Google(_))));
        if needs_google {
            egress.extend(GOOGLE_TOKENS.map(|(address, port)| {
                json!({
                    "to": [{"ipBlock": {"cidr": address}}],
                    "ports": [{"protocol": "TCP", "port": port}],
                })
            }));
        }
        egress
    }

    /// Service of the master. It publishes addresses before the master is ready: workers wait for
    /// the master, not for DNS.
    fn service(&self) -> Value {
        let spec = json!({
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": self.selector(Some(Component::Master)),
            "ports": [
                service_port("control", CONTROL_PORT, "https"),
                service_port("ui", UI_PORT, "http"),
                service_port("admin", ADMIN_PORT, "http"),
            ],
        });
        self.object(Child::Service, json!({"spec": spec}))
    }

    /// Service by which workers from elsewhere reach the port for workers.
    fn external(&self) -> Value {
        let kind = self.test.spec.workers.external.as_ref();
        let kind = kind.map_or_else(ServiceKind::default, |external| external.service);
        let spec = json!({
            "type": kind,
            "publishNotReadyAddresses": true,
            "selector": self.selector(Some(Component::Master)),
            "ports": [service_port("control", CONTROL_PORT, "https")],
        });
        self.object(Child::External, json!({"spec": spec}))
    }

    fn master(&self) -> Value {
        let spec = json!({
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": self.selector(Some(Component::Master))},
            "template": self.master_pod(),
        });
        self.object(Child::Master, json!({"spec": spec}))
    }

    fn budget(&self) -> Value {
        let spec = json!({
            "minAvailable": 1 + self.run.wanted_pods(),
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": self.selector(None)},
        });
        self.object(Child::Budget, json!({"spec": spec}))
    }

    fn workers(&self) -> Value {
        let Checked {
            start_deadline,
            deadline,
            plan,
            ..
        } = self.checked;
        // a last resort: everything else has ended the run long before
        let active =
            start_deadline.as_secs() + deadline.as_secs() + plan.stop_timeout.as_secs() + 3600;
        let bad_config =
            json!({"operator": "In", "values": [crate::wire::layout::exit::BAD_CONFIG]});
        let spec = json!({
            "completionMode": "Indexed",
            "completions": self.run.wanted_pods(),
            "parallelism": self.run.wanted_pods(),
            "backoffLimitPerIndex": 3,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
                {"action": "FailIndex", "onExitCodes": bad_config},
            ]},
            "activeDeadlineSeconds": active,
            "template": self.worker_pod(),
        });
        self.object(Child::Workers, json!({"spec": spec}))
    }

    fn object(&self, child: Child, fields: Value) -> Value {
        let seal = self.seals.as_ref().map(|(proofs, plan_hash)| {
            let uid = self.test.metadata.uid.as_deref().unwrap_or_default();
            proofs.child(uid, &self.run.id, plan_hash, child)
        });
        object(self.test, &self.run.id, child, seal.as_deref(), fields)
    }

    fn test_name(&self) -> &str {
        self.test.metadata.name.as_deref().unwrap_or_default()
    }

    fn selector(&self, component: Option<Component>) -> Value {
        match component {
            None => json!({RUN_LABEL: self.run.id}),
            Some(component) => json!({RUN_LABEL: self.run.id, COMPONENT_LABEL: component.label()}),
        }
    }
}

/// Collects the names of all Secrets that a Pod's spec names: as a volume, a projection, a variable
/// of the environment or a pull secret.
fn secret_names<'a>(part: &'a Value, found: &mut Vec<&'a str>) {
    match part {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = match field.as_str() {
                    "secretName" => value.as_str(),
                    "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => {
                        value["name"].as_str()
                    }
                    _ => None,
                };
                found.extend(name);
                secret_names(value, found);
            }
            let pulled = fields.get("imagePullSecrets").and_then(Value::as_array);
            found.extend(
                pulled
                    .into_iter()
                    .flatten()
                    .filter_map(|secret| secret["name"].as_str()),
            );
        }
        Value::Array(items) => items.iter().for_each(|item| secret_names(item, found)),
        _ => {}
    }
}

fn service_port(name: &str, port: u16, protocol: &str) -> Value {
    json!({"name": name, "port": port, "appProtocol": protocol})
}

/// ConfigMap that keeps the whole result, as far as it fits. Its name and its seal are such as only
/// an operator of the installation can give it; those of runs that an older release began have
/// neither.
fn report(
    test: &LoadTest,
    run: &RunStatus,
    keys: &InstallKeys,
    result: &RunResult,
) -> Result<Value, BuildError> {
    let packed = report::write(result);
    let uid = test.metadata.uid.as_deref().unwrap_or_default();
    let seals = seals_of(run, keys)?;
    let seal = seals
        .as_ref()
        .map(|(proofs, _)| proofs.report(uid, &run.id, &packed));
    let data = data_encoding::BASE64.encode(&packed);
    let mut object = object(
        test,
        &run.id,
        Child::Report,
        seal.as_deref(),
        json!({"immutable": true, "binaryData": {report::KEY: data}}),
    );
    let proofs = seals.as_ref().map(|(proofs, _)| proofs);
    object["metadata"]["name"] = json!(report_name(proofs, uid, &run.id));
    Ok(object)
}

/// Returns the name of the report of `run`: without `proofs`, that of older releases.
pub fn report_name(proofs: Option<&Proofs>, uid: &str, run: &str) -> String {
    let name = Child::Report.name(run);
    match proofs {
        None => name,
        Some(proofs) => format!("{name}-{}", proofs.report_suffix(uid, run)),
    }
}

/// An object with what every child has: an owner, whose deletion deletes it, the labels it is found
/// by, and its seal.
fn object(test: &LoadTest, run: &str, child: Child, seal: Option<&str>, fields: Value) -> Value {
    let (name, uid) = (
        test.metadata.name.as_deref().unwrap_or_default(),
        test.metadata.uid.as_deref().unwrap_or_default(),
    );
    let resource = child.resource();
    let mut object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": child.name(run),
            "namespace": test.metadata.namespace,
            "labels": labels(name, uid, run, child.component()),
            "ownerReferences": [{
                "apiVersion": "starling.dev/v1alpha1",
                "kind": "LoadTest",
                "name": name,
                "uid": uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
    });
    if let Some(seal) = seal {
        object["metadata"]["annotations"] = json!({SEAL_ANNOTATION: seal});
    }
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}

#[cfg(test)]
mod tests;
