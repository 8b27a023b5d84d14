//! The chart, rendered by the real helm: what it makes of good values, what it refuses, and that
//! generated files are those committed.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const CHART: &str = "charts/starling";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `HELM`, or the one the test cluster builds.
fn helm_path() -> PathBuf {
    if let Some(path) = std::env::var_os("HELM") {
        return path.into();
    }
    let output = Command::new(root().join("tests/cluster/cluster.sh"))
        .arg("path")
        .output()
        .expect("cluster.sh runs");
    let path = Path::new(String::from_utf8(output.stdout).expect("a path").trim()).join("helm");
    assert!(
        path.exists(),
        "no helm: set HELM, or build it with `tests/cluster/cluster.sh build helm` (`make test` does)"
    );
    path
}

fn helm(args: &[&str]) -> Result<String, String> {
    let output = Command::new(helm_path())
        .current_dir(root())
        .args(args)
        .output()
        .expect("helm runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stdout) + &text(output.stderr))
    }
}

/// What the program prints for `starling ARGS`.
fn printed(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_starling"))
        .args(args)
        .output()
        .expect("starling runs");
    assert!(
        output.status.success(),
        "starling {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn documents(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml)
        .unwrap_or_else(|error| panic!("not YAML: {error}\n{yaml}"));
    all.into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn render(args: &[&str]) -> Vec<Value> {
    let template = [
        &[
            "template",
            "starling",
            CHART,
            "--namespace",
            "starling-system",
        ],
        args,
    ]
    .concat();
    documents(&helm(&template).unwrap_or_else(|error| panic!("helm {template:?}: {error}")))
}

/// One file of values for each way to install.
fn value_files() -> Vec<String> {
    let mut files: Vec<String> = std::fs::read_dir(root().join(CHART).join("ci"))
        .expect("the chart has ci/")
        .map(|entry| {
            entry
                .expect("an entry")
                .path()
                .to_str()
                .expect("UTF-8")
                .to_owned()
        })
        .collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    found[0]
}

fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

/// The Pod Security Standard `restricted`, for the fields our Pods use.
fn assert_restricted(workload: &Value) {
    let pod = &workload["spec"]["template"]["spec"];
    let at = |what: &str| {
        format!(
            "{} {}: {what}",
            workload["kind"], workload["metadata"]["name"]
        )
    };
    assert_eq!(
        pod["securityContext"]["runAsNonRoot"],
        true,
        "{}",
        at("runAsNonRoot")
    );
    assert_eq!(
        pod["securityContext"]["runAsUser"],
        Value::Null,
        "{}",
        at("the image or the platform says which user")
    );
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault",
        "{}",
        at("seccomp")
    );
    for host in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "initContainers",
        "volumes",
    ] {
        assert_eq!(pod[host], Value::Null, "{}", at(host));
    }
    for container in pod["containers"].as_array().expect("containers") {
        let context = &container["securityContext"];
        assert_eq!(
            context["allowPrivilegeEscalation"],
            false,
            "{}",
            at("privilege escalation")
        );
        assert_eq!(
            context["capabilities"],
            json!({"drop": ["ALL"]}),
            "{}",
            at("capabilities")
        );
        assert_eq!(
            context["readOnlyRootFilesystem"],
            true,
            "{}",
            at("root file system")
        );
        assert_eq!(context["privileged"], Value::Null, "{}", at("privileged"));
        assert!(
            container["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .all(|port| port["hostPort"].is_null()),
            "{}",
            at("host port")
        );
        assert!(
            container["resources"]["limits"]["memory"].is_string(),
            "{}",
            at("memory limit")
        );
    }
}

#[test]
fn values_that_make_no_sense_are_refused_with_the_name_of_the_value() {
    let cases: &[(&str, &str)] = &[
        ("image.tga=1", "tga"),
        ("replicas=2", "replicas"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.digest=sha256:12", "/image/digest"),
        ("image.repository=", "/image/repository"),
        ("image.repository=a@sha256:12", "/image/repository"),
        ("watchNamespaces=team-a", "/watchNamespaces"),
        ("watchNamespaces={Team A}", "/watchNamespaces/0"),
        ("watchNamespaces={a,a}", "/watchNamespaces"),
        ("crds.install=perhaps", "/crds/install"),
        ("clusterResources.instal=false", "instal"),
        ("concurrency=0", "/concurrency"),
        ("concurrency=many", "/concurrency"),
        ("logLevel=", "/logLevel"),
        ("serviceAccount.name=Not_A_Name", "/serviceAccount/name"),
        ("podLabels.a=1", "/podLabels/a"),
        ("resources.requets.cpu=1", "requets"),
        ("extraArgs=--one", "/extraArgs"),
        ("extraEnv[0].value=x", "/extraEnv/0"),
        ("tolerations[0].effect=Never", "/tolerations/0/effect"),
        ("imagePullSecrets={a}", "/imagePullSecrets/0"),
        ("metrics.service.enabled=true", "enabled"),
        ("policy.name=Default", "/policy/name"),
        ("policy.enforced=false", "enforced"),
        ("admissionPolicy.enabled=true", "enabled"),
        (
            "networkPolicy.metricsFrom=monitoring",
            "/networkPolicy/metricsFrom",
        ),
    ];
    for (set, words) in cases {
        let error = helm(&["template", "x", CHART, "--set", set]).expect_err(set);
        assert!(error.contains(words), "{set}: {error}");
    }
}

#[test]
fn no_cluster_resources_without_namespaces_is_refused_and_says_what_to_set() {
    let error = helm(&[
        "template",
        "x",
        CHART,
        "--set",
        "clusterResources.install=false",
    ])
    .expect_err("must fail");
    assert!(error.contains("needs watchNamespaces"), "{error}");
}

#[test]
fn every_value_has_a_place_in_the_schema_and_a_default() {
    fn compare(values: &Value, schema: &Value, path: &str) {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        assert_eq!(schema["additionalProperties"], false, "{path}");
        let mut named: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        named.remove("global");
        // Free Kubernetes objects are empty by default; their schema names more than the defaults
        // do.
        if ["/resources", "/affinity"].contains(&path) {
            return;
        }
        let present: BTreeSet<&str> = values
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(present, named, "{path}");
        for key in present {
            compare(&values[key], &properties[key], &format!("{path}/{key}"));
        }
    }
    let values = &documents(&read("charts/starling/values.yaml"))[0];
    let schema: Value =
        serde_json::from_str(&read("charts/starling/values.schema.json")).expect("JSON");
    compare(values, &schema, "");
}

#[test]
fn each_set_of_values_passes_the_strict_linter() {
    for file in value_files() {
        helm(&["lint", "--strict", CHART, "--values", &file])
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn each_set_of_values_makes_one_restricted_operator_that_is_never_two() {
    for file in value_files() {
        let objects = render(&["--values", &file]);
        let deployment = only(&objects, "Deployment");
        assert_restricted(deployment);
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
        assert_eq!(
            container(deployment)["livenessProbe"]["httpGet"],
            json!({"path": "/livez", "port": "http"})
        );
        assert_eq!(
            container(deployment)["readinessProbe"]["httpGet"],
            json!({"path": "/readyz", "port": "http"})
        );
        let selector = deployment["spec"]["selector"]["matchLabels"]
            .as_object()
            .expect("a selector");
        for (label, value) in selector {
            assert_eq!(
                &deployment["spec"]["template"]["metadata"]["labels"][label], value,
                "{file}: {label}"
            );
            assert_eq!(
                &only(&objects, "Service")["spec"]["selector"][label],
                value,
                "{file}: {label}"
            );
        }
    }
}

#[test]
fn the_admin_of_a_namespace_gets_no_cluster_scoped_object() {
    let objects = render(&[
        "--set",
        "clusterResources.install=false",
        "--set",
        "watchNamespaces={team-a}",
    ]);
    let kinds: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    assert_eq!(
        kinds,
        BTreeSet::from([
            "Deployment",
            "Role",
            "RoleBinding",
            "Service",
            "ServiceAccount"
        ])
    );
    assert!(
        objects
            .iter()
            .all(|object| object["metadata"]["namespace"].is_string())
    );
}

#[test]
fn listed_namespaces_get_a_role_each_and_nothing_is_granted_elsewhere() {
    let objects = render(&["--set", "watchNamespaces={team-a,team-b}"]);
    let mut places: Vec<&str> = of_kind(&objects, "Role")
        .iter()
        .filter_map(|role| role["metadata"]["namespace"].as_str())
        .collect();
    places.sort();
    assert_eq!(places, ["starling-system", "team-a", "team-b"]);
    for binding in of_kind(&objects, "RoleBinding") {
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "name": "starling", "namespace": "starling-system"}])
        );
    }
    let wide = of_kind(&objects, "ClusterRoleBinding")[0]["roleRef"]["name"].clone();
    let role = of_kind(&objects, "ClusterRole")
        .into_iter()
        .find(|role| role["metadata"]["name"] == wide)
        .expect("the bound role");
    for rule in role["rules"].as_array().expect("rules") {
        // the policies of the cluster are no namespace's own
        if rule["resources"] == json!(["starlingpolicies"]) {
            assert_eq!(rule["verbs"], json!(["list"]), "{rule}");
            continue;
        }
        assert_eq!(rule["verbs"], json!(["get"]), "{rule}");
        assert!(rule["resourceNames"].is_array(), "{rule}");
    }
    let args = container(only(&objects, "Deployment"))["args"].clone();
    assert!(
        args.as_array()
            .expect("args")
            .contains(&json!("--watch-namespaces=team-a,team-b")),
        "{args}"
    );
}

