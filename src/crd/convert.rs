//! The conversion of a spec into a plan: every rule that the schema cannot express, and each
//! mistake with its field path. CLI, operator and workers share it.
//!
//! This file holds the order of the checks; `context` is what the checks of targets and steps
//! share, and the other files have one part of the spec each.

mod auth;
mod check;
mod context;
mod cost;
mod extract;
mod feeder;
mod limits;
mod load;
mod once;
mod pace;
mod problems;
mod reserved;
mod run;
mod scenario;
mod short_form;
mod step;
mod stream;
mod target;
mod threshold;
mod transport;
mod variables;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use context::Context;
use cost::check_cost;
use feeder::{check_feeders, declare_feeders};
use load::{LoadParts, check_populations, check_share};
use problems::{Problems, free_value_size};
use reserved::check_reserved;
use run::{check_deadline, check_request_log, check_workers, replicas_remark};
use step::grpc::{check_grpc, check_protos};
use threshold::{Judged, check_thresholds};
use variables::{check_delimiters, check_variables};

use serde::{Deserialize, Serialize};

use super::spec::*;
use crate::plan::budget::{self, MAX_EXPANDED};
use crate::plan::threshold::Metric;
use crate::plan::*;

/// Largest size of a spec as JSON, in bytes.
const MAX_SPEC: usize = 256 * 1024;

/// Longest time for which a worker without a master keeps up its load.
const MAX_GRACE: Duration = Duration::from_secs(10 * 60);
/// Longest time from the grant of a run to its end.
const MAX_DEADLINE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest time for which iterations may go on after the end of the load.
const MAX_STOP_TIMEOUT: Duration = Duration::from_secs(3600);

/// A spec without mistakes, as a plan and the settings that are not part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// Plan of the run.
    pub plan: Plan,
    /// Warnings, each with its field path: what is allowed but most likely not meant.
    pub warnings: Vec<String>,
    /// Fields that only `starling run` can follow, which a cluster refuses.
    #[serde(default)]
    pub local_only: Vec<Problem>,
    /// Number of workers, 1 to 2,000.
    pub workers: u32,
    /// Longest time from the creation of a run until every worker is ready.
    pub start_deadline: Duration,
    /// Time for which a worker without a master keeps up its load.
    pub grace: Duration,
    /// Time from the grant after which a run that has not ended is ended.
    pub deadline: Duration,
    /// Time for which the master is kept after the end of a run.
    pub ttl_after_finished: Duration,
}

impl Checked {
    /// Returns the spec if a cluster can carry it out.
    ///
    /// # Errors
    ///
    /// Every field that only `starling run` can follow.
    pub fn for_cluster(self) -> Result<Self, Vec<Problem>> {
        match self.local_only.is_empty() {
            true => Ok(self),
            false => Err(self.local_only),
        }
    }
}

/// Checks a spec and turns it into a plan.
///
/// # Errors
///
/// Every mistake, each with its field path.
pub fn check(spec: &LoadTestSpec) -> Result<Checked, Vec<Problem>> {
    check_with(spec, &BTreeMap::new())
}

/// Checks a spec as [`check()`] does, knowing the columns of feeders whose data could be read, by
/// the feeder's name: templates may then use no other column.
///
/// # Errors
///
/// Every mistake, each with its field path.
pub fn check_with(
    spec: &LoadTestSpec,
    columns: &BTreeMap<String, Arc<Columns>>,
) -> Result<Checked, Vec<Problem>> {
    // a mistake in the size is the only one reported: the rest of the work grows with the size
    check_size(spec).map_err(|problem| vec![problem])?;
    let (spec, forms) = short_form::expand(spec)?;
    let mut checked = budget::within(MAX_EXPANDED, || check_within_budget(&spec, columns))
        .map_err(|mut problems| {
            for problem in &mut problems {
                problem.path = short_form::as_written(&problem.path, &forms);
            }
            problems
        })?;
    for warning in &mut checked.warnings {
        *warning = short_form::as_written(warning, &forms);
    }
    for (scenario, form) in checked.plan.scenarios.iter_mut().zip(forms) {
        scenario.written = form;
    }
    Ok(checked)
}

fn check_within_budget(
    spec: &LoadTestSpec,
    columns: &BTreeMap<String, Arc<Columns>>,
) -> Result<Checked, Vec<Problem>> {
    let mut problems = Problems::default();
    limits::check_counts(spec, &mut problems);
    if !problems.found.is_empty() {
        return Err(problems.found);
    }
    let requests = check_requests(spec, columns, &mut problems);
    let parts = LoadParts {
        load: &spec.load,
        scenario_specs: &spec.scenarios,
        scenarios: &requests.scenarios,
        warmup: &spec.warmup,
    };
    let load = check_populations(parts, &mut problems);
    let mut settings = check_settings(spec, &requests.scenarios, load.as_ref(), &mut problems);
    let mut times = check_times(spec, &settings, &requests, load.as_ref(), &mut problems);
    let bounded = bound_times(&mut settings, &mut times);
    let plan = assemble(spec, requests, load, settings).filter(|_| problems.found.is_empty());
    let Some(plan) = plan else {
        return Err(problems.found);
    };
    check_reserved(spec, &plan, &mut problems);
    if !problems.found.is_empty() {
        return Err(problems.found);
    }
    let remarks = bounded
        .into_iter()
        .chain(replicas_remark(&spec.workers, times.workers));
    let warnings = remarks
        .chain(problems.warnings)
        .chain(warnings(&plan))
        .collect();
    let Times {
        workers,
        start_deadline,
        grace,
        ttl_after_finished,
        deadline,
    } = times;
    Ok(Checked {
        plan,
        warnings,
        local_only: problems.local_only,
        workers,
        start_deadline,
        grace,
        deadline,
        ttl_after_finished,
    })
}

