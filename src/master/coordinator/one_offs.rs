//! The coordinator's part in what one worker does alone: before the start, one after the
//! other, and when the load is over.
//!
//! A one-off goes to the ready worker of the lowest index, or to one that has done it already,
//! which only says again what came of it: so a master that has lost its memory is told, too. When a
//! worker dies before it has answered, another begins anew.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::result::{Ending, Obstacle};
use super::super::roster::SessionId;
use super::Coordinator;
use crate::plan::{Plan, Preflight, duration};
use crate::wire::Reason;
use crate::wire::control::MasterState;
use crate::wire::fleet::{self, OneOffKind, from_master::Message};

/// A worker ends a one-off by itself when its time is over; the answer gets so much more.
const ANSWER: Duration = Duration::from_secs(5);
/// So long a preflight may take; one that only connects has given up long before.
const PREFLIGHT: Duration = Duration::from_secs(300);

/// More of them than references of a test would be noise.
const MAX_WARNINGS: usize = 64;

/// What is done once.
pub(super) struct OneOffs {
    /// Still to be done before the start, in this order, and how long each may take.
    before: VecDeque<(OneOffKind, Duration)>,
    under_way: Option<UnderWay>,
    /// By setup, for workers and one-offs. Secret.
    setup_values: Option<fleet::SetupValues>,
    /// A worker was asked to send what teardown may have to undo.
    touched: bool,
    /// The load is over, or will never be: what is left is teardown.
    closing: Option<Closing>,
    torn_down: bool,
    warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    kind: OneOffKind,
    session: SessionId,
    /// No answer comes any more.
    until: Instant,
}

#[derive(Debug, Clone)]
struct Closing {
    ending: Ending,
    /// Whatever is done by then.
    until: Instant,
}

impl OneOffs {
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

    /// What is being done, in words.
    pub(super) fn doing(&self) -> Option<&'static str> {
        self.under_way
            .as_ref()
            .map(|under_way| words(under_way.kind))
    }

    /// What goes with a share.
    pub(super) fn setup_values(&self) -> Option<fleet::SetupValues> {
        self.setup_values.clone()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every worker says the same of what all read.
    pub(super) fn add_warnings(&mut self, warnings: &[String]) {
        for warning in warnings.iter().take(MAX_WARNINGS) {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
    }
}

/// All that comes before the start.
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
        // its steps may name what setup found
        Preflight::Once => [setup, preflight],
    };
    await_targets
        .into_iter()
        .chain(preflight.into_iter().flatten())
        .collect()
}

/// As a person calls it.
fn words(kind: OneOffKind) -> &'static str {
    match kind {
        OneOffKind::Unspecified => "nothing",
        OneOffKind::Setup => "setup",
        OneOffKind::Teardown => "teardown",
        OneOffKind::AwaitTargets => "wait for the target",
        OneOffKind::Preflight => "preflight",
    }
}

/// The reason of a run that could not start for it.
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

    /// A master that has lost its memory asks for what setup found; without it no worker can be
    /// given a share. Whether it is known.
    pub(super) fn request_setup_values(&mut self, now: Instant) -> bool {
        let is_known = self.one_offs.setup_values.is_some() || self.file.plan.once.setup.is_empty();
        if !is_known
            && !self.one_offs.is_under_way()
            && self.roster.who_knows(OneOffKind::Setup).is_some()
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
            return self.finish(ending);
        }
        self.state = MasterState::Stopping;
        let patience = self.file.plan.stop_timeout + ANSWER;
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

    /// There is a teardown, it was not done, and something was sent that it may have to undo.
    fn needs_teardown(&self) -> bool {
        // who was asked before this process began has something to show for it
        let was_touched = || {
            [OneOffKind::Setup, OneOffKind::Preflight]
                .into_iter()
                .any(|kind| self.touches(kind) && self.roster.who_knows(kind).is_some())
        };
        !self.file.plan.once.teardown.is_empty()
            && !self.one_offs.torn_down
            && (self.one_offs.touched || self.facts.granted || was_touched())
    }

    /// It sends more than questions whether the target is there.
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
            self.finish(ending);
        } else if now >= until {
            self.one_offs
                .warnings
                .push("teardown was not carried out: no worker was left that could".to_owned());
            self.finish(ending);
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
                words(kind)
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

    /// Begins a one-off that may take `within`, if there is a worker for it.
    fn request_one_off(&mut self, kind: OneOffKind, within: Duration, now: Instant) {
        let known = self.roster.who_knows(kind);
        let Some(session) = known.or_else(|| self.roster.first_ready()) else {
            return;
        };
        let (workers, seed) = (self.file.workers, self.seed);
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
                words(kind),
                duration::format(within)
            ));
        }
    }

    pub(super) fn on_one_off_done(&mut self, id: SessionId, done: fleet::OneOffDone, now: Instant) {
        let kind = done.kind();
        self.store_one_off_samples(id, &done.snapshot);
        // of whom nothing was asked, or no longer
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
            self.event(&format!("{}: {}", words(kind), done.note));
        }
        self.finish_one_off(
            kind,
            Some(done.failure).filter(|failure| !failure.is_empty()),
            now,
        );
    }

    /// What comes of a one-off that is over.
    fn finish_one_off(&mut self, kind: OneOffKind, failure: Option<String>, now: Instant) {
        let why = failure.map(|why| format!("{} failed: {why}", words(kind)));
        match why {
            None => self.event(&format!("the {} is done", words(kind))),
            Some(why) if kind == OneOffKind::Teardown => {
                self.event(&why);
                self.one_offs.warnings.push(why);
            }
            // it was cut off with the run
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
