//! Endings of a run, and what each makes of its verdict.

use super::super::roster::Roster;
use super::super::verdict::Judgement;
use crate::plan::{OnSaturation, Plan};
use crate::stats::format;
use crate::stats::result::{CapacityResult, Generator, LimitedBy, LoadResult, Reason, Verdict};
use crate::wire::control::Stop;

/// Ways in which a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The profile is over.
    Natural,
    /// The operator, or a signal, stopped it.
    Stopped(Stop),
    /// A breached threshold ended it; `why` names the threshold and what was observed.
    Breached { why: String },
    /// A worker was lost, and the test asks to end then; `why` says so.
    WorkerLost { why: String },
    /// All workers were lost and none came back.
    Deserted,
    /// A one-off that comes before the load failed, so there was no load.
    NotStarted(Obstacle),
}

/// A failure that kept the load from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Reason of the result.
    pub reason: Reason,
    /// The failure in words.
    pub message: String,
}

/// Judges a search by what it found.
pub(super) fn judge_capacity(found: &CapacityResult, judged: Judgement) -> Judgement {
    let CapacityResult {
        rate,
        limited_by,
        at_least,
        curve,
    } = found;
    let per_second = |rate: f64| format!("{}/s", format::rate(rate));
    let limit = match limited_by {
        Some(LimitedBy::Generator) => {
            ", where the generator was the limit: the target may hold more"
        }
        Some(LimitedBy::Max) => ", the highest rate that was to be tried",
        Some(LimitedBy::Target) | None => "",
    };
    let (verdict, reason, message) = match (rate, at_least) {
        (None, _) => {
            let why = curve
                .iter()
                .rfind(|level| !level.held)
                .map_or("no level was judged", |level| level.why.as_str());
            (
                Verdict::Failed,
                Reason::NothingHeld,
                format!("no rate was found that holds: {why}"),
            )
        }
        (Some(rate), Some(wanted)) if rate < wanted => {
            let message = format!(
                "{} hold{limit}, {} are wanted",
                per_second(*rate),
                per_second(*wanted)
            );
            (Verdict::Failed, Reason::CapacityTooLow, message)
        }
        (Some(rate), _) => (
            Verdict::Passed,
            Reason::CapacityFound,
            format!("{} hold{limit}", per_second(*rate)),
        ),
    };
    Judgement {
        verdict,
        reason,
        message,
        thresholds: judged.thresholds,
    }
}

/// Judges a run by its end, where that decides; `judged` is what its samples say.
pub(super) fn judgement(
    plan: &Plan,
    judged: Judgement,
    generator: &Generator,
    load: Option<&LoadResult>,
    ending: Ending,
) -> Judgement {
    let instead = |verdict, reason, message| Judgement {
        verdict,
        reason,
        message,
        thresholds: judged.thresholds.clone(),
    };
    match ending {
        Ending::Natural | Ending::Breached { .. }
            if generator.saturated && plan.on_saturation == OnSaturation::Fail =>
        {
            let why = generator
                .workers
                .iter()
                .map(|worker| format!("worker {}: {}", worker.worker, worker.why))
                .collect::<Vec<_>>();
            instead(
                Verdict::Errored,
                Reason::GeneratorSaturated,
                format!("the load generator was the bottleneck: {}", why.join("; ")),
            )
        }
        Ending::Natural
            if judged.verdict == Verdict::Passed && plan.on_saturation == OnSaturation::Fail =>
        {
            match load.and_then(held_back_by_generator) {
                Some(why) => instead(Verdict::Errored, Reason::GeneratorSaturated, why),
                None => judged,
            }
        }
        Ending::Natural => judged,
        Ending::NotStarted(Obstacle { reason, message }) => {
            instead(Verdict::Errored, reason, message)
        }
        // thresholds are shown as they stood, but do not decide
        Ending::Stopped(stop) => instead(Verdict::Aborted, stop.reason, stop.message),
        Ending::Breached { why } => instead(Verdict::Failed, Reason::ThresholdAborted, why),
        Ending::WorkerLost { why } => instead(Verdict::Errored, Reason::WorkersLost, why),
        Ending::Deserted => instead(
            Verdict::Errored,
            Reason::WorkersLost,
            "all workers were lost and none came back in time".into(),
        ),
    }
}

/// Says how the load generator kept load back, where it did and too little was offered for it.
fn held_back_by_generator(load: &LoadResult) -> Option<String> {
    let of_generator = load
        .shortfalls
        .iter()
        .find(|shortfall| shortfall.cause.is_of_generator());
    let shortfall = of_generator.filter(|_| load.is_below_profile())?;
    Some(format!(
        "only {} of the planned load was offered ({}): {}",
        format::percent(load.offered),
        load.told(),
        shortfall.why
    ))
}

/// Says in a verdict that the load was changed by hand, so that it is not that of the test: `changes`
/// times, and with `lowered` of the planned load left where they took too much of it.
pub(super) fn with_changes(judged: Judgement, changes: usize, lowered: Option<f64>) -> Judgement {
    let changed = match changes {
        0 => return judged,
        1 => "the load was changed by hand".to_owned(),
        times => format!("the load was changed by hand {times} times"),
    };
    let message = format!("{}; {changed}", judged.message);
    match (judged.verdict, lowered) {
        (Verdict::Passed, Some(kept)) => Judgement {
            verdict: Verdict::Failed,
            reason: Reason::ManualChanges,
            message: format!(
                "{changed}, to {} of what the profile asks for, so it is not shown what the profile would have given",
                format::percent(kept)
            ),
            ..judged
        },
        (Verdict::Passed, None) => Judgement {
            reason: Reason::ManualChanges,
            message,
            ..judged
        },
        (Verdict::Failed | Verdict::Errored | Verdict::Aborted, _) => {
            Judgement { message, ..judged }
        }
    }
}

/// Adds to a verdict's message that workers were lost, since a verdict over less load than was
/// asked for says so itself: not everyone reads the warnings.
pub(super) fn with_losses(message: String, roster: &Roster) -> String {
    match roster.lost() + roster.left_early() {
        0 => message,
        1 => format!(
            "{message}; a worker went before the end, so the load was below the profile for a time"
        ),
        gone => format!(
            "{message}; {gone} workers went before the end, so the load was below the profile for a time"
        ),
    }
}
