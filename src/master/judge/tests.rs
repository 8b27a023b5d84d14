//! Thresholds judged second by second.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::stats::{Counters, StepStats, TaskStats};

fn plan(threshold: serde_json::Value, load: serde_json::Value) -> Plan {
    let step = |name: &str| json!({"name": name, "http": {"path": "/"}});
    let spec = json!({
        "target": {"url": "http://t"},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [step("a")]}, {"name": "u", "steps": [step("b")]}]}],
        "load": load, "thresholds": [threshold],
    });
    crate::crd::check(&serde_json::from_value(spec).unwrap())
        .unwrap()
        .plan
}

fn judge(threshold: serde_json::Value) -> Judge {
    Judge::new(&plan(
        threshold,
        json!({"closed": {"users": 1, "duration": "100s"}}),
    ))
}

const SCALE: Scale = Scale {
    length: Duration::from_secs(100),
    arrivals: None,
};

fn verdict(judge: &Judge, merged: &Snapshot) -> (ThresholdVerdict, Option<f64>) {
    let result = &judge.results(merged, SCALE)[0];
    (result.verdict, result.observed)
}

/// So many requests of step a in a second, of so many milliseconds each.
fn second(requests: u64, millis: u64) -> Snapshot {
    let mut step = StepStats {
        requests,
        ..StepStats::default()
    };
    (0..requests).for_each(|_| step.latency.record(millis * 1000));
    let mut task = TaskStats {
        finished: requests,
        ..TaskStats::default()
    };
    (0..requests).for_each(|_| task.duration.record(millis * 2000));
    let counters = Counters {
        iterations: requests,
        finished: requests,
        ..Counters::default()
    };
    Snapshot {
        steps: [(0, step)].into(),
        tasks: [(0, task)].into(),
        counters,
        ..Snapshot::default()
    }
}

/// The second in which it was found breached.
fn breached_in(judge: &mut Judge, seconds: &[Snapshot]) -> Option<u32> {
    seconds
        .iter()
        .enumerate()
        .for_each(|(i, snapshot)| judge.add_second(i as u32, snapshot));
    judge.breaches().first().map(|breach| breach.second)
}

#[test]
fn a_window_with_too_few_samples_is_not_judged_and_so_not_passed() {
    let rule = json!({"metric": "latency", "expr": "p(95) < 10ms", "window": "3s"});
    let mut thin = judge(rule.clone());
    assert_eq!(breached_in(&mut thin, &vec![second(6, 500); 20]), None);
    assert_eq!(
        verdict(&thin, &second(120, 500)).0,
        ThresholdVerdict::NotJudged,
        "18 samples a window"
    );
    let mut thick = judge(rule);
    assert_eq!(breached_in(&mut thick, &vec![second(7, 500); 20]), Some(2));
    assert_eq!(
        verdict(&thick, &second(140, 500)).0,
        ThresholdVerdict::Failed
    );
}

#[test]
fn a_window_that_was_breached_stays_breached() {
    let mut judge =
        judge(json!({"metric": "latency", "expr": "max < 100ms", "window": "2s", "minCount": 1}));
    let mut seconds = vec![second(10, 5); 50];
    seconds[10] = second(10, 300);
    assert_eq!(breached_in(&mut judge, &seconds), Some(10));
    let (verdict, observed) = verdict(&judge, &second(1_000_000, 1));
    assert_eq!(verdict, ThresholdVerdict::Failed);
    assert!(
        (observed.unwrap() - 300_000.0).abs() <= 300.0,
        "{observed:?}"
    );
}

#[test]
fn seconds_leave_the_window_again() {
    let mut judge = judge(json!({"metric": "requests", "expr": "count <= 20", "window": "2s"}));
    let seconds: Vec<_> = (0..20)
        .map(|i| second(if i % 2 == 0 { 20 } else { 0 }, 1))
        .collect();
    assert_eq!(breached_in(&mut judge, &seconds), None);
    judge.add_second(20, &second(1, 1));
    assert_eq!(
        judge.breaches().len(),
        0,
        "nothing in second 19 and 1 request in second 20"
    );
    judge.add_second(21, &second(20, 1));
    assert_eq!(
        judge.breaches()[0],
        Breach {
            threshold: 0,
            second: 21,
            observed: 21.0
        }
    );
}

