//! Thresholds: pass-fail rules such as `p(99) < 250ms` of a metric, over the samples that they
//! select, in the whole run or in windows that slide over it.

mod metric;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{StepPlace, Trend, Unit, duration};
use metric::KeptBy;

pub use metric::Metric;

/// Smallest number of samples of which a window is judged, unless the threshold sets another.
pub const MIN_COUNT: u64 = 20;

/// One number that is made of many samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aggregate {
    /// Value that this percentage of the samples do not exceed; above 0, at most 100.
    Percentile(f64),
    /// Arithmetic mean.
    Avg,
    /// Smallest value.
    Min,
    /// Median.
    Med,
    /// Largest value.
    Max,
    /// Share of a whole, or number per second of iterations that started.
    Rate,
    /// Number.
    Count,
    /// Number per second.
    PerSecond,
}

/// Comparison of an observed number with a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Observed number below the bound.
    #[serde(rename = "<")]
    Less,
    /// Observed number not above the bound.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Observed number above the bound.
    #[serde(rename = ">")]
    Greater,
    /// Observed number not below the bound.
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

impl Comparison {
    /// Returns whether the bound is one that must not be exceeded.
    pub fn is_ceiling(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }
}

/// Quantity of a bound and of what was observed, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quantity {
    /// Time in microseconds.
    Time,
    /// Share from 0 to 1.
    Share,
    /// Number per second.
    PerSecond,
    /// Number of things.
    Count,
    /// Size in bytes.
    Bytes,
    /// Number without a unit.
    Number,
}

/// Outcome of the requests whose latency is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Requests that succeeded.
    #[default]
    Success,
    /// Requests that failed.
    Failure,
    /// All requests.
    Any,
}

/// Selection of the samples that a threshold reads: those that match every field that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    /// Name of a scenario.
    pub scenario: Option<String>,
    /// Name of a task.
    pub task: Option<String>,
    /// Name of a step.
    pub step: Option<String>,
    /// Tags of the step, each with its value.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Outcome of the request.
    pub outcome: Outcome,
}

impl Select {
    /// Returns whether the selection includes the requests of a step, apart from their outcome.
    pub fn matches(&self, place: &StepPlace<'_>) -> bool {
        self.matches_task(place.scenario, place.task)
            && fits(&self.step, &place.step.name)
            && self
                .tags
                .iter()
                .all(|(name, value)| place.step.tags.get(name) == Some(value))
    }

    /// Returns whether the selection includes a task, apart from its steps.
    pub fn matches_task(&self, scenario: &str, task: &str) -> bool {
        fits(&self.scenario, scenario) && fits(&self.task, task)
    }

    /// Fails with the first field that is set though samples of `metric` are not kept by it.
    fn check(&self, metric: Metric) -> Result<(), String> {
        let Self {
            scenario,
            task,
            step,
            tags,
            outcome,
        } = self;
        let set = [
            ("scenario", scenario.is_some(), KeptBy::Task),
            ("task", task.is_some(), KeptBy::Task),
            ("step", step.is_some(), KeptBy::Step),
            ("tags", !tags.is_empty(), KeptBy::Step),
            ("outcome", *outcome != Outcome::Success, KeptBy::Outcome),
        ];
        match set
            .into_iter()
            .find(|(_, is_set, needs)| *is_set && metric.kept_by() < *needs)
        {
            Some((name, ..)) => Err(format!("{} is not kept by {name}", metric.name())),
            None => Ok(()),
        }
    }
}

fn fits(wanted: &Option<String>, name: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == name)
}

/// Reference to the records of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Place in the plan's list of trends.
    pub place: u16,
    /// Name of the records.
    pub name: String,
}

