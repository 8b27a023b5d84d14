//! The coordinator's part in what one worker does alone: before the start, one after the
//! other, and when the load is over.
//!
//! A one-off goes to the ready worker of the lowest index, or to one that has done it already,
//! which then repeats its answer; this is how a master that has lost its memory learns the outcome.
//! When a worker dies before it has answered, another begins anew.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::result::{Ending, Obstacle};
use super::super::roster::SessionId;
use super::Coordinator;
use crate::plan::{Plan, Preflight, duration};
use crate::wire::Reason;
use crate::wire::control::{MasterState, plain};
use crate::wire::fleet::{self, OneOffKind, from_master::Message};

/// Time for an answer beyond that of the one-off, which a worker ends by itself.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest time of a preflight; one that only connects has given up long before.
const PREFLIGHT: Duration = Duration::from_secs(300);

/// Most warnings kept; more than a test has references would be noise.
const MAX_WARNINGS: usize = 64;
/// Most characters of a warning.
const MAX_WARNING: usize = 512;

/// One-offs of a run: those to come, the one under way, and what came of them.
pub(super) struct OneOffs {
    /// One-offs to be done before the start, in this order, and how long each may take.
    before: VecDeque<(OneOffKind, Duration)>,
    /// The one that a worker is doing.
    under_way: Option<UnderWay>,
    /// Values that setup extracted, for workers and later one-offs. Secret.
    setup_values: Option<fleet::SetupValues>,
    /// A worker was asked to send what teardown may have to undo.
    touched: bool,
    /// Set when the load is over, or will never be: what is left is teardown.
    closing: Option<Closing>,
    /// Teardown is done, well or not.
    torn_down: bool,
    /// Warnings of workers, and of a teardown that failed.
    warnings: Vec<String>,
}

/// A one-off that a worker was asked for.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    kind: OneOffKind,
    session: SessionId,
    /// Time after which no answer comes any more.
    until: Instant,
}

/// The end of a run that has a teardown.
#[derive(Debug, Clone)]
struct Closing {
    /// Ending of the run.
    ending: Ending,
    /// Time at which it is over, whatever is done by then.
    until: Instant,
}

impl OneOffs {
    /// Plans what comes before the start.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            before: before_start(plan),
            under_way: None,
            setup_values: None,
            touched: false,
            closing: None,
            torn_down: false,
            warnings: vec![],
        }
    }

    /// Name of the one-off under way, in words.
    pub(super) fn doing(&self) -> Option<&'static str> {
        self.under_way
            .as_ref()
            .map(|under_way| name_of(under_way.kind))
    }

    /// Values that setup extracted, which go with every share and one-off.
    pub(super) fn setup_values(&self) -> Option<fleet::SetupValues> {
        self.setup_values.clone()
    }

    /// Tells whether a worker is doing a one-off.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Tells whether the load is over and only teardown is left.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Warnings for the result.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Adds a worker's warnings, each once: all workers say the same of what all read.
    pub(super) fn add_warnings(&mut self, warnings: &[String]) {
        for warning in warnings.iter().take(MAX_WARNINGS) {
            let warning = plain(warning, MAX_WARNING);
            if !self.warnings.contains(&warning) && self.warnings.len() < MAX_WARNINGS {
                self.warnings.push(warning);
            }
        }
    }
}

/// Lists the one-offs of a plan that come before the start, and how long each may take.
fn before_start(plan: &Plan) -> VecDeque<(OneOffKind, Duration)> {
    let await_targets = plan
        .readiness_timeout()
        .map(|timeout| (OneOffKind::AwaitTargets, timeout + ANSWER));
    let setup =
        (!plan.once.setup.is_empty()).then_some((OneOffKind::Setup, plan.once.setup_timeout));
    let preflight = Some((OneOffKind::Preflight, PREFLIGHT));
    let preflight = match plan.preflight {
        Preflight::Off => [None, setup],
        Preflight::Connect => [preflight, setup],
        // its steps may use what setup extracted
        Preflight::Once => [setup, preflight],
    };
    await_targets
        .into_iter()
        .chain(preflight.into_iter().flatten())
        .collect()
}

