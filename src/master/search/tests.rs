//! Searches for the capacity of a target whose limit the test knows.

use serde_json::json;

use super::*;
use crate::stats::StepStats;

const LEAD: Duration = Duration::from_secs(1);

fn plan() -> Plan {
    let spec = json!({
        "target": {"url": "http://t"},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
        "load": {"capacity": {"start": 100, "max": 1000, "step": "50%", "hold": "5s", "settle": "2s", "maxInFlight": 9, "atLeast": 300}},
        "warmup": {"duration": "3s"},
        "thresholds": [{"metric": "latency", "expr": "p(95) < 50ms"}],
    });
    crate::crd::check(&serde_json::from_value(spec).unwrap())
        .unwrap()
        .plan
}

/// A second of one worker's half of a rate; slow where the target cannot hold it.
fn half(rate: f64, limit: f64) -> Snapshot {
    let requests = (rate / 2.0).round() as u64;
    let mut stats = StepStats {
        requests,
        ..StepStats::default()
    };
    (0..requests).for_each(|_| {
        stats
            .latency
            .record(if rate <= limit { 10_000 } else { 90_000 })
    });
    let mut snapshot = Snapshot {
        steps: [(0, stats)].into(),
        ..Snapshot::default()
    };
    snapshot.counters.iterations = requests;
    snapshot
}

struct Stage {
    plan: Plan,
    search: Search,
    announced: Vec<fleet::Levels>,
    second: u32,
}

impl Stage {
    fn new() -> Self {
        let plan = plan();
        let search = Search::new(plan.capacity().unwrap());
        Self {
            plan,
            search,
            announced: vec![],
            second: 0,
        }
    }

    fn pass_second(&mut self, limit: f64) {
        let elapsed = Duration::from_secs(self.second.into());
        self.announced
            .extend(self.search.advance(&self.plan, elapsed, self.second, LEAD));
        let rate = self.announced.last().map_or(0.0, |levels| {
            let begun = levels
                .levels
                .iter()
                .rev()
                .find(|level| level.at_micros <= u64::from(self.second) * 1_000_000);
            begun.map_or(0.0, |level| level.rate)
        });
        let sample = half(rate, limit);
        let mut both = sample.clone();
        both.merge(&sample);
        (0..2).for_each(|worker| self.search.add(worker, self.second, &sample));
        self.search.add_second(self.second, &both);
        self.second += 1;
    }

    fn run(&mut self, limit: f64) -> CapacityResult {
        while self.search.outcome.is_none() && self.second < 2_000 {
            self.pass_second(limit);
        }
        self.search.result()
    }
}

#[test]
fn the_highest_rate_that_holds_is_found_and_confirmed() {
    let mut stage = Stage::new();
    let found = stage.run(400.0);
    let rate = found.rate.unwrap();
    assert!((380.0..=400.0).contains(&rate), "{found:?}");
    assert_eq!(
        (found.limited_by, found.at_least),
        (Some(result::LimitedBy::Target), Some(300.0))
    );
    let last = found.curve.last().unwrap();
    assert_eq!(
        (last.purpose, last.rate, last.held),
        (result::Purpose::Confirmation, rate, true)
    );
    // judged for twice the hold without the time to settle
    let kept = stage.search.kept().unwrap();
    assert_eq!(
        (kept.scale.length, kept.samples.requests()),
        (Duration::from_secs(8), 8 * 2 * (rate / 2.0).round() as u64)
    );
    let end = stage.announced.last().unwrap();
    assert!(end.end_micros.is_some());
    assert_eq!(
        end.levels[0].at_micros, 3_000_000,
        "the first begins when the warm-up ends"
    );
    assert!(
        end.levels
            .windows(2)
            .all(|pair| pair[1].at_micros >= pair[0].at_micros + 5_000_000)
    );
}