#[test]
fn no_window_begins_within_the_delay() {
    let mut judge = judge(
        json!({"metric": "latency", "expr": "max < 100ms", "window": "2s", "delay": "10s", "minCount": 1}),
    );
    let mut seconds = vec![second(10, 5); 15];
    seconds[9] = second(10, 300);
    assert_eq!(breached_in(&mut judge, &seconds), None);
    judge.add_second(15, &second(10, 300));
    assert_eq!(judge.breaches()[0].second, 15);
}

#[test]
fn a_breach_must_last() {
    let rule = json!({"metric": "latency", "expr": "max < 100ms", "window": "1s", "for": "3s", "minCount": 1});
    let of = |slow: &[u32]| {
        (0..30)
            .map(|i| second(10, if slow.contains(&i) { 300 } else { 5 }))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        breached_in(&mut judge(rule.clone()), &of(&[5, 6, 7, 9, 10, 11])),
        None
    );
    assert_eq!(
        breached_in(&mut judge(rule.clone()), &of(&[5, 6, 7, 8])),
        Some(8)
    );
    let mut silent = of(&[5, 6, 8]);
    silent[7] = Snapshot::default();
    assert_eq!(
        breached_in(&mut judge(rule.clone()), &silent),
        None,
        "what is not judged breaks it"
    );
    let mut not_long = judge(rule);
    breached_in(&mut not_long, &of(&[5]));
    assert_eq!(
        verdict(&not_long, &Snapshot::default()).0,
        ThresholdVerdict::Passed
    );
}

#[test]
fn a_run_is_ended_over_what_there_is_so_far() {
    let rule =
        json!({"metric": "latency", "expr": "p(50) < 100ms", "abortOnFail": true, "delay": "5s"});
    let mut judge = judge(rule);
    assert_eq!(breached_in(&mut judge, &vec![second(10, 300); 5]), None);
    assert_eq!(judge.abort(), None);
    judge.add_second(5, &second(10, 300));
    assert_eq!(
        judge.abort().unwrap(),
        "latency p(50) < 100ms: observed 300ms in second 5"
    );
    assert_eq!(
        verdict(&judge, &second(1_000_000, 1)).0,
        ThresholdVerdict::Failed
    );
}

#[test]
fn a_rule_that_ends_no_run_ends_none() {
    let mut judge = judge(json!({"metric": "latency", "expr": "max < 1ms", "window": "1s"}));
    breached_in(&mut judge, &vec![second(100, 5); 3]);
    assert_eq!((judge.breaches().len(), judge.abort()), (1, None));
}

#[test]
fn a_run_shorter_than_the_window_is_judged_as_a_whole() {
    let mut judge =
        judge(json!({"metric": "latency", "expr": "max < 100ms", "window": "90s", "delay": "11s"}));
    breached_in(&mut judge, &vec![second(5, 300); 100]);
    assert_eq!(verdict(&judge, &second(5, 5)).0, ThresholdVerdict::Passed);
    assert_eq!(verdict(&judge, &second(5, 300)).0, ThresholdVerdict::Failed);
}

#[test]
fn the_drain_is_in_no_window() {
    let mut judge =
        judge(json!({"metric": "requests", "expr": "perSecond >= 5/s", "window": "1s"}));
    for i in 0..100 {
        judge.add_second(i, &second(5, 1));
    }
    for i in 100..110 {
        judge.add_second(i, &Snapshot::default());
    }
    assert_eq!(judge.breaches(), []);
}

#[test]
fn no_sample_at_all_is_a_rate_too() {
    let mut judge = judge(json!({"metric": "achieved", "expr": "rate >= 1/s", "window": "2s"}));
    assert_eq!(
        breached_in(
            &mut judge,
            &[second(1, 1), second(1, 1), Snapshot::default()]
        ),
        Some(2)
    );
}

#[test]
fn what_is_achieved_can_be_a_share_of_what_is_due() {
    let rule = json!({"metric": "achieved", "expr": "rate >= 99%", "window": "2s"});
    let plan = plan(
        rule,
        json!({"open": {"rate": 100, "duration": "10s", "maxInFlight": 10}}),
    );
    let mut judge = Judge::new(&plan);
    for i in 0..5 {
        judge.add_second(i, &second(100, 1));
    }
    assert_eq!(judge.breaches(), []);
    judge.add_second(5, &second(97, 1));
    assert_eq!(judge.breaches()[0].observed, 0.985);
}

