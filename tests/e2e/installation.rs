//! Starling installed, upgraded, taken away and installed again, and what its operator says of
//! itself.

use std::path::PathBuf;

use serde_json::Value;

use crate::samples::{brief, report};
use crate::stage::{
    self, CRD, Operator, Stage, eventually, helm, is, kubeconfig, play, play_alone, run, seconds,
    sent, status,
};

#[test]
fn the_cluster_wide_release_is_upgraded_removed_and_replaced_under_load_tests_that_stay() {
    play_alone("cluster-wide", async |stage| {
        stage.deploy_service(&[]);
        stage.service_ready();
        let wide = ["resources.requests.cpu=10m"];
        stage::helm_upgrade("starling", stage::SYSTEM, &["--wait"], &wide)
            .expect("the narrow release becomes cluster-wide");
        let outcome = AssertLater(async || {
            stage.apply(&brief("lasting", 8));
            stage.loaded("lasting").await;
            // mid-run: the next operator carries it on
            stage::helm_upgrade(
                "starling",
                stage::SYSTEM,
                &["--wait"],
                &[wide[0], "concurrency=3"],
            )
            .expect("an upgrade");
            let first = stage.finished("lasting").await;
            assert!(is(&first, "Succeeded"), "{:?}", first.status);
            assert_eq!(sent(&report(stage, &first).await), stage.count().await);

            assert!(
                helm(&[
                    "uninstall",
                    "starling",
                    "--namespace",
                    stage::SYSTEM,
                    "--wait"
                ])
                .ok
            );
            stage.kubectl(&["get", "crd", CRD]);
            assert_eq!(
                status(&stage.test("lasting").await),
                status(&first),
                "the LoadTest stays as it was"
            );

            let other = stage::helm_upgrade(
                "other",
                stage::SYSTEM,
                &["--wait", "--take-ownership"],
                &wide,
            );
            other.expect("another release takes over");
            stage.rerun("lasting", "again");
            stage
                .until("lasting", "begins its second run", seconds(30), |test| {
                    status(test).runs == 2
                })
                .await;
            assert!(is(&stage.finished("lasting").await, "Succeeded"));
        });
        outcome.run().await;
    });
}

/// Puts the suite's release back, whatever happens.
struct AssertLater<F>(F);

impl<F: AsyncFnOnce()> AssertLater<F> {
    async fn run(self) {
        use futures::FutureExt;
        let outcome = std::panic::AssertUnwindSafe((self.0)())
            .catch_unwind()
            .await;
        helm(&[
            "uninstall",
            "other",
            "--namespace",
            stage::SYSTEM,
            "--wait",
            "--ignore-not-found",
        ]);
        let back = stage::narrow_suite(&["--take-ownership"]);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        back.expect("the suite's release is back");
    }
}

#[test]
fn the_admin_of_a_namespace_installs_an_operator_and_runs_a_test() {
    play("namespace-admin", async |stage| {
        stage.deploy_service(&[]);
        let admin = format!("admin-of-{}", stage.namespace);
        stage.kubectl(&[
            "create",
            "rolebinding",
            "admin",
            "--clusterrole=admin",
            &format!("--user={admin}"),
        ]);
        // the built-in role takes in Starling's a moment after these exist
        eventually(
            "the admin may hand on the operator's rights",
            seconds(20),
            async || {
                let said = stage.try_kubectl(
                    &[
                        "auth",
                        "can-i",
                        "update",
                        "loadtests",
                        "--subresource=status",
                        "--as",
                        &admin,
                    ],
                    None,
                );
                if said.text.starts_with("yes") {
                    Ok(())
                } else {
                    Err(said.text)
                }
            },
        )
        .await;
        Operator::install_as(stage, &admin);
        stage.service_ready();
        let said = stage.try_kubectl(
            &["apply", "--as", &admin, "-f", "-"],
            Some(&brief("mine", 3).to_string()),
        );
        assert!(said.ok, "{}", said.text);
        let test = stage.finished("mine").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_eq!(sent(&report(stage, &test).await), stage.count().await);
    });
}

