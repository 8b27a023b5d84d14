//! Frames and states of runs that were put together by hand.

use std::time::Instant;

use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::master::result::SoFar;
use crate::master::roster::Session;
use crate::master::{Coordinator, Memory};
use crate::stats::errors::MAX_KEYS;
use crate::stats::result::{Reason, SeriesPoint, ThresholdVerdict, Verdict};
use crate::stats::{ErrorClass, Snapshot, StepStats};
use crate::wire::layout::RunFile;

/// Most bytes of a frame.
const LIMIT: usize = 64 * 1024;

pub fn run_file(spec: serde_json::Value) -> RunFile {
    let plan = crate::crd::check(&serde_json::from_value(spec).unwrap())
        .unwrap()
        .plan;
    RunFile {
        run: "r-1".into(),
        name: "r".into(),
        namespace: None,
        digest: "d".into(),
        workers: 1,
        grace: Duration::from_secs(90),
        on_loss: Default::default(),
        overrides: vec![],
        warnings: vec![],
        plan,
    }
}

fn spec(steps: usize, load: serde_json::Value) -> serde_json::Value {
    let steps: Vec<_> = (0..steps)
        .map(|number| json!({"name": format!("step {number} {}", "\u{1F600}".repeat(40)), "http": {"path": "/"}}))
        .collect();
    json!({
        "target": {"url": "http://t"},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": steps}]}],
        "load": load,
        "run": {"preflight": "Off"},
    })
}

fn closed() -> serde_json::Value {
    json!({"closed": {"users": 10, "rampUp": "10s", "duration": "10s"}})
}

/// A run, as far as a page sees it.
struct Shown {
    file: RunFile,
    plan_json: serde_json::Value,
    progress: Progress,
    so_far: SoFar,
    latency: Histogram,
    moments: Vec<Moment>,
    heat: Heat,
    courses: Courses,
    capacity: Option<CapacityResult>,
    roster: Roster,
    events: Vec<Event>,
    verdict: Option<Verdict>,
}

impl Shown {
    fn new(spec: serde_json::Value) -> Self {
        let file = run_file(spec);
        let coordinator = Coordinator::new(file.clone(), Memory::none(), Instant::now()).unwrap();
        let present = coordinator.present(Instant::now());
        Self {
            plan_json: present.plan_json.clone(),
            progress: present.progress.clone(),
            so_far: present.so_far.clone(),
            latency: Histogram::new(),
            moments: vec![],
            heat: Heat::default(),
            courses: Courses::default(),
            capacity: None,
            roster: Roster::new(1),
            events: vec![],
            verdict: None,
            file,
        }
    }

    fn present(&self) -> Present<'_> {
        Present {
            file: &self.file,
            plan_json: &self.plan_json,
            seed: u64::MAX,
            progress: self.progress.clone(),
            started_at: None,
            verdict: self
                .verdict
                .map(|verdict| (verdict, &Reason::ThresholdsMet, "all were met")),
            so_far: self.so_far.clone(),
            latency: self.latency.clone(),
            service_time: Histogram::new(),
            moments: &self.moments,
            resolution: 1,
            heat: &self.heat,
            courses: &self.courses,
            capacity: self.capacity.clone(),
            roster: &self.roster,
            events: &self.events,
        }
    }
}

fn moment(second: u32) -> Moment {
    Moment {
        point: SeriesPoint {
            second,
            requests: u64::MAX,
            p50: u64::MAX,
            ..SeriesPoint::default()
        },
        seconds: 1,
        ..Moment::default()
    }
}

/// A message that takes as many bytes as it can.
fn hostile() -> String {
    "\u{1b}\"\\".repeat(100)
}

fn event(number: usize) -> Event {
    Event {
        at: "2026-01-01T00:00:00Z".into(),
        message: format!("{number} {}", hostile()),
    }
}

