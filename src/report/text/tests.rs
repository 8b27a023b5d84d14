//! The report of a run with something in every part.

use super::{Style, WIDTH, render};
use crate::stats::ErrorClass;
use crate::stats::result::{
    ArrivalLoad, CapacityLevel, CapacityResult, Cause, ConcurrencyResult, CostBasis, CostResult,
    ErrorResult, Event, FeederResult, Generator, GoodputResult, LatencySummary, LevelResult,
    LimitedBy, LlmResult, LoadResult, PhaseResult, Purpose, Reason, RecordResult, RetryAfterResult,
    RunResult, SCHEMA_VERSION, SaturatedWorker, Shortfall, StatusCount, StepResult, StreamResult,
    TaskResult, ThresholdResult, ThresholdVerdict, Totals, Verdict, Workers,
};

pub const LATENCY: LatencySummary = LatencySummary {
    min: 800,
    mean: 5_120.5,
    p50: 4_900,
    p90: 9_100,
    p95: 14_230,
    p99: 61_000,
    p999: 120_000,
    max: 1_500_000,
};

fn threshold(
    metric: &str,
    expr: &str,
    observed: &str,
    verdict: ThresholdVerdict,
) -> ThresholdResult {
    let select = if verdict == ThresholdVerdict::Failed {
        serde_json::json!({"step": "POST /predict"})
    } else {
        serde_json::Value::Null
    };
    ThresholdResult {
        metric: metric.into(),
        expr: expr.into(),
        select,
        window_micros: None,
        abort_on_fail: false,
        observed: Some(1.0),
        observed_second: None,
        observed_text: observed.into(),
        verdict,
    }
}

/// A run with something in every part.
pub fn result() -> RunResult {
    let names = || {
        (
            "client".to_owned(),
            "predict".to_owned(),
            "POST /predict".to_owned(),
        )
    };
    let (scenario, task, step) = names();
    let steps = vec![StepResult {
        scenario,
        task,
        step,
        requests: 12_345,
        failures: 3,
        failure_rate: 3.0 / 12_345.0,
        rps: 1_234.5,
        latency: LATENCY,
        service_time: LATENCY,
        ..StepResult::default()
    }];
    let (scenario, task, step) = names();
    let sample = "\x1b]0;owned\x07 boom\r\n\u{202e}".into();
    let errors = vec![ErrorResult {
        class: Some(ErrorClass::Status),
        scenario,
        task,
        step,
        status: Some(500),
        count: 3,
        sample,
        retry_after: None,
    }];
    RunResult {
        schema_version: SCHEMA_VERSION.into(),
        run: "categorizer-k3v7ra".into(),
        name: "categorizer".into(),
        namespace: None,
        target: "http://127.0.0.1:8000".into(),
        digest: "d".into(),
        plan: serde_json::json!({}),
        seed: 7,
        overrides: vec!["--users 10".into()],
        started_at: Some("2026-01-01T00:00:00.000123Z".into()),
        finished_at: "2026-01-01T00:00:10Z".into(),
        duration_micros: 10_000_000,
        verdict: Verdict::Failed,
        reason: Reason::ThresholdsBreached,
        message: "1 of 2 thresholds not met: latency p(95) < 10ms: observed 14.2ms".into(),
        totals: Totals {
            requests: 12_345,
            failures: 3,
            failure_rate: 3.0 / 12_345.0,
            iterations: 12_345,
            rps: 1_234.5,
            achieved_rate: 1_234.5,
            requested_rate: Some(1_250.0),
            dropped: 12,
            interrupted: 2,
            connects: 10,
            sent_bytes: 1_258_291,
            received_bytes: 3_000,
            latency: LATENCY,
            service_time: LATENCY,
            ..Totals::default()
        },
        steps,
        tasks: Vec::new(),
        records: Vec::new(),
        errors,
        load: Some(LoadResult {
            offered: 0.972,
            arrivals: Some(ArrivalLoad {
                planned: 12_500,
                missing: 338,
                dropped: 12,
            }),
            users: None,
            iterations: None,
            shortfalls: vec![Shortfall {
                cause: Cause::WorkersLost,
                share: 0.027,
                why: "a worker was lost or left early".into(),
            }],
        }),
        capacity: None,
        thresholds: vec![
            threshold(
                "latency",
                "p(95) < 10ms",
                "14.2ms",
                ThresholdVerdict::Failed,
            ),
            threshold("failures", "rate < 1%", "0.02%", ThresholdVerdict::Passed),
        ],
        concurrency: None,
        cost: None,
        generator: Generator {
            cpu: 0.61,
            schedule_lag_p99: 80,
            ..Generator::default()
        },
        feeders: vec![],
        fleet: vec![],
        manual_changes: vec![],
        workers: Workers {
            planned: 1,
            lost: 0,
            rejoined: 0,
            reissued: 0,
            bytes_per_second: 0,
        },
        incomplete: None,
        series: Vec::new(),
        histograms: Vec::new(),
        blocks: None,
        events: vec![Event {
            at: "2026-01-01T00:00:01Z".into(),
            message: "worker 0 joined".into(),
        }],
        warnings: vec!["spec.thresholds: look".into()],
    }
}

