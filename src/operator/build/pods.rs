//! Pod templates of master and workers: restricted, without an API token, with only the keys that
//! their role needs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::child::{Component, labels};
use super::Blueprint;
use super::quantity::smaller;
use crate::crd::spec::{MasterTlsSpec, PodSpec, ResourcesSpec, TolerationSpec, VolumeSpec};
use crate::plan::{Kind, duration};
use crate::wire::layout::{
    ADMIN_PORT, CHANNEL_DIR, CONTROL_PORT, FILES, INPUTS_DIR, REGION, RUN_DIR, RUN_FILE, STATE_DIR,
    TLS_DIR, UI_PORT, channel as keys, child_name, input_kind,
};

use super::super::child::Child;

/// File mode of mounted keys: readable by whatever user the platform runs the container as.
const READ_ONLY: u32 = 0o444;

/// Seconds that a Pod of a lost node is kept before another takes its place.
const TOLERATE_LOST_NODE: i64 = 10;

/// Most that a master asks the scheduler for: CPU and memory.
const MASTER_REQUESTS: [&str; 2] = ["100m", "128Mi"];

/// An HTTP probe of the admin server, every `period` seconds.
fn probe(path: &str, scheme: &str, period: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": "admin", "scheme": scheme},
        "periodSeconds": period,
        "timeoutSeconds": 2,
    })
}

/// Gives a master the certificate of a Secret for the ports that are not the run's own.
fn serve_over_tls(container: &mut Value, volumes: &mut Vec<Value>, secret: &str) {
    let more = |list: &mut Value, items: Vec<Value>| {
        if let Some(list) = list.as_array_mut() {
            list.extend(items);
        }
    };
    let file = |key: &str| format!("{TLS_DIR}/{key}");
    more(
        &mut container["args"],
        vec![
            json!("--ui-cert"),
            json!(file("tls.crt")),
            json!("--ui-key"),
            json!(file("tls.key")),
        ],
    );
    more(
        &mut container["volumeMounts"],
        vec![json!({"name": "tls", "mountPath": TLS_DIR, "readOnly": true})],
    );
    let source = json!({"secretName": secret, "defaultMode": READ_ONLY});
    volumes.push(json!({"name": "tls", "secret": source}));
}

/// The tolerations of a Pod: the user's, and one for each way a node is lost.
fn with_lost_nodes(tolerations: &[TolerationSpec]) -> Vec<Value> {
    let lost = |key: &str| {
        json!({
            "key": key,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": TOLERATE_LOST_NODE,
        })
    };
    let mut all = vec![
        lost("node.kubernetes.io/not-ready"),
        lost("node.kubernetes.io/unreachable"),
    ];
    all.extend(
        tolerations
            .iter()
            .map(|toleration| serde_json::to_value(toleration).expect("a toleration is JSON")),
    );
    all
}

