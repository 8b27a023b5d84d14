//! Policies of the cluster: what they refuse before a run begins, what a worker refuses when a name
//! is resolved, and what the API server refuses by the rights of an author.

use serde_json::{Value, json};

use crate::samples::{brief, with};
use crate::stage::{
    Operator, Said, Stage, condition, eventually, helm, is, play, run, seconds, status,
};

/// A policy of the stage's namespace alone, so that other tests go on beside it.
fn policy(stage: &Stage, name: &str, spec: Value) -> Value {
    let mut policy = json!({
        "apiVersion": "starling.dev/v1alpha1",
        "kind": "StarlingPolicy",
        "metadata": {"name": policy_name(stage, name)},
        "spec": spec,
    });
    policy["spec"]["namespaces"] = json!([stage.namespace]);
    policy
}

fn policy_name(stage: &Stage, name: &str) -> String {
    format!("{}-{name}", stage.namespace)
}

fn withdraw(stage: &Stage, name: &str) {
    stage.kubectl(&["delete", "starlingpolicy", &policy_name(stage, name)]);
}

/// An operator that holds runs against policies, though it is that of a namespace.
fn enforcing(stage: &Stage) -> Operator {
    Operator::install(stage, &["extraArgs={--policies=Enforce}"])
}

/// Gives the operator the right to read policies, as the chart does in a whole cluster.
fn let_read(stage: &Stage, operator: &Operator) {
    let name = policy_name(stage, "reader");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{"apiGroups": ["starling.dev"], "resources": ["starlingpolicies"], "verbs": ["list"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": operator.name(), "namespace": operator.namespace}],
    });
    stage.apply(&role);
    stage.apply(&binding);
}

fn take_away(stage: &Stage) {
    let name = policy_name(stage, "reader");
    stage.kubectl(&["delete", "clusterrole,clusterrolebinding", &name]);
}

/// The LoadTest once it is refused with these words.
async fn refused(stage: &Stage, name: &str, words: &str) {
    let what = format!("is refused: {words}");
    let test = stage
        .until(name, &what, seconds(60), |test| {
            let (reason, message) = condition(test, "Stalled");
            reason == "True/PolicyViolation" && message.contains(words)
        })
        .await;
    assert!(is(&test, "Errored"), "{:?}", test.status);
    assert!(status(&test).run.is_none(), "{:?}", test.status);
}

#[test]
fn a_run_begins_only_when_every_policy_of_its_namespace_can_be_read_and_allows_it() {
    play("policies", async |stage| {
        stage.deploy_service(&[]);
        let operator = enforcing(stage);
        stage.service_ready();
        stage.apply(&brief("held", 2));
        refused(stage, "held", "cannot be read").await;
        let_read(stage, &operator);

        let generous = json!({"hosts": ["sample-service"], "ports": [8000], "maxUsers": 100});
        stage.apply(&policy(stage, "generous", generous));
        let strict = policy(stage, "strict", json!({"maxUsers": 3}));
        stage.apply(&strict);
        stage.rerun("held", "after the right was given");
        let words = format!(
            "spec.load: StarlingPolicy {:?} allows at most 3 users",
            policy_name(stage, "strict")
        );
        refused(stage, "held", &words).await;
        // a network with bits beyond its prefix: the schema does not see it
        stage.apply(&policy(stage, "strict", json!({"cidrs": ["10.1.0.0/8"]})));
        stage.rerun("held", "after the policy was changed");
        refused(stage, "held", "spec.cidrs[0]").await;
        for (name, spec, words) in [
            (
                "hosts",
                json!({"hosts": ["*.example.com"]}),
                "does not allow the host sample-service",
            ),
            ("ports", json!({"ports": [443]}), "does not allow port 8000"),
            (
                "workers",
                json!({"maxDuration": "1s"}),
                "allows at most 1s, not 2s",
            ),
        ] {
            stage.apply(&policy(stage, "strict", spec));
            stage.rerun("held", name);
            refused(stage, "held", words).await;
        }
        assert_eq!(stage.children(), [] as [&str; 0]);
        assert_eq!(stage.count().await, 0);

        withdraw(stage, "strict");
        let test = stage
            .until("held", "begins by itself", seconds(120), |test| {
                status(test).run.is_some()
            })
            .await;
        assert_eq!(status(&test).runs, 1);
        let test = stage.finished("held").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        withdraw(stage, "generous");
        take_away(stage);
    });
}

#[test]
fn a_run_keeps_its_policies_and_its_workers_judge_what_names_resolve_to() {
    play("rules", async |stage| {
        stage.deploy_service(&[]);
        let operator = enforcing(stage);
        let_read(stage, &operator);
        stage.service_ready();
        stage.apply(&policy(
            stage,
            "networks",
            json!({"cidrs": ["192.0.2.0/24"]}),
        ));
        stage.apply(&brief("elsewhere", 2));
        let test = stage.finished("elsewhere").await;
        let (reason, message) = condition(&test, "Stalled");
        assert_eq!(reason, "True/PolicyViolation", "{:?}", test.status);
        assert!(
            message.contains("spec.target.url: sample-service resolves to"),
            "{message}"
        );
        assert_eq!(stage.count().await, 0);

        stage.apply(&policy(
            stage,
            "networks",
            json!({"cidrs": ["0.0.0.0/0", "::/0"]}),
        ));
        stage.apply(&brief("lasting", 8));
        stage.loaded("lasting").await;
        stage.apply(&policy(
            stage,
            "networks",
            json!({"cidrs": [], "maxUsers": 1}),
        ));
        let test = stage.finished("lasting").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        let before = stage.count().await;
        stage.rerun("lasting", "once more");
        let what = "is refused now";
        stage
            .until("lasting", what, seconds(60), |test| {
                condition(test, "Stalled").0 == "True/PolicyViolation"
            })
            .await;
        assert_eq!(stage.count().await, before);
        withdraw(stage, "networks");
        take_away(stage);
    });
}

