//! One user or slot, which carries out iterations step by step, with its own channels to the
//! targets.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::coop::consume_budget;

use crate::engine::attempt::sample::Part;
use crate::engine::prepare::feeder::NoRow;
use crate::engine::prepare::program::{
    Act, Each, Flow, Op, PreparedRepeat, PreparedScenario, PreparedTask, Program,
};
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::closing::Closing;
use crate::engine::protocol::exchange::Scratch;
use crate::engine::protocol::http::cookies::Jar;
use crate::engine::record::recorder::{Dropped, Iteration};
use crate::engine::user::context::Context;
use crate::engine::user::deadline::Deadline;
use crate::engine::user::executor::{Executor, record_unsent};
use crate::engine::user::frame::Frame;
use crate::engine::user::sent::Answered;
use crate::engine::user::throttle::Throttle;
use crate::plan::cel::{CompiledCel, EvaluationError, Subject};
use crate::plan::feeder::OnExhausted;
use crate::plan::template::{Need, RenderError, Scope};
use crate::plan::{OnFailure, Order, Slot};
use crate::stats::ErrorClass;

/// End of an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Each step got an answer, even if the last one was a failure.
    Answered,
    /// A request got no whole answer: the target may be down, and asking again at once would only
    /// burn CPU.
    Unanswered,
    /// A step failed in a way that ends the user.
    UserOver,
}

/// One user or slot.
pub(crate) struct Client {
    context: Rc<Context>,
    /// Channels by route, opened on first use.
    channels: Vec<Channel>,
    deadline: Deadline,
    scratch: Scratch,
    frame: Frame,
    jar: Jar,
    answered: Option<Answered>,
    is_slot: bool,
    /// True once `onStart` was carried out.
    started: bool,
    /// True if the last failed request got no whole answer.
    unanswered: bool,
    throttle: Option<Rc<Throttle>>,
    /// End of the load of the user's cohort.
    closing: Rc<Closing>,
    /// True if the throttle's turn for the next request was taken before the iteration began.
    has_turn: bool,
}

/// Clock of an iteration.
#[derive(Clone, Copy)]
struct Clock {
    /// Time when the next step should begin: the arrival, then the end of the step before it and
    /// the pauses since.
    intended: Instant,
    now: Instant,
    part: Part,
}

/// Outcome of a list of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    /// A step failed, and the user ends.
    UserOver,
}

/// Reason why a condition or repetition of a step cannot be evaluated. No message holds a value.
#[derive(Debug, thiserror::Error)]
enum FlowError {
    #[error(transparent)]
    Evaluate(#[from] EvaluationError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("gives no list")]
    NoList,
    #[error("no row of a feeder is left for it")]
    NoRow(Outcome),
    #[error("did not become true in {0} times")]
    Never(u32),
}

impl Client {
    /// Creates a user of closed load; `user` is its number over the whole fleet.
    pub(crate) fn user(context: Rc<Context>, closing: Rc<Closing>, user: u64) -> Self {
        Self::new(context, closing, user, false)
    }

    /// Makes each request wait for its turn, except that the first of an iteration uses the turn of
    /// the iteration.
    pub(crate) fn throttled(self, throttle: Option<Rc<Throttle>>) -> Self {
        Self { throttle, ..self }
    }

    /// Creates a slot of open load: every iteration is a new visitor with no cookies and no
    /// variables of the one before.
    pub(crate) fn slot(context: Rc<Context>, closing: Rc<Closing>, slot: u64) -> Self {
        Self::new(context, closing, slot, true)
    }

    fn new(context: Rc<Context>, closing: Rc<Closing>, user: u64, is_slot: bool) -> Self {
        let routes = context.prepared.targets.routes.iter();
        Self {
            channels: routes.map(|_| Channel::default()).collect(),
            deadline: Deadline::default(),
            scratch: Scratch::default(),
            frame: Frame::new(context.clone(), user),
            jar: Jar::default(),
            answered: None,
            is_slot,
            started: false,
            unanswered: false,
            throttle: None,
            closing,
            has_turn: false,
            context,
        }
    }

