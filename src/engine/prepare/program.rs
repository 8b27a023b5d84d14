//! A scenario made ready: its tasks and blocks as lists of operations, its requests by number.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::engine::answer::{Needs, PreparedRules};
use crate::engine::protocol::call::Call;
use crate::engine::protocol::http::request::Request;
use crate::plan::cel::CompiledCel;
use crate::plan::template::{Compiled, Need};
use crate::plan::{Goodput, OnFailure, Order, SetupValues, Slot, ThinkTime};

/// Carried out in order.
pub(crate) type Program = Box<[Op]>;

/// A step.
pub(crate) struct Op {
    pub(crate) act: Act,
    pub(crate) on_failure: OnFailure,
    /// What only few steps have.
    pub(crate) flow: Option<Box<Flow>>,
}

#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// By place among [`Prepared::steps`](crate::engine::prepare::Prepared).
    Request(u16),
    /// By place among the scenario's blocks.
    Call(usize),
    Pause(ThinkTime),
}

/// When, and how often.
pub(crate) struct Flow {
    /// Place in [`Plan::flows`](crate::plan::Plan::flows).
    pub(crate) place: u16,
    pub(crate) condition: Option<CompiledCel>,
    pub(crate) repeat: Option<PreparedRepeat>,
    pub(crate) for_each: Option<Each>,
}

pub(crate) struct PreparedRepeat {
    pub(crate) count: u32,
    pub(crate) until: Option<CompiledCel>,
    pub(crate) every: Duration,
}

pub(crate) struct Each {
    /// Renders a JSON array.
    pub(crate) items: Compiled,
    pub(crate) slot: Slot,
}

/// A request with all that belongs to it.
pub(crate) struct PreparedStep {
    pub(crate) call: Call,
    /// Place among [`Targets::routes`](crate::engine::protocol::transport::Targets).
    pub(crate) route: usize,
    pub(crate) timeout: Duration,
    /// To take before it is rendered, for it and for its rules, each once.
    pub(crate) rows: Box<[Need]>,
    /// Empty for most.
    pub(crate) rules: PreparedRules,
    /// What of an answer is kept, for the rules and for the conditions of the scenario.
    pub(crate) needs: Needs,
    /// What makes one of its requests a good one.
    pub(crate) goodput: Option<Goodput>,
}

#[derive(Default)]
pub(crate) struct PreparedScenario {
    pub(crate) think_time: Option<ThinkTime>,
    pub(crate) pacing: Option<Duration>,
    pub(crate) on_start: Program,
    pub(crate) on_stop: Program,
    pub(crate) blocks: Vec<Program>,
    pub(crate) order: Order,
    pub(crate) tasks: Vec<PreparedTask>,
    /// Sum of the tasks' weights.
    pub(crate) weight: u64,
    /// Slots that begin each iteration empty.
    pub(crate) of_iteration: Range<usize>,
}

pub(crate) struct PreparedTask {
    /// In the plan's list of tasks.
    pub(crate) place: u16,
    /// Sum of the weights up to and with this task.
    pub(crate) until: u64,
    pub(crate) program: Program,
}

impl PreparedScenario {
    /// What a user waits after an iteration that it began at `begun`.
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

/// What a target answers when it is ready.
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
    /// What setup takes out of answers, and where templates look for it.
    pub(crate) names: Vec<(String, Slot)>,
}

/// Values that setup found, as the templates of a load see them.
#[derive(Default)]
pub(crate) struct SetupSlots {
    /// By slot, as far as the last that setup sets.
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
