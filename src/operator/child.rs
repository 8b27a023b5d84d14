//! The objects that carry out one run: their kinds, names and labels.

use std::collections::BTreeMap;

use kube::api::{ApiResource, GroupVersionKind};

use crate::wire::layout::child_name;

/// Which run a child belongs to.
pub const RUN_LABEL: &str = "starling.dev/run";
/// Name of the LoadTest; Pods are mapped to it by this label.
pub const TEST_LABEL: &str = "starling.dev/loadtest";
/// UID of the LoadTest: survives a deletion that orphans the child.
pub const UID_LABEL: &str = "starling.dev/uid";
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Of every object the operator makes.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/managed-by=starling";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Child {
    /// ConfigMap with the [`crate::wire::layout::RunFile`]; owns the channel.
    Plan,
    /// Secret with the keys of the run's own TLS and its tokens.
    Channel,
    /// NetworkPolicy of master and workers.
    Policy,
    /// Headless Service of the master.
    Service,
    /// Deployment of one master.
    Master,
    /// PodDisruptionBudget over master and workers.
    Budget,
    /// Indexed Job.
    Workers,
    /// ConfigMap with the whole result; outlives the run.
    Report,
}

/// A role a Pod can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    Master,
    Worker,
}

impl Component {
    pub fn label(self) -> &'static str {
        match self {
            Component::Master => "master",
            Component::Worker => "worker",
        }
    }
}

impl Child {
    pub const ALL: [Child; 8] = [
        Child::Plan,
        Child::Channel,
        Child::Policy,
        Child::Service,
        Child::Master,
        Child::Budget,
        Child::Workers,
        Child::Report,
    ];

    /// What is there before the grant, in the order in which it is made: keys before the Pods that
    /// mount them, names before those that look them up.
    pub const FLEET: [Child; 7] = [
        Child::Plan,
        Child::Channel,
        Child::Policy,
        Child::Service,
        Child::Master,
        Child::Budget,
        Child::Workers,
    ];

    /// Without one of these a run that has started cannot be carried to its end.
    pub fn is_essential(self) -> bool {
        matches!(
            self,
            Child::Plan | Child::Channel | Child::Service | Child::Master | Child::Workers
        )
    }

    pub fn name(self, run: &str) -> String {
        let role = match self {
            Child::Plan => "plan",
            Child::Channel => "channel",
            Child::Service | Child::Master => "master",
            Child::Workers => "workers",
            Child::Policy | Child::Budget => "fleet",
            Child::Report => "report",
        };
        child_name(run, role)
    }

    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Child::Plan | Child::Report => ("", "v1", "ConfigMap", "configmaps"),
            Child::Channel => ("", "v1", "Secret", "secrets"),
            Child::Policy => (
                "networking.k8s.io",
                "v1",
                "NetworkPolicy",
                "networkpolicies",
            ),
            Child::Service => ("", "v1", "Service", "services"),
            Child::Master => ("apps", "v1", "Deployment", "deployments"),
            Child::Budget => (
                "policy",
                "v1",
                "PodDisruptionBudget",
                "poddisruptionbudgets",
            ),
            Child::Workers => ("batch", "v1", "Job", "jobs"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Value of the component label.
    pub fn component(self) -> &'static str {
        match self {
            Child::Plan => "plan",
            Child::Channel => "channel",
            Child::Policy | Child::Budget => "fleet",
            Child::Service | Child::Master => Component::Master.label(),
            Child::Workers => Component::Worker.label(),
            Child::Report => "report",
        }
    }
}

impl std::fmt::Display for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.resource().kind, self.component())
    }
}

/// Labels of a child and of its Pods. Nothing is copied from the LoadTest: its GitOps labels would
/// make the tool prune the child.
pub fn labels(test: &str, uid: &str, run: &str, component: &str) -> BTreeMap<String, String> {
    let pairs = [
        ("app.kubernetes.io/name", "starling"),
        ("app.kubernetes.io/part-of", "starling"),
        ("app.kubernetes.io/managed-by", "starling"),
        (COMPONENT_LABEL, component),
        (RUN_LABEL, run),
        (TEST_LABEL, test),
        (UID_LABEL, uid),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
