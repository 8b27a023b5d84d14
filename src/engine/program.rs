//! A scenario made ready: its tasks and blocks as lists of operations, its requests by number.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::answer::{Needs, PreparedRules};
use super::capture::Wanted;
use super::grpc::GrpcCall;
use super::recorder::Part;
use super::request::Request;
use crate::plan::cel::CompiledCel;
use crate::plan::template::{Compiled, Need};
use crate::plan::{Goodput, HttpStream, OnFailure, Order, Retry, Slot, ThinkTime};

/// Carried out in order.
pub(super) type Program = Box<[Op]>;

/// A step.
pub(super) struct Op {
    pub(super) act: Act,
    pub(super) on_failure: OnFailure,
    /// What only few steps have.
    pub(super) flow: Option<Box<Flow>>,
}

#[derive(Clone, Copy)]
pub(super) enum Act {
    /// By place among [`Prepared::steps`](super::prepare::Prepared).
    Request(u16),
    /// By place among the scenario's blocks.
    Call(usize),
    Pause(ThinkTime),
}

/// When, and how often.
pub(super) struct Flow {
    /// Place in [`Plan::flows`](crate::plan::Plan::flows).
    pub(super) place: u16,
    pub(super) condition: Option<CompiledCel>,
    pub(super) repeat: Option<PreparedRepeat>,
    pub(super) for_each: Option<Each>,
}

pub(super) struct PreparedRepeat {
    pub(super) count: u32,
    pub(super) until: Option<CompiledCel>,
    pub(super) every: Duration,
}

pub(super) struct Each {
    /// Renders a JSON array.
    pub(super) items: Compiled,
    pub(super) slot: Slot,
}

/// A request with all that belongs to it.
pub(super) struct PreparedStep {
    pub(super) call: PreparedCall,
    /// Place among [`Prepared::routes`](super::prepare::Prepared).
    pub(super) route: usize,
    pub(super) timeout: Duration,
    /// To take before it is rendered, for it and for its rules, each once.
    pub(super) rows: Box<[Need]>,
    /// Empty for most.
    pub(super) rules: PreparedRules,
    /// What of an answer is kept, for the rules and for the conditions of the scenario.
    pub(super) needs: Needs,
    /// What makes one of its requests a good one.
    pub(super) goodput: Option<Goodput>,
}

impl PreparedStep {
    /// What of an answer is kept, whatever the protocol.
    pub(super) fn wanted(&self, is_sampled: bool) -> Wanted {
        // the head says how the events of a stream are encoded
        let stream = matches!(
            &self.call,
            PreparedCall::Http(HttpCall {
                stream: Some(_),
                ..
            })
        );
        let Needs { head, body } = self.needs;
        Wanted {
            head: head || stream || is_sampled,
            body: body || is_sampled,
            stream,
            ..Wanted::default()
        }
    }
}

/// By protocol.
pub(super) enum PreparedCall {
    Http(HttpCall),
    Grpc(GrpcCall),
}

impl PreparedCall {
    /// The part of the run to which it belongs, being made in `part`.
    pub(super) fn part(&self, part: Part, failed: bool) -> Part {
        match self {
            Self::Http(_) => part,
            Self::Grpc(call) => call.part(part, failed),
        }
    }
}

pub(super) struct HttpCall {
    pub(super) request: Request,
    pub(super) follow_redirects: u32,
    pub(super) retry: Option<Retry>,
    pub(super) stream: Option<HttpStream>,
}

#[derive(Default)]
pub(super) struct PreparedScenario {
    pub(super) think_time: Option<ThinkTime>,
    pub(super) pacing: Option<Duration>,
    pub(super) on_start: Program,
    pub(super) on_stop: Program,
    pub(super) blocks: Vec<Program>,
    pub(super) order: Order,
    pub(super) tasks: Vec<PreparedTask>,
    /// Sum of the tasks' weights.
    pub(super) weight: u64,
    /// Slots that begin each iteration empty.
    pub(super) of_iteration: Range<usize>,
}

pub(super) struct PreparedTask {
    /// In the plan's list of tasks.
    pub(super) place: u16,
    /// Sum of the weights up to and with this task.
    pub(super) until: u64,
    pub(super) program: Program,
}

impl PreparedScenario {
    /// What a user waits after an iteration that it began at `begun`.
    pub(super) fn pause_after(
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
    pub(super) fn pick_tasks(&self, random: impl FnOnce() -> u64) -> &[PreparedTask] {
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