/// Name of a one-off in sentences.
fn name_of(kind: OneOffKind) -> &'static str {
    match kind {
        OneOffKind::Unspecified => "nothing",
        OneOffKind::Setup => "setup",
        OneOffKind::Teardown => "teardown",
        OneOffKind::AwaitTargets => "wait for the target",
        OneOffKind::Preflight => "preflight",
    }
}

/// Reason of a run that could not start since this one-off failed.
fn reason(kind: OneOffKind) -> Reason {
    match kind {
        OneOffKind::Setup => Reason::SetupFailed,
        OneOffKind::AwaitTargets => Reason::TargetNotReady,
        OneOffKind::Preflight => Reason::PreflightFailed,
        OneOffKind::Unspecified | OneOffKind::Teardown => Reason::NotPrepared,
    }
}

impl Coordinator {
    /// Has the next one-off done that comes before the start; starts the load when none is left.
    pub(super) fn prepare_start(&mut self, now: Instant) {
        if self.one_offs.is_under_way() {
            return;
        }
        match self.one_offs.before.front() {
            Some((kind, within)) => self.request_one_off(*kind, *within, now),
            None => self.start(now),
        }
    }

    /// Tells whether the values of setup are known, without which no worker can be given a share. A
    /// master that has lost its memory asks for them.
    pub(super) fn request_setup_values(&mut self, now: Instant) -> bool {
        let is_known = self.one_offs.setup_values.is_some() || self.file.plan.once.setup.is_empty();
        if !is_known
            && !self.one_offs.is_under_way()
            && self
                .roster
                .session_with_outcome(OneOffKind::Setup)
                .is_some()
        {
            self.request_one_off(OneOffKind::Setup, self.file.plan.once.setup_timeout, now);
        }
        is_known
    }

    /// Ends the run, after teardown where there is one to do.
    pub(super) fn end_run(&mut self, ending: Ending, now: Instant) {
        if self.one_offs.is_closing() {
            return;
        }
        if !self.needs_teardown() && !self.one_offs.is_under_way() {
            return self.finish(ending, now);
        }
        self.state = MasterState::Stopping;
        let patience = self.time_to_close(self.file.plan.stop_timeout + ANSWER, now);
        self.one_offs.closing = Some(Closing {
            ending,
            until: now + patience,
        });
        if let Some(under_way) = &mut self.one_offs.under_way {
            under_way.until = under_way.until.min(now + ANSWER);
            let session = under_way.session;
            self.send_to(session, Message::Stop(fleet::Stop { at_once: true }));
        }
        self.close(now);
    }

    /// Checks whether there is a teardown that was not done, and something was sent that it may
    /// have to undo.
    fn needs_teardown(&self) -> bool {
        // a worker that an earlier master process asked can still tell the outcome
        let was_touched = || {
            [OneOffKind::Setup, OneOffKind::Preflight]
                .into_iter()
                .any(|kind| self.touches(kind) && self.roster.session_with_outcome(kind).is_some())
        };
        !self.file.plan.once.teardown.is_empty()
            && !self.one_offs.torn_down
            && (self.one_offs.touched || self.facts.granted || was_touched())
    }

    /// Checks whether a one-off sends more than questions whether the target is there.
    fn touches(&self, kind: OneOffKind) -> bool {
        match kind {
            OneOffKind::Setup => true,
            OneOffKind::Preflight => self.file.plan.preflight == Preflight::Once,
            OneOffKind::AwaitTargets | OneOffKind::Teardown | OneOffKind::Unspecified => false,
        }
    }

    /// Goes on with what [`end_run`](Self::end_run) began.
    pub(super) fn close(&mut self, now: Instant) {
        let Some(Closing { ending, until }) = self.one_offs.closing.clone() else {
            return;
        };
        self.watch_one_off(now);
        self.request_setup_values(now);
        if self.one_offs.is_under_way() {
            return;
        }
        if !self.needs_teardown() {
            self.finish(ending, now);
        } else if now >= until {
            self.one_offs
                .warnings
                .push("teardown was not carried out: no worker was left that could".to_owned());
            self.finish(ending, now);
        } else {
            let within = until.duration_since(now).saturating_sub(ANSWER);
            if !within.is_zero() {
                self.request_one_off(OneOffKind::Teardown, within, now);
            }
        }
    }

