//! Load profiles and the populations that follow them.

use std::time::Duration;

use super::Problems;
use crate::crd::spec::*;
use crate::plan::*;

/// Longest load profile.
const MAX_LENGTH: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest time for which a level of a search is held.
const MAX_HOLD: Duration = Duration::from_secs(24 * 3600);
/// Smallest step and precision of a search: finer ones would take too long.
const MIN_SHARE: f64 = 0.01;

/// The parts of a spec that the load is made of.
pub(super) struct LoadParts<'a> {
    /// `spec.load`.
    pub load: &'a LoadSpec,
    /// `spec.scenarios`.
    pub scenario_specs: &'a [ScenarioSpec],
    /// The same scenarios, as checked.
    pub scenarios: &'a [Scenario],
    /// `spec.warmup`.
    pub warmup: &'a Option<WarmupSpec>,
}

/// A load, of the test or of one scenario: one of the models is set.
struct Models<'a> {
    closed: &'a Option<ClosedSpec>,
    open: &'a Option<OpenSpec>,
    iterations: &'a Option<IterationsSpec>,
    capacity: &'a Option<CapacitySpec>,
    throttle: &'a Option<ThrottleSpec>,
}

/// Returns the length of the warm-up and the populations: one for `spec.load`, or one for each
/// scenario with a load of its own. `None` if `spec.load` has a mistake.
pub(super) fn check_populations(
    parts: LoadParts<'_>,
    problems: &mut Problems,
) -> Option<(Duration, Vec<Population>)> {
    let LoadParts {
        load,
        scenario_specs,
        scenarios,
        warmup,
    } = parts;
    let each_has_its_own = scenario_specs
        .iter()
        .any(|scenario| scenario.load.is_some());
    let length = warmup.as_ref().map_or(Duration::ZERO, |warmup| {
        problems.positive_duration("spec.warmup.duration", &warmup.duration)
    });
    let target = warmup.as_ref().and_then(|warmup| warmup.target);
    let populations = if each_has_its_own {
        let seed_only = LoadSpec {
            seed: load.seed,
            ..LoadSpec::default()
        };
        if *load != seed_only {
            problems.add(
                "spec.load",
                "either this or the loads of the scenarios; a scenario has one of its own",
            );
        }
        if target.is_some() {
            problems.add(
                "spec.warmup.target",
                "of several loads each has its own; leave it to them, a tenth of each",
            );
        }
        check_own_loads(scenario_specs, problems)
    } else {
        let LoadSpec {
            closed,
            open,
            iterations,
            capacity,
            throttle,
            seed: _,
        } = load;
        let models = Models {
            closed,
            open,
            iterations,
            capacity,
            throttle,
        };
        let population = check_load("spec.load", models, target, problems)?;
        vec![Population {
            scenarios: (0..scenarios.len() as u16).collect(),
            ..population
        }]
    };
    populations
        .iter()
        .for_each(|population| check_casting(each_has_its_own, population, scenarios, problems));
    Some((length, populations))
}

/// Checks the loads of the scenarios, where one has a load and so each must.
fn check_own_loads(scenarios: &[ScenarioSpec], problems: &mut Problems) -> Vec<Population> {
    let mut populations = Vec::new();
    for (i, scenario) in scenarios.iter().enumerate() {
        let path = format!("spec.scenarios[{i}].load");
        let Some(load) = &scenario.load else {
            problems.add(
                path,
                "is missing: where one scenario has a load of its own, every one has",
            );
            continue;
        };
        let ScenarioLoadSpec {
            start_after,
            closed,
            open,
            iterations,
            throttle,
        } = load;
        let start_after = problems.duration(&format!("{path}.startAfter"), start_after);
        let models = Models {
            closed,
            open,
            iterations,
            capacity: &None,
            throttle,
        };
        let population = check_load(&path, models, None, problems);
        populations.extend(population.map(|population| Population {
            scenarios: vec![i as u16],
            start_after,
            ..population
        }));
    }
    populations
}

