//! A token reaches the target, and nobody else.

use serde_json::json;

use crate::samples::{brief, report, shortened, small, with};
use crate::stage::{eventually, is, play, run_id, seconds, sent};

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

#[test]
fn what_a_login_gives_out_is_seen_nowhere() {
    play("logins", async |stage| {
        let client = format!("robot:{CANARY}");
        let operator = stage
            .open(&["--token", "nobodys", "--client", &client])
            .await;
        stage.kubectl(&[
            "create",
            "secret",
            "generic",
            "principal",
            &format!("--from-literal=secret={CANARY}"),
        ]);
        let login = |name: &str, extract: &str| {
            json!({
                "name": name, "extract": {extract: {"jsonPath": "$.access_token"}},
                "http": {"method": "POST", "path": "/oauth/token", "form": {
                    "grant_type": "client_credentials", "client_id": "robot",
                    "client_secret": "{{ password }}",
                }},
            })
        };
        // the service quotes an unknown token's request nowhere, but a check quotes its answers
        let ask = json!({
            "name": "ask", "onFailure": "Continue",
            "checks": [{"jsonPath": "$.access_token", "equals": "nothing"}],
            "http": {"method": "POST", "path": "/oauth/token", "headers": {"X-Was": "{{ again }} {{ first }} {{ ticket }}"},
                "form": {"grant_type": "client_credentials", "client_id": "robot", "client_secret": "{{ password }}"}},
            "extract": {"again2": {"jsonPath": "$.access_token"}},
        });
        let mut test = brief("logins", 4);
        let spec = &mut test["spec"];
        spec["variablesFrom"] =
            json!({"password": {"secretKeyRef": {"name": "principal", "key": "secret"}}});
        spec["samples"] = json!({"rate": "100%"});
        spec["setup"] = json!([login("setup login", "ticket")]);
        spec["scenarios"][0]["onStart"] = json!([login("user login", "first")]);
        spec["scenarios"][0]["tasks"][0]["steps"] = json!([login("task login", "again"), ask]);
        stage.apply(&test);
        let ended = stage.finished("logins").await;
        let whole = report(stage, &ended).await;
        assert!(!whole.errors.is_empty(), "the check quotes the answers");
        let lines = stage.sampled("logins").await;
        for step in ["setup login", "user login", "task login", "ask"] {
            assert!(
                lines.iter().any(|line| line["step"] == step),
                "{step} is in no sample"
            );
        }

        let mut seen = vec![
            ("the samples", serde_json::to_string(&lines).expect("JSON")),
            ("the report", serde_json::to_string(&whole).expect("JSON")),
            ("the operator's metrics", operator.metrics(stage).await),
        ];
        let kinds = "loadtests,configmaps,jobs,deployments,services,events,events.events.k8s.io";
        let objects = stage.kubectl(&["get", kinds, "-o", "yaml"]);
        let others = objects.lines().filter(|line| !is_the_services_own(line));
        seen.push(("the objects", others.collect::<Vec<_>>().join("\n")));
        let master = format!(
            "starling.dev/run={},app.kubernetes.io/component=master",
            run_id(&ended)
        );
        for pod in stage.pods(&master).await {
            let name = pod.metadata.name.unwrap_or_default();
            let namespace = &stage.namespace;
            let path =
                format!("/api/v1/namespaces/{namespace}/pods/http:{name}:9090/proxy/metrics");
            seen.push(("the master's metrics", stage.raw(&path).await));
        }
        seen.extend(stage.logs().into_iter().map(|(_, log)| ("a log", log)));
        for (what, text) in seen {
            for secret in ["issued-", &CANARY[..8], &CANARY[CANARY.len() - 8..]] {
                assert!(!text.contains(secret), "{what} holds {secret}");
            }
        }
    });
}

/// An item of the argument list, or the annotation in which `kubectl apply` keeps what was applied.
fn is_the_services_own(line: &str) -> bool {
    let argument = line.trim().trim_start_matches("- ");
    [CANARY, &format!("robot:{CANARY}")].contains(&argument)
        || line.contains(r#""name":"sample-service""#)
}