#[test]
fn roles_hold_the_rules_of_the_table_and_no_other() {
    let table: Vec<Value> = documents(&read("charts/starling/files/rbac.yaml"))
        .into_iter()
        .map(|document| document["rules"].clone())
        .collect();
    let [watched, own, cluster] = table.as_slice() else {
        panic!("three documents, not {}", table.len())
    };
    let both = Value::Array(
        [watched, cluster]
            .iter()
            .flat_map(|rules| rules.as_array().expect("a list").clone())
            .collect(),
    );
    let rules = |objects: &[Value], kind: &str, name: &str, namespace: Value| {
        let found = of_kind(objects, kind).into_iter().find(|role| {
            role["metadata"]["name"] == name && role["metadata"]["namespace"] == namespace
        });
        found.unwrap_or_else(|| panic!("no {kind} {name} in {namespace}"))["rules"].clone()
    };
    let everywhere = render(&[]);
    assert_eq!(
        rules(
            &everywhere,
            "ClusterRole",
            "starling-system:starling",
            Value::Null
        ),
        both
    );
    assert_eq!(
        rules(
            &everywhere,
            "Role",
            "starling-install-key",
            json!("starling-system")
        ),
        *own
    );
    let listed = render(&["--set", "watchNamespaces={team-a}"]);
    assert_eq!(
        rules(
            &listed,
            "ClusterRole",
            "starling-system:starling",
            Value::Null
        ),
        *cluster
    );
    assert_eq!(
        rules(&listed, "Role", "starling", json!("team-a")),
        *watched
    );
    assert_eq!(
        rules(
            &listed,
            "Role",
            "starling-install-key",
            json!("starling-system")
        ),
        *own
    );
}