/// Puts the checked parts of a plan together; `None` if the target or the load has a mistake.
fn assemble(
    spec: &LoadTestSpec,
    requests: Requests,
    load: Option<(Duration, Vec<Population>)>,
    settings: Settings,
) -> Option<Plan> {
    let Requests {
        variables,
        feeders,
        target,
        targets,
        http,
        once,
        scenarios,
    } = requests;
    let (warmup, populations) = load?;
    let Settings {
        setup_timeout,
        cost,
        grpc,
        protos,
        stop_timeout,
        max_failures,
        thresholds,
        request_log,
    } = settings;
    Some(Plan {
        target: target?,
        targets,
        http,
        grpc,
        protos,
        variables,
        feeders,
        once: Once {
            setup_timeout,
            ..once
        },
        cost,
        scenarios,
        populations,
        warmup,
        thresholds,
        stop_timeout,
        preflight: spec.run.preflight,
        on_saturation: spec.run.on_saturation,
        max_failures,
        request_log,
        address_rules: AddressRules::default(),
        control: crate::plan::manual::Control {
            allowed: spec.run.manual_control,
            ..Default::default()
        },
        seed: spec.load.seed.map(|seed| seed as u64),
    })
}

fn check_size(spec: &LoadTestSpec) -> Result<(), Problem> {
    let size = serde_json::to_vec(spec).map_or(0, |json| json.len());
    if size <= MAX_SPEC {
        return Ok(());
    }
    Err(Problem::new(
        "spec",
        format!("SpecTooLarge: {size} bytes as JSON, at most {MAX_SPEC} are allowed"),
    ))
}

/// The parts of a plan in which templates stand, which are checked in the order in which names
/// become known.
struct Requests {
    variables: Variables,
    feeders: Vec<Feeder>,
    /// `None` if the target has a mistake.
    target: Option<Target>,
    targets: Vec<Target>,
    http: Http,
    once: Once,
    scenarios: Vec<Scenario>,
}

fn check_requests(
    spec: &LoadTestSpec,
    columns: &BTreeMap<String, Arc<Columns>>,
    problems: &mut Problems,
) -> Requests {
    let delimiters = check_delimiters(&spec.template_delimiters, problems);
    let (variables, mut resolved) =
        check_variables(&spec.variables, &spec.variables_from, &delimiters, problems);
    let without_feeders = resolved.names.clone();
    declare_feeders(
        &mut resolved.names,
        variables.slots(),
        &spec.feeders,
        columns,
    );
    let feeders = check_feeders(&spec.feeders, &variables, problems);
    let timeout = problems.positive_duration("spec.http.timeout", &spec.http.timeout);
    let mut context = Context {
        names: resolved.names,
        free_slot: variables.slots() + feeders.len() as Slot,
        delimiters: &delimiters,
        follow_redirects: spec.http.follow_redirects,
        timeout,
        targets: spec.targets.keys().map(String::as_str).collect(),
        max_message_size: spec.grpc.max_message_size,
        open: spec.load.open.is_some() || spec.load.capacity.is_some(),
        problems,
    };
    let targets =
        |context: &mut Context<'_>| (context.target(&spec.target), context.targets(&spec.targets));
    let (target, targets) = match spec.setup.is_empty() && spec.teardown.is_empty() {
        true => targets(&mut context),
        // the targets' headers are sent with these steps, too, and they may use no feeders
        false => context.knowing(without_feeders.clone(), targets),
    };
    let http = context.http(&spec.http);
    let once = context.once(without_feeders, &spec.setup, &spec.teardown);
    let scenarios = context.scenarios(&spec.scenarios, once.steps().count());
    Requests {
        variables,
        feeders,
        target,
        targets,
        http,
        once,
        scenarios,
    }
}

/// The parts of a plan that hold no templates, apart from the load.
struct Settings {
    setup_timeout: Duration,
    cost: Option<Cost>,
    grpc: Grpc,
    protos: Option<Protos>,
    stop_timeout: Duration,
    max_failures: f64,
    thresholds: Vec<Threshold>,
    request_log: Option<RequestLog>,
}

