//! Rest: where the world comes to when faults stop and everybody does what they do by themselves.
//! From each state that the search reaches this is followed to its end, in one order of steps; the
//! other orders are states of the search themselves.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use super::super::*;
use super::fleet;
use super::passes;
use super::world::{RUNS, State};
use super::{Mistake, World};

/// What becomes of masters and workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Parts {
    /// Controllers keep them up, and they answer.
    Live,
    /// None comes up any more, and none answers.
    Dead,
}

/// Most rounds, and most jumps of the clock among them, before the world is said never to rest.
const ROUNDS: usize = 60;
const JUMPS: u8 = 6;

/// States from which the world was seen to rest, by their hashes.
#[derive(Default)]
pub struct Settled {
    hasher: RandomState,
    known: Mutex<HashSet<u64>>,
}

impl Settled {
    fn has(&self, hash: u64) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&hash)
    }

    fn add(&self, hashes: Vec<u64>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(hashes);
    }
}

/// Whether the run in the status ends, with parts that live and with parts that are dead.
pub fn ends(world: &World, state: &State) -> bool {
    state.test.is_none() || comes_to_rest(world, state)
}

/// Whether everything that belonged to a deleted LoadTest goes.
pub fn leaves_nothing(world: &World, state: &State) -> bool {
    state.test.is_some() || comes_to_rest(world, state)
}

/// Whether the world comes to rest from here. Passes and orders in progress lead to states without
/// any, which the search reaches by itself; only those are followed.
fn comes_to_rest(world: &World, state: &State) -> bool {
    let are_idle = state.operators.iter().all(passes::Operator::is_idle);
    !are_idle || rests(world, state, Parts::Live) && rests(world, state, Parts::Dead)
}

/// Lets faults stop and marks be forgotten, and a user release what is suspended.
fn left_alone(state: &State, parts: Parts) -> State {
    let mut state = state.clone();
    state.faults_left = 0;
    state.is_cut = parts == Parts::Dead;
    state.starts = [0; RUNS];
    state.acknowledged = [false; RUNS];
    state.report_refused = [false; RUNS];
    state.is_undisturbed = [false; RUNS];
    state.broken = None;
    if state.test.as_ref().is_some_and(|test| test.suspend) {
        state.edit(|test| test.suspend = false);
    }
    state
}

/// Follows the world until nothing changes any more, and says whether that is as it should be.
fn rests(world: &World, state: &State, parts: Parts) -> bool {
    let settled = &world.knowledge.settled;
    let mut state = left_alone(state, parts);
    let mut passed = Vec::new();
    let mut jumps = 0;
    for _ in 0..ROUNDS {
        let hash = settled.hasher.hash_one((parts, jumps.min(1), &state));
        if settled.has(hash) {
            settled.add(passed);
            return true;
        }
        passed.push(hash);
        let before = state.clone();
        round(world, &mut state, parts);
        if state != before {
            continue;
        }
        // a jump after the end shows what is left when nothing is kept any more
        if jumps > 0 && is_as_it_should_be(world, &state) {
            settled.add(passed);
            return true;
        }
        if jumps == JUMPS {
            return false;
        }
        jumps += 1;
        state.jump();
    }
    false
}

/// Everybody does what they can, once.
fn round(world: &World, state: &mut State, parts: Parts) {
    for run in 0..RUNS {
        let is_possible = |step: &fleet::Step| {
            parts == Parts::Live
                || matches!(step, fleet::Step::MasterGone | fleet::Step::WorkersGone)
        };
        while let Some(step) = state.fleet_steps(run).into_iter().find(is_possible) {
            state.take_fleet_step(run, step);
        }
    }
    if state.is_anything_to_collect() && !world.has(Mistake::NoCollector) {
        state.collect();
    }
    for at in 0..state.operators.len() {
        loop {
            let steps = state.operators[at].steps(state, &world.knowledge);
            let works = |step: &passes::Step| {
                matches!(step, passes::Step::Write | passes::Step::CarryOut(_))
            };
            let Some(step) = steps.into_iter().find(works) else {
                break;
            };
            passes::take(world, state, at, step);
        }
        if !world.has(Mistake::NoCollector) {
            state.sweep(&world.knowledge);
        }
        passes::take(world, state, at, passes::Step::Look);
    }
}

/// Whether the world may stay like this: the run has ended, and of no LoadTest that is gone, and no
/// run that has ended and is shown no more, anything is left.
fn is_as_it_should_be(world: &World, state: &State) -> bool {
    let is_ended = state.test.as_ref().is_none_or(|test| {
        let status = world.knowledge.status(test.status);
        status.phase.is_some_and(Phase::is_terminal)
    });
    let are_gone = (0..RUNS).all(|run| {
        let is_left = state.children[run].has_any_but(Child::Channel);
        !is_left && state.masters[run].is_none() && !state.fleets[run].has_pods()
    });
    is_ended && are_gone
}
