//! The validated test that every role speaks: loose input has become strict types, every reference
//! is named, every default is set.
//!
//! A plan travels as JSON (durations in microseconds). It holds no secret, only [`Reference`]s to
//! them, and is immutable once a run has started.

mod auth;
pub mod budget;
pub mod capacity;
pub mod cel;
pub mod check;
mod cost;
pub mod duration;
pub mod extract;
pub mod facts;
pub mod feeder;
pub mod host_address;
pub mod json_path;
mod load;
pub mod manual;
pub mod names;
mod once;
pub mod pace;
pub mod pattern;
pub mod policy;
pub mod profile;
pub mod protocol;
pub mod reference;
mod request_log;
pub mod reserved;
mod scenario;
pub mod share;
mod stream;
pub mod symbols;
mod target;
pub mod template;
pub mod threshold;
mod transport;
mod variables;
mod written;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::{Auth, AwsSigV4, ClientAuthentication, Google, OAuth2};
pub use capacity::{Capacity, Level, Levels};
pub use cel::{Cel, with_large_stack};
pub use check::{Check, Condition, StatusRange};
pub use cost::Cost;
pub use extract::{Extract, ExtractFrom, Record, RecordFrom, Trend, Unit, trends};
pub use feeder::Feeder;
pub use json_path::JsonPath;
pub use load::{Arrival, Iterations, Load, Population, SPAWN_RATE, UserTime};
pub use manual::{LoadChange, LoadChanges, ManualControl};
pub use names::{Columns, Declared, Names, Slot};
pub use once::{MAX_SETUP_VALUES, Once, SetupValues, secret_texts};
pub use pace::ThinkTime;
pub use pattern::Pattern;
pub use policy::AddressRules;
pub use profile::{Profile, Stage};
pub use protocol::Protocol;
pub use protocol::grpc::{self, Grpc, GrpcStep, Protos};
pub use protocol::http::{Body, Field, HttpRequest, HttpStep, Part, PartContent, Retry, RetryOn};
pub use reference::{Inputs, Kind, Reference};
pub use request_log::RequestLog;
pub use scenario::{
    Action, Block, ForEach, MAX_SEPARATE, OnFailure, Order, Repeat, RequestStep, Scenario, Step,
    Task, written_places,
};
pub use share::Share;
pub use stream::{Goodput, HttpStream, StreamFormat, StreamKind, StreamPreset, Until};
pub use target::{ClientCertificate, Header, ReadyWhen, Target, Tls};
pub use template::{Delimiters, JsonTemplate, JsonText, Template};
pub use threshold::Threshold;
pub use transport::{Basic, Connections, HeadLimits, Http, Proxy, Version};
pub use variables::{Computed, Resolved, Variables};
pub use written::Written;

/// Most request steps in all scenarios, `setup` and `teardown` together; each worker keeps
/// statistics for every one.
pub const MAX_STEPS: usize = 200;

/// One mistake in a test: where it is and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Field path from the root of the resource, such as
    /// `spec.scenarios[0].tasks[1].steps[0].http.path`.
    pub path: String,
    /// Explanation for the test's author, without the path.
    pub message: String,
}

