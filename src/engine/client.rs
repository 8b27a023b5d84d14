//! One user or slot: carries out iterations on its own connection and records what comes of each request.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::connection::Failure;
use super::deadline::Deadline;
use super::prepare::{PreparedScenario, PreparedStep};
use super::recorder::{Iteration, Part, Sample};
use super::request::Scratch;
use super::response::Response;
use super::shard::Shard;
use super::transport::{Flight, Link, Outgoing, Phases};
use crate::plan::template::{Scope, Unrendered};
use crate::plan::{Computed, Slot};
use crate::stats::ErrorClass;

/// How an iteration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Each step got an answer, even if the last one was a failure.
    Answered,
    /// A request got no whole answer: the target may be down, and asking at once again would only burn CPU.
    Unanswered,
}

pub(super) struct Client {
    shard: Rc<Shard>,
    link: Link,
    deadline: Deadline,
    scratch: Scratch,
    scope: UserScope,
    /// That of the iteration under way.
    part: Part,
}

struct UserScope {
    shard: Rc<Shard>,
    user: u64,
    iteration: u64,
    /// By slot; empty in tests that compute none.
    values: Vec<Option<Value>>,
}

impl Scope for UserScope {
    fn user(&self) -> u64 {
        self.user
    }
    fn iteration(&self) -> u64 {
        self.iteration
    }
    fn worker(&self) -> u32 {
        self.shard.slice.share.worker
    }
    fn random(&mut self) -> u64 {
        self.shard.random()
    }
    fn sequence(&mut self) -> u64 {
        self.shard.sequence()
    }
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
    fn value(&self, slot: Slot) -> Option<&Value> {
        self.values.get(usize::from(slot))?.as_ref()
    }
    fn batch(&self, _slot: Slot, _count: u32) -> Option<&Value> {
        None
    }
}

impl UserScope {
    /// Makes the variables that hold for one iteration. One that cannot be made is not set: the step that names it fails.
    fn begin_iteration(&mut self) {
        let shard = self.shard.clone();
        for Computed { slot, template } in &shard.prepared.computed {
            self.values[usize::from(*slot)] = template.value(self).ok();
        }
    }
}

impl Client {
    /// `user` is its number over the whole fleet.
    pub(super) fn new(shard: Rc<Shard>, user: u64) -> Self {
        let values = if shard.prepared.computed.is_empty() { 0 } else { usize::from(shard.prepared.plan.variables.slots()) };
        let scope = UserScope { shard: shard.clone(), user, iteration: 0, values: vec![None; values] };
        Self { shard, link: Link::new(0), deadline: Deadline::default(), scratch: Scratch::default(), scope, part: Part::Measured }
    }

    /// One task with its steps, begun `now`. `intended` is when it should have begun, where that was planned.
    pub(super) async fn iterate(&mut self, scenario: &PreparedScenario, now: Instant, intended: Option<Instant>) -> End {
        let shard = self.shard.clone();
        self.scope.begin_iteration();
        self.part = shard.part(intended.unwrap_or(now));
        let lag = intended.map(|intended| now.saturating_duration_since(intended));
        shard.recorder.borrow_mut().iteration_started(now, lag, self.part);
        let task = scenario.pick_task(|| shard.random());
        // the first step's time is the iteration's, every other's is the end of the one before
        let begun = intended.unwrap_or(now);
        let (mut intended, mut now) = (begun, now);
        let mut end = End::Answered;
        let mut failed = false;
        for number in task.steps.clone() {
            let (ended, failure) = self.step(number, intended, now).await;
            (intended, now) = (ended, ended);
            if let Some(class) = failure {
                let answered = matches!(class, ErrorClass::Status | ErrorClass::Throttled | ErrorClass::Unavailable | ErrorClass::Timeout);
                failed = true;
                end = if answered { End::Answered } else { End::Unanswered };
                break;
            }
        }
        let duration = now.saturating_duration_since(begun);
        shard.recorder.borrow_mut().iteration_finished(Iteration { task: task.place, part: self.part, duration, failed });
        self.scope.iteration += 1;
        end
    }

    /// One request, recorded. When it ended, and the class of its failure.
    async fn step(&mut self, number: u16, intended: Instant, now: Instant) -> (Instant, Option<ErrorClass>) {
        let Self { shard, link, deadline, scratch, scope, part } = self;
        let step: &PreparedStep = &shard.prepared.steps[usize::from(number)];
        let bytes = match step.request.render(scope, scratch) {
            Ok(bytes) => bytes,
            Err(why) => return (unrendered(shard, number, *part, intended, why), Some(ErrorClass::Template)),
        };
        let request = Outgoing { bytes, is_head: step.request.is_head, http2: step.request.http2() };
        let flight = Flight::new(shard, now);
        let outcome = match deadline.bound(intended + step.timeout, link.exchange(request, &flight)).await {
            Some(outcome) => outcome,
            None if flight.written.get() > 0 => Err(Failure::Timeout),
            None => Err(Failure::TimeoutBeforeSent),
        };

        let ended = Instant::now();
        let Response { status, received, .. } = link.response;
        let class = match &outcome {
            Err(failure) => Some(failure.class()),
            Ok(()) => (status >= 400).then(|| ErrorClass::of_status(status)),
        };
        let sample = Sample {
            step: number,
            part: *part,
            ended,
            latency: ended.saturating_duration_since(intended),
            service_time: ended.saturating_duration_since(flight.began.get()),
            phases: flight.finish(ended, received),
            // a status whose body never came whole is not an answer
            status: if outcome.is_ok() { status } else { 0 },
            failure: class,
            sent: flight.written.get() > 0,
            sent_bytes: flight.written.get() as u64,
            received_bytes: received,
            checks_passed: 0,
            checks_failed: 0,
        };
        shard.recorder.borrow_mut().record(sample, || describe(&outcome, &link.response));
        (ended, class)
    }
}

/// Records a request that could not be put together. Returns when that was.
fn unrendered(shard: &Shard, number: u16, part: Part, intended: Instant, why: Unrendered) -> Instant {
    let ended = Instant::now();
    let sample = Sample {
        step: number,
        part,
        ended,
        latency: ended.saturating_duration_since(intended),
        service_time: Duration::ZERO,
        phases: Phases::default(),
        status: 0,
        failure: Some(ErrorClass::Template),
        sent: false,
        sent_bytes: 0,
        received_bytes: 0,
        checks_passed: 0,
        checks_failed: 0,
    };
    shard.recorder.borrow_mut().record(sample, || why.to_string());
    ended
}

/// The sample of a failure. Neither the request nor the answer's body is in it: either may hold credentials.
fn describe(outcome: &Result<(), Failure>, response: &Response) -> String {
    if let Err(failure) = outcome {
        return failure.to_string();
    }
    let status = response.status;
    let reason = http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("unknown status");
    match &response.retry_after {
        Some(after) => format!("{status} {reason}, Retry-After: {after}"),
        None => format!("{status} {reason}"),
    }
}
