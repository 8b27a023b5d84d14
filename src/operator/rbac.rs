//! Rights that the operator needs: the one table that the chart's roles are made from.

use serde_json::{Value, json};

use super::install_key::SECRET_NAME;
use crate::crd::CRD_NAME;

/// Scope of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Every namespace in which LoadTests are carried out.
    WatchedNamespaces,
    /// Namespace of the operator itself.
    OwnNamespace,
    /// Objects without a namespace.
    Cluster,
}

/// One rule of a Role.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Scope of the rule.
    pub place: Place,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plurals of resources, with their subresource where one is meant.
    pub resources: &'static [&'static str],
    /// Verbs that are allowed.
    pub verbs: &'static [&'static str],
    /// Names of objects; empty for any name.
    pub names: &'static [&'static str],
}

const fn watched(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule {
        place: Place::WatchedNamespaces,
        group,
        resources,
        verbs,
        names: &[],
    }
}

/// Every right that the operator needs.
pub const RULES: &[Rule] = &[
    watched("starling.dev", &["loadtests"], &["get", "list", "watch"]),
    watched("starling.dev", &["loadtests/status"], &["update"]),
    // asked for by OwnerReferencesPermissionEnforcement where an owner reference blocks the
    // owner's deletion
    watched("starling.dev", &["loadtests/finalizers"], &["update"]),
    watched(
        "apps",
        &["deployments"],
        &["create", "get", "list", "watch", "delete"],
    ),
    watched(
        "batch",
        &["jobs"],
        &["create", "get", "list", "watch", "patch", "delete"],
    ),
    watched(
        "",
        &["services"],
        &["create", "get", "list", "watch", "delete"],
    ),
    watched("", &["configmaps"], &["create", "get", "list", "delete"]),
    // never read: their content is computed, and they are deleted with the ConfigMap that owns
    // them
    watched("", &["secrets"], &["create"]),
    watched(
        "networking.k8s.io",
        &["networkpolicies"],
        &["create", "get", "list", "delete"],
    ),
    watched(
        "policy",
        &["poddisruptionbudgets"],
        &["create", "get", "list", "patch", "delete"],
    ),
    watched("", &["pods"], &["list", "watch"]),
    // its labels, by which policies select it; a Role of a namespace may allow to read that one
    watched("", &["namespaces"], &["get"]),
    // tells other installations that this one is there
    watched(
        "coordination.k8s.io",
        &["leases"],
        &["create", "get", "update", "delete"],
    ),
    watched("events.k8s.io", &["events"], &["create", "patch"]),
    Rule {
        place: Place::OwnNamespace,
        group: "",
        resources: &["secrets"],
        verbs: &["get"],
        names: &[SECRET_NAME],
    },
    Rule {
        place: Place::OwnNamespace,
        group: "",
        resources: &["secrets"],
        verbs: &["create"],
        names: &[],
    },
    Rule {
        place: Place::Cluster,
        group: "starling.dev",
        resources: &["starlingpolicies"],
        verbs: &["list"],
        names: &[],
    },
    Rule {
        place: Place::Cluster,
        group: "apiextensions.k8s.io",
        resources: &["customresourcedefinitions"],
        verbs: &["get"],
        names: &[CRD_NAME],
    },
];

/// Returns the documents of `starling rbac`, in this order: watched namespaces, own namespace,
/// cluster.
pub fn documents() -> [Value; 3] {
    [
        Place::WatchedNamespaces,
        Place::OwnNamespace,
        Place::Cluster,
    ]
    .map(|place| {
        let rules = RULES.iter().filter(|rule| rule.place == place).map(|rule| {
            let mut object = json!({
                "apiGroups": [rule.group],
                "resources": rule.resources,
                "verbs": rule.verbs,
            });
            if !rule.names.is_empty() {
                object["resourceNames"] = json!(rule.names);
            }
            object
        });
        json!({"rules": rules.collect::<Vec<_>>()})
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_read_but_the_install_key_and_nothing_is_a_wildcard() {
        for rule in RULES {
            let parts = rule.resources.iter().chain(rule.verbs).chain([&rule.group]);
            assert!(parts.clone().all(|part| !part.contains('*')), "{rule:?}");
            let secrets = rule.resources.contains(&"secrets");
            assert!(
                !secrets
                    || rule.verbs == ["create"]
                    || rule.verbs == ["get"] && rule.names == [SECRET_NAME],
                "{rule:?}"
            );
        }
    }

    #[test]
    fn every_kind_of_child_can_be_created_and_looked_for() {
        use crate::operator::child::Child;
        for child in Child::ALL {
            let resource = child.resource();
            let may = |verb: &&str| {
                let fits = |rule: &&Rule| {
                    rule.place == Place::WatchedNamespaces
                        && rule.group == resource.group
                        && rule.resources.contains(&resource.plural.as_str())
                };
                RULES
                    .iter()
                    .filter(fits)
                    .any(|rule| rule.verbs.contains(verb))
            };
            let verbs: &[&str] = if child == Child::Channel {
                &["create"]
            } else {
                &["create", "get", "list", "delete"]
            };
            assert!(verbs.iter().all(may), "{child}");
        }
    }
}
