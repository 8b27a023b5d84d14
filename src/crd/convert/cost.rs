//! The prices of the system under test.

use super::Problems;
use crate::crd::spec::CostSpec;
use crate::plan::Cost;

/// Checks the prices: none is negative, and at least one field is set.
pub(super) fn check_cost(cost: &CostSpec, problems: &mut Problems) -> Cost {
    let CostSpec {
        per_hour,
        currency,
        wanted_rate,
        per_million_input_tokens,
        per_million_output_tokens,
    } = cost;
    let prices = [
        ("perHour", per_hour),
        ("perMillionInputTokens", per_million_input_tokens),
        ("perMillionOutputTokens", per_million_output_tokens),
    ];
    for (field, _) in prices
        .iter()
        .filter(|(_, price)| price.is_some_and(|price| !price.is_finite() || price < 0.0))
    {
        problems.add(format!("spec.cost.{field}"), "is no price");
    }
    if prices.iter().all(|(_, price)| price.is_none()) && wanted_rate.is_none() {
        problems.add(
            "spec.cost",
            "says nothing: give perHour, prices of tokens, or wantedRate",
        );
    }
    if wanted_rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        problems.add("spec.cost.wantedRate", "must be more than nothing");
    }
    Cost {
        per_hour: *per_hour,
        currency: currency.clone(),
        wanted_rate: *wanted_rate,
        per_million_input_tokens: *per_million_input_tokens,
        per_million_output_tokens: *per_million_output_tokens,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(cost: serde_json::Value) -> Vec<String> {
        let mut problems = Problems::default();
        check_cost(
            &serde_json::from_value::<CostSpec>(cost).unwrap(),
            &mut problems,
        );
        problems
            .found
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    }

    #[test]
    fn every_price_reaches_the_plan() {
        let given = json!({"perHour": 4.1, "currency": "EUR", "wantedRate": 50, "perMillionInputTokens": 0.15, "perMillionOutputTokens": 0.6});
        let cost = check_cost(
            &serde_json::from_value(given).unwrap(),
            &mut Problems::default(),
        );
        let expected = Cost {
            per_hour: Some(4.1),
            currency: "EUR".into(),
            wanted_rate: Some(50.0),
            per_million_input_tokens: Some(0.15),
            per_million_output_tokens: Some(0.6),
        };
        assert_eq!(cost, expected);
    }

    #[test]
    fn what_is_no_price_is_refused() {
        assert_eq!(refused(json!({})), ["spec.cost"]);
        assert_eq!(refused(json!({"perHour": -1})), ["spec.cost.perHour"]);
        assert_eq!(
            refused(json!({"perHour": 1, "wantedRate": 0})),
            ["spec.cost.wantedRate"]
        );
        assert_eq!(
            refused(json!({"perMillionInputTokens": 0.15, "perMillionOutputTokens": -1})),
            ["spec.cost.perMillionOutputTokens"]
        );
        assert_eq!(refused(json!({"wantedRate": 0.5})), [""; 0]);
        assert_eq!(refused(json!({"perMillionOutputTokens": 0.6})), [""; 0]);
    }
}
