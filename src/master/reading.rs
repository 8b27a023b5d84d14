//! What a threshold reads from samples: a sum that grows and shrinks, and what it comes to.

use crate::plan::threshold::{Aggregate, Metric, Outcome, Quantity};
use crate::plan::{Plan, Threshold, Unit};
use crate::stats::summary::selected;
use crate::stats::{Histogram, Phase, Snapshot, StepStats, StreamStats, format};

/// A threshold, and the places of the plan that it selects.
#[derive(Debug)]
pub struct Reader {
    pub threshold: Threshold,
    steps: Vec<bool>,
    tasks: Vec<bool>,
}

/// Times or other numbers of answers, or a part of a whole; which of them counts is the threshold's
/// business.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    times: Histogram,
    part: u64,
    whole: u64,
}

/// A reading that takes little memory; there may be one for each second of a window.
#[derive(Debug)]
pub struct Packed {
    times: Vec<u8>,
    part: u64,
    whole: u64,
}

impl Reader {
    pub fn new(plan: &Plan, threshold: &Threshold) -> Self {
        let select = &threshold.select;
        let tasks = plan.scenarios.iter().flat_map(|scenario| {
            scenario
                .tasks
                .iter()
                .map(move |task| select.matches_task(&scenario.name, &task.name))
        });
        Self {
            threshold: threshold.clone(),
            steps: plan
                .steps()
                .map(|place| select.matches(&place) && threshold.metric.is_measured_of(place.step))
                .collect(),
            tasks: tasks.collect(),
        }
    }

    /// `due` are the iterations that open load asks for in the time of the samples.
    pub fn read(&self, snapshot: &Snapshot, due: u64) -> Reading {
        let times = |times: Histogram| Reading {
            times,
            ..Reading::default()
        };
        let share = |part, whole| Reading {
            part,
            whole,
            ..Reading::default()
        };
        let counters = snapshot.counters;
        match self.threshold.metric {
            Metric::Latency => times(self.latencies(snapshot)),
            Metric::ServiceTime => times(self.of_steps(snapshot).service_time),
            Metric::Dns => times(self.phase(snapshot, Phase::Dns)),
            Metric::Connect => times(self.phase(snapshot, Phase::Connect)),
            Metric::Tls => times(self.phase(snapshot, Phase::Tls)),
            Metric::Wait => times(self.phase(snapshot, Phase::Wait)),
            Metric::Download => times(self.phase(snapshot, Phase::Download)),
            Metric::Iteration => {
                let mut sum = Histogram::new();
                self.tasks_of(snapshot)
                    .for_each(|task| sum.merge(&task.duration));
                times(sum)
            }
            Metric::Failures => {
                let (failures, requests) =
                    self.sum(snapshot, |step| (step.failures, step.requests));
                share(failures, requests)
            }
            Metric::Checks => {
                let (passed, all) = self.sum(snapshot, |step| {
                    (step.checks_passed, step.checks_passed + step.checks_failed)
                });
                share(passed, all)
            }
            Metric::Requests => share(self.sum(snapshot, |step| (step.requests, 0)).0, 0),
            Metric::Iterations => share(self.tasks_of(snapshot).map(|task| task.finished).sum(), 0),
            Metric::FirstEvent | Metric::FirstMessage | Metric::Ttft => {
                times(self.of_streams(snapshot, |stream| Some(&stream.first)))
            }
            Metric::Gap | Metric::Itl => {
                times(self.of_streams(snapshot, |stream| Some(&stream.gap)))
            }
            Metric::Tpot => {
                times(self.of_streams(snapshot, |stream| Some(&stream.llm.as_ref()?.per_token)))
            }
            Metric::OutputTokens => share(self.output_tokens(snapshot), 0),
            Metric::Goodput => share(self.sum(snapshot, |step| (step.goodput.good, 0)).0, 0),
            Metric::GoodputRatio => {
                let (good, judged) =
                    self.sum(snapshot, |step| (step.goodput.good, step.goodput.judged));
                // nobody knows which request a dropped arrival would have been
                share(good, judged + counters.dropped)
            }
            Metric::Dropped => share(counters.dropped, counters.iterations + counters.dropped),
            Metric::Achieved => share(counters.iterations, due),
            Metric::Record => times(self.recorded(snapshot)),
        }
    }

