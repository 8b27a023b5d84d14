//! What the status says, at its largest and at its turns.

use serde_json::json;

use super::*;
use crate::crd::status::{Condition, RunEnd};
use crate::operator::child::Child;
use crate::operator::fixture;
use crate::operator::view::Children;
use crate::wire::result::{
    ErrorResult, LlmResult, RecordResult, StepResult, StreamResult, ThresholdResult,
    ThresholdVerdict, WorkerResult,
};

/// An observation of this LoadTest and nothing else.
fn of(test: &crate::crd::LoadTest) -> Observed {
    Observed {
        test: test.clone(),
        ..fixture::applied()
    }
}

/// A result as large as the schema lets one be.
fn largest() -> RunResult {
    let wide = |n: usize| "ß".repeat(n);
    let mut result = fixture::result();
    let stream = StreamResult {
        llm: Some(LlmResult::default()),
        ..StreamResult::default()
    };
    let step = StepResult {
        scenario: wide(63),
        task: wide(63),
        step: wide(128),
        requests: u64::MAX,
        failures: u64::MAX,
        stream: Some(stream),
        ..Default::default()
    };
    result.steps = vec![step; 200];
    let worker = WorkerResult {
        worker: u32::MAX,
        place: wide(31),
        requests: u64::MAX,
        failures: u64::MAX,
        p95: u64::MAX,
    };
    result.fleet = (0..200)
        .map(|n| WorkerResult {
            place: format!("{n}{}", worker.place),
            ..worker.clone()
        })
        .collect();
    let error = ErrorResult {
        class: Some(serde_json::from_value(json!("staleConnection")).unwrap()),
        scenario: wide(63),
        task: wide(63),
        step: wide(128),
        status: Some(503),
        count: u64::MAX / 100,
        sample: wide(256),
        retry_after: None,
    };
    result.errors = vec![error; 64];
    let threshold = ThresholdResult {
        metric: "serviceTime".into(),
        expr: "x".repeat(64),
        select: json!({
            "scenario": wide(128), "task": wide(128), "step": wide(128), "outcome": "Any",
        }),
        window_micros: Some(u64::MAX),
        abort_on_fail: true,
        observed: Some(1.0),
        observed_second: Some(u32::MAX),
        observed_text: wide(100),
        verdict: ThresholdVerdict::NotJudged,
    };
    result.thresholds = vec![threshold; 32];
    let record = RecordResult {
        name: "r".repeat(63),
        unit: "bytes".into(),
        count: u64::MAX,
        max: 3.6e9,
        ..RecordResult::default()
    };
    result.records = vec![record; 32];
    result.message = wide(2000);
    result
}

fn ended<'a>(run: &RunStatus, result: &'a RunResult) -> Draft<'a> {
    Draft::ended(run.clone(), run.end.clone().unwrap(), Some(result))
}

fn kept(status: &LoadTestStatus) -> Draft<'static> {
    let run = status.run.clone();
    let end = run.as_ref().unwrap().end.clone().unwrap();
    Draft {
        run,
        situation: Situation::Kept { end },
    }
}

/// The report is there.
fn with_report() -> Applied {
    Applied::assumed(Children([fixture::ours(Child::Report)].into()))
}

fn ended_with(result: &RunResult) -> LoadTestStatus {
    let (mut test, mut status) = fixture::ended();
    let entry = HistoryEntry {
        run: "r".repeat(48),
        verdict: "Succeeded".into(),
        reason: "R".repeat(64),
        ..HistoryEntry::default()
    };
    status.history = vec![entry; 10];
    let mut run = status.run.clone().unwrap();
    run.end = Some(RunEnd {
        phase: Phase::Failed,
        reason: "ThresholdsBreached".into(),
        message: cut(&result.message, 1024),
    });
    test.status = Some(status);
    build(
        &of(&test),
        &ended(&run, result),
        &with_report(),
        fixture::now(),
    )
}

