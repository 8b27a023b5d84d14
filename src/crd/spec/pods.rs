//! The Pods of master and workers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::OnLoss;

/// Worker Pods of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkersSpec {
    /// Number of worker Pods; the load is divided among them exactly. A change starts no run: it
    /// acts on the run in progress, whose load is divided anew, or else on the next one. `kubectl
    /// scale` and autoscalers change this field. A run with `external` workers keeps its number.
    #[schemars(range(min = 1, max = 2000))]
    pub replicas: u32,
    /// Most load of one worker: there are as many workers as the load needs, at most 2,000. Goes
    /// before `replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_worker: Option<PerWorkerSpec>,
    /// Longest time from the creation of the run until every worker is ready; then the run ends
    /// `Errored`.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub start_deadline: String,
    /// Time for which a worker without contact to its master keeps up its load before it stops by
    /// itself. At most 10 minutes; a longer one counts as that.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub grace: String,
    /// Consequence of the loss of a worker during the load.
    pub on_loss: OnLoss,
    /// Volumes with files for feeders, bodies and descriptors, mounted read-only into each worker.
    /// A relative path begins with a volume's name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub volumes: Vec<VolumeSpec>,
    /// CPU and memory of each worker, as requests and limits alike: a load generator that bursts
    /// measures wrong latencies.
    pub resources: ResourcesSpec,
    /// Labels, annotations and scheduling of the workers' Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
    /// Further workers that run elsewhere, such as on other machines or in other clusters, and join
    /// the run by themselves: `starling join` says how. The load is divided among all workers, and
    /// a run starts when all have joined. A change starts no run and acts on the next one; a run
    /// without a cluster leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalWorkersSpec>,
}

/// Workers that run elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalWorkersSpec {
    /// Number of workers that are waited for.
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u32,
    /// Kind of the Service by which they reach the master's port for workers, and no other port.
    #[serde(default)]
    pub service: ServiceKind,
}

/// Kind of a Service that is reached from outside of the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceKind {
    /// A port of every node.
    #[default]
    NodePort,
    /// A load balancer of the platform.
    LoadBalancer,
}

impl WorkersSpec {
    /// Number of workers that run elsewhere.
    pub fn elsewhere(&self) -> u32 {
        self.external
            .as_ref()
            .map_or(0, |external| external.replicas)
    }
}

impl Default for WorkersSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            per_worker: None,
            start_deadline: "10m".into(),
            grace: "90s".into(),
            on_loss: OnLoss::Rebalance,
            volumes: vec![],
            resources: ResourcesSpec::default(),
            pod: None,
            external: None,
        }
    }
}

/// Most load of one worker; a fleet is as large as the largest of these asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct PerWorkerSpec {
    /// Most users of one worker at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_users: Option<u32>,
    /// Most iterations that one worker starts per second, in open load and in the search for a
    /// capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_rate: Option<u32>,
}

/// Volume of files: exactly one of `configMap`, `secret` and `persistentVolumeClaim`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend(
        "oneOf" = [
            {"required": ["configMap"]}, {"required": ["secret"]},
            {"required": ["persistentVolumeClaim"]},
        ]
    )
)]
pub struct VolumeSpec {
    /// Name of the volume, the first part of the paths to its files.
    #[schemars(length(min = 1, max = 50), extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// ConfigMap, a file for each of its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolumeSpec>,
    /// Secret, a file for each of its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretVolumeSpec>,
    /// PersistentVolumeClaim with files already on it, which all workers must be able to mount at
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimVolumeSpec>,
}

/// ConfigMap mounted as files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigMapVolumeSpec {
    /// Name of the ConfigMap, in the LoadTest's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Secret mounted as files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretVolumeSpec {
    /// Name of the Secret, in the LoadTest's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// PersistentVolumeClaim mounted as files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimVolumeSpec {
    /// Name of the PersistentVolumeClaim, in the LoadTest's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}

/// Master Pod of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MasterSpec {
    /// Most CPU and memory of the master. It asks the scheduler for 100m and 128Mi, or for these
    /// if they are less, so that a master that does little keeps little from others.
    pub resources: ResourcesSpec,
    /// Certificate of the ports for people and for Prometheus, 8080 and 9090, which are then served
    /// over TLS. If unset, they are served without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<MasterTlsSpec>,
    /// Labels, annotations and scheduling of the master's Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
}

/// Certificate of the master's ports for people and for Prometheus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MasterTlsSpec {
    /// Name of a Secret of type `kubernetes.io/tls` in the LoadTest's namespace. The master does
    /// not start without it.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// CPU and memory of a Pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourcesSpec {
    /// Cores, as a Kubernetes quantity: `2`, `500m`.
    #[schemars(schema_with = "crate::crd::schema::quantity")]
    pub cpu: String,
    /// Memory, as a Kubernetes quantity: `512Mi`, `2Gi`.
    #[schemars(schema_with = "crate::crd::schema::quantity")]
    pub memory: String,
}

impl Default for ResourcesSpec {
    fn default() -> Self {
        Self {
            cpu: "500m".into(),
            memory: "512Mi".into(),
        }
    }
}

/// Settings of a Pod; everything else about it is fixed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Labels added to the Pod's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the Pod's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the Pod tolerates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<TolerationSpec>,
    /// Priority class of the Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

/// Toleration of a node's taint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TolerationSpec {
    /// Key of the taint. If unset, every key, with `operator: Exists`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,
    /// Comparison of the taint's value: `Equal` compares it, `Exists` does not. If unset, `Equal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Exists", "Equal"]))]
    pub operator: Option<String>,
    /// Value of the taint, with `operator: Equal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint. If unset, every effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    /// Seconds for which a `NoExecute` taint is tolerated. If unset, without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}
