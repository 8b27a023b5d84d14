//! The validated test that every role speaks: loose input has become strict types, every reference
//! is named, every default is set.
//!
//! A plan travels as JSON (durations in microseconds). It holds no secret, only [`Reference`]s to
//! them, and is immutable once a run has started.

mod auth;
pub mod capacity;
pub mod cel;
pub mod check;
mod cost;
pub mod duration;
pub mod extract;
pub mod facts;
pub mod feeder;
pub mod grpc;
pub mod json_path;
mod load;
pub mod names;
mod once;
pub mod pace;
pub mod pattern;
pub mod profile;
pub mod reference;
mod request_log;
mod scenario;
pub mod share;
mod stream;
pub mod symbols;
mod target;
pub mod template;
pub mod threshold;
mod transport;
mod variables;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::{Auth, AwsSigV4, ClientAuthentication, Google, OAuth2};
pub use capacity::{Capacity, Level, Levels};
pub use cel::Cel;
pub use check::{Check, Condition, StatusRange};
pub use cost::Cost;
pub use extract::{Extract, ExtractFrom, Record, RecordFrom, Trend, Unit, trends};
pub use feeder::Feeder;
pub use grpc::{Grpc, GrpcStep, Protos};
pub use json_path::JsonPath;
pub use load::{Arrival, Iterations, Load, Population, SPAWN_RATE};
pub use names::{Columns, Declared, Names, Slot};
pub use once::{MAX_SETUP_VALUES, Once, SetupValues};
pub use pace::ThinkTime;
pub use pattern::Pattern;
pub use profile::{Profile, Stage};
pub use reference::{Inputs, Kind, Reference};
pub use request_log::RequestLog;
pub use scenario::{
    Action, Block, Body, Field, ForEach, HttpRequest, HttpStep, OnFailure, Order, Part,
    PartContent, Protocol, Repeat, RequestStep, Retry, RetryOn, Scenario, Step, Task,
};
pub use share::Share;
pub use stream::{Goodput, HttpStream, StreamFormat, StreamKind, StreamPreset, Until};
pub use target::{ClientCertificate, Header, ReadyWhen, Target, Tls};
pub use template::{Delimiters, JsonTemplate, Template};
pub use threshold::Threshold;
pub use transport::{Basic, Connections, Http, Proxy, Version};
pub use variables::{Computed, Resolved, Variables};

/// At most so many steps in all scenarios together; a worker keeps statistics for each.
pub const MAX_STEPS: usize = 200;

/// One mistake in a test, where it is and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Field path from the root of the resource, such as
    /// `spec.scenarios[0].tasks[1].steps[0].http.path`.
    pub path: String,
    pub message: String,
}

impl Problem {
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
    /// Where steps go unless they name another.
    pub target: Target,
    /// The others, each with a name.
    #[serde(default)]
    pub targets: Vec<Target>,
    pub http: Http,
    #[serde(default)]
    pub grpc: Grpc,
    /// Where the descriptors of gRPC come from; `None`: each worker asks the target by reflection.
    #[serde(default)]
    pub protos: Option<Protos>,
    /// Values that templates may name.
    pub variables: Variables,
    /// Their slots follow those of the variables.
    #[serde(default)]
    pub feeders: Vec<Feeder>,
    /// What is done once, before and after the load.
    #[serde(default)]
    pub once: Once,
    /// What the target costs; of meaning for the result only.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// Never empty.
    pub scenarios: Vec<Scenario>,
    /// What is done side by side; never empty.
    pub populations: Vec<Population>,
    /// Before the profiles' zero; what starts in it is not in the results.
    #[serde(with = "duration::micros")]
    pub warmup: Duration,
    pub thresholds: Vec<Threshold>,
    /// How long iterations that run at the end may go on before they are cut.
    #[serde(with = "duration::micros")]
    pub stop_timeout: Duration,
    #[serde(default)]
    pub preflight: Preflight,
    pub on_saturation: OnSaturation,
    /// `None`: no request is written down.
    #[serde(rename = "samples", default, skip_serializing_if = "Option::is_none")]
    pub request_log: Option<RequestLog>,
    /// Seeds all that is random; `None` until the run has an id to take it from.
    pub seed: Option<u64>,
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

/// What becomes of a run whose workers were the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSaturation {
    /// It is judged, and says so first.
    #[default]
    Warn,
    /// It ends `Errored`.
    Fail,
}