/// A run with all that a report can show, much of it too long or too much for the page.
fn everything() -> RunResult {
    let mut result = result();
    result.message = "the target was slow ".repeat(9);
    result.generator.saturated = true;
    result.generator.start_skew_micros = 1_234;
    result.workers = Workers {
        planned: 4,
        lost: 1,
        rejoined: 1,
        reissued: 0,
        bytes_per_second: 2_048,
    };
    result.overrides = vec!["--users 10".into(), "--duration 10s".into()];
    everything_judged(&mut result);
    everything_counted(&mut result);
    everything_of_steps(&mut result);
    result.feeders = vec![FeederResult {
        name: "texts".into(),
        leased: 1_000,
        used: 900,
        lost: 100,
    }];
    result
}

fn everything_judged(result: &mut RunResult) {
    let mut windowed = threshold(
        "latency",
        "p(99) < 1s",
        "1.5s in second 7",
        ThresholdVerdict::NotJudged,
    );
    windowed.window_micros = Some(30_000_000);
    windowed.select = serde_json::json!({"tags": {"tier": "gold", "zone": 1}, "outcome": "All"});
    result.thresholds.push(windowed);
    result.thresholds.push(threshold(
        "latency",
        &"p(99) < 1s ".repeat(20),
        "2s",
        ThresholdVerdict::Failed,
    ));
    let level = |rate, purpose, held| CapacityLevel {
        rate,
        purpose,
        held,
        why: if held {
            String::new()
        } else {
            "latency p(95) < 50ms: observed 90ms".into()
        },
        achieved_rate: rate - 0.5,
        failure_rate: 0.015,
        dropped: 3,
        p50: 900,
        p95: 14_230,
        p99: 61_000,
        ..CapacityLevel::default()
    };
    result.capacity = Some(CapacityResult {
        rate: Some(395.25),
        limited_by: Some(LimitedBy::Target),
        at_least: Some(300.0),
        curve: vec![
            level(100.0, Purpose::Search, true),
            level(600.0, Purpose::Search, false),
            level(100.0, Purpose::Recovery, true),
            level(395.25, Purpose::Confirmation, true),
        ],
    });
    result.concurrency = Some(ConcurrencyResult {
        in_flight: Some(LevelResult {
            mean: 12.34,
            max: 20,
        }),
        users: Some(LevelResult {
            mean: 49.9,
            max: 50,
        }),
        slots: None,
        by_latency: 12.1,
    });
    result.cost = Some(CostResult {
        currency: "EUR".into(),
        per_hour: Some(4.1),
        basis: CostBasis::Achieved,
        rate: Some(250.0),
        per_million_requests: Some(4.5555),
        tokens_per_million_requests: Some(12.0),
        wanted_rate: Some(2000.0),
        endpoints: Some(8),
        ..CostResult::default()
    });
}

