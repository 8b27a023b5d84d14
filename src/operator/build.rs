//! The objects of a run, as they are posted: pure functions of the LoadTest, its run and the
//! operator's settings.
//!
//! They are JSON, as the API takes it; a test holds each to the typed form, so that no misspelt
//! field is dropped in silence.

mod pods;
mod report;

use serde_json::{Value, json};

use super::channel::Channel;
use super::child::{COMPONENT_LABEL, Child, Component, RUN_LABEL, labels};
use crate::crd::status::RunStatus;
use crate::crd::{Checked, LoadTest, check};
use crate::plan::{Auth, Problem};
use crate::wire::RunResult;
use crate::wire::layout::{ADMIN_PORT, CONTROL_PORT, RUN_FILE, RunFile, UI_PORT, channel as keys};

pub use report::{read as read_report, write as write_report};

/// Addresses that cloud platforms serve credentials of the node from: never a target.
const METADATA_ADDRESSES: [(&str, &str); 2] = [
    ("0.0.0.0/0", "169.254.0.0/16"),
    ("::/0", "fd00:ec2::254/128"),
];

/// Where Pods on Google's platform get their tokens, for tests that ask for them: the metadata
/// service's address, and the one that nodes of GKE put in its place. The workers' own rule keeps
/// steps from both.
const GOOGLE_TOKENS: [(&str, u16); 2] = [("169.254.169.254/32", 80), ("169.254.169.252/32", 988)];

/// What the operator's flags say about the objects it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub image: String,
    pub pull_policy: String,
    /// The operator's own namespace: its Pods may reach every master.
    pub namespace: String,
}

/// All that the objects of one run are made of.
pub struct Blueprint<'a> {
    test: &'a LoadTest,
    run: &'a RunStatus,
    settings: &'a Settings,
    checked: Checked,
}

impl<'a> Blueprint<'a> {
    pub fn new(
        test: &'a LoadTest,
        run: &'a RunStatus,
        settings: &'a Settings,
    ) -> Result<Self, Vec<Problem>> {
        Ok(Self {
            test,
            run,
            settings,
            checked: check(&test.spec)?,
        })
    }

    pub fn plan(&self) -> Value {
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

    /// Owned by the plan rather than by the LoadTest: deleting the plan deletes it, so that the
    /// operator needs no right to delete Secrets.
    pub fn channel(&self, channel: &Channel, plan_uid: &str) -> Value {
        let Channel {
            ca,
            master_cert,
            master_key,
            worker_token,
            operator_token,
            read_token,
        } = channel;
        let data = json!({
            keys::CA: ca, keys::MASTER_CERT: master_cert, keys::MASTER_KEY: master_key,
            keys::WORKER_TOKEN: worker_token, keys::OPERATOR_TOKEN: operator_token, keys::READ_TOKEN: read_token,
        });
        let mut secret = self.object(
            Child::Channel,
            json!({"immutable": true, "type": "Opaque", "stringData": data}),
        );
        secret["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": Child::Plan.name(&self.run.id), "uid": plan_uid}]);
        secret
    }

    pub fn policy(&self) -> Value {
        let ports = |ports: &[u16]| {
            ports
                .iter()
                .map(|port| json!({"protocol": "TCP", "port": port}))
                .collect::<Vec<_>>()
        };
        let operator = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.settings.namespace}}});
        let workers =
            json!({"podSelector": {"matchLabels": self.selector(Some(Component::Worker))}});
        let outside = METADATA_ADDRESSES
            .map(|(all, except)| json!({"ipBlock": {"cidr": all, "except": [except]}}));
        let mut egress = vec![
            // to anywhere: some platforms serve DNS from a link-local address
            json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}),
            // Pods apart, since an address block does not match them on every network
            json!({"to": [{"namespaceSelector": {}}, outside[0], outside[1]]}),
        ];
        if self
            .checked
            .plan
            .all_targets()
            .any(|target| matches!(target.auth, Some(Auth::Google(_))))
        {
            egress.extend(GOOGLE_TOKENS.map(|(address, port)| json!({"to": [{"ipBlock": {"cidr": address}}], "ports": ports(&[port])})));
        }
        self.object(
            Child::Policy,
            json!({"spec": {
                "podSelector": {"matchLabels": self.selector(None)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {"from": [workers, operator], "ports": ports(&[CONTROL_PORT])},
                    {"from": [operator, {"podSelector": {}}], "ports": ports(&[UI_PORT, ADMIN_PORT])},
                ],
                "egress": egress,
            }}),
        )
    }

    /// Publishes addresses before the master is ready: workers wait for it, not for DNS.
    pub fn service(&self) -> Value {
        let port = |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "appProtocol": protocol});
        let spec = json!({
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": self.selector(Some(Component::Master)),
            "ports": [port("control", CONTROL_PORT, "https"), port("ui", UI_PORT, "http"), port("admin", ADMIN_PORT, "http")],
        });
        self.object(Child::Service, json!({"spec": spec}))
    }

    pub fn master(&self) -> Value {
        let spec = json!({
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": self.selector(Some(Component::Master))},
            "template": self.master_pod(),
        });
        self.object(Child::Master, json!({"spec": spec}))
    }

    pub fn budget(&self) -> Value {
        let spec = json!({
            "minAvailable": 1 + self.run.workers,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": self.selector(None)},
        });
        self.object(Child::Budget, json!({"spec": spec}))
    }

    pub fn workers(&self) -> Value {
        let Checked {
            start_deadline,
            deadline,
            plan,
            ..
        } = &self.checked;
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
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
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

/// The ConfigMap that keeps the whole result, as far as it fits.
pub fn report(test: &LoadTest, run: &str, result: &RunResult) -> Value {
    let packed = data_encoding::BASE64.encode(&write_report(result));
    object(
        test,
        run,
        Child::Report,
        json!({"immutable": true, "binaryData": {report::KEY: packed}}),
    )
}

/// Every child has these: the LoadTest's deletion deletes it, and it can be found by run.
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
                "apiVersion": "starling.dev/v1alpha1", "kind": "LoadTest", "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true,
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
