//! How much load, over time.

use std::time::Duration;

use super::Problems;
use crate::crd::spec::*;
use crate::plan::*;

/// A profile may be so long.
const MAX_LENGTH: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is done side by side.
pub(super) fn check_populations(load: &LoadSpec, scenarios: &[Scenario], problems: &mut Problems) -> Option<Vec<Population>> {
    let load = check_load("spec.load", load, problems)?;
    let population = Population::only(scenarios.len(), load);
    check_casting("spec.load", &population, scenarios, problems);
    Some(vec![population])
}

/// That every user has something to play.
fn check_casting(path: &str, population: &Population, scenarios: &[Scenario], problems: &mut Problems) {
    let members: Vec<(u16, &Scenario)> = population.scenarios.iter().filter_map(|i| Some((*i, scenarios.get(usize::from(*i))?))).collect();
    let fixed: u64 = members.iter().filter_map(|(_, scenario)| scenario.fixed_users).map(u64::from).sum();
    let by_weight = members.iter().any(|(_, scenario)| scenario.fixed_users.is_none() && scenario.weight > 0);
    if fixed == 0 && !by_weight {
        problems.add("spec.scenarios", "at least one scenario must have a weight above 0");
    }
    if population.load.is_open() {
        for (i, _) in members.iter().filter(|(_, scenario)| scenario.fixed_users.is_some()) {
            problems.add(format!("spec.scenarios[{i}].fixedUsers"), "open load has no users; give a weight instead");
        }
        return;
    }
    let most = population.load.most();
    if fixed > most {
        problems.add(path, format!("there are never more than {most} users, but the fixedUsers of the scenarios are {fixed}"));
    }
    if fixed > 0 && fixed < most && !by_weight {
        problems
            .add(path, format!("every scenario has fixedUsers, {fixed} in all, so there is nothing to do for the others of {most} users"));
    }
}

fn check_load(path: &str, load: &LoadSpec, problems: &mut Problems) -> Option<Load> {
    let checked = match (&load.closed, &load.open) {
        (Some(closed), None) => check_closed(&format!("{path}.closed"), closed, problems)?,
        (None, Some(open)) => check_open(&format!("{path}.open"), open, problems)?,
        _ => {
            problems.add(path, "exactly one of closed and open");
            return None;
        }
    };
    let (Load::Closed { profile, .. } | Load::Open { profile, .. }) = &checked;
    if profile.max_level() <= 0.0 {
        problems.add(path, "no load: every level is 0");
    }
    if profile.length().is_zero() || profile.length() > MAX_LENGTH {
        problems.add(path, format!("lasts {}; it must last longer than nothing and at most 7 days", duration::format(profile.length())));
    }
    Some(checked)
}

fn check_closed(path: &str, closed: &ClosedSpec, problems: &mut Problems) -> Option<Load> {
    let ClosedSpec { users, duration, ramp_up, start_at, stages, spawn_rate } = closed;
    let shape = Shape { level: *users, level_name: "users", duration, ramp_up, start_at, stages };
    if *spawn_rate == Some(0) {
        problems.add(format!("{path}.spawnRate"), "must be at least 1");
    }
    Some(Load::Closed { profile: check_profile(path, shape, 1.0, problems)?, spawn_rate: spawn_rate.map(f64::from) })
}

fn check_open(path: &str, open: &OpenSpec, problems: &mut Problems) -> Option<Load> {
    let OpenSpec { rate, per, duration, ramp_up, start_at, stages, arrival, max_in_flight, max_dropped } = open;
    let seconds = match per {
        Per::Second => 1.0,
        Per::Minute => 60.0,
        Per::Hour => 3600.0,
    };
    if *max_in_flight == 0 {
        problems.add(format!("{path}.maxInFlight"), "must be at least 1");
    }
    let share =
        max_dropped.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).filter(|percent| (0.0..=100.0).contains(percent));
    if share.is_none() {
        problems.add(format!("{path}.maxDropped"), format!("{max_dropped:?} is not a share from 0% to 100%"));
    }
    let shape = Shape { level: *rate, level_name: "rate", duration, ramp_up, start_at, stages };
    let profile = check_profile(path, shape, 1.0 / seconds, problems)?;
    let arrival = match arrival {
        ArrivalSpec::Constant => Arrival::Constant,
        ArrivalSpec::Poisson => Arrival::Poisson,
    };
    Some(Load::Open { profile, arrival, max_in_flight: *max_in_flight, max_dropped: share.unwrap_or_default() / 100.0 })
}

/// The fields that closed and open load write alike.
struct Shape<'a> {
    level: Option<u32>,
    level_name: &'a str,
    duration: &'a Option<String>,
    ramp_up: &'a Option<String>,
    start_at: &'a Option<u32>,
    stages: &'a Option<Vec<StageSpec>>,
}

fn check_profile(path: &str, shape: Shape<'_>, scale: f64, problems: &mut Problems) -> Option<Profile> {
    let Shape { level, level_name, duration, ramp_up, start_at, stages } = shape;
    match (level, duration, stages) {
        (Some(level), Some(duration), None) => {
            if level == 0 {
                problems.add(format!("{path}.{level_name}"), "must be at least 1");
            }
            if start_at.is_some() {
                problems.add(format!("{path}.startAt"), "goes with stages");
            }
            let hold = problems.duration(&format!("{path}.duration"), duration);
            let ramp_up = ramp_up.as_ref().map_or(Duration::ZERO, |text| problems.duration(&format!("{path}.rampUp"), text));
            Some(Profile::ramp_and_hold(f64::from(level) * scale, ramp_up, hold))
        }
        (None, None, Some(stages)) => {
            if ramp_up.is_some() {
                problems.add(format!("{path}.rampUp"), "goes with a duration; stages ramp by themselves");
            }
            let stages = stages.iter().enumerate().map(|(i, StageSpec { duration, target })| Stage {
                duration: problems.duration(&format!("{path}.stages[{i}].duration"), duration),
                target: f64::from(*target) * scale,
            });
            Some(Profile { stages: stages.collect(), start_at: f64::from(start_at.unwrap_or(0)) * scale })
        }
        _ => {
            problems.add(path, format!("either {level_name} and duration, or stages"));
            None
        }
    }
}
