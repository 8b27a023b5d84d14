//! A token reaches the target, and nobody else.

use serde_json::json;

use crate::samples::{brief, report, shortened, small, with};
use crate::stage::{eventually, is, play, seconds, sent};

const CANARY: &str = "canary-5c1f0e9d7ab34";

#[test]
fn a_token_from_a_secret_is_sent_and_seen_nowhere_else() {
    play("token", async |stage| {
        let operator = stage.open(&["--token", CANARY]).await;
        let load = json!({"open": {"rate": 50, "duration": "4s", "maxInFlight": 50}});
        let sample = with(shortened("databricks-serving.yaml", load), small());
        let reference =
            sample["spec"]["target"]["auth"]["bearer"]["tokenFrom"]["secretKeyRef"].clone();
        let (secret, key) = (
            reference["name"].as_str().expect("a name"),
            reference["key"].as_str().expect("a key"),
        );
        stage.kubectl(&[
            "create",
            "secret",
            "generic",
            secret,
            &format!("--from-literal={key}={CANARY}"),
        ]);
        let test = with(
            sample,
            json!({"spec": {"target": {"url": "http://sample-service:8000"}}}),
        );
        let name = test["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        stage.apply(&test);

        let ended = stage.finished(&name).await;
        assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
        let whole = report(stage, &ended).await;
        assert_eq!(
            whole.totals.failures, 0,
            "the service takes this token only: {:?}",
            whole.errors
        );
        assert_eq!(sent(&whole), stage.count().await);

        assert!(
            !serde_json::to_string(&whole)
                .expect("JSON")
                .contains(CANARY),
            "the report holds the token"
        );
        let objects = stage.kubectl(&[
            "get",
            "loadtests,configmaps,pods,jobs,deployments,services,networkpolicies,events,events.events.k8s.io",
            "-o",
            "yaml",
        ]);
        // the demo service is told its token by a flag; nothing else may name it
        let told: Vec<&str> = objects
            .lines()
            .filter(|line| line.contains(CANARY))
            .collect();
        assert!(
            told.iter().all(|line| is_the_services_own(line)),
            "{told:?}"
        );
        let metrics = operator.metrics(stage).await;
        assert!(!metrics.contains(CANARY));

        eventually(
            "the logs of operator, master and worker are seen",
            seconds(10),
            async || {
                let logs = stage.logs();
                let roles = ["/operator", "-master-", "-workers-"];
                if roles.iter().all(|role| {
                    logs.iter()
                        .any(|(of, log)| of.contains(role) && !log.is_empty())
                }) {
                    Ok(())
                } else {
                    Err(format!(
                        "{:?}",
                        logs.iter()
                            .map(|(of, log)| (of, log.len()))
                            .collect::<Vec<_>>()
                    ))
                }
            },
        )
        .await;
        for (of, log) in stage.logs() {
            assert!(!log.contains(CANARY), "the log of {of} holds the token");
        }
    });
}

#[test]
fn a_token_that_expires_is_renewed_by_each_worker_while_the_load_goes_on() {
    play("renewal", async |stage| {
        // renewed when a fifth of its time is left, which is three seconds
        let client = format!("robot:{CANARY}");
        stage
            .open(&[
                "--token",
                "nobodys",
                "--client",
                &client,
                "--token-lifetime",
                "15s",
            ])
            .await;
        stage.kubectl(&[
            "create",
            "secret",
            "generic",
            "principal",
            &format!("--from-literal=secret={CANARY}"),
        ]);
        let secret = json!({"secretKeyRef": {"name": "principal", "key": "secret"}});
        let oauth2 = json!({"tokenUrl": "http://sample-service:8000/oauth/token", "clientId": "robot", "clientSecretFrom": secret});
        let spec = json!({"target": {"auth": {"oauth2": oauth2}}, "workers": {"replicas": 2}});
        let mut test = with(brief("renewing", 18), json!({"spec": spec}));
        let invocations = json!({"method": "POST", "path": "/serving-endpoints/m/invocations", "json": {"inputs": [[1]]}});
        test["spec"]["scenarios"][0]["tasks"][0]["steps"] = json!([{"http": invocations}]);
        stage.apply(&test);
        let ended = stage.finished("renewing").await;
        assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
        let whole = report(stage, &ended).await;
        assert_eq!(whole.totals.failures, 0, "{:?}", whole.errors);
        let counts = stage.counts("sample-service").await;
        assert_eq!(counts["total"], sent(&whole), "tokens are not counted");
        let asked = counts["aside"]["POST /oauth/token"]
            .as_u64()
            .expect("tokens");
        assert!((4..=8).contains(&asked), "{asked} tokens for two workers");
        assert!(
            !serde_json::to_string(&whole)
                .expect("JSON")
                .contains(CANARY)
        );
        assert!(
            stage
                .logs()
                .iter()
                .all(|(_, log)| !log.contains(CANARY) && !log.contains("issued-")),
            "a log holds a secret"
        );
    });
}

/// An item of the argument list, or the annotation in which `kubectl apply` keeps what was applied.
fn is_the_services_own(line: &str) -> bool {
    line.trim() == format!("- {CANARY}") || line.contains(r#""name":"sample-service""#)
}
