//! A scenario made ready: its tasks and blocks as lists of operations, its requests by number.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::engine::answer::{Needs, PreparedRules};
use crate::engine::protocol::call::Call;
use crate::engine::protocol::http::request::Request;
use crate::plan::cel::CompiledCel;
use crate::plan::template::{Compiled, Need};
use crate::plan::{Goodput, OnFailure, Order, SetupValues, Slot, ThinkTime};

/// List of steps, carried out in order.
pub(crate) type Program = Box<[Op]>;

/// A step.
pub(crate) struct Op {
    /// Action of the step.
    pub(crate) act: Act,
    /// Consequence of its failure.
    pub(crate) on_failure: OnFailure,
    /// Conditions and repetitions, which only few steps have.
    pub(crate) flow: Option<Box<Flow>>,
}

/// Action of a step.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Sends a request, by place among [`Prepared::steps`](crate::engine::prepare::Prepared).
    Request(u16),
    /// Carries out a block, by place among the scenario's.
    Call(usize),
    /// Waits.
    Pause(ThinkTime),
}

/// Conditions under which a step is carried out, and how often.
pub(crate) struct Flow {
    /// Place in [`Plan::flows`](crate::plan::Plan::flows).
    pub(crate) place: u16,
    /// Carried out only if this holds.
    pub(crate) condition: Option<CompiledCel>,
    /// Repeated like this.
    pub(crate) repeat: Option<PreparedRepeat>,
    /// Carried out for each item of a list.
    pub(crate) for_each: Option<Each>,
}

/// Repetition of a step.
pub(crate) struct PreparedRepeat {
    /// Most times.
    pub(crate) count: u32,
    /// Ends the repetition once it holds.
    pub(crate) until: Option<CompiledCel>,
    /// Pause between two times.
    pub(crate) every: Duration,
}

/// Repetition of a step for each item of a list.
pub(crate) struct Each {
    /// Renders a JSON array.
    pub(crate) items: Compiled,
    /// Slot of the item.
    pub(crate) slot: Slot,
}

/// A request with all that belongs to it.
pub(crate) struct PreparedStep {
    /// Call of its protocol.
    pub(crate) call: Call,
    /// Place among [`Targets::routes`](crate::engine::protocol::transport::Targets).
    pub(crate) route: usize,
    /// Longest time from its intended start to the last byte of its answer.
    pub(crate) timeout: Duration,
    /// Rows to take before it is rendered, for it and for its rules, each once.
    pub(crate) rows: Box<[Need]>,
    /// Checks, extracts and records; empty for most.
    pub(crate) rules: PreparedRules,
    /// Parts of an answer that are kept, for the rules and for the conditions of the scenario.
    pub(crate) needs: Needs,
    /// Limits that make one of its requests a good one.
    pub(crate) goodput: Option<Goodput>,
}

/// A scenario, ready to be carried out.
#[derive(Default)]
pub(crate) struct PreparedScenario {
    /// Pause after an iteration.
    pub(crate) think_time: Option<ThinkTime>,
    /// Time from the start of an iteration to the next.
    pub(crate) pacing: Option<Duration>,
    /// Steps that a user begins with.
    pub(crate) on_start: Program,
    /// Steps that a user ends with.
    pub(crate) on_stop: Program,
    /// Blocks that steps call.
    pub(crate) blocks: Vec<Program>,
    /// Order of tasks.
    pub(crate) order: Order,
    /// Tasks of an iteration.
    pub(crate) tasks: Vec<PreparedTask>,
    /// Sum of the tasks' weights.
    pub(crate) weight: u64,
    /// Slots that begin each iteration empty.
    pub(crate) of_iteration: Range<usize>,
}

/// A task of a scenario.
pub(crate) struct PreparedTask {
    /// Place in the plan's list of tasks.
    pub(crate) place: u16,
    /// Sum of the weights up to and with this task.
    pub(crate) until: u64,
    /// Steps of the task.
    pub(crate) program: Program,
}

impl PreparedScenario {
    /// Returns how long a user waits after an iteration that it began at `begun`.
    pub(crate) fn pause_after(
        &self,
        begun: Instant,
        random: impl FnMut() -> u64,
    ) -> Option<Duration> {
        match self.pacing {
            Some(pacing) => Some((begun + pacing).saturating_duration_since(Instant::now())),
            None => self.think_time.map(|think| think.draw(random)),
        }
    }

    /// The tasks of an iteration: one chosen by weight, or all.
    pub(crate) fn pick_tasks(&self, random: impl FnOnce() -> u64) -> &[PreparedTask] {
        if self.order == Order::Sequential || self.tasks.len() == 1 {
            return &self.tasks;
        }
        let at = ((u128::from(random()) * u128::from(self.weight)) >> 64) as u64;
        // `at` is below the weight, which is the last task's `until`
        let picked = self
            .tasks
            .iter()
            .position(|task| at < task.until)
            .unwrap_or(0);
        &self.tasks[picked..=picked]
    }
}

/// Question whether a target is ready, and the answers that mean so.
pub(crate) struct Readiness {
    /// Place among the targets.
    pub(crate) route: usize,
    /// Request that asks for it.
    pub(crate) request: Request,
    /// Statuses that mean ready.
    pub(crate) status: Vec<u16>,
    /// Longest wait for it.
    pub(crate) timeout: Duration,
}

/// Setup and teardown made ready: they are what a user does at its start and at its end.
#[derive(Default)]
pub(crate) struct PreparedOnce {
    /// The steps of both.
    pub(crate) steps: PreparedScenario,
    /// Values that setup takes out of answers, and where templates look for it.
    pub(crate) names: Vec<(String, Slot)>,
}

/// Values that setup found, as the templates of a load see them.
#[derive(Default)]
pub(crate) struct SetupSlots {
    /// Values by slot, as far as the last that setup sets.
    values: Vec<Option<serde_json::Value>>,
}

impl PreparedOnce {
    /// Puts the values that setup found where templates look for them.
    pub(crate) fn slots(&self, found: &SetupValues) -> SetupSlots {
        let slots = self
            .names
            .iter()
            .map(|(_, slot)| usize::from(*slot) + 1)
            .max()
            .unwrap_or(0);
        let mut values = vec![None; slots];
        for (name, slot) in &self.names {
            values[usize::from(*slot)] = found.get(name).cloned();
        }
        SetupSlots { values }
    }
}

impl SetupSlots {
    /// Returns what setup found for `slot`.
    pub(crate) fn value(&self, slot: Slot) -> Option<&serde_json::Value> {
        self.values.get(usize::from(slot))?.as_ref()
    }
}
