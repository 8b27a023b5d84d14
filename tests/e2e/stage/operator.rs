//! Installing Starling: the suite's release, and the operator of one test.

use super::commands::{helm, run};
use super::{Stage, image};

pub const CRD: &str = "loadtests.starling.dev";
const CHART: &str = "charts/starling";
/// Namespace of the suite's release.
pub const SYSTEM: &str = "starling-system";

/// A release of the chart in a namespace of the test.
pub struct Operator {
    pub namespace: String,
    pub release: String,
    watched: Vec<String>,
}

impl Operator {
    /// An operator for this namespace alone, as the admin of a namespace installs it; `sets` are
    /// more values.
    pub fn install(stage: &Stage, sets: &[&str]) -> Operator {
        Operator::watching(stage, &[stage], sets)
    }

    pub fn watching(stage: &Stage, watched: &[&Stage], sets: &[&str]) -> Operator {
        Operator::in_namespace(stage, watched, sets)
    }

    /// An operator in the namespace of `home`, which need not be among those it watches.
    pub fn in_namespace(home: &Stage, watched: &[&Stage], sets: &[&str]) -> Operator {
        let watched = watched
            .iter()
            .map(|stage| stage.namespace.clone())
            .collect();
        let operator = Operator {
            namespace: home.namespace.clone(),
            release: "operator".into(),
            watched,
        };
        operator.upgrade(sets);
        operator
    }

    /// For this namespace, by a user who is its admin.
    pub fn install_as(stage: &Stage, user: &str) -> Operator {
        let operator = Operator {
            namespace: stage.namespace.clone(),
            release: "operator".into(),
            watched: vec![stage.namespace.clone()],
        };
        operator.upgrade_as(&["--wait", "--kube-as-user", user], &[]);
        operator
    }

    /// Installs or upgrades, waits for the Pod, and so also restarts with other values.
    pub fn upgrade(&self, sets: &[&str]) {
        self.upgrade_as(&["--wait"], sets);
    }

    fn upgrade_as(&self, flags: &[&str], sets: &[&str]) {
        let watched = format!("watchNamespaces={{{}}}", self.watched.join(","));
        let own = [
            &watched,
            "crds.install=false",
            "clusterResources.install=false",
            "resources.requests.cpu=10m",
            "logLevel=info\\,starling=debug",
        ];
        let said = helm_upgrade(
            &self.release,
            &self.namespace,
            flags,
            &[&own[..], sets].concat(),
        );
        assert!(said.is_ok(), "{said:?}");
    }

    /// Of the Deployment, the ServiceAccount and the rest.
    pub fn name(&self) -> String {
        format!("{}-starling", self.release)
    }

    pub fn selector(&self) -> String {
        format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component=operator",
            self.release
        )
    }

    /// As the audit log names it.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name())
    }

    /// What Prometheus would see.
    pub async fn metrics(&self, stage: &Stage) -> String {
        stage
            .raw(&format!(
                "/api/v1/namespaces/{}/services/http:{}-metrics:9090/proxy/metrics",
                self.namespace,
                self.name()
            ))
            .await
    }
}

/// `helm upgrade --install` of the chart with our image.
pub fn helm_upgrade(
    release: &str,
    namespace: &str,
    flags: &[&str],
    sets: &[&str],
) -> Result<String, String> {
    let (repository, tag) = image();
    let image = [
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
    ];
    let sets = sets
        .iter()
        .copied()
        .chain(image.iter().map(String::as_str))
        .flat_map(|set| ["--set", set]);
    let args: Vec<&str> = [
        "upgrade",
        "--install",
        release,
        CHART,
        "--namespace",
        namespace,
        "--timeout",
        "2m",
    ]
    .into_iter()
    .chain(flags.iter().copied())
    .chain(sets)
    .collect();
    let said = helm(&args);
    if said.ok {
        Ok(said.text)
    } else {
        Err(format!("helm {args:?}: {}", said.text))
    }
}

/// The CRD, people's roles, and an operator that watches nothing but its own namespace.
pub fn install_suite() -> Result<(), String> {
    let namespace = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {SYSTEM}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}}}"
    );
    let said = run("kubectl", &["apply", "-f", "-"], Some(&namespace));
    if !said.ok {
        return Err(said.text);
    }
    narrow_suite(&[])
}

/// The suite's release as tests expect it.
pub fn narrow_suite(flags: &[&str]) -> Result<(), String> {
    let watched = format!("watchNamespaces={{{SYSTEM}}}");
    helm_upgrade(
        "starling",
        SYSTEM,
        &[&["--wait"], flags].concat(),
        &[&watched, "resources.requests.cpu=10m"],
    )?;
    let said = run(
        "kubectl",
        &[
            "wait",
            "--for=condition=Established",
            &format!("crd/{CRD}"),
            "--timeout=30s",
        ],
        None,
    );
    if said.ok { Ok(()) } else { Err(said.text) }
}