fn everything_counted(result: &mut RunResult) {
    let totals = &mut result.totals;
    (totals.checks_passed, totals.checks_failed) = (990, 10);
    (totals.warmup, totals.warmup_failures) = (1_000, 1);
    (totals.control, totals.control_failures) = (20, 3);
    (totals.retries, totals.redirect_hops) = (5, 7);
    (totals.feeder_drops, totals.unsent) = (2, 4);
    totals.goodput = Some(GoodputResult {
        good: 93,
        intended: 1_000,
        per_second: 9.3,
        ratio: 0.093,
    });
    totals.phases = vec![PhaseResult {
        phase: "wait".into(),
        count: 3,
        summary: LATENCY,
    }];
    result.records = vec![RecordResult {
        name: "inference of a model with a name that is too long".into(),
        unit: "ms".into(),
        count: 1_000,
        missing: 3,
        mean: 4.25,
        p50: 4.0,
        p95: 9.5,
        p99: 12.0,
        max: 31.0,
        ..RecordResult::default()
    }];
    let worker = SaturatedWorker {
        worker: 3,
        cpu: 0.97,
        throttled: 0.0,
        schedule_lag_p99: 1,
        exhausted: 0,
        why: "it used 97% of its CPU time".into(),
    };
    (result.generator.workers, result.generator.saturated_workers) = (vec![worker], 5);
}

fn everything_of_steps(result: &mut RunResult) {
    let of_status = |status, count| StatusCount { status, count };
    result.steps[0].grpc_statuses = vec![of_status(0, 600), of_status(14, 2), of_status(77, 1)];
    result.steps[0].goodput = result.totals.goodput;
    result.steps[0].stream = Some(StreamResult {
        messages_sent: 3,
        messages_received: 1_234,
        received_per_second: 123.4,
        first: Some(LATENCY),
        gap: Some(LATENCY),
        ..StreamResult::default()
    });
    let mut other = result.steps[0].clone();
    other.task = "look".into();
    other.stream = Some(StreamResult {
        llm: Some(LlmResult {
            ttft: LATENCY,
            first_answer: Some(LATENCY),
            itl: LATENCY,
            tpot: LATENCY,
            input_tokens: 5_000,
            input_tokens_per_second: 500.0,
            output_tokens: 50_000,
            reasoning_tokens: 7,
            output_tokens_per_second: 5_000.0,
            ..LlmResult::default()
        }),
        ..StreamResult::default()
    });
    result.steps.push(other);
    result.tasks = vec![TaskResult {
        scenario: "client".into(),
        task: "predict".into(),
        finished: 200,
        failed: 2,
        duration: LATENCY,
    }];
    result.errors[0].retry_after = Some(RetryAfterResult {
        count: 3,
        min: 1,
        median: 5,
        max: 90,
    });
    let mut unplaced = result.errors[0].clone();
    (unplaced.class, unplaced.status, unplaced.retry_after) = (None, None, None);
    unplaced.step = String::new();
    result.errors.resize(12, unplaced);
}

#[test]
fn nothing_from_a_target_reaches_the_terminal_as_a_command() {
    let mut result = result();
    result.message = "a\u{1b}[31mb\r\nc\u{9b}2Jd\u{202e}e".into();
    result.name = "n\x07ame".into();
    let text = render(&result, Style::Plain);
    assert!(
        text.chars()
            .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'),
        "{text:?}"
    );
    assert!(text.contains("]0;owned boom"), "{text}");
}

#[test]
fn a_saturated_generator_is_the_first_thing_said() {
    let mut result = result();
    result.generator.saturated = true;
    let text = render(&result, Style::Plain);
    let starts = |nth: usize, word: &str| text.lines().nth(nth).unwrap().starts_with(word);
    assert!(starts(0, "SATURATED"), "{text}");
    assert!(starts(1, "BELOW PROFILE"), "{text}");
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words} in {text}"))
    };
    let told =
        "BELOW PROFILE  Only 97.2% of the planned load was offered: 12,500 arrivals planned,";
    let why = "\n               2.7% of it: a worker was lost or left early.\n";
    assert!(at(told) < at(why) && at(why) < at("\nFAILED"), "{text}");
}

#[test]
fn the_verdict_comes_first_with_its_reason() {
    let mut result = result();
    result.load = None;
    let text = render(&result, Style::Plain);
    assert!(
        text.starts_with("FAILED  categorizer  ThresholdsBreached: 1 of 2 thresholds not met"),
        "{text}"
    );
}