impl Problem {
    /// Builds a problem from the field path and the explanation.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// A whole test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Target of every step that names no other.
    pub target: Target,
    /// Further targets, each with a name that steps refer to.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Settings of HTTP connections.
    pub http: Http,
    /// Settings of gRPC channels.
    #[serde(default)]
    pub grpc: Grpc,
    /// Sources of gRPC descriptors; `None`: each worker asks the target by reflection.
    #[serde(default)]
    pub protos: Option<Protos>,
    /// Values that templates may name.
    pub variables: Variables,
    /// Sources of test data; their slots follow those of the variables.
    #[serde(default)]
    pub feeders: Vec<Feeder>,
    /// Steps carried out once per run: setup before the load, teardown after it.
    #[serde(default)]
    pub once: Once,
    /// Prices of the target, used only to write costs into the result.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// Scenarios, the behaviour of users; never empty.
    pub scenarios: Vec<Scenario>,
    /// Loads that run side by side, each over some of the scenarios; never empty.
    pub populations: Vec<Population>,
    /// Length of the warm-up, which ends at the profiles' zero; iterations that start in it are not
    /// in the results.
    #[serde(with = "duration::micros")]
    pub warmup: Duration,
    /// Limits that decide whether the run passes.
    pub thresholds: Vec<Threshold>,
    /// Time that iterations still running at the end of the load have before they are cut.
    #[serde(with = "duration::micros")]
    pub stop_timeout: Duration,
    /// Attempt made before any load to find a broken test early.
    #[serde(default)]
    pub preflight: Preflight,
    /// Verdict on a run whose workers were the bottleneck.
    pub on_saturation: OnSaturation,
    /// Largest share of requests (0 to 1) that may fail in a run that passes, where no threshold
    /// says how many.
    #[serde(default = "any_share")]
    pub max_failures: f64,
    /// Selection of the requests that are written down in full; `None`: none are.
    #[serde(rename = "samples", default, skip_serializing_if = "Option::is_none")]
    pub request_log: Option<RequestLog>,
    /// Rules for the addresses that the run may reach, from the policies of its cluster when it
    /// began; empty without any.
    #[serde(default, skip_serializing_if = "AddressRules::is_empty")]
    pub address_rules: AddressRules,
    /// Bounds of changes of load by hand.
    #[serde(default, skip_serializing_if = "manual::Control::is_default")]
    pub control: manual::Control,
    /// Seed of everything random; `None` until the run has an id to derive it from.
    pub seed: Option<u64>,
}

/// Share of failures that may pass in a plan of an older release, which had no such limit.
fn any_share() -> f64 {
    1.0
}

/// Trial before any load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preflight {
    /// No trial.
    Off,
    /// A connection to each target.
    #[default]
    Connect,
    /// Each task of each scenario once, by one user. The run ends, with the first line of the
    /// answer, if a request is refused (400 to 499, except 408, 425 and 429), a check or an extract
    /// fails, or there is no connection.
    Once,
}

/// Verdict on a run in which the workers, not the target, limited the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSaturation {
    /// The run is judged as usual, and its summary begins with the warning.
    #[default]
    Warn,
    /// The run ends as `Errored`.
    Fail,
}

/// Consequence of the loss of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnLoss {
    /// The other workers carry the share of the lost one, until a replacement is there.
    #[default]
    Rebalance,
    /// The share stays missing until a replacement is there, and counts as missing load.
    Degrade,
    /// The run ends `Errored`, reason `WorkersLost`.
    Fail,
}

/// Part of the test that a list of steps belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `onStart` of a scenario: once per user, before the first iteration.
    OnStart,
    /// A task, by its number in the scenario.
    Task(usize),
    /// A block, by its number in the scenario.
    Block(usize),
    /// `onStop` of a scenario: once per user, after the last iteration.
    OnStop,
    /// `setup` of the whole run.
    Setup,
    /// `teardown` of the whole run.
    Teardown,
}

/// A request step with the names that lead to it. Its position in [`Plan::steps`] is its number
/// wherever statistics are kept.
#[derive(Debug, Clone, Copy)]
pub struct StepPlace<'a> {
    /// Name of the scenario, or `setup` or `teardown`.
    pub scenario: &'a str,
    /// Name of the task or block, or that of the section.
    pub task: &'a str,
    /// Part of the test that the step stands in.
    pub section: Section,
    /// The step itself.
    pub step: &'a RequestStep,
}

impl StepPlace<'_> {
    /// Tells whether the step's requests are only counted, neither in the totals nor in any
    /// latency.
    pub fn is_control(&self) -> bool {
        matches!(
            self.section,
            Section::OnStart | Section::OnStop | Section::Setup | Section::Teardown
        )
    }

    /// Tells whether the step asks for the target's health. Only failures of such a step are
    /// requests of the result.
    pub fn is_health_check(&self) -> bool {
        matches!(
            &self.step.call,
            Protocol::Grpc(GrpcStep {
                is_health_check: true,
                ..
            })
        )
    }
}