/// A pass-fail rule: an aggregate of a metric compared with a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// Metric that is judged.
    pub metric: Metric,
    /// Records that are judged; only with [`Metric::Record`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Recorded>,
    /// Samples that are judged.
    pub select: Select,
    /// Expression as the test writes it.
    pub expr: String,
    /// Aggregate of the samples.
    pub aggregate: Aggregate,
    /// Comparison of the aggregate with the bound.
    pub comparison: Comparison,
    /// Quantity of the aggregate and the bound.
    pub quantity: Quantity,
    /// Bound, in the unit of `quantity`.
    pub bound: f64,
    /// Part of the run that is judged.
    pub span: Span,
    /// Ends the run when the threshold is breached.
    pub abort_on_fail: bool,
}

/// Part of the run over which a threshold is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// Length of the windows that are judged, in seconds; 0 stands for the measured part as a
    /// whole.
    pub window_seconds: u32,
    /// Seconds after the warm-up in which no window begins and the run is not ended.
    pub delay_seconds: u32,
    /// Seconds for which the threshold must be breached without a break.
    pub for_seconds: u32,
    /// Smallest number of samples that are judged. `None` stands for [`MIN_COUNT`] in a window and
    /// for ending the run, and for 1 at its end.
    pub min_count: Option<u64>,
}

impl Threshold {
    /// Reads `expr`: an aggregate of `metric`, a comparison and a number with the unit of the
    /// aggregate.
    pub fn parse(metric: Metric, select: Select, expr: &str) -> Result<Self, String> {
        Self::read(metric, expr, |aggregate, bound| {
            metric.quantity(aggregate, bound)
        })
        .map(|threshold| Self {
            select,
            ..threshold
        })
    }

    /// Reads `expr` as a rule for the records of `trend`, which is at `place` of the plan's list of
    /// trends; the bound has the unit of the records.
    pub fn of_record(place: u16, trend: &Trend, expr: &str) -> Result<Self, String> {
        let quantity = match trend.unit {
            Unit::Seconds | Unit::Milliseconds | Unit::Microseconds => Quantity::Time,
            Unit::Bytes => Quantity::Bytes,
            Unit::One => Quantity::Number,
        };
        let record = Some(Recorded {
            place,
            name: trend.name.clone(),
        });
        Self::read(Metric::Record, expr, |_, _| quantity).map(|threshold| Self {
            record,
            ..threshold
        })
    }

    /// Name of the metric or of the records, as results show it.
    pub fn name(&self) -> &str {
        self.record
            .as_ref()
            .map_or(self.metric.name(), |record| &record.name)
    }

    fn read(
        metric: Metric,
        expr: &str,
        quantity: impl FnOnce(Aggregate, &str) -> Quantity,
    ) -> Result<Self, String> {
        let at = expr.find(['<', '>']).ok_or_else(|| {
            format!(
                "{expr:?} has no comparison; write <, <=, > or >= between the aggregate and \
                     the number"
            )
        })?;
        let (left, rest) = expr.split_at(at);
        let (comparison, right) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Comparison::LessOrEqual, &rest[2..]),
            [b'>', b'=', ..] => (Comparison::GreaterOrEqual, &rest[2..]),
            [b'<', ..] => (Comparison::Less, &rest[1..]),
            _ => (Comparison::Greater, &rest[1..]),
        };
        let aggregate = parse_aggregate(metric, left.trim())?;
        let quantity = quantity(aggregate, right.trim());
        let bound = parse_bound(quantity, right.trim())?;
        Ok(Self {
            metric,
            record: None,
            select: Select::default(),
            expr: expr.to_owned(),
            aggregate,
            comparison,
            quantity,
            bound,
            span: Span::default(),
            abort_on_fail: false,
        })
    }

    /// Fails if the selection asks for a part by which samples of the metric are not told apart.
    pub fn check_select(&self) -> Result<(), String> {
        self.select.check(self.metric)
    }

    /// Returns whether `observed`, in the unit of the bound, meets the rule.
    pub fn is_met(&self, observed: f64) -> bool {
        match self.comparison {
            Comparison::Less => observed < self.bound,
            Comparison::LessOrEqual => observed <= self.bound,
            Comparison::Greater => observed > self.bound,
            Comparison::GreaterOrEqual => observed >= self.bound,
        }
    }
}

