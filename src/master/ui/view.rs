//! Translation of the present run into what the page is told. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::contract::{
    Answers, CoursePoint, CoursePoints, ErrorLine, Frame, HeatMap, Judgement, Point, Rule, Run,
    State, Step, StepName, VERSION, VerdictSoFar, Worker, WorkerState, Workers,
};
use super::downloads;
use crate::master::coordinator::Present;
use crate::master::courses::{Courses, StepPoint};
use crate::master::heat::{Column, Heat};
use crate::master::roster::{Holder, Instance, Roster};
use crate::master::saturation;
use crate::master::timeline::Moment;
use crate::plan::{Load, Plan, Protocol, Threshold};
use crate::stats::Histogram;
use crate::stats::result::{
    CapacityResult, ErrorResult, Event, LatencySummary, StatusCount, StepResult, ThresholdResult,
    Totals,
};
use crate::stats::summary::all_steps;
use crate::wire::control::{self, Progress};

/// Place of the sum of all steps.
const TOTAL: i32 = -1;

/// Percentiles of the curve; it ends where fewer than [`TAIL`] samples remain.
const CURVE: [f64; 16] = [
    0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.75, 99.9, 99.95, 99.99, 99.995, 99.999,
    99.9999,
];
/// Samples above a percentile without which it says nothing.
const TAIL: f64 = 10.0;

/// Most bytes that each part of a frame takes as JSON, so that the whole stays below 64 KiB.
const MAX_POINTS: usize = 5 * 1024;
const MAX_COLUMNS: usize = 5 * 1024;
const MAX_COURSES: usize = 6 * 1024;
const MAX_STEPS: usize = 11 * 1024;
const MAX_ERRORS: usize = 8 * 1024;
const MAX_JUDGEMENTS: usize = 6 * 1024;
const MAX_WORKERS: usize = 5 * 1024;
const MAX_LEVELS: usize = 5 * 1024;
const MAX_EVENTS: usize = 5 * 1024;
const MAX_PROBLEMS: usize = 4 * 1024;

/// Knowledge of the viewers, so that a frame has only what is new.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// Seconds since the run's zero of which points are known.
    through: u32,
    /// Seconds since the run's zero of which columns are known.
    columns_through: u32,
    /// Seconds since the run's zero of which the courses of steps are known.
    courses_through: u32,
    /// Requests of each step.
    requests: Vec<u64>,
    /// Step from which on the next frame looks for news.
    next_step: usize,
    /// Events.
    events: usize,
}

impl Told {
    /// Notes that everything is known.
    pub fn all(present: &Present<'_>) -> Self {
        let last = present.moments.last();
        let courses = present.courses.steps().values();
        let last_points = courses.filter_map(|course| course.last());
        let last_column = present.heat.columns().last();
        Self {
            through: last.map_or(0, end_of),
            courses_through: last_points.map(end_of_step).max().unwrap_or(0),
            columns_through: last_column.map_or(0, end_of_column),
            requests: present
                .so_far
                .steps
                .iter()
                .map(|step| step.requests)
                .collect(),
            next_step: 0,
            events: present.events.len(),
        }
    }
}

/// Circumstances of a viewer.
#[derive(Debug, Clone, Copy)]
pub struct Viewer {
    /// The viewer may stop the run and change its load.
    pub may_control: bool,
    /// The server ends soon after the run.
    pub ends_with_run: bool,
}

