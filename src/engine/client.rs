//! One user or slot: carries out iterations on its own connection and records what comes of each request.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use futures::future::poll_fn;

use super::connection::{Connection, Failure};
use super::deadline::Deadline;
use super::prepare::{PreparedScenario, PreparedStep};
use super::recorder::Sample;
use super::request::Scratch;
use super::shard::Shard;
use crate::plan::template::Scope;
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
    connection: Option<Connection>,
    deadline: Deadline,
    scratch: Scratch,
    scope: UserScope,
}

struct UserScope {
    shard: Rc<Shard>,
    user: u64,
    iteration: u64,
}

impl Scope for UserScope {
    fn user(&self) -> u64 {
        self.user
    }
    fn iteration(&self) -> u64 {
        self.iteration
    }
    fn random(&mut self) -> u64 {
        self.shard.random()
    }
}

/// A request under way. Dropped before it is done (the run was cut), it counts as interrupted if a byte of it was written.
struct Flight<'a> {
    shard: &'a Shard,
    /// First byte written, as near as matters: set when the request is about to be.
    began: Cell<Instant>,
    written: Cell<usize>,
    done: Cell<bool>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.done.get() && self.written.get() > 0 {
            self.shard.recorder.borrow_mut().interrupted();
        }
    }
}

impl Client {
    /// `user` is its number over the whole fleet.
    pub(super) fn new(shard: Rc<Shard>, user: u64) -> Self {
        let scope = UserScope { shard: shard.clone(), user, iteration: 0 };
        Self { shard, connection: None, deadline: Deadline::default(), scratch: Scratch::default(), scope }
    }

    /// One task with its steps, begun `now`. `intended` is when it should have begun, where that was planned.
    pub(super) async fn iterate(&mut self, scenario: &PreparedScenario, now: Instant, intended: Option<Instant>) -> End {
        let shard = self.shard.clone();
        shard.recorder.borrow_mut().iteration_started(now, intended.map(|intended| now.saturating_duration_since(intended)));
        let task = scenario.pick_task(|| shard.random());
        // the first step's time is the iteration's, every other's is the end of the one before
        let (mut intended, mut now) = (intended.unwrap_or(now), now);
        let mut end = End::Answered;
        for number in task.clone() {
            let (ended, failure) = self.step(number, intended, now).await;
            (intended, now) = (ended, ended);
            if let Some(class) = failure {
                let answered = matches!(class, ErrorClass::Status | ErrorClass::Throttled | ErrorClass::Unavailable | ErrorClass::Timeout);
                end = if answered { End::Answered } else { End::Unanswered };
                break;
            }
        }
        shard.recorder.borrow_mut().iteration_finished();
        self.scope.iteration += 1;
        end
    }

    /// One request, recorded. When it ended, and the class of its failure.
    async fn step(&mut self, number: u16, intended: Instant, now: Instant) -> (Instant, Option<ErrorClass>) {
        let Self { shard, connection, deadline, scratch, scope } = self;
        let step: &PreparedStep = &shard.prepared.steps[usize::from(number)];
        let request = step.request.render(scope, scratch);
        let flight = Flight { shard, began: Cell::new(now), written: Cell::new(0), done: Cell::new(false) };
        let attempt = attempt(shard, connection, request, step.request.is_head, &flight);
        let outcome = match deadline.bound(intended + step.timeout, attempt).await {
            Some(outcome) => outcome,
            None if flight.written.get() > 0 => Err(Failure::Timeout),
            None => Err(Failure::TimeoutBeforeSent),
        };
        flight.done.set(true);

        let ended = Instant::now();
        let (status, received_bytes) = connection.as_ref().map_or((0, 0), |open| (open.response.status, open.response.received));
        let class = match &outcome {
            Err(failure) => Some(failure.class()),
            Ok(()) => (status >= 400).then(|| ErrorClass::of_status(status)),
        };
        let sample = Sample {
            step: number,
            ended,
            latency: ended.saturating_duration_since(intended),
            service_time: ended.saturating_duration_since(flight.began.get()),
            // a status whose body never came whole is not an answer
            status: if outcome.is_ok() { status } else { 0 },
            failure: class,
            sent: flight.written.get() > 0,
            sent_bytes: flight.written.get() as u64,
            received_bytes: if flight.written.get() > 0 { received_bytes } else { 0 },
        };
        shard.recorder.borrow_mut().record(sample, || describe(&outcome, connection.as_ref()));
        let keep = outcome.is_ok() && connection.as_mut().is_some_and(|open| open.may_go_on(request));
        if !keep {
            *connection = None;
        }
        (ended, class)
    }
}

/// The sample of a failure. Neither the request nor the answer's body is in it: either may hold credentials.
fn describe(outcome: &Result<(), Failure>, connection: Option<&Connection>) -> String {
    match (outcome, connection) {
        (Err(failure), _) => failure.to_string(),
        (Ok(()), None) => String::new(),
        (Ok(()), Some(open)) => {
            let status = open.response.status;
            let reason = http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("unknown status");
            match &open.response.retry_after {
                Some(after) => format!("{status} {reason}, Retry-After: {after}"),
                None => format!("{status} {reason}"),
            }
        }
    }
}

/// Sends `request` on the open connection, or on a new one if there is none that still lives.
async fn attempt(
    shard: &Shard,
    connection: &mut Option<Connection>,
    request: &[u8],
    is_head: bool,
    flight: &Flight<'_>,
) -> Result<(), Failure> {
    if let Some(open) = connection
        && poll_fn(|cx| Poll::Ready(open.has_ended(cx))).await
    {
        *connection = None;
    }
    let open = match connection {
        Some(open) => open,
        None => {
            let open = connection.insert(shard.connect().await?);
            flight.began.set(Instant::now());
            open
        }
    };
    open.begin(is_head);
    poll_fn(|cx| {
        let outcome = open.poll_exchange(cx, request, &mut shard.buffer.borrow_mut());
        flight.written.set(open.written);
        outcome
    })
    .await
}
