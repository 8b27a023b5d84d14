//! What the users do: scenarios, tasks, steps.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::feeder::Data;
use super::stream::{Goodput, HttpStream, StreamKind};
use super::target::Header;
use super::{
    Cel, Check, Extract, GrpcStep, JsonTemplate, Record, Section, StepPlace, Template, ThinkTime,
    duration,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    pub name: String,
    /// Share of the users or arrivals, relative to the other scenarios of its population; the sum
    /// over all is positive, unless each has `fixed_users`.
    pub weight: u32,
    /// So many users play it before any are dealt out by weight, of which it then gets none; never
    /// set in open load.
    pub fixed_users: Option<u32>,
    /// Pause between two iterations of a user; never set in open load.
    pub think_time: Option<ThinkTime>,
    /// An iteration begins at the earliest so long after the beginning of the user's last; never
    /// set in open load.
    #[serde(with = "duration::optional_micros")]
    pub pacing: Option<Duration>,
    /// Never empty; one is chosen by weight for each iteration.
    pub tasks: Vec<Task>,
    pub order: Order,
    pub on_start: Vec<Step>,
    pub on_stop: Vec<Step>,
    pub blocks: Vec<Block>,
}

impl Scenario {
    /// All its requests in the order of [`Self::sections`].
    pub fn steps(&self) -> impl Iterator<Item = StepPlace<'_>> {
        self.sections()
            .flat_map(|(scenario, task, section, steps)| requests(scenario, task, section, steps))
    }

    /// Its lists of steps in the order of the file, each with the scenario's name and its own.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &str, Section, &[Step])> {
        let name = self.name.as_str();
        let tasks = self.tasks.iter().enumerate().map(move |(i, task)| {
            (
                name,
                task.name.as_str(),
                Section::Task(i),
                task.steps.as_slice(),
            )
        });
        let blocks = self.blocks.iter().enumerate().map(move |(i, block)| {
            (
                name,
                block.name.as_str(),
                Section::Block(i),
                block.steps.as_slice(),
            )
        });
        std::iter::once((name, "onStart", Section::OnStart, self.on_start.as_slice()))
            .chain(std::iter::once((
                name,
                "onStop",
                Section::OnStop,
                self.on_stop.as_slice(),
            )))
            .chain(tasks)
            .chain(blocks)
    }
}

/// Those among `steps` that are one.
pub(super) fn requests<'a>(
    scenario: &'a str,
    task: &'a str,
    section: Section,
    steps: &'a [Step],
) -> impl Iterator<Item = StepPlace<'a>> {
    steps.iter().filter_map(move |step| match &step.action {
        Action::Request(step) => Some(StepPlace {
            scenario,
            task,
            section,
            step,
        }),
        Action::Call(_) | Action::Pause(_) => None,
    })
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub name: String,
    pub weight: u32,
    /// Never empty; carried out in order.
    pub steps: Vec<Step>,
}

/// Steps under a name, carried out where a step calls it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub name: String,
    pub steps: Vec<Step>,
}

/// Tasks that make an iteration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Order {
    /// One task, chosen by weight.
    #[default]
    Weighted,
    /// All tasks, each once, in the order of the file; their weights are ignored.
    Sequential,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The step is left out unless this is true.
    #[serde(rename = "if")]
    pub condition: Option<Cel>,
    pub repeat: Option<Repeat>,
    pub for_each: Option<ForEach>,
    pub on_failure: OnFailure,
    pub action: Action,
}

impl Step {
    /// It says when or how often it is carried out.
    pub fn has_flow(&self) -> bool {
        self.condition.is_some() || self.repeat.is_some() || self.for_each.is_some()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    Request(Box<RequestStep>),
    /// The name of a block of the same scenario.
    Call(String),
    Pause(ThinkTime),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeat {
    /// So many times, unless `until` is true sooner.
    pub count: u32,
    /// Looked at after each time; a step that is repeated to the end without it has failed.
    pub until: Option<Cel>,
    /// From the end of one time to the begin of the next.
    #[serde(with = "duration::micros")]
    pub every: Duration,
}

/// Once for each item of an array, which is known under a name meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForEach {
    pub items: JsonTemplate,
    pub name: String,
}

/// Consequence of a failed step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// The next step follows.
    Continue,
    /// The iteration ends.
    #[default]
    AbortTask,
    /// The iteration ends, and with it the user; in open load only the iteration.
    StopUser,
}

