//! The validated test that every role speaks: loose input has become strict types, every reference is named, every default is set.
//!
//! A plan travels as JSON (durations in microseconds). It holds no secret, only [`Reference`]s to them, and is immutable once a run has started.

pub mod duration;
pub mod profile;
pub mod reference;
pub mod share;
pub mod template;
pub mod threshold;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

pub use profile::{Profile, Stage};
pub use reference::{Inputs, Kind, Reference};
pub use share::Share;
pub use template::{JsonTemplate, Template};
pub use threshold::Threshold;

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
    /// Values that templates may name; constants of the run.
    pub variables: BTreeMap<String, Value>,
    /// Never empty.
    pub scenarios: Vec<Scenario>,
    pub load: Load,
    pub thresholds: Vec<Threshold>,
    /// How long iterations that run at the end may go on before they are cut.
    #[serde(with = "duration::micros")]
    pub stop_timeout: Duration,
    /// Seeds all that is random; `None` until the run has an id to take it from.
    pub seed: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// `http` or `https`, with a host, without user information, query or fragment. Its path is put before every step's path.
    pub url: Url,
    /// Sent with every request; a step's header of the same name replaces it.
    pub headers: Vec<Header>,
    pub auth: Option<Auth>,
    pub tls: Tls,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub name: String,
    pub value: Template,
}

/// Credentials sent with every request; their values are read where the load is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// `Authorization: Bearer <token>`
    Bearer { token: Reference },
    /// `Authorization: Basic <base64 of username:password>`
    Basic { username: Reference, password: Reference },
    /// A header of any name.
    Header { name: String, value: Reference },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// PEM certificates trusted instead of the system's.
    pub ca: Option<Reference>,
    /// PEM certificate chain and key shown to the target.
    pub client: Option<ClientCertificate>,
    /// Name asked for and checked instead of the URL's host.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCertificate {
    pub certificate: Reference,
    pub key: Reference,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    pub name: String,
    /// Share of the users or arrivals, relative to the other scenarios; the sum over all is positive.
    pub weight: u32,
    /// Pause between two iterations of a user; never set in open load.
    pub think_time: Option<ThinkTime>,
    /// Never empty; one is chosen by weight for each iteration.
    pub tasks: Vec<Task>,
}

/// Uniform between `min` and `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThinkTime {
    #[serde(with = "duration::micros")]
    pub min: Duration,
    #[serde(with = "duration::micros")]
    pub max: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub name: String,
    pub weight: u32,
    /// Never empty; carried out in order, an iteration ends at the first that fails.
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub http: HttpRequest,
    /// From intended time to last byte.
    #[serde(with = "duration::micros")]
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Upper case, a token of RFC 9110.
    pub method: String,
    /// Starts with `/`; may hold a query.
    pub path: Template,
    pub headers: Vec<Header>,
    pub body: Option<Body>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    /// Sent as it is, `Content-Type: text/plain; charset=utf-8` unless a header says otherwise.
    Text(Template),
    /// Sent as compact JSON with sorted keys, `Content-Type: application/json` unless a header says otherwise.
    Json(JsonTemplate),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Load {
    /// So many users, each one iteration after the other.
    Closed { profile: Profile },
    /// So many iterations started per second, whether earlier ones have ended or not.
    #[serde(rename_all = "camelCase")]
    Open { profile: Profile, max_in_flight: u32, max_dropped: f64 },
}

impl Load {
    /// Levels over time: users (closed) or iterations per second (open).
    pub fn profile(&self) -> &Profile {
        match self {
            Load::Closed { profile } | Load::Open { profile, .. } => profile,
        }
    }
}

/// A step with the names that lead to it; its place in [`Plan::steps`] is its number everywhere statistics are kept.
#[derive(Debug, Clone, Copy)]
pub struct StepPlace<'a> {
    pub scenario: &'a Scenario,
    pub task: &'a Task,
    pub step: &'a Step,
}

impl Plan {
    /// All steps in the order of the file.
    pub fn steps(&self) -> impl Iterator<Item = StepPlace<'_>> {
        steps_of(&self.scenarios)
    }

    /// Every Secret or ConfigMap key the test needs, in the order of the file.
    pub fn references(&self) -> Vec<&Reference> {
        let Target { url: _, headers: _, auth, tls: Tls { ca, client, server_name: _, insecure_skip_verify: _ } } = &self.target;
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
        all
    }
}

/// All steps in the order of the file.
pub fn steps_of(scenarios: &[Scenario]) -> impl Iterator<Item = StepPlace<'_>> {
    scenarios.iter().flat_map(|scenario| {
        scenario.tasks.iter().flat_map(move |task| task.steps.iter().map(move |step| StepPlace { scenario, task, step }))
    })
}
