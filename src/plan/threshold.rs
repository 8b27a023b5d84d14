//! One pass-fail rule: `p(99) < 250ms` of a metric, over what it selects, in the whole run or in
//! windows that slide over it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{RequestStep, StepPlace, StreamKind, Trend, Unit, duration};

/// With fewer samples a window is not judged, where the test does not say how many it takes.
pub const MIN_COUNT: u64 = 20;

const TIMES: &[&str] = &["p(99)", "avg", "min", "med", "max"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// Intended time to last byte.
    Latency,
    /// First byte written to last byte, of successes.
    ServiceTime,
    /// Intended start of an iteration to the end of its last step, of those in which no step
    /// failed.
    Iteration,
    /// The phases of successes.
    Dns,
    Connect,
    Tls,
    Wait,
    Download,
    /// Failed requests.
    Failures,
    /// Checks on answers: those that passed.
    Checks,
    /// Arrivals that became no iteration.
    Dropped,
    /// Iterations started, per second or as a share of those asked for.
    Achieved,
    /// Finished requests.
    Requests,
    /// Finished iterations.
    Iterations,
    /// Intended time to the first event of a stream.
    FirstEvent,
    /// Intended time to the first message of a call over gRPC.
    FirstMessage,
    /// Between the events of a stream, or the messages of a call.
    Gap,
    /// Intended time to a language model's first event with content.
    Ttft,
    /// Between its events with content.
    Itl,
    /// Per output token after the first, one value an answer.
    Tpot,
    /// Output tokens of language models.
    OutputTokens,
    /// Requests that met all limits of their step.
    Goodput,
    /// Their share of all that were intended.
    GoodputRatio,
    /// Numbers that the test's records of one name found in answers; which one, the threshold says.
    Record,
}

impl Metric {
    /// Those of every test.
    pub const ALL: [Self; 23] = [
        Self::Latency,
        Self::ServiceTime,
        Self::Iteration,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Wait,
        Self::Download,
        Self::Failures,
        Self::Checks,
        Self::Dropped,
        Self::Achieved,
        Self::Requests,
        Self::Iterations,
        Self::FirstEvent,
        Self::FirstMessage,
        Self::Gap,
        Self::Ttft,
        Self::Itl,
        Self::Tpot,
        Self::OutputTokens,
        Self::Goodput,
        Self::GoodputRatio,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::ServiceTime => "serviceTime",
            Self::Iteration => "iteration",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Wait => "wait",
            Self::Download => "download",
            Self::Failures => "failures",
            Self::Checks => "checks",
            Self::Dropped => "dropped",
            Self::Achieved => "achieved",
            Self::Requests => "requests",
            Self::Iterations => "iterations",
            Self::Record => "record",
            Self::FirstEvent => "firstEvent",
            Self::FirstMessage => "firstMessage",
            Self::Gap => "gap",
            Self::Ttft => "ttft",
            Self::Itl => "itl",
            Self::Tpot => "tpot",
            Self::OutputTokens => "outputTokens",
            Self::Goodput => "goodput",
            Self::GoodputRatio => "goodputRatio",
        }
    }

    /// What its samples are told apart by.
    fn kept_by(self) -> KeptBy {
        match self {
            Self::Latency
            | Self::ServiceTime
            | Self::Dns
            | Self::Connect
            | Self::Tls
            | Self::Wait
            | Self::Download
            | Self::Failures
            | Self::Checks
            | Self::Requests
            | Self::FirstEvent
            | Self::FirstMessage
            | Self::Gap
            | Self::Ttft
            | Self::Itl
            | Self::Tpot
            | Self::OutputTokens
            | Self::Goodput
            | Self::GoodputRatio => KeptBy::Step,
            Self::Iteration | Self::Iterations => KeptBy::Task,
            Self::Dropped | Self::Achieved | Self::Record => KeptBy::Nothing,
        }
    }

    /// The aggregates that mean something, as they are written.
    fn aggregates(self) -> &'static [&'static str] {
        match self {
            Self::Latency
            | Self::ServiceTime
            | Self::Iteration
            | Self::Dns
            | Self::Connect
            | Self::Tls
            | Self::Wait
            | Self::Download => TIMES,
            Self::FirstEvent
            | Self::FirstMessage
            | Self::Gap
            | Self::Ttft
            | Self::Itl
            | Self::Tpot
            | Self::Record => TIMES,
            Self::Failures | Self::Dropped => &["rate", "count", "perSecond"],
            Self::Checks | Self::Achieved | Self::GoodputRatio => &["rate"],
            Self::Requests | Self::Iterations | Self::OutputTokens | Self::Goodput => {
                &["count", "perSecond"]
            }
        }
    }

    /// Whether it is measured of the request at all.
    pub fn is_measured_of(self, step: &RequestStep) -> bool {
        let kind = step.call.stream_kind();
        match self {
            Self::FirstEvent => kind == Some(StreamKind::Events),
            Self::FirstMessage => kind == Some(StreamKind::Messages),
            Self::Gap => matches!(kind, Some(StreamKind::Events | StreamKind::Messages)),
            Self::Ttft | Self::Itl | Self::Tpot | Self::OutputTokens => {
                kind == Some(StreamKind::Completion)
            }
            Self::Goodput | Self::GoodputRatio => step.goodput.is_some(),
            _ => true,
        }
    }

    /// A time of requests that succeeded, which says nothing of the others.
    pub fn reads_successes(self) -> bool {
        matches!(
            self,
            Self::Latency
                | Self::ServiceTime
                | Self::FirstEvent
                | Self::FirstMessage
                | Self::Ttft
                | Self::Tpot
        )
    }

    /// What only some requests have, in words.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::FirstEvent => Some("http.stream without a preset"),
            Self::FirstMessage => Some("grpc"),
            Self::Gap => Some("grpc, or http.stream without a preset"),
            Self::Ttft | Self::Itl | Self::Tpot | Self::OutputTokens => Some("http.stream.preset"),
            Self::Goodput | Self::GoodputRatio => Some("goodput"),
            _ => None,
        }
    }

    /// What its bound counts.
    fn quantity(self, aggregate: Aggregate, bound: &str) -> Quantity {
        match aggregate {
            Aggregate::Count => Quantity::Count,
            Aggregate::PerSecond => Quantity::PerSecond,
            Aggregate::Rate if self == Self::Achieved && !bound.ends_with('%') => {
                Quantity::PerSecond
            }
            Aggregate::Rate => Quantity::Share,
            _ => Quantity::Time,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptBy {
    Step,
    Task,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aggregate {
    /// Above 0, at most 100.
    Percentile(f64),
    Avg,
    Min,
    Med,
    Max,
    Rate,
    Count,
    PerSecond,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

impl Comparison {
    /// A bound that is not to be passed from below.
    pub fn is_ceiling(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }
}

/// What a bound and what was observed are numbers of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quantity {
    /// Microseconds.
    Time,
    /// From 0 to 1.
    Share,
    PerSecond,
    Count,
    Bytes,
    /// Of anything that has no unit.
    Number,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    #[default]
    Success,
    Failure,
    Any,
}

/// Which samples a threshold reads: all whose names and tags match what is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    pub scenario: Option<String>,
    pub task: Option<String>,
    pub step: Option<String>,
    /// Each with this value.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub outcome: Outcome,
}

impl Select {
    pub fn matches(&self, place: &StepPlace<'_>) -> bool {
        self.matches_task(place.scenario, place.task)
            && fits(&self.step, &place.step.name)
            && self
                .tags
                .iter()
                .all(|(name, value)| place.step.tags.get(name) == Some(value))
    }

    pub fn matches_task(&self, scenario: &str, task: &str) -> bool {
        fits(&self.scenario, scenario) && fits(&self.task, task)
    }

    /// Says what is set though the samples of `metric` are not kept by it.
    fn check(&self, metric: Metric) -> Result<(), String> {
        let Self {
            scenario,
            task,
            step,
            tags,
            outcome,
        } = self;
        let kept = metric.kept_by();
        let set = [
            ("scenario", scenario.is_some(), kept != KeptBy::Nothing),
            ("task", task.is_some(), kept != KeptBy::Nothing),
            ("step", step.is_some(), kept == KeptBy::Step),
            ("tags", !tags.is_empty(), kept == KeptBy::Step),
            (
                "outcome",
                *outcome != Outcome::Success,
                metric == Metric::Latency,
            ),
        ];
        match set
            .into_iter()
            .find(|(_, is_set, allowed)| *is_set && !allowed)
        {
            Some((name, ..)) => Err(format!("{} is not kept by {name}", metric.name())),
            None => Ok(()),
        }
    }
}

fn fits(wanted: &Option<String>, name: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == name)
}

/// A record of the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Place in the plan's list of trends.
    pub place: u16,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    pub metric: Metric,
    /// With [`Metric::Record`]: which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Recorded>,
    pub select: Select,
    /// As the author wrote it.
    pub expr: String,
    pub aggregate: Aggregate,
    pub comparison: Comparison,
    pub quantity: Quantity,
    /// In the unit of `quantity`.
    pub bound: f64,
    pub span: Span,
    /// A breach ends the run.
    pub abort_on_fail: bool,
}

