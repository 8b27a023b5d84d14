//! The conductor's part in what one worker does alone: before the start, one errand after the
//! other, and when the load is over.
//!
//! An errand goes to the ready worker of the lowest index, or to one that has done it already,
//! which only says again what came of it: so a master that has lost its memory is told, too. When a
//! worker dies before it has answered, another begins anew.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::result::{Ending, Obstacle};
use super::super::roster::SessionId;
use super::Conductor;
use crate::plan::{Plan, Preflight, duration};
use crate::stats::Snapshot;
use crate::wire::control::MasterState;
use crate::wire::fleet::{self, ErrandKind, from_master::Message};

/// A worker ends an errand by itself when its time is over; the answer gets so much more.
const ANSWER: Duration = Duration::from_secs(5);
/// So long a preflight may take; one that only connects has given up long before.
const PREFLIGHT: Duration = Duration::from_secs(300);

/// More of them than references of a test would be noise.
const MAX_WARNINGS: usize = 64;

/// What is done once.
pub(super) struct Errands {
    /// Still to be done before the start, in this order.
    before: VecDeque<ErrandKind>,
    under_way: Option<UnderWay>,
    /// By setup, for workers and errands. Secret.
    found: Option<fleet::Found>,
    /// A worker was asked to send what teardown may have to undo.
    touched: bool,
    /// The load is over, or will never be: what is left is teardown.
    closing: Option<Closing>,
    torn_down: bool,
    /// What kept the load from starting.
    obstacle: Option<Obstacle>,
    warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    kind: ErrandKind,
    session: SessionId,
    /// No answer comes any more.
    until: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Closing {
    ending: Ending,
    /// Whatever is done by then.
    until: Instant,
}

impl Errands {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            before: before_start(plan),
            under_way: None,
            found: None,
            touched: false,
            closing: None,
            torn_down: false,
            obstacle: None,
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
    pub(super) fn found(&self) -> Option<fleet::Found> {
        self.found.clone()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn obstacle(&self) -> Option<&Obstacle> {
        self.obstacle.as_ref()
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every worker says the same of what all read.
    pub(super) fn hear_warnings(&mut self, warnings: &[String]) {
        for warning in warnings.iter().take(MAX_WARNINGS) {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
    }
}

/// All that comes before the start.
fn before_start(plan: &Plan) -> VecDeque<ErrandKind> {
    let await_targets = plan.readiness_timeout().map(|_| ErrandKind::AwaitTargets);
    let setup = (!plan.once.setup.is_empty()).then_some(ErrandKind::Setup);
    let preflight = match plan.preflight {
        Preflight::Off => [None, setup],
        Preflight::Connect => [Some(ErrandKind::Preflight), setup],
        // its steps may name what setup found
        Preflight::Once => [setup, Some(ErrandKind::Preflight)],
    };
    await_targets
        .into_iter()
        .chain(preflight.into_iter().flatten())
        .collect()
}

/// As a person calls it.
fn words(kind: ErrandKind) -> &'static str {
    match kind {
        ErrandKind::Unspecified => "nothing",
        ErrandKind::Setup => "setup",
        ErrandKind::Teardown => "teardown",
        ErrandKind::AwaitTargets => "wait for the target",
        ErrandKind::Preflight => "preflight",
    }
}

/// The reason of a run that could not start for it.
fn reason(kind: ErrandKind) -> &'static str {
    match kind {
        ErrandKind::Setup => "SetupFailed",
        ErrandKind::AwaitTargets => "TargetNotReady",
        ErrandKind::Preflight => "PreflightFailed",
        ErrandKind::Unspecified | ErrandKind::Teardown => "NotPrepared",
    }
}

impl Conductor {
    /// Has the next errand done that comes before the start; starts the load when none is left.
    pub(super) fn get_ready(&mut self, now: Instant) {
        if self.errands.is_under_way() {
            return;
        }
        match self.errands.before.front() {
            Some(kind) => self.ask(*kind, now),
            None => self.start(now),
        }
    }

    /// A master that has lost its memory asks for what setup found; without it no worker can be
    /// given a share. Whether it is known.
    pub(super) fn recall_found(&mut self, now: Instant) -> bool {
        let is_known = self.errands.found.is_some() || self.file.plan.once.setup.is_empty();
        if !is_known
            && !self.errands.is_under_way()
            && self.roster.who_knows(ErrandKind::Setup).is_some()
        {
            self.ask(ErrandKind::Setup, now);
        }
        is_known
    }

    /// Ends the run, after teardown where there is one to do.
    pub(super) fn wind_up(&mut self, ending: Ending, now: Instant) {
        if self.errands.is_closing() {
            return;
        }
        if !self.owes_teardown() && !self.errands.is_under_way() {
            return self.finish(ending);
        }
        self.state = MasterState::Stopping;
        let patience = self.file.plan.stop_timeout + ANSWER;
        self.errands.closing = Some(Closing {
            ending,
            until: now + patience,
        });
        if let Some(under_way) = &mut self.errands.under_way {
            under_way.until = under_way.until.min(now + ANSWER);
            let session = under_way.session;
            self.tell(session, Message::Stop(fleet::Stop { at_once: true }));
        }
        self.close(now);
    }

