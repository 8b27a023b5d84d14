//! The objects of a run, as they are posted: pure functions of the LoadTest, its run and the
//! operator's settings. Building is a step of its own between decision and writes, so that a child
//! that cannot be built leaves nothing half made.
//!
//! Objects are written as JSON, as the API takes it; a test holds each to the typed form, so that
//! no misspelt field is dropped in silence.

mod pods;
mod report;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::channel::{Channel, ChannelError};
use super::child::{COMPONENT_LABEL, Child, Component, RUN_LABEL, labels};
use super::decide::Create;
use super::install_key::InstallKeys;
use crate::crd::status::RunStatus;
use crate::crd::{Checked, LoadTest};
use crate::plan::Auth;
use crate::wire::RunResult;
use crate::wire::layout::{ADMIN_PORT, CONTROL_PORT, RUN_FILE, RunFile, UI_PORT, channel as keys};

pub use report::read as read_report;

/// All addresses of one IP version, and those of them that cloud platforms serve credentials of the
/// node from, which are never a target.
const METADATA_ADDRESSES: [(&str, &str); 2] = [
    ("0.0.0.0/0", "169.254.0.0/16"),
    ("::/0", "fd00:ec2::254/128"),
];

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
            let object = report(test, &run.id, result);
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
            };
            let objects = children.iter().map(|child| blueprint.build(*child, keys));
            objects.collect::<Result<_, _>>().map(Built)
        }
    }
}

/// All that the objects of one run before its grant are made of.
struct Blueprint<'a> {
    test: &'a LoadTest,
    run: &'a RunStatus,
    settings: &'a Settings,
    checked: &'a Checked,
}

impl Blueprint<'_> {
    fn build(&self, child: Child, keys: &InstallKeys) -> Result<BuiltObject, BuildError> {
        let object = match child {
            Child::Plan => self.plan(),
            Child::Channel => self.channel(&self.derive_channel(keys)?),
            Child::Policy => self.policy(),
            Child::Service => self.service(),
            Child::Master => self.master(),
            Child::Budget => self.budget(),
            Child::Workers => self.workers(),
            Child::Report => {
                let run = self.run.id.clone();
                return Err(BuildError::NoResult { run });
            }
        };
        BuiltObject::new(child, &self.run.id, object)
    }

    fn derive_channel(&self, keys: &InstallKeys) -> Result<Channel, BuildError> {
        let uid = self.test.metadata.uid.as_deref().unwrap_or_default();
        keys.channel(uid, self.run)
            .map_err(|source| BuildError::Channel {
                run: self.run.id.clone(),
                source,
            })
    }

    fn plan(&self) -> Value {
        let file = RunFile {
            run: self.run.id.clone(),
            name: self.test_name().to_owned(),
            namespace: self.test.metadata.namespace.clone(),
            digest: self.run.digest.clone(),
            workers: self.run.workers,
            grace: self.checked.grace,
            overrides: Vec::new(),
            warnings: self.checked.warnings.clone(),
            plan: self.checked.plan.clone(),
        };
        let text = serde_json::to_string(&file).expect("a plan is JSON");
        self.object(
            Child::Plan,
            json!({"immutable": true, "data": {RUN_FILE: text}}),
        )
    }

    /// Secret of the run's channel. It has no owner yet: see [`BuiltObject::owned`].
    fn channel(&self, channel: &Channel) -> Value {
        let Channel {
            ca,
            master_cert,
            master_key,
            worker_token,
            operator_token,
            read_token,
        } = channel;
        let data = json!({
            keys::CA: ca,
            keys::MASTER_CERT: master_cert,
            keys::MASTER_KEY: master_key,
            keys::WORKER_TOKEN: worker_token,
            keys::OPERATOR_TOKEN: operator_token,
            keys::READ_TOKEN: read_token,
        });
        let mut secret = self.object(
            Child::Channel,
            json!({"immutable": true, "type": "Opaque", "stringData": data}),
        );
        if let Some(metadata) = secret["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
        }
        secret
    }

    fn policy(&self) -> Value {
        let ports = |ports: &[u16]| {
            ports
                .iter()
                .map(|port| json!({"protocol": "TCP", "port": port}))
                .collect::<Vec<_>>()
        };
        let operator = json!({"namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": self.settings.namespace},
        }});
        let workers =
            json!({"podSelector": {"matchLabels": self.selector(Some(Component::Worker))}});
        self.object(
            Child::Policy,
            json!({"spec": {
                "podSelector": {"matchLabels": self.selector(None)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {"from": [workers, operator], "ports": ports(&[CONTROL_PORT])},
                    {
                        "from": [operator, {"podSelector": {}}],
                        "ports": ports(&[UI_PORT, ADMIN_PORT]),
                    },
                ],
                "egress": self.egress(),
            }}),
        )
    }

    /// Rules for what the Pods of a run may connect to: DNS, and everything but the addresses that
    /// cloud platforms serve credentials from.
    fn egress(&self) -> Vec<Value> {
        let outside = METADATA_ADDRESSES
            .map(|(all, except)| json!({"ipBlock": {"cidr": all, "except": [except]}}));
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
            "minAvailable": 1 + self.run.workers,
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
            "completions": self.run.workers,
            "parallelism": self.run.workers,
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
        object(self.test, &self.run.id, child, fields)
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

fn service_port(name: &str, port: u16, protocol: &str) -> Value {
    json!({"name": name, "port": port, "appProtocol": protocol})
}

/// ConfigMap that keeps the whole result, as far as it fits.
fn report(test: &LoadTest, run: &str, result: &RunResult) -> Value {
    let packed = data_encoding::BASE64.encode(&report::write(result));
    object(
        test,
        run,
        Child::Report,
        json!({"immutable": true, "binaryData": {report::KEY: packed}}),
    )
}

/// An object with what every child has: an owner, whose deletion deletes it, and the labels it is
/// found by.
fn object(test: &LoadTest, run: &str, child: Child, fields: Value) -> Value {
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
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}

#[cfg(test)]
mod tests;