    /// Lets go of a one-off whose worker is gone, and gives up one that nobody answers.
    pub(super) fn watch_one_off(&mut self, now: Instant) {
        let Some(UnderWay {
            kind,
            session,
            until,
        }) = self.one_offs.under_way
        else {
            return;
        };
        if self.roster.index(session).is_none() {
            self.one_offs.under_way = None;
            self.event(&format!(
                "the worker that did the {} is gone before it was done",
                name_of(kind)
            ));
        } else if now >= until {
            self.one_offs.under_way = None;
            self.finish_one_off(
                kind,
                Some("the worker did not answer in time".to_owned()),
                now,
            );
        }
    }

    /// Asks a worker for a one-off that may take `within`, if there is a worker for it.
    fn request_one_off(&mut self, kind: OneOffKind, within: Duration, now: Instant) {
        let known = self.roster.session_with_outcome(kind);
        let Some(session) = known.or_else(|| self.roster.first_ready()) else {
            return;
        };
        let (workers, seed) = (self.roster.workers(), self.seed);
        let setup_values = self.one_offs.setup_values();
        self.send_to(
            session,
            Message::OneOff(fleet::OneOff {
                kind: kind.into(),
                within_micros: within.as_micros() as u64,
                workers,
                seed,
                setup_values,
            }),
        );
        self.one_offs.touched |= self.touches(kind);
        self.one_offs.under_way = Some(UnderWay {
            kind,
            session,
            until: now + within + ANSWER,
        });
        let index = self.roster.index(session).filter(|_| known.is_none());
        if let Some(index) = index {
            self.event(&format!(
                "worker {index} does the {}, for {} at most",
                name_of(kind),
                duration::format(within)
            ));
        }
    }

    /// Takes in what came of a one-off, if it is the one that was asked for.
    pub(super) fn on_one_off_done(&mut self, id: SessionId, done: fleet::OneOffDone, now: Instant) {
        let kind = done.kind();
        self.store_one_off_samples(id, &done.snapshot);
        // this worker was not asked, or its answer is no longer awaited
        if self
            .one_offs
            .under_way
            .take_if(|under_way| (under_way.session, under_way.kind) == (id, kind))
            .is_none()
        {
            return;
        }
        if kind == OneOffKind::Setup {
            self.one_offs.setup_values = done.setup_values.or(self.one_offs.setup_values.take());
        }
        if !done.note.is_empty() {
            self.event(&format!("{}: {}", name_of(kind), done.note));
        }
        self.finish_one_off(
            kind,
            Some(done.failure).filter(|failure| !failure.is_empty()),
            now,
        );
    }

    /// Draws the consequences of a one-off that is over; `failure` says why it failed.
    fn finish_one_off(&mut self, kind: OneOffKind, failure: Option<String>, now: Instant) {
        let why = failure.map(|why| format!("{} failed: {why}", name_of(kind)));
        match why {
            None => self.event(&format!("the {} is done", name_of(kind))),
            Some(why) if kind == OneOffKind::Teardown => {
                self.event(&why);
                self.one_offs.warnings.push(why);
            }
            // the end of the run cut it off
            Some(why) if self.one_offs.is_closing() || self.facts.granted => self.event(&why),
            Some(why) => {
                self.event(&why);
                self.one_offs.before.clear();
                let obstacle = Obstacle {
                    reason: reason(kind),
                    message: why,
                };
                return self.end_run(Ending::NotStarted(obstacle), now);
            }
        }
        self.one_offs.before.retain(|(left, _)| *left != kind);
        self.one_offs.torn_down |= kind == OneOffKind::Teardown;
    }
}

#[cfg(test)]
mod tests;