fn check_settings(
    spec: &LoadTestSpec,
    scenarios: &[Scenario],
    load: Option<&(Duration, Vec<Population>)>,
    problems: &mut Problems,
) -> Settings {
    // every field of the spec is read here or in one of the other checks
    let LoadTestSpec {
        target: _,
        targets: _,
        http: _,
        grpc,
        protos,
        variables: _,
        variables_from: _,
        template_delimiters: _,
        feeders: _,
        setup: _,
        teardown: _,
        steps: _,
        scenarios: _,
        load: _,
        warmup: _,
        thresholds,
        samples,
        cost,
        workers: _,
        master: _,
        run,
    } = spec;
    Settings {
        setup_timeout: problems.positive_duration("spec.run.setupTimeout", &run.setup_timeout),
        cost: cost.as_ref().map(|cost| check_cost(cost, problems)),
        grpc: check_grpc(grpc, problems),
        protos: protos.as_ref().map(|protos| check_protos(protos, problems)),
        stop_timeout: problems.duration("spec.run.stopTimeout", &run.stop_timeout),
        max_failures: check_share("spec.run.maxFailures", &run.max_failures, problems),
        thresholds: check_rules(thresholds, scenarios, load, problems),
        request_log: samples
            .as_ref()
            .and_then(|samples| check_request_log(samples, problems)),
    }
}

fn check_rules(
    thresholds: &[ThresholdSpec],
    scenarios: &[Scenario],
    load: Option<&(Duration, Vec<Population>)>,
    problems: &mut Problems,
) -> Vec<Threshold> {
    let is_open = load
        .into_iter()
        .flat_map(|(_, populations)| populations)
        .all(|population| population.load.is_open());
    let records = scenarios
        .iter()
        .flat_map(Scenario::steps)
        .flat_map(|place| &place.step.record);
    let trends = problems
        .take("spec.scenarios", trends(records))
        .unwrap_or_default();
    let judged = Judged {
        scenarios,
        is_open,
        trends: &trends,
    };
    check_thresholds(thresholds, &judged, problems)
}

/// The settings of a run that are not part of its plan: its fleet and its times.
struct Times {
    workers: u32,
    start_deadline: Duration,
    grace: Duration,
    ttl_after_finished: Duration,
    deadline: Duration,
}

fn check_times(
    spec: &LoadTestSpec,
    settings: &Settings,
    requests: &Requests,
    load: Option<&(Duration, Vec<Population>)>,
    problems: &mut Problems,
) -> Times {
    let LoadTestSpec {
        setup,
        workers,
        run,
        ..
    } = spec;
    let start_deadline =
        problems.positive_duration("spec.workers.startDeadline", &workers.start_deadline);
    let grace = problems.positive_duration("spec.workers.grace", &workers.grace);
    let ttl_after_finished =
        problems.duration("spec.run.ttlAfterFinished", &run.ttl_after_finished);
    let populations = load.map_or(&[][..], |(_, populations)| populations);
    let count = check_workers(workers, populations, problems);
    let setup = match setup.is_empty() {
        true => Duration::ZERO,
        false => settings.setup_timeout,
    };
    let targets = requests.target.iter().chain(&requests.targets);
    let awaited = targets
        .filter_map(|target| Some(target.ready_when.as_ref()?.timeout))
        .max()
        .unwrap_or_default();
    let beside_load = settings.stop_timeout + awaited + setup;
    let deadline = check_deadline(run.deadline.as_deref(), load, beside_load, problems);
    Times {
        workers: count,
        start_deadline,
        grace,
        ttl_after_finished,
        deadline,
    }
}

/// Shortens times that are longer than an installation can stand, and returns a remark about each.
/// The schema allows them, since stored objects may have them.
fn bound_times(settings: &mut Settings, times: &mut Times) -> Vec<String> {
    let bounds = [
        ("spec.workers.grace", &mut times.grace, MAX_GRACE),
        ("spec.run.deadline", &mut times.deadline, MAX_DEADLINE),
        (
            "spec.run.stopTimeout",
            &mut settings.stop_timeout,
            MAX_STOP_TIMEOUT,
        ),
    ];
    let mut remarks = Vec::new();
    for (path, value, most) in bounds {
        if *value > most {
            let (asked, most_text) = (duration::format(*value), duration::format(most));
            remarks.push(format!(
                "{path}: {asked} is more than the most, so it is {most_text}"
            ));
            *value = most;
        }
    }
    remarks
}

/// Returns what is allowed in a plan but most likely not meant.
fn warnings(plan: &Plan) -> Vec<String> {
    let has = |metric: fn(Metric) -> bool| {
        plan.thresholds
            .iter()
            .any(|threshold| metric(threshold.metric))
    };
    let mut warnings = Vec::new();
    if plan.capacity().is_some() && plan.thresholds.is_empty() {
        warnings.push("spec.thresholds: there are none, so a rate holds as long as any request succeeds and none is dropped".to_owned());
    }
    if has(|metric| metric.reads_successes()) && !has(|metric| metric == Metric::Failures) {
        warnings.push(
            "spec.thresholds: times count successes only, and there is no threshold on failures: a target that fails quickly would pass"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests;
