//! The coordinator's part in control by hand: what people may change of a run, and what is told of
//! it.
//!
//! A change begins a moment ahead, so that every worker has heard of it by then. It is remembered
//! before anybody hears of it, and workers keep the whole list for a master that has lost its
//! memory.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::memory::{Facts, Made, MemoryError};
use super::super::roster::SessionId;
use super::Coordinator;
use super::losses::AHEAD;
use crate::plan::manual::{ENOUGH, MAX_CHANGES, MAX_LEVEL};
use crate::plan::{Load, LoadChange, ManualControl, Plan, Population, Profile};
use crate::stats::result::{LoadUnit, ManualChange};
use crate::wire::Reason;
use crate::wire::control::{ChangeLoad, LoadProgress, MasterState, Stop, StopByHand, short};
use crate::wire::fleet::{self, from_master::Message};

/// Reasons to refuse a change of load by hand.
#[derive(Debug, thiserror::Error)]
pub enum ChangeRefusal {
    /// The order is for another run.
    #[error("this is the master of run {actual}, not of {asked}")]
    OtherRun {
        /// Run of the order.
        asked: String,
        /// Run of this master.
        actual: String,
    },
    /// The test allows nobody to change the load.
    #[error("spec.run.manualControl is StopOnly: the run can be stopped, but its load not changed")]
    StopOnly,
    /// No load is there to change.
    #[error("the load can be changed while the run is Running; it is {state}")]
    NotRunning {
        /// State of the master.
        state: MasterState,
    },
    /// The order names no level, or several.
    #[error("give exactly one of users, rate and profile: true")]
    NotOne,
    /// Several loads run side by side, and the order names none of them.
    #[error("the run has several loads: name one of the scenarios {known}")]
    WhichScenario {
        /// Scenarios of the test.
        known: String,
    },
    /// The order names a scenario that is not in the test.
    #[error("the run has no scenario {asked:?}; it has {known}")]
    NoScenario {
        /// Scenario of the order.
        asked: String,
        /// Scenarios of the test.
        known: String,
    },
    /// The load has no level.
    #[error("the load of {scenario} is {what}, which has no level to change")]
    NoLevel {
        /// Scenarios under the load.
        scenario: String,
        /// Kind of the load.
        what: &'static str,
    },
    /// The level is in the other unit.
    #[error("the load of {scenario} is counted in {unit}: give that")]
    OtherUnit {
        /// Scenarios under the load.
        scenario: String,
        /// Field of the order that would be right.
        unit: &'static str,
    },
    /// The level is no level, or too high.
    #[error("a load is at least 0 and at most {most}{of}, not {asked}")]
    OutOfBounds {
        /// Level of the order.
        asked: f64,
        /// Highest level.
        most: f64,
        /// Words that say where the bound comes from.
        of: &'static str,
    },
    /// The profile is over before the change would begin.
    #[error("the load of {scenario} is over")]
    Over {
        /// Scenarios under the load.
        scenario: String,
    },
    /// No more changes are kept.
    #[error("a run takes at most {MAX_CHANGES} changes of load")]
    TooMany,
    /// A worker is of a release that knows no changes.
    #[error("worker {worker} is of a release whose load cannot be changed")]
    OldWorker {
        /// Index of the worker.
        worker: u32,
    },
    /// The change cannot be remembered.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Changes of load by hand, and the profiles that they change.
#[derive(Debug)]
pub(super) struct Manual {
    /// Profiles of the test by population; `None` for load without one.
    planned: Vec<Option<Profile>>,
}

impl Manual {
    /// Keeps the profiles of a test that nobody has changed yet.
    pub(super) fn new(plan: &Plan) -> Self {
        let profile = |population: &Population| population.load.profile().cloned();
        Self {
            planned: plan.populations.iter().map(profile).collect(),
        }
    }

