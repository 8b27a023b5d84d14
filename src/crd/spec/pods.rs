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
    /// CPU and memory; requests are made equal to limits, since a load generator that bursts lies about latency.
    pub resources: ResourcesSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
}

impl Default for WorkersSpec {
    fn default() -> Self {
        Self { replicas: 1, start_deadline: "10m".into(), grace: "90s".into(), resources: ResourcesSpec::default(), pod: None }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MasterSpec {
    pub resources: ResourcesSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourcesSpec {
    #[schemars(schema_with = "crate::crd::schema::quantity")]
    pub cpu: String,
    #[schemars(schema_with = "crate::crd::schema::quantity")]
    pub memory: String,
}

impl Default for ResourcesSpec {
    fn default() -> Self {
        Self { cpu: "500m".into(), memory: "512Mi".into() }
    }
}

/// What may be said about a Pod; all else is fixed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<TolerationSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TolerationSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Exists", "Equal"]))]
    pub operator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}
