//! Statuses at every stage of runs, written down for kstatus: `tests/kstatus` holds them to the
//! implementation of it that Helm and Flux wait by, and this test holds them to the code.

use serde_json::{Value, json};

use super::*;
use crate::operator::view::Governing;

/// Word of kstatus that the table in LIFECYCLE 5 means.
const IN_PROGRESS: &str = "InProgress";
const CURRENT: &str = "Current";
const FAILED: &str = "Failed";
const TERMINATING: &str = "Terminating";

/// What an operator that sees this writes, as the API server then has it.
fn after(mut seen: Observed) -> Observed {
    let status = written_status(&decide(&seen, now())).clone();
    seen.test.status = Some(status);
    seen
}

/// A run that ends with a result of this verdict.
fn ending(verdict: crate::wire::Verdict, reason: VerdictReason) -> Observed {
    let mut seen = granted(MasterState::Finished);
    let mut result = fixture::result();
    (result.verdict, result.reason) = (verdict, reason);
    result.message = "what the master says".into();
    seen.result = Some(std::sync::Arc::new(result));
    after(seen)
}

fn changed(mut seen: Observed, change: impl FnOnce(&mut Observed)) -> Observed {
    change(&mut seen);
    seen
}

/// The resource before any operator has seen it, and while its run is held or goes on.
fn open() -> Vec<(&'static str, &'static str, Observed)> {
    let suspended = |seen: &mut Observed| seen.test.spec.run.suspend = true;
    let edited = |seen: &mut Observed| {
        seen.test.spec.target.url = "http://other".into();
        seen.test.metadata.generation = Some(2);
    };
    let untriggered = changed(applied(), |seen| {
        seen.test.spec.run.start = crate::crd::spec::StartPolicy::OnTrigger;
    });
    let refused = changed(begun(), |seen| {
        seen.refusal = Some(Refusal {
            child: Child::Plan,
            kind: crate::operator::view::RefusalKind::Denied,
            message: "exceeded quota".into(),
        });
    });
    let stopping = changed(granted(MasterState::Running), suspended);
    let waiting = changed(granted(MasterState::Running), edited);
    let unreachable = changed(granted(MasterState::Running), |seen| {
        seen.master = MasterView::Unreachable("no answer".into());
    });
    vec![
        ("just applied", IN_PROGRESS, applied()),
        ("a run has begun", IN_PROGRESS, begun()),
        (
            "workers are waited for",
            IN_PROGRESS,
            after(standing(MasterState::Waiting)),
        ),
        ("a quota is waited for", IN_PROGRESS, after(refused)),
        (
            "the load is being started",
            IN_PROGRESS,
            granted(MasterState::Ready),
        ),
        (
            "the load is running",
            IN_PROGRESS,
            after(granted(MasterState::Running)),
        ),
        (
            "a new master collects the run",
            IN_PROGRESS,
            after(granted(MasterState::Recovering)),
        ),
        (
            "the master does not answer",
            IN_PROGRESS,
            after(unreachable),
        ),
        (
            "the load is being ended",
            IN_PROGRESS,
            after(granted(MasterState::Stopping)),
        ),
        (
            "a suspended run is being ended",
            IN_PROGRESS,
            after(stopping),
        ),
        ("a newer spec waits", IN_PROGRESS, after(waiting)),
        (
            "another installation's run is silent",
            IN_PROGRESS,
            after(elsewhere(Owner::Silent)),
        ),
        (
            "suspended from the start",
            IN_PROGRESS,
            after(changed(applied(), suspended)),
        ),
        (
            "suspended before the grant",
            IN_PROGRESS,
            after(changed(begun(), suspended)),
        ),
        ("a trigger is waited for", IN_PROGRESS, after(untriggered)),
        (
            "an ended run was edited, which no operator has seen yet",
            IN_PROGRESS,
            changed(after_the_end(), edited),
        ),
        (
            "an ended run was edited, and the next one begins",
            IN_PROGRESS,
            after(changed(after_the_end(), |seen| {
                edited(seen);
                (seen.children, seen.master) = (Children::default(), MasterView::Absent);
            })),
        ),
    ]
}