/// As much of everything as there can be.
fn crowded() -> Shown {
    let mut shown = Shown::new(spec(190, closed()));
    for (number, step) in shown.so_far.steps.iter_mut().enumerate() {
        step.requests = u64::MAX - number as u64;
        step.latency.mean = f64::MAX;
    }
    shown.so_far.errors = (0..MAX_KEYS as u16)
        .map(|status| ErrorResult {
            class: Some(ErrorClass::Status),
            scenario: "s".into(),
            task: "t".into(),
            step: hostile(),
            status: Some(status),
            count: 3,
            sample: hostile(),
            retry_after: None,
        })
        .collect();
    let judged = |number| ThresholdResult {
        metric: "latency".into(),
        expr: format!("p(95) < {number}s"),
        select: json!({}),
        window_micros: None,
        abort_on_fail: false,
        observed: Some(1.0),
        observed_second: None,
        observed_text: "1.234s in second 1234".into(),
        verdict: ThresholdVerdict::Passed,
    };
    shown.so_far.thresholds = (0..500).map(judged).collect();
    shown.moments = (0..1200).map(moment).collect();
    let mut latency = Histogram::new();
    (10..27).for_each(|power| latency.record(1 << power));
    (0..1200).for_each(|second| shown.heat.add(second, &latency, u64::MAX / 2000));
    let stats = |place| {
        let mut stats = StepStats {
            requests: u64::MAX / 2000,
            ..StepStats::default()
        };
        stats.latency.record(60_000_000);
        (place, stats)
    };
    let snapshot = Snapshot {
        steps: (0..190).map(stats).collect(),
        ..Snapshot::default()
    };
    (0..290).for_each(|second| shown.courses.add(second, &snapshot));
    shown.events = (0..200).map(event).collect();
    let level = crate::stats::result::CapacityLevel {
        why: hostile(),
        ..Default::default()
    };
    shown.capacity = Some(CapacityResult {
        curve: vec![level; 100],
        ..CapacityResult::default()
    });
    shown.roster = Roster::new(2000);
    for index in 0..2000 {
        let (sender, _) = mpsc::channel(1);
        let id = u64::from(index);
        shown.roster.take_seat(Session::new(id, index, "a", sender));
        shown.roster.note_place(index, "a", hostile());
    }
    let problem = control::WorkerProblem {
        worker: 0,
        kind: control::ProblemKind::InvalidSpec,
        field: hostile(),
        object: hostile(),
        message: hostile(),
        for_seconds: 1,
    };
    shown.progress.problems = vec![problem; 64];
    shown
}

#[test]
fn a_frame_of_a_large_run_is_small_and_the_next_ones_tell_the_rest() {
    let shown = crowded();
    let present = shown.present();
    let mut told = Told::default();
    let (mut steps, mut seconds, mut events) = (BTreeSet::new(), BTreeSet::new(), 0);
    let (mut columns, mut courses) = (0, 0);
    for id in 1..=400 {
        let frame = frame(&present, id, &mut told);
        let length = serde_json::to_string(&frame).unwrap().len();
        assert!(length < LIMIT, "{length}");
        assert_eq!(frame.events_from, events);
        events += frame.events.len();
        steps.extend(frame.steps.iter().map(|step| step.place));
        columns += frame.heat.columns.len();
        courses += frame.courses.points.len();
        seconds.extend(frame.points.iter().map(|point| point.second));
        assert!(frame.errors_left_out > 0 && frame.workers.left_out > 0);
        let listed: u64 = frame.errors.iter().map(|line| line.count).sum();
        assert_eq!(listed + frame.errors_left_out, 3 * MAX_KEYS as u64);
        assert_eq!(frame.workers.list.len() + frame.workers.left_out, 2000);
    }
    assert_eq!((steps.len(), events), (190, 200));
    assert_eq!((columns, courses), (shown.heat.columns().len(), 50 * 290));
    assert_eq!(seconds, BTreeSet::from_iter(0..1200));
}

#[test]
fn a_frame_tells_only_what_is_new() {
    let mut shown = Shown::new(spec(3, closed()));
    (shown.moments, shown.events) = (vec![moment(0), moment(1)], vec![event(0)]);
    let mut told = Told::all(&shown.present());
    let first = frame(&shown.present(), 7, &mut told);
    assert_eq!(
        (first.id, first.points.len(), first.events.len()),
        (7, 0, 0)
    );
    assert!(first.steps.is_empty());
    // a second more, in a point that stands for two, an event, and requests of one step
    shown.moments[1].seconds = 2;
    shown.events.push(event(1));
    shown.so_far.steps[2].requests = 5;
    let second = frame(&shown.present(), 8, &mut told);
    assert_eq!((second.points.len(), second.points[0].second), (1, 1));
    assert_eq!((second.events_from, second.events.len()), (1, 1));
    let places: Vec<_> = second.steps.iter().map(|step| step.place).collect();
    assert_eq!(places, [2]);
    let third = frame(&shown.present(), 9, &mut told);
    assert!(third.points.is_empty() && third.steps.is_empty() && third.events.is_empty());
}