impl Blueprint<'_> {
    /// Pod template of the master.
    pub(super) fn master_pod(&self) -> Value {
        let hashes = self.hash_args(&[
            keys::MASTER_CERT,
            keys::MASTER_KEY,
            keys::WORKERS_KEY,
            keys::OPERATOR_TOKEN,
            keys::READ_TOKEN,
            keys::CONTROL_TOKEN,
        ]);
        let mut args = vec![
            "master".to_owned(),
            "--run-file".to_owned(),
            format!("{RUN_DIR}/{RUN_FILE}"),
            "--channel".to_owned(),
            CHANNEL_DIR.to_owned(),
            "--state".to_owned(),
            STATE_DIR.to_owned(),
        ];
        args.extend(hashes);
        let plan = Child::Plan.name(&self.run.id);
        let spec = &self.test.spec.master;
        let scheme = match spec.tls {
            Some(_) => "HTTPS",
            None => "HTTP",
        };
        let mut container = json!({
            "name": Component::Master.label(),
            "args": args,
            "ports": [
                {"name": "control", "containerPort": CONTROL_PORT},
                {"name": "ui", "containerPort": UI_PORT},
                {"name": "admin", "containerPort": ADMIN_PORT},
            ],
            "livenessProbe": probe("/livez", scheme, 10),
            "readinessProbe": probe("/readyz", scheme, 2),
            "volumeMounts": [
                {"name": "run", "mountPath": RUN_DIR, "readOnly": true},
                {"name": "channel", "mountPath": CHANNEL_DIR, "readOnly": true},
                {"name": "state", "mountPath": STATE_DIR},
            ],
        });
        let mut volumes = vec![
            json!({"name": "run", "configMap": {"name": plan, "defaultMode": READ_ONLY}}),
            self.master_channel(),
            json!({"name": "state", "emptyDir": {"sizeLimit": "256Mi"}}),
        ];
        if let Some(MasterTlsSpec { secret_name }) = &spec.tls {
            serve_over_tls(&mut container, &mut volumes, secret_name);
        }
        let rest = json!({"terminationGracePeriodSeconds": 30});
        self.pod(
            Component::Master,
            spec.pod.as_ref(),
            &spec.resources,
            container,
            volumes,
            rest,
        )
    }

    /// Pod template of the workers.
    pub(super) fn worker_pod(&self) -> Value {
        let run = &self.run.id;
        let stop_timeout = self.checked.plan.stop_timeout;
        let (mounts, inputs) = self.inputs();
        let (mut volume_mounts, channel) = self.worker_channel();
        volume_mounts.extend(mounts);
        let mut volumes = vec![channel];
        volumes.extend(inputs);
        let (mounts, files): (Vec<Value>, Vec<Value>) = self
            .test
            .spec
            .workers
            .volumes
            .iter()
            .map(file_volume)
            .unzip();
        volume_mounts.extend(mounts);
        volumes.extend(files);
        let mut args = vec![
            "worker".to_owned(),
            "--run".to_owned(),
            run.clone(),
            "--master".to_owned(),
            format!("{}:{CONTROL_PORT}", child_name(run, "master")),
            "--channel".to_owned(),
            CHANNEL_DIR.to_owned(),
            "--inputs".to_owned(),
            INPUTS_DIR.to_owned(),
            "--grace".to_owned(),
            duration::format(self.checked.grace),
        ];
        args.extend(self.hash_args(&[keys::CA]));
        let container = json!({
            "name": Component::Worker.label(),
            "args": args,
            // results say where each worker ran
            "env": [{
                "name": REGION,
                "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}},
            }],
            "volumeMounts": volume_mounts,
        });
        let spec = &self.test.spec.workers;
        let rest = json!({
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": stop_timeout.as_secs() + 15,
        });
        self.pod(
            Component::Worker,
            spec.pod.as_ref(),
            &spec.resources,
            container,
            volumes,
            rest,
        )
    }

    /// A Pod template with what both roles share. `rest` are fields of its spec besides.
    fn pod(
        &self,
        component: Component,
        wishes: Option<&PodSpec>,
        resources: &ResourcesSpec,
        mut container: Value,
        volumes: Vec<Value>,
        rest: Value,
    ) -> Value {
        let nothing = PodSpec::default();
        let PodSpec {
            labels: extra,
            annotations,
            node_selector,
            tolerations,
            priority_class_name,
        } = wishes.unwrap_or(&nothing);
        self.complete(&mut container, component, resources);
        let mut spec = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": with_lost_nodes(tolerations),
            "containers": [container],
            "volumes": volumes,
        });
        if !node_selector.is_empty() {
            spec["nodeSelector"] = json!(node_selector);
        }
        if let Some(name) = priority_class_name {
            spec["priorityClassName"] = json!(name);
        }
        if let (Some(spec), Value::Object(rest)) = (spec.as_object_mut(), rest) {
            spec.extend(rest);
        }
        let mut metadata = json!({"labels": self.pod_labels(component, extra)});
        if !annotations.is_empty() {
            metadata["annotations"] = json!(annotations);
        }
        json!({"metadata": metadata, "spec": spec})
    }

    /// Labels of a Pod: the user's, and ours, which win.
    fn pod_labels(
        &self,
        component: Component,
        extra: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let uid = self.test.metadata.uid.as_deref().unwrap_or_default();
        let mut all = extra.clone();
        all.extend(labels(
            self.test_name(),
            uid,
            &self.run.id,
            component.label(),
        ));
        all
    }

    /// Adds to a container what the containers of both roles share.
    fn complete(
        &self,
        container: &mut Value,
        component: Component,
        ResourcesSpec { cpu, memory }: &ResourcesSpec,
    ) {
        let limits = json!({"cpu": cpu, "memory": memory});
        let requests = match component {
            Component::Master => {
                let [usual_cpu, usual_memory] = MASTER_REQUESTS;
                json!({"cpu": smaller(cpu, usual_cpu), "memory": smaller(memory, usual_memory)})
            }
            // one that bursts measures wrong latencies
            Component::Worker => limits.clone(),
        };
        container["image"] = json!(self.settings.image);
        container["imagePullPolicy"] = json!(self.settings.pull_policy);
        container["resources"] = json!({"requests": requests, "limits": limits});
        container["securityContext"] = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
    }

    /// Volume of the master's part of the channel: all of it, so that a key that is missing keeps
    /// no Pod waiting; the master says what is wrong. It holds the key of every worker's token
    /// anyway.
    fn master_channel(&self) -> Value {
        match self.seals {
            Some(_) => self.channel_volume(None),
            None => self.channel_volume(Some(&[
                keys::MASTER_CERT,
                keys::MASTER_KEY,
                keys::WORKER_TOKEN,
                keys::OPERATOR_TOKEN,
                keys::READ_TOKEN,
                keys::CONTROL_TOKEN,
            ])),
        }
    }

    /// Mounts and volume of a worker's part of the channel: the authority, and the token of its own
    /// index. The container sees these two files of the volume and no other.
    fn worker_channel(&self) -> (Vec<Value>, Value) {
        if self.seals.is_none() {
            let mount = json!({"name": "channel", "mountPath": CHANNEL_DIR, "readOnly": true});
            let volume = self.channel_volume(Some(&[keys::CA, keys::WORKER_TOKEN]));
            return (vec![mount], volume);
        }
        let mount = |file: &str, sub_path: &str, key: &str| {
            json!({
                "name": "channel",
                "mountPath": format!("{CHANNEL_DIR}/{file}"),
                sub_path: key,
                "readOnly": true,
            })
        };
        let mounts = vec![
            mount(keys::CA, "subPath", keys::CA),
            mount(keys::WORKER_TOKEN, "subPathExpr", keys::WORKER_KEY_EXPR),
        ];
        (mounts, self.channel_volume(None))
    }

    /// Volume of the channel Secret with these keys of it; without any, with all.
    fn channel_volume(&self, keys: Option<&[&str]>) -> Value {
        let mut secret = json!({
            "secretName": Child::Channel.name(&self.run.id),
            "defaultMode": READ_ONLY,
        });
        if let Some(keys) = keys {
            secret["items"] = keys
                .iter()
                .map(|key| json!({"key": key, "path": key}))
                .collect();
        }
        json!({"name": "channel", "secret": secret})
    }

    /// Mounts and volumes of the Secrets and ConfigMaps that the test refers to. They are optional:
    /// the worker says what is missing, where a required volume would only keep its Pod from
    /// starting.
    fn inputs(&self) -> (Vec<Value>, Vec<Value>) {
        let mut objects: BTreeMap<(Kind, &str), BTreeSet<&str>> = BTreeMap::new();
        for reference in self.checked.plan.references() {
            objects
                .entry((reference.kind, &reference.name))
                .or_default()
                .insert(&reference.key);
        }
        let objects = objects.into_iter().enumerate();
        objects
            .map(|(i, ((kind, name), keys))| input_volume(i, kind, name, &keys))
            .unzip()
    }
}

