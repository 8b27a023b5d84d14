//! A scenario made ready: its tasks and blocks as lists of operations, its requests by number.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::engine::answer::capture::Wanted;
use crate::engine::answer::{Needs, PreparedRules};
use crate::engine::protocol::grpc::GrpcCall;
use crate::engine::protocol::http::request::Request;
use crate::engine::record::recorder::Part;
use crate::plan::cel::CompiledCel;
use crate::plan::template::{Compiled, Need};
use crate::plan::{Goodput, HttpStream, OnFailure, Order, Retry, Slot, ThinkTime};

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
    pub(crate) call: PreparedCall,
    /// Place among [`Prepared::routes`](crate::engine::prepare::Prepared).
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

impl PreparedStep {
    /// What of an answer is kept, whatever the protocol.
    pub(crate) fn wanted(&self, is_sampled: bool) -> Wanted {
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
pub(crate) enum PreparedCall {
    Http(HttpCall),
    Grpc(GrpcCall),
}

impl PreparedCall {
    /// The part of the run to which it belongs, being made in `part`.
    pub(crate) fn part(&self, part: Part, failed: bool) -> Part {
        match self {
            Self::Http(_) => part,
            Self::Grpc(call) => call.part(part, failed),
        }
    }
}

pub(crate) struct HttpCall {
    pub(crate) request: Request,
    pub(crate) follow_redirects: u32,
    pub(crate) retry: Option<Retry>,
    pub(crate) stream: Option<HttpStream>,
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