#[test]
fn a_target_that_holds_nothing_is_said_to() {
    let mut stage = Stage::new();
    let found = stage.run(50.0);
    assert_eq!((found.rate, found.curve.len()), (None, 1));
    assert!(
        found.curve[0].why.contains("latency"),
        "{}",
        found.curve[0].why
    );
}

#[test]
fn a_rate_that_is_not_achieved_does_not_hold() {
    let mut stage = Stage::new();
    stage.search.advance(&stage.plan, Duration::ZERO, 0, LEAD);
    (3..8).for_each(|second| stage.search.add(0, second, &half(180.0, 1000.0)));
    stage
        .search
        .advance(&stage.plan, Duration::from_secs(9), 9, LEAD);
    assert_eq!(stage.search.result().curve[0].why, "only 90/s were started");
}

#[test]
fn an_arrival_that_a_delay_moved_past_the_levels_end_is_not_missed() {
    for (iterations, due, workers, enough) in [
        (79, 80.0, 1, true),
        (78, 80.0, 1, false),
        (78, 80.0, 2, true),
        (990, 1000.0, 2, true),
        (989, 1000.0, 2, false),
        (90, 100.0, 50, true),
        (89, 100.0, 50, false),
    ] {
        assert_eq!(
            is_achieved(iterations, due, workers),
            enough,
            "{iterations} of {due} by {workers}"
        );
    }
}

#[test]
fn a_worker_that_was_the_bottleneck_is_not_taken_for_the_target() {
    let mut stage = Stage::new();
    stage.search.advance(&stage.plan, Duration::ZERO, 0, LEAD);
    for second in 5..8 {
        let mut busy = half(100.0, 1000.0);
        (busy.counters.cpu_micros, busy.counters.core_micros) = (970_000, 1_000_000);
        stage.search.add(0, second, &busy);
        stage.search.add(1, second, &half(100.0, 1000.0));
    }
    stage
        .search
        .advance(&stage.plan, Duration::from_secs(9), 9, LEAD);
    assert_eq!(
        stage.search.result().limited_by,
        Some(result::LimitedBy::Generator)
    );
}

#[test]
fn a_level_waits_for_the_samples_of_every_worker_but_not_for_ever() {
    let mut stage = Stage::new();
    let at = Duration::from_secs;
    assert!(
        stage
            .search
            .advance(&stage.plan, Duration::ZERO, 0, LEAD)
            .is_some()
    );
    assert!(stage.search.advance(&stage.plan, at(9), 7, LEAD).is_none());
    assert!(stage.search.advance(&stage.plan, at(11), 7, LEAD).is_some());
}

#[test]
fn a_master_that_was_killed_goes_on_from_what_its_workers_hold() {
    let mut before = Stage::new();
    while before.search.judged.len() < 4 {
        before.pass_second(400.0);
    }
    let mut after = Stage::new();
    after
        .search
        .restore(before.announced.last().unwrap())
        .unwrap();
    after.second = before.second + 7;
    after.announced = before.announced.clone();
    let found = after.run(400.0);
    assert_eq!(found.rate, Stage::new().run(400.0).rate);
    assert_eq!(found.curve[..4], before.search.result().curve[..4]);
    let levels = &after.announced.last().unwrap().levels;
    assert!(
        levels
            .windows(2)
            .all(|pair| pair[1].at_micros > pair[0].at_micros),
        "{levels:?}"
    );
}

#[test]
fn levels_of_which_nobody_can_say_what_came_are_tried_again() {
    let mut before = Stage::new();
    while before.search.judged.len() < 4 {
        before.pass_second(400.0);
    }
    let torn = fleet::Levels {
        tried: "[{".into(),
        ..before.announced.last().unwrap().clone()
    };
    let mut after = Stage::new();
    assert!(after.search.restore(&torn).is_err());
    after.second = before.second + 7;
    after.announced = before.announced.clone();
    let found = after.run(400.0);
    assert_eq!(
        (found.rate, found.curve[0].rate),
        (Stage::new().run(400.0).rate, 100.0)
    );
}
