//! Calls between operator and master: JSON over HTTPS with a token.

mod client;

use std::fmt;
use std::str::FromStr;

use serde::de::IntoDeserializer;
use serde::de::value::Error as UnknownWord;
use serde::{Deserialize, Serialize};

use super::Reason;
use crate::stats::result::LoadUnit;

pub use client::{Client, ControlError, Large, Part, plain};

/// Path that answers [`Progress`] to GET.
pub const PROGRESS: &str = "/api/v1/progress";
/// Path that answers the result to GET, or `null` while it is not final.
pub const RESULT: &str = "/api/v1/result";
/// Path that takes a [`Grant`] by POST.
pub const GRANT: &str = "/api/v1/grant";
/// Path that takes a [`Stop`] by POST, or with the control token a [`StopByHand`].
pub const STOP: &str = "/api/v1/stop";
/// Path that takes a [`Scale`] by POST.
pub const SCALE: &str = "/api/v1/scale";
/// Path that takes a [`ChangeLoad`] by POST, with the control token.
pub const LOAD: &str = "/api/v1/load";
/// Path that takes an [`Acknowledge`] by POST.
pub const ACKNOWLEDGE: &str = "/api/v1/acknowledge";

/// Most bytes of a text that a worker reports: field, object or message of a problem.
pub const MAX_TEXT: usize = 256;
/// Most problems that a master reports; those that came first are kept.
pub const MAX_PROBLEMS: usize = 64;
/// Most bytes of the id of a run or an incarnation.
const MAX_ID: usize = 128;

/// State of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasterState {
    /// Workers are missing or not ready.
    Waiting,
    /// All workers are ready, and the grant is awaited; nothing has started.
    Ready,
    /// Granted: one worker does what comes before the load, which has not started.
    Preparing,
    /// Granted: load exists or is about to.
    Running,
    /// Load is being ended.
    Stopping,
    /// Granted, but the master has lost its memory and waits for workers that carry the run.
    Recovering,
    /// Granted, but no worker carries the run any more. Only an acknowledgement ends it.
    Lost,
    /// The result is final.
    Finished,
}

/// Writes the name that JSON has, too.
impl fmt::Display for MasterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// State and counts of a run so far; polled by the operator and the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Id of the run.
    pub run: String,
    /// Number of the last grant.
    pub epoch: u32,
    /// Random id of this master, which a grant must name.
    pub incarnation: String,
    /// State of the master.
    pub state: MasterState,
    /// Workers that the run is to have.
    pub workers: u32,
    /// Workers connected.
    pub connected: u32,
    /// Workers ready or at work.
    pub ready: u32,
    /// Workers beyond that number that still carry load, which they leave; `None` from a master of
    /// an older release, whose number of workers cannot change.
    #[serde(default)]
    pub leaving: Option<u32>,
    /// Problems that keep workers from being ready; the first of each kind and field.
    pub problems: Vec<WorkerProblem>,
    /// Microseconds since the profile's zero; 0 before.
    pub elapsed_micros: u64,
    /// Length of warm-up and profile in microseconds; 0 when only the run itself will tell.
    pub length_micros: u64,
    /// Iterations per second that a search for the capacity tries now.
    #[serde(default)]
    pub level: Option<f64>,
    /// Iterations that are to be carried out, where their number is what is asked for; else 0.
    #[serde(default)]
    pub planned_iterations: u64,
    /// Iterations that began.
    #[serde(default)]
    pub iterations: u64,
    /// Requests finished.
    pub requests: u64,
    /// Requests failed.
    pub failures: u64,
    /// Users alive or iterations in flight.
    pub users: u64,
    /// Requests of the last complete run second.
    pub rps: u64,
    /// 95th percentile of latency in the last complete run second, in microseconds.
    pub p95_micros: u64,
    /// Longest time from the start grant to the end, as the grant has it, in microseconds; 0 if the
    /// master does not keep it, as one of an older release.
    #[serde(default)]
    pub deadline_micros: u64,
    /// Microseconds since the start grant by clocks that nobody sets; `None` while the master does
    /// not know.
    #[serde(default)]
    pub granted_micros: Option<u64>,
    /// Name of what one worker is doing alone, such as `setup`. JSON has the released name of the
    /// field.
    #[serde(default, rename = "errand")]
    pub one_off: Option<String>,
    /// Levels of the loads that have one, in the order of the test.
    #[serde(default)]
    pub load: Vec<LoadProgress>,
}

/// Level of one load of a run, over the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadProgress {
    /// Names of the scenarios under the load, joined by commas.
    pub scenario: String,
    /// Unit of the levels.
    pub unit: LoadUnit,
    /// Level that the test asks for now; 0 before and after the profile.
    pub planned: f64,
    /// Level that is wanted now, with changes by hand.
    pub wanted: f64,
    /// True while a level that was set by hand holds.
    pub by_hand: bool,
}

impl Progress {
    /// Whole percent of the profile, 100 only when the load is over.
    pub fn percent(&self) -> u32 {
        if matches!(self.state, MasterState::Finished) {
            return 100;
        }
        let (done, whole) = if self.length_micros > 0 {
            (self.elapsed_micros, self.length_micros)
        } else {
            (self.iterations, self.planned_iterations)
        };
        // without a length or a number of iterations nothing is known of the end
        let part = done.saturating_mul(100).checked_div(whole).unwrap_or(0);
        part.min(99) as u32
    }