/// Builds the whole state, whose last frame was `id`.
pub fn state(present: &Present<'_>, id: u64, viewer: Viewer) -> State {
    let file = present.file;
    let plan = &file.plan;
    State {
        version: VERSION,
        may_control: viewer.may_control,
        ends_with_run: viewer.ends_with_run,
        run: Run {
            id: file.run.clone(),
            name: file.name.clone(),
            namespace: file.namespace.clone(),
            target: plan.target.url.to_string(),
            digest: file.digest.clone(),
            seed: present.seed.to_string(),
            overrides: file.overrides.clone(),
            warnings: file.warnings.clone(),
            warmup_micros: plan.warmup.as_micros() as u64,
            plan: present.plan_json.clone(),
            open: plan
                .populations
                .iter()
                .any(|population| population.load.is_open()),
        },
        step_names: step_names(plan),
        thresholds: rules(plan, &present.so_far.thresholds),
        series: points(plan, present.moments, 0),
        downloads: downloads::list(&file.run),
        frame: Frame {
            steps: steps(&present.so_far.steps),
            heat: HeatMap {
                resolution: present.heat.resolution(),
                columns: present.heat.columns().to_vec(),
            },
            courses: CoursePoints {
                resolution: present.courses.resolution(),
                points: course_points(plan, present.courses, 0),
            },
            events: present.events.to_vec(),
            events_from: 0,
            ..frame(present, id, &mut Told::all(present))
        },
    }
}

/// Builds the frame numbered `id` with what is not `told` yet, and notes it there. Its JSON is
/// shorter than 64 KiB: what does not fit comes with the next one, or is left out and counted.
pub fn frame(present: &Present<'_>, id: u64, told: &mut Told) -> Frame {
    let so_far = &present.so_far;
    let plan = &present.file.plan;
    let (errors, errors_left_out) = errors(&so_far.errors);
    let points = within(MAX_POINTS, points(plan, present.moments, told.through));
    if let Some(last) = points.last() {
        told.through = last.second + last.seconds;
    }
    let events_from = told.events;
    let new = present.events.iter().skip(events_from).cloned();
    let events = within(MAX_EVENTS, new.map(bounded));
    told.events += events.len();
    Frame {
        id,
        resolution: present.resolution,
        progress: progress(&present.progress),
        started_at: present.started_at.map(|at| at.to_string()),
        verdict: verdict(present),
        points,
        heat: heat(present.heat, told),
        courses: courses(plan, present.courses, told),
        total: total(&so_far.totals),
        steps: news(&so_far.steps, told),
        phases: so_far.totals.phases.clone(),
        answers: answers(&so_far.steps),
        errors,
        errors_left_out,
        thresholds: within(MAX_JUDGEMENTS, so_far.thresholds.iter().map(judgement)),
        workers: workers(present.roster),
        capacity: present.capacity.clone().map(newest_levels),
        curve: curve(&present.latency, &present.service_time),
        events_from,
        events,
    }
}

/// Takes items while their JSON fits into `bytes`.
fn within<T: Serialize>(bytes: usize, items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut left = bytes;
    items
        .into_iter()
        .map_while(|item| {
            let length = serde_json::to_string(&item).map_or(usize::MAX, |json| json.len() + 1);
            left = left.checked_sub(length)?;
            Some(item)
        })
        .collect()
}

/// Names of the steps that have results, in their order.
fn step_names(plan: &Plan) -> Vec<StepName> {
    plan.steps()
        .filter(|place| !place.is_control())
        .map(|place| StepName {
            r#type: match &place.step.call {
                Protocol::Http(http) => http.request.method.clone(),
                Protocol::Grpc(_) => "gRPC".to_owned(),
            },
            scenario: place.scenario.to_owned(),
            task: place.task.to_owned(),
            step: place.step.name.clone(),
        })
        .collect()
}

/// Rules of the thresholds whose results are shown: those of a search are known with its first
/// level.
fn rules(plan: &Plan, results: &[ThresholdResult]) -> Vec<Rule> {
    let one = |(threshold, result): (&Threshold, &ThresholdResult)| Rule {
        metric: result.metric.clone(),
        expr: result.expr.clone(),
        select: result.select.clone(),
        window_micros: result.window_micros,
        abort_on_fail: result.abort_on_fail,
        quantity: threshold.quantity,
        bound: threshold.bound,
        ceiling: threshold.comparison.is_ceiling(),
    };
    plan.thresholds.iter().zip(results).map(one).collect()
}