/// The rows of the ends.
fn ended() -> Vec<(&'static str, &'static str, Observed)> {
    use crate::wire::Verdict::{Aborted, Errored, Failed, Passed};
    let foreign = changed(begun(), |seen| {
        seen.children.0.insert(Child::Plan, Presence::Foreign);
    });
    let without_job = changed(granted(MasterState::Running), |seen| {
        seen.children.0.remove(&Child::Workers);
    });
    let invalid = changed(applied(), |seen| {
        seen.test.spec.target.url = "http://{{ nothing }}".into();
    });
    let denied = changed(applied(), |seen| {
        seen.governing = Governing {
            policies: Vec::new(),
            unreadable: vec!["no right to read them".into()],
        };
    });
    vec![
        (
            "all thresholds are met",
            CURRENT,
            ending(Passed, VerdictReason::ThresholdsMet),
        ),
        (
            "no thresholds were given",
            CURRENT,
            ending(Passed, VerdictReason::NoThresholds),
        ),
        (
            "thresholds are breached at the end",
            FAILED,
            ending(Failed, VerdictReason::ThresholdsBreached),
        ),
        (
            "too many requests failed",
            FAILED,
            ending(Failed, VerdictReason::TooManyFailures),
        ),
        (
            "load is missing",
            FAILED,
            ending(Failed, VerdictReason::LoadMissing),
        ),
        (
            "a threshold ended the run",
            FAILED,
            ending(Failed, VerdictReason::ThresholdAborted),
        ),
        (
            "a suspension ended the run",
            FAILED,
            ending(Aborted, VerdictReason::Suspended),
        ),
        (
            "the workers are lost",
            FAILED,
            ending(Errored, VerdictReason::WorkersLost),
        ),
        (
            "the master is lost",
            FAILED,
            after(granted(MasterState::Lost)),
        ),
        ("a child was deleted", FAILED, after(without_job)),
        ("a stranger's object is in the way", FAILED, after(foreign)),
        (
            "the installation is gone",
            FAILED,
            after(elsewhere(Owner::Gone)),
        ),
        ("the spec is invalid", FAILED, after(invalid)),
        ("a policy cannot be read", FAILED, after(denied)),
        (
            "an ended run is being deleted",
            TERMINATING,
            changed(after_the_end(), |seen| {
                let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now());
                seen.test.metadata.deletion_timestamp = Some(time);
            }),
        ),
    ]
}

/// A case as it is written down: of the status what says where the run stands, since the rest
/// changes with every release.
fn row((case, wanted, seen): (&str, &str, Observed)) -> Value {
    let test = serde_json::to_value(&seen.test).unwrap();
    let status = &test["status"];
    let mut object = json!({
        "apiVersion": test["apiVersion"],
        "kind": test["kind"],
        "metadata": {
            "name": test["metadata"]["name"],
            "namespace": test["metadata"]["namespace"],
            "generation": test["metadata"]["generation"],
        },
        "status": {"observedGeneration": status["observedGeneration"]},
    });
    if let Some(deleted) = test["metadata"].get("deletionTimestamp") {
        object["metadata"]["deletionTimestamp"] = deleted.clone();
    }
    for part in ["phase", "conditions"] {
        if let Some(value) = status.get(part).filter(|value| !value.is_null()) {
            object["status"][part] = value.clone();
        }
    }
    json!({"case": case, "wanted": wanted, "object": object})
}

#[test]
fn the_statuses_that_kstatus_is_asked_about_are_those_that_the_operator_writes() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kstatus/statuses.json");
    let rows: Vec<Value> = open().into_iter().chain(ended()).map(row).collect();
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let written: Value = serde_json::from_str(&text).unwrap_or_default();
    let found = Value::Array(rows);
    assert!(
        written == found,
        "{file} is not what the operator writes, which is\n{found:#}"
    );
}