    /// Carries out one iteration from `now` on, and returns how and when it ended. `intended` is
    /// its intended start, if there was one.
    pub(crate) async fn iterate(
        &mut self,
        scenario: &PreparedScenario,
        now: Instant,
        intended: Option<Instant>,
    ) -> (End, Instant) {
        self.unanswered = false;
        self.has_turn = true;
        if self.is_slot {
            // whoever arrives is somebody else
            self.jar.clear();
        }
        self.frame.begin_iteration(scenario);
        let now = if self.started || scenario.on_start.is_empty() {
            self.started = true;
            now
        } else {
            match Box::pin(self.start(scenario, now)).await {
                Outcome::Done => Instant::now(),
                failed => return (self.end(failed), Instant::now()),
            }
        };
        // what it sees are its own answers
        self.answered = None;
        let context = self.context.clone();
        let part = context.part(intended.unwrap_or(now));
        let tasks = scenario.pick_tasks(|| context.random());
        let now = match self.first_rows(tasks).await {
            Ok(true) => Instant::now(),
            Ok(false) => now,
            Err(none) => return (self.not_begun(none, part), Instant::now()),
        };
        context.recorder.borrow_mut().iteration_started(
            now,
            intended.map(|intended| now.saturating_duration_since(intended)),
            part,
        );
        let mut clock = Clock {
            intended: intended.unwrap_or(now),
            now,
            part,
        };
        let mut outcome = Outcome::Done;
        for task in tasks {
            let begun = clock.intended;
            outcome = self.run(scenario, &task.program, &mut clock).await;
            self.task_finished(task, outcome, begun, &clock);
            if outcome != Outcome::Done {
                break;
            }
        }
        self.frame.iteration += 1;
        // pauses move what is intended, steps without requests move nothing
        let ended = if clock.now > now {
            clock.now
        } else {
            Instant::now()
        };
        (self.end(outcome), ended)
    }

    /// Records a finished task; `begun` is its intended start.
    fn task_finished(&self, task: &PreparedTask, outcome: Outcome, begun: Instant, clock: &Clock) {
        let iteration = Iteration {
            task: task.place,
            part: clock.part,
            duration: clock.now.saturating_duration_since(begun),
            failed: outcome != Outcome::Done,
        };
        let mut recorder = self.context.recorder.borrow_mut();
        recorder.iteration_finished(iteration);
    }

    /// Takes the rows that the iteration's first step reads, and returns whether it waited for
    /// them.
    async fn first_rows(&mut self, tasks: &[PreparedTask]) -> Result<bool, NoRow> {
        let first = tasks.first().and_then(|task| task.program.first());
        match first {
            Some(Op {
                act: Act::Request(number),
                flow: None,
                ..
            }) => {
                self.frame
                    .take_rows(
                        &self.context.prepared.steps[usize::from(*number)].rows,
                        self.is_slot,
                    )
                    .await
            }
            _ => Ok(false),
        }
    }

    /// Ends an iteration that got no first row. For open load it counts as a dropped arrival,
    /// unless the end of the rows ends the run.
    fn not_begun(&self, none: NoRow, part: Part) -> End {
        if self.is_slot && none != NoRow::Exhausted(OnExhausted::StopRun) {
            self.context
                .recorder
                .borrow_mut()
                .dropped(1, Dropped::NoRow, part);
        }
        match none {
            NoRow::Exhausted(_) if !self.is_slot => End::UserOver,
            _ => End::Answered,
        }
    }

    /// Carries out `onStop`, if `onStart` was carried out.
    pub(crate) async fn finish(&mut self, scenario: &PreparedScenario) {
        if self.started && !scenario.on_stop.is_empty() {
            let now = Instant::now();
            // its failures are recorded; nothing follows that could go on or not
            let _ = self
                .run(
                    scenario,
                    &scenario.on_stop,
                    &mut Clock {
                        intended: now,
                        now,
                        part: Part::Control,
                    },
                )
                .await;
        }
    }

    /// Carries out steps outside of an iteration, and returns whether all succeeded.
    pub(crate) async fn run_once(
        &mut self,
        scenario: &PreparedScenario,
        program: &Program,
    ) -> bool {
        self.frame.begin_iteration(scenario);
        let now = Instant::now();
        self.run(
            scenario,
            program,
            &mut Clock {
                intended: now,
                now,
                part: Part::Control,
            },
        )
        .await
            == Outcome::Done
    }

    /// Carries out each task once, for a preflight.
    pub(crate) async fn rehearse(&mut self, scenario: &PreparedScenario) {
        self.frame.begin_iteration(scenario);
        if self.start(scenario, Instant::now()).await != Outcome::Done {
            return;
        }
        for (nth, task) in scenario.tasks.iter().enumerate() {
            // all tasks of a sequence are one iteration
            if scenario.order == Order::Weighted && nth > 0 {
                self.frame.iteration += 1;
                self.frame.begin_iteration(scenario);
            }
            let now = Instant::now();
            // its failures are recorded
            let _ = self
                .run(
                    scenario,
                    &task.program,
                    &mut Clock {
                        intended: now,
                        now,
                        part: Part::Control,
                    },
                )
                .await;
        }
        self.finish(scenario).await;
    }