/// Where a request stands: which part of the test it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    OnStart,
    /// Number of the task in its scenario.
    Task(usize),
    /// Number of the block in its scenario.
    Block(usize),
    OnStop,
    /// Of the whole run.
    Setup,
    Teardown,
}

/// A request with the names that lead to it; its place in [`Plan::steps`] is its number everywhere
/// statistics are kept.
#[derive(Debug, Clone, Copy)]
pub struct StepPlace<'a> {
    pub scenario: &'a str,
    /// The task's name, or the block's, or that of the section.
    pub task: &'a str,
    pub section: Section,
    pub step: &'a RequestStep,
}

impl StepPlace<'_> {
    /// Neither in the totals nor in a latency: only counted.
    pub fn is_control(&self) -> bool {
        matches!(
            self.section,
            Section::OnStart | Section::OnStop | Section::Setup | Section::Teardown
        )
    }

    /// It asks for the target's health: only its failures are among the requests.
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

/// A step that says when or how often it is carried out, with the names that lead to it; its place
/// in [`Plan::flows`] is its number.
#[derive(Debug, Clone, Copy)]
pub struct FlowPlace<'a> {
    pub scenario: &'a str,
    /// As in [`StepPlace`].
    pub task: &'a str,
    pub section: Section,
    /// Place in its list of steps.
    pub number: usize,
    pub step: &'a Step,
}

impl Plan {
    /// How long targets are waited for before the start; `None` where none is.
    pub fn readiness_timeout(&self) -> Option<Duration> {
        self.all_targets()
            .filter_map(|target| target.ready_when.as_ref())
            .map(|ready| ready.timeout)
            .max()
    }

    /// All targets, the test's own first.
    pub fn all_targets(&self) -> impl Iterator<Item = &Target> {
        std::iter::once(&self.target).chain(&self.targets)
    }

    /// All requests: those of the scenarios in the order of the file, then what is done once.
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

    /// What the steps record, each name once; its place is its number wherever statistics are kept.
    pub fn trends(&self) -> Vec<Trend> {
        // validation has found that they fit each other
        trends(self.steps().flat_map(|place| &place.step.record)).unwrap_or_default()
    }

    /// The measured part of the run: from the end of the warm-up to the end of the last population.
    /// `None` where only the run itself will tell.
    pub fn length(&self) -> Option<Duration> {
        self.populations
            .iter()
            .map(Population::length)
            .try_fold(Duration::ZERO, |longest, length| Some(longest.max(length?)))
    }

    /// Warm-up and measured part together.
    pub fn whole_length(&self) -> Option<Duration> {
        Some(self.warmup + self.length()?)
    }

    /// Arrivals that the profiles ask for up to `at` of the measured part; `None` if a population
    /// is not under open load.
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

    /// Iterations that are to be carried out, where their number is what is asked for.
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

    /// Share of the arrivals that may be dropped in a run that passes; of several populations' the
    /// smallest.
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

    /// The search, where that is what the run is for; it is the only population then.
    pub fn capacity(&self) -> Option<&Capacity> {
        self.populations
            .iter()
            .find_map(|population| match &population.load {
                Load::Capacity(capacity) => Some(capacity),
                Load::Closed { .. } | Load::Open { .. } | Load::Iterations(_) => None,
            })
    }

    /// The slot of the first feeder; the others follow.
    pub fn feeder_slots(&self) -> Slot {
        self.variables.slots()
    }

    /// The first slot that is left to what is done once; those of the scenarios follow.
    pub fn once_slots(&self) -> Slot {
        self.feeder_slots() + self.feeders.len() as Slot
    }

    /// Every Secret or ConfigMap key the test needs, in the order of the file.
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
