//! Readings of thresholds: sums of samples that grow and shrink, and the number that each comes to.

use serde::{Deserialize, Serialize};

use crate::plan::threshold::{Aggregate, Metric, Outcome, Quantity};
use crate::plan::{Plan, Threshold, Unit};
use crate::stats::{Counters, Histogram, Phase, Snapshot, StepStats, TaskStats, format};

/// A threshold, and the places of the plan that it selects.
#[derive(Debug)]
pub struct Reader {
    /// Threshold that is read for.
    pub threshold: Threshold,
    /// Selected steps: true at the places that they have in the plan.
    steps: Vec<bool>,
    /// Selected tasks: true at the places that they have in the plan.
    tasks: Vec<bool>,
}

/// Sum of samples: times or other numbers of answers, or a part of a whole; the threshold's metric
/// decides which of them is used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    #[serde(with = "super::checkpoint::histogram")]
    times: Histogram,
    part: u64,
    whole: u64,
    /// Largest number at once.
    #[serde(default)]
    most: u64,
}

/// A reading that takes little memory, since a window keeps one for each of its seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Packed {
    #[serde(with = "super::checkpoint::bytes")]
    times: Vec<u8>,
    part: u64,
    whole: u64,
    #[serde(default)]
    most: u64,
}

impl Reader {
    /// Finds the steps and tasks that the threshold selects and its metric is measured of.
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

    /// Sums up the samples of a snapshot. `due` is the number of iterations that open load asks for
    /// in the time of the samples.
    pub fn read(&self, snapshot: &Snapshot, due: u64) -> Reading {
        let counters = snapshot.counters;
        match self.threshold.metric {
            Metric::Latency => self.latencies(snapshot),
            Metric::ServiceTime => self.times(snapshot, |step| Some(&step.service_time)),
            Metric::Dns => self.phase(snapshot, Phase::Dns),
            Metric::Connect => self.phase(snapshot, Phase::Connect),
            Metric::Tls => self.phase(snapshot, Phase::Tls),
            Metric::Wait => self.phase(snapshot, Phase::Wait),
            Metric::Download => self.phase(snapshot, Phase::Download),
            Metric::Iteration => Reading::of_times(self.tasks_of(snapshot).map(|t| &t.duration)),
            Metric::Failures => self.share(snapshot, |step| (step.failures, step.requests)),
            Metric::Checks => self.share(snapshot, |step| {
                (step.checks_passed, step.checks_passed + step.checks_failed)
            }),
            Metric::Requests => self.count(snapshot, |step| step.requests),
            Metric::Iterations => {
                Reading::of_part(self.tasks_of(snapshot).map(|task| task.finished).sum(), 0)
            }
            Metric::FirstEvent | Metric::FirstMessage | Metric::Ttft => {
                self.times(snapshot, |step| Some(&step.stream.as_ref()?.first))
            }
            Metric::Gap | Metric::Itl => {
                self.times(snapshot, |step| Some(&step.stream.as_ref()?.gap))
            }
            Metric::Tpot => self.times(snapshot, |step| {
                Some(&step.stream.as_ref()?.llm.as_ref()?.per_token)
            }),
            Metric::OutputTokens => self.count(snapshot, |step| {
                let llm = step.stream.as_ref().and_then(|stream| stream.llm.as_ref());
                llm.map_or(0, |llm| llm.output_tokens)
            }),
            Metric::Goodput => self.count(snapshot, |step| step.goodput.good),
            Metric::GoodputRatio => {
                let judged = self.share(snapshot, |step| (step.goodput.good, step.goodput.judged));
                // nobody knows which request a dropped arrival would have been
                Reading::of_part(
                    judged.part,
                    judged.whole + counters.dropped + missing(&counters, due),
                )
            }
            Metric::Dropped => {
                let dropped = counters.dropped + missing(&counters, due);
                Reading::of_part(dropped, counters.iterations + dropped)
            }
            Metric::Achieved => Reading::of_part(counters.iterations, due),
            Metric::InFlight => Reading {
                part: snapshot.concurrency.in_flight.micros,
                most: snapshot.concurrency.in_flight.most(),
                ..Reading::default()
            },
            Metric::Record => Reading::of_times(self.recorded(snapshot)),
        }
    }

