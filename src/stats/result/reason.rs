//! Reasons of a verdict: the words that results, status and conditions share.

use std::fmt;
use std::str::FromStr;

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};

/// Reason of a verdict. Serialised, displayed and parsed as the variant's name, which is part
/// of the released form of results and conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Passed: every threshold was met.
    ThresholdsMet,
    /// Passed: the test has no thresholds, and the run came to its end.
    NoThresholds,
    /// Passed, and the load was changed by hand; or failed, since it was lowered so that less was
    /// planned than the profile asks for.
    ManualChanges,
    /// Passed: a search for the capacity found a rate that holds.
    CapacityFound,
    /// Failed: a threshold was not met, or could not be judged.
    ThresholdsBreached,
    /// Failed: a breached threshold ended the load early.
    ThresholdAborted,
    /// Failed: every request failed.
    NoSuccess,
    /// Failed: more requests failed than the test allows, and no threshold says how many may.
    TooManyFailures,
    /// Failed: more arrivals were dropped than the test allows.
    TooManyDropped,
    /// Failed: more of the load is missing, since no worker was there to make it, than the test
    /// allows.
    LoadMissing,
    /// Failed: a search for the capacity found no rate that holds.
    NothingHeld,
    /// Failed: a search for the capacity found less than was wanted.
    CapacityTooLow,
    /// Errored: there is nothing to judge.
    NoRequestFinished,
    /// Errored: the load generator was the bottleneck, and the test asks to fail then.
    GeneratorSaturated,
    /// Errored: all workers were lost and none came back.
    WorkersLost,
    /// Errored: the steps of `setup` failed, so no load was started.
    SetupFailed,
    /// Errored: the target did not become ready in time, so no load was started.
    TargetNotReady,
    /// Errored: the preflight failed, so no load was started.
    PreflightFailed,
    /// Errored: something else that comes before the load failed.
    NotPrepared,
    /// Aborted: a signal stopped a run of the command line.
    Interrupted,
    /// Aborted: `spec.run.suspend` was set while the run went on.
    Suspended,
    /// Aborted: the run had not ended by its deadline.
    DeadlineExceeded,
    /// Aborted: a person stopped the run on the master.
    StoppedByHand,
    /// Aborted: an object that the run needs was deleted.
    ChildDeleted,
    /// A reason that only another version knows; kept as it was written.
    #[serde(untagged)]
    Other(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Parses what [`Display`](fmt::Display) writes; a word without a variant of its own becomes
/// [`Reason::Other`].
impl FromStr for Reason {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::deserialize(text.into_deserializer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_word_in_json_and_text() {
        for (reason, word) in [
            (Reason::ThresholdsMet, "ThresholdsMet"),
            (Reason::DeadlineExceeded, "DeadlineExceeded"),
            (Reason::Other("FromTheFuture".into()), "FromTheFuture"),
            (Reason::Other(String::new()), ""),
        ] {
            assert_eq!(reason.to_string(), word);
            assert_eq!(serde_json::to_value(&reason).unwrap(), word);
            assert_eq!(word.parse(), Ok(reason.clone()));
            let read: Reason = serde_json::from_value(word.into()).unwrap();
            assert_eq!(read, reason);
        }
    }
}
