//! The validated test that every role speaks: loose input has become strict types, every reference is named, every default is set.
//!
//! A plan travels as JSON (durations in microseconds). It holds no secret, only [`Reference`]s to them, and is immutable once a run has started.

pub mod capacity;
pub mod cel;
pub mod check;
pub mod duration;
pub mod extract;
pub mod feeder;
pub mod grpc;
pub mod json_path;
pub mod lexicon;
mod load;
pub mod names;
pub mod pace;
pub mod pattern;
pub mod profile;
pub mod reference;
mod scenario;
pub mod share;
mod target;
pub mod template;
pub mod threshold;
mod transport;
mod variables;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use capacity::{Capacity, Level, Levels};
pub use cel::Cel;
pub use check::{Check, Condition, StatusRange};
pub use extract::{Extract, ExtractFrom, Record, RecordFrom, Trend, Unit, trends};
pub use feeder::Feeder;
pub use grpc::{Grpc, GrpcStep, Protos};
pub use json_path::JsonPath;
pub use load::{Arrival, Iterations, Load, Population, SPAWN_RATE};
pub use names::{Columns, Declared, Names, Slot};
pub use pace::ThinkTime;
pub use pattern::Pattern;
pub use profile::{Profile, Stage};
pub use reference::{Inputs, Kind, Reference};
pub use scenario::{
    Action, Block, Body, Field, ForEach, HttpRequest, HttpStep, OnFailure, Order, Part, PartContent, Protocol, Repeat, RequestStep, Retry,
    RetryOn, Scenario, Step, Task,
};
pub use share::Share;
pub use target::{Auth, ClientCertificate, Header, Target, Tls};
pub use template::{Delimiters, JsonTemplate, Template};
pub use threshold::Threshold;
pub use transport::{Basic, Connections, Http, Proxy, Version};
pub use variables::{Computed, Resolved, Variables};

/// At most so many steps in all scenarios together; a worker keeps statistics for each.
pub const MAX_STEPS: usize = 200;

/// One mistake in a test, where it is and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Field path from the root of the resource, such as `spec.scenarios[0].tasks[1].steps[0].http.path`.
    pub path: String,
    pub message: String,
}

impl Problem {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
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
    pub target: Target,
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
    pub on_saturation: OnSaturation,
    /// Seeds all that is random; `None` until the run has an id to take it from.
    pub seed: Option<u64>,
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
}

/// A request with the names that lead to it; its place in [`Plan::steps`] is its number everywhere statistics are kept.
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
        matches!(self.section, Section::OnStart | Section::OnStop)
    }
}

impl Plan {
    /// All requests in the order of the file.
    pub fn steps(&self) -> impl Iterator<Item = StepPlace<'_>> {
        self.scenarios.iter().flat_map(Scenario::steps)
    }

    /// The measured part of the run: from the end of the warm-up to the end of the last population. `None` where only the run itself will tell.
    pub fn length(&self) -> Option<Duration> {
        self.populations.iter().map(Population::length).try_fold(Duration::ZERO, |longest, length| Some(longest.max(length?)))
    }

    /// Warm-up and measured part together.
    pub fn whole_length(&self) -> Option<Duration> {
        Some(self.warmup + self.length()?)
    }

    /// Arrivals that the profiles ask for up to `at` of the measured part; `None` if a population is not under open load.
    pub fn arrivals_until(&self, at: Duration) -> Option<u64> {
        self.populations.iter().map(|population| population.load.arrivals_until(at.saturating_sub(population.start_after))).sum()
    }

    /// Iterations that are to be carried out, where their number is what is asked for.
    pub fn iterations(&self) -> Option<u64> {
        let totals = self.populations.iter().map(|population| match &population.load {
            Load::Iterations(iterations) => Some(iterations.total()),
            Load::Closed { .. } | Load::Open { .. } | Load::Capacity(_) => None,
        });
        totals.sum()
    }

    /// Share of the arrivals that may be dropped in a run that passes; of several populations' the smallest.
    pub fn max_dropped(&self) -> Option<f64> {
        let shares = self.populations.iter().filter_map(|population| match &population.load {
            Load::Open { max_dropped, .. } => Some(*max_dropped),
            Load::Closed { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
        });
        shares.reduce(f64::min)
    }

    /// The search, where that is what the run is for; it is the only population then.
    pub fn capacity(&self) -> Option<&Capacity> {
        self.populations.iter().find_map(|population| match &population.load {
            Load::Capacity(capacity) => Some(capacity),
            Load::Closed { .. } | Load::Open { .. } | Load::Iterations(_) => None,
        })
    }

    /// The slot of the first feeder; the others follow.
    pub fn feeder_slots(&self) -> Slot {
        self.variables.slots()
    }

    /// The first slot that is left to scenarios.
    pub fn scenario_slots(&self) -> Slot {
        self.feeder_slots() + self.feeders.len() as Slot
    }

    /// Every Secret or ConfigMap key the test needs, in the order of the file.
    pub fn references(&self) -> Vec<&Reference> {
        let Target { url: _, headers: _, auth, tls, proxy, unix_socket: _ } = &self.target;
        let Tls { ca, client, server_name: _, insecure_skip_verify: _ } = tls;
        let mut all = Vec::new();
        match auth {
            None => {}
            Some(Auth::Bearer { token }) => all.push(token),
            Some(Auth::Basic { username, password }) => all.extend([username, password]),
            Some(Auth::Header { name: _, value }) => all.push(value),
        }
        all.extend(ca);
        if let Some(ClientCertificate { certificate, key }) = client {
            all.extend([certificate, key]);
        }
        if let Some(Proxy { url: _, basic: Some(Basic { username, password }) }) = proxy {
            all.extend([username, password]);
        }
        all.extend(self.variables.from.values());
        all.extend(self.protos.iter().flat_map(Protos::references));
        all.extend(self.feeders.iter().filter_map(Feeder::reference));
        for place in self.steps() {
            let Protocol::Http(http) = &place.step.call else { continue };
            match &http.request.body {
                Some(Body::File(file)) => all.push(file),
                Some(Body::Multipart(parts)) => all.extend(parts.iter().filter_map(|part| match &part.content {
                    PartContent::File(file) => Some(file),
                    PartContent::Text(_) => None,
                })),
                Some(Body::Text(_) | Body::Json(_) | Body::Form(_)) | None => {}
            }
        }
        all
    }
}
