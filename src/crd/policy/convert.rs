//! The conversion of a policy into plain rules, and which namespaces it selects.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{LabelOperator, LabelRequirement, NamespaceSelector, StarlingPolicySpec};
use crate::plan::duration;
use crate::plan::policy::{AddressRule, Limits, PodRules, Policy};

/// The part of a policy that says which namespaces it is about. Other fields may be unreadable.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selection {
    namespaces: Option<Vec<String>>,
    namespace_selector: Option<NamespaceSelector>,
}

/// Returns whether the policy with this `spec` selects the namespace; one whose selection cannot be
/// read selects every namespace.
pub fn selects(spec: &Value, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let Ok(selection) = Selection::deserialize(spec) else {
        return true;
    };
    match (&selection.namespaces, &selection.namespace_selector) {
        (None, None) => true,
        (names, selector) => {
            let is_named = |names: &Vec<String>| names.iter().any(|name| name == namespace);
            names.as_ref().is_some_and(is_named)
                || selector
                    .as_ref()
                    .is_some_and(|selector| selector.matches(labels))
        }
    }
}

impl NamespaceSelector {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut pairs = self.match_labels.iter();
        pairs.all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|one| one.holds(labels))
    }
}

impl LabelRequirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let is_one = || value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            LabelOperator::In => is_one(),
            LabelOperator::NotIn => !is_one(),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// Reads the policy called `name`.
///
/// # Errors
///
/// The first field that is unknown or cannot be read. Such a policy allows nothing.
pub fn convert(name: &str, spec: &Value) -> Result<Policy, String> {
    let spec = StarlingPolicySpec::deserialize(spec).map_err(|e| format!("spec: {e}"))?;
    let StarlingPolicySpec {
        namespaces: _,
        namespace_selector: _,
        hosts,
        cidrs,
        ports,
        max_rate,
        max_users,
        max_duration,
        max_workers,
        service_accounts,
        images,
        priority_classes,
        pod_labels,
        pod_annotations,
        allow,
    } = spec;
    let ports = ports.map(|ports| ports.iter().map(text_of).collect());
    let duration = max_duration.as_deref().map(duration::parse).transpose();
    Ok(Policy {
        addresses: AddressRule {
            policy: name.to_owned(),
            hosts: each("hosts", hosts)?,
            cidrs: each("cidrs", cidrs)?,
            ports: each("ports", ports)?,
        },
        limits: Limits {
            rate: max_rate.map(f64::from),
            users: max_users.map(u64::from),
            duration: duration.map_err(|why| format!("spec.maxDuration: {why}"))?,
            workers: max_workers,
        },
        pods: PodRules {
            service_accounts: Some(service_accounts.unwrap_or_default()),
            images: Some(images.unwrap_or_default()),
            priority_classes,
            labels: pod_labels,
            annotations: pod_annotations,
        },
        permissions: allow.into_iter().collect(),
    })
}

/// Returns a port as text, be it a number or a text.
fn text_of(port: &Value) -> String {
    port.as_str()
        .map_or_else(|| port.to_string(), str::to_owned)
}

fn each<T: TryFrom<String, Error = String>>(
    field: &str,
    texts: Option<Vec<String>>,
) -> Result<Option<Vec<T>>, String> {
    let Some(texts) = texts else {
        return Ok(None);
    };
    let read = texts
        .into_iter()
        .enumerate()
        .map(|(i, text)| T::try_from(text).map_err(|why| format!("spec.{field}[{i}]: {why}")));
    read.collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::policy::Permission;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn a_policy_selects_by_name_or_label_and_without_either_everything() {
        let team_a = labels(&[("team", "a"), ("stage", "test")]);
        let selects = |spec: Value| selects(&spec, "team-a", &team_a);
        for spec in [
            json!({}),
            json!({"hosts": []}),
            json!({"namespaces": ["team-b", "team-a"]}),
            json!({"namespaceSelector": {}}),
            json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}),
            json!({"namespaces": ["team-b"], "namespaceSelector": {"matchLabels": {"team": "a"}}}),
            json!({"namespaceSelector": {"matchExpressions": [
                {"key": "team", "operator": "In", "values": ["a", "b"]},
                {"key": "stage", "operator": "NotIn", "values": ["production"]},
                {"key": "stage", "operator": "Exists"},
                {"key": "owner", "operator": "DoesNotExist"},
            ]}}),
            // unreadable otherwise, or in what it selects
            json!({"namespaces": ["team-a"], "hosts": 7}),
            json!({"namespaces": "team-b"}),
            json!({"namespaceSelector": {"matchFields": {}}}),
        ] {
            assert!(selects(spec.clone()), "{spec}");
        }
        for spec in [
            json!({"namespaces": []}),
            json!({"namespaces": ["team-b"]}),
            json!({"namespaces": ["team-b"], "hosts": 7}),
            json!({"namespaceSelector": {"matchLabels": {"team": "a", "stage": "production"}}}),
            json!({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}),
        ] {
            assert!(!selects(spec.clone()), "{spec}");
        }
    }

    #[test]
    fn what_is_unset_allows_any_but_accounts_images_and_ways_past_names() {
        let policy = convert("p", &json!({})).unwrap();
        assert_eq!(policy.addresses.hosts, None);
        assert_eq!(policy.limits, Limits::default());
        assert_eq!(policy.pods.labels, None);
        assert_eq!(policy.pods.images, Some(vec![]));
        assert_eq!(policy.pods.service_accounts, Some(vec![]));
        assert!(policy.permissions.is_empty());
    }

    #[test]
    fn every_field_is_read() {
        let spec = json!({
            "namespaces": ["a"], "namespaceSelector": {},
            "hosts": ["*.svc"], "cidrs": ["10.0.0.0/8"], "ports": [443, "8000-8999"],
            "maxRate": 100, "maxUsers": 50, "maxDuration": "1h", "maxWorkers": 4,
            "serviceAccounts": ["load"], "images": ["registry.example/*"], "priorityClasses": ["low"],
            "podLabels": ["team"], "podAnnotations": [], "allow": ["Proxy", "UnixSocket"],
        });
        let policy = convert("p", &spec).unwrap();
        assert_eq!(
            serde_json::to_value(&policy.addresses).unwrap(),
            json!({"policy": "p", "hosts": ["*.svc"], "cidrs": ["10.0.0.0/8"], "ports": ["443", "8000-8999"]})
        );
        assert_eq!(
            policy.limits.duration,
            Some(std::time::Duration::from_secs(3600))
        );
        assert_eq!(policy.pods.annotations, Some(vec![]));
        assert_eq!(
            policy.permissions,
            [Permission::UnixSocket, Permission::Proxy].into()
        );
        let back: StarlingPolicySpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(back).unwrap(), spec);
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (spec, words) in [
            (json!({"hosts": ["http://a"]}), "spec.hosts[0]"),
            (json!({"hosts": "a"}), "spec"),
            (
                json!({"cidrs": ["10.0.0.0/8", "10.1.0.0/8"]}),
                "spec.cidrs[1]",
            ),
            (json!({"ports": [0]}), "spec.ports[0]"),
            (json!({"ports": [true]}), "spec.ports[0]"),
            (json!({"maxDuration": "soon"}), "spec.maxDuration"),
            (json!({"maxRate": -1}), "spec"),
            (json!({"allow": ["Everything"]}), "Everything"),
            (json!({"maxBytes": 7}), "maxBytes"),
            (json!(null), "spec"),
        ] {
            let why = convert("p", &spec).unwrap_err();
            assert!(why.contains(words), "{spec}: {why}");
        }
    }
}
