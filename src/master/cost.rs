//! Concurrency and cost: how much an endpoint holds at once, and what its requests cost.

use crate::plan::Cost;
use crate::stats::result::{
    CapacityResult, ConcurrencyResult, CostBasis, CostResult, Generator, LevelResult, LimitedBy,
    Totals,
};
use crate::stats::summary::{Scale, all_steps};
use crate::stats::{Concurrency, LevelStats, Snapshot};

/// Sums up what was there at once, and what rate and latency say of it (Little's law). `None` where
/// no time was measured.
pub fn concurrency(merged: &Snapshot, scale: Scale) -> Option<ConcurrencyResult> {
    let length = scale.length.as_secs_f64();
    if length <= 0.0 {
        return None;
    }
    let sum = all_steps(merged);
    let spent = [&sum.latency, &sum.failed_latency]
        .map(|latency| latency.mean() * latency.count() as f64)
        .iter()
        .sum::<f64>();
    let Concurrency {
        in_flight,
        users,
        slots,
    } = &merged.concurrency;
    let level = |level: &LevelStats| LevelResult {
        mean: level.micros as f64 / 1e6 / length,
        max: level.most(),
    };
    let if_any = |number: &LevelStats| (number.most() > 0).then(|| level(number));
    Some(ConcurrencyResult {
        in_flight: Some(level(in_flight)),
        users: if_any(users),
        slots: if_any(slots),
        by_latency: spent / 1e6 / length,
    })
}

/// Works out the price of requests at the rate that the target serves, or says why there is none.
pub fn price(
    cost: &Cost,
    totals: &Totals,
    merged: &Snapshot,
    capacity: Option<&CapacityResult>,
    generator: &Generator,
) -> CostResult {
    let mut result = CostResult {
        currency: cost.currency.clone(),
        per_hour: cost.per_hour,
        wanted_rate: cost.wanted_rate,
        basis: if capacity.is_some() {
            CostBasis::Sustainable
        } else {
            CostBasis::Achieved
        },
        ..CostResult::default()
    };
    let rate = match rate(totals, capacity, generator) {
        Ok(rate) => rate,
        Err(why) => {
            return CostResult {
                why_not: why.to_owned(),
                ..result
            };
        }
    };
    let llm = all_steps(merged)
        .stream
        .and_then(|stream| stream.llm.clone());
    let tokens = llm.and_then(|llm| {
        cost.tokens_per_million_requests(totals.requests, llm.input_tokens, llm.output_tokens)
    });
    result.rate = Some(rate);
    result.endpoints = cost.endpoints(rate);
    result.tokens_per_million_requests = tokens;
    result.per_million_requests = cost.per_million_requests(rate);
    result
}

/// Requests per second that the target serves, or why that is not known.
fn rate(
    totals: &Totals,
    capacity: Option<&CapacityResult>,
    generator: &Generator,
) -> Result<f64, &'static str> {
    const LIMITED: &str = "the load generator was the limit, so the target may serve more";
    if generator.saturated {
        return Err(LIMITED);
    }
    let Some(capacity) = capacity else {
        return if totals.failures < totals.requests {
            Ok(totals.rps)
        } else {
            Err("no request succeeded")
        };
    };
    match (capacity.rate, capacity.limited_by) {
        (_, Some(LimitedBy::Generator)) => Err(LIMITED),
        (Some(iterations), Some(_)) if totals.iterations > 0 => {
            Ok(iterations * totals.requests as f64 / totals.iterations as f64)
        }
        (Some(_), _) => Err("the search did not come to its end"),
        (None, _) => Err("no rate was found that holds"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::{LEVEL_PARTS, StepStats};

    fn cost() -> Cost {
        Cost {
            per_hour: Some(7.2),
            currency: "EUR".into(),
            wanted_rate: Some(1000.0),
            ..Cost::default()
        }
    }

    fn totals() -> Totals {
        Totals {
            requests: 600,
            iterations: 300,
            rps: 99.5,
            ..Totals::default()
        }
    }

    fn found(rate: Option<f64>, limited_by: LimitedBy) -> CapacityResult {
        CapacityResult {
            rate,
            limited_by: Some(limited_by),
            ..CapacityResult::default()
        }
    }

    fn priced(capacity: Option<CapacityResult>, generator: Generator) -> CostResult {
        price(
            &cost(),
            &totals(),
            &Snapshot::default(),
            capacity.as_ref(),
            &generator,
        )
    }

    #[test]
    fn no_price_where_the_generator_was_the_limit_or_nothing_held() {
        let saturated = Generator {
            saturated: true,
            ..Generator::default()
        };
        for (capacity, generator) in [
            (None, saturated),
            (
                Some(found(Some(100.0), LimitedBy::Generator)),
                Generator::default(),
            ),
            (Some(found(None, LimitedBy::Target)), Generator::default()),
            (
                Some(CapacityResult {
                    rate: Some(100.0),
                    ..CapacityResult::default()
                }),
                Generator::default(),
            ),
        ] {
            let result = priced(capacity, generator);
            assert_eq!(
                (result.rate, result.per_million_requests, result.endpoints),
                (None, None, None)
            );
            assert!(!result.why_not.is_empty());
        }
    }

    #[test]
    fn a_sustainable_rate_counts_requests_not_iterations() {
        // two requests an iteration: 200/s cost 0.002/s
        let result = priced(
            Some(found(Some(100.0), LimitedBy::Target)),
            Generator::default(),
        );
        assert_eq!(
            (result.rate, result.basis, result.endpoints),
            (Some(200.0), CostBasis::Sustainable, Some(5))
        );
        assert!(
            (result.per_million_requests.unwrap() - 10.0).abs() < 1e-9,
            "{result:?}"
        );
    }

    #[test]
    fn without_a_search_the_price_is_that_of_the_rate_that_came_about() {
        let result = priced(None, Generator::default());
        assert_eq!(
            (result.rate, result.basis, result.endpoints),
            (Some(99.5), CostBasis::Achieved, Some(11))
        );
    }

    #[test]
    fn concurrency_is_measured_over_time_and_follows_from_rate_and_latency() {
        let mut step = StepStats {
            requests: 200,
            failures: 50,
            ..StepStats::default()
        };
        (0..150).for_each(|_| step.latency.record(100_000));
        (0..50).for_each(|_| step.failed_latency.record(100_000));
        let mut peaks = [0; LEVEL_PARTS];
        peaks[3] = 12;
        let merged = Snapshot {
            steps: [(0, step)].into(),
            concurrency: Concurrency {
                in_flight: LevelStats::new(19_000_000, peaks),
                users: LevelStats::new(100_000_000, [50; LEVEL_PARTS]),
                ..Concurrency::default()
            },
            ..Snapshot::default()
        };
        let scale = |seconds| Scale {
            length: Duration::from_secs(seconds),
            arrivals: None,
        };
        let result = concurrency(&merged, scale(2)).unwrap();
        let of = |level: Option<LevelResult>| level.map(|level| (level.mean, level.max));
        assert_eq!(of(result.in_flight), Some((9.5, 12)));
        assert_eq!(of(result.users), Some((50.0, 50)));
        assert_eq!(result.slots, None);
        assert!((result.by_latency - 10.0).abs() < 0.1, "{result:?}");
        assert_eq!(concurrency(&merged, scale(0)), None);
    }
}
