//! One pass-fail rule: `p(99) < 250ms` of a metric, over the steps it selects.

use serde::{Deserialize, Serialize};

use super::{StepPlace, duration};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// Intended time to last byte, microseconds.
    Latency,
    /// First byte written to last byte, microseconds.
    ServiceTime,
    /// Failed requests: their share of all.
    Failures,
    /// Iterations started per second over the profile's length.
    Achieved,
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    #[default]
    Success,
    Failure,
    Any,
}

/// Which samples a threshold reads: all whose names match what is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    pub scenario: Option<String>,
    pub task: Option<String>,
    pub step: Option<String>,
    pub outcome: Outcome,
}

impl Select {
    pub fn matches(&self, place: &StepPlace<'_>) -> bool {
        let fits = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        fits(&self.scenario, &place.scenario.name) && fits(&self.task, &place.task.name) && fits(&self.step, &place.step.name)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    pub metric: Metric,
    pub select: Select,
    /// As the author wrote it.
    pub expr: String,
    pub aggregate: Aggregate,
    pub comparison: Comparison,
    /// Microseconds for times, a share from 0 to 1 for failures, iterations per second for achieved.
    pub bound: f64,
}

impl Threshold {
    /// Reads `expr`: an aggregate of `metric`, a comparison and a number with the metric's unit.
    pub fn parse(metric: Metric, select: Select, expr: &str) -> Result<Self, String> {
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
        let bound = parse_bound(metric, right.trim())?;
        Ok(Self { metric, select, expr: expr.to_owned(), aggregate, comparison, bound })
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
    let is_time = matches!(metric, Metric::Latency | Metric::ServiceTime);
    match text {
        "avg" if is_time => Ok(Aggregate::Avg),
        "min" if is_time => Ok(Aggregate::Min),
        "med" if is_time => Ok(Aggregate::Med),
        "max" if is_time => Ok(Aggregate::Max),
        "rate" if !is_time => Ok(Aggregate::Rate),
        _ => match text.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')')) {
            Some(number) if is_time => {
                let percent: f64 = number.trim().parse().map_err(|_| format!("{number:?} is not a percentile"))?;
                if percent > 0.0 && percent <= 100.0 {
                    Ok(Aggregate::Percentile(percent))
                } else {
                    Err(format!("percentile {number} is not above 0 and at most 100"))
                }
            }
            _ if is_time => Err(format!("{text:?} is not an aggregate of a time; use p(99), avg, min, med or max")),
            _ => Err(format!("{text:?} is not an aggregate of this metric; use rate")),
        },
    }
}

fn parse_bound(metric: Metric, text: &str) -> Result<f64, String> {
    let number = |digits: &str| {
        digits.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(|| format!("{text:?} is not a number"))
    };
    match metric {
        Metric::Latency | Metric::ServiceTime => duration::parse(text).map(|bound| bound.as_micros() as f64),
        Metric::Failures => {
            let share = match text.strip_suffix('%') {
                Some(percent) => number(percent)? / 100.0,
                None => number(text)?,
            };
            if share <= 1.0 { Ok(share) } else { Err(format!("{text:?} is more than 100%; write 1% or 0.01")) }
        }
        Metric::Achieved => number(text.strip_suffix("/s").unwrap_or(text)),
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
        ] {
            assert!(parse(metric, expr).is_err(), "{expr:?} of {metric:?} was accepted");
        }
    }

    #[test]
    fn bounds_have_the_unit_of_their_metric() {
        let latency = parse(Metric::Latency, "p(99.9)<=1s500ms").unwrap();
        assert_eq!(
            (latency.aggregate, latency.comparison, latency.bound),
            (Aggregate::Percentile(99.9), Comparison::LessOrEqual, 1_500_000.0)
        );
        assert_eq!(parse(Metric::Failures, "rate < 1%").unwrap().bound, 0.01);
        assert_eq!(parse(Metric::Failures, "rate < 0.5").unwrap().bound, 0.5);
        assert_eq!(parse(Metric::Achieved, "rate >= 750/s").unwrap().bound, 750.0);
    }

    #[test]
    fn a_bound_is_met_or_not() {
        let rule = parse(Metric::Latency, "max < 1ms").unwrap();
        assert!(rule.is_met(999.0));
        assert!(!rule.is_met(1000.0));
    }
}
