//! How a run ended, and what that makes of its verdict.

use super::super::roster::Roster;
use super::super::verdict::Judgement;
use crate::plan::{OnSaturation, Plan};
use crate::stats::format;
use crate::stats::result::{CapacityResult, Generator, LimitedBy, Reason, Verdict};
use crate::wire::control::Stop;

/// How a run came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The profile is over.
    Natural,
    /// Somebody stopped it.
    Stopped(Stop),
    /// A threshold that was breached ended it.
    Breached { why: String },
    /// All workers were lost and none came back.
    Deserted,
    /// What comes before the load went wrong, so there was none.
    NotStarted(Obstacle),
}

/// What kept the load from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub reason: Reason,
    pub message: String,
}

/// A search is judged by what it found.
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

/// What decides where the end itself does; `judged` is what the samples alone say.
pub(super) fn judgement(
    plan: &Plan,
    judged: Judgement,
    generator: &Generator,
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
        Ending::Natural => judged,
        Ending::NotStarted(Obstacle { reason, message }) => {
            instead(Verdict::Errored, reason, message)
        }
        // thresholds are shown as they stood, but do not decide
        Ending::Stopped(stop) => instead(Verdict::Aborted, stop.reason, stop.message),
        Ending::Breached { why } => instead(Verdict::Failed, Reason::ThresholdAborted, why),
        Ending::Deserted => instead(
            Verdict::Errored,
            Reason::WorkersLost,
            "all workers were lost and none came back in time".into(),
        ),
    }
}

/// A verdict over less load than was asked for says so itself: not everyone reads the warnings.
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
