//! What the users do: scenarios, tasks, steps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::target::Header;
use super::{JsonTemplate, Template, ThinkTime, duration};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    pub name: String,
    /// Share of the users or arrivals, relative to the other scenarios of its population; the sum over all is positive, unless each has
    /// `fixed_users`.
    pub weight: u32,
    /// So many users play it before any are dealt out by weight, of which it then gets none; never set in open load.
    pub fixed_users: Option<u32>,
    /// Pause between two iterations of a user; never set in open load.
    pub think_time: Option<ThinkTime>,
    /// An iteration begins at the earliest so long after the beginning of the user's last; never set in open load.
    #[serde(with = "duration::optional_micros")]
    pub pacing: Option<Duration>,
    /// Never empty; one is chosen by weight for each iteration.
    pub tasks: Vec<Task>,
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