#[test]
fn no_role_reads_secrets_but_the_install_key_nor_has_a_wildcard() {
    for object in render(&[]) {
        for rule in object["rules"].as_array().into_iter().flatten() {
            assert!(!rule.to_string().contains('*'), "{rule}");
            let has = |field: &str, value: &str| {
                rule[field]
                    .as_array()
                    .is_some_and(|values| values.contains(&json!(value)))
            };
            if has("resources", "secrets")
                && ["get", "list", "watch"]
                    .iter()
                    .any(|verb| has("verbs", verb))
            {
                assert_eq!(
                    rule["resourceNames"],
                    json!(["starling-operator-key"]),
                    "{rule}"
                );
                assert_eq!(rule["verbs"], json!(["get"]), "{rule}");
            }
        }
    }
}

#[test]
fn the_digest_wins_over_the_tag_and_master_and_workers_get_the_operators_image() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let set = format!("image.repository=example/starling,image.tag=1.2.3,image.digest={digest}");
    for (set, image) in [
        (set.as_str(), format!("example/starling@{digest}")),
        ("image.tag=1.2.3", "starling:1.2.3".to_owned()),
    ] {
        let objects = render(&["--set", set]);
        let operator = container(only(&objects, "Deployment"));
        assert_eq!(operator["image"], image);
        assert!(
            operator["args"]
                .as_array()
                .expect("args")
                .contains(&json!(format!("--image={image}"))),
            "{operator}"
        );
    }
}