#[test]
fn requests_in_flight_are_judged_over_time_and_at_most() {
    use crate::stats::{Concurrency, LEVEL_PARTS, LevelStats};
    let busy = |most: u64| Snapshot {
        concurrency: Concurrency {
            in_flight: LevelStats::new(most * 500_000, [most; LEVEL_PARTS]),
            ..Concurrency::default()
        },
        ..Snapshot::default()
    };
    let rule = |expr| json!({"metric": "inFlight", "expr": expr, "window": "2s"});
    let mut most = judge(rule("max <= 6"));
    let mut mean = judge(rule("avg < 3"));
    for (second, number) in [(0, 4), (1, 6), (2, 2), (3, 2), (4, 2)] {
        most.add_second(second, &busy(number));
        mean.add_second(second, &busy(number));
    }
    assert_eq!((most.breaches(), mean.breaches()), (vec![], vec![]));
    for judge in [&mut most, &mut mean] {
        judge.add_second(5, &busy(3));
        judge.add_second(6, &busy(10));
    }
    assert_eq!(most.breaches()[0].observed, 10.0);
    assert_eq!(mean.breaches()[0].observed, 3.25);
    let whole = judge(json!({"metric": "inFlight", "expr": "avg <= 0.05"}));
    assert_eq!(
        verdict(&whole, &busy(10)),
        (ThresholdVerdict::Passed, Some(0.05))
    );
}

#[test]
fn seconds_that_a_master_never_saw_are_in_no_window() {
    let mut judge = judge(json!({"metric": "achieved", "expr": "rate >= 5/s", "window": "3s"}));
    judge.add_second(0, &second(5, 1));
    judge.add_second(20, &second(5, 1));
    judge.add_second(21, &second(5, 1));
    assert_eq!(
        verdict(&judge, &second(15, 1)).0,
        ThresholdVerdict::NotJudged
    );
    judge.add_second(22, &second(5, 1));
    assert_eq!(verdict(&judge, &second(20, 1)).0, ThresholdVerdict::Passed);
}

#[test]
fn what_an_earlier_master_found_stays_found() {
    let mut judge = judge(
        json!({"metric": "latency", "expr": "max < 1ms", "window": "1s", "abortOnFail": true}),
    );
    judge.restore(&[
        Breach {
            threshold: 0,
            second: 3,
            observed: 5000.0,
        },
        Breach {
            threshold: 99,
            second: 3,
            observed: 1.0,
        },
    ]);
    assert!(judge.abort().is_some());
    assert_eq!(
        verdict(&judge, &Snapshot::default()),
        (ThresholdVerdict::Failed, Some(5000.0))
    );
}