    /// Holds a progress that came from elsewhere to its bounds: at most [`MAX_PROBLEMS`] problems,
    /// texts of at most [`MAX_TEXT`] bytes without control characters, a pace that is a number.
    /// Ids cannot be cut, since they are compared: the error says which one is too long.
    pub fn bounded(mut self) -> Result<Self, &'static str> {
        if self.run.len() > MAX_ID {
            return Err("the id of its run is too long");
        }
        if self.incarnation.len() > MAX_ID {
            return Err("its incarnation is too long");
        }
        self.problems.truncate(MAX_PROBLEMS);
        // the operator shows none of them
        self.load.clear();
        for problem in &mut self.problems {
            let WorkerProblem {
                worker: _,
                kind: _,
                field,
                object,
                message,
                for_seconds: _,
            } = problem;
            for text in [field, object, message] {
                *text = short(text);
            }
        }
        self.one_off = self.one_off.map(|text| short(&text));
        self.level = self.level.filter(|level| level.is_finite());
        Ok(self)
    }

    /// Failures over requests, 0 without any.
    pub fn failure_rate(&self) -> f64 {
        if self.requests == 0 {
            0.0
        } else {
            self.failures as f64 / self.requests as f64
        }
    }
}

/// Returns at most [`MAX_TEXT`] bytes of a worker's text, without control characters.
pub fn short(text: &str) -> String {
    let mut text = plain(text, MAX_TEXT);
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Kinds of problems that keep a worker from being ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProblemKind {
    /// A Secret, a ConfigMap or a key of one is not there.
    MissingReference,
    /// The test is wrong in a way that only the content of a reference could show.
    InvalidSpec,
    /// A policy of the cluster does not allow an address, which only a worker could find.
    PolicyViolation,
    /// The target's name does not resolve.
    TargetUnresolved,
    /// Whoever gives out tokens gave none.
    NoToken,
}

/// Writes the name that JSON has, too.
impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Reads what [`Display`](fmt::Display) wrote.
impl FromStr for ProblemKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::deserialize(text.into_deserializer())
    }
}

/// A problem of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerProblem {
    /// Share of the worker that reported it first, from 0.
    pub worker: u32,
    /// Kind of the problem.
    pub kind: ProblemKind,
    /// Field path in the LoadTest.
    pub field: String,
    /// Object it is about, such as `Secret "databricks" key "pat"`; may be empty.
    pub object: String,
    /// The problem in words.
    pub message: String,
    /// Seconds for which it has been reported.
    pub for_seconds: u64,
}

/// Permission of the operator, which makes a master start or go on with its run. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Id of the run.
    pub run: String,
    /// Number of the grant; a master refuses one lower than the last.
    pub epoch: u32,
    /// Master that it is meant for; another refuses it.
    pub incarnation: String,
    /// Action that is permitted.
    pub action: GrantAction,
    /// Longest time from the start grant to the end of the run, in microseconds; the master then
    /// ends it. 0: no such time.
    #[serde(default)]
    pub deadline_micros: u64,
    /// Number of workers; `None` for that of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<FleetSize>,
}

/// Number of workers of a run, which may change during it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSize {
    /// Workers that the run is to have: those with lower indexes.
    pub now: u32,
    /// Most workers that it was ever to have. Those beyond the present number may hold samples that
    /// they have to hand over.
    pub most: u32,
}

/// Order to go on with another number of workers. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Id of the run.
    pub run: String,
    /// Number of workers.
    pub workers: FleetSize,
}

/// Actions that a grant permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantAction {
    /// Start the load.
    Start,
    /// Rebuild the run from the workers that carry it, and start nothing: load was started under
    /// another incarnation.
    Resume,
}

/// Order to end the run as aborted; thresholds are shown, not judged. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Id of the run.
    pub run: String,
    /// Reason of the result.
    pub reason: Reason,
    /// The reason in words.
    pub message: String,
}

/// Order of a person to change the load, with exactly one of `users`, `rate` and `profile`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeLoad {
    /// Id of the run.
    pub run: String,
    /// Name of a scenario whose load is meant; may be left out where there is one load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// Users from now on, over the fleet; for closed load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
    /// Iterations per second from now on, over the fleet; for open load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Back to what the test asks for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub profile: bool,
    /// Name of the person, which events and result show; at most [`MAX_TEXT`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Order of a person to end the run as aborted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StopByHand {
    /// Id of the run.
    pub run: String,
    /// Reason in words; at most [`MAX_TEXT`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Word that the result is stored, which releases the workers. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Id of the run.
    pub run: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_problem_has_one_name_in_text_and_json() {
        for kind in [
            ProblemKind::MissingReference,
            ProblemKind::InvalidSpec,
            ProblemKind::PolicyViolation,
            ProblemKind::TargetUnresolved,
            ProblemKind::NoToken,
        ] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(
                serde_json::to_value(kind).unwrap(),
                kind.to_string().as_str()
            );
        }
        assert!("Haunted".parse::<ProblemKind>().is_err());
    }
}