/// A step with a condition, a repetition or a list, and the names that lead to it. Its position in
/// [`Plan::flows`] is its number.
#[derive(Debug, Clone, Copy)]
pub struct FlowPlace<'a> {
    /// Name of the scenario, or `setup` or `teardown`.
    pub scenario: &'a str,
    /// Name of the task or block, or that of the section.
    pub task: &'a str,
    /// Part of the test that the step stands in.
    pub section: Section,
    /// Position in its list of steps, from 0.
    pub number: usize,
    /// The step itself.
    pub step: &'a Step,
}

impl Plan {
    /// Longest time that any target is waited for before the start; `None` where no target has
    /// `readyWhen`.
    pub fn readiness_timeout(&self) -> Option<Duration> {
        self.all_targets()
            .filter_map(|target| target.ready_when.as_ref())
            .map(|ready| ready.timeout)
            .max()
    }

    /// All targets, the test's default one first.
    pub fn all_targets(&self) -> impl Iterator<Item = &Target> {
        std::iter::once(&self.target).chain(&self.targets)
    }

    /// All request steps: those of the scenarios in the order of the file, then those of setup and
    /// teardown.
    pub fn steps(&self) -> impl Iterator<Item = StepPlace<'_>> {
        self.scenarios
            .iter()
            .flat_map(Scenario::steps)
            .chain(self.once.steps())
    }

    /// All steps with a condition, a repetition or a list, in the order of the file.
    pub fn flows(&self) -> impl Iterator<Item = FlowPlace<'_>> {
        let once = self
            .once
            .sections()
            .into_iter()
            .map(|(name, section, steps)| (name, name, section, steps));
        self.scenarios
            .iter()
            .flat_map(Scenario::sections)
            .chain(once)
            .flat_map(|(scenario, task, section, steps)| {
                let flows = steps.iter().enumerate().filter(|(_, step)| step.has_flow());
                flows.map(move |(number, step)| FlowPlace {
                    scenario,
                    task,
                    section,
                    number,
                    step,
                })
            })
    }

    /// The values that steps record, one per name; a trend's position is its number wherever
    /// statistics are kept.
    pub fn trends(&self) -> Vec<Trend> {
        // validation checked that records of one name have one unit
        trends(self.steps().flat_map(|place| &place.step.record)).unwrap_or_default()
    }

    /// Length of the measured part: from the end of the warm-up to the end of the last population.
    /// `None` where the run decides it, as under a fixed number of iterations or a capacity search.
    pub fn length(&self) -> Option<Duration> {
        self.populations
            .iter()
            .map(Population::length)
            .try_fold(Duration::ZERO, |longest, length| Some(longest.max(length?)))
    }

    /// Length of warm-up and measured part together; `None` as in [`length`](Self::length).
    pub fn whole_length(&self) -> Option<Duration> {
        Some(self.warmup + self.length()?)
    }

    /// Arrivals that the profiles ask for up to `at` of the measured part; `None` if any population
    /// is not under open load with a profile.
    pub fn arrivals_until(&self, at: Duration) -> Option<u64> {
        self.populations
            .iter()
            .map(|population| {
                population
                    .load
                    .arrivals_until(at.saturating_sub(population.start_after))
            })
            .sum()
    }

    /// Number of iterations to carry out, where every population has a fixed number; else `None`.
    pub fn iterations(&self) -> Option<u64> {
        let totals = self
            .populations
            .iter()
            .map(|population| match &population.load {
                Load::Iterations(iterations) => Some(iterations.total()),
                Load::Closed { .. } | Load::Open { .. } | Load::Capacity(_) => None,
            });
        totals.sum()
    }

    /// Largest share of arrivals (0 to 1) that may be dropped in a run that passes; the smallest of
    /// several populations' limits, `None` without open load.
    pub fn max_dropped(&self) -> Option<f64> {
        let shares = self
            .populations
            .iter()
            .filter_map(|population| match &population.load {
                Load::Open { max_dropped, .. } => Some(*max_dropped),
                Load::Closed { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
            });
        shares.reduce(f64::min)
    }

    /// Largest share of users' time (0 to 1) that may be missing in a run that passes; the smallest
    /// of several populations' limits, `None` without closed load.
    pub fn max_missing(&self) -> Option<f64> {
        let shares = self
            .populations
            .iter()
            .filter_map(|population| match &population.load {
                Load::Closed { max_missing, .. } => Some(*max_missing),
                Load::Open { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
            });
        shares.reduce(f64::min)
    }

    /// Most users of the closed populations at once over the fleet.
    pub fn most_users(&self) -> u64 {
        self.populations
            .iter()
            .filter(|population| matches!(population.load, Load::Closed { .. }))
            .map(|population| population.load.most())
            .sum()
    }

    /// Most users of the closed populations that are wanted at once, up to `at` of the measured part,
    /// for longer than a moment; 0 without closed load.
    pub fn users_wanted(&self, at: Duration) -> u64 {
        let closed = self
            .populations
            .iter()
            .filter_map(|population| match &population.load {
                Load::Closed { profile, .. } => Some((population.start_after, profile)),
                Load::Open { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
            });
        let closed: Vec<_> = closed.collect();
        let users = |at: Duration| -> u64 {
            let of = |(start, profile): &(Duration, &Profile)| {
                let into = at.checked_sub(*start)?;
                (into < profile.length()).then(|| profile.users(into))
            };
            closed.iter().filter_map(of).sum()
        };
        closed
            .iter()
            .flat_map(|(start, profile)| {
                let turns = profile.turns(at.saturating_sub(*start));
                turns.into_iter().map(move |turn| *start + turn)
            })
            .map(users)
            .max()
            .unwrap_or(0)
    }

    /// Arrivals of the open populations up to `at` of the measured part; `None` without one.
    pub fn open_arrivals(&self, at: Duration) -> Option<u64> {
        self.populations
            .iter()
            .filter_map(|population| {
                let at = at.saturating_sub(population.start_after);
                population.load.arrivals_until(at)
            })
            .reduce(|sum, arrivals| sum + arrivals)
    }

    /// Time of the users of the closed populations up to `at` of the measured part, on a fleet of
    /// `workers`; `None` without one.
    pub fn user_time(&self, at: Duration, workers: u32) -> Option<UserTime> {
        self.populations
            .iter()
            .filter_map(|population| {
                let at = at.saturating_sub(population.start_after);
                population.load.user_time(at, workers)
            })
            .reduce(|sum, time| UserTime {
                wanted: sum.wanted + time.wanted,
                possible: sum.possible + time.possible,
            })
    }

    /// The capacity search, if the run is one; it is the only population then.
    pub fn capacity(&self) -> Option<&Capacity> {
        self.populations
            .iter()
            .find_map(|population| match &population.load {
                Load::Capacity(capacity) => Some(capacity),
                Load::Closed { .. } | Load::Open { .. } | Load::Iterations(_) => None,
            })
    }

    /// Slot of the first feeder; the slots of the others follow.
    pub fn feeder_slots(&self) -> Slot {
        self.variables.slots()
    }

    /// First slot for values that `setup` extracts; those of the scenarios follow.
    pub fn once_slots(&self) -> Slot {
        self.feeder_slots() + self.feeders.len() as Slot
    }

    /// Every Secret or ConfigMap key that the test needs, in the order of the file.
    pub fn references(&self) -> Vec<&Reference> {
        let mut all: Vec<&Reference> = self.all_targets().flat_map(Target::references).collect();
        all.extend(self.variables.from.values());
        all.extend(self.protos.iter().flat_map(Protos::references));
        all.extend(self.feeders.iter().filter_map(Feeder::reference));
        for place in self.steps() {
            let Protocol::Http(http) = &place.step.call else {
                continue;
            };
            all.extend(
                http.request
                    .body
                    .iter()
                    .flat_map(Body::data)
                    .filter_map(|(_, data)| data.reference()),
            );
        }
        all
    }
}