    /// Part of the planned load, up to `until` of the measured part, that is left in the population
    /// that was lowered most; at least 1 where none was.
    pub(super) fn kept(&self, plan: &Plan, until: Duration) -> f64 {
        let populations = plan.populations.iter().zip(&self.planned);
        let kept = populations.filter_map(|(population, planned)| {
            let at = until.saturating_sub(population.start_after);
            let planned = planned.as_ref()?.arrivals_until(at);
            let wanted = population.load.profile()?.arrivals_until(at);
            (planned > 0.0).then_some(wanted / planned)
        });
        kept.fold(1.0, f64::min)
    }
}

impl Coordinator {
    /// Changes the load as a person asks.
    pub fn change_load(&mut self, asked: &ChangeLoad, now: Instant) -> Result<(), ChangeRefusal> {
        let (place, level) = self.checked_change(asked)?;
        let population = &self.file.plan.populations[place];
        let scenario = self.file.plan.scenarios_of(population);
        let begin = self.file.plan.warmup + population.start_after;
        // neither before the load's own begin nor before an earlier change
        let last = self.facts.changes.last().map(|made| made.change().at);
        let at = (self.elapsed(now) + AHEAD)
            .max(begin)
            .max(last.unwrap_or_default());
        let Some((unit, profile)) = level_of(population) else {
            return Err(no_level(&population.load, scenario));
        };
        if at >= begin + profile.length() {
            return Err(ChangeRefusal::Over { scenario });
        }
        let told = ManualChange {
            at: Timestamp::now().to_string(),
            after_micros: at.as_micros() as u64,
            scenario,
            unit,
            before: profile.level(at - begin),
            level,
            by: short(asked.by.as_deref().unwrap_or_default()),
        };
        let event = format!(
            "the load is changed by hand {:.1} s into the run: {told}",
            at.as_secs_f64()
        );
        let mut changes = self.facts.changes.clone();
        let population = place as u16;
        changes.push(Made { population, told });
        self.remember(Facts {
            changes,
            ..self.facts.clone()
        })?;
        self.event(&event);
        self.apply_changes();
        self.broadcast_changes();
        self.tick(now);
        Ok(())
    }

    /// Ends the run as a person asks.
    pub fn stop_by_hand(&mut self, asked: &StopByHand, now: Instant) {
        let message = match short(asked.message.as_deref().unwrap_or_default()).as_str() {
            "" => "stopped by hand on the master".to_owned(),
            why => format!("stopped by hand on the master: {why}"),
        };
        let stop = Stop {
            run: self.file.run.clone(),
            reason: Reason::StoppedByHand,
            message,
        };
        self.stop(stop, now);
    }

    /// Returns the position of the population and the level that an order asks for, if it may be
    /// had.
    fn checked_change(&self, asked: &ChangeLoad) -> Result<(usize, Option<f64>), ChangeRefusal> {
        if asked.run != self.file.run {
            return Err(ChangeRefusal::OtherRun {
                asked: asked.run.clone(),
                actual: self.file.run.clone(),
            });
        }
        if self.file.plan.control.allowed == ManualControl::StopOnly {
            return Err(ChangeRefusal::StopOnly);
        }
        if self.state != MasterState::Running {
            return Err(ChangeRefusal::NotRunning { state: self.state });
        }
        if self.facts.changes.len() >= MAX_CHANGES {
            return Err(ChangeRefusal::TooMany);
        }
        if let Some(session) = self.roster.sessions().find(|session| !session.changes_load) {
            let worker = session.index;
            return Err(ChangeRefusal::OldWorker { worker });
        }
        let place = self.asked_population(asked.scenario.as_deref())?;
        let population = &self.file.plan.populations[place];
        let scenario = || self.file.plan.scenarios_of(population);
        let Some((unit, _)) = level_of(population) else {
            return Err(no_level(&population.load, scenario()));
        };
        let (asked_unit, level) = match (asked.users, asked.rate, asked.profile) {
            (None, None, true) => return Ok((place, None)),
            (Some(users), None, false) => (LoadUnit::Users, f64::from(users)),
            (None, Some(rate), false) => (LoadUnit::Rate, rate),
            _ => return Err(ChangeRefusal::NotOne),
        };
        if asked_unit != unit {
            let unit = match unit {
                LoadUnit::Users => "users",
                LoadUnit::Rate => "rate",
            };
            let scenario = scenario();
            return Err(ChangeRefusal::OtherUnit { scenario, unit });
        }
        self.check_bounds(place, unit, level)?;
        Ok((place, Some(level)))
    }