/// Checks that every user has a scenario to play. `alone` says that the population is that of one
/// scenario with a load of its own.
fn check_casting(
    alone: bool,
    population: &Population,
    scenarios: &[Scenario],
    problems: &mut Problems,
) {
    let members: Vec<(u16, &Scenario)> = population
        .scenarios
        .iter()
        .filter_map(|i| Some((*i, scenarios.get(usize::from(*i))?)))
        .collect();
    let fixed: u64 = members
        .iter()
        .filter_map(|(_, scenario)| scenario.fixed_users)
        .map(u64::from)
        .sum();
    let by_weight = members
        .iter()
        .any(|(_, scenario)| scenario.fixed_users.is_none() && (alone || scenario.weight > 0));
    let path = if alone {
        format!("spec.scenarios[{}].load", population.scenarios[0])
    } else {
        "spec.load".to_owned()
    };
    if fixed == 0 && !by_weight {
        problems.add(
            "spec.scenarios",
            "at least one scenario must have a weight above 0",
        );
    }
    if population.load.is_open() {
        for (i, _) in members
            .iter()
            .filter(|(_, scenario)| scenario.fixed_users.is_some())
        {
            problems.add(
                format!("spec.scenarios[{i}].fixedUsers"),
                "open load has no users; give a weight instead",
            );
        }
        return;
    }
    let most = population.load.most();
    if fixed > most {
        problems.add(&path, format!("there are never more than {most} users, but the fixedUsers of the scenarios are {fixed}"));
    }
    if fixed > 0 && fixed < most && !by_weight {
        problems
            .add(path, format!("every scenario has fixedUsers, {fixed} in all, so there is nothing to do for the others of {most} users"));
    }
}

/// Checks the load at `path` and returns its population, still without scenarios.
fn check_load(
    path: &str,
    models: Models<'_>,
    warmup_target: Option<u32>,
    problems: &mut Problems,
) -> Option<Population> {
    let Models {
        closed,
        open,
        iterations,
        capacity,
        throttle,
    } = models;
    // users, or iterations per second, that a level of 1 in the file stands for
    let mut unit = 1.0;
    let load = match (closed, open, iterations, capacity) {
        (Some(closed), None, None, None) => {
            check_closed(&format!("{path}.closed"), closed, problems)?
        }
        (None, Some(open), None, None) => {
            unit = per_second(open.per);
            check_open(&format!("{path}.open"), open, problems)?
        }
        (None, None, Some(iterations), None) => {
            check_iterations(&format!("{path}.iterations"), iterations, problems)
        }
        (None, None, None, Some(capacity)) => {
            unit = per_second(capacity.per);
            check_capacity(&format!("{path}.capacity"), capacity, problems)
        }
        _ => {
            problems.add(path, "exactly one of closed, open, iterations and capacity");
            return None;
        }
    };
    check_extent(path, &load, problems);
    check_throttle(path, throttle, &load, problems);
    let most = load.max_level() / unit;
    let tenth = (most / 10.0).floor().max(1.0).min(most);
    let warmup_target = warmup_target.map_or(tenth, f64::from) * unit;
    let throttle = throttle.as_ref().map(|throttle| throttle.rps.get());
    Some(Population {
        scenarios: vec![],
        start_after: Duration::ZERO,
        warmup_target,
        throttle,
        load,
    })
}

/// Checks that a load has a level above 0 and a length that is neither zero nor too long.
fn check_extent(path: &str, load: &Load, problems: &mut Problems) {
    if load.max_level() <= 0.0 {
        problems.add(path, "no load: every level is 0");
    }
    if let Some(length) = load
        .length()
        // what cannot be read lasts no time
        .filter(|length| length.is_zero() && !problems.is_any_below(path) || *length > MAX_LENGTH)
    {
        problems.add(
            path,
            format!(
                "lasts {}; it must last longer than nothing and at most 7 days",
                duration::format(length)
            ),
        );
    }
}

fn check_throttle(
    path: &str,
    throttle: &Option<ThrottleSpec>,
    load: &Load,
    problems: &mut Problems,
) {
    if throttle.is_some() && load.is_open() {
        let why = "open load starts iterations when they are due; to delay them would hide it. Lower the rate instead";
        problems.add(format!("{path}.throttle"), why);
    }
    if throttle
        .as_ref()
        .is_some_and(|throttle| throttle.rps.get() <= 0.0)
    {
        problems.add(format!("{path}.throttle.rps"), "must be more than 0");
    }
}

