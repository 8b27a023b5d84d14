//! Operators of the model: a pass is one look at the world and then its writes, one step each.
//! Between two steps anything may happen, and any write may be the last.

use super::super::*;
use super::fleet::Fleet;
use super::knowledge::{Heard, Knowledge, Order, Planned, Sight};
use super::world::State;
use super::{Kinds, Mistake, World};

/// Pass in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Pass {
    sight: Sight,
    /// Writes that were made.
    done: usize,
    /// The LoadTest has been written since it was seen.
    is_outdated: bool,
}

/// An operator's process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operator {
    pass: Option<Pass>,
    /// What the last pass saw, as long as a fault may bring it back.
    last: Option<Pass>,
    /// Orders that wait with the poller, and the run whose master they are for.
    orders: Vec<(usize, Order)>,
    /// Run whose master has been polled.
    asked: Option<usize>,
    /// Outcome of the acknowledgement.
    acknowledged: Option<(usize, bool)>,
    /// Jump of the clock since which no master has answered.
    silent_since: Option<u8>,
}

/// What an operator can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A pass begins, after the poller has heard the master.
    Look,
    /// A pass begins before the poller has an answer.
    LookEarly,
    Write,
    /// The poller carries out its order in this place.
    CarryOut(usize),
    /// What deleted LoadTests have left is swept.
    Sweep,
    Restart,
}

impl Operator {
    pub fn steps(&self, state: &State, knowledge: &Knowledge) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.pass.is_some() {
            steps.push(Step::Write);
        } else {
            steps.push(Step::Look);
            let run = state.test.as_ref().and_then(|test| {
                let status = knowledge.status(test.status);
                knowledge.run_of(&status)
            });
            if run.is_some_and(|run| self.asked != Some(run) && state.masters[run].is_some()) {
                steps.push(Step::LookEarly);
            }
        }
        steps.extend((0..self.orders.len()).map(Step::CarryOut));
        if state.is_anything_to_sweep(knowledge) {
            steps.push(Step::Sweep);
        }
        if *self != Self::default() {
            steps.push(Step::Restart);
        }
        steps
    }

    pub fn is_idle(&self) -> bool {
        self.pass.is_none() && self.orders.is_empty()
    }

    /// A pass that takes longer than its time is given up; a jump of the clock is longer than that.
    pub fn give_up(&mut self) {
        self.pass = None;
    }

    /// The LoadTest has been written.
    pub fn outdate(&mut self) {
        for pass in self.pass.iter_mut().chain(&mut self.last) {
            pass.is_outdated = true;
        }
    }

    pub fn is_about_to_create(&self, knowledge: &Knowledge) -> bool {
        let Some(pass) = &self.pass else { return false };
        let plan = knowledge.plan(&pass.sight);
        let next = plan.writes.get(pass.done);
        matches!(next, Some(Planned::Create(_) | Planned::Report(_)))
            && pass.sight.refused.is_none()
    }

    /// The next create is refused: the same is decided anew, knowing that.
    pub fn refuse(&mut self, knowledge: &Knowledge) {
        let Some(pass) = &mut self.pass else { return };
        let plan = knowledge.plan(&pass.sight);
        let child = match plan.writes.get(pass.done) {
            Some(Planned::Create(child)) => *child,
            _ => Child::FLEET.len(),
        };
        pass.sight.refused = u8::try_from(child).ok();
        pass.done = 0;
    }

    pub fn may_repeat(&self) -> bool {
        self.pass.is_none() && self.last.is_some()
    }

    /// The API server shows again what it showed to the last pass.
    pub fn repeat(&mut self) {
        self.pass = self.last.take();
    }

    /// What this operator sees of the world.
    fn sight(&mut self, state: &State, knowledge: &Knowledge, is_early: bool) -> Option<Sight> {
        let test = state.test.as_ref()?;
        let status = knowledge.status(test.status);
        let run = knowledge.run_of(&status);
        let mut sight = Sight {
            target: test.target,
            suspend: test.suspend,
            generation: test.generation,
            status: test.status,
            children: [None; Child::FLEET.len()],
            report: None,
            fleet: Fleet::None,
            master: Heard::Absent,
            silent_for: 0,
            acknowledged: None,
            refused: None,
            now: state.now,
        };
        let Some(run) = run else {
            (self.asked, self.silent_since) = (None, None);
            return Some(sight);
        };
        sight.children = std::array::from_fn(|child| state.children[run].uid(child));
        sight.report = state.reports[run];
        sight.fleet = state.fleets[run];
        sight.master = match state.masters[run] {
            None => Heard::Absent,
            Some(_) if is_early => Heard::Unasked,
            Some(_) if state.is_cut => Heard::Unreachable,
            Some(master) => Heard::Up(master),
        };
        if self.asked.is_some_and(|asked| asked != run) {
            self.silent_since = None;
        }
        if !is_early {
            self.asked = Some(run);
        }
        match sight.master {
            Heard::Up(_) => self.silent_since = None,
            Heard::Unasked => {}
            Heard::Absent | Heard::Unreachable => {
                let since = *self.silent_since.get_or_insert(state.now);
                sight.silent_for = state.now - since;
            }
        }
        let outcome = self.acknowledged.filter(|(of, _)| *of == run);
        sight.acknowledged = outcome.map(|(_, outcome)| outcome);
        Some(sight)
    }
}

