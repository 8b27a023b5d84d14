//! Comparisons of runs whose true difference is known.

use data_encoding::BASE64;
use rand::RngExt;

use super::super::text::tests::result;
use super::*;
use crate::stats::Histogram;
use crate::stats::result::{BlockSeries, StepBlocks, TimeBlocks};

/// Blocks of 20 s with latencies around `micros`, which wander from block to block as a real
/// target's do.
fn series(seed: u64, blocks: usize, requests: u64, micros: f64, failed: f64) -> BlockSeries {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut series = BlockSeries::default();
    for _ in 0..blocks {
        let wandering = 1.0 + 0.04 * (random.random::<f64>() - 0.5);
        let mut own = Histogram::new();
        let failures = (requests as f64 * failed).round() as u64;
        for _ in failures..requests {
            let spread = 1.0 + random.random::<f64>().powi(4);
            own.record((micros * wandering * spread) as u64);
        }
        series.requests.push(requests);
        series.failures.push(failures);
        series.latency.push(
            own.to_hdr_v2()
                .map_or(String::new(), |bytes| BASE64.encode(&bytes)),
        );
    }
    series
}

fn run(name: &str, total: BlockSeries) -> RunResult {
    RunResult {
        run: name.to_owned(),
        blocks: Some(TimeBlocks {
            from_second: 0,
            block_micros: 20_000_000,
            total,
            steps: vec![],
        }),
        ..result()
    }
}

fn changes(comparison: &Comparison) -> Vec<(Measure, Change)> {
    let all = comparison.differences.iter();
    let mut all: Vec<_> = all.map(|one| (one.measure, one.change)).collect();
    all.sort_by_key(|(measure, _)| *measure);
    all
}

#[test]
fn the_same_target_is_the_same_however_often_it_is_asked() {
    for seed in 0..10 {
        let a = run("a", series(seed, 20, 400, 10_000.0, 0.01));
        let b = run("b", series(100 + seed, 20, 400, 10_000.0, 0.01));
        let comparison = compare(&a, &b, MIN_CHANGE);
        let all_same = changes(&comparison)
            .iter()
            .all(|(_, change)| *change == Change::Same);
        assert!(all_same, "{comparison:?}");
        assert_eq!(
            comparison.summary,
            "Nothing changed that is large and sure enough to tell."
        );
    }
}

#[test]
fn a_slower_target_is_worse_and_the_other_way_round_better() {
    let a = run("a", series(1, 20, 400, 10_000.0, 0.0));
    let b = run("b", series(2, 20, 400, 12_000.0, 0.02));
    let worse = compare(&a, &b, MIN_CHANGE);
    assert_eq!(
        changes(&worse),
        [
            (Measure::P50, Change::Worse),
            (Measure::P95, Change::Worse),
            (Measure::P99, Change::Worse),
            (Measure::Failures, Change::Worse),
            (Measure::Rate, Change::Same),
        ]
    );
    assert!(worse.is_worse());
    assert!(worse.summary.starts_with("Worse: "), "{}", worse.summary);
    assert!(
        worse.summary.ends_with("and 3 more numbers got worse."),
        "{}",
        worse.summary
    );
    for difference in &worse.differences {
        let Some([low, high]) = difference.interval else {
            panic!("{difference:?}")
        };
        let change = difference.second - difference.first;
        assert!(low <= change && change <= high, "{difference:?}");
    }
    let better = compare(&b, &a, MIN_CHANGE);
    assert!(!better.is_worse() && better.summary.starts_with("Nothing got worse; better: "));
}

#[test]
fn a_change_that_is_sure_but_small_is_none() {
    let a = run("a", series(1, 20, 4_000, 10_000.0, 0.0));
    let b = run("b", series(2, 20, 4_000, 10_300.0, 0.0));
    assert!(!compare(&a, &b, MIN_CHANGE).is_worse());
    assert!(compare(&a, &b, 0.01).is_worse());
}

#[test]
fn too_few_samples_are_called_that() {
    let a = run("a", series(1, 4, 400, 10_000.0, 0.0));
    let b = run("b", series(2, 20, 400, 90_000.0, 0.0));
    let comparison = compare(&a, &b, MIN_CHANGE);
    assert!(
        comparison
            .differences
            .iter()
            .all(|one| one.change == Change::TooFew)
    );
    assert_eq!(
        comparison.summary,
        "Nothing can be said: there are too few samples."
    );
    let none = RunResult {
        blocks: None,
        ..result()
    };
    assert!(
        compare(&none, &b, MIN_CHANGE)
            .summary
            .starts_with("Nothing can be compared")
    );
}

#[test]
fn a_step_that_got_worse_is_named_though_the_whole_is_the_same() {
    let with_steps = |name: &str, slow: f64| {
        let mut run = run(name, series(1, 20, 4_000, 10_000.0, 0.0));
        let steps = [("one", 10_000.0), ("two", slow)];
        let of = |(step, micros): &(&str, f64)| StepBlocks {
            scenario: "s".into(),
            task: "t".into(),
            step: (*step).to_owned(),
            blocks: series(3, 20, 200, *micros, 0.0),
        };
        run.blocks.as_mut().unwrap().steps = steps.iter().map(of).collect();
        let step = |name: &str| {
            let mut step = result().steps[0].clone();
            (step.scenario, step.task, step.step) = ("s".into(), "t".into(), name.into());
            step
        };
        run.steps = vec![step("one"), step("two")];
        run
    };
    let comparison = compare(
        &with_steps("a", 5_000.0),
        &with_steps("b", 9_000.0),
        MIN_CHANGE,
    );
    assert!(
        comparison.differences[0].step.ends_with("two"),
        "{comparison:?}"
    );
    assert!(
        comparison.summary.contains(" of s / t / two went from "),
        "{}",
        comparison.summary
    );
    let text = render_text(&comparison);
    assert!(
        text.lines()
            .any(|line| line.contains("two") && line.ends_with("WORSE")),
        "{text}"
    );
}

#[test]
fn runs_that_are_not_alike_are_compared_under_a_warning() {
    let a = run("a", series(1, 20, 400, 10_000.0, 0.0));
    let mut b = run("b", series(2, 20, 400, 10_000.0, 0.0));
    assert_eq!(compare(&a, &b, MIN_CHANGE).warnings, Vec::<String>::new());
    b.target = "http://other".into();
    b.generator.saturated = true;
    let warnings = compare(&a, &b, MIN_CHANGE).warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("different targets") && warnings[1].contains("generator"));
    let page = render_html(&compare(&a, &b, MIN_CHANGE), &a, &b);
    assert!(page.contains("different targets") && page.contains("NOT WORSE"));
}