    /// The number that the reading comes to over a time of `seconds`, in the unit of the
    /// threshold's bound; `None` where there is nothing to judge, or fewer than `min_count`
    /// samples.
    pub fn observe(&self, reading: &Reading, seconds: f64, min_count: u64) -> Option<f64> {
        let Reading {
            times,
            part,
            whole,
            most,
        } = reading;
        if self.threshold.metric == Metric::InFlight {
            return match self.threshold.aggregate {
                Aggregate::Max => Some(*most as f64),
                // time, in microseconds, for which each was in flight
                _ => (seconds > 0.0).then_some(*part as f64 / 1e6 / seconds),
            };
        }
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

    /// Text of an observed number, with its unit.
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

    fn selected_steps<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a StepStats> {
        let steps = snapshot.steps.iter();
        steps
            .filter(|(place, _)| is_selected(&self.steps, **place))
            .map(|(_, step)| step)
    }

    fn tasks_of<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a TaskStats> {
        let tasks = snapshot.tasks.iter();
        tasks
            .filter(|(place, _)| is_selected(&self.tasks, **place))
            .map(|(_, task)| task)
    }

    fn recorded<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Histogram> {
        let record = self.threshold.record.as_ref()?;
        Some(&snapshot.trends.get(&record.place)?.values)
    }

    /// Times of the selected steps, where `get` finds any.
    fn times(
        &self,
        snapshot: &Snapshot,
        get: impl Fn(&StepStats) -> Option<&Histogram>,
    ) -> Reading {
        Reading::of_times(self.selected_steps(snapshot).filter_map(get))
    }

    fn phase(&self, snapshot: &Snapshot, phase: Phase) -> Reading {
        self.times(snapshot, |step| Some(step.phases.of(phase)))
    }

    fn latencies(&self, snapshot: &Snapshot) -> Reading {
        let outcome = self.threshold.select.outcome;
        Reading::of_times(self.selected_steps(snapshot).flat_map(|step| {
            let succeeded = (outcome != Outcome::Failure).then_some(&step.latency);
            let failed = (outcome != Outcome::Success).then_some(&step.failed_latency);
            succeeded.into_iter().chain(failed)
        }))
    }

    fn count(&self, snapshot: &Snapshot, get: impl Fn(&StepStats) -> u64) -> Reading {
        Reading::of_part(self.selected_steps(snapshot).map(get).sum(), 0)
    }

    /// A part of the whole, both summed over the selected steps.
    fn share(&self, snapshot: &Snapshot, get: impl Fn(&StepStats) -> (u64, u64)) -> Reading {
        let steps = self.selected_steps(snapshot).map(get);
        let (part, whole) = steps.fold((0, 0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
        Reading::of_part(part, whole)
    }
}

/// Arrivals of `due` that no worker was there to make. One is left out, since whole arrivals are
/// compared with parts of them.
fn missing(counters: &Counters, due: u64) -> u64 {
    // a worker of the release before does not say how many it took on
    if counters.arrival_micros == 0 {
        return 0;
    }
    due.saturating_sub(counters.arrival_micros / 1_000_000 + 1)
}

fn is_selected(selected: &[bool], place: u16) -> bool {
    selected.get(usize::from(place)).copied().unwrap_or(false)
}

impl Reading {
    fn of_times<'a>(times: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let mut sum = Histogram::new();
        times.into_iter().for_each(|times| sum.merge(times));
        Self {
            times: sum,
            ..Self::default()
        }
    }

    fn of_part(part: u64, whole: u64) -> Self {
        Self {
            part,
            whole,
            ..Self::default()
        }
    }

    /// Adds the samples of another reading.
    pub fn add(&mut self, other: &Reading) {
        let Reading {
            times,
            part,
            whole,
            most,
        } = other;
        self.times.merge(times);
        self.part += part;
        self.whole += whole;
        self.most = self.most.max(*most);
    }

    /// Removes the samples of a reading that was added before. The largest number is then that of
    /// `rest`, the readings that are left.
    pub fn remove<'a>(&mut self, other: &Packed, rest: impl IntoIterator<Item = &'a Packed>) {
        let Packed {
            times,
            part,
            whole,
            most,
        } = other;
        if self.most == *most {
            self.most = rest.into_iter().map(|left| left.most).max().unwrap_or(0);
        }
        // our own encoding, made a few minutes ago
        self.times
            .remove(&Histogram::decode(times).unwrap_or_default());
        self.part = self.part.saturating_sub(*part);
        self.whole = self.whole.saturating_sub(*whole);
    }

    /// Makes a copy that takes little memory.
    pub fn pack(&self) -> Packed {
        let Reading {
            times,
            part,
            whole,
            most,
        } = self;
        Packed {
            times: times.encode(),
            part: *part,
            whole: *whole,
            most: *most,
        }
    }
}