fn is(conditions: &[Condition], kind: &str) -> crate::crd::ConditionStatus {
    conditions
        .iter()
        .find(|condition| condition.r#type == kind)
        .unwrap()
        .status
}

#[test]
fn what_was_lost_with_a_master_and_what_was_given_out_again_is_shown() {
    let whole = ended_with(&fixture::result()).results.unwrap();
    assert_eq!((whole.incomplete, whole.workers.reissued), (None, None));
    let mut result = fixture::result();
    result.workers.reissued = 7;
    result.incomplete = Some(crate::wire::result::Incomplete {
        workers: 1,
        requests: 1002,
    });
    let results = ended_with(&result).results.unwrap();
    let incomplete = results.incomplete.unwrap();
    assert_eq!((incomplete.workers, incomplete.requests), (1, 1002));
    assert_eq!(results.workers.reissued, Some(7));
}

#[test]
fn the_largest_status_stays_within_its_bound_and_says_what_it_left_out() {
    let status = ended_with(&largest());
    assert!(serde_json::to_vec(&status).unwrap().len() <= MAX_STATUS);
    let results = status.results.unwrap();
    assert!(results.truncated);
    assert_eq!(
        results.omitted["steps"],
        180 + (20 - results.steps.len() as u64)
    );
    assert_eq!(results.omitted["errors"], 54);
    assert_eq!(status.history.len(), 10);
    assert_eq!(status.thresholds.len(), 32);
}

#[test]
fn the_largest_status_is_one_that_the_schema_takes() {
    let status = serde_json::to_value(ended_with(&largest())).unwrap();
    let definition = crate::crd::definition();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    check("status", &status, &schema["properties"]["status"]);
}

/// Bounds of strings and lists, and that no field would be pruned.
fn check(path: &str, value: &serde_json::Value, schema: &serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            let most = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
            assert!(
                text.chars().count() as u64 <= most,
                "{path} is longer than {most}"
            );
        }
        serde_json::Value::Array(items) => {
            assert!(
                items.len() as u64 <= schema["maxItems"].as_u64().unwrap_or(u64::MAX),
                "{path} is too long"
            );
            items
                .iter()
                .for_each(|item| check(&format!("{path}[]"), item, &schema["items"]));
        }
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                let known = schema["properties"]
                    .get(name)
                    .or_else(|| schema.get("additionalProperties"));
                check(
                    &format!("{path}.{name}"),
                    field,
                    known.unwrap_or_else(|| panic!("{path}.{name} is not in the schema")),
                );
            }
        }
        _ => {}
    }
}

#[test]
fn saying_it_again_says_the_same() {
    let status = ended_with(&fixture::result());
    let mut test = fixture::test();
    test.status = Some(status.clone());
    let later = fixture::now() + jiff::SignedDuration::from_secs(60);
    assert_eq!(
        build(&of(&test), &kept(&status), &with_report(), later),
        status
    );
}

#[test]
fn a_mistake_in_the_spec_is_stalled_and_taking_it_back_restores_the_verdict() {
    let status = ended_with(&fixture::result());
    let mut test = fixture::test();
    test.status = Some(status.clone());
    let problems = [Problem::new("spec.load", "exactly one of closed and open")];
    let invalid = build(
        &of(&test),
        &Draft {
            run: status.run.clone(),
            situation: Situation::Invalid(problems.into()),
        },
        &with_report(),
        fixture::now(),
    );
    assert_eq!(
        (invalid.phase, is(&invalid.conditions, "Stalled")),
        (Some(Phase::Errored), crate::crd::ConditionStatus::True)
    );
    assert!(
        invalid.conditions[0]
            .message
            .contains("spec.load: exactly one")
    );
    test.status = Some(invalid);
    assert_eq!(
        build(&of(&test), &kept(&status), &with_report(), fixture::now()),
        status
    );
}

#[test]
fn the_conditions_of_an_old_run_never_claim_the_generation_that_waits() {
    let (mut test, status) = fixture::ended();
    let run = status.run.clone().unwrap();
    test.metadata.generation = Some(2);
    test.spec.target.url = "http://other".into();
    test.status = Some(LoadTestStatus {
        observed_generation: 1,
        ..status
    });
    let new = build(
        &of(&test),
        &ended(&run, &fixture::result()),
        &with_report(),
        fixture::now(),
    );
    assert_eq!(new.observed_generation, 1);
    assert!(
        new.conditions
            .iter()
            .all(|condition| condition.observed_generation == 1)
    );
}

#[test]
fn history_keeps_as_many_as_asked_for_and_each_run_once() {
    let (mut test, status) = fixture::ended();
    let run = status.run.clone().unwrap();
    test.spec.run.history_limit = 1;
    test.status = Some(status);
    for _ in 0..2 {
        let new = build(
            &of(&test),
            &ended(&run, &fixture::result()),
            &with_report(),
            fixture::now(),
        );
        assert_eq!(
            new.history
                .iter()
                .map(|entry| entry.run.as_str())
                .collect::<Vec<_>>(),
            ["categorizer-aaaaaa"]
        );
        test.status = Some(new);
    }
}

#[test]
fn a_report_is_named_only_where_it_was_stored() {
    let (test, status) = fixture::ended();
    let run = status.run.unwrap();
    let report = |applied: &Applied| {
        let result = fixture::result();
        build(&of(&test), &ended(&run, &result), applied, fixture::now()).report_ref
    };
    assert!(report(&with_report()).is_some());
    assert_eq!(report(&Applied::assumed(Children::default())), None);
}