    /// Holds a level against what a load may ever be, and against the policies of the cluster.
    fn check_bounds(&self, place: usize, unit: LoadUnit, level: f64) -> Result<(), ChangeRefusal> {
        let refused = |most: f64, of: &'static str| ChangeRefusal::OutOfBounds {
            asked: level,
            most,
            of,
        };
        if !(0.0..=MAX_LEVEL).contains(&level) {
            return Err(refused(MAX_LEVEL, ""));
        }
        let control = self.file.plan.control;
        let most = match unit {
            LoadUnit::Users => control.max_users.map(|most| most as f64),
            LoadUnit::Rate => control.max_rate,
        };
        let Some(most) = most else { return Ok(()) };
        // policies bound all loads of a run together
        let populations = self.file.plan.populations.iter().enumerate();
        let others: f64 = populations
            .filter(|(other, _)| *other != place)
            .map(|(_, population)| match unit {
                LoadUnit::Users => population.load.most() as f64,
                LoadUnit::Rate => rate_of(population),
            })
            .sum();
        let left = (most - others).max(0.0);
        match level > left {
            true => Err(refused(left, ", as the policies of the cluster have it")),
            false => Ok(()),
        }
    }

    /// Tells whether a load may have a level that a worker tells of.
    fn is_within_bounds(&self, place: usize, level: Option<f64>) -> bool {
        let unit = level_of(&self.file.plan.populations[place]).map(|(unit, _)| unit);
        let checked = unit.zip(level);
        checked.is_none_or(|(unit, level)| self.check_bounds(place, unit, level).is_ok())
    }

    /// Returns the position of the population that a scenario of this name is in, or that of the
    /// only one.
    fn asked_population(&self, scenario: Option<&str>) -> Result<usize, ChangeRefusal> {
        let plan = &self.file.plan;
        let known = || {
            let names = plan.scenarios.iter();
            let names: Vec<&str> = names.map(|scenario| scenario.name.as_str()).collect();
            names.join(", ")
        };
        match scenario {
            None if plan.populations.len() == 1 => Ok(0),
            None => Err(ChangeRefusal::WhichScenario { known: known() }),
            Some(name) => plan
                .population_of(name)
                .ok_or_else(|| ChangeRefusal::NoScenario {
                    asked: short(name),
                    known: known(),
                }),
        }
    }

    /// Makes the profiles those that the changes make of the test's. Everything that counts users
    /// and arrivals of this run goes by them.
    pub(super) fn apply_changes(&mut self) {
        let changes: Vec<LoadChange> = self.changes().collect();
        for (place, planned) in self.manual.planned.iter().enumerate() {
            let Some(planned) = planned else { continue };
            let changed = self.file.plan.changed_profile(place, planned, &changes);
            if let Some(profile) = self.file.plan.populations[place].load.profile_mut() {
                *profile = changed;
            }
        }
    }

    fn changes(&self) -> impl Iterator<Item = LoadChange> {
        self.facts.changes.iter().map(Made::change)
    }

    /// Changes so far, as workers are told them; `None` without any.
    pub(super) fn announced_changes(&self) -> Option<fleet::LoadChanges> {
        let changes = self.changes().map(|change| fleet::LoadChange {
            at_micros: change.at.as_micros() as u64,
            population: change.population.into(),
            level: change.level,
        });
        let changes: Vec<_> = changes.collect();
        (!changes.is_empty()).then_some(fleet::LoadChanges { changes })
    }

    fn broadcast_changes(&self) {
        if let Some(changes) = self.announced_changes() {
            self.broadcast(|| Message::LoadChanges(changes.clone()));
        }
    }

    /// Tells one worker of the changes, which it may not have heard.
    pub(super) fn send_changes(&mut self, id: SessionId) {
        let seat = self.roster.seat(id).and_then(|seat| seat.session.as_ref());
        if seat.is_some_and(|session| session.changes_load)
            && let Some(changes) = self.announced_changes()
        {
            self.send_to(id, Message::LoadChanges(changes));
        }
    }

    /// Learns from a worker what an earlier master changed. A master that was there when the run began
    /// knows it, and believes nobody who says more.
    pub(super) fn hear_changes(&mut self, told: Option<&fleet::LoadChanges>) {
        let told = told.map_or(&[][..], |told| &told.changes);
        let was_there = self.granted_at.is_some();
        let is_allowed = self.file.plan.control.allowed == ManualControl::Allowed;
        if was_there
            || !is_allowed
            || told.len() <= self.facts.changes.len()
            || told.len() > MAX_CHANGES
        {
            return;
        }
        let populations = self.file.plan.populations.len();
        let changes = told.iter().map(|change| LoadChange {
            at: Duration::from_micros(change.at_micros),
            population: u16::try_from(change.population).unwrap_or(u16::MAX),
            level: change.level,
        });
        let changes: Vec<LoadChange> = changes.collect();
        let is_sound = |change: &LoadChange| {
            let place = usize::from(change.population);
            place < populations && self.is_within_bounds(place, change.level)
        };
        if !changes.iter().all(is_sound) {
            return self.event("a worker tells changes of load that cannot be; they are left out");
        }
        let made = changes.into_iter().map(|change| self.retold(change));
        let changes: Vec<Made> = made.collect();
        self.event("the load was changed by hand before this master process began");
        if let Err(e) = self.remember(Facts {
            changes: changes.clone(),
            ..self.facts.clone()
        }) {
            self.event(&format!(
                "changes of load would not survive a restart of the master: {e}"
            ));
            self.facts.changes = changes;
        }
        self.apply_changes();
        self.broadcast_changes();
    }