#[test]
fn a_watched_namespace_without_its_role_does_not_harm_the_other() {
    play("role-missing", async |stage| {
        let locked = stage.neighbour("locked");
        stage.deploy_service(&[]);
        locked.deploy_service(&[]);
        let operator = Operator::watching(stage, &[stage, &locked], &[]);
        stage.service_ready();
        locked.service_ready();
        let binding = locked.kubectl(&["get", "rolebinding", &operator.name(), "-o", "json"]);
        locked.kubectl(&["delete", "rolebinding", &operator.name()]);
        stage.kubectl(&["delete", "pods", "-l", &operator.selector()]);
        stage.kubectl(&[
            "rollout",
            "status",
            "deployment",
            &operator.name(),
            "--timeout=60s",
        ]);
        locked.apply(&brief("behind", 2));
        stage.apply(&brief("free", 2));
        assert!(is(&stage.finished("free").await, "Succeeded"));
        assert_eq!(status(&locked.test("behind").await).runs, 0);

        let mut binding: Value = serde_json::from_str(&binding).expect("JSON");
        for set_by_the_server in ["uid", "resourceVersion", "creationTimestamp"] {
            binding["metadata"]
                .as_object_mut()
                .expect("metadata")
                .remove(set_by_the_server);
        }
        locked.apply(&binding);
        assert!(
            is(&locked.finished("behind").await, "Succeeded"),
            "it is carried out once it may be"
        );
    });
}

#[test]
fn a_normal_run_is_refused_nothing_and_shows_in_the_operators_metrics() {
    play("metrics", async |stage| {
        let operator = stage.open(&[]).await;
        stage.apply(&brief("normal", 6));
        stage.loaded("normal").await;
        let during = operator.metrics(stage).await;
        let active: f64 = samples(&during, "starling_operator_active_runs")
            .iter()
            .map(|(_, value)| value)
            .sum();
        assert_eq!(active, 1.0, "{during}");
        assert!(is(&stage.finished("normal").await, "Succeeded"));

        let after = operator.metrics(stage).await;
        let total = |name: &str| {
            samples(&after, name)
                .iter()
                .map(|(_, value)| value)
                .sum::<f64>()
        };
        assert!(total("starling_operator_reconciles_total") > 3.0, "{after}");
        assert_eq!(
            total("starling_operator_reconcile_errors_total"),
            0.0,
            "{after}"
        );
        assert!(
            !samples(&after, "starling_operator_watch_age_seconds").is_empty(),
            "{after}"
        );
        assert!(
            !after.contains("normal"),
            "no label holds an object's name: {after}"
        );
        nothing_was_refused(stage, &operator);
    });
}

/// Lines of one metric: the labels and the value.
fn samples(text: &str, name: &str) -> Vec<(String, f64)> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']));
    lines
        .filter_map(|rest| rest.rsplit_once(' '))
        .map(|(labels, value)| (labels.to_owned(), value.parse().expect("a number")))
        .collect()
}

/// By the API server's own account where it can be read, and by the operator's log anywhere.
fn nothing_was_refused(stage: &Stage, operator: &Operator) {
    for (of, log) in stage
        .logs()
        .iter()
        .filter(|(of, _)| of.contains("/operator"))
    {
        let refused = log.lines().filter(|line| {
            line.to_lowercase().contains("forbidden") && !line.contains("customresourcedefinitions")
        });
        assert_eq!(refused.collect::<Vec<_>>(), Vec::<&str>::new(), "{of}");
    }
    let audit: Option<PathBuf> = kubeconfig()
        .parent()
        .map(|run| run.join("log/audit.log"))
        .filter(|path| path.exists());
    let Some(audit) = audit else {
        return println!(
            "this cluster's audit log is not at hand; the operator's own log was read"
        );
    };
    let lines = std::fs::read_to_string(audit).expect("the audit log");
    let own: Vec<Value> = lines
        .lines()
        .filter(|line| line.contains(&operator.user()))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(own.len() > 10, "the operator is in the audit log");
    // whether the CRD is up to date is the one thing that an operator of a namespace may not see
    let refused = own
        .iter()
        .filter(|entry| entry["responseStatus"]["code"] == 403);
    let refused: Vec<String> = refused
        .map(|entry| format!("{} {}", entry["verb"], entry["requestURI"]))
        .collect();
    let refused: Vec<&String> = refused
        .iter()
        .filter(|request| !request.contains("customresourcedefinitions"))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn an_operator_that_is_told_to_go_goes_and_leaves_the_run_to_the_next() {
    play("restarted", async |stage| {
        let operator = stage.open(&[]).await;
        stage.apply(&brief("running", 8));
        stage.loaded("running").await;
        let said = run(
            "kubectl",
            &[
                "--namespace",
                &operator.namespace,
                "rollout",
                "restart",
                "deployment",
                &operator.name(),
            ],
            None,
        );
        assert!(said.ok, "{}", said.text);
        let test = stage.finished("running").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_eq!(
            sent(&report(stage, &test).await),
            stage.stands_still("the run is over").await
        );
    });
}
