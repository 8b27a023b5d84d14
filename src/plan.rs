//! The validated test that every role speaks: loose input has become strict types, every reference is named, every default is set.
//!
//! A plan travels as JSON (durations in microseconds). It holds no secret, only [`Reference`]s to them, and is immutable once a run has started.

pub mod duration;
mod load;
pub mod names;
pub mod profile;
pub mod reference;
mod scenario;
pub mod share;
mod target;
pub mod template;
pub mod threshold;
mod transport;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use load::Load;
pub use names::{Declared, Names, Slot};
pub use profile::{Profile, Stage};
pub use reference::{Inputs, Kind, Reference};
pub use scenario::{Body, HttpRequest, Scenario, Step, Task, ThinkTime};
pub use share::Share;
pub use target::{Auth, ClientCertificate, Header, Target, Tls};
pub use template::{JsonTemplate, Template};
pub use threshold::Threshold;
pub use transport::{Basic, Connections, Http, Proxy};

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
        all
    }
}

/// All steps in the order of the file.
pub fn steps_of(scenarios: &[Scenario]) -> impl Iterator<Item = StepPlace<'_>> {
    scenarios.iter().flat_map(|scenario| {
        scenario.tasks.iter().flat_map(move |task| task.steps.iter().map(move |step| StepPlace { scenario, task, step }))
    })
}