#[test]
fn every_number_has_its_unit() {
    let text = render(&result(), Style::Plain);
    for part in [
        "FAILED      latency p(95) < 10ms of step POST /predict",
        "14.2ms",
        "requests    12,345 (1234/s), 3 failed (0.02%)",
        "iterations  12,345 (1234/s of 1250/s asked for), 12 dropped",
        "bytes       1.2 MiB sent, 2.93 KiB received",
        "10 opened; 2 requests cut at the end",
        "cpu         61% of the cores it may use",
        "late by     at most 80us",
        "3           status 500 in POST /predict",
        "time        2026-01-01T00:00:00Z to 2026-01-01T00:00:10Z",
        "changed by  --users 10",
        "warning     spec.thresholds: look",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn what_is_in_flight_and_what_it_costs_is_said_with_its_conditions() {
    let mut result = result();
    result.concurrency = Some(ConcurrencyResult {
        in_flight: Some(LevelResult {
            mean: 12.34,
            max: 20,
        }),
        users: Some(LevelResult {
            mean: 49.9,
            max: 50,
        }),
        slots: None,
        by_latency: 12.1,
    });
    let cost = CostResult {
        currency: "EUR".into(),
        per_hour: Some(4.1),
        basis: CostBasis::Sustainable,
        ..CostResult::default()
    };
    let served = CostResult {
        rate: Some(250.0),
        per_million_requests: Some(4.5555),
        wanted_rate: Some(2000.0),
        endpoints: Some(8),
        ..cost.clone()
    };
    result.cost = Some(served);
    let text = render(&result, Style::Plain);
    for part in [
        "in flight   12.3 on average, 20 at most; by rate x mean latency 12.1",
        "users       49.9 on average, 50 at most",
        "a million   4.56 EUR at 250/s, which holds at this run's thresholds",
        "endpoints   8 for 2000/s, 32.80 EUR an hour",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    result.cost = Some(CostResult {
        why_not: "the load generator was the limit".into(),
        ..cost
    });
    assert!(render(&result, Style::Plain).contains("no price    the load generator was the limit"));
}

#[test]
fn what_only_some_tests_have_is_shown_only_for_them() {
    let plain = render(&result(), Style::Plain);
    for label in [
        "checks",
        "warm-up",
        "control",
        "also sent",
        "no row",
        "- wait",
        "ITERATION",
        "RECORD",
        "GRPC",
        "Retry-After",
        "saturated",
    ] {
        assert!(!plain.contains(label), "{label:?} is in\n{plain}");
    }
    let mut result = result();
    let totals = &mut result.totals;
    (
        totals.checks_passed,
        totals.checks_failed,
        totals.warmup,
        totals.control,
        totals.control_failures,
    ) = (990, 10, 1_000, 20, 3);
    (totals.retries, totals.redirect_hops, totals.feeder_drops) = (5, 7, 2);
    totals.phases = vec![PhaseResult {
        phase: "wait".into(),
        count: 3,
        summary: LATENCY,
    }];
    let of_status = |status, count| StatusCount { status, count };
    result.steps[0].grpc_statuses = vec![of_status(0, 600), of_status(14, 2)];
    result.steps.push(result.steps[0].clone());
    result.tasks = vec![TaskResult {
        scenario: "client".into(),
        task: "predict".into(),
        finished: 200,
        failed: 2,
        duration: LATENCY,
    }];
    let inference = RecordResult {
        name: "inference".into(),
        unit: "ms".into(),
        count: 1_000,
        missing: 3,
        mean: 4.25,
        p50: 4.0,
        ..RecordResult::default()
    };
    result.records = vec![RecordResult {
        p95: 9.5,
        p99: 12.0,
        max: 31.0,
        ..inference
    }];
    result.errors[0].retry_after = Some(RetryAfterResult {
        count: 3,
        min: 1,
        median: 5,
        max: 90,
    });
    let worker = SaturatedWorker {
        worker: 3,
        cpu: 0.97,
        throttled: 0.0,
        schedule_lag_p99: 1,
        exhausted: 0,
        why: "it used 97%".into(),
    };
    (result.generator.workers, result.generator.saturated_workers) = (vec![worker], 5);
    let text = render(&result, Style::Plain);
    for part in [
        "checks      1,000 made, 10 failed (1%)",
        "1,200       0 OK",
        "4           14 UNAVAILABLE",
        "warm-up     1,000 requests; not in the other numbers",
        "control     20 requests of setup, onStart, health and the like, 3 failed; not in the other numbers",
        "also sent   5 tried again, 7 redirected",
        "no row      2 of the dropped arrivals",
        "  - wait             800us    5.12ms",
        "  client / predict                             200       1%            4.9ms",
        "  inference                                  1,000        3   4.25ms     4ms   9.5ms    12ms    31ms",
        "; Retry-After 1s to 1m30s, median 5s",
        "saturated   worker 3: it used 97%",
        "            and 4 more workers",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= WIDTH),
        "{text}"
    );
}

#[test]
fn it_fits_the_page_however_long_the_names() {
    let mut result = result();
    result.message = "x".repeat(300);
    result.target = format!("http://{}", "y ".repeat(200));
    result.steps[0].step = "z".repeat(128);
    result.errors[0].sample = "e".repeat(256);
    result.thresholds[0].expr = "p(99) < 1s ".repeat(20);
    result.events[0].message = "long ".repeat(60);
    for line in render(&result, Style::Plain).lines() {
        assert!(
            line.chars().count() <= WIDTH,
            "{} columns: {line}",
            line.chars().count()
        );
    }
}

#[test]
fn a_run_that_never_started_shows_no_numbers() {
    let mut result = result();
    result.started_at = None;
    result.verdict = Verdict::Errored;
    let text = render(&result, Style::Plain);
    assert!(
        text.contains("not started") && !text.contains("TOTALS"),
        "{text}"
    );
}

#[test]
fn steps_of_several_tasks_are_told_apart() {
    let mut result = result();
    let mut other = result.steps[0].clone();
    other.task = "look".into();
    result.steps.push(other);
    let text = render(&result, Style::Plain);
    assert!(text.contains("client / look / POST /predict"), "{text}");
}

#[test]
fn colours_change_nothing_but_colour() {
    let coloured = render(&result(), Style::Coloured);
    assert!(coloured.contains("\x1b[31;1mFAILED\x1b[0m"));
    let mut plain = coloured;
    for code in ["32;1", "31;1", "33;1", "1", "0"] {
        plain = plain.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(plain, render(&result(), Style::Plain));
}

#[test]
fn the_whole_page_is_as_it_was_last_read() {
    let page = render(&everything(), Style::Plain);
    assert!(
        page == include_str!("everything.txt"),
        "everything.txt should be, if that is meant:\n{page}"
    );
}

#[test]
fn no_part_of_the_page_comes_twice() {
    let page = render(&everything(), Style::Coloured);
    let headings: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("\x1b[1m"))
        .collect();
    let mut once = headings.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), headings.len(), "{headings:?}");
}

#[test]
fn a_step_without_a_success_has_no_times() {
    let mut failed = result();
    failed.totals.latency = LatencySummary::default();
    failed.steps[0].latency = LatencySummary::default();
    let text = render(&failed, Style::Plain);
    let row = |name: &str| {
        let row = text
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        row.unwrap_or_else(|| panic!("{text}"))
    };
    let times = |name: &str| row(name).matches(" -").count();
    assert_eq!(
        (times("latency "), times("POST /predict ")),
        (8, 4),
        "{text}"
    );
    assert!(!text.contains(" 0us"), "{text}");
    assert!(row("service time").contains("14.2ms"), "{text}");
}

#[test]
fn rates_of_less_than_a_second_are_marked() {
    let mut short = result();
    short.duration_micros = 132_000;
    let marked = "\n  rates       extrapolated from a run of 132ms\n";
    assert!(render(&short, Style::Plain).contains(marked));
    short.duration_micros = 1_000_000;
    assert!(!render(&short, Style::Plain).contains("extrapolated"));
}