#[test]
fn common_labels_reach_every_object() {
    for object in render(&["--set-string", "commonLabels.cost-centre=7"]) {
        assert_eq!(object["metadata"]["labels"]["cost-centre"], "7", "{object}");
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/name"], "starling",
            "{object}"
        );
    }
}

#[test]
fn an_uninstall_keeps_the_crd_unless_told_otherwise() {
    let policy = |args: &[&str]| {
        let objects = render(args);
        let definitions = of_kind(&objects, "CustomResourceDefinition");
        assert_eq!(definitions.len(), 2);
        let annotation =
            |crd: &Value| crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone();
        assert_eq!(annotation(definitions[0]), annotation(definitions[1]));
        annotation(definitions[0])
    };
    assert_eq!(policy(&[]), "keep");
    assert_eq!(policy(&["--set", "crds.keep=false"]), Value::Null);
    assert!(
        of_kind(
            &render(&["--set", "crds.install=false"]),
            "CustomResourceDefinition"
        )
        .is_empty()
    );
}

#[test]
fn the_crd_of_the_program_the_repository_and_the_chart_are_one() {
    let kinds: [(&str, &str, &[&str], &Value); 2] = [
        ("loadtests", "crd", &["crd"], starling::crd::definition()),
        (
            "starlingpolicies",
            "policy-crd",
            &["crd", "--policy"],
            starling::crd::policy::definition(),
        ),
    ];
    let objects = render(&[]);
    let rendered = of_kind(&objects, "CustomResourceDefinition");
    assert_eq!(rendered.len(), kinds.len());
    for (plural, file, args, generated) in kinds {
        let committed = read(&format!("crds/{plural}.starling.dev.yaml"));
        assert_eq!(committed, printed(args), "run `make generate`");
        let copy = read(&format!("charts/starling/files/{file}.yaml"));
        assert_eq!(copy, committed, "run `make generate`");
        let name = &generated["metadata"]["name"];
        let in_chart = rendered
            .iter()
            .find(|crd| crd["metadata"]["name"] == *name)
            .unwrap_or_else(|| panic!("no {name} in the chart"));
        assert_eq!(in_chart["spec"], generated["spec"]);
    }
}

fn operator_args(objects: &[Value]) -> Vec<String> {
    let args = container(only(objects, "Deployment"))["args"].clone();
    serde_json::from_value(args).expect("arguments")
}

#[test]
fn policies_are_read_where_the_operator_may_and_off_elsewhere() {
    let is_off = |args: &[&str]| operator_args(&render(args)).contains(&"--policies=Off".into());
    assert!(!is_off(&[]));
    assert!(!is_off(&["--set", "watchNamespaces={team-a}"]));
    assert!(is_off(&["--set", "policy.enforce=false"]));
    let narrow = "clusterResources.install=false,watchNamespaces={team-a}";
    assert!(is_off(&["--set", narrow]));
    for value in ["policy.create=true", "admissionPolicy.create=true"] {
        let set = format!("{narrow},{value}");
        let error = helm(&["template", "x", CHART, "--set", &set]).expect_err(value);
        assert!(error.contains("needs clusterResources.install"), "{error}");
    }
}