    /// Returns the value of a variable.
    pub(crate) fn value(&self, slot: Slot) -> Option<&Value> {
        self.frame.value(slot)
    }

    async fn start(&mut self, scenario: &PreparedScenario, now: Instant) -> Outcome {
        let outcome = self
            .run(
                scenario,
                &scenario.on_start,
                &mut Clock {
                    intended: now,
                    now,
                    part: Part::Control,
                },
            )
            .await;
        self.started = outcome == Outcome::Done;
        outcome
    }

    fn end(&self, outcome: Outcome) -> End {
        match outcome {
            Outcome::UserOver if !self.is_slot => End::UserOver,
            _ if self.unanswered => End::Unanswered,
            _ => End::Answered,
        }
    }

    async fn run(
        &mut self,
        scenario: &PreparedScenario,
        program: &Program,
        clock: &mut Clock,
    ) -> Outcome {
        for op in program {
            let outcome = match (&op.flow, op.act) {
                (None, Act::Request(number)) => self.request(number, clock).await,
                // rare, and kept out of the size of every user
                _ => Box::pin(self.step(scenario, op, clock)).await,
            };
            match (outcome, op.on_failure) {
                (Outcome::Done, _) | (Outcome::Failed, OnFailure::Continue) => {}
                (Outcome::Failed, OnFailure::AbortTask) => return Outcome::Failed,
                (Outcome::Failed, OnFailure::StopUser) | (Outcome::UserOver, _) => {
                    return Outcome::UserOver;
                }
            }
        }
        Outcome::Done
    }

    /// Carries out a step that is more than a request.
    async fn step(&mut self, scenario: &PreparedScenario, op: &Op, clock: &mut Clock) -> Outcome {
        // a step that sends nothing must not keep the others of its thread waiting
        consume_budget().await;
        let Some(flow) = &op.flow else {
            return self.once(scenario, op.act, clock).await;
        };
        if let Some(condition) = &flow.condition {
            match self.is_true(condition, clock).await {
                Ok(true) => {}
                Ok(false) => return Outcome::Done,
                Err(error) => return self.fail_flow(flow, "if", error, clock),
            }
        }
        match (&flow.repeat, &flow.for_each) {
            (Some(repeat), _) => self.repeat(scenario, op.act, flow, repeat, clock).await,
            (None, Some(each)) => self.for_each(scenario, op.act, flow, each, clock).await,
            (None, None) => self.once(scenario, op.act, clock).await,
        }
    }

    async fn repeat(
        &mut self,
        scenario: &PreparedScenario,
        act: Act,
        flow: &Flow,
        repeat: &PreparedRepeat,
        clock: &mut Clock,
    ) -> Outcome {
        for time in 0..repeat.count {
            if time > 0 {
                pause(repeat.every, clock).await;
                consume_budget().await;
            }
            let outcome = self.once(scenario, act, clock).await;
            if outcome != Outcome::Done {
                return outcome;
            }
            if let Some(until) = &repeat.until {
                match self.is_true(until, clock).await {
                    Ok(true) => return Outcome::Done,
                    Ok(false) => {}
                    Err(error) => return self.fail_flow(flow, "repeat.until", error, clock),
                }
            }
        }
        match repeat.until {
            Some(_) => self.fail_flow(flow, "repeat.until", FlowError::Never(repeat.count), clock),
            None => Outcome::Done,
        }
    }

    /// Records that a condition or repetition failed, and returns the outcome of the step.
    fn fail_flow(&self, flow: &Flow, field: &str, error: FlowError, clock: &Clock) -> Outcome {
        let class = match error {
            FlowError::Evaluate(EvaluationError::TooManySteps) => ErrorClass::Expression,
            _ => ErrorClass::Condition,
        };
        self.context
            .recorder
            .borrow_mut()
            .condition_failed(class, flow.place, clock.part, || {
                format!("{field}: {error}")
            });
        match error {
            FlowError::NoRow(outcome) => outcome,
            FlowError::Evaluate(_)
            | FlowError::Render(_)
            | FlowError::NoList
            | FlowError::Never(_) => Outcome::Failed,
        }
    }

    async fn is_true(
        &mut self,
        condition: &CompiledCel,
        clock: &mut Clock,
    ) -> Result<bool, FlowError> {
        self.rows(condition.needs(), clock)
            .await
            .map_err(FlowError::NoRow)?;
        let mut decoded = Vec::new();
        let facts = self
            .answered
            .and_then(|answered| answered.facts(&self.channels, &mut decoded));
        Ok(condition.is_true(
            facts.as_ref().map(|facts| facts as &dyn Subject),
            &self.frame,
        )?)
    }

