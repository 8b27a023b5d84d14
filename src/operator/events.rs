//! Events for people: one for each thing that happened to a run, read off two statuses, so that
//! nothing is said twice.

use kube::Resource;
use kube::runtime::events::{Event, EventType};

use super::api::call;
use super::context::Context;
use super::status::cut;
use crate::crd::{LoadTest, LoadTestStatus, Phase};

/// The API takes 1 kB.
const MAX_NOTE: usize = 1000;

/// What the step from `old` to `new` means.
fn between(old: &LoadTestStatus, new: &LoadTestStatus) -> Vec<Event> {
    let event = |type_, reason: &str, note: &str, action: &str| Event {
        type_,
        reason: reason.to_owned(),
        note: (!note.is_empty()).then(|| cut(note, MAX_NOTE)),
        action: action.to_owned(),
        secondary: None,
    };
    let mut events = Vec::new();
    let before = old
        .run
        .as_ref()
        .filter(|before| new.run.as_ref().is_some_and(|run| run.id == before.id));
    if let Some(run) = &new.run {
        if before.is_none() {
            events.push(event(
                EventType::Normal,
                "RunCreated",
                &format!("run {}", run.id),
                "CreateRun",
            ));
        }
        if run.started_at.is_some() && before.is_none_or(|before| before.started_at.is_none()) {
            events.push(event(
                EventType::Normal,
                "RunStarted",
                &format!("run {} on {} workers", run.id, run.workers),
                "GrantRun",
            ));
        }
        let epoch = |run: &crate::crd::status::RunStatus| {
            run.master.as_ref().map_or(0, |master| master.epoch)
        };
        if epoch(run) > 1 && before.is_some_and(|before| epoch(before) != epoch(run)) {
            events.push(event(
                EventType::Warning,
                "MasterReplaced",
                &format!("run {} goes on under another master", run.id),
                "ResumeRun",
            ));
        }
        if let Some(end) = run
            .end
            .as_ref()
            .filter(|_| before.is_none_or(|before| before.end.is_none()))
        {
            let type_ = if end.phase == Phase::Succeeded {
                EventType::Normal
            } else {
                EventType::Warning
            };
            let note = format!("run {}: {} {}", run.id, end.reason, end.message);
            events.push(event(type_, &format!("Run{}", end.phase), &note, "EndRun"));
        }
    }
    let reason = |status: &LoadTestStatus| {
        status
            .columns
            .as_ref()
            .map(|columns| columns.reason.clone())
            .unwrap_or_default()
    };
    let told = reason(new);
    let ended =
        new.run.as_ref().is_some_and(|run| run.end.is_some()) && new.phase != Some(Phase::Errored);
    if told != reason(old)
        && !ended
        && [
            "InvalidSpec",
            "MissingReference",
            "QuotaExceeded",
            "CreateRefused",
            "ImagePullFailed",
            "Unschedulable",
        ]
        .contains(&told.as_str())
    {
        let message = new
            .conditions
            .iter()
            .find(|condition| condition.reason == told)
            .map_or("", |condition| condition.message.as_str());
        events.push(event(EventType::Warning, &told, message, "Validate"));
    }
    events
}

/// Best effort: an Event that is lost is in the conditions too.
pub async fn publish(
    context: &Context,
    test: &LoadTest,
    old: &LoadTestStatus,
    new: &LoadTestStatus,
) {
    for event in between(old, new) {
        let published = call(
            "publish an Event for",
            &event.reason,
            context.recorder.publish(&event, &test.object_ref(&())),
        )
        .await;
        if let Err(error) = published
            .map_err(|error| error.to_string())
            .and_then(|said| said.map_err(|error| error.to_string()))
        {
            tracing::debug!(%error, "an Event was not published");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    fn reasons(old: &LoadTestStatus, new: &LoadTestStatus) -> Vec<String> {
        between(old, new)
            .into_iter()
            .map(|event| event.reason)
            .collect()
    }

    #[test]
    fn each_thing_is_said_once() {
        let (_, over) = fixture::ended();
        let mut active = over.clone();
        active.run.as_mut().unwrap().end = None;
        let mut started = active.clone();
        started.run.as_mut().unwrap().started_at = Some(fixture::NOW.into());
        assert_eq!(reasons(&LoadTestStatus::default(), &active), ["RunCreated"]);
        assert_eq!(reasons(&active, &started), ["RunStarted"]);
        assert_eq!(reasons(&active, &over), ["RunSucceeded"]);
        assert_eq!(reasons(&over, &over), [] as [&str; 0]);
    }
}
