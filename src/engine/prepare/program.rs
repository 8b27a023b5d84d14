//! Compiled scenario: its tasks and blocks as lists of operations, its requests by number.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::engine::answer::{Needs, PreparedRules};
use crate::engine::prepare::secrecy::SecretSlots;
use crate::engine::protocol::Call;
use crate::engine::protocol::http::request::Request;
use crate::plan::cel::CompiledCel;
use crate::plan::template::{Compiled, Need};
use crate::plan::{Goodput, OnFailure, Order, SetupValues, Slot, ThinkTime};

/// List of steps, carried out in order.
pub(crate) type Program = Box<[Op]>;

/// Step of a program.
pub(crate) struct Op {
    /// Action of the step.
    pub(crate) act: Act,
    /// Consequence of a failure of the step.
    pub(crate) on_failure: OnFailure,
    /// Conditions and repetitions, which few steps have.
    pub(crate) flow: Option<Box<Flow>>,
}

/// Action that a step performs.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Sends the request at this position of [`Prepared::steps`](crate::engine::prepare::Prepared).
    Request(u16),
    /// Carries out the block at this position of the scenario's.
    Call(usize),
    /// Waits for a think time.
    Pause(ThinkTime),
}

/// Conditions and repetitions of a step.
pub(crate) struct Flow {
    /// Place in [`Plan::flows`](crate::plan::Plan::flows).
    pub(crate) place: u16,
    /// Condition under which the step is carried out.
    pub(crate) condition: Option<CompiledCel>,
    /// Repetition of the step.
    pub(crate) repeat: Option<PreparedRepeat>,
    /// List for each item of which the step is carried out.
    pub(crate) for_each: Option<Each>,
}

/// Repetition of a step.
pub(crate) struct PreparedRepeat {
    /// Most repetitions.
    pub(crate) count: u32,
    /// Condition that ends the repetition once it holds.
    pub(crate) until: Option<CompiledCel>,
    /// Pause between two repetitions.
    pub(crate) every: Duration,
}

/// Repetition of a step for each item of a list.
pub(crate) struct Each {
    /// Template of a JSON array, the items.
    pub(crate) items: Compiled,
    /// Slot that holds the current item.
    pub(crate) slot: Slot,
}

/// Compiled request of a step, with its rules and limits.
pub(crate) struct PreparedStep {
    /// Call of the step's protocol.
    pub(crate) call: Call,
    /// Position of the route in [`Targets::routes`](crate::engine::protocol::transport::Targets).
    pub(crate) route: usize,
    /// Longest time from the intended start of a request to the last byte of its answer.
    pub(crate) timeout: Duration,
    /// Feeder rows to take before the request is rendered, for it and its rules, each once.
    pub(crate) rows: Box<[Need]>,
    /// Checks, extracts and records; empty for most steps.
    pub(crate) rules: PreparedRules,
    /// Parts of an answer to keep, for the rules and for the scenario's conditions.
    pub(crate) needs: Needs,
    /// Slots of the scenario whose values no message may show.
    pub(crate) secrets: SecretSlots,
    /// Limits within which a request counts as good.
    pub(crate) goodput: Option<Goodput>,
}

/// Compiled scenario.
#[derive(Default)]
pub(crate) struct PreparedScenario {
    /// Pause after an iteration.
    pub(crate) think_time: Option<ThinkTime>,
    /// Time from the start of an iteration to the next.
    pub(crate) pacing: Option<Duration>,
    /// Steps at the start of a user.
    pub(crate) on_start: Program,
    /// Steps at the end of a user.
    pub(crate) on_stop: Program,
    /// Blocks that steps call.
    pub(crate) blocks: Vec<Program>,
    /// Order of tasks.
    pub(crate) order: Order,
    /// Tasks of an iteration.
    pub(crate) tasks: Vec<PreparedTask>,
    /// Sum of the tasks' weights.
    pub(crate) weight: u64,
    /// Slots that are emptied at the start of each iteration.
    pub(crate) of_iteration: Range<usize>,
}

/// Compiled task of a scenario.
pub(crate) struct PreparedTask {
    /// Place in the plan's list of tasks.
    pub(crate) place: u16,
    /// Sum of the weights of all tasks up to and including this one.
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

    /// Returns the tasks of an iteration: one chosen by weight, or all.
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

/// Request that finds out whether a target is ready.
pub(crate) struct Readiness {
    /// Place among the targets.
    pub(crate) route: usize,
    /// Request to send.
    pub(crate) request: Request,
    /// Statuses of the answer that mean ready.
    pub(crate) status: Vec<u16>,
    /// Longest time to wait until the target is ready.
    pub(crate) timeout: Duration,
}

/// Compiled setup and teardown, as the steps at the start and end of a user.
#[derive(Default)]
pub(crate) struct PreparedOnce {
    /// Scenario whose `on_start` is setup and whose `on_stop` is teardown.
    pub(crate) steps: PreparedScenario,
    /// Names of the values that setup extracts, with the slots from which templates read them.
    pub(crate) names: Vec<(String, Slot)>,
}

/// Values that setup found, by slot.
#[derive(Default)]
pub(crate) struct SetupSlots {
    /// Values by slot, up to the last one that setup sets.
    values: Vec<Option<serde_json::Value>>,
}

impl PreparedOnce {
    /// Puts the values that setup found into their slots.
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
    /// Returns the value that setup found for `slot`.
    pub(crate) fn value(&self, slot: Slot) -> Option<&serde_json::Value> {
        self.values.get(usize::from(slot))?.as_ref()
    }
}
