//! A flow over two services: each gets its own requests and its own credentials, whoever leads
//! there.

use serde_json::{Value, json};
use starling::stats::result::Verdict;

use crate::samples::{brief, report, vanishing, with};
use crate::stage::{Stage, is, play};

/// A request that a service answers only to who shows its token.
fn infer(target: Option<&str>) -> Value {
    let inputs =
        json!([{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["the team won"]}]);
    step(
        target,
        "/v2/models/m/infer".into(),
        json!({"inputs": inputs}),
    )
}

/// A request to the main target that leads to another.
fn led_to(origin: &str) -> Value {
    let mut step = infer(None);
    step["http"]["path"] = format!("/redirect?to={origin}/v2/models/m/infer").into();
    step["http"]["followRedirects"] = 3.into();
    step
}

fn step(target: Option<&str>, path: String, body: Value) -> Value {
    let mut step =
        json!({"onFailure": "Continue", "http": {"method": "POST", "path": path, "json": body}});
    if let Some(target) = target {
        step["target"] = target.into();
    }
    step
}

fn token(key: &str) -> Value {
    json!({"bearer": {"tokenFrom": {"secretKeyRef": {"name": "tokens", "key": key}}}})
}

/// Twenty iterations of these steps by two workers; the main target has a token, `targets` are
/// further ones.
fn flow(name: &str, targets: Value, steps: Vec<Value>) -> Value {
    let steps = steps
        .into_iter()
        .enumerate()
        .map(|(place, step)| with(step, json!({"name": format!("step {place}")})));
    let scenario =
        json!({"name": "client", "tasks": [{"name": "flow", "steps": steps.collect::<Vec<_>>()}]});
    let spec = json!({"target": {"auth": token("main")}, "targets": targets, "scenarios": [scenario], "workers": {"replicas": 2}});
    let mut test = with(vanishing(brief(name, 1)), json!({"spec": spec}));
    test["spec"]["load"] = json!({"iterations": {"count": 20, "users": 4}});
    test
}

async fn by_path(stage: &Stage, service: &str) -> Value {
    stage.counts(service).await["byPath"].clone()
}

#[test]
fn each_service_gets_its_own_requests_and_credentials_and_a_stranger_none() {
    play("targets", async |stage| {
        stage.deploy_service_as("other", &["--token", "token-of-the-other"]);
        stage.open(&["--token", "token-of-the-main"]).await;
        stage.ready("other");
        let tokens = [
            "--from-literal=main=token-of-the-main",
            "--from-literal=other=token-of-the-other",
        ];
        stage.kubectl(&[&["create", "secret", "generic", "tokens"][..], &tokens].concat());

        let other = json!({"other": {"url": "http://other:8000", "auth": token("other")}});
        stage.apply(&flow(
            "sound",
            other,
            vec![
                infer(None),
                infer(Some("other")),
                led_to("http://other:8000"),
            ],
        ));
        let ended = stage.finished("sound").await;
        assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
        let totals = report(stage, &ended).await.totals;
        assert_eq!(
            (totals.requests, totals.failures, totals.redirect_hops),
            (60, 0, 20)
        );
        assert_eq!(
            by_path(stage, "sample-service").await,
            json!({"POST /v2/models/{model}/infer": 20, "POST /redirect": 20})
        );
        assert_eq!(
            by_path(stage, "other").await,
            json!({"POST /v2/models/{model}/infer": 40})
        );

        // the same service without its token, and by a name that the test does not know
        let stranger = format!("http://other.{}.svc:8000", stage.namespace);
        stage.apply(&flow(
            "stray",
            json!({"open": {"url": "http://other:8000"}}),
            vec![infer(Some("open")), led_to(&stranger)],
        ));
        let ended = stage.finished("stray").await;
        assert!(is(&ended, "Failed"), "{:?}", ended.status);
        let whole = report(stage, &ended).await;
        assert_eq!(
            (whole.verdict, whole.totals.requests, whole.totals.failures),
            (Verdict::Failed, 40, 40),
            "{:?}",
            whole.errors
        );
        assert_eq!(by_path(stage, "sample-service").await["POST /redirect"], 40);
        let counts = stage.counts("other").await;
        assert_eq!(
            (&counts["total"], &counts["byStatus"]),
            (&json!(60), &json!({"200": 40, "401": 20})),
            "the other is shown no token but its own"
        );
    });
}