#[test]
fn each_metric_reads_its_own_samples() {
    let mut merged = second(100, 10);
    let step = merged.steps.get_mut(&0).unwrap();
    (step.failures, step.checks_passed, step.checks_failed) = (5, 90, 10);
    step.phases.record(crate::stats::Phase::Tls, 7_000);
    merged.counters.dropped = 25;
    let open = json!({"open": {"rate": 2, "duration": "100s", "maxInFlight": 10}});
    let observed = |metric: &str, expr: &str, select: serde_json::Value| {
        let plan = plan(
            json!({"metric": metric, "expr": expr, "select": select}),
            open.clone(),
        );
        let result = Judge::new(&plan)
            .results(
                &merged,
                Scale {
                    arrivals: Some(200),
                    ..SCALE
                },
            )
            .remove(0);
        result.observed
    };
    let all = || json!({});
    assert_eq!(observed("latency", "max < 1s", all()), Some(10_000.0));
    assert_eq!(observed("iteration", "max < 1s", all()), Some(20_000.0));
    assert_eq!(
        observed("iteration", "max < 1s", json!({"task": "t"})),
        Some(20_000.0)
    );
    assert_eq!(
        observed("iteration", "max < 1s", json!({"task": "u"})),
        None
    );
    assert_eq!(observed("tls", "max < 1s", all()), Some(7_000.0));
    assert_eq!(observed("dns", "max < 1s", all()), None);
    assert_eq!(observed("failures", "rate < 1%", all()), Some(0.05));
    assert_eq!(observed("failures", "count < 1", all()), Some(5.0));
    assert_eq!(
        observed("failures", "perSecond < 1", json!({"step": "b"})),
        Some(0.0)
    );
    assert_eq!(observed("checks", "rate > 99%", all()), Some(0.9));
    assert_eq!(observed("dropped", "rate < 1%", all()), Some(0.2));
    assert_eq!(observed("achieved", "rate > 1/s", all()), Some(1.0));
    assert_eq!(observed("achieved", "rate > 99%", all()), Some(0.5));
    assert_eq!(observed("requests", "perSecond > 1/s", all()), Some(1.0));
    assert_eq!(
        observed("iterations", "count > 1", json!({"task": "t"})),
        Some(100.0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_sliding_window_sees_what_one_made_anew_would(times in prop::collection::vec((0u64..30, 1u64..2000), 1..40), window in 1u32..10) {
        let rule = json!({"metric": "latency", "expr": "p(90) < 1us", "window": format!("{window}s"), "minCount": 1});
        let mut sliding = judge(rule.clone());
        let seconds: Vec<_> = times.iter().map(|(requests, millis)| second(*requests, *millis)).collect();
        for (i, snapshot) in seconds.iter().enumerate() {
            sliding.add_second(i as u32, snapshot);
            if i + 1 < window as usize { continue; }
            let mut anew = judge(rule.clone());
            for (at, snapshot) in seconds[i + 1 - window as usize..=i].iter().enumerate() { anew.add_second(at as u32, snapshot); }
            let (ours, theirs) = (&sliding.rules[0], &anew.rules[0]);
            let observe = |rule: &Rule| rule.reader.observe(&rule.sum, 1.0, 1);
            match (observe(ours), observe(theirs)) {
                (Some(a), Some(b)) => prop_assert!((a - b).abs() <= b / 1000.0 + 1.0, "{a} {b}"),
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }
}

/// Judges `expr` over one second of a step that streams as `stats` say.
fn of_stream(
    metric: &str,
    expr: &str,
    stats: StepStats,
    dropped: u64,
) -> (ThresholdVerdict, Option<f64>) {
    let step = json!({"name": "a", "goodput": {"ttft": "1s"}, "http": {"path": "/", "stream": {"preset": "OpenAI"}}});
    let plain = json!({"name": "b", "http": {"path": "/"}});
    let spec = json!({
        "target": {"url": "http://t"},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [step, plain]}]}],
        "load": {"open": {"rate": 1, "duration": "100s", "maxInFlight": 10}},
        "thresholds": [{"metric": metric, "expr": expr}],
    });
    let plan = crate::crd::check(&serde_json::from_value(spec).unwrap())
        .unwrap()
        .plan;
    // what is not measured of a step is not read of it either
    let other = StepStats {
        goodput: crate::stats::Goodput {
            good: 0,
            judged: 99,
        },
        ..StepStats::default()
    };
    let counters = Counters {
        dropped,
        ..Counters::default()
    };
    let merged = Snapshot {
        steps: [(0, stats), (1, other)].into(),
        counters,
        ..Snapshot::default()
    };
    let result = &Judge::new(&plan).results(&merged, SCALE)[0];
    (result.verdict, result.observed)
}

#[test]
fn streams_are_judged_by_their_own_measures() {
    use crate::stats::{Goodput, LlmStats, StreamStats};
    let stats = || {
        let mut llm = LlmStats {
            output_tokens: 5_000,
            ..LlmStats::default()
        };
        llm.per_token.record(300);
        let mut stream = StreamStats {
            llm: Some(Box::new(llm)),
            ..StreamStats::default()
        };
        stream.first.record(100);
        stream.gap.record(200);
        StepStats {
            stream: Some(Box::new(stream)),
            goodput: Goodput {
                good: 60,
                judged: 80,
            },
            ..StepStats::default()
        }
    };
    for (metric, expr, observed) in [
        ("ttft", "p(99) < 1s", 100.0),
        ("itl", "max < 1s", 200.0),
        ("tpot", "avg < 1s", 300.0),
        ("outputTokens", "perSecond > 49/s", 50.0),
        ("goodput", "count > 59", 60.0),
        ("goodputRatio", "rate > 59%", 0.6),
    ] {
        assert_eq!(
            of_stream(metric, expr, stats(), 20),
            (ThresholdVerdict::Passed, Some(observed)),
            "{metric}"
        );
    }
    assert_eq!(
        of_stream("goodputRatio", "rate > 61%", stats(), 20).0,
        ThresholdVerdict::Failed,
        "20 dropped arrivals were intended"
    );
    assert_eq!(
        of_stream("tpot", "avg < 1s", StepStats::default(), 0).0,
        ThresholdVerdict::NotJudged,
        "nothing streamed"
    );
}
