//! How much load, over time.

use std::time::Duration;

use super::Problems;
use crate::crd::spec::*;
use crate::plan::*;

/// A profile may be so long.
const MAX_LENGTH: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn check_load(load: &LoadSpec, problems: &mut Problems) -> Option<Load> {
    let checked = match (&load.closed, &load.open) {
        (Some(closed), None) => Load::Closed { profile: check_closed(closed, problems)? },
        (None, Some(open)) => check_open(open, problems)?,
        _ => {
            problems.add("spec.load", "exactly one of closed and open");
            return None;
        }
    };
    let profile = checked.profile();
    if profile.max_level() <= 0.0 {
        problems.add("spec.load", "no load: every level is 0");
    }
    if profile.length().is_zero() || profile.length() > MAX_LENGTH {
        problems
            .add("spec.load", format!("lasts {}; it must last longer than nothing and at most 7 days", duration::format(profile.length())));
    }
    Some(checked)
}

fn check_closed(closed: &ClosedSpec, problems: &mut Problems) -> Option<Profile> {
    let ClosedSpec { users, duration, ramp_up, start_at, stages } = closed;
    let shape = Shape { level: *users, level_name: "users", duration, ramp_up, start_at, stages };
    check_profile("spec.load.closed", shape, 1.0, problems)
}

fn check_open(open: &OpenSpec, problems: &mut Problems) -> Option<Load> {
    let OpenSpec { rate, per, duration, ramp_up, start_at, stages, max_in_flight, max_dropped } = open;
    let seconds = match per {
        Per::Second => 1.0,
        Per::Minute => 60.0,
        Per::Hour => 3600.0,
    };
    if *max_in_flight == 0 {
        problems.add("spec.load.open.maxInFlight", "must be at least 1");
    }
    let share =
        max_dropped.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).filter(|percent| (0.0..=100.0).contains(percent));
    if share.is_none() {
        problems.add("spec.load.open.maxDropped", format!("{max_dropped:?} is not a share from 0% to 100%"));
    }
    let shape = Shape { level: *rate, level_name: "rate", duration, ramp_up, start_at, stages };
    let profile = check_profile("spec.load.open", shape, 1.0 / seconds, problems)?;
    Some(Load::Open { profile, max_in_flight: *max_in_flight, max_dropped: share.unwrap_or_default() / 100.0 })
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
