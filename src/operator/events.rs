//! Events for people: one for each thing that happened to a run, read off two statuses, so that
//! nothing is reported twice.

use kube::Resource;
use kube::runtime::events::{Event, EventType};

use super::api::call;
use super::context::Context;
use super::reason::Reason;
use super::text::cut;
use crate::crd::status::RunStatus;
use crate::crd::{LoadTest, LoadTestStatus, Phase};

/// Longest note of an Event, in bytes; the API takes 1 kB.
const MAX_NOTE: usize = 1000;

/// Something that happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happening {
    Created,
    Started,
    MasterReplaced,
    /// A Pod of a started run ended before its time.
    Lost(Reason),
    Ended(Phase),
    /// Something that a user can mend keeps it from starting.
    Hindered(Reason),
}

impl Happening {
    fn reason(self) -> String {
        match self {
            Happening::Created => "RunCreated".to_owned(),
            Happening::Started => "RunStarted".to_owned(),
            Happening::MasterReplaced => "MasterReplaced".to_owned(),
            Happening::Lost(reason) => reason.to_string(),
            Happening::Ended(phase) => format!("Run{phase}"),
            Happening::Hindered(reason) => reason.to_string(),
        }
    }

    fn type_(self) -> EventType {
        match self {
            Happening::Created | Happening::Started | Happening::Ended(Phase::Succeeded) => {
                EventType::Normal
            }
            Happening::MasterReplaced
            | Happening::Lost(_)
            | Happening::Ended(_)
            | Happening::Hindered(_) => EventType::Warning,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Happening::Created => "CreateRun",
            Happening::Started => "GrantRun",
            Happening::MasterReplaced => "ResumeRun",
            Happening::Lost(_) => "FollowRun",
            Happening::Ended(_) => "EndRun",
            Happening::Hindered(_) => "Validate",
        }
    }

    fn event(self, note: &str) -> Event {
        Event {
            type_: self.type_(),
            reason: self.reason(),
            note: (!note.is_empty()).then(|| cut(note, MAX_NOTE)),
            action: self.action().to_owned(),
            secondary: None,
        }
    }
}

/// Returns the Events that report the step from `old` to `new`.
fn between(old: &LoadTestStatus, new: &LoadTestStatus) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(run) = &new.run {
        let before = old.run.as_ref().filter(|before| run.id == before.id);
        events.extend(of_run(before, run));
    }
    events.extend(losses(old, new));
    events.extend(hindrance(old, new));
    events
}

/// Returns an Event for each Pod of the run that `new` names as lost and `old` did not.
fn losses(old: &LoadTestStatus, new: &LoadTestStatus) -> Vec<Event> {
    let of = |status: &LoadTestStatus| match &status.workers {
        Some(workers) => workers.losses.clone(),
        None => Vec::new(),
    };
    let known = of(old);
    let told = of(new).into_iter().filter(|loss| !known.contains(loss));
    told.map(|loss| {
        let reason = Reason::parse(&loss.reason).unwrap_or(Reason::WorkerCrashed);
        Happening::Lost(reason).event(&format!("Pod {:?}: {}", loss.pod, loss.message))
    })
    .collect()
}

/// Returns the Events of one run; `before` is the run as the last status had it.
fn of_run(before: Option<&RunStatus>, run: &RunStatus) -> Vec<Event> {
    let id = &run.id;
    let epoch = |run: &RunStatus| run.master.as_ref().map_or(0, |master| master.epoch);
    let mut events = Vec::new();
    if before.is_none() {
        events.push(Happening::Created.event(&format!("run {id}")));
    }
    if run.started_at.is_some() && before.is_none_or(|before| before.started_at.is_none()) {
        let note = format!("run {id} on {} workers", run.wanted_workers());
        events.push(Happening::Started.event(&note));
    }
    if epoch(run) > 1 && before.is_some_and(|before| epoch(before) != epoch(run)) {
        let note = format!("run {id} goes on under another master");
        events.push(Happening::MasterReplaced.event(&note));
    }
    if let Some(end) = &run.end
        && before.is_none_or(|before| before.end.is_none())
    {
        let note = format!("run {id}: {} {}", end.reason, end.message);
        events.push(Happening::Ended(end.phase).event(&note));
    }
    events
}

/// Returns the Event of a reason that is new and that a user can mend.
fn hindrance(old: &LoadTestStatus, new: &LoadTestStatus) -> Option<Event> {
    let reason = |status: &LoadTestStatus| Reason::parse(&status.columns.as_ref()?.reason);
    let has_ended = new.run.as_ref().is_some_and(|run| run.end.is_some());
    if has_ended && new.phase != Some(Phase::Errored) {
        return None;
    }
    let told = reason(new).filter(|told| told.is_reported() && reason(old) != Some(*told))?;
    let message = new
        .conditions
        .iter()
        .find(|condition| condition.reason == told.text())
        .map_or("", |condition| condition.message.as_str());
    Some(Happening::Hindered(told).event(message))
}

/// Publishes the Events of a status write. Best effort: the conditions say what a lost
/// Event said.
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
            .and_then(|answer| answer.map_err(|error| error.to_string()))
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
        let mut lost = started.clone();
        let loss = crate::crd::status::LossStatus {
            pod: "w-0".into(),
            reason: "OutOfMemory".into(),
            message: "OOMKilled".into(),
        };
        lost.workers.get_or_insert_default().losses = vec![loss];
        assert_eq!(reasons(&started, &lost), ["OutOfMemory"]);
        assert_eq!(reasons(&lost, &lost), [] as [&str; 0]);
    }
}
