//! A master and its workers, as far as a grant, a result and its acknowledgement depend on them.
//! The rules are those of LIFECYCLE 3; `master::coordinator` is held to them by tests of its own.

use super::super::*;
use super::world::{State, Verdict, place};

/// State of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// Workers are missing; the grant may have come already.
    Waiting {
        is_granted: bool,
    },
    Ready,
    Running,
    Recovering,
    Lost,
    Finished(Verdict),
}

/// Process of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Master {
    /// Kept by a restart of the process, not by a new Pod.
    pub incarnation: u8,
    /// Kept by a restart of the process.
    pub epoch: u8,
    /// Jump of the clock at which the grant came.
    pub granted_at: Option<u8>,
    pub at: At,
}

impl Master {
    pub fn state(self) -> MasterState {
        match self.at {
            At::Waiting { .. } => MasterState::Waiting,
            At::Ready => MasterState::Ready,
            At::Running => MasterState::Running,
            At::Recovering => MasterState::Recovering,
            At::Lost => MasterState::Lost,
            At::Finished(_) => MasterState::Finished,
        }
    }
}

/// Workers of a run, all of which share one fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fleet {
    None,
    /// Connected, without a share.
    Idle,
    Loading,
    /// The load is over, and the data are held until the master says that they are stored.
    Holding,
    /// Gone for good, with the master's leave.
    Released,
}

impl Fleet {
    pub fn has_pods(self) -> bool {
        matches!(self, Fleet::Idle | Fleet::Loading | Fleet::Holding)
    }
}

/// What controllers, masters and workers do by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    MasterUp,
    /// The Pod follows its Deployment.
    MasterGone,
    WorkersUp,
    /// The Pods follow their Job.
    WorkersGone,
    /// The master hears that its workers are ready.
    Ready,
    /// A replaced worker gets its share of a run that goes on.
    Rejoin,
    /// A master without memory finds the workers that carry the run, or finds none.
    Recover,
    /// The load comes to its end.
    Finish,
}

impl State {
    pub fn fleet_steps(&self, run: usize) -> Vec<Step> {
        let has = |child| self.children[run].has(place(child));
        let (master, fleet) = (self.masters[run], self.fleets[run]);
        let mut steps = Vec::new();
        match (has(Child::Master), master.is_some()) {
            (true, false) => steps.push(Step::MasterUp),
            (false, true) => steps.push(Step::MasterGone),
            _ => {}
        }
        match (has(Child::Workers), fleet) {
            (true, Fleet::None) => steps.push(Step::WorkersUp),
            (false, fleet) if fleet.has_pods() => steps.push(Step::WorkersGone),
            _ => {}
        }
        match (master.map(|master| master.at), fleet) {
            (Some(At::Waiting { .. }), fleet) if fleet.has_pods() => steps.push(Step::Ready),
            (Some(At::Running), Fleet::Idle) => steps.extend([Step::Rejoin, Step::Finish]),
            (Some(At::Running), _) => steps.push(Step::Finish),
            (Some(At::Recovering), _) => steps.push(Step::Recover),
            _ => {}
        }
        steps
    }

    pub fn take_fleet_step(&mut self, run: usize, step: Step) {
        match step {
            Step::MasterUp => self.raise_master(run),
            Step::MasterGone => self.masters[run] = None,
            Step::WorkersUp => self.fleets[run] = Fleet::Idle,
            Step::WorkersGone => self.fleets[run] = Fleet::None,
            Step::Rejoin => self.fleets[run] = Fleet::Loading,
            Step::Ready => match self.masters[run].map(|master| master.at) {
                Some(At::Waiting { is_granted: true }) => self.start(run),
                _ => self.set(run, At::Ready),
            },
            Step::Recover => self.set(
                run,
                match self.fleets[run] {
                    Fleet::Loading | Fleet::Holding => At::Running,
                    _ => At::Lost,
                },
            ),
            Step::Finish => self.finish(run, Verdict::Passed),
        }
    }

    fn set(&mut self, run: usize, at: At) {
        if let Some(master) = &mut self.masters[run] {
            master.at = at;
        }
    }

    fn raise_master(&mut self, run: usize) {
        self.incarnations[run] += 1;
        self.masters[run] = Some(Master {
            incarnation: self.incarnations[run],
            epoch: 0,
            granted_at: None,
            at: At::Waiting { is_granted: false },
        });
    }

    fn start(&mut self, run: usize) {
        self.set(run, At::Running);
        self.starts[run] += 1;
        self.fleets[run] = Fleet::Loading;
    }

    fn finish(&mut self, run: usize, verdict: Verdict) {
        self.set(run, At::Finished(verdict));
        if self.fleets[run].has_pods() {
            self.fleets[run] = Fleet::Holding;
        }
    }

    /// A grant reaches the master of its run.
    pub fn hear_grant(&mut self, run: usize, action: GrantAction, epoch: u8, incarnation: u8) {
        let now = self.now;
        let Some(master) = &mut self.masters[run] else {
            return;
        };
        if incarnation != master.incarnation || epoch < master.epoch {
            return;
        }
        master.epoch = epoch;
        match (action, master.at) {
            (GrantAction::Start, At::Waiting { .. } | At::Ready) => {
                master.granted_at.get_or_insert(now);
                if master.at == At::Ready {
                    self.start(run);
                } else {
                    master.at = At::Waiting { is_granted: true };
                }
            }
            (GrantAction::Resume, At::Waiting { .. } | At::Ready) => {
                master.granted_at.get_or_insert(now);
                master.at = At::Recovering;
            }
            _ => {}
        }
    }

    /// A stop reaches the master of its run.
    pub fn hear_stop(&mut self, run: usize) {
        let at = self.masters[run].map(|master| master.at);
        if at.is_some_and(|at| !matches!(at, At::Finished(_) | At::Lost)) {
            self.finish(run, Verdict::Aborted);
        }
    }

    /// The master of a run hears that its result is stored. Returns whether there is one.
    pub fn hear_acknowledgement(&mut self, run: usize) -> bool {
        let Some(master) = self.masters[run] else {
            return false;
        };
        self.acknowledged[run] |= matches!(master.at, At::Finished(_));
        if self.fleets[run].has_pods() {
            self.fleets[run] = Fleet::Released;
        }
        true
    }

    /// A master that had told its workers to start has that in its memory; a grant that waited for
    /// the last worker is forgotten.
    pub fn restart_master(&mut self, run: usize) {
        self.is_undisturbed[run] = false;
        if let Some(master) = &mut self.masters[run] {
            master.at = match master.at {
                At::Waiting { .. } | At::Ready => At::Waiting { is_granted: false },
                At::Running | At::Recovering | At::Lost | At::Finished(_) => At::Recovering,
            };
        }
    }

    pub fn lose_master(&mut self, run: usize) {
        self.is_undisturbed[run] = false;
        self.masters[run] = None;
    }

    pub fn lose_workers(&mut self, run: usize) {
        self.is_undisturbed[run] = false;
        self.fleets[run] = Fleet::None;
        if self.masters[run].is_some_and(|master| master.at == At::Ready) {
            self.set(run, At::Waiting { is_granted: false });
        }
    }
}

/// Name of an incarnation as grants and progress have it.
pub fn name(incarnation: u8) -> String {
    format!("incarnation-{incarnation}")
}

/// Number of the incarnation that a grant names.
pub fn number(grant: &Grant) -> u8 {
    let number = grant.incarnation.strip_prefix("incarnation-");
    number
        .and_then(|number| number.parse().ok())
        .expect("an incarnation of the model")
}
