//! The Pods of master and workers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkersSpec {
    /// Worker Pods; the load is split over them exactly.
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u32,
    /// From the run's begin until every worker is ready, else the run ends `Errored`.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub start_deadline: String,
    /// How long a worker that has lost its master goes on before it stops its load by itself.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub grace: String,
    /// Files for feeders and bodies with `file` or `files`, whose paths begin with a volume's
    /// name. Mounted into each worker, read-only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volumes: Vec<VolumeSpec>,
    /// CPU and memory; requests are made equal to limits, since a load generator that bursts lies
    /// about latency.
    pub resources: ResourcesSpec,
    /// What the workers' Pods carry, and where they may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
}

impl Default for WorkersSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            start_deadline: "10m".into(),
            grace: "90s".into(),
            volumes: vec![],
            resources: ResourcesSpec::default(),
            pod: None,
        }
    }
}

/// Exactly one of `configMap`, `secret` and `persistentVolumeClaim`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["configMap"]}, {"required": ["secret"]}, {"required": ["persistentVolumeClaim"]}]))]
pub struct VolumeSpec {
    /// The first part of the paths to its files.
    #[schemars(length(min = 1, max = 50), extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A file for each key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolumeSpec>,
    /// A file for each key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretVolumeSpec>,
    /// What somebody put on a volume, which all workers must be able to mount at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimVolumeSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigMapVolumeSpec {
    /// Of the ConfigMap, in the LoadTest's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretVolumeSpec {
    /// Of the Secret, in the LoadTest's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimVolumeSpec {
    /// Of the PersistentVolumeClaim, in the LoadTest's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MasterSpec {
    /// CPU and memory of the master's Pod; requests are made equal to limits.
    pub resources: ResourcesSpec,
    /// What the master's Pod carries, and where it may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
}

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

/// What may be said about a Pod; all else is fixed.
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
    /// Taints of nodes that the Pod puts up with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<TolerationSpec>,
    /// The Pod's priority class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TolerationSpec {
    /// Key of the taint; every key if unset, with `operator: Exists`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,
    /// `Equal` compares the values, `Exists` does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Exists", "Equal"]))]
    pub operator: Option<String>,
    /// Value of the taint, with `operator: Equal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint; every effect if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    /// How long a `NoExecute` taint is put up with; for ever if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}
