//! The conditions: one table, so that no two of them ever disagree.

use jiff::Timestamp;

use super::super::decide::written;
use super::cut;
use crate::crd::status::{Condition, ConditionStatus, ResultsStatus, RunEnd};
use crate::crd::{ConditionStatus as Is, Phase};

/// The reason of a run that a threshold ended early.
pub const THRESHOLD_ABORTED: &str = "ThresholdAborted";

/// How the resource stands.
#[derive(Debug, Clone)]
pub enum Standing {
    Invalid {
        message: String,
    },
    /// Held or active: more is to come.
    Open {
        phase: Phase,
        reason: String,
        message: String,
    },
    Over(RunEnd),
}

impl Standing {
    pub fn phase(&self) -> Phase {
        match self {
            Standing::Invalid { .. } => Phase::Errored,
            Standing::Open { phase, .. } => *phase,
            Standing::Over(end) => end.phase,
        }
    }

    pub fn reason(&self) -> &str {
        match self {
            Standing::Invalid { .. } => "InvalidSpec",
            Standing::Open { reason, .. } => reason,
            Standing::Over(end) => &end.reason,
        }
    }

    fn message(&self) -> &str {
        match self {
            Standing::Invalid { message } | Standing::Open { message, .. } => message,
            Standing::Over(end) => &end.message,
        }
    }

    /// Ready, Reconciling, Stalled, Finished, Complete, Passed.
    fn row(&self) -> [Is; 6] {
        use Is::{False, True, Unknown};
        match self {
            Standing::Open { .. } => [False, True, False, False, False, Unknown],
            Standing::Invalid { .. } => [False, False, True, True, False, Unknown],
            Standing::Over(end) => match end.phase {
                Phase::Succeeded => [True, False, False, True, True, True],
                Phase::Failed if end.reason == THRESHOLD_ABORTED => {
                    [False, False, True, True, False, False]
                }
                Phase::Failed => [False, False, True, True, True, False],
                _ => [False, False, True, True, False, Unknown],
            },
        }
    }
}

const TYPES: [&str; 6] = [
    "Ready",
    "Reconciling",
    "Stalled",
    "Finished",
    "Complete",
    "Passed",
];

pub fn build(
    old: &[Condition],
    standing: &Standing,
    results: Option<&ResultsStatus>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |kind: &str, status: ConditionStatus, reason: &str, message: &str| {
        let before = old
            .iter()
            .find(|condition| condition.r#type == kind && condition.status == status);
        Condition {
            r#type: kind.to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: before.map_or_else(
                || written(now),
                |before| before.last_transition_time.clone(),
            ),
            reason: cut(reason, 64),
            message: cut(message, 1024),
        }
    };
    // the way it was stopped is in Finished; Stalled names the kind of end
    let stalled = if standing.phase() == Phase::Aborted {
        "Aborted"
    } else {
        standing.reason()
    };
    let mut all: Vec<Condition> = TYPES
        .iter()
        .zip(standing.row())
        .map(|(kind, status)| {
            condition(
                kind,
                status,
                if *kind == "Stalled" && status == Is::True {
                    stalled
                } else {
                    standing.reason()
                },
                standing.message(),
            )
        })
        .collect();
    if let Some(results) = results {
        let (status, reason, message) = match results.generator.saturated {
            true => {
                let why = if results.generator.why.is_empty() {
                    String::new()
                } else {
                    format!("; {}", results.generator.why)
                };
                (
                    Is::True,
                    "Saturated",
                    format!("the workers were the limit: the numbers are not the target's{why}"),
                )
            }
            false => (Is::False, "NotSaturated", "the workers kept up".to_owned()),
        };
        all.push(condition("GeneratorSaturated", status, reason, &message));
    }
    all
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
            message: "m".into(),
        }];
        for phase in Phase::ALL {
            all.push(match phase.is_terminal() {
                true => over(phase, "R"),
                false => Standing::Open {
                    phase,
                    reason: "R".into(),
                    message: "m".into(),
                },
            });
        }
        all.push(over(Phase::Failed, THRESHOLD_ABORTED));
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
        assert_eq!(text(&over(Phase::Failed, "ThresholdsBreached")), "FFTTTF");
        assert_eq!(text(&over(Phase::Failed, THRESHOLD_ABORTED)), "FFTTFF");
        assert_eq!(text(&over(Phase::Aborted, "Suspended")), "FFTTFU");
        assert_eq!(text(&over(Phase::Errored, "MasterLost")), "FFTTFU");
        assert_eq!(
            text(&Standing::Invalid {
                message: "m".into()
            }),
            "FFTTFU"
        );
        assert_eq!(
            text(&Standing::Open {
                phase: Phase::Running,
                reason: "Running".into(),
                message: "m".into()
            }),
            "FTFFFU"
        );
    }

    #[test]
    fn a_transition_time_moves_only_with_the_status() {
        let first = of(&Standing::Open {
            phase: Phase::Starting,
            reason: "A".into(),
            message: "m".into(),
        });
        let later = Timestamp::from_second(100).unwrap();
        let second = build(
            &first,
            &Standing::Open {
                phase: Phase::Running,
                reason: "B".into(),
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
                .all(|(a, b)| a.last_transition_time == b.last_transition_time && b.reason == "B")
        );
        let third = build(&second, &over(Phase::Succeeded, "R"), None, 1, later);
        assert_eq!(third[0].last_transition_time, written(later));
    }
}