/// One request, whose samples are kept under `name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestStep {
    pub name: String,
    /// Chosen by thresholds and by the command line.
    pub tags: BTreeMap<String, String>,
    /// From intended time to last byte.
    #[serde(with = "duration::micros")]
    pub timeout: Duration,
    pub checks: Vec<Check>,
    pub extract: Vec<Extract>,
    /// Never of `onStart` and `onStop`, which are in no results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub record: Vec<Record>,
    /// Place among [`Plan::all_targets`](super::Plan::all_targets).
    #[serde(default)]
    pub target: usize,
    /// Limits that make a request a good one.
    #[serde(default)]
    pub goodput: Option<Goodput>,
    pub call: Protocol,
}

/// What is asked, in the words of its protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    Http(HttpStep),
    Grpc(GrpcStep),
}

impl Protocol {
    /// What its messages are, where there may be several of them.
    pub fn stream_kind(&self) -> Option<StreamKind> {
        match self {
            Self::Http(http) => http.stream.as_ref().map(HttpStream::kind),
            // only the method's descriptor tells whether there are several
            Self::Grpc(_) => Some(StreamKind::Messages),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpStep {
    pub request: HttpRequest,
    /// Redirects followed at most.
    pub follow_redirects: u32,
    pub retry: Option<Retry>,
    /// The answer is read event by event.
    #[serde(default)]
    pub stream: Option<HttpStream>,
}

/// Failure after which an HTTP request may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetryOn {
    /// No connection came about, so nothing was sent.
    Connect,
    /// The connection broke, or a kept-alive one had ended.
    Reset,
    /// Status 429.
    Throttled,
    /// Status 503.
    Unavailable,
    /// Status 500 and above.
    ServerError,
}

/// Tries again what failed; the whole is one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first.
    pub max: u32,
    /// Classes that are tried again.
    pub on: Vec<RetryOn>,
    /// Before the second try; doubles with each.
    #[serde(with = "duration::micros")]
    pub backoff: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Upper case, a token of RFC 9110.
    pub method: String,
    /// Starts with `/`; may hold a query.
    pub path: Template,
    /// Added to the path's query, in this order.
    pub query: Vec<Field>,
    pub headers: Vec<Header>,
    pub body: Option<Body>,
}

/// A name as it is, and a value that is a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    pub value: Template,
}

/// `Content-Type` is what each says unless a header says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    /// Sent as it is, `text/plain; charset=utf-8`.
    Text(Template),
    /// Sent as compact JSON with sorted keys, `application/json`.
    Json(JsonTemplate),
    /// These bytes, `application/octet-stream`.
    File(Data),
    /// `application/x-www-form-urlencoded`
    Form(Vec<Field>),
    /// `multipart/form-data`
    Multipart(Vec<Part>),
}

impl Body {
    /// What of it is content of keys and files, each with its field of the request.
    pub fn data(&self) -> Vec<(String, &Data)> {
        match self {
            Body::File(data) => vec![("bodyFrom".to_owned(), data)],
            Body::Multipart(parts) => {
                let files = parts
                    .iter()
                    .enumerate()
                    .filter_map(|(i, part)| match &part.content {
                        PartContent::File(data) => {
                            Some((format!("multipart[{i}].valueFrom"), data))
                        }
                        PartContent::Text(_) => None,
                    });
                files.collect()
            }
            Body::Text(_) | Body::Json(_) | Body::Form(_) => vec![],
        }
    }
}

/// One part of a multipart body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub name: String,
    pub content: PartContent,
    pub file_name: Option<String>,
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartContent {
    Text(Template),
    File(Data),
}