#[test]
fn a_state_has_everything_whatever_was_told() {
    let shown = crowded();
    let viewer = Viewer {
        may_control: false,
        ends_with_run: true,
    };
    let state = state(&shown.present(), 5, viewer);
    assert_eq!((state.frame.id, state.series.len()), (5, 1200));
    assert_eq!(
        (state.frame.steps.len(), state.step_names.len()),
        (190, 190)
    );
    assert_eq!(
        (state.frame.events_from, state.frame.events.len()),
        (0, 200)
    );
    assert!(state.ends_with_run && !state.may_control);
    // a browser holds numbers as floats
    assert_eq!(state.run.seed, u64::MAX.to_string());
    let name = &state.step_names[7];
    assert_eq!((name.r#type.as_str(), name.scenario.as_str()), ("GET", "s"));
}

#[test]
fn the_requested_load_is_that_of_the_profile_after_the_warm_up() {
    let wanted = |spec: serde_json::Value, second| {
        let shown = Shown::new(spec);
        let point = point(&shown.file.plan, &moment(second));
        (point.wanted_users, point.wanted_iterations)
    };
    assert_eq!(wanted(spec(1, closed()), 4), (Some(5), None));
    assert_eq!(wanted(spec(1, closed()), 15), (Some(10), None));
    assert_eq!(wanted(spec(1, closed()), 19), (Some(0), None));
    let open = json!({"open": {"rate": 50, "duration": "10s", "maxInFlight": 10}});
    assert_eq!(wanted(spec(1, open.clone()), 3), (None, Some(50)));
    let mut warm = spec(1, open);
    warm["warmup"] = json!({"duration": "5s"});
    assert_eq!(wanted(warm.clone(), 3), (None, None));
    assert_eq!(wanted(warm, 6), (None, Some(50)));
}

#[test]
fn the_curve_ends_where_too_few_samples_remain() {
    let (mut latency, mut service_time) = (Histogram::new(), Histogram::new());
    assert!(curve(&latency, &service_time).is_empty());
    for value in 1..=1000 {
        latency.record(value);
        service_time.record(10);
    }
    let curve = curve(&latency, &service_time);
    assert_eq!(curve.last().map(|(percent, ..)| *percent), Some(99.0));
    assert!(curve.contains(&(50.0, 500, 10)), "{curve:?}");
}

#[test]
fn there_is_no_verdict_before_the_end() {
    let mut shown = Shown::new(spec(1, closed()));
    let mut told = Told::default();
    assert_eq!(
        frame(&shown.present(), 1, &mut told).verdict,
        VerdictSoFar::default()
    );
    shown.verdict = Some(Verdict::Passed);
    let verdict = frame(&shown.present(), 2, &mut told).verdict;
    assert!(verdict.r#final);
    assert_eq!(verdict.message.as_deref(), Some("all were met"));
}

#[test]
fn the_busiest_workers_are_listed_by_index() {
    let shown = crowded();
    let workers = workers(&shown.roster);
    let listed: Vec<u32> = workers.list.iter().map(|worker| worker.worker).collect();
    assert!(listed.is_sorted() && listed.len() > 3, "{listed:?}");
    assert_eq!(workers.list[0].state, WorkerState::Connected);
    assert!(!workers.list[0].place.contains('\u{1b}'));
}

#[test]
fn answers_of_all_steps_add_up_by_status() {
    let step = |counts: &[(u16, u64)]| StepResult {
        statuses: counts
            .iter()
            .map(|(status, count)| StatusCount {
                status: *status,
                count: *count,
            })
            .collect(),
        ..StepResult::default()
    };
    let answers = answers(&[step(&[(200, 3), (503, 1)]), step(&[(200, 4)])]);
    assert_eq!(answers.http, [(200, 7), (503, 1)]);
    assert!(answers.grpc.is_empty());
}
