//! Conditions, from one table, so that no two of them ever disagree.

use jiff::Timestamp;

use crate::crd::status::{
    Condition, ConditionStatus, GeneratorStatus, LoadStatus, ResultsStatus, RunEnd,
};
use crate::crd::{ConditionStatus as Is, Phase};
use crate::operator::reason::Reason;
use crate::operator::text::cut;
use crate::operator::times::write_instant;
use crate::wire::Reason as VerdictReason;

/// Standing of the resource, which decides all conditions.
#[derive(Debug, Clone)]
pub enum Standing {
    /// The spec cannot be carried out, or may not be.
    Invalid {
        /// Word for what stands in the way.
        reason: Reason,
        /// Everything that is wrong with the spec or not allowed.
        message: String,
    },
    /// Held or active: more is to come.
    Open {
        /// Phase that is not terminal.
        phase: Phase,
        /// Word for what is done or waited for.
        reason: Reason,
        /// The same as a sentence.
        message: String,
    },
    /// The run has ended.
    Over(RunEnd),
}

impl Standing {
    /// Returns the phase that the status shows.
    pub fn phase(&self) -> Phase {
        match self {
            Standing::Invalid { .. } => Phase::Errored,
            Standing::Open { phase, .. } => *phase,
            Standing::Over(end) => end.phase,
        }
    }

    /// Returns the text of the reason; an ended run's can be one that only its master knows.
    pub fn reason(&self) -> &str {
        match self {
            Standing::Invalid { reason, .. } => reason.text(),
            Standing::Open { reason, .. } => reason.text(),
            Standing::Over(end) => &end.reason,
        }
    }

    fn message(&self) -> &str {
        match self {
            Standing::Invalid { message, .. } | Standing::Open { message, .. } => message,
            Standing::Over(end) => &end.message,
        }
    }

    /// Statuses of the conditions in the order of [`KINDS`].
    fn row(&self) -> [Is; 6] {
        use Is::{False, True, Unknown};
        match self {
            Standing::Open { .. } => [False, True, False, False, False, Unknown],
            Standing::Invalid { .. } => [False, False, True, True, False, Unknown],
            Standing::Over(end) => match (end.phase, is_complete(end)) {
                (Phase::Succeeded, _) => [True, False, False, True, True, True],
                (Phase::Failed, false) => [False, False, True, True, False, False],
                (Phase::Failed, true) => [False, False, True, True, True, False],
                _ => [False, False, True, True, False, Unknown],
            },
        }
    }
}

/// Returns whether the run measured all it was to measure: it has a verdict, and no threshold cut
/// it short.
pub fn is_complete(end: &RunEnd) -> bool {
    matches!(end.phase, Phase::Succeeded | Phase::Failed)
        && end.reason.parse() != Ok(VerdictReason::ThresholdAborted)
}

/// Type of a condition. Its text is the variant's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ready,
    Reconciling,
    Stalled,
    Finished,
    Complete,
    Passed,
    GeneratorSaturated,
    LoadBelowProfile,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Ready => "Ready",
            Kind::Reconciling => "Reconciling",
            Kind::Stalled => "Stalled",
            Kind::Finished => "Finished",
            Kind::Complete => "Complete",
            Kind::Passed => "Passed",
            Kind::GeneratorSaturated => "GeneratorSaturated",
            Kind::LoadBelowProfile => "LoadBelowProfile",
        }
    }
}

/// Conditions that every status has, in this order.
const KINDS: [Kind; 6] = [
    Kind::Ready,
    Kind::Reconciling,
    Kind::Stalled,
    Kind::Finished,
    Kind::Complete,
    Kind::Passed,
];

/// Builds all conditions. One whose status is as in `old` keeps the time of its last transition.
pub fn build(
    old: &[Condition],
    standing: &Standing,
    results: Option<&ResultsStatus>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |kind: Kind, status: ConditionStatus, reason: &str, message: &str| {
        let before = old
            .iter()
            .find(|condition| condition.r#type == kind.text() && condition.status == status);
        Condition {
            r#type: kind.text().to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: before.map_or_else(
                || write_instant(now),
                |before| before.last_transition_time.clone(),
            ),
            reason: cut(reason, 64),
            message: cut(message, 1024),
        }
    };
    let mut all: Vec<Condition> = KINDS
        .into_iter()
        .zip(standing.row())
        .map(|(kind, status)| {
            // the way it was stopped is in Finished; Stalled names the kind of end
            let reason = match (kind, status, standing.phase()) {
                (Kind::Stalled, Is::True, Phase::Aborted) => Reason::Aborted.text(),
                _ => standing.reason(),
            };
            condition(kind, status, reason, standing.message())
        })
        .collect();
    if let Some(results) = results {
        let (status, reason, message) = saturation(&results.generator);
        all.push(condition(
            Kind::GeneratorSaturated,
            status,
            reason.text(),
            &message,
        ));
    }
    if let Some(load) = results.and_then(|results| results.load.as_ref()) {
        let (status, reason, message) = offered(load);
        all.push(condition(
            Kind::LoadBelowProfile,
            status,
            reason.text(),
            &message,
        ));
    }
    all
}