fn parse_aggregate(metric: Metric, text: &str) -> Result<Aggregate, String> {
    let wrong = || {
        let (name, known) = (metric.name(), metric.aggregates().join(", "));
        match text {
            "" => format!("an aggregate of {name} goes before the comparison: {known}"),
            text => format!("{text:?} is not an aggregate of {name}; use {known}"),
        }
    };
    let percentile = text
        .strip_prefix("p(")
        .and_then(|rest| rest.strip_suffix(')'));
    if !metric.aggregates().contains(if percentile.is_some() {
        &"p(99)"
    } else {
        &text
    }) {
        return Err(wrong());
    }
    match (text, percentile) {
        (_, Some(number)) => {
            let percent: f64 = number
                .trim()
                .parse()
                .map_err(|_| format!("{number:?} is not a percentile"))?;
            match percent > 0.0 && percent <= 100.0 {
                true => Ok(Aggregate::Percentile(percent)),
                false => Err(format!(
                    "percentile {number} is not above 0 and at most 100"
                )),
            }
        }
        ("avg", _) => Ok(Aggregate::Avg),
        ("min", _) => Ok(Aggregate::Min),
        ("med", _) => Ok(Aggregate::Med),
        ("max", _) => Ok(Aggregate::Max),
        ("rate", _) => Ok(Aggregate::Rate),
        ("count", _) => Ok(Aggregate::Count),
        ("perSecond", _) => Ok(Aggregate::PerSecond),
        _ => Err(wrong()),
    }
}