#[test]
fn a_policy_of_values_is_made_when_its_kind_is_there() {
    assert!(of_kind(&render(&[]), "StarlingPolicy").is_empty());
    let set = ["--set", "policy.create=true,policy.spec.maxUsers=5"];
    let first = render(&set);
    let policy = only(&first, "StarlingPolicy");
    assert_eq!(policy["metadata"]["name"], "default");
    assert_eq!(policy["spec"], json!({"maxUsers": 5}));
    let hook = &policy["metadata"]["annotations"]["helm.sh/hook"];
    assert_eq!(hook, "post-install,post-upgrade,post-rollback");
    let known = ["--api-versions", "starling.dev/v1alpha1/StarlingPolicy"];
    let later = render(&[&set[..], &known].concat());
    let annotations = &only(&later, "StarlingPolicy")["metadata"]["annotations"];
    assert_eq!(*annotations, Value::Null, "an object of the release");
    starling::crd::policy::convert("default", &policy["spec"]).expect("a policy");
}

#[test]
fn the_admission_policy_asks_for_rights_only_where_the_spec_changes() {
    let kind = "ValidatingAdmissionPolicy";
    assert!(of_kind(&render(&[]), kind).is_empty());
    let objects = render(&[
        "--set",
        "admissionPolicy.create=true,watchNamespaces={team-a}",
    ]);
    let policy = only(&objects, kind);
    let condition = &policy["spec"]["matchConditions"][0]["expression"];
    assert_eq!(
        condition,
        "request.operation == 'CREATE' || object.spec != oldObject.spec"
    );
    let validations = policy["spec"]["validations"].to_string();
    for right in [
        "resource('pods').namespace(request.namespace).check('create')",
        "resource('secrets').namespace(request.namespace).check('get')",
    ] {
        assert!(validations.contains(right), "{validations}");
    }
    let binding = only(&objects, "ValidatingAdmissionPolicyBinding");
    assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    let namespaces = &binding["spec"]["matchResources"]["namespaceSelector"];
    assert_eq!(
        namespaces["matchExpressions"][0]["values"],
        json!(["team-a"])
    );
}

#[test]
fn namespaces_of_prometheus_are_let_in_by_chart_and_operator() {
    assert!(of_kind(&render(&[]), "NetworkPolicy").is_empty());
    let set = "networkPolicy.create=true,networkPolicy.metricsFrom={monitoring,ops}";
    let objects = render(&["--set", set]);
    assert!(operator_args(&objects).contains(&"--metrics-from=monitoring,ops".into()));
    let spec = &only(&objects, "NetworkPolicy")["spec"];
    let from = &spec["ingress"][0]["from"];
    assert_eq!(
        from[1]["namespaceSelector"]["matchExpressions"][0]["values"],
        json!(["monitoring", "ops"])
    );
    let labels = &only(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"];
    for (label, value) in spec["podSelector"]["matchLabels"].as_object().expect("one") {
        assert_eq!(labels[label], *value);
    }
    let egress = spec["egress"].to_string();
    for network in starling::plan::policy::METADATA_NETWORKS {
        assert!(
            egress.contains(network),
            "{network} is open to the operator"
        );
    }
}

#[test]
fn notes_name_the_next_commands_and_the_time_limit_of_helm() {
    let notes = helm(&[
        "install",
        "starling",
        CHART,
        "--namespace",
        "starling-system",
        "--dry-run=client",
    ])
    .expect("renders");
    for words in [
        "rollout status deployment/starling",
        "apply -f loadtest.yaml",
        "get loadtests --watch",
        "--timeout 20m",
        "--take-ownership",
    ] {
        assert!(notes.contains(words), "{words} is not in {notes}");
    }
}

#[test]
fn chart_samples_and_program_have_one_version() {
    let chart = &documents(&read("charts/starling/Chart.yaml"))[0];
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let sample = documents(&read("manifests/samples/sample-service.yaml"));
    let deployment = only(&sample, "Deployment");
    assert_restricted(deployment);
    assert_eq!(
        container(deployment)["image"],
        format!("starling:{}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_static_manifest_is_the_chart_in_a_restricted_namespace() {
    let manifest = documents(&read("manifests/install.yaml"));
    assert_eq!(manifest[0]["kind"], "Namespace");
    assert_eq!(
        manifest[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    assert_eq!(manifest[1..], render(&[]), "run `make generate`");
}
