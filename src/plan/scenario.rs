//! Scenarios, tasks and steps: what the users do.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stream::Goodput;
use super::{
    Cel, Check, Extract, JsonTemplate, Protocol, Record, Section, StepPlace, ThinkTime, Written,
    duration,
};

/// Tasks of one kind of user, and how often they are carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Name in results, unique in the plan.
    pub name: String,
    /// Share of the users or arrivals, relative to the other scenarios of its population; the sum
    /// over all is positive, unless each has `fixed_users`.
    pub weight: u32,
    /// Number of users that play this scenario before any are dealt out by weight, of which it then
    /// gets none; never set in open load.
    pub fixed_users: Option<u32>,
    /// Pause between two iterations of a user; never set in open load.
    pub think_time: Option<ThinkTime>,
    /// Shortest time from the begin of one iteration of a user to that of the next; never set in
    /// open load.
    #[serde(with = "duration::optional_micros")]
    pub pacing: Option<Duration>,
    /// Never empty; `order` says which of them an iteration carries out.
    pub tasks: Vec<Task>,
    /// Choice of an iteration among the tasks.
    pub order: Order,
    /// Steps of each user before its first iteration.
    pub on_start: Vec<Step>,
    /// Steps of each user after its last iteration.
    pub on_stop: Vec<Step>,
    /// Named steps that other steps call.
    pub blocks: Vec<Block>,
    /// Form in which the author wrote it, which field paths follow.
    #[serde(default, skip_serializing_if = "Written::is_whole")]
    pub written: Written,
}

impl Scenario {
    /// All requests of the scenario, in the order of [`Self::sections`].
    pub fn steps(&self) -> impl Iterator<Item = StepPlace<'_>> {
        self.sections()
            .flat_map(|(scenario, task, section, steps)| requests(scenario, task, section, steps))
    }

    /// All lists of steps in the order of the file, each with the scenario's name and its own.
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

/// The steps among `steps` that are requests, with the names that lead to them.
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

/// Steps that make up an iteration, or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Name in results, unique in the scenario.
    pub name: String,
    /// Chance of being chosen, relative to the scenario's other tasks; ignored in sequential order.
    pub weight: u32,
    /// Never empty; carried out in order.
    pub steps: Vec<Step>,
}

/// Steps under a name, carried out where a step calls it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Name that callers use, unique in the scenario.
    pub name: String,
    /// Steps in order.
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

/// An action, with when and how often it is carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Condition without which the step is left out.
    #[serde(rename = "if")]
    pub condition: Option<Cel>,
    /// Repetition of the action; `None`: once.
    pub repeat: Option<Repeat>,
    /// List with an action for each item; `None`: once.
    pub for_each: Option<ForEach>,
    /// Consequence of a failure for the steps that follow.
    pub on_failure: OnFailure,
    /// Action of the step.
    pub action: Action,
    /// Number of this time, from 1, among the times that a repeated step is carried out, where each
    /// is a step of its own; `None` for any other step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<u32>,
}

/// Most times that a step is carried out as steps of their own.
pub const MAX_SEPARATE: u32 = 64;

/// Returns the steps with their places in the list as its author wrote it, in which the times that
/// a step is carried out are one.
pub fn written_places(steps: &[Step]) -> impl Iterator<Item = (usize, &Step)> {
    let mut written = 0;
    steps.iter().map(move |step| {
        written += usize::from(step.repetition.is_none_or(|nth| nth == 1));
        (written - 1, step)
    })
}

impl Step {
    /// Makes a step of each time that the request is carried out, called `NAME 1`, `NAME 2` and so
    /// on, with pauses as steps between them.
    pub fn separated(mut self) -> Vec<Self> {
        let Some(Repeat { count, every, .. }) = self.repeat.take() else {
            return vec![self];
        };
        let mut steps = Vec::new();
        for nth in 1..=count {
            let mut step = Self {
                repetition: Some(nth),
                ..self.clone()
            };
            if nth > 1 && !every.is_zero() {
                steps.push(Self {
                    action: Action::Pause(ThinkTime::constant(every)),
                    ..step.clone()
                });
            }
            if let Action::Request(request) = &mut step.action {
                request.name = format!("{} {nth}", request.name);
            }
            steps.push(step);
        }
        steps
    }

    /// Tells whether the step has a condition, a repetition or a list.
    pub fn has_flow(&self) -> bool {
        self.condition.is_some() || self.repeat.is_some() || self.for_each.is_some()
    }
}

/// Action of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Sends a request.
    Request(Box<RequestStep>),
    /// Carries out the block of that name in the same scenario.
    Call(String),
    /// Waits.
    Pause(ThinkTime),
}

/// Repetition of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeat {
    /// Most times, unless `until` is true sooner.
    pub count: u32,
    /// Condition evaluated after each time; a step that is repeated to the end without it has
    /// failed.
    pub until: Option<Cel>,
    /// Time from the end of one repetition to the begin of the next.
    #[serde(with = "duration::micros")]
    pub every: Duration,
}

/// Repetition of a step once for each item of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForEach {
    /// Array to go through, a template.
    pub items: JsonTemplate,
    /// Name of the current item in the step's templates.
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
    /// Name in results.
    pub name: String,
    /// Tags by which thresholds and the command line choose steps.
    pub tags: BTreeMap<String, String>,
    /// Longest time from the intended start to the last byte received; the request then fails with
    /// class `timeout`.
    #[serde(with = "duration::micros")]
    pub timeout: Duration,
    /// Conditions on the answer; the request fails if one is not met.
    pub checks: Vec<Check>,
    /// Values taken out of the answer for later steps.
    pub extract: Vec<Extract>,
    /// Numbers taken out of the answer for the statistics; never set in `onStart` and `onStop`,
    /// which are in no results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub record: Vec<Record>,
    /// Position in [`Plan::all_targets`](super::Plan::all_targets).
    #[serde(default)]
    pub target: usize,
    /// Limits within which a successful request counts as good.
    #[serde(default)]
    pub goodput: Option<Goodput>,
    /// The request in terms of its protocol.
    pub call: Protocol,
}
