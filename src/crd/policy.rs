//! The `StarlingPolicy` resource: what LoadTests of the namespaces it selects may reach and be, as
//! admins of the cluster write it. [`convert()`] turns it into the plain rules that tests are held
//! against, and [`demands()`] says what a test asks for.
//!
//! Fields that are not known here make a policy unreadable: an operator that is older than the
//! definition must not let through what a newer field forbids.

#![allow(
    clippy::duplicated_attributes,
    reason = "clippy takes two columns of one type for the same attribute written twice"
)]

mod convert;
mod demands;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use convert::{convert, selects};
pub use demands::demands;

use super::schema;
use crate::plan::policy::Permission;

/// Name of the custom resource definition.
pub const CRD_NAME: &str = "starlingpolicies.starling.dev";

/// Limits of the LoadTests in the namespaces that it selects. Several policies that select a
/// namespace must all allow a test; one that cannot be read allows nothing. A namespace that no
/// policy selects has no limits of this kind. A run keeps the policies with which it began.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "starling.dev",
    version = "v1alpha1",
    kind = "StarlingPolicy",
    plural = "starlingpolicies",
    shortname = "stpol",
    category = "starling",
    derive = "PartialEq",
    printcolumn(name = "Namespaces", type_ = "string", json_path = ".spec.namespaces"),
    printcolumn(name = "Max Rate", type_ = "integer", json_path = ".spec.maxRate"),
    printcolumn(name = "Max Users", type_ = "integer", json_path = ".spec.maxUsers"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StarlingPolicySpec {
    /// Namespaces by name. A namespace is selected if it is named here or if `namespaceSelector`
    /// matches its labels. If both are unset, every namespace is selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "names")]
    pub namespaces: Option<Vec<String>>,
    /// Namespaces by their labels; an empty selector matches every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// Hosts that may be named as target, proxy or token endpoint: names, or addresses in their
    /// usual form, in which each `*` stands for any characters, dots too. Where names may be used
    /// at all, an address needs an entry of its own. If unset, any host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "names")]
    pub hosts: Option<Vec<String>>,
    /// Networks of the addresses that may be connected to, whatever name leads there, such as
    /// `10.0.0.0/8`. IPv6 addresses that carry an IPv4 address count as that. A proxy is asked for
    /// a tunnel to the address that was judged. If unset, any address. Addresses at which clouds
    /// serve credentials are never allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "names")]
    pub cidrs: Option<Vec<String>>,
    /// Ports that may be connected to: numbers, or ranges such as `8000-8999`. If unset, any port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "ports")]
    pub ports: Option<Vec<Value>>,
    /// Most iterations per second of open load (of a capacity search, its `max`), or requests per
    /// second of closed load, which must have a `throttle` then; populations side by side count
    /// together. If unset, no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_rate: Option<u32>,
    /// Most users at once, or iterations in flight (`maxInFlight`) of open load; populations side
    /// by side count together. If unset, no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_users: Option<u32>,
    /// Longest planned time of warm-up and load together; where the run itself decides it, longest
    /// `run.deadline`. If unset, no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub max_duration: Option<String>,
    /// Most worker Pods of a run. If unset, no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_workers: Option<u32>,
    /// ServiceAccounts that Pods of a run may have, in which `*` stands for any characters. If
    /// unset, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "names")]
    pub service_accounts: Option<Vec<String>>,
    /// Images of sidecars and clients that Pods of a run may have beside Starling's own, in which
    /// `*` stands for any characters. If unset, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "names")]
    pub images: Option<Vec<String>>,
    /// Priority classes that Pods of a run may have, in which `*` stands for any characters. If
    /// unset, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "names")]
    pub priority_classes: Option<Vec<String>>,
    /// Keys of labels that a test may add to its Pods, in which `*` stands for any characters. If
    /// unset, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "names")]
    pub pod_labels: Option<Vec<String>>,
    /// Keys of annotations that a test may add to its Pods, in which `*` stands for any characters.
    /// If unset, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "names")]
    pub pod_annotations: Option<Vec<String>>,
    /// Ways to reach an address past the names and addresses above that a test may use:
    /// `UnixSocket` (`unixSocket`, a socket of the worker's machine), `Proxy` (`proxy` of a target),
    /// `Resolve` (addresses that a test gives to names itself), `HostAliases` (the Pods' hosts file)
    /// and `DnsConfig` (the Pods' name servers). If unset, none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub allow: Vec<Permission>,
}

/// Selection of namespaces by their labels; every requirement must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NamespaceSelector {
    /// Labels with these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements of labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// Requirement of one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelRequirement {
    /// Key of the label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Comparison of the label.
    pub operator: LabelOperator,
    /// Values for `In` and `NotIn`; none for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names")]
    pub values: Vec<String>,
}

/// Comparison of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is not there.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// Schema of a list of short texts.
fn names(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array", "maxItems": 256, "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "minLength": 1, "maxLength": 253}
    })
}

/// Schema of a list of ports and ranges of them.
fn ports(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array", "maxItems": 256, "x-kubernetes-list-type": "atomic",
        "items": {
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}]
        }
    })
}

/// Returns the definition as it is installed.
pub fn definition() -> &'static Value {
    static DEFINITION: std::sync::LazyLock<Value> = std::sync::LazyLock::new(schema::define_policy);
    &DEFINITION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_can_be_read_and_fits_the_schema() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/policies");
        let schema = &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let fields = schema["properties"]["spec"]["properties"]
            .as_object()
            .unwrap();
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let policy: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(policy["kind"], "StarlingPolicy");
            convert("example", &policy["spec"]).unwrap();
            let mut names = policy["spec"].as_object().unwrap().keys();
            assert!(names.all(|name| fields.contains_key(name)), "{text}");
            seen += 1;
        }
        assert!(seen >= 3, "{seen}");
    }

    #[test]
    fn the_definition_is_cluster_wide_and_structural() {
        let spec = &definition()["spec"];
        assert_eq!(spec["scope"], "Cluster");
        assert_eq!(definition()["metadata"]["name"], CRD_NAME);
        let text = definition().to_string();
        assert!(!text.contains("\"additionalProperties\":false"), "{text}");
        assert!(!text.contains("nullable"), "{text}");
        let root = &spec["versions"][0]["schema"]["openAPIV3Schema"];
        let fields = root["properties"]["spec"]["properties"]
            .as_object()
            .unwrap();
        for (name, field) in fields {
            assert!(field["description"].is_string(), "{name} is not described");
        }
        for permission in fields["allow"]["items"]["enum"].as_array().unwrap() {
            let name = format!("`{}`", permission.as_str().unwrap());
            let allow = fields["allow"]["description"].as_str().unwrap();
            assert!(allow.contains(&name), "{name} is not described");
        }
    }
}