fn check_iterations(path: &str, iterations: &IterationsSpec, problems: &mut Problems) -> Load {
    let IterationsSpec {
        count,
        users,
        per_user,
        max_duration,
        retry_pause,
    } = iterations;
    for (field, number) in [("count", *count), ("users", *users)] {
        if number == 0 {
            problems.add(format!("{path}.{field}"), "must be at least 1");
        }
    }
    let max_duration = max_duration
        .as_ref()
        .map(|text| problems.positive_duration(&format!("{path}.maxDuration"), text));
    Load::Iterations(Iterations {
        count: (*count).into(),
        users: *users,
        per_user: *per_user,
        max_duration,
        retry_pause: problems.duration(&format!("{path}.retryPause"), retry_pause),
    })
}

fn check_capacity(path: &str, capacity: &CapacitySpec, problems: &mut Problems) -> Load {
    let CapacitySpec {
        start,
        max,
        per,
        step,
        hold,
        settle,
        precision,
        max_in_flight,
        at_least,
    } = capacity;
    if start.get() <= 0.0 || *max_in_flight == 0 {
        problems.add(path, "start and maxInFlight must be more than 0");
    }
    if start > max {
        problems.add(format!("{path}.max"), "is less than start");
    }
    if at_least.is_some_and(|rate| rate > *max) {
        problems.add(
            format!("{path}.atLeast"),
            "is more than max, so it could never be found",
        );
    }
    let (hold, settle) = check_hold(path, hold, settle, problems);
    let mut share = |field: &str, text: &str| {
        let share = percent(text).filter(|share| *share >= MIN_SHARE);
        if share.is_none() {
            problems.add(
                format!("{path}.{field}"),
                format!("{text:?} is not a share from 1% to 100%"),
            );
        }
        share.unwrap_or(MIN_SHARE)
    };
    let (step, precision) = (share("step", step), share("precision", precision));
    let rate = |rate: Amount| rate.get() * per_second(*per);
    Load::Capacity(Capacity {
        start: rate(*start),
        max: rate(*max),
        step,
        hold,
        settle,
        precision,
        max_in_flight: *max_in_flight,
        at_least: at_least.map(rate),
    })
}

/// Checks the times of a search's level: both in whole seconds, and a part of `hold` left to judge.
fn check_hold(
    path: &str,
    hold: &str,
    settle: &str,
    problems: &mut Problems,
) -> (Duration, Duration) {
    let mut whole_seconds = |field: &str, text: &str| {
        let time = problems.duration(&format!("{path}.{field}"), text);
        if time.subsec_nanos() > 0 {
            problems.add(
                format!("{path}.{field}"),
                "must be whole seconds, in which samples are counted",
            );
        }
        time
    };
    let (hold, settle) = (whole_seconds("hold", hold), whole_seconds("settle", settle));
    if settle >= hold || hold > MAX_HOLD {
        let longest = duration::format(MAX_HOLD);
        problems.add(
            format!("{path}.hold"),
            format!(
                "must be longer than settle, for the rest of it is judged, and at most {longest}"
            ),
        );
    }
    (hold, settle)
}

/// Checks a share from `0%` to `100%`, which becomes a number from 0 to 1.
pub(super) fn check_share(path: &str, text: &str, problems: &mut Problems) -> f64 {
    percent(text).unwrap_or_else(|| {
        problems.add(path, format!("{text:?} is not a share from 0% to 100%"));
        0.0
    })
}