/// Status, reason and message of the condition about the load that was offered.
fn offered(load: &LoadStatus) -> (Is, Reason, String) {
    let LoadStatus {
        offered,
        below_profile,
        told,
        why,
        missing_arrivals: _,
        missing_users: _,
    } = load;
    let rest = if why.is_empty() {
        String::new()
    } else {
        format!("; not offered: {why}")
    };
    if *below_profile {
        let message = format!("only {offered} of the planned load was offered: {told}{rest}");
        (Is::True, Reason::BelowProfile, message)
    } else {
        let message = format!("{offered} of the planned load was offered: {told}{rest}");
        (Is::False, Reason::ProfileOffered, message)
    }
}

/// Status, reason and message of the condition about the load generator.
fn saturation(generator: &GeneratorStatus) -> (Is, Reason, String) {
    if !generator.saturated {
        return (
            Is::False,
            Reason::NotSaturated,
            "the workers kept up".to_owned(),
        );
    }
    let why = match generator.why.as_str() {
        "" => String::new(),
        why => format!("; {why}"),
    };
    let message = format!("the workers were the limit: the numbers are not the target's{why}");
    (Is::True, Reason::Saturated, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(phase: Phase, reason: &str) -> Standing {
        Standing::Over(RunEnd {
            phase,
            reason: reason.into(),
            message: "m".into(),
        })
    }

    fn of(standing: &Standing) -> Vec<Condition> {
        build(&[], standing, None, 1, Timestamp::UNIX_EPOCH)
    }

    fn text(standing: &Standing) -> String {
        let short = |status: &Is| match status {
            Is::True => 'T',
            Is::False => 'F',
            Is::Unknown => 'U',
        };
        of(standing)
            .iter()
            .map(|condition| short(&condition.status))
            .collect()
    }

    fn every_standing() -> Vec<Standing> {
        let mut all = vec![Standing::Invalid {
            reason: Reason::InvalidSpec,
            message: "m".into(),
        }];
        for phase in Phase::ALL {
            all.push(match phase.is_terminal() {
                true => over(phase, "R"),
                false => Standing::Open {
                    phase,
                    reason: Reason::Running,
                    message: "m".into(),
                },
            });
        }
        all.push(over(Phase::Failed, "ThresholdAborted"));
        all
    }

    #[test]
    fn never_are_reconciling_and_stalled_both_true_and_exactly_one_of_three_is() {
        for standing in every_standing() {
            let conditions = of(&standing);
            let is_true = |kind: &str| {
                conditions
                    .iter()
                    .any(|c| c.r#type == kind && c.status == Is::True)
            };
            let count = ["Ready", "Reconciling", "Stalled"]
                .iter()
                .filter(|kind| is_true(kind))
                .count();
            assert_eq!(count, 1, "{standing:?}");
            assert_eq!(is_true("Finished"), !is_true("Reconciling"), "{standing:?}");
        }
    }

    #[test]
    fn each_end_has_its_row() {
        // Ready Reconciling Stalled Finished Complete Passed
        assert_eq!(text(&over(Phase::Succeeded, "NoThresholds")), "TFFTTT");
        for reason in ["ThresholdsBreached", "TooManyFailures", "LoadMissing"] {
            assert_eq!(text(&over(Phase::Failed, reason)), "FFTTTF", "{reason}");
        }
        assert_eq!(text(&over(Phase::Errored, "ForeignChild")), "FFTTFU");
        assert_eq!(text(&over(Phase::Failed, "ThresholdAborted")), "FFTTFF");
        assert_eq!(text(&over(Phase::Aborted, "Suspended")), "FFTTFU");
        assert_eq!(text(&over(Phase::Errored, "MasterLost")), "FFTTFU");
        assert_eq!(
            text(&Standing::Invalid {
                reason: Reason::InvalidSpec,
                message: "m".into()
            }),
            "FFTTFU"
        );
        assert_eq!(
            text(&Standing::Open {
                phase: Phase::Running,
                reason: Reason::Running,
                message: "m".into()
            }),
            "FTFFFU"
        );
    }

    #[test]
    fn a_transition_time_moves_only_with_the_status() {
        let first = of(&Standing::Open {
            phase: Phase::Starting,
            reason: Reason::Starting,
            message: "m".into(),
        });
        let later = Timestamp::from_second(100).unwrap();
        let second = build(
            &first,
            &Standing::Open {
                phase: Phase::Running,
                reason: Reason::Stopping,
                message: "n".into(),
            },
            None,
            1,
            later,
        );
        assert!(
            first
                .iter()
                .zip(&second)
                .all(|(a, b)| a.last_transition_time == b.last_transition_time
                    && b.reason == "Stopping")
        );
        let third = build(&second, &over(Phase::Succeeded, "R"), None, 1, later);
        assert_eq!(third[0].last_transition_time, write_instant(later));
    }
}