    /// Tells a change of an earlier master as far as a worker knows it.
    fn retold(&self, change: LoadChange) -> Made {
        let plan = &self.file.plan;
        let population = &plan.populations[usize::from(change.population)];
        let begin = plan.warmup + population.start_after;
        let (unit, before) = level_of(population).map_or((LoadUnit::Users, 0.0), |level| {
            (level.0, level.1.level(change.at.saturating_sub(begin)))
        });
        let at = self
            .clock
            .and_then(|clock| clock.zero_at.checked_add(change.at).ok());
        let told = ManualChange {
            at: at.unwrap_or_else(Timestamp::now).to_string(),
            after_micros: change.at.as_micros() as u64,
            scenario: plan.scenarios_of(population),
            unit,
            before,
            level: change.level,
            by: String::new(),
        };
        let population = change.population;
        Made { population, told }
    }

    /// Levels of the loads with a profile, now.
    pub(super) fn load_progress(&self, now: Instant) -> Vec<LoadProgress> {
        let plan = &self.file.plan;
        let elapsed = self.elapsed(now);
        let populations = plan.populations.iter().zip(&self.manual.planned);
        let loads = populations
            .enumerate()
            .filter_map(|(place, (population, planned))| {
                let (unit, wanted) = level_of(population)?;
                let planned = planned.as_ref()?;
                let into = elapsed.checked_sub(plan.warmup + population.start_after);
                let level = |profile: &Profile| {
                    into.filter(|into| *into < profile.length())
                        .map_or(0.0, |into| profile.level(into))
                };
                let own = |change: &LoadChange| usize::from(change.population) == place;
                let last = self.changes().filter(own).last();
                Some(LoadProgress {
                    scenario: plan.scenarios_of(population),
                    unit,
                    planned: level(planned),
                    wanted: level(wanted),
                    by_hand: last.is_some_and(|change| change.level.is_some()),
                })
            });
        loads.collect()
    }

    /// Changes of load, for the result.
    pub(super) fn manual_changes(&self) -> Vec<ManualChange> {
        let made = self.facts.changes.iter();
        made.map(|made| made.told.clone()).collect()
    }

    /// Part of the planned load that is left, where a change by hand took so much of it that the run
    /// shows nothing of its profile.
    pub(super) fn lowered(&self) -> Option<f64> {
        if self.facts.changes.is_empty() {
            return None;
        }
        let plan = &self.file.plan;
        let until = self
            .cut_at
            .map_or(Duration::MAX, |at| at.saturating_sub(plan.warmup));
        Some(self.manual.kept(plan, until)).filter(|kept| *kept < ENOUGH)
    }
}

/// Returns the profile of a load that has one, with the unit of its levels.
fn level_of(population: &Population) -> Option<(LoadUnit, &Profile)> {
    match &population.load {
        Load::Closed { profile, .. } => Some((LoadUnit::Users, profile)),
        Load::Open { profile, .. } => Some((LoadUnit::Rate, profile)),
        Load::Iterations(_) | Load::Capacity(_) => None,
    }
}

fn no_level(load: &Load, scenario: String) -> ChangeRefusal {
    let what = match load {
        Load::Capacity(_) => "a search for the capacity",
        Load::Iterations(_) | Load::Closed { .. } | Load::Open { .. } => "a number of iterations",
    };
    ChangeRefusal::NoLevel { scenario, what }
}

/// Most iterations per second of open load, or requests of closed load, as policies count them.
fn rate_of(population: &Population) -> f64 {
    match &population.load {
        Load::Closed { .. } | Load::Iterations(_) => population.throttle.unwrap_or_default(),
        Load::Open { profile, .. } => profile.max_level(),
        Load::Capacity(capacity) => capacity.max,
    }
}