/// Mount and volume of one Secret or ConfigMap that the test refers to.
fn input_volume(i: usize, kind: Kind, name: &str, keys: &BTreeSet<&str>) -> (Value, Value) {
    let volume = format!("input-{i}");
    let items: Vec<Value> = keys
        .iter()
        .map(|key| json!({"key": key, "path": key}))
        .collect();
    let mut source = json!({"items": items, "optional": true, "defaultMode": READ_ONLY});
    let source = match kind {
        Kind::Secret => {
            source["secretName"] = json!(name);
            json!({"name": volume, "secret": source})
        }
        Kind::ConfigMap => {
            source["name"] = json!(name);
            json!({"name": volume, "configMap": source})
        }
    };
    let mount = json!({
        "name": volume,
        "mountPath": format!("{INPUTS_DIR}/{}/{name}", input_kind(kind)),
        "readOnly": true,
    });
    (mount, source)
}

/// Mount and volume of one of the test's own files. An object that is missing does not keep the Pod
/// from starting: the worker says what is missing.
fn file_volume(volume: &VolumeSpec) -> (Value, Value) {
    let VolumeSpec {
        name,
        config_map,
        secret,
        persistent_volume_claim,
    } = volume;
    let mut source = json!({"name": format!("files-{name}")});
    if let Some(config_map) = config_map {
        source["configMap"] =
            json!({"name": config_map.name, "optional": true, "defaultMode": READ_ONLY});
    }
    if let Some(secret) = secret {
        source["secret"] =
            json!({"secretName": secret.secret_name, "optional": true, "defaultMode": READ_ONLY});
    }
    if let Some(claim) = persistent_volume_claim {
        source["persistentVolumeClaim"] = json!({"claimName": claim.claim_name, "readOnly": true});
    }
    (
        json!({
            "name": source["name"],
            "mountPath": format!("{INPUTS_DIR}/{FILES}/{name}"),
            "readOnly": true,
        }),
        source,
    )
}