    /// There is a teardown, it was not done, and something was sent that it may have to undo.
    fn owes_teardown(&self) -> bool {
        // who was asked before this process began has something to show for it
        let was_touched = || {
            [ErrandKind::Setup, ErrandKind::Preflight]
                .into_iter()
                .any(|kind| self.touches(kind) && self.roster.who_knows(kind).is_some())
        };
        !self.file.plan.once.teardown.is_empty()
            && !self.errands.torn_down
            && (self.errands.touched || self.facts.granted || was_touched())
    }

    /// It sends more than questions whether the target is there.
    fn touches(&self, kind: ErrandKind) -> bool {
        match kind {
            ErrandKind::Setup => true,
            ErrandKind::Preflight => self.file.plan.preflight == Preflight::Once,
            ErrandKind::AwaitTargets | ErrandKind::Teardown | ErrandKind::Unspecified => false,
        }
    }

    /// Goes on with what [`wind_up`](Self::wind_up) began.
    pub(super) fn close(&mut self, now: Instant) {
        let Some(Closing { ending, until }) = self.errands.closing else {
            return;
        };
        self.mind_errand(now);
        self.recall_found(now);
        if self.errands.is_under_way() {
            return;
        }
        if !self.owes_teardown() {
            self.finish(ending);
        } else if now >= until {
            self.errands
                .warnings
                .push("teardown was not carried out: no worker was left that could".to_owned());
            self.finish(ending);
        } else {
            self.ask(ErrandKind::Teardown, now);
        }
    }

    /// Lets go of an errand whose worker is gone, and gives up one that nobody answers.
    pub(super) fn mind_errand(&mut self, now: Instant) {
        let Some(UnderWay {
            kind,
            session,
            until,
        }) = self.errands.under_way
        else {
            return;
        };
        if self.roster.index(session).is_none() {
            self.errands.under_way = None;
            self.event(&format!(
                "the worker that did the {} is gone before it was done",
                words(kind)
            ));
        } else if now >= until {
            self.errands.under_way = None;
            self.settle(
                kind,
                Some("the worker did not answer in time".to_owned()),
                now,
            );
        }
    }

    /// Begins an errand, if there is a worker for it.
    fn ask(&mut self, kind: ErrandKind, now: Instant) {
        let known = self.roster.who_knows(kind);
        let Some(session) = known.or_else(|| self.roster.first_ready()) else {
            return;
        };
        let within = match (kind, self.errands.closing) {
            (ErrandKind::Teardown, Some(closing)) => closing
                .until
                .saturating_duration_since(now)
                .saturating_sub(ANSWER),
            (ErrandKind::AwaitTargets, _) => {
                self.file.plan.readiness_timeout().unwrap_or_default() + ANSWER
            }
            (ErrandKind::Preflight, _) => PREFLIGHT,
            _ => self.file.plan.once.setup_timeout,
        };
        if kind == ErrandKind::Teardown && within.is_zero() {
            return;
        }
        let (workers, seed) = (self.file.workers, self.seed);
        let found = self.errands.found();
        self.tell(
            session,
            Message::Errand(fleet::Errand {
                kind: kind.into(),
                within_micros: within.as_micros() as u64,
                workers,
                seed,
                found,
            }),
        );
        self.errands.touched |= self.touches(kind);
        self.errands.under_way = Some(UnderWay {
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

    pub(super) fn hear_errand(&mut self, id: SessionId, done: fleet::ErrandDone, now: Instant) {
        let kind = done.kind();
        let measured = Snapshot::decode(&done.snapshot);
        if let (Ok(measured), Some(instance)) = (measured, self.roster.instance(id)) {
            instance.errands = measured;
        }
        // of whom nothing was asked, or no longer
        if self
            .errands
            .under_way
            .take_if(|under_way| (under_way.session, under_way.kind) == (id, kind))
            .is_none()
        {
            return;
        }
        if kind == ErrandKind::Setup {
            self.errands.found = done.found.or(self.errands.found.take());
        }
        if !done.told.is_empty() {
            self.event(&format!("{}: {}", words(kind), done.told));
        }
        self.settle(
            kind,
            Some(done.failure).filter(|failure| !failure.is_empty()),
            now,
        );
    }

    /// What comes of an errand that is over.
    fn settle(&mut self, kind: ErrandKind, failure: Option<String>, now: Instant) {
        let why = failure.map(|why| format!("{} failed: {why}", words(kind)));
        match why {
            None => self.event(&format!("the {} is done", words(kind))),
            Some(why) if kind == ErrandKind::Teardown => {
                self.event(&why);
                self.errands.warnings.push(why);
            }
            // it was cut off with the run
            Some(why) if self.errands.is_closing() || self.facts.granted => self.event(&why),
            Some(why) => {
                self.event(&why);
                self.errands.obstacle = Some(Obstacle {
                    reason: reason(kind),
                    message: why,
                });
                self.errands.before.clear();
                return self.wind_up(Ending::NotStarted, now);
            }
        }
        self.errands.before.retain(|left| *left != kind);
        self.errands.torn_down |= kind == ErrandKind::Teardown;
    }
}

#[cfg(test)]
mod tests;