    /// What the reading comes to over so many seconds; `None` where there is nothing to judge, or
    /// less than `min_count` samples.
    pub fn observe(&self, reading: &Reading, seconds: f64, min_count: u64) -> Option<f64> {
        let Reading { times, part, whole } = reading;
        let enough = |samples: u64| samples >= min_count.max(1);
        let scale = if self.threshold.quantity == Quantity::Number {
            Unit::One.in_base()
        } else {
            1.0
        };
        let of_times = |value: f64| enough(times.count()).then_some(value / scale);
        match self.threshold.aggregate {
            Aggregate::Percentile(percent) => of_times(times.percentile(percent) as f64),
            Aggregate::Med => of_times(times.percentile(50.0) as f64),
            Aggregate::Avg => of_times(times.mean()),
            Aggregate::Min => of_times(times.min() as f64),
            Aggregate::Max => of_times(times.max() as f64),
            Aggregate::Count => Some(*part as f64),
            Aggregate::Rate if self.threshold.quantity == Quantity::Share => {
                enough(*whole).then_some(*part as f64 / *whole as f64)
            }
            // none in a time is a rate as well: it must not go unjudged
            Aggregate::Rate | Aggregate::PerSecond => {
                (seconds > 0.0).then_some(*part as f64 / seconds)
            }
        }
    }

    /// For people, with the unit.
    pub fn text(&self, value: f64) -> String {
        match self.threshold.quantity {
            Quantity::Time => format::micros(value),
            Quantity::Share => format::percent(value),
            Quantity::PerSecond => format!("{}/s", format::rate(value)),
            Quantity::Count => format::count(value as u64),
            Quantity::Bytes => format::bytes(value.round() as u64),
            Quantity::Number => format::number(value),
        }
    }

    fn recorded(&self, snapshot: &Snapshot) -> Histogram {
        let trend = self
            .threshold
            .record
            .as_ref()
            .and_then(|record| snapshot.trends.get(&record.place));
        trend.map(|trend| trend.values.clone()).unwrap_or_default()
    }

    fn selects(&self, step: u16) -> bool {
        self.steps.get(usize::from(step)).copied().unwrap_or(false)
    }

    fn of_steps(&self, snapshot: &Snapshot) -> StepStats {
        selected(snapshot, |place| self.selects(place))
    }

    fn phase(&self, snapshot: &Snapshot, phase: Phase) -> Histogram {
        let mut sum = Histogram::new();
        self.selected_steps(snapshot)
            .for_each(|step| sum.merge(step.phases.of(phase)));
        sum
    }

    fn of_streams(
        &self,
        snapshot: &Snapshot,
        get: impl Fn(&StreamStats) -> Option<&Histogram>,
    ) -> Histogram {
        let mut sum = Histogram::new();
        let streams = self
            .selected_steps(snapshot)
            .filter_map(|step| step.stream.as_ref());
        streams
            .filter_map(|stream| get(stream))
            .for_each(|times| sum.merge(times));
        sum
    }

    fn output_tokens(&self, snapshot: &Snapshot) -> u64 {
        let models = self
            .selected_steps(snapshot)
            .filter_map(|step| step.stream.as_ref()?.llm.as_ref());
        models.map(|llm| llm.output_tokens).sum()
    }

    fn selected_steps<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a StepStats> {
        snapshot
            .steps
            .iter()
            .filter(|(place, _)| self.selects(**place))
            .map(|(_, step)| step)
    }

    fn sum(&self, snapshot: &Snapshot, get: impl Fn(&StepStats) -> (u64, u64)) -> (u64, u64) {
        self.selected_steps(snapshot)
            .map(get)
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn tasks_of<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = &'a crate::stats::TaskStats> {
        let selects = |task: u16| self.tasks.get(usize::from(task)).copied().unwrap_or(false);
        snapshot
            .tasks
            .iter()
            .filter(move |(place, _)| selects(**place))
            .map(|(_, task)| task)
    }

    fn latencies(&self, snapshot: &Snapshot) -> Histogram {
        let outcome = self.threshold.select.outcome;
        let mut sum = Histogram::new();
        for step in self.selected_steps(snapshot) {
            if outcome != Outcome::Failure {
                sum.merge(&step.latency);
            }
            if outcome != Outcome::Success {
                sum.merge(&step.failed_latency);
            }
        }
        sum
    }
}

impl Reading {
    pub fn add(&mut self, other: &Reading) {
        let Reading { times, part, whole } = other;
        self.times.merge(times);
        self.part += part;
        self.whole += whole;
    }

    /// Takes out what was added before.
    pub fn remove(&mut self, other: &Packed) {
        let Packed { times, part, whole } = other;
        // our own encoding, made a few minutes ago
        self.times
            .remove(&Histogram::decode(times).unwrap_or_default());
        self.part = self.part.saturating_sub(*part);
        self.whole = self.whole.saturating_sub(*whole);
    }

    pub fn pack(&self) -> Packed {
        let Reading { times, part, whole } = self;
        Packed {
            times: times.encode(),
            part: *part,
            whole: *whole,
        }
    }
}