/// `kubectl` as this user.
fn try_as(stage: &Stage, user: &str, args: &[&str], stdin: Option<&str>) -> Said {
    stage.try_kubectl(&[&["--as", user], args].concat(), stdin)
}

fn grant(stage: &Stage, user: &str, verbs: &str, resource: &str) {
    let name = format!("{user}-{}", resource.replace('.', "-"));
    let (verb, of) = (format!("--verb={verbs}"), format!("--resource={resource}"));
    stage.kubectl(&["create", "role", &name, &verb, &of]);
    let (role, who) = (format!("--role={name}"), format!("--user={user}"));
    stage.kubectl(&["create", "rolebinding", &name, &role, &who]);
}

#[test]
fn an_author_needs_the_rights_that_a_test_uses_unless_only_annotations_change() {
    play("admission", async |stage| {
        let set = format!(
            "admissionPolicy.create=true,watchNamespaces={{{}}}",
            stage.namespace
        );
        let rendered = helm(&[
            "template",
            &stage.namespace,
            "charts/starling",
            "--namespace",
            &stage.namespace,
            "--show-only",
            "templates/admission.yaml",
            "--set",
            &set,
        ]);
        assert!(rendered.ok, "{}", rendered.text);
        let said = run("kubectl", &["apply", "-f", "-"], Some(&rendered.text));
        assert!(said.ok, "{}", said.text);

        let verbs = "create,get,list,update,patch,delete";
        for user in ["narrow", "author"] {
            grant(stage, user, verbs, "loadtests.starling.dev");
        }
        grant(stage, "author", "create", "pods");
        grant(stage, "author", "get", "secrets");
        let test = |name: &str| {
            let held = json!({"spec": {"run": {"suspend": true}}});
            with(brief(name, 2), held).to_string()
        };
        let create =
            |user: &str, text: &str| try_as(stage, user, &["create", "-f", "-"], Some(text));
        eventually(
            "the admission policy is in force",
            seconds(60),
            async || {
                let said = create("narrow", &test("narrow"));
                if said.ok {
                    stage.kubectl(&["delete", "loadtest", "narrow"]);
                    return Err("it was created".to_owned());
                }
                assert!(
                    said.text.contains("must be allowed to create pods"),
                    "{}",
                    said.text
                );
                Ok(())
            },
        )
        .await;
        let said = create("author", &test("mine"));
        assert!(said.ok, "{}", said.text);

        // one that may write LoadTests alone changes annotations and nothing of the spec
        let annotate = ["annotate", "loadtest", "mine", "starling.dev/rerun=nightly"];
        let said = try_as(stage, "narrow", &annotate, None);
        assert!(said.ok, "{}", said.text);
        let patch = |user: &str, patch: &str| {
            let args = ["patch", "loadtest", "mine", "--type=merge", "-p", patch];
            try_as(stage, user, &args, None)
        };
        let said = patch("narrow", r#"{"spec": {"run": {"suspend": false}}}"#);
        assert!(
            !said.ok && said.text.contains("create pods"),
            "{}",
            said.text
        );
        let said = patch("author", r#"{"spec": {"run": {"trigger": "2"}}}"#);
        assert!(said.ok, "{}", said.text);

        let channel =
            r#"{"secretKeyRef": {"name": "other-ab2cd7-channel", "key": "operator.token"}}"#;
        for place in [
            format!(r#"{{"variablesFrom": {{"token": {channel}}}}}"#),
            format!(r#"{{"target": {{"auth": {{"bearer": {{"tokenFrom": {channel}}}}}}}}}"#),
            format!(r#"{{"targets": {{"o": {{"url": "http://o", "auth": {{"bearer": {{"tokenFrom": {channel}}}}}}}}}}}"#),
            format!(r#"{{"feeders": [{{"name": "f", "csv": {channel}}}]}}"#),
            format!(r#"{{"protos": {{"descriptorSets": [{channel}]}}}}"#),
            r#"{"workers": {"volumes": [{"name": "v", "secret": {"secretName": "other-ab2cd7-channel"}}]}}"#.into(),
        ] {
            let said = patch("author", &format!(r#"{{"spec": {place}}}"#));
            assert!(!said.ok && said.text.contains("no test may read"), "{place}: {}", said.text);
        }
        let said = run("kubectl", &["delete", "-f", "-"], Some(&rendered.text));
        assert!(said.ok, "{}", said.text);
    });
}

#[test]
fn a_test_that_names_another_runs_keys_is_refused_by_the_operator() {
    play("channel-names", async |stage| {
        Operator::install(stage, &[]);
        let secret =
            json!({"secretKeyRef": {"name": "other-ab2cd7-channel", "key": "operator.token"}});
        let auth = json!({"spec": {"target": {"auth": {"bearer": {"tokenFrom": secret}}}}});
        stage.apply(&with(brief("curious", 2), auth));
        let test = stage
            .until("curious", "is refused", seconds(60), |test| {
                condition(test, "Stalled").0 == "True/InvalidSpec"
            })
            .await;
        let (_, message) = condition(&test, "Stalled");
        assert!(
            message.contains("spec.target.auth.bearer.tokenFrom"),
            "{message}"
        );
        assert_eq!(stage.children(), [] as [&str; 0]);
    });
}