    async fn rows_of(&mut self, number: u16, clock: &mut Clock) -> Result<(), Outcome> {
        let prepared = self.context.prepared.clone();
        self.rows(&prepared.steps[usize::from(number)].rows, clock)
            .await
    }

    /// Takes the rows that `needs` asks for; fails with the outcome of a step that got none.
    async fn rows(&mut self, needs: &[Need], clock: &mut Clock) -> Result<(), Outcome> {
        match self.frame.take_rows(needs, self.is_slot).await {
            Ok(false) => {}
            // nothing was late while the user waited
            Ok(true) => (clock.intended, clock.now) = (Instant::now(), Instant::now()),
            Err(NoRow::Later) => return Err(Outcome::Failed),
            Err(NoRow::Exhausted(_)) => return Err(Outcome::UserOver),
        }
        Ok(())
    }

    async fn for_each(
        &mut self,
        scenario: &PreparedScenario,
        act: Act,
        flow: &Flow,
        each: &Each,
        clock: &mut Clock,
    ) -> Outcome {
        let items = match self.rows(each.items.needs(), clock).await {
            Ok(()) => self.items(each),
            Err(outcome) => Err(FlowError::NoRow(outcome)),
        };
        let items = match items {
            Ok(items) => items,
            Err(error) => return self.fail_flow(flow, "forEach.in", error, clock),
        };
        let mut outcome = Outcome::Done;
        for item in items {
            self.frame.set(each.slot, Some(item));
            consume_budget().await;
            outcome = self.once(scenario, act, clock).await;
            if outcome != Outcome::Done {
                break;
            }
        }
        self.frame.set(each.slot, None);
        outcome
    }

    fn items(&mut self, each: &Each) -> Result<Vec<Value>, FlowError> {
        let mut json = Vec::new();
        each.items.render(&mut self.frame, &mut json)?;
        serde_json::from_slice(&json).map_err(|_| FlowError::NoList)
    }

    async fn once(&mut self, scenario: &PreparedScenario, act: Act, clock: &mut Clock) -> Outcome {
        match act {
            Act::Request(number) => self.request(number, clock).await,
            Act::Call(block) => Box::pin(self.run(scenario, &scenario.blocks[block], clock)).await,
            Act::Pause(range) => {
                let context = &self.context;
                pause(range.draw(|| context.random()), clock).await;
                Outcome::Done
            }
        }
    }

    async fn request(&mut self, number: u16, clock: &mut Clock) -> Outcome {
        let has_rows = self
            .frame
            .has_rows(&self.context.prepared.steps[usize::from(number)].rows);
        if !has_rows && let Err(outcome) = Box::pin(self.rows_of(number, clock)).await {
            let (ended, _) = record_unsent(
                &self.context,
                (number, clock.part),
                clock.intended,
                ErrorClass::Template,
                &"no row of a feeder is left for it",
            );
            (clock.intended, clock.now) = (ended, ended);
            return outcome;
        }
        let Self {
            context,
            channels,
            deadline,
            scratch,
            frame,
            jar,
            unanswered,
            answered,
            throttle,
            has_turn,
            closing,
            ..
        } = self;
        if let Some(throttle) = throttle.as_ref().filter(|_| !std::mem::take(has_turn)) {
            // what waits for its turn is meant for then
            clock.now = throttle.turn().await;
            clock.intended = clock.now;
        }
        // what is done at the end of a load is not ended by it
        let closing = (clock.part != Part::Control).then_some(&**closing);
        let executor = Executor {
            context,
            number,
            channels,
            frame,
            jar,
            scratch,
            part: clock.part,
            closing,
            answered,
        };
        let (ended, failure) = executor
            .carry_out(deadline, clock.intended, clock.now)
            .await;
        (clock.intended, clock.now) = (ended, ended);
        let Some(class) = failure else {
            return Outcome::Done;
        };
        *unanswered = is_unanswered(class);
        Outcome::Failed
    }
}

async fn pause(time: Duration, clock: &mut Clock) {
    clock.intended += time;
    tokio::time::sleep_until(clock.intended.into()).await;
    clock.now = Instant::now();
}

/// Returns whether there was no whole answer, for another reason than a timeout.
fn is_unanswered(class: ErrorClass) -> bool {
    use ErrorClass::*;
    matches!(
        class,
        Dns | Connect | Exhausted | Tls | Reset | StaleConnection | Protocol | Template | Auth
    )
}