/// First second after a point.
fn end_of(moment: &Moment) -> u32 {
    moment.point.second + moment.seconds
}

/// Points that end after the second `through`; a point that grows is one of them.
fn points(plan: &Plan, moments: &[Moment], through: u32) -> Vec<Point> {
    let first = moments.partition_point(|moment| end_of(moment) <= through);
    moments[first..]
        .iter()
        .map(|moment| point(plan, moment))
        .collect()
}

/// First second after a column.
fn end_of_column(column: &Column) -> u32 {
    column.second + column.seconds
}

/// Columns that were not told yet; one that grows is one of them.
fn heat(heat: &Heat, told: &mut Told) -> HeatMap {
    let all = heat.columns();
    let first = all.partition_point(|column| end_of_column(column) <= told.columns_through);
    let columns = within(MAX_COLUMNS, all[first..].iter().cloned());
    if let Some(last) = columns.last() {
        told.columns_through = end_of_column(last);
    }
    HeatMap {
        resolution: heat.resolution(),
        columns,
    }
}

/// First second after a point of a step.
fn end_of_step(point: &StepPoint) -> u32 {
    point.second + point.seconds
}

/// Points of all steps that end after the second `through`, in the order of their seconds.
fn course_points(plan: &Plan, courses: &Courses, through: u32) -> Vec<CoursePoint> {
    // steps without results have no samples, and so no course
    let numbers = (0..).zip(plan.steps());
    let shown: Vec<u16> = numbers
        .filter(|(_, place)| !place.is_control())
        .map(|(number, _)| number)
        .collect();
    let mut points = Vec::new();
    for (place, number) in (0..).zip(&shown) {
        let course = courses.steps().get(number).map_or(&[][..], Vec::as_slice);
        let first = course.partition_point(|point| end_of_step(point) <= through);
        points.extend(course[first..].iter().map(|point| {
            let StepPoint {
                second,
                seconds,
                requests,
                failures,
                p50,
                p95,
                p99,
            } = *point;
            (place, second, seconds, requests, failures, p50, p95, p99)
        }));
    }
    points.sort_by_key(|(_, second, ..)| *second);
    points
}

/// Points of steps that were not told yet, of as many whole seconds as fit.
fn courses(plan: &Plan, courses: &Courses, told: &mut Told) -> CoursePoints {
    let all = course_points(plan, courses, told.courses_through);
    let seconds = all.chunk_by(|(_, one, ..), (_, other, ..)| one == other);
    let points: Vec<_> = within(MAX_COURSES, seconds).concat();
    let ends = points
        .iter()
        .map(|(_, second, seconds, ..)| second + seconds);
    told.courses_through = ends.max().unwrap_or(told.courses_through);
    CoursePoints {
        resolution: courses.resolution(),
        points,
    }
}

fn point(plan: &Plan, moment: &Moment) -> Point {
    let Moment {
        point,
        seconds,
        iterations,
        dropped,
        in_flight,
        p90,
        p999,
        max,
    } = *moment;
    // the profiles begin with the end of the warm-up
    let at = |second: u32| Duration::from_secs(second.into()).checked_sub(plan.warmup);
    let (from, to) = (at(point.second), at(point.second + seconds));
    let arrivals = |at: Duration| plan.open_arrivals(at);
    Point {
        second: point.second,
        seconds,
        requests: point.requests,
        failures: point.failures,
        users: point.users,
        iterations,
        dropped,
        in_flight,
        p50: point.p50,
        p90,
        p95: point.p95,
        p99: point.p99,
        p999,
        max,
        wanted_iterations: from
            .zip(to)
            .and_then(|(from, to)| Some(arrivals(to)?.saturating_sub(arrivals(from)?))),
        wanted_users: to.and_then(|at| wanted_users(plan, at)),
    }
}

