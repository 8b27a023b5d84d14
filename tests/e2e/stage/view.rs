//! Reading a LoadTest the way its users do.

use starling::crd::{Condition, ConditionStatus, LoadTest, LoadTestStatus, Phase};
use starling::wire::RunResult;

/// The status; an empty one before the operator has written any.
pub fn status(test: &LoadTest) -> LoadTestStatus {
    test.status.clone().unwrap_or_default()
}

pub fn phase(test: &LoadTest) -> Option<Phase> {
    test.status.as_ref().and_then(|status| status.phase)
}

pub fn is(test: &LoadTest, wanted: &str) -> bool {
    phase(test).is_some_and(|phase| phase.to_string() == wanted)
}

pub fn run_id(test: &LoadTest) -> String {
    status(test).run.map(|run| run.id).unwrap_or_default()
}

/// Status and reason, such as `True/ThresholdsBreached`, and the message.
pub fn condition(test: &LoadTest, kind: &str) -> (String, String) {
    let found = status(test)
        .conditions
        .into_iter()
        .find(|condition| condition.r#type == kind);
    found.map_or(
        ("absent".into(), String::new()),
        |Condition {
             status,
             reason,
             message,
             ..
         }| (format!("{status:?}/{reason}"), message),
    )
}

/// The run is over, and the conditions speak of the newest generation.
pub fn is_finished(test: &LoadTest) -> bool {
    let status = status(test);
    let said = status.conditions.iter().any(|condition| {
        condition.r#type == "Finished" && condition.status == ConditionStatus::True
    });
    said && status.phase.is_some_and(Phase::is_terminal)
        && Some(status.observed_generation) == test.metadata.generation
}

/// One line for a message.
pub fn summary(test: &LoadTest) -> String {
    let status = status(test);
    let conditions = status
        .conditions
        .iter()
        .map(|c| format!("{}={:?}/{} {:?}", c.r#type, c.status, c.reason, c.message));
    let conditions: Vec<String> = conditions.collect();
    format!(
        "phase {:?}, runs {}, run {:?}, generation {:?}, observed {}, {}",
        status.phase,
        status.runs,
        status.run.map(|run| run.id),
        test.metadata.generation,
        status.observed_generation,
        conditions.join(", ")
    )
}

/// Requests that reached the target: finished ones and those cut at the end, without those that
/// never left.
pub fn sent(result: &RunResult) -> u64 {
    let totals = &result.totals;
    totals.requests + totals.interrupted - totals.unsent
}
