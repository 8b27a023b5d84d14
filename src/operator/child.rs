//! Children: the objects that carry out one run, with their kinds, names and labels.

use std::collections::BTreeMap;

use kube::api::{ApiResource, GroupVersionKind};

use crate::crd::status::RunStatus;
use crate::wire::layout::child_name;

/// Label with the id of the run that a child belongs to.
pub const RUN_LABEL: &str = "starling.dev/run";
/// Label with the name of the LoadTest; Pods are mapped to it by this label.
pub const TEST_LABEL: &str = "starling.dev/loadtest";
/// Label with the UID of the LoadTest. It survives a deletion that orphans the child.
pub const UID_LABEL: &str = "starling.dev/uid";
/// Label with the part that a child plays in its run: see [`Child::component`].
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Annotation with a proof that an operator of the run's installation made the child.
pub const SEAL_ANNOTATION: &str = "starling.dev/seal";
/// Selector of every object that the operator makes.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/managed-by=starling";

/// One of the objects that carry out a run.
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
    /// Service by which workers from elsewhere reach the master; only in runs that have such.
    External,
    /// Deployment of one master.
    Master,
    /// PodDisruptionBudget over master and workers.
    Budget,
    /// Indexed Job of the workers.
    Workers,
    /// ConfigMap with the whole result; outlives the run.
    Report,
}

/// Role of a Pod in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    /// Coordinates the workers and keeps the result.
    Master,
    /// Makes load.
    Worker,
}

impl Component {
    /// Value of the component label.
    pub fn label(self) -> &'static str {
        match self {
            Component::Master => "master",
            Component::Worker => "worker",
        }
    }
}

impl Child {
    /// Every child.
    pub const ALL: [Child; 9] = [
        Child::Plan,
        Child::Channel,
        Child::Policy,
        Child::Service,
        Child::External,
        Child::Master,
        Child::Budget,
        Child::Workers,
        Child::Report,
    ];

    /// Children that every run needs before its grant, in the order in which they are created: keys
    /// before the Pods that mount them, names before the Pods that look them up.
    pub const FLEET: [Child; 7] = [
        Child::Plan,
        Child::Channel,
        Child::Policy,
        Child::Service,
        Child::Master,
        Child::Budget,
        Child::Workers,
    ];

    /// Children that a run needs before its grant, in the order in which they are created.
    pub fn fleet(run: &RunStatus) -> Vec<Child> {
        let mut fleet = Self::FLEET.to_vec();
        if run.external > 0 {
            let at = fleet.iter().position(|child| *child == Child::Master);
            fleet.insert(at.unwrap_or(fleet.len()), Child::External);
        }
        fleet
    }

    /// Returns whether a run that has started needs the child to be carried to its end.
    pub fn is_essential(self) -> bool {
        matches!(
            self,
            Child::Plan | Child::Channel | Child::Service | Child::Master | Child::Workers
        )
    }

    /// Name of the child of the run with the id `run`. A report has this name only in runs that an
    /// older release began; see [`super::proof::Proofs::report_suffix`].
    pub fn name(self, run: &str) -> String {
        let role = match self {
            Child::Plan => "plan",
            Child::Channel => "channel",
            Child::Service | Child::Master => "master",
            Child::External => "external",
            Child::Workers => "workers",
            Child::Policy | Child::Budget => "fleet",
            Child::Report => "report",
        };
        child_name(run, role)
    }

    /// Kind of the child's object, and where the API server keeps it.
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
            Child::Service | Child::External => ("", "v1", "Service", "services"),
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
            Child::External => "external",
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

/// Labels of a child and of its Pods. None is copied from the LoadTest: labels of a GitOps tool
/// would make the tool prune the child.
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