fn parse_bound(quantity: Quantity, text: &str) -> Result<f64, String> {
    let number = |digits: &str| {
        digits
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|n| n.is_finite() && *n >= 0.0)
            .ok_or_else(|| format!("{text:?} is not a number"))
    };
    match quantity {
        Quantity::Time => duration::parse(text).map(|bound| bound.as_micros() as f64),
        Quantity::Share => {
            let share = match text.strip_suffix('%') {
                Some(percent) => number(percent)? / 100.0,
                None => number(text)?,
            };
            if share <= 1.0 {
                Ok(share)
            } else {
                Err(format!("{text:?} is more than 100%; write 1% or 0.01"))
            }
        }
        Quantity::PerSecond => number(text.strip_suffix("/s").unwrap_or(text)),
        Quantity::Count | Quantity::Bytes | Quantity::Number => number(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(metric: Metric, expr: &str) -> Result<Threshold, String> {
        Threshold::parse(metric, Select::default(), expr)
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        for (metric, expr) in [
            (Metric::Latency, "p(101) < 250ms"),
            (Metric::Latency, "p(0) < 250ms"),
            (Metric::Latency, "p(99) < 250"),
            (Metric::Latency, "p(99) = 250ms"),
            (Metric::Latency, "rate < 1%"),
            (Metric::Failures, "p(99) < 1%"),
            (Metric::Failures, "rate < 101%"),
            (Metric::Failures, "rate < -1%"),
            (Metric::Failures, "rate < NaN"),
            (Metric::Achieved, "rate > fast"),
            (Metric::Achieved, ""),
            (Metric::Iteration, "rate < 1%"),
            (Metric::Wait, "count < 1"),
            (Metric::Checks, "count > 5"),
            (Metric::Checks, "rate > 101%"),
            (Metric::Dropped, "max < 1"),
            (Metric::Requests, "rate > 1%"),
            (Metric::Requests, "count > 1s"),
            (Metric::Iterations, "p(99) < 1s"),
            (Metric::Ttft, "rate < 1%"),
            (Metric::Itl, "p(99) < 20"),
            (Metric::OutputTokens, "p(50) > 20"),
            (Metric::Goodput, "rate > 95%"),
            (Metric::GoodputRatio, "rate > 101%"),
            (Metric::GoodputRatio, "perSecond > 5/s"),
        ] {
            assert!(
                parse(metric, expr).is_err(),
                "{expr:?} of {metric:?} was accepted"
            );
        }
    }

    #[test]
    fn bounds_have_the_unit_of_their_metric() {
        let latency = parse(Metric::Latency, "p(99.9)<=1s500ms").unwrap();
        assert_eq!(
            (latency.aggregate, latency.comparison, latency.bound),
            (
                Aggregate::Percentile(99.9),
                Comparison::LessOrEqual,
                1_500_000.0
            )
        );
        assert_eq!(parse(Metric::Failures, "rate < 1%").unwrap().bound, 0.01);
        assert_eq!(parse(Metric::Failures, "rate < 0.5").unwrap().bound, 0.5);
        assert_eq!(
            parse(Metric::Achieved, "rate >= 750/s").unwrap().bound,
            750.0
        );
        let share = parse(Metric::Achieved, "rate >= 99%").unwrap();
        assert_eq!((share.bound, share.quantity), (0.99, Quantity::Share));
        assert_eq!(
            parse(Metric::Failures, "count < 10").unwrap().quantity,
            Quantity::Count
        );
        assert_eq!(
            parse(Metric::Requests, "perSecond > 100/s").unwrap().bound,
            100.0
        );
        assert_eq!(parse(Metric::Checks, "rate > 99.5%").unwrap().bound, 0.995);
        assert_eq!(parse(Metric::Tpot, "p(50) < 50ms").unwrap().bound, 50_000.0);
        assert_eq!(
            parse(Metric::OutputTokens, "perSecond > 1000/s")
                .unwrap()
                .bound,
            1000.0
        );
        assert_eq!(
            parse(Metric::GoodputRatio, "rate >= 95%").unwrap().bound,
            0.95
        );
    }

    #[test]
    fn what_samples_are_not_kept_by_cannot_be_selected() {
        let step = Select {
            step: Some("a".into()),
            ..Select::default()
        };
        let task = Select {
            task: Some("t".into()),
            ..Select::default()
        };
        let failed = Select {
            outcome: Outcome::Failure,
            ..Select::default()
        };
        let check = |metric: Metric, select: &Select| {
            let expr = metric.aggregates()[0].to_owned()
                + if metric.aggregates()[0] == "p(99)" {
                    " < 1s"
                } else {
                    " > 0"
                };
            Threshold::parse(metric, select.clone(), &expr)
                .unwrap()
                .check_select()
        };
        for metric in Metric::all() {
            assert_eq!(
                check(metric, &step).is_ok(),
                metric.kept_by() >= KeptBy::Step,
                "{metric:?}"
            );
            assert_eq!(
                check(metric, &task).is_ok(),
                metric.kept_by() != KeptBy::Nothing,
                "{metric:?}"
            );
            assert_eq!(
                check(metric, &failed).is_ok(),
                metric == Metric::Latency,
                "{metric:?}"
            );
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }

    #[test]
    fn the_bound_of_a_record_has_its_unit() {
        let of = |unit: Unit, expr: &str| {
            Threshold::of_record(
                2,
                &Trend {
                    name: "inference".into(),
                    unit,
                },
                expr,
            )
        };
        let time = of(Unit::Milliseconds, "p(95) < 40ms").unwrap();
        assert_eq!(
            (
                time.bound,
                time.quantity,
                time.name(),
                time.record.as_ref().unwrap().place
            ),
            (40_000.0, Quantity::Time, "inference", 2_u16)
        );
        assert_eq!(of(Unit::Bytes, "max <= 4096").unwrap().bound, 4096.0);
        assert_eq!(
            of(Unit::One, "avg > 0.5").unwrap().quantity,
            Quantity::Number
        );
        for (unit, expr) in [
            (Unit::Seconds, "p(95) < 40"),
            (Unit::Bytes, "max < 1s"),
            (Unit::One, "avg > 5%"),
            (Unit::One, "rate < 1%"),
            (Unit::One, "count > 1"),
        ] {
            assert!(of(unit, expr).is_err(), "{expr} of {unit:?}");
        }
    }

    #[test]
    fn a_bound_is_met_or_not() {
        let rule = parse(Metric::Latency, "max < 1ms").unwrap();
        assert!(rule.is_met(999.0));
        assert!(!rule.is_met(1000.0));
    }
}
