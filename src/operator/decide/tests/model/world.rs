//! The state of the model: what the API server holds, what runs on nodes, what operators are at,
//! and marks of what has happened, which only the properties read.

use super::super::*;
use super::fleet::{Fleet, Master};
use super::knowledge::{Knowledge, StatusId};
use super::passes::Operator;
use super::{Limits, World};

/// Most runs in one history: that of the first spec, and that of its edit.
pub const RUNS: usize = 2;

/// Verdict of a result; each has another count of requests, so that one is told from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Passed,
    Aborted,
}

/// The LoadTest as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Test {
    pub target: u8,
    pub suspend: bool,
    pub generation: u8,
    pub status: StatusId,
}

/// Children of one run: for each its number of creations, which is its UID, and whether it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kept {
    made: [u8; Child::FLEET.len()],
    there: u8,
    /// Children whose owner was taken from them.
    orphaned: u8,
}

impl Kept {
    pub fn has(&self, child: usize) -> bool {
        self.there & 1 << child != 0
    }

    pub fn uid(&self, child: usize) -> Option<u8> {
        self.has(child).then_some(self.made[child])
    }

    pub fn create(&mut self, child: usize) {
        self.made[child] += 1;
        self.there |= 1 << child;
        self.orphaned &= !(1 << child);
    }

    pub fn remove(&mut self, child: usize) {
        self.there &= !(1 << child);
        // the plan owns the channel
        if Child::FLEET[child] == Child::Plan {
            self.there &= !(1 << place(Child::Channel));
        }
    }

    pub fn has_any_but(&self, child: Child) -> bool {
        self.there & !(1 << place(child)) != 0
    }

    fn orphan(&mut self) {
        self.orphaned = self.there & !(1 << place(Child::Channel));
    }

    /// Deletes what has an owner that is gone.
    fn collect(&mut self) {
        self.there &= self.orphaned;
        let channel = 1 << place(Child::Channel);
        if self.has(place(Child::Plan)) {
            self.there |= channel;
        }
    }

    fn is_collected(&self) -> bool {
        let mut after = *self;
        after.collect();
        after == *self
    }
}

/// Returns the place of a child of the fleet in [`Child::FLEET`].
pub fn place(child: Child) -> usize {
    let found = Child::FLEET.iter().position(|other| *other == child);
    found.expect("a child of the fleet")
}

/// State of the whole world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// `None` once the LoadTest is deleted.
    pub test: Option<Test>,
    pub children: [Kept; RUNS],
    pub reports: [Option<Verdict>; RUNS],
    pub masters: [Option<Master>; RUNS],
    pub fleets: [Fleet; RUNS],
    pub operators: Vec<Operator>,
    /// No operator reaches a master.
    pub is_cut: bool,
    /// Jumps of the clock so far.
    pub now: u8,
    pub faults_left: u8,
    /// Incarnations of masters so far, by run.
    pub incarnations: [u8; RUNS],

    /// Times that a run's load was started.
    pub starts: [u8; RUNS],
    /// A master was told that its result is stored.
    pub acknowledged: [bool; RUNS],
    /// The report was refused, and the run ended without one.
    pub report_refused: [bool; RUNS],
    /// Nothing has happened to the run but what every run goes through.
    pub is_undisturbed: [bool; RUNS],
    /// Rule that a write broke.
    pub broken: Option<&'static str>,
}

impl State {
    /// A LoadTest just applied, and operators that have just started.
    pub fn applied(limits: Limits, knowledge: &Knowledge) -> Self {
        Self {
            test: Some(Test {
                target: 0,
                suspend: false,
                generation: 1,
                status: knowledge.remember(&fixture::test().status.unwrap_or_default()),
            }),
            children: [Kept::default(); RUNS],
            reports: [None; RUNS],
            masters: [None; RUNS],
            fleets: [Fleet::None; RUNS],
            operators: vec![Operator::default(); limits.operators],
            is_cut: false,
            now: 0,
            faults_left: limits.faults,
            incarnations: [0; RUNS],
            starts: [0; RUNS],
            acknowledged: [false; RUNS],
            report_refused: [false; RUNS],
            is_undisturbed: [true; RUNS],
            broken: None,
        }
    }

    pub fn has_stored(&self, run: usize) -> bool {
        self.reports[run].is_some() || self.report_refused[run]
    }

    pub fn verdicts(&self) -> [Option<Verdict>; RUNS] {
        self.reports
    }

    /// Changes the spec, which makes every version that was read an old one.
    pub fn edit(&mut self, change: impl Fn(&mut Test)) {
        if let Some(test) = &mut self.test {
            change(test);
            test.generation += 1;
        }
        self.is_undisturbed = [false; RUNS];
        self.outdate();
    }

    /// Every pass in progress has seen an older version than the newest.
    pub fn outdate(&mut self) {
        for operator in &mut self.operators {
            operator.outdate();
        }
    }

    pub fn delete_test(&mut self, is_orphaning: bool) {
        self.test = None;
        self.is_undisturbed = [false; RUNS];
        if is_orphaning {
            self.children.iter_mut().for_each(Kept::orphan);
        }
        self.outdate();
    }

    pub fn is_anything_to_collect(&self) -> bool {
        let are_collected = self.children.iter().all(Kept::is_collected);
        self.test.is_none() && !are_collected
    }

    pub fn collect(&mut self) {
        self.children.iter_mut().for_each(Kept::collect);
    }

    /// Whether a run is neither that of the status nor one of a LoadTest that is there.
    fn is_stray(&self, run: usize, knowledge: &Knowledge) -> bool {
        self.test.as_ref().is_none_or(|test| {
            let current = knowledge.run_of(&knowledge.status(test.status));
            current.is_some_and(|current| current != run)
        })
    }

    pub fn is_anything_to_sweep(&self, knowledge: &Knowledge) -> bool {
        (0..RUNS).any(|run| {
            self.children[run].has_any_but(Child::Channel) && self.is_stray(run, knowledge)
        })
    }

    /// Deletes what an operator's sweep finds: children of a LoadTest that is gone, and of a run
    /// that is not the one in the status.
    pub fn sweep(&mut self, knowledge: &Knowledge) {
        for run in 0..RUNS {
            if self.is_stray(run, knowledge) {
                self.children[run] = Kept::default();
            }
        }
    }

    pub fn jump(&mut self) {
        self.now += 1;
        self.operators.iter_mut().for_each(Operator::give_up);
        self.is_undisturbed = [false; RUNS];
    }

    /// Takes a status, if it was made of the newest version.
    pub fn put_status(&mut self, world: &World, id: StatusId, is_outdated: bool) -> bool {
        let refuses = is_outdated && !world.has(super::Mistake::NoPrecondition);
        let Some(test) = self.test.as_mut().filter(|_| !refuses) else {
            return false;
        };
        let (old, new) = (
            world.knowledge.status(test.status),
            world.knowledge.status(id),
        );
        let generation = i64::from(test.generation);
        test.status = id;
        self.outdate();
        self.broken = self
            .broken
            .or_else(|| step::fault_of(&old, &new, generation))
            .or_else(|| self.fault_of_end(world, &new));
        true
    }

    /// Returns the rule that the end of a run breaks which nothing has disturbed: it ends with what
    /// its master has measured.
    fn fault_of_end(&self, world: &World, new: &LoadTestStatus) -> Option<&'static str> {
        let run = world.knowledge.run_of(new)?;
        let end = new.run.as_ref()?.end.as_ref()?;
        let is_whole = end.phase == Phase::Succeeded && new.results.is_some();
        (self.is_undisturbed[run] && !is_whole).then_some("an undisturbed run has lost its result")
    }
}