/// The part of the run that a threshold is judged over, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// Judged over every stretch of so many seconds; 0: over the measured part as a whole.
    pub window_seconds: u32,
    /// From the end of the warm-up: no window begins earlier, and the run is not ended earlier.
    pub delay_seconds: u32,
    /// So long it must be breached without a break.
    pub for_seconds: u32,
    /// With fewer samples it is not judged. `None`: [`MIN_COUNT`] in a window and for ending the
    /// run, 1 at its end.
    pub min_count: Option<u64>,
}

impl Threshold {
    /// Reads `expr`: an aggregate of `metric`, a comparison and a number with the unit of what the
    /// aggregate gives.
    pub fn parse(metric: Metric, select: Select, expr: &str) -> Result<Self, String> {
        Self::read(metric, expr, |aggregate, bound| {
            metric.quantity(aggregate, bound)
        })
        .map(|threshold| Self {
            select,
            ..threshold
        })
    }

    /// The same of the numbers of a record, which is at `place` of the plan's list of trends; the
    /// bound has the unit of these.
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

    /// What results call that which is judged.
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
        let at = expr
            .find(['<', '>'])
            .ok_or_else(|| format!("{expr:?} has no comparison; write <, <=, > or >= between the aggregate and the number"))?;
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

    /// What `select` says that means nothing for the metric.
    pub fn check_select(&self) -> Result<(), String> {
        self.select.check(self.metric)
    }

    /// Whether `observed`, in the bound's unit, meets the rule.
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
        format!(
            "{text:?} is not an aggregate of {}; use {}",
            metric.name(),
            metric.aggregates().join(", ")
        )
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
        for metric in Metric::ALL {
            assert_eq!(
                check(metric, &step).is_ok(),
                metric.kept_by() == KeptBy::Step,
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