/// Users that the closed populations want at `at` of the measured part; `None` without any.
fn wanted_users(plan: &Plan, at: Duration) -> Option<u64> {
    let closed = plan
        .populations
        .iter()
        .filter_map(|population| match &population.load {
            Load::Closed { profile, .. } => Some((population.start_after, profile)),
            Load::Open { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
        });
    let users = closed.map(|(start, profile)| match at.checked_sub(start) {
        Some(into) if into < profile.length() => profile.users(into),
        _ => 0,
    });
    users.reduce(|sum, users| sum + users)
}

/// Progress with as many problems as fit, and without what only the operator asks for.
fn progress(progress: &Progress) -> Progress {
    let problems = within(MAX_PROBLEMS, progress.problems.iter().cloned());
    Progress {
        problems,
        ..progress.clone()
    }
}

fn verdict(present: &Present<'_>) -> VerdictSoFar {
    let Some((verdict, reason, message)) = present.verdict else {
        return VerdictSoFar::default();
    };
    VerdictSoFar {
        r#final: true,
        verdict: Some(verdict),
        reason: Some(reason.clone()),
        message: Some(message.to_owned()),
    }
}

fn total(totals: &Totals) -> Step {
    let sums = Step {
        place: TOTAL,
        requests: totals.requests,
        failures: totals.failures,
        rps: totals.rps,
        bytes: totals.received_bytes,
        checks_failed: totals.checks_failed,
        ..none()
    };
    with_latency(sums, &totals.latency)
}

fn steps(results: &[StepResult]) -> Vec<Step> {
    let one = |(place, result)| step(place, result);
    results.iter().enumerate().map(one).collect()
}

fn step(place: usize, result: &StepResult) -> Step {
    let sums = Step {
        place: i32::try_from(place).unwrap_or(i32::MAX),
        requests: result.requests,
        failures: result.failures,
        rps: result.rps,
        bytes: result.received_bytes,
        checks_failed: result.checks_failed,
        ..none()
    };
    with_latency(sums, &result.latency)
}

/// A step without samples.
fn none() -> Step {
    Step {
        place: TOTAL,
        requests: 0,
        failures: 0,
        rps: 0.0,
        bytes: 0,
        checks_failed: 0,
        mean: 0.0,
        min: 0,
        p50: 0,
        p90: 0,
        p95: 0,
        p99: 0,
        p999: 0,
        max: 0,
    }
}

fn with_latency(step: Step, latency: &LatencySummary) -> Step {
    let LatencySummary {
        min,
        mean,
        p50,
        p90,
        p95,
        p99,
        p999,
        max,
    } = *latency;
    Step {
        mean,
        min,
        p50,
        p90,
        p95,
        p99,
        p999,
        max,
        ..step
    }
}

/// Steps with requests that were not told yet, from where the last frame ended.
fn news(results: &[StepResult], told: &mut Told) -> Vec<Step> {
    told.requests.resize(results.len(), 0);
    let count = results.len();
    let from = told.next_step;
    let order = (0..count).map(|offset| (from + offset) % count);
    let fresh = order.filter(|place| told.requests[*place] != results[*place].requests);
    let fresh = within(MAX_STEPS, fresh.map(|place| step(place, &results[place])));
    for step in &fresh {
        let place = step.place as usize;
        told.requests[place] = step.requests;
        told.next_step = place + 1;
    }
    fresh
}

fn answers(steps: &[StepResult]) -> Answers {
    let sum = |of: fn(&StepResult) -> &Vec<StatusCount>| {
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        for StatusCount { status, count } in steps.iter().flat_map(of) {
            *counts.entry(*status).or_default() += count;
        }
        counts.into_iter().collect()
    };
    Answers {
        http: sum(|step| &step.statuses),
        grpc: sum(|step| &step.grpc_statuses),
    }
}

/// The most frequent failures, and the number of those that are left out.
fn errors(results: &[ErrorResult]) -> (Vec<ErrorLine>, u64) {
    let line = |result: &ErrorResult| ErrorLine {
        class: result.class,
        scenario: result.scenario.clone(),
        task: result.task.clone(),
        step: result.step.clone(),
        status: result.status,
        count: result.count,
        sample: control::short(&result.sample),
    };
    let lines = within(MAX_ERRORS, results.iter().map(line));
    let left_out = results[lines.len()..].iter().map(|result| result.count);
    (lines, left_out.sum())
}

fn judgement(result: &ThresholdResult) -> Judgement {
    Judgement {
        observed_text: result.observed_text.clone(),
        verdict: result.verdict,
    }
}

/// The newest levels that fit.
fn newest_levels(mut capacity: CapacityResult) -> CapacityResult {
    let mut levels = within(MAX_LEVELS, capacity.curve.drain(..).rev());
    levels.reverse();
    CapacityResult {
        curve: levels,
        ..capacity
    }
}

/// Event with a message of bounded length, without control characters.
fn bounded(event: Event) -> Event {
    Event {
        message: control::short(&event.message),
        ..event
    }
}

fn curve(latency: &Histogram, service_time: &Histogram) -> Vec<(f64, u64, u64)> {
    let samples = latency.count() as f64;
    CURVE
        .into_iter()
        .filter(|percent| samples * (1.0 - percent / 100.0) >= TAIL)
        .map(|percent| {
            let of = |histogram: &Histogram| histogram.percentile(percent);
            (percent, of(latency), of(service_time))
        })
        .collect()
}

/// The fleet, with the busiest of its processes.
fn workers(roster: &Roster) -> Workers {
    let idle: BTreeSet<Holder> = roster.idle().map(|session| session.holder()).collect();
    let mut busiest: Vec<_> = roster
        .instances()
        .iter()
        .map(|(holder, instance)| (saturation::cpu(&instance.snapshot), holder, instance))
        .collect();
    // stable: equally busy ones stay in the order of their shares
    busiest.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
    let listed = busiest.iter().map(|(cpu, holder, instance)| {
        let state = worker_state(roster, holder, instance, &idle);
        worker(*cpu, holder.0, instance, state)
    });
    let mut list = within(MAX_WORKERS, listed);
    let left_out = busiest.len() - list.len();
    list.sort_by_key(|worker| worker.worker);
    let is_lost = |instance: &&Instance| {
        instance.is_at_work() && (instance.lost_at.is_some() || instance.superseded)
    };
    Workers {
        lost: roster.instances().values().filter(is_lost).count() as u32,
        cpu: saturation::cpu(&roster.merged()),
        list,
        left_out,
    }
}

fn worker_state(
    roster: &Roster,
    holder: &Holder,
    instance: &Instance,
    idle: &BTreeSet<Holder>,
) -> WorkerState {
    let is_connected = roster.session_of(holder).is_some();
    match (is_connected, instance.carrying, instance.last) {
        (true, true, false) => WorkerState::Working,
        (_, true, true) => WorkerState::Done,
        (true, false, _) if idle.contains(holder) => WorkerState::Ready,
        (true, false, _) => WorkerState::Connected,
        (false, ..) => WorkerState::Gone,
    }
}

fn worker(cpu: f64, index: u32, instance: &Instance, state: WorkerState) -> Worker {
    let samples = &instance.snapshot;
    let sum = all_steps(samples);
    let why = saturation::judge_one(index, samples).map(|saturated| saturated.why);
    let is_there = state != WorkerState::Gone;
    Worker {
        worker: index,
        place: control::short(&instance.place),
        state,
        users: if is_there { samples.users } else { 0 },
        requests: sum.requests,
        failures: sum.failures,
        p95: sum.latency.percentile(95.0),
        cpu,
        lag: samples.lag.percentile(99.0),
        why: why.unwrap_or_default(),
    }
}

#[cfg(test)]
pub mod tests;