/// Takes a step of the operator in this place.
pub fn take(world: &World, state: &mut State, at: usize, step: Step) {
    let mut operator = state.operators[at].clone();
    match step {
        Step::Look | Step::LookEarly => {
            let is_early = step == Step::LookEarly;
            operator.pass = operator
                .sight(state, &world.knowledge, is_early)
                .map(|sight| Pass {
                    sight,
                    done: 0,
                    is_outdated: false,
                });
            operator.last = operator
                .pass
                .clone()
                .filter(|_| world.limits.kinds == Kinds::Stale && state.faults_left > 0);
            if operator.pass.is_none() {
                operator = Operator::default();
            }
            end_if_done(world, &mut operator);
        }
        Step::Restart => operator = Operator::default(),
        Step::Sweep => state.sweep(&world.knowledge),
        Step::CarryOut(order) => carry_out(world, state, &mut operator, order),
        Step::Write => {
            // a status that is put makes every other pass an outdated one, not the one that put it
            state.operators[at] = Operator::default();
            write(world, state, &mut operator);
            end_if_done(world, &mut operator);
        }
    }
    if state.faults_left == 0 {
        operator.last = None;
    }
    state.operators[at] = operator;
}

fn end_if_done(world: &World, operator: &mut Operator) {
    let is_done = operator.pass.as_ref().is_some_and(|pass| {
        let plan = world.knowledge.plan(&pass.sight);
        pass.done >= plan.writes.len()
    });
    if is_done {
        operator.pass = None;
    }
}

/// Makes the next write of a pass.
fn write(world: &World, state: &mut State, operator: &mut Operator) {
    let Some(pass) = &mut operator.pass else {
        return;
    };
    let plan = world.knowledge.plan(&pass.sight);
    let Some(planned) = plan.writes.get(pass.done).copied() else {
        return;
    };
    pass.done += 1;
    match (planned, plan.run) {
        (Planned::Create(child), Some(run)) => {
            // one that is there already is adopted
            if !state.children[run].has(child) {
                state.children[run].create(child);
            }
        }
        (Planned::Report(verdict), Some(run)) if !world.has(Mistake::LosesReports) => {
            state.reports[run].get_or_insert(verdict);
        }
        (Planned::Delete(child, uid), Some(run)) => {
            if state.children[run].uid(child) == Some(uid) {
                state.children[run].remove(child);
            }
        }
        (Planned::Status(status), _) => {
            let (is_outdated, refused) = (pass.is_outdated, pass.sight.refused);
            match state.put_status(world, status, is_outdated) {
                true => note_refused_report(state, plan.run, refused),
                false => operator.pass = None,
            }
            // it has been written since the last pass saw it, if by this one
            if let Some(last) = &mut operator.last {
                last.is_outdated = true;
            }
        }
        (Planned::Order(order), run) => {
            // the run that the written status has: an order to start follows its grant
            let run = run.unwrap_or_default();
            let order = (run, order);
            if !operator.orders.contains(&order) {
                operator.orders.push(order);
            }
        }
        (Planned::Create(_) | Planned::Report(_) | Planned::Delete(..), _) => {}
    }
}

fn note_refused_report(state: &mut State, run: Option<usize>, refused: Option<u8>) {
    let is_report = refused.is_some_and(|child| usize::from(child) == Child::FLEET.len());
    if let Some(run) = run.filter(|_| is_report) {
        state.report_refused[run] = true;
    }
}

fn carry_out(world: &World, state: &mut State, operator: &mut Operator, at: usize) {
    let (run, order) = operator.orders.remove(at);
    if state.is_cut {
        if order == Order::Acknowledge {
            operator.acknowledged = Some((run, false));
        }
        return;
    }
    match order {
        Order::Start(epoch, incarnation) => {
            state.hear_grant(run, GrantAction::Start, epoch, incarnation);
        }
        Order::Resume(epoch, incarnation) => {
            let action = match world.has(Mistake::StartsAgain) {
                true => GrantAction::Start,
                false => GrantAction::Resume,
            };
            state.hear_grant(run, action, epoch, incarnation);
        }
        Order::Stop => state.hear_stop(run),
        Order::Acknowledge => {
            let outcome = state.hear_acknowledgement(run);
            operator.acknowledged = Some((run, outcome));
        }
    }
}