/// Reads a share from `0%` to `100%` as a number from 0 to 1; `None` for anything else.
pub(super) fn percent(text: &str) -> Option<f64> {
    let percent = text.strip_suffix('%')?.parse::<f64>().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// Returns a rate of 1 in this unit as a rate per second.
fn per_second(per: Per) -> f64 {
    match per {
        Per::Second => 1.0,
        Per::Minute => 1.0 / 60.0,
        Per::Hour => 1.0 / 3600.0,
    }
}

fn check_closed(path: &str, closed: &ClosedSpec, problems: &mut Problems) -> Option<Load> {
    let ClosedSpec {
        users,
        duration,
        ramp_up,
        start_at,
        stages,
        spawn_rate,
        max_missing,
        retry_pause,
    } = closed;
    let shape = Shape {
        level: users.map(Amount::from),
        level_name: "users",
        duration,
        ramp_up,
        start_at: start_at.map(Amount::from),
        stages,
    };
    if spawn_rate.is_some_and(|rate| rate.get() <= 0.0) {
        problems.add(format!("{path}.spawnRate"), "must be more than 0");
    }
    for (i, stage) in stages.iter().flatten().enumerate() {
        if !stage.target.is_whole() {
            let field = format!("{path}.stages[{i}].target");
            problems.add(field, "must be whole: there is no part of a user");
        }
    }
    let retry_pause = problems.duration(&format!("{path}.retryPause"), retry_pause);
    let max_missing = check_share(&format!("{path}.maxMissing"), max_missing, problems);
    Some(Load::Closed {
        profile: check_profile(path, shape, 1.0, problems)?,
        spawn_rate: spawn_rate.map(Amount::get),
        max_missing,
        retry_pause,
    })
}

fn check_open(path: &str, open: &OpenSpec, problems: &mut Problems) -> Option<Load> {
    let OpenSpec {
        rate,
        per,
        duration,
        ramp_up,
        start_at,
        stages,
        arrival,
        max_in_flight,
        max_dropped,
    } = open;
    if *max_in_flight == 0 {
        problems.add(format!("{path}.maxInFlight"), "must be at least 1");
    }
    let max_dropped = check_share(&format!("{path}.maxDropped"), max_dropped, problems);
    let shape = Shape {
        level: *rate,
        level_name: "rate",
        duration,
        ramp_up,
        start_at: *start_at,
        stages,
    };
    let profile = check_profile(path, shape, per_second(*per), problems)?;
    let arrival = match arrival {
        ArrivalSpec::Constant => Arrival::Constant,
        ArrivalSpec::Poisson => Arrival::Poisson,
    };
    Some(Load::Open {
        profile,
        arrival,
        max_in_flight: *max_in_flight,
        max_dropped,
    })
}

/// The fields that closed and open load have in common.
struct Shape<'a> {
    level: Option<Amount>,
    level_name: &'a str,
    duration: &'a Option<String>,
    ramp_up: &'a Option<String>,
    start_at: Option<Amount>,
    stages: &'a Option<Vec<StageSpec>>,
}

fn check_profile(
    path: &str,
    shape: Shape<'_>,
    scale: f64,
    problems: &mut Problems,
) -> Option<Profile> {
    let Shape {
        level,
        level_name,
        duration,
        ramp_up,
        start_at,
        stages,
    } = shape;
    match (level, duration, stages) {
        (Some(level), Some(duration), None) => {
            if level.get() <= 0.0 {
                let why = match level_name {
                    "users" => "must be at least 1",
                    _ => "must be more than 0",
                };
                problems.add(format!("{path}.{level_name}"), why);
            }
            if start_at.is_some() {
                problems.add(format!("{path}.startAt"), "goes with stages");
            }
            let hold = problems.duration(&format!("{path}.duration"), duration);
            let ramp_up = ramp_up.as_ref().map_or(Duration::ZERO, |text| {
                problems.duration(&format!("{path}.rampUp"), text)
            });
            Some(Profile::ramp_and_hold(level.get() * scale, ramp_up, hold))
        }
        (None, None, Some(stages)) => {
            if ramp_up.is_some() {
                problems.add(
                    format!("{path}.rampUp"),
                    "goes with a duration; stages ramp by themselves",
                );
            }
            let stages = stages
                .iter()
                .enumerate()
                .map(|(i, StageSpec { duration, target })| Stage {
                    duration: problems.duration(&format!("{path}.stages[{i}].duration"), duration),
                    target: target.get() * scale,
                });
            Some(Profile {
                stages: stages.collect(),
                start_at: start_at.map_or(0.0, Amount::get) * scale,
            })
        }
        _ => {
            problems.add(path, format!("either {level_name} and duration, or stages"));
            None
        }
    }
}
